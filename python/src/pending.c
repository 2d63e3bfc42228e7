/*
 * pending.c: edits of Maps that are put off until somebody looks.
 *
 * `m = m.set(k, v)`, again and again, is how Maps are mostly written to. Each time the old version dies a moment after
 * the new one is made, and of all the references that the copies of nodes took, none was needed. So m.set(k, v) works
 * out what is to be done, which runs the foreign code there is, and makes a Map that remembers it:
 *
 *      base ----root----> node                   `derived` counts the root as well, so nobody changes a node of it
 *        ^                  ^                    in place; `base` and `derived` know each other through `pending`,
 *        |                  |                    without counting
 *      pending -----------root
 *        |
 *      derived            (root: NULL, count: what it will be)
 *
 *      the base dies first        the edit is made at once. Now the root is counted once: in place, nothing is copied.
 *      derived is read first      the edit is made on a copy of the path, as if it had not been put off.
 *      derived dies first         the edit is never made.
 *
 * This is the ownership proof of hf_map_with_take, which CPython does not offer for an operand: an owner that gives up its
 * last count. A Map never shares its root with a Map it does not know of without both counting it, so one count means
 * one owner.
 *
 * Invariants.
 *  1. A Map is pending (derived from another, root NULL, count > 0) or settled. Only settled Maps are read: whoever
 *     takes a root asks hfpy_map_root first, which settles.
 *  2. A base is settled, and has at most one pending Map derived from it. A second edit settles the first.
 *  3. What the edit is to let go of is let go of when the base dies, as without all this; unless there is no memory for it.
 *     Then the derived Map stays pending, without a base, and whoever reads it tries again.
 *  4. No foreign code runs between the look at the counts and the end of the edit. The collector, which the allocation of
 *     a tracked node may start, is held off meanwhile; a node that the edit empties is freed without a deallocator.
 *
 * With several threads at once (free threading) none of this is done: HFPY_PUTS_OFF_EDITS is false.
 */
#include "trie.h"

struct hfpy_pending {
    Map *base;    /* not counted; NULL when it has died */
    Map *derived; /* not counted */
    trie_link root;
    trie_edit edit;
};

/* Records come and go with every edit, so one that is not in use is kept. `state` is NULL when it is no more. */
static hfpy_pending *pending_new(core_state *state)
{
    hfpy_pending *pending = state->spare_pending;
    state->spare_pending = NULL;
    return pending != NULL ? pending : PyMem_Malloc(sizeof *pending);
}

static void pending_free(core_state *state, hfpy_pending *pending)
{
    if (state != NULL && state->spare_pending == NULL)
        state->spare_pending = pending;
    else
        PyMem_Free(pending);
}

void hfpy_pending_clear_spare(core_state *state)
{
    PyMem_Free(state->spare_pending);
    state->spare_pending = NULL;
}

static bool pending_is_tracked(const hfpy_pending *pending)
{
    return pending->edit.change.traits != 0 || PyType_IS_GC(Py_TYPE(pending->root));
}

int hfpy_pending_traverse(Map *map, visitproc visit, void *arg)
{
    hfpy_pending *pending = map->pending;
    if (pending == NULL || pending->derived != map)
        return 0;
    const trie_change *change = &pending->edit.change;
    Py_VISIT(pending->root);
    if (change->entry_in) {
        Py_VISIT(change->entry.key);
        Py_VISIT(change->entry.value);
    }
    if (change->child_in)
        Py_VISIT(change->child);
    return 0;
}

/* Ends what base and derived know of each other. */
static void pending_unlink(hfpy_pending *pending)
{
    if (pending->base != NULL)
        pending->base->pending = NULL;
    pending->derived->pending = NULL;
}

/* trie_perform, with the collector held off if it could start. (From CPython 3.12 on it never does, inside an
 * allocation.) */
static int pending_perform(core_state *state, hfpy_pending *pending, trie_link *root, trie_trash *trash)
{
    trie_ctx ctx = {.state = state};
    bool enabled = pending_is_tracked(pending) && PyGC_Disable();
    int status = hfpy_trie_perform(&ctx, root, true, &pending->edit, trash);
    if (enabled)
        PyGC_Enable();
    return status;
}

/* Makes the edit. HF_NOMEM leaves everything as it was. */
static int pending_settle(core_state *state, hfpy_pending *pending)
{
    trie_trash trash;
    trie_link root = pending->root;
    int status = pending_perform(state, pending, &root, &trash);
    if (status < 0)
        return status;
    pending->derived->root = root;
    pending_unlink(pending);
    hfpy_trie_edit_drop(&pending->edit);
    pending_free(state, pending);
    hfpy_trie_trash_drop(&trash); /* foreign code, from here on */
    return 0;
}

int hfpy_pending_resolve(Map *map)
{
    int status = pending_settle(hfpy_state(map), map->pending);
    return status < 0 ? hfpy_raise(status) : 0;
}

/* The edit will not be made. */
static void pending_abandon(core_state *state, hfpy_pending *pending)
{
    trie_edit edit = pending->edit;
    trie_link root = pending->root;
    pending_unlink(pending);
    pending_free(state, pending);
    hfpy_trie_edit_drop(&edit);
    Py_DECREF(root);
}

/* The base dies. */
static void pending_bequeath(core_state *state, hfpy_pending *pending)
{
    Map *base = pending->base;
    trie_link root = base->root;
    base->root = NULL;
    base->pending = NULL;
    pending->base = NULL;
    Py_DECREF(root); /* the derived Map counts it too */
    /* Without a state the derived Map is garbage as well, of the same collection, and nobody will read it. */
    if (state != NULL && state->node_type != NULL && pending_settle(state, pending) < 0)
        PyErr_Clear(); /* invariant 3: it is tried again, and reported, when the derived Map is read */
}

void hfpy_pending_part(Map *map)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    core_state *state = hfpy_state(map);
    if (state == NULL)
        PyErr_Clear(); /* the collector has cleared the type: a Map that dies with the module it came from */
    if (map->pending->derived == map)
        pending_abandon(state, map->pending);
    else
        pending_bequeath(state, map->pending);
    PyErr_Restore(type, value, traceback);
}

/* The edit made now. */
static PyObject *edited_at_once(core_state *state, Map *base, Py_ssize_t count, trie_edit *edit)
{
    trie_ctx ctx = {.state = state};
    trie_link root = base->root;
    trie_trash trash;
    int status = hfpy_trie_perform(&ctx, &root, false, edit, &trash);
    hfpy_trie_edit_drop(edit);
    return status < 0 ? hfpy_raise(status), NULL : hfpy_map_wrap(state, root, count);
}

PyObject *hfpy_map_edited(core_state *state, Map *base, Py_ssize_t count, trie_edit *edit)
{
    if (!HFPY_PUTS_OFF_EDITS)
        return edited_at_once(state, base, count, edit);
    hfpy_pending *pending = pending_new(state);
    Map *derived = pending == NULL ? NULL : hfpy_map_alloc(state);
    /* That may have run foreign code, and so may this: which might edit the same base once more. */
    while (derived != NULL && base->pending != NULL) {
        if (hfpy_pending_resolve(base->pending->derived) < 0)
            Py_CLEAR(derived);
    }
    if (derived == NULL) {
        if (pending != NULL)
            pending_free(state, pending);
        hfpy_trie_edit_drop(edit);
        return hfpy_raise(HF_NOMEM), NULL;
    }
    *pending =
        (hfpy_pending){.base = base, .derived = derived, .root = (trie_link)Py_NewRef(base->root), .edit = *edit};
    derived->count = count;
    derived->pending = pending;
    base->pending = pending;
    if (pending_is_tracked(pending))
        PyObject_GC_Track(derived);
    return (PyObject *)derived;
}

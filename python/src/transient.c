/*
 * transient.c: holdfast.TransientMap, a map under construction: a full MutableMapping with finish().
 *
 *                     +--------- set, del, update, pop, ... ---------+
 *                     v                                              |
 *      Map --mutate()--> alive ------------------------------------> alive
 *                         |  finish(), persistent(), leaving `with`
 *                         v
 *                       finished: keeps the Map it came to; all else is a ValueError
 *
 * It starts with the Map's root. An edit copies the nodes that it has to change, once: the copies are the
 * transient's own, and edited in place from then on (trie_policy.h, Ownership).
 *
 * Every operation that walks nodes holds the transient locked meanwhile (`busy`): a key's __hash__ or __eq__ that comes
 * back to it, or another thread, gets a RuntimeError. What an edit displaces is dropped after the lock is given back,
 * so that a finalizer may use the transient.
 */
#include "trie.h"

int hfpy_transient_alive(TransientMap *transient)
{
    if (transient->finished == NULL)
        return 0;
    PyErr_SetString(PyExc_ValueError, "TransientMap is finished");
    return -1;
}

int hfpy_transient_idle(TransientMap *transient)
{
    if (hfpy_transient_alive(transient) < 0)
        return -1;
    if (!transient->busy)
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "TransientMap is in use by an operation that has not returned");
    return -1;
}

static int transient_lock(TransientMap *transient)
{
    if (hfpy_transient_idle(transient) < 0)
        return -1;
    transient->busy = 1;
    return 0;
}

static void transient_unlock(TransientMap *transient)
{
    transient->busy = 0;
}

PyObject *hfpy_transient_new(core_state *state, Map *map)
{
    trie_link root;
    if (hfpy_map_root(map, &root) < 0)
        return NULL;
    TransientMap *transient = PyObject_GC_New(TransientMap, state->transient_type);
    if (transient == NULL)
        return NULL;
    transient->draft = (hfpy_draft){(trie_link)Py_XNewRef(root), map->count, 1};
    transient->origin = (Map *)Py_NewRef(map);
    transient->finished = NULL;
    transient->edits = 0;
    transient->busy = 0;
    transient->weakrefs = NULL;
    PyObject_GC_Track(transient);
    return (PyObject *)transient;
}

static int transient_clear_object(PyObject *self)
{
    TransientMap *transient = (TransientMap *)self;
    transient->draft.count = 0;
    Py_CLEAR(transient->draft.root);
    Py_CLEAR(transient->origin);
    Py_CLEAR(transient->finished);
    return 0;
}

static void transient_dealloc(PyObject *self)
{
    TransientMap *transient = (TransientMap *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, transient_dealloc)
    if (transient->weakrefs != NULL)
        PyObject_ClearWeakRefs(self);
    (void)transient_clear_object(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

static int transient_traverse(PyObject *self, visitproc visit, void *arg)
{
    TransientMap *transient = (TransientMap *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(transient->draft.root);
    Py_VISIT(transient->origin);
    Py_VISIT(transient->finished);
    return 0;
}

PyObject *hfpy_transient_snapshot(core_state *state, TransientMap *transient)
{
    if (hfpy_transient_idle(transient) < 0)
        return NULL;
    return hfpy_map_wrap(state, (trie_link)Py_XNewRef(transient->draft.root), transient->draft.count);
}

/* -- look-up -- */

int hfpy_transient_lookup(core_state *state, TransientMap *transient, PyObject *key, PyObject **value)
{
    trie_ctx ctx = {.state = state};
    trie_entry entry;
    *value = NULL;
    Py_hash_t hash = PyObject_Hash(key);
    if (hash == -1 || transient_lock(transient) < 0)
        return -1;
    int found = trie_find(&ctx, transient->draft.root, 0, (uint64_t)hash, key, &entry);
    if (found > 0)
        *value = Py_NewRef(entry.value);
    transient_unlock(transient);
    return found < 0 ? hfpy_raise(found) : found;
}

static PyObject *transient_subscript(PyObject *self, PyObject *key)
{
    PyObject *value;
    int found = hfpy_transient_lookup(hfpy_state(self), (TransientMap *)self, key, &value);
    if (found == 0)
        hfpy_raise_key_error(key);
    return found > 0 ? value : NULL;
}

static int transient_contains(PyObject *self, PyObject *key)
{
    PyObject *value;
    int found = hfpy_transient_lookup(hfpy_state(self), (TransientMap *)self, key, &value);
    if (found > 0)
        Py_DECREF(value);
    return found;
}

static Py_ssize_t transient_length(PyObject *self)
{
    TransientMap *transient = (TransientMap *)self;
    return hfpy_transient_alive(transient) < 0 ? -1 : transient->draft.count;
}

/* -- edits -- */

/* Ends an edit that has come to `outcome` (0: nothing changed, a failure: likewise) and gives the lock back. `growth`: the
 * keys there are now more than before. What the edit leaves over is dropped. Returns the outcome, or -1. */
static int transient_finish_edit(TransientMap *transient, int outcome, Py_ssize_t growth, trie_trash *trash)
{
    Map *origin = NULL;
    if (outcome > 0) {
        transient->draft.count += growth;
        transient->edits += growth != 0;
        origin = transient->origin;
        transient->origin = NULL;
    }
    transient_unlock(transient);
    if (outcome < 0)
        return hfpy_raise(outcome);
    hfpy_trie_trash_drop(trash);
    Py_XDECREF(origin);
    return outcome;
}

/* TRIE_SAME, TRIE_ADDED, TRIE_REPLACED or -1. */
static int transient_put(core_state *state, TransientMap *transient, PyObject *key, PyObject *value)
{
    trie_ctx ctx = {.state = state};
    trie_entry entry = {key, value};
    trie_trash trash;
    Py_hash_t hash = PyObject_Hash(key);
    if (hash == -1 || transient_lock(transient) < 0)
        return -1;
    int outcome = hfpy_trie_put(&ctx, &transient->draft.root, true, hash, &entry, &trash);
    return transient_finish_edit(transient, outcome, outcome == TRIE_ADDED, &trash);
}

/* 1 if the key was there, 0 or -1. */
static int transient_discard(core_state *state, TransientMap *transient, PyObject *key)
{
    trie_ctx ctx = {.state = state};
    trie_trash trash;
    Py_hash_t hash = PyObject_Hash(key);
    if (hash == -1 || transient_lock(transient) < 0)
        return -1;
    int removed = hfpy_trie_remove(&ctx, &transient->draft.root, true, hash, key, &trash);
    return transient_finish_edit(transient, removed, -1, &trash);
}

/* Removes the key and gives out its value: 1, 0 or -1. One hash and one lock, so that nobody else can take it too. */
static int transient_take(core_state *state, TransientMap *transient, PyObject *key, PyObject **value)
{
    trie_ctx ctx = {.state = state};
    trie_entry entry;
    trie_trash trash = {.link = TRIE_NONE};
    *value = NULL;
    Py_hash_t hash = PyObject_Hash(key);
    if (hash == -1 || transient_lock(transient) < 0)
        return -1;
    int found = trie_find(&ctx, transient->draft.root, 0, (uint64_t)hash, key, &entry);
    if (found > 0) {
        *value = Py_NewRef(entry.value);
        found = hfpy_trie_remove(&ctx, &transient->draft.root, true, hash, key, &trash);
    }
    found = transient_finish_edit(transient, found, -1, &trash);
    if (found <= 0)
        Py_CLEAR(*value);
    return found;
}

/* Puts the key in unless it is there; *stored is its value then, new reference. 0 or -1. */
static int transient_put_absent(core_state *state, TransientMap *transient, PyObject *key, PyObject *value,
                                PyObject **stored)
{
    trie_ctx ctx = {.state = state};
    trie_entry entry;
    trie_trash trash = {.link = TRIE_NONE};
    *stored = NULL;
    Py_hash_t hash = PyObject_Hash(key);
    if (hash == -1 || transient_lock(transient) < 0)
        return -1;
    int status = trie_find(&ctx, transient->draft.root, 0, (uint64_t)hash, key, &entry);
    if (status > 0) {
        *stored = Py_NewRef(entry.value);
        transient_unlock(transient);
        return 0;
    }
    if (status == 0) {
        entry = (trie_entry){key, value};
        status = hfpy_trie_put(&ctx, &transient->draft.root, true, hash, &entry, &trash);
    }
    status = transient_finish_edit(transient, status, 1, &trash);
    *stored = status < 0 ? NULL : Py_NewRef(value);
    return status < 0 ? -1 : 0;
}

enum { TRANSIENT_FEW = 8 }; /* entries that are put in one by one */

/* Puts the entries of a Map in a draft. */
static int draft_put_map(core_state *state, hfpy_draft *draft, PyObject *map)
{
    if (((Map *)map)->count > TRANSIENT_FEW)
        return hfpy_draft_update(state, draft, map, NULL, "update");
    trie_link root;
    trie_cursor cursor;
    if (hfpy_map_root((Map *)map, &root) < 0)
        return -1;
    trie_cursor_begin(NULL, &cursor, root, (size_t)((Map *)map)->count);
    for (const trie_entry *entry; (entry = trie_cursor_next(NULL, &cursor)) != NULL;)
        if (hfpy_draft_put(state, draft, entry->key, entry->value) < 0)
            return -1;
    return 0;
}

/* All of it or nothing. The source is read before the transient is locked, so it may itself read the transient; then the
 * work is done on a draft of its own, which takes the place of the transient's when it is done. */
static int transient_put_all(core_state *state, TransientMap *transient, PyObject *source, PyObject *kwargs)
{
    PyObject *map, *snapshot = NULL;
    if (hfpy_transient_idle(transient) < 0)
        return -1;
    if (source != NULL && TransientMap_Check(state, source)) {
        source = snapshot = hfpy_transient_snapshot(state, (TransientMap *)source);
        if (snapshot == NULL)
            return -1;
    }
    map = hfpy_map_from(state, source, kwargs, "update");
    Py_XDECREF(snapshot);
    if (map == NULL)
        return -1;
    if (transient_lock(transient) < 0) {
        Py_DECREF(map);
        return -1;
    }
    hfpy_draft draft = transient->draft;
    draft.owned = draft.root == NULL;
    int status = draft_put_map(state, &draft, map);
    trie_trash trash = {.link = TRIE_NONE};
    bool changed = status == 0 && draft.root != transient->draft.root;
    Py_ssize_t growth = draft.count - transient->draft.count;
    if (changed) {
        trash.link = transient->draft.root;
        transient->draft.root = draft.root;
    } else {
        hfpy_draft_abandon(&draft);
    }
    if (status < 0)
        transient_unlock(transient); /* the exception is set */
    else
        (void)transient_finish_edit(transient, changed, growth, &trash);
    Py_DECREF(map);
    return status;
}

static int transient_assign(PyObject *self, PyObject *key, PyObject *value)
{
    core_state *state = hfpy_state(self);
    if (value != NULL)
        return transient_put(state, (TransientMap *)self, key, value) < 0 ? -1 : 0;
    int removed = transient_discard(state, (TransientMap *)self, key);
    if (removed == 0)
        hfpy_raise_key_error(key);
    return removed > 0 ? 0 : -1;
}

static PyObject *transient_set(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_Format(PyExc_TypeError, "set() takes exactly 2 arguments, key and value (%zd given)", count);
        return NULL;
    }
    if (transient_put(hfpy_state(self), (TransientMap *)self, args[0], args[1]) < 0)
        return NULL;
    return Py_NewRef(self);
}

static PyObject *transient_delete(PyObject *self, PyObject *key)
{
    return transient_discard(hfpy_state(self), (TransientMap *)self, key) < 0 ? NULL : Py_NewRef(self);
}

static PyObject *transient_get(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *fallback, *value;
    if (hfpy_parse_one_or_two("get", "default", args, count, names, &fallback) < 0)
        return NULL;
    int found = hfpy_transient_lookup(hfpy_state(self), (TransientMap *)self, args[0], &value);
    if (found != 0)
        return found < 0 ? NULL : value;
    return Py_NewRef(fallback != NULL ? fallback : Py_None);
}

static PyObject *transient_pop(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    core_state *state = hfpy_state(self);
    PyObject *value;
    if (count < 1 || count > 2) {
        PyErr_Format(PyExc_TypeError, "pop() takes 1 or 2 arguments, key and default (%zd given)", count);
        return NULL;
    }
    int found = transient_take(state, (TransientMap *)self, args[0], &value);
    if (found != 0)
        return found < 0 ? NULL : value;
    if (count == 2)
        return Py_NewRef(args[1]);
    hfpy_raise_key_error(args[0]);
    return NULL;
}

/* Some key, new reference; NULL without an exception if there is none. */
static PyObject *transient_first_key(TransientMap *transient)
{
    trie_cursor cursor;
    trie_cursor_begin(NULL, &cursor, transient->draft.root, (size_t)transient->draft.count);
    const trie_entry *entry = trie_cursor_next(NULL, &cursor);
    return entry == NULL ? NULL : Py_NewRef(entry->key);
}

static PyObject *transient_popitem(PyObject *self, PyObject *unused)
{
    core_state *state = hfpy_state(self);
    TransientMap *transient = (TransientMap *)self;
    PyObject *value, *key;
    int found = 0;
    do { /* again, if the key's __hash__ has removed it */
        if (hfpy_transient_idle(transient) < 0)
            return NULL;
        key = transient_first_key(transient);
        if (key == NULL) {
            PyErr_SetString(PyExc_KeyError, "popitem(): TransientMap is empty");
            return NULL;
        }
        found = transient_take(state, transient, key, &value);
        if (found <= 0)
            Py_DECREF(key);
    } while (found == 0);
    if (found < 0)
        return NULL;
    PyObject *item = PyTuple_Pack(2, key, value);
    if (item == NULL && transient_put(state, transient, key, value) < 0)
        PyErr_NoMemory();
    Py_DECREF(key);
    Py_DECREF(value);
    return item;
}

static PyObject *transient_setdefault(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    core_state *state = hfpy_state(self);
    PyObject *value;
    if (count < 1 || count > 2) {
        PyErr_Format(PyExc_TypeError, "setdefault() takes 1 or 2 arguments, key and default (%zd given)", count);
        return NULL;
    }
    int outcome = transient_put_absent(state, (TransientMap *)self, args[0], count == 2 ? args[1] : Py_None, &value);
    return outcome < 0 ? NULL : value;
}

static PyObject *transient_update(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *source = NULL;
    if (!PyArg_UnpackTuple(args, "update", 0, 1, &source))
        return NULL;
    if (transient_put_all(hfpy_state(self), (TransientMap *)self, source, kwargs) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *transient_inplace_or(PyObject *self, PyObject *other)
{
    return transient_put_all(hfpy_state(self), (TransientMap *)self, other, NULL) < 0 ? NULL : Py_NewRef(self);
}

static PyObject *transient_clear(PyObject *self, PyObject *unused)
{
    TransientMap *transient = (TransientMap *)self;
    if (transient_lock(transient) < 0)
        return NULL;
    trie_trash trash = {.link = transient->draft.root};
    transient->draft.root = NULL;
    (void)transient_finish_edit(transient, trash.link != NULL, -transient->draft.count, &trash);
    Py_RETURN_NONE;
}

/* -- the end -- */

static PyObject *transient_finish(PyObject *self, PyObject *unused)
{
    TransientMap *transient = (TransientMap *)self;
    if (transient->finished != NULL)
        return Py_NewRef(transient->finished);
    if (hfpy_transient_idle(transient) < 0)
        return NULL;
    PyObject *map = transient->origin != NULL ? Py_NewRef((PyObject *)transient->origin)
                                              : hfpy_transient_snapshot(hfpy_state(self), transient);
    if (map == NULL)
        return NULL;
    if (transient->finished != NULL) { /* by a finalizer, while the Map was being made */
        Py_DECREF(map);
        return Py_NewRef(transient->finished);
    }
    if (((Map *)map)->root != transient->draft.root) { /* edited, likewise */
        Py_DECREF(map);
        return transient_finish(self, NULL);
    }
    transient->finished = Py_NewRef(map);
    transient->draft.count = 0;
    Py_CLEAR(transient->draft.root);
    Py_CLEAR(transient->origin);
    return map;
}

static PyObject *transient_exit(PyObject *self, PyObject *args)
{
    PyObject *map = transient_finish(self, NULL);
    if (map == NULL)
        return NULL;
    Py_DECREF(map);
    Py_RETURN_NONE;
}

static PyObject *transient_enter(PyObject *self, PyObject *unused)
{
    return hfpy_transient_alive((TransientMap *)self) < 0 ? NULL : Py_NewRef(self);
}

/* -- as an object -- */

/* Compares a version that nobody changes meanwhile. */
static PyObject *transient_richcompare(PyObject *self, PyObject *other, int op)
{
    core_state *state = hfpy_state(self);
    if (op != Py_EQ && op != Py_NE)
        Py_RETURN_NOTIMPLEMENTED;
    PyObject *left = hfpy_transient_snapshot(state, (TransientMap *)self);
    if (left == NULL)
        return NULL;
    PyObject *right =
        TransientMap_Check(state, other) ? hfpy_transient_snapshot(state, (TransientMap *)other) : Py_NewRef(other);
    PyObject *answer = right == NULL ? NULL : PyObject_RichCompare(left, right, op);
    Py_XDECREF(right);
    Py_DECREF(left);
    return answer;
}

static PyObject *transient_repr(PyObject *self)
{
    if (((TransientMap *)self)->finished != NULL)
        return PyUnicode_FromString("<holdfast.TransientMap finished>");
    return hfpy_repr(hfpy_state(self), self, "TransientMap");
}

static PyObject *transient_view(PyObject *self, enum view_kind kind)
{
    if (hfpy_transient_alive((TransientMap *)self) < 0)
        return NULL;
    return hfpy_view_new(hfpy_state(self), self, kind);
}

static PyObject *transient_iter(PyObject *self)
{
    if (hfpy_transient_alive((TransientMap *)self) < 0)
        return NULL;
    return hfpy_iterator_new(hfpy_state(self), self, VIEW_KEYS);
}

static PyObject *transient_keys(PyObject *self, PyObject *unused)
{
    return transient_view(self, VIEW_KEYS);
}

static PyObject *transient_values(PyObject *self, PyObject *unused)
{
    return transient_view(self, VIEW_VALUES);
}

static PyObject *transient_items(PyObject *self, PyObject *unused)
{
    return transient_view(self, VIEW_ITEMS);
}

static PyObject *transient_check(PyObject *self, PyObject *unused)
{
    PyObject *map = hfpy_transient_snapshot(hfpy_state(self), (TransientMap *)self);
    PyObject *result = map == NULL ? NULL : PyObject_CallMethod(map, "_check", NULL);
    Py_XDECREF(map);
    return result;
}

#define FAST (METH_FASTCALL)

static PyMethodDef transient_methods[] = {
    {"set", (PyCFunction)(void (*)(void))transient_set, FAST,
     PyDoc_STR(
         "set($self, key, value, /)\n--\n\nSets the value of key; returns self, so that calls can be chained.")},
    {"delete", transient_delete, METH_O,
     PyDoc_STR("delete($self, key, /)\n--\n\nRemoves the key if it is there; returns self.")},
    {"get", (PyCFunction)(void (*)(void))transient_get, FAST | METH_KEYWORDS,
     PyDoc_STR("get($self, key, default=None)\n--\n\nThe value of key, or default.")},
    {"pop", (PyCFunction)(void (*)(void))transient_pop, FAST,
     PyDoc_STR("pop($self, key, default=<unrepresentable>, /)\n--\n\n"
               "Removes the key and returns its value; if it is not there, default, or KeyError if none is given.")},
    {"popitem", transient_popitem, METH_NOARGS,
     PyDoc_STR("popitem($self, /)\n--\n\nRemoves some item and returns it. KeyError if there is none.")},
    {"setdefault", (PyCFunction)(void (*)(void))transient_setdefault, FAST,
     PyDoc_STR("setdefault($self, key, default=None, /)\n--\n\n"
               "The value of key, which is set to default first if it is not there.")},
    {"update", (PyCFunction)(void (*)(void))transient_update, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("update($self, mapping_or_pairs=(), /, **entries)\n--\n\n"
               "Puts these entries in. All of them, or, if that fails, none.")},
    {"clear", transient_clear, METH_NOARGS, PyDoc_STR("clear($self, /)\n--\n\nRemoves all items.")},
    {"keys", transient_keys, METH_NOARGS, PyDoc_STR("keys($self, /)\n--\n\nA set-like view of the keys.")},
    {"values", transient_values, METH_NOARGS, PyDoc_STR("values($self, /)\n--\n\nA view of the values.")},
    {"items", transient_items, METH_NOARGS, PyDoc_STR("items($self, /)\n--\n\nA set-like view of the items.")},
    {"finish", transient_finish, METH_NOARGS,
     PyDoc_STR("finish($self, /)\n--\n\n"
               "Ends the transient and returns the Map it has become, in O(1): the one it began with, if nothing has\n"
               "changed. Again: the same Map.")},
    {"persistent", transient_finish, METH_NOARGS, PyDoc_STR("persistent($self, /)\n--\n\nThe same as finish().")},
    {"__enter__", transient_enter, METH_NOARGS, NULL},
    {"__exit__", transient_exit, METH_VARARGS, NULL},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, NULL},
    {"_check", transient_check, METH_NOARGS,
     PyDoc_STR("_check($self, /)\n--\n\nFor tests: AssertionError if the trie breaks one of its invariants.")},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef transient_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(TransientMap, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(
    transient_doc,
    "What Map.mutate() returns: a mutable mapping that starts as the Map and becomes another.\n"
    "\n"
    "It behaves like a dict. finish(), or the end of its `with` block, makes a Map of it, in O(1); after that\n"
    "it can no longer be used. Not for several threads at once: they get a RuntimeError, as does a key whose\n"
    "__eq__ or __hash__ uses the transient that is comparing it.");

static PyType_Slot transient_slots[] = {
    {Py_tp_doc, (void *)transient_doc},
    {Py_tp_dealloc, transient_dealloc},
    {Py_tp_traverse, transient_traverse},
    {Py_tp_clear, transient_clear_object},
    {Py_tp_repr, transient_repr},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {Py_tp_richcompare, transient_richcompare},
    {Py_tp_iter, transient_iter},
    {Py_tp_methods, transient_methods},
    {Py_tp_members, transient_members},
    {Py_mp_subscript, transient_subscript},
    {Py_mp_ass_subscript, transient_assign},
    {Py_mp_length, transient_length},
    {Py_sq_contains, transient_contains},
    {Py_nb_inplace_or, transient_inplace_or},
    {0, NULL},
};

PyType_Spec hfpy_transient_spec = {
    .name = "holdfast.TransientMap",
    .basicsize = sizeof(TransientMap),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_MAPPING,
    .slots = transient_slots,
};

/*
 * trie.c: the trie of Python objects: the template, instantiated with the policies of CPython's memory, and the types
 * of its nodes. See trie_policy.h for the layout and its reasons.
 */
#include "trie.h"

#include <string.h>

#include "map_pairs.h"

/* -- counting -- */

static inline void trie_keep_link(trie_ctx *ctx, trie_link link)
{
    Py_INCREF(link);
}

static inline void trie_drop_link(trie_ctx *ctx, trie_link link)
{
    Py_DECREF(link);
}

static inline int trie_keep_entries(trie_ctx *ctx, trie_entry *entries, uint32_t count)
{
#pragma GCC unroll 2
    for (uint32_t i = 0; i < count; i++) {
        Py_INCREF(entries[i].key);
        Py_INCREF(entries[i].value);
    }
    return 0;
}

static inline void trie_drop_entries(trie_ctx *ctx, trie_entry *entries, uint32_t count)
{
#pragma GCC unroll 2
    for (uint32_t i = 0; i < count; i++) {
        Py_DECREF(entries[i].key);
        Py_DECREF(entries[i].value);
    }
}

/* -- traits -- */

static inline unsigned trie_traits_of(trie_ctx *ctx, trie_link link)
{
    return Py_IS_TYPE((PyObject *)link, ctx->state->tracked_node_type) ? TRAIT_TRACKED : 0;
}

static inline unsigned trie_traits_for(trie_ctx *ctx, const trie_entry *entry)
{
    return PyType_IS_GC(Py_TYPE(entry->key)) || PyType_IS_GC(Py_TYPE(entry->value)) ? TRAIT_TRACKED : 0;
}

/* -- building -- */

static inline size_t node_slots_size(hf_trie_maps maps)
{
    return hf_trie_entry_count(maps) * sizeof(trie_entry) + hf_trie_child_count(maps) * sizeof(trie_link);
}

/* Its slots are not written, so the collector must not see it yet, and does not: trie_seal shows it. */
static inline int trie_fresh(trie_ctx *ctx, hf_trie_maps maps, unsigned traits, trie_link *out)
{
    size_t slots = node_slots_size(maps);
    trie_node *node;
    if (traits & TRAIT_TRACKED) {
        node = (trie_node *)PyObject_GC_NewVar(PyVarObject, ctx->state->tracked_node_type,
                                               (Py_ssize_t)(slots / sizeof(uint64_t)));
        if (node == NULL)
            return HF_NOMEM;
    } else {
        node = PyObject_Malloc(sizeof *node + slots);
        if (node == NULL) {
            PyErr_NoMemory();
            return HF_NOMEM;
        }
        (void)PyObject_Init((PyObject *)node, ctx->state->node_type);
    }
    node->maps = maps;
    node->digest = 0;
    *out = node;
    return 0;
}

static inline void trie_seal(trie_ctx *ctx, trie_link link)
{
    if (trie_traits_of(ctx, link) & TRAIT_TRACKED)
        PyObject_GC_Track(link);
}

/* Not by Py_DECREF: the end of a deallocator is where CPython deallocates what it has put off (the trashcan), which
 * is foreign code. But a collection in trie_fresh runs gc.callbacks, and gc.get_objects() gives them every node; one
 * that somebody has got hold of that way is left to him, empty. */
static inline void trie_shell_free(trie_ctx *ctx, trie_link link)
{
    PyTypeObject *type = Py_TYPE(link);
    if (!hfpy_is_only_reference((PyObject *)link)) {
        link->maps = (hf_trie_maps){0, 0};
        link->digest = 0;
        Py_DECREF(link);
        return;
    }
    hfpy_forget((PyObject *)link);
    if (PyType_IS_GC(type)) {
        PyObject_GC_UnTrack(link);
        PyObject_GC_Del(link);
    } else {
        PyObject_Free(link);
    }
    Py_DECREF(type);
}

static inline int trie_replace(trie_ctx *ctx, const trie_entry *stored, const trie_entry *entry, trie_entry *out)
{
    out->key = Py_NewRef(stored->key);
    out->value = Py_NewRef(entry->value);
    return 0;
}

static inline void trie_swap_values(trie_entry *a, trie_entry *b)
{
    PyObject *value = a->value;
    a->value = b->value;
    b->value = value;
}

/* -- editing -- */

static inline bool trie_ours(trie_ctx *ctx, trie_link link, unsigned traits)
{
    return hfpy_is_only_reference((PyObject *)link) && (traits & ~trie_traits_of(ctx, link)) == 0;
}

static inline void trie_touch(trie_ctx *ctx, trie_link link)
{
    link->digest = 0;
}

static inline void trie_superseded(trie_ctx *ctx, trie_link link)
{
}

static inline void trie_superseded_entry(trie_ctx *ctx, const trie_entry *entry)
{
}

/* -- values and digests -- */

static inline int trie_same_value(trie_ctx *ctx, const trie_entry *a, const trie_entry *b)
{
    if (a->value == b->value)
        return 1;
    if (ctx->deferred != NULL && Map_Check(ctx->state, a->value) && Map_Check(ctx->state, b->value))
        return map_pairs_push(ctx->deferred, (Map *)a->value, (Map *)b->value);
    PyObject *left = Py_NewRef(a->value), *right = Py_NewRef(b->value);
    int same = PyObject_RichCompareBool(left, right, Py_EQ);
    Py_DECREF(left);
    Py_DECREF(right);
    return same < 0 ? HF_FOREIGN : same;
}

/* What frozenset does to an element's hash before it takes the XOR of all; here of the tuple (key, value). */
static inline int trie_digest_entry(trie_ctx *ctx, const trie_entry *entry, uint64_t *digest)
{
    PyObject *item = PyTuple_Pack(2, entry->key, entry->value);
    if (item == NULL)
        return HF_NOMEM;
    uint64_t hash = (uint64_t)PyObject_Hash(item);
    Py_DECREF(item);
    if (hash == (uint64_t)-1 && PyErr_Occurred())
        return HF_FOREIGN;
    *digest = ((hash ^ 89869747u) ^ (hash << 16)) * 3644798167u;
    return 0;
}

/* Threads that digest the same node at once all store the same number. */
static inline uint64_t trie_digest_load(trie_ctx *ctx, trie_link link)
{
    return __atomic_load_n(&link->digest, __ATOMIC_RELAXED);
}

static inline void trie_digest_save(trie_ctx *ctx, trie_link link, uint64_t digest)
{
    __atomic_store_n(&link->digest, digest, __ATOMIC_RELAXED);
}

#include "trie/trie_algo.h"
#include "trie/trie_prepare.h"

int hfpy_same_key_slowly(PyObject *stored, PyObject *key)
{
    PyTypeObject *type = Py_TYPE(key);
    PyObject *answer;
    if (type == &PyLong_Type && Py_IS_TYPE(stored, &PyLong_Type)) {
        answer = PyLong_Type.tp_richcompare(stored, key, Py_EQ);
        Py_XDECREF(answer);
        return answer == Py_True;
    }
    Py_INCREF(stored);
    int same = PyObject_RichCompareBool(stored, key, Py_EQ);
    Py_DECREF(stored);
    return same < 0 ? HF_FOREIGN : same;
}

int hfpy_trie_put(trie_ctx *ctx, trie_link *root, bool mine, Py_hash_t hash, const trie_entry *entry,
                  trie_trash *trash)
{
    return trie_put(ctx, root, 0, mine, (uint64_t)hash, entry, TRIE_PUT_VALUE, trash);
}

int hfpy_trie_remove(trie_ctx *ctx, trie_link *root, bool mine, Py_hash_t hash, PyObject *key, trie_trash *trash)
{
    trie_remainder rest;
    return trie_remove(ctx, root, 0, mine, (uint64_t)hash, key, &rest, trash);
}

int hfpy_trie_prepare_put(trie_ctx *ctx, trie_link root, Py_hash_t hash, const trie_entry *entry, trie_edit *edit)
{
    return trie_prepare_put(ctx, root, (uint64_t)hash, entry, TRIE_PUT_VALUE, edit);
}

int hfpy_trie_prepare_remove(trie_ctx *ctx, trie_link root, Py_hash_t hash, PyObject *key, trie_entry *gone,
                             trie_edit *edit)
{
    return trie_prepare_remove(ctx, root, (uint64_t)hash, key, gone, edit);
}

int hfpy_trie_perform(trie_ctx *ctx, trie_link *root, bool mine, const trie_edit *edit, trie_trash *trash)
{
    return trie_perform(ctx, root, mine, edit, trash);
}

void hfpy_trie_edit_drop(trie_edit *edit)
{
    trie_edit_drop(NULL, edit);
}

void hfpy_trie_trash_drop(trie_trash *trash)
{
    trie_trash_drop(NULL, trash);
}

int hfpy_trie_build(trie_builder *builder, trie_item *items, size_t *count, trie_link *root)
{
    return trie_build(builder, items, count, root);
}

size_t hfpy_trie_count(trie_link root)
{
    return trie_count(NULL, root);
}

int hfpy_trie_equal(trie_ctx *ctx, trie_link a, trie_link b)
{
    return trie_equal(ctx, a, b);
}

int hfpy_trie_digest(trie_ctx *ctx, trie_link root, uint64_t *digest)
{
    return trie_digest(ctx, root, digest);
}

int hfpy_trie_combine(trie_ctx *ctx, const trie_algebra *op, void *arg, trie_link left, size_t left_count,
                      trie_link right, size_t right_count, trie_link *root, size_t *count)
{
    return trie_combine(ctx, op, arg, left, left_count, right, right_count, root, count);
}

int hfpy_trie_merge3(trie_ctx *ctx, trie_resolver *resolve, void *arg, trie_link base, trie_link mine,
                     trie_link theirs, trie_link *root, ptrdiff_t *delta)
{
    return trie_merge3(ctx, resolve, arg, base, mine, theirs, root, delta);
}

int hfpy_trie_check(trie_ctx *ctx, trie_link root, size_t count, const char **fault)
{
    return trie_check(ctx, root, count, fault);
}

/* -- the node types -- */

size_t hfpy_node_size(trie_link node)
{
    size_t size = sizeof *node + node_slots_size(node->maps);
    /* The collector's two words in front of the object. */
    return PyType_IS_GC(Py_TYPE(node)) ? size + 2 * sizeof(void *) : size;
}

/* Drops the contents and gives back the memory. */
static inline void node_clear_and_free(trie_node *node, freefunc release)
{
    PyTypeObject *type = Py_TYPE(node);
    trie_drop_entries(NULL, trie_entries(node), hf_trie_entry_count(node->maps));
    trie_drop_links(NULL, trie_links(node), hf_trie_child_count(node->maps));
    release(node);
    Py_DECREF(type);
}

/* Below a plain node there are only plain nodes, thirteen levels of them at the most, and objects that hold no others. */
static void node_dealloc(PyObject *self)
{
    node_clear_and_free((trie_node *)(void *)self, PyObject_Free);
}

/* Maps may be nested in maps, without limit, so here the stack must be looked after. */
static void tracked_node_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, tracked_node_dealloc)
    node_clear_and_free((trie_node *)(void *)self, PyObject_GC_Del);
    Py_TRASHCAN_END
}

static int tracked_node_traverse(PyObject *self, visitproc visit, void *arg)
{
    trie_node *node = (trie_node *)(void *)self;
    const trie_entry *entries = trie_entries(node);
    uint32_t count = hf_trie_entry_count(node->maps);
    for (uint32_t i = 0; i < count; i++) {
        Py_VISIT(entries[i].key);
        Py_VISIT(entries[i].value);
    }
    const trie_link *links = trie_links(node);
    count = hf_trie_child_count(node->maps);
    for (uint32_t i = 0; i < count; i++)
        Py_VISIT(links[i]);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

#define NODE_DOC "A node of the trie. Not for use: nodes are only seen by the garbage collector."

/* object's own would read the maps as a length. sys.getsizeof adds the collector's words. */
static PyObject *node_sizeof(PyObject *self, PyObject *unused)
{
    return PyLong_FromSize_t(sizeof(trie_node) + node_slots_size(((trie_node *)(void *)self)->maps));
}

static PyMethodDef node_methods[] = {
    {"__sizeof__", node_sizeof, METH_NOARGS, NULL},
    {"__reduce__", hfpy_node_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot node_slots[] = {
    {Py_tp_doc, NODE_DOC},
    {Py_tp_dealloc, node_dealloc},
    {Py_tp_methods, node_methods},
    {0, NULL},
};

static PyType_Spec node_spec = {
    .name = "holdfast._core.Node",
    .basicsize = sizeof(trie_node),
    .itemsize = sizeof(uint64_t),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = node_slots,
};

static PyType_Slot tracked_node_slots[] = {
    {Py_tp_doc, NODE_DOC},
    {Py_tp_dealloc, tracked_node_dealloc},
    {Py_tp_traverse, tracked_node_traverse},
    {Py_tp_methods, node_methods},
    {0, NULL},
};

static PyType_Spec tracked_node_spec = {
    .name = "holdfast._core.TrackedNode",
    .basicsize = sizeof(trie_node),
    .itemsize = sizeof(uint64_t),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = tracked_node_slots,
};

int hfpy_trie_exec(PyObject *module, core_state *state)
{
    state->node_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &node_spec, NULL);
    if (state->node_type == NULL)
        return -1;
    state->tracked_node_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &tracked_node_spec, NULL);
    return state->tracked_node_type == NULL ? -1 : 0;
}

/*
 * pickle.c: pickling Maps such that versions which share memory share it in the pickle and after it.
 *
 * Out. Nodes are objects, so pickle's own memo can do the sharing: a Map reduces to its root, and a node to its content
 * and its children,
 *
 *      Map   ->  _load_map(root)
 *      node  ->  _load_node((key, value, key, value, ...), child, child, ...)
 *
 * where the contents of very small children are put in with the node's own. A version that differs from one pickled
 * before by one path adds that path.
 *
 * In. A trie cannot be rebuilt from its nodes: the hashes of strings are another process's. So _load_node only makes a
 * Pickled, a plain record of content and children; _load_map builds the first version in bulk. A later one is derived:
 * among the subtrees it is made of there are some that an earlier version was loaded from (Pickled.version). From
 * the latest of those the Pickled trees of both are walked down side by side, past what they share, and what only one of
 * them has is taken out or put in.
 *
 *      version 1:   root ---- a ---- ...        version 2:  root' --- a (shared: not entered)
 *                       \---- b ---- ...                        \---- b' (replaces b)
 *
 * Lifetime. A version knows its root without owning it, or the two would keep each other alive: the root
 * clears the pointer when it dies (with the unpickler's memo).
 *
 * A pickle may be hostile: argument types, lengths and depth are checked. Like any other it can make Python call
 * what it likes; that is pickle's own affair.
 */
#include "trie.h"

/* A subtree with no more entries than this is pickled with its parent. */
enum { PICKLE_INLINE = 4 };

typedef struct Pickled Pickled;

/* A Map that has been loaded. What it is, its root knows (Pickled.map), where the collector can see it. */
typedef struct loaded_version {
    Py_ssize_t references;
    uint64_t serial; /* later versions have higher ones */
    Pickled *root;   /* borrowed; NULL when it is gone */
} loaded_version;

struct Pickled {
    PyObject_HEAD
    PyObject *content;       /* a tuple: key, value, key, value, ... */
    PyObject *children;      /* a tuple of Pickled */
    Py_ssize_t count;        /* entries, those of the children included */
    int height;              /* of the tree below */
    loaded_version *version; /* the first version loaded that has this subtree, or NULL */
    PyObject *map;           /* of a version's root: the Map it was loaded as; else NULL */
    uint64_t surveyed;       /* the last load that has come past here */
};

/* -- out -- */

/* Adds the entries at and below a node to a list. */
static int list_entries(PyObject *list, trie_link link)
{
    trie_cursor cursor;
    trie_cursor_begin(NULL, &cursor, link, SIZE_MAX);
    for (const trie_entry *entry; (entry = trie_cursor_next(NULL, &cursor)) != NULL;)
        if (PyList_Append(list, entry->key) < 0 || PyList_Append(list, entry->value) < 0)
            return -1;
    return 0;
}

static bool is_small(trie_link link)
{
    if (hf_trie_entry_count(link->maps) > PICKLE_INLINE)
        return false;
    return hfpy_trie_count(link) <= PICKLE_INLINE;
}

PyObject *hfpy_node_reduce(PyObject *self, PyObject *unused)
{
    trie_link node = (trie_link)(void *)self;
    core_state *state = hfpy_state(self);
    PyObject *content = PyList_New(0), *args = PyList_New(1), *result = NULL;
    if (content == NULL || args == NULL)
        goto done;
    uint32_t count = hf_trie_entry_count(node->maps);
    for (uint32_t i = 0; i < count; i++) {
        if (PyList_Append(content, trie_entries(node)[i].key) < 0 ||
            PyList_Append(content, trie_entries(node)[i].value) < 0)
            goto done;
    }
    count = hf_trie_child_count(node->maps);
    for (uint32_t i = 0; i < count; i++) {
        trie_link child = trie_links(node)[i];
        int status = is_small(child) ? list_entries(content, child) : PyList_Append(args, (PyObject *)child);
        if (status < 0)
            goto done;
    }
    PyObject *tuple = PyList_AsTuple(content);
    if (tuple == NULL)
        goto done;
    PyList_SET_ITEM(args, 0, tuple);
    PyObject *call = PyList_AsTuple(args);
    if (call != NULL)
        result = PyTuple_Pack(2, state->load_node, call);
    Py_XDECREF(call);
done:
    Py_XDECREF(content);
    Py_XDECREF(args);
    return result;
}

PyObject *hfpy_map_reduce(core_state *state, Map *map)
{
    trie_link root;
    if (hfpy_map_root(map, &root) < 0)
        return NULL;
    if (root == NULL)
        return Py_BuildValue("O()", state->map_type);
    return Py_BuildValue("O(O)", state->load_map, root);
}

/* -- in: Pickled -- */

static void version_release(loaded_version *version)
{
    if (version != NULL && --version->references == 0)
        PyMem_Free(version);
}

static int pickled_clear(PyObject *self)
{
    Pickled *pickled = (Pickled *)self;
    if (pickled->version != NULL && pickled->version->root == pickled)
        pickled->version->root = NULL;
    Py_CLEAR(pickled->map);
    Py_CLEAR(pickled->content);
    Py_CLEAR(pickled->children);
    return 0;
}

static void pickled_dealloc(PyObject *self)
{
    Pickled *pickled = (Pickled *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)pickled_clear(self);
    version_release(pickled->version);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static int pickled_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((Pickled *)self)->content);
    Py_VISIT(((Pickled *)self)->children);
    Py_VISIT(((Pickled *)self)->map);
    return 0;
}

static PyType_Slot pickled_slots[] = {
    {Py_tp_doc, "Part of a Map on its way out of a pickle. Not for use."},
    {Py_tp_dealloc, pickled_dealloc},
    {Py_tp_traverse, pickled_traverse},
    {Py_tp_clear, pickled_clear},
    {0, NULL},
};

static PyType_Spec pickled_spec = {
    .name = "holdfast._core.Pickled",
    .basicsize = sizeof(Pickled),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = pickled_slots,
};

static PyObject *load_node(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    core_state *state = PyModule_GetState(module);
    if (count < 1 || !PyTuple_CheckExact(args[0]) || PyTuple_GET_SIZE(args[0]) % 2 != 0) {
        PyErr_SetString(PyExc_TypeError, "damaged pickle of a Map: a node needs a tuple of keys and values");
        return NULL;
    }
    Py_ssize_t entries = PyTuple_GET_SIZE(args[0]) / 2;
    int height = 1;
    for (Py_ssize_t i = 1; i < count; i++) {
        Pickled *child = (Pickled *)args[i];
        if (!Py_IS_TYPE(args[i], state->pickled_type) || child->children == NULL) {
            PyErr_Format(PyExc_TypeError, "damaged pickle of a Map: a child is a '%.200s'",
                         Py_TYPE(args[i])->tp_name);
            return NULL;
        }
        height = child->height + 1 > height ? child->height + 1 : height;
        if (entries > PY_SSIZE_T_MAX - child->count || height > HF_TRIE_HEIGHT || count > HF_TRIE_FANOUT + 1) {
            PyErr_SetString(PyExc_ValueError, "damaged pickle of a Map: a tree of nodes that no Map has");
            return NULL;
        }
        entries += child->count;
    }
    Pickled *pickled = PyObject_GC_New(Pickled, state->pickled_type);
    if (pickled == NULL)
        return NULL;
    pickled->content = Py_NewRef(args[0]);
    pickled->children = PyTuple_New(count - 1);
    pickled->count = entries;
    pickled->height = height;
    pickled->version = NULL;
    pickled->map = NULL;
    pickled->surveyed = 0;
    if (pickled->children == NULL) {
        Py_DECREF(pickled);
        return NULL;
    }
    for (Py_ssize_t i = 1; i < count; i++)
        PyTuple_SET_ITEM(pickled->children, i - 1, Py_NewRef(args[i]));
    PyObject_GC_Track(pickled);
    return (PyObject *)pickled;
}

/* -- in: versions -- */

static inline Py_ssize_t child_count(const Pickled *pickled)
{
    return PyTuple_GET_SIZE(pickled->children);
}

static inline Pickled *child_of(const Pickled *pickled, Py_ssize_t index)
{
    return (Pickled *)PyTuple_GET_ITEM(pickled->children, index);
}

/* Goes over what no earlier version has, once. *latest becomes the latest version, still to be had, that another subtree
 * was loaded with. A tree that comes past a node twice is no Map's, and could be exponentially large: -1. */
static int survey(Pickled *pickled, uint64_t serial, loaded_version **latest)
{
    if (pickled->version != NULL) {
        loaded_version *version = pickled->version;
        if (version->root != NULL && (*latest == NULL || version->serial > (*latest)->serial))
            *latest = version;
        return 0;
    }
    if (pickled->surveyed == serial || pickled->children == NULL) {
        PyErr_SetString(PyExc_ValueError, "damaged pickle of a Map: a node has two parents");
        return -1;
    }
    pickled->surveyed = serial;
    for (Py_ssize_t i = 0; i < child_count(pickled); i++)
        if (survey(child_of(pickled, i), serial, latest) < 0)
            return -1;
    return 0;
}

/* Marks what no earlier version has as loaded with this one. */
static void mark_version(Pickled *pickled, loaded_version *version)
{
    if (pickled->version != NULL)
        return;
    pickled->version = version;
    version->references++;
    for (Py_ssize_t i = 0; i < child_count(pickled); i++)
        mark_version(child_of(pickled, i), version);
}

/* Adds the entries of a subtree, as pairs, to a list. */
static int list_pairs(PyObject *list, Pickled *pickled, bool deep)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(pickled->content); i += 2) {
        PyObject *pair =
            PyTuple_Pack(2, PyTuple_GET_ITEM(pickled->content, i), PyTuple_GET_ITEM(pickled->content, i + 1));
        int status = pair == NULL ? -1 : PyList_Append(list, pair);
        Py_XDECREF(pair);
        if (status < 0)
            return -1;
    }
    for (Py_ssize_t i = 0; deep && i < child_count(pickled); i++)
        if (list_pairs(list, child_of(pickled, i), deep) < 0)
            return -1;
    return 0;
}

/* A bit for each child of `a` that is not among those of `b`. There are 32 at the most. */
static uint32_t children_not_in(const Pickled *a, const Pickled *b)
{
    uint32_t only = 0;
    for (Py_ssize_t i = 0; i < child_count(a); i++) {
        bool found = i < child_count(b) && child_of(b, i) == child_of(a, i);
        for (Py_ssize_t j = 0; !found && j < child_count(b); j++)
            found = child_of(b, j) == child_of(a, i);
        only |= (uint32_t)!found << i;
    }
    return only;
}

/* Lists what only `old` and what only `new` has; entries that both have may be in both lists. */
static int list_differences(Pickled *old, Pickled *new, PyObject *gone, PyObject *come)
{
    if (old == new)
        return 0;
    if (list_pairs(gone, old, false) < 0 || list_pairs(come, new, false) < 0)
        return -1;
    uint32_t only_old = children_not_in(old, new), only_new = children_not_in(new, old);
    while (only_old != 0 && only_new != 0) {
        Pickled *a = child_of(old, hf_trie_lowest(only_old)), *b = child_of(new, hf_trie_lowest(only_new));
        if (list_differences(a, b, gone, come) < 0)
            return -1;
        only_old &= only_old - 1;
        only_new &= only_new - 1;
    }
    for (; only_old != 0; only_old &= only_old - 1)
        if (list_pairs(gone, child_of(old, hf_trie_lowest(only_old)), true) < 0)
            return -1;
    for (; only_new != 0; only_new &= only_new - 1)
        if (list_pairs(come, child_of(new, hf_trie_lowest(only_new)), true) < 0)
            return -1;
    return 0;
}

/* Whether two values cannot be told apart, apart from their addresses. Numbers and strings are not in pickle's memo, or
 * not always, and so come in again with every node that has them. */
static bool is_same_atom(PyObject *a, PyObject *b)
{
    if (a == b)
        return true;
    if (Py_TYPE(a) != Py_TYPE(b))
        return false;
    if (PyFloat_CheckExact(a)) {
        double x = PyFloat_AS_DOUBLE(a), y = PyFloat_AS_DOUBLE(b);
        uint64_t bits_x, bits_y; /* 0.0 is not -0.0, and a nan is itself */
        memcpy(&bits_x, &x, sizeof x);
        memcpy(&bits_y, &y, sizeof y);
        return bits_x == bits_y;
    }
    if (!PyLong_CheckExact(a) && !PyUnicode_CheckExact(a) && !PyBytes_CheckExact(a))
        return false;
    PyObject *answer = Py_TYPE(a)->tp_richcompare(a, b, Py_EQ);
    if (answer == NULL)
        PyErr_Clear(); /* out of memory: then they count as different */
    Py_XDECREF(answer);
    return answer == Py_True;
}

/* Puts one pair in, unless the draft has it. A key that is equal to the one there but not the same (1.0 and 1) takes its
 * place, for in that version it was the key. */
static int apply_arrival(core_state *state, hfpy_draft *draft, PyObject *pair)
{
    PyObject *key = PyTuple_GET_ITEM(pair, 0), *value = PyTuple_GET_ITEM(pair, 1);
    trie_ctx ctx = {.state = state};
    trie_entry stored;
    Py_hash_t hash = PyObject_Hash(key);
    if (hash == -1)
        return -1;
    int found = trie_find(&ctx, draft->root, 0, (uint64_t)hash, key, &stored);
    if (found < 0)
        return hfpy_raise(found);
    if (found > 0) {
        if (!is_same_atom(stored.key, key)) {
            if (hfpy_draft_discard(state, draft, key) < 0)
                return -1;
        } else if (is_same_atom(stored.value, value)) {
            return 0;
        }
    }
    return hfpy_draft_put_hashed(state, draft, hash, key, value);
}

/* `map` with what has gone, unless it has come as well, taken out and what has come put in. */
static PyObject *apply_differences(core_state *state, Map *map, PyObject *gone, PyObject *come)
{
    PyObject *arrivals = hfpy_map_from(state, come, NULL, "pickle");
    if (arrivals == NULL)
        return NULL;
    hfpy_draft draft;
    if (hfpy_draft_begin(&draft, map) < 0) {
        Py_DECREF(arrivals);
        return NULL;
    }
    int status = 0;
    for (Py_ssize_t i = 0; status >= 0 && i < PyList_GET_SIZE(gone); i++) {
        PyObject *key = PyTuple_GET_ITEM(PyList_GET_ITEM(gone, i), 0);
        status = PySequence_Contains(arrivals, key);
        if (status == 0)
            status = hfpy_draft_discard(state, &draft, key);
    }
    for (Py_ssize_t i = 0; status >= 0 && i < PyList_GET_SIZE(come); i++)
        status = apply_arrival(state, &draft, PyList_GET_ITEM(come, i));
    Py_DECREF(arrivals);
    if (status >= 0)
        return hfpy_draft_finish(state, &draft, map);
    hfpy_draft_abandon(&draft);
    return NULL;
}

static PyObject *load_first(core_state *state, Pickled *root)
{
    PyObject *pairs = PyList_New(0), *map = NULL;
    if (pairs != NULL && list_pairs(pairs, root, true) == 0)
        map = hfpy_map_from(state, pairs, NULL, "pickle");
    Py_XDECREF(pairs);
    return map;
}

static PyObject *load_derived(core_state *state, Pickled *root, loaded_version *version)
{
    /* Foreign code may drop the earlier version meanwhile. */
    Pickled *old = (Pickled *)Py_NewRef((PyObject *)version->root);
    PyObject *base = Py_NewRef(version->root->map), *map = NULL;
    PyObject *gone = PyList_New(0), *come = PyList_New(0);
    if (gone != NULL && come != NULL && list_differences(old, root, gone, come) == 0)
        map = apply_differences(state, (Map *)base, gone, come);
    Py_XDECREF(gone);
    Py_XDECREF(come);
    Py_DECREF(base);
    Py_DECREF(old);
    return map;
}

static PyObject *load_map(PyObject *module, PyObject *argument)
{
    core_state *state = PyModule_GetState(module);
    Pickled *root = (Pickled *)argument;
    if (!Py_IS_TYPE(argument, state->pickled_type) || root->children == NULL) {
        PyErr_Format(PyExc_TypeError, "damaged pickle of a Map: its root is a '%.200s'", Py_TYPE(argument)->tp_name);
        return NULL;
    }
    if (root->map != NULL)
        return Py_NewRef(root->map);
    loaded_version *earlier = NULL;
    uint64_t serial = ++state->loaded_versions;
    if (survey(root, serial, &earlier) < 0)
        return NULL;
    PyObject *map = earlier == NULL ? load_first(state, root) : load_derived(state, root, earlier);
    if (map == NULL)
        return NULL;
    if (((Map *)map)->count != root->count) {
        Py_DECREF(map);
        PyErr_SetString(PyExc_ValueError, "damaged pickle of a Map: it has a key twice");
        return NULL;
    }
    if (root->version != NULL)
        return map;
    loaded_version *version = PyMem_Malloc(sizeof *version);
    if (version == NULL) {
        Py_DECREF(map);
        return PyErr_NoMemory();
    }
    *version = (loaded_version){.references = 1, .serial = serial, .root = root};
    root->map = Py_NewRef(map);
    mark_version(root, version);
    version_release(version);
    return map;
}

/* -- the module's functions -- */

static PyMethodDef pickle_functions[] = {
    {"_load_node", (PyCFunction)(void (*)(void))load_node, METH_FASTCALL,
     PyDoc_STR("Part of a pickled Map. Not for use.")},
    {"_load_map", load_map, METH_O, PyDoc_STR("Part of a pickled Map. Not for use.")},
};

int hfpy_pickle_exec(PyObject *module, core_state *state)
{
    state->pickled_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &pickled_spec, NULL);
    state->load_node = hfpy_add_function(module, &pickle_functions[0], "holdfast._core");
    state->load_map = hfpy_add_function(module, &pickle_functions[1], "holdfast._core");
    return state->pickled_type == NULL || state->load_node == NULL || state->load_map == NULL ? -1 : 0;
}

/* footprint.c: how much memory Maps take up, alone and together. */
#include "trie.h"

/* The nodes seen so far: a hash table of addresses with linear probing, at most half full. */
typedef struct node_set {
    trie_link *slots;
    size_t mask; /* slots less one */
    size_t count;
} node_set;

static size_t node_set_slot(const node_set *set, trie_link node)
{
    /* Fibonacci hashing (Knuth): the low bits of an address say little. */
    size_t slot = (size_t)(((uintptr_t)node >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 20) & set->mask;
    while (set->slots[slot] != NULL && set->slots[slot] != node)
        slot = (slot + 1) & set->mask;
    return slot;
}

static int node_set_grow(node_set *set)
{
    node_set grown = {.mask = set->slots == NULL ? 63 : 2 * set->mask + 1, .count = set->count};
    grown.slots = PyMem_Calloc(grown.mask + 1, sizeof *grown.slots);
    if (grown.slots == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; set->slots != NULL && i <= set->mask; i++)
        if (set->slots[i] != NULL)
            grown.slots[node_set_slot(&grown, set->slots[i])] = set->slots[i];
    PyMem_Free(set->slots);
    *set = grown;
    return 0;
}

/* 1 if the node is new, 0 if it was there, -1 with an exception. */
static int node_set_add(node_set *set, trie_link node)
{
    if ((set->slots == NULL || 2 * set->count > set->mask) && node_set_grow(set) < 0)
        return -1;
    size_t slot = node_set_slot(set, node);
    if (set->slots[slot] == node)
        return 0;
    set->slots[slot] = node;
    set->count++;
    return 1;
}

/* Adds up the nodes below `link`. With a set, only those not in it yet, and puts them in. */
static int add_nodes(node_set *seen, trie_link link, size_t *bytes)
{
    if (link == NULL)
        return 0;
    int new = seen == NULL ? 1 : node_set_add(seen, link);
    if (new <= 0)
        return new;
    *bytes += hfpy_node_size(link);
    uint32_t count = hf_trie_child_count(link->maps);
    for (uint32_t i = 0; i < count; i++)
        if (add_nodes(seen, trie_links(link)[i], bytes) < 0)
            return -1;
    return 0;
}

PyObject *hfpy_map_sizeof(PyObject *self, PyObject *unused)
{
    size_t bytes = sizeof(Map);
    trie_link root;
    if (hfpy_map_root((Map *)self, &root) < 0 || add_nodes(NULL, root, &bytes) < 0)
        return NULL;
    return PyLong_FromSize_t(bytes);
}

PyObject *hfpy_footprint(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    core_state *state = PyModule_GetState(module);
    node_set seen = {NULL, 0, 0};
    size_t bytes = 0;
    PyObject *maps = PySet_New(NULL), *result = NULL;
    if (maps == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!Map_Check(state, args[i])) {
            PyErr_Format(PyExc_TypeError, "footprint() argument %zd must be a Map, not '%.200s'", i + 1,
                         Py_TYPE(args[i])->tp_name);
            goto done;
        }
        /* By address: equal Maps may be different ones. */
        PyObject *address = PyLong_FromVoidPtr(args[i]);
        Py_ssize_t known = PySet_GET_SIZE(maps);
        int status = address == NULL ? -1 : PySet_Add(maps, address);
        Py_XDECREF(address);
        if (status < 0)
            goto done;
        if (PySet_GET_SIZE(maps) > known)
            bytes += sizeof(Map) + 2 * sizeof(void *);
        trie_link root;
        if (hfpy_map_root((Map *)args[i], &root) < 0 || add_nodes(&seen, root, &bytes) < 0)
            goto done;
    }
    result = PyLong_FromSize_t(bytes);
done:
    PyMem_Free(seen.slots);
    Py_DECREF(maps);
    return result;
}

/*
 * trie_policy.h: the trie in CPython's memory: its nodes are Python objects.
 *
 *      +------------+---------+-----------+-----------+--------+-------------------------+
 *      | ob_refcnt  | ob_type | entry_map | child_map | digest | entries...  links...    |
 *      +------------+---------+-----------+-----------+--------+-------------------------+
 *      0            8         16          20          24       32
 *
 * Why objects. Raw nodes shared between versions would have to be visited by each version's tp_traverse, and so be
 * counted twice by the garbage collector, which would then free what is still in use. As objects they have one
 * reference count, and the collector sees each once.
 *
 * Two types, one layout. Collecting garbage costs time for every tracked object, and most maps hold strings and
 * numbers, which cannot be part of a cycle. So a node whose keys and values are all of types without the collector's
 * flag is a plain object (node_type); any other, and any above such a one, is tracked (tracked_node_type). This is decided by
 * type, not by whether an object is tracked at the moment: an empty dict is not, and may be later. The trait
 * TRAIT_TRACKED says which; a copy of a tracked node is tracked.
 *
 * The maps stand where a variable-sized object has ob_size, which CPython sets on allocation and afterwards reads only
 * in functions that these types do not have.
 *
 * Ownership. A node is changed in place if the only reference to it is its parent's, up to a transient's own to the
 * root. Nobody else can come by a reference: nodes are never handed out, except by gc.get_objects() and the like, which
 * count. A Map's reference is never taken for this proof: whoever called its method may have borrowed it.
 *
 * Foreign code: __hash__ and __eq__ of keys, __eq__ of values, the collection of garbage that the allocation of a
 * tracked node may start, and whatever a decref may finalize.
 */
#ifndef HFPY_TRIE_POLICY_H
#define HFPY_TRIE_POLICY_H

#include <stdbool.h>
#include <stddef.h>

#include "compat.h"
#include "core.h"
#include "trie/trie_node.h"

typedef struct trie_node {
    PyObject_HEAD
    hf_trie_maps maps;
    uint64_t digest; /* 0: not known */
    uint64_t slots[];
} trie_node;

_Static_assert(offsetof(trie_node, maps) == offsetof(PyVarObject, ob_size), "the maps are in the place of ob_size");
_Static_assert(sizeof(((PyVarObject *)0)->ob_size) == sizeof(hf_trie_maps), "and fill it");

typedef trie_node *trie_link;
#define TRIE_NONE ((trie_link)NULL)

typedef struct trie_entry {
    PyObject *key;
    PyObject *value;
} trie_entry;

typedef PyObject *trie_key;

typedef struct trie_ctx {
    core_state *state;
    /* Pairs of Maps whose equality is still to be found out, or NULL to find out on the spot: see map_equal. */
    struct map_pairs *deferred;
} trie_ctx;

enum { TRAIT_TRACKED = 1 };

/* -- reading -- */

static inline trie_node *trie_at(trie_ctx *ctx, trie_link link)
{
    return link;
}

static inline trie_key trie_key_of(const trie_entry *entry)
{
    return entry->key;
}

static inline int trie_hash(trie_ctx *ctx, const trie_entry *entry, uint64_t *hash)
{
    Py_INCREF(entry->key);
    PyObject *key = entry->key;
    Py_hash_t result = PyObject_Hash(key);
    Py_DECREF(key);
    *hash = (uint64_t)result;
    return result == -1 ? HF_FOREIGN : 0;
}

/* Two strings, both hashed before (so both are in their final representation). */
static inline int hfpy_equal_str(PyObject *a, PyObject *b)
{
    Py_ssize_t length = PyUnicode_GET_LENGTH(a);
    if (length != PyUnicode_GET_LENGTH(b) || PyUnicode_KIND(a) != PyUnicode_KIND(b))
        return 0;
    return memcmp(PyUnicode_DATA(a), PyUnicode_DATA(b), (size_t)(length * PyUnicode_KIND(a))) == 0;
}

/* Keys that are neither identical nor both exact strings. */
int hfpy_same_key_slowly(PyObject *stored, PyObject *key);

static inline int trie_same_key(trie_ctx *ctx, const trie_entry *stored, trie_key key)
{
    if (stored->key == key)
        return 1;
    if (PyUnicode_CheckExact(key) && PyUnicode_CheckExact(stored->key))
        return hfpy_equal_str(stored->key, key);
    return hfpy_same_key_slowly(stored->key, key);
}

static inline bool trie_identical(const trie_entry *a, const trie_entry *b)
{
    return a->key == b->key && a->value == b->value;
}

static inline bool trie_unchanged(const trie_entry *stored, const trie_entry *entry)
{
    return stored->value == entry->value;
}

static inline void trie_prefetch(trie_ctx *ctx, trie_link link)
{
    __builtin_prefetch(link);
    __builtin_prefetch((const char *)link + 64);
}

static inline void trie_prefetch_entry(trie_ctx *ctx, const trie_entry *entry)
{
    __builtin_prefetch(entry->key, 1);
    __builtin_prefetch(entry->value, 1);
}

#endif

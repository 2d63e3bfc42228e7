/*
 * map_policy.h: the trie in the C heap: its nodes are blocks of memory with a reference count.
 *
 *      0       8           12          16       24
 *      +-------+-----------+-----------+--------+-------------------+-----------------+
 *      | count | entry_map | child_map | digest | (key, value) ...  | child links ... |
 *      +-------+-----------+-----------+--------+-------------------+-----------------+
 *
 * A node of e entries and c children takes 24 + 16 e + 8 c bytes; malloc's blocks are 16 n + 8, so that nodes without
 * children, which nearly all nodes are, waste nothing.
 *
 * Counts. Each link to a node (from its parents in all versions, from handles, transients and operations under way)
 * is one count of it. A node holds one count of each of its keys and values, through the types' `keep` and `drop`.
 * The types are not asked if they count nothing: that is tested once for a run of entries.
 *
 * In place. A node is ours if the only count of it is the one on the path from the root, and so on up to the handle:
 * then nobody else can reach it. The handle's count is looked at each time, since `keep`, which runs while nodes are
 * copied, may keep the map or make another version of it, just as the foreign code before that may.
 *
 * Memory. Nodes come straight from the allocation hook. malloc and free are 13% of an insert in place and 20% of an
 * update that copies its path (1,000 keys); half of that is what a cache of nodes for each thread could save, and it
 * would have to be given back when the thread ends. Nor do nodes have room to grow: it would cost every node memory.
 *
 * This file has the types and what reading needs; map_trie.c has the rest.
 */
#ifndef HF_HEAP_MAP_POLICY_H
#define HF_HEAP_MAP_POLICY_H

#include "heap/map_impl.h"
#include "trie/trie_node.h"

#include <stddef.h>

typedef struct hf_map_node {
    hf_count count;
    hf_trie_maps maps;
    _Atomic uint64_t digest; /* 0: not known */
    uint64_t slots[];
} trie_node;

_Static_assert(offsetof(trie_node, count) == 0, "as drawn above");
_Static_assert(offsetof(trie_node, maps) == 8, "as drawn above");
_Static_assert(offsetof(trie_node, digest) == 16, "as drawn above");
_Static_assert(sizeof(trie_node) == 24 && offsetof(trie_node, slots) == 24, "as drawn above");

typedef trie_node *trie_link;
#define TRIE_NONE ((trie_link)NULL)

typedef hf_pair trie_entry;
typedef hf_value trie_key;

_Static_assert(sizeof(trie_entry) == 16, "as drawn above");

typedef struct trie_ctx {
    const hf_type *key;
    const hf_type *value;
    bool counted;            /* not both are plain data */
    int dropped;             /* the first failure of a drop, or 0 */
    const hf_count *owner;   /* of hf_map_edit */
    hf_map_todo *todo;       /* where comparisons of maps may be put off; or NULL */
    hf_map_hashing *hashing; /* where hashes of maps may be put off; or NULL */
} trie_ctx;

static inline trie_ctx hf_map_ctx(const hf_map_type *type)
{
    return (trie_ctx){
        .key = type->key,
        .value = type->value,
        .counted = type->key->keep != NULL || type->value->keep != NULL,
    };
}

static inline trie_node *trie_at(trie_ctx *ctx, trie_link link)
{
    return link;
}

static inline trie_key trie_key_of(const trie_entry *entry)
{
    return entry->key;
}

static inline int hf_map_hash_key(trie_ctx *ctx, hf_value key, uint64_t *out)
{
    if (ctx->key->hash == NULL) {
        *out = key.u64;
        return 0;
    }
    int status = ctx->key->hash(ctx->key, key, out);
    return status < 0 ? status : 0;
}

static inline int trie_hash(trie_ctx *ctx, const trie_entry *entry, uint64_t *out)
{
    return hf_map_hash_key(ctx, entry->key, out);
}

/* A foreign `equal` that answers with any positive number means yes. */
static inline int hf_map_answer(int answer)
{
    return answer > 0 ? 1 : answer;
}

static inline int trie_same_key(trie_ctx *ctx, const trie_entry *entry, trie_key key)
{
    hf_value stored = entry->key;
    if (stored.u64 == key.u64)
        return 1;
    if (ctx->key->equal == NULL)
        return 0;
    if (ctx->todo != NULL && ctx->key->equal == hf_map_type_equal)
        return hf_map_todo_key(ctx->todo, stored.ptr, key.ptr);
    return hf_map_answer(ctx->key->equal(ctx->key, stored, key));
}

static inline bool trie_identical(const trie_entry *a, const trie_entry *b)
{
    return a->key.u64 == b->key.u64 && a->value.u64 == b->value.u64;
}

static inline bool trie_unchanged(const trie_entry *stored, const trie_entry *entry)
{
    return stored->value.u64 == entry->value.u64;
}

/* A node is a few cache lines; those behind the first are fetched by the processor's own look-ahead. */
static inline void trie_prefetch(trie_ctx *ctx, trie_link link)
{
    __builtin_prefetch(link);
    __builtin_prefetch((const char *)link + 64);
}

/* Counted values are pointers; what others are is not known. */
static inline void trie_prefetch_entry(trie_ctx *ctx, const trie_entry *entry)
{
    if (ctx->key->keep != NULL)
        __builtin_prefetch(entry->key.ptr);
    if (ctx->value->keep != NULL)
        __builtin_prefetch(entry->value.ptr);
}

#endif

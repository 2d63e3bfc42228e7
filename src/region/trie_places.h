/*
 * trie_places.h: a region's trie of places: an entry is a hash and a place, and has no block (keydir.h). Included by keydir.c
 * and file_keydir.c, and includes trie_body.h.
 *
 * Keys. All that is known of one here is its hash; where that is equal, the caller is asked (`match`). Where nobody can be
 * asked, as in a check and a diff, entries are what they say: the same if hash and place are. The caller is asked while
 * the template looks for a key, before anything is made or changed.
 */

typedef struct trie_key {
    uint64_t hash;
    uint64_t place; /* without `match` */
} trie_key;

static inline trie_key trie_key_of(const trie_entry *entry)
{
    return (trie_key){entry->hash, entry->place};
}

static inline int trie_hash(trie_ctx *ctx, const trie_entry *entry, uint64_t *out)
{
    *out = entry->hash;
    return 0;
}

static inline int trie_same_key(trie_ctx *ctx, const trie_entry *entry, trie_key key)
{
    if (entry->hash != key.hash)
        return 0;
    if (ctx->match == NULL)
        return entry->place == key.place;
    int same = ctx->match(ctx->arg, entry->place);
    return same > 0 ? 1 : same;
}

static inline int trie_same_value(trie_ctx *ctx, const trie_entry *a, const trie_entry *b)
{
    return a->place == b->place;
}

static inline bool trie_identical(const trie_entry *a, const trie_entry *b)
{
    return a->hash == b->hash && a->place == b->place;
}

static inline bool trie_unchanged(const trie_entry *stored, const trie_entry *entry)
{
    return stored->place == entry->place;
}

static inline int trie_keep_entries(trie_ctx *ctx, trie_entry *entries, size_t count)
{
    return 0;
}

static inline int trie_replace(trie_ctx *ctx, const trie_entry *stored, const trie_entry *entry, trie_entry *out)
{
    *out = *entry;
    return 0;
}

static inline void trie_superseded_entry(trie_ctx *ctx, const trie_entry *entry)
{
    ctx->old = entry->place;
}

static inline int free_entry(trie_ctx *ctx, const trie_entry *entry)
{
    return 0;
}

/* An entry is all in its node. */
static inline void trie_prefetch_entry(trie_ctx *ctx, const trie_entry *entry)
{
}

static int tell(trie_ctx *ctx, const diff_run *run, const trie_entry *from, const trie_entry *to)
{
    const trie_entry *entry = from != NULL ? from : to;
    hf_span place = {(const unsigned char *)&entry->place, sizeof entry->place};
    hf_key key = {.hash = entry->hash};

    return run->differ(run->arg, &key, from != NULL ? &place : NULL, to != NULL ? &place : NULL);
}

#include "region/trie_body.h"

/* -- reading -- */

static inline int find(trie_ctx *ctx, trie_link root, uint64_t hash, hf_place_match match, void *arg, uint64_t *place)
{
    trie_entry entry;
    ctx->match = match;
    ctx->arg = arg;
    int found = trie_find(ctx, root, 0, hash, (trie_key){.hash = hash}, &entry);
    if (__builtin_expect(ctx->fault < 0, 0))
        return ctx->fault;
    if (found > 0)
        *place = entry.place;
    return found;
}

static int region_find(const hf_region *region, const struct hf_version *version, unsigned tree, uint64_t hash,
                       hf_place_match match, void *arg, uint64_t *place)
{
    trie_ctx ctx = reading(region, version->top);
    return find(&ctx, version->trees[tree].root, hash, match, arg, place);
}

static int region_txn_find(struct hf_txn *txn, unsigned tree, uint64_t hash, hf_place_match match, void *arg,
                           uint64_t *place)
{
    trie_ctx ctx = writing(txn);
    return find(&ctx, hf_txn_tree(txn, tree)->root, hash, match, arg, place);
}

static int region_cursor_next(hf_region_cursor *cursor, hf_place_entry *out)
{
    trie_ctx ctx = walking(cursor);
    const trie_entry *entry = step(&ctx, cursor);
    if (ctx.fault < 0)
        return HF_CORRUPT;
    if (entry == NULL)
        return 0;
    *out = (hf_place_entry){entry->hash, entry->place};
    return 1;
}

/* -- writing -- */

static int region_set(struct hf_txn *txn, unsigned tree, uint64_t hash, uint64_t place, hf_place_match match,
                      void *arg, uint64_t *old)
{
    trie_ctx ctx = writing(txn);
    trie_entry entry = {hash, place};
    ctx.match = match;
    ctx.arg = arg;
    ctx.old = place; /* where nothing changes */
    int status = put_entry(&ctx, hf_txn_tree(txn, tree), hash, &entry);
    if (status == 0 && old != NULL)
        *old = ctx.old;
    return status;
}

static int region_unset(struct hf_txn *txn, unsigned tree, uint64_t hash, hf_place_match match, void *arg,
                        uint64_t *old)
{
    trie_ctx ctx = writing(txn);
    ctx.match = match;
    ctx.arg = arg;
    int status = remove_entry(&ctx, hf_txn_tree(txn, tree), hash, (trie_key){.hash = hash});
    if (status > 0 && old != NULL)
        *old = ctx.old;
    return status;
}

/* Where a home has no quicker one. */
#ifndef HF_REGION_FIND
#define HF_REGION_FIND region_find
#endif

const struct hf_region_place_ops HF_CPU_NAME(HF_REGION_OPS) = {
    .tree = HF_REGION_TREE_OPS,
    .find = HF_REGION_FIND,
    .txn_find = region_txn_find,
    .set = region_set,
    .unset = region_unset,
    .cursor_next = region_cursor_next,
};

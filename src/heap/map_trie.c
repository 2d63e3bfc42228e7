/*
 * map_trie.c: instantiates the trie template for the C heap, and makes a table of functions of it.
 *
 * Compiled once for each CPU level (base/cpu.h), so all but the table is static. The node, and what holds of it, is
 * in map_policy.h; who uses the table, in map_impl.h.
 *
 * What is foreign code here: hash, equal, keep and drop of the types, and the callbacks of the operations. None of it
 * runs between trie_fresh and trie_seal, since hf_alloc runs none.
 */
#include "heap/map_policy.h"

#include "base/hash.h"
#include "base/memory.h"

#include <stdlib.h>

/* -- policies -- */

static int trie_same_value(trie_ctx *ctx, const trie_entry *a, const trie_entry *b)
{
    if (a->value.u64 == b->value.u64)
        return 1;
    if (ctx->value->equal == NULL)
        return 0;
    if (ctx->todo != NULL && ctx->value->equal == hf_map_type_equal)
        return hf_map_todo_value(ctx->todo, a->value.ptr, b->value.ptr);
    return hf_map_answer(ctx->value->equal(ctx->value, a->value, b->value));
}

/* Notes the failure of a drop; only the first counts. */
static void map_dropped(trie_ctx *ctx, int status)
{
    if (status < 0 && ctx->dropped == 0)
        ctx->dropped = status;
}

static int map_keep_value(const hf_type *type, hf_value *value)
{
    return type->keep == NULL ? 0 : type->keep(type, value);
}

static void map_drop_value(trie_ctx *ctx, const hf_type *type, hf_value value)
{
    if (type->drop != NULL)
        map_dropped(ctx, type->drop(type, value));
}

static void map_drop_entries(trie_ctx *ctx, const trie_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        map_drop_value(ctx, ctx->key, entries[i].key);
        map_drop_value(ctx, ctx->value, entries[i].value);
    }
}

static int map_keep_entries(trie_ctx *ctx, trie_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int status = map_keep_value(ctx->key, &entries[i].key);
        if (status >= 0) {
            status = map_keep_value(ctx->value, &entries[i].value);
            if (status < 0)
                map_drop_value(ctx, ctx->key, entries[i].key);
        }
        if (status < 0) {
            map_drop_entries(ctx, entries, i);
            return status;
        }
    }
    return 0;
}

static inline int trie_keep_entries(trie_ctx *ctx, trie_entry *entries, size_t count)
{
    return ctx->counted ? map_keep_entries(ctx, entries, count) : 0;
}

static inline void trie_drop_entries(trie_ctx *ctx, const trie_entry *entries, size_t count)
{
    if (ctx->counted)
        map_drop_entries(ctx, entries, count);
}

static inline int trie_replace(trie_ctx *ctx, const trie_entry *stored, const trie_entry *entry, trie_entry *out)
{
    *out = (trie_entry){.key = stored->key, .value = entry->value};
    return trie_keep_entries(ctx, out, 1);
}

static inline void trie_swap_values(trie_entry *a, trie_entry *b)
{
    hf_value value = a->value;
    a->value = b->value;
    b->value = value;
}

static inline void trie_keep_link(trie_ctx *ctx, trie_link link)
{
    hf_count_keep(&link->count);
}

static void map_free_node(trie_ctx *ctx, trie_link link);

static inline void trie_drop_link(trie_ctx *ctx, trie_link link)
{
    if (hf_count_drop(&link->count))
        map_free_node(ctx, link);
}

static size_t map_node_size(hf_trie_maps maps)
{
    size_t slots = hf_trie_entry_count(maps) * sizeof(trie_entry) + hf_trie_child_count(maps) * sizeof(trie_link);
    return sizeof(trie_node) + slots;
}

static inline int trie_fresh(trie_ctx *ctx, hf_trie_maps maps, unsigned traits, trie_link *out)
{
    trie_node *node = hf_alloc(map_node_size(maps));
    if (node == NULL)
        return HF_NOMEM;
    hf_count_init(&node->count);
    node->maps = maps;
    atomic_init(&node->digest, 0);
    *out = node;
    return 0;
}

static inline void trie_seal(trie_ctx *ctx, trie_link link)
{
}

static inline void trie_shell_free(trie_ctx *ctx, trie_link link)
{
    hf_free(link);
}

static inline bool trie_ours(trie_ctx *ctx, trie_link link, unsigned traits)
{
    return hf_count_is_one(&link->count) && (ctx->owner == NULL || hf_count_is_one(ctx->owner));
}

static inline void trie_touch(trie_ctx *ctx, trie_link link)
{
    atomic_store_explicit(&link->digest, 0, memory_order_relaxed);
}

static inline void trie_superseded(trie_ctx *ctx, trie_link link)
{
}

static inline void trie_superseded_entry(trie_ctx *ctx, const trie_entry *entry)
{
}

/* All of this memory is of one kind. */
static inline unsigned trie_traits_of(trie_ctx *ctx, trie_link link)
{
    return 0;
}

static inline unsigned trie_traits_for(trie_ctx *ctx, const trie_entry *entry)
{
    return 0;
}

static int map_hash_value(trie_ctx *ctx, const hf_type *type, hf_value value, uint64_t *out)
{
    if (type->hash == NULL) {
        *out = value.u64;
        return 0;
    }
    if (ctx->hashing != NULL && type->hash == hf_map_type_hash)
        return hf_map_hash_within(ctx->hashing, value.ptr, out);
    int status = type->hash(type, value, out);
    return status < 0 ? status : 0;
}

/* Key and value go through different mixes, so that neither {1: 2} and {2: 1} nor {1: 1} and {2: 2} are alike. */
static int trie_digest_entry(trie_ctx *ctx, const trie_entry *entry, uint64_t *out)
{
    uint64_t key, value;
    int status = map_hash_value(ctx, ctx->key, entry->key, &key);
    if (status >= 0)
        status = map_hash_value(ctx, ctx->value, entry->value, &value);
    if (status < 0)
        return status;
    *out = hf_hash_u64(value, hf_hash_u64(key, 0x9e3779b97f4a7c15u));
    return 0;
}

static inline uint64_t trie_digest_load(trie_ctx *ctx, trie_link link)
{
    return atomic_load_explicit(&link->digest, memory_order_relaxed);
}

static inline void trie_digest_save(trie_ctx *ctx, trie_link link, uint64_t digest)
{
    atomic_store_explicit(&link->digest, digest, memory_order_relaxed);
}

#include "trie/trie_algo.h"

/* Recursion is as deep as the trie: nested maps are put off by hf_map_drop. */
static void map_free_node(trie_ctx *ctx, trie_link link)
{
    trie_drop_entries(ctx, trie_entries(link), hf_trie_entry_count(link->maps));
    trie_drop_links(ctx, trie_links(link), hf_trie_child_count(link->maps));
    hf_free(link);
}

/* -- one map -- */

static int map_get(const hf_map_type *type, hf_map_node *root, hf_value key, hf_value *out)
{
    trie_ctx ctx = hf_map_ctx(type);
    trie_entry entry;
    uint64_t hash;
    int status = hf_map_hash_key(&ctx, key, &hash);
    if (status == 0)
        status = trie_find(&ctx, root, 0, hash, key, &entry);
    if (status > 0 && out != NULL)
        *out = entry.value;
    return status;
}

/* Tells the caller of an edit what it left over. */
static void map_leave(hf_map_edit *edit, const trie_ctx *ctx, const trie_trash *trash)
{
    edit->changed = true;
    edit->old_root = trash->link;
    edit->has_old_pair = trash->has_entry && ctx->counted;
    if (edit->has_old_pair)
        edit->old_pair = trash->entry;
    edit->leftover = edit->has_old_pair || trash->link != TRIE_NONE;
}

static int map_put(hf_map_edit *edit, hf_value key, hf_value value)
{
    trie_ctx ctx = hf_map_ctx(edit->type);
    ctx.owner = edit->owner;
    trie_entry entry = {key, value};
    trie_trash trash;
    uint64_t hash;
    edit->changed = edit->leftover = false;
    int status = trie_hash(&ctx, &entry, &hash);
    if (status == 0)
        status = trie_put(&ctx, &edit->root, 0, edit->mine, hash, &entry, TRIE_PUT_VALUE, &trash);
    if (status > TRIE_SAME)
        map_leave(edit, &ctx, &trash);
    return status == TRIE_REPLACED ? 0 : status;
}

static int map_remove(hf_map_edit *edit, hf_value key)
{
    trie_ctx ctx = hf_map_ctx(edit->type);
    ctx.owner = edit->owner;
    trie_remainder rest;
    trie_trash trash;
    uint64_t hash;
    edit->changed = edit->leftover = false;
    int status = hf_map_hash_key(&ctx, key, &hash);
    if (status == 0)
        status = trie_remove(&ctx, &edit->root, 0, edit->mine, hash, key, &rest, &trash);
    if (status > 0)
        map_leave(edit, &ctx, &trash);
    return status;
}

static int map_settle(hf_map_edit *edit)
{
    trie_ctx ctx = hf_map_ctx(edit->type);
    trie_trash trash = {.link = edit->old_root, .entry = edit->old_pair, .has_entry = edit->has_old_pair};
    trie_trash_drop(&ctx, &trash);
    return ctx.dropped;
}

static int map_drop(const hf_map_type *type, hf_map_node *root)
{
    trie_ctx ctx = hf_map_ctx(type);
    if (root != TRIE_NONE)
        trie_drop_link(&ctx, root);
    return ctx.dropped;
}

/* Hashes and counts every pair. On failure nothing is counted. */
static int map_build_items(trie_ctx *ctx, const hf_pair *pairs, size_t count, trie_item *items)
{
    size_t done = 0;
    int status = 0;
    for (; done < count; done++) {
        trie_item *item = &items[done];
        item->entry = pairs[done];
        status = trie_hash(ctx, &item->entry, &item->hash);
        if (status == 0)
            status = trie_keep_entries(ctx, &item->entry, 1);
        if (status < 0)
            break;
    }
    if (status < 0)
        for (size_t i = 0; i < done; i++)
            trie_drop_entries(ctx, &items[i].entry, 1);
    return status;
}

static int map_build(const hf_map_type *type, const hf_pair *pairs, size_t count, hf_map_result *out)
{
    trie_ctx ctx = hf_map_ctx(type);
    trie_builder builder = {.ctx = &ctx};
    *out = (hf_map_result){.root = TRIE_NONE};
    if (count == 0)
        return 0;
    trie_item *items = count > SIZE_MAX / sizeof *items ? NULL : hf_alloc(count * sizeof *items);
    if (items == NULL)
        return HF_NOMEM;
    int status = map_build_items(&ctx, pairs, count, items);
    if (status == 0) {
        status = trie_build(&builder, items, &count, &out->root);
        if (status < 0)
            for (size_t i = 0; i < count; i++)
                trie_drop_entries(&ctx, &items[i].entry, 1);
        trie_drop_entries(&ctx, builder.spare, builder.spare_count);
    }
    hf_free(builder.spare);
    hf_free(items);
    out->size = builder.added;
    out->dropped = ctx.dropped;
    return status;
}

/* -- two maps -- */

typedef struct map_union {
    hf_map_resolver *resolve;
    void *user;
} map_union;

/* The key of `left` with the value of `right`. If that is what either has, then that one, so that nodes stay shared. */
static int map_right_wins(trie_ctx *ctx, const trie_entry *left, const trie_entry *right, trie_entry *made)
{
    if (left->value.u64 == right->value.u64)
        return TRIE_TAKE_LEFT;
    if (left->key.u64 == right->key.u64)
        return TRIE_TAKE_RIGHT;
    int status = trie_replace(ctx, left, right, made);
    return status < 0 ? status : TRIE_TAKE_NEW;
}

static int map_union_default(trie_ctx *ctx, void *arg, const trie_entry *left, const trie_entry *right,
                             trie_entry *made)
{
    return map_right_wins(ctx, left, right, made);
}

/* Makes an entry of a key that is counted elsewhere and a value whose count is given away. */
static int map_new_entry(trie_ctx *ctx, hf_value key, hf_value value, trie_entry *made)
{
    *made = (trie_entry){key, value};
    int status = map_keep_value(ctx->key, &made->key);
    if (status < 0)
        map_drop_value(ctx, ctx->value, value);
    return status < 0 ? status : 0;
}

static int map_union_resolve(trie_ctx *ctx, void *arg, const trie_entry *left, const trie_entry *right,
                             trie_entry *made)
{
    const map_union *call = arg;
    hf_value value = {0};
    int choice = call->resolve(call->user, left->key, left->value, right->value, &value);
    switch (choice) {
    case HF_CHOOSE_LEFT:
        return TRIE_TAKE_LEFT;
    case HF_CHOOSE_RIGHT:
        return map_right_wins(ctx, left, right, made);
    case HF_CHOOSE_NONE:
        return TRIE_TAKE_NONE;
    case HF_CHOOSE_NEW:
        choice = map_new_entry(ctx, left->key, value, made);
        return choice < 0 ? choice : TRIE_TAKE_NEW;
    default:
        return choice < 0 ? choice : HF_INVALID;
    }
}

static int map_both_left(trie_ctx *ctx, void *arg, const trie_entry *left, const trie_entry *right, trie_entry *made)
{
    return TRIE_TAKE_LEFT;
}

static int map_both_none(trie_ctx *ctx, void *arg, const trie_entry *left, const trie_entry *right, trie_entry *made)
{
    return TRIE_TAKE_NONE;
}

static int map_combine(hf_map_algebra op, const hf_map *left, const hf_map *right, hf_map_resolver *resolve,
                       void *user, hf_map_result *out)
{
    trie_ctx ctx = hf_map_ctx(left->type);
    map_union call = {resolve, user};
    trie_algebra algebra = {.counted = true, .keep = {true, true}, .shared = TRIE_SHARED_TAKE};
    switch (op) {
    case HF_MAP_UNION:
        algebra.both = resolve == NULL ? map_union_default : map_union_resolve;
        algebra.shared = resolve == NULL ? TRIE_SHARED_TAKE : TRIE_SHARED_ENTER;
        break;
    case HF_MAP_INTERSECTION:
        algebra.both = map_both_left;
        algebra.keep[TRIE_LEFT] = algebra.keep[TRIE_RIGHT] = false;
        break;
    case HF_MAP_DIFFERENCE:
        algebra.keep[TRIE_RIGHT] = false;
        algebra.both = map_both_none;
        algebra.shared = TRIE_SHARED_OMIT;
        break;
    case HF_MAP_SYMMETRIC_DIFFERENCE:
        algebra.both = map_both_none;
        algebra.shared = TRIE_SHARED_OMIT;
        break;
    }
    int status =
        trie_combine(&ctx, &algebra, &call, left->root, left->size, right->root, right->size, &out->root, &out->size);
    out->dropped = ctx.dropped;
    return status;
}

typedef struct map_diff {
    hf_map_on_change *on_change;
    void *user;
    bool enough;
} map_diff;

/* Hands on a change. That it was enough ends the walk as a failure does. */
static int map_diff_tell(map_diff *diff, hf_value key, const hf_value *before, const hf_value *after)
{
    int status = diff->on_change(diff->user, key, before, after);
    diff->enough = status > 0;
    return status > 0 ? HF_FOREIGN : status;
}

static int map_diff_both(trie_ctx *ctx, void *arg, const trie_entry *left, const trie_entry *right, trie_entry *made)
{
    int status = trie_same_value(ctx, left, right);
    if (status == 0)
        status = map_diff_tell(arg, left->key, &left->value, &right->value);
    return status < 0 ? status : TRIE_TAKE_NONE;
}

static int map_diff_one(trie_ctx *ctx, void *arg, trie_side side, const trie_entry *entry)
{
    return side == TRIE_LEFT ? map_diff_tell(arg, entry->key, &entry->value, NULL)
                             : map_diff_tell(arg, entry->key, NULL, &entry->value);
}

static int map_diff_run(const hf_map *before, const hf_map *after, hf_map_on_change *on_change, void *user)
{
    static const trie_algebra algebra = {
        .shared = TRIE_SHARED_OMIT,
        .both = map_diff_both,
        .one = map_diff_one,
    };
    trie_ctx ctx = hf_map_ctx(before->type);
    map_diff diff = {on_change, user, false};
    trie_link root;
    size_t count;
    int status =
        trie_combine(&ctx, &algebra, &diff, before->root, before->size, after->root, after->size, &root, &count);
    return diff.enough ? 1 : status;
}

static int map_equal(const hf_map *a, const hf_map *b, hf_map_todo *todo)
{
    trie_ctx ctx = hf_map_ctx(a->type);
    ctx.todo = todo;
    return trie_equal(&ctx, a->root, b->root);
}

static int map_digest(const hf_map *map, hf_map_hashing *hashing, uint64_t *out)
{
    trie_ctx ctx = hf_map_ctx(map->type);
    ctx.hashing = hashing;
    return trie_digest(&ctx, map->root, out);
}

/* -- three maps -- */

typedef struct map_merge {
    hf_map_resolver3 *resolve;
    void *user;
    bool open; /* a conflict was left open */
} map_merge;

static const hf_value *map_value_of(const trie_entry *entry)
{
    return entry == NULL ? NULL : &entry->value;
}

static int map_merge_resolve(trie_ctx *ctx, void *arg, const trie_entry *base, const trie_entry *mine,
                             const trie_entry *theirs, trie_entry *made)
{
    map_merge *merge = arg;
    hf_value key = (mine != NULL ? mine : theirs)->key, value = {0};
    if (merge->resolve == NULL)
        return HF_CONFLICT;
    int choice =
        merge->resolve(merge->user, key, map_value_of(base), map_value_of(mine), map_value_of(theirs), &value);
    switch (choice) {
    case HF_CHOOSE_LEFT:
        return TRIE_RESOLVE_MINE;
    case HF_CHOOSE_RIGHT:
        return TRIE_RESOLVE_THEIRS;
    case HF_CHOOSE_NONE:
        return TRIE_RESOLVE_NONE;
    case HF_CHOOSE_NEW:
        choice = map_new_entry(ctx, key, value, made);
        return choice < 0 ? choice : TRIE_RESOLVE_NEW;
    case HF_CHOOSE_OPEN:
        merge->open = true;
        return TRIE_RESOLVE_MINE;
    default:
        return choice < 0 ? choice : HF_INVALID;
    }
}

static int map_merge3(const hf_map *base, const hf_map *mine, const hf_map *theirs, hf_map_resolver3 *resolve,
                      void *user, hf_map_result *out)
{
    trie_ctx ctx = hf_map_ctx(mine->type);
    map_merge merge = {.resolve = resolve, .user = user};
    ptrdiff_t delta;
    int status =
        trie_merge3(&ctx, map_merge_resolve, &merge, base->root, mine->root, theirs->root, &out->root, &delta);
    if (status == 0 && merge.open) {
        if (out->root != TRIE_NONE)
            trie_drop_link(&ctx, out->root);
        status = HF_CONFLICT;
    }
    if (status == 0)
        out->size = mine->size + (size_t)delta;
    out->dropped = ctx.dropped;
    return status;
}

/* -- looking inside -- */

static void map_begin(const hf_map *map, trie_cursor *cursor)
{
    trie_ctx ctx = hf_map_ctx(map->type);
    trie_cursor_begin(&ctx, cursor, map->root, map->size);
}

static bool map_climb(const hf_map_type *type, trie_cursor *cursor)
{
    trie_ctx ctx = hf_map_ctx(type);
    return trie_cursor_climb(&ctx, cursor);
}

static int map_check(const hf_map *map, const char **fault)
{
    trie_ctx ctx = hf_map_ctx(map->type);
    return trie_check(&ctx, map->root, map->size, fault);
}

/* The nodes and handles seen: a hash table of addresses, open addressing, at most half full. */
typedef struct map_seen {
    const void **table;
    size_t count, room;
    hf_map_stats stats;
} map_seen;

/* 1 if the address was not there before, and is now; 0 if it was; or HF_NOMEM. */
static int map_seen_add(map_seen *seen, const void *address)
{
    if (2 * seen->count >= seen->room) {
        map_seen bigger = {.room = seen->room == 0 ? 64 : 2 * seen->room, .stats = seen->stats};
        bigger.table = hf_alloc(bigger.room * sizeof *bigger.table);
        if (bigger.table == NULL)
            return HF_NOMEM;
        memset(bigger.table, 0, bigger.room * sizeof *bigger.table);
        for (size_t i = 0; i < seen->room; i++)
            if (seen->table[i] != NULL && map_seen_add(&bigger, seen->table[i]) < 0)
                HF_ASSERT(false);
        hf_free(seen->table);
        *seen = bigger;
    }
    size_t at = (size_t)hf_hash_u64((uint64_t)(uintptr_t)address, 0);
    for (;; at++) {
        const void **cell = &seen->table[at & (seen->room - 1)];
        if (*cell == address)
            return 0;
        if (*cell == NULL) {
            *cell = address;
            seen->count++;
            return 1;
        }
    }
}

static int map_measure_node(map_seen *seen, trie_link link)
{
    int status = map_seen_add(seen, link);
    if (status <= 0)
        return status;
    seen->stats.nodes++;
    seen->stats.bytes += map_node_size(link->maps);
    uint32_t children = hf_trie_child_count(link->maps);
    for (uint32_t i = 0; i < children; i++)
        if ((status = map_measure_node(seen, trie_links(link)[i])) < 0)
            return status;
    return 0;
}

static int map_measure(const hf_map *const *maps, size_t count, hf_map_stats *out)
{
    map_seen seen = {0};
    int status = 0;
    for (size_t i = 0; status >= 0 && i < count; i++) {
        status = map_seen_add(&seen, maps[i]);
        if (status <= 0)
            continue;
        seen.stats.bytes += sizeof(hf_map);
        if (maps[i]->root != TRIE_NONE)
            status = map_measure_node(&seen, maps[i]->root);
    }
    hf_free(seen.table);
    if (status < 0)
        return status;
    *out = seen.stats;
    return 0;
}

const struct hf_map_ops HF_CPU_NAME(hf_map_ops) = {
    .get = map_get,
    .put = map_put,
    .remove = map_remove,
    .settle = map_settle,
    .build = map_build,
    .drop = map_drop,
    .combine = map_combine,
    .merge3 = map_merge3,
    .diff = map_diff_run,
    .equal = map_equal,
    .digest = map_digest,
    .begin = map_begin,
    .climb = map_climb,
    .check = map_check,
    .measure = map_measure,
};

/*
 * trie.c: instantiates the trie template (trie/trie_algo.h) for a region, and makes a table of functions of it.
 *
 *      link ----> [ head | maps | entry ... | link ... ]            hf_node
 *                                   |
 *                 [ 16 bits of hash | 48 of offset ] ----> [ head | hash | sizes | key | value ]     hf_record
 *
 * Compiled once for each CPU level (base/cpu.h), so all but the table is static.
 *
 * Damage. The bytes may be anything. trie_at and record_at look at each offset before it is used: aligned, within the
 * version's `top`, a block of the kind that is wanted, no longer than the region. For a node that is enough, since
 * every version ends a page before the file does (layout.h, L4); what a node without collisions says of its slots is at most
 * 64 words. Where something is wrong they note it in the context and give a node without slots (or no record), so
 * that the template goes on and finds nothing; a writer's next allocation fails; and whoever called the template looks
 * at `fault` before at its answer. Depth is bounded by the template, breadth by `budget`.
 *
 * Entries in the making. A put hands the template an entry that says PENDING. The policy that counts entries makes the
 * record of it, once the template has found where it goes; so a put that changes nothing allocates nothing.
 *
 * In place. What this transaction made since its innermost savepoint is changed where it is, a record's value too if
 * the block will do.
 *
 * There are no counts: keep and drop do nothing. What an operation supersedes goes to the free queues, what a failed one
 * made is given back (hf_heap_undo).
 */
#include "region/impl.h"

enum {
    PENDING = 1,        /* no offset: those are multiples of 8 */
    UNCHANGED = -10000, /* not statuses: how a put ends early */
    DONE_IN_PLACE = -10001,
};

typedef struct hf_node trie_node;
typedef uint64_t trie_link;
typedef uint64_t trie_key; /* PENDING: that of the context; or an entry, whose key it is */

typedef struct trie_entry {
    uint64_t word;
} trie_entry;

#define TRIE_NONE ((trie_link)0)

typedef struct trie_ctx {
    char *base;
    uint64_t span;   /* of the heap that may be looked at */
    uint64_t budget; /* nodes that may be looked at */
    int fault;       /* HF_CORRUPT once something was wrong */
    struct hf_txn *txn;
    const hf_key *key; /* of PENDING */
    const void *value;
    size_t value_size;
    uint64_t made; /* the entry that PENDING became; other than 0 also where there is none to be made */
} trie_ctx;

static trie_ctx reading(const hf_region *region, uint64_t top)
{
    return (trie_ctx){
        .base = region->base,
        .span = top - HF_REGION_HEAP_AT,
        .budget = UINT64_MAX,
        .made = PENDING,
    };
}

static trie_ctx writing(struct hf_txn *txn)
{
    trie_ctx ctx = reading(txn->region, txn->state.version.top);
    ctx.txn = txn;
    return ctx;
}

/* -- policies: reading -- */

/* Stands for a node that cannot be one. */
static uint64_t nowhere[sizeof(trie_node) / sizeof(uint64_t) + 2 * HF_TRIE_FANOUT];

__attribute__((noinline, cold)) static trie_node *trie_at_fault(trie_ctx *ctx)
{
    ctx->fault = HF_CORRUPT;
    return (trie_node *)(void *)nowhere;
}

/* A collision node may be of any length. */
__attribute__((noinline, cold)) static trie_node *trie_at_collision(trie_ctx *ctx, trie_link link, trie_node *node)
{
    uint64_t count = node->maps.entry_map;
    if (node->maps.child_map != count || count * 8 > ctx->span - (link - HF_REGION_HEAP_AT))
        return trie_at_fault(ctx);
    return node;
}

static inline trie_node *trie_at(trie_ctx *ctx, trie_link link)
{
    if (__builtin_expect(link - HF_REGION_HEAP_AT >= ctx->span || link % 8 != 0 || --ctx->budget == 0, 0))
        return trie_at_fault(ctx);
    trie_node *node = (trie_node *)(void *)(ctx->base + link);
    if (__builtin_expect(hf_head_kind(node->head) != HF_KIND_NODE, 0))
        return trie_at_fault(ctx);
    if (__builtin_expect((node->maps.entry_map & node->maps.child_map) != 0, 0))
        return trie_at_collision(ctx, link, node);
    return node;
}

__attribute__((noinline, cold)) static struct hf_record *record_at_fault(trie_ctx *ctx)
{
    ctx->fault = HF_CORRUPT;
    return NULL;
}

/* The record of an entry, or NULL. */
static inline struct hf_record *record_at(trie_ctx *ctx, uint64_t entry)
{
    uint64_t offset = entry & HF_ENTRY_OFFSET, from = offset - HF_REGION_HEAP_AT;
    if (__builtin_expect(from >= ctx->span || offset % 8 != 0, 0))
        return record_at_fault(ctx);
    struct hf_record *record = (struct hf_record *)(void *)(ctx->base + offset);
    if (__builtin_expect(hf_head_kind(record->head) != HF_KIND_RECORD || hf_record_size(record) > ctx->span - from,
                         0))
        return record_at_fault(ctx);
    return record;
}

static inline trie_key trie_key_of(const trie_entry *entry)
{
    return entry->word;
}

static uint64_t hash_of(const struct hf_record *record, uint64_t entry)
{
    return (record->hash_and_size & HF_ENTRY_OFFSET) | (entry & ~HF_ENTRY_OFFSET);
}

static inline int trie_hash(trie_ctx *ctx, const trie_entry *entry, uint64_t *out)
{
    const struct hf_record *record = record_at(ctx, entry->word);
    if (record == NULL)
        return HF_CORRUPT;
    *out = hash_of(record, entry->word);
    return 0;
}

/* Behind a record: so many bytes of key, then the value. */
static inline unsigned char *value_of(struct hf_record *record)
{
    return hf_record_key(record) + hf_record_key_size(record);
}

static int same_keys(trie_ctx *ctx, uint64_t a, uint64_t b)
{
    struct hf_record *left = record_at(ctx, a), *right = record_at(ctx, b);
    if (left == NULL || right == NULL)
        return HF_CORRUPT;
    return hash_of(left, a) == hash_of(right, b) && hf_record_key_size(left) == hf_record_key_size(right) &&
           memcmp(hf_record_key(left), hf_record_key(right), hf_record_key_size(left)) == 0;
}

static inline int trie_same_key(trie_ctx *ctx, const trie_entry *entry, trie_key key)
{
    if (key != PENDING)
        return same_keys(ctx, entry->word, key);
    const hf_key *wanted = ctx->key;
    if (entry->word >> HF_ENTRY_TAG_SHIFT != wanted->hash >> HF_ENTRY_TAG_SHIFT)
        return 0;
    struct hf_record *record = record_at(ctx, entry->word);
    if (record == NULL)
        return HF_CORRUPT;
    return record->hash_and_size == hf_record_word(wanted->hash, wanted->size) &&
           hf_record_key_size(record) == wanted->size &&
           (wanted->size == 0 || memcmp(hf_record_key(record), wanted->bytes, wanted->size) == 0);
}

static int trie_same_value(trie_ctx *ctx, const trie_entry *a, const trie_entry *b)
{
    struct hf_record *left = record_at(ctx, a->word), *right = record_at(ctx, b->word);
    if (left == NULL || right == NULL)
        return HF_CORRUPT;
    return left->value_size == right->value_size && memcmp(value_of(left), value_of(right), left->value_size) == 0;
}

static inline bool trie_identical(const trie_entry *a, const trie_entry *b)
{
    return a->word == b->word;
}

/* Only trie_replace knows. */
static inline bool trie_unchanged(const trie_entry *stored, const trie_entry *entry)
{
    return false;
}

/* Addresses that may be nonsense: only to be asked for. */
static inline void prefetch(trie_ctx *ctx, uint64_t offset)
{
    uintptr_t at = (uintptr_t)ctx->base + offset;
    __builtin_prefetch((const void *)at);
    __builtin_prefetch((const void *)(at + 64));
}

static inline void trie_prefetch(trie_ctx *ctx, trie_link link)
{
    prefetch(ctx, link);
}

static inline void trie_prefetch_entry(trie_ctx *ctx, const trie_entry *entry)
{
    prefetch(ctx, entry->word & HF_ENTRY_OFFSET);
}

/* -- policies: building -- */

static size_t node_size(hf_trie_maps maps)
{
    return sizeof(trie_node) + (size_t)(hf_trie_entry_count(maps) + hf_trie_child_count(maps)) * sizeof(uint64_t);
}

static int trie_fresh(trie_ctx *ctx, hf_trie_maps maps, unsigned traits, trie_link *out)
{
    if (ctx->fault < 0)
        return ctx->fault;
    uint64_t at;
    int status = hf_heap_alloc(ctx->txn, node_size(maps), &at);
    if (status < 0)
        return status;
    ctx->span = ctx->txn->state.version.top - HF_REGION_HEAP_AT;
    trie_node *node = (trie_node *)(void *)(ctx->base + at);
    node->head = hf_txn_head(ctx->txn, HF_KIND_NODE);
    node->maps = maps;
    *out = at;
    return 0;
}

static inline void trie_seal(trie_ctx *ctx, trie_link link)
{
}

static void free_node(trie_ctx *ctx, trie_link link)
{
    const trie_node *node = trie_at(ctx, link);
    if (ctx->fault == 0)
        hf_heap_free(ctx->txn, link, node_size(node->maps), node->head);
}

static void free_record(trie_ctx *ctx, const trie_entry *entry)
{
    const struct hf_record *record = record_at(ctx, entry->word);
    if (record != NULL)
        hf_heap_free(ctx->txn, entry->word & HF_ENTRY_OFFSET, hf_record_size(record), record->head);
}

static void trie_shell_free(trie_ctx *ctx, trie_link link)
{
    free_node(ctx, link);
}

static void trie_superseded(trie_ctx *ctx, trie_link link)
{
    free_node(ctx, link);
}

static void trie_superseded_entry(trie_ctx *ctx, const trie_entry *entry)
{
    free_record(ctx, entry);
}

/* Makes the record that PENDING stands for. */
static int make_record(trie_ctx *ctx, trie_entry *out)
{
    if (ctx->fault < 0)
        return ctx->fault;
    const hf_key *key = ctx->key;
    uint64_t at;
    int status = hf_heap_alloc(ctx->txn, hf_record_size_for(key->size, ctx->value_size), &at);
    if (status < 0)
        return status;
    ctx->span = ctx->txn->state.version.top - HF_REGION_HEAP_AT;
    struct hf_record *record = (struct hf_record *)(void *)(ctx->base + at);
    record->head = hf_txn_head(ctx->txn, HF_KIND_RECORD);
    record->hash_and_size = hf_record_word(key->hash, key->size);
    record->value_size = (uint32_t)ctx->value_size;
    uint32_t size = (uint32_t)key->size;
    if (hf_record_is_long(record))
        memcpy(record->bytes, &size, sizeof size);
    if (key->size > 0)
        memcpy(hf_record_key(record), key->bytes, key->size);
    if (ctx->value_size > 0)
        memcpy(value_of(record), ctx->value, ctx->value_size);
    ctx->made = out->word = at | key->hash >> HF_ENTRY_TAG_SHIFT << HF_ENTRY_TAG_SHIFT;
    return 0;
}

static int make_pending(trie_ctx *ctx, trie_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (entries[i].word == PENDING)
            return make_record(ctx, &entries[i]);
    return 0;
}

static inline int trie_keep_entries(trie_ctx *ctx, trie_entry *entries, size_t count)
{
    return ctx->made != 0 ? 0 : make_pending(ctx, entries, count);
}

static inline void trie_drop_entries(trie_ctx *ctx, const trie_entry *entries, size_t count)
{
}

static inline void trie_keep_link(trie_ctx *ctx, trie_link link)
{
}

static inline void trie_drop_link(trie_ctx *ctx, trie_link link)
{
}

/* The key that is there is the one that is put, byte by byte; so the pending record serves. */
static int trie_replace(trie_ctx *ctx, const trie_entry *stored, const trie_entry *entry, trie_entry *out)
{
    struct hf_record *record = record_at(ctx, stored->word);
    if (record == NULL)
        return HF_CORRUPT;
    unsigned char *value = value_of(record);
    if (record->value_size == ctx->value_size &&
        (ctx->value_size == 0 || memcmp(value, ctx->value, ctx->value_size) == 0))
        return UNCHANGED;
    if (hf_txn_owns(ctx->txn, record->head) &&
        hf_heap_code(hf_record_size(record)) ==
            hf_heap_code(hf_record_size_for(hf_record_key_size(record), ctx->value_size))) {
        record->value_size = (uint32_t)ctx->value_size;
        if (ctx->value_size > 0)
            memmove(value, ctx->value, ctx->value_size);
        return DONE_IN_PLACE;
    }
    return make_record(ctx, out);
}

static inline void trie_swap_values(trie_entry *a, trie_entry *b)
{
    trie_entry entry = *a;
    *a = *b;
    *b = entry;
}

static inline bool trie_ours(trie_ctx *ctx, trie_link link, unsigned traits)
{
    return hf_txn_owns(ctx->txn, trie_at(ctx, link)->head);
}

static inline void trie_touch(trie_ctx *ctx, trie_link link)
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

/* Nodes have no room for a digest. */
static inline int trie_digest_entry(trie_ctx *ctx, const trie_entry *entry, uint64_t *out)
{
    return trie_hash(ctx, entry, out);
}

static inline uint64_t trie_digest_load(trie_ctx *ctx, trie_link link)
{
    return 0;
}

static inline void trie_digest_save(trie_ctx *ctx, trie_link link, uint64_t digest)
{
}

/* The operations on two and three tries are for the layers above, later. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include "trie/trie_algo.h"
#pragma GCC diagnostic pop

/* -- reading -- */

static void span_of(struct hf_record *record, hf_span *value)
{
    if (value != NULL)
        *value = (hf_span){value_of(record), record->value_size};
}

static inline int find(trie_ctx *ctx, trie_link root, const hf_key *key, hf_span *value)
{
    trie_entry entry;
    ctx->key = key;
    int found = trie_find(ctx, root, 0, key->hash, PENDING, &entry);
    if (__builtin_expect(ctx->fault < 0, 0))
        return ctx->fault;
    if (found > 0)
        span_of((struct hf_record *)(void *)(ctx->base + (entry.word & HF_ENTRY_OFFSET)), value);
    return found;
}

static int region_get(const hf_region *region, const struct hf_version *version, unsigned tree, const hf_key *key,
                      hf_span *value)
{
    trie_ctx ctx = reading(region, version->top);
    return find(&ctx, version->trees[tree].root, key, value);
}

static int region_txn_get(struct hf_txn *txn, unsigned tree, const hf_key *key, hf_span *value)
{
    trie_ctx ctx = reading(txn->region, txn->state.version.top);
    return find(&ctx, txn->state.version.trees[tree].root, key, value);
}

_Static_assert(sizeof(trie_cursor) <= sizeof(((hf_region_cursor *)0)->opaque), "a cursor fits");

static void region_cursor_begin(hf_region_cursor *cursor, unsigned tree)
{
    const hf_view *view = cursor->view;
    const struct hf_tree *root = &view->version.trees[tree];
    trie_ctx ctx = reading(view->region, view->version.top);
    trie_cursor begun;
    trie_cursor_begin(&ctx, &begun, root->root, root->count);
    memcpy(cursor->opaque, &begun, sizeof begun);
    cursor->status = ctx.fault;
}

static int region_cursor_next(hf_region_cursor *cursor, hf_key *key, hf_span *value)
{
    const hf_view *view = cursor->view;
    trie_ctx ctx = reading(view->region, view->version.top);
    trie_cursor *at = (trie_cursor *)(void *)cursor->opaque;
    ctx.budget = cursor->budget;
    const trie_entry *entry = trie_cursor_next(&ctx, at);
    cursor->budget = ctx.budget;
    struct hf_record *record = entry == NULL ? NULL : record_at(&ctx, entry->word);
    /* The walk and the count that is kept with the root must come to the same. */
    if (ctx.fault < 0 || (entry != NULL) != (cursor->left > 0))
        return HF_CORRUPT;
    if (entry == NULL)
        return 0;
    cursor->left--;
    if (key != NULL)
        *key = (hf_key){hash_of(record, entry->word), hf_record_key(record), hf_record_key_size(record)};
    span_of(record, value);
    return 1;
}

static int region_check(const hf_region *region, uint64_t top, const struct hf_tree *tree, const char **fault)
{
    trie_ctx ctx = reading(region, top);
    int status = trie_check(&ctx, tree->root, tree->count, fault);
    if (ctx.fault < 0) {
        *fault = *fault != NULL ? *fault : "a link or an entry leads nowhere";
        return ctx.fault;
    }
    return status;
}

/* -- writing -- */

static int region_put(struct hf_txn *txn, unsigned tree, const hf_key *key, const void *value, size_t size)
{
    struct hf_tree *root = &txn->state.version.trees[tree];
    trie_ctx ctx = writing(txn);
    trie_entry entry = {PENDING};
    trie_trash trash;
    trie_link link = root->root;
    ctx.key = key;
    ctx.value = value;
    ctx.value_size = size;
    ctx.made = 0;
    int outcome = trie_put(&ctx, &link, 0, true, key->hash, &entry, TRIE_PUT_VALUE, &trash);
    if (ctx.fault < 0)
        return ctx.fault;
    if (outcome == UNCHANGED)
        return 0;
    txn->changed = txn->changed || outcome >= 0 || outcome == DONE_IN_PLACE;
    if (outcome == DONE_IN_PLACE)
        return 0;
    if (outcome < 0)
        return outcome;
    root->root = link;
    root->count += outcome == TRIE_ADDED;
    return outcome == TRIE_ADDED;
}

static int region_remove(struct hf_txn *txn, unsigned tree, const hf_key *key)
{
    struct hf_tree *root = &txn->state.version.trees[tree];
    trie_ctx ctx = writing(txn);
    trie_remainder rest;
    trie_trash trash;
    trie_link link = root->root;
    ctx.key = key;
    int removed = trie_remove(&ctx, &link, 0, true, key->hash, PENDING, &rest, &trash);
    if (ctx.fault < 0)
        return ctx.fault;
    if (removed <= 0)
        return removed;
    txn->changed = true;
    root->root = link;
    root->count--;
    return 1;
}

/* Frees a node, and all below it. */
static int clear_node(trie_ctx *ctx, trie_link link, unsigned depth)
{
    trie_node *node = trie_at(ctx, link);
    uint32_t entries = hf_trie_entry_count(node->maps), children = hf_trie_child_count(node->maps);
    if (depth > HF_TRIE_LEVELS)
        return HF_CORRUPT;
    for (uint32_t i = 0; i < entries; i++) {
        int status = hf_heap_prepare(ctx->txn);
        if (status < 0)
            return status;
        ctx->span = ctx->txn->state.version.top - HF_REGION_HEAP_AT;
        free_record(ctx, &trie_entries(node)[i]);
    }
    for (uint32_t i = 0; i < children && ctx->fault == 0; i++) {
        int status = clear_node(ctx, trie_links(node)[i], depth + 1);
        if (status < 0)
            return status;
    }
    int status = hf_heap_prepare(ctx->txn);
    if (status < 0)
        return status;
    free_node(ctx, link);
    return ctx->fault;
}

static int region_clear(struct hf_txn *txn, unsigned tree)
{
    struct hf_tree *root = &txn->state.version.trees[tree];
    trie_ctx ctx = writing(txn);
    /* A trie has no more nodes and entries than this; damage may. */
    ctx.budget = 4 * (ctx.span / sizeof(trie_node)) + 64;
    if (root->root == TRIE_NONE)
        return 0;
    int status = clear_node(&ctx, root->root, 0);
    if (status < 0)
        return status;
    txn->changed = true;
    *root = (struct hf_tree){0};
    return 0;
}

const struct hf_region_trie_ops HF_CPU_NAME(hf_region_trie_ops) = {
    .get = region_get,
    .txn_get = region_txn_get,
    .put = region_put,
    .remove = region_remove,
    .clear = region_clear,
    .cursor_begin = region_cursor_begin,
    .cursor_next = region_cursor_next,
    .check = region_check,
};

/*
 * trie_body.h: the trie of a region: what both homes have in common. Included by trie.c (shared memory) and
 * file_trie.c (a file), compiled once for each CPU level, so all but the table is static.
 *
 *      home.c     #include "region/trie_ctx.h"
 *                 the home's blocks: trie_node and trie_record, how a link becomes an address, how a block is made
 *                 #include "region/trie_body.h"       policies, the template, operations
 *                 the table of operations
 *
 * What a home defines:
 *
 *      trie_node                  with the members head, maps, slots[]
 *      trie_at, record_at         a node, a record; where there is none, ctx->fault and `nowhere`, or NULL
 *      block_new, block_free      by size in bytes; block_at: the address of one that is being made
 *      record_bytes(sizes)        what a record takes up; record_fits: whether another value fits where it is
 *      record_fill                writes one; record_word: the entry for it
 *      record_hash, record_key, record_key_size, record_value, record_value_size, record_set_value_size
 *      most_nodes                 no more can there be in all of the region
 *      record_may_match           a look at the entry alone: false, and the key is another one
 *
 * Damage. The bytes may be anything. trie_at and record_at look at each link before it is used. Where something is
 * wrong they note it in the context and give a node without slots (or no record), so that the template goes on and
 * finds nothing; a writer's next allocation fails; and whoever called the template looks at `fault` before at its
 * answer. Depth is bounded by the template, breadth by `budget`.
 *
 * Entries in the making. A put hands the template an entry that says PENDING. The policy that counts entries makes the
 * record of it, once the template has found where it goes; so a put that changes nothing allocates nothing.
 *
 * In place. What this transaction made since its innermost savepoint is changed where it is, a record's value too if
 * the block will do.
 *
 * There are no counts: keep and drop do nothing. What an operation supersedes is freed as soon as it has succeeded, what
 * a failed one made is given back (home->undo).
 */

static inline trie_key trie_key_of(const trie_entry *entry)
{
    return entry->word;
}

static inline int trie_hash(trie_ctx *ctx, const trie_entry *entry, uint64_t *out)
{
    const trie_record *record = record_at(ctx, entry->word);
    if (record == NULL)
        return HF_CORRUPT;
    *out = record_hash(record, entry->word);
    return 0;
}

static int same_keys(trie_ctx *ctx, uint64_t a, uint64_t b)
{
    trie_record *left = record_at(ctx, a), *right = record_at(ctx, b);
    if (left == NULL || right == NULL)
        return HF_CORRUPT;
    return record_hash(left, a) == record_hash(right, b) && record_key_size(left) == record_key_size(right) &&
           memcmp(record_key(left), record_key(right), record_key_size(left)) == 0;
}

static inline int trie_same_key(trie_ctx *ctx, const trie_entry *entry, trie_key key)
{
    if (key != PENDING)
        return same_keys(ctx, entry->word, key);
    const hf_key *wanted = ctx->key;
    if (!record_may_match(entry->word, wanted))
        return 0;
    trie_record *record = record_at(ctx, entry->word);
    if (record == NULL)
        return HF_CORRUPT;
    return record_hash(record, entry->word) == wanted->hash && record_key_size(record) == wanted->size &&
           (wanted->size == 0 || memcmp(record_key(record), wanted->bytes, wanted->size) == 0);
}

static int trie_same_value(trie_ctx *ctx, const trie_entry *a, const trie_entry *b)
{
    trie_record *left = record_at(ctx, a->word), *right = record_at(ctx, b->word);
    if (left == NULL || right == NULL)
        return HF_CORRUPT;
    return record_value_size(left) == record_value_size(right) &&
           memcmp(record_value(left), record_value(right), record_value_size(left)) == 0;
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

/* -- policies: building -- */

static size_t node_size(hf_trie_maps maps)
{
    return sizeof(trie_node) + (size_t)(hf_trie_entry_count(maps) + hf_trie_child_count(maps)) * sizeof(uint64_t);
}

static int trie_fresh(trie_ctx *ctx, hf_trie_maps maps, unsigned traits, trie_link *out)
{
    if (ctx->fault < 0)
        return ctx->fault;
    int status = block_new(ctx, node_size(maps), out);
    if (status < 0)
        return status;
    trie_node *node = block_at(ctx, *out);
    node->head = hf_txn_head(ctx->txn, HF_KIND_NODE);
    node->maps = maps;
    return 0;
}

static inline void trie_seal(trie_ctx *ctx, trie_link link)
{
}

static void free_node(trie_ctx *ctx, trie_link link)
{
    const trie_node *node = trie_at(ctx, link);
    if (ctx->fault == 0)
        block_free(ctx, link, node_size(node->maps), node->head);
}

static void free_record(trie_ctx *ctx, const trie_entry *entry)
{
    const trie_record *record = record_at(ctx, entry->word);
    if (record != NULL)
        block_free(ctx, record_link(entry->word), record_bytes(record_key_size(record), record_value_size(record)),
                   record->head);
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
    trie_link link;
    if (ctx->fault < 0)
        return ctx->fault;
    const hf_key *key = ctx->key;
    int status = block_new(ctx, record_bytes(key->size, ctx->value_size), &link);
    if (status < 0)
        return status;
    trie_record *record = block_at(ctx, link);
    record->head = hf_txn_head(ctx->txn, HF_KIND_RECORD);
    record_fill(record, key, ctx->value_size);
    if (key->size > 0)
        memcpy(record_key(record), key->bytes, key->size);
    if (ctx->value_size > 0)
        memcpy(record_value(record), ctx->value, ctx->value_size);
    ctx->made = out->word = record_word(link, key);
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
    trie_record *record = record_at(ctx, stored->word);
    if (record == NULL)
        return HF_CORRUPT;
    unsigned char *value = record_value(record);
    size_t size = ctx->value_size;
    if (record_value_size(record) == size && (size == 0 || memcmp(value, ctx->value, size) == 0))
        return UNCHANGED;
    if (hf_txn_owns(ctx->txn, record->head) && record_fits(record, size)) {
        record_set_value_size(record, size);
        if (size > 0)
            memmove(value, ctx->value, size);
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

static void span_of(trie_record *record, hf_span *value)
{
    if (value != NULL)
        *value = (hf_span){record_value(record), record_value_size(record)};
}

static inline int find(trie_ctx *ctx, trie_link root, const hf_key *key, hf_span *value)
{
    trie_entry entry;
    ctx->key = key;
    int found = trie_find(ctx, root, 0, key->hash, PENDING, &entry);
    if (__builtin_expect(ctx->fault < 0, 0))
        return ctx->fault;
    if (found > 0)
        span_of(block_at(ctx, record_link(entry.word)), value);
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
    trie_ctx ctx = writing(txn);
    return find(&ctx, hf_txn_tree(txn, tree)->root, key, value);
}

_Static_assert(sizeof(trie_cursor) <= sizeof(((hf_region_cursor *)0)->opaque), "a cursor fits");

static trie_ctx walking(const hf_region_cursor *cursor)
{
    return cursor->txn != NULL ? writing(cursor->txn) : reading(cursor->view->region, cursor->view->version.top);
}

static void region_cursor_begin(hf_region_cursor *cursor, unsigned tree)
{
    const struct hf_tree *root =
        cursor->txn != NULL ? hf_txn_tree(cursor->txn, tree) : &cursor->view->version.trees[tree];
    trie_ctx ctx = walking(cursor);
    trie_cursor begun;
    trie_cursor_begin(&ctx, &begun, root->root, root->count);
    memcpy(cursor->opaque, &begun, sizeof begun);
    cursor->status = ctx.fault;
}

static int region_cursor_next(hf_region_cursor *cursor, hf_key *key, hf_span *value)
{
    trie_ctx ctx = walking(cursor);
    trie_cursor *at = (trie_cursor *)(void *)cursor->opaque;
    ctx.budget = cursor->budget;
    const trie_entry *entry = trie_cursor_next(&ctx, at);
    cursor->budget = ctx.budget;
    trie_record *record = entry == NULL ? NULL : record_at(&ctx, entry->word);
    /* The walk and the count that is kept with the root must come to the same. */
    if (ctx.fault < 0 || (entry != NULL) != (cursor->left > 0))
        return HF_CORRUPT;
    if (entry == NULL)
        return 0;
    cursor->left--;
    if (key != NULL)
        *key = (hf_key){record_hash(record, entry->word), record_key(record), record_key_size(record)};
    span_of(record, value);
    return 1;
}

typedef struct diff_run {
    hf_view_differ differ;
    void *arg;
} diff_run;

static int tell(trie_ctx *ctx, const diff_run *run, const trie_entry *from, const trie_entry *to)
{
    const trie_entry *entry = from != NULL ? from : to;
    trie_record *left = from == NULL ? NULL : record_at(ctx, from->word);
    trie_record *right = to == NULL ? NULL : record_at(ctx, to->word);
    hf_span was, is;

    if (ctx->fault < 0)
        return ctx->fault;
    trie_record *record = left != NULL ? left : right;
    hf_key key = {record_hash(record, entry->word), record_key(record), record_key_size(record)};
    if (left != NULL)
        span_of(left, &was);
    if (right != NULL)
        span_of(right, &is);
    return run->differ(run->arg, &key, left != NULL ? &was : NULL, right != NULL ? &is : NULL);
}

static int diff_both(trie_ctx *ctx, void *arg, const trie_entry *left, const trie_entry *right, trie_entry *made)
{
    int same = trie_identical(left, right) ? 1 : trie_same_value(ctx, left, right);
    int status = same != 0 ? same : tell(ctx, arg, left, right);
    return status < 0 ? status : (int)TRIE_TAKE_NONE;
}

static int diff_one(trie_ctx *ctx, void *arg, trie_side side, const trie_entry *entry)
{
    return tell(ctx, arg, side == TRIE_LEFT ? entry : NULL, side == TRIE_LEFT ? NULL : entry);
}

/* Of nothing but differences: the result that the template makes is empty, so nothing is allocated. */
static int region_diff(const hf_region *region, const struct hf_version *from, const struct hf_version *to,
                       unsigned tree, hf_view_differ differ, void *arg)
{
    static const trie_algebra algebra = {
        .keep = {false, false}, .shared = TRIE_SHARED_OMIT, .counted = false, .both = diff_both, .one = diff_one};
    diff_run run = {differ, arg};
    trie_ctx ctx = reading(region, from->top > to->top ? from->top : to->top);
    const struct hf_tree *left = &from->trees[tree], *right = &to->trees[tree];
    trie_link root;
    size_t count;

    ctx.budget = 256 * (left->count + right->count + 16);
    int status =
        trie_combine(&ctx, &algebra, &run, left->root, left->count, right->root, right->count, &root, &count);
    return ctx.fault < 0 ? ctx.fault : status;
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
    struct hf_tree *root = hf_txn_tree(txn, tree);
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
    struct hf_tree *root = hf_txn_tree(txn, tree);
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
        int status = hf_txn_prepare(ctx->txn);
        if (status < 0)
            return status;
        refresh(ctx);
        free_record(ctx, &trie_entries(node)[i]);
    }
    for (uint32_t i = 0; i < children && ctx->fault == 0; i++) {
        int status = clear_node(ctx, trie_links(node)[i], depth + 1);
        if (status < 0)
            return status;
    }
    int status = hf_txn_prepare(ctx->txn);
    if (status < 0)
        return status;
    free_node(ctx, link);
    return ctx->fault;
}

static int region_clear(struct hf_txn *txn, unsigned tree)
{
    struct hf_tree *root = hf_txn_tree(txn, tree);
    trie_ctx ctx = writing(txn);
    /* A trie has no more nodes and entries than this; damage may. */
    ctx.budget = 4 * most_nodes(&ctx) + 64;
    if (root->root == TRIE_NONE)
        return 0;
    int status = clear_node(&ctx, root->root, 0);
    if (status < 0)
        return status;
    txn->changed = true;
    *root = (struct hf_tree){0};
    return 0;
}

/* Where a home has no quicker one. */
#ifndef HF_REGION_GET
#define HF_REGION_GET region_get
#endif

const struct hf_region_trie_ops HF_CPU_NAME(HF_REGION_OPS) = {
    .get = HF_REGION_GET,
    .txn_get = region_txn_get,
    .put = region_put,
    .remove = region_remove,
    .clear = region_clear,
    .cursor_begin = region_cursor_begin,
    .cursor_next = region_cursor_next,
    .diff = region_diff,
    .check = region_check,
};

/*
 * trie_body.h: the trie of a region: what both homes and both kinds of entries have in common. Four files come to it, each
 * compiled once for each CPU level, so all but the table is static.
 *
 *      trie.c          records   shared memory        an instantiation is
 *      file_trie.c     records   a file
 *      keydir.c        places    shared memory          trie_entry                          what is in a slot
 *      file_keydir.c   places    a file                 trie_shared.h  or  trie_file.h      the home's nodes
 *                                                       records (the .c file itself)        the home's records
 *                                                       trie_records.h  or  trie_places.h   policies of entries,
 *                                                           trie_body.h                     policies of nodes, the template,
 *                                                                                           what does not look at entries
 *                                                           operations, their table
 *
 * What a home defines:
 *
 *      trie_node                  with the members head, maps, slots[]
 *      reading, writing           a context, of a version and of a transaction; refresh: the transaction has grown
 *      trie_at                    a node; where there is none, ctx->fault and `nowhere`
 *      block_new, block_free      by size in bytes; block_at: the address of one that is being made
 *      most_nodes                 no more can there be in all of the region
 *
 * What the entries define, beyond the template's policies: free_entry, for hf_txn_clear; tell, for hf_view_diff.
 *
 * Damage. The bytes may be anything. trie_at looks at each link before it is used. Where something is wrong it notes it in
 * the context and gives a node without slots, so that the template goes on and finds nothing; a writer's next allocation
 * fails; and whoever called the template looks at `fault` before at its answer. Depth is bounded by the template, breadth
 * by `budget`.
 *
 * In place. What this transaction made since its innermost savepoint is changed where it is.
 *
 * There are no counts: keep and drop do nothing. What an operation supersedes is freed as soon as it has succeeded, what
 * a failed one made is given back (home->undo).
 */

/* -- policies: building -- */

static size_t node_size(hf_trie_maps maps)
{
    return sizeof(trie_node) + hf_trie_entry_count(maps) * sizeof(trie_entry) +
           hf_trie_child_count(maps) * sizeof(trie_link);
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

static void trie_shell_free(trie_ctx *ctx, trie_link link)
{
    free_node(ctx, link);
}

static void trie_superseded(trie_ctx *ctx, trie_link link)
{
    free_node(ctx, link);
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

/* The next entry, or NULL at the end. The walk and the count that is kept with the root must come to the same: `fault`. */
static const trie_entry *step(trie_ctx *ctx, hf_region_cursor *cursor)
{
    ctx->budget = cursor->budget;
    const trie_entry *entry = trie_cursor_next(ctx, (trie_cursor *)(void *)cursor->opaque);
    cursor->budget = ctx->budget;
    if ((entry != NULL) != (cursor->left > 0))
        ctx->fault = HF_CORRUPT;
    cursor->left -= entry != NULL;
    return entry;
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

/* Puts an entry, or what stands for it: 1 the key is new, 0 it was there. */
static int put_entry(trie_ctx *ctx, struct hf_tree *root, uint64_t hash, const trie_entry *entry)
{
    trie_trash trash;
    trie_link link = root->root;
    int outcome = trie_put(ctx, &link, 0, true, hash, entry, TRIE_PUT_VALUE, &trash);
    if (ctx->fault < 0)
        return ctx->fault;
    if (outcome == UNCHANGED || outcome == TRIE_SAME)
        return 0;
    if (outcome < 0 && outcome != DONE_IN_PLACE)
        return outcome;
    ctx->txn->changed = true;
    if (outcome == DONE_IN_PLACE)
        return 0;
    root->root = link;
    root->count += outcome == TRIE_ADDED;
    return outcome == TRIE_ADDED;
}

/* 1; 0: it was not there. */
static int remove_entry(trie_ctx *ctx, struct hf_tree *root, uint64_t hash, trie_key key)
{
    trie_remainder rest;
    trie_trash trash;
    trie_link link = root->root;
    int removed = trie_remove(ctx, &link, 0, true, hash, key, &rest, &trash);
    if (ctx->fault < 0)
        return ctx->fault;
    if (removed <= 0)
        return removed;
    ctx->txn->changed = true;
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
        int status = free_entry(ctx, &trie_entries(node)[i]);
        if (status < 0)
            return status;
    }
    for (uint32_t i = 0; i < children && ctx->fault == 0; i++) {
        int status = clear_node(ctx, trie_links(node)[i], depth + 1);
        if (status < 0)
            return status;
    }
    int status = hf_txn_prepare(ctx->txn);
    if (status < 0)
        return status;
    refresh(ctx);
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

#define HF_REGION_TREE_OPS                                                                                     \
    {                                                                                                          \
        .clear = region_clear, .cursor_begin = region_cursor_begin, .diff = region_diff, .check = region_check \
    }

/*
 * view.c: reading a version that is pinned.
 *
 * Concurrency: a view is read by one thread, a snapshot's by any number. Failure: see region.h; what is damaged is
 * found in trie.c.
 */
#include "region/impl.h"

/* In a child, a view of its parent's is not pinned. */
static bool is_pinned(const hf_view *view)
{
    return view->generation == view->region->generation;
}

int hf_view_get(const hf_view *view, unsigned tree, const hf_key *key, hf_span *value)
{
    if (__builtin_expect(!is_pinned(view), 0))
        return HF_LOST;
    if (tree >= HF_REGION_TREES)
        return HF_INVALID;
    return view->region->ops->get(view->region, &view->version, tree, key, value);
}

uint64_t hf_view_count(const hf_view *view, unsigned tree)
{
    return tree < HF_REGION_TREES ? view->version.trees[tree].count : 0;
}

/* Whether there can be so many entries: none is smaller than a record's head. */
static bool can_be(const hf_view *view, uint64_t count)
{
    uint64_t nursery = view->region->file != NULL ? HF_NURSERY_BYTES : 0;

    return count <= (view->version.top + nursery) / HF_RECORD_BYTES;
}

int hf_view_size(const hf_view *view, unsigned tree, uint64_t *out)
{
    uint64_t count = hf_view_count(view, tree);

    if (count > INT64_MAX || !can_be(view, count))
        return HF_CORRUPT;
    *out = count;
    return 0;
}

uint64_t hf_view_txid(const hf_view *view)
{
    return view->version.txid;
}

/* More entries than anybody has: 256 looks for each are still a number. */
#define COUNT_MAX (UINT64_MAX / 1024)

/* A walk over a tree of `count` entries. An entry costs a few looks at nodes, at worst a chain of them. */
static int begin(hf_region_cursor *cursor, unsigned tree, uint64_t count)
{
    if (count > COUNT_MAX)
        return HF_CORRUPT;
    cursor->left = count;
    cursor->budget = 256 * (count + 16);
    cursor->status = 0;
    const hf_region *region = cursor->txn != NULL ? cursor->txn->region : cursor->view->region;
    region->ops->cursor_begin(cursor, tree);
    return cursor->status;
}

int hf_region_cursor_begin(hf_region_cursor *cursor, const hf_view *view, unsigned tree)
{
    if (!is_pinned(view))
        return HF_LOST;
    if (tree >= HF_REGION_TREES)
        return HF_INVALID;
    uint64_t count = view->version.trees[tree].count;
    if (!can_be(view, count))
        return HF_CORRUPT;
    *cursor = (hf_region_cursor){.view = view};
    return begin(cursor, tree, count);
}

int hf_txn_cursor_begin(hf_region_cursor *cursor, hf_txn *txn, unsigned tree)
{
    uint64_t count;
    int status = hf_txn_count(txn, tree, &count);

    if (status < 0)
        return status;
    *cursor = (hf_region_cursor){.txn = txn, .changes = txn->changes};
    return begin(cursor, tree, count);
}

/* Whether what the cursor walks over is still there. */
static int may_go_on(const hf_region_cursor *cursor)
{
    uint64_t count;

    if (cursor->txn != NULL && cursor->changes != cursor->txn->changes)
        return HF_INVALID;
    if (cursor->txn != NULL)
        return hf_txn_count(cursor->txn, 0, &count);
    return is_pinned(cursor->view) ? 0 : HF_LOST;
}

int hf_region_cursor_next(hf_region_cursor *cursor, hf_key *key, hf_span *value)
{
    int status = cursor->status < 0 ? cursor->status : may_go_on(cursor);

    if (status < 0)
        return status;
    const hf_region *region = cursor->txn != NULL ? cursor->txn->region : cursor->view->region;
    status = region->ops->cursor_next(cursor, key, value);
    if (status < 0)
        cursor->status = status;
    return status;
}

/* The same segment or file, perhaps opened twice. (A reader without a slot may go by another lock file than the others,
 * with another nursery, or by none.) */
static bool is_same(const hf_region *a, const hf_region *b)
{
    return a == b || (a->dev == b->dev && a->ino == b->ino && a->control_fd >= 0 && b->control_fd >= 0);
}

int hf_view_diff(const hf_view *from, const hf_view *to, unsigned tree, hf_view_differ differ, void *arg)
{
    if (!is_pinned(from) || !is_pinned(to))
        return HF_LOST;
    if (tree >= HF_REGION_TREES || !is_same(from->region, to->region))
        return HF_INVALID;
    if (from->version.trees[tree].count > COUNT_MAX || to->version.trees[tree].count > COUNT_MAX)
        return HF_CORRUPT;
    /* Both are read where `from` is mapped, which may be fewer addresses than `to` has. */
    int status = hf_pages_seen(from->region, to->version.top);
    if (status < 0)
        return status;
    return from->region->ops->diff(from->region, &from->version, &to->version, tree, differ, arg);
}

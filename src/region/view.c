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
    if (__builtin_expect(tree >= HF_REGION_TREES || hf_has_places(view->region, tree), 0))
        return HF_INVALID;
    return view->region->ops->get(view->region, &view->version, tree, key, value);
}

int hf_view_find_place(const hf_view *view, unsigned tree, uint64_t hash, hf_place_match match, void *arg,
                       uint64_t *place)
{
    if (__builtin_expect(!is_pinned(view), 0))
        return HF_LOST;
    if (__builtin_expect(tree >= HF_REGION_TREES || !hf_has_places(view->region, tree), 0))
        return HF_INVALID;
    return view->region->place_ops->find(view->region, &view->version, tree, hash, match, arg, place);
}

uint64_t hf_view_count(const hf_view *view, unsigned tree)
{
    return tree < HF_REGION_TREES ? view->version.trees[tree].count : 0;
}

/* Whether there can be so many entries: none is smaller than a record's head, or than a place with its hash. */
static bool can_be(const hf_view *view, uint64_t count, bool places)
{
    uint64_t nursery = view->region->file != NULL ? HF_NURSERY_BYTES : 0;

    return count <= (view->version.top + nursery) / (places ? sizeof(hf_place_entry) : HF_RECORD_BYTES);
}

int hf_view_size(const hf_view *view, unsigned tree, uint64_t *out)
{
    uint64_t count = hf_view_count(view, tree);

    if (count > INT64_MAX || (count > 0 && !can_be(view, count, hf_has_places(view->region, tree))))
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

static inline const hf_region *region_of(const hf_region_cursor *cursor)
{
    return cursor->txn != NULL ? cursor->txn->region : cursor->view->region;
}

/* A walk over a tree of `count` entries. An entry costs a few looks at nodes, at worst a chain of them. */
static int begin(hf_region_cursor *cursor, unsigned tree, bool places, uint64_t count)
{
    if (count > COUNT_MAX)
        return HF_CORRUPT;
    cursor->places = places;
    cursor->left = count;
    cursor->budget = 256 * (count + 16);
    cursor->status = 0;
    const hf_region *region = region_of(cursor);
    hf_tree_ops(region, places)->cursor_begin(cursor, tree);
    return cursor->status;
}

int hf_cursor_begin(hf_region_cursor *cursor, const hf_view *view, unsigned tree, bool places)
{
    uint64_t count = view->version.trees[tree].count;

    if (!can_be(view, count, places))
        return HF_CORRUPT;
    *cursor = (hf_region_cursor){.view = view};
    return begin(cursor, tree, places, count);
}

int hf_region_cursor_begin(hf_region_cursor *cursor, const hf_view *view, unsigned tree)
{
    if (!is_pinned(view))
        return HF_LOST;
    return tree < HF_REGION_TREES ? hf_cursor_begin(cursor, view, tree, hf_has_places(view->region, tree))
                                  : HF_INVALID;
}

int hf_txn_cursor_begin(hf_region_cursor *cursor, hf_txn *txn, unsigned tree)
{
    uint64_t count;
    int status = hf_txn_count(txn, tree, &count);

    if (status < 0)
        return status;
    *cursor = (hf_region_cursor){.txn = txn, .changes = txn->changes};
    return begin(cursor, tree, hf_has_places(txn->region, tree), count);
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

/* Before a step of a cursor over trees of this kind. */
static inline int before_next(const hf_region_cursor *cursor, bool places)
{
    if (cursor->status < 0)
        return cursor->status;
    return cursor->places == places ? may_go_on(cursor) : HF_INVALID;
}

int hf_region_cursor_next(hf_region_cursor *cursor, hf_key *key, hf_span *value)
{
    int status = before_next(cursor, false);

    if (status < 0)
        return status;
    status = region_of(cursor)->ops->cursor_next(cursor, key, value);
    if (status < 0)
        cursor->status = status;
    return status;
}

int hf_region_cursor_next_place(hf_region_cursor *cursor, hf_place_entry *out)
{
    int status = before_next(cursor, true);

    if (status < 0)
        return status;
    status = region_of(cursor)->place_ops->cursor_next(cursor, out);
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
    return hf_tree_ops(from->region, hf_has_places(from->region, tree))
        ->diff(from->region, &from->version, &to->version, tree, differ, arg);
}

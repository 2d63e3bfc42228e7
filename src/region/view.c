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

uint64_t hf_view_txid(const hf_view *view)
{
    return view->version.txid;
}

int hf_region_cursor_begin(hf_region_cursor *cursor, const hf_view *view, unsigned tree)
{
    if (!is_pinned(view))
        return HF_LOST;
    if (tree >= HF_REGION_TREES)
        return HF_INVALID;
    uint64_t count = view->version.trees[tree].count;
    uint64_t nursery = view->region->file != NULL ? HF_NURSERY_BYTES : 0;
    if (count > (view->version.top + nursery) / HF_RECORD_BYTES)
        return HF_CORRUPT;
    /* An entry costs a few looks at nodes, at worst a chain of them. */
    *cursor = (hf_region_cursor){.view = view, .left = count, .budget = 256 * (count + 16)};
    view->region->ops->cursor_begin(cursor, tree);
    return cursor->status;
}

int hf_region_cursor_next(hf_region_cursor *cursor, hf_key *key, hf_span *value)
{
    if (cursor->status < 0)
        return cursor->status;
    if (!is_pinned(cursor->view))
        return HF_LOST;
    int status = cursor->view->region->ops->cursor_next(cursor, key, value);
    if (status < 0)
        cursor->status = status;
    return status;
}

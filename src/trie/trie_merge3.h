/* trie_merge3.h - part of trie_algo.h: the three-way merge.
 *
 * Two versions, mine and theirs, came from one base. The result has the changes of both. At each slot the three
 * tries show a view (nothing, an entry, a node), and where two of the three are the very same the third decides:
 *
 *      mine is theirs       both did the same, or nothing          -> mine
 *      base is theirs       only mine changed                      -> mine
 *      base is mine         only theirs changed                    -> theirs
 *
 * Otherwise the merge goes down a level, where an entry plays the node that has it as its only entry. When none of
 * the three is a node any more, at most three keys are left, and each is settled by the same table, by value. What
 * the table leaves open is a conflict: both sides changed a key, and not alike.
 *
 * The result's size is counted as a difference from mine: see `delta`. */

typedef struct trie_merge {
    trie_ctx *ctx;
    trie_resolver *resolve;
    void *arg;
    ptrdiff_t delta; /* entries of the result less entries of mine */
} trie_merge;

/* How many more entries `to` has than `from`. Does not enter what they share. */
static ptrdiff_t trie_count_delta(trie_ctx *ctx, const trie_view *from, const trie_view *to)
{
    if (trie_view_identical(from, to))
        return 0;
    if (from->kind != TRIE_NODE || to->kind != TRIE_NODE)
        return (ptrdiff_t)trie_view_count(ctx, to) - (ptrdiff_t)trie_view_count(ctx, from);
    hf_trie_maps a = trie_at(ctx, from->link)->maps, b = trie_at(ctx, to->link)->maps;
    if (hf_trie_is_collision(a))
        return (ptrdiff_t)b.entry_map - (ptrdiff_t)a.entry_map;
    ptrdiff_t delta = 0;
    for (uint32_t rest = a.entry_map | a.child_map | b.entry_map | b.child_map; rest != 0; rest &= rest - 1) {
        trie_view old = trie_view_slot(ctx, from->link, rest & -rest);
        trie_view new = trie_view_slot(ctx, to->link, rest & -rest);
        delta += trie_count_delta(ctx, &old, &new);
    }
    return delta;
}

/* Whether two sides agree about a key: 1, 0 or a failure. NULL: the side does not have it. Runs foreign code. */
static int trie_sides_agree(trie_ctx *ctx, const trie_entry *a, const trie_entry *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return trie_identical(a, b) ? 1 : trie_same_value(ctx, a, b);
}

/* Settles one key. Runs foreign code. */
static int trie_merge_key(trie_merge *merge, const trie_entry *base, const trie_entry *mine, const trie_entry *theirs,
                          trie_view *out)
{
    trie_ctx *ctx = merge->ctx;
    trie_entry made;
    int resolution = TRIE_RESOLVE_MINE;
    int agree = trie_sides_agree(ctx, mine, theirs);
    if (agree == 0)
        agree = trie_sides_agree(ctx, base, theirs);
    if (agree == 0) {
        agree = trie_sides_agree(ctx, base, mine);
        resolution = TRIE_RESOLVE_THEIRS;
    }
    if (agree < 0)
        return agree;
    if (agree == 0)
        resolution = merge->resolve(ctx, merge->arg, base, mine, theirs, &made);
    if (resolution < 0)
        return resolution;

    const trie_entry *entry = resolution == TRIE_RESOLVE_MINE     ? mine
                              : resolution == TRIE_RESOLVE_THEIRS ? theirs
                              : resolution == TRIE_RESOLVE_NEW    ? &made
                                                                  : NULL;
    *out = (trie_view){.kind = TRIE_EMPTY};
    if (entry != NULL)
        *out = (trie_view){.kind = TRIE_ENTRY, .counted = entry == &made, .entry = *entry};
    merge->delta += (entry != NULL) - (mine != NULL);
    return 0;
}

/* Whether both views are entries, with equal keys: 1, 0 or a failure. */
static int trie_views_match(trie_ctx *ctx, const trie_view *a, const trie_view *b)
{
    if (a->kind != TRIE_ENTRY || b->kind != TRIE_ENTRY)
        return 0;
    return trie_same_key(ctx, &a->entry, trie_key_of(&b->entry));
}

/* Three views none of which is a node; `depth` is that of a child in their slot. */
static int trie_merge_entries(trie_merge *merge, const trie_view *base, const trie_view *mine,
                              const trie_view *theirs, unsigned depth, trie_view *out)
{
    trie_ctx *ctx = merge->ctx;
    int base_mine = trie_views_match(ctx, base, mine);
    int base_theirs = base_mine < 0 ? base_mine : trie_views_match(ctx, base, theirs);
    int mine_theirs = base_theirs < 0 ? base_theirs : trie_views_match(ctx, mine, theirs);
    if (mine_theirs < 0)
        return mine_theirs;
    const trie_entry *m = mine->kind == TRIE_ENTRY ? &mine->entry : NULL;
    const trie_entry *t = theirs->kind == TRIE_ENTRY ? &theirs->entry : NULL;
    if (mine_theirs)
        return trie_merge_key(merge, base_mine ? &base->entry : NULL, m, t, out);

    trie_view a = {.kind = TRIE_EMPTY}, b = {.kind = TRIE_EMPTY};
    int status = 0;
    if (m != NULL)
        status = trie_merge_key(merge, base_mine ? &base->entry : NULL, m, NULL, &a);
    if (status == 0 && t != NULL)
        status = trie_merge_key(merge, base_theirs ? &base->entry : NULL, NULL, t, &b);
    if (status == 0 && a.kind == TRIE_ENTRY && b.kind == TRIE_ENTRY) {
        status = trie_view_pair(ctx, depth, &a.entry, &b.entry, out);
    } else if (status == 0) {
        *out = a.kind == TRIE_ENTRY ? a : b;
        return 0;
    }
    trie_view_drop(ctx, &a);
    trie_view_drop(ctx, &b);
    return status;
}

/* Looks a key up in a view below the last level: *found is its entry or NULL, with *storage to hold it. */
static int trie_view_search(trie_ctx *ctx, const trie_view *view, const trie_entry *wanted, trie_entry *storage,
                            const trie_entry **found)
{
    int status = 0;
    *found = NULL;
    if (view->kind == TRIE_ENTRY) {
        *storage = view->entry;
        status = trie_same_key(ctx, storage, trie_key_of(wanted));
    } else if (view->kind == TRIE_NODE) {
        uint32_t index;
        status = trie_find_in_collision(ctx, view->link, trie_key_of(wanted), &index);
        if (status > 0)
            *storage = trie_entries(trie_at(ctx, view->link))[index];
    }
    if (status > 0)
        *found = storage;
    return status < 0 ? status : 0;
}

/* The entry `index` of a view below the last level, uncounted; false if there are fewer. */
static bool trie_view_nth(trie_ctx *ctx, const trie_view *view, uint32_t index, trie_entry *out)
{
    if (view->kind == TRIE_ENTRY && index == 0) {
        *out = view->entry;
        return true;
    }
    if (view->kind != TRIE_NODE || index >= trie_at(ctx, view->link)->maps.entry_map)
        return false;
    *out = trie_entries(trie_at(ctx, view->link))[index];
    return true;
}

/* Puts into the pile what becomes of every key of mine and, after them, every other key of theirs. */
static int trie_merge_pile(trie_merge *merge, const trie_view *base, const trie_view *mine, const trie_view *theirs,
                           trie_pile *pile)
{
    trie_ctx *ctx = merge->ctx;
    trie_entry entry, store[2];
    const trie_entry *b, *other;
    trie_view view;
    for (uint32_t i = 0; trie_view_nth(ctx, mine, i, &entry); i++) {
        int status = trie_view_search(ctx, base, &entry, &store[0], &b);
        if (status == 0)
            status = trie_view_search(ctx, theirs, &entry, &store[1], &other);
        if (status == 0)
            status = trie_merge_key(merge, b, &entry, other, &view);
        if (status < 0)
            return status;
        pile->from_left += view.kind == TRIE_ENTRY && trie_identical(&view.entry, &entry);
        pile->from_right += view.kind == TRIE_ENTRY && other != NULL && trie_identical(&view.entry, other);
        trie_pile_add(pile, &view);
    }
    for (uint32_t i = 0; trie_view_nth(ctx, theirs, i, &entry); i++) {
        int status = trie_view_search(ctx, mine, &entry, &store[1], &other);
        if (status == 0 && other != NULL)
            continue;
        if (status == 0)
            status = trie_view_search(ctx, base, &entry, &store[0], &b);
        if (status == 0)
            status = trie_merge_key(merge, b, NULL, &entry, &view);
        if (status < 0)
            return status;
        pile->from_right += view.kind == TRIE_ENTRY && trie_identical(&view.entry, &entry);
        trie_pile_add(pile, &view);
    }
    return 0;
}

/* Three views below the last level, at least one of them a collision node: all keys have one hash. */
static int trie_merge_collisions(trie_merge *merge, const trie_view *base, const trie_view *mine,
                                 const trie_view *theirs, trie_view *out)
{
    trie_ctx *ctx = merge->ctx;
    trie_pile pile;
    size_t mine_count = trie_view_count(ctx, mine), theirs_count = trie_view_count(ctx, theirs);
    int status = trie_pile_init(&pile, mine_count, theirs_count);
    if (status < 0)
        return status;
    status = trie_merge_pile(merge, base, mine, theirs, &pile);
    if (status == 0) {
        bool is_mine = pile.count == mine_count && pile.from_left == pile.count;
        bool is_theirs = pile.count == theirs_count && pile.from_right == pile.count;
        if (is_mine || is_theirs)
            *out = is_mine ? *mine : *theirs;
        else
            status = trie_view_collision(ctx, pile.entries, pile.count, out);
        out->twin = is_mine && is_theirs;
    }
    trie_pile_clear(ctx, &pile);
    return status;
}

/* One of the three tries, as the merge of a node sees it. */
typedef struct trie_operand {
    const trie_view *view;
    hf_trie_maps maps; /* of an entry: of the node that would have it as its only entry */
} trie_operand;

static int trie_operand_init(trie_ctx *ctx, trie_operand *operand, const trie_view *view, unsigned depth)
{
    *operand = (trie_operand){.view = view};
    if (view->kind == TRIE_NODE) {
        operand->maps = trie_at(ctx, view->link)->maps;
    } else if (view->kind == TRIE_ENTRY) {
        uint64_t hash;
        int status = trie_hash(ctx, &view->entry, &hash);
        if (status < 0)
            return status;
        operand->maps.entry_map = hf_trie_slot(hash, depth);
    }
    return 0;
}

static trie_view trie_operand_slot(trie_ctx *ctx, const trie_operand *operand, uint32_t slot)
{
    if (operand->view->kind == TRIE_NODE)
        return trie_view_slot(ctx, operand->view->link, slot);
    if (operand->maps.entry_map & slot)
        return *operand->view;
    return (trie_view){.kind = TRIE_EMPTY};
}

static int trie_merge_views(trie_merge *merge, const trie_view *base, const trie_view *mine, const trie_view *theirs,
                            unsigned depth, trie_view *out);

/* Three views at `depth`, at least one of them a node: slot by slot. */
static int trie_merge_nodes(trie_merge *merge, const trie_view *base, const trie_view *mine, const trie_view *theirs,
                            unsigned depth, trie_view *out)
{
    trie_ctx *ctx = merge->ctx;
    trie_operand b = {.view = NULL}, m = b, t = b;
    int status = trie_operand_init(ctx, &b, base, depth);
    if (status == 0)
        status = trie_operand_init(ctx, &m, mine, depth);
    if (status == 0)
        status = trie_operand_init(ctx, &t, theirs, depth);
    if (status < 0)
        return status;

    trie_draft draft;
    trie_draft_begin(&draft, mine->kind == TRIE_NODE ? mine->link : TRIE_NONE,
                     theirs->kind == TRIE_NODE ? theirs->link : TRIE_NONE);
    for (uint32_t rest = m.maps.entry_map | m.maps.child_map | t.maps.entry_map | t.maps.child_map; rest != 0;
         rest &= rest - 1) {
        uint32_t slot = rest & -rest;
        trie_view base_slot = trie_operand_slot(ctx, &b, slot);
        trie_view mine_slot = trie_operand_slot(ctx, &m, slot);
        trie_view theirs_slot = trie_operand_slot(ctx, &t, slot);
        trie_view view;
        status = trie_merge_views(merge, &base_slot, &mine_slot, &theirs_slot, depth + 1, &view);
        if (status < 0) {
            trie_draft_drop(ctx, &draft);
            return status;
        }
        trie_draft_settle(ctx, &draft, slot, (const trie_view *[2]){&mine_slot, &theirs_slot}, &view);
    }
    return trie_draft_finish(ctx, &draft, out);
}

/* Three views; `depth` is that of a node among them. *out is counted only where it is new. */
static int trie_merge_views(trie_merge *merge, const trie_view *base, const trie_view *mine, const trie_view *theirs,
                            unsigned depth, trie_view *out)
{
    if (trie_view_identical(mine, theirs) || trie_view_identical(base, theirs)) {
        *out = *mine;
        return 0;
    }
    if (trie_view_identical(base, mine)) {
        merge->delta += trie_count_delta(merge->ctx, mine, theirs);
        *out = *theirs;
        return 0;
    }
    *out = (trie_view){.kind = TRIE_EMPTY};
    if (base->kind != TRIE_NODE && mine->kind != TRIE_NODE && theirs->kind != TRIE_NODE)
        return trie_merge_entries(merge, base, mine, theirs, depth, out);
    if (depth == HF_TRIE_LEVELS)
        return trie_merge_collisions(merge, base, mine, theirs, out);
    return trie_merge_nodes(merge, base, mine, theirs, depth, out);
}

/* Merges. *root is the result, counted for the caller (an operand, if the result is as an operand was), *delta how
 * many more entries it has than mine. Costs the nodes in which the three differ. */
static int trie_merge3(trie_ctx *ctx, trie_resolver *resolve, void *arg, trie_link base, trie_link mine,
                       trie_link theirs, trie_link *root, ptrdiff_t *delta)
{
    trie_merge merge = {.ctx = ctx, .resolve = resolve, .arg = arg};
    trie_view b = trie_view_of(base), m = trie_view_of(mine), t = trie_view_of(theirs), view;
    int status = trie_merge_views(&merge, &b, &m, &t, 0, &view);
    if (status < 0)
        return status;
    *delta = merge.delta;
    return trie_view_to_root(ctx, &view, root);
}

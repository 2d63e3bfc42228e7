/* trie_algebra.h - part of trie_algo.h: two tries at once, node by node.
 *
 * Union, intersection, difference, symmetric difference and diff are one walk. What sets them apart is in a
 * trie_algebra: whether keys of just one operand are in the result, what becomes of a key that is in both, and
 * whether someone wants to hear of the differences. At each slot either operand has nothing, an entry or a node:
 *
 *      left \ right   nothing        entry          node
 *      nothing           -           one side       one side
 *      entry          one side       two entries    an entry and a node
 *      node           one side       (mirrored)     recursion, unless it is the same node
 *
 * The same node on both sides is not entered: a result costs what differs. Where every slot comes out as it was in
 * an operand, the result is that operand's node, and so on up to the root.
 *
 * Counting. The result's size is wanted without visiting what is shared. So it is counted as a difference (`delta`)
 * from a reference, an operand whose size is known or the empty trie, and the reference is chosen such that a subtree
 * is only ever counted where it is itself a difference:
 *      union                 the larger operand: what is grafted belongs to the smaller one
 *      intersection          the smaller operand: what is lost belongs to it
 *      difference            the left operand if the right one is less than half as large, so that what is lost
 *                            is little; else nothing: what is left is the difference
 *      symmetric difference  an operand if the other one is less than half as large; else nothing, likewise
 */

typedef struct trie_run {
    trie_ctx *ctx;
    const trie_algebra *op;
    void *arg;           /* for the callbacks */
    trie_side reference; /* what `delta` is counted from; TRIE_NEITHER: from the empty trie */
    ptrdiff_t delta;
} trie_run;

/* What to count the result's size from: see above. */
static trie_side trie_run_reference(const trie_algebra *op, size_t left_count, size_t right_count)
{
    if (op->shared == TRIE_SHARED_OMIT) {
        bool mostly_left = op->keep[TRIE_LEFT] && right_count < left_count / 2;
        bool mostly_right = op->keep[TRIE_RIGHT] && left_count < right_count / 2;
        return mostly_left ? TRIE_LEFT : mostly_right ? TRIE_RIGHT : TRIE_NEITHER;
    }
    bool is_union = op->keep[TRIE_LEFT] && op->keep[TRIE_RIGHT];
    return (left_count >= right_count) == is_union ? TRIE_LEFT : TRIE_RIGHT;
}

/* Books `count` entries that are, or are not, in the operands and in the result. */
static void trie_run_count(trie_run *run, bool in_left, bool in_right, bool in_result, size_t count)
{
    bool in_reference = run->reference == TRIE_LEFT ? in_left : run->reference == TRIE_RIGHT ? in_right : false;
    run->delta += ((ptrdiff_t)in_result - (ptrdiff_t)in_reference) * (ptrdiff_t)count;
}

/* The same for all the entries of a view; counts them only if they make a difference. */
static void trie_run_count_view(trie_run *run, bool in_left, bool in_right, bool in_result, const trie_view *view)
{
    bool in_reference = run->reference == TRIE_LEFT ? in_left : run->reference == TRIE_RIGHT ? in_right : false;
    if (run->op->counted && in_reference != in_result)
        trie_run_count(run, in_left, in_right, in_result, trie_view_count(run->ctx, view));
}

/* Tells op->one of every entry of the node except the one with the key of `except` (NULL: of all). */
static int trie_run_tell_node(trie_run *run, trie_side side, trie_link link, const trie_entry *except)
{
    trie_cursor cursor;
    trie_cursor_begin(run->ctx, &cursor, link, SIZE_MAX);
    for (const trie_entry *next; (next = trie_cursor_next(run->ctx, &cursor)) != NULL;) {
        trie_entry entry = *next; /* the callback may move the node */
        if (except != NULL && trie_identical(&entry, except))
            continue;
        int status = run->op->one(run->ctx, run->arg, side, &entry);
        if (status < 0)
            return status;
    }
    return 0;
}

/* A slot that only one operand fills. */
static int trie_run_one(trie_run *run, trie_side side, const trie_view *view, trie_view *out)
{
    bool kept = run->op->keep[side];
    int status = 0;
    if (run->op->one != NULL && view->kind == TRIE_ENTRY)
        status = run->op->one(run->ctx, run->arg, side, &view->entry);
    else if (run->op->one != NULL && view->kind == TRIE_NODE)
        status = trie_run_tell_node(run, side, view->link, NULL);
    trie_run_count_view(run, side == TRIE_LEFT, side == TRIE_RIGHT, kept, view);
    *out = kept ? *view : (trie_view){.kind = TRIE_EMPTY};
    return status;
}

/* A key that both operands have: *out is the entry or nothing. */
static int trie_run_both(trie_run *run, const trie_entry *left, const trie_entry *right, trie_view *out)
{
    trie_entry made;
    int verdict = run->op->both(run->ctx, run->arg, left, right, &made);
    if (verdict < 0)
        return verdict;
    *out = (trie_view){.kind = TRIE_ENTRY};
    switch ((trie_verdict)verdict) {
    case TRIE_TAKE_LEFT:
        out->entry = *left;
        break;
    case TRIE_TAKE_RIGHT:
        out->entry = *right;
        break;
    case TRIE_TAKE_NEW:
        out->entry = made;
        out->counted = true;
        break;
    case TRIE_TAKE_NONE:
        out->kind = TRIE_EMPTY;
        break;
    }
    trie_run_count(run, true, true, out->kind == TRIE_ENTRY, 1);
    return 0;
}

/* A slot where both operands have an entry; `depth` is that of a child in this slot. */
static int trie_run_entries(trie_run *run, const trie_view *left, const trie_view *right, unsigned depth,
                            trie_view *out)
{
    trie_ctx *ctx = run->ctx;
    if (run->op->shared != TRIE_SHARED_ENTER && trie_identical(&left->entry, &right->entry)) {
        bool kept = run->op->shared == TRIE_SHARED_TAKE;
        trie_run_count(run, true, true, kept, 1);
        *out = kept ? *left : (trie_view){.kind = TRIE_EMPTY};
        return 0;
    }
    int same = trie_same_key(ctx, &left->entry, trie_key_of(&right->entry));
    if (same < 0)
        return same;
    if (same)
        return trie_run_both(run, &left->entry, &right->entry, out);

    trie_view a, b;
    int status = trie_run_one(run, TRIE_LEFT, left, &a);
    if (status == 0)
        status = trie_run_one(run, TRIE_RIGHT, right, &b);
    if (status < 0)
        return status;
    if (a.kind != TRIE_EMPTY && b.kind != TRIE_EMPTY)
        return trie_view_pair(ctx, depth, &a.entry, &b.entry, out);
    *out = a.kind != TRIE_EMPTY ? a : b;
    return 0;
}

/* The node at `depth` with `entry` put in, as a view. */
static int trie_view_with(trie_ctx *ctx, trie_link link, unsigned depth, uint64_t hash, const trie_entry *entry,
                          trie_view *out)
{
    trie_trash trash;
    trie_link root = link;
    int status = trie_put(ctx, &root, depth, false, hash, entry, TRIE_PUT_ENTRY, &trash);
    if (status < 0)
        return status;
    *out = (trie_view){.kind = TRIE_NODE, .counted = status != TRIE_SAME, .link = root};
    return 0;
}

/* The node at `depth` with the key of `entry`, which it has, removed, as a view. */
static int trie_view_without(trie_ctx *ctx, trie_link link, unsigned depth, uint64_t hash, const trie_entry *entry,
                             trie_view *out)
{
    trie_trash trash;
    trie_remainder rest;
    trie_link root = link;
    int status = trie_remove(ctx, &root, depth, false, hash, trie_key_of(entry), &rest, &trash);
    if (status < 0)
        return status;
    if (rest.dissolved)
        *out = (trie_view){.kind = TRIE_ENTRY, .entry = rest.entry};
    else
        *out = (trie_view){.kind = TRIE_NODE, .counted = status != 0, .link = root};
    return 0;
}

/* A slot where one operand has an entry and the other a node, which has the key too: `found` is its entry. `settled`
 * is what the key came to; its counts stay with the caller. */
static int trie_run_settled(trie_run *run, trie_link link, trie_side node_side, unsigned depth, uint64_t hash,
                            const trie_entry *found, const trie_view *settled, trie_view *out)
{
    trie_ctx *ctx = run->ctx;
    bool kept = run->op->keep[node_side];
    if (run->op->one != NULL) {
        int status = trie_run_tell_node(run, node_side, link, found);
        if (status < 0)
            return status;
    }
    if (run->op->counted && (run->reference == node_side) != kept)
        trie_run_count(run, node_side == TRIE_LEFT, node_side == TRIE_RIGHT, kept, trie_count(ctx, link) - 1);
    if (!kept) {
        *out = *settled;
        return settled->counted ? trie_keep_entries(ctx, &out->entry, 1) : 0;
    }
    if (settled->kind == TRIE_EMPTY)
        return trie_view_without(ctx, link, depth, hash, found, out);
    return trie_view_with(ctx, link, depth, hash, &settled->entry, out);
}

/* A slot where one operand (`side`) has an entry and the other a node, which is at `depth`. */
static int trie_run_mixed(trie_run *run, const trie_view *entry, trie_side side, const trie_view *node,
                          unsigned depth, trie_view *out)
{
    trie_ctx *ctx = run->ctx;
    trie_side node_side = side == TRIE_LEFT ? TRIE_RIGHT : TRIE_LEFT;
    uint64_t hash;
    trie_entry found;
    trie_view alone, rest;
    int status = trie_hash(ctx, &entry->entry, &hash);
    if (status == 0)
        status = trie_find(ctx, node->link, depth, hash, trie_key_of(&entry->entry), &found);
    if (status < 0)
        return status;
    if (status > 0) {
        trie_view settled;
        status = side == TRIE_LEFT ? trie_run_both(run, &entry->entry, &found, &settled)
                                   : trie_run_both(run, &found, &entry->entry, &settled);
        if (status < 0)
            return status;
        status = trie_run_settled(run, node->link, node_side, depth, hash, &found, &settled, out);
        trie_view_drop(ctx, &settled);
        return status;
    }
    status = trie_run_one(run, side, entry, &alone);
    if (status == 0)
        status = trie_run_one(run, node_side, node, &rest);
    if (status < 0)
        return status;
    if (alone.kind != TRIE_EMPTY && rest.kind != TRIE_EMPTY)
        return trie_view_with(ctx, rest.link, depth, hash, &alone.entry, out);
    *out = alone.kind != TRIE_EMPTY ? alone : rest;
    return 0;
}

/* The results of two collision nodes, of one hash. */
typedef struct trie_pile {
    trie_entry *entries; /* room for all of both operands */
    size_t count;
    bool *counted;                /* by entry: does the pile hold a count? */
    bool *matched;                /* by entry of the right operand: was its key in the left one? */
    size_t from_left, from_right; /* how many of the results are the left (right) operand's entry */
} trie_pile;

static void trie_pile_add(trie_pile *pile, const trie_view *view)
{
    if (view->kind == TRIE_EMPTY)
        return;
    pile->entries[pile->count] = view->entry;
    pile->counted[pile->count++] = view->counted;
}

static void trie_pile_clear(trie_ctx *ctx, trie_pile *pile)
{
    for (size_t i = 0; i < pile->count; i++)
        if (pile->counted[i])
            trie_drop_entries(ctx, &pile->entries[i], 1);
    hf_free(pile->entries);
}

static int trie_pile_init(trie_pile *pile, size_t left, size_t right)
{
    size_t room = left + right;
    *pile = (trie_pile){.entries = hf_alloc(room * (sizeof(trie_entry) + sizeof(bool)) + right * sizeof(bool))};
    if (pile->entries == NULL)
        return HF_NOMEM;
    pile->counted = (bool *)(pile->entries + room);
    pile->matched = pile->counted + room;
    memset(pile->matched, 0, right * sizeof(bool));
    return 0;
}

/* Puts into the pile what becomes of the keys of two collision nodes. Runs foreign code. */
static int trie_run_pile(trie_run *run, trie_link left, trie_link right, trie_pile *pile)
{
    trie_ctx *ctx = run->ctx;
    uint32_t left_count = trie_at(ctx, left)->maps.entry_map, right_count = trie_at(ctx, right)->maps.entry_map;
    trie_view view;
    for (uint32_t i = 0; i < left_count; i++) {
        trie_view mine = {.kind = TRIE_ENTRY, .entry = trie_entries(trie_at(ctx, left))[i]};
        uint32_t index;
        int status = trie_find_in_collision(ctx, right, trie_key_of(&mine.entry), &index);
        if (status < 0)
            return status;
        if (status == 0) {
            status = trie_run_one(run, TRIE_LEFT, &mine, &view);
        } else {
            trie_entry other = trie_entries(trie_at(ctx, right))[index];
            pile->matched[index] = true;
            status = trie_run_both(run, &mine.entry, &other, &view);
            if (status == 0 && view.kind == TRIE_ENTRY && trie_identical(&view.entry, &other))
                pile->from_right++;
        }
        if (status < 0)
            return status;
        if (view.kind == TRIE_ENTRY && trie_identical(&view.entry, &mine.entry))
            pile->from_left++;
        trie_pile_add(pile, &view);
    }
    for (uint32_t i = 0; i < right_count; i++) {
        if (pile->matched[i])
            continue;
        trie_view theirs = {.kind = TRIE_ENTRY, .entry = trie_entries(trie_at(ctx, right))[i]};
        int status = trie_run_one(run, TRIE_RIGHT, &theirs, &view);
        if (status < 0)
            return status;
        pile->from_right += view.kind == TRIE_ENTRY;
        trie_pile_add(pile, &view);
    }
    return 0;
}

static int trie_run_collisions(trie_run *run, trie_link left, trie_link right, trie_view *out)
{
    trie_ctx *ctx = run->ctx;
    uint32_t left_count = trie_at(ctx, left)->maps.entry_map, right_count = trie_at(ctx, right)->maps.entry_map;
    trie_pile pile;
    int status = trie_pile_init(&pile, left_count, right_count);
    if (status < 0)
        return status;
    status = trie_run_pile(run, left, right, &pile);
    if (status == 0) {
        bool is_left = pile.count == left_count && pile.from_left == pile.count;
        bool is_right = pile.count == right_count && pile.from_right == pile.count;
        if (is_left || is_right)
            *out = trie_view_of(is_left ? left : right);
        else
            status = trie_view_collision(ctx, pile.entries, pile.count, out);
        out->twin = is_left && is_right;
    }
    trie_pile_clear(ctx, &pile);
    return status;
}

/* The slots in which two nodes have one and the same child, or entry. */
static uint32_t trie_shared_slots(trie_ctx *ctx, trie_link left, trie_link right)
{
    trie_node *a = trie_at(ctx, left), *b = trie_at(ctx, right);
    uint32_t shared = 0;
    const trie_link *links_a = trie_slot_links(a), *links_b = trie_slot_links(b);
    for (uint32_t rest = a->maps.child_map & b->maps.child_map; rest != 0; rest &= rest - 1) {
        uint32_t slot = rest & -rest;
        if (links_a[hf_trie_index(a->maps.child_map, slot)] == links_b[hf_trie_index(b->maps.child_map, slot)])
            shared |= slot;
    }
    for (uint32_t rest = a->maps.entry_map & b->maps.entry_map; rest != 0; rest &= rest - 1) {
        uint32_t slot = rest & -rest;
        if (trie_identical(&trie_entries(a)[hf_trie_index(a->maps.entry_map, slot)],
                           &trie_entries(b)[hf_trie_index(b->maps.entry_map, slot)]))
            shared |= slot;
    }
    return shared;
}

static int trie_run_slot(trie_run *run, const trie_view *left, const trie_view *right, unsigned depth,
                         trie_view *out);

/* Books the contents of some slots of a node, without looking at them unless they make a difference. */
static void trie_run_count_slots(trie_run *run, bool in_left, bool in_right, bool in_result, trie_link link,
                                 uint32_t slots)
{
    bool in_reference = run->reference == TRIE_LEFT ? in_left : run->reference == TRIE_RIGHT ? in_right : false;
    if (!run->op->counted || in_reference == in_result)
        return;
    hf_trie_maps maps = trie_at(run->ctx, link)->maps;
    trie_run_count(run, in_left, in_right, in_result, hf_trie_popcount(maps.entry_map & slots));
    for (uint32_t rest = maps.child_map & slots; rest != 0; rest &= rest - 1) {
        trie_view child = trie_view_slot(run->ctx, link, rest & -rest);
        trie_run_count_view(run, in_left, in_right, in_result, &child);
    }
}

/* The slots that two nodes have in common, all at once. */
static void trie_run_shared_slots(trie_run *run, trie_draft *draft, uint32_t slots)
{
    bool kept = run->op->shared == TRIE_SHARED_TAKE;
    if (kept) {
        trie_draft_take(run->ctx, draft, 0, slots);
        trie_draft_take(run->ctx, draft, 1, slots);
    }
    trie_run_count_slots(run, true, true, kept, draft->bases[0], slots);
}

/* The slots that only one of two nodes fills, all at once, if nobody wants to be told of them one by one. */
static int trie_run_one_sided_slots(trie_run *run, trie_draft *draft, trie_side side, uint32_t slots)
{
    bool kept = run->op->keep[side];
    if (run->op->one == NULL) {
        if (kept)
            trie_draft_take(run->ctx, draft, side, slots);
        trie_run_count_slots(run, side == TRIE_LEFT, side == TRIE_RIGHT, kept, draft->bases[side], slots);
        return 0;
    }
    for (; slots != 0; slots &= slots - 1) {
        trie_view was = trie_view_slot(run->ctx, draft->bases[side], slots & -slots), view;
        int status = trie_run_one(run, side, &was, &view);
        if (status < 0)
            return status;
        if (kept)
            trie_draft_take(run->ctx, draft, side, slots & -slots);
    }
    return 0;
}

/* A slot that both nodes fill, differently. */
static int trie_run_common_slot(trie_run *run, trie_draft *draft, uint32_t slot, unsigned depth)
{
    trie_view left = trie_view_slot(run->ctx, draft->bases[0], slot);
    trie_view right = trie_view_slot(run->ctx, draft->bases[1], slot);
    trie_view view;
    int status = trie_run_slot(run, &left, &right, depth + 1, &view);
    if (status < 0)
        return status;
    trie_draft_settle(run->ctx, draft, slot, (const trie_view *[2]){&left, &right}, &view);
    return 0;
}

/* Two nodes at `depth`. */
static int trie_run_nodes(trie_run *run, trie_link left, trie_link right, unsigned depth, trie_view *out)
{
    trie_ctx *ctx = run->ctx;
    if (left == right && run->op->shared != TRIE_SHARED_ENTER) {
        trie_view whole = trie_view_of(left);
        bool kept = run->op->shared == TRIE_SHARED_TAKE;
        trie_run_count_view(run, true, true, kept, &whole);
        *out = kept ? whole : (trie_view){.kind = TRIE_EMPTY};
        return 0;
    }
    if (depth == HF_TRIE_LEVELS)
        return trie_run_collisions(run, left, right, out);

    trie_draft draft;
    trie_draft_begin(&draft, left, right);
    hf_trie_maps a = trie_at(ctx, left)->maps, b = trie_at(ctx, right)->maps;
    uint32_t in_left = a.entry_map | a.child_map, in_right = b.entry_map | b.child_map;
    uint32_t shared = run->op->shared == TRIE_SHARED_ENTER ? 0 : trie_shared_slots(ctx, left, right);
    if (shared != 0)
        trie_run_shared_slots(run, &draft, shared);
    int status = trie_run_one_sided_slots(run, &draft, TRIE_LEFT, in_left & ~in_right);
    if (status == 0)
        status = trie_run_one_sided_slots(run, &draft, TRIE_RIGHT, in_right & ~in_left);
    for (uint32_t rest = in_left & in_right & ~shared; status == 0 && rest != 0; rest &= rest - 1)
        status = trie_run_common_slot(run, &draft, rest & -rest, depth);
    if (status < 0) {
        trie_draft_drop(ctx, &draft);
        return status;
    }
    return trie_draft_finish(ctx, &draft, out);
}

/* One slot; `depth` is that of a child in it. *out is counted only where it is new. */
static int trie_run_slot(trie_run *run, const trie_view *left, const trie_view *right, unsigned depth, trie_view *out)
{
    *out = (trie_view){.kind = TRIE_EMPTY};
    if (left->kind == TRIE_EMPTY)
        return trie_run_one(run, TRIE_RIGHT, right, out);
    if (right->kind == TRIE_EMPTY)
        return trie_run_one(run, TRIE_LEFT, left, out);
    if (left->kind == TRIE_ENTRY && right->kind == TRIE_ENTRY)
        return trie_run_entries(run, left, right, depth, out);
    if (left->kind == TRIE_ENTRY)
        return trie_run_mixed(run, left, TRIE_LEFT, right, depth, out);
    if (right->kind == TRIE_ENTRY)
        return trie_run_mixed(run, right, TRIE_RIGHT, left, depth, out);
    return trie_run_nodes(run, left->link, right->link, depth, out);
}

/* Runs `op` on two tries of these sizes. *root is the result, counted for the caller (an operand, if the result is
 * as an operand was), *count its size (if op->counted). */
static int trie_combine(trie_ctx *ctx, const trie_algebra *op, void *arg, trie_link left, size_t left_count,
                        trie_link right, size_t right_count, trie_link *root, size_t *count)
{
    trie_side reference = trie_run_reference(op, left_count, right_count);
    trie_run run = {.ctx = ctx, .op = op, .arg = arg, .reference = reference};
    trie_view a = trie_view_of(left), b = trie_view_of(right), view;
    int status = trie_run_slot(&run, &a, &b, 0, &view);
    if (status < 0)
        return status;
    size_t from = reference == TRIE_LEFT ? left_count : reference == TRIE_RIGHT ? right_count : 0;
    *count = from + (size_t)run.delta;
    return trie_view_to_root(ctx, &view, root);
}

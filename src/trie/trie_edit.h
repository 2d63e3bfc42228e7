/* trie_edit.h - part of trie_algo.h: put and remove.
 *
 * Both edits have two halves. `trie_plan_put` and `trie_plan_remove` walk down, leave the nodes they passed in a
 * trie_path, run all the foreign code there is, and come to one change to one node. `trie_apply` then makes it and
 * carries it up to the root. Between the root and the node there are, from the top, first the nodes that are ours, then
 * those that are shared with other versions:
 *
 *      depth  top ............ owned ............... depth
 *              [ours] [ours]  | [shared] [shared]  [edited]
 *                           \   copied, link by link, from the bottom up
 *                            one link overwritten: nothing above it changes
 *
 * The copies are made first, and only they can fail; the overwriting of one link (or of the root) makes the
 * new version visible, and cannot.
 *
 * What is ours is found out when all the foreign code of the plan has run. But a copy counts what it shares, and
 * keeping an entry may be foreign code, which may keep the version that is being changed, or make another of it. Then
 * less is ours than before. So it is found out again after each copy; the copying goes on where it has become less.
 */

/* Drops what an edit left over. Runs foreign code. */
static inline void trie_trash_drop(trie_ctx *ctx, trie_trash *trash)
{
    if (trash->has_entry)
        trie_drop_entries(ctx, &trash->entry, 1);
    if (trash->link != TRIE_NONE)
        trie_drop_link(ctx, trash->link);
}

/* The nodes from the root of a (sub)trie, at depth `top`, down to the one where a search ended. */
typedef struct trie_path {
    trie_link at[HF_TRIE_HEIGHT]; /* by depth; below `top` and beyond `depth` not set */
    uint64_t hash;
    unsigned top;
    unsigned depth;
} trie_path;

static inline void trie_path_begin(trie_path *path, trie_link root, unsigned top, uint64_t hash)
{
    path->at[top] = root;
    path->hash = hash;
    path->top = top;
    path->depth = top;
}

/* Where a search ended in the last node of its path. */
typedef enum trie_spot {
    TRIE_VACANT, /* the slot is empty (a collision node: the key is not there); `index` is where it would go */
    TRIE_FOUND,  /* the entry at `index` has the key */
    TRIE_CLASH,  /* the entry at `index` has the slot but another key */
} trie_spot;

/* Walks from path->at[path->top] towards the key; fills in the rest of the path. Returns 0 or a failure. */
static int trie_locate(trie_ctx *ctx, trie_path *path, trie_key key, trie_spot *spot, uint32_t *index)
{
    trie_link link = path->at[path->top];
    for (unsigned depth = path->top; depth < HF_TRIE_LEVELS; depth++) {
        trie_node *node = trie_at(ctx, link);
        uint32_t slot = hf_trie_slot(path->hash, depth);
        path->at[depth] = link;
        if (node->maps.child_map & slot) {
            link = trie_slot_links(node)[hf_trie_index(node->maps.child_map, slot)];
            continue;
        }
        path->depth = depth;
        *index = hf_trie_index(node->maps.entry_map, slot);
        *spot = TRIE_VACANT;
        if (!(node->maps.entry_map & slot))
            return 0;
        int same = trie_same_key(ctx, &trie_entries(node)[*index], key);
        *spot = same > 0 ? TRIE_FOUND : TRIE_CLASH;
        return same < 0 ? same : 0;
    }
    path->at[HF_TRIE_LEVELS] = link;
    path->depth = HF_TRIE_LEVELS;
    int found = trie_find_in_collision(ctx, link, key, index);
    *spot = found > 0 ? TRIE_FOUND : TRIE_VACANT;
    return found < 0 ? found : 0;
}

static bool trie_change_keeps_size(const trie_change *change)
{
    return change->entry_out == change->entry_in && change->child_out == change->child_in;
}

/* Drops what a change was to bring in: the change will not happen. */
static void trie_change_drop(trie_ctx *ctx, trie_change *change)
{
    if (change->entry_in)
        trie_drop_entries(ctx, &change->entry, 1);
    if (change->child_in)
        trie_drop_link(ctx, change->child);
}

static inline void trie_keep_links(trie_ctx *ctx, const trie_link *links, uint32_t count)
{
#pragma GCC unroll 4
    for (uint32_t i = 0; i < count; i++)
        trie_keep_link(ctx, links[i]);
}

/* Where others count the same nodes, as when a keep is undone, this runs no foreign code. */
static inline void trie_drop_links(trie_ctx *ctx, const trie_link *links, uint32_t count)
{
#pragma GCC unroll 4
    for (uint32_t i = 0; i < count; i++)
        trie_drop_link(ctx, links[i]);
}

/* Counts everything in the node `link` that a copy of it with `change` made will hold as well. */
static int trie_keep_rest(trie_ctx *ctx, trie_link link, const trie_change *change)
{
    hf_trie_maps maps = trie_at(ctx, link)->maps;
    uint32_t after = change->entry_at + change->entry_out;
    int status = trie_keep_entries(ctx, trie_entries(trie_at(ctx, link)), change->entry_at);
    if (status < 0)
        return status;
    status = trie_keep_entries(ctx, trie_entries(trie_at(ctx, link)) + after, hf_trie_entry_count(maps) - after);
    if (status < 0) {
        trie_drop_entries(ctx, trie_entries(trie_at(ctx, link)), change->entry_at);
        return status;
    }
    const trie_link *links = trie_links(trie_at(ctx, link));
    after = change->child_at + change->child_out;
    trie_keep_links(ctx, links, change->child_at);
    trie_keep_links(ctx, links + after, hf_trie_child_count(maps) - after);
    return 0;
}

/* Undoes trie_keep_rest. */
static void trie_drop_rest(trie_ctx *ctx, trie_link link, const trie_change *change)
{
    hf_trie_maps maps = trie_at(ctx, link)->maps;
    const trie_link *links = trie_links(trie_at(ctx, link));
    uint32_t after = change->child_at + change->child_out;
    trie_drop_links(ctx, links, change->child_at);
    trie_drop_links(ctx, links + after, hf_trie_child_count(maps) - after);
    after = change->entry_at + change->entry_out;
    trie_drop_entries(ctx, trie_entries(trie_at(ctx, link)), change->entry_at);
    trie_drop_entries(ctx, trie_entries(trie_at(ctx, link)) + after, hf_trie_entry_count(maps) - after);
}

/* Writes what comes in over what goes out, where the one takes the other's place. */
static inline void trie_overwrite_slots(trie_node *node, const trie_change *change)
{
    if (change->entry_in)
        trie_entries(node)[change->entry_at] = change->entry;
    if (change->child_in)
        trie_links(node)[change->child_at] = change->child;
}

/* Writes into `to`, which has the room, the slots of `from` with `change` made. */
static inline void trie_copy_changed(const trie_change *change, trie_node *from, trie_node *to)
{
    if (trie_change_keeps_size(change)) {
        hf_trie_copy(to->slots, from->slots, trie_slots_size(from->maps));
        trie_overwrite_slots(to, change);
        return;
    }
    const trie_entry *entry = trie_entries(from);
    uint32_t count = hf_trie_entry_count(from->maps), at = change->entry_at;
    trie_entry *entry_to = trie_entries(to) + at;
    hf_trie_copy(trie_entries(to), entry, at * sizeof *entry);
    if (change->entry_in)
        *entry_to++ = change->entry;
    at += change->entry_out;
    hf_trie_copy(entry_to, entry + at, (count - at) * sizeof *entry);

    const trie_link *link = trie_links(from);
    trie_link *link_to = trie_links(to);
    count = hf_trie_child_count(from->maps);
    at = change->child_at;
    hf_trie_copy(link_to, link, at * sizeof *link);
    link_to += at;
    if (change->child_in)
        *link_to++ = change->child;
    at += change->child_out;
    hf_trie_copy(link_to, link + at, (count - at) * sizeof *link);
}

/* Builds the node that `source` would be with `change` made. With `move` the slots of `source` go over to
 * the new node and `source` is freed; without, both hold them. What goes out stays counted, once, for the caller
 * if moved. Takes over what comes in, also when it fails. */
static int trie_splice(trie_ctx *ctx, trie_link source, bool move, trie_change *change, trie_link *out)
{
    int status = move ? 0 : trie_keep_rest(ctx, source, change);
    if (status < 0) {
        trie_change_drop(ctx, change);
        return status;
    }
    status = trie_fresh(ctx, change->maps, trie_traits_of(ctx, source) | change->traits, out);
    if (status < 0) {
        if (!move)
            trie_drop_rest(ctx, source, change);
        trie_change_drop(ctx, change);
        return status;
    }
    trie_copy_changed(change, trie_at(ctx, source), trie_at(ctx, *out));
    trie_seal(ctx, *out);
    if (move)
        trie_shell_free(ctx, source);
    return 0;
}

/* The place, among the links of the node at `depth` of the path, of the one that the path takes. */
static inline uint32_t trie_path_index(trie_ctx *ctx, const trie_path *path, unsigned depth)
{
    return hf_trie_index(trie_at(ctx, path->at[depth])->maps.child_map, hf_trie_slot(path->hash, depth));
}

/* trie_splice for what happens at every level but one: builds the node that `source` would be with another child at
 * `index`. Takes over the count of `child`, also when it fails. */
static int trie_splice_child(trie_ctx *ctx, trie_link source, uint32_t index, trie_link child, trie_link *out)
{
    hf_trie_maps maps = trie_at(ctx, source)->maps;
    uint32_t entries = hf_trie_popcount(maps.entry_map), links = hf_trie_popcount(maps.child_map);
    int status = trie_keep_entries(ctx, trie_entries(trie_at(ctx, source)), entries);
    if (status < 0) {
        trie_drop_link(ctx, child);
        return status;
    }
    const trie_link *shared = trie_slot_links(trie_at(ctx, source));
    trie_keep_links(ctx, shared, index);
    trie_keep_links(ctx, shared + index + 1, links - index - 1);
    status = trie_fresh(ctx, maps, trie_traits_of(ctx, source) | trie_traits_of(ctx, child), out);
    if (status < 0) {
        shared = trie_slot_links(trie_at(ctx, source));
        trie_drop_links(ctx, shared, index);
        trie_drop_links(ctx, shared + index + 1, links - index - 1);
        trie_drop_entries(ctx, trie_entries(trie_at(ctx, source)), entries);
        trie_drop_link(ctx, child);
        return status;
    }
    trie_node *node = trie_at(ctx, source), *copy = trie_at(ctx, *out);
    hf_trie_copy(copy->slots, node->slots, entries * sizeof(trie_entry) + links * sizeof(trie_link));
    trie_slot_links(copy)[index] = child;
    trie_seal(ctx, *out);
    return 0;
}

/* How many nodes of the path, from the top, may be changed in place: the depth of the first that may not, at most
 * `limit`. */
static inline unsigned trie_owned_depth(trie_ctx *ctx, const trie_path *path, unsigned limit, unsigned traits)
{
    unsigned depth = path->top;
    while (depth < limit && trie_ours(ctx, path->at[depth], traits))
        depth++;
    return depth;
}

/* Puts `link` in the place of the node at `depth` of the path, where all above is ours (or there is nothing
 * above: then in *root). Cannot fail. */
static void trie_hang(trie_ctx *ctx, trie_link *root, const trie_path *path, unsigned depth, trie_link link)
{
    if (depth == path->top) {
        *root = link;
        return;
    }
    uint32_t index = trie_path_index(ctx, path, depth - 1);
    trie_slot_links(trie_at(ctx, path->at[depth - 1]))[index] = link;
}

/* The part of trie_apply where the node and all above it are ours. */
static inline int trie_apply_in_place(trie_ctx *ctx, trie_link *root, const trie_path *path, unsigned depth,
                                      trie_change *change, trie_trash *trash)
{
    trie_link source = path->at[depth], link;
    if (change->entry_out) {
        trash->entry = trie_entries(trie_at(ctx, source))[change->entry_at];
        trash->has_entry = true;
    }
    if (change->child_out)
        trash->link = trie_links(trie_at(ctx, source))[change->child_at];
    if (trie_change_keeps_size(change)) {
        trie_overwrite_slots(trie_at(ctx, source), change);
        trie_touch(ctx, source);
        return 0;
    }
    int status = trie_splice(ctx, source, true, change, &link);
    if (status == 0)
        trie_hang(ctx, root, path, depth, link);
    return status;
}

/* Copies the node at `depth`, with `change` made, and from there up every one that is not ours: *out is what takes
 * the place of the one at *owned. That is the first that is not ours, and moves up where the foreign code of a keep
 * (or of trie_fresh) kept the version that is being changed, or made another of it. */
static inline int trie_copy_path(trie_ctx *ctx, const trie_path *path, unsigned depth, trie_change *change,
                                 unsigned *owned, trie_link *out)
{
    int status = trie_splice(ctx, path->at[depth], false, change, out);
    for (unsigned up = depth; status == 0; up--) {
        *owned = trie_owned_depth(ctx, path, *owned, change->traits);
        if (up == *owned)
            break;
        status = trie_splice_child(ctx, path->at[up - 1], trie_path_index(ctx, path, up - 1), *out, out);
    }
    return status;
}

/* Makes `change` to the node at `depth` of the path, and *root the root of the version that has it.
 *
 * `mine`: the caller gives up its count of *root, so that nodes nobody else counts are changed in place; what
 * that leaves over goes to *trash. Otherwise the old version stays whole, and the caller keeps its count of it.
 * Takes over what comes in, also when it fails; a failure changes nothing, and *trash means nothing then. */
static int trie_apply(trie_ctx *ctx, trie_link *root, bool mine, const trie_path *path, unsigned depth,
                      trie_change *change, trie_trash *trash)
{
    unsigned owned = trie_owned_depth(ctx, path, mine ? depth + 1 : path->top, change->traits);
    int status;
    if (owned > depth) {
        status = trie_apply_in_place(ctx, root, path, depth, change, trash);
        owned = depth;
    } else {
        trie_link link;
        status = trie_copy_path(ctx, path, depth, change, &owned, &link);
        if (status == 0 && mine) {
            trash->link = path->at[owned];
            for (unsigned down = owned; down <= depth; down++)
                trie_superseded(ctx, path->at[down]);
        }
        if (status == 0)
            trie_hang(ctx, root, path, owned, link);
    }
    if (status < 0)
        return status;
    for (unsigned up = path->top; up < owned; up++)
        trie_touch(ctx, path->at[up]);
    return 0;
}

/* A node, at `depth`, for nothing but these two entries, whose hashes agree above `depth` and whose keys differ.
 * Counts the entries; the caller keeps its own. */
static int trie_pair(trie_ctx *ctx, unsigned depth, const trie_entry *a, uint64_t hash_a, const trie_entry *b,
                     uint64_t hash_b, trie_link *out)
{
    unsigned split = depth;
    while (split < HF_TRIE_LEVELS && hf_trie_slot(hash_a, split) == hf_trie_slot(hash_b, split))
        split++;
    hf_trie_maps maps = hf_trie_collision_maps(2);
    bool swap = false;
    if (split < HF_TRIE_LEVELS) {
        uint32_t slot_a = hf_trie_slot(hash_a, split), slot_b = hf_trie_slot(hash_b, split);
        maps = (hf_trie_maps){.entry_map = slot_a | slot_b};
        swap = slot_a > slot_b;
    }
    trie_entry both[2] = {swap ? *b : *a, swap ? *a : *b};
    unsigned traits = trie_traits_for(ctx, a) | trie_traits_for(ctx, b);

    int status = trie_keep_entries(ctx, both, 2);
    if (status < 0)
        return status;
    trie_link link;
    status = trie_fresh(ctx, maps, traits, &link);
    if (status < 0) {
        trie_drop_entries(ctx, both, 2);
        return status;
    }
    hf_trie_copy(trie_entries(trie_at(ctx, link)), both, sizeof both);
    trie_seal(ctx, link);

    /* Above the split, one node a level that leads nowhere else. */
    while (split > depth) {
        trie_link above;
        split--;
        status = trie_fresh(ctx, (hf_trie_maps){.child_map = hf_trie_slot(hash_a, split)}, traits, &above);
        if (status < 0) {
            trie_drop_link(ctx, link);
            return status;
        }
        trie_links(trie_at(ctx, above))[0] = link;
        trie_seal(ctx, above);
        link = above;
    }
    *out = link;
    return 0;
}

/* A root for a single entry. Counts the entry; the caller keeps its own. */
static int trie_single(trie_ctx *ctx, const trie_entry *entry, uint64_t hash, trie_link *out)
{
    trie_entry counted = *entry;
    int status = trie_keep_entries(ctx, &counted, 1);
    if (status < 0)
        return status;
    status = trie_fresh(ctx, (hf_trie_maps){.entry_map = hf_trie_slot(hash, 0)}, trie_traits_for(ctx, entry), out);
    if (status < 0) {
        trie_drop_entries(ctx, &counted, 1);
        return status;
    }
    trie_entries(trie_at(ctx, *out))[0] = counted;
    trie_seal(ctx, *out);
    return 0;
}

/* The part of trie_plan_put that follows the search. */
static int trie_plan_put_at(trie_ctx *ctx, const trie_path *path, trie_spot spot, uint32_t index,
                            const trie_entry *entry, trie_put_mode mode, trie_change *change, trie_entry *replaced)
{
    trie_node *node = trie_at(ctx, path->at[path->depth]);
    bool collision = path->depth == HF_TRIE_LEVELS;
    uint32_t slot = collision ? 0 : hf_trie_slot(path->hash, path->depth);
    int status;

    *change = (trie_change){.maps = node->maps, .entry_at = index, .entry = *entry};
    if (spot == TRIE_VACANT && collision && node->maps.entry_map == HF_TRIE_COLLISION_MAX)
        return HF_LIMIT;
    if (spot == TRIE_VACANT) {
        change->maps.entry_map = collision ? node->maps.entry_map + 1 : node->maps.entry_map | slot;
        change->maps.child_map = collision ? node->maps.entry_map + 1 : node->maps.child_map;
        change->entry_in = true;
        change->traits = trie_traits_for(ctx, entry);
        status = trie_keep_entries(ctx, &change->entry, 1);
        return status < 0 ? status : TRIE_ADDED;
    }

    trie_entry stored = trie_entries(node)[index];
    *replaced = stored;
    change->entry_out = true;
    if (spot == TRIE_FOUND) {
        if (mode == TRIE_PUT_VALUE ? trie_unchanged(&stored, entry) : trie_identical(&stored, entry))
            return TRIE_SAME;
        change->entry_in = true;
        change->traits = trie_traits_for(ctx, entry);
        status = mode == TRIE_PUT_VALUE ? trie_replace(ctx, &stored, entry, &change->entry)
                                        : trie_keep_entries(ctx, &change->entry, 1);
        return status < 0 ? status : TRIE_REPLACED;
    }

    uint64_t stored_hash;
    status = trie_hash(ctx, &stored, &stored_hash);
    if (status < 0)
        return status;
    status = trie_pair(ctx, path->depth + 1, &stored, stored_hash, entry, path->hash, &change->child);
    if (status < 0)
        return status;
    change->maps.entry_map &= ~slot;
    change->maps.child_map |= slot;
    change->child_at = hf_trie_index(change->maps.child_map, slot);
    change->child_in = true;
    change->traits = trie_traits_of(ctx, change->child);
    return TRIE_ADDED;
}

/* Walks the path to where `entry` belongs, finds out what putting it there does to the node, and counts what will come
 * in. Returns TRIE_SAME, TRIE_ADDED or TRIE_REPLACED (then *replaced is the entry that gives way), or a failure. Runs
 * foreign code. */
static inline int trie_plan_put(trie_ctx *ctx, trie_path *path, const trie_entry *entry, trie_put_mode mode,
                                trie_change *change, trie_entry *replaced)
{
    trie_spot spot;
    uint32_t index;
    int status = trie_locate(ctx, path, trie_key_of(entry), &spot, &index);
    return status < 0 ? status : trie_plan_put_at(ctx, path, spot, index, entry, mode, change, replaced);
}

/* Puts `entry`, with this hash, into the (sub)trie *root at depth `top`. Returns TRIE_SAME (and *root is as it
 * was), TRIE_ADDED, TRIE_REPLACED (and *root is the new version, counted for the caller), or a failure.
 * `mine` and *trash as in trie_apply. Counts the entry; the caller keeps its own counts. */
static int trie_put(trie_ctx *ctx, trie_link *root, unsigned top, bool mine, uint64_t hash, const trie_entry *entry,
                    trie_put_mode mode, trie_trash *trash)
{
    *trash = (trie_trash){.link = TRIE_NONE};
    if (*root == TRIE_NONE) {
        HF_ASSERT(top == 0);
        int status = trie_single(ctx, entry, hash, root);
        return status < 0 ? status : TRIE_ADDED;
    }
    trie_path path;
    trie_path_begin(&path, *root, top, hash);
    trie_change change;
    trie_entry replaced = *entry; /* until it is known; the compiler cannot see that it is set where it is used */
    int outcome = trie_plan_put(ctx, &path, entry, mode, &change, &replaced);
    if (outcome <= TRIE_SAME)
        return outcome;
    int status = trie_apply(ctx, root, mine, &path, path.depth, &change, trash);
    if (status < 0)
        return status;
    if (outcome == TRIE_REPLACED && mine)
        trie_superseded_entry(ctx, &replaced);
    return outcome;
}

/* Where the entry that is left of a node (the one at path->depth, about to lose its other entry) goes: the
 * depth of the lowest node above that holds more than the chain leading down here, or the top. */
static unsigned trie_dissolve_depth(trie_ctx *ctx, const trie_path *path)
{
    unsigned depth = path->depth - 1;
    while (depth > path->top && hf_trie_is_lone_child(trie_at(ctx, path->at[depth])->maps))
        depth--;
    return depth;
}

/* What is left of a subtrie: see trie_remove. Not set unless `dissolved`. */
typedef struct trie_remainder {
    bool dissolved;   /* the subtrie came down to one entry, which its parent has to take in */
    trie_entry entry; /* that entry; not counted: it lives in the old version */
} trie_remainder;

/* What a removal comes to. */
typedef enum trie_removal {
    TRIE_ABSENT = 0, /* the key is not there */
    TRIE_CHANGES,    /* one node changes: the one at *depth */
    TRIE_EMPTIES,    /* nothing is left of the whole trie */
    TRIE_DISSOLVES,  /* the subtrie comes down to one entry */
} trie_removal;

/* The change that takes the entry at `index` out of the last node of the path. */
static trie_change trie_plan_cut(trie_ctx *ctx, const trie_path *path, uint32_t index)
{
    trie_change change = {
        .maps = trie_at(ctx, path->at[path->depth])->maps,
        .entry_at = index,
        .entry_out = true,
    };
    if (path->depth == HF_TRIE_LEVELS)
        change.maps = hf_trie_collision_maps(change.maps.entry_map - 1);
    else
        change.maps.entry_map &= ~hf_trie_slot(path->hash, path->depth);
    return change;
}

/* The removal of the only other entry of the last node, which gives the one that stays to a node further up. */
static int trie_plan_dissolution(trie_ctx *ctx, const trie_path *path, uint32_t index, unsigned *depth,
                                 trie_change *change, trie_remainder *rest)
{
    trie_entry stays = trie_entries(trie_at(ctx, path->at[path->depth]))[index == 0 ? 1 : 0];
    *rest = (trie_remainder){.dissolved = true, .entry = stays};
    if (path->depth == path->top)
        return TRIE_DISSOLVES;
    *depth = trie_dissolve_depth(ctx, path);
    trie_node *parent = trie_at(ctx, path->at[*depth]);
    if (path->top > 0 && *depth == path->top && hf_trie_is_lone_child(parent->maps))
        return TRIE_DISSOLVES;
    rest->dissolved = false;
    uint32_t slot = hf_trie_slot(path->hash, *depth);
    *change = (trie_change){
        .maps = {parent->maps.entry_map | slot, parent->maps.child_map & ~slot},
        .entry_at = hf_trie_index(parent->maps.entry_map, slot),
        .entry_in = true,
        .child_at = hf_trie_index(parent->maps.child_map, slot),
        .child_out = true,
        .entry = stays, /* whose traits all nodes above it have already */
    };
    int status = trie_keep_entries(ctx, &change->entry, 1);
    return status < 0 ? status : TRIE_CHANGES;
}

/* Walks the path to the key, and finds out what removing it does: an enum trie_removal, or a failure. *gone is the
 * entry that goes, not counted; what comes in is counted. Runs foreign code. */
static int trie_plan_remove(trie_ctx *ctx, trie_path *path, trie_key key, unsigned *depth, trie_change *change,
                            trie_entry *gone, trie_remainder *rest)
{
    trie_spot spot;
    uint32_t index;
    *rest = (trie_remainder){.dissolved = false};
    int status = trie_locate(ctx, path, key, &spot, &index);
    if (status < 0 || spot != TRIE_FOUND)
        return status < 0 ? status : TRIE_ABSENT;
    *gone = trie_entries(trie_at(ctx, path->at[path->depth]))[index];
    *depth = path->depth;
    *change = trie_plan_cut(ctx, path, index);
    if (path->depth == 0 && change->maps.entry_map == 0 && change->maps.child_map == 0)
        return TRIE_EMPTIES;
    if (path->depth > 0 && hf_trie_is_lone_entry(change->maps))
        return trie_plan_dissolution(ctx, path, index, depth, change, rest);
    return TRIE_CHANGES;
}

/* Removes the key from the (sub)trie *root at depth `top`. Returns 1 (and *root is the new version, counted for the
 * caller, or TRIE_NONE), 0 when the key is not there, or a failure.
 *
 * Below the root of the whole trie (top > 0) a subtrie cannot come down to one entry; then `rest` says so and *root
 * is as it was. (mine is false there.) `mine` and *trash as in trie_apply. */
static int trie_remove(trie_ctx *ctx, trie_link *root, unsigned top, bool mine, uint64_t hash, trie_key key,
                       trie_remainder *rest, trie_trash *trash)
{
    *trash = (trie_trash){.link = TRIE_NONE};
    *rest = (trie_remainder){.dissolved = false};
    if (*root == TRIE_NONE)
        return 0;
    HF_ASSERT(top == 0 || !mine);
    trie_path path;
    trie_change change;
    trie_entry gone;
    unsigned depth;
    trie_path_begin(&path, *root, top, hash);
    int outcome = trie_plan_remove(ctx, &path, key, &depth, &change, &gone, rest);
    if (outcome <= TRIE_ABSENT)
        return outcome;
    if (outcome == TRIE_EMPTIES) {
        *root = TRIE_NONE;
        trash->link = mine ? path.at[0] : TRIE_NONE;
        depth = 0;
    } else if (outcome == TRIE_CHANGES) {
        int status = trie_apply(ctx, root, mine, &path, depth, &change, trash);
        if (status < 0)
            return status;
        depth++; /* the nodes from here on are gone */
    }
    if (mine) {
        for (unsigned down = depth; down <= path.depth; down++)
            trie_superseded(ctx, path.at[down]);
        trie_superseded_entry(ctx, &gone);
    }
    return 1;
}

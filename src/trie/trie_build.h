/* trie_build.h - part of trie_algo.h: nodes put together from many parts, and the bulk build.
 *
 * A trie_view is what a slot may hold: nothing, an entry, or a node. Operations on two or three tries go
 * through them slot by slot, and each slot's result is a view. A trie_draft collects the 32 results of a
 * node and makes of them a view again: nothing if they are all empty, an entry if they come to one entry, a
 * node otherwise; so results are canonical by construction.
 */

typedef enum trie_kind { TRIE_EMPTY, TRIE_ENTRY, TRIE_NODE } trie_kind;

typedef struct trie_view {
    trie_kind kind;
    bool counted;     /* whether the view holds counts of its own; otherwise an operand holds them */
    bool twin;        /* of a result that is a node of one operand: the other's node has the very same contents */
    trie_entry entry; /* of kind TRIE_ENTRY */
    trie_link link;   /* of kind TRIE_NODE */
} trie_view;

static inline trie_view trie_view_of(trie_link link)
{
    return (trie_view){.kind = link == TRIE_NONE ? TRIE_EMPTY : TRIE_NODE, .link = link};
}

static void trie_view_drop(trie_ctx *ctx, trie_view *view)
{
    if (view->counted && view->kind == TRIE_ENTRY)
        trie_drop_entries(ctx, &view->entry, 1);
    if (view->counted && view->kind == TRIE_NODE)
        trie_drop_link(ctx, view->link);
    view->kind = TRIE_EMPTY;
}

/* The entry `index` of a node, or the child, as a view that is not counted. */
static trie_view trie_view_slot(trie_ctx *ctx, trie_link link, uint32_t slot)
{
    trie_node *node = trie_at(ctx, link);
    if (node->maps.entry_map & slot)
        return (trie_view){.kind = TRIE_ENTRY,
                           .entry = trie_entries(node)[hf_trie_index(node->maps.entry_map, slot)]};
    if (node->maps.child_map & slot)
        return (trie_view){.kind = TRIE_NODE,
                           .link = trie_slot_links(node)[hf_trie_index(node->maps.child_map, slot)]};
    return (trie_view){.kind = TRIE_EMPTY};
}

/* Whether two views are the very same, without running foreign code. */
static bool trie_view_identical(const trie_view *a, const trie_view *b)
{
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case TRIE_ENTRY:
        return trie_identical(&a->entry, &b->entry);
    case TRIE_NODE:
        return a->link == b->link;
    default:
        return true;
    }
}

/* The number of entries in a view. */
static size_t trie_view_count(trie_ctx *ctx, const trie_view *view)
{
    if (view->kind == TRIE_NODE)
        return trie_count(ctx, view->link);
    return view->kind == TRIE_ENTRY;
}

/* A node in the making, from up to two nodes of the same depth (the bases) and what is new. A slot that is as it was in a
 * base is only marked; it is read, and counted, when the node is built, which the draft mostly makes unnecessary: one
 * that has all the slots of a base, as they were, comes to that base. */
typedef struct trie_draft {
    trie_link bases[2];                 /* TRIE_NONE where there is none */
    uint32_t same[2];                   /* slots that are as they were in the base; one may be in both */
    hf_trie_maps maps;                  /* of the node to be */
    uint32_t counted;                   /* of the other slots: whose contents the draft has counted */
    unsigned traits;                    /* of the contents of the other slots */
    trie_entry entries[HF_TRIE_FANOUT]; /* by slot; only those of the other slots are set */
    trie_link links[HF_TRIE_FANOUT];
} trie_draft;

static void trie_draft_begin(trie_draft *draft, trie_link base, trie_link second)
{
    draft->bases[0] = base;
    draft->bases[1] = second;
    draft->same[0] = draft->same[1] = 0;
    draft->maps = (hf_trie_maps){0, 0};
    draft->counted = 0;
    draft->traits = 0;
}

/* Takes these slots as they are in a base. */
static inline void trie_draft_take(trie_ctx *ctx, trie_draft *draft, unsigned base, uint32_t slots)
{
    hf_trie_maps maps = trie_at(ctx, draft->bases[base])->maps;
    draft->maps.entry_map |= maps.entry_map & slots;
    draft->maps.child_map |= maps.child_map & slots;
    draft->same[base] |= slots;
}

/* Puts a view in a slot, with its counts if it has any. */
static inline void trie_draft_put(trie_ctx *ctx, trie_draft *draft, uint32_t slot, const trie_view *view)
{
    unsigned at = hf_trie_lowest(slot);
    if (view->kind == TRIE_ENTRY) {
        draft->maps.entry_map |= slot;
        draft->entries[at] = view->entry;
        draft->traits |= trie_traits_for(ctx, &view->entry);
    } else if (view->kind == TRIE_NODE) {
        draft->maps.child_map |= slot;
        draft->links[at] = view->link;
        draft->traits |= trie_traits_of(ctx, view->link);
    }
    if (view->counted && view->kind != TRIE_EMPTY)
        draft->counted |= slot;
}

/* Puts in a slot what became of it; `was` is what it was in the bases. Where it is the same, it is only marked. */
static void trie_draft_settle(trie_ctx *ctx, trie_draft *draft, uint32_t slot, const trie_view *was[2],
                              trie_view *view)
{
    bool same = false;
    for (unsigned base = 0; base < 2 && view->kind != TRIE_EMPTY; base++) {
        if (draft->bases[base] == TRIE_NONE || !(view->twin || trie_view_identical(view, was[base])))
            continue;
        trie_draft_take(ctx, draft, base, slot);
        same = true;
    }
    if (same)
        trie_view_drop(ctx, view);
    else
        trie_draft_put(ctx, draft, slot, view);
}

/* Drops what the draft has counted. */
static void trie_draft_drop(trie_ctx *ctx, trie_draft *draft)
{
    for (uint32_t left = draft->counted; left != 0; left &= left - 1) {
        unsigned at = hf_trie_lowest(left);
        if (draft->maps.entry_map & (left & -left))
            trie_drop_entries(ctx, &draft->entries[at], 1);
        else
            trie_drop_link(ctx, draft->links[at]);
    }
    draft->counted = 0;
}

/* Whether the draft came out as one of its bases is. */
static bool trie_draft_is_base(trie_ctx *ctx, const trie_draft *draft, unsigned base)
{
    return draft->bases[base] != TRIE_NONE &&
           hf_trie_same_maps(draft->maps, trie_at(ctx, draft->bases[base])->maps) &&
           (draft->maps.entry_map | draft->maps.child_map) == draft->same[base];
}

/* The contents of a node to be, in the order in which it will have them. */
typedef struct trie_packed {
    trie_entry entries[HF_TRIE_FANOUT];
    trie_link links[HF_TRIE_FANOUT];
    uint32_t entry_count, link_count;
    unsigned traits;
} trie_packed;

/* Where the slots of a draft are to be read. */
typedef struct trie_draft_source {
    trie_node *bases[2];
    uint32_t first, second; /* slots to take from either base */
} trie_draft_source;

static trie_draft_source trie_draft_sources(trie_ctx *ctx, const trie_draft *draft)
{
    trie_draft_source source = {.first = draft->same[0], .second = draft->same[1] & ~draft->same[0]};
    source.bases[0] = source.first != 0 ? trie_at(ctx, draft->bases[0]) : NULL;
    source.bases[1] = source.second != 0 ? trie_at(ctx, draft->bases[1]) : NULL;
    return source;
}

/* The entry in this slot. */
static inline trie_entry trie_draft_entry(const trie_draft *draft, const trie_draft_source *source, uint32_t slot)
{
    if (!((source->first | source->second) & slot))
        return draft->entries[hf_trie_lowest(slot)];
    trie_node *base = source->bases[(source->second & slot) != 0];
    return trie_entries(base)[hf_trie_index(base->maps.entry_map, slot)];
}

static inline trie_link trie_draft_link(const trie_draft *draft, const trie_draft_source *source, uint32_t slot)
{
    if (!((source->first | source->second) & slot))
        return draft->links[hf_trie_lowest(slot)];
    trie_node *base = source->bases[(source->second & slot) != 0];
    return trie_slot_links(base)[hf_trie_index(base->maps.child_map, slot)];
}

/* Drops what packing has counted. */
static void trie_draft_unpack(trie_ctx *ctx, const trie_draft *draft, trie_packed *packed)
{
    uint32_t at = 0;
    for (uint32_t left = draft->maps.entry_map; at < packed->entry_count; left &= left - 1, at++)
        if (!(draft->counted & left & -left))
            trie_drop_entries(ctx, &packed->entries[at], 1);
    at = 0;
    for (uint32_t left = draft->maps.child_map; at < packed->link_count; left &= left - 1, at++)
        if (!(draft->counted & left & -left))
            trie_drop_link(ctx, packed->links[at]);
}

/* Counts the entries of a packed draft that the draft has not counted. On failure, those up to packed->entry_count. */
static int trie_draft_keep_entries(trie_ctx *ctx, const trie_draft *draft, trie_packed *packed)
{
    uint32_t count = packed->entry_count;
    uint32_t left = draft->maps.entry_map;
    packed->entry_count = 0;
    if ((draft->counted & left) == 0) {
        int status = trie_keep_entries(ctx, packed->entries, count);
        packed->entry_count = status < 0 ? 0 : count;
        return status;
    }
    for (; packed->entry_count < count; left &= left - 1) {
        int status =
            draft->counted & left & -left ? 0 : trie_keep_entries(ctx, &packed->entries[packed->entry_count], 1);
        if (status < 0)
            return status;
        packed->entry_count++;
    }
    return 0;
}

/* Packs a draft, and counts what it has not counted. On failure it has counted nothing.
 *
 * First what is in the nodes is gathered, then all of it is counted: keys and values lie anywhere in memory, and the
 * less there is to do between two of them the more of them the processor waits for at once. */
static int trie_draft_pack(trie_ctx *ctx, const trie_draft *draft, trie_packed *packed)
{
    trie_draft_source source = trie_draft_sources(ctx, draft);
    packed->entry_count = packed->link_count = 0;
    packed->traits = draft->traits | (source.first != 0 ? trie_traits_of(ctx, draft->bases[0]) : 0) |
                     (source.second != 0 ? trie_traits_of(ctx, draft->bases[1]) : 0);
    for (uint32_t left = draft->maps.entry_map; left != 0; left &= left - 1)
        packed->entries[packed->entry_count++] = trie_draft_entry(draft, &source, left & -left);
    for (uint32_t left = draft->maps.child_map; left != 0; left &= left - 1)
        packed->links[packed->link_count++] = trie_draft_link(draft, &source, left & -left);
    uint32_t link_count = packed->link_count;
    packed->link_count = 0;
    int status = trie_draft_keep_entries(ctx, draft, packed);
    if (status < 0) {
        trie_draft_unpack(ctx, draft, packed);
        return status;
    }
    for (uint32_t left = draft->maps.child_map; packed->link_count < link_count; left &= left - 1) {
        if (!(draft->counted & left & -left))
            trie_keep_link(ctx, packed->links[packed->link_count]);
        packed->link_count++;
    }
    return 0;
}

/* Makes a node of what is packed, and counted: the counts go over to the node. */
static int trie_packed_build(trie_ctx *ctx, const trie_packed *packed, hf_trie_maps maps, trie_link *out)
{
    int status = trie_fresh(ctx, maps, packed->traits, out);
    if (status < 0)
        return status;
    trie_node *node = trie_at(ctx, *out);
    hf_trie_copy(trie_entries(node), packed->entries, packed->entry_count * sizeof(trie_entry));
    hf_trie_copy(trie_links(node), packed->links, packed->link_count * sizeof(trie_link));
    trie_seal(ctx, *out);
    return 0;
}

/* Ends a draft: *out is what it came to. The draft holds nothing afterwards, also when it fails. */
static int trie_draft_finish(trie_ctx *ctx, trie_draft *draft, trie_view *out)
{
    *out = (trie_view){.kind = TRIE_EMPTY};
    if (draft->maps.entry_map == 0 && draft->maps.child_map == 0)
        return 0;
    bool is_base[2] = {trie_draft_is_base(ctx, draft, 0), trie_draft_is_base(ctx, draft, 1)};
    if (is_base[0] || is_base[1]) {
        HF_ASSERT(draft->counted == 0);
        *out = trie_view_of(draft->bases[is_base[0] ? 0 : 1]);
        out->twin = is_base[0] && is_base[1];
        return 0;
    }
    if (hf_trie_is_lone_entry(draft->maps)) {
        trie_draft_source source = trie_draft_sources(ctx, draft);
        *out = (trie_view){.kind = TRIE_ENTRY,
                           .counted = draft->counted != 0,
                           .entry = trie_draft_entry(draft, &source, draft->maps.entry_map)};
        return 0;
    }
    trie_packed packed;
    int status = trie_draft_pack(ctx, draft, &packed);
    if (status == 0) {
        status = trie_packed_build(ctx, &packed, draft->maps, &out->link);
        if (status < 0)
            trie_draft_unpack(ctx, draft, &packed);
    }
    if (status < 0) {
        trie_draft_drop(ctx, draft);
        return status;
    }
    out->kind = TRIE_NODE;
    out->counted = true;
    return 0;
}

/* Two entries with different keys and hashes that agree above `depth`, as one view. Counts them. */
static int trie_view_pair(trie_ctx *ctx, unsigned depth, const trie_entry *a, const trie_entry *b, trie_view *out)
{
    uint64_t hash_a, hash_b;
    int status = trie_hash(ctx, a, &hash_a);
    if (status == 0)
        status = trie_hash(ctx, b, &hash_b);
    if (status == 0)
        status = trie_pair(ctx, depth, a, hash_a, b, hash_b, &out->link);
    out->kind = status < 0 ? TRIE_EMPTY : TRIE_NODE;
    out->counted = true;
    return status;
}

/* Makes a root of a view, counted for the caller. Takes over the view's counts, also when it fails. */
static int trie_view_to_root(trie_ctx *ctx, trie_view *view, trie_link *root)
{
    *root = TRIE_NONE;
    if (view->kind == TRIE_EMPTY)
        return 0;
    if (view->kind == TRIE_NODE) {
        if (!view->counted)
            trie_keep_link(ctx, view->link);
        *root = view->link;
        return 0;
    }
    uint64_t hash;
    int status = trie_hash(ctx, &view->entry, &hash);
    if (status == 0)
        status = trie_single(ctx, &view->entry, hash, root);
    trie_view_drop(ctx, view);
    return status;
}

/* Makes a view of the entries of a collision node to be, all of one hash, their keys distinct. Counts them. */
static int trie_view_collision(trie_ctx *ctx, const trie_entry *entries, size_t count, trie_view *out)
{
    *out = (trie_view){.kind = TRIE_EMPTY};
    if (count == 0)
        return 0;
    if (count > HF_TRIE_COLLISION_MAX)
        return HF_LIMIT;
    if (count == 1) {
        *out = (trie_view){.kind = TRIE_ENTRY, .counted = true, .entry = entries[0]};
        return trie_keep_entries(ctx, &out->entry, 1);
    }
    unsigned traits = 0;
    for (size_t i = 0; i < count; i++)
        traits |= trie_traits_for(ctx, &entries[i]);
    trie_entry *mutable_entries = (trie_entry *)(void *)(uintptr_t)entries;
    int status = trie_keep_entries(ctx, mutable_entries, count);
    if (status < 0)
        return status;
    status = trie_fresh(ctx, hf_trie_collision_maps((uint32_t)count), traits, &out->link);
    if (status < 0) {
        trie_drop_entries(ctx, mutable_entries, count);
        return status;
    }
    hf_trie_copy(trie_entries(trie_at(ctx, out->link)), entries, count * sizeof(trie_entry));
    trie_seal(ctx, out->link);
    out->kind = TRIE_NODE;
    out->counted = true;
    return 0;
}

/* Bulk build.
 *
 * All hashes are known before the first node is made, so the entries are sorted by the first five bits, each run by
 * the next five, and so on (an MSD radix sort whose most significant digit is the lowest), between two arrays that
 * change places at each level. Every node is then built once, at its final size.
 *
 * Counts: an item brings the counts of its entry. They move into the trie without being touched. When the build
 * fails they move back: the nodes' memory is freed, and their entries go to the front of the array they came from.
 */

/* Frees the memory of nodes that were being built; their entries go to `to`. Returns how many there are. */
static size_t trie_unbuild(trie_ctx *ctx, trie_link link, trie_item *to)
{
    trie_node *node = trie_at(ctx, link);
    size_t count = hf_trie_entry_count(node->maps);
    for (size_t i = 0; i < count; i++)
        to[i].entry = trie_entries(node)[i];
    uint32_t children = hf_trie_child_count(node->maps);
    for (uint32_t i = 0; i < children; i++)
        count += trie_unbuild(ctx, trie_links(trie_at(ctx, link))[i], to + count);
    trie_shell_free(ctx, link);
    return count;
}

static size_t trie_packed_unbuild(trie_ctx *ctx, const trie_packed *packed, trie_item *to)
{
    size_t count = packed->entry_count;
    for (size_t i = 0; i < count; i++)
        to[i].entry = packed->entries[i];
    for (uint32_t i = 0; i < packed->link_count; i++)
        count += trie_unbuild(ctx, packed->links[i], to + count);
    return count;
}

static int trie_builder_spare(trie_builder *builder, const trie_entry *entry)
{
    if (builder->spare_count == builder->spare_room) {
        size_t room = builder->spare_room ? 2 * builder->spare_room : 16;
        trie_entry *spare = hf_realloc(builder->spare, room * sizeof *spare);
        if (spare == NULL)
            return HF_NOMEM;
        builder->spare = spare;
        builder->spare_room = room;
    }
    builder->spare[builder->spare_count++] = *entry;
    return 0;
}

/* Of items of one and the same hash, leaves one for each key: the first key, with the last value. The others go to
 * builder->spare. *count is how many are left, also when it fails. Runs foreign code. */
static int trie_builder_unique(trie_builder *builder, trie_item *items, size_t *count)
{
    size_t unique = 0, i;
    int status = 0;
    for (i = 0; i < *count; i++) {
        size_t at = 0;
        for (; at < unique && status == 0; at += status == 0)
            status = trie_same_key(builder->ctx, &items[at].entry, trie_key_of(&items[i].entry));
        if (status > 0) {
            trie_swap_values(&items[at].entry, &items[i].entry);
            status = trie_builder_spare(builder, &items[i].entry);
        } else if (status == 0) {
            items[unique++] = items[i];
        }
        if (status < 0)
            break;
    }
    memmove(items + unique, items + i, (*count - i) * sizeof *items);
    *count = unique + (*count - i);
    return status;
}

/* A node that leads to `link` and nowhere else, at each depth from `bottom` - 1 up to `depth`. Failing, leaves *link
 * what has been built. */
static int trie_builder_chain(trie_builder *builder, uint64_t hash, unsigned depth, unsigned bottom, trie_link *link)
{
    trie_ctx *ctx = builder->ctx;
    while (bottom > depth) {
        trie_link above;
        bottom--;
        int status = trie_fresh(ctx, (hf_trie_maps){.child_map = hf_trie_slot(hash, bottom)},
                                trie_traits_of(ctx, *link), &above);
        if (status < 0)
            return status;
        trie_links(trie_at(ctx, above))[0] = *link;
        trie_seal(ctx, above);
        *link = above;
    }
    return 0;
}

/* A view, for `depth`, of items that all have one hash. *count as in trie_build_run. */
static int trie_build_same(trie_builder *builder, trie_item *items, size_t *count, unsigned depth, trie_view *out)
{
    trie_ctx *ctx = builder->ctx;
    int status = builder->distinct || *count == 1 ? 0 : trie_builder_unique(builder, items, count);
    if (status < 0)
        return status;
    if (*count > HF_TRIE_COLLISION_MAX)
        return HF_LIMIT;
    builder->added += *count;
    if (*count == 1) {
        *out = (trie_view){.kind = TRIE_ENTRY, .entry = items[0].entry};
        return 0;
    }
    unsigned traits = 0;
    for (size_t i = 0; i < *count; i++)
        traits |= trie_traits_for(ctx, &items[i].entry);
    trie_link link;
    status = trie_fresh(ctx, hf_trie_collision_maps((uint32_t)*count), traits, &link);
    if (status < 0)
        return status;
    trie_entry *entries = trie_entries(trie_at(ctx, link));
    for (size_t i = 0; i < *count; i++)
        entries[i] = items[i].entry;
    trie_seal(ctx, link);
    status = trie_builder_chain(builder, items[0].hash, depth, HF_TRIE_LEVELS, &link);
    if (status < 0) {
        (void)trie_unbuild(ctx, link, items);
        return status;
    }
    *out = (trie_view){.kind = TRIE_NODE, .link = link};
    return 0;
}

static bool trie_items_share_hash(const trie_item *items, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (items[i].hash != items[0].hash)
            return false;
    return true;
}

/* Moves the items to `to`, in order of their slots at `depth`, keeping the order within a slot. ends[s] is where
 * the run of slot s ends. */
static void trie_partition(const trie_item *items, trie_item *to, size_t count, unsigned depth,
                           size_t ends[HF_TRIE_FANOUT])
{
    unsigned shift = HF_TRIE_BITS * depth;
    memset(ends, 0, HF_TRIE_FANOUT * sizeof *ends);
    for (size_t i = 0; i < count; i++)
        ends[(items[i].hash >> shift) & (HF_TRIE_FANOUT - 1)]++;
    size_t begin = 0;
    for (unsigned slot = 0; slot < HF_TRIE_FANOUT; slot++) {
        size_t run = ends[slot];
        ends[slot] = begin;
        begin += run;
    }
    for (size_t i = 0; i < count; i++)
        to[ends[(items[i].hash >> shift) & (HF_TRIE_FANOUT - 1)]++] = items[i];
}

/* A few items: sorts them by slot in place. */
static void trie_sort_few(trie_item *items, size_t count, unsigned depth)
{
    unsigned shift = HF_TRIE_BITS * depth;
    for (size_t i = 1; i < count; i++) {
        trie_item item = items[i];
        uint64_t slot = (item.hash >> shift) & (HF_TRIE_FANOUT - 1);
        size_t at = i;
        for (; at > 0 && ((items[at - 1].hash >> shift) & (HF_TRIE_FANOUT - 1)) > slot; at--)
            items[at] = items[at - 1];
        items[at] = item;
    }
}

enum { TRIE_FEW = 12 }; /* up to here insertion sort beats a partition */

static int trie_build_run(trie_builder *builder, trie_item *items, trie_item *other, size_t *count, unsigned depth,
                          trie_view *out);

/* A node, at `depth`, of items sorted by slot; `other` is room for as many. *count as in trie_build_run. */
static int trie_build_node(trie_builder *builder, trie_item *items, trie_item *other, size_t *count, unsigned depth,
                           trie_view *out)
{
    trie_ctx *ctx = builder->ctx;
    trie_packed packed;
    hf_trie_maps maps = {0, 0};
    int status = 0;
    size_t begin = 0, end = 0, run = 0;
    packed.entry_count = packed.link_count = packed.traits = 0;
    HF_ASSERT(*count > 0);
    for (; begin < *count; begin = end) {
        uint32_t slot = hf_trie_slot(items[begin].hash, depth);
        for (end = begin + 1; end < *count && hf_trie_slot(items[end].hash, depth) == slot; end++)
            continue;
        trie_view view = {.kind = TRIE_ENTRY, .entry = items[begin].entry};
        run = end - begin;
        if (run == 1)
            builder->added++;
        else if ((status = trie_build_run(builder, items + begin, other + begin, &run, depth + 1, &view)) < 0)
            goto fail;
        if (view.kind == TRIE_ENTRY) {
            maps.entry_map |= slot;
            packed.traits |= trie_traits_for(ctx, &view.entry);
            packed.entries[packed.entry_count++] = view.entry;
        } else {
            maps.child_map |= slot;
            packed.traits |= trie_traits_of(ctx, view.link);
            packed.links[packed.link_count++] = view.link;
        }
    }
    if (hf_trie_is_lone_entry(maps)) {
        *out = (trie_view){.kind = TRIE_ENTRY, .entry = packed.entries[0]};
        return 0;
    }
    *out = (trie_view){.kind = TRIE_NODE};
    status = trie_packed_build(ctx, &packed, maps, &out->link);
    if (status == 0)
        return 0;
    begin = end;
    run = 0;
fail:;
    /* What is built, the run that failed, and those not reached, close up. */
    size_t back = trie_packed_unbuild(ctx, &packed, items);
    memmove(items + back, items + begin, run * sizeof *items);
    memmove(items + back + run, items + end, (*count - end) * sizeof *items);
    *count = back + run + (*count - end);
    return status;
}

/* The view, for `depth`, of *count items; `other` is room for as many. On failure, *count of the items are the caller's
 * again, in `items` (without their hashes); the others are in builder->spare. */
static int trie_build_run(trie_builder *builder, trie_item *items, trie_item *other, size_t *count, unsigned depth,
                          trie_view *out)
{
    if (trie_items_share_hash(items, *count))
        return trie_build_same(builder, items, count, depth, out);
    HF_ASSERT(depth < HF_TRIE_LEVELS);
    if (*count <= TRIE_FEW) {
        trie_sort_few(items, *count, depth);
        return trie_build_node(builder, items, other, count, depth, out);
    }
    size_t ends[HF_TRIE_FANOUT];
    trie_partition(items, other, *count, depth, ends);
    int status = trie_build_node(builder, other, items, count, depth, out);
    if (status < 0)
        memcpy(items, other, *count * sizeof *items);
    return status;
}

/* Builds a trie of *count items. On success the counts of their entries belong to *root; on failure they are the
 * caller's: *count of them are in `items`, in some order. In either case those in builder->spare are the caller's, to be
 * dropped, and the array itself, to be freed. Of equal keys the first stays, with the last one's value. Runs foreign
 * code unless builder->distinct. */
static int trie_build(trie_builder *builder, trie_item *items, size_t *count, trie_link *root)
{
    *root = TRIE_NONE;
    builder->added = 0;
    if (*count == 0)
        return 0;
    trie_item *other = items; /* a few are sorted where they are */
    if (*count > TRIE_FEW) {
        other = *count > SIZE_MAX / sizeof *other ? NULL : hf_alloc(*count * sizeof *other);
        if (other == NULL)
            return HF_NOMEM;
    }
    trie_view view;
    int status = trie_build_run(builder, items, other, count, 0, &view);
    if (status == 0 && view.kind == TRIE_ENTRY) {
        uint64_t hash = items[0].hash;
        status = trie_fresh(builder->ctx, (hf_trie_maps){.entry_map = hf_trie_slot(hash, 0)},
                            trie_traits_for(builder->ctx, &view.entry), root);
        if (status == 0) {
            trie_entries(trie_at(builder->ctx, *root))[0] = view.entry;
            trie_seal(builder->ctx, *root);
        }
    } else if (status == 0) {
        *root = view.link;
    }
    if (other != items)
        hf_free(other);
    return status;
}

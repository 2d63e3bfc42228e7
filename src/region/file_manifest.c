/*
 * file_manifest.c: what a durable commit says was written since the one before, and how recovery holds it to that.
 *
 *      root slot   [ root: version, space, checksum | manifest: (place, length, checksum) ... ]     one page
 *      more of it  [ (place, length, checksum) ... ]      where the page is too small, in the heap; the root has its checksum
 *
 * A manifest has every piece of the heap that is part of this version and was written since the last durable version D:
 * by this commit, and by those in between that were not durable. Only what is part of this version: for the rest may be
 * written over as soon as this version is durable, and the manifest has to hold for as long as its root does.
 *
 * How they are found. Every commit notes in the log, in the lock file, the pieces that it wrote; a walk from the roots
 * goes down only to blocks that are in one of them. Since a node is written anew when anything below it is, that finds
 * all, and nothing else of the file is touched. Where the log was too small, the walk goes by birth; where it is empty,
 * what this commit writes is all there is.
 *
 * The same walk, by birth, verifies a version that is not durable where a lock file that nobody uses speaks of it.
 *
 * Concurrency: by the holder of the writer's lock, or of OPENERS. Failure: HF_NOMEM, HF_CORRUPT.
 */
#include "region/file.h"

#include <stdlib.h>

static int add(struct hf_pieces *pieces, uint64_t units, uint64_t count)
{
    void *longer = hf_grown(pieces->piece, &pieces->room, pieces->count + 1, sizeof *pieces->piece);
    if (longer == NULL)
        return HF_NOMEM;
    pieces->piece = longer;
    pieces->piece[pieces->count++] = hf_piece(units, count);
    return 0;
}

/* A length has 24 bits: what is longer is several pieces. */
int hf_pieces_add(struct hf_pieces *pieces, uint64_t units, uint64_t count)
{
    int status = 0;

    for (uint64_t part; status == 0 && count > 0; units += part, count -= part) {
        part = count < HF_PIECE_LONGEST ? count : HF_PIECE_LONGEST;
        status = add(pieces, units, part);
    }
    return status;
}

static int compare(const void *a, const void *b)
{
    uint64_t left = hf_link_units(*(const uint64_t *)a), right = hf_link_units(*(const uint64_t *)b);
    return (left > right) - (left < right);
}

/* Sorts, and makes one of two that meet. They may overlap: what was written, freed and written again before a flush is in
 * the log more than once. Afterwards each unit is in one piece. */
void hf_pieces_merge(struct hf_pieces *pieces)
{
    size_t kept = 0;

    if (pieces->count == 0)
        return;
    qsort(pieces->piece, pieces->count, sizeof *pieces->piece, compare);
    for (size_t i = 1; i < pieces->count; i++) {
        uint64_t *last = &pieces->piece[kept], start = hf_link_units(*last), end = start + (*last >> 40);
        uint64_t from = hf_link_units(pieces->piece[i]), to = from + (pieces->piece[i] >> 40);
        if (to <= end)
            continue;
        from = from < end ? end : from;
        if (from == end && to - start <= HF_PIECE_LONGEST)
            *last = hf_piece(start, to - start);
        else
            pieces->piece[++kept] = hf_piece(from, to - from);
    }
    pieces->count = kept + 1;
}

uint64_t hf_piece_checksum(const hf_region *region, uint64_t piece)
{
    uint64_t units = hf_link_units(piece);

    return hf_checksum64(hf_unit_at(region, units), (piece >> 40) * HF_UNIT, units);
}

uint64_t hf_root_checksum(const struct hf_root *root)
{
    const char *bytes = (const char *)root, *behind = (const char *)root->manifest;
    size_t before = offsetof(struct hf_root, checksum);
    uint64_t first = hf_checksum64(bytes, before, HF_FILE_ROOT_MAGIC);

    return hf_checksum64(behind, HF_REGION_PAGE - (size_t)(behind - bytes), first);
}

/* -- what is live -- */

struct walk {
    const hf_region *region;
    const struct hf_pieces *written; /* sorted; NULL: go by birth */
    bool verify;                     /* every block that is newer than `durable`, and where older ones are */
    uint64_t durable, top;
    uint64_t *seen; /* a table of units, open addressing */
    size_t seen_room, seen_count;
    struct hf_pieces *out;
};

static bool was_written(const struct walk *walk, uint64_t units)
{
    size_t low = 0, high = walk->written == NULL ? 0 : walk->written->count;

    if (walk->written == NULL) {
        const struct hf_file_table *block = hf_unit_at(walk->region, units);
        return hf_head_txid(block->head) > walk->durable;
    }
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (hf_link_units(walk->written->piece[middle]) <= units)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return false;
    uint64_t piece = walk->written->piece[low - 1];
    return units < hf_link_units(piece) + (piece >> 40);
}

/* 1: it is new; 0: it was seen before. */
static int see(struct walk *walk, uint64_t units)
{
    if (2 * walk->seen_count >= walk->seen_room) {
        size_t room = walk->seen_room == 0 ? 1024 : 2 * walk->seen_room;
        struct walk larger = *walk;
        larger.seen = hf_alloc(room * sizeof *larger.seen);
        larger.seen_room = room;
        larger.seen_count = 0;
        if (larger.seen == NULL)
            return HF_NOMEM;
        memset(larger.seen, 0, room * sizeof *larger.seen);
        for (size_t i = 0; i < walk->seen_room; i++)
            if (walk->seen[i] != 0)
                see(&larger, walk->seen[i]);
        hf_free(walk->seen);
        *walk = larger;
    }
    size_t at = hf_hash_u64(units, 0) & (walk->seen_room - 1);
    for (; walk->seen[at] != 0; at = (at + 1) & (walk->seen_room - 1))
        if (walk->seen[at] == units)
            return 0;
    walk->seen[at] = units;
    walk->seen_count++;
    return 1;
}

/* A block of this many bytes, if it was written: 1; 0: there is nothing to be done about it. */
static int walk_block(struct walk *walk, uint64_t link, uint64_t size)
{
    uint64_t units = hf_link_units(link);
    int fresh = see(walk, units);

    if (fresh <= 0)
        return fresh;
    if (hf_is_in_nursery(units) ? !hf_nursery_has(walk->region, units, hf_units(size))
                                : hf_units(size) > walk->top - units)
        return HF_CORRUPT;
    int status =
        walk->verify ? hf_block_verify(walk->region, link, size) : hf_pieces_add(walk->out, units, hf_units(size));
    return status < 0 ? status : 1;
}

/* 1, 0; HF_CORRUPT where something else is there than what was linked to. */
static int worth_it(const struct walk *walk, uint64_t link)
{
    uint64_t units = hf_link_units(link);
    bool nursed = walk->verify && hf_is_in_nursery(link),
         within = nursed ? hf_nursery_has(walk->region, units, 2)
                         : units >= HF_FILE_HEAP_AT / HF_UNIT && units < walk->top;

    if (walk->verify && !(within && hf_block_is_linked(walk->region, link)))
        return HF_CORRUPT;
    return within && (nursed || was_written(walk, units));
}

static int walk_record(struct walk *walk, uint64_t link)
{
    const struct hf_file_record *record = hf_unit_at(walk->region, hf_link_units(link));

    int status = worth_it(walk, link);

    if (status > 0)
        status = walk_block(walk, link, sizeof *record + (uint64_t)record->key_size + record->value_size);
    return status < 0 ? status : 0;
}

static int walk_node(struct walk *walk, uint64_t link, bool places, unsigned depth)
{
    const struct hf_file_node *node = hf_unit_at(walk->region, hf_link_units(link));
    int status = link == 0 ? 0 : worth_it(walk, link);

    if (status <= 0)
        return status;
    if (depth > HF_TRIE_LEVELS)
        return HF_CORRUPT;
    uint64_t entries = hf_trie_entry_count(node->maps), children = hf_trie_child_count(node->maps);
    const uint64_t *links = node->slots + entries * hf_entry_words(places);
    status = walk_block(walk, link, hf_file_node_size(node, places));
    if (status <= 0)
        return status;
    status = 0;
    for (uint64_t i = 0; !places && status == 0 && i < entries; i++)
        status = walk_record(walk, node->slots[i]);
    for (uint64_t i = 0; status == 0 && i < children; i++)
        status = walk_node(walk, links[i], places, depth + 1);
    return status;
}

static int walk_kept(struct walk *walk, const struct hf_version *version)
{
    const struct hf_kept_table *table;
    int status = hf_kept_table_at(walk->region, version, &table);

    if (status < 0 || table == NULL)
        return status;
    status = worth_it(walk, version->kept);
    if (status > 0)
        status = walk_block(walk, version->kept, hf_kept_table_size(table->count));
    for (uint64_t i = 0; status >= 0 && i < table->count; i++)
        for (unsigned tree = 0; status >= 0 && tree < HF_REGION_TREES; tree++)
            status = walk_node(walk, table->kept[i].trees[tree].root, hf_has_places(walk->region, tree), 0);
    return status < 0 ? status : 0;
}

/* All that a version refers to. */
static int walk_version(struct walk *walk, const struct hf_version *version, const struct hf_file_state *state)
{
    int status = 0;

    for (unsigned tree = 0; status == 0 && tree < HF_REGION_TREES; tree++)
        status = walk_node(walk, version->trees[tree].root, hf_has_places(walk->region, tree), 0);
    if (status == 0)
        status = walk_node(walk, state->space.root, false, 0);
    return status == 0 ? walk_kept(walk, version) : status;
}

/* The blocks of this commit, and its spill. */
static int written_now(const struct hf_placer *placer, struct hf_pieces *out)
{
    const struct hf_file_state *state = &placer->txn->state.file;
    int status = 0;

    for (size_t i = 0; status == 0 && i < placer->blocks.count; i++)
        status = hf_pieces_add(out, placer->blocks.block[i].place, hf_units(placer->blocks.block[i].size));
    if (status == 0 && state->spill_count > 0)
        status = hf_pieces_add(out, state->spill, hf_units(state->spill_count * sizeof(struct hf_file_cell)));
    if (status == 0)
        hf_pieces_merge(out);
    return status;
}

int hf_manifest_live(struct hf_placer *placer, struct hf_pieces *out)
{
    const hf_txn *txn = placer->txn;
    const struct hf_version *version = &txn->state.version;
    const struct hf_file_state *state = &txn->state.file;
    struct hf_file_home *file = txn->region->file;
    struct hf_pieces written = {0};
    struct walk walk = {
        .region = txn->region,
        .written = state->written > HF_FILE_LOG ? NULL : &written,
        .durable = state->durable,
        .top = version->top / HF_UNIT,
        .out = out,
    };
    int status = 0;

    /* Nothing was written before this commit, and all that it writes is part of the version: no need to look for it. */
    if (state->written == 0)
        return written_now(placer, out);
    for (uint64_t i = 0; status == 0 && walk.written != NULL && i < state->written; i++)
        status = hf_pieces_add(&written, hf_link_units(file->log[i]), file->log[i] >> 40);
    for (size_t i = 0; status == 0 && i < placer->blocks.count; i++)
        status = hf_pieces_add(&written, placer->blocks.block[i].place, hf_units(placer->blocks.block[i].size));
    if (status == 0)
        hf_pieces_merge(&written);
    if (status == 0)
        status = walk_version(&walk, version, state);
    if (status == 0 && state->spill_count > 0)
        status = hf_pieces_add(out, state->spill, hf_units(state->spill_count * sizeof(struct hf_file_cell)));
    hf_free(written.piece);
    hf_free(walk.seen);
    if (status == 0)
        hf_pieces_merge(out);
    return status;
}

/* -- what a lock file says -- */

int hf_version_verify(const hf_region *region, const struct hf_version *version, const struct hf_file_state *state,
                      const struct hf_nursery *nursery)
{
    struct walk walk = {.region = region, .verify = true, .durable = state->durable, .top = version->top / HF_UNIT};

    if (!hf_record_is_sound(version, state, nursery))
        return HF_CORRUPT;
    if (state->durable == version->txid)
        return 0;
    if (!hf_nursery_has_cells(region, nursery))
        return HF_CORRUPT;
    if (state->spill_count > 0 &&
        hf_checksum64(hf_unit_at(region, state->spill), state->spill_count * sizeof(struct hf_file_cell),
                      state->spill) != state->spill_checksum)
        return HF_CORRUPT;
    int status = walk_version(&walk, version, state);
    hf_free(walk.seen);
    return status;
}

/* -- recovery -- */

static bool is_within(uint64_t units, uint64_t count, uint64_t top)
{
    return units >= HF_FILE_HEAP_AT / HF_UNIT && units < top && count > 0 && count <= top - units;
}

/* They are sorted, and none overlaps another one: so no byte of the file is looked at twice. *end: behind the last. */
static int verify_entries(const hf_region *region, const struct hf_manifest_entry *entries, uint64_t count,
                          uint64_t top, uint64_t *end)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t piece = entries[i].piece;
        if (hf_link_units(piece) < *end || !is_within(hf_link_units(piece), piece >> 40, top) ||
            hf_piece_checksum(region, piece) != entries[i].checksum)
            return HF_CORRUPT;
        *end = hf_link_units(piece) + (piece >> 40);
    }
    return 0;
}

int hf_root_verify(const hf_region *region, const struct hf_root *root)
{
    const struct hf_superblock *super = hf_region_super(region);
    uint64_t size = atomic_load(&region->size), top = root->version.top / HF_UNIT, end = 0;

    if (root->magic != HF_FILE_ROOT_MAGIC || root->checksum != hf_root_checksum(root) ||
        root->id[0] != super->id[0] || root->id[1] != super->id[1])
        return HF_CORRUPT;
    if (root->version.txid == 0 || root->version.txid > HF_TXID_MAX || root->version.top > size - HF_REGION_PAGE ||
        !hf_record_is_sound(&root->version, &root->state, NULL))
        return HF_CORRUPT;
    uint64_t here = root->pieces < HF_ROOT_PIECES ? root->pieces : HF_ROOT_PIECES, more = root->pieces - here;
    int status = verify_entries(region, root->manifest, here, top, &end);
    if (status < 0 || more == 0)
        return status;
    uint64_t at = root->state.manifest, bytes = more * sizeof(struct hf_manifest_entry);
    if (more > top || !is_within(at, hf_units(bytes), top))
        return HF_CORRUPT;
    const struct hf_manifest_entry *entries = hf_unit_at(region, at);
    if (hf_checksum64(entries, bytes, at) != root->more_checksum)
        return HF_CORRUPT;
    return verify_entries(region, entries, more, top, &end);
}

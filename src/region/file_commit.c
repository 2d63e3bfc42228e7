/*
 * file_commit.c: a commit to a file.
 *
 *      nursery    not durable: blocks are copied there, and that is all; publish               file_nursery.c
 *   -- if it is to be durable, or the nursery will not do: all that the version has, what is in the nursery too --
 *      settle     what was freed goes to the space tree; perhaps a fold                        file_space.c
 *      place      every staged block gets a place that is free                                 file_place.c
 *      seal       links become places, bottom-up; checksums
 *      write      the blocks, page by page                       \  not seen by anybody: what is free is written
 *   -- if it is to be durable --
 *      manifest   what was written since the last durable one                                  file_manifest.c
 *      hand over  `handed` = txid; the root, in the slot that is not the last durable one's
 *      flush      fdatasync: once                                                             <-- durable
 *   --
 *      publish    the record in the ring of the lock file                                     <-- visible
 *
 *      killed before `hand over`: nothing of it is there. Between that and publish: the next writer finds `handed`,
 *      removes that root and flushes before it does anything else (hf_file_load), so that no later power cut brings
 *      it back. A power cut: recovery takes the root if all of its manifest was written (file_recover.c).
 *
 * Invariants
 *  F1  Only what the published record has as free is written over, and blocks behind its top. So a commit that fails, or
 *      whose writer dies, has changed nothing that any version has.
 *  F2  The slot of the last durable version is not written before a later one is durable.
 *  F3  A flush that failed is not made again. The store is broken, for all who have it open; it is opened again from its
 *      last durable version.
 *  F4  Nothing is written while the file has its clean mark.
 *
 * Concurrency: by the holder of the writer's lock. Failure: before the root is handed over, the transaction is given up
 * and nothing else has happened; after, the store is broken, unless the root could be removed again.
 */
#include "region/file.h"

#include <stdlib.h>

enum {
    BUFFER = 256 << 10,
    FIRST_STEP = 256 << 10,
    LARGEST_STEP = 4 << 20,
    USED_A_CELL = 1024,        /* bytes, for each piece that waits: then a flush is due, */
    WAITING_LEAST = 2048,      /* and that many at least, */
    UNFLUSHED_LEAST = 2 << 20, /* if so many were written */
};

static const char zeros[64 << 10];

/* -- growing -- */

/* All that a commit writes to FILE. */
static int write_counted(hf_region *region, const void *bytes, uint64_t size, uint64_t at)
{
    atomic_fetch_add_explicit(&region->file->written, size, memory_order_relaxed);
    return hf_os_pwrite_all(region->fd, bytes, size, (off_t)at);
}

/* Writes zeros: a flush of blocks that were allocated and never written costs twice as much. */
static int write_zeros(hf_region *region, uint64_t from, uint64_t to)
{
    while (from < to) {
        uint64_t part = to - from < sizeof zeros ? to - from : sizeof zeros;
        int result = write_counted(region, zeros, part, from);
        if (result < 0)
            return result;
        from += part;
    }
    return 0;
}

int hf_file_limit(uint64_t *out)
{
    int result = hf_os_size_limit(out);

    return result < 0 ? hf_region_status(result) : 0;
}

int hf_file_may_write(hf_region *region, uint64_t end)
{
    uint64_t *most = &region->file->writable;
    int status = end <= *most ? 0 : hf_file_limit(most);

    return status < 0 ? status : end <= *most ? 0 : hf_region_status(-EFBIG);
}

/* What a transaction that puts leaves free behind the top. One that removes needs space before it frees any, and a file
 * that is full would stay so. */
static uint64_t reserve_of(const hf_region *region)
{
    uint64_t part = region->txn.state.version.top / 4;

    return !region->txn.puts ? 0 : part < HF_RESERVE ? part : HF_RESERVE;
}

int hf_file_grow(hf_region *region, uint64_t top)
{
    uint64_t need = top + HF_REGION_PAGE + reserve_of(region), most,
             size = atomic_load_explicit(&region->size, memory_order_relaxed);
    struct stat found;

    if (need <= size)
        return 0;
    if (need > region->reserved || need / HF_UNIT >= HF_FILE_UNITS)
        return HF_LIMIT;
    int status = hf_file_may_write(region, need);
    if (status < 0)
        return status;
    int result = hf_os_fstat(region->fd, &found);
    if (result < 0)
        return hf_region_status(result);
    size = (uint64_t)found.st_size;
    most = region->reserved < region->file->writable ? region->reserved : region->file->writable;
    if (need > size) {
        uint64_t step = size / 8 / HF_REGION_PAGE * HF_REGION_PAGE, old = size;
        step = step < FIRST_STEP ? FIRST_STEP : step > LARGEST_STEP ? LARGEST_STEP : step;
        size = need + step < most ? need + step : need;
        result = write_zeros(region, old, size);
        if (result < 0 && result != -EIO) {
            size = need;
            result = write_zeros(region, old, size);
        }
    }
    if (result < 0)
        return hf_region_status(result);
    atomic_store_explicit(&region->size, size < region->reserved ? size : region->reserved, memory_order_relaxed);
    return 0;
}

int hf_file_fresh(hf_txn *txn, uint64_t units, uint64_t *out)
{
    struct hf_version *version = &txn->state.version;
    uint64_t pages = (units + HF_PAGE_UNITS - 1) / HF_PAGE_UNITS;
    int status = hf_file_grow(txn->region, version->top + pages * HF_REGION_PAGE);

    if (status < 0)
        return status;
    *out = version->top / HF_UNIT;
    version->top += pages * HF_REGION_PAGE;
    return 0;
}

/* -- sealing -- */

/* What a link to a staged block becomes, now that the block is sealed. */
static uint64_t sealed_link(const hf_region *region, uint64_t link)
{
    const struct hf_file_table *block = hf_unit_at(region, hf_link_units(link));

    return hf_link((block->head & 0xff) << 32 | (uint32_t)block->mark, block->mark);
}

void hf_seal_links(const hf_region *region, struct hf_file_table *staged, uint64_t size)
{
    struct hf_file_node *node = (struct hf_file_node *)(void *)staged;
    uint64_t count;

    if (hf_head_kind(staged->head) != HF_KIND_NODE)
        return;
    const uint64_t *first = hf_file_node_links(node, size, &count);
    uint64_t *links = &node->slots[first - node->slots];

    for (uint64_t i = 0; i < count; i++)
        if (hf_is_staged(region->file, links[i]))
            links[i] = sealed_link(region, links[i]);
}

static void seal(struct hf_placer *placer, size_t from, size_t to)
{
    const hf_region *region = placer->txn->region;

    for (size_t i = from; i < to; i++) {
        const struct hf_block *block = &placer->blocks.block[i];
        struct hf_file_table *bytes = hf_unit_at(region, block->staged);
        HF_ASSERT(block->place != 0);
        hf_seal_links(region, bytes, block->size);
        hf_block_seal(bytes, block->size, block->place);
    }
}

void hf_seal_root(const hf_region *region, uint64_t *root)
{
    if (*root != 0 && hf_is_staged(region->file, *root))
        *root = sealed_link(region, *root);
}

/* -- writing -- */

static int compare_places(const void *a, const void *b)
{
    uint64_t left = ((const struct hf_block *)a)->place, right = ((const struct hf_block *)b)->place;
    return (left > right) - (left < right);
}

/* Mostly there are few, and in order where they were placed one after the other. */
static void sort_by_place(struct hf_block *blocks, size_t count)
{
    enum { FEW = 24 };

    if (count > FEW) {
        qsort(blocks, count, sizeof *blocks, compare_places);
        return;
    }
    for (size_t i = 1; i < count; i++) {
        struct hf_block block = blocks[i];
        size_t at = i;
        for (; at > 0 && blocks[at - 1].place > block.place; at--)
            blocks[at] = blocks[at - 1];
        blocks[at] = block;
    }
}

static int write_at(hf_region *region, const void *bytes, uint64_t size, uint64_t at)
{
    int result = write_counted(region, bytes, size, at);

    return result < 0 ? hf_region_status(result) : 0;
}

/* Is this block part of one write with what ends at `end`? Those of one page are, what is between them included. */
static bool goes_with(const struct hf_block *block, uint64_t start, uint64_t end)
{
    uint64_t at = block->place * HF_UNIT, behind = at + hf_units(block->size) * HF_UNIT;

    return (at == end || at / HF_REGION_PAGE == (end - 1) / HF_REGION_PAGE) && behind - start <= BUFFER;
}

/* One write: these blocks, which were found to go together, and what is between them. */
static int write_span(struct hf_placer *placer, const struct hf_block *blocks, size_t count)
{
    hf_region *region = placer->txn->region;
    const struct hf_block *last = &blocks[count - 1];
    uint64_t start = blocks[0].place * HF_UNIT, end = start;

    if (count == 1)
        return write_at(region, hf_unit_at(region, blocks->staged), hf_units(blocks->size) * HF_UNIT, start);
    void *longer =
        hf_grown(placer->buffer, &placer->buffer_room, (last->place + hf_units(last->size)) * HF_UNIT - start, 1);
    if (longer == NULL)
        return HF_NOMEM;
    placer->buffer = longer;
    for (size_t i = 0; i < count; i++) {
        uint64_t at = blocks[i].place * HF_UNIT, size = hf_units(blocks[i].size) * HF_UNIT;
        if (at > end)
            memcpy(placer->buffer + (end - start), region->base + end, at - end);
        memcpy(placer->buffer + (at - start), hf_unit_at(region, blocks[i].staged), size);
        end = at + size;
    }
    return write_at(region, placer->buffer, end - start, start);
}

static int write_blocks(struct hf_placer *placer)
{
    hf_region *region = placer->txn->region;
    struct hf_block *blocks = placer->blocks.block;
    size_t count = placer->blocks.count;
    int status = 0;

    sort_by_place(blocks, count);
    for (size_t i = 0, next; status == 0 && i < count; i = next) {
        uint64_t start = blocks[i].place * HF_UNIT;
        for (next = i + 1; next < count; next++)
            if (!goes_with(&blocks[next], start,
                           (blocks[next - 1].place + hf_units(blocks[next - 1].size)) * HF_UNIT))
                break;
        status = write_span(placer, blocks + i, next - i);
    }
    for (size_t i = 0; status == 0 && i < count; i++) {
        const struct hf_file_table *block = hf_unit_at(region, blocks[i].staged);
        hf_set_verified(region->file, blocks[i].place, block->head);
    }
    return status;
}

/* -- the log -- */

/* Appends to the log, or makes its last piece longer: sorted as they come, blocks in a row are one. `fresh`: never that. */
static void log_piece(hf_txn *txn, uint64_t units, uint64_t count, bool fresh)
{
    struct hf_file_state *state = &txn->state.file;
    uint64_t *log = txn->region->file->log;

    state->written_size += count * HF_UNIT;
    for (uint64_t part; count > 0; units += part, count -= part) {
        part = count < HF_PIECE_LONGEST ? count : HF_PIECE_LONGEST;
        if (state->written >= HF_FILE_LOG) {
            state->written = HF_FILE_LOG + 1;
            return;
        }
        uint64_t *last = fresh || state->written == 0 ? NULL : &log[state->written - 1];
        if (last != NULL && hf_link_units(*last) + (*last >> 40) == units && (*last >> 40) + part <= HF_PIECE_LONGEST)
            *last += part << 40;
        else
            log[state->written++] = hf_piece(units, part);
        fresh = false;
    }
}

/* A piece that the published record counts is not changed: what is appended to the last one begins a new one. */
static void log_blocks(struct hf_placer *placer)
{
    hf_txn *txn = placer->txn;
    struct hf_file_state *state = &txn->state.file;

    for (size_t i = 0; i < placer->blocks.count; i++)
        log_piece(txn, placer->blocks.block[i].place, hf_units(placer->blocks.block[i].size), i == 0);
    if (state->spill_count > 0 && placer->spill_count > 0)
        log_piece(txn, state->spill, hf_units(state->spill_count * sizeof(struct hf_file_cell)), true);
}

/* -- the root -- */

static int break_store(hf_region *region, int error)
{
    atomic_store(&region->file->shared->broken, (uint32_t)(error < 0 ? -error : EIO));
    hf_os_status(error); /* for hf_os_errno */
    return HF_BROKEN;
}

/* Once, and never again if it fails: F3. */
int hf_file_sync(hf_region *region)
{
    int result = hf_os_fdatasync(region->fd);

    if (result < 0 && HF_SABOTAGE(flush_again))
        result = hf_os_fdatasync(region->fd);
    return result < 0 ? break_store(region, result) : 0;
}

static uint64_t slot_at(uint64_t flushes)
{
    return HF_FILE_ROOT_AT + (HF_SABOTAGE(same_slot) ? 0 : flushes % HF_FILE_SLOTS) * HF_REGION_PAGE;
}

int hf_file_invalidate(hf_region *region, unsigned slot)
{
    int result =
        HF_SABOTAGE(no_invalidate) ? 0 : hf_os_pwrite_all(region->fd, zeros, HF_REGION_PAGE, (off_t)slot_at(slot));

    return result < 0 ? break_store(region, result) : hf_file_sync(region);
}

/* A piece is free, and it is too late to settle: the record has it, where hf_placer_finish has left room for one. */
static void keep_for_later(struct hf_file_state *state, uint64_t piece)
{
    HF_ASSERT(state->recent_count < HF_FILE_RECENT);
    state->recent[state->recent_count++] = (struct hf_file_cell){.piece = piece};
}

/* What a manifest's place is as a cell. It is an extent, or whole pages behind what was the top. */
static uint64_t manifest_piece(const struct hf_file_state *state)
{
    return hf_piece(state->manifest, hf_extent_count(state->manifest_units));
}

/*
 * A place for the manifest, where it may outgrow the root's page, while places can still be taken: an extent, so that
 * manifests use those of the ones before. How many pieces there will be is a guess: as many as last time, or a good third
 * of the log's (the others are not part of this version any more), and the transaction's own. So where there is no space for
 * so many the commit goes on: there may be fewer, for which fill_manifest finds a place, or none that the page does not hold.
 */
static int reserve_manifest(struct hf_placer *placer)
{
    struct hf_file_state *state = &placer->txn->state.file;
    uint64_t logged = state->written > HF_FILE_LOG ? HF_FILE_LOG : state->written;
    const struct hf_root *last =
        hf_region_at(placer->txn->region, HF_FILE_ROOT_AT + (state->flushes - 1) % HF_FILE_SLOTS * HF_REGION_PAGE);
    uint64_t before = last->pieces + last->pieces / 8, third = logged * 3 / 8;
    uint64_t pieces = (before < logged && before > third ? before : third) + placer->blocks.count;

    if (pieces <= HF_ROOT_PIECES)
        return 0;
    uint64_t units =
        hf_block_units((pieces - HF_ROOT_PIECES) * sizeof(struct hf_manifest_entry) + HF_REGION_PAGE + 1);
    uint64_t at = 0;
    int status = hf_space_extent(placer->txn, units, &at);
    if (status == HF_NOSPACE || status == HF_LIMIT)
        return 0;
    if (status == 0) {
        state->manifest = at;
        state->manifest_units = units;
    }
    return status;
}

/* The manifest: what there is no room for in the root's page has a place of its own. */
static int fill_manifest(struct hf_placer *placer, struct hf_root *root, const struct hf_pieces *pieces)
{
    hf_txn *txn = placer->txn;
    uint64_t here = pieces->count < HF_ROOT_PIECES ? pieces->count : HF_ROOT_PIECES, more = pieces->count - here;

    root->pieces = pieces->count;
    for (uint64_t i = 0; i < here; i++)
        root->manifest[i] =
            (struct hf_manifest_entry){pieces->piece[i], hf_piece_checksum(txn->region, pieces->piece[i])};
    if (more == 0)
        return 0;
    uint64_t size = more * sizeof(struct hf_manifest_entry), at;
    struct hf_manifest_entry *entries = hf_alloc(size);
    if (entries == NULL)
        return HF_NOMEM;
    for (uint64_t i = 0; i < more; i++)
        entries[i] = (struct hf_manifest_entry){pieces->piece[here + i],
                                                hf_piece_checksum(txn->region, pieces->piece[here + i])};
    struct hf_file_state *state = &txn->state.file;
    int status = 0;
    at = state->manifest;
    /* More pieces than it looked as if there would be. What was taken for them is too small, and the next one's. */
    if (state->manifest_units < hf_units(size)) {
        status = hf_file_fresh(txn, hf_units(size), &at);
        if (state->manifest != 0)
            keep_for_later(state, manifest_piece(state));
        state->manifest = at;
        state->manifest_units = txn->state.version.top / HF_UNIT - at;
    }
    if (status == 0)
        status = write_at(txn->region, entries, size, at * HF_UNIT);
    root->more_checksum = hf_checksum64(entries, size, at);
    hf_free(entries);
    return status;
}

/* What was handed to the disk is not to be: the write of it failed half-way. */
static int take_back(hf_region *region, unsigned slot, int error)
{
    int result = hf_os_pwrite_all(region->fd, zeros, HF_REGION_PAGE, (off_t)slot_at(slot));

    if (result < 0)
        return break_store(region, error);
    int status = hf_file_sync(region);
    if (status == 0)
        atomic_store(&region->file->shared->handed, 0);
    return status < 0 ? status : hf_region_status(error);
}

/* Writes the root and flushes. `state` is then that of a durable version. */
static int write_root(hf_txn *txn, struct hf_root *root)
{
    hf_region *region = txn->region;
    struct hf_file_state *state = &txn->state.file;
    struct hf_file_control *shared = region->file->shared;
    uint64_t slot = state->flushes;

    state->durable = txn->state.version.txid;
    state->flushes++;
    state->written = state->written_size = 0;
    root->magic = HF_FILE_ROOT_MAGIC;
    memcpy(root->id, hf_region_super(region)->id, sizeof root->id);
    root->version = txn->state.version;
    root->state = *state;
    root->checksum = hf_root_checksum(root);
    atomic_store(&shared->handed, txn->state.version.txid);
    int result = write_counted(region, root, HF_REGION_PAGE, slot_at(slot));
    if (result < 0)
        return take_back(region, (unsigned)(slot % HF_FILE_SLOTS), result);
    int status = HF_SABOTAGE(missing_flush) ? 0 : hf_file_sync(region);
    if (status == 0)
        atomic_store(&shared->durable, txn->state.version.txid);
    if (status == 0) {
        atomic_store(&shared->root_checksum, root->checksum);
        atomic_store(&shared->renumbered, 0);
    }
    return status;
}

static int64_t now(void)
{
    struct timespec time;

    if (hf_os_clock_gettime(CLOCK_MONOTONIC, &time) < 0)
        return 0;
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static int make_durable(struct hf_placer *placer)
{
    hf_txn *txn = placer->txn;
    struct hf_pieces pieces = {0};
    struct hf_root *root = hf_alloc(HF_REGION_PAGE);
    int status = root == NULL ? HF_NOMEM : 0;

    if (status == 0) {
        memset(root, 0, HF_REGION_PAGE);
        status = hf_manifest_live(placer, &pieces);
    }
    if (HF_SABOTAGE(root_early)) /* a root that says nothing of the rest is as good as one written before it */
        pieces.count = 0;
    if (status == 0)
        status = fill_manifest(placer, root, &pieces);
    if (status == 0)
        status = write_root(txn, root);
    if (status == 0)
        atomic_store(&txn->region->file->shared->flushed_at, now());
    hf_free(pieces.piece);
    hf_free(root);
    return status;
}

/* -- committing -- */

/* The clean mark goes, on the disk, before anything else is written: F4. */
static int clear_mark(hf_region *region)
{
    struct hf_file_control *shared = region->file->shared;

    if (atomic_load(&shared->clean) == 0)
        return 0;
    int status = write_at(region, zeros, sizeof(struct hf_clean), HF_FILE_CLEAN_AT);
    if (status == 0 && !HF_SABOTAGE(clean_late))
        status = hf_file_sync(region);
    if (status == 0)
        atomic_store(&shared->clean, 0);
    return status;
}

/* For the sake of its number, at any level: the first one behind a recovery, and one of a number that recovery gives. So
 * no version that is lost has a number that another one gets (docs/adr/0005). */
static bool is_due_for_its_number(const hf_txn *txn)
{
    return atomic_load(&txn->region->file->shared->renumbered) != 0 ||
           txn->state.version.txid % (UINT64_C(1) << HF_FILE_STEP_BITS) == 0;
}

/* What the last durable version has is not used again before there is a later one. So that what waits for that is a part
 * of the file, and no multiple, there is one when much waits. (What is large, and replaced, is few pieces.) */
static bool is_much_unflushed(const hf_txn *txn)
{
    const struct hf_file_state *state = &txn->state.file;
    uint64_t written = state->written_size + txn->region->file->stage.units * HF_UNIT;

    return state->written >= HF_FILE_LOG / 2 || written >= HF_FILE_UNFLUSHED ||
           (written >= UNFLUSHED_LEAST && state->waiting >= WAITING_LEAST &&
            state->waiting >= txn->state.version.used / USED_A_CELL);
}

static bool is_due(const hf_txn *txn)
{
    const struct hf_file_home *file = txn->region->file;

    if (file->level == HF_REGION_FULL || file->flush_wanted || is_due_for_its_number(txn) || is_much_unflushed(txn))
        return true;
    if (file->level == HF_REGION_OFF)
        return false;
    /* Somebody has to see to it later, or it is done now. */
    return now() - atomic_load(&file->shared->flushed_at) >= file->interval || hf_flusher_want(txn->region) < 0;
}

/* Gives all blocks of the transaction places: those of its tries, then, when nothing of it changes any more, the space
 * tree's. *kept: which is the table of kept snapshots, if it is staged. */
static int place_all(struct hf_placer *placer, bool durable, size_t *kept)
{
    hf_txn *txn = placer->txn;
    struct hf_version *version = &txn->state.version;
    const struct hf_kept_table *table;
    int status = 0;

    for (unsigned tree = 0; status == 0 && tree < HF_REGION_TREES; tree++)
        status = hf_placer_collect(placer, version->trees[tree].root, hf_has_places(txn->region, tree));
    *kept = placer->blocks.count;
    if (status == 0)
        status = hf_kept_table_at(txn->region, version, &table);
    if (status == 0 && table != NULL && hf_is_staged(txn->region->file, version->kept))
        status = hf_placer_add(placer, version->kept, hf_kept_table_size(table->count));
    if (status == 0)
        status = hf_placer_place(placer, false);
    if (status == 0 && durable)
        status = reserve_manifest(placer);
    if (status == 0)
        status = hf_placer_trim(placer);
    if (status == 0)
        status = hf_space_settle(placer);
    if (status == 0)
        status = hf_placer_collect(placer, txn->state.file.space.root, false);
    if (status == 0)
        status = hf_placer_place(placer, true);
    return status == 0 ? hf_placer_finish(placer) : status;
}

/* Cells that are left over go behind the top, and the next commit looks at them. */
static int write_spill(struct hf_placer *placer)
{
    hf_txn *txn = placer->txn;
    struct hf_file_state *state = &txn->state.file;
    uint64_t size = placer->spill_count * sizeof *placer->spill, at;

    if (placer->spill_count == 0)
        return 0;
    int status = hf_file_fresh(txn, hf_units(size), &at);
    if (status < 0)
        return status;
    state->spill = at;
    state->spill_count = placer->spill_count;
    state->spill_checksum = hf_checksum64(placer->spill, size, at);
    at += hf_units(size);
    if (at % HF_PAGE_UNITS != 0) {
        struct hf_file_offer *rest = &state->open[state->open_count++];
        *rest = (struct hf_file_offer){.page = at / HF_PAGE_UNITS};
        for (uint64_t i = at % HF_PAGE_UNITS; i < HF_PAGE_UNITS; i++)
            rest->free[i / 64] |= UINT64_C(1) << i % 64;
    }
    return write_at(txn->region, placer->spill, size, state->spill * HF_UNIT);
}

static void seal_all(struct hf_placer *placer, size_t kept)
{
    hf_txn *txn = placer->txn;
    struct hf_version *version = &txn->state.version;

    seal(placer, 0, kept);
    for (unsigned tree = 0; tree < HF_REGION_TREES; tree++)
        hf_seal_root(txn->region, &version->trees[tree].root);
    if (version->kept != 0 && hf_is_staged(txn->region->file, version->kept))
        hf_kept_fill(txn, hf_unit_at(txn->region, hf_link_units(version->kept)));
    seal(placer, kept, placer->blocks.count);
    hf_seal_root(txn->region, &version->kept);
    hf_seal_root(txn->region, &txn->state.file.space.root);
}

/* Word by word what stats look at without the lock; the rest is for writers alone. */
static void fill_state(struct hf_file_state *out, const struct hf_file_state *state)
{
    enum {
        OFFERS = offsetof(struct hf_file_state, offers),
        FOLD_AT = offsetof(struct hf_file_state, fold_at),
        RECENT = offsetof(struct hf_file_state, recent_count),
        BEHIND = RECENT + sizeof state->recent_count,
    };

    memcpy(out, state, OFFERS);
    for (int i = 0; i < 2; i++)
        __atomic_store_n(&out->offers[i], state->offers[i], __ATOMIC_RELAXED);
    __atomic_store_n(&out->waiting, state->waiting, __ATOMIC_RELAXED);
    memcpy((char *)out + FOLD_AT, (const char *)state + FOLD_AT, RECENT - FOLD_AT);
    __atomic_store_n(&out->recent_count, state->recent_count, __ATOMIC_RELAXED);
    memcpy((char *)out + BEHIND, (const char *)state + BEHIND, sizeof *state - BEHIND);
}

void hf_file_publish(hf_region *region, const struct hf_version *version, const struct hf_file_state *state,
                     const struct hf_nursery *nursery)
{
    struct hf_file_commit *record = (struct hf_file_commit *)(void *)hf_region_seen(region, version->txid);

    hf_record_fill(&record->seen, version);
    fill_state(&record->state, state);
    record->nursery = *nursery;
    record->txid_again = version->txid;
    atomic_exchange(&region->lock->published, version->txid);
}

/* The version goes to FILE, all of it. */
static int to_file(struct hf_placer *placer, hf_txn *txn, bool durable)
{
    struct hf_file_state *state = &txn->state.file;
    size_t kept = 0;
    int status = hf_placer_begin(placer, txn);

    if (status == 0)
        status = hf_nursery_leave(txn);
    if (status == 0)
        status = hf_space_begin(txn);
    if (status == 0 && txn->region->file->starved)
        status = hf_space_look(txn);
    if (status == 0 && durable && state->manifest != 0) {
        status = hf_stage_freed(txn, manifest_piece(state), HF_CELL_INTERNAL, txn->state.version.txid);
        state->manifest = state->manifest_units = 0;
    }
    if (status == 0)
        status = place_all(placer, durable, &kept);
    if (status < 0)
        return status;
    seal_all(placer, kept);
    status = write_spill(placer);
    if (status == 0)
        status = write_blocks(placer);
    if (status == 0 && durable)
        status = make_durable(placer);
    else if (status == 0)
        log_blocks(placer);
    if (status == 0)
        placer->known = placer->spill_count == 0 ? txn->state.version.txid : 0;
    return status;
}

/* 1; 0: it has to go to FILE. What is known of FILE stays as it is. */
static int to_nursery(struct hf_placer *placer, hf_txn *txn)
{
    placer->txn = txn;
    placer->blocks.count = placer->placed = 0;
    int status = hf_nursery_commit(placer);
    if (status > 0 && placer->known + 1 == txn->state.version.txid)
        placer->known = txn->state.version.txid;
    return status;
}

int hf_file_commit(hf_txn *txn)
{
    hf_region *region = txn->region;
    struct hf_placer *placer = region->file->placer;
    /* Here, or in hf_file_grow: all that a commit writes is below what was the top, or behind it. */
    int status = hf_file_may_write(region, txn->state.version.top);

    if (status == 0)
        status = clear_mark(region);
    if (status == 0) {
        bool durable = is_due(txn);
        status = durable ? 0 : to_nursery(placer, txn);
        if (status == 0)
            status = to_file(placer, txn, durable);
    }
    hf_placer_end(placer);
    txn->doomed = status < 0 ? status : 0;
    region->file->starved = status == HF_NOSPACE || status == HF_LIMIT;
    if (status < 0)
        return status;
    hf_verify_room(region->file, txn->state.version.top);
    hf_file_publish(region, &txn->state.version, &txn->state.file, &txn->state.nursery);
    atomic_store(&region->file->shared->handed, 0);
    return 0;
}

/* The lock of who may not write to the lock file is in memory that cannot be written. */
int hf_file_admit(const hf_region *region)
{
    if (region->file->read_only)
        return HF_DENIED;
    /* In a child for which the fork found no descriptor. */
    return region->fd < 0 ? HF_LOST : 0;
}

bool hf_file_is_disturbed(const hf_region *region, uint64_t published)
{
    const struct hf_file_control *shared = region->file->shared;

    return atomic_load(&shared->broken) != 0 || atomic_load(&shared->handed) > published;
}

/* The root of the last durable version, as its record says. */
static const struct hf_root *durable_root(const hf_region *region, const struct hf_file_state *state)
{
    return hf_region_at(region, HF_FILE_ROOT_AT + (state->flushes - 1) % HF_FILE_SLOTS * HF_REGION_PAGE);
}

int hf_file_load(hf_txn *txn, uint64_t txid)
{
    hf_region *region = txn->region;
    struct hf_file_control *shared = region->file->shared;

    if (atomic_load(&shared->broken) != 0)
        return HF_BROKEN;
    const struct hf_file_commit *record = (const struct hf_file_commit *)(void *)hf_region_seen(region, txid);
    struct hf_version *version = &txn->state.version;
    if (txid > HF_TXID_MAX || record->seen.txid != txid || record->txid_again != txid)
        return HF_CORRUPT;
    hf_record_version(&record->seen, version);
    txn->state.file = record->state;
    txn->state.nursery = record->nursery;
    if (!hf_record_is_sound(version, &txn->state.file, &txn->state.nursery))
        return HF_CORRUPT;
    /* A writer died with a root on its way to the disk, and did not publish it. */
    int status = 0;
    if (atomic_load(&shared->handed) > txid) {
        status = hf_file_invalidate(region, (unsigned)(txn->state.file.flushes % HF_FILE_SLOTS));
        atomic_store(&shared->root_checksum, durable_root(region, &txn->state.file)->checksum);
    }
    if (status == 0) {
        atomic_store(&shared->durable, txn->state.file.durable);
        atomic_store(&shared->handed, 0);
    }
    return status;
}

/* Is the newest version durable, and nothing left to be seen to? Without the lock, for which others may have to be waited
 * for. `published` first: what is published later is not asked for. */
static bool is_flushed(const hf_region *region)
{
    const struct hf_file_control *shared = region->file->shared;
    uint64_t published = atomic_load(&region->lock->published);

    return atomic_load(&shared->durable) >= published && atomic_load(&shared->handed) == 0 &&
           atomic_load(&shared->broken) == 0 && atomic_load(&shared->renumbered) == 0;
}

int hf_file_flush(hf_region *region, int64_t timeout)
{
    hf_txn *txn;
    int status;

    if (region->file->read_only)
        return 0;
    if (is_flushed(region))
        return 0;
    status = hf_txn_begin(region, timeout, &txn);
    if (status < 0)
        return status;
    if (txn->state.file.durable == txn->state.version.txid - 1 && atomic_load(&region->file->shared->renumbered) == 0)
        return hf_txn_abort(txn);
    txn->changed = true;
    region->file->flush_wanted = true;
    status = hf_txn_commit(txn);
    if (status < 0)
        hf_txn_abort(txn);
    return status;
}

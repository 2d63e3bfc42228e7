/*
 * file_nursery.c: where the blocks of commits that are not durable wait: memory that the processes share, in the lock
 * file.
 *
 *      a segment    first                      at                      end - cells
 *                   |  b b b b | b b b | b b b |  ->               <-  | c c c c c c c c |
 *                     a commit   another                                 cells: pieces of FILE
 *
 * Most of what such commits write is written anew by the next ones: the root each time, the nodes below it often. In FILE
 * each block would need a place, a write, a checksum, and once it is superseded an entry among what is free. Here it is
 * copied behind the one before, and that is all; what it supersedes in FILE is noted at the other end. A link says that a
 * block is here (its place is one of the last there are), so readers go there as they go to FILE.
 *
 * When a segment is full, and before every commit that is durable, or too large for it, or keeps a snapshot, what the
 * version still has here is taken back into the staging area (hf_nursery_leave) and placed in FILE like what that
 * transaction itself has made, and the cells go where those of its own go.
 *
 * Invariants
 *  N1  Blocks of FILE have no links to the nursery, nor have the space tree, tables of kept snapshots and kept versions.
 *      So roots on the disk, manifests and recovery know nothing of it.
 *  N2  Behind `at`, and before the cells, nothing is part of a version: only there a commit writes, before it is
 *      published. So a writer that dies has changed nothing, and to roll back is to reload the record.
 *  N3  A segment is begun again when it was left, in version `end`, and none of the versions [first, end) is pinned, by
 *      a scan after `end` was published; and nobody reads without a slot. Until then, commits go to FILE.
 *  N4  FILE is long enough for all that is here: what was committed cannot fail to find a place there later.
 *
 * The nursery is added to a lock file when it is first needed; where there is no space for it, commits go to FILE.
 *
 * Concurrency: written by the holder of the writer's lock, before the record is published; read by who has pinned a
 * version that is here. Failure: a commit that cannot go here goes to FILE. What is read is bounds-checked: HF_CORRUPT.
 */
#include "region/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

enum {
    LATER = 64,              /* versions until a nursery that could not be had is asked for again */
    SMALL = 8,               /* a transaction may take up such a part of a segment */
    SPACE_A_CELL = 64,       /* bytes of the space tree, more than enough */
    SPACE_LEAST = 128 << 10, /* and for what begins */
};

static uint64_t segment_of(const struct hf_nursery *nursery)
{
    return nursery->at / HF_NURSERY_SEGMENT;
}

static uint64_t end_of(const struct hf_nursery *nursery)
{
    return (segment_of(nursery) + 1) * HF_NURSERY_SEGMENT;
}

/* Units of so many cells. */
static uint64_t units_of_cells(uint64_t count)
{
    return hf_units(count * sizeof(struct hf_file_cell));
}

static void *nursery_at(const hf_region *region, uint64_t at)
{
    return hf_unit_at(region, HF_NURSERY_FIRST + at);
}

bool hf_nursery_is_sound(const struct hf_nursery *nursery)
{
    return nursery->at < HF_NURSERY_UNITS && nursery->cells < HF_NURSERY_SEGMENT &&
           nursery->at + units_of_cells(nursery->cells) < end_of(nursery);
}

const struct hf_file_cell *hf_nursery_cells(const hf_region *region, const struct hf_nursery *nursery)
{
    const struct hf_file_cell *end = nursery_at(region, end_of(nursery));
    return end - nursery->cells;
}

static uint64_t checksum_of(const struct hf_file_cell *cells, uint64_t count)
{
    uint64_t sum = 0;

    for (uint64_t i = 0; i < count; i++)
        sum += hf_hash_u64(cells[i].piece, hf_hash_u64(cells[i].birth, cells[i].unlink));
    return sum;
}

bool hf_nursery_has_cells(const hf_region *region, const struct hf_nursery *nursery)
{
    return nursery->cells == 0 ||
           (hf_nursery_has(region, HF_NURSERY_FIRST, HF_NURSERY_UNITS) &&
            checksum_of(hf_nursery_cells(region, nursery), nursery->cells) == nursery->checksum);
}

/* -- where it is -- */

/* Whether the lock file is long enough by now. */
static bool look(const hf_region *region)
{
    struct stat found;

    if (region->file->control.fd < 0 || region->file->control.base == NULL ||
        hf_os_fstat(region->file->control.fd, &found) < 0 ||
        (uint64_t)found.st_size < HF_FILE_CONTROL_SIZE + HF_NURSERY_BYTES)
        return false;
    atomic_store(&region->file->nursery, HF_NURSERY_UNITS);
    return true;
}

int hf_nursery_map(hf_region *region)
{
    const struct hf_control *control = &region->file->control;
    char path[32];
    void *part;
    int fd, result;

    /* What is known is of the lock file that there was before. */
    atomic_store(&region->file->nursery, 0);
    if (control->base == NULL)
        return 0;
    /* A mapping keeps its description: so this one has its own (control.c). */
    snprintf(path, sizeof path, "/proc/self/fd/%d", control->fd);
    HF_OS_RETRY(fd, hf_os_open(path, control->writable ? O_RDWR : O_RDONLY, 0));
    if (fd < 0)
        return hf_region_status(fd);
    result = hf_os_mmap(region->base - HF_NURSERY_BYTES, HF_NURSERY_BYTES,
                        control->writable ? PROT_READ | PROT_WRITE : PROT_READ,
                        MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, HF_FILE_CONTROL_SIZE, &part);
    hf_os_close(fd);
    if (result < 0)
        return result == -ENOMEM ? HF_LIMIT : hf_region_status(result);
    look(region); /* now, when nothing depends on it */
    return 0;
}

bool hf_nursery_has_slowly(const hf_region *region, uint64_t units, uint64_t count)
{
    return hf_is_in_nursery(units) && count <= HF_FILE_UNITS + 1 - units &&
           (atomic_load(&region->file->nursery) != 0 || look(region));
}

/*
 * A reader that looks at one lock file after the other (file_follow.c) may have pinned what is in the nursery of the first:
 * versions `seen_from` to `seen_to` of those that it has published for its threads. Another nursery is mapped in its place
 * when none of them is pinned, and the newest is a later one: who is not seen here with a pin gets that one (slots.c).
 */
static bool is_pinned(const hf_region *region)
{
    const struct hf_file_home *file = region->file;
    uint32_t slots = atomic_load(&region->lock->slots);

    if (atomic_load(&region->lock->published) <= file->seen_to)
        return true;
    for (uint32_t i = 0; i < slots; i++) {
        uint64_t pin = atomic_load(&region->slots[i].pin), kind = pin & HF_PIN_KIND, txid = pin & ~HF_PIN_KIND;
        if ((kind == HF_PIN_OPEN && txid <= file->seen_to) ||
            (kind == HF_PIN_NARROW && txid >= file->seen_from && txid <= file->seen_to))
            return true;
    }
    return false;
}

static void map_another(hf_region *region)
{
    struct hf_file_home *file = region->file;

    if (file->seen_to != 0 && is_pinned(region))
        return;
    file->seen_from = file->seen_to = 0;
    file->nursery_lost = hf_nursery_map(region) < 0;
}

bool hf_nursery_follow(hf_region *region, uint64_t txid)
{
    struct hf_file_home *file = region->file;

    if (file->nursery_lost)
        map_another(region);
    if (file->nursery_lost || (atomic_load(&file->nursery) == 0 && !look(region)))
        return false;
    file->seen_from = file->seen_from == 0 ? txid : file->seen_from;
    file->seen_to = txid;
    return true;
}

void hf_nursery_changed(hf_region *region)
{
    region->file->nursery_lost = true;
    map_another(region);
}

/* Makes sure that it is there. */
static bool provide(hf_region *region)
{
    if (atomic_load_explicit(&region->file->nursery, memory_order_relaxed) != 0 || look(region))
        return true;
    uint64_t most;
    int result;
    if (hf_file_limit(&most) < 0 || most < HF_FILE_CONTROL_SIZE + HF_NURSERY_BYTES)
        return false;
    HF_OS_RETRY(result, hf_os_fallocate(region->control_fd, 0, HF_FILE_CONTROL_SIZE, (off_t)HF_NURSERY_BYTES));
    return result == 0 && look(region);
}

/* -- a commit -- */

bool hf_nursery_is_used(const struct hf_nursery *nursery)
{
    return nursery->first[segment_of(nursery)] != 0 && nursery->end[segment_of(nursery)] == 0;
}

/* Has nobody a version that has blocks in this segment? N3. */
static bool is_free(hf_txn *txn, const struct hf_nursery *nursery, uint64_t segment)
{
    const struct hf_cell cell = {.birth = nursery->first[segment], .unlink = nursery->end[segment]};

    if (cell.unlink == 0)
        return true;
    hf_slots_adopt(txn->region);
    hf_scan_slots(txn);
    return hf_control_readers(txn->region->fd) == 0 &&
           ((!hf_scan_too_fresh(&txn->scan, &cell) && !hf_scan_pinned(&txn->scan, &cell)) ||
            HF_SABOTAGE(nursery_soon));
}

/* Is there room for so much in the segment that is being filled? */
static bool has_room(const struct hf_txn *txn, const struct hf_nursery *nursery, uint64_t units, uint64_t cells)
{
    uint64_t most = txn->region->file->nursery_most;

    most = most < HF_NURSERY_SEGMENT ? most : HF_NURSERY_SEGMENT;
    return nursery->at % HF_NURSERY_SEGMENT + units + units_of_cells(nursery->cells + cells) < most;
}

/* Finds room: in this segment; in the next one, if nothing is here. */
static bool find_room(hf_txn *txn, struct hf_nursery *nursery, uint64_t units, uint64_t cells)
{
    uint64_t segment = segment_of(nursery);

    if (!has_room(txn, nursery, units, cells)) {
        segment = (segment + 1) % HF_NURSERY_SEGMENTS;
        /* The one that is full is left by a commit to FILE: this one, perhaps. */
        if (hf_nursery_is_used(nursery) || !is_free(txn, nursery, segment))
            return false;
        nursery->at = segment * HF_NURSERY_SEGMENT;
        nursery->first[segment] = 0;
        if (!has_room(txn, nursery, units, cells))
            return false;
    }
    if (nursery->first[segment] == 0)
        nursery->first[segment] = txn->state.version.txid;
    nursery->end[segment] = 0;
    /* N4 */
    uint64_t bytes = (nursery->at + units) % HF_NURSERY_SEGMENT * HF_UNIT,
             space = (nursery->cells + cells) * SPACE_A_CELL + SPACE_LEAST;
    return hf_file_grow(txn->region, txn->state.version.top + bytes + bytes / 4 + space) == 0;
}

/* Copies the blocks behind each other, sealed. */
static void copy_blocks(struct hf_placer *placer, struct hf_nursery *nursery)
{
    const hf_region *region = placer->txn->region;

    for (size_t i = 0; i < placer->blocks.count; i++) {
        const struct hf_block *block = &placer->blocks.block[i];
        struct hf_file_table *bytes = hf_unit_at(region, block->staged);
        uint64_t place = HF_NURSERY_FIRST + nursery->at;

        hf_seal_links(region, bytes, block->size);
        hf_block_seal(bytes, block->size, place);
        memcpy(nursery_at(region, nursery->at), bytes, hf_units(block->size) * HF_UNIT);
        nursery->at += hf_units(block->size);
    }
}

int hf_nursery_commit(struct hf_placer *placer)
{
    hf_txn *txn = placer->txn;
    hf_region *region = txn->region;
    const struct hf_stage *stage = &region->file->stage;
    struct hf_nursery nursery = txn->state.nursery;
    uint64_t units = 0;
    int status = 0;

    if (region->file->nursery_most == 0 || region->file->starved ||
        txn->state.version.txid < region->file->nursery_later || stage->units > HF_NURSERY_SEGMENT / SMALL ||
        stage->freed_count > HF_NURSERY_SEGMENT / SMALL || hf_is_staged(region->file, txn->state.version.kept))
        return 0;
    for (unsigned tree = 0; status == 0 && tree < HF_REGION_TREES; tree++)
        status = hf_placer_collect(placer, txn->state.version.trees[tree].root, hf_has_places(region, tree));
    if (status < 0)
        return status;
    for (size_t i = 0; i < placer->blocks.count; i++)
        units += hf_units(placer->blocks.block[i].size);
    bool used = hf_nursery_is_used(&nursery);
    if (!provide(region) || !find_room(txn, &nursery, units, stage->freed_count)) {
        /* If something is here, the commit to FILE that follows leaves it, and then there may be room. */
        if (!used)
            region->file->nursery_later = txn->state.version.txid + LATER;
        return 0;
    }
    copy_blocks(placer, &nursery);
    for (unsigned tree = 0; tree < HF_REGION_TREES; tree++)
        hf_seal_root(region, &txn->state.version.trees[tree].root);
    nursery.cells += stage->freed_count;
    nursery.checksum += checksum_of(stage->freed, stage->freed_count);
    memcpy((void *)(uintptr_t)hf_nursery_cells(region, &nursery), stage->freed,
           stage->freed_count * sizeof *stage->freed);
    txn->state.nursery = nursery;
    return 1;
}

/* -- leaving it -- */

struct move {
    hf_txn *txn;
    uint64_t units; /* moved: no more than there are, whatever has been done to them */
};

/* Stages a copy of a block of this size. */
static int copy_back(struct move *move, uint64_t *link, uint64_t size)
{
    hf_txn *txn = move->txn;
    uint64_t staged;

    move->units += hf_units(size);
    if (move->units > HF_NURSERY_UNITS || !hf_nursery_has(txn->region, hf_link_units(*link), hf_units(size)) ||
        hf_block_verify(txn->region, *link, size) < 0)
        return HF_CORRUPT;
    txn->made_count = 0;
    int status = hf_stage_alloc(txn, size, &staged);
    if (status < 0)
        return status;
    struct hf_file_table *copy = hf_unit_at(txn->region, staged);
    memcpy(copy, hf_unit_at(txn->region, *link), size);
    copy->head = hf_txn_head(txn, (enum hf_block_kind)hf_head_kind(copy->head));
    *link = staged;
    return 0;
}

static int move_record(struct move *move, uint64_t *link)
{
    const struct hf_file_record *record = hf_unit_at(move->txn->region, *link);

    if (!hf_is_in_nursery(*link))
        return 0;
    if (!hf_nursery_has(move->txn->region, hf_link_units(*link), hf_units(sizeof *record)) ||
        hf_head_kind(record->head) != HF_KIND_RECORD)
        return HF_CORRUPT;
    return copy_back(move, link, sizeof *record + (uint64_t)record->key_size + record->value_size);
}

/* A node that is here, and all below it. What was staged is looked at too, since it may lead here. */
static int move_node(struct move *move, uint64_t *link, bool places, unsigned depth)
{
    const hf_region *region = move->txn->region;
    struct hf_file_node *node = hf_unit_at(region, *link);
    int status = 0;

    if (*link == 0 || (!hf_is_in_nursery(*link) && !hf_is_staged(region->file, *link)))
        return 0;
    if (depth > HF_TRIE_LEVELS)
        return HF_CORRUPT;
    if (hf_is_in_nursery(*link)) {
        if (!hf_nursery_has(region, hf_link_units(*link), 1) || hf_head_kind(node->head) != HF_KIND_NODE)
            return HF_CORRUPT;
        status = copy_back(move, link, hf_file_node_size(node, places));
        if (status < 0)
            return status;
        node = hf_unit_at(region, *link);
    }
    uint64_t entries = hf_trie_entry_count(node->maps), children = hf_trie_child_count(node->maps);
    uint64_t *links = node->slots + entries * hf_entry_words(places);
    for (uint64_t i = 0; !places && status == 0 && i < entries; i++)
        status = move_record(move, &node->slots[i]);
    for (uint64_t i = 0; status == 0 && i < children; i++)
        status = move_node(move, &links[i], places, depth + 1);
    return status;
}

static int take_all(hf_txn *txn)
{
    const struct hf_nursery *nursery = &txn->state.nursery;
    const struct hf_file_cell *cells = hf_nursery_cells(txn->region, nursery);
    struct move move = {.txn = txn};
    int status = 0;

    if (!hf_nursery_has_cells(txn->region, nursery))
        return HF_CORRUPT;
    for (uint64_t i = 0; status == 0 && i < nursery->cells; i++)
        status = hf_stage_freed(txn, cells[i].piece, cells[i].birth, cells[i].unlink);
    for (unsigned tree = 0; status == 0 && tree < HF_REGION_TREES; tree++)
        status = move_node(&move, &txn->state.version.trees[tree].root, hf_has_places(txn->region, tree), 0);
    return status;
}

int hf_nursery_leave(hf_txn *txn)
{
    struct hf_nursery *nursery = &txn->state.nursery;
    uint64_t segment = segment_of(nursery);

    if (hf_nursery_is_used(nursery)) {
        int status = take_all(txn);
        if (status < 0)
            return status;
        nursery->cells = nursery->checksum = 0;
        nursery->end[segment] = txn->state.version.txid;
    }
    /* This version is kept: it must not lie among those of a segment, which would then stay (N3). */
    if (nursery->first[segment] != 0 && hf_is_staged(txn->region->file, txn->state.version.kept))
        nursery->at = end_of(nursery) - 1;
    return 0;
}

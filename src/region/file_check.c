/*
 * file_check.c: hf_region_check for a file, which believes nothing, and what its stats have more.
 *
 *      1  superblock, the newest record, the root of the last durable version with its manifest
 *      2  what the newest version and its space tree reach: each block verified whole, once, and marked `live`
 *      3  what is free, by cells, page map, offers, open pages, extents: each unit marked `free`, once
 *      4  every unit of the heap is one of the two (file_layout.h, L6), and the live ones add up to `used`
 *      5  the tries, once more, by the template: canonical, and every entry where its hash says
 *      6  the kept versions: what they reach is live, or in a cell that says that they have it
 *
 * A reader who may not write checks all of that too where nobody has FILE open for writing, and keeps writers from opening
 * it meanwhile (OPENERS). Beside writers it checks what pins protect: 2 and 5 but the space tree, and the kept versions,
 * each with a pin of its own. What is free is the writers' affair: they use it again before its version is unpinned.
 *
 * Concurrency: under the writer's lock, or as said. Failure: HF_NOMEM for the marks; nothing is ever changed.
 */
#include "region/file.h"
#include "region/runs.h"

#include <stdio.h>

/* A bit for every unit of the file. */
struct bits {
    uint64_t *word;
    uint64_t count;
};

struct checker {
    hf_region *region;
    const struct hf_version *version;
    const struct hf_file_state *state;
    const struct hf_nursery *nursery;
    uint64_t txid, top; /* in units */
    struct bits live, free;
    struct bits nursed; /* live, too */
    uint64_t used;
    uint64_t run_nodes; /* of the free runs */
    bool beside;        /* writers, who may change all but what is pinned */
    /* of a kept version */
    struct bits *reached, had;
    uint64_t kept;
    hf_region_fault fault;
};

static int wrong(struct checker *checker, const char *what, uint64_t units)
{
    checker->fault = (hf_region_fault){what, units * HF_UNIT};
    return HF_CORRUPT;
}

static int bits_init(struct bits *bits, uint64_t count)
{
    bits->count = count;
    bits->word = hf_alloc((count / 64 + 1) * sizeof *bits->word);
    if (bits->word == NULL)
        return HF_NOMEM;
    memset(bits->word, 0, (count / 64 + 1) * sizeof *bits->word);
    return 0;
}

static bool bits_has(const struct bits *bits, uint64_t at)
{
    return bits->word[at / 64] >> at % 64 & 1;
}

/* Marks a piece: false where part of it was marked, or is outside. */
static bool bits_set(struct bits *bits, uint64_t at, uint64_t count)
{
    if (at < HF_FILE_HEAP_AT / HF_UNIT || at >= bits->count || count > bits->count - at)
        return false;
    for (uint64_t i = at; i < at + count; i++) {
        if (bits_has(bits, i))
            return false;
        bits->word[i / 64] |= UINT64_C(1) << i % 64;
    }
    return true;
}

/* -- what is live -- */

static uint64_t units_of(uint64_t size)
{
    return hf_stage_bin(size) < 0 ? UINT32_MAX : hf_block_units(size);
}

/* The first words of what a link leads to; NULL where it leads nowhere. What is kept is in FILE. */
static const void *look(const struct checker *checker, uint64_t link)
{
    uint64_t units = hf_link_units(link);

    if (hf_is_in_nursery(link))
        return checker->reached == NULL && hf_nursery_has(checker->region, units, 2)
                   ? hf_unit_at(checker->region, units)
                   : NULL;
    return units >= HF_FILE_HEAP_AT / HF_UNIT && units < checker->top ? hf_unit_at(checker->region, units) : NULL;
}

/* Is it where the newest version has begun the nursery? Beside writers, of whose record nothing is known: is it in it? */
static bool is_in_its_nursery(const struct checker *checker, uint64_t at, uint64_t count)
{
    const struct hf_nursery *nursery = checker->nursery;

    if (nursery == NULL)
        return checker->beside && hf_nursery_has(checker->region, HF_NURSERY_FIRST + at, count);
    return at / HF_NURSERY_SEGMENT == nursery->at / HF_NURSERY_SEGMENT && at < nursery->at &&
           count <= nursery->at - at;
}

static int reach_nursery(struct checker *checker, uint64_t link, uint64_t size, enum hf_block_kind kind)
{
    const struct hf_nursery *nursery = checker->nursery;
    uint64_t at = hf_link_units(link) - HF_NURSERY_FIRST, count = hf_units(size);
    const struct hf_file_table *block = hf_unit_at(checker->region, HF_NURSERY_FIRST + at);

    if (!is_in_its_nursery(checker, at, count))
        return wrong(checker, "a block of the nursery that is not of this version", at);
    if (hf_head_kind(block->head) != kind || hf_block_verify(checker->region, link, size) < 0)
        return wrong(checker, "a block of the nursery that is not what was written", at);
    if (hf_head_txid(block->head) > checker->txid ||
        (nursery != NULL && hf_head_txid(block->head) < nursery->first[at / HF_NURSERY_SEGMENT]))
        return wrong(checker, "a block of the nursery that is too young, or too old", at);
    return bits_set(&checker->nursed, HF_FILE_HEAP_AT / HF_UNIT + at, count)
               ? 0
               : wrong(checker, "a block of the nursery is reached twice", at);
}

static int reach(struct checker *checker, uint64_t link, uint64_t size, enum hf_block_kind kind)
{
    if (hf_is_in_nursery(link))
        return reach_nursery(checker, link, size, kind);
    uint64_t units = hf_link_units(link), count = units_of(size);
    const struct hf_file_table *block = hf_unit_at(checker->region, units);

    if (count > checker->top - units)
        return wrong(checker, "a block longer than the region", units);
    if (hf_head_kind(block->head) != kind)
        return wrong(checker, "a block of another kind", units);
    if (hf_block_verify(checker->region, link, size) < 0)
        return wrong(checker, "a block that is not what was written", units);
    if (hf_head_txid(block->head) > (checker->reached != NULL ? checker->kept : checker->txid))
        return wrong(checker, "a block younger than the version that has it", units);
    if (checker->reached == NULL) {
        checker->used += count * HF_UNIT;
        return bits_set(&checker->live, units, count) ? 0 : wrong(checker, "a block is reached twice", units);
    }
    if (!bits_set(checker->reached, units, count))
        return wrong(checker, "a kept version reaches a block twice", units);
    for (uint64_t i = units; checker->had.word != NULL && i < units + count; i++)
        if (!bits_has(&checker->live, i) && !bits_has(&checker->had, i))
            return wrong(checker, "a block of a kept version is free, or waits for others only", units);
    return 0;
}

static int check_record(struct checker *checker, uint64_t link, uint64_t *count)
{
    const struct hf_file_record *record = look(checker, link);

    if (record == NULL)
        return wrong(checker, "an entry leads nowhere", hf_link_units(link));
    ++*count;
    return reach(checker, link, sizeof *record + (uint64_t)record->key_size + record->value_size, HF_KIND_RECORD);
}

static int check_node(struct checker *checker, uint64_t link, bool places, unsigned depth, uint64_t *count)
{
    const struct hf_file_node *node = look(checker, link);

    if (node == NULL || depth > HF_TRIE_LEVELS)
        return wrong(checker, "a link leads nowhere", hf_link_units(link));
    if ((node->maps.entry_map & node->maps.child_map) != 0 &&
        (depth != HF_TRIE_LEVELS || node->maps.entry_map != node->maps.child_map))
        return wrong(checker, "a slot holds an entry and a child", hf_link_units(link));
    uint64_t entries = hf_trie_entry_count(node->maps), children = hf_trie_child_count(node->maps);
    const uint64_t *links = node->slots + entries * hf_entry_words(places);
    int status = reach(checker, link, hf_file_node_size(node, places), HF_KIND_NODE);
    for (uint64_t i = 0; !places && status == 0 && i < entries; i++)
        status = check_record(checker, node->slots[i], count);
    *count += places ? entries : 0;
    for (uint64_t i = 0; status == 0 && i < children; i++)
        status = check_node(checker, links[i], places, depth + 1, count);
    return status;
}

static int check_tree(struct checker *checker, const struct hf_tree *tree, bool places)
{
    const char *fault = NULL;
    uint64_t count = 0;
    int status = tree->root == 0 ? 0 : check_node(checker, tree->root, places, 0, &count);

    if (status < 0)
        return status;
    if (count != tree->count)
        return wrong(checker, "a trie with more or fewer entries than its root says", hf_link_units(tree->root));
    status = hf_tree_ops(checker->region, places)->check(checker->region, checker->version->top, tree, &fault);
    if (status == HF_CORRUPT)
        return wrong(checker, fault != NULL ? fault : "a trie that is damaged", hf_link_units(tree->root));
    return status;
}

static int mark_live(struct checker *checker, uint64_t units, uint64_t count, const char *what)
{
    return count == 0 || bits_set(&checker->live, units, count) ? 0 : wrong(checker, what, units);
}

/* What readers see of a version. */
static int check_version(struct checker *checker)
{
    const struct hf_kept_table *table;
    int status = 0;

    for (unsigned i = 0; status == 0 && i < HF_REGION_TREES; i++)
        status = check_tree(checker, &checker->version->trees[i], hf_has_places(checker->region, i));
    if (status == 0 && hf_kept_table_at(checker->region, checker->version, &table) < 0)
        return wrong(checker, "the table of kept snapshots is damaged", hf_link_units(checker->version->kept));
    if (status == 0 && table != NULL)
        status = reach(checker, checker->version->kept, hf_kept_table_size(table->count), HF_KIND_TABLE);
    return status;
}

/* And what writers see beyond that. */
static int check_internal(struct checker *checker)
{
    const struct hf_file_state *state = checker->state;
    int status = check_tree(checker, &state->space, false);

    if (status == 0)
        status = mark_live(checker, state->spill, hf_units(state->spill_count * sizeof(struct hf_file_cell)),
                           "the cells that were left over lie in something else");
    if (status == 0)
        status = mark_live(checker, state->manifest, state->manifest_units, "the manifest lies in something else");
    return status;
}

/* -- what is free -- */

static int mark_free(struct checker *checker, uint64_t units, uint64_t count)
{
    return bits_set(&checker->free, units, count) ? 0 : wrong(checker, "something is free twice, or outside", units);
}

static int check_offer(struct checker *checker, const struct hf_file_offer *offer)
{
    int status = 0;

    for (unsigned i = 0; status == 0 && i < HF_PAGE_UNITS; i++)
        if (offer->free[i / 64] >> i % 64 & 1)
            status = mark_free(checker, offer->page * HF_PAGE_UNITS + i, 1);
    return status;
}

static int check_cell(struct checker *checker, const struct hf_file_cell *cell)
{
    uint64_t units = hf_link_units(cell->piece), count = cell->piece >> 40, birth = cell->birth & ~HF_CELL_INTERNAL;

    if ((count & HF_PIECE_BITS) != 0) {
        struct hf_file_offer page = {.page = units / HF_PAGE_UNITS};
        if (units % (HF_PAGE_UNITS / 2) != 0)
            return wrong(checker, "half a page that begins elsewhere", units);
        page.free[units / 64 % 4] = cell->birth;
        page.free[units / 64 % 4 + 1] = cell->unlink;
        return checker->reached != NULL ? 0 : check_offer(checker, &page);
    }
    if ((count & HF_PIECE_EXTENT) != 0)
        count = hf_extent_units(count);
    if (checker->reached != NULL) {
        if ((cell->birth & HF_CELL_INTERNAL) == 0 && birth <= checker->kept && checker->kept < cell->unlink)
            bits_set(&checker->had, units, count);
        return 0;
    }
    if (birth > cell->unlink || cell->unlink > checker->txid)
        return wrong(checker, "a piece that was unlinked before it was made, or later than now", units);
    return mark_free(checker, units, count);
}

static int check_cells(struct checker *checker, const struct hf_file_cell *cells, uint64_t count)
{
    int status = 0;

    /* A large entry is filled up with zeros. */
    for (uint64_t i = 0; status == 0 && i < count && cells[i].piece != 0; i++)
        status = check_cell(checker, &cells[i]);
    return status;
}

/* An entry of the space tree. */
static int check_entry(struct checker *checker, uint64_t key, const void *bytes, size_t size)
{
    const struct hf_file_state *state = checker->state;
    uint64_t number = key & ((UINT64_C(1) << 56) - 1);
    int status = 0;

    switch (key >> 56) {
    case HF_SPACE_WAITING:
    case HF_SPACE_PARKED:
    case HF_SPACE_CELLS:
        return size % sizeof(struct hf_file_cell) == 0
                   ? check_cells(checker, bytes, size / sizeof(struct hf_file_cell))
                   : wrong(checker, "an entry of a queue of a wrong size", 0);
    case HF_SPACE_ZONE:
        return size == sizeof(struct hf_zone) ? 0 : wrong(checker, "a zone of a wrong size", number);
    case HF_SPACE_OFFERS:
    case HF_SPACE_ROOMY:
        for (size_t i = number == state->queues[key >> 56].head ? state->offer_index[(key >> 56) - HF_QUEUE_OFFERS]
                                                                : 0;
             status == 0 && checker->reached == NULL && i < size / sizeof(struct hf_file_offer); i++)
            status = check_offer(checker, (const struct hf_file_offer *)bytes + i);
        return status;
    case HF_SPACE_RUNS:
        checker->run_nodes++;
        return 0;
    default:
        return wrong(checker, "an entry of the space tree of no kind", number);
    }
}

/* The template's cursor goes over a view; this one is of a tree that no view has. */
static int check_space(struct checker *checker)
{
    hf_view view = {
        .region = checker->region, .generation = checker->region->generation, .version = *checker->version};
    hf_region_cursor cursor;
    hf_key key;
    hf_span value;

    view.version.trees[0] = checker->state->space;
    int status = hf_cursor_begin(&cursor, &view, 0, false), more;
    while (status == 0 && (more = hf_region_cursor_next(&cursor, &key, &value)) != 0) {
        uint64_t number, aligned[sizeof(union hf_space_entry) / 8];
        if (more < 0 || key.size != sizeof number || value.size == 0 || value.size > sizeof aligned)
            return wrong(checker, "an entry of the space tree that is none", 0);
        memcpy(&number, key.bytes, sizeof number);
        memcpy(aligned, value.bytes, value.size);
        status = check_entry(checker, number, aligned, value.size);
    }
    return status;
}

static int see_node(void *arg, unsigned level, uint64_t index, uint64_t link)
{
    struct checker *checker = arg;

    if (checker->run_nodes-- == 0)
        return wrong(checker, "more nodes of the free runs than there are", index);
    return 0;
}

static int see_run(void *arg, uint64_t at, uint64_t count)
{
    return mark_free(arg, at * (1024 / HF_UNIT), count * (1024 / HF_UNIT));
}

/* Those that the sums say there are, and no others: check_entry has counted them. */
static int check_free_runs(struct checker *checker)
{
    const struct hf_runs_visitor visitor = {see_node, see_run, checker};
    int status = hf_file_runs_visit(checker->region, checker->version, checker->state, &visitor);

    if (status == HF_CORRUPT && checker->fault.what == NULL)
        return wrong(checker, "the sums of free runs are wrong", 0);
    if (status == 0 && checker->run_nodes != 0)
        return wrong(checker, "a node of the free runs that nothing leads to", 0);
    return status;
}

static int check_free(struct checker *checker)
{
    const struct hf_file_state *state = checker->state;
    const struct hf_file_cell *spill = hf_unit_at(checker->region, state->spill);
    int status = check_cells(checker, state->recent, state->recent_count);

    if (status == 0 && checker->nursery != NULL && checker->nursery->cells > 0)
        status = check_cells(checker, hf_nursery_cells(checker->region, checker->nursery), checker->nursery->cells);
    if (status == 0 && state->spill_count > 0)
        status = check_cells(checker, spill, state->spill_count);
    if (status == 0)
        status = check_space(checker);
    if (status < 0 || checker->reached != NULL)
        return status;
    for (uint32_t i = 0; status == 0 && i < state->open_count; i++)
        status = check_offer(checker, &state->open[i]);
    if (status == 0 && state->pages_end > state->pages_at)
        status = mark_free(checker, state->pages_at, state->pages_end - state->pages_at);
    return status == 0 ? check_free_runs(checker) : status;
}

static int check_accounts(struct checker *checker)
{
    for (uint64_t i = HF_FILE_HEAP_AT / HF_UNIT; i < checker->top; i++) {
        bool live = bits_has(&checker->live, i), free = bits_has(&checker->free, i);
        if (live && free)
            return wrong(checker, "something is in use and free", i);
        if (!live && !free)
            return wrong(checker, "something is lost", i);
    }
    return checker->used == checker->version->used ? 0
                                                   : wrong(checker, "the bytes in use do not add up", checker->used);
}

static int check_kept(struct checker *checker)
{
    const struct hf_kept_table *table;
    struct bits reached = {0};
    int status = hf_kept_table_at(checker->region, checker->version, &table);

    if (status < 0 || table == NULL)
        return status;
    for (uint64_t i = 0; status == 0 && i < table->count; i++) {
        checker->kept = table->kept[i].txid;
        if (checker->kept > checker->txid || memchr(table->kept[i].name, '\0', HF_REGION_NAME_SIZE) == NULL)
            return wrong(checker, "a kept snapshot of no version, or without a name", i);
        status = bits_init(&reached, checker->top);
        if (status == 0)
            status = bits_init(&checker->had, checker->top);
        checker->reached = &reached;
        if (status == 0)
            status = check_free(checker);
        for (unsigned tree = 0; status == 0 && tree < HF_REGION_TREES; tree++)
            status = check_tree(checker, &table->kept[i].trees[tree], hf_has_places(checker->region, tree));
        hf_free(reached.word);
        hf_free(checker->had.word);
        reached.word = checker->had.word = NULL;
        checker->reached = NULL;
    }
    return status;
}

static int check_super(struct checker *checker)
{
    const struct hf_superblock *super = hf_region_super(checker->region);

    if (super->magic != HF_FILE_MAGIC || super->checksum != hf_super_checksum(super))
        return wrong(checker, "the superblock is damaged", 0);
    return 0;
}

static int check_roots(struct checker *checker)
{
    uint64_t slot = (checker->state->flushes - 1) % HF_FILE_SLOTS;
    const struct hf_root *root = hf_region_at(checker->region, HF_FILE_ROOT_AT + slot * HF_REGION_PAGE);

    if (root->state.flushes != checker->state->flushes)
        return wrong(checker, "the last durable root is not in its place", (HF_FILE_ROOT_AT / HF_UNIT) + slot);
    if (hf_root_verify(checker->region, root) < 0)
        return wrong(checker, "the last durable root, or what it says was written, is damaged",
                     HF_FILE_ROOT_AT / HF_UNIT);
    return 0;
}

/* What nobody changes meanwhile: all of it. */
static int check_all(struct checker *checker)
{
    int status = bits_init(&checker->live, checker->top);

    if (status == 0)
        status = bits_init(&checker->free, checker->top);
    if (status == 0)
        status = bits_init(&checker->nursed, HF_FILE_HEAP_AT / HF_UNIT + HF_NURSERY_UNITS);
    if (status == 0)
        status = check_super(checker);
    if (status == 0)
        status = check_roots(checker);
    if (status == 0)
        status = check_version(checker);
    if (status == 0)
        status = check_internal(checker);
    if (status == 0)
        status = check_free(checker);
    if (status == 0)
        status = check_accounts(checker);
    if (status == 0)
        status = check_kept(checker);
    return status;
}

int hf_file_check(hf_txn *txn, hf_region_fault *fault)
{
    struct checker checker = {
        .region = txn->region,
        .version = &txn->state.version,
        .state = &txn->state.file,
        .nursery = &txn->state.nursery,
        .txid = txn->state.version.txid - 1,
        .top = txn->state.version.top / HF_UNIT,
    };
    int status = check_all(&checker);

    hf_free(checker.live.word);
    hf_free(checker.free.word);
    hf_free(checker.nursed.word);
    *fault = checker.fault;
    return status;
}

/* -- by a reader -- */

/* A kept version, if it is still there: with a pin of its own. */
static int check_kept_pinned(struct checker *checker, const struct hf_kept *kept)
{
    struct bits reached = {0};
    hf_snapshot *snapshot;

    if (kept->txid > checker->txid || memchr(kept->name, '\0', HF_REGION_NAME_SIZE) == NULL)
        return wrong(checker, "a kept snapshot of no version, or without a name",
                     hf_link_units(checker->version->kept));
    int status = hf_snapshot_begin_kept(checker->region, kept->name, &snapshot);
    if (status < 0)
        return status == HF_ABSENT ? 0 : status;
    if (hf_view_txid(hf_snapshot_view(snapshot)) == kept->txid)
        status = bits_init(&reached, checker->top);
    if (reached.word != NULL) {
        checker->kept = kept->txid;
        checker->reached = &reached;
        for (unsigned tree = 0; status == 0 && tree < HF_REGION_TREES; tree++)
            status = check_tree(checker, &kept->trees[tree], hf_has_places(checker->region, tree));
        checker->reached = NULL;
        hf_free(reached.word);
    }
    hf_snapshot_end(snapshot);
    return status;
}

/* Beside writers: what the pins protect. */
static int check_pinned(struct checker *checker)
{
    const struct hf_kept_table *table = NULL;
    int status = bits_init(&checker->live, checker->top);

    if (status == 0)
        status = bits_init(&checker->nursed, HF_FILE_HEAP_AT / HF_UNIT + HF_NURSERY_UNITS);
    if (status == 0)
        status = check_super(checker);
    if (status == 0)
        status = check_version(checker);
    if (status == 0)
        status = hf_kept_table_at(checker->region, checker->version, &table);
    for (uint64_t i = 0; status == 0 && table != NULL && i < table->count; i++)
        status = check_kept_pinned(checker, &table->kept[i]);
    return status;
}

/* Another description of FILE, as long as which is open nobody opens FILE for writing: negative where somebody has it open
 * for writing, or is opening it for longer than this, or there is none to be had. */
static int keep_writers_out(const hf_region *region, int64_t timeout)
{
    char path[32];
    int fd;

    snprintf(path, sizeof path, "/proc/self/fd/%d", region->fd);
    HF_OS_RETRY(fd, hf_os_open(path, O_RDONLY, 0));
    if (fd < 0 || hf_control_hold(fd, timeout) == 1)
        return fd;
    hf_os_close(fd);
    return -1;
}

int hf_file_check_reading(hf_region *region, int64_t timeout, hf_region_fault *fault)
{
    int fd = keep_writers_out(region, timeout);
    hf_snapshot *snapshot;
    int status = hf_snapshot_begin(region, &snapshot);

    *fault = (hf_region_fault){status == HF_CORRUPT ? "the newest record is damaged" : NULL, 0};
    if (status < 0)
        goto done;
    struct hf_version version = hf_snapshot_view(snapshot)->version;
    struct checker checker = {
        .region = region,
        .version = &version,
        .txid = version.txid,
        .top = version.top / HF_UNIT,
    };
    if (fd >= 0) {
        const struct hf_file_commit *record = (const void *)hf_region_seen(region, version.txid);
        hf_record_version(&record->seen, &version);
        checker.state = &record->state;
        checker.nursery = &record->nursery;
        status = hf_record_is_sound(&version, checker.state, checker.nursery)
                     ? check_all(&checker)
                     : wrong(&checker, "the newest record is damaged", 0);
    } else {
        checker.beside = true;
        status = check_pinned(&checker);
    }
    hf_snapshot_end(snapshot);
    hf_free(checker.live.word);
    hf_free(checker.free.word);
    hf_free(checker.nursed.word);
    *fault = checker.fault;

done:
    if (fd >= 0)
        hf_os_close(fd);
    return status;
}

void hf_file_stats(hf_region *region, hf_region_stats *stats)
{
    const struct hf_file_control *shared = region->file->shared;
    const struct hf_file_commit *record =
        (const struct hf_file_commit *)(const void *)hf_region_seen(region, stats->txid);
    const struct hf_file_state *state = &record->state;

    /* The record may be written over meanwhile: then these are those of a later version. */
    stats->waiting = __atomic_load_n(&state->waiting, __ATOMIC_RELAXED);
    stats->waiting += __atomic_load_n(&state->recent_count, __ATOMIC_RELAXED);
    stats->offers = __atomic_load_n(&state->offers[0], __ATOMIC_RELAXED);
    stats->offers += __atomic_load_n(&state->offers[1], __ATOMIC_RELAXED);
    stats->written = atomic_load_explicit(&region->file->written, memory_order_relaxed);
    stats->durable = atomic_load(&shared->durable);
    stats->recovered = atomic_load(&shared->recovered) != 0;
    stats->stepped_back = atomic_load(&shared->stepped_back) != 0;
    stats->broken = atomic_load(&shared->broken) != 0;
}

/*
 * check.c: hf_region_check, which believes nothing, and hf_region_stats_get.
 *
 *      1  superblock, newest record
 *      2  the free pages, and the large blocks that wait in a queue: neither has anything of its own that could be believed.
 *         Then the runs between them, from the first to `top`: each header says what it should; where bump pointers are
 *      3  what the newest version reaches: tries, tables, cells, spares. Each block is marked `live`, once, and must be a
 *         block: at a place of a run of its class, below the bump pointer, with a head of the right kind and age
 *      4  every cell of every queue: its block is marked `waiting`, once
 *      5  every block of every run is one of the two (layout.h, L3), and the live ones add up to `used`
 *      6  the tries, once more, by the template: canonical, and every entry where its hash says
 *      7  the kept versions: what they reach is live or waits, and what waits does so for a version that has it
 *
 * Marks make each walk end: a block that is reached twice is a fault.
 *
 * Concurrency: under the writer's lock. Failure: HF_NOMEM for the marks; nothing is ever changed.
 */
#include "region/impl.h"
#include "region/runs.h"

#include "base/hash.h"

#include <stdlib.h>

enum { ANY = 1 << 17, LARGE };

/* One bit for every 8 bytes of the heap. */
struct marks {
    unsigned char *bits;
    size_t size;
};

struct place {
    uint64_t at;   /* of the run */
    uint64_t used; /* blocks below the bump pointer */
    unsigned code;
};

struct checker {
    hf_region *region;
    const struct hf_state *state; /* a copy of the newest record */
    uint64_t txid;
    struct place *runs;
    size_t run_count, run_room;
    unsigned char *free_pages; /* bits */
    bool collecting;           /* of the queues, only large blocks are looked at */
    uint64_t steps;            /* so many blocks of cells, while that is so: */
    struct place *large;       /* those found */
    size_t large_count, large_room;
    struct marks live, waiting;
    uint64_t used;
    /* of a kept version */
    bool keeping;
    uint64_t kept_txid;
    struct marks kept_live, kept_gone;
    hf_region_fault fault;
};

static int wrong(struct checker *checker, const char *what, uint64_t at)
{
    checker->fault = (hf_region_fault){what, at};
    return HF_CORRUPT;
}

/* -- marks -- */

static int marks_init(struct marks *marks, uint64_t top)
{
    marks->size = (size_t)((top - HF_REGION_HEAP_AT) / 64 + 1);
    marks->bits = hf_alloc(marks->size);
    if (marks->bits == NULL)
        return HF_NOMEM;
    memset(marks->bits, 0, marks->size);
    return 0;
}

static bool is_marked(const struct marks *marks, uint64_t at)
{
    uint64_t bit = (at - HF_REGION_HEAP_AT) / 8;
    return marks->bits[bit / 8] >> bit % 8 & 1;
}

/* Was it already? */
static bool mark(struct marks *marks, uint64_t at)
{
    uint64_t bit = (at - HF_REGION_HEAP_AT) / 8;
    bool was = is_marked(marks, at);
    marks->bits[bit / 8] |= (unsigned char)(1u << bit % 8);
    return was;
}

/* -- runs and blocks -- */

static uint64_t first_block(unsigned code)
{
    return code == HF_REGION_CELLS_CLASS ? HF_CELLS_SIZE : sizeof(struct hf_run);
}

static uint64_t blocks_of(unsigned code)
{
    return (hf_heap_pages(code) * HF_REGION_PAGE - first_block(code)) / hf_heap_size(code);
}

static int check_run(struct checker *checker, uint64_t at, struct place *out)
{
    const struct hf_run *run = hf_region_at(checker->region, at);
    unsigned code = (unsigned)(run->mark & UINT32_MAX);

    if (run->mark >> 32 != HF_RUN_MAGIC || run->at != at)
        return wrong(checker, "a run without its header", at);
    if (code >= HF_REGION_CLASSES && !hf_is_large_code(code))
        return wrong(checker, "a run of no class", at);
    if (run->pages != hf_heap_pages(code) || run->pages * HF_REGION_PAGE > checker->state->version.top - at)
        return wrong(checker, "a run of the wrong length", at);
    *out = (struct place){.at = at, .code = code, .used = blocks_of(code)};
    if (code >= HF_REGION_CLASSES)
        return 0;
    uint64_t bump = checker->state->heap.classes[code].bump;
    uint64_t next = bump & HF_CELL_OFFSET, left = bump >> HF_CELL_CODE_SHIFT, end = at + HF_REGION_CHUNK;
    if (left == 0 || next < at || next >= end)
        return 0;
    if (left > out->used || next != at + first_block(code) + (out->used - left) * hf_heap_size(code))
        return wrong(checker, "a bump pointer between two blocks", next);
    out->used -= left;
    return 0;
}

static bool is_free_page(const struct checker *checker, uint64_t at)
{
    uint64_t page = at / HF_REGION_PAGE;
    return checker->free_pages[page / 8] >> page % 8 & 1;
}

static int add_place(struct place **places, size_t *count, size_t *room, const struct place *place)
{
    void *longer = hf_grown(*places, room, *count + 1, sizeof **places);
    if (longer == NULL)
        return HF_NOMEM;
    *places = longer;
    (*places)[(*count)++] = *place;
    return 0;
}

/* What is at `at`: free pages, a large block that waits, a run with a header. */
static int check_next(struct checker *checker, uint64_t *at, size_t *next_large)
{
    struct place place = {0};
    int status = 0;

    if (is_free_page(checker, *at)) {
        *at += HF_REGION_PAGE;
        return 0;
    }
    if (*next_large < checker->large_count && checker->large[*next_large].at <= *at) {
        place = checker->large[(*next_large)++];
        if (place.at < *at)
            return wrong(checker, "a large block that waits is part of something else", place.at);
    } else {
        status = check_run(checker, *at, &place);
    }
    uint64_t end = *at + (status < 0 ? 0 : hf_heap_pages(place.code) * HF_REGION_PAGE);
    if (status == 0 && end > checker->state->version.top)
        status = wrong(checker, "the last run ends beyond the top", *at);
    for (uint64_t page = *at; status == 0 && page < end; page += HF_REGION_PAGE)
        if (is_free_page(checker, page))
            status = wrong(checker, "a page of a run is free", page);
    if (status == 0)
        status = add_place(&checker->runs, &checker->run_count, &checker->run_room, &place);
    *at = end;
    return status;
}

static int compare_places(const void *a, const void *b)
{
    uint64_t left = ((const struct place *)a)->at, right = ((const struct place *)b)->at;
    return (left > right) - (left < right);
}

static int check_runs(struct checker *checker)
{
    uint64_t at = HF_REGION_HEAP_AT;
    size_t next_large = 0;
    int status = 0;

    if (checker->large_count > 0)
        qsort(checker->large, checker->large_count, sizeof *checker->large, compare_places);
    while (status == 0 && at < checker->state->version.top)
        status = check_next(checker, &at, &next_large);
    if (status == 0 && next_large < checker->large_count)
        return wrong(checker, "a large block that waits is free, too", checker->large[next_large].at);
    return status;
}

/* The run that this is a block of, or NULL. */
static const struct place *place_of(const struct checker *checker, uint64_t at)
{
    size_t low = 0, high = checker->run_count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (checker->runs[middle].at <= at)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return NULL;
    const struct place *place = &checker->runs[low - 1];
    uint64_t first = place->at + first_block(place->code), size = hf_heap_size(place->code);
    if (at < first || (at - first) % size != 0 || (at - first) / size >= place->used)
        return NULL;
    return place;
}

/* A block that the version reaches: this one, if it is what it should be. */
static int reach(struct checker *checker, uint64_t at, uint64_t size, enum hf_block_kind kind)
{
    const struct place *place = place_of(checker, at);
    uint64_t newest = checker->keeping ? checker->kept_txid : checker->txid;

    if (place == NULL)
        return wrong(checker, "something refers to what is no block", at);
    if ((int)place->code != (kind == HF_KIND_FREE ? HF_REGION_CELLS_CLASS : hf_heap_code(size)))
        return wrong(checker, "a block in a run of another class", at);
    if (kind != HF_KIND_FREE) {
        uint64_t head = *(const uint64_t *)hf_region_at(checker->region, at);
        if (hf_head_kind(head) != kind)
            return wrong(checker, "a block of another kind", at);
        if (hf_head_txid(head) > newest)
            return wrong(checker, "a block younger than the version that has it", at);
    }
    if (checker->keeping) {
        if (mark(&checker->kept_live, at))
            return wrong(checker, "a kept version reaches a block twice", at);
        if (is_marked(&checker->kept_gone, at))
            return wrong(checker, "a block of a kept version waits for others only", at);
        return 0;
    }
    if (mark(&checker->live, at))
        return wrong(checker, "a block is reached twice", at);
    checker->used += hf_heap_size(place->code);
    return 0;
}

/* -- tries -- */

/* An offset at which something of this size may be read: not yet a block. */
static bool readable(const struct checker *checker, uint64_t at, uint64_t size)
{
    uint64_t top = checker->state->version.top;

    return at > HF_REGION_HEAP_AT && at % 8 == 0 && at < top && size <= top - at;
}

static int check_record(struct checker *checker, uint64_t entry, uint64_t *count)
{
    uint64_t at = entry & HF_ENTRY_OFFSET;

    if (!readable(checker, at, sizeof(struct hf_record)))
        return wrong(checker, "an entry leads nowhere", at);
    const struct hf_record *record = hf_region_at(checker->region, at);
    uint64_t size = hf_record_size(record);
    int status = readable(checker, at, size) ? reach(checker, at, size, HF_KIND_RECORD)
                                             : wrong(checker, "a record longer than the region", at);
    ++*count;
    return status;
}

static int check_node(struct checker *checker, uint64_t at, bool places, unsigned depth, uint64_t *count)
{
    if (depth > HF_TRIE_LEVELS || !readable(checker, at, sizeof(struct hf_node)))
        return wrong(checker, "a link leads nowhere", at);
    const struct hf_node *node = hf_region_at(checker->region, at);
    bool collision = hf_trie_is_collision(node->maps);
    if (collision && (depth != HF_TRIE_LEVELS || node->maps.entry_map != node->maps.child_map))
        return wrong(checker, "a slot holds an entry and a child", at);
    uint64_t entries = hf_trie_entry_count(node->maps), children = hf_trie_child_count(node->maps);
    uint64_t words = entries * hf_entry_words(places), size = sizeof *node + 8 * (words + children);
    int status = readable(checker, at, size) ? reach(checker, at, size, HF_KIND_NODE)
                                             : wrong(checker, "a node longer than the region", at);
    for (uint64_t i = 0; !places && status == 0 && i < entries; i++)
        status = check_record(checker, node->slots[i], count);
    *count += places ? entries : 0;
    for (uint64_t i = 0; status == 0 && i < children; i++)
        status = check_node(checker, node->slots[words + i], places, depth + 1, count);
    return status;
}

static int check_trees(struct checker *checker, const struct hf_tree *trees)
{
    for (unsigned i = 0; i < HF_REGION_TREES; i++) {
        uint64_t count = 0;
        bool places = hf_has_places(checker->region, i);
        int status = trees[i].root == 0 ? 0 : check_node(checker, trees[i].root, places, 0, &count);
        if (status < 0)
            return status;
        if (count != trees[i].count)
            return wrong(checker, "a trie with more or fewer entries than its root says", trees[i].root);
        const char *fault = NULL;
        status = hf_tree_ops(checker->region, places)
                     ->check(checker->region, checker->state->version.top, &trees[i], &fault);
        if (status == HF_CORRUPT)
            return wrong(checker, fault != NULL ? fault : "a trie that is damaged", trees[i].root);
        if (status < 0)
            return status;
    }
    return 0;
}

/* -- queues -- */

/* A large block that waits: what it lies over is seen to by check_runs. */
static int collect(struct checker *checker, uint64_t at, unsigned code)
{
    struct place place = {.at = at - sizeof(struct hf_run), .used = 1, .code = code};

    if (!hf_is_large_code(code))
        return 0;
    if (at % HF_REGION_PAGE != sizeof(struct hf_run) || at < HF_REGION_HEAP_AT)
        return wrong(checker, "a queue has what is no block of its class", at);
    return add_place(&checker->large, &checker->large_count, &checker->large_room, &place);
}

static int check_cell(struct checker *checker, const struct hf_cell *cell, unsigned code)
{
    uint64_t at = cell->block & HF_CELL_OFFSET;
    unsigned its_code = (unsigned)(cell->block >> HF_CELL_CODE_SHIFT);

    if (checker->collecting)
        return collect(checker, at, its_code);
    const struct place *place = at < checker->state->version.top ? place_of(checker, at) : NULL;
    if (code == LARGE && hf_is_large_code(its_code))
        code = its_code;
    if (place == NULL || place->code != its_code || (code != ANY && code != its_code))
        return wrong(checker, "a queue has what is no block of its class", at);
    if (checker->keeping) {
        if (!(cell->birth <= checker->kept_txid && checker->kept_txid < cell->unlink))
            mark(&checker->kept_gone, at);
        return 0;
    }
    if (cell->birth > cell->unlink || cell->unlink > checker->txid)
        return wrong(checker, "a queue has a block that was unlinked before it was made, or later than now", at);
    if (mark(&checker->waiting, at))
        return wrong(checker, "a block is in the queues twice", at);
    return 0;
}

/* A queue, of blocks of this class (ANY; LARGE: of any large one). */
static int check_queue(struct checker *checker, const struct hf_queue *queue, unsigned code, uint64_t *count)
{
    uint64_t at = queue->head;

    if (at == 0 && queue->tail == 0)
        return 0;
    for (;;) {
        uint64_t block = at & ~(uint64_t)(HF_CELLS_SIZE - 1), last = queue->tail & ~(uint64_t)(HF_CELLS_SIZE - 1);
        uint64_t end = block == last ? queue->tail - last : HF_CELLS;
        if (!readable(checker, block, HF_CELLS_SIZE) || at - block > end || end > HF_CELLS)
            return wrong(checker, "a queue leads nowhere", at);
        int status = checker->keeping || checker->collecting ? 0 : reach(checker, block, HF_CELLS_SIZE, HF_KIND_FREE);
        if (checker->collecting && checker->steps++ > checker->state->version.top / HF_CELLS_SIZE)
            status = wrong(checker, "a queue leads nowhere", at);
        const struct hf_cells *cells = hf_region_at(checker->region, block);
        for (uint64_t i = at - block; status == 0 && i < end; i++, ++*count)
            status = check_cell(checker, &cells->cells[i], code);
        if (status < 0 || block == last)
            return status;
        at = cells->next;
        if (at % HF_CELLS_SIZE != 0)
            return wrong(checker, "a queue leads nowhere", at);
    }
}

static int check_queues(struct checker *checker)
{
    const struct hf_heap_state *heap = &checker->state->heap;
    uint64_t count = 0, parked = 0;
    int status = check_queue(checker, &heap->parked, ANY, &parked);

    if (status == 0 && parked != checker->state->version.parked)
        status = wrong(checker, "more or fewer blocks are parked than the record says", heap->parked.head);
    for (unsigned i = 0; status == 0 && i < HF_REGION_CLASSES; i++)
        status = check_queue(checker, &heap->classes[i].ready, i, &count);
    return status < 0 ? status : check_queue(checker, &heap->large, LARGE, &count);
}

/* -- free pages -- */

/* No part behind the top: so there is an end to them. */
static int see_node(void *arg, unsigned level, uint64_t index, uint64_t link)
{
    struct checker *checker = arg;
    uint64_t pages = checker->state->version.top / HF_REGION_PAGE;

    if (index > pages >> HF_RUNS_FAN_BITS * level || !readable(checker, link, sizeof(struct hf_runs_block)))
        return wrong(checker, "the free pages lead nowhere", link);
    return 0;
}

static int see_pages(void *arg, uint64_t at, uint64_t count)
{
    struct checker *checker = arg;
    uint64_t pages = checker->state->version.top / HF_REGION_PAGE;

    if (at < HF_REGION_HEAP_AT / HF_REGION_PAGE || at > pages || count > pages - at)
        return wrong(checker, "a free page outside the heap", at * HF_REGION_PAGE);
    for (uint64_t page = at; page < at + count; page++)
        checker->free_pages[page / 8] |= (unsigned char)(1u << page % 8);
    return 0;
}

static int reach_node(void *arg, unsigned level, uint64_t index, uint64_t link)
{
    return reach(arg, link, sizeof(struct hf_runs_block), HF_KIND_TABLE);
}

static int no_pages(void *arg, uint64_t at, uint64_t count)
{
    return 0;
}

static int visit_free(struct checker *checker, int (*node)(void *, unsigned, uint64_t, uint64_t),
                      int (*pages)(void *, uint64_t, uint64_t))
{
    const struct hf_runs_visitor visitor = {node, pages, checker};
    int status = hf_heap_runs_visit(&checker->region->txn, &visitor);

    if (status == HF_CORRUPT && checker->fault.what == NULL)
        return wrong(checker, "the sums of free pages are wrong", 0);
    return status;
}

/* What has no header. */
static int collect_free(struct checker *checker)
{
    size_t size = (size_t)(checker->state->version.top / HF_REGION_PAGE / 8 + 1);

    checker->free_pages = hf_alloc(size);
    if (checker->free_pages == NULL)
        return HF_NOMEM;
    memset(checker->free_pages, 0, size);
    int status = visit_free(checker, see_node, see_pages);
    checker->collecting = true;
    if (status == 0)
        status = check_queues(checker);
    checker->collecting = false;
    return status;
}

static int check_tables(struct checker *checker)
{
    const struct hf_heap_state *heap = &checker->state->heap;
    const struct hf_kept_table *kept;
    int status = 0;

    if (heap->spare_count > HF_REGION_SPARES)
        return wrong(checker, "more spare blocks than there is room for", 0);
    for (uint64_t i = 0; status == 0 && i < heap->spare_count; i++)
        status = readable(checker, heap->spares[i], HF_CELLS_SIZE)
                     ? reach(checker, heap->spares[i], HF_CELLS_SIZE, HF_KIND_FREE)
                     : wrong(checker, "a spare block leads nowhere", heap->spares[i]);
    if (status == 0)
        status = visit_free(checker, reach_node, no_pages);
    if (status < 0)
        return status;
    if (hf_kept_table_at(checker->region, &checker->state->version, &kept) < 0)
        return wrong(checker, "the table of kept snapshots is damaged", checker->state->version.kept);
    if (kept == NULL)
        return 0;
    return reach(checker, checker->state->version.kept, hf_kept_table_size(kept->count), HF_KIND_TABLE);
}

/* Every block is live or waits. */
static int check_accounts(struct checker *checker)
{
    for (size_t i = 0; i < checker->run_count; i++) {
        const struct place *place = &checker->runs[i];
        uint64_t at = place->at + first_block(place->code), size = hf_heap_size(place->code);
        for (uint64_t j = 0; j < place->used; j++, at += size) {
            bool live = is_marked(&checker->live, at), waiting = is_marked(&checker->waiting, at);
            if (live && waiting)
                return wrong(checker, "a block is in use and free", at);
            if (!live && !waiting)
                return wrong(checker, "a block is lost", at);
        }
    }
    if (checker->used != checker->state->version.used)
        return wrong(checker, "the bytes in use do not add up", checker->used);
    return 0;
}

static int check_kept(struct checker *checker)
{
    const struct hf_kept_table *table;
    int status = hf_kept_table_at(checker->region, &checker->state->version, &table);

    if (status < 0 || table == NULL)
        return status;
    checker->keeping = true;
    for (uint64_t i = 0; status == 0 && i < table->count; i++) {
        const struct hf_kept *kept = &table->kept[i];
        checker->kept_txid = kept->txid;
        if (kept->txid > checker->txid || memchr(kept->name, '\0', HF_REGION_NAME_SIZE) == NULL)
            return wrong(checker, "a kept snapshot of no version, or without a name", i);
        memset(checker->kept_live.bits, 0, checker->kept_live.size);
        memset(checker->kept_gone.bits, 0, checker->kept_gone.size);
        status = check_queues(checker);
        if (status == 0)
            status = check_trees(checker, kept->trees);
    }
    return status;
}

static int check_super_and_record(struct checker *checker)
{
    const hf_region *region = checker->region;
    const struct hf_superblock *super = hf_region_super(region);
    const struct hf_commit *record = hf_region_commit(region, checker->txid);

    if (super->magic != HF_REGION_MAGIC ||
        super->checksum != hf_checksum64(super, offsetof(struct hf_superblock, checksum), HF_REGION_MAGIC))
        return wrong(checker, "the superblock is damaged", 0);
    if (record->seen.txid != checker->txid || record->txid_again != checker->txid)
        return wrong(checker, "the newest record is damaged", checker->txid);
    return 0;
}

static int check_all(struct checker *checker)
{
    uint64_t top = checker->state->version.top;
    int status = marks_init(&checker->live, top);

    if (status == 0)
        status = marks_init(&checker->waiting, top);
    if (status == 0)
        status = marks_init(&checker->kept_live, top);
    if (status == 0)
        status = marks_init(&checker->kept_gone, top);
    if (status == 0)
        status = check_super_and_record(checker);
    if (status == 0)
        status = collect_free(checker);
    if (status == 0)
        status = check_runs(checker);
    if (status == 0)
        status = check_tables(checker);
    if (status == 0)
        status = check_queues(checker);
    if (status == 0)
        status = check_trees(checker, checker->state->version.trees);
    if (status == 0)
        status = check_accounts(checker);
    if (status == 0)
        status = check_kept(checker);
    return status;
}

int hf_heap_check(hf_txn *txn, hf_region_fault *fault)
{
    struct checker checker = {
        .region = txn->region,
        .state = &txn->state,
        .txid = txn->state.version.txid - 1,
    };
    int status = check_all(&checker);

    hf_free(checker.runs);
    hf_free(checker.free_pages);
    hf_free(checker.large);
    hf_free(checker.live.bits);
    hf_free(checker.waiting.bits);
    hf_free(checker.kept_live.bits);
    hf_free(checker.kept_gone.bits);
    *fault = checker.fault;
    return status;
}

int hf_region_check(hf_region *region, int64_t timeout, hf_region_fault *fault)
{
    hf_region_fault found = {NULL, 0};
    hf_txn *txn;
    int status;

    if (region->file != NULL && hf_file_admit(region) == HF_DENIED) {
        status = hf_file_check_reading(region, timeout, &found);
        if (fault != NULL)
            *fault = found;
        return status;
    }
    status = hf_txn_begin(region, timeout, &txn);
    if (status < 0) {
        if (fault != NULL)
            *fault = (hf_region_fault){status == HF_CORRUPT ? "the newest record is damaged" : NULL, 0};
        return status;
    }
    status = region->home->check(txn, &found);
    hf_txn_abort(txn);
    if (fault != NULL)
        *fault = found;
    return status;
}

int hf_region_stats_get(hf_region *region, hf_region_stats *out)
{
    hf_view view;
    const struct hf_kept_table *kept;
    int status = hf_view_pin(region, &view);

    if (status < 0)
        return status;
    const struct hf_record_seen *seen = hf_region_seen(region, view.version.txid);
    hf_region_stats stats = {
        .txid = view.version.txid,
        .limit = region->limit == UINT64_MAX ? 0 : region->limit,
        .size = atomic_load(&region->size),
        .top = view.version.top,
        /* Of a version or two later, if the writer is fast. */
        .used = atomic_load(&seen->used),
        .parked = atomic_load(&seen->parked),
        .owner_died = atomic_load(&region->lock->owner_died),
        .adopted = atomic_load(&region->lock->adopted),
        .revoked = atomic_load(&region->lock->revoked),
        .slots = atomic_load(&region->lock->slots),
    };
    if (hf_kept_table_at(region, &view.version, &kept) == 0 && kept != NULL)
        stats.kept = (uint32_t)kept->count;
    for (unsigned i = 0; i < HF_REGION_TREES; i++)
        stats.counts[i] = view.version.trees[i].count;
    for (uint32_t i = 0; i < stats.slots && i < HF_REGION_SLOTS_MAX; i++) {
        stats.slots_owned += atomic_load(&region->slots[i].owner) != 0;
        stats.slots_pinned += atomic_load(&region->slots[i].pin) != 0;
        stats.retries += atomic_load(&region->slots[i].retries);
    }
    region->home->stats(region, &stats);
    hf_view_unpin(&view);
    *out = stats;
    return 0;
}

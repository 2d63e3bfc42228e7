/*
 * file_place.c: where a transaction's blocks go.
 *
 *      a page      |live|.....|live live|..|live|.........|live|       what is free of it is an offer (file_space.c)
 *                        ^^^^^           ^^      ^^^^^^^^^
 *
 * What a commit costs is the number of pages that it touches. So blocks are not put where they fit best, but all of a
 * transaction's into as few pages as will do: one that is being filled, if it takes them all; pages in which three eighths or more
 * is free; then pages that have nothing (file_runs.c), one after the other, where a block may lie across two. A file whose pages are
 * all more than half full does not look at holes at all, and grows: that bounds it to about twice what is live.
 * (docs/adr/0004 has the figures.)
 *
 * To fill a hole is to rewrite sectors that hold live blocks, with the same bytes. That assumes powersafe overwrite: a
 * write that is cut short leaves what it did not change. Where a device does not do that, the live blocks' checksums tell.
 *
 * Concurrency: by the holder of the writer's lock. Failure: HF_NOMEM, HF_NOSPACE, HF_LIMIT; the transaction is then
 * given up.
 */
#include "region/file.h"

enum {
    MISSES = 8,            /* blocks that do not fit, before a page is left */
    KEPT_BLOCKS = 1 << 14, /* of a commit, for which the memory is kept */
    TRIMMED = 8,           /* pages that stay open from one commit to the next, or a few more */
    CLOSED_AT = 24,        /* free units of a page that is not worth coming back to */
    ROOMY = 33,            /* units of the largest blocks of the space tree */
};

unsigned hf_offer_free(const struct hf_file_offer *offer)
{
    unsigned count = 0;

    for (unsigned i = 0; i < HF_PAGE_UNITS / 64; i++)
        count += (unsigned)__builtin_popcountll(offer->free[i]);
    return count;
}

/* The runs of free units of a page, in order. */
struct runs {
    unsigned count;
    struct {
        uint16_t at, units;
    } run[HF_PAGE_UNITS / 2];
};

static void find_runs(const struct hf_file_offer *offer, struct runs *out)
{
    unsigned end = UINT32_MAX; /* of the run before */

    out->count = 0;
    for (unsigned word = 0; word < HF_PAGE_UNITS / 64; word++) {
        uint64_t bits = offer->free[word];
        while (bits != 0) {
            unsigned from = (unsigned)__builtin_ctzll(bits);
            uint64_t taken = ~(bits >> from);
            unsigned units = taken == 0 ? 64 : (unsigned)__builtin_ctzll(taken), at = word * 64 + from;
            bits = from + units == 64 ? 0 : bits >> (from + units) << (from + units);
            if (at == end && out->count > 0)
                out->run[out->count - 1].units = (uint16_t)(out->run[out->count - 1].units + units);
            else {
                out->run[out->count].at = (uint16_t)at;
                out->run[out->count++].units = (uint16_t)units;
            }
            end = at + units;
        }
    }
}

/* Takes the first run that will do: its unit in the page, or -1. */
static int take_run(struct runs *runs, unsigned units)
{
    for (unsigned i = 0; i < runs->count; i++) {
        if (runs->run[i].units < units)
            continue;
        int at = runs->run[i].at;
        runs->run[i].at = (uint16_t)(runs->run[i].at + units);
        runs->run[i].units = (uint16_t)(runs->run[i].units - units);
        return at;
    }
    return -1;
}

static unsigned room_of(const struct runs *runs)
{
    unsigned room = 0;

    for (unsigned i = 0; i < runs->count; i++)
        room += runs->run[i].units >= ROOMY ? runs->run[i].units : 0;
    return room;
}

/* What is left of a page, as bits. */
static void set_free(struct hf_open_page *page, const struct runs *runs)
{
    memset(page->offer.free, 0, sizeof page->offer.free);
    page->free = 0;
    for (unsigned i = 0; i < runs->count; i++) {
        for (unsigned unit = runs->run[i].at; unit < runs->run[i].at + runs->run[i].units; unit++)
            page->offer.free[unit / 64] |= UINT64_C(1) << unit % 64;
        page->free += runs->run[i].units;
    }
    page->room = room_of(runs);
}

unsigned hf_offer_room(const struct hf_file_offer *offer)
{
    struct runs runs;

    find_runs(offer, &runs);
    return room_of(&runs);
}

/* -- pages that are being filled -- */

int hf_placer_add_open(struct hf_placer *placer, const struct hf_file_offer *offer)
{
    void *longer = hf_grown(placer->open, &placer->open_room, placer->open_count + 1, sizeof *placer->open);
    if (longer == NULL)
        return HF_NOMEM;
    placer->open = longer;
    placer->open[placer->open_count++] =
        (struct hf_open_page){.offer = *offer, .free = hf_offer_free(offer), .room = hf_offer_room(offer)};
    return 0;
}

unsigned hf_offer_cells(const struct hf_file_offer *offer, struct hf_file_cell out[2])
{
    unsigned count = 0;

    for (size_t half = 0; half < 2; half++) {
        uint64_t units = offer->page * HF_PAGE_UNITS + half * (HF_PAGE_UNITS / 2);
        const uint64_t *bits = &offer->free[2 * half];
        if ((bits[0] | bits[1]) != 0)
            out[count++] = (struct hf_file_cell){hf_piece(units, HF_PIECE_BITS), bits[0], bits[1]};
    }
    return count;
}

/* A page that is left. */
static int close_page(struct hf_placer *placer, size_t index)
{
    struct hf_file_cell cells[2];
    unsigned count = hf_offer_cells(&placer->open[index].offer, cells);
    int status = 0;

    placer->open[index] = placer->open[--placer->open_count];
    for (unsigned i = 0; status == 0 && i < count; i++)
        status = hf_stage_freed(placer->txn, cells[i].piece, cells[i].birth, cells[i].unlink);
    return status;
}

int hf_placer_begin(struct hf_placer *placer, hf_txn *txn)
{
    struct hf_file_state *state = &txn->state.file;
    int status = 0;

    bool known = placer->known != 0 && placer->known + 1 == txn->state.version.txid;

    placer->txn = txn;
    placer->known = 0;
    placer->blocks.count = placer->placed = placer->extent_count = placer->spill_count = 0;
    placer->open_count = known ? state->open_count : 0;
    for (uint32_t i = 0; !known && status == 0 && i < state->open_count && i < HF_FILE_OPEN; i++)
        status = hf_placer_add_open(placer, &state->open[i]);
    state->open_count = 0;
    return status;
}

void hf_placer_free(struct hf_placer *placer)
{
    if (placer == NULL)
        return;
    hf_free(placer->blocks.block);
    hf_free(placer->open);
    hf_free(placer->spill);
    hf_free(placer->extents);
    hf_free(placer->buffer);
    hf_free(placer);
}

void hf_placer_end(struct hf_placer *placer)
{
    if (placer->blocks.room <= KEPT_BLOCKS)
        return;
    hf_free(placer->blocks.block);
    placer->blocks = (struct hf_blocks){0};
}

/* -- what there is to place -- */

static int add(struct hf_placer *placer, uint64_t units, uint64_t size)
{
    struct hf_blocks *blocks = &placer->blocks;

    void *longer = hf_grown(blocks->block, &blocks->room, blocks->count + 1, sizeof *blocks->block);
    if (longer == NULL)
        return HF_NOMEM;
    blocks->block = longer;
    blocks->block[blocks->count++] =
        (struct hf_block){.staged = units, .size = (uint32_t)size, .bin = hf_stage_bin(size)};
    return 0;
}

int hf_placer_add(struct hf_placer *placer, uint64_t link, uint64_t size)
{
    return add(placer, hf_link_units(link), size);
}

static int add_record(struct hf_placer *placer, uint64_t link)
{
    const struct hf_file_record *record = hf_unit_at(placer->txn->region, hf_link_units(link));

    return add(placer, hf_link_units(link), sizeof *record + (uint64_t)record->key_size + record->value_size);
}

/* What is staged is this process's own, and no deeper than a trie. What lies below a block of the file, or of the
 * nursery, is there as well. */
int hf_placer_collect(struct hf_placer *placer, uint64_t link, bool places)
{
    const struct hf_file_home *file = placer->txn->region->file;

    if (link == 0 || !hf_is_staged(file, link))
        return 0;
    const struct hf_file_node *node = hf_unit_at(placer->txn->region, hf_link_units(link));
    uint64_t entries = hf_trie_entry_count(node->maps), children = hf_trie_child_count(node->maps);
    const uint64_t *links = node->slots + entries * hf_entry_words(places);
    int status = 0;
    for (uint64_t i = 0; !places && status == 0 && i < entries; i++)
        if (hf_is_staged(file, node->slots[i]))
            status = add_record(placer, node->slots[i]);
    for (uint64_t i = 0; status == 0 && i < children; i++)
        status = hf_placer_collect(placer, links[i], places);
    return status < 0 ? status : add(placer, hf_link_units(link), hf_file_node_size(node, places));
}

/* -- placing -- */

/* A place is noted in the block itself, for those that link to it. */
static void settle_in(struct hf_placer *placer, struct hf_block *block, uint64_t units)
{
    struct hf_file_table *staged = hf_unit_at(placer->txn->region, block->staged);
    uint64_t taken = hf_block_units(block->size);

    HF_ASSERT(units * HF_UNIT >= HF_FILE_HEAP_AT && units + taken <= placer->txn->state.version.top / HF_UNIT);
    block->place = units;
    staged->mark = units;
    placer->txn->state.version.used += taken * HF_UNIT;
}

/* `last`: the space tree's, for which there are some. */
static int place_extents(struct hf_placer *placer, bool last)
{
    for (size_t i = placer->placed; i < placer->blocks.count; i++) {
        struct hf_block *block = &placer->blocks.block[i];
        uint64_t units = 0;

        if (block->bin <= HF_STAGE_SMALL)
            continue;
        HF_ASSERT(!last || (placer->extent_count > 0 && block->bin == HF_STAGE_SMALL + 1));
        int status = 0;
        if (last)
            units = placer->extents[--placer->extent_count];
        else
            status = hf_space_extent(placer->txn, hf_block_units(block->size), &units);
        if (status < 0)
            return status;
        settle_in(placer, block, units);
    }
    return 0;
}

/* Fills a page with blocks that have no place: how many it took. `only_all`: nothing if not all. */
static size_t fill(struct hf_placer *placer, struct hf_open_page *page, bool only_all)
{
    struct runs runs;
    size_t first = placer->placed, took = 0;
    unsigned misses = 0;

    while (first < placer->blocks.count && placer->blocks.block[first].place != 0)
        first++;
    placer->placed = first;
    find_runs(&page->offer, &runs);
    for (size_t i = first; i < placer->blocks.count && misses < MISSES; i++) {
        struct hf_block *block = &placer->blocks.block[i];
        if (block->place != 0)
            continue;
        int at = take_run(&runs, (unsigned)block->bin);
        misses += at < 0;
        if (at < 0 && only_all)
            return 0;
        if (at >= 0 && !only_all)
            settle_in(placer, block, page->offer.page * HF_PAGE_UNITS + (unsigned)at);
        took += at >= 0;
    }
    if (only_all)
        return fill(placer, page, false);
    set_free(page, &runs);
    return took;
}

static size_t left(const struct hf_placer *placer, uint64_t *units)
{
    size_t count = 0;

    *units = 0;
    for (size_t i = placer->placed; i < placer->blocks.count; i++) {
        const struct hf_block *block = &placer->blocks.block[i];
        count += block->place == 0;
        *units += block->place == 0 ? (uint64_t)block->bin : 0;
    }
    return count;
}

/* One page for all that is left, of those that are being filled. */
static bool place_in_one(struct hf_placer *placer, uint64_t units, bool roomy)
{
    for (size_t i = placer->open_count; i-- > 0;)
        if (placer->open[i].free >= units && (placer->open[i].room > 0) == roomy &&
            fill(placer, &placer->open[i], true) > 0)
            return true;
    return false;
}

/* The same, with another page from a queue. 1, 0 or a failure. */
static int place_in_offer(struct hf_placer *placer, uint64_t units, bool roomy)
{
    struct hf_file_offer offer;
    int more = hf_space_take_offer(placer->txn, roomy ? HF_QUEUE_ROOMY : HF_QUEUE_OFFERS, &offer);

    if (more <= 0)
        return more;
    int status = hf_placer_add_open(placer, &offer);
    return status < 0 ? status : place_in_one(placer, units, roomy);
}

/* What is little goes to one page, if there is such: one that is in use before another one, and one that has no room for
 * the space tree's larger blocks before one that has. */
static int place_few(struct hf_placer *placer, uint64_t units, bool last)
{
    if (last)
        return place_in_one(placer, units, true) || place_in_one(placer, units, false);
    for (int roomy = 0; roomy <= 1; roomy++) {
        if (place_in_one(placer, units, roomy))
            return 1;
        int done = place_in_offer(placer, units, roomy);
        if (done != 0)
            return done;
    }
    return 0;
}

/* Takes a page of either queue. */
static int take_any(struct hf_placer *placer, struct hf_file_offer *out)
{
    int more = hf_space_take_offer(placer->txn, HF_QUEUE_OFFERS, out);

    return more == 0 ? hf_space_take_offer(placer->txn, HF_QUEUE_ROOMY, out) : more;
}

/* The page with the most room, of those with enough to be worth it; open_count: there is none. */
static size_t roomiest(const struct hf_placer *placer)
{
    size_t best = placer->open_count;
    unsigned most = CLOSED_AT;

    for (size_t i = placer->open_count; i-- > 0;) {
        unsigned room = placer->open[i].free;
        if (room > most) {
            most = room;
            best = i;
        }
    }
    return best;
}

/* All that is left, in pages that have nothing. What is over of the last page is the next one to be filled. */
static int place_fresh(struct hf_placer *placer, uint64_t units, bool last)
{
    uint64_t at;
    int status = hf_file_pages(placer->txn, units, last, &at);

    if (status < 0)
        return status;
    for (size_t i = placer->placed; i < placer->blocks.count; i++) {
        struct hf_block *block = &placer->blocks.block[i];
        if (block->place != 0)
            continue;
        settle_in(placer, block, at);
        at += (uint64_t)block->bin;
    }
    placer->placed = placer->blocks.count;
    if (at % HF_PAGE_UNITS == 0)
        return 0;
    struct hf_file_offer rest = {.page = at / HF_PAGE_UNITS};
    for (uint64_t i = at % HF_PAGE_UNITS; i < HF_PAGE_UNITS; i++)
        rest.free[i / 64] |= UINT64_C(1) << i % 64;
    return hf_placer_add_open(placer, &rest);
}

/* The space tree's blocks: wherever they fit of what hf_space_settle has seen to. */
static void place_last(struct hf_placer *placer)
{
    for (int roomy = 1; roomy >= 0; roomy--)
        for (size_t i = placer->open_count; i-- > 0 && placer->placed < placer->blocks.count;)
            if ((placer->open[i].room > 0) == roomy)
                fill(placer, &placer->open[i], false);
}

/* Pages that are being filled, one after the other, then the offers. */
static int place_in_pages(struct hf_placer *placer)
{
    while (placer->placed < placer->blocks.count) {
        size_t index = roomiest(placer);
        struct hf_file_offer offer;
        if (index == placer->open_count) {
            int more = take_any(placer, &offer);
            if (more == 1)
                more = hf_placer_add_open(placer, &offer);
            else if (more == 0)
                return 0;
            if (more < 0)
                return more;
            continue;
        }
        size_t took = fill(placer, &placer->open[index], false);
        bool poor = placer->open[index].free <= CLOSED_AT;
        /* What takes nothing of what is left will not take it later either. */
        int status = took == 0 || poor ? close_page(placer, index) : 0;
        if (status < 0)
            return status;
    }
    return 0;
}

int hf_placer_place(struct hf_placer *placer, bool last)
{
    uint64_t units;
    int status = place_extents(placer, last);

    if (status == 0 && left(placer, &units) > 0 && units <= HF_PAGE_UNITS)
        status = place_few(placer, units, last);
    status = status > 0 ? 0 : status;
    if (status == 0 && left(placer, &units) > 0 && last)
        place_last(placer);
    else if (status == 0 && units > 0)
        status = place_in_pages(placer);
    if (status == 0 && left(placer, &units) > 0)
        status = place_fresh(placer, units, last);
    placer->placed = placer->blocks.count;
    return status;
}

/* -- the end -- */

/* The roomiest first: so what is little goes to the page that it fills best (place_in_one). They are few, and mostly in
 * order. */
static void sort_pages(struct hf_placer *placer)
{
    for (size_t i = 1; i < placer->open_count; i++) {
        struct hf_open_page page = placer->open[i];
        size_t at = i;
        for (; at > 0 && placer->open[at - 1].free < page.free; at--)
            placer->open[at] = placer->open[at - 1];
        placer->open[at] = page;
    }
}

int hf_placer_trim(struct hf_placer *placer)
{
    int status = 0;

    sort_pages(placer);
    while (status == 0 && placer->open_count > 0) {
        if (placer->open_count <= TRIMMED && placer->open[placer->open_count - 1].free > CLOSED_AT)
            return 0;
        status = close_page(placer, placer->open_count - 1);
    }
    return status;
}

static int spill(struct hf_placer *placer, const struct hf_file_cell *cell)
{
    void *longer = hf_grown(placer->spill, &placer->spill_room, placer->spill_count + 1, sizeof *placer->spill);
    if (longer == NULL)
        return HF_NOMEM;
    placer->spill = longer;
    placer->spill[placer->spill_count++] = *cell;
    return 0;
}

/* To the record, or where that is full to the next commit. */
static int leave(struct hf_placer *placer, const struct hf_file_cell *cell)
{
    struct hf_file_state *state = &placer->txn->state.file;

    /* One is left for the place of a manifest. */
    if (state->recent_count >= HF_FILE_RECENT - 1)
        return spill(placer, cell);
    state->recent[state->recent_count++] = *cell;
    return 0;
}

int hf_placer_finish(struct hf_placer *placer)
{
    struct hf_file_state *state = &placer->txn->state.file;
    int status = 0;

    while (status == 0 && placer->extent_count > 0) {
        uint64_t count = hf_extent_count(hf_block_units(HF_SPACE_LARGE));
        struct hf_file_cell cell = {.piece = hf_piece(placer->extents[--placer->extent_count], count)};
        status = leave(placer, &cell);
    }
    sort_pages(placer);
    /* One is left for the page that a spill begins. */
    while (placer->open_count > HF_FILE_OPEN - 1) {
        struct hf_file_cell cells[2];
        unsigned count = hf_offer_cells(&placer->open[--placer->open_count].offer, cells);
        for (unsigned i = 0; status == 0 && i < count; i++)
            status = leave(placer, &cells[i]);
        if (status < 0)
            return status;
    }
    if (status < 0)
        return status;
    state->open_count = (uint32_t)placer->open_count;
    for (size_t i = 0; i < placer->open_count; i++)
        state->open[i] = placer->open[i].offer;
    return 0;
}

/*
 * file_space.c: what of a file is free, and may be written over.
 *
 *      freed in a transaction ---> recent ---> WAITING --- held by a pin ---> PARKED
 *                                  (record)       |                             | the pins are others
 *                                                 v  what is free for all  <----'
 *                                        a zone's cells
 *                                                 |  a fold of the zone: three eighths of a page or more is free
 *                                                 v
 *                                       OFFERS, ROOMY ---> open pages (record) ---> filled
 *
 *      extents (blocks of more than 4 KiB) become part of a free run as soon as they are free for all (file_runs.c).
 *
 * All of it but what the record has itself is in a tree of the region's own, the space tree, with keys of 8 bytes:
 *
 *      WAITING n, PARKED n      cells                 queues: entries head .. tail - 1
 *      OFFERS n, ROOMY n        pages                 the same; `offer_index` of the first entry are taken already. In
 *                                                     a roomy one half a KiB is free in one piece
 *      ZONE z                   hf_zone               4 MiB of the file: where its cells are
 *      CELLS z, n               cells                 what is free in it and not offered
 *      RUNS level, index        bits, sums            runs of free space, for extents
 *
 * So it is written, checked, verified and recovered like everything else. An entry has up to 20 cells (12 pages), and
 * fits where other blocks fit; or, where many are written at once, it is filled up to the size of the smallest extent,
 * and so is its block used again by the next such entry, without pieces.
 *
 * When it is looked at. Where much has come together, by number or, of extents, by size: one that is replaced again and
 * again would else take a file's size for each of the commits until then.
 *
 * What it costs. A commit frees some six pieces: once in seven commits an entry or two go to the queue. Now and then
 * (hf_space_look) what has become free goes to its zones, an entry each; and when a zone has got as many new cells as
 * it has pages, all it has is read, and what is not worth an offer is written anew, half a page a cell (`fold`).
 *
 * When a piece is free. What was born in b and unlinked in f is part of the versions b .. f - 1. It becomes free when
 * none of those is pinned or kept, none is the last durable one (D), and f is published. What is of the space tree is
 * read by nobody but writers, so only D counts. While somebody reads without a slot, nothing becomes free.
 *
 * To change the space tree is to free blocks of it. That comes to an end: entries take away more than their own paths
 * bring.
 *
 * Invariants
 *  S1  A queue has an entry for each number from its head to its tail, and no other.
 *  S2  A look writes again what was WAITING; of what is PARKED, an entry one of whose cells is free now (and one more for
 *      each such entry, to close up: S1), and the last one, if there is room in it. What the oldest pin holds is parked in
 *      entries of its own: so it is written once, as long as that pin is there, however many others come and go. Where
 *      pins differ from those of the look before, all that is parked is read, 24 bytes a cell. (20,000 commits beside a
 *      long pin, and a short one for each 50 of them: 18,892 entries and 212 MB were written when all was written
 *      again, and now 551 and 112 MB; 107 MB with the long pin alone.)
 *
 * Concurrency: by the holder of the writer's lock. Failure: HF_NOMEM, HF_CORRUPT; the transaction is then given up.
 */
#include "region/file.h"

#include <stdlib.h>

enum {
    DRAINED = 2 * HF_CELLS_AN_ENTRY,   /* cells of the record's own that are too many */
    ZONE_CELLS = 200,                  /* new cells a zone, that make it time to look at those that wait, */
    WAITING_MOST = 1 << 18,            /* and in all */
    LARGE_LEAST = (1 << 20) / HF_UNIT, /* in extents that were freed, and an eighth of what is used, do that too */
    FOLD_LEAST = 256,                  /* new cells that make a zone worth a fold */
};

/* -- the space tree -- */

static hf_key key_of(const uint64_t *number)
{
    return (hf_key){hf_hash_u64(*number, HF_FILE_MAGIC), number, sizeof *number};
}

int hf_space_get(hf_txn *txn, uint64_t number, hf_span *value)
{
    hf_key key = key_of(&number);
    return txn->region->ops->txn_get(txn, HF_REGION_SPACE_TREE, &key, value);
}

int hf_space_look_up(const hf_view *view, uint64_t number, hf_span *value)
{
    hf_key key = key_of(&number);
    return view->region->ops->get(view->region, &view->version, 0, &key, value);
}

int hf_space_put(hf_txn *txn, uint64_t number, const void *value, size_t size)
{
    hf_key key = key_of(&number);
    int status = hf_txn_prepare(txn);

    if (status < 0)
        return status;
    txn->region->file->stage.internal = true;
    status = txn->region->ops->put(txn, HF_REGION_SPACE_TREE, &key, value, size);
    txn->region->file->stage.internal = false;
    return status < 0 ? status : 0;
}

int hf_space_remove(hf_txn *txn, uint64_t number)
{
    hf_key key = key_of(&number);
    int status = hf_txn_prepare(txn);

    if (status < 0)
        return status;
    txn->region->file->stage.internal = true;
    status = txn->region->ops->remove(txn, HF_REGION_SPACE_TREE, &key);
    txn->region->file->stage.internal = false;
    return status == 0 ? HF_CORRUPT : status < 0 ? status : 0;
}

/* -- queues -- */

/* Copies an entry of elements of this size, the first word of each of which is not 0: how many there are. */
static int entry_of(hf_txn *txn, uint64_t number, union hf_space_entry *out, size_t element)
{
    hf_span value;
    int found = hf_space_get(txn, number, &value);

    if (found < 0)
        return found;
    if (found == 0 || value.size < element || value.size > sizeof *out)
        return HF_CORRUPT;
    memcpy(out, value.bytes, value.size);
    int count = (int)(value.size / element);
    while (count > 0 && *(const uint64_t *)(const void *)(out->bytes + (size_t)(count - 1) * element) == 0)
        count--;
    return count > 0 ? count : HF_CORRUPT;
}

/* Writes one: as it is if it is small, else filled up. */
static int put_entry(hf_txn *txn, uint64_t number, union hf_space_entry *entry, size_t size)
{
    if (size > HF_CELLS_AN_ENTRY * sizeof(struct hf_file_cell)) {
        memset(entry->bytes + size, 0, sizeof *entry - size);
        size = sizeof *entry;
    }
    return hf_space_put(txn, number, entry, size);
}

/* The first entry of a queue: 0, it is empty. */
static int first_of(hf_txn *txn, enum hf_file_queue_name name, union hf_space_entry *out, size_t element)
{
    const struct hf_file_queue *queue = &txn->state.file.queues[name];

    if (queue->head == queue->tail)
        return 0;
    return entry_of(txn, hf_space_key((enum hf_space_kind)name, queue->head), out, element);
}

/* Appends an entry of so many bytes. */
static int push(hf_txn *txn, enum hf_file_queue_name name, union hf_space_entry *entry, size_t size)
{
    struct hf_file_queue *queue = &txn->state.file.queues[name];
    int status = put_entry(txn, hf_space_key((enum hf_space_kind)name, queue->tail), entry, size);

    if (status < 0)
        return status;
    queue->tail++;
    return 0;
}

static int pop(hf_txn *txn, enum hf_file_queue_name name)
{
    struct hf_file_queue *queue = &txn->state.file.queues[name];
    int status = hf_space_remove(txn, hf_space_key((enum hf_space_kind)name, queue->head));

    if (status == 0)
        queue->head++;
    return status;
}

/* -- offers -- */

/* Is this a page of the heap? */
static bool is_page(const hf_txn *txn, uint64_t page)
{
    return page >= HF_FILE_HEAP_AT / HF_REGION_PAGE && page < txn->state.version.top / HF_REGION_PAGE;
}

int hf_space_take_offer(hf_txn *txn, enum hf_file_queue_name name, struct hf_file_offer *out)
{
    struct hf_file_state *state = &txn->state.file;
    union hf_space_entry entry;
    uint64_t *index = &state->offer_index[name - HF_QUEUE_OFFERS];

    int count = first_of(txn, name, &entry, sizeof *out);
    if (count <= 0)
        return count;
    if (*index >= (uint64_t)count || !is_page(txn, entry.pages[*index].page))
        return HF_CORRUPT;
    *out = entry.pages[(*index)++];
    state->offers[name - HF_QUEUE_OFFERS]--;
    if (*index == (uint64_t)count) {
        int status = pop(txn, name);
        if (status < 0)
            return status;
        *index = 0;
    }
    return 1;
}

/* -- the record's own cells -- */

int hf_space_begin(hf_txn *txn)
{
    struct hf_file_state *state = &txn->state.file;
    uint64_t now = txn->state.version.txid;
    int status = 0;

    if (state->open_count > HF_FILE_OPEN || state->recent_count > HF_FILE_RECENT)
        return HF_CORRUPT;
    if (state->spill_count == 0)
        return 0;
    uint64_t top = txn->state.version.top / HF_UNIT,
             count = hf_units(state->spill_count * sizeof(struct hf_file_cell));
    if (state->spill < HF_FILE_HEAP_AT / HF_UNIT || state->spill_count > top || count > top - state->spill)
        return HF_CORRUPT;
    const struct hf_file_cell *cells = hf_unit_at(txn->region, state->spill);
    if (hf_checksum64(cells, state->spill_count * sizeof *cells, state->spill) != state->spill_checksum)
        return HF_CORRUPT;
    for (uint64_t i = 0; status == 0 && i < state->spill_count; i++)
        status = hf_stage_freed(txn, cells[i].piece, cells[i].birth, cells[i].unlink);
    /* It is part of every version up to now for all we know. */
    if (status == 0)
        status = hf_stage_freed(txn, hf_piece(state->spill, count), HF_CELL_INTERNAL, now);
    state->spill = state->spill_count = state->spill_checksum = 0;
    return status;
}

/* Of an extent: its units; else 0. */
static uint64_t large_units(const struct hf_file_cell *cell)
{
    uint64_t count = cell->piece >> 40;

    return (count & HF_PIECE_EXTENT) == 0 ? 0 : hf_extent_units(count);
}

/* Moves what was freed to the record, and the oldest of that to the queue. */
static int drain(hf_txn *txn)
{
    struct hf_file_state *state = &txn->state.file;
    struct hf_stage *stage = &txn->region->file->stage;

    while (stage->freed_count > 0 || state->recent_count >= DRAINED) {
        while (stage->freed_count > 0 && state->recent_count < HF_FILE_RECENT) {
            const struct hf_file_cell *freed = &stage->freed[--stage->freed_count];
            txn->region->file->large_freed += large_units(freed);
            state->recent[state->recent_count++] = *freed;
        }
        if (state->recent_count < DRAINED)
            break;
        union hf_space_entry entry;
        size_t size = HF_CELLS_AN_ENTRY * sizeof *entry.cells;
        memcpy(entry.cells, state->recent, size);
        state->recent_count -= HF_CELLS_AN_ENTRY;
        memmove(state->recent, state->recent + HF_CELLS_AN_ENTRY, state->recent_count * sizeof *entry.cells);
        int status = push(txn, HF_QUEUE_WAITING, &entry, size);
        if (status < 0)
            return status;
        state->waiting += HF_CELLS_AN_ENTRY;
    }
    return 0;
}

/* -- looking at what waits -- */

/* Elements on their way into entries of a queue. */
struct batch {
    union hf_space_entry entry;
    unsigned count;
};

struct fold {
    hf_txn *txn;
    uint64_t durable;
    bool readers;              /* somebody reads without a slot */
    struct hf_file_cell *free; /* cells that are free for all, and no extents */
    size_t count, room;
    struct batch batches[HF_FILE_QUEUES];
    struct batch lasting; /* of PARKED as well: what the oldest pin holds */
    struct batch cells;   /* of the zone at hand */
    uint64_t *gone;       /* entries that were taken out of the queue at hand: their numbers */
    size_t gone_count, gone_room;
    uint64_t bits[HF_ZONE_PAGES][HF_PAGE_UNITS / 64];
};

static size_t element_of(enum hf_file_queue_name name)
{
    return name < HF_QUEUE_OFFERS ? sizeof(struct hf_file_cell) : sizeof(struct hf_file_offer);
}

static int flush_batch(struct fold *fold, enum hf_file_queue_name name, struct batch *batch)
{
    struct hf_file_state *state = &fold->txn->state.file;
    unsigned count = batch->count;

    batch->count = 0;
    if (count == 0)
        return 0;
    if (name == HF_QUEUE_WAITING)
        state->waiting += count;
    else if (name == HF_QUEUE_PARKED)
        fold->txn->state.version.parked += count;
    else
        state->offers[name - HF_QUEUE_OFFERS] += count;
    return push(fold->txn, name, &batch->entry, count * element_of(name));
}

static int put_in(struct fold *fold, enum hf_file_queue_name name, struct batch *batch, const void *element)
{
    size_t size = element_of(name);

    memcpy(batch->entry.bytes + batch->count++ * size, element, size);
    return (batch->count + 1) * size > sizeof batch->entry ? flush_batch(fold, name, batch) : 0;
}

static int put_in_batch(struct fold *fold, enum hf_file_queue_name name, const void *element)
{
    return put_in(fold, name, &fold->batches[name], element);
}

/* Which queue must this wait in? -1: none. */
static int held_by(const struct fold *fold, const struct hf_file_cell *cell)
{
    bool internal = (cell->birth & HF_CELL_INTERNAL) != 0;
    struct hf_cell as = {.birth = cell->birth & ~HF_CELL_INTERNAL, .unlink = cell->unlink};
    uint64_t now = fold->txn->state.version.txid;

    if (cell->unlink == 0 || (cell->piece >> 40 & HF_PIECE_BITS) != 0)
        return -1;
    if (cell->unlink >= now)
        return HF_QUEUE_WAITING;
    if (as.birth <= fold->durable && fold->durable < cell->unlink && !HF_SABOTAGE(recycled_durable))
        return HF_QUEUE_WAITING;
    if (internal)
        return -1;
    if (fold->readers || hf_scan_too_fresh(&fold->txn->scan, &as))
        return HF_QUEUE_WAITING;
    return hf_scan_pinned(&fold->txn->scan, &as) && !HF_SABOTAGE(recycled_soon) ? HF_QUEUE_PARKED : -1;
}

/* Does the oldest pin hold it? Then it stays as long as that does, whatever becomes of the others. */
static bool is_lasting(const struct fold *fold, const struct hf_file_cell *cell)
{
    const struct hf_scan *scan = &fold->txn->scan;

    return scan->count > 0 && cell->birth <= scan->pins[0] && scan->pins[0] < cell->unlink;
}

static int add_free(struct fold *fold, const struct hf_file_cell *cell)
{
    void *longer = hf_grown(fold->free, &fold->room, fold->count + 1, sizeof *fold->free);
    if (longer == NULL)
        return HF_NOMEM;
    fold->free = longer;
    fold->free[fold->count++] = *cell;
    return 0;
}

/* A cell that is free for all: a piece within one zone each. */
static int add_piece(struct fold *fold, const struct hf_file_cell *cell)
{
    uint64_t units = hf_link_units(cell->piece), count = cell->piece >> 40,
             top = fold->txn->state.version.top / HF_UNIT;
    bool bits = (count & HF_PIECE_BITS) != 0;
    int status = 0;

    if (bits)
        count = HF_PAGE_UNITS / 2;
    if (count == 0 || units < HF_FILE_HEAP_AT / HF_UNIT || units >= top || count > top - units ||
        (bits && units % (HF_PAGE_UNITS / 2) != 0))
        return HF_CORRUPT;
    if (bits)
        return add_free(fold, cell);
    while (status == 0 && count > 0) {
        uint64_t part = HF_ZONE_UNITS - units % HF_ZONE_UNITS;
        part = part < count ? part : count;
        status = add_free(fold, &(struct hf_file_cell){.piece = hf_piece(units, part)});
        units += part;
        count -= part;
    }
    return status;
}

static int sort_out(struct fold *fold, const struct hf_file_cell *cell)
{
    uint64_t large = large_units(cell);
    int queue = held_by(fold, cell);

    if (queue == HF_QUEUE_PARKED && is_lasting(fold, cell))
        return put_in(fold, HF_QUEUE_PARKED, &fold->lasting, cell);
    if (queue >= 0)
        return put_in_batch(fold, (enum hf_file_queue_name)queue, cell);
    return large == 0 ? add_piece(fold, cell) : hf_file_runs_free(fold->txn, hf_link_units(cell->piece), large);
}

/* Extents that the record itself has: a few of them may be much. */
static int look_at_recent(struct fold *fold)
{
    struct hf_file_state *state = &fold->txn->state.file;
    uint32_t kept = 0;
    int status = 0;

    for (uint32_t i = 0; i < state->recent_count; i++) {
        struct hf_file_cell cell = state->recent[i];
        if (status == 0 && large_units(&cell) > 0 && held_by(fold, &cell) < 0)
            status = sort_out(fold, &cell);
        else
            state->recent[kept++] = cell;
    }
    state->recent_count = kept;
    return status;
}

/* Takes an entry out of a queue, and each of its cells to where it belongs now. */
static int take_out(struct fold *fold, enum hf_file_queue_name name, uint64_t number,
                    const union hf_space_entry *entry, int count)
{
    hf_txn *txn = fold->txn;
    int status = hf_space_remove(txn, hf_space_key((enum hf_space_kind)name, number));
    void *longer = hf_grown(fold->gone, &fold->gone_room, fold->gone_count + 1, sizeof *fold->gone);

    if (longer == NULL)
        return HF_NOMEM;
    fold->gone = longer;
    fold->gone[fold->gone_count++] = number;
    if (name == HF_QUEUE_WAITING)
        txn->state.file.waiting -= (uint64_t)count;
    else
        txn->state.version.parked -= (uint64_t)count;
    for (int i = 0; status == 0 && i < count; i++)
        status = sort_out(fold, &entry->cells[i]);
    return status;
}

/* The first entries of a queue go to the places of those that were taken out, so that it has no holes. */
static int close_up(struct fold *fold, enum hf_file_queue_name name)
{
    struct hf_file_queue *queue = &fold->txn->state.file.queues[name];
    uint64_t head = queue->head + fold->gone_count;
    size_t next = 0, hole = fold->gone_count;
    union hf_space_entry entry;

    for (; queue->head < head; queue->head++) {
        uint64_t from = hf_space_key((enum hf_space_kind)name, queue->head);
        if (next < fold->gone_count && fold->gone[next] == queue->head) {
            next++;
            continue;
        }
        int count = entry_of(fold->txn, from, &entry, sizeof *entry.cells);
        int status = count < 0 ? count : hf_space_remove(fold->txn, from);
        if (status == 0)
            status = put_entry(fold->txn, hf_space_key((enum hf_space_kind)name, fold->gone[--hole]), &entry,
                               (size_t)count * sizeof *entry.cells);
        if (status < 0)
            return status;
    }
    return 0;
}

/* Looks at all that is in a queue now. Where all of a parked entry must stay it is left where it is: S2. */
static int sift_queue(struct fold *fold, enum hf_file_queue_name name)
{
    hf_txn *txn = fold->txn;
    union hf_space_entry entry;
    uint64_t end = txn->state.file.queues[name].tail;

    fold->gone_count = 0;
    for (uint64_t number = txn->state.file.queues[name].head; number != end; number++) {
        int count = entry_of(txn, hf_space_key((enum hf_space_kind)name, number), &entry, sizeof *entry.cells);
        int stay = 0;
        while (name == HF_QUEUE_PARKED && stay < count && held_by(fold, &entry.cells[stay]) == HF_QUEUE_PARKED)
            stay++;
        int status = count < 0 ? count : stay == count ? 0 : take_out(fold, name, number, &entry, count);
        if (status < 0)
            return status;
    }
    return close_up(fold, name);
}

/* The last entry of what is parked goes on, if there is room in it: what each look finds would else take an entry of its
 * own. */
static int reopen_parked(struct fold *fold)
{
    hf_txn *txn = fold->txn;
    struct hf_file_queue *queue = &txn->state.file.queues[HF_QUEUE_PARKED];
    union hf_space_entry entry;

    if (queue->head == queue->tail || fold->readers)
        return 0;
    uint64_t last = hf_space_key(HF_SPACE_PARKED, queue->tail - 1);
    int count = entry_of(txn, last, &entry, sizeof *entry.cells);
    if (count < 0 || count == HF_CELLS_LARGE)
        return count < 0 ? count : 0;
    int status = hf_space_remove(txn, last);
    if (status < 0)
        return status;
    queue->tail--;
    txn->state.version.parked -= (uint64_t)count;
    for (int i = 0; status == 0 && i < count; i++)
        status = sort_out(fold, &entry.cells[i]);
    return status;
}

/* -- zones -- */

static int zone_read(hf_txn *txn, uint64_t number, struct hf_zone *out)
{
    hf_span value;
    int found = hf_space_get(txn, hf_space_key(HF_SPACE_ZONE, number), &value);

    *out = (struct hf_zone){0};
    if (found > 0 && value.size != sizeof *out)
        return HF_CORRUPT;
    if (found > 0)
        memcpy(out, value.bytes, sizeof *out);
    return found < 0 ? found : 0;
}

static uint64_t cells_key(uint64_t zone, uint64_t n)
{
    return hf_space_key(HF_SPACE_CELLS, zone << 24 | (n & 0xffffff));
}

static int flush_cells(struct fold *fold, uint64_t number, struct hf_zone *zone)
{
    unsigned count = fold->cells.count;

    fold->cells.count = 0;
    if (count == 0)
        return 0;
    return put_entry(fold->txn, cells_key(number, zone->tail++), &fold->cells.entry,
                     count * sizeof(struct hf_file_cell));
}

static int put_in_zone(struct fold *fold, uint64_t number, struct hf_zone *zone, const struct hf_file_cell *cell)
{
    fold->cells.entry.cells[fold->cells.count++] = *cell;
    return fold->cells.count == HF_CELLS_LARGE ? flush_cells(fold, number, zone) : 0;
}

/* A unit that is free already was freed twice: of a damaged file. */
static int set_word(struct fold *fold, uint64_t at, uint64_t mask)
{
    uint64_t *word = &fold->bits[at / HF_PAGE_UNITS][at % HF_PAGE_UNITS / 64];

    if ((*word & mask) != 0)
        return HF_CORRUPT;
    *word |= mask;
    return 0;
}

static int set_bits(struct fold *fold, const struct hf_file_cell *cell)
{
    uint64_t at = hf_link_units(cell->piece) % HF_ZONE_UNITS, count = cell->piece >> 40;
    int status = 0;

    if ((count & HF_PIECE_BITS) != 0) {
        if (at % (HF_PAGE_UNITS / 2) != 0)
            return HF_CORRUPT;
        status = set_word(fold, at, cell->birth);
        return status < 0 ? status : set_word(fold, at + 64, cell->unlink);
    }
    if (at + count > HF_ZONE_UNITS)
        return HF_CORRUPT;
    for (uint64_t part; status == 0 && count > 0; at += part, count -= part) {
        part = 64 - at % 64 < count ? 64 - at % 64 : count;
        status = set_word(fold, at, UINT64_MAX >> (64 - part) << at % 64);
    }
    return status;
}

/* A durable commit is to find room for all of it in one page. Where many are placed at once, it is no matter in how many. */
static unsigned offer_least(const struct fold *fold)
{
    return fold->txn->region->file->level == HF_REGION_FULL ? HF_OFFER_LEAST : HF_OFFER_LEAST_OF_MANY;
}

/* Offers a page that has become worth it, or notes what is free of it. */
static int sort_page(struct fold *fold, uint64_t number, struct hf_zone *zone, uint64_t page)
{
    struct hf_file_offer offer = {.page = number * HF_ZONE_PAGES + page};
    struct hf_file_cell cells[2];
    int status = 0;

    memcpy(offer.free, fold->bits[page], sizeof offer.free);
    if (hf_offer_free(&offer) >= offer_least(fold))
        return put_in_batch(fold, hf_offer_room(&offer) > 0 ? HF_QUEUE_ROOMY : HF_QUEUE_OFFERS, &offer);
    unsigned count = hf_offer_cells(&offer, cells);
    for (unsigned i = 0; status == 0 && i < count; i++)
        status = put_in_zone(fold, number, zone, &cells[i]);
    return status;
}

/* Reads all that is known of a zone, and writes what remains. */
static int fold_zone(struct fold *fold, uint64_t number, struct hf_zone *zone, const struct hf_file_cell *fresh,
                     size_t count)
{
    union hf_space_entry entry;
    int status = 0;

    memset(fold->bits, 0, sizeof fold->bits);
    for (size_t i = 0; status == 0 && i < count; i++)
        status = set_bits(fold, &fresh[i]);
    for (; status == 0 && zone->head != zone->tail; zone->head++) {
        int cells = entry_of(fold->txn, cells_key(number, zone->head), &entry, sizeof *entry.cells);
        status = cells < 0 ? cells : hf_space_remove(fold->txn, cells_key(number, zone->head));
        for (int i = 0; status == 0 && i < cells; i++)
            status = hf_link_units(entry.cells[i].piece) / HF_ZONE_UNITS != number ? HF_CORRUPT
                                                                                   : set_bits(fold, &entry.cells[i]);
    }
    for (uint64_t page = 0; status == 0 && page < HF_ZONE_PAGES; page++)
        status = sort_page(fold, number, zone, page);
    zone->fresh = 0;
    return status;
}

/* New cells of one zone. */
static int give_to_zone(struct fold *fold, uint64_t number, const struct hf_file_cell *cells, size_t count)
{
    struct hf_zone zone;
    uint64_t pages = fold->txn->state.version.top / HF_REGION_PAGE - number * HF_ZONE_PAGES;
    int status = zone_read(fold->txn, number, &zone);

    pages = pages < FOLD_LEAST ? FOLD_LEAST : pages > HF_ZONE_PAGES ? HF_ZONE_PAGES : pages;
    if (status < 0)
        return status;
    zone.fresh += count;
    if (zone.fresh >= pages)
        status = fold_zone(fold, number, &zone, cells, count);
    else
        for (size_t i = 0; status == 0 && i < count; i++)
            status = put_in_zone(fold, number, &zone, &cells[i]);
    if (status == 0)
        status = flush_cells(fold, number, &zone);
    if (status < 0)
        return status;
    return hf_space_put(fold->txn, hf_space_key(HF_SPACE_ZONE, number), &zone, sizeof zone);
}

static int compare_cells(const void *a, const void *b)
{
    uint64_t left = hf_link_units(((const struct hf_file_cell *)a)->piece);
    uint64_t right = hf_link_units(((const struct hf_file_cell *)b)->piece);
    return (left > right) - (left < right);
}

static int give_to_zones(struct fold *fold)
{
    int status = 0;

    if (fold->count > 0)
        qsort(fold->free, fold->count, sizeof *fold->free, compare_cells);
    for (size_t i = 0, next; status == 0 && i < fold->count; i = next) {
        uint64_t number = hf_link_units(fold->free[i].piece) / HF_ZONE_UNITS;
        for (next = i + 1; next < fold->count; next++)
            if (hf_link_units(fold->free[next].piece) / HF_ZONE_UNITS != number)
                break;
        status = give_to_zone(fold, number, fold->free + i, next - i);
    }
    return status;
}

/* One number for all pins: when it changes, those that were parked are worth another look. */
static uint64_t digest_of_pins(const struct hf_scan *scan)
{
    return hf_hash_bytes(scan->pins, scan->count * sizeof *scan->pins, scan->open) | 1;
}

static int distribute_all(struct fold *fold)
{
    hf_txn *txn = fold->txn;
    struct hf_file_state *state = &txn->state.file;
    uint64_t pins = digest_of_pins(&txn->scan);
    int status = look_at_recent(fold);

    if (status == 0)
        status = reopen_parked(fold);
    if (status == 0)
        status = sift_queue(fold, HF_QUEUE_WAITING);
    if (status == 0 && txn->state.version.parked > 0 && pins != state->parked_pins && !fold->readers) {
        status = sift_queue(fold, HF_QUEUE_PARKED);
        state->parked_pins = pins;
    }
    if (status == 0)
        status = give_to_zones(fold);
    for (int name = 0; status == 0 && name < HF_FILE_QUEUES; name++)
        status = flush_batch(fold, (enum hf_file_queue_name)name, &fold->batches[name]);
    if (status == 0)
        status = flush_batch(fold, HF_QUEUE_PARKED, &fold->lasting);
    return status;
}

/* What holds what, as of now. HF_NOMEM, HF_IO. */
static int begin_fold(hf_txn *txn, struct fold **out)
{
    struct fold *fold = hf_alloc(sizeof *fold);
    int readers = hf_control_readers(txn->region->fd);

    *out = fold;
    if (fold == NULL)
        return HF_NOMEM;
    memset(fold, 0, sizeof *fold);
    fold->txn = txn;
    fold->durable = txn->state.file.durable;
    fold->readers = readers != 0;
    hf_scan_slots(txn);
    return readers < 0 ? readers : 0;
}

static void end_fold(struct fold *fold)
{
    if (fold == NULL)
        return;
    hf_free(fold->free);
    hf_free(fold->gone);
    hf_free(fold);
}

int hf_space_look_at_recent(hf_txn *txn)
{
    struct hf_file_state *state = &txn->state.file;
    uint64_t large = 0;
    struct fold *fold;

    for (uint32_t i = 0; i < state->recent_count && i < HF_FILE_RECENT; i++)
        large += large_units(&state->recent[i]);
    if (large == 0)
        return 0;
    int status = begin_fold(txn, &fold);
    if (status == 0)
        status = look_at_recent(fold);
    end_fold(fold);
    return status;
}

int hf_space_look(hf_txn *txn)
{
    struct hf_file_state *state = &txn->state.file;
    struct fold *fold;

    hf_slots_adopt(txn->region);
    int status = begin_fold(txn, &fold);
    if (status == 0)
        status = distribute_all(fold);
    uint64_t step = (txn->state.version.top / HF_UNIT / HF_ZONE_UNITS + 1) * ZONE_CELLS;
    step = step < HF_CELLS_LARGE ? HF_CELLS_LARGE : step > WAITING_MOST ? WAITING_MOST : step;
    state->fold_at = state->waiting + step;
    txn->region->file->large_freed = 0;
    end_fold(fold);
    return status;
}

/* -- settling -- */

/* Of the pages that the space tree's blocks will surely go to. */
static uint64_t room_in(const struct hf_placer *placer)
{
    uint64_t room = 0;

    for (size_t i = 0; i < placer->open_count; i++)
        room += placer->open[i].room;
    return room;
}

/* Extents for the space tree's large entries. 1: it has taken one; 0: there are enough. */
static int reserve_extent(struct hf_placer *placer)
{
    const struct hf_stage *stage = &placer->txn->region->file->stage;
    uint64_t units;

    if (placer->extent_count >= stage->entries)
        return 0;
    void *longer = hf_grown(placer->extents, &placer->extent_room, placer->extent_count + 1, sizeof *placer->extents);
    if (longer == NULL)
        return HF_NOMEM;
    placer->extents = longer;
    int status = hf_space_extent(placer->txn, hf_block_units(HF_SPACE_LARGE), &units);
    if (status < 0)
        return status;
    placer->extents[placer->extent_count++] = units;
    return 1;
}

static bool is_time_to_look(const hf_txn *txn)
{
    const struct hf_file_state *state = &txn->state.file;
    uint64_t large = txn->region->file->large_freed;

    return (state->waiting >= state->fold_at && state->waiting >= HF_CELLS_LARGE) ||
           (large >= LARGE_LEAST && large >= txn->state.version.used / HF_UNIT / 8);
}

int hf_space_settle(struct hf_placer *placer)
{
    hf_txn *txn = placer->txn;
    const struct hf_stage *stage = &txn->region->file->stage;
    bool done = false;

    for (;;) {
        int status = drain(txn);
        if (status < 0)
            return status;
        if (!done && is_time_to_look(txn)) {
            done = true;
            status = hf_space_look(txn);
            if (status < 0)
                return status;
            continue;
        }
        status = reserve_extent(placer);
        if (status < 0)
            return status;
        if (status > 0)
            continue;
        /* What the space tree's own blocks will need, and a little more, since they will not fit exactly. */
        uint64_t need = stage->internal_units;
        if (need == 0 || room_in(placer) >= need + need / 4 + 64)
            return 0;
        struct hf_file_offer offer;
        int more = hf_space_take_offer(txn, HF_QUEUE_ROOMY, &offer);
        if (more < 0)
            return more;
        if (more == 0) {
            status = hf_file_pages_ready(txn, need);
            if (status <= 0)
                return status;
            continue;
        }
        status = hf_placer_add_open(placer, &offer);
        if (status < 0)
            return status;
    }
}

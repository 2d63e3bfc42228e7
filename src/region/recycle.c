/*
 * recycle.c: the free queues, and which of the blocks in them may be used again.
 *
 *      a queue:   head                                  tail
 *                  |                                     |
 *          [ x x x c c c ] --> [ c c c c c c ] --> [ c c . . . . ]      blocks of 42 cells
 *
 *      a cell:    (block, class, birth b, unlink f): versions b .. f - 1 have the block
 *
 *      ready[class] --- pinned? ---> parked --- a pin is gone ---> ready[class]
 *           |
 *           +--- free of pins ---> used again
 *
 * A block may be used again when no version that has it can be seen any more: its unlinking is published, and no pin
 * (of a reader or a kept snapshot) lies in [b, f).
 *
 * The scan. To look at all slots for each block would cost too much, so a writer looks now and then, and remembers
 * (txid: the newest version when it began; the pins it saw). Such a memory stays right for blocks with f <= txid however
 * old it is: who pins later pins txid or a later version, which does not have the block. (The argument why a reader whom
 * the scan missed gets such a version is in slots.c.) It can only be too careful, when pins have gone since. Kept
 * snapshots count as they were published when the scan began. (hf_region_oldest_pin looks in the same way, for a layer above
 * that has things of its own to remove.)
 *
 * A fork copies pins: the child's may be made in a slot that the scan has passed, and the parent's be gone when the scan
 * comes to it. So it counts in `moved`, between the two; a scan during which that has changed begins again.
 *
 * Invariants
 *  R1  Cells are written at the tail only, and taken at the head; a transaction that is rolled back takes its tail back.
 *      What the published record counts, from its head to its tail, is not overwritten: a block of cells that the head
 *      has left goes to its class's ready queue as made and unlinked in this version, and so comes back later at the
 *      earliest.
 *  R2  Each examination of a pinned entry is paid for: it is parked once, and looked at again only when a pin has gone,
 *      or before the region grows. (One reader that stays, and 20,000 updates: what it pins is passed once, not in each
 *      search.)
 *      When a pin has gone all that is parked is due, whatever that pin held: UNPARKED cells for each block that is asked
 *      for and not found, HARVESTED before the region grows. So beside a long pin, short ones cost a writer that much
 *      all the time, and what only they held waits until its turn comes. (A file parks by the oldest pin: file_space.c, S2.)
 *
 * Concurrency: by the holder of the writer's lock. Failure: what is damaged is left alone, and lost.
 */
#include "region/impl.h"

enum {
    TRIES = 16,         /* entries looked at for one block */
    UNPARKED = 4,       /* parked entries looked at along the way */
    HARVESTED = 256,    /* and before the region grows */
    SCAN_EVERY = 40,    /* blocks from one scan to the next, more where there are many slots */
    ADOPT_EVERY = 4096, /* blocks from one search for dead readers to the next */
    OLD = 64,           /* versions after which an open pin is revoked */
    PASSES = 8,         /* over the slots, for one scan */
    LARGE = 1 << 16,    /* for a code: of all large blocks */
};

/* -- queues -- */

static struct hf_cells *cells_at(struct hf_txn *txn, uint64_t position)
{
    uint64_t block = position & ~(uint64_t)(HF_CELLS_SIZE - 1);

    if (block < HF_REGION_HEAP_AT || block + HF_CELLS_SIZE > txn->state.version.top || position - block > HF_CELLS)
        return NULL;
    return hf_region_at(txn->region, block);
}

bool hf_queue_push(struct hf_txn *txn, struct hf_queue *queue, const struct hf_cell *cell)
{
    struct hf_heap_state *heap = &txn->state.heap;
    uint64_t index = queue->tail % HF_CELLS_SIZE;

    if (queue->tail == 0 || index == HF_CELLS) {
        if (heap->spare_count == 0 || heap->spare_count > HF_REGION_SPARES)
            return false;
        uint64_t block = heap->spares[heap->spare_count - 1];
        if (block % HF_CELLS_SIZE != 0 || cells_at(txn, block) == NULL)
            return false;
        if (queue->tail == 0) {
            queue->head = block;
        } else {
            struct hf_cells *last = cells_at(txn, queue->tail);
            if (last == NULL)
                return false;
            last->next = block;
        }
        heap->spare_count--;
        queue->tail = block;
        index = 0;
    }
    struct hf_cells *cells = cells_at(txn, queue->tail);
    if (cells == NULL)
        return false;
    cells->cells[index] = *cell;
    queue->tail++;
    return true;
}

/* The head has left a block of cells: R1. */
static void leave_block(struct hf_txn *txn, uint64_t block)
{
    uint64_t now = txn->state.version.txid;
    struct hf_cell cell = {
        .block = block | (uint64_t)HF_REGION_CELLS_CLASS << HF_CELL_CODE_SHIFT,
        .birth = now,
        .unlink = now,
    };

    txn->state.version.used -= HF_CELLS_SIZE;
    hf_queue_push(txn, &txn->state.heap.classes[HF_REGION_CELLS_CLASS].ready, &cell);
}

/* The first entry, or NULL. */
static const struct hf_cell *peek(struct hf_txn *txn, struct hf_queue *queue)
{
    if (queue->head == queue->tail)
        return NULL;
    struct hf_cells *cells = cells_at(txn, queue->head);
    if (cells == NULL)
        return NULL;
    if (queue->head % HF_CELLS_SIZE == HF_CELLS) {
        uint64_t left = queue->head - HF_CELLS, next = cells->next;
        if (next % HF_CELLS_SIZE != 0 || cells_at(txn, next) == NULL)
            return NULL;
        queue->head = next;
        leave_block(txn, left);
        if (queue->head == queue->tail)
            return NULL;
        cells = cells_at(txn, next);
    }
    return &cells->cells[queue->head % HF_CELLS_SIZE];
}

/* -- the scan -- */

static void sort(uint64_t *pins, size_t count)
{
    /* Slots are claimed in order and versions grow, so this is mostly sorted; if not, sift. */
    for (size_t i = 1; i < count; i++) {
        uint64_t pin = pins[i];
        size_t low = 0, high = i;

        if (pins[i - 1] <= pin)
            continue;
        while (low < high) {
            size_t middle = (low + high) / 2;
            if (pins[middle] <= pin)
                low = middle + 1;
            else
                high = middle;
        }
        memmove(pins + low + 1, pins + low, (i - low) * sizeof *pins);
        pins[low] = pin;
    }
}

static size_t without_repeats(uint64_t *pins, size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++)
        if (kept == 0 || pins[kept - 1] != pins[i])
            pins[kept++] = pins[i];
    return kept;
}

/* Whether a pin of the scan before is gone. Both are sorted. */
static bool pin_gone(const struct hf_scan *scan)
{
    size_t j = 0;

    for (size_t i = 0; i < scan->previous_count; i++) {
        while (j < scan->count && scan->pins[j] < scan->previous[i])
            j++;
        if (j == scan->count || scan->pins[j] != scan->previous[i])
            return true;
    }
    return false;
}

/* What was found pinned. */
struct seen {
    uint64_t *pins; /* NULL: only the oldest is wanted */
    size_t count;
    uint64_t oldest;
    uint64_t open; /* all versions from this one on are, too */
};

static inline void see(struct seen *seen, uint64_t txid)
{
    if (seen->pins != NULL)
        seen->pins[seen->count++] = txid;
    seen->oldest = txid < seen->oldest ? txid : seen->oldest;
}

/* The kept snapshots of a table are pins. Where they cannot be read, all versions are. */
static void see_kept(struct seen *seen, int status, const struct hf_kept_table *table)
{
    if (status < 0)
        seen->open = 0;
    if (status < 0 || table == NULL)
        return;
    for (uint64_t i = 0; i < table->count; i++)
        see(seen, table->kept[i].txid);
}

/* Those of the published version, and those of the last durable one of a file: it is there again after a power cut,
 * and so must be what it keeps, though that may have been forgotten since. */
static void scan_kept(struct hf_txn *txn, uint64_t published, struct seen *seen)
{
    const hf_region *region = txn->region;
    const struct hf_kept_table *table;
    struct hf_version version = {.top = txn->state.version.top};

    version.kept = atomic_load_explicit(&hf_region_seen(region, published)->kept, memory_order_relaxed);
    int status = hf_kept_table_at(region, &version, &table);
    see_kept(seen, status, table);
    if (region->file == NULL)
        return;
    status = hf_file_kept_durable(txn, &table);
    see_kept(seen, status, table);
}

/* Looks at each slot once. */
static void scan_pass(hf_region *region, uint64_t published, struct seen *seen)
{
    uint32_t slots = atomic_load(&region->lock->slots);

    if (slots > HF_REGION_SLOTS_MAX)
        slots = HF_REGION_SLOTS_MAX;
    for (uint32_t i = 0; i < slots; i++) {
        _Atomic uint64_t *pin = &region->slots[i].pin;
        uint64_t value = atomic_load(pin), txid = value & ~HF_PIN_KIND;

        if ((value & HF_PIN_KIND) == HF_PIN_NARROW) {
            see(seen, txid);
        } else if ((value & HF_PIN_KIND) == HF_PIN_OPEN) {
            /* Its reader has been stopped, and has touched nothing: it will notice, and begin again. */
            if (txid + OLD < published && atomic_compare_exchange_strong(pin, &value, HF_PIN_REVOKED))
                atomic_fetch_add_explicit(&region->lock->revoked, 1, memory_order_relaxed);
            else if ((value & HF_PIN_KIND) == HF_PIN_NARROW)
                see(seen, value & ~HF_PIN_KIND);
            else if ((value & HF_PIN_KIND) == HF_PIN_OPEN && (value & ~HF_PIN_KIND) < seen->open)
                seen->open = value & ~HF_PIN_KIND;
        }
    }
}

void hf_scan_slots(struct hf_txn *txn)
{
    struct hf_scan *scan = &txn->scan;
    _Atomic uint32_t *moves = &txn->region->lock->moved;
    uint64_t published = txn->state.version.txid - 1;
    struct seen seen;
    unsigned passes = 0;
    uint32_t moved;

    do {
        moved = atomic_load(moves);
        seen = (struct seen){.pins = scan->previous, .oldest = UINT64_MAX, .open = UINT64_MAX};
        scan_kept(txn, published, &seen);
        scan_pass(txn->region, published, &seen);
    } while (atomic_load(moves) != moved && ++passes < PASSES);
    if (passes == PASSES)
        seen.open = 0; /* not one fork, but fork upon fork: nothing is known */
    scan->previous = scan->pins;
    scan->previous_count = scan->count;
    sort(seen.pins, seen.count);
    scan->pins = seen.pins;
    scan->count = without_repeats(seen.pins, seen.count);
    scan->txid = published;
    scan->open = seen.open;
    scan->at = txn->allocations;
    if (pin_gone(scan))
        scan->unpark = txn->state.version.parked;
}

/*
 * As hf_scan_slots, by anybody. `published` was the newest version before it began, and stays what it was: its own pin sees
 * to that, which is one of those found. A reader who is missed has put its pin after this looked at its slot, so it reads
 * `published` after that, and gets that version or a later one (slots.c).
 */
static uint64_t oldest_seen(hf_region *region, const struct hf_version *published)
{
    _Atomic uint32_t *moves = &region->lock->moved;
    const struct hf_kept_table *table;
    struct seen seen;
    uint32_t moved;

    for (unsigned passes = 0; passes < PASSES; passes++) {
        moved = atomic_load(moves);
        seen = (struct seen){.oldest = published->txid, .open = UINT64_MAX};
        int status = hf_kept_table_at(region, published, &table);
        see_kept(&seen, status, table);
        scan_pass(region, published->txid, &seen);
        if (atomic_load(moves) == moved)
            return seen.oldest < seen.open ? seen.oldest : seen.open;
    }
    return 0;
}

int hf_region_oldest_pin(hf_region *region, uint64_t *txid)
{
    uint64_t durable = UINT64_MAX;
    hf_view view;
    int status = region->file != NULL ? hf_file_admit(region) : 0;

    if (status == 0)
        status = hf_view_pin(region, &view);
    if (status < 0)
        return status;
    uint64_t oldest = oldest_seen(region, &view.version);
    if (oldest < view.version.txid && hf_slots_adopt(region) > 0)
        oldest = oldest_seen(region, &view.version);
    if (region->file != NULL)
        status = hf_file_oldest_durable(region, &durable);
    hf_view_unpin(&view);
    if (status < 0)
        return status;
    *txid = durable < oldest ? durable : oldest;
    return 0;
}

/* Scans if it is time to, and there is something new to be had by it. */
static bool scan_again(struct hf_txn *txn, bool now)
{
    const struct hf_scan *scan = &txn->scan;

    if (scan->txid != 0 && scan->txid + 1 >= txn->state.version.txid && scan->open == UINT64_MAX && !now)
        return false;
    uint32_t slots = atomic_load_explicit(&txn->region->lock->slots, memory_order_relaxed);
    uint64_t due = SCAN_EVERY + 2 * scan->count + slots / 4;
    /* Before the region grows it is worth more, but a scan should not cost more than what it may save. */
    if (now)
        due = scan->count / 4;
    if (scan->txid != 0 && txn->allocations - scan->at < due)
        return false;
    hf_scan_slots(txn);
    return true;
}

bool hf_scan_pinned(const struct hf_scan *scan, const struct hf_cell *cell)
{
    size_t low = 0, high = scan->count;

    /* What was made after the newest pin, mostly. */
    if (high == 0 || scan->pins[high - 1] < cell->birth || scan->pins[0] >= cell->unlink)
        return false;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (scan->pins[middle] < cell->birth)
            low = middle + 1;
        else
            high = middle;
    }
    return low < scan->count && scan->pins[low] < cell->unlink;
}

bool hf_scan_too_fresh(const struct hf_scan *scan, const struct hf_cell *cell)
{
    return cell->unlink > scan->txid || cell->unlink > scan->open;
}

/* -- recycling -- */

/* Looks at parked entries again. */
static void unpark(struct hf_txn *txn, uint64_t count)
{
    struct hf_heap_state *heap = &txn->state.heap;
    struct hf_scan *scan = &txn->scan;

    for (; count > 0 && scan->unpark > 0 && heap->spare_count > HF_PUSHES; count--, scan->unpark--) {
        const struct hf_cell *first = peek(txn, &heap->parked);
        if (first == NULL) {
            scan->unpark = 0;
            return;
        }
        struct hf_cell cell = *first;
        struct hf_queue *queue = &heap->parked;
        heap->parked.head++;
        if (!hf_scan_pinned(scan, &cell) && !hf_scan_too_fresh(scan, &cell)) {
            struct hf_queue *class = hf_heap_queue(txn, (unsigned)(cell.block >> HF_CELL_CODE_SHIFT));
            if (class != NULL) {
                queue = class;
                txn->state.version.parked--;
            }
        }
        hf_queue_push(txn, queue, &cell);
    }
}

/* Whether an entry of this class's queue is one that can be used. LARGE: of any large block. */
static bool sound(const struct hf_txn *txn, const struct hf_cell *cell, unsigned code)
{
    uint64_t at = cell->block & HF_CELL_OFFSET, its_code = cell->block >> HF_CELL_CODE_SHIFT;

    if (code == LARGE && (!hf_is_large_code(its_code) || at % HF_REGION_PAGE != sizeof(struct hf_run)))
        return false;
    return (code == LARGE || its_code == code) && at > HF_REGION_HEAP_AT && at % 8 == 0 &&
           (code != HF_REGION_CELLS_CLASS || at % HF_CELLS_SIZE == 0) &&
           at + hf_heap_size((unsigned)its_code) <= txn->state.version.top;
}

/* The first entry of a queue that nobody can see any more: the block and its code; 0: there is none. */
static inline uint64_t recycle(struct hf_txn *txn, unsigned code, struct hf_queue *queue)
{
    struct hf_heap_state *heap = &txn->state.heap;

    txn->allocations++;
    /* A block of cells is only asked for by hf_heap_prepare, while nothing else is going on. */
    uint64_t least = code == HF_REGION_CELLS_CLASS ? 4 : HF_PUSHES;
    for (unsigned tries = 0; tries < TRIES && heap->spare_count > least; tries++) {
        const struct hf_cell *first = peek(txn, queue);
        if (first == NULL)
            break;
        struct hf_cell cell = *first;
        if (hf_scan_too_fresh(&txn->scan, &cell)) {
            if (scan_again(txn, false))
                continue;
            break;
        }
        queue->head++;
        if (!sound(txn, &cell, code))
            continue;
        if (!hf_scan_pinned(&txn->scan, &cell) || HF_SABOTAGE(recycled_soon))
            return cell.block;
        txn->state.version.parked++;
        hf_queue_push(txn, &heap->parked, &cell);
    }
    unpark(txn, UNPARKED);
    return 0;
}

uint64_t hf_recycle(struct hf_txn *txn, unsigned code, struct hf_queue *queue)
{
    return recycle(txn, code, queue) & HF_CELL_OFFSET;
}

uint64_t hf_recycle_large(struct hf_txn *txn)
{
    return recycle(txn, LARGE, &txn->state.heap.large);
}

void hf_recycle_harvest(struct hf_txn *txn)
{
    struct hf_scan *scan = &txn->scan;

    if (txn->adopted_at == 0 || txn->allocations - txn->adopted_at >= ADOPT_EVERY) {
        txn->adopted_at = txn->allocations;
        hf_slots_adopt(txn->region);
    }
    if (scan->txid + 1 < txn->state.version.txid || scan->count > 0 || scan->open != UINT64_MAX)
        scan_again(txn, true);
    /* Pins may have come and gone while others wrote, or before this process was here: then a few entries show it. */
    uint64_t parked = txn->state.version.parked;
    bool guess = scan->unpark == 0;
    if (guess)
        scan->unpark = parked;
    unpark(txn, HARVESTED);
    if (guess && txn->state.version.parked == parked)
        scan->unpark = 0;
}

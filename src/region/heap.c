/*
 * heap.c: the heap manager: blocks of a region.
 *
 *      size      <= 104 bytes      a class for every 8 bytes            one block of 24 ... 16,376 bytes
 *                <= 16,376         about a fifth apart                  in a run of 64 KiB
 *                above             4 classes for each doubling          a run of whole pages each
 *
 *      where a block comes from, in this order
 *          cache       made by this transaction since the innermost savepoint, and no longer needed: nobody saw it
 *          ready queue what earlier transactions unlinked, if no pin holds it (recycle.c)
 *          bump        the next one of the class's run
 *          a new run   behind `top`
 *
 * Invariants
 *  H1  All state is in hf_txn.state, a copy of the published record, or in cells and tables that L1 (layout.h)
 *      protects. To roll back is to forget the copy.
 *  H2  hf_heap_free cannot fail: hf_heap_prepare has put enough blocks of cells in reserve, and has made the table of
 *      the large queues, if there is one, this transaction's own.
 *  H3  A block in the cache was made since the innermost savepoint, so no state that can come back has it.
 *
 * A run never changes its class, and what large blocks free is used for large ones of that class only: a region whose
 * use changes for good keeps what it once needed. Compaction is for that.
 *
 * Concurrency: by the holder of the writer's lock only.
 * Failure: HF_NOSPACE, HF_LIMIT; the state is then as it was, but for blocks that moved between cache and spares.
 */
#include "region/impl.h"

static const uint16_t sizes[HF_REGION_CLASSES] = {
    24,   32,   40,   48,   56,   64,   72,   80,   88,   96,   104,   120,   136,   160,
    184,  216,  256,  304,  360,  424,  504,  600,  712,  848,  1008,  1232,  1488,  1768,
    2112, 2512, 2976, 3632, 4360, 5032, 5952, 7272, 8184, 9352, 10912, 13096, 16376, HF_CELLS_SIZE,
};

enum {
    EVERY_8_UP_TO = 104,
    FIRST_COARSE = 11, /* the class after that of 104 bytes */
    LARGEST_SMALL = 16376,
    LARGE_DOUBLINGS = HF_REGION_LARGE / 4,
};

/* Large classes have 5, 6, 7, 8, 10, 12, 14, 16, 20, ... pages. */
static int large_code(uint64_t size)
{
    if (size > HF_CELL_OFFSET)
        return HF_LIMIT;
    uint64_t pages = (size + sizeof(struct hf_run) + HF_REGION_PAGE - 1) / HF_REGION_PAGE;
    unsigned doubling = 0;
    while (doubling < LARGE_DOUBLINGS && (UINT64_C(8) << doubling) < pages)
        doubling++;
    if (doubling == LARGE_DOUBLINGS)
        return HF_LIMIT;
    uint64_t units = (pages + (UINT64_C(1) << doubling) - 1) >> doubling;
    if (units < 5)
        units = 5;
    return (int)(HF_LARGE_CODE + 4 * doubling + (unsigned)(units - 5));
}

int hf_heap_code(uint64_t size)
{
    if (size <= EVERY_8_UP_TO)
        return size <= 24 ? 0 : (int)((size + 7) / 8 - 3);
    if (size > LARGEST_SMALL)
        return large_code(size);
    int code = FIRST_COARSE;
    while (sizes[code] < size)
        code++;
    return code;
}

uint64_t hf_heap_pages(unsigned code)
{
    if (code < HF_REGION_CLASSES)
        return HF_REGION_CHUNK / HF_REGION_PAGE;
    unsigned large = code - HF_LARGE_CODE;
    return (uint64_t)(5 + large % 4) << large / 4;
}

uint64_t hf_heap_size(unsigned code)
{
    if (code < HF_REGION_CLASSES)
        return sizes[code];
    return hf_heap_pages(code) * HF_REGION_PAGE - sizeof(struct hf_run);
}

/* Whether a put may let the region grow so far. Where that is limited, there stays what it takes to remove everything again:
 * a cell for each block, and other blocks for what is left of nodes, since those of one class are not used for another. */
static bool leaves_room(const struct hf_txn *txn, uint64_t end)
{
    const uint64_t limit = txn->region->limit;
    uint64_t entries = 0;

    if (txn->reserve == 0 || limit == UINT64_MAX)
        return true;
    for (unsigned i = 0; i < HF_REGION_TREES; i++)
        entries += txn->state.version.trees[i].count;
    return end + txn->reserve < limit && entries < (limit - end - txn->reserve) / HF_RESERVE_ENTRY;
}

/* Appends a run to the region: the offset of its header. */
static int new_run(struct hf_txn *txn, unsigned code, uint64_t *out)
{
    struct hf_version *version = &txn->state.version;
    uint64_t at = version->top, pages = hf_heap_pages(code);

    if (!leaves_room(txn, at + pages * HF_REGION_PAGE))
        return HF_NOSPACE;
    int status = hf_pages_grow(txn->region, at + pages * HF_REGION_PAGE + txn->reserve);
    if (status < 0)
        return status;
    struct hf_run *run = hf_region_at(txn->region, at);
    *run = (struct hf_run){.mark = HF_RUN_MAGIC << 32 | code, .pages = pages, .at = at};
    version->top = at + pages * HF_REGION_PAGE;
    *out = at;
    return 0;
}

static int new_small_run(struct hf_txn *txn, unsigned code)
{
    uint64_t at;
    int status = new_run(txn, code, &at);

    if (status < 0)
        return status;
    /* Blocks of cells are aligned, since positions in a queue count on it. */
    uint64_t first = code == HF_REGION_CELLS_CLASS ? HF_CELLS_SIZE : sizeof(struct hf_run);
    uint64_t blocks = (HF_REGION_CHUNK - first) / sizes[code];
    txn->state.heap.classes[code].bump = (at + first) | blocks << HF_CELL_CODE_SHIFT;
    return 0;
}

/* The next block of the class's run; 0 where there is none left, or the bump pointer is damaged. */
static uint64_t bump(struct hf_txn *txn, unsigned code)
{
    struct hf_class *class = &txn->state.heap.classes[code];
    uint64_t at = class->bump & HF_CELL_OFFSET, left = class->bump >> HF_CELL_CODE_SHIFT;

    if (left == 0)
        return 0;
    if (at < HF_REGION_HEAP_AT || at % 8 != 0 || at + left * sizes[code] > txn->state.version.top)
        return 0;
    class->bump = (at + sizes[code]) | (left - 1) << HF_CELL_CODE_SHIFT;
    return at;
}

static int alloc_small(struct hf_txn *txn, unsigned code, uint64_t *out)
{
    struct hf_class *class = &txn->state.heap.classes[code];

    if (txn->cached[code] > 0) {
        *out = txn->cache[code][--txn->cached[code]];
        return 0;
    }
    *out = hf_recycle(txn, code, &class->ready);
    if (*out == 0)
        *out = bump(txn, code);
    if (*out != 0)
        return 0;
    hf_recycle_harvest(txn);
    *out = hf_recycle(txn, code, &class->ready);
    if (*out != 0)
        return 0;
    int status = new_small_run(txn, code);
    if (status < 0)
        return status;
    *out = bump(txn, code);
    return *out == 0 ? HF_CORRUPT : 0;
}

static struct hf_large_table *large_table(struct hf_txn *txn)
{
    uint64_t at = txn->state.heap.large;

    if (at < HF_REGION_HEAP_AT || at % 8 != 0 || at + sizeof(struct hf_large_table) > txn->state.version.top)
        return NULL;
    struct hf_large_table *table = hf_region_at(txn->region, at);
    return hf_head_kind(table->head) == HF_KIND_TABLE ? table : NULL;
}

/* Makes the table of large queues this transaction's own; a new one where there is none. */
static int own_large_table(struct hf_txn *txn)
{
    struct hf_large_table *old = NULL, *table;
    uint64_t was = txn->state.heap.large, at;

    if (was != 0) {
        old = large_table(txn);
        if (old == NULL)
            return HF_CORRUPT;
        if (hf_txn_owns(txn, old->head))
            return 0;
    }
    int code = hf_heap_code(sizeof *table);
    int status = alloc_small(txn, (unsigned)code, &at);
    if (status < 0)
        return status;
    txn->state.version.used += sizes[code];
    table = hf_region_at(txn->region, at);
    if (old != NULL)
        *table = *old;
    else
        memset(table, 0, sizeof *table);
    uint64_t old_head = old != NULL ? old->head : 0;
    table->head = hf_txn_head(txn, HF_KIND_TABLE);
    txn->state.heap.large = at;
    if (old != NULL)
        hf_heap_free(txn, was, sizeof *old, old_head);
    return 0;
}

static int alloc_large(struct hf_txn *txn, unsigned code, uint64_t *out)
{
    uint64_t run = 0;
    int status = own_large_table(txn);

    if (status < 0)
        return status;
    *out = hf_recycle(txn, code, hf_heap_queue(txn, code));
    if (*out != 0)
        return 0;
    hf_recycle_harvest(txn);
    *out = hf_recycle(txn, code, hf_heap_queue(txn, code));
    if (*out != 0)
        return 0;
    status = new_run(txn, code, &run);
    *out = run + sizeof(struct hf_run);
    return status;
}

struct hf_queue *hf_heap_queue(struct hf_txn *txn, unsigned code)
{
    if (code < HF_REGION_CLASSES)
        return &txn->state.heap.classes[code].ready;
    if (code < HF_LARGE_CODE || code >= HF_LARGE_CODE + HF_REGION_LARGE)
        return NULL;
    struct hf_large_table *table = large_table(txn);
    if (table == NULL || !hf_txn_owns(txn, table->head))
        return NULL;
    return &table->ready[code - HF_LARGE_CODE];
}

int hf_heap_prepare(struct hf_txn *txn)
{
    struct hf_heap_state *heap = &txn->state.heap;

    txn->made_count = 0;
    if (__builtin_expect(heap->spare_count > HF_REGION_SPARES, 0))
        return HF_CORRUPT;
    while (__builtin_expect(heap->spare_count < HF_SPARES_LOW, 0)) {
        uint64_t at;
        int status = alloc_small(txn, HF_REGION_CELLS_CLASS, &at);

        if (status < 0)
            return status;
        txn->state.version.used += HF_CELLS_SIZE;
        heap->spares[heap->spare_count++] = at;
    }
    return heap->large == 0 ? 0 : own_large_table(txn);
}

int hf_heap_alloc(struct hf_txn *txn, uint64_t size, uint64_t *out)
{
    int code = hf_heap_code(size);

    if (code < 0)
        return code;
    HF_ASSERT_CHEAP(txn->made_count < HF_MADE);
    uint64_t at;
    int status =
        code < HF_REGION_CLASSES ? alloc_small(txn, (unsigned)code, &at) : alloc_large(txn, (unsigned)code, &at);
    if (status < 0)
        return status;
    txn->state.version.used += hf_heap_size((unsigned)code);
    txn->made[txn->made_count++] = at | (uint64_t)code << HF_CELL_CODE_SHIFT;
    *out = at;
    return 0;
}

/* Puts a block where it belongs: into the cache if nobody has seen it. */
static void give_back(struct hf_txn *txn, uint64_t at, unsigned code, uint64_t birth, bool unseen)
{
    txn->state.version.used -= hf_heap_size(code);
    if (unseen && code < HF_REGION_CLASSES && txn->cached[code] < HF_CACHE) {
        txn->cache[code][txn->cached[code]++] = at;
        return;
    }
    struct hf_queue *queue = hf_heap_queue(txn, code);
    struct hf_cell cell = {
        .block = at | (uint64_t)code << HF_CELL_CODE_SHIFT,
        .birth = birth,
        .unlink = txn->state.version.txid,
    };
    /* By H2 both are there, unless the region is damaged; then the block is lost. */
    if (queue != NULL)
        hf_queue_push(txn, queue, &cell);
}

void hf_heap_free(struct hf_txn *txn, uint64_t offset, uint64_t size, uint64_t head)
{
    int code = hf_heap_code(size);

    if (code >= 0)
        give_back(txn, offset, (unsigned)code, hf_head_txid(head), hf_txn_owns(txn, head));
}

void hf_heap_undo(struct hf_txn *txn)
{
    while (txn->made_count > 0) {
        uint64_t made = txn->made[--txn->made_count];

        give_back(txn, made & HF_CELL_OFFSET, (unsigned)(made >> HF_CELL_CODE_SHIFT), txn->state.version.txid, true);
    }
}

int hf_heap_flush(struct hf_txn *txn)
{
    /* Cells last: the others may need blocks of them, and may take them from the cache. */
    for (unsigned code = 0; code < HF_REGION_CLASSES; code++) {
        while (txn->cached[code] > 0) {
            if (txn->state.heap.spare_count <= HF_PUSHES) {
                int status = hf_heap_prepare(txn);
                if (status < 0)
                    return status;
                if (txn->cached[code] == 0)
                    break;
            }
            struct hf_cell cell = {
                .block = txn->cache[code][txn->cached[code] - 1] | (uint64_t)code << HF_CELL_CODE_SHIFT,
                .birth = txn->state.version.txid,
                .unlink = txn->state.version.txid,
            };
            if (!hf_queue_push(txn, &txn->state.heap.classes[code].ready, &cell))
                return HF_CORRUPT;
            txn->cached[code]--;
        }
    }
    return 0;
}

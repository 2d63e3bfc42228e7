/*
 * heap.c: the heap manager: blocks of a region.
 *
 *      size      <= 104 bytes      a class for every 8 bytes            one block of 24 ... 16,376 bytes
 *                <= 16,376         about a fifth apart                  in a run of 64 KiB
 *                above             whole pages                          a run each (heap_runs.c)
 *
 *      where a block comes from, in this order
 *          cache       made by this transaction since the innermost savepoint, and no longer needed: nobody saw it
 *          ready queue what earlier transactions unlinked, if no pin holds it (recycle.c)
 *          bump        the next one of the class's run
 *          a new run   of free pages, or behind `top`
 *
 * Invariants
 *  H1  All state is in hf_txn.state, a copy of the published record, or in cells and tables that L1 (layout.h)
 *      protects. To roll back is to forget the copy.
 *  H2  hf_heap_free cannot fail: hf_heap_prepare has put enough blocks of cells in reserve.
 *  H3  A block in the cache was made since the innermost savepoint, so no state that can come back has it.
 *
 * A run of small blocks never changes its class: a region whose use changes for good, from one size of small blocks to
 * another one, keeps what it once needed. Compaction is for that.
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
};

int hf_heap_code(uint64_t size)
{
    if (size <= EVERY_8_UP_TO)
        return size <= 24 ? 0 : (int)((size + 7) / 8 - 3);
    if (size > LARGEST_SMALL)
        return hf_large_code(size);
    int code = FIRST_COARSE;
    while (sizes[code] < size)
        code++;
    return code;
}

uint64_t hf_heap_pages(unsigned code)
{
    if (code < HF_REGION_CLASSES)
        return HF_REGION_CHUNK / HF_REGION_PAGE;
    return hf_large_pages(code);
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

int hf_heap_grow(struct hf_txn *txn, uint64_t end)
{
    return leaves_room(txn, end) ? hf_pages_grow(txn->region, end + txn->reserve) : HF_NOSPACE;
}

static void write_header(struct hf_txn *txn, uint64_t at, unsigned code, uint64_t pages)
{
    struct hf_run *run = hf_region_at(txn->region, at);

    *run = (struct hf_run){.mark = HF_RUN_MAGIC << 32 | code, .pages = pages, .at = at};
}

/* A run of 64 KiB: of free pages, or behind the top. */
static int new_small_run(struct hf_txn *txn, unsigned code)
{
    struct hf_version *version = &txn->state.version;
    uint64_t at;
    /* What free pages are kept in needs blocks itself. Were those of this class, it would have got a run meanwhile, which
     * this one would take the place of. */
    bool of_runs = code == (unsigned)hf_heap_code(sizeof(struct hf_runs_block));
    int status = of_runs ? 0 : hf_runs_alloc(txn, HF_REGION_CHUNK / HF_REGION_PAGE, false, &at);

    /* Free pages without memory (heap_runs.c), and none to be had: behind the top there is some for removals. */
    if (status == 0 || status == HF_NOSPACE) {
        at = version->top;
        status = hf_heap_grow(txn, at + HF_REGION_CHUNK);
        if (status == 0)
            version->top = at + HF_REGION_CHUNK;
    }
    if (status < 0)
        return status;
    write_header(txn, at, code, HF_REGION_CHUNK / HF_REGION_PAGE);
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

/* A put may use half of what it leaves to removals for this: what was removed is in queues, which are what takes cells. */
__attribute__((noinline)) static int make_spares(struct hf_txn *txn)
{
    struct hf_heap_state *heap = &txn->state.heap;
    uint32_t reserve = txn->reserve;
    int status = 0;

    txn->reserve /= 2;
    while (status == 0 && heap->spare_count < HF_SPARES_LOW) {
        uint64_t at;
        status = alloc_small(txn, HF_REGION_CELLS_CLASS, &at);
        if (status == 0) {
            txn->state.version.used += HF_CELLS_SIZE;
            heap->spares[heap->spare_count++] = at;
        }
    }
    txn->reserve = reserve;
    return status;
}

/* Blocks of cells are kept in reserve, so that queues can be pushed to. */
static int refill_spares(struct hf_txn *txn)
{
    const struct hf_heap_state *heap = &txn->state.heap;

    if (__builtin_expect(heap->spare_count > HF_REGION_SPARES, 0))
        return HF_CORRUPT;
    return __builtin_expect(heap->spare_count < HF_SPARES_LOW, 0) ? make_spares(txn) : 0;
}

static int alloc_large(struct hf_txn *txn, unsigned code, uint64_t *out)
{
    uint64_t pages = hf_heap_pages(code), run;
    int status = refill_spares(txn);

    if (status == 0)
        status = hf_runs_alloc(txn, pages, true, &run);
    if (status <= 0)
        return status < 0 ? status : HF_CORRUPT;
    write_header(txn, run, code, pages);
    *out = run + sizeof(struct hf_run);
    return 0;
}

struct hf_queue *hf_heap_queue(struct hf_txn *txn, unsigned code)
{
    if (code < HF_REGION_CLASSES)
        return &txn->state.heap.classes[code].ready;
    return hf_is_large_code(code) ? &txn->state.heap.large : NULL;
}

int hf_heap_prepare(struct hf_txn *txn)
{
    txn->made_count = 0;
    return refill_spares(txn);
}

int hf_heap_block(struct hf_txn *txn, uint64_t size, uint64_t *out)
{
    int code = hf_heap_code(size);
    int status = alloc_small(txn, (unsigned)code, out);

    if (status == 0)
        txn->state.version.used += sizes[code];
    return status;
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
    unseen = unseen && !txn->flushing;
    if (unseen && code < HF_REGION_CLASSES && txn->cached[code] < HF_CACHE) {
        txn->cache[code][txn->cached[code]++] = at;
        return;
    }
    if (unseen && hf_is_large_code(code) && txn->large_count < HF_CACHE) {
        txn->large[txn->large_count++] = at | (uint64_t)code << HF_CELL_CODE_SHIFT;
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

void hf_heap_unused(struct hf_txn *txn, uint64_t offset, uint64_t size)
{
    give_back(txn, offset, (unsigned)hf_heap_code(size), txn->state.version.txid, true);
}

void hf_heap_undo(struct hf_txn *txn)
{
    while (txn->made_count > 0) {
        uint64_t made = txn->made[--txn->made_count];

        give_back(txn, made & HF_CELL_OFFSET, (unsigned)(made >> HF_CELL_CODE_SHIFT), txn->state.version.txid, true);
    }
}

/* One block of the cache goes to its queue. */
static int flush_one(struct hf_txn *txn, uint64_t block)
{
    struct hf_cell cell = {
        .block = block,
        .birth = txn->state.version.txid,
        .unlink = txn->state.version.txid,
    };

    return hf_queue_push(txn, hf_heap_queue(txn, (unsigned)(block >> HF_CELL_CODE_SHIFT)), &cell) ? 0 : HF_CORRUPT;
}

static int flush_all(struct hf_txn *txn)
{
    int status = 0;

    if (txn->large_count > 0)
        status = hf_heap_prepare(txn);
    for (; status == 0 && txn->large_count > 0; txn->large_count -= status == 0)
        status = flush_one(txn, txn->large[txn->large_count - 1]);
    /* Cells last: the others may need blocks of them, and may take them from the cache. */
    for (uint64_t code = 0; status == 0 && code < HF_REGION_CLASSES; code++) {
        while (status == 0 && txn->cached[code] > 0) {
            if (txn->state.heap.spare_count <= HF_PUSHES) {
                status = hf_heap_prepare(txn);
                if (status < 0)
                    return status;
                if (txn->cached[code] == 0)
                    break;
            }
            status = flush_one(txn, txn->cache[code][txn->cached[code] - 1] | code << HF_CELL_CODE_SHIFT);
            txn->cached[code] -= status == 0;
        }
    }
    return status;
}

/* What the queues need may come from free pages, and what a change of those did not need would go to the cache. */
int hf_heap_flush(struct hf_txn *txn)
{
    txn->flushing = true;
    int status = flush_all(txn);
    txn->flushing = false;
    return status;
}

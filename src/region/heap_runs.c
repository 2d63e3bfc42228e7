/*
 * heap_runs.c: large blocks in shared memory, and the runs of free pages that they are made of.
 *
 *      made            out of the lowest free run that is long enough; else behind `top`, with what is free before it
 *      freed           ---> large queue --- pinned? ---> parked          (recycle.c)
 *                               |
 *                               +--- free of pins ---> pages of a free run, which is one with its neighbours
 *      runs of small blocks are made of free pages too, and stay what they are
 *
 *      a large block's code:   64 + pages, below 2,048 pages;   64 + 1024 d + (1,024 .. 2,047) of 2^d pages each
 *
 * The tree of free runs (runs.h) is in blocks of the heap, made anew by the first transaction to change one, as the trie's
 * nodes are. So a change needs blocks, and may itself make a run of small ones: it has all of them in hand before it begins,
 * and while it takes them `runs_busy` sends the small runs behind `top`.
 *
 * Holes. hf_region_trim gives the memory of free pages back to the system, and keeps their addresses. From then on, `holes` of
 * the record says so, and what is made of free pages below it is given memory first: a full system is HF_NOSPACE, never a
 * signal. (`holes` is published before any memory is given back, and what is given back lies below that of the newest
 * version and is free in it. The writer's lock is held throughout, so nobody has begun to use it.)
 *
 * What is given back is in free runs of 64 KiB or more, and a rest that is shorter than that gets its memory with what is
 * taken of the run. So every hole is in a free run of 64 KiB or more, and where there is no such run below `holes` any more,
 * there is no hole, and `holes` is 0 again.
 *
 * Concurrency: by the holder of the writer's lock. Failure: HF_NOSPACE, HF_LIMIT, HF_CORRUPT; nothing is lost, but blocks
 * may have moved from the queue to the free runs.
 */
#include "region/impl.h"
#include "region/runs.h"

#include <fcntl.h>

enum {
    MANTISSA = 11, /* bits of a number of pages that are kept */
    MOST_PAGES_BITS = 36,
    LEAST_SPARES = 4, /* blocks of cells, for the queues that a change pushes to */
    LEAST_HOLE = HF_REGION_CHUNK / HF_REGION_PAGE,
};

/* -- codes -- */

int hf_large_code(uint64_t size)
{
    if (size > HF_CELL_OFFSET - HF_REGION_PAGE)
        return HF_LIMIT;
    uint64_t pages = (size + sizeof(struct hf_run) + HF_REGION_PAGE - 1) / HF_REGION_PAGE;
    unsigned doubling = 0;
    while ((pages + (UINT64_C(1) << doubling) - 1) >> doubling >= UINT64_C(1) << MANTISSA)
        doubling++;
    uint64_t units = (pages + (UINT64_C(1) << doubling) - 1) >> doubling;
    return (int)(HF_LARGE_CODE + (doubling << (MANTISSA - 1)) + units);
}

uint64_t hf_large_pages(unsigned code)
{
    unsigned large = code - HF_LARGE_CODE;

    if (large < 1u << MANTISSA)
        return large;
    unsigned doubling = (large >> (MANTISSA - 1)) - 1;
    return (uint64_t)(large - (doubling << (MANTISSA - 1))) << doubling;
}

bool hf_is_large_code(uint64_t code)
{
    return code > HF_LARGE_CODE && code < HF_LARGE_CODE + ((MOST_PAGES_BITS - MANTISSA + 2) << (MANTISSA - 1));
}

/* -- nodes -- */

/* A change that is under way: the blocks it may need. */
struct change {
    struct hf_txn *txn;
    unsigned count;
    uint64_t block[3 * HF_RUNS_LEVELS];
};

static int node_load(void *arg, unsigned level, uint64_t index, uint64_t link, union hf_runs_node *out)
{
    const struct change *change = arg;

    if (link < HF_REGION_HEAP_AT || link % 8 != 0 ||
        link > change->txn->state.version.top - sizeof(struct hf_runs_block))
        return HF_CORRUPT;
    const struct hf_runs_block *block = hf_region_at(change->txn->region, link);
    if (hf_head_kind(block->head) != HF_KIND_TABLE)
        return HF_CORRUPT;
    *out = block->node;
    return 0;
}

static int node_store(void *arg, unsigned level, uint64_t index, bool is_new, uint64_t *link,
                      const union hf_runs_node *node)
{
    struct change *change = arg;
    struct hf_txn *txn = change->txn;
    struct hf_runs_block *block;

    if (!is_new) {
        block = hf_region_at(txn->region, *link);
        if (hf_txn_owns(txn, block->head)) {
            block->node = *node;
            return 0;
        }
        hf_heap_free(txn, *link, sizeof *block, block->head);
    }
    HF_ASSERT(change->count > 0);
    *link = change->block[--change->count];
    block = hf_region_at(txn->region, *link);
    block->head = hf_txn_head(txn, HF_KIND_TABLE);
    block->node = *node;
    return 0;
}

static int node_drop(void *arg, unsigned level, uint64_t index, uint64_t link)
{
    struct change *change = arg;
    const struct hf_runs_block *block = hf_region_at(change->txn->region, link);

    hf_heap_free(change->txn, link, sizeof *block, block->head);
    return 0;
}

static const struct hf_runs_store store = {node_load, node_store, node_drop};

/* Gets the blocks for a change below this offset; and gives back what it did not need. */
static int begin(struct change *change, uint64_t end)
{
    struct hf_txn *txn = change->txn;
    unsigned need = hf_runs_nodes(&txn->state.heap.runs, end / HF_REGION_PAGE);
    uint32_t reserve = txn->reserve;
    int status = 0;

    /* What they need comes back, so they may use what is kept for removals. */
    txn->runs_busy = true;
    txn->reserve = 0;
    while (status == 0 && change->count < need) {
        status = hf_heap_block(txn, sizeof(struct hf_runs_block), &change->block[change->count]);
        change->count += status == 0;
    }
    txn->runs_busy = false;
    txn->reserve = reserve;
    return status;
}

static void finish(struct change *change)
{
    while (change->count > 0)
        hf_heap_unused(change->txn, change->block[--change->count], sizeof(struct hf_runs_block));
}

/* -- memory for holes -- */

static int fill_holes(struct hf_txn *txn, uint64_t at, uint64_t size)
{
    if (at >= txn->state.heap.holes)
        return 0;
    int result;
    HF_OS_RETRY(result, hf_os_fallocate(txn->region->fd, 0, (off_t)at, (off_t)size));
    return result < 0 ? hf_region_status(result) : 0;
}

/* How many pages are free from `end` on, in a row, where `taken` free ones end: none if that is a hole's worth. */
static int short_rest(const struct hf_runs_home *home, const struct hf_runs *runs, uint64_t taken, uint64_t end,
                      uint64_t *rest)
{
    uint64_t low = 0, high = LEAST_HOLE, before;

    /* `low` pages are, and `high` + 1 are not, or are no longer of interest. */
    while (low < high) {
        uint64_t middle = (low + high + 1) / 2;
        int status = hf_runs_before(home, runs, end + middle, &before);
        if (status < 0)
            return status;
        if (before >= taken + middle)
            low = middle;
        else
            high = middle - 1;
    }
    *rest = low < LEAST_HOLE ? low : 0;
    return 0;
}

/* After free pages were taken: are there holes still? */
static int forget_holes(struct change *change)
{
    struct hf_heap_state *heap = &change->txn->state.heap;
    const struct hf_runs_home home = {&store, change};
    uint64_t at = 0;

    if (heap->holes == 0)
        return 0;
    int found = hf_runs_find(&home, &heap->runs, LEAST_HOLE, &at);
    if (found == 0 || (found > 0 && at >= heap->holes / HF_REGION_PAGE))
        heap->holes = 0;
    return found < 0 ? found : 0;
}

/* -- freeing -- */

/* Large blocks that nobody can see any more become pages of free runs: as many as there are. */
static int settle(struct change *change)
{
    struct hf_txn *txn = change->txn;
    const struct hf_runs_home home = {&store, change};

    while (txn->large_count > 0 || txn->state.heap.large.head != txn->state.heap.large.tail) {
        int status = begin(change, txn->state.version.top);
        if (status < 0)
            return status;
        uint64_t block = txn->large_count > 0 ? txn->large[--txn->large_count] : hf_recycle_large(txn);
        if (block == 0)
            break;
        uint64_t at = (block & HF_CELL_OFFSET) - sizeof(struct hf_run);
        uint64_t pages = hf_heap_pages((unsigned)(block >> HF_CELL_CODE_SHIFT));
        status = hf_runs_free(&home, &txn->state.heap.runs, at / HF_REGION_PAGE, pages);
        if (status < 0)
            return status;
    }
    return 0;
}

/* -- making -- */

/* The lowest free run that is long enough, as a run of pages that are in use: 1, 0. */
static int take(struct change *change, uint64_t pages, uint64_t *at)
{
    struct hf_txn *txn = change->txn;
    const struct hf_runs_home home = {&store, change};
    uint64_t first;
    int found = hf_runs_find(&home, &txn->state.heap.runs, pages, &first);

    if (found <= 0)
        return found;
    *at = first * HF_REGION_PAGE;
    if (first < HF_REGION_HEAP_AT / HF_REGION_PAGE || pages > txn->state.version.top / HF_REGION_PAGE ||
        first > txn->state.version.top / HF_REGION_PAGE - pages)
        return HF_CORRUPT;
    uint64_t rest = 0;
    int status =
        txn->state.heap.holes == 0 ? 0 : short_rest(&home, &txn->state.heap.runs, pages, first + pages, &rest);
    if (status == 0)
        status = fill_holes(txn, *at, (pages + rest) * HF_REGION_PAGE);
    if (status == 0)
        status = begin(change, txn->state.version.top);
    if (status == 0)
        status = hf_runs_take(&home, &txn->state.heap.runs, first, pages);
    if (status == 0)
        status = forget_holes(change);
    return status < 0 ? status : 1;
}

/* Behind the top, and what is free before it. */
static int append(struct change *change, uint64_t pages, uint64_t *at)
{
    struct hf_txn *txn = change->txn;
    struct hf_version *version = &txn->state.version;
    const struct hf_runs_home home = {&store, change};
    uint64_t free;
    int status = hf_runs_before(&home, &txn->state.heap.runs, version->top / HF_REGION_PAGE, &free);

    /* What that needs may itself have gone behind the top. */
    if (status == 0 && free > 0)
        status = begin(change, version->top);
    if (status == 0 && free > 0)
        status = hf_runs_before(&home, &txn->state.heap.runs, version->top / HF_REGION_PAGE, &free);
    if (status < 0)
        return status;
    if (free >= pages || free > (version->top - HF_REGION_HEAP_AT) / HF_REGION_PAGE)
        return HF_CORRUPT;
    *at = version->top - free * HF_REGION_PAGE;
    status = hf_heap_grow(txn, *at + pages * HF_REGION_PAGE);
    if (status == 0 && free > 0)
        status = fill_holes(txn, *at, free * HF_REGION_PAGE);
    if (status == 0 && free > 0)
        status = hf_runs_take(&home, &txn->state.heap.runs, *at / HF_REGION_PAGE, free);
    if (status == 0 && free > 0)
        status = forget_holes(change);
    if (status == 0)
        version->top = *at + pages * HF_REGION_PAGE;
    return status;
}

int hf_runs_alloc(struct hf_txn *txn, uint64_t pages, bool may_grow, uint64_t *at)
{
    struct change change = {.txn = txn};

    if (txn->runs_busy || txn->state.heap.spare_count <= LEAST_SPARES)
        return 0;
    /* Where there are large blocks, so are the blocks that it takes to free them: also when there is space for nothing. */
    int status = may_grow ? begin(&change, txn->state.version.top) : 0;
    if (status == 0)
        status = settle(&change);
    if (status == 0)
        status = take(&change, pages, at);
    if (status == 0 && may_grow) {
        hf_recycle_harvest(txn);
        status = settle(&change);
        if (status == 0)
            status = take(&change, pages, at);
        if (status == 0) {
            status = append(&change, pages, at);
            status = status < 0 ? status : 1;
        }
    }
    finish(&change);
    return status;
}

int hf_heap_runs_visit(struct hf_txn *txn, const struct hf_runs_visitor *visitor)
{
    struct change change = {.txn = txn};
    const struct hf_runs_home home = {&store, &change};

    return hf_runs_visit(&home, &txn->state.heap.runs, visitor);
}

/* -- giving back -- */

/* A walk over the free runs, which come in pieces. */
struct giving {
    hf_region *region;
    uint64_t from, end; /* of the run at hand */
    uint64_t last;      /* where the last one ends that may be given back */
    bool give;          /* those below `holes` */
    uint64_t bytes;
};

static int no_node(void *arg, unsigned level, uint64_t index, uint64_t link)
{
    return 0;
}

static int finish_run(struct giving *giving)
{
    uint64_t holes = giving->region->txn.state.heap.holes;
    uint64_t end = giving->give && giving->end > holes ? holes : giving->end;
    int result = 0;

    if (end < giving->from + HF_REGION_CHUNK)
        return 0;
    giving->last = end;
    if (!giving->give)
        return 0;
    HF_OS_RETRY(result, hf_os_fallocate(giving->region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                        (off_t)giving->from, (off_t)(end - giving->from)));
    if (result < 0)
        return hf_region_status(result);
    giving->bytes += end - giving->from;
    return 0;
}

static int add_to_run(void *arg, uint64_t at, uint64_t count)
{
    struct giving *giving = arg;
    uint64_t from = at * HF_REGION_PAGE;

    if (from < HF_REGION_HEAP_AT || from + count * HF_REGION_PAGE > giving->region->txn.state.version.top)
        return HF_CORRUPT;
    if (from != giving->end) {
        int status = finish_run(giving);
        if (status < 0)
            return status;
        giving->from = from;
    }
    giving->end = from + count * HF_REGION_PAGE;
    return 0;
}

static int walk_runs(struct hf_txn *txn, struct giving *giving)
{
    const struct hf_runs_visitor visitor = {no_node, add_to_run, giving};
    int status = hf_heap_runs_visit(txn, &visitor);

    return status == 0 ? finish_run(giving) : status;
}

/* Publishes where there may be holes. */
static int announce_holes(hf_region *region, int64_t timeout)
{
    struct giving looking = {.region = region};
    struct change change;
    hf_txn *txn;
    int status = hf_txn_begin(region, timeout, &txn);

    if (status < 0)
        return status;
    change = (struct change){.txn = txn};
    status = hf_heap_prepare(txn);
    if (status == 0) {
        hf_recycle_harvest(txn);
        status = settle(&change);
    }
    finish(&change);
    if (status == 0)
        status = walk_runs(txn, &looking);
    txn->state.heap.holes = looking.last;
    txn->changed = true;
    if (status == 0)
        status = hf_txn_commit(txn);
    if (status < 0)
        hf_txn_abort(txn);
    return status;
}

int hf_region_trim(hf_region *region, int64_t timeout, uint64_t *given_back)
{
    struct giving giving = {.region = region, .give = true};
    hf_txn *txn;
    int status = 0;

    *given_back = 0;
    if (region->file != NULL)
        return HF_INVALID;
    status = announce_holes(region, timeout);
    if (status == 0)
        status = hf_txn_begin(region, timeout, &txn);
    if (status < 0)
        return status;
    /* Somebody may have committed in between: `holes` is part of that version too, and of its state is what is free. */
    status = walk_runs(txn, &giving);
    hf_txn_abort(txn);
    *given_back = giving.bytes;
    return status;
}

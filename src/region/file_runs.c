/*
 * file_runs.c: extents of a file, for blocks of more than 4 KiB, and the runs of free space that they are made of.
 *
 *      made      out of the lowest free run that is long enough; else behind `top`, with what is free before it
 *      freed     ---> recent, WAITING, PARKED (file_space.c) ---> a free run, which is one with its neighbours
 *
 * An extent is a multiple of 1 KiB: a granule. The tree of free runs (runs.h) is in the space tree:
 *
 *      RUNS level, index     bits of 2,048 granules, or 16 sums
 *
 * A block that one commit replaces is free for the next but one at the latest, and often for the next: so before the file
 * grows for an extent, those that the record itself has are looked at.
 *
 * Concurrency: by the holder of the writer's lock. Failure: HF_NOMEM, HF_NOSPACE, HF_LIMIT, HF_CORRUPT; the transaction
 * is then given up.
 */
#include "region/file.h"
#include "region/runs.h"

enum {
    GRANULE = 1024 / HF_UNIT, /* units */
    STEP = (64 << 10) / 1024, /* granules that the file grows by at least, for an extent */
    PAGE = HF_REGION_PAGE / 1024,
    CLUSTER = STEP / PAGE, /* pages for small blocks that are taken at once */
    PLENTY = 256,          /* granules of a run that may be cut up for them */
    LEVEL_SHIFT = 48,      /* in a key */
};

uint64_t hf_block_units(uint64_t size)
{
    return size <= HF_REGION_PAGE ? hf_units(size) : (size + 1023) / 1024 * GRANULE;
}

uint64_t hf_extent_count(uint64_t units)
{
    return HF_PIECE_EXTENT | (units / GRANULE - 1);
}

uint64_t hf_extent_units(uint64_t count)
{
    return ((count & ~HF_PIECE_EXTENT) + 1) * GRANULE;
}

/* -- nodes -- */

static uint64_t key_of(unsigned level, uint64_t index)
{
    return hf_space_key(HF_SPACE_RUNS, (uint64_t)level << LEVEL_SHIFT | index);
}

/* Inner nodes have no links here. */
static size_t size_of(unsigned level)
{
    return level == 0 ? sizeof((union hf_runs_node *)0)->free : sizeof((struct hf_runs_inner *)0)->child;
}

/* What was found under the key of a node. */
static int node_read(int found, unsigned level, const hf_span *value, union hf_runs_node *out)
{
    if (found < 0)
        return found;
    if (found == 0 || value->size != size_of(level))
        return HF_CORRUPT;
    memset(out, 0, sizeof *out);
    memcpy(out, value->bytes, value->size);
    return 0;
}

static int node_load(void *txn, unsigned level, uint64_t index, uint64_t link, union hf_runs_node *out)
{
    hf_span value;
    int found = hf_space_get(txn, key_of(level, index), &value);

    return node_read(found, level, &value, out);
}

static int node_store(void *txn, unsigned level, uint64_t index, bool is_new, uint64_t *link,
                      const union hf_runs_node *node)
{
    return hf_space_put(txn, key_of(level, index), node, size_of(level));
}

static int node_drop(void *txn, unsigned level, uint64_t index, uint64_t link)
{
    return hf_space_remove(txn, key_of(level, index));
}

static const struct hf_runs_store store = {node_load, node_store, node_drop};

static struct hf_runs *runs_of(hf_txn *txn)
{
    return &txn->state.file.runs;
}

/* -- extents -- */

int hf_file_runs_free(hf_txn *txn, uint64_t units, uint64_t count)
{
    const struct hf_runs_home home = {&store, txn};
    uint64_t top = txn->state.version.top / HF_UNIT;

    if (units < HF_FILE_HEAP_AT / HF_UNIT || units >= top || count > top - units || count == 0 ||
        (units | count) % GRANULE != 0)
        return HF_CORRUPT;
    return hf_runs_free(&home, runs_of(txn), units / GRANULE, count / GRANULE);
}

/* The lowest free run that is long enough: 1, 0. */
static int find(hf_txn *txn, uint64_t granules, uint64_t *at)
{
    const struct hf_runs_home home = {&store, txn};
    uint64_t top = txn->state.version.top / HF_UNIT / GRANULE;
    int found = hf_runs_find(&home, runs_of(txn), granules, at);

    if (found <= 0)
        return found;
    return *at < HF_FILE_HEAP_AT / 1024 || *at >= top || granules > top - *at ? HF_CORRUPT : 1;
}

static int take(hf_txn *txn, uint64_t granules, uint64_t *units)
{
    const struct hf_runs_home home = {&store, txn};
    uint64_t at;
    int found = find(txn, granules, &at);

    if (found <= 0)
        return found;
    int status = hf_runs_take(&home, runs_of(txn), at, granules);
    *units = at * GRANULE;
    return status < 0 ? status : 1;
}

static int append(hf_txn *txn, uint64_t granules, uint64_t *units)
{
    const struct hf_runs_home home = {&store, txn};
    uint64_t free, at, top = txn->state.version.top / HF_UNIT / GRANULE;
    int status = hf_runs_before(&home, runs_of(txn), top, &free);

    if (status < 0)
        return status;
    if (free >= granules || free > top - HF_FILE_HEAP_AT / 1024)
        return HF_CORRUPT;
    uint64_t need = granules - free, more = need < STEP ? STEP : need;
    status = hf_file_fresh(txn, more * GRANULE, &at);
    if (more > need && (status == HF_NOSPACE || status == HF_LIMIT))
        status = hf_file_fresh(txn, need * GRANULE, &at);
    if (status < 0)
        return status;
    if (free > 0)
        status = hf_runs_take(&home, runs_of(txn), top - free, free);
    *units = (top - free) * GRANULE;
    uint64_t end = txn->state.version.top / HF_UNIT / GRANULE, rest = end - top - need;
    if (status == 0 && rest > 0)
        status = hf_runs_free(&home, runs_of(txn), end - rest, rest);
    return status;
}

int hf_space_extent(hf_txn *txn, uint64_t count, uint64_t *units)
{
    struct hf_file_home *file = txn->region->file;
    uint64_t granules = count / GRANULE;
    int status = take(txn, granules, units);

    if (status == 0 && file->looked_at != txn->state.version.txid) {
        file->looked_at = txn->state.version.txid;
        status = hf_space_look_at_recent(txn);
        if (status == 0)
            status = take(txn, granules, units);
    }
    if (status == 0)
        return append(txn, granules, units);
    return status < 0 ? status : 0;
}

/* -- pages for small blocks -- */

/* Whole pages of the lowest free run that has so many, or nearly so: 1; 0, and nothing has changed. */
static int take_pages(hf_txn *txn, uint64_t pages, uint64_t *units)
{
    const struct hf_runs_home home = {&store, txn};
    uint64_t at;
    int found = find(txn, pages * PAGE, &at);

    if (found > 0 && at % PAGE != 0)
        found = find(txn, pages * PAGE + PAGE - 1, &at);
    if (found <= 0)
        return found;
    at = (at + PAGE - 1) / PAGE * PAGE;
    *units = at * GRANULE;
    int status = hf_runs_take(&home, runs_of(txn), at, pages * PAGE);
    return status < 0 ? status : 1;
}

/*
 * Pages of small blocks stay what they are for long, and each that lies alone between extents keeps two runs apart. So where
 * there are extents, several are taken at once, for the next commits: out of the lowest free run if there is a long one, else
 * from behind the top. (To cut up short ones would send the next extents behind the top, such as those of a manifest.)
 */
static bool is_plenty(const hf_txn *txn)
{
    return txn->state.file.runs.sum.most >= PLENTY;
}

/* Of a free run, in the place of what is left of the one before: 1; 0, and nothing has changed. */
static int pages_of_run(hf_txn *txn, uint64_t pages)
{
    struct hf_file_state *state = &txn->state.file;
    uint64_t rest = state->pages_end - state->pages_at, at = 0;
    int status = take_pages(txn, pages, &at);

    if (status <= 0)
        return status;
    status = rest > 0 ? hf_file_runs_free(txn, state->pages_at, rest) : 0;
    state->pages_at = at;
    state->pages_end = at + pages * HF_PAGE_UNITS;
    return status < 0 ? status : 1;
}

/* Behind the top, and no more than that: 1; 0, and nothing has changed. */
static int pages_behind(hf_txn *txn, uint64_t pages)
{
    struct hf_file_state *state = &txn->state.file;
    uint64_t at;

    if (state->runs.sum.most == 0 || state->pages_at != state->pages_end)
        return 0;
    int status = hf_file_fresh(txn, pages * HF_PAGE_UNITS, &at);
    if (status < 0)
        return status == HF_NOSPACE || status == HF_LIMIT ? 0 : status;
    state->pages_at = at;
    state->pages_end = at + pages * HF_PAGE_UNITS;
    return 1;
}

static uint64_t room_of(const hf_txn *txn)
{
    return txn->state.file.pages_end - txn->state.file.pages_at;
}

int hf_file_pages_ready(hf_txn *txn, uint64_t units)
{
    uint64_t pages = (units + HF_PAGE_UNITS - 1) / HF_PAGE_UNITS;

    if (room_of(txn) >= units || !is_plenty(txn))
        return 0;
    return pages_of_run(txn, pages < CLUSTER ? CLUSTER : pages);
}

int hf_file_pages(hf_txn *txn, uint64_t units, bool last, uint64_t *out)
{
    uint64_t pages = (units + HF_PAGE_UNITS - 1) / HF_PAGE_UNITS;
    int status = last ? 0 : hf_file_pages_ready(txn, units);

    if (status == 0 && room_of(txn) < units && pages < CLUSTER)
        status = pages_behind(txn, CLUSTER);
    if (status == 0 && room_of(txn) < units) {
        status = hf_file_fresh(txn, units, out);
        /* A file that cannot grow has what extents leave. */
        if ((status != HF_NOSPACE && status != HF_LIMIT) || last)
            return status;
        int found = pages_of_run(txn, pages);
        status = found == 0 ? status : found;
    }
    if (status < 0)
        return status;
    *out = txn->state.file.pages_at;
    txn->state.file.pages_at += pages * HF_PAGE_UNITS;
    return 0;
}

/* -- for hf_region_check -- */

static int node_load_seen(void *view, unsigned level, uint64_t index, uint64_t link, union hf_runs_node *out)
{
    hf_span value;
    int found = hf_space_look_up(view, key_of(level, index), &value);

    return node_read(found, level, &value, out);
}

int hf_file_runs_visit(hf_region *region, const struct hf_version *version, const struct hf_file_state *state,
                       const struct hf_runs_visitor *visitor)
{
    static const struct hf_runs_store seen = {.load = node_load_seen};
    hf_view view = {.region = region, .generation = region->generation, .version = *version};
    const struct hf_runs_home home = {&seen, &view};

    view.version.trees[0] = state->space;
    return hf_runs_visit(&home, &state->runs, visitor);
}

/*
 * shared.c: shared memory as a home of a region: what a transaction does there that it does not do in a file.
 *
 * A change is made in memory that no version has (layout.h, L1), so that there is nothing to be written at a commit but
 * the record.
 */
#include "region/impl.h"
#include "region/runs.h"

static int shared_load(hf_txn *txn, uint64_t txid)
{
    const struct hf_commit *record = hf_region_commit(txn->region, txid);
    struct hf_version *version = &txn->state.version;

    if (txid > HF_TXID_MAX || record->seen.txid != txid || record->txid_again != txid)
        return HF_CORRUPT;
    hf_record_version(&record->seen, version);
    txn->state.heap = record->heap;
    return version->top % HF_REGION_PAGE == 0 && hf_runs_are_sound(&record->heap.runs) ? 0 : HF_CORRUPT;
}

static void shared_mark(hf_txn *txn, struct hf_stage_mark *mark)
{
    *mark = (struct hf_stage_mark){0};
}

/* The cache was empty when the state was copied. */
static void shared_rollback(hf_txn *txn, const struct hf_stage_mark *mark)
{
    memset(txn->cached, 0, sizeof txn->cached);
    txn->large_count = 0;
}

static void shared_forget(hf_txn *txn)
{
    memset(txn->cached, 0, sizeof txn->cached);
    txn->large_count = 0;
}

static void publish(hf_txn *txn)
{
    const struct hf_version *version = &txn->state.version;
    struct hf_commit *record = hf_region_commit(txn->region, version->txid);

    if (HF_SABOTAGE(published_early))
        atomic_exchange(&txn->region->lock->published, version->txid);
    if (HF_SABOTAGE(scan_early) && txn->scan.txid + 1 == version->txid)
        txn->scan.txid++;
    hf_record_fill(&record->seen, version);
    record->heap = txn->state.heap;
    record->txid_again = version->txid;
    /* A read-modify-write, in the one order of all such: publication, and the fence before the next scan. */
    atomic_exchange(&txn->region->lock->published, version->txid);
}

static int shared_commit(hf_txn *txn)
{
    struct hf_version *version = &txn->state.version;
    const struct hf_kept_table *table;
    int status = hf_heap_flush(txn);

    if (status < 0)
        return status;
    if (hf_kept_table_at(txn->region, version, &table) == 0 && table != NULL &&
        hf_head_txid(table->head) == version->txid)
        hf_kept_fill(txn, hf_region_at(txn->region, version->kept));
    publish(txn);
    hf_pages_settle(txn->region);
    return 0;
}

static int shared_table_new(hf_txn *txn, uint64_t size, uint64_t *link, void **out)
{
    int status = hf_heap_alloc(txn, size, link);

    if (status == 0)
        *out = hf_region_at(txn->region, *link);
    return status;
}

static int shared_kept_at(const hf_region *region, const struct hf_version *version, const struct hf_kept_table **out)
{
    uint64_t at = version->kept;

    *out = NULL;
    if (at == 0)
        return 0;
    if (at < HF_REGION_HEAP_AT || at % 8 != 0 || at > version->top - sizeof(struct hf_kept_table))
        return HF_CORRUPT;
    const struct hf_kept_table *table = hf_region_at(region, at);
    if (hf_head_kind(table->head) != HF_KIND_TABLE || table->count > HF_REGION_KEPT_MAX ||
        at + hf_kept_table_size(table->count) > version->top)
        return HF_CORRUPT;
    *out = table;
    return 0;
}

/* There is nothing to flush it to, */
static int shared_flush(hf_region *region, int64_t timeout)
{
    return 0;
}

/* and nothing but what both homes have. */
static void shared_stats(hf_region *region, hf_region_stats *stats)
{
}

const struct hf_home hf_home_shared = {
    .load = shared_load,
    .prepare = hf_heap_prepare,
    .undo = hf_heap_undo,
    .settle = hf_heap_flush,
    .mark = shared_mark,
    .rollback = shared_rollback,
    .commit = shared_commit,
    .forget = shared_forget,
    .table_new = shared_table_new,
    .table_free = hf_heap_free,
    .kept_at = shared_kept_at,
    .flush = shared_flush,
    .check = hf_heap_check,
    .stats = shared_stats,
};

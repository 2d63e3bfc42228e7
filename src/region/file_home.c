/*
 * file_home.c: the table by which the rest of the engine knows a file, and the table of kept snapshots in it.
 *
 *      struct hf_version.kept --> | head | count | name, version ... |    a block like others: staged, or in FILE
 *
 * Concurrency: a version's table does not change. Failure: HF_CORRUPT, where what is read cannot be right.
 */
#include "region/file.h"

int hf_file_kept_at(const hf_region *region, const struct hf_version *version, const struct hf_kept_table **out)
{
    uint64_t link = version->kept, units = hf_link_units(link), top = version->top / HF_UNIT;
    const struct hf_kept_table *table = hf_unit_at(region, units);
    const struct hf_stage *stage = &region->file->stage;

    *out = NULL;
    if (link == 0)
        return 0;
    bool staged = units >= stage->at && units < stage->at + stage->top;
    if (!staged && (units < HF_FILE_HEAP_AT / HF_UNIT || units >= top))
        return HF_CORRUPT;
    if (hf_head_kind(table->head) != HF_KIND_TABLE || table->count > HF_REGION_KEPT_MAX)
        return HF_CORRUPT;
    uint64_t size = hf_kept_table_size(table->count);
    if (!staged && (hf_units(size) > top - units || hf_block_verify(region, link, size) < 0))
        return HF_CORRUPT;
    *out = table;
    return 0;
}

int hf_file_kept_durable(const hf_txn *txn, const struct hf_kept_table **out)
{
    const struct hf_root *root = hf_root_of(txn->region, &txn->state.file);
    struct hf_version version = {.top = txn->state.version.top, .kept = root->version.kept};

    *out = NULL;
    return hf_root_is_ours(txn->region, root) ? hf_file_kept_at(txn->region, &version, out) : HF_CORRUPT;
}

static int table_new(hf_txn *txn, uint64_t size, uint64_t *link, void **out)
{
    int status = hf_stage_alloc(txn, size, link);

    if (status == 0)
        *out = hf_unit_at(txn->region, *link);
    return status;
}

const struct hf_home hf_home_file = {
    .load = hf_file_load,
    .prepare = hf_stage_prepare,
    .undo = hf_stage_undo,
    .settle = hf_stage_settle,
    .mark = hf_stage_mark,
    .rollback = hf_stage_rollback,
    .commit = hf_file_commit,
    .forget = hf_stage_forget,
    .table_new = table_new,
    .table_free = hf_stage_free,
    .kept_at = hf_file_kept_at,
    .flush = hf_file_flush,
    .check = hf_file_check,
    .stats = hf_file_stats,
};

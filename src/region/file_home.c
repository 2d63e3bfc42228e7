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

/* The root that is the last durable one by its checksum, copied: it may be written over meanwhile. */
static bool copy_root(const hf_region *region, uint64_t checksum, struct hf_root *out)
{
    for (uint64_t slot = 0; slot < HF_FILE_SLOTS; slot++) {
        memcpy(out, hf_region_at(region, HF_FILE_ROOT_AT + slot * HF_REGION_PAGE), HF_REGION_PAGE);
        if (out->checksum == checksum && hf_root_checksum(out) == checksum)
            return true;
    }
    return false;
}

/* The oldest that this root has: 0, and it, or a failure. */
static int oldest_of_root(hf_region *region, const struct hf_root *root, uint64_t *txid)
{
    const struct hf_kept_table *table;
    int status = hf_pages_seen(region, root->version.top);

    if (status == 0)
        status = hf_file_kept_at(region, &root->version, &table);
    if (status < 0)
        return status;
    for (uint64_t i = 0; table != NULL && i < table->count && i < HF_REGION_KEPT_MAX; i++)
        *txid = table->kept[i].txid < *txid ? table->kept[i].txid : *txid;
    return 0;
}

/*
 * Without the lock: what D has may be used again as soon as there is a later one, so what was read of it counts if it still
 * is the last durable one afterwards. (A commit says first that its version is D, then which root it has. In between, the
 * root of the version before is looked at: what the new one keeps and that does not, the published one keeps too, or it
 * is younger than that.)
 */
int hf_file_oldest_durable(hf_region *region, uint64_t *txid)
{
    enum { TRIES = 100 };
    const struct hf_file_control *shared = region->file->shared;
    struct hf_root *root = hf_alloc(HF_REGION_PAGE);
    uint64_t oldest = 0;
    bool found = false;

    if (root == NULL)
        return HF_NOMEM;
    for (int tries = 0; !found && tries < TRIES; tries++) {
        uint64_t durable = atomic_load(&shared->durable), handed = atomic_load(&shared->handed);
        uint64_t checksum = atomic_load(&shared->root_checksum);
        oldest = handed != 0 && handed < durable ? handed : durable;
        found = copy_root(region, checksum, root) && oldest_of_root(region, root, &oldest) == 0;
        atomic_thread_fence(memory_order_acquire);
        found = found && atomic_load(&shared->durable) == durable && atomic_load(&shared->root_checksum) == checksum;
    }
    hf_free(root);
    /* Nobody knows what it has, or who reads what. */
    *txid = found && hf_control_readers(region->fd) == 0 ? oldest : 0;
    return 0;
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

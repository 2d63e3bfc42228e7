/*
 * file_stage.c: the staging area: what a transaction makes before it has a place in the file.
 *
 *      at            top                     limit
 *      |  b  b  .  b  |                      |        blocks of whole units; those of `bins` are free again
 *
 * Nothing of it is in the file, so to roll back is to set `top` back, and what is made and dropped within a transaction
 * costs the file nothing.
 *
 * Invariants
 *  G1  A block in a bin was made since the innermost savepoint. So no state that can come back has it: at a savepoint the
 *      bins are emptied, and what they had is lost until the transaction ends.
 *  G2  hf_stage_free cannot fail: hf_stage_prepare has made room in `freed`.
 *
 * Concurrency: by the holder of the writer's lock, in its own process. Failure: HF_NOMEM, HF_LIMIT; nothing changes.
 */
#include "region/file.h"

#include <sys/mman.h>

enum {
    FREED_AN_OPERATION = 64, /* pieces that one operation frees, at most */
    KIB_UNITS = 1024 / HF_UNIT,
    KEPT_BYTES = 1 << 20, /* of the area that is not given back to the system */
};

/* Large blocks have 5, 6, 7, 8, 10, 12, 14, 16, 20, ... KiB here, so that they can be used again. In the file they have
 * what they need (file_runs.c). */
static int large_class(uint64_t size)
{
    uint64_t kib = (size + 1023) / 1024, doubling = 0;

    while ((UINT64_C(8) << doubling) < kib)
        doubling++;
    uint64_t units = (kib + (UINT64_C(1) << doubling) - 1) >> doubling;
    uint64_t class = 4 * doubling + (units < 5 ? 0 : units - 5);
    return class < HF_STAGE_LARGE ? (int)class : HF_LIMIT;
}

static uint64_t large_units(unsigned class)
{
    return (uint64_t)(5 + class % 4) * KIB_UNITS << class / 4;
}

int hf_stage_bin(uint64_t size)
{
    if (size <= HF_REGION_PAGE)
        return (int)hf_units(size);
    /* struct hf_block has 32 bits for it. */
    if (size > UINT32_MAX)
        return HF_LIMIT;
    int class = large_class(size);
    return class < 0 ? class : HF_STAGE_SMALL + 1 + class;
}

static uint64_t bin_units(int bin)
{
    return bin <= HF_STAGE_SMALL ? (uint64_t)bin : large_units((unsigned)(bin - HF_STAGE_SMALL - 1));
}

/* The next one in its bin. It is where a block of the file has its mark: the rest stays readable, since an operation may
 * look once more at what it has just freed. */
static uint64_t *next_of(const hf_region *region, uint64_t units)
{
    struct hf_file_table *block = hf_unit_at(region, units);
    return &block->mark;
}

/* One more, or one less, of what is in use. */
static void account(struct hf_stage *stage, int bin, uint64_t one)
{
    stage->units += one * bin_units(bin);
    if (stage->internal && bin <= HF_STAGE_SMALL)
        stage->internal_units += one * bin_units(bin);
    else if (stage->internal)
        stage->entries += one;
}

static void put_in_bin(hf_txn *txn, uint64_t units, int bin)
{
    struct hf_stage *stage = &txn->region->file->stage;

    *next_of(txn->region, units) = stage->bins[bin];
    stage->bins[bin] = units;
    account(stage, bin, UINT64_MAX);
}

int hf_stage_alloc(hf_txn *txn, uint64_t size, uint64_t *link)
{
    struct hf_stage *stage = &txn->region->file->stage;
    int bin = hf_stage_bin(size);

    if (bin < 0)
        return bin;
    uint64_t count = bin_units(bin), units = stage->bins[bin];
    HF_ASSERT_CHEAP(txn->made_count < HF_MADE);
    if (units != 0) {
        stage->bins[bin] = *next_of(txn->region, units);
    } else {
        if (count > stage->limit - stage->top)
            return HF_LIMIT;
        units = stage->at + stage->top;
        stage->top += count;
    }
    account(stage, bin, 1);
    txn->made[txn->made_count++] = units | (uint64_t)bin << 40;
    *link = units;
    return 0;
}

int hf_stage_freed(hf_txn *txn, uint64_t piece, uint64_t birth, uint64_t unlink)
{
    struct hf_stage *stage = &txn->region->file->stage;

    void *longer = hf_grown(stage->freed, &stage->freed_room, stage->freed_count + 1, sizeof *stage->freed);
    if (longer == NULL)
        return HF_NOMEM;
    stage->freed = longer;
    stage->freed[stage->freed_count++] = (struct hf_file_cell){piece, birth, unlink};
    return 0;
}

void hf_stage_free(hf_txn *txn, uint64_t link, uint64_t size, uint64_t head)
{
    struct hf_file_home *file = txn->region->file;
    uint64_t units = hf_link_units(link);
    int bin = hf_stage_bin(size);

    if (bin < 0)
        return; /* of a damaged file: the block is lost */
    if (hf_is_staged(file, link)) {
        if (hf_txn_owns(txn, head))
            put_in_bin(txn, units, bin);
        else
            account(&file->stage, bin, UINT64_MAX);
        return;
    }
    if (hf_is_in_nursery(link))
        return; /* that is used again as a whole */
    uint64_t taken = hf_block_units(size), count = bin <= HF_STAGE_SMALL ? taken : hf_extent_count(taken);
    uint64_t birth = hf_head_txid(head) | (file->stage.internal ? HF_CELL_INTERNAL : 0);
    int status = hf_stage_freed(txn, hf_piece(units, count), birth, txn->state.version.txid);
    HF_ASSERT(status == 0); /* G2 */
    (void)status;
    txn->state.version.used -= taken * HF_UNIT;
}

int hf_stage_prepare(hf_txn *txn)
{
    struct hf_stage *stage = &txn->region->file->stage;

    txn->made_count = 0;
    void *longer =
        hf_grown(stage->freed, &stage->freed_room, stage->freed_count + FREED_AN_OPERATION, sizeof *stage->freed);
    if (longer == NULL)
        return HF_NOMEM;
    stage->freed = longer;
    return 0;
}

void hf_stage_undo(hf_txn *txn)
{
    while (txn->made_count > 0) {
        uint64_t made = txn->made[--txn->made_count];
        put_in_bin(txn, hf_link_units(made), (int)(made >> 40));
    }
}

static void empty_bins(struct hf_stage *stage)
{
    memset(stage->bins, 0, sizeof stage->bins);
}

int hf_stage_settle(hf_txn *txn)
{
    empty_bins(&txn->region->file->stage);
    return 0;
}

void hf_stage_mark(hf_txn *txn, struct hf_stage_mark *mark)
{
    const struct hf_stage *stage = &txn->region->file->stage;

    *mark = (struct hf_stage_mark){.top = stage->top, .units = stage->units, .freed = stage->freed_count};
}

void hf_stage_rollback(hf_txn *txn, const struct hf_stage_mark *mark)
{
    struct hf_stage *stage = &txn->region->file->stage;

    stage->top = mark->top;
    stage->units = mark->units;
    stage->freed_count = mark->freed;
    empty_bins(stage);
}

void hf_stage_forget(hf_txn *txn)
{
    struct hf_stage *stage = &txn->region->file->stage;

    /* Here, with the lock: after it, it may be another thread's wish. */
    txn->region->file->flush_wanted = false;
    /* The pages that the next transaction will want stay. That the system does not take the others is no harm. */
    if (stage->top * HF_UNIT > KEPT_BYTES)
        hf_os_madvise((char *)hf_unit_at(txn->region, stage->at) + KEPT_BYTES,
                      (stage->top * HF_UNIT - KEPT_BYTES + HF_REGION_PAGE - 1) / HF_REGION_PAGE * HF_REGION_PAGE,
                      MADV_DONTNEED);
    if (stage->freed_room > 1 << 16) {
        hf_free(stage->freed);
        stage->freed = NULL;
        stage->freed_room = 0;
    }
    stage->top = stage->units = stage->internal_units = stage->entries = 0;
    stage->freed_count = 0;
    stage->internal = false;
    empty_bins(stage);
}

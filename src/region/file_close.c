/*
 * file_close.c: closes a region in a file.
 *
 *      finish     flush, waiting for others as long as the region's `patience` is; the last writer flushes a clean mark, and retires the lock file
 *      close      unmap the lock file, give back the locks
 *
 * Concurrency: who is the last is found out under OPENERS (control.h). Failure: the region is closed all the same; a
 * file without a mark is recovered by the next who opens it.
 */
#include "region/file.h"

#define LEAVE INT64_C(2000000000)

static int write_mark(hf_region *region)
{
    uint64_t published = atomic_load(&region->lock->published);
    const struct hf_file_commit *record = (const struct hf_file_commit *)(void *)hf_region_seen(region, published);
    const struct hf_root *root = hf_root_of(region, &record->state);
    struct hf_clean clean = {
        .magic = HF_FILE_CLEAN_MAGIC, .txid = root->version.txid, .root_checksum = root->checksum};

    if (!hf_root_is_ours(region, root) || record->state.durable != published)
        return HF_CORRUPT;
    memcpy(clean.id, root->id, sizeof clean.id);
    clean.checksum = hf_clean_checksum(&clean);
    /* Before, since a write or a flush that fails, or a death, may have left the mark there all the same: F4. */
    atomic_store(&region->file->shared->clean, 1);
    int result = hf_os_pwrite_all(region->fd, &clean, sizeof clean, HF_FILE_CLEAN_AT);
    return result < 0 ? hf_region_status(result) : hf_file_sync(region);
}

int hf_file_finish(hf_region *region)
{
    struct hf_file_home *file = region->file;

    if (file->read_only || !file->control.writable)
        return 0;
    if (atomic_load(&file->shared->broken) != 0)
        return HF_BROKEN;
    /* A writer who was stopped in the middle must not stop everybody else's close. It has FILE open: what is not durable
     * yet is its, or the next one's, to flush, and the mark too. */
    int status = hf_file_flush(region, file->patience);
    /* This thread has a transaction, through another region of the same file. That one is not the last to write, then:
     * what it closes later flushes. */
    if (status < 0 && status != HF_BUSY)
        return status;
    /* Who opens it is not waited for long: without a mark it is only opened more slowly. */
    int last = hf_control_leave(region->fd, &file->control, LEAVE);
    if (last <= 0)
        return last == HF_TIMEOUT ? 0 : last;
    /* Somebody may have died since then, with commits that were not durable. */
    status = hf_file_flush(region, file->patience);
    if (status == 0 && atomic_load(&file->shared->clean) == 0)
        status = write_mark(region);
    if (status == 0)
        status = hf_control_retire(region->fd, &file->control);
    return status < 0 ? status : 0;
}

/* If there is none to be had, the next commit sees to it. */
void hf_file_resume(hf_region *region)
{
    const struct hf_file_home *file = region->file;

    if (file->level == HF_REGION_INTERVAL && !file->read_only &&
        atomic_load(&file->shared->durable) < atomic_load(&region->lock->published))
        hf_flusher_want(region);
}

void hf_file_stop(hf_region *region)
{
    hf_flusher_stop(region);
}

void hf_file_close(hf_region *region)
{
    /* Its locks too: they would stay with the description if a mapping of it did. */
    hf_control_abandon(region->fd, &region->file->control);
    hf_file_free(region);
}

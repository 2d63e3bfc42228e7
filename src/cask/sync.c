/*
 * sync.c: making the log durable, for many at once; and what becomes of a file that is sealed.
 *
 *      threads    put put put put ...                 all append, then want their end to be durable
 *                  |   |   |   |
 *                  v   waiting for `flushed`          one has the duty `flushing`: flushes what there is when it begins,
 *                 flush ---------> all who are covered go on; one of the others is next
 *
 * A flush is: the sealed files that are not flushed, oldest first, the active one up to its end, the folder, if a
 * name in it is new. Only then `durable` moves. So what is durable is a beginning of the log; and that a later file
 * was flushed says that the earlier ones were (recover.c goes by that).
 *
 * A sealed file is flushed, its hint is written, its descriptor closed. The hint is made from the log itself: a put
 * pays nothing for it.
 *
 * Concurrency: with the mutex, given back while the disk is waited for. `sealed` grows at its end by who rolls; it
 * loses its first by who has the duty `sealing`, and only once that is flushed. Failure: a flush that fails breaks
 * the cask (cask.h); a hint that cannot be written is none.
 */
#include "cask/cask.h"

#include "base/wait.h"

#include <sched.h>
#include "cask/sabotage.h"

int hf_sync_broken(hf_cask *cask, int status)
{
    if (cask->broken == 0) {
        int error = hf_os_errno();
        cask->broken = error != 0 ? error : EIO;
        atomic_store(&cask->page->broken, (uint64_t)cask->broken);
    }
    pthread_cond_broadcast(&cask->changed);
    return status;
}

static void wait_for_change(hf_cask *cask)
{
    cask->waiting++;
    pthread_cond_wait(&cask->changed, &cask->mutex);
    cask->waiting--;
}

static void tell(hf_cask *cask)
{
    if (cask->waiting > 0)
        pthread_cond_broadcast(&cask->changed);
}

/* With the mutex and the duty. */
static int flush_segment(hf_cask *cask, hf_segment *segment, uint64_t end)
{
    pthread_mutex_unlock(&cask->mutex);
    int status = hf_log_flush(&segment->writer, end);
    pthread_mutex_lock(&cask->mutex);
    return status;
}

/* With the mutex and the duty: the sealed files before this one. */
static int flush_sealed(hf_cask *cask, const hf_segment *upto)
{
    int status = 0;

    for (hf_segment *segment = cask->sealed; status == 0 && segment != NULL && segment != upto;
         segment = segment->next) {
        if (segment->flushed)
            continue;
        status = flush_segment(cask, segment, segment->writer.end);
        segment->flushed = status == 0;
    }
    return status;
}

static int flush_folder(hf_cask *cask)
{
    if (!cask->folder_dirty || HF_CASK_FAULT(folder_unsynced))
        return 0;
    cask->folder_dirty = false;
    pthread_mutex_unlock(&cask->mutex);
    int status = hf_cask_folder_sync(cask);
    pthread_mutex_lock(&cask->mutex);
    return status;
}

/* A flush has ended, somehow. */
static void tell_followers(hf_cask *cask)
{
    atomic_fetch_add_explicit(&cask->flushes, 1, memory_order_release);
    hf_wake_all(&cask->flushes);
}

/* With the mutex, and nobody has the duty. */
static int lead(hf_cask *cask)
{
    hf_segment *active = cask->active;
    uint64_t goal = cask->appended, sequence = cask->sequence, end = active == NULL ? 0 : active->writer.end;
    uint32_t filled = hf_index_now(cask)->active->filled;

    cask->flushing = true;
    cask->unsynced_since = 0;
    cask->last_group = cask->asked - cask->answered;
    cask->answered = cask->asked;
    int status = flush_sealed(cask, active);
    if (status == 0 && active != NULL && !HF_CASK_FAULT(synced_early))
        status = flush_segment(cask, active, end);
    if (status == 0)
        status = flush_folder(cask);
    cask->flushing = false;
    if (status < 0) {
        status = hf_sync_broken(cask, HF_BROKEN);
        tell_followers(cask);
        return status;
    }
    cask->durable = goal;
    atomic_store_explicit(&cask->page->synced, goal, memory_order_release);
    if (cask->how.sync == HF_CASK_SYNC_PUT)
        hf_write_show(cask, filled, goal, sequence);
    tell(cask);
    tell_followers(cask);
    return 0;
}

int hf_sync_upto(hf_cask *cask, uint64_t position)
{
    while (cask->durable < position) {
        if (cask->broken != 0)
            return HF_BROKEN;
        if (cask->flushing) {
            wait_for_change(cask);
            continue;
        }
        int status = lead(cask);
        if (status < 0)
            return status;
    }
    return 0;
}

/* With the mutex, which is given back, while another flushes: until that has ended. Those who wait are many; if they all
 * wanted the mutex next, who appends would stand in line with them. */
static void follow(hf_cask *cask)
{
    uint32_t flushes = atomic_load_explicit(&cask->flushes, memory_order_relaxed);

    pthread_mutex_unlock(&cask->mutex);
    hf_wait_while(&cask->flushes, flushes);
}

/* With the mutex, given back meanwhile: who leads lets as many come as came last time, or most of them, but not for
 * long. Else the first of those who were answered would flush for itself alone, and all the others wait for that. */
static void gather(hf_cask *cask)
{
    enum { YIELDS = 100 };

    if (cask->last_group < 3)
        return;
    cask->flushing = true;
    for (int i = 0; i < YIELDS && cask->asked - cask->answered < cask->last_group - cask->last_group / 4; i++) {
        pthread_mutex_unlock(&cask->mutex);
        sched_yield();
        pthread_mutex_lock(&cask->mutex);
    }
    cask->flushing = false;
}

int hf_sync_put(hf_cask *cask, uint64_t position)
{
    cask->asked++;
    while (cask->flushing && cask->durable < position && cask->broken == 0) {
        follow(cask);
        if (atomic_load_explicit(&cask->page->synced, memory_order_acquire) >= position)
            return 0;
        pthread_mutex_lock(&cask->mutex);
    }
    if (cask->durable < position)
        gather(cask);
    int status = hf_sync_upto(cask, position);
    pthread_mutex_unlock(&cask->mutex);
    return status;
}

/* -- sealed files -- */

/* Whatever goes wrong, there is none, and the log is read instead. */
static uint64_t write_hint(hf_cask *cask, const hf_log_file *file)
{
    hf_hint_maker maker;
    uint64_t bytes = 0;

    if (hf_hint_from_log(file, cask->id, cask->seed, NULL, NULL, &maker) < 0)
        return 0;
    if (hf_hint_write(cask->folder, &maker, atomic_load(&file->end), &bytes) < 0)
        bytes = 0;
    hf_hint_maker_clear(&maker);
    return bytes;
}

/* With the mutex and the duty `sealing`: the first of the sealed ones is on the disk. */
static int flush_first(hf_cask *cask, hf_segment *segment)
{
    int status = 0;

    while (!segment->flushed && cask->broken == 0) {
        if (cask->flushing) {
            wait_for_change(cask);
            continue;
        }
        cask->flushing = true;
        status = flush_segment(cask, segment, segment->writer.end);
        cask->flushing = false;
        segment->flushed = status == 0;
        if (status < 0)
            return hf_sync_broken(cask, HF_BROKEN);
        tell(cask);
    }
    return segment->flushed ? 0 : HF_BROKEN;
}

int hf_sync_seal(hf_cask *cask)
{
    uint64_t hint = 0;

    pthread_mutex_lock(&cask->mutex);
    hf_segment *segment = cask->sealing ? NULL : cask->sealed;
    if (segment == NULL || cask->broken != 0) {
        int none = cask->broken != 0 ? HF_BROKEN : 0;
        pthread_mutex_unlock(&cask->mutex);
        return none;
    }
    cask->sealing = true;
    int status = flush_first(cask, segment);
    if (status == 0) {
        pthread_mutex_unlock(&cask->mutex);
        hint = write_hint(cask, segment->writer.file);
        pthread_mutex_lock(&cask->mutex);
        cask->sealed = segment->next;
        if (cask->sealed == NULL)
            cask->sealed_end = &cask->sealed;
        cask->written += hint;
        cask->folder_dirty = true;
    }
    cask->sealing = false;
    tell(cask);
    pthread_mutex_unlock(&cask->mutex);
    if (status < 0)
        return status;
    hf_log_writer_close(&segment->writer);
    hf_free(segment);
    return 1;
}

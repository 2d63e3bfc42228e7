/*
 * thread.c: the cask's own thread: it seals, makes checkpoints, syncs at intervals, merges.
 *
 *      asleep --- `work`, or the time for a sync --> sealed files? -> a checkpoint due? -> a sync due? -> a step of
 *      a merge? --> asleep
 *
 * While writers never pause, files to seal and checkpoints never end. So what these take earns merging as much time, which it
 * has before they are looked at again; else nothing would ever be merged, and the disk fill up.
 *
 * Without a thread the same is done at the end of the call that makes it due.
 *
 * Concurrency: the thread belongs to the cask from the end of opening to the beginning of closing. It takes no
 * signals. Failure: what fails here is told to those who write: cask->broken, cask->fold_failed. What failed is not
 * tried again at once, but with the next reason to.
 */
#include "cask/cask.h"

#include <signal.h>
#include <time.h>

enum { CREDIT = 1000 * 1000 * 1000 }; /* nanoseconds */

static uint64_t monotonic(void)
{
    struct timespec time;

    if (hf_os_clock_gettime(CLOCK_MONOTONIC, &time) < 0)
        return 0;
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* With the mutex: is it time for a sync? *wait: else so long, in nanoseconds; negative: nothing to wait for. */
static bool sync_is_due(const hf_cask *cask, int64_t *wait)
{
    *wait = -1;
    if (cask->how.sync != HF_CASK_SYNC_INTERVAL || cask->unsynced_since == 0 || cask->broken != 0)
        return false;
    uint64_t now = monotonic(), due = cask->unsynced_since + (uint64_t)cask->how.interval;
    if (now >= due)
        return true;
    *wait = (int64_t)(due - now);
    return false;
}

/* With the mutex, given back meanwhile: what `job` says. It earns merging as much time as it takes. */
static int earn(hf_cask *cask, int (*job)(hf_cask *))
{
    pthread_mutex_unlock(&cask->mutex);
    uint64_t start = monotonic();
    int done = job(cask);
    int64_t taken = (int64_t)(monotonic() - start);
    pthread_mutex_lock(&cask->mutex);
    cask->merge_credit += taken;
    if (cask->merge_credit > CREDIT)
        cask->merge_credit = CREDIT;
    return done;
}

/* With the mutex, given back meanwhile: a step of a merge. true: there is more to do. */
static bool merge(hf_cask *cask, int64_t *wait)
{
    int (*step)(hf_cask *) = cask->merge_step;

    if (step == NULL || cask->stopping)
        return false;
    pthread_mutex_unlock(&cask->mutex);
    uint64_t start = monotonic();
    int done = step(cask);
    int64_t taken = (int64_t)(monotonic() - start);
    pthread_mutex_lock(&cask->mutex);
    cask->merge_credit = done > 0 && cask->merge_credit > taken ? cask->merge_credit - taken : 0;
    if (cask->merge_nap > 0 && (*wait < 0 || *wait > cask->merge_nap))
        *wait = cask->merge_nap;
    return done > 0;
}

/* With the mutex, given back meanwhile. Does one thing: true if there was one. */
static bool work(hf_cask *cask, int64_t *wait)
{
    *wait = -1;
    if (cask->broken != 0)
        return false;
    if (cask->has_thread && cask->merge_credit > 0 && merge(cask, wait))
        return true;
    if (cask->sealed != NULL && !cask->sealing) {
        int sealed = earn(cask, hf_sync_seal);
        if (sealed != 0)
            return sealed > 0;
    }
    if (hf_checkpoint_is_due(cask))
        return earn(cask, hf_checkpoint) == 0;
    if (sync_is_due(cask, wait))
        return hf_sync_upto(cask, cask->appended) == 0;
    return merge(cask, wait);
}

static void sleep_until(hf_cask *cask, int64_t wait)
{
    if (wait < 0) {
        pthread_cond_wait(&cask->work, &cask->mutex);
        return;
    }
    uint64_t until = monotonic() + (uint64_t)wait;
    struct timespec time = {.tv_sec = (time_t)(until / 1000000000), .tv_nsec = (long)(until % 1000000000)};
    pthread_cond_timedwait(&cask->work, &cask->mutex, &time);
}

static void *run(void *arg)
{
    hf_cask *cask = arg;
    int64_t wait;

    pthread_mutex_lock(&cask->mutex);
    while (!cask->stopping)
        if (!work(cask, &wait) && !cask->stopping)
            sleep_until(cask, wait);
    pthread_mutex_unlock(&cask->mutex);
    return NULL;
}

int hf_thread_start(hf_cask *cask)
{
    sigset_t all, before;

    if (cask->how.no_thread || !cask->writable)
        return 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    cask->has_thread = true;
    int result = pthread_create(&cask->thread, NULL, run, cask);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (result != 0)
        cask->has_thread = false;
    return result != 0 ? hf_os_status(-result) : 0;
}

void hf_thread_stop(hf_cask *cask)
{
    if (!cask->has_thread)
        return;
    pthread_mutex_lock(&cask->mutex);
    cask->stopping = true;
    pthread_cond_signal(&cask->work);
    pthread_mutex_unlock(&cask->mutex);
    pthread_join(cask->thread, NULL);
    cask->has_thread = false;
}

void hf_thread_inline(hf_cask *cask)
{
    int64_t wait;

    pthread_mutex_lock(&cask->mutex);
    while (work(cask, &wait))
        ;
    pthread_mutex_unlock(&cask->mutex);
}

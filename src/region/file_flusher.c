/*
 * file_flusher.c: the thread that makes commits durable at the level HF_REGION_INTERVAL, when nobody else does.
 *
 *      a commit that is not durable ---> wanted ---> (so long after the last flush) ---> hf_region_flush
 *
 * A commit that comes later than `interval` after the last flush is durable itself; the thread is for the last of a row. It
 * is there from the first such commit on until the region is closed, and blocks all signals.
 *
 * Concurrency: `mutex` guards the rest. The thread holds it never while it flushes. fork: a child has no such thread, and
 * gets one with its own first commit. Failure: where there is no thread to be had the commit is made durable at once, by
 * whoever made it. A flush that fails for want of space is made again after another interval; a broken store is left.
 */
#include "region/file.h"

#include <signal.h>

struct hf_flusher {
    hf_region *region;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool wanted, stop;
};

enum { PATIENCE = 100 * 1000 * 1000 };

static struct timespec later(int64_t nanoseconds)
{
    struct timespec time = {0};

    /* At worst it is woken too early. */
    if (hf_os_clock_gettime(CLOCK_MONOTONIC, &time) < 0)
        return time;
    nanoseconds += time.tv_nsec;
    time.tv_sec += (time_t)(nanoseconds / 1000000000);
    time.tv_nsec = (long)(nanoseconds % 1000000000);
    return time;
}

/* With the mutex: waits until a flush is due, or the end has come. */
static void wait_until_due(struct hf_flusher *flusher)
{
    while (!flusher->wanted && !flusher->stop)
        pthread_cond_wait(&flusher->changed, &flusher->mutex);
    struct timespec due = later(flusher->region->file->interval);
    while (!flusher->stop && pthread_cond_timedwait(&flusher->changed, &flusher->mutex, &due) != ETIMEDOUT)
        ;
}

static void *run(void *argument)
{
    struct hf_flusher *flusher = argument;

    pthread_mutex_lock(&flusher->mutex);
    for (;;) {
        wait_until_due(flusher);
        if (flusher->stop)
            break;
        flusher->wanted = false;
        pthread_mutex_unlock(&flusher->mutex);
        int status = hf_region_flush(flusher->region, PATIENCE);
        pthread_mutex_lock(&flusher->mutex);
        if (status == HF_TIMEOUT || status == HF_NOSPACE || status == HF_NOMEM)
            flusher->wanted = true;
    }
    pthread_mutex_unlock(&flusher->mutex);
    return NULL;
}

static int start(hf_region *region)
{
    struct hf_flusher *flusher = hf_alloc(sizeof *flusher);
    pthread_condattr_t how;
    sigset_t all, old;

    if (flusher == NULL)
        return HF_NOMEM;
    *flusher = (struct hf_flusher){.region = region};
    pthread_mutex_init(&flusher->mutex, NULL);
    pthread_condattr_init(&how);
    pthread_condattr_setclock(&how, CLOCK_MONOTONIC);
    pthread_cond_init(&flusher->changed, &how);
    pthread_condattr_destroy(&how);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int error = pthread_create(&flusher->thread, NULL, run, flusher);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (error != 0) {
        hf_free(flusher);
        return HF_LIMIT;
    }
    region->file->flusher = flusher;
    return 0;
}

int hf_flusher_want(hf_region *region)
{
    struct hf_flusher *flusher;

    if (region->file->flusher == NULL) {
        int status = start(region);
        if (status < 0)
            return status;
    }
    flusher = region->file->flusher;
    pthread_mutex_lock(&flusher->mutex);
    if (!flusher->wanted)
        pthread_cond_signal(&flusher->changed);
    flusher->wanted = true;
    pthread_mutex_unlock(&flusher->mutex);
    return 0;
}

void hf_flusher_stop(hf_region *region)
{
    struct hf_flusher *flusher = region->file->flusher;

    if (flusher == NULL)
        return;
    pthread_mutex_lock(&flusher->mutex);
    flusher->stop = true;
    pthread_cond_signal(&flusher->changed);
    pthread_mutex_unlock(&flusher->mutex);
    pthread_join(flusher->thread, NULL);
    pthread_cond_destroy(&flusher->changed);
    pthread_mutex_destroy(&flusher->mutex);
    hf_free(flusher);
    region->file->flusher = NULL;
}

/* Its mutex may be anybody's. */
void hf_flusher_forget(hf_region *region)
{
    hf_free(region->file->flusher);
    region->file->flusher = NULL;
}

/*
 * merge.c: merging: who does it, when, step by step. merge.h says what is done, and why a crash does no harm.
 *
 *      thread       hf_merge_step, between its other work:  a step, a step, ... until nothing is worth it
 *      no thread    a step at the end of each call that writes
 *      by call      hf_cask_merge: all the steps, one after the other
 *
 *      a step       256 KiB are read, or some 1,000 keys moved, 64 at a time with the mutex; or it is a flush, or a
 *                   checkpoint
 *
 * The rate bounds what is read: who has read faster than that sleeps, a little at a time, so that the thread's
 * other work waits for no more than that.
 *
 * Failure. Before the manifest has the output, the merge is dropped: the output goes, the victims are as they were.
 * After it, the stage is tried again by the next step. In either case the thread lets some time pass, twice as much
 * each time. A flush that fails breaks the cask, and nothing is merged any more.
 *
 * Concurrency: the duty `merging`, taken for a step by the thread, for all of it by hf_cask_merge, for which
 * `calling` keeps the thread out in between.
 */
#include "cask/merge.h"

#define SECOND UINT64_C(1000000000)

enum {
    NAP = 20 * 1000 * 1000, /* nanoseconds */
};

static uint64_t monotonic(void)
{
    struct timespec time;

    if (hf_os_clock_gettime(CLOCK_MONOTONIC, &time) < 0)
        return 0;
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

/* -- the end of a merge -- */

static void remove_output(hf_cask *cask, struct hf_merge *m)
{
    char name[HF_LOG_NAME_SIZE];

    hf_log_writer_close(&m->output);
    m->has_output = false;
    hf_log_name(m->number, HF_HINT_SUFFIX, name);
    hf_os_unlinkat(cask->folder, name, 0);
    hf_log_name(m->number, HF_LOG_SUFFIX, name);
    hf_os_unlinkat(cask->folder, name, 0);
}

void hf_merge_drop(hf_cask *cask, struct hf_merge *m)
{
    if (m->has_output)
        remove_output(cask, m);
    while (m->count > 0)
        hf_log_drop(m->victims[--m->count]);
    for (size_t i = 0; i < m->others_count; i++)
        hf_hint_close(&m->others[i].hint);
    m->others_count = 0;
    hf_hint_maker_clear(&m->maker);
    hf_free(m->buffer);
    m->buffer = NULL;
    m->used = m->room = 0;
    m->gone_count = m->begin_gone = 0;
    hf_log_drop(m->file);
    m->file = NULL;
    m->generation = 0;
    m->total = 0;
    m->stage = MERGE_IDLE;
}

static void count_merged(hf_cask *cask, const struct hf_merge *m)
{
    uint64_t copied = m->file != NULL ? atomic_load(&m->file->end) - HF_CASK_DATA_AT : 0;

    pthread_mutex_lock(&cask->mutex);
    cask->merged.files += m->count;
    cask->merged.copied += copied;
    cask->merged.dropped += m->total > copied ? m->total - copied : 0;
    pthread_mutex_unlock(&cask->mutex);
}

/* -- the rate -- */

/* How long it has to wait for, in nanoseconds. */
static uint64_t owed(const struct hf_merge *m)
{
    uint64_t now = monotonic();

    return m->due > now ? m->due - now : 0;
}

static void charge(const hf_cask *cask, struct hf_merge *m, uint64_t bytes)
{
    uint64_t rate = cask->how.merging.rate, now;

    if (rate == 0 || rate == HF_CASK_NEVER)
        return;
    now = monotonic();
    m->due = (m->due > now ? m->due : now) + (uint64_t)((double)bytes * (double)SECOND / (double)rate);
}

/* -- stages -- */

/* Which of the interrupted merges is next, if there is one. */
static int resume_next(hf_cask *cask, struct hf_merge *m)
{
    for (size_t i = 0; i < m->leaving_count; i++)
        if (m->leaving[i].txid == 0)
            return hf_merge_resume(cask, m);
    return 0;
}

/* 1: something was done, or is to be done; 0: nothing. */
static int begin(hf_cask *cask, struct hf_merge *m, uint64_t upto)
{
    int status = resume_next(cask, m);

    if (status < 0 || m->stage != MERGE_IDLE)
        return status < 0 ? status : 1;
    int left = hf_merge_leave(cask, m);
    if (left != 0 || upto == 0)
        return left;
    status = hf_merge_choose(cask, m, upto, true);
    if (status <= 0)
        return status;
    status = hf_merge_prepare(cask, m);
    if (status < 0)
        return status;
    m->stage = MERGE_COPY;
    return 1;
}

static int copy(hf_cask *cask, struct hf_merge *m)
{
    uint64_t before = m->total + m->read;
    int more = hf_merge_copy(cask, m);
    uint64_t after_it = m->total + m->read; /* the next victim's begins where the last one's ended */

    if (after_it > before)
        charge(cask, m, after_it - before);
    if (more == 0)
        m->stage = MERGE_COMMIT;
    return more;
}

/* To the next stage, or not yet. */
static int after(struct hf_merge *m, int more, enum hf_merge_stage next)
{
    if (more == 0)
        m->stage = next;
    return more < 0 ? more : 1;
}

/* Moves, but does not let the tail get long: a checkpoint that is overdue comes first. */
static int move(hf_cask *cask, struct hf_merge *m)
{
    enum { BACKLOG = 2 };

    pthread_mutex_lock(&cask->mutex);
    const hf_index *index = hf_index_now(cask);
    bool overdue =
        index->active->filled / BACKLOG >= cask->fold_entries || (!cask->has_thread && hf_checkpoint_is_due(cask));
    pthread_mutex_unlock(&cask->mutex);
    int status = overdue ? hf_checkpoint(cask) : 0;
    return status < 0 ? status : hf_merge_move(cask, m);
}

static int do_stage(hf_cask *cask, struct hf_merge *m, uint64_t upto)
{
    int status;

    switch (m->stage) {
    case MERGE_IDLE:
        return begin(cask, m, upto);
    case MERGE_COPY:
        status = copy(cask, m);
        return status < 0 ? status : 1;
    case MERGE_COMMIT:
        return after(m, hf_merge_commit(cask, m), MERGE_MOVE);
    case MERGE_MOVE:
        return after(m, move(cask, m), m->total == 0 ? MERGE_SWEEP : MERGE_SETTLE);
    case MERGE_SWEEP:
        return after(m, hf_merge_sweep(cask, m), MERGE_SETTLE);
    default:
        status = hf_merge_settle(cask, m);
        if (status < 0)
            return status;
        count_merged(cask, m);
        hf_merge_drop(cask, m);
        return 1;
    }
}

/* With the duty: a step. 1: there is more; 0: nothing is to be done; a failure, and what can be taken back was. */
static int step(hf_cask *cask, struct hf_merge *m, uint64_t upto)
{
    int status = do_stage(cask, m, upto);
    bool revoked = status < 0 && m->stage <= MERGE_COMMIT;

    if (status == HF_BROKEN) {
        pthread_mutex_lock(&cask->mutex);
        hf_sync_broken(cask, status);
        pthread_mutex_unlock(&cask->mutex);
    }
    if (revoked)
        hf_merge_drop(cask, m);
    /* The victim was damaged; there may be others. */
    if (revoked && status == HF_CORRUPT && m->refused)
        return 1;
    return status;
}

/* -- the thread -- */

/* With the mutex, and nobody has the duty: neither a checkpoint nor a new file since there was nothing to do. */
static bool is_idle(hf_cask *cask, const struct hf_merge *m)
{
    return m->idle && m->idle_base == hf_index_now(cask)->base && m->idle_next == cask->next_number;
}

static bool take_duty(hf_cask *cask, struct hf_merge *m)
{
    pthread_mutex_lock(&cask->mutex);
    bool taken = !cask->merging && !m->calling && cask->broken == 0 && !cask->stopping;
    /* The thread comes seldom, but without one every put asks. */
    if (taken && !cask->has_thread && is_idle(cask, m))
        taken = false;
    cask->merging = cask->merging || taken;
    pthread_mutex_unlock(&cask->mutex);
    return taken;
}

/* The thread looks again after a while: for victims that somebody can still look at, and for what has failed. */
static void give_duty(hf_cask *cask, bool idle)
{
    struct hf_merge *m = cask->merge;

    pthread_mutex_lock(&cask->mutex);
    cask->merging = false;
    m->idle = idle;
    m->idle_base = hf_index_now(cask)->base;
    m->idle_next = cask->next_number;
    cask->merge_nap = m->patience > 0 ? (int64_t)m->patience : m->leaving_count > 0 ? (int64_t)SECOND : 0;
    if (cask->waiting > 0)
        pthread_cond_broadcast(&cask->changed);
    pthread_mutex_unlock(&cask->mutex);
}

static void note_failure(struct hf_merge *m, int status)
{
    if (status >= 0) {
        if (m->stage == MERGE_IDLE)
            m->patience = 0;
        return;
    }
    m->patience = m->patience == 0 ? SECOND : m->patience < 600 * SECOND ? 2 * m->patience : m->patience;
    m->retry = monotonic() + m->patience;
}

/* What the cask's thread calls, or, without one, who writes: then the merge goes on with the next call. */
static int step_beside(hf_cask *cask)
{
    struct hf_merge *m = cask->merge;
    uint64_t upto = cask->how.merging.by_call ? 0 : HF_CASK_FILES;
    int status = 0;

    if (!take_duty(cask, m))
        return 0;
    uint64_t wait = owed(m);
    if (wait > 0 && cask->has_thread)
        hf_os_sleep(wait < NAP ? (int64_t)wait : NAP);
    if (wait > 0)
        status = 1;
    else if (m->patience == 0 || monotonic() >= m->retry)
        status = step(cask, m, upto);
    note_failure(m, status);
    give_duty(cask, status == 0 && m->stage == MERGE_IDLE);
    return cask->has_thread ? status : 0;
}

/* -- opening and closing -- */

int hf_merge_begin(hf_cask *cask)
{
    struct hf_merge *m = hf_alloc(sizeof *m);

    if (m == NULL)
        return HF_NOMEM;
    memset(m, 0, sizeof *m);
    cask->merge = m;
    int status = hf_merge_remember(cask, m);
    if (status < 0)
        return status;
    /* What was interrupted is finished here, if it can be; else it is tried again. */
    while ((m->leaving_count > 0 || m->stage != MERGE_IDLE) && (status = step(cask, m, 0)) > 0)
        ;
    note_failure(m, status);
    cask->merge_step = step_beside;
    return 0;
}

void hf_merge_stop(hf_cask *cask)
{
    struct hf_merge *m = cask->merge;

    if (m == NULL || cask->broken != 0)
        return;
    cask->merge_step = NULL;
    if (m->stage == MERGE_COPY || m->stage == MERGE_COMMIT)
        hf_merge_drop(cask, m);
    while (m->stage != MERGE_IDLE || m->leaving_count > 0)
        if (step(cask, m, 0) <= 0)
            break;
}

void hf_merge_end(hf_cask *cask)
{
    struct hf_merge *m = cask->merge;

    if (m == NULL)
        return;
    /* In the child of a fork nothing is removed: it is the parent's. What a step was at when it was copied may be
       in any order. */
    if (atomic_load(&cask->lost) && cask->merging)
        return;
    if (m->has_output && atomic_load(&cask->lost)) {
        hf_log_writer_close(&m->output);
        m->has_output = false;
    }
    hf_merge_drop(cask, m);
    hf_free(m->gone);
    hf_free(m->others);
    hf_free(m->leaving);
    hf_free(m->ages);
    hf_free(m);
    cask->merge = NULL;
}

/* -- the public calls -- */

static int may_merge(const hf_cask *cask)
{
    if (atomic_load_explicit(&cask->lost, memory_order_relaxed))
        return HF_LOST;
    return cask->writable ? 0 : HF_DENIED;
}

/* For a call: the duty, which the thread gives up after its step. HF_BUSY: another call has it. */
static int take_for_call(hf_cask *cask)
{
    struct hf_merge *m = cask->merge;
    int status = 0;

    pthread_mutex_lock(&cask->mutex);
    if (m->calling) {
        pthread_mutex_unlock(&cask->mutex);
        return HF_BUSY;
    }
    m->calling = true;
    while (cask->merging) {
        cask->waiting++;
        pthread_cond_wait(&cask->changed, &cask->mutex);
        cask->waiting--;
    }
    if (cask->broken != 0) {
        m->calling = false;
        status = HF_BROKEN;
    }
    cask->merging = status == 0;
    pthread_mutex_unlock(&cask->mutex);
    return status;
}

static void give_from_call(hf_cask *cask)
{
    pthread_mutex_lock(&cask->mutex);
    cask->merge->calling = false;
    pthread_mutex_unlock(&cask->mutex);
    give_duty(cask, false);
}

int hf_merge_hold(hf_cask *cask)
{
    return take_for_call(cask);
}

void hf_merge_release(hf_cask *cask)
{
    give_from_call(cask);
}

int hf_cask_needs_merge(hf_cask *cask)
{
    int status = may_merge(cask);

    if (status == 0)
        status = take_for_call(cask);
    if (status < 0)
        return status;
    status = hf_merge_choose(cask, cask->merge, HF_CASK_FILES, false);
    give_from_call(cask);
    return status;
}

/* With the duty. */
static int merge_all(hf_cask *cask, unsigned files)
{
    struct hf_merge *m = cask->merge;
    uint64_t before = cask->merged.files, upto = cask->next_number;
    int status = 1;

    m->refused = false;
    while (status > 0) {
        uint64_t wait = owed(m);
        if (wait > 0) {
            hf_os_sleep((int64_t)wait);
            continue;
        }
        bool enough = m->stage == MERGE_IDLE && files > 0 && cask->merged.files - before >= files;
        m->limit = files > 0 && !enough ? (size_t)(files - (cask->merged.files - before)) : 0;
        status = step(cask, m, enough ? 0 : upto);
    }
    m->limit = 0;
    return status == 0 && m->refused ? HF_CORRUPT : status;
}

int hf_cask_merge(hf_cask *cask, unsigned files, hf_cask_merged *out)
{
    int status = may_merge(cask);

    if (status == 0)
        status = take_for_call(cask);
    if (status < 0)
        return status;
    hf_cask_merged before = cask->merged, after_it;
    status = merge_all(cask, files);
    after_it = cask->merged;
    give_from_call(cask);
    if (out != NULL)
        *out = (hf_cask_merged){
            .files = after_it.files - before.files,
            .copied = after_it.copied - before.copied,
            .dropped = after_it.dropped - before.dropped,
        };
    return status;
}

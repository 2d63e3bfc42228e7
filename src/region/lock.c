/*
 * lock.c: the writer's lock: a robust, error-checking mutex in the region itself.
 *
 *      hf_lock_acquire -- trylock --> got it                              19 ns
 *                             |---> the owner died: it is ours, and what it did not publish is forgotten by itself
 *                             |---> EDEADLK, but this thread has it not: a thread of another pid namespace has the
 *                             |     same number, and holds it: wait and try again
 *                             '---> wait, in the kernel, for as long as was allowed
 *
 * Why a dead owner needs no repair: a transaction changes only its own copy of the commit record, and memory that the
 * published record does not count (layout.h, L1). The next writer begins from that record.
 *
 * Concurrency: hf_region_held_by_me may be asked by any thread. Failure: HF_TIMEOUT; HF_CORRUPT where the mutex says
 * what it should not.
 */
#include "region/impl.h"

#include <pthread.h>
#include <time.h>

enum { SLICE = 50 * 1000 * 1000, NAP = 1000 * 1000 };

int hf_lock_init(struct hf_lock_area *lock)
{
    pthread_mutexattr_t how;
    int error = pthread_mutexattr_init(&how);

    if (error != 0)
        return error == ENOMEM ? HF_NOMEM : HF_IO;
    error = pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
    if (error == 0)
        error = pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST);
    if (error == 0)
        error = pthread_mutexattr_settype(&how, PTHREAD_MUTEX_ERRORCHECK);
    if (error == 0)
        error = pthread_mutex_init(&lock->mutex, &how);
    pthread_mutexattr_destroy(&how);
    return error == 0 ? 0 : HF_IO;
}

#ifdef __GLIBC__

/* What kind the C library notes in a mutex that is made as ours are. */
static int kind_of_ours(void)
{
    static _Atomic int known;
    int kind = atomic_load_explicit(&known, memory_order_relaxed);

    if (kind == 0) {
        struct hf_lock_area one;
        if (hf_lock_init(&one) < 0)
            return 0;
        kind = one.mutex.__data.__kind;
        pthread_mutex_destroy(&one.mutex);
        atomic_store_explicit(&known, kind, memory_order_relaxed);
    }
    return kind;
}

/* Whoever can write to the memory can make another kind of mutex of it, and there are some with which the C library ends
 * the process. */
static bool is_ours(const pthread_mutex_t *mutex)
{
    return __atomic_load_n(&mutex->__data.__kind, __ATOMIC_RELAXED) == kind_of_ours();
}

#else

static bool is_ours(const pthread_mutex_t *mutex)
{
    (void)mutex;
    return true;
}

#endif

uint64_t hf_thread_self(void)
{
    static _Atomic uint64_t next;
    static _Thread_local __attribute__((tls_model("initial-exec"))) uint64_t mine;

    if (__builtin_expect(mine == 0, 0))
        mine = atomic_fetch_add(&next, 1) + 1;
    return mine;
}

bool hf_region_held_by_me(const hf_region *region)
{
    bool held = false;

    hf_region_registry_lock();
    for (const hf_region *other = hf_region_registry; other != NULL; other = other->next) {
        const hf_txn *txn = &other->txn;
        held |= other->dev == region->dev && other->ino == region->ino && atomic_load(&txn->active) &&
                atomic_load(&txn->owner) == hf_thread_self();
    }
    hf_region_registry_unlock();
    return held;
}

static int now(int64_t *out)
{
    struct timespec time;
    int result = hf_os_clock_gettime(CLOCK_MONOTONIC, &time);

    if (result < 0)
        return hf_region_status(result);
    *out = (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
    return 0;
}

#ifdef __SANITIZE_THREAD__

/* ThreadSanitizer knows of owners that died only where trylock finds out. */
static int wait_for(pthread_mutex_t *mutex, int64_t nanoseconds)
{
    int result = hf_os_sleep(nanoseconds < NAP ? nanoseconds : NAP);

    return result < 0 ? -result : pthread_mutex_trylock(mutex);
}

#else

/* Waits for the mutex, at most so long. */
static int wait_for(pthread_mutex_t *mutex, int64_t nanoseconds)
{
    struct timespec until;
    int result = hf_os_clock_gettime(CLOCK_MONOTONIC, &until);

    if (result < 0)
        return -result;
    nanoseconds += until.tv_nsec;
    until.tv_sec += (time_t)(nanoseconds / 1000000000);
    until.tv_nsec = (long)(nanoseconds % 1000000000);
    return pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &until);
}

#endif

/* The mutex, not at once: `error` is what trylock said. */
static int acquire_slowly(hf_region *region, int64_t timeout, int error)
{
    pthread_mutex_t *mutex = &region->lock->mutex;
    int64_t start = 0, time = 0;

    if (error != EBUSY && error != EDEADLK && error != ETIMEDOUT && error != EAGAIN)
        return HF_CORRUPT;
    if (hf_region_held_by_me(region))
        return HF_BUSY;
    if (timeout == 0)
        return HF_TIMEOUT;
    int status = now(&start);
    while (status == 0) {
        status = now(&time);
        int64_t left = timeout < 0 ? SLICE : timeout - (time - start);
        if (status < 0)
            break;
        if (left <= 0)
            return HF_TIMEOUT;
        error = wait_for(mutex, left < SLICE ? left : SLICE);
        if (error == 0 || error == EOWNERDEAD)
            return error;
        if (error == EDEADLK) {
            int result = hf_os_sleep(left < NAP ? left : NAP);
            status = result < 0 ? hf_region_status(result) : 0;
        } else if (error != ETIMEDOUT && error != EBUSY && error != EINTR) {
            return error == ENOMEM ? HF_NOMEM : error == ENOTRECOVERABLE ? HF_CORRUPT : HF_IO;
        }
    }
    return status;
}

int hf_lock_acquire(hf_region *region, int64_t timeout)
{
    pthread_mutex_t *mutex = &region->lock->mutex;

    if (__builtin_expect(!is_ours(mutex), 0))
        return HF_CORRUPT;
    int result = pthread_mutex_trylock(mutex);
    if (result != 0 && result != EOWNERDEAD)
        result = acquire_slowly(region, timeout, result);
    if (result == EOWNERDEAD) {
        pthread_mutex_consistent(mutex);
        atomic_fetch_add_explicit(&region->lock->owner_died, 1, memory_order_relaxed);
        result = 0;
    }
    return result;
}

bool hf_lock_can_be_had(hf_region *region)
{
    enum { TRIES = 20 };

    for (int tries = 0; tries < TRIES && is_ours(&region->lock->mutex); tries++) {
        int error = pthread_mutex_trylock(&region->lock->mutex);
        if (error == EOWNERDEAD) {
            pthread_mutex_consistent(&region->lock->mutex);
            atomic_fetch_add_explicit(&region->lock->owner_died, 1, memory_order_relaxed);
        }
        if (error == 0 || error == EOWNERDEAD) {
            hf_lock_release(region);
            return true;
        }
        if (hf_os_sleep(NAP) < 0)
            break;
    }
    return false;
}

void hf_lock_release(hf_region *region)
{
    int error = pthread_mutex_unlock(&region->lock->mutex);

    HF_ASSERT(error == 0);
    (void)error;
}

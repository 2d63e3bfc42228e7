/*
 * lock.c: the writer's lock: a robust, error-checking mutex in the region itself.
 *
 *      hf_lock_acquire -- trylock --> got it                              19 ns
 *                             |---> the owner died: it is ours, and what it did not publish is forgotten by itself
 *                             |---> EDEADLK, but this thread has it not: a thread of another pid namespace has the
 *                             |     same number, and holds it: wait and try again
 *                             '---> wait, for as long as was allowed: spin, nap, in the end wait in the kernel
 *
 * How to wait. A mutex that somebody waits for in the kernel costs its owner a system call at each release, and where a
 * core sleeps an interrupt to wake it. And where writers take turns at each transaction, every one begins with what is in
 * the other core's cache. Either way writers of short transactions together got from a fifth to a half of what one gets. So:
 * who finds the mutex taken spins a little. Where that happens often (`heat`), it naps instead, so that the others have
 * the mutex for some hundred transactions in a row. Where next to nothing was published during a nap, transactions are
 * long (a durable commit is): then it waits in the kernel, at once from then on (`is_slow`), until it sees short ones again.
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

enum {
    SPINS = 8,  /* looks at the mutex, */
    PAUSES = 4, /* with so many pauses before each */
    SHORT_NAP = 200 * 1000,
    LONGEST_NAP = 800 * 1000,
    HEATS = 4, /* by a mutex that was taken; cools by 1 by one that was free */
    HOT = 12,
    HOTTEST = 64,
    FEW = 4,   /* transactions during a nap: they are long; */
    MANY = 16, /* during a wait in the kernel: they are short */
};

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

static inline void pause_briefly(void)
{
    for (int i = 0; i < PAUSES; i++)
#if defined(__x86_64__)
        __builtin_ia32_pause();
#else
        atomic_signal_fence(memory_order_seq_cst);
#endif
}

/* Looks at the mutex again and again, but not for long: what trylock said last. */
static int spin(pthread_mutex_t *mutex)
{
    int error = EBUSY;

    for (int i = 0; i < SPINS && error == EBUSY; i++) {
        pause_briefly();
        error = pthread_mutex_trylock(mutex);
    }
    return error;
}

/* How hot the mutex was found. Nobody minds if another thread's look goes under. */
static bool is_hot(hf_region *region)
{
    unsigned heat = atomic_load_explicit(&region->heat, memory_order_relaxed);

    atomic_store_explicit(&region->heat, heat + HEATS < HOTTEST ? heat + HEATS : HOTTEST, memory_order_relaxed);
    return heat >= HOT;
}

/* One step of waiting, with `left` to come. What trylock said, or an errno. */
static int wait_on(hf_region *region, int64_t left, int64_t *nap)
{
    pthread_mutex_t *mutex = &region->lock->mutex;
    bool slow = atomic_load_explicit(&region->is_slow, memory_order_relaxed);
    uint64_t before = atomic_load_explicit(&region->lock->published, memory_order_relaxed);
    int error;

    if (slow) {
        error = wait_for(mutex, left < SLICE ? left : SLICE);
    } else {
        int result = hf_os_sleep(left < *nap ? left : *nap);
        *nap = *nap < LONGEST_NAP ? *nap * 2 : *nap;
        error = result < 0 ? -result : pthread_mutex_trylock(mutex);
    }
    uint64_t done = atomic_load_explicit(&region->lock->published, memory_order_relaxed) - before;
    if (slow ? done >= MANY : done < FEW)
        atomic_store_explicit(&region->is_slow, !slow, memory_order_relaxed);
    return error;
}

/* The mutex, not at once: `error` is what trylock said. */
static int acquire_slowly(hf_region *region, int64_t timeout, int error)
{
    int64_t start = 0, time = 0, nap = SHORT_NAP;

    if (error != EBUSY && error != EDEADLK && error != ETIMEDOUT && error != EAGAIN)
        return HF_CORRUPT;
    if (hf_region_held_by_me(region))
        return HF_BUSY;
    if (timeout == 0)
        return HF_TIMEOUT;
    if (!is_hot(region) && error == EBUSY) {
        error = spin(&region->lock->mutex);
        if (error == 0 || error == EOWNERDEAD)
            return error;
    }
    int status = now(&start);
    while (status == 0) {
        status = now(&time);
        int64_t left = timeout < 0 ? SLICE : timeout - (time - start);
        if (status < 0)
            break;
        if (left <= 0)
            return HF_TIMEOUT;
        error = wait_on(region, left, &nap);
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
    else if (__builtin_expect(atomic_load_explicit(&region->heat, memory_order_relaxed) > 0, 0))
        atomic_fetch_sub_explicit(&region->heat, 1, memory_order_relaxed);
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

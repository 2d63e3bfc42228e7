/*
 * wait.h: waiting until a word is another one: a futex, without the mutex that a condition variable has.
 *
 *      waiter   value = load(word) ... hf_wait_while(word, value)          returns once it is something else
 *      waker    store(word, another) ... hf_wake_all(word)
 *
 * Who is woken runs on at once. With a condition variable all who are woken want its mutex first, one after the other, which
 * for many threads on few cores is most of what waking them costs.
 *
 * Within a process. Linux only. Concurrency: any thread. Failure: none: who is woken for nothing waits on.
 */
#ifndef HF_BASE_WAIT_H
#define HF_BASE_WAIT_H

#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline void hf_wait_while(_Atomic uint32_t *word, uint32_t value)
{
    while (atomic_load_explicit(word, memory_order_acquire) == value)
        syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static inline void hf_wake_all(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

#endif

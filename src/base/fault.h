/*
 * fault.h: make the n-th call of something fail, for tests.
 *
 * A place that can fail is a *site*: the allocator is one, each OS call is one
 * (their numbers are in os.h). Each site, and each of the two groups, has a
 * counter and a plan:
 *
 *     site      0        1 .. HF_FAULT_SITES - 1        HF_FAULT_ANY_OS   HF_FAULT_ANY
 *               ALLOC    OS calls                       every OS call     everything
 *
 * A call counts at its site and at the groups it belongs to, and fails when the
 * plan of one of them says that it is its turn. The usual test:
 *
 *     for (uint64_t n = 1;; n++) {
 *         hf_fault_arm(HF_FAULT_ANY, n, ENOMEM);
 *         status = operation_under_test();
 *         uint64_t failed = hf_fault_failed(HF_FAULT_ANY);
 *         hf_fault_disarm();
 *         ... check that nothing was lost ...
 *         if (failed == 0)
 *             break;          // the operation makes fewer than n calls
 *     }
 *
 * It is compiled into every build, so that what is tested is what is shipped. The
 * price of a site that is not armed is the test of one word (hf_hooks below).
 *
 * Invariants: a plan with `first` = n fires for exactly the calls n ..
 * n + times - 1 counted from arming, however many threads make them.
 *
 * Concurrency: every function may be called from every thread; one mutex guards
 * the plans and the counters. A thread that is already past the test of hf_hooks
 * when another arms makes its call uncounted; a test that wants an exact count
 * arms before it starts its threads.
 *
 * Failure: none.
 */
#ifndef HF_BASE_FAULT_H
#define HF_BASE_FAULT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum hf_fault_site {
    HF_FAULT_ALLOC = 0,
    HF_FAULT_FIRST_OS = 1,
    HF_FAULT_SITES = 64,
    HF_FAULT_ANY_OS = HF_FAULT_SITES,
    HF_FAULT_ANY,
    HF_FAULT_COUNTERS,
};

#define HF_FAULT_FOREVER UINT64_MAX

struct hf_fault {
    uint64_t first; /* which call fails: 1 is the next; 0: none, only count */
    uint64_t times; /* how many calls fail from there on */
    int error;      /* the errno they fail with, positive */
    bool shorten;   /* instead, a call that transfers two bytes or more
                       transfers half of them; any other is left alone */
};

/*
 * What makes the fast paths of base take the slow one, in one word: bits of
 * HF_HOOK_*. Outside memory.c and fault.c, only read.
 */
#define HF_HOOK_FAULTS 1u    /* a site is armed */
#define HF_HOOK_ALLOCATOR 2u /* hf_allocator_set has been called */

__attribute__((visibility("hidden"))) extern _Atomic unsigned hf_hooks;

static inline bool hf_hooks_any(unsigned which)
{
    unsigned now = atomic_load_explicit(&hf_hooks, memory_order_relaxed);

    return __builtin_expect((now & which) != 0, 0);
}

/* The n-th call of the site or group from now on fails with this errno. */
void hf_fault_arm(unsigned site, uint64_t n, int error);

/* The same with everything that can be said. Other sites keep their plans. */
void hf_fault_arm_plan(unsigned site, const struct hf_fault *plan);

/* All plans and all counters are forgotten; calls are no longer counted. */
void hf_fault_disarm(void);

/*
 * Since the site or group was armed: how many calls it saw, and how many of
 * them its own plan made fail (or shortened). 0 when it is not armed.
 */
uint64_t hf_fault_calls(unsigned site);
uint64_t hf_fault_failed(unsigned site);

/*
 * For the sites themselves: count a call, which transfers `size` bytes or, with
 * 0, none. Is it one that must fail, and how?
 */
bool hf_fault_hit_armed(unsigned site, size_t size, struct hf_fault *how);

static inline bool hf_fault_hit(unsigned site, size_t size, struct hf_fault *how)
{
    return hf_hooks_any(HF_HOOK_FAULTS) && hf_fault_hit_armed(site, size, how);
}

#endif

/*
 * fault.c: see fault.h.
 */
#include "base/fault.h"

#include "base/assert.h"

#include <pthread.h>
#include <string.h>

_Atomic unsigned hf_hooks;

struct hf_fault_counter {
    bool armed;
    struct hf_fault plan;
    uint64_t calls;
    uint64_t failed;
};

static pthread_mutex_t hf_fault_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct hf_fault_counter hf_fault_counters[HF_FAULT_COUNTERS];

void hf_fault_arm_plan(unsigned site, const struct hf_fault *plan)
{
    HF_ASSERT_CHEAP(site < HF_FAULT_COUNTERS);
    HF_ASSERT_CHEAP(plan->error > 0 || plan->shorten || plan->first == 0);

    pthread_mutex_lock(&hf_fault_mutex);
    hf_fault_counters[site] = (struct hf_fault_counter){.armed = true, .plan = *plan};
    atomic_fetch_or(&hf_hooks, HF_HOOK_FAULTS);
    pthread_mutex_unlock(&hf_fault_mutex);
}

void hf_fault_arm(unsigned site, uint64_t n, int error)
{
    struct hf_fault plan = {.first = n, .times = 1, .error = error};

    hf_fault_arm_plan(site, &plan);
}

void hf_fault_disarm(void)
{
    pthread_mutex_lock(&hf_fault_mutex);
    atomic_fetch_and(&hf_hooks, ~HF_HOOK_FAULTS);
    memset(hf_fault_counters, 0, sizeof(hf_fault_counters));
    pthread_mutex_unlock(&hf_fault_mutex);
}

uint64_t hf_fault_calls(unsigned site)
{
    HF_ASSERT_CHEAP(site < HF_FAULT_COUNTERS);

    pthread_mutex_lock(&hf_fault_mutex);
    uint64_t calls = hf_fault_counters[site].calls;
    pthread_mutex_unlock(&hf_fault_mutex);
    return calls;
}

uint64_t hf_fault_failed(unsigned site)
{
    HF_ASSERT_CHEAP(site < HF_FAULT_COUNTERS);

    pthread_mutex_lock(&hf_fault_mutex);
    uint64_t failed = hf_fault_counters[site].failed;
    pthread_mutex_unlock(&hf_fault_mutex);
    return failed;
}

/* Count a call at one counter; called with the mutex held. */
static bool hf_fault_counter_hit(struct hf_fault_counter *counter, size_t size, struct hf_fault *how)
{
    if (!counter->armed)
        return false;
    counter->calls++;

    const struct hf_fault *plan = &counter->plan;
    /* Written so that first + times may exceed 2^64. */
    if (plan->first == 0 || counter->calls < plan->first || counter->calls - plan->first >= plan->times)
        return false;
    if (plan->shorten && size < 2)
        return false;
    counter->failed++;
    *how = *plan;
    return true;
}

bool hf_fault_hit_armed(unsigned site, size_t size, struct hf_fault *how)
{
    HF_ASSERT(site < HF_FAULT_SITES);

    pthread_mutex_lock(&hf_fault_mutex);
    /* Every counter sees the call, so no short cut after the first hit; the
     * most specific plan is asked last and so decides how it fails. */
    bool hit = hf_fault_counter_hit(&hf_fault_counters[HF_FAULT_ANY], size, how);
    if (site >= HF_FAULT_FIRST_OS)
        hit |= hf_fault_counter_hit(&hf_fault_counters[HF_FAULT_ANY_OS], size, how);
    hit |= hf_fault_counter_hit(&hf_fault_counters[site], size, how);
    pthread_mutex_unlock(&hf_fault_mutex);
    return hit;
}

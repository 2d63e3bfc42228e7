/* Fault plans: which calls fail, how they are counted, and that threads do not blur it. */
#include "base/fault.h"

#include "cm.h"

#include <errno.h>
#include <pthread.h>

#define OS_A HF_FAULT_FIRST_OS
#define OS_B (HF_FAULT_SITES - 1)
#define THREADS 8
#define CALLS 200000

static int disarm(void **state)
{
    hf_fault_disarm();
    return 0;
}

static int hit(unsigned site)
{
    struct hf_fault how;

    return hf_fault_hit(site, 0, &how) ? how.error : 0;
}

static void what_is_not_armed_does_not_fail_and_is_not_counted(void **state)
{
    for (unsigned site = 0; site < HF_FAULT_SITES; site++)
        assert_int_equal(hit(site), 0);
    for (unsigned site = 0; site < HF_FAULT_COUNTERS; site++) {
        assert_int_equal(hf_fault_calls(site), 0);
        assert_int_equal(hf_fault_failed(site), 0);
    }
    assert_false(hf_hooks_any(HF_HOOK_FAULTS));
}

static void exactly_the_nth_call_fails(void **state)
{
    for (unsigned n = 1; n <= 20; n++) {
        hf_fault_arm(HF_FAULT_ALLOC, n, ENOSPC);
        for (unsigned call = 1; call <= 25; call++) {
            assert_int_equal(hf_fault_failed(HF_FAULT_ALLOC), call > n);
            assert_int_equal(hit(HF_FAULT_ALLOC), call == n ? ENOSPC : 0);
            assert_int_equal(hf_fault_calls(HF_FAULT_ALLOC), call);
        }
        assert_int_equal(hf_fault_failed(HF_FAULT_ALLOC), 1);
    }
}

static void a_plan_can_fail_several_or_all_later_calls(void **state)
{
    struct hf_fault several = {.first = 3, .times = 2, .error = EIO};
    struct hf_fault all = {.first = 3, .times = HF_FAULT_FOREVER, .error = EIO};

    hf_fault_arm_plan(OS_A, &several);
    hf_fault_arm_plan(OS_B, &all);
    for (unsigned call = 1; call <= 50; call++) {
        assert_int_equal(hit(OS_A), call == 3 || call == 4 ? EIO : 0);
        assert_int_equal(hit(OS_B), call >= 3 ? EIO : 0);
    }
    assert_int_equal(hf_fault_failed(OS_A), 2);
    assert_int_equal(hf_fault_failed(OS_B), 48);
}

static void a_plan_for_no_call_only_counts(void **state)
{
    struct hf_fault count = {.first = 0};

    hf_fault_arm_plan(HF_FAULT_ANY, &count);
    for (unsigned call = 1; call <= 10; call++)
        assert_int_equal(hit(call % 2 ? HF_FAULT_ALLOC : OS_A), 0);
    assert_int_equal(hf_fault_calls(HF_FAULT_ANY), 10);
    assert_int_equal(hf_fault_failed(HF_FAULT_ANY), 0);
    assert_int_equal(hf_fault_calls(OS_A), 0); /* not armed itself */
}

static void groups_count_the_calls_of_their_members(void **state)
{
    hf_fault_arm(HF_FAULT_ANY_OS, 3, EIO);
    hf_fault_arm(HF_FAULT_ANY, 5, ENOMEM);
    assert_int_equal(hit(OS_A), 0);
    assert_int_equal(hit(HF_FAULT_ALLOC), 0);
    assert_int_equal(hit(OS_B), 0);
    assert_int_equal(hit(OS_A), EIO);              /* the third OS call */
    assert_int_equal(hit(HF_FAULT_ALLOC), ENOMEM); /* the fifth of all */
    assert_int_equal(hit(HF_FAULT_ALLOC), 0);
    assert_int_equal(hf_fault_calls(HF_FAULT_ANY_OS), 3);
    assert_int_equal(hf_fault_calls(HF_FAULT_ANY), 6);
}

static void the_most_specific_plan_says_how(void **state)
{
    hf_fault_arm(HF_FAULT_ANY, 1, 1);
    hf_fault_arm(HF_FAULT_ANY_OS, 1, 2);
    hf_fault_arm(OS_A, 1, 3);
    assert_int_equal(hit(OS_A), 3);
    assert_int_equal(hf_fault_failed(HF_FAULT_ANY), 1);
    assert_int_equal(hf_fault_failed(HF_FAULT_ANY_OS), 1);
    assert_int_equal(hf_fault_failed(OS_A), 1);
    assert_int_equal(hit(OS_B), 0);
}

static void a_short_transfer_is_for_calls_that_transfer(void **state)
{
    struct hf_fault shorten = {.first = 1, .times = HF_FAULT_FOREVER, .shorten = true};
    struct hf_fault how = {0};

    hf_fault_arm_plan(HF_FAULT_ANY, &shorten);
    assert_false(hf_fault_hit(OS_A, 0, &how));
    assert_false(hf_fault_hit(OS_A, 1, &how));
    assert_true(hf_fault_hit(OS_A, 2, &how));
    assert_true(how.shorten);
    assert_int_equal(hf_fault_calls(HF_FAULT_ANY), 3);
    assert_int_equal(hf_fault_failed(HF_FAULT_ANY), 1);
}

static void arming_again_starts_afresh_and_leaves_other_sites(void **state)
{
    hf_fault_arm(OS_A, 2, EIO);
    hf_fault_arm(OS_B, 2, EINTR);
    assert_int_equal(hit(OS_A), 0);
    assert_int_equal(hit(OS_B), 0);
    hf_fault_arm(OS_A, 2, EAGAIN);
    assert_int_equal(hf_fault_calls(OS_A), 0);
    assert_int_equal(hit(OS_A), 0);
    assert_int_equal(hit(OS_A), EAGAIN);
    assert_int_equal(hit(OS_B), EINTR);
}

static void disarming_forgets_everything(void **state)
{
    for (unsigned site = 0; site < HF_FAULT_COUNTERS; site++)
        hf_fault_arm(site, 1, EIO);
    assert_int_equal(hit(OS_A), EIO);
    hf_fault_disarm();
    what_is_not_armed_does_not_fail_and_is_not_counted(state);
}

/* So that they do overlap: a thread is over sooner than the next one is started. */
static pthread_barrier_t start;

struct worker {
    pthread_t thread;
    unsigned site;
    uint64_t failed;
};

static void *call_often(void *argument)
{
    struct worker *worker = argument;

    pthread_barrier_wait(&start);
    for (int i = 0; i < CALLS; i++)
        worker->failed += hit(worker->site) != 0;
    return NULL;
}

/* However the threads interleave, the calls with numbers 1000 .. 10999 fail: not one more. */
static void threads_share_one_count(void **state)
{
    struct hf_fault plan = {.first = 1000, .times = 10000, .error = EIO};
    struct worker workers[THREADS];
    uint64_t failed = 0;

    hf_fault_arm_plan(HF_FAULT_ANY, &plan);
    hf_fault_arm(OS_B, CALLS, ENOSPC);
    assert_int_equal(pthread_barrier_init(&start, NULL, THREADS), 0);
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.site = i % 2 ? OS_A : HF_FAULT_ALLOC};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, call_often, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        failed += workers[i].failed;
    }
    assert_int_equal(pthread_barrier_destroy(&start), 0);
    assert_int_equal(failed, 10000);
    assert_int_equal(hf_fault_failed(HF_FAULT_ANY), 10000);
    assert_int_equal(hf_fault_calls(HF_FAULT_ANY), THREADS * CALLS);
    assert_int_equal(hf_fault_calls(OS_B), 0);
}

static void *arm_and_disarm(void *unused)
{
    pthread_barrier_wait(&start);
    for (int i = 0; i < CALLS / 10; i++) {
        hf_fault_arm(OS_A, 1, EIO);
        (void)hf_fault_calls(OS_A);
        hf_fault_disarm();
    }
    return NULL;
}

/* For the thread sanitizer; here, that a failure never comes from a plan that is not there. */
static void arming_while_others_call_is_safe(void **state)
{
    struct worker worker = {.site = OS_A};
    pthread_t armer;

    assert_int_equal(pthread_barrier_init(&start, NULL, 2), 0);
    assert_int_equal(pthread_create(&armer, NULL, arm_and_disarm, NULL), 0);
    assert_int_equal(pthread_create(&worker.thread, NULL, call_often, &worker), 0);
    assert_int_equal(pthread_join(armer, NULL), 0);
    assert_int_equal(pthread_join(worker.thread, NULL), 0);
    assert_int_equal(pthread_barrier_destroy(&start), 0);
    assert_true(worker.failed <= CALLS / 10);
    assert_int_equal(hit(OS_A), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(what_is_not_armed_does_not_fail_and_is_not_counted, disarm),
        cmocka_unit_test_teardown(exactly_the_nth_call_fails, disarm),
        cmocka_unit_test_teardown(a_plan_can_fail_several_or_all_later_calls, disarm),
        cmocka_unit_test_teardown(a_plan_for_no_call_only_counts, disarm),
        cmocka_unit_test_teardown(groups_count_the_calls_of_their_members, disarm),
        cmocka_unit_test_teardown(the_most_specific_plan_says_how, disarm),
        cmocka_unit_test_teardown(a_short_transfer_is_for_calls_that_transfer, disarm),
        cmocka_unit_test_teardown(arming_again_starts_afresh_and_leaves_other_sites, disarm),
        cmocka_unit_test_teardown(disarming_forgets_everything, disarm),
        cmocka_unit_test_teardown(threads_share_one_count, disarm),
        cmocka_unit_test_teardown(arming_while_others_call_is_safe, disarm),
    };

    return cmocka_run_group_tests_name("base/fault", tests, NULL, NULL);
}

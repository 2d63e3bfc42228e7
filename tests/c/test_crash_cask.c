/*
 * The laboratory on the cask as it is: it finds nothing. What it would find: test_crash_cask_sabotage.c.
 */
#include "cm.h"

#include "cask_lab.h"
#include "power.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SLOW = 8 };
#else
enum { SLOW = 1 };
#endif

/* ThreadSanitizer makes a section of some hundred thousand instructions of it, and has nothing to say of processes. */
#if defined(__SANITIZE_THREAD__)
enum { STEPS = 0 };
#else
enum { STEPS = 1 };
#endif

static struct hf_report report_of(const char *tool, const char *name, const char *unit, uint64_t most)
{
    return (struct hf_report){.tool = tool, .subject = name, .unit = unit, .most = most};
}

static void expect_nothing(const struct hf_report *report)
{
    if (hf_report_close(report) == 77)
        skip();
    assert_int_equal(report->violations, 0);
    assert_true(report->count > 0 && (report->most == 0 || report->count == report->most));
}

/* `before`: changes of the store's history; `steps`: those whose power cuts are looked at. */
static void power(uint64_t images, unsigned before, unsigned steps)
{
    struct hf_power_options options = HF_POWER_DEFAULTS;
    struct hf_report report = report_of("power", cask_mixed.name, "images", images / SLOW);

    options.before = before;
    options.steps = steps;
    hf_power_run(&cask_mixed, &options, &report);
    expect_nothing(&report);
}

static void steps(const struct hf_subject *subject, unsigned stride)
{
    struct hf_kill_options options = HF_KILL_DEFAULTS;
    struct hf_report report = report_of("steps", subject->name, "kills", 0);

    if (!STEPS)
        skip();
    options.stride = stride * SLOW;
    hf_steps_run(subject, &options, &report);
    expect_nothing(&report);
}

static void a_cask_is_whole_after_power_cuts(void **state)
{
    power(4000, 0, 6);
    power(4000, 60, 10);
    power(2000, 60, 40);
}

static void a_cask_is_whole_where_the_page_cache_was_lost(void **state)
{
    struct hf_power_options options = HF_POWER_DEFAULTS;
    struct hf_report report = report_of("lost", cask_mixed.name, "images", 1500 / SLOW);

    options.before = 30;
    hf_lost_run(&cask_mixed, &options, &report);
    expect_nothing(&report);
}

static void a_cask_is_whole_after_failing_calls(void **state)
{
    struct hf_power_options options = HF_POWER_DEFAULTS;
    struct hf_report report = report_of("faults", cask_mixed.name, "tries", 0);

    options.steps = 2;
    options.nested = 1;
    hf_faults_run(&cask_mixed, &options, &report);
    expect_nothing(&report);
}

static void a_cask_is_whole_after_kills(void **state)
{
    const struct hf_kill_options options = HF_KILL_DEFAULTS;
    struct hf_report report = report_of("kills", cask_mixed.name, "kills", 200 / SLOW);

    hf_kill_run(&cask_mixed, &options, &report);
    expect_nothing(&report);
}

static void histories_of_a_writer_and_readers_are_linearizable(void **state)
{
    struct hf_kill_options options = HF_KILL_DEFAULTS;
    struct hf_report report = report_of("clients", cask_clients.name, "kills", 200 / SLOW);

    options.longest = 3000;
    hf_clients_run(&cask_clients, &options, &report);
    expect_nothing(&report);
}

static void a_put_may_end_at_any_instruction(void **state)
{
    steps(&cask_put, 60);
}

static void a_commit_may_end_at_any_instruction(void **state)
{
    steps(&cask_batch, 150);
}

static void a_merge_may_end_at_any_instruction(void **state)
{
    steps(&cask_merge, 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cask_is_whole_after_power_cuts),
        cmocka_unit_test(a_cask_is_whole_where_the_page_cache_was_lost),
        cmocka_unit_test(a_cask_is_whole_after_failing_calls),
        cmocka_unit_test(a_cask_is_whole_after_kills),
        cmocka_unit_test(histories_of_a_writer_and_readers_are_linearizable),
        cmocka_unit_test(a_put_may_end_at_any_instruction),
        cmocka_unit_test(a_commit_may_end_at_any_instruction),
        cmocka_unit_test(a_merge_may_end_at_any_instruction),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The laboratory on the map in shared memory as it is: it finds nothing. What it would find: test_crash_shared_sabotage.c.
 */
#include "cm.h"

#include "shared_lab.h"

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

static struct hf_report report_of(const char *tool, const char *name, uint64_t most)
{
    return (struct hf_report){.tool = tool, .subject = name, .unit = "kills", .most = most};
}

static void expect_nothing(const struct hf_report *report)
{
    if (hf_report_close(report) == 77)
        skip();
    assert_int_equal(report->violations, 0);
    assert_true(report->count > 0 && (report->most == 0 || report->count == report->most));
}

static void clients(const struct hf_clients_subject *subject, unsigned longest)
{
    struct hf_kill_options options = HF_KILL_DEFAULTS;
    struct hf_report report = report_of("clients", subject->name, 200 / SLOW);

    options.longest = longest;
    hf_clients_run(subject, &options, &report);
    expect_nothing(&report);
}

static void steps(const struct hf_subject *subject, unsigned stride)
{
    struct hf_kill_options options = HF_KILL_DEFAULTS;
    struct hf_report report = report_of("steps", subject->name, 0);

    if (!STEPS)
        skip();
    options.stride = stride * SLOW;
    hf_steps_run(subject, &options, &report);
    expect_nothing(&report);
}

static void what_is_committed_survives_the_kills_of_writers(void **state)
{
    clients(&shared_writers, 6000);
}

static void histories_of_clients_are_linearizable(void **state)
{
    clients(&shared_clients, 3000);
}

static void a_map_is_whole_after_kills(void **state)
{
    const struct hf_kill_options options = HF_KILL_DEFAULTS;
    struct hf_report report = report_of("kills", shared_map.name, 200 / SLOW);

    hf_kill_run(&shared_map, &options, &report);
    expect_nothing(&report);
}

static void a_key_and_its_form_are_set_at_once(void **state)
{
    steps(&shared_set, 120);
}

static void a_clear_is_whole_at_any_instruction(void **state)
{
    steps(&shared_clear, 400);
}

static void an_exchange_is_whole_at_any_instruction(void **state)
{
    steps(&shared_exchange, 120);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_committed_survives_the_kills_of_writers),
        cmocka_unit_test(histories_of_clients_are_linearizable),
        cmocka_unit_test(a_map_is_whole_after_kills),
        cmocka_unit_test(a_key_and_its_form_are_set_at_once),
        cmocka_unit_test(a_clear_is_whole_at_any_instruction),
        cmocka_unit_test(an_exchange_is_whole_at_any_instruction),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

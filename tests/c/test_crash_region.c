/*
 * The laboratory on the region as it is: it finds nothing. What it would find: test_crash_region_sabotage.c.
 */
#include "cm.h"

#include "damage.h"
#include "power.h"
#include "region_lab.h"

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

static void kills(const struct hf_subject *subject)
{
    const struct hf_kill_options options = HF_KILL_DEFAULTS;
    struct hf_report report = report_of("kills", subject->name, "kills", 200 / SLOW);

    hf_kill_run(subject, &options, &report);
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

static void clients(const struct hf_clients_subject *subject)
{
    struct hf_kill_options options = HF_KILL_DEFAULTS;
    struct hf_report report = report_of("clients", subject->name, "kills", 200 / SLOW);

    options.longest = 3000;
    hf_clients_run(subject, &options, &report);
    expect_nothing(&report);
}

static void weave(const struct hf_weave_subject *subject, unsigned stride)
{
    struct hf_kill_options options = HF_KILL_DEFAULTS;
    struct hf_report report = report_of("weave", subject->name, "stops", 0);

    if (!STEPS)
        skip();
    options.stride = stride * SLOW;
    hf_weave_run(subject, &options, &report);
    expect_nothing(&report);
}

/* `before`: commits of the store's history; `steps`: those whose power cuts are looked at. */
static void power(const struct hf_subject *subject, uint64_t images, unsigned before, unsigned steps)
{
    struct hf_power_options options = HF_POWER_DEFAULTS;
    struct hf_report report = report_of("power", subject->name, "images", images / SLOW);

    options.before = before;
    options.steps = steps;
    hf_power_run(subject, &options, &report);
    expect_nothing(&report);
}

/* The machine goes on, and the page cache was lost. */
static void lost(const struct hf_subject *subject, uint64_t images, unsigned before)
{
    struct hf_power_options options = HF_POWER_DEFAULTS;
    struct hf_report report = report_of("lost", subject->name, "images", images / SLOW);

    options.before = before;
    hf_lost_run(subject, &options, &report);
    expect_nothing(&report);
}

static void faults(const struct hf_subject *subject, unsigned sessions)
{
    struct hf_power_options options = HF_POWER_DEFAULTS;
    struct hf_report report = report_of("faults", subject->name, "tries", 0);

    options.steps = sessions;
    hf_faults_run(subject, &options, &report);
    expect_nothing(&report);
}

static void damage(const struct hf_subject *subject, uint64_t files)
{
    const struct hf_damage_options options = HF_DAMAGE_DEFAULTS;
    struct hf_damage_counts counts = {0};
    struct hf_report report = report_of("damage", subject->name, "files", files / SLOW);

    hf_damage_run(subject, &options, &counts, &report);
    print_message("%llu refused, %llu without effect, %llu stepped back and said so\n",
                  (unsigned long long)counts.refused, (unsigned long long)counts.unharmed,
                  (unsigned long long)counts.stepped_back);
    expect_nothing(&report);
    assert_true(counts.refused > 0 && counts.unharmed > 0);
}

static void shared_memory_is_whole_after_kills(void **state)
{
    kills(&region_shared);
}

static void shared_memory_is_whole_after_a_kill_at_any_instruction(void **state)
{
    steps(&region_shared, 60);
}

static void histories_of_clients_in_shared_memory_are_linearizable(void **state)
{
    clients(&region_shared_clients);
}

static void a_slow_reader_has_one_version(void **state)
{
    weave(&region_shared_reader, 6);
}

static void a_slow_writer_does_a_reader_no_harm(void **state)
{
    weave(&region_shared_writer, 100);
}

/* -- in a file -- */

static void a_file_is_whole_after_power_cuts(void **state)
{
    power(&region_file, 4000, 0, 6);
    power(&region_file, 4000, 60, 6);
    power(&region_file, 2000, 100, 60);
}

static void a_file_is_whole_where_the_page_cache_was_lost(void **state)
{
    lost(&region_file, 1500, 0);
    lost(&region_file, 1500, 30);
}

static void a_file_is_whole_after_failing_calls(void **state)
{
    faults(&region_file, 2);
}

static void damaged_files_are_refused_or_right(void **state)
{
    damage(&region_file, 2000);
}

static void a_file_is_whole_after_kills(void **state)
{
    kills(&region_file);
}

static void a_file_is_whole_after_a_kill_at_any_instruction(void **state)
{
    steps(&region_file, 4000);
}

static void histories_of_clients_of_a_file_are_linearizable(void **state)
{
    clients(&region_file_clients);
}

static void a_slow_reader_of_a_file_has_one_version(void **state)
{
    weave(&region_file_reader, 20);
}

static void a_slow_writer_to_a_file_does_a_reader_no_harm(void **state)
{
    weave(&region_file_writer, 8000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shared_memory_is_whole_after_kills),
        cmocka_unit_test(shared_memory_is_whole_after_a_kill_at_any_instruction),
        cmocka_unit_test(histories_of_clients_in_shared_memory_are_linearizable),
        cmocka_unit_test(a_slow_reader_has_one_version),
        cmocka_unit_test(a_slow_writer_does_a_reader_no_harm),
        cmocka_unit_test(a_file_is_whole_after_power_cuts),
        cmocka_unit_test(a_file_is_whole_where_the_page_cache_was_lost),
        cmocka_unit_test(a_file_is_whole_after_failing_calls),
        cmocka_unit_test(damaged_files_are_refused_or_right),
        cmocka_unit_test(a_file_is_whole_after_kills),
        cmocka_unit_test(a_file_is_whole_after_a_kill_at_any_instruction),
        cmocka_unit_test(histories_of_clients_of_a_file_are_linearizable),
        cmocka_unit_test(a_slow_reader_of_a_file_has_one_version),
        cmocka_unit_test(a_slow_writer_to_a_file_does_a_reader_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The laboratory on its own small stores (tests/crash/toy.h): it finds nothing in those that are right, and each of the
 * faults that were put in, with the tool that is to find it. What is not found here would not be found in a real store.
 */
#include "cm.h"

#include "base/fault.h"
#include "damage.h"
#include "kill.h"
#include "power.h"
#include "toy.h"
#include "weave.h"

#include <sys/mman.h>

/* A fork of a process with a sanitizer's shadow takes some ten milliseconds. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { FORKS = 1 };
#else
enum { FORKS = 8 };
#endif

/* ThreadSanitizer makes a section of some hundred thousand instructions of it, and has nothing to say of processes. */
#if defined(__SANITIZE_THREAD__)
enum { STEPS = 0 };
#else
enum { STEPS = 1 };
#endif

static struct hf_report report_of(const char *tool, const char *name, uint64_t most, bool found)
{
    return (struct hf_report){
        .tool = tool, .subject = name, .unit = "tries", .most = most, .quiet = true, .one = found};
}

static void expect_found(const struct hf_report *report, bool found)
{
    if (report->skipped != NULL) {
        print_message("%s %s: skipped, %s\n", report->tool, report->subject, report->skipped);
        return;
    }
    if (!found && report->violations > 0)
        fail_msg("%s %s: %s", report->tool, report->subject, report->first);
    if (found && report->violations == 0)
        fail_msg("%s does not find the fault of %s in %llu tries", report->tool, report->subject,
                 (unsigned long long)report->count);
    assert_true(report->count > 0 || found);
}

static void power(const struct hf_subject *subject, uint64_t images, bool found)
{
    const struct hf_power_options options = HF_POWER_DEFAULTS;
    struct hf_report report = report_of("power", subject->name, images, found);

    hf_power_run(subject, &options, &report);
    expect_found(&report, found);
    assert_true(found || report.count == images);
}

static void faults(const struct hf_subject *subject, bool found)
{
    struct hf_power_options options = HF_POWER_DEFAULTS;
    struct hf_report report = report_of("faults", subject->name, 0, found);

    /* More than one seed: not each closes and opens at the same places. */
    for (options.seed = 1; options.seed <= 3 && (report.violations == 0 || !found); options.seed++)
        hf_faults_run(subject, &options, &report);
    expect_found(&report, found);
}

static void kills(const struct hf_subject *subject, uint64_t most, bool found)
{
    struct hf_kill_options options = HF_KILL_DEFAULTS;
    struct hf_report report = report_of("kills", subject->name, most, found);

    options.longest = 3000;
    hf_kill_run(subject, &options, &report);
    expect_found(&report, found);
}

static void steps(const struct hf_subject *subject, unsigned stride, bool found)
{
    struct hf_kill_options options = HF_KILL_DEFAULTS;
    struct hf_report report = report_of("steps", subject->name, 0, found);

    options.stride = stride;
    hf_steps_run(subject, &options, &report);
    expect_found(&report, found);
}

static void damage(const struct hf_subject *subject, uint64_t files, bool found)
{
    const struct hf_damage_options options = HF_DAMAGE_DEFAULTS;
    struct hf_damage_counts counts = {0};
    struct hf_report report = report_of("damage", subject->name, files, found);

    hf_damage_run(subject, &options, &counts, &report);
    expect_found(&report, found);
    if (!found) {
        assert_int_equal(report.count, files);
        assert_int_equal(counts.refused + counts.unharmed + counts.stepped_back, files);
        assert_true(counts.refused > files / 4 && counts.unharmed > files / 10 && counts.unchanged > 0);
    }
}

static void clients(const struct hf_clients_subject *subject, uint64_t most, bool found)
{
    struct hf_kill_options options = HF_KILL_DEFAULTS;
    struct hf_report report = report_of("clients", subject->name, most, found);

    options.longest = 2000;
    hf_clients_run(subject, &options, &report);
    expect_found(&report, found);
}

/* -- the right ones -- */

static void nothing_is_found_by_power_cuts(void **state)
{
    power(&toy_right, 4000, false);
}

static void nothing_is_found_by_failing_calls(void **state)
{
    faults(&toy_right, false);
}

static void nothing_is_found_by_kills(void **state)
{
    kills(&toy_right, 5 * FORKS, false);
    kills(&toy_shared_right, 8 * FORKS, false);
}

static void nothing_is_found_by_steps(void **state)
{
    if (!STEPS)
        skip();
    steps(&toy_right, 320 / FORKS, false);
    steps(&toy_shared_right, 120 / FORKS, false);
}

static void nothing_is_found_in_damaged_files(void **state)
{
    damage(&toy_right, 50 * FORKS, false);
}

static void nothing_is_found_by_clients(void **state)
{
    clients(&toy_shared_right_clients, 8 * FORKS, false);
}

/* -- one fault each -- */

static void a_missing_flush_is_found(void **state)
{
    power(&toy_missing_flush, 500, true);
}

static void a_root_that_is_early_is_found(void **state)
{
    power(&toy_root_early, 500, true);
}

static void slots_that_do_not_alternate_are_found(void **state)
{
    power(&toy_same_slot, 1000, true);
}

static void a_skipped_roll_back_is_found(void **state)
{
    power(&toy_no_rollback, 10000, true);
}

static void a_name_that_is_not_flushed_is_found(void **state)
{
    power(&toy_no_dirsync, 500, true);
}

static void data_that_are_not_verified_are_found(void **state)
{
    power(&toy_unchecked, 2000, true);
    damage(&toy_unchecked, 200, true);
}

static void a_clean_mark_that_stays_is_found(void **state)
{
    power(&toy_late_clear, 10000, true);
}

static void what_a_kill_left_unflushed_is_found(void **state)
{
    power(&toy_no_reflush, 10000, true);
}

static void changes_that_are_not_undone_are_found(void **state)
{
    faults(&toy_no_undo, true);
}

static void a_short_write_that_is_not_seen_is_found(void **state)
{
    faults(&toy_short_write, true);
}

static void a_flush_that_is_tried_again_is_found(void **state)
{
    faults(&toy_retry_flush, true);
}

static void a_descriptor_that_is_left_open_is_found(void **state)
{
    faults(&toy_leak, true);
}

static void a_version_that_is_published_early_is_found(void **state)
{
    steps(&toy_shared_early, 3, true);
}

static void a_version_that_is_changed_in_place_is_found(void **state)
{
    steps(&toy_shared_in_place, 3, true);
}

static void what_a_dead_writer_left_is_found(void **state)
{
    steps(&toy_shared_no_rollback, 3, true);
}

static void writers_without_a_lock_are_found(void **state)
{
    clients(&toy_shared_no_lock_clients, 200, true);
}

/* -- what a tool makes of a store that does something worse -- */

static void crashing_session(struct hf_lab_run *run)
{
    if (run->damaged)
        abort();
    toy_right.session(run);
}

static void a_store_that_crashes_on_damage_is_found(void **state)
{
    static const struct hf_subject crashing = {.name = "crashing", .session = crashing_session};
    const struct hf_damage_options options = HF_DAMAGE_DEFAULTS;
    struct hf_report report = report_of("damage", "crashing", 5, false);

    hf_damage_run(&crashing, &options, NULL, &report);
    assert_int_equal(report.count, 5);
    assert_true(report.violations >= 5);
    assert_non_null(strstr(report.first, "signal 6"));
}

static void refusing_session(struct hf_lab_run *run)
{
    hf_run_refused(run, -8, "never");
}

static void silent_session(struct hf_lab_run *run)
{
}

static void stores_that_do_not_open_or_say_nothing_are_found(void **state)
{
    static const struct hf_subject refusing = {.name = "refusing", .session = refusing_session},
                                   silent = {.name = "silent", .session = silent_session};

    kills(&refusing, 3, true);
    kills(&silent, 3, true);
    damage(&toy_right, 10, false);
}

static void forgetful_session(struct hf_lab_run *run)
{
    hf_run_recovered(run, HF_NOTHING, false);
    for (unsigned i = 0; i < run->steps; i++) {
        hf_run_begin(run, 1000 + i);
        hf_run_durable(run);
    }
}

static void a_store_that_writes_nothing_is_found(void **state)
{
    static const struct hf_subject forgetful = {.name = "forgetful", .session = forgetful_session};

    power(&forgetful, 50, true);
    kills(&forgetful, 5, true);
}

/* A loop that does not end is a section that does not end. */
static void endless_session(struct hf_lab_run *run)
{
    volatile bool more = run->traced;

    hf_run_recovered(run, HF_NOTHING, false);
    hf_run_enter(run);
    while (more)
        more = true;
    hf_run_leave(run);
}

static void a_section_that_does_not_end_is_found(void **state)
{
    static const struct hf_subject endless = {.name = "endless", .session = endless_session};
    struct hf_kill_options options = HF_KILL_DEFAULTS;
    struct hf_report report = report_of("steps", "endless", 0, true);

    options.most_steps = 300;
    options.stride = 20;
    hf_steps_run(&endless, &options, &report);
    expect_found(&report, true);
}

/* -- one process stopped, while another goes on -- */

/* Two words that are to be equal for whoever looks. */
static struct pair {
    _Atomic uint64_t first, second;
    _Atomic uint64_t looked;
} * pair;

static void pair_create(const char *folder)
{
    atomic_store(&pair->first, 0);
    atomic_store(&pair->second, 0);
}

static void pair_changes(struct hf_lab_run *run)
{
    hf_run_enter(run);
    atomic_fetch_add(&pair->first, 1);
    atomic_fetch_add(&pair->second, 1);
    hf_run_leave(run);
}

static void pair_is_looked_at(struct hf_lab_run *run, unsigned phase)
{
    atomic_fetch_add(&pair->looked, 1);
    if (atomic_load(&pair->first) != atomic_load(&pair->second))
        hf_run_violation(run, "the two differ in phase %u", phase);
}

/* A reader that takes the two one after the other, while they change. */
static void pair_is_read(struct hf_lab_run *run)
{
    hf_run_enter(run);
    const uint64_t first = atomic_load(&pair->first), second = atomic_load(&pair->second);
    hf_run_leave(run);
    if (first != second)
        hf_run_violation(run, "a reader has one of each");
}

static void pair_moves_on(struct hf_lab_run *run, unsigned phase)
{
    atomic_fetch_add(&pair->first, phase == 0);
    atomic_fetch_add(&pair->second, phase == 0);
}

static void pair_is_done_at_once(struct hf_lab_run *run)
{
    hf_run_enter(run);
    atomic_fetch_add(&pair->first, 0);
    hf_run_leave(run);
}

static void weave(const struct hf_weave_subject *subject, bool found)
{
    const struct hf_kill_options options = HF_KILL_DEFAULTS;
    struct hf_report report = report_of("weave", subject->name, 0, found);

    hf_weave_run(subject, &options, &report);
    expect_found(&report, found);
}

static void what_a_stopped_process_shows_and_sees_is_found(void **state)
{
    static const struct hf_weave_subject writer = {"writer", pair_create, pair_changes, pair_is_looked_at},
                                         reader = {"reader", pair_create, pair_is_read, pair_moves_on},
                                         right = {"right", pair_create, pair_is_done_at_once, pair_is_looked_at};

    pair = mmap(NULL, sizeof(*pair), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(pair != MAP_FAILED);
    weave(&writer, true);
    weave(&reader, true);
    weave(&right, false);
    munmap(pair, sizeof(*pair));
}

static void a_report_says_how_it_went(void **state)
{
    struct hf_report report = report_of("power", "toy", 2, false);

    assert_int_equal(hf_report_close(&report), 1); /* nothing tried is nothing shown */
    hf_report_run(&report, &(struct hf_lab_run){.violated = false});
    assert_true(hf_report_more(&report));
    assert_int_equal(hf_report_close(&report), 0);
    hf_report_where(&report, "image %d", 7);
    hf_report_run(&report, &(struct hf_lab_run){.violated = true, .text = "it is gone"});
    assert_false(hf_report_more(&report));
    assert_string_equal(report.first, "image 7: it is gone");
    assert_int_equal(hf_report_close(&report), 1);
    report.skipped = "no reason";
    assert_int_equal(hf_report_close(&report), 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_found_by_power_cuts),
        cmocka_unit_test(nothing_is_found_by_failing_calls),
        cmocka_unit_test(nothing_is_found_by_kills),
        cmocka_unit_test(nothing_is_found_by_steps),
        cmocka_unit_test(nothing_is_found_in_damaged_files),
        cmocka_unit_test(nothing_is_found_by_clients),
        cmocka_unit_test(a_missing_flush_is_found),
        cmocka_unit_test(a_root_that_is_early_is_found),
        cmocka_unit_test(slots_that_do_not_alternate_are_found),
        cmocka_unit_test(a_skipped_roll_back_is_found),
        cmocka_unit_test(a_name_that_is_not_flushed_is_found),
        cmocka_unit_test(data_that_are_not_verified_are_found),
        cmocka_unit_test(a_clean_mark_that_stays_is_found),
        cmocka_unit_test(what_a_kill_left_unflushed_is_found),
        cmocka_unit_test(changes_that_are_not_undone_are_found),
        cmocka_unit_test(a_short_write_that_is_not_seen_is_found),
        cmocka_unit_test(a_flush_that_is_tried_again_is_found),
        cmocka_unit_test(a_descriptor_that_is_left_open_is_found),
        cmocka_unit_test(a_version_that_is_published_early_is_found),
        cmocka_unit_test(a_version_that_is_changed_in_place_is_found),
        cmocka_unit_test(what_a_dead_writer_left_is_found),
        cmocka_unit_test(writers_without_a_lock_are_found),
        cmocka_unit_test(a_store_that_crashes_on_damage_is_found),
        cmocka_unit_test(stores_that_do_not_open_or_say_nothing_are_found),
        cmocka_unit_test(a_store_that_writes_nothing_is_found),
        cmocka_unit_test(a_section_that_does_not_end_is_found),
        cmocka_unit_test(what_a_stopped_process_shows_and_sees_is_found),
        cmocka_unit_test(a_report_says_how_it_went),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

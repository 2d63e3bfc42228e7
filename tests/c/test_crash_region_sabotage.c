/*
 * One build of the engine with one fault put in on purpose (src/region/sabotage.h), which the laboratory must find with the
 * tool that is named here. This file is compiled once for each fault, with HF_REGION_SABOTAGE its number.
 */
#include "cm.h"

#include "power.h"
#include "region_lab.h"

#include "region/sabotage.h"

/* A fork of a process with a sanitizer's shadow takes some ten milliseconds. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SLOW = 1 };
#else
enum { SLOW = 0 };
#endif

/* ThreadSanitizer makes a section of some hundred thousand instructions of it, and has nothing to say of processes. */
#if defined(__SANITIZE_THREAD__)
enum { STEPS = 0 };
#else
enum { STEPS = 1 };
#endif

static const char *fault_name(enum hf_sabotage fault)
{
    switch (fault) {
#define NAME(name, what)     \
    case HF_SABOTAGE_##name: \
        return what;
        HF_SABOTAGE_SHARED_LIST(NAME)
        HF_SABOTAGE_FILE_LIST(NAME)
#undef NAME
    default:
        return "none";
    }
}

static struct hf_report report_of(const char *tool, uint64_t most)
{
    return (struct hf_report){.tool = tool,
                              .subject = fault_name(HF_REGION_SABOTAGE),
                              .unit = "tries",
                              .most = most,
                              .quiet = true,
                              .one = true};
}

static void expect_found(const struct hf_report *report)
{
    if (report->skipped != NULL) {
        print_message("%s: skipped, %s\n", report->tool, report->skipped);
        skip();
    }
    if (report->violations == 0)
        fail_msg("%s does not find that %s, in %llu tries", report->tool, report->subject,
                 (unsigned long long)report->count);
    print_message("%s finds that %s, in try %llu: %s\n", report->tool, report->subject,
                  (unsigned long long)report->count, report->first);
}

static void by_kills(const struct hf_subject *subject, uint64_t most)
{
    struct hf_kill_options options = HF_KILL_DEFAULTS;
    struct hf_report report = report_of("kills", most);

    hf_kill_run(subject, &options, &report);
    expect_found(&report);
}

static void by_steps(const struct hf_subject *subject, unsigned stride)
{
    struct hf_kill_options options = HF_KILL_DEFAULTS;
    struct hf_report report = report_of("steps", 0);

    if (!STEPS)
        skip();
    options.stride = stride;
    hf_steps_run(subject, &options, &report);
    expect_found(&report);
}

/* Several seeds: what the other process does while one is stopped is drawn. */
static void by_weave(const struct hf_weave_subject *subject, unsigned stride, unsigned seeds)
{
    struct hf_kill_options options = HF_KILL_DEFAULTS;
    struct hf_report report = report_of("weave", 0);

    if (!STEPS)
        skip();
    options.stride = stride;
    for (options.seed = 1; options.seed <= seeds && report.violations == 0 && report.skipped == NULL; options.seed++)
        hf_weave_run(subject, &options, &report);
    expect_found(&report);
}

static void by_power(const struct hf_subject *subject, const struct hf_power_options *options, uint64_t images)
{
    struct hf_report report = report_of("power", images);

    hf_power_run(subject, options, &report);
    expect_found(&report);
}

static void by_lost(const struct hf_subject *subject, const struct hf_power_options *options, uint64_t images)
{
    struct hf_report report = report_of("lost", images);

    hf_lost_run(subject, options, &report);
    expect_found(&report);
}

static void by_faults(const struct hf_subject *subject)
{
    struct hf_power_options options = HF_POWER_DEFAULTS;
    struct hf_report report = report_of("faults", 0);

    /* More than one seed: not each flushes and closes at the same places. */
    for (options.seed = 1; options.seed <= 3 && report.violations == 0; options.seed++)
        hf_faults_run(subject, &options, &report);
    expect_found(&report);
}

static void the_fault_is_found(void **state)
{
    struct hf_power_options usual = HF_POWER_DEFAULTS, old = HF_POWER_DEFAULTS, small = HF_POWER_DEFAULTS;

    /* A store with a history, in which what was freed is used again. */
    old.before = 60;
    old.steps = 150;
    old.images = 300;
    old.nested = 1;
    /* One commit and what it may leave, and of each the first commit after it, and what that may leave. */
    small.before = 20;
    small.steps = small.reopened = 1;
    small.nested = 20;
    small.crash.garble = small.crash.tails = false;
    switch ((enum hf_sabotage)HF_REGION_SABOTAGE) {
    case HF_SABOTAGE_recycled_soon:
    case HF_SABOTAGE_in_place:
    case HF_SABOTAGE_no_rollback:
        by_kills(&region_shared, 200);
        break;
    case HF_SABOTAGE_published_early:
        by_steps(&region_shared, 40);
        break;
    case HF_SABOTAGE_scan_early:
        by_weave(&region_shared_writer, SLOW ? 400 : 100, 4);
        break;
    case HF_SABOTAGE_pin_late:
    case HF_SABOTAGE_no_reread:
        by_weave(&region_shared_reader, 1, 4);
        break;
    case HF_SABOTAGE_missing_flush:
    case HF_SABOTAGE_root_early:
    case HF_SABOTAGE_same_slot:
        by_power(&region_file, &usual, 20000);
        break;
    case HF_SABOTAGE_recycled_durable:
        by_power(&region_file, &old, 60000);
        break;
    case HF_SABOTAGE_no_invalidate:
        if (SLOW)
            skip(); /* threads that end in a commit leave what it had */
        by_power(&region_file, &usual, 60000);
        break;
    case HF_SABOTAGE_clean_late:
        by_power(&region_file, &small, 150000);
        break;
    case HF_SABOTAGE_lock_believed:
        by_lost(&region_file, &usual, 20000);
        break;
    case HF_SABOTAGE_flush_again:
        by_faults(&region_file);
        break;
    case HF_SABOTAGE_nursery_soon:
        by_kills(&region_file, 20000);
        break;
    default:
        fail_msg("no tool is named for this fault");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_fault_is_found)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

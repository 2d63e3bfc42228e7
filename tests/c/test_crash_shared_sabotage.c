/*
 * One build of the map in shared memory, or of the engine below it, with one fault put in on purpose (region/sabotage.h),
 * which the laboratory must find with the tool that is named here. This file is compiled once for each fault, with
 * HF_REGION_SABOTAGE its number.
 */
#include "cm.h"

#include "shared_lab.h"

#include "region/sabotage.h"

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
        HF_SABOTAGE_MAP_LIST(NAME)
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

static void by_kills(uint64_t most)
{
    const struct hf_kill_options options = HF_KILL_DEFAULTS;
    struct hf_report report = report_of("kills", most);

    hf_kill_run(&shared_map, &options, &report);
    expect_found(&report);
}

static void by_clients(const struct hf_clients_subject *subject, uint64_t most)
{
    struct hf_kill_options options = HF_KILL_DEFAULTS;
    struct hf_report report = report_of("clients", most);

    options.longest = 6000;
    hf_clients_run(subject, &options, &report);
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

static void the_fault_is_found(void **state)
{
    switch ((enum hf_sabotage)HF_REGION_SABOTAGE) {
    case HF_SABOTAGE_lost_form:
    case HF_SABOTAGE_recycled_soon:
    case HF_SABOTAGE_no_rollback:
        by_kills(200);
        break;
    case HF_SABOTAGE_blind_exchange:
        by_clients(&shared_clients, 200);
        break;
    case HF_SABOTAGE_published_early:
        by_steps(&shared_set, 40);
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

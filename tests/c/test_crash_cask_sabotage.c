/*
 * One build of the cask with one fault put in on purpose (src/cask/sabotage.h), which the laboratory must find with the tool
 * that is named here. This file is compiled once for each fault, with HF_CASK_SABOTAGE its number.
 */
#include "cm.h"

#include "cask_lab.h"
#include "power.h"

#include "cask/sabotage.h"

static const char *fault_name(enum hf_cask_fault_number fault)
{
    switch (fault) {
#define NAME(name, what)       \
    case HF_CASK_FAULT_##name: \
        return what;
        HF_CASK_FAULT_LIST(NAME)
#undef NAME
    default:
        return "none";
    }
}

static struct hf_report report_of(const char *tool, uint64_t most)
{
    return (struct hf_report){.tool = tool,
                              .subject = fault_name(HF_CASK_SABOTAGE),
                              .unit = "tries",
                              .most = most,
                              .quiet = true,
                              .one = true};
}

static void expect_found(const struct hf_report *report)
{
    if (report->violations == 0)
        fail_msg("%s does not find that %s, in %llu tries", report->tool, report->subject,
                 (unsigned long long)report->count);
    print_message("%s finds that %s, in try %llu: %s\n", report->tool, report->subject,
                  (unsigned long long)report->count, report->first);
}

static void by_kills(uint64_t most)
{
    struct hf_kill_options options = HF_KILL_DEFAULTS;
    struct hf_report report = report_of("kills", most);

    hf_kill_run(&cask_mixed, &options, &report);
    expect_found(&report);
}

static void by_power(unsigned before, unsigned steps, uint64_t images)
{
    struct hf_power_options options = HF_POWER_DEFAULTS;
    struct hf_report report = report_of("power", images);

    options.before = before;
    options.steps = steps;
    options.images = 500; /* so that there are more stores */
    options.nested = 1;
    hf_power_run(&cask_mixed, &options, &report);
    expect_found(&report);
}

static void the_fault_is_found(void **state)
{
    switch ((enum hf_cask_fault_number)HF_CASK_SABOTAGE) {
    case HF_CASK_FAULT_synced_early:
    case HF_CASK_FAULT_folder_unsynced:
    case HF_CASK_FAULT_keydir_early:
    case HF_CASK_FAULT_batch_half:
        by_power(0, 6, 20000);
        break;
    case HF_CASK_FAULT_manifest_unsynced:
    case HF_CASK_FAULT_resumed_flushed:
        by_power(60, 30, 40000);
        break;
    case HF_CASK_FAULT_tombstone_soon:
    case HF_CASK_FAULT_raw_clock:
    case HF_CASK_FAULT_sequence_again:
        by_kills(2000);
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

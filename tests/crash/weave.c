/*
 * weave.c: see weave.h.
 */
#include "weave.h"

#include "trace.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

struct weave {
    const struct hf_weave_subject *subject;
    struct hf_report *report;
    struct hf_shared_marks *marks;
    char folder[256];
};

static pid_t start(struct weave *weave, uint64_t seed)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM, SIGUSR2};
    const pid_t child = fork();

    HF_LAB_REQUIRE(child >= 0);
    if (child != 0)
        return child;

    struct hf_lab_run run = {.folder = weave->folder, .seed = seed, .shared = weave->marks, .traced = true};

    for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
        signal(fatal[i], SIG_DFL);
    hf_trace_me();
    weave->subject->stopped(&run);
    _exit(0);
}

/* What is wrong with how it went, or NULL. */
static const char *wrong(struct weave *weave, const struct hf_lab_run *run, int status)
{
    static char text[600];

    if (run->violated)
        return run->text;
    if (atomic_load(&weave->marks->violated))
        return weave->marks->text;
    if (WIFSIGNALED(status))
        snprintf(text, sizeof(text), "the process that was stopped ends by signal %d, %s", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) != 0)
        snprintf(text, sizeof(text), "the process that was stopped exits with %d", WEXITSTATUS(status));
    else
        return NULL;
    return text;
}

static enum hf_trace_end weave_once(struct weave *weave, uint64_t steps, uint64_t seed)
{
    struct hf_lab_run run = {.folder = weave->folder, .seed = seed};
    const pid_t child = start(weave, seed);
    const char *text;
    int status = 0;

    hf_report_where(weave->report, "stopped at instruction %llu", (unsigned long long)steps);
    atomic_store(&weave->marks->violated, false);
    enum hf_trace_end end = hf_trace_first(child, &status);
    if (end == HF_TRACE_STOPPED)
        end = hf_trace_steps(child, steps, &status);
    if (end == HF_TRACE_STOPPED) {
        weave->subject->meanwhile(&run, 0);
        if (hf_trace_on(child, &status) == HF_TRACE_STOPPED) {
            weave->subject->meanwhile(&run, 1);
            hf_trace_on(child, &status);
        }
        weave->subject->meanwhile(&run, 2);
    } else if (end == HF_TRACE_LEFT) {
        hf_trace_on(child, &status);
    }
    if (!WIFEXITED(status) && !WIFSIGNALED(status)) {
        kill(child, SIGKILL);
        HF_LAB_REQUIRE(waitpid(child, &status, 0) == child);
        return HF_TRACE_REFUSED;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == HF_TRACE_NOT_PERMITTED)
        return HF_TRACE_REFUSED;
    weave->report->count += end == HF_TRACE_STOPPED;
    text = wrong(weave, &run, status);
    if (text != NULL)
        hf_report_violation(weave->report, text);
    return end;
}

void hf_weave_run(const struct hf_weave_subject *subject, const struct hf_kill_options *options,
                  struct hf_report *report)
{
    struct weave weave = {.subject = subject, .report = report, .marks = hf_shared_marks_new()};
    struct hf_random random = {options->seed};
    enum hf_trace_end end = HF_TRACE_STOPPED;
    unsigned left = 0; /* so often in a row */

    hf_trace_together(true);
    for (uint64_t n = 1; end == HF_TRACE_STOPPED && hf_report_more(report);) {
        hf_scratch_make(NULL, weave.folder, sizeof(weave.folder));
        subject->create(weave.folder);
        for (unsigned i = 0; i < options->fresh_every && end == HF_TRACE_STOPPED && hf_report_more(report); i++) {
            end = weave_once(&weave, n, hf_random_next(&random));
            left = end == HF_TRACE_LEFT ? left + 1 : 0;
            if (end == HF_TRACE_LEFT && left < hf_trace_left_often(options->stride))
                end = HF_TRACE_STOPPED;
            n += options->stride <= 1 ? 1 : 1 + hf_random_below(&random, 2 * (uint64_t)options->stride - 1);
            if (end == HF_TRACE_STOPPED && n > options->most_steps) {
                hf_report_violation(report, "the section does not end");
                end = HF_TRACE_ENDED;
            }
        }
        hf_scratch_remove(weave.folder);
    }
    hf_trace_together(false);
    if (end == HF_TRACE_REFUSED)
        report->skipped = "ptrace is not permitted here, or cannot single-step";
    hf_shared_marks_free(weave.marks);
}

/*
 * kill.c: see kill.h.
 */
#include "kill.h"

#include "trace.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { VIOLATED = 3 }; /* the exit status of a worker */

static void sleep_us(uint64_t us)
{
    struct timespec time = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000 * 1000)};

    nanosleep(&time, NULL);
}

/* What the tool's own process does with signals is not the worker's. */
static void worker_signals(void)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM, SIGUSR2};

    for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
        signal(fatal[i], SIG_DFL);
}

/* A store that lives for some kills, and what it may have. */
struct cycle {
    const struct hf_subject *subject;
    const struct hf_kill_options *options;
    struct hf_report *report;
    struct hf_random random;
    char folder[256];
    struct hf_expect expect;
    struct hf_shared_marks *marks;
    uint64_t kills, steps;
};

static void cycle_begin(struct cycle *cycle)
{
    hf_scratch_make(NULL, cycle->folder, sizeof(cycle->folder));
    hf_expect_init(&cycle->expect);
    cycle->expect.rebooted = false;
}

static void cycle_end(struct cycle *cycle)
{
    hf_expect_clear(&cycle->expect);
    hf_scratch_remove(cycle->folder);
}

/* The next process: what it finds, and one commit of its own. */
static void cycle_check(struct cycle *cycle)
{
    struct hf_lab_run run = {.folder = cycle->folder,
                             .seed = hf_random_next(&cycle->random),
                             .steps = 1,
                             .live = &cycle->expect,
                             .expect = &cycle->expect};

    hf_expect_crash(&cycle->expect, false);
    hf_run_session(cycle->subject, &run);
    hf_report_run(cycle->report, &run);
}

/* Collect a worker that was killed, or came to its own end; false after a violation. */
static bool cycle_collect(struct cycle *cycle, int status)
{
    char text[600];

    if (atomic_load(&cycle->marks->violated)) {
        memcpy(text, cycle->marks->text, sizeof(cycle->marks->text));
        atomic_store(&cycle->marks->violated, false);
    } else if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL) {
        snprintf(text, sizeof(text), "the worker ends by signal %d, %s", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    } else if (WIFEXITED(status) && WEXITSTATUS(status) != 0) {
        snprintf(text, sizeof(text), "the worker exits with %d", WEXITSTATUS(status));
    } else {
        hf_shared_marks_take(cycle->marks, &cycle->expect);
        return true;
    }
    atomic_store(&cycle->marks->count, 0);
    cycle->report->count++;
    hf_report_violation(cycle->report, text);
    return false;
}

static void worker(struct cycle *cycle, uint64_t seed, bool traced)
{
    struct hf_lab_run run = {.folder = cycle->folder,
                             .seed = seed,
                             .steps = traced ? 1 : 2000,
                             .shared = cycle->marks,
                             .expect = &cycle->expect,
                             .live = &cycle->expect,
                             .traced = traced};

    worker_signals();
    hf_run_session(cycle->subject, &run);
    _exit(run.violated ? VIOLATED : 0);
}

static bool kill_once(struct cycle *cycle)
{
    /* Most within the first moments, where a session opens and recovers. */
    const uint64_t most = (uint64_t)cycle->options->longest >> hf_random_below(&cycle->random, 6);
    const uint64_t us = hf_random_below(&cycle->random, most), seed = hf_random_next(&cycle->random);
    pid_t child;
    int status;

    hf_report_where(cycle->report, "kill %llu, after %llu us", (unsigned long long)cycle->kills++,
                    (unsigned long long)us);
    child = fork();
    HF_LAB_REQUIRE(child >= 0);
    if (child == 0)
        worker(cycle, seed, false);
    sleep_us(us);
    kill(child, SIGKILL);
    HF_LAB_REQUIRE(waitpid(child, &status, 0) == child);
    if (!cycle_collect(cycle, status))
        return false;
    cycle_check(cycle);
    return true;
}

void hf_kill_run(const struct hf_subject *subject, const struct hf_kill_options *options, struct hf_report *report)
{
    struct cycle cycle = {.subject = subject,
                          .options = options,
                          .report = report,
                          .random = {options->seed},
                          .marks = hf_shared_marks_new()};

    while (hf_report_more(report)) {
        cycle_begin(&cycle);
        for (unsigned i = 0; i < options->fresh_every && hf_report_more(report); i++)
            if (!kill_once(&cycle))
                break;
        cycle_end(&cycle);
    }
    hf_shared_marks_free(cycle.marks);
}

/* -- single steps -- */

/* So many instructions of the section, then the end. */
static enum hf_trace_end step_and_kill(pid_t child, uint64_t steps, int *status)
{
    enum hf_trace_end end = hf_trace_first(child, status);

    if (end == HF_TRACE_STOPPED)
        end = hf_trace_steps(child, steps, status);
    if (end != HF_TRACE_ENDED) {
        kill(child, SIGKILL);
        HF_LAB_REQUIRE(waitpid(child, status, 0) == child);
    }
    return end;
}

static enum hf_trace_end step_once(struct cycle *cycle, uint64_t steps)
{
    enum hf_trace_end end;
    pid_t child;
    int status;

    hf_report_where(cycle->report, "killed at instruction %llu", (unsigned long long)steps);
    child = fork();
    HF_LAB_REQUIRE(child >= 0);
    if (child == 0) {
        hf_trace_me();
        worker(cycle, steps, true);
    }
    end = step_and_kill(child, steps, &status);
    if (end == HF_TRACE_REFUSED || (WIFEXITED(status) && WEXITSTATUS(status) == HF_TRACE_NOT_PERMITTED))
        return HF_TRACE_REFUSED;
    if (!cycle_collect(cycle, status))
        return HF_TRACE_ENDED;
    cycle_check(cycle);
    return end;
}

void hf_steps_run(const struct hf_subject *subject, const struct hf_kill_options *options, struct hf_report *report)
{
    struct cycle cycle = {.subject = subject,
                          .options = options,
                          .report = report,
                          .random = {options->seed},
                          .marks = hf_shared_marks_new()};
    enum hf_trace_end end = HF_TRACE_STOPPED;
    unsigned left = 0; /* so often in a row */

    hf_trace_together(true);
    for (uint64_t n = 1; end == HF_TRACE_STOPPED && hf_report_more(report);) {
        struct hf_lab_run first = {.folder = cycle.folder, .seed = options->seed, .steps = 3};

        cycle_begin(&cycle);
        first.live = &cycle.expect;
        hf_run_session(subject, &first);
        for (unsigned i = 0; i < options->fresh_every && end == HF_TRACE_STOPPED && hf_report_more(report); i++) {
            end = step_once(&cycle, n);
            left = end == HF_TRACE_LEFT ? left + 1 : 0;
            if (end == HF_TRACE_LEFT && left < hf_trace_left_often(options->stride))
                end = HF_TRACE_STOPPED;
            n += options->stride <= 1 ? 1 : 1 + hf_random_below(&cycle.random, 2 * (uint64_t)options->stride - 1);
            if (end == HF_TRACE_STOPPED && n > options->most_steps) {
                hf_report_violation(report, "the section does not end");
                end = HF_TRACE_ENDED;
            }
        }
        cycle_end(&cycle);
    }
    hf_trace_together(false);
    if (end == HF_TRACE_REFUSED)
        report->skipped = "ptrace is not permitted here, or cannot single-step";
    hf_shared_marks_free(cycle.marks);
}

/* -- clients -- */

struct crowd {
    const struct hf_clients_subject *subject;
    const struct hf_kill_options *options;
    struct hf_report *report;
    struct hf_random random;
    char folder[256];
    struct hf_history *history;
    _Atomic bool *stop; /* shared */
    pid_t *pid;
    uint32_t numbers;
};

static pid_t client_start(struct crowd *crowd, unsigned slot)
{
    struct hf_client client = {.folder = crowd->folder,
                               .number = ++crowd->numbers,
                               .slot = slot,
                               .seed = hf_random_next(&crowd->random),
                               .history = crowd->history,
                               .stop = crowd->stop};
    pid_t child = fork();

    HF_LAB_REQUIRE(child >= 0);
    if (child == 0) {
        worker_signals();
        alarm(120); /* one that waits for a dead one */
        crowd->subject->work(&client);
        _exit(0);
    }
    return child;
}

static void client_collect(struct crowd *crowd, pid_t pid)
{
    char text[128];
    int status;

    HF_LAB_REQUIRE(waitpid(pid, &status, 0) == pid);
    if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL) {
        snprintf(text, sizeof(text), "a client ends by signal %d, %s", WTERMSIG(status), strsignal(WTERMSIG(status)));
        hf_report_violation(crowd->report, text);
    } else if (WIFEXITED(status) && WEXITSTATUS(status) != 0) {
        snprintf(text, sizeof(text), "a client exits with %d", WEXITSTATUS(status));
        hf_report_violation(crowd->report, text);
    }
}

static void check_history(struct crowd *crowd)
{
    struct hf_lin_result result = {0};
    size_t count;
    struct hf_lin_op *ops = hf_history_ops(crowd->history, &count);
    const int answer = hf_lin_check(ops, count, &result);

    if (answer == 0) {
        hf_report_violation(crowd->report, "the history is not linearizable");
        if (!crowd->report->quiet)
            hf_lin_print(&result, stderr);
    } else if (answer < 0) {
        hf_report_violation(crowd->report, answer == -1 ? "the clients recorded what is no history"
                                                        : "too many operations are open at once to say anything");
    }
    hf_lin_clear(&result);
    free(ops);
}

static void look_at_store(struct crowd *crowd)
{
    char text[256] = "";

    if (crowd->subject->look == NULL)
        return;
    crowd->subject->look(crowd->folder, text, sizeof(text));
    if (text[0] != '\0')
        hf_report_violation(crowd->report, text);
}

static void crowd_round(struct crowd *crowd, uint64_t round)
{
    const unsigned clients = crowd->options->clients;

    hf_report_where(crowd->report, "round %llu", (unsigned long long)round);
    hf_scratch_make(NULL, crowd->folder, sizeof(crowd->folder));
    crowd->subject->create(crowd->folder);
    crowd->history = hf_history_new(1 << 18);
    crowd->numbers = 0;
    atomic_store(crowd->stop, false);
    for (unsigned i = 0; i < clients; i++)
        crowd->pid[i] = client_start(crowd, i);
    for (unsigned k = 0; k < crowd->options->kills_a_round && hf_report_more(crowd->report); k++) {
        const size_t victim = (size_t)hf_random_below(&crowd->random, clients);

        sleep_us(hf_random_below(&crowd->random, crowd->options->longest));
        kill(crowd->pid[victim], SIGKILL);
        client_collect(crowd, crowd->pid[victim]);
        crowd->report->count++;
        look_at_store(crowd);
        crowd->pid[victim] = client_start(crowd, (unsigned)victim);
    }
    sleep_us(crowd->options->longest);
    atomic_store(crowd->stop, true);
    for (unsigned i = 0; i < clients; i++)
        client_collect(crowd, crowd->pid[i]);
    look_at_store(crowd);
    check_history(crowd);
    hf_history_free(crowd->history);
    hf_scratch_remove(crowd->folder);
}

void hf_clients_run(const struct hf_clients_subject *subject, const struct hf_kill_options *options,
                    struct hf_report *report)
{
    struct crowd crowd = {.subject = subject,
                          .options = options,
                          .report = report,
                          .random = {options->seed},
                          .pid = hf_lab_zeroed(options->clients * sizeof(pid_t))};

    crowd.stop = mmap(NULL, sizeof(*crowd.stop), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    HF_LAB_REQUIRE(crowd.stop != MAP_FAILED);
    for (uint64_t round = 0; hf_report_more(report); round++)
        crowd_round(&crowd, round);
    munmap(crowd.stop, sizeof(*crowd.stop));
    free(crowd.pid);
}

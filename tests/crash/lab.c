/*
 * lab.c: see lab.h.
 */
#include "lab.h"

#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* -- marks -- */

struct hf_shared_marks *hf_shared_marks_new(void)
{
    void *marks =
        mmap(NULL, sizeof(struct hf_shared_marks), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    HF_LAB_REQUIRE(marks != MAP_FAILED);
    return marks;
}

void hf_shared_marks_free(struct hf_shared_marks *marks)
{
    munmap(marks, sizeof(*marks));
}

void hf_shared_marks_take(struct hf_shared_marks *marks, struct hf_expect *expect)
{
    const uint64_t count = atomic_load(&marks->count);

    for (uint64_t i = 0; i < count; i++)
        hf_expect_mark(expect, marks->mark[i].mark, marks->mark[i].digest);
    atomic_store(&marks->count, 0);
}

static void run_mark(struct hf_lab_run *run, int mark, uint64_t digest)
{
    if (run->disk != NULL)
        hf_disk_mark(run->disk, mark, digest);
    if (run->live != NULL)
        hf_expect_mark(run->live, mark, digest);
    if (run->shared != NULL) {
        /* The count last: a process killed in between has not made the mark. */
        const uint64_t count = atomic_load(&run->shared->count);

        HF_LAB_REQUIRE(count < HF_SHARED_MARKS);
        run->shared->mark[count].mark = mark;
        run->shared->mark[count].digest = digest;
        atomic_store(&run->shared->count, count + 1);
    }
}

/* -- what a session says -- */

void hf_run_violation(struct hf_lab_run *run, const char *format, ...)
{
    va_list arguments;

    if (run->violated)
        return;
    run->violated = true;
    va_start(arguments, format);
    vsnprintf(run->text, sizeof(run->text), format, arguments);
    va_end(arguments);
    if (run->shared != NULL) {
        memcpy(run->shared->text, run->text, sizeof(run->text));
        atomic_store(&run->shared->violated, true);
    }
}

void hf_run_refused(struct hf_lab_run *run, int status, const char *why)
{
    run->refused = true;
    run->status = status;
    if (!run->damaged && !run->faulty)
        hf_run_violation(run, "the store does not open: status %d, %s", status, why);
}

void hf_run_recovered(struct hf_lab_run *run, uint64_t digest, bool stepped_back)
{
    char allowed[256];

    run->recovered = true;
    run->digest = digest;
    run->stepped_back = stepped_back;
    if (run->expect != NULL && !hf_expect_allows(run->expect, digest)) {
        hf_expect_describe(run->expect, allowed, sizeof(allowed));
        hf_run_violation(run, "the store has contents %08llx, not %s", (unsigned long long)(digest >> 32), allowed);
    }
    run_mark(run, HF_MARK_RECOVERED, digest);
}

void hf_run_begin(struct hf_lab_run *run, uint64_t digest)
{
    run_mark(run, HF_MARK_BEGIN, digest);
}

void hf_run_done(struct hf_lab_run *run)
{
    run_mark(run, HF_MARK_DONE, 0);
}

void hf_run_durable(struct hf_lab_run *run)
{
    run_mark(run, HF_MARK_DURABLE, 0);
}

void hf_run_failed(struct hf_lab_run *run)
{
    run_mark(run, HF_MARK_FAILED, 0);
}

void hf_run_broken(struct hf_lab_run *run)
{
    run_mark(run, HF_MARK_BROKEN, 0);
}

/* A signal of its own kind, so that the tracer cannot take it for a step. */
void hf_run_enter(struct hf_lab_run *run)
{
    if (run->traced)
        raise(SIGUSR2);
}

void hf_run_leave(struct hf_lab_run *run)
{
    if (run->traced)
        raise(SIGUSR2);
}

void hf_run_session(const struct hf_subject *subject, struct hf_lab_run *run)
{
    struct hf_expect own = {0};
    struct hf_disk *before = NULL;

    /* A session may open the store again, after what it did itself. */
    if (run->live == NULL && run->expect != NULL) {
        hf_expect_copy(&own, run->expect);
        run->live = &own;
        run->expect = &own;
    }
    if (run->disk != NULL) {
        run->folder = hf_disk_root(run->disk);
        before = hf_disk_use(run->disk);
    }
    subject->session(run);
    if (run->disk != NULL) {
        const unsigned left = hf_disk_open_count(run->disk);

        hf_disk_use(before);
        if (left > 0)
            hf_run_violation(run, "%u descriptors are left open", left);
    }
    if (!run->recovered && !run->refused)
        hf_run_violation(run, "the session says neither what is there nor why not");
    if (run->live == &own) {
        hf_expect_clear(&own);
        run->live = NULL;
        run->expect = NULL;
    }
}

/* -- reports -- */

double hf_report_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

bool hf_report_more(const struct hf_report *report)
{
    return !(report->one && report->violations > 0) && (report->most == 0 || report->count < report->most) &&
           (report->until == 0 || hf_report_now() < report->until);
}

void hf_report_where(struct hf_report *report, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(report->where, sizeof(report->where), format, arguments);
    va_end(arguments);
}

void hf_report_violation(struct hf_report *report, const char *text)
{
    enum { SHOWN = 10 };

    if (report->violations++ == 0)
        snprintf(report->first, sizeof(report->first), "%s: %s", report->where, text);
    if (!report->quiet && report->violations <= SHOWN)
        fprintf(stderr, "%s %s: VIOLATION: %s: %s\n", report->tool, report->subject, report->where, text);
}

void hf_report_run(struct hf_report *report, const struct hf_lab_run *run)
{
    report->count++;
    if (run->violated)
        hf_report_violation(report, run->text);
}

int hf_report_close(const struct hf_report *report)
{
    if (report->skipped != NULL) {
        printf("%s %s: SKIPPED: %s\n", report->tool, report->subject, report->skipped);
        return 77;
    }
    printf("%s %s: %llu %s, %llu violations\n", report->tool, report->subject, (unsigned long long)report->count,
           report->unit, (unsigned long long)report->violations);
    return report->violations > 0 || report->count == 0 ? 1 : 0;
}

static struct hf_report *guarded;
static uint64_t guarded_count;
static unsigned guarded_idle;

/* Not what a handler may do by the book; but the process is going down, and this says why. */
static void guard_handler(int number)
{
    char text[64];

    /* Twice without a try in between: once may be the whole machine that stood still. */
    if (number == SIGALRM) {
        guarded_idle = guarded->count == guarded_count ? guarded_idle + 1 : 0;
        guarded_count = guarded->count;
        if (guarded_idle < 2) {
            alarm(60);
            return;
        }
    }
    snprintf(text, sizeof(text), "%s", number == SIGALRM ? "it hangs" : strsignal(number));
    hf_report_violation(guarded, text);
    hf_report_close(guarded);
    fflush(stdout);
    hf_scratch_remove_all();
    _Exit(1);
}

void hf_report_guard(struct hf_report *report)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM};

    guarded = report;
    for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
        signal(fatal[i], guard_handler);
    alarm(60);
}

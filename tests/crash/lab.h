/*
 * lab.h: what is put into the laboratory, and what comes out.
 *
 *     subject   a store under test: a function that runs one *session* with it
 *     session   open (which recovers), say what is there, commit a few times, close
 *     run       one session: its folder, its seed, what it says and what was wrong with it
 *     report    how many of what were tried, and how many violations there were
 *
 * A session in outline; every tool uses the same one:
 *
 *     status = store_open(run->folder, &store);         creates it where there is none
 *     if (status < 0)
 *         return hf_run_refused(run, status, "...");
 *     ... its own check: hf_run_violation(run, "...") ...
 *     hf_run_recovered(run, digest of what was there, whether it says it stepped back);
 *     for (unsigned i = 0; i < run->steps; i++) {
 *         ... change it, by run->seed ...
 *         hf_run_begin(run, digest of what will be there);
 *         hf_run_enter(run);
 *         status = store_commit(store);
 *         hf_run_leave(run);
 *         if (status == 0)
 *             hf_run_durable(run);                      or hf_run_done, where it is not
 *         else if (nothing of it may be left)
 *             hf_run_failed(run);
 *         else if (what was not durable may be lost)
 *             hf_run_broken(run);
 *     }
 *     store_close(store);
 *
 * A run says where it belongs: to a simulated disk, whose trace then has the marks; to
 * memory shared with the process that will kill this one; or to the caller's expectation.
 *
 * Concurrency: a run belongs to one thread, and to one process except for the shared
 * marks, which are atomics. Failure: none (support.h).
 */
#ifndef HF_CRASH_LAB_H
#define HF_CRASH_LAB_H

#include "disk.h"
#include "expect.h"

#include <stdatomic.h>

/* Marks that outlive the process which makes them. In shared memory. */
enum { HF_SHARED_MARKS = 1 << 16 };

struct hf_shared_marks {
    _Atomic uint64_t count;
    _Atomic bool violated;
    char text[512];
    struct {
        int mark;
        uint64_t digest;
    } mark[HF_SHARED_MARKS];
};

struct hf_shared_marks *hf_shared_marks_new(void);
void hf_shared_marks_free(struct hf_shared_marks *marks);
/* Add them to the expectation and forget them. */
void hf_shared_marks_take(struct hf_shared_marks *marks, struct hf_expect *expect);

struct hf_lab_run {
    const char *folder;
    uint64_t seed;
    unsigned steps; /* commits to make; 0: only look */
    bool faulty;    /* calls are made to fail: that one is reported is no violation */
    bool traced;    /* hf_run_enter and hf_run_leave stop for the tracer (kill.h) */
    bool damaged;   /* the store may refuse to open, and may step back if it says so */

    /* Where marks go, those that are set; what the store may have; with NULL, anything. */
    struct hf_disk *disk;
    struct hf_shared_marks *shared;
    struct hf_expect *live;
    const struct hf_expect *expect;

    /* What came out. */
    bool recovered, refused, stepped_back, violated;
    int status;
    uint64_t digest;
    char text[512];
};

typedef void hf_session(struct hf_lab_run *run);

struct hf_subject {
    const char *name;
    hf_session *session;
    /* For the tool that damages (damage.h): of several files, the one to damage, and the one to take away at times. */
    const char *damaged, *without;
    /* For the tool that loses the page cache (power.h): files that say which boot they are of, or which files, say what is
     * true of this folder. NULL: there are no such files. */
    void (*believe)(const char *folder);
};

/* -- for sessions -- */

void hf_run_refused(struct hf_lab_run *run, int status, const char *why);
void hf_run_recovered(struct hf_lab_run *run, uint64_t digest, bool stepped_back);
void hf_run_begin(struct hf_lab_run *run, uint64_t digest);
void hf_run_done(struct hf_lab_run *run);
void hf_run_durable(struct hf_lab_run *run);
void hf_run_failed(struct hf_lab_run *run);
void hf_run_broken(struct hf_lab_run *run);
/* The section at each of whose instructions the process is killed. */
void hf_run_enter(struct hf_lab_run *run);
void hf_run_leave(struct hf_lab_run *run);
__attribute__((format(printf, 2, 3))) void hf_run_violation(struct hf_lab_run *run, const char *format, ...);

/* -- for tools -- */

/* Run the session, on its disk if it has one. Saying nothing is a violation too, unless it was made to fail. */
void hf_run_session(const struct hf_subject *subject, struct hf_lab_run *run);

struct hf_report {
    const char *tool, *subject, *unit;
    uint64_t most; /* so many, 0: no limit */
    double until;  /* and no longer, as of hf_report_now; 0: no limit */
    uint64_t count, violations;
    bool one;            /* stop at the first violation */
    bool quiet;          /* keep the violations for the test that wants them */
    const char *skipped; /* why nothing could be tried here */
    char where[1024];    /* what is being tried */
    char first[2048];    /* the first violation */
};

double hf_report_now(void);
/* Whether to go on: neither the number nor the time is up. */
bool hf_report_more(const struct hf_report *report);
__attribute__((format(printf, 2, 3))) void hf_report_where(struct hf_report *report, const char *format, ...);
void hf_report_violation(struct hf_report *report, const char *text);
/* Count one try, and its violation if there is one. */
void hf_report_run(struct hf_report *report, const struct hf_lab_run *run);
/*
 * "power toy: 10000 images, 0 violations"; the exit status: 1 where there is a violation, or nothing was tried, 77
 * (meson's 'skipped') where nothing could be.
 */
int hf_report_close(const struct hf_report *report);

/*
 * In a tool's main: if the process crashes, or a try takes more than two minutes, say where, and close the report with
 * this as a violation.
 */
void hf_report_guard(struct hf_report *report);

#endif

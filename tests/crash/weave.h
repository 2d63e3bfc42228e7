/*
 * weave.h: one process is stopped at an instruction, another works, and the first goes on.
 *
 *      stopped    ---[ section: n instructions ]  . . . . . [ the rest of it ]  . . . . .  --- looks --->
 *      meanwhile                                  phase 0                       phase 1                 phase 2
 *
 * for every n, or a sample. Kills show what a dead process leaves; this shows what a slow one sees, and does to others:
 * a reader that was stopped between two loads while versions came and went, a writer stopped before its publication
 * while a reader began.
 *
 * Single-stepping has the limits that kill.h says. Concurrency: it forks, so call it from a process with one thread.
 * Failure: none (support.h).
 */
#ifndef HF_CRASH_WEAVE_H
#define HF_CRASH_WEAVE_H

#include "kill.h"
#include "lab.h"

struct hf_weave_subject {
    const char *name;
    void (*create)(const char *folder);
    /* In a process of its own: once through the section, between hf_run_enter and hf_run_leave. */
    void (*stopped)(struct hf_lab_run *run);
    /* In the tool's own: 0, while that one is stopped within the section; 1, at its end; 2, once it is gone. */
    void (*meanwhile)(struct hf_lab_run *run, unsigned phase);
};

/* For n = 1, 2, ... or with a stride, until the section is over: seed, stride, most_steps and fresh_every of the
 * options are used. A section that is left before its instruction n is not counted. */
void hf_weave_run(const struct hf_weave_subject *subject, const struct hf_kill_options *options,
                  struct hf_report *report);

#endif

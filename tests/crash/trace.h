/*
 * trace.h: a child that is stepped through a section (hf_run_enter .. hf_run_leave), instruction by instruction.
 * For kill.c and weave.c. What cannot be stepped through: kill.h.
 */
#ifndef HF_CRASH_TRACE_H
#define HF_CRASH_TRACE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    HF_TRACE_NOT_PERMITTED = 4, /* the exit status of such a child */
};

/*
 * The section is not as long every time: it is done with once it was left before the n-th instruction so often in a
 * row. Else its last instructions, which matter most, would hardly ever be reached.
 */
static inline unsigned hf_trace_left_often(unsigned stride)
{
    return stride < 100 ? 16 : 4;
}

enum hf_trace_end {
    HF_TRACE_STOPPED, /* where it was wanted */
    HF_TRACE_LEFT,    /* the section has ended before */
    HF_TRACE_ENDED,   /* the process has; *status says how */
    HF_TRACE_REFUSED, /* by the system */
};

/* This process and the children it will have on one processor, or (false) wherever they were allowed before: to step is
 * to go to and fro between the two, which takes several times as long across processors. */
void hf_trace_together(bool together);

/* In the child: from here on it is traced, and it stops for hf_trace_first. */
void hf_trace_me(void);

/* To the beginning of the section; and then so many instructions. */
enum hf_trace_end hf_trace_first(pid_t child, int *status);
enum hf_trace_end hf_trace_steps(pid_t child, uint64_t steps, int *status);

/* On to where the section begins or ends, or the process does. */
enum hf_trace_end hf_trace_on(pid_t child, int *status);

#endif

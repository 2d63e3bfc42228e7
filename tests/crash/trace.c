/*
 * trace.c: see trace.h.
 */
#include "trace.h"

#include "support.h"

#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

void hf_trace_together(bool together)
{
    static cpu_set_t before;
    static bool known;
    cpu_set_t one;
    const int here = sched_getcpu();

    /* Where this cannot be had, it is slower, no more. */
    if (together && here >= 0 && here < CPU_SETSIZE && sched_getaffinity(0, sizeof(before), &before) == 0) {
        CPU_ZERO(&one);
        CPU_SET(here, &one);
        known = sched_setaffinity(0, sizeof(one), &one) == 0;
    } else if (!together && known) {
        sched_setaffinity(0, sizeof(before), &before);
        known = false;
    }
}

void hf_trace_me(void)
{
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(HF_TRACE_NOT_PERMITTED);
    raise(SIGSTOP);
}

enum hf_trace_end hf_trace_on(pid_t child, int *status)
{
    int forward = 0;

    for (;;) {
        if (ptrace(PTRACE_CONT, child, NULL, (void *)(intptr_t)forward) != 0)
            return HF_TRACE_REFUSED;
        HF_LAB_REQUIRE(waitpid(child, status, 0) == child);
        if (!WIFSTOPPED(*status))
            return HF_TRACE_ENDED;
        if (WSTOPSIG(*status) == SIGUSR2)
            return HF_TRACE_STOPPED;
        forward = WSTOPSIG(*status) == SIGSTOP || WSTOPSIG(*status) == SIGTRAP ? 0 : WSTOPSIG(*status);
    }
}

enum hf_trace_end hf_trace_first(pid_t child, int *status)
{
    HF_LAB_REQUIRE(waitpid(child, status, 0) == child);
    return WIFSTOPPED(*status) ? hf_trace_on(child, status) : HF_TRACE_ENDED;
}

enum hf_trace_end hf_trace_steps(pid_t child, uint64_t steps, int *status)
{
    int forward = 0;

    for (uint64_t i = 0; i < steps; i++) {
        if (ptrace(PTRACE_SINGLESTEP, child, NULL, (void *)(intptr_t)forward) != 0)
            return HF_TRACE_REFUSED;
        HF_LAB_REQUIRE(waitpid(child, status, 0) == child);
        if (!WIFSTOPPED(*status))
            return HF_TRACE_ENDED;
        if (WSTOPSIG(*status) == SIGUSR2)
            return HF_TRACE_LEFT;
        forward = WSTOPSIG(*status) == SIGTRAP ? 0 : WSTOPSIG(*status);
    }
    return HF_TRACE_STOPPED;
}

/*
 * kill.h: processes that are killed, on the real system.
 *
 * Three tools, from many to exact:
 *   hf_kill_run     a worker runs sessions and is killed at a random moment
 *   hf_clients_run  several clients work on one store at once, one after another is killed
 *                   and replaced, and the whole history must be linearizable (linear.h)
 *   hf_steps_run    a worker is single-stepped with ptrace through one marked section
 *                   (hf_run_enter .. hf_run_leave) and killed after its n-th instruction, for
 *                   every n or for a sample
 *
 * After a kill the page cache lives on, so whatever was done (hf_run_done) must be there.
 *
 * Single-stepping is for x86-64 and aarch64. Where the system does not permit ptrace (a
 * container, a seccomp filter) the report says so and is closed as skipped. On aarch64 a
 * loop of load-exclusive and store-exclusive does not end under single steps, since the
 * step clears the monitor: what is stepped through must use LSE atomics (as GCC's and
 * clang's outlined atomics do on processors that have them). A section that has not ended
 * after `most_steps` is reported as a violation, whichever the reason.
 *
 * To come to instruction n takes n steps, of some microseconds each: a whole section of
 * 3,000 instructions takes half a minute; hence `stride`.
 *
 * Concurrency: each forks, so call it from a process with one thread. Failure: none (support.h).
 */
#ifndef HF_CRASH_KILL_H
#define HF_CRASH_KILL_H

#include "lab.h"
#include "linear.h"

struct hf_kill_options {
    uint64_t seed;
    unsigned longest;     /* microseconds that a worker lives at most */
    unsigned fresh_every; /* kills on one store, then another */
    unsigned stride;      /* steps: 1: every instruction; n: one in about n */
    uint64_t most_steps;
    unsigned clients;       /* at once */
    unsigned kills_a_round; /* of clients, then the history is checked */
};

#define HF_KILL_DEFAULTS                                                                                  \
    {                                                                                                     \
        .seed = 1, .longest = 10000, .fresh_every = 50, .stride = 1, .most_steps = 1000000, .clients = 3, \
        .kills_a_round = 20                                                                               \
    }

void hf_kill_run(const struct hf_subject *subject, const struct hf_kill_options *options, struct hf_report *report);
void hf_steps_run(const struct hf_subject *subject, const struct hf_kill_options *options, struct hf_report *report);

/* One client: opens the store, and until `stop` makes calls that it records. */
struct hf_client {
    const char *folder;
    uint32_t number; /* of its own, for the history */
    unsigned slot;   /* which of those that are there at once: its successor has the same */
    uint64_t seed;
    struct hf_history *history;
    const _Atomic bool *stop;
};

struct hf_clients_subject {
    const char *name;
    void (*create)(const char *folder);
    void (*work)(struct hf_client *client);
    /* Or NULL: looks at the store after each kill, while the others go on. What is wrong goes to `text`, else it is left. */
    void (*look)(const char *folder, char *text, size_t size);
};

void hf_clients_run(const struct hf_clients_subject *subject, const struct hf_kill_options *options,
                    struct hf_report *report);

#endif

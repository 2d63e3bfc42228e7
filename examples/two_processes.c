/*
 * two_processes.c: two processes work on one region in shared memory, and one of them is killed.
 *
 *      two_processes
 *
 * The work: for each number from 1 to 2,000, how many steps does it take to come to 1, if an even number is halved and
 * an odd one becomes 3 n + 1? The region counts how many numbers take how many steps.
 *
 *      tree STEPS    steps -> how many numbers take so many
 *      tree SHARES   share -> the next number of it that has to be looked at      share 0: 1 .. 1000, share 1: 1001 .. 2000
 *
 * A batch is a transaction: it looks at the next hundred numbers of a share, counts them, and moves the share's next
 * number on. All of that is published at once, or nothing of it. So a number is counted once, whoever is killed, and
 * whoever goes on need only look where the share has got to.
 *
 *      process A    batch | batch | batch | half of a ba... killed
 *      process B                                            waits | takes over: share 1 | what is left of share 0
 *      we                                   look            kill                                                   look
 *
 * There is no public header for regions yet, so this includes one of the engine's own.
 */
#include "region/region.h"

#include <holdfast/status.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STEPS, SHARES }; /* trees */
enum { A, B };          /* who works, and which share comes first for each */
enum { SHARE = 1000, BATCH = 100, ALL = 2000, MOST = 200 };

#define FOR_EVER (-1) /* times to wait are in nanoseconds */
#define A_MOMENT (INT64_C(20) * 1000 * 1000)

/* Every call that can fail returns a negative status; here that ends the process. */
static int check(int status)
{
    if (status < 0) {
        fprintf(stderr, "two_processes: %s\n", hf_status_message(status));
        exit(EXIT_FAILURE);
    }
    return status;
}

static unsigned steps_of(uint64_t number)
{
    unsigned steps = 0;
    for (; number != 1; steps++)
        number = number % 2 == 0 ? number / 2 : 3 * number + 1;
    return steps;
}

/* -- numbers in a region: keys and values are bytes, and the caller hashes the keys -- */

static hf_key key_of(const uint64_t *number)
{
    return (hf_key){.hash = *number * UINT64_C(0x9e3779b97f4a7c15), .bytes = number, .size = sizeof *number};
}

static uint64_t number_in(const hf_span *value)
{
    uint64_t number;
    memcpy(&number, value->bytes, sizeof number);
    return number;
}

/* What this transaction would publish. */
static uint64_t get(hf_txn *txn, unsigned tree, uint64_t name)
{
    hf_key key = key_of(&name);
    hf_span value;
    return check(hf_txn_get(txn, tree, &key, &value)) == 1 ? number_in(&value) : 0;
}

static void put(hf_txn *txn, unsigned tree, uint64_t name, uint64_t number)
{
    hf_key key = key_of(&name);
    check(hf_txn_put(txn, tree, &key, &number, sizeof number));
}

/* What a version has, whatever is being written meanwhile. */
static uint64_t look(const hf_view *view, unsigned tree, uint64_t name)
{
    hf_key key = key_of(&name);
    hf_span value;
    return check(hf_view_get(view, tree, &key, &value)) == 1 ? number_in(&value) : 0;
}

/* -- the work -- */

/* Counts `count` numbers, and says so in the share: nobody sees it before the commit. */
static void count_numbers(hf_txn *txn, uint64_t share, uint64_t count)
{
    uint64_t from = get(txn, SHARES, share);
    for (uint64_t number = from; number < from + count; number++) {
        unsigned steps = steps_of(number);
        put(txn, STEPS, steps, get(txn, STEPS, steps) + 1);
    }
    put(txn, SHARES, share, from + count);
}

static uint64_t end_of(uint64_t share)
{
    return (share + 1) * SHARE + 1;
}

/* A batch of a share; false: there is nothing left of it. */
static bool batch(hf_region *region, uint64_t share)
{
    hf_txn *txn;
    check(hf_txn_begin(region, FOR_EVER, &txn));
    bool left = get(txn, SHARES, share) < end_of(share);
    if (left)
        count_numbers(txn, share, BATCH);
    check(hf_txn_commit(txn));
    return left;
}

/* -- the processes, who tell us where they are by a byte down a pipe -- */

static void tell(int pipe, char where)
{
    if (write(pipe, &where, 1) != 1)
        exit(EXIT_FAILURE);
}

static void wait_to_be_told(int pipe, char where)
{
    char byte;
    if (read(pipe, &byte, 1) != 1 || byte != where) {
        fprintf(stderr, "two_processes: a process has failed\n");
        exit(EXIT_FAILURE);
    }
}

/* Three batches and half of one, and then it stops as if it were slow: it will not get any further. */
static void process_a(hf_region *region, int pipe)
{
    hf_txn *txn;
    for (int i = 0; i < 3; i++)
        batch(region, A);
    check(hf_txn_begin(region, FOR_EVER, &txn));
    count_numbers(txn, A, BATCH / 2);
    tell(pipe, 'a');
    for (;;)
        pause();
}

/* A stranger, who knows the region by its name alone. */
static void process_b(const char *name, int pipe)
{
    hf_region *region;
    hf_txn *txn;
    check(hf_region_open(name, NULL, &region));
    if (hf_txn_begin(region, A_MOMENT, &txn) != HF_TIMEOUT)
        exit(EXIT_FAILURE);
    tell(pipe, 'b');
    /* This waits until A lets go of the region, or is dead. What A did not publish is gone by itself. */
    while (batch(region, B))
        continue;
    while (batch(region, A))
        continue;
    check(hf_region_close(region));
}

static pid_t start(int who, hf_region *region, const char *name, int pipe)
{
    fflush(stdout);
    pid_t child = fork();
    if (child != 0)
        return child;
    alarm(60); /* nobody stays behind, whatever happens to us */
    if (who == A)
        process_a(region, pipe); /* a child may use the regions that its parent has open */
    else
        process_b(name, pipe);
    exit(EXIT_SUCCESS);
}

static void say_how_far(const char *when, hf_region *region)
{
    hf_view view;
    uint64_t sum = 0;
    check(hf_view_pin(region, &view)); /* never waits for a writer */
    for (uint64_t steps = 0; steps < MOST; steps++)
        sum += look(&view, STEPS, steps);
    printf("%-26s %4" PRIu64 " counted; share 0 at %4" PRIu64 ", share 1 at %4" PRIu64 "\n", when, sum,
           look(&view, SHARES, A), look(&view, SHARES, B));
    hf_view_unpin(&view);
}

/* Each count against a plain array. */
static bool is_right(hf_region *region)
{
    uint64_t plain[MOST] = {0};
    hf_view view;
    bool right = true;
    for (uint64_t number = 1; number <= ALL; number++)
        plain[steps_of(number)]++;
    check(hf_view_pin(region, &view));
    for (uint64_t steps = 0; steps < MOST; steps++)
        right = right && look(&view, STEPS, steps) == plain[steps];
    hf_view_unpin(&view);
    return right;
}

int main(void)
{
    char name[64];
    int pipes[2], status;
    hf_region *region, *gone;
    hf_txn *txn;
    hf_region_stats stats;

    /* A name that nobody else has. */
    snprintf(name, sizeof name, "/holdfast-two-processes-%d", (int)getpid());
    check(hf_region_open(name, &(hf_region_options){.mode = HF_REGION_CREATE}, &region));
    check(hf_txn_begin(region, FOR_EVER, &txn));
    put(txn, SHARES, A, 1);
    put(txn, SHARES, B, SHARE + 1);
    check(hf_txn_commit(txn));
    say_how_far("in the beginning:", region);

    if (pipe(pipes) != 0)
        return EXIT_FAILURE;
    pid_t a = start(A, region, name, pipes[1]);
    wait_to_be_told(pipes[0], 'a');
    say_how_far("A is in its fourth batch:", region);

    pid_t b = start(B, region, name, pipes[1]);
    wait_to_be_told(pipes[0], 'b');
    /* Both have it open, so it needs no name any more; and without one it goes when they have gone, however they go. */
    check(hf_region_unlink(name));
    say_how_far("B waits for A:", region);

    kill(a, SIGKILL);
    bool killed = waitpid(a, &status, 0) == a && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    bool finished = waitpid(b, &status, 0) == b && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS;
    say_how_far("A was killed, B has ended:", region);

    bool right = is_right(region);
    check(hf_region_check(region, FOR_EVER, NULL));
    check(hf_region_stats_get(region, &stats));
    check(hf_region_close(region));
    bool left = hf_region_open(name, NULL, &gone) != HF_ABSENT;
    printf("writers found dead: %u; every count is %s; in /dev/shm there is %s left\n", stats.owner_died,
           right ? "right" : "WRONG", left ? "SOMETHING" : "nothing");
    return killed && finished && right && !left && stats.owner_died == 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}

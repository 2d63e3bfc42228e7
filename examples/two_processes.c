/*
 * two_processes.c: two processes work on one map in shared memory, and one of them is killed.
 *
 *      two_processes
 *
 * The work: for each number from 1 to 2,000, how many steps does it take to come to 1, if an even number is halved and
 * an odd one becomes 3 n + 1? The map counts how many numbers take how many steps.
 *
 *      0, 1, 2, ...             steps -> how many numbers take so many
 *      "share 0", "share 1"     the next number of it that has to be looked at      share 0: 1 .. 1000, share 1: 1001 .. 2000
 *
 * A batch is a transaction: it looks at the next hundred numbers of a share, counts them, and moves the share's next
 * number on. All of that is published at once, or nothing of it. So a number is counted once, whoever is killed, and
 * whoever goes on need only look where the share has got to.
 *
 *      process A    batch | batch | batch | half of a ba... killed
 *      process B                                            waits | takes over: share 1 | what is left of share 0
 *      we                                   look            kill                                                   look
 */
#include <holdfast/shared.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { A, B }; /* who works, and which share comes first for each */
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

/* -- numbers in a map: a key is an int, or a str; a value is an int -- */

static hf_datum share_name(int share)
{
    return hf_datum_str(share == A ? "share 0" : "share 1");
}

/* What the newest version has; in a transaction of ours, what that would publish. */
static int64_t get(hf_shared *map, hf_datum key)
{
    hf_shared_room room = {0}; /* where what a value points to is copied to: an int points to nothing */
    hf_datum value;
    bool found = check(hf_shared_get(map, &key, &room, &value)) == 1;
    hf_shared_room_clear(&room);
    return found ? value.integer : 0;
}

static void set(hf_shared *map, hf_datum key, int64_t number)
{
    hf_datum value = hf_datum_int(number);
    check(hf_shared_set(map, &key, &value));
}

/* What a version has, whatever is being written meanwhile. */
static int64_t look(const hf_shared_snapshot *snapshot, hf_datum key)
{
    hf_datum value;
    return check(hf_shared_snapshot_get(snapshot, &key, &value)) == 1 ? value.integer : 0;
}

/* -- the work -- */

/* Counts `count` numbers, and says so in the share: nobody sees it before the commit. */
static void count_numbers(hf_shared *map, int share, int64_t count)
{
    int64_t from = get(map, share_name(share));
    for (int64_t number = from; number < from + count; number++) {
        hf_datum steps = hf_datum_int(steps_of((uint64_t)number));
        check(hf_shared_incr(map, &steps, 1, NULL));
    }
    set(map, share_name(share), from + count);
}

static int64_t end_of(int share)
{
    return (share + 1) * SHARE + 1;
}

/* A batch of a share; false: there is nothing left of it. */
static bool batch(hf_shared *map, int share)
{
    check(hf_shared_begin(map));
    bool left = get(map, share_name(share)) < end_of(share);
    if (left)
        count_numbers(map, share, BATCH);
    check(hf_shared_commit(map));
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
static void process_a(hf_shared *map, int pipe)
{
    for (int i = 0; i < 3; i++)
        batch(map, A);
    check(hf_shared_begin(map));
    count_numbers(map, A, BATCH / 2);
    tell(pipe, 'a');
    for (;;)
        pause();
}

/* A stranger, who knows the map by its name alone. */
static void process_b(const char *name, int pipe)
{
    hf_shared_options brief = {.mode = HF_SHARED_ATTACH, .timeout = A_MOMENT}, patient = brief;
    hf_shared *map;
    patient.timeout = FOR_EVER;
    check(hf_shared_open(name, &brief, &map));
    if (hf_shared_begin(map) != HF_TIMEOUT)
        exit(EXIT_FAILURE);
    check(hf_shared_close(map));
    check(hf_shared_open(name, &patient, &map));
    tell(pipe, 'b');
    /* This waits until A lets go of the map, or is dead. What A did not publish is gone by itself. */
    while (batch(map, B))
        continue;
    while (batch(map, A))
        continue;
    check(hf_shared_close(map));
}

static pid_t start(int who, hf_shared *map, const char *name, int pipe)
{
    fflush(stdout);
    pid_t child = fork();
    if (child != 0)
        return child;
    alarm(60); /* nobody stays behind, whatever happens to us */
    if (who == A)
        process_a(map, pipe); /* a child may use the maps that its parent has open */
    else
        process_b(name, pipe);
    exit(EXIT_SUCCESS);
}

static void say_how_far(const char *when, hf_shared *map)
{
    hf_shared_snapshot *snapshot;
    int64_t sum = 0;
    check(hf_shared_snapshot_begin(map, &snapshot)); /* never waits for a writer */
    for (int64_t steps = 0; steps < MOST; steps++)
        sum += look(snapshot, hf_datum_int(steps));
    printf("%-26s %4" PRId64 " counted; share 0 at %4" PRId64 ", share 1 at %4" PRId64 "\n", when, sum,
           look(snapshot, share_name(A)), look(snapshot, share_name(B)));
    hf_shared_snapshot_end(snapshot);
}

/* Each count against a plain array. */
static bool is_right(hf_shared *map)
{
    int64_t plain[MOST] = {0};
    bool right = true;
    for (uint64_t number = 1; number <= ALL; number++)
        plain[steps_of(number)]++;
    for (int64_t steps = 0; steps < MOST; steps++)
        right = right && get(map, hf_datum_int(steps)) == plain[steps];
    return right;
}

int main(void)
{
    const hf_shared_options create = {.mode = HF_SHARED_CREATE, .timeout = FOR_EVER};
    const hf_shared_options attach = {.mode = HF_SHARED_ATTACH};
    char name[64];
    int pipes[2], status;
    hf_shared *map, *gone;
    hf_shared_stats stats;

    /* A name that nobody else has. */
    snprintf(name, sizeof name, "holdfast-two-processes-%d", (int)getpid());
    check(hf_shared_open(name, &create, &map));
    check(hf_shared_begin(map));
    set(map, share_name(A), 1);
    set(map, share_name(B), SHARE + 1);
    check(hf_shared_commit(map));
    say_how_far("in the beginning:", map);

    if (pipe(pipes) != 0)
        return EXIT_FAILURE;
    pid_t a = start(A, map, name, pipes[1]);
    wait_to_be_told(pipes[0], 'a');
    say_how_far("A is in its fourth batch:", map);

    pid_t b = start(B, map, name, pipes[1]);
    wait_to_be_told(pipes[0], 'b');
    /* Both have it open, so it needs no name any more; and without one it goes when they have gone, however they go. */
    check(hf_shared_unlink(name));
    say_how_far("B waits for A:", map);

    kill(a, SIGKILL);
    bool killed = waitpid(a, &status, 0) == a && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    bool finished = waitpid(b, &status, 0) == b && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS;
    say_how_far("A was killed, B has ended:", map);

    bool right = is_right(map);
    check(hf_shared_check(map, NULL));
    check(hf_shared_stats_get(map, &stats));
    check(hf_shared_close(map));
    bool left = hf_shared_open(name, &attach, &gone) != HF_ABSENT;
    printf("writers found dead: %u; every count is %s; in /dev/shm there is %s left\n", stats.writers_died,
           right ? "right" : "WRONG", left ? "SOMETHING" : "nothing");
    return killed && finished && right && !left && stats.writers_died == 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}

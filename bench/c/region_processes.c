/*
 * region_processes.c: the rows that take several processes.
 *
 *      readers    one process, then two, each reads all keys in its own order; from the region, and from a private
 *                 table (open addressing, the same keys and values, built by the process itself). What two together
 *                 read in a second is divided by what one does; what the region keeps of the private tables'
 *                 scaling is the figure: what is lost by both is the machine's
 *
 *      beside     a writer that never rests, for whom the region still grows, and a reader that from then on may call
 *                 read, write and exit: the kernel kills it at any other system call (seccomp). Its values are checked,
 *                 and how long each get took is kept
 *
 *      takeover   a child is killed in the middle of a transaction, at a time that is drawn; from just before the
 *                 kill to the first commit of the next writer, which waits already or comes after
 *
 * Children are forked with the region open, as it may be. They tell their parent through shared memory and pipes.
 */
#include "region_rows.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { BATCH = 1000 };

/* What parent and children share. */
struct board {
    _Atomic int ready;
    _Atomic bool go, stop;
    _Atomic int64_t taken[2]; /* nanoseconds */
    _Atomic uint64_t commits;
};

static struct board *new_board(void)
{
    struct board *board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED)
        fail("mmap", "no memory");
    return board;
}

static void nap(int64_t nanoseconds)
{
    struct timespec time = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    nanosleep(&time, NULL);
}

static pid_t start(void (*child)(struct board *, int), struct board *board, int which)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        fail("fork", "failed");
    if (pid == 0) {
        child(board, which);
        _exit(EXIT_SUCCESS);
    }
    return pid;
}

static int end_of(pid_t pid)
{
    int status;
    if (waitpid(pid, &status, 0) != pid)
        fail("waitpid", "failed");
    return status;
}

/* -- readers -- */

static void wait_for_go(struct board *board)
{
    atomic_fetch_add(&board->ready, 1);
    while (!atomic_load(&board->go))
        nap(1000000);
}

/* Two readers are at different keys at a time. */
static size_t first_of(int which)
{
    return which == 0 ? 0 : key_count / 2;
}

static void read_region(struct board *board, int which)
{
    hf_view view;
    hf_span value;
    sure(hf_view_pin(region, &view));
    hf_view_unpin(&view);
    wait_for_go(board);
    int64_t begun = now();
    for (size_t i = 0, at = first_of(which); i < key_count; i++, at = at + 1 == key_count ? 0 : at + 1) {
        hf_key key = region_key(keys[GET_ORDER][at]);
        sure(hf_view_pin(region, &view));
        if (sure(hf_view_get(&view, 0, &key, &value)) != 1)
            fail("a look-up", "found nothing");
        expect(order[GET_ORDER][at], 0, value.bytes, value.size);
        hf_view_unpin(&view);
    }
    atomic_store(&board->taken[which], now() - begun);
}

struct private_record {
    char key[KEY + 4];
    uint64_t value[VALUE / 8];
};

/* The number of a record, plus 1, at a place that the hash says, or behind it. */
struct private_table {
    size_t mask;
    uint32_t *places;
    struct private_record *records;
};

static uint64_t private_hash(const char key[KEY])
{
    return hf_hash_bytes(key, KEY, 0x9e3779b9);
}

static const struct private_record *private_get(const struct private_table *table, const char key[KEY])
{
    for (size_t at = private_hash(key) & table->mask; table->places[at] != 0; at = (at + 1) & table->mask) {
        const struct private_record *record = &table->records[table->places[at] - 1];
        if (memcmp(record->key, key, KEY) == 0)
            return record;
    }
    return NULL;
}

static struct private_table private_build(void)
{
    struct private_table table = {.mask = 1};
    while (table.mask < 2 * key_count)
        table.mask = table.mask * 2 + 1;
    table.places = calloc(table.mask + 1, sizeof *table.places);
    table.records = calloc(key_count, sizeof *table.records);
    if (table.places == NULL || table.records == NULL)
        fail("calloc", "no memory");
    for (size_t i = 0; i < key_count; i++) {
        struct private_record *record = &table.records[i];
        memcpy(record->key, keys[PUT_ORDER][i], KEY);
        fill_value(order[PUT_ORDER][i], 0, record->value);
        size_t at = private_hash(record->key) & table.mask;
        while (table.places[at] != 0)
            at = (at + 1) & table.mask;
        table.places[at] = (uint32_t)(i + 1);
    }
    return table;
}

static void read_private(struct board *board, int which)
{
    struct private_table table = private_build();
    wait_for_go(board);
    int64_t begun = now();
    for (size_t i = 0, at = first_of(which); i < key_count; i++, at = at + 1 == key_count ? 0 : at + 1) {
        const struct private_record *record = private_get(&table, keys[GET_ORDER][at]);
        if (record == NULL)
            fail("a look-up", "found nothing");
        expect(order[GET_ORDER][at], 0, record->value, sizeof record->value);
    }
    atomic_store(&board->taken[which], now() - begun);
    free(table.places);
    free(table.records);
}

/* Millions of gets in a second of so many processes together. */
static double rate(void (*child)(struct board *, int), int processes)
{
    struct board *board = new_board();
    pid_t pids[2];
    double sum = 0;
    for (int i = 0; i < processes; i++)
        pids[i] = start(child, board, i);
    while (atomic_load(&board->ready) < processes)
        nap(1000000);
    atomic_store(&board->go, true);
    for (int i = 0; i < processes; i++) {
        if (end_of(pids[i]) != 0)
            fail("a reader", "failed");
        sum += (double)key_count * 1e3 / (double)atomic_load(&board->taken[i]);
    }
    munmap(board, sizeof *board);
    return sum;
}

void rows_readers(void)
{
    static struct figures shared[2], private[2], kept, scaling[2];
    contenders[0].open();
    put_all(&contenders[0], BATCH);
    for (int round = 0; round < 2 * rounds + 1; round++) {
        double one = rate(read_region, 1), other = rate(read_private, 1);
        double two = rate(read_region, 2), others = rate(read_private, 2);
        add_figure(&shared[0], one);
        add_figure(&shared[1], two);
        add_figure(&private[0], other);
        add_figure(&private[1], others);
        add_figure(&scaling[0], two / one);
        add_figure(&scaling[1], others / other);
        add_figure(&kept, two / one / (others / other));
    }
    contenders[0].close();
    tell("gets, 1 process", "region", "M/s", &shared[0]);
    tell("gets, 1 process", "private table", "M/s", &private[0]);
    tell("gets, 2 processes", "region", "M/s", &shared[1]);
    tell("gets, 2 processes", "private tables", "M/s", &private[1]);
    tell("scaling of 2 reader processes", "region", "x", &scaling[0]);
    tell("scaling of 2 reader processes", "private tables", "x", &scaling[1]);
    tell_goal("scaling of 2 reader processes", "of private tables'", quantile(&kept, 0.5), false, 0.95);
}

/* -- a reader beside a writer -- */

static void write_on(struct board *board, int which)
{
    struct contender *who = &contenders[0];
    for (uint64_t i = 0; !atomic_load_explicit(&board->stop, memory_order_relaxed); i++) {
        size_t at = i % key_count;
        who->begin();
        who->put(keys[GET_ORDER][at], order[GET_ORDER][at], i);
        who->commit();
        atomic_fetch_add_explicit(&board->commits, 1, memory_order_relaxed);
    }
}

enum { WAITS = 64 };

struct seen {
    uint64_t gets;
    int64_t longest;        /* nanoseconds of a get */
    uint64_t taking[WAITS]; /* gets of so many nanoseconds, by powers of 2 */
};

static void read_one(size_t at)
{
    hf_view view;
    hf_span value;
    uint64_t first;
    hf_key key = region_key(keys[PUT_ORDER][at]);
    sure(hf_view_pin(region, &view));
    if (sure(hf_view_get(&view, 0, &key, &value)) != 1 || value.size != VALUE)
        fail("a look-up", "found nothing");
    memcpy(&first, value.bytes, sizeof first);
    expect(order[PUT_ORDER][at], first - order[PUT_ORDER][at] * UINT64_C(31), value.bytes, value.size);
    hf_view_unpin(&view);
}

/* Everything it calls must do without the kernel: clock_gettime does, on the clocks of this row. */
static void read_alone(struct seen *seen, size_t gets)
{
    for (size_t i = 0, at = 0; i < gets; i++, at = at + 1 == key_count ? 0 : at + 1) {
        int64_t begun = now();
        read_one(at);
        int64_t took = now() - begun;
        int bits = 0;
        while (took >> bits != 0 && bits < WAITS - 1)
            bits++;
        seen->taking[bits]++;
        seen->gets++;
        if (took > seen->longest)
            seen->longest = took;
    }
}

/* From here on: read, write and exit, or death. (The kernel's own strict mode forbids the clock as well.) */
static void renounce(void)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof program / sizeof program[0], program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
        fail("prctl", "no seccomp");
}

static void sandboxed_reader(int out, int in, size_t gets)
{
    static struct seen of_reader;
    char byte;
    for (size_t i = 0; i < 1000; i++)
        read_one(i % key_count);
    renounce();
    read_alone(&of_reader, gets);
    bool told = write(out, &of_reader, sizeof of_reader) == (ssize_t)sizeof of_reader;
    /* The slot is looked at while it is still this process's. */
    told = read(in, &byte, 1) == 0 && told;
    syscall(SYS_exit, told ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* The get that so many of all took no longer than, as a power of 2. */
static double within(const struct seen *seen, double part)
{
    uint64_t sum = 0;
    for (int bits = 0; bits < WAITS; bits++) {
        sum += seen->taking[bits];
        if ((double)sum >= part * (double)seen->gets)
            return (double)(UINT64_C(1) << bits);
    }
    return 0;
}

void rows_beside_writer(void)
{
    static struct figures typical, rare, longest, retried, updates, grown;
    size_t gets = quick ? 10000 : 3 * 1000 * 1000;
    int killed = 0;
    contenders[0].open();
    put_all(&contenders[0], BATCH);
    for (int round = 0; round < rounds; round++) {
        struct board *board = new_board();
        struct seen seen;
        hf_region_stats before, after;
        int out[2], in[2];
        pid_t writer = start(write_on, board, 0);
        while (atomic_load(&board->commits) == 0)
            nap(1000000);
        if (pipe(out) != 0 || pipe(in) != 0)
            fail("pipe", "failed");
        sure(hf_region_stats_get(region, &before));
        uint64_t commits = atomic_load(&board->commits);
        int64_t begun = now();
        fflush(NULL);
        pid_t reader = fork();
        if (reader < 0)
            fail("fork", "failed");
        if (reader == 0) {
            close(in[1]);
            sandboxed_reader(out[1], in[0], gets);
        }
        close(out[1]);
        close(in[0]);
        bool told = read(out[0], &seen, sizeof seen) == (ssize_t)sizeof seen;
        add_figure(&updates, (double)(now() - begun) / (double)(atomic_load(&board->commits) - commits + 1));
        sure(hf_region_stats_get(region, &after));
        close(in[1]);
        close(out[0]);
        killed += end_of(reader) != 0;
        atomic_store(&board->stop, true);
        if (end_of(writer) != 0)
            fail("the writer", "failed");
        munmap(board, sizeof *board);
        if (!told)
            continue;
        add_figure(&typical, within(&seen, 0.5));
        add_figure(&rare, within(&seen, 0.999));
        add_figure(&longest, (double)seen.longest);
        add_figure(&grown, (double)(after.size - before.size) / 1e6);
        add_figure(&retried, (double)(after.retries - before.retries) / (double)seen.gets);
    }
    contenders[0].close();
    tell_goal("a reader beside a flat-out writer", "killed for a system call", killed, true, 0);
    if (typical.count == 0)
        return;
    tell("a get beside a writer, half within", "region", "ns", &typical);
    tell("a get beside a writer, 999 in 1000 within", "region", "ns", &rare);
    tell("a get beside a writer, the longest", "region", "ns", &longest);
    tell("retries of a get beside a writer", "region", "", &retried);
    tell("growth beside a reader", "region", "MB", &grown);
    tell("an update beside a reader", "region", "ns", &updates);
    tell_goal("retries of a get beside a writer", "of each", quantile(&retried, 1), true, 0.1);
}

/* -- takeover -- */

static void write_long(struct board *board, int which)
{
    struct contender *who = &contenders[0];
    for (uint64_t i = 0;; i++) {
        who->begin();
        atomic_store(&board->go, true);
        for (size_t j = 0; j < 10 * BATCH; j++)
            who->put(keys[GET_ORDER][(i + j) % key_count], order[GET_ORDER][(i + j) % key_count], i);
        who->commit();
    }
}

void rows_takeover(void)
{
    static struct figures takeover;
    struct contender *who = &contenders[0];
    hf_region_stats stats;
    const int kills = quick ? 5 : 300;
    uint64_t random = 99;
    who->open();
    put_all(who, BATCH);
    for (int i = 0; i < kills; i++) {
        struct board *board = new_board();
        pid_t writer = start(write_long, board, 0);
        while (!atomic_load(&board->go))
            nap(100000);
        nap((int64_t)(mixed(random++) % 3000000));
        int64_t begun = now();
        kill(writer, SIGKILL);
        who->begin();
        who->put(keys[PUT_ORDER][0], order[PUT_ORDER][0], (uint64_t)i);
        who->commit();
        add_figure(&takeover, (double)(now() - begun) / 1e6);
        end_of(writer);
        munmap(board, sizeof *board);
    }
    sure(hf_region_stats_get(region, &stats));
    who->close();
    char in_transaction[64];
    snprintf(in_transaction, sizeof in_transaction, "region, %u found", stats.owner_died);
    tell("takeover from a killed writer", in_transaction, "ms", &takeover);
    tell_goal("takeover from a killed writer", "ms, p99", quantile(&takeover, 0.99), true, 20);
}

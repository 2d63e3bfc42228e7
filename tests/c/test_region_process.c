/*
 * Several processes on one region, some of which are killed at any moment; and forks.
 *
 * Accounts: a transaction moves money between accounts, so every version has the same sum. A writer also counts its
 * transactions in a key of its own, and, once a commit has returned, in memory that outlives it (`acknowledged`).
 * Whoever survives must find the sum, and each writer's count to be what it acknowledged or one more.
 */
#include "test_region_support.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

enum { ACCOUNTS = 200, START = 1000, WRITERS = 2, READERS = 2, COUNTERS = 1000 };

struct board {
    _Atomic uint64_t acknowledged[WRITERS];
    _Atomic uint64_t wrong; /* what a reader or writer found */
    _Atomic uint64_t reads;
};

static struct board *board;

static hf_key account_key(int account, uint64_t *bytes)
{
    random_source random = {(uint64_t)account};
    *bytes = (uint64_t)account;
    return (hf_key){random_next(&random), bytes, sizeof *bytes};
}

static void put_balance(hf_txn *txn, int account, uint64_t number, unsigned length)
{
    uint64_t bytes, value[40] = {number};
    hf_key key = account_key(account, &bytes);
    if (hf_txn_put(txn, 0, &key, value, 8 + length % 256) < 0)
        atomic_fetch_add(&board->wrong, 1);
}

static uint64_t number_of_span(const hf_span *span)
{
    uint64_t number = 0;
    if (span->size >= sizeof number)
        memcpy(&number, span->bytes, sizeof number);
    return number;
}

static uint64_t get_balance(hf_txn *txn, int account)
{
    uint64_t bytes;
    hf_key key = account_key(account, &bytes);
    hf_span value;
    return hf_txn_get(txn, 0, &key, &value) == 1 ? number_of_span(&value) : 0;
}

static bool view_get_balance(const hf_view *view, int account, uint64_t *out)
{
    uint64_t bytes;
    hf_key key = account_key(account, &bytes);
    hf_span value;
    int found = hf_view_get(view, 0, &key, &value);
    *out = found == 1 ? number_of_span(&value) : 0;
    return found >= 0;
}

static bool sum_is_right(const hf_view *view)
{
    uint64_t sum = 0, number;
    for (int i = 0; i < ACCOUNTS; i++) {
        if (!view_get_balance(view, i, &number))
            return false;
        sum += number;
    }
    return sum == (uint64_t)ACCOUNTS * START;
}

static hf_region *accounts_new(void)
{
    hf_region *region = region_new(UINT64_C(1) << 30);
    hf_txn *txn;
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(board != MAP_FAILED);
    ok(hf_txn_begin(region, 0, &txn));
    for (int i = 0; i < ACCOUNTS; i++)
        put_balance(txn, i, START, (unsigned)i);
    ok(hf_txn_commit(txn));
    return region;
}

static void accounts_end(hf_region *region)
{
    region_check(region);
    ok(hf_region_close(region));
    munmap(board, sizeof *board);
}

static bool transfer(hf_region *region, int writer, random_source *random)
{
    hf_txn *txn;
    unsigned level;
    if (hf_txn_begin(region, -1, &txn) < 0)
        return false;
    /* Whoever had this part before was perhaps killed between its commit and the acknowledgement. */
    uint64_t count = get_balance(txn, COUNTERS + writer), acknowledged = atomic_load(&board->acknowledged[writer]);
    if (count != acknowledged && count != acknowledged + 1)
        return false;
    atomic_store(&board->acknowledged[writer], count);
    unsigned moves = 1 + random_below(random, 8);
    for (unsigned i = 0; i < moves; i++) {
        int from = (int)random_below(random, ACCOUNTS), to = (int)random_below(random, ACCOUNTS);
        uint64_t has = get_balance(txn, from), amount = has == 0 ? 0 : random_next(random) % has;
        bool undo = random_below(random, 5) == 0;
        if (undo && hf_txn_savepoint(txn, &level) < 0)
            return false;
        put_balance(txn, from, has - amount, random_below(random, 256));
        put_balance(txn, to, get_balance(txn, to) + amount, random_below(random, 256));
        if (undo && hf_txn_rollback(txn, level) < 0)
            return false;
    }
    put_balance(txn, COUNTERS + writer, count + 1, 0);
    if (random_below(random, 10) == 0)
        return hf_txn_abort(txn) == 0;
    if (hf_txn_commit(txn) < 0)
        return false;
    atomic_store(&board->acknowledged[writer], count + 1);
    return true;
}

__attribute__((noreturn)) static void be_writer(hf_region *region, int writer, uint64_t seed)
{
    random_source random = {seed};
    for (;;)
        if (!transfer(region, writer, &random))
            atomic_fetch_add(&board->wrong, 1);
}

__attribute__((noreturn)) static void be_reader(hf_region *region, uint64_t seed)
{
    random_source random = {seed};
    hf_snapshot *held = NULL;
    hf_view view;
    for (;;) {
        if (hf_view_pin(region, &view) < 0 || !sum_is_right(&view))
            atomic_fetch_add(&board->wrong, 1);
        hf_view_unpin(&view);
        if (held != NULL && !sum_is_right(hf_snapshot_view(held)))
            atomic_fetch_add(&board->wrong, 1);
        if (random_below(&random, 20) == 0) {
            if (held != NULL)
                hf_snapshot_end(held);
            held = NULL;
            if (hf_snapshot_begin(region, &held) < 0)
                atomic_fetch_add(&board->wrong, 1);
        }
        atomic_fetch_add(&board->reads, 1);
    }
}

static pid_t spawn(hf_region *region, int role, uint64_t seed)
{
    pid_t child = fork();
    if (child != 0)
        return child;
    /* A test that fails leaves nobody behind. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* Some use what they inherit, some the segment as a stranger would. */
    hf_region *own = region;
    if (seed % 2 == 0 && try_again(region, &own) < 0)
        atomic_fetch_add(&board->wrong, 1);
    if (role < WRITERS)
        be_writer(own, role, seed);
    be_reader(own, seed);
}

static void expect_all_is_well(hf_region *region)
{
    hf_txn *txn;
    hf_view view;
    /* With the lock, so that what is being published by a writer is not missed. */
    ok(hf_txn_begin(region, INT64_C(10000000000), &txn));
    for (int i = 0; i < WRITERS; i++) {
        uint64_t count = get_balance(txn, COUNTERS + i), acknowledged = atomic_load(&board->acknowledged[i]);
        if (count != acknowledged && count != acknowledged + 1)
            fail_msg("writer %d: %llu transactions, and %llu acknowledged", i, (unsigned long long)count,
                     (unsigned long long)acknowledged);
    }
    ok(hf_view_pin(region, &view));
    assert_true(sum_is_right(&view));
    hf_view_unpin(&view);
    ok(hf_txn_abort(txn));
    assert_int_equal(atomic_load(&board->wrong), 0);
}

static void kills_of_writers_and_readers_do_no_harm(void **state)
{
#ifdef __SANITIZE_THREAD__
    skip(); /* it sees one process, and waits for the lock by napping */
#endif
    int kills = getenv("TORTURE") != NULL ? 100000 : 200;
    random_source random = {(uint64_t)time(NULL)};
    hf_region *region = accounts_new();
    hf_region_stats stats;
    pid_t children[WRITERS + READERS];
    print_message("seed %llu\n", (unsigned long long)random.state);
    for (int i = 0; i < WRITERS + READERS; i++)
        children[i] = spawn(region, i, random_next(&random));
    for (int i = 0; i < kills; i++) {
        int victim = (int)random_below(&random, WRITERS + READERS);
        usleep(200 + random_below(&random, 6000));
        ok(kill(children[victim], SIGKILL));
        assert_int_equal(waitpid(children[victim], NULL, 0), children[victim]);
        expect_all_is_well(region);
        if (i % 10 == 0)
            region_check(region);
        children[victim] = spawn(region, victim, random_next(&random));
    }
    for (int i = 0; i < WRITERS + READERS; i++) {
        kill(children[i], SIGKILL);
        waitpid(children[i], NULL, 0);
    }
    expect_all_is_well(region);
    ok(hf_region_stats_get(region, &stats));
    print_message("%d kills, %llu transactions, %llu reads, %u dead writers, %u slots adopted, %llu bytes\n", kills,
                  (unsigned long long)stats.txid, (unsigned long long)atomic_load(&board->reads), stats.owner_died,
                  stats.adopted, (unsigned long long)stats.top);
    assert_true(stats.txid > 100 && atomic_load(&board->reads) > 100);
    accounts_end(region);
}

/* A writer that dies in the middle of a transaction: the next one goes on as if nothing had been. */
static void the_next_writer_takes_over(void **state)
{
    hf_region *region = accounts_new();
    struct timespec start, end;
    hf_txn *txn;
    int pipes[2];
    char byte = 'b';
    ok(pipe(pipes));
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (hf_txn_begin(region, 0, &txn) < 0)
            _exit(1);
        for (int i = 0; i < ACCOUNTS; i++)
            put_balance(txn, i, 5, 100);
        _exit(write(pipes[1], &byte, 1) == 1 && pause() == 0);
    }
    assert_int_equal(read(pipes[0], &byte, 1), 1);
    assert_int_equal(hf_txn_begin(region, 0, &txn), HF_TIMEOUT);
    assert_int_equal(hf_txn_begin(region, 30 * 1000 * 1000, &txn), HF_TIMEOUT);
    ok(kill(child, SIGKILL));
    clock_gettime(CLOCK_MONOTONIC, &start);
    ok(hf_txn_begin(region, -1, &txn));
    clock_gettime(CLOCK_MONOTONIC, &end);
    double ms = (double)(end.tv_sec - start.tv_sec) * 1e3 + (double)(end.tv_nsec - start.tv_nsec) / 1e6;
    print_message("took over after %.2f ms\n", ms);
    assert_int_equal(get_balance(txn, 3), START);
    put_balance(txn, COUNTERS, 1, 0);
    ok(hf_txn_commit(txn));
    assert_int_equal(waitpid(child, NULL, 0), child);
    hf_region_stats stats;
    ok(hf_region_stats_get(region, &stats));
    assert_int_equal(stats.owner_died, 1);
    close(pipes[0]);
    close(pipes[1]);
    accounts_end(region);
}

/* -- forks -- */

/* What a child finds out, as its exit status. */
static int in_child(hf_region *region, hf_snapshot *snapshot, hf_view *view, hf_txn *txn)
{
    uint64_t bytes;
    hf_key key = account_key(1, &bytes);
    hf_span value;
    hf_txn *own;
    hf_snapshot *more;
    if (!sum_is_right(hf_snapshot_view(snapshot)))
        return 1;
    if (hf_view_get(view, 0, &key, &value) != HF_LOST)
        return 2;
    hf_view_unpin(view);
    if (hf_txn_get(txn, 0, &key, &value) != HF_INVALID || hf_txn_commit(txn) != HF_INVALID)
        return 3;
    if (hf_snapshot_begin(region, &more) < 0 || !sum_is_right(hf_snapshot_view(more)))
        return 4;
    hf_snapshot_end(more);
    /* The parent has the lock. */
    if (hf_txn_begin(region, 0, &own) != HF_TIMEOUT)
        return 5;
    /* Long enough for the parent to end its snapshot, and to make the region forget. */
    for (int i = 0; i < 2000 && atomic_load(&board->reads) == 0; i++)
        usleep(1000);
    if (!sum_is_right(hf_snapshot_view(snapshot)))
        return 6;
    if (hf_txn_begin(region, INT64_C(5000000000), &own) < 0)
        return 7;
    put_balance(own, COUNTERS + 1, 1, 0);
    if (hf_txn_commit(own) < 0)
        return 8;
    hf_snapshot_end(snapshot);
    return hf_region_close(region) < 0 ? 9 : 0;
}

static void a_child_keeps_its_parents_snapshots(void **state)
{
#ifdef __SANITIZE_THREAD__
    skip(); /* it believes that the child has its parent's locks */
#endif
    hf_region *region = accounts_new();
    random_source random = {9};
    hf_snapshot *snapshot;
    hf_view view;
    hf_txn *txn;
    int status;
    ok(hf_snapshot_begin(region, &snapshot));
    ok(hf_view_pin(region, &view));
    ok(hf_txn_begin(region, 0, &txn));
    put_balance(txn, COUNTERS, 1, 0);
    pid_t child = fork();
    if (child == 0)
        _exit(in_child(region, snapshot, &view, txn));
    usleep(20000);
    ok(hf_txn_commit(txn));
    assert_true(sum_is_right(&view));
    hf_view_unpin(&view);
    hf_snapshot_end(snapshot);
    /* Only the child's twin of the pin holds the version now. */
    for (int i = 0; i < 3000; i++)
        assert_true(transfer(region, 0, &random));
    atomic_store(&board->reads, 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    hf_region_stats stats;
    ok(hf_region_stats_get(region, &stats));
    assert_int_equal(stats.slots_owned, 2);
    accounts_end(region);
}

/* The locks of a parent that dies do not live on in its child. */
static void a_dead_parents_pins_are_not_its_childs(void **state)
{
    hf_region *region = accounts_new();
    /* Both write, in any order, each in one piece. */
    struct {
        char who;
        pid_t child;
    } told[2], message = {0};
    int pipes[2];
    ok(pipe(pipes));
    pid_t middle = fork();
    if (middle == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        hf_snapshot *snapshot;
        int begun = hf_snapshot_begin(region, &snapshot);
        pid_t child = fork();
        if (child == 0) {
            alarm(60); /* its parent's death is what the test is about */
            hf_snapshot_end(snapshot);
            message.who = 'c';
            if (write(pipes[1], &message, sizeof message) != sizeof message)
                _exit(1);
            for (;;)
                pause();
        }
        message.who = begun == 0 ? 'm' : 'x';
        message.child = child;
        if (write(pipes[1], &message, sizeof message) != sizeof message)
            _exit(1);
        for (;;)
            pause();
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(read(pipes[0], &told[i], sizeof told[i]), sizeof told[i]);
    assert_int_equal(told[0].who + told[1].who, 'm' + 'c');
    pid_t child = told[0].who == 'm' ? told[0].child : told[1].child;
    hf_region_stats stats;
    ok(hf_region_stats_get(region, &stats));
    assert_int_equal(stats.slots_pinned, 2);
    ok(kill(middle, SIGKILL));
    assert_int_equal(waitpid(middle, NULL, 0), middle);
    hf_txn *txn;
    ok(hf_txn_begin(region, 0, &txn));
    assert_int_equal(hf_slots_adopt(region), 1);
    ok(hf_txn_abort(txn));
    ok(kill(child, SIGKILL));
    close(pipes[0]);
    close(pipes[1]);
    accounts_end(region);
}

/* Children that read what their parent has pinned, while it lets go of that, forks again, and a writer writes. */
static void forks_beside_a_writer(void **state)
{
#ifdef __SANITIZE_THREAD__
    skip(); /* it believes that the child has its parent's locks */
#endif
    enum { AT_ONCE = 4 };
    int forks = getenv("TORTURE") != NULL ? 100000 : 300;
    hf_region *region = accounts_new();
    pid_t children[AT_ONCE] = {0}, writer = spawn(region, 0, 2);
    int status;
    for (int i = 0; i < forks + AT_ONCE; i++) {
        pid_t *child = &children[i % AT_ONCE];
        if (*child != 0) {
            assert_int_equal(waitpid(*child, &status, 0), *child);
            assert_int_equal(status, 0);
        }
        *child = 0;
        if (i >= forks)
            continue;
        hf_snapshot *snapshot;
        ok(hf_snapshot_begin(region, &snapshot));
        *child = fork();
        if (*child == 0) {
            bool right = true;
            for (int look = 0; look < 20; look++)
                right = right && sum_is_right(hf_snapshot_view(snapshot));
            _exit(right ? 0 : 1);
        }
        hf_snapshot_end(snapshot);
    }
    kill(writer, SIGKILL);
    assert_int_equal(waitpid(writer, NULL, 0), writer);
    assert_int_equal(atomic_load(&board->wrong), 0);
    accounts_end(region);
}

/* A fork for which there are no descriptors: the child has no slots, and does not take others for dead that it cannot ask. */
static void a_fork_without_descriptors(void **state)
{
    enum { NUMBERS = 12000, ROUNDS = 6 };
    hf_region *region = region_new(0);
    hf_snapshot *snapshot;
    hf_txn *txn;
    hf_view view;
    uint64_t number;
    int how;

    ok(hf_txn_begin(region, -1, &txn));
    for (int i = 0; i < NUMBERS; i++)
        put_balance(txn, i, 7, 60);
    ok(hf_txn_commit(txn));
    ok(hf_snapshot_begin(region, &snapshot));
    struct rlimit limit, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    pid_t child = fork();
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    if (child == 0) {
        int status = hf_txn_begin(region, -1, &txn);
        for (int round = 0; status == 0 && round < ROUNDS; round++) {
            for (int i = 0; i < NUMBERS; i++)
                put_balance(txn, i, (uint64_t)round, 60);
            status = hf_txn_commit(txn);
            if (status == 0)
                status = hf_txn_begin(region, -1, &txn);
        }
        /* In a file nothing can be written without one. */
        bool right = status == (region->file != NULL ? HF_LOST : 0);
        right = right && hf_view_pin(region, &view) == HF_LOST;
        _exit(right && view_get_balance(hf_snapshot_view(snapshot), 1, &number) == false ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    for (int i = 0; i < NUMBERS; i++)
        assert_true(view_get_balance(hf_snapshot_view(snapshot), i, &number) && number == 7);
    hf_snapshot_end(snapshot);
    ok(hf_region_close(region));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_both_homes(the_next_writer_takes_over),
        in_both_homes(a_child_keeps_its_parents_snapshots),
        in_both_homes(a_dead_parents_pins_are_not_its_childs),
        in_both_homes(a_fork_without_descriptors),
        in_both_homes(forks_beside_a_writer),
        in_both_homes(kills_of_writers_and_readers_do_no_harm),
    };
    return cmocka_run_group_tests_name("region/process", tests, NULL, NULL);
}

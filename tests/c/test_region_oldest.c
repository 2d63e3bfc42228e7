/*
 * hf_region_oldest_pin: each thing that can hold a version, by itself; readers who die, who have no slots, who pin at the
 * same moment. The last is asked of a toy log: every version refers to one file of it, a remover takes away what the
 * oldest version no longer needs, and no reader may find the file of its own version gone.
 */
#include "test_region_child.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>

enum { SPACE = 64 << 20 };

static uint64_t oldest_of(hf_region *region)
{
    uint64_t txid = UINT64_MAX;
    ok(hf_region_oldest_pin(region, &txid));
    return txid;
}

static uint64_t newest_of(hf_region *region)
{
    hf_view view;
    ok(hf_view_pin(region, &view));
    uint64_t txid = hf_view_txid(&view);
    hf_view_unpin(&view);
    return txid;
}

/* The version that it makes. */
static uint64_t commit(hf_region *region)
{
    static int number;
    ok(put_number(region, 1, ++number));
    return newest_of(region);
}

/* What nobody looks at: all but the newest. In a file, that has to be durable. */
static uint64_t durable_commit(hf_region *region)
{
    uint64_t txid = commit(region);
    ok(hf_region_flush(region, -1));
    return txid < newest_of(region) ? newest_of(region) : txid;
}

static void it_is_the_newest_where_nobody_looks(void **state)
{
    hf_region *region = region_new(SPACE);
    hf_region_stats stats;
    uint64_t last = 0;
    for (int i = 0; i < 200; i++) {
        uint64_t txid = i % 3 == 0 ? durable_commit(region) : commit(region);
        ok(hf_region_stats_get(region, &stats));
        uint64_t expected = the_home == HOME_SHARED ? txid : stats.durable, oldest = oldest_of(region);
        assert_int_equal(stats.slots_pinned, 1); /* its own */
        assert_true(oldest >= last);
        /* Another thread may have flushed meanwhile. */
        assert_true(oldest == expected || (the_home == HOME_INTERVAL && oldest > expected && oldest <= txid));
        last = oldest;
    }
    ok(hf_region_close(region));
}

static void views_and_snapshots_hold_theirs(void **state)
{
    hf_region *region = region_new(SPACE), *other = region_again(region);
    hf_snapshot *snapshot, *later;
    hf_view view;
    uint64_t first = durable_commit(region);
    ok(hf_snapshot_begin(other, &snapshot));
    durable_commit(region);
    uint64_t second = durable_commit(other);
    ok(hf_view_pin(other, &view));
    uint64_t third = durable_commit(region);
    ok(hf_snapshot_begin(region, &later));
    uint64_t fourth = durable_commit(region);
    for (int i = 0; i < 2; i++) {
        hf_region *who = i == 0 ? region : other;
        assert_int_equal(oldest_of(who), first);
    }
    hf_snapshot_end(snapshot);
    assert_int_equal(oldest_of(region), second);
    hf_view_unpin(&view);
    assert_int_equal(oldest_of(region), third);
    hf_snapshot_end(later);
    assert_int_equal(oldest_of(region), fourth);
    assert_int_equal(oldest_of(other), fourth);
    ok(hf_region_close(other));
    ok(hf_region_close(region));
}

static void keep(hf_region *region, const char *name, bool keeps)
{
    hf_txn *txn;
    ok(hf_txn_begin(region, -1, &txn));
    ok(keeps ? hf_txn_keep(txn, name) : hf_txn_forget(txn, name));
    ok(hf_txn_commit(txn));
}

/* What is forgotten is there again after a power cut, until that is durable too. */
static void kept_snapshots_hold_theirs(void **state)
{
    hf_region *region = region_new(SPACE);
    hf_region_stats stats;
    durable_commit(region);
    keep(region, "first", true);
    uint64_t first = newest_of(region);
    durable_commit(region);
    keep(region, "second", true);
    uint64_t second = newest_of(region);
    durable_commit(region);
    assert_int_equal(oldest_of(region), first);
    keep(region, "first", false);
    ok(hf_region_stats_get(region, &stats));
    bool is_durable = the_home == HOME_SHARED || stats.durable == stats.txid;
    assert_true(is_durable || the_home == HOME_OFF || the_home == HOME_INTERVAL);
    if (the_home != HOME_INTERVAL)
        assert_int_equal(oldest_of(region), is_durable ? second : first);
    durable_commit(region);
    assert_int_equal(oldest_of(region), second);
    keep(region, "second", false);
    uint64_t last = durable_commit(region);
    assert_int_equal(oldest_of(region), last);
    ok(hf_region_close(region));
}

/* A reader between its open pin and the narrow one may get any version from there on; one that was stopped for long, none. */
static void open_pins_count_from_theirs_on(void **state)
{
    hf_region *region = region_new(SPACE), *other = region_again(region);
    uint32_t slot;
    uint64_t first = durable_commit(region), last = 0;
    pthread_mutex_lock(&other->mutex);
    ok(hf_slots_claim(other, other->control_fd, &slot));
    hf_slots_own_mark(other, slot, true);
    pthread_mutex_unlock(&other->mutex);
    atomic_store(&other->slots[slot].pin, HF_PIN_OPEN | first);
    for (int i = 0; i < 30; i++)
        durable_commit(region);
    assert_int_equal(oldest_of(region), first);
    for (int i = 0; i < 100; i++)
        last = durable_commit(region);
    assert_int_equal(oldest_of(region), last);
    assert_int_equal(atomic_load(&other->slots[slot].pin), HF_PIN_REVOKED);
    atomic_store(&other->slots[slot].pin, 0);
    ok(hf_region_close(other));
    ok(hf_region_close(region));
}

/* With a transaction or without one; the version that it makes is nobody's yet. */
static void a_transaction_does_not_matter(void **state)
{
    hf_region *region = region_new(SPACE);
    uint64_t txid = durable_commit(region);
    hf_txn *txn;
    ok(hf_txn_begin(region, -1, &txn));
    assert_int_equal(oldest_of(region), txid);
    ok(hf_txn_keep(txn, "kept"));
    assert_int_equal(oldest_of(region), txid);
    ok(hf_txn_commit(txn));
    ok(hf_region_flush(region, -1));
    assert_int_equal(oldest_of(region), txid + 1);
    ok(hf_region_close(region));
}

/* -- others -- */

static void await(int fd)
{
    char byte;
    assert_int_equal(read(fd, &byte, 1), 1);
}

/* A child that opens the region and pins its newest version, until it is killed. */
static pid_t pinning_child(hf_region *region)
{
    int pipes[2];
    ok(pipe(pipes));
    pid_t child = fork();
    if (child == 0) {
        hf_region *own;
        hf_view view;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        must(try_again(region, &own) == 0);
        must(hf_view_pin(own, &view) == 0);
        must(write(pipes[1], "p", 1) == 1);
        for (;;)
            pause();
    }
    await(pipes[0]);
    close(pipes[0]);
    close(pipes[1]);
    return child;
}

static void end_child(pid_t child)
{
    int status;
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
}

static void the_dead_hold_nothing(void **state)
{
#ifdef __SANITIZE_THREAD__
    skip(); /* it believes that the child has its parent's locks */
#endif
    hf_region *region = region_new(SPACE);
    hf_region_stats before, after;
    uint64_t first = durable_commit(region);
    pid_t one = pinning_child(region);
    uint64_t second = durable_commit(region);
    pid_t two = pinning_child(region);
    uint64_t third = durable_commit(region);
    ok(hf_region_stats_get(region, &before));
    assert_int_equal(oldest_of(region), first);
    end_child(one);
    assert_int_equal(oldest_of(region), second);
    end_child(two);
    assert_int_equal(oldest_of(region), third);
    ok(hf_region_stats_get(region, &after));
    assert_int_equal(after.adopted, before.adopted + 2);
    assert_int_equal(after.slots_pinned, 1);
    ok(hf_region_close(region));
}

/* A snapshot that a child has of its parent holds its version when the parent has ended its own. */
static void a_childs_snapshots_count(void **state)
{
#ifdef __SANITIZE_THREAD__
    skip();
#endif
    hf_region *region = region_new(SPACE);
    hf_snapshot *snapshot;
    uint64_t first = durable_commit(region);
    ok(hf_snapshot_begin(region, &snapshot));
    int pipes[2];
    ok(pipe(pipes));
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        uint64_t oldest = 0;
        must(hf_region_oldest_pin(region, &oldest) == 0 && oldest == first);
        must(write(pipes[1], "p", 1) == 1);
        for (;;)
            pause();
    }
    await(pipes[0]);
    close(pipes[0]);
    close(pipes[1]);
    hf_snapshot_end(snapshot);
    uint64_t second = durable_commit(region);
    assert_int_equal(oldest_of(region), first);
    end_child(child);
    assert_int_equal(oldest_of(region), second);
    ok(hf_region_close(region));
}

/* Who may not write to the lock file has no slot there: then it is any version. And who may only read cannot ask. */
static void readers_without_slots_hold_everything(void **state)
{
    hf_region *region = region_new(SPACE), *reader;
    uint64_t txid = durable_commit(region), asked = 5;
    assert_int_equal(oldest_of(region), txid);
    ok(open_looking(region->file->path, &reader));
    assert_int_equal(oldest_of(region), 0);
    assert_int_equal(hf_region_oldest_pin(reader, &asked), HF_DENIED);
    ok(hf_region_close(reader));
    assert_int_equal(oldest_of(region), txid);
    const hf_region_options options = {.timeout = -1, .read_only = true};
    ok(hf_region_open_file(region->file->path, &options, &reader));
    assert_int_equal(hf_region_oldest_pin(reader, &asked), HF_DENIED);
    assert_int_equal(asked, 5);
    hf_view view;
    ok(hf_view_pin(reader, &view)); /* it has a slot: it may write to the lock file */
    uint64_t later = durable_commit(region);
    assert_int_equal(oldest_of(region), txid);
    hf_view_unpin(&view);
    assert_int_equal(oldest_of(region), later);
    ok(hf_region_close(reader));
    ok(hf_region_close(region));
}

/* A version whose root is on its way to the disk, and the last durable one. */
static void what_a_power_cut_may_bring_back_counts(void **state)
{
    the_nursery = the_home == HOME_OFF ? 0 : NURSERY_IN_TURN;
    hf_region *region = region_new(SPACE);
    uint64_t durable = durable_commit(region), newest = 0;
    for (int i = 0; i < 10; i++)
        newest = commit(region);
    assert_int_equal(oldest_of(region), durable);
    atomic_store(&region->file->shared->handed, newest + 1);
    assert_int_equal(oldest_of(region), durable);
    atomic_store(&region->file->shared->handed, durable - 1);
    assert_int_equal(oldest_of(region), durable - 1);
    atomic_store(&region->file->shared->handed, 0);
    /* No root is the one that it should be. */
    uint64_t checksum = atomic_exchange(&region->file->shared->root_checksum, 1);
    assert_int_equal(oldest_of(region), 0);
    atomic_store(&region->file->shared->root_checksum, checksum);
    ok(hf_region_flush(region, -1));
    assert_int_equal(oldest_of(region), newest_of(region));
    the_nursery = NURSERY_IN_TURN;
    ok(hf_region_close(region));
}

/* After a recovery, whose version has a number that no root has. */
static void a_recovered_file_has_one_version(void **state)
{
    hf_region *region = region_new(SPACE);
    char path[96], beside[112];
    snprintf(path, sizeof path, "%s", region->file->path);
    snprintf(beside, sizeof beside, "%s-lock", path);
    durable_commit(region);
    keep(region, "kept", true);
    uint64_t kept = newest_of(region);
    durable_commit(region);
    pid_t child = fork();
    if (child == 0) {
        its_own_death();
        hf_region *own;
        must(try_again(region, &own) == 0);
        must(put_number(own, 2, 2) == 0);
        _exit(0);
    }
    ok(hf_region_close(region));
    assert_int_equal(exit_status_of(child), 0);
    unlink(beside);
    region = file_again(path);
    assert_int_equal(oldest_of(region), kept);
    keep(region, "kept", false);
    uint64_t last = durable_commit(region);
    assert_int_equal(oldest_of(region), last);
    ok(hf_region_close(region));
}

static void every_call_fails(void **state)
{
    hf_region *region = region_new(SPACE);
    uint64_t txid = durable_commit(region);
    for (uint64_t n = 1;; n++) {
        uint64_t oldest = 5;
        hf_fault_arm(HF_FAULT_ANY, n, ENOMEM);
        int status = hf_region_oldest_pin(region, &oldest);
        uint64_t failed = hf_fault_failed(HF_FAULT_ANY);
        hf_fault_disarm();
        /* What cannot be asked holds everything. */
        assert_int_equal(oldest, status < 0 ? 5 : failed == 0 ? txid : oldest == 0 ? 0 : txid);
        assert_int_equal(oldest_of(region), txid);
        if (failed == 0)
            break;
    }
    ok(hf_region_close(region));
}

/* -- at the same moment -- */

enum { FILES = 1 << 16, READERS = 3, ENOUGH = 2000 };

struct toy_log {
    _Atomic unsigned char gone[FILES];
    _Atomic uint64_t referred_until[FILES]; /* the version that stopped, or 0 */
    _Atomic uint64_t wrong, looks, removed;
    _Atomic bool done;
};

static struct toy_log *toy;

static bool file_is_there(const hf_view *view)
{
    int number = number_in(view, 1);
    return number >= 0 && number < FILES && atomic_load(&toy->gone[number]) == 0;
}

static void *read_the_log(void *arg)
{
    hf_region *region = arg;
    hf_snapshot *held = NULL;
    hf_view view;
    for (unsigned i = 0; !atomic_load(&toy->done); i++) {
        if (hf_view_pin(region, &view) < 0) {
            atomic_fetch_add(&toy->wrong, 1);
            break;
        }
        for (int j = 0; j < 3; j++)
            if (!file_is_there(&view) || (held != NULL && !file_is_there(hf_snapshot_view(held))))
                atomic_fetch_add(&toy->wrong, 1);
        hf_view_unpin(&view);
        if (i % 64 == 0) {
            if (held != NULL)
                hf_snapshot_end(held);
            held = NULL;
            if (hf_snapshot_begin(region, &held) < 0)
                atomic_fetch_add(&toy->wrong, 1);
        }
        atomic_fetch_add(&toy->looks, 1);
    }
    if (held != NULL)
        hf_snapshot_end(held);
    return NULL;
}

/* Not the writer: it does not wait for it. */
static void *remove_from_the_log(void *arg)
{
    uint64_t last = 0;
    for (int first = 0; !atomic_load(&toy->done);) {
        uint64_t oldest;
        if (hf_region_oldest_pin(arg, &oldest) < 0 || (oldest != 0 && oldest < last)) {
            atomic_fetch_add(&toy->wrong, 1);
            break;
        }
        last = oldest;
        for (; first < FILES; first++) {
            uint64_t until = atomic_load(&toy->referred_until[first]);
            if (until == 0 || until > oldest)
                break;
            atomic_store(&toy->gone[first], 1);
            atomic_fetch_add(&toy->removed, 1);
        }
    }
    return NULL;
}

static void who_pins_meanwhile_is_counted(void **state)
{
    hf_region *region = region_new(SPACE), *others[READERS];
    pthread_t threads[READERS], remover;
    pid_t child = -1;
    toy = mmap(NULL, sizeof *toy, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(toy != MAP_FAILED);
    ok(put_number(region, 1, 0));
#ifndef __SANITIZE_THREAD__
    child = fork();
    if (child == 0) {
        hf_region *own;
        its_own_death();
        must(try_again(region, &own) == 0);
        read_the_log(own);
        _exit(0);
    }
#endif
    for (int i = 0; i < READERS; i++) {
        others[i] = i == 0 ? region : region_again(region);
        ok(pthread_create(&threads[i], NULL, read_the_log, others[i]));
    }
    ok(pthread_create(&remover, NULL, remove_from_the_log, others[1]));
    for (int number = 1; number < FILES && atomic_load(&toy->removed) < ENOUGH; number++) {
        if (number % 64 == 0)
            sched_yield();
        ok(put_number(region, 1, number));
        atomic_store(&toy->referred_until[number - 1], newest_of(region));
        if (number % 20 == 0)
            ok(hf_region_flush(region, -1));
    }
    atomic_store(&toy->done, true);
    for (int i = 0; i < READERS; i++)
        ok(pthread_join(threads[i], NULL));
    ok(pthread_join(remover, NULL));
    if (child > 0)
        assert_int_equal(exit_status_of(child), 0);
    assert_int_equal(atomic_load(&toy->wrong), 0);
    assert_true(atomic_load(&toy->looks) > 100);
    assert_true(atomic_load(&toy->removed) > ENOUGH / 20);
    for (int i = READERS - 1; i >= 0; i--)
        ok(hf_region_close(others[i]));
    munmap(toy, sizeof *toy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_all_homes(it_is_the_newest_where_nobody_looks),
        in_all_homes(views_and_snapshots_hold_theirs),
        in_all_homes(kept_snapshots_hold_theirs),
        in_all_homes(open_pins_count_from_theirs_on),
        in_all_homes(a_transaction_does_not_matter),
        in_all_homes(the_dead_hold_nothing),
        in_all_homes(a_childs_snapshots_count),
        in_files(readers_without_slots_hold_everything),
        in_home(what_a_power_cut_may_bring_back_counts, HOME_OFF),
        in_files(a_recovered_file_has_one_version),
        in_both_homes(every_call_fails),
        in_both_homes(who_pins_meanwhile_is_counted),
    };
    return cmocka_run_group_tests_name("region/oldest", tests, NULL, NULL);
}

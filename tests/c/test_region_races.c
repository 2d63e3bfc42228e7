/*
 * Interleavings that a run meets once in a million times, made on purpose: things that happen while a writer is in the
 * middle of its scan of the reader slots, forks in the middle of what another thread is doing, segments that somebody
 * else finishes first.
 *
 *      slots, as the writer's mapping has them:   [ page 0: 0 .. 63 ][ page 1: 64 .. 127 ]
 *                                                   scanned           ^ taken away: the scan stops here in a
 *                                                                       handler, which lets the others go on
 */
#include "test_region_support.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

/* -- stopping a writer in its scan -- */

static struct {
    char *page;
    void (*then)(void);
    int hits;
} trap;

static void on_fault(int number, siginfo_t *info, void *context)
{
    char *at = info->si_addr;
    if (at < trap.page || at >= trap.page + HF_REGION_PAGE) {
        signal(number, SIG_DFL);
        return;
    }
    mprotect(trap.page, HF_REGION_PAGE, PROT_READ | PROT_WRITE);
    trap.hits++;
    trap.then();
}

/* The next look at this page calls `then` first. */
static void trap_page(char *page, void (*then)(void))
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    ok(sigaction(SIGSEGV, &action, NULL));
    trap.page = page;
    trap.then = then;
    trap.hits = 0;
    ok(mprotect(trap.page, HF_REGION_PAGE, PROT_NONE));
}

/* The next look at slot 64 or a later one, through this mapping, calls `then` first. */
static void trap_set(hf_region *region, void (*then)(void))
{
    trap_page((char *)&region->slots[HF_REGION_SLOTS_STEP], then);
}

static hf_region *mine, *writers; /* two mappings of one region: of the readers, of the writer */
static hf_snapshot *snapshot;

static const hf_key the_key = {0x123456789abcdef0u, "key", 3};

/* One key; its value is the number of the version. */
static int put_version(void)
{
    hf_txn *txn;
    int status = hf_txn_begin(writers, 0, &txn);
    if (status < 0)
        return status;
    uint64_t number = txn->state.version.txid;
    status = hf_txn_put(txn, 0, &the_key, &number, sizeof number);
    return status < 0 ? status : hf_txn_commit(txn);
}

static bool is_its_version(const hf_view *view)
{
    hf_span value;
    uint64_t number = 0;
    if (hf_view_get(view, 0, &the_key, &value) != 1 || value.size != sizeof number)
        return false;
    memcpy(&number, value.bytes, sizeof number);
    return number == hf_view_txid(view);
}

/* Writes until a scan has run into the trap. */
static void write_into_trap(void)
{
    for (int i = 0; i < 1000 && trap.hits == 0; i++)
        ok(put_version());
    assert_int_equal(trap.hits, 1);
}

/* Two mappings, of which `mine` has slot 64 for its views, and the slots before it are free. */
static void two_mappings(void)
{
    static hf_view views[HF_REGION_SLOTS_STEP];
    hf_view view;
    mine = region_new(64 << 20);
    hf_region *fill = region_again(mine);
    for (int i = 0; i < HF_REGION_SLOTS_STEP; i++)
        ok(hf_view_pin(fill, &views[i]));
    ok(hf_view_pin(mine, &view));
    assert_ptr_equal(view.slot, &mine->slots[HF_REGION_SLOTS_STEP]);
    hf_view_unpin(&view);
    for (int i = 0; i < HF_REGION_SLOTS_STEP; i++)
        hf_view_unpin(&views[i]);
    writers = region_again(mine);
    ok(put_version());
    /* The snapshot's slot is one of those behind as well, if it is made now; of those before, if later. */
    snapshot = NULL;
    ok(hf_region_close(fill));
}

static void two_mappings_end(void)
{
    hf_snapshot_end(snapshot);
    region_check(mine);
    ok(hf_region_close(writers));
    ok(hf_region_close(mine));
}

/* -- a snapshot is begun meanwhile -- */

static pthread_t beginner;
static _Atomic int begun;

static void *begin_snapshot(void *unused)
{
    atomic_store(&begun, hf_snapshot_begin(mine, &snapshot) == 0 ? 1 : -1);
    return NULL;
}

static void let_it_begin(void)
{
    pthread_mutex_unlock(&mine->mutex);
    pthread_join(beginner, NULL);
}

/* A pin must never be where the scan has been already while it leaves where the scan comes to. */
static void a_snapshot_is_begun_during_a_scan(void **state)
{
#ifdef __SANITIZE_THREAD__
    skip(); /* it puts signals off */
#endif
    two_mappings();
    atomic_store(&begun, 0);
    ok(pthread_mutex_lock(&mine->mutex));
    ok(pthread_create(&beginner, NULL, begin_snapshot, NULL));
    usleep(50000); /* as far as it gets without the mutex */
    ok(put_version());
    trap_set(writers, let_it_begin);
    write_into_trap();
    assert_int_equal(atomic_load(&begun), 1);
    assert_true(is_its_version(hf_snapshot_view(snapshot)));
    for (int i = 0; i < 200; i++)
        ok(put_version());
    assert_true(is_its_version(hf_snapshot_view(snapshot)));
    two_mappings_end();
}

/* -- a reader stopped with an open pin -- */

static unsigned while_stopped;

static void write_many(void)
{
    for (unsigned i = 0; i < while_stopped; i++)
        ok(put_version());
}

/* It has read which version is the newest, and comes to that one's record only when `versions` more are there. */
static void stop_a_reader(unsigned versions, uint32_t revoked)
{
    hf_view view;
    hf_region_stats stats;
    mine = region_new(64 << 20);
    writers = region_again(mine);
    ok(put_version());
    uint64_t newest = atomic_load(&mine->lock->published);
    uintptr_t record = (uintptr_t)hf_region_seen(mine, newest);
    while_stopped = versions;
    trap_page((char *)(record - record % HF_REGION_PAGE), write_many);
    ok(hf_view_pin(mine, &view));
    assert_int_equal(trap.hits, 1);
    assert_int_equal(hf_view_txid(&view), newest + versions);
    assert_true(is_its_version(&view));
    assert_int_equal(atomic_load(&view.slot->pin), HF_PIN_NARROW | hf_view_txid(&view));
    hf_view_unpin(&view);
    for (uint32_t i = 0; i < HF_REGION_SLOTS_STEP; i++)
        assert_int_equal(atomic_load(&mine->slots[i].pin), 0);
    ok(hf_region_stats_get(mine, &stats));
    assert_int_equal(stats.revoked, revoked);
    assert_true(stats.retries >= 1);
    region_check(mine);
    ok(hf_region_close(writers));
    ok(hf_region_close(mine));
}

static void a_reader_is_stopped_before_it_reads_the_record(void **state)
{
#ifdef __SANITIZE_THREAD__
    skip(); /* it puts signals off */
#endif
    /* The record has been written over, and its pin is not old yet: it looks for a newer one. */
    stop_a_reader(HF_REGION_RING - 1, 0);
    stop_a_reader(HF_REGION_RING, 0);
    /* A scan has taken its pin away: it begins again, and leaves nothing behind. (Commits that are not durable look at the
     * pins when there is no room left where they wait for a place in the file.) */
    the_nursery = 4 << 10;
    stop_a_reader(200, 1);
    the_nursery = NURSERY_IN_TURN;
}

static void *begin_kept(void *status)
{
    *(int *)status = hf_snapshot_begin_kept(mine, "kept", &snapshot);
    return NULL;
}

/* Its name is forgotten, and its blocks are used again, while its reader has found it and not yet pinned it. */
static void a_kept_snapshot_is_forgotten_while_it_is_begun(void **state)
{
    hf_txn *txn;
    int status = 0;
    two_mappings();
    ok(hf_txn_begin(writers, 0, &txn));
    ok(hf_txn_keep(txn, "kept"));
    ok(hf_txn_commit(txn));
    ok(put_version());
    ok(pthread_mutex_lock(&mine->mutex));
    ok(pthread_create(&beginner, NULL, begin_kept, &status));
    usleep(50000);
    ok(hf_txn_begin(writers, 0, &txn));
    ok(hf_txn_forget(txn, "kept"));
    ok(hf_txn_commit(txn));
    for (int i = 0; i < 200; i++)
        ok(put_version());
    ok(pthread_mutex_unlock(&mine->mutex));
    ok(pthread_join(beginner, NULL));
    assert_int_equal(status, HF_ABSENT);
    ok(hf_snapshot_begin(mine, &snapshot));
    two_mappings_end();
}

/* -- a fork meanwhile -- */

static struct hf_os meddling;
static pid_t child;
static int to_child[2];

/* A child that does not outlive the test, and that dies of what is wrong: the runner's handlers are not its own. */
static bool in_child(void)
{
    child = fork();
    if (child == 0) {
        alarm(60);
        signal(SIGSEGV, SIG_DFL);
        signal(SIGABRT, SIG_DFL);
    }
    return child == 0;
}

static void fork_and_end_the_snapshot(void)
{
    char byte;
    if (in_child()) {
        close(to_child[1]);
        if (read(to_child[0], &byte, 1) != 1)
            _exit(2);
        _exit(is_its_version(hf_snapshot_view(snapshot)) ? 0 : 1);
    }
    hf_snapshot_end(snapshot);
    snapshot = NULL;
}

static void expect_child(void)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* The child's pin of the version is made where the scan has been, and then the parent's goes. */
static void a_fork_during_a_scan(void **state)
{
#ifdef __SANITIZE_THREAD__
    skip(); /* it puts signals off */
#endif
    two_mappings();
    /* As above, but begun in time, with the first 64 slots taken. */
    hf_region *fill = region_again(mine);
    static hf_view views[HF_REGION_SLOTS_STEP];
    for (int i = 0; i < HF_REGION_SLOTS_STEP; i++)
        ok(hf_view_pin(fill, &views[i]));
    ok(hf_snapshot_begin(mine, &snapshot));
    for (int i = 0; i < HF_REGION_SLOTS_STEP; i++)
        hf_view_unpin(&views[i]);
    ok(hf_region_close(fill));
    ok(pipe(to_child));
    ok(put_version());
    trap_set(writers, fork_and_end_the_snapshot);
    write_into_trap();
    assert_int_equal(write(to_child[1], "x", 1), 1);
    expect_child();
    close(to_child[0]);
    close(to_child[1]);
    ok(hf_snapshot_begin(mine, &snapshot));
    two_mappings_end();
}

static void fork_and_close(void)
{
    if (in_child()) {
        const struct hf_scan *scan = &writers->txn.scan;
        if (scan->pins == scan->previous)
            _exit(1);
        hf_snapshot_end(snapshot);
        _exit(hf_region_close(writers) == 0 && hf_region_close(mine) == 0 ? 0 : 2);
    }
}

/* What the child inherits of the scan is whole. */
static void a_fork_during_a_scan_leaves_the_child_a_whole_one(void **state)
{
#ifdef __SANITIZE_THREAD__
    skip(); /* it puts signals off */
#endif
    two_mappings();
    ok(hf_snapshot_begin(mine, &snapshot));
    ok(put_version());
    trap_set(writers, fork_and_close);
    write_into_trap();
    expect_child();
    two_mappings_end();
}

static _Atomic bool hammering;

static void *pretend_to_fork(void *unused)
{
    while (atomic_load(&hammering))
        atomic_fetch_add(&writers->lock->moved, 1);
    return NULL;
}

/* Where pins are copied all the time, a scan gives up: nothing is used again, and it does not go on for ever. */
static void forks_without_end_during_a_scan(void **state)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    hf_txn *txn;
    bool gave_up = false;
    two_mappings();
    ok(hf_snapshot_begin(mine, &snapshot));
    ok(hf_txn_begin(writers, 0, &txn));
    atomic_store(&hammering, true);
    for (int i = 0; i < THREADS; i++)
        ok(pthread_create(&threads[i], NULL, pretend_to_fork, NULL));
    /* One of them must run at the same time as this for a moment: on a machine that is busy with other things, that may
     * take a while. */
    for (time_t end = time(NULL) + 60; time(NULL) < end && !gave_up;) {
        hf_scan_slots(txn);
        gave_up = txn->scan.open == 0;
    }
    atomic_store(&hammering, false);
    for (int i = 0; i < THREADS; i++)
        ok(pthread_join(threads[i], NULL));
    assert_true(gave_up);
    assert_true(hf_scan_too_fresh(&txn->scan, &(struct hf_cell){.birth = 1, .unlink = 1}));
    hf_scan_slots(txn);
    assert_false(hf_scan_too_fresh(&txn->scan, &(struct hf_cell){.birth = 1, .unlink = 1}));
    ok(hf_txn_abort(txn));
    two_mappings_end();
}

/* -- other forks -- */

/* Tells who it is, and is there until it is killed. */
__attribute__((noreturn)) static void tell_and_stay(int fd)
{
    pid_t me = getpid();
    alarm(60);
    _exit(write(fd, &me, sizeof me) == sizeof me && pause() == 0);
}

static int fork_while_mapping(void *address, size_t length, int protection, int flags, int fd, off_t at, void **out);

enum { FORKS_AFTERWARDS, FORKS_WHILE_OPENING, HANDS_IT_OVER, WAYS };

/* Opens the region, pins a version and leaves a child: of a fork afterwards, or of another thread's while it opens, or one
 * that was given the segment. */
__attribute__((noreturn)) static void open_pin_and_fork(int way, int fd)
{
    hf_region *own;
    hf_snapshot *held;
    if (way == FORKS_WHILE_OPENING) {
        meddling = hf_os_native;
        meddling.mmap = fork_while_mapping;
        hf_os_replace(&meddling);
    }
    int status = hf_region_open_fd(hf_region_fd(mine), NULL, &own);
    hf_os_replace(NULL);
    if (status < 0 || hf_snapshot_begin(own, &held) < 0)
        _exit(1);
    if (way == HANDS_IT_OVER && dup(hf_region_fd(own)) < 0)
        _exit(2);
    if (way != FORKS_WHILE_OPENING && fork() == 0) {
        hf_snapshot_end(held);
        tell_and_stay(fd);
    }
    tell_and_stay(fd);
}

static int fork_while_mapping(void *address, size_t length, int protection, int flags, int fd, off_t at, void **out)
{
    if (fd >= 0 && fork() == 0)
        tell_and_stay(to_child[1]);
    return hf_os_native.mmap(address, length, protection, flags, fd, at, out);
}

/* Whoever has opened a region and dies: its pins are dead, though a child of its lives, and has what it had mapped. */
static void a_dead_openers_pins_are_not_its_childs(void **state)
{
    for (int way = 0; way < WAYS; way++) {
        pid_t told[2];
        hf_txn *txn;
        mine = region_new(64 << 20);
        ok(pipe(to_child));
        if (in_child())
            open_pin_and_fork(way, to_child[1]);
        for (int i = 0; i < 2; i++)
            assert_int_equal(read(to_child[0], &told[i], sizeof told[i]), sizeof told[i]);
        pid_t grandchild = told[0] == child ? told[1] : told[0];
        ok(kill(child, SIGKILL));
        assert_int_equal(waitpid(child, NULL, 0), child);
        ok(hf_txn_begin(mine, -1, &txn));
        uint32_t adopted = hf_slots_adopt(mine);
        ok(hf_txn_abort(txn));
        ok(kill(grandchild, SIGKILL));
        assert_int_equal(adopted, 1);
        close(to_child[0]);
        close(to_child[1]);
        ok(hf_region_close(mine));
    }
}

/* The slot that a thread used last is its process's, not its child's. */
static void a_child_uses_slots_of_its_own(void **state)
{
    hf_view view, its;
    mine = region_new(64 << 20);
    ok(hf_view_pin(mine, &view));
    struct hf_slot *parents = view.slot;
    hf_view_unpin(&view);
    if (in_child()) {
        int status = hf_view_pin(mine, &its);
        bool own = status == 0 && its.slot != parents && atomic_load(&parents->pin) == 0;
        hf_view_unpin(&its);
        _exit(own && hf_region_close(mine) == 0 ? 0 : 1);
    }
    expect_child();
    ok(hf_region_close(mine));
}

/* A savepoint that another thread was ending at the moment of the fork. */
static void a_fork_while_a_savepoint_ends(void **state)
{
    hf_txn *txn;
    unsigned level;
    mine = region_new(64 << 20);
    ok(hf_txn_begin(mine, 0, &txn));
    ok(hf_txn_savepoint(txn, &level));
    if (in_child()) {
        /* As another thread may leave it: unlinked, and not counted down yet. */
        struct hf_savepoint *half = txn->savepoint;
        txn->savepoint = NULL;
        atomic_store(&txn->active, true);
        txn->level = 1;
        atomic_store(&txn->owner, hf_thread_self() + 1);
        hf_txn_forget_all(mine);
        hf_free(half);
        _exit(txn->level == 0 && !atomic_load(&txn->active) && hf_region_close(mine) == 0 ? 0 : 1);
    }
    expect_child();
    ok(hf_txn_abort(txn));
    ok(hf_region_close(mine));
}

/* What was lost in one fork is not there again after the next. */
static void what_a_fork_lost_stays_lost(void **state)
{
    hf_span value;
    mine = region_new(64 << 20);
    writers = mine;
    ok(put_version());
    ok(hf_snapshot_begin(mine, &snapshot));
    hf_fault_arm(HF_OS_SITE_open, 1, EMFILE);
    bool is_child = in_child();
    hf_fault_disarm();
    if (is_child) {
        int status;
        if (hf_view_get(hf_snapshot_view(snapshot), 0, &the_key, &value) != HF_LOST)
            _exit(1);
        pid_t grandchild = fork();
        if (grandchild == 0) {
            if (hf_view_get(hf_snapshot_view(snapshot), 0, &the_key, &value) != HF_LOST)
                _exit(1);
            hf_snapshot_end(snapshot);
            _exit(hf_region_close(mine) == 0 ? 0 : 2);
        }
        hf_snapshot_end(snapshot);
        _exit(waitpid(grandchild, &status, 0) == grandchild && status == 0 && hf_region_close(mine) == 0 ? 0 : 3);
    }
    expect_child();
    hf_snapshot_end(snapshot);
    ok(hf_region_close(mine));
}

/* -- threads that have the number of one that ended -- */

static hf_txn *left;
static uint64_t numbers[2], posix_numbers[2];

static void *leave_a_transaction(void *unused)
{
    posix_numbers[0] = (uint64_t)pthread_self();
    numbers[0] = hf_thread_self();
    (void)hf_txn_begin(mine, -1, &left);
    return NULL;
}

static void *try_anothers(void *result)
{
    hf_span value;
    posix_numbers[1] = (uint64_t)pthread_self();
    numbers[1] = hf_thread_self();
    *(int *)result = hf_txn_get(left, 0, &the_key, &value);
    return NULL;
}

/* pthread_self is used again, and must not be taken for the dead owner's. */
static void a_dead_threads_transaction_is_nobodys(void **state)
{
    pthread_t thread;
    int result = 0;
    mine = region_new(64 << 20);
    ok(pthread_create(&thread, NULL, leave_a_transaction, NULL));
    ok(pthread_join(thread, NULL));
    ok(pthread_create(&thread, NULL, try_anothers, &result));
    ok(pthread_join(thread, NULL));
    if (posix_numbers[0] != posix_numbers[1])
        print_message("(the C library gave the second thread another number)\n");
    assert_int_not_equal(numbers[0], numbers[1]);
    assert_int_equal(result, HF_INVALID);
    /* It does not keep the region open either. */
    ok(hf_region_close(mine));
}

/* -- a change of everything that fails -- */

/* Large values have their queues in a table, in the region itself: a clear that fails must give back that too. */
static void a_clear_that_fails_in_the_middle(void **state)
{
    static unsigned char large[20000];
    enum { MANY = 100000, LARGE = 200 }; /* more cells than the region grows by at a time */
    hf_txn *txn;
    hf_key key;
    uint64_t number;
    int failures = 0;
    for (uint64_t n = 1; n < 30; n++) {
        mine = region_new(256 << 20);
        ok(hf_txn_begin(mine, 0, &txn));
        for (number = 0; number < MANY; number++) {
            key = (hf_key){number * UINT64_C(0x9e3779b97f4a7c15), &number, sizeof number};
            assert_int_equal(hf_txn_put(txn, 0, &key, large, number % (MANY / LARGE) == 0 ? sizeof large : 8), 1);
        }
        ok(hf_txn_commit(txn));
        ok(hf_txn_begin(mine, 0, &txn));
        /* The table is this transaction's own. */
        number = MANY;
        key = (hf_key){number * UINT64_C(0x9e3779b97f4a7c15), &number, sizeof number};
        assert_int_equal(hf_txn_put(txn, 0, &key, large, sizeof large), 1);
        hf_fault_arm_plan(HF_OS_SITE_fallocate, &(struct hf_fault){n, HF_FAULT_FOREVER, ENOSPC, false});
        int status = hf_txn_clear(txn, 0);
        hf_fault_disarm();
        failures += status < 0;
        ok(hf_txn_commit(txn));
        hf_view view;
        ok(hf_view_pin(mine, &view));
        assert_int_equal(hf_view_count(&view, 0), status < 0 ? MANY + 1 : 0);
        hf_view_unpin(&view);
        region_check(mine);
        ok(hf_region_close(mine));
        if (status == 0)
            break;
    }
    assert_true(failures > 0);
}

/* -- a segment that somebody else finishes -- */

static char the_name[64];
static hf_region *others;

/* Between the making of the name and the creators' lock, another process makes the region; then ours waits in vain. */
static int lock_after_another(int fd, int command, struct flock *lock)
{
    static bool inside;
    if (lock->l_start == HF_REGION_LOCK_CREATE && lock->l_type == F_WRLCK && !inside) {
        hf_region_options either = {.mode = HF_REGION_EITHER};
        inside = true;
        if (others == NULL)
            ok(hf_region_open(the_name, &either, &others));
        inside = false;
        return -EAGAIN;
    }
    return hf_os_native.lock(fd, command, lock);
}

static void a_name_that_another_has_finished_stays(void **state)
{
    hf_region_options either = {.mode = HF_REGION_EITHER};
    region_name(the_name);
    others = NULL;
    meddling = hf_os_native;
    meddling.lock = lock_after_another;
    hf_os_replace(&meddling);
    int status = hf_region_open(the_name, &either, &mine);
    hf_os_replace(NULL);
    assert_int_equal(status, HF_TIMEOUT);
    assert_non_null(others);
    ok(hf_region_open(the_name, NULL, &mine));
    assert_int_equal(mine->ino, others->ino);
    ok(hf_region_close(mine));
    ok(hf_region_close(others));
    ok(hf_region_unlink(the_name));
}

static void *attach_to_it(void *status)
{
    hf_region_options options = {.mode = HF_REGION_ATTACH, .timeout = INT64_C(5000000000)};
    *(int *)status = hf_region_open(the_name, &options, &others);
    return NULL;
}

/* Between its name and its lock a segment is empty: who attaches just then waits, as long as it was told to. */
static void who_attaches_waits_for_a_creator_without_its_lock(void **state)
{
    hf_region_options either = {.mode = HF_REGION_EITHER};
    pthread_t thread;
    int status = 0;
    region_name(the_name);
    int fd = shm_open(the_name, O_RDWR | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    ok(pthread_create(&thread, NULL, attach_to_it, &status));
    usleep(30000);
    ok(hf_region_open(the_name, &either, &mine));
    ok(pthread_join(thread, NULL));
    ok(status);
    ok(hf_region_close(others));
    ok(hf_region_close(mine));
    ok(hf_region_unlink(the_name));
    close(fd);
}

/* In a file a writer looks at the slots twice, first for the dead, with the mutex: what is stopped there is no scan. */
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_snapshot_is_begun_during_a_scan),
        in_both_homes(a_reader_is_stopped_before_it_reads_the_record),
        in_both_homes(a_kept_snapshot_is_forgotten_while_it_is_begun),
        cmocka_unit_test(a_fork_during_a_scan),
        cmocka_unit_test(a_fork_during_a_scan_leaves_the_child_a_whole_one),
        cmocka_unit_test(forks_without_end_during_a_scan),
        in_both_homes(a_child_uses_slots_of_its_own),
        cmocka_unit_test(a_dead_openers_pins_are_not_its_childs),
        in_both_homes(a_fork_while_a_savepoint_ends),
        in_both_homes(what_a_fork_lost_stays_lost),
        in_both_homes(a_dead_threads_transaction_is_nobodys),
        cmocka_unit_test(a_clear_that_fails_in_the_middle),
        cmocka_unit_test(a_name_that_another_has_finished_stays),
        cmocka_unit_test(who_attaches_waits_for_a_creator_without_its_lock),
    };
    return cmocka_run_group_tests_name("region/races", tests, NULL, NULL);
}

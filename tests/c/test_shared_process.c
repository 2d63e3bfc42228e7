/*
 * Several processes on one map: forks in every state, a reader who is stopped for ever, and no more memory. (Kills are the
 * crash laboratory's: test_crash_shared.c.)
 */
#include "test_shared_support.h"

#include "test_child.h"

#include <time.h>

static hf_shared *map;

static int begin(void **state)
{
    map = map_new();
    return 0;
}

static int end(void **state)
{
    map_check(map);
    ok(hf_shared_close(map));
    return name_end(state);
}

static int64_t number_at(const char *name)
{
    const hf_datum key = hf_datum_str(name);
    hf_shared_room room = {0};
    hf_datum value;
    int found = hf_shared_get(map, &key, &room, &value);
    hf_shared_room_clear(&room);
    return found == 1 && value.kind == HF_DATUM_INT ? value.integer : -1;
}

static int add(const char *name)
{
    const hf_datum key = hf_datum_str(name);
    return hf_shared_incr(map, &key, 1, NULL);
}

static int64_t number_in(const hf_shared_snapshot *snapshot, const char *name)
{
    const hf_datum key = hf_datum_str(name);
    hf_datum value;
    int found = hf_shared_snapshot_get(snapshot, &key, &value);
    return found == 1 ? value.integer : found;
}

/* Until the other side has done so much. */
static void wait_for(const char *name, int64_t number)
{
    for (int i = 0; i < 20000 && number_at(name) < number; i++)
        usleep(500);
    must(number_at(name) >= number);
}

static pid_t start(void (*run)(void))
{
    pid_t child = fork();
    if (child == 0) {
        its_own_death();
        alarm(60);
        run();
        _exit(0);
    }
    assert_true(child > 0);
    return child;
}

static void expect_exit(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* -- forks -- */

static void use_and_close(void)
{
    hf_shared_snapshot *snapshot;
    for (int i = 0; i < 500; i++) {
        must(add("both") == 0 && add("child") == 0);
        must(hf_shared_begin(map) == 0);
        must(add("child") == 0);
        must((i % 2 == 0 ? hf_shared_commit(map) : hf_shared_abort(map)) == 0);
        must(hf_shared_snapshot_begin(map, &snapshot) == 0);
        must(number_in(snapshot, "child") == i + 1 + (i / 2 + 1));
        hf_shared_snapshot_end(snapshot);
    }
    must(hf_shared_check(map, NULL) == 0);
    must(hf_shared_close(map) == 0);
}

static void both_go_on_with_a_handle(void **state)
{
    const hf_shared_options patient = {.mode = HF_SHARED_ATTACH, .timeout = -1};
    hf_shared *waiting, *own = map;
    ok(hf_shared_open(the_name, &patient, &waiting));
    map = waiting;
    pid_t child = start(use_and_close);
    for (int i = 0; i < 500; i++)
        ok(add("both"));
    expect_exit(child);
    assert_int_equal(number_at("both"), 1000);
    assert_int_equal(number_at("child"), 750);
    ok(hf_shared_close(waiting));
    map = own;
}

static hf_shared_snapshot *inherited;

static void use_inherited_snapshot(void)
{
    must(number_in(inherited, "n") == 1);
    wait_for("n", 3000);
    must(number_in(inherited, "n") == 1);
    must(hf_shared_close(map) == HF_BUSY);
    hf_shared_snapshot_end(inherited);
    must(hf_shared_close(map) == 0);
}

static void both_go_on_with_a_snapshot(void **state)
{
    ok(add("n"));
    ok(hf_shared_snapshot_begin(map, &inherited));
    pid_t child = start(use_inherited_snapshot);
    /* Only the child holds it now, and what it holds would be used again. */
    hf_shared_snapshot_end(inherited);
    for (int i = 0; i < 2999; i++)
        ok(add("n"));
    expect_exit(child);
}

static void be_without_a_transaction(void)
{
    hf_datum key = hf_datum_str("n");
    must(hf_shared_depth(map) == 0);
    must(hf_shared_commit(map) == HF_INVALID && hf_shared_abort(map) == HF_INVALID);
    must(hf_shared_get(map, &key, NULL, NULL) == 0);
    must(hf_shared_begin(map) == HF_TIMEOUT);
    must(hf_shared_set(map, &key, &key) == HF_TIMEOUT);
    must(hf_shared_close(map) == 0);
}

static void be_the_next_writer(void)
{
    wait_for("done", 1);
    must(number_at("n") == 2);
    must(hf_shared_begin(map) == 0);
    must(add("n") == 0);
    must(hf_shared_commit(map) == 0);
}

static void a_child_has_no_transaction(void **state)
{
#ifdef __SANITIZE_THREAD__
    skip(); /* it believes that the child has its parent's locks */
#endif
    ok(hf_shared_begin(map));
    ok(add("n"));
    ok(hf_shared_begin(map));
    ok(add("n"));
    expect_exit(start(be_without_a_transaction));
    pid_t child = start(be_the_next_writer);
    usleep(5000);
    assert_int_equal(number_at("n"), 2);
    ok(hf_shared_commit(map));
    ok(hf_shared_commit(map));
    ok(add("done"));
    expect_exit(child);
    assert_int_equal(number_at("n"), 3);
}

/* A child that is forked beside a transaction ends: it takes nothing of the parent's with it. */
static void a_childs_end_ends_nothing(void **state)
{
#ifdef __SANITIZE_THREAD__
    skip(); /* it believes that the child has its parent's locks */
#endif
    hf_shared_stats stats;
    ok(hf_shared_snapshot_begin(map, &inherited));
    ok(hf_shared_begin(map));
    ok(add("n"));
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        expect_exit(child);
    }
    ok(add("n"));
    ok(hf_shared_commit(map));
    assert_int_equal(number_at("n"), 2);
    assert_int_equal(number_in(inherited, "n"), 0);
    for (int i = 0; i < 2000; i++)
        ok(add("n"));
    assert_int_equal(number_in(inherited, "n"), 0);
    hf_shared_snapshot_end(inherited);
    ok(hf_shared_stats_get(map, &stats));
    assert_int_equal(stats.writers_died, 0);
}

static void die_in_a_transaction(void)
{
    must(hf_shared_snapshot_begin(map, &inherited) == 0);
    must(hf_shared_begin(map) == 0);
    must(add("n") == 0);
    kill(getpid(), SIGKILL);
}

static void a_dead_process_has_changed_nothing(void **state)
{
    hf_shared_stats stats;
    ok(add("n"));
    for (uint32_t i = 1; i <= 5; i++) {
        int status;
        pid_t child = start(die_in_a_transaction);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        assert_int_equal(number_at("n"), i);
        ok(add("n"));
        ok(hf_shared_stats_get(map, &stats));
        assert_int_equal(stats.writers_died, i);
        map_check(map);
    }
}

/* -- a reader that is stopped for ever -- */

static void hold_and_stop(void)
{
    must(hf_shared_snapshot_begin(map, &inherited) == 0);
    must(add("ready") == 0);
    for (;;)
        pause();
}

static void set_all(int keys, int64_t number)
{
    for (int i = 0; i < keys; i++) {
        hf_datum key = hf_datum_int(i), value = hf_datum_int(number);
        assert_true(hf_shared_set(map, &key, &value) >= 0);
    }
}

/* It pins its version, and nothing of what comes after that. */
static void a_stopped_reader_pins_its_version_only(void **state)
{
    enum { SOME = 2000 };
    hf_shared_stats before, after;
    int status;
    set_all(SOME, 0);
    ok(hf_shared_stats_get(map, &before));
    pid_t child = start(hold_and_stop);
    wait_for("ready", 1);
    ok(kill(child, SIGSTOP));
    for (int64_t n = 1; n <= 100 / SLOW; n++)
        set_all(SOME, n);
    ok(hf_shared_stats_get(map, &after));
    /* What it had, once more, and what changes take. */
    assert_in_range(after.used, 1, 2 * before.used + (256 << 10));
    assert_in_range(after.size, 1, 2 * before.size + (1 << 20));
    map_check(map);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    set_all(SOME, 1000);
    set_all(SOME, 1001);
    ok(hf_shared_stats_get(map, &after));
    assert_in_range(after.used, 1, before.used + (256 << 10));
}

/* -- no more memory -- */

/* Sets values until there is no room for more: how many. Nothing else may go wrong. */
static int fill(hf_shared *full, size_t size)
{
    static char bytes[1 << 20];
    for (int i = 0; i < 1000000; i++) {
        /* Every other has a form, so that a change of two trees fails in the middle as well. */
        hf_datum key = i % 2 == 0 ? hf_datum_float(i) : hf_datum_int(i), value = hf_datum_bytes(bytes, size);
        uint64_t count;
        int status = hf_shared_set(full, &key, &value);
        must(status == 1 || status == HF_NOSPACE);
        must(hf_shared_count(full, &count) == 0 && count == (uint64_t)(i + (status == 1)));
        if (status == HF_NOSPACE)
            return i;
    }
    must(false);
    return 0;
}

/* It is full: what may be done goes on, and what is deleted makes room. Every other of the first so many. */
static void use_full(hf_shared *full, int count, int most, size_t size)
{
    static char bytes[1 << 20];
    hf_datum value = hf_datum_bytes(bytes, size), key;
    hf_shared_snapshot *snapshot;
    must(hf_shared_check(full, NULL) == 0);
    must(hf_shared_snapshot_begin(full, &snapshot) == 0);
    must(hf_shared_snapshot_count(snapshot) == (uint64_t)count);
    hf_shared_snapshot_end(snapshot);
    count = count < most ? count : most;
    for (int i = 0; i < count; i += 2) {
        key = hf_datum_int(i);
        must(hf_shared_delete(full, &key) == 1);
    }
    must(hf_shared_check(full, NULL) == 0);
    for (int i = 0; i < count; i += 4) {
        key = hf_datum_int(i);
        must(hf_shared_set(full, &key, &value) == 1);
    }
    must(hf_shared_check(full, NULL) == 0);
}

/* A transaction that comes to its limit: each call fails by itself, it can be gone on with, and given up. */
static void fill_in_a_transaction(hf_shared *full, size_t size)
{
    static char bytes[1 << 20];
    uint64_t before, count;
    int set = 0, status = 1;
    must(hf_shared_count(full, &before) == 0);
    must(hf_shared_begin(full) == 0);
    while (status == 1) {
        hf_datum key = hf_datum_float(1e9 + set), value = hf_datum_bytes(bytes, size);
        status = hf_shared_set(full, &key, &value);
        set += status == 1;
    }
    must(status == HF_NOSPACE);
    must(hf_shared_count(full, &count) == 0 && count == before + (uint64_t)set);
    if (set > 0) {
        hf_datum key = hf_datum_int(1000000000);
        must(hf_shared_delete(full, &key) == 1);
    }
    must(hf_shared_abort(full) == 0);
    must(hf_shared_count(full, &count) == 0 && count == before);
    must(hf_shared_check(full, NULL) == 0);
}

/* At once, or one by one. */
static void delete_all(hf_shared *full, int count, bool at_once)
{
    if (at_once)
        ok(hf_shared_begin(full));
    for (int i = 0; i < count; i++) {
        hf_datum key = hf_datum_int(i);
        yes(hf_shared_delete(full, &key));
    }
    if (at_once)
        ok(hf_shared_commit(full));
}

static void a_map_has_no_more_than_its_max_size(void **state)
{
    static const size_t sizes[] = {0, 10, 100, 1000, 5000, 70000, 1 << 20};
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        char name[80];
        const hf_shared_options options = {.mode = HF_SHARED_CREATE, .max_size = 6 << 20};
        hf_shared_stats stats;
        hf_shared *full;
        snprintf(name, sizeof name, "%s-full", the_name);
        ok(hf_shared_open(name, &options, &full));
        ok(hf_shared_unlink(name));
        fill_in_a_transaction(full, sizes[i]);
        int count = fill(full, sizes[i]);
        assert_in_range(count, 3, 200000);
        fill_in_a_transaction(full, sizes[i]);
        use_full(full, count, count, sizes[i]);
        ok(hf_shared_stats_get(full, &stats));
        assert_true(stats.size <= stats.max_size);
        fill_in_a_transaction(full, sizes[i]);
        ok(hf_shared_clear(full));
        assert_in_range(fill(full, sizes[i]), count / 2, 200000);
        delete_all(full, count / 2, i % 2 == 0);
        map_check(full);
        ok(hf_shared_close(full));
    }
}

/* The same where it is the system that has no more, by name, in a /dev/shm of our own. */
static void in_a_small_shm(void)
{
    const hf_shared_options options = {.mode = HF_SHARED_CREATE};
    hf_shared *full, *next;
    hf_datum key = hf_datum_int(-1);
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=6m") < 0)
        _exit(77);
    must(hf_shared_open("full", &options, &full) == 0);
    fill_in_a_transaction(full, 3000);
    int count = fill(full, 3000);
    must(count > 100);
    use_full(full, count, 8000, 3000);
    /* Nor is there room for another map, of which nothing is left. */
    must(hf_shared_open("next", &options, &next) == HF_NOSPACE);
    const hf_shared_options attach = {.mode = HF_SHARED_ATTACH};
    must(hf_shared_open("next", &attach, &next) == HF_ABSENT);
    must(mount("tmpfs", "/dev/shm", "tmpfs", MS_REMOUNT, "size=16m") == 0);
    must(hf_shared_set(full, &key, &key) == 1);
    must(hf_shared_open("next", &options, &next) == 0);
    must(hf_shared_close(next) == 0);
    must(hf_shared_check(full, NULL) == 0);
    must(hf_shared_close(full) == 0);
}

static void shared_memory_may_be_full(void **state)
{
    in_a_child(in_a_small_shm);
}

#define with_map(test)                                \
    {                                                 \
#test, test, begin, end, (void *)(uintptr_t)0 \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_map(both_go_on_with_a_handle),
        with_map(both_go_on_with_a_snapshot),
        with_map(a_child_has_no_transaction),
        with_map(a_childs_end_ends_nothing),
        with_map(a_dead_process_has_changed_nothing),
        with_map(a_stopped_reader_pins_its_version_only),
        with_map(a_map_has_no_more_than_its_max_size),
        with_map(shared_memory_may_be_full),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Every operation with every allocation and every call to the system failing in turn; full file systems; no address
 * space. The failure is reported, the region is as it was, and goes on once there is room.
 */
#include "test_region_child.h"

enum { SPACE = 256 << 20 };

static hf_region *region;
static model now;

typedef struct work {
    hf_txn *txn;
    model *m;
    const model *attempted; /* what a commit that failed was to make */
    hf_snapshot *snapshot;
    hf_region *opened;
    unsigned level;
} work;

typedef int step(work *w);

static int put_large(work *w)
{
    return both_put(w->txn, w->m, 0, 7, 96 + 97 * 9);
}

/* So long that the file has to grow for it. */
static int put_longest(work *w)
{
    static unsigned char bytes[20 << 20];
    hf_key key = {1, "longest", 7};
    int status = hf_txn_put(w->txn, 1, &key, bytes, sizeof bytes);
    return status < 0 ? status : hf_txn_remove(w->txn, 1, &key);
}

/* Enough new keys for runs of several classes. */
static int put_many(work *w)
{
    for (int i = 0; i < KEYS; i++) {
        int status = both_put(w->txn, w->m, 1, i, (i * 7) % VALUES);
        if (status < 0)
            return status;
    }
    return 0;
}

static int remove_many(work *w)
{
    for (int i = 0; i < KEYS; i += 2) {
        int status = both_remove(w->txn, w->m, 1, i);
        if (status < 0)
            return status;
    }
    return 0;
}

static int clear(work *w)
{
    return both_clear(w->txn, w->m, 0);
}

static int savepoint(work *w)
{
    return hf_txn_savepoint(w->txn, &w->level);
}

static int keep(work *w)
{
    return hf_txn_keep(w->txn, "name");
}

/* In a file a commit that has failed can only be aborted, and then there is what was there before; or the store is broken,
 * and is opened again. Either goes on. */
static void after_a_failed_commit(work *w, int status)
{
    if (hf_txn_abort(w->txn) < 0)
        assert_true(false);
    *w->m = now;
    if (status == HF_BROKEN) {
        char path[96];
        static model with;
        snprintf(path, sizeof path, "%s", region->file->path);
        assert_int_equal(hf_region_close(region), HF_BROKEN);
        region = file_again(path);
        /* What was handed over may have got there. */
        if (!region_is_model(region, &now)) {
            with = *w->attempted;
            assert_true(region_is_model(region, &with));
            *w->m = with;
        }
    }
    assert_true(region_is_model(region, w->m));
    ok(hf_txn_begin(region, 0, &w->txn));
    for (int key = 0; key < KEYS; key += 7)
        assert_true(both_put(w->txn, w->m, 0, key, key % VALUES) >= 0);
    ok(hf_txn_commit(w->txn));
}

/* Which call fails first, and how many are tried before they become rarer: a file makes many. */
static uint64_t next_call(uint64_t n)
{
    return n < 60 || the_home == HOME_SHARED || getenv("TORTURE") != NULL ? n + 1 : n + n / 10;
}

/* Each step fails at its n-th call of anything; the transaction goes on and is committed, without it or with it. */
static void changes(void **state)
{
    static step *const steps[] = {put_large, put_longest, put_many, remove_many, clear, savepoint, keep};
    static model mine, attempted;
    unsigned failures = 0, broken = 0;
    for (size_t i = 0; i < LENGTH(steps); i++) {
        for (int commits = 0; commits < 2; commits++) {
            for (uint64_t n = 1;; n = next_call(n)) {
                region = region_new(SPACE);
                work w = {.m = &mine};
                model_clear(&now);
                model_clear(&mine);
                ok(hf_txn_begin(region, 0, &w.txn));
                for (int key = 0; key < 50; key++)
                    assert_int_equal(both_put(w.txn, &mine, 0, key, key * 3), 1);
                ok(hf_txn_commit(w.txn));
                now = mine;
                ok(hf_txn_begin(region, 0, &w.txn));
                hf_fault_arm(HF_FAULT_ANY, n, ENOSPC);
                int status = steps[i](&w);
                attempted = mine;
                w.attempted = &attempted;
                if (status >= 0 && commits)
                    status = hf_txn_commit(w.txn);
                uint64_t failed = hf_fault_failed(HF_FAULT_ANY);
                hf_fault_disarm();
                failures += failed > 0;
                broken += status == HF_BROKEN;
                /* A growth in a large step that failed is tried again in a small one. */
                if (status < 0)
                    assert_true(failed > 0 && (status == HF_NOSPACE || status == HF_NOMEM || status == HF_IO ||
                                               status == HF_BROKEN));
                if (the_home != HOME_SHARED && status < 0 && commits) {
                    after_a_failed_commit(&w, status);
                } else if (status < 0 || !commits) {
                    for (int key = 0; key < KEYS; key += 7)
                        assert_true(both_put(w.txn, &mine, 0, key, (int)n % VALUES) >= 0);
                    ok(hf_txn_commit(w.txn));
                }
                region_check(region);
                assert_true(region_is_model(region, &mine));
                ok(hf_region_close(region));
                files_remove();
                if (failed == 0)
                    break;
            }
        }
    }
    print_message("%u calls failed, %u stores broken\n", failures, broken);
    assert_true(failures > 10 && (broken > 0) == (the_home == HOME_FULL));
}

static int begin_snapshot(work *w)
{
    return hf_snapshot_begin(region, &w->snapshot);
}

static int begin_kept(work *w)
{
    return hf_snapshot_begin_kept(region, "name", &w->snapshot);
}

static int attach(work *w)
{
    hf_region_options options = file_options(HF_REGION_ATTACH, SPACE);
    if (region->file != NULL)
        return hf_region_open_file(region->file->path, &options, &w->opened);
    return hf_region_open_fd(hf_region_fd(region), NULL, &w->opened);
}

/* One that failed may have left a file, but only a whole one; or a file of another name, if that could not be removed. */
static int create_file(work *w)
{
    char path[96];
    hf_region_options options = file_options(HF_REGION_CREATE, SPACE);
    file_name(path);
    int status = hf_region_open_file(path, &options, &w->opened);
    uint64_t failed = hf_fault_failed(HF_FAULT_ANY);
    hf_fault_disarm();
    if (status < 0 && access(path, F_OK) == 0) {
        hf_region *whole = file_again(path);
        region_check(whole);
        ok(hf_region_close(whole));
    }
    if (failed > 0)
        hf_fault_arm(HF_FAULT_ANY, 0, ENOSPC);
    return status == 0 && failed > 0 ? 1 : status;
}

static int create(work *w)
{
    char name[96];
    hf_region_options options = {.mode = HF_REGION_CREATE, .reserve = SPACE};
    if (the_home != HOME_SHARED)
        return create_file(w);
    region_name(name);
    int status = hf_region_open(name, &options, &w->opened);
    /* One that failed has left nothing. */
    uint64_t failed = hf_fault_failed(HF_FAULT_ANY);
    hf_fault_disarm();
    int unlinked = hf_region_unlink(name);
    assert_int_equal(unlinked, status == 0 ? 0 : HF_ABSENT);
    if (failed > 0)
        hf_fault_arm(HF_FAULT_ANY, 0, ENOSPC);
    return status == 0 && failed > 0 ? 1 : status;
}

static int check(work *w)
{
    return hf_region_check(region, 1000000, NULL);
}

static int stats(work *w)
{
    hf_region_stats out;
    return hf_region_stats_get(region, &out);
}

static int wait_for_lock(work *w)
{
    hf_txn *txn;
    /* The lock is held through another mapping, by another thread's leave: see below. */
    int status = hf_txn_begin(region, 2000000, &txn);
    return status == HF_BUSY ? 0 : status;
}

static void readers(void **state)
{
    static step *const steps[] = {begin_snapshot, begin_kept, attach, create, check, stats, wait_for_lock};
    for (size_t i = 0; i < LENGTH(steps); i++) {
        for (uint64_t n = 1; n < 200; n++) {
            work w = {.m = &now};
            region = region_new(SPACE);
            model_clear(&now);
            ok(hf_txn_begin(region, 0, &w.txn));
            assert_int_equal(both_put(w.txn, &now, 0, 1, 1), 1);
            ok(hf_txn_keep(w.txn, "name"));
            ok(hf_txn_commit(w.txn));
            if (steps[i] == wait_for_lock)
                ok(hf_txn_begin(region, 0, &w.txn));
            hf_fault_arm(HF_FAULT_ANY, n, EMFILE);
            int status = steps[i](&w);
            uint64_t failed = hf_fault_failed(HF_FAULT_ANY);
            hf_fault_disarm();
            if (status < 0)
                assert_true(status == HF_NOMEM || status == HF_IO || (region->file != NULL && status == HF_LIMIT));
            if (w.snapshot != NULL)
                hf_snapshot_end(w.snapshot);
            if (w.opened != NULL)
                ok(hf_region_close(w.opened));
            if (steps[i] == wait_for_lock)
                ok(hf_txn_abort(w.txn));
            assert_true(region_is_model(region, &now));
            region_check(region);
            ok(hf_region_close(region));
            files_remove();
            if (failed == 0 && status >= 0 && n > 1)
                break;
        }
    }
}

/* A fork for which nothing can be had: the child's snapshots are lost, and say so; all else works. */
static void a_fork_without_descriptors(void **state)
{
    hf_snapshot *snapshot;
    hf_span value;
    char text[64];
    work w = {.m = &now};
    region = region_new(SPACE);
    model_clear(&now);
    ok(hf_txn_begin(region, 0, &w.txn));
    assert_int_equal(both_put(w.txn, &now, 0, 1, 1), 1);
    ok(hf_txn_commit(w.txn));
    ok(hf_snapshot_begin(region, &snapshot));
    hf_fault_arm(HF_OS_SITE_open, 1, EMFILE);
    pid_t child = fork();
    hf_fault_disarm();
    if (child == 0) {
        hf_key key = key_of(1, text);
        bool lost = hf_view_get(hf_snapshot_view(snapshot), 0, &key, &value) == HF_LOST;
        hf_snapshot_end(snapshot);
        _exit(lost && region_is_model(region, &now) && hf_txn_begin(region, 0, &w.txn) == 0 &&
                      hf_txn_abort(w.txn) == 0 && hf_region_close(region) == 0
                  ? 0
                  : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(view_is_model(hf_snapshot_view(snapshot), &now));
    hf_snapshot_end(snapshot);
    ok(hf_region_close(region));
}

/* Puts and removals until the file system, or what it is, is full; then some room; then on. */
static void fill_up(hf_region *full, int expected)
{
    static model mine, before;
    static unsigned char filler[5000];
    hf_txn *txn;
    int status = 0;
    uint64_t number = 0;
    work w = {.m = &mine};
    model_clear(&mine);
    ok(hf_txn_begin(full, 0, &w.txn));
    for (int key = 0; key < 50; key++)
        assert_int_equal(both_put(w.txn, &mine, 0, key, key), 1);
    ok(hf_txn_commit(w.txn));
    before = mine;
    while (status >= 0) {
        ok(hf_txn_begin(full, 0, &txn));
        for (int i = 0; status >= 0 && i < 20; i++, number++) {
            hf_key key = {number * UINT64_C(0x9e3779b97f4a7c15), &number, sizeof number};
            status = hf_txn_put(txn, 2, &key, filler, (size_t)(number * 37 % sizeof filler));
        }
        if (status >= 0)
            status = hf_txn_commit(txn);
    }
    assert_int_equal(status, expected);
    ok(hf_txn_abort(txn));
    assert_true(region_is_model(full, &before));
    region_check(full);
    /* A removal needs a little space too, but what one frees is there for the next; so room can be made. */
    uint64_t left = number, tries = 0;
    while (left > 0 && tries++ < 5) {
        left = 0;
        for (uint64_t i = 0; i < number; i++) {
            hf_key key = {i * UINT64_C(0x9e3779b97f4a7c15), &i, sizeof i};
            ok(hf_txn_begin(full, 0, &txn));
            status = hf_txn_remove(txn, 2, &key);
            left += status < 0;
            assert_true(status >= 0 || status == expected);
            ok(hf_txn_commit(txn));
        }
    }
    assert_int_equal(left, 0);
    /* (Of sizes that it had before: a run of pages keeps its class.) */
    for (int i = 0; i < 2000; i++) {
        ok(hf_txn_begin(full, 0, &txn));
        assert_int_equal(both_remove(txn, &mine, 0, i % 50), 1);
        assert_int_equal(both_put(txn, &mine, 0, i % 50, i % 50), 1);
        ok(hf_txn_commit(txn));
    }
    assert_true(region_is_model(full, &mine));
    region_check(full);
}

static void too_little_address_space_is_a_limit(void **state)
{
    hf_region *small = region_new(8 << 20);
    fill_up(small, HF_LIMIT);
    ok(hf_region_close(small));
}

/* One process may have less than another: it says so, and works again when what it wants is within reach. */
static void a_region_that_outgrew_a_mapping_is_a_limit(void **state)
{
    static unsigned char bytes[12 << 20];
    hf_region_options little = {.mode = HF_REGION_ATTACH, .reserve = 4 << 20};
    hf_region *large = region_new(SPACE), *small;
    hf_key key = {1, "key", 3};
    hf_txn *txn;
    hf_view view;
    ok(hf_region_open_fd(hf_region_fd(large), &little, &small));
    ok(hf_view_pin(small, &view));
    hf_view_unpin(&view);
    ok(hf_txn_begin(large, 0, &txn));
    assert_int_equal(hf_txn_put(txn, 0, &key, bytes, sizeof bytes), 1);
    ok(hf_txn_commit(txn));
    assert_int_equal(hf_view_pin(small, &view), HF_LIMIT);
    assert_int_equal(hf_txn_begin(small, 0, &txn), HF_LIMIT);
    ok(hf_region_close(small));
    region_check(large);
    ok(hf_region_close(large));
}

static void on_a_small_tmpfs_child(void)
{
    char path[] = "/tmp/hf-tmpfs-XXXXXX", file[64];
    small_tmpfs(path, "size=6m");
    snprintf(file, sizeof file, "%s/region", path);
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    hf_region_options options = {.mode = HF_REGION_CREATE, .reserve = SPACE};
    hf_region *full;
    must(fd >= 0 && hf_region_open_fd(fd, &options, &full) == 0);
    hf_txn *txn;
    static unsigned char filler[4000];
    int status = 0;
    uint64_t number = 0, committed = 0;
    while (status >= 0) {
        must(hf_txn_begin(full, 0, &txn) == 0);
        for (int i = 0; status >= 0 && i < 10; i++, number++) {
            hf_key key = {number * UINT64_C(0x9e3779b97f4a7c15), &number, sizeof number};
            status = hf_txn_put(txn, 0, &key, filler, sizeof filler);
        }
        if (status >= 0)
            status = hf_txn_commit(txn);
        if (status >= 0)
            committed = number;
    }
    must(status == HF_NOSPACE && hf_txn_abort(txn) == 0);
    hf_view view;
    must(hf_view_pin(full, &view) == 0 && hf_view_count(&view, 0) == committed && committed > 500);
    hf_view_unpin(&view);
    must(hf_region_check(full, 0, NULL) == 0);
    /* There is space again. */
    must(mount("tmpfs", path, "tmpfs", MS_REMOUNT, "size=16m") == 0);
    must(hf_txn_begin(full, 0, &txn) == 0);
    for (int i = 0; i < 300; i++, number++) {
        hf_key key = {number * UINT64_C(0x9e3779b97f4a7c15), &number, sizeof number};
        must(hf_txn_put(txn, 0, &key, filler, sizeof filler) == 1);
    }
    must(hf_txn_commit(txn) == 0 && hf_region_check(full, 0, NULL) == 0);
    must(hf_region_close(full) == 0);
    close(fd);
    umount2(path, MNT_DETACH);
    rmdir(path);
}

static void on_a_small_tmpfs(void **state)
{
    in_a_child(on_a_small_tmpfs_child);
}

/* As many pins as there is space for slots of; then all of them end. */
static void pin_all(hf_region *full)
{
    enum { PINS = 400 };
    static hf_view views[PINS];
    int count = 0, status = 0;
    while (count < PINS && (status = hf_view_pin(full, &views[count])) == 0)
        count++;
    must(status == 0 || status == HF_NOSPACE);
    must(count >= 64 - 1);
    while (count > 0)
        hf_view_unpin(&views[--count]);
}

/* Puts until there is no more space, removes some of it, and looks whether all is as it should be. */
static void fill_and_empty(hf_region *full, size_t size)
{
    static const unsigned char filler[40000];
    uint64_t number = 0;
    int status = 0;
    hf_txn *txn;
    while (status >= 0) {
        must(hf_txn_begin(full, 0, &txn) == 0);
        for (int i = 0; status >= 0 && i < 5; i++, number++) {
            hf_key key = {number * UINT64_C(0x9e3779b97f4a7c15), &number, sizeof number};
            status = hf_txn_put(txn, 0, &key, filler, size);
        }
        if (status >= 0)
            status = hf_txn_commit(txn);
    }
    must(status == HF_NOSPACE && hf_txn_abort(txn) == 0);
    pin_all(full);
    must(hf_region_check(full, 0, NULL) == 0);
    for (uint64_t i = 0; i < 5 && number > 10; i++) {
        hf_key key = {i * UINT64_C(0x9e3779b97f4a7c15), &i, sizeof i};
        must(hf_txn_begin(full, 0, &txn) == 0);
        must(hf_txn_remove(txn, 0, &key) == 1);
        must(hf_txn_commit(txn) == 0);
    }
    must(hf_region_check(full, 0, NULL) == 0);
}

/* The space ends in the middle of whatever it is that is wanted. */
static void on_a_tmpfs_of_any_size_child(void)
{
    char path[] = "/tmp/hf-tmpfs-XXXXXX", file[64], room[32];
    hf_region_options options = {.mode = HF_REGION_CREATE, .reserve = SPACE};
    unsigned made = 0, refused = 0;
    small_tmpfs(path, "size=64k");
    snprintf(file, sizeof file, "%s/region", path);
    for (unsigned pages = 2; pages < 600; pages += pages < 100 ? 1 : 37) {
        hf_region *full;
        snprintf(room, sizeof room, "size=%uk", pages * 4);
        must(mount("tmpfs", path, "tmpfs", MS_REMOUNT, room) == 0);
        int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        must(fd >= 0);
        int status = hf_region_open_fd(fd, &options, &full);
        must(status == 0 || status == HF_NOSPACE);
        made += status == 0;
        refused += status < 0;
        if (status == 0) {
            fill_and_empty(full, pages % 2 == 0 ? 300 : 40000);
            must(hf_region_close(full) == 0);
        }
        close(fd);
        must(unlink(file) == 0);
    }
    must(made > 20 && refused > 20);
    umount2(path, MNT_DETACH);
    rmdir(path);
}

static void on_a_tmpfs_of_any_size(void **state)
{
    in_a_child(on_a_tmpfs_of_any_size_child);
}

static void with_a_limit_of_file_size_child(void)
{
    struct rlimit limit = {4 << 20, 4 << 20};
    char name[64];
    hf_region *full;
    hf_region_options options = {.mode = HF_REGION_CREATE, .reserve = SPACE};
    must(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    region_name(name);
    must(hf_region_open(name, &options, &full) == 0 && hf_region_unlink(name) == 0);
    hf_txn *txn;
    static unsigned char filler[4 << 20];
    hf_key key = {1, "key", 3};
    must(hf_txn_begin(full, 0, &txn) == 0);
    must(hf_txn_put(txn, 0, &key, filler, sizeof filler) == HF_NOSPACE);
    must(hf_txn_put(txn, 0, &key, filler, 1000) == 1);
    must(hf_txn_commit(txn) == 0 && hf_region_check(full, 0, NULL) == 0);
    must(hf_region_close(full) == 0);
}

static void with_a_limit_of_file_size(void **state)
{
    in_a_child(with_a_limit_of_file_size_child);
}

static void with_a_limit_of_address_space_child(void)
{
    struct rlimit limit = {1 << 30, 1 << 30};
    char name[64];
    hf_region *own;
    hf_region_options options = {.mode = HF_REGION_CREATE};
    must(setrlimit(RLIMIT_AS, &limit) == 0);
    region_name(name);
    must(hf_region_open(name, &options, &own) == 0 && hf_region_unlink(name) == 0);
    must(own->reserved >= 64 << 20 && own->reserved <= 1 << 30);
    hf_txn *txn;
    hf_key key = {1, "key", 3};
    must(hf_txn_begin(own, 0, &txn) == 0 && hf_txn_put(txn, 0, &key, "v", 1) == 1 && hf_txn_commit(txn) == 0);
    must(hf_region_close(own) == 0);
}

static void with_a_limit_of_address_space(void **state)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* they take terabytes for themselves */
#endif
    in_a_child(with_a_limit_of_address_space_child);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_home(changes, HOME_SHARED),
        in_home(changes, HOME_FULL),
        in_home(changes, HOME_OFF),
        in_home(readers, HOME_SHARED),
        in_home(readers, HOME_OFF),
        in_home(a_fork_without_descriptors, HOME_SHARED),
        in_home(a_fork_without_descriptors, HOME_OFF),
        cmocka_unit_test(too_little_address_space_is_a_limit),
        cmocka_unit_test(a_region_that_outgrew_a_mapping_is_a_limit),
        cmocka_unit_test(on_a_small_tmpfs),
        cmocka_unit_test(on_a_tmpfs_of_any_size),
        cmocka_unit_test(with_a_limit_of_file_size),
        cmocka_unit_test(with_a_limit_of_address_space),
    };
    return cmocka_run_group_tests_name("region/faults", tests, NULL, NULL);
}

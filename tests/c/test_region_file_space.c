/*
 * What of a file is used again, and what is not: space in the long run, at every level; and what a version needs that a
 * power cut, or a reader without a slot, would bring back.
 */
#include "test_region_child.h"
#include "test_region_plain.h"

enum { MANY = 100000 };

/* Puts of 0 .. count - 1, all as of this version. */
static void put_all(hf_region *region, uint64_t count, uint64_t version)
{
    hf_txn *txn;
    ok(hf_txn_begin(region, -1, &txn));
    for (uint64_t i = 0; i < count; i++)
        plain_put(txn, i, version);
    ok(hf_txn_commit(txn));
}

/* The file as a power cut now would leave it, were all of it on the disk: another one, without a lock file. */
static hf_region *after_a_power_cut(hf_region *region)
{
    char path[96];
    static char bytes[1 << 16];
    file_name(path);
    int to = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(to >= 0);
    off_t at = 0;
    ssize_t got;
    while ((got = pread(hf_region_fd(region), bytes, sizeof bytes, at)) > 0) {
        assert_int_equal(pwrite(to, bytes, (size_t)got, at), got);
        at += got;
    }
    close(to);
    return file_again(path);
}

/* A kept snapshot is forgotten, and that is not durable: the durable version still has it, and what only it has. */
static void what_a_durable_version_keeps_is_left_alone(void **state)
{
    hf_snapshot *snapshot;
    hf_txn *txn;
    the_nursery = HF_REGION_STRAIGHT;
    hf_region *region = region_new(0), *cut;
    ok(hf_txn_begin(region, 0, &txn));
    for (uint64_t i = 0; i < 500; i++)
        plain_put(txn, i, 1);
    ok(hf_txn_keep(txn, "then"));
    ok(hf_txn_commit(txn));
    put_all(region, 500, 2);
    ok(hf_region_flush(region, -1));
    ok(hf_txn_begin(region, 0, &txn));
    ok(hf_txn_forget(txn, "then"));
    ok(hf_txn_commit(txn));
    for (uint64_t version = 3; version < 40; version++) {
        put_all(region, 500, version);
        region_check(region);
    }
    cut = after_a_power_cut(region);
    region_check(cut);
    ok(hf_snapshot_begin_kept(cut, "then", &snapshot));
    for (uint64_t i = 0; i < 500; i++)
        assert_true(plain_is(hf_snapshot_view(snapshot), i, 1));
    hf_snapshot_end(snapshot);
    ok(hf_region_close(cut));
    ok(hf_region_close(region));
    the_nursery = 0;
}

/* -- in the long run -- */

/* A row of the issue. (LMDB: over 340 MB.) */
static void a_reader_that_stays_holds_one_version(void **state)
{
    enum { UPDATES = 20000 };
    hf_region *region = filled(MANY);
    hf_snapshot *snapshot;
    uint64_t before = top_of(region);
    ok(hf_snapshot_begin(region, &snapshot));
    update(region, MANY, UPDATES, 5000000);
    print_message("grew by %llu bytes\n", (unsigned long long)(top_of(region) - before));
    /* The row's, where commits are durable. Where not, their manifest, which is large, comes on top. */
    expect_growth(region, before, the_home == HOME_OFF ? 7 * MEGABYTE : 6000000);
    for (uint64_t i = 0; i < MANY; i++)
        assert_true(plain_is(hf_snapshot_view(snapshot), i, 0));
    region_check(region);
    hf_snapshot_end(snapshot);
    before = top_of(region);
    update(region, MANY, UPDATES, 9000000);
    print_message("without it by %llu bytes\n", (unsigned long long)(top_of(region) - before));
    expect_growth(region, before, the_home == HOME_OFF ? MEGABYTE * 3 / 2 : MEGABYTE);
    region_check(region);
    ok(hf_region_close(region));
}

static void updates_without_readers_do_not_grow(void **state)
{
    hf_region *region = filled(10000);
    update(region, 10000, the_home == HOME_OFF ? 150000 : 20000, 1000000);
    uint64_t before = top_of(region);
    update(region, 10000, 40000, 2000000);
    print_message("%llu bytes, grew by %llu\n", (unsigned long long)before,
                  (unsigned long long)(top_of(region) - before));
    /* At level off a manifest outgrows the root's page, and is large: two extents, used in turn. */
    expect_growth(region, before, MEGABYTE / 4);
    region_check(region);
    ok(hf_region_close(region));
}

/* Nor is a large value that is replaced again and again. */
static void large_values_are_used_again(void **state)
{
    static unsigned char bytes[3 << 20];
    hf_region *region = region_new(UINT64_C(1) << 30);
    hf_key key = {42, "large", 5};
    hf_txn *txn;
    uint64_t before = 0;
    for (int i = 0; i < 600; i++) {
        memset(bytes, i, 64);
        ok(hf_txn_begin(region, -1, &txn));
        assert_true(hf_txn_put(txn, 0, &key, bytes, sizeof bytes) >= 0);
        ok(hf_txn_commit(txn));
        /* By then the space tree's own large entries lie in one of the places, for good. */
        if (i == 400)
            before = top_of(region);
    }
    print_message("%llu bytes, grew by %llu\n", (unsigned long long)before,
                  (unsigned long long)(top_of(region) - before));
    expect_growth(region, before, MEGABYTE / 4);
    assert_true(before < 20 * MEGABYTE);
    region_check(region);
    ok(hf_region_close(region));
}

/* Values of all sizes, many of them changing their size, come and go; and what is in use stays about the same. */
static void what_comes_and_goes(void **state)
{
    enum { ROUNDS = 5000, SLOTS = 400, LARGEST = 60000, CONSTANT = 3 << 20 };
    static unsigned char bytes[LARGEST];
    static size_t size_of_slot[SLOTS];
    hf_region *region = region_new(UINT64_C(1) << 30);
    random_source random = {77};
    uint64_t live = 0, worst_live = 0, worst_top = 0, half = 0;
    hf_txn *txn;
    memset(size_of_slot, 0, sizeof size_of_slot);
    for (int round = 0; round < ROUNDS; round++) {
        ok(hf_txn_begin(region, -1, &txn));
        unsigned many = 1 + random_below(&random, 6);
        for (unsigned i = 0; i < many; i++) {
            uint64_t slot = random_below(&random, SLOTS);
            hf_key key = {slot * UINT64_C(0x9e3779b97f4a7c15), &slot, sizeof slot};
            /* In one part of the time mostly small ones, in another mostly large ones. */
            unsigned most = round / 1000 % 2 == 0 ? 300 : LARGEST;
            size_t size = 1 + random_below(&random, random_below(&random, 4) == 0 ? most : most / 20);
            memset(bytes, round, size < 64 ? size : 64);
            if (random_below(&random, 4) == 0) {
                assert_true(hf_txn_remove(txn, 0, &key) >= 0);
                size = 0;
            } else {
                assert_true(hf_txn_put(txn, 0, &key, bytes, size) >= 0);
            }
            live += size - size_of_slot[slot];
            size_of_slot[slot] = size;
        }
        ok(hf_txn_commit(txn));
        worst_live = live > worst_live ? live : worst_live;
        uint64_t top = top_of(region);
        worst_top = top > worst_top ? top : worst_top;
        if (round == ROUNDS / 2)
            half = top;
        if (top > 3 * worst_live + CONSTANT)
            fail_msg("round %d: %llu bytes for %llu", round, (unsigned long long)top, (unsigned long long)worst_live);
    }
    print_message("%llu bytes at most, for %llu; %llu in the middle\n", (unsigned long long)worst_top,
                  (unsigned long long)worst_live, (unsigned long long)half);
    region_check(region);
    ok(hf_region_close(region));
}

/* -- writers who died -- */

static int die(int fd)
{
    _exit(hf_os_native.fdatasync(fd) == 0 ? 0 : 1);
}

/* A writer dies with its root on the disk, before it is published. It never was a version: the next writer takes it away,
 * though the state that it has from its own last commit is the newest. */
static void what_a_dead_writer_handed_over_is_taken_back(void **state)
{
    static struct hf_os deadly;
    hf_region *region = region_new(0), *cut;
    int status;
    /* Pages with room, for what is small. */
    for (uint64_t i = 1; i < 40; i++)
        put_all(region, 200, i);
    put_all(region, 200, 1);
    ok(hf_region_flush(region, -1));
    pid_t child = fork();
    if (child == 0) {
        its_own_death();
        deadly = hf_os_native;
        deadly.fdatasync = die;
        hf_txn *txn;
        must(hf_txn_begin(region, 0, &txn) == 0);
        for (uint64_t i = 0; i < 2000; i++)
            plain_put(txn, i, 2);
        region->file->level = HF_REGION_FULL;
        hf_os_replace(&deadly);
        hf_txn_commit(txn);
        _exit(2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    put_all(region, 1, 3);
    cut = after_a_power_cut(region);
    hf_view view;
    hf_region_stats stats;
    ok(hf_region_stats_get(cut, &stats));
    assert_false(stats.stepped_back);
    ok(hf_view_pin(cut, &view));
    assert_int_equal(hf_view_count(&view, 0), 200);
    for (uint64_t i = 0; i < 200; i++)
        assert_true(plain_is(&view, i, 1));
    hf_view_unpin(&view);
    region_check(cut);
    region_check(region);
    ok(hf_region_close(cut));
    ok(hf_region_close(region));
}

int main(void)
{
    the_nursery = 0;
    const struct CMUnitTest tests[] = {
        in_home(what_a_durable_version_keeps_is_left_alone, HOME_OFF),
        in_home(a_reader_that_stays_holds_one_version, HOME_OFF),
        in_home(a_reader_that_stays_holds_one_version, HOME_FULL),
        in_home(updates_without_readers_do_not_grow, HOME_FULL),
        in_home(updates_without_readers_do_not_grow, HOME_OFF),
        in_home(large_values_are_used_again, HOME_FULL),
        in_home(large_values_are_used_again, HOME_OFF),
        in_home(what_comes_and_goes, HOME_FULL),
        in_home(what_comes_and_goes, HOME_OFF),
        in_home(what_a_dead_writer_handed_over_is_taken_back, HOME_OFF),
    };
    return cmocka_run_group_tests_name("region/file_space", tests, NULL, NULL);
}

/*
 * What of a file is used again, and what is not: space in the long run, at every level; and what a version needs that a
 * power cut, or a reader without a slot, would bring back.
 */
#include "test_region_child.h"

enum { MANY = 100000, VALUE = 64 };

#define MEGABYTE (UINT64_C(1) << 20)

static hf_key plain_key(uint64_t number, char text[16])
{
    random_source random = {number};
    snprintf(text, 16, "k%011llu", (unsigned long long)number);
    return (hf_key){random_next(&random), text, 12};
}

static void plain_put(hf_txn *txn, uint64_t number, uint64_t version)
{
    char text[16];
    uint64_t value[VALUE / 8];
    hf_key key = plain_key(number, text);
    for (int i = 0; i < VALUE / 8; i++)
        value[i] = number * 31 + version + (uint64_t)i;
    assert_true(hf_txn_put(txn, 0, &key, value, sizeof value) >= 0);
}

static bool plain_is(const hf_view *view, uint64_t number, uint64_t version)
{
    char text[16];
    uint64_t value[VALUE / 8];
    hf_key key = plain_key(number, text);
    hf_span found;
    if (hf_view_get(view, 0, &key, &found) != 1 || found.size != sizeof value)
        return false;
    memcpy(value, found.bytes, sizeof value);
    for (int i = 0; i < VALUE / 8; i++)
        if (value[i] != number * 31 + version + (uint64_t)i)
            return false;
    return true;
}

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
    hf_region *region = region_new(0), *cut;
    hf_snapshot *snapshot;
    hf_txn *txn;
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
}

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
    const struct CMUnitTest tests[] = {
        in_home(what_a_durable_version_keeps_is_left_alone, HOME_OFF),
        in_home(what_a_dead_writer_handed_over_is_taken_back, HOME_OFF),
    };
    return cmocka_run_group_tests_name("region/file_space", tests, NULL, NULL);
}

/*
 * Copies of a region with kept versions: to another segment, to a file (a backup), and in the place of the file itself
 * (compaction). What is compared is every version, and that the copy is small.
 */
#include "test_region_support.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { KEPT = 3, STEPS = 400 };

static char folder[64];
static model kept[KEPT], now;

static const char *in_folder(const char *name)
{
    static char path[2][128];
    static int which;
    which = !which;
    snprintf(path[which], sizeof path[which], "%s/%s", folder, name);
    return path[which];
}

static hf_region *open_file(const char *name, hf_region_mode mode)
{
    /* Straight, so that there are holes. */
    hf_region_options options = {
        .mode = mode, .timeout = 1000000000, .level = HF_REGION_OFF, .nursery = HF_REGION_STRAIGHT};
    hf_region *region;
    ok(hf_region_open_file(in_folder(name), &options, &region));
    return region;
}

static void name_of(int i, char name[16])
{
    snprintf(name, 16, "kept %d", i);
}

/* Random changes, and now and then a version that is kept. */
static void fill(hf_region *region, uint64_t seed)
{
    random_source random = {seed};
    model_clear(&now);
    for (int i = 0; i < STEPS; i++) {
        hf_txn *txn;
        char name[16];
        ok(hf_txn_begin(region, -1, &txn));
        for (int j = 0; j < 10; j++) {
            int tree = (int)random_below(&random, TREES), key = (int)random_below(&random, KEYS);
            if (random_below(&random, 4) == 0)
                assert_true(both_remove(txn, &now, tree, key) >= 0);
            else
                assert_true(both_put(txn, &now, tree, key, (int)random_below(&random, VALUES)) >= 0);
        }
        for (int k = 0; k < KEPT; k++) {
            if (i != (k + 1) * 90)
                continue;
            name_of(k, name);
            ok(hf_txn_keep(txn, name));
            kept[k] = now;
        }
        ok(hf_txn_commit(txn));
    }
}

static void expect_all(hf_region *region)
{
    region_check(region);
    assert_true(region_is_model(region, &now));
    for (int k = 0; k < KEPT; k++) {
        hf_snapshot *snapshot;
        char name[16];
        name_of(k, name);
        ok(hf_snapshot_begin_kept(region, name, &snapshot));
        assert_true(view_is_model(hf_snapshot_view(snapshot), &kept[k]));
        hf_snapshot_end(snapshot);
    }
}

static void expect_no_others(int names)
{
    char command[128];
    snprintf(command, sizeof command, "test $(ls -A %s | wc -l) = %d", folder, names);
    assert_int_equal(system(command), 0);
}

static void a_backup_has_all_versions(void **state)
{
    hf_region *region = region_new(0), *backup;
    fill(region, 1);
    ok(hf_region_backup(region, in_folder("backup")));
    assert_int_equal(hf_region_backup(region, in_folder("backup")), HF_EXISTS);
    expect_no_others(1);
    struct stat found;
    assert_int_equal(stat(in_folder("backup"), &found), 0);
    assert_int_equal(found.st_mode & 07777, 0600);
    backup = open_file("backup", HF_REGION_ATTACH);
    hf_region_stats stats;
    ok(hf_region_stats_get(backup, &stats));
    assert_false(stats.recovered);
    expect_all(backup);
    ok(hf_region_close(backup));
    ok(hf_region_close(region));
    assert_int_equal(unlink(in_folder("backup")), 0);
    assert_int_equal(unlink(in_folder("backup-lock")), 0);
}

static void a_copy_to_another_segment(void **state)
{
    hf_region *region = open_file("source", HF_REGION_CREATE), *other = region_new(0), *file;
    fill(region, 2);
    assert_int_equal(hf_region_copy(region, other), HF_INVALID); /* keys are hashed otherwise there */
    ok(hf_region_backup(region, in_folder("twin")));
    file = open_file("twin", HF_REGION_ATTACH);
    assert_int_equal(hf_region_copy(region, file), HF_EXISTS);
    expect_all(file);
    ok(hf_region_close(file));
    ok(hf_region_close(other));
    ok(hf_region_close(region));
    for (int i = 0; i < 4; i++)
        unlink(in_folder((const char *[]){"twin", "twin-lock", "source", "source-lock"}[i]));
}

static void a_file_is_compacted(void **state)
{
    hf_region *region = open_file("file", HF_REGION_CREATE);
    fill(region, 3);
    assert_int_equal(hf_region_compact(in_folder("file"), 0), HF_BUSY);
    expect_all(region);
    uint64_t before = top_of(region);
    ok(hf_region_close(region));
    ok(hf_region_compact(in_folder("file"), 1000000000));
    expect_no_others(2);
    region = open_file("file", HF_REGION_ATTACH);
    expect_all(region);
    assert_true(top_of(region) < before);
    /* And goes on. */
    hf_txn *txn;
    ok(hf_txn_begin(region, -1, &txn));
    assert_true(both_put(txn, &now, 0, 5, 777) >= 0);
    ok(hf_txn_commit(txn));
    expect_all(region);
    ok(hf_region_close(region));
    assert_int_equal(unlink(in_folder("file")), 0);
    assert_int_equal(unlink(in_folder("file-lock")), 0);
}

/* By way of a symbolic link it is the file that is compacted, not the link; one of several names is refused. */
static void a_link_stays_a_link(void **state)
{
    char before[128];
    struct stat link_before, link_after, file_after;

    hf_region *region = open_file("file", HF_REGION_CREATE);
    fill(region, 5);
    ok(hf_region_close(region));
    assert_int_equal(mkdir(in_folder("other"), 0700), 0);
    assert_int_equal(symlink("../file", in_folder("other/link")), 0);
    assert_int_equal(lstat(in_folder("other/link"), &link_before), 0);
    ok(hf_region_compact(in_folder("other/link"), 1000000000));
    assert_int_equal(lstat(in_folder("other/link"), &link_after), 0);
    assert_true(S_ISLNK(link_after.st_mode) && link_after.st_ino == link_before.st_ino);
    assert_int_equal(stat(in_folder("other/link"), &link_after), 0);
    assert_int_equal(stat(in_folder("file"), &file_after), 0);
    assert_int_equal(link_after.st_ino, file_after.st_ino);
    region = open_file("file", HF_REGION_ATTACH);
    assert_true(region_is_model(region, &now));
    region_check(region);
    ok(hf_region_close(region));

    snprintf(before, sizeof before, "%s", in_folder("file"));
    assert_int_equal(link(before, in_folder("second")), 0);
    assert_int_equal(hf_region_compact(before, 1000000000), HF_DENIED);
    assert_int_equal(unlink(in_folder("second")), 0);
    assert_int_equal(unlink(in_folder("other/link")), 0);
    assert_int_equal(rmdir(in_folder("other")), 0); /* nothing was left there */
    assert_int_equal(unlink(before), 0);
    unlink(in_folder("file-lock"));
}

/* Somebody waits for the file while it is compacted: it gets the new one. */
static void who_waits_gets_the_compacted_file(void **state)
{
    hf_region *region = open_file("file", HF_REGION_CREATE);
    fill(region, 4);
    ok(hf_region_close(region));
    for (int round = 0; round < 20; round++) {
        pid_t child = fork();
        if (child == 0)
            _exit(hf_region_compact(in_folder("file"), 1000000000) == 0 ? 0 : 1);
        hf_region_options options = {.mode = HF_REGION_ATTACH, .timeout = -1};
        int status = hf_region_open_file(in_folder("file"), &options, &region);
        ok(status);
        assert_true(region_is_model(region, &now));
        ok(hf_region_close(region));
        int how;
        assert_int_equal(waitpid(child, &how, 0), child);
    }
    assert_int_equal(unlink(in_folder("file")), 0);
    unlink(in_folder("file-lock"));
}

/* A backup while others write is of one moment. */
static void a_backup_is_of_one_moment(void **state)
{
    hf_region *region = region_new(0), *backup;
    hf_txn *txn;
    model_clear(&now);
    pid_t child = fork();
    if (child == 0) {
        for (int value = 0;; value++) {
            if (hf_txn_begin(region, -1, &txn) < 0)
                _exit(1);
            for (int key = 0; key < 20; key++)
                if (both_put(txn, &now, 0, key, value % 80) < 0)
                    _exit(2);
            if (hf_txn_commit(txn) < 0)
                _exit(3);
        }
    }
    for (int round = 0; round < 10; round++) {
        usleep(5000);
        ok(hf_region_backup(region, in_folder("moment")));
        backup = open_file("moment", HF_REGION_ATTACH);
        region_check(backup);
        hf_view view;
        hf_span first = {0}, value;
        ok(hf_view_pin(backup, &view));
        for (int key = 0; key < 20; key++) {
            char text[64];
            hf_key k = key_of(key, text);
            int found = hf_view_get(&view, 0, &k, &value);
            if (key == 0 && found == 0)
                break;
            assert_int_equal(found, 1);
            if (key == 0)
                first = value;
            assert_int_equal(value.size, first.size); /* which tells the number */
        }
        hf_view_unpin(&view);
        ok(hf_region_close(backup));
        assert_int_equal(unlink(in_folder("moment")), 0);
        assert_int_equal(unlink(in_folder("moment-lock")), 0);
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    ok(hf_region_close(region));
}

static int make_folder(void **state)
{
    snprintf(folder, sizeof folder, "/dev/shm/hf-copy-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_backup_has_all_versions),
        cmocka_unit_test(a_copy_to_another_segment),
        cmocka_unit_test(a_file_is_compacted),
        cmocka_unit_test(a_link_stays_a_link),
        cmocka_unit_test(who_waits_gets_the_compacted_file),
        cmocka_unit_test(a_backup_is_of_one_moment),
    };
    return cmocka_run_group_tests_name("region/copy", tests, make_folder, remove_folder);
}

/*
 * test_region_recovery.c: what docs/recovery.md says of numbers, and of flushes that fail.
 *
 *      power cut     the lock file goes, and what the disk did not take for good: after a flush that failed, what had been
 *                    written before it is read back by all who look, and is not on the disk unless it is written again
 */
#include "region/file.h"
#include "region/region.h"

#include "test_child.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[64], path[128], lock_path[140];
static hf_region *region;

#define ok(status) assert_int_equal((status), 0)

/* -- a disk that fails -- */

/* What the disk has at places where what is read is something else. */
static struct piece {
    off_t at;
    size_t size;
    bool adrift;
    unsigned char had[HF_REGION_PAGE];
} pieces[] = {
    {HF_FILE_ROOT_AT, HF_REGION_PAGE, false, {0}},
    {HF_FILE_ROOT_AT + HF_REGION_PAGE, HF_REGION_PAGE, false, {0}},
    {HF_FILE_CLEAN_AT, sizeof(struct hf_clean), false, {0}},
};

static bool fail_flush, die_at_flush;

static ssize_t its_pwrite(int fd, const void *buffer, size_t size, off_t at)
{
    for (size_t i = 0; i < LENGTH(pieces); i++)
        if (at < pieces[i].at + (off_t)pieces[i].size && pieces[i].at < at + (off_t)size)
            pieces[i].adrift = false;
    return hf_os_native.pwrite(fd, buffer, size, at);
}

static int its_fdatasync(int fd)
{
    if (die_at_flush)
        _exit(EXIT_SUCCESS);
    if (!fail_flush)
        return hf_os_native.fdatasync(fd);
    fail_flush = false;
    for (size_t i = 0; i < LENGTH(pieces); i++)
        pieces[i].adrift = true;
    return -EIO;
}

/* The file system goes and comes: with another number. */
static uint64_t mounted_as = 1;

static int its_mount(int fd, uint64_t *out)
{
    *out = mounted_as;
    return 0;
}

static int a_disk(void **state)
{
    static struct hf_os os;

    os = hf_os_native;
    os.pwrite = its_pwrite;
    os.fdatasync = its_fdatasync;
    os.mount = its_mount;
    snprintf(folder, sizeof folder, "/tmp/hf-recovery-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/file", folder);
    snprintf(lock_path, sizeof lock_path, "%s-lock", path);
    fail_flush = die_at_flush = false;
    for (size_t i = 0; i < LENGTH(pieces); i++)
        pieces[i].adrift = false;
    hf_os_replace(&os);
    return 0;
}

static int no_disk(void **state)
{
    hf_os_replace(NULL);
    unlink(path);
    unlink(lock_path);
    return rmdir(folder);
}

/* All that is written so far is on the disk. */
static void note_disk(void)
{
    FILE *file = fopen(path, "rb");

    assert_non_null(file);
    for (size_t i = 0; i < LENGTH(pieces); i++) {
        assert_int_equal(fseek(file, (long)pieces[i].at, SEEK_SET), 0);
        assert_int_equal(fread(pieces[i].had, 1, pieces[i].size, file), pieces[i].size);
    }
    fclose(file);
}

/* Of who has it open, FILE goes away: what comes back after the cut is another one. */
static void power_cut(void)
{
    static unsigned char bytes[4 << 20];
    FILE *file = fopen(path, "rb");

    assert_non_null(file);
    size_t size = fread(bytes, 1, sizeof bytes, file);
    assert_true(size > 0 && size < sizeof bytes);
    fclose(file);
    for (size_t i = 0; i < LENGTH(pieces); i++)
        if (pieces[i].adrift)
            memcpy(bytes + pieces[i].at, pieces[i].had, pieces[i].size);
    unlink(path);
    unlink(lock_path);
    file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* -- a region -- */

static int open_region(enum hf_region_level level)
{
    return hf_region_open_file(path, &(hf_region_options){.mode = HF_REGION_EITHER, .level = level}, &region);
}

/* What is not durable is in FILE, too. */
static int open_straight(void)
{
    const hf_region_options options = {
        .mode = HF_REGION_EITHER, .level = HF_REGION_OFF, .nursery = HF_REGION_STRAIGHT};
    return hf_region_open_file(path, &options, &region);
}

static hf_key key_of(const char *name)
{
    return (hf_key){strlen(name), name, strlen(name)};
}

static int put(const char *name)
{
    hf_key key = key_of(name);
    hf_txn *txn;
    int status = hf_txn_begin(region, 0, &txn);

    if (status < 0)
        return status;
    status = hf_txn_put(txn, 0, &key, name, strlen(name));
    if (status >= 0)
        status = hf_txn_commit(txn);
    if (status < 0)
        hf_txn_abort(txn);
    return status;
}

static bool has(const char *name)
{
    hf_key key = key_of(name);
    hf_view view;
    hf_span value;

    ok(hf_view_pin(region, &view));
    int found = hf_view_get(&view, 0, &key, &value);
    hf_view_unpin(&view);
    assert_true(found >= 0);
    return found == 1;
}

static hf_region_stats stats_now(void)
{
    hf_region_stats stats;

    must(hf_region_stats_get(region, &stats) == 0);
    return stats;
}

/* What a child does before it is killed. */
/* -- numbers -- */

static int numbers[2];

static void tell_numbers(void)
{
    must(open_region(HF_REGION_OFF) == 0);
    for (int i = 0; i < 5; i++) {
        uint64_t txid;
        char name[32];
        snprintf(name, sizeof name, "%d of %d", i, (int)getpid());
        must(put(name) == 0);
        txid = stats_now().txid;
        must(write(numbers[1], &txid, sizeof txid) == sizeof txid);
    }
}

/* Power cut after power cut, with commits in between that are not durable: each version has a number of its own. */
static void test_no_number_twice(void **state)
{
    uint64_t txid, last = 0;

    ok(pipe(numbers));
    for (int cut = 0; cut < 4; cut++) {
        in_a_child(tell_numbers);
        power_cut();
    }
    close(numbers[1]);
    for (int i = 0; i < 4 * 5; i++) {
        assert_int_equal(read(numbers[0], &txid, sizeof txid), sizeof txid);
        assert_true(txid > last);
        last = txid;
    }
    close(numbers[0]);
}

/* Gives the newest version of a closed file another number. */
static void renumber(uint64_t txid)
{
    uint64_t page[HF_FILE_SLOTS][HF_REGION_PAGE / 8];
    struct hf_root *root, *first = (struct hf_root *)(void *)page[0];
    struct hf_clean clean;
    FILE *file = fopen(path, "r+b");

    assert_non_null(file);
    assert_int_equal(fseek(file, HF_FILE_ROOT_AT, SEEK_SET), 0);
    assert_int_equal(fread(page, sizeof page, 1, file), 1);
    assert_int_equal(fread(&clean, sizeof clean, 1, file), 1);
    root = (struct hf_root *)(void *)page[1];
    root = root->version.txid > first->version.txid ? root : first;
    root->version.txid = root->state.durable = txid;
    root->checksum = hf_root_checksum(root);
    clean.txid = txid;
    clean.root_checksum = root->checksum;
    clean.checksum = hf_checksum64(&clean, offsetof(struct hf_clean, checksum), HF_FILE_CLEAN_MAGIC);
    assert_int_equal(fseek(file, HF_FILE_ROOT_AT, SEEK_SET), 0);
    assert_int_equal(fwrite(page, sizeof page, 1, file), 1);
    assert_int_equal(fwrite(&clean, sizeof clean, 1, file), 1);
    assert_int_equal(fclose(file), 0);
}

/* A number that recovery may give is not given to what can be lost. */
static void test_numbers_of_recovery(void **state)
{
    const uint64_t step = UINT64_C(1) << HF_FILE_STEP_BITS;

    ok(open_region(HF_REGION_FULL));
    ok(put("one"));
    ok(hf_region_close(region));
    renumber(step - 2);
    ok(open_region(HF_REGION_OFF));
    assert_true(has("one"));
    ok(put("two"));
    assert_int_equal(stats_now().durable, step - 2);
    ok(put("three"));
    assert_int_equal(stats_now().durable, step);
    ok(put("four"));
    assert_int_equal(stats_now().durable, step);
    assert_int_equal(stats_now().txid, step + 1);
    ok(hf_region_close(region));
}

/* -- flushes that fail -- */

/* The clean mark is to go, and the flush fails. The mark must not be there again once there is something new. */
static void test_a_mark_that_stays_on_the_disk(void **state)
{
    ok(open_region(HF_REGION_FULL));
    ok(put("before"));
    ok(hf_region_close(region));
    note_disk();

    ok(open_region(HF_REGION_FULL));
    fail_flush = true;
    assert_int_equal(put("lost"), HF_BROKEN);
    assert_int_equal(hf_region_close(region), HF_BROKEN);
    ok(open_region(HF_REGION_FULL));
    ok(put("one"));
    hf_region *dead = region;
    power_cut();
    ok(open_region(HF_REGION_FULL));
    assert_true(has("before") && has("one") && !has("lost"));
    assert_true(stats_now().recovered);
    ok(hf_region_close(region));
    region = dead;
    ok(hf_region_close(region));
}

static void die_in_a_commit(void)
{
    must(open_region(HF_REGION_FULL) == 0);
    must(put("before") == 0);
    die_at_flush = true;
    put("dead");
}

/* A writer died with its root handed to the disk; that is removed, and the flush fails. Who then sees the version before
 * must go on seeing it. */
static void test_a_root_that_stays_on_the_disk(void **state)
{
    /* Somebody stays, or the next to open it would take the root as it is. */
    ok(open_region(HF_REGION_FULL));
    in_a_child(die_in_a_commit);
    note_disk();
    fail_flush = true;
    assert_int_equal(put("lost"), HF_BROKEN);
    assert_int_equal(hf_region_close(region), HF_BROKEN);
    ok(open_region(HF_REGION_FULL));
    assert_true(has("before") && !has("dead") && !has("lost"));
    hf_region *dead = region;
    power_cut();
    ok(open_region(HF_REGION_FULL));
    assert_true(has("before") && !has("dead") && !has("lost"));
    ok(hf_region_close(region));
    region = dead;
    ok(hf_region_close(region));
}

/* -- a disk that goes away and comes back, in the same boot -- */

static unsigned char saved[4 << 20];
static size_t saved_size;

/* As it was when the system last wrote it back. */
static void save(const char *name)
{
    FILE *file = fopen(name, "rb");

    must(file != NULL);
    saved_size = fread(saved, 1, sizeof saved, file);
    must(saved_size > 0 && saved_size < sizeof saved && fclose(file) == 0);
    file = fopen("saved", "wb");
    must(file != NULL && fwrite(saved, 1, saved_size, file) == saved_size && fclose(file) == 0);
}

static void go_back(const char *name)
{
    FILE *file = fopen("saved", "rb");

    assert_non_null(file);
    saved_size = fread(saved, 1, sizeof saved, file);
    ok(fclose(file));
    file = fopen(name, "r+b");
    assert_non_null(file);
    assert_int_equal(fwrite(saved, 1, saved_size, file), saved_size);
    ok(fclose(file));
    ok(unlink("saved"));
}

static void commit_and_lose(void)
{
    must(open_straight() == 0);
    must(put("before") == 0 && hf_region_flush(region, 0) == 0);
    save(path);
    must(put("lost") == 0 && put("lost too") == 0);
}

/* FILE-lock was written back, and says more than FILE has. */
static void test_a_file_that_is_older(void **state)
{
    hf_region_fault fault;

    ok(chdir(folder));
    in_a_child(commit_and_lose);
    mounted_as++;
    go_back(path);
    for (int i = 0; i < 3; i++) {
        ok(open_region(HF_REGION_FULL));
        assert_true(has("before") && !has("lost") && !has("lost too") && has("after") == (i > 0));
        assert_int_equal(stats_now().recovered, i == 0);
        ok(hf_region_check(region, 0, &fault));
        assert_true(put("after") >= 0);
        ok(hf_region_close(region));
    }
    ok(chdir("/"));
}

/* What FILE-lock says is in FILE-lock: nothing is lost. */
static void commit_and_lose_nothing(void)
{
    must(open_region(HF_REGION_OFF) == 0);
    must(put("before") == 0 && hf_region_flush(region, 0) == 0);
    save(path);
    must(put("after") == 0);
}

static void test_a_file_that_is_older_and_whole(void **state)
{
    hf_region_fault fault;

    ok(chdir(folder));
    in_a_child(commit_and_lose_nothing);
    mounted_as++;
    go_back(path);
    for (int i = 0; i < 2; i++) {
        ok(open_region(HF_REGION_FULL));
        assert_true(has("before") && has("after"));
        ok(hf_region_check(region, 0, &fault));
        ok(hf_region_close(region));
    }
    ok(chdir("/"));
}

/* FILE-lock was written back, but not all of its nursery. */
static void test_a_nursery_that_is_older(void **state)
{
    ok(chdir(folder));
    in_a_child(commit_and_lose_nothing);
    mounted_as++;
    ok(unlink("saved"));
    int fd = open(lock_path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    static const char zeros[HF_REGION_PAGE];
    assert_int_equal(pwrite(fd, zeros, sizeof zeros, HF_FILE_CONTROL_SIZE), sizeof zeros);
    ok(close(fd));
    ok(open_region(HF_REGION_OFF));
    assert_true(has("before") && !has("after"));
    assert_int_equal(stats_now().recovered, 1);
    /* The new lock file has no nursery yet, whatever the one before had: the first commit goes to FILE, for its number. */
    assert_true(put("one") >= 0 && put("two") >= 0 && has("two"));
    ok(hf_region_close(region));
    ok(chdir("/"));
}

/* Where the mount is the same, and still there, nothing can have been lost. */
static void test_whether_the_mount_stayed(void **state)
{
    ok(chdir(folder));
    for (int stayed = 0; stayed < 2; stayed++) {
        in_a_child(commit_and_lose_nothing);
        mounted_as += stayed == 0;
        ok(unlink("saved"));
        ok(open_region(HF_REGION_OFF));
        assert_int_equal(region->file->control.mounted, stayed);
        assert_true(has("before") && has("after"));
        ok(hf_region_close(region));
        ok(unlink(path));
    }
    ok(chdir("/"));
}

static void commit_twice(void)
{
    must(open_region(HF_REGION_FULL) == 0);
    must(put("one") == 0);
    save(lock_path);
    must(put("two") == 0);
}

/* FILE-lock was not written back, and knows nothing of a commit that was durable. */
static void test_a_lock_file_that_is_older(void **state)
{
    ok(chdir(folder));
    in_a_child(commit_twice);
    mounted_as++;
    go_back(lock_path);
    for (int i = 0; i < 2; i++) {
        ok(open_region(HF_REGION_FULL));
        assert_true(has("one") && has("two"));
        ok(hf_region_close(region));
    }
    ok(chdir("/"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_number_twice, a_disk, no_disk),
        cmocka_unit_test_setup_teardown(test_numbers_of_recovery, a_disk, no_disk),
        cmocka_unit_test_setup_teardown(test_a_mark_that_stays_on_the_disk, a_disk, no_disk),
        cmocka_unit_test_setup_teardown(test_a_root_that_stays_on_the_disk, a_disk, no_disk),
        cmocka_unit_test_setup_teardown(test_a_file_that_is_older, a_disk, no_disk),
        cmocka_unit_test_setup_teardown(test_a_file_that_is_older_and_whole, a_disk, no_disk),
        cmocka_unit_test_setup_teardown(test_a_nursery_that_is_older, a_disk, no_disk),
        cmocka_unit_test_setup_teardown(test_whether_the_mount_stayed, a_disk, no_disk),
        cmocka_unit_test_setup_teardown(test_a_lock_file_that_is_older, a_disk, no_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

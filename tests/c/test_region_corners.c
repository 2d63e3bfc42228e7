/*
 * Corners of a region in a file: names, a fork in the middle of an opening, a close beside a writer who has stopped, a root
 * that is written again while a reader recovers.
 */
#include "test_region_support.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char path[96];

static int begin(void **state)
{
    (void)state;
    file_name(path);
    return 0;
}

static int end(void **state)
{
    (void)state;
    hf_os_replace(NULL);
    files_remove();
    return 0;
}

static int open_at(const char *name, hf_region_mode mode, hf_region **out)
{
    const hf_region_options options = {.mode = mode, .timeout = 0, .reserve = 64 << 20, .level = HF_REGION_OFF};
    return hf_region_open_file(name, &options, out);
}

static int set_number(hf_region *region, int key, int value)
{
    char text[64];
    hf_key k = key_of(key, text);
    hf_txn *txn;
    ok(hf_txn_begin(region, -1, &txn));
    assert_true(hf_txn_put(txn, 0, &k, &value, sizeof value) >= 0);
    return hf_txn_commit(txn);
}

static int number_at(hf_region *region, int key)
{
    char text[64];
    hf_key k = key_of(key, text);
    hf_view view;
    hf_span value;
    int number = ABSENT;
    ok(hf_view_pin(region, &view));
    int found = hf_view_get(&view, 0, &k, &value);
    assert_true(found >= 0);
    if (found == 1)
        memcpy(&number, value.bytes, sizeof number);
    hf_view_unpin(&view);
    return number;
}

/* -- names -- */

static unsigned count_files(void)
{
    unsigned count = 0;
    struct dirent *entry;
    DIR *folder = opendir(files_in);
    assert_non_null(folder);
    while ((entry = readdir(folder)) != NULL)
        count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}

/* Up to 250 bytes there is room for the lock file's name; beyond, nothing is made. */
static void test_long_names(void **state)
{
    (void)state;
    char name[400];
    int folder = snprintf(name, sizeof name, "%s/", files_in);
    for (int length = 230; length <= 260; length++) {
        hf_region *region;
        memset(name + folder, 'n', (size_t)length);
        name[folder + length] = '\0';
        int status = open_at(name, HF_REGION_EITHER, &region);
        assert_int_equal(status, length <= 250 ? 0 : HF_INVALID);
        if (length <= 250) {
            ok(set_number(region, 1, length));
            ok(hf_region_close(region));
            ok(hf_region_compact(name, -1));
            ok(open_at(name, HF_REGION_ATTACH, &region));
            assert_int_equal(number_at(region, 1), length);
            ok(hf_region_close(region));
        }
        assert_int_equal(open_at(name, HF_REGION_CREATE, &region), length <= 250 ? HF_EXISTS : HF_INVALID);
        files_remove();
        assert_int_equal(count_files(), 0);
    }
}

/* What a killed maker of a long name leaves is found by the next. */
static void test_long_names_are_swept(void **state)
{
    (void)state;
    char name[400], left[400];
    hf_region *region;
    int folder = snprintf(name, sizeof name, "%s/", files_in);
    memset(name + folder, 'n', 250);
    name[folder + 250] = '\0';
    snprintf(left, sizeof left, "%.*s.new-0123456789abcdef", folder + 229, name);
    int fd = open(left, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    ok(open_at(name, HF_REGION_EITHER, &region));
    assert_int_equal(access(left, F_OK), -1);
    ok(hf_region_close(region));
}

static void test_links_that_lead_nowhere(void **state)
{
    (void)state;
    char link[112], second[112];
    hf_region *region, *again;
    struct stat found;
    snprintf(link, sizeof link, "%s-a", path);
    snprintf(second, sizeof second, "%s-b", path);
    ok(symlink(strrchr(path, '/') + 1, link)); /* relative, to its own folder */
    ok(symlink(link, second));
    assert_int_equal(open_at(second, HF_REGION_ATTACH, &region), HF_ABSENT);
    assert_int_equal(open_at(second, HF_REGION_CREATE, &region), HF_EXISTS);
    assert_int_equal(access(path, F_OK), -1);
    ok(open_at(second, HF_REGION_EITHER, &region));
    ok(lstat(path, &found));
    assert_true(S_ISREG(found.st_mode));
    ok(set_number(region, 1, 7));
    ok(open_at(path, HF_REGION_ATTACH, &again));
    assert_int_equal(number_at(again, 1), 7);
    ok(hf_region_close(again));
    ok(hf_region_close(region));
    unlink(path);
    /* And a folder that is not there. */
    unlink(link);
    ok(symlink("no-such-folder/region", link));
    assert_int_equal(open_at(second, HF_REGION_EITHER, &region), HF_ABSENT);
    unlink(link);
    ok(symlink(second, link)); /* in a circle */
    assert_true(open_at(second, HF_REGION_EITHER, &region) < 0);
}

/* -- a fork in the middle of an opening -- */

static struct {
    const struct hf_os *before;
    struct hf_os os;
    int hold; /* what the child reads from, until it is told to end */
    pid_t child;
    bool done;
} forking;

/* When the lock file is given its pages: all locks are there. */
static int fallocate_and_fork(int fd, int mode, off_t at, off_t length)
{
    if (!forking.done) {
        forking.done = true;
        forking.child = fork();
        if (forking.child == 0) {
            char byte;
            alarm(60);
            while (read(forking.hold, &byte, 1) < 0)
                ;
            _exit(0);
        }
    }
    return hf_os_native.fallocate(fd, mode, at, length);
}

/* A process that is forked by another thread while a file is being opened has the descriptions of that opening. It must not
 * keep their locks when its parent is dead. (Here the thread that opens forks, from within a call: the same to all.) */
static void test_a_fork_in_an_opening_keeps_no_locks(void **state)
{
    (void)state;
    int hold[2], status;
    char byte;
    hf_region *region;
    ok(open_at(path, HF_REGION_CREATE, &region));
    ok(hf_region_close(region));
    ok(pipe(hold));
    pid_t parent = fork();
    assert_true(parent >= 0);
    if (parent == 0) {
        hf_view view;
        close(hold[1]);
        forking.hold = hold[0];
        forking.os = hf_os_native;
        forking.os.fallocate = fallocate_and_fork;
        hf_os_replace(&forking.os);
        if (open_at(path, HF_REGION_ATTACH, &region) != 0 || !forking.done || set_number(region, 1, 3) != 0 ||
            hf_view_pin(region, &view) != 0)
            _exit(1);
        _exit(0); /* as if killed */
    }
    assert_int_equal(waitpid(parent, &status, 0), parent);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = HF_REGION_LOCK_CREATE};
    ok(fcntl(fd, F_OFD_GETLK, &all));
    assert_int_equal(all.l_type, F_UNLCK);
    close(fd);
    char lock[112];
    snprintf(lock, sizeof lock, "%s-lock", path);
    fd = open(lock, O_RDWR | O_CLOEXEC);
    all = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = HF_REGION_LOCK_SLOTS};
    ok(fcntl(fd, F_OFD_GETLK, &all));
    assert_int_equal(all.l_type, F_UNLCK);
    close(fd);
    ok(open_at(path, HF_REGION_ATTACH, &region));
    assert_int_equal(number_at(region, 1), 3);
    ok(hf_region_close(region));
    close(hold[1]); /* the grandchild ends */
    assert_int_equal(read(hold[0], &byte, 1), 0);
    close(hold[0]);
}

/* -- a close beside a writer who has stopped -- */

static void test_a_close_does_not_wait_for_ever(void **state)
{
    (void)state;
    const hf_region_options options = {
        .mode = HF_REGION_EITHER, .timeout = -1, .reserve = 64 << 20, .level = HF_REGION_OFF, .patience = 50000000};
    int ready[2], status;
    char byte;
    hf_region *region;
    hf_region_stats stats;
    ok(hf_region_open_file(path, &options, &region));
    ok(set_number(region, 1, 1));
    ok(hf_region_flush(region, -1));
    ok(set_number(region, 1, 2)); /* not durable */
    ok(pipe(ready));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        hf_txn *txn;
        hf_region *own;
        if (hf_region_open_file(path, &options, &own) != 0 || hf_txn_begin(own, -1, &txn) != 0 ||
            write(ready[1], "", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    ok(kill(child, SIGSTOP));
    alarm(60);
    assert_int_equal(hf_region_close(region), HF_TIMEOUT);
    alarm(0);
    ok(kill(child, SIGKILL));
    assert_int_equal(waitpid(child, &status, 0), child);
    close(ready[0]);
    close(ready[1]);
    /* Nothing was lost, durable or not: the lock file has it. */
    ok(hf_region_open_file(path, &options, &region));
    assert_int_equal(number_at(region, 1), 2);
    ok(set_number(region, 1, 3));
    region_check(region);
    ok(hf_region_stats_get(region, &stats));
    ok(hf_region_close(region));
    ok(hf_region_open_file(path, &options, &region));
    assert_int_equal(number_at(region, 1), 3);
    ok(hf_region_stats_get(region, &stats));
    assert_false(stats.recovered);
    ok(hf_region_close(region));
}

/* -- a root that is written again while a reader recovers -- */

static uint64_t torn_at;

/* Whoever asks for writers has looked at the roots. Now one of them is written again, and half of that is there. */
static int lock_and_tear(int fd, int command, struct flock *how)
{
    if (command == F_OFD_GETLK && torn_at != 0) {
        struct hf_version version;
        int file = open(path, O_RDWR | O_CLOEXEC);
        off_t at = (off_t)(torn_at + offsetof(struct hf_root, version));
        torn_at = 0;
        assert_int_equal(pread(file, &version, sizeof version, at), sizeof version);
        version.txid += 2;
        version.trees[0].count += 100;
        assert_int_equal(pwrite(file, &version, sizeof version, at), sizeof version);
        close(file);
    }
    return hf_os_native.lock(fd, command, how);
}

static void test_a_root_is_copied_and_then_verified(void **state)
{
    (void)state;
    const hf_region_options reading = {.timeout = -1, .reserve = 64 << 20, .read_only = true};
    struct hf_os os = hf_os_native;
    hf_region *region;
    hf_view view;
    char lock[112];
    int status;
    /* Two durable versions, and nobody closed it; the older slot is gone, so that the reader asks for writers. */
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (open_at(path, HF_REGION_CREATE, &region) != 0 || set_number(region, 1, 5) != 0 ||
            hf_region_flush(region, -1) != 0)
            _exit(1);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 0);
    snprintf(lock, sizeof lock, "%s-lock", path);
    ok(unlink(lock));
    int file = open(path, O_RDWR | O_CLOEXEC);
    char zeros[HF_REGION_PAGE] = {0};
    assert_int_equal(pwrite(file, zeros, sizeof zeros, HF_FILE_ROOT_AT), sizeof zeros);
    close(file);
    torn_at = HF_FILE_ROOT_AT + HF_REGION_PAGE;
    os.lock = lock_and_tear;
    hf_os_replace(&os);
    ok(hf_region_open_file(path, &reading, &region));
    hf_os_replace(NULL);
    assert_int_equal(torn_at, 0); /* it was */
    ok(hf_view_pin(region, &view));
    assert_int_equal(hf_view_count(&view, 0), 1);
    hf_view_unpin(&view);
    assert_int_equal(number_at(region, 1), 5);
    ok(hf_region_close(region));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_long_names, begin, end),
        cmocka_unit_test_setup_teardown(test_long_names_are_swept, begin, end),
        cmocka_unit_test_setup_teardown(test_links_that_lead_nowhere, begin, end),
        cmocka_unit_test_setup_teardown(test_a_fork_in_an_opening_keeps_no_locks, begin, end),
        cmocka_unit_test_setup_teardown(test_a_close_does_not_wait_for_ever, begin, end),
        cmocka_unit_test_setup_teardown(test_a_root_is_copied_and_then_verified, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

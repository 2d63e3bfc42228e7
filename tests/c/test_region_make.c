/*
 * test_region_make.c: makers of a file who are killed in the middle, and what sweeps up after them (file_make.c).
 *
 * The n-th call of a kind is where a child kills itself, or stops: `at`.
 */
#include "test_region_support.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char folder[64], path[96], lock_path[112];

static int begin(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/hf-make-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/region", folder);
    snprintf(lock_path, sizeof lock_path, "%s-lock", path);
    return 0;
}

static int end(void **state)
{
    char name[400];
    struct dirent *entry;
    DIR *listing = opendir(folder);
    (void)state;
    while (listing != NULL && (entry = readdir(listing)) != NULL) {
        snprintf(name, sizeof name, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.' && unlink(name) < 0)
            rmdir(name);
    }
    closedir(listing);
    return rmdir(folder);
}

/* How many names with ".new-" there are; the last of them goes to `found`. */
static int count_others(char found[400])
{
    int count = 0;
    struct dirent *entry;
    DIR *listing = opendir(folder);
    assert_non_null(listing);
    while ((entry = readdir(listing)) != NULL)
        if (strstr(entry->d_name, ".new-") != NULL) {
            count++;
            if (found != NULL)
                snprintf(found, 400, "%s/%s", folder, entry->d_name);
        }
    closedir(listing);
    return count;
}

/* -- where it ends -- */

enum { LOCK, WRITE, HALF, FLUSH, RENAME };

static struct {
    int call;
    int after; /* so many that go well */
    int signal;
} at;

static void here(int call)
{
    if (at.call == call && at.after-- == 0)
        raise(at.signal);
}

static int dying_lock(int fd, int command, struct flock *lock)
{
    here(LOCK);
    return hf_os_native.lock(fd, command, lock);
}

static ssize_t dying_pwrite(int fd, const void *buffer, size_t size, off_t where)
{
    here(WRITE);
    if (at.call == HALF && at.after == 0)
        hf_os_native.pwrite(fd, buffer, size / 2, where);
    here(HALF);
    return hf_os_native.pwrite(fd, buffer, size, where);
}

static int dying_fsync(int fd)
{
    here(FLUSH);
    return hf_os_native.fsync(fd);
}

static int dying_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    here(RENAME);
    return hf_os_native.renameat2(from_dir, from, to_dir, to, flags);
}

static int dying_rename(const char *from, const char *to)
{
    here(RENAME);
    return hf_os_native.rename(from, to);
}

/* A child that runs this, and ends, or stops, on the way. */
static pid_t child_that(void (*run)(void), int call, int after, int signal_there)
{
    static struct hf_os table;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child > 0)
        return child;
    table = hf_os_native;
    table.lock = dying_lock;
    table.pwrite = dying_pwrite;
    table.fsync = dying_fsync;
    table.renameat2 = dying_renameat2;
    table.rename = dying_rename;
    hf_os_replace(&table);
    at.call = call;
    at.after = after;
    at.signal = signal_there;
    run();
    _exit(0);
}

/* Was it killed? false: it came to its end. */
static bool was_killed(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static int create(hf_region **out)
{
    const hf_region_options options = {.mode = HF_REGION_EITHER, .timeout = -1, .reserve = 64 << 20};
    return hf_region_open_file(path, &options, out);
}

static void create_and_close(void)
{
    hf_region *region;
    if (create(&region) < 0 || hf_region_close(region) < 0)
        _exit(1);
}

/* The next one finds nothing in its way, and leaves nothing. */
static void expect_a_region(void)
{
    hf_region *region;
    ok(create(&region));
    region_check(region);
    ok(hf_region_close(region));
    assert_int_equal(count_others(NULL), 0);
}

/* -- the tests -- */

static void test_killed_in_the_middle(void **state)
{
    static const struct {
        int call, after, left;
    } cases[] = {{LOCK, 0, 1}, {WRITE, 0, 1}, {HALF, 0, 1}, {FLUSH, 0, 1}, {RENAME, 0, 1}, {FLUSH, 1, 0}};
    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        assert_true(was_killed(child_that(create_and_close, cases[i].call, cases[i].after, SIGKILL)));
        assert_int_equal(count_others(NULL), cases[i].left);
        assert_int_equal(access(path, F_OK), cases[i].left ? -1 : 0);
        expect_a_region();
        unlink(path);
        unlink(lock_path);
    }
    /* Many of them, and all are swept away at once. */
    for (int i = 0; i < 20; i++)
        assert_true(was_killed(child_that(create_and_close, FLUSH, 0, SIGKILL)));
    /* Each has swept away the one before. */
    assert_int_equal(count_others(NULL), 1);
    expect_a_region();
}

/* One that is stopped is alive: nobody takes its file, and it goes on. */
static void test_another_maker_is_left_alone(void **state)
{
    static const int calls[] = {WRITE, HALF, FLUSH, RENAME};
    char other[400];
    int status;
    (void)state;
    for (size_t i = 0; i < LENGTH(calls); i++) {
        for (int kill_it = 0; kill_it < 2; kill_it++) {
            hf_region *region;
            pid_t child = child_that(create_and_close, calls[i], 0, SIGSTOP);
            assert_int_equal(waitpid(child, &status, WUNTRACED), child);
            assert_true(WIFSTOPPED(status));
            assert_int_equal(count_others(other), 1);
            ok(create(&region));
            assert_int_equal(count_others(NULL), 1);
            assert_int_equal(access(other, F_OK), 0);
            if (kill_it)
                kill(child, SIGKILL);
            kill(child, SIGCONT);
            assert_int_equal(was_killed(child), kill_it);
            assert_int_equal(count_others(NULL), kill_it);
            ok(hf_region_close(region));
            /* The maker was not alone, so FILE is there: its next opener sweeps. */
            expect_a_region();
            unlink(path);
            unlink(lock_path);
        }
    }
}

/* A sweeper that comes between a maker's file and its lock: the maker makes another one. */
static char swept_name[400];

static int sweeping_lock(int fd, int command, struct flock *lock)
{
    if (lock->l_start == HF_CONTROL_LOCK_MAKER && swept_name[0] == '\0') {
        assert_int_equal(count_others(swept_name), 1);
        hf_file_sweep(path);
        assert_int_equal(access(swept_name, F_OK), -1);
    }
    return hf_os_native.lock(fd, command, lock);
}

static void test_swept_before_it_is_locked(void **state)
{
    static struct hf_os table;
    hf_region *region;
    (void)state;
    table = hf_os_native;
    table.lock = sweeping_lock;
    swept_name[0] = '\0';
    hf_os_replace(&table);
    ok(create(&region));
    hf_os_replace(NULL);
    assert_true(swept_name[0] != '\0');
    ok(hf_region_close(region));
    expect_a_region();
}

static void write_file(const char *suffix, const void *bytes, size_t size)
{
    char name[400];
    snprintf(name, sizeof name, "%s%s", path, suffix);
    int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), size);
    close(fd);
}

static bool is_there(const char *suffix)
{
    char name[400];
    struct stat found;
    snprintf(name, sizeof name, "%s%s", path, suffix);
    return lstat(name, &found) == 0;
}

static void test_what_is_not_swept(void **state)
{
    static const char *const stay[] = {
        ".new-0123456789abcdeg",      ".new-0123456789abcde",  ".new-0123456789abcdef0", "2.new-0123456789abcdef",
        ".new-0123456789abcdef-lock", ".new-000000000000000b", ".new-000000000000000c",  ".new-000000000000000d"};
    static const char *const go[] = {".new-0000000000000001", ".new-0000000000000002", ".new-0000000000000003",
                                     ".new-0000000000000003-lock"};
    const uint64_t magic = HF_FILE_MAGIC, zero[2] = {0};
    char name[400];
    (void)state;
    for (size_t i = 0; i < 5; i++)
        write_file(stay[i], "", 0);
    write_file(stay[5], "somebody else's", 15);
    snprintf(name, sizeof name, "%s%s", path, stay[6]);
    assert_int_equal(symlink("region2.new-0123456789abcdef", name), 0);
    snprintf(name, sizeof name, "%s%s", path, stay[7]);
    assert_int_equal(mkdir(name, 0700), 0);
    write_file(go[0], "", 0);
    write_file(go[1], &magic, sizeof magic);
    write_file(go[2], zero, sizeof zero);
    write_file(go[3], "", 0);
    hf_file_sweep(path);
    for (size_t i = 0; i < LENGTH(stay); i++)
        assert_true(is_there(stay[i]));
    for (size_t i = 0; i < LENGTH(go); i++)
        assert_false(is_there(go[i]));
}

/* -- copies -- */

static void backup_and_close(void)
{
    hf_region *region;
    char name[400];
    snprintf(name, sizeof name, "%s-backup", path);
    if (create(&region) < 0 || hf_region_backup(region, name) < 0 || hf_region_close(region) < 0)
        _exit(1);
}

static void compact(void)
{
    if (hf_region_compact(path, -1) < 0)
        _exit(1);
}

static void test_killed_in_a_copy(void **state)
{
    char name[400];
    int killed = 0;
    (void)state;
    expect_a_region();
    for (int after = 0; was_killed(child_that(compact, FLUSH, after, SIGKILL)); after++, killed++)
        expect_a_region();
    assert_true(killed > 1);
    assert_true(was_killed(child_that(compact, RENAME, 0, SIGKILL)));
    assert_int_equal(count_others(NULL), 1);
    expect_a_region();
    for (int after = 0; was_killed(child_that(compact, WRITE, after, SIGKILL)); after++, killed++)
        expect_a_region();
    /* A backup's are of another name; the next backup sweeps. */
    snprintf(name, sizeof name, "%s-backup", path);
    for (int after = 0; was_killed(child_that(backup_and_close, WRITE, after, SIGKILL)); after++, killed++)
        assert_true(count_others(NULL) <= 2); /* and a lock file */
    assert_true(killed > 4);
    assert_int_equal(count_others(NULL), 0);
    assert_int_equal(access(name, F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_killed_in_the_middle, begin, end),
        cmocka_unit_test_setup_teardown(test_another_maker_is_left_alone, begin, end),
        cmocka_unit_test_setup_teardown(test_swept_before_it_is_locked, begin, end),
        cmocka_unit_test_setup_teardown(test_what_is_not_swept, begin, end),
        cmocka_unit_test_setup_teardown(test_killed_in_a_copy, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

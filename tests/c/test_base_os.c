/*
 * The table of OS calls. Three parts: every call through a double, with each kind of
 * fault at each place; the native table against the kernel, results and errors; and the
 * helpers under interrupts, short transfers and failures.
 *
 * Each call has a function here that makes it with harmless arguments. The lists are filled
 * from HF_OS_LIST, so a new call without a test does not compile.
 */
#include "base/os.h"

#include <holdfast/status.h>

#include "cm.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE 64 /* of the transfers that the call_ functions ask for */

static char scratch[] = "/tmp/holdfast-os-XXXXXX";

static int restore(void **state)
{
    hf_fault_disarm();
    hf_os_replace(NULL);
    return 0;
}

/* A double: counts, remembers how much was asked for, and succeeds. */

static unsigned double_calls[HF_OS_SITES_END];
static size_t double_size;

#define DOUBLE_CALL(result, name, parameters) \
    static result double_##name parameters    \
    {                                         \
        double_calls[HF_OS_SITE_##name]++;    \
        return 0;                             \
    }
#define DOUBLE_RELEASE DOUBLE_CALL
#define DOUBLE_SURE DOUBLE_CALL
#define DOUBLE_TRANSFER(result, name, parameters) \
    static result double_##name parameters        \
    {                                             \
        double_calls[HF_OS_SITE_##name]++;        \
        double_size = size;                       \
        return (result)size;                      \
    }
#define ROW(kind, result, name, parameters, arguments) DOUBLE_##kind(result, name, parameters)
HF_OS_LIST(ROW)
#undef ROW

static const struct hf_os double_table = {
#define ROW(kind, result, name, parameters, arguments) .name = double_##name,
    HF_OS_LIST(ROW)
#undef ROW
};

/* Every call, with arguments that the double does not look at. */

static long call_open(void)
{
    return hf_os_open("", O_RDONLY, 0);
}

static long call_openat(void)
{
    return hf_os_openat(-1, "x", O_RDONLY, 0);
}

static long call_close(void)
{
    return hf_os_close(-1);
}

static long call_pread(void)
{
    char buffer[SIZE];

    return hf_os_pread(-1, buffer, SIZE, 0);
}

static long call_pwrite(void)
{
    char buffer[SIZE] = {0};

    return hf_os_pwrite(-1, buffer, SIZE, 0);
}

static long call_ftruncate(void)
{
    return hf_os_ftruncate(-1, 0);
}

static long call_fchmod(void)
{
    return hf_os_fchmod(-1, 0600);
}

static long call_mount(void)
{
    uint64_t out;

    return hf_os_mount(-1, &out);
}

static long call_fallocate(void)
{
    return hf_os_fallocate(-1, 0, 0, 1);
}

static long call_getrlimit(void)
{
    struct rlimit out;

    return hf_os_getrlimit(1000, &out);
}

static long call_fsync(void)
{
    return hf_os_fsync(-1);
}

static long call_fdatasync(void)
{
    return hf_os_fdatasync(-1);
}

static long call_fstat(void)
{
    struct stat out;

    return hf_os_fstat(-1, &out);
}

static long call_fstatat(void)
{
    struct stat out;

    return hf_os_fstatat(-1, "x", &out, 0);
}

static long call_fstatfs(void)
{
    struct statfs out;

    return hf_os_fstatfs(-1, &out);
}

static long call_munmap(void)
{
    return hf_os_munmap(scratch, 0);
}

static long call_madvise(void)
{
    return hf_os_madvise(NULL, 1, -1);
}

static long call_rename(void)
{
    return hf_os_rename("", "");
}

static long call_renameat2(void)
{
    return hf_os_renameat2(-1, "x", -1, "y", 0);
}

static long call_link(void)
{
    return hf_os_link("", "");
}

static long call_linkat(void)
{
    return hf_os_linkat(-1, "x", -1, "y", 0);
}

static long call_unlink(void)
{
    return hf_os_unlink("");
}

static long call_unlinkat(void)
{
    return hf_os_unlinkat(-1, "x", 0);
}

static long call_readlinkat(void)
{
    char buffer[SIZE];

    return hf_os_readlinkat(-1, "x", buffer, SIZE);
}

static long call_mkdir(void)
{
    return hf_os_mkdir("", 0700);
}

static long call_flock(void)
{
    return hf_os_flock(-1, LOCK_SH);
}

static long call_shm_open(void)
{
    return hf_os_shm_open("/holdfast-there-is-none", O_RDONLY, 0);
}

static long call_shm_unlink(void)
{
    return hf_os_shm_unlink("/holdfast-there-is-none");
}

static long call_getrandom(void)
{
    char buffer[SIZE];

    return hf_os_getrandom(buffer, SIZE, ~0u);
}

static long call_clock_gettime(void)
{
    struct timespec out;

    return hf_os_clock_gettime((clockid_t)1000, &out);
}

static long call_nanosleep(void)
{
    const struct timespec negative = {.tv_sec = -1};

    return hf_os_nanosleep(&negative, NULL);
}

static long call_getpid(void)
{
    return hf_os_getpid();
}

static long call_geteuid(void)
{
    return (long)hf_os_geteuid();
}

static long call_mmap(void)
{
    void *out;

    return hf_os_mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &out);
}

static long call_lock(void)
{
    struct flock lock = {.l_type = F_RDLCK};

    return hf_os_lock(-1, F_OFD_SETLK, &lock);
}

static long call_opendir(void)
{
    struct hf_os_dir *out;

    return hf_os_opendir("", &out);
}

static long call_readdir(void)
{
    char name[HF_OS_NAME_SIZE];

    return hf_os_readdir(NULL, name);
}

static long call_closedir(void)
{
    return hf_os_closedir(NULL);
}

enum kind { CALL, RELEASE, TRANSFER, SURE };

static const struct {
    const char *name;
    enum kind kind;
    long (*call)(void);
} calls[HF_OS_SITES_END] = {
#define ROW(kind, result, name, parameters, arguments) [HF_OS_SITE_##name] = {#name, kind, call_##name},
    HF_OS_LIST(ROW)
#undef ROW
};

#define EVERY_SITE(site)               \
    unsigned site = HF_FAULT_FIRST_OS; \
    site < HF_OS_SITES_END;            \
    site++

/* Through the double. */

static void the_table_can_be_replaced(void **state)
{
    assert_ptr_equal(hf_os_replace(&double_table), &hf_os_native);
    memset(double_calls, 0, sizeof(double_calls));
    for (EVERY_SITE(site)) {
        assert_int_equal(calls[site].call(), calls[site].kind == TRANSFER ? SIZE : 0);
        assert_int_equal(double_calls[site], 1);
    }
    assert_ptr_equal(hf_os_replace(NULL), &double_table);
    assert_int_equal(hf_os_getpid(), getpid());
    assert_int_equal(double_calls[HF_OS_SITE_getpid], 1);
}

static void every_call_can_be_failed_at_the_nth(void **state)
{
    hf_os_replace(&double_table);
    for (EVERY_SITE(site)) {
        if (calls[site].kind == SURE)
            continue;
        for (unsigned n = 1; n <= 4; n++) {
            memset(double_calls, 0, sizeof(double_calls));
            hf_fault_arm(site, n, ENOSPC);
            for (unsigned call = 1; call <= 5; call++) {
                long good = calls[site].kind == TRANSFER ? SIZE : 0;

                assert_int_equal(calls[site].call(), call == n ? -ENOSPC : good);
            }
            assert_int_equal(hf_fault_calls(site), 5);
            assert_int_equal(hf_fault_failed(site), 1);
            /* What releases something is made all the same. */
            assert_int_equal(double_calls[site], calls[site].kind == RELEASE ? 5 : 4);
            hf_fault_disarm();
        }
    }
}

static void a_plan_for_one_call_leaves_the_others(void **state)
{
    hf_os_replace(&double_table);
    for (EVERY_SITE(armed)) {
        hf_fault_arm(armed, 1, EIO);
        for (EVERY_SITE(site)) {
            long result = calls[site].call();

            if (site == armed && calls[site].kind != SURE)
                assert_int_equal(result, -EIO);
            else
                assert_true(result >= 0);
        }
        hf_fault_disarm();
    }
}

static void any_os_call_counts_in_the_group(void **state)
{
    unsigned can_fail = 0;

    hf_os_replace(&double_table);
    for (EVERY_SITE(site))
        can_fail += calls[site].kind != SURE;
    for (unsigned n = 1; n <= can_fail + 1; n++) {
        unsigned failed = 0;

        hf_fault_arm(HF_FAULT_ANY_OS, n, EIO);
        for (EVERY_SITE(site))
            failed += calls[site].call() == -EIO;
        assert_int_equal(failed, n <= can_fail);
        assert_int_equal(hf_fault_calls(HF_FAULT_ANY_OS), can_fail);
        hf_fault_disarm();
    }
}

static void transfers_can_be_cut_to_half(void **state)
{
    struct hf_fault shorten = {.first = 2, .times = 1, .shorten = true};

    hf_os_replace(&double_table);
    for (EVERY_SITE(site)) {
        hf_fault_arm_plan(site, &shorten);
        for (unsigned call = 1; call <= 3; call++) {
            long result = calls[site].call();

            if (calls[site].kind == TRANSFER) {
                assert_int_equal(result, call == 2 ? SIZE / 2 : SIZE);
                assert_int_equal(double_size, result);
            } else {
                assert_int_equal(result, 0);
            }
        }
        assert_int_equal(hf_fault_failed(site), calls[site].kind == TRANSFER);
        hf_fault_disarm();
    }
}

static void sites_have_names(void **state)
{
    assert_string_equal(hf_os_site_name(HF_FAULT_ALLOC), "alloc");
    for (EVERY_SITE(site))
        assert_string_equal(hf_os_site_name(site), calls[site].name);
    assert_null(hf_os_site_name(HF_OS_SITES_END));
    assert_null(hf_os_site_name(HF_FAULT_ANY));
}

/* The native table. */

static void native_errors_are_negative_errnos(void **state)
{
    static const int expected[HF_OS_SITES_END] = {
        [HF_OS_SITE_open] = ENOENT,          [HF_OS_SITE_openat] = EBADF,      [HF_OS_SITE_close] = EBADF,
        [HF_OS_SITE_pread] = EBADF,          [HF_OS_SITE_pwrite] = EBADF,      [HF_OS_SITE_ftruncate] = EBADF,
        [HF_OS_SITE_fchmod] = EBADF,         [HF_OS_SITE_mount] = EBADF,       [HF_OS_SITE_fallocate] = EBADF,
        [HF_OS_SITE_fsync] = EBADF,          [HF_OS_SITE_fdatasync] = EBADF,   [HF_OS_SITE_fstat] = EBADF,
        [HF_OS_SITE_fstatat] = EBADF,        [HF_OS_SITE_fstatfs] = EBADF,     [HF_OS_SITE_munmap] = EINVAL,
        [HF_OS_SITE_madvise] = EINVAL,       [HF_OS_SITE_rename] = ENOENT,     [HF_OS_SITE_renameat2] = EBADF,
        [HF_OS_SITE_link] = ENOENT,          [HF_OS_SITE_linkat] = EBADF,      [HF_OS_SITE_unlink] = ENOENT,
        [HF_OS_SITE_unlinkat] = EBADF,       [HF_OS_SITE_mkdir] = ENOENT,      [HF_OS_SITE_flock] = EBADF,
        [HF_OS_SITE_shm_open] = ENOENT,      [HF_OS_SITE_shm_unlink] = ENOENT, [HF_OS_SITE_getrandom] = EINVAL,
        [HF_OS_SITE_clock_gettime] = EINVAL, [HF_OS_SITE_nanosleep] = EINVAL,  [HF_OS_SITE_mmap] = EINVAL,
        [HF_OS_SITE_lock] = EBADF,           [HF_OS_SITE_opendir] = ENOENT,    [HF_OS_SITE_readlinkat] = EBADF,
        [HF_OS_SITE_getrlimit] = EINVAL,
    };

    for (EVERY_SITE(site)) {
        /* A directory stream that is not one is undefined, not an error. */
        if (calls[site].kind == SURE || site == HF_OS_SITE_readdir || site == HF_OS_SITE_closedir)
            continue;
        assert_int_not_equal(expected[site], 0);
        assert_int_equal(calls[site].call(), -expected[site]);
    }
}

static int make_scratch(void **state)
{
    *state = strdup(scratch);
    return *state != NULL && mkdtemp(*state) != NULL ? 0 : -1;
}

static int remove_scratch(void **state)
{
    int result = rmdir(*state); /* each test removes what it made */

    free(*state);
    restore(state);
    return result;
}

/* The path of a name in the scratch folder; one of four buffers, in turn. */
static const char *in(void **state, const char *name)
{
    static char paths[4][256];
    static unsigned turn;
    char *path = paths[turn++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", (const char *)*state, name);
    return path;
}

static int make_file(void **state, const char *name)
{
    int fd = hf_os_open(in(state, name), O_RDWR | O_CREAT | O_EXCL, 0600);

    assert_true(fd >= 0);
    return fd;
}

static void files_can_be_written_and_read(void **state)
{
    int fd = make_file(state, "file"), dir, again;
    char buffer[8] = "";
    struct stat info;
    struct statfs system;

    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(hf_os_pwrite(fd, "holdfast", 8, 4), 8);
    assert_int_equal(hf_os_fsync(fd), 0);
    assert_int_equal(hf_os_fdatasync(fd), 0);
    assert_int_equal(hf_os_fstat(fd, &info), 0);
    assert_int_equal(info.st_size, 12);
    assert_int_equal(hf_os_ftruncate(fd, 8), 0);
    assert_int_equal(hf_os_pread(fd, buffer, 8, 4), 4);
    assert_memory_equal(buffer, "hold", 4);
    assert_int_equal(hf_os_fallocate(fd, 0, 0, 4096), 0);
    dir = hf_os_open(*state, O_RDONLY | O_DIRECTORY, 0);
    assert_true(dir >= 0);
    assert_int_equal(hf_os_fstatat(dir, "file", &info, 0), 0);
    assert_int_equal(info.st_size, 4096);
    assert_int_equal(hf_os_fstatfs(fd, &system), 0);
    assert_true(system.f_bsize > 0);
    again = hf_os_openat(dir, "file", O_RDONLY, 0);
    assert_true(again >= 0);
    assert_int_equal(fcntl(again, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(hf_os_pwrite(again, "x", 1, 0), -EBADF);
    assert_int_equal(hf_os_unlinkat(dir, "file", 0), 0);
    assert_int_equal(hf_os_close(again), 0);
    assert_int_equal(hf_os_close(dir), 0);
    assert_int_equal(hf_os_close(fd), 0);
    assert_int_equal(hf_os_close(fd), -EBADF);
}

static void a_close_that_is_failed_has_closed(void **state)
{
    int fd = make_file(state, "file");

    hf_fault_arm(HF_OS_SITE_close, 1, EIO);
    assert_int_equal(hf_os_close(fd), -EIO);
    assert_int_equal(hf_os_close(fd), -EBADF);
    assert_int_equal(hf_os_unlink(in(state, "file")), 0);
}

static void names_can_be_made_moved_and_listed(void **state)
{
    int fd = make_file(state, "a"), dir;
    struct hf_os_dir *listing;
    char name[HF_OS_NAME_SIZE];
    unsigned seen = 0;

    assert_int_equal(hf_os_close(fd), 0);
    assert_int_equal(hf_os_link(in(state, "a"), in(state, "b")), 0);
    assert_int_equal(hf_os_link(in(state, "a"), in(state, "b")), -EEXIST);
    assert_int_equal(hf_os_rename(in(state, "b"), in(state, "c")), 0);
    assert_int_equal(hf_os_unlink(in(state, "b")), -ENOENT);
    dir = hf_os_open(*state, O_RDONLY | O_DIRECTORY, 0);
    assert_true(dir >= 0);
    assert_int_equal(hf_os_linkat(dir, "a", dir, "d", 0), 0);
    assert_int_equal(hf_os_renameat2(dir, "a", dir, "c", RENAME_NOREPLACE), -EEXIST);
    assert_int_equal(hf_os_renameat2(dir, "d", dir, "b", RENAME_NOREPLACE), 0);
    assert_int_equal(hf_os_mkdir(in(state, "e"), 0700), 0);
    assert_int_equal(hf_os_mkdir(in(state, "e"), 0700), -EEXIST);

    assert_int_equal(hf_os_opendir(*state, &listing), 0);
    while (hf_os_readdir(listing, name) == 1) {
        assert_int_equal(strlen(name), 1);
        assert_in_range(name[0], 'a', 'e');
        assert_int_equal(seen >> (name[0] - 'a') & 1, 0);
        seen |= 1u << (name[0] - 'a');
    }
    assert_int_equal(hf_os_readdir(listing, name), 0);
    assert_int_equal(hf_os_closedir(listing), 0);
    assert_int_equal(seen, 1 | 2 | 4 | 16); /* a, b, c, e */

    for (const char *each = "abc"; *each != 0; each++)
        assert_int_equal(hf_os_unlinkat(dir, (char[]){*each, 0}, 0), 0);
    assert_int_equal(hf_os_unlinkat(dir, "e", AT_REMOVEDIR), 0);
    assert_int_equal(hf_os_close(dir), 0);
}

static void a_link_says_where_it_leads(void **state)
{
    char target[16] = "";
    int dir = hf_os_open(*state, O_RDONLY | O_DIRECTORY, 0);

    assert_true(dir >= 0);
    assert_int_equal(symlink("elsewhere", in(state, "link")), 0);
    assert_int_equal(hf_os_readlinkat(dir, "link", target, sizeof(target)), 9);
    assert_memory_equal(target, "elsewhere", 10);
    assert_int_equal(hf_os_readlinkat(dir, "link", target, 4), 4);
    assert_int_equal(hf_os_readlinkat(dir, "none", target, sizeof(target)), -ENOENT);
    assert_int_equal(hf_os_unlinkat(dir, "link", 0), 0);
    assert_int_equal(hf_os_close(dir), 0);
}

static void the_longest_name_fits(void **state)
{
    char longest[256], name[HF_OS_NAME_SIZE];
    struct hf_os_dir *listing;

    memset(longest, 'n', 255);
    longest[255] = 0;

    int dir = hf_os_open(*state, O_RDONLY | O_DIRECTORY, 0);
    int fd = hf_os_openat(dir, longest, O_RDWR | O_CREAT, 0600);

    assert_true(fd >= 0);
    assert_int_equal(hf_os_opendir(*state, &listing), 0);
    assert_int_equal(hf_os_readdir(listing, name), 1);
    assert_string_equal(name, longest);
    assert_int_equal(hf_os_closedir(listing), 0);
    assert_int_equal(hf_os_unlinkat(dir, longest, 0), 0);
    assert_int_equal(hf_os_close(fd), 0);
    assert_int_equal(hf_os_close(dir), 0);
}

static void memory_can_be_mapped(void **state)
{
    int fd = make_file(state, "file");
    void *mapped = NULL;

    assert_int_equal(hf_os_pwrite_all(fd, "mapped", 7, 0), 0);
    assert_int_equal(hf_os_mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0, &mapped), 0);
    assert_string_equal(mapped, "mapped");
    assert_int_equal(hf_os_madvise(mapped, 4096, MADV_RANDOM), 0);
    assert_int_equal(hf_os_munmap(mapped, 4096), 0);

    void *before = mapped;
    assert_int_equal(hf_os_mmap(NULL, 4096, PROT_READ, MAP_SHARED, -1, 0, &mapped), -EBADF);
    assert_ptr_equal(mapped, before); /* a failed call leaves its out-parameter */
    assert_int_equal(hf_os_unlink(in(state, "file")), 0);
    assert_int_equal(hf_os_close(fd), 0);
}

static void shared_memory_can_be_made(void **state)
{
    char name[64];

    snprintf(name, sizeof(name), "/holdfast-test-%d", (int)hf_os_getpid());

    int fd = hf_os_shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);

    assert_true(fd >= 0);
    assert_int_equal(hf_os_ftruncate(fd, 4096), 0);
    assert_int_equal(hf_os_shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600), -EEXIST);
    assert_int_equal(hf_os_shm_unlink(name), 0);
    assert_int_equal(hf_os_close(fd), 0);
}

static void locks_belong_to_the_open_file(void **state)
{
    int one = make_file(state, "file"), two = hf_os_open(in(state, "file"), O_RDWR, 0);
    struct flock write = {.l_type = F_WRLCK, .l_start = 5, .l_len = 1, .l_pid = 1234};
    struct flock other = {.l_type = F_WRLCK, .l_start = 6, .l_len = 1};
    struct flock probe = {.l_type = F_WRLCK, .l_start = 0, .l_len = 100};
    struct flock unlock = {.l_type = F_UNLCK, .l_start = 5, .l_len = 1};

    assert_true(two >= 0);
    assert_int_equal(hf_os_lock(one, F_OFD_SETLK, &write), 0);
    assert_int_equal(hf_os_lock(two, F_OFD_SETLK, &write), -EAGAIN);
    assert_int_equal(hf_os_lock(two, F_OFD_SETLK, &other), 0);
    assert_int_equal(hf_os_lock(two, F_OFD_GETLK, &probe), 0);
    assert_int_equal(probe.l_type, F_WRLCK);
    assert_int_equal(probe.l_start, 5);
    assert_int_equal(hf_os_lock(one, F_OFD_SETLK, &unlock), 0);
    assert_int_equal(hf_os_lock(two, F_OFD_SETLKW, &write), 0);

    assert_int_equal(hf_os_flock(one, LOCK_EX | LOCK_NB), 0);
    assert_int_equal(hf_os_flock(two, LOCK_EX | LOCK_NB), -EWOULDBLOCK);
    assert_int_equal(hf_os_unlink(in(state, "file")), 0);
    assert_int_equal(hf_os_close(one), 0);
    assert_int_equal(hf_os_close(two), 0);
}

static void the_process_is_known(void **state)
{
    struct timespec then, now;

    assert_int_equal(hf_os_getpid(), getpid());
    assert_int_equal(hf_os_geteuid(), geteuid());
    assert_int_equal(hf_os_clock_gettime(CLOCK_MONOTONIC, &then), 0);
    assert_int_equal(hf_os_sleep(2000000), 0);
    assert_int_equal(hf_os_clock_gettime(CLOCK_MONOTONIC, &now), 0);
    assert_true((now.tv_sec - then.tv_sec) * 1000000000 + now.tv_nsec - then.tv_nsec >= 2000000);
    assert_int_equal(hf_os_sleep(-5), -EINVAL);
}

/* Statuses. */

static void *other_threads_errno(void *unused)
{
    assert_int_equal(hf_os_errno(), 0);
    assert_int_equal(hf_os_status(-EDOM), HF_IO);
    assert_int_equal(hf_os_errno(), EDOM);
    return NULL;
}

static void results_become_statuses(void **state)
{
    pthread_t thread;

    assert_int_equal(hf_os_status(0), 0);
    assert_int_equal(hf_os_status(17), 17);
    assert_int_equal(hf_os_status(-ENOMEM), HF_NOMEM);
    assert_int_equal(hf_os_errno(), ENOMEM);
    assert_int_equal(hf_os_status(-ENOSPC), HF_IO);
    assert_int_equal(hf_os_errno(), ENOSPC);
    assert_int_equal(hf_os_status(3), 3);
    assert_int_equal(hf_os_errno(), ENOSPC); /* success does not touch it */
    assert_int_equal(pthread_create(&thread, NULL, other_threads_errno, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(hf_os_errno(), ENOSPC);
}

static void results_of_calls_with_names_become_statuses(void **state)
{
    static const struct {
        int error, status;
    } cases[] = {{ENOSPC, HF_NOSPACE}, {EDQUOT, HF_NOSPACE}, {EFBIG, HF_NOSPACE},       {ENOENT, HF_ABSENT},
                 {EEXIST, HF_EXISTS},  {EACCES, HF_DENIED},  {EPERM, HF_DENIED},        {EROFS, HF_READ_ONLY},
                 {ENOMEM, HF_NOMEM},   {EIO, HF_IO},         {ENAMETOOLONG, HF_INVALID}};

    for (size_t i = 0; i < LENGTH(cases); i++)
        assert_int_equal(hf_os_file_status(-cases[i].error), cases[i].status);
    assert_int_equal(hf_os_file_status(0), 0);
    assert_int_equal(hf_os_file_status(17), 17);
    hf_os_file_status(-EFBIG);
    assert_int_equal(hf_os_errno(), EFBIG);
}

/* Helpers. */

static void the_size_limit_is_the_systems(void **state)
{
    struct rlimit old, low;
    uint64_t found;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low = old;
    low.rlim_cur = 12345678;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    assert_int_equal(hf_os_size_limit(&found), 0);
    assert_true(found == 12345678);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(hf_os_size_limit(&found), 0);
    assert_true(found == (old.rlim_cur == RLIM_INFINITY ? UINT64_MAX : old.rlim_cur));
    hf_fault_arm(HF_OS_SITE_getrlimit, 1, EPERM);
    assert_int_equal(hf_os_size_limit(&found), -EPERM);
    hf_fault_disarm();
}

static void retry_repeats_interrupted_calls_only(void **state)
{
    struct hf_fault interrupted = {.first = 1, .times = 3, .error = EINTR};
    int result;

    hf_os_replace(&double_table);
    hf_fault_arm_plan(HF_OS_SITE_open, &interrupted);
    HF_OS_RETRY(result, hf_os_open("x", 0, 0));
    assert_int_equal(result, 0);
    assert_int_equal(hf_fault_calls(HF_OS_SITE_open), 4);
    hf_fault_arm(HF_OS_SITE_open, 1, EACCES);
    HF_OS_RETRY(result, hf_os_open("x", 0, 0));
    assert_int_equal(result, -EACCES);
    assert_int_equal(hf_fault_calls(HF_OS_SITE_open), 1);
}

#define LONG 1000

static void fill(char *buffer)
{
    for (int i = 0; i < LONG; i++)
        buffer[i] = (char)(i * 7 + 1);
}

/* With each plan for reads and writes: all of it is transferred, or the error is told. */
static void transfers_survive_interrupts_and_short_counts(void **state)
{
    static const struct {
        struct hf_fault plan;
        int result;
    } cases[] = {
        {{.first = 1, .times = 1, .error = EINTR}, 0},
        {{.first = 1, .times = 20, .error = EINTR}, 0},
        {{.first = 1, .times = 1, .shorten = true}, 0},
        {{.first = 2, .times = 3, .shorten = true}, 0},
        {{.first = 1, .times = HF_FAULT_FOREVER, .shorten = true}, 0},
        {{.first = 1, .times = 1, .error = EIO}, -EIO},
        {{.first = 1, .times = 1, .error = ENOSPC}, -ENOSPC},
    };
    int fd = make_file(state, "file");
    char data[LONG], back[LONG];

    fill(data);
    for (size_t i = 0; i < LENGTH(cases); i++) {
        int64_t want = cases[i].result < 0 ? cases[i].result : LONG;

        assert_int_equal(hf_os_ftruncate(fd, 0), 0);
        hf_fault_arm_plan(HF_OS_SITE_pwrite, &cases[i].plan);
        assert_int_equal(hf_os_pwrite_all(fd, data, LONG, 3), cases[i].result);
        hf_fault_disarm();
        assert_int_equal(hf_os_pwrite_all(fd, data, LONG, 3), 0);

        memset(back, 0, LONG);
        hf_fault_arm_plan(HF_OS_SITE_pread, &cases[i].plan);
        assert_int_equal(hf_os_pread_all(fd, back, LONG, 3), want);
        hf_fault_disarm();
        if (want == LONG)
            assert_memory_equal(back, data, LONG);
    }
    assert_int_equal(hf_os_unlink(in(state, "file")), 0);
    assert_int_equal(hf_os_close(fd), 0);
}

#define PIECE 100

static ssize_t reads_a_piece(int fd, void *buffer, size_t size, off_t at)
{
    return hf_os_native.pread(fd, buffer, size < PIECE ? size : PIECE, at);
}

static ssize_t writes_a_piece(int fd, const void *buffer, size_t size, off_t at)
{
    return hf_os_native.pwrite(fd, buffer, size < PIECE ? size : PIECE, at);
}

/* A transfer in ten pieces, where the n-th fails, for every n. */
static void a_transfer_can_fail_half_way(void **state)
{
    struct hf_os pieces = hf_os_native;
    int fd = make_file(state, "file");
    char data[LONG], back[LONG];

    fill(data);
    pieces.pread = reads_a_piece;
    pieces.pwrite = writes_a_piece;
    hf_os_replace(&pieces);
    for (size_t n = 1; n <= LONG / PIECE + 1; n++) {
        bool fails = n <= LONG / PIECE;

        assert_int_equal(hf_os_ftruncate(fd, 0), 0);
        hf_fault_arm(HF_OS_SITE_pwrite, n, ENOSPC);
        assert_int_equal(hf_os_pwrite_all(fd, data, LONG, 0), fails ? -ENOSPC : 0);
        hf_fault_disarm();
        assert_int_equal(hf_os_pread_all(fd, back, LONG, 0), (n - 1) * PIECE);
        assert_memory_equal(back, data, (n - 1) * PIECE);

        assert_int_equal(hf_os_pwrite_all(fd, data, LONG, 0), 0);
        hf_fault_arm(HF_OS_SITE_pread, n, EIO);
        assert_int_equal(hf_os_pread_all(fd, back, LONG, 0), fails ? -EIO : LONG);
        hf_fault_disarm();
    }
    assert_memory_equal(back, data, LONG);
    assert_int_equal(hf_os_unlink(in(state, "file")), 0);
    assert_int_equal(hf_os_close(fd), 0);
}

static void reading_stops_at_the_end_of_the_file(void **state)
{
    int fd = make_file(state, "file");
    char buffer[LONG];

    assert_int_equal(hf_os_pread_all(fd, buffer, LONG, 0), 0);
    assert_int_equal(hf_os_pwrite_all(fd, "12345", 5, 0), 0);
    assert_int_equal(hf_os_pread_all(fd, buffer, LONG, 0), 5);
    assert_int_equal(hf_os_pread_all(fd, buffer, LONG, 3), 2);
    assert_memory_equal(buffer, "45", 2);
    assert_int_equal(hf_os_pread_all(fd, buffer, LONG, 99), 0);
    assert_int_equal(hf_os_pread_all(fd, buffer, 0, 0), 0);
    assert_int_equal(hf_os_pread_all(fd, buffer, 1, -1), -EINVAL);
    assert_int_equal(hf_os_unlink(in(state, "file")), 0);
    assert_int_equal(hf_os_close(fd), 0);
}

static ssize_t transfers_nothing(int fd, const void *buffer, size_t size, off_t at)
{
    return 0;
}

static ssize_t no_randomness(void *buffer, size_t size, unsigned flags)
{
    return 0;
}

static void a_call_that_makes_no_progress_is_an_error(void **state)
{
    struct hf_os stuck = hf_os_native;
    char byte;

    stuck.pwrite = transfers_nothing;
    stuck.getrandom = no_randomness;
    hf_os_replace(&stuck);
    assert_int_equal(hf_os_pwrite_all(-1, "x", 1, 0), -EIO);
    assert_int_equal(hf_os_getrandom_all(&byte, 1), -EIO);
}

static void randomness_comes_whole(void **state)
{
    struct hf_fault shorten = {.first = 1, .times = HF_FAULT_FOREVER, .shorten = true};
    unsigned char bytes[4][64] = {{0}};

    assert_int_equal(hf_os_getrandom_all(bytes[0], 64), 0);
    hf_fault_arm(HF_OS_SITE_getrandom, 1, EINTR);
    assert_int_equal(hf_os_getrandom_all(bytes[1], 64), 0);
    hf_fault_arm_plan(HF_OS_SITE_getrandom, &shorten);
    assert_int_equal(hf_os_getrandom_all(bytes[2], 64), 0);
    hf_fault_arm(HF_OS_SITE_getrandom, 1, ENOSYS);
    assert_int_equal(hf_os_getrandom_all(bytes[3], 64), -ENOSYS);
    /* Each half differs from every other: 2^-256 that chance makes this fail. */
    for (size_t i = 0; i < 6; i++)
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(&bytes[i / 2][i % 2 * 32], &bytes[j / 2][j % 2 * 32], 32);
}

static struct timespec slept[3];
static unsigned sleeps;

static int wakes_early(const struct timespec *wanted, struct timespec *left)
{
    slept[sleeps++] = *wanted;
    if (sleeps == 3)
        return 0;
    *left = (struct timespec){.tv_sec = wanted->tv_sec - 1, .tv_nsec = wanted->tv_nsec};
    return -EINTR;
}

static void an_interrupted_sleep_sleeps_the_rest(void **state)
{
    struct hf_os restless = hf_os_native;

    restless.nanosleep = wakes_early;
    hf_os_replace(&restless);
    sleeps = 0;
    assert_int_equal(hf_os_sleep(INT64_C(9000000042)), 0);
    assert_int_equal(sleeps, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(slept[i].tv_sec, 9 - i);
        assert_int_equal(slept[i].tv_nsec, 42);
    }
}

/* Threads. */

#define THREADS 4
#define WRITES 500

static int shared_fd;

static void *write_often(void *argument)
{
    uintptr_t failed = 0;

    for (int i = 0; i < WRITES; i++) {
        int result = hf_os_pwrite_all(shared_fd, "0123456789abcdef", 16, (off_t)(uintptr_t)argument * 16);

        if (result != 0 && result != -ENOSPC)
            return (void *)UINTPTR_MAX;
        failed += result != 0;
    }
    return (void *)failed;
}

static void the_nth_call_of_all_threads_fails_once(void **state)
{
    pthread_t threads[THREADS];
    uintptr_t failed = 0;
    void *result;

    shared_fd = make_file(state, "file");
    hf_fault_arm(HF_OS_SITE_pwrite, THREADS * WRITES / 2, ENOSPC);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_often, (void *)i), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], &result), 0);
        failed += (uintptr_t)result;
    }
    assert_int_equal(failed, 1);
    assert_int_equal(hf_fault_calls(HF_OS_SITE_pwrite), THREADS * WRITES);
    hf_fault_disarm();
    assert_int_equal(hf_os_unlink(in(state, "file")), 0);
    assert_int_equal(hf_os_close(shared_fd), 0);
}

#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, make_scratch, remove_scratch)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_table_can_be_replaced, restore),
        cmocka_unit_test_teardown(every_call_can_be_failed_at_the_nth, restore),
        cmocka_unit_test_teardown(a_plan_for_one_call_leaves_the_others, restore),
        cmocka_unit_test_teardown(any_os_call_counts_in_the_group, restore),
        cmocka_unit_test_teardown(transfers_can_be_cut_to_half, restore),
        cmocka_unit_test_teardown(sites_have_names, restore),
        cmocka_unit_test_teardown(native_errors_are_negative_errnos, restore),
        IN_SCRATCH(files_can_be_written_and_read),
        IN_SCRATCH(a_close_that_is_failed_has_closed),
        IN_SCRATCH(names_can_be_made_moved_and_listed),
        IN_SCRATCH(a_link_says_where_it_leads),
        IN_SCRATCH(the_longest_name_fits),
        IN_SCRATCH(memory_can_be_mapped),
        cmocka_unit_test_teardown(shared_memory_can_be_made, restore),
        IN_SCRATCH(locks_belong_to_the_open_file),
        cmocka_unit_test_teardown(the_process_is_known, restore),
        cmocka_unit_test_teardown(results_become_statuses, restore),
        cmocka_unit_test_teardown(results_of_calls_with_names_become_statuses, restore),
        cmocka_unit_test_teardown(the_size_limit_is_the_systems, restore),
        cmocka_unit_test_teardown(retry_repeats_interrupted_calls_only, restore),
        IN_SCRATCH(transfers_survive_interrupts_and_short_counts),
        IN_SCRATCH(a_transfer_can_fail_half_way),
        IN_SCRATCH(reading_stops_at_the_end_of_the_file),
        cmocka_unit_test_teardown(a_call_that_makes_no_progress_is_an_error, restore),
        cmocka_unit_test_teardown(randomness_comes_whole, restore),
        cmocka_unit_test_teardown(an_interrupted_sleep_sleeps_the_rest, restore),
        IN_SCRATCH(the_nth_call_of_all_threads_fails_once),
    };

    return cmocka_run_group_tests_name("base/os", tests, NULL, NULL);
}

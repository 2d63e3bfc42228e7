/*
 * The simulated disk of tests/crash: what is durable, what may be lost, and that its folder holds what its state says.
 * At the end random programs, checked against plain arrays.
 */
#include "cm.h"

#include "base/os.h"
#include "disk.h"

#include <dirent.h>
#include <sys/mman.h>
#include <unistd.h>

static struct hf_disk *disk;

static int begin(void **state)
{
    disk = hf_disk_new(NULL);
    hf_disk_use(disk);
    return 0;
}

static int end(void **state)
{
    hf_disk_use(NULL);
    hf_disk_free(disk);
    return 0;
}

/* The path of a name on the disk; one of four buffers, in turn. */
static const char *in(const char *name)
{
    static char paths[4][512];
    static unsigned turn;
    char *path = paths[turn++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", hf_disk_root(disk), name);
    return path;
}

static int make(const char *name)
{
    int fd = hf_os_open(in(name), O_RDWR | O_CREAT | O_EXCL, 0600);

    assert_true(fd >= 0);
    return fd;
}

static void fill(int fd, char byte, size_t size, off_t at)
{
    char bytes[16384];

    assert_true(size <= sizeof(bytes));
    memset(bytes, byte, size);
    assert_int_equal(hf_os_pwrite_all(fd, bytes, size, at), 0);
}

static void flush_folder(const char *name)
{
    int fd = hf_os_open(in(name), O_RDONLY | O_DIRECTORY, 0);

    assert_true(fd >= 0);
    assert_int_equal(hf_os_fsync(fd), 0);
    assert_int_equal(hf_os_close(fd), 0);
}

/* A power cut that keeps nothing but what is durable. */
static void cut(void)
{
    struct hf_state *durable = hf_state_durable(hf_disk_state(disk));

    hf_state_prune(durable);
    assert_int_equal(hf_disk_load(disk, durable, true), 0);
    hf_state_free(durable);
}

/* The byte of a named file, by a look of our own; -1: no such file, -2: it is shorter. */
static int byte_at(const char *name, off_t at)
{
    int fd = open(in(name), O_RDONLY);
    unsigned char byte;
    ssize_t got;

    if (fd < 0)
        return -1;
    got = pread(fd, &byte, 1, at);
    close(fd);
    return got == 1 ? byte : -2;
}

static const struct hf_file *file_of(const char *name)
{
    return &hf_disk_state(disk)->files[hf_names_find(&hf_disk_state(disk)->now, HF_ROOT_INODE, name)];
}

/* -- files -- */

static void what_is_not_flushed_is_lost(void **state)
{
    int fd = make("a");

    flush_folder(".");
    fill(fd, 'x', 1024, 0);
    assert_int_equal(byte_at("a", 1023), 'x');
    assert_int_equal(hf_os_close(fd), 0);
    cut();
    assert_int_equal(byte_at("a", 0), -2);
}

static void what_is_flushed_stays(void **state)
{
    int fd = make("a");

    flush_folder(".");
    fill(fd, 'x', 1024, 100);
    assert_int_equal(hf_os_fdatasync(fd), 0);
    assert_false(hf_state_unsynced(hf_disk_state(disk)));
    fill(fd, 'y', 512, 512);
    fill(fd, 'z', 1, 8191);
    assert_int_equal(hf_os_close(fd), 0);
    cut();
    assert_int_equal(byte_at("a", 99), 0);
    assert_int_equal(byte_at("a", 100), 'x');
    assert_int_equal(byte_at("a", 512), 'x');
    assert_int_equal(byte_at("a", 1123), 'x');
    assert_int_equal(byte_at("a", 1124), -2);
}

static void sectors_have_versions_and_sizes_too(void **state)
{
    int fd = make("a");
    const struct hf_file *file;

    fill(fd, 'x', 512, 0);
    fill(fd, 'y', 1024, 0);
    file = file_of("a");
    assert_int_equal(file->sector_count, 2);
    assert_int_equal(file->sectors[0].versions, 2);
    assert_int_equal(file->sectors[0].version[0]->bytes[0], 'x');
    assert_int_equal(file->sectors[0].version[1]->bytes[0], 'y');
    assert_int_equal(file->sectors[1].versions, 1);
    assert_int_equal(file->size_count, 3); /* 0, 512, 1024 */
    for (int i = 0; i < 2 * HF_VERSIONS; i++)
        fill(fd, (char)('a' + i), 512, 0);
    file = file_of("a");
    assert_int_equal(file->sectors[0].versions, HF_VERSIONS);
    assert_int_equal(file->sectors[0].version[HF_VERSIONS - 1]->bytes[0], 'a' + 2 * HF_VERSIONS - 1);
    assert_int_equal(hf_os_fsync(fd), 0);
    file = file_of("a");
    assert_int_equal(file->sector_count, 0);
    assert_int_equal(file->size_count, 1);
    assert_int_equal(file->sizes[0], 1024);
    /* The same bytes again change nothing, where something was durable. */
    fill(fd, 'y', 512, 512);
    assert_int_equal(file_of("a")->sector_count, 0);
    assert_int_equal(hf_os_close(fd), 0);
}

static void a_file_can_be_cut_and_grown(void **state)
{
    int fd = make("a");

    flush_folder(".");
    fill(fd, 'x', 8192, 0);
    assert_int_equal(hf_os_fdatasync(fd), 0);
    assert_int_equal(hf_os_ftruncate(fd, 100), 0);
    assert_int_equal(hf_os_ftruncate(fd, 600), 0);
    assert_int_equal(byte_at("a", 99), 'x');
    assert_int_equal(byte_at("a", 100), 0);
    assert_false(file_of("a")->settled[1]);
    assert_true(file_of("a")->settled[0]);
    assert_int_equal(hf_os_close(fd), 0);
    cut();
    assert_int_equal(byte_at("a", 8191), 'x');

    fd = hf_os_open(in("a"), O_RDWR, 0);
    assert_true(fd >= 0);
    assert_int_equal(hf_os_ftruncate(fd, 100), 0);
    assert_int_equal(hf_os_ftruncate(fd, 600), 0);
    assert_int_equal(hf_os_fdatasync(fd), 0);
    assert_int_equal(hf_os_close(fd), 0);
    cut();
    assert_int_equal(byte_at("a", 99), 'x');
    assert_int_equal(byte_at("a", 100), 0);
    assert_int_equal(byte_at("a", 599), 0);
    assert_int_equal(byte_at("a", 600), -2);
}

static void opening_can_cut(void **state)
{
    int fd = make("a");

    flush_folder(".");
    fill(fd, 'x', 600, 0);
    assert_int_equal(hf_os_fdatasync(fd), 0);
    assert_int_equal(hf_os_close(fd), 0);
    fd = hf_os_open(in("a"), O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(byte_at("a", 0), -2);
    assert_int_equal(hf_os_close(fd), 0);
    cut();
    assert_int_equal(byte_at("a", 599), 'x');
}

static void space_can_be_allocated_and_given_back(void **state)
{
    int fd = make("a");

    flush_folder(".");
    assert_int_equal(hf_os_fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
    assert_int_equal(file_of("a")->size, 0);
    assert_int_equal(hf_os_fallocate(fd, 0, 0, 12288), 0);
    assert_int_equal(file_of("a")->size, 12288);
    assert_int_equal(hf_os_fdatasync(fd), 0);
    assert_false(file_of("a")->settled[0]); /* nothing was ever written there */
    fill(fd, 'x', 12288, 0);
    assert_int_equal(hf_os_fdatasync(fd), 0);
    assert_true(file_of("a")->settled[0]);
    assert_int_equal(hf_os_fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 100000), 0);
    assert_int_equal(byte_at("a", 4096), 0);
    assert_int_equal(file_of("a")->size, 12288);
    assert_int_equal(hf_os_fdatasync(fd), 0);
    assert_int_equal(hf_os_close(fd), 0);
    cut();
    assert_int_equal(byte_at("a", 4095), 'x');
    assert_int_equal(byte_at("a", 4096), 0);
    assert_int_equal(byte_at("a", 12287), 0);
    assert_int_equal(byte_at("a", 12288), -2);
}

static void a_failed_flush_is_not_made_up_for(void **state)
{
    int fd = make("a");

    flush_folder(".");
    fill(fd, 'x', 1024, 0);
    assert_int_equal(hf_os_fdatasync(fd), 0);
    fill(fd, 'y', 1024, 0);
    hf_disk_fail_flush(disk, 1, EIO);
    assert_int_equal(hf_os_fdatasync(fd), -EIO);
    assert_true(hf_disk_flush_failed(disk));
    assert_int_equal(hf_os_fdatasync(fd), 0);
    assert_int_equal(file_of("a")->sector_count, 2);
    /* One sector is written again. */
    fill(fd, 'y', 512, 512);
    assert_int_equal(hf_os_fdatasync(fd), 0);
    assert_int_equal(file_of("a")->sector_count, 1);
    assert_int_equal(hf_os_close(fd), 0);
    cut();
    assert_int_equal(byte_at("a", 511), 'x');
    assert_int_equal(byte_at("a", 512), 'y');
}

static void a_size_whose_flush_failed_is_due_again_with_its_end(void **state)
{
    int fd = make("a");

    flush_folder(".");
    fill(fd, 'x', 1024, 0);
    hf_disk_fail_flush(disk, 1, EIO);
    assert_int_equal(hf_os_fdatasync(fd), -EIO);
    fill(fd, 'x', 512, 0);
    assert_int_equal(hf_os_fdatasync(fd), 0);
    assert_int_equal(file_of("a")->sizes[0], 0);
    fill(fd, 'x', 512, 512);
    assert_int_equal(hf_os_fdatasync(fd), 0);
    assert_int_equal(file_of("a")->sizes[0], 1024);
    assert_false(hf_state_unsynced(hf_disk_state(disk)));
    assert_int_equal(hf_os_close(fd), 0);
}

static void mappings_see_what_is_written(void **state)
{
    int fd = make("a");
    void *mapped;

    fill(fd, 'x', 4096, 0);
    assert_int_equal(hf_os_mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0, &mapped), 0);
    fill(fd, 'y', 1, 17);
    assert_int_equal(((char *)mapped)[16], 'x');
    assert_int_equal(((char *)mapped)[17], 'y');
    assert_false(file_of("a")->mapped);
    assert_int_equal(hf_os_munmap(mapped, 4096), 0);
    assert_int_equal(hf_os_mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0, &mapped), 0);
    assert_false(file_of("a")->mapped);
    assert_int_equal(hf_os_munmap(mapped, 4096), 0);
    assert_int_equal(hf_os_mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0, &mapped), 0);
    assert_true(file_of("a")->mapped);
    memset(mapped, 'z', 4096);
    assert_int_equal(hf_os_munmap(mapped, 4096), 0);
    assert_int_equal(hf_os_fdatasync(fd), 0);
    flush_folder(".");
    assert_int_equal(hf_os_close(fd), 0);
    /* What went past the table is written over when the disk is loaded. */
    cut();
    assert_int_equal(byte_at("a", 16), 'x');
}

static void what_is_not_modelled_is_refused(void **state)
{
    int fd = make("a");

    fprintf(stderr, "(three refusals follow)\n");
    fill(fd, 'x', 8192, 0);
    assert_int_equal(hf_os_fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096), -EOPNOTSUPP);
    assert_int_equal(hf_os_open(in("a"), O_RDWR | O_APPEND, 0), -EOPNOTSUPP);
    assert_int_equal(hf_os_open(in("a"), O_RDWR | O_DSYNC, 0), -EOPNOTSUPP);
    assert_int_equal(hf_os_close(fd), 0);
}

/* -- names -- */

static void a_name_is_durable_with_its_folder_not_with_its_file(void **state)
{
    int fd = make("a");

    fill(fd, 'x', 10, 0);
    assert_int_equal(hf_os_fsync(fd), 0);
    assert_int_equal(hf_os_close(fd), 0);
    cut();
    assert_int_equal(byte_at("a", 0), -1);

    fd = make("a");
    fill(fd, 'x', 10, 0);
    flush_folder(".");
    assert_int_equal(hf_os_close(fd), 0);
    cut();
    assert_int_equal(byte_at("a", 0), -2); /* the name, and none of the bytes */
}

static void a_rename_is_all_or_nothing(void **state)
{
    int old = make("a"), new = make("b");

    fill(old, 'o', 10, 0);
    fill(new, 'n', 10, 0);
    assert_int_equal(hf_os_fsync(old) | hf_os_fsync(new), 0);
    flush_folder(".");
    assert_int_equal(hf_os_close(old) | hf_os_close(new), 0);
    assert_int_equal(hf_os_rename(in("b"), in("a")), 0);
    assert_int_equal(byte_at("a", 0), 'n');
    assert_int_equal(hf_disk_state(disk)->pending_count, 1);
    cut();
    assert_int_equal(byte_at("a", 0), 'o');
    assert_int_equal(byte_at("b", 0), 'n');
    assert_int_equal(hf_os_renameat2(AT_FDCWD, in("b"), AT_FDCWD, in("a"), RENAME_EXCHANGE), 0);
    assert_int_equal(hf_os_renameat2(AT_FDCWD, in("b"), AT_FDCWD, in("a"), RENAME_NOREPLACE), -EEXIST);
    flush_folder(".");
    cut();
    assert_int_equal(byte_at("a", 0), 'n');
    assert_int_equal(byte_at("b", 0), 'o');
}

static void links_count_as_if_there_were_no_pool(void **state)
{
    int fd = make("a");
    struct stat info;

    fill(fd, 'x', 10, 0);
    assert_int_equal(hf_os_fsync(fd), 0);
    assert_int_equal(hf_os_fstat(fd, &info), 0);
    assert_int_equal(info.st_nlink, 1);
    assert_int_equal(hf_os_link(in("a"), in("b")), 0);
    assert_int_equal(hf_os_fstatat(AT_FDCWD, in("b"), &info, 0), 0);
    assert_int_equal(info.st_nlink, 2);
    flush_folder(".");
    /* Two names of one file: to rename one to the other does nothing. */
    assert_int_equal(hf_os_rename(in("a"), in("b")), 0);
    assert_int_equal(hf_disk_state(disk)->pending_count, 0);
    assert_int_equal(hf_os_unlink(in("a")), 0);
    assert_int_equal(hf_os_unlink(in("a")), -ENOENT);
    flush_folder(".");
    assert_int_equal(hf_os_unlink(in("b")), 0);
    assert_int_equal(hf_os_fstat(fd, &info), 0);
    assert_int_equal(info.st_nlink, 0);
    assert_int_equal(hf_os_close(fd), 0);
    cut();
    assert_int_equal(byte_at("a", 0), -1);
    assert_int_equal(byte_at("b", 0), 'x');
}

static void a_file_can_get_its_name_late(void **state)
{
    int fd = hf_os_open(hf_disk_root(disk), O_TMPFILE | O_RDWR, 0600);
    char path[64];
    struct stat info;

    assert_true(fd >= 0);
    fill(fd, 'x', 10, 0);
    assert_int_equal(hf_os_fsync(fd), 0);
    assert_int_equal(hf_os_fstat(fd, &info), 0);
    assert_int_equal(info.st_nlink, 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    assert_int_equal(hf_os_linkat(AT_FDCWD, path, AT_FDCWD, in("a"), AT_SYMLINK_FOLLOW), 0);
    flush_folder(".");
    assert_int_equal(hf_os_close(fd), 0);
    cut();
    assert_int_equal(byte_at("a", 0), 'x');
}

static void folders_can_be_lost_with_all_in_them(void **state)
{
    int fd, dir;

    assert_int_equal(hf_os_mkdir(in("d"), 0700), 0);
    dir = hf_os_open(in("d"), O_RDONLY | O_DIRECTORY, 0);
    assert_true(dir >= 0);
    fd = hf_os_openat(dir, "a", O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    fill(fd, 'x', 10, 0);
    assert_int_equal(hf_os_fsync(fd) | hf_os_fsync(dir), 0);
    assert_int_equal(hf_os_close(fd) | hf_os_close(dir), 0);

    struct hf_state *before = hf_state_clone(hf_disk_state(disk));

    cut();
    assert_int_equal(byte_at("d/a", 0), -1);
    assert_int_equal(access(in("d"), F_OK), -1);
    assert_int_equal(hf_disk_load(disk, before, false), 0);
    hf_state_free(before);
    assert_int_equal(byte_at("d/a", 0), 'x');
    flush_folder(".");
    cut();
    assert_int_equal(byte_at("d/a", 0), 'x');
    assert_int_equal(hf_os_unlink(in("d/a")), 0);
    assert_int_equal(hf_os_unlinkat(AT_FDCWD, in("d"), AT_REMOVEDIR), 0);
    assert_int_equal(hf_os_mkdir(in("e"), 0700), 0);
    cut();
    assert_int_equal(byte_at("d/a", 0), 'x');
    assert_int_equal(access(in("e"), F_OK), -1);
}

static void what_is_elsewhere_is_left_alone(void **state)
{
    char other[256], path[300];
    int fd;

    hf_scratch_make(NULL, other, sizeof(other));
    snprintf(path, sizeof(path), "%s/a", other);
    fd = hf_os_open(path, O_RDWR | O_CREAT | O_APPEND, 0600);
    assert_true(fd >= 0);
    fill(fd, 'x', 10, 0);
    assert_int_equal(hf_os_fsync(fd), 0);
    assert_int_equal(hf_os_close(fd), 0);
    assert_int_equal(hf_os_unlink(path), 0);
    assert_int_equal(hf_disk_trace(disk)->count, 0);
    hf_scratch_remove(other);
}

static void what_is_left_open_is_counted(void **state)
{
    struct hf_os_dir *stream;
    int fd = make("a"), outside = hf_os_open("/", O_RDONLY, 0);
    struct hf_state *empty = hf_state_new();

    assert_true(outside >= 0);
    assert_int_equal(hf_os_opendir(hf_disk_root(disk), &stream), 0);
    assert_int_equal(hf_disk_open_count(disk), 2);
    assert_int_equal(hf_os_closedir(stream), 0);
    assert_int_equal(hf_disk_open_count(disk), 1);
    assert_int_equal(hf_disk_load(disk, empty, true), 1);
    assert_int_equal(hf_os_close(fd), -EBADF);
    assert_int_equal(hf_os_close(outside), 0);
    assert_int_equal(hf_disk_open_count(disk), 0);
    hf_state_free(empty);
}

static void boot_id(char *text, size_t size)
{
    int fd = hf_os_open("/proc/sys/kernel/random/boot_id", O_RDONLY, 0);

    assert_true(fd >= 0);
    assert_int_equal(hf_os_pread_all(fd, text, size, 0), size);
    assert_int_equal(hf_os_close(fd), 0);
}

static void a_power_cut_is_a_new_boot(void **state)
{
    char first[37], second[37];
    struct hf_state *now;

    boot_id(first, sizeof(first));
    now = hf_state_clone(hf_disk_state(disk));
    hf_disk_load(disk, now, false);
    hf_state_free(now);
    boot_id(second, sizeof(second));
    assert_memory_equal(first, second, sizeof(first));
    cut();
    boot_id(second, sizeof(second));
    assert_memory_not_equal(first, second, sizeof(first));
}

/* -- random programs -- */

enum { FILES = 3, LARGEST = 5 * 4096, ROUNDS = 60, STEPS = 80 };

/* What a file has to hold, now and at the last flush. */
static struct model {
    unsigned char now[LARGEST], durable[LARGEST];
    size_t size, durable_size;
} model[FILES];

static void step(struct hf_random *random, const int *fds)
{
    const unsigned f = (unsigned)hf_random_below(random, FILES);
    struct model *m = &model[f];
    const size_t at = (size_t)hf_random_below(random, LARGEST);
    const size_t most = hf_random_chance(random, 1, 2) ? 700 : LARGEST;
    const size_t left = LARGEST - at, length = 1 + (size_t)hf_random_below(random, most < left ? most : left);
    unsigned char bytes[LARGEST];

    switch (hf_random_below(random, 8)) {
    case 0:
    case 1:
    case 2:
    case 3:
        hf_random_fill(random, bytes, length);
        assert_int_equal(hf_os_pwrite_all(fds[f], bytes, length, (off_t)at), 0);
        memcpy(m->now + at, bytes, length);
        m->size = at + length > m->size ? at + length : m->size;
        break;
    case 4:
        assert_int_equal(hf_os_ftruncate(fds[f], (off_t)at), 0);
        if (at < m->size)
            memset(m->now + at, 0, m->size - at);
        m->size = at;
        break;
    case 5:
        assert_int_equal(
            hf_os_fallocate(fds[f], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)length), 0);
        memset(m->now + at, 0, length);
        break;
    case 6:
        assert_int_equal(hf_os_fallocate(fds[f], 0, (off_t)at, (off_t)length), 0);
        m->size = at + length > m->size ? at + length : m->size;
        break;
    default:
        assert_int_equal(hf_os_fdatasync(fds[f]), 0);
        memcpy(m->durable, m->now, LARGEST);
        m->durable_size = m->size;
        break;
    }
}

/* The file in the folder has these bytes, and no more. */
static void expect_file(unsigned f, const unsigned char *bytes, size_t size)
{
    unsigned char found[LARGEST + 1];
    char name[2] = {(char)('a' + f), 0};
    int fd = open(in(name), O_RDONLY);

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, found, sizeof(found), 0), size);
    assert_memory_equal(found, bytes, size);
    close(fd);
}

/* D2 of disk.h. */
static void expect_trace_leads_to_state(void)
{
    struct hf_state *state = hf_state_clone(hf_disk_start(disk));
    const struct hf_trace *trace = hf_disk_trace(disk);

    for (size_t i = 0; i < trace->count; i++)
        hf_state_apply(state, &trace->op[i]);
    assert_int_equal(state->inodes, hf_disk_state(disk)->inodes);
    for (uint32_t inode = 0; inode < state->inodes; inode++) {
        const struct hf_file *a = &state->files[inode], *b = &hf_disk_state(disk)->files[inode];

        assert_int_equal(a->size, b->size);
        assert_int_equal(a->sector_count, b->sector_count);
        for (size_t block = 0; block * HF_BLOCK < a->size; block++) {
            assert_int_equal(a->now[block] == NULL, b->now[block] == NULL);
            if (a->now[block] != NULL)
                assert_memory_equal(a->now[block]->bytes, b->now[block]->bytes, HF_BLOCK);
        }
    }
    hf_state_free(state);
}

static void random_programs_agree_with_arrays(void **state)
{
    struct hf_random random = {4};
    struct hf_state *empty = hf_state_new();

    for (int round = 0; round < ROUNDS; round++) {
        int fds[FILES];

        hf_disk_load(disk, empty, true);
        memset(model, 0, sizeof(model));
        for (unsigned f = 0; f < FILES; f++)
            fds[f] = make((char[]){(char)('a' + f), 0});
        flush_folder(".");
        for (int i = 0; i < STEPS; i++) {
            step(&random, fds);
            for (unsigned f = 0; i % 8 == 0 && f < FILES; f++)
                expect_file(f, model[f].now, model[f].size);
        }
        expect_trace_leads_to_state();

        /* To and fro between what is durable and what was there: only differences are written. */
        struct hf_state *now = hf_state_clone(hf_disk_state(disk));

        for (unsigned f = 0; f < FILES; f++)
            assert_int_equal(hf_os_close(fds[f]), 0);
        for (int turn = 0; turn < 3; turn++) {
            cut();
            for (unsigned f = 0; f < FILES; f++)
                expect_file(f, model[f].durable, model[f].durable_size);
            hf_disk_load(disk, now, false);
            for (unsigned f = 0; f < FILES; f++)
                expect_file(f, model[f].now, model[f].size);
        }
        hf_state_free(now);
    }
    hf_state_free(empty);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_not_flushed_is_lost),
        TEST(what_is_flushed_stays),
        TEST(sectors_have_versions_and_sizes_too),
        TEST(a_file_can_be_cut_and_grown),
        TEST(opening_can_cut),
        TEST(space_can_be_allocated_and_given_back),
        TEST(a_failed_flush_is_not_made_up_for),
        TEST(a_size_whose_flush_failed_is_due_again_with_its_end),
        TEST(mappings_see_what_is_written),
        TEST(what_is_not_modelled_is_refused),
        TEST(a_name_is_durable_with_its_folder_not_with_its_file),
        TEST(a_rename_is_all_or_nothing),
        TEST(links_count_as_if_there_were_no_pool),
        TEST(a_file_can_get_its_name_late),
        TEST(folders_can_be_lost_with_all_in_them),
        TEST(what_is_elsewhere_is_left_alone),
        TEST(what_is_left_open_is_counted),
        TEST(a_power_cut_is_a_new_boot),
        TEST(random_programs_agree_with_arrays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

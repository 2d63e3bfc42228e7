/*
 * The lock file of a region in a file: what each opener finds, what is refused, and who is said to be there.
 */
#include "test_region_control.h"

#include "base/hash.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>

static opener a, b, c;

static const char *in_folder(const char *name)
{
    static char paths[4][192];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* -- what is found -- */

static void the_first_finds_nothing_and_leaves_something(void **state)
{
    struct stat found;
    open_as(&a, HF_CONTROL_FRESH);
    assert_true(is_zero(&a));
    assert_int_equal(a.control.length, SIZE);
    ok(stat(lock_file, &found));
    assert_int_equal(found.st_mode, S_IFREG | 0600);
    assert_int_equal(found.st_size, SIZE);
    assert_true(found.st_blocks * 512 >= SIZE);
    *word(&a) = 17;
    ok(hf_control_ready(a.fd, &a.control));
    close_opener(&a);
    open_as(&a, HF_CONTROL_TRUSTED);
    assert_int_equal(*word(&a), 17);
    /* It is not made again, and not by who gives up. */
    abandon(&a);
    open_as(&a, HF_CONTROL_TRUSTED);
    assert_int_equal(*word(&a), 17);
    abandon(&a);
}

static void others_join(void **state)
{
    open_ready(&a, HF_CONTROL_FRESH);
    open_as(&b, HF_CONTROL_JOINED);
    *word(&a) = 3;
    assert_int_equal(*word(&b), 3);
    assert_true(a.control.mark == b.control.mark);
    ok(hf_control_ready(b.fd, &b.control));
    close_opener(&a);
    open_ready(&a, HF_CONTROL_JOINED);
    close_opener(&b);
    close_opener(&a);
    expect_next(HF_CONTROL_TRUSTED);
}

static void slots_added_since_are_seen(void **state)
{
    open_ready(&a, HF_CONTROL_FRESH);
    ok(posix_fallocate(a.control.fd, SIZE, HF_REGION_PAGE));
    open_ready(&b, HF_CONTROL_JOINED);
    assert_int_equal(b.control.length, SIZE + HF_REGION_PAGE);
    a.control.base[SIZE] = 'x';
    assert_int_equal(b.control.base[SIZE], 'x');
    close_opener(&a);
    close_opener(&b);
    open_as(&a, HF_CONTROL_TRUSTED);
    assert_int_equal(a.control.length, SIZE + HF_REGION_PAGE);
    abandon(&a);
}

static void what_was_not_made_ready_is_made_again(void **state)
{
    open_as(&a, HF_CONTROL_FRESH);
    *word(&a) = 1;
    abandon(&a);
    open_as(&a, HF_CONTROL_FRESH);
    assert_true(is_zero(&a));
    *word(&a) = 2;
    close_opener(&a); /* as if it were killed */
    open_as(&a, HF_CONTROL_FRESH);
    assert_true(is_zero(&a));
    abandon(&a);
}

static void what_does_not_hold_is_made_afresh(void **state)
{
    open_ready(&a, HF_CONTROL_FRESH);
    *word(&a) = 5;
    close_opener(&a);
    int before = count_descriptors();
    open_as(&a, HF_CONTROL_TRUSTED);
    uint64_t mark = a.control.mark;
    ok(hf_control_afresh(a.fd, file, SIZE, &a.control));
    assert_int_equal(a.control.state, HF_CONTROL_FRESH);
    assert_true(is_zero(&a) && a.control.mark != mark && a.control.exclusive);
    ok(hf_control_ready(a.fd, &a.control));
    open_ready(&b, HF_CONTROL_JOINED);
    close_opener(&b);
    close_opener(&a);
    assert_int_equal(count_descriptors(), before);
}

/* A double: reading the boot id is an error, or gives that of another boot. */

static int boot_error;
static const char *boot_path;

static int other_boot_open(const char *path, int flags, mode_t mode)
{
    if (strcmp(path, "/proc/sys/kernel/random/boot_id") != 0)
        return hf_os_native.open(path, flags, mode);
    return boot_error != 0 ? -boot_error : hf_os_native.open(boot_path, flags, mode);
}

static void use_boot(const char *path, int error)
{
    static struct hf_os table;
    boot_path = path;
    boot_error = error;
    table = hf_os_native;
    table.open = other_boot_open;
    hf_os_replace(&table);
}

static void nothing_is_trusted_across_a_boot(void **state)
{
    open_ready(&a, HF_CONTROL_FRESH);
    *word(&a) = 9;
    close_opener(&a);
    expect_next(HF_CONTROL_TRUSTED);
    write_file(in_folder("boot"), "00000000-1111-2222-3333-444444444444\n", 37, 0600);
    use_boot(in_folder("boot"), 0);
    open_as(&a, HF_CONTROL_FRESH);
    assert_true(is_zero(&a));
    ok(hf_control_ready(a.fd, &a.control));
    close_opener(&a);
    expect_next(HF_CONTROL_TRUSTED);
    hf_os_replace(NULL);
    expect_next(HF_CONTROL_FRESH);
}

static void without_a_boot_id_only_the_living_are_trusted(void **state)
{
    static const int errors[] = {ENOENT, EACCES};
    for (size_t i = 0; i < LENGTH(errors); i++) {
        use_boot(NULL, errors[i]);
        open_ready(&a, HF_CONTROL_FRESH);
        open_ready(&b, HF_CONTROL_JOINED);
        close_opener(&b);
        close_opener(&a);
        expect_next(HF_CONTROL_FRESH);
    }
    use_boot(NULL, EIO);
    assert_int_equal(try_open(&a), HF_IO);
    hf_os_replace(NULL);
    expect_next(HF_CONTROL_FRESH);
}

/* Each byte of page 0, and the length, damaged: while nobody is there, it is made again; otherwise it is refused. */
static void a_damaged_lock_file(void **state)
{
    for (size_t at = 0; at < offsetof(struct hf_control_page, pad); at++) {
        open_ready(&a, HF_CONTROL_FRESH);
        *word(&a) = 5;
        a.control.base[at] ^= 0x40;
        int status = try_open(&b);
        assert_true(status == HF_BUSY || (at < 32 && status == HF_FORMAT));
        close_opener(&a);
        open_as(&a, HF_CONTROL_FRESH);
        assert_true(is_zero(&a));
        abandon(&a);
    }
    static const off_t lengths[] = {0, 1, 64, 127, 4096, SIZE - 1};
    for (size_t i = 0; i < LENGTH(lengths); i++) {
        open_ready(&a, HF_CONTROL_FRESH);
        ok(truncate(lock_file, lengths[i]));
        assert_int_equal(try_open(&b), HF_BUSY);
        close_opener(&a);
        expect_next(HF_CONTROL_FRESH);
    }
}

static void a_lock_file_of_another_byte_order(void **state)
{
    open_ready(&a, HF_CONTROL_FRESH);
    struct hf_control_page *page = (struct hf_control_page *)(void *)a.control.base;
    page->magic = __builtin_bswap64(page->magic);
    assert_int_equal(try_open(&b), HF_FORMAT);
    close_opener(&a);
    expect_next(HF_CONTROL_FRESH);
}

/* Nobody makes such a page, but who does shall get nothing by it. */
static void a_mark_that_is_none(void **state)
{
    static const uint64_t marks[] = {HF_CONTROL_LOCK_PRESENCES, UINT64_C(1) << 63, UINT64_MAX};
    for (size_t i = 0; i < LENGTH(marks); i++) {
        open_ready(&a, HF_CONTROL_FRESH);
        struct hf_control_page *page = (struct hf_control_page *)(void *)a.control.base;
        page->mark = marks[i];
        page->checksum = hf_checksum64(page, offsetof(struct hf_control_page, checksum), HF_CONTROL_MAGIC);
        assert_int_equal(try_open(&b), HF_BUSY);
        close_opener(&a);
        expect_next(HF_CONTROL_FRESH);
    }
}

/* -- whatever is done to the lock file, there are never two -- */

static void deleted_while_it_is_used(void **state)
{
    open_ready(&a, HF_CONTROL_FRESH);
    ok(unlink(lock_file));
    assert_int_equal(try_open(&b), HF_BUSY);
    assert_int_equal(access(lock_file, F_OK), -1);
    close_opener(&a);
    expect_next(HF_CONTROL_FRESH);
}

static void copy_file(const char *from, const char *to)
{
    static char bytes[SIZE];
    int fd = open(from, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, bytes, SIZE), SIZE);
    close(fd);
    write_file(to, bytes, SIZE, 0600);
}

static void replaced_while_it_is_used(void **state)
{
    open_ready(&a, HF_CONTROL_FRESH);
    copy_file(lock_file, in_folder("copy"));
    ok(rename(in_folder("copy"), lock_file));
    assert_int_equal(try_open(&b), HF_BUSY);
    ok(unlink(lock_file));
    write_file(lock_file, "", 0, 0600);
    assert_int_equal(try_open(&b), HF_BUSY);
    close_opener(&a);
    expect_next(HF_CONTROL_FRESH);
}

/* A lock file of this boot and of this FILE, right in every byte; but it is not the one in use. */
static void an_older_one_put_back_while_it_is_used(void **state)
{
    open_ready(&a, HF_CONTROL_FRESH);
    close_opener(&a);
    ok(rename(lock_file, in_folder("old")));
    open_ready(&a, HF_CONTROL_FRESH);
    ok(rename(lock_file, in_folder("new")));
    ok(rename(in_folder("old"), lock_file));
    assert_int_equal(try_open(&b), HF_BUSY);
    /* A reader goes by FILE alone. */
    ok(try_read(&b));
    assert_null(b.control.base);
    abandon(&b);
    ok(rename(in_folder("new"), lock_file));
    open_ready(&b, HF_CONTROL_JOINED);
    close_opener(&a);
    close_opener(&b);
    expect_next(HF_CONTROL_TRUSTED);
}

static void another_file_of_the_same_name(void **state)
{
    open_ready(&a, HF_CONTROL_FRESH);
    write_file(in_folder("backup"), "a region", 8, 0600);
    ok(rename(in_folder("backup"), file));
    open_ready(&b, HF_CONTROL_FRESH); /* of the new FILE nobody is there; and a has its lock file still */
    *word(&a) = 1;
    assert_int_equal(*word(&b), 0);
    close_opener(&a);
    close_opener(&b);
    expect_next(HF_CONTROL_TRUSTED);
}

static void renamed_while_it_is_used(void **state)
{
    opener other;
    char moved[192];
    open_ready(&a, HF_CONTROL_FRESH);
    snprintf(moved, sizeof moved, "%s", in_folder("moved"));
    ok(rename(file, moved));
    assert_int_equal(try_path(&other, moved, O_RDWR, false, 0), HF_BUSY);
    ok(rename(lock_file, in_folder("moved-lock")));
    ok(try_path(&other, moved, O_RDWR, false, 0));
    assert_int_equal(other.control.state, HF_CONTROL_JOINED);
    abandon(&other);
    close_opener(&a);
}

static void under_two_names(void **state)
{
    opener other;
    ok(link(file, in_folder("twin")));
    open_ready(&a, HF_CONTROL_FRESH);
    assert_int_equal(try_path(&other, in_folder("twin"), O_RDWR, false, 0), HF_BUSY);
    close_opener(&a);
}

/* -- what is not ours is left alone -- */

static void expect_refused(int expected)
{
    opener reader;
    int before = count_descriptors();
    assert_int_equal(try_open(&b), expected);
    assert_int_equal(count_descriptors(), before);
    ok(try_read(&reader)); /* does without */
    assert_null(reader.control.base);
    assert_int_equal(reader.control.state, HF_CONTROL_FRESH);
    abandon(&reader);
    assert_int_equal(count_descriptors(), before);
}

static void things_of_its_name(void **state)
{
    char text[6] = "";
    write_file(in_folder("other"), "other", 5, 0600);
    ok(symlink(in_folder("other"), lock_file));
    expect_refused(HF_NOT_REGION);
    ok(unlink(lock_file));
    ok(symlink("nowhere", lock_file));
    expect_refused(HF_NOT_REGION);
    ok(unlink(lock_file));
    ok(mkdir(lock_file, 0700));
    expect_refused(HF_NOT_REGION);
    ok(rmdir(lock_file));
    ok(mkfifo(lock_file, 0600));
    expect_refused(HF_NOT_REGION);
    ok(unlink(lock_file));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%.100s", lock_file);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ok(bind(fd, (struct sockaddr *)&address, sizeof address));
    expect_refused(HF_NOT_REGION);
    close(fd);
    ok(unlink(lock_file));
    ok(link(in_folder("other"), lock_file));
    expect_refused(HF_DENIED);
    ok(unlink(lock_file));
    fd = open(in_folder("other"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, text, 6), 5);
    assert_string_equal(text, "other");
    close(fd);
    expect_next(HF_CONTROL_FRESH);
}

static void one_that_others_may_write(void **state)
{
    open_ready(&a, HF_CONTROL_FRESH);
    close_opener(&a);
    ok(chmod(lock_file, 0660));
    expect_refused(HF_DENIED);
    ok(chmod(lock_file, 0600));
    expect_next(HF_CONTROL_TRUSTED);
    if (geteuid() != 0)
        skip();
    ok(chown(lock_file, 65534, 65534));
    expect_refused(HF_DENIED);
    ok(chown(lock_file, 0, 0));
    expect_next(HF_CONTROL_TRUSTED);
}

/* -- where it is -- */

static void by_way_of_links(void **state)
{
    static const char *const targets[] = {"file", "./file", "one", "../%s/two", "%s/three"};
    static const char *const names[] = {"one", "two", "three", "four", "five"};
    char target[192], path[192];
    open_ready(&a, HF_CONTROL_FRESH);
    for (size_t i = 0; i < LENGTH(targets); i++) {
        const char *folder_name = targets[i][0] == '.' ? strrchr(folder, '/') + 1 : folder;
        if (strchr(targets[i], '%') == NULL)
            snprintf(target, sizeof target, "%s", targets[i]);
        else
            snprintf(target, sizeof target, "%s%s%s", targets[i][0] == '.' ? "../" : "", folder_name,
                     strrchr(targets[i], '/'));
        snprintf(path, sizeof path, "%s", in_folder(names[i]));
        ok(symlink(target, path));
        ok(try_path(&b, path, O_RDWR, false, 0));
        assert_int_equal(b.control.state, HF_CONTROL_JOINED);
        abandon(&b);
    }
    /* A link's own name may be as long as names can be: nothing is put behind it. */
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = open(file, O_RDWR | O_CLOEXEC);
    char longest[64 + 256];
    snprintf(longest, sizeof longest, "%s/", folder);
    size_t length = strlen(longest);
    memset(longest + length, 'l', 255);
    longest[length + 255] = '\0';
    ok(symlinkat("file", dir, longest + length));
    ok(hf_control_open(fd, longest, SIZE, false, 0, &b.control));
    hf_control_abandon(fd, &b.control);
    close(dir);
    close(fd);
    close_opener(&a);
}

static void by_a_relative_path(void **state)
{
    int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    open_ready(&a, HF_CONTROL_FRESH);
    ok(chdir(folder));
    ok(try_path(&b, "file", O_RDWR, false, 0));
    assert_int_equal(b.control.state, HF_CONTROL_JOINED);
    abandon(&b);
    ok(fchdir(here));
    close(here);
    close_opener(&a);
}

static void expect_path(int fd, const char *path, int status)
{
    int before = count_descriptors();
    assert_int_equal(hf_control_open(fd, path, SIZE, false, 0, &a.control), status);
    assert_int_equal(count_descriptors(), before);
}

static void paths_that_do_not_lead_to_it(void **state)
{
    char longest[8200], name[400];
    int fd = open(file, O_RDWR | O_CLOEXEC);
    write_file(in_folder("other"), "other", 5, 0600);
    ok(symlink("loop", in_folder("loop")));
    ok(symlink("nowhere", in_folder("dangling")));
    memset(longest, 'x', sizeof longest);
    longest[8000] = '/';
    longest[sizeof longest - 1] = '\0';
    /* A name that is allowed, but not with what is put behind it. */
    memset(name, 'n', sizeof name);
    memcpy(name, file, strlen(folder) + 1);
    name[strlen(folder) + 1 + 251] = '\0';
    ok(link(file, name));
    expect_path(fd, in_folder("other"), HF_ABSENT);
    expect_path(fd, in_folder("none"), HF_ABSENT);
    expect_path(fd, in_folder("dangling"), HF_ABSENT);
    expect_path(fd, in_folder("nowhere/file"), HF_ABSENT);
    expect_path(fd, in_folder("loop"), HF_INVALID);
    expect_path(fd, folder, HF_ABSENT);
    expect_path(fd, "", HF_ABSENT);
    expect_path(fd, "/", HF_ABSENT);
    expect_path(fd, longest, HF_INVALID);
    expect_path(fd, name, HF_INVALID);
    name[strlen(folder) + 1 + 250] = '\0';
    ok(link(file, name));
    ok(hf_control_open(fd, name, SIZE, false, 0, &a.control));
    abandon(&(opener){fd, a.control});
    expect_next(HF_CONTROL_FRESH);
}

static void a_descriptor_for_reading_is_no_writers(void **state)
{
    assert_int_equal(try_path(&a, file, O_RDONLY, false, 0), HF_INVALID);
    assert_int_equal(access(lock_file, F_OK), -1);
}

/* -- waiting -- */

static int64_t monotonic(void)
{
    struct timespec time;
    ok(clock_gettime(CLOCK_MONOTONIC, &time));
    return (int64_t)time.tv_sec * SECOND + time.tv_nsec;
}

static void *ready_later(void *opened)
{
    opener *o = opened;
    ok(usleep(30000));
    return hf_control_ready(o->fd, &o->control) == 0 ? opened : NULL;
}

static void openers_wait_for_each_other(void **state)
{
    pthread_t thread;
    void *done;
    open_as(&a, HF_CONTROL_FRESH);
    assert_int_equal(try_open(&b), HF_TIMEOUT);
    assert_int_equal(try_read(&b), HF_TIMEOUT);
    int64_t limit = 20000000, start = monotonic();
    assert_int_equal(try_path(&b, file, O_RDWR, false, limit), HF_TIMEOUT);
    assert_true(monotonic() - start >= limit);
    ok(pthread_create(&thread, NULL, ready_later, &a));
    ok(try_path(&b, file, O_RDWR, false, -1));
    ok(pthread_join(thread, &done));
    assert_non_null(done);
    assert_int_equal(b.control.state, HF_CONTROL_JOINED);
    ok(pthread_create(&thread, NULL, ready_later, &b));
    ok(try_path(&c, file, O_RDONLY, true, INT64_C(60) * SECOND));
    ok(pthread_join(thread, &done));
    assert_non_null(done);
    abandon(&c);
    close_opener(&a);
    close_opener(&b);
}

static void readers_do_not_wait_for_each_other(void **state)
{
    ok(try_read(&a));
    ok(try_read(&b));
    assert_int_equal(try_open(&c), HF_TIMEOUT);
    ok(hf_control_ready(a.fd, &a.control));
    ok(hf_control_ready(b.fd, &b.control));
    expect_next(HF_CONTROL_FRESH);
    close_opener(&a);
    close_opener(&b);
}

/* -- readers -- */

static void a_reader_makes_nothing(void **state)
{
    ok(try_read(&a));
    assert_int_equal(a.control.state, HF_CONTROL_FRESH);
    assert_true(a.control.base == NULL && a.control.fd == -1 && !a.control.writable && !a.control.writer);
    assert_int_equal(access(lock_file, F_OK), -1);
    assert_int_equal(hf_control_current(&a.control), 0);
    assert_int_equal(hf_control_readers(a.fd), 0); /* others, that is */
    ok(hf_control_ready(a.fd, &a.control));
    /* It is in nobody's way, but is seen. */
    open_ready(&b, HF_CONTROL_FRESH);
    assert_int_equal(hf_control_readers(b.fd), 1);
    assert_int_equal(hf_control_alone(b.fd, &b.control, 0), 1);
    ok(hf_control_not_alone(b.fd, &b.control));
    close_opener(&a);
    assert_int_equal(hf_control_readers(b.fd), 0);
    close_opener(&b);
}

static void a_reader_uses_what_is_there(void **state)
{
    open_ready(&a, HF_CONTROL_FRESH);
    ok(try_read(&b));
    assert_int_equal(b.control.state, HF_CONTROL_JOINED);
    assert_true(b.control.writable && !b.control.writer);
    *word(&b) = 8;
    assert_int_equal(*word(&a), 8);
    ok(hf_control_ready(b.fd, &b.control));
    assert_int_equal(hf_control_readers(a.fd), 0);
    assert_int_equal(hf_control_alone(a.fd, &a.control, 0), 0);
    close_opener(&a);
    /* It keeps the lock file from being made again. */
    open_ready(&a, HF_CONTROL_JOINED);
    ok(unlink(lock_file));
    close_opener(&a);
    assert_int_equal(try_open(&a), HF_BUSY);
    close_opener(&b);
    open_ready(&a, HF_CONTROL_FRESH);
    *word(&a) = 6;
    close_opener(&a);
    /* Nobody is there, but it is of this boot. */
    ok(try_read(&b));
    assert_int_equal(b.control.state, HF_CONTROL_TRUSTED);
    assert_int_equal(*word(&b), 6);
    ok(hf_control_ready(b.fd, &b.control));
    open_ready(&a, HF_CONTROL_JOINED);
    close_opener(&a);
    close_opener(&b);
    /* It is not known to be of this boot: the reader is not among those who use it. */
    use_boot(NULL, ENOENT);
    ok(try_read(&b));
    assert_null(b.control.base);
    ok(hf_control_ready(b.fd, &b.control));
    open_ready(&a, HF_CONTROL_FRESH);
    assert_int_equal(hf_control_readers(a.fd), 1);
    close_opener(&a);
    close_opener(&b);
}

static void a_reader_that_does_not_believe(void **state)
{
    open_ready(&a, HF_CONTROL_FRESH);
    close_opener(&a);
    ok(try_read(&b));
    assert_int_equal(b.control.state, HF_CONTROL_TRUSTED);
    ok(hf_control_afresh(b.fd, file, SIZE, &b.control));
    assert_true(b.control.state == HF_CONTROL_FRESH && b.control.base == NULL && !b.control.writable);
    ok(hf_control_ready(b.fd, &b.control));
    open_ready(&a, HF_CONTROL_TRUSTED);
    assert_int_equal(hf_control_readers(a.fd), 1);
    close_opener(&a);
    close_opener(&b);
}

/* The folder, as it can be seen but not be changed. */
static void read_only_media(void)
{
    must(mount(folder, folder, NULL, MS_BIND, NULL) == 0);
    must(mount(NULL, folder, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) == 0);
}

static void on_read_only_media_child(void)
{
    opener early;
    own_mounts();
    must(try_open(&early) == 0 && hf_control_ready(early.fd, &early.control) == 0);
    read_only_media();
    must(open(file, O_RDWR | O_CLOEXEC) == -1 && errno == EROFS);
    must(try_read(&a) == 0 && a.control.state == HF_CONTROL_JOINED);
    must(!a.control.writable && a.control.base != NULL && hf_control_ready(a.fd, &a.control) == 0);
    *word(&early) = 4;
    must(*word(&a) == 4 && hf_control_current(&a.control) == 1);
    must(hf_control_readers(early.fd) == 1 && hf_control_alone(early.fd, &early.control, 0) == 1);
    must(hf_control_not_alone(early.fd, &early.control) == 0);
    must(hf_control_leave(early.fd, &early.control, 0) == 1 && hf_control_retire(early.fd, &early.control) == 1);
    must(hf_control_current(&a.control) == 0);
    close_opener(&early);
    close_opener(&a);
    /* Nobody is there. */
    must(try_read(&a) == 0 && a.control.state == HF_CONTROL_FRESH && a.control.base == NULL);
    abandon(&a);
    must(umount(folder) == 0);
    must(try_open(&early) == 0 && early.control.state == HF_CONTROL_FRESH);
    must(hf_control_ready(early.fd, &early.control) == 0);
    close_opener(&early);
    read_only_media();
    must(try_read(&a) == 0 && a.control.state == HF_CONTROL_TRUSTED && a.control.base != NULL);
    must(hf_control_ready(a.fd, &a.control) == 0);
    must(umount2(folder, MNT_DETACH) == 0);
    must(unlink(lock_file) == 0 && hf_control_current(&a.control) == 0);
    close_opener(&a);
}

static void on_read_only_media(void **state)
{
    in_a_child(on_read_only_media_child);
}

static void in_a_folder_that_cannot_be_written_child(void)
{
    if (geteuid() != 0)
        _exit(77);
    must(chmod(folder, 0755) == 0 && chown(file, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);
    must(try_open(&a) == HF_DENIED);
    must(try_read(&a) == 0 && a.control.state == HF_CONTROL_FRESH && a.control.base == NULL);
    must(hf_control_ready(a.fd, &a.control) == 0);
}

static void in_a_folder_that_cannot_be_written(void **state)
{
    in_a_child(in_a_folder_that_cannot_be_written_child);
}

static void of_somebody_elses_file_child(void)
{
    if (geteuid() != 0)
        _exit(77);
    must(try_open(&b) == 0 && hf_control_ready(b.fd, &b.control) == 0);
    must(chmod(folder, 0755) == 0 && chmod(file, 0644) == 0 && setresuid(65534, 65534, 65534) == 0);
    must(try_read(&a) == 0 && a.control.state == HF_CONTROL_FRESH && a.control.base == NULL);
    must(hf_control_ready(a.fd, &a.control) == 0 && hf_control_readers(b.fd) == 1);
}

static void a_reader_of_somebody_elses_file(void **state)
{
    in_a_child(of_somebody_elses_file_child);
}

/* -- who is there -- */

static void alone_or_not(void **state)
{
    open_ready(&a, HF_CONTROL_FRESH);
    assert_int_equal(hf_control_alone(a.fd, &a.control, 0), 1);
    assert_int_equal(try_open(&b), HF_TIMEOUT);
    ok(hf_control_not_alone(a.fd, &a.control));
    open_as(&b, HF_CONTROL_JOINED);
    assert_int_equal(hf_control_alone(a.fd, &a.control, 1000), HF_TIMEOUT);
    assert_int_equal(hf_control_leave(a.fd, &a.control, 0), HF_TIMEOUT);
    ok(hf_control_ready(b.fd, &b.control));
    assert_int_equal(hf_control_alone(a.fd, &a.control, 0), 0);
    assert_int_equal(hf_control_alone(b.fd, &b.control, 0), 0);
    expect_next(HF_CONTROL_JOINED); /* neither has kept a lock */
    close_opener(&a);
    assert_int_equal(hf_control_alone(b.fd, &b.control, 0), 1);
    close_opener(&b); /* both go with it */
    expect_next(HF_CONTROL_TRUSTED);
}

static void the_last_writer_leaves(void **state)
{
    open_ready(&a, HF_CONTROL_FRESH);
    open_ready(&b, HF_CONTROL_JOINED);
    ok(try_read(&c));
    ok(hf_control_ready(c.fd, &c.control));
    assert_int_equal(hf_control_leave(c.fd, &c.control, 0), 0);
    /* Both before either has closed; and a reader does not count. */
    assert_int_equal(hf_control_leave(a.fd, &a.control, 0), 0);
    assert_int_equal(hf_control_leave(b.fd, &b.control, 0), 1);
    assert_int_equal(hf_control_retire(b.fd, &b.control), 0);
    close_opener(&a);
    close_opener(&b);
    open_ready(&a, HF_CONTROL_JOINED);
    close_opener(&c);
    assert_int_equal(hf_control_leave(a.fd, &a.control, 0), 1);
    assert_int_equal(hf_control_retire(a.fd, &a.control), 1);
    close_opener(&a);
    expect_next(HF_CONTROL_FRESH);
}

/* A fork: what the first description has, the second keeps. */
static void a_second_description(void **state)
{
    open_ready(&a, HF_CONTROL_FRESH);
    int again = open(file, O_RDWR | O_CLOEXEC);
    ok(hf_control_join_again(again, &a.control));
    close_opener(&a);
    open_ready(&b, HF_CONTROL_JOINED);
    assert_int_equal(hf_control_leave(b.fd, &b.control, 0), 0);
    ok(unlink(lock_file));
    close_opener(&b);
    assert_int_equal(try_open(&b), HF_BUSY);
    close(again);
    ok(try_read(&a));
    ok(hf_control_ready(a.fd, &a.control));
    again = open(file, O_RDONLY | O_CLOEXEC);
    ok(hf_control_join_again(again, &a.control));
    close_opener(&a);
    open_ready(&a, HF_CONTROL_FRESH);
    assert_int_equal(hf_control_readers(a.fd), 1);
    close(again);
    assert_int_equal(hf_control_readers(a.fd), 0);
    close_opener(&a);
}

/* A mapping, which a child of a fork has too, does not keep the locks of slots. */
static void locks_of_slots_end_with_their_descriptor(void **state)
{
    struct flock slot = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = HF_REGION_LOCK_SLOTS, .l_len = 1};
    for (int turn = 0; turn < 3; turn++) {
        bool read_only = turn == 2;
        if (turn > 0)
            open_ready(&b, HF_CONTROL_TRUSTED);
        ok(try_path(&a, file, O_RDWR, read_only, 0));
        ok(hf_control_ready(a.fd, &a.control));
        ok(fcntl(a.control.fd, F_OFD_SETLK, &slot));
        int fd = open(lock_file, O_RDWR | O_CLOEXEC);
        assert_int_equal(fcntl(fd, F_OFD_SETLK, &slot), -1);
        close(a.control.fd);
        a.control.fd = -1;
        assert_int_equal(*word(&a), 0);
        ok(fcntl(fd, F_OFD_SETLK, &slot));
        close(fd);
        close_opener(&a);
        if (turn > 0)
            close_opener(&b);
    }
}

/* -- file systems -- */

static long system_type;

static int other_fstatfs(int fd, struct statfs *out)
{
    int result = hf_os_native.fstatfs(fd, out);
    out->f_type = system_type;
    return result;
}

static void network_file_systems_are_refused(void **state)
{
    static const long refused[] = {0x6969,     0x517b,     (int)0xff534d42, 0xff534d42, 0xfe534d42,
                                   0x5346414f, 0x00c36400, 0x0bd00bd0,      0x47504653, 0x01021997,
                                   0x65735546, 0x7461636f, 0x01161970};
    static const long fine[] = {0xef53 /* ext4 */,
                                0x58465342 /* xfs */,
                                0x9123683e /* btrfs */,
                                0x01021994 /* tmpfs */,
                                0x794c7630 /* overlay */,
                                0x2fc12fc1 /* zfs */,
                                0xf2f52010 /* f2fs */};
    struct hf_os table = hf_os_native;
    table.fstatfs = other_fstatfs;
    hf_os_replace(&table);
    for (size_t i = 0; i < LENGTH(refused); i++) {
        system_type = refused[i];
        assert_int_equal(try_open(&a), HF_NETWORK);
        assert_int_equal(try_read(&a), HF_NETWORK);
        assert_int_equal(access(lock_file, F_OK), -1);
    }
    for (size_t i = 0; i < LENGTH(fine); i++) {
        system_type = fine[i];
        ok(try_open(&a));
        abandon(&a);
    }
    hf_os_replace(NULL);
}

static void on_a_full_tmpfs_child(void)
{
    static char filler[1 << 20];
    own_mounts();
    if (mount("tmpfs", folder, "tmpfs", 0, "size=1m,mode=700") < 0)
        _exit(77);
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, filler, sizeof filler) > 900000);
    must(hf_control_open(fd, file, SIZE, false, 0, &a.control) == HF_NOSPACE);
    must(access(lock_file, F_OK) == -1);
    must(ftruncate(fd, 4096) == 0);
    must(hf_control_open(fd, file, SIZE, false, 0, &a.control) == 0 && a.control.state == HF_CONTROL_FRESH);
    memset(a.control.base + HF_REGION_PAGE, 'x', SIZE - HF_REGION_PAGE);
    hf_control_close(&a.control);
    close(fd);
    must(umount(folder) == 0);
}

static void on_a_full_tmpfs(void **state)
{
    in_a_child(on_a_full_tmpfs_child);
}

static int no_fallocate(int fd, int mode, off_t at, off_t length)
{
    return -EOPNOTSUPP;
}

static void without_fallocate(void **state)
{
    struct hf_os table = hf_os_native;
    struct stat found;
    table.fallocate = no_fallocate;
    hf_os_replace(&table);
    open_as(&a, HF_CONTROL_FRESH);
    assert_true(is_zero(&a));
    ok(fstat(a.control.fd, &found));
    assert_true(found.st_size == SIZE && found.st_blocks * 512 >= SIZE);
    abandon(&a);
    hf_os_replace(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, a_folder, no_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_finds_nothing_and_leaves_something),
        TEST(others_join),
        TEST(slots_added_since_are_seen),
        TEST(what_was_not_made_ready_is_made_again),
        TEST(what_does_not_hold_is_made_afresh),
        TEST(nothing_is_trusted_across_a_boot),
        TEST(without_a_boot_id_only_the_living_are_trusted),
        TEST(a_damaged_lock_file),
        TEST(a_lock_file_of_another_byte_order),
        TEST(a_mark_that_is_none),
        TEST(deleted_while_it_is_used),
        TEST(replaced_while_it_is_used),
        TEST(an_older_one_put_back_while_it_is_used),
        TEST(another_file_of_the_same_name),
        TEST(renamed_while_it_is_used),
        TEST(under_two_names),
        TEST(things_of_its_name),
        TEST(one_that_others_may_write),
        TEST(by_way_of_links),
        TEST(by_a_relative_path),
        TEST(paths_that_do_not_lead_to_it),
        TEST(a_descriptor_for_reading_is_no_writers),
        TEST(openers_wait_for_each_other),
        TEST(readers_do_not_wait_for_each_other),
        TEST(a_reader_makes_nothing),
        TEST(a_reader_uses_what_is_there),
        TEST(a_reader_that_does_not_believe),
        TEST(on_read_only_media),
        TEST(in_a_folder_that_cannot_be_written),
        TEST(a_reader_of_somebody_elses_file),
        TEST(alone_or_not),
        TEST(the_last_writer_leaves),
        TEST(a_second_description),
        TEST(locks_of_slots_end_with_their_descriptor),
        TEST(network_file_systems_are_refused),
        TEST(on_a_full_tmpfs),
        TEST(without_fallocate),
    };
    return cmocka_run_group_tests_name("region/control", tests, NULL, NULL);
}

/*
 * The API of a region in a file: opening what is one and what is not, who may and who may not, readers that may not write,
 * levels and flushes, forks, and stores whose disk has failed.
 */
#include "test_region_child.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { SPACE = 64 << 20 };

static char path[96], beside[112];
static hf_region *region, *other;

static const hf_region_options create = {.mode = HF_REGION_CREATE, .reserve = SPACE};
static const hf_region_options attach = {.mode = HF_REGION_ATTACH, .reserve = SPACE};
static const hf_region_options either = {.mode = HF_REGION_EITHER, .reserve = SPACE};
static const hf_region_options lazy = {.mode = HF_REGION_EITHER, .reserve = SPACE, .level = HF_REGION_OFF};
static const hf_region_options reading = {.mode = HF_REGION_ATTACH, .reserve = SPACE, .read_only = true};

static int a_path(void **state)
{
    file_name(path);
    snprintf(beside, sizeof beside, "%s-lock", path);
    region = other = NULL;
    return 0;
}

static int no_path(void **state)
{
    hf_fault_disarm();
    files_remove();
    return 0;
}

/* -- small things -- */

static int get_number(hf_region *from, int key)
{
    hf_view view;
    int status = hf_view_pin(from, &view);
    if (status < 0)
        return status;
    int number = number_in(&view, key);
    hf_view_unpin(&view);
    return number;
}

static void write_bytes(const char *to, const void *bytes, size_t size)
{
    int fd = open(to, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, size, 0), (ssize_t)size);
    close(fd);
}

static size_t read_bytes(const char *from, void *bytes, size_t room)
{
    int fd = open(from, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t got = pread(fd, bytes, room, 0);
    assert_true(got >= 0);
    close(fd);
    return (size_t)got;
}

static hf_region_stats stats_of(hf_region *of)
{
    hf_region_stats stats;
    ok(hf_region_stats_get(of, &stats));
    return stats;
}

/* A file with a number, closed. */
static void closed_file(void)
{
    ok(hf_region_open_file(path, &create, &region));
    ok(put_number(region, 1, 11));
    ok(hf_region_close(region));
}

/* -- what is a region -- */

static void attach_needs_a_file_and_create_needs_none(void **state)
{
    uint64_t id[2], again[2];
    hf_region_options bad = create;
    bad.read_only = true;
    assert_int_equal(hf_region_open_file("", &either, &region), HF_INVALID);
    assert_int_equal(hf_region_open_file(path, &bad, &region), HF_INVALID);
    assert_int_equal(hf_region_open_file(path, NULL, &region), HF_ABSENT);
    assert_int_equal(hf_region_open_file(path, &reading, &region), HF_ABSENT);
    ok(hf_region_open_file(path, &create, &region));
    assert_int_equal(hf_region_open_file(path, &create, &other), HF_EXISTS);
    ok(hf_region_open_file(path, NULL, &other));
    hf_region_id(region, id);
    hf_region_id(other, again);
    assert_memory_equal(id, again, sizeof id);
    assert_true(hf_region_seed(region) == hf_region_seed(other));
    ok(put_number(other, 1, 1));
    assert_int_equal(get_number(region, 1), 1);
    ok(put_number(region, 1, 2));
    assert_int_equal(get_number(other, 1), 2);
    ok(hf_region_close(other));
    ok(hf_region_open_file(path, &either, &other));
    ok(hf_region_close(region));
    ok(hf_region_close(other));
    ok(hf_region_open_file(path, &attach, &region));
    hf_region_id(region, again);
    assert_memory_equal(id, again, sizeof id);
    assert_int_equal(get_number(region, 1), 2);
    region_check(region);
    ok(hf_region_close(region));
    assert_int_equal(hf_region_open_file(path, &create, &region), HF_EXISTS);
    char missing[200];
    snprintf(missing, sizeof missing, "%s/nowhere/at all", files_in);
    assert_int_equal(hf_region_open_file(missing, &either, &region), HF_ABSENT);
}

static void what_is_no_region_is_left_alone(void **state)
{
    char text[20000] = "#!/bin/sh\necho this belongs to another program\n", left[20000];
    static const size_t sizes[] = {0, 1, 48, 4096, 20000};
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        write_bytes(path, text, sizes[i]);
        assert_int_equal(hf_region_open_file(path, &attach, &region), HF_NOT_REGION);
        assert_int_equal(hf_region_open_file(path, &either, &region), HF_NOT_REGION);
        assert_int_equal(hf_region_open_file(path, &reading, &region), HF_NOT_REGION);
        assert_int_equal(hf_region_open_file(path, &create, &region), HF_EXISTS);
        assert_int_equal(read_bytes(path, left, sizeof left), sizes[i]);
        assert_memory_equal(left, text, sizes[i]);
        assert_int_equal(access(beside, F_OK), -1);
    }
}

static void on_too_slow(int number)
{
    static const char text[] = "an open waits for ever\n";
    (void)!write(2, text, sizeof text - 1);
    _exit(1);
}

static void what_is_no_file_is_refused(void **state)
{
    int before = count_descriptors();
    signal(SIGALRM, on_too_slow);
    ok(mkdir(path, 0700));
    assert_int_equal(hf_region_open_file(path, &either, &region), HF_NOT_REGION);
    assert_int_equal(hf_region_open_file(path, &reading, &region), HF_NOT_REGION);
    ok(rmdir(path));
    ok(mkfifo(path, 0600));
    alarm(10);
    assert_int_equal(hf_region_open_file(path, &either, &region), HF_NOT_REGION);
    assert_int_equal(hf_region_open_file(path, &reading, &region), HF_NOT_REGION);
    alarm(0);
    signal(SIGALRM, SIG_DFL);
    ok(unlink(path));
    assert_int_equal(hf_region_open_file("/dev/null", &attach, &region), HF_NOT_REGION);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ok(bind(fd, (struct sockaddr *)&address, sizeof address));
    assert_true(hf_region_open_file(path, &attach, &region) < 0);
    close(fd);
    ok(unlink(path));
    assert_int_equal(count_descriptors(), before);
}

static void symbolic_links_lead_to_it(void **state)
{
    char link[120], links_own[130];
    snprintf(link, sizeof link, "%s.link", path);
    snprintf(links_own, sizeof links_own, "%s-lock", link);
    ok(symlink(path, link));
    /* One that leads nowhere is no file, and makes none. */
    assert_int_equal(hf_region_open_file(link, &attach, &region), HF_ABSENT);
    assert_true(hf_region_open_file(link, &create, &region) < 0);
    assert_int_equal(access(path, F_OK), -1);
    ok(hf_region_open_file(path, &create, &region));
    ok(hf_region_open_file(link, &attach, &other));
    ok(put_number(other, 1, 5));
    assert_int_equal(get_number(region, 1), 5);
    assert_int_equal(access(links_own, F_OK), -1);
    ok(access(beside, F_OK));
    ok(hf_region_close(region));
    ok(hf_region_close(other));
    ok(hf_region_open_file(link, &reading, &region));
    assert_int_equal(get_number(region, 1), 5);
    ok(hf_region_close(region));
}

static void truncated_files_are_damaged(void **state)
{
    static const int lengths[] = {8192, 8191, 12288, 16384, 20479, 20480, 24576, 40960, 100000};
    static unsigned char bytes[200000];
    static model m;
    hf_txn *txn;
    model_clear(&m);
    ok(hf_region_open_file(path, &create, &region));
    ok(hf_txn_begin(region, 0, &txn));
    for (int key = 0; key < KEYS; key++)
        assert_int_equal(both_put(txn, &m, 0, key, key + 400), 1);
    ok(hf_txn_commit(txn));
    assert_true(stats_of(region).top > 110000);
    ok(hf_region_close(region));
    size_t size = read_bytes(path, bytes, sizeof bytes);
    assert_true(size > 110000);
    for (int i = 0; i < (int)LENGTH(lengths); i++) {
        write_bytes(path, bytes, (size_t)lengths[i]);
        unlink(beside);
        assert_int_equal(hf_region_open_file(path, &attach, &region), HF_CORRUPT);
        assert_int_equal(hf_region_open_file(path, &reading, &region), HF_CORRUPT);
    }
    write_bytes(path, bytes, 40);
    assert_int_equal(hf_region_open_file(path, &attach, &region), HF_CORRUPT);
}

static void other_versions_are_refused(void **state)
{
    static const struct {
        size_t at;
        uint64_t mask;
        int status;
    } changes[] = {
        {offsetof(struct hf_superblock, magic), 1, HF_NOT_REGION},
        {offsetof(struct hf_superblock, endian), UINT64_MAX, HF_FORMAT},
        {offsetof(struct hf_superblock, format), 2, HF_FORMAT},
        {offsetof(struct hf_superblock, incompatible), 4, HF_FORMAT},
        {offsetof(struct hf_superblock, seed), 8, HF_CORRUPT},
        {offsetof(struct hf_superblock, heap_at), 8, HF_CORRUPT},
        {offsetof(struct hf_superblock, checksum), 8, HF_CORRUPT},
    };
    char page[4096];
    closed_file();
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, page, sizeof page, 0), sizeof page);
    for (size_t i = 0; i < LENGTH(changes); i++) {
        uint64_t word;
        memcpy(&word, page + changes[i].at, sizeof word);
        word ^= changes[i].mask;
        assert_int_equal(pwrite(fd, &word, sizeof word, (off_t)changes[i].at), sizeof word);
        assert_int_equal(hf_region_open_file(path, &attach, &other), changes[i].status);
        assert_int_equal(hf_region_open_file(path, &reading, &other), changes[i].status);
        assert_int_equal(pwrite(fd, page, sizeof page, 0), sizeof page);
    }
    uint64_t turned = __builtin_bswap64(HF_FILE_MAGIC), shared = HF_REGION_MAGIC;
    assert_int_equal(pwrite(fd, &turned, sizeof turned, 0), sizeof turned);
    assert_int_equal(hf_region_open_file(path, &attach, &other), HF_FORMAT);
    assert_int_equal(pwrite(fd, &shared, sizeof shared, 0), sizeof shared);
    assert_int_equal(hf_region_open_file(path, &attach, &other), HF_NOT_REGION);
    assert_int_equal(pwrite(fd, page, sizeof page, 0), sizeof page);
    ok(hf_region_open_file(path, &attach, &other));
    ok(hf_region_close(other));
    close(fd);
}

/* -- whose it is -- */

static void files_are_their_owners_alone(void **state)
{
    struct stat found;
    mode_t mask = umask(0);
    ok(hf_region_open_file(path, &create, &region));
    ok(put_number(region, 1, 1));
    umask(mask);
    ok(stat(path, &found));
    assert_int_equal(found.st_mode & 07777, 0600);
    ok(stat(beside, &found));
    assert_int_equal(found.st_mode & 07777, 0600);
    ok(hf_region_close(region));
    if (geteuid() != 0)
        skip();
    ok(chown(path, 65534, 65534));
    assert_int_equal(hf_region_open_file(path, &attach, &region), HF_DENIED);
    /* To read it is another matter. */
    ok(hf_region_open_file(path, &reading, &region));
    assert_int_equal(get_number(region, 1), 1);
    ok(hf_region_close(region));
}

static void as_nobody(void)
{
    must(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);
}

static void others_may_not_child(void)
{
    as_nobody();
    must(hf_region_open_file(path, &attach, &region) == HF_DENIED);
    must(hf_region_open_file(path, &reading, &region) == HF_DENIED);
}

static void others_may_not(void **state)
{
    if (geteuid() != 0)
        skip();
    closed_file();
    ok(chmod(files_in, 0755));
    in_a_child(others_may_not_child);
    ok(chmod(files_in, 0700));
}

/* -- readers that may not write -- */

/* The reader has number 11; the writer, on the other end of the pipes, changes it. */
static int to_reader[2], to_writer[2];

static void tell(int fd)
{
    must(write(fd, "x", 1) == 1);
}

static void hear(int fd)
{
    char byte;
    must(read(fd, &byte, 1) == 1);
}

/* Before and after the writer has written: the same version, by the same view. */
static void read_twice(hf_region *own)
{
    hf_snapshot *snapshot;
    hf_view view;
    hf_txn *txn;
    must(get_number(own, 1) == 11);
    must(hf_snapshot_begin(own, &snapshot) == 0 && hf_view_pin(own, &view) == 0);
    must(hf_txn_begin(own, 0, &txn) == HF_DENIED);
    must(hf_region_check(own, 0, NULL) == 0);
    tell(to_writer[1]);
    hear(to_reader[0]);
    must(number_in(hf_snapshot_view(snapshot), 1) == 11 && number_in(&view, 1) == 11);
    for (int key = 2; key < KEYS; key++)
        must(number_in(&view, key) == 10 * key);
    hf_view_unpin(&view);
    /* A child reads on as well. */
    pid_t child = fork();
    if (child == 0) {
        /* Its views have slots of their own, and where there are no more it takes those that its parent's had. */
        static hf_view views[HF_REGION_SLOTS_STEP * 2];
        int pinned = 0, last = 0;
        while (pinned < (int)LENGTH(views) && (last = hf_view_pin(own, &views[pinned])) == 0)
            pinned++;
        must(last == 0 || last == HF_SLOTS);
        must(pinned >= HF_REGION_SLOTS_STEP - 1);
        while (pinned > 0)
            hf_view_unpin(&views[--pinned]);
        must(number_in(hf_snapshot_view(snapshot), 1) == 11 && get_number(own, 2) >= 0);
        _exit(0);
    }
    int status;
    must(waitpid(child, &status, 0) == child && status == 0);
    hf_snapshot_end(snapshot);
    must(hf_region_close(own) == 0);
}

static void reader_as_nobody(void)
{
    as_nobody();
    must(hf_region_open_file(path, &reading, &other) == 0);
    read_twice(other);
}

static void reader_as_owner(void)
{
    must(hf_region_open_file(path, &reading, &other) == 0);
    read_twice(other);
}

static uint64_t churn(hf_region *own, int rounds)
{
    for (int i = 0; i < rounds; i++)
        for (int key = 1; key < KEYS; key += 10)
            ok(put_number(own, key, 1000 + i + key));
    return stats_of(own).top;
}

/* A writer changes everything many times while the reader reads; then the reader goes, and the file stays as it is. */
static void beside_a_reader(void (*reader)(void), bool uses_slots)
{
    int status;
    ok(pipe(to_reader));
    ok(pipe(to_writer));
    ok(hf_region_open_file(path, &either, &region));
    for (int key = 1; key < KEYS; key++)
        ok(put_number(region, key, key == 1 ? 11 : 10 * key));
    ok(hf_region_flush(region, -1));
    pid_t child = fork();
    if (child == 0) {
        its_own_death();
        reader();
        _exit(0);
    }
    char byte;
    close(to_writer[1]); /* so that its end is heard */
    if (read(to_writer[0], &byte, 1) != 1) {
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(WEXITSTATUS(status), 77); /* no namespaces here */
        ok(hf_region_close(region));
        skip();
    }
    assert_int_equal(hf_control_readers(hf_region_fd(region)), uses_slots ? 0 : 1);
    uint64_t before = stats_of(region).top, beside_it = churn(region, 60);
    if (!uses_slots)
        assert_true(beside_it > before + (1 << 20));
    region_check(region);
    assert_int_equal(write(to_reader[1], "x", 1), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    /* First what is free is found out; then there is enough for ever. */
    uint64_t after = churn(region, 20);
    assert_true(churn(region, 100) <= after + (64 << 10));
    region_check(region);
    ok(hf_region_close(region));
    close(to_reader[0]);
    close(to_reader[1]);
    close(to_writer[0]);
}

static void a_reader_that_shares_the_lock_file(void **state)
{
    beside_a_reader(reader_as_owner, true);
}

/* Its owner's, but where nothing can be written: the lock file can be looked at. */
static void reader_of_read_only_media(void)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount(files_in, files_in, NULL, MS_BIND, NULL) < 0 ||
        mount(NULL, files_in, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0)
        _exit(77);
    must(open(path, O_RDWR | O_CLOEXEC) == -1 && errno == EROFS);
    must(hf_region_open_file(path, &attach, &other) == HF_READ_ONLY);
    reader_as_owner();
}

static void a_reader_that_may_look_at_the_lock_file(void **state)
{
    beside_a_reader(reader_of_read_only_media, false);
}

static void a_reader_without_the_lock_file(void **state)
{
    if (geteuid() != 0)
        skip();
    ok(hf_region_open_file(path, &create, &other));
    ok(chmod(files_in, 0755));
    ok(chmod(path, 0644));
    beside_a_reader(reader_as_nobody, false);
    ok(hf_region_close(other));
    ok(chmod(files_in, 0700));
}

/* Nobody has it open, or those who had it died: a reader recovers for itself, and writes nothing. */
static void a_reader_of_what_was_left(void **state)
{
    static unsigned char before[1 << 20], after[1 << 20];
    int status;
    closed_file();
    for (int turn = 0; turn < 4; turn++) {
        if (turn >= 2) {
            pid_t child = fork();
            if (child == 0)
                _exit(hf_region_open_file(path, &attach, &region) == 0 && put_number(region, 1, 11 + turn) == 0 ? 0
                                                                                                                : 1);
            assert_int_equal(waitpid(child, &status, 0), child);
            assert_int_equal(status, 0);
        }
        if (turn % 2 == 1)
            unlink(beside);
        size_t size = read_bytes(path, before, sizeof before);
        ok(hf_region_open_file(path, &reading, &region));
        assert_int_equal(get_number(region, 1), turn < 2 ? 11 : 11 + turn);
        hf_region_stats stats = stats_of(region);
        assert_false(stats.stepped_back);
        assert_int_equal(hf_region_flush(region, 0), 0);
        ok(hf_region_close(region));
        assert_int_equal(read_bytes(path, after, sizeof after), size);
        assert_memory_equal(before, after, size);
        if (turn % 2 == 1)
            assert_int_equal(access(beside, F_OK), -1);
    }
}

/* Media that cannot be written to. */
static void on_read_only_media_child(void)
{
    char mounted[] = "/tmp/hf-tmpfs-XXXXXX", file[64], lock[80];
    small_tmpfs(mounted, "size=16m");
    snprintf(file, sizeof file, "%s/region", mounted);
    snprintf(lock, sizeof lock, "%s-lock", file);
    must(hf_region_open_file(file, &create, &region) == 0);
    must(put_number(region, 1, 11) == 0 && hf_region_close(region) == 0);
    for (int turn = 0; turn < 2; turn++) {
        must(mount(NULL, mounted, NULL, MS_REMOUNT | MS_RDONLY, "size=16m") == 0);
        must(hf_region_open_file(file, &attach, &region) < 0);
        must(hf_region_open_file(file, &either, &region) < 0);
        must(hf_region_open_file(file, &reading, &region) == 0);
        must(hf_region_open_file(file, &reading, &other) == 0);
        must(get_number(region, 1) == 11 && get_number(other, 1) == 11);
        must(hf_region_close(region) == 0 && hf_region_close(other) == 0);
        must(mount(NULL, mounted, NULL, MS_REMOUNT, "size=16m") == 0);
        unlink(lock);
    }
    must(hf_region_open_file(file, &attach, &region) == 0);
    must(put_number(region, 1, 12) == 0 && hf_region_close(region) == 0);
    small_tmpfs_end(mounted);
}

static void on_read_only_media(void **state)
{
    in_a_child(on_read_only_media_child);
}

/* -- opening and closing -- */

static void being_opened_is_waited_for(void **state)
{
    hf_region_options patient = either;
    struct flock how = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = HF_CONTROL_LOCK_OPENERS, .l_len = 1};
    closed_file();
    int fd = open(path, O_RDWR | O_CLOEXEC);
    patient.timeout = 5 * 1000 * 1000;
    ok(fcntl(fd, F_OFD_SETLK, &how));
    assert_int_equal(hf_region_open_file(path, &either, &region), HF_TIMEOUT);
    assert_int_equal(hf_region_open_file(path, &patient, &region), HF_TIMEOUT);
    assert_int_equal(hf_region_open_file(path, &reading, &region), HF_TIMEOUT);
    close(fd);
    ok(hf_region_open_file(path, &either, &region));
    assert_int_equal(get_number(region, 1), 11);
    ok(hf_region_close(region));
}

static void *open_and_use(void *number)
{
    hf_region *own;
    hf_region_options patient = either;
    patient.timeout = -1;
    int key = (int)(uintptr_t)number;
    if (hf_region_open_file(path, &patient, &own) < 0)
        return NULL;
    int status = put_number(own, key, key);
    int closed = hf_region_close(own);
    return status == 0 && closed == 0 ? path : NULL;
}

static void several_create_at_once(void **state)
{
#ifdef __SANITIZE_THREAD__
    skip(); /* a mutex is an address to it */
#endif
    enum { CROWD = 8 };
    pthread_t threads[CROWD];
    void *result;
    for (int turn = 0; turn < 10; turn++) {
        unlink(path);
        unlink(beside);
        for (int i = 0; i < CROWD; i++)
            ok(pthread_create(&threads[i], NULL, open_and_use, (void *)(uintptr_t)(i + 1)));
        for (int i = 0; i < CROWD; i++) {
            ok(pthread_join(threads[i], &result));
            assert_non_null(result);
        }
        ok(hf_region_open_file(path, &attach, &region));
        for (int i = 0; i < CROWD; i++)
            assert_int_equal(get_number(region, i + 1), i + 1);
        assert_false(stats_of(region).recovered);
        region_check(region);
        ok(hf_region_close(region));
        char left[120];
        struct dirent *entry;
        DIR *folder = opendir(files_in);
        while ((entry = readdir(folder)) != NULL) {
            snprintf(left, sizeof left, "%.100s", entry->d_name);
            assert_null(strstr(left, ".new-"));
        }
        closedir(folder);
    }
}

static void a_lock_file_that_was_taken_away(void **state)
{
    ok(hf_region_open_file(path, &create, &region));
    ok(put_number(region, 1, 1));
    ok(unlink(beside));
    assert_int_equal(hf_region_open_file(path, &attach, &other), HF_BUSY);
    ok(put_number(region, 1, 2));
    ok(hf_region_close(region));
    ok(hf_region_open_file(path, &attach, &other));
    assert_int_equal(get_number(other, 1), 2);
    ok(hf_region_close(other));
    write_bytes(beside, "this is somebody else's\n", 24);
    int status = hf_region_open_file(path, &attach, &other);
    if (status == 0)
        ok(hf_region_close(other));
    else
        assert_true(status == HF_NOT_REGION || status == HF_FORMAT);
    unlink(beside);
    ok(mkdir(beside, 0700));
    assert_int_equal(hf_region_open_file(path, &attach, &other), HF_NOT_REGION);
    ok(rmdir(beside));
}

static void nothing_is_left_open(void **state)
{
    hf_snapshot *snapshot;
    int before = count_descriptors(), status;
    for (int turn = 0; turn < 3; turn++) {
        ok(hf_region_open_file(path, &either, &region));
        ok(hf_region_open_file(path, &reading, &other));
        ok(put_number(region, 1, 1));
        ok(hf_snapshot_begin(region, &snapshot));
        pid_t child = fork();
        if (child == 0)
            _exit(count_descriptors() > before && number_in(hf_snapshot_view(snapshot), 1) == 1 ? 0 : 1);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        hf_snapshot_end(snapshot);
        DIR *listing = opendir("/proc/self/fd");
        struct dirent *entry;
        while ((entry = readdir(listing)) != NULL)
            if (entry->d_name[0] != '.' && atoi(entry->d_name) > 2 && atoi(entry->d_name) != dirfd(listing)) {
                char name[400] = "", target[400] = "";
                snprintf(name, sizeof name, "/proc/self/fd/%.20s", entry->d_name);
                if (readlink(name, target, sizeof target - 1) > 0 && strstr(target, "region-") != NULL)
                    assert_int_equal(fcntl(atoi(entry->d_name), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
            }
        closedir(listing);
        ok(hf_region_close(other));
        ok(hf_region_close(region));
        assert_int_equal(count_descriptors(), before);
    }
    write_bytes(path, "x", 1);
    assert_true(hf_region_open_file(path, &either, &region) < 0);
    assert_int_equal(count_descriptors(), before);
}

/* -- levels -- */

static void levels_and_flushes(void **state)
{
    hf_region_options every = lazy;
    every.level = HF_REGION_INTERVAL;
    every.interval = INT64_C(3600000000000);
    ok(hf_region_open_file(path, &create, &region));
    ok(put_number(region, 1, 1));
    hf_region_stats stats = stats_of(region);
    assert_int_equal(stats.durable, stats.txid);
    assert_false(stats.recovered || stats.stepped_back || stats.broken);
    uint64_t durable = stats.durable;
    ok(hf_region_open_file(path, &lazy, &other));
    for (int i = 0; i < 10; i++)
        ok(put_number(other, 1, i));
    stats = stats_of(other);
    assert_int_equal(stats.durable, durable);
    assert_int_equal(stats.txid, durable + 10);
    assert_int_equal(stats.counts[0], 1);
    ok(hf_region_flush(other, -1));
    stats = stats_of(other);
    assert_true(stats.size >= stats.top && stats.top > HF_FILE_HEAP_AT && stats.used > 0);
    assert_int_equal(stats.durable, stats.txid);
    durable = stats.txid;
    /* Nothing to do. */
    ok(hf_region_flush(other, -1));
    assert_int_equal(stats_of(other).txid, durable);
    /* By the other one's level it is durable at once, with all that came before. */
    ok(put_number(other, 1, 20));
    assert_int_equal(stats_of(other).durable, durable);
    ok(put_number(region, 2, 20));
    stats = stats_of(region);
    assert_int_equal(stats.durable, stats.txid);
    ok(hf_region_close(other));
    ok(hf_region_open_file(path, &every, &other));
    ok(put_number(other, 1, 21));
    stats = stats_of(region);
    assert_true(stats.durable < stats.txid);
    /* A flush waits for the lock as long as it is told to. */
    hf_txn *txn;
    ok(hf_txn_begin(region, 0, &txn));
    assert_int_equal(hf_region_flush(region, 0), HF_BUSY);
    ok(hf_txn_abort(txn));
    ok(hf_region_close(other));
    stats = stats_of(region);
    assert_int_equal(stats.durable, stats.txid);
    assert_int_equal(get_number(region, 1), 21);
    region_check(region);
    ok(hf_region_close(region));
}

static void sixty_four_megabytes_are_flushed(void **state)
{
    static unsigned char bytes[3 << 20];
    hf_region_options large = lazy;
    hf_key key = {1, "key", 3};
    hf_txn *txn;
    large.reserve = UINT64_C(1) << 30;
    ok(hf_region_open_file(path, &large, &region));
    uint64_t first = stats_of(region).durable, commits = 0;
    while (stats_of(region).durable == first && commits < 100) {
        bytes[commits]++;
        ok(hf_txn_begin(region, 0, &txn));
        assert_true(hf_txn_put(txn, 0, &key, bytes, sizeof bytes) >= 0);
        ok(hf_txn_commit(txn));
        commits++;
    }
    assert_in_range(commits, 20, 23);
    region_check(region);
    ok(hf_region_close(region));
}

static _Atomic int not_durable;

static void *put_and_flush(void *key)
{
    hf_region_stats stats;
    for (int i = 0; i < 1500; i++) {
        if (put_number(region, (int)(uintptr_t)key, i) < 0)
            atomic_fetch_add(&not_durable, 1);
        uint64_t txid = atomic_load(&region->lock->published);
        if (hf_region_flush(region, -1) < 0 || hf_region_stats_get(region, &stats) < 0 || stats.durable < txid)
            atomic_fetch_add(&not_durable, 1);
    }
    return NULL;
}

/* What a flush was asked for is durable when it returns, though others flush too. */
static void threads_flush(void **state)
{
    pthread_t threads[3];
    atomic_store(&not_durable, 0);
    ok(hf_region_open_file(path, &lazy, &region));
    for (uintptr_t i = 0; i < LENGTH(threads); i++)
        ok(pthread_create(&threads[i], NULL, put_and_flush, (void *)(i + 1)));
    for (size_t i = 0; i < LENGTH(threads); i++)
        ok(pthread_join(threads[i], NULL));
    assert_int_equal(atomic_load(&not_durable), 0);
    region_check(region);
    ok(hf_region_close(region));
}

/* Closing makes all durable, by whoever closes last, and marks the file. */
static void closing_makes_all_durable(void **state)
{
    int status;
    ok(hf_region_open_file(path, &lazy, &region));
    ok(hf_region_open_file(path, &lazy, &other));
    ok(put_number(region, 1, 1));
    ok(hf_region_close(region));
    ok(put_number(other, 2, 2));
    ok(hf_region_close(other));
    unlink(beside);
    ok(hf_region_open_file(path, &lazy, &region));
    assert_false(stats_of(region).recovered);
    assert_int_equal(get_number(region, 1), 1);
    assert_int_equal(get_number(region, 2), 2);
    /* One who has died without it leaves the others to do it. */
    pid_t child = fork();
    if (child == 0)
        _exit(put_number(region, 3, 3) == 0 ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    ok(hf_region_close(region));
    unlink(beside);
    ok(hf_region_open_file(path, &lazy, &region));
    assert_int_equal(get_number(region, 3), 3);
    assert_false(stats_of(region).recovered);
    ok(hf_region_close(region));
}

/* Killed, a process leaves what it has committed, in the lock file; without that, what was durable. */
static void what_a_killed_process_leaves(void **state)
{
    int status;
    for (int lost = 0; lost < 2; lost++) {
        pid_t child = fork();
        if (child == 0) {
            if (hf_region_open_file(path, &lazy, &region) < 0 || put_number(region, 1, 1) < 0 ||
                hf_region_flush(region, -1) < 0 || put_number(region, 1, 2) < 0 || put_number(region, 2, 2) < 0)
                _exit(1);
            kill(getpid(), SIGKILL);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        if (lost)
            ok(unlink(beside));
        ok(hf_region_open_file(path, &lazy, &region));
        assert_int_equal(get_number(region, 1), lost ? 1 : 2);
        assert_int_equal(get_number(region, 2), 2);
        assert_int_equal(stats_of(region).recovered, lost);
        assert_false(stats_of(region).stepped_back);
        region_check(region);
        ok(hf_region_close(region));
    }
}

int main(void)
{
#define at_a_path(test) cmocka_unit_test_setup_teardown(test, a_path, no_path)
    const struct CMUnitTest tests[] = {
        at_a_path(attach_needs_a_file_and_create_needs_none),
        at_a_path(what_is_no_region_is_left_alone),
        at_a_path(what_is_no_file_is_refused),
        at_a_path(symbolic_links_lead_to_it),
        at_a_path(truncated_files_are_damaged),
        at_a_path(other_versions_are_refused),
        at_a_path(files_are_their_owners_alone),
        at_a_path(others_may_not),
        at_a_path(a_reader_that_shares_the_lock_file),
        at_a_path(a_reader_that_may_look_at_the_lock_file),
        at_a_path(a_reader_without_the_lock_file),
        at_a_path(a_reader_of_what_was_left),
        at_a_path(on_read_only_media),
        at_a_path(being_opened_is_waited_for),
        at_a_path(several_create_at_once),
        at_a_path(a_lock_file_that_was_taken_away),
        at_a_path(nothing_is_left_open),
        at_a_path(levels_and_flushes),
        at_a_path(threads_flush),
        at_a_path(sixty_four_megabytes_are_flushed),
        at_a_path(closing_makes_all_durable),
        at_a_path(what_a_killed_process_leaves),
    };
    return cmocka_run_group_tests_name("region/file", tests, NULL, NULL);
}

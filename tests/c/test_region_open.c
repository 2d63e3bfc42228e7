/*
 * Opening what is, and what is not, a region: each has a status of its own.
 */
#include "test_region_support.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

static const hf_region_options create = {.mode = HF_REGION_CREATE, .reserve = 64 << 20};
static const hf_region_options attach = {.mode = HF_REGION_ATTACH, .reserve = 64 << 20};
static const hf_region_options either = {.mode = HF_REGION_EITHER, .reserve = 64 << 20};

static char name[64];
static hf_region *region, *other;

static int a_name(void **state)
{
    region_name(name);
    region = other = NULL;
    return 0;
}

static int no_name(void **state)
{
    shm_unlink(name);
    return 0;
}

static void names_that_are_none(void **state)
{
    static const char *const bad[] = {"", "/", "region", "/a/b", "//"};
    for (size_t i = 0; i < LENGTH(bad); i++)
        assert_int_equal(hf_region_open(bad[i], &either, &region), HF_INVALID);
}

static void attach_needs_a_region_and_create_needs_none(void **state)
{
    uint64_t id[2], again[2];
    assert_int_equal(hf_region_open(name, NULL, &region), HF_ABSENT);
    assert_int_equal(hf_region_unlink(name), HF_ABSENT);
    ok(hf_region_open(name, &create, &region));
    assert_int_equal(hf_region_open(name, &create, &other), HF_EXISTS);
    ok(hf_region_open(name, &attach, &other));
    hf_region_id(region, id);
    hf_region_id(other, again);
    assert_memory_equal(id, again, sizeof id);
    assert_true(hf_region_seed(region) == hf_region_seed(other));
    ok(hf_region_close(other));
    ok(hf_region_open(name, &either, &other));
    ok(hf_region_close(other));
    ok(hf_region_close(region));
    /* It lives on without anybody who has it open. */
    ok(hf_region_open(name, &either, &other));
    hf_region_id(other, again);
    assert_memory_equal(id, again, sizeof id);
    ok(hf_region_close(other));
    ok(hf_region_unlink(name));
    ok(hf_region_open(name, &either, &other));
    hf_region_id(other, again);
    assert_memory_not_equal(id, again, sizeof id);
    ok(hf_region_close(other));
}

static void a_segment_is_its_owners_alone(void **state)
{
    struct stat found;
    ok(hf_region_open(name, &create, &region));
    ok(fstat(hf_region_fd(region), &found));
    assert_int_equal(found.st_mode & 07777, 0600);
    ok(hf_region_close(region));
    if (geteuid() != 0)
        skip();
    int status, fd = shm_open(name, O_RDWR | O_CLOEXEC, 0);
    assert_true(fd >= 0);
    pid_t child = fork();
    if (child == 0) {
        /* By name the system refuses; by descriptor it would not, so the owner is looked at. */
        if (setresuid(65534, 65534, 65534) < 0)
            _exit(1);
        _exit(hf_region_open(name, &attach, &region) == HF_DENIED ? 0 : 2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    ok(fchown(fd, 65534, 65534));
    assert_int_equal(hf_region_open(name, &attach, &region), HF_DENIED);
    assert_int_equal(hf_region_open_fd(fd, &attach, &region), HF_DENIED);
    close(fd);
}

static void another_users_segment_is_for_who_asks_for_it(void **state)
{
    hf_region_options any = attach;
    any.any_owner = true;
    ok(hf_region_open(name, &create, &region));
    if (geteuid() != 0)
        skip();
    ok(fchown(hf_region_fd(region), 65534, 65534));
    assert_int_equal(hf_region_open(name, &attach, &other), HF_DENIED);
    ok(hf_region_open(name, &any, &other));
    ok(hf_region_close(other));
}

static void permissions_are_what_was_asked_for(void **state)
{
    hf_region_options ours = create;
    struct stat found;
    mode_t mask = umask(077);
    ours.permissions = 0660;
    ok(hf_region_open(name, &ours, &region));
    umask(mask);
    ok(fstat(hf_region_fd(region), &found));
    assert_int_equal(found.st_mode & 07777, 0660);
}

/* Puts values of 1,000 bytes until there is no room; how many. */
static unsigned fill_up(hf_region *into)
{
    char text[64], value[1000] = "";
    hf_txn *txn;
    for (unsigned i = 0;; i++) {
        assert_true(i < 100000);
        hf_key key = key_of((int)i, text);
        ok(hf_txn_begin(into, -1, &txn));
        int status = hf_txn_put(txn, 0, &key, value, sizeof value);
        if (status == HF_NOSPACE) {
            ok(hf_txn_abort(txn));
            return i;
        }
        assert_int_equal(status, 1);
        ok(hf_txn_commit(txn));
    }
}

static void a_segment_has_no_more_bytes_than_its_limit(void **state)
{
    hf_region_options limited = create;
    struct stat found;
    hf_view view;
    limited.limit = 1 << 20;
    assert_int_equal(hf_region_open(name, &limited, &region), HF_NOSPACE);
    assert_int_equal(hf_region_open(name, &attach, &region), HF_ABSENT);
    limited.limit = (4 << 20) + 100;
    ok(hf_region_open(name, &limited, &region));
    /* Whoever attaches keeps to it. */
    ok(hf_region_open(name, &attach, &other));
    unsigned count = fill_up(other);
    assert_in_range(count, 800, 3000);
    ok(fstat(hf_region_fd(region), &found));
    assert_in_range(found.st_size, 3 << 20, 4 << 20);
    ok(hf_view_pin(region, &view));
    assert_int_equal(hf_view_count(&view, 0), count);
    hf_view_unpin(&view);
    region_check(region);
    ok(hf_region_close(other));
}

static void room_is_there_before_it_is_needed(void **state)
{
    hf_region_options roomy = create;
    struct stat found;
    roomy.room = 8 << 20;
    ok(hf_region_open(name, &roomy, &region));
    ok(fstat(hf_region_fd(region), &found));
    assert_true((uint64_t)found.st_blocks * 512 >= roomy.room);
    ok(hf_region_close(region));
    ok(hf_region_unlink(name));
    /* Not more than there may be. */
    roomy.limit = 4 << 20;
    ok(hf_region_open(name, &roomy, &region));
    ok(fstat(hf_region_fd(region), &found));
    assert_in_range(found.st_size, 3 << 20, 4 << 20);
    assert_in_range(fill_up(region), 800, 3000);
    region_check(region);
}

static void only_the_segment_that_is_meant_loses_its_name(void **state)
{
    uint64_t inode[2], another[2];
    ok(hf_region_open(name, &create, &region));
    hf_region_inode(region, inode);
    ok(hf_region_unlink(name));
    assert_int_equal(hf_region_unlink_inode(name, inode), HF_ABSENT);
    ok(hf_region_open(name, &create, &other));
    hf_region_inode(other, another);
    assert_int_equal(hf_region_unlink_inode(name, inode), HF_ABSENT);
    ok(hf_region_close(other));
    ok(hf_region_unlink_inode(name, another));
    assert_int_equal(hf_region_unlink_inode(name, another), HF_ABSENT);
    ok(hf_region_close(region));
}

/* 1: somebody has it open. */
static int is_open(void)
{
    hf_region_info info;
    int status = hf_region_look(name, &info);
    return status < 0 ? status : info.is_open;
}

static void who_has_a_segment_open_can_be_told(void **state)
{
    hf_region_info info;
    int status, ready[2];
    char byte;
    assert_int_equal(is_open(), HF_ABSENT);
    ok(hf_region_open(name, &create, &region));
    ok(hf_region_look(name, &info));
    assert_true(info.is_open);
    assert_int_equal(info.owner, geteuid());
    assert_int_equal(info.permissions, 0600);
    assert_in_range(info.created, time(NULL) - 100, time(NULL) + 1); /* time() is a tick behind */
    assert_in_range(info.size, 64 << 10, 4 << 20);
    ok(hf_region_open(name, &attach, &other));
    ok(hf_region_close(region));
    assert_int_equal(is_open(), 1);
    /* A child has it too, for as long as it lives. */
    ok(pipe(ready));
    pid_t pid = fork();
    if (pid == 0) {
        close(ready[1]);
        _exit(read(ready[0], &byte, 1) == 0 && is_open() == 1 ? 0 : 1);
    }
    close(ready[0]);
    ok(hf_region_close(other));
    assert_int_equal(is_open(), 1);
    close(ready[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(is_open(), 0);
    ok(shm_unlink(name));
    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_int_equal(is_open(), HF_NOT_REGION);
    close(fd);
}

static int segment_with(const void *bytes, size_t size, off_t length)
{
    shm_unlink(name);
    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    ok(ftruncate(fd, length));
    if (size > 0)
        assert_int_equal(pwrite(fd, bytes, size, 0), (ssize_t)size);
    return fd;
}

static void what_is_no_region_is_left_alone(void **state)
{
    char text[100] = "#!/bin/sh\necho this belongs to another program\n", left[100];
    int fd = segment_with(text, sizeof text, sizeof text);
    assert_int_equal(hf_region_open(name, &attach, &region), HF_NOT_REGION);
    assert_int_equal(hf_region_open(name, &either, &region), HF_NOT_REGION);
    assert_int_equal(hf_region_open(name, &create, &region), HF_EXISTS);
    assert_int_equal(pread(fd, left, sizeof left, 0), sizeof left);
    assert_memory_equal(left, text, sizeof text);
    close(fd);
    int pipes[2];
    ok(pipe(pipes));
    assert_true(hf_region_open_fd(pipes[0], &attach, &region) < 0);
    close(pipes[0]);
    close(pipes[1]);
    assert_int_equal(hf_region_open_fd(-1, &attach, &region), HF_ABSENT);
}

/* Though it begins with zeros. */
static void what_begins_with_zeros_may_be_anothers(void **state)
{
    static const off_t places[] = {
        8, 100, 4000, HF_REGION_RING_AT + 4096, HF_REGION_SLOTS_AT, HF_REGION_HEAP_AT + 5000};
    for (size_t i = 0; i < LENGTH(places); i++) {
        char left[5] = "";
        int fd = segment_with(NULL, 0, 2 << 20);
        assert_int_equal(pwrite(fd, "thei", 4, places[i]), 4);
        assert_int_equal(hf_region_open(name, &attach, &region), HF_NOT_REGION);
        assert_int_equal(hf_region_open(name, &either, &region), HF_NOT_REGION);
        assert_int_equal(hf_region_open(name, &create, &region), HF_EXISTS);
        assert_int_equal(pread(fd, left, 4, places[i]), 4);
        assert_string_equal(left, "thei");
        close(fd);
    }
}

/* What a creator who died leaves: nothing, or a segment without magic. */
static void a_region_half_made_is_made_afresh(void **state)
{
    static const off_t lengths[] = {0, 1, 4096, HF_REGION_HEAP_AT + 4096};
    for (size_t i = 0; i < LENGTH(lengths); i++) {
        for (int mode = HF_REGION_ATTACH; mode <= HF_REGION_EITHER; mode++) {
            hf_region_options options = {.mode = (hf_region_mode)mode, .reserve = 64 << 20};
            close(segment_with(NULL, 0, lengths[i]));
            int status = hf_region_open(name, &options, &region);
            assert_int_equal(status, mode == HF_REGION_ATTACH ? HF_NOT_REGION : 0);
            if (status == 0) {
                region_check(region);
                ok(hf_region_close(region));
            }
        }
    }
}

static void truncated_regions_are_damaged(void **state)
{
    struct hf_superblock super;
    ok(hf_region_open(name, &create, &region));
    memcpy(&super, region->base, sizeof super);
    ok(hf_region_close(region));
    /* Long enough for the superblock; and with a few bytes of it. */
    close(segment_with(&super, sizeof super, 8192));
    assert_int_equal(hf_region_open(name, &attach, &region), HF_CORRUPT);
    close(segment_with(&super, 40, 40));
    assert_int_equal(hf_region_open(name, &attach, &region), HF_CORRUPT);
}

static void truncated_while_it_is_large(void **state)
{
    static unsigned char bytes[6 << 20];
    hf_key key = {1, "key", 3};
    hf_txn *txn;
    hf_view view;
    ok(hf_region_open(name, &create, &region));
    ok(hf_txn_begin(region, 0, &txn));
    assert_int_equal(hf_txn_put(txn, 0, &key, bytes, sizeof bytes), 1);
    ok(hf_txn_commit(txn));
    ok(ftruncate(hf_region_fd(region), HF_REGION_HEAP_AT + 8192));
    ok(hf_region_close(region));
    ok(hf_region_open(name, &attach, &region));
    assert_int_equal(hf_view_pin(region, &view), HF_CORRUPT);
    assert_int_equal(hf_txn_begin(region, 0, &txn), HF_CORRUPT);
    assert_int_equal(hf_region_check(region, 0, NULL), HF_CORRUPT);
    ok(hf_region_close(region));
}

static void other_versions_are_refused(void **state)
{
    ok(hf_region_open(name, &create, &region));
    char *super = region->base;
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
    for (size_t i = 0; i < LENGTH(changes); i++) {
        uint64_t was, now;
        memcpy(&was, super + changes[i].at, sizeof was);
        now = was ^ changes[i].mask;
        memcpy(super + changes[i].at, &now, sizeof now);
        assert_int_equal(hf_region_open(name, &attach, &other), changes[i].status);
        memcpy(super + changes[i].at, &was, sizeof was);
    }
    uint64_t turned = __builtin_bswap64(HF_REGION_MAGIC), right = HF_REGION_MAGIC;
    memcpy(super, &turned, sizeof turned);
    assert_int_equal(hf_region_open(name, &attach, &other), HF_FORMAT);
    memcpy(super, &right, sizeof right);
    ok(hf_region_open(name, &attach, &other));
    ok(hf_region_close(other));
    ok(hf_region_close(region));
}

static struct flock creators_lock(short type)
{
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = HF_REGION_LOCK_CREATE, .l_len = 1};
}

static void being_made_is_waited_for(void **state)
{
    hf_region_options hurried = either, patient = either;
    int fd = segment_with(NULL, 0, 0);
    struct flock how = creators_lock(F_WRLCK);
    patient.timeout = 5 * 1000 * 1000;
    ok(fcntl(fd, F_OFD_SETLK, &how));
    assert_int_equal(hf_region_open(name, &hurried, &region), HF_TIMEOUT);
    assert_int_equal(hf_region_open(name, &patient, &region), HF_TIMEOUT);
    close(fd);
    ok(hf_region_open(name, &hurried, &region));
    ok(hf_region_close(region));
}

static void *open_and_use(void *out)
{
    hf_region *own;
    hf_region_options patient = either;
    hf_txn *txn;
    uint64_t bytes = (uint64_t)(uintptr_t)out;
    hf_key key = {bytes * UINT64_C(0x9e3779b97f4a7c15), &bytes, sizeof bytes};
    patient.timeout = -1;
    if (hf_region_open(name, &patient, &own) < 0)
        return NULL;
    int status = hf_txn_begin(own, -1, &txn);
    if (status == 0)
        status = hf_txn_put(txn, 0, &key, "v", 1) == 1 ? hf_txn_commit(txn) : HF_INVALID;
    if (hf_region_close(own) < 0)
        status = HF_INVALID;
    return status == 0 ? &name : NULL;
}

static void several_create_at_once(void **state)
{
    enum { CROWD = 8 };
    pthread_t threads[CROWD];
    hf_view view;
    void *result;
    for (int turn = 0; turn < 20; turn++) {
        shm_unlink(name);
        for (int i = 0; i < CROWD; i++)
            ok(pthread_create(&threads[i], NULL, open_and_use, (void *)(uintptr_t)(i + 1)));
        for (int i = 0; i < CROWD; i++) {
            ok(pthread_join(threads[i], &result));
            assert_non_null(result);
        }
        ok(hf_region_open(name, &attach, &region));
        ok(hf_view_pin(region, &view));
        assert_int_equal(hf_view_count(&view, 0), CROWD);
        hf_view_unpin(&view);
        region_check(region);
        ok(hf_region_close(region));
    }
}

/* A thread that has the lock through one mapping, and asks for it through another, would wait for itself. */
static void a_thread_does_not_wait_for_itself(void **state)
{
    hf_txn *txn, *second;
    ok(hf_region_open(name, &create, &region));
    ok(hf_region_open(name, &attach, &other));
    ok(hf_txn_begin(region, 0, &txn));
    assert_int_equal(hf_txn_begin(other, -1, &second), HF_BUSY);
    assert_int_equal(hf_txn_begin(region, -1, &second), HF_BUSY);
    ok(hf_txn_abort(txn));
    ok(hf_txn_begin(other, -1, &second));
    ok(hf_txn_abort(second));
    ok(hf_region_close(other));
    ok(hf_region_close(region));
}

static void a_foreign_thread_of_our_number_is_waited_for(void **state)
{
    hf_txn *txn, *second;
    ok(hf_region_open(name, &create, &region));
    ok(hf_txn_begin(region, 0, &txn));
    /* As if the owner were a thread of another pid namespace that has our number. */
    atomic_store(&region->txn.active, false);
    ok(hf_region_open(name, &attach, &other));
    assert_int_equal(hf_txn_begin(other, 20 * 1000 * 1000, &second), HF_TIMEOUT);
    atomic_store(&region->txn.active, true);
    ok(hf_txn_abort(txn));
    ok(hf_region_close(other));
    ok(hf_region_close(region));
}

static void slots_run_out(void **state)
{
    static hf_snapshot *snapshots[HF_REGION_SLOTS_MAX];
    unsigned taken = 0;
    int status;
    hf_txn *txn;
    hf_view view;
    ok(hf_region_open(name, &create, &region));
    for (;;) {
        ok(hf_txn_begin(region, 0, &txn));
        assert_true(hf_txn_put(txn, 0, &(hf_key){1, "key", 3}, &taken, sizeof taken) >= 0);
        ok(hf_txn_commit(txn));
        status = hf_snapshot_begin(region, &snapshots[taken]);
        if (status < 0)
            break;
        taken++;
    }
    assert_int_equal(status, HF_SLOTS);
    assert_int_equal(taken, HF_REGION_SLOTS_MAX - HF_REGION_SLOTS_VIEWS - 1);
    /* Those who only look are left some: this process, and others. */
    ok(hf_view_pin(region, &view));
    ok(hf_region_open(name, &attach, &other));
    hf_view more;
    ok(hf_view_pin(other, &more));
    hf_view_unpin(&more);
    hf_snapshot *none;
    assert_int_equal(hf_snapshot_begin(other, &none), HF_SLOTS);
    hf_snapshot_end(snapshots[5]);
    snapshots[5] = NULL;
    hf_view_unpin(&view);
    region_check(region);
    for (unsigned i = 0; i < taken; i++)
        if (snapshots[i] != NULL)
            hf_snapshot_end(snapshots[i]);
    /* What this process does not need any more, it has given back. */
    ok(hf_snapshot_begin(other, &none));
    hf_snapshot_end(none);
    ok(hf_region_close(region));
    ok(hf_view_pin(other, &more));
    hf_view_unpin(&more);
    ok(hf_region_close(other));
}

static void arguments_are_looked_at(void **state)
{
    hf_region_cursor cursor;
    hf_key key = {1, "key", 3};
    hf_view view;
    hf_txn *txn;
    unsigned level;
    char longest[HF_REGION_NAME_SIZE + 1];
    memset(longest, 'n', sizeof longest);
    longest[HF_REGION_NAME_SIZE] = '\0';
    ok(hf_region_open(name, &create, &region));
    ok(hf_view_pin(region, &view));
    assert_int_equal(hf_view_get(&view, HF_REGION_TREES, &key, NULL), HF_INVALID);
    assert_int_equal(hf_region_cursor_begin(&cursor, &view, HF_REGION_TREES), HF_INVALID);
    hf_view_unpin(&view);
    ok(hf_txn_begin(region, 0, &txn));
    assert_int_equal(hf_txn_put(txn, HF_REGION_TREES, &key, "v", 1), HF_INVALID);
    assert_int_equal(hf_txn_clear(txn, HF_REGION_TREES), HF_INVALID);
    assert_int_equal(hf_txn_rollback(txn, 1), HF_INVALID);
    assert_int_equal(hf_txn_release(txn, 0), HF_INVALID);
    ok(hf_txn_savepoint(txn, &level));
    assert_int_equal(hf_txn_rollback(txn, 2), HF_INVALID);
    assert_int_equal(hf_txn_keep(txn, ""), HF_INVALID);
    assert_int_equal(hf_txn_keep(txn, longest), HF_INVALID);
    longest[HF_REGION_NAME_SIZE - 1] = '\0';
    ok(hf_txn_keep(txn, longest));
    for (int i = 1; i < HF_REGION_KEPT_MAX; i++) {
        char each[16];
        snprintf(each, sizeof each, "name %d", i);
        ok(hf_txn_keep(txn, each));
    }
    assert_int_equal(hf_txn_keep(txn, "one more"), HF_LIMIT);
    assert_int_equal(hf_txn_forget(txn, "one more"), HF_ABSENT);
    ok(hf_txn_commit(txn));
    region_check(region);
    ok(hf_region_close(region));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(names_that_are_none, a_name, no_name),
        cmocka_unit_test_setup_teardown(attach_needs_a_region_and_create_needs_none, a_name, no_name),
        cmocka_unit_test_setup_teardown(a_segment_is_its_owners_alone, a_name, no_name),
        cmocka_unit_test_setup_teardown(another_users_segment_is_for_who_asks_for_it, a_name, no_name),
        cmocka_unit_test_setup_teardown(permissions_are_what_was_asked_for, a_name, no_name),
        cmocka_unit_test_setup_teardown(a_segment_has_no_more_bytes_than_its_limit, a_name, no_name),
        cmocka_unit_test_setup_teardown(room_is_there_before_it_is_needed, a_name, no_name),
        cmocka_unit_test_setup_teardown(only_the_segment_that_is_meant_loses_its_name, a_name, no_name),
        cmocka_unit_test_setup_teardown(who_has_a_segment_open_can_be_told, a_name, no_name),
        cmocka_unit_test_setup_teardown(what_is_no_region_is_left_alone, a_name, no_name),
        cmocka_unit_test_setup_teardown(what_begins_with_zeros_may_be_anothers, a_name, no_name),
        cmocka_unit_test_setup_teardown(a_region_half_made_is_made_afresh, a_name, no_name),
        cmocka_unit_test_setup_teardown(truncated_regions_are_damaged, a_name, no_name),
        cmocka_unit_test_setup_teardown(truncated_while_it_is_large, a_name, no_name),
        cmocka_unit_test_setup_teardown(other_versions_are_refused, a_name, no_name),
        cmocka_unit_test_setup_teardown(being_made_is_waited_for, a_name, no_name),
        cmocka_unit_test_setup_teardown(several_create_at_once, a_name, no_name),
        cmocka_unit_test_setup_teardown(a_thread_does_not_wait_for_itself, a_name, no_name),
        cmocka_unit_test_setup_teardown(a_foreign_thread_of_our_number_is_waited_for, a_name, no_name),
        cmocka_unit_test_setup_teardown(slots_run_out, a_name, no_name),
        cmocka_unit_test_setup_teardown(arguments_are_looked_at, a_name, no_name),
    };
    return cmocka_run_group_tests_name("region/open", tests, NULL, NULL);
}

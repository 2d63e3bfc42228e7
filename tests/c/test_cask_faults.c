/*
 * test_cask_faults.c: each call to the system, and each allocation, failing once, in each operation: the cask is as
 * it was, nothing is leaked, and what is there afterwards, and after it was opened again, is what a model says.
 */
#include "test_cask_support.h"
#include "test_child.h"

enum { KEYS = 24 };

static hf_cask_options options;

/* -- what is allocated -- */

static _Atomic long blocks;

static void *counted_alloc(void *arg, size_t size)
{
    void *block = malloc(size);
    if (block != NULL)
        atomic_fetch_add(&blocks, 1);
    return block;
}

static void *counted_realloc(void *arg, void *block, size_t size)
{
    void *larger = realloc(block, size);
    if (larger != NULL && block == NULL)
        atomic_fetch_add(&blocks, 1);
    return larger;
}

static void counted_free(void *arg, void *block)
{
    if (block != NULL)
        atomic_fetch_sub(&blocks, 1);
    free(block);
}

static unsigned count_mappings(void)
{
    char line[512];
    unsigned count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL)
        count += strstr(line, "cask-") != NULL || strstr(line, "holdfast-keydir") != NULL;
    if (maps != NULL)
        fclose(maps);
    return count;
}

typedef struct held {
    long blocks;
    int descriptors;
    unsigned mappings;
} held;

static held hold(void)
{
    return (held){atomic_load(&blocks), count_descriptors(), count_mappings()};
}

static char doing[80]; /* for a message */

static void same_hold(held before)
{
    held now = hold();
    if (now.blocks != before.blocks || now.descriptors != before.descriptors || now.mappings != before.mappings)
        fprintf(stderr, "leak: %s\n", doing);
    assert_int_equal(now.blocks, before.blocks);
    assert_int_equal(now.descriptors, before.descriptors);
    assert_int_equal(now.mappings, before.mappings);
}

/* -- a cask with something in it -- */

static const char *const values[] = {"", "a", "some value", "a value that is a little longer than the others are"};

static void put_some(hf_cask *cask)
{
    for (int i = 0; i < KEYS; i++) {
        const char *value = values[i % 4];
        assert_int_equal(hf_cask_put(cask, &i, sizeof i, value, strlen(value), 0), 0);
    }
    for (int i = 0; i < KEYS; i += 5)
        assert_int_equal(hf_cask_delete(cask, &i, sizeof i), 1);
}

static void has_some(hf_cask *cask, int but)
{
    hf_cask_room room = {0};
    const void *value;
    size_t size;

    for (int i = 0; i < KEYS; i++) {
        if (i == but)
            continue;
        assert_int_equal(hf_cask_get(cask, &i, sizeof i, &room, &value, &size), i % 5 != 0);
        if (i % 5 != 0) {
            assert_int_equal(size, strlen(values[i % 4]));
            assert_memory_equal(value, values[i % 4], size);
        }
    }
    hf_cask_room_clear(&room);
}

/* -- operations -- */

static int do_open(hf_cask **cask)
{
    int status = hf_cask_open(cask_path, &options, cask);
    return status;
}

static bool is_clear(int status)
{
    return status == HF_NOMEM || status == HF_IO || status == HF_NOSPACE || status == HF_BROKEN ||
           status == HF_DENIED || status == HF_BUSY || status == HF_LIMIT || status == HF_SLOTS;
}

/* Opening: whatever fails, nothing is held, and the next try finds all. */
static void take_away(unsigned what)
{
    static const char *const names[] = {"page", "keydir", "keydir-lock", "0000000001.hint"};
    char path[160];

    for (size_t i = 0; i < LENGTH(names); i++) {
        snprintf(path, sizeof path, "%s/%s", cask_path, names[i]);
        if ((what >> i & 1) != 0)
            unlink(path);
    }
}

static void opening(unsigned site, int error, unsigned before)
{
    for (uint64_t n = 1;; n++) {
        hf_cask *cask = NULL;
        take_away(before);
        held was = hold();
        snprintf(doing, sizeof doing, "opening, %s number %u", hf_os_site_name(site), (unsigned)n);
        hf_fault_arm(site, n, error);
        int status = do_open(&cask);
        uint64_t failed = hf_fault_failed(site);
        hf_fault_disarm();
        if (status < 0) {
            if (!is_clear(status))
                fprintf(stderr, "open, call %u: %s\n", (unsigned)n, hf_status_name(status));
            assert_true(is_clear(status));
            same_hold(was);
            assert_int_equal(do_open(&cask), 0);
        }
        has_some(cask, -1);
        cask_counts(cask, KEYS - (KEYS + 4) / 5);
        assert_int_equal(hf_cask_close(cask), 0);
        same_hold(was);
        if (failed == 0)
            return;
    }
}

static void test_opening(void **state)
{
    static const unsigned before[] = {0, 1, 6, 14, 15}; /* what is taken away */

    for (int memory = 0; memory < 2; memory++) {
        options = (hf_cask_options){.no_thread = true, .max_file_size = 4096, .keydir_in_memory = memory};
        hf_cask *cask = cask_open(&options);
        if (memory == 0)
            put_some(cask);
        assert_int_equal(hf_cask_close(cask), 0);
        for (size_t i = 0; i < LENGTH(before); i++)
            for (unsigned site = 0; site < HF_OS_SITES_END; site++)
                if (site != HF_OS_SITE_munmap)
                    opening(site, site == HF_FAULT_ALLOC ? ENOMEM : EIO, before[i]);
    }
}

static void making(unsigned site, int error)
{
    for (uint64_t n = 1;; n++) {
        hf_cask *cask = NULL;
        cask_remove(cask_path);
        options = (hf_cask_options){.no_thread = true};
        held was = hold();
        snprintf(doing, sizeof doing, "opening, %s number %u", hf_os_site_name(site), (unsigned)n);
        hf_fault_arm(site, n, error);
        int status = do_open(&cask);
        uint64_t failed = hf_fault_failed(site);
        hf_fault_disarm();
        if (status < 0) {
            if (!is_clear(status))
                fprintf(stderr, "making, %s %u: %s\n", hf_os_site_name(site), (unsigned)n, hf_status_name(status));
            assert_true(is_clear(status));
            same_hold(was);
            assert_int_equal(do_open(&cask), 0);
        }
        cask_put(cask, "a", "b");
        assert_int_equal(hf_cask_close(cask), 0);
        same_hold(was);
        cask = cask_open(&options);
        cask_is(cask, "a", "b");
        assert_int_equal(hf_cask_close(cask), 0);
        if (failed == 0)
            return;
    }
}

/* (What cannot be unmapped stays mapped.) */
static void test_making(void **state)
{
    for (unsigned site = 0; site < HF_OS_SITES_END; site++)
        if (site != HF_OS_SITE_munmap)
            making(site, site == HF_FAULT_ALLOC ? ENOMEM : ENOSPC);
}

typedef enum kind { PUT, PUT_LONG, DELETE, BATCH, SNAPSHOT, COUNT, SYNC, STATUS, GET, KINDS } kind;

static char long_value[9000];

static int do_batch(hf_cask *cask)
{
    hf_cask_batch *batch;
    int key = 1, status = hf_cask_batch_begin(cask, &batch);

    if (status < 0)
        return status;
    status = hf_cask_batch_put(batch, &key, sizeof key, "new", 3, 0);
    key = 1000;
    if (status == 0)
        status = hf_cask_batch_put(batch, &key, sizeof key, "new", 3, 0);
    if (status == 0)
        status = hf_cask_batch_commit(batch);
    hf_cask_batch_end(batch);
    return status;
}

static int do_snapshot(hf_cask *cask)
{
    hf_cask_snapshot *snapshot;
    const void *value;
    size_t size;
    int key = 1, status = hf_cask_snapshot_begin(cask, &snapshot);

    if (status < 0)
        return status;
    status = hf_cask_snapshot_get(snapshot, &key, sizeof key, &value, &size);
    hf_cask_snapshot_end(snapshot);
    return status < 0 ? status : 0;
}

static int operate(hf_cask *cask, kind what)
{
    hf_cask_room room = {0};
    hf_cask_status info;
    const void *value;
    uint64_t count;
    size_t size;
    int key = 1, status = 0;

    switch (what) {
    case PUT:
        return hf_cask_put(cask, &key, sizeof key, "new", 3, 0);
    case PUT_LONG:
        return hf_cask_put(cask, &key, sizeof key, long_value, sizeof long_value, 0);
    case DELETE:
        status = hf_cask_delete(cask, &key, sizeof key);
        return status > 0 ? 0 : status;
    case BATCH:
        return do_batch(cask);
    case SNAPSHOT:
        return do_snapshot(cask);
    case COUNT:
        return hf_cask_count(cask, &count);
    case SYNC:
        return hf_cask_sync_now(cask);
    case STATUS:
        return hf_cask_status_get(cask, &info, NULL, NULL);
    case GET:
        status = hf_cask_get(cask, &key, sizeof key, &room, &value, &size);
        hf_cask_room_clear(&room);
        return status < 0 ? status : 0;
    default:
        return 0;
    }
}

/* Key 1 is as it was, or as the operation makes it. */
static bool is_changed(hf_cask *cask, kind what)
{
    int key = 1;
    hf_cask_room room = {0};
    const void *value = NULL;
    size_t size = 0;
    int there = hf_cask_get(cask, &key, sizeof key, &room, &value, &size);

    assert_true(there >= 0);
    bool old = there == 1 && size == 1 && memcmp(value, "a", 1) == 0;
    bool is_new = what == DELETE     ? there == 0
                  : what == PUT_LONG ? there == 1 && size == sizeof long_value
                                     : there == 1 && size == 3 && memcmp(value, "new", 3) == 0;
    assert_true(old || is_new);
    hf_cask_room_clear(&room);
    if (what == BATCH) {
        key = 1000;
        assert_int_equal(hf_cask_get(cask, &key, sizeof key, NULL, NULL, NULL), is_new);
    }
    return is_new;
}

static void one_operation(kind what, unsigned site, int error, uint64_t n, uint64_t *failed)
{
    hf_cask *cask;

    cask_remove(cask_path);
    cask = cask_open(&options);
    put_some(cask);
    hf_fault_arm(site, n, error);
    int status = operate(cask, what);
    *failed = hf_fault_failed(site);
    hf_fault_disarm();
    bool changes = what <= BATCH;
    if (status < 0 && !is_clear(status))
        fprintf(stderr, "operation %d, call %u: %s\n", what, (unsigned)n, hf_status_name(status));
    assert_true(status == 0 || is_clear(status));
    assert_int_equal(is_changed(cask, what), changes && status == 0);
    has_some(cask, 1);
    int closed = hf_cask_close(cask);
    assert_true(closed == 0 || (status == HF_BROKEN && closed == HF_BROKEN) || (closed == HF_BROKEN && error == EIO));
    cask = cask_open(&options);
    bool changed = is_changed(cask, what);
    /* What broke while it was written may be there. */
    assert_true(status == HF_BROKEN || changed == (changes && status == 0));
    has_some(cask, 1);
    hf_cask_status info;
    assert_int_equal(hf_cask_status_get(cask, &info, NULL, NULL), 0);
    assert_int_equal(info.lost, 0);
    assert_int_equal(hf_cask_close(cask), 0);
}

static void operations(unsigned site, int error)
{
    for (int variant = 0; variant < 4; variant++) {
        options = (hf_cask_options){
            .no_thread = true,
            .max_file_size = 4096,
            .checkpoint = variant % 2 == 0 ? 1 : 1 << 20,
            .sync = variant / 2 == 0 ? HF_CASK_SYNC_NONE : HF_CASK_SYNC_PUT,
        };
        for (int what = 0; what < KINDS; what++) {
            held was = hold();
            uint64_t failed = 1;
            for (uint64_t n = 1; failed > 0; n++)
                one_operation((kind)what, site, error, n, &failed);
            same_hold(was);
        }
    }
}

static void test_allocations(void **state)
{
    operations(HF_FAULT_ALLOC, ENOMEM);
}

static void test_calls(void **state)
{
    operations(HF_FAULT_ANY_OS, EIO);
}

static void test_full_disk(void **state)
{
    operations(HF_OS_SITE_pwrite, ENOSPC);
}

/* After a flush that failed nothing is written, all can be read; opened again, it goes on. */
static void test_failed_flush(void **state)
{
    hf_cask *cask;
    hf_cask_status info;

    options = (hf_cask_options){.no_thread = true};
    cask = cask_open(&options);
    put_some(cask);
    hf_fault_arm(HF_OS_SITE_fdatasync, 1, EIO);
    assert_int_equal(hf_cask_sync_now(cask), HF_BROKEN);
    hf_fault_disarm();
    assert_int_equal(hf_cask_put(cask, "x", 1, "y", 1, 0), HF_BROKEN);
    assert_int_equal(hf_cask_sync_now(cask), HF_BROKEN);
    has_some(cask, -1);
    assert_int_equal(hf_cask_status_get(cask, &info, NULL, NULL), 0);
    assert_true(info.broken);
    assert_int_equal(hf_cask_close(cask), HF_BROKEN);
    cask = cask_open(&options);
    has_some(cask, -1);
    cask_put(cask, "x", "y");
    assert_int_equal(hf_cask_sync_now(cask), 0);
    assert_int_equal(hf_cask_status_get(cask, &info, NULL, NULL), 0);
    assert_false(info.broken);
    assert_int_equal(hf_cask_close(cask), 0);
}

static int count_allocations(void **state)
{
    hf_allocator counted = {.alloc = counted_alloc, .realloc = counted_realloc, .free = counted_free};
    memset(long_value, 'l', sizeof long_value);
    return hf_allocator_set(&counted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cask_test(test_making), cask_test(test_opening),   cask_test(test_allocations),
        cask_test(test_calls),  cask_test(test_full_disk), cask_test(test_failed_flush),
    };

    return cmocka_run_group_tests(tests, count_allocations, NULL);
}

/*
 * Too little of something, for a region in a file: disk, file size, address space, slots; and a disk that fails. Each is an
 * error that changes nothing; where there is more again it goes on.
 */
#include "test_region_child.h"

#include <sys/mman.h>

enum { SPACE = 256 << 20, FILLER = 5000 };

static const hf_region_options create = {.mode = HF_REGION_CREATE, .reserve = SPACE};

static hf_key filler_key(const uint64_t *number)
{
    return (hf_key){*number * UINT64_C(0x9e3779b97f4a7c15), number, sizeof *number};
}

static const unsigned char *filler(uint64_t number)
{
    static unsigned char bytes[FILLER + 8];
    memset(bytes, (int)number, sizeof bytes);
    return bytes;
}

static size_t filler_size(uint64_t number)
{
    return (size_t)(number * 37 % FILLER);
}

/* Transactions of 20 puts until one fails: its status. *number: what comes next, for which there was no room. */
static int fill(hf_region *full, uint64_t *number)
{
    hf_txn *txn;
    int status = 0;
    for (uint64_t next = *number; status >= 0; *number = next) {
        must(hf_txn_begin(full, 0, &txn) == 0);
        for (int i = 0; status >= 0 && i < 20; i++, next++) {
            hf_key key = filler_key(&next);
            status = hf_txn_put(txn, 0, &key, filler(next), filler_size(next));
        }
        if (status >= 0)
            status = hf_txn_commit(txn);
        if (status < 0) {
            must(hf_txn_commit(txn) < 0 || status == HF_LIMIT);
            if (status != HF_LIMIT)
                must(hf_txn_abort(txn) == 0);
            break;
        }
    }
    return status;
}

/* Whether from .. to - 1 are all that is there. */
static bool has(hf_region *full, uint64_t from, uint64_t to)
{
    hf_view view;
    hf_span value;
    if (hf_view_pin(full, &view) < 0)
        return false;
    bool right = hf_view_count(&view, 0) == to - from;
    for (uint64_t i = from; right && i < to; i++) {
        hf_key key = filler_key(&i);
        right = hf_view_get(&view, 0, &key, &value) == 1 && value.size == filler_size(i) &&
                memcmp(value.bytes, filler(i), value.size) == 0;
    }
    hf_view_unpin(&view);
    return right;
}

static bool is_whole(hf_region *full)
{
    hf_region_fault fault = {.what = ""};
    int status = hf_region_check(full, -1, &fault);
    if (status < 0)
        fprintf(stderr, "check: %s: %s at %#llx\n", hf_status_name(status), fault.what, (unsigned long long)fault.at);
    return status == 0;
}

/* Removes what is there, as many transactions as it takes: a removal needs some space too. */
static uint64_t remove_some(hf_region *full, uint64_t from, uint64_t to)
{
    hf_txn *txn;
    for (uint64_t i = from; i < to; i++) {
        hf_key key = filler_key(&i);
        if (hf_txn_begin(full, 0, &txn) < 0)
            return i;
        int status = hf_txn_remove(txn, 0, &key);
        if (status >= 0)
            status = hf_txn_commit(txn);
        if (status < 0) {
            hf_txn_abort(txn);
            return i;
        }
    }
    return to;
}

/* -- a full disk -- */

static enum hf_region_level the_level;

static void on_a_full_disk_child(void)
{
    char mounted[] = "/tmp/hf-tmpfs-XXXXXX", file[64];
    hf_region_options options = create;
    hf_region *full;
    uint64_t number = 0;
    options.level = the_level;
    small_tmpfs(mounted, "size=8m");
    snprintf(file, sizeof file, "%s/region", mounted);
    must(hf_region_open_file(file, &options, &full) == 0);
    must(fill(full, &number) == HF_NOSPACE);
    must(number > 500 && has(full, 0, number) && is_whole(full));
    uint64_t first = number;
    must(fill(full, &number) == HF_NOSPACE && is_whole(full));
    /* Readers and new processes find it as it is. */
    hf_region *other;
    options.mode = HF_REGION_ATTACH;
    must(hf_region_open_file(file, &options, &other) == 0);
    must(has(other, 0, number));
    must(hf_region_close(other) == 0);
    /* There is space again. */
    must(mount("tmpfs", mounted, "tmpfs", MS_REMOUNT, "size=16m") == 0);
    must(fill(full, &number) == HF_NOSPACE);
    must(number > first + 500 && has(full, 0, number) && is_whole(full));
    /* What is removed makes room, though none came from outside. */
    uint64_t gone = remove_some(full, 0, number / 2);
    if (gone < number / 2)
        fprintf(stderr, "%llu of %llu removed\n", (unsigned long long)gone, (unsigned long long)number / 2);
    must(gone == number / 2 && is_whole(full));
    must(hf_region_flush(full, -1) == 0);
    uint64_t before = number;
    /* The first that fails makes the next one look harder. */
    int status = fill(full, &number);
    must(status == HF_NOSPACE);
    status = fill(full, &number);
    must(status == HF_NOSPACE && has(full, gone, number) && is_whole(full));
    fprintf(stderr, "%llu values, half of them removed, %llu more\n", (unsigned long long)before,
            (unsigned long long)(number - before));
    must(number - before > before / 4);
    must(mount("tmpfs", mounted, "tmpfs", MS_REMOUNT, "size=20m") == 0);
    must(hf_region_close(full) == 0);
    must(hf_region_open_file(file, &options, &full) == 0);
    must(!full->file->read_only && has(full, gone, number) && is_whole(full));
    must(hf_region_close(full) == 0);
    small_tmpfs_end(mounted);
}

static void on_a_full_disk(void **state)
{
    the_level = HF_REGION_FULL;
    in_a_child(on_a_full_disk_child);
}

static void on_a_full_disk_lazily(void **state)
{
    the_level = HF_REGION_OFF;
    in_a_child(on_a_full_disk_child);
}

/* Closed while the disk is full: it says so or not, and what was durable is there. */
static void on_a_disk_of_any_size_child(void)
{
    char mounted[] = "/tmp/hf-tmpfs-XXXXXX", file[64], lock[80], room[32];
    unsigned made = 0, refused = 0;
    small_tmpfs(mounted, "size=64k");
    snprintf(file, sizeof file, "%s/region", mounted);
    snprintf(lock, sizeof lock, "%s-lock", file);
    for (unsigned pages = 1; pages < 700; pages += pages < 60 ? 1 : 23) {
        hf_region_options options = create;
        hf_region *full;
        uint64_t number = 0;
        options.level = pages % 2 == 0 ? HF_REGION_FULL : HF_REGION_OFF;
        snprintf(room, sizeof room, "size=%uk", pages * 4);
        must(mount("tmpfs", mounted, "tmpfs", MS_REMOUNT, room) == 0);
        int status = hf_region_open_file(file, &options, &full);
        must(status == 0 || status == HF_NOSPACE);
        made += status == 0;
        refused += status < 0;
        if (status == 0) {
            must(fill(full, &number) == HF_NOSPACE);
            must(has(full, 0, number) && is_whole(full));
            status = hf_region_close(full);
            must(status == 0 || (status == HF_NOSPACE && options.level == HF_REGION_OFF));
            must(mount("tmpfs", mounted, "tmpfs", MS_REMOUNT, "size=32m") == 0);
            options.mode = HF_REGION_ATTACH;
            must(hf_region_open_file(file, &options, &full) == 0);
            must(has(full, 0, number) && is_whole(full));
            must(hf_region_close(full) == 0);
        } else {
            /* Of one that could not be made there is nothing, but perhaps what another may open. */
            must(mount("tmpfs", mounted, "tmpfs", MS_REMOUNT, "size=32m") == 0);
            options.mode = HF_REGION_EITHER;
            must(hf_region_open_file(file, &options, &full) == 0);
            must(has(full, 0, 0) && hf_region_close(full) == 0);
        }
        unlink(file);
        unlink(lock);
        must(rmdir(mounted) < 0 && errno == EBUSY);
        DIR *folder = opendir(mounted);
        for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
            must(entry->d_name[0] == '.');
        closedir(folder);
    }
    must(made > 5 && refused > 5);
    small_tmpfs_end(mounted);
}

static void on_a_disk_of_any_size(void **state)
{
    in_a_child(on_a_disk_of_any_size_child);
}

/* -- limits of this process -- */

static void with_a_limit_of_file_size_child(void)
{
    struct rlimit limit = {4 << 20, RLIM_INFINITY};
    char file[96];
    hf_region *full;
    uint64_t number = 0;
    file_name(file);
    /* What would be longer is an EFBIG and a signal, which must not be what it dies of. */
    must(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    must(hf_region_open_file(file, &create, &full) == 0);
    must(fill(full, &number) == HF_NOSPACE);
    must(number > 100 && has(full, 0, number) && is_whole(full));
    limit.rlim_cur = 8 << 20;
    must(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    uint64_t first = number;
    must(fill(full, &number) == HF_NOSPACE && number > first + 100 && has(full, 0, number) && is_whole(full));
    must(hf_region_close(full) == 0);
    files_remove();
}

static void with_a_limit_of_file_size(void **state)
{
    in_a_child(with_a_limit_of_file_size_child);
}

/*
 * Where the log is long, a place is taken for a manifest that may outgrow the root's page, before it is known whether it
 * does. There is space for the flush, and not for that: of many commits that replaced each other next to nothing is left.
 */
static void a_manifest_that_is_shorter_than_it_might_be_child(void)
{
    enum { COMMITS = 4000, ROOM = 3, LEAST = 10 };
    char file[96];
    hf_region_options options = create;
    hf_region *full;
    hf_txn *txn;
    hf_view view;
    hf_span value;
    uint64_t number = 7;
    hf_key key = filler_key(&number);
    options.level = HF_REGION_OFF;
    options.nursery = HF_REGION_STRAIGHT;
    file_name(file);
    must(hf_region_open_file(file, &options, &full) == 0);
    for (unsigned i = 0; i < COMMITS; i++)
        must(hf_txn_begin(full, 0, &txn) == 0 && hf_txn_put(txn, 0, &key, &i, sizeof i) >= 0 &&
             hf_txn_commit(txn) == 0);
    must(full->txn.state.file.written * 3 / 8 > HF_ROOT_PIECES + 1000);
    /* What is free in the file is taken. */
    while (full->txn.state.file.runs.sum.most > LEAST) {
        static const unsigned char bytes[1 << 20];
        hf_key another = filler_key(&(uint64_t){++number});
        must(hf_txn_begin(full, 0, &txn) == 0 &&
             hf_txn_put(txn, 0, &another, bytes, full->txn.state.file.runs.sum.most * 1024 - 100) == 1 &&
             hf_txn_commit(txn) == 0);
    }
    number = 7;
    /* So much and no more, as far as this process sees. */
    uint64_t top = full->txn.state.version.top, reserved = full->reserved;
    atomic_store(&full->size, top + HF_REGION_PAGE);
    full->reserved = top + (1 + ROOM) * HF_REGION_PAGE;
    must(hf_region_flush(full, -1) == 0);
    full->reserved = reserved;
    must(full->txn.state.file.durable == full->txn.state.version.txid && is_whole(full));
    must(hf_view_pin(full, &view) == 0 && hf_view_get(&view, 0, &key, &value) == 1);
    hf_view_unpin(&view);
    must(hf_region_close(full) == 0);
    files_remove();
}

static void a_manifest_that_is_shorter_than_it_might_be(void **state)
{
    in_a_child(a_manifest_that_is_shorter_than_it_might_be_child);
}

static void with_a_limit_of_address_space_child(void)
{
    struct rlimit limit = {1 << 30, 1 << 30};
    char file[96];
    hf_region_options options = {.mode = HF_REGION_CREATE};
    hf_region *own, *another;
    uint64_t number = 0;
    file_name(file);
    must(setrlimit(RLIMIT_AS, &limit) == 0);
    must(hf_region_open_file(file, &options, &own) == 0);
    must(own->reserved >= 1 << 20 && own->mapped <= 1 << 30);
    must(has(own, 0, 0));
    hf_txn *txn;
    hf_key key = filler_key(&number);
    must(hf_txn_begin(own, 0, &txn) == 0 && hf_txn_put(txn, 0, &key, filler(0), filler_size(0)) == 1 &&
         hf_txn_commit(txn) == 0);
    must(has(own, 0, 1));
    /* With next to nothing left: a limit, and nothing else. */
    struct rlimit less = {64 << 20, 1 << 30};
    must(setrlimit(RLIMIT_AS, &less) == 0);
    options.mode = HF_REGION_ATTACH;
    int status = hf_region_open_file(file, &options, &another);
    must(status == HF_LIMIT || status == HF_NOMEM);
    must(setrlimit(RLIMIT_AS, &limit) == 0);
    must(has(own, 0, 1) && hf_region_close(own) == 0);
}

static void with_a_limit_of_address_space(void **state)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* they take terabytes for themselves */
#endif
    in_a_child(with_a_limit_of_address_space_child);
}

/* Opens a file under a limit: the program that does has most of what the file does not need. */
static void open_modestly(int resource, uint64_t mib, uint64_t file_mib, uint64_t left_mib)
{
    struct rlimit limit = {mib << 20, RLIM_INFINITY};
    hf_region_options options = {.mode = HF_REGION_EITHER};
    char file[96];
    hf_region *own;
    uint64_t number = 0;
    file_name(file);
    must(hf_region_open_file(file, &options, &own) == 0 && hf_region_close(own) == 0);
    must(truncate(file, (off_t)(file_mib << 20)) == 0);
    must(setrlimit(resource, &limit) == 0);
    must(hf_region_open_file(file, &options, &own) == 0);
    void *mine = malloc(left_mib << 20);
    must(mine != NULL);
    free(mine);
    hf_txn *txn;
    hf_key key = filler_key(&number);
    must(hf_txn_begin(own, 0, &txn) == 0 && hf_txn_put(txn, 0, &key, filler(0), filler_size(0)) == 1 &&
         hf_txn_commit(txn) == 0);
    must(hf_region_close(own) == 0);
    options = (hf_region_options){.read_only = true};
    must(hf_region_open_file(file, &options, &own) == 0 && hf_region_close(own) == 0);
    limit.rlim_cur = RLIM_INFINITY;
    must(setrlimit(resource, &limit) == 0);
    files_remove();
}

static void a_limit_is_not_used_up_child(void)
{
    open_modestly(RLIMIT_AS, 700, 200, 200); /* what the file needs comes before what is nice to have */
    open_modestly(RLIMIT_AS, 600, 1, 250);
    open_modestly(RLIMIT_AS, 100, 1, 16);
    open_modestly(RLIMIT_DATA, 1000, 1, 500);
}

static void a_limit_is_not_used_up(void **state)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* they take terabytes for themselves */
#endif
    in_a_child(a_limit_is_not_used_up_child);
}

static void too_little_address_space_is_a_limit_child(void)
{
    char file[96];
    hf_region_options options = {.mode = HF_REGION_CREATE, .reserve = 8 << 20, .level = HF_REGION_OFF};
    hf_region *small, *large;
    uint64_t number = 0;
    file_name(file);
    must(hf_region_open_file(file, &options, &small) == 0);
    hf_txn *txn;
    int status = 0;
    while (status == 0) {
        uint64_t next = number;
        must(hf_txn_begin(small, 0, &txn) == 0);
        for (int i = 0; status >= 0 && i < 20; i++, next++) {
            hf_key key = filler_key(&next);
            status = hf_txn_put(txn, 0, &key, filler(next), filler_size(next));
        }
        if (status >= 0)
            status = hf_txn_commit(txn);
        if (status < 0)
            must(hf_txn_abort(txn) == 0);
        else
            number = next;
    }
    must(status == HF_LIMIT && number > 500);
    must(has(small, 0, number) && is_whole(small));
    /* Another process, or this one with more, goes on. */
    options = (hf_region_options){.mode = HF_REGION_ATTACH, .reserve = SPACE, .level = HF_REGION_OFF};
    must(hf_region_open_file(file, &options, &large) == 0);
    static unsigned char bytes[12 << 20];
    hf_key key = {1, "key", 3};
    must(hf_txn_begin(large, 0, &txn) == 0 && hf_txn_put(txn, 1, &key, bytes, sizeof bytes) == 1 &&
         hf_txn_commit(txn) == 0);
    hf_view view;
    must(hf_view_pin(small, &view) == HF_LIMIT && hf_txn_begin(small, 0, &txn) == HF_LIMIT);
    must(is_whole(large));
    /* Nothing is lost by closing the one that cannot see it. */
    status = hf_region_close(small);
    must(status == 0 || status == HF_LIMIT);
    must(is_whole(large) && has(large, 0, number) && hf_region_close(large) == 0);
    must(hf_region_open_file(file, &options, &large) == 0);
    must(is_whole(large) && has(large, 0, number) && hf_region_close(large) == 0);
    files_remove();
}

static void too_little_address_space_is_a_limit(void **state)
{
    in_a_child(too_little_address_space_is_a_limit_child);
}

static void slots_run_out(void **state)
{
    static hf_snapshot *snapshots[HF_REGION_SLOTS_MAX];
    hf_region *region = region_new(SPACE);
    unsigned taken = 0;
    hf_txn *txn;
    hf_view view;
    int status;
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
    ok(hf_view_pin(region, &view));
    hf_region *other = region_again(region);
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
        if (snapshots[i] != NULL) {
            if (i % 1000 == 7) {
                hf_span value;
                assert_int_equal(hf_view_get(hf_snapshot_view(snapshots[i]), 0, &(hf_key){1, "key", 3}, &value), 1);
                assert_memory_equal(value.bytes, &i, sizeof i);
            }
            hf_snapshot_end(snapshots[i]);
        }
    ok(hf_region_close(region));
    ok(hf_view_pin(other, &more));
    hf_view_unpin(&more);
    ok(hf_region_close(other));
}

/* -- a disk that fails -- */

static int put_one(hf_region *region, uint64_t number)
{
    hf_txn *txn;
    hf_key key = filler_key(&number);
    int status = hf_txn_begin(region, 0, &txn);
    if (status < 0)
        return status;
    status = hf_txn_put(txn, 0, &key, filler(number), filler_size(number));
    if (status >= 0)
        status = hf_txn_commit(txn);
    if (status < 0)
        ok(hf_txn_abort(txn));
    return status < 0 ? status : 0;
}

/* A flush that fails breaks the store, for all; readers go on; it opens again from what was durable. */
static void a_flush_that_fails_breaks_the_store(void **state)
{
    /* By the first transaction or by a later one. */
    for (int commits = 0; commits < 2; commits++) {
        hf_region *region = region_new(SPACE), *other = region_again(region), *third;
        hf_snapshot *snapshot;
        hf_region_stats stats;
        hf_txn *txn;
        char path[96];
        snprintf(path, sizeof path, "%s", region->file->path);
        ok(put_one(region, 0));
        ok(hf_region_flush(region, -1));
        ok(hf_snapshot_begin(other, &snapshot));
        if (commits)
            ok(put_one(other, 1));
        hf_fault_arm(HF_OS_SITE_fdatasync, 1, EIO);
        if (the_home == HOME_FULL) {
            assert_int_equal(put_one(region, 2), HF_BROKEN);
        } else {
            ok(put_one(region, 2));
            assert_int_equal(hf_region_flush(region, -1), HF_BROKEN);
        }
        assert_int_equal(hf_fault_failed(HF_OS_SITE_fdatasync), 1);
        uint64_t calls = hf_fault_calls(HF_OS_SITE_fdatasync);
        hf_region *both[] = {region, other};
        for (int i = 0; i < 2; i++) {
            assert_int_equal(hf_txn_begin(both[i], 0, &txn), HF_BROKEN);
            assert_int_equal(hf_region_flush(both[i], 0), HF_BROKEN);
            ok(hf_region_stats_get(both[i], &stats));
            assert_true(stats.broken);
            /* What was published before is still there to be read. */
            assert_int_equal(stats.counts[0], the_home == HOME_FULL ? 1 + commits : 2 + commits);
        }
        assert_int_equal(hf_view_count(hf_snapshot_view(snapshot), 0), 1);
        hf_snapshot_end(snapshot);
        hf_region_options options = file_options(HF_REGION_ATTACH, SPACE);
        assert_int_equal(hf_region_open_file(path, &options, &third), HF_BROKEN);
        assert_int_equal(hf_region_close(region), HF_BROKEN);
        assert_int_equal(hf_region_open_file(path, &options, &third), HF_BROKEN);
        assert_int_equal(hf_region_close(other), HF_BROKEN);
        /* Nobody has tried again. */
        assert_int_equal(hf_fault_calls(HF_OS_SITE_fdatasync), calls);
        hf_fault_disarm();
        third = file_again(path);
        ok(hf_region_stats_get(third, &stats));
        assert_false(stats.broken);
        assert_true(stats.recovered);
        /* The root that was on its way may have got there. */
        assert_in_range(stats.counts[0], the_home == HOME_FULL ? 1 + commits : 1, 2 + commits);
        if (stats.counts[0] != (uint64_t)2 + (uint64_t)commits)
            assert_true(has(third, 0, stats.counts[0]));
        assert_true(is_whole(third));
        ok(put_one(third, 2));
        assert_true(is_whole(third));
        ok(hf_region_close(third));
    }
}

/* A write that fails is no broken store: the transaction is over, and the next one may go better. */
static void a_write_that_fails_is_an_error(void **state)
{
    hf_region *region = region_new(SPACE);
    uint64_t number = 0;
    for (uint64_t n = 1; n < 20; n++) {
        static const int errors[] = {EIO, ENOSPC, EDQUOT};
        for (size_t i = 0; i < LENGTH(errors); i++) {
            hf_fault_arm(HF_OS_SITE_pwrite, n, errors[i]);
            int status = put_one(region, number);
            uint64_t failed = hf_fault_failed(HF_OS_SITE_pwrite);
            hf_fault_disarm();
            /* (A file that cannot grow by much is tried to grow by a little.) */
            if (status < 0)
                assert_int_equal(status, errors[i] == EIO ? HF_IO : HF_NOSPACE);
            if (status == 0)
                assert_true(failed == 0 || errors[i] != EIO);
            number += status == 0;
            assert_true(has(region, 0, number));
            assert_true(is_whole(region));
        }
    }
    assert_true(number > 10);
    ok(hf_region_close(region));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_a_full_disk),
        cmocka_unit_test(on_a_full_disk_lazily),
        cmocka_unit_test(on_a_disk_of_any_size),
        cmocka_unit_test(with_a_limit_of_file_size),
        cmocka_unit_test(a_manifest_that_is_shorter_than_it_might_be),
        cmocka_unit_test(with_a_limit_of_address_space),
        cmocka_unit_test(a_limit_is_not_used_up),
        cmocka_unit_test(too_little_address_space_is_a_limit),
        in_home(slots_run_out, HOME_OFF),
        in_home(a_flush_that_fails_breaks_the_store, HOME_FULL),
        in_home(a_flush_that_fails_breaks_the_store, HOME_OFF),
        in_home(a_write_that_fails_is_an_error, HOME_FULL),
        in_home(a_write_that_fails_is_an_error, HOME_OFF),
    };
    return cmocka_run_group_tests_name("region/file_full", tests, NULL, NULL);
}

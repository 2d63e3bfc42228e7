/*
 * test_region_file_edges.c: where a file could lose data, one test for each way that was found by reading.
 */
#include "test_region_support.h"

#include "region/file.h"

#include <fcntl.h>
#include <sys/wait.h>

static char folder[64], path[96], lock_path[112];

static int begin(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/hf-edges-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/region", folder);
    snprintf(lock_path, sizeof lock_path, "%s-lock", path);
    return 0;
}

static int end(void **state)
{
    (void)state;
    hf_fault_disarm();
    unlink(lock_path);
    unlink(path);
    rmdir(folder);
    return 0;
}

static uint64_t nursery;

static hf_region *open_at(enum hf_region_level level)
{
    hf_region_options options = {
        .mode = HF_REGION_EITHER, .timeout = -1, .reserve = 64 << 20, .level = level, .nursery = nursery};
    hf_region *region;
    ok(hf_region_open_file(path, &options, &region));
    return region;
}

static int put(hf_txn *txn, int key, int value)
{
    static unsigned char bytes[LONGEST];
    char text[64];
    hf_key name = key_of(key, text);
    value_fill(value, key, bytes);
    return hf_txn_put(txn, 0, &name, bytes, value_size(value));
}

static int put_one(hf_region *region, int key, int value)
{
    hf_txn *txn;
    int status = hf_txn_begin(region, -1, &txn);
    if (status < 0)
        return status;
    status = put(txn, key, value);
    if (status >= 0)
        status = hf_txn_commit(txn);
    if (status < 0)
        hf_txn_abort(txn);
    return status < 0 ? status : 0;
}

static bool has(hf_region *region, int key, int value)
{
    char text[64];
    hf_key name = key_of(key, text);
    hf_view view;
    hf_span found;
    ok(hf_view_pin(region, &view));
    int got = hf_view_get(&view, 0, &name, &found);
    bool same = got == 1 && value_is(value, key, &found);
    hf_view_unpin(&view);
    return same;
}

/* The lock file is not believed after a power cut. What was not flushed is there all the same. */
static void forget_lock_file(void)
{
    unlink(lock_path);
}

/* Runs in a child that ends without closing anything. */
#define KILLED(...)                                         \
    do {                                                    \
        pid_t child = fork();                               \
        assert_true(child >= 0);                            \
        if (child == 0) {                                   \
            __VA_ARGS__;                                    \
            _exit(0);                                       \
        }                                                   \
        int ended;                                          \
        assert_int_equal(waitpid(child, &ended, 0), child); \
        assert_int_equal(ended, 0);                         \
    } while (0)

static const struct hf_root *durable_root(const hf_region *region)
{
    uint64_t published = atomic_load(&region->lock->published);
    const struct hf_file_commit *record = (const void *)hf_region_seen(region, published);
    return (const void *)(region->base + HF_FILE_ROOT_AT +
                          (record->state.flushes - 1) % HF_FILE_SLOTS * HF_REGION_PAGE);
}

/* -- the manifest -- */

static bool in_manifest(const hf_region *region, const struct hf_root *root, uint64_t units)
{
    const struct hf_manifest_entry *more = hf_unit_at(region, root->state.manifest);
    for (uint64_t i = 0; i < root->pieces; i++) {
        uint64_t piece = i < HF_ROOT_PIECES ? root->manifest[i].piece : more[i - HF_ROOT_PIECES].piece;
        if (units >= hf_link_units(piece) && units < hf_link_units(piece) + (piece >> 40))
            return true;
    }
    return false;
}

static uint64_t count_missing(const hf_region *region, const struct hf_root *root, uint64_t link, uint64_t durable)
{
    const struct hf_file_node *node = hf_unit_at(region, hf_link_units(link));
    uint64_t entries = hf_trie_entry_count(node->maps), children = hf_trie_child_count(node->maps), missing = 0;
    assert_true(link != 0);
    if (hf_head_txid(node->head) <= durable)
        return 0;
    missing += !in_manifest(region, root, hf_link_units(link));
    for (uint64_t i = 0; i < entries; i++) {
        const struct hf_file_record *record = hf_unit_at(region, hf_link_units(node->slots[i]));
        missing += hf_head_txid(record->head) > durable && !in_manifest(region, root, hf_link_units(node->slots[i]));
    }
    for (uint64_t i = entries; i < entries + children; i++)
        missing += count_missing(region, root, node->slots[i], durable);
    return missing;
}

/* Places that were written, freed and written again between two flushes are several times in the log, in pieces that
 * overlap. All that is live of them is in the manifest all the same. */
static void test_manifest_of_pieces_written_twice(void **state)
{
    (void)state;
    random_source random = {5};
    nursery = HF_REGION_STRAIGHT;
    hf_region *region = open_at(HF_REGION_OFF);
    nursery = 0;
    for (int round = 0; round < 6; round++) {
        uint64_t durable = durable_root(region)->version.txid;
        for (int i = 0; i < 300; i++) {
            hf_txn *txn;
            ok(hf_txn_begin(region, -1, &txn));
            for (int j = 0; j < 20; j++)
                assert_true(put(txn, (int)random_below(&random, KEYS), (int)random_below(&random, 90)) >= 0);
            ok(hf_txn_commit(txn));
        }
        ok(hf_region_flush(region, -1));
        const struct hf_root *root = durable_root(region);
        assert_true(root->version.txid > durable);
        assert_int_equal(count_missing(region, root, root->version.trees[0].root, durable), 0);
        assert_int_equal(count_missing(region, root, root->state.space.root, durable), 0);
    }
    region_check(region);
    ok(hf_region_close(region));
}

/* A piece has 24 bits for its length: a block of 256 MiB is several. */
static void test_long_pieces(void **state)
{
    (void)state;
    const uint64_t counts[] = {1, HF_PIECE_LONGEST, HF_PIECE_LONGEST + 1, 1 << 24, (1 << 24) + 3, UINT64_C(1) << 28};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct hf_pieces pieces = {0};
        uint64_t at = 5000;
        ok(hf_pieces_add(&pieces, at, counts[i]));
        hf_pieces_merge(&pieces);
        for (size_t j = 0; j < pieces.count; j++) {
            assert_int_equal(hf_link_units(pieces.piece[j]), at);
            at += pieces.piece[j] >> 40;
        }
        assert_int_equal(at, 5000 + counts[i]);
        hf_free(pieces.piece);
    }
    assert_true(hf_stage_bin(UINT32_MAX) > 0);
    assert_int_equal(hf_stage_bin(UINT64_C(1) << 32), HF_LIMIT);
}

/* All ways in which two pieces can lie, and runs of them: each unit is in one piece afterwards, and no other is. */
static void test_merge(void **state)
{
    (void)state;
    random_source random = {9};
    for (int round = 0; round < 2000; round++) {
        struct hf_pieces pieces = {0};
        bool in[80] = {false}, out[80] = {false};
        for (unsigned i = 1 + random_below(&random, 8); i > 0; i--) {
            unsigned at = random_below(&random, 60), count = 1 + random_below(&random, 20);
            ok(hf_pieces_add(&pieces, at, count));
            memset(in + at, true, count);
        }
        hf_pieces_merge(&pieces);
        for (size_t i = 0; i < pieces.count; i++) {
            uint64_t at = hf_link_units(pieces.piece[i]), count = pieces.piece[i] >> 40;
            for (uint64_t j = at; j < at + count; j++) {
                assert_false(out[j]);
                out[j] = true;
            }
        }
        assert_memory_equal(in, out, sizeof in);
        hf_free(pieces.piece);
    }
}

/* A flush is due after 64 MiB: those of the transaction that brings them together, too. */
static void test_a_large_transaction_is_flushed(void **state)
{
    (void)state;
    enum { SIZE = 1 << 20 };
    hf_region_options options = {.mode = HF_REGION_EITHER, .reserve = 256 << 20, .level = HF_REGION_OFF};
    hf_region_stats stats;
    hf_region *region;
    hf_txn *txn;
    char *bytes = calloc(1, SIZE);
    ok(hf_region_open_file(path, &options, &region));
    ok(hf_txn_begin(region, -1, &txn));
    for (uint64_t i = 0; i < 66; i++) {
        hf_key key = {i << 50, &i, sizeof i};
        assert_int_equal(hf_txn_put(txn, 0, &key, bytes, SIZE), 1);
    }
    ok(hf_txn_commit(txn));
    ok(hf_region_stats_get(region, &stats));
    assert_int_equal(stats.durable, stats.txid);
    ok(hf_region_close(region));
    free(bytes);
}

/* -- one process sees what another one left behind -- */

/* A flush that failed breaks the store for all, for who committed last and has nothing to load, too. */
static void test_broken_for_who_committed_last(void **state)
{
    (void)state;
    hf_region *one = open_at(HF_REGION_FULL), *two = open_at(HF_REGION_FULL);
    ok(put_one(one, 1, 1));
    hf_fault_arm(HF_OS_SITE_fdatasync, 1, EIO);
    assert_int_equal(put_one(two, 1, 2), HF_BROKEN);
    hf_fault_disarm();
    assert_int_equal(put_one(one, 1, 3), HF_BROKEN);
    assert_int_equal(hf_region_flush(one, -1), HF_BROKEN);
    assert_int_equal(hf_region_close(one), HF_BROKEN);
    assert_int_equal(hf_region_close(two), HF_BROKEN);
}

/* A root that was handed over and not published goes before anything else is published, whoever comes next. */
static void test_handed_over_for_who_committed_last(void **state)
{
    (void)state;
    hf_region *region = open_at(HF_REGION_OFF);
    ok(put_one(region, 1, 1));
    ok(hf_region_flush(region, -1));
    /* As a writer would leave it who died between the flush and the publication. */
    struct hf_root root = *durable_root(region);
    char page[HF_REGION_PAGE];
    uint64_t at = HF_FILE_ROOT_AT + root.state.flushes % HF_FILE_SLOTS * HF_REGION_PAGE;
    memcpy(page, durable_root(region), sizeof page);
    struct hf_root *later = (void *)page;
    later->version.txid++;
    later->state.flushes++;
    later->state.durable++;
    later->checksum = hf_root_checksum(later);
    assert_int_equal(hf_os_pwrite_all(region->fd, page, sizeof page, (off_t)at), 0);
    atomic_store(&region->file->shared->handed, later->version.txid);
    atomic_store(&region->file->shared->root_checksum, later->checksum);
    ok(put_one(region, 1, 2));
    assert_int_not_equal(((const struct hf_root *)(const void *)(region->base + at))->magic, HF_FILE_ROOT_MAGIC);
    /* And what the lock file says is believed again. */
    assert_int_equal(atomic_load(&region->file->shared->root_checksum), durable_root(region)->checksum);
    ok(hf_region_close(region));
}

/* A region cannot be flushed by a thread that has a transaction of the same file; it is closed all the same, so it says so. */
static void test_close_beside_a_transaction(void **state)
{
    (void)state;
    hf_region *one = open_at(HF_REGION_OFF), *two = open_at(HF_REGION_OFF);
    hf_txn *txn;
    ok(put_one(two, 1, 1));
    ok(hf_txn_begin(one, -1, &txn));
    ok(hf_region_close(two));
    assert_true(put(txn, 2, 2) >= 0);
    ok(hf_txn_commit(txn));
    ok(hf_region_close(one));
    one = open_at(HF_REGION_FULL);
    assert_true(has(one, 1, 1) && has(one, 2, 2));
    ok(hf_region_close(one));
}

/* -- the clean mark, and recovery -- */

static bool is_zero(uint64_t at, size_t size)
{
    unsigned char bytes[HF_REGION_PAGE];
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0 && size <= sizeof bytes);
    assert_int_equal(pread(fd, bytes, size, (off_t)at), (ssize_t)size);
    close(fd);
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* The flush of the mark failed, and it is there all the same: whoever writes next clears it. Else the file, not closed,
 * would be taken for one that was closed and then damaged. */
static void test_mark_that_may_be_there(void **state)
{
    (void)state;
    hf_region *region = open_at(HF_REGION_FULL);
    ok(put_one(region, 1, 1));
    hf_fault_arm(HF_OS_SITE_fdatasync, 1, EIO);
    assert_int_equal(hf_region_close(region), HF_BROKEN);
    hf_fault_disarm();
    KILLED(region = open_at(HF_REGION_FULL); if (put_one(region, 1, 2) < 0 || put_one(region, 1, 3) < 0) _exit(1));
    forget_lock_file();
    region = open_at(HF_REGION_FULL);
    assert_true(has(region, 1, 3));
    ok(hf_region_close(region));
}

/* A mark of an older root, or roots in each other's slots: something is not what was written last. */
static void test_stale_mark(void **state)
{
    (void)state;
    char mark[512], slots[2][HF_REGION_PAGE];
    hf_region *region = open_at(HF_REGION_FULL);
    ok(put_one(region, 1, 1));
    ok(hf_region_close(region));
    int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, mark, sizeof mark, HF_FILE_CLEAN_AT), sizeof mark);
    region = open_at(HF_REGION_FULL);
    ok(put_one(region, 1, 2));
    ok(hf_region_close(region));
    assert_int_equal(pwrite(fd, mark, sizeof mark, HF_FILE_CLEAN_AT), sizeof mark);
    hf_region_options options = {.timeout = -1, .reserve = 64 << 20};
    assert_int_equal(hf_region_open_file(path, &options, &region), HF_CORRUPT);
    memset(mark, 0, sizeof mark);
    assert_int_equal(pwrite(fd, mark, sizeof mark, HF_FILE_CLEAN_AT), sizeof mark);
    assert_int_equal(pread(fd, slots, sizeof slots, HF_FILE_ROOT_AT), sizeof slots);
    assert_int_equal(pwrite(fd, slots[1], HF_REGION_PAGE, HF_FILE_ROOT_AT), HF_REGION_PAGE);
    assert_int_equal(pwrite(fd, slots[0], HF_REGION_PAGE, HF_FILE_ROOT_AT + HF_REGION_PAGE), HF_REGION_PAGE);
    assert_int_equal(hf_region_open_file(path, &options, &region), HF_CORRUPT);
    assert_int_equal(pwrite(fd, slots, sizeof slots, HF_FILE_ROOT_AT), sizeof slots);
    region = open_at(HF_REGION_FULL);
    assert_true(has(region, 1, 2));
    ok(hf_region_close(region));
    close(fd);
}

static uint64_t written_at[64];
static unsigned written_count;

static ssize_t noting_pwrite(int fd, const void *buffer, size_t size, off_t at)
{
    if (written_count < sizeof written_at / sizeof *written_at)
        written_at[written_count++] = (uint64_t)at;
    return hf_os_native.pwrite(fd, buffer, size, at);
}

/* What can be read is what was written last; what is on the disk, after a flush that failed, may be older. So recovery
 * writes the zeros of the mark, and of a root that was taken back, once more. */
static void test_recovery_writes_zeros_again(void **state)
{
    (void)state;
    hf_region *region;
    struct hf_os noting = hf_os_native;
    bool mark = false, slot = false, at_end = false;
    struct stat found;
    KILLED(region = open_at(HF_REGION_OFF); if (put_one(region, 1, 1) < 0) _exit(1));
    assert_true(is_zero(HF_FILE_CLEAN_AT, sizeof(struct hf_clean)));
    assert_true(is_zero(HF_FILE_ROOT_AT + HF_REGION_PAGE, HF_REGION_PAGE));
    forget_lock_file();
    noting.pwrite = noting_pwrite;
    written_count = 0;
    ok(stat(path, &found));
    hf_os_replace(&noting);
    region = open_at(HF_REGION_OFF);
    hf_os_replace(NULL);
    for (unsigned i = 0; i < written_count; i++) {
        mark |= written_at[i] == HF_FILE_CLEAN_AT;
        slot |= written_at[i] == HF_FILE_ROOT_AT + HF_REGION_PAGE;
        at_end |= written_at[i] == (uint64_t)found.st_size - 1;
    }
    assert_true(mark && slot && at_end);
    hf_region_stats stats;
    ok(hf_region_stats_get(region, &stats));
    assert_true(stats.recovered && !stats.stepped_back);
    ok(hf_region_close(region));
}

/* Numbers of versions that were lost are not used again: not after a second power cut, nor after a close. */
static void test_numbers_are_not_used_again(void **state)
{
    (void)state;
    hf_region_stats stats;
    hf_region *region;
    uint64_t last;
    KILLED(region = open_at(HF_REGION_OFF); if (put_one(region, 1, 1) < 0) _exit(1));
    forget_lock_file();
    region = open_at(HF_REGION_OFF);
    ok(hf_region_stats_get(region, &stats));
    last = stats.txid;
    assert_true(last > 1 << 20);
    ok(hf_region_close(region));
    region = open_at(HF_REGION_OFF);
    ok(hf_region_stats_get(region, &stats));
    assert_true(stats.txid >= last);
    ok(hf_region_close(region));
    for (int i = 0; i < 2; i++) {
        KILLED(region = open_at(HF_REGION_OFF);
               if (put_one(region, 1, 2 + i) < 0 || put_one(region, 2, 2) < 0) _exit(1));
        forget_lock_file();
    }
    region = open_at(HF_REGION_OFF);
    ok(hf_region_stats_get(region, &stats));
    assert_true(stats.txid > last + (UINT64_C(1) << HF_FILE_STEP_BITS));
    region_check(region);
    ok(hf_region_close(region));
}

/* -- a reader beside a writer -- */

/* The table of what was verified grows with the file for who only reads, too: else most is verified at each look. */
static void test_room_for_what_a_reader_verified(void **state)
{
    (void)state;
    hf_region *writer = open_at(HF_REGION_OFF), *reader = open_at(HF_REGION_OFF);
    hf_region_stats stats;
    hf_view view;
    for (int i = 0; i < 60; i++) {
        hf_txn *txn;
        ok(hf_txn_begin(writer, -1, &txn));
        for (int key = 0; key < KEYS; key++)
            assert_true(put(txn, key + i * KEYS, 89) >= 0);
        ok(hf_txn_commit(txn));
    }
    ok(hf_region_stats_get(writer, &stats));
    ok(hf_view_pin(reader, &view));
    hf_view_unpin(&view);
    assert_true(stats.top / (2 * HF_UNIT) > 1 << 16);
    assert_true(atomic_load(&reader->file->verified_mask) + 1 >= stats.top / (4 * HF_UNIT));
    ok(hf_region_close(reader));
    ok(hf_region_close(writer));
}

/* -- who may not write -- */

static void test_a_reader_who_cannot_write_the_lock_file(void **state)
{
    (void)state;
    hf_region *writer = open_at(HF_REGION_FULL), *reader;
    hf_txn *txn;
    ok(put_one(writer, 1, 1));
    ok(open_looking(path, &reader));
    assert_true(reader->file->control.base != NULL && !reader->file->control.writable);
    assert_true(has(reader, 1, 1));
    assert_int_equal(hf_txn_begin(reader, 0, &txn), HF_DENIED);
    ok(hf_region_check(reader, 0, NULL));
    ok(hf_region_flush(reader, 0));
    ok(hf_region_close(reader));
    ok(hf_region_close(writer));
}

/* -- bytes that are not what a region would write, with checksums that are right -- */

static void make_hostile(void (*change)(struct hf_root *root, int fd, int how), int how)
{
    char pages[2][HF_REGION_PAGE], zero[sizeof(struct hf_clean)] = {0};
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, pages, sizeof pages, HF_FILE_ROOT_AT), sizeof pages);
    struct hf_root *roots[2] = {(void *)pages[0], (void *)pages[1]};
    int newest = roots[1]->version.txid > roots[0]->version.txid;
    roots[newest]->pieces = 0;
    change(roots[newest], fd, how);
    roots[newest]->checksum = hf_root_checksum(roots[newest]);
    memset(pages[!newest], 0, HF_REGION_PAGE);
    assert_int_equal(pwrite(fd, pages, sizeof pages, HF_FILE_ROOT_AT), sizeof pages);
    assert_int_equal(pwrite(fd, zero, sizeof zero, HF_FILE_CLEAN_AT), sizeof zero);
    close(fd);
    forget_lock_file();
}

/* Everything that can be done with it. Nothing is expected but that it ends. */
static void use_hostile(void)
{
    hf_region_options options = {.timeout = -1, .reserve = 64 << 20, .level = HF_REGION_FULL};
    hf_region *region;
    hf_txn *txn;
    alarm(20);
    if (hf_region_open_file(path, &options, &region) < 0)
        return;
    hf_region_check(region, -1, NULL);
    for (int key = 0; key < 40; key++)
        put_one(region, key, key + 100);
    if (hf_txn_begin(region, -1, &txn) == 0) {
        hf_txn_keep(txn, "it");
        hf_txn_clear(txn, 0);
        if (hf_txn_commit(txn) < 0)
            hf_txn_abort(txn);
    }
    hf_region_check(region, -1, NULL);
    hf_region_close(region);
}

static void change_record(struct hf_root *root, int fd, int how)
{
    (void)fd;
    uint64_t staged = (64 << 20) / HF_UNIT;
    switch (how) {
    case 0:
        root->version.trees[1].root = HF_FILE_UNITS;
        break;
    case 1:
        root->version.trees[3].root = staged;
        break;
    case 2:
        root->state.space.root = staged + 3;
        break;
    case 3:
        root->version.kept = staged;
        break;
    case 4:
        root->state.open_count = 1 << 24;
        break;
    case 5:
        root->state.recent_count = UINT32_MAX;
        break;
    case 6:
        root->state.open_count = 1;
        root->state.open[0] = (struct hf_file_offer){0, {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};
        break;
    case 7:
        root->state.open_count = 1;
        root->state.open[0] =
            (struct hf_file_offer){UINT64_C(1) << 56, {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};
        break;
    case 8:
        root->state.runs = (struct hf_runs){.level = HF_RUNS_LEVELS};
        break;
    case 9:
        root->state.spill = HF_FILE_HEAP_AT / HF_UNIT;
        root->state.spill_count = (UINT64_C(1) << 61) + 1;
        break;
    case 10:
        root->state.manifest = HF_FILE_HEAP_AT / HF_UNIT;
        root->state.manifest_units = UINT64_MAX;
        break;
    case 11:
        root->state.runs = (struct hf_runs){0, HF_RUNS_LEVELS - 1, {UINT64_C(1) << 39, 0, UINT64_C(1) << 39}};
        root->state.queues[HF_QUEUE_OFFERS].tail = UINT64_MAX;
        root->state.queues[HF_QUEUE_WAITING].tail = UINT64_MAX;
        root->state.waiting = UINT64_MAX;
        break;
    case 12: /* half a page that begins elsewhere */
        root->state.recent_count = 1;
        root->state.recent[0] = (struct hf_file_cell){hf_piece(HF_FILE_HEAP_AT / HF_UNIT + 192, HF_PIECE_BITS), 1, 1};
        break;
    default:
        root->version.top = UINT64_MAX / HF_REGION_PAGE * HF_REGION_PAGE;
        break;
    }
}

/* A node with a link to what the next transaction will stage: its own copy among it. */
static void change_node(struct hf_root *root, int fd, int how)
{
    char bytes[1024];
    struct hf_file_node *node = (void *)bytes;
    uint64_t units = hf_link_units(root->version.trees[0].root), size;
    assert_true(pread(fd, bytes, sizeof bytes, (off_t)(units * HF_UNIT)) > 0);
    uint64_t entries = hf_trie_entry_count(node->maps), children = hf_trie_child_count(node->maps);
    assert_true(children > 0);
    size = sizeof *node + (entries + children) * sizeof(uint64_t);
    for (uint64_t i = entries; i < entries + children; i += 2)
        node->slots[i] = (64 << 20) / HF_UNIT + (uint64_t)how;
    hf_block_seal(node, size, units);
    root->version.trees[0].root = hf_link(units, node->mark);
    assert_int_equal(pwrite(fd, bytes, hf_units(size) * HF_UNIT, (off_t)(units * HF_UNIT)), hf_units(size) * HF_UNIT);
}

static void make_sound(void)
{
    forget_lock_file();
    unlink(path);
    hf_region *region = open_at(HF_REGION_OFF);
    for (int key = 0; key < 100; key++)
        ok(put_one(region, key, key));
    ok(hf_region_close(region));
}

static void test_hostile_records(void **state)
{
    (void)state;
    for (int how = 0; how <= 13; how++) {
        make_sound();
        make_hostile(change_record, how);
        KILLED(use_hostile());
    }
}

static void test_hostile_links(void **state)
{
    (void)state;
    for (int how = 0; how < 48; how++) {
        make_sound();
        make_hostile(change_node, how);
        KILLED(use_hostile());
    }
}

/* Cells of a zone that lie across its end. */
static void test_hostile_cells(void **state)
{
    (void)state;
    const uint64_t lengths[] = {HF_PIECE_BITS, 2, HF_ZONE_UNITS};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        make_sound();
        nursery = HF_REGION_STRAIGHT;
        hf_region *region = open_at(HF_REGION_OFF);
        nursery = 0;
        uint64_t zone_key = hf_space_key(HF_SPACE_ZONE, 0), cells_key = hf_space_key(HF_SPACE_CELLS, 0);
        struct hf_zone zone = {.head = 0, .tail = 1, .fresh = 5000};
        struct hf_file_cell cell = {hf_piece(HF_ZONE_UNITS - 1, lengths[i]), UINT64_MAX, UINT64_MAX};
        hf_key key = {hf_hash_u64(zone_key, HF_FILE_MAGIC), &zone_key, sizeof zone_key};
        int status = 0;
        hf_txn *txn;
        ok(hf_txn_begin(region, -1, &txn));
        assert_true(region->ops->put(txn, HF_REGION_SPACE_TREE, &key, &zone, sizeof zone) >= 0);
        ok(hf_txn_prepare(txn));
        key = (hf_key){hf_hash_u64(cells_key, HF_FILE_MAGIC), &cells_key, sizeof cells_key};
        assert_true(region->ops->put(txn, HF_REGION_SPACE_TREE, &key, &cell, sizeof cell) >= 0);
        ok(hf_txn_commit(txn));
        for (int j = 0; status == 0 && j < 3000; j++)
            status = put_one(region, j % 100, j % 49);
        assert_int_equal(status, HF_CORRUPT);
        /* What was committed before may need the same cells for its flush. */
        status = hf_region_close(region);
        assert_true(status == 0 || status == HF_CORRUPT);
    }
}

/* A manifest that would have the file read a hundred times over. */
static void test_hostile_manifest(void **state)
{
    (void)state;
    make_sound();
    hf_region *region = open_at(HF_REGION_FULL);
    char page[HF_REGION_PAGE];
    struct hf_root *root = (void *)page;
    memcpy(page, durable_root(region), sizeof page);
    root->pieces = 2;
    for (int i = 0; i < 2; i++) {
        root->manifest[i].piece = hf_piece(HF_FILE_HEAP_AT / HF_UNIT, 100);
        root->manifest[i].checksum = hf_piece_checksum(region, root->manifest[i].piece);
    }
    root->checksum = hf_root_checksum(root);
    assert_int_equal(hf_root_verify(region, root), HF_CORRUPT);
    root->pieces = 1;
    root->checksum = hf_root_checksum(root);
    ok(hf_root_verify(region, root));
    ok(hf_region_close(region));
}

/* Keys whose hashes have all but the last bit in common lie at the end of chains of nodes: so many nodes for so little else
 * is not damage. */
static void test_chains_can_be_cleared(void **state)
{
    hf_region *region = open_at(HF_REGION_FULL);
    hf_txn *txn;
    ok(hf_txn_begin(region, -1, &txn));
    for (uint64_t i = 0; i < 2000; i++) {
        hf_key key = {hf_hash_u64(i / 2, 7) >> 1 | (i & 1) << 63, &i, sizeof i};
        assert_int_equal(hf_txn_put(txn, 0, &key, NULL, 0), 1);
    }
    ok(hf_txn_commit(txn));
    ok(hf_txn_begin(region, -1, &txn));
    ok(hf_txn_clear(txn, 0));
    ok(hf_txn_commit(txn));
    region_check(region);
    ok(hf_region_close(region));
}

/* A reader without a lock file has slots that nobody sees: as many as there can be, not those of one page. */
static void test_a_reader_alone_has_all_slots(void **state)
{
    enum { VIEWS = HF_REGION_SLOTS_STEP + 10 };
    static hf_view view[VIEWS];
    hf_region *region = open_at(HF_REGION_FULL);
    ok(put_one(region, 1, 1));
    ok(hf_region_close(region));
    ok(unlink(lock_path));
    hf_region_options options = {.timeout = -1, .reserve = 64 << 20, .read_only = true};
    ok(hf_region_open_file(path, &options, &region));
    for (int i = 0; i < VIEWS; i++)
        ok(hf_view_pin(region, &view[i]));
    for (int i = 0; i < VIEWS; i++)
        hf_view_unpin(&view[i]);
    ok(hf_region_close(region));
}

static int no_fallocate(int fd, int mode, off_t at, off_t size)
{
    return -EOPNOTSUPP;
}

/* A file system that cannot allocate ahead: the lock file has its bytes all the same, for all slots. */
static void test_slots_without_fallocate(void **state)
{
    enum { VIEWS = HF_REGION_SLOTS_STEP + 10 };
    static hf_view view[VIEWS];
    static struct hf_os os;
    os = hf_os_native;
    os.fallocate = no_fallocate;
    hf_os_replace(&os);
    hf_region *region = open_at(HF_REGION_FULL);
    for (int i = 0; i < VIEWS; i++)
        ok(hf_view_pin(region, &view[i]));
    for (int i = 0; i < VIEWS; i++)
        hf_view_unpin(&view[i]);
    ok(hf_region_close(region));
    hf_os_replace(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_manifest_of_pieces_written_twice, begin, end),
        cmocka_unit_test_setup_teardown(test_slots_without_fallocate, begin, end),
        cmocka_unit_test_setup_teardown(test_chains_can_be_cleared, begin, end),
        cmocka_unit_test_setup_teardown(test_a_reader_alone_has_all_slots, begin, end),
        cmocka_unit_test(test_long_pieces),
        cmocka_unit_test(test_merge),
        cmocka_unit_test_setup_teardown(test_a_large_transaction_is_flushed, begin, end),
        cmocka_unit_test_setup_teardown(test_broken_for_who_committed_last, begin, end),
        cmocka_unit_test_setup_teardown(test_handed_over_for_who_committed_last, begin, end),
        cmocka_unit_test_setup_teardown(test_close_beside_a_transaction, begin, end),
        cmocka_unit_test_setup_teardown(test_mark_that_may_be_there, begin, end),
        cmocka_unit_test_setup_teardown(test_stale_mark, begin, end),
        cmocka_unit_test_setup_teardown(test_recovery_writes_zeros_again, begin, end),
        cmocka_unit_test_setup_teardown(test_numbers_are_not_used_again, begin, end),
        cmocka_unit_test_setup_teardown(test_room_for_what_a_reader_verified, begin, end),
        cmocka_unit_test_setup_teardown(test_hostile_records, begin, end),
        cmocka_unit_test_setup_teardown(test_hostile_links, begin, end),
        cmocka_unit_test_setup_teardown(test_hostile_cells, begin, end),
        cmocka_unit_test_setup_teardown(test_hostile_manifest, begin, end),
        cmocka_unit_test_setup_teardown(test_a_reader_who_cannot_write_the_lock_file, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

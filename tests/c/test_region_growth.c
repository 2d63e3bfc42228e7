/*
 * What is no longer needed is used again, and no pin holds more than its own version: with readers that stay, that are
 * stopped, or that died.
 */
#include "test_region_plain.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { MANY = 100000, UPDATES = 20000 };

/* A file looks at what is free only now and then; test_region_file_space.c has its figures. */
static void expect_little_growth(hf_region *region, uint64_t before, uint64_t limit)
{
    expect_growth(region, before, the_home != HOME_SHARED ? limit + 2 * MEGABYTE : limit);
}

static void updates_without_readers_do_not_grow(void **state)
{
    hf_region *region = filled(10000);
    update(region, 10000, 2000, 1000000);
    uint64_t before = top_of(region);
    update(region, 10000, 100000, 2000000);
    expect_little_growth(region, before, 256 << 10);
    region_check(region);
    ok(hf_region_close(region));
}

/* Nor is a large value that is replaced again and again. */
static void large_values_are_used_again(void **state)
{
    hf_region *region = region_new(UINT64_C(1) << 30);
    static unsigned char bytes[3 << 20];
    hf_key key = {42, "large", 5};
    hf_txn *txn;
    uint64_t before = 0;
    for (int i = 0; i < 300; i++) {
        memset(bytes, i, sizeof bytes);
        ok(hf_txn_begin(region, 0, &txn));
        assert_true(hf_txn_put(txn, 0, &key, bytes, sizeof bytes) >= 0);
        ok(hf_txn_commit(txn));
        if (i == 100)
            before = top_of(region);
    }
    expect_little_growth(region, before, 0);
    region_check(region);
    ok(hf_region_close(region));
}

static void a_reader_that_stays_holds_one_version(void **state)
{
    hf_region *region = filled(MANY);
    hf_snapshot *snapshot;
    uint64_t before = top_of(region);
    ok(hf_snapshot_begin(region, &snapshot));
    update(region, MANY, UPDATES, 5000000);
    expect_little_growth(region, before, 6 * MEGABYTE);
    for (uint64_t i = 0; i < MANY; i++)
        assert_true(plain_is(hf_snapshot_view(snapshot), i, 0));
    region_check(region);
    hf_snapshot_end(snapshot);
    uint64_t after = top_of(region);
    update(region, MANY, UPDATES, 9000000);
    expect_little_growth(region, after, 256 << 10);
    region_check(region);
    ok(hf_region_close(region));
}

static void a_thousand_snapshots_hold_theirs(void **state)
{
    enum { SNAPSHOTS = 1000, KEPT_KEYS = 2000 };
    static hf_snapshot *snapshots[SNAPSHOTS];
    hf_region *region = filled(KEPT_KEYS);
    hf_region_stats stats;
    hf_txn *txn;
    for (uint64_t i = 0; i < SNAPSHOTS; i++) {
        ok(hf_snapshot_begin(region, &snapshots[i]));
        ok(hf_txn_begin(region, 0, &txn));
        plain_put(txn, i, 7);
        ok(hf_txn_commit(txn));
    }
    update(region, KEPT_KEYS, 3000, 100);
    ok(hf_region_stats_get(region, &stats));
    assert_true(stats.slots_pinned >= SNAPSHOTS);
    assert_true(stats.slots >= SNAPSHOTS && stats.slots < SNAPSHOTS + 200);
    region_check(region);
    /* The i-th has the first i keys as updated, and no others. */
    for (uint64_t i = 0; i < SNAPSHOTS; i += 37)
        for (uint64_t j = 0; j < SNAPSHOTS; j += 13)
            assert_true(plain_is(hf_snapshot_view(snapshots[i]), j, j < i ? 7 : 0));
    for (int i = 0; i < SNAPSHOTS; i++)
        hf_snapshot_end(snapshots[(i * 617) % SNAPSHOTS]);
    uint64_t before = top_of(region);
    update(region, KEPT_KEYS, 20000, 100);
    expect_little_growth(region, before, 256 << 10);
    region_check(region);
    ok(hf_region_close(region));
}

static void many_snapshots_of_a_version_share_a_slot(void **state)
{
    enum { SNAPSHOTS = 5000 };
    static hf_snapshot *snapshots[SNAPSHOTS];
    hf_region *region = filled(100);
    hf_region_stats stats;
    for (int i = 0; i < SNAPSHOTS; i++)
        ok(hf_snapshot_begin(region, &snapshots[i]));
    ok(hf_region_stats_get(region, &stats));
    assert_int_equal(stats.slots_owned, 2);
    for (int i = 0; i < SNAPSHOTS; i++)
        hf_snapshot_end(snapshots[i]);
    ok(hf_region_close(region));
}

static void a_kept_snapshot_holds_its_version(void **state)
{
    hf_region *region = filled(10000);
    hf_snapshot *snapshot;
    hf_txn *txn;
    ok(hf_txn_begin(region, 0, &txn));
    plain_put(txn, 3, 77);
    ok(hf_txn_keep(txn, "then"));
    ok(hf_txn_commit(txn));
    update(region, 10000, UPDATES, 1000);
    region_check(region);
    hf_region *again = region_again(region);
    ok(hf_region_close(region));
    ok(hf_snapshot_begin_kept(again, "then", &snapshot));
    for (uint64_t i = 0; i < 10000; i++)
        assert_true(plain_is(hf_snapshot_view(snapshot), i, i == 3 ? 77 : 0));
    /* Forgotten, it lasts as long as its reader. */
    ok(hf_txn_begin(again, 0, &txn));
    ok(hf_txn_forget(txn, "then"));
    ok(hf_txn_commit(txn));
    update(again, 10000, 2000, 2000);
    for (uint64_t i = 0; i < 10000; i++)
        assert_true(plain_is(hf_snapshot_view(snapshot), i, i == 3 ? 77 : 0));
    hf_snapshot_end(snapshot);
    uint64_t before = top_of(again);
    update(again, 10000, UPDATES, 3000);
    expect_little_growth(again, before, 256 << 10);
    region_check(again);
    ok(hf_region_close(again));
}

/* A reader that was stopped between its open pin and the narrow one: its pin is taken away. */
static void a_stopped_reader_is_passed_by(void **state)
{
    hf_region *region = filled(10000);
    hf_region *other = region_again(region);
    uint32_t slot;
    ok(hf_slots_claim(other, other->control_fd, &slot));
    hf_slots_own_mark(other, slot, true);
    atomic_store(&other->slots[slot].pin, HF_PIN_OPEN | atomic_load(&other->lock->published));
    uint64_t before = top_of(region);
    update(region, 10000, 50000, 100);
    expect_little_growth(region, before, 1 * MEGABYTE);
    assert_int_equal(atomic_load(&other->slots[slot].pin), HF_PIN_REVOKED);
    hf_region_stats stats;
    ok(hf_region_stats_get(region, &stats));
    assert_int_equal(stats.revoked, 1);
    region_check(region);
    ok(hf_region_close(other));
    ok(hf_region_close(region));
}

/* As long as it is young, an open pin protects its version and all that follow: its reader may have read any of them. */
static void an_open_pin_protects_what_follows(void **state)
{
    hf_region *region = filled(100);
    hf_region *other = region_again(region);
    hf_view views[40];
    uint32_t slot;
    ok(hf_slots_claim(other, other->control_fd, &slot));
    hf_slots_own_mark(other, slot, true);
    update(region, 100, 1000, 5000);
    for (int turn = 0; turn < 20; turn++) {
        atomic_store(&other->slots[slot].pin, HF_PIN_OPEN | atomic_load(&other->lock->published));
        for (int i = 0; i < 40; i++) {
            /* Not pinned itself. */
            ok(hf_view_pin(region, &views[i]));
            hf_view_unpin(&views[i]);
            hf_txn *txn;
            ok(hf_txn_begin(region, 0, &txn));
            for (uint64_t j = 0; j < 100; j++)
                plain_put(txn, j, 100000 + (uint64_t)(turn * 40 + i));
            ok(hf_txn_commit(txn));
        }
        for (int i = 1; i < 40; i++)
            for (uint64_t j = 0; j < 100; j++)
                assert_true(plain_is(&views[i], j, 100000 + (uint64_t)(turn * 40 + i - 1)));
    }
    ok(hf_region_close(other));
    ok(hf_region_close(region));
}

/* And what it does when it goes on: it begins again, on the same slot. */
static void a_reader_whose_pin_was_revoked_begins_again(void **state)
{
    hf_region *region = filled(10);
    hf_view view;
    ok(hf_view_pin(region, &view));
    struct hf_slot *slot = view.slot;
    hf_view_unpin(&view);
    /* Nobody else uses a slot that is revoked: the view gets another one. */
    atomic_store(&slot->pin, HF_PIN_REVOKED);
    ok(hf_view_pin(region, &view));
    assert_ptr_not_equal(view.slot, slot);
    assert_int_equal(atomic_load(&view.slot->pin), HF_PIN_NARROW | view.version.txid);
    hf_view_unpin(&view);
    ok(hf_region_close(region));
}

static void a_dead_reader_is_passed_by(void **state)
{
    hf_region *region = filled(10000);
    int pipes[2];
    char byte;
    ok(pipe(pipes));
    pid_t child = fork();
    if (child == 0) {
        hf_snapshot *snapshot;
        byte = hf_snapshot_begin(region, &snapshot) == 0 ? 'y' : 'n';
        _exit(write(pipes[1], &byte, 1) == 1 && pause() == 0);
    }
    assert_int_equal(read(pipes[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    close(pipes[0]);
    close(pipes[1]);
    hf_region_stats stats;
    ok(hf_region_stats_get(region, &stats));
    assert_true(stats.slots_owned >= 2 && stats.slots_pinned >= 1);
    update(region, 10000, 2000, 100);
    ok(kill(child, SIGKILL));
    assert_int_equal(waitpid(child, NULL, 0), child);
    update(region, 10000, 30000, 100);
    ok(hf_region_stats_get(region, &stats));
    assert_int_equal(stats.adopted, 1);
    /* What is left is the pin that looking took. Its slot without a pin waits for somebody who needs one. */
    assert_int_equal(stats.slots_pinned, 1);
    uint64_t before = top_of(region);
    update(region, 10000, 30000, 100);
    expect_little_growth(region, before, 256 << 10);
    region_check(region);
    ok(hf_region_close(region));
}

/* What another process parked, this one finds, though it never saw the pin. */
static void what_others_parked_is_used_again(void **state)
{
    hf_region *region = filled(10000);
    hf_region *other = region_again(region);
    hf_region_stats stats;
    hf_snapshot *snapshot;
    ok(hf_snapshot_begin(other, &snapshot));
    update(other, 10000, 30000, 100);
    hf_snapshot_end(snapshot);
    ok(hf_region_stats_get(region, &stats));
    uint64_t parked = stats.parked;
    assert_true(parked > 10000);
    ok(hf_region_close(other));
    /* It needs more of every size, and before it gets that from the system it looks there. */
    hf_txn *txn;
    for (uint64_t i = 10000; i < 40000; i++) {
        ok(hf_txn_begin(region, 0, &txn));
        plain_put(txn, i, 1);
        ok(hf_txn_commit(txn));
    }
    ok(hf_region_stats_get(region, &stats));
    assert_true(stats.parked < parked / 20);
    region_check(region);
    ok(hf_region_close(region));
}

/* -- huge pages -- */

#define HUGE_PAGE (2 * MEGABYTE)

static struct {
    hf_region *region;
    int calls, answer; /* 0: as the system answers */
    bool wrong;
} advice;

static int advised(void *address, size_t length, int how)
{
    uint64_t at = (uint64_t)((char *)address - advice.region->base);
    struct stat found;
    advice.calls++;
    /* All of it is there, and it is neither what begins with the superblock nor out of step. */
    if (fstat(advice.region->fd, &found) < 0 || at % HUGE_PAGE != 0 || at == 0 || length != HUGE_PAGE ||
        (uintptr_t)address % HUGE_PAGE != 0 || at + length > (uint64_t)found.st_size)
        advice.wrong = true;
    return advice.answer != 0 ? advice.answer : hf_os_native.madvise(address, length, how);
}

/* Fills a region by some 60 MiB, with advice answered so: how many huge pages were asked for. */
static int advice_asked(int answer)
{
    enum { LARGE = 1 << 20, LARGES = HF_HUGE_EVERY - 4 };
    static unsigned char bytes[LARGE];
    struct hf_os table = hf_os_native;
    hf_region *region = region_new(UINT64_C(1) << 30);
    hf_txn *txn;
    table.madvise = advised;
    advice.region = region;
    advice.answer = answer;
    advice.calls = 0;
    hf_os_replace(&table);
    for (int i = 0; i < LARGES; i++) {
        char text[16];
        hf_key key = plain_key((uint64_t)i, text);
        memset(bytes, i + 1, sizeof bytes);
        ok(hf_txn_begin(region, 0, &txn));
        assert_int_equal(hf_txn_put(txn, 0, &key, bytes, sizeof bytes), 1);
        ok(hf_txn_commit(txn));
    }
    /* None of it for who loads much at once: then one in so many commits. */
    assert_int_equal(advice.calls, 0);
    update(region, 10, LARGES * HF_HUGE_EVERY, 1);
    hf_os_replace(NULL);
    region_check(region);
    ok(hf_region_close(region));
    assert_false(advice.wrong);
    return advice.calls;
}

static void huge_pages_are_asked_for_once_each(void **state)
{
    int asked = advice_asked(0), refused = advice_asked(-EINVAL), failed = advice_asked(-ENOMEM);
    /* Where the kernel has them not to give, the answer is that of `refused`. */
    assert_true(asked == refused || asked > 3);
    assert_int_equal(refused, 1);
    /* 1, then after 2 that are let go by, then after 4, 8, ... */
    assert_true(failed > 1 && failed <= 5);
}

/* What was given back to the system is not asked for again; what comes behind it is. */
static void huge_pages_are_not_asked_for_what_was_given_back(void **state)
{
    enum { LARGE = 1 << 20, LARGES = HF_HUGE_EVERY - 4 };
    static const unsigned char bytes[LARGE];
    struct hf_os table = hf_os_native;
    hf_region *region = region_new(UINT64_C(1) << 30);
    uint64_t given_back;
    hf_txn *txn;
    table.madvise = advised;
    advice.region = region;
    advice.answer = 0;
    advice.calls = 0;
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < (uint64_t)LARGES * (unsigned)(round + 1); i++) {
            hf_key key = {i, &i, sizeof i};
            ok(hf_txn_begin(region, 0, &txn));
            assert_true(hf_txn_put(txn, 1, &key, bytes, sizeof bytes) >= 0);
            ok(hf_txn_commit(txn));
        }
        if (round == 0) {
            ok(hf_txn_begin(region, 0, &txn));
            ok(hf_txn_clear(txn, 1));
            ok(hf_txn_commit(txn));
            ok(hf_region_trim(region, -1, &given_back));
            assert_true(given_back > LARGES / 2 * LARGE);
        }
        hf_os_replace(&table);
        update(region, 10, LARGES / 2 * HF_HUGE_EVERY, 1);
        hf_os_replace(NULL);
        assert_int_equal(advice.calls > 0, round == 1);
    }
    assert_false(advice.wrong);
    region_check(region);
    ok(hf_region_close(region));
}

/* -- how long the segment is -- */

static int looks;

static int counted_fstat(int fd, struct stat *out)
{
    looks++;
    return hf_os_native.fstat(fd, out);
}

/* Puts so many values of a megabyte, numbers from..., each in a transaction. */
static void put_megabytes(hf_region *region, uint64_t from, int count)
{
    static unsigned char bytes[1 << 20];
    hf_txn *txn;
    for (uint64_t i = from; i < from + (uint64_t)count; i++) {
        char text[16];
        hf_key key = plain_key(i, text);
        ok(hf_txn_begin(region, 0, &txn));
        assert_int_equal(hf_txn_put(txn, 0, &key, bytes, sizeof bytes), 1);
        ok(hf_txn_commit(txn));
    }
}

/* Whether a reader finds these values, and how often it looked how long the segment is. */
static int looks_for(hf_region *reader, uint64_t count)
{
    struct hf_os table = hf_os_native;
    hf_view view;
    table.fstat = counted_fstat;
    looks = 0;
    hf_os_replace(&table);
    int status = hf_view_pin(reader, &view);
    hf_os_replace(NULL);
    ok(status);
    for (uint64_t i = 0; i < count; i++) {
        char text[16];
        hf_key key = plain_key(i, text);
        hf_span found;
        assert_int_equal(hf_view_get(&view, 0, &key, &found), 1);
        assert_int_equal(found.size, MEGABYTE);
    }
    hf_view_unpin(&view);
    return looks;
}

/* Nobody but who makes a region longer asks the system how long it is. */
static void readers_are_told_how_long_it_is(void **state)
{
    hf_region *writer = region_new(UINT64_C(1) << 30);
    hf_region *reader = region_again(writer), *third;
    assert_int_equal(looks_for(reader, 0), 0);
    for (uint64_t i = 0; i < 10; i++) {
        put_megabytes(writer, 3 * i, 3);
        assert_int_equal(looks_for(reader, 3 * i + 3), 0);
    }
    /* It was the other's turn, and its length is known here too. */
    put_megabytes(reader, 30, 3);
    assert_int_equal(looks_for(writer, 33), 0);
    third = region_again(writer);
    put_megabytes(writer, 33, 3);
    assert_int_equal(looks_for(third, 36), 0);
    ok(hf_region_close(third));
    ok(hf_region_close(reader));
    region_check(writer);
    ok(hf_region_close(writer));
}

/* A word that is damaged is not believed, and one that is behind is no harm: then the system is asked. */
static void a_damaged_length_is_not_believed(void **state)
{
    random_source random = {4};
    hf_region *writer = region_new(UINT64_C(1) << 30), *reader = region_again(writer);
    uint64_t old = atomic_load(&writer->lock->provided);
    for (uint64_t i = 0; i < 40; i++) {
        put_megabytes(writer, i, 1);
        uint64_t word = atomic_load(&writer->lock->provided);
        uint64_t damaged = i == 0   ? 0
                           : i == 1 ? UINT64_MAX
                           : i % 2  ? old
                                    : word ^ (uint64_t)1 << random_below(&random, 64);
        assert_true(word != old);
        atomic_store(&writer->lock->provided, damaged);
        assert_int_equal(looks_for(reader, i + 1), 1);
        /* Nor is a version that reaches further than anything does. */
        assert_int_equal(hf_pages_seen(reader, HF_CELL_OFFSET - HF_REGION_PAGE), HF_CORRUPT);
        atomic_store(&writer->lock->provided, word);
        assert_int_equal(hf_pages_seen(reader, (word & 0xffffffffu) * HF_REGION_PAGE), HF_CORRUPT);
    }
    ok(hf_region_close(reader));
    region_check(writer);
    ok(hf_region_close(writer));
}

/* Who opens a segment that somebody made shorter gets an answer, and not a SIGBUS. */
static void a_shortened_segment_is_seen_by_who_opens_it(void **state)
{
    hf_region *writer = region_new(UINT64_C(1) << 30), *late;
    hf_view view;
    put_megabytes(writer, 0, 10);
    ok(ftruncate(hf_region_fd(writer), (off_t)(4 * MEGABYTE)));
    ok(hf_region_open_fd(hf_region_fd(writer), NULL, &late));
    assert_int_equal(hf_view_pin(late, &view), HF_CORRUPT);
    /* And again long enough, though never so long as it is said to be. */
    ok(ftruncate(hf_region_fd(writer), (off_t)(top_of(writer) + HF_REGION_PAGE)));
    ok(hf_view_pin(late, &view));
    hf_view_unpin(&view);
    ok(hf_region_close(late));
    ok(hf_region_close(writer));
}

static int counts(void *arg, const hf_key *key, const hf_span *from, const hf_span *to)
{
    ++*(uint64_t *)arg;
    return 0;
}

/* The same region twice in one process, once with few addresses: from there nothing is read that is further up. */
static void a_difference_is_read_where_both_are(void **state)
{
    hf_region *large = region_new(UINT64_C(64) << 20), *small;
    hf_region_options options = file_options(HF_REGION_ATTACH, 1);
    hf_snapshot *before, *again;
    hf_view after;
    uint64_t differences = 0;
    ok(large->file != NULL ? hf_region_open_file(large->file->path, &options, &small)
                           : hf_region_open_fd(hf_region_fd(large), &options, &small));
    ok(hf_snapshot_begin(small, &before));
    ok(hf_snapshot_begin(large, &again));
    put_megabytes(large, 0, 10);
    ok(hf_view_pin(large, &after));
    assert_int_equal(hf_view_diff(hf_snapshot_view(before), &after, 0, counts, &differences), HF_LIMIT);
    assert_int_equal(hf_view_diff(&after, hf_snapshot_view(before), 0, counts, &differences), 0);
    assert_int_equal(differences, hf_view_count(&after, 0));
    ok(hf_view_diff(hf_snapshot_view(again), &after, 0, counts, &differences));
    assert_int_equal(differences, 2 * hf_view_count(&after, 0));
    hf_view_unpin(&after);
    hf_snapshot_end(before);
    hf_snapshot_end(again);
    /* Which it could not do when it is closed. */
    ok(hf_region_flush(large, -1));
    ok(hf_region_close(small));
    ok(hf_region_close(large));
}

int main(void)
{
    the_nursery = 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(updates_without_readers_do_not_grow),
        cmocka_unit_test(large_values_are_used_again),
        cmocka_unit_test(a_reader_that_stays_holds_one_version),
        in_both_homes(a_thousand_snapshots_hold_theirs),
        in_both_homes(many_snapshots_of_a_version_share_a_slot),
        in_both_homes(a_kept_snapshot_holds_its_version),
        in_both_homes(a_stopped_reader_is_passed_by),
        in_both_homes(an_open_pin_protects_what_follows),
        in_both_homes(a_reader_whose_pin_was_revoked_begins_again),
        in_both_homes(a_dead_reader_is_passed_by),
        cmocka_unit_test(what_others_parked_is_used_again),
        cmocka_unit_test(huge_pages_are_asked_for_once_each),
        cmocka_unit_test(huge_pages_are_not_asked_for_what_was_given_back),
        cmocka_unit_test(readers_are_told_how_long_it_is),
        cmocka_unit_test(a_damaged_length_is_not_believed),
        cmocka_unit_test(a_shortened_segment_is_seen_by_who_opens_it),
        in_both_homes(a_difference_is_read_where_both_are),
    };
    return cmocka_run_group_tests_name("region/growth", tests, NULL, NULL);
}

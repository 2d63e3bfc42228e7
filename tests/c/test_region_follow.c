/*
 * test_region_follow.c: readers that only look at a lock file, or have none, find what is newest (file_follow.c).
 */
#include "test_region_support.h"

#include <pthread.h>

static char path[96], lock_path[112], away[112];

static int begin(void **state)
{
    (void)state;
    file_name(path);
    snprintf(lock_path, sizeof lock_path, "%s-lock", path);
    snprintf(away, sizeof away, "%s-away", path);
    return 0;
}

static hf_region *writer_new(enum hf_region_level level)
{
    const hf_region_options options = {.mode = HF_REGION_EITHER, .timeout = -1, .reserve = 64 << 20, .level = level};
    hf_region *region;
    ok(hf_region_open_file(path, &options, &region));
    return region;
}

/* A reader that may not write to the lock file there is. */
static hf_region *looker_new(void)
{
    hf_region *region;
    ok(open_looking(path, &region));
    assert_non_null(region->file->alone);
    return region;
}

/* By a view and by a snapshot. */
static int number_of_newest(hf_region *region, int key)
{
    hf_view view;
    hf_snapshot *snapshot;
    ok(hf_view_pin(region, &view));
    int number = number_in(&view, key);
    hf_view_unpin(&view);
    ok(hf_snapshot_begin(region, &snapshot));
    assert_int_equal(number_in(hf_snapshot_view(snapshot), key), number);
    hf_snapshot_end(snapshot);
    return number;
}

static void test_it_follows(void **state)
{
    (void)state;
    hf_region *writer = writer_new(HF_REGION_OFF), *reader;
    hf_region_stats stats;
    ok(put_number(writer, 1, 0));
    reader = looker_new();
    assert_non_null(reader->file->control.base);
    for (int i = 1; i < 300; i++) {
        ok(put_number(writer, 1, i));
        assert_int_equal(number_of_newest(reader, 1), i);
    }
    ok(hf_region_flush(writer, -1));
    ok(hf_region_stats_get(reader, &stats));
    assert_int_equal(stats.durable, stats.txid);
    ok(hf_region_close(reader));
    ok(hf_region_close(writer));
}

/* The last writer retires the lock file; the next makes another one. What was pinned before stays as it was. */
static void test_the_lock_file_is_retired(void **state)
{
    (void)state;
    hf_region *writer = writer_new(HF_REGION_FULL), *reader;
    hf_snapshot *snapshot;
    ok(put_number(writer, 1, 1));
    reader = looker_new();
    ok(hf_snapshot_begin(reader, &snapshot));
    ok(put_number(writer, 1, 2));
    ok(hf_region_close(writer));
    assert_int_equal(hf_control_current(&reader->file->control), 0);
    assert_int_equal(number_of_newest(reader, 1), 2);
    for (int i = 3; i < 100; i++) {
        writer = writer_new(i % 2 ? HF_REGION_OFF : HF_REGION_FULL);
        ok(put_number(writer, 1, i));
        assert_int_equal(number_of_newest(reader, 1), i);
        assert_int_equal(hf_control_current(&reader->file->control), 1);
        ok(put_number(writer, 2, i));
        assert_int_equal(number_of_newest(reader, 2), i);
        ok(put_number(writer, 3, i));
        ok(hf_region_close(writer));
        assert_int_equal(number_of_newest(reader, 3), 3 + (i - 3));
        assert_int_equal(number_in(hf_snapshot_view(snapshot), 1), 1);
    }
    hf_snapshot_end(snapshot);
    ok(hf_region_close(reader));
}

/* Who has no lock file to look at finds the one that comes. */
static void test_there_was_none(void **state)
{
    (void)state;
    hf_region *writer = writer_new(HF_REGION_FULL), *reader;
    const hf_region_options options = {.timeout = -1, .reserve = 64 << 20, .read_only = true};
    ok(put_number(writer, 1, 1));
    ok(hf_region_close(writer));
    ok(hf_region_open_file(path, &options, &reader));
    assert_null(reader->file->control.base);
    assert_int_equal(number_of_newest(reader, 1), 1);
    writer = writer_new(HF_REGION_OFF);
    ok(put_number(writer, 1, 2));
    assert_int_equal(number_of_newest(reader, 1), 2);
    ok(put_number(writer, 1, 3));
    assert_int_equal(number_of_newest(reader, 1), 3);
    ok(hf_region_close(writer));
    assert_int_equal(number_of_newest(reader, 1), 3);
    ok(hf_region_close(reader));
}

/* A name that is gone, or leads to another one, is not theirs: who has the lock file open goes on, and so does the reader. */
static void test_its_name_goes(void **state)
{
    (void)state;
    hf_region *writer = writer_new(HF_REGION_FULL), *reader;
    ok(put_number(writer, 1, 1));
    reader = looker_new();
    assert_int_equal(rename(lock_path, away), 0);
    ok(put_number(writer, 1, 2));
    assert_int_equal(number_of_newest(reader, 1), 2);
    assert_int_equal(unlink(away), 0);
    assert_int_equal(hf_control_current(&reader->file->control), 0);
    ok(put_number(writer, 1, 3));
    assert_int_equal(number_of_newest(reader, 1), 3);
    /* Something else of that name is not believed. */
    FILE *other = fopen(lock_path, "w");
    assert_non_null(other);
    assert_true(fputs("no lock file", other) >= 0);
    fclose(other);
    ok(put_number(writer, 1, 4));
    assert_int_equal(number_of_newest(reader, 1), 4);
    ok(hf_region_close(writer));
    assert_int_equal(number_of_newest(reader, 1), 4);
    assert_int_equal(unlink(lock_path), 0);
    writer = writer_new(HF_REGION_FULL);
    ok(put_number(writer, 1, 5));
    assert_int_equal(number_of_newest(reader, 1), 5);
    assert_int_equal(hf_control_current(&reader->file->control), 1);
    ok(hf_region_close(writer));
    ok(hf_region_close(reader));
}

/* Each call that may fail: the reader stays with what it has, and finds the newest when it can. */
static void test_it_fails_to_look(void **state)
{
    static const int sites[] = {HF_OS_SITE_fstat, HF_OS_SITE_openat, HF_OS_SITE_open,   HF_OS_SITE_lock,
                                HF_OS_SITE_pread, HF_OS_SITE_mmap,   HF_OS_SITE_fstatat};
    int failed = 0;
    (void)state;
    hf_region *writer = writer_new(HF_REGION_FULL), *reader;
    ok(put_number(writer, 1, 0));
    reader = looker_new();
    for (int i = 1, site = 0; site < (int)LENGTH(sites); site++) {
        for (unsigned nth = 1; nth < 6; nth++, i++) {
            ok(hf_region_close(writer));
            writer = writer_new(HF_REGION_FULL);
            ok(put_number(writer, 1, i));
            struct hf_fault plan = {.first = nth, .times = 1, .error = EIO};
            hf_fault_arm_plan((unsigned)sites[site], &plan);
            hf_view view;
            ok(hf_view_pin(reader, &view));
            failed += hf_fault_failed((unsigned)sites[site]) > 0;
            hf_fault_disarm();
            int number = number_in(&view, 1);
            assert_true(number == i || number == i - 1);
            hf_view_unpin(&view);
            assert_int_equal(number_of_newest(reader, 1), i);
        }
    }
    assert_true(failed > 10);
    ok(hf_region_close(writer));
    ok(hf_region_close(reader));
}

/* -- threads -- */

static _Atomic bool done;

static void *keep_pinning(void *reader)
{
    int last = 0;
    while (!atomic_load(&done)) {
        hf_view view;
        if (hf_view_pin(reader, &view) < 0)
            return reader;
        int number = number_in(&view, 1), again = number_in(&view, 2);
        hf_view_unpin(&view);
        if (number < last || again < number - 1 || again > number)
            return reader;
        last = number;
    }
    return NULL;
}

static void test_threads(void **state)
{
    enum { THREADS = 3, ROUNDS = 40, COMMITS = 20 };
    pthread_t threads[THREADS];
    void *failed;
    (void)state;
    hf_region *writer = writer_new(HF_REGION_OFF), *reader;
    ok(put_number(writer, 1, 0));
    ok(put_number(writer, 2, 0));
    reader = looker_new();
    atomic_store(&done, false);
    for (int i = 0; i < THREADS; i++)
        ok(pthread_create(&threads[i], NULL, keep_pinning, reader));
    for (int i = 0, number = 0; i < ROUNDS; i++) {
        for (int j = 0; j < COMMITS; j++) {
            ok(put_number(writer, 1, ++number));
            ok(put_number(writer, 2, number));
        }
        ok(hf_region_close(writer));
        writer = writer_new(HF_REGION_OFF);
    }
    atomic_store(&done, true);
    for (int i = 0; i < THREADS; i++) {
        ok(pthread_join(threads[i], &failed));
        assert_null(failed);
    }
    assert_int_equal(number_of_newest(reader, 2), ROUNDS * COMMITS);
    ok(hf_region_close(reader));
    ok(hf_region_close(writer));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_it_follows, begin, home_end),
        cmocka_unit_test_setup_teardown(test_the_lock_file_is_retired, begin, home_end),
        cmocka_unit_test_setup_teardown(test_there_was_none, begin, home_end),
        cmocka_unit_test_setup_teardown(test_its_name_goes, begin, home_end),
        cmocka_unit_test_setup_teardown(test_it_fails_to_look, begin, home_end),
        cmocka_unit_test_setup_teardown(test_threads, begin, home_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * test_cask_api.c: the public functions of a cask, one by one. Models, crashes and faults are in the other
 * test_cask_*.c.
 */
#include "test_cask_support.h"

static void test_empty(void **state)
{
    hf_cask *cask = cask_open(NULL);
    uint64_t count = 7;

    assert_int_equal(hf_cask_count(cask, &count), 0);
    assert_int_equal(count, 0);
    assert_int_equal(hf_cask_get(cask, "a", 1, NULL, NULL, NULL), 0);
    assert_int_equal(hf_cask_delete(cask, "a", 1), 0);
    assert_string_equal(hf_cask_path(cask), cask_folder());
    assert_int_equal(hf_cask_close(cask), 0);
    assert_int_equal(hf_cask_close(NULL), 0);
    cask = cask_open(NULL);
    assert_int_equal(hf_cask_close(cask), 0);
}

static void test_put_get_delete(void **state)
{
    hf_cask *cask = cask_open(NULL);

    cask_put(cask, "one", "1");
    cask_put(cask, "two", "22");
    cask_put(cask, "", "nothing");
    cask_put(cask, "empty", "");
    cask_is(cask, "one", "1");
    cask_is(cask, "two", "22");
    cask_is(cask, "", "nothing");
    cask_is(cask, "empty", "");
    cask_is(cask, "three", NULL);
    cask_put(cask, "one", "eleven");
    cask_is(cask, "one", "eleven");
    assert_int_equal(hf_cask_delete(cask, "one", 3), 1);
    assert_int_equal(hf_cask_delete(cask, "one", 3), 0);
    cask_is(cask, "one", NULL);
    cask_counts(cask, 3);
    cask = cask_again(cask, NULL);
    cask_counts(cask, 3);
    cask_is(cask, "one", NULL);
    cask_is(cask, "two", "22");
    cask_is(cask, "", "nothing");
    cask_is(cask, "empty", "");
    assert_int_equal(hf_cask_close(cask), 0);
}

static void test_memory(void **state)
{
    hf_cask_options options = {.keydir_in_memory = true};
    hf_cask *cask = cask_open(&options);

    cask_put(cask, "one", "1");
    cask_put(cask, "two", "2");
    assert_int_equal(hf_cask_delete(cask, "one", 3), 1);
    cask = cask_again(cask, &options);
    cask_is(cask, "one", NULL);
    cask_is(cask, "two", "2");
    cask = cask_again(cask, NULL);
    cask_is(cask, "two", "2");
    cask_counts(cask, 1);
    assert_int_equal(hf_cask_close(cask), 0);
}

static void test_batch(void **state)
{
    hf_cask *cask = cask_open(NULL);
    hf_cask_batch *batch;

    cask_put(cask, "a", "old");
    assert_int_equal(hf_cask_batch_begin(cask, &batch), 0);
    assert_int_equal(hf_cask_batch_commit(batch), 0);
    assert_int_equal(hf_cask_batch_put(batch, "a", 1, "new", 3, 0), 0);
    assert_int_equal(hf_cask_batch_put(batch, "b", 1, "b1", 2, 0), 0);
    assert_int_equal(hf_cask_batch_put(batch, "b", 1, "b2", 2, 0), 0);
    assert_int_equal(hf_cask_batch_put(batch, "c", 1, "c", 1, 0), 0);
    assert_int_equal(hf_cask_batch_delete(batch, "c", 1), 0);
    cask_is(cask, "a", "old");
    assert_int_equal(hf_cask_close(cask), HF_BUSY);
    assert_int_equal(hf_cask_batch_commit(batch), 0);
    cask_is(cask, "a", "new");
    cask_is(cask, "b", "b2");
    cask_is(cask, "c", NULL);
    cask_counts(cask, 2);
    assert_int_equal(hf_cask_batch_put(batch, "d", 1, "d", 1, 0), 0);
    hf_cask_batch_end(batch);
    cask_is(cask, "d", NULL);
    cask = cask_again(cask, NULL);
    cask_is(cask, "b", "b2");
    cask_counts(cask, 2);
    assert_int_equal(hf_cask_close(cask), 0);
}

static void test_snapshot(void **state)
{
    hf_cask *cask = cask_open(NULL);
    hf_cask_snapshot *snapshot;
    const void *value;
    uint64_t count;
    size_t size;

    cask_put(cask, "a", "1");
    cask_put(cask, "b", "2");
    assert_int_equal(hf_cask_snapshot_begin(cask, &snapshot), 0);
    cask_put(cask, "a", "3");
    cask_put(cask, "c", "4");
    assert_int_equal(hf_cask_delete(cask, "b", 1), 1);
    assert_int_equal(hf_cask_snapshot_get(snapshot, "a", 1, &value, &size), 1);
    assert_int_equal(size, 1);
    assert_memory_equal(value, "1", 1);
    assert_int_equal(hf_cask_snapshot_get(snapshot, "b", 1, &value, &size), 1);
    assert_int_equal(hf_cask_snapshot_get(snapshot, "c", 1, &value, &size), 0);
    assert_int_equal(hf_cask_snapshot_count(snapshot, &count), 0);
    assert_int_equal(count, 2);
    cask_counts(cask, 2);
    assert_int_equal(hf_cask_close(cask), HF_BUSY);
    hf_cask_snapshot_end(snapshot);
    assert_int_equal(hf_cask_close(cask), 0);
}

static void test_modes(void **state)
{
    hf_cask_options read = {.mode = HF_CASK_READ}, create = {.mode = HF_CASK_CREATE};
    hf_cask *cask, *other;

    assert_int_equal(hf_cask_open(cask_folder(), &read, &other), HF_ABSENT);
    cask = cask_open(&create);
    assert_int_equal(hf_cask_open(cask_folder(), &create, &other), HF_BUSY);
    assert_int_equal(hf_cask_open(cask_folder(), NULL, &other), HF_BUSY);
    cask_put(cask, "a", "1");
    assert_int_equal(hf_cask_open(cask_folder(), &read, &other), 0);
    cask_is(other, "a", "1");
    cask_put(cask, "a", "2");
    cask_is(other, "a", "2");
    cask_put(cask, "b", "3");
    cask_counts(other, 2);
    assert_int_equal(hf_cask_put(other, "x", 1, "y", 1, 0), HF_DENIED);
    assert_int_equal(hf_cask_delete(other, "a", 1), HF_DENIED);
    assert_int_equal(hf_cask_sync_now(other), HF_DENIED);
    assert_int_equal(hf_cask_close(cask), 0);
    cask_is(other, "b", "3");
    assert_int_equal(hf_cask_close(other), 0);
    assert_int_equal(hf_cask_open(cask_folder(), &create, &other), HF_EXISTS);
    assert_int_equal(hf_cask_open(cask_folder(), &read, &other), 0);
    cask_is(other, "b", "3");
    assert_int_equal(hf_cask_close(other), 0);
}

static void test_rolls(void **state)
{
    hf_cask_options options = {.max_file_size = 4096, .checkpoint = 16384};
    hf_cask *cask = cask_open(&options);
    char key[32], value[200];

    for (int i = 0; i < 1000; i++) {
        memset(value, 'v', sizeof value);
        snprintf(key, sizeof key, "key %d", i);
        snprintf(value, sizeof value, "value %d", i);
        assert_int_equal(hf_cask_put(cask, key, strlen(key), value, sizeof value, 0), 0);
    }
    for (int turn = 0; turn < 2; turn++) {
        cask_counts(cask, 1000);
        for (int i = 0; i < 1000; i++) {
            memset(value, 'v', sizeof value);
            snprintf(key, sizeof key, "key %d", i);
            snprintf(value, sizeof value, "value %d", i);
            hf_cask_room room = {0};
            const void *got;
            size_t size;
            assert_int_equal(hf_cask_get(cask, key, strlen(key), &room, &got, &size), 1);
            assert_int_equal(size, sizeof value);
            assert_memory_equal(got, value, size);
            hf_cask_room_clear(&room);
        }
        if (turn == 0)
            cask = cask_again(cask, &options);
    }
    hf_cask_status status;
    assert_int_equal(hf_cask_status_get(cask, &status, NULL, NULL), 0);
    assert_int_equal(status.keys, 1000);
    assert_true(status.files > 50);
    assert_int_equal(hf_cask_close(cask), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cask_test(test_empty),    cask_test(test_put_get_delete), cask_test(test_memory), cask_test(test_batch),
        cask_test(test_snapshot), cask_test(test_modes),          cask_test(test_rolls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

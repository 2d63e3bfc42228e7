/*
 * test_cask_threads.c: many threads of one process: puts that share flushes, readers beside them, snapshots that
 * stay whole.
 */
#include "test_cask_support.h"

#include <pthread.h>

enum { WRITERS = 8, READERS = 3, KEYS = 50 };

static hf_cask *cask;
static _Atomic int stop;
static _Atomic uint64_t flushes;
static unsigned rounds;
static _Atomic uint64_t put[WRITERS]; /* each writer's keys have this number or a higher one */

#define must(condition)                                                     \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                        \
        }                                                                   \
    } while (0)

static void key_of(unsigned writer, unsigned i, unsigned key[2])
{
    key[0] = writer;
    key[1] = i;
}

static void *write_some(void *arg)
{
    unsigned writer = *(const unsigned *)arg, key[2];
    uint64_t value[8] = {0};

    for (uint64_t n = 1; n <= rounds; n++) {
        value[0] = n;
        for (unsigned i = 0; i < KEYS; i++) {
            key_of(writer, i, key);
            must(hf_cask_put(cask, key, sizeof key, value, sizeof value, 0) == 0);
        }
        /* One that comes and goes. */
        key_of(writer, KEYS, key);
        must(hf_cask_put(cask, key, sizeof key, value, sizeof value, 0) == 0);
        must(hf_cask_delete(cask, key, sizeof key) == 1);
        must(hf_cask_delete(cask, key, sizeof key) == 0);
        atomic_store(&put[writer], n);
    }
    return NULL;
}

static uint64_t number_of(hf_cask_room *room, unsigned writer, unsigned i)
{
    unsigned key[2];
    const void *value;
    uint64_t number = 0;
    size_t size;

    key_of(writer, i, key);
    int status = hf_cask_get(cask, key, sizeof key, room, &value, &size);
    must(status >= 0);
    if (status > 0) {
        must(size == 64);
        memcpy(&number, value, sizeof number);
    }
    return number;
}

static int count_one(void *arg, const void *key, size_t key_size, const void *value, size_t value_size,
                     const hf_cask_info *info)
{
    ++*(uint64_t *)arg;
    return 0;
}

static void *read_some(void *arg)
{
    hf_cask_room room = {0};
    uint64_t seen[WRITERS][KEYS] = {{0}};

    for (unsigned turn = 0; atomic_load(&stop) == 0; turn++) {
        unsigned writer = turn * 5 % WRITERS, i = turn * 7 % KEYS;
        uint64_t before = atomic_load(&put[writer]), number = number_of(&room, writer, i);
        must(number >= before && number >= seen[writer][i]);
        seen[writer][i] = number;
        if (turn % 100 == 0) {
            hf_cask_snapshot *snapshot;
            uint64_t count, walked = 0;
            must(hf_cask_snapshot_begin(cask, &snapshot) == 0);
            must(hf_cask_snapshot_count(snapshot, &count) == 0);
            must(hf_cask_snapshot_walk(snapshot, count_one, &walked) == 0);
            must(count == walked);
            hf_cask_snapshot_end(snapshot);
        }
    }
    hf_cask_room_clear(&room);
    return NULL;
}

static struct hf_os table;

static int counted_fdatasync(int fd)
{
    atomic_fetch_add(&flushes, 1);
    usleep(200); /* as a disk may take */
    return hf_os_native.fdatasync(fd);
}

static void run(const hf_cask_options *options, unsigned times)
{
    pthread_t writers[WRITERS], readers[READERS];
    unsigned numbers[WRITERS];

    table = hf_os_native;
    table.fdatasync = counted_fdatasync;
    hf_os_replace(&table);
    rounds = times;
    atomic_store(&stop, 0);
    atomic_store(&flushes, 0);
    cask = cask_open(options);
    for (unsigned i = 0; i < WRITERS; i++) {
        atomic_store(&put[i], 0);
        numbers[i] = i;
        assert_int_equal(pthread_create(&writers[i], NULL, write_some, &numbers[i]), 0);
    }
    for (unsigned i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_some, NULL), 0);
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(writers[i], NULL);
    atomic_store(&stop, 1);
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    cask_counts(cask, WRITERS * KEYS);
    cask = cask_again(cask, options);
    cask_counts(cask, WRITERS * KEYS);
    hf_cask_room room = {0};
    for (unsigned w = 0; w < WRITERS; w++)
        for (unsigned i = 0; i < KEYS; i++)
            assert_int_equal(number_of(&room, w, i), rounds);
    hf_cask_room_clear(&room);
    assert_int_equal(hf_cask_close(cask), 0);
    hf_os_replace(NULL);
}

static void test_threads(void **state)
{
    hf_cask_options options = {.max_file_size = 65536, .checkpoint = 200000};
    run(&options, 40);
}

static void test_threads_without_ours(void **state)
{
    hf_cask_options options = {.max_file_size = 65536, .checkpoint = 100000, .no_thread = true};
    run(&options, 20);
}

static void test_memory(void **state)
{
    hf_cask_options options = {.max_file_size = 65536, .keydir_in_memory = true};
    run(&options, 30);
}

/* Puts that are durable, of several threads: they share flushes. */
static void test_shared_flushes(void **state)
{
    hf_cask_options options = {.max_file_size = 65536, .checkpoint = 100000, .sync = HF_CASK_SYNC_PUT};
    run(&options, 3);
    assert_true(atomic_load(&flushes) < WRITERS * (KEYS + 2) * 3);
}

static void test_interval(void **state)
{
    hf_cask_options options = {.max_file_size = 65536, .sync = HF_CASK_SYNC_INTERVAL, .interval = 1000000};
    run(&options, 20);
    assert_true(atomic_load(&flushes) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cask_test(test_threads),  cask_test(test_threads_without_ours),
        cask_test(test_memory),   cask_test(test_shared_flushes),
        cask_test(test_interval),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

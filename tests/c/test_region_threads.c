/*
 * Threads on one mapping: writers, readers, and threads that hold snapshots. Meant for ThreadSanitizer; without it what
 * they see is checked all the same: all keys have the value of one transaction.
 */
#include "test_region_support.h"

#include <pthread.h>

/* To ThreadSanitizer a mutex is an address: through a second mapping of it, the first is locked for ever. */
#if defined(__SANITIZE_THREAD__)
enum { ONE_MAPPING = 1 };
#else
enum { ONE_MAPPING = 0 };
#endif

enum { NUMBERS = 40, WRITERS = 2, READERS = 3, HOLDERS = 2, THREADS = WRITERS + READERS + HOLDERS };

static hf_region *region;
static _Atomic bool over;
static _Atomic uint64_t wrong, reads;

static void expect(bool condition)
{
    if (!condition)
        atomic_fetch_add(&wrong, 1);
}

static hf_key number_key(int number, uint64_t *bytes)
{
    random_source random = {(uint64_t)number};
    *bytes = (uint64_t)number;
    return (hf_key){random_next(&random), bytes, sizeof *bytes};
}

static void *write_versions(void *seed)
{
    random_source random = {(uint64_t)(uintptr_t)seed};
    int rounds = getenv("TORTURE") != NULL ? 50000 : 1500;
    for (int round = 0; round < rounds; round++) {
        hf_txn *txn;
        uint64_t bytes, value[20];
        expect(hf_txn_begin(region, -1, &txn) == 0);
        for (int i = 0; i < 20; i++)
            value[i] = (uint64_t)round;
        size_t size = 8 * (1 + random_below(&random, 20));
        for (int i = 0; i < NUMBERS; i++) {
            hf_key key = number_key(i, &bytes);
            expect(hf_txn_put(txn, 0, &key, value, size) >= 0);
        }
        expect((random_below(&random, 8) == 0 ? hf_txn_abort(txn) : hf_txn_commit(txn)) == 0);
    }
    return NULL;
}

/* All keys have the same value in one version, or there is nothing yet. */
static bool is_whole(const hf_view *view)
{
    uint64_t bytes, first = 0, value;
    if (hf_view_count(view, 0) == 0)
        return true;
    for (int i = 0; i < NUMBERS; i++) {
        hf_key key = number_key(i, &bytes);
        hf_span found;
        if (hf_view_get(view, 0, &key, &found) != 1 || found.size % 8 != 0)
            return false;
        for (size_t at = 0; at < found.size; at += 8) {
            memcpy(&value, (const char *)found.bytes + at, sizeof value);
            if (i == 0 && at == 0)
                first = value;
            if (value != first)
                return false;
        }
    }
    return true;
}

static void *read_views(void *seed)
{
    while (!atomic_load(&over)) {
        hf_view view;
        int status = hf_view_pin(region, &view);
        expect(status == 0);
        if (status < 0)
            break;
        expect(is_whole(&view));
        hf_view_unpin(&view);
        atomic_fetch_add(&reads, 1);
    }
    return NULL;
}

static void *hold_snapshots(void *seed)
{
    enum { HELD = 8 };
    random_source random = {(uint64_t)(uintptr_t)seed};
    hf_snapshot *held[HELD] = {NULL};
    while (!atomic_load(&over)) {
        unsigned i = random_below(&random, HELD);
        if (held[i] != NULL) {
            expect(is_whole(hf_snapshot_view(held[i])));
            hf_snapshot_end(held[i]);
            held[i] = NULL;
        } else {
            expect(hf_snapshot_begin(region, &held[i]) == 0);
        }
    }
    for (unsigned i = 0; i < HELD; i++)
        if (held[i] != NULL)
            hf_snapshot_end(held[i]);
    return NULL;
}

static void threads_share_a_region(void **state)
{
    pthread_t threads[THREADS];
    hf_region_stats stats;
    atomic_store(&over, false);
    region = region_new(256 << 20);
    for (int i = 0; i < THREADS; i++) {
        void *(*run)(void *) = i < WRITERS ? write_versions : i < WRITERS + READERS ? read_views : hold_snapshots;
        ok(pthread_create(&threads[i], NULL, run, (void *)(uintptr_t)(i + 1)));
    }
    for (int i = 0; i < THREADS; i++) {
        if (i == WRITERS)
            atomic_store(&over, true);
        ok(pthread_join(threads[i], NULL));
    }
    assert_int_equal(atomic_load(&wrong), 0);
    ok(hf_region_stats_get(region, &stats));
    print_message("%llu transactions, %llu reads, %llu retries\n", (unsigned long long)stats.txid,
                  (unsigned long long)atomic_load(&reads), (unsigned long long)stats.retries);
    assert_true(atomic_load(&reads) > 0);
    region_check(region);
    ok(hf_region_close(region));
}

static void *use_anothers_transaction(void *txn)
{
    uint64_t bytes;
    hf_key key = number_key(1, &bytes);
    hf_span value;
    unsigned level;
    expect(hf_txn_get(txn, 0, &key, &value) == HF_INVALID);
    expect(hf_txn_put(txn, 0, &key, "v", 1) == HF_INVALID);
    expect(hf_txn_remove(txn, 0, &key) == HF_INVALID);
    expect(hf_txn_savepoint(txn, &level) == HF_INVALID);
    expect(hf_txn_keep(txn, "name") == HF_INVALID);
    expect(hf_txn_commit(txn) == HF_INVALID);
    expect(hf_txn_abort(txn) == HF_INVALID);
    return NULL;
}

static void a_transaction_belongs_to_its_thread(void **state)
{
    pthread_t thread;
    hf_txn *txn;
    region = region_new(64 << 20);
    ok(hf_txn_begin(region, 0, &txn));
    ok(pthread_create(&thread, NULL, use_anothers_transaction, txn));
    ok(pthread_join(thread, NULL));
    ok(hf_txn_commit(txn));
    assert_int_equal(atomic_load(&wrong), 0);
    ok(hf_region_close(region));
}

static void *end_in_the_middle(void *unused)
{
    hf_txn *txn;
    unsigned level;
    uint64_t bytes;
    expect(hf_txn_begin(region, -1, &txn) == 0);
    for (int i = 0; i < 200; i++) {
        hf_key key = number_key(i % NUMBERS, &bytes);
        expect(hf_txn_put(txn, 0, &key, "something", (size_t)(i % 9)) >= 0);
        if (i % 50 == 49)
            expect(hf_txn_savepoint(txn, &level) == 0);
    }
    return NULL;
}

/* By turns through one mapping and the other; but ThreadSanitizer knows a mutex by its address, and would take the one
 * that the dead thread held for held. */
static hf_region *next_writer(hf_region *again, int turn)
{
#ifdef __SANITIZE_THREAD__
    return region;
#else
    return turn % 2 == 0 ? region : again;
#endif
}

/* A thread that ends without ending its transaction is a dead writer, though its process lives. */
static void a_transaction_ends_with_its_thread(void **state)
{
    pthread_t thread;
    hf_txn *txn;
    uint64_t bytes;
    region = region_new(64 << 20);
    hf_region *again = ONE_MAPPING ? region : region_again(region);
    for (int turn = 0; turn < 4; turn++) {
        ok(pthread_create(&thread, NULL, end_in_the_middle, NULL));
        ok(pthread_join(thread, NULL));
        ok(hf_txn_begin(next_writer(again, turn), -1, &txn));
        unsigned level;
        assert_int_equal(hf_txn_rollback(txn, 1), HF_INVALID);
        ok(hf_txn_savepoint(txn, &level));
        assert_int_equal(level, 1);
        for (int i = 0; i < NUMBERS; i++) {
            hf_key key = number_key(i, &bytes);
            assert_int_equal(hf_txn_put(txn, 0, &key, &turn, sizeof turn), turn == 0);
        }
        ok(hf_txn_commit(txn));
        region_check(region);
    }
    hf_region_stats stats;
    ok(hf_region_stats_get(region, &stats));
    assert_int_equal(stats.owner_died, 4);
    assert_int_equal(stats.counts[0], NUMBERS);
    assert_int_equal(atomic_load(&wrong), 0);
    if (again != region)
        ok(hf_region_close(again));
    ok(hf_region_close(region));
}

/* More threads at once than this process has slots: it claims more. */
static void *pin_and_wait(void *barrier)
{
    hf_view view;
    expect(hf_view_pin(region, &view) == 0);
    pthread_barrier_wait(barrier);
    hf_view_unpin(&view);
    return NULL;
}

static void each_thread_finds_a_slot(void **state)
{
    enum { CROWD = 30 };
    pthread_t threads[CROWD];
    pthread_barrier_t barrier;
    hf_region_stats stats;
    region = region_new(64 << 20);
    for (int turn = 0; turn < 3; turn++) {
        ok(pthread_barrier_init(&barrier, NULL, CROWD));
        for (int i = 0; i < CROWD; i++)
            ok(pthread_create(&threads[i], NULL, pin_and_wait, &barrier));
        for (int i = 0; i < CROWD; i++)
            ok(pthread_join(threads[i], NULL));
        ok(pthread_barrier_destroy(&barrier));
    }
    ok(hf_region_stats_get(region, &stats));
    assert_int_equal(stats.slots_owned, CROWD);
    assert_int_equal(atomic_load(&wrong), 0);
    ok(hf_region_close(region));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_both_homes(a_transaction_belongs_to_its_thread),
        in_both_homes(a_transaction_ends_with_its_thread),
        in_both_homes(each_thread_finds_a_slot),
        in_all_homes(threads_share_a_region),
    };
    return cmocka_run_group_tests_name("region/threads", tests, NULL, NULL);
}

/*
 * Threads on one handle, and on several: single steps, transactions, snapshots. ThreadSanitizer's part is in `make tsan`.
 */
#include "test_shared_support.h"

#include <pthread.h>

enum { THREADS = 4, ACCOUNTS = 16, START = 1000 };

static hf_shared *map;
static hf_shared_snapshot *common;
static uint64_t turns;

static void open_patient(void)
{
    const hf_shared_options options = {.mode = HF_SHARED_CREATE, .timeout = -1};
    ok(hf_shared_open(new_name(), &options, &map));
}

static void in_threads(void *(*run)(void *))
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        ok(pthread_create(&threads[i], NULL, run, (void *)(i + 1))); // NOLINT(performance-no-int-to-ptr)
    for (int i = 0; i < THREADS; i++)
        ok(pthread_join(threads[i], NULL));
}

static void close_checked(void)
{
    map_check(map);
    ok(hf_shared_close(map));
}

static int64_t number_at(hf_shared *from, hf_datum key)
{
    hf_shared_room room = {0};
    hf_datum value;
    int found = hf_shared_get(from, &key, &room, &value);
    assert_true(found >= 0 && (found == 0 || value.kind == HF_DATUM_INT));
    hf_shared_room_clear(&room);
    return found == 1 ? value.integer : 0;
}

static void *count_up(void *arg)
{
    hf_datum all = hf_datum_str("all"), own = hf_datum_int((int64_t)(uintptr_t)arg);
    int64_t last = 0, sum;
    for (uint64_t i = 0; i < turns; i++) {
        ok(hf_shared_incr(map, &all, 1, &sum));
        assert_true(sum > last);
        last = sum;
        ok(hf_shared_incr(map, &own, 1, &sum));
        assert_int_equal(sum, i + 1);
    }
    return NULL;
}

static void additions_are_not_lost(void **state)
{
    turns = rounds(20000);
    open_patient();
    in_threads(count_up);
    assert_int_equal(number_at(map, hf_datum_str("all")), THREADS * turns);
    close_checked();
}

static void set_number(hf_shared *into, hf_datum key, int64_t number)
{
    hf_datum value = hf_datum_int(number);
    assert_true(hf_shared_set(into, &key, &value) >= 0);
}

/* A key in its one form or the other. */
static hf_datum account(random_source *random, unsigned *number)
{
    *number = random_below(random, ACCOUNTS);
    return random_below(random, 2) == 0 ? hf_datum_int(*number) : hf_datum_float(*number);
}

static int add_up(void *arg, const hf_datum *key, const hf_datum *value)
{
    *(int64_t *)arg += value->integer;
    return 0;
}

static void expect_sum(const hf_shared_snapshot *snapshot)
{
    int64_t sum = 0;
    ok(hf_shared_snapshot_walk(snapshot, add_up, &sum));
    assert_int_equal(sum, ACCOUNTS * START);
}

static void transfer(hf_shared *in, random_source *random)
{
    unsigned from, to;
    hf_datum a = account(random, &from), b = account(random, &to);
    const bool give_up = random_below(random, 4) == 0;
    ok(hf_shared_begin(in));
    int64_t amount = random_below(random, 10);
    set_number(in, a, number_at(in, a) - amount);
    set_number(in, b, number_at(in, b) + amount);
    ok(give_up ? hf_shared_abort(in) : hf_shared_commit(in));
}

static void *move_money(void *arg)
{
    random_source random = {(uint64_t)(uintptr_t)arg};
    hf_shared *in = map;
    /* Every other has a handle of its own. */
    if ((uintptr_t)arg % 2 == 0) {
        const hf_shared_options options = {.mode = HF_SHARED_ATTACH, .timeout = -1};
        ok(hf_shared_open(the_name, &options, &in));
    }
    for (uint64_t i = 0; i < turns; i++) {
        hf_shared_snapshot *snapshot;
        transfer(in, &random);
        if (i % 8 != 0)
            continue;
        ok(hf_shared_snapshot_begin(in, &snapshot));
        expect_sum(snapshot);
        expect_sum(common);
        hf_shared_snapshot_end(snapshot);
    }
    if (in != map)
        ok(hf_shared_close(in));
    return NULL;
}

static void every_version_has_the_sum(void **state)
{
    turns = rounds(10000);
    open_patient();
    ok(hf_shared_begin(map));
    for (int i = 0; i < ACCOUNTS; i++)
        set_number(map, hf_datum_float(i), START);
    ok(hf_shared_commit(map));
    ok(hf_shared_snapshot_begin(map, &common));
    in_threads(move_money);
    expect_sum(common);
    hf_shared_snapshot_end(common);
    ok(hf_shared_snapshot_begin(map, &common));
    expect_sum(common);
    hf_shared_snapshot_end(common);
    close_checked();
}

/* All that may be called at once, is. */
static void *do_anything(void *arg)
{
    random_source random = {(uint64_t)(uintptr_t)arg};
    for (uint64_t i = 0; i < turns; i++) {
        unsigned number;
        hf_datum key = account(&random, &number), value = hf_datum_str("value"), one = hf_datum_int(1);
        hf_shared_stats stats;
        uint64_t count;
        switch (random_below(&random, 8)) {
        case 0:
            assert_true(hf_shared_set(map, &key, random_below(&random, 2) == 0 ? &value : &one) >= 0);
            break;
        case 1:
            assert_true(hf_shared_delete(map, &key) >= 0);
            break;
        case 2:
            assert_true(hf_shared_compare_and_set(map, &key, &one, &value) >= 0);
            break;
        case 3:
            ok(hf_shared_stats_get(map, &stats));
            break;
        case 4:
            ok(hf_shared_count(map, &count));
            assert_in_range(count, 0, ACCOUNTS);
            break;
        case 5:
            if (random_below(&random, 10) == 0)
                ok(hf_shared_clear(map));
            break;
        case 6:
            if (random_below(&random, 10) == 0)
                map_check(map);
            break;
        default:
            assert_true(hf_shared_get(map, &key, NULL, NULL) >= 0);
        }
    }
    return NULL;
}

static void anything_may_be_called_at_once(void **state)
{
    turns = rounds(20000);
    open_patient();
    in_threads(do_anything);
    close_checked();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        shared_test(additions_are_not_lost),
        shared_test(every_version_has_the_sum),
        shared_test(anything_may_be_called_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

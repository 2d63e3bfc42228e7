/*
 * Threads that share maps, and hand versions to each other. Meant for ThreadSanitizer; without it, the counts and the
 * contents are checked all the same.
 */
#include "test_map_support.h"

#include <pthread.h>
#include <sched.h>

enum { THREADS = 4, ROUNDS = 2000, BOARD = 3, SHARED_KEYS = 64 };

static const hf_map_type int_to_int = {&hf_type_int64, &hf_type_int64};
static const hf_map_type string_to_map = {&hf_type_string, &hf_type_map};

static hf_value number(int64_t n)
{
    return hf_value_int(n);
}

/* Maps that every thread may take and replace. */
static struct {
    pthread_mutex_t lock;
    hf_map *maps[BOARD];
} board = {.lock = PTHREAD_MUTEX_INITIALIZER};

static hf_map *board_take(random_source *random)
{
    pthread_mutex_lock(&board.lock);
    hf_map *map = hf_map_keep(board.maps[random_below(random, BOARD)]);
    pthread_mutex_unlock(&board.lock);
    return map;
}

static void board_put(random_source *random, hf_map *map)
{
    pthread_mutex_lock(&board.lock);
    hf_map **place = &board.maps[random_below(random, BOARD)];
    hf_map *old = *place;
    *place = map;
    pthread_mutex_unlock(&board.lock);
    hf_map_drop(old);
}

/* cmocka's assertions belong to the main thread: a thread counts what is wrong. */
static _Atomic int wrong;

static void expect(bool condition)
{
    if (!condition)
        atomic_fetch_add(&wrong, 1);
}

static void *edit_shared_maps(void *seed)
{
    random_source random = {(uint64_t)(uintptr_t)seed};
    for (int round = 0; round < ROUNDS; round++) {
        hf_map *map = board_take(&random), *before = hf_map_keep(map), *out;
        size_t size = hf_map_size(before);
        int64_t key = random_below(&random, SHARED_KEYS);
        hf_value was = box_value(0), now;
        int had = hf_map_get(before, VIEW(key), &was);
        switch (random_below(&random, 5)) {
        case 0:
            expect(hf_map_without_take(&map, VIEW(key)) == had);
            break;
        case 1:
            expect(hf_map_merge(map, before, NULL, NULL, &out) == 0);
            expect(out == map);
            hf_map_drop(out);
            break;
        case 2: {
            hf_map_transient *transient;
            expect(hf_map_transient_new(map, &transient) == 0);
            for (int i = 0; i < 8; i++)
                expect(hf_map_transient_put(transient, VIEW(random_below(&random, SHARED_KEYS)), VIEW(i)) >= 0);
            hf_map_drop(map);
            expect(hf_map_transient_persist(transient, &map) == 0);
            expect(hf_map_transient_free(transient) == 0);
            break;
        }
        default:
            for (int i = 0; i < 4; i++)
                expect(hf_map_with_take(&map, VIEW((key + i) % SHARED_KEYS), VIEW(i)) >= 0);
        }
        uint64_t hash;
        expect(hf_map_hash(map, &hash) == 0);
        expect(hf_map_check(map, NULL) == 0);
        /* The version from before is untouched by what this and other threads did. */
        expect(hf_map_size(before) == size);
        expect(hf_map_get(before, VIEW(key), &now) == had && (!had || now.ptr == was.ptr));
        hf_map_drop(before);
        board_put(&random, map);
    }
    return NULL;
}

static void run_threads(void *(*run)(void *))
{
    pthread_t threads[THREADS];
    atomic_store(&wrong, 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run, (void *)(uintptr_t)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(atomic_load(&wrong), 0);
}

static void board_clear(void)
{
    for (int i = 0; i < BOARD; i++) {
        ok(hf_map_drop(board.maps[i]));
        board.maps[i] = NULL;
    }
}

static void threads_edit_versions_of_shared_maps(void **state)
{
    static const hash_mode modes[] = {HASH_MIXED, HASH_HIGH_4};
    for (int m = 0; m < 2; m++) {
        for (int i = 0; i < BOARD; i++) {
            ok(hf_map_new(&box_maps[modes[m]], &board.maps[i]));
            for (int key = 0; key < SHARED_KEYS; key += i + 1)
                ok(hf_map_with_take(&board.maps[i], VIEW(key), VIEW(0)));
        }
        run_threads(edit_shared_maps);
        for (int i = 0; i < BOARD; i++)
            ok(hf_map_check(board.maps[i], NULL));
        board_clear();
    }
}

/* One map, whose last count any thread may have: it is edited in place by who finds that out. */
static _Atomic(hf_map *) handed;

static void *pass_on(void *seed)
{
    for (int round = 0; round < ROUNDS; round++) {
        hf_map *map;
        while ((map = atomic_exchange(&handed, NULL)) == NULL)
            sched_yield();
        hf_value value;
        expect(hf_map_get(map, number(0), &value) == 1);
        hf_map *kept = round % 3 == 0 ? hf_map_keep(map) : NULL;
        expect(hf_map_with_take(&map, number(0), number(value.i64 + 1)) == 0);
        for (int i = 1; i < 20; i++)
            expect(hf_map_with_take(&map, number(i * INT64_C(31)), number(value.i64)) >= 0);
        atomic_store(&handed, map);
        if (kept != NULL) {
            hf_value again;
            expect(hf_map_get(kept, number(0), &again) == 1 && again.i64 == value.i64);
            hf_map_drop(kept);
        }
    }
    return NULL;
}

static void a_map_that_is_passed_on_is_edited_in_place(void **state)
{
    hf_map *map;
    hf_value value;
    ok(hf_map_new(&int_to_int, &map));
    ok(hf_map_with_take(&map, number(0), number(0)));
    atomic_store(&handed, map);
    run_threads(pass_on);
    map = atomic_load(&handed);
    assert_int_equal(hf_map_get(map, number(0), &value), 1);
    assert_int_equal(value.i64, THREADS * ROUNDS);
    ok(hf_map_drop(map));
}

/* Everybody reads, hashes, compares and iterates the same maps, and drops its counts of them. */
static void *read_shared_maps(void *seed)
{
    random_source random = {(uint64_t)(uintptr_t)seed};
    for (int round = 0; round < ROUNDS / 4; round++) {
        hf_map *a = board_take(&random), *b = board_take(&random);
        uint64_t hash_a = 0, hash_b = 0;
        hf_map_iter iter;
        hf_value key, value;
        size_t count = 0;
        expect(hf_map_hash(a, &hash_a) == 0 && hf_map_hash(b, &hash_b) == 0);
        int equal = hf_map_equal(a, b);
        expect(equal == (hash_a == hash_b));
        hf_map_iter_init(&iter, a);
        hf_map_drop(a);
        while (hf_map_iter_next(&iter, &key, &value)) {
            expect(hf_map_get(b, key, NULL) >= 0);
            expect(hf_map_size(value.ptr) == 1);
            expect(hf_bytes_keep(&key) == 0);
            hf_bytes_drop(key);
            count++;
        }
        expect(count > 0);
        expect(hf_map_iter_clear(&iter) == 0);
        hf_map_drop(b);
    }
    return NULL;
}

static void threads_read_maps_of_strings_and_maps(void **state)
{
    for (int i = 0; i < BOARD; i++) {
        ok(hf_map_new(&string_to_map, &board.maps[i]));
        for (int j = 0; j < 100; j++) {
            char name[16];
            hf_view view;
            hf_map *inner;
            snprintf(name, sizeof name, "key %d", j);
            ok(hf_map_new(&int_to_int, &inner));
            ok(hf_map_with_take(&inner, number(j), number(i / 2)));
            ok(hf_map_with_take(&board.maps[i], hf_string_view(&view, name), hf_value_ptr(inner)));
            ok(hf_map_drop(inner));
        }
    }
    run_threads(read_shared_maps);
    board_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SUPPORTED(threads_edit_versions_of_shared_maps),
        SUPPORTED(a_map_that_is_passed_on_is_edited_in_place),
        SUPPORTED(threads_read_maps_of_strings_and_maps),
    };
    return cmocka_run_group_tests(tests, support_init, NULL);
}

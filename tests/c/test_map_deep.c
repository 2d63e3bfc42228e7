/* Maps as values and as keys of maps, few and many levels deep, on little stack. */
#include "test_map_support.h"

#include <pthread.h>

enum {
    DEEP = 200000,
    /* Little for a recursion of this depth, and enough for AddressSanitizer's frames. */
    STACK = 256 * 1024,
};

static const hf_map_type int_to_int = {&hf_type_int64, &hf_type_int64};
static const hf_map_type int_to_map = {&hf_type_int64, &hf_type_map};
static const hf_map_type map_to_int = {&hf_type_map, &hf_type_int64};
static const hf_map_type map_to_map = {&hf_type_map, &hf_type_map};

static hf_value number(int64_t n)
{
    return hf_value_int(n);
}

static hf_map *single(const hf_map_type *type, hf_value key, hf_value value)
{
    hf_pair pair = {key, value};
    hf_map *map;
    ok(hf_map_from_pairs(type, &pair, 1, &map));
    return map;
}

/* {1: {1: ... {1: n}}} */
static hf_map *nested_in_values(int depth, int64_t n)
{
    hf_map *map = single(&int_to_int, number(1), number(n));
    for (int i = 1; i < depth; i++) {
        hf_map *outer = single(&int_to_map, number(1), hf_value_ptr(map));
        ok(hf_map_drop(map));
        map = outer;
    }
    return map;
}

/* {{... {n: 1} ... : 1}: 1} */
static hf_map *nested_in_keys(int depth, int64_t n)
{
    hf_map *map = single(&int_to_int, number(n), number(1));
    for (int i = 1; i < depth; i++) {
        hf_map *outer = single(&map_to_int, hf_value_ptr(map), number(1));
        ok(hf_map_drop(map));
        map = outer;
    }
    return map;
}

/* -- a few levels -- */

static void maps_are_values(void **state)
{
    hf_map *a = single(&int_to_int, number(1), number(2)), *b = single(&int_to_int, number(1), number(2));
    hf_map *outer = single(&int_to_map, number(7), hf_value_ptr(a)), *twin, *other;
    hf_value value;
    uint64_t hash, hash_of_twin;
    ok(hf_map_drop(a));
    assert_int_equal(hf_map_get(outer, number(7), &value), 1);
    assert_ptr_equal(value.ptr, a);
    assert_int_equal(hf_map_size(value.ptr), 1);

    twin = single(&int_to_map, number(7), hf_value_ptr(b));
    assert_int_equal(hf_map_equal(outer, twin), 1);
    ok(hf_map_hash(outer, &hash));
    ok(hf_map_hash(twin, &hash_of_twin));
    assert_int_equal(hash, hash_of_twin);
    ok(hf_map_with_take(&b, number(1), number(3)));
    other = single(&int_to_map, number(7), hf_value_ptr(b));
    assert_int_equal(hf_map_equal(outer, other), 0);
    ok(hf_map_drop(b));
    ok(hf_map_drop(twin));
    ok(hf_map_drop(other));
    ok(hf_map_drop(outer));
}

static void maps_are_keys(void **state)
{
    hf_map *outer;
    ok(hf_map_new(&map_to_int, &outer));
    for (int i = 0; i < 500; i++) {
        hf_map *key = single(&int_to_int, number(i), number(i % 3));
        assert_int_equal(hf_map_with_take(&outer, hf_value_ptr(key), number(i)), 1);
        ok(hf_map_drop(key));
    }
    for (int i = 0; i < 500; i++) {
        hf_map *key = single(&int_to_int, number(i), number(i % 3));
        hf_value value;
        assert_int_equal(hf_map_get(outer, hf_value_ptr(key), &value), 1);
        assert_int_equal(value.i64, i);
        ok(hf_map_with_take(&key, number(-1), number(-1)));
        assert_int_equal(hf_map_contains(outer, hf_value_ptr(key)), 0);
        ok(hf_map_drop(key));
    }
    const char *fault;
    ok(hf_map_check(outer, &fault));
    ok(hf_map_drop(outer));
}

static void a_map_that_is_a_value_is_not_changed_in_place(void **state)
{
    hf_map *inner = single(&int_to_int, number(1), number(1));
    hf_map *outer = single(&int_to_map, number(1), hf_value_ptr(inner));
    hf_value value;
    ok(hf_map_with_take(&inner, number(1), number(2)));
    assert_int_equal(hf_map_get(outer, number(1), &value), 1);
    assert_ptr_not_equal(value.ptr, inner);
    assert_int_equal(hf_map_get(value.ptr, number(1), &value), 1);
    assert_int_equal(value.i64, 1);
    ok(hf_map_drop(inner));
    ok(hf_map_drop(outer));
}

static void no_map_is_no_value(void **state)
{
    hf_map *outer;
    ok(hf_map_new(&int_to_map, &outer));
    assert_int_equal(hf_map_with_take(&outer, number(1), hf_value_ptr(NULL)), HF_INVALID);
    assert_int_equal(hf_map_size(outer), 0);
    ok(hf_map_drop(outer));
    ok(hf_map_new(&map_to_int, &outer));
    assert_int_equal(hf_map_with_take(&outer, hf_value_ptr(NULL), number(1)), HF_INVALID);
    assert_int_equal(hf_map_get(outer, hf_value_ptr(NULL), NULL), HF_INVALID);
    ok(hf_map_drop(outer));
}

static void failures_within_travel_up(void **state)
{
    hf_map *a, *b;
    uint64_t hash;
    ok(hf_map_new(&box_maps[HASH_MIXED], &a));
    ok(hf_map_with_take(&a, VIEW(1), VIEW(1)));
    ok(hf_map_new(&box_maps[HASH_MIXED], &b));
    ok(hf_map_with_take(&b, VIEW(1), VIEW(1 + VALUES)));
    hf_map *outer_a = single(&int_to_map, number(1), hf_value_ptr(a));
    hf_map *outer_b = single(&int_to_map, number(1), hf_value_ptr(b));
    calls_reset();
    calls.fail_at[CALL_EQUAL] = 1;
    assert_int_equal(hf_map_equal(outer_a, outer_b), FAILED);
    assert_int_equal(hf_map_equal(outer_a, outer_b), 1);
    calls_reset();
    calls.fail_at[CALL_HASH] = 2;
    assert_int_equal(hf_map_hash(outer_a, &hash), FAILED);
    assert_int_equal(hf_map_hash(outer_a, &hash), 0);
    hf_fault_arm(HF_FAULT_ALLOC, 1, ENOMEM);
    assert_int_equal(hf_map_equal(outer_a, outer_b), HF_NOMEM);
    hf_fault_disarm();
    ok(hf_map_drop(a));
    ok(hf_map_drop(b));
    calls.fail_at[CALL_DROP] = atomic_load(&calls.made[CALL_DROP]) + 1;
    assert_int_equal(hf_map_drop(outer_a), DROP_FAILED);
    ok(hf_map_drop(outer_b));
}

/* Keys that are different maps of one hash, so that a guess at which is which is wrong. */
static hf_map *colliding_keys(int64_t first, int64_t second)
{
    hf_map *outer;
    ok(hf_map_new(&map_to_int, &outer));
    for (int i = 0; i < 2; i++) {
        hf_map *key;
        ok(hf_map_new(&box_maps[HASH_CONSTANT], &key));
        ok(hf_map_with_take(&key, VIEW(i == 0 ? first : second), VIEW(1)));
        assert_int_equal(hf_map_with_take(&outer, hf_value_ptr(key), number(i == 0 ? first : second)), 1);
        ok(hf_map_drop(key));
    }
    return outer;
}

static void keys_that_are_maps_of_one_hash_are_told_apart(void **state)
{
    hf_map *a = colliding_keys(1, 2), *b = colliding_keys(2, 1), *c = colliding_keys(1, 3);
    assert_int_equal(hf_map_equal(a, b), 1);
    assert_int_equal(hf_map_equal(b, a), 1);
    assert_int_equal(hf_map_equal(a, c), 0);
    ok(hf_map_drop(a));
    ok(hf_map_drop(b));
    ok(hf_map_drop(c));
}

/* Different maps of one hash, as keys of such maps, and so on. */
static hf_map *colliding_in_keys(int depth, int64_t n)
{
    static const hf_map_type outer_types = {&hf_type_map, &value_type};
    hf_map *map;
    ok(hf_map_new(&box_maps[HASH_CONSTANT], &map));
    ok(hf_map_with_take(&map, VIEW(n), VIEW(1)));
    for (int i = 1; i < depth; i++) {
        hf_map *outer = single(&outer_types, hf_value_ptr(map), VIEW(1));
        ok(hf_map_drop(map));
        map = outer;
    }
    return map;
}

static void beyond_200_levels_of_such_keys_there_is_a_limit(void **state)
{
    hf_map *a = colliding_in_keys(150, 1), *b = colliding_in_keys(150, 2);
    assert_int_equal(hf_map_equal(a, b), 0);
    ok(hf_map_drop(a));
    ok(hf_map_drop(b));
    a = colliding_in_keys(300, 1);
    b = colliding_in_keys(300, 2);
    assert_int_equal(hf_map_equal(a, b), HF_LIMIT);
    ok(hf_map_drop(b));
    b = colliding_in_keys(300, 1);
    assert_int_equal(hf_map_equal(a, b), 1);
    ok(hf_map_drop(a));
    ok(hf_map_drop(b));
}

/* -- many levels, each test in a thread with little stack -- */

static void on_little_stack(void *(*run)(void *))
{
    pthread_attr_t attributes;
    pthread_t thread;
    void *done = NULL;
    assert_int_equal(pthread_attr_init(&attributes), 0);
    assert_int_equal(pthread_attr_setstacksize(&attributes, STACK), 0);
    assert_int_equal(pthread_create(&thread, &attributes, run, NULL), 0);
    assert_int_equal(pthread_join(thread, &done), 0);
    assert_int_equal(pthread_attr_destroy(&attributes), 0);
    assert_non_null(done);
}

#define DONE ((void *)&boxes)

/* cmocka's assertions end a test from its own thread only, so these return NULL where something is wrong. */
#define require(condition)                                              \
    do                                                                  \
        if (!(condition)) {                                             \
            print_error("%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            return NULL;                                                \
        }                                                               \
    while (0)

static void *run_deep(hf_map *(*make)(int depth, int64_t n))
{
    hf_map *a = make(DEEP, 1), *b = make(DEEP, 1), *c = make(DEEP, 2);
    uint64_t hash_a, hash_b, hash_c;
    require(hf_map_equal(a, b) == 1);
    require(hf_map_equal(a, c) == 0);
    require(hf_map_hash(a, &hash_a) == 0);
    require(hf_map_hash(b, &hash_b) == 0);
    require(hf_map_hash(c, &hash_c) == 0);
    require(hash_a == hash_b && hash_a != hash_c);
    require(hf_map_equal(a, b) == 1);
    require(hf_map_equal(a, c) == 0);
    require(hf_map_drop(a) == 0);
    require(hf_map_drop(b) == 0);
    require(hf_map_drop(c) == 0);
    return DONE;
}

static void *run_deep_values(void *unused)
{
    return run_deep(nested_in_values);
}

static void *run_deep_keys(void *unused)
{
    return run_deep(nested_in_keys);
}

static void nesting_200000_deep_in_values(void **state)
{
    on_little_stack(run_deep_values);
}

static void nesting_200000_deep_in_keys(void **state)
{
    on_little_stack(run_deep_keys);
}

/* A type of the caller's own, whose values hold maps: {1: holder of {1: holder of ...}}. */
typedef struct holder {
    int count;
    hf_map *map;
} holder;

static int holder_keep(const hf_type *type, hf_value *value)
{
    ((holder *)value->ptr)->count++;
    return 0;
}

static int holder_drop(const hf_type *type, hf_value value)
{
    holder *held = value.ptr;
    int status = 0;
    if (--held->count == 0) {
        status = hf_map_drop(held->map);
        free(held);
    }
    return status;
}

static void *run_held(void *unused)
{
    static const hf_type type = {.name = "holder", .keep = holder_keep, .drop = holder_drop};
    static const hf_map_type types = {&hf_type_int64, &type};
    hf_map *map;
    require(hf_map_new(&types, &map) == 0);
    for (int i = 0; i < DEEP; i++) {
        holder *held = malloc(sizeof *held);
        require(held != NULL);
        *held = (holder){.count = 1, .map = map};
        map = single(&types, number(1), hf_value_ptr(held));
        require(holder_drop(&type, hf_value_ptr(held)) == 0);
    }
    require(hf_map_drop(map) == 0);
    return DONE;
}

static void maps_that_foreign_values_hold_are_dropped_without_recursion(void **state)
{
    on_little_stack(run_held);
}

/* {m: m} where m is {n: n} where ...: 2 to the power of the depth, for whom does not see what is shared. */
static void *run_shared(void *unused)
{
    hf_map *a = single(&int_to_int, number(1), number(1));
    for (int i = 1; i < 1000; i++) {
        hf_map *outer = single(&map_to_map, hf_value_ptr(a), hf_value_ptr(a));
        require(hf_map_drop(a) == 0);
        a = outer;
    }
    uint64_t hash;
    require(hf_map_hash(a, &hash) == 0);
    require(hf_map_drop(a) == 0);
    return DONE;
}

static void what_is_shared_is_hashed_once(void **state)
{
    on_little_stack(run_shared);
}

/* A tree of maps, wide and deep, most of it beyond the depth down to which hashing recurses. */
static hf_map *tree(int depth, int64_t n)
{
    hf_map *map;
    if (depth == 0)
        return single(&int_to_int, number(n), number(n));
    ok(hf_map_new(&int_to_map, &map));
    for (int i = 0; i < 2; i++) {
        hf_map *inner = tree(depth - (i == 0 ? 1 : 4 < depth ? 4 : depth), 2 * n + i);
        ok(hf_map_with_take(&map, number(i), hf_value_ptr(inner)));
        ok(hf_map_drop(inner));
    }
    return map;
}

static void wide_and_deep(void **state)
{
    hf_map *a = tree(30, 1), *b = tree(30, 1), *c = tree(30, 2);
    uint64_t hash_a, hash_b, hash_c;
    assert_int_equal(hf_map_equal(a, b), 1);
    assert_int_equal(hf_map_equal(a, c), 0);
    ok(hf_map_hash(a, &hash_a));
    ok(hf_map_hash(b, &hash_b));
    ok(hf_map_hash(c, &hash_c));
    assert_int_equal(hash_a, hash_b);
    assert_int_not_equal(hash_a, hash_c);
    ok(hf_map_drop(a));
    ok(hf_map_drop(b));
    ok(hf_map_drop(c));
}

/* The n-th allocation fails: equality and hash say so, and lose nothing. */
static void lists_that_cannot_grow(void **state)
{
    hf_map *a = nested_in_values(5000, 1), *b = nested_in_values(5000, 1);
    uint64_t hash;
    int failures = 0;
    for (uint64_t n = 1;; n++) {
        hf_map *c = nested_in_values(5000, 1);
        hf_fault_arm(HF_FAULT_ALLOC, n, ENOMEM);
        int equal = hf_map_equal(a, b), hashed = hf_map_hash(c, &hash);
        uint64_t failed = hf_fault_failed(HF_FAULT_ALLOC);
        hf_fault_disarm();
        ok(hf_map_drop(c));
        assert_true(equal == 1 || equal == HF_NOMEM);
        assert_true(hashed == 0 || hashed == HF_NOMEM);
        assert_int_equal((equal < 0) + (hashed < 0), failed);
        if (failed == 0)
            break;
        failures++;
    }
    assert_true(failures >= 2);
    ok(hf_map_drop(a));
    ok(hf_map_drop(b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SUPPORTED(maps_are_values),
        SUPPORTED(maps_are_keys),
        SUPPORTED(a_map_that_is_a_value_is_not_changed_in_place),
        SUPPORTED(no_map_is_no_value),
        SUPPORTED(failures_within_travel_up),
        SUPPORTED(keys_that_are_maps_of_one_hash_are_told_apart),
        SUPPORTED(beyond_200_levels_of_such_keys_there_is_a_limit),
        SUPPORTED(nesting_200000_deep_in_values),
        SUPPORTED(nesting_200000_deep_in_keys),
        SUPPORTED(maps_that_foreign_values_hold_are_dropped_without_recursion),
        SUPPORTED(what_is_shared_is_hashed_once),
        SUPPORTED(wide_and_deep),
        SUPPORTED(lists_that_cannot_grow),
    };
    return cmocka_run_group_tests(tests, support_init, NULL);
}

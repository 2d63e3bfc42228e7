/* What map.h and value.h say of each function, that random programs do not show. */
#include "test_map_support.h"

#include <holdfast/version.h>

static const hf_map_type int_to_int = {&hf_type_int64, &hf_type_int64};
static const hf_map_type string_to_int = {&hf_type_string, &hf_type_int64};
static const hf_map_type string_to_bytes = {&hf_type_string, &hf_type_bytes};

static hf_value number(int64_t n)
{
    return hf_value_int(n);
}

static hf_map *empty(const hf_map_type *type)
{
    hf_map *map;
    ok(hf_map_new(type, &map));
    return map;
}

/* {0: 0, 1: 10, 2: 20 ...} */
static hf_map *tens(int count)
{
    hf_map *map = empty(&int_to_int);
    for (int i = 0; i < count; i++)
        assert_int_equal(hf_map_with_take(&map, number(i), number((int64_t)10 * i)), 1);
    return map;
}

static int64_t get_int(const hf_map *map, hf_value key)
{
    hf_value value;
    assert_int_equal(hf_map_get(map, key, &value), 1);
    return value.i64;
}

/* -- life -- */

static void types_must_be_whole(void **state)
{
    static const hf_type no_name = {.hash = NULL};
    static const hf_type keeps_only = {.name = "keeps only", .keep = box_keep};
    static const hf_type drops_only = {.name = "drops only", .drop = box_drop};
    static const hf_type no_hash = {.name = "no hash", .equal = box_equal};
    const hf_map_type broken[] = {
        {NULL, &hf_type_int64},        {&hf_type_int64, NULL},        {&no_name, &hf_type_int64},
        {&hf_type_int64, &no_name},    {&keeps_only, &hf_type_int64}, {&hf_type_int64, &keeps_only},
        {&drops_only, &hf_type_int64}, {&no_hash, &hf_type_int64},
    };
    hf_map *map = NULL;
    assert_int_equal(hf_map_new(NULL, &map), HF_INVALID);
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        assert_int_equal(hf_map_new(&broken[i], &map), HF_INVALID);
        assert_int_equal(hf_map_from_pairs(&broken[i], NULL, 0, &map), HF_INVALID);
    }
    assert_null(map);
}

static void a_map_lives_as_long_as_it_has_a_count(void **state)
{
    hf_map *map = tens(3);
    assert_ptr_equal(hf_map_keep(map), map);
    assert_int_equal(hf_map_drop(map), 0);
    assert_int_equal(get_int(map, number(2)), 20);
    assert_int_equal(hf_map_size(map), 3);
    assert_ptr_equal(hf_map_types(map), &int_to_int);
    assert_int_equal(hf_map_drop(map), 0);

    assert_null(hf_map_keep(NULL));
    assert_int_equal(hf_map_drop(NULL), 0);
}

static void a_failed_drop_is_reported_and_everything_is_dropped(void **state)
{
    hf_map *map = empty(&box_maps[HASH_MIXED]);
    for (int i = 0; i < 50; i++)
        ok(hf_map_with_take(&map, VIEW(i), VIEW(i)));
    calls_reset();
    calls.fail_at[CALL_DROP] = 7;
    assert_int_equal(hf_map_drop(map), DROP_FAILED);
    assert_int_equal(box_counts(), 0);
}

/* -- looking up -- */

static void get_answers_and_leaves_out_alone_otherwise(void **state)
{
    hf_map *map = tens(100);
    hf_value value = number(-1);
    assert_int_equal(hf_map_get(map, number(100), &value), 0);
    assert_int_equal(value.i64, -1);
    assert_int_equal(hf_map_get(map, number(99), &value), 1);
    assert_int_equal(value.i64, 990);
    assert_int_equal(hf_map_get(map, number(99), NULL), 1);
    assert_int_equal(hf_map_contains(map, number(99)), 1);
    assert_int_equal(hf_map_contains(map, number(-99)), 0);
    ok(hf_map_drop(map));
}

static void extreme_numbers_are_ordinary_keys(void **state)
{
    static const int64_t keys[] = {INT64_MIN, INT64_MIN + 1, -1,        0,  1,  INT64_MAX - 1,
                                   INT64_MAX, 1LL << 60,     1LL << 59, 31, 32, 1LL << 62};
    hf_map *map = empty(&int_to_int);
    const char *fault;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_int_equal(hf_map_with_take(&map, number(keys[i]), number((int64_t)i)), 1);
    ok(hf_map_check(map, &fault));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_int_equal(get_int(map, number(keys[i])), i);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_int_equal(hf_map_without_take(&map, number(keys[i])), 1);
    assert_int_equal(hf_map_size(map), 0);
    ok(hf_map_check(map, &fault));
    ok(hf_map_drop(map));
}

static void plain_words_of_any_kind_are_compared_by_their_bits(void **state)
{
    hf_map *map = empty(&int_to_int);
    assert_int_equal(hf_map_with_take(&map, hf_value_double(1.5), hf_value_ptr(&map)), 1);
    assert_int_equal(hf_map_with_take(&map, hf_value_double(0.0), hf_value_ptr(NULL)), 1);
    assert_int_equal(hf_map_contains(map, hf_value_double(-0.0)), 0);
    hf_value value;
    assert_int_equal(hf_map_get(map, hf_value_double(1.5), &value), 1);
    assert_ptr_equal(value.ptr, &map);
    ok(hf_map_drop(map));
}

/* -- strings -- */

static void a_view_is_stored_as_a_counted_copy(void **state)
{
    char text[] = "colour", bytes[] = {1, 0, 2};
    hf_view key_view, value_view;
    hf_map *map = empty(&string_to_bytes);
    ok(hf_map_with_take(&map, hf_string_view(&key_view, text), hf_bytes_view(&value_view, bytes, 3)));
    text[0] = bytes[0] = 'X';

    hf_value value;
    size_t size;
    assert_int_equal(hf_map_get(map, HF_STRING("colour"), &value), 1);
    assert_memory_equal(hf_bytes_data(value, &size), ((char[]){1, 0, 2}), 3);
    assert_int_equal(size, 3);
    assert_int_equal(hf_map_contains(map, HF_STRING("Xolour")), 0);
    assert_int_equal(hf_map_contains(map, HF_STRING("colou")), 0);
    assert_int_equal(hf_map_contains(map, HF_STRING("")), 0);

    /* What is counted outlives the map. */
    ok(hf_bytes_keep(&value));
    ok(hf_map_drop(map));
    assert_memory_equal(hf_bytes_data(value, NULL), ((char[]){1, 0, 2, 0}), 4);
    hf_bytes_drop(value);
}

static void looking_up_with_a_view_allocates_nothing(void **state)
{
    hf_map *map = empty(&string_to_int);
    ok(hf_map_with_take(&map, HF_STRING("a"), number(1)));
    int64_t before = atomic_load(&blocks);
    hf_fault_arm(HF_FAULT_ALLOC, 1, ENOMEM);
    assert_int_equal(get_int(map, HF_STRING("a")), 1);
    assert_int_equal(hf_fault_calls(HF_FAULT_ALLOC), 0);
    hf_fault_disarm();
    assert_int_equal(atomic_load(&blocks), before);
    ok(hf_map_drop(map));
}

static void counted_strings_are_shared_not_copied(void **state)
{
    hf_value text, stored;
    ok(hf_string_new("shared", &text));
    assert_string_equal(hf_string_text(text), "shared");
    hf_map *map = empty(&string_to_bytes);
    ok(hf_map_with_take(&map, text, text));
    assert_int_equal(hf_map_get(map, HF_STRING("shared"), &stored), 1);
    assert_ptr_equal(stored.ptr, text.ptr);
    hf_bytes_drop(text);
    assert_string_equal(hf_string_text(stored), "shared");
    ok(hf_map_drop(map));
}

static void strings_of_every_length_are_told_apart(void **state)
{
    /* XXH3 takes other paths at 3, 8, 16, 128 and 240 bytes. */
    char text[400];
    memset(text, 'a', sizeof text);
    hf_map *map = empty(&string_to_int);
    hf_view view;
    for (size_t size = 0; size < sizeof text; size++)
        assert_int_equal(hf_map_with_take(&map, hf_bytes_view(&view, text, size), number((int64_t)size)), 1);
    for (size_t size = 0; size < sizeof text; size++)
        assert_int_equal(get_int(map, hf_bytes_view(&view, text, size)), size);
    text[300] = 'b';
    assert_int_equal(hf_map_contains(map, hf_bytes_view(&view, text, 301)), 0);
    ok(hf_map_drop(map));
}

static void bytes_fail_for_want_of_memory(void **state)
{
    hf_value value = number(5);
    hf_view view;
    assert_int_equal(hf_bytes_new("x", SIZE_MAX, &value), HF_NOMEM);
    hf_fault_arm(HF_FAULT_ALLOC, 1, ENOMEM);
    assert_int_equal(hf_string_new("x", &value), HF_NOMEM);
    assert_int_equal(value.i64, 5);
    value = hf_string_view(&view, "x");
    hf_fault_arm(HF_FAULT_ALLOC, 1, ENOMEM);
    assert_int_equal(hf_bytes_keep(&value), HF_NOMEM);
    assert_ptr_equal(value.ptr, &view);
    hf_fault_disarm();

    hf_bytes_drop(value); /* a view: nothing happens */
    ok(hf_bytes_new(NULL, 0, &value));
    assert_string_equal(hf_string_text(value), "");
    hf_bytes_drop(value);
}

/* -- new versions -- */

static void with_leaves_the_old_version_alone(void **state)
{
    hf_map *map = tens(1000), *next, *less;
    assert_int_equal(hf_map_with(map, number(5), number(-1), &next), 0);
    assert_int_equal(get_int(map, number(5)), 50);
    assert_int_equal(get_int(next, number(5)), -1);
    assert_int_equal(hf_map_without(next, number(5), &less), 1);
    assert_int_equal(hf_map_size(less), 999);
    assert_int_equal(get_int(next, number(5)), -1);
    ok(hf_map_drop(map));
    ok(hf_map_drop(next));
    ok(hf_map_drop(less));
}

static void what_changes_nothing_gives_the_same_map(void **state)
{
    hf_map *map = tens(40), *same;
    assert_int_equal(hf_map_with(map, number(5), number(50), &same), 0);
    assert_ptr_equal(same, map);
    ok(hf_map_drop(same));
    assert_int_equal(hf_map_without(map, number(99), &same), 0);
    assert_ptr_equal(same, map);
    ok(hf_map_drop(same));

    assert_int_equal(hf_map_with_take(&same, number(5), number(50)), 0);
    assert_ptr_equal(same, map);
    assert_int_equal(hf_map_without_take(&same, number(99)), 0);
    assert_ptr_equal(same, map);
    ok(hf_map_drop(map));
}

static void take_edits_in_place_what_nobody_else_has(void **state)
{
    hf_map *map = tens(1000), *before = map;
    int64_t blocks_before = atomic_load(&blocks);
    hf_fault_arm(HF_FAULT_ALLOC, 0, ENOMEM);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(hf_map_with_take(&map, number(i), number(i)), 0);
    assert_int_equal(hf_fault_calls(HF_FAULT_ALLOC), 0);
    hf_fault_disarm();
    assert_ptr_equal(map, before);
    assert_int_equal(atomic_load(&blocks), blocks_before);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(get_int(map, number(i)), i);
    ok(hf_map_drop(map));
}

static void take_copies_what_somebody_else_has(void **state)
{
    hf_map *map = tens(1000), *other = hf_map_keep(map), *version;
    /* The handle is shared. */
    assert_int_equal(hf_map_with_take(&map, number(5), number(-5)), 0);
    assert_ptr_not_equal(map, other);
    assert_int_equal(get_int(other, number(5)), 50);
    /* Only nodes are. */
    ok(hf_map_with(map, number(6), number(-6), &version));
    assert_int_equal(hf_map_with_take(&map, number(7), number(-7)), 0);
    assert_int_equal(hf_map_without_take(&map, number(8)), 1);
    assert_int_equal(get_int(version, number(7)), 70);
    assert_int_equal(get_int(version, number(8)), 80);
    assert_int_equal(get_int(map, number(6)), 60);
    ok(hf_map_drop(map));
    ok(hf_map_drop(other));
    ok(hf_map_drop(version));
}

/* A type whose `equal` keeps the map that is being changed. */
static hf_map *kept_by_equal, *being_changed;

static int equal_and_keep(const hf_type *type, hf_value a, hf_value b)
{
    if (being_changed != NULL && kept_by_equal == NULL)
        kept_by_equal = hf_map_keep(being_changed);
    return a.i64 % 1000 == b.i64 % 1000;
}

static int hash_mod_1000(const hf_type *type, hf_value value, uint64_t *out)
{
    *out = (uint64_t)(value.i64 % 1000);
    return 0;
}

static void take_notices_that_foreign_code_kept_the_map(void **state)
{
    static const hf_type type = {.name = "mod 1000", .hash = hash_mod_1000, .equal = equal_and_keep};
    static const hf_map_type types = {&type, &hf_type_int64};
    for (int removes = 0; removes < 2; removes++) {
        hf_map *map = empty(&types);
        for (int i = 0; i < 100; i++)
            ok(hf_map_with_take(&map, number(i), number(i)));
        being_changed = map;
        kept_by_equal = NULL;
        if (removes)
            assert_int_equal(hf_map_without_take(&map, number(1005)), 1);
        else
            assert_int_equal(hf_map_with_take(&map, number(1005), number(-1)), 0);
        assert_non_null(kept_by_equal);
        being_changed = NULL;
        assert_ptr_not_equal(kept_by_equal, map);
        assert_int_equal(get_int(kept_by_equal, number(5)), 5);
        assert_int_equal(hf_map_contains(map, number(5)), !removes);
        ok(hf_map_drop(kept_by_equal));
        ok(hf_map_drop(map));
    }
}

static void a_take_whose_drop_fails_has_been_done(void **state)
{
    hf_map *map = empty(&box_maps[HASH_MIXED]);
    for (int i = 0; i < 50; i++)
        ok(hf_map_with_take(&map, VIEW(i), VIEW(1)));
    hf_map *other = hf_map_keep(map);
    calls_reset();
    calls.fail_at[CALL_DROP] = 1;
    assert_int_equal(hf_map_with_take(&other, VIEW(3), VIEW(2)), 0); /* nothing is dropped: `map` has it */
    assert_int_equal(hf_map_with_take(&other, VIEW(3), VIEW(4)), DROP_FAILED);
    hf_value value;
    assert_int_equal(hf_map_get(other, VIEW(3), &value), 1);
    assert_int_equal(id_of(value), 4);
    calls_reset();
    calls.fail_at[CALL_DROP] = 2;
    assert_int_equal(hf_map_without_take(&other, VIEW(3)), DROP_FAILED);
    assert_int_equal(hf_map_size(other), 49);
    calls_reset();
    ok(hf_map_drop(other));
    ok(hf_map_drop(map));
}

/* -- building -- */

static void from_pairs_takes_the_first_key_and_the_last_value(void **state)
{
    static const hf_type type = {.name = "mod 1000", .hash = hash_mod_1000, .equal = equal_and_keep};
    static const hf_map_type types = {&type, &hf_type_int64};
    hf_pair pairs[] = {{number(1), number(10)},
                       {number(2), number(20)},
                       {number(1001), number(11)},
                       {number(3), number(30)},
                       {number(2001), number(12)}};
    hf_map *map;
    hf_map_iter iter;
    hf_value key, value;
    ok(hf_map_from_pairs(&types, pairs, 5, &map));
    assert_int_equal(hf_map_size(map), 3);
    assert_int_equal(get_int(map, number(3001)), 12);
    hf_map_iter_init(&iter, map);
    while (hf_map_iter_next(&iter, &key, &value))
        assert_true(key.i64 < 1000);
    ok(hf_map_iter_clear(&iter));
    ok(hf_map_drop(map));

    ok(hf_map_from_pairs(&types, NULL, 0, &map));
    assert_int_equal(hf_map_size(map), 0);
    ok(hf_map_drop(map));
}

static void what_is_built_at_once_is_as_what_is_built_one_by_one(void **state)
{
    enum { COUNT = 50000 };
    hf_pair *pairs = malloc(COUNT * sizeof *pairs);
    hf_map *one = empty(&int_to_int), *at_once;
    const char *fault;
    for (int i = 0; i < COUNT; i++) {
        pairs[i] = (hf_pair){number((int64_t)mixed((uint64_t)i)), number(i)};
        ok(hf_map_with_take(&one, pairs[i].key, pairs[i].value));
    }
    ok(hf_map_from_pairs(&int_to_int, pairs, COUNT, &at_once));
    ok(hf_map_check(at_once, &fault));
    assert_int_equal(hf_map_equal(one, at_once), 1);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(hf_map_without_take(&one, pairs[i].key), 1);
    assert_int_equal(hf_map_size(one), 0);
    ok(hf_map_drop(one));
    ok(hf_map_drop(at_once));
    free(pairs);
}

/* -- iterating -- */

static void an_iterator_outlives_the_callers_count(void **state)
{
    hf_map *map = tens(1000);
    hf_map_iter iter;
    hf_value key, value;
    int64_t sum = 0;
    hf_map_iter_init(&iter, map);
    ok(hf_map_drop(map));
    while (hf_map_iter_next(&iter, &key, &value)) {
        assert_int_equal(value.i64, 10 * key.i64);
        sum += key.i64;
    }
    assert_int_equal(sum, 999 * 1000 / 2);
    assert_int_equal(hf_map_iter_next(&iter, NULL, NULL), 0);
    assert_int_equal(hf_map_iter_clear(&iter), 0);
    assert_int_equal(hf_map_iter_next(&iter, &key, &value), 0);
    assert_int_equal(hf_map_iter_clear(&iter), 0);
}

static void an_iterator_may_be_cleared_half_way(void **state)
{
    hf_map *map = tens(100), *none = empty(&int_to_int);
    hf_map_iter iter;
    hf_map_iter_init(&iter, map);
    assert_int_equal(hf_map_iter_next(&iter, NULL, NULL), 1);
    /* While it goes on the map is not changed in place. */
    ok(hf_map_with_take(&map, number(0), number(-1)));
    assert_int_equal(hf_map_iter_clear(&iter), 0);
    assert_int_equal(hf_map_iter_next(&iter, NULL, NULL), 0);
    hf_map_iter_init(&iter, none);
    assert_int_equal(hf_map_iter_next(&iter, NULL, NULL), 0);
    assert_int_equal(hf_map_iter_clear(&iter), 0);
    ok(hf_map_drop(map));
    ok(hf_map_drop(none));
}

/* -- transients -- */

static void a_transient_never_changes_its_map(void **state)
{
    hf_map *map = tens(1000), *result;
    hf_map_transient *transient;
    size_t size;
    ok(hf_map_transient_new(map, &transient));
    for (int i = 0; i < 1000; i++)
        assert_int_equal(hf_map_transient_put(transient, number(i), number(-i)), 0);
    assert_int_equal(hf_map_transient_put(transient, number(1000), number(7)), 1);
    assert_int_equal(hf_map_transient_remove(transient, number(0)), 1);
    assert_int_equal(hf_map_transient_remove(transient, number(0)), 0);
    ok(hf_map_transient_size(transient, &size));
    assert_int_equal(size, 1000);
    ok(hf_map_transient_persist(transient, &result));
    for (int i = 1; i < 1000; i++) {
        assert_int_equal(get_int(map, number(i)), 10 * i);
        assert_int_equal(get_int(result, number(i)), -i);
    }
    ok(hf_map_transient_free(transient));
    ok(hf_map_drop(map));
    ok(hf_map_drop(result));
}

static void a_transient_edits_in_place_after_the_first_time(void **state)
{
    hf_map *map = tens(1000), *result;
    hf_map_transient *transient;
    ok(hf_map_transient_new(map, &transient));
    for (int round = 0; round < 2; round++) {
        hf_fault_arm(HF_FAULT_ALLOC, 0, ENOMEM);
        for (int i = 0; i < 1000; i++)
            ok(hf_map_transient_put(transient, number(i), number(round)));
        if (round == 0)
            assert_true(hf_fault_calls(HF_FAULT_ALLOC) > 0);
        else
            assert_int_equal(hf_fault_calls(HF_FAULT_ALLOC), 0);
        hf_fault_disarm();
    }
    ok(hf_map_transient_persist(transient, &result));
    ok(hf_map_transient_free(transient));
    ok(hf_map_drop(map));
    ok(hf_map_drop(result));
}

static void a_transient_that_changed_nothing_gives_its_map_back(void **state)
{
    hf_map *map = tens(10), *result;
    hf_map_transient *transient;
    ok(hf_map_transient_new(map, &transient));
    assert_int_equal(hf_map_transient_put(transient, number(3), number(30)), 0);
    assert_int_equal(hf_map_transient_remove(transient, number(33)), 0);
    ok(hf_map_drop(map));
    ok(hf_map_transient_persist(transient, &result));
    assert_ptr_equal(result, map);
    ok(hf_map_transient_free(transient));
    ok(hf_map_drop(result));
}

static void a_finished_transient_can_only_be_freed(void **state)
{
    hf_map *map = tens(10), *result = NULL;
    hf_map_transient *transient;
    hf_value value = number(-1);
    size_t size = 77;
    ok(hf_map_transient_new(map, &transient));
    ok(hf_map_drop(map));
    ok(hf_map_transient_put(transient, number(1), number(1)));
    ok(hf_map_transient_persist(transient, &map));
    assert_int_equal(hf_map_transient_put(transient, number(1), number(2)), HF_INVALID);
    assert_int_equal(hf_map_transient_remove(transient, number(1)), HF_INVALID);
    assert_int_equal(hf_map_transient_get(transient, number(1), &value), HF_INVALID);
    assert_int_equal(hf_map_transient_size(transient, &size), HF_INVALID);
    assert_int_equal(hf_map_transient_persist(transient, &result), HF_INVALID);
    assert_int_equal(value.i64, -1);
    assert_int_equal(size, 77);
    assert_null(result);
    assert_int_equal(get_int(map, number(1)), 1);
    ok(hf_map_transient_free(transient));
    ok(hf_map_drop(map));
    ok(hf_map_transient_free(NULL));
}

/* A type whose functions use the transient that they are called for. */
static hf_map_transient *being_edited;
static int reentered;

static void assert_busy(void)
{
    hf_value value;
    hf_map *map;
    size_t size;
    if (being_edited == NULL)
        return;
    assert_int_equal(hf_map_transient_put(being_edited, number(1), number(1)), HF_BUSY);
    assert_int_equal(hf_map_transient_remove(being_edited, number(1)), HF_BUSY);
    assert_int_equal(hf_map_transient_get(being_edited, number(1), &value), HF_BUSY);
    assert_int_equal(hf_map_transient_size(being_edited, &size), HF_BUSY);
    assert_int_equal(hf_map_transient_persist(being_edited, &map), HF_BUSY);
    assert_int_equal(hf_map_transient_free(being_edited), HF_BUSY);
    reentered++;
}

static int busy_hash(const hf_type *type, hf_value value, uint64_t *out)
{
    assert_busy();
    *out = 7;
    return 0;
}

static int busy_equal(const hf_type *type, hf_value a, hf_value b)
{
    assert_busy();
    return 0;
}

static int busy_keep(const hf_type *type, hf_value *value)
{
    assert_busy();
    return 0;
}

static int busy_drop(const hf_type *type, hf_value value)
{
    assert_busy();
    return 0;
}

static void a_transient_refuses_to_be_used_by_its_own_operation(void **state)
{
    static const hf_type type = {
        .name = "busy", .hash = busy_hash, .equal = busy_equal, .keep = busy_keep, .drop = busy_drop};
    static const hf_map_type types = {&type, &type};
    hf_map *map = empty(&types);
    hf_map_transient *transient;
    hf_value value;
    ok(hf_map_transient_new(map, &transient));
    being_edited = transient;
    for (int i = 0; i < 5; i++) {
        reentered = 0;
        assert_int_equal(hf_map_transient_put(transient, number(i), number(i)), 1);
        assert_true(reentered > i);
    }
    assert_int_equal(hf_map_transient_put(transient, number(3), number(33)), 0);
    assert_int_equal(hf_map_transient_get(transient, number(4), &value), 1);
    assert_int_equal(hf_map_transient_remove(transient, number(4)), 1);
    being_edited = NULL;
    ok(hf_map_transient_free(transient));
    ok(hf_map_drop(map));
}

/* -- two maps -- */

static int choose(void *user, hf_value key, hf_value left, hf_value right, hf_value *made)
{
    return *(int *)user;
}

static int choose3(void *user, hf_value key, const hf_value *base, const hf_value *mine, const hf_value *theirs,
                   hf_value *made)
{
    return *(int *)user;
}

static int tell(void *user, hf_value key, const hf_value *before, const hf_value *after)
{
    return *(int *)user;
}

static void what_callbacks_return_travels_up(void **state)
{
    hf_map *a = tens(10), *b = tens(10), *c = tens(10), *out = NULL;
    ok(hf_map_with_take(&a, number(3), number(1)));
    ok(hf_map_with_take(&b, number(3), number(2)));
    int answers[] = {FAILED, HF_CONFLICT, 5, 99, HF_CHOOSE_OPEN};
    for (size_t i = 0; i < 5; i++) {
        int expected = answers[i] < 0 ? answers[i] : HF_INVALID;
        assert_int_equal(hf_map_merge(a, b, choose, &answers[i], &out), expected);
        if (answers[i] != HF_CHOOSE_OPEN)
            assert_int_equal(hf_map_merge3(c, a, b, choose3, &answers[i], &out), expected);
        if (answers[i] < 0)
            assert_int_equal(hf_map_diff(a, b, tell, &answers[i]), answers[i]);
    }
    assert_null(out);
    ok(hf_map_drop(a));
    ok(hf_map_drop(b));
    ok(hf_map_drop(c));
}

static void maps_of_different_types_do_not_go_together(void **state)
{
    hf_map *a = tens(2), *b = empty(&string_to_int), *out = NULL;
    int answer = 0;
    assert_int_equal(hf_map_merge(a, b, NULL, NULL, &out), HF_INVALID);
    assert_int_equal(hf_map_intersection(a, b, &out), HF_INVALID);
    assert_int_equal(hf_map_difference(a, b, &out), HF_INVALID);
    assert_int_equal(hf_map_symmetric_difference(a, b, &out), HF_INVALID);
    assert_int_equal(hf_map_merge3(a, a, b, NULL, NULL, &out), HF_INVALID);
    assert_int_equal(hf_map_merge3(b, a, a, NULL, NULL, &out), HF_INVALID);
    assert_int_equal(hf_map_diff(a, b, tell, &answer), HF_INVALID);
    assert_int_equal(hf_map_equal(a, b), 0);
    assert_null(out);
    ok(hf_map_drop(b));

    /* The same types by another descriptor do. */
    const hf_map_type twin = int_to_int;
    b = empty(&twin);
    ok(hf_map_merge(b, a, NULL, NULL, &out));
    assert_ptr_equal(out, a);
    ok(hf_map_drop(out));
    ok(hf_map_drop(a));
    ok(hf_map_drop(b));
}

/* Calls of hash and equal since calls_reset. */
static uint64_t foreign_calls(void)
{
    return atomic_load(&calls.made[CALL_HASH]) + atomic_load(&calls.made[CALL_EQUAL]);
}

static int count_changes(void *user, hf_value key, const hf_value *before, const hf_value *after)
{
    ++*(int *)user;
    return 0;
}

static void structural_operations_cost_what_differs(void **state)
{
    enum { COUNT = 10000 };
    hf_map *map = empty(&box_maps[HASH_MIXED]), *edited, *undone, *out;
    uint64_t hash;
    int changes = 0;
    for (int i = 0; i < COUNT; i++)
        ok(hf_map_with_take(&map, box_value(i), box_value(1)));
    ok(hf_map_with(map, box_value(77), box_value(2), &edited));
    ok(hf_map_with(edited, box_value(77), box_value(1), &undone));
    calls_reset();
    assert_int_equal(hf_map_equal(map, undone), 1);
    assert_int_equal(hf_map_equal(map, edited), 0);
    ok(hf_map_diff(map, edited, count_changes, &changes));
    assert_int_equal(changes, 1);
    ok(hf_map_merge(map, edited, NULL, NULL, &out));
    assert_ptr_equal(out, edited);
    ok(hf_map_drop(out));
    ok(hf_map_intersection(map, edited, &out));
    assert_ptr_equal(out, map);
    ok(hf_map_drop(out));
    ok(hf_map_difference(map, edited, &out));
    assert_int_equal(hf_map_size(out), 0);
    ok(hf_map_drop(out));
    ok(hf_map_merge3(map, edited, undone, NULL, NULL, &out));
    assert_ptr_equal(out, edited);
    ok(hf_map_drop(out));
    assert_true(foreign_calls() < 20);

    /* Nodes remember digests: another version hashes one path. */
    ok(hf_map_hash(map, &hash));
    assert_true(foreign_calls() > COUNT);
    calls_reset();
    ok(hf_map_hash(edited, &hash));
    ok(hf_map_hash(map, &hash));
    assert_true(foreign_calls() < 200);
    ok(hf_map_drop(map));
    ok(hf_map_drop(edited));
    ok(hf_map_drop(undone));
}

static void an_edit_in_place_forgets_the_hash(void **state)
{
    hf_map *map = tens(1000), *other = tens(1000);
    uint64_t before, changed, after, expected;
    ok(hf_map_hash(map, &before));
    ok(hf_map_with_take(&map, number(500), number(1)));
    ok(hf_map_hash(map, &changed));
    assert_int_not_equal(changed, before);
    ok(hf_map_with_take(&other, number(500), number(1)));
    ok(hf_map_hash(other, &expected));
    assert_int_equal(changed, expected);
    ok(hf_map_with_take(&map, number(500), number(5000)));
    ok(hf_map_hash(map, &after));
    assert_int_equal(after, before);
    ok(hf_map_without_take(&map, number(500)));
    ok(hf_map_hash(map, &after));
    assert_int_not_equal(after, before);
    ok(hf_map_drop(map));
    ok(hf_map_drop(other));
}

static int equal_mod_10(const hf_type *type, hf_value a, hf_value b)
{
    return a.i64 % 10 == b.i64 % 10;
}

/* Its hash would be of the bits, and equal maps would have different ones. */
static void a_map_whose_values_cannot_be_hashed_has_no_hash(void **state)
{
    static const hf_type mod_10 = {.name = "mod 10", .equal = equal_mod_10};
    static const hf_map_type types = {&hf_type_int64, &mod_10}, outer_types = {&hf_type_int64, &hf_type_map};
    static const hf_map_type keyed_types = {&hf_type_map, &hf_type_int64};
    hf_map *a = empty(&types), *b = empty(&types), *outer = empty(&outer_types), *keyed = empty(&keyed_types);
    uint64_t hash = 7;
    ok(hf_map_with_take(&a, number(1), number(3)));
    ok(hf_map_with_take(&b, number(1), number(13)));
    assert_int_equal(hf_map_equal(a, b), 1);
    assert_int_equal(hf_map_hash(a, &hash), HF_INVALID);
    assert_int_equal(hf_map_hash(b, &hash), HF_INVALID);
    ok(hf_map_with_take(&outer, number(1), hf_value_ptr(a)));
    assert_int_equal(hf_map_hash(outer, &hash), HF_INVALID);
    assert_int_equal(hf_map_with_take(&keyed, hf_value_ptr(a), number(1)), HF_INVALID);
    assert_int_equal(hash, 7);
    assert_int_equal(hf_map_size(keyed), 0);
    assert_int_equal(hf_map_equal(a, b), 1); /* as before */
    ok(hf_map_drop(a));
    ok(hf_map_drop(b));
    ok(hf_map_drop(outer));
    ok(hf_map_drop(keyed));
}

/* -- foreign code that uses the map -- */

/* A type whose functions use the map they are called for, one level deep. */
static hf_map *in_use;
static int depth_of_use, uses;

static void use_the_map(bool makes_versions)
{
    hf_map *version, *other;
    hf_map_iter iter;
    hf_value key, value;
    if (in_use == NULL || depth_of_use > 0)
        return;
    depth_of_use++;
    uses++;
    size_t size = hf_map_size(in_use), seen = 0;
    hf_map_iter_init(&iter, in_use);
    while (hf_map_iter_next(&iter, &key, &value)) {
        assert_int_equal(hf_map_get(in_use, key, &value), 1);
        seen++;
    }
    ok(hf_map_iter_clear(&iter));
    assert_int_equal(seen, size);
    if (makes_versions) {
        ok(hf_map_with(in_use, number(5), number(-1), &version));
        ok(hf_map_without_take(&version, number(6)));
        ok(hf_map_merge(in_use, version, NULL, NULL, &other));
        ok(hf_map_drop(version));
        ok(hf_map_drop(other));
    }
    depth_of_use--;
}

static int using_hash(const hf_type *type, hf_value value, uint64_t *out)
{
    use_the_map(true);
    *out = (uint64_t)value.i64 / 3;
    return 0;
}

static int using_equal(const hf_type *type, hf_value a, hf_value b)
{
    use_the_map(true);
    return a.i64 == b.i64;
}

static int using_keep(const hf_type *type, hf_value *value)
{
    use_the_map(true);
    return 0;
}

/* Makes none: what it drops is freed later, by another call of itself, and so on. */
static int using_drop(const hf_type *type, hf_value value)
{
    use_the_map(false);
    return 0;
}

static void foreign_code_may_use_the_map_it_is_called_for(void **state)
{
    static const hf_type type = {
        .name = "using", .hash = using_hash, .equal = using_equal, .keep = using_keep, .drop = using_drop};
    static const hf_map_type types = {&type, &type};
    hf_map *map = empty(&types), *out;
    uses = 0;
    for (int i = 0; i < 40; i++) {
        in_use = map; /* what *map points to does not change: nobody else has it */
        assert_int_equal(hf_map_with_take(&map, number(i), number(i)), 1);
        assert_ptr_equal(map, in_use);
    }
    for (int i = 0; i < 40; i += 4) {
        assert_int_equal(hf_map_with_take(&map, number(i), number(-i - 1)), 0);
        ok(hf_map_with(map, number(i + 1000), number(i), &out));
        ok(hf_map_drop(out));
        assert_int_equal(hf_map_without_take(&map, number(i + 1)), 1);
        assert_ptr_equal(map, in_use);
    }
    for (int i = 0; i < 40; i++)
        assert_int_equal(hf_map_contains(map, number(i)), i % 4 != 1);
    assert_true(uses > 300);
    in_use = NULL;
    ok(hf_map_check(map, NULL));
    ok(hf_map_drop(map));
}

/* -- collisions -- */

static void many_keys_of_one_hash(void **state)
{
    for (int count = 100; count <= 10000; count *= 100) {
        hf_map *map, *half, *out;
        const char *fault = "none";
        hf_value value;
        hf_pair *pairs = malloc((size_t)count * sizeof *pairs);
        for (int i = 0; i < count; i++)
            pairs[i] = (hf_pair){box_value(i), box_value(i % VALUES)};
        ok(hf_map_from_pairs(&box_maps[HASH_CONSTANT], pairs, (size_t)count, &map));
        half = hf_map_keep(map);
        /* From the newest on, which are found last, so this costs the most. */
        for (int i = count - 1; i >= count / 2; i -= count / 100)
            assert_int_equal(hf_map_without_take(&half, box_value(i)), 1);
        assert_int_equal(hf_map_size(half), count - 50);
        assert_int_equal(hf_map_get(map, box_value(count - 1), &value), 1);
        assert_int_equal(id_of(value), (count - 1) % VALUES);
        assert_int_equal(hf_map_contains(half, box_value(count - 1)), 0);
        assert_int_equal(hf_map_contains(map, box_value(count)), 0);
        if (count == 100) {
            ok(hf_map_check(map, &fault));
            ok(hf_map_merge(half, map, NULL, NULL, &out));
            assert_int_equal(hf_map_equal(out, map), 1);
            ok(hf_map_drop(out));
        }
        ok(hf_map_drop(half));
        ok(hf_map_drop(map));
        free(pairs);
    }
}

/* -- looking inside -- */

static void measure_counts_shared_nodes_once(void **state)
{
    hf_map *map = tens(1000), *next;
    hf_map_stats one, two, both;
    ok(hf_map_with(map, number(1), number(-1), &next));
    const hf_map *maps[] = {map, next, map};
    ok(hf_map_measure(maps, 1, &one));
    ok(hf_map_measure(maps + 1, 1, &two));
    ok(hf_map_measure(maps, 3, &both));
    assert_int_equal(one.nodes, two.nodes);
    assert_int_equal(one.bytes, two.bytes);
    assert_int_equal(both.nodes, one.nodes + 2); /* 1,000 numbers are two levels */
    assert_true(both.bytes > one.bytes && both.bytes < one.bytes + 1200);
    ok(hf_map_measure(NULL, 0, &both));
    assert_int_equal(both.nodes, 0);
    assert_int_equal(both.bytes, 0);
    ok(hf_map_drop(map));
    ok(hf_map_drop(next));
}

static void check_finds_a_type_that_changed_its_mind(void **state)
{
    hash_mode mode = HASH_IDENTITY;
    const hf_type key = {.name = "fickle", .hash = box_hash, .equal = box_equal, .context = &mode};
    const hf_map_type types = {&key, &hf_type_int64};
    hf_map *map = empty(&types);
    const char *fault = NULL;
    for (int i = 0; i < 100; i++)
        ok(hf_map_with_take(&map, box_value(i), number(i)));
    ok(hf_map_check(map, &fault));
    assert_null(fault);
    mode = HASH_MIXED;
    assert_int_equal(hf_map_check(map, &fault), HF_CORRUPT);
    assert_non_null(fault);
    assert_int_equal(hf_map_check(map, NULL), HF_CORRUPT);
    calls.fail_at[CALL_HASH] = atomic_load(&calls.made[CALL_HASH]) + 1;
    assert_int_equal(hf_map_check(map, NULL), FAILED);
    ok(hf_map_drop(map));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SUPPORTED(types_must_be_whole),
        SUPPORTED(a_map_lives_as_long_as_it_has_a_count),
        SUPPORTED(a_failed_drop_is_reported_and_everything_is_dropped),
        SUPPORTED(get_answers_and_leaves_out_alone_otherwise),
        SUPPORTED(extreme_numbers_are_ordinary_keys),
        SUPPORTED(plain_words_of_any_kind_are_compared_by_their_bits),
        SUPPORTED(a_view_is_stored_as_a_counted_copy),
        SUPPORTED(looking_up_with_a_view_allocates_nothing),
        SUPPORTED(counted_strings_are_shared_not_copied),
        SUPPORTED(strings_of_every_length_are_told_apart),
        SUPPORTED(bytes_fail_for_want_of_memory),
        SUPPORTED(with_leaves_the_old_version_alone),
        SUPPORTED(what_changes_nothing_gives_the_same_map),
        SUPPORTED(take_edits_in_place_what_nobody_else_has),
        SUPPORTED(take_copies_what_somebody_else_has),
        SUPPORTED(take_notices_that_foreign_code_kept_the_map),
        SUPPORTED(a_take_whose_drop_fails_has_been_done),
        SUPPORTED(from_pairs_takes_the_first_key_and_the_last_value),
        SUPPORTED(what_is_built_at_once_is_as_what_is_built_one_by_one),
        SUPPORTED(an_iterator_outlives_the_callers_count),
        SUPPORTED(an_iterator_may_be_cleared_half_way),
        SUPPORTED(a_transient_never_changes_its_map),
        SUPPORTED(a_transient_edits_in_place_after_the_first_time),
        SUPPORTED(a_transient_that_changed_nothing_gives_its_map_back),
        SUPPORTED(a_finished_transient_can_only_be_freed),
        SUPPORTED(a_transient_refuses_to_be_used_by_its_own_operation),
        SUPPORTED(what_callbacks_return_travels_up),
        SUPPORTED(maps_of_different_types_do_not_go_together),
        SUPPORTED(structural_operations_cost_what_differs),
        SUPPORTED(an_edit_in_place_forgets_the_hash),
        SUPPORTED(a_map_whose_values_cannot_be_hashed_has_no_hash),
        SUPPORTED(foreign_code_may_use_the_map_it_is_called_for),
        SUPPORTED(many_keys_of_one_hash),
        SUPPORTED(measure_counts_shared_nodes_once),
        SUPPORTED(check_finds_a_type_that_changed_its_mind),
    };
    return cmocka_run_group_tests(tests, support_init, NULL);
}

/*
 * What operations on several maps give where the maps were built apart, of the very same keys and values: a result
 * that equals an operand is that operand, and it takes no keep of a key or value to find out. And merges that leave
 * over a value that a resolver made.
 */
#include "test_map_support.h"

enum { SEEDS = 12 };

/* A map of its own: it shares no nodes, but the boxes of the table, with any other. */
static hf_map *built(const hf_map_type *type, const model *m)
{
    hf_pair pairs[KEYS];
    hf_map *map;
    size_t count = 0;
    for (int key = 0; key < KEYS; key++)
        if (m->value[key] != ABSENT)
            pairs[count++] = (hf_pair){box_value(key), box_value(m->value[key])};
    ok(hf_map_from_pairs(type, pairs, count, &map));
    return map;
}

typedef struct operands {
    hf_map *all, *all_again; /* built apart */
    hf_map *some;            /* without some of its keys */
    hf_map *some_again;
    hf_map *other; /* its keys, and of some of them other values */
    hf_map *none;
} operands;

static void operands_make(operands *o, hash_mode mode, uint64_t seed)
{
    const hf_map_type *type = &box_maps[mode];
    random_source random = {seed};
    model all, some, other;
    model_clear(&all);
    /* One key in many, so that most nodes come out the same in both. */
    for (int key = 0; key < KEYS; key++)
        all.value[key] = random_below(&random, 4) ? (int)random_below(&random, TWINS) : ABSENT;
    some = other = all;
    for (int i = 0; i < 4; i++) {
        int lost = (int)random_below(&random, KEYS), changed = (int)random_below(&random, KEYS);
        some.value[lost] = ABSENT;
        if (other.value[changed] != ABSENT)
            other.value[changed] = (other.value[changed] + 1) % VALUES;
    }
    o->all = built(type, &all);
    o->all_again = built(type, &all);
    o->some = built(type, &some);
    o->some_again = built(type, &some);
    o->other = built(type, &other);
    ok(hf_map_new(type, &o->none));
    calls_reset();
}

static void operands_drop(operands *o)
{
    ok(hf_map_drop(o->all));
    ok(hf_map_drop(o->all_again));
    ok(hf_map_drop(o->some));
    ok(hf_map_drop(o->some_again));
    ok(hf_map_drop(o->other));
    ok(hf_map_drop(o->none));
}

/* The result of an operation that had nothing to build. */
static void assert_is(hf_map *result, const hf_map *operand)
{
    assert_ptr_equal(result, operand);
    assert_int_equal(atomic_load(&calls.made[CALL_KEEP]), 0);
    ok(hf_map_drop(result));
}

static void assert_merges_to(const hf_map *left, const hf_map *right, const hf_map *expected)
{
    hf_map *result;
    ok(hf_map_merge(left, right, NULL, NULL, &result));
    assert_is(result, expected);
}

static void assert_intersects_to(const hf_map *left, const hf_map *right, const hf_map *expected)
{
    hf_map *result;
    ok(hf_map_intersection(left, right, &result));
    assert_is(result, expected);
}

static void assert_merges3_to(const hf_map *base, const hf_map *mine, const hf_map *theirs, const hf_map *expected)
{
    hf_map *result;
    ok(hf_map_merge3(base, mine, theirs, NULL, NULL, &result));
    assert_is(result, expected);
}

static void a_result_that_equals_an_operand_is_that_operand(void **state)
{
    operands o;
    for (int mode = 0; mode < HASH_MODES; mode++)
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            operands_make(&o, (hash_mode)mode, seed);
            assert_merges_to(o.all, o.all_again, o.all);
            assert_merges_to(o.all, o.some, o.all);
            assert_merges_to(o.some, o.all, o.all);
            assert_merges_to(o.other, o.all, o.all);
            assert_merges_to(o.all, o.other, o.other);

            assert_intersects_to(o.all, o.all_again, o.all);
            assert_intersects_to(o.all, o.some, o.some);
            assert_intersects_to(o.some, o.all, o.some);
            assert_intersects_to(o.all, o.other, o.all);

            assert_merges3_to(o.none, o.all, o.all_again, o.all);
            assert_merges3_to(o.none, o.some, o.all, o.all);
            assert_merges3_to(o.none, o.all, o.some, o.all);
            assert_merges3_to(o.some, o.some_again, o.all, o.all);
            assert_merges3_to(o.some, o.all, o.some_again, o.all);
            assert_merges3_to(o.all, o.all_again, o.some, o.some);
            assert_merges3_to(o.all, o.some, o.all_again, o.some);
            operands_drop(&o);
        }
}

static int resolve_anew(void *user, hf_value key, const hf_value *base, const hf_value *mine, const hf_value *theirs,
                        hf_value *made)
{
    ++*(int *)user;
    *made = box_counted(7);
    return HF_CHOOSE_NEW;
}

/* One side changed the only key, the other replaced it by one in the same slot: the made value and the new key come
 * to a node, which counts them itself. */
static void a_value_made_for_one_of_two_keys_in_a_slot_is_not_lost(void **state)
{
    for (int mode = 0; mode < HASH_MODES; mode++)
        for (int swapped = 0; swapped < 2; swapped++) {
            model base, changed, replaced, expected;
            int asked = 0;
            hf_map *maps[3], *result;
            model_clear(&base);
            changed = replaced = expected = base;
            base.value[32] = 1;
            changed.value[32] = 2;
            replaced.value[64] = 3;
            expected.value[32] = 7;
            expected.value[64] = 3;
            maps[0] = built(&box_maps[mode], &base);
            maps[1] = built(&box_maps[mode], swapped ? &replaced : &changed);
            maps[2] = built(&box_maps[mode], swapped ? &changed : &replaced);
            ok(hf_map_merge3(maps[0], maps[1], maps[2], resolve_anew, &asked, &result));
            assert_int_equal(asked, 1);
            assert_is_model(result, &expected);
            ok(hf_map_drop(result));
            for (int i = 0; i < 3; i++)
                ok(hf_map_drop(maps[i]));
            assert_int_equal(box_counts(), 0);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SUPPORTED(a_result_that_equals_an_operand_is_that_operand),
        SUPPORTED(a_value_made_for_one_of_two_keys_in_a_slot_is_not_lost),
    };
    return cmocka_run_group_tests(tests, support_init, NULL);
}

/*
 * Every operation with every allocation, and every call of foreign code, failing in turn: the failure is reported, the
 * operands are as they were, and nothing is lost.
 */
#include "test_map_support.h"

typedef struct operands {
    const hf_map_type *type;
    hf_map *a, *b, *c; /* b and c have a part of their nodes in common with a */
    model in_a, in_b, in_c;
    model edited; /* what an edit of a makes of it */
    int key, value;
} operands;

/* Returns a status; *out is a result, if there is one; o->a may be consumed and replaced. */
typedef int operation(operands *o, hf_map **out);

static int with(operands *o, hf_map **out)
{
    return hf_map_with(o->a, VIEW(o->key), VIEW(o->value), out);
}

static int without(operands *o, hf_map **out)
{
    return hf_map_without(o->a, VIEW(o->key), out);
}

static int with_take(operands *o, hf_map **out)
{
    return hf_map_with_take(&o->a, VIEW(o->key), VIEW(o->value));
}

static int without_take(operands *o, hf_map **out)
{
    return hf_map_without_take(&o->a, VIEW(o->key));
}

static int from_pairs(operands *o, hf_map **out)
{
    hf_pair pairs[2 * KEYS];
    box views[2 * KEYS];
    size_t count = 0;
    for (int pass = 0; pass < 2; pass++) {
        const model *m = pass == 0 ? &o->in_a : &o->in_b;
        for (int key = 0; key < KEYS; key++) {
            if (m->value[key] == ABSENT)
                continue;
            views[count] = (box){.id = key, .is_view = true};
            pairs[count] = (hf_pair){hf_value_ptr(&views[count]), box_value(m->value[key])};
            count++;
        }
    }
    return hf_map_from_pairs(o->type, pairs, count, out);
}

static int resolve(void *user, hf_value key, hf_value left, hf_value right, hf_value *made)
{
    if (call_fails(CALL_RESOLVE))
        return FAILED;
    int64_t id = id_of(key);
    if (id % 4 == HF_CHOOSE_NEW)
        *made = box_counted(id % VALUES);
    return (int)(id % 4);
}

static int resolve3(void *user, hf_value key, const hf_value *base, const hf_value *mine, const hf_value *theirs,
                    hf_value *made)
{
    return resolve(user, key, key, key, made);
}

static int leave_open(void *user, hf_value key, const hf_value *base, const hf_value *mine, const hf_value *theirs,
                      hf_value *made)
{
    return call_fails(CALL_RESOLVE) ? FAILED : HF_CHOOSE_OPEN;
}

static int on_change(void *user, hf_value key, const hf_value *before, const hf_value *after)
{
    return call_fails(CALL_RESOLVE) ? FAILED : 0;
}

static int merge(operands *o, hf_map **out)
{
    return hf_map_merge(o->a, o->b, NULL, NULL, out);
}

static int merge_resolved(operands *o, hf_map **out)
{
    return hf_map_merge(o->a, o->b, resolve, NULL, out);
}

static int intersection(operands *o, hf_map **out)
{
    return hf_map_intersection(o->a, o->b, out);
}

static int difference(operands *o, hf_map **out)
{
    return hf_map_difference(o->a, o->b, out);
}

static int symmetric_difference(operands *o, hf_map **out)
{
    return hf_map_symmetric_difference(o->a, o->b, out);
}

static int merge3(operands *o, hf_map **out)
{
    return hf_map_merge3(o->a, o->b, o->c, resolve3, NULL, out);
}

/* Always fails, after it has done all the work. */
static int merge3_open(operands *o, hf_map **out)
{
    int status = hf_map_merge3(o->a, o->b, o->c, leave_open, NULL, out);
    return status == HF_CONFLICT ? 0 : status;
}

static int diff(operands *o, hf_map **out)
{
    return hf_map_diff(o->a, o->b, on_change, NULL);
}

static int equal(operands *o, hf_map **out)
{
    /* b has other values than a only in the end, so that all of it is compared. */
    return hf_map_equal(o->a, o->b);
}

static int hash(operands *o, hf_map **out)
{
    uint64_t found;
    return hf_map_hash(o->a, &found);
}

static int check(operands *o, hf_map **out)
{
    return hf_map_check(o->a, NULL);
}

static int get(operands *o, hf_map **out)
{
    return hf_map_get(o->a, VIEW(o->key), NULL);
}

static int measure(operands *o, hf_map **out)
{
    const hf_map *maps[] = {o->a, o->b, o->c};
    hf_map_stats stats;
    return hf_map_measure(maps, 3, &stats);
}

/* A few edits of a transient, each of which is tried again if it fails. */
static int transient(operands *o, hf_map **out)
{
    hf_map_transient *edited;
    int first = 0, status = hf_map_transient_new(o->a, &edited);
    if (status < 0)
        return status;
    model m = o->in_a;
    for (int i = 0; i < 6; i++) {
        int key = (o->key + i / 2) % KEYS;
        for (int attempt = 0; attempt < 2; attempt++) {
            status = i % 2 ? hf_map_transient_remove(edited, VIEW(key))
                           : hf_map_transient_put(edited, VIEW(key), VIEW(o->value));
            first = first < 0 ? first : status;
            size_t size;
            ok(hf_map_transient_size(edited, &size));
            if (status >= 0 || status == DROP_FAILED)
                m.value[key] = i % 2 ? ABSENT : o->value;
            assert_int_equal(size, model_size(&m));
            if (status >= 0)
                break;
        }
    }
    hf_map *result;
    status = hf_map_transient_persist(edited, &result);
    first = first < 0 ? first : status;
    if (status < 0)
        ok(hf_map_transient_persist(edited, &result));
    assert_int_equal(hf_map_size(result), model_size(&m));
    status = hf_map_drop(result);
    first = first < 0 ? first : status;
    status = hf_map_transient_free(edited);
    return first < 0 ? first : status;
}

static const struct named_operation {
    const char *name;
    operation *run;
    bool in_place;
} operations[] = {
    {"with", with, false},
    {"without", without, false},
    {"with_take", with_take, true},
    {"without_take", without_take, true},
    {"from_pairs", from_pairs, false},
    {"merge", merge, false},
    {"merge_resolved", merge_resolved, false},
    {"intersection", intersection, false},
    {"difference", difference, false},
    {"symmetric_difference", symmetric_difference, false},
    {"merge3", merge3, false},
    {"merge3_open", merge3_open, false},
    {"diff", diff, false},
    {"equal", equal, false},
    {"hash", hash, false},
    {"check", check, false},
    {"get", get, false},
    {"measure", measure, false},
    {"transient", transient, false},
};

enum { OPERATIONS = sizeof operations / sizeof *operations };

/* -- operands -- */

static hf_map *map_of(const hf_map_type *type, const model *m)
{
    hf_map *map;
    ok(hf_map_new(type, &map));
    for (int key = 0; key < KEYS; key++)
        if (m->value[key] != ABSENT)
            ok(hf_map_with_take(&map, box_value(key), box_value(m->value[key])));
    return map;
}

/* Another version of a map, with what differs in the model. */
static hf_map *version_of(const hf_map *map, const model *from, const model *to)
{
    hf_map *version = hf_map_keep(map);
    for (int key = 0; key < KEYS; key++) {
        if (from->value[key] == to->value[key])
            continue;
        if (to->value[key] == ABSENT)
            ok(hf_map_without_take(&version, box_value(key)));
        else
            ok(hf_map_with_take(&version, box_value(key), box_value(to->value[key])));
    }
    return version;
}

static void operands_choose(operands *o, uint64_t seed, bool removes)
{
    random_source random = {seed};
    /* With few hashes everything is compared with everything: fewer keys do. */
    int keys = o->type == &box_maps[HASH_CONSTANT] || o->type == &box_maps[HASH_GROUPS] ? 24 : KEYS;
    model_clear(&o->in_a);
    o->in_b = o->in_c = o->in_a;
    for (int key = 0; key < keys; key++) {
        int value = random_below(&random, 3) ? (int)random_below(&random, TWINS) : ABSENT;
        o->in_a.value[key] = o->in_b.value[key] = o->in_c.value[key] = value;
        if (random_below(&random, 4) == 0)
            o->in_b.value[key] = random_below(&random, 2) ? (int)random_below(&random, VALUES) : ABSENT;
        if (random_below(&random, 4) == 0)
            o->in_c.value[key] = random_below(&random, 2) ? (int)random_below(&random, VALUES) : ABSENT;
    }
    o->key = (int)random_below(&random, keys);
    o->value = (int)random_below(&random, TWINS);
    o->edited = o->in_a;
    o->edited.value[o->key] = removes ? ABSENT : o->value;
}

/* `shared`: nodes are shared, so that little can be done in place. */
static void operands_make(operands *o, bool shared)
{
    o->a = map_of(o->type, &o->in_a);
    o->b = shared ? version_of(o->a, &o->in_a, &o->in_b) : map_of(o->type, &o->in_b);
    o->c = shared ? version_of(o->a, &o->in_a, &o->in_c) : map_of(o->type, &o->in_c);
    calls_reset();
}

static void operands_drop(operands *o)
{
    ok(hf_map_drop(o->a));
    ok(hf_map_drop(o->b));
    ok(hf_map_drop(o->c));
    assert_int_equal(box_counts(), 0);
    assert_int_equal(atomic_load(&blocks), 0);
}

/* -- failing -- */

enum { FAIL_ALLOC = CALLS, KINDS };

static void arm(int kind, uint64_t n)
{
    if (kind == FAIL_ALLOC)
        hf_fault_arm(HF_FAULT_ALLOC, n, ENOMEM);
    else
        calls.fail_at[kind] = n;
}

/* Whether the failure came about. */
static bool disarm(int kind, uint64_t n)
{
    bool failed = kind == FAIL_ALLOC ? hf_fault_failed(HF_FAULT_ALLOC) > 0 : atomic_load(&calls.made[kind]) >= n;
    hf_fault_disarm();
    calls_reset();
    return failed;
}

/* Runs an operation with the n-th call of a kind failing, for every n. Returns how many failed. */
static int fail_each(const struct named_operation *op, operands *o, bool shared, int kind)
{
    static const int expected[KINDS] = {FAILED, FAILED, FAILED, DROP_FAILED, FAILED, HF_NOMEM};
    for (uint64_t n = 1;; n++) {
        hf_map *out = NULL;
        operands_make(o, shared);
        int64_t counts = box_counts(), blocks_before = atomic_load(&blocks);
        arm(kind, n);
        int status = op->run(o, &out);
        bool failed = disarm(kind, n);
        /* A drop that fails while a failed merge is undone has nothing to add. */
        bool conflict = kind == CALL_DROP && op->run == merge3_open;
        if (failed && status != expected[kind] && !conflict)
            fail_msg("%s: %d, not %d, with call %llu of kind %d failing", op->name, status, expected[kind],
                     (unsigned long long)n, kind);
        bool done = !failed || (kind == CALL_DROP && op->in_place);
        assert_is_model(o->a, done && op->in_place ? &o->edited : &o->in_a);
        assert_is_model(o->b, &o->in_b);
        assert_is_model(o->c, &o->in_c);
        if (failed) {
            assert_null(out);
            if (!done)
                assert_int_equal(box_counts(), counts);
            if (!done)
                assert_int_equal(atomic_load(&blocks), blocks_before);
        } else {
            assert_true(status >= 0);
            ok(hf_map_drop(out));
        }
        operands_drop(o);
        if (!failed)
            return (int)n - 1;
    }
}

static void fail_all(hash_mode mode)
{
    int failures[KINDS] = {0};
    for (int op = 0; op < OPERATIONS; op++) {
        for (uint64_t seed = 1; seed <= 2; seed++) {
            operands o = {.type = &box_maps[mode]};
            operands_choose(&o, seed * 7919 + (uint64_t)mode, operations[op].run == without_take);
            for (int kind = 0; kind < KINDS; kind++)
                failures[kind] += fail_each(&operations[op], &o, seed % 2, kind);
        }
    }
    for (int kind = 0; kind < KINDS; kind++)
        assert_true(failures[kind] > 0);
}

/* Two keys whose hashes differ in the last level, or not at all: between them and the root is a chain of nodes, one a
 * level, each of which may be the one that there is no memory for. */
static void split_far_down(int other)
{
    operands o = {.type = &box_maps[HASH_HIGH_4], .key = other, .value = 3};
    model_clear(&o.in_a);
    o.in_b = o.in_c = o.in_a;
    o.in_a.value[1] = o.in_c.value[1] = 2;
    o.in_b.value[other] = 3;
    o.edited = o.in_a;
    o.edited.value[other] = 3;
    for (int op = 0; op < OPERATIONS; op++) {
        operation *run = operations[op].run;
        if (run == with || run == with_take || run == merge || run == symmetric_difference || run == from_pairs)
            assert_true(fail_each(&operations[op], &o, false, FAIL_ALLOC) > 12);
    }
}

static void a_chain_of_nodes_that_breaks_off(void **state)
{
    split_far_down(2);
    split_far_down(17);
}

#define FAIL_ALL(name, mode)       \
    static void name(void **state) \
    {                              \
        fail_all(mode);            \
    }

FAIL_ALL(with_good_hashes, HASH_MIXED)
FAIL_ALL(with_equal_low_10_bits, HASH_LOW_10)
FAIL_ALL(with_equal_low_60_bits, HASH_HIGH_4)
FAIL_ALL(with_five_hashes, HASH_GROUPS)
FAIL_ALL(with_one_hash, HASH_CONSTANT)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SUPPORTED(with_good_hashes), SUPPORTED(with_equal_low_10_bits), SUPPORTED(with_equal_low_60_bits),
        SUPPORTED(with_five_hashes), SUPPORTED(with_one_hash),          SUPPORTED(a_chain_of_nodes_that_breaks_off),
    };
    return cmocka_run_group_tests(tests, support_init, NULL);
}

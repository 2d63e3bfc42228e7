/*
 * Random programs of map operations, each checked against a plain array, for key hashes from good to constant.
 * HF_TEST_SEED=n runs the programs of another seed; TORTURE=1 runs many more, of a new seed each time.
 */
#include "test_map_support.h"

#include <time.h>

enum { SLOTS = 6, STEPS = 1500 };

typedef struct slot {
    hf_map *map;
    model model;
} slot;

typedef struct program {
    random_source random;
    const hf_map_type *type;
    int keys; /* how many different ones are used */
    slot slots[SLOTS];
} program;

static int64_t pick(program *p, int64_t limit)
{
    return random_below(&p->random, limit);
}

static int pick_key(program *p)
{
    return (int)pick(p, p->keys);
}

static int pick_value(program *p)
{
    return (int)pick(p, TWINS);
}

static slot *pick_slot(program *p)
{
    return &p->slots[pick(p, SLOTS)];
}

/* Puts a result in a slot; the map that was there goes. */
static void store(slot *to, hf_map *map, const model *m)
{
    assert_is_model(map, m);
    model copy = *m;
    ok(hf_map_drop(to->map));
    to->map = map;
    to->model = copy;
}

/* A result that is as an operand was is that operand. */
static void assert_shared(const hf_map *result, const model *m, const slot *a, const slot *b)
{
    bool is_a = model_identical(m, &a->model), is_b = b != NULL && model_identical(m, &b->model);
    if (is_a || is_b)
        assert_true((is_a && result == a->map) || (is_b && result == b->map));
}

static void step_with(program *p)
{
    slot *from = pick_slot(p);
    int key = pick_key(p), value = pick_value(p);
    model m = from->model;
    hf_map *map;
    int added = m.value[key] == ABSENT;
    m.value[key] = value;
    /* A view has other bits than the box that is stored, so the map cannot know that it changes nothing. */
    bool view = pick(p, 2);
    assert_int_equal(hf_map_with(from->map, VIEW(key), view ? VIEW(value) : box_value(value), &map), added);
    if (!view)
        assert_shared(map, &m, from, NULL);
    store(pick_slot(p), map, &m);
}

static void step_without(program *p)
{
    slot *from = pick_slot(p);
    int key = pick_key(p);
    model m = from->model;
    hf_map *map;
    int removed = m.value[key] != ABSENT;
    m.value[key] = ABSENT;
    assert_int_equal(hf_map_without(from->map, VIEW(key), &map), removed);
    assert_shared(map, &m, from, NULL);
    store(pick_slot(p), map, &m);
}

/* A few edits that consume; at times of a map that others hold. */
static void step_take(program *p)
{
    slot *s = pick_slot(p);
    hf_map *other = pick(p, 2) ? hf_map_keep(s->map) : NULL;
    model before = s->model;
    for (int64_t i = pick(p, 8); i >= 0; i--) {
        int key = pick_key(p), value = pick_value(p);
        bool there = s->model.value[key] != ABSENT;
        if (pick(p, 2)) {
            assert_int_equal(hf_map_with_take(&s->map, VIEW(key), VIEW(value)), !there);
            s->model.value[key] = value;
        } else {
            assert_int_equal(hf_map_without_take(&s->map, VIEW(key)), there);
            s->model.value[key] = ABSENT;
        }
        assert_is_model(s->map, &s->model);
    }
    if (other != NULL) {
        assert_is_model(other, &before);
        ok(hf_map_drop(other));
    }
}

static void step_transient(program *p)
{
    slot *from = pick_slot(p);
    model m = from->model;
    hf_map_transient *transient;
    hf_map *map;
    ok(hf_map_transient_new(from->map, &transient));
    for (int64_t i = pick(p, 20); i > 0; i--) {
        int key = pick_key(p), value = pick_value(p);
        bool there = m.value[key] != ABSENT;
        hf_value found;
        assert_int_equal(hf_map_transient_get(transient, VIEW(key), &found), there);
        if (there)
            assert_int_equal(id_of(found), m.value[key]);
        if (pick(p, 3)) {
            assert_int_equal(hf_map_transient_put(transient, VIEW(key), VIEW(value)), !there);
            m.value[key] = value;
        } else {
            assert_int_equal(hf_map_transient_remove(transient, VIEW(key)), there);
            m.value[key] = ABSENT;
        }
        size_t size;
        ok(hf_map_transient_size(transient, &size));
        assert_int_equal(size, model_size(&m));
    }
    assert_is_model(from->map, &from->model);
    ok(hf_map_transient_persist(transient, &map));
    ok(hf_map_transient_free(transient));
    store(pick_slot(p), map, &m);
}

static void step_build(program *p)
{
    hf_pair pairs[3 * KEYS];
    box views[6 * KEYS];
    model m;
    hf_map *map;
    size_t count = (size_t)pick(p, pick(p, 2) ? 3 * KEYS : 12);
    model_clear(&m);
    for (size_t i = 0; i < count; i++) {
        int key = pick_key(p), value = pick_value(p);
        views[2 * i] = (box){.id = key, .is_view = true};
        views[2 * i + 1] = (box){.id = value, .is_view = true};
        pairs[i] = (hf_pair){hf_value_ptr(&views[2 * i]), hf_value_ptr(&views[2 * i + 1])};
        m.value[key] = value;
    }
    ok(hf_map_from_pairs(p->type, pairs, count, &map));
    store(pick_slot(p), map, &m);
}

_Static_assert((int)CHOOSE_LEFT == HF_CHOOSE_LEFT && (int)CHOOSE_RIGHT == HF_CHOOSE_RIGHT &&
                   (int)CHOOSE_NEW == HF_CHOOSE_NEW && (int)CHOOSE_NONE == HF_CHOOSE_NONE,
               "a choice is a hf_choice");

static int resolve(void *user, hf_value key, hf_value left, hf_value right, hf_value *made)
{
    int value;
    choice chosen = choice_of((int)id_of(key), (int)id_of(left), (int)id_of(right), TWINS, &value);
    if (chosen == CHOOSE_NEW)
        *made = box_counted(value);
    return (int)chosen;
}

static void step_merge(program *p)
{
    slot *left = pick_slot(p), *right = pick_slot(p);
    bool resolved = pick(p, 2);
    model m = right->model;
    hf_map *map;
    for (int key = 0; key < KEYS; key++) {
        int l = left->model.value[key], r = right->model.value[key], made;
        if (r == ABSENT) {
            m.value[key] = l;
        } else if (l != ABSENT && resolved) {
            choice chosen = choice_of(key, l, r, TWINS, &made);
            m.value[key] = settled(chosen, l, r, made);
        }
    }
    ok(hf_map_merge(left->map, right->map, resolved ? resolve : NULL, NULL, &map));
    assert_shared(map, &m, left, right);
    store(pick_slot(p), map, &m);
}

static void step_algebra(program *p)
{
    slot *left = pick_slot(p), *right = pick_slot(p);
    int64_t which = pick(p, 3);
    model m;
    hf_map *map;
    for (int key = 0; key < KEYS; key++) {
        int l = left->model.value[key], r = right->model.value[key];
        bool both = l != ABSENT && r != ABSENT;
        m.value[key] = which == 0   ? (both ? l : ABSENT)
                       : which == 1 ? (both ? ABSENT : l)
                                    : (both          ? ABSENT
                                       : l != ABSENT ? l
                                                     : r);
    }
    if (which == 0)
        ok(hf_map_intersection(left->map, right->map, &map));
    else if (which == 1)
        ok(hf_map_difference(left->map, right->map, &map));
    else
        ok(hf_map_symmetric_difference(left->map, right->map, &map));
    assert_shared(map, &m, left, which == 2 ? right : NULL);
    store(pick_slot(p), map, &m);
}

typedef struct conflicts {
    const model *base, *mine, *theirs;
    bool open; /* leave them all open */
    int seen[KEYS];
} conflicts;

static choice choice3_of(int key, int base, int mine, int theirs, int *made)
{
    return choice_of(key * 31 + base, mine, theirs, TWINS, made);
}

static void assert_value(const hf_value *value, int expected)
{
    if (expected == ABSENT)
        assert_null(value);
    else
        assert_int_equal(id_of(*value), expected);
}

static int resolve3(void *user, hf_value key, const hf_value *base, const hf_value *mine, const hf_value *theirs,
                    hf_value *made)
{
    conflicts *found = user;
    int id = (int)id_of(key), value;
    assert_value(base, found->base->value[id]);
    assert_value(mine, found->mine->value[id]);
    assert_value(theirs, found->theirs->value[id]);
    found->seen[id]++;
    if (found->open)
        return HF_CHOOSE_OPEN;
    choice chosen = choice3_of(id, found->base->value[id], found->mine->value[id], found->theirs->value[id], &value);
    if (chosen == CHOOSE_NEW)
        *made = box_counted(value);
    return (int)chosen;
}

/* The merge of one key: 1 if it is a conflict. */
static int merge_key(int key, int base, int mine, int theirs, int *out)
{
    int made;
    *out = mine;
    if (value_alike(mine, theirs) || value_alike(base, theirs))
        return 0;
    *out = theirs;
    if (value_alike(base, mine))
        return 0;
    choice chosen = choice3_of(key, base, mine, theirs, &made);
    *out = settled(chosen, mine, theirs, made);
    return 1;
}

/* Where values are equal and not identical, which of them the merge takes is its own affair. */
static void take_alike(const hf_map *map, model *m)
{
    for (int key = 0; key < KEYS; key++) {
        hf_value value;
        if (hf_map_get(map, VIEW(key), &value) == 1 && value_alike((int)id_of(value), m->value[key]))
            m->value[key] = (int)id_of(value);
    }
}

static void step_merge3(program *p)
{
    slot *base = pick_slot(p), *mine = pick_slot(p), *theirs = pick_slot(p);
    conflicts found = {.base = &base->model, .mine = &mine->model, .theirs = &theirs->model, .open = pick(p, 2)};
    hf_map *map = NULL;
    model m;
    int expected[KEYS], count = 0;
    for (int key = 0; key < KEYS; key++) {
        expected[key] =
            merge_key(key, base->model.value[key], mine->model.value[key], theirs->model.value[key], &m.value[key]);
        count += expected[key];
    }
    int status = hf_map_merge3(base->map, mine->map, theirs->map, resolve3, &found, &map);
    assert_memory_equal(found.seen, expected, sizeof expected);
    assert_int_equal(status, found.open && count > 0 ? HF_CONFLICT : 0);
    if (count > 0)
        assert_int_equal(hf_map_merge3(base->map, mine->map, theirs->map, NULL, NULL, &map), HF_CONFLICT);
    if (status == 0) {
        take_alike(map, &m);
        /* Where only one side changed a node, the merge takes it unseen; so it cannot know more than this. */
        if (base->map == mine->map)
            assert_true(map == theirs->map || (map == mine->map && model_identical(&mine->model, &theirs->model)));
        else if (base->map == theirs->map || mine->map == theirs->map)
            assert_ptr_equal(map, mine->map);
        store(pick_slot(p), map, &m);
    }
}

typedef struct changes {
    const model *before, *after;
    int seen[KEYS];
    int left; /* stop when this many more were seen */
} changes;

static int on_change(void *user, hf_value key, const hf_value *before, const hf_value *after)
{
    changes *found = user;
    int64_t id = id_of(key);
    assert_value(before, found->before->value[id]);
    assert_value(after, found->after->value[id]);
    found->seen[id]++;
    return --found->left == 0;
}

static void step_compare(program *p)
{
    slot *a = pick_slot(p), *b = pick_slot(p);
    changes found = {.before = &a->model, .after = &b->model};
    int expected[KEYS], count = 0;
    for (int key = 0; key < KEYS; key++)
        count += expected[key] = !value_alike(a->model.value[key], b->model.value[key]);
    assert_int_equal(hf_map_diff(a->map, b->map, on_change, &found), 0);
    assert_memory_equal(found.seen, expected, sizeof expected);
    if (count > 0) {
        found.left = 1 + (int)pick(p, count);
        assert_int_equal(hf_map_diff(a->map, b->map, on_change, &found), 1);
        assert_int_equal(found.left, 0);
    }

    assert_int_equal(hf_map_equal(a->map, b->map), count == 0);
    uint64_t hash_a, hash_b;
    ok(hf_map_hash(a->map, &hash_a));
    ok(hf_map_hash(b->map, &hash_b));
    if (count == 0)
        assert_int_equal(hash_a, hash_b);
}

/* The same contents, come by another way: built anew, in another order. */
static void step_rebuild(program *p)
{
    slot *from = pick_slot(p);
    hf_map *map;
    uint64_t hash_a, hash_b;
    int at = pick_key(p);
    ok(hf_map_new(p->type, &map));
    for (int i = 0; i < KEYS; i++, at = (at + 7) % KEYS) /* KEYS is no multiple of 7 */
        if (from->model.value[at] != ABSENT)
            ok(hf_map_with_take(&map, VIEW(at), VIEW(from->model.value[at] ^ VALUES)));
    assert_int_equal(hf_map_equal(map, from->map), 1);
    ok(hf_map_hash(map, &hash_a));
    ok(hf_map_hash(from->map, &hash_b));
    assert_int_equal(hash_a, hash_b);
    ok(hf_map_drop(map));
}

static void run(uint64_t seed, hash_mode mode, int keys)
{
    static void (*const steps[])(program *) = {
        step_with,  step_with,  step_without, step_take,   step_take,    step_transient,
        step_build, step_merge, step_algebra, step_merge3, step_compare, step_rebuild,
    };
    program p = {.random.state = seed * 1000 + (uint64_t)mode, .type = &box_maps[mode], .keys = keys};
    for (int i = 0; i < SLOTS; i++) {
        ok(hf_map_new(p.type, &p.slots[i].map));
        model_clear(&p.slots[i].model);
    }
    for (int i = 0; i < STEPS; i++)
        steps[pick(&p, sizeof steps / sizeof *steps)](&p);
    for (int i = 0; i < SLOTS; i++) {
        assert_is_model(p.slots[i].map, &p.slots[i].model);
        ok(hf_map_drop(p.slots[i].map));
    }
    assert_int_equal(box_counts(), 0);
}

static uint64_t seed;

static void programs_with(hash_mode mode)
{
    uint64_t rounds = getenv("TORTURE") != NULL ? 50 : 1;
    for (uint64_t round = 0; round < rounds; round++) {
        run(seed + 3 * round, mode, KEYS);
        run(seed + 3 * round + 1, mode, 20);
        run(seed + 3 * round + 2, mode, 4);
    }
}

#define PROGRAMS(name, mode)       \
    static void name(void **state) \
    {                              \
        programs_with(mode);       \
    }

PROGRAMS(programs_with_good_hashes, HASH_MIXED)
PROGRAMS(programs_with_identity_hashes, HASH_IDENTITY)
PROGRAMS(programs_with_equal_low_5_bits, HASH_LOW_5)
PROGRAMS(programs_with_equal_low_10_bits, HASH_LOW_10)
PROGRAMS(programs_with_equal_low_60_bits, HASH_HIGH_4)
PROGRAMS(programs_with_five_hashes, HASH_GROUPS)
PROGRAMS(programs_with_one_hash, HASH_CONSTANT)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SUPPORTED(programs_with_good_hashes),       SUPPORTED(programs_with_identity_hashes),
        SUPPORTED(programs_with_equal_low_5_bits),  SUPPORTED(programs_with_equal_low_10_bits),
        SUPPORTED(programs_with_equal_low_60_bits), SUPPORTED(programs_with_five_hashes),
        SUPPORTED(programs_with_one_hash),
    };
    const char *given = getenv("HF_TEST_SEED");
    seed = given != NULL ? strtoull(given, NULL, 10) : getenv("TORTURE") != NULL ? (uint64_t)time(NULL) : 1;
    print_message("HF_TEST_SEED=%llu\n", (unsigned long long)seed);
    return cmocka_run_group_tests(tests, support_init, NULL);
}

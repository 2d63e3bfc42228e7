/*
 * Random programs on a map and on a model of it, an array, which must be the same after each step: with keys in all their
 * forms, values of all kinds and sizes, transactions in transactions, snapshots that are held, and a second handle.
 */
#include "test_shared_support.h"

enum { ABSENT = -1, DEEPEST = 4, HELD = 4 };

typedef struct model {
    int value[KEYS];
    unsigned form[KEYS];
    unsigned count;
} model;

typedef struct program {
    hf_shared *map, *second;
    random_source random;
    model levels[DEEPEST + 1]; /* [0] is what is published */
    unsigned depth;
    struct {
        hf_shared_snapshot *snapshot;
        model was;
    } held[HELD];
} program;

static value_text text_a, text_b, text_c;

static model *now(program *p)
{
    return &p->levels[p->depth];
}

static void model_clear(model *m)
{
    m->count = 0;
    for (unsigned i = 0; i < KEYS; i++)
        m->value[i] = ABSENT;
}

static void model_set(model *m, unsigned key, unsigned form, int value)
{
    if (m->value[key] == ABSENT) {
        m->form[key] = form;
        m->count++;
    }
    m->value[key] = value;
}

static void model_remove(model *m, unsigned key)
{
    m->count -= m->value[key] != ABSENT;
    m->value[key] = ABSENT;
}

/* Sums are values too: beyond the others. */
static hf_datum datum_of(int value, value_text *text)
{
    return value >= VALUES ? hf_datum_int(value) : value_of((unsigned)value, text);
}

/* -- comparing -- */

static void expect_datum(const hf_datum *found, int value)
{
    hf_datum expected = datum_of(value, &text_c);
    assert_true(datum_is(found, &expected));
}

typedef struct walk {
    const model *m;
    bool seen[KEYS];
    unsigned count;
} walk;

static unsigned number_of(const hf_datum *key, const model *m)
{
    static key_text text;
    for (unsigned i = 0; i < KEYS; i++) {
        if (m->value[i] == ABSENT)
            continue;
        hf_datum is = key_of(i, m->form[i], &text);
        if (datum_is(key, &is))
            return i;
    }
    fail_msg("a key that is not in the model, or in another form");
    return 0;
}

static int walked(void *arg, const hf_datum *key, const hf_datum *value)
{
    walk *w = arg;
    unsigned number = number_of(key, w->m);
    assert_false(w->seen[number]);
    w->seen[number] = true;
    w->count++;
    expect_datum(value, w->m->value[number]);
    return 0;
}

static void expect_snapshot(const hf_shared_snapshot *snapshot, const model *m)
{
    static key_text text;
    walk w = {.m = m};
    assert_int_equal(hf_shared_snapshot_count(snapshot), m->count);
    ok(hf_shared_snapshot_walk(snapshot, walked, &w));
    assert_int_equal(w.count, m->count);
    for (unsigned i = 0; i < KEYS; i++) {
        hf_datum key = key_of(i, i * 7 + m->count, &text), value;
        says(hf_shared_snapshot_get(snapshot, &key, &value), m->value[i] != ABSENT);
        if (m->value[i] != ABSENT)
            expect_datum(&value, m->value[i]);
    }
}

/* What this thread's transaction has, or the newest version. */
static void expect_map(hf_shared *map, const model *m, unsigned from)
{
    static key_text text;
    hf_shared_room room = {0};
    uint64_t count;
    ok(hf_shared_count(map, &count));
    assert_int_equal(count, m->count);
    for (unsigned i = from; i < KEYS; i += 7) {
        hf_datum key = key_of(i, from, &text), value;
        says(hf_shared_get(map, &key, &room, &value), m->value[i] != ABSENT);
        says(hf_shared_get(map, &key, NULL, NULL), m->value[i] != ABSENT);
        if (m->value[i] != ABSENT)
            expect_datum(&value, m->value[i]);
    }
    hf_shared_room_clear(&room);
}

static void expect_published(program *p)
{
    hf_shared_snapshot *snapshot;
    ok(hf_shared_snapshot_begin(random_below(&p->random, 2) == 0 ? p->map : p->second, &snapshot));
    expect_snapshot(snapshot, &p->levels[0]);
    hf_shared_snapshot_end(snapshot);
}

/* -- steps -- */

static unsigned draw_key(program *p)
{
    return random_below(&p->random, 3) == 0 ? random_below(&p->random, CHOSEN) : random_below(&p->random, KEYS);
}

static void do_set(program *p, hf_shared *map)
{
    static key_text text;
    unsigned key = draw_key(p), form = random_below(&p->random, FORMS), value = random_below(&p->random, VALUES);
    hf_datum k = key_of(key, form, &text), v = value_of(value, &text_a);
    says(hf_shared_set(map, &k, &v), now(p)->value[key] == ABSENT);
    model_set(now(p), key, form, (int)value);
}

static void do_delete(program *p, hf_shared *map)
{
    static key_text text;
    unsigned key = draw_key(p);
    hf_datum k = key_of(key, random_below(&p->random, FORMS), &text);
    says(hf_shared_delete(map, &k), now(p)->value[key] != ABSENT);
    model_remove(now(p), key);
}

static void do_incr(program *p, hf_shared *map)
{
    static key_text text;
    unsigned key = draw_key(p), form = random_below(&p->random, FORMS);
    int was = now(p)->value[key], by = VALUES + (int)random_below(&p->random, 1000);
    hf_datum k = key_of(key, form, &text);
    int64_t sum = -1;
    if (was == ABSENT || was >= VALUES) {
        ok(hf_shared_incr(map, &k, by, &sum));
        model_set(now(p), key, form, (was == ABSENT ? 0 : was) + by);
        assert_int_equal(sum, now(p)->value[key]);
        return;
    }
    hf_datum is = value_of((unsigned)was, &text_a);
    if (is.kind == HF_DATUM_INT) {
        ok(hf_shared_incr(map, &k, 5, &sum));
        assert_int_equal(sum, is.integer + 5);
        ok(hf_shared_incr(map, &k, -5, NULL));
        return;
    }
    says(hf_shared_incr(map, &k, by, &sum), HF_BAD_TYPE);
    assert_int_equal(sum, -1);
}

static void do_exchange(program *p, hf_shared *map)
{
    static key_text text;
    unsigned key = draw_key(p), form = random_below(&p->random, FORMS);
    int was = now(p)->value[key], old = was, next = (int)random_below(&p->random, VALUES + VALUES / 4);
    if (random_below(&p->random, 3) == 0)
        old = random_below(&p->random, 3) == 0 ? ABSENT : (int)random_below(&p->random, VALUES);
    if (next >= VALUES)
        next = ABSENT;
    hf_datum k = key_of(key, form, &text), from, to;
    if (old != ABSENT)
        from = datum_of(old, &text_a);
    if (next != ABSENT)
        to = datum_of(next, &text_b);
    /* Two numbers may stand for the same value. */
    bool same = old == was;
    if (!same && old != ABSENT && was != ABSENT) {
        hf_datum is = datum_of(was, &text_c);
        same = datum_is(&from, &is);
    }
    says(hf_shared_compare_and_set(map, &k, old == ABSENT ? NULL : &from, next == ABSENT ? NULL : &to), same);
    if (same && next != ABSENT)
        model_set(now(p), key, form, next);
    else if (same)
        model_remove(now(p), key);
}

static void do_clear(program *p, hf_shared *map)
{
    ok(hf_shared_clear(map));
    model_clear(now(p));
}

static void do_begin(program *p)
{
    if (p->depth == DEEPEST)
        return;
    ok(hf_shared_begin(p->map));
    p->levels[p->depth + 1] = p->levels[p->depth];
    p->depth++;
    assert_int_equal(hf_shared_depth(p->map), p->depth);
}

static void do_end(program *p)
{
    if (p->depth == 0) {
        says(hf_shared_commit(p->map), HF_INVALID);
        says(hf_shared_abort(p->map), HF_INVALID);
        return;
    }
    if (random_below(&p->random, 3) == 0) {
        ok(hf_shared_abort(p->map));
    } else {
        ok(hf_shared_commit(p->map));
        p->levels[p->depth - 1] = p->levels[p->depth];
    }
    p->depth--;
    assert_int_equal(hf_shared_depth(p->map), p->depth);
}

/* -- snapshots -- */

typedef struct difference {
    const model *from, *to;
    bool seen[KEYS];
} difference;

static int differs(void *arg, const hf_datum *key, const hf_datum *from, const hf_datum *to)
{
    difference *d = arg;
    unsigned number = number_of(key, from != NULL ? d->from : d->to);
    assert_false(d->seen[number]);
    d->seen[number] = true;
    assert_true((from == NULL) == (d->from->value[number] == ABSENT));
    assert_true((to == NULL) == (d->to->value[number] == ABSENT));
    if (from != NULL)
        expect_datum(from, d->from->value[number]);
    if (to != NULL)
        expect_datum(to, d->to->value[number]);
    assert_true(from == NULL || to == NULL || !datum_is(from, to));
    return 0;
}

static bool same_value(int a, int b)
{
    if (a == b || a == ABSENT || b == ABSENT)
        return a == b;
    hf_datum left = datum_of(a, &text_a), right = datum_of(b, &text_b);
    return datum_is(&left, &right);
}

static void compare(program *p, unsigned i, unsigned j)
{
    difference d = {.from = &p->held[i].was, .to = &p->held[j].was};
    ok(hf_shared_snapshot_diff(p->held[i].snapshot, p->held[j].snapshot, differs, &d));
    for (unsigned key = 0; key < KEYS; key++)
        assert_int_equal(d.seen[key], !same_value(d.from->value[key], d.to->value[key]));
}

static void do_snapshot(program *p)
{
    unsigned i = random_below(&p->random, HELD), j = random_below(&p->random, HELD);
    if (p->held[i].snapshot == NULL) {
        ok(hf_shared_snapshot_begin(random_below(&p->random, 4) == 0 ? p->second : p->map, &p->held[i].snapshot));
        p->held[i].was = p->levels[0];
        return;
    }
    if (p->held[j].snapshot != NULL)
        compare(p, i, j);
    expect_snapshot(p->held[i].snapshot, &p->held[i].was);
    hf_shared_snapshot_end(p->held[i].snapshot);
    p->held[i].snapshot = NULL;
}

static void step(program *p)
{
    unsigned way = random_below(&p->random, 100);
    hf_shared *map = p->depth == 0 && random_below(&p->random, 3) == 0 ? p->second : p->map;
    if (way < 40)
        do_set(p, map);
    else if (way < 58)
        do_delete(p, map);
    else if (way < 66)
        do_incr(p, map);
    else if (way < 76)
        do_exchange(p, map);
    else if (way < 77)
        do_clear(p, map);
    else if (way < 84)
        do_begin(p);
    else if (way < 93)
        do_end(p);
    else
        do_snapshot(p);
}

static void run_program(uint64_t seed, unsigned steps)
{
    static program p;
    p = (program){.map = map_new(), .random = {seed}};
    p.second = map_again();
    model_clear(&p.levels[0]);
    for (unsigned i = 0; i < steps; i++) {
        step(&p);
        expect_map(p.map, now(&p), i % 7);
        if (p.depth == 0)
            map_check(p.map);
        else
            says(hf_shared_check(p.map, NULL), HF_BUSY);
        if (i % 8 == 0) {
            expect_map(p.second, &p.levels[0], i % 7);
            expect_published(&p);
        }
    }
    while (p.depth > 0)
        do_end(&p);
    expect_published(&p);
    for (unsigned i = 0; i < HELD; i++)
        if (p.held[i].snapshot != NULL)
            hf_shared_snapshot_end(p.held[i].snapshot);
    map_check(p.second);
    ok(hf_shared_close(p.second));
    ok(hf_shared_close(p.map));
    ok(hf_shared_unlink(the_name));
}

static void a_map_is_the_model(void **state)
{
    for (uint64_t seed = 1; seed <= rounds(100); seed++)
        run_program(seed, 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {shared_test(a_map_is_the_model)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

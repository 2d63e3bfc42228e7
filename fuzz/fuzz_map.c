/*
 * fuzz_map.c: a byte string as a program of map operations, checked against arrays. For libFuzzer.
 *
 * The first byte chooses how keys are hashed. Then each operation is a byte, followed by its operands: slots (maps
 * with their models), keys and values, a byte each; the program ends with the string. One operation makes the n-th
 * allocation of the next one fail.
 *
 * Whatever does not agree with the model, fails hf_map_check, or loses a count of a key or value, aborts.
 */
#include "base/fault.h"

#include <holdfast/map.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 4, KEYS = 40, VALUES = 16, ABSENT = -1, MAX_OPERATIONS = 300 };

#define REQUIRE(condition)                                                  \
    do                                                                      \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                        \
        }                                                                   \
    while (0)

/* -- types: numbers whose counts are kept in an array -- */

static int64_t counts[2][KEYS + VALUES];
static unsigned hash_mode;

static uint64_t mixed(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static int key_hash(const hf_type *type, hf_value value, uint64_t *out)
{
    uint64_t key = value.u64;
    switch (hash_mode) {
    case 0:
        *out = mixed(key);
        break;
    case 1:
        *out = key;
        break;
    case 2:
        *out = key << 10;
        break;
    case 3:
        *out = key << 60;
        break;
    case 4:
        *out = mixed(key % 5);
        break;
    default:
        *out = 5;
    }
    return 0;
}

static int counted_keep(const hf_type *type, hf_value *value)
{
    ((int64_t *)type->context)[value->i64]++;
    return 0;
}

static int counted_drop(const hf_type *type, hf_value value)
{
    REQUIRE(--((int64_t *)type->context)[value.i64] >= 0);
    return 0;
}

/* Values that differ by half their number are equal, and not identical. */
static int value_equal(const hf_type *type, hf_value a, hf_value b)
{
    return a.i64 % (VALUES / 2) == b.i64 % (VALUES / 2);
}

static int value_hash(const hf_type *type, hf_value value, uint64_t *out)
{
    *out = (uint64_t)value.i64 % (VALUES / 2);
    return 0;
}

static const hf_type key_type = {
    .name = "key", .hash = key_hash, .keep = counted_keep, .drop = counted_drop, .context = counts[0]};
static const hf_type value_type = {.name = "value",
                                   .hash = value_hash,
                                   .equal = value_equal,
                                   .keep = counted_keep,
                                   .drop = counted_drop,
                                   .context = counts[1]};
static const hf_map_type types = {&key_type, &value_type};

/* -- the program -- */

typedef struct slot {
    hf_map *map;
    int value[KEYS];
} slot;

typedef struct program {
    const uint8_t *at, *end;
    slot slots[SLOTS];
} program;

static int next(program *p, int limit)
{
    return p->at == p->end ? 0 : *p->at++ % limit;
}

static slot *next_slot(program *p)
{
    return &p->slots[next(p, SLOTS)];
}

static hf_value word(int n)
{
    return hf_value_int(n);
}

static bool alike(int a, int b)
{
    return a == ABSENT || b == ABSENT ? a == b : a % (VALUES / 2) == b % (VALUES / 2);
}

static void check(const slot *s)
{
    const char *fault = "";
    size_t size = 0, seen = 0;
    if (hf_map_check(s->map, &fault) < 0)
        fprintf(stderr, "hf_map_check: %s\n", fault);
    REQUIRE(hf_map_check(s->map, &fault) == 0);
    for (int key = 0; key < KEYS; key++) {
        hf_value value = word(ABSENT);
        REQUIRE(hf_map_get(s->map, word(key), &value) == (s->value[key] != ABSENT));
        REQUIRE(value.i64 == s->value[key]);
        size += s->value[key] != ABSENT;
    }
    REQUIRE(hf_map_size(s->map) == size);
    hf_map_iter iter;
    hf_value key, value;
    hf_map_iter_init(&iter, s->map);
    for (; hf_map_iter_next(&iter, &key, &value); seen++)
        REQUIRE(s->value[key.i64] == value.i64);
    REQUIRE(hf_map_iter_clear(&iter) == 0);
    REQUIRE(seen == size);
}

/* Puts `map`, whose contents are `value`, in a slot, unless making it failed. */
static void store(slot *to, int status, hf_map *map, const int *value)
{
    if (status < 0)
        return;
    hf_map_drop(to->map);
    to->map = map;
    memmove(to->value, value, sizeof to->value);
}

static void edit(program *p, bool put, bool take)
{
    slot *from = next_slot(p), *to = take ? from : next_slot(p);
    int key = next(p, KEYS), value = put ? next(p, VALUES) : ABSENT;
    int model[KEYS];
    hf_map *map = NULL;
    bool there = from->value[key] != ABSENT;
    memcpy(model, from->value, sizeof model);
    model[key] = value;
    if (take) {
        int status =
            put ? hf_map_with_take(&from->map, word(key), word(value)) : hf_map_without_take(&from->map, word(key));
        REQUIRE(status == HF_NOMEM || status == (put ? !there : there));
        if (status >= 0)
            memcpy(from->value, model, sizeof model);
        return;
    }
    int status =
        put ? hf_map_with(from->map, word(key), word(value), &map) : hf_map_without(from->map, word(key), &map);
    REQUIRE(status == HF_NOMEM || status == (put ? !there : there));
    store(to, status, map, model);
}

static void build(program *p)
{
    slot *to = next_slot(p);
    hf_pair pairs[64];
    int model[KEYS], count = next(p, 64);
    hf_map *map = NULL;
    for (int key = 0; key < KEYS; key++)
        model[key] = ABSENT;
    for (int i = 0; i < count; i++) {
        int key = next(p, KEYS);
        model[key] = next(p, VALUES);
        pairs[i] = (hf_pair){word(key), word(model[key])};
    }
    int status = hf_map_from_pairs(&types, pairs, (size_t)count, &map);
    REQUIRE(status == 0 || status == HF_NOMEM);
    store(to, status, map, model);
}

static int choice_of(int key, int left, int right, int *made)
{
    uint64_t dice = mixed((uint64_t)(key * 10000 + left * 100 + right));
    *made = (int)(dice / 4 % VALUES);
    return (int)(dice % 4);
}

static int chosen(int choice, int left, int right, int made)
{
    return choice == HF_CHOOSE_LEFT    ? left
           : choice == HF_CHOOSE_RIGHT ? right
           : choice == HF_CHOOSE_NEW   ? made
                                       : ABSENT;
}

static int resolve(void *user, hf_value key, hf_value left, hf_value right, hf_value *made)
{
    int value, choice = choice_of((int)key.i64, (int)left.i64, (int)right.i64, &value);
    if (choice == HF_CHOOSE_NEW) {
        *made = word(value);
        counts[1][value]++;
    }
    return choice;
}

static int value_at(const hf_value *value)
{
    return value == NULL ? ABSENT : (int)value->i64;
}

static int resolve3(void *user, hf_value key, const hf_value *base, const hf_value *mine, const hf_value *theirs,
                    hf_value *made)
{
    return resolve(user, key, word(value_at(mine)), word(value_at(theirs)), made);
}

/* What an operation on two maps makes of a key. */
static int combined(int op, int key, int l, int r)
{
    int made, choice;
    bool both = l != ABSENT && r != ABSENT;
    switch (op) {
    case 0: /* merge, the right one wins */
        return r != ABSENT ? r : l;
    case 1: /* merge, with a resolver */
        if (!both)
            return r != ABSENT ? r : l;
        choice = choice_of(key, l, r, &made);
        return chosen(choice, l, r, made);
    case 2:
        return both ? l : ABSENT;
    case 3:
        return r != ABSENT ? ABSENT : l;
    default:
        return both ? ABSENT : l != ABSENT ? l : r;
    }
}

static void combine(program *p, int op)
{
    slot *left = next_slot(p), *right = next_slot(p), *to = next_slot(p);
    int model[KEYS], status;
    hf_map *map = NULL;
    for (int key = 0; key < KEYS; key++)
        model[key] = combined(op, key, left->value[key], right->value[key]);
    switch (op) {
    case 0:
    case 1:
        status = hf_map_merge(left->map, right->map, op == 1 ? resolve : NULL, NULL, &map);
        break;
    case 2:
        status = hf_map_intersection(left->map, right->map, &map);
        break;
    case 3:
        status = hf_map_difference(left->map, right->map, &map);
        break;
    default:
        status = hf_map_symmetric_difference(left->map, right->map, &map);
    }
    REQUIRE(status == 0 || status == HF_NOMEM);
    store(to, status, map, model);
}

static void merge3(program *p)
{
    slot *base = next_slot(p), *mine = next_slot(p), *theirs = next_slot(p), *to = next_slot(p);
    int model[KEYS], made;
    hf_map *map = NULL;
    int status = hf_map_merge3(base->map, mine->map, theirs->map, resolve3, NULL, &map);
    REQUIRE(status == 0 || status == HF_NOMEM);
    if (status < 0)
        return;
    for (int key = 0; key < KEYS; key++) {
        int b = base->value[key], m = mine->value[key], t = theirs->value[key];
        int expected = alike(m, t) || alike(b, t) ? m : t;
        if (!alike(m, t) && !alike(b, t) && !alike(b, m)) {
            int choice = choice_of(key, m, t, &made);
            expected = chosen(choice, m, t, made);
        }
        /* Of values that are equal, and not identical, it may take either. */
        hf_value value = word(ABSENT);
        REQUIRE(hf_map_get(map, word(key), &value) >= 0);
        REQUIRE(alike((int)value.i64, expected));
        model[key] = (int)value.i64;
    }
    store(to, status, map, model);
}

typedef struct changes {
    const slot *before, *after;
    int seen[KEYS];
} changes;

static int on_change(void *user, hf_value key, const hf_value *before, const hf_value *after)
{
    changes *c = user;
    REQUIRE(value_at(before) == c->before->value[key.i64]);
    REQUIRE(value_at(after) == c->after->value[key.i64]);
    c->seen[key.i64]++;
    return 0;
}

static void compare(program *p)
{
    changes c = {.before = next_slot(p), .after = next_slot(p)};
    uint64_t hash_a, hash_b;
    bool equal = true;
    int status = hf_map_diff(c.before->map, c.after->map, on_change, &c);
    REQUIRE(status == 0 || status == HF_NOMEM);
    for (int key = 0; key < KEYS && status == 0; key++) {
        bool same = alike(c.before->value[key], c.after->value[key]);
        REQUIRE(c.seen[key] == !same);
        equal = equal && same;
    }
    if (status < 0)
        return;
    REQUIRE(hf_map_equal(c.before->map, c.after->map) == equal);
    REQUIRE(hf_map_hash(c.before->map, &hash_a) == 0 && hf_map_hash(c.after->map, &hash_b) == 0);
    REQUIRE(!equal || hash_a == hash_b);
}

static void transient(program *p)
{
    slot *from = next_slot(p), *to = next_slot(p);
    hf_map_transient *t;
    int model[KEYS];
    hf_map *map = NULL;
    int status = hf_map_transient_new(from->map, &t);
    if (status < 0)
        return;
    memcpy(model, from->value, sizeof model);
    for (int count = next(p, 16); count > 0; count--) {
        int key = next(p, KEYS), value = next(p, VALUES + 4);
        bool put = value < VALUES, there = model[key] != ABSENT;
        status = put ? hf_map_transient_put(t, word(key), word(value)) : hf_map_transient_remove(t, word(key));
        REQUIRE(status == HF_NOMEM || status == (put ? !there : there));
        if (status >= 0)
            model[key] = put ? value : ABSENT;
    }
    status = hf_map_transient_persist(t, &map);
    REQUIRE(status == 0 || status == HF_NOMEM);
    store(to, status, map, model);
    REQUIRE(hf_map_transient_free(t) == 0);
}

static void step(program *p)
{
    int op = next(p, 16);
    switch (op) {
    case 0:
    case 1:
    case 2:
    case 3:
        edit(p, op & 1, op & 2);
        break;
    case 4:
        build(p);
        break;
    case 5:
    case 6:
    case 7:
    case 8:
    case 9:
        combine(p, op - 5);
        break;
    case 10:
        merge3(p);
        break;
    case 11:
        compare(p);
        break;
    case 12:
        transient(p);
        break;
    case 13: { /* another count of a map, so that it is not edited in place */
        slot *from = next_slot(p);
        store(next_slot(p), 0, hf_map_keep(from->map), from->value);
        break;
    }
    default:
        hf_fault_arm(HF_FAULT_ALLOC, 1 + (uint64_t)next(p, 12), ENOMEM);
        step(p);
        hf_fault_disarm();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    program p = {.at = data, .end = data + size};
    hash_mode = (unsigned)next(&p, 6);
    for (int i = 0; i < SLOTS; i++) {
        REQUIRE(hf_map_new(&types, &p.slots[i].map) == 0);
        for (int key = 0; key < KEYS; key++)
            p.slots[i].value[key] = ABSENT;
    }
    for (int i = 0; i < MAX_OPERATIONS && p.at < p.end; i++) {
        step(&p);
        for (int j = 0; j < SLOTS; j++)
            check(&p.slots[j]);
    }
    for (int i = 0; i < SLOTS; i++)
        hf_map_drop(p.slots[i].map);
    for (int i = 0; i < KEYS + VALUES; i++)
        REQUIRE(counts[0][i] == 0 && counts[1][i] == 0);
    return 0;
}

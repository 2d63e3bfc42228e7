/*
 * test_map_support.h: what the tests of hf_map share: a type that counts and can fail, and a model of a map.
 *
 * Boxes. Keys and values are boxes, numbered. A map must hold only boxes of the table below, each with as many counts
 * as maps hold it, so that a count lost or given up twice shows as soon as every map is gone. What a test passes in
 * may be a view: a box on the stack, which `keep` exchanges for the one in the table. Values v and v + VALUES are
 * equal, and not identical.
 *
 * A type's hash is chosen by the test, so that keys share few or many of their bits; each of its functions can be made
 * to fail at the n-th call.
 */
#ifndef HF_TEST_MAP_SUPPORT_H
#define HF_TEST_MAP_SUPPORT_H

#include "base/fault.h"
#include "test_common.h"

#include <holdfast/map.h>
#include <holdfast/memory.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    BOXES = 16384,
    VALUES = 8,         /* distinct values, */
    TWINS = 2 * VALUES, /* each in two boxes */
    FAILED = HF_STATUS_OWN - 7,
    DROP_FAILED = HF_STATUS_OWN - 8,
};

typedef struct box {
    _Atomic int64_t counts;
    int64_t id;
    bool is_view;
} box;

static box boxes[BOXES];
static _Atomic int64_t boxes_counted; /* the sum of their counts */

/* -- failing at the n-th call -- */

enum { CALL_HASH, CALL_EQUAL, CALL_KEEP, CALL_DROP, CALL_RESOLVE, CALLS };

static struct {
    _Atomic uint64_t made[CALLS];
    uint64_t fail_at[CALLS]; /* 0: never */
} calls;

static bool call_fails(int which)
{
    uint64_t n = atomic_fetch_add(&calls.made[which], 1) + 1;
    return n == calls.fail_at[which];
}

static void calls_reset(void)
{
    for (int i = 0; i < CALLS; i++) {
        atomic_store(&calls.made[i], 0);
        calls.fail_at[i] = 0;
    }
}

/* -- the type -- */

static int box_hash(const hf_type *type, hf_value value, uint64_t *out)
{
    const box *stored = value.ptr;
    if (call_fails(CALL_HASH))
        return FAILED;
    *out = hash_in_mode(*(const hash_mode *)type->context, (uint64_t)stored->id);
    return 0;
}

static int box_equal(const hf_type *type, hf_value a, hf_value b)
{
    if (call_fails(CALL_EQUAL))
        return FAILED;
    return ((const box *)a.ptr)->id == ((const box *)b.ptr)->id;
}

static int box_keep(const hf_type *type, hf_value *value)
{
    box *stored = value->ptr;
    if (call_fails(CALL_KEEP))
        return FAILED;
    if (stored->is_view)
        *value = hf_value_ptr(stored = &boxes[stored->id]);
    atomic_fetch_add(&stored->counts, 1);
    atomic_fetch_add(&boxes_counted, 1);
    return 0;
}

static int box_drop(const hf_type *type, hf_value value)
{
    box *stored = value.ptr;
    assert_false(stored->is_view);
    assert_true(atomic_fetch_sub(&stored->counts, 1) > 0);
    atomic_fetch_sub(&boxes_counted, 1);
    return call_fails(CALL_DROP) ? DROP_FAILED : 0;
}

static int value_hash(const hf_type *type, hf_value value, uint64_t *out)
{
    if (call_fails(CALL_HASH))
        return FAILED;
    *out = mixed((uint64_t)(((const box *)value.ptr)->id % VALUES));
    return 0;
}

static int value_equal(const hf_type *type, hf_value a, hf_value b)
{
    if (call_fails(CALL_EQUAL))
        return FAILED;
    return ((const box *)a.ptr)->id % VALUES == ((const box *)b.ptr)->id % VALUES;
}

static hash_mode hash_modes[HASH_MODES] = {
    HASH_MIXED, HASH_IDENTITY, HASH_LOW_5, HASH_LOW_10, HASH_HIGH_4, HASH_GROUPS, HASH_CONSTANT,
};

#define KEY_TYPE(mode)                                                                           \
    {                                                                                            \
        .name = "box", .hash = box_hash, .equal = box_equal, .keep = box_keep, .drop = box_drop, \
        .context = &hash_modes[mode]                                                             \
    }

static const hf_type key_types[HASH_MODES] = {
    KEY_TYPE(HASH_MIXED),  KEY_TYPE(HASH_IDENTITY), KEY_TYPE(HASH_LOW_5),    KEY_TYPE(HASH_LOW_10),
    KEY_TYPE(HASH_HIGH_4), KEY_TYPE(HASH_GROUPS),   KEY_TYPE(HASH_CONSTANT),
};

static const hf_type value_type = {
    .name = "value",
    .hash = value_hash,
    .equal = value_equal,
    .keep = box_keep,
    .drop = box_drop,
};

#define BOX_MAP(mode)                 \
    {                                 \
        &key_types[mode], &value_type \
    }

static const hf_map_type box_maps[HASH_MODES] = {
    BOX_MAP(HASH_MIXED),  BOX_MAP(HASH_IDENTITY), BOX_MAP(HASH_LOW_5),    BOX_MAP(HASH_LOW_10),
    BOX_MAP(HASH_HIGH_4), BOX_MAP(HASH_GROUPS),   BOX_MAP(HASH_CONSTANT),
};

/* A box of the table, as a map holds it. */
static inline hf_value box_value(int64_t id)
{
    return hf_value_ptr(&boxes[id]);
}

/* A view of it, in a struct of the block it is written in. */
#define VIEW(number) hf_value_ptr(&(box){.id = (number), .is_view = true})

static inline int64_t id_of(hf_value value)
{
    const box *stored = value.ptr;
    assert_false(stored->is_view);
    assert_ptr_equal(stored, &boxes[stored->id]);
    return stored->id;
}

/* The same, with a count for whoever asks. */
static inline hf_value box_counted(int64_t id)
{
    atomic_fetch_add(&boxes[id].counts, 1);
    atomic_fetch_add(&boxes_counted, 1);
    return box_value(id);
}

static int64_t box_counts(void)
{
    return atomic_load(&boxes_counted);
}

static void boxes_init(void)
{
    for (int i = 0; i < BOXES; i++)
        boxes[i].id = i;
}

/* -- memory: counts the blocks that are in use -- */

static _Atomic int64_t blocks;

static void *count_alloc(void *user, size_t size)
{
    void *block = malloc(size);
    if (block != NULL)
        atomic_fetch_add(&blocks, 1);
    return block;
}

static void *count_realloc(void *user, void *block, size_t size)
{
    return realloc(block, size);
}

static void count_free(void *user, void *block)
{
    atomic_fetch_sub(&blocks, 1);
    free(block);
}

/* The group's set-up. */
static int support_init(void **state)
{
    static const hf_allocator counting = {count_alloc, count_realloc, count_free, NULL};
    boxes_init();
    return hf_allocator_set(&counting);
}

/* Each test's set-up and tear-down: nothing may be left. */
static int support_begin(void **state)
{
    calls_reset();
    return 0;
}

static int support_end(void **state)
{
    calls_reset();
    hf_fault_disarm();
    if (box_counts() != 0)
        print_error("%lld counts of boxes were lost\n", (long long)box_counts());
    if (atomic_load(&blocks) != 0)
        print_error("%lld blocks of memory were lost\n", (long long)atomic_load(&blocks));
    return box_counts() == 0 && atomic_load(&blocks) == 0 ? 0 : -1;
}

#define SUPPORTED(test) cmocka_unit_test_setup_teardown(test, support_begin, support_end)

/* -- random numbers -- */

typedef struct random_source {
    uint64_t state;
} random_source;

static inline uint64_t random_next(random_source *source)
{
    return mixed(source->state += 0x9e3779b97f4a7c15u);
}

/* From 0 up to, not including, `limit`. */
static inline int64_t random_below(random_source *source, int64_t limit)
{
    return (int64_t)(random_next(source) % (uint64_t)limit);
}

/* -- the model: for each key the number of its value, or ABSENT -- */

enum { KEYS = 96 };

typedef struct model {
    int value[KEYS];
} model;

static inline void model_clear(model *m)
{
    for (int i = 0; i < KEYS; i++)
        m->value[i] = ABSENT;
}

static inline size_t model_size(const model *m)
{
    size_t size = 0;
    for (int i = 0; i < KEYS; i++)
        size += m->value[i] != ABSENT;
    return size;
}

/* The very same values. */
static inline bool model_identical(const model *a, const model *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static inline bool value_alike(int a, int b)
{
    return a == ABSENT || b == ABSENT ? a == b : a % VALUES == b % VALUES;
}

/* Equal values. */
static inline bool model_equal(const model *a, const model *b)
{
    for (int i = 0; i < KEYS; i++)
        if (!value_alike(a->value[i], b->value[i]))
            return false;
    return true;
}

/* The map is whole and has just the contents of the model: by size, by look-up and by iteration. */
static inline void assert_is_model(const hf_map *map, const model *m)
{
    const char *fault = "none";
    if (hf_map_check(map, &fault) < 0)
        fail_msg("hf_map_check: %s", fault);
    assert_int_equal(hf_map_size(map), model_size(m));
    for (int key = 0; key < KEYS; key++) {
        hf_value value = hf_value_int(12345);
        int found = hf_map_get(map, VIEW(key), &value);
        assert_int_equal(found, m->value[key] != ABSENT);
        if (found)
            assert_int_equal(id_of(value), m->value[key]);
        else
            assert_int_equal(value.i64, 12345);
    }
    hf_map_iter iter;
    hf_value key, value;
    size_t seen = 0;
    hf_map_iter_init(&iter, map);
    while (hf_map_iter_next(&iter, &key, &value)) {
        assert_int_equal(m->value[id_of(key)], id_of(value));
        seen++;
    }
    assert_int_equal(hf_map_iter_next(&iter, &key, &value), 0);
    assert_int_equal(hf_map_iter_clear(&iter), 0);
    assert_int_equal(seen, hf_map_size(map));
}

/* For calls that cannot fail here. */
#define ok(call) assert_true((call) >= 0)

#endif

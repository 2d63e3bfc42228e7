/*
 * Edits in place, while the functions of the types keep the map that is being edited, or make other versions of it.
 *
 * A type's `keep` does so at its n-th call, for each n in turn, so that every moment of an edit is tried at which it
 * copies a node. Whatever came to be then must be whole, and have the contents that the map had before the edit.
 */
#include "test_map_support.h"

enum { ITEMS = 80, OTHER = 7 /* the key that a version made by `keep` has changed */ };

/* What `keep` does at the n-th call; at the one after it the last two give back what they took. */
typedef enum deed { KEEPS, DERIVES, KEEPS_AND_DROPS, DERIVES_AND_DROPS, DEEDS } deed;

static struct {
    hf_map *target; /* the map that is being edited; NULL: do nothing */
    deed deed;
    int calls_left;
    hf_map *taken;
} the;

static int64_t items_counted;

static void act(void)
{
    hf_map *target = the.target;
    if (target == NULL)
        return;
    the.calls_left--;
    the.target = NULL; /* what is called here does not act again */
    if (the.calls_left == 0 && (the.deed == KEEPS || the.deed == KEEPS_AND_DROPS)) {
        the.taken = hf_map_keep(target);
    } else if (the.calls_left == 0) {
        ok(hf_map_with(target, hf_value_int(OTHER), hf_value_int(-OTHER), &the.taken));
    } else if (the.calls_left == -1 && the.deed >= KEEPS_AND_DROPS) {
        ok(hf_map_drop(the.taken));
        the.taken = NULL;
    }
    the.target = target;
}

static int item_keep(const hf_type *type, hf_value *value)
{
    items_counted++;
    act();
    return 0;
}

static int item_drop(const hf_type *type, hf_value value)
{
    items_counted--;
    return 0;
}

/* Nodes with up to four children, so that few keys make several levels. */
static int narrow_hash(const hf_type *type, hf_value value, uint64_t *out)
{
    uint64_t n = value.u64;
    *out = n % 4 | (n / 4 % 4) << 5 | (n / 16) << 10;
    return 0;
}

/* The same with five keys to a hash: two levels, then a chain down to a collision node. */
static int colliding_hash(const hf_type *type, hf_value value, uint64_t *out)
{
    uint64_t n = value.u64;
    *out = n % 4 | (n / 4 % 4) << 5;
    return 0;
}

static const hf_type item_types[] = {
    {.name = "narrow", .hash = narrow_hash, .keep = item_keep, .drop = item_drop},
    {.name = "colliding", .hash = colliding_hash, .keep = item_keep, .drop = item_drop},
};

static const hf_map_type item_maps[] = {
    {&item_types[0], &item_types[0]},
    {&item_types[1], &item_types[1]},
};

/* The keys of every second group of 16 and some more: so there are vacant slots, and slots with a single entry. */
static bool is_there_at_first(int key)
{
    return key < 48 || key % 16 == 3;
}

static void assert_contents(const hf_map *map, const int64_t *expected)
{
    const char *fault = "none";
    size_t size = 0;
    if (hf_map_check(map, &fault) < 0)
        fail_msg("hf_map_check: %s", fault);
    for (int key = 0; key < ITEMS; key++) {
        hf_value value = {0};
        assert_int_equal(hf_map_get(map, hf_value_int(key), &value), expected[key] != 0);
        assert_int_equal(value.i64, expected[key]);
        size += expected[key] != 0;
    }
    assert_int_equal(hf_map_size(map), size);
}

typedef struct trial {
    const hf_map_type *type;
    int key;
    bool removes;
    int shared; /* 0: nothing is; else another version has all but the path to this key */
    deed deed;
    int at_call;
} trial;

/* Returns whether `keep` got to act. */
static bool try_one(const trial *t)
{
    int64_t before[ITEMS], after[ITEMS], derived[ITEMS];
    hf_pair pairs[ITEMS];
    size_t count = 0;
    hf_map *first, *map;
    for (int key = 0; key < ITEMS; key++) {
        before[key] = is_there_at_first(key) ? key + 1 : 0;
        if (before[key] != 0)
            pairs[count++] = (hf_pair){hf_value_int(key), hf_value_int(before[key])};
    }
    ok(hf_map_from_pairs(t->type, pairs, count, &first));
    if (t->shared == 0) {
        map = first;
        first = NULL;
    } else {
        ok(hf_map_with(first, hf_value_int(t->shared), hf_value_int(-1), &map));
        before[t->shared] = -1;
    }
    memcpy(after, before, sizeof before);
    memcpy(derived, before, sizeof before);
    after[t->key] = t->removes ? 0 : 1000;
    if (t->deed == DERIVES || t->deed == DERIVES_AND_DROPS)
        derived[OTHER] = -OTHER;

    the.target = map;
    the.deed = t->deed;
    the.calls_left = t->at_call;
    the.taken = NULL;
    if (t->removes)
        assert_int_equal(hf_map_without_take(&map, hf_value_int(t->key)), before[t->key] != 0);
    else
        assert_int_equal(hf_map_with_take(&map, hf_value_int(t->key), hf_value_int(1000)), before[t->key] == 0);
    the.target = NULL;

    assert_contents(map, after);
    if (the.taken != NULL)
        assert_contents(the.taken, derived);
    /* Whoever goes first, the others stay as they are. */
    ok(hf_map_drop(t->at_call % 2 ? the.taken : map));
    if (t->at_call % 2)
        assert_contents(map, after);
    else if (the.taken != NULL)
        assert_contents(the.taken, derived);
    ok(hf_map_drop(t->at_call % 2 ? map : the.taken));
    if (first != NULL) {
        before[t->shared] = is_there_at_first(t->shared) ? t->shared + 1 : 0;
        assert_contents(first, before);
        ok(hf_map_drop(first));
    }
    assert_int_equal(items_counted, 0);
    return the.calls_left <= 0;
}

static void what_keep_took_of_a_map_in_its_edit_never_changes(void **state)
{
    /* Of these some are in one node with the keys edited below, others share a node further up, or just the root. */
    static const int shared[] = {0, 1, 5, 21, 37, 67};
    static const int keys[] = {5, 21, 37, 53, 67, 69, 3, 13};
    int acted = 0;
    for (size_t type = 0; type < 2; type++)
        for (size_t s = 0; s < sizeof shared / sizeof *shared; s++)
            for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
                for (int removes = 0; removes < 2; removes++)
                    for (int d = 0; d < DEEDS; d++) {
                        trial t = {&item_maps[type], keys[k], removes, shared[s], (deed)d, 1};
                        for (; try_one(&t); t.at_call++)
                            acted++;
                    }
    assert_true(acted > 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {SUPPORTED(what_keep_took_of_a_map_in_its_edit_never_changes)};
    return cmocka_run_group_tests(tests, support_init, NULL);
}

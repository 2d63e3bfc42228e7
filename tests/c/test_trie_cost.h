/*
 * test_trie_cost.h: structural operations cost what differs, counted in looks at nodes (trie_at) and in calls of
 * foreign code. Part of test_trie_program.h.
 *
 * The tries are of the numbers 0 .. 32767, each its own hash: three full levels, all entries in the third.
 *
 *      base            left: one value changed, one key gone           right: the same elsewhere
 *       /|\                     undone: left with both undone: equal to base, but for one path not shared with it
 *
 * Whole, a trie has more than a thousand nodes, and to look at each slot takes tens of thousands of looks.
 */

enum { COST_KEYS = 1 << 15, COST_LEFT = 100, COST_RIGHT = 20000, COST_LOST = 5000 };

static struct {
    trie_link base, left, right, undone, few;
    size_t few_count;
} cost;

static trie_link cost_put(trie_link root, int key, int value)
{
    trie_entry entry;
    trie_trash trash;
    assert_int_equal(entry_make((uint64_t)key, (uint64_t)value, &entry), 0);
    assert_true(trie_put(&ctx, &root, 0, false, (uint64_t)key, &entry, TRIE_PUT_ENTRY, &trash) > 0);
    return root;
}

static trie_link cost_remove(trie_link root, int key)
{
    trie_trash trash;
    trie_remainder rest;
    assert_int_equal(trie_remove(&ctx, &root, 0, false, (uint64_t)key, (uint64_t)key, &rest, &trash), 1);
    return root;
}

static void cost_begin(void)
{
    arena_reset();
    entries_reset();
    the.still = true;
    the_mode = HASH_IDENTITY;
    trie_item *items = malloc(COST_KEYS * sizeof *items);
    trie_builder builder = {.ctx = &ctx, .distinct = true};
    size_t count = COST_KEYS;
    for (size_t i = 0; i < count; i++) {
        items[i].hash = i;
        assert_int_equal(entry_make(i, 1, &items[i].entry), 0);
    }
    assert_int_equal(trie_build(&builder, items, &count, &cost.base), 0);
    free(items);
    the.savepoint = the.used;
    cost.left = cost_remove(cost_put(cost.base, COST_LEFT, 2), COST_LOST);
    cost.right = cost_remove(cost_put(cost.base, COST_RIGHT, 2), COST_LOST + 1);
    cost.undone = cost_put(cost_put(cost.left, COST_LEFT, 1), COST_LOST, 1);
    cost.few = TRIE_NONE;
    cost.few_count = 0;
    for (int key = 7; key < 47; key++, cost.few_count++)
        cost.few = cost_put(cost.few, key, 1);
    the.looks = the.foreign_calls = 0;
}

/* The bounds are a quarter above what it takes now. */
static void assert_cost(const char *what, uint64_t looks, uint64_t foreign_calls)
{
    if (the.looks > looks || the.foreign_calls > foreign_calls)
        fail_msg("%s: %llu looks at nodes, %llu calls of foreign code", what, (unsigned long long)the.looks,
                 (unsigned long long)the.foreign_calls);
    the.looks = the.foreign_calls = 0;
}

static int take_right(trie_ctx *c, void *arg, const trie_entry *left, const trie_entry *right, trie_entry *made)
{
    return TRIE_TAKE_RIGHT;
}

static int take_left(trie_ctx *c, void *arg, const trie_entry *left, const trie_entry *right, trie_entry *made)
{
    return TRIE_TAKE_LEFT;
}

static int note_both(trie_ctx *c, void *arg, const trie_entry *left, const trie_entry *right, trie_entry *made)
{
    ++*(int *)arg;
    return TRIE_TAKE_NONE;
}

static int note_one(trie_ctx *c, void *arg, trie_side side, const trie_entry *entry)
{
    *(int *)arg += 100;
    return 0;
}

static int resolve_never(trie_ctx *c, void *arg, const trie_entry *base, const trie_entry *mine,
                         const trie_entry *theirs, trie_entry *made)
{
    fail();
    return FAILED;
}

/* Runs an operation; asserts the size of the result. */
static trie_link cost_combine(const trie_algebra *op, void *arg, trie_link left, size_t left_count, trie_link right,
                              size_t right_count, size_t expected)
{
    trie_link root = TRIE_NONE;
    size_t count = expected;
    assert_int_equal(trie_combine(&ctx, op, arg, left, left_count, right, right_count, &root, &count), 0);
    assert_int_equal(count, expected);
    return root;
}

static void comparing_costs_what_differs(void **state)
{
    static const trie_algebra diff = {.shared = TRIE_SHARED_OMIT, .both = note_both, .one = note_one};
    int found = 0;
    cost_begin();
    assert_int_equal(trie_equal(&ctx, cost.base, cost.base), 1);
    assert_cost("equal to itself", 0, 0);
    assert_int_equal(trie_equal(&ctx, cost.base, cost.undone), 1);
    assert_cost("equal, two paths not shared", 410, 5);
    assert_int_equal(trie_equal(&ctx, cost.base, cost.left), 0);
    assert_cost("not equal", 33, 3);
    (void)cost_combine(&diff, &found, cost.base, COST_KEYS, cost.left, COST_KEYS - 1, 0);
    assert_int_equal(found, 101);
    assert_cost("diff", 39, 2);
}

static void combining_costs_what_differs(void **state)
{
    static const trie_algebra unite = {
        .keep = {true, true}, .shared = TRIE_SHARED_TAKE, .counted = true, .both = take_right};
    static const trie_algebra intersect = {.shared = TRIE_SHARED_TAKE, .counted = true, .both = take_left};
    static const trie_algebra subtract = {
        .keep = {true, false}, .shared = TRIE_SHARED_OMIT, .counted = true, .both = drop_both};
    static const trie_algebra differ = {
        .keep = {true, true}, .shared = TRIE_SHARED_OMIT, .counted = true, .both = drop_both};
    size_t all = COST_KEYS;
    cost_begin();
    (void)cost_combine(&unite, NULL, cost.left, all - 1, cost.right, all - 1, all);
    assert_cost("union", 170, 4);
    (void)cost_combine(&unite, NULL, cost.few, cost.few_count, cost.base, all, all);
    assert_cost("union of few and all", 520, 150);
    (void)cost_combine(&intersect, NULL, cost.left, all - 1, cost.right, all - 1, all - 2);
    assert_cost("intersection", 148, 4);
    (void)cost_combine(&intersect, NULL, cost.base, all, cost.few, cost.few_count, cost.few_count);
    assert_cost("intersection of all and few", 350, 112);
    (void)cost_combine(&subtract, NULL, cost.left, all - 1, cost.right, all - 1, 1);
    assert_cost("difference", 105, 8);
    (void)cost_combine(&subtract, NULL, cost.base, all, cost.few, cost.few_count, all - cost.few_count);
    assert_cost("difference of all and few", 1350, 340);
    (void)cost_combine(&differ, NULL, cost.left, all - 1, cost.right, all - 1, 2);
    assert_cost("symmetric difference", 134, 7);
    (void)cost_combine(&differ, NULL, cost.base, all, cost.few, cost.few_count, all - cost.few_count);
    assert_cost("symmetric difference of all and few", 1350, 340);
    (void)cost_combine(&differ, NULL, cost.few, cost.few_count, cost.base, all, all - cost.few_count);
    assert_cost("symmetric difference of few and all", 1350, 340);

    assert_true(cost_combine(&unite, NULL, cost.base, all, cost.base, all, all) == cost.base);
    assert_true(cost_combine(&intersect, NULL, cost.base, all, cost.base, all, all) == cost.base);
    (void)cost_combine(&subtract, NULL, cost.base, all, cost.base, all, 0);
    (void)cost_combine(&differ, NULL, cost.base, all, cost.base, all, 0);
    assert_cost("the same trie on both sides", 0, 0);
}

static void merging_costs_what_differs(void **state)
{
    trie_link root;
    ptrdiff_t delta;
    cost_begin();
    assert_int_equal(trie_merge3(&ctx, resolve_never, NULL, cost.base, cost.left, cost.right, &root, &delta), 0);
    assert_int_equal(delta, -1);
    assert_cost("merge3", 540, 2);
    assert_int_equal(trie_merge3(&ctx, resolve_never, NULL, cost.base, cost.base, cost.right, &root, &delta), 0);
    assert_int_equal(delta, -1);
    assert_true(root == cost.right);
    assert_cost("merge3, mine is base", 412, 0);
    assert_int_equal(trie_merge3(&ctx, resolve_never, NULL, cost.base, cost.left, cost.left, &root, &delta), 0);
    assert_true(root == cost.left && delta == 0);
    assert_cost("merge3, mine is theirs", 0, 0);
}

/* Where all keys have one hash, each is looked for among all; but values are compared only where they may differ. */
static void merging_collisions_compares_what_differs(void **state)
{
    enum { KEYS_OF_ONE_HASH = 20 };
    trie_link base = TRIE_NONE, mine, theirs, root;
    ptrdiff_t delta;
    trie_entry entry;
    trie_trash trash;
    arena_reset();
    entries_reset();
    the_mode = HASH_CONSTANT;
    for (int i = 0; i < KEYS_OF_ONE_HASH + 2; i++) {
        trie_link *to = i < KEYS_OF_ONE_HASH ? &base : i == KEYS_OF_ONE_HASH ? &mine : &theirs;
        uint64_t key = (uint64_t)i % KEYS_OF_ONE_HASH, value = (uint64_t)(i / KEYS_OF_ONE_HASH);
        if (i == KEYS_OF_ONE_HASH) {
            mine = theirs = base;
            the.savepoint = the.used;
        }
        assert_int_equal(entry_make(key, value, &entry), 0);
        assert_true(trie_put(&ctx, to, 0, false, hash_of(key), &entry, TRIE_PUT_ENTRY, &trash) > 0);
    }
    the.values_compared = 0;
    assert_int_equal(trie_merge3(&ctx, resolve_never, NULL, base, mine, theirs, &root, &delta), 0);
    assert_int_equal(delta, 0);
    assert_true(the.values_compared <= 4);
}

/*
 * test_trie_program.h: the rest of the policies, the template, and the tests: random programs against an array. See
 * test_trie_support.h.
 */

/* -- policies -- */

static inline trie_key trie_key_of(const trie_entry *entry)
{
    return entry_key(entry);
}

static int trie_same_key(trie_ctx *ctx, const trie_entry *entry, trie_key key)
{
    bool same = entry_key(entry) == key;
    int status = foreign();
    return status < 0 ? status : same;
}

static int trie_same_value(trie_ctx *ctx, const trie_entry *a, const trie_entry *b)
{
    bool same = entry_value(a) == entry_value(b);
    int status = foreign();
    the.values_compared++;
    return status < 0 ? status : same;
}

static inline bool trie_identical(const trie_entry *a, const trie_entry *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static inline bool trie_unchanged(const trie_entry *stored, const trie_entry *entry)
{
    return entry_value(stored) == entry_value(entry);
}

static void trie_swap_values(trie_entry *a, trie_entry *b)
{
    trie_entry entry = *a;
    *a = *b;
    *b = entry;
}

static inline int trie_keep_entries(trie_ctx *ctx, trie_entry *entries, size_t count)
{
    return foreign();
}

static inline void trie_drop_entries(trie_ctx *ctx, const trie_entry *entries, size_t count)
{
    foreign_that_cannot_fail();
}

static inline void trie_keep_link(trie_ctx *ctx, trie_link link)
{
}

static inline void trie_drop_link(trie_ctx *ctx, trie_link link)
{
}

static int trie_fresh(trie_ctx *ctx, hf_trie_maps maps, unsigned traits, trie_link *out)
{
    size_t slots = hf_trie_entry_count(maps) * sizeof(trie_entry) + hf_trie_child_count(maps) * sizeof(trie_link);
    int status = arena_alloc(sizeof(trie_node) + slots, true, out);
    if (status < 0)
        return status;
    trie_node *node = trie_at(ctx, *out);
    node->digest = 0;
    node->traits = traits;
    node->maps = maps;
    the.open++;
    return 0;
}

/* All slots have been written, and with something. */
static void trie_seal(trie_ctx *ctx, trie_link link)
{
    const trie_node *node = trie_at(ctx, link);
    size_t words = (arena_find(link)->size - sizeof *node) / sizeof(uint64_t);
    for (size_t i = 0; i < words; i++)
        assert_true(node->slots[i] != RUBBISH);
    assert_int_equal(the.open, 1);
    the.open--;
}

static void trie_shell_free(trie_ctx *ctx, trie_link link)
{
    assert_true(link >= the.savepoint);
    arena_end(link, FREED);
}

static inline bool trie_ours(trie_ctx *ctx, trie_link link, unsigned traits)
{
    return link >= the.savepoint && (traits & ~trie_at(ctx, link)->traits) == 0;
}

static inline void trie_touch(trie_ctx *ctx, trie_link link)
{
    assert_true(link >= the.savepoint);
    trie_at(ctx, link)->digest = 0;
}

static void trie_superseded(trie_ctx *ctx, trie_link link)
{
    arena_end(link, SUPERSEDED);
}

static inline unsigned trie_traits_of(trie_ctx *ctx, trie_link link)
{
    return (unsigned)trie_at(ctx, link)->traits;
}

static inline unsigned trie_traits_for(trie_ctx *ctx, const trie_entry *entry)
{
    return traits_of_entry(entry_key(entry), entry_value(entry));
}

static int trie_digest_entry(trie_ctx *ctx, const trie_entry *entry, uint64_t *out)
{
    *out = mixed(entry_key(entry) * 1000 + entry_value(entry) + 1);
    return foreign();
}

static inline uint64_t trie_digest_load(trie_ctx *ctx, trie_link link)
{
    return trie_at(ctx, link)->digest;
}

static inline void trie_digest_save(trie_ctx *ctx, trie_link link, uint64_t digest)
{
    trie_at(ctx, link)->digest = digest;
}

/* What is asked for ahead of time is there. */
static inline void trie_prefetch(trie_ctx *ctx, trie_link link)
{
    assert_true(arena_find(link)->is_node);
}

static inline void trie_prefetch_entry(trie_ctx *ctx, const trie_entry *entry)
{
    assert_true(entry_key(entry) != RUBBISH);
}

#include "trie/trie_algo.h"

/* -- the model -- */

enum { VALUES = 5 };

typedef struct version {
    trie_link root;
    size_t size;
    int value[KEYS];
} version;

static trie_ctx ctx;
static uint64_t dice_state;

static int dice(int limit)
{
    return (int)(mixed(dice_state += 0x9e3779b97f4a7c15u) % (uint64_t)limit);
}

static version empty_version(void)
{
    version v = {.root = TRIE_NONE};
    for (int i = 0; i < KEYS; i++)
        v.value[i] = ABSENT;
    return v;
}

static uint64_t digest_of(const version *v)
{
    uint64_t digest = 0;
    for (int i = 0; i < KEYS; i++)
        if (v->value[i] != ABSENT)
            digest ^= mixed((uint64_t)(i * 1000 + v->value[i] + 1));
    return digest;
}

/* Mostly with the arena at rest: it has so much to look at. */
static void assert_whole(const version *v)
{
    static unsigned looks;
    the.still = ++looks % 64 != 0;
    const char *fault = "none";
    size_t size = 0;
    uint64_t digest;
    for (int i = 0; i < KEYS; i++) {
        trie_entry entry = {0};
        int found = trie_find(&ctx, v->root, 0, hash_of((uint64_t)i), (uint64_t)i, &entry);
        assert_int_equal(found, v->value[i] != ABSENT);
        if (found) {
            assert_int_equal(entry_key(&entry), i);
            assert_int_equal(entry_value(&entry), v->value[i]);
            size++;
        }
    }
    assert_int_equal(size, v->size);
    assert_int_equal(trie_count(&ctx, v->root), size);
    if (trie_check(&ctx, v->root, size, &fault) < 0)
        fail_msg("trie_check: %s", fault);
    trie_cursor cursor;
    trie_cursor_begin(&ctx, &cursor, v->root, looks % 2 ? size : SIZE_MAX); /* the latter looks ahead */
    for (const trie_entry *entry; (entry = trie_cursor_next(&ctx, &cursor)) != NULL; size--)
        assert_int_equal(v->value[entry_key(entry)], entry_value(entry));
    assert_int_equal(size, 0);
    assert_int_equal(trie_digest(&ctx, v->root, &digest), 0);
    assert_int_equal(digest, digest_of(v));
    the.still = false;
}

/* -- accounting: what is alive is what is reachable -- */

static void mark(trie_link link)
{
    if (link == TRIE_NONE)
        return;
    arena_block *reached = arena_find(link);
    assert_true(reached->is_node);
    assert_int_equal(reached->state, LIVE);
    reached->marks++;
    trie_node *node = trie_at(&ctx, link);
    for (uint32_t i = 0; i < hf_trie_entry_count(node->maps); i++)
        entry_mark(&trie_entries(node)[i]);
    for (uint32_t i = 0; i < hf_trie_child_count(node->maps); i++)
        mark(trie_links(node)[i]);
}

static void assert_accounted(trie_link root)
{
    for (size_t i = 0; i < the.block_count; i++)
        the.blocks[i].marks = 0;
    entry_marks_clear();
    mark(root);
    for (size_t i = 0; i < the.block_count; i++)
        assert_int_equal(the.blocks[i].marks, the.blocks[i].state == LIVE);
    entry_marks_check();
}

/* -- edits -- */

/* Puts or removes; returns the template's answer. What is left over is no affair of a memory without counts. */
static int edit_put(version *v, bool mine, int key, int value, trie_put_mode put_mode)
{
    trie_trash trash;
    trie_entry entry;
    int status = entry_make((uint64_t)key, (uint64_t)value, &entry);
    if (status < 0)
        return status;
    trie_link root = v->root;
    status = trie_put(&ctx, &root, 0, mine, hash_of((uint64_t)key), &entry, put_mode, &trash);
    bool used =
        status == TRIE_ADDED || (status == TRIE_REPLACED && (put_mode == TRIE_PUT_ENTRY || REPLACE_USES_ENTRY));
    if (status >= 0 && !used)
        entry_unmake(&entry);
    if (status < 0)
        return status;
    v->root = root;
    v->size += v->value[key] == ABSENT;
    v->value[key] = value;
    return status;
}

static int edit_remove(version *v, bool mine, int key)
{
    trie_trash trash;
    trie_remainder rest;
    trie_link root = v->root;
    int status = trie_remove(&ctx, &root, 0, mine, hash_of((uint64_t)key), (uint64_t)key, &rest, &trash);
    if (status < 0)
        return status;
    assert_false(rest.dissolved);
    v->root = root;
    v->size -= v->value[key] != ABSENT;
    v->value[key] = ABSENT;
    return status;
}

/* One random edit; asserts the answer unless it failed. */
static int edit_random(version *v, bool mine, int keys)
{
    int key = dice(keys), value = dice(VALUES);
    bool there = v->value[key] != ABSENT, same = v->value[key] == value;
    if (dice(2)) {
        trie_put_mode put_mode = dice(2) ? TRIE_PUT_VALUE : TRIE_PUT_ENTRY;
        int status = edit_put(v, mine, key, value, put_mode);
        if (status >= 0)
            assert_int_equal(status, !there                               ? TRIE_ADDED
                                     : same && put_mode == TRIE_PUT_VALUE ? TRIE_SAME
                                                                          : TRIE_REPLACED);
        return status;
    }
    int status = edit_remove(v, mine, key);
    if (status >= 0)
        assert_int_equal(status, there);
    return status;
}

/* The arena is begun anew from time to time: it only grows, and each allocation copies it. */
static void edit_accounted(int keys)
{
    arena_reset();
    entries_reset();
    version v = empty_version(), kept = empty_version();
    for (int i = 0; i < 300; i++) {
        if (dice(10) == 0)
            the.savepoint = the.used;
        if (dice(50) == 0 || i == 150) {
            the.savepoint = the.used;
            kept = v;
        }
        assert_true(edit_random(&v, true, keys) >= 0);
        assert_accounted(v.root);
        assert_whole(&v);
        /* Superseded nodes are still what they were; nothing that is not ours was touched. */
        assert_whole(&kept);
    }
}

static void each_block_is_reachable_or_was_given_up_once(void **state)
{
    for (the_mode = 0; the_mode < HASH_MODES; the_mode++) {
        for (int program = 0; program < 3; program++) {
            edit_accounted(3);
            edit_accounted(20);
            edit_accounted(KEYS);
        }
    }
}

/* A copy of everything, to see whether an operation left it alone, and to go back to. */
typedef struct memory {
    char *bytes;
    size_t used, block_count;
    arena_block *blocks;
} memory;

static memory memory_save(void)
{
    memory m = {.used = the.used, .block_count = the.block_count};
    m.bytes = malloc(m.used);
    m.blocks = malloc((m.block_count + 1) * sizeof *m.blocks);
    memcpy(m.bytes, the.base, m.used);
    memcpy(m.blocks, the.blocks, m.block_count * sizeof *m.blocks);
    return m;
}

static void memory_forget(memory *m)
{
    free(m->bytes);
    free(m->blocks);
}

/* Nothing that was there has changed; what is behind it goes, as when a transaction is rolled back. */
static void memory_roll_back(memory *m)
{
    assert_int_equal(the.open, 0);
    assert_int_equal(memcmp(the.base, m->bytes, m->used), 0);
    assert_int_equal(memcmp(the.blocks, m->blocks, m->block_count * sizeof *m->blocks), 0);
    the.used = m->used;
    the.block_count = m->block_count;
    memory_forget(m);
}

static void arm(bool foreign_code, uint64_t n)
{
    the.allocations = the.foreign_calls = 0;
    the.fail_allocation = foreign_code ? 0 : n;
    the.fail_foreign = foreign_code ? n : 0;
}

static bool armed_fired(bool foreign_code, uint64_t n)
{
    bool fired = foreign_code ? the.foreign_calls >= n : the.allocations >= n;
    arm(false, 0);
    return fired;
}

/* One random edit, with every allocation, or call of foreign code, failing in turn. Returns how many failed. */
static int edit_failing(version *v)
{
    bool foreign_code = dice(2);
    uint64_t dice_before = dice_state;
    int failures = 0;
    for (uint64_t n = 1;; n++, failures++) {
        memory before = memory_save();
        entries_save();
        dice_state = dice_before;
        arm(foreign_code, n);
        int status = edit_random(v, true, KEYS);
        if (!armed_fired(foreign_code, n)) {
            assert_true(status >= 0);
            memory_forget(&before);
            return failures;
        }
        assert_int_equal(status, foreign_code ? FAILED : HF_NOMEM);
        memory_roll_back(&before);
        entries_roll_back();
        assert_whole(v);
    }
}

static void an_edit_that_fails_has_changed_nothing(void **state)
{
    for (the_mode = 0; the_mode < HASH_MODES; the_mode++) {
        version v = empty_version();
        int failures = 0;
        for (int i = 0; i < 300; i++) {
            if (i % 60 == 0) {
                arena_reset();
                entries_reset();
                v = empty_version();
            }
            if (dice(8) == 0)
                the.savepoint = the.used;
            failures += edit_failing(&v);
            assert_accounted(v.root);
            assert_whole(&v);
        }
        assert_true(failures > 100);
    }
}

/* -- two and three versions -- */

enum { VERSIONS = 5 };

static int keys_in_use = KEYS;

/* An edit that leaves the old version as it is. */
static void make_edited(version *versions)
{
    version v = versions[dice(VERSIONS)], before = v;
    int to = dice(VERSIONS);
    for (int i = dice(4); i >= 0; i--)
        assert_true(edit_random(&v, false, keys_in_use) >= 0);
    assert_whole(&before);
    versions[to] = v;
}

static void make_built(version *versions)
{
    trie_item items[2 * KEYS];
    version v = empty_version();
    size_t count = (size_t)dice(dice(2) ? 2 * keys_in_use : 8);
    for (size_t i = 0; i < count; i++) {
        int key = dice(keys_in_use), value = dice(VALUES);
        assert_int_equal(entry_make((uint64_t)key, (uint64_t)value, &items[i].entry), 0);
        items[i].hash = hash_of((uint64_t)key);
        v.size += v.value[key] == ABSENT;
        v.value[key] = value;
    }
    trie_builder builder = {.ctx = &ctx};
    size_t given = count;
    assert_int_equal(trie_build(&builder, items, &given, &v.root), 0);
    assert_int_equal(builder.added, v.size);
    assert_int_equal(builder.spare_count, count - v.size);
    hf_free(builder.spare);
    versions[dice(VERSIONS)] = v;
}

_Static_assert((int)CHOOSE_LEFT == TRIE_TAKE_LEFT && (int)CHOOSE_RIGHT == TRIE_TAKE_RIGHT &&
                   (int)CHOOSE_NEW == TRIE_TAKE_NEW && (int)CHOOSE_NONE == TRIE_TAKE_NONE,
               "a choice is a trie_verdict");
_Static_assert((int)CHOOSE_LEFT == TRIE_RESOLVE_MINE && (int)CHOOSE_RIGHT == TRIE_RESOLVE_THEIRS &&
                   (int)CHOOSE_NEW == TRIE_RESOLVE_NEW && (int)CHOOSE_NONE == TRIE_RESOLVE_NONE,
               "and a trie_resolution");

static int settle(trie_ctx *c, void *arg, const trie_entry *left, const trie_entry *right, trie_entry *made)
{
    int value, key = (int)entry_key(left), status = foreign();
    assert_int_equal(entry_key(right), key);
    choice chosen = choice_of(key, (int)entry_value(left), (int)entry_value(right), VALUES, &value);
    if (status == 0 && chosen == CHOOSE_NEW)
        status = entry_make((uint64_t)key, (uint64_t)value, made);
    return status < 0 ? status : (int)chosen;
}

static int drop_both(trie_ctx *c, void *arg, const trie_entry *left, const trie_entry *right, trie_entry *made)
{
    int status = foreign();
    return status < 0 ? status : TRIE_TAKE_NONE;
}

static const trie_algebra operations[] = {
    /* union, with a look at every key in both */
    {.keep = {true, true}, .shared = TRIE_SHARED_ENTER, .counted = true, .both = settle},
    /* intersection */
    {.keep = {false, false}, .shared = TRIE_SHARED_ENTER, .counted = true, .both = settle},
    /* difference */
    {.keep = {true, false}, .shared = TRIE_SHARED_OMIT, .counted = true, .both = drop_both},
    /* symmetric difference */
    {.keep = {true, true}, .shared = TRIE_SHARED_OMIT, .counted = true, .both = drop_both},
};

enum { OPERATIONS = sizeof operations / sizeof *operations };

static int run_operation(const trie_algebra *op, const version *left, const version *right, version *out)
{
    *out = (version){.root = TRIE_NONE};
    for (int key = 0; key < KEYS; key++) {
        int l = left->value[key], r = right->value[key], made;
        out->value[key] = ABSENT;
        if (l != ABSENT && r != ABSENT && op->both == settle) {
            choice chosen = choice_of(key, l, r, VALUES, &made);
            out->value[key] = settled(chosen, l, r, made);
        } else if (l != ABSENT && r == ABSENT && op->keep[TRIE_LEFT]) {
            out->value[key] = l;
        } else if (l == ABSENT && op->keep[TRIE_RIGHT]) {
            out->value[key] = r;
        }
    }
    return trie_combine(&ctx, op, NULL, left->root, left->size, right->root, right->size, &out->root, &out->size);
}

static void make_combined(version *versions)
{
    const version *left = &versions[dice(VERSIONS)], *right = &versions[dice(VERSIONS)];
    version out;
    assert_int_equal(run_operation(&operations[dice(OPERATIONS)], left, right, &out), 0);
    versions[dice(VERSIONS)] = out;
}

static int key_value(const trie_entry *entry)
{
    return entry == NULL ? ABSENT : (int)entry_value(entry);
}

static choice choice3_of(int key, int base, int mine, int theirs, int *made)
{
    return choice_of(key * 31 + base, mine, theirs, VALUES, made);
}

static int resolve(trie_ctx *c, void *arg, const trie_entry *base, const trie_entry *mine, const trie_entry *theirs,
                   trie_entry *made)
{
    int key = (int)entry_key(mine != NULL ? mine : theirs), value, status = foreign();
    choice chosen = choice3_of(key, key_value(base), key_value(mine), key_value(theirs), &value);
    if (status == 0 && chosen == CHOOSE_NEW)
        status = entry_make((uint64_t)key, (uint64_t)value, made);
    return status < 0 ? status : (int)chosen;
}

static int run_merge3(const version *base, const version *mine, const version *theirs, version *out)
{
    ptrdiff_t delta = 0;
    *out = (version){.root = TRIE_NONE};
    for (int key = 0; key < KEYS; key++) {
        int b = base->value[key], m = mine->value[key], t = theirs->value[key], made;
        out->value[key] = m == t || b == t ? m : t;
        if (m != t && b != t && b != m) {
            choice chosen = choice3_of(key, b, m, t, &made);
            out->value[key] = settled(chosen, m, t, made);
        }
    }
    int status = trie_merge3(&ctx, resolve, NULL, base->root, mine->root, theirs->root, &out->root, &delta);
    out->size = mine->size + (size_t)delta;
    return status;
}

static void make_merged(version *versions)
{
    version out;
    assert_int_equal(
        run_merge3(&versions[dice(VERSIONS)], &versions[dice(VERSIONS)], &versions[dice(VERSIONS)], &out), 0);
    versions[dice(VERSIONS)] = out;
}

static void compare(version *versions)
{
    const version *a = &versions[dice(VERSIONS)], *b = &versions[dice(VERSIONS)];
    assert_int_equal(trie_equal(&ctx, a->root, b->root), memcmp(a->value, b->value, sizeof a->value) == 0);
}

/* A diff, as seen by its callbacks: by key, the value on either side. */
typedef struct changes {
    int before[KEYS], after[KEYS];
} changes;

/* What a callback is given stays good while it runs, wherever the nodes go meanwhile. */
static int see_both(trie_ctx *c, void *arg, const trie_entry *left, const trie_entry *right, trie_entry *made)
{
    changes *seen = arg;
    int status = foreign(), key = (int)entry_key(left);
    assert_int_equal(entry_key(right), key);
    assert_int_equal(seen->before[key], ABSENT);
    assert_int_equal(seen->after[key], ABSENT);
    if (entry_value(left) != entry_value(right)) {
        seen->before[key] = (int)entry_value(left);
        seen->after[key] = (int)entry_value(right);
    }
    return status < 0 ? status : TRIE_TAKE_NONE;
}

static int see_one(trie_ctx *c, void *arg, trie_side side, const trie_entry *entry)
{
    changes *seen = arg;
    int status = foreign(), key = (int)entry_key(entry);
    int *value = side == TRIE_LEFT ? &seen->before[key] : &seen->after[key];
    assert_int_equal(*value, ABSENT);
    *value = (int)entry_value(entry);
    return status;
}

static void diff(version *versions)
{
    static const trie_algebra algebra = {.shared = TRIE_SHARED_OMIT, .both = see_both, .one = see_one};
    const version *a = &versions[dice(VERSIONS)], *b = &versions[dice(VERSIONS)];
    changes seen;
    trie_link root;
    size_t count;
    for (int key = 0; key < KEYS; key++)
        seen.before[key] = seen.after[key] = ABSENT;
    assert_int_equal(trie_combine(&ctx, &algebra, &seen, a->root, a->size, b->root, b->size, &root, &count), 0);
    assert_true(root == TRIE_NONE);
    for (int key = 0; key < KEYS; key++) {
        bool changed = a->value[key] != b->value[key];
        assert_int_equal(seen.before[key], changed ? a->value[key] : ABSENT);
        assert_int_equal(seen.after[key], changed ? b->value[key] : ABSENT);
    }
}

static void versions_begin(version *versions)
{
    arena_reset();
    entries_reset();
    for (int i = 0; i < VERSIONS; i++)
        versions[i] = empty_version();
}

static void operations_on_versions_agree_with_the_model(void **state)
{
    static void (*const steps[])(version *) = {make_edited, make_edited,   make_built, make_combined,
                                               make_merged, make_combined, compare,    diff};
    version versions[VERSIONS];
    for (the_mode = 0; the_mode < HASH_MODES; the_mode++) {
        versions_begin(versions);
        for (int i = 0; i < 600; i++) {
            the.savepoint = the.used; /* nothing may be changed in place */
            steps[dice(sizeof steps / sizeof *steps)](versions);
            for (int j = 0; j < VERSIONS; j++)
                assert_whole(&versions[j]);
            if (i % 50 == 49)
                versions_begin(versions);
        }
    }
}

/* Runs an operation with every allocation, or call of foreign code, failing in turn. */
static int fail_each(bool foreign_code, int (*run)(const version *versions, version *out), const version *versions)
{
    version out;
    int failures = 0;
    for (uint64_t n = 1;; n++, failures++) {
        memory before = memory_save();
        entries_save();
        arm(foreign_code, n);
        int status = run(versions, &out);
        if (!armed_fired(foreign_code, n)) {
            assert_int_equal(status, 0);
            memory_forget(&before);
            assert_whole(&out);
            return failures;
        }
        assert_int_equal(status, foreign_code ? FAILED : HF_NOMEM);
        memory_roll_back(&before);
        entries_roll_back();
    }
}

static const trie_algebra *the_operation;

static int run_the_operation(const version *versions, version *out)
{
    return run_operation(the_operation, &versions[0], &versions[1], out);
}

static int run_the_merge(const version *versions, version *out)
{
    return run_merge3(&versions[0], &versions[1], &versions[2], out);
}

static int run_the_build(const version *versions, version *out)
{
    trie_item items[2 * KEYS];
    size_t count = 0;
    *out = versions[0];
    for (int pass = 0; pass < 2; pass++) {
        for (int key = 0; key < KEYS; key++) {
            int value = versions[pass].value[key];
            if (value == ABSENT)
                continue;
            trie_item item = {.hash = hash_of((uint64_t)key)};
            int status = entry_make((uint64_t)key, (uint64_t)value, &item.entry);
            if (status < 0)
                return status;
            items[count++] = item;
            out->value[key] = value;
        }
    }
    trie_builder builder = {.ctx = &ctx};
    size_t first_node = the.block_count;
    size_t given = count;
    int status = trie_build(&builder, items, &count, &out->root);
    assert_true(status == 0 || count + builder.spare_count == given);
    out->size = builder.added;
    hf_free(builder.spare);
    /* A build that fails has freed every node it made. */
    for (size_t i = first_node; status < 0 && i < the.block_count; i++)
        assert_int_equal(the.blocks[i].state, FREED);
    return status;
}

static void an_operation_that_fails_has_changed_nothing(void **state)
{
    version versions[VERSIONS];
    for (the_mode = 0; the_mode < HASH_MODES; the_mode++) {
        int failures = 0;
        /* With few hashes everything is compared with everything: fewer keys do. */
        keys_in_use = the_mode == HASH_CONSTANT || the_mode == HASH_GROUPS ? 20 : KEYS;
        versions_begin(versions);
        for (int i = 0; i < 12; i++) {
            the.savepoint = the.used;
            make_edited(versions);
            make_built(versions);
            the.savepoint = the.used;
            the_operation = &operations[i % OPERATIONS];
            for (int foreign_code = 0; foreign_code < 2; foreign_code++) {
                failures += fail_each(foreign_code, run_the_operation, versions);
                failures += fail_each(foreign_code, run_the_merge, versions);
                failures += fail_each(foreign_code, run_the_build, versions);
            }
            for (int j = 0; j < VERSIONS; j++)
                assert_whole(&versions[j]);
        }
        assert_true(failures > 100);
    }
    keys_in_use = KEYS;
}

#include "test_trie_broken.h"
#include "test_trie_cost.h"

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_block_is_reachable_or_was_given_up_once),
        cmocka_unit_test(an_edit_that_fails_has_changed_nothing),
        cmocka_unit_test(operations_on_versions_agree_with_the_model),
        cmocka_unit_test(an_operation_that_fails_has_changed_nothing),
        cmocka_unit_test(check_finds_an_entry_in_a_wrong_place),
        cmocka_unit_test(check_finds_a_shape_that_is_not_canonical),
        cmocka_unit_test(check_finds_a_broken_collision_node),
        cmocka_unit_test(more_entries_than_a_collision_node_can_count_are_refused),
        cmocka_unit_test(check_finds_traits_that_are_missing),
        cmocka_unit_test(check_counts_and_passes_failures_on),
        cmocka_unit_test(comparing_costs_what_differs),
        cmocka_unit_test(combining_costs_what_differs),
        cmocka_unit_test(merging_costs_what_differs),
        cmocka_unit_test(merging_collisions_compares_what_differs),
    };
    return cmocka_run_group_tests_name(ENTRY_NAME, tests, NULL, NULL);
}

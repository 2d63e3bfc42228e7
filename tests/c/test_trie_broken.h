/*
 * test_trie_broken.h: tries that are broken on purpose, one word each, and what trie_check says of them. Part of
 * test_trie_program.h: were trie_check blind, every test that relies on it would pass.
 */

/* A trie of `count` keys, whole. Keys hash to themselves unless `mode` says otherwise. */
static trie_link whole_trie(hash_mode mode, const uint64_t *keys, size_t count)
{
    trie_link root = TRIE_NONE;
    trie_trash trash;
    trie_entry entry;
    arena_reset();
    entries_reset();
    the_mode = mode;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(entry_make(keys[i], 1, &entry), 0);
        assert_int_equal(trie_put(&ctx, &root, 0, true, hash_of(keys[i]), &entry, TRIE_PUT_VALUE, &trash),
                         TRIE_ADDED);
    }
    const char *fault = "untouched";
    assert_int_equal(trie_check(&ctx, root, count, &fault), 0);
    assert_null(fault);
    return root;
}

#define WHOLE_TRIE(mode, ...) \
    whole_trie(mode, (const uint64_t[]){__VA_ARGS__}, sizeof(uint64_t[]){__VA_ARGS__} / sizeof(uint64_t))

/* The first child of a node. */
static trie_link child_of(trie_link link)
{
    return trie_links(trie_at(&ctx, link))[0];
}

/* The node `levels` below this one, where each has one child. */
static trie_link descendant_of(trie_link link, unsigned levels)
{
    while (levels-- > 0)
        link = child_of(link);
    return link;
}

static hf_trie_maps *maps_of(trie_link link)
{
    return &trie_at(&ctx, link)->maps;
}

static void assert_fault(trie_link root, size_t count, const char *expected)
{
    const char *fault = NULL;
    assert_int_equal(trie_check(&ctx, root, count, &fault), HF_CORRUPT);
    assert_string_equal(fault, expected);
}

static void check_finds_an_entry_in_a_wrong_place(void **state)
{
    trie_link root = WHOLE_TRIE(HASH_IDENTITY, 0, 1);
    maps_of(root)->entry_map = 1u << 0 | 1u << 2;
    assert_fault(root, 2, "an entry is not in the slot that its hash names");

    root = WHOLE_TRIE(HASH_IDENTITY, 0, 32);
    maps_of(root)->child_map = 1u << 3;
    assert_fault(root, 2, "an entry is not below the slots that its hash names");

    /* Of keys that differ in the last level only: the levels in between count as well, and so does that one. */
    root = WHOLE_TRIE(HASH_HIGH_4, 1, 2);
    maps_of(descendant_of(root, 7))->child_map <<= 1;
    assert_fault(root, 2, "an entry is not below the slots that its hash names");
    root = WHOLE_TRIE(HASH_HIGH_4, 1, 2);
    maps_of(descendant_of(root, HF_TRIE_LEVELS - 1))->entry_map <<= 1;
    assert_fault(root, 2, "an entry is not in the slot that its hash names");

    /* In a collision node it is the whole hash. */
    trie_entry stray;
    root = WHOLE_TRIE(HASH_CONSTANT, 0, 1, 2);
    the_mode = HASH_IDENTITY;
    assert_int_equal(entry_make(0, 1, &stray), 0);
    the_mode = HASH_CONSTANT;
    trie_entries(trie_at(&ctx, descendant_of(root, HF_TRIE_LEVELS)))[2] = stray;
    assert_fault(root, 3, "an entry is not below the slots that its hash names");
}

static void check_finds_a_shape_that_is_not_canonical(void **state)
{
    trie_link root = WHOLE_TRIE(HASH_IDENTITY, 0, 32);
    maps_of(child_of(root))->entry_map = 1;
    assert_fault(root, 1, "a node below the root holds a single entry");

    root = WHOLE_TRIE(HASH_IDENTITY, 0, 32);
    *maps_of(child_of(root)) = (hf_trie_maps){0, 0};
    assert_fault(root, 0, "an empty node");
    root = WHOLE_TRIE(HASH_IDENTITY, 0);
    *maps_of(root) = (hf_trie_maps){0, 0};
    assert_fault(root, 0, "an empty node");

    root = WHOLE_TRIE(HASH_IDENTITY, 0, 32);
    trie_links(trie_at(&ctx, root))[0] = TRIE_NONE;
    assert_fault(root, 2, "a link leads nowhere");

    root = WHOLE_TRIE(HASH_CONSTANT, 0, 1, 2);
    *maps_of(descendant_of(root, HF_TRIE_LEVELS)) = (hf_trie_maps){.entry_map = 7};
    assert_fault(root, 3, "a node with slots below the last level");
}

static void check_finds_a_broken_collision_node(void **state)
{
    static const char slots[] = "a slot is in both maps, or a collision node has fewer than two entries";
    trie_link root = WHOLE_TRIE(HASH_CONSTANT, 0, 1, 2), node = descendant_of(root, HF_TRIE_LEVELS);
    trie_entries(trie_at(&ctx, node))[2] = trie_entries(trie_at(&ctx, node))[0];
    assert_fault(root, 3, "a key is twice in a collision node");

    root = WHOLE_TRIE(HASH_CONSTANT, 0, 1, 2);
    *maps_of(descendant_of(root, HF_TRIE_LEVELS)) = hf_trie_collision_maps(1);
    assert_fault(root, 1, slots);
    root = WHOLE_TRIE(HASH_CONSTANT, 0, 1, 2);
    *maps_of(descendant_of(root, HF_TRIE_LEVELS)) = (hf_trie_maps){3, 1};
    assert_fault(root, 3, slots);

    root = WHOLE_TRIE(HASH_CONSTANT, 0, 1, 2);
    assert_fault(descendant_of(root, HF_TRIE_LEVELS), 3, "a collision node above the last level");
    assert_fault(descendant_of(root, 1), 3, "a collision node above the last level");
    root = WHOLE_TRIE(HASH_IDENTITY, 0, 1, 32);
    maps_of(root)->entry_map |= 1; /* whose slot is the child's */
    assert_fault(root, 3, "a collision node above the last level");
}

static void check_finds_traits_that_are_missing(void **state)
{
    trie_link root = WHOLE_TRIE(HASH_IDENTITY, 7, 11);
    assert_int_equal(trie_at(&ctx, root)->traits, 3);
    trie_at(&ctx, root)->traits = 1;
    assert_fault(root, 2, "an entry has traits that its node lacks");

    root = WHOLE_TRIE(HASH_IDENTITY, 7, 7 + 32);
    trie_at(&ctx, root)->traits = 0;
    assert_fault(root, 2, "a child has traits that its parent lacks");

    root = WHOLE_TRIE(HASH_CONSTANT, 7, 8, 9);
    trie_at(&ctx, descendant_of(root, HF_TRIE_LEVELS))->traits = 0;
    assert_fault(root, 3, "an entry has traits that its node lacks");
}

static void check_counts_and_passes_failures_on(void **state)
{
    static const char wrong[] = "the number of entries is not the one kept with the root";
    trie_link root = WHOLE_TRIE(HASH_IDENTITY, 0, 1, 32, 33);
    assert_fault(root, 3, wrong);
    assert_fault(root, 5, wrong);
    assert_fault(TRIE_NONE, 1, wrong);

    const char *fault = "untouched";
    root = WHOLE_TRIE(HASH_CONSTANT, 0, 1);
    arm(true, 1);
    assert_int_equal(trie_check(&ctx, root, 2, &fault), FAILED);
    assert_null(fault);
    arm(false, 0);
}

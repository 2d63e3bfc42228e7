/* trie_check.h - part of trie_algo.h: verifies the invariants. For tests: visits everything, hashes every key. */

typedef struct trie_checker {
    trie_ctx *ctx;
    const char *fault; /* what is wrong, or NULL */
    size_t count;      /* entries seen */
} trie_checker;

static int trie_check_fault(trie_checker *checker, const char *fault)
{
    checker->fault = fault;
    return HF_CORRUPT;
}

/* An entry of a node whose path took the bits of `prefix` (I2), and whose traits must be among `traits`. */
static int trie_check_entry(trie_checker *checker, const trie_entry *entry, uint64_t prefix, unsigned depth,
                            uint32_t slot, unsigned traits)
{
    uint64_t hash;
    int status = trie_hash(checker->ctx, entry, &hash);
    if (status < 0)
        return status;
    uint64_t taken = depth == HF_TRIE_LEVELS ? UINT64_MAX : ((uint64_t)1 << (HF_TRIE_BITS * depth)) - 1;
    if (((hash ^ prefix) & taken) != 0)
        return trie_check_fault(checker, "an entry is not below the slots that its hash names");
    if (depth < HF_TRIE_LEVELS && hf_trie_slot(hash, depth) != slot)
        return trie_check_fault(checker, "an entry is not in the slot that its hash names");
    if ((trie_traits_for(checker->ctx, entry) & ~traits) != 0)
        return trie_check_fault(checker, "an entry has traits that its node lacks");
    checker->count++;
    return 0;
}

static int trie_check_collision(trie_checker *checker, trie_link link, uint64_t prefix, unsigned depth)
{
    trie_ctx *ctx = checker->ctx;
    hf_trie_maps maps = trie_at(ctx, link)->maps;
    if (depth != HF_TRIE_LEVELS)
        return trie_check_fault(checker, "a collision node above the last level");
    if (!(maps.entry_map == maps.child_map && maps.entry_map >= 2))
        return trie_check_fault(checker, "a slot is in both maps, or a collision node has fewer than two entries");
    unsigned traits = trie_traits_of(ctx, link);
    for (uint32_t i = 0; i < maps.entry_map; i++) {
        trie_entry entry = trie_entries(trie_at(ctx, link))[i];
        int status = trie_check_entry(checker, &entry, prefix, depth, 0, traits);
        if (status < 0)
            return status;
        uint32_t index;
        status = trie_find_in_collision(ctx, link, trie_key_of(&entry), &index);
        if (status < 0)
            return status;
        if (index != i)
            return trie_check_fault(checker, "a key is twice in a collision node");
    }
    return 0;
}

static int trie_check_node(trie_checker *checker, trie_link link, uint64_t prefix, unsigned depth)
{
    trie_ctx *ctx = checker->ctx;
    hf_trie_maps maps = trie_at(ctx, link)->maps;
    if (hf_trie_is_collision(maps))
        return trie_check_collision(checker, link, prefix, depth);
    if (depth == HF_TRIE_LEVELS)
        return trie_check_fault(checker, "a node with slots below the last level");
    if (maps.entry_map == 0 && maps.child_map == 0)
        return trie_check_fault(checker, "an empty node");
    if (depth > 0 && hf_trie_is_lone_entry(maps))
        return trie_check_fault(checker, "a node below the root holds a single entry");
    unsigned traits = trie_traits_of(ctx, link);
    for (uint32_t rest = maps.entry_map | maps.child_map; rest != 0; rest &= rest - 1) {
        uint32_t slot = rest & -rest;
        trie_view view = trie_view_slot(ctx, link, slot);
        int status;
        if (view.kind == TRIE_ENTRY) {
            status = trie_check_entry(checker, &view.entry, prefix, depth, slot, traits);
        } else if (view.link == TRIE_NONE) {
            status = trie_check_fault(checker, "a link leads nowhere");
        } else if ((trie_traits_of(ctx, view.link) & ~traits) != 0) {
            status = trie_check_fault(checker, "a child has traits that its parent lacks");
        } else {
            uint64_t below = prefix | ((uint64_t)hf_trie_lowest(slot) << (HF_TRIE_BITS * depth));
            status = trie_check_node(checker, view.link, below, depth + 1);
        }
        if (status < 0)
            return status;
    }
    return 0;
}

/* Verifies that the trie at `root` keeps every invariant and has `count` entries. Returns 0, HF_CORRUPT and what is
 * wrong in *fault, or the failure of a hash or a comparison. Runs foreign code. */
static int trie_check(trie_ctx *ctx, trie_link root, size_t count, const char **fault)
{
    trie_checker checker = {.ctx = ctx};
    int status = root == TRIE_NONE ? 0 : trie_check_node(&checker, root, 0, 0);
    if (status == 0 && checker.count != count)
        status = trie_check_fault(&checker, "the number of entries is not the one kept with the root");
    *fault = checker.fault;
    return status;
}

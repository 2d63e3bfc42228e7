/* trie_compare.h - part of trie_algo.h: what is said of whole tries: count, equality, digest. */

/* The number of entries in the trie at `link`. Visits every node. */
static size_t trie_count(trie_ctx *ctx, trie_link link)
{
    if (link == TRIE_NONE)
        return 0;
    trie_node *node = trie_at(ctx, link);
    size_t count = hf_trie_entry_count(node->maps);
    uint32_t children = hf_trie_child_count(node->maps);
    const trie_link *links = trie_links(node);
    for (uint32_t i = 0; i < children; i++)
        count += trie_count(ctx, links[i]);
    return count;
}

/* Whether two entries have equal keys and equal values: 1, 0 or a failure. Runs foreign code. */
static int trie_entry_equal(trie_ctx *ctx, trie_entry a, trie_entry b)
{
    if (trie_identical(&a, &b))
        return 1;
    int same = trie_same_key(ctx, &a, trie_key_of(&b));
    return same <= 0 ? same : trie_same_value(ctx, &a, &b);
}

/* Whether two collision nodes have equal entries. Their order is no part of the contents, so every entry of one is
 * looked for in the other: keys are distinct, so with equal counts one direction will do. */
static int trie_collision_equal(trie_ctx *ctx, trie_link a, trie_link b)
{
    uint32_t count = trie_at(ctx, a)->maps.entry_map;
    for (uint32_t i = 0; i < count; i++) {
        trie_entry entry = trie_entries(trie_at(ctx, a))[i];
        uint32_t index;
        int same = trie_find_in_collision(ctx, b, trie_key_of(&entry), &index);
        if (same > 0) {
            trie_entry other = trie_entries(trie_at(ctx, b))[index];
            same = trie_identical(&entry, &other) ? 1 : trie_same_value(ctx, &entry, &other);
        }
        if (same <= 0)
            return same;
    }
    return 1;
}

/* Whether two tries have equal contents: 1, 0 or a failure. Costs the nodes they do not share, and stops at the first
 * difference in shape (see invariant I1). Runs foreign code. */
static int trie_equal(trie_ctx *ctx, trie_link a, trie_link b)
{
    if (a == b)
        return 1;
    if (a == TRIE_NONE || b == TRIE_NONE)
        return 0;
    hf_trie_maps maps = trie_at(ctx, a)->maps;
    if (!hf_trie_same_maps(maps, trie_at(ctx, b)->maps))
        return 0;
    if (hf_trie_is_collision(maps))
        return trie_collision_equal(ctx, a, b);
    uint32_t count = hf_trie_entry_count(maps);
    for (uint32_t i = 0; i < count; i++) {
        int equal = trie_entry_equal(ctx, trie_entries(trie_at(ctx, a))[i], trie_entries(trie_at(ctx, b))[i]);
        if (equal <= 0)
            return equal;
    }
    count = hf_trie_child_count(maps);
    for (uint32_t i = 0; i < count; i++) {
        int equal = trie_equal(ctx, trie_links(trie_at(ctx, a))[i], trie_links(trie_at(ctx, b))[i]);
        if (equal <= 0)
            return equal;
    }
    return 1;
}

/* What a digest is stored with, so that a stored zero can mean that there is none: entries whose digests cancel out are
 * easily come by (keys with one hash and one value), and digesting such a node each time would be exponential where maps
 * nest. A digest that equals this number is digested anew each time. (The golden ratio; any number would do.) */
#define TRIE_DIGEST_SALT UINT64_C(0x9E3779B97F4A7C15)

/* The XOR of the digests of all entries: a hash of the contents that does not depend on their order. Each node
 * remembers its own (trie_digest_save; 0 is for none), so that a new version digests one path. Runs foreign code. */
static int trie_digest(trie_ctx *ctx, trie_link link, uint64_t *out)
{
    uint64_t digest = 0, part;
    *out = 0;
    if (link == TRIE_NONE)
        return 0;
    uint64_t stored = trie_digest_load(ctx, link);
    if (stored != 0) {
        *out = stored ^ TRIE_DIGEST_SALT;
        return 0;
    }
    uint32_t count = hf_trie_entry_count(trie_at(ctx, link)->maps);
    for (uint32_t i = 0; i < count; i++) {
        int status = trie_digest_entry(ctx, &trie_entries(trie_at(ctx, link))[i], &part);
        if (status < 0)
            return status;
        digest ^= part;
    }
    count = hf_trie_child_count(trie_at(ctx, link)->maps);
    for (uint32_t i = 0; i < count; i++) {
        int status = trie_digest(ctx, trie_links(trie_at(ctx, link))[i], &part);
        if (status < 0)
            return status;
        digest ^= part;
    }
    trie_digest_save(ctx, link, digest ^ TRIE_DIGEST_SALT);
    *out = digest;
    return 0;
}

/*
 * trie.c: the trie in shared memory: blocks at offsets of a mapping that is written in place.
 *
 *      link ----> [ head | maps | entry ... | link ... ]            hf_node
 *                                   |
 *                 [ 16 bits of hash | 48 of offset ] ----> [ head | hash | sizes | key | value ]     hf_record
 *
 * An offset is good that is aligned, within the version's `top`, and leads to a block of the kind that is wanted, no
 * longer than the region. For a node that is enough, since every version ends a page before the file does (layout.h,
 * L4); what a node without collisions says of its slots is at most 64 words.
 */
#include "region/trie_ctx.h"

typedef struct hf_node trie_node;
typedef struct hf_record trie_record;

static trie_ctx reading(const hf_region *region, uint64_t top)
{
    return (trie_ctx){
        .base = region->base,
        .region = region,
        .span = top - HF_REGION_HEAP_AT,
        .budget = UINT64_MAX,
        .made = PENDING,
    };
}

static trie_ctx writing(struct hf_txn *txn)
{
    trie_ctx ctx = reading(txn->region, txn->state.version.top);
    ctx.txn = txn;
    return ctx;
}

/* The heap may have grown. */
static uint64_t most_nodes(const trie_ctx *ctx)
{
    return ctx->span / sizeof(trie_node);
}

static void refresh(trie_ctx *ctx)
{
    ctx->span = ctx->txn->state.version.top - HF_REGION_HEAP_AT;
}

/* Stands for a node that cannot be one. */
static uint64_t nowhere[sizeof(trie_node) / sizeof(uint64_t) + (size_t)2 * HF_TRIE_FANOUT];

__attribute__((noinline, cold)) static trie_node *trie_at_fault(trie_ctx *ctx)
{
    ctx->fault = HF_CORRUPT;
    return (trie_node *)(void *)nowhere;
}

/* A collision node may be of any length. */
__attribute__((noinline, cold)) static trie_node *trie_at_collision(trie_ctx *ctx, trie_link link, trie_node *node)
{
    uint64_t count = node->maps.entry_map;
    if (node->maps.child_map != count || count * 8 > ctx->span - (link - HF_REGION_HEAP_AT))
        return trie_at_fault(ctx);
    return node;
}

static inline trie_node *trie_at(trie_ctx *ctx, trie_link link)
{
    if (__builtin_expect(link - HF_REGION_HEAP_AT >= ctx->span || link % 8 != 0 || --ctx->budget == 0, 0))
        return trie_at_fault(ctx);
    trie_node *node = (trie_node *)(void *)(ctx->base + link);
    if (__builtin_expect(hf_head_kind(node->head) != HF_KIND_NODE, 0))
        return trie_at_fault(ctx);
    if (__builtin_expect((node->maps.entry_map & node->maps.child_map) != 0, 0))
        return trie_at_collision(ctx, link, node);
    return node;
}

__attribute__((noinline, cold)) static struct hf_record *record_at_fault(trie_ctx *ctx)
{
    ctx->fault = HF_CORRUPT;
    return NULL;
}

/* The record of an entry, or NULL. */
static inline struct hf_record *record_at(trie_ctx *ctx, uint64_t entry)
{
    uint64_t offset = entry & HF_ENTRY_OFFSET, from = offset - HF_REGION_HEAP_AT;
    if (__builtin_expect(from >= ctx->span || offset % 8 != 0, 0))
        return record_at_fault(ctx);
    struct hf_record *record = (struct hf_record *)(void *)(ctx->base + offset);
    if (__builtin_expect(hf_head_kind(record->head) != HF_KIND_RECORD || hf_record_size(record) > ctx->span - from,
                         0))
        return record_at_fault(ctx);
    return record;
}

/* Addresses that may be nonsense: only to be asked for. */
static inline void prefetch(trie_ctx *ctx, uint64_t offset)
{
    uintptr_t at = (uintptr_t)ctx->base + offset;
    __builtin_prefetch((const void *)at);
    __builtin_prefetch((const void *)(at + 64));
}

static inline void trie_prefetch(trie_ctx *ctx, trie_link link)
{
    prefetch(ctx, link);
}

static inline void trie_prefetch_entry(trie_ctx *ctx, const trie_entry *entry)
{
    prefetch(ctx, entry->word & HF_ENTRY_OFFSET);
}

/* -- records -- */

static inline trie_link record_link(uint64_t word)
{
    return word & HF_ENTRY_OFFSET;
}

static inline uint64_t record_word(trie_link link, const hf_key *key)
{
    return link | key->hash >> HF_ENTRY_TAG_SHIFT << HF_ENTRY_TAG_SHIFT;
}

static inline bool record_may_match(uint64_t word, const hf_key *key)
{
    return word >> HF_ENTRY_TAG_SHIFT == key->hash >> HF_ENTRY_TAG_SHIFT;
}

static inline uint64_t record_hash(const struct hf_record *record, uint64_t word)
{
    return (record->hash_and_size & HF_ENTRY_OFFSET) | (word & ~HF_ENTRY_OFFSET);
}

static inline uint32_t record_key_size(const struct hf_record *record)
{
    return hf_record_key_size(record);
}

static inline unsigned char *record_key(struct hf_record *record)
{
    return hf_record_key(record);
}

static inline uint32_t record_value_size(const struct hf_record *record)
{
    return record->value_size;
}

static inline void record_set_value_size(struct hf_record *record, size_t size)
{
    record->value_size = (uint32_t)size;
}

static inline unsigned char *record_value(struct hf_record *record)
{
    return hf_record_key(record) + hf_record_key_size(record);
}

static inline uint64_t record_bytes(uint64_t key_size, uint64_t value_size)
{
    return hf_record_size_for(key_size, value_size);
}

static bool record_fits(const struct hf_record *record, size_t value_size)
{
    return hf_heap_code(hf_record_size(record)) == hf_heap_code(record_bytes(record_key_size(record), value_size));
}

static void record_fill(struct hf_record *record, const hf_key *key, size_t value_size)
{
    uint32_t size = (uint32_t)key->size;
    record->hash_and_size = hf_record_word(key->hash, key->size);
    record->value_size = (uint32_t)value_size;
    if (hf_record_is_long(record))
        memcpy(record->bytes, &size, sizeof size);
}

/* -- blocks -- */

static int block_new(trie_ctx *ctx, size_t size, trie_link *out)
{
    int status = hf_heap_alloc(ctx->txn, size, out);
    if (status == 0)
        refresh(ctx);
    return status;
}

static inline void *block_at(const trie_ctx *ctx, trie_link link)
{
    return ctx->base + link;
}

static void block_free(trie_ctx *ctx, trie_link link, uint64_t size, uint64_t head)
{
    hf_heap_free(ctx->txn, link, size, head);
}

/* -- a quick get -- */

static int region_get(const hf_region *region, const struct hf_version *version, unsigned tree, const hf_key *key,
                      hf_span *value);

/* As memcmp of keys; short ones are compared where they are used, and most keys are short. */
static inline bool same_bytes(const unsigned char *a, const unsigned char *b, size_t size)
{
    uint64_t first[2], last[2];
    if (size < 8 || size > 16)
        return memcmp(a, b, size) == 0;
    memcpy(&first[0], a, 8);
    memcpy(&first[1], b, 8);
    memcpy(&last[0], a + size - 8, 8);
    memcpy(&last[1], b + size - 8, 8);
    return ((first[0] ^ first[1]) | (last[0] ^ last[1])) == 0;
}

/*
 * region_get for what is not unusual, in few instructions: a look-up is a chain of cache misses, and the processor can begin
 * on the next one's only if it comes within its window of some 300 instructions. All that is read is checked as in
 * trie_at and record_at; whatever is not as it mostly is (damage among it) is left to region_get.
 */
static int quick_get(const hf_region *region, const struct hf_version *version, unsigned tree, const hf_key *key,
                     hf_span *value)
{
    enum { LINE = 64, DEEP = 2 /* and from there on nodes are likely to be far away */ };
    uint64_t link = version->trees[tree].root, span = version->top - HF_REGION_HEAP_AT, hash = key->hash, word;
    const char *base = region->base;

    for (unsigned depth = 0;; depth++, hash >>= HF_TRIE_BITS) {
        uint64_t from = link - HF_REGION_HEAP_AT;
        if (__builtin_expect((from >> 3 | from << 61) >= span >> 3 || depth == HF_TRIE_LEVELS, 0))
            return region_get(region, version, tree, key, value);
        const trie_node *node = (const trie_node *)(const void *)(base + link);
        if (depth > DEEP)
            __builtin_prefetch((const char *)node + LINE);
        if (depth == DEEP + 1) {
            __builtin_prefetch((const char *)node + 2 * (size_t)LINE);
            __builtin_prefetch((const char *)node + 3 * (size_t)LINE);
        }
        uint32_t entries = node->maps.entry_map, children = node->maps.child_map, below = hash % HF_TRIE_FANOUT;
        uint32_t slot = (uint32_t)1 << below;
        if (__builtin_expect(hf_head_kind(node->head) != HF_KIND_NODE || (entries & children) != 0, 0))
            return region_get(region, version, tree, key, value);
        if (children & slot) {
            link = node->slots[hf_trie_popcount(entries) + hf_trie_index(children, slot)];
            continue;
        }
        if (!(entries & slot))
            return 0;
        word = node->slots[hf_trie_index(entries, slot)];
        break;
    }
    if (!record_may_match(word, key))
        return 0;
    uint64_t from = record_link(word) - HF_REGION_HEAP_AT, size = hf_record_size_for(key->size, 0);
    struct hf_record *record = (struct hf_record *)(void *)(region->base + record_link(word));
    if (__builtin_expect((from >> 3 | from << 61) >= span >> 3 || key->size >= HF_KEY_LONG, 0) ||
        __builtin_expect(hf_head_kind(record->head) != HF_KIND_RECORD, 0) ||
        __builtin_expect(record->hash_and_size != hf_record_word(key->hash, key->size), 0) ||
        __builtin_expect(size + record->value_size > span - from, 0))
        return region_get(region, version, tree, key, value);
    if (!same_bytes(record->bytes, key->bytes, key->size))
        return 0;
    if (value != NULL)
        *value = (hf_span){record->bytes + key->size, record->value_size};
    return 1;
}

#define HF_REGION_GET quick_get
#define HF_REGION_OPS hf_region_trie_ops
#include "region/trie_body.h"

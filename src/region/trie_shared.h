/*
 * trie_shared.h: nodes of the trie in shared memory: blocks at offsets of a mapping that is written in place. Included by
 * trie.c and keydir.c, once each, behind their trie_entry.
 *
 *      link ----> [ head | maps | entry ... | link ... ]            hf_node
 *
 * An offset is good that is aligned, within the version's `top`, and leads to a block of the kind that is wanted, no
 * longer than the region. For a node that is enough, since every version ends a page before the file does (layout.h,
 * L4); what a node without collisions says of its slots is at most 64 words, entries having one or two.
 */
#ifndef HF_REGION_TRIE_SHARED_H
#define HF_REGION_TRIE_SHARED_H

#include "region/trie_ctx.h"

typedef struct hf_node trie_node;

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
    if (node->maps.child_map != count || count * sizeof(trie_entry) > ctx->span - (link - HF_REGION_HEAP_AT))
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

/* -- a quick look-up -- */

/*
 * The entry in the slot of this hash: 1; 0: the slot is empty; negative: this is for the template. For what is not unusual, in
 * few instructions: a look-up is a chain of cache misses, and the processor can begin on the next one's only if it comes
 * within its window of some 300 instructions. All that is read is checked as in trie_at; whatever is not as it mostly is
 * (damage among it) is left to the template.
 */
static inline int quick_find_entry(const hf_region *region, const struct hf_version *version, unsigned tree,
                                   uint64_t hash, trie_entry *out)
{
    enum {
        LINE = 64,
        LINES = 3 + sizeof(trie_entry) / sizeof(uint64_t), /* of a node that is about half full of entries */
        DEEP = 2,                                          /* and from there on nodes are likely to be far away */
    };
    uint64_t link = version->trees[tree].root, span = version->top - HF_REGION_HEAP_AT;
    const char *base = region->base;

    for (unsigned depth = 0;; depth++, hash >>= HF_TRIE_BITS) {
        uint64_t from = link - HF_REGION_HEAP_AT;
        if (__builtin_expect((from >> 3 | from << 61) >= span >> 3 || depth == HF_TRIE_LEVELS, 0))
            return -1;
        const trie_node *node = (const trie_node *)(const void *)(base + link);
        if (depth > DEEP)
            __builtin_prefetch((const char *)node + LINE);
        if (depth == DEEP + 1) {
#pragma GCC unroll 4
            for (size_t i = 2; i < LINES; i++)
                __builtin_prefetch((const char *)node + i * LINE);
        }
        uint32_t entries = node->maps.entry_map, children = node->maps.child_map, below = hash % HF_TRIE_FANOUT;
        uint32_t slot = (uint32_t)1 << below;
        if (__builtin_expect(hf_head_kind(node->head) != HF_KIND_NODE || (entries & children) != 0, 0))
            return -1;
        const trie_entry *entry = (const trie_entry *)(const void *)node->slots;
        if (children & slot) {
            const trie_link *links = (const trie_link *)(const void *)(entry + hf_trie_popcount(entries));
            link = links[hf_trie_index(children, slot)];
            continue;
        }
        if (!(entries & slot))
            return 0;
        *out = entry[hf_trie_index(entries, slot)];
        return 1;
    }
}

#endif

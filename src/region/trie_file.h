/*
 * trie_file.h: nodes of the trie in a file: blocks that were verified, and those that a transaction has staged. Included by
 * file_trie.c and file_keydir.c, once each, behind their trie_entry.
 *
 *      link ----> [ head | mark | maps | entry ... | link ... ]            hf_file_node
 *
 * A link is good whose place is within the version's `top`, and leads to a block that is what it should be
 * (file_verify.c). Every version ends a page before the file does, so that what is at a place can be read before it is
 * known to be right: a node header and 64 words, entries having one or two.
 */
#ifndef HF_REGION_TRIE_FILE_H
#define HF_REGION_TRIE_FILE_H

#include "region/trie_ctx.h"

#include "region/file.h"

typedef struct hf_file_node trie_node;

#define HEAP_UNIT (HF_FILE_HEAP_AT / HF_UNIT)

static trie_ctx reading(const hf_region *region, uint64_t top)
{
    return (trie_ctx){
        .base = region->base,
        .region = region,
        .span = (top - HF_FILE_HEAP_AT) / HF_UNIT,
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

/* A span is in units here, and a node has at least one slot. */
static uint64_t most_nodes(const trie_ctx *ctx)
{
    return (ctx->span + HF_NURSERY_UNITS) / hf_units(sizeof(trie_node) + sizeof(uint64_t));
}

/* The staging area grows where nothing looks at spans. */
static void refresh(trie_ctx *ctx)
{
}

/* Stands for a node that cannot be one. */
static uint64_t nowhere[sizeof(trie_node) / sizeof(uint64_t) + (size_t)2 * HF_TRIE_FANOUT];

__attribute__((noinline, cold)) static trie_node *trie_at_fault(trie_ctx *ctx)
{
    ctx->fault = HF_CORRUPT;
    return (trie_node *)(void *)nowhere;
}

static bool is_staged(const trie_ctx *ctx, uint64_t units)
{
    const struct hf_stage *stage = &ctx->region->file->stage;
    return ctx->txn != NULL && units - stage->at < stage->top;
}

static bool is_one_node(const trie_node *node)
{
    return (node->maps.entry_map & node->maps.child_map) == 0 || node->maps.entry_map == node->maps.child_map;
}

static uint64_t size_of(const trie_node *node)
{
    return sizeof *node + hf_trie_entry_count(node->maps) * sizeof(trie_entry) +
           hf_trie_child_count(node->maps) * sizeof(trie_link);
}

/* Not of what was published: a block that says so is damaged. */
static bool is_taken_for_own(const trie_ctx *ctx, uint64_t head)
{
    return ctx->txn != NULL && hf_txn_owns(ctx->txn, head);
}

/* A node that is not in the file. What a transaction has staged is its own; the nursery is shared memory, which others
 * may have damaged, and may damage again: what is there is not verified once for all, but looked at each time. */
__attribute__((noinline)) static trie_node *node_elsewhere(trie_ctx *ctx, trie_link link)
{
    uint64_t units = hf_link_units(link);
    trie_node *node = hf_place_at(ctx->base, units);

    if (is_staged(ctx, units))
        return hf_head_kind(node->head) == HF_KIND_NODE ? node : trie_at_fault(ctx);
    if (!hf_nursery_has(ctx->region, units, 1) || hf_head_kind(node->head) != HF_KIND_NODE || !is_one_node(node) ||
        (node->mark ^ link) >> 40 != 0 || is_taken_for_own(ctx, node->head) || --ctx->budget == 0)
        return trie_at_fault(ctx);
    /* (One with slots ends within a page, which is there; a collision node may be of any length.) */
    if (hf_trie_is_collision(node->maps) && !hf_nursery_has(ctx->region, units, hf_units(size_of(node))))
        return trie_at_fault(ctx);
    return node;
}

/* Looks at a block of the file for the first time. */
__attribute__((noinline)) static int verify_node(trie_ctx *ctx, trie_link link)
{
    uint64_t units = hf_link_units(link);
    const trie_node *node = (const trie_node *)(const void *)(ctx->base + units * HF_UNIT);
    uint64_t size = size_of(node);

    if (!is_one_node(node))
        return HF_CORRUPT;
    if (hf_units(size) > ctx->span - (units - HEAP_UNIT))
        return HF_CORRUPT;
    return hf_block_verify(ctx->region, link, size);
}

static inline trie_node *trie_at(trie_ctx *ctx, trie_link link)
{
    uint64_t units = hf_link_units(link);
    trie_node *node = (trie_node *)(void *)(ctx->base + units * HF_UNIT);
    if (__builtin_expect(units - HEAP_UNIT >= ctx->span, 0))
        return node_elsewhere(ctx, link);
    if (__builtin_expect(hf_head_kind(node->head) != HF_KIND_NODE || --ctx->budget == 0, 0))
        return trie_at_fault(ctx);
    if (__builtin_expect(!hf_is_verified(ctx->region->file, units, node->head), 0) && verify_node(ctx, link) < 0)
        return trie_at_fault(ctx);
    return __builtin_expect((node->mark ^ link) >> 40 == 0, 1) ? node : trie_at_fault(ctx);
}

/* Addresses that may be nonsense: only to be asked for. */
static inline void prefetch(trie_ctx *ctx, uint64_t link)
{
    uintptr_t at = (uintptr_t)hf_place_at(ctx->base, link);
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
    return hf_stage_alloc(ctx->txn, size, out);
}

static inline void *block_at(const trie_ctx *ctx, trie_link link)
{
    return hf_place_at(ctx->base, link);
}

static void block_free(trie_ctx *ctx, trie_link link, uint64_t size, uint64_t head)
{
    hf_stage_free(ctx->txn, link, size, head);
}

#endif

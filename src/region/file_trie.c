/*
 * file_trie.c: the trie of records in a file.
 *
 *      entry      [ 24 of checksum | place ] ----> [ head | mark | hash | sizes | key | value ]    hf_file_record
 *
 * An entry is a link like those between nodes (trie_file.h), and what it leads to is verified like those.
 */
#include "region/trie_ctx.h"

typedef struct hf_file_record trie_record;

typedef struct trie_entry {
    uint64_t word;
} trie_entry;

#include "region/trie_file.h"

__attribute__((noinline)) static int verify_record(trie_ctx *ctx, uint64_t word)
{
    uint64_t units = hf_link_units(word);
    const trie_record *record = (const trie_record *)(const void *)(ctx->base + units * HF_UNIT);
    uint64_t size = sizeof *record + (uint64_t)record->key_size + record->value_size;

    if (hf_units(size) > ctx->span - (units - HEAP_UNIT))
        return HF_CORRUPT;
    return hf_block_verify(ctx->region, word, size);
}

__attribute__((noinline, cold)) static trie_record *record_at_fault(trie_ctx *ctx)
{
    ctx->fault = HF_CORRUPT;
    return NULL;
}

__attribute__((noinline)) static trie_record *record_elsewhere(trie_ctx *ctx, uint64_t word)
{
    uint64_t units = hf_link_units(word);
    trie_record *record = hf_place_at(ctx->base, units);

    if (is_staged(ctx, units))
        return hf_head_kind(record->head) == HF_KIND_RECORD ? record : record_at_fault(ctx);
    if (!hf_nursery_has(ctx->region, units, hf_units(sizeof *record)) ||
        hf_head_kind(record->head) != HF_KIND_RECORD || (record->mark ^ word) >> 40 != 0 ||
        is_taken_for_own(ctx, record->head))
        return record_at_fault(ctx);
    uint64_t size = sizeof *record + (uint64_t)record->key_size + record->value_size;
    return hf_nursery_has(ctx->region, units, hf_units(size)) ? record : record_at_fault(ctx);
}

/* The record of an entry, or NULL. */
static inline trie_record *record_at(trie_ctx *ctx, uint64_t word)
{
    uint64_t units = hf_link_units(word);
    trie_record *record = (trie_record *)(void *)(ctx->base + units * HF_UNIT);
    if (__builtin_expect(units - HEAP_UNIT >= ctx->span, 0))
        return record_elsewhere(ctx, word);
    if (__builtin_expect(hf_head_kind(record->head) != HF_KIND_RECORD, 0))
        return record_at_fault(ctx);
    if (__builtin_expect(!hf_is_verified(ctx->region->file, units, record->head), 0) && verify_record(ctx, word) < 0)
        return record_at_fault(ctx);
    return __builtin_expect((record->mark ^ word) >> 40 == 0, 1) ? record : record_at_fault(ctx);
}

static inline void trie_prefetch_entry(trie_ctx *ctx, const trie_entry *entry)
{
    prefetch(ctx, entry->word);
}

/* -- records -- */

static inline trie_link record_link(uint64_t word)
{
    return word;
}

static inline uint64_t record_word(trie_link link, const hf_key *key)
{
    return link;
}

/* An entry says nothing of its key. */
static inline bool record_may_match(uint64_t word, const hf_key *key)
{
    return true;
}

static inline uint64_t record_hash(const trie_record *record, uint64_t word)
{
    return record->hash;
}

static inline uint32_t record_key_size(const trie_record *record)
{
    return record->key_size;
}

static inline unsigned char *record_key(trie_record *record)
{
    return record->bytes;
}

static inline uint32_t record_value_size(const trie_record *record)
{
    return record->value_size;
}

static inline void record_set_value_size(trie_record *record, size_t size)
{
    record->value_size = (uint32_t)size;
}

static inline unsigned char *record_value(trie_record *record)
{
    return record->bytes + record->key_size;
}

static inline uint64_t record_bytes(uint64_t key_size, uint64_t value_size)
{
    return sizeof(trie_record) + key_size + value_size;
}

/* As many units, or an extent of the same class. */
static bool record_fits(const trie_record *record, size_t value_size)
{
    uint64_t was = record_bytes(record->key_size, record->value_size);
    uint64_t is = record_bytes(record->key_size, value_size);
    return hf_stage_bin(was) == hf_stage_bin(is);
}

static void record_fill(trie_record *record, const hf_key *key, size_t value_size)
{
    record->hash = key->hash;
    record->key_size = (uint32_t)key->size;
    record->value_size = (uint32_t)value_size;
}

#define HF_REGION_OPS hf_file_trie_ops
#include "region/trie_records.h"

/*
 * trie.c: the trie of records in shared memory.
 *
 *      entry      [ 16 bits of hash | 48 of offset ] ----> [ head | hash | sizes | key | value ]     hf_record
 *
 * Of records, as of nodes (trie_shared.h), each offset is looked at before it is used.
 */
#include "region/trie_ctx.h"

typedef struct hf_record trie_record;

typedef struct trie_entry {
    uint64_t word;
} trie_entry;

#include "region/trie_shared.h"

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

/* region_get for what is not unusual (trie_shared.h): what is read of a record is checked as in record_at. */
static int quick_get(const hf_region *region, const struct hf_version *version, unsigned tree, const hf_key *key,
                     hf_span *value)
{
    trie_entry entry;
    int found = quick_find_entry(region, version, tree, key->hash, &entry);
    if (__builtin_expect(found < 0, 0))
        return region_get(region, version, tree, key, value);
    if (found == 0)
        return 0;
    uint64_t word = entry.word, span = version->top - HF_REGION_HEAP_AT;
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
#include "region/trie_records.h"

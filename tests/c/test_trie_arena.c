/*
 * The trie template in an arena, with entries of one word: the offset of a record that holds hash, key and value, as
 * in a region. Giving a key another value makes a record, which moves the arena like any allocation.
 */
#include "test_trie_support.h"

typedef struct trie_entry {
    uint64_t record;
} trie_entry;

#include "trie/trie_types.h"

typedef struct record {
    uint64_t hash, key, value;
} record;

static record *record_at(const trie_entry *entry)
{
    return (record *)(void *)(the.base + entry->record);
}

static int entry_make(uint64_t key, uint64_t value, trie_entry *out)
{
    int status = arena_alloc(sizeof(record), false, &out->record);
    if (status == 0)
        *record_at(out) = (record){hash_of(key), key, value};
    return status;
}

static uint64_t entry_key(const trie_entry *entry)
{
    return record_at(entry)->key;
}

static uint64_t entry_value(const trie_entry *entry)
{
    return record_at(entry)->value;
}

/* An entry that was made is not in the trie after all. */
static void entry_unmake(const trie_entry *entry)
{
    arena_end(entry->record, FREED);
}

/* The entry is in the trie: its record is reachable. */
static void entry_mark(const trie_entry *entry)
{
    arena_find(entry->record)->marks++;
}

/* Records are blocks of the arena, which is accounted for as a whole. */
static void entries_reset(void)
{
}

static void entry_marks_clear(void)
{
}

static void entry_marks_check(void)
{
}

static void entries_save(void)
{
}

static void entries_roll_back(void)
{
}

static void trie_superseded_entry(trie_ctx *ctx, const trie_entry *entry)
{
    arena_end(entry->record, SUPERSEDED);
}

static inline int trie_hash(trie_ctx *ctx, const trie_entry *entry, uint64_t *out)
{
    *out = record_at(entry)->hash;
    return foreign();
}

static int trie_replace(trie_ctx *ctx, const trie_entry *stored, const trie_entry *entry, trie_entry *out)
{
    return entry_make(entry_key(stored), entry_value(entry), out);
}

/* A put that replaced a value made a record of its own: the one that was passed in is not used. */
enum { REPLACE_USES_ENTRY = false };

#define ENTRY_NAME "one word"
#include "test_trie_program.h"

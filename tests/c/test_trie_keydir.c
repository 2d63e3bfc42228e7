/*
 * The trie template in an arena, with entries of 16 bytes: the hash, and where in a log the newest record of the key
 * is, as in a keydir. Keys are compared in the log, which is a file to be: every comparison may fail.
 */
#include "test_trie_support.h"

typedef struct trie_entry {
    uint64_t hash;
    uint64_t position;
} trie_entry;

#include "trie/trie_types.h"

enum { LOG_SIZE = 1 << 17 };

static struct log_record {
    uint64_t key, value;
    block_state state;
    unsigned marks;
} the_log[LOG_SIZE];

static size_t log_end;

static int entry_make(uint64_t key, uint64_t value, trie_entry *out)
{
    assert_true(log_end < LOG_SIZE);
    *out = (trie_entry){hash_of(key), log_end};
    the_log[log_end++] = (struct log_record){.key = key, .value = value};
    return 0;
}

static uint64_t entry_key(const trie_entry *entry)
{
    return the_log[entry->position].key;
}

static uint64_t entry_value(const trie_entry *entry)
{
    return the_log[entry->position].value;
}

static void entry_end(const trie_entry *entry, block_state state)
{
    assert_int_equal(the_log[entry->position].state, LIVE);
    the_log[entry->position].state = state;
}

static void entry_unmake(const trie_entry *entry)
{
    entry_end(entry, FREED);
}

static void entry_mark(const trie_entry *entry)
{
    the_log[entry->position].marks++;
}

static void entries_reset(void)
{
    log_end = 0;
}

static void entry_marks_clear(void)
{
    for (size_t i = 0; i < log_end; i++)
        the_log[i].marks = 0;
}

static void entry_marks_check(void)
{
    for (size_t i = 0; i < log_end; i++)
        assert_int_equal(the_log[i].marks, the_log[i].state == LIVE);
}

/* What an operation that fails must not have changed. */
static struct log_record saved_log[LOG_SIZE];
static size_t saved_end;

static void entries_save(void)
{
    saved_end = log_end;
    memcpy(saved_log, the_log, saved_end * sizeof *the_log);
}

static void entries_roll_back(void)
{
    assert_int_equal(memcmp(the_log, saved_log, saved_end * sizeof *the_log), 0);
    log_end = saved_end;
}

static void trie_superseded_entry(trie_ctx *ctx, const trie_entry *entry)
{
    entry_end(entry, SUPERSEDED);
}

static inline int trie_hash(trie_ctx *ctx, const trie_entry *entry, uint64_t *out)
{
    *out = entry->hash;
    return 0;
}

static int trie_replace(trie_ctx *ctx, const trie_entry *stored, const trie_entry *entry, trie_entry *out)
{
    *out = *entry;
    return 0;
}

enum { REPLACE_USES_ENTRY = true };

#define ENTRY_NAME "hash and position"
#include "test_trie_program.h"

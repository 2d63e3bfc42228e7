/*
 * trie_records.h: a region's trie of records: an entry is a word that leads to a block with hash, key and value. Included by
 * trie.c and file_trie.c, and includes trie_body.h.
 *
 * What a home defines of records:
 *
 *      trie_record                with the member head
 *      record_at                  the record of an entry; NULL, and ctx->fault, where there is none
 *      record_link                where its block is; record_word: the entry for one
 *      record_bytes(sizes)        what a record takes up; record_fits: whether another value fits where it is
 *      record_fill                writes one
 *      record_hash, record_key, record_key_size, record_value, record_value_size, record_set_value_size
 *      record_may_match           a look at the entry alone: false, and the key is another one
 *
 * Entries in the making. A put hands the template an entry that says PENDING. The policy that counts entries makes the
 * record of it, once the template has found where it goes; so a put that changes nothing allocates nothing.
 *
 * In place: a record's value too, if the block will do.
 */

typedef uint64_t trie_key; /* PENDING: that of the context; or an entry, whose key it is */

static inline trie_key trie_key_of(const trie_entry *entry)
{
    return entry->word;
}

static inline int trie_hash(trie_ctx *ctx, const trie_entry *entry, uint64_t *out)
{
    const trie_record *record = record_at(ctx, entry->word);
    if (record == NULL)
        return HF_CORRUPT;
    *out = record_hash(record, entry->word);
    return 0;
}

static int same_keys(trie_ctx *ctx, uint64_t a, uint64_t b)
{
    trie_record *left = record_at(ctx, a), *right = record_at(ctx, b);
    if (left == NULL || right == NULL)
        return HF_CORRUPT;
    return record_hash(left, a) == record_hash(right, b) && record_key_size(left) == record_key_size(right) &&
           memcmp(record_key(left), record_key(right), record_key_size(left)) == 0;
}

static inline int trie_same_key(trie_ctx *ctx, const trie_entry *entry, trie_key key)
{
    if (key != PENDING)
        return same_keys(ctx, entry->word, key);
    const hf_key *wanted = ctx->key;
    if (!record_may_match(entry->word, wanted))
        return 0;
    trie_record *record = record_at(ctx, entry->word);
    if (record == NULL)
        return HF_CORRUPT;
    return record_hash(record, entry->word) == wanted->hash && record_key_size(record) == wanted->size &&
           (wanted->size == 0 || memcmp(record_key(record), wanted->bytes, wanted->size) == 0);
}

static int trie_same_value(trie_ctx *ctx, const trie_entry *a, const trie_entry *b)
{
    trie_record *left = record_at(ctx, a->word), *right = record_at(ctx, b->word);
    if (left == NULL || right == NULL)
        return HF_CORRUPT;
    return record_value_size(left) == record_value_size(right) &&
           memcmp(record_value(left), record_value(right), record_value_size(left)) == 0;
}

static inline bool trie_identical(const trie_entry *a, const trie_entry *b)
{
    return a->word == b->word;
}

/* Only trie_replace knows. */
static inline bool trie_unchanged(const trie_entry *stored, const trie_entry *entry)
{
    return false;
}

static void free_record(trie_ctx *ctx, const trie_entry *entry)
{
    const trie_record *record = record_at(ctx, entry->word);
    if (record != NULL)
        block_free(ctx, record_link(entry->word), record_bytes(record_key_size(record), record_value_size(record)),
                   record->head);
}

static int free_entry(trie_ctx *ctx, const trie_entry *entry)
{
    int status = hf_txn_prepare(ctx->txn);
    if (status < 0)
        return status;
    refresh(ctx);
    free_record(ctx, entry);
    return 0;
}

static void trie_superseded_entry(trie_ctx *ctx, const trie_entry *entry)
{
    free_record(ctx, entry);
}

/* Makes the record that PENDING stands for. */
static int make_record(trie_ctx *ctx, trie_entry *out)
{
    trie_link link;
    if (ctx->fault < 0)
        return ctx->fault;
    const hf_key *key = ctx->key;
    int status = block_new(ctx, record_bytes(key->size, ctx->value_size), &link);
    if (status < 0)
        return status;
    trie_record *record = block_at(ctx, link);
    record->head = hf_txn_head(ctx->txn, HF_KIND_RECORD);
    record_fill(record, key, ctx->value_size);
    if (key->size > 0)
        memcpy(record_key(record), key->bytes, key->size);
    if (ctx->value_size > 0)
        memcpy(record_value(record), ctx->value, ctx->value_size);
    ctx->made = out->word = record_word(link, key);
    return 0;
}

static int make_pending(trie_ctx *ctx, trie_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (entries[i].word == PENDING)
            return make_record(ctx, &entries[i]);
    return 0;
}

static inline int trie_keep_entries(trie_ctx *ctx, trie_entry *entries, size_t count)
{
    return ctx->made != 0 ? 0 : make_pending(ctx, entries, count);
}

/* The key that is there is the one that is put, byte by byte; so the pending record serves. */
static int trie_replace(trie_ctx *ctx, const trie_entry *stored, const trie_entry *entry, trie_entry *out)
{
    trie_record *record = record_at(ctx, stored->word);
    if (record == NULL)
        return HF_CORRUPT;
    unsigned char *value = record_value(record);
    size_t size = ctx->value_size;
    if (record_value_size(record) == size && (size == 0 || memcmp(value, ctx->value, size) == 0))
        return UNCHANGED;
    if (hf_txn_owns(ctx->txn, record->head) && record_fits(record, size)) {
        record_set_value_size(record, size);
        if (size > 0)
            memmove(value, ctx->value, size);
        return DONE_IN_PLACE;
    }
    return make_record(ctx, out);
}

static void span_of(trie_record *record, hf_span *value)
{
    if (value != NULL)
        *value = (hf_span){record_value(record), record_value_size(record)};
}

static int tell(trie_ctx *ctx, const diff_run *run, const trie_entry *from, const trie_entry *to)
{
    const trie_entry *entry = from != NULL ? from : to;
    trie_record *left = from == NULL ? NULL : record_at(ctx, from->word);
    trie_record *right = to == NULL ? NULL : record_at(ctx, to->word);
    hf_span was, is;

    if (ctx->fault < 0)
        return ctx->fault;
    trie_record *record = left != NULL ? left : right;
    hf_key key = {record_hash(record, entry->word), record_key(record), record_key_size(record)};
    if (left != NULL)
        span_of(left, &was);
    if (right != NULL)
        span_of(right, &is);
    return run->differ(run->arg, &key, left != NULL ? &was : NULL, right != NULL ? &is : NULL);
}

#include "region/trie_body.h"

/* -- reading -- */

static inline int find(trie_ctx *ctx, trie_link root, const hf_key *key, hf_span *value)
{
    trie_entry entry;
    ctx->key = key;
    int found = trie_find(ctx, root, 0, key->hash, PENDING, &entry);
    if (__builtin_expect(ctx->fault < 0, 0))
        return ctx->fault;
    if (found > 0)
        span_of(block_at(ctx, record_link(entry.word)), value);
    return found;
}

static int region_get(const hf_region *region, const struct hf_version *version, unsigned tree, const hf_key *key,
                      hf_span *value)
{
    trie_ctx ctx = reading(region, version->top);
    return find(&ctx, version->trees[tree].root, key, value);
}

static int region_txn_get(struct hf_txn *txn, unsigned tree, const hf_key *key, hf_span *value)
{
    trie_ctx ctx = writing(txn);
    return find(&ctx, hf_txn_tree(txn, tree)->root, key, value);
}

static int region_cursor_next(hf_region_cursor *cursor, hf_key *key, hf_span *value)
{
    trie_ctx ctx = walking(cursor);
    const trie_entry *entry = step(&ctx, cursor);
    trie_record *record = entry == NULL ? NULL : record_at(&ctx, entry->word);
    if (ctx.fault < 0)
        return HF_CORRUPT;
    if (entry == NULL)
        return 0;
    if (key != NULL)
        *key = (hf_key){record_hash(record, entry->word), record_key(record), record_key_size(record)};
    span_of(record, value);
    return 1;
}

/* -- writing -- */

static int region_put(struct hf_txn *txn, unsigned tree, const hf_key *key, const void *value, size_t size)
{
    trie_ctx ctx = writing(txn);
    trie_entry entry = {PENDING};
    ctx.key = key;
    ctx.value = value;
    ctx.value_size = size;
    ctx.made = 0;
    return put_entry(&ctx, hf_txn_tree(txn, tree), key->hash, &entry);
}

static int region_remove(struct hf_txn *txn, unsigned tree, const hf_key *key)
{
    trie_ctx ctx = writing(txn);
    ctx.key = key;
    return remove_entry(&ctx, hf_txn_tree(txn, tree), key->hash, PENDING);
}

/* Where a home has no quicker one. */
#ifndef HF_REGION_GET
#define HF_REGION_GET region_get
#endif

const struct hf_region_trie_ops HF_CPU_NAME(HF_REGION_OPS) = {
    .tree = HF_REGION_TREE_OPS,
    .get = HF_REGION_GET,
    .txn_get = region_txn_get,
    .put = region_put,
    .remove = region_remove,
    .cursor_next = region_cursor_next,
};

/*
 * test_region_plain.h: regions of many small entries that are all alike, keys of 12 bytes and values of 64, and how they grow.
 * The value of an entry says which version of it this is.
 */
#ifndef HF_TEST_REGION_PLAIN_H
#define HF_TEST_REGION_PLAIN_H

#include "test_region_support.h"

enum { VALUE = 64 };

#define MEGABYTE (UINT64_C(1) << 20)

static inline hf_key plain_key(uint64_t number, char text[16])
{
    random_source random = {number};
    snprintf(text, 16, "k%011llu", (unsigned long long)number);
    return (hf_key){random_next(&random), text, 12};
}

static inline void plain_put(hf_txn *txn, uint64_t number, uint64_t version)
{
    char text[16];
    uint64_t value[VALUE / 8];
    hf_key key = plain_key(number, text);
    for (int i = 0; i < VALUE / 8; i++)
        value[i] = number * 31 + version + (uint64_t)i;
    assert_true(hf_txn_put(txn, 0, &key, value, sizeof value) >= 0);
}

static inline bool plain_is(const hf_view *view, uint64_t number, uint64_t version)
{
    char text[16];
    uint64_t value[VALUE / 8];
    hf_key key = plain_key(number, text);
    hf_span found;
    if (hf_view_get(view, 0, &key, &found) != 1 || found.size != sizeof value)
        return false;
    memcpy(value, found.bytes, sizeof value);
    for (int i = 0; i < VALUE / 8; i++)
        if (value[i] != number * 31 + version + (uint64_t)i)
            return false;
    return true;
}

static inline hf_region *filled(uint64_t count)
{
    hf_region *region = region_new(UINT64_C(1) << 30);
    hf_txn *txn;
    for (uint64_t i = 0; i < count;) {
        ok(hf_txn_begin(region, -1, &txn));
        for (uint64_t end = i + 1000; i < end && i < count; i++)
            plain_put(txn, i, 0);
        ok(hf_txn_commit(txn));
    }
    return region;
}

/* Updates of random keys, each in a transaction of its own. */
static inline void update(hf_region *region, uint64_t count, int updates, uint64_t version)
{
    random_source random = {version};
    hf_txn *txn;
    for (int i = 0; i < updates; i++) {
        ok(hf_txn_begin(region, -1, &txn));
        plain_put(txn, random_next(&random) % count, version + (uint64_t)i);
        ok(hf_txn_commit(txn));
    }
}

static inline void expect_growth(hf_region *region, uint64_t before, uint64_t limit)
{
    uint64_t growth = top_of(region) - before;
    if (growth > limit)
        fail_msg("grew from %llu by %llu bytes", (unsigned long long)before, (unsigned long long)growth);
}

#endif

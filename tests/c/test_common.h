/*
 * test_common.h: what the tests of the trie template and of hf_map share: a mix, ways to hash keys from good to
 * constant, and what becomes of a key that two sides have.
 */
#ifndef HF_TEST_COMMON_H
#define HF_TEST_COMMON_H

#include <stdint.h>

/* A good hash of a number, also the step of the tests' random numbers (SplitMix64's). */
static inline uint64_t mixed(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

typedef enum hash_mode {
    HASH_MIXED,    /* good */
    HASH_IDENTITY, /* the number */
    HASH_LOW_5,    /* the low 5 bits are equal */
    HASH_LOW_10,   /* the low 10 bits are equal */
    HASH_HIGH_4,   /* all but the high 4 bits are equal, so every 16th key collides */
    HASH_GROUPS,   /* 5 hashes far apart */
    HASH_CONSTANT, /* all 64 bits are equal */
    HASH_MODES,
} hash_mode;

static inline uint64_t hash_in_mode(hash_mode mode, uint64_t key)
{
    switch (mode) {
    case HASH_MIXED:
        return mixed(key + 1);
    case HASH_IDENTITY:
        return key;
    case HASH_LOW_5:
        return key << 5;
    case HASH_LOW_10:
        return key << 10;
    case HASH_HIGH_4:
        return key << 60 | 0x123456789abcdefu;
    case HASH_GROUPS:
        return mixed(key % 5 + 77);
    default:
        return 0x5555555555555555u;
    }
}

enum { ABSENT = -1 }; /* in a model: the key is not there */

/* What becomes of a key that both sides have: numbered as hf_choice, trie_verdict and trie_resolution are. */
typedef enum choice { CHOOSE_LEFT, CHOOSE_RIGHT, CHOOSE_NEW, CHOOSE_NONE, CHOICES } choice;

/* What the tests' resolvers make of a key, as a pure function; *made is a new value, below `values`. */
static inline choice choice_of(int key, int left, int right, int values, int *made)
{
    uint64_t dice = mixed((uint64_t)key * 1000003 + (uint64_t)(left + 1) * 1009 + (uint64_t)(right + 1));
    *made = (int)(dice / 16 % (uint64_t)values);
    return (choice)(dice % CHOICES);
}

/* The value that a key has after that. */
static inline int settled(choice chosen, int left, int right, int made)
{
    return chosen == CHOOSE_LEFT ? left : chosen == CHOOSE_RIGHT ? right : chosen == CHOOSE_NEW ? made : ABSENT;
}

#endif

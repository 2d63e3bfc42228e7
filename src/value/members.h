/*
 * members.h: the members of a frozenset, put in the order of their encodings.
 *
 *      bytes     [ 12 39 30 | 41 'b' | 41 'a' ]          as they were written
 *      members     (0, 3)    (3, 2)   (5, 2)             where each begins and how long it is
 *      sorted      (0, 3)    (5, 2)   (3, 2)
 *
 * Order is that of the bytes: the first that differs decides. No encoding is the beginning of another one, but a tie
 * would go to the shorter.
 *
 * Concurrency, failure: pure functions of their arguments.
 */
#ifndef HF_VALUE_MEMBERS_H
#define HF_VALUE_MEMBERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct hf_member {
    size_t at, size;
} hf_member;

/* Negative, 0 or positive, as memcmp. */
int hf_members_compare(const uint8_t *bytes, hf_member a, hf_member b);

/* Takes no memory, and n log n comparisons in the worst case: members may come from anybody. */
void hf_members_sort(const uint8_t *bytes, hf_member *members, size_t count);

/* Of equal members keeps one; they are sorted. Returns how many are left. */
size_t hf_members_unique(const uint8_t *bytes, hf_member *members, size_t count);

/* Copies the members, in the order of the list, to `out`. Returns how many bytes that were. */
size_t hf_members_gather(const uint8_t *bytes, const hf_member *members, size_t count, uint8_t *out);

#endif

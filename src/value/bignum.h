/*
 * bignum.h: natural numbers of up to 33,280 bits, for the keys that need them.
 *
 *      limbs   [ least significant | ... | most significant, not 0 ]       32 bits each
 *      size     how many; 0 has none
 *
 * A Decimal or a Fraction that is a key must become an int, an exact double, or a fraction in lowest terms. That
 * takes multiplying by powers of ten, dividing by fives, a greatest common divisor and an exact division; no more is
 * here.
 *
 * The size is fixed and they live on the stack (4 KiB each): nothing to allocate, nothing to free, and a bound on the
 * time that a key from a stranger can take. 10^10,000 fits, the next power of ten does not.
 *
 * Invariants: size <= HF_BIG_LIMBS; the highest limb is not 0.
 *
 * Concurrency: pure functions of their arguments. Failure: those that can outgrow the limbs return false, and then
 * the number is spoilt.
 */
#ifndef HF_VALUE_BIGNUM_H
#define HF_VALUE_BIGNUM_H

#include "value/buffer.h"
#include "value/codec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HF_BIG_LIMBS = 1040, HF_BIG_BITS = 32 * HF_BIG_LIMBS };

typedef struct hf_big {
    uint32_t size;
    uint32_t limbs[HF_BIG_LIMBS];
} hf_big;

void hf_big_set(hf_big *big, uint64_t number);
void hf_big_copy(hf_big *to, const hf_big *from);

/* The absolute value of an int in two's complement, lowest byte first. */
bool hf_big_set_int(hf_big *big, hf_span integer);

/* big = big x factor + more */
bool hf_big_mul(hf_big *big, uint32_t factor, uint32_t more);

/* big = big / divisor, rounded down; returns what remains. */
uint32_t hf_big_div(hf_big *big, uint32_t divisor);

/* What remains, alone. */
uint32_t hf_big_mod(const hf_big *big, uint32_t divisor);

/* How many bits it has: 0 for 0. */
size_t hf_big_bits(const hf_big *big);

/* How many of the lowest bits are 0; it is not 0. */
size_t hf_big_zeros(const hf_big *big);

bool hf_big_shift_left(hf_big *big, size_t bits);
void hf_big_shift_right(hf_big *big, size_t bits);

/* The number; it has at most 64 bits. */
uint64_t hf_big_u64(const hf_big *big);

bool hf_big_is_one(const hf_big *big);

/* a = the greatest common divisor of a and b, neither of which is 0; b is spoilt. */
void hf_big_gcd(hf_big *a, hf_big *b);

/* big = big / divisor, which is not 0 and leaves no remainder; the divisor is spoilt. */
void hf_big_div_exact(hf_big *big, hf_big *divisor);

/* Appends it, or its negative, as an encoded int. */
int hf_big_put(const hf_big *big, bool negative, hf_buffer *out);

#endif

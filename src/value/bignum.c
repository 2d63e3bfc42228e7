/*
 * bignum.c: see bignum.h.
 */
#include "value/bignum.h"

#include "base/bits.h"
#include "value/format.h"

#include <string.h>

static void trim(hf_big *big)
{
    while (big->size > 0 && big->limbs[big->size - 1] == 0)
        big->size--;
}

void hf_big_set(hf_big *big, uint64_t number)
{
    big->limbs[0] = (uint32_t)number;
    big->limbs[1] = (uint32_t)(number >> 32);
    big->size = 2;
    trim(big);
}

void hf_big_copy(hf_big *to, const hf_big *from)
{
    to->size = from->size;
    memcpy(to->limbs, from->limbs, from->size * sizeof *from->limbs);
}

bool hf_big_set_int(hf_big *big, hf_span integer)
{
    size_t size = hf_int_size(integer);
    bool negative = hf_int_is_negative(integer);
    /* One byte more than the limbs have may be needed for the sign. */
    if (size > sizeof big->limbs + 1)
        return false;
    unsigned carry = negative;
    big->size = 0;
    for (size_t at = 0; at < size; at += 4) {
        uint64_t limb = 0;
        for (size_t i = 0; i < 4; i++) {
            unsigned byte = at + i < size ? integer.bytes[at + i] : negative ? 0xff : 0;
            byte = (negative ? byte ^ 0xff : byte) + carry;
            carry = byte >> 8;
            limb |= (uint64_t)(byte & 0xff) << (8 * i);
        }
        if (big->size == HF_BIG_LIMBS)
            return limb == 0 && carry == 0 && (trim(big), true);
        big->limbs[big->size++] = (uint32_t)limb;
    }
    /* The least int of its size, -2^(8 size - 1), has the same bits as its absolute value: no carry is left. */
    trim(big);
    return true;
}

bool hf_big_mul(hf_big *big, uint32_t factor, uint32_t more)
{
    uint64_t carry = more;
    for (uint32_t i = 0; i < big->size; i++) {
        carry += (uint64_t)big->limbs[i] * factor;
        big->limbs[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry != 0) {
        if (big->size == HF_BIG_LIMBS)
            return false;
        big->limbs[big->size++] = (uint32_t)carry;
    }
    trim(big);
    return true;
}

uint32_t hf_big_div(hf_big *big, uint32_t divisor)
{
    uint64_t rest = 0;
    for (uint32_t i = big->size; i-- > 0;) {
        rest = rest << 32 | big->limbs[i];
        big->limbs[i] = (uint32_t)(rest / divisor);
        rest %= divisor;
    }
    trim(big);
    return (uint32_t)rest;
}

uint32_t hf_big_mod(const hf_big *big, uint32_t divisor)
{
    uint64_t rest = 0;
    for (uint32_t i = big->size; i-- > 0;)
        rest = (rest << 32 | big->limbs[i]) % divisor;
    return (uint32_t)rest;
}

size_t hf_big_bits(const hf_big *big)
{
    return big->size == 0 ? 0 : 32 * (size_t)(big->size - 1) + hf_log2_32(big->limbs[big->size - 1]) + 1;
}

size_t hf_big_zeros(const hf_big *big)
{
    size_t i = 0;
    HF_ASSERT(big->size > 0);
    while (big->limbs[i] == 0)
        i++;
    return 32 * i + hf_ctz32(big->limbs[i]);
}

bool hf_big_shift_left(hf_big *big, size_t bits)
{
    size_t whole = bits / 32, part = bits % 32;
    if (big->size == 0)
        return true;
    if (hf_big_bits(big) + bits > HF_BIG_BITS)
        return false;
    size_t size = (hf_big_bits(big) + bits + 31) / 32;
    for (size_t i = size; i-- > whole;) {
        size_t from = i - whole;
        uint64_t high = from < big->size ? big->limbs[from] : 0, low = from > 0 ? big->limbs[from - 1] : 0;
        big->limbs[i] = (uint32_t)((high << 32 | low) >> (32 - part));
    }
    memset(big->limbs, 0, whole * sizeof *big->limbs);
    big->size = (uint32_t)size;
    return true;
}

void hf_big_shift_right(hf_big *big, size_t bits)
{
    size_t whole = bits / 32, part = bits % 32;
    if (whole >= big->size) {
        big->size = 0;
        return;
    }
    size_t size = big->size - whole;
    for (size_t i = 0; i < size; i++) {
        uint64_t low = big->limbs[i + whole], high = i + whole + 1 < big->size ? big->limbs[i + whole + 1] : 0;
        big->limbs[i] = (uint32_t)((high << 32 | low) >> part);
    }
    big->size = (uint32_t)size;
    trim(big);
}

uint64_t hf_big_u64(const hf_big *big)
{
    HF_ASSERT(big->size <= 2);
    uint64_t high = big->size > 1 ? big->limbs[1] : 0, low = big->size > 0 ? big->limbs[0] : 0;
    return high << 32 | low;
}

bool hf_big_is_one(const hf_big *big)
{
    return big->size == 1 && big->limbs[0] == 1;
}

static int compare(const hf_big *a, const hf_big *b)
{
    if (a->size != b->size)
        return a->size < b->size ? -1 : 1;
    for (uint32_t i = a->size; i-- > 0;)
        if (a->limbs[i] != b->limbs[i])
            return a->limbs[i] < b->limbs[i] ? -1 : 1;
    return 0;
}

/* a -= b, which is not greater. */
static void subtract(hf_big *a, const hf_big *b)
{
    uint64_t borrow = 0;
    for (uint32_t i = 0; i < a->size && (i < b->size || borrow > 0); i++) {
        uint64_t minus = (i < b->size ? b->limbs[i] : 0) + borrow;
        borrow = a->limbs[i] < minus;
        a->limbs[i] = (uint32_t)(a->limbs[i] - minus);
    }
    HF_ASSERT(borrow == 0);
    trim(a);
}

/* Stein's: the difference of two odd numbers is even and has their common divisors; halve it until it is odd. */
void hf_big_gcd(hf_big *a, hf_big *b)
{
    size_t zeros_a = hf_big_zeros(a), zeros_b = hf_big_zeros(b);
    hf_big_shift_right(a, zeros_a);
    hf_big_shift_right(b, zeros_b);
    hf_big *more = a, *less = b;
    for (;;) {
        int order = compare(more, less);
        if (order == 0)
            break;
        if (order < 0) {
            hf_big *swapped = more;
            more = less;
            less = swapped;
        }
        subtract(more, less);
        hf_big_shift_right(more, hf_big_zeros(more));
    }
    /* Both are it now. It has no more bits than a had, so the shift fits. */
    bool fits = hf_big_shift_left(a, zeros_a < zeros_b ? zeros_a : zeros_b);
    HF_ASSERT_CHEAP(fits);
}

/* The inverse of an odd number modulo 2^32: each step of Newton's doubles the bits that are right, from 3. */
static uint32_t inverse(uint32_t odd)
{
    uint32_t found = odd;
    for (int i = 0; i < 4; i++)
        found *= 2 - odd * found;
    return found;
}

/*
 * From the low end: the lowest limb of the quotient is that of big times the inverse of the divisor's; take that
 * multiple of the divisor away, and the lowest limb is 0 and the next one is in its place.
 */
void hf_big_div_exact(hf_big *big, hf_big *divisor)
{
    size_t zeros = hf_big_zeros(divisor);
    hf_big_shift_right(divisor, zeros);
    hf_big_shift_right(big, zeros);
    if (big->size == 0)
        return;
    HF_ASSERT(big->size >= divisor->size);
    uint32_t size = big->size - divisor->size + 1, by = inverse(divisor->limbs[0]);
    for (uint32_t i = 0; i < size; i++) {
        uint32_t quotient = big->limbs[i] * by;
        uint64_t borrow = 0;
        for (uint32_t j = 0; i + j < big->size && (j < divisor->size || borrow > 0); j++) {
            uint64_t minus = borrow + (j < divisor->size ? (uint64_t)quotient * divisor->limbs[j] : 0);
            borrow = (minus >> 32) + (big->limbs[i + j] < (uint32_t)minus);
            big->limbs[i + j] -= (uint32_t)minus;
        }
        HF_ASSERT(big->limbs[i] == 0);
        big->limbs[i] = quotient;
    }
    big->size = size;
    trim(big);
}

int hf_big_put(const hf_big *big, bool negative, hf_buffer *out)
{
    /* The sign takes a bit, so perhaps a byte. */
    uint8_t bytes[sizeof big->limbs + 1];
    size_t size = hf_big_bits(big) / 8 + 1;
    unsigned carry = negative;
    for (size_t i = 0; i < size; i++) {
        unsigned byte = i / 4 < big->size ? big->limbs[i / 4] >> (8 * (i % 4)) & 0xff : 0;
        byte = (negative ? byte ^ 0xff : byte) + carry;
        carry = byte >> 8;
        bytes[i] = (uint8_t)byte;
    }
    int status = hf_buffer_reserve(out, HF_VALUE_HEAD_SIMPLE + size);
    if (status == 0)
        hf_put_int(out, hf_span_of(bytes, size));
    return status;
}

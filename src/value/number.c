/*
 * number.c: see number.h.
 *
 * What has to be told apart is told by the prime factors 2 and 5. With the zeros at its end gone, a Decimal d x 10^-k
 * is no integer, and d is not divisible by 2 and 5 both; so reducing d / (2^k 5^k) strips d of twos or of fives.
 * Reduced, a number is a double only if its denominator is a power of 2.
 *
 * The functions with numbers of 4 KiB on their stack are never inlined: who calls them is a recursion.
 */
#include "value/number.h"

#include "base/bits.h"
#include "value/bignum.h"
#include "value/format.h"

#include <holdfast/status.h>

enum {
    DOUBLE_FRACTION_BITS = 52,
    DOUBLE_BIAS = 1023,
    DOUBLE_LOWEST = 1074, /* 2^-1074 is the smallest double above 0 */
    DOUBLE_SPECIAL = 0x7ff,
};

#define DOUBLE_SIGN (UINT64_C(1) << 63)
#define DOUBLE_ONE (UINT64_C(1) << DOUBLE_FRACTION_BITS) /* the bit that is not stored */

static int bad(const char **reason, const char *why)
{
    *reason = why;
    return HF_BAD_VALUE;
}

static int put_float_bits(uint64_t bits, hf_buffer *out)
{
    int status = hf_buffer_reserve(out, HF_VALUE_HEAD_SIMPLE);
    if (status < 0)
        return status;
    hf_buffer_put_byte(out, HF_TAG_FLOAT);
    hf_put_le(out, bits, 8);
    return 0;
}

static int put_int64(int64_t number, hf_buffer *out)
{
    int status = hf_buffer_reserve(out, HF_VALUE_HEAD_SIMPLE);
    if (status == 0)
        hf_put_int64(out, number);
    return status;
}

__attribute__((noinline)) static int put_shifted(uint64_t number, unsigned bits, bool negative, hf_buffer *out)
{
    hf_big big;
    hf_big_set(&big, number);
    bool fits = hf_big_shift_left(&big, bits);
    HF_ASSERT_CHEAP(fits);
    return hf_big_put(&big, negative, out);
}

int hf_number_put_double(double real, hf_buffer *out, const char **reason)
{
    uint64_t bits = hf_bits_of_double(real), number = bits & (DOUBLE_ONE - 1);
    int exponent = (int)(bits >> DOUBLE_FRACTION_BITS & DOUBLE_SPECIAL);
    bool negative = (bits & DOUBLE_SIGN) != 0;
    if (exponent == DOUBLE_SPECIAL && number != 0)
        return bad(reason, "nan cannot be a key: it is not equal to itself");
    if (exponent == DOUBLE_SPECIAL)
        return put_float_bits(bits, out);
    if (exponent == 0 && number == 0)
        return put_int64(0, out);

    /* |real| = number x 2^exponent, number odd: integral unless the exponent is negative. */
    if (exponent > 0)
        number |= DOUBLE_ONE;
    else
        exponent = 1;
    unsigned zeros = hf_ctz64(number);
    number >>= zeros;
    exponent += (int)zeros - DOUBLE_BIAS - DOUBLE_FRACTION_BITS;
    if (exponent < 0)
        return put_float_bits(bits, out);
    if (exponent + (int)hf_log2_64(number) >= 63)
        return put_shifted(number, (unsigned)exponent, negative, out);
    int64_t integral = (int64_t)(number << exponent);
    return put_int64(negative ? -integral : integral, out);
}

int hf_number_put_complex(double real, double imaginary, hf_buffer *out, const char **reason)
{
    if (imaginary == 0)
        return hf_number_put_double(real, out, reason);
    if (real != real || imaginary != imaginary)
        return bad(reason, "a complex number with a nan cannot be a key: it is not equal to itself");
    int status = hf_buffer_reserve(out, HF_VALUE_HEAD_SIMPLE);
    if (status < 0)
        return status;
    hf_buffer_put_byte(out, HF_TAG_COMPLEX);
    hf_put_le(out, real == 0 ? 0 : hf_bits_of_double(real), 8);
    hf_put_le(out, hf_bits_of_double(imaginary), 8);
    return 0;
}

/* The double number / 2^twos, number odd and twos > 0; false if there is none. */
static bool find_double(const hf_big *number, size_t twos, bool negative, uint64_t *bits)
{
    size_t size = hf_big_bits(number);
    if (size > DOUBLE_FRACTION_BITS + 1 || twos > DOUBLE_LOWEST)
        return false;
    uint64_t value = hf_big_u64(number);
    int exponent = (int)size - 1 - (int)twos;
    if (exponent > -DOUBLE_BIAS)
        *bits = (value << (DOUBLE_FRACTION_BITS + 1 - size) & (DOUBLE_ONE - 1)) | (uint64_t)(exponent + DOUBLE_BIAS)
                                                                                      << DOUBLE_FRACTION_BITS;
    else
        *bits = value << (DOUBLE_LOWEST - twos);
    *bits |= negative ? DOUBLE_SIGN : 0;
    return true;
}

/* A fraction in lowest terms that is no integer. */
static int put_reduced(const hf_big *numerator, const hf_big *denominator, bool negative, hf_buffer *out)
{
    uint64_t bits;
    size_t twos = hf_big_zeros(denominator), before = out->size;
    if (hf_big_bits(denominator) == twos + 1 && find_double(numerator, twos, negative, &bits))
        return put_float_bits(bits, out);
    int status = hf_buffer_reserve(out, 1);
    if (status < 0)
        return status;
    hf_buffer_put_byte(out, HF_TAG_FRACTION);
    status = hf_big_put(numerator, negative, out);
    if (status == 0)
        status = hf_big_put(denominator, false, out);
    if (status < 0)
        out->size = before;
    return status;
}

/* -- Decimals -- */

enum { FIVE_TO_13 = 1220703125, TEN_TO_8 = 100000000 };

/* big = big x 5^power */
static bool times_five(hf_big *big, uint64_t power)
{
    bool fits = true;
    for (; fits && power >= 13; power -= 13)
        fits = hf_big_mul(big, FIVE_TO_13, 0);
    for (; fits && power > 0; power--)
        fits = hf_big_mul(big, 5, 0);
    return fits;
}

/* Divides by 5 as long as that leaves no remainder, at most so many times; returns how many times it was. */
static uint64_t strip_fives(hf_big *big, uint64_t most)
{
    uint64_t stripped = 0;
    for (; most - stripped >= 13 && hf_big_mod(big, FIVE_TO_13) == 0; stripped += 13)
        hf_big_div(big, FIVE_TO_13);
    for (; stripped < most && hf_big_mod(big, 5) == 0; stripped++)
        hf_big_div(big, 5);
    return stripped;
}

/* big = the digits, the last of which is left out if `odd` */
static bool set_digits(hf_big *big, hf_span pairs, bool odd)
{
    bool fits = true;
    size_t whole = pairs.size - odd, at = 0;
    hf_big_set(big, 0);
    for (; fits && at + 4 <= whole; at += 4) {
        uint32_t digits = 0;
        for (size_t i = 0; i < 4; i++)
            digits = digits * 100 + pairs.bytes[at + i];
        fits = hf_big_mul(big, TEN_TO_8, digits);
    }
    for (; fits && at < whole; at++)
        fits = hf_big_mul(big, 100, pairs.bytes[at]);
    if (fits && odd)
        fits = hf_big_mul(big, 10, pairs.bytes[at] / 10);
    return fits;
}

/* digits x 10^power */
__attribute__((noinline)) static int put_integral(hf_span pairs, bool odd, uint64_t power, bool negative,
                                                  hf_buffer *out)
{
    hf_big big;
    bool fits = set_digits(&big, pairs, odd) && times_five(&big, power) && hf_big_shift_left(&big, power);
    HF_ASSERT_CHEAP(fits);
    return hf_big_put(&big, negative, out);
}

/* digits x 10^-power; the last digit is not 0, power > 0 */
__attribute__((noinline)) static int put_fractional(hf_span pairs, bool odd, uint64_t power, bool negative,
                                                    hf_buffer *out)
{
    hf_big numerator, denominator;
    uint64_t twos = power, fives = power;
    bool fits = set_digits(&numerator, pairs, odd);
    HF_ASSERT_CHEAP(fits);
    size_t zeros = hf_big_zeros(&numerator);
    if (zeros > 0) {
        zeros = zeros < power ? zeros : power;
        hf_big_shift_right(&numerator, zeros);
        twos -= zeros;
    } else {
        fives -= strip_fives(&numerator, power);
    }
    hf_big_set(&denominator, 1);
    fits = times_five(&denominator, fives) && hf_big_shift_left(&denominator, twos);
    HF_ASSERT_CHEAP(fits);
    return put_reduced(&numerator, &denominator, negative, out);
}

int hf_number_put_decimal(const hf_value_decimal *decimal, hf_buffer *out, const char **reason)
{
    if (decimal->kind == HF_DECIMAL_INFINITE)
        return put_float_bits(
            (uint64_t)DOUBLE_SPECIAL << DOUBLE_FRACTION_BITS | (decimal->negative ? DOUBLE_SIGN : 0), out);
    if (decimal->kind != HF_DECIMAL_FINITE)
        return bad(reason, "a Decimal nan cannot be a key: it is not equal to itself");
    hf_span pairs = decimal->pairs;
    if (pairs.size == 0)
        return put_int64(0, out);

    /* Without the zeros at the end. */
    uint64_t zeros = 0;
    while (pairs.bytes[pairs.size - 1] == 0) {
        pairs.size--;
        zeros += 2;
    }
    bool odd = pairs.bytes[pairs.size - 1] % 10 == 0;
    uint64_t digits = hf_decimal_digits(pairs) - odd;
    zeros += odd;

    static const char *const too_large = "a Decimal with so many digits cannot be a key";
    int64_t exponent;
    if (__builtin_add_overflow(decimal->exponent, zeros, &exponent))
        return bad(reason, too_large);
    if (exponent < -HF_KEY_DIGITS_MAX || exponent > HF_KEY_DIGITS_MAX || digits > HF_KEY_DIGITS_MAX)
        return bad(reason, too_large);
    if (exponent < 0)
        return put_fractional(pairs, odd, (uint64_t)-exponent, decimal->negative, out);
    if (digits + (uint64_t)exponent > HF_KEY_DIGITS_MAX)
        return bad(reason, too_large);
    return put_integral(pairs, odd, (uint64_t)exponent, decimal->negative, out);
}

/* -- Fractions -- */

__attribute__((noinline)) static int put_ratio(hf_value_fraction fraction, hf_buffer *out, const char **reason)
{
    hf_big numerator, denominator, divisor, spoilt;
    bool negative = hf_int_is_negative(fraction.numerator);
    if (!hf_big_set_int(&numerator, fraction.numerator) || !hf_big_set_int(&denominator, fraction.denominator))
        return bad(reason, "a Fraction of such size cannot be a key");
    if (numerator.size == 0)
        return put_int64(0, out);
    hf_big_copy(&divisor, &numerator);
    hf_big_copy(&spoilt, &denominator);
    hf_big_gcd(&divisor, &spoilt);
    if (!hf_big_is_one(&divisor)) {
        hf_big_copy(&spoilt, &divisor);
        hf_big_div_exact(&numerator, &spoilt);
        hf_big_div_exact(&denominator, &divisor);
    }
    if (hf_big_is_one(&denominator))
        return hf_big_put(&numerator, negative, out);
    return put_reduced(&numerator, &denominator, negative, out);
}

int hf_number_put_fraction(hf_value_fraction fraction, hf_buffer *out, const char **reason)
{
    int64_t denominator;
    if (!hf_span_int64(fraction.denominator, &denominator) || denominator != 1)
        return put_ratio(fraction, out, reason);
    int status = hf_buffer_reserve(out, HF_VALUE_HEAD_SIMPLE + fraction.numerator.size);
    if (status == 0)
        hf_put_int(out, fraction.numerator);
    return status;
}

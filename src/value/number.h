/*
 * number.h: the canonical form of a number that is a key.
 *
 *      1  1.0  True  Decimal('1.00')  Fraction(1)  1+0j     int 1
 *      0.5  Decimal('0.5')  Fraction(1, 2)                  float 0.5
 *      Decimal('0.1')  Fraction(1, 10)                      Fraction 1/10
 *      0.1                                                  float 0.1 (it is 3602879701896397 / 2^55)
 *      float('inf')  Decimal('Infinity')                    float inf
 *
 * An integral number is an int; one that a double has exactly is that float; any other is a fraction in lowest terms.
 * So two numbers that are equal, as Python compares them (exactly, whatever their types), have one form.
 *
 * Concurrency: pure functions. Failure: HF_BAD_VALUE for a nan and for what is too large to reduce, *reason then says
 * which; HF_NOMEM. The buffer has no more than it had.
 */
#ifndef HF_VALUE_NUMBER_H
#define HF_VALUE_NUMBER_H

#include "value/buffer.h"
#include "value/codec.h"

/*
 * A Decimal can be a key if, without the zeros at the end of its digits, it has at most so many digits, none of them
 * more than so many places before its point or behind it. (Decimal128 reaches 6,145 places before and 6,176 behind.)
 */
#define HF_KEY_DIGITS_MAX 10000

int hf_number_put_double(double real, hf_buffer *out, const char **reason);
int hf_number_put_complex(double real, double imaginary, hf_buffer *out, const char **reason);
int hf_number_put_decimal(const hf_value_decimal *decimal, hf_buffer *out, const char **reason);

/* Any whose denominator is 1; of others those with at most HF_BIG_BITS (33,280) bits above and below. */
int hf_number_put_fraction(hf_value_fraction fraction, hf_buffer *out, const char **reason);

#endif

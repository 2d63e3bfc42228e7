/*
 * The arithmetic of keys: numbers made of known prime factors, so that greatest common divisors and quotients are
 * known; and small ones against 64-bit arithmetic.
 */
#include "test_value_support.h"

#include "value/bignum.h"

static const uint32_t primes[] = {2, 3, 5, 7, 65537, 4294967291u};

typedef struct factors {
    unsigned power[LENGTH(primes)];
} factors;

static factors random_factors(random_source *random, unsigned most)
{
    factors made;
    for (size_t i = 0; i < LENGTH(primes); i++)
        made.power[i] = random_below(random, 3) == 0 ? 0 : (unsigned)random_below(random, most);
    return made;
}

static void multiply(hf_big *big, factors f)
{
    hf_big_set(big, 1);
    for (size_t i = 0; i < LENGTH(primes); i++)
        for (unsigned j = 0; j < f.power[i]; j++)
            assert_true(hf_big_mul(big, primes[i], 0));
}

static bool same(const hf_big *a, const hf_big *b)
{
    return a->size == b->size && memcmp(a->limbs, b->limbs, a->size * sizeof *a->limbs) == 0;
}

static void common_divisors_are_found_and_taken_out(void **state)
{
    random_source random = {1};
    for (uint64_t i = 0, most = rounds(400); i < most; i++) {
        hf_big a, b, divisor, spoilt, expected;
        factors in_a = random_factors(&random, 1 + (unsigned)random_below(&random, 60));
        factors in_b = random_factors(&random, 1 + (unsigned)random_below(&random, 60));
        factors common, rest;
        for (size_t j = 0; j < LENGTH(primes); j++) {
            common.power[j] = in_a.power[j] < in_b.power[j] ? in_a.power[j] : in_b.power[j];
            rest.power[j] = in_a.power[j] - common.power[j];
        }
        multiply(&a, in_a);
        multiply(&b, in_b);
        hf_big_copy(&divisor, &a);
        hf_big_gcd(&divisor, &b);
        multiply(&expected, common);
        assert_true(same(&divisor, &expected));
        assert_int_equal(hf_big_is_one(&divisor), divisor.size == 1 && divisor.limbs[0] == 1);
        hf_big_copy(&spoilt, &divisor);
        hf_big_div_exact(&a, &spoilt);
        multiply(&expected, rest);
        assert_true(same(&a, &expected));
    }
}

static void small_numbers_are_64_bit_arithmetic(void **state)
{
    random_source random = {2};
    for (uint64_t i = 0, most = rounds(20000); i < most; i++) {
        hf_big big;
        uint64_t number = random_next(&random) >> random_below(&random, 64);
        uint32_t by = 1 + (uint32_t)(random_next(&random) >> (32 + random_below(&random, 32)));
        hf_big_set(&big, number);
        assert_int_equal(hf_big_u64(&big), number);
        assert_int_equal(hf_big_bits(&big), number == 0 ? 0 : 64 - __builtin_clzll(number));
        if (number != 0)
            assert_int_equal(hf_big_zeros(&big), __builtin_ctzll(number));
        assert_int_equal(hf_big_mod(&big, by), number % by);
        assert_int_equal(hf_big_div(&big, by), number % by);
        assert_int_equal(hf_big_u64(&big), number / by);
        uint32_t more = (uint32_t)(number % by);
        assert_true(hf_big_mul(&big, by, more));
        assert_int_equal(hf_big_u64(&big), number);
    }
}

static void shifts_undo_each_other(void **state)
{
    random_source random = {3};
    for (uint64_t i = 0, most = rounds(2000); i < most; i++) {
        hf_big big, shifted;
        multiply(&big, random_factors(&random, 30));
        size_t bits = random_below(&random, 2000);
        hf_big_copy(&shifted, &big);
        assert_true(hf_big_shift_left(&shifted, bits));
        assert_int_equal(hf_big_bits(&shifted), hf_big_bits(&big) + bits);
        assert_int_equal(hf_big_zeros(&shifted), hf_big_zeros(&big) + bits);
        /* Once more, bit by bit. */
        hf_big doubled;
        hf_big_copy(&doubled, &big);
        for (size_t j = 0; j < bits; j++)
            assert_true(hf_big_mul(&doubled, 2, 0));
        assert_true(same(&doubled, &shifted));
        hf_big_shift_right(&shifted, bits);
        assert_true(same(&shifted, &big));
        hf_big_shift_right(&shifted, hf_big_bits(&big));
        assert_int_equal(shifted.size, 0);
    }
}

/* An encoded int becomes a number and the same encoding again. */
static void ints_go_in_and_out(void **state)
{
    random_source random = {4};
    for (uint64_t i = 0, most = rounds(20000); i < most; i++) {
        arena_used = 0;
        hf_big big;
        hf_span integer = random_int(&random);
        uint8_t storage[512];
        hf_buffer out;
        hf_buffer_init(&out, storage, sizeof storage, SIZE_MAX);
        assert_true(hf_big_set_int(&big, integer));
        ok(hf_big_put(&big, hf_int_is_negative(integer), &out));
        hf_span expected = encode_node(node_new(&(hf_value_item){.kind = HF_VALUE_INT, .span = integer}, 0));
        assert_true(same_bytes(hf_span_of(out.bytes, out.size), expected));
        hf_buffer_clear(&out);
    }
}

static void numbers_have_a_largest(void **state)
{
    static uint8_t bytes[HF_BIG_BITS / 8 + 2];
    hf_big big, more;
    /* The largest: all bits set. */
    memset(bytes, 0xff, HF_BIG_BITS / 8);
    assert_true(hf_big_set_int(&big, hf_span_of(bytes, HF_BIG_BITS / 8 + 1)));
    assert_int_equal(hf_big_bits(&big), HF_BIG_BITS);
    hf_big_copy(&more, &big);
    assert_false(hf_big_mul(&more, 2, 0));
    hf_big_copy(&more, &big);
    assert_false(hf_big_mul(&more, 1, 1));
    assert_false(hf_big_shift_left(&big, 1));
    hf_buffer out;
    hf_buffer_init(&out, NULL, 0, SIZE_MAX);
    ok(hf_big_put(&big, true, &out));
    hf_buffer_clear(&out);
    /* One more, and its negative, whose bits are fewer. */
    memset(bytes, 0, sizeof bytes);
    bytes[HF_BIG_BITS / 8] = 1;
    assert_false(hf_big_set_int(&big, hf_span_of(bytes, HF_BIG_BITS / 8 + 1)));
    bytes[HF_BIG_BITS / 8] = 0xff;
    assert_false(hf_big_set_int(&big, hf_span_of(bytes, HF_BIG_BITS / 8 + 1)));
    bytes[0] = 1;
    assert_true(hf_big_set_int(&big, hf_span_of(bytes, HF_BIG_BITS / 8 + 1)));
    assert_int_equal(hf_big_bits(&big), HF_BIG_BITS);
    bytes[HF_BIG_BITS / 8] = 0;
    bytes[HF_BIG_BITS / 8 + 1] = 1;
    assert_false(hf_big_set_int(&big, hf_span_of(bytes, sizeof bytes)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(common_divisors_are_found_and_taken_out),
        cmocka_unit_test(small_numbers_are_64_bit_arithmetic),
        cmocka_unit_test(shifts_undo_each_other),
        cmocka_unit_test(ints_go_in_and_out),
        cmocka_unit_test(numbers_have_a_largest),
    };
    return cmocka_run_group_tests_name("value/bignum", tests, NULL, NULL);
}

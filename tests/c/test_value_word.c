/*
 * Words: what fits is inline and comes back; what does not fit is said not to; any 64 bits are a value or damage.
 */
#include "test_value_support.h"

#include "value/word.h"

static void ints_are_inline_up_to_60_bits(void **state)
{
    static const int64_t fit[] = {0, 1, -1, 42, HF_WORD_INT_MAX, HF_WORD_INT_MIN},
                         not [] = {HF_WORD_INT_MAX + 1, HF_WORD_INT_MIN - 1, INT64_MAX, INT64_MIN};
    hf_word word = 77;
    for (size_t i = 0; i < LENGTH(fit); i++) {
        assert_true(hf_word_pack_int(fit[i], &word));
        ok(hf_word_check(word));
        assert_int_equal(hf_word_tag_of(word), HF_WORD_TAG_INT);
        assert_true(hf_word_int(word) == fit[i]);
    }
    word = 77;
    for (size_t i = 0; i < LENGTH(not ); i++)
        assert_false(hf_word_pack_int(not [i], &word));
    assert_int_equal(word, 77);
}

/* The layout, as word.h draws it: it is on disk. */
static void words_are_as_drawn(void **state)
{
    hf_word word;
    assert_true(hf_word_pack_int(-2, &word) && word == UINT64_C(0xffffffffffffffe1));
    assert_true(hf_word_pack_int(5, &word) && word == 0x51);
    assert_true(HF_WORD_NONE == 0x02 && HF_WORD_FALSE == 0x12 && HF_WORD_TRUE == 0x22 && HF_WORD_EMPTY == 0);
    assert_true(hf_word_bool(true) == HF_WORD_TRUE && hf_word_bool(false) == HF_WORD_FALSE);
    assert_true(hf_word_pack_short(HF_WORD_TAG_STR, "abc", 3, &word) && word == UINT64_C(0x63626133));
    assert_true(hf_word_pack_short(HF_WORD_TAG_BYTES, "\x01\xff", 2, &word) && word == UINT64_C(0xff0124));
    assert_true(hf_word_pack_short(HF_WORD_TAG_STR, "1234567", 7, &word) && word == UINT64_C(0x3736353433323173));
    assert_true(hf_word_pack_short(HF_WORD_TAG_STR, NULL, 0, &word) && word == 0x03);
    word = 77;
    assert_false(hf_word_pack_short(HF_WORD_TAG_STR, "12345678", 8, &word));
    assert_int_equal(word, 77);
    word = hf_word_reference(HF_WORD_REFERENCE_MAX);
    assert_true(hf_word_is_reference(word) && word == UINT64_C(0xfffffffffffffff5));
    assert_true(hf_word_where(word) == HF_WORD_REFERENCE_MAX);
    ok(hf_word_check(word));
}

/* A value's encoding and its word are made of each other. */
static void encoded_values_and_words_go_over_into_each_other(void **state)
{
    random_source random = {1};
    uint64_t inside = 0, outside = 0;
    for (uint64_t i = 0, most = rounds(20000); i < most; i++) {
        arena_used = 0;
        hf_word word;
        node *made = random_value(&random, 1, HF_VALUE_END);
        hf_span bytes = encode_node(made);
        int status = hf_word_from_encoded(bytes.bytes, bytes.size, &word);
        int64_t number;
        bool fits = made->item.kind <= HF_VALUE_BOOL;
        if (made->item.kind == HF_VALUE_INT)
            fits = hf_span_int64(made->item.span, &number) && number >= HF_WORD_INT_MIN && number <= HF_WORD_INT_MAX;
        if (made->item.kind == HF_VALUE_STR || made->item.kind == HF_VALUE_BYTES)
            fits = made->item.span.size <= 7;
        assert_int_equal(status, fits);
        if (!fits) {
            outside++;
            continue;
        }
        inside++;
        hf_value_writer writer;
        hf_value_writer_init(&writer, NULL, 0, SIZE_MAX);
        ok(hf_word_check(word));
        ok(hf_word_write(word, &writer));
        assert_true(same_bytes(hf_span_of(writer.out.bytes, writer.out.size), bytes));
        hf_value_writer_clear(&writer);
    }
    assert_true(inside > 1000 && outside > 1000);
}

/* A word that is a value is the only word of that value; every other is damage. */
static void any_word_is_the_only_one_or_damage(void **state)
{
    random_source random = {2};
    unsigned values = 0, damaged = 0;
    for (uint64_t i = 0, most = rounds(200000); i < most; i++) {
        hf_word word = random_next(&random) >> (8 * random_below(&random, 8)), again;
        if (random_below(&random, 2))
            word = (word & ~UINT64_C(15)) | random_below(&random, 6);
        uint8_t storage[64];
        hf_value_writer writer;
        hf_value_writer_init(&writer, storage, sizeof storage, SIZE_MAX);
        int status = hf_word_check(word), written = hf_word_write(word, &writer);
        if (status == 0 && !hf_word_is_reference(word)) {
            values++;
            ok(written);
            assert_int_equal(hf_word_from_encoded(writer.out.bytes, writer.out.size, &again), 1);
            assert_true(again == word);
        } else {
            damaged++;
            assert_int_equal(written, HF_CORRUPT);
            assert_int_equal(writer.out.size, 0);
        }
        hf_value_writer_clear(&writer);
    }
    assert_true(values > 1000 && damaged > 1000);
}

static void damage_is_found(void **state)
{
    static const hf_word wrong[] = {
        0,        0x10, 0x32, /* a constant that is none */
        0x83,                 /* a str of 8 bytes */
        0x6113,               /* this one is right: see below */
        0x626113,             /* a byte behind the last one */
        0xff13,               /* not UTF-8 */
        0x06,     0x16, 0x07, 0x0f,
    };
    for (size_t i = 0; i < LENGTH(wrong); i++)
        assert_int_equal(hf_word_check(wrong[i]), wrong[i] == 0x6113 ? 0 : HF_CORRUPT);
    hf_word word = 77;
    assert_int_equal(hf_word_from_encoded("", 0, &word), HF_CORRUPT);
    assert_int_equal(hf_word_from_encoded("\x01\x01", 2, &word), HF_CORRUPT);
    assert_int_equal(hf_word_from_encoded("\xa1", 1, &word), HF_CORRUPT);
    assert_int_equal(hf_word_from_encoded("\xa1\x01\x01", 3, &word), HF_CORRUPT);
    assert_int_equal(hf_word_from_encoded("\xa1\x01", 2, &word), 0);
    assert_int_equal(word, 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ints_are_inline_up_to_60_bits),
        cmocka_unit_test(words_are_as_drawn),
        cmocka_unit_test(encoded_values_and_words_go_over_into_each_other),
        cmocka_unit_test(any_word_is_the_only_one_or_damage),
        cmocka_unit_test(damage_is_found),
    };
    return cmocka_run_group_tests_name("value/word", tests, NULL, NULL);
}

/* The status list: codes are distinct and negative, every one has its texts. */
#include <holdfast/status.h>
#include <holdfast/version.h>

#include "cm.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int code;
    const char *message;
} listed[] = {
#define ROW(name, code, message) {#name, name, message},
    HF_STATUS_LIST(ROW)
#undef ROW
};

#define LISTED LENGTH(listed)

static void codes_are_distinct_negative_and_without_gaps(void **state)
{
    assert_true(LISTED >= 8);
    for (size_t i = 0; i < LISTED; i++)
        assert_int_equal(listed[i].code, -(int)(i + 1));
}

static void released_codes_keep_their_numbers(void **state)
{
    assert_int_equal(HF_OK, 0);
    assert_int_equal(HF_NOMEM, -1);
    assert_int_equal(HF_INVALID, -2);
    assert_int_equal(HF_FOREIGN, -3);
    assert_int_equal(HF_CONFLICT, -4);
    assert_int_equal(HF_BUSY, -5);
    assert_int_equal(HF_LIMIT, -6);
    assert_int_equal(HF_IO, -7);
    assert_int_equal(HF_CORRUPT, -8);
    assert_int_equal(HF_BAD_TYPE, -9);
    assert_int_equal(HF_BAD_VALUE, -10);
    assert_int_equal(HF_TIMEOUT, -11);
    assert_int_equal(HF_NOSPACE, -12);
    assert_int_equal(HF_ABSENT, -13);
    assert_int_equal(HF_EXISTS, -14);
    assert_int_equal(HF_DENIED, -15);
    assert_int_equal(HF_NOT_REGION, -16);
    assert_int_equal(HF_FORMAT, -17);
    assert_int_equal(HF_SLOTS, -18);
    assert_int_equal(HF_LOST, -19);
    assert_int_equal(HF_NETWORK, -20);
    assert_int_equal(HF_BROKEN, -21);
    assert_int_equal(HF_READ_ONLY, -22);
    assert_int_equal(HF_NOT_CASK, -23);
}

static void every_code_has_its_own_name_and_message(void **state)
{
    for (size_t i = 0; i < LISTED; i++) {
        assert_string_equal(hf_status_name(listed[i].code), listed[i].name);
        assert_string_equal(hf_status_message(listed[i].code), listed[i].message);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(listed[i].message, listed[j].message);
    }
}

static void answers_are_no_error(void **state)
{
    assert_string_equal(hf_status_name(0), "HF_OK");
    assert_string_equal(hf_status_name(1), "HF_OK");
    assert_string_equal(hf_status_message(1), "no error");
}

static void an_unknown_code_is_said_to_be_so(void **state)
{
    int unknown[] = {-(int)LISTED - 1, -1000000, INT32_MIN};

    for (size_t i = 0; i < LENGTH(unknown); i++) {
        assert_string_equal(hf_status_name(unknown[i]), "HF_UNKNOWN");
        assert_string_equal(hf_status_message(unknown[i]), "unknown status");
    }
}

static void version_is_the_builds(void **state)
{
    char text[64];

    snprintf(text, sizeof(text), "%d.%d.%d", HF_VERSION_MAJOR, HF_VERSION_MINOR, HF_VERSION_PATCH);
    assert_string_equal(HF_VERSION, text);
    assert_string_equal(HF_VERSION, HF_TEST_VERSION);
    assert_string_equal(hf_version(), HF_VERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_distinct_negative_and_without_gaps),
        cmocka_unit_test(released_codes_keep_their_numbers),
        cmocka_unit_test(every_code_has_its_own_name_and_message),
        cmocka_unit_test(answers_are_no_error),
        cmocka_unit_test(an_unknown_code_is_said_to_be_so),
        cmocka_unit_test(version_is_the_builds),
    };

    return cmocka_run_group_tests_name("base/status", tests, NULL, NULL);
}

/* Strings are hashed also where the system has no randomness to give. A program of its own: the seed is drawn once. */
#include "test_map_support.h"

#include "base/os.h"

static const hf_map_type string_to_int = {&hf_type_string, &hf_type_int64};

static void strings_are_hashed_without_randomness(void **state)
{
    const struct hf_fault never = {.first = 1, .times = HF_FAULT_FOREVER, .error = ENOSYS};
    hf_map *map;
    hf_value value;
    hf_view view;
    char text[8];
    hf_fault_arm_plan(HF_OS_SITE_getrandom, &never);
    ok(hf_map_new(&string_to_int, &map));
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof text, "%d", i);
        assert_int_equal(hf_map_with_take(&map, hf_string_view(&view, text), hf_value_int(i)), 1);
    }
    assert_true(hf_fault_failed(HF_OS_SITE_getrandom) > 0);
    hf_fault_disarm();
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof text, "%d", i);
        assert_int_equal(hf_map_get(map, hf_string_view(&view, text), &value), 1);
        assert_int_equal(value.i64, i);
    }
    ok(hf_map_drop(map));
}

int main(void)
{
    const struct CMUnitTest tests[] = {SUPPORTED(strings_are_hashed_without_randomness)};
    return cmocka_run_group_tests(tests, support_init, NULL);
}

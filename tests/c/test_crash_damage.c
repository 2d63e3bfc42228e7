/*
 * The mutators of tests/crash: each does what it says, to one file, the same for the same seed.
 */
#include "cm.h"

#include "damage.h"

enum { SIZE = 3 * HF_BLOCK + 100 };

static uint8_t now_bytes[SIZE], old_bytes[2 * HF_BLOCK];
static const struct hf_bytes now = {now_bytes, SIZE}, old = {old_bytes, sizeof(old_bytes)};

static int fill(void **state)
{
    struct hf_random random = {1};

    hf_random_fill(&random, now_bytes, sizeof(now_bytes));
    memcpy(old_bytes, now_bytes, sizeof(old_bytes));
    /* A sector of the old version was other. */
    hf_random_fill(&random, old_bytes + HF_SECTOR, HF_SECTOR);
    return 0;
}

/* Where the first and the last byte differ: false if none does. */
static bool differs(const struct hf_bytes *a, const struct hf_bytes *b, size_t *first, size_t *last)
{
    const size_t common = a->size < b->size ? a->size : b->size;
    bool any = false;

    for (size_t i = 0; i < common; i++)
        if (a->at[i] != b->at[i]) {
            *first = any ? *first : i;
            *last = i;
            any = true;
        }
    return any;
}

static void expect_stale(const struct hf_bytes *damaged)
{
    for (size_t i = 0; i < damaged->size; i++)
        assert_true(damaged->at[i] == now.at[i] || (i < old.size && damaged->at[i] == old.at[i]));
}

static void expect_moved(const struct hf_bytes *damaged, size_t first, size_t last, bool swapped)
{
    uint64_t sum[2] = {0};

    /* At most two blocks are touched; exchanged, the same bytes are there as before. */
    for (size_t i = 0; i < SIZE; i++) {
        sum[0] += now.at[i];
        sum[1] += damaged->at[i];
    }
    assert_true(!swapped || sum[0] == sum[1]);
    assert_true(last - first < SIZE);
}

static void each_kind_does_what_it_says(void **state)
{
    unsigned seen[HF_DAMAGE_KINDS] = {0};

    for (uint64_t seed = 0; seed < 4000; seed++) {
        struct hf_random random = {seed};
        struct hf_bytes damaged;
        size_t first = 0, last = 0, at = 0, count = 0;
        char what[200];
        const bool changed = hf_damage(&random, &now, &old, &damaged, what, sizeof(what));
        const bool differ = differs(&now, &damaged, &first, &last);

        assert_int_equal(changed, differ || damaged.size != SIZE);
        if (strstr(what, "flipped") != NULL) {
            seen[HF_DAMAGE_BITS]++;
            assert_int_equal(damaged.size, SIZE);
        } else if (sscanf(what, "%zu bytes overwritten at %zu", &count, &at) == 2) {
            seen[HF_DAMAGE_BYTES]++;
            assert_true(!differ || (first >= at && last < at + count && count <= 64));
        } else if (sscanf(what, "%zu bytes zeroed at %zu", &count, &at) == 2) {
            seen[HF_DAMAGE_ZEROED]++;
            assert_true(at % HF_SECTOR == 0 && at + count <= SIZE);
            for (size_t i = 0; i < count; i++)
                assert_int_equal(damaged.at[at + i], 0);
        } else if (strstr(what, "cut to") != NULL) {
            seen[HF_DAMAGE_CUT]++;
            assert_true(damaged.size < SIZE && !differ);
        } else if (strstr(what, "garbage") != NULL) {
            seen[HF_DAMAGE_TAIL]++;
            assert_true(damaged.size > SIZE && !differ);
        } else if (strstr(what, "exchanged") != NULL) {
            seen[HF_DAMAGE_SWAPPED]++;
            expect_moved(&damaged, first, last, true);
        } else if (strstr(what, "written over") != NULL) {
            seen[HF_DAMAGE_MISPLACED]++;
            expect_moved(&damaged, first, last, false);
        } else {
            assert_non_null(strstr(what, "old version"));
            seen[HF_DAMAGE_STALE]++;
            if (changed)
                expect_stale(&damaged);
        }
        free(damaged.at);
    }
    for (size_t kind = 0; kind < HF_DAMAGE_KINDS; kind++)
        assert_true(seen[kind] > 300);
}

static void the_same_seed_does_the_same(void **state)
{
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct hf_random first = {seed}, second = {seed};
        struct hf_bytes a, b;
        char what[200];

        assert_int_equal(hf_damage(&first, &now, &old, &a, what, sizeof(what)),
                         hf_damage(&second, &now, &old, &b, what, sizeof(what)));
        assert_int_equal(a.size, b.size);
        assert_memory_equal(a.at, b.at, a.size);
        free(a.at);
        free(b.at);
    }
}

static void small_and_empty_files_can_be_damaged(void **state)
{
    uint8_t byte = 7;
    const struct hf_bytes nothing = {&byte, 0}, one = {&byte, 1};

    for (uint64_t seed = 0; seed < 500; seed++) {
        struct hf_random random = {seed};
        struct hf_bytes a, b;
        char what[200];

        assert_true(hf_damage(&random, &nothing, &one, &a, what, sizeof(what)));
        hf_damage(&random, &one, &nothing, &b, what, sizeof(what));
        free(a.at);
        free(b.at);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_does_what_it_says),
        cmocka_unit_test(the_same_seed_does_the_same),
        cmocka_unit_test(small_and_empty_files_can_be_damaged),
    };

    return cmocka_run_group_tests(tests, fill, NULL);
}

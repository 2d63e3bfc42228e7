/* The allocation hook: malloc by default, a caller's allocator, the n-th call failing. */
#include "base/memory.h"

#include <holdfast/status.h>

#include "cm.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#define THREADS 4
#define ROUNDS 2000

/* An allocator that counts, and marks its blocks so that a foreign one is noticed. */
#define MARK 0x5ca1ab1e0ddba11u

struct counted {
    _Atomic uint64_t allocs;
    _Atomic uint64_t reallocs;
    _Atomic uint64_t frees;
    _Atomic int64_t live;
};

struct header {
    uint64_t mark;
    uint64_t padding;
};

static void *counted_alloc(void *user, size_t size)
{
    struct counted *counted = user;
    struct header *header = malloc(sizeof(*header) + size);

    assert_true(size > 0);
    assert_non_null(header);
    header->mark = MARK;
    atomic_fetch_add(&counted->allocs, 1);
    atomic_fetch_add(&counted->live, 1);
    return header + 1;
}

static void *counted_realloc(void *user, void *block, size_t size)
{
    struct counted *counted = user;
    struct header *header = (struct header *)block - 1;

    assert_true(size > 0);
    assert_true(header->mark == MARK);
    header = realloc(header, sizeof(*header) + size);
    assert_non_null(header);
    atomic_fetch_add(&counted->reallocs, 1);
    return header + 1;
}

static void counted_free(void *user, void *block)
{
    struct counted *counted = user;
    struct header *header = (struct header *)block - 1;

    assert_non_null(block);
    assert_true(header->mark == MARK);
    header->mark = 0;
    atomic_fetch_add(&counted->frees, 1);
    atomic_fetch_sub(&counted->live, 1);
    free(header);
}

static int reset(void **state)
{
    hf_fault_disarm();
    return hf_allocator_set(NULL);
}

static void without_a_hook_it_is_malloc(void **state)
{
    char *block = hf_alloc(10);

    assert_non_null(block);
    memcpy(block, "123456789", 10);
    block = hf_realloc(block, 100000);
    assert_non_null(block);
    assert_string_equal(block, "123456789");
    hf_free(block);
    hf_free(NULL);

    block = hf_realloc(NULL, 5);
    assert_non_null(block);
    free(block); /* and nothing of its own is kept in front of the block */
}

static void an_allocator_gets_every_call(void **state)
{
    struct counted counted = {0};
    hf_allocator allocator = {counted_alloc, counted_realloc, counted_free, &counted};

    assert_int_equal(hf_allocator_set(&allocator), 0);
    allocator = (hf_allocator){0}; /* it was copied */

    char *a = hf_alloc(1);
    char *b = hf_realloc(NULL, 20);
    assert_non_null(a);
    assert_non_null(b);
    memcpy(b, "kept", 5);
    b = hf_realloc(b, 4000);
    assert_string_equal(b, "kept");
    assert_int_equal(counted.allocs, 2);
    assert_int_equal(counted.reallocs, 1);
    assert_int_equal(counted.live, 2);
    hf_free(a);
    hf_free(b);
    hf_free(NULL);
    assert_int_equal(counted.frees, 2);

    assert_int_equal(hf_allocator_set(NULL), 0);
    a = hf_alloc(1);
    assert_non_null(a);
    hf_free(a);
    assert_int_equal(counted.allocs, 2);
    assert_int_equal(counted.live, 0);
}

static void an_incomplete_allocator_is_refused_and_changes_nothing(void **state)
{
    struct counted counted = {0};
    const hf_allocator whole = {counted_alloc, counted_realloc, counted_free, &counted};
    hf_allocator bad[] = {whole, whole, whole};

    bad[0].alloc = NULL;
    bad[1].realloc = NULL;
    bad[2].free = NULL;
    assert_int_equal(hf_allocator_set(&whole), 0);
    for (size_t i = 0; i < LENGTH(bad); i++)
        assert_int_equal(hf_allocator_set(&bad[i]), HF_INVALID);
    hf_free(hf_alloc(8));
    assert_int_equal(counted.frees, 1);
}

/* The same script of allocations; where one fails, what was there before is whole. */
static bool script(void)
{
    bool done = false;
    char *a = hf_alloc(8), *b = NULL, *grown;

    if (a == NULL)
        return false;
    memcpy(a, "first", 6);
    b = hf_realloc(NULL, 8);
    if (b == NULL)
        goto out;
    grown = hf_realloc(a, 1 << 16);
    if (grown == NULL)
        goto out;
    a = grown;
    done = true;
out:
    assert_string_equal(a, "first");
    hf_free(a);
    hf_free(b);
    return done;
}

static void check_each_allocation_can_fail(void)
{
    for (uint64_t n = 1; n <= 4; n++) {
        hf_fault_arm(HF_FAULT_ALLOC, n, ENOMEM);
        bool done = script();
        assert_int_equal(hf_fault_failed(HF_FAULT_ALLOC), n <= 3);
        assert_int_equal(hf_fault_calls(HF_FAULT_ALLOC), n <= 3 ? n : 3);
        assert_int_equal(done, n > 3);
        hf_fault_disarm();
    }
}

static void each_allocation_can_fail(void **state)
{
    check_each_allocation_can_fail();
}

static void each_allocation_can_fail_with_an_allocator_too(void **state)
{
    struct counted counted = {0};
    hf_allocator allocator = {counted_alloc, counted_realloc, counted_free, &counted};

    assert_int_equal(hf_allocator_set(&allocator), 0);
    check_each_allocation_can_fail();
    assert_int_equal(counted.live, 0);
}

static void freeing_is_not_a_call_that_counts(void **state)
{
    void *block = hf_alloc(1);

    hf_fault_arm(HF_FAULT_ALLOC, 1, ENOMEM);
    hf_free(block);
    assert_int_equal(hf_fault_calls(HF_FAULT_ALLOC), 0);
    block = hf_alloc(1);
    assert_null(block);
    hf_free(block);
}

static void *allocate_and_free(void *failed)
{
    bool whole = true;

    for (size_t i = 1; i <= ROUNDS; i++) {
        unsigned char *block = hf_alloc(i), *grown;

        if (block == NULL) {
            ++*(uint64_t *)failed;
            continue;
        }
        block[0] = (unsigned char)i;
        grown = hf_realloc(block, 2 * i);
        if (grown == NULL)
            ++*(uint64_t *)failed;
        else
            block = grown;
        whole = whole && block[0] == (unsigned char)i;
        hf_free(block);
    }
    return whole ? failed : NULL;
}

static void threads_share_the_hook_and_the_plan(void **state)
{
    struct counted counted = {0};
    hf_allocator allocator = {counted_alloc, counted_realloc, counted_free, &counted};
    struct hf_fault plan = {.first = 100, .times = 1000, .error = ENOMEM};
    pthread_t threads[THREADS];
    uint64_t failed[THREADS] = {0}, sum = 0;
    void *result;

    assert_int_equal(hf_allocator_set(&allocator), 0);
    hf_fault_arm_plan(HF_FAULT_ALLOC, &plan);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, allocate_and_free, &failed[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_ptr_equal(result, &failed[i]);
        sum += failed[i];
    }
    assert_int_equal(sum, 1000);
    assert_int_equal(hf_fault_failed(HF_FAULT_ALLOC), 1000);
    assert_int_equal(counted.live, 0);
    assert_int_equal(counted.allocs + counted.reallocs + 1000, hf_fault_calls(HF_FAULT_ALLOC));
}

/* Longer as it must be, with what it had; without memory as it was. */
static void an_array_grows(void **state)
{
    size_t room = 0;
    uint32_t *array = NULL;
    for (uint32_t i = 0; i < 1000; i++) {
        uint32_t *longer = hf_grown(array, &room, i + 1, sizeof *array);
        assert_non_null(longer);
        array = longer;
        assert_true(room > i);
        array[i] = i;
    }
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(array[i], i);
    size_t before = room;
    assert_ptr_equal(hf_grown(array, &room, room, sizeof *array), array);
    hf_fault_arm(HF_FAULT_ALLOC, 1, ENOMEM);
    assert_null(hf_grown(array, &room, room + 1, sizeof *array));
    hf_fault_disarm();
    assert_int_equal(room, before);
    assert_int_equal(array[999], 999);
    hf_free(array);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(without_a_hook_it_is_malloc, reset),
        cmocka_unit_test_teardown(an_allocator_gets_every_call, reset),
        cmocka_unit_test_teardown(an_incomplete_allocator_is_refused_and_changes_nothing, reset),
        cmocka_unit_test_teardown(each_allocation_can_fail, reset),
        cmocka_unit_test_teardown(each_allocation_can_fail_with_an_allocator_too, reset),
        cmocka_unit_test_teardown(freeing_is_not_a_call_that_counts, reset),
        cmocka_unit_test_teardown(an_array_grows, reset),
        cmocka_unit_test_teardown(threads_share_the_hook_and_the_plan, reset),
    };

    return cmocka_run_group_tests_name("base/memory", tests, NULL, NULL);
}

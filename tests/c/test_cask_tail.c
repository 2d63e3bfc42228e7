/*
 * The tail: against an array, with good and bad hashes, seen as it was at every moment; growing; the far links;
 * look-ups while another thread appends.
 */
#include "cask/tail.h"

#include "test_cask_parts.h"

#include <pthread.h>
#include <time.h>

typedef enum hash_mode { HASH_MIXED, HASH_FEW, HASH_BUCKET, HASH_CONSTANT, HASH_MODES } hash_mode;

static uint64_t hash_of(hash_mode mode, uint64_t key)
{
    uint64_t mixed = hf_hash_u64(key, 5);
    switch (mode) {
    case HASH_MIXED:
        return mixed;
    case HASH_FEW:
        return hf_hash_u64(key % 3, 5);
    case HASH_BUCKET: /* different, in one bucket */
        return mixed << 20;
    default:
        return 42;
    }
}

static int no_faults(void **state)
{
    random_state = 1;
    return 0;
}

static int end_faults(void **state)
{
    hf_fault_disarm();
    return 0;
}

/* What is to be found: by looking at all. */
static uint32_t model_find(const hf_tail_entry *entries, uint64_t hash, uint32_t below)
{
    while (below > 0)
        if (entries[--below].hash == hash)
            return below;
    return HF_TAIL_NONE;
}

enum { MODEL = 3000 };

static hf_tail_entry model[MODEL];

static void check_at(const hf_tail *tail, hash_mode mode, uint64_t key, uint32_t below)
{
    uint64_t hash = hash_of(mode, key);
    uint32_t expected = below;
    /* And those before it, down to the first. */
    for (unsigned i = 0; i < 50 && expected != HF_TAIL_NONE; i++) {
        uint32_t found = hf_tail_find(tail, hash, expected);
        expected = model_find(model, hash, expected);
        assert_int_equal(found, expected);
        if (found != HF_TAIL_NONE)
            assert_true(tail->entries[found].hash == hash && tail->entries[found].place == model[found].place);
    }
}

static void it_is_an_array_that_is_searched_from_the_end(void **state)
{
    for (hash_mode mode = 0; mode < HASH_MODES; mode++) {
        hf_tail *tail;
        uint32_t keys = mode == HASH_MIXED ? 500 : 40;
        ok(hf_tail_new(4, &tail));
        for (uint32_t i = 0; i < MODEL; i++) {
            if (tail->filled == tail->room) {
                hf_tail *larger;
                ok(hf_tail_grow(tail, 1, &larger));
                assert_int_equal(larger->room, 2 * tail->room);
                assert_int_equal(larger->filled, i);
                hf_tail_drop(tail);
                tail = larger;
            }
            model[i] = (hf_tail_entry){hash_of(mode, random_below(keys)), random_next()};
            hf_tail_append(tail, model[i].hash, model[i].place);
            if (random_below(3) == 0)
                hf_tail_show(tail);
            check_at(tail, mode, random_below(keys), hf_tail_visible(tail));
            check_at(tail, mode, random_below(keys), (uint32_t)random_below(i + 2));
        }
        for (uint32_t below = 0; below <= MODEL; below += 7)
            for (uint64_t key = 0; key < keys; key += 3)
                check_at(tail, mode, key, below);
        assert_int_equal(hf_tail_find(tail, hash_of(HASH_MIXED, 1000000), MODEL), HF_TAIL_NONE);
        hf_tail_drop(tail);
    }
}

/* T1 and T2. */
static void check_links(const hf_tail *tail)
{
    uint32_t *seen = calloc(tail->room, sizeof *seen);
    uint32_t *depth = calloc(tail->room, sizeof *depth);
    assert_non_null(seen);
    assert_non_null(depth);
    uint32_t reached = 0;
    for (uint32_t i = 0; i < tail->filled; i++) {
        hf_tail_link link = tail->links[i];
        uint32_t far = link.far & (HF_TAIL_MOST - 1), rank = link.far >> 27;
        if (link.before == HF_TAIL_NONE)
            continue;
        assert_true(link.before < i && far <= link.before);
        assert_true((tail->entries[far].hash & tail->mask) == (tail->entries[i].hash & tail->mask));
        depth[i] = depth[link.before] + 1;
        assert_int_equal(depth[i] - depth[far], (UINT32_C(1) << rank) - 1);
    }
    for (uint32_t b = 0; b <= tail->mask; b++)
        for (uint32_t i = (uint32_t)tail->buckets[b] - 1; i != HF_TAIL_NONE; i = tail->links[i].before) {
            assert_true((tail->entries[i].hash & tail->mask) == b && seen[i]++ == 0);
            reached++;
        }
    assert_int_equal(reached, tail->filled);
    free(seen);
    free(depth);
}

static void every_entry_is_in_its_chain(void **state)
{
    for (hash_mode mode = 0; mode < HASH_MODES; mode++) {
        hf_tail *tail;
        ok(hf_tail_new(5000, &tail));
        for (uint32_t i = 0; i < 5000; i++) {
            hf_tail_append(tail, hash_of(mode, random_below(1000)), i);
            if (i % 997 == 0)
                check_links(tail);
        }
        check_links(tail);
        hf_tail_drop(tail);
    }
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* A snapshot of long ago, and a key that was put ever since: by steps of one this would be 10^10. */
static void an_old_moment_is_found_soon(void **state)
{
    enum { MANY = 200000, LOOKS = 50000 };
    hf_tail *tail;
    ok(hf_tail_new(MANY, &tail));
    for (uint32_t i = 0; i < MANY; i++)
        hf_tail_append(tail, 42, i);
    double before = seconds();
    for (uint32_t i = 0; i < LOOKS; i++)
        assert_int_equal(hf_tail_find(tail, 42, i + 1), i);
    assert_true(seconds() - before < 2);
    hf_tail_drop(tail);
}

static void what_is_not_shown_is_not_there_yet(void **state)
{
    hf_tail *tail, *larger;
    ok(hf_tail_new(10, &tail));
    hf_tail_append(tail, 1, 100);
    hf_tail_show(tail);
    hf_tail_append(tail, 1, 101);
    hf_tail_append(tail, 2, 102);
    assert_int_equal(hf_tail_visible(tail), 1);
    assert_int_equal(hf_tail_find(tail, 1, hf_tail_visible(tail)), 0);
    assert_int_equal(hf_tail_find(tail, 2, hf_tail_visible(tail)), HF_TAIL_NONE);
    ok(hf_tail_grow(tail, 100, &larger));
    assert_int_equal(larger->room, 103);
    assert_int_equal(hf_tail_visible(larger), 1);
    assert_int_equal(larger->filled, 3);
    assert_int_equal(hf_tail_find(larger, 2, hf_tail_visible(larger)), HF_TAIL_NONE);
    hf_tail_show(larger);
    assert_int_equal(hf_tail_find(larger, 2, hf_tail_visible(larger)), 2);
    assert_int_equal(hf_tail_find(larger, 1, hf_tail_visible(larger)), 1);
    /* The old one is as it was, as long as somebody has it. */
    hf_tail_keep(tail);
    hf_tail_drop(tail);
    assert_int_equal(hf_tail_find(tail, 1, hf_tail_visible(tail)), 0);
    hf_tail_drop(tail);
    hf_tail_drop(larger);
    hf_tail_drop(NULL);
}

static void too_much_is_refused(void **state)
{
    hf_tail *tail = NULL, *larger = NULL;
    assert_int_equal(hf_tail_new(HF_TAIL_MOST + 1, &tail), HF_LIMIT);
    assert_null(tail);
    ok(hf_tail_new(0, &tail));
    hf_tail_append(tail, 1, 1);
    assert_int_equal(hf_tail_grow(tail, HF_TAIL_MOST, &larger), HF_LIMIT);
    assert_int_equal(hf_tail_grow(tail, UINT32_MAX, &larger), HF_LIMIT);
    hf_fault_arm(HF_FAULT_ANY, 1, ENOMEM);
    assert_int_equal(hf_tail_grow(tail, 1, &larger), HF_NOMEM);
    hf_fault_arm(HF_FAULT_ANY, 1, ENOMEM);
    assert_int_equal(hf_tail_new(1, &larger), HF_NOMEM);
    hf_fault_disarm();
    assert_null(larger);
    assert_int_equal(tail->filled, 1);
    hf_tail_drop(tail);
}

static uint64_t resident(void)
{
    unsigned long all, in = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu %lu", &all, &in), 2);
    fclose(file);
    return in * 4096;
}

/* (With huge pages always on, a touch is 2 MiB.) */
static void what_is_not_used_takes_no_memory(void **state)
{
    hf_tail *tail;
    uint64_t before = resident();
    ok(hf_tail_new(4000000, &tail));
    for (uint32_t i = 0; i < 100; i++)
        hf_tail_append(tail, hash_of(HASH_MIXED, i), i);
    assert_true(tail->mapped > 100 << 20);
    assert_true(resident() < before + (16 << 20));
    hf_tail_show(tail);
    assert_true(hf_tail_bytes(tail) > 100 * 24 && hf_tail_bytes(tail) < 1 << 20);
    hf_tail_drop(tail);
}

/* -- threads -- */

enum { BATCHES = 30000, BATCH = 5, KEYS = 300, READERS = 3 };

static struct {
    hf_tail *tail;
    _Atomic bool done, wrong;
} the;

/* Batch n puts n for five keys that follow each other: whoever sees one sees all. */
static void *reader(void *arg)
{
    uint64_t random = (uint64_t)(uintptr_t)arg, old = 0;
    uint32_t remembered = 0, had = HF_TAIL_NONE;
    do {
        uint32_t below = hf_tail_visible(the.tail);
        uint64_t group = hf_hash_u64(random++, 9) % (KEYS / BATCH), first = 0;
        if (below % BATCH != 0 || below < old)
            the.wrong = true;
        old = below;
        for (uint64_t i = 0; i < BATCH; i++) {
            uint64_t hash = hash_of(HASH_MIXED, group * BATCH + i);
            uint32_t found = hf_tail_find(the.tail, hash, below);
            uint64_t batch = found == HF_TAIL_NONE ? 0 : the.tail->entries[found].place;
            first = i == 0 ? batch : first;
            if (batch != first ||
                (found != HF_TAIL_NONE && (found >= below || the.tail->entries[found].hash != hash)))
                the.wrong = true;
        }
        /* A moment that was remembered stays. */
        if (remembered > 0 && hf_tail_find(the.tail, hash_of(HASH_MIXED, 7), remembered) != had)
            the.wrong = true;
        if (random % 64 == 0) {
            remembered = below;
            had = hf_tail_find(the.tail, hash_of(HASH_MIXED, 7), remembered);
        }
    } while (!the.done);
    return NULL;
}

static void readers_see_batches_whole(void **state)
{
    pthread_t threads[READERS];
    ok(hf_tail_new(BATCHES * BATCH, &the.tail));
    the.done = the.wrong = false;
    for (uintptr_t i = 0; i < READERS; i++)
        ok(pthread_create(&threads[i], NULL, reader, (void *)(i * 1000000 + 1)));
    for (uint64_t n = 1; n <= BATCHES; n++) {
        uint64_t group = random_below(KEYS / BATCH);
        for (uint64_t i = 0; i < BATCH; i++)
            hf_tail_append(the.tail, hash_of(HASH_MIXED, group * BATCH + i), n);
        hf_tail_show(the.tail);
        if (n % 256 == 0)
            sched_yield();
    }
    the.done = true;
    for (size_t i = 0; i < READERS; i++)
        ok(pthread_join(threads[i], NULL));
    assert_false(the.wrong);
    hf_tail_drop(the.tail);
}

#define with_faults(test) cmocka_unit_test_setup_teardown(test, no_faults, end_faults)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_faults(it_is_an_array_that_is_searched_from_the_end),
        with_faults(every_entry_is_in_its_chain),
        with_faults(an_old_moment_is_found_soon),
        with_faults(what_is_not_shown_is_not_there_yet),
        with_faults(too_much_is_refused),
        with_faults(what_is_not_used_takes_no_memory),
        with_faults(readers_see_batches_whole),
    };

    return cmocka_run_group_tests_name("cask/tail", tests, NULL, NULL);
}

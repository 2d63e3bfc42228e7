/*
 * Large values, and the runs of free space that they are made of: the tree of runs against an array; values of 0 to 8 MiB that
 * grow, shrink and vanish, with pins, savepoints and aborts, checked after each step; and how much a value that grows step by
 * step leaves behind.
 */
#include "region/runs.h"
#include "test_region_support.h"

#include <errno.h>
#include <sys/stat.h>

#define MEGABYTE (UINT64_C(1) << 20)

/* -- the tree of runs -- */

enum { GRANULES = 150000, NODES = 2 * GRANULES / HF_RUNS_LEAF };

static struct {
    bool is_used;
    union hf_runs_node node;
} nodes[3][NODES];

static unsigned changes;

static int node_load(void *arg, unsigned level, uint64_t index, uint64_t link, union hf_runs_node *out)
{
    assert_true(level < 3 && index < NODES && nodes[level][index].is_used);
    assert_int_equal(link, level * NODES + index + 1);
    *out = nodes[level][index].node;
    return 0;
}

static int node_store(void *arg, unsigned level, uint64_t index, bool is_new, uint64_t *link,
                      const union hf_runs_node *node)
{
    assert_true(level < 3 && index < NODES);
    assert_int_equal(nodes[level][index].is_used, !is_new);
    nodes[level][index].is_used = true;
    nodes[level][index].node = *node;
    *link = level * NODES + index + 1;
    changes++;
    return 0;
}

static int node_drop(void *arg, unsigned level, uint64_t index, uint64_t link)
{
    assert_true(nodes[level][index].is_used);
    nodes[level][index].is_used = false;
    return 0;
}

static const struct hf_runs_store store = {node_load, node_store, node_drop};
static const struct hf_runs_home home_of_runs = {&store, NULL};

static bool array[GRANULES];
static uint64_t seen_free, seen_nodes;

static int see_node(void *arg, unsigned level, uint64_t index, uint64_t link)
{
    assert_true(nodes[level][index].is_used);
    seen_nodes++;
    return 0;
}

static int see_run(void *arg, uint64_t at, uint64_t count)
{
    for (uint64_t i = at; i < at + count; i++)
        assert_true(i < GRANULES && array[i]);
    seen_free += count;
    return 0;
}

/* What the tree says is what the array says, and there is no node that it does not need. */
static void compare(const struct hf_runs *runs)
{
    const struct hf_runs_visitor visitor = {see_node, see_run, NULL};
    uint64_t free = 0, used = 0;
    seen_free = seen_nodes = 0;
    ok(hf_runs_visit(&home_of_runs, runs, &visitor));
    for (size_t i = 0; i < GRANULES; i++)
        free += array[i];
    for (size_t level = 0; level < 3; level++)
        for (size_t i = 0; i < NODES; i++)
            used += nodes[level][i].is_used;
    assert_int_equal(seen_free, free);
    assert_int_equal(seen_nodes, used);
}

static uint64_t run_in_array(uint64_t at)
{
    uint64_t end = at;
    while (end < GRANULES && array[end])
        end++;
    return end - at;
}

static int find_in_array(uint64_t count, uint64_t *at)
{
    for (uint64_t i = 0; i < GRANULES;) {
        uint64_t run = run_in_array(i);
        if (run >= count) {
            *at = i;
            return 1;
        }
        i += run + 1;
    }
    return 0;
}

/* Frees what is taken around a place, or takes of what is free there. */
static void change_runs(struct hf_runs *runs, random_source *random)
{
    uint64_t at = random_below(random, GRANULES), most = UINT64_C(1) << random_below(random, 17), count = 0;
    bool free = !array[at];
    while (at + count < GRANULES && count < most && array[at + count] != free)
        count++;
    if (random_below(random, 4) == 0)
        while (at > 0 && array[at - 1] != free && count < most)
            at--, count++;
    changes = 0;
    if (free)
        ok(hf_runs_free(&home_of_runs, runs, at, count));
    else
        ok(hf_runs_take(&home_of_runs, runs, at, count));
    assert_true(changes <= hf_runs_nodes(runs, GRANULES));
    memset(array + at, free, count);
}

static void test_runs_against_an_array(void **state)
{
    struct hf_runs runs = {0};
    random_source random = {42};
    memset(nodes, 0, sizeof nodes);
    memset(array, 0, sizeof array);
    for (int step = 0; step < 6000; step++) {
        uint64_t at, expected = 0, before = 0, place = random_below(&random, GRANULES);
        uint64_t count = 1 + random_below(&random, 1u << random_below(&random, 16));
        change_runs(&runs, &random);
        int found = hf_runs_find(&home_of_runs, &runs, count, &at);
        assert_int_equal(found, find_in_array(count, &expected));
        if (found > 0)
            assert_int_equal(at, expected);
        ok(hf_runs_before(&home_of_runs, &runs, place, &before));
        for (uint64_t i = 0; i <= before && i < place; i++)
            assert_int_equal(array[place - 1 - i], i < before);
        if (step % 100 == 0)
            compare(&runs);
    }
    /* What is free is not freed, what is taken is not taken; and then nothing has changed. */
    for (uint64_t at = 0; at + 1 < GRANULES; at += 997)
        assert_int_equal(array[at] ? hf_runs_free(&home_of_runs, &runs, at, 1)
                                   : hf_runs_take(&home_of_runs, &runs, at, 1),
                         HF_CORRUPT);
    compare(&runs);
    /* All of it, and nothing: one sum, no node. */
    for (uint64_t at = 0; at < GRANULES; at++)
        if (!array[at])
            ok(hf_runs_free(&home_of_runs, &runs, at, 1));
    memset(array, true, sizeof array);
    compare(&runs);
    assert_int_equal(runs.sum.most, GRANULES);
    ok(hf_runs_take(&home_of_runs, &runs, 0, GRANULES));
    memset(array, false, sizeof array);
    compare(&runs);
    assert_int_equal(seen_nodes, 0);
}

/* -- codes of large blocks -- */

static void test_codes(void **state)
{
    int last = 0;
    for (uint64_t size = 16377; size < UINT64_C(1) << 44; size += 1 + size / 300) {
        int code = hf_heap_code(size);
        assert_true(code >= last && hf_is_large_code((uint64_t)code) && code < 1 << 16);
        uint64_t have = hf_heap_size((unsigned)code);
        assert_true(have >= size && have - size <= HF_REGION_PAGE + size / 1000);
        assert_int_equal(hf_heap_code(have), code);
        last = code;
    }
    assert_int_equal(hf_heap_code(UINT64_MAX), HF_LIMIT);
}

/* -- values -- */

enum { LARGEST = 8 << 20, NAMES = 7, PINS = 3 };

/* A value: its number is in the first word of each 4 KiB, and in the last byte. */
struct large {
    uint64_t number; /* 0: absent */
    size_t size;
};

struct large_model {
    struct large value[NAMES];
};

static unsigned char bytes[LARGEST];

static hf_key name_of(unsigned name, char text[16])
{
    random_source random = {name};
    return (hf_key){random_next(&random), text, (size_t)snprintf(text, 16, "large %u", name)};
}

static void put_large(hf_txn *txn, unsigned name, struct large value)
{
    char text[16];
    hf_key key = name_of(name, text);
    for (size_t at = 0; at + 8 <= value.size; at += 4096)
        memcpy(bytes + at, &value.number, 8);
    if (value.size > 0)
        bytes[value.size - 1] = (unsigned char)value.number;
    int status = hf_txn_put(txn, 0, &key, bytes, value.size);
    if (status < 0)
        fail_msg("a put of %zu bytes: %s", value.size, hf_status_name(status));
}

static bool is_large(int found, const hf_span *span, struct large value)
{
    if (value.number == 0 || found != 1)
        return value.number == 0 && found == 0;
    if (span->size != value.size)
        return false;
    const unsigned char *have = span->bytes;
    for (size_t at = 0; at + 8 <= value.size; at += 4096)
        if (memcmp(have + at, &value.number, at + 8 == value.size ? 7 : 8) != 0)
            return false;
    return value.size == 0 || have[value.size - 1] == (unsigned char)value.number;
}

static void expect_view(const hf_view *view, const struct large_model *expected)
{
    char text[16];
    hf_span span;
    for (unsigned name = 0; name < NAMES; name++) {
        hf_key key = name_of(name, text);
        assert_true(is_large(hf_view_get(view, 0, &key, &span), &span, expected->value[name]));
    }
}

/* It grows by a little or a lot, shrinks, vanishes, or comes. */
static void change_large(hf_txn *txn, struct large_model *mine, random_source *random)
{
    static uint64_t number;
    char text[16];
    unsigned name = random_below(random, NAMES);
    struct large *value = &mine->value[name];
    size_t size = value->number == 0 ? random_below(random, 9000) : value->size;
    switch (random_below(random, 8)) {
    case 0:
        if (value->number != 0) {
            hf_key key = name_of(name, text);
            assert_int_equal(hf_txn_remove(txn, 0, &key), 1);
        }
        *value = (struct large){0, 0};
        return;
    case 1:
        size = size * random_below(random, 100) / 100;
        break;
    case 2:
        size = random_below(random, 1u << random_below(random, 24));
        break;
    case 3:
    case 4:
        size = size * 3 + 1;
        break;
    default:
        size += size / 20 + random_below(random, 5000);
    }
    *value = (struct large){++number, size < LARGEST ? size : LARGEST};
    put_large(txn, name, *value);
}

static void large_transaction(hf_region *region, struct large_model *now, random_source *random)
{
    struct large_model mine = *now, then;
    unsigned steps = 1 + random_below(random, 4), level = 0;
    hf_txn *txn;
    ok(hf_txn_begin(region, -1, &txn));
    for (unsigned i = 0; i < steps; i++) {
        if (level == 0 && random_below(random, 4) == 0) {
            then = mine;
            ok(hf_txn_savepoint(txn, &level));
        } else if (level > 0 && random_below(random, 4) == 0) {
            ok(hf_txn_rollback(txn, level));
            mine = then;
        }
        change_large(txn, &mine, random);
    }
    if (random_below(random, 5) == 0) {
        ok(hf_txn_abort(txn));
        return;
    }
    ok(hf_txn_commit(txn));
    *now = mine;
}

static void large_values_against_a_model(void **state)
{
    struct {
        hf_snapshot *snapshot;
        struct large_model model;
    } pins[PINS] = {0};
    static struct large_model now;
    random_source random = {7};
    hf_region *region = region_new(UINT64_C(1) << 32), *other = region_again(region);
    hf_view view;
    memset(&now, 0, sizeof now);
    for (int step = 0; step < 160; step++) {
        large_transaction(random_below(&random, 4) == 0 ? other : region, &now, &random);
        region_check(region);
        unsigned pin = random_below(&random, PINS * 2);
        if (pin < PINS && pins[pin].snapshot == NULL) {
            ok(hf_snapshot_begin(region, &pins[pin].snapshot));
            pins[pin].model = now;
        } else if (pin < PINS) {
            hf_snapshot_end(pins[pin].snapshot);
            pins[pin].snapshot = NULL;
        }
        for (unsigned i = 0; i < PINS; i++)
            if (pins[i].snapshot != NULL)
                expect_view(hf_snapshot_view(pins[i].snapshot), &pins[i].model);
        ok(hf_view_pin(region, &view));
        expect_view(&view, &now);
        hf_view_unpin(&view);
    }
    for (unsigned i = 0; i < PINS; i++)
        if (pins[i].snapshot != NULL)
            hf_snapshot_end(pins[i].snapshot);
    ok(hf_region_close(other));
    ok(hf_region_close(region));
}

/* -- how much is left behind -- */

/* From 5 KB to 4 MB, in steps of 5%, a transaction each or all in one. */
static uint64_t grow(hf_region *region, bool in_one)
{
    uint64_t number = 0;
    hf_txn *txn;
    ok(hf_txn_begin(region, -1, &txn));
    for (double size = 5000; size < 4.0e6; size *= 1.05) {
        put_large(txn, 0, (struct large){++number, (size_t)size});
        if (!in_one) {
            ok(hf_txn_commit(txn));
            ok(hf_txn_begin(region, -1, &txn));
        }
    }
    ok(hf_txn_commit(txn));
    region_check(region);
    return top_of(region) - region->heap_at;
}

static void a_value_that_grows(void **state)
{
    /* At level off the last durable version has one more. */
    const double most = the_home == HOME_OFF ? 4.2 : 3.3;
    for (int in_one = 0; in_one <= 1; in_one++) {
        hf_region *region = region_new(UINT64_C(1) << 30);
        double size = (double)grow(region, in_one) / 4.0e6;
        print_message("%.2f times its size\n", size);
        if (size > most)
            fail_msg("%.2f times its size", size);
        /* And once more: of what it left. */
        double again = (double)grow(region, in_one) / 4.0e6;
        print_message("%.2f after the second time\n", again);
        if (again > most + 1)
            fail_msg("%.2f times its size after the second time", again);
        ok(hf_region_close(region));
    }
}

/* What large values leave is used for small ones. */
static void small_values_follow(void **state)
{
    enum { COUNT = 40000 };
    hf_region *region = region_new(UINT64_C(1) << 30);
    char text[16];
    hf_txn *txn;
    for (unsigned name = 0; name < 2 * NAMES; name++) {
        ok(hf_txn_begin(region, -1, &txn));
        if (name < NAMES) {
            put_large(txn, name, (struct large){name + 1, 4 << 20});
        } else {
            hf_key key = name_of(name - NAMES, text);
            assert_int_equal(hf_txn_remove(txn, 0, &key), 1);
        }
        ok(hf_txn_commit(txn));
    }
    ok(hf_region_flush(region, -1));
    uint64_t before = top_of(region);
    for (uint64_t i = 0; i < COUNT;) {
        ok(hf_txn_begin(region, -1, &txn));
        for (uint64_t end = i + 1000; i < end; i++) {
            random_source random = {i};
            hf_key key = {random_next(&random), text, (size_t)snprintf(text, 16, "k%011llu", (unsigned long long)i)};
            assert_true(hf_txn_put(txn, 1, &key, bytes, 200) >= 0);
        }
        ok(hf_txn_commit(txn));
    }
    region_check(region);
    print_message("%llu bytes, then %llu\n", (unsigned long long)before, (unsigned long long)top_of(region));
    assert_true(top_of(region) <= before + (3 << 20));
    ok(hf_region_close(region));
}

/* -- giving memory back -- */

static uint64_t memory_of(hf_region *region)
{
    struct stat found;
    assert_int_equal(fstat(hf_region_fd(region), &found), 0);
    return (uint64_t)found.st_blocks * 512;
}

static void expect_all(hf_region *region, const struct large_model *expected)
{
    hf_view view;
    ok(hf_view_pin(region, &view));
    expect_view(&view, expected);
    hf_view_unpin(&view);
    region_check(region);
}

static void free_memory_is_given_back(void **state)
{
    hf_region *region = region_new(UINT64_C(1) << 30);
    struct large_model now = {0}, then;
    uint64_t bytes_back = 0;
    hf_snapshot *snapshot;
    char text[16];
    hf_txn *txn;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned name = 0; name < NAMES; name++) {
            ok(hf_txn_begin(region, -1, &txn));
            now.value[name] = (struct large){name + 10 * round + 1, 2 << 20};
            put_large(txn, name, now.value[name]);
            ok(hf_txn_commit(txn));
        }
        expect_all(region, &now);
        then = now;
        ok(hf_snapshot_begin(region, &snapshot));
        uint64_t before = memory_of(region);
        for (unsigned name = 1; name < NAMES; name++) {
            hf_key key = name_of(name, text);
            ok(hf_txn_begin(region, -1, &txn));
            assert_int_equal(hf_txn_remove(txn, 0, &key), 1);
            ok(hf_txn_commit(txn));
            now.value[name] = (struct large){0, 0};
        }
        /* The snapshot holds them, and has them after that. */
        ok(hf_region_trim(region, -1, &bytes_back));
        expect_view(hf_snapshot_view(snapshot), &then);
        hf_snapshot_end(snapshot);
        ok(hf_region_trim(region, -1, &bytes_back));
        expect_all(region, &now);
        assert_true(bytes_back >= 6u * (2 << 20));
        assert_true(memory_of(region) + 6u * (2 << 20) <= before + MEGABYTE);
        /* There is none when it is wanted: an error, and then there is. */
        ok(hf_txn_begin(region, -1, &txn));
        hf_key key = name_of(1, text);
        hf_fault_arm(HF_OS_SITE_fallocate, 1, ENOSPC);
        assert_int_equal(hf_txn_put(txn, 0, &key, bytes, 1 << 20), HF_NOSPACE);
        hf_fault_disarm();
        ok(hf_txn_commit(txn));
        expect_all(region, &now);
    }
    ok(hf_txn_begin(region, -1, &txn));
    assert_int_equal(hf_region_trim(region, -1, &bytes_back), HF_BUSY);
    ok(hf_txn_abort(txn));
    ok(hf_region_close(region));
}

/* What is kept behind the top for removals is there for them, though memory that was given back cannot be had again. */
static void removals_go_on_where_memory_is_gone(void **state)
{
    enum { SMALL = 5000, REMOVED = 300 };
    const struct hf_fault never = {.first = 1, .times = HF_FAULT_FOREVER, .error = ENOSPC};
    hf_region *region = region_new(UINT64_C(1) << 30);
    uint64_t bytes_back;
    static hf_snapshot *snapshots[REMOVED];
    char text[16];
    hf_txn *txn;
    for (unsigned name = 0; name < NAMES; name++) {
        ok(hf_txn_begin(region, -1, &txn));
        put_large(txn, name, (struct large){name + 1, 2 << 20});
        ok(hf_txn_commit(txn));
    }
    ok(hf_txn_begin(region, -1, &txn));
    for (uint64_t i = 0; i < SMALL; i++) {
        random_source random = {i};
        hf_key key = {random_next(&random), &i, sizeof i};
        assert_int_equal(hf_txn_put(txn, 1, &key, &i, sizeof i), 1);
    }
    ok(hf_txn_commit(txn));
    for (unsigned name = 0; name < NAMES; name++) {
        hf_key key = name_of(name, text);
        ok(hf_txn_begin(region, -1, &txn));
        assert_int_equal(hf_txn_remove(txn, 0, &key), 1);
        ok(hf_txn_commit(txn));
    }
    ok(hf_region_trim(region, -1, &bytes_back));
    assert_true(bytes_back > 0);
    ok(hf_snapshot_begin(region, &snapshots[0]));
    /* Pinned one by one, so that nothing is used again. */
    hf_fault_arm_plan(HF_OS_SITE_fallocate, &never);
    for (uint64_t i = 0; i < REMOVED; i++) {
        random_source random = {i};
        hf_key key = {random_next(&random), &i, sizeof i};
        ok(hf_txn_begin(region, -1, &txn));
        assert_int_equal(hf_txn_remove(txn, 1, &key), 1);
        ok(hf_txn_commit(txn));
        if (i > 0)
            (void)hf_snapshot_begin(region, &snapshots[i]);
    }
    hf_fault_disarm();
    for (uint64_t i = 0; i < REMOVED; i++)
        if (snapshots[i] != NULL)
            hf_snapshot_end(snapshots[i]);
    region_check(region);
    ok(hf_region_close(region));
}

/* Pages of the segment that have no memory: those of slots that were never needed, and holes. */
static uint64_t gaps_of(hf_region *region)
{
    struct stat found;
    assert_int_equal(fstat(hf_region_fd(region), &found), 0);
    return ((uint64_t)found.st_size - (uint64_t)found.st_blocks * 512) / HF_REGION_PAGE;
}

/* Where the record says that there are no holes there are none. */
static void expect_gaps(hf_region *region, uint64_t gaps)
{
    if (region->txn.state.heap.holes == 0)
        assert_int_equal(gaps_of(region), gaps);
}

/* Values of all sizes to other keys, some of them taken back, until what was given back is in use again. */
static void fill_holes(hf_region *region, random_source *random, uint64_t gaps)
{
    enum { MOST_VALUES = 2000, MOST_BYTES = 200000 };
    hf_txn *txn;
    uint64_t i = 0;
    for (; i < MOST_VALUES && region->txn.state.heap.holes > 0; i++) {
        hf_key key = {random_next(random), &i, sizeof i};
        unsigned level, how = (unsigned)random_below(random, 8);
        ok(hf_txn_begin(region, -1, &txn));
        if (how == 0)
            ok(hf_txn_savepoint(txn, &level));
        assert_int_equal(hf_txn_put(txn, 1, &key, bytes, random_below(random, MOST_BYTES)), 1);
        if (how == 0)
            ok(hf_txn_rollback(txn, level));
        ok(how == 1 ? hf_txn_abort(txn) : hf_txn_commit(txn));
        if (how == 1) /* the record is what counts */
            assert_int_equal(hf_txn_begin(region, -1, &txn) + hf_txn_abort(txn), 0);
        expect_gaps(region, gaps);
    }
    assert_true(i < MOST_VALUES);
}

/* And it says so again once what was given back is in use. */
static void holes_are_forgotten_when_they_are_filled(void **state)
{
    enum { ROUNDS = 12, STEPS = 20 };
    hf_region *region = region_new(UINT64_C(1) << 30);
    const uint64_t *holes = &region->txn.state.heap.holes, gaps = gaps_of(region);
    random_source random = {41};
    struct large_model now = {0};
    uint64_t given_back;
    hf_txn *txn;
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned step = 0; step < STEPS; step++) {
            large_transaction(region, &now, &random);
            expect_gaps(region, gaps);
        }
        ok(hf_txn_begin(region, -1, &txn));
        ok(hf_txn_clear(txn, 1));
        ok(hf_txn_commit(txn));
        ok(hf_region_trim(region, -1, &given_back));
        assert_true(*holes > 0 || given_back == 0);
        assert_true(gaps_of(region) - gaps == given_back / HF_REGION_PAGE);
        if (round % 3 > 0)
            fill_holes(region, &random, gaps);
        expect_all(region, &now);
        region_check(region);
    }
    /* Again and again: what is a hole already stays one, and where nothing is free there is none. */
    for (unsigned i = 0; i < 2; i++) {
        ok(hf_region_trim(region, -1, &given_back));
        expect_gaps(region, gaps);
    }
    fill_holes(region, &random, gaps);
    assert_int_equal(*holes, 0);
    ok(hf_region_trim(region, -1, &given_back));
    expect_gaps(region, gaps);
    ok(hf_region_close(region));
}

static void a_file_is_not_trimmed(void **state)
{
    hf_region *region = region_new(UINT64_C(1) << 30);
    uint64_t bytes_back;
    assert_int_equal(hf_region_trim(region, -1, &bytes_back), HF_INVALID);
    ok(hf_region_close(region));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_against_an_array),
        cmocka_unit_test(test_codes),
        in_all_homes(large_values_against_a_model),
        in_home(a_value_that_grows, HOME_SHARED),
        in_home(a_value_that_grows, HOME_FULL),
        in_home(a_value_that_grows, HOME_OFF),
        in_home(small_values_follow, HOME_SHARED),
        in_home(small_values_follow, HOME_FULL),
        in_home(small_values_follow, HOME_OFF),
        in_home(free_memory_is_given_back, HOME_SHARED),
        in_home(holes_are_forgotten_when_they_are_filled, HOME_SHARED),
        in_home(removals_go_on_where_memory_is_gone, HOME_SHARED),
        in_home(a_file_is_not_trimmed, HOME_FULL),
    };
    return cmocka_run_group_tests_name("region/extents", tests, NULL, NULL);
}

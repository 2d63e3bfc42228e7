/*
 * Every function with every allocation and every call to the system failing in turn: it says so and the map is as it was,
 * or it did without; and it goes on.
 */
#include "test_shared_support.h"

#include "test_child.h"

#include "base/hash.h"
#include "base/os.h"

#include <errno.h>

enum { ENTRIES = 200, LARGE = 600000 };

static hf_shared *map;
static hf_shared_snapshot *older;
static char bytes[LARGE + 1];

/* A large key that is not its own canonical form: both trees have to grow for it. */
static hf_datum large_key(void)
{
    static uint8_t encoded[LARGE + 64];
    hf_value_writer writer;
    hf_value_writer_init(&writer, encoded, sizeof encoded, sizeof encoded);
    ok(hf_value_write_tuple(&writer, 2));
    ok(hf_value_write_double(&writer, 1.0));
    ok(hf_value_write_bytes(&writer, bytes, LARGE));
    ok(hf_value_write_end(&writer));
    return other(&writer);
}

static void fresh(void)
{
    hf_datum value = hf_datum_bytes(bytes, 3000);
    map = map_new();
    ok(hf_shared_begin(map));
    for (int i = 0; i < ENTRIES; i++) {
        hf_datum key = hf_datum_float(i), small = hf_datum_int(i);
        yes(hf_shared_set(map, &key, i % 16 == 0 ? &value : &small));
    }
    ok(hf_shared_commit(map));
    ok(hf_shared_snapshot_begin(map, &older));
    for (int i = 0; i < 10; i++) {
        hf_datum key = hf_datum_int(i + ENTRIES - 5), small = hf_datum_int(-i);
        says(hf_shared_set(map, &key, &small), i >= 5);
    }
}

static int add_up(void *arg, const hf_datum *key, const hf_datum *value)
{
    uint64_t *sum = arg, of_value = value->kind == HF_DATUM_INT ? (uint64_t)value->integer + 1 : value->size;
    *sum += hf_hash_u64(of_value, key->kind == HF_DATUM_FLOAT ? hf_bits_of_double(key->real)
                                  : key->kind == HF_DATUM_INT ? (uint64_t)key->integer
                                                              : key->size);
    return 0;
}

static uint64_t contents(void)
{
    hf_shared_snapshot *snapshot;
    uint64_t sum = 0;
    ok(hf_shared_snapshot_begin(map, &snapshot));
    ok(hf_shared_snapshot_walk(snapshot, add_up, &sum));
    sum += hf_shared_snapshot_count(snapshot);
    hf_shared_snapshot_end(snapshot);
    return sum;
}

/* -- what is tried: each 0 or more, or a status -- */

static int set_small(void)
{
    hf_datum key = hf_datum_str("a new key"), value = hf_datum_str("a new value");
    return hf_shared_set(map, &key, &value);
}

static int set_large(void)
{
    hf_datum key = hf_datum_str("large"), value = hf_datum_bytes(bytes, LARGE);
    return hf_shared_set(map, &key, &value);
}

static int set_large_form(void)
{
    hf_datum key = large_key(), value = hf_datum_int(1);
    return hf_shared_set(map, &key, &value);
}

static int delete_one(void)
{
    hf_datum key = hf_datum_int(7);
    return hf_shared_delete(map, &key);
}

static int add_one(void)
{
    hf_datum key = hf_datum_int(7);
    return hf_shared_incr(map, &key, 1, NULL);
}

static int exchange_large(void)
{
    hf_datum key = hf_datum_int(16), old = hf_datum_bytes(bytes, 3000), now = hf_datum_text(bytes + 1, LARGE);
    return hf_shared_compare_and_set(map, &key, &old, &now);
}

static int clear_all(void)
{
    return hf_shared_clear(map);
}

static int end_all(int status)
{
    while (hf_shared_depth(map) > 0)
        ok(hf_shared_abort(map));
    return status;
}

static int many_in_one(void)
{
    int status = hf_shared_begin(map);
    for (int i = 0; status >= 0 && i < 100; i++) {
        hf_datum key = hf_datum_float(1000 + i), value = hf_datum_bytes(bytes, (size_t)i * 50);
        status = hf_shared_set(map, &key, &value);
    }
    if (status >= 0)
        status = hf_shared_begin(map);
    if (status >= 0)
        status = set_large_form();
    if (status >= 0)
        status = hf_shared_abort(map);
    if (status >= 0)
        status = hf_shared_clear(map);
    if (status >= 0)
        status = set_large();
    if (status >= 0)
        status = hf_shared_commit(map);
    return end_all(status);
}

static int get_large(void)
{
    hf_datum key = hf_datum_int(16), value;
    hf_shared_room room = {0};
    int status = hf_shared_get(map, &key, &room, &value);
    assert_true(status < 0 || (value.kind == HF_DATUM_BYTES && value.size == 3000));
    hf_shared_room_clear(&room);
    return status;
}

static int get_by_large(void)
{
    hf_datum key = large_key();
    return hf_shared_get(map, &key, NULL, NULL);
}

static int count(void)
{
    uint64_t out;
    return hf_shared_count(map, &out);
}

static int count_differences(void *arg, const hf_datum *key, const hf_datum *from, const hf_datum *to)
{
    ++*(int *)arg;
    return 0;
}

static int look_at_snapshots(void)
{
    hf_datum key = large_key();
    hf_shared_snapshot *snapshot;
    uint64_t sum = 0;
    int differences = 0, status = hf_shared_snapshot_begin(map, &snapshot);
    if (status < 0)
        return status;
    status = hf_shared_snapshot_get(snapshot, &key, NULL);
    if (status >= 0)
        status = hf_shared_snapshot_walk(snapshot, add_up, &sum);
    if (status >= 0)
        status = hf_shared_snapshot_diff(older, snapshot, count_differences, &differences);
    assert_true(status < 0 || differences == 10);
    hf_shared_snapshot_end(snapshot);
    return status;
}

static int look_after(void)
{
    hf_shared_stats stats;
    int status = hf_shared_stats_get(map, &stats);
    return status < 0 ? status : hf_shared_check(map, NULL);
}

static int ignore(void *arg, const hf_shared_info *info)
{
    return 0;
}

static int list(void)
{
    return hf_shared_list(ignore, NULL);
}

static int open_again(void)
{
    const hf_shared_options attach = {.mode = HF_SHARED_ATTACH};
    hf_shared *again = NULL;
    int status = hf_shared_open(the_name, &attach, &again);
    if (status < 0) {
        assert_null(again);
        return status;
    }
    return hf_shared_close(again);
}

static int open_by_descriptor(void)
{
    const hf_shared_options attach = {.mode = HF_SHARED_ATTACH};
    hf_shared *again;
    int status = hf_shared_open_fd(hf_region_fd(map->region), the_name, &attach, &again);
    return status < 0 ? status : hf_shared_close(again);
}

static int create_another(void)
{
    const hf_shared_options create = {.mode = HF_SHARED_CREATE, .permissions = 0640, .capacity = 1000};
    char name[80];
    hf_shared *another = NULL;
    snprintf(name, sizeof name, "%s-other", the_name);
    int status = hf_shared_open(name, &create, &another);
    assert_true(status >= 0 || another == NULL);
    if (status < 0)
        return status;
    ok(hf_shared_close(another));
    return hf_shared_unlink(name);
}

static int unlink_own(void)
{
    int status = hf_shared_unlink_own(map);
    return status;
}

static const struct tried {
    const char *what;
    int (*run)(void);
    bool counts_calls; /* it makes one, at least */
} all[] = {
    {"set_small", set_small, false},
    {"set_large", set_large, true},
    {"set_large_form", set_large_form, true},
    {"delete_one", delete_one, false},
    {"add_one", add_one, false},
    {"exchange_large", exchange_large, true},
    {"clear_all", clear_all, true},
    {"many_in_one", many_in_one, true},
    {"get_large", get_large, true},
    {"get_by_large", get_by_large, true},
    {"count", count, false},
    {"look_at_snapshots", look_at_snapshots, true},
    {"look_after", look_after, false},
    {"list", list, true},
    {"open_again", open_again, true},
    {"open_by_descriptor", open_by_descriptor, true},
    {"create_another", create_another, true},
    {"unlink_own", unlink_own, true},
};

/* Whatever is left. */
static void unlink_all(void)
{
    char name[80];
    snprintf(name, sizeof name, "%s-other", the_name);
    int status = hf_shared_unlink(name);
    assert_true(status == 0 || status == HF_ABSENT);
    hf_shared_unlink(the_name);
}

/* Once with the plan; whether a call has failed. */
static bool try_once(const struct tried *tried, unsigned site, const struct hf_fault *plan, uint64_t after)
{
    fresh();
    const uint64_t before = contents();
    const int descriptors = count_descriptors();
    hf_fault_arm_plan(site, plan);
    int status = tried->run();
    const uint64_t failed = hf_fault_failed(site);
    hf_fault_disarm();
    if (failed == 0 && status < 0)
        fail_msg("%s: %s though nothing failed", tried->what, hf_status_name(status));
    if (contents() != (status < 0 ? before : after))
        fail_msg("%s: %s, and other contents", tried->what, hf_status_name(status));
    assert_int_equal(count_descriptors(), descriptors);
    map_check(map);
    hf_shared_snapshot_end(older);
    older = NULL;
    assert_true(set_small() >= 0);
    ok(hf_shared_close(map));
    unlink_all();
    return failed > 0;
}

static uint64_t contents_after(const struct tried *tried)
{
    fresh();
    assert_true(tried->run() >= 0);
    const uint64_t after = contents();
    hf_shared_snapshot_end(older);
    ok(hf_shared_close(map));
    unlink_all();
    return after;
}

static void try_all(unsigned site, uint64_t times)
{
    static const int errors[] = {ENOMEM, ENOSPC, EIO};
    for (size_t i = 0; i < LENGTH(all); i++) {
        const uint64_t after = contents_after(&all[i]);
        uint64_t n = 1;
        for (size_t e = 0; e < (times == 1 && SLOW == 1 ? LENGTH(errors) : 1); e++) {
            for (n = 1;; n++) {
                const struct hf_fault plan = {.first = n, .times = times, .error = errors[e]};
                if (!try_once(&all[i], site, &plan, after))
                    break;
                /* A list makes some for each file that there is, whoever's. */
                if (all[i].run == list && n == 100)
                    break;
                if (n == 1000)
                    fail_msg("%s makes no end of calls", all[i].what);
            }
            if (site == HF_FAULT_ANY && all[i].counts_calls && n == 1)
                fail_msg("%s makes no call that could fail", all[i].what);
        }
    }
}

static void any_one_call_may_fail(void **state)
{
    try_all(HF_FAULT_ANY, 1);
}

static void no_call_may_succeed_from_one_on(void **state)
{
    try_all(HF_FAULT_ANY, HF_FAULT_FOREVER);
}

/* The second tree has to grow and cannot: what the first one has got is taken back. */
static void half_a_change_is_undone(void **state)
{
    hf_datum key = large_key(), value = hf_datum_int(1), one = hf_datum_int(1000000);
    unsigned undone = 0;
    for (uint64_t n = 1; n < 8; n++) {
        uint64_t before, now;
        fresh();
        ok(hf_shared_begin(map));
        yes(hf_shared_set(map, &one, &value));
        ok(hf_shared_count(map, &before));
        hf_fault_arm_plan(HF_OS_SITE_fallocate,
                          &(struct hf_fault){.first = n, .times = HF_FAULT_FOREVER, .error = ENOSPC});
        int status = hf_shared_set(map, &key, &value);
        const bool failed = hf_fault_failed(HF_OS_SITE_fallocate) > 0;
        hf_fault_disarm();
        assert_int_equal(status < 0, failed);
        if (failed) {
            says(status, HF_NOSPACE);
            undone++;
            ok(hf_shared_get(map, &key, NULL, NULL));
            ok(hf_shared_count(map, &now));
            assert_int_equal(now, before);
            yes(hf_shared_set(map, &key, &value));
        }
        ok(hf_shared_commit(map));
        yes(hf_shared_get(map, &key, NULL, NULL));
        map_check(map);
        hf_shared_snapshot_end(older);
        ok(hf_shared_close(map));
        ok(hf_shared_unlink(the_name));
    }
    assert_true(undone >= 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        shared_test(any_one_call_may_fail),
        shared_test(no_call_may_succeed_from_one_on),
        shared_test(half_a_change_is_undone),
    };

    memset(bytes, 'x', sizeof bytes);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

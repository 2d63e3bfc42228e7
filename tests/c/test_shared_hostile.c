/*
 * A map whose memory somebody else has written to: keys and values that are no encodings, forms that belong to nothing, and
 * bytes changed anywhere. Nothing crashes or runs for ever; what is damaged is said to be.
 */
#include "test_shared_support.h"

#include "test_child.h"

#include "region/impl.h"

static hf_shared *map;

/* -- what a foreign writer may put -- */

typedef struct junk {
    size_t size;
    uint8_t bytes[80];
} junk;

/* An encoding, or what was one before something was cut off or changed, or anything. */
static junk draw(random_source *random)
{
    static value_text text;
    junk out;
    hf_datum datum = other_value(random_below(random, VALUES), &text);
    key_text key;
    if (random_below(random, 2) == 0)
        datum = tuple_of(random_below(random, 3), random_below(random, 2) == 0, &key);
    out.size = datum.size < sizeof out.bytes ? datum.size : sizeof out.bytes;
    memcpy(out.bytes, datum.data, out.size);
    switch (random_below(random, 4)) {
    case 0:
        out.size = random_below(random, (unsigned)out.size + 1);
        break;
    case 1:
        out.bytes[random_below(random, (unsigned)out.size)] ^= (uint8_t)(1u << random_below(random, 8));
        break;
    case 2:
        out.size = random_below(random, sizeof out.bytes);
        for (size_t i = 0; i < out.size; i++)
            out.bytes[i] = (uint8_t)random_next(random);
        break;
    default:
        break;
    }
    return out;
}

/* Under the hash that it should have, or another. */
static void put_raw(unsigned tree, const junk *key, const junk *value, bool right)
{
    hf_txn *txn;
    uint64_t hash = hf_canonical_hash_bytes(key->bytes, key->size, map->seed);
    hf_key k = {right ? hash : hash ^ 0x10, key->bytes, key->size};
    ok(hf_txn_begin(map->region, 0, &txn));
    assert_true(hf_txn_put(txn, tree, &k, value->bytes, value->size) >= 0);
    ok(hf_txn_commit(txn));
}

static int go_on(void *arg, const hf_datum *key, const hf_datum *value)
{
    return ++*(int *)arg > 1000000 ? HF_LIMIT : 0;
}

static int go_on_differing(void *arg, const hf_datum *key, const hf_datum *from, const hf_datum *to)
{
    return ++*(int *)arg > 1000000 ? HF_LIMIT : 0;
}

static bool is_allowed(int status)
{
    static const int allowed[] = {HF_CORRUPT, HF_BAD_TYPE, HF_BAD_VALUE, HF_LIMIT, HF_NOSPACE, HF_SLOTS, HF_TIMEOUT};
    for (size_t i = 0; i < LENGTH(allowed); i++)
        if (status == allowed[i])
            return true;
    return status >= 0;
}

/* Each of the functions. */
static void use_all(random_source *random)
{
    hf_shared_snapshot *before = NULL, *after = NULL;
    hf_shared_room room = {0};
    hf_shared_stats stats;
    hf_datum value, one = hf_datum_int(1);
    key_text text;
    uint64_t count;
    int walked = 0;
    must(is_allowed(hf_shared_snapshot_begin(map, &before)));
    for (unsigned i = 0; i < 40; i++) {
        unsigned number = random_below(random, KEYS), form = random_below(random, FORMS);
        hf_datum key = key_of(number, form, &text);
        must(is_allowed(hf_shared_get(map, &key, &room, &value)));
        if (before != NULL)
            must(is_allowed(hf_shared_snapshot_get(before, &key, &value)));
        switch (random_below(random, 5)) {
        case 0:
            must(is_allowed(hf_shared_set(map, &key, &one)));
            break;
        case 1:
            must(is_allowed(hf_shared_delete(map, &key)));
            break;
        case 2:
            must(is_allowed(hf_shared_incr(map, &key, 1, NULL)));
            break;
        case 3:
            must(is_allowed(hf_shared_compare_and_set(map, &key, NULL, &one)));
            break;
        default:
            if (hf_shared_begin(map) == 0) {
                must(is_allowed(hf_shared_set(map, &key, &one)));
                if (hf_shared_commit(map) < 0)
                    must(hf_shared_abort(map) == 0);
            }
        }
    }
    must(is_allowed(hf_shared_count(map, &count)));
    must(is_allowed(hf_shared_stats_get(map, &stats)));
    must(is_allowed(hf_shared_snapshot_begin(map, &after)));
    if (before != NULL)
        must(is_allowed(hf_shared_snapshot_walk(before, go_on, &walked)));
    if (before != NULL && after != NULL)
        must(is_allowed(hf_shared_snapshot_diff(before, after, go_on_differing, &walked)));
    must(is_allowed(hf_shared_check(map, NULL)));
    hf_shared_snapshot_end(before);
    hf_shared_snapshot_end(after);
    must(is_allowed(hf_shared_clear(map)));
    hf_shared_room_clear(&room);
}

static void fill(random_source *random)
{
    static value_text text;
    for (unsigned i = 0; i < KEYS; i++) {
        key_text key;
        hf_datum k = key_of(i, random_below(random, FORMS), &key), v = value_of(random_below(random, 99), &text);
        yes(hf_shared_set(map, &k, &v));
    }
}

static void rubbish_is_survived(void **state)
{
    for (uint64_t seed = 1; seed <= rounds(300); seed++) {
        random_source random = {seed};
        map = map_new();
        fill(&random);
        for (int i = 0; i < 20; i++) {
            junk key = draw(&random), value = draw(&random);
            put_raw(random_below(&random, 2), &key, &value, random_below(&random, 4) > 0);
        }
        use_all(&random);
        ok(hf_shared_close(map));
        ok(hf_shared_unlink(the_name));
    }
}

/* -- and is found -- */

static junk junk_of(const void *bytes, size_t size)
{
    junk out = {.size = size};
    memcpy(out.bytes, bytes, size);
    return out;
}

static void expect_fault(const char *expected)
{
    const char *what;
    says(hf_shared_check(map, &what), HF_CORRUPT);
    assert_string_equal(what, expected);
    ok(hf_shared_close(map));
    ok(hf_shared_unlink(the_name));
    map = map_new();
}

static void the_check_finds_it(void **state)
{
    const junk one = junk_of("\x11\x01", 2), two = junk_of("\x11\x02", 2),
               real = junk_of("\x04\0\0\0\0\0\0\xf0\x3f", 9), half = junk_of("\xa2\x11\x01", 3), nothing = {0},
               form_of_two = junk_of("\x04\0\0\0\0\0\0\0\x40", 9);
    map = map_new();
    put_raw(HF_SHARED_ENTRIES, &one, &two, true);
    map_check(map);
    put_raw(HF_SHARED_GIVEN, &one, &real, true);
    map_check(map);
    put_raw(HF_SHARED_GIVEN, &two, &form_of_two, true);
    expect_fault("the form of a key that is not there");
    put_raw(HF_SHARED_ENTRIES, &one, &half, true);
    expect_fault("a value that is no encoding");
    put_raw(HF_SHARED_ENTRIES, &one, &nothing, true);
    expect_fault("a value that is no encoding");
    put_raw(HF_SHARED_ENTRIES, &half, &one, true);
    expect_fault("a key that cannot be one");
    put_raw(HF_SHARED_ENTRIES, &nothing, &one, true);
    expect_fault("a key that cannot be one");
    put_raw(HF_SHARED_ENTRIES, &real, &one, true); /* it should be under 1 */
    expect_fault("a key under another form or hash than its own");
    put_raw(HF_SHARED_ENTRIES, &one, &one, false);
    expect_fault("a key under another form or hash than its own");
    put_raw(HF_SHARED_ENTRIES, &one, &one, true);
    put_raw(HF_SHARED_GIVEN, &one, &form_of_two, true);
    expect_fault("a key under another form or hash than its own");
    ok(hf_shared_close(map));
}

/* -- bytes changed anywhere -- */

static void damage(random_source *random)
{
    const hf_region *region = map->region;
    const uint64_t top = hf_region_seen(region, atomic_load(&region->lock->published))->top;
    for (unsigned count = 1 + random_below(random, 20); count > 0; count--) {
        const uint64_t at = HF_REGION_HEAP_AT + random_next(random) % (top - HF_REGION_HEAP_AT);
        uint8_t *byte = hf_region_at(region, at);
        if (random_below(random, 2) == 0)
            *byte ^= (uint8_t)(1u << random_below(random, 8));
        else
            *byte = (uint8_t)random_next(random);
    }
}

static uint64_t the_seed;

static void use_damaged(void)
{
    random_source random = {the_seed};
    alarm(60);
    damage(&random);
    use_all(&random);
    must(hf_shared_close(map) == 0);
}

static void damage_anywhere_is_survived(void **state)
{
    for (the_seed = 1; the_seed <= rounds(300); the_seed++) {
        random_source random = {the_seed};
        map = map_new();
        fill(&random);
        in_a_child(use_damaged);
        ok(hf_shared_close(map));
        ok(hf_shared_unlink(the_name));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        shared_test(rubbish_is_survived),
        shared_test(the_check_finds_it),
        shared_test(damage_anywhere_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

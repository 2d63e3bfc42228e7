/*
 * What the functions on keys and values answer (holdfast/shared.h), and what they say to what they cannot take.
 */
#include "test_shared_support.h"

#include <pthread.h>

static hf_shared *map;
static hf_shared_room room;

static int begin(void **state)
{
    map = map_new();
    return 0;
}

static int end(void **state)
{
    hf_shared_room_clear(&room);
    map_check(map);
    ok(hf_shared_close(map));
    return name_end(state);
}

/* The answer of a get; the value must be this one. */
static void expect_get(hf_datum key, hf_datum expected)
{
    hf_datum value;
    yes(hf_shared_get(map, &key, &room, &value));
    assert_true(datum_is(&value, &expected));
}

static void expect_none(hf_datum key)
{
    hf_datum value = hf_datum_int(77);
    ok(hf_shared_get(map, &key, &room, &value));
    assert_int_equal(value.integer, 77);
}

static int set(hf_datum key, hf_datum value)
{
    return hf_shared_set(map, &key, &value);
}

static int delete (hf_datum key)
{
    return hf_shared_delete(map, &key);
}

static int count_walked(void *arg, const hf_datum *key, const hf_datum *value)
{
    ++*(int *)arg;
    return 0;
}

/* -- what comes back -- */

static void every_kind_comes_back(void **state)
{
    static value_text text;
    const hf_datum kinds[] = {hf_datum_none(),
                              hf_datum_bool(false),
                              hf_datum_bool(true),
                              hf_datum_int(0),
                              hf_datum_int(-1),
                              hf_datum_int(INT64_MAX),
                              hf_datum_int(INT64_MIN),
                              hf_datum_float(0.0),
                              hf_datum_float(-0.0),
                              hf_datum_float(NAN),
                              hf_datum_float(-HUGE_VAL),
                              hf_datum_str(""),
                              hf_datum_str("caf\xc3\xa9"),
                              hf_datum_text("a\0b", 3),
                              hf_datum_bytes(NULL, 0),
                              hf_datum_bytes("\0\xff", 2),
                              value_of(3, &text)};
    for (size_t i = 0; i < LENGTH(kinds); i++) {
        says(set(hf_datum_str("key"), kinds[i]), i == 0);
        expect_get(hf_datum_str("key"), kinds[i]);
    }
}

/* Around the lengths at which an encoding has another head. */
static void every_length_comes_back(void **state)
{
    static const size_t lengths[] = {0,   1,   15,  16,  30,  31,  32,    63,    64,     127,
                                     128, 191, 192, 193, 255, 256, 65535, 65536, 3000000};
    static char bytes[3000000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)('a' + i % 26);
    for (size_t i = 0; i < LENGTH(lengths); i++) {
        set(hf_datum_int((int64_t)i), hf_datum_bytes(bytes, lengths[i]));
        yes(set(hf_datum_bytes(bytes, lengths[i]), hf_datum_text(bytes, lengths[i])));
    }
    for (size_t i = 0; i < LENGTH(lengths); i++) {
        expect_get(hf_datum_int((int64_t)i), hf_datum_bytes(bytes, lengths[i]));
        expect_get(hf_datum_bytes(bytes, lengths[i]), hf_datum_text(bytes, lengths[i]));
        expect_none(hf_datum_text(bytes, lengths[i]));
    }
}

static void a_room_is_used_again(void **state)
{
    hf_datum key = hf_datum_int(1), value;
    yes(set(key, hf_datum_str("short")));
    yes(hf_shared_get(map, &key, &room, &value));
    void *first = room.bytes;
    assert_true(hf_datum_is_str(&value, "short"));
    assert_in_range((uintptr_t)value.data, (uintptr_t)first, (uintptr_t)first + room.size);
    ok(set(key, hf_datum_str("other")));
    yes(hf_shared_get(map, &key, &room, &value));
    assert_ptr_equal(room.bytes, first);
    hf_shared_room_clear(&room);
    assert_true(room.bytes == NULL && room.size == 0);
    hf_shared_room_clear(&room);
    yes(hf_shared_get(map, &key, NULL, NULL));
    says(hf_shared_get(map, &key, &room, NULL), HF_INVALID);
    says(hf_shared_get(map, &key, NULL, &value), HF_INVALID);
}

/* -- what cannot be a key, or a value -- */

enum { CALLS = 7 };

/* Everything that takes a key, and a value of it. */
static int call(unsigned which, const hf_shared_snapshot *snapshot, const hf_datum *key)
{
    hf_datum one = hf_datum_int(1), value;
    switch (which) {
    case 0:
        return hf_shared_get(map, key, &room, &value);
    case 1:
        return hf_shared_set(map, key, &one);
    case 2:
        return hf_shared_delete(map, key);
    case 3:
        return hf_shared_incr(map, key, 1, NULL);
    case 4:
        return hf_shared_compare_and_set(map, key, NULL, &one);
    case 5:
        return hf_shared_snapshot_get(snapshot, key, &value);
    default:
        return hf_shared_get(map, key, NULL, NULL);
    }
}

/* An item by itself, or in a tuple. */
static hf_datum item_datum(const hf_value_item *item, bool inside, key_text *text)
{
    hf_value_writer writer;
    hf_value_writer_init(&writer, text->bytes, sizeof text->bytes, sizeof text->bytes);
    if (inside)
        ok(hf_value_write_tuple(&writer, 1));
    ok(hf_value_write(&writer, item));
    if (inside)
        ok(hf_value_write_end(&writer));
    return other(&writer);
}

static void what_is_no_key_is_refused(void **state)
{
    static const hf_value_item array = {.kind = HF_VALUE_BYTEARRAY}, pickle = {.kind = HF_VALUE_PICKLE},
                               nan_decimal = {.kind = HF_VALUE_DECIMAL, .decimal = {.kind = HF_DECIMAL_NAN}};
    const hf_value_item nan_float = {.kind = HF_VALUE_FLOAT, .bits = {hf_bits_of_double(NAN)}};
    key_text texts[6];
    hf_datum wrong_kind = hf_datum_none();
    wrong_kind.kind = (hf_datum_kind)99;
    const struct {
        hf_datum key;
        int status;
    } wrong[] = {
        {item_datum(&array, false, &texts[0]), HF_BAD_TYPE},
        {item_datum(&pickle, false, &texts[1]), HF_BAD_TYPE},
        {item_datum(&array, true, &texts[2]), HF_BAD_TYPE},
        {item_datum(&nan_float, false, &texts[3]), HF_BAD_VALUE},
        {item_datum(&nan_float, true, &texts[4]), HF_BAD_VALUE},
        {item_datum(&nan_decimal, false, &texts[5]), HF_BAD_VALUE},
        {hf_datum_float(NAN), HF_BAD_VALUE},
        {hf_datum_str("\xff"), HF_INVALID},
        {hf_datum_str("\xc3"), HF_INVALID},
        {{.kind = HF_DATUM_OTHER}, HF_INVALID},
        {{.kind = HF_DATUM_OTHER, .data = "\xa2\x11\x01", .size = 3}, HF_INVALID},     /* half a tuple */
        {{.kind = HF_DATUM_OTHER, .data = "\x11\x01\x11\x01", .size = 4}, HF_INVALID}, /* two values */
        {wrong_kind, HF_INVALID},
        {{.kind = HF_DATUM_BYTES, .data = "", .size = SIZE_MAX}, HF_LIMIT},
        {{.kind = HF_DATUM_STR, .data = "", .size = SIZE_MAX - 4}, HF_LIMIT},
    };
    hf_shared_snapshot *snapshot;
    ok(hf_shared_snapshot_begin(map, &snapshot));
    for (size_t i = 0; i < LENGTH(wrong); i++)
        for (unsigned which = 0; which < CALLS; which++)
            says(call(which, snapshot, &wrong[i].key), wrong[i].status);
    hf_shared_snapshot_end(snapshot);
    uint64_t count;
    ok(hf_shared_count(map, &count));
    assert_int_equal(count, 0);
}

static void what_is_no_value_is_refused(void **state)
{
    const hf_datum key = hf_datum_int(1), fine = hf_datum_int(2), text = hf_datum_str("\xff"),
                   nothing = {.kind = HF_DATUM_OTHER}, large = {.kind = HF_DATUM_BYTES, .data = "", .size = SIZE_MAX},
                   more = {.kind = HF_DATUM_OTHER, .data = "\x11\x01\x11\x01", .size = 4};
    const struct {
        const hf_datum *value;
        int status;
    } wrong[] = {{&text, HF_INVALID}, {&nothing, HF_INVALID}, {&large, HF_LIMIT}, {&more, HF_INVALID}};
    yes(set(key, fine));
    for (size_t i = 0; i < LENGTH(wrong); i++) {
        says(hf_shared_set(map, &key, wrong[i].value), wrong[i].status);
        says(hf_shared_compare_and_set(map, &key, wrong[i].value, &fine), wrong[i].status);
        says(hf_shared_compare_and_set(map, &key, &fine, wrong[i].value), wrong[i].status);
    }
    expect_get(key, fine);
}

/* -- equal keys -- */

typedef struct one_key {
    hf_datum key;
    int count;
    uint8_t bytes[100];
} one_key;

static int take_key(void *arg, const hf_datum *key, const hf_datum *value)
{
    one_key *one = arg;
    one->key = *key;
    if (key->size > 0) {
        assert_true(key->size <= sizeof one->bytes);
        memcpy(one->bytes, key->data, key->size);
        one->key.data = one->bytes;
    }
    one->count++;
    return 0;
}

/* The only key there is, as it was put. */
static void expect_only(hf_datum expected)
{
    one_key one = {.count = 0};
    hf_shared_snapshot *snapshot;
    ok(hf_shared_snapshot_begin(map, &snapshot));
    assert_int_equal(hf_shared_snapshot_count(snapshot), 1);
    ok(hf_shared_snapshot_walk(snapshot, take_key, &one));
    hf_shared_snapshot_end(snapshot);
    assert_int_equal(one.count, 1);
    assert_true(datum_is(&one.key, &expected));
    map_check(map);
}

static void the_key_put_first_stays(void **state)
{
    const hf_datum truth = hf_datum_bool(true), one = hf_datum_int(1), real = hf_datum_float(1.0);
    yes(set(truth, hf_datum_str("a")));
    ok(set(one, hf_datum_str("b")));
    ok(set(real, hf_datum_str("c")));
    expect_only(truth);
    expect_get(one, hf_datum_str("c"));
    /* Removed by any of its names, and put again: as it is put then. */
    yes(delete (real));
    ok(delete (truth));
    yes(set(real, hf_datum_none()));
    expect_only(real);
    yes(delete (one));
    yes(set(one, hf_datum_none()));
    expect_only(one);
    ok(set(truth, hf_datum_none()));
    expect_only(one);
    ok(hf_shared_clear(map));
    yes(set(truth, hf_datum_none()));
    expect_only(truth);
    /* All that may put a key, or remove one. */
    hf_datum none = hf_datum_none(), eight = hf_datum_int(8);
    yes(hf_shared_compare_and_set(map, &one, &none, NULL));
    yes(hf_shared_compare_and_set(map, &real, NULL, &eight));
    yes(hf_shared_compare_and_set(map, &truth, &eight, &eight));
    expect_only(real);
    yes(delete (truth));
    ok(hf_shared_incr(map, &truth, 1, NULL));
    ok(hf_shared_incr(map, &one, 1, NULL));
    expect_only(truth);
    expect_get(real, hf_datum_int(2));
}

static void a_rollback_brings_the_form_back(void **state)
{
    key_text texts[3];
    const hf_datum a = tuple_of(0, false, &texts[0]), b = tuple_of(1, false, &texts[1]),
                   c = tuple_of(2, false, &texts[2]);
    yes(set(b, hf_datum_none()));
    ok(hf_shared_begin(map));
    yes(delete (a));
    yes(set(c, hf_datum_int(1)));
    ok(hf_shared_begin(map));
    yes(delete (a));
    yes(set(a, hf_datum_int(2)));
    ok(hf_shared_abort(map));
    expect_get(a, hf_datum_int(1));
    ok(hf_shared_begin(map));
    ok(hf_shared_clear(map));
    ok(hf_shared_begin(map));
    yes(set(a, hf_datum_int(3)));
    ok(hf_shared_commit(map));
    ok(hf_shared_abort(map));
    ok(hf_shared_commit(map));
    expect_only(c);
    ok(hf_shared_begin(map));
    yes(delete (a));
    yes(set(a, hf_datum_none()));
    ok(hf_shared_abort(map));
    expect_only(c);
    ok(hf_shared_begin(map));
    ok(hf_shared_clear(map));
    yes(set(b, hf_datum_none()));
    ok(hf_shared_commit(map));
    expect_only(b);
}

/* More than there can be savepoints in a transaction. */
static void a_transaction_takes_any_number_of_forms(void **state)
{
    enum { MANY = 20000 };
    ok(hf_shared_begin(map));
    for (int i = 0; i < MANY; i++)
        yes(set(hf_datum_float(i), hf_datum_int(i)));
    ok(hf_shared_commit(map));
    map_check(map);
    ok(hf_shared_begin(map));
    for (int i = 0; i < MANY; i++)
        yes(delete (hf_datum_int(i)));
    ok(hf_shared_commit(map));
}

/* -- adding, exchanging -- */

static void numbers_are_added_to(void **state)
{
    const hf_datum key = hf_datum_str("n");
    int64_t sum = 5;
    ok(hf_shared_incr(map, &key, 0, &sum));
    assert_int_equal(sum, 0);
    ok(hf_shared_incr(map, &key, INT64_MAX, &sum));
    assert_true(sum == INT64_MAX);
    says(hf_shared_incr(map, &key, 1, &sum), HF_BAD_VALUE);
    assert_true(sum == INT64_MAX);
    ok(hf_shared_incr(map, &key, INT64_MIN, &sum));
    assert_int_equal(sum, -1);
    says(hf_shared_incr(map, &key, INT64_MIN, NULL), HF_BAD_VALUE);
    expect_get(key, hf_datum_int(-1));
}

static void what_is_no_int_is_not_added_to(void **state)
{
    static const uint8_t wide[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    const hf_value_item item = {.kind = HF_VALUE_INT, .span = {wide, sizeof wide}};
    key_text text;
    const hf_datum others[] = {hf_datum_none(),   hf_datum_bool(true),    hf_datum_float(1.0),
                               hf_datum_str("1"), hf_datum_bytes("1", 1), tuple_of(0, false, &text)};
    const hf_datum key = hf_datum_int(1), large = item_datum(&item, false, &(key_text){{0}});
    for (size_t i = 0; i < LENGTH(others); i++) {
        set(key, others[i]);
        says(hf_shared_incr(map, &key, 1, NULL), HF_BAD_TYPE);
        expect_get(key, others[i]);
    }
    set(key, large);
    says(hf_shared_incr(map, &key, 1, NULL), HF_BAD_VALUE);
}

static void a_value_is_exchanged_for_what_it_was(void **state)
{
    const hf_datum key = hf_datum_str("k"), one = hf_datum_int(1), real = hf_datum_float(1.0), two = hf_datum_int(2);
    yes(hf_shared_compare_and_set(map, &key, NULL, NULL));
    ok(hf_shared_compare_and_set(map, &key, &one, &two));
    ok(hf_shared_compare_and_set(map, &key, &one, NULL));
    expect_none(key);
    yes(hf_shared_compare_and_set(map, &key, NULL, &one));
    ok(hf_shared_compare_and_set(map, &key, NULL, &two));
    ok(hf_shared_compare_and_set(map, &key, NULL, NULL));
    ok(hf_shared_compare_and_set(map, &key, &real, &two)); /* equal, but another value */
    expect_get(key, one);
    yes(hf_shared_compare_and_set(map, &key, &one, &real));
    yes(hf_shared_compare_and_set(map, &key, &real, NULL));
    expect_none(key);
}

static void a_clear_leaves_nothing(void **state)
{
    uint64_t count;
    ok(hf_shared_clear(map));
    for (int i = 0; i < 1000; i++)
        yes(set(hf_datum_float(i * 0.5), hf_datum_int(i)));
    ok(hf_shared_clear(map));
    ok(hf_shared_count(map, &count));
    assert_int_equal(count, 0);
    for (int i = 0; i < 1000; i++)
        yes(set(hf_datum_float(i * 0.5), hf_datum_int(i)));
}

/* -- transactions -- */

static void a_transaction_is_needed_to_end_one(void **state)
{
    says(hf_shared_commit(map), HF_INVALID);
    says(hf_shared_abort(map), HF_INVALID);
    ok(hf_shared_begin(map));
    ok(hf_shared_commit(map));
    says(hf_shared_commit(map), HF_INVALID);
    ok(hf_shared_begin(map));
    ok(hf_shared_begin(map));
    ok(hf_shared_abort(map));
    ok(hf_shared_abort(map));
    says(hf_shared_abort(map), HF_INVALID);
}

static void transactions_within_one_are_many_but_not_more(void **state)
{
    enum { MOST = 16383 };
    ok(hf_shared_begin(map));
    for (int i = 0; i < MOST; i++)
        ok(hf_shared_begin(map));
    says(hf_shared_begin(map), HF_LIMIT);
    says(hf_shared_clear(map), HF_LIMIT);
    yes(set(hf_datum_int(1), hf_datum_int(1)));
    for (int i = 0; i < MOST; i++)
        ok(hf_shared_commit(map));
    says(hf_shared_begin(map), HF_LIMIT);
    ok(hf_shared_commit(map));
    expect_get(hf_datum_int(1), hf_datum_int(1));
    ok(hf_shared_begin(map));
    for (int i = 0; i < MOST; i++) {
        ok(hf_shared_begin(map));
        ok(hf_shared_abort(map));
    }
    says(hf_shared_begin(map), HF_LIMIT);
    ok(hf_shared_abort(map));
}

/* Another handle in the same thread would wait for itself. */
static void a_thread_does_not_wait_for_itself(void **state)
{
    hf_shared *second = map_again();
    hf_datum key = hf_datum_int(1);
    ok(hf_shared_begin(map));
    yes(set(key, key));
    says(hf_shared_set(second, &key, &key), HF_BUSY);
    says(hf_shared_delete(second, &key), HF_BUSY);
    says(hf_shared_begin(second), HF_BUSY);
    says(hf_shared_check(second, NULL), HF_BUSY);
    says(hf_shared_check(map, NULL), HF_BUSY);
    says(hf_shared_commit(second), HF_INVALID);
    ok(hf_shared_get(second, &key, NULL, NULL));
    ok(hf_shared_commit(map));
    yes(hf_shared_get(second, &key, NULL, NULL));
    ok(hf_shared_close(second));
}

static void *from_another_thread(void *arg)
{
    hf_datum key = hf_datum_int(1);
    says(set(key, key), HF_TIMEOUT);
    says(hf_shared_begin(map), HF_TIMEOUT);
    says(delete (key), HF_TIMEOUT);
    says(hf_shared_incr(map, &key, 1, NULL), HF_TIMEOUT);
    says(hf_shared_compare_and_set(map, &key, NULL, &key), HF_TIMEOUT);
    says(hf_shared_clear(map), HF_TIMEOUT);
    says(hf_shared_check(map, NULL), HF_TIMEOUT);
    says(hf_shared_commit(map), HF_INVALID);
    says(hf_shared_abort(map), HF_INVALID);
    /* Those who look do not wait, and see nothing of it. */
    ok(hf_shared_get(map, &key, NULL, NULL));
    uint64_t *count = arg;
    ok(hf_shared_count(map, count));
    return NULL;
}

static void others_wait_and_see_nothing(void **state)
{
    uint64_t count = 9;
    pthread_t thread;
    ok(hf_shared_begin(map));
    yes(set(hf_datum_int(1), hf_datum_int(1)));
    ok(pthread_create(&thread, NULL, from_another_thread, &count));
    ok(pthread_join(thread, NULL));
    assert_int_equal(count, 0);
    ok(hf_shared_count(map, &count));
    assert_int_equal(count, 1);
    ok(hf_shared_commit(map));
}

static void times_to_wait_are_kept(void **state)
{
    const hf_shared_options patient = {.mode = HF_SHARED_ATTACH, .timeout = INT64_C(30) * 1000 * 1000};
    struct timespec before, after;
    hf_datum key = hf_datum_int(1);
    hf_shared *second;
    pthread_t thread;
    ok(hf_shared_open(the_name, &patient, &second));
    ok(hf_shared_begin(map));
    /* In this thread it is HF_BUSY at once, so in another. */
    hf_shared *swapped = map;
    map = second;
    uint64_t count = 9;
    clock_gettime(CLOCK_MONOTONIC, &before);
    ok(pthread_create(&thread, NULL, from_another_thread, &count));
    ok(pthread_join(thread, NULL));
    clock_gettime(CLOCK_MONOTONIC, &after);
    map = swapped;
    /* Seven calls in it wait. */
    assert_true((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 >= 7 * 30 - 7);
    ok(hf_shared_commit(map));
    yes(hf_shared_set(second, &key, &key));
    ok(hf_shared_close(second));
}

/* What a change of two trees does that can neither go on nor back. */
static void a_spoiled_transaction_can_be_aborted(void **state)
{
    const hf_datum key = hf_datum_int(1);
    hf_shared_room other_room = {0};
    hf_datum value;
    ok(hf_shared_begin(map));
    yes(set(key, hf_datum_int(1)));
    ok(hf_shared_begin(map));
    ok(hf_shared_begin(map));
    ok(set(key, hf_datum_int(2)));
    hf_txn_spoil(hf_txn_mine(map->region), HF_NOSPACE);
    says(set(key, key), HF_INVALID);
    says(delete (key), HF_INVALID);
    says(hf_shared_get(map, &key, &other_room, &value), HF_INVALID);
    says(hf_shared_begin(map), HF_INVALID);
    says(hf_shared_clear(map), HF_INVALID);
    says(hf_shared_commit(map), HF_INVALID);
    assert_int_equal(hf_shared_depth(map), 3);
    /* As it was before the innermost began. */
    ok(hf_shared_abort(map));
    expect_get(key, hf_datum_int(1));
    ok(hf_shared_commit(map));
    hf_txn_spoil(hf_txn_mine(map->region), HF_NOSPACE);
    says(hf_shared_commit(map), HF_NOSPACE);
    says(hf_shared_commit(map), HF_NOSPACE);
    ok(hf_shared_abort(map));
    expect_none(key);
    yes(set(key, key));
}

/* -- snapshots -- */

static void a_snapshot_does_not_change(void **state)
{
    hf_shared_snapshot *before, *after, *empty;
    const hf_datum key = hf_datum_str("k");
    hf_datum value;
    ok(hf_shared_snapshot_begin(map, &empty));
    yes(set(key, hf_datum_int(1)));
    ok(hf_shared_snapshot_begin(map, &before));
    ok(hf_shared_begin(map));
    ok(set(key, hf_datum_int(2)));
    ok(hf_shared_snapshot_begin(map, &after)); /* of what is published */
    yes(hf_shared_snapshot_get(after, &key, &value));
    assert_true(hf_datum_is_int(&value, 1));
    hf_shared_snapshot_end(after);
    ok(hf_shared_commit(map));
    ok(hf_shared_snapshot_begin(map, &after));
    ok(hf_shared_clear(map));
    yes(hf_shared_snapshot_get(before, &key, &value));
    assert_true(hf_datum_is_int(&value, 1));
    yes(hf_shared_snapshot_get(after, &key, &value));
    assert_true(hf_datum_is_int(&value, 2));
    yes(hf_shared_snapshot_get(after, &key, NULL));
    ok(hf_shared_snapshot_get(empty, &key, &value));
    assert_int_equal(hf_shared_snapshot_count(empty), 0);
    assert_int_equal(hf_shared_snapshot_count(after), 1);
    says(hf_shared_close(map), HF_BUSY);
    hf_shared_snapshot_end(empty);
    hf_shared_snapshot_end(before);
    says(hf_shared_close(map), HF_BUSY);
    hf_shared_snapshot_end(after);
    hf_shared_snapshot_end(NULL);
}

static int stop(void *arg, const hf_datum *key, const hf_datum *value)
{
    int *calls = arg;
    return ++*calls == 3 ? 42 : 0;
}

static int stop_differing(void *arg, const hf_datum *key, const hf_datum *from, const hf_datum *to)
{
    int *status = arg;
    return *status;
}

static void a_walk_ends_where_it_is_ended(void **state)
{
    hf_shared_snapshot *from, *to, *strange;
    int calls = 0, wanted[] = {7, -5, HF_FOREIGN};
    ok(hf_shared_snapshot_begin(map, &from));
    for (int i = 0; i < 10; i++)
        yes(set(hf_datum_int(i), hf_datum_int(i)));
    ok(hf_shared_snapshot_begin(map, &to));
    says(hf_shared_snapshot_walk(to, stop, &calls), 42);
    assert_int_equal(calls, 3);
    for (size_t i = 0; i < LENGTH(wanted); i++)
        says(hf_shared_snapshot_diff(from, to, stop_differing, &wanted[i]), wanted[i]);
    says(hf_shared_snapshot_diff(to, to, stop_differing, &wanted[0]), 0);
    /* Snapshots of two maps have nothing to do with each other. */
    char name[sizeof the_name];
    memcpy(name, the_name, sizeof name);
    hf_shared *stranger = map_new();
    ok(hf_shared_snapshot_begin(stranger, &strange));
    says(hf_shared_snapshot_diff(from, strange, stop_differing, &wanted[0]), HF_INVALID);
    hf_shared_snapshot_end(strange);
    ok(hf_shared_close(stranger));
    ok(hf_shared_unlink(the_name));
    memcpy(the_name, name, sizeof name);
    hf_shared_snapshot_end(from);
    hf_shared_snapshot_end(to);
}

static int change_meanwhile(void *arg, const hf_datum *key, const hf_datum *value)
{
    int *calls = arg;
    ++*calls;
    yes(hf_shared_delete(map, key));
    return 0;
}

static void a_map_may_change_while_a_snapshot_is_walked(void **state)
{
    hf_shared_snapshot *snapshot;
    int calls = 0;
    for (int i = 0; i < 500; i++)
        yes(set(hf_datum_float(i), hf_datum_int(i)));
    ok(hf_shared_snapshot_begin(map, &snapshot));
    ok(hf_shared_snapshot_walk(snapshot, change_meanwhile, &calls));
    assert_int_equal(calls, 500);
    calls = 0;
    ok(hf_shared_snapshot_walk(snapshot, count_walked, &calls));
    assert_int_equal(calls, 500);
    hf_shared_snapshot_end(snapshot);
}

static void stats_say_what_there_is(void **state)
{
    hf_shared_stats before, after;
    ok(hf_shared_stats_get(map, &before));
    assert_int_equal(before.version, 1);
    assert_int_equal(before.count, 0);
    assert_int_equal(before.max_size, 0);
    for (int i = 0; i < 1000; i++)
        yes(set(hf_datum_float(i), hf_datum_str("value")));
    ok(hf_shared_stats_get(map, &after));
    assert_int_equal(after.version, 1001);
    assert_int_equal(after.count, 1000);
    assert_true(after.size >= before.size && after.used > before.used && after.used <= after.size);
    assert_int_equal(after.writers_died, 0);
    assert_int_equal(after.readers_died, 0);
    assert_true(after.readers <= 1);
}

#define with_map(test)                                \
    {                                                 \
#test, test, begin, end, (void *)(uintptr_t)0 \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_map(every_kind_comes_back),
        with_map(every_length_comes_back),
        with_map(a_room_is_used_again),
        with_map(what_is_no_key_is_refused),
        with_map(what_is_no_value_is_refused),
        with_map(the_key_put_first_stays),
        with_map(a_rollback_brings_the_form_back),
        with_map(a_transaction_takes_any_number_of_forms),
        with_map(numbers_are_added_to),
        with_map(what_is_no_int_is_not_added_to),
        with_map(a_value_is_exchanged_for_what_it_was),
        with_map(a_clear_leaves_nothing),
        with_map(a_transaction_is_needed_to_end_one),
        with_map(transactions_within_one_are_many_but_not_more),
        with_map(a_thread_does_not_wait_for_itself),
        with_map(others_wait_and_see_nothing),
        with_map(times_to_wait_are_kept),
        with_map(a_spoiled_transaction_can_be_aborted),
        with_map(a_snapshot_does_not_change),
        with_map(a_walk_ends_where_it_is_ended),
        with_map(a_map_may_change_while_a_snapshot_is_walked),
        with_map(stats_say_what_there_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

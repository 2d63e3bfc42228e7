/*
 * Records: what is written is read, whatever its sizes; a flip of any bit, a cut at any byte, another place, file or
 * cask is noticed; sizes that lie are; the next record behind garbage is found, in a time that goes with the bytes.
 */
#include "test_cask_parts.h"

#include <time.h>

enum { FILE_SIZE = 1 << 22 };

static unsigned char
    *file; /* of FILE_SIZE bytes at the end of a larger block: valgrind and ASan see what is behind */
static hf_log_salt salt;

static int file_new(void **state)
{
    file = calloc(1, FILE_SIZE);
    assert_non_null(file);
    salt = hf_log_salt_of(the_id, 7);
    random_state = 1;
    return 0;
}

static int file_end(void **state)
{
    free(file);
    return 0;
}

/* Writes it there: where it ends. */
static uint64_t write_at(uint64_t at, const hf_record_in *record, uint64_t synced)
{
    int64_t size = hf_record_size_in(record);
    assert_true(size > 0 && size % HF_CASK_ALIGN == 0 && at + (uint64_t)size <= FILE_SIZE);
    assert_true(hf_record_write(record, salt, at, synced, file + at) == (uint64_t)size);
    return at + (uint64_t)size;
}

static int read_at(uint64_t end, uint64_t at)
{
    hf_record_out out;
    return hf_record_read(file, end, at, salt, &out);
}

static void what_is_written_is_read(void **state)
{
    for (unsigned round = 0; round < 3000; round++) {
        uint64_t at = HF_CASK_DATA_AT + 8 * random_below(1000), synced = random_below(at / 8 + 1) * 8;
        hf_record_in record = random_record(1 + random_next() % (UINT64_MAX - 1));
        memset(file, 0xa5, HF_CASK_DATA_AT + 8000);
        uint64_t end = write_at(at, &record, synced);
        hf_record_out out, again;
        assert_int_equal(hf_record_read(file, end, at, salt, &out), 1);
        assert_record(&out, &record);
        assert_true(out.at == at && out.size == end - at && out.synced == synced && out.bytes == file + at);
        assert_int_equal(hf_record_look(file, end, at, salt, &again), 1);
        assert_record(&again, &record);
        assert_int_equal(file[at - 1], 0xa5);
        /* Nothing behind `end` was looked at. */
        assert_int_equal(read_at(end, end), 0);
    }
}

static void sizes_have_limits(void **state)
{
    hf_record_in record = small_record(1, "key", "value");
    assert_int_equal(hf_record_size_in(&record), 32 + 8);
    record.key.size = HF_CASK_KEY_MAX - 1;
    assert_int_equal(hf_record_size_in(&record), 32 + 4 + (HF_CASK_KEY_MAX - 1) + 5);
    record.key.size = HF_CASK_KEY_MAX;
    assert_int_equal(hf_record_size_in(&record), HF_LIMIT);
    record = small_record(1, "key", "value");
    record.given = hf_span_of(key_bytes, HF_CASK_KEY_MAX);
    assert_int_equal(hf_record_size_in(&record), HF_LIMIT);
    record = small_record(1, "key", "value");
    record.value.size = UINT32_MAX;
    assert_true(hf_record_size_in(&record) > UINT32_MAX);
    record.value.size = (size_t)UINT32_MAX + 1;
    assert_int_equal(hf_record_size_in(&record), HF_LIMIT);
    record = small_record(1, "key", "value");
    record.time = HF_CASK_TIME_MAX;
    assert_int_equal(hf_record_size_in(&record), 40);
    record.time++;
    assert_int_equal(hf_record_size_in(&record), HF_LIMIT);
    record.time = -1;
    assert_int_equal(hf_record_size_in(&record), HF_LIMIT);
    record = small_record(1, "key", "value");
    record.expires = -1;
    assert_int_equal(hf_record_size_in(&record), HF_LIMIT);
    record.expires = 0;
    assert_int_equal(hf_record_size_in(&record), 48);
}

/* What goes in front of a value is part of it. */
static void a_value_may_be_in_two_pieces(void **state)
{
    hf_record_in whole = small_record(1, "key", "value"), pieces = whole;
    unsigned char other[48];
    for (size_t cut = 0; cut <= 5; cut++) {
        pieces.head = hf_span_of("value", cut);
        pieces.value = hf_span_of("value" + cut, 5 - cut);
        assert_int_equal(hf_record_size_in(&pieces), hf_record_size_in(&whole));
        write_at(4096, &whole, 64);
        assert_true(hf_record_write(&pieces, salt, 4096, 64, other) == 40);
        assert_memory_equal(other, file + 4096, 40);
    }
    pieces.head = hf_span_of(value_bytes, 1);
    pieces.value.size = UINT32_MAX;
    assert_int_equal(hf_record_size_in(&pieces), HF_LIMIT);
}

static hf_record_in with_everything(void)
{
    hf_record_in record = small_record(77, "a key", "and a value");
    record.flags |= HF_RECORD_MORE;
    record.given = hf_span_of("given", 5);
    record.expires = 1800000000000;
    return record;
}

static void every_flipped_bit_is_noticed(void **state)
{
    hf_record_in records[] = {
        with_everything(),
        small_record(1, "", ""),
        small_record(2, "x", ""),
        {.flags = HF_RECORD_CLOCK, .sequence = 3, .time = 5, .expires = INT64_MAX},
        {.flags = HF_RECORD_DELETE, .sequence = 4, .expires = INT64_MAX, .key = {key_bytes, 300}}};
    for (size_t i = 0; i < LENGTH(records); i++) {
        uint64_t at = 4096, end = write_at(at, &records[i], 1024);
        assert_int_equal(read_at(end, at), 1);
        for (uint64_t bit = 0; bit < 8 * (end - at); bit++) {
            file[at + bit / 8] ^= (unsigned char)(1 << bit % 8);
            assert_int_equal(read_at(end, at), HF_CORRUPT);
            file[at + bit / 8] ^= (unsigned char)(1 << bit % 8);
        }
        assert_int_equal(read_at(end, at), 1);
    }
}

static void every_cut_is_noticed(void **state)
{
    hf_record_in record = with_everything();
    uint64_t at = 4096, end = write_at(at, &record, 0);
    unsigned char *copy = malloc(end);
    assert_non_null(copy);
    for (uint64_t cut = at + 1; cut < end; cut++) {
        hf_record_out out;
        /* A block of just these bytes: what reads behind them is seen by a sanitizer. */
        unsigned char *exact = malloc(cut);
        assert_non_null(exact);
        memcpy(exact, file, cut);
        assert_int_equal(hf_record_read(exact, cut, at, salt, &out), HF_CORRUPT);
        assert_int_equal(hf_record_look(exact, cut, at, salt, &out), HF_CORRUPT);
        assert_int_equal(hf_record_resync(exact, cut, 0, salt, &out), 0);
        free(exact);
        /* And what a torn write leaves where zeros were written ahead. */
        memcpy(copy, file, end);
        memset(copy + cut, 0, end - cut);
        if (memcmp(copy, file, end) != 0)
            assert_int_equal(hf_record_read(copy, end, at, salt, &out), HF_CORRUPT);
    }
    free(copy);
}

static void a_record_is_for_one_place(void **state)
{
    hf_record_in record = with_everything();
    hf_record_out out;
    uint64_t at = 4096, size = write_at(at, &record, 0) - at;
    memcpy(file + at + 8000, file + at, size);
    assert_int_equal(read_at(at + 8000 + size, at + 8000), HF_CORRUPT);
    assert_int_equal(hf_record_read(file, at + size, at, hf_log_salt_of(the_id, 8), &out), HF_CORRUPT);
    assert_int_equal(hf_record_read(file, at + size, at, hf_log_salt_of(another_id, 7), &out), HF_CORRUPT);
    assert_int_equal(hf_record_look(file, at + size, at, hf_log_salt_of(another_id, 7), &out), HF_CORRUPT);
    /* A body without its header's sequence number. */
    hf_log_salt mixed = {hf_log_salt_of(the_id, 8).head, salt.body};
    assert_true(hf_log_salt_of(the_id, 8).body == salt.body);
    assert_int_equal(hf_record_read(file, at + size, at, mixed, &out), HF_CORRUPT);
    static const uint64_t wrong[] = {0, 8, 63, 4097, 4092, UINT64_MAX, UINT64_MAX - 7, FILE_SIZE + 8};
    for (size_t i = 0; i < LENGTH(wrong); i++)
        assert_int_equal(read_at(FILE_SIZE, wrong[i]), HF_CORRUPT);
}

static void where_nothing_was_written_there_is_none(void **state)
{
    hf_record_in record = with_everything();
    uint64_t end = write_at(HF_CASK_DATA_AT, &record, 0);
    for (uint64_t left = 0; left < 100; left++)
        assert_int_equal(read_at(end + left, end), 0);
    for (uint64_t left = 1; left < 32; left++) {
        file[end + left - 1] = 1;
        assert_int_equal(read_at(end + left, end), HF_CORRUPT);
        file[end + left - 1] = 0;
    }
}

/* Makes the checksums of a header right again: then what is behind them is tested. */
static void mend(uint64_t at, uint64_t body)
{
    struct hf_log_record head;
    memcpy(&head, file + at, sizeof head);
    head.body_checksum = hf_checksum32(file + at + 32, body, salt.body + head.sequence);
    head.head_checksum = hf_checksum32(&head.body_checksum, 28, salt.head + at);
    memcpy(file + at, &head, sizeof head);
}

static void sizes_that_lie_are_noticed(void **state)
{
    uint64_t rejected = 0, at = 4096;
    for (unsigned round = 0; round < 20000; round++) {
        static const uint64_t odd[] = {0, 1, 7, 8, 0xff, 0xfffe, 0xffff, 0x10000, 0xffffff, 0x1000000, UINT32_MAX};
        hf_record_in record = random_record(1 + random_below(1000));
        if (record.value.size > 5000 || record.given.size > 5000)
            continue;
        uint64_t end = write_at(at, &record, 0);
        struct hf_log_record head;
        memcpy(&head, file + at, sizeof head);
        uint32_t value = (uint32_t)odd[random_below(LENGTH(odd))];
        unsigned what = (unsigned)random_below(5);
        if (what == 0)
            head.value_size = value;
        else if (what == 1)
            head.stamp = (head.stamp & ~UINT64_C(0xffff)) | (value & 0xffff);
        else if (what == 2)
            head.stamp ^= random_below(64) << 16;
        else if (what == 3)
            head.synced = value;
        else
            head.sequence = random_below(2);
        memcpy(file + at, &head, sizeof head);
        if (random_below(2) == 0)
            memcpy(file + at + 32 + 8 * random_below(3), &value, sizeof value);
        hf_record_out out;
        /* Whatever size of the body it takes, one of these is that. */
        for (uint64_t body = end - at - 32; body + 12 > end - at - 32; body--) {
            if (body > FILE_SIZE)
                break;
            mend(at, body);
            int found = hf_record_read(file, end, at, salt, &out);
            if (found == 1) {
                /* Then it says something that could have been written, and these are the bytes of it. */
                unsigned char *same = malloc(out.size);
                assert_non_null(same);
                assert_true(out.size <= end - at && hf_record_size_in(&out.in) == (int64_t)out.size);
                assert_true(hf_record_write(&out.in, salt, at, out.synced, same) == out.size);
                assert_memory_equal(same, file + at, out.size);
                free(same);
            } else {
                assert_int_equal(found, HF_CORRUPT);
                rejected++;
            }
        }
    }
    assert_true(rejected > 10000);
}

/*
 * A body as it could be, and as hf_record_write never makes it: a long size for a short key, an expiry that says
 * never, a key that was given and has no bytes.
 */
static void there_is_one_way_to_write_a_record(void **state)
{
    static const struct {
        uint64_t stamp;
        uint64_t words[2];
        uint64_t body;
        int expected;
    } cases[] = {
        {UINT64_C(0x1ffff), {0xfffe}, 4 + 0xfffe, HF_CORRUPT},
        {UINT64_C(0x1ffff), {0xffff}, 4 + 0xffff, 1},
        {UINT64_C(0x1ffff), {3}, 4 + 3, HF_CORRUPT},
        {UINT64_C(0x50003), {INT64_MAX}, 8 + 3, HF_CORRUPT},
        {UINT64_C(0x50003), {UINT64_MAX}, 8 + 3, HF_CORRUPT},
        {UINT64_C(0x50003), {INT64_MAX - 1}, 8 + 3, 1},
        {UINT64_C(0x90003), {0}, 4 + 3, HF_CORRUPT},
        {UINT64_C(0x90003), {1}, 4 + 3 + 1, 1},
        {UINT64_C(0x30000), {0}, 0, 1},
        {UINT64_C(0x30001), {0}, 1, HF_CORRUPT},
        {UINT64_C(0x70000), {5}, 8, HF_CORRUPT},
        {UINT64_C(0x60001), {5}, 9, HF_CORRUPT},
        {UINT64_C(0xa0001), {1}, 4 + 1 + 1, HF_CORRUPT},
        {UINT64_C(0x20001), {5}, 1, 1},
        {UINT64_C(0x00001), {5}, 1, HF_CORRUPT},
        {UINT64_C(0x210001), {5}, 1, HF_CORRUPT},
    };
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct hf_log_record head = {.sequence = 9, .stamp = cases[i].stamp};
        uint64_t end = 4096 + 32 + (cases[i].body + 7) / 8 * 8;
        memset(file + 4096, 0, end - 4096);
        memcpy(file + 4096, &head, sizeof head);
        memcpy(file + 4096 + 32, cases[i].words, cases[i].body < 8 ? cases[i].body : 8);
        mend(4096, cases[i].body);
        assert_int_equal(read_at(end, 4096), cases[i].expected);
    }
}

static void a_copy_says_the_same_elsewhere(void **state)
{
    hf_log_salt other = hf_log_salt_of(the_id, 9);
    for (unsigned round = 0; round < 500; round++) {
        hf_record_in record = random_record(1 + random_next() % 1000000);
        uint64_t end = write_at(4096, &record, 4096), to = HF_CASK_DATA_AT + 8 * random_below(100);
        hf_record_out out, copy;
        unsigned char *room = calloc(1, to + end - 4096);
        assert_non_null(room);
        assert_int_equal(hf_record_read(file, end, 4096, salt, &out), 1);
        assert_true(hf_record_copy(&out, other, to, 64, room + to) == out.size);
        assert_int_equal(hf_record_read(room, to + out.size, to, other, &copy), 1);
        record.flags &= ~(unsigned)HF_RECORD_MORE;
        assert_record(&copy, &record);
        assert_true(copy.synced == 64);
        free(room);
    }
}

/* -- behind damage -- */

enum { MOST = 3000 };

static struct {
    uint64_t at, end;
    bool whole;
} written[MOST];

/* Fills the file with records: how many. */
static unsigned fill_file(uint64_t *end)
{
    unsigned count = 0;
    uint64_t at = HF_CASK_DATA_AT;
    while (count < MOST) {
        hf_record_in record = random_record(count + 1);
        if (at + (uint64_t)hf_record_size_in(&record) > FILE_SIZE)
            break;
        written[count].at = at;
        at = write_at(at, &record, at / 2 / 8 * 8);
        written[count].end = at;
        written[count++].whole = true;
    }
    *end = at;
    return count;
}

static void damage(uint64_t end)
{
    uint64_t at = HF_CASK_DATA_AT + random_below(end - HF_CASK_DATA_AT), size = 1 + random_below(2000);
    size = size < end - at ? size : end - at;
    if (random_below(3) == 0)
        memset(file + at, 0, size);
    else if (random_below(2) == 0)
        fill(file + at, size);
    else
        file[at] ^= (unsigned char)(1 + random_below(255));
}

static void all_whole_records_behind_damage_are_found(void **state)
{
    uint64_t end;
    unsigned count = fill_file(&end);
    assert_true(count > 1000);
    unsigned char *good = malloc(FILE_SIZE);
    assert_non_null(good);
    memcpy(good, file, FILE_SIZE);
    for (unsigned i = 0; i < 200; i++)
        damage(end);
    unsigned left = 0;
    for (unsigned i = 0; i < count; i++) {
        written[i].whole = memcmp(good + written[i].at, file + written[i].at, written[i].end - written[i].at) == 0;
        left += written[i].whole;
    }
    assert_true(left > 100 && left < count);
    hf_record_out out;
    unsigned i = 0;
    for (uint64_t at = 0; hf_record_resync(file, end, at, salt, &out) == 1; at = out.at + out.size, i++) {
        while (i < count && !written[i].whole)
            i++;
        assert_true(i < count && out.at == written[i].at && out.at + out.size == written[i].end);
    }
    while (i < count)
        assert_false(written[i++].whole);
    free(good);
}

static void the_next_one_is_found_from_anywhere(void **state)
{
    hf_record_in record = small_record(1, "key", "value");
    hf_record_out out;
    /* All before it is synced: `synced` is its own place. */
    uint64_t at = 4096, end = write_at(at, &record, at);
    for (uint64_t from = 0; from <= at; from++) {
        assert_int_equal(hf_record_resync(file, end, from, salt, &out), 1);
        assert_true(out.at == at);
    }
    for (uint64_t from = at + 1; from < end + 100; from++)
        assert_int_equal(hf_record_resync(file, end, from, salt, &out), 0);
    assert_int_equal(hf_record_resync(file, end, UINT64_MAX, salt, &out), 0);
}

static void a_value_that_has_a_log_in_it_is_a_value(void **state)
{
    uint64_t inner;
    fill_file(&inner);
    inner = inner < 500000 ? inner : 500000;
    unsigned char *value = malloc(inner);
    assert_non_null(value);
    memcpy(value, file, inner);
    memset(file, 0, FILE_SIZE);
    hf_record_in record = small_record(1, "log", "");
    record.value = hf_span_of(value, inner);
    uint64_t end = write_at(HF_CASK_DATA_AT, &record, 0), last = end;
    record = small_record(2, "next", "one");
    end = write_at(end, &record, 0);
    hf_record_out out;
    file[70] ^= 1; /* the first one's header */
    assert_int_equal(hf_record_resync(file, end, HF_CASK_DATA_AT, salt, &out), 1);
    assert_true(out.at == last);
    /* And at the very place: then its bytes are right for it. */
    file[70] ^= 1;
    assert_int_equal(hf_record_resync(file, end, HF_CASK_DATA_AT, salt, &out), 1);
    assert_true(out.at == HF_CASK_DATA_AT);
    free(value);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/*
 * Headers that are right, one behind the other, each of a record that would go on to the end of the file: if each
 * body were hashed, that would be 2^17 times 2 MiB.
 */
static void it_takes_a_time_that_goes_with_the_bytes(void **state)
{
    hf_record_out out;
    for (uint64_t at = HF_CASK_DATA_AT; at + 32 <= FILE_SIZE; at += 32) {
        struct hf_log_record head = {.sequence = 1 + at, .stamp = UINT64_C(1) << 16};
        head.value_size = (uint32_t)(FILE_SIZE - at - 32);
        head.head_checksum = hf_checksum32(&head.body_checksum, 28, salt.head + at);
        memcpy(file + at, &head, sizeof head);
    }
    double before = seconds();
    assert_int_equal(hf_record_resync(file, FILE_SIZE, 0, salt, &out), 0);
    assert_true(seconds() - before < 2);
}

/* -- the format -- */

static void the_bytes_are_these(void **state)
{
    static const char *const expected[] = {
        "333feb2d2b2323670100000000000000030001005af9f36205000000080000006b657976616c7565",
        "c19058883017f0670200000000000000030042005af9f36200000000080000006b65790000000000",
        "a8bae1d8be4fa5420300000000000000000083005af9f3620000000008000000",
        "656eb93386a647144d0000000000000005001d005af9f3620b0000000800000000505c18a30100000500000061206b65"
        "79676976656e616e6420612076616c756500000000000000"};
    hf_record_in records[] = {small_record(1, "key", "value"),
                              {.flags = HF_RECORD_DELETE,
                               .sequence = 2,
                               .time = 1700000000001,
                               .expires = INT64_MAX,
                               .key = {(const uint8_t *)"key", 3}},
                              {.flags = HF_RECORD_CLOCK, .sequence = 3, .time = 1700000000002, .expires = INT64_MAX},
                              with_everything()};
    uint64_t at = HF_CASK_DATA_AT;
    for (size_t i = 0; i < LENGTH(records); i++) {
        uint64_t end = write_at(at, &records[i], HF_CASK_DATA_AT);
        assert_hex(file + at, end - at, expected[i]);
        at = end;
    }
    memset(key_bytes, 'k', HF_KEY_SIZE_LONG);
    hf_record_in record = {.flags = HF_RECORD_PUT,
                           .sequence = 5,
                           .time = 1,
                           .expires = INT64_MAX,
                           .key = {key_bytes, HF_KEY_SIZE_LONG},
                           .value = {(const uint8_t *)"v", 1}};
    uint64_t end = write_at(at, &record, 0);
    assert_true(end - at == 32 + 65544);
    assert_hex(file + at, 40, "b475b7d6ffd58dc90500000000000000ffff4100000000000100000000000000ffff00006b6b6b6b");
}

#define with_file(test) cmocka_unit_test_setup_teardown(test, file_new, file_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_file(what_is_written_is_read),
        with_file(sizes_have_limits),
        with_file(a_value_may_be_in_two_pieces),
        with_file(every_flipped_bit_is_noticed),
        with_file(every_cut_is_noticed),
        with_file(a_record_is_for_one_place),
        with_file(where_nothing_was_written_there_is_none),
        with_file(sizes_that_lie_are_noticed),
        with_file(there_is_one_way_to_write_a_record),
        with_file(a_copy_says_the_same_elsewhere),
        with_file(all_whole_records_behind_damage_are_found),
        with_file(the_next_one_is_found_from_anywhere),
        with_file(a_value_that_has_a_log_in_it_is_a_value),
        with_file(it_takes_a_time_that_goes_with_the_bytes),
        with_file(the_bytes_are_these),
    };

    return cmocka_run_group_tests_name("cask/record", tests, NULL, NULL);
}

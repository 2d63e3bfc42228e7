/*
 * Hints: made, written, read; from a log, whole and damaged; every bit flipped, every cut; contents that lie under
 * checksums that are right; the filter's answers; each call failing.
 */
#include "cask/hint.h"

#include "test_cask_parts.h"
#include "test_child.h"

#include <sys/resource.h>

enum { NUMBER = 7, MOST = 1 << 24, SEED = 0x5eed };
static const char name[] = "0000000007.hint";

static hf_log_writer writer;

/* What the entries have to be. */
enum { RECORDS = 20000 };
static struct hf_hint_entry entries[RECORDS];
static uint64_t count, sequence;
static uint64_t latest, soonest;

static uint64_t hash_of(hf_span key)
{
    return hf_hash_bytes(key.bytes, key.size, SEED);
}

static int log_new(void **state)
{
    count = sequence = latest = 0;
    soonest = UINT64_MAX;
    if (folder_new(state) < 0)
        return -1;
    return hf_log_create(folder, the_id, NUMBER, HF_LOG_WRITTEN, 1700000000000, 41, MOST, 0, &writer);
}

static int log_end(void **state)
{
    hf_log_writer_close(&writer);
    return folder_end(state);
}

static unsigned char room[400000];

static void append(const hf_record_in *record)
{
    uint64_t size = hf_record_write(record, writer.file->salt, writer.end, 0, room);
    if ((record->flags & HF_RECORD_KIND) != HF_RECORD_CLOCK)
        entries[count++] = (struct hf_hint_entry){
            hash_of(record->key),
            hf_cask_place(NUMBER, writer.end, size, (record->flags & HF_RECORD_KIND) == HF_RECORD_DELETE),
            record->sequence};
    latest = latest < (uint64_t)record->time ? (uint64_t)record->time : latest;
    if (record->expires != INT64_MAX && (uint64_t)record->expires < soonest)
        soonest = (uint64_t)record->expires;
    ok(hf_log_append(&writer, room, size));
    atomic_store(&writer.file->end, writer.end);
}

static void append_random(unsigned records)
{
    for (unsigned i = 0; i < records; i++) {
        hf_record_in record = random_record(++sequence);
        append(&record);
    }
}

static hf_hint_maker maker;

static void make(void)
{
    ok(hf_hint_from_log(writer.file, the_id, SEED, NULL, NULL, &maker));
}

static void write_it(void)
{
    uint64_t bytes;
    make();
    ok(hf_hint_write(folder, &maker, writer.end, &bytes));
    hf_hint_maker_clear(&maker);
    struct stat found;
    ok(fstatat(folder, name, &found, 0));
    assert_true((uint64_t)found.st_size == bytes && (found.st_mode & 07777) == 0600);
}

static void expect_hint(const struct hf_hint_head *head, const struct hf_hint_entry *found)
{
    assert_true(head->count == count);
    if (count > 0)
        assert_memory_equal(found, entries, count * sizeof *entries);
    assert_true(head->first == (sequence > 0 ? 1 : UINT64_MAX) && head->last == sequence);
    assert_true(head->clock == latest && head->soonest == soonest && head->number == NUMBER);
}

static void a_hint_says_what_its_log_does(void **state)
{
    for (unsigned round = 0; round < 12; round++) {
        hf_hint hint;
        make();
        expect_hint(&maker.head, maker.entries);
        hf_hint_maker_clear(&maker);
        write_it();
        ok(hf_hint_open(folder, the_id, NUMBER, writer.end, &hint));
        expect_hint(hint.head, hint.entries);
        for (uint64_t i = 0; i < count; i++)
            assert_true(hf_hint_may_have(&hint, entries[i].hash));
        if (count == 0)
            assert_false(hf_hint_may_have(&hint, 0) || hf_hint_may_have(&hint, UINT64_MAX));
        hf_hint_close(&hint);
        hf_hint_close(&hint);
        /* Of another size, file, cask: not this one's. */
        assert_int_equal(hf_hint_open(folder, the_id, NUMBER, writer.end + 8, &hint), HF_CORRUPT);
        assert_int_equal(hf_hint_open(folder, another_id, NUMBER, writer.end, &hint), HF_CORRUPT);
        ok(renameat(folder, name, folder, "0000000008.hint"));
        assert_int_equal(hf_hint_open(folder, the_id, NUMBER, writer.end, &hint), HF_ABSENT);
        assert_int_equal(hf_hint_open(folder, the_id, NUMBER + 1, writer.end, &hint), HF_CORRUPT);
        ok(unlinkat(folder, "0000000008.hint", 0));
        append_random(round == 0 ? 1 : 50);
    }
    assert_int_equal(folder_count(), 1);
}

/* Told of what is lost: it must be what lies between the records that are left. */
static struct {
    uint64_t at[100], size[100];
    unsigned count;
} lost;

static int note_lost(void *arg, uint64_t at, uint64_t size)
{
    assert_ptr_equal(arg, &lost);
    assert_true(lost.count < 100);
    lost.at[lost.count] = at;
    lost.size[lost.count++] = size;
    return 0;
}

static int refuse(void *arg, uint64_t at, uint64_t size)
{
    return HF_CORRUPT;
}

static void damage_in_a_log_is_told_exactly(void **state)
{
    append_random(300);
    for (unsigned round = 0; round < 200; round++) {
        unsigned char *bytes = malloc(writer.end);
        assert_non_null(bytes);
        memcpy(bytes, writer.file->bytes, writer.end);
        for (unsigned i = 0; i < 4; i++) {
            uint64_t at = HF_CASK_DATA_AT + random_below(writer.end - HF_CASK_DATA_AT), size = 1 + random_below(2000);
            size = size < writer.end - at ? size : writer.end - at;
            if (random_below(2) == 0)
                fill(bytes + at, size);
            else
                memset(bytes + at, 0, size);
        }
        hf_log_file damaged = {
            .number = NUMBER, .salt = writer.file->salt, .bytes = bytes, .mapped = writer.end, .end = writer.end};
        memset(&lost, 0, sizeof lost);
        ok(hf_hint_from_log(&damaged, the_id, SEED, note_lost, &lost, &maker));
        /* What it has and what it has lost are all there is; what it has is what is whole. */
        uint64_t at = HF_CASK_DATA_AT, whole = 0;
        unsigned gap = 0;
        while (at < writer.end) {
            hf_record_out good, now;
            if (gap < lost.count && lost.at[gap] == at) {
                at += lost.size[gap++];
                continue;
            }
            assert_int_equal(hf_record_read(writer.file->bytes, writer.end, at, damaged.salt, &good), 1);
            assert_int_equal(hf_record_read(bytes, writer.end, at, damaged.salt, &now), 1);
            assert_memory_equal(bytes + at, writer.file->bytes + at, good.size);
            if ((good.in.flags & HF_RECORD_KIND) != HF_RECORD_CLOCK)
                assert_true(hf_place_offset(maker.entries[whole++].place) == at);
            at += good.size;
        }
        assert_true(gap == lost.count && whole == maker.head.count);
        /* And in each gap there is none that is whole. */
        for (uint64_t i = 0, next = 0; i < count; i++) {
            uint64_t place = hf_place_offset(entries[i].place);
            hf_record_out good;
            assert_int_equal(hf_record_read(writer.file->bytes, writer.end, place, damaged.salt, &good), 1);
            bool same = memcmp(bytes + place, good.bytes, good.size) == 0;
            bool has = next < maker.head.count && hf_place_offset(maker.entries[next].place) == place;
            assert_int_equal(has, same);
            next += has;
        }
        hf_hint_maker_clear(&maker);
        if (lost.count > 0)
            assert_int_equal(hf_hint_from_log(&damaged, the_id, SEED, refuse, NULL, &maker), HF_CORRUPT);
        free(bytes);
    }
}

enum { ROOM = 1 << 16 };
static unsigned char bytes[ROOM];

static void expect_open(int expected)
{
    hf_hint hint;
    assert_int_equal(hf_hint_open(folder, the_id, NUMBER, writer.end, &hint), expected);
    if (expected == 0)
        hf_hint_close(&hint);
}

static void damage_is_noticed(void **state)
{
    append_random(12);
    expect_open(HF_ABSENT);
    write_it();
    size_t size = read_file(name, bytes, ROOM);
    assert_true(size > 104 + 8 * 24 && size < 1000);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        write_file(name, bytes, size);
        expect_open(HF_CORRUPT);
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    for (size_t cut = 0; cut < size; cut++) {
        write_file(name, bytes, cut);
        expect_open(HF_CORRUPT);
    }
    write_file(name, bytes, size + 8);
    expect_open(HF_CORRUPT);
    ok(unlinkat(folder, name, 0));
    ok(mkfifoat(folder, name, 0600));
    alarm(10);
    expect_open(HF_CORRUPT);
    alarm(0);
    ok(unlinkat(folder, name, 0));
    ok(mkdirat(folder, name, 0700));
    expect_open(HF_CORRUPT);
    ok(unlinkat(folder, name, AT_REMOVEDIR));
}

/* Writes `size` bytes with checksums that are right. */
static void write_mended(size_t size)
{
    uint64_t checksum = hf_checksum64(bytes, 96, HF_CASK_HINT_MAGIC);
    memcpy(bytes + 96, &checksum, 8);
    checksum = hf_checksum64(bytes, size - 8, HF_CASK_HINT_MAGIC);
    memcpy(bytes + size - 8, &checksum, 8);
    write_file(name, bytes, size);
}

static void what_cannot_be_is_refused(void **state)
{
    while (sequence < 12) {
        hf_record_in record = small_record(++sequence, "key", "value");
        append(&record);
    }
    write_it();
    unsigned char good[ROOM];
    size_t size = read_file(name, good, ROOM);
    struct hf_hint_head head;
    struct hf_hint_entry *entry = (struct hf_hint_entry *)(void *)(bytes + sizeof head);
    memcpy(bytes, good, size);
    write_mended(size);
    expect_open(0);
    static const uint64_t numbers[] = {0, 1, 1u << 31, UINT64_MAX, UINT64_MAX / 24, UINT64_MAX / 8};
    for (size_t i = 0; i < LENGTH(numbers); i++)
        for (unsigned what = 0; what < 6; what++) {
            memcpy(bytes, good, size);
            memcpy(&head, bytes, sizeof head);
            uint64_t *member = what == 0   ? &head.count
                               : what == 1 ? &head.words
                               : what == 2 ? &head.log_size
                               : what == 3 ? &head.number
                               : what == 4 ? &head.first
                                           : &head.last;
            if (*member == numbers[i] || (what == 4 && numbers[i] == 0) || (what == 5 && numbers[i] > 12))
                continue;
            *member = numbers[i];
            memcpy(bytes, &head, sizeof head);
            write_mended(size);
            expect_open(HF_CORRUPT);
        }
    const uint64_t places[] = {0,
                               hf_cask_place(NUMBER + 1, 64, 40, false),
                               hf_cask_place(NUMBER, 56, 40, false),
                               hf_cask_place(NUMBER, 64, 16, false),
                               hf_cask_place(NUMBER, writer.end, 40, false),
                               hf_cask_place(NUMBER, writer.end - 16, 32, true),
                               hf_cask_place(NUMBER, 64, writer.end, true),
                               UINT64_MAX};
    for (size_t i = 0; i < LENGTH(places); i++) {
        memcpy(bytes, good, size);
        entry[1].place = places[i];
        write_mended(size);
        expect_open(HF_CORRUPT);
    }
    memcpy(bytes, good, size);
    entry[1].sequence = 0;
    write_mended(size);
    expect_open(HF_CORRUPT);
}

/* Sizes that go with each other only as long as nobody looks at what they stand for. */
static void a_filter_has_its_size(void **state)
{
    struct hf_hint_head head;
    hf_record_in record = small_record(++sequence, "key", "value");
    append(&record);
    write_it();
    size_t size = read_file(name, bytes, ROOM);
    memcpy(&head, bytes, sizeof head);
    assert_true(size == 104 + 24 + 64 + 8 && head.words == 8);
    head.words = 0;
    memcpy(bytes, &head, sizeof head);
    write_mended(size - 64);
    expect_open(HF_CORRUPT);
    head.words = 16;
    memcpy(bytes, &head, sizeof head);
    write_mended(size + 64);
    expect_open(HF_CORRUPT);
    /* 2^63 times 24, and times 10, are 0 in 64 bits. */
    head.words = 8;
    head.count |= UINT64_C(1) << 63;
    memcpy(bytes, &head, sizeof head);
    write_mended(size);
    expect_open(HF_CORRUPT);
    head.count ^= UINT64_C(1) << 63;
    memcpy(bytes, &head, sizeof head);
    write_mended(size);
    expect_open(0);
}

static void it_is_durable_before_it_has_its_name(void **state)
{
    append_random(10);
    note_calls();
    write_it();
    expect_calls("write write write write sync rename");
    ok(hf_log_seal(&writer));
    expect_calls("sync");
}

static void the_filter_seldom_errs(void **state)
{
    static const uint64_t counts[] = {1, 10, 46, 1000, RECORDS};
    for (size_t c = 0; c < LENGTH(counts); c++) {
        hf_record_in in = small_record(1, "key", "value");
        hf_record_out record = {.in = in, .at = 64, .size = 40};
        hf_hint_maker_init(&maker, the_id, NUMBER);
        for (uint64_t i = 0; i < counts[c]; i++)
            ok(hf_hint_maker_add(&maker, hf_hash_u64(i, 1), &record));
        uint64_t size, errs = 0, asked = 400000;
        ok(hf_hint_write(folder, &maker, 104, &size));
        assert_true(size <= 104 + counts[c] * 24 + counts[c] * 10 / 8 + 64 + 8);
        hf_hint hint;
        ok(hf_hint_open(folder, the_id, NUMBER, 104, &hint));
        for (uint64_t i = 0; i < counts[c]; i++)
            assert_true(hf_hint_may_have(&hint, maker.entries[i].hash));
        for (uint64_t i = 0; i < asked; i++)
            errs += hf_hint_may_have(&hint, hf_hash_u64(i + RECORDS, 1));
        if (counts[c] == RECORDS)
            print_message("the filter says yes to %.2f %% of others\n", 100.0 * (double)errs / (double)asked);
        assert_true(errs < asked * 15 / 1000);
        hf_hint_close(&hint);
        hf_hint_maker_clear(&maker);
    }
}

static void a_failed_write_changes_nothing(void **state)
{
    static const int errors[] = {ENOMEM, EIO, ENOSPC};
    unsigned before = descriptors();
    append_random(100);
    make();
    for (unsigned old = 0; old < 2; old++)
        for (size_t e = 0; e < LENGTH(errors); e++)
            for (uint64_t n = 1, failed = 1; failed > 0; n++) {
                if (old)
                    write_file(name, "old", 3);
                write_file("0000000007.hint.new", "left", 4);
                hf_fault_arm(HF_FAULT_ANY, n, errors[e]);
                int status = hf_hint_write(folder, &maker, writer.end, NULL);
                failed = hf_fault_failed(HF_FAULT_ANY);
                hf_fault_disarm();
                assert_true(status == 0 || (status < 0 && failed > 0));
                assert_int_equal(descriptors(), before);
                /* (Where it is there it is what was left: nothing was done yet.) */
                assert_true(!is_there("0000000007.hint.new") || read_file("0000000007.hint.new", bytes, 100) == 4);
                if (status == 0)
                    expect_open(0);
                else if (old)
                    assert_int_equal(read_file(name, bytes, 100), 3);
                else
                    assert_false(is_there(name));
                unlinkat(folder, name, 0);
                unlinkat(folder, "0000000007.hint.new", 0);
            }
    hf_hint_maker_clear(&maker);
}

static void failures_to_read_leave_nothing(void **state)
{
    unsigned before = descriptors();
    append_random(200);
    write_it();
    for (uint64_t n = 1, failed = 1; failed > 0; n++) {
        hf_hint hint;
        hf_fault_arm(HF_FAULT_ANY, n, EIO);
        int status = hf_hint_open(folder, the_id, NUMBER, writer.end, &hint);
        failed = hf_fault_failed(HF_FAULT_ANY);
        hf_fault_disarm();
        assert_true(status == 0 || status == HF_IO);
        if (status == 0)
            hf_hint_close(&hint);
        assert_int_equal(descriptors(), before);
    }
    for (uint64_t n = 1, failed = 1; failed > 0; n++) {
        hf_fault_arm(HF_FAULT_ANY, n, ENOMEM);
        int status = hf_hint_from_log(writer.file, the_id, SEED, NULL, NULL, &maker);
        failed = hf_fault_failed(HF_FAULT_ANY);
        hf_fault_disarm();
        assert_int_equal(status, failed > 0 ? HF_NOMEM : 0);
    }
    hf_hint_maker_clear(&maker);
}

static void in_a_small_limit(void)
{
    struct rlimit limit = {2000, RLIM_INFINITY};
    make();
    must(maker.head.count > 100 && setrlimit(RLIMIT_FSIZE, &limit) == 0);
    must(hf_hint_write(folder, &maker, writer.end, NULL) == HF_NOSPACE && hf_os_errno() == EFBIG);
    must(!is_there(name) && !is_there("0000000007.hint.new"));
}

static void a_limit_on_files_is_no_death(void **state)
{
    append_random(200);
    in_a_child(in_a_small_limit);
}

static void the_bytes_are_these(void **state)
{
    hf_record_in record = small_record(++sequence, "key", "value");
    append(&record);
    record = (hf_record_in){.flags = HF_RECORD_DELETE,
                            .sequence = ++sequence,
                            .time = 1700000000001,
                            .expires = INT64_MAX,
                            .key = hf_span_of("key", 3)};
    append(&record);
    write_it();
    size_t size = read_file(name, bytes, ROOM);
    assert_hex(bytes, size,
               "4861734b686e740a01000000000000001111111111111111222222222222222207000000000000009000000000000000"
               "02000000000000000800000000000000010000000000000002000000000000000168e5cf8b010000ffffffffffffffff"
               "7d51e1e7a3038699837f8184b2fc1cca080000c00100c0000100000000000000837f8184b2fc1cca0d0000c00100c080"
               "020000000000000000000000000000000040800000000000000010000000000400000000000000001002000000000000"
               "00000000000000000000000000000000000080000000000034cebe1e88d05720");
}

#define with_log(test) cmocka_unit_test_setup_teardown(test, log_new, log_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_log(a_hint_says_what_its_log_does),
        with_log(damage_in_a_log_is_told_exactly),
        with_log(damage_is_noticed),
        with_log(what_cannot_be_is_refused),
        with_log(a_filter_has_its_size),
        with_log(it_is_durable_before_it_has_its_name),
        with_log(the_filter_seldom_errs),
        with_log(a_failed_write_changes_nothing),
        with_log(failures_to_read_leave_nothing),
        with_log(a_limit_on_files_is_no_death),
        with_log(the_bytes_are_these),
    };

    return cmocka_run_group_tests_name("cask/hint", tests, NULL, NULL);
}

/*
 * Log files: made, written, flushed, sealed, opened again; writes that fail and what they leave behind; flushes that
 * fail; heads that are damaged or foreign; sets.
 */
#include "cask/log.h"

#include "test_cask_parts.h"
#include "test_child.h"

#include <pthread.h>
#include <sys/resource.h>

enum { MOST = 1 << 20, NUMBER = 7 };
static const char name[] = "0000000007.log";

static hf_log_writer writer;

static void create(uint64_t step)
{
    ok(hf_log_create(folder, the_id, NUMBER, HF_LOG_WRITTEN, 1700000000000, 41, MOST, step, &writer));
}

/* -- records in it: number n says n */

static int put(uint64_t n, unsigned char *out)
{
    char key[32];
    snprintf(key, sizeof key, "key %u", (unsigned)n);
    memset(value_bytes, (int)n, 500);
    hf_record_in record = small_record(n, key, "");
    record.value = hf_span_of(value_bytes, n * 37 % 500);
    return (int)hf_record_write(&record, writer.file->salt, writer.end, writer.synced, out);
}

static int append(uint64_t n)
{
    unsigned char bytes[1024];
    int size = put(n, bytes);
    return hf_log_append(&writer, bytes, (size_t)size);
}

static void publish(void)
{
    atomic_store(&writer.file->end, writer.end);
}

/* Records first ... last are in it, from `at` on, and end there. */
static uint64_t expect_records(const hf_log_file *file, uint64_t at, uint64_t first, uint64_t last)
{
    hf_record_out out;
    for (uint64_t n = first; n <= last; n++, at = out.at + out.size) {
        assert_int_equal(hf_record_read(file->bytes, file->end, at, file->salt, &out), 1);
        assert_true(out.in.sequence == n && out.in.value.size == n * 37 % 500);
    }
    assert_true(hf_record_read(file->bytes, file->end, at, file->salt, &out) == 0);
    return at;
}

static uint64_t size_of_file(const char *of)
{
    struct stat found;
    ok(fstatat(folder, of, &found, 0));
    return (uint64_t)found.st_size;
}

static void names_and_numbers(void **state)
{
    char text[HF_LOG_NAME_SIZE];
    hf_log_name(7, HF_LOG_SUFFIX, text);
    assert_string_equal(text, name);
    hf_log_name(HF_CASK_FILES - 1, HF_HINT_SUFFIX HF_NEW_SUFFIX, text);
    assert_string_equal(text, "0016777215.hint.new");
    assert_int_equal(hf_log_name_number(text, HF_HINT_SUFFIX HF_NEW_SUFFIX), HF_CASK_FILES - 1);
    assert_int_equal(hf_log_name_number(name, HF_LOG_SUFFIX), 7);
    static const char *const others[] = {"",
                                         "7.log",
                                         "0000000000.log",
                                         "0016777216.log",
                                         "9999999999.log",
                                         "0000000007.lo",
                                         "0000000007.log ",
                                         "0000000007",
                                         "00000000007.log",
                                         "+000000007.log",
                                         "MANIFEST",
                                         "0000000007.hint"};
    for (size_t i = 0; i < LENGTH(others); i++)
        assert_int_equal(hf_log_name_number(others[i], HF_LOG_SUFFIX), 0);
}

static void what_is_appended_is_read(void **state)
{
    static const uint64_t steps[] = {0, 4096, 100000};
    for (size_t s = 0; s < LENGTH(steps); s++) {
        create(steps[s]);
        struct stat found;
        ok(fstatat(folder, name, &found, 0));
        assert_int_equal(found.st_mode & 07777, 0600);
        assert_true(writer.end == HF_CASK_DATA_AT && writer.file->end == HF_CASK_DATA_AT && writer.synced == 0);
        for (uint64_t n = 1; n <= 1000; n++) {
            ok(append(n));
            assert_true(writer.written >= writer.end && size_of_file(name) == writer.written);
            assert_true(writer.step > 0 ? writer.written <= writer.end + writer.step : writer.written == writer.end);
            if (n % 3 == 0) {
                publish();
                expect_records(writer.file, HF_CASK_DATA_AT, 1, n);
            }
        }
        ok(hf_log_flush(&writer, writer.end));
        assert_true(writer.synced == writer.end);
        publish();
        uint64_t end = writer.end;
        ok(hf_log_seal(&writer));
        ok(hf_log_seal(&writer));
        assert_int_equal(writer.fd, -1);
        assert_true(size_of_file(name) == end);
        expect_records(writer.file, HF_CASK_DATA_AT, 1, 1000);
        hf_log_writer_close(&writer);
        hf_log_file *file;
        ok(hf_log_open(folder, the_id, NUMBER, 0, &file));
        assert_true(file->end == end && file->mapped == end && file->kind == HF_LOG_WRITTEN &&
                    file->number == NUMBER);
        assert_true(file->created == 1700000000000 && file->after == 41);
        expect_records(file, HF_CASK_DATA_AT, 1, 1000);
        /* The mapping keeps it. */
        ok(unlinkat(folder, name, 0));
        expect_records(file, HF_CASK_DATA_AT, 1, 1000);
        hf_log_drop(file);
    }
    hf_log_drop(NULL);
}

static void a_name_that_is_taken_is_left_alone(void **state)
{
    char left[4];
    write_file(name, "mine", 4);
    assert_int_equal(hf_log_create(folder, the_id, NUMBER, HF_LOG_WRITTEN, 0, 0, MOST, 0, &writer), HF_EXISTS);
    assert_int_equal(read_file(name, left, 4), 4);
    assert_memory_equal(left, "mine", 4);
    hf_log_file *file;
    assert_int_equal(hf_log_open(folder, the_id, NUMBER + 1, 0, &file), HF_ABSENT);
}

static void a_file_is_gone_on_with(void **state)
{
    hf_log_file *file;
    create(8192);
    uint64_t ends[11] = {HF_CASK_DATA_AT};
    for (uint64_t n = 1; n <= 10; n++) {
        ok(append(n));
        ends[n] = writer.end;
    }
    hf_log_writer_close(&writer);
    /* From the seventh record on it is not believed. */
    ok(hf_log_open(folder, the_id, NUMBER, MOST, &file));
    assert_true(file->mapped == MOST && file->end > ends[10]);
    ok(hf_log_resume(folder, file, ends[6], ends[3], 0, &writer));
    assert_true(size_of_file(name) == ends[6] && writer.synced == ends[3] && writer.end == ends[6]);
    publish();
    expect_records(file, HF_CASK_DATA_AT, 1, 6);
    for (uint64_t n = 7; n <= 20; n++)
        ok(append(n));
    publish();
    expect_records(file, HF_CASK_DATA_AT, 1, 20);
    hf_log_drop(file); /* the writer has a count of its own */
    ok(hf_log_seal(&writer));
    expect_records(writer.file, HF_CASK_DATA_AT, 1, 20);
    hf_log_writer_close(&writer);
    ok(hf_log_open(folder, the_id, NUMBER, MOST, &file));
    assert_int_equal(hf_log_resume(folder, file, file->end + 8, 64, 0, &writer), HF_CORRUPT);
    hf_log_drop(file);
}

static void what_does_not_fit_is_refused(void **state)
{
    static unsigned char bytes[8192];
    ok(hf_log_create(folder, the_id, NUMBER, HF_LOG_MERGED, 1, 0, 10000, 4096, &writer));
    assert_int_equal(writer.file->kind, HF_LOG_MERGED);
    ok(hf_log_append(&writer, bytes, 8192));
    assert_true(writer.written == 10000);
    assert_int_equal(hf_log_append(&writer, bytes, 8192), HF_LIMIT);
    assert_int_equal(hf_log_append(&writer, bytes, 10000 - 64 - 8192 + 8), HF_LIMIT);
    ok(hf_log_append(&writer, bytes, 10000 - 64 - 8192));
    assert_int_equal(hf_log_append(&writer, bytes, 8), HF_LIMIT);
    ok(hf_log_append(&writer, bytes, 0));
    hf_log_writer_close(&writer);
}

/* -- failures -- */

/* The file's bytes behind `end` are gone, or zeros. */
static void expect_clean_behind_end(void)
{
    static unsigned char bytes[MOST];
    size_t size = read_file(name, bytes, sizeof bytes);
    for (size_t i = writer.end; i < size; i++)
        assert_int_equal(bytes[i], 0);
}

/* Each call of a program fails, once or for ever, or writes half. What was appended is there, and nothing else. */
static void a_failed_append_changes_nothing(void **state)
{
    for (unsigned how = 0; how < 12; how++) {
        uint64_t failed = 1;
        for (uint64_t n = 1; failed > 0; n++) {
            uint64_t last = 0;
            struct hf_fault plan = {.first = n,
                                    .times = how % 2 == 0 ? 1 : 3,
                                    .error = how % 3 == 0 ? ENOSPC : EIO,
                                    .shorten = how % 3 == 2};
            create(how < 6 ? 0 : 4096);
            hf_fault_arm_plan(how % 4 < 2 ? (unsigned)HF_FAULT_ANY_OS : (unsigned)HF_OS_SITE_pwrite, &plan);
            for (uint64_t i = 1; i <= 60; i++) {
                uint64_t end = writer.end;
                int status = append(last + 1);
                assert_true(status == 0 || status == (plan.error == ENOSPC ? HF_NOSPACE : HF_IO));
                if (status == 0)
                    last++;
                else
                    assert_true(writer.end == end);
                if (status < 0 && !writer.torn)
                    expect_clean_behind_end();
            }
            failed = hf_fault_failed(how % 4 < 2 ? (unsigned)HF_FAULT_ANY_OS : (unsigned)HF_OS_SITE_pwrite);
            hf_fault_disarm();
            assert_true(last >= 60 - 3);
            ok(append(++last));
            publish();
            expect_records(writer.file, HF_CASK_DATA_AT, 1, last);
            expect_clean_behind_end();
            uint64_t end = writer.end;
            ok(hf_log_seal(&writer));
            assert_true(size_of_file(name) == end);
            hf_log_writer_close(&writer);
            ok(unlinkat(folder, name, 0));
        }
    }
}

/* Half of an append is there and cannot be cut: the next one tries again before it writes. */
static void what_could_not_be_cut_is_cut_before_the_next(void **state)
{
    unsigned char bytes[4096];
    create(0);
    ok(append(1));
    uint64_t end = writer.end;
    int size = put(2, bytes);
    struct hf_fault half = {.first = 1, .times = 1, .shorten = true},
                    never = {.first = 2, .times = 1, .error = ENOSPC},
                    no_cut = {.first = 1, .times = 2, .error = EIO};
    hf_fault_arm_plan(HF_OS_SITE_pwrite, &half);
    hf_fault_arm_plan(HF_FAULT_ANY_OS, &never);
    assert_int_equal(hf_log_append(&writer, bytes, (size_t)size), HF_NOSPACE);
    assert_true(!writer.torn && writer.end == end && size_of_file(name) == end);
    hf_fault_disarm();
    hf_fault_arm_plan(HF_OS_SITE_pwrite, &half);
    hf_fault_arm_plan(HF_FAULT_ANY_OS, &never);
    hf_fault_arm_plan(HF_OS_SITE_ftruncate, &no_cut);
    assert_int_equal(hf_log_append(&writer, bytes, (size_t)size), HF_NOSPACE);
    assert_true(writer.torn && writer.end == end && size_of_file(name) > end);
    assert_int_equal(hf_log_append(&writer, bytes, 8), HF_IO);
    assert_true(writer.torn && writer.end == end && size_of_file(name) > end);
    hf_fault_disarm();
    ok(hf_log_append(&writer, bytes, (size_t)size));
    assert_false(writer.torn);
    publish();
    expect_records(writer.file, HF_CASK_DATA_AT, 1, 2);
    hf_log_writer_close(&writer);
}

/* Space for the record, and none for zeros. */
static void zeros_are_a_courtesy(void **state)
{
    create(4096);
    hf_fault_arm(HF_OS_SITE_pwrite, 2, ENOSPC);
    ok(append(1));
    assert_int_equal(hf_fault_failed(HF_OS_SITE_pwrite), 1);
    hf_fault_disarm();
    assert_true(writer.written == writer.end);
    ok(append(2));
    assert_true(writer.written == writer.end + 4096);
    hf_log_writer_close(&writer);
}

static void a_flush_that_failed_is_not_tried_again(void **state)
{
    create(0);
    ok(append(1));
    uint64_t end = writer.end;
    ok(hf_log_flush(&writer, end));
    ok(append(2));
    hf_fault_arm(HF_OS_SITE_fdatasync, 1, EIO);
    ok(hf_log_flush(&writer, end)); /* nothing to do */
    assert_int_equal(hf_fault_calls(HF_OS_SITE_fdatasync), 0);
    assert_int_equal(hf_log_flush(&writer, writer.end), HF_BROKEN);
    assert_int_equal(hf_os_errno(), EIO);
    assert_int_equal(hf_log_flush(&writer, writer.end), HF_BROKEN);
    assert_int_equal(hf_log_flush(&writer, end), HF_BROKEN);
    assert_int_equal(append(3), HF_BROKEN);
    assert_int_equal(hf_log_seal(&writer), HF_BROKEN);
    assert_int_equal(hf_fault_calls(HF_OS_SITE_fdatasync), 1);
    assert_true(writer.synced == end && writer.broken == -EIO);
    hf_fault_disarm();
    hf_log_writer_close(&writer);
}

static void a_cut_is_flushed_by_the_next_flush(void **state)
{
    create(4096);
    ok(append(1));
    ok(hf_log_flush(&writer, writer.end));
    uint64_t end = writer.end;
    hf_fault_arm(HF_OS_SITE_ftruncate, 1, EIO);
    assert_int_equal(hf_log_cut(&writer), HF_IO);
    hf_fault_disarm();
    assert_true(writer.written > end && writer.synced == end);
    note_calls();
    ok(hf_log_cut(&writer));
    ok(hf_log_cut(&writer));
    assert_true(size_of_file(name) == end && writer.end == end);
    ok(hf_log_flush(&writer, end));
    ok(hf_log_flush(&writer, end));
    expect_calls("cut sync");
    assert_true(writer.synced == end);
    ok(append(2));
    expect_calls("write write");
    hf_log_writer_close(&writer);
}

static void sealing_flushes_also_what_was_synced(void **state)
{
    create(4096);
    ok(append(1));
    ok(hf_log_flush(&writer, writer.end));
    hf_fault_arm(HF_OS_SITE_fdatasync, 0, 0);
    ok(hf_log_seal(&writer));
    assert_int_equal(hf_fault_calls(HF_OS_SITE_fdatasync), 1);
    hf_fault_disarm();
    hf_log_writer_close(&writer);
    ok(unlinkat(folder, name, 0));
    create(4096);
    ok(append(1));
    hf_fault_arm(HF_OS_SITE_ftruncate, 1, EIO);
    assert_int_equal(hf_log_seal(&writer), HF_IO);
    hf_fault_disarm();
    ok(append(2));
    ok(hf_log_seal(&writer));
    hf_log_writer_close(&writer);
}

/* -- a leader flushes, without the lock, what others go on appending to -- */

static pthread_mutex_t the_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic bool the_end;
static uint64_t flushes;

static void *leader(void *arg)
{
    while (!the_end) {
        pthread_mutex_lock(&the_lock);
        uint64_t upto = writer.end;
        pthread_mutex_unlock(&the_lock);
        if (hf_log_flush(&writer, upto) < 0 || writer.synced < upto)
            return &the_end;
        flushes++;
        sched_yield();
    }
    return NULL;
}

static void a_leader_flushes_without_the_lock(void **state)
{
    pthread_t thread;
    void *wrong;
    uint64_t last = 0;
    create(65536);
    the_end = false;
    flushes = 0;
    ok(pthread_create(&thread, NULL, leader, NULL));
    for (uint64_t n = 1; n <= 2000; n++) {
        pthread_mutex_lock(&the_lock);
        ok(append(n));
        assert_true(writer.synced >= last && writer.synced <= writer.end);
        last = writer.synced;
        pthread_mutex_unlock(&the_lock);
        if (n % 50 == 0)
            sched_yield();
    }
    the_end = true;
    ok(pthread_join(thread, &wrong));
    assert_null(wrong);
    assert_true(flushes > 0);
    ok(hf_log_seal(&writer));
    publish();
    hf_record_out out;
    uint64_t at = HF_CASK_DATA_AT;
    for (uint64_t n = 1; n <= 2000; n++, at = out.at + out.size)
        assert_int_equal(hf_record_read(writer.file->bytes, writer.end, at, writer.file->salt, &out), 1);
    hf_log_writer_close(&writer);
}

/* Every n-th call of anything, in making, opening, going on: then nothing is left, and it works the next time. */
static void each_failure_leaves_nothing(void **state)
{
    static const int errors[] = {ENOMEM, EIO, ENOSPC};
    unsigned before = descriptors();
    for (size_t e = 0; e < LENGTH(errors); e++)
        for (uint64_t n = 1, failed = 1; failed > 0; n++) {
            hf_log_file *file = NULL;
            hf_fault_arm(HF_FAULT_ANY, n, errors[e]);
            int made = hf_log_create(folder, the_id, NUMBER, HF_LOG_WRITTEN, 1, 0, MOST, 0, &writer);
            failed = hf_fault_failed(HF_FAULT_ANY);
            assert_true(failed == 0 ? made == 0 : made < 0 && made != HF_CORRUPT);
            hf_fault_disarm();
            assert_int_equal(is_there(name), made == 0);
            if (made == 0)
                hf_log_writer_close(&writer);
            assert_int_equal(descriptors(), before);
            if (made == 0)
                unlinkat(folder, name, 0);
            (void)file;
        }
    create(0);
    ok(append(1));
    uint64_t end = writer.end;
    hf_log_writer_close(&writer);
    for (size_t e = 0; e < LENGTH(errors); e++)
        for (uint64_t n = 1, failed = 1; failed > 0; n++) {
            hf_log_file *file = NULL;
            hf_fault_arm(HF_FAULT_ANY, n, errors[e]);
            int status = hf_log_open(folder, the_id, NUMBER, MOST, &file);
            if (status == 0) {
                status = hf_log_resume(folder, file, end, 0, 0, &writer);
                if (status == 0)
                    hf_log_writer_close(&writer);
            } else
                assert_null(file);
            hf_log_drop(file);
            failed = hf_fault_failed(HF_FAULT_ANY);
            hf_fault_disarm();
            /* A failed close or munmap is nobody's loss. */
            assert_true(status == 0 || (failed > 0 && status != HF_CORRUPT && status != HF_NOT_CASK));
            assert_int_equal(descriptors(), before);
        }
    assert_true(size_of_file(name) == end);
}

static void a_cut_that_is_not_durable_is_no_cut(void **state)
{
    hf_log_file *file;
    create(4096);
    ok(append(1));
    uint64_t end = writer.end;
    hf_log_writer_close(&writer);
    ok(hf_log_open(folder, the_id, NUMBER, MOST, &file));
    hf_fault_arm(HF_OS_SITE_fdatasync, 1, EIO);
    assert_int_equal(hf_log_resume(folder, file, end, end, 0, &writer), HF_BROKEN);
    hf_fault_disarm();
    assert_int_equal(file->count, 1);
    hf_log_drop(file);
}

static void in_a_small_limit(void)
{
    struct rlimit limit = {20000, RLIM_INFINITY};
    must(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    must(hf_log_create(folder, the_id, NUMBER, HF_LOG_WRITTEN, 1, 0, MOST, 8192, &writer) == 0);
    uint64_t n = 1;
    int status;
    while ((status = append(n)) == 0)
        n++;
    must(status == HF_NOSPACE && hf_os_errno() == EFBIG && n > 20 && writer.written <= 20000);
    must(append(n) == HF_NOSPACE);
    limit.rlim_cur = 40000;
    must(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    must(append(n) == 0);
    hf_log_writer_close(&writer);
    limit.rlim_cur = 10;
    must(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    must(hf_log_create(folder, the_id, NUMBER + 1, HF_LOG_WRITTEN, 1, 0, MOST, 8192, &writer) == HF_NOSPACE);
    must(!is_there("0000000008.log"));
}

static void a_limit_on_files_is_no_death(void **state)
{
    in_a_child(in_a_small_limit);
}

/* -- heads -- */

static void expect_head(int expected)
{
    hf_log_file *file = NULL;
    assert_int_equal(hf_log_open(folder, the_id, NUMBER, 0, &file), expected);
    assert_null(file);
}

static void heads_are_believed_only_if_right(void **state)
{
    struct hf_log_head head, bad;
    hf_log_file *file;
    create(0);
    ok(append(1));
    hf_log_writer_close(&writer);
    unsigned char bytes[2000];
    size_t size = read_file(name, bytes, sizeof bytes);
    memcpy(&head, bytes, sizeof head);
    for (unsigned bit = 0; bit < 8 * sizeof head; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        write_file(name, bytes, size);
        expect_head(bit < 64 ? HF_NOT_CASK : bit < 96 ? HF_FORMAT : HF_CORRUPT);
        /* What is in it is not lost. */
        ok(hf_log_open_damaged(folder, the_id, NUMBER, HF_LOG_WRITTEN, 0, &file));
        assert_true(file->kind == HF_LOG_WRITTEN && file->number == NUMBER);
        expect_records(file, HF_CASK_DATA_AT, 1, 1);
        hf_log_drop(file);
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    for (size_t cut = 0; cut < sizeof head; cut++) {
        write_file(name, bytes, cut);
        expect_head(HF_CORRUPT);
        ok(hf_log_open_damaged(folder, the_id, NUMBER, HF_LOG_WRITTEN, 0, &file));
        assert_true(file->end == cut);
        hf_log_drop(file);
    }
    memset(&bad, 0, sizeof bad);
    write_file(name, &bad, sizeof bad);
    expect_head(HF_CORRUPT);
    bad = head;
    bad.magic = __builtin_bswap64(bad.magic);
    write_file(name, &bad, sizeof bad);
    expect_head(HF_FORMAT);
    for (unsigned i = 0; i < 4; i++) {
        bad = head;
        if (i == 0)
            bad.number++;
        else if (i == 1)
            bad.id[1]++;
        else if (i == 2)
            bad.kind = 3;
        else
            bad.created = UINT64_MAX;
        bad.checksum = hf_checksum64(&bad, 56, HF_CASK_LOG_MAGIC);
        write_file(name, &bad, sizeof bad);
        expect_head(HF_CORRUPT);
    }
    write_file(name, &head, sizeof head);
    ok(hf_log_open(folder, the_id, NUMBER, 0, &file));
    hf_log_drop(file);
    assert_hex(&head, sizeof head,
               "4861734b6c6f670a0100000001000000111111111111111122222222222222220700000000000000"
               "0068e5cf8b0100002900000000000000f8017b3fb8e89aa4");
}

static void what_is_no_file_is_refused(void **state)
{
    ok(mkdirat(folder, name, 0700));
    expect_head(HF_NOT_CASK);
    ok(unlinkat(folder, name, AT_REMOVEDIR));
    ok(mkfifoat(folder, name, 0600));
    alarm(10);
    expect_head(HF_NOT_CASK);
    alarm(0);
    ok(unlinkat(folder, name, 0));
    write_file(name, "", 0);
    int fd = openat(folder, name, O_WRONLY | O_CLOEXEC);
    ok(ftruncate(fd, (off_t)(HF_CASK_FILE_MAX + 1)));
    close(fd);
    expect_head(HF_LIMIT);
}

/* -- sets -- */

static hf_log_file *fake_file(uint32_t number)
{
    hf_log_file *file;
    if (!is_there(name)) {
        create(0);
        hf_log_writer_close(&writer);
    }
    ok(hf_log_open(folder, the_id, NUMBER, 0, &file));
    file->number = number;
    return file;
}

static void sets_are_as_a_model_says(void **state)
{
    enum { NUMBERS = 40 };
    hf_log_file *files[NUMBERS + 1] = {NULL}, *in[NUMBERS + 1] = {NULL};
    hf_log_set *set = NULL, *next;
    for (uint32_t i = 1; i <= NUMBERS; i++)
        files[i] = fake_file(i % 2 == 0 ? i : i << 16);
    for (unsigned round = 0; round < 2000; round++) {
        uint32_t without = (uint32_t)random_below(NUMBERS + 1), with = (uint32_t)random_below(NUMBERS + 1);
        without = random_below(3) == 0 ? 0 : without;
        ok(hf_log_set_change(set, without == 0 ? 0 : files[without]->number, files[with], &next));
        hf_log_set_drop(set);
        set = next;
        in[without] = NULL;
        in[with] = files[with];
        uint32_t count = 0;
        for (uint32_t i = 1; i <= NUMBERS; i++) {
            assert_ptr_equal(hf_log_set_find(set, files[i]->number), in[i]);
            assert_int_equal(files[i]->count, in[i] == NULL ? 1 : 2);
            count += in[i] != NULL;
        }
        assert_int_equal(set->files, count);
        assert_null(hf_log_set_find(set, 12345));
    }
    /* Another file with a number that is in it. */
    hf_log_file *other = fake_file(2);
    ok(hf_log_set_change(set, 0, other, &next));
    assert_ptr_equal(hf_log_set_find(next, 2), other);
    hf_log_drop(other);
    hf_log_set_keep(next);
    hf_log_set_drop(next);
    assert_ptr_equal(hf_log_set_find(next, 2), other);
    hf_fault_arm(HF_FAULT_ALLOC, 1, ENOMEM);
    hf_log_set *none = NULL;
    assert_int_equal(hf_log_set_change(next, 2, NULL, &none), HF_NOMEM);
    hf_fault_disarm();
    assert_null(none);
    hf_log_set_drop(next);
    hf_log_set_drop(set);
    hf_log_set_drop(NULL);
    for (uint32_t i = 1; i <= NUMBERS; i++) {
        assert_int_equal(files[i]->count, 1);
        hf_log_drop(files[i]);
    }
}

#define in_a_folder(test) cmocka_unit_test_setup_teardown(test, folder_new, folder_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_a_folder(names_and_numbers),
        in_a_folder(what_is_appended_is_read),
        in_a_folder(a_name_that_is_taken_is_left_alone),
        in_a_folder(a_file_is_gone_on_with),
        in_a_folder(what_does_not_fit_is_refused),
        in_a_folder(a_failed_append_changes_nothing),
        in_a_folder(what_could_not_be_cut_is_cut_before_the_next),
        in_a_folder(zeros_are_a_courtesy),
        in_a_folder(a_flush_that_failed_is_not_tried_again),
        in_a_folder(a_cut_is_flushed_by_the_next_flush),
        in_a_folder(sealing_flushes_also_what_was_synced),
        in_a_folder(a_leader_flushes_without_the_lock),
        in_a_folder(each_failure_leaves_nothing),
        in_a_folder(a_cut_that_is_not_durable_is_no_cut),
        in_a_folder(a_limit_on_files_is_no_death),
        in_a_folder(heads_are_believed_only_if_right),
        in_a_folder(what_is_no_file_is_refused),
        in_a_folder(sets_are_as_a_model_says),
    };

    return cmocka_run_group_tests_name("cask/log", tests, NULL, NULL);
}

/*
 * test_cask_parts.h: what the tests of the cask's parts share: random numbers, a folder that goes away, records
 * made of a number, and a log file that is only an array.
 */
#ifndef HF_TEST_CASK_PARTS_H
#define HF_TEST_CASK_PARTS_H

#include "cask/record.h"

#include "base/fault.h"
#include "base/hash.h"
#include "base/os.h"

#include <holdfast/status.h>

#include "cm.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ok(status) assert_int_equal((status), 0)

static const uint64_t the_id[2] = {UINT64_C(0x1111111111111111), UINT64_C(0x2222222222222222)};
static const uint64_t another_id[2] = {UINT64_C(0x1111111111111111), UINT64_C(0x2222222222222223)};

/* -- random numbers: SplitMix64 -- */

static uint64_t random_state = 1;

static inline uint64_t random_next(void)
{
    uint64_t x = random_state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static inline uint64_t random_below(uint64_t below)
{
    return random_next() % below;
}

/* -- a folder -- */

static char folder_path[64];
static int folder = -1;

static inline void folder_empty(void)
{
    struct dirent *entry;
    DIR *dir = opendir(folder_path);
    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            unlinkat(folder, entry->d_name, 0) < 0)
            ok(unlinkat(folder, entry->d_name, AT_REMOVEDIR));
    closedir(dir);
}

static inline int folder_new(void **state)
{
    const char *chosen = getenv("HF_TEST_FOLDER");
    snprintf(folder_path, sizeof folder_path, "%.40s/hf-test-XXXXXX",
             chosen != NULL                         ? chosen
             : access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm"
                                                    : "/tmp");
    assert_non_null(mkdtemp(folder_path));
    folder = open(folder_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(folder >= 0);
    random_state = 1;
    return 0;
}

static inline int folder_end(void **state)
{
    hf_fault_disarm();
    hf_os_replace(NULL);
    folder_empty();
    close(folder);
    return rmdir(folder_path);
}

/* How many names there are in it. */
static inline unsigned folder_count(void)
{
    unsigned count = 0;
    struct dirent *entry;
    DIR *dir = opendir(folder_path);
    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

static inline unsigned descriptors(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

static inline void write_file(const char *name, const void *bytes, size_t size)
{
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, size, 0), (ssize_t)size);
    close(fd);
}

static inline size_t read_file(const char *name, void *bytes, size_t room)
{
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t got = pread(fd, bytes, room, 0);
    assert_true(got >= 0);
    close(fd);
    return (size_t)got;
}

static inline bool is_there(const char *name)
{
    return faccessat(folder, name, F_OK, 0) == 0;
}

/* -- in which order things are made durable -- */

static char calls_made[256];

static inline void note_call(const char *name)
{
    if (strlen(calls_made) + strlen(name) + 2 < sizeof calls_made)
        strcat(strcat(calls_made, calls_made[0] == '\0' ? "" : " "), name);
}

static inline ssize_t noted_pwrite(int fd, const void *bytes, size_t size, off_t at)
{
    note_call("write");
    return hf_os_native.pwrite(fd, bytes, size, at);
}

static inline int noted_fsync(int fd)
{
    note_call(fd == folder ? "sync-folder" : "sync");
    return hf_os_native.fsync(fd);
}

static inline int noted_fdatasync(int fd)
{
    note_call("sync");
    return hf_os_native.fdatasync(fd);
}

static inline int noted_rename(int from_in, const char *from, int to_in, const char *to, unsigned flags)
{
    note_call("rename");
    return hf_os_native.renameat2(from_in, from, to_in, to, flags);
}

static inline int noted_ftruncate(int fd, off_t length)
{
    note_call("cut");
    return hf_os_native.ftruncate(fd, length);
}

/* From now on, until the end of the test. */
static inline void note_calls(void)
{
    static struct hf_os table;
    table = hf_os_native;
    table.pwrite = noted_pwrite;
    table.fsync = noted_fsync;
    table.fdatasync = noted_fdatasync;
    table.renameat2 = noted_rename;
    table.ftruncate = noted_ftruncate;
    calls_made[0] = '\0';
    hf_os_replace(&table);
}

static inline void expect_calls(const char *expected)
{
    assert_string_equal(calls_made, expected);
    calls_made[0] = '\0';
}

/* -- bytes in hexadecimal -- */

static inline void assert_hex(const void *bytes, size_t size, const char *expected)
{
    const unsigned char *from = bytes;
    char *text = calloc(1, 3 * size + 1);
    assert_non_null(text);
    for (size_t i = 0; i < size; i++)
        snprintf(text + 2 * i, 3, "%02x", from[i]);
    assert_string_equal(text, expected);
    free(text);
}

/* -- records -- */

enum { LONGEST_KEY = 70000, LONGEST_VALUE = 100000 };

static unsigned char key_bytes[LONGEST_KEY], given_bytes[LONGEST_KEY], value_bytes[LONGEST_VALUE];

static inline void fill(unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)random_next();
}

/* Of all kinds and sizes; mostly small. Its spans are good until the next. */
static inline hf_record_in random_record(uint64_t sequence)
{
    static const unsigned kinds[] = {HF_RECORD_PUT, HF_RECORD_PUT, HF_RECORD_PUT, HF_RECORD_DELETE, HF_RECORD_CLOCK};
    unsigned kind = kinds[random_below(LENGTH(kinds))];
    hf_record_in record = {.flags = kind | (random_below(4) == 0 ? HF_RECORD_MORE : 0),
                           .sequence = sequence,
                           .time = (int64_t)random_below((uint64_t)HF_CASK_TIME_MAX + 1),
                           .expires = INT64_MAX};
    if (kind == HF_RECORD_CLOCK)
        return record;
    size_t key = random_below(100) == 0 ? HF_KEY_SIZE_LONG - 2 + random_below(4) : random_below(40);
    fill(key_bytes, key);
    record.key = hf_span_of(key_bytes, key);
    if (kind == HF_RECORD_DELETE)
        return record;
    if (random_below(3) == 0) {
        size_t given = 1 + (random_below(50) == 0 ? random_below(LONGEST_KEY - 1) : random_below(40));
        fill(given_bytes, given);
        record.given = hf_span_of(given_bytes, given);
    }
    size_t value = random_below(50) == 0 ? random_below(LONGEST_VALUE) : random_below(300);
    fill(value_bytes, value);
    record.value = hf_span_of(value_bytes, value);
    if (random_below(3) == 0)
        record.expires = (int64_t)random_below(INT64_MAX);
    return record;
}

static inline void assert_span(hf_span found, hf_span expected)
{
    assert_int_equal(found.size, expected.size);
    if (expected.size > 0)
        assert_memory_equal(found.bytes, expected.bytes, expected.size);
}

static inline unsigned flags_of(const hf_record_in *record)
{
    return record->flags | (record->expires != INT64_MAX ? (unsigned)HF_RECORD_EXPIRES : 0) |
           (record->given.size > 0 ? (unsigned)HF_RECORD_GIVEN : 0);
}

static inline void assert_record(const hf_record_out *found, const hf_record_in *expected)
{
    assert_int_equal(found->in.flags, flags_of(expected));
    assert_true(found->in.sequence == expected->sequence);
    assert_true(found->in.time == expected->time);
    assert_true(found->in.expires == expected->expires);
    assert_span(found->in.key, expected->key);
    assert_span(found->in.given, expected->given);
    assert_span(found->in.value, expected->value);
}

static inline hf_record_in small_record(uint64_t sequence, const char *key, const char *value)
{
    return (hf_record_in){.flags = HF_RECORD_PUT,
                          .sequence = sequence,
                          .time = 1700000000000,
                          .expires = INT64_MAX,
                          .key = hf_span_of(key, strlen(key)),
                          .value = hf_span_of(value, strlen(value))};
}

#endif

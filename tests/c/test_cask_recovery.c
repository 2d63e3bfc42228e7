/*
 * test_cask_recovery.c: what opening makes of what a crash, or damage, has left.
 *
 * A cask is made, its writer killed; then files are changed as a power cut or a failing disk would change them, and
 * it is opened. The page is taken away where a power cut is meant: then nothing is believed but what is in the
 * files.
 */
#include "test_cask_support.h"
#include "test_child.h"

#include <fcntl.h>
#include <sys/stat.h>

static hf_cask_options options;
static void (*work)(hf_cask *cask);

static void child(void)
{
    hf_cask *cask;

    must(hf_cask_open(cask_path, &options, &cask) == 0);
    work(cask);
    kill(getpid(), SIGKILL);
}

/* Does something to a cask, and is killed. */
static void killed_after(void (*what)(hf_cask *cask))
{
    work = what;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        child();
    assert_true(WIFSIGNALED(exit_status_of(pid)));
}

static void path_of(const char *name, char out[160])
{
    snprintf(out, 160, "%s/%s", cask_path, name);
}

static size_t size_of(const char *name)
{
    struct stat found;
    char path[160];

    path_of(name, path);
    return stat(path, &found) == 0 ? (size_t)found.st_size : 0;
}

static void cut_file(const char *name, size_t size)
{
    char path[160];

    path_of(name, path);
    assert_int_equal(truncate(path, (off_t)size), 0);
}

static void flip(const char *name, size_t at)
{
    unsigned char byte;
    char path[160];

    path_of(name, path);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
    byte ^= 0x55;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
}

static void take_away(const char *names)
{
    char command[300];

    snprintf(command, sizeof command, "cd %s && rm -f %s", cask_path, names);
    assert_int_equal(system(command), 0);
}

/* So that each try begins with the same. */
static void keep(void)
{
    char command[600];

    snprintf(command, sizeof command, "rm -rf %s.kept && cp -a %s %s.kept", cask_path, cask_path, cask_path);
    assert_int_equal(system(command), 0);
}

static void put_back(void)
{
    char command[600];

    snprintf(command, sizeof command, "rm -rf %s && cp -a %s.kept %s", cask_path, cask_path, cask_path);
    assert_int_equal(system(command), 0);
}

static hf_cask_status status_of(hf_cask *cask)
{
    hf_cask_status status;

    assert_int_equal(hf_cask_status_get(cask, &status, NULL, NULL), 0);
    return status;
}

#define FIRST "0000000001.log"
#define SECOND "0000000002.log"

/* -- torn tails -- */

static void put_three(hf_cask *cask)
{
    must(hf_cask_put(cask, "a", 1, "first", 5, 0) == 0);
    must(hf_cask_sync_now(cask) == 0);
    must(hf_cask_put(cask, "b", 1, "second", 6, 0) == 0);
    must(hf_cask_put(cask, "c", 1, "third", 5, 0) == 0);
}

/* The last record cut at each of its bytes. */
static void test_torn_record(void **state)
{
    hf_cask_info info;

    options = (hf_cask_options){.no_thread = true};
    killed_after(put_three);
    keep();
    hf_cask *cask = cask_open(&options);
    assert_int_equal(hf_cask_info_get(cask, "c", 1, &info), 1);
    assert_int_equal(hf_cask_close(cask), 0);
    for (size_t size = info.offset; size <= info.offset + info.size; size++) {
        put_back();
        take_away("page");
        cut_file(FIRST, size);
        cask = cask_open(&options);
        bool whole = size == info.offset + info.size;
        cask_is(cask, "a", "first");
        cask_is(cask, "b", "second");
        cask_is(cask, "c", whole ? "third" : NULL);
        cask_counts(cask, whole ? 3 : 2);
        hf_cask_status status = status_of(cask);
        assert_int_equal(status.lost, 0);
        assert_true(status.cut <= info.size);
        cask_put(cask, "d", "fourth");
        cask = cask_again(cask, &options);
        cask_is(cask, "c", whole ? "third" : NULL);
        cask_is(cask, "d", "fourth");
        assert_int_equal(status_of(cask).cut, 0);
        assert_int_equal(hf_cask_close(cask), 0);
    }
}

/* Each byte of the last record changed. Nothing says that it was synced. */
static void test_torn_bytes(void **state)
{
    hf_cask_info info;

    options = (hf_cask_options){.no_thread = true};
    killed_after(put_three);
    keep();
    hf_cask *cask = cask_open(&options);
    assert_int_equal(hf_cask_info_get(cask, "c", 1, &info), 1);
    assert_int_equal(hf_cask_close(cask), 0);
    for (size_t at = info.offset; at < info.offset + info.size; at++) {
        put_back();
        take_away("page");
        flip(FIRST, at);
        cask = cask_open(&options);
        cask_is(cask, "b", "second");
        cask_is(cask, "c", NULL);
        assert_true(status_of(cask).cut > 0);
        assert_int_equal(status_of(cask).lost, 0);
        assert_int_equal(hf_cask_close(cask), 0);
    }
}

/* The same, but the page is there: it was written, so it is damage. */
static void test_page_knows(void **state)
{
    hf_cask_info info;

    options = (hf_cask_options){.no_thread = true};
    killed_after(put_three);
    hf_cask *cask = cask_open(&options);
    assert_int_equal(hf_cask_info_get(cask, "b", 1, &info), 1);
    assert_int_equal(hf_cask_close(cask), 0);
    cask_remove(cask_path);
    killed_after(put_three);
    flip(FIRST, info.offset + 40);
    cask = cask_open(&options);
    cask_is(cask, "a", "first");
    cask_is(cask, "b", NULL);
    cask_is(cask, "c", "third");
    assert_int_equal(status_of(cask).cut, 0);
    assert_int_equal(status_of(cask).lost, info.size);
    assert_int_equal(hf_cask_close(cask), 0);
}

static void put_synced(hf_cask *cask)
{
    must(hf_cask_put(cask, "a", 1, "first", 5, 0) == 0);
    must(hf_cask_put(cask, "b", 1, "second", 6, 0) == 0);
    must(hf_cask_sync_now(cask) == 0);
    must(hf_cask_put(cask, "c", 1, "third", 5, 0) == 0);
}

/* Damage below what a later record says was synced: no tail is cut. Every byte. */
static void test_damage_below_synced(void **state)
{
    hf_cask_info info;

    options = (hf_cask_options){.no_thread = true};
    killed_after(put_synced);
    keep();
    hf_cask *cask = cask_open(&options);
    assert_int_equal(hf_cask_info_get(cask, "b", 1, &info), 1);
    assert_int_equal(hf_cask_close(cask), 0);
    for (size_t at = info.offset; at < info.offset + info.size; at++) {
        put_back();
        take_away("page keydir*");
        flip(FIRST, at);
        cask = cask_open(&options);
        cask_is(cask, "a", "first");
        cask_is(cask, "b", NULL);
        cask_is(cask, "c", "third");
        assert_int_equal(status_of(cask).cut, 0);
        assert_int_equal(status_of(cask).lost, info.size);
        cask_put(cask, "b", "again");
        cask = cask_again(cask, &options);
        cask_is(cask, "b", "again");
        cask_is(cask, "c", "third");
        assert_int_equal(hf_cask_close(cask), 0);
    }
}

/* -- batches -- */

static void put_batch(hf_cask *cask)
{
    hf_cask_batch *batch;

    must(hf_cask_put(cask, "a", 1, "first", 5, 0) == 0);
    must(hf_cask_sync_now(cask) == 0);
    must(hf_cask_batch_begin(cask, &batch) == 0);
    must(hf_cask_batch_put(batch, "a", 1, "batched", 7, 0) == 0);
    must(hf_cask_batch_put(batch, "b", 1, "batched", 7, 0) == 0);
    must(hf_cask_batch_put(batch, "c", 1, "batched", 7, 0) == 0);
    must(hf_cask_batch_commit(batch) == 0);
}

static void batch_is(hf_cask *cask, bool whole)
{
    cask_is(cask, "a", whole ? "batched" : "first");
    cask_is(cask, "b", whole ? "batched" : NULL);
    cask_is(cask, "c", whole ? "batched" : NULL);
    cask_counts(cask, whole ? 3 : 1);
}

static void test_torn_batch(void **state)
{
    hf_cask_info first, last;

    options = (hf_cask_options){.no_thread = true};
    killed_after(put_batch);
    keep();
    hf_cask *cask = cask_open(&options);
    assert_int_equal(hf_cask_info_get(cask, "a", 1, &first), 1);
    assert_int_equal(hf_cask_info_get(cask, "c", 1, &last), 1);
    assert_int_equal(hf_cask_close(cask), 0);
    for (size_t size = first.offset; size <= last.offset + last.size; size++)
        for (int with_keydir = 0; with_keydir < 2; with_keydir++) {
            put_back();
            take_away(with_keydir ? "page" : "page keydir*");
            cut_file(FIRST, size);
            cask = cask_open(&options);
            batch_is(cask, size == last.offset + last.size);
            cask = cask_again(cask, &options);
            batch_is(cask, size == last.offset + last.size);
            cask_put(cask, "d", "fourth");
            cask = cask_again(cask, &options);
            cask_is(cask, "d", "fourth");
            assert_int_equal(hf_cask_close(cask), 0);
        }
}

/* -- several files -- */

static void put_files(hf_cask *cask)
{
    char key[16], value[400];

    memset(value, 'v', sizeof value);
    for (int i = 0; i < 30; i++) {
        snprintf(key, sizeof key, "%d", i);
        must(hf_cask_put(cask, key, strlen(key), value, sizeof value, 0) == 0);
    }
}

static int find_last(hf_cask *cask)
{
    int last = -1;

    for (int i = 0; i < 30; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        int there = hf_cask_get(cask, key, strlen(key), NULL, NULL, NULL);
        assert_true(there >= 0);
        if (there > 0) {
            assert_int_equal(last, i - 1);
            last = i;
        }
    }
    return last;
}

/* Nothing was synced, and the power goes: what is there of each file is anything. A beginning of the log survives,
 * and no more. */
static void test_beginning_survives(void **state)
{
    /* The thread, which would seal, has nothing to do so fast; and no hints: */
    options = (hf_cask_options){.no_thread = true, .max_file_size = 4096};
    killed_after(put_files);
    take_away("page *.hint");
    keep();
    size_t whole = size_of(SECOND);
    assert_true(whole > 3000);
    for (size_t size = 0; size <= whole; size += size < 100 ? 1 : 97) {
        put_back();
        take_away("keydir*");
        cut_file(SECOND, size);
        hf_cask *cask = cask_open(&options);
        int last = find_last(cask);
        uint64_t count;
        assert_int_equal(hf_cask_count(cask, &count), 0);
        assert_int_equal(count, last + 1);
        assert_true(size == whole || last < 29);
        cask = cask_again(cask, &options);
        assert_int_equal(find_last(cask), last);
        assert_int_equal(hf_cask_close(cask), 0);
    }
}

/* -- keydir and hints -- */

static void test_keydir_lost(void **state)
{
    static const char *const lost[] = {"keydir*", "*.hint", "keydir* *.hint", "keydir* page", "keydir-lock"};

    options = (hf_cask_options){.max_file_size = 4096, .no_thread = true};
    killed_after(put_files);
    keep();
    for (size_t i = 0; i < LENGTH(lost); i++) {
        put_back();
        take_away(lost[i]);
        hf_cask *cask = cask_open(&options);
        assert_int_equal(find_last(cask), 29);
        assert_int_equal(status_of(cask).lost, 0);
        assert_int_equal(hf_cask_close(cask), 0);
    }
}

static void test_keydir_damaged(void **state)
{
    options = (hf_cask_options){.max_file_size = 4096, .no_thread = true};
    killed_after(put_files);
    hf_cask *cask = cask_open(&options);
    assert_int_equal(hf_cask_close(cask), 0);
    keep();
    size_t size = size_of("keydir");
    for (size_t at = 0; at < size; at += 509) {
        put_back();
        flip("keydir", at);
        int status = hf_cask_open(cask_path, &options, &cask);
        assert_int_equal(status, 0);
        for (int i = 0; i < 30; i++) {
            char key[16];
            snprintf(key, sizeof key, "%d", i);
            status = hf_cask_get(cask, key, strlen(key), NULL, NULL, NULL);
            assert_true(status == 1 || status == HF_CORRUPT);
        }
        hf_cask_close(cask);
    }
}

static void test_hint_damaged(void **state)
{
    options = (hf_cask_options){.max_file_size = 4096, .no_thread = true};
    killed_after(put_files);
    keep();
    size_t size = size_of("0000000001.hint");
    assert_true(size > 100);
    for (size_t at = 0; at < size; at += 7) {
        put_back();
        take_away("keydir*");
        flip("0000000001.hint", at);
        hf_cask *cask = cask_open(&options);
        assert_int_equal(find_last(cask), 29);
        assert_int_equal(hf_cask_close(cask), 0);
    }
}

/* Another cask's keydir. */
static void test_keydir_of_another(void **state)
{
    char command[500];

    options = (hf_cask_options){.no_thread = true};
    hf_cask *cask = cask_open(&options);
    cask_put(cask, "x", "other");
    assert_int_equal(hf_cask_close(cask), 0);
    keep();
    cask_remove(cask_path);
    killed_after(put_three);
    snprintf(command, sizeof command, "rm %s/keydir*; cp %s.kept/keydir %s", cask_path, cask_path, cask_path);
    assert_int_equal(system(command), 0);
    cask = cask_open(&options);
    cask_is(cask, "x", NULL);
    cask_is(cask, "b", "second");
    cask_counts(cask, 3);
    assert_int_equal(hf_cask_close(cask), 0);
}

/* -- damage in a sealed file -- */

static void test_sealed_damage(void **state)
{
    hf_cask_info info;

    options = (hf_cask_options){.max_file_size = 4096, .no_thread = true};
    killed_after(put_files);
    hf_cask *cask = cask_open(&options);
    assert_int_equal(hf_cask_info_get(cask, "3", 1, &info), 1);
    assert_int_equal(info.file, 1);
    assert_int_equal(hf_cask_close(cask), 0);
    /* Met by a look-up. */
    flip(FIRST, info.offset + 60);
    cask = cask_open(&options);
    hf_cask_room room = {0};
    const void *value;
    size_t size;
    assert_int_equal(hf_cask_get(cask, "3", 1, &room, &value, &size), HF_CORRUPT);
    assert_int_equal(hf_cask_get(cask, "4", 1, &room, &value, &size), 1);
    assert_true(status_of(cask).lost > 0);
    hf_cask_room_clear(&room);
    assert_int_equal(hf_cask_close(cask), 0);
    /* Met by a recovery that reads the log: all that was put behind it is there. */
    take_away("keydir* *.hint page");
    cask = cask_open(&options);
    assert_int_equal(hf_cask_get(cask, "3", 1, NULL, NULL, NULL), 0);
    assert_int_equal(hf_cask_get(cask, "4", 1, NULL, NULL, NULL), 1);
    assert_int_equal(hf_cask_get(cask, "29", 2, NULL, NULL, NULL), 1);
    assert_int_equal(status_of(cask).lost, info.size);
    assert_int_equal(status_of(cask).cut, 0);
    cask_counts(cask, 29);
    assert_int_equal(hf_cask_close(cask), 0);
}

/* -- folders that are something else -- */

static void test_foreign(void **state)
{
    hf_cask_options read = {.mode = HF_CASK_READ};
    char path[160];
    hf_cask *cask;

    assert_int_equal(mkdir(cask_path, 0700), 0);
    assert_int_equal(hf_cask_open(cask_path, &read, &cask), HF_ABSENT);
    path_of("0000000001.log", path);
    FILE *file = fopen(path, "w");
    fputs("a log of something else\n", file);
    fclose(file);
    assert_int_equal(hf_cask_open(cask_path, NULL, &cask), HF_NOT_CASK);
    assert_int_equal(hf_cask_open(cask_path, &read, &cask), HF_NOT_CASK);
    assert_int_equal(size_of("0000000001.log"), 24);
    path_of("MANIFEST", path);
    file = fopen(path, "w");
    fputs("a manifest of something else, which is long enough to be one of ours: at least as long as that, I mean, "
          "in bytes\n",
          file);
    fclose(file);
    assert_int_equal(hf_cask_open(cask_path, NULL, &cask), HF_NOT_CASK);
    assert_int_equal(unlink(path), 0);
    path_of("0000000001.log", path);
    assert_int_equal(unlink(path), 0);
    /* What an interrupted beginning leaves. */
    path_of("MANIFEST.new", path);
    file = fopen(path, "w");
    fclose(file);
    cask = cask_open(NULL);
    assert_int_equal(hf_cask_close(cask), 0);
    snprintf(path, sizeof path, "%s/none/cask", cask_scratch);
    assert_int_equal(hf_cask_open(path, NULL, &cask), HF_ABSENT);
    path_of("MANIFEST", path);
    assert_int_equal(hf_cask_open(path, NULL, &cask), HF_NOT_CASK);
}

/* A later version's manifest and log. */
static void test_future(void **state)
{
    char path[160];
    uint32_t format = 77;
    hf_cask *cask = cask_open(NULL);

    cask_put(cask, "a", "1");
    assert_int_equal(hf_cask_close(cask), 0);
    keep();
    path_of("MANIFEST", path);
    int fd = open(path, O_RDWR);
    assert_int_equal(pwrite(fd, &format, sizeof format, 8), sizeof format);
    close(fd);
    assert_int_equal(hf_cask_open(cask_path, NULL, &cask), HF_FORMAT);
    put_back();
    path_of(FIRST, path);
    fd = open(path, O_RDWR);
    assert_int_equal(pwrite(fd, &format, sizeof format, 8), sizeof format);
    close(fd);
    assert_int_equal(hf_cask_open(cask_path, NULL, &cask), HF_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cask_test(test_torn_record),   cask_test(test_torn_bytes),
        cask_test(test_page_knows),    cask_test(test_damage_below_synced),
        cask_test(test_torn_batch),    cask_test(test_beginning_survives),
        cask_test(test_keydir_lost),   cask_test(test_keydir_damaged),
        cask_test(test_hint_damaged),  cask_test(test_keydir_of_another),
        cask_test(test_sealed_damage), cask_test(test_foreign),
        cask_test(test_future),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

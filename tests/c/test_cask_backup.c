/*
 * test_cask_backup.c: copies of a cask, while it goes on; what is linked and what is copied; failure of every call.
 */
#include "test_cask_support.h"
#include "test_child.h"

static char copy_path[100];

static const hf_cask_options tiny = {
    .max_file_size = 4096, .checkpoint = 5000, .no_thread = true, .merging = {.by_call = true}};

static void put_number(hf_cask *cask, unsigned i, unsigned version)
{
    char key[32], value[64];
    snprintf(key, sizeof key, "key %u", i);
    snprintf(value, sizeof value, "value %u of key %u, and some more", version, i);
    cask_put(cask, key, value);
}

static void is_number(hf_cask *cask, unsigned i, unsigned version)
{
    char key[32], value[64];
    snprintf(key, sizeof key, "key %u", i);
    snprintf(value, sizeof value, "value %u of key %u, and some more", version, i);
    cask_is(cask, key, value);
}

static hf_cask *filled(const hf_cask_options *options)
{
    hf_cask *cask = cask_open(options);
    for (unsigned version = 0; version < 3; version++)
        for (unsigned i = 0; i < 100; i++)
            put_number(cask, i, version);
    assert_int_equal(hf_cask_delete(cask, "key 7", 5), 1);
    snprintf(copy_path, sizeof copy_path, "%s/copy", cask_scratch);
    return cask;
}

static hf_cask *open_copy(hf_cask_mode mode)
{
    hf_cask_options options = tiny;
    hf_cask *copy;
    options.mode = mode;
    assert_int_equal(hf_cask_open(copy_path, &options, &copy), 0);
    assert_int_equal(hf_cask_check(copy, NULL, NULL), 0);
    return copy;
}

static unsigned count_names(const char *path)
{
    unsigned count = 0;
    DIR *listing = opendir(path);
    assert_non_null(listing);
    for (struct dirent *d; (d = readdir(listing)) != NULL;)
        count += d->d_name[0] != '.';
    closedir(listing);
    return count;
}

/* Both go on, each by itself; merges too. */
static void test_backup(void **state)
{
    hf_cask *cask = filled(&tiny);
    char name[140];
    struct stat found;
    assert_int_equal(hf_cask_backup(cask, copy_path), 0);
    assert_int_equal(hf_cask_backup(cask, copy_path), HF_EXISTS);
    assert_int_equal(count_names(cask_scratch), 2);
    snprintf(name, sizeof name, "%s/0000000002.log", copy_path);
    assert_int_equal(stat(name, &found), 0);
    assert_int_equal(found.st_nlink, 2);
    hf_cask *copy = open_copy(HF_CASK_WRITE);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 100; i++) {
            put_number(cask, i, 10 + round);
            put_number(copy, i, 20 + round);
        }
        cask = cask_again(cask, &tiny);
        assert_int_equal(hf_cask_close(copy), 0);
        copy = open_copy(HF_CASK_WRITE);
        assert_int_equal(hf_cask_merge(cask, 0, NULL), 0);
        assert_int_equal(hf_cask_merge(copy, 0, NULL), 0);
        for (unsigned i = 0; i < 100; i++) {
            is_number(cask, i, 10 + round);
            is_number(copy, i, 20 + round);
        }
        assert_int_equal(hf_cask_check(cask, NULL, NULL), 0);
        assert_int_equal(hf_cask_check(copy, NULL, NULL), 0);
    }
    assert_int_equal(hf_cask_close(copy), 0);
    assert_int_equal(hf_cask_close(cask), 0);
}

static void is_as_filled(hf_cask *copy)
{
    for (unsigned i = 0; i < 100; i++)
        if (i != 7)
            is_number(copy, i, 2);
    cask_is(copy, "key 7", NULL);
    cask_counts(copy, 99);
}

/* Of the moment at which it began, also after a merge, of a reader too; and an empty one. */
static void test_moments(void **state)
{
    hf_cask_options options = tiny, reading = {.mode = HF_CASK_READ};
    hf_cask *cask = filled(&options), *reader, *copy;
    cask = cask_again(cask, &options);
    assert_int_equal(hf_cask_merge(cask, 0, NULL), 0);
    assert_int_equal(hf_cask_backup(cask, copy_path), 0);
    put_number(cask, 1000, 1);
    copy = open_copy(HF_CASK_READ);
    is_as_filled(copy);
    assert_int_equal(hf_cask_close(copy), 0);
    cask_remove(copy_path);
    assert_int_equal(hf_cask_delete(cask, "key 1000", 8), 1);
    assert_int_equal(hf_cask_open(cask_path, &reading, &reader), 0);
    assert_int_equal(hf_cask_backup(reader, copy_path), 0);
    put_number(cask, 1001, 1);
    copy = open_copy(HF_CASK_WRITE);
    is_as_filled(copy);
    assert_int_equal(hf_cask_close(copy), 0);
    assert_int_equal(hf_cask_close(reader), 0);
    assert_int_equal(hf_cask_close(cask), 0);
    /* Nobody writes. */
    cask_remove(copy_path);
    assert_int_equal(hf_cask_open(cask_path, &reading, &reader), 0);
    assert_int_equal(hf_cask_backup(reader, copy_path), 0);
    copy = open_copy(HF_CASK_WRITE);
    cask_counts(copy, 100);
    assert_int_equal(hf_cask_close(copy), 0);
    assert_int_equal(hf_cask_close(reader), 0);
    cask_remove(copy_path);
    cask_remove(cask_path);
    cask = cask_open(NULL);
    assert_int_equal(hf_cask_backup(cask, copy_path), 0);
    copy = open_copy(HF_CASK_WRITE);
    cask_counts(copy, 0);
    put_number(copy, 1, 1);
    assert_int_equal(hf_cask_close(copy), 0);
    assert_int_equal(hf_cask_close(cask), 0);
}

static int no_link(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    return -EXDEV;
}

static void test_without_links(void **state)
{
    struct hf_os table = hf_os_native;
    hf_cask *cask = filled(&tiny);
    table.linkat = no_link;
    hf_os_replace(&table);
    assert_int_equal(hf_cask_backup(cask, copy_path), 0);
    hf_os_replace(NULL);
    assert_int_equal(hf_cask_close(cask), 0);
    cask_remove(cask_path);
    hf_cask *copy = open_copy(HF_CASK_WRITE);
    is_as_filled(copy);
    assert_int_equal(hf_cask_close(copy), 0);
}

/* It is whole or not there, and nothing else is left beside it. */
static void test_failures(void **state)
{
    static const int errors[] = {EIO, ENOSPC, EMFILE};
    hf_cask *cask = filled(&tiny);
    assert_int_equal(hf_cask_sync_now(cask), 0);
    for (uint64_t n = 1, failed = 1; failed > 0; n++) {
        hf_fault_arm(HF_FAULT_ANY, n, errors[n % LENGTH(errors)]);
        int status = hf_cask_backup(cask, copy_path);
        failed = hf_fault_failed(HF_FAULT_ANY);
        hf_fault_disarm();
        assert_true(failed > 0 || status == 0);
        bool there = access(copy_path, F_OK) == 0;
        assert_true(there || status != 0);
        if (there) {
            hf_cask *copy = open_copy(HF_CASK_READ);
            is_as_filled(copy);
            assert_int_equal(hf_cask_close(copy), 0);
            cask_remove(copy_path);
        }
        char command[160];
        snprintf(command, sizeof command, "rm -rf %s/copy.new-*", cask_scratch);
        assert_int_equal(system(command), 0);
        is_number(cask, 5, 2);
    }
    assert_int_equal(hf_cask_check(cask, NULL, NULL), 0);
    assert_int_equal(hf_cask_close(cask), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cask_test(test_backup), cask_test(test_moments), cask_test(test_without_links),
                                       cask_test(test_failures)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * test_cask_support.h: what the tests of the cask share: a folder for each test, and short names for what they do most.
 */
#ifndef HF_TEST_CASK_SUPPORT_H
#define HF_TEST_CASK_SUPPORT_H

#include "cask/cask.h"

#include "cm.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char cask_scratch[64];
static char cask_path[80];

static inline const char *cask_folder(void)
{
    return cask_path;
}

static inline int cask_remove_one(const char *path, const struct stat *found, int type, struct FTW *where)
{
    return remove(path);
}

static inline void cask_remove(const char *path)
{
    nftw(path, cask_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int cask_setup(void **state)
{
    const char *parent = getenv("HOLDFAST_TEST_DIR");

    snprintf(cask_scratch, sizeof cask_scratch, "%s/cask-XXXXXX", parent != NULL ? parent : "/tmp");
    if (mkdtemp(cask_scratch) == NULL)
        return -1;
    snprintf(cask_path, sizeof cask_path, "%s/cask", cask_scratch);
    return 0;
}

static int cask_teardown(void **state)
{
    cask_remove(cask_scratch);
    return 0;
}

#define cask_test(name) cmocka_unit_test_setup_teardown(name, cask_setup, cask_teardown)

static inline hf_cask *cask_open(const hf_cask_options *options)
{
    hf_cask *cask = NULL;

    assert_int_equal(hf_cask_open(cask_path, options, &cask), 0);
    return cask;
}

static inline hf_cask *cask_again(hf_cask *cask, const hf_cask_options *options)
{
    assert_int_equal(hf_cask_close(cask), 0);
    return cask_open(options);
}

static inline void cask_put(hf_cask *cask, const char *key, const char *value)
{
    assert_int_equal(hf_cask_put(cask, key, strlen(key), value, strlen(value), 0), 0);
}

/* NULL: it is not there. */
static inline void cask_is(hf_cask *cask, const char *key, const char *value)
{
    hf_cask_room room = {0};
    const void *got = NULL;
    size_t size = 0;

    assert_int_equal(hf_cask_get(cask, key, strlen(key), &room, &got, &size), value != NULL);
    if (value != NULL) {
        assert_int_equal(size, strlen(value));
        assert_memory_equal(got, value, size);
    }
    hf_cask_room_clear(&room);
}

static inline void cask_counts(hf_cask *cask, uint64_t expected)
{
    uint64_t count = UINT64_MAX;

    assert_int_equal(hf_cask_count(cask, &count), 0);
    assert_int_equal(count, expected);
}

#endif

/*
 * test_region_support.h: regions for tests, and a model of one: an array.
 *
 *      model      value[tree][key]: a number, or ABSENT; the number says how long the value is, and what bytes it has
 *      home       shared memory, or a file at one of the levels: region_new and region_again go by `the_home`, which
 *                 in_all_homes and its like set for a test
 *
 * The files are in a folder of the process's own, which is removed when it exits. It is in memory, since most tests ask
 * what is in a file and not what the disk does; HF_TEST_FOLDER=/tmp puts it elsewhere.
 */
#ifndef HF_TEST_REGION_SUPPORT_H
#define HF_TEST_REGION_SUPPORT_H

#include "region/file.h"
#include "region/impl.h"
#include "region/region.h"

#include "base/fault.h"

#include <holdfast/status.h>

#include "cm.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEYS = 300, TREES = 2, ABSENT = -1, VALUES = 1000 };

typedef struct model {
    int value[TREES][KEYS];
    uint64_t count[TREES];
} model;

typedef enum hash_mode { HASH_MIXED, HASH_HIGH_4, HASH_GROUPS, HASH_CONSTANT, HASH_MODES } hash_mode;

static hash_mode the_mode;

typedef struct random_source {
    uint64_t state;
} random_source;

static inline uint64_t random_next(random_source *random)
{
    uint64_t x = random->state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static inline unsigned random_below(random_source *random, unsigned below)
{
    return (unsigned)(random_next(random) % below);
}

static inline uint64_t hash_of(int key)
{
    random_source random = {(uint64_t)key};
    switch (the_mode) {
    case HASH_HIGH_4:
        return (uint64_t)key << 60 | 0x123456789abcdefu;
    case HASH_GROUPS:
        random.state = (uint64_t)(key % 37);
        return random_next(&random);
    case HASH_CONSTANT:
        return 0x5555555555555555u;
    default:
        return random_next(&random);
    }
}

/* A key of 0 to 40 bytes; `text` is where it goes. */
static inline hf_key key_of(int key, char text[64])
{
    int size = key == 0 ? 0 : snprintf(text, 64, "key %d%.*s", key, key % 29, "-----------------------------");
    return (hf_key){hash_of(key), text, (size_t)size};
}

/* And back: what follows the key in its record may look like more of it. */
static inline int number_of(const hf_key *key)
{
    char text[64] = "";
    if (key->size == 0)
        return 0;
    if (key->size >= sizeof text)
        return -1;
    memcpy(text, key->bytes, key->size);
    return atoi(text + 4);
}

/* Mostly short; some take large blocks. */
static inline size_t value_size(int value)
{
    if (value % 97 == 96)
        return 17000 + (size_t)value * 61;
    return value % 13 == 12 ? (size_t)value * 7 : (size_t)value % 90;
}

enum { LONGEST = 17000 + VALUES * 61 };

static inline void value_fill(int value, int key, unsigned char *out)
{
    size_t size = value_size(value);
    for (size_t i = 0; i < size; i++)
        out[i] = (unsigned char)((unsigned)value * 31u + (unsigned)key * 7u + (unsigned)i * 13u);
}

static inline bool value_is(int value, int key, const hf_span *found)
{
    const unsigned char *bytes = found->bytes;
    if (found->size != value_size(value))
        return false;
    for (size_t i = 0; i < found->size; i++)
        if (bytes[i] != (unsigned char)((unsigned)value * 31u + (unsigned)key * 7u + (unsigned)i * 13u))
            return false;
    return true;
}

#define ok(status) assert_int_equal((status), 0)

/* -- homes -- */

typedef enum home { HOME_SHARED, HOME_FULL, HOME_INTERVAL, HOME_OFF, HOMES } home;

static home the_home;
static unsigned the_place_trees; /* of regions to come: keydir.h */
static char files_in[64]; /* "": not made yet */
static pid_t files_by;

/* Removes the files of all tests so far. */
static inline void files_remove(void)
{
    char path[400];
    struct dirent *entry;
    DIR *folder = files_in[0] != '\0' && files_by == getpid() ? opendir(files_in) : NULL;
    if (folder == NULL)
        return;
    while ((entry = readdir(folder)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", files_in, entry->d_name);
        if (entry->d_name[0] != '.')
            unlink(path);
    }
    closedir(folder);
}

static inline void files_end(void)
{
    files_remove();
    if (files_by == getpid())
        rmdir(files_in);
}

static inline void file_name(char path[96])
{
    static unsigned count;
    const char *chosen = getenv("HF_TEST_FOLDER");
    if (files_in[0] == '\0') {
        snprintf(files_in, sizeof files_in, "%.40s/hf-test-XXXXXX",
                 chosen != NULL                         ? chosen
                 : access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm"
                                                        : "/tmp");
        assert_non_null(mkdtemp(files_in));
        files_by = getpid();
        ok(atexit(files_end));
    }
    snprintf(path, 96, "%s/region-%u", files_in, count++);
}

/* A segment of this test alone; its name is free again at once. */
static inline void region_name(char name[64])
{
    static unsigned count;
    snprintf(name, 64, "/hf-test-%d-%u", (int)getpid(), count++);
}

/* How much of the nursery those who open a file use: one after the other has another opinion; or all this one. */
#define NURSERY_IN_TURN UINT64_C(1)
static uint64_t the_nursery = NURSERY_IN_TURN;

static inline uint64_t next_nursery(void)
{
    static const uint64_t bytes[] = {0, 4 << 10, 16 << 10, HF_REGION_STRAIGHT};
    static unsigned count;
    return the_nursery == NURSERY_IN_TURN ? bytes[count++ % 4] : the_nursery;
}

static inline hf_region_options file_options(hf_region_mode mode, uint64_t reserve)
{
    hf_region_options options = {
        .mode = mode,
        .reserve = reserve,
        .place_trees = the_place_trees,
        .timeout = INT64_C(10000000000),
        .level = the_home == HOME_FULL       ? HF_REGION_FULL
                 : the_home == HOME_INTERVAL ? HF_REGION_INTERVAL
                                             : HF_REGION_OFF,
        .interval = 2000000,
        .nursery = next_nursery(),
    };
    return options;
}

/* The same file once more, by its name. */
static inline hf_region *file_again(const char *path)
{
    hf_region *again;
    hf_region_options options = file_options(HF_REGION_ATTACH, 0);
    ok(hf_region_open_file(path, &options, &again));
    return again;
}

static inline hf_region *region_new(uint64_t reserve)
{
    char name[96];
    hf_region *region;
    hf_region_options options = {.mode = HF_REGION_CREATE, .reserve = reserve, .place_trees = the_place_trees};
    if (the_home != HOME_SHARED) {
        options = file_options(HF_REGION_CREATE, reserve);
        file_name(name);
        ok(hf_region_open_file(name, &options, &region));
        return region;
    }
    region_name(name);
    ok(hf_region_open(name, &options, &region));
    ok(hf_region_unlink(name));
    return region;
}

/* Another view of the same region, as another process would have it. */
static inline int try_again(hf_region *region, hf_region **out)
{
    hf_region_options options = file_options(HF_REGION_ATTACH, 0);
    if (region->file != NULL)
        return hf_region_open_file(region->file->path, &options, out);
    return hf_region_open_fd(hf_region_fd(region), NULL, out);
}

static inline hf_region *region_again(hf_region *region)
{
    hf_region *again;
    ok(try_again(region, &again));
    return again;
}

static inline int home_begin(void **state)
{
    the_home = *(const home *)*state;
    return 0;
}

static inline int home_end(void **state)
{
    hf_fault_disarm();
    files_remove();
    the_home = HOME_SHARED;
    the_mode = HASH_MIXED;
    the_place_trees = 0;
    return 0;
}

static const home all_homes[HOMES] = {HOME_SHARED, HOME_FULL, HOME_INTERVAL, HOME_OFF};

/* A test for the list of a program, in this home, or in several. */
#define in_home(test, which)                                                               \
    {                                                                                      \
#test "@" #which, test, home_begin, home_end, (void *)(uintptr_t)&all_homes[which] \
    }
#define in_files(test) in_home(test, HOME_FULL), in_home(test, HOME_INTERVAL), in_home(test, HOME_OFF)
#define in_all_homes(test) in_home(test, HOME_SHARED), in_files(test)
#define in_both_homes(test) in_home(test, HOME_SHARED), in_home(test, HOME_OFF)

static inline void region_check(hf_region *region)
{
    hf_region_fault fault;
    int status = hf_region_check(region, -1, &fault);
    if (status < 0)
        fail_msg("hf_region_check: %s: %s at %#llx", hf_status_name(status), fault.what,
                 (unsigned long long)fault.at);
}

static inline uint64_t top_of(hf_region *region)
{
    hf_region_stats stats;
    ok(hf_region_stats_get(region, &stats));
    return stats.top;
}

/* -- readers who may not write to the lock file there is -- */

static inline int open_looking(const char *path, hf_region **out)
{
    const hf_region_options options = {.timeout = -1, .reserve = 64 << 20, .read_only = true};
    struct hf_fault plan = {.first = 2, .times = 1, .error = EACCES}; /* the first opens the folder */
    hf_fault_arm_plan(HF_OS_SITE_openat, &plan);
    int status = hf_region_open_file(path, &options, out);
    hf_fault_disarm();
    return status;
}

/* -- numbers, each in a transaction of its own -- */

static inline int put_number(hf_region *to, int key, int number)
{
    char text[64];
    hf_key k = key_of(key, text);
    hf_txn *txn;
    int status = hf_txn_begin(to, INT64_C(5000000000), &txn);
    if (status < 0)
        return status;
    status = hf_txn_put(txn, 0, &k, &number, sizeof number);
    if (status >= 0)
        status = hf_txn_commit(txn);
    if (status < 0)
        hf_txn_abort(txn);
    return status;
}

/* ABSENT, or what is there. */
static inline int number_in(const hf_view *view, int key)
{
    char text[64];
    int number = ABSENT;
    hf_span value;
    hf_key k = key_of(key, text);
    if (hf_view_get(view, 0, &k, &value) == 1 && value.size == sizeof number)
        memcpy(&number, value.bytes, sizeof number);
    return number;
}

/* -- the model -- */

static inline void model_clear(model *m)
{
    for (int tree = 0; tree < TREES; tree++) {
        m->count[tree] = 0;
        for (int key = 0; key < KEYS; key++)
            m->value[tree][key] = ABSENT;
    }
}

/* Whether the view and the model have the same in this tree, by look-up and by iteration. */
static inline bool view_is(const hf_view *view, const model *m, int tree)
{
    char text[64];
    hf_span value;
    hf_key key;
    hf_region_cursor cursor;
    uint64_t seen = 0;
    if (hf_view_count(view, (unsigned)tree) != m->count[tree])
        return false;
    for (int i = 0; i < KEYS; i++) {
        key = key_of(i, text);
        int found = hf_view_get(view, (unsigned)tree, &key, &value);
        if (found != (m->value[tree][i] != ABSENT))
            return false;
        if (found && !value_is(m->value[tree][i], i, &value))
            return false;
    }
    if (hf_region_cursor_begin(&cursor, view, (unsigned)tree) < 0)
        return false;
    for (;;) {
        int more = hf_region_cursor_next(&cursor, &key, &value);
        if (more < 0)
            return false;
        if (more == 0)
            return seen == m->count[tree];
        int number = number_of(&key);
        if (number < 0 || number >= KEYS || !value_is(m->value[tree][number], number, &value))
            return false;
        seen++;
    }
}

static inline bool view_is_model(const hf_view *view, const model *m)
{
    for (int tree = 0; tree < TREES; tree++)
        if (!view_is(view, m, tree))
            return false;
    return true;
}

/* Whether the newest version is the model. */
static inline bool region_is_model(hf_region *region, const model *m)
{
    hf_view view;
    if (hf_view_pin(region, &view) < 0)
        return false;
    bool is = view_is_model(&view, m);
    hf_view_unpin(&view);
    return is;
}

/* Makes the change in the region, and then in the model. A status, or what put or remove answered. */
static inline int both_put(hf_txn *txn, model *m, int tree, int key, int value)
{
    char text[64];
    static unsigned char bytes[LONGEST];
    hf_key k = key_of(key, text);
    value_fill(value, key, bytes);
    int status = hf_txn_put(txn, (unsigned)tree, &k, bytes, value_size(value));
    if (status < 0)
        return status;
    if (status != (m->value[tree][key] == ABSENT))
        return HF_INVALID;
    m->count[tree] += (uint64_t)status;
    m->value[tree][key] = value;
    return status;
}

static inline int both_remove(hf_txn *txn, model *m, int tree, int key)
{
    char text[64];
    hf_key k = key_of(key, text);
    int status = hf_txn_remove(txn, (unsigned)tree, &k);
    if (status < 0)
        return status;
    if (status != (m->value[tree][key] != ABSENT))
        return HF_INVALID;
    m->count[tree] -= (uint64_t)status;
    m->value[tree][key] = ABSENT;
    return status;
}

static inline int both_clear(hf_txn *txn, model *m, int tree)
{
    int status = hf_txn_clear(txn, (unsigned)tree);
    if (status < 0)
        return status;
    m->count[tree] = 0;
    for (int key = 0; key < KEYS; key++)
        m->value[tree][key] = ABSENT;
    return 0;
}

#endif

/*
 * region_contend.c: who is measured, on /dev/shm and in files.
 *
 *      region         hf_view_pin, get, unpin for each get; XXH3 of the key is in the time
 *      shared         the map that stands on it, by its public functions: str to bytes, which are copied out
 *      lmdb           MDB_NOSYNC; mdb_txn_renew, get, reset for each get
 *      lmdb-writemap  MDB_NOSYNC | MDB_WRITEMAP
 */
#include "region_rows.h"

#include <holdfast/shared.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#if HAVE_LMDB
#include <lmdb.h>
#endif

/* -- the region -- */

hf_region *region;
static hf_txn *txn;
static hf_snapshot *held;
static uint64_t seed;

hf_key region_key(const char bytes[KEY])
{
    return (hf_key){hf_hash_bytes(bytes, KEY, seed), bytes, KEY};
}

static void region_open(void)
{
    static const hf_region_options options = {.mode = HF_REGION_CREATE};
    char name[64];
    snprintf(name, sizeof name, "/hf-bench-%d", (int)getpid());
    sure(hf_region_open(name, &options, &region));
    sure(hf_region_unlink(name));
    seed = hf_region_seed(region);
}

static void region_close(void)
{
    hf_region_fault fault;
    if (hf_region_check(region, -1, &fault) < 0)
        fail("hf_region_check", fault.what);
    sure(hf_region_close(region));
}

static void region_begin(void)
{
    sure(hf_txn_begin(region, -1, &txn));
}

static void region_put(const char bytes[KEY], uint64_t number, uint64_t version)
{
    uint64_t value[VALUE / 8];
    fill_value(number, version, value);
    hf_key key = region_key(bytes);
    sure(hf_txn_put(txn, 0, &key, value, sizeof value));
}

static void region_commit(void)
{
    sure(hf_txn_commit(txn));
}

static int64_t region_get_all(const uint32_t *numbers, char (*of)[KEY])
{
    int64_t start = now();
    for (size_t i = 0; i < key_count; i++) {
        hf_view view;
        hf_span value;
        hf_key key = region_key(of[i]);
        sure(hf_view_pin(region, &view));
        if (sure(hf_view_get(&view, 0, &key, &value)) != 1)
            fail("a look-up", "found nothing");
        expect(numbers[i], 0, value.bytes, value.size);
        hf_view_unpin(&view);
    }
    return now() - start;
}

static void region_hold(void)
{
    sure(hf_snapshot_begin(region, &held));
}

static void region_release(void)
{
    for (size_t i = 0; i < key_count; i++) {
        char bytes[KEY];
        hf_span value;
        fill_key(i, bytes);
        hf_key key = region_key(bytes);
        if (sure(hf_view_get(hf_snapshot_view(held), 0, &key, &value)) != 1)
            fail("a snapshot", "lost a key");
        expect(i, 0, value.bytes, value.size);
    }
    hf_snapshot_end(held);
}

static double region_megabytes(void)
{
    struct stat found;
    if (fstat(hf_region_fd(region), &found) < 0)
        fail("fstat", "failed");
    return (double)found.st_blocks * 512 / 1e6;
}

/* -- the map -- */

static hf_shared *map;
static hf_shared_snapshot *map_held;

static void shared_open(void)
{
    const hf_shared_options options = {.mode = HF_SHARED_CREATE, .timeout = -1};
    char name[64];
    snprintf(name, sizeof name, "hf-bench-shared-%d", (int)getpid());
    sure(hf_shared_open(name, &options, &map));
    sure(hf_shared_unlink(name));
}

static void shared_close(void)
{
    const char *what;
    if (hf_shared_check(map, &what) < 0)
        fail("hf_shared_check", what);
    sure(hf_shared_close(map));
}

static void shared_begin(void)
{
    sure(hf_shared_begin(map));
}

static void shared_put(const char bytes[KEY], uint64_t number, uint64_t version)
{
    uint64_t words[VALUE / 8];
    fill_value(number, version, words);
    hf_datum key = hf_datum_text(bytes, KEY), value = hf_datum_bytes(words, sizeof words);
    sure(hf_shared_set(map, &key, &value));
}

static void shared_commit(void)
{
    sure(hf_shared_commit(map));
}

static int64_t shared_get_all(const uint32_t *numbers, char (*of)[KEY])
{
    hf_shared_room room = {0};
    int64_t start = now();
    for (size_t i = 0; i < key_count; i++) {
        hf_datum key = hf_datum_text(of[i], KEY), value;
        if (sure(hf_shared_get(map, &key, &room, &value)) != 1)
            fail("a look-up", "found nothing");
        expect(numbers[i], 0, value.data, value.size);
    }
    int64_t end = now();
    hf_shared_room_clear(&room);
    return end - start;
}

static void shared_hold(void)
{
    sure(hf_shared_snapshot_begin(map, &map_held));
}

static void shared_release(void)
{
    for (size_t i = 0; i < key_count; i++) {
        char bytes[KEY];
        fill_key(i, bytes);
        hf_datum key = hf_datum_text(bytes, KEY), value;
        if (sure(hf_shared_snapshot_get(map_held, &key, &value)) != 1)
            fail("a snapshot", "lost a key");
        expect(i, 0, value.data, value.size);
    }
    hf_shared_snapshot_end(map_held);
}

static double shared_megabytes(void)
{
    hf_shared_stats stats;
    sure(hf_shared_stats_get(map, &stats));
    return (double)stats.size / 1e6;
}

/* -- LMDB -- */

#if HAVE_LMDB

static MDB_env *env;
static MDB_dbi dbi;
static MDB_txn *mdb_writer, *mdb_reader;
static char folder[64];

static int mdb_sure(int error)
{
    if (error != 0)
        fail("lmdb", mdb_strerror(error));
    return error;
}

static void lmdb_open(unsigned flags)
{
    snprintf(folder, sizeof folder, "/dev/shm/hf-bench-XXXXXX");
    if (mkdtemp(folder) == NULL)
        fail("mkdtemp", "failed");
    mdb_sure(mdb_env_create(&env));
    mdb_sure(mdb_env_set_mapsize(env, (size_t)4 << 30));
    mdb_sure(mdb_env_open(env, folder, MDB_NOSYNC | flags, 0600));
    mdb_sure(mdb_txn_begin(env, NULL, 0, &mdb_writer));
    mdb_sure(mdb_dbi_open(mdb_writer, NULL, 0, &dbi));
    mdb_sure(mdb_txn_commit(mdb_writer));
}

static void lmdb_open_plain(void)
{
    lmdb_open(0);
}

static void lmdb_open_writemap(void)
{
    lmdb_open(MDB_WRITEMAP);
}

static void lmdb_close(void)
{
    char path[128];
    mdb_env_close(env);
    snprintf(path, sizeof path, "%s/data.mdb", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/lock.mdb", folder);
    unlink(path);
    rmdir(folder);
}

static void lmdb_begin(void)
{
    mdb_sure(mdb_txn_begin(env, NULL, 0, &mdb_writer));
}

static void lmdb_put(const char bytes[KEY], uint64_t number, uint64_t version)
{
    char copy[KEY];
    uint64_t value[VALUE / 8];
    memcpy(copy, bytes, KEY);
    fill_value(number, version, value);
    MDB_val key = {KEY, copy}, data = {sizeof value, value};
    mdb_sure(mdb_put(mdb_writer, dbi, &key, &data, 0));
}

static void lmdb_commit(void)
{
    mdb_sure(mdb_txn_commit(mdb_writer));
}

static int64_t lmdb_get_all(const uint32_t *numbers, char (*of)[KEY])
{
    mdb_sure(mdb_txn_begin(env, NULL, MDB_RDONLY, &mdb_reader));
    mdb_txn_reset(mdb_reader);
    int64_t start = now();
    for (size_t i = 0; i < key_count; i++) {
        MDB_val key = {KEY, of[i]}, data;
        mdb_sure(mdb_txn_renew(mdb_reader));
        mdb_sure(mdb_get(mdb_reader, dbi, &key, &data));
        expect(numbers[i], 0, data.mv_data, data.mv_size);
        mdb_txn_reset(mdb_reader);
    }
    int64_t end = now();
    mdb_txn_abort(mdb_reader);
    return end - start;
}

static void lmdb_hold(void)
{
    mdb_sure(mdb_txn_begin(env, NULL, MDB_RDONLY, &mdb_reader));
}

static void lmdb_release(void)
{
    mdb_txn_abort(mdb_reader);
}

static double lmdb_megabytes(void)
{
    char path[128];
    struct stat found;
    snprintf(path, sizeof path, "%s/data.mdb", folder);
    if (stat(path, &found) < 0)
        fail("stat", path);
    return (double)found.st_blocks * 512 / 1e6;
}

#define LMDB(its_name, its_open)                                                                       \
    {                                                                                                  \
        .name = its_name, .open = its_open, .close = lmdb_close, .begin = lmdb_begin, .put = lmdb_put, \
        .commit = lmdb_commit, .get_all = lmdb_get_all, .hold = lmdb_hold, .release = lmdb_release,    \
        .megabytes = lmdb_megabytes                                                                    \
    }

#endif

struct contender contenders[] = {
    {.name = "region",
     .open = region_open,
     .close = region_close,
     .begin = region_begin,
     .put = region_put,
     .commit = region_commit,
     .get_all = region_get_all,
     .hold = region_hold,
     .release = region_release,
     .megabytes = region_megabytes},
#if HAVE_LMDB
    LMDB("lmdb", lmdb_open_plain),
    LMDB("lmdb-writemap", lmdb_open_writemap),
#endif
    {.name = "shared",
     .open = shared_open,
     .close = shared_close,
     .begin = shared_begin,
     .put = shared_put,
     .commit = shared_commit,
     .get_all = shared_get_all,
     .hold = shared_hold,
     .release = shared_release,
     .megabytes = shared_megabytes},
};

const int contender_count = sizeof contenders / sizeof contenders[0];

void put_all(struct contender *who, size_t batch)
{
    for (size_t i = 0; i < key_count;) {
        who->begin();
        for (size_t end = i + batch; i < end && i < key_count; i++)
            who->put(keys[PUT_ORDER][i], order[PUT_ORDER][i], 0);
        who->commit();
    }
}

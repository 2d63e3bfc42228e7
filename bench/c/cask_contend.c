/*
 * cask_contend.c: who is measured.
 *
 *      cask        as hf_cask_open makes it with cask_options, which are the defaults unless a row says otherwise. A
 *                  get copies the value out, as LevelDB's does
 *      leveldb     no compression (the values are random), a Bloom filter of 10 bits a key, a cache that holds
 *                  everything; otherwise as it is by default: a buffer of 4 MiB for what is written, files of 2 MiB.
 *                  By its C functions: what a get gives out is allocated for it, and freed
 *      lmdb        MDB_NOSYNC | MDB_WRITEMAP: the fastest it has; a transaction a put, or 1,000 puts. A get is
 *                  mdb_txn_renew, mdb_get, mdb_txn_reset, so that it sees the newest version, and gives out a pointer
 *      lmdb-one    gets alone, from what lmdb has open: all of a turn in one transaction
 *      array       gets alone, from an array in memory whose index is the key's digits: what the processor takes to
 *                  find so many bytes in any case
 *      write       puts alone: one write() of as many bytes as the cask's record has
 */
#include "cask_rows.h"

#include <holdfast/cask.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#if HAVE_LEVELDB
#include <leveldb/c.h>
#endif
#if HAVE_LMDB
#include <lmdb.h>
#endif

enum { BLOOM_BITS = 10, CACHE = 512 << 20 };

/* -- the cask -- */

hf_cask *cask;
hf_cask_options cask_options;

static hf_cask_batch *batch;
static hf_cask_room room;

static void cask_open(const char *folder)
{
    sure(hf_cask_open(folder, &cask_options, &cask));
}

static void cask_close(void)
{
    hf_cask_batch_end(batch);
    batch = NULL;
    hf_cask_room_clear(&room);
    sure(hf_cask_close(cask));
}

static void cask_put(const char *key, size_t key_size, const void *value)
{
    sure(hf_cask_put(cask, key, key_size, value, VALUE, 0));
}

static void cask_add(const char *key, size_t key_size, const void *value)
{
    if (batch == NULL)
        sure(hf_cask_batch_begin(cask, &batch));
    sure(hf_cask_batch_put(batch, key, key_size, value, VALUE, 0));
}

static void cask_commit(void)
{
    sure(hf_cask_batch_commit(batch));
}

static const void *cask_get(const char *key, size_t key_size, size_t *size)
{
    const void *value;
    return sure(hf_cask_get(cask, key, key_size, &room, &value, size)) == 1 ? value : NULL;
}

static void nothing(void)
{
}

/* Merges what is worth it. The cask's own thread may be at it: then it will have done so. */
static void cask_settle(void)
{
    const int64_t patience = INT64_C(60) * 1000 * 1000 * 1000, start = now();
    while (sure(hf_cask_needs_merge(cask)) == 1) {
        int status = hf_cask_merge(cask, 0, NULL);
        if (status == HF_BUSY)
            usleep(1000);
        else
            sure(status);
        if (now() - start > patience)
            fail("hf_cask_merge", "there is always more to merge");
    }
    sure(hf_cask_sync_now(cask));
}

/* -- LevelDB -- */

bool durable;

#if HAVE_LEVELDB
static leveldb_t *level;
static leveldb_options_t *level_options;
static leveldb_cache_t *level_cache;
static leveldb_filterpolicy_t *level_filter;
static leveldb_writeoptions_t *level_writing;
static leveldb_readoptions_t *level_reading;
static leveldb_writebatch_t *level_batch;
static char *level_value;

static void level_sure(char *error)
{
    if (error != NULL)
        fail("leveldb", error);
}

static void level_open(const char *folder)
{
    char *error = NULL;
    level_options = leveldb_options_create();
    level_cache = leveldb_cache_create_lru(CACHE);
    level_filter = leveldb_filterpolicy_create_bloom(BLOOM_BITS);
    leveldb_options_set_create_if_missing(level_options, 1);
    leveldb_options_set_compression(level_options, leveldb_no_compression);
    leveldb_options_set_cache(level_options, level_cache);
    leveldb_options_set_filter_policy(level_options, level_filter);
    level_writing = leveldb_writeoptions_create();
    leveldb_writeoptions_set_sync(level_writing, durable);
    level_reading = leveldb_readoptions_create();
    level_batch = leveldb_writebatch_create();
    level = leveldb_open(level_options, folder, &error);
    level_sure(error);
}

static void level_close(void)
{
    leveldb_close(level);
    leveldb_writebatch_destroy(level_batch);
    leveldb_readoptions_destroy(level_reading);
    leveldb_writeoptions_destroy(level_writing);
    leveldb_options_destroy(level_options);
    leveldb_filterpolicy_destroy(level_filter);
    leveldb_cache_destroy(level_cache);
}

static void level_put(const char *key, size_t key_size, const void *value)
{
    char *error = NULL;
    leveldb_put(level, level_writing, key, key_size, value, VALUE, &error);
    level_sure(error);
}

static void level_add(const char *key, size_t key_size, const void *value)
{
    leveldb_writebatch_put(level_batch, key, key_size, value, VALUE);
}

static void level_commit(void)
{
    char *error = NULL;
    leveldb_write(level, level_writing, level_batch, &error);
    level_sure(error);
    leveldb_writebatch_clear(level_batch);
}

static const void *level_get(const char *key, size_t key_size, size_t *size)
{
    char *error = NULL;
    level_value = leveldb_get(level, level_reading, key, key_size, size, &error);
    level_sure(error);
    return level_value;
}

static void level_got(void)
{
    leveldb_free(level_value);
}

/* Everything into one level: no get looks into two files. */
static void level_settle(void)
{
    leveldb_compact_range(level, NULL, 0, NULL, 0);
}
#endif

/* -- LMDB -- */

#if HAVE_LMDB
static MDB_env *lmdb;
static MDB_dbi lmdb_dbi;
static MDB_txn *lmdb_reading, *lmdb_writing;

static void lmdb_sure(int error)
{
    if (error != 0)
        fail("lmdb", mdb_strerror(error));
}

static void lmdb_open(const char *folder)
{
    const size_t most = (size_t)16 << 30;
    mkdir(folder, 0700);
    lmdb_sure(mdb_env_create(&lmdb));
    lmdb_sure(mdb_env_set_mapsize(lmdb, most));
    lmdb_sure(mdb_env_open(lmdb, folder, MDB_NOSYNC | MDB_WRITEMAP, 0600));
    lmdb_sure(mdb_txn_begin(lmdb, NULL, 0, &lmdb_writing));
    lmdb_sure(mdb_dbi_open(lmdb_writing, NULL, 0, &lmdb_dbi));
    lmdb_sure(mdb_txn_commit(lmdb_writing));
    lmdb_writing = NULL;
    lmdb_sure(mdb_txn_begin(lmdb, NULL, MDB_RDONLY, &lmdb_reading));
    mdb_txn_reset(lmdb_reading);
}

static void lmdb_close(void)
{
    mdb_txn_abort(lmdb_reading);
    mdb_env_close(lmdb);
}

static void lmdb_add(const char *key, size_t key_size, const void *value)
{
    unsigned char copy[VALUE];
    memcpy(copy, value, VALUE);
    MDB_val k = {key_size, (void *)(uintptr_t)key}, v = {VALUE, copy};
    if (lmdb_writing == NULL)
        lmdb_sure(mdb_txn_begin(lmdb, NULL, 0, &lmdb_writing));
    lmdb_sure(mdb_put(lmdb_writing, lmdb_dbi, &k, &v, 0));
}

static void lmdb_commit(void)
{
    lmdb_sure(mdb_txn_commit(lmdb_writing));
    lmdb_writing = NULL;
}

static void lmdb_put(const char *key, size_t key_size, const void *value)
{
    lmdb_add(key, key_size, value);
    lmdb_commit();
}

static const void *lmdb_look(const char *key, size_t key_size, size_t *size)
{
    MDB_val k = {key_size, (void *)(uintptr_t)key}, v;
    int error = mdb_get(lmdb_reading, lmdb_dbi, &k, &v);
    if (error == MDB_NOTFOUND)
        return NULL;
    lmdb_sure(error);
    *size = v.mv_size;
    return v.mv_data;
}

static const void *lmdb_get(const char *key, size_t key_size, size_t *size)
{
    lmdb_sure(mdb_txn_renew(lmdb_reading));
    return lmdb_look(key, key_size, size);
}

static void lmdb_got(void)
{
    mdb_txn_reset(lmdb_reading);
}

/* lmdb-one looks into what lmdb has open. */
static void lmdb_enter(void)
{
    lmdb_sure(mdb_txn_renew(lmdb_reading));
}
#endif

/* -- an array -- */

static unsigned char (*array)[VALUE];

static void array_open(const char *folder)
{
    mkdir(folder, 0700);
    if (array == NULL)
        array = memory_for(key_count, sizeof *array);
}

/* What was put stays, since it is opened again. */
static void array_close(void)
{
}

static size_t array_index(const char *key)
{
    size_t index = 0;
    for (int i = 0; i < KEY; i++)
        index = 10 * index + (size_t)(key[i] - '0');
    return index;
}

static void array_add(const char *key, size_t key_size, const void *value)
{
    memcpy(array[array_index(key)], value, VALUE);
}

static const void *array_get(const char *key, size_t key_size, size_t *size)
{
    *size = VALUE;
    return array[array_index(key)];
}

/* -- system calls alone -- */

static int raw = -1;

static void raw_open(const char *folder)
{
    char path[MAX_PATH + 16];
    mkdir(folder, 0700);
    snprintf(path, sizeof path, "%s/log", folder);
    raw = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (raw < 0)
        fail("open", path);
}

static void raw_close(void)
{
    close(raw);
}

static void raw_put(const char *key, size_t key_size, const void *value)
{
    static unsigned char record[RECORD];
    enum { HEADER = 32 };
    memcpy(record + HEADER, key, KEY);
    memcpy(record + HEADER + KEY, value, VALUE);
    if (write(raw, record, sizeof record) != RECORD)
        fail("write", "failed");
}

/* -- all of them -- */

const struct contender contenders[CONTENDERS] = {
    [CASK] = {"cask", true, cask_open, cask_close, cask_put, cask_add, cask_commit, nothing, cask_get, nothing,
              nothing, cask_settle},
#if HAVE_LEVELDB
    [LEVELDB] = {"leveldb", true, level_open, level_close, level_put, level_add, level_commit, nothing, level_get,
                 level_got, nothing, level_settle},
#endif
#if HAVE_LMDB
    [LMDB] = {"lmdb", true, lmdb_open, lmdb_close, lmdb_put, lmdb_add, lmdb_commit, nothing, lmdb_get, lmdb_got,
              nothing, nothing},
    [LMDB_ONE] = {"lmdb-one", true, .enter = lmdb_enter, .get = lmdb_look, .got = nothing, .leave = lmdb_got},
#endif
    [ARRAY] = {"array", true, array_open, array_close, .add = array_add, .commit = nothing, .enter = nothing,
               .get = array_get, .got = nothing, .leave = nothing, .settle = nothing},
    [RAW] = {"write", true, raw_open, raw_close, raw_put, .settle = nothing},
};

static char bases[CONTENDERS][MAX_PATH], folders[CONTENDERS][MAX_PATH + 16];

const char *folder_of(const struct contender *who)
{
    return folders[who - contenders];
}

void begin_new(const struct contender *who)
{
    size_t which = (size_t)(who - contenders);
    make_folder(bases[which]);
    snprintf(folders[which], sizeof folders[which], "%s/%s", bases[which], who->name);
    who->open(folders[which]);
}

void reopen(const struct contender *who)
{
    who->close();
    who->open(folder_of(who));
}

void end_new(const struct contender *who)
{
    who->close();
    remove_folder(bases[who - contenders]);
}

void put_all(const struct contender *who, size_t batch_size)
{
    unsigned char value[VALUE];
    for (size_t i = 0; i < key_count; i++) {
        fill_value(order[PUT_ORDER][i], 0, value);
        if (batch_size == 1) {
            who->put(keys[PUT_ORDER][i], KEY, value);
            continue;
        }
        who->add(keys[PUT_ORDER][i], KEY, value);
        if ((i + 1) % batch_size == 0 || i + 1 == key_count)
            who->commit();
    }
}

void get_some(const struct contender *who, const uint32_t *numbers, char (*of)[KEY], size_t length, size_t first,
              size_t count)
{
    who->enter();
    for (size_t i = 0, at = first % length; i < count; i++) {
        size_t size = 0;
        const void *value = who->get(of[at], KEY, &size);
        if (value == NULL)
            fail(who->name, "a look-up found nothing");
        expect(numbers[at], 0, value, size);
        who->got();
        at = at + 1 == length ? 0 : at + 1;
    }
    who->leave();
}

void expect_all(const struct contender *who, const uint32_t *versions)
{
    who->enter();
    for (size_t i = 0; i < key_count; i++) {
        size_t size = 0;
        uint32_t number = order[GET_ORDER][i];
        const void *value = who->get(keys[GET_ORDER][i], KEY, &size);
        if (value == NULL)
            fail(who->name, "a key is not there");
        expect(number, versions == NULL ? 0 : versions[number], value, size);
        who->got();
    }
    who->leave();
}

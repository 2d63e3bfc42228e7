/*
 * region_file.c: the rows of a region in a file, beside LMDB in a file and beside what the disk takes in any case.
 *
 *      durable     one update, committed: a region at HF_REGION_FULL, LMDB as it is by default, and two 4 KiB
 *                  writes at drawn places of a file that was written before, and one fdatasync. They take turns,
 *                  commit by commit
 *      volatile    a region at HF_REGION_OFF and LMDB with MDB_NOSYNC take turns, 100 commits each
 *      memory      blocks of the file, when all keys were put, a transaction each
 *      opening     of a file whose writer was killed; with its lock file (the same boot), and without (as after
 *                  another)
 */
#include "region_rows.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#if HAVE_LMDB
#include <lmdb.h>
#endif

enum { KEYS = 100 * 1000, PAGE = 4096, BLOCK = 100, BATCH = 1000 };
enum who { REGION, LMDB, BARE, CONTENDERS };

double file_gigabytes = 1;

static char folder[MAX_PATH];
static hf_region *file_region;
static size_t file_keys;

static const char *path_of(const char *name)
{
    static char path[MAX_PATH + 32];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* -- the contenders: an update, and a commit -- */

static void open_region(enum hf_region_level level)
{
    hf_region_options options = {.mode = HF_REGION_EITHER, .level = level};
    sure(hf_region_open_file(path_of("region"), &options, &file_region));
}

static hf_key file_key(const char bytes[KEY])
{
    return (hf_key){hf_hash_bytes(bytes, KEY, hf_region_seed(file_region)), bytes, KEY};
}

static void put_region(uint64_t from, size_t count, uint64_t version)
{
    hf_txn *txn;
    sure(hf_txn_begin(file_region, -1, &txn));
    for (uint64_t i = from; i < from + count; i++) {
        char bytes[KEY];
        uint64_t value[VALUE / 8];
        fill_key(i, bytes);
        fill_value(i, version, value);
        hf_key key = file_key(bytes);
        sure(hf_txn_put(txn, 0, &key, value, sizeof value));
    }
    sure(hf_txn_commit(txn));
}

static uint64_t *newest; /* the version of each key */

static void check_region(void)
{
    hf_view view;
    hf_span value;
    hf_region_fault fault;
    sure(hf_view_pin(file_region, &view));
    for (size_t i = 0; i < file_keys; i++) {
        char bytes[KEY];
        fill_key(i, bytes);
        hf_key key = file_key(bytes);
        if (sure(hf_view_get(&view, 0, &key, &value)) != 1)
            fail("a look-up", "found nothing");
        expect(i, newest[i], value.bytes, value.size);
    }
    hf_view_unpin(&view);
    if (hf_region_check(file_region, -1, &fault) < 0)
        fail("hf_region_check", fault.what);
}

#if HAVE_LMDB
static MDB_env *file_env;
static MDB_dbi file_dbi;

static void mdb_sure(int error)
{
    if (error != 0)
        fail("lmdb", mdb_strerror(error));
}

static void open_lmdb(unsigned flags)
{
    MDB_txn *txn;
    mdb_sure(mdb_env_create(&file_env));
    mdb_sure(mdb_env_set_mapsize(file_env, (size_t)4 << 30));
    mdb_sure(mdb_env_open(file_env, folder, flags, 0600));
    mdb_sure(mdb_txn_begin(file_env, NULL, 0, &txn));
    mdb_sure(mdb_dbi_open(txn, NULL, 0, &file_dbi));
    mdb_sure(mdb_txn_commit(txn));
}

static void put_lmdb(uint64_t from, size_t count, uint64_t version)
{
    MDB_txn *txn;
    mdb_sure(mdb_txn_begin(file_env, NULL, 0, &txn));
    for (uint64_t i = from; i < from + count; i++) {
        char bytes[KEY];
        uint64_t value[VALUE / 8];
        fill_key(i, bytes);
        fill_value(i, version, value);
        MDB_val key = {KEY, bytes}, data = {sizeof value, value};
        mdb_sure(mdb_put(txn, file_dbi, &key, &data, 0));
    }
    mdb_sure(mdb_txn_commit(txn));
}

static void close_lmdb(void)
{
    mdb_env_close(file_env);
}
#else
static void open_lmdb(unsigned flags)
{
}

static void put_lmdb(uint64_t from, size_t count, uint64_t version)
{
}

static void close_lmdb(void)
{
}

#define MDB_NOSYNC 0
#endif

/* A file of this many pages, all written. */
enum { BARE_PAGES = 8192 };

static int open_bare(void)
{
    static char page[PAGE];
    int fd = open(path_of("bare"), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        fail("open", "bare");
    memset(page, 1, sizeof page);
    for (int i = 0; i < BARE_PAGES; i++)
        if (pwrite(fd, page, PAGE, (off_t)i * PAGE) != PAGE)
            fail("pwrite", "bare");
    if (fsync(fd) != 0)
        fail("fsync", "bare");
    return fd;
}

static void write_bare(int fd, uint64_t random)
{
    static char page[PAGE];
    memcpy(page, &random, sizeof random);
    for (uint64_t i = 0; i < 2; i++)
        if (pwrite(fd, page, PAGE, (off_t)(mixed(random + i) % BARE_PAGES) * PAGE) != PAGE)
            fail("pwrite", "bare");
    if (fdatasync(fd) != 0)
        fail("fdatasync", "bare");
}

static void fill_both(size_t batch)
{
    for (size_t i = 0; i < file_keys; i += batch) {
        put_region(i, batch, 0);
        put_lmdb(i, batch, 0);
    }
}

static void open_both(enum hf_region_level level, unsigned flags)
{
    file_keys = quick ? BATCH : KEYS;
    newest = calloc(file_keys, sizeof *newest);
    if (newest == NULL)
        fail("calloc", "no memory");
    make_folder(folder);
    open_region(level);
    open_lmdb(flags);
    fill_both(BATCH);
}

static void close_both(void)
{
    check_region();
    sure(hf_region_close(file_region));
    close_lmdb();
    remove_folder(folder);
    free(newest);
}

/* -- rows -- */

static void measure_durable(void)
{
    static struct figures took[CONTENDERS];
    static const char *const names[CONTENDERS] = {"region", "lmdb", "2 writes, a sync"};
    const int commits = quick ? 20 : 2000;
    open_both(HF_REGION_FULL, 0);
    int bare = open_bare();
    for (int i = 0; i < commits; i++) {
        uint64_t number = mixed((uint64_t)i) % file_keys, version = (uint64_t)i + 1;
        newest[number] = version;
        for (int turn = 0; turn < CONTENDERS; turn++) {
            enum who who = (enum who)((turn + i) % CONTENDERS);
            int64_t start = now();
            if (who == REGION)
                put_region(number, 1, version);
            else if (who == LMDB)
                put_lmdb(number, 1, version);
            else
                write_bare(bare, version);
            add_figure(&took[who], (double)(now() - start) / 1e3);
        }
    }
    close(bare);
    close_both();
    for (int i = 0; i < CONTENDERS; i++)
        if (i != LMDB || HAVE_LMDB)
            tell("file: durable commit of one put", names[i], "us", &took[i]);
    for (int i = 0; i < 2; i++) {
        double part = i == 0 ? 0.25 : 0.5, ours = quantile(&took[REGION], part);
        tell_goal(i == 0 ? "file: durable commit of one put, p25" : "file: durable commit of one put, p50",
                  "x 2 writes, a sync", ours / quantile(&took[BARE], part), true, 1.5);
        if (HAVE_LMDB)
            tell_goal(i == 0 ? "file: durable commit of one put, p25" : "file: durable commit of one put, p50",
                      "x lmdb", ours / quantile(&took[LMDB], part), true, 0.75);
    }
}

static void measure_volatile(void)
{
    static struct figures took[2], ratios;
    const int blocks = quick ? 2 : 300;
    open_both(HF_REGION_OFF, MDB_NOSYNC);
    for (int i = 0; i < blocks; i++) {
        double figures[2];
        for (int turn = 0; turn < 2; turn++) {
            enum who who = (enum who)((turn + i) % 2);
            int64_t start = now();
            for (int j = 0; j < BLOCK; j++) {
                uint64_t number = mixed((uint64_t)(i * BLOCK + j)) % file_keys,
                         version = (uint64_t)(i * BLOCK + j + 1);
                newest[number] = version;
                if (who == REGION)
                    put_region(number, 1, version);
                else
                    put_lmdb(number, 1, version);
            }
            figures[who] = (double)(now() - start) / 1e3 / BLOCK;
            add_figure(&took[who], figures[who]);
        }
        add_figure(&ratios, figures[REGION] / figures[LMDB]);
    }
    close_both();
    tell("file: commit that is not durable", "region", "us", &took[REGION]);
    if (!HAVE_LMDB)
        return;
    tell("file: commit that is not durable", "lmdb", "us", &took[LMDB]);
    tell_goal("file: commit that is not durable", "x lmdb", quantile(&ratios, 0.5), true, 0.6);
}

static void measure_memory(void)
{
    static struct figures memory;
    struct stat found;
    make_folder(folder);
    open_region(HF_REGION_OFF);
    for (size_t i = 0; i < key_count; i++)
        put_region(order[PUT_ORDER][i], 1, 0);
    if (fstat(hf_region_fd(file_region), &found) != 0)
        fail("fstat", "failed");
    add_figure(&memory, (double)found.st_blocks * 512 / ((double)key_count * (KEY + VALUE)));
    sure(hf_region_close(file_region));
    remove_folder(folder);
    tell("file: memory, a part of key and value bytes", "region", "x", &memory);
    tell_goal("file: memory, a part of key and value bytes", "x", quantile(&memory, 0.5), true, 2.8);
}

/* Fills the file, and is killed in the middle of a transaction. */
static void fill_and_die(int told)
{
    static char value[16 * PAGE];
    const uint64_t size = (uint64_t)(quick ? 1e7 : file_gigabytes * 1e9);
    struct stat found;
    open_region(HF_REGION_OFF);
    for (uint64_t i = 0;; i++) {
        hf_txn *txn;
        sure(hf_txn_begin(file_region, -1, &txn));
        for (uint64_t j = 0; j < BLOCK; j++) {
            char bytes[KEY];
            fill_key(i * BLOCK + j, bytes);
            hf_key key = file_key(bytes);
            sure(hf_txn_put(txn, 0, &key, value, mixed(i * BLOCK + j) % sizeof value));
        }
        if (fstat(hf_region_fd(file_region), &found) == 0 && (uint64_t)found.st_size >= size) {
            if (write(told, "", 1) != 1)
                _exit(EXIT_FAILURE);
            pause();
        }
        sure(hf_txn_commit(txn));
    }
}

static double time_opening(void)
{
    int64_t start = now();
    open_region(HF_REGION_OFF);
    return (double)(now() - start) / 1e6;
}

static void measure_opening(void)
{
    static struct figures with, without;
    char byte;
    for (int round = 0; round < (quick ? 1 : 3); round++) {
        for (int i = 0; i < 2; i++) {
            int told[2];
            make_folder(folder);
            if (pipe(told) != 0)
                fail("pipe", "failed");
            fflush(NULL);
            pid_t writer = fork();
            if (writer < 0)
                fail("fork", "failed");
            if (writer == 0)
                fill_and_die(told[1]);
            close(told[1]);
            if (read(told[0], &byte, 1) != 1)
                fail("the writer", "failed");
            close(told[0]);
            kill(writer, SIGKILL);
            waitpid(writer, NULL, 0);
            if (i == 1)
                unlink(path_of("region-lock"));
            add_figure(i == 0 ? &with : &without, time_opening());
            sure(hf_region_close(file_region));
            remove_folder(folder);
        }
    }
    tell("file: opening after a kill", "same boot", "ms", &with);
    tell("file: opening after a kill", "without lock file", "ms", &without);
    tell_goal("file: opening after a kill", "ms", quantile(&with, 0.5), true, 10);
    tell_goal("file: opening after a kill, without lock file", "ms", quantile(&without, 0.5), true, 10);
}

void rows_file(void)
{
    measure_durable();
    measure_volatile();
    measure_memory();
    measure_opening();
}

/*
 * region_bench.c: a region in shared memory beside LMDB on /dev/shm, both from C, in one run.
 *
 *      region_bench [KEYS [ROUNDS]]        1,000,000 and 3
 *
 * Keys of 12 bytes and values of 64, put and read in shuffled orders. In each round every contender does every row in
 * turn; the figures are medians over the rounds, with the least and the most. What is read is compared as it is read, and
 * all of it once more after the clock has stopped; a contender that is wrong ends the run.
 *
 *      region         hf_view_pin, get, unpin for each get; XXH3 of the key is in the time
 *      lmdb           MDB_NOSYNC; mdb_txn_renew, get, reset for each get
 *      lmdb-writemap  MDB_NOSYNC | MDB_WRITEMAP
 */
#include "base/hash.h"
#include "region/region.h"

#include <holdfast/status.h>

#include <dirent.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#if HAVE_LMDB
#include <lmdb.h>
#endif

enum { KEY = 12, VALUE = 64, BATCH = 1000, UPDATES = 20000, LIVE = 1000, MAX_ROUNDS = 99 };

enum row { PUT_EACH, PUT_BATCH, GET, PINNED, ROWS };

static const char *const row_names[ROWS] = {
    "put, a transaction each (ns)",
    "put, 1,000 a transaction (ns)",
    "get, a pin each (ns)",
    "growth, 20,000 updates and a reader (MB)",
};

static size_t count = 1000 * 1000;
static uint32_t *order[2]; /* of puts, and of gets */

__attribute__((noreturn)) static void fail(const char *what, const char *why)
{
    fprintf(stderr, "region_bench: %s: %s\n", what, why);
    exit(EXIT_FAILURE);
}

static int sure(int status)
{
    if (status < 0)
        fail("region", hf_status_name(status));
    return status;
}

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static uint64_t mixed(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static void shuffle(uint32_t *numbers, uint64_t seed)
{
    for (size_t i = 0; i < count; i++)
        numbers[i] = (uint32_t)i;
    for (size_t i = count; i-- > 1;) {
        size_t j = (size_t)(mixed(seed += UINT64_C(0x9e3779b97f4a7c15)) % (i + 1));
        uint32_t held = numbers[i];
        numbers[i] = numbers[j];
        numbers[j] = held;
    }
}

/* Twelve digits, which costs little, and is the same for all. */
static void fill_key(uint64_t number, char key[KEY])
{
    for (int i = KEY; i-- > 0; number /= 10)
        key[i] = (char)('0' + number % 10);
}

static void fill_value(uint64_t number, uint64_t version, uint64_t value[VALUE / 8])
{
    for (uint64_t i = 0; i < VALUE / 8; i++)
        value[i] = number * 31 + version + i;
}

static void expect(uint64_t number, uint64_t version, const void *found, size_t size)
{
    uint64_t value[VALUE / 8];
    fill_value(number, version, value);
    if (size != VALUE || memcmp(found, value, VALUE) != 0)
        fail("a look-up", "gave another value");
}

/* What the rows need of a contender. */
struct contender {
    const char *name;
    void (*open)(void);
    void (*close)(void);
    void (*begin)(void);
    void (*put)(uint64_t number, uint64_t version);
    void (*commit)(void);
    int64_t (*get_all)(const uint32_t *numbers);
    void (*hold)(void); /* a reader that stays */
    void (*release)(void);
    double (*megabytes)(void);
    double figures[ROWS][MAX_ROUNDS];
    double megabytes_full;
};

/* -- the region -- */

static hf_region *region;
static hf_txn *txn;
static hf_snapshot *held;
static uint64_t seed;

static hf_key key_of(const char bytes[KEY])
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

static void region_put(uint64_t number, uint64_t version)
{
    char bytes[KEY];
    uint64_t value[VALUE / 8];
    fill_key(number, bytes);
    fill_value(number, version, value);
    hf_key key = key_of(bytes);
    sure(hf_txn_put(txn, 0, &key, value, sizeof value));
}

static void region_commit(void)
{
    sure(hf_txn_commit(txn));
}

static int64_t region_get_all(const uint32_t *numbers)
{
    int64_t start = now();
    for (size_t i = 0; i < count; i++) {
        char bytes[KEY];
        hf_view view;
        hf_span value;
        fill_key(numbers[i], bytes);
        hf_key key = key_of(bytes);
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
    for (size_t i = 0; i < count; i++) {
        char bytes[KEY];
        hf_span value;
        fill_key(i, bytes);
        hf_key key = key_of(bytes);
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

static void lmdb_put(uint64_t number, uint64_t version)
{
    char bytes[KEY];
    uint64_t value[VALUE / 8];
    fill_key(number, bytes);
    fill_value(number, version, value);
    MDB_val key = {KEY, bytes}, data = {sizeof value, value};
    mdb_sure(mdb_put(mdb_writer, dbi, &key, &data, 0));
}

static void lmdb_commit(void)
{
    mdb_sure(mdb_txn_commit(mdb_writer));
}

static int64_t lmdb_get_all(const uint32_t *numbers)
{
    mdb_sure(mdb_txn_begin(env, NULL, MDB_RDONLY, &mdb_reader));
    mdb_txn_reset(mdb_reader);
    int64_t start = now();
    for (size_t i = 0; i < count; i++) {
        char bytes[KEY];
        fill_key(numbers[i], bytes);
        MDB_val key = {KEY, bytes}, data;
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

#endif

static struct contender contenders[] = {
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
    {.name = "lmdb",
     .open = lmdb_open_plain,
     .close = lmdb_close,
     .begin = lmdb_begin,
     .put = lmdb_put,
     .commit = lmdb_commit,
     .get_all = lmdb_get_all,
     .hold = lmdb_hold,
     .release = lmdb_release,
     .megabytes = lmdb_megabytes},
    {.name = "lmdb-writemap",
     .open = lmdb_open_writemap,
     .close = lmdb_close,
     .begin = lmdb_begin,
     .put = lmdb_put,
     .commit = lmdb_commit,
     .get_all = lmdb_get_all,
     .hold = lmdb_hold,
     .release = lmdb_release,
     .megabytes = lmdb_megabytes},
#endif
};

enum { CONTENDERS = sizeof contenders / sizeof contenders[0] };

/* -- rows -- */

static double put_all(struct contender *who, size_t batch)
{
    int64_t start = now();
    for (size_t i = 0; i < count;) {
        who->begin();
        for (size_t end = i + batch; i < end && i < count; i++)
            who->put(order[0][i], 0);
        who->commit();
    }
    return (double)(now() - start) / (double)count;
}

static double grow(struct contender *who)
{
    double before = who->megabytes();
    uint64_t random = 1;
    who->hold();
    for (int i = 0; i < UPDATES; i++) {
        who->begin();
        who->put(mixed(random++) % count, 1000000 + (uint64_t)i);
        who->commit();
    }
    double after = who->megabytes();
    who->release();
    return after - before;
}

static void run_round(struct contender *who, int round)
{
    who->open();
    who->figures[PUT_BATCH][round] = put_all(who, BATCH);
    who->close();
    who->open();
    who->figures[PUT_EACH][round] = put_all(who, 1);
    who->megabytes_full = who->megabytes();
    who->figures[GET][round] = (double)who->get_all(order[1]) / (double)count;
    who->figures[PINNED][round] = grow(who);
    who->close();
}

/* What only a region is measured for: pins, and what live snapshots cost a writer. */
static double time_pins(void)
{
    enum { TIMES = 10 * 1000 * 1000 };
    hf_view view;
    int64_t start = now();
    for (int i = 0; i < TIMES; i++) {
        sure(hf_view_pin(region, &view));
        hf_view_unpin(&view);
    }
    return (double)(now() - start) / TIMES;
}

static double time_snapshots(void)
{
    enum { TIMES = 1000 * 1000 };
    hf_snapshot *snapshot;
    int64_t start = now();
    for (int i = 0; i < TIMES; i++) {
        sure(hf_snapshot_begin(region, &snapshot));
        hf_snapshot_end(snapshot);
    }
    return (double)(now() - start) / TIMES;
}

static double time_updates(uint64_t random)
{
    enum { TIMES = 100 * 1000 };
    int64_t start = now();
    for (int i = 0; i < TIMES; i++) {
        region_begin();
        region_put(mixed(random++) % count, 5000000 + (uint64_t)i);
        region_commit();
    }
    return (double)(now() - start) / TIMES;
}

static void measure_snapshots(void)
{
    static hf_snapshot *live[LIVE];
    region_open();
    put_all(&contenders[0], BATCH);
    double pin = time_pins(), snapshot = time_snapshots(), without = time_updates(1);
    for (uint64_t i = 0; i < LIVE; i++) {
        region_begin();
        region_put(i, 7);
        region_commit();
        sure(hf_snapshot_begin(region, &live[i]));
    }
    double first = time_updates(1000000), with = time_updates(2000000);
    for (int i = 0; i < LIVE; i++)
        hf_snapshot_end(live[i]);
    double after = time_updates(3000000);
    region_close();
    printf("\n%-44s %10.1f\n%-44s %10.1f\n", "pin and unpin (ns)", pin, "snapshot begin and end (ns)", snapshot);
    printf("%-44s %10.0f\n%-44s %10.0f, then %.0f\n%-44s %10.0f\n", "update, no snapshots (ns)", without,
           "update, 1,000 live snapshots (ns)", first, with, "update, the snapshots gone (ns)", after);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(int rounds)
{
    printf("%zu keys, %d rounds: median (least .. most), and the region's part of it\n\n", count, rounds);
    for (int row = 0; row < ROWS; row++) {
        double ours = 0;
        printf("%s\n", row_names[row]);
        for (int i = 0; i < CONTENDERS; i++) {
            double *figures = contenders[i].figures[row];
            qsort(figures, (size_t)rounds, sizeof *figures, ascending);
            double median = figures[rounds / 2];
            if (i == 0)
                ours = median;
            printf("    %-14s %10.1f  (%.1f .. %.1f)", contenders[i].name, median, figures[0], figures[rounds - 1]);
            if (i > 0 && ours > 0)
                printf("  x %.2f", median / ours);
            printf("\n");
        }
    }
    printf("memory when full, a part of key and value bytes\n");
    for (int i = 0; i < CONTENDERS; i++)
        printf("    %-14s %10.2f  (%.1f MB)\n", contenders[i].name,
               contenders[i].megabytes_full * 1e6 / ((double)count * (KEY + VALUE)), contenders[i].megabytes_full);
}

int main(int argc, char **argv)
{
    int rounds = argc > 2 ? atoi(argv[2]) : 3;
    if (argc > 1)
        count = (size_t)strtoul(argv[1], NULL, 10);
    if (count < LIVE || count > UINT32_MAX || rounds < 1 || rounds > MAX_ROUNDS)
        fail("usage", "region_bench [KEYS [ROUNDS]]");
    for (int i = 0; i < 2; i++) {
        order[i] = malloc(count * sizeof *order[i]);
        if (order[i] == NULL)
            fail("malloc", "no memory");
        shuffle(order[i], (uint64_t)(i + 1) * 1234567);
    }
    for (int round = 0; round < rounds; round++)
        for (int i = 0; i < CONTENDERS; i++)
            run_round(&contenders[(round + i) % CONTENDERS], round);
    report(rounds);
    measure_snapshots();
    for (int i = 0; i < 2; i++)
        free(order[i]);
    return 0;
}

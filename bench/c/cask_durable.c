/*
 * cask_durable.c: puts that are durable when they return, of one thread and of 64, beside what the disk takes in any
 * case: a pwrite of the same bytes and an fdatasync, into a file that was written before. And beside LevelDB, whose
 * writes share flushes as the cask's do.
 *
 * They take turns, by blocks: so many puts of one thread each, then so many of each of 64. The threads are there and
 * wait before the clock starts, which it does with the first, and stops with the last.
 */
#include "cask_rows.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCKS = 25, ALONE = 40, THREADS = 64, EACH = 10 };

/* -- what the disk takes -- */

static int bare = -1;
static atomic_uint_least64_t bare_end;

static void bare_open(size_t records)
{
    static const unsigned char zeros[1 << 16];
    char path[MAX_PATH + 32];
    snprintf(path, sizeof path, "%s/bare", folder_of(&contenders[RAW]));
    bare = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (bare < 0)
        fail("open", path);
    for (size_t at = 0; at < records * RECORD; at += sizeof zeros)
        if (pwrite(bare, zeros, sizeof zeros, (off_t)at) != sizeof zeros)
            fail("pwrite", path);
    if (fsync(bare) != 0)
        fail("fsync", path);
    bare_end = 0;
}

static void bare_put(const char *key, size_t key_size, const void *value)
{
    unsigned char record[RECORD] = {1};
    memcpy(record + RECORD - VALUE, value, VALUE);
    uint64_t at = atomic_fetch_add(&bare_end, RECORD);
    if (pwrite(bare, record, RECORD, (off_t)at) != RECORD)
        fail("pwrite", "failed");
    if (fdatasync(bare) != 0)
        fail("fdatasync", "failed");
}

/* -- puts of one, and of many -- */

struct putter {
    void (*put)(const char *key, size_t key_size, const void *value);
    uint64_t first, count, version;
    int64_t start, end;
};

static pthread_barrier_t ready;

static void put_some(struct putter *putter)
{
    putter->start = now();
    for (uint64_t i = putter->first; i < putter->first + putter->count; i++) {
        char key[KEY];
        unsigned char value[VALUE];
        fill_key(i, key);
        fill_value(i, putter->version, value);
        putter->put(key, KEY, value);
    }
    putter->end = now();
}

static void *run_putter(void *arg)
{
    pthread_barrier_wait(&ready);
    put_some(arg);
    return NULL;
}

/* Nanoseconds a put, of all threads together. */
static double put_together(struct putter like)
{
    static struct putter putters[THREADS];
    pthread_t threads[THREADS];
    int64_t start = INT64_MAX, end = 0;
    if (pthread_barrier_init(&ready, NULL, THREADS) != 0)
        fail("pthread_barrier_init", "failed");
    for (int i = 0; i < THREADS; i++) {
        putters[i] = like;
        putters[i].first = like.first + (uint64_t)i * like.count;
        if (pthread_create(&threads[i], NULL, run_putter, &putters[i]) != 0)
            fail("pthread_create", "failed");
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        start = putters[i].start < start ? putters[i].start : start;
        end = putters[i].end > end ? putters[i].end : end;
    }
    pthread_barrier_destroy(&ready);
    return (double)(end - start) / (double)(like.count * THREADS);
}

/* Everything that was put is on the disk by now, says the cask. */
static void expect_synced(void)
{
    hf_cask_status status;
    sure(hf_cask_status_get(cask, &status, NULL, NULL));
    if (status.synced != status.sequence)
        fail("the cask", "a put returned that is not durable");
}

static struct figures alone[CONTENDERS], together[CONTENDERS];
static uint32_t *versions;

static void run_block(enum who which, uint32_t block)
{
    const uint64_t one = quick ? 5 : ALONE, each = quick ? 2 : EACH;
    struct putter putter = {.put = which == RAW ? bare_put : contenders[which].put, .version = block + 1};
    putter.count = one;
    for (uint64_t i = 0; i < one; i++) {
        putter.first = i;
        putter.count = 1;
        put_some(&putter);
        add_figure(&alone[which], (double)(putter.end - putter.start) / 1e3);
    }
    putter.first = one;
    putter.count = each;
    add_figure(&together[which], put_together(putter) / 1e3);
    if (which == CASK)
        expect_synced();
    for (uint64_t i = 0; i < one + each * THREADS; i++)
        versions[i] = block + 1;
}

void rows_durable(void)
{
    static const enum who who[] = {CASK, RAW, LEVELDB};
    enum { TAKING_PART = 3 };
    const uint32_t blocks = quick ? 2 : BLOCKS;
    versions = memory_for(key_count, sizeof *versions);
    cask_options.sync = HF_CASK_SYNC_PUT;
    durable = true;
    for (int i = 0; i < TAKING_PART; i++) {
        if (!contenders[who[i]].there)
            continue;
        begin_new(&contenders[who[i]]);
        if (who[i] != RAW)
            put_all(&contenders[who[i]], BATCH);
    }
    bare_open((size_t)(blocks + 1) * (ALONE + THREADS * EACH));
    for (uint32_t block = 0; block < blocks; block++)
        for (uint32_t i = 0; i < TAKING_PART; i++)
            if (contenders[who[(i + block) % TAKING_PART]].there)
                run_block(who[(i + block) % TAKING_PART], block);
    close(bare);
    for (int i = 0; i < TAKING_PART; i++) {
        if (!contenders[who[i]].there)
            continue;
        if (who[i] != RAW)
            expect_all(&contenders[who[i]], versions);
        end_new(&contenders[who[i]]);
        tell("durable put, 1 thread", i == 1 ? "pwrite, fdatasync" : contenders[who[i]].name, "us", &alone[who[i]]);
        tell("durable put, 64 threads", i == 1 ? "pwrite, fdatasync" : contenders[who[i]].name, "us",
             &together[who[i]]);
    }
    cask_options.sync = HF_CASK_SYNC_NONE;
    durable = false;
    free(versions);
    double one = quantile(&alone[CASK], 0.5), many = quantile(&together[CASK], 0.5);
    for (int i = 0; i < 2; i++) {
        double part = i == 0 ? 0.25 : 0.5;
        tell_goal(i == 0 ? "durable put, 1 thread, p25" : "durable put, 1 thread, p50", "x pwrite and fdatasync",
                  quantile(&alone[CASK], part) / quantile(&alone[RAW], part), true, 1.3);
    }
    tell_goal("durable put, 64 threads", "x pwrite and fdatasync of one thread", many / quantile(&alone[RAW], 0.5),
              true, 1.3);
    tell_goal("durable put, 64 threads", "x the puts a second of 1", one / many, false, 10);
}

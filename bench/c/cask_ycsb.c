/*
 * cask_ycsb.c: mixes of the Yahoo! Cloud Serving Benchmark, beside LevelDB and LMDB, of one thread.
 *
 *      A    half reads, half updates
 *      B    95 % reads, 5 % updates
 *      C    reads
 *      F    half reads, half read-modify-writes: a read, and an update of the same key
 *
 * Keys are drawn by Zipf's law, 1 / rank ** 0.99, the ranks shuffled. What is done is decided before the clock starts
 * and is the same for all, who take turns; each read is compared with what was written last.
 */
#include "cask_rows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum kind { READ, UPDATE, MODIFY };
enum { MIXES = 4, TAKING_PART = 3 };

static const struct {
    const char *name;
    double reads;
    enum kind other;
} mixes[MIXES] = {{"YCSB A", 0.5, UPDATE}, {"YCSB B", 0.95, UPDATE}, {"YCSB C", 1, UPDATE}, {"YCSB F", 0.5, MODIFY}};

struct operation {
    uint32_t number;
    uint8_t kind; /* enum kind */
    char key[KEY];
};

static double *ranks;        /* sums of their parts */
static uint32_t *rank_order; /* the key of each */
static struct operation *operations;
static size_t operation_count;
static uint32_t *versions[CONTENDERS];

static double drawn(uint64_t *seed)
{
    return (double)(mixed(*seed += UINT64_C(0x9e3779b97f4a7c15)) >> 11) * 0x1p-53;
}

static void make_ranks(void)
{
    const double zipfian = 0.99;
    double sum = 0;
    ranks = memory_for(key_count, sizeof *ranks);
    for (size_t i = 0; i < key_count; i++)
        ranks[i] = sum += pow((double)(i + 1), -zipfian);
    rank_order = shuffled(key_count, 99);
}

static uint32_t draw_number(uint64_t *seed)
{
    double at = drawn(seed) * ranks[key_count - 1];
    size_t low = 0, high = key_count - 1;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ranks[middle] > at)
            high = middle;
        else
            low = middle + 1;
    }
    return rank_order[low];
}

static void make_operations(int mix, uint64_t seed)
{
    for (size_t i = 0; i < operation_count; i++) {
        operations[i].number = draw_number(&seed);
        operations[i].kind = drawn(&seed) < mixes[mix].reads ? READ : (uint8_t)mixes[mix].other;
        fill_key(operations[i].number, operations[i].key);
    }
}

static double do_operations(enum who which, uint32_t turn)
{
    const struct contender *who = &contenders[which];
    uint32_t *version = versions[which];
    int64_t start = spent();
    for (size_t i = 0; i < operation_count; i++) {
        const struct operation *operation = &operations[i];
        if (operation->kind != UPDATE) {
            size_t size = 0;
            const void *value = who->get(operation->key, KEY, &size);
            if (value == NULL)
                fail(who->name, "a look-up found nothing");
            expect(operation->number, version[operation->number], value, size);
            who->got();
        }
        if (operation->kind != READ) {
            unsigned char value[VALUE];
            version[operation->number] = turn * (uint32_t)operation_count + (uint32_t)i + 1;
            fill_value(operation->number, version[operation->number], value);
            who->put(operation->key, KEY, value);
        }
    }
    return (double)(spent() - start) / (double)operation_count;
}

static void measure_mix(int mix)
{
    static struct figures figures[CONTENDERS];
    static const enum who who[TAKING_PART] = {CASK, LEVELDB, LMDB};
    for (int i = 0; i < TAKING_PART; i++) {
        figures[who[i]].count = 0;
        if (!contenders[who[i]].there)
            continue;
        versions[who[i]] = memory_for(key_count, sizeof *versions[0]);
        begin_new(&contenders[who[i]]);
        put_all(&contenders[who[i]], BATCH);
        contenders[who[i]].settle();
    }
    for (int round = 0; round < rounds; round++) {
        make_operations(mix, mixed((uint64_t)(mix * 100 + round + 1)));
        for (int i = 0; i < TAKING_PART; i++) {
            enum who which = who[(i + round) % TAKING_PART];
            if (contenders[which].there)
                add_figure(&figures[which], do_operations(which, (uint32_t)round));
        }
    }
    for (int i = 0; i < TAKING_PART; i++) {
        if (!contenders[who[i]].there)
            continue;
        expect_all(&contenders[who[i]], versions[who[i]]);
        end_new(&contenders[who[i]]);
        free(versions[who[i]]);
        tell(mixes[mix].name, contenders[who[i]].name, "ns", &figures[who[i]]);
    }
}

void rows_ycsb(void)
{
    operation_count = key_count;
    operations = memory_for(operation_count, sizeof *operations);
    make_ranks();
    for (int mix = 0; mix < MIXES; mix++)
        measure_mix(mix);
    free(operations);
    free(rank_order);
    free(ranks);
}

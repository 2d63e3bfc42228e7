/*
 * cask_bench.c: a cask beside LevelDB, LMDB and plain system calls on the same bytes, from C, in one run.
 *
 *      cask_bench [--json] [--quick] [--cpu-time] [--keys N] [--rounds N] [--folder F] [ROWS ...]
 *                                                                1,000,000 and 5; /var/tmp; all rows
 *
 *      put          puts, and batches of 1,000
 *      get          gets, and snapshots
 *      sizes        gets, from 10 keys to all, ten times as many each
 *      merge        all keys written over again and again, while files are merged
 *      durable      puts of 1 and of 64 threads that are durable when they return
 *      memory       bytes of memory a key
 *      reopen       opening what was closed, killed, or has lost its keydir and hints
 *      ycsb         the mixes A, B, C and F of the Yahoo! Cloud Serving Benchmark
 *
 * Keys of 16 digits and values of 100 bytes that cannot be compressed, put and read in shuffled orders. All that is
 * read is compared with what was put last; a contender that is wrong ends the run. With --json each figure is a line
 * of JSON; with --cpu-time the rows put, get, sizes, merge and ycsb count the processor's time by the thread that asks, for a
 * machine that others use.
 */
#include "cask_rows.h"

#include <stdlib.h>

uint32_t *order[2];
char (*keys[2])[KEY];

void fill_key(uint64_t number, char key[KEY])
{
    for (int i = KEY; i-- > 0; number /= 10)
        key[i] = (char)('0' + number % 10);
}

static void make_orders(void)
{
    for (int i = 0; i < 2; i++) {
        order[i] = shuffled(key_count, (uint64_t)(i + 1) * 1234567);
        keys[i] = memory_for(key_count, sizeof *keys[i]);
        for (size_t j = 0; j < key_count; j++)
            fill_key(order[i][j], keys[i][j]);
    }
}

static void forget_orders(void)
{
    for (int i = 0; i < 2; i++) {
        free(order[i]);
        free(keys[i]);
    }
}

static const struct group groups[] = {
    {"put", rows_put},         {"get", rows_get},       {"sizes", rows_sizes},   {"merge", rows_merge},
    {"durable", rows_durable}, {"memory", rows_memory}, {"reopen", rows_reopen}, {"ycsb", rows_ycsb},
};

int main(int argc, char **argv)
{
    static const struct program program = {
        .name = "cask_bench",
        .groups = groups,
        .count = sizeof groups / sizeof groups[0],
        .usage = "cask_bench [--json] [--quick] [--cpu-time] [--keys N] [--rounds N] [--folder F] [ROWS ...]",
        .begin = make_orders,
        .end = forget_orders,
    };
    return run_program(&program, argc, argv);
}

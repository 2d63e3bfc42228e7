/*
 * region_bench.c: a region beside LMDB, in shared memory and in a file, from C, in one run.
 *
 *      region_bench [--json] [--quick] [--keys N] [--rounds N] [--folder F] [--gigabytes N] [ROWS ...]
 *                                                1,000,000 and 5; /var/tmp and 1; all rows
 *
 *      single       puts, gets, memory, growth, beside LMDB
 *      snapshots    pins; live snapshots
 *      readers      two processes that read, beside two that read private tables
 *      beside       a reader beside a writer that never rests
 *      takeover     from a writer that was killed
 *      file         a region in a file: commits, memory, opening after a kill; in a new folder of F, on the disk to
 *                   measure
 *
 * Keys of 12 bytes and values of 64, put and read in shuffled orders; the keys are there before the clock starts.
 * What is read is compared as it is read; a contender that is wrong ends the run. With --json each figure is a line
 * of JSON.
 */
#include "region_rows.h"

#include <stdlib.h>
#include <string.h>

uint32_t *order[2];
char (*keys[2])[KEY];

/* -- keys and values -- */

/* Twelve digits. */
void fill_key(uint64_t number, char key[KEY])
{
    for (int i = KEY; i-- > 0; number /= 10)
        key[i] = (char)('0' + number % 10);
}

void fill_value(uint64_t number, uint64_t version, uint64_t value[VALUE / 8])
{
    for (uint64_t i = 0; i < VALUE / 8; i++)
        value[i] = number * 31 + version + i;
}

void make_orders(void)
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

/* -- the command line -- */

static const struct group groups[] = {
    {"single", rows_single},        {"snapshots", rows_snapshots}, {"readers", rows_readers},
    {"beside", rows_beside_writer}, {"takeover", rows_takeover},   {"file", rows_file},
};

static bool own_option(const char *name, const char *value)
{
    if (strcmp(name, "--gigabytes") != 0)
        return false;
    file_gigabytes = strtod(value, NULL);
    return true;
}

int main(int argc, char **argv)
{
    static const struct program program = {
        .name = "region_bench",
        .groups = groups,
        .count = sizeof groups / sizeof groups[0],
        .usage = "region_bench [--json] [--quick] [--keys N] [--rounds N] [--folder F] [--gigabytes N] [ROWS ...]",
        .option = own_option,
        .begin = make_orders,
        .end = forget_orders,
    };
    return run_program(&program, argc, argv);
}

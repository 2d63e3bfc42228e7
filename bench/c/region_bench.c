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

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

size_t key_count = 1000 * 1000;
int rounds = 5;
bool quick;
uint32_t *order[2];
char (*keys[2])[KEY];

static bool json;

__attribute__((noreturn)) void fail(const char *what, const char *why)
{
    fprintf(stderr, "region_bench: %s: %s\n", what, why);
    exit(EXIT_FAILURE);
}

int sure(int status)
{
    if (__builtin_expect(status < 0, 0))
        fail("region", hf_status_name(status));
    return status;
}

int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

uint64_t mixed(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

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

static void shuffle(uint32_t *numbers, uint64_t seed)
{
    for (size_t i = 0; i < key_count; i++)
        numbers[i] = (uint32_t)i;
    for (size_t i = key_count; i-- > 1;) {
        size_t j = (size_t)(mixed(seed += UINT64_C(0x9e3779b97f4a7c15)) % (i + 1));
        uint32_t held = numbers[i];
        numbers[i] = numbers[j];
        numbers[j] = held;
    }
}

void make_orders(void)
{
    for (int i = 0; i < 2; i++) {
        order[i] = malloc(key_count * sizeof *order[i]);
        keys[i] = malloc(key_count * sizeof *keys[i]);
        if (order[i] == NULL || keys[i] == NULL)
            fail("malloc", "no memory");
        shuffle(order[i], (uint64_t)(i + 1) * 1234567);
        for (size_t j = 0; j < key_count; j++)
            fill_key(order[i][j], keys[i][j]);
    }
}

/* -- figures -- */

void add_figure(struct figures *figures, double figure)
{
    if (figures->count == MAX_FIGURES)
        fail("add_figure", "too many");
    figures->all[figures->count++] = figure;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double quantile(struct figures *figures, double part)
{
    if (figures->count == 0)
        fail("quantile", "no figures");
    qsort(figures->all, (size_t)figures->count, sizeof *figures->all, ascending);
    int at = (int)(part * figures->count);
    return figures->all[at < figures->count ? at : figures->count - 1];
}

void tell(const char *row, const char *who, const char *unit, struct figures *figures)
{
    double median = quantile(figures, 0.5), least = figures->all[0], most = figures->all[figures->count - 1];
    if (json)
        printf("{\"row\": \"%s\", \"who\": \"%s\", \"unit\": \"%s\", \"median\": %.6g, \"p25\": %.6g, \"p75\": %.6g, "
               "\"p99\": %.6g, \"least\": %.6g, \"most\": %.6g, \"count\": %d}\n",
               row, who, unit, median, quantile(figures, 0.25), quantile(figures, 0.75), quantile(figures, 0.99),
               least, most, figures->count);
    else
        printf("%-42s %-16s %10.4g %-4s (%.4g .. %.4g, quartiles %.4g and %.4g)\n", row, who, median, unit, least,
               most, quantile(figures, 0.25), quantile(figures, 0.75));
    fflush(stdout);
}

void tell_goal(const char *row, const char *what, double figure, bool at_most, double limit)
{
    bool reached = at_most ? figure <= limit : figure >= limit;
    if (json)
        printf("{\"row\": \"%s\", \"goal\": \"%s %g %s\", \"figure\": %.6g, \"reached\": %s}\n", row,
               at_most ? "<=" : ">=", limit, what, figure, reached ? "true" : "false");
    else
        printf("%-42s goal %s %g %s: %.4g  %s\n", row, at_most ? "<=" : ">=", limit, what, figure,
               quick     ? "(quick run)"
               : reached ? "reached"
                         : "NOT REACHED");
    fflush(stdout);
}

/* -- the command line -- */

static const struct {
    const char *name;
    void (*run)(void);
} groups[] = {
    {"single", rows_single},        {"snapshots", rows_snapshots}, {"readers", rows_readers},
    {"beside", rows_beside_writer}, {"takeover", rows_takeover},   {"file", rows_file},
};

enum { GROUPS = sizeof groups / sizeof groups[0], MOST_ROUNDS = 99, LEAST_KEYS = 2000 };

int main(int argc, char **argv)
{
    bool wanted[GROUPS] = {false}, all = true;
    for (int i = 1; i < argc; i++) {
        int group = 0;
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else if (strcmp(argv[i], "--quick") == 0) {
            quick = true;
            key_count = LEAST_KEYS;
            rounds = 1;
        } else if (strcmp(argv[i], "--keys") == 0 && i + 1 < argc) {
            key_count = (size_t)strtoul(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc) {
            rounds = atoi(argv[++i]);
        } else if (strcmp(argv[i], "--folder") == 0 && i + 1 < argc) {
            file_folder = argv[++i];
        } else if (strcmp(argv[i], "--gigabytes") == 0 && i + 1 < argc) {
            file_gigabytes = strtod(argv[++i], NULL);
        } else {
            while (group < GROUPS && strcmp(argv[i], groups[group].name) != 0)
                group++;
            if (group == GROUPS)
                fail(argv[i], "no such rows: single, snapshots, readers, beside, takeover, file");
            wanted[group] = true;
            all = false;
        }
    }
    if (key_count < LEAST_KEYS || key_count > UINT32_MAX || rounds < 1 || rounds > MOST_ROUNDS)
        fail("usage",
             "region_bench [--json] [--quick] [--keys N] [--rounds N] [--folder F] [--gigabytes N] [ROWS ...]");
    make_orders();
    for (int i = 0; i < GROUPS; i++)
        if (all || wanted[i])
            groups[i].run();
    for (int i = 0; i < 2; i++) {
        free(order[i]);
        free(keys[i]);
    }
    return 0;
}

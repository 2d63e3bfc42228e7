/* figures.c: see figures.h. */
#include "figures.h"

#include <holdfast/status.h>

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

size_t key_count = 1000 * 1000;
int rounds = 5;
bool quick;
const char *file_folder = "/var/tmp";

static const char *name = "bench";
static bool json, cpu_time;

__attribute__((noreturn)) void fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s: %s\n", name, what, why);
    exit(EXIT_FAILURE);
}

int sure(int status)
{
    if (__builtin_expect(status < 0, 0))
        fail("holdfast", hf_status_name(status));
    return status;
}

int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

int64_t spent(void)
{
    struct timespec time;
    if (!cpu_time)
        return now();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

uint64_t mixed(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

void *memory_for(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (memory == NULL)
        fail("calloc", "no memory");
    return memory;
}

uint32_t *shuffled(size_t count, uint64_t seed)
{
    uint32_t *numbers = memory_for(count, sizeof *numbers);
    for (size_t i = 0; i < count; i++)
        numbers[i] = (uint32_t)i;
    for (size_t i = count; i-- > 1;) {
        size_t j = (size_t)(mixed(seed += UINT64_C(0x9e3779b97f4a7c15)) % (i + 1));
        uint32_t held = numbers[i];
        numbers[i] = numbers[j];
        numbers[j] = held;
    }
    return numbers;
}

void make_folder(char path[MAX_PATH])
{
    snprintf(path, MAX_PATH, "%s/hf-bench-XXXXXX", file_folder);
    if (mkdtemp(path) == NULL)
        fail(path, strerror(errno));
}

static int remove_one(const char *path, const struct stat *found, int kind, struct FTW *where)
{
    return remove(path);
}

void remove_folder(const char *path)
{
    enum { DESCRIPTORS = 16 };
    if (nftw(path, remove_one, DESCRIPTORS, FTW_DEPTH | FTW_PHYS) != 0)
        fail(path, strerror(errno));
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

double quantile(const struct figures *figures, double part)
{
    static double sorted[MAX_FIGURES];
    if (figures->count == 0)
        fail("quantile", "no figures");
    memcpy(sorted, figures->all, (size_t)figures->count * sizeof *sorted);
    qsort(sorted, (size_t)figures->count, sizeof *sorted, ascending);
    int at = (int)(part * figures->count);
    return sorted[at < figures->count ? at : figures->count - 1];
}

double ratio(const struct figures *of, const struct figures *to)
{
    static struct figures ratios;
    ratios.count = 0;
    for (int i = 0; i < of->count && i < to->count; i++)
        add_figure(&ratios, of->all[i] / to->all[i]);
    return quantile(&ratios, 0.5);
}

void tell_at(const char *row, size_t size, const char *who, const char *unit, const struct figures *figures)
{
    double median = quantile(figures, 0.5), least = quantile(figures, 0), most = quantile(figures, 1);
    char with[32] = "";
    if (json) {
        if (size != 0)
            snprintf(with, sizeof with, "\"size\": %zu, ", size);
        printf(
            "{\"row\": \"%s\", %s\"who\": \"%s\", \"unit\": \"%s\", \"median\": %.6g, \"p25\": %.6g, \"p75\": %.6g, "
            "\"p99\": %.6g, \"least\": %.6g, \"most\": %.6g, \"count\": %d}\n",
            row, with, who, unit, median, quantile(figures, 0.25), quantile(figures, 0.75), quantile(figures, 0.99),
            least, most, figures->count);
    } else {
        if (size != 0)
            snprintf(with, sizeof with, " %zu", size);
        printf("%-*s%-8s %-16s %10.4g %-4s (%.4g .. %.4g, quartiles %.4g and %.4g)\n", 42 - (size ? 8 : 0), row, with,
               who, median, unit, least, most, quantile(figures, 0.25), quantile(figures, 0.75));
    }
    fflush(stdout);
}

void tell(const char *row, const char *who, const char *unit, const struct figures *figures)
{
    tell_at(row, 0, who, unit, figures);
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

enum { MOST_GROUPS = 16, MOST_ROUNDS = 99, LEAST_KEYS = 2000 };

static size_t group_of(const struct program *program, const char *text)
{
    char names[MAX_PATH] = "no such rows:";
    for (size_t i = 0; i < program->count; i++) {
        if (strcmp(text, program->groups[i].name) == 0)
            return i;
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s %s", i == 0 ? "" : ",", program->groups[i].name);
    }
    fail(text, names);
}

static bool option_with_value(const struct program *program, const char *option, const char *value)
{
    if (strcmp(option, "--keys") == 0)
        key_count = (size_t)strtoul(value, NULL, 10);
    else if (strcmp(option, "--rounds") == 0)
        rounds = atoi(value);
    else if (strcmp(option, "--folder") == 0)
        file_folder = value;
    else
        return program->option != NULL && program->option(option, value);
    return true;
}

int run_program(const struct program *program, int argc, char **argv)
{
    bool wanted[MOST_GROUPS] = {false}, all = true;
    name = program->name;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else if (strcmp(argv[i], "--cpu-time") == 0) {
            cpu_time = true;
        } else if (strcmp(argv[i], "--quick") == 0) {
            quick = true;
            key_count = LEAST_KEYS;
            rounds = 1;
        } else if (i + 1 < argc && option_with_value(program, argv[i], argv[i + 1])) {
            i++;
        } else {
            wanted[group_of(program, argv[i])] = true;
            all = false;
        }
    }
    if (program->count > MOST_GROUPS || key_count < LEAST_KEYS || key_count > UINT32_MAX || rounds < 1 ||
        rounds > MOST_ROUNDS)
        fail("usage", program->usage);
    program->begin();
    for (size_t i = 0; i < program->count; i++)
        if (all || wanted[i])
            program->groups[i].run();
    program->end();
    return 0;
}

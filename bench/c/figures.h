/*
 * figures.h: what the C benchmarks of regions and casks have in common: the clock, figures and their report, the
 * command line.
 *
 *      figures.c       the report; the command line
 *      region_*.c      region_bench (region_rows.h)
 *      cask_*.c        cask_bench (cask_rows.h)
 *
 * A figure is reported on the standard output as text, or as a line of JSON for bench/run.py; a contender that is
 * wrong ends the program.
 */
#ifndef FIGURES_H
#define FIGURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MAX_FIGURES = 4096, MAX_PATH = 512 };

/* Set by the command line. */
extern size_t key_count;
extern int rounds;
extern bool quick;
extern const char *file_folder; /* on the disk that is measured */

__attribute__((noreturn)) void fail(const char *what, const char *why);
int sure(int status); /* of the library: a failure ends the program */
int64_t now(void);    /* nanoseconds */
int64_t spent(void);  /* the same; with --cpu-time, of the processor by this thread alone */
uint64_t mixed(uint64_t x);
void *memory_for(size_t count, size_t size); /* zeroed */

/* The numbers below `count` in an order that the seed decides. */
uint32_t *shuffled(size_t count, uint64_t seed);

/* A new folder in file_folder, for everything that a row writes; and its end, with all that is in it. */
void make_folder(char path[MAX_PATH]);
void remove_folder(const char *path);

/* -- figures -- */

struct figures {
    double all[MAX_FIGURES];
    int count;
};

void add_figure(struct figures *figures, double figure);
double quantile(const struct figures *figures, double part);

/* How many times the one is the other, by round, since what disturbs one disturbs both: the median. */
double ratio(const struct figures *of, const struct figures *to);

/* Tells median, quartiles, least and most; tell_at, of a row that is measured with so many keys. And how a figure
 * stands to its goal. */
void tell(const char *row, const char *who, const char *unit, const struct figures *figures);
void tell_at(const char *row, size_t size, const char *who, const char *unit, const struct figures *figures);
void tell_goal(const char *row, const char *what, double figure, bool at_most, double limit);

/* -- the command line -- */

struct group {
    const char *name;
    void (*run)(void);
};

struct program {
    const char *name;
    const struct group *groups;
    size_t count;
    const char *usage;
    bool (*option)(const char *name, const char *value); /* one of its own; NULL: it has none */
    void (*begin)(void);                                 /* before the first group, */
    void (*end)(void);                                   /* and after the last */
};

int run_program(const struct program *program, int argc, char **argv);

#endif

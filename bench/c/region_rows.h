/*
 * region_rows.h: what the files of region_bench have in common: keys and contenders.
 *
 *      region_bench.c       keys and values; the command line
 *      region_contend.c     contenders: a region, LMDB twice, the map that stands on regions
 *      region_single.c      rows of one process: puts, gets, memory, growth, pins, snapshots
 *      region_processes.c   rows of several: scaling, a reader beside a writer, taking over from a killed one
 *      region_file.c        rows of a region in a file
 *
 * Figures and their report: figures.h.
 */
#ifndef REGION_ROWS_H
#define REGION_ROWS_H

#include "figures.h"

#include "base/hash.h"
#include "region/region.h"

#include <holdfast/status.h>

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KEY = 12, VALUE = 64 };

/* Set by the command line. */
extern double file_gigabytes; /* of the file that is opened after a kill */

/* 0 .. key_count - 1 in one of two orders; and the keys of these numbers, a row of 12 digits each, in that order. */
enum { PUT_ORDER, GET_ORDER };
extern uint32_t *order[2];
extern char (*keys[2])[KEY];
void make_orders(void);

/* The value of a key in a version; the same but found: anything else ends the program. */
void fill_key(uint64_t number, char key[KEY]);
void fill_value(uint64_t number, uint64_t version, uint64_t value[VALUE / 8]);

static inline void expect(uint64_t number, uint64_t version, const void *found, size_t size)
{
    uint64_t differences = size ^ VALUE, first = number * 31 + version;
    for (uint64_t i = 0; i < VALUE / 8 && size == VALUE; i++) {
        uint64_t word;
        __builtin_memcpy(&word, (const char *)found + 8 * i, 8);
        differences |= word ^ (first + i);
    }
    if (__builtin_expect(differences != 0, 0))
        fail("a look-up", "gave another value");
}

/* -- contenders (region_contend.c) -- */

struct contender {
    const char *name;
    void (*open)(void);
    void (*close)(void);
    void (*begin)(void);
    void (*put)(const char key[KEY], uint64_t number, uint64_t version);
    void (*commit)(void);
    int64_t (*get_all)(const uint32_t *numbers, char (*of)[KEY]); /* nanoseconds; version 0 */
    void (*hold)(void);                                           /* a reader that stays */
    void (*release)(void);
    double (*megabytes)(void);
};

extern struct contender contenders[];
extern const int
    contender_count; /* the region is the first, the map on it the last; LMDB, where it is there, between */

extern hf_region *region;
hf_key region_key(const char bytes[KEY]);
void put_all(struct contender *who, size_t batch);

/* -- rows -- */

void rows_single(void);
void rows_snapshots(void);
void rows_readers(void);
void rows_beside_writer(void);
void rows_takeover(void);
void rows_file(void);

#endif

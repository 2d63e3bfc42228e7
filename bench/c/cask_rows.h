/*
 * cask_rows.h: what the files of cask_bench have in common: keys, values, contenders.
 *
 *      cask_bench.c       keys and values; the command line
 *      cask_contend.c     contenders: a cask, LevelDB, LMDB, an array in memory, one write() a record
 *      cask_single.c      rows of one thread: puts, batches, gets, snapshots, gets by the number of keys
 *      cask_merge.c       keys written over while files are merged: speed, the slowest puts, bytes written
 *      cask_durable.c     puts that are durable when they return, of 1 and of 64 threads
 *      cask_memory.c      bytes of memory a key
 *      cask_reopen.c      opening: closed, killed, with keydir and hints lost
 *      cask_ycsb.c        mixes of reads and updates
 *
 * Figures and their report: figures.h.
 */
#ifndef CASK_ROWS_H
#define CASK_ROWS_H

#include "figures.h"

#include <holdfast/cask.h>

#include <string.h>

/* As db_bench of LevelDB has them. A record of the log is a header of 32 bytes, key and value, in units of 8. */
enum { KEY = 16, VALUE = 100, RECORD = 152, BATCH = 1000 };

/* 0 .. key_count - 1 in one of two orders; and the keys of these numbers, of 16 digits each, in that order. */
enum { PUT_ORDER, GET_ORDER };
extern uint32_t *order[2];
extern char (*keys[2])[KEY];

void fill_key(uint64_t number, char key[KEY]);

/* The value of a key in a version: no two are alike, nor can they be compressed. */
enum { WORDS = (VALUE + 7) / 8 };

static inline uint64_t value_word(uint64_t first, uint64_t i)
{
    return (first + i) * UINT64_C(0x9e3779b97f4a7c15);
}

static inline uint64_t first_word(uint64_t number, uint64_t version)
{
    return (number << 32 | version) * UINT64_C(0xd1342543de82ef95);
}

static inline void fill_value(uint64_t number, uint64_t version, unsigned char value[VALUE])
{
    uint64_t words[WORDS], first = first_word(number, version);
    for (uint64_t i = 0; i < WORDS; i++)
        words[i] = value_word(first, i);
    memcpy(value, words, VALUE);
}

/* The same but found: anything else ends the program. */
static inline void expect(uint64_t number, uint64_t version, const void *found, size_t size)
{
    uint64_t differences = size ^ VALUE, first = first_word(number, version);
    for (uint64_t i = 0; i < VALUE / 8 && size == VALUE; i++) {
        uint64_t word;
        memcpy(&word, (const char *)found + 8 * i, 8);
        differences |= word ^ value_word(first, i);
    }
    if (size == VALUE && VALUE % 8 != 0) {
        uint64_t word = value_word(first, VALUE / 8);
        differences |= (uint64_t)memcmp(&word, (const char *)found + VALUE / 8 * 8, VALUE % 8);
    }
    if (__builtin_expect(differences != 0, 0))
        fail("a look-up", "gave another value");
}

/* -- contenders (cask_contend.c) -- */

/* In which order they are in `contenders`, where they are there. */
enum who { CASK, LEVELDB, LMDB, LMDB_ONE, ARRAY, RAW, CONTENDERS };

struct contender {
    const char *name;
    bool there;
    void (*open)(const char *folder); /* what is in it, or else something new */
    void (*close)(void);
    void (*put)(const char *key, size_t key_size, const void *value);
    void (*add)(const char *key, size_t key_size, const void *value);   /* to a batch, */
    void (*commit)(void);                                               /* which is written */
    void (*enter)(void);                                                /* before gets that follow each other */
    const void *(*get)(const char *key, size_t key_size, size_t *size); /* NULL: it is not there */
    void (*got)(void);                                                  /* what get gave is of no more use */
    void (*leave)(void);                                                /* after them */
    void (*settle)(void);                                               /* does what would have to be done later */
};

extern const struct contender contenders[CONTENDERS];

extern hf_cask *cask;
extern hf_cask_options cask_options; /* of the next open */
extern bool durable;                 /* LevelDB's puts: as from the next open on */

/* So many keys, version 0: in batches, or in a put each. And: each is there, in that version (NULL: 0). */
void put_all(const struct contender *who, size_t batch);
void expect_all(const struct contender *who, const uint32_t *versions);

/* The same of `count` keys from the `first` of a row of them on; the row begins anew where it ends. */
void get_some(const struct contender *who, const uint32_t *numbers, char (*of)[KEY], size_t length, size_t first,
              size_t count);

/* Opens a new one in a folder that is made; and closes it, and removes that. One of each at a time. */
void begin_new(const struct contender *who);
void reopen(const struct contender *who);
void end_new(const struct contender *who);
const char *folder_of(const struct contender *who);

/* -- rows -- */

void rows_put(void);
void rows_get(void);
void rows_sizes(void);
void rows_merge(void);
void rows_durable(void);
void rows_memory(void);
void rows_reopen(void);
void rows_ycsb(void);

#endif

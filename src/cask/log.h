/*
 * log.h: log files: one that is written to, and those that are only read.
 *
 *      hf_log_file      one file, mapped to read: all of it, or, while it is written to, as far as it may ever get
 *      hf_log_set       files by their numbers; never changes: another one takes its place. Readers look into it without a lock
 *      hf_log_writer    appends to one
 *
 * A log file has no descriptor but the one it is written with: the mapping keeps it, whatever becomes of its name.
 *
 * Writing is pwrite at the end of what was written. Where every record is synced (`ahead`), zeros are written ahead in steps, so that an
 * fdatasync finds blocks that were written before and has no metadata to write (measured in docs/adr); a file is cut to its records when it is sealed.
 *
 * Concurrency: a file and a set are counted, atomically, and constant but for `end`; a writer belongs to who holds the cask's lock.
 * Failure: all or nothing: after a write that failed the end is where it was, and what was written behind it is cut, or
 * written over by the next. After a failed flush the writer is broken for good.
 */
#ifndef HF_CASK_LOG_H
#define HF_CASK_LOG_H

#include "cask/record.h"

typedef struct hf_log_file {
    _Atomic unsigned count; /* of owners */
    uint32_t number;
    uint32_t kind;
    hf_log_salt salt;
    const unsigned char *bytes;
    uint64_t mapped;
    _Atomic uint64_t end; /* up to here there are records */
} hf_log_file;

/* The path of a file: FOLDER/0000000001.log; `folder` is a descriptor of the folder in all that follows. */
enum { HF_LOG_NAME_SIZE = 24 };
void hf_log_name(uint32_t number, const char *suffix, char out[HF_LOG_NAME_SIZE]);

/* Maps a file that is there, up to `size` bytes (0: all of it), and looks at its head. HF_ABSENT, HF_NOT_CASK, HF_FORMAT, HF_CORRUPT (another's number or id). */
int hf_log_open(int folder, const uint64_t id[2], uint32_t number, uint64_t size, hf_log_file **out);
void hf_log_keep(hf_log_file *file);
void hf_log_drop(hf_log_file *file); /* NULL too */

typedef struct hf_log_set {
    _Atomic unsigned count; /* of owners */
    uint32_t files;
    uint32_t mask;
    hf_log_file *slot[]; /* by number, open addressing; NULL: free */
} hf_log_set;

/* Another set: what `old` (NULL: nothing) has, without `without` (0: nothing) and with `with` (NULL: nothing). */
int hf_log_set_change(const hf_log_set *old, uint32_t without, hf_log_file *with, hf_log_set **out);
void hf_log_set_keep(hf_log_set *set);
void hf_log_set_drop(hf_log_set *set);

static inline hf_log_file *hf_log_set_find(const hf_log_set *set, uint32_t number)
{
    for (uint32_t i = number & set->mask;; i = (i + 1) & set->mask)
        if (set->slot[i] == NULL || set->slot[i]->number == number)
            return set->slot[i];
}

typedef struct hf_log_writer {
    int fd;
    hf_log_file *file;
    uint64_t end;     /* of the records */
    uint64_t written; /* of the file: zeros behind `end` included */
    uint64_t synced;  /* all before it is on the disk */
    uint64_t step;    /* bytes of zeros to write ahead; 0: none */
    uint64_t total;   /* bytes written to it, ever */
    int broken;       /* the errno of a flush that failed, negative; else 0 */
} hf_log_writer;

/* Makes a new file, mapped up to `most` bytes; its name is durable after the next sync of the folder. HF_EXISTS. */
int hf_log_create(int folder, const uint64_t id[2], uint32_t number, enum hf_log_kind kind, int64_t time, uint64_t most,
                  uint64_t step, hf_log_writer *out);

/* To go on with a file whose records end at `end`: what is behind them is cut. `synced`: what is known. */
int hf_log_resume(int folder, hf_log_file *file, uint64_t end, uint64_t synced, uint64_t step, hf_log_writer *out);

/* Appends: the file's `end` is moved by who publishes it. HF_NOSPACE, HF_IO. */
int hf_log_append(hf_log_writer *writer, const void *bytes, size_t size);

/* Everything before writer->end is on the disk. May be called without the cask's lock by one thread at a time, for `upto`, an end seen with it. HF_BROKEN. */
int hf_log_flush(hf_log_writer *writer, uint64_t upto);

/* Cuts the file to its records and flushes; closes the descriptor, keeps the file. */
int hf_log_seal(hf_log_writer *writer);
void hf_log_writer_close(hf_log_writer *writer);

#endif

/*
 * log.h: log files: one that is written to, and those that are only read.
 *
 *      hf_log_file      one file, mapped to read: all of it, or, while it is written to, as far as it may ever get
 *      hf_log_set       files by their numbers; never changes: another one takes its place. Readers look into it
 *                       without a lock
 *      hf_log_writer    appends to one
 *
 *      | head | record | record | ... | record | 0 0 0 0 0 0 0 |                               |
 *      0                              ^ synced ^ end           ^ written: of the file          ^ mapped
 *
 * A log file has no descriptor but the one it is written with: the mapping keeps it, whatever becomes of its name.
 * Who reads looks at bytes before `hf_log_file.end` only: behind the end of the file the mapping kills.
 *
 * Writing is one pwrite at the end of what was written. Where every record is synced (`step`), zeros are written
 * ahead in steps, so that an fdatasync finds blocks that were written before and has no metadata to write; a file is
 * cut to its records when it is sealed.
 *
 * Invariants
 *  A1  synced <= end <= written <= mapped. The file has `written` bytes; those from `end` on are zeros, or
 *      nothing is there; unless an append has failed and the file could not be cut (`torn`): then nothing is appended
 *      before it is.
 *  A2  What an append that failed has left behind `end` is never before the end of a later one: it is cut first. On a
 *      disk that loses power before the cut is there, records of it may be found behind later ones nevertheless, and
 *      none of them is the last of its append. So who never uses a sequence number of an append that failed for
 *      another record can tell.
 *  A3  `synced` grows by a flush that succeeded only; after one that failed, never again (`broken`). A cut sets it
 *      back, so that the next flush is made: the length is to be durable too.
 *
 * Concurrency: a file and a set are counted, atomically, and constant but for `end`. A writer belongs to who holds
 * the cask's lock, but for hf_log_flush, which one thread at a time may call without it, while others append; it
 * touches `synced` and `broken` only. Who seals or closes sees to it that no flush is under way.
 *
 * Failure: HF_NOMEM, HF_IO, HF_NOSPACE and what else is said below. All or nothing: after a write that failed the end
 * is where it was. After a failed flush the writer is broken for good: HF_BROKEN.
 */
#ifndef HF_CASK_LOG_H
#define HF_CASK_LOG_H

#include "cask/record.h"

typedef struct hf_log_file {
    _Atomic unsigned count; /* of owners */
    uint32_t number;
    uint32_t kind; /* enum hf_log_kind */
    hf_log_salt salt;
    const unsigned char *bytes;
    uint64_t mapped;
    _Atomic uint64_t end; /* up to here there are records */
    uint64_t created;     /* milliseconds since 1970 */
    uint64_t after;       /* as in its head */
} hf_log_file;

/* The name of a file: 0000000001.log. `folder` is a descriptor of its folder in all that follows. */
#define HF_LOG_SUFFIX ".log"
#define HF_HINT_SUFFIX ".hint"
#define HF_NEW_SUFFIX ".new" /* behind another name: being written */
enum { HF_LOG_NAME_SIZE = 24 };
void hf_log_name(uint32_t number, const char *suffix, char out[HF_LOG_NAME_SIZE]);

/* The number of a name with that suffix, or 0: it is none that hf_log_name gives. */
uint32_t hf_log_name_number(const char *name, const char *suffix);

/*
 * Maps a file that is there, at least `size` bytes of address (0: as long as the file is), and looks at its head. Its
 * `end` is that of the file: who reads a file that is being written moves it.
 *
 * HF_ABSENT; HF_NOT_CASK, HF_FORMAT; HF_CORRUPT: the head is damaged, or not there yet, or has another cask's id, or
 * another number; HF_DENIED; HF_LIMIT: it is larger than a log file can be.
 */
int hf_log_open(int folder, const uint64_t id[2], uint32_t number, uint64_t size, hf_log_file **out);

/*
 * The same, whatever its head says: for what is left of a file whose head is damaged. Its records say themselves
 * whose they are.
 */
int hf_log_open_damaged(int folder, const uint64_t id[2], uint32_t number, enum hf_log_kind kind, uint64_t size,
                        hf_log_file **out);

void hf_log_keep(hf_log_file *file);
void hf_log_drop(hf_log_file *file); /* NULL too */

typedef struct hf_log_set {
    _Atomic unsigned count; /* of owners */
    uint32_t files;
    uint32_t mask;
    hf_log_file *slot[]; /* by number, open addressing; NULL: free. One at least is */
} hf_log_set;

/*
 * Another set: what `old` (NULL: nothing) has, without `without` (0: nothing; it need not be there) and with `with`
 * (NULL: nothing), in place of a file with its number. It has counts of its own of all its files.
 */
int hf_log_set_change(const hf_log_set *old, uint32_t without, hf_log_file *with, hf_log_set **out);
void hf_log_set_keep(hf_log_set *set);
void hf_log_set_drop(hf_log_set *set); /* NULL too */

/* The file, or NULL; borrowed from the set. */
static inline hf_log_file *hf_log_set_find(const hf_log_set *set, uint32_t number)
{
    for (uint32_t i = number & set->mask;; i = (i + 1) & set->mask)
        if (set->slot[i] == NULL || set->slot[i]->number == number)
            return set->slot[i];
}

typedef struct hf_log_writer {
    int fd;                  /* -1: it is sealed */
    hf_log_file *file;       /* the writer has a count of it */
    uint64_t end;            /* of the records */
    uint64_t written;        /* of the file: zeros behind `end` included */
    uint64_t step;           /* bytes of zeros to write ahead; 0: none */
    uint64_t limit;          /* this process's limit of a file's size: past it the system would kill */
    uint64_t total;          /* bytes written to it by this writer, zeros too */
    bool torn;               /* what is behind `end` has to be cut before anything is written there */
    _Atomic uint64_t synced; /* all before it is on the disk */
    _Atomic int broken;      /* the errno of a flush that failed, negative; else 0 */
} hf_log_writer;

/*
 * Makes a new file, mapped up to `most` bytes, with its head (`after`: as there); nothing of it is durable: a flush
 * makes its bytes so, and a sync of the folder its name. It has mode 0600. HF_EXISTS, HF_DENIED, HF_READ_ONLY. Where
 * it fails there is no file.
 */
int hf_log_create(int folder, const uint64_t id[2], uint32_t number, enum hf_log_kind kind, int64_t time,
                  uint64_t after, uint64_t most, uint64_t step, hf_log_writer *out);

/*
 * To go on with a file whose records end at `end`: what is behind them is cut, and that is durable when this returns.
 * `synced`: what is known, not behind `end`. `file` is to be mapped as far as it may get; the writer takes a count of
 * its own. HF_CORRUPT: it is shorter than that. HF_BROKEN: the cut could not be flushed.
 */
int hf_log_resume(int folder, hf_log_file *file, uint64_t end, uint64_t synced, uint64_t step, hf_log_writer *out);

/*
 * Appends, and moves writer->end; the file's `end`, which readers see, is moved by who publishes it. HF_NOSPACE;
 * HF_LIMIT: it does not fit what is mapped; HF_BROKEN.
 */
int hf_log_append(hf_log_writer *writer, const void *bytes, size_t size);

/*
 * Everything before `upto`, a value that writer->end had, is on the disk when this returns; no system call if that is
 * known. May be called without the cask's lock, by one thread at a time. HF_BROKEN.
 */
int hf_log_flush(hf_log_writer *writer, uint64_t upto);

/* Cuts the file to its records, without a flush: before a reader may be sent past it. */
int hf_log_cut(hf_log_writer *writer);

/*
 * Cuts the file to its records, flushes it, closes the descriptor. After a failure it is as it was, but for what was
 * cut; HF_BROKEN: the flush failed.
 */
int hf_log_seal(hf_log_writer *writer);

/* Closes the descriptor, if it is not sealed, and drops the file. Nothing is flushed or cut. */
void hf_log_writer_close(hf_log_writer *writer);

#endif

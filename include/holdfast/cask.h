/*
 * cask.h: hf_cask, a dict on disk: an append-only log of records, and an index of it that is there at once.
 *
 *      put(k, v) ---> [ 0000000007.log | ... | k v ]          every record that was ever written, until it is merged
 *                                            ^
 *      get(k) ------> [ keydir: k's place ] -+                a hash trie in a file beside the log, versions of it shared
 *                                                             by all processes (Bitcask, by Sheehy and Smith, 2010, is the model)
 *
 * A folder is a cask. One process at a time writes to it, any number read it while it does, and see what it has put
 * as soon as put returns. Keys and values are bytes here; Python's Cask, which has more types, sees them as bytes, and what it
 * put under other keys and values, C sees only as it is encoded (docs/format/value.md).
 *
 * What survives. The death of the process, kill -9 at any moment: all that put, delete or commit had returned for. A power
 * cut or a crash of the system: all that was synced; of what came later the first so many records in the order in which they were written, a batch whole or not
 * at all. When it is synced is the option `sync`. Nothing that was deleted comes back, in any case.
 *
 * Expiry. A record may have a time to live. Time is the system's clock, which the cask never lets go backwards: where that is set back, the cask's stands still until
 * it has caught up, so what has expired stays so. A key has expired from the millisecond its time is over.
 *
 * Times to wait are in nanoseconds: 0, not at all; negative, for ever. Times to live and moments are in milliseconds.
 *
 * Threads: all functions of a cask may be called at once from any thread, except hf_cask_close. A batch belongs to one
 * thread at a time; a snapshot may be read by several. Unless told otherwise the cask has a thread of its own: it writes the keydir, syncs,
 * merges. Not from signal handlers; no thread may be cancelled inside a call.
 *
 * fork: a child has none of it: all calls say HF_LOST but the closes and ends, which free memory. It opens the cask again,
 * to read while its parent writes.
 *
 * Statuses that any call may give: HF_NOMEM; HF_IO, a system call failed (hf_os_errno has which way); HF_CORRUPT, what
 * was read is not what was written; HF_LIMIT: a key of 16 MiB or more, a value of 4 GiB, a batch of 8 GiB; HF_LOST. Of calls that write:
 * HF_DENIED, it is open for reading; HF_NOSPACE, nothing has changed, try again when there is space; HF_BROKEN: a flush
 * has failed, what was written before may be lost, so nothing more is written until it is closed and opened again.
 *
 * A medium that fails, or another program that shortens a log file, kills who reads it by SIGBUS: files are mapped.
 */
#ifndef HOLDFAST_CASK_H
#define HOLDFAST_CASK_H

#include <holdfast/api.h>
#include <holdfast/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

HF_BEGIN_DECLS

typedef struct hf_cask hf_cask;
typedef struct hf_cask_batch hf_cask_batch;
typedef struct hf_cask_snapshot hf_cask_snapshot;

typedef enum hf_cask_mode {
    HF_CASK_WRITE,  /* made where it is not there */
    HF_CASK_CREATE, /* it must not be there: else HF_EXISTS */
    HF_CASK_READ,   /* it must be there: else HF_ABSENT; nothing in the folder is changed but the keydir's lock file */
} hf_cask_mode;

typedef enum hf_cask_sync {
    HF_CASK_SYNC_NONE,     /* by hf_cask_sync, when it is closed, and when about `checkpoint` bytes have come together */
    HF_CASK_SYNC_PUT,      /* before a put, delete or commit returns, or anybody sees it; those of several threads at once share a flush */
    HF_CASK_SYNC_INTERVAL, /* at the latest so long after it */
} hf_cask_sync;

/* When log files are worth merging (as in Riak's Bitcask). A number that is 0 is the default; HF_CASK_NEVER: not for this reason. */
#define HF_CASK_NEVER UINT64_MAX

typedef struct hf_cask_merging {
    /* One of these, of any file, begins it: */
    uint64_t fragmentation_trigger; /* percent of its records that no longer count; 60 */
    uint64_t dead_bytes_trigger;    /* half of max_file_size */
    /* And then these say which files: */
    uint64_t fragmentation_threshold; /* percent; 40 */
    uint64_t dead_bytes_threshold;    /* a quarter of max_file_size */
    uint64_t small_file_threshold;    /* bytes; an eighth of max_file_size */
    uint64_t expiry_grace;            /* milliseconds: a file all of whose records expired so long ago; 0 */
    uint64_t rate;                    /* bytes a second that it reads at most; 0: no limit */
    bool by_call;                     /* only hf_cask_merge merges, no thread does */
} hf_cask_merging;

/* All 0: as with NULL. */
typedef struct hf_cask_options {
    hf_cask_mode mode;
    hf_cask_sync sync;
    int64_t interval;       /* of HF_CASK_SYNC_INTERVAL; 0: a second */
    uint64_t max_file_size; /* a log file that would get longer is sealed, and a new one begun; 0: 64 MiB. 4 KiB to 8 GiB */
    int64_t ttl;            /* of records that are put without one; 0: they do not expire */
    bool keydir_in_memory;  /* the keydir is this process's alone: nobody else can open the cask, and it is made from the log when it is opened */
    uint64_t checkpoint;    /* the keydir is written to its file when so many bytes of log have come together; 0: twice its size, 16 to 512 MiB */
    bool no_thread;         /* the cask has no thread: what it would do is done within the calls that make it due */
    hf_cask_merging merging;
} hf_cask_options;

/* -- open and close -- */

/*
 * Opens the cask in this folder, and makes the folder where that is asked for (its parent must be there). NULL for
 * options: to write. A folder that has something else in it is left alone.
 *
 * What a crash has interrupted is seen to: see docs/recovery.md. Costs, where it was closed: a few system calls; after a kill, what
 * was written since the last checkpoint is read; without a keydir, the hints, or the log at memory's speed.
 *
 * HF_ABSENT, HF_EXISTS; HF_BUSY: another process, or this one, has it open to write, or has its keydir in memory; HF_NOT_CASK: in the folder is something else;
 * HF_FORMAT: of another version; HF_NETWORK; HF_READ_ONLY; HF_DENIED; HF_INVALID: an option. *out is set on success alone.
 */
HF_API HF_MUST_CHECK int hf_cask_open(const char *path, const hf_cask_options *options, hf_cask **out);

/* Syncs, writes the keydir, closes. HF_BUSY, and nothing is closed, while there are snapshots or batches; any other
 * status says that something may not be durable, and it is closed. NULL is closed already. */
HF_API int hf_cask_close(hf_cask *cask);

/* Borrowed until the close. */
HF_API const char *hf_cask_path(const hf_cask *cask);

/* -- single steps -- */

/* ttl: milliseconds; 0: the cask's own */
#define HF_CASK_FOR_EVER INT64_C(-1)

/* Costs one write of the record. HF_INVALID: a ttl below HF_CASK_FOR_EVER. */
HF_API HF_MUST_CHECK int hf_cask_put(hf_cask *cask, const void *key, size_t key_size, const void *value,
                                     size_t value_size, int64_t ttl);

/* 1: it is gone; 0: it was not there, and nothing is written. */
HF_API HF_MUST_CHECK int hf_cask_delete(hf_cask *cask, const void *key, size_t key_size);

/* Memory for what a get gives out, the caller's: all 0 to begin with, used again from call to call. */
typedef struct hf_cask_room {
    void *bytes;
    size_t size;
} hf_cask_room;

HF_API void hf_cask_room_clear(hf_cask_room *room);

/* 1 and the value, or 0. It is in `room`: good until that is used again or cleared. room, value and value_size may be NULL: is the
 * key there? No system call while nothing new has been written; never waits for a writer. */
HF_API HF_MUST_CHECK int hf_cask_get(hf_cask *cask, const void *key, size_t key_size, hf_cask_room *room,
                                     const void **value, size_t *value_size);

/* What is known of a key's record. */
typedef struct hf_cask_info {
    uint64_t sequence;
    int64_t inserted; /* milliseconds since 1970, by the cask's clock */
    int64_t expires;  /* INT64_MAX: never */
    uint32_t file;    /* number of the log file */
    uint64_t offset;  /* in it */
    uint64_t size;    /* of the record, in bytes */
    uint64_t value_size;
} hf_cask_info;

/* 1 or 0. */
HF_API HF_MUST_CHECK int hf_cask_info_get(hf_cask *cask, const void *key, size_t key_size, hf_cask_info *out);

/* How many keys. At once where no record expires; else each is looked at. What was put since it was last asked for is
 * looked up. */
HF_API HF_MUST_CHECK int hf_cask_count(hf_cask *cask, uint64_t *out);

/* All that was put before is durable when this returns. Costs a flush, if there is anything. */
HF_API HF_MUST_CHECK int hf_cask_sync_now(hf_cask *cask);

/* -- batches: all or nothing, whatever happens -- */

/* Kept in memory until it is committed; others see nothing of it, nor does hf_cask_get. */
HF_API HF_MUST_CHECK int hf_cask_batch_begin(hf_cask *cask, hf_cask_batch **out);
HF_API HF_MUST_CHECK int hf_cask_batch_put(hf_cask_batch *batch, const void *key, size_t key_size, const void *value,
                                           size_t value_size, int64_t ttl);
/* Whether the key is there or not. */
HF_API HF_MUST_CHECK int hf_cask_batch_delete(hf_cask_batch *batch, const void *key, size_t key_size);

/* Writes it, in one write, and makes it visible in one step; the batch is empty then, and can be filled again. Where it
 * fails the batch is as it was, and can be committed again or ended. */
HF_API HF_MUST_CHECK int hf_cask_batch_commit(hf_cask_batch *batch);

/* Forgets what was not committed, and frees it. NULL is ended already. */
HF_API void hf_cask_batch_end(hf_cask_batch *batch);

/* -- snapshots -- */

/*
 * The cask as it is now, for as long as one likes. O(1), never waits for a writer or a merge, nor they for it; any number. Log files that it
 * needs stay until it is ended. What expires, expires in it too. To be ended before the cask is closed.
 */
HF_API HF_MUST_CHECK int hf_cask_snapshot_begin(hf_cask *cask, hf_cask_snapshot **out);
HF_API void hf_cask_snapshot_end(hf_cask_snapshot *snapshot);

/* 1 and the value, or 0. It points into the log, and is good until the end of the snapshot. */
HF_API HF_MUST_CHECK int hf_cask_snapshot_get(hf_cask_snapshot *snapshot, const void *key, size_t key_size,
                                              const void **value, size_t *value_size);
HF_API HF_MUST_CHECK int hf_cask_snapshot_count(hf_cask_snapshot *snapshot, uint64_t *out);

/* Is told of an entry. 0 to go on; anything else ends the walk, and is what that returns. */
typedef int (*hf_cask_visit)(void *arg, const void *key, size_t key_size, const void *value, size_t value_size,
                             const hf_cask_info *info);

/* Every entry once, in no particular order. What is pointed to is good until the end of the snapshot. */
HF_API HF_MUST_CHECK int hf_cask_snapshot_walk(hf_cask_snapshot *snapshot, hf_cask_visit visit, void *arg);

/* The same of the cask as it is now: Bitcask's fold. */
HF_API HF_MUST_CHECK int hf_cask_fold(hf_cask *cask, hf_cask_visit visit, void *arg);

/* -- merging -- */

/* What merging has done since the cask was opened. */
typedef struct hf_cask_merged {
    uint64_t files;   /* log files merged away */
    uint64_t copied;  /* bytes of records that still count */
    uint64_t dropped; /* bytes that no longer did */
} hf_cask_merged;

/* Is there a file that the options say is worth it? What is dead is known as of the last checkpoint. 1 or 0; HF_BUSY: hf_cask_merge is at it. */
HF_API HF_MUST_CHECK int hf_cask_needs_merge(hf_cask *cask);

/*
 * Merges the files that are worth it, one by one, at most `files` of them (0: all). Writers and readers go on. Takes space for one log
 * file at most. A file goes when nobody can look at it any more: at once where there is no snapshot, else later.
 * *out, which may be NULL: what was done. HF_BUSY: this is being done. HF_CORRUPT: a file that was worth it is damaged; it stays as it is
 * (hf_cask_check says where, hf_cask_salvage is for what is left of it), and the others are merged.
 */
HF_API HF_MUST_CHECK int hf_cask_merge(hf_cask *cask, unsigned files, hf_cask_merged *out);

/* -- looking after -- */

typedef struct hf_cask_file {
    uint32_t number;
    bool active; /* being written to */
    bool merged; /* by a merge */
    uint64_t keys, dead_keys;
    uint64_t bytes, dead_bytes;
    unsigned fragmentation; /* percent of its keys that are dead */
} hf_cask_file;

typedef struct hf_cask_status {
    uint64_t keys;
    uint64_t files;
    uint64_t bytes, dead_bytes;
    uint64_t sequence;     /* of the newest record */
    uint64_t synced;       /* of the last that survives a power cut, as far as is known */
    uint64_t keydir_bytes; /* memory or file that the keydir takes */
    uint64_t tail_bytes;   /* memory that what is not in it yet takes */
    uint64_t written;      /* bytes since it was opened: records, merges, hints, manifests, */
    uint64_t written_keydir; /* and the keydir's, as far as is known */
    hf_cask_merged merged;
    bool recovered;      /* it had not been closed, */
    uint64_t cut;        /* and so many bytes at its end were of records that a crash had interrupted */
    uint64_t lost;       /* bytes in which damage was found */
    bool broken;
} hf_cask_status;

/* `visit`, which may be NULL, is told of each log file, by number. 0 to go on. */
HF_API HF_MUST_CHECK int hf_cask_status_get(hf_cask *cask, hf_cask_status *out,
                                            int (*visit)(void *arg, const hf_cask_file *file), void *arg);

/* What is wrong with a cask: in file `number` (0: in none), the bytes from `at` on, `size` of them. */
typedef struct hf_cask_fault {
    const char *what; /* a constant text */
    uint32_t file;
    uint64_t at, size;
} hf_cask_fault;

/* Is told of each fault, and of progress (then `fault` is NULL). 0 to go on. */
typedef int (*hf_cask_report)(void *arg, const hf_cask_fault *fault, uint64_t done, uint64_t of);

/* Reads everything: every record of every file, hints, manifest, keydir, and whether they say the same. 0: nothing is wrong;
 * HF_CORRUPT: `report` was told what; or what `report` returned. Writers go on meanwhile; merges wait. HF_BUSY: hf_cask_merge is at it. */
HF_API HF_MUST_CHECK int hf_cask_check(hf_cask *cask, hf_cask_report report, void *arg);

/*
 * A copy in another folder, which must not be there (HF_EXISTS): of the moment at which it began, durable when this returns. Sealed files are hard links where
 * that can be. Whole, or, after a failure or a crash, not there (but perhaps a folder PATH.new-...). It has no keydir: that is made when it is opened.
 * A process that reads may do this too. Merges wait for it. HF_BUSY: hf_cask_merge is at it.
 */
HF_API HF_MUST_CHECK int hf_cask_backup(hf_cask *cask, const char *path);

/*
 * Of a cask that may be damaged anyhow, manifest and all, and that nobody has open: makes another one, in a folder that must not be there, of every record
 * that is whole; of each key the newest one. `report` is told of what is lost. 0, also where something is lost.
 */
HF_API HF_MUST_CHECK int hf_cask_salvage(const char *from, const char *to, hf_cask_report report, void *arg);

HF_END_DECLS

#endif

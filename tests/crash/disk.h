/*
 * disk.h: a simulated disk behind the table of base/os.h.
 *
 *     code under test
 *        |  hf_os_pwrite, hf_os_fdatasync, hf_os_rename, ...
 *        v
 *     the disk's table ---- the call is made, natively, on a real file in a scratch folder: that is the page cache.
 *        |                  So mappings, locks, directories and descriptors are the system's own.
 *        +----------------- what it changed goes into the trace and into the state (state.h): that is the disk.
 *
 *     <scratch>/pool/<inode>    every file, whether it has a name or not
 *     <scratch>/root/...        the names: links to the pool, and real folders
 *
 * A disk is *loaded* with a state, such as a crash image: its folder then holds that
 * state, the trace is empty, and what is not durable in the state can still be lost. Only
 * blocks that differ from what the folder holds are written, so that an image after
 * another costs what differs.
 *
 * Loading a state after a power cut gives it a new boot id
 * (/proc/sys/kernel/random/boot_id, as far as it is read through the table).
 *
 * Flushes are not made: the state says what they would have done. hf_disk_fail_flush
 * makes one fail as a kernel does, which drops what could not be written: see `adrift` in
 * state.h. (A flush that base/fault.h fails is not made, and the next may make up for it.)
 *
 * What it cannot model it refuses, with -EOPNOTSUPP and a word on stderr: O_SYNC, O_DSYNC
 * and O_APPEND; collapsing and inserting ranges. Symbolic links are followed but not
 * recorded. Stores through a mapping are not seen (unless hf_disk_watch was called); a file with a writable shared
 * mapping comes out of a power cut with anything in it.
 *
 * Invariants
 *   D1  While nobody writes to the folder behind the table, it holds `state`'s now.
 *   D2  Applying the trace to a clone of `start` gives `state`.
 *
 * Concurrency: several threads may be in the table; a mutex orders them, so that the
 * trace has the order of the effects. One process: a forked child must hf_disk_use(NULL).
 * Failure: none of its own (support.h); the calls fail as the system says.
 */
#ifndef HF_CRASH_DISK_H
#define HF_CRASH_DISK_H

#include "state.h"

struct hf_disk;

/*
 * In a new folder of `parent`, or with NULL of $HOLDFAST_CRASH_DIR, or of /dev/shm, or of
 * /tmp; empty. A forked child must not free it.
 */
struct hf_disk *hf_disk_new(const char *parent);
void hf_disk_free(struct hf_disk *disk);

/* The folder for the code under test. */
const char *hf_disk_root(const struct hf_disk *disk);

/*
 * Hold this state. `power`: after a power cut, so with a new boot id. Descriptors that are
 * still open on the disk are closed: how many there were.
 */
unsigned hf_disk_load(struct hf_disk *disk, const struct hf_state *state, bool power);

/* Send OS calls to this disk (NULL: to the system); the one that was in use. */
struct hf_disk *hf_disk_use(struct hf_disk *disk);

/* What was done since it was loaded; what it was loaded with; what it has come to. */
const struct hf_trace *hf_disk_trace(const struct hf_disk *disk);
const struct hf_state *hf_disk_start(const struct hf_disk *disk);
const struct hf_state *hf_disk_state(const struct hf_disk *disk);

/* Descriptors and directory streams that are open on it now. */
unsigned hf_disk_open_count(const struct hf_disk *disk);

/* What the program under test says of itself (expect.h), at its place in the trace. */
void hf_disk_mark(struct hf_disk *disk, int mark, uint64_t digest);

/* The n-th flush from now on (1: the next; 0: none) fails with this errno and sets what it should have written adrift. */
void hf_disk_fail_flush(struct hf_disk *disk, uint64_t n, int error);
/* Whether it did, since that call. */
bool hf_disk_flush_failed(const struct hf_disk *disk);

/* The n-th write or flush from now on (1: the next; 0: none) is not made, and ends the thread that wanted to make it: as
 * a process dies between two calls, but that this one lives and can go on on the disk as it is. */
void hf_disk_end_thread(struct hf_disk *disk, uint64_t n);
/* Whether it did, since that call. */
bool hf_disk_thread_ended(const struct hf_disk *disk);

/* From now on, what is stored through writable shared mappings is looked at (stores.h): a load begins anew. */
void hf_disk_watch(struct hf_disk *disk);
const struct hf_stores *hf_disk_stores(const struct hf_disk *disk);

/* The folder has been changed behind the table: write all of it at the next load. */
void hf_disk_forget(struct hf_disk *disk);

/* A new folder below $HOLDFAST_CRASH_DIR, /dev/shm or /tmp; and its removal, with all in it. */
void hf_scratch_make(const char *parent, char *path, size_t size);
void hf_scratch_remove(const char *path);
/* All that this process has made and not removed: for a way out in a hurry. */
void hf_scratch_remove_all(void);

#endif

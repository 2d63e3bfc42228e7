/*
 * region.h: the engine of shared memory, as the layers above it see it (src/value and up; tests and benchmarks).
 *
 *      hf_region      a segment, mapped into this process. Threads may share it.
 *        hf_view      one version, pinned: nothing of it is reused until it is unpinned. On the stack; short-lived
 *        hf_snapshot  the same for long: any number of them, versions in common share a reader slot
 *        hf_txn       the writer. One at a time in all processes; it belongs to the thread that began it
 *
 * A region holds HF_REGION_TREES tries of byte strings (or of other things: keydir.h). The caller hashes the keys: any 64 bits that are the same for
 * the same key will do, seeded with hf_region_seed where keys come from strangers. Two keys are the same if size and
 * bytes are. What a get gives is borrowed, in the region's memory, and good until the view is unpinned; in a
 * transaction, until its next change or end.
 *
 * Times to wait are in nanoseconds; 0: not at all; negative: for ever.
 *
 * Statuses beyond the usual: HF_TIMEOUT where waiting was limited; HF_NOSPACE, nothing changed, try again when there is
 * space; HF_LIMIT, this process reserved too little address space; HF_SLOTS; HF_LOST after a fork; HF_CORRUPT, what was
 * read cannot be right.
 *
 * fork: a child may go on using the region and the snapshots of its parent. It has none of its parent's
 * transactions and views: those answer HF_INVALID and HF_LOST, and unpinning such a view does nothing.
 *
 * Threads: all of a region's functions may be called at once, except hf_region_close. A snapshot may be read by several
 * threads, a view and a transaction may not. Nothing here may be called from a signal handler,
 * and no thread may be cancelled while it is in here.
 */
#ifndef HF_REGION_REGION_H
#define HF_REGION_REGION_H

#include "base/span.h"
#include "region/layout.h"

#include <stdbool.h>

typedef struct hf_region hf_region;
typedef struct hf_snapshot hf_snapshot;
typedef struct hf_txn hf_txn;

typedef struct hf_key {
    uint64_t hash;
    const void *bytes;
    size_t size;
} hf_key;

/* -- open and close -- */

typedef enum hf_region_mode {
    HF_REGION_ATTACH, /* it must be there: else HF_ABSENT */
    HF_REGION_CREATE, /* it must not be there: else HF_EXISTS */
    HF_REGION_EITHER,
} hf_region_mode;

/* When a commit to a file is durable: when it survives a power cut. (The death of a process it survives at once.) */
enum hf_region_level {
    HF_REGION_FULL,     /* before it is visible to anybody */
    HF_REGION_INTERVAL, /* at the latest `interval` after it */
    HF_REGION_OFF,      /* at a flush, at a close, and when much has come together (docs/recovery.md) */
};

typedef struct hf_region_options {
    hf_region_mode mode;
    uint64_t reserve; /* address space to map over; 0: 64 GiB, or a part of what this process may have */
    /* Of one that is created, as bits: trees whose entries are places (keydir.h). One that is there already is as it is. */
    unsigned place_trees;
    int64_t timeout; /* how long to wait for a creator who is not done yet */
    /* Of shared memory: */
    bool any_owner;       /* attach to a segment of another user's too */
    unsigned permissions; /* of a segment that is created, whatever the umask; 0: 0600 */
    uint64_t limit;       /* bytes that a segment which is created may ever have; 0: what the system allows */
    uint64_t room; /* bytes to provide at once for what will be put into one that is created, if they can be had */
    /* Of a file: */
    enum hf_region_level level;
    int64_t interval; /* of HF_REGION_INTERVAL; 0: a second */
    bool read_only;   /* nothing is written, not to the lock file either where that cannot be */
    int64_t patience; /* how long the close waits for another writer's transaction; 0: ten seconds */
    /* Bytes in shared memory, up to 2 MiB (0), that commits of this process which are not durable fill before what they
     * have made goes to the file; HF_REGION_STRAIGHT: it goes there at once. For tests. */
    uint64_t nursery;
} hf_region_options;

#define HF_REGION_STRAIGHT UINT64_MAX

/* A segment of POSIX shared memory: "/name", mode 0600. HF_DENIED where it is somebody else's, HF_NOT_REGION,
 * HF_FORMAT, HF_TIMEOUT (it is being created right now), HF_LIMIT (no address space), HF_NOSPACE (no room, or the limit is
 * less than an empty region takes). `options` may be NULL: attach. */
int hf_region_open(const char *name, const hf_region_options *options, hf_region **out);

/*
 * A file, and its lock file beside it ("FILE-lock"), both of mode 0600. All processes of one machine may use it at once.
 * Recovers it first, if those who had it open did not close it: then the newest version that was durable is there, or,
 * if they died without a power cut, the newest that was committed. A reader (read_only) recovers for itself alone.
 *
 * Where the path is a symbolic link that leads nowhere, EITHER makes what it leads to, and CREATE says HF_EXISTS. The name
 * of FILE has 250 bytes at most: HF_INVALID.
 *
 * Beyond what hf_region_open says: HF_CORRUPT, where the file was closed and its newest version is not what was
 * written, or no version is; HF_READ_ONLY, unless for reading; HF_BUSY, others have it open and its lock file was taken away; HF_BROKEN; HF_NETWORK.
 */
int hf_region_open_file(const char *path, const hf_region_options *options, hf_region **out);

/* Makes all that is published durable, at any level. HF_BROKEN, HF_NOSPACE, HF_TIMEOUT. Nothing in shared memory. */
int hf_region_flush(hf_region *region, int64_t timeout);

/* The same for a segment that the caller has open for reading and writing; the descriptor stays the caller's. */
int hf_region_open_fd(int fd, const hf_region_options *options, hf_region **out);

/*
 * HF_BUSY while there are snapshots or a transaction; then nothing is closed. Views must be unpinned. A file is flushed
 * before it is closed, and marked as clean by the last who writes to it; where that fails it is closed all the same, and
 * the status says why: HF_BROKEN, HF_NOSPACE, HF_IO. HF_TIMEOUT: another process or thread has been writing for longer
 * than the region's `patience`, perhaps stopped. Then what was committed and not durable stays as it was: published, in the
 * lock file, and durable with the next flush of anybody's; the next who opens FILE recovers it if nobody closed it. (Where this thread has a transaction of the same file through another
 * region, that one's close flushes.)
 */
int hf_region_close(hf_region *region);

/* Removes the name. Who has it open goes on. HF_ABSENT. And the same, but HF_NOT_REGION where it is that of something else
 * (what a creator who died has left is none of that). */
int hf_region_unlink(const char *name);
int hf_region_unlink_segment(const char *name);

/* What can be told of a segment by its name, without opening it as a region: HF_ABSENT, HF_DENIED, HF_NOT_REGION. */
typedef struct hf_region_info {
    uint64_t size; /* bytes of memory that it takes */
    uint32_t owner;
    uint32_t permissions;
    int64_t created; /* seconds since 1970 */
    bool is_open;    /* a process has it open */
} hf_region_info;

int hf_region_look(const char *name, hf_region_info *out);

/* What the system knows an open segment by, in `out`; and removes the name only where it is that segment's: HF_ABSENT
 * where it is gone or another's by now. (Between the look and the removal nobody can be kept from changing it.) */
void hf_region_inode(const hf_region *region, uint64_t out[2]);
int hf_region_unlink_inode(const char *name, const uint64_t inode[2]);

uint64_t hf_region_seed(const hf_region *region);
void hf_region_id(const hf_region *region, uint64_t out[2]);

/* A descriptor of the segment, borrowed: for the process that is to get it. */
int hf_region_fd(const hf_region *region);

/* -- reading -- */

struct hf_view {
    hf_region *region;
    struct hf_slot *slot;
    uint32_t generation; /* of the region in this process: another one after a fork */
    struct hf_version version;
};
typedef struct hf_view hf_view;

/* Pins the newest version. HF_SLOTS, HF_NOSPACE (slots had to grow), HF_LIMIT, HF_CORRUPT. Never waits for a writer. */
int hf_view_pin(hf_region *region, hf_view *out);
void hf_view_unpin(hf_view *view);

/* 1 and the value, 0, HF_CORRUPT, HF_LOST, HF_INVALID (no such tree). */
int hf_view_get(const hf_view *view, unsigned tree, const hf_key *key, hf_span *value);

uint64_t hf_view_count(const hf_view *view, unsigned tree);

/* The same for those who believe nothing: HF_CORRUPT where so many cannot be. */
int hf_view_size(const hf_view *view, unsigned tree, uint64_t *out);
uint64_t hf_view_txid(const hf_view *view);

/* All entries of a tree, in no particular order: each 1 and an entry, then 0. Borrows the view, or the transaction:
 * then what it has changed so far is there, and the cursor is good until its next change: HF_INVALID. */
typedef struct hf_region_cursor {
    const hf_view *view;
    hf_txn *txn;
    uint64_t changes; /* of the transaction when it was begun */
    uint64_t left;    /* entries still to come, as the root says */
    uint64_t budget;  /* nodes that may be visited before it cannot be right */
    bool places;      /* keydir.h */
    int status;
    uint64_t opaque[33];
} hf_region_cursor;

int hf_region_cursor_begin(hf_region_cursor *cursor, const hf_view *view, unsigned tree);
int hf_txn_cursor_begin(hf_region_cursor *cursor, hf_txn *txn, unsigned tree);
int hf_region_cursor_next(hf_region_cursor *cursor, hf_key *key, hf_span *value);

/* Is told of each key that is not the same in both: NULL where there is none. 0 to go on, or a failure. */
typedef int (*hf_view_differ)(void *arg, const hf_key *key, const hf_span *from, const hf_span *to);

/* What is different in a tree of two versions of one region. Costs what differs: subtrees that both have are not looked
 * at. 0, what `differ` failed with, HF_CORRUPT, HF_LOST, HF_INVALID. (Where the region was opened twice: HF_LIMIT, `to`
 * reaches further than is mapped for `from`; HF_INVALID, one of them is a file's reader without a slot.) */
int hf_view_diff(const hf_view *from, const hf_view *to, unsigned tree, hf_view_differ differ, void *arg);

/* A version for as long as one likes. As hf_view_pin, or HF_NOMEM. */
int hf_snapshot_begin(hf_region *region, hf_snapshot **out);

/* A kept version, by its name: HF_ABSENT. */
int hf_snapshot_begin_kept(hf_region *region, const char *name, hf_snapshot **out);
const hf_view *hf_snapshot_view(const hf_snapshot *snapshot);
void hf_snapshot_end(hf_snapshot *snapshot);

/*
 * The oldest version that anybody may still be looking at, or ever will: no version below *txid has a pin or is kept, none
 * will be seen by who pins from now on, and, of a file, none can come back after a power cut (what the last durable version
 * keeps can, though it may have been forgotten since). So what only versions before some f refer to, outside of the
 * region, may be removed once f is published and *txid is f or more. It only grows, but for 0: that is 'any version', where
 * readers of a file have no slots, or it could not be made out.
 *
 * May be called at any time by any thread, with or without a transaction (which is not looked at: its version is to come),
 * and waits for nobody. Of readers who pin meanwhile, each is counted or sees the version that was the newest when this
 * was called, or a later one. Pins of those who have died are taken off. HF_DENIED: the file was opened for reading only;
 * HF_LOST; HF_NOMEM; as hf_view_pin.
 */
int hf_region_oldest_pin(hf_region *region, uint64_t *txid);

/* -- writing -- */

/* HF_TIMEOUT; HF_BUSY: this thread has a transaction of this region already; HF_DENIED: it is open for reading only;
 * HF_CORRUPT, HF_LIMIT, HF_NOSPACE. */
int hf_txn_begin(hf_region *region, int64_t timeout, hf_txn **out);

/* The transaction that this thread has of the region, or NULL. Costs a load or two. */
hf_txn *hf_txn_mine(hf_region *region);

/* The version that it makes, if it is committed. */
uint64_t hf_txn_txid(const hf_txn *txn);

/* The level of its innermost savepoint; 0: there is none. */
unsigned hf_txn_level(const hf_txn *txn);

/* Publishes; the transaction is then over. On failure (HF_NOSPACE, HF_CORRUPT) it is not, and can be aborted. */
int hf_txn_commit(hf_txn *txn);
int hf_txn_abort(hf_txn *txn);

/* All of these: HF_INVALID from another thread, or after the end. put: 1 the key is new, 0 it was there. */
int hf_txn_get(hf_txn *txn, unsigned tree, const hf_key *key, hf_span *value);
int hf_txn_put(hf_txn *txn, unsigned tree, const hf_key *key, const void *value, size_t size);
int hf_txn_remove(hf_txn *txn, unsigned tree, const hf_key *key);
int hf_txn_clear(hf_txn *txn, unsigned tree);
int hf_txn_count(hf_txn *txn, unsigned tree, uint64_t *out);

/* A savepoint is known by its level, 1 being the outermost. Rolling back to one undoes what came after it and keeps it;
 * releasing one keeps what came after it. Either ends those within it. HF_NOMEM, HF_INVALID; HF_LIMIT: 16,383 in one
 * transaction, in which hf_txn_clear counts as one. */
int hf_txn_savepoint(hf_txn *txn, unsigned *level);
int hf_txn_rollback(hf_txn *txn, unsigned level);
int hf_txn_release(hf_txn *txn, unsigned level);

/* For a layer above, of whose change one part was made and the next has failed, with `status`, and which cannot undo the
 * first: from now on nothing can be done in the transaction, and its commit fails with this, until it is rolled back or aborted. */
void hf_txn_spoil(hf_txn *txn, int status);

/* The version that this transaction makes is kept under a name, beyond the life of every process, until it is forgotten.
 * HF_EXISTS; HF_ABSENT; HF_LIMIT: there are HF_REGION_KEPT_MAX; HF_INVALID: the name is empty or too long. */
int hf_txn_keep(hf_txn *txn, const char *name);
int hf_txn_forget(hf_txn *txn, const char *name);

/* -- looking after -- */

typedef struct hf_region_stats {
    uint64_t txid;
    uint64_t size;  /* of the file, in bytes */
    uint64_t limit; /* it never has more; 0: as many as the system allows */
    uint64_t top;   /* up to here it is in use, once or still */
    uint64_t
        used; /* bytes of blocks that are not free; of a file, without those that wait in shared memory to be written */
    uint64_t parked; /* blocks that wait for a pin */
    uint32_t slots, slots_owned, slots_pinned;
    uint32_t kept;
    uint64_t retries; /* of pins, by those who still have their slots */
    uint32_t owner_died, adopted, revoked;
    uint64_t counts[HF_REGION_TREES];
    /* Of a file: */
    uint64_t durable;  /* the last version that survives a power cut */
    uint64_t waiting;  /* free pieces that were not looked at yet */
    uint64_t offers;   /* pages with room for more */
    uint64_t written;  /* bytes that this process's commits have written to it */
    bool recovered;    /* it had not been closed, */
    bool stepped_back; /* and the newest root was not whole: a commit that nobody was told of, or damage */
    bool broken;
} hf_region_stats;

int hf_region_stats_get(hf_region *region, hf_region_stats *out);

/*
 * Copies all versions, the newest and those that are kept, to a region that is empty and has the same seed and the same
 * kinds of trees. Writers go on;
 * the copy is of the moment at which it began, and as small as can be. HF_EXISTS: it is not empty; HF_INVALID: another
 * seed, or other trees; what else may happen to either. After a failure there is something in `to`.
 */
int hf_region_copy(hf_region *from, hf_region *to);

/* A copy in a file of its own, durable when this returns; of shared memory too. HF_EXISTS: `path` is there already. */
int hf_region_backup(hf_region *region, const char *path);

/*
 * Writes a file anew, without what is free in it, and puts that in its place: one or the other is there, whatever
 * happens. By way of a symbolic link it is the file itself that is replaced. HF_BUSY where somebody has it open;
 * HF_DENIED where it has several names; needs as much space again. (A segment of shared memory is compacted by
 * hf_region_copy to another one, or gives back memory where it is: hf_region_trim.)
 */
int hf_region_compact(const char *path, int64_t timeout);

/*
 * Gives the memory of what is free in a segment, in runs of 64 KiB or more, back to the system: how many bytes. It is
 * asked for again when it is needed; where there is none then, that is HF_NOSPACE as for a segment that grows. What is in
 * no version any more is free, once no pin holds it. The segment stays as long as it is. HF_INVALID: a file
 * (hf_region_compact); HF_BUSY: this thread has a transaction; HF_TIMEOUT, HF_NOSPACE, HF_CORRUPT.
 */
int hf_region_trim(hf_region *region, int64_t timeout, uint64_t *given_back);

/*
 * Takes the writer's lock and walks everything: every trie of the newest version and of the kept ones, every run, every
 * queue; each block must be accounted for exactly once. 0, or HF_CORRUPT and what is wrong in `what` (a constant text)
 * and where (an offset); or HF_TIMEOUT, HF_NOMEM, HF_BUSY: this thread has a transaction.
 *
 * Of a file that was opened for reading only: the same, where nobody has it open for writing; nobody can open it for
 * that until the check is done. Where somebody has, or has been opening it for `timeout`, the newest version and the
 * kept ones are pinned, and their tries walked (each block in bounds, what was written, reached once) and the table of
 * those that are kept; not what is free, nor whether all is accounted for.
 */
typedef struct hf_region_fault {
    const char *what;
    uint64_t at;
} hf_region_fault;

int hf_region_check(hf_region *region, int64_t timeout, hf_region_fault *fault);

#endif

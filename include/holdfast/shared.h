/*
 * shared.h: hf_shared, one map for many processes, without a server.
 *
 *      process A          hf_shared ---\          /dev/shm/NAME
 *      process B          hf_shared ----+-------> [ a region: versions of a hash trie ] <--- holdfast.SharedMap (Python)
 *      process C          hf_shared ---/            t 41   t 42   t 43 ...
 *
 * Any number of processes open a map by its name. Each change makes a new version, which is published in one store:
 * whoever looks sees the one before or the one after, never half of one, and a process that is killed in the middle of a
 * change has changed nothing. Readers never wait. Writers take turns: one lock for the whole map, which the system takes
 * away from a process that dies. Nothing survives a reboot.
 *
 * Every call here is atomic. hf_shared_begin and hf_shared_commit make one step of many calls.
 *
 * Times to wait are in nanoseconds: 0, not at all; negative, for ever. How long a call that changes something waits for
 * its turn is in the options of the open.
 *
 * Threads: all functions of a map may be called at once from any thread, except hf_shared_close. A transaction belongs to
 * the thread that began it: its other threads see, and wait, as other processes do. A snapshot may be read by several
 * threads at once. Not from signal handlers; no thread may be cancelled inside a call.
 *
 * fork: a child may go on using what its parent opened, maps and snapshots, and closes them on its own; so may
 * the parent. The child has none of its parent's transactions. After vfork or posix_spawn: nothing, until exec.
 *
 * Statuses that any call may give: HF_CORRUPT, what is in the memory cannot be right; HF_NOMEM; HF_LIMIT, this process
 * has not the address space, or something is too large; of calls that read: HF_SLOTS, too many readers at a time; of
 * calls that change: HF_TIMEOUT, others were writing for longer than was allowed, HF_NOSPACE, no memory is left for the
 * map, or its max_size is reached: nothing has changed, and it works on, HF_IO; HF_BUSY, this
 * thread has a transaction of the same map through another handle. Of all that take a key: HF_BAD_TYPE, what cannot be a
 * key; HF_BAD_VALUE, NaN, or a Decimal too large for one; of all that take a key or a value: HF_INVALID, text that is not
 * UTF-8, or an OTHER that is no encoding.
 *
 * A map that is full: what is deleted makes room for others of about its size. Deleting takes memory too. Of a map with a
 * max_size so much is kept back that all of it can be deleted, or cleared (of the smallest entries half as many fit for
 * that). Where the system has no more, it is enough for 10,000 deletions of short entries one by one, fewer in one
 * transaction; then hf_shared_delete says HF_NOSPACE too, and hf_shared_clear does so for many short entries.
 *
 * Memory or damage may, very seldom, stop a change within a transaction where it can neither go on nor back. Such a
 * transaction is of no use any more: all its calls say HF_INVALID, and its commit why, until it is aborted.
 */
#ifndef HOLDFAST_SHARED_H
#define HOLDFAST_SHARED_H

#include <holdfast/datum.h>
#include <holdfast/status.h>

HF_BEGIN_DECLS

typedef struct hf_shared hf_shared;
typedef struct hf_shared_snapshot hf_shared_snapshot;

typedef enum hf_shared_mode {
    HF_SHARED_EITHER, /* create it where it is not there */
    HF_SHARED_CREATE, /* it must not be there: else HF_EXISTS */
    HF_SHARED_ATTACH, /* it must be there: else HF_ABSENT */
} hf_shared_mode;

/* All 0: as with NULL, but that nothing is waited for. */
typedef struct hf_shared_options {
    hf_shared_mode mode;
    int64_t timeout; /* of this handle's calls, open among them */
    bool
        any_owner; /* attach to a map of another user's, if the system lets us: then what is in it may come from anybody */
    /* Of a map that is created: */
    uint64_t capacity;    /* about how many entries to make room for at once, if there is so much; it grows beyond */
    uint64_t max_size;    /* bytes that it may ever take, 4 MiB or more; 0: what the system has */
    unsigned permissions; /* 0: 0600 */
} hf_shared_options;

/* -- open and close -- */

/*
 * Opens the map of this name, and creates it if that is asked for. NULL for options: either, waiting for ever. A name is
 * what a file in /dev/shm may be called: 1 to 250 bytes, no '/'. Costs a few system calls; a process may have several
 * handles of one map.
 *
 * HF_ABSENT, HF_EXISTS; HF_INVALID: no name, or a max_size that is too small; HF_DENIED: another user's; HF_NOT_REGION:
 * what has the name is something else; HF_FORMAT: it is of another version of this library; HF_TIMEOUT: somebody has been
 * creating it all the time; HF_NOSPACE. *out is set on success alone.
 */
HF_API HF_MUST_CHECK int hf_shared_open(const char *name, const hf_shared_options *options, hf_shared **out);

/* The map itself stays until it is unlinked. HF_BUSY, and nothing is closed, while there are snapshots of this handle or
 * a transaction is under way. NULL is closed already. */
HF_API int hf_shared_close(hf_shared *map);

/* Removes the name at once; the memory goes when the last process has closed the map. HF_ABSENT, HF_DENIED; HF_NOT_REGION:
 * what has the name is something else, and is left alone. */
HF_API int hf_shared_unlink(const char *name);

/* The same through a handle: only if the name is still this map's; else HF_ABSENT. */
HF_API int hf_shared_unlink_own(hf_shared *map);

/* Why this cannot be a name, as a constant text; NULL if it can. */
HF_API const char *hf_shared_name_fault(const char *name);

/* Borrowed until the close. */
HF_API const char *hf_shared_name(const hf_shared *map);

/* -- single steps -- */

/* Memory for what a get gives out, the caller's: all 0 to begin with, used again from call to call. */
typedef struct hf_shared_room {
    void *bytes;
    size_t size;
} hf_shared_room;

/* Frees it. It is as it was to begin with, then. */
HF_API void hf_shared_room_clear(hf_shared_room *room);

/* 1 and the value, or 0. What the value points to is in `room`: good until that is used again or cleared. Both may be
 * NULL: is the key there? In a transaction of this thread: what it has made of it. O(log n), in practice a few
 * cache misses; no system call. */
HF_API HF_MUST_CHECK int hf_shared_get(hf_shared *map, const hf_datum *key, hf_shared_room *room, hf_datum *value);

/* 1: the key is new; 0: it had a value, which is replaced. The key that was put first stays, as in a dict. */
HF_API HF_MUST_CHECK int hf_shared_set(hf_shared *map, const hf_datum *key, const hf_datum *value);

/* 1: it is gone; 0: it was not there. */
HF_API HF_MUST_CHECK int hf_shared_delete(hf_shared *map, const hf_datum *key);

/* Adds to an INT; a key that is not there counts as 0. *out, which may be NULL: the sum. HF_BAD_TYPE: there is something
 * else; HF_BAD_VALUE: the sum has more than 64 bits. */
HF_API HF_MUST_CHECK int hf_shared_incr(hf_shared *map, const hf_datum *key, int64_t by, int64_t *out);

/*
 * If the key's value is `old`, makes it `now`, and says 1; else changes nothing and says 0. NULL stands for a key that
 * is not there. Two values are the same if their encodings are: 1 is not 1.0 here.
 */
HF_API HF_MUST_CHECK int hf_shared_compare_and_set(hf_shared *map, const hf_datum *key, const hf_datum *old,
                                                   const hf_datum *now);

/* Removes everything. */
HF_API HF_MUST_CHECK int hf_shared_clear(hf_shared *map);

/* How many entries. */
HF_API HF_MUST_CHECK int hf_shared_count(hf_shared *map, uint64_t *out);

/* -- transactions -- */

/*
 * Begins a transaction of this thread: until it is committed, others see nothing of what the thread does, and wait if
 * they want to write. Within one: begins one within it. HF_LIMIT: a transaction can have 16,383 within it, nested or one
 * after the other, and each hf_shared_clear counts as up to three. A process that dies in one has changed nothing.
 */
HF_API HF_MUST_CHECK int hf_shared_begin(hf_shared *map);

/* Ends the innermost one that this thread has begun. The outermost publishes all of it, in one step; where that fails
 * (HF_NOSPACE) it is still under way, and can be aborted. HF_INVALID: there is none. */
HF_API HF_MUST_CHECK int hf_shared_commit(hf_shared *map);

/* Ends it too, and undoes what was done in it. */
HF_API HF_MUST_CHECK int hf_shared_abort(hf_shared *map);

/* -- snapshots -- */

/*
 * The map as it is now (as it was last published: without what this thread's transaction has done), for as long as one
 * likes. O(1), never waits, never makes a writer wait; any number of them. While it lives, what it alone has is not used
 * again. A process that dies ends its own. To be ended before the map is closed.
 */
HF_API HF_MUST_CHECK int hf_shared_snapshot_begin(hf_shared *map, hf_shared_snapshot **out);
HF_API void hf_shared_snapshot_end(hf_shared_snapshot *snapshot);

HF_API uint64_t hf_shared_snapshot_count(const hf_shared_snapshot *snapshot);

/* 1 and the value, or 0. The value points into the map's memory, and is good until the end of the snapshot. HF_LOST:
 * it did not survive a fork (there were too many snapshots for the system). */
HF_API HF_MUST_CHECK int hf_shared_snapshot_get(const hf_shared_snapshot *snapshot, const hf_datum *key,
                                                hf_datum *value);

/* Is told of an entry, or of a difference. 0 to go on; anything else ends the walk, and is what that returns. */
typedef int (*hf_shared_visit)(void *arg, const hf_datum *key, const hf_datum *value);
typedef int (*hf_shared_differ)(void *arg, const hf_datum *key, const hf_datum *from, const hf_datum *to);

/* Every entry once, in no particular order. What the data point to is good until the end of the snapshot. */
HF_API HF_MUST_CHECK int hf_shared_snapshot_walk(const hf_shared_snapshot *snapshot, hf_shared_visit visit,
                                                 void *arg);

/* Every key whose value is not the same in both, which are of the same map; NULL where a snapshot has none. Costs what
 * differs, not what is stored. */
HF_API HF_MUST_CHECK int hf_shared_snapshot_diff(const hf_shared_snapshot *from, const hf_shared_snapshot *to,
                                                 hf_shared_differ differ, void *arg);

/* -- looking after -- */

typedef struct hf_shared_stats {
    uint64_t count;        /* entries */
    uint64_t version;      /* number of the newest one: how many changes there were, and 1 */
    uint64_t size;         /* bytes of shared memory */
    uint64_t used;         /* of them, in use now, old versions that are pinned included */
    uint64_t max_size;     /* 0: none */
    uint32_t readers;      /* reader slots in use, in all processes */
    uint32_t writers_died; /* how often a writer was found dead, */
    uint32_t readers_died; /* and a reader */
} hf_shared_stats;

HF_API HF_MUST_CHECK int hf_shared_stats_get(hf_shared *map, hf_shared_stats *out);

/* Walks everything, with the writer's lock. 0; or HF_CORRUPT and what is wrong in *what (a constant text; NULL otherwise).
 * `what` may be NULL. HF_BUSY: this thread has a transaction. */
HF_API HF_MUST_CHECK int hf_shared_check(hf_shared *map, const char **what);

/* A map that is there, by its name: all that can be told without opening it. */
typedef struct hf_shared_info {
    const char *name;
    uint64_t size;  /* bytes of memory that it takes */
    uint32_t owner; /* user id */
    uint32_t permissions;
    int64_t created; /* seconds since 1970 */
    bool is_open;    /* some process has it open */
} hf_shared_info;

/* Every map of this machine that we may read, in no order. 0 to go on, as above. `visit` may unlink what it is told of;
 * what comes or goes meanwhile may be in it or not. */
HF_API HF_MUST_CHECK int hf_shared_list(int (*visit)(void *arg, const hf_shared_info *info), void *arg);

HF_END_DECLS

#endif

/*
 * control.h: the lock file of a region in a file, and who has the region open.
 *
 *      FILE                                                FILE-lock, beside it, mode 0600
 *      +-----------------------------+                     +------+-----------+------+-------+
 *      | bytes                       |                     | page | lock area | ring | slots |   mapped, shared
 *      +-----------------------------+                     +------+-----------+------+-------+
 *      far behind them, locks (layout.h):                   whose lock file it is, of which boot, its mark
 *
 *      OPENERS    exclusive: who opens for writing, until hf_control_ready; who closes, while it looks whether it is
 *                 the last. Shared: who opens for reading
 *      PRESENCE   2^60 bytes. All who use FILE-lock hold a shared lock on one, the byte at its `mark`: a random
 *                 number, which each lock file gets when it is made. Exclusive, on all: nobody uses any lock file
 *      WRITERS    shared: who may write. Exclusive: the last of them, while it closes
 *      READERS    shared: who reads without a slot, since it cannot write to FILE-lock
 *
 * All locks are of open file descriptions, so they end with the last process that has the description. OPENERS
 * comes first; the others are only ever tried, so nobody waits for them.
 *
 * Invariants
 *  C1  A lock file is made, and what is in it is set up, only under PRESENCE exclusively. FILE-lock is always a new
 *      file: the old one loses its name and is not written again.
 *  C2  All who hold PRESENCE hold the same byte of it. For who takes another one has seen that the byte of its
 *      FILE-lock is held by somebody, or held all exclusively. So all use one lock file, whatever is done to its
 *      name: where the name leads elsewhere, who comes next is refused (HF_BUSY), and there are never two writers.
 *  C3  What is in FILE-lock is believed if somebody uses it, or if it is marked as initialised in this boot, for this
 *      FILE (device and inode, and its own), by a program of the same layout. Otherwise it is as if it were not
 *      there.
 *  C4  A reader without a slot uses no lock file that could be taken away from under it: it may have one mapped, for
 *      reading; that one is never changed but by those who use it.
 *
 * Concurrency: a struct hf_control belongs to one region of one process; calls on one are not made at once.
 *
 * Failure: a call that fails leaves no descriptor, mapping or lock behind that was not there before, with the
 * exception of hf_control_ready, after which comes hf_control_abandon. Killed at any point, an opener leaves a lock
 * file that the next one makes again, or believes if it was marked.
 */
#ifndef HF_REGION_CONTROL_H
#define HF_REGION_CONTROL_H

#include "region/layout.h"

#include <stdbool.h>
#include <stdint.h>

enum hf_control_state {
    /* There is nothing to go by but FILE. Where `writable`, nobody else is there, and all is zero behind page 0. */
    HF_CONTROL_FRESH,
    /* Nobody else is there, and what is there was left in this boot: to be believed after its own checks. */
    HF_CONTROL_TRUSTED,
    /* Others are there; or they were when it was found out, and the last is gone by now: then it is as TRUSTED. */
    HF_CONTROL_JOINED,
};

struct hf_control {
    int fd;          /* of FILE-lock, or -1; not the description that is mapped, so it can have the locks of slots */
    char *base;      /* its mapping, or NULL */
    uint64_t size;   /* of the mapping: with room for all slots there can be */
    uint64_t length; /* of FILE-lock, when it was opened: what is behind must not be touched */
    enum hf_control_state state;
    bool writable;  /* false: mapped for reading, or not at all; then READERS is held, and PRESENCE is not */
    bool writer;    /* not opened for reading only: WRITERS is held */
    bool exclusive; /* PRESENCE is held exclusively */
    bool
        mounted; /* all along, since FILE-lock was made: so nothing can have been lost that was written to FILE since */
    uint64_t mark;
};

/*
 * Opens the lock file of FILE. `fd`: FILE, open for reading, and for writing unless read_only, a description of its
 * own on which this is called once; it stays the caller's and must stay open as long as the region, and nothing may
 * be mapped with it: a mapping holds its description, and so its locks, in children of a fork too. `path`: FILE's, by
 * which FILE-lock is found: where it is a symbolic link, beside the file that it leads to. `size`: how many bytes
 * FILE-lock must have, which are there (fallocated) before anything is touched. `timeout`: how long to wait for
 * OPENERS.
 *
 * Then OPENERS is held; what is in FILE-lock may be set up, until hf_control_ready or hf_control_abandon.
 *
 * A reader (read_only) never makes FILE-lock. If there is one that can be believed, the reader uses it like others
 * (`writable`), or where it may not write there, looks at it (`base` but not `writable`). Otherwise `base` is NULL,
 * the state FRESH, and it goes by FILE alone.
 *
 * HF_TIMEOUT; HF_BUSY: others have FILE open, and FILE-lock is not the lock file that they use; HF_ABSENT: `path`
 * does not lead to FILE, not any more; HF_DENIED: FILE-lock belongs to somebody else, others may write to it, it has
 * several names, or it cannot be made here; HF_NOT_REGION: something else has its name; HF_FORMAT: others have FILE
 * open, in another layout; HF_INVALID: the name is too long, or the descriptor not open for writing; HF_NETWORK,
 * HF_NOSPACE, HF_LIMIT (no address space), HF_IO, HF_NOMEM.
 */
int hf_control_open(int fd, const char *path, uint64_t size, bool read_only, int64_t timeout, struct hf_control *out);

/*
 * What was found TRUSTED does not hold: FRESH instead. A writer gets a new FILE-lock, a reader none. Between open and
 * ready, `path` and `size` as there. If it fails, `control` is the old one, to be abandoned; where it is a writer's
 * it is not believed again.
 */
int hf_control_afresh(int fd, const char *path, uint64_t size, struct hf_control *control);

/* What is in FILE-lock is as it should be: others may come. If it fails, abandon it. */
int hf_control_ready(int fd, struct hf_control *control);

/* Instead of ready: closes FILE-lock and gives back all locks. If it was FRESH, it will be for the next. */
void hf_control_abandon(int fd, struct hf_control *control);

/* Unmaps and closes FILE-lock. The locks on FILE go when the caller closes that, which comes next. */
void hf_control_close(struct hf_control *control);

/*
 * Does nobody else use FILE-lock? Then 1, and OPENERS and PRESENCE are held exclusively, until hf_control_not_alone
 * or the end of the description; else 0. HF_TIMEOUT: somebody is opening or closing it. Of a writer.
 */
int hf_control_alone(int fd, struct hf_control *control, int64_t timeout);
int hf_control_not_alone(int fd, struct hf_control *control);

/*
 * Before a writer closes, when it has nothing more to write: 1, it is the last, and holds OPENERS and WRITERS
 * exclusively until FILE is closed: it can mark FILE as clean. (Readers may be there: they never write.) 0: others
 * are there, this one no longer counts as a writer. So of those who close at once exactly one is the last.
 * HF_TIMEOUT: somebody is opening or closing it. For a reader always 0.
 */
int hf_control_leave(int fd, struct hf_control *control, int64_t timeout);

/*
 * After hf_control_leave has said 1, and FILE says all: the next opener shall begin with FILE. 1; 0 where readers
 * still use FILE-lock, and nothing is changed. (Or else, what is in FILE-lock might be believed of an older FILE,
 * copied over this one.)
 */
int hf_control_retire(int fd, struct hf_control *control);

/*
 * 1 where a reader without a slot has FILE open, else 0. Such a reader takes its lock before it looks for a version.
 * So a writer may reuse what was unlinked in version f if it asked after it had published f, and got 0.
 */
int hf_control_readers(int fd);

/* 1 where somebody has FILE open who may write, else 0. */
int hf_control_writers(int fd);

/* A second description of FILE keeps writers out, as long as it is open: 1; 0: somebody has FILE open for writing, and
 * it keeps out nobody. HF_TIMEOUT: somebody is opening it. */
int hf_control_hold(int fd, int64_t timeout);

/* For a reader that looks at FILE-lock without using it: 1; 0: that is no longer FILE's lock file, look again. */
int hf_control_current(const struct hf_control *control);

/*
 * For such a reader, or one that goes by FILE alone: is there another lock file now, which others use? Then 1, and it is
 * mapped instead; 0: there is none, or somebody is opening FILE just now. It is not waited for. `path` and `size` as when
 * it was opened.
 */
int hf_control_look_again(int fd, const char *path, uint64_t size, struct hf_control *control);

/* For a fork: a second description of FILE gets the locks that the first one has. */
int hf_control_join_again(int fd, const struct hf_control *control);

/* And for an opening: the first one gives up all that it has. */
void hf_control_let_go(int fd);

/* -- page 0 of FILE-lock -- */

#define HF_CONTROL_MAGIC UINT64_C(0x0a6b636f4c664852) /* "RHfLock\n" where bytes are little-endian */
#define HF_CONTROL_FORMAT 2u

enum { HF_CONTROL_BOOT_SIZE = 40 }; /* of a boot id, as text, with zeros behind it */

struct hf_control_page {
    uint64_t magic;
    uint64_t endian; /* HF_REGION_ENDIAN */
    uint32_t format;
    uint32_t region_format;
    uint32_t mutex_size;
    uint32_t record_size;
    uint64_t file_dev;
    uint64_t file_ino;
    uint64_t own_dev;
    uint64_t own_ino;
    uint64_t mark;
    char boot[HF_CONTROL_BOOT_SIZE]; /* all zero where there is none to be had */
    uint64_t mount;                  /* by which FILE was reached when this was made; 0: not known */
    uint64_t checksum;               /* of all the above */
    _Atomic uint32_t initialised;    /* 1: hf_control_ready was called */
    uint32_t pad;
};

_Static_assert(offsetof(struct hf_control_page, format) == 16, "layout");
_Static_assert(offsetof(struct hf_control_page, record_size) == 28, "layout");
_Static_assert(offsetof(struct hf_control_page, file_dev) == 32, "layout");
_Static_assert(offsetof(struct hf_control_page, mark) == 64, "layout");
_Static_assert(offsetof(struct hf_control_page, boot) == 72, "layout");
_Static_assert(offsetof(struct hf_control_page, checksum) == 120, "layout");
_Static_assert(offsetof(struct hf_control_page, initialised) == 128, "layout");
_Static_assert(sizeof(struct hf_control_page) == 136, "layout");

#endif

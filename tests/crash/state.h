/*
 * state.h: what a disk and the page cache before it hold, as a value: which bytes, sizes
 * and names are durable, and which a power cut may leave in one way or another.
 *
 *     file         now       +------+------+------+------+   what a read gives
 *                            | b0   | b1   | b2   | 0    |   (blocks of 4 KiB, counted, never
 *                  durable   +------+------+------+------+    changed once they are in a file;
 *                            | b0   | b9   | 0    | 0    |    0: zeros)
 *                  settled      1      1      0      0       some byte of the block was written and flushed
 *                  sectors   [9: b4 b1]  [16: b2] [17: b2]   unsynced: the versions since the last flush,
 *                            oldest first; one of them or the durable one is on the disk after a cut
 *                  sizes     [6000, 12288]                   the durable one first, then those since
 *     names        now, durable: (directory, name) -> inode
 *                  pending: changes of names since, each with the one or two names it sets
 *
 * A `trace` is what a program did to it: operations in their order. Applying them to the
 * state before gives the state after; so a trace can be gone through again, step by step,
 * as often as a test likes, and nothing has to be kept for each step.
 *
 * The model, which is meaner than any file system we know of and kinder than none:
 *   - A sector of 512 bytes is written whole or not at all. Sectors become durable in
 *     any order, each by itself, at any time after their write.
 *   - Powersafe overwrite: a write does not harm bytes beside it, except in a block of
 *     which no byte has been durable: that may come back as garbage, whole.
 *   - The size of a file becomes durable by itself, in any of the values that it had.
 *   - A change of names (a rename is one) becomes durable by itself, and in any order
 *     except that of two changes of the same name. A flush of a file does not make its
 *     name durable; one of a directory does, with all changes in it.
 *   - After a flush that failed, what it should have written is *adrift*: written or not,
 *     and no later flush will write it, unless the program writes it again.
 *   - What is stored through a shared mapping may be on the disk in any state.
 *
 * Invariants
 *   S1  A sector without an entry in `sectors` has the same bytes in now and durable.
 *   S2  Bytes of `now` beyond `size` are zero.
 *   S3  sector_of[n] - 1 is the index in `sectors` of sector n, where it is not 0.
 *
 * Concurrency: none; one thread has a state. Failure: none (support.h).
 */
#ifndef HF_CRASH_STATE_H
#define HF_CRASH_STATE_H

#include "support.h"

#include <sys/types.h>

enum {
    HF_SECTOR = 512,
    HF_BLOCK = 4096,
    HF_SECTORS_A_BLOCK = HF_BLOCK / HF_SECTOR,
    HF_VERSIONS = 4, /* of one sector; where there are more, the oldest are forgotten */
    HF_SIZES = 8,
    HF_NO_INODE = 0,
    HF_ROOT_INODE = 1,
};

struct hf_block {
    uint32_t refs;
    uint8_t bytes[HF_BLOCK];
};

struct hf_sector {
    uint64_t number;
    uint64_t op;  /* the operation that gave it its newest version */
    bool written; /* by a write, not only by a truncation or a hole */
    bool adrift;
    uint32_t versions;
    struct hf_block *version[HF_VERSIONS];
};

struct hf_file {
    bool used, is_dir;
    bool mapped; /* somebody had a writable shared mapping of it */
    mode_t mode;
    uint64_t size;
    size_t blocks; /* the length of the next three */
    struct hf_block **now, **durable;
    bool *settled;
    struct hf_sector *sectors;
    size_t sector_count, sector_capacity;
    uint32_t *sector_of;
    uint64_t sizes[HF_SIZES];
    unsigned size_count;
    bool sizes_adrift;
    uint64_t size_op;
};

struct hf_name {
    uint32_t dir, inode; /* inode 0: there is none of this name */
    char name[256];
};

struct hf_names {
    struct hf_name *name;
    size_t count, capacity;
};

struct hf_name_change {
    uint64_t op;
    unsigned count;
    struct hf_name set[2];
};

struct hf_state {
    struct hf_file *files; /* by inode; 0 is not used */
    uint32_t inodes;       /* the length of it */
    struct hf_names now, durable;
    struct hf_name_change *pending;
    size_t pending_count, pending_capacity;
    uint64_t ops; /* applied so far */
};

/* -- traces -- */

enum hf_op_kind {
    HF_OP_INODE, /* a file or folder is made, without a name */
    HF_OP_WRITE,
    HF_OP_SIZE,
    HF_OP_ZERO,        /* a range is made to read as zeros */
    HF_OP_SYNC,        /* a flush of a file or folder */
    HF_OP_SYNC_FAILED, /* a flush that failed */
    HF_OP_NAMES,
    HF_OP_MAPPED,
    HF_OP_MARK, /* the program says something (lab.h) */
};

struct hf_op {
    enum hf_op_kind kind;
    uint32_t inode;
    uint64_t at, size; /* a SIZE is in size */
    void *bytes;       /* of a WRITE, the operation's own */
    struct hf_name_change *names;
    bool is_dir;
    mode_t mode;
    int mark;
    uint64_t digest;
};

struct hf_trace {
    struct hf_op *op;
    size_t count, capacity;
};

/* The trace takes over what the operation owns. */
void hf_trace_add(struct hf_trace *trace, const struct hf_op *op);
void hf_trace_clear(struct hf_trace *trace);

/* "write 3 at 8192, 512 bytes", for a message. */
void hf_op_describe(const struct hf_op *op, char *text, size_t size);

/* -- states -- */

/* An empty, durable root folder. */
struct hf_state *hf_state_new(void);
struct hf_state *hf_state_clone(const struct hf_state *state);
/* What is durable of it, all of it settled, as `now` too: the disk after a power cut that kept nothing else. */
struct hf_state *hf_state_durable(const struct hf_state *state);
void hf_state_free(struct hf_state *state);

void hf_state_apply(struct hf_state *state, const struct hf_op *op);

/* Forget what no name leads to. For a state in which all is durable. */
void hf_state_prune(struct hf_state *state);

/* Whether a power cut could leave anything in more than one way. */
bool hf_state_unsynced(const struct hf_state *state);

/* The inode of a name, or HF_NO_INODE. */
uint32_t hf_names_find(const struct hf_names *names, uint32_t dir, const char *name);
void hf_names_set(struct hf_names *names, const struct hf_name *name);
bool hf_names_equal(const struct hf_names *a, const struct hf_names *b);

/* For who builds images: room for a size, and a block that may be written, in `durable`. */
void hf_file_reach(struct hf_file *file, uint64_t size);
uint8_t *hf_file_durable_block(struct hf_file *file, size_t block);
/* The size, and zeros behind it: durable and now. */
void hf_file_cut(struct hf_file *file, uint64_t size);
/* `now` becomes what is durable. */
void hf_file_reload(struct hf_file *file);

#endif

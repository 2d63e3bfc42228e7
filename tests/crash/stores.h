/*
 * stores.h: what a program stored through shared mappings, as far as it can be seen from outside.
 *
 *      moment    0          1               2                  looked at before each write and flush, and at each mark
 *      notes     [block 0]  [block 0, 7]    [block 3] ...      what is not as it was at the moment before
 *
 * A store is no call, so it has no place in a trace; but what a file had when the next call was made can be read. From
 * that, the file as it was at any such moment can be had again: as the system may have written it back then, and never
 * since.
 *
 * Concurrency: the disk's (disk.h). Failure: none (support.h).
 */
#ifndef HF_CRASH_STORES_H
#define HF_CRASH_STORES_H

#include "state.h"

struct hf_stores;

struct hf_stores *hf_stores_new(void);
void hf_stores_free(struct hf_stores *stores);

/* After `op` operations of the trace: what has changed in the file, since it was looked at last. */
void hf_stores_look(struct hf_stores *stores, uint32_t inode, const char *path, size_t op);

/* Gives the image each of those files as it was at one moment, which was no later than `op`. */
void hf_stores_put(const struct hf_stores *stores, struct hf_state *image, size_t op, struct hf_random *random);

#endif

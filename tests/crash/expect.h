/*
 * expect.h: which contents a store may have after a crash, from what its program has said.
 *
 * Contents are known by a digest. A program marks its trace:
 *
 *     BEGIN d      from now on d may be what is there
 *     DONE         the commit begun last has returned: it survives the death of the process
 *     DURABLE      the same, and it survives a power cut
 *     FAILED       the commit begun last has failed and left nothing
 *     BROKEN       the store is broken: what was not durable may be lost, though nobody died
 *     RECOVERED d  the store was opened and has d: nothing later than d may come up again
 *
 *     digest   [ d0 | d1 | d2 | d3 | d4 ]     oldest first, d4 begun
 *                     |         |
 *                     durable   done          a power cut: one of d1 .. d4; a kill: d3 or d4
 *
 * Invariants: durable <= done < count, once there is anything.
 *
 * Concurrency: none. Failure: none.
 */
#ifndef HF_CRASH_EXPECT_H
#define HF_CRASH_EXPECT_H

#include "support.h"

enum hf_mark {
    HF_MARK_BEGIN,
    HF_MARK_DONE,
    HF_MARK_DURABLE,
    HF_MARK_FAILED,
    HF_MARK_RECOVERED,
    HF_MARK_BROKEN,
};

/* The digest of a store that is not there. */
#define HF_NOTHING 0

struct hf_expect {
    uint64_t *digest;
    size_t count, capacity;
    size_t durable, done;
    bool rebooted; /* what the store is opened on next is all durable */
};

/* A store that is not there, on a disk of which all is durable. */
void hf_expect_init(struct hf_expect *expect);
void hf_expect_clear(struct hf_expect *expect);
void hf_expect_copy(struct hf_expect *to, const struct hf_expect *from);

void hf_expect_mark(struct hf_expect *expect, int mark, uint64_t digest);

/* What may be there after a power cut, or a kill: the others go. */
void hf_expect_crash(struct hf_expect *expect, bool power);

/* Whether a store may come up with these contents. */
bool hf_expect_allows(const struct hf_expect *expect, uint64_t digest);

/* "one of 0123 4567", for a message. */
void hf_expect_describe(const struct hf_expect *expect, char *text, size_t size);

#endif

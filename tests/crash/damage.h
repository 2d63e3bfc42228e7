/*
 * damage.h: files that were damaged, and what a store makes of them.
 *
 * A damaged file is the new version of a file with one thing done to it: bits flipped,
 * bytes overwritten, sectors zeroed, the end cut off, garbage behind it, two blocks
 * exchanged, a block written to another's place, or a block (or sector) of the old version come
 * back, as from a write that was lost.
 *
 * A store may refuse it, may not notice because nothing that it needs was hit, or may step
 * back to contents that were once committed, if it says so. To give other contents as if
 * nothing were wrong, to crash or to hang is a violation. That is the design page's test
 * of `silently wrong`.
 *
 * Concurrency: none. Failure: none (support.h).
 */
#ifndef HF_CRASH_DAMAGE_H
#define HF_CRASH_DAMAGE_H

#include "lab.h"

struct hf_bytes {
    uint8_t *at;
    size_t size;
};

enum hf_damage_kind {
    HF_DAMAGE_BITS,
    HF_DAMAGE_BYTES,
    HF_DAMAGE_ZEROED,
    HF_DAMAGE_CUT,
    HF_DAMAGE_TAIL,
    HF_DAMAGE_SWAPPED,
    HF_DAMAGE_MISPLACED,
    HF_DAMAGE_STALE,
    HF_DAMAGE_KINDS,
};

/*
 * The new version, damaged in a way that the random numbers choose; `what` says how. *out is the caller's, to be
 * freed. False if there was nothing to damage: then it is equal to `now`.
 */
bool hf_damage(struct hf_random *random, const struct hf_bytes *now, const struct hf_bytes *old, struct hf_bytes *out,
               char *what, size_t size);

struct hf_damage_options {
    uint64_t seed;
    unsigned steps;   /* commits before the old version, and as many between it and the new one */
    unsigned a_store; /* damaged files made of one store; then another */
};

#define HF_DAMAGE_DEFAULTS                    \
    {                                         \
        .seed = 1, .steps = 5, .a_store = 500 \
    }

/* What came of them. */
struct hf_damage_counts {
    uint64_t refused, unharmed, stepped_back, unchanged;
};

/* `counts` may be NULL. Every try is a process of its own. */
void hf_damage_run(const struct hf_subject *subject, const struct hf_damage_options *options,
                   struct hf_damage_counts *counts, struct hf_report *report);

#endif

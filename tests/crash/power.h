/*
 * power.h: power cuts, and failing calls.
 *
 *     session on a fresh disk -> trace -> images -> each: load into another disk, run a session, is it allowed?
 *                                                     and its trace -> images -> ...      (depth)
 *
 * hf_lost_run makes images of another kind: the machine goes on, and with it the boot, but the file system went and came
 * back (a disk that was pulled out, or mounted again after an error), and the page cache is gone. A file that is written
 * and flushed is what a power cut would leave. One that is mapped and stored to, and never flushed, is as it was when the
 * system last wrote it back: at any earlier moment, whatever the others are (stores.h).
 *
 * So a crash during recovery, or in the commits after it, is a crash like any other.
 *
 * Concurrency: none, these change the table of OS calls. Failure: none (support.h).
 */
#ifndef HF_CRASH_POWER_H
#define HF_CRASH_POWER_H

#include "crash.h"
#include "lab.h"

struct hf_power_options {
    struct hf_crash_options crash;
    uint64_t seed;
    unsigned before;   /* commits of a session before the first, at most: all of it durable, and not traced */
    unsigned steps;    /* commits of the first session */
    unsigned reopened; /* commits of a session on an image, at most */
    unsigned depth;    /* 1: images of the first session; 2: and of those sessions */
    uint64_t images;   /* of a first session; where there are more, a sample. 0: all */
    uint64_t nested;   /* of each further session. 0: all */
};

#define HF_POWER_DEFAULTS                                                                                         \
    {                                                                                                             \
        .crash = HF_CRASH_DEFAULTS, .seed = 1, .steps = 6, .reopened = 2, .depth = 2, .images = 1000, .nested = 4 \
    }

/* Sessions with seed, seed + 1, ... until the report has enough images. */
void hf_power_run(const struct hf_subject *subject, const struct hf_power_options *options, struct hf_report *report);

/* The same, of a lost page cache. */
void hf_lost_run(const struct hf_subject *subject, const struct hf_power_options *options, struct hf_report *report);

/* Every subset, and what more there is, of this one trace: to see a small case through. */
void hf_power_images(const struct hf_subject *subject, const struct hf_power_options *options, struct hf_disk *traced,
                     struct hf_report *report);

/*
 * Every call that a session makes fails in turn: each site of base/fault.h with ENOSPC, EIO and EINTR, once and from
 * there on; transfers cut to half; allocations; and flushes, as a kernel fails them. The session may
 * report the failure or do without the call; then a session on what it left must find what is allowed, and so must
 * sessions on `nested` images of its trace. The report counts failures and images. Ends when all sites are through.
 */
void hf_faults_run(const struct hf_subject *subject, const struct hf_power_options *options,
                   struct hf_report *report);

#endif

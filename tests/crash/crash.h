/*
 * crash.h: what a power cut may leave, image by image.
 *
 *     trace      op 1    op 2    op 3   mark    op 4   ...
 *                     |       |       |       |        a point after each that makes more possible, or less allowed
 *                     images of this point
 *
 *     struct hf_crash *crash = hf_crash_new(start, trace, expect, &options, seed);
 *     while (hf_crash_next(crash)) {
 *         struct hf_state *image = hf_crash_image(crash);
 *         ... load it into a disk, open the store, see whether hf_crash_expect() allows its contents ...
 *         hf_state_free(image);
 *     }
 *     hf_crash_free(crash);
 *
 * At a point, each of these is a choice of its own, where it is open (see state.h): each
 * unsynced sector (the durable bytes, or any version since), the size of each file, each
 * change of names. The images are
 *   subsets  every combination, up to 2^exhaustive_bits of the sectors and four times as
 *            many in all; sizes and names at random where only the sectors are that few
 *   random   beyond that, and beside: combinations of several distributions (half is lost,
 *            little, nearly all; all after a moment; one thing only, all but one thing)
 *   garbled  for each block of which nothing was durable: all else kept and the block
 *            garbled, and the same three times with the rest at random
 *   tails    a file longer than the program made it, by a block of garbage, where its
 *            size was not durable
 *   killed   the process is gone, but not the page cache: nothing is lost, and nothing
 *            more is durable. Not where a file is mapped for writing, since what was
 *            stored through the mapping is not in the trace.
 *
 * An image in which nothing of the last operation is left was made at the point before,
 * so it is not made again. hf_crash_next only chooses; hf_crash_image builds. So images
 * can be counted, or sampled, at little cost.
 *
 * Images are known by their number: the n-th is the same for the same arguments, whatever
 * was built of those before.
 *
 * Concurrency: none. Failure: none (support.h).
 */
#ifndef HF_CRASH_CRASH_H
#define HF_CRASH_CRASH_H

#include "expect.h"
#include "state.h"

struct hf_crash_options {
    unsigned exhaustive_bits; /* 12: every subset of 12 sectors */
    unsigned random;          /* images at random a point that has more */
    bool garble, tails, kills;
};

#define HF_CRASH_DEFAULTS                                                                 \
    {                                                                                     \
        .exhaustive_bits = 12, .random = 64, .garble = true, .tails = true, .kills = true \
    }

struct hf_crash;

/* `start` and `trace` must stay; `expect` is what holds at the start. */
struct hf_crash *hf_crash_new(const struct hf_state *start, const struct hf_trace *trace,
                              const struct hf_expect *expect, const struct hf_crash_options *options, uint64_t seed);
void hf_crash_free(struct hf_crash *crash);

bool hf_crash_next(struct hf_crash *crash);

/* Of the present image: the state, the caller's own. */
struct hf_state *hf_crash_image(struct hf_crash *crash);
/* What a store on it may have; valid until the next hf_crash_next. */
const struct hf_expect *hf_crash_expect(const struct hf_crash *crash);
/* Whether it is a killed process, not a power cut. */
bool hf_crash_is_kill(const struct hf_crash *crash);
uint64_t hf_crash_number(const struct hf_crash *crash);
/* Whether it is a plain one: all is kept or all is lost of what is open, but for one thing at most. */
bool hf_crash_is_plain(const struct hf_crash *crash);
/* After which operation of the trace: 1 is the first. */
size_t hf_crash_point(const struct hf_crash *crash);
/* "image 17 after op 5, write 2 at 0, 512 bytes: lost 2:0 2:3, size 2=512, garbled 2:1" */
void hf_crash_describe(const struct hf_crash *crash, char *text, size_t size);

#endif

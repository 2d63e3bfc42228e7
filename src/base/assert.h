/*
 * assert.h: HF_ASSERT and HF_ASSERT_CHEAP, for our own bugs.
 *
 * Never for input, for what a callback returned, or for bytes from disk: those
 * give a status. An assertion that fails means that this code is wrong; the
 * process prints where and aborts, because going on could write the mistake to
 * a file that others read.
 *
 *   HF_ASSERT        in debug and sanitizer builds (-DHF_ASSERTS=1); may be slow.
 *                    In a release build the condition is compiled, not evaluated.
 *   HF_ASSERT_CHEAP  in every build. For a test of one or two values at hand,
 *                    off the hot paths, where going on would corrupt memory.
 *
 * It is not <assert.h>'s: NDEBUG belongs to whoever embeds us (meson-python sets
 * it), and the two must not be confused.
 */
#ifndef HF_BASE_ASSERT_H
#define HF_BASE_ASSERT_H

#include <stdio.h>
#include <stdlib.h>

#ifndef HF_ASSERTS
#define HF_ASSERTS 0
#endif

__attribute__((noreturn, cold, noinline, unused)) static void hf_assert_failed(const char *file, int line,
                                                                               const char *what)
{
    fprintf(stderr, "holdfast: %s:%d: assertion failed: %s\n", file, line, what);
    abort();
}

#define HF_ASSERT_CHEAP(condition) \
    (__builtin_expect(!!(condition), 1) ? (void)0 : hf_assert_failed(__FILE__, __LINE__, #condition))

#if HF_ASSERTS
#define HF_ASSERT(condition) HF_ASSERT_CHEAP(condition)
#else
/* Not evaluated, but what it names stays used and its syntax stays checked. */
#define HF_ASSERT(condition) ((void)sizeof((condition) ? 1 : 0))
#endif

#endif

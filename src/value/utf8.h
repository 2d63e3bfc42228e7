/*
 * utf8.h: is this the encoding of a str?
 *
 * A Python str is a row of code points from 0 to 0x10ffff, surrogates among them: a file name with bytes that are not
 * UTF-8 has lone ones, and they must survive. So this is generalized UTF-8: UTF-8 in which U+D800 to U+DFFF are
 * encoded like any other code point of three bytes (what Python calls "surrogatepass"). A high surrogate and a low
 * one behind it are two code points and six bytes, never the four of the character that UTF-16 would mean by them; so
 * every str has one encoding and every encoding is of one str.
 *
 *      00..7f                                      1 byte
 *      c2..df  80..bf                              2
 *      e0      a0..bf  80..bf                      3 (from U+0800: a shorter form does not count)
 *      e1..ef  80..bf  80..bf                      3, surrogates (ed a0..bf) too
 *      f0      90..bf  80..bf  80..bf              4 (from U+10000)
 *      f1..f3  80..bf  80..bf  80..bf              4
 *      f4      80..8f  80..bf  80..bf              4 (to U+10ffff)
 *
 * Concurrency, failure: a pure function.
 */
#ifndef HF_VALUE_UTF8_H
#define HF_VALUE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* How many bytes the code point at `at` takes of the `left` (at least 1) that there are; 0: it is not one. */
static inline size_t hf_utf8_next(const uint8_t *at, size_t left)
{
    unsigned first = at[0], size, low = 0x80, high = 0xbf;
    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    if (first < 0xe0) {
        size = 2;
    } else if (first < 0xf0) {
        size = 3;
        low = first == 0xe0 ? 0xa0 : 0x80;
    } else {
        size = 4;
        low = first == 0xf0 ? 0x90 : 0x80;
        high = first == 0xf4 ? 0x8f : 0xbf;
    }
    if (size > left || at[1] < low || at[1] > high)
        return 0;
    for (unsigned i = 2; i < size; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return size;
}

static inline bool hf_utf8_is_text(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    while (size > 0) {
        uint64_t eight;
        if (size >= sizeof eight) {
            memcpy(&eight, at, sizeof eight);
            if ((eight & 0x8080808080808080u) == 0) {
                at += sizeof eight;
                size -= sizeof eight;
                continue;
            }
        }
        size_t taken = hf_utf8_next(at, size);
        if (taken == 0)
            return false;
        at += taken;
        size -= taken;
    }
    return true;
}

#endif

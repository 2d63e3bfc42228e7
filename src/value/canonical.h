/*
 * canonical.h: keys: the canonical form of a value, its hash, equality.
 *
 * Two keys are one if Python's dict says so: 1, 1.0, True, Decimal(1) and Fraction(1) are. A home's trie hashes and
 * compares bytes. So each key has a canonical form, bytes that are equal exactly if the keys are:
 *
 *      encoded value --hf_canonical_init--> canonical bytes --XXH3, seeded--> 64 bits
 *          04 00 00 00 00 00 00 f0 3f (1.0)      11 01        as 1 is, and True
 *
 * Most canonical forms are encodings, of the simplest value that is equal. Three are no values, and have tags of
 * their own:
 *
 *   value                              canonical form
 *   None, str, bytes                   itself (and for these, and ints, no byte is copied)
 *   bool and all numbers               see number.h
 *   tuple                              the tuple of its members' forms
 *   frozenset                          the frozenset of its members' forms, in their order, equal ones once
 *   date, timedelta, ZoneInfo          itself
 *   datetime, naive                    without its fold
 *   datetime, aware                    30, its UTC: never equal to a naive one
 *   datetime whose fold matters        31, local time and zone: so it equals others in its zone, whatever the fold,
 *                                      and no other; with a tzinfo that is no ZoneInfo it cannot be a key
 *   time, naive                        without its fold; so also one whose utcoffset() is None
 *   time, aware                        32, its UTC, which may be before 0:00 or after 24:00
 *   timezone                           without its name
 *   UUID                               without is_safe
 *   Enum, Flag                         itself: class and member
 *   IntEnum, StrEnum, class E(T, Enum) the form of the value that the member equals
 *   bytearray, list, dict, set,
 *   object, pickle                     none: HF_BAD_TYPE
 *
 * Where a key is not what Python's == and hash say: two ZoneInfos with the same key are one zone (Python tells apart
 * those made with no_cache), and an aware key stays the instant that it was when it was encoded, when the time zone
 * database is updated.
 *
 * Invariants: equal forms, equal keys, equal hashes (for one seed). No form is the beginning of another. The form of
 * a form that is a value is that form. The bytes are part of the file formats: they never change.
 *
 * Concurrency: a hf_canonical is one thread's while it is made; after that, constant. Failure, with a text in *reason
 * unless that is NULL: HF_BAD_TYPE; HF_BAD_VALUE for a nan, and for a Decimal or Fraction that is too large to reduce
 * (number.h); HF_CORRUPT for bytes that are no value; HF_NOMEM.
 */
#ifndef HF_VALUE_CANONICAL_H
#define HF_VALUE_CANONICAL_H

#include "value/buffer.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { HF_KEY_ROOM = 128 };

/*
 * A key: its canonical bytes, and where they are unless they are the caller's. Must stay where it is, since `bytes`
 * may point into it.
 */
typedef struct hf_canonical {
    const uint8_t *bytes;
    size_t size;
    hf_buffer made;
    uint8_t room[HF_KEY_ROOM];
} hf_canonical;

/*
 * The key that a whole encoded value makes. *key may borrow `encoded`: it is good as long as those bytes are. To be
 * cleared, if this succeeded. An allocation only where the form is another one than the encoding, and long.
 */
int hf_canonical_init(hf_canonical *key, const void *encoded, size_t size, const char **reason);

/* The keys of an int and of a str without the way over an encoding. An int takes no memory and cannot fail. */
void hf_canonical_init_int64(hf_canonical *key, int64_t number);
int hf_canonical_init_str(hf_canonical *key, const void *utf8, size_t size, const char **reason);

void hf_canonical_clear(hf_canonical *key);

uint64_t hf_canonical_hash(const hf_canonical *key, uint64_t seed);

/* The same hash from canonical bytes that are stored somewhere. */
uint64_t hf_canonical_hash_bytes(const void *bytes, size_t size, uint64_t seed);

static inline int hf_canonical_equal(const hf_canonical *a, const hf_canonical *b)
{
    return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

#endif

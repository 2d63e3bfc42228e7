/*
 * datum.h: a key or a value as C has it, on its way into a map that is stored, or out of one.
 *
 *      hf_datum_str("visits")          STR      | *, 6         ---> bytes, the caller's
 *      hf_datum_int(12)                INT      | 12
 *      what a map gives out            BYTES    | *, 64        ---> bytes, the map's
 *                                      OTHER    | *, 23        ---> the encoding of anything else
 *
 * What Python's SharedMap stores, C sees, and the other way round: an int is an int, bytes are bytes, and a str is a
 * str. What C has no type for (a tuple, a datetime, an int of more than 64 bits, a pickle) is OTHER: its encoding
 * (docs/format/value.md), which can be compared, copied and stored again.
 *
 * As keys, numbers that are equal are one key, whatever their type: 1, 1.0 and true. A str is never equal to bytes. NaN
 * is no key, nor is an OTHER that Python would not hash.
 *
 * Concurrency: a plain value. Ownership: what a datum points to is its maker's; each function that gives one out says
 * for how long. Failure: none here.
 */
#ifndef HOLDFAST_DATUM_H
#define HOLDFAST_DATUM_H

#include <holdfast/api.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

HF_BEGIN_DECLS

typedef enum hf_datum_kind {
    HF_DATUM_NONE,
    HF_DATUM_BOOL,
    HF_DATUM_INT,   /* of 64 bits */
    HF_DATUM_FLOAT, /* a double */
    HF_DATUM_STR,   /* UTF-8 */
    HF_DATUM_BYTES,
    HF_DATUM_OTHER, /* encoded */
} hf_datum_kind;

typedef struct hf_datum {
    hf_datum_kind kind;
    bool truth;       /* BOOL */
    int64_t integer;  /* INT */
    double real;      /* FLOAT */
    const void *data; /* STR, BYTES, OTHER; may be NULL if size is 0 */
    size_t size;      /* of that, in bytes */
} hf_datum;

static inline hf_datum hf_datum_none(void)
{
    hf_datum datum;
    memset(&datum, 0, sizeof datum);
    return datum;
}

static inline hf_datum hf_datum_bool(bool truth)
{
    hf_datum datum = hf_datum_none();
    datum.kind = HF_DATUM_BOOL;
    datum.truth = truth;
    return datum;
}

static inline hf_datum hf_datum_int(int64_t integer)
{
    hf_datum datum = hf_datum_none();
    datum.kind = HF_DATUM_INT;
    datum.integer = integer;
    return datum;
}

static inline hf_datum hf_datum_float(double real)
{
    hf_datum datum = hf_datum_none();
    datum.kind = HF_DATUM_FLOAT;
    datum.real = real;
    return datum;
}

/* Borrows the bytes. */
static inline hf_datum hf_datum_bytes(const void *bytes, size_t size)
{
    hf_datum datum = hf_datum_none();
    datum.kind = HF_DATUM_BYTES;
    datum.data = bytes;
    datum.size = size;
    return datum;
}

/* The same for text of a known length, and up to a NUL; UTF-8, which is checked where it is used. */
static inline hf_datum hf_datum_text(const char *utf8, size_t size)
{
    hf_datum datum = hf_datum_bytes(utf8, size);
    datum.kind = HF_DATUM_STR;
    return datum;
}

static inline hf_datum hf_datum_str(const char *utf8)
{
    return hf_datum_text(utf8, strlen(utf8));
}

static inline bool hf_datum_is_int(const hf_datum *datum, int64_t integer)
{
    return datum->kind == HF_DATUM_INT && datum->integer == integer;
}

static inline bool hf_datum_is_str(const hf_datum *datum, const char *utf8)
{
    size_t size = strlen(utf8);
    return datum->kind == HF_DATUM_STR && datum->size == size && (size == 0 || memcmp(datum->data, utf8, size) == 0);
}

HF_END_DECLS

#endif

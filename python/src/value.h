/*
 * value.h: Python objects as encoded values (src/value/codec.h) and back.
 *
 *      object --hfpy_encode--> bytes --hfpy_decode--> an equal object of the same type
 *      key    --hfpy_key-----> bytes, and the canonical bytes that are hashed and compared (src/value/canonical.h)
 *
 * What an object's type is decides, exactly: a subclass of int or dict is not made a plain one. In this order:
 *
 *      None, bool, int, float, complex, str, bytes, bytearray, tuple, frozenset, list, dict, set,
 *      date, time, datetime, timedelta, timezone, ZoneInfo, Decimal, Fraction, UUID       their own kinds
 *      a type that register_codec was told of                                             OBJECT
 *      a member of an Enum                                                                ENUM, by class and member
 *      anything else, where HFPY_PICKLE allows it                                         PICKLE, protocol 5
 *
 * Lists, dicts and sets are stored by value: what they share is stored each time, and what comes back is a copy.
 *
 * Invariants.
 *   1. Each function leaves an exception behind if it returns a failure (negative, NULL), and changes nothing then.
 *   2. Foreign code (a tzinfo, an Enum's class, a codec, pickle, an import, whatever the collector runs) may do
 *      anything while these functions run: every object that is used after it is held. A container that it changes
 *      meanwhile is a RuntimeError.
 *   3. The C stack is bounded: HF_VALUE_DEPTH_MAX open values, and foreign code counts as a call of Python.
 *   4. Any bytes may be decoded: what is no value is a CorruptError. Classes are sought among the modules that are
 *      imported, and pickles loaded only with HFPY_PICKLE.
 *
 * Concurrency: under the GIL. hfpy_decode's bytes must stay until it returns, whatever runs meanwhile.
 */
#ifndef HFPY_VALUE_H
#define HFPY_VALUE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "errors.h"

#include "value/buffer.h"
#include "value/canonical.h"

enum {
    HFPY_PICKLE = 1, /* what has no kind of its own may be a pickle */
    HFPY_AS_KEY = 2, /* what cannot be a key is a TypeError as a dict's */
};

/* Names of attributes, interned. */
/* clang-format off */
#define HFPY_NAMES(X)                                                                                             \
    X(utcoffset)                                                                                                  \
    X(key) X(numerator) X(denominator) X(is_safe) X(_name_) X(_value_) X(_member_type_) X(to_bytes) X(from_bytes) \
        X(bit_length) X(__module__) X(__qualname__) X(__getinitargs__) X(__dict__) X(__hash__)
/* clang-format on */

typedef struct hfpy_names {
#define HFPY_NAME(name) PyObject *name;
    HFPY_NAMES(HFPY_NAME)
#undef HFPY_NAME
} hfpy_names;

/* What is imported when it is first needed: an object of such a type, or of an unknown one. */
typedef struct hfpy_library {
    PyObject *datetime_capsule; /* keeps datetime_api */
    PyTypeObject *zoneinfo_type;
    PyTypeObject *decimal_type;
    PyTypeObject *fraction_type;
    PyTypeObject *uuid_type;
    PyTypeObject *enum_meta;
    PyTypeObject *flag_type;
    PyObject *enum_hash; /* Enum.__hash__ */
    PyObject *safety[3]; /* SafeUUID's members by hf_uuid_safety */
    PyObject *uuid_keywords;
    PyObject *dumps, *loads, *pickling_error;
    void *datetime_api; /* PyDateTime_CAPI */
} hfpy_library;

typedef struct hfpy_values {
    hfpy_names names;
    hfpy_library library; /* all NULL until it is needed */
    PyObject *codecs;     /* {type: (name, encode, decode, type)} */
    PyObject *codecs_by_name;
} hfpy_values;

int hfpy_values_exec(PyObject *module, homes_state *state);
int hfpy_values_traverse(hfpy_values *values, visitproc visit, void *arg);
/* Breaks cycles: codecs are users' objects. What else there is stays, for it may be needed until the end. */
void hfpy_values_clear(hfpy_values *values);
void hfpy_values_free(hfpy_values *values);

/* Appends the encoding of an object to *out, which has what it had if this fails. */
int hfpy_encode(homes_state *state, PyObject *object, unsigned flags, hf_buffer *out);

/* The object that the bytes are, new reference. */
PyObject *hfpy_decode(homes_state *state, const uint8_t *bytes, size_t size, unsigned flags);

/*
 * A key, as it was given and as it is hashed and compared. Must stay where it is until it is cleared, since its parts
 * point into it and into each other.
 */
struct hfpy_key {
    hf_buffer encoded;
    hf_canonical canonical;
    uint8_t room[HF_KEY_ROOM];
};

/* HFPY_PICKLE matters to a tzinfo of a type of its own, in a datetime. To be cleared, if this succeeded. */
int hfpy_key(homes_state *state, PyObject *object, unsigned flags, struct hfpy_key *key);

static inline void hfpy_key_clear(struct hfpy_key *key)
{
    hf_canonical_clear(&key->canonical);
    hf_buffer_clear(&key->encoded);
}

static inline uint64_t hfpy_key_hash(const struct hfpy_key *key, uint64_t seed)
{
    return hf_canonical_hash(&key->canonical, seed);
}

/* register_codec(type, name, encode, decode), see its documentation. */
PyObject *hfpy_register_codec(PyObject *module, PyObject *args, PyObject *kwargs);
extern const char hfpy_register_codec_doc[];

#endif

/*
 * value_encoder.h: what the files that encode objects share: the encoder, and what each puts.
 *
 *      value_encode.c            text, numbers, containers, codecs and pickles; keys; which type is whose
 *      value_encode_time.c       dates, times, time zones
 *      value_encode_library.c    Decimal, Fraction, UUID, members of Enums
 *
 * Bytes are appended while the object is walked, depth first. What is short and frequent is put with format.h;
 * everything else is made an item, whose bytes the core's writer puts (hf_value_put).
 *
 * Held: the caller holds the object he gives, and each container the objects that are in it, unless it can change;
 * what was taken out of a list, dict or set is counted here as long as it is used.
 *
 * Concurrency, failure: value.h. Each function here returns 0, or -1 with an exception, unless it says otherwise.
 */
#ifndef HFPY_VALUE_ENCODER_H
#define HFPY_VALUE_ENCODER_H

#include "value_impl.h"

#include "base/memory.h"

typedef struct hfpy_encoder {
    homes_state *state;
    hf_buffer *out;
    unsigned flags;
    unsigned depth;
    unsigned containers; /* how many there were: each so many, signals are looked at */
} hfpy_encoder;

/* -- value_encode.c -- */

int hfpy_put_item(hfpy_encoder *e, const hf_value_item *item);

/* A value is opened: something follows that is inside it. LimitError. */
int hfpy_encoder_enter(hfpy_encoder *e);

static inline void hfpy_encoder_leave(hfpy_encoder *e)
{
    e->depth--;
}

int hfpy_put_object(hfpy_encoder *e, PyObject *object);

/* An object as one of this type, which is its own or, of an Enum's member, its base's. */
int hfpy_put_as(hfpy_encoder *e, PyObject *object, PyTypeObject *type);

/* One as its codec or pickle has it; and one of a type without a kind of its own. */
int hfpy_put_opaque(hfpy_encoder *e, PyObject *object, PyTypeObject *type);
int hfpy_put_foreign(hfpy_encoder *e, PyObject *object, PyTypeObject *type);

/* The UTF-8 of a str, for an item; good until it is cleared and as long as the str is. */
typedef struct hfpy_text {
    hf_span span;
    uint8_t *made;
} hfpy_text;

/* TypeError where it is no str. */
int hfpy_text_of(hfpy_encoder *e, PyObject *object, hfpy_text *out);

static inline void hfpy_text_clear(hfpy_text *t)
{
    hf_free(t->made);
}

/* The bytes of an int that may be long, as a bytes object: new reference. */
static inline PyObject *hfpy_int_bytes(hfpy_encoder *e, PyObject *number)
{
    const hfpy_names *names = &e->state->values.names;
    return hfpy_bytes_of_int(number, names->bit_length, names->to_bytes);
}

static inline hf_span hfpy_span_of_bytes(PyObject *bytes)
{
    return hf_span_of(PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
}

/* -- value_encode_time.c -- */

int hfpy_put_date(hfpy_encoder *e, PyObject *date);
int hfpy_put_delta(hfpy_encoder *e, PyObject *delta);
int hfpy_put_datetime(hfpy_encoder *e, const hfpy_library *library, PyObject *object);
int hfpy_put_time(hfpy_encoder *e, const hfpy_library *library, PyObject *object);
int hfpy_put_timezone(hfpy_encoder *e, const hfpy_library *library, PyObject *zone);
int hfpy_put_zoneinfo(hfpy_encoder *e, PyObject *zone);

/* -- value_encode_library.c -- */

int hfpy_put_decimal(hfpy_encoder *e, PyObject *number, PyTypeObject *type);
int hfpy_put_fraction(hfpy_encoder *e, PyObject *ratio);
int hfpy_put_uuid(hfpy_encoder *e, const hfpy_library *library, PyObject *object);
int hfpy_put_enum(hfpy_encoder *e, const hfpy_library *library, PyObject *object, PyTypeObject *type);

#endif

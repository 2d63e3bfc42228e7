/*
 * stored_key.h: keys and values of what is stored as bytes, on their way in and out.
 *
 *      str of ASCII, bytes, int     made and read here, on the stack, without a call of the codec
 *      everything else              value.h
 *
 * Most keys and many values are of these three types, and a look-up takes little longer than it takes to encode a
 * key. SharedMap and Cask both use it; what their maps call a key is theirs.
 *
 * Concurrency: under the GIL. Failure: an exception.
 */
#ifndef HFPY_STORED_KEY_H
#define HFPY_STORED_KEY_H

#include "homes.h"

#include "base/span.h"
#include "value/format.h"

#include <stdbool.h>

enum {
    HFPY_SHORT_KEY = 64,   /* bytes of a key that is made here, its tag included */
    HFPY_VALUE_ROOM = 512, /* bytes of a value that needs no allocation */
    HFPY_INT_ROOM = 16,
};

/* A key on its way in. Stays where it is until it is cleared. */
typedef struct hfpy_stored_key {
    hf_span canonical; /* what is hashed and compared */
    hf_span given;     /* the key as it was given, where that is another form; else no bytes */
    bool is_long;
    uint8_t room[HFPY_SHORT_KEY];
    struct hfpy_key codec; /* if is_long */
} hfpy_stored_key;

static inline void hfpy_stored_key_clear(hfpy_stored_key *key)
{
    if (key->is_long)
        hfpy_key_clear(&key->codec);
}

int hfpy_stored_key_long(homes_state *state, PyObject *object, unsigned flags, hfpy_stored_key *key);

/* To be cleared if this succeeds. Foreign code may run. */
static inline int hfpy_stored_key_make(homes_state *state, PyObject *object, unsigned flags, hfpy_stored_key *key)
{
    hf_buffer out;
    int overflow = 0;

    hf_buffer_init(&out, key->room, sizeof key->room, sizeof key->room);
    if (PyUnicode_CheckExact(object) && PyUnicode_IS_COMPACT_ASCII(object) &&
        PyUnicode_GET_LENGTH(object) < HF_TAG_STR_LONG - HF_TAG_STR) {
        size_t size = (size_t)PyUnicode_GET_LENGTH(object);
        hf_buffer_put_byte(&out, HF_TAG_STR + (unsigned)size);
        hf_buffer_put(&out, PyUnicode_1BYTE_DATA(object), size);
    } else if (PyLong_CheckExact(object)) {
        int64_t number = PyLong_AsLongLongAndOverflow(object, &overflow);
        if (overflow != 0)
            return hfpy_stored_key_long(state, object, flags, key);
        hf_put_int64(&out, number);
    } else if (PyBytes_CheckExact(object) && PyBytes_GET_SIZE(object) < HF_TAG_BYTES_LONG - HF_TAG_BYTES) {
        size_t size = (size_t)PyBytes_GET_SIZE(object);
        hf_buffer_put_byte(&out, HF_TAG_BYTES + (unsigned)size);
        hf_buffer_put(&out, PyBytes_AS_STRING(object), size);
    } else {
        return hfpy_stored_key_long(state, object, flags, key);
    }
    key->is_long = false;
    key->canonical = hf_span_of(key->room, out.size);
    key->given = hf_span_of(NULL, 0);
    return 0;
}

/* A value on its way in. */
typedef struct hfpy_stored_value {
    hf_buffer encoded;
    uint8_t room[HFPY_VALUE_ROOM];
} hfpy_stored_value;

static inline void hfpy_stored_value_clear(hfpy_stored_value *value)
{
    hf_buffer_clear(&value->encoded);
}

static inline hf_span hfpy_stored_value_span(const hfpy_stored_value *value)
{
    return hf_span_of(value->encoded.bytes, value->encoded.size);
}

/* Appends a str or bytes that fits into what room there is. */
static inline bool hfpy_put_short(hf_buffer *out, unsigned tag, unsigned tag_long, const void *bytes, Py_ssize_t size)
{
    if ((size_t)size + HF_VALUE_HEAD_SIMPLE > out->capacity - out->size)
        return false;
    hf_put_counted(out, tag, tag_long, (uint64_t)size);
    hf_buffer_put(out, bytes, (size_t)size);
    return true;
}

/* To be cleared if this succeeds. Foreign code may run. */
static inline int hfpy_stored_value_make(homes_state *state, PyObject *object, unsigned flags,
                                         hfpy_stored_value *value)
{
    hf_buffer *out = &value->encoded;
    int overflow = 0;

    hf_buffer_init(out, value->room, sizeof value->room, UINT32_MAX);
    if (PyUnicode_CheckExact(object) && PyUnicode_IS_COMPACT_ASCII(object)) {
        if (hfpy_put_short(out, HF_TAG_STR, HF_TAG_STR_LONG, PyUnicode_1BYTE_DATA(object),
                           PyUnicode_GET_LENGTH(object)))
            return 0;
    } else if (PyBytes_CheckExact(object)) {
        if (hfpy_put_short(out, HF_TAG_BYTES, HF_TAG_BYTES_LONG, PyBytes_AS_STRING(object), PyBytes_GET_SIZE(object)))
            return 0;
    } else if (PyLong_CheckExact(object)) {
        int64_t number = PyLong_AsLongLongAndOverflow(object, &overflow);
        if (overflow == 0) {
            hf_put_int64(out, number);
            return 0;
        }
    }
    if (hfpy_encode(state, object, flags, out) == 0)
        return 0;
    hf_buffer_clear(out);
    return -1;
}

/* Surrogates begin with this byte. To decode one is an exception first, which is an object that the collector is
 * interested in. */
static inline bool hfpy_may_have_surrogate(const char *utf8, size_t size)
{
    const char *at = size == 0 ? NULL : memchr(utf8, 0xed, size);

    for (; at != NULL; at = memchr(at, 0xed, size - (size_t)(at - utf8))) {
        at++;
        if (at == utf8 + size || (unsigned char)*at >= 0xa0)
            return true;
    }
    return false;
}

/*
 * The object of an encoding that takes no foreign code to make: nothing that the collector is interested in. 1 and
 * the object (NULL: MemoryError), or 0: it is another one, or damaged.
 */
static inline int hfpy_plain(hf_span value, PyObject **out)
{
    const uint8_t *bytes = value.bytes;
    size_t rest = value.size - 1;
    unsigned tag = value.size == 0 ? 0 : bytes[0];

    if (tag >= HF_TAG_STR && tag <= HF_TAG_BYTES_LONG) {
        bool text = tag <= HF_TAG_STR_LONG;
        size_t size = tag - (text ? HF_TAG_STR : HF_TAG_BYTES), head = 1;
        if (tag == (text ? HF_TAG_STR_LONG : HF_TAG_BYTES_LONG)) {
            unsigned shift = 0, byte;
            size = 0;
            do {
                if (head == value.size || shift > 28)
                    return 0;
                byte = bytes[head++];
                size |= (size_t)(byte & 0x7f) << shift;
                shift += 7;
            } while (byte & 0x80);
            if (byte == 0)
                return 0;
            if (size < (text ? HF_TAG_STR_LONG - HF_TAG_STR : HF_TAG_BYTES_LONG - HF_TAG_BYTES))
                return 0;
        }
        if (value.size != head + size)
            return 0;
        const char *begin = (const char *)bytes + head;
        if (text && hfpy_may_have_surrogate(begin, size))
            return 0;
        *out = text ? PyUnicode_DecodeUTF8(begin, (Py_ssize_t)size, NULL)
                    : PyBytes_FromStringAndSize(begin, (Py_ssize_t)size);
        if (*out == NULL && text && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
            PyErr_Clear(); /* damage */
            return 0;
        }
        return 1;
    }
    if (tag >= HF_TAG_INT && tag < HF_TAG_INT_LONG) {
        if (rest != tag - HF_TAG_INT || hf_int_size(hf_span_of(bytes + 1, rest)) != rest)
            return 0;
        *out = PyLong_FromLongLong(hf_load_le_signed(bytes + 1, rest));
        return 1;
    }
    if (tag == HF_TAG_FLOAT && rest == sizeof(double)) {
        *out = PyFloat_FromDouble(hf_double_of_bits(hf_load_le(bytes + 1, rest)));
        return 1;
    }
    if (rest != 0 || tag < HF_TAG_NONE || tag > HF_TAG_TRUE)
        return 0;
    *out = Py_NewRef(tag == HF_TAG_NONE ? Py_None : tag == HF_TAG_TRUE ? Py_True : Py_False);
    return 1;
}

/* The object of bytes that stay where they are whatever runs: the caller's, or in something that is pinned. */
static inline PyObject *hfpy_stored_decode(homes_state *state, hf_span value, unsigned flags)
{
    PyObject *object;

    return hfpy_plain(value, &object) ? object : hfpy_decode(state, value.bytes, value.size, flags);
}

/* A pair of two such, as a new tuple. */
PyObject *hfpy_stored_item(homes_state *state, hf_span key, hf_span value, unsigned flags);

#endif

/*
 * value_encode.c: objects to encoded values, and keys: text, numbers, containers, and which type is whose. See value.h for
 * what it does, value_encoder.h for how.
 *
 * The members of a set are put in the order in which they come and sorted when they are all there:
 *
 *      out  [ before | head | member | member | member ]       members: where each begins, how long it is
 */
#include "value_encoder.h"

#include "value/members.h"

/* -- room, limits -- */

static int too_long(hfpy_encoder *e)
{
    return hfpy_throw(e->state, HFPY_LIMIT, "a value of more than %zu bytes cannot be stored here", e->out->limit);
}

/* Makes room for a head and so many bytes behind it. */
static inline int reserve(hfpy_encoder *e, size_t size)
{
    if (size > e->out->limit - e->out->size)
        return too_long(e);
    if (hf_buffer_reserve(e->out, size + HF_VALUE_HEAD_SIMPLE) < 0)
        return hfpy_fail(e->state, HF_NOMEM, NULL);
    return 0;
}

int hfpy_put_item(hfpy_encoder *e, const hf_value_item *item)
{
    int status = hf_value_put(e->out, item);
    if (status == HF_LIMIT)
        return too_long(e);
    return status < 0 ? hfpy_fail(e->state, status, NULL) : 0;
}

int hfpy_encoder_enter(hfpy_encoder *e)
{
    if (e->depth == HF_VALUE_DEPTH_MAX)
        return hfpy_throw(e->state, HFPY_LIMIT,
                          "a value nested more than %d deep cannot be stored, nor one that contains itself",
                          HF_VALUE_DEPTH_MAX);
    e->depth++;
    if (++e->containers % 4096 == 0 && PyErr_CheckSignals() < 0)
        return -1;
    return 0;
}

static int put_counted(hfpy_encoder *e, unsigned tag, unsigned tag_long, Py_ssize_t count)
{
    if (reserve(e, 0) < 0)
        return -1;
    hf_put_counted(e->out, tag, tag_long, (uint64_t)count);
    return hfpy_encoder_enter(e);
}

/* -- text -- */

/* How many bytes of UTF-8; a surrogate counts as any character, whatever is beside it. */
static size_t utf8_size(int kind, const void *data, Py_ssize_t length)
{
    size_t size = (size_t)length;
    for (Py_ssize_t i = 0; i < length; i++) {
        Py_UCS4 code = PyUnicode_READ(kind, data, i);
        size += (code >= 0x80) + (code >= 0x800) + (code >= 0x10000);
    }
    return size;
}

static uint8_t *put_utf8(uint8_t *at, int kind, const void *data, Py_ssize_t length)
{
    for (Py_ssize_t i = 0; i < length; i++) {
        Py_UCS4 code = PyUnicode_READ(kind, data, i);
        if (code < 0x80) {
            *at++ = (uint8_t)code;
            continue;
        }
        if (code < 0x800) {
            *at++ = (uint8_t)(0xc0 | code >> 6);
        } else {
            if (code < 0x10000) {
                *at++ = (uint8_t)(0xe0 | code >> 12);
            } else {
                *at++ = (uint8_t)(0xf0 | code >> 18);
                *at++ = (uint8_t)(0x80 | (code >> 12 & 0x3f));
            }
            *at++ = (uint8_t)(0x80 | (code >> 6 & 0x3f));
        }
        *at++ = (uint8_t)(0x80 | (code & 0x3f));
    }
    return at;
}

static int put_str_wide(hfpy_encoder *e, PyObject *text)
{
    int kind = (int)PyUnicode_KIND(text);
    const void *data = PyUnicode_DATA(text);
    Py_ssize_t length = PyUnicode_GET_LENGTH(text);
    size_t size = utf8_size(kind, data, length);
    if (reserve(e, size) < 0)
        return -1;
    hf_buffer *out = e->out;
    hf_put_counted(out, HF_TAG_STR, HF_TAG_STR_LONG, size);
    uint8_t *end = put_utf8(out->bytes + out->size, kind, data, length);
    HF_ASSERT((size_t)(end - out->bytes) == out->size + size);
    out->size = (size_t)(end - out->bytes);
    return 0;
}

static inline int put_str(hfpy_encoder *e, PyObject *text)
{
    if (hfpy_str_ready(text) < 0)
        return -1;
    if (!PyUnicode_IS_ASCII(text))
        return put_str_wide(e, text);
    hf_span span = {PyUnicode_1BYTE_DATA(text), (size_t)PyUnicode_GET_LENGTH(text)};
    if (reserve(e, span.size) < 0)
        return -1;
    hf_put_text(e->out, span);
    return 0;
}

int hfpy_text_of(hfpy_encoder *e, PyObject *object, hfpy_text *out)
{
    out->made = NULL;
    if (!PyUnicode_Check(object)) {
        PyErr_Format(PyExc_TypeError, "a name that is stored must be a str, not '%s'", Py_TYPE(object)->tp_name);
        return -1;
    }
    if (hfpy_str_ready(object) < 0)
        return -1;
    int kind = (int)PyUnicode_KIND(object);
    const void *data = PyUnicode_DATA(object);
    Py_ssize_t length = PyUnicode_GET_LENGTH(object);
    if (PyUnicode_IS_ASCII(object)) {
        out->span = hf_span_of(data, (size_t)length);
        return 0;
    }
    size_t size = utf8_size(kind, data, length);
    out->made = hf_alloc(size);
    if (out->made == NULL)
        return hfpy_fail(e->state, HF_NOMEM, NULL);
    put_utf8(out->made, kind, data, length);
    out->span = hf_span_of(out->made, size);
    return 0;
}

/* -- numbers, bytes -- */

static int put_int_long(hfpy_encoder *e, PyObject *number)
{
    PyObject *bytes = hfpy_int_bytes(e, number);
    if (bytes == NULL)
        return -1;
    int status = hfpy_put_item(e, &(hf_value_item){.kind = HF_VALUE_INT, .span = hfpy_span_of_bytes(bytes)});
    Py_DECREF(bytes);
    return status;
}

static inline int put_int(hfpy_encoder *e, PyObject *number)
{
    int overflow;
    long long small = PyLong_AsLongLongAndOverflow(number, &overflow);
    if (overflow != 0)
        return put_int_long(e, number);
    if (reserve(e, 0) < 0)
        return -1;
    hf_put_int64(e->out, small);
    return 0;
}

static inline int put_byte(hfpy_encoder *e, unsigned byte)
{
    if (reserve(e, 0) < 0)
        return -1;
    hf_buffer_put_byte(e->out, byte);
    return 0;
}

static inline int put_float(hfpy_encoder *e, double real)
{
    if (reserve(e, 0) < 0)
        return -1;
    hf_buffer_put_byte(e->out, HF_TAG_FLOAT);
    hf_put_le(e->out, hf_bits_of_double(real), 8);
    return 0;
}

static inline int put_bytes(hfpy_encoder *e, PyObject *bytes)
{
    size_t size = (size_t)PyBytes_GET_SIZE(bytes);
    if (reserve(e, size) < 0)
        return -1;
    hf_put_counted(e->out, HF_TAG_BYTES, HF_TAG_BYTES_LONG, size);
    hf_buffer_put(e->out, PyBytes_AS_STRING(bytes), size);
    return 0;
}

static int put_complex(hfpy_encoder *e, PyObject *number)
{
    Py_complex value = ((PyComplexObject *)number)->cval;
    return hfpy_put_item(e, &(hf_value_item){.kind = HF_VALUE_COMPLEX,
                                             .bits = {hf_bits_of_double(value.real), hf_bits_of_double(value.imag)}});
}

static int put_bytearray(hfpy_encoder *e, PyObject *array)
{
    hf_span span = {(const uint8_t *)PyByteArray_AS_STRING(array), (size_t)PyByteArray_GET_SIZE(array)};
    return hfpy_put_item(e, &(hf_value_item){.kind = HF_VALUE_BYTEARRAY, .span = span});
}

/* -- containers -- */

static int put_tuple(hfpy_encoder *e, PyObject *tuple)
{
    Py_ssize_t count = PyTuple_GET_SIZE(tuple);
    if (put_counted(e, HF_TAG_TUPLE, HF_TAG_TUPLE_LONG, count) < 0)
        return -1;
    for (Py_ssize_t i = 0; i < count; i++)
        if (hfpy_put_object(e, PyTuple_GET_ITEM(tuple, i)) < 0)
            return -1;
    hfpy_encoder_leave(e);
    return 0;
}

static int changed(const char *what)
{
    PyErr_Format(PyExc_RuntimeError, "%s changed size during iteration", what);
    return -1;
}

static int put_list(hfpy_encoder *e, PyObject *list)
{
    Py_ssize_t count = PyList_GET_SIZE(list);
    if (put_counted(e, HF_TAG_LIST, HF_TAG_LIST_LONG, count) < 0)
        return -1;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = hfpy_list_item(list, i);
        if (item == NULL)
            return changed("list");
        int status = hfpy_put_object(e, item);
        Py_DECREF(item);
        if (status < 0)
            return -1;
    }
    if (PyList_GET_SIZE(list) != count)
        return changed("list");
    hfpy_encoder_leave(e);
    return 0;
}

/* Puts the pairs; their number is *put then. */
static int put_pairs(hfpy_encoder *e, PyObject *dict, Py_ssize_t count, Py_ssize_t *put)
{
    Py_ssize_t at = 0;
    PyObject *key, *value;
    while (*put < count && PyDict_Next(dict, &at, &key, &value)) {
        Py_INCREF(key);
        Py_INCREF(value);
        int status = hfpy_put_object(e, key);
        if (status == 0)
            status = hfpy_put_object(e, value);
        Py_DECREF(key);
        Py_DECREF(value);
        if (status < 0)
            return -1;
        ++*put;
        if (PyDict_GET_SIZE(dict) != count)
            return changed("dictionary");
    }
    return 0;
}

static int put_dict(hfpy_encoder *e, PyObject *dict)
{
    Py_ssize_t count = PyDict_GET_SIZE(dict), put = 0;
    int status;
    if (put_counted(e, HF_TAG_DICT, HF_TAG_DICT_LONG, count) < 0)
        return -1;
    Py_BEGIN_CRITICAL_SECTION(dict);
    status = put_pairs(e, dict, count, &put);
    Py_END_CRITICAL_SECTION();
    if (status == 0 && put != count)
        status = changed("dictionary");
    hfpy_encoder_leave(e);
    return status;
}

/* Puts the members in the order of their encodings. */
static int sort_members(hfpy_encoder *e, hf_member *members, size_t count)
{
    hf_buffer *out = e->out;
    if (count < 2)
        return 0;
    size_t start = members[0].at, size = out->size - start;
    uint8_t *sorted = hf_alloc(size);
    if (sorted == NULL)
        return hfpy_fail(e->state, HF_NOMEM, NULL);
    hf_members_sort(out->bytes, members, count);
    size_t gathered = hf_members_gather(out->bytes, members, count, sorted);
    HF_ASSERT(gathered == size);
    memcpy(out->bytes + start, sorted, gathered);
    hf_free(sorted);
    return 0;
}

static int put_members(hfpy_encoder *e, PyObject *iterator, hf_member *members, Py_ssize_t count)
{
    PyObject *member;
    Py_ssize_t put = 0;
    while ((member = PyIter_Next(iterator)) != NULL) {
        if (put == count) {
            Py_DECREF(member);
            return changed("Set");
        }
        members[put].at = e->out->size;
        int status = hfpy_put_object(e, member);
        members[put].size = e->out->size - members[put].at;
        put++;
        Py_DECREF(member);
        if (status < 0)
            return -1;
    }
    if (PyErr_Occurred())
        return -1;
    return put == count ? sort_members(e, members, (size_t)count) : changed("Set");
}

/* `type` is set or frozenset; the object may be of a subtype of it (an Enum's base). */
static int put_set(hfpy_encoder *e, PyObject *set, PyTypeObject *type)
{
    Py_ssize_t count = PySet_GET_SIZE(set);
    if (type == &PySet_Type) {
        if (put_counted(e, HF_TAG_SET, HF_TAG_SET_LONG, count) < 0)
            return -1;
    } else if (hfpy_put_item(e, &(hf_value_item){.kind = HF_VALUE_FROZENSET, .count = (uint64_t)count}) < 0 ||
               hfpy_encoder_enter(e) < 0) {
        return -1;
    }
    hf_member few[8], *members = few;
    if (count > (Py_ssize_t)(sizeof few / sizeof *few))
        members = (size_t)count > SIZE_MAX / sizeof *members ? NULL : hf_alloc((size_t)count * sizeof *members);
    if (members == NULL)
        return hfpy_fail(e->state, HF_NOMEM, NULL);
    PyObject *iterator = type->tp_iter(set);
    int status = iterator == NULL ? -1 : put_members(e, iterator, members, count);
    Py_XDECREF(iterator);
    if (members != few)
        hf_free(members);
    hfpy_encoder_leave(e);
    return status;
}

/* -- what is not ours to understand -- */

static int put_object_of_codec(hfpy_encoder *e, PyObject *object, PyObject *codec)
{
    hfpy_text name;
    if (hfpy_text_of(e, PyTuple_GET_ITEM(codec, HFPY_CODEC_NAME), &name) < 0)
        return -1;
    int status = hfpy_put_item(e, &(hf_value_item){.kind = HF_VALUE_OBJECT, .span = name.span});
    hfpy_text_clear(&name);
    if (status < 0 || hfpy_encoder_enter(e) < 0 || Py_EnterRecursiveCall(" in a codec's encode()") != 0)
        return -1;
    PyObject *payload = PyObject_CallOneArg(PyTuple_GET_ITEM(codec, HFPY_CODEC_ENCODE), object);
    Py_LeaveRecursiveCall();
    if (payload == NULL)
        return -1;
    if (payload == object || Py_IS_TYPE(payload, Py_TYPE(object)))
        status = hfpy_throw(
            e->state, HFPY_VALUE_TYPE, "the codec %R made a '%s' of a '%s': it must be an object of another type",
            PyTuple_GET_ITEM(codec, HFPY_CODEC_NAME), Py_TYPE(payload)->tp_name, Py_TYPE(object)->tp_name);
    else
        status = hfpy_put_object(e, payload);
    Py_DECREF(payload);
    hfpy_encoder_leave(e);
    return status;
}

/* What cannot be pickled is an object that cannot be stored, and why is the cause. */
static int not_pickled(hfpy_encoder *e, const hfpy_library *library, PyTypeObject *type)
{
    if (!PyErr_ExceptionMatches(library->pickling_error) && !PyErr_ExceptionMatches(PyExc_TypeError) &&
        !PyErr_ExceptionMatches(PyExc_AttributeError))
        return -1;
    return hfpy_throw_from(e->state, HFPY_VALUE_TYPE,
                           "an object of type '%s' cannot be stored: it has no codec, and pickle "
                           "refuses it",
                           type->tp_name);
}

static int put_pickle(hfpy_encoder *e, const hfpy_library *library, PyObject *object, PyTypeObject *type)
{
    if (!(e->flags & HFPY_PICKLE))
        return hfpy_throw(e->state, HFPY_VALUE_TYPE,
                          "an object of type '%s' cannot be stored: it has no codec (see holdfast.register_codec), "
                          "and pickles are not allowed here (pickle=True allows them)",
                          type->tp_name);
    if (Py_EnterRecursiveCall(" while an object is pickled") != 0)
        return -1;
    PyObject *bytes = PyObject_CallFunction(library->dumps, "Oi", object, 5);
    Py_LeaveRecursiveCall();
    if (bytes == NULL)
        return not_pickled(e, library, type);
    int status = -1;
    if (PyBytes_Check(bytes))
        status = hfpy_put_item(e, &(hf_value_item){.kind = HF_VALUE_PICKLE, .span = hfpy_span_of_bytes(bytes)});
    else
        PyErr_SetString(PyExc_TypeError, "pickle.dumps() did not return bytes");
    Py_DECREF(bytes);
    return status;
}

static int refuse_key(hfpy_encoder *e, PyTypeObject *type)
{
    if (type->tp_hash == PyObject_HashNotImplemented)
        return hfpy_throw(e->state, HFPY_KEY_TYPE, "unhashable type: '%s'", type->tp_name);
    return hfpy_throw(
        e->state, HFPY_KEY_TYPE,
        "an object of type '%s' cannot be a key; what can: None, bool, int, float, complex, str, bytes, "
        "date, time, datetime, timedelta, Decimal, Fraction, UUID, members of Enums, and tuples and "
        "frozensets of these",
        type->tp_name);
}

int hfpy_put_opaque(hfpy_encoder *e, PyObject *object, PyTypeObject *type)
{
    hfpy_library *library = hfpy_library_of(e->state);
    if (library == NULL)
        return -1;
    PyObject *codec = hfpy_codec_of_type(e->state, type);
    if (codec == NULL)
        return PyErr_Occurred() ? -1 : put_pickle(e, library, object, type);
    int status = put_object_of_codec(e, object, codec);
    Py_DECREF(codec);
    return status;
}

/* An object of a type without a kind of its own. A member of an Enum has one, unless its class has a codec. */
int hfpy_put_foreign(hfpy_encoder *e, PyObject *object, PyTypeObject *type)
{
    hfpy_library *library = hfpy_library_of(e->state);
    if (library == NULL)
        return -1;
    if (hfpy_is_enum(library, type)) {
        PyObject *codec = hfpy_codec_of_type(e->state, type);
        if (codec == NULL)
            return PyErr_Occurred() ? -1 : hfpy_put_enum(e, library, object, type);
        Py_DECREF(codec);
    }
    return e->flags & HFPY_AS_KEY ? refuse_key(e, type) : hfpy_put_opaque(e, object, type);
}

/* -- by type -- */

/* The types of Python's library. */
static int put_other(hfpy_encoder *e, PyObject *object, PyTypeObject *type)
{
    hfpy_library *library = hfpy_library_of(e->state);
    if (library == NULL)
        return -1;
    PyDateTime_CAPI *api = hfpy_datetime(library);
    if (type == api->DateTimeType)
        return hfpy_put_datetime(e, library, object);
    if (type == api->DateType)
        return hfpy_put_date(e, object);
    if (type == library->decimal_type)
        return hfpy_put_decimal(e, object, type);
    if (type == library->uuid_type)
        return hfpy_put_uuid(e, library, object);
    if (type == api->DeltaType)
        return hfpy_put_delta(e, object);
    if (type == api->TimeType)
        return hfpy_put_time(e, library, object);
    if (type == library->fraction_type)
        return hfpy_put_fraction(e, object);
    if (type == library->zoneinfo_type)
        return hfpy_put_zoneinfo(e, object);
    if (type == hfpy_timezone_type(library))
        return hfpy_put_timezone(e, library, object);
    return hfpy_put_foreign(e, object, type);
}

static int put_container(hfpy_encoder *e, PyObject *object, PyTypeObject *type)
{
    if (type == &PyTuple_Type)
        return put_tuple(e, object);
    if (type == &PyFrozenSet_Type)
        return put_set(e, object, type);
    if (type == &PyComplex_Type)
        return put_complex(e, object);
    int changes = type == &PyList_Type || type == &PyDict_Type || type == &PySet_Type || type == &PyByteArray_Type;
    if (!changes)
        return put_other(e, object, type);
    if (e->flags & HFPY_AS_KEY)
        return refuse_key(e, type);
    if (type == &PyList_Type)
        return put_list(e, object);
    if (type == &PyDict_Type)
        return put_dict(e, object);
    return type == &PySet_Type ? put_set(e, object, type) : put_bytearray(e, object);
}

int hfpy_put_as(hfpy_encoder *e, PyObject *object, PyTypeObject *type)
{
    if (type == &PyUnicode_Type)
        return put_str(e, object);
    if (type == &PyLong_Type)
        return put_int(e, object);
    if (type == &PyFloat_Type)
        return put_float(e, PyFloat_AS_DOUBLE(object));
    if (type == &PyBytes_Type)
        return put_bytes(e, object);
    if (object == Py_None)
        return put_byte(e, HF_TAG_NONE);
    if (type == &PyBool_Type)
        return put_byte(e, object == Py_True ? HF_TAG_TRUE : HF_TAG_FALSE);
    return put_container(e, object, type);
}

int hfpy_put_object(hfpy_encoder *e, PyObject *object)
{
    return hfpy_put_as(e, object, Py_TYPE(object));
}

int hfpy_encode(homes_state *state, PyObject *object, unsigned flags, hf_buffer *out)
{
    hfpy_encoder e = {.state = state, .out = out, .flags = flags};
    size_t before = out->size;
    int status = hfpy_put_object(&e, object);
    if (status == 0 && out->size > out->limit)
        status = too_long(&e);
    if (status < 0)
        out->size = before;
    return status;
}

/* -- keys -- */

/* What was put is its own canonical form. */
static int is_own_form(PyObject *object)
{
    return PyUnicode_CheckExact(object) || PyLong_CheckExact(object) || PyBytes_CheckExact(object) ||
           object == Py_None;
}

int hfpy_key(homes_state *state, PyObject *object, unsigned flags, struct hfpy_key *key)
{
    const char *reason = NULL;
    hf_buffer_init(&key->encoded, key->room, sizeof key->room, SIZE_MAX);
    int status = hfpy_encode(state, object, flags | HFPY_AS_KEY, &key->encoded);
    if (status == 0 && is_own_form(object)) {
        hf_buffer_init(&key->canonical.made, NULL, 0, SIZE_MAX);
        key->canonical.bytes = key->encoded.bytes;
        key->canonical.size = key->encoded.size;
        return 0;
    }
    if (status == 0) {
        status = hf_canonical_init(&key->canonical, key->encoded.bytes, key->encoded.size, &reason);
        if (status == HF_BAD_TYPE)
            hfpy_throw(state, HFPY_KEY_TYPE, "%s", reason);
        else if (status == HF_BAD_VALUE)
            hfpy_throw(state, HFPY_KEY_VALUE, "%s", reason);
        else if (status < 0)
            hfpy_fail(state, status, NULL);
    }
    if (status < 0)
        hf_buffer_clear(&key->encoded);
    return status < 0 ? status : 0;
}

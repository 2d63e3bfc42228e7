/*
 * value_encode.c: objects to encoded values, and keys. See value.h.
 *
 * Bytes are appended while the object is walked, depth first. What is short and frequent is put here with format.h;
 * everything else is made an item, whose bytes the core's writer puts (hf_value_put). The members of a set are put in
 * the order in which they come and sorted when they are all there:
 *
 *      out  [ before | head | member | member | member ]       members: where each begins, how long it is
 *
 * Held: the caller holds the object he gives, and each container the objects that are in it, unless it can change;
 * what was taken out of a list, dict or set is counted here as long as it is used.
 */
#include "value_impl.h"

#include "value/members.h"

#include "base/memory.h"

typedef struct encoder {
    homes_state *state;
    hf_buffer *out;
    unsigned flags;
    unsigned depth;
    unsigned containers; /* how many there were: each so many, signals are looked at */
} encoder;

static int put_object(encoder *e, PyObject *object);
static int put_as(encoder *e, PyObject *object, PyTypeObject *type);

/* -- room, limits -- */

static int too_long(encoder *e)
{
    return hfpy_throw(e->state, HFPY_LIMIT, "a value of more than %zu bytes cannot be stored here", e->out->limit);
}

/* Makes room for a head and so many bytes behind it. */
static inline int reserve(encoder *e, size_t size)
{
    if (size > e->out->limit - e->out->size)
        return too_long(e);
    if (hf_buffer_reserve(e->out, size + HF_VALUE_HEAD_SIMPLE) < 0)
        return hfpy_fail(e->state, HF_NOMEM, NULL);
    return 0;
}

static int put_item(encoder *e, const hf_value_item *item)
{
    int status = hf_value_put(e->out, item);
    if (status == HF_LIMIT)
        return too_long(e);
    return status < 0 ? hfpy_fail(e->state, status, NULL) : 0;
}

/* A value is opened: something follows that is inside it. */
static int enter(encoder *e)
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

static void leave(encoder *e)
{
    e->depth--;
}

static int put_counted(encoder *e, unsigned tag, unsigned tag_long, Py_ssize_t count)
{
    if (reserve(e, 0) < 0)
        return -1;
    hf_put_counted(e->out, tag, tag_long, (uint64_t)count);
    return enter(e);
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

static int put_str_wide(encoder *e, PyObject *text)
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

static inline int put_str(encoder *e, PyObject *text)
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

/* The UTF-8 of a str, for an item; good until it is cleared and as long as the str is. */
typedef struct text {
    hf_span span;
    uint8_t *made;
} text;

static int text_of(encoder *e, PyObject *object, text *out)
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

static void text_clear(text *t)
{
    hf_free(t->made);
}

/* -- numbers, bytes -- */

/* The bytes of an int that may be long, as a bytes object. */
static PyObject *int_bytes(encoder *e, PyObject *number)
{
    const hfpy_names *names = &e->state->values.names;
    return hfpy_bytes_of_int(number, names->bit_length, names->to_bytes);
}

static hf_span span_of_bytes(PyObject *bytes)
{
    return hf_span_of(PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
}

static int put_int_long(encoder *e, PyObject *number)
{
    PyObject *bytes = int_bytes(e, number);
    if (bytes == NULL)
        return -1;
    int status = put_item(e, &(hf_value_item){.kind = HF_VALUE_INT, .span = span_of_bytes(bytes)});
    Py_DECREF(bytes);
    return status;
}

static inline int put_int(encoder *e, PyObject *number)
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

static inline int put_byte(encoder *e, unsigned byte)
{
    if (reserve(e, 0) < 0)
        return -1;
    hf_buffer_put_byte(e->out, byte);
    return 0;
}

static inline int put_float(encoder *e, double real)
{
    if (reserve(e, 0) < 0)
        return -1;
    hf_buffer_put_byte(e->out, HF_TAG_FLOAT);
    hf_put_le(e->out, hf_bits_of_double(real), 8);
    return 0;
}

static inline int put_bytes(encoder *e, PyObject *bytes)
{
    size_t size = (size_t)PyBytes_GET_SIZE(bytes);
    if (reserve(e, size) < 0)
        return -1;
    hf_put_counted(e->out, HF_TAG_BYTES, HF_TAG_BYTES_LONG, size);
    hf_buffer_put(e->out, PyBytes_AS_STRING(bytes), size);
    return 0;
}

static int put_complex(encoder *e, PyObject *number)
{
    Py_complex value = ((PyComplexObject *)number)->cval;
    return put_item(e, &(hf_value_item){.kind = HF_VALUE_COMPLEX,
                                        .bits = {hf_bits_of_double(value.real), hf_bits_of_double(value.imag)}});
}

static int put_bytearray(encoder *e, PyObject *array)
{
    hf_span span = {(const uint8_t *)PyByteArray_AS_STRING(array), (size_t)PyByteArray_GET_SIZE(array)};
    return put_item(e, &(hf_value_item){.kind = HF_VALUE_BYTEARRAY, .span = span});
}

/* -- containers -- */

static int put_tuple(encoder *e, PyObject *tuple)
{
    Py_ssize_t count = PyTuple_GET_SIZE(tuple);
    if (put_counted(e, HF_TAG_TUPLE, HF_TAG_TUPLE_LONG, count) < 0)
        return -1;
    for (Py_ssize_t i = 0; i < count; i++)
        if (put_object(e, PyTuple_GET_ITEM(tuple, i)) < 0)
            return -1;
    leave(e);
    return 0;
}

static int changed(const char *what)
{
    PyErr_Format(PyExc_RuntimeError, "%s changed size during iteration", what);
    return -1;
}

static int put_list(encoder *e, PyObject *list)
{
    Py_ssize_t count = PyList_GET_SIZE(list);
    if (put_counted(e, HF_TAG_LIST, HF_TAG_LIST_LONG, count) < 0)
        return -1;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = hfpy_list_item(list, i);
        if (item == NULL)
            return changed("list");
        int status = put_object(e, item);
        Py_DECREF(item);
        if (status < 0)
            return -1;
    }
    if (PyList_GET_SIZE(list) != count)
        return changed("list");
    leave(e);
    return 0;
}

/* Puts the pairs; their number is *put then. */
static int put_pairs(encoder *e, PyObject *dict, Py_ssize_t count, Py_ssize_t *put)
{
    Py_ssize_t at = 0;
    PyObject *key, *value;
    while (*put < count && PyDict_Next(dict, &at, &key, &value)) {
        Py_INCREF(key);
        Py_INCREF(value);
        int status = put_object(e, key);
        if (status == 0)
            status = put_object(e, value);
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

static int put_dict(encoder *e, PyObject *dict)
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
    leave(e);
    return status;
}

/* Puts the members in the order of their encodings. */
static int sort_members(encoder *e, hf_member *members, size_t count)
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

static int put_members(encoder *e, PyObject *iterator, hf_member *members, Py_ssize_t count)
{
    PyObject *member;
    Py_ssize_t put = 0;
    while ((member = PyIter_Next(iterator)) != NULL) {
        if (put == count) {
            Py_DECREF(member);
            return changed("Set");
        }
        members[put].at = e->out->size;
        int status = put_object(e, member);
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
static int put_set(encoder *e, PyObject *set, PyTypeObject *type)
{
    Py_ssize_t count = PySet_GET_SIZE(set);
    if (type == &PySet_Type) {
        if (put_counted(e, HF_TAG_SET, HF_TAG_SET_LONG, count) < 0)
            return -1;
    } else if (put_item(e, &(hf_value_item){.kind = HF_VALUE_FROZENSET, .count = (uint64_t)count}) < 0 ||
               enter(e) < 0) {
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
    leave(e);
    return status;
}

/* -- dates and times -- */

static int64_t us_of_delta(PyObject *delta)
{
    int64_t days = PyDateTime_DELTA_GET_DAYS(delta), seconds = PyDateTime_DELTA_GET_SECONDS(delta);
    return days * HF_DAY_US + seconds * HF_SECOND_US + PyDateTime_DELTA_GET_MICROSECONDS(delta);
}

static int32_t ordinal_of(PyObject *date)
{
    return hf_date_ordinal(
        (hf_date){PyDateTime_GET_YEAR(date), PyDateTime_GET_MONTH(date), PyDateTime_GET_DAY(date)});
}

static int64_t us_of_clock(int hour, int minute, int second, int us)
{
    return ((hour * 60 + minute) * INT64_C(60) + second) * HF_SECOND_US + us;
}

static int put_date(encoder *e, PyObject *date)
{
    return put_item(e, &(hf_value_item){.kind = HF_VALUE_DATE, .ordinal = ordinal_of(date)});
}

static int put_delta(encoder *e, PyObject *delta)
{
    hf_value_delta parts = {PyDateTime_DELTA_GET_DAYS(delta), PyDateTime_DELTA_GET_SECONDS(delta),
                            PyDateTime_DELTA_GET_MICROSECONDS(delta)};
    return put_item(e, &(hf_value_item){.kind = HF_VALUE_TIMEDELTA, .delta = parts});
}

/* What obj.utcoffset() says: 1 and *us; 0 for None; -1 with an exception. */
static int ask_offset(encoder *e, const hfpy_library *library, PyObject *object, int64_t *us)
{
    PyObject *offset = PyObject_CallMethodNoArgs(object, e->state->values.names.utcoffset);
    if (offset == NULL)
        return -1;
    int answer = offset != Py_None;
    if (answer && !PyObject_TypeCheck(offset, hfpy_datetime(library)->DeltaType)) {
        PyErr_Format(PyExc_TypeError, "utcoffset() returned a '%s'", Py_TYPE(offset)->tp_name);
        answer = -1;
    } else if (answer) {
        *us = us_of_delta(offset);
    }
    Py_DECREF(offset);
    return answer;
}

/* Whether a datetime's offset, which is `us`, would be another one with the other fold. */
static int ask_fold(encoder *e, const hfpy_library *library, PyObject *object, int64_t us)
{
    PyDateTime_CAPI *api = hfpy_datetime(library);
    PyObject *other = api->DateTime_FromDateAndTimeAndFold(
        PyDateTime_GET_YEAR(object), PyDateTime_GET_MONTH(object), PyDateTime_GET_DAY(object),
        PyDateTime_DATE_GET_HOUR(object), PyDateTime_DATE_GET_MINUTE(object), PyDateTime_DATE_GET_SECOND(object),
        PyDateTime_DATE_GET_MICROSECOND(object), PyDateTime_DATE_GET_TZINFO(object),
        !PyDateTime_DATE_GET_FOLD(object), api->DateTimeType);
    if (other == NULL)
        return -1;
    int64_t other_us = 0;
    int answer = ask_offset(e, library, other, &other_us);
    Py_DECREF(other);
    return answer < 0 ? -1 : answer == 0 || other_us != us;
}

/* A datetime.timezone's offset and name: *arguments keeps the name. */
static int read_timezone(encoder *e, const hfpy_library *library, PyObject *zone, hf_value_moment *moment,
                         PyObject **arguments, PyObject **name)
{
    moment->zone = HF_ZONE_FIXED;
    *arguments = *name = NULL;
    if (zone == hfpy_datetime(library)->TimeZone_UTC)
        return 0;
    *arguments = PyObject_CallMethodNoArgs(zone, e->state->values.names.__getinitargs__);
    if (*arguments == NULL)
        return -1;
    PyObject *offset;
    if (!PyTuple_Check(*arguments) ||
        !PyArg_ParseTuple(*arguments, "O!|U", hfpy_datetime(library)->DeltaType, &offset, name)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "timezone.__getinitargs__() did not return a tuple");
        Py_CLEAR(*arguments);
        return -1;
    }
    moment->offset_us = us_of_delta(offset);
    return 0;
}

/* The key of a ZoneInfo, new reference; NULL without an exception if it has none that can be stored. */
static PyObject *key_of_zone(encoder *e, PyObject *zone)
{
    PyObject *key = PyObject_GetAttr(zone, e->state->values.names.key);
    if (key != NULL && !PyUnicode_CheckExact(key))
        Py_CLEAR(key);
    return key;
}

static int put_opaque(encoder *e, PyObject *object, PyTypeObject *type);
static int put_foreign(encoder *e, PyObject *object, PyTypeObject *type);

/* Puts an item whose moment has a name, or none, and what follows it where its zone is of a type of its own. */
static int put_moment_named(encoder *e, hf_value_item *item, PyObject *name, PyObject *zone)
{
    text spelled = {{NULL, 0}, NULL};
    if (name != NULL && text_of(e, name, &spelled) < 0)
        return -1;
    item->moment.has_name = name != NULL && item->moment.zone == HF_ZONE_FIXED;
    item->moment.name = spelled.span;
    int status = put_item(e, item);
    text_clear(&spelled);
    if (status < 0 || item->moment.zone != HF_ZONE_OTHER)
        return status;
    if (enter(e) < 0)
        return -1;
    /* In a key too, whatever it is: what counts there is the offset. */
    unsigned flags = e->flags;
    e->flags &= ~(unsigned)HFPY_AS_KEY;
    status = put_opaque(e, zone, Py_TYPE(zone));
    e->flags = flags;
    leave(e);
    return status;
}

/* Of a time or datetime that has a tzinfo which is no datetime.timezone: asks it. *key: that of a ZoneInfo. */
static int ask_zone(encoder *e, const hfpy_library *library, PyObject *object, PyObject *zone, hf_value_item *item,
                    PyObject **key)
{
    hf_value_moment *moment = &item->moment;
    *key = NULL;
    if (Py_IS_TYPE(zone, library->zoneinfo_type)) {
        *key = key_of_zone(e, zone);
        if (*key == NULL && PyErr_Occurred())
            return -1;
    }
    moment->zone = *key != NULL ? HF_ZONE_NAMED : HF_ZONE_OTHER;
    int answer = ask_offset(e, library, object, &moment->offset_us);
    moment->has_offset = answer > 0;
    if (answer > 0 && item->kind == HF_VALUE_DATETIME) {
        answer = ask_fold(e, library, object, moment->offset_us);
        moment->fold_matters = answer > 0;
    }
    if (answer < 0)
        Py_CLEAR(*key);
    return answer < 0 ? -1 : 0;
}

/* A time or a datetime whose clock has been read into the item. */
static int put_moment(encoder *e, const hfpy_library *library, PyObject *object, PyObject *zone, hf_value_item *item)
{
    PyObject *held, *name;
    if (zone == Py_None)
        return put_item(e, item);
    if (Py_IS_TYPE(zone, hfpy_timezone_type(library))) {
        if (read_timezone(e, library, zone, &item->moment, &held, &name) < 0)
            return -1;
    } else {
        if (ask_zone(e, library, object, zone, item, &held) < 0)
            return -1;
        name = held;
    }
    int status = put_moment_named(e, item, name, zone);
    Py_XDECREF(held);
    return status;
}

static int put_datetime(encoder *e, const hfpy_library *library, PyObject *object)
{
    hf_value_item item = {.kind = HF_VALUE_DATETIME, .moment = {0}};
    item.moment.us = (ordinal_of(object) - 1) * HF_DAY_US +
                     us_of_clock(PyDateTime_DATE_GET_HOUR(object), PyDateTime_DATE_GET_MINUTE(object),
                                 PyDateTime_DATE_GET_SECOND(object), PyDateTime_DATE_GET_MICROSECOND(object));
    item.moment.fold = PyDateTime_DATE_GET_FOLD(object);
    return put_moment(e, library, object, PyDateTime_DATE_GET_TZINFO(object), &item);
}

static int put_time(encoder *e, const hfpy_library *library, PyObject *object)
{
    hf_value_item item = {.kind = HF_VALUE_TIME, .moment = {0}};
    item.moment.us = us_of_clock(PyDateTime_TIME_GET_HOUR(object), PyDateTime_TIME_GET_MINUTE(object),
                                 PyDateTime_TIME_GET_SECOND(object), PyDateTime_TIME_GET_MICROSECOND(object));
    item.moment.fold = PyDateTime_TIME_GET_FOLD(object);
    return put_moment(e, library, object, PyDateTime_TIME_GET_TZINFO(object), &item);
}

static int put_timezone(encoder *e, const hfpy_library *library, PyObject *zone)
{
    hf_value_item item = {.kind = HF_VALUE_TIMEZONE, .moment = {0}};
    PyObject *arguments, *name;
    if (read_timezone(e, library, zone, &item.moment, &arguments, &name) < 0)
        return -1;
    int status = put_moment_named(e, &item, name, zone);
    Py_XDECREF(arguments);
    return status;
}

static int put_zoneinfo(encoder *e, PyObject *zone)
{
    text spelled;
    PyObject *key = key_of_zone(e, zone);
    if (key == NULL)
        return PyErr_Occurred() ? -1 : put_foreign(e, zone, Py_TYPE(zone));
    int status = text_of(e, key, &spelled);
    if (status == 0) {
        status = put_item(e, &(hf_value_item){.kind = HF_VALUE_ZONE, .span = spelled.span});
        text_clear(&spelled);
    }
    Py_DECREF(key);
    return status;
}

/* -- Decimal, Fraction, UUID -- */

/*
 * Reads what str() makes of a Decimal, in any context: "-12.50", "1E+5", "-sNaN7", "Infinity". `digits` has room
 * for all of it; *count of them are there then.
 */
static void parse_decimal(const char *at, hf_value_decimal *decimal, char *digits, size_t *count)
{
    int64_t behind = 0;
    bool point = false;
    decimal->negative = *at == '-';
    at += decimal->negative;
    *count = 0;
    if (*at == 'I') {
        decimal->kind = HF_DECIMAL_INFINITE;
        return;
    }
    if (*at == 'N' || *at == 's') {
        decimal->kind = *at == 'N' ? HF_DECIMAL_NAN : HF_DECIMAL_SNAN;
        at += *at == 'N' ? strlen("NaN") : strlen("sNaN");
    }
    for (; *at == '.' || (*at >= '0' && *at <= '9'); at++) {
        behind += point && *at != '.';
        if (*at == '.')
            point = true;
        else
            digits[(*count)++] = *at;
    }
    if (*at == 'E' || *at == 'e')
        decimal->exponent = strtoll(at + 1, NULL, 10);
    decimal->exponent -= behind;
}

static int put_decimal(encoder *e, PyObject *number, PyTypeObject *type)
{
    PyObject *shown = type->tp_str(number);
    Py_ssize_t length;
    const char *ascii = shown == NULL ? NULL : PyUnicode_AsUTF8AndSize(shown, &length);
    if (ascii == NULL) {
        Py_XDECREF(shown);
        return -1;
    }
    /* The digits, and behind them the pairs that are made of them. */
    size_t room = (size_t)length + 1, count;
    char *digits = hf_alloc(2 * room);
    int status = -1;
    if (digits == NULL) {
        hfpy_fail(e->state, HF_NOMEM, NULL);
    } else {
        hf_value_item item = {.kind = HF_VALUE_DECIMAL, .decimal = {.kind = HF_DECIMAL_FINITE}};
        uint8_t *pairs = (uint8_t *)digits + room;
        parse_decimal(ascii, &item.decimal, digits, &count);
        item.decimal.pairs = hf_span_of(pairs, hf_decimal_pack(digits, count, pairs));
        status = put_item(e, &item);
    }
    hf_free(digits);
    Py_DECREF(shown);
    return status;
}

/* The bytes of an attribute that must be an int. */
static PyObject *attribute_bytes(encoder *e, PyObject *object, PyObject *name)
{
    PyObject *number = PyObject_GetAttr(object, name);
    PyObject *bytes = NULL;
    if (number != NULL && !PyLong_Check(number))
        PyErr_Format(PyExc_TypeError, "%U of a '%s' is not an int", name, Py_TYPE(object)->tp_name);
    else if (number != NULL)
        bytes = int_bytes(e, number);
    Py_XDECREF(number);
    return bytes;
}

static int put_fraction(encoder *e, PyObject *ratio)
{
    const hfpy_names *names = &e->state->values.names;
    int status = -1;
    PyObject *numerator = attribute_bytes(e, ratio, names->numerator);
    PyObject *denominator = numerator == NULL ? NULL : attribute_bytes(e, ratio, names->denominator);
    if (denominator != NULL) {
        hf_value_fraction fraction = {span_of_bytes(numerator), span_of_bytes(denominator)};
        status = put_item(e, &(hf_value_item){.kind = HF_VALUE_FRACTION, .fraction = fraction});
    }
    Py_XDECREF(numerator);
    Py_XDECREF(denominator);
    return status;
}

static int read_uuid(encoder *e, const hfpy_library *library, PyObject *object, hf_value_uuid *uuid)
{
    PyObject *bytes = attribute_bytes(e, object, PyTuple_GET_ITEM(library->uuid_keywords, 0));
    if (bytes == NULL)
        return -1;
    hf_span number = span_of_bytes(bytes);
    size_t size = hf_int_size(number);
    int fits = size <= HF_UUID_BYTES + 1 && !hf_int_is_negative(hf_span_of(number.bytes, size)) &&
               (size <= HF_UUID_BYTES || number.bytes[HF_UUID_BYTES] == 0);
    for (size_t i = 0; fits && i < HF_UUID_BYTES; i++)
        uuid->bytes[HF_UUID_BYTES - 1 - i] = i < size ? number.bytes[i] : 0;
    Py_DECREF(bytes);
    if (!fits)
        return hfpy_throw(e->state, HFPY_VALUE_TYPE, "a UUID of more than 128 bits cannot be stored");

    PyObject *safety = PyObject_GetAttr(object, e->state->values.names.is_safe);
    if (safety == NULL)
        return -1;
    uuid->safety = 0;
    while (uuid->safety <= HF_UUID_UNSAFE && library->safety[uuid->safety] != safety)
        uuid->safety++;
    Py_DECREF(safety);
    if (uuid->safety > HF_UUID_UNSAFE)
        return hfpy_throw(e->state, HFPY_VALUE_TYPE, "a UUID whose is_safe is no SafeUUID cannot be stored");
    return 0;
}

static int put_uuid(encoder *e, const hfpy_library *library, PyObject *object)
{
    hf_value_item item = {.kind = HF_VALUE_UUID};
    return read_uuid(e, library, object, &item.uuid) < 0 ? -1 : put_item(e, &item);
}

/* -- Enums -- */

/* Whether a type is one whose values have a kind, and can be keys: what an Enum's members may equal. */
static int is_base(const hfpy_library *library, PyTypeObject *type)
{
    PyDateTime_CAPI *api = hfpy_datetime(library);
    PyTypeObject *const types[] = {
        &PyLong_Type,    &PyUnicode_Type,       &PyFloat_Type,          &PyBytes_Type,      &PyTuple_Type,
        &PyComplex_Type, &PyFrozenSet_Type,     api->DateType,          api->TimeType,      api->DateTimeType,
        api->DeltaType,  library->decimal_type, library->fraction_type, library->uuid_type,
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (type == types[i])
            return 1;
    return 0;
}

/*
 * Whether a member is a key as canonical.h takes it: equal to its base's value, or, where it has none, to itself. Its
 * class may say otherwise.
 */
static int check_enum_key(encoder *e, const hfpy_library *library, PyTypeObject *type, PyTypeObject *base)
{
    int fits;
    if (base == &PyBaseObject_Type) {
        PyObject *hash = PyObject_GetAttr((PyObject *)type, e->state->values.names.__hash__);
        if (hash == NULL)
            return -1;
        fits = hash == library->enum_hash;
        Py_DECREF(hash);
    } else {
        fits = is_base(library, base) && type->tp_hash == base->tp_hash;
    }
    if (fits)
        return 0;
    return hfpy_throw(e->state, HFPY_KEY_TYPE,
                      "a member of '%s' cannot be a key: its class has an equality of its own", type->tp_name);
}

typedef struct enum_parts {
    PyObject *module, *name, *member; /* the member's name, or bytes of its number */
    PyTypeObject *base;
} enum_parts;

static void enum_clear(enum_parts *parts)
{
    Py_CLEAR(parts->module);
    Py_CLEAR(parts->name);
    Py_CLEAR(parts->member);
    Py_CLEAR(parts->base);
}

static int read_enum(encoder *e, const hfpy_library *library, PyObject *object, PyTypeObject *type, enum_parts *parts)
{
    const hfpy_names *names = &e->state->values.names;
    *parts = (enum_parts){0};
    int by_number = PyType_IsSubtype(type, library->flag_type);
    parts->module = PyObject_GetAttr((PyObject *)type, names->__module__);
    parts->name = parts->module == NULL ? NULL : PyObject_GetAttr((PyObject *)type, names->__qualname__);
    if (parts->name != NULL)
        parts->base = (PyTypeObject *)PyObject_GetAttr((PyObject *)type, names->_member_type_);
    if (parts->base != NULL && !PyType_Check(parts->base)) {
        PyErr_Format(PyExc_TypeError, "_member_type_ of '%s' is not a class", type->tp_name);
        Py_CLEAR(parts->base);
    }
    if (parts->base != NULL)
        parts->member =
            by_number ? attribute_bytes(e, object, names->_value_) : PyObject_GetAttr(object, names->_name_);
    if (parts->member != NULL)
        return by_number;
    enum_clear(parts);
    return -1;
}

static int put_member(encoder *e, const enum_parts *parts, int by_number, int has_base)
{
    hf_value_item item = {.kind = HF_VALUE_ENUM, .member = {.by_number = by_number, .has_base = has_base}};
    text module = {0}, name = {0}, member = {0};
    int status = text_of(e, parts->module, &module);
    if (status == 0)
        status = text_of(e, parts->name, &name);
    if (status == 0 && by_number)
        member.span = span_of_bytes(parts->member);
    else if (status == 0)
        status = text_of(e, parts->member, &member);
    if (status == 0) {
        item.member.module = module.span;
        item.member.class_name = name.span;
        item.member.member = member.span;
        status = put_item(e, &item);
    }
    text_clear(&module);
    text_clear(&name);
    text_clear(&member);
    return status;
}

/* What is stored is a name: it must be this class's, or the member could not be read again. */
static int check_enum_class(encoder *e, PyTypeObject *type, const enum_parts *parts)
{
    PyObject *found = NULL;
    if (PyUnicode_Check(parts->module) && PyUnicode_Check(parts->name))
        found = hfpy_find_class(e->state, parts->module, parts->name);
    Py_XDECREF(found);
    if (found == (PyObject *)type)
        return 0;
    if (found == NULL && PyErr_Occurred())
        return -1;
    return hfpy_throw(e->state, HFPY_VALUE_TYPE, "a member of %R cannot be stored: its class is not found as %S.%S",
                      type, parts->module, parts->name);
}

static int put_enum(encoder *e, const hfpy_library *library, PyObject *object, PyTypeObject *type)
{
    enum_parts parts;
    int by_number = read_enum(e, library, object, type, &parts);
    if (by_number < 0)
        return -1;
    /* A member of a class made of int is an int inside. */
    int has_base = is_base(library, parts.base) && PyType_IsSubtype(type, parts.base);
    int status = check_enum_class(e, type, &parts);
    if (status == 0 && (e->flags & HFPY_AS_KEY))
        status = check_enum_key(e, library, type, parts.base);
    if (status == 0)
        status = put_member(e, &parts, by_number, has_base);
    if (status == 0 && has_base) {
        status = enter(e);
        if (status == 0) {
            status = put_as(e, object, parts.base);
            leave(e);
        }
    }
    enum_clear(&parts);
    return status;
}

/* -- what is not ours to understand -- */

static int put_object_of_codec(encoder *e, PyObject *object, PyObject *codec)
{
    text name;
    if (text_of(e, PyTuple_GET_ITEM(codec, HFPY_CODEC_NAME), &name) < 0)
        return -1;
    int status = put_item(e, &(hf_value_item){.kind = HF_VALUE_OBJECT, .span = name.span});
    text_clear(&name);
    if (status < 0 || enter(e) < 0 || Py_EnterRecursiveCall(" in a codec's encode()") != 0)
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
        status = put_object(e, payload);
    Py_DECREF(payload);
    leave(e);
    return status;
}

/* What cannot be pickled is an object that cannot be stored, and why is the cause. */
static int not_pickled(encoder *e, const hfpy_library *library, PyTypeObject *type)
{
    if (!PyErr_ExceptionMatches(library->pickling_error) && !PyErr_ExceptionMatches(PyExc_TypeError) &&
        !PyErr_ExceptionMatches(PyExc_AttributeError))
        return -1;
    return hfpy_throw_from(e->state, HFPY_VALUE_TYPE,
                           "an object of type '%s' cannot be stored: it has no codec, and pickle "
                           "refuses it",
                           type->tp_name);
}

static int put_pickle(encoder *e, const hfpy_library *library, PyObject *object, PyTypeObject *type)
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
        status = put_item(e, &(hf_value_item){.kind = HF_VALUE_PICKLE, .span = span_of_bytes(bytes)});
    else
        PyErr_SetString(PyExc_TypeError, "pickle.dumps() did not return bytes");
    Py_DECREF(bytes);
    return status;
}

static int refuse_key(encoder *e, PyTypeObject *type)
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

/* An object as its codec or pickle has it. */
static int put_opaque(encoder *e, PyObject *object, PyTypeObject *type)
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
static int put_foreign(encoder *e, PyObject *object, PyTypeObject *type)
{
    hfpy_library *library = hfpy_library_of(e->state);
    if (library == NULL)
        return -1;
    if (hfpy_is_enum(library, type)) {
        PyObject *codec = hfpy_codec_of_type(e->state, type);
        if (codec == NULL)
            return PyErr_Occurred() ? -1 : put_enum(e, library, object, type);
        Py_DECREF(codec);
    }
    return e->flags & HFPY_AS_KEY ? refuse_key(e, type) : put_opaque(e, object, type);
}

/* -- by type -- */

/* The types of Python's library. */
static int put_other(encoder *e, PyObject *object, PyTypeObject *type)
{
    hfpy_library *library = hfpy_library_of(e->state);
    if (library == NULL)
        return -1;
    PyDateTime_CAPI *api = hfpy_datetime(library);
    if (type == api->DateTimeType)
        return put_datetime(e, library, object);
    if (type == api->DateType)
        return put_date(e, object);
    if (type == library->decimal_type)
        return put_decimal(e, object, type);
    if (type == library->uuid_type)
        return put_uuid(e, library, object);
    if (type == api->DeltaType)
        return put_delta(e, object);
    if (type == api->TimeType)
        return put_time(e, library, object);
    if (type == library->fraction_type)
        return put_fraction(e, object);
    if (type == library->zoneinfo_type)
        return put_zoneinfo(e, object);
    if (type == hfpy_timezone_type(library))
        return put_timezone(e, library, object);
    return put_foreign(e, object, type);
}

static int put_container(encoder *e, PyObject *object, PyTypeObject *type)
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

/* An object as one of this type, which is its own or, of an Enum's member, its base's. */
static int put_as(encoder *e, PyObject *object, PyTypeObject *type)
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

static int put_object(encoder *e, PyObject *object)
{
    return put_as(e, object, Py_TYPE(object));
}

int hfpy_encode(homes_state *state, PyObject *object, unsigned flags, hf_buffer *out)
{
    encoder e = {.state = state, .out = out, .flags = flags};
    size_t before = out->size;
    int status = put_object(&e, object);
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

/*
 * value_decode.c: encoded values to objects. See value.h.
 *
 *      bytes  [ ......... | value | value | ......... ]
 *             start        at                        end
 *
 * The shortest and most frequent values are read here; what remains is an item, taken by the core's reader
 * (hf_value_take), which has checked all that an item says. What only the whole can tell is checked here: depth, the
 * order of a set's members, what a tzinfo is.
 *
 * Bytes may be anybody's. A container is made as long as its count says only if so many values can still follow it,
 * those that the containers around it wait for aside (`owed`): so no bytes call for more memory than 8 times their
 * size before they are found to be damaged. A tuple or list is shown to the collector when it is full.
 */
#include "value_impl.h"

#include "value/members.h"
#include "value/utf8.h"

#include "base/memory.h"

typedef struct decoder {
    homes_state *state;
    const uint8_t *start, *at, *end;
    size_t owed; /* values that open containers still wait for */
    unsigned flags;
    unsigned depth;
    bool foreign; /* objects were made by codecs or pickles: what they do is not the bytes' fault */
} decoder;

static PyObject *take_object(decoder *d);

/* -- damage -- */

static PyObject *damaged(decoder *d, const char *reason)
{
    hfpy_throw(d->state, HFPY_CORRUPT, "damaged value: %s, at byte %zd of %zd", reason,
               (Py_ssize_t)(d->at - d->start), (Py_ssize_t)(d->end - d->start));
    return NULL;
}

static int enter(decoder *d, uint64_t values)
{
    if (d->depth == HF_VALUE_DEPTH_MAX) {
        damaged(d, "values nested too deep");
        return -1;
    }
    size_t left = (size_t)(d->end - d->at);
    if (d->owed > left || values > left - d->owed) {
        damaged(d, "more values than there are bytes");
        return -1;
    }
    d->depth++;
    d->owed += (size_t)values;
    return 0;
}

static void leave(decoder *d)
{
    d->depth--;
}

/* The next of those that were owed. */
static PyObject *take_owed(decoder *d)
{
    d->owed--;
    return take_object(d);
}

/* -- text and numbers -- */

/* A str from bytes that may be anything. */
static PyObject *make_str(decoder *d, hf_span utf8)
{
    PyObject *made = PyUnicode_DecodeUTF8((const char *)utf8.bytes, (Py_ssize_t)utf8.size, NULL);
    if (made != NULL || !PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
        return made;
    PyErr_Clear();
    if (!hf_utf8_is_text(utf8.bytes, utf8.size))
        return damaged(d, "a str that is not UTF-8");
    return PyUnicode_DecodeUTF8((const char *)utf8.bytes, (Py_ssize_t)utf8.size, "surrogatepass");
}

static PyObject *make_int(decoder *d, hf_span integer)
{
    if (integer.size <= 8)
        return PyLong_FromLongLong(hf_load_le_signed(integer.bytes, integer.size));
    return hfpy_int_of_bytes(integer.bytes, integer.size, d->state->values.names.from_bytes);
}

static PyObject *make_bytes(hf_span bytes)
{
    return PyBytes_FromStringAndSize((const char *)bytes.bytes, (Py_ssize_t)bytes.size);
}

static PyObject *make_complex(const uint64_t *bits)
{
    return PyComplex_FromDoubles(hf_double_of_bits(bits[0]), hf_double_of_bits(bits[1]));
}

/* -- containers -- */

static PyObject *take_tuple(decoder *d, uint64_t count)
{
    if (enter(d, count) < 0)
        return NULL;
    PyObject *tuple = PyTuple_New((Py_ssize_t)count);
    if (tuple == NULL || count == 0) {
        leave(d);
        return tuple;
    }
    PyObject_GC_UnTrack(tuple);
    for (Py_ssize_t i = 0; i < (Py_ssize_t)count; i++) {
        PyObject *member = take_owed(d);
        if (member == NULL) {
            Py_DECREF(tuple);
            return NULL;
        }
        PyTuple_SET_ITEM(tuple, i, member);
    }
    PyObject_GC_Track(tuple);
    leave(d);
    return tuple;
}

static PyObject *take_list(decoder *d, uint64_t count)
{
    if (enter(d, count) < 0)
        return NULL;
    PyObject *list = PyList_New((Py_ssize_t)count);
    if (list == NULL)
        return NULL;
    PyObject_GC_UnTrack(list);
    for (Py_ssize_t i = 0; i < (Py_ssize_t)count; i++) {
        PyObject *member = take_owed(d);
        if (member == NULL) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SET_ITEM(list, i, member);
    }
    PyObject_GC_Track(list);
    leave(d);
    return list;
}

/* A member that cannot be hashed is damage, unless it is of a codec or pickle. */
static int not_added(decoder *d)
{
    if (!d->foreign && PyErr_ExceptionMatches(PyExc_TypeError))
        return hfpy_throw_from(d->state, HFPY_CORRUPT, "damaged value: a member or key that cannot be hashed");
    return -1;
}

static int take_pair(decoder *d, PyObject *dict)
{
    PyObject *key = take_owed(d);
    PyObject *value = key == NULL ? NULL : take_owed(d);
    int status = -1;
    if (value != NULL && PyDict_SetItem(dict, key, value) < 0)
        not_added(d);
    else if (value != NULL)
        status = 0;
    Py_XDECREF(key);
    Py_XDECREF(value);
    return status;
}

static PyObject *take_dict(decoder *d, uint64_t count)
{
    if (enter(d, 2 * count) < 0)
        return NULL;
    PyObject *dict = PyDict_New();
    for (uint64_t i = 0; dict != NULL && i < count; i++)
        if (take_pair(d, dict) < 0)
            Py_CLEAR(dict);
    leave(d);
    return dict;
}

static PyObject *take_set(decoder *d, PyObject *set, uint64_t count)
{
    hf_member before = {(size_t)(d->at - d->start), 0};
    for (uint64_t i = 0; i < count; i++) {
        hf_member member = {(size_t)(d->at - d->start), 0};
        PyObject *object = take_owed(d);
        member.size = (size_t)(d->at - d->start) - member.at;
        if (object != NULL && i > 0 && hf_members_compare(d->start, before, member) > 0) {
            damaged(d, "a set out of order");
            Py_CLEAR(object);
        }
        if (object == NULL || PySet_Add(set, object) < 0) {
            if (object != NULL)
                not_added(d);
            Py_XDECREF(object);
            Py_DECREF(set);
            return NULL;
        }
        Py_DECREF(object);
        before = member;
    }
    leave(d);
    return set;
}

static PyObject *take_new_set(decoder *d, hf_value_kind kind, uint64_t count)
{
    if (enter(d, count) < 0)
        return NULL;
    PyObject *set = kind == HF_VALUE_SET ? PySet_New(NULL) : PyFrozenSet_New(NULL);
    return set == NULL ? NULL : take_set(d, set, count);
}

/* -- dates and times -- */

static PyObject *make_delta(PyDateTime_CAPI *api, int64_t us)
{
    int64_t days = us / HF_DAY_US, rest = us % HF_DAY_US;
    if (rest < 0) {
        rest += HF_DAY_US;
        days--;
    }
    return api->Delta_FromDelta((int)days, (int)(rest / HF_SECOND_US), (int)(rest % HF_SECOND_US), 0, api->DeltaType);
}

static PyObject *make_timezone(decoder *d, PyDateTime_CAPI *api, const hf_value_moment *moment)
{
    if (!moment->has_name && moment->offset_us == 0)
        return Py_NewRef(api->TimeZone_UTC);
    PyObject *name = moment->has_name ? make_str(d, moment->name) : NULL;
    PyObject *delta = moment->has_name && name == NULL ? NULL : make_delta(api, moment->offset_us);
    PyObject *zone = delta == NULL ? NULL : api->TimeZone_FromTimeZone(delta, name);
    Py_XDECREF(delta);
    Py_XDECREF(name);
    return zone;
}

static PyObject *make_zoneinfo(decoder *d, const hfpy_library *library, hf_span key)
{
    PyObject *name = make_str(d, key);
    PyObject *zone = name == NULL ? NULL : PyObject_CallOneArg((PyObject *)library->zoneinfo_type, name);
    if (name != NULL && zone == NULL &&
        (PyErr_ExceptionMatches(PyExc_LookupError) || PyErr_ExceptionMatches(PyExc_ValueError)))
        hfpy_throw_from(d->state, HFPY_UNKNOWN, "there is no time zone %R here", name);
    Py_XDECREF(name);
    return zone;
}

/* A tzinfo of a type of its own. */
static PyObject *take_zone(decoder *d)
{
    if (enter(d, 1) < 0)
        return NULL;
    if (*d->at != HF_TAG_OBJECT && *d->at != HF_TAG_PICKLE)
        return damaged(d, "a tzinfo that is neither an object nor a pickle");
    PyObject *zone = take_owed(d);
    leave(d);
    return zone;
}

static PyObject *zone_of(decoder *d, const hfpy_library *library, const hf_value_moment *moment)
{
    switch (moment->zone) {
    case HF_ZONE_NAIVE:
        return Py_NewRef(Py_None);
    case HF_ZONE_FIXED:
        return make_timezone(d, hfpy_datetime(library), moment);
    case HF_ZONE_NAMED:
        return make_zoneinfo(d, library, moment->name);
    default:
        return take_zone(d);
    }
}

static PyObject *take_moment(decoder *d, const hfpy_library *library, const hf_value_item *item)
{
    PyDateTime_CAPI *api = hfpy_datetime(library);
    const hf_value_moment *moment = &item->moment;
    PyObject *made, *zone = zone_of(d, library, moment);
    if (zone == NULL)
        return NULL;
    int64_t clock = moment->us % HF_DAY_US;
    int us = (int)(clock % HF_SECOND_US), seconds = (int)(clock / HF_SECOND_US);
    int hour = seconds / 3600, minute = seconds / 60 % 60, second = seconds % 60;
    if (item->kind == HF_VALUE_TIME) {
        made = api->Time_FromTimeAndFold(hour, minute, second, us, zone, moment->fold, api->TimeType);
    } else {
        hf_date date = hf_date_of_ordinal((int32_t)(moment->us / HF_DAY_US) + 1);
        made = api->DateTime_FromDateAndTimeAndFold(date.year, date.month, date.day, hour, minute, second, us, zone,
                                                    moment->fold, api->DateTimeType);
    }
    Py_DECREF(zone);
    return made;
}

static PyObject *make_date(PyDateTime_CAPI *api, int32_t ordinal)
{
    hf_date date = hf_date_of_ordinal(ordinal);
    return api->Date_FromDate(date.year, date.month, date.day, api->DateType);
}

/* -- Decimal, Fraction, UUID -- */

/* The greatest exponents that a Decimal has (MAX_EMAX, and MIN_ETINY below 0), and the most digits. */
#define DECIMAL_MAX INT64_C(999999999999999999)
#define DECIMAL_TINY (-INT64_C(1999999999999999997))

/* Whether Python's Decimal can be it. With any other it would ask the thread's context what to do. */
static bool is_decimal(const hf_value_decimal *decimal)
{
    size_t digits = hf_decimal_digits(decimal->pairs);
    if (digits > (uint64_t)DECIMAL_MAX)
        return false;
    if (decimal->kind != HF_DECIMAL_FINITE)
        return true;
    int64_t above = digits == 0 ? 0 : (int64_t)digits - 1;
    return decimal->exponent >= DECIMAL_TINY && decimal->exponent <= DECIMAL_MAX &&
           decimal->exponent + above <= DECIMAL_MAX;
}

static PyObject *make_decimal(decoder *d, const hfpy_library *library, const hf_value_decimal *decimal)
{
    static const char *const kinds[] = {"", "Infinity", "NaN", "sNaN"};
    if (!is_decimal(decimal))
        return damaged(d, "a Decimal out of range");
    size_t digits = hf_decimal_digits(decimal->pairs), room = digits + 48;
    char *shown = hf_alloc(room);
    if (shown == NULL)
        return PyErr_NoMemory();
    int at = snprintf(shown, room, "%s%s", decimal->negative ? "-" : "", kinds[decimal->kind]);
    hf_decimal_unpack(decimal->pairs, shown + at);
    char *end = shown + at + digits;
    if (decimal->kind == HF_DECIMAL_FINITE)
        snprintf(end, room - (size_t)(end - shown), "%sE%lld", digits == 0 ? "0" : "", (long long)decimal->exponent);
    else
        *end = '\0';
    PyObject *text = PyUnicode_FromString(shown);
    hf_free(shown);
    PyObject *made = text == NULL ? NULL : PyObject_CallOneArg((PyObject *)library->decimal_type, text);
    Py_XDECREF(text);
    return made;
}

static PyObject *make_fraction(decoder *d, const hfpy_library *library, hf_value_fraction fraction)
{
    PyObject *numerator = make_int(d, fraction.numerator);
    PyObject *denominator = numerator == NULL ? NULL : make_int(d, fraction.denominator);
    PyObject *made = NULL;
    if (denominator != NULL)
        made = PyObject_CallFunctionObjArgs((PyObject *)library->fraction_type, numerator, denominator, NULL);
    Py_XDECREF(numerator);
    Py_XDECREF(denominator);
    return made;
}

static PyObject *make_uuid(decoder *d, const hfpy_library *library, const hf_value_uuid *uuid)
{
    uint8_t little[HF_UUID_BYTES + 1] = {0};
    for (size_t i = 0; i < HF_UUID_BYTES; i++)
        little[i] = uuid->bytes[HF_UUID_BYTES - 1 - i];
    PyObject *number = hfpy_int_of_bytes(little, sizeof little, d->state->values.names.from_bytes);
    if (number == NULL)
        return NULL;
    PyObject *arguments[] = {number, library->safety[uuid->safety]};
    PyObject *made = PyObject_Vectorcall((PyObject *)library->uuid_type, arguments, 0, library->uuid_keywords);
    Py_DECREF(number);
    return made;
}

/* -- Enums -- */

static PyObject *unknown_class(decoder *d, PyObject *module, PyObject *name)
{
    if (!PyErr_Occurred())
        hfpy_throw(
            d->state, HFPY_UNKNOWN,
            "there is no Enum '%U.%U' in the modules that are imported: import its module before its members are "
            "read",
            module, name);
    return NULL;
}

/* The member: by name, or by number where the class is a Flag. NULL with an exception. */
static PyObject *find_member(decoder *d, const hfpy_library *library, PyObject *class, const hf_value_member *member)
{
    if (member->by_number && !PyType_IsSubtype((PyTypeObject *)class, library->flag_type))
        return damaged(d, "a member by number of an Enum that is no Flag");
    PyObject *which = member->by_number ? make_int(d, member->member) : make_str(d, member->member);
    if (which == NULL)
        return NULL;
    PyObject *found = member->by_number ? PyObject_CallOneArg(class, which) : PyObject_GetItem(class, which);
    if (found != NULL && !PyObject_TypeCheck(found, (PyTypeObject *)class))
        Py_CLEAR(found);
    if (found == NULL &&
        (!PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_KeyError) || PyErr_ExceptionMatches(PyExc_ValueError))) {
        PyErr_Clear();
        hfpy_throw(d->state, HFPY_UNKNOWN, "%R has no member %R", class, which);
    }
    Py_DECREF(which);
    return found;
}

/* Whether a member equals `base`, of which these are the bytes. Bytes first: a nan is not equal to itself. But a datetime's
 * are others where the rules of its zone have changed, which it equals all the same. */
static int is_still(decoder *d, PyObject *member, PyObject *base, hf_span bytes)
{
    hf_buffer now;
    uint8_t room[64];
    hf_buffer_init(&now, room, sizeof room, SIZE_MAX);
    int made_of = hfpy_encode_base(d->state, member, d->flags, &now);
    int same = made_of > 0 ? now.size == bytes.size && memcmp(now.bytes, bytes.bytes, bytes.size) == 0 : made_of;
    hf_buffer_clear(&now);
    PyTypeObject *type = Py_TYPE(base);
    if (made_of <= 0 || same || !PyObject_TypeCheck(member, type) || type->tp_richcompare == NULL)
        return same;
    PyObject *answer = type->tp_richcompare(base, member, Py_EQ);
    same = answer == NULL ? -1 : answer == Py_True;
    Py_XDECREF(answer);
    return same;
}

/*
 * The value that a member equals. What it equals now is its class's to say; where that is not what was stored, it is not the
 * member that was stored, and as a key it could not be found. (Of what codecs and pickles made of it nothing is asked: that
 * need not be equal to anything.)
 */
static int check_base(decoder *d, PyObject *member)
{
    const uint8_t *start = d->at;
    bool foreign = d->foreign;
    if (enter(d, 1) < 0)
        return -1;
    d->foreign = false;
    PyObject *base = take_owed(d);
    leave(d);
    int same = base == NULL ? -1 : 1;
    if (base != NULL && !d->foreign)
        same = is_still(d, member, base, hf_span_of(start, (size_t)(d->at - start)));
    d->foreign = d->foreign || foreign;
    if (same == 0)
        hfpy_throw(d->state, HFPY_UNKNOWN, "%R was stored as what equals %R: its class has changed since", member,
                   base);
    Py_XDECREF(base);
    return same > 0 ? 0 : -1;
}

static PyObject *take_member(decoder *d, const hfpy_library *library, const hf_value_member *member)
{
    PyObject *found = NULL;
    PyObject *module = make_str(d, member->module);
    PyObject *name = module == NULL ? NULL : make_str(d, member->class_name);
    PyObject *class = name == NULL ? NULL : hfpy_find_class(d->state, module, name);
    if (name != NULL && (class == NULL || !PyType_Check(class) || !hfpy_is_enum(library, (PyTypeObject *)class)))
        unknown_class(d, module, name);
    else if (class != NULL)
        found = find_member(d, library, class, member);
    Py_XDECREF(module);
    Py_XDECREF(name);
    Py_XDECREF(class);
    if (found != NULL && member->has_base && check_base(d, found) < 0)
        Py_CLEAR(found);
    return found;
}

/* -- what is not ours to understand -- */

static PyObject *decode_with(decoder *d, PyObject *codec)
{
    if (enter(d, 1) < 0)
        return NULL;
    PyObject *payload = take_owed(d);
    leave(d);
    if (payload == NULL)
        return NULL;
    PyObject *made = NULL;
    if (Py_EnterRecursiveCall(" in a codec's decode()") == 0) {
        made = PyObject_CallOneArg(PyTuple_GET_ITEM(codec, HFPY_CODEC_DECODE), payload);
        Py_LeaveRecursiveCall();
    }
    Py_DECREF(payload);
    d->foreign = true;
    return made;
}

static PyObject *take_object_of_codec(decoder *d, hf_span spelled)
{
    PyObject *made = NULL, *name = make_str(d, spelled);
    PyObject *codec = name == NULL ? NULL : hfpy_codec_of_name(d->state, name);
    if (codec != NULL)
        made = decode_with(d, codec);
    else if (name != NULL && !PyErr_Occurred())
        hfpy_throw(d->state, HFPY_UNKNOWN, "there is no codec %R: register it with holdfast.register_codec", name);
    Py_XDECREF(name);
    Py_XDECREF(codec);
    return made;
}

static PyObject *take_pickle(decoder *d, const hfpy_library *library, hf_span pickle)
{
    if (!(d->flags & HFPY_PICKLE)) {
        hfpy_throw(d->state, HFPY_VALUE_TYPE,
                   "what is stored here is a pickle, and pickles are not allowed here (pickle=True allows them)");
        return NULL;
    }
    /* A copy: the loader may keep what it is given. */
    PyObject *made = NULL, *bytes = make_bytes(pickle);
    if (bytes != NULL && Py_EnterRecursiveCall(" while a pickle is loaded") == 0) {
        made = PyObject_CallOneArg(library->loads, bytes);
        Py_LeaveRecursiveCall();
    }
    Py_XDECREF(bytes);
    d->foreign = true;
    return made;
}

/* -- values -- */

/* The types of Python's library, and what is not ours to understand. */
static PyObject *make_other(decoder *d, const hf_value_item *item)
{
    hfpy_library *library = hfpy_library_of(d->state);
    if (library == NULL)
        return NULL;
    PyDateTime_CAPI *api = hfpy_datetime(library);
    switch (item->kind) {
    case HF_VALUE_DATE:
        return make_date(api, item->ordinal);
    case HF_VALUE_TIME:
    case HF_VALUE_DATETIME:
        return take_moment(d, library, item);
    case HF_VALUE_TIMEDELTA:
        return api->Delta_FromDelta(item->delta.days, item->delta.seconds, item->delta.us, 0, api->DeltaType);
    case HF_VALUE_TIMEZONE:
        return make_timezone(d, api, &item->moment);
    case HF_VALUE_ZONE:
        return make_zoneinfo(d, library, item->span);
    case HF_VALUE_DECIMAL:
        return make_decimal(d, library, &item->decimal);
    case HF_VALUE_FRACTION:
        return make_fraction(d, library, item->fraction);
    case HF_VALUE_UUID:
        return make_uuid(d, library, &item->uuid);
    case HF_VALUE_ENUM:
        return take_member(d, library, &item->member);
    case HF_VALUE_OBJECT:
        return take_object_of_codec(d, item->span);
    default:
        HF_ASSERT_CHEAP(item->kind == HF_VALUE_PICKLE);
        return take_pickle(d, library, item->span);
    }
}

static PyObject *make_item(decoder *d, const hf_value_item *item)
{
    switch (item->kind) {
    case HF_VALUE_NONE:
        return Py_NewRef(Py_None);
    case HF_VALUE_BOOL:
        return PyBool_FromLong(item->truth);
    case HF_VALUE_INT:
        return make_int(d, item->span);
    case HF_VALUE_FLOAT:
        return PyFloat_FromDouble(hf_double_of_bits(item->bits[0]));
    case HF_VALUE_COMPLEX:
        return make_complex(item->bits);
    case HF_VALUE_STR:
        return make_str(d, item->span);
    case HF_VALUE_BYTES:
        return make_bytes(item->span);
    case HF_VALUE_BYTEARRAY:
        return PyByteArray_FromStringAndSize((const char *)item->span.bytes, (Py_ssize_t)item->span.size);
    case HF_VALUE_TUPLE:
        return take_tuple(d, item->count);
    case HF_VALUE_FROZENSET:
    case HF_VALUE_SET:
        return take_new_set(d, item->kind, item->count);
    case HF_VALUE_LIST:
        return take_list(d, item->count);
    case HF_VALUE_DICT:
        return take_dict(d, item->count);
    default:
        return make_other(d, item);
    }
}

/* The next value, whatever it is. */
static PyObject *take_any(decoder *d)
{
    hf_value_item item;
    const char *reason;
    size_t taken;
    if (hf_value_take(d->at, (size_t)(d->end - d->at), &item, &taken, &reason) < 0)
        return damaged(d, reason);
    d->at += taken;
    return make_item(d, &item);
}

/* The next value; what is short or frequent without an item. */
static PyObject *take_object(decoder *d)
{
    size_t left = (size_t)(d->end - d->at);
    if (left == 0)
        return damaged(d, "the bytes end before a value");
    unsigned tag = *d->at;
    hf_span behind = hf_span_of(d->at + 1, 0);
    if (tag >= HF_TAG_STR && tag < HF_TAG_STR_LONG && tag - HF_TAG_STR < left) {
        behind.size = tag - HF_TAG_STR;
        d->at += 1 + behind.size;
        return make_str(d, behind);
    }
    if (tag >= HF_TAG_INT && tag < HF_TAG_INT_LONG && tag - HF_TAG_INT < left) {
        behind.size = tag - HF_TAG_INT;
        if (hf_int_size(behind) != behind.size)
            return damaged(d, "an int that is not in its shortest form");
        d->at += 1 + behind.size;
        return PyLong_FromLongLong(hf_load_le_signed(behind.bytes, behind.size));
    }
    if (tag >= HF_TAG_BYTES && tag < HF_TAG_BYTES_LONG && tag - HF_TAG_BYTES < left) {
        behind.size = tag - HF_TAG_BYTES;
        d->at += 1 + behind.size;
        return make_bytes(behind);
    }
    return take_any(d);
}

PyObject *hfpy_decode(homes_state *state, const uint8_t *bytes, size_t size, unsigned flags)
{
    decoder d = {.state = state, .start = bytes, .at = bytes, .end = bytes + size, .flags = flags};
    PyObject *made = take_object(&d);
    if (made != NULL && d.at != d.end) {
        Py_DECREF(made);
        return damaged(&d, "bytes behind the value");
    }
    return made;
}

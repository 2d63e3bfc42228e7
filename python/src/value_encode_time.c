/*
 * value_encode_time.c: dates, times and time zones to encoded values. See value_encoder.h.
 *
 *      datetime   the clock | fold | zone: none, an offset, the key of a ZoneInfo, or a tzinfo as its codec or pickle has it
 *
 * What a tzinfo says at that moment is stored with it, since it is what keys are compared by; so it is asked, and may do
 * anything (value.h, 2).
 */
#include "value_encoder.h"

/* -- without a zone -- */

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

int hfpy_put_date(hfpy_encoder *e, PyObject *date)
{
    return hfpy_put_item(e, &(hf_value_item){.kind = HF_VALUE_DATE, .ordinal = ordinal_of(date)});
}

int hfpy_put_delta(hfpy_encoder *e, PyObject *delta)
{
    hf_value_delta parts = {PyDateTime_DELTA_GET_DAYS(delta), PyDateTime_DELTA_GET_SECONDS(delta),
                            PyDateTime_DELTA_GET_MICROSECONDS(delta)};
    return hfpy_put_item(e, &(hf_value_item){.kind = HF_VALUE_TIMEDELTA, .delta = parts});
}

/* What obj.utcoffset() says: 1 and *us; 0 for None; -1 with an exception. */
static int ask_offset(hfpy_encoder *e, const hfpy_library *library, PyObject *object, int64_t *us)
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
static int ask_fold(hfpy_encoder *e, const hfpy_library *library, PyObject *object, int64_t us)
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
static int read_timezone(hfpy_encoder *e, const hfpy_library *library, PyObject *zone, hf_value_moment *moment,
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
static PyObject *key_of_zone(hfpy_encoder *e, PyObject *zone)
{
    PyObject *key = PyObject_GetAttr(zone, e->state->values.names.key);
    if (key != NULL && !PyUnicode_CheckExact(key))
        Py_CLEAR(key);
    return key;
}

/* Puts an item whose moment has a name, or none, and what follows it where its zone is of a type of its own. */
static int put_moment_named(hfpy_encoder *e, hf_value_item *item, PyObject *name, PyObject *zone)
{
    hfpy_text spelled = {{NULL, 0}, NULL};
    if (name != NULL && hfpy_text_of(e, name, &spelled) < 0)
        return -1;
    item->moment.has_name = name != NULL && item->moment.zone == HF_ZONE_FIXED;
    item->moment.name = spelled.span;
    int status = hfpy_put_item(e, item);
    hfpy_text_clear(&spelled);
    if (status < 0 || item->moment.zone != HF_ZONE_OTHER)
        return status;
    if (hfpy_encoder_enter(e) < 0)
        return -1;
    /* In a key too, whatever it is: what counts there is the offset. */
    unsigned flags = e->flags;
    e->flags &= ~(unsigned)HFPY_AS_KEY;
    status = hfpy_put_opaque(e, zone, Py_TYPE(zone));
    e->flags = flags;
    hfpy_encoder_leave(e);
    return status;
}

/* Of a time or datetime that has a tzinfo which is no datetime.timezone: asks it. *key: that of a ZoneInfo. */
static int ask_zone(hfpy_encoder *e, const hfpy_library *library, PyObject *object, PyObject *zone,
                    hf_value_item *item, PyObject **key)
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
static int put_moment(hfpy_encoder *e, const hfpy_library *library, PyObject *object, PyObject *zone,
                      hf_value_item *item)
{
    PyObject *held, *name;
    if (zone == Py_None)
        return hfpy_put_item(e, item);
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

int hfpy_put_datetime(hfpy_encoder *e, const hfpy_library *library, PyObject *object)
{
    hf_value_item item = {.kind = HF_VALUE_DATETIME, .moment = {0}};
    item.moment.us = (ordinal_of(object) - 1) * HF_DAY_US +
                     us_of_clock(PyDateTime_DATE_GET_HOUR(object), PyDateTime_DATE_GET_MINUTE(object),
                                 PyDateTime_DATE_GET_SECOND(object), PyDateTime_DATE_GET_MICROSECOND(object));
    item.moment.fold = PyDateTime_DATE_GET_FOLD(object);
    return put_moment(e, library, object, PyDateTime_DATE_GET_TZINFO(object), &item);
}

int hfpy_put_time(hfpy_encoder *e, const hfpy_library *library, PyObject *object)
{
    hf_value_item item = {.kind = HF_VALUE_TIME, .moment = {0}};
    item.moment.us = us_of_clock(PyDateTime_TIME_GET_HOUR(object), PyDateTime_TIME_GET_MINUTE(object),
                                 PyDateTime_TIME_GET_SECOND(object), PyDateTime_TIME_GET_MICROSECOND(object));
    item.moment.fold = PyDateTime_TIME_GET_FOLD(object);
    return put_moment(e, library, object, PyDateTime_TIME_GET_TZINFO(object), &item);
}

int hfpy_put_timezone(hfpy_encoder *e, const hfpy_library *library, PyObject *zone)
{
    hf_value_item item = {.kind = HF_VALUE_TIMEZONE, .moment = {0}};
    PyObject *arguments, *name;
    if (read_timezone(e, library, zone, &item.moment, &arguments, &name) < 0)
        return -1;
    int status = put_moment_named(e, &item, name, zone);
    Py_XDECREF(arguments);
    return status;
}

int hfpy_put_zoneinfo(hfpy_encoder *e, PyObject *zone)
{
    hfpy_text spelled;
    PyObject *key = key_of_zone(e, zone);
    if (key == NULL)
        return PyErr_Occurred() ? -1 : hfpy_put_foreign(e, zone, Py_TYPE(zone));
    int status = hfpy_text_of(e, key, &spelled);
    if (status == 0) {
        status = hfpy_put_item(e, &(hf_value_item){.kind = HF_VALUE_ZONE, .span = spelled.span});
        hfpy_text_clear(&spelled);
    }
    Py_DECREF(key);
    return status;
}

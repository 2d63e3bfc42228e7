/*
 * value_encode_library.c: Decimals, Fractions, UUIDs and members of Enums to encoded values. See value_encoder.h.
 *
 *      member of an Enum   its class's module and name | its own name or, of a Flag, number | what it equals, if anything
 */
#include "value_encoder.h"

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

int hfpy_put_decimal(hfpy_encoder *e, PyObject *number, PyTypeObject *type)
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
        status = hfpy_put_item(e, &item);
    }
    hf_free(digits);
    Py_DECREF(shown);
    return status;
}

/* The bytes of an attribute that must be an int. */
static PyObject *attribute_bytes(hfpy_encoder *e, PyObject *object, PyObject *name)
{
    PyObject *number = PyObject_GetAttr(object, name);
    PyObject *bytes = NULL;
    if (number != NULL && !PyLong_Check(number))
        PyErr_Format(PyExc_TypeError, "%U of a '%s' is not an int", name, Py_TYPE(object)->tp_name);
    else if (number != NULL)
        bytes = hfpy_int_bytes(e, number);
    Py_XDECREF(number);
    return bytes;
}

int hfpy_put_fraction(hfpy_encoder *e, PyObject *ratio)
{
    const hfpy_names *names = &e->state->values.names;
    int status = -1;
    PyObject *numerator = attribute_bytes(e, ratio, names->numerator);
    PyObject *denominator = numerator == NULL ? NULL : attribute_bytes(e, ratio, names->denominator);
    if (denominator != NULL) {
        hf_value_fraction fraction = {hfpy_span_of_bytes(numerator), hfpy_span_of_bytes(denominator)};
        status = hfpy_put_item(e, &(hf_value_item){.kind = HF_VALUE_FRACTION, .fraction = fraction});
    }
    Py_XDECREF(numerator);
    Py_XDECREF(denominator);
    return status;
}

static int read_uuid(hfpy_encoder *e, const hfpy_library *library, PyObject *object, hf_value_uuid *uuid)
{
    PyObject *bytes = attribute_bytes(e, object, PyTuple_GET_ITEM(library->uuid_keywords, 0));
    if (bytes == NULL)
        return -1;
    hf_span number = hfpy_span_of_bytes(bytes);
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

int hfpy_put_uuid(hfpy_encoder *e, const hfpy_library *library, PyObject *object)
{
    hf_value_item item = {.kind = HF_VALUE_UUID};
    return read_uuid(e, library, object, &item.uuid) < 0 ? -1 : hfpy_put_item(e, &item);
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
static int check_enum_key(hfpy_encoder *e, const hfpy_library *library, PyTypeObject *type, PyTypeObject *base)
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

/* Whether a member equals a value of its base: one of a class made of int is an int inside. */
static int is_made_of(const hfpy_library *library, PyTypeObject *type, PyTypeObject *base)
{
    return is_base(library, base) && PyType_IsSubtype(type, base);
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

/* What the members of an Enum's class are made of, new reference: object where they are nothing else. */
static PyTypeObject *base_of(homes_state *state, PyTypeObject *type)
{
    PyObject *base = PyObject_GetAttr((PyObject *)type, state->values.names._member_type_);
    if (base != NULL && !PyType_Check(base)) {
        PyErr_Format(PyExc_TypeError, "_member_type_ of '%s' is not a class", type->tp_name);
        Py_CLEAR(base);
    }
    return (PyTypeObject *)base;
}

static int read_enum(hfpy_encoder *e, const hfpy_library *library, PyObject *object, PyTypeObject *type,
                     enum_parts *parts)
{
    const hfpy_names *names = &e->state->values.names;
    *parts = (enum_parts){0};
    int by_number = PyType_IsSubtype(type, library->flag_type);
    parts->module = PyObject_GetAttr((PyObject *)type, names->__module__);
    parts->name = parts->module == NULL ? NULL : PyObject_GetAttr((PyObject *)type, names->__qualname__);
    if (parts->name != NULL)
        parts->base = base_of(e->state, type);
    if (parts->base != NULL)
        parts->member =
            by_number ? attribute_bytes(e, object, names->_value_) : PyObject_GetAttr(object, names->_name_);
    if (parts->member != NULL)
        return by_number;
    enum_clear(parts);
    return -1;
}

static int put_member(hfpy_encoder *e, const enum_parts *parts, int by_number, int has_base)
{
    hf_value_item item = {.kind = HF_VALUE_ENUM, .member = {.by_number = by_number, .has_base = has_base}};
    hfpy_text module = {0}, name = {0}, member = {0};
    int status = hfpy_text_of(e, parts->module, &module);
    if (status == 0)
        status = hfpy_text_of(e, parts->name, &name);
    if (status == 0 && by_number)
        member.span = hfpy_span_of_bytes(parts->member);
    else if (status == 0)
        status = hfpy_text_of(e, parts->member, &member);
    if (status == 0) {
        item.member.module = module.span;
        item.member.class_name = name.span;
        item.member.member = member.span;
        status = hfpy_put_item(e, &item);
    }
    hfpy_text_clear(&module);
    hfpy_text_clear(&name);
    hfpy_text_clear(&member);
    return status;
}

/* What is stored is a name: it must be this class's, or the member could not be read again. */
static int check_enum_class(hfpy_encoder *e, PyTypeObject *type, const enum_parts *parts)
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

int hfpy_put_enum(hfpy_encoder *e, const hfpy_library *library, PyObject *object, PyTypeObject *type)
{
    enum_parts parts;
    int by_number = read_enum(e, library, object, type, &parts);
    if (by_number < 0)
        return -1;
    int has_base = is_made_of(library, type, parts.base);
    int status = check_enum_class(e, type, &parts);
    if (status == 0 && (e->flags & HFPY_AS_KEY))
        status = check_enum_key(e, library, type, parts.base);
    if (status == 0)
        status = put_member(e, &parts, by_number, has_base);
    if (status == 0 && has_base) {
        status = hfpy_encoder_enter(e);
        if (status == 0) {
            status = hfpy_put_as(e, object, parts.base);
            hfpy_encoder_leave(e);
        }
    }
    enum_clear(&parts);
    return status;
}

int hfpy_encode_base(homes_state *state, PyObject *member, unsigned flags, hf_buffer *out)
{
    hfpy_encoder e = {.state = state, .out = out, .flags = flags};
    hfpy_library *library = hfpy_library_of(state);
    PyTypeObject *type = Py_TYPE(member), *base = library == NULL ? NULL : base_of(state, type);
    if (base == NULL)
        return -1;
    int made_of = is_made_of(library, type, base);
    if (made_of && hfpy_put_as(&e, member, base) < 0)
        made_of = -1;
    Py_DECREF(base);
    return made_of;
}

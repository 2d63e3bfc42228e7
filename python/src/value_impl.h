/*
 * value_impl.h: what those who encode (value_encoder.h), value_decode.c and value_types.c know of each other.
 *
 * Concurrency, failure: see value.h.
 */
#ifndef HFPY_VALUE_IMPL_H
#define HFPY_VALUE_IMPL_H

#include "compat.h"
#include "homes.h"

#include <datetime.h>

#include "value/codec.h"
#include "value/format.h"

/* Not used; compilers would say so. */
static inline void *hfpy_datetime_of_the_process(void)
{
    return PyDateTimeAPI;
}

/* Where a codec's tuple has what. */
enum { HFPY_CODEC_NAME, HFPY_CODEC_ENCODE, HFPY_CODEC_DECODE, HFPY_CODEC_TYPE, HFPY_CODEC_SIZE };

/*
 * The types of Python's library, imported if they are not yet. NULL with an exception. Runs foreign code.
 *
 * datetime.h's own pointer to its functions is one for the process, and the interpreter that filled it may be gone:
 * hence one of ours.
 */
hfpy_library *hfpy_library_load(homes_state *state);

static inline hfpy_library *hfpy_library_of(homes_state *state)
{
    return state->values.library.datetime_api != NULL ? &state->values.library : hfpy_library_load(state);
}

static inline PyDateTime_CAPI *hfpy_datetime(const hfpy_library *library)
{
    return library->datetime_api;
}

static inline PyTypeObject *hfpy_timezone_type(const hfpy_library *library)
{
    return Py_TYPE(hfpy_datetime(library)->TimeZone_UTC);
}

/*
 * The class of that qualified name, new reference; NULL without an exception if it is not there. Its module must be
 * imported already, and nothing is asked but dictionaries: no __getattr__ runs, nothing is imported.
 */
PyObject *hfpy_find_class(homes_state *state, PyObject *module_name, PyObject *qualified_name);

/* The codec of a type, or of a name: new reference; NULL without an exception if there is none. */
PyObject *hfpy_codec_of_type(homes_state *state, PyTypeObject *type);
PyObject *hfpy_codec_of_name(homes_state *state, PyObject *name);

/* What a member of an Enum equals is appended: 1; 0: it equals nothing but itself; -1 with an exception. */
int hfpy_encode_base(homes_state *state, PyObject *member, unsigned flags, hf_buffer *out);

/* Whether the type is that of a member of an Enum. */
static inline int hfpy_is_enum(const hfpy_library *library, PyTypeObject *type)
{
    return PyType_IsSubtype(Py_TYPE(type), library->enum_meta);
}

#endif

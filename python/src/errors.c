/* errors.c: see errors.h. */
#include "compat.h"
#include "homes.h"

static const struct {
    int status, number;
    const char *name, *doc;
} errors[] = {
#define HFPY_ERROR(what, status, number, name, builtin, doc) {(status), (number), "holdfast." name, doc},
    HFPY_ERRORS(HFPY_ERROR)
#undef HFPY_ERROR
};

/* Of an exception's full name, what is behind the dot. */
static const char *short_name(const char *name)
{
    return strchr(name, '.') + 1;
}

static int add_error(PyObject *module, homes_state *state, enum hfpy_error error, PyObject *builtin)
{
    PyObject *bases = PyTuple_Pack(2, state->base_error, builtin);
    if (bases == NULL)
        return -1;
    state->errors[error] = PyErr_NewExceptionWithDoc(errors[error].name, errors[error].doc, bases, NULL);
    Py_DECREF(bases);
    if (state->errors[error] == NULL)
        return -1;
    return PyModule_AddObjectRef(module, short_name(errors[error].name), state->errors[error]);
}

int hfpy_errors_exec(PyObject *module, homes_state *state)
{
    state->base_error = PyErr_NewExceptionWithDoc("holdfast.HoldfastError",
                                                  "What every exception of holdfast's stored data derives from; each "
                                                  "is also the built-in exception that fits.",
                                                  NULL, NULL);
    if (state->base_error == NULL || PyModule_AddObjectRef(module, "HoldfastError", state->base_error) < 0)
        return -1;
#define HFPY_ERROR(what, status, number, name, builtin, doc)  \
    if (add_error(module, state, HFPY_##what, (builtin)) < 0) \
        return -1;
    HFPY_ERRORS(HFPY_ERROR)
#undef HFPY_ERROR
    return 0;
}

/* Raises `type` with a text that is taken over; an OSError's arguments begin with a number. */
static int raise_text(PyObject *type, int number, PyObject *text)
{
    if (text == NULL)
        return -1;
    if (number == 0) {
        PyErr_SetObject(type, text);
    } else {
        PyObject *arguments = Py_BuildValue("(iO)", number, text);
        if (arguments != NULL)
            PyErr_SetObject(type, arguments);
        Py_XDECREF(arguments);
    }
    Py_DECREF(text);
    return -1;
}

int hfpy_throw(homes_state *state, enum hfpy_error error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    PyObject *text = PyUnicode_FromFormatV(format, arguments);
    va_end(arguments);
    return raise_text(state->errors[error], errors[error].number, text);
}

int hfpy_throw_from(homes_state *state, enum hfpy_error error, const char *format, ...)
{
    PyObject *cause = hfpy_exception_take();
    va_list arguments;
    va_start(arguments, format);
    PyObject *text = PyUnicode_FromFormatV(format, arguments);
    va_end(arguments);
    raise_text(state->errors[error], errors[error].number, text);
    PyObject *raised = hfpy_exception_take();
    if (cause != NULL && raised != NULL) {
        PyException_SetContext(raised, Py_NewRef(cause));
        PyException_SetCause(raised, Py_NewRef(cause));
    }
    Py_XDECREF(cause);
    hfpy_exception_give(raised);
    return -1;
}

/* The built-in for a status that is not in the list. */
static PyObject *builtin_of(int status)
{
    switch (status) {
    case HF_INVALID:
    case HF_BAD_VALUE:
        return PyExc_ValueError;
    case HF_BAD_TYPE:
        return PyExc_TypeError;
    default:
        return PyExc_SystemError;
    }
}

int hfpy_fail(homes_state *state, int status, const char *format, ...)
{
    int number = errno;
    if (status == HF_NOMEM) {
        PyErr_NoMemory();
        return -1;
    }
    if (status == HF_FOREIGN && PyErr_Occurred())
        return -1;
    va_list arguments;
    va_start(arguments, format);
    PyObject *text =
        format == NULL ? PyUnicode_FromString(hf_status_message(status)) : PyUnicode_FromFormatV(format, arguments);
    va_end(arguments);
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].status == status && status != 0)
            return raise_text(state->errors[i], status == HF_IO && number != 0 ? number : errors[i].number, text);
    return raise_text(builtin_of(status), 0, text);
}

PyObject *hfpy_key_error(PyObject *key)
{
    PyObject *arguments = PyTuple_Pack(1, key);

    if (arguments != NULL)
        PyErr_SetObject(PyExc_KeyError, arguments);
    Py_XDECREF(arguments);
    return NULL;
}

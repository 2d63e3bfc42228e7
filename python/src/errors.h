/*
 * errors.h: the exceptions of holdfast._homes, one list.
 *
 *      Exception <- HoldfastError <- CorruptError -> ValueError        each is also the built-in that fits
 *
 * A status of the core (holdfast/status.h) is raised as the exception that the list gives for it; some exceptions
 * stand for no status. What the list does not have is a built-in: HF_NOMEM a MemoryError, HF_INVALID a ValueError.
 *
 * Concurrency: the GIL. Failure: raising may itself fail for want of memory; then that is the exception.
 */
#ifndef HFPY_ERRORS_H
#define HFPY_ERRORS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "holdfast/status.h"

#include <errno.h>

typedef struct homes_state homes_state;

/* X(what, status or 0, errno where the built-in is an OSError or 0, name, built-in, documentation) */
/* clang-format off */
#define HFPY_ERRORS(X) \
    X(CORRUPT, HF_CORRUPT, 0, "CorruptError", PyExc_ValueError, "Stored data is damaged.") \
    X(LIMIT, HF_LIMIT, 0, "LimitError", PyExc_ValueError, \
      "A value is nested too deep or too long, or a limit of what holds it was reached.") \
    X(BUSY, HF_BUSY, 0, "BusyError", PyExc_RuntimeError, "It is in use by another operation.") \
    X(IO, HF_IO, EIO, "StorageError", PyExc_OSError, "A call to the operating system failed.") \
    X(TIMEOUT, HF_TIMEOUT, ETIMEDOUT, "WaitTimeoutError", PyExc_TimeoutError, \
      "Waiting for the writer's lock took longer than was allowed.") \
    X(NOSPACE, HF_NOSPACE, 0, "FullError", PyExc_MemoryError, "There is no space left for what was to be stored.") \
    X(ABSENT, HF_ABSENT, ENOENT, "AbsentError", PyExc_FileNotFoundError, "There is nothing of this name.") \
    X(EXISTS, HF_EXISTS, EEXIST, "ExistsError", PyExc_FileExistsError, "There is something of this name already.") \
    X(DENIED, HF_DENIED, EACCES, "DeniedError", PyExc_PermissionError, \
      "It belongs to somebody else, or its permissions say no.") \
    X(NOT_REGION, HF_NOT_REGION, 0, "NotRegionError", PyExc_ValueError, "What is there was not made by holdfast.") \
    X(FORMAT, HF_FORMAT, 0, "FormatError", PyExc_ValueError, \
      "What is there has the format of another version or machine.") \
    X(SLOTS, HF_SLOTS, 0, "SlotsError", PyExc_RuntimeError, "All reader slots are taken.") \
    X(LOST, HF_LOST, 0, "LostError", PyExc_RuntimeError, "It did not survive a fork.") \
    X(NETWORK, HF_NETWORK, EOPNOTSUPP, "NetworkError", PyExc_OSError, "It is on a network file system.") \
    X(BROKEN, HF_BROKEN, EIO, "BrokenError", PyExc_OSError, \
      "A flush of the file has failed; it has to be closed everywhere and opened again.") \
    X(READ_ONLY, HF_READ_ONLY, EROFS, "ReadOnlyError", PyExc_OSError, "It cannot be written to.") \
    X(NOT_CASK, HF_NOT_CASK, 0, "NotCaskError", PyExc_ValueError, "What is in the folder is not a cask.") \
    X(CLOSED, 0, 0, "ClosedError", PyExc_ValueError, "It has been closed.") \
    X(NAME, 0, 0, "NameFormatError", PyExc_ValueError, "This cannot be the name of something in shared memory.") \
    X(TRANSACTION, 0, 0, "TransactionError", PyExc_RuntimeError, \
      "A transaction was ended where, or when, it cannot be.") \
    X(KEY_TYPE, 0, 0, "KeyTypeError", PyExc_TypeError, "An object of this type cannot be a key.") \
    X(KEY_VALUE, 0, 0, "KeyValueError", PyExc_ValueError, \
      "This object cannot be a key although others of its type can, as nan.") \
    X(VALUE_TYPE, 0, 0, "ValueTypeError", PyExc_TypeError, \
      "An object of this type cannot be stored, or read back, here.") \
    X(UNKNOWN, 0, 0, "UnknownNameError", PyExc_LookupError, \
      "What a stored value names is not there: a class, a member of it, a codec, a time zone.")
/* clang-format on */

enum hfpy_error {
#define HFPY_ERROR(what, status, number, name, builtin, doc) HFPY_##what,
    HFPY_ERRORS(HFPY_ERROR)
#undef HFPY_ERROR
        HFPY_ERROR_COUNT,
};

/* Makes the exceptions and adds them to the module. 0, or -1 with an exception. */
int hfpy_errors_exec(PyObject *module, homes_state *state);

/* Raises one of the list, with a text as PyErr_Format makes it. Returns -1. */
int hfpy_throw(homes_state *state, enum hfpy_error error, const char *format, ...);

/* The same, with the exception that is set now as its cause. */
int hfpy_throw_from(homes_state *state, enum hfpy_error error, const char *format, ...);

/*
 * Raises what stands for a status. The text is `format`, or, where that is NULL, the status' own message. HF_FOREIGN
 * keeps the exception that is set. HF_IO takes its number from errno. Returns -1.
 */
int hfpy_fail(homes_state *state, int status, const char *format, ...);

#endif

/*
 * map_path.c: reading and changing Maps inside Maps, along a path of keys.
 *
 * A change replaces the Map at each level, from the innermost outwards. The levels are kept in an array, so a path may
 * be as long as memory allows.
 */
#include "trie.h"

/* The value of a key in a level of a path, which may be any Mapping: 1 and a new reference, 0, or -1. */
static int level_get(core_state *state, PyObject *level, PyObject *key, PyObject **value)
{
    if (Map_Check(state, level)) {
        *value = hfpy_map_lookup(state, (Map *)level, key);
        return *value != NULL ? 1 : PyErr_Occurred() ? -1 : 0;
    }
    int mapping = PyDict_Check(level) ? 1 : PyObject_IsInstance(level, state->mapping_abc);
    if (mapping <= 0) {
        if (mapping == 0)
            PyErr_Format(PyExc_TypeError, "get_in() path leads to a '%.200s' before its key %R, not to a mapping",
                         Py_TYPE(level)->tp_name, key);
        return -1;
    }
    /* get, not [], which may make what is not there. */
    *value = PyObject_CallMethod(level, "get", "OO", key, state->missing);
    if (*value == NULL)
        return -1;
    if (*value != state->missing)
        return 1;
    Py_CLEAR(*value);
    return 0;
}

/* The keys of a path, as a tuple. `who` is for messages. */
static PyObject *path_keys(PyObject *path, const char *who)
{
    if (Py_TYPE(path)->tp_iter == NULL && !PySequence_Check(path)) {
        PyErr_Format(PyExc_TypeError, "%s() argument 'path' must be an iterable of keys, not '%.200s'", who,
                     Py_TYPE(path)->tp_name);
        return NULL;
    }
    return PySequence_Tuple(path);
}

PyObject *hfpy_map_get_in(core_state *state, PyObject *map, PyObject *path, PyObject *fallback)
{
    PyObject *keys = path_keys(path, "get_in");
    if (keys == NULL)
        return NULL;
    PyObject *level = Py_NewRef(map);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(keys) && level != NULL; i++) {
        PyObject *value = NULL;
        int found = level_get(state, level, PyTuple_GET_ITEM(keys, i), &value);
        Py_SETREF(level, value);
        if (found == 0) {
            level = Py_NewRef(fallback);
            break;
        }
    }
    Py_DECREF(keys);
    return level;
}

/* A path into a Map, opened for a change. */
typedef struct opened_path {
    PyObject *keys;    /* a tuple */
    PyObject **levels; /* the Map that each key is in; own references */
    Py_ssize_t count;
} opened_path;

static void path_close(opened_path *path)
{
    for (Py_ssize_t i = 0; i < path->count; i++)
        Py_DECREF(path->levels[i]);
    PyMem_Free(path->levels);
    Py_XDECREF(path->keys);
    *path = (opened_path){NULL, NULL, 0};
}

/* Finds the Maps along a path. A level that is not there is the empty Map. `who` is for messages. */
static int path_open(core_state *state, opened_path *path, Map *map, PyObject *keys, const char *who)
{
    *path = (opened_path){.keys = path_keys(keys, who)};
    if (path->keys == NULL)
        return -1;
    Py_ssize_t count = PyTuple_GET_SIZE(path->keys);
    if (count == 0) {
        PyErr_Format(PyExc_ValueError, "%s() argument 'path' must not be empty", who);
        return -1;
    }
    path->levels = PyMem_New(PyObject *, (size_t)count);
    if (path->levels == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    path->levels[path->count++] = Py_NewRef((PyObject *)map);
    while (path->count < count) {
        PyObject *key = PyTuple_GET_ITEM(path->keys, path->count - 1);
        PyObject *level = hfpy_map_lookup(state, (Map *)path->levels[path->count - 1], key);
        if (level == NULL && PyErr_Occurred())
            return -1;
        if (level == NULL)
            level = Py_NewRef(state->empty_map);
        if (!Map_Check(state, level)) {
            PyErr_Format(PyExc_TypeError, "%s() path leads through a '%.200s' at key %R, not a Map", who,
                         Py_TYPE(level)->tp_name, key);
            Py_DECREF(level);
            return -1;
        }
        path->levels[path->count++] = level;
    }
    return 0;
}

/* Puts `value` (taken over) at the last key of the first `depth` levels, and what comes of it above that. */
static PyObject *path_replace(core_state *state, opened_path *path, Py_ssize_t depth, PyObject *value)
{
    while (depth > 0 && value != NULL) {
        depth--;
        Py_SETREF(value,
                  hfpy_map_with(state, (Map *)path->levels[depth], PyTuple_GET_ITEM(path->keys, depth), value));
    }
    return value;
}

PyObject *hfpy_map_assoc_in(core_state *state, Map *map, PyObject *keys, PyObject *value)
{
    opened_path path;
    PyObject *result = NULL;
    if (path_open(state, &path, map, keys, "assoc_in") == 0)
        result = path_replace(state, &path, path.count, Py_NewRef(value));
    path_close(&path);
    return result;
}

PyObject *hfpy_map_update_in(core_state *state, Map *map, PyObject *keys, PyObject *fn, PyObject *const *args,
                             Py_ssize_t count)
{
    opened_path path;
    PyObject *result = NULL, **call = NULL;
    if (path_open(state, &path, map, keys, "update_in") < 0)
        goto done;
    PyObject *last = PyTuple_GET_ITEM(path.keys, path.count - 1);
    PyObject *old = hfpy_map_lookup(state, (Map *)path.levels[path.count - 1], last);
    if (old == NULL && PyErr_Occurred())
        goto done;
    if (old == NULL)
        old = Py_NewRef(Py_None);
    call = PyMem_New(PyObject *, (size_t)count + 1);
    if (call == NULL) {
        PyErr_NoMemory();
    } else {
        call[0] = old;
        for (Py_ssize_t i = 0; i < count; i++)
            call[i + 1] = args[i];
        PyObject *value = PyObject_Vectorcall(fn, call, (size_t)count + 1, NULL);
        result = path_replace(state, &path, path.count, value);
    }
    Py_DECREF(old);
done:
    PyMem_Free(call);
    path_close(&path);
    return result;
}

PyObject *hfpy_map_dissoc_in(core_state *state, Map *map, PyObject *keys)
{
    opened_path path;
    PyObject *result = NULL, *value;
    if (path_open(state, &path, map, keys, "dissoc_in") == 0) {
        Py_ssize_t last = path.count - 1;
        PyObject *rest = hfpy_map_without(state, (Map *)path.levels[last], PyTuple_GET_ITEM(path.keys, last), &value);
        if (rest != NULL && value == NULL) {
            Py_DECREF(rest);
            result = Py_NewRef((PyObject *)map);
        } else {
            result = path_replace(state, &path, last, rest);
        }
        Py_XDECREF(value);
    }
    path_close(&path);
    return result;
}

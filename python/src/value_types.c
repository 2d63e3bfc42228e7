/*
 * value_types.c: the types that values know: those of Python's library, and those whose codecs users register.
 *
 * Decimal, Fraction, UUID, ZoneInfo and the like are imported when an object first calls for it: most programs use
 * none of them, and importing them takes longer than all the rest of holdfast.
 *
 * See value.h for concurrency and failure.
 */
#include "value_impl.h"

/* Everything in the library that is an object, for traverse and clear. */
/* clang-format off */
#define LIBRARY_OBJECTS(X)                                                                                        \
    X(datetime_capsule) X(zoneinfo_type) X(decimal_type) X(fraction_type) X(uuid_type) X(enum_meta) X(flag_type)  \
    X(enum_hash) X(safety[0]) X(safety[1]) X(safety[2]) X(uuid_keywords) X(dumps) X(loads) X(pickling_error)
/* clang-format on */

/* -- Python's library -- */

static void library_clear(hfpy_library *library)
{
    library->datetime_api = NULL;
#define CLEAR(member) Py_CLEAR(library->member);
    LIBRARY_OBJECTS(CLEAR)
#undef CLEAR
}

static PyObject *import_from(const char *module_name, const char *name)
{
    PyObject *module = PyImport_ImportModule(module_name);
    PyObject *found = module == NULL ? NULL : PyObject_GetAttrString(module, name);
    Py_XDECREF(module);
    return found;
}

static PyTypeObject *import_type(const char *module, const char *name)
{
    PyObject *found = import_from(module, name);
    if (found != NULL && !PyType_Check(found)) {
        PyErr_Format(PyExc_TypeError, "%s.%s is not a class", module, name);
        Py_CLEAR(found);
    }
    return (PyTypeObject *)found;
}

static int load_datetime(hfpy_library *library)
{
    library->datetime_capsule = import_from("datetime", "datetime_CAPI");
    if (library->datetime_capsule == NULL)
        return -1;
    library->datetime_api = PyCapsule_GetPointer(library->datetime_capsule, PyDateTime_CAPSULE_NAME);
    return library->datetime_api == NULL ? -1 : 0;
}

static int load_enum(hfpy_library *library)
{
    PyObject *plain = import_from("enum", "Enum");
    library->enum_meta = import_type("enum", "EnumMeta");
    library->flag_type = import_type("enum", "Flag");
    library->enum_hash = plain == NULL ? NULL : PyObject_GetAttrString(plain, "__hash__");
    Py_XDECREF(plain);
    return library->enum_meta == NULL || library->flag_type == NULL || library->enum_hash == NULL ? -1 : 0;
}

static int load_uuid(hfpy_library *library)
{
    static const char *const names[] = {"unknown", "safe", "unsafe"};
    PyObject *safety = import_from("uuid", "SafeUUID");
    library->uuid_type = import_type("uuid", "UUID");
    library->uuid_keywords = Py_BuildValue("(ss)", "int", "is_safe");
    int status = safety == NULL || library->uuid_type == NULL || library->uuid_keywords == NULL ? -1 : 0;
    for (size_t i = 0; status == 0 && i < 3; i++) {
        library->safety[i] = PyObject_GetAttrString(safety, names[i]);
        status = library->safety[i] == NULL ? -1 : 0;
    }
    Py_XDECREF(safety);
    return status;
}

static int load_pickle(hfpy_library *library)
{
    library->dumps = import_from("pickle", "dumps");
    library->loads = import_from("pickle", "loads");
    library->pickling_error = import_from("pickle", "PicklingError");
    return library->dumps == NULL || library->loads == NULL || library->pickling_error == NULL ? -1 : 0;
}

hfpy_library *hfpy_library_load(homes_state *state)
{
    hfpy_library loaded = {0};
    loaded.zoneinfo_type = import_type("zoneinfo", "ZoneInfo");
    loaded.decimal_type = loaded.zoneinfo_type == NULL ? NULL : import_type("decimal", "Decimal");
    loaded.fraction_type = loaded.decimal_type == NULL ? NULL : import_type("fractions", "Fraction");
    if (loaded.fraction_type == NULL || load_enum(&loaded) < 0 || load_uuid(&loaded) < 0 ||
        load_pickle(&loaded) < 0 || load_datetime(&loaded) < 0) {
        library_clear(&loaded);
        return NULL;
    }
    /* Importing runs Python: another thread may have been faster. */
    if (state->values.library.datetime_api == NULL)
        state->values.library = loaded;
    else
        library_clear(&loaded);
    return &state->values.library;
}

/* -- classes by name -- */

/* container.__dict__[name], new reference; NULL without an exception if it is not there. */
static PyObject *member_of(homes_state *state, PyObject *container, PyObject *name)
{
    PyObject *members = PyObject_GetAttr(container, state->values.names.__dict__);
    PyObject *found = members == NULL ? NULL : PyObject_GetItem(members, name);
    Py_XDECREF(members);
    if (found == NULL && (PyErr_ExceptionMatches(PyExc_KeyError) || PyErr_ExceptionMatches(PyExc_AttributeError)))
        PyErr_Clear();
    return found;
}

PyObject *hfpy_find_class(homes_state *state, PyObject *module_name, PyObject *qualified_name)
{
    PyObject *dot = PyUnicode_FromString(".");
    PyObject *names = dot == NULL ? NULL : PyUnicode_Split(qualified_name, dot, -1);
    Py_XDECREF(dot);
    PyObject *found = names == NULL ? NULL : PyImport_GetModule(module_name);
    for (Py_ssize_t i = 0; found != NULL && i < PyList_GET_SIZE(names); i++)
        Py_SETREF(found, member_of(state, found, PyList_GET_ITEM(names, i)));
    Py_XDECREF(names);
    return found;
}

/* -- codecs -- */

static PyObject *codec_in(PyObject *table, PyObject *key)
{
    /* After the module was cleared, what is still called finds none. */
    PyObject *codec = table == NULL ? NULL : PyDict_GetItemWithError(table, key);
    Py_XINCREF(codec);
    return codec;
}

PyObject *hfpy_codec_of_type(homes_state *state, PyTypeObject *type)
{
    /* A type is looked up by identity, whatever its metaclass thinks of __hash__ and __eq__. */
    PyObject *address = PyLong_FromVoidPtr(type);
    PyObject *codec = address == NULL ? NULL : codec_in(state->values.codecs, address);
    Py_XDECREF(address);
    return codec;
}

PyObject *hfpy_codec_of_name(homes_state *state, PyObject *name)
{
    return codec_in(state->values.codecs_by_name, name);
}

static int is_in(PyTypeObject *type, PyTypeObject *const *types, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (type == types[i])
            return 1;
    return 0;
}

/* Whether values of this type have a kind of their own. */
static int has_kind(const hfpy_library *library, PyTypeObject *type)
{
    PyDateTime_CAPI *api = hfpy_datetime(library);
    PyTypeObject *const types[] = {
        Py_TYPE(Py_None),      &PyBool_Type,
        &PyLong_Type,          &PyFloat_Type,
        &PyComplex_Type,       &PyUnicode_Type,
        &PyBytes_Type,         &PyByteArray_Type,
        &PyTuple_Type,         &PyFrozenSet_Type,
        &PyList_Type,          &PyDict_Type,
        &PySet_Type,           api->DateType,
        api->TimeType,         api->DateTimeType,
        api->DeltaType,        library->zoneinfo_type,
        library->decimal_type, library->fraction_type,
        library->uuid_type,    hfpy_timezone_type(library),
    };
    return is_in(type, types, sizeof types / sizeof *types);
}

/* Whether a class is the other one, defined again: by a reload, or in a notebook. 1, 0, or -1 with an exception. */
static int is_redefined(const hfpy_names *names, PyObject *type, PyObject *other)
{
    PyObject *const attributes[] = {names->__module__, names->__qualname__};
    for (size_t i = 0; i < 2; i++) {
        PyObject *a = PyObject_GetAttr(type, attributes[i]);
        PyObject *b = a == NULL ? NULL : PyObject_GetAttr(other, attributes[i]);
        int same = b == NULL ? -1 : PyUnicode_Check(a) && PyUnicode_Check(b) ? PyUnicode_Compare(a, b) == 0 : 0;
        Py_XDECREF(a);
        Py_XDECREF(b);
        if (same <= 0)
            return same;
    }
    return 1;
}

static int check_codec(homes_state *state, PyObject *type, PyObject *name, PyObject *encode, PyObject *decode)
{
    hfpy_library *library = hfpy_library_of(state);
    if (library == NULL)
        return -1;
    if (!PyType_Check(type)) {
        PyErr_Format(PyExc_TypeError, "register_codec() needs a class, not a '%s'", Py_TYPE(type)->tp_name);
        return -1;
    }
    if (has_kind(library, (PyTypeObject *)type)) {
        PyErr_Format(PyExc_ValueError, "'%s' has an encoding of its own and needs no codec",
                     ((PyTypeObject *)type)->tp_name);
        return -1;
    }
    if (!PyUnicode_CheckExact(name) || PyUnicode_GET_LENGTH(name) == 0) {
        PyErr_SetString(PyExc_TypeError, "the name of a codec must be a str that is not empty");
        return -1;
    }
    if (!PyCallable_Check(encode) || !PyCallable_Check(decode)) {
        PyErr_SetString(PyExc_TypeError, "register_codec() needs two functions, encode and decode");
        return -1;
    }
    return 0;
}

/* Refuses a name or type that is taken by another one. */
static int check_taken(homes_state *state, PyObject *type, PyObject *name)
{
    int status = 0;
    PyObject *old = hfpy_codec_of_type(state, (PyTypeObject *)type);
    if (old != NULL) {
        PyObject *old_name = PyTuple_GET_ITEM(old, HFPY_CODEC_NAME);
        status = PyUnicode_Compare(name, old_name) == 0 ? 0 : -1;
        if (status < 0 && !PyErr_Occurred())
            PyErr_Format(PyExc_ValueError, "'%s' has a codec already, %R", ((PyTypeObject *)type)->tp_name, old_name);
        Py_DECREF(old);
    }
    if (status < 0 || PyErr_Occurred())
        return -1;
    old = hfpy_codec_of_name(state, name);
    if (old != NULL) {
        PyObject *old_type = PyTuple_GET_ITEM(old, HFPY_CODEC_TYPE);
        status = is_redefined(&state->values.names, type, old_type);
        if (status == 0)
            PyErr_Format(PyExc_ValueError, "the codec %R is that of %R", name, old_type);
        Py_DECREF(old);
        return status == 1 ? 0 : -1;
    }
    return PyErr_Occurred() ? -1 : 0;
}

static int enter_codec(hfpy_values *values, PyObject *type, PyObject *name, PyObject *codec)
{
    PyObject *address = PyLong_FromVoidPtr(type);
    if (address == NULL)
        return -1;
    int status = PyDict_SetItem(values->codecs, address, codec);
    if (status == 0 && PyDict_SetItem(values->codecs_by_name, name, codec) < 0) {
        PyObject *exception = hfpy_exception_take();
        if (PyDict_DelItem(values->codecs, address) < 0)
            PyErr_Clear();
        hfpy_exception_give(exception);
        status = -1;
    }
    Py_DECREF(address);
    return status;
}

const char hfpy_register_codec_doc[] =
    "register_codec(type, name, encode, decode)\n--\n\n"
    "Store objects of a class of yours as values of other types.\n\n"
    "encode(object) returns what is stored: any object that can be stored itself, of another type.\n"
    "decode(that) returns the object again. The name is stored with it, so it must stay the same for\n"
    "as long as there is stored data, and a process that reads it must have registered it too.\n\n"
    "Only objects of exactly this class use the codec, not those of subclasses. Such objects cannot be\n"
    "keys. A name and a class can be registered once; a class that is defined again (a module that is\n"
    "reloaded) replaces the one of the same name and module.";

PyObject *hfpy_register_codec(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"type", "name", "encode", "decode", NULL};
    homes_state *state = hfpy_homes_state(module);
    PyObject *type, *name, *encode, *decode;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO:register_codec", keywords, &type, &name, &encode, &decode))
        return NULL;
    if (check_codec(state, type, name, encode, decode) < 0 || check_taken(state, type, name) < 0)
        return NULL;
    PyObject *codec = PyTuple_Pack(HFPY_CODEC_SIZE, name, encode, decode, type);
    int status = codec == NULL ? -1 : enter_codec(&state->values, type, name, codec);
    Py_XDECREF(codec);
    if (status < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* -- state -- */

int hfpy_values_exec(PyObject *module, homes_state *state)
{
    hfpy_values *values = &state->values;
#define INTERN(name)                                                      \
    if ((values->names.name = PyUnicode_InternFromString(#name)) == NULL) \
        return -1;
    HFPY_NAMES(INTERN)
#undef INTERN
    values->codecs = PyDict_New();
    values->codecs_by_name = PyDict_New();
    return values->codecs == NULL || values->codecs_by_name == NULL ? -1 : 0;
}

int hfpy_values_traverse(hfpy_values *values, visitproc visit, void *arg)
{
    hfpy_library *library = &values->library;
#define VISIT(member) Py_VISIT(library->member);
    LIBRARY_OBJECTS(VISIT)
#undef VISIT
    Py_VISIT(values->codecs);
    Py_VISIT(values->codecs_by_name);
    return 0;
}

void hfpy_values_clear(hfpy_values *values)
{
    Py_CLEAR(values->codecs);
    Py_CLEAR(values->codecs_by_name);
}

void hfpy_values_free(hfpy_values *values)
{
    hfpy_values_clear(values);
    library_clear(&values->library);
#define CLEAR(name) Py_CLEAR(values->names.name);
    HFPY_NAMES(CLEAR)
#undef CLEAR
}

/*
 * views.c: keys(), values() and items() of a Map or a TransientMap: views, as dict's are.
 *
 * A view refers to its owner and holds nothing of its own; that of a TransientMap shows the changes. Keys and items are
 * set-like: they compare with sets, and & | - ^ give a set.
 */
#include "trie.h"

typedef struct MapView {
    PyObject_HEAD
    PyObject *owner;
    enum view_kind kind;
} MapView;

PyObject *hfpy_view_new(core_state *state, PyObject *owner, enum view_kind kind)
{
    MapView *view = PyObject_GC_New(MapView, state->view_types[kind]);
    if (view == NULL)
        return NULL;
    view->owner = Py_NewRef(owner);
    view->kind = kind;
    PyObject_GC_Track(view);
    return (PyObject *)view;
}

static void view_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_DECREF(((MapView *)self)->owner);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static int view_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((MapView *)self)->owner);
    return 0;
}

static PyObject *view_iter(PyObject *self)
{
    MapView *view = (MapView *)self;
    core_state *state = hfpy_state(self);
    if (TransientMap_Check(state, view->owner) && hfpy_transient_alive((TransientMap *)view->owner) < 0)
        return NULL;
    return hfpy_iterator_new(state, view->owner, view->kind);
}

static Py_ssize_t view_length(PyObject *self)
{
    return PyObject_Size(((MapView *)self)->owner);
}

static int keys_contains(PyObject *self, PyObject *key)
{
    return PySequence_Contains(((MapView *)self)->owner, key);
}

static int items_contains(PyObject *self, PyObject *item)
{
    PyObject *owner = ((MapView *)self)->owner;
    core_state *state = hfpy_state(self);
    if (!PyTuple_Check(item) || PyTuple_GET_SIZE(item) != 2)
        return 0;
    PyObject *key = PyTuple_GET_ITEM(item, 0), *wanted = PyTuple_GET_ITEM(item, 1), *value;
    if (Map_Check(state, owner))
        return hfpy_map_has_item(state, (Map *)owner, key, wanted);
    int found = hfpy_transient_lookup(state, (TransientMap *)owner, key, &value);
    if (found > 0) {
        found = PyObject_RichCompareBool(value, wanted, Py_EQ);
        Py_DECREF(value);
    }
    return found;
}

static PyObject *view_repr(PyObject *self)
{
    static const char *const names[] = {"MapKeys", "MapValues", "MapItems"};
    const char *name = names[((MapView *)self)->kind];
    int nested = Py_ReprEnter(self);
    if (nested != 0)
        return nested < 0 ? NULL : PyUnicode_FromFormat("holdfast.%s(...)", name);
    PyObject *list = PySequence_List(self);
    PyObject *result = list == NULL ? NULL : PyUnicode_FromFormat("holdfast.%s(%R)", name, list);
    Py_XDECREF(list);
    Py_ReprLeave(self);
    return result;
}

static PyObject *view_mapping(PyObject *self, void *unused)
{
    return Py_NewRef(((MapView *)self)->owner);
}

/* -- as sets -- */

/* set(left).method(right); either may be the view. */
static PyObject *view_operate(PyObject *left, PyObject *right, const char *method)
{
    PyObject *result = PySet_New(left), *name = PyUnicode_FromString(method), *none = NULL;
    if (result != NULL && name != NULL)
        none = PyObject_CallMethodOneArg(result, name, right);
    if (none == NULL)
        Py_CLEAR(result);
    Py_XDECREF(none);
    Py_XDECREF(name);
    return result;
}

static bool is_set_view(core_state *state, PyObject *object)
{
    return PyDictViewSet_Check(object) || Py_IS_TYPE(object, state->view_types[VIEW_KEYS]) ||
           Py_IS_TYPE(object, state->view_types[VIEW_ITEMS]);
}

/* The elements of `iterable` that are in `view`; so what is not in both need not be hashable. */
static PyObject *intersect(PyObject *view, PyObject *iterable)
{
    PyObject *element, *result = PySet_New(NULL), *iterator = result == NULL ? NULL : PyObject_GetIter(iterable);
    int status = iterator == NULL ? -1 : 0;
    while (status == 0 && (element = PyIter_Next(iterator)) != NULL) {
        status = PySequence_Contains(view, element);
        if (status > 0)
            status = PySet_Add(result, element);
        Py_DECREF(element);
    }
    Py_XDECREF(iterator);
    if (status < 0 || PyErr_Occurred())
        Py_CLEAR(result);
    return result;
}

/* Walks over the operand that a dict's view would walk over: the smaller one of two views, the other operand of one. Whose
 * element is in the result shows where equal ones differ, in type or in being hashable. */
static PyObject *view_and(PyObject *left, PyObject *right)
{
    bool on_left = PyType_GetSlot(Py_TYPE(left), Py_nb_and) == (void *)view_and;
    PyObject *view = on_left ? left : right, *other = on_left ? right : left;
    Py_ssize_t size = PyObject_Size(view), other_size = 0;
    bool is_set = PySet_CheckExact(other), is_view = !is_set && is_set_view(hfpy_state(view), other);
    if (is_set || is_view)
        other_size = PyObject_Size(other);
    if (size < 0 || other_size < 0)
        return NULL;
    if (is_set && size <= other_size)
        return PyObject_CallMethod(other, "intersection", "O", view);
    return is_view && other_size > size ? intersect(other, view) : intersect(view, other);
}

static PyObject *view_or(PyObject *left, PyObject *right)
{
    return view_operate(left, right, "update");
}

static PyObject *view_subtract(PyObject *left, PyObject *right)
{
    return view_operate(left, right, "difference_update");
}

static PyObject *view_xor(PyObject *left, PyObject *right)
{
    return view_operate(left, right, "symmetric_difference_update");
}

/* Whether `container` has every element of `iterable` (want 1), or none of them (want 0): 1, 0 or -1. */
static int all_contained(PyObject *iterable, PyObject *container, int want)
{
    PyObject *iterator = PyObject_GetIter(iterable), *element;
    if (iterator == NULL)
        return -1;
    int contained = want;
    while (contained == want && (element = PyIter_Next(iterator)) != NULL) {
        contained = PySequence_Contains(container, element);
        Py_DECREF(element);
    }
    Py_DECREF(iterator);
    if (contained < 0 || PyErr_Occurred())
        return -1;
    return contained == want;
}

static PyObject *view_isdisjoint(PyObject *self, PyObject *other)
{
    int disjoint = all_contained(other, self, 0);
    return disjoint < 0 ? NULL : PyBool_FromLong(disjoint);
}

static PyObject *view_richcompare(PyObject *self, PyObject *other, int op)
{
    if (!PyAnySet_Check(other) && !PyDictViewSet_Check(other)) {
        int set = PyObject_IsInstance(other, hfpy_state(self)->set_abc);
        if (set < 0)
            return NULL;
        if (!set)
            Py_RETURN_NOTIMPLEMENTED;
    }
    Py_ssize_t size = PyObject_Size(self), other_size = PyObject_Size(other);
    if (size < 0 || other_size < 0)
        return NULL;
    int answer = 0;
    switch (op) {
    case Py_EQ:
    case Py_NE:
        answer = size == other_size ? all_contained(self, other, 1) : 0;
        if (answer >= 0 && op == Py_NE)
            answer = !answer;
        break;
    case Py_LT:
    case Py_LE:
        if (size < other_size + (op == Py_LE))
            answer = all_contained(self, other, 1);
        break;
    default:
        if (size + (op == Py_GE) > other_size)
            answer = all_contained(other, self, 1);
        break;
    }
    return answer < 0 ? NULL : PyBool_FromLong(answer);
}

/* -- the types -- */

static PyGetSetDef view_getset[] = {
    {"mapping", view_mapping, NULL, PyDoc_STR("The mapping that this view is of."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef set_view_methods[] = {
    {"isdisjoint", view_isdisjoint, METH_O,
     PyDoc_STR("isdisjoint($self, other, /)\n--\n\nWhether no element of other is in the view.")},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef values_methods[] = {
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot keys_slots[] = {
    {Py_tp_doc, "The keys of a Map or a TransientMap: a set-like view."},
    {Py_tp_dealloc, view_dealloc},
    {Py_tp_traverse, view_traverse},
    {Py_tp_repr, view_repr},
    {Py_tp_iter, view_iter},
    {Py_tp_richcompare, view_richcompare},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {Py_tp_methods, set_view_methods},
    {Py_tp_getset, view_getset},
    {Py_sq_length, view_length},
    {Py_sq_contains, keys_contains},
    {Py_nb_and, view_and},
    {Py_nb_or, view_or},
    {Py_nb_subtract, view_subtract},
    {Py_nb_xor, view_xor},
    {0, NULL},
};

static PyType_Slot values_slots[] = {
    {Py_tp_doc, "The values of a Map or a TransientMap: a view."},
    {Py_tp_dealloc, view_dealloc},
    {Py_tp_traverse, view_traverse},
    {Py_tp_repr, view_repr},
    {Py_tp_iter, view_iter},
    {Py_tp_methods, values_methods},
    {Py_tp_getset, view_getset},
    {Py_sq_length, view_length},
    {0, NULL},
};

static PyType_Slot items_slots[] = {
    {Py_tp_doc, "The items, (key, value), of a Map or a TransientMap: a set-like view."},
    {Py_tp_dealloc, view_dealloc},
    {Py_tp_traverse, view_traverse},
    {Py_tp_repr, view_repr},
    {Py_tp_iter, view_iter},
    {Py_tp_richcompare, view_richcompare},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {Py_tp_methods, set_view_methods},
    {Py_tp_getset, view_getset},
    {Py_sq_length, view_length},
    {Py_sq_contains, items_contains},
    {Py_nb_and, view_and},
    {Py_nb_or, view_or},
    {Py_nb_subtract, view_subtract},
    {Py_nb_xor, view_xor},
    {0, NULL},
};

enum {
    VIEW_FLAGS =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
};

static PyType_Spec view_specs[] = {
    [VIEW_KEYS] = {"holdfast.MapKeys", sizeof(MapView), 0, VIEW_FLAGS, keys_slots},
    [VIEW_VALUES] = {"holdfast.MapValues", sizeof(MapView), 0, VIEW_FLAGS, values_slots},
    [VIEW_ITEMS] = {"holdfast.MapItems", sizeof(MapView), 0, VIEW_FLAGS, items_slots},
};

int hfpy_views_exec(PyObject *module, core_state *state)
{
    for (int kind = VIEW_KEYS; kind <= VIEW_ITEMS; kind++) {
        PyObject *type = PyType_FromModuleAndSpec(module, &view_specs[kind], NULL);
        state->view_types[kind] = (PyTypeObject *)type;
        if (type == NULL || PyModule_AddType(module, (PyTypeObject *)type) < 0)
            return -1;
    }
    return 0;
}

/*
 * core.h: what every file of the extension shares: the module's state, the objects, the helpers.
 *
 *      Map ----root----> node ----> node ...          the trie: see trie_policy.h
 *      TransientMap --root--> the same, some of its nodes its own
 *      MapKeys, MapValues, MapItems, iterators -----> their Map (or TransientMap)
 *
 * The extension keeps no global state: types and singletons live in the module (struct core_state), found from
 * any of our objects through its type. So it can be loaded in several interpreters at once.
 *
 * It is compiled once for each CPU level (base/cpu.h) into a module of its own; holdfast/_core.py imports the one
 * that fits the processor. Inside a module nothing is dispatched.
 *
 * Errors: functions that return int follow the core's convention (negative status), with a Python exception set
 * unless the status is HF_NOMEM; hfpy_raise makes sure of one. Functions that return PyObject * follow CPython's.
 */
#ifndef HFPY_CORE_H
#define HFPY_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include "base/memory.h"
#include "holdfast/status.h"

struct trie_node;
typedef struct hfpy_pending hfpy_pending;

enum view_kind { VIEW_KEYS, VIEW_VALUES, VIEW_ITEMS };

typedef struct core_state {
    PyTypeObject *node_type;         /* nodes that hold nothing the collector could be interested in */
    PyTypeObject *tracked_node_type; /* the others */
    PyTypeObject *map_type;
    PyTypeObject *transient_type;
    PyTypeObject *view_types[3]; /* by enum view_kind */
    PyTypeObject *iterator_type;
    PyTypeObject *missing_type;
    PyTypeObject *pickled_type; /* a subtree, on its way out of a pickle */
    PyTypeObject *change_type;  /* collections.namedtuple */
    PyObject *conflict;         /* the exception */
    PyObject *missing;          /* MISSING */
    PyObject *empty_map;
    PyObject *load_map; /* the functions that pickles name */
    PyObject *load_node;
    PyObject *mapping_abc; /* collections.abc.Mapping */
    PyObject *set_abc;     /* collections.abc.Set */
    PyObject *empty_tuple;
    PyObject *str_keys;          /* interned "keys", */
    PyObject *str_versioned;     /* and "__holdfast_items__" */
    hfpy_pending *spare_pending; /* see pending.c */
    uint64_t loaded_versions;    /* Maps loaded from pickles so far */
} core_state;

/* The immutable map. What it contains is settled when it is made; the making of its last edit may be put off until
 * somebody looks (pending.c). So `root` is read through hfpy_map_root. */
typedef struct Map {
    PyObject_HEAD
    struct trie_node *root; /* NULL when empty, and while its last edit is pending */
    Py_ssize_t count;
    hfpy_pending *pending; /* the edit that this Map, or another made out of it, is waiting for; or NULL */
    PyObject *weakrefs;
} Map;

/* Edits of a Map one after the other: what they make is the draft's own, and edited in place. */
typedef struct hfpy_draft {
    struct trie_node *root;
    Py_ssize_t count;
    int owned; /* whether `root` is counted by the draft; otherwise the Map holds it */
} hfpy_draft;

/* A map under construction. `busy` is set while one of its operations runs: foreign code that such an operation
 * calls (or another thread) and that comes back for the same transient gets a RuntimeError, for the nodes it would
 * change are being walked. */
typedef struct TransientMap {
    PyObject_HEAD
    hfpy_draft draft;   /* always owned */
    Map *origin;        /* the Map it began with, until it is edited; then NULL */
    PyObject *finished; /* the Map, once finish() has been called; the draft is empty then */
    uint64_t edits;     /* counts changes of the key set, for iterators */
    char busy;
    PyObject *weakrefs;
} TransientMap;

static inline core_state *hfpy_state_of(PyTypeObject *type)
{
    return (core_state *)PyType_GetModuleState(type);
}

static inline core_state *hfpy_state(void *object)
{
    return hfpy_state_of(Py_TYPE((PyObject *)object));
}

static inline int Map_Check(core_state *state, PyObject *object)
{
    return Py_IS_TYPE(object, state->map_type);
}

static inline int TransientMap_Check(core_state *state, PyObject *object)
{
    return Py_IS_TYPE(object, state->transient_type);
}

/* Turns a status into the exception that is set, setting one if none is. */
void hfpy_set_error(int status);

/* The same; returns -1, for convenience. */
static inline int hfpy_raise(int status)
{
    hfpy_set_error(status);
    return -1;
}

/* KeyError(key), also where the key is a tuple. */
void hfpy_raise_key_error(PyObject *key);
/* The arguments of a fast call method that takes one and an optional second, which may be given by keyword: *second is
 * NULL if it is not. -1 and TypeError if they do not fit. */
int hfpy_parse_one_or_two(const char *method, const char *keyword, PyObject *const *args, Py_ssize_t count,
                          PyObject *names, PyObject **second);

/* map.c */
extern PyType_Spec hfpy_map_spec;
/* A Map with neither root nor count, and not tracked yet. */
Map *hfpy_map_alloc(core_state *state);
/* A Map with this root, whose count it takes over (also when it fails). */
PyObject *hfpy_map_wrap(core_state *state, struct trie_node *root, Py_ssize_t count);
/* The value of a key, new reference; NULL without an exception when it is not there. */
PyObject *hfpy_map_lookup(core_state *state, Map *map, PyObject *key);
/* The Map with one more (one less) entry, new reference; the same Map if nothing changes. */
PyObject *hfpy_map_with(core_state *state, Map *map, PyObject *key, PyObject *value);
/* *taken (unless NULL): the value that the key had, new reference, or NULL if it was not there. */
PyObject *hfpy_map_without(core_state *state, Map *map, PyObject *key, PyObject **taken);
/* 1 if the map has this key with this value, 0 if not, or a failure. */
int hfpy_map_has_item(core_state *state, Map *map, PyObject *key, PyObject *value);
PyObject *hfpy_repr(core_state *state, PyObject *self, const char *name);

/* Drafts: see hfpy_draft above. Begin: 0, or -1 with an exception. */
int hfpy_draft_begin(hfpy_draft *draft, Map *map);
/* TRIE_SAME, TRIE_ADDED, TRIE_REPLACED, or -1 with an exception; the draft is as it was then. */
int hfpy_draft_put(core_state *state, hfpy_draft *draft, PyObject *key, PyObject *value);
int hfpy_draft_put_hashed(core_state *state, hfpy_draft *draft, Py_hash_t hash, PyObject *key, PyObject *value);
/* 1 if the key was there, 0 if not, or -1 with an exception. */
int hfpy_draft_discard(core_state *state, hfpy_draft *draft, PyObject *key);
/* The Map that the draft came to: `map` itself if nothing changed. Ends the draft, also when it fails. */
PyObject *hfpy_draft_finish(core_state *state, hfpy_draft *draft, Map *map);
void hfpy_draft_abandon(hfpy_draft *draft);

/* pending.c */
/* Makes the edit that the Map is waiting for. 0, or -1 and MemoryError; it is as it was then. Runs no foreign code if the
 * Map that it was made out of is alive. */
int hfpy_pending_resolve(Map *map);
/* Called when a Map with `pending` dies: gives up the edit, or hands over what it is to be made to. Runs foreign code. */
void hfpy_pending_part(Map *map);
int hfpy_pending_traverse(Map *map, visitproc visit, void *arg);
void hfpy_pending_clear_spare(core_state *state);

/* The root of a Map, borrowed from it. 0, or -1 and MemoryError. */
static inline int hfpy_map_root(Map *map, struct trie_node **root)
{
    if (map->root == NULL && map->count > 0 && hfpy_pending_resolve(map) < 0)
        return -1;
    *root = map->root;
    return 0;
}

/* map_hash.c */
Py_hash_t hfpy_map_hash(PyObject *self);

/* map_update.c: whole containers as sources. `who` is the name in messages: "Map", "update". */
/* Puts the contents of `source` (a mapping, an iterable of pairs, or NULL) and then of `kwargs` (a dict or NULL) over the
 * draft. A failure while they are read changes nothing; one of a key's __eq__ may leave the draft partly done. */
int hfpy_draft_update(core_state *state, hfpy_draft *draft, PyObject *source, PyObject *kwargs, const char *who);
PyObject *hfpy_map_from(core_state *state, PyObject *source, PyObject *kwargs, const char *who);
PyObject *hfpy_map_fromkeys(core_state *state, PyObject *keys, PyObject *value);
PyObject *hfpy_map_updated(core_state *state, Map *map, PyObject *source, PyObject *kwargs, const char *who);
/* `other` over `map`, as hfpy_map_updated, but shared keys are settled by `settle` (NULL: other's value). */
PyObject *hfpy_map_union(core_state *state, Map *map, Map *other, PyObject *settle);
/* Whether the object is a mapping in the sense of dict.update (has keys()): 1, 0 or -1. */
int hfpy_has_keys(core_state *state, PyObject *object);

/* map_path.c */
PyObject *hfpy_map_get_in(core_state *state, PyObject *map, PyObject *path, PyObject *fallback);
PyObject *hfpy_map_assoc_in(core_state *state, Map *map, PyObject *keys, PyObject *value);
PyObject *hfpy_map_update_in(core_state *state, Map *map, PyObject *keys, PyObject *fn, PyObject *const *args,
                             Py_ssize_t count);
PyObject *hfpy_map_dissoc_in(core_state *state, Map *map, PyObject *keys);

/* map_versions.c: diff, merge3, and what they speak in. */
int hfpy_versions_exec(PyObject *module, core_state *state);
PyObject *hfpy_map_diff(core_state *state, Map *from, Map *to);
PyObject *hfpy_map_merge3(core_state *state, Map *base, Map *mine, Map *theirs, PyObject *resolve);

/* views.c, iterator.c */
int hfpy_views_exec(PyObject *module, core_state *state);
int hfpy_iterator_exec(PyObject *module, core_state *state);
PyObject *hfpy_view_new(core_state *state, PyObject *owner, enum view_kind kind);
/* An iterator over a Map or a TransientMap. */
PyObject *hfpy_iterator_new(core_state *state, PyObject *owner, enum view_kind kind);

/* transient.c */
extern PyType_Spec hfpy_transient_spec;
PyObject *hfpy_transient_new(core_state *state, Map *map);
/* Fails with ValueError if it is finished. */
int hfpy_transient_alive(TransientMap *transient);
/* Fails as well, with RuntimeError, if one of its operations has not returned. Whoever wants to hold its root must ask:
 * an edit under way has found the nodes to be its own. */
int hfpy_transient_idle(TransientMap *transient);
/* 1 and the value (new reference), 0, or -1 with an exception. */
int hfpy_transient_lookup(core_state *state, TransientMap *transient, PyObject *key, PyObject **value);

/* A Map with the contents of this moment, in O(1). ValueError if the transient is finished. */
PyObject *hfpy_transient_snapshot(core_state *state, TransientMap *transient);

/* pickle.c */
int hfpy_pickle_exec(PyObject *module, core_state *state);
PyObject *hfpy_node_reduce(PyObject *self, PyObject *unused);
PyObject *hfpy_map_reduce(core_state *state, Map *map);

/* module.c: makes a function of the module, says that it belongs to `home`, where pickle and readers will look for it, and
 * puts it in the module. New reference. */
PyObject *hfpy_add_function(PyObject *module, PyMethodDef *definition, const char *home);

/* footprint.c */
PyObject *hfpy_footprint(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *hfpy_map_sizeof(PyObject *self, PyObject *unused);

#endif

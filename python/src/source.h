/*
 * source.h: the entries of what dict.update() takes, one by one, with dict's complaints.
 *
 *      a dict                            its items, of this moment
 *      a map or snapshot of ours         one version of it
 *      something with keys()             keys(), then [] of each
 *      anything else                     an iterable of pairs
 *
 * Concurrency: the GIL; foreign code runs. Failure: -1 with an exception; entries before it have been told of.
 */
#ifndef HFPY_SOURCE_H
#define HFPY_SOURCE_H

#include "homes.h"

/* Is told of an entry. -1 with an exception ends it. */
typedef int (*hfpy_entry)(void *arg, PyObject *key, PyObject *value);

int hfpy_source_each(homes_state *state, PyObject *source, hfpy_entry entry, void *arg);

#endif

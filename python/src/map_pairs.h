/* map_pairs.h: Maps whose equality is still to be found out. See hfpy_map_equal in map.c. */
#ifndef HFPY_MAP_PAIRS_H
#define HFPY_MAP_PAIRS_H

#include "core.h"

typedef struct map_pairs {
    Map *(*pairs)[2]; /* own references */
    size_t count;
    size_t room;
} map_pairs;

/* Puts the question off: returns 1 (for the time being they are equal) or HF_NOMEM. */
int map_pairs_push(map_pairs *pairs, Map *a, Map *b);

#endif

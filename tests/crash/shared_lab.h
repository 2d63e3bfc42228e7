/*
 * shared_lab.h: the map in shared memory (holdfast/shared.h) as a subject of the laboratory.
 *
 *      keys        numbers, each with one or two forms that are equal: 7 and 7.0, (9, 'x') and (9.0, 'x')
 *      values      numbers, which say what kind of datum they are, how long, and what bytes they have
 *      state       the model: the value of each key, and the form in which it was put. Its digest is that of the map
 *
 *      shared_map        a session (lab.h) of single steps and transactions
 *      shared_set, shared_clear, shared_exchange    sessions of one compound change, for single steps (kill.h)
 *      shared_clients    clients whose history must be linearizable
 *      shared_writers    clients who each say in memory that outlives them what they have begun and what is committed:
 *                        after each kill, while the others go on, the map must have just that
 *
 * The same sources are linked with the map as it is, and with builds of it that have a fault (region/sabotage.h).
 */
#ifndef HF_CRASH_SHARED_LAB_H
#define HF_CRASH_SHARED_LAB_H

#include "kill.h"
#include "lab.h"

#include "shared/shared.h"

#include <holdfast/status.h>

enum {
    LAB_KEYS = 48,
    LAB_LONGEST = 40 << 10, /* bytes of a value */
    LAB_MEMORY = 24 << 20,  /* the most that a map here may take: that is enough, so more would be lost memory */
};

struct lab_state {
    uint64_t value[LAB_KEYS]; /* 0: absent */
    unsigned char form[LAB_KEYS];
};

struct lab_text {
    uint8_t bytes[64];
};

uint64_t lab_digest(const struct lab_state *state);

/* The key of this number, in this form: 0 or 1, which are the same for some. What it points to goes to `text`. */
hf_datum lab_key(unsigned number, unsigned form, struct lab_text *text);
/* And back: whether it is one, and which. Of a key whose forms are the same, form 0. */
bool lab_key_number(const hf_datum *key, unsigned *number, unsigned *form);
unsigned lab_form(unsigned number, unsigned form);

/* A value, whose bytes stay until the next call in this thread. */
hf_datum lab_value(uint64_t value);
/* The number, or 0: this is no value of ours. */
uint64_t lab_value_number(const hf_datum *datum);
uint64_t lab_draw(struct hf_random *random, bool large);
/* A number whose value is an INT, which may be added to. */
static inline bool lab_is_int(uint64_t value)
{
    return value % 8 == 4;
}

void lab_state_set(struct lab_state *state, unsigned key, unsigned form, uint64_t value);

/* All entries of a snapshot: 0 and the state; HF_INVALID: what nobody put there. */
int lab_read(const hf_shared_snapshot *snapshot, struct lab_state *out);

/* Opens the map of this folder, or makes it. HF_ABSENT. */
int lab_open(const char *folder, bool make, hf_shared **out);

/* -- the subjects -- */

extern const struct hf_subject shared_map, shared_set, shared_clear, shared_exchange;
extern const struct hf_clients_subject shared_clients, shared_writers;

#endif

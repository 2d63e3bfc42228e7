/*
 * cask_lab.h: the cask (holdfast/cask.h) as a subject of the laboratory, and a model of it.
 *
 *      keys        numbers; some are longer than others
 *      values      numbers, which say how long they are, what bytes they have, and when the record expires
 *      state       the model: the value of each key. States that may come up again are kept by their digest, in memory that all
 *                  processes of a tool share: a digest alone does not say what has expired meanwhile
 *      clock       the system's clock, as the cask sees it: it goes by epochs, and jumps, back too. Shared likewise
 *
 *      cask              a session (lab.h) of mixed work                                      cask_session.c, cask_work.c
 *      cask_put, cask_batch, cask_merge    one put, one batch, one merge, for single steps (kill.h)
 *      cask_clients      one who writes, one who follows, one who holds snapshots             cask_clients.c
 *      cask_damaged      a session that judges exactly what damage has done (damage.h)        cask_damage.c
 *
 * What is true of what is recovered (the oracle): it is a state that was begun, none before the last that had returned (after a
 * kill) or was synced (after a power cut); but for keys that have expired since. Of an entry that has not been seen to be expired,
 * whose time was over by a clock that the cask was shown, nothing is known: it may be there or not. When it is absent it stays so, which
 * is a state of its own, in the order of the others: "told". So `told` is as durable as a record: with the next sync.
 *
 * The same sources are linked with the cask as it is, and with builds of it that have a fault (cask/sabotage.h).
 */
#ifndef HF_CRASH_CASK_LAB_H
#define HF_CRASH_CASK_LAB_H

#include "kill.h"
#include "lab.h"

#include "cask/cask.h"

#include <holdfast/cask.h>
#include <holdfast/status.h>

enum {
    CASK_KEYS = 40,
    CASK_HELD = 3,
    CASK_LONGEST = 6000, /* bytes of a value */
    CASK_KEY_LONGEST = 320,
    CASK_EPOCH = 1000, /* milliseconds */
};

#define CASK_EPOCH_BASE INT64_C(1600000000000)

struct cask_state {
    uint64_t value[CASK_KEYS]; /* 0: absent */
    uint64_t any;              /* a bit for each key of which nothing is known: it has expired */
    int64_t high;              /* the latest clock that the cask was shown with it; not in the digest */
};

/* -- the model: cask_state.c -- */

uint64_t cask_digest(const struct cask_state *state);

/* Keeps it by its digest, which is returned; and finds it again: NULL, it is too long ago. */
uint64_t cask_keep(const struct cask_state *state);
const struct cask_state *cask_kept(uint64_t digest);
/* The kept one has been shown this clock. */
void cask_shown(uint64_t digest, int64_t clock);

/* May a cask with this state look like `seen`, where its clock is `clock`? */
bool cask_may_be(const struct cask_state *state, const struct cask_state *seen, int64_t clock);
/* Which key says that it may not, and what is there and should be. */
void cask_difference(const struct cask_state *state, const struct cask_state *seen, int64_t clock, char *text,
                     size_t size);

/* What of it has not expired. */
struct cask_state cask_alive(const struct cask_state *state, int64_t clock);

/* A key's bytes. */
size_t cask_key(unsigned number, char bytes[CASK_KEY_LONGEST]);
/* Which key that is, or CASK_KEYS. */
unsigned cask_key_number(const void *bytes, size_t size);

/* The bytes of a value, which stay until the next call in this thread. */
const void *cask_value(uint64_t value, size_t *size);
/* The number, or 0: these bytes are no value. */
uint64_t cask_value_number(const void *bytes, size_t size);
/* A new one, that expires some epochs after `clock`, or does not. */
uint64_t cask_draw(struct hf_random *random, int64_t clock, bool expires);
int64_t cask_value_expires(uint64_t value);

/* The simulated clock; it is the system's for whoever has called cask_clock_use. */
int64_t cask_clock(void);
void cask_clock_jump(struct hf_random *random);
/* Calls of the OS table go through here until the end; `seed` makes the system's random numbers repeat themselves, 0: not. */
void cask_clock_use(uint64_t seed);
void cask_clock_end(void);

/* -- a cask in use: cask_work.c -- */

struct cask_work {
    struct hf_lab_run *run;
    struct hf_random random;
    hf_cask *cask;
    hf_cask_options how;
    struct cask_state now;
    bool known; /* `now` is what was there before it was opened */
    struct {
        hf_cask_snapshot *snapshot;
        struct cask_state state;
    } held[CASK_HELD];
};

/* All that there is, by a walk, look-ups and a count; the cask's clock. HF_INVALID: a violation was found, and said. */
int cask_read(struct cask_work *work, struct cask_state *out, int64_t *clock);

/* The check (unless it may have found damage), what is there, and whether that may be: 0, and it was said. */
int cask_recover(struct cask_work *work);

/* After a call that began a state: it is done, durable, failed, or broken. False: the cask is to be closed and opened. */
bool cask_finish(struct cask_work *work, int status, const struct cask_state *next, const char *what);

/* Keys that have expired are looked at, so that they stay so. */
void cask_settle(struct cask_work *work);

bool cask_put_one(struct cask_work *work);
bool cask_batch_one(struct cask_work *work);
bool cask_delete_one(struct cask_work *work);
bool cask_merge_some(struct cask_work *work);
bool cask_sync(struct cask_work *work);
void cask_jump(struct cask_work *work);

/* Looks at some of it; holds snapshots, looks at them, lets them go. */
bool cask_look(struct cask_work *work);
void cask_release(struct cask_work *work);

/* -- the subjects -- */

extern const struct hf_subject cask_mixed, cask_put, cask_batch, cask_merge, cask_damaged;
extern const struct hf_clients_subject cask_clients;

#endif

/*
 * linear.h: is a history of a map, made by several clients at once, some of them killed, linearizable?
 *
 *     client 1   |---- put 7 ----|          |-- get: 7 --|
 *     client 2        |------ put 8 ---- (killed)
 *     client 3             |--- get: 8 ---|
 *
 * It is, if each operation that returned can be given one moment between its call and its
 * return such that the results are those of a map on which they are made one by one. An
 * operation of a killed client has happened at some moment after its call, or never.
 *
 * A map is linearizable if each of its keys is, so each key is a register of its own.
 * Within a key, Lowe's just-in-time linearization of Wing & Gong's search: go along the
 * calls and returns, and keep every *configuration* that explains what was seen: the
 * register's value, and which of the open operations have taken effect. At a return, take
 * those in which the operation has, or can now, after others that are open.
 *   - Configurations are kept in a set, so each is looked at once (the memoisation).
 *   - An operation that, with its result, can change nothing takes effect as soon as it sees
 *     what it reports: that leaves as much open as waiting would.
 *   - Of two with the same value, one of which has used up killed operations that the
 *     other has not, the other is enough.
 *   - A killed write of a value that nobody saw, of a key where nobody looks for presence
 *     alone, is as if it never was.
 *
 * Times are numbers that order events across clients (hf_history below takes them from one
 * atomic counter); of equal ones, a call comes before a return.
 *
 * Concurrency: hf_history_call and hf_history_return from any process that has it mapped,
 * killed at any instruction; the check is a function of its arguments.
 * Failure: none (support.h).
 */
#ifndef HF_CRASH_LINEAR_H
#define HF_CRASH_LINEAR_H

#include "support.h"

#include <stdatomic.h>

enum hf_lin_kind {
    HF_LIN_GET,    /* result: the value or HF_LIN_ABSENT */
    HF_LIN_PUT,    /* sets value; no result */
    HF_LIN_REMOVE, /* result: 1, or 0 if it was absent */
    HF_LIN_CAS,    /* from `expected` to value (either may be HF_LIN_ABSENT); result: 1, or 0 if it was another */
    HF_LIN_ADD,    /* adds value, to 0 if it was absent; result: the sum */
};

#define HF_LIN_ABSENT UINT64_MAX
#define HF_LIN_KILLED UINT64_MAX

struct hf_lin_op {
    uint32_t client;
    enum hf_lin_kind kind;
    uint64_t key, value, expected, result;
    uint64_t invoked, returned; /* HF_LIN_KILLED: it has not, and the result is not known */
};

/* The client of an operation that nobody made: it stands for all that was before it. */
#define HF_LIN_STATE UINT32_MAX

/*
 * Operations of one key that are not linearizable, as few as were found. A long history is cut where nothing was going
 * on; what was before is a put of HF_LIN_STATE, and those puts whose value is seen again.
 */
struct hf_lin_result {
    uint64_t key;
    struct hf_lin_op *op;
    size_t count;
};

/*
 * 1: linearizable; 0: not, and *out, unless NULL, says why (free it with hf_lin_clear); -1: no history: a client calls
 * before its last call has returned or after it was killed, or something returns before its call; -2: more than
 * HF_LIN_OPEN operations of a key are open at once, and nothing is known.
 */
enum { HF_LIN_OPEN = 256 };
int hf_lin_check(const struct hf_lin_op *ops, size_t count, struct hf_lin_result *out);
void hf_lin_clear(struct hf_lin_result *result);
void hf_lin_print(const struct hf_lin_result *result, FILE *file);

/* -- recording -- */

struct hf_history {
    _Atomic uint64_t clock, count;
    uint64_t capacity;
    struct hf_history_op {
        struct hf_lin_op op;
        _Atomic uint64_t invoked, returned; /* 0: not yet */
    } op[];
};

/* In memory that forked processes share. */
struct hf_history *hf_history_new(uint64_t capacity);
void hf_history_free(struct hf_history *history);

/* Before the operation: where it is, or UINT64_MAX if there is no more room. `op` gives client, kind, key, value, expected. */
uint64_t hf_history_call(struct hf_history *history, const struct hf_lin_op *op);
/* After it. Of an operation that failed and may have happened, nothing is to be said. */
void hf_history_return(struct hf_history *history, uint64_t at, uint64_t result);

/* What was recorded, the caller's own. No client may be running. */
struct hf_lin_op *hf_history_ops(const struct hf_history *history, size_t *count);

#endif

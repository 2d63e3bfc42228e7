/*
 * shared_session.c: sessions with a map (lab.h): of all kinds of changes, and of one that is stepped through.
 *
 *      change    what is to be done, drawn; applied to the model it says what the call must answer and what is there then
 *      step      one change, atomic by itself
 *      group     a transaction of some, with others within it that are undone or not
 */
#include "shared_lab.h"

#include <pthread.h>

enum change_kind { CHANGE_SET, CHANGE_DELETE, CHANGE_INCR, CHANGE_EXCHANGE, CHANGE_CLEAR };

struct change {
    enum change_kind kind;
    unsigned key, form;
    uint64_t value, old; /* 0: none */
    int answer;
};

enum { HELD = 3 };

struct session {
    struct hf_lab_run *run;
    hf_shared *map;
    struct hf_random random;
    struct lab_state now;
    struct {
        hf_shared_snapshot *snapshot;
        struct lab_state state;
    } held[HELD];
};

/* -- changes -- */

static struct change draw(struct hf_random *random, const struct lab_state *state)
{
    struct change change = {.key = (unsigned)hf_random_below(random, LAB_KEYS),
                            .form = (unsigned)hf_random_below(random, 2),
                            .value = lab_draw(random, true)};
    const uint64_t way = hf_random_below(random, 64), now = state->value[change.key];

    change.kind = way == 0   ? CHANGE_CLEAR
                  : way < 32 ? CHANGE_SET
                  : way < 44 ? CHANGE_DELETE
                  : way < 52 ? CHANGE_INCR
                             : CHANGE_EXCHANGE;
    if (change.kind == CHANGE_INCR)
        change.value = 8 * (1 + hf_random_below(random, 1000));
    if (change.kind == CHANGE_EXCHANGE) {
        change.old = hf_random_chance(random, 3, 4) ? now : hf_random_chance(random, 1, 2) ? 0 : now ^ 64;
        if (hf_random_chance(random, 1, 3))
            change.value = 0;
    }
    return change;
}

/* What it does to the model; its answer goes into the change. */
static void apply(struct lab_state *state, struct change *change)
{
    const uint64_t now = state->value[change->key];

    switch (change->kind) {
    case CHANGE_SET:
        change->answer = now == 0;
        lab_state_set(state, change->key, change->form, change->value);
        break;
    case CHANGE_DELETE:
        change->answer = now != 0;
        state->value[change->key] = 0;
        break;
    case CHANGE_INCR:
        /* What was not there becomes a number like the others: one that says that it is an INT. */
        if (now == 0)
            change->value += 4;
        change->answer = now != 0 && !lab_is_int(now) ? HF_BAD_TYPE : 0;
        if (change->answer == 0)
            lab_state_set(state, change->key, change->form, now + change->value);
        break;
    case CHANGE_EXCHANGE:
        change->answer = now == change->old;
        if (change->answer != 0)
            lab_state_set(state, change->key, change->form, change->value);
        break;
    case CHANGE_CLEAR:
        memset(state, 0, sizeof(*state));
        break;
    }
}

static int exchange(hf_shared *map, const hf_datum *key, const struct change *change)
{
    static _Thread_local uint8_t copy[LAB_LONGEST];
    hf_datum old = lab_value(change->old), now;

    /* The bytes of a value stay until the next only. */
    if (change->old != 0 && old.size > 0) {
        memcpy(copy, old.data, old.size);
        old.data = copy;
    }
    now = lab_value(change->value);
    return hf_shared_compare_and_set(map, key, change->old != 0 ? &old : NULL, change->value != 0 ? &now : NULL);
}

static int perform(hf_shared *map, const struct change *change)
{
    struct lab_text text;
    const hf_datum key = lab_key(change->key, change->form, &text);
    hf_datum value;

    switch (change->kind) {
    case CHANGE_SET:
        value = lab_value(change->value);
        return hf_shared_set(map, &key, &value);
    case CHANGE_DELETE:
        return hf_shared_delete(map, &key);
    case CHANGE_INCR:
        return hf_shared_incr(map, &key, (int64_t)change->value, NULL);
    case CHANGE_EXCHANGE:
        return exchange(map, &key, change);
    default:
        return hf_shared_clear(map);
    }
}

/* Whether the call said what it should. */
static bool answers(struct session *session, const struct change *change, int status)
{
    if (status == change->answer)
        return true;
    hf_run_violation(session->run, "change %d of key %u says %s %d, not %d", (int)change->kind, change->key,
                     hf_status_name(status), status, change->answer);
    return false;
}

/* -- looking -- */

static void look_at(struct session *session, const hf_shared_snapshot *snapshot, const struct lab_state *state,
                    const char *what)
{
    static struct lab_state found;
    const int status = lab_read(snapshot, &found);

    if (status < 0 || lab_digest(&found) != lab_digest(state))
        hf_run_violation(session->run, "%s has other contents: %s", what, hf_status_name(status));
}

static void let_go(struct session *session, unsigned i)
{
    if (session->held[i].snapshot == NULL)
        return;
    look_at(session, session->held[i].snapshot, &session->held[i].state, "a snapshot");
    hf_shared_snapshot_end(session->held[i].snapshot);
    session->held[i].snapshot = NULL;
}

/* Counts what is different, and finds it to be what the models say. */
struct difference {
    const struct lab_state *from, *to;
    unsigned count;
};

static int differs(void *arg, const hf_datum *key, const hf_datum *from, const hf_datum *to)
{
    struct difference *difference = arg;
    unsigned number, form;

    if (!lab_key_number(key, &number, &form))
        return HF_INVALID;
    difference->count++;
    return (from == NULL ? 0 : lab_value_number(from)) == difference->from->value[number] &&
                   (to == NULL ? 0 : lab_value_number(to)) == difference->to->value[number] &&
                   difference->from->value[number] != difference->to->value[number]
               ? 0
               : HF_INVALID;
}

static void compare(struct session *session, unsigned i, unsigned j)
{
    struct difference difference = {&session->held[i].state, &session->held[j].state, 0};
    unsigned count = 0;

    if (session->held[i].snapshot == NULL || session->held[j].snapshot == NULL)
        return;
    for (unsigned k = 0; k < LAB_KEYS; k++)
        count += difference.from->value[k] != difference.to->value[k];
    const int status =
        hf_shared_snapshot_diff(session->held[i].snapshot, session->held[j].snapshot, differs, &difference);

    if (status != 0 || difference.count != count)
        hf_run_violation(session->run, "a diff finds %u differences, not %u: %s", difference.count, count,
                         hf_status_name(status));
}

static void look(struct session *session)
{
    const unsigned i = (unsigned)hf_random_below(&session->random, HELD);

    if (session->held[i].snapshot != NULL) {
        compare(session, i, (i + 1) % HELD);
        let_go(session, i);
        return;
    }
    const int status = hf_shared_snapshot_begin(session->map, &session->held[i].snapshot);

    if (status < 0) {
        session->held[i].snapshot = NULL;
        hf_run_violation(session->run, "a snapshot does not begin: %s", hf_status_message(status));
        return;
    }
    session->held[i].state = session->now;
    look_at(session, session->held[i].snapshot, &session->now, "the newest version");
}

/* -- opening and closing -- */

static bool refuse(struct session *session, int status, const char *what)
{
    hf_run_refused(session->run, status, what);
    if (session->map != NULL && hf_shared_close(session->map) < 0)
        hf_run_violation(session->run, "it does not close");
    session->map = NULL;
    return false;
}

/* Checks all of it, and says what is there. */
static bool recover(struct session *session)
{
    hf_shared_snapshot *snapshot;
    const char *what;
    int status = hf_shared_check(session->map, &what);

    if (status < 0)
        return refuse(session, status, what != NULL ? what : hf_status_message(status));
    status = hf_shared_snapshot_begin(session->map, &snapshot);
    if (status < 0)
        return refuse(session, status, "a snapshot does not begin");
    status = lab_read(snapshot, &session->now);
    hf_shared_snapshot_end(snapshot);
    if (status < 0)
        return refuse(session, status, "there is what nobody has put there");
    hf_run_recovered(session->run, lab_digest(&session->now), false);
    return true;
}

static bool reopen(struct session *session)
{
    static const struct lab_state nothing;
    struct hf_lab_run *run = session->run;

    session->map = NULL;
    int status = lab_open(run->folder, false, &session->map);
    if (status == HF_ABSENT) {
        hf_run_recovered(run, HF_NOTHING, false);
        hf_run_begin(run, lab_digest(&nothing));
        status = lab_open(run->folder, true, &session->map);
        if (status == 0)
            hf_run_done(run);
    }
    return status < 0 ? refuse(session, status, hf_status_message(status)) : recover(session);
}

static void close_map(struct session *session)
{
    for (unsigned i = 0; i < HELD; i++)
        let_go(session, i);
    if (session->map == NULL)
        return;
    const int status = hf_shared_close(session->map);

    if (status < 0)
        hf_run_violation(session->run, "it does not close: %s", hf_status_message(status));
    session->map = NULL;
}

/* -- a session -- */

static bool step(struct session *session)
{
    struct lab_state next = session->now;
    struct change change = draw(&session->random, &next);

    apply(&next, &change);
    hf_run_begin(session->run, lab_digest(&next));
    if (!answers(session, &change, perform(session->map, &change)))
        return false;
    session->now = next;
    hf_run_done(session->run);
    return true;
}

static bool changes(struct session *session, struct lab_state *next)
{
    for (uint64_t count = 1 + hf_random_below(&session->random, 6); count > 0; count--) {
        struct change change = draw(&session->random, next);

        apply(next, &change);
        if (!answers(session, &change, perform(session->map, &change)))
            return false;
    }
    return true;
}

static bool ends(struct session *session, int status, const char *what)
{
    if (status < 0)
        hf_run_violation(session->run, "%s: %s", what, hf_status_message(status));
    return status >= 0;
}

/* Some changes in a transaction within another, undone or not. */
static bool inner(struct session *session, struct lab_state *next)
{
    const struct lab_state before = *next;
    const bool undo = hf_random_chance(&session->random, 1, 2);

    if (!ends(session, hf_shared_begin(session->map), "begin within") || !changes(session, next))
        return false;
    if (undo)
        *next = before;
    return ends(session, undo ? hf_shared_abort(session->map) : hf_shared_commit(session->map), "end within");
}

/* A transaction, that is given up now and then. */
static bool group(struct session *session)
{
    struct lab_state next = session->now;
    const bool undo = hf_random_chance(&session->random, 1, 8);

    if (!ends(session, hf_shared_begin(session->map), "begin"))
        return false;
    if (!changes(session, &next) || (hf_random_chance(&session->random, 1, 2) && !inner(session, &next)) ||
        !changes(session, &next))
        return false;
    if (undo)
        return ends(session, hf_shared_abort(session->map), "abort");
    hf_run_begin(session->run, lab_digest(&next));
    if (!ends(session, hf_shared_commit(session->map), "commit"))
        return false;
    session->now = next;
    hf_run_done(session->run);
    return true;
}

/* A thread that ends within its transaction is a dead writer. */
static void *die_in_it(void *argument)
{
    const struct session *session = argument;
    struct hf_random random = session->random;
    struct lab_state state = session->now;

    if (hf_shared_begin(session->map) < 0)
        return NULL;
    for (uint64_t count = 1 + hf_random_below(&random, 6); count > 0; count--) {
        struct change change = draw(&random, &state);

        apply(&state, &change);
        if (perform(session->map, &change) != change.answer)
            break;
    }
    return NULL;
}

static void let_one_die(struct session *session)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, die_in_it, session) == 0)
        pthread_join(thread, NULL);
    hf_random_next(&session->random);
}

static void session_of_all(struct hf_lab_run *run)
{
    static struct session session; /* large; one thread at a time */

    session = (struct session){.run = run, .random = {run->seed}};
    if (!reopen(&session))
        return;
    for (unsigned i = 0; i < run->steps && !run->violated; i++) {
        if (hf_random_chance(&session.random, 1, 40)) {
            close_map(&session);
            if (!reopen(&session))
                return;
        }
        if (hf_random_chance(&session.random, 1, 4))
            look(&session);
        if (hf_random_chance(&session.random, 1, 24))
            let_one_die(&session);
        if (!(hf_random_chance(&session.random, 1, 3) ? group(&session) : step(&session)))
            break;
    }
    /* In a transaction it does not close, and there is a violation already. */
    if (!run->violated)
        close_map(&session);
}

/* -- sessions of one change -- */

/* Keys whose forms are not the same: so their changes are of both trees. */
enum { FORMED_A = 3, FORMED_B = 4 };

/* Does something by the way, which is not what is stepped through. */
static bool prepare(struct session *session, struct change change)
{
    struct lab_state next = session->now;

    apply(&next, &change);
    hf_run_begin(session->run, lab_digest(&next));
    if (!answers(session, &change, perform(session->map, &change)))
        return false;
    session->now = next;
    hf_run_done(session->run);
    return true;
}

static bool traced(struct session *session, struct change change)
{
    struct lab_state next = session->now;

    apply(&next, &change);
    hf_run_begin(session->run, lab_digest(&next));
    hf_run_enter(session->run);
    const int status = perform(session->map, &change);
    hf_run_leave(session->run);
    if (!answers(session, &change, status))
        return false;
    session->now = next;
    hf_run_done(session->run);
    return true;
}

static struct change set_of(unsigned key, uint64_t value)
{
    return (struct change){.kind = CHANGE_SET, .key = key, .form = 1, .value = value};
}

/* A new key of another form than its canonical one. */
static bool one_set(struct session *session, uint64_t value)
{
    return prepare(session, (struct change){.kind = CHANGE_DELETE, .key = FORMED_A}) &&
           traced(session, set_of(FORMED_A, value));
}

static bool one_clear(struct session *session, uint64_t value)
{
    for (unsigned key = 0; key < 12; key++)
        if (!prepare(session, set_of(key, value + key * 64)))
            return false;
    return traced(session, (struct change){.kind = CHANGE_CLEAR});
}

/* From a value to none, from none to one, from one to another: by turns. */
static bool one_exchange(struct session *session, uint64_t value)
{
    struct change change = {.kind = CHANGE_EXCHANGE, .key = FORMED_B, .form = 1, .value = value};
    const uint64_t way = hf_random_below(&session->random, 3);

    if (way < 2) {
        change.old = value + 64;
        if (!prepare(session, set_of(FORMED_B, change.old)))
            return false;
    } else if (!prepare(session, (struct change){.kind = CHANGE_DELETE, .key = FORMED_B})) {
        return false;
    }
    if (way == 0)
        change.value = 0;
    return traced(session, change);
}

static void session_of_one(struct hf_lab_run *run, bool (*one)(struct session *session, uint64_t value))
{
    static struct session session;

    session = (struct session){.run = run, .random = {run->seed}};
    if (!reopen(&session))
        return;
    for (unsigned i = 0; i < run->steps && !run->violated; i++)
        if (!one(&session, (hf_random_next(&session.random) & ~(uint64_t)63) | 6))
            break;
    close_map(&session);
}

static void sets(struct hf_lab_run *run)
{
    session_of_one(run, one_set);
}

static void clears(struct hf_lab_run *run)
{
    session_of_one(run, one_clear);
}

static void exchanges(struct hf_lab_run *run)
{
    session_of_one(run, one_exchange);
}

const struct hf_subject shared_map = {.name = "shared_map", .session = session_of_all};
const struct hf_subject shared_set = {.name = "shared_set", .session = sets};
const struct hf_subject shared_clear = {.name = "shared_clear", .session = clears};
const struct hf_subject shared_exchange = {.name = "shared_exchange", .session = exchanges};

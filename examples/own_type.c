/*
 * own_type.c: a map of one's own objects, under keys with an equality of one's own.
 *
 * Keys are names, equal when they differ in nothing but case. Values are sessions, objects with a reference count that
 * this program manages: the map takes a count for each place it holds a session in, and gives it back when it does not
 * any more. A history of maps then keeps every session alive that some version still has, and no other.
 */
#include <holdfast/map.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

/* -- keys: C strings of the program, which live as long as it does; so there is nothing to keep or drop -- */

static int name_hash(const hf_type *type, hf_value value, uint64_t *out)
{
    /* FNV-1a, of the name in lower case: equal names must have equal hashes. */
    uint64_t hash = 0xcbf29ce484222325u;
    for (const unsigned char *c = value.ptr; *c != '\0'; c++)
        hash = (hash ^ (uint64_t)tolower(*c)) * 0x100000001b3u;
    *out = hash;
    return 0;
}

static int name_equal(const hf_type *type, hf_value a, hf_value b)
{
    const unsigned char *left = a.ptr, *right = b.ptr;
    while (*left != '\0' && tolower(*left) == tolower(*right)) {
        left++;
        right++;
    }
    return tolower(*left) == tolower(*right);
}

static const hf_type name_type = {.name = "name", .hash = name_hash, .equal = name_equal};

/* -- values: sessions -- */

typedef struct session {
    int count; /* of one thread's use; where threads share maps, this must be an atomic */
    int number;
} session;

static int sessions_alive;

static session *session_new(int number)
{
    session *made = malloc(sizeof *made);
    if (made == NULL)
        abort();
    *made = (session){.count = 1, .number = number};
    sessions_alive++;
    return made;
}

static void session_release(session *held)
{
    if (--held->count == 0) {
        printf("session %d ends\n", held->number);
        sessions_alive--;
        free(held);
    }
}

static int session_keep(const hf_type *type, hf_value *value)
{
    session *held = value->ptr;
    held->count++;
    return 0;
}

static int session_drop(const hf_type *type, hf_value value)
{
    session_release(value.ptr);
    return 0;
}

/* No hash: such maps are not hashed. No equal: two sessions are equal if they are one. */
static const hf_type session_type = {.name = "session", .keep = session_keep, .drop = session_drop};

static const hf_map_type sessions_type = {&name_type, &session_type};

/* -- a program that uses them -- */

static int check(int status)
{
    if (status < 0) {
        fprintf(stderr, "own_type: %s\n", hf_status_message(status));
        exit(EXIT_FAILURE);
    }
    return status;
}

/* A new version in which `name` has a new session. */
static hf_map *log_in(const hf_map *sessions, const char *name, int number)
{
    hf_map *after;
    session *made = session_new(number);
    check(hf_map_with(sessions, hf_value_ptr(name), hf_value_ptr(made), &after));
    session_release(made); /* ours; the map has its own */
    return after;
}

static int print_change(void *user, hf_value key, const hf_value *before, const hf_value *after)
{
    const session *old = before == NULL ? NULL : before->ptr, *new = after == NULL ? NULL : after->ptr;
    printf("  %s: session %d -> %d\n", (const char *)key.ptr, old == NULL ? 0 : old->number,
           new == NULL ? 0 : new->number);
    return 0;
}

int main(void)
{
    hf_map *none, *morning, *noon, *evening;
    check(hf_map_new(&sessions_type, &none));
    morning = log_in(none, "Ada", 1);
    noon = log_in(morning, "Grace", 2);
    evening = log_in(noon, "ADA", 3); /* the same name: the key that is stored stays, the session is replaced */

    hf_value found;
    check(hf_map_get(evening, hf_value_ptr("ada"), &found));
    printf("ada has session %d; %d sessions are kept\n", ((session *)found.ptr)->number, sessions_alive);
    printf("since the morning:\n");
    check(hf_map_diff(morning, evening, print_change, NULL));

    /* Session 1 lives as long as a version has it. */
    check(hf_map_drop(none));
    check(hf_map_drop(morning));
    check(hf_map_drop(noon));
    printf("now %d sessions are kept\n", sessions_alive);
    check(hf_map_drop(evening));
    return sessions_alive == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

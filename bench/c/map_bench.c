/*
 * map_bench.c: the work of clojure/bench.clj with the C library's map, through its public header only.
 *
 * Reads commands, a line each, and answers each with a line of JSON, so that bench/run.py can alternate between the
 * two programs:
 *
 *      update-take ROUNDS  give every key of a 1,000-key map a new value, ROUNDS times: hf_map_with_take
 *      update-with ROUNDS  the same with hf_map_with; each version is dropped when the next one is there
 *      insert-take N       N keys into the empty map, a version for each: hf_map_with_take
 *      insert-with N       the same with hf_map_with; each version is dropped when the next one is there
 *      transient N         the same through a transient
 *      look-up N           every key of a map of N, and compare what is found
 *
 *      {"work": "look-up", "ns": 1234, "ops": 1000000, "right": true}
 *
 * Keys, their order and the values are those of the Clojure program: shuffled with the same generator. Results are
 * checked after the clock has stopped; the look-ups compare as they go, as the others' do.
 *
 * A command line is obeyed instead of the standard input, for one measurement alone: map_bench look-up 1000000
 */
#include <holdfast/map.h>
#include <holdfast/version.h>

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { UPDATED_KEYS = 1000, MAX_KEYS = 100 * 1000 * 1000 };

static const hf_map_type int_map = {&hf_type_int64, &hf_type_int64};

/* Keys in the order of insertion and in that of look-up; the map of all of them once somebody asked for it. */
struct inputs {
    size_t count;
    int64_t *keys;
    int64_t *order;
    hf_map *map;
};

struct outcome {
    int64_t ns;
    uint64_t ops;
    bool right;
};

static void fail(const char *what, int status)
{
    fprintf(stderr, "map_bench: %s: %s\n", what, status < 0 ? hf_status_message(status) : "failed");
    exit(EXIT_FAILURE);
}

/* The library's own failures (there is no memory) end the benchmark. */
static int sure(int status)
{
    if (status < 0) {
        fail("the library", status);
    }
    return status;
}

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static int64_t value_of(int64_t key)
{
    return 3 * key + 1;
}

static uint64_t splitmix(uint64_t state)
{
    uint64_t a = (state ^ (state >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    uint64_t b = (a ^ (a >> 27)) * UINT64_C(0x94D049BB133111EB);
    return b ^ (b >> 31);
}

/* The numbers below count, in an order that the seed decides. */
static int64_t *shuffled(size_t count, uint64_t seed)
{
    int64_t *keys = malloc((count + 1) * sizeof *keys);
    if (keys == NULL) {
        fail("no memory for keys", 0);
    }
    for (size_t i = 0; i < count; i++) {
        keys[i] = (int64_t)i;
    }
    for (size_t i = count; i-- > 1;) {
        seed += UINT64_C(0x9E3779B97F4A7C15);
        size_t j = (size_t)(splitmix(seed) % (i + 1));
        int64_t held = keys[i];
        keys[i] = keys[j];
        keys[j] = held;
    }
    return keys;
}

static hf_map *inserted_with_take(const int64_t *keys, size_t count)
{
    hf_map *map;
    sure(hf_map_new(&int_map, &map));
    for (size_t i = 0; i < count; i++) {
        sure(hf_map_with_take(&map, hf_value_int(keys[i]), hf_value_int(value_of(keys[i]))));
    }
    return map;
}

static hf_map *inserted_with(const int64_t *keys, size_t count)
{
    hf_map *map;
    sure(hf_map_new(&int_map, &map));
    for (size_t i = 0; i < count; i++) {
        hf_map *next;
        sure(hf_map_with(map, hf_value_int(keys[i]), hf_value_int(value_of(keys[i])), &next));
        sure(hf_map_drop(map));
        map = next;
    }
    return map;
}

static hf_map *inserted_transiently(const int64_t *keys, size_t count)
{
    hf_map *map;
    hf_map_transient *transient;
    sure(hf_map_new(&int_map, &map));
    sure(hf_map_transient_new(map, &transient));
    sure(hf_map_drop(map));
    for (size_t i = 0; i < count; i++) {
        sure(hf_map_transient_put(transient, hf_value_int(keys[i]), hf_value_int(value_of(keys[i]))));
    }
    sure(hf_map_transient_persist(transient, &map));
    sure(hf_map_transient_free(transient));
    return map;
}

/* How many of the keys are found with the value that is theirs. */
static size_t count_right(const hf_map *map, const int64_t *keys, size_t count)
{
    size_t right = 0;
    for (size_t i = 0; i < count; i++) {
        hf_value found;
        if (sure(hf_map_get(map, hf_value_int(keys[i]), &found)) == 1 && found.i64 == value_of(keys[i])) {
            right++;
        }
    }
    return right;
}

static bool whole(const hf_map *map, const struct inputs *in)
{
    return hf_map_size(map) == in->count && count_right(map, in->keys, in->count) == in->count;
}

/* Whether every key has this one value. */
static bool all_have(const hf_map *map, const struct inputs *in, int64_t value)
{
    if (hf_map_size(map) != in->count) {
        return false;
    }
    for (size_t i = 0; i < in->count; i++) {
        hf_value found;
        if (sure(hf_map_get(map, hf_value_int(in->keys[i]), &found)) != 1 || found.i64 != value) {
            return false;
        }
    }
    return true;
}

static hf_map *built(struct inputs *in)
{
    if (in->map == NULL) {
        in->map = inserted_with_take(in->keys, in->count);
    }
    return in->map;
}

/* The map that the rounds start with is alive during them, as Clojure's is; so is its every version until the next. */
static struct outcome update_with(struct inputs *in, uint64_t rounds)
{
    hf_map *map = hf_map_keep(built(in));
    int64_t start = now();
    for (uint64_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < in->count; i++) {
            hf_map *next;
            sure(hf_map_with(map, hf_value_int(in->order[i]), hf_value_int((int64_t)round), &next));
            sure(hf_map_drop(map));
            map = next;
        }
    }
    int64_t end = now();
    bool right = all_have(map, in, (int64_t)rounds - 1) && whole(built(in), in);
    sure(hf_map_drop(map));
    return (struct outcome){end - start, rounds * in->count, right};
}

static struct outcome update_take(struct inputs *in, uint64_t rounds)
{
    hf_map *map = hf_map_keep(built(in));
    int64_t start = now();
    for (uint64_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < in->count; i++) {
            sure(hf_map_with_take(&map, hf_value_int(in->order[i]), hf_value_int((int64_t)round)));
        }
    }
    int64_t end = now();
    bool right = all_have(map, in, (int64_t)rounds - 1) && whole(built(in), in);
    sure(hf_map_drop(map));
    return (struct outcome){end - start, rounds * in->count, right};
}

static struct outcome build(struct inputs *in, hf_map *(*how)(const int64_t *, size_t))
{
    int64_t start = now();
    hf_map *map = how(in->keys, in->count);
    int64_t end = now();
    bool right = whole(map, in);
    sure(hf_map_drop(map));
    return (struct outcome){end - start, in->count, right};
}

static struct outcome look_up(struct inputs *in)
{
    hf_map *map = built(in);
    int64_t start = now();
    size_t right = count_right(map, in->order, in->count);
    int64_t end = now();
    return (struct outcome){end - start, in->count, right == in->count};
}

static void forget(struct inputs *in)
{
    free(in->keys);
    free(in->order);
    sure(hf_map_drop(in->map));
    *in = (struct inputs){0};
}

static void prepare(struct inputs *in, size_t count)
{
    if (in->count != count) {
        forget(in);
        *in = (struct inputs){.count = count, .keys = shuffled(count, 1), .order = shuffled(count, 2)};
    }
}

static void obey(const char *name, uint64_t number, struct inputs *few, struct inputs *many)
{
    struct outcome out;
    bool updates = strncmp(name, "update", 6) == 0;
    if (number < 1 || number > MAX_KEYS) {
        fail("a number out of range", 0);
    }
    prepare(updates ? few : many, updates ? UPDATED_KEYS : (size_t)number);
    if (strcmp(name, "update-take") == 0) {
        out = update_take(few, number);
    } else if (strcmp(name, "update-with") == 0) {
        out = update_with(few, number);
    } else if (strcmp(name, "insert-take") == 0) {
        out = build(many, inserted_with_take);
    } else if (strcmp(name, "insert-with") == 0) {
        out = build(many, inserted_with);
    } else if (strcmp(name, "transient") == 0) {
        out = build(many, inserted_transiently);
    } else if (strcmp(name, "look-up") == 0) {
        out = look_up(many);
    } else {
        fail(name, 0);
        return;
    }
    printf("{\"work\": \"%s\", \"ns\": %" PRId64 ", \"ops\": %" PRIu64 ", \"right\": %s}\n", name, out.ns, out.ops,
           out.right ? "true" : "false");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct inputs few = {0};
    struct inputs many = {0};
    char name[32];
    uint64_t number;
    printf("{\"version\": \"holdfast %s\"}\n", hf_version());
    fflush(stdout);
    if (argc == 3) {
        obey(argv[1], strtoull(argv[2], NULL, 10), &few, &many);
    } else if (argc != 1) {
        fail("usage: map_bench [COMMAND NUMBER]", 0);
    } else {
        while (scanf("%31s %" SCNu64, name, &number) == 2) {
            obey(name, number, &few, &many);
        }
    }
    forget(&few);
    forget(&many);
    return EXIT_SUCCESS;
}

/*
 * cask_state.c: the model of a cask, values, and the clock; see cask_lab.h.
 *
 *      a value     [ drawn: 32 | epoch at whose beginning it expires, 0: never: 24 | length: 8 ]
 *
 *      kept        | digest, stamp, state | ...      by digest; where there is no room the one not asked for the longest goes
 */
#include "cask_lab.h"

#include "base/hash.h"
#include "base/os.h"

#include <sys/mman.h>

/* -- memory -- */

enum { KEPT = 1 << 16, PROBES = 16 };

struct kept {
    uint64_t digest, stamp;
    struct cask_state state;
};

/* Of this process and its children. */
static struct memory {
    _Atomic int64_t clock;
    _Atomic uint64_t stamp;
    struct kept kept[KEPT + PROBES];
} * memory;

__attribute__((constructor)) static void make_memory(void)
{
    void *made =
        mmap(NULL, sizeof(*memory), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    HF_LAB_REQUIRE(made != MAP_FAILED);
    memory = made;
    atomic_store(&memory->clock, CASK_EPOCH_BASE + INT64_C(1000) * CASK_EPOCH + CASK_EPOCH / 2);
}

uint64_t cask_digest(const struct cask_state *state)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < CASK_KEYS; i++)
        if (state->value[i] != 0)
            sum += hf_hash_u64(state->value[i], hf_hash_u64(i, 11));
    sum += state->any != 0 ? hf_hash_u64(state->any, 12) : 0;
    sum = hf_hash_u64(sum, 13);
    return sum != HF_NOTHING ? sum : 1;
}

static struct kept *find(uint64_t digest)
{
    for (unsigned i = 0; i < PROBES; i++) {
        struct kept *kept = &memory->kept[digest % KEPT + i];

        if (kept->digest == digest) {
            kept->stamp = atomic_fetch_add(&memory->stamp, 1) + 1;
            return kept;
        }
    }
    return NULL;
}

const struct cask_state *cask_kept(uint64_t digest)
{
    const struct kept *kept = find(digest);

    return kept != NULL ? &kept->state : NULL;
}

void cask_shown(uint64_t digest, int64_t clock)
{
    struct kept *kept = find(digest);

    if (kept != NULL && kept->state.high < clock)
        kept->state.high = clock;
}

uint64_t cask_keep(const struct cask_state *state)
{
    const uint64_t digest = cask_digest(state);
    struct kept *kept = find(digest);

    if (kept != NULL) {
        cask_shown(digest, state->high);
        return digest;
    }
    kept = &memory->kept[digest % KEPT];
    for (unsigned i = 1; i < PROBES; i++)
        if (memory->kept[digest % KEPT + i].stamp < kept->stamp)
            kept = &memory->kept[digest % KEPT + i];
    kept->digest = 0; /* a process may be killed here */
    kept->state = *state;
    kept->stamp = atomic_fetch_add(&memory->stamp, 1) + 1;
    kept->digest = digest;
    return digest;
}

/* -- what may be -- */

static bool has_expired(uint64_t value, int64_t clock)
{
    return cask_value_expires(value) <= clock;
}

static bool key_may_be(const struct cask_state *state, const struct cask_state *seen, unsigned key, int64_t clock)
{
    const uint64_t should = state->value[key], is = seen->value[key];
    const int64_t shown = state->high > clock ? state->high : clock;

    if ((state->any >> key & 1) != 0 || is == should)
        return true;
    return is == 0 && has_expired(should, shown);
}

bool cask_may_be(const struct cask_state *state, const struct cask_state *seen, int64_t clock)
{
    for (unsigned i = 0; i < CASK_KEYS; i++)
        if (!key_may_be(state, seen, i, clock))
            return false;
    return true;
}

static void describe(uint64_t value, char text[64])
{
    if (value == 0)
        snprintf(text, 64, "nothing");
    else if (cask_value_expires(value) == INT64_MAX)
        snprintf(text, 64, "%08llx", (unsigned long long)(value >> 32));
    else
        snprintf(text, 64, "%08llx, until %lld", (unsigned long long)(value >> 32),
                 (long long)(cask_value_expires(value) - CASK_EPOCH_BASE));
}

void cask_difference(const struct cask_state *state, const struct cask_state *seen, int64_t clock, char *text,
                     size_t size)
{
    unsigned differ = 0, first = 0;
    char is[64], should[64];

    for (unsigned i = CASK_KEYS; i-- > 0;)
        if (!key_may_be(state, seen, i, clock)) {
            first = i;
            differ++;
        }
    describe(seen->value[first], is);
    describe(state->value[first], should);
    snprintf(text, size, "%u keys differ, key %u has %s, not %s (clock %lld, was %lld)", differ, first, is, should,
             (long long)(clock - CASK_EPOCH_BASE), (long long)(state->high - CASK_EPOCH_BASE));
}

struct cask_state cask_alive(const struct cask_state *state, int64_t clock)
{
    struct cask_state alive = *state;

    for (unsigned i = 0; i < CASK_KEYS; i++)
        if (alive.value[i] != 0 && has_expired(alive.value[i], clock))
            alive.value[i] = 0;
    return alive;
}

/* -- keys and values -- */

size_t cask_key(unsigned number, char bytes[CASK_KEY_LONGEST])
{
    const int size = snprintf(bytes, CASK_KEY_LONGEST, "key %u", number);

    if (number % 13 != 5)
        return (size_t)size;
    memset(bytes + size, '.', CASK_KEY_LONGEST - (size_t)size);
    return CASK_KEY_LONGEST - number;
}

unsigned cask_key_number(const void *bytes, size_t size)
{
    char text[CASK_KEY_LONGEST];
    unsigned number;

    if (size < 5 || size > sizeof(text))
        return CASK_KEYS;
    for (number = 0; number < CASK_KEYS; number++)
        if (cask_key(number, text) == size && memcmp(text, bytes, size) == 0)
            break;
    return number;
}

int64_t cask_value_expires(uint64_t value)
{
    const int64_t epoch = (int64_t)(value >> 8 & 0xffffff);

    return epoch == 0 ? INT64_MAX : CASK_EPOCH_BASE + epoch * CASK_EPOCH;
}

/* Most are short; some are nearly a file, or more. */
static size_t size_of(uint64_t value)
{
    const size_t class = value & 255;

    if (class < 120)
        return 8 + class % 48;
    if (class < 200)
        return 100 + 4 * (class - 120);
    return class < 245 ? 500 + 16 * (class - 200) : 3000 + 280 * (class - 245);
}

static void fill(uint64_t value, uint8_t *bytes, size_t size)
{
    struct hf_random random = {value};

    memcpy(bytes, &value, 8);
    for (size_t i = 8; i < size; i += 8) {
        const uint64_t word = hf_random_next(&random);

        memcpy(bytes + i, &word, size - i < 8 ? size - i : 8);
    }
}

_Static_assert(3000 + 280 * 10 + 8 <= CASK_LONGEST, "the longest value");

const void *cask_value(uint64_t value, size_t *size)
{
    static _Thread_local uint8_t bytes[CASK_LONGEST];

    *size = size_of(value);
    fill(value, bytes, *size);
    return bytes;
}

uint64_t cask_value_number(const void *bytes, size_t size)
{
    static _Thread_local uint8_t should[CASK_LONGEST];
    uint64_t value;

    if (size < 8)
        return 0;
    memcpy(&value, bytes, 8);
    if (value == 0 || size_of(value) != size)
        return 0;
    fill(value, should, size);
    return memcmp(should, bytes, size) == 0 ? value : 0;
}

uint64_t cask_draw(struct hf_random *random, int64_t clock, bool expires)
{
    const uint64_t drawn = hf_random_next(random) | 1;
    const uint64_t epoch = (uint64_t)((clock - CASK_EPOCH_BASE) / CASK_EPOCH) + 1 + hf_random_below(random, 4);

    return drawn << 32 | (expires ? (epoch & 0xffffff) << 8 : 0) | hf_random_below(random, 256);
}

/* -- the clock -- */

static struct hf_os table;
static const struct hf_os *below;
static struct hf_random random_below;

int64_t cask_clock(void)
{
    return atomic_load(&memory->clock);
}

/* On the whole it goes forward. */
void cask_clock_jump(struct hf_random *random)
{
    const int64_t epochs = (int64_t)hf_random_below(random, 8) - 3;

    atomic_fetch_add(&memory->clock, epochs * CASK_EPOCH);
}

static int clock_gettime_of_lab(clockid_t clock, struct timespec *out)
{
    const int64_t now = cask_clock();

    if (clock != CLOCK_REALTIME)
        return below->clock_gettime(clock, out);
    *out = (struct timespec){.tv_sec = now / 1000, .tv_nsec = now % 1000 * 1000000};
    return 0;
}

static ssize_t getrandom_of_lab(void *buffer, size_t size, unsigned flags)
{
    hf_random_fill(&random_below, buffer, size);
    return (ssize_t)size;
}

void cask_clock_use(uint64_t seed)
{
    below = hf_os_replace(NULL);
    table = *below;
    table.clock_gettime = clock_gettime_of_lab;
    random_below = (struct hf_random){seed};
    if (seed != 0)
        table.getrandom = getrandom_of_lab;
    hf_os_replace(&table);
}

void cask_clock_end(void)
{
    hf_os_replace(below);
}

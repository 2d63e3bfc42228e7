/*
 * bytes.c: hf_type_bytes and hf_type_string; and hf_type_int64, which is nothing but its name.
 *
 *      hf_bytes  [ count 8 | size 8 | bytes ... | NUL ]        counted: one block
 *      hf_view   [ 0     8 | size 8 | data 8 ]                 view: the caller's, the bytes elsewhere
 *
 * The first word tells them apart: the count of something alive is never 0. It is a view's for life, so reading it
 * while others count is harmless.
 *
 * The hash is not stored. XXH3 of a short string takes less than the cache miss that brought it.
 *
 * Concurrency: counts are atomic (count.h), the bytes never change. Failure: HF_NOMEM, then nothing has changed.
 */
#include "base/hash.h"
#include "base/memory.h"
#include "base/os.h"
#include "heap/count.h"

#include <holdfast/status.h>
#include <holdfast/value.h>

#include <string.h>

/* may_alias: until the first word was read, what is behind the pointer may be a hf_view. */
typedef struct __attribute__((may_alias)) hf_bytes {
    hf_count count;
    size_t size;
    char bytes[];
} hf_bytes;

_Static_assert(sizeof(hf_count) == sizeof(((hf_view *)0)->mark), "one word tells a view from a counted value");
_Static_assert(offsetof(hf_bytes, size) == offsetof(hf_view, size), "the size is in the same place in both");
_Static_assert(offsetof(hf_bytes, bytes) == offsetof(hf_view, data), "and what follows tells where the bytes are");

const hf_type hf_type_int64 = {.name = "int64"};

static inline bool hf_bytes_is_view(const hf_bytes *bytes)
{
    return atomic_load_explicit(&bytes->count.now, memory_order_relaxed) == 0;
}

static inline const char *hf_bytes_at(const hf_bytes *bytes)
{
    if (hf_bytes_is_view(bytes))
        return ((const hf_view *)(const void *)bytes)->data;
    return bytes->bytes;
}

/*
 * The seed of all string hashes in this process, drawn at the first need. 0 means: not drawn. Threads that race to draw
 * it agree on the first one stored. Where the system gives no randomness, what address space randomization and the
 * clock give has to do: hashes are then easier to attack, and not less right.
 */
static _Atomic uint64_t hf_bytes_seed;

static uint64_t hf_bytes_draw_seed(void)
{
    uint64_t seed = 0, none = 0;
    if (hf_os_getrandom_all(&seed, sizeof seed) < 0) {
        struct timespec now = {0};
        hf_os_clock_gettime(CLOCK_MONOTONIC, &now);
        seed = hf_hash_u64((uint64_t)now.tv_nsec, (uint64_t)(uintptr_t)&now) ^ (uint64_t)(uintptr_t)&hf_bytes_seed;
    }
    seed |= 1;
    if (!atomic_compare_exchange_strong(&hf_bytes_seed, &none, seed))
        seed = none;
    return seed;
}

static int hf_bytes_hash(const hf_type *type, hf_value value, uint64_t *out)
{
    const hf_bytes *bytes = value.ptr;
    uint64_t seed = atomic_load_explicit(&hf_bytes_seed, memory_order_relaxed);
    if (seed == 0)
        seed = hf_bytes_draw_seed();
    *out = hf_hash_bytes(hf_bytes_at(bytes), bytes->size, seed);
    return 0;
}

static int hf_bytes_equal(const hf_type *type, hf_value a, hf_value b)
{
    const hf_bytes *left = a.ptr, *right = b.ptr;
    if (left->size != right->size)
        return 0;
    return left->size == 0 || memcmp(hf_bytes_at(left), hf_bytes_at(right), left->size) == 0;
}

int hf_bytes_new(const void *data, size_t size, hf_value *out)
{
    if (size > SIZE_MAX - sizeof(hf_bytes) - 1)
        return HF_NOMEM;
    hf_bytes *bytes = hf_alloc(sizeof *bytes + size + 1);
    if (bytes == NULL)
        return HF_NOMEM;
    hf_count_init(&bytes->count);
    bytes->size = size;
    if (size > 0)
        memcpy(bytes->bytes, data, size);
    bytes->bytes[size] = '\0';
    *out = hf_value_ptr(bytes);
    return 0;
}

int hf_string_new(const char *text, hf_value *out)
{
    return hf_bytes_new(text, strlen(text), out);
}

const void *hf_bytes_data(hf_value value, size_t *size)
{
    const hf_bytes *bytes = value.ptr;
    if (size != NULL)
        *size = bytes->size;
    return hf_bytes_at(bytes);
}

const char *hf_string_text(hf_value value)
{
    return hf_bytes_data(value, NULL);
}

int hf_bytes_keep(hf_value *value)
{
    hf_bytes *bytes = value->ptr;
    if (hf_bytes_is_view(bytes))
        return hf_bytes_new(hf_bytes_at(bytes), bytes->size, value);
    hf_count_keep(&bytes->count);
    return 0;
}

void hf_bytes_drop(hf_value value)
{
    hf_bytes *bytes = value.ptr;
    if (!hf_bytes_is_view(bytes) && hf_count_drop(&bytes->count))
        hf_free(bytes);
}

static int hf_bytes_type_keep(const hf_type *type, hf_value *value)
{
    return hf_bytes_keep(value);
}

static int hf_bytes_type_drop(const hf_type *type, hf_value value)
{
    hf_bytes_drop(value);
    return 0;
}

#define HF_BYTES_TYPE(text)                                                                         \
    {                                                                                               \
        .name = (text), .hash = hf_bytes_hash, .equal = hf_bytes_equal, .keep = hf_bytes_type_keep, \
        .drop = hf_bytes_type_drop                                                                  \
    }

const hf_type hf_type_bytes = HF_BYTES_TYPE("bytes");
const hf_type hf_type_string = HF_BYTES_TYPE("string");

/*
 * value.h: what a map's keys and values are, and what a type says about them.
 *
 * A value is one 64-bit word: a number, or a pointer to anything. The map does not know which. A type tells it what
 * it has to know, in four functions: how to hash a value, when two are equal, and how to take and give back a count
 * of what a value refers to:
 *
 *      hf_value                        hf_type
 *      +----------------------+        name     "string"
 *      | i64 u64 f64 or ptr   |        hash     value -> 64 bits          NULL: its bits are its hash
 *      +----------------------+        equal    two values -> yes or no   NULL: equal bits, equal values
 *                                      keep     take a count              NULL: it is plain data,
 *                                      drop     give a count back         NULL: there is nothing to count
 *                                      context  anything, for the above
 *
 * Ready-made are hf_type_int64 (also for any other plain 64 bits), hf_type_string, hf_type_bytes, and hf_type_map
 * (in map.h).
 *
 * Ownership. A function that is given a value borrows it for the duration of the call. A map that stores it takes a
 * count of its own, with `keep`; the caller's stays the caller's. A value that a map gives out is borrowed from the
 * map: whoever wants it for longer than the map takes a count of it. Where a count changes hands instead, the function
 * says so.
 *
 * Concurrency: a type is constant. Its functions are called from every thread that uses a map of the type, at the
 * same time and with no lock held, and so must be safe to call so; counts, where there are any, must be atomic.
 *
 * Failure: each of the four functions may fail, with a negative status. It travels up unchanged to whoever called
 * the library. Take HF_FOREIGN, or a negative number of your own that is below HF_STATUS_OWN.
 */
#ifndef HOLDFAST_VALUE_H
#define HOLDFAST_VALUE_H

#include <holdfast/api.h>

#include <stddef.h>
#include <stdint.h>
#include <string.h>

HF_BEGIN_DECLS

/* One word, passed by value. Which member is meant is the type's affair. */
typedef union hf_value {
    int64_t i64;
    uint64_t u64;
    double f64;
    void *ptr;
} hf_value;

/* A word of each kind. Nothing is allocated or counted. */
static inline hf_value hf_value_int(int64_t number)
{
    hf_value value;
    value.i64 = number;
    return value;
}

static inline hf_value hf_value_double(double number)
{
    hf_value value;
    value.f64 = number;
    return value;
}

static inline hf_value hf_value_ptr(const void *pointer)
{
    hf_value value;
    value.ptr = (void *)(uintptr_t)pointer;
    return value;
}

/* The status numbers that a caller's own functions may use to be told from the library's: this and all below. */
#define HF_STATUS_OWN (-1000)

typedef struct hf_type hf_type;

/*
 * A type. It is used where it is, not copied: it must stay, unchanged, as long as there are maps of it.
 *
 * What every function may do: call the library, also with the map it is called for, as long as it does not drop or
 * consume a count that is not its own. What it must not do: rely on being called a certain number of times or in a
 * certain order.
 */
struct hf_type {
    /* For messages. Not NULL. */
    const char *name;

    /*
     * Puts a hash of the value in *out and returns 0, or fails. Equal values have equal hashes, and the hash of a
     * value in a map stays the same. All 64 bits are used: the trie takes five at a time, lowest first. Values whose
     * hashes are all the same are handled, but then a look-up costs a comparison with each.
     * NULL: the bits of the word. That goes with no `equal` but NULL: a type that has just `equal` is for values of
     * maps that are never hashed; as the type of keys, and in hf_map_hash, it is HF_INVALID.
     */
    int (*hash)(const hf_type *type, hf_value value, uint64_t *out);

    /*
     * 1 if the values are equal, 0 if not, or fails. Must be an equivalence. Values with equal bits are taken to be
     * equal without asking. NULL: no others are.
     */
    int (*equal)(const hf_type *type, hf_value a, hf_value b);

    /*
     * Takes one count of *value, for a map, and returns 0, or fails and has taken none.
     *
     * Called on a value that the user passed in, it may put an equal one in its place: this is how a borrowed view of
     * a string becomes a counted copy. Called on a value that came out of `keep`, it leaves the bits alone.
     * NULL, and then drop must be NULL as well: values are plain data. A map of plain data calls nothing when it
     * copies or frees a node.
     */
    int (*keep)(const hf_type *type, hf_value *value);

    /*
     * Gives back one count of a value that came out of `keep`. Returns 0, or fails: the count is taken for given
     * back then too, and everything else that was to be dropped is dropped; the first failure is what the function
     * that caused it returns (see hf_map_drop).
     */
    int (*drop)(const hf_type *type, hf_value value);

    /* For the functions above; the library does not look at it. */
    void *context;
};

/*
 * 64-bit integers; and, since all it says is that a value is its bits, any other plain word that is equal if its
 * bits are: a pointer to something the map does not own, a double (of which 0.0 and -0.0 differ then, and a NaN
 * equals itself).
 *
 * The hash is the number itself, unmixed, as CPython's is: neighbouring numbers share nodes. Numbers that differ
 * only in high bits make the trie deeper, by 13 levels at most.
 */
extern HF_API const hf_type hf_type_int64;

/*
 * Byte strings, and text. The two types are the same but for the name.
 *
 * A value is either counted: one block of memory with a count, the size and the bytes; or a view, which is a struct of
 * the caller's that points to bytes of the caller's. Maps keep counted ones: putting a view into a map stores a
 * counted copy, looking one up allocates nothing:
 *
 *      hf_value counted                       hf_value view
 *          |                                      |
 *          v                                      v
 *      [count | size | bytes... | NUL]        hf_view [mark | size | *]---> bytes, the caller's
 *
 * Equal when the bytes are. Hashed with XXH3 (Yann Collet's xxHash, 64 bits), seeded once a process at random where
 * the system has randomness to give, so that nobody outside can choose strings that collide; so hashes and the
 * order of a map differ between processes. A string may contain NUL bytes.
 *
 * Threads: counts are atomic, the bytes never change.
 */
extern HF_API const hf_type hf_type_bytes;
extern HF_API const hf_type hf_type_string;

/* A view's storage. The members are the library's. */
typedef struct hf_view {
    uint64_t mark;
    size_t size;
    const void *data;
} hf_view;

/*
 * A view of `size` bytes, stored in *view. Good as long as *view and the bytes stay as they are; to be passed to any
 * function that borrows a value. Cannot fail, allocates nothing, needs no drop.
 */
static inline hf_value hf_bytes_view(hf_view *view, const void *data, size_t size)
{
    view->mark = 0;
    view->size = size;
    view->data = data;
    return hf_value_ptr(view);
}

/* The same for text that ends with a NUL. */
static inline hf_value hf_string_view(hf_view *view, const char *text)
{
    return hf_bytes_view(view, text, strlen(text));
}

/*
 * A view of a C string, good in the block that it is written in: hf_map_get(map, HF_STRING("colour"), &value).
 * (In C++, which ends it with the expression, use hf_string_view.)
 */
#define HF_STRING(text) hf_string_view(&(hf_view){0, 0, NULL}, (text))

/*
 * A counted copy of the bytes; `data` may be NULL if `size` is 0. The caller has one count of *out and gives it back
 * with hf_bytes_drop. Fails with HF_NOMEM (also for a size that no block can have); *out is as it was then.
 * Costs an allocation and the copy.
 */
HF_API HF_MUST_CHECK int hf_bytes_new(const void *data, size_t size, hf_value *out);

/* The same of text that ends with a NUL. */
HF_API HF_MUST_CHECK int hf_string_new(const char *text, hf_value *out);

/*
 * The bytes of a value of either type, counted or view, and their number in *size (NULL: it is not wanted). Borrowed:
 * good as long as the value. Behind the bytes of a counted one is a NUL byte that is not among them, so it can be used
 * as a C string. Cannot fail.
 */
HF_API const void *hf_bytes_data(hf_value value, size_t *size);

/* The same as text; of a counted value only, or of a view of text that ends with a NUL. */
HF_API const char *hf_string_text(hf_value value);

/*
 * Takes a count for the caller. Of a counted value: returns that value, and cannot fail. Of a view: *value becomes a
 * counted copy, or HF_NOMEM, and *value is as it was. 0 on success.
 */
HF_API HF_MUST_CHECK int hf_bytes_keep(hf_value *value);

/* Gives back a count of a counted value; the last one frees it. A view is left alone. Cannot fail. */
HF_API void hf_bytes_drop(hf_value value);

HF_END_DECLS

#endif

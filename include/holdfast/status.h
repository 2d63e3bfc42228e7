/*
 * status.h: what a call that can fail returns.
 *
 * Such a call returns an int. Negative is one of the codes below. 0 or 1 is the
 * answer: "done", or "no" and "yes" (0: the key is not there, 1: it is). Other
 * results go to out-parameters, which a failed call leaves alone. After a
 * failure the arguments and the state are what they were before the call.
 *
 * One list makes the codes, their names, their messages, and the exceptions of
 * the Python package. A number, once released, keeps its meaning: codes are
 * added at the end and never reused.
 *
 * Concurrency: none needed, everything here is constant.
 */
#ifndef HOLDFAST_STATUS_H
#define HOLDFAST_STATUS_H

#include <holdfast/api.h>

HF_BEGIN_DECLS

#define HF_STATUS_LIST(X)                                                                        \
    X(HF_NOMEM, -1, "out of memory")                                                             \
    X(HF_INVALID, -2, "an argument is not valid here")                                           \
    X(HF_FOREIGN, -3, "a function supplied by the caller failed")                                \
    X(HF_CONFLICT, -4, "both sides changed the same key")                                        \
    X(HF_BUSY, -5, "the object is in use by another operation")                                  \
    X(HF_LIMIT, -6, "a limit of the implementation was reached")                                 \
    X(HF_IO, -7, "a call to the operating system failed")                                        \
    X(HF_CORRUPT, -8, "the data is damaged")                                                     \
    X(HF_BAD_TYPE, -9, "a value of this type cannot be used here")                               \
    X(HF_BAD_VALUE, -10, "this value cannot be used here")                                       \
    X(HF_TIMEOUT, -11, "waiting took longer than was allowed")                                   \
    X(HF_NOSPACE, -12, "there is no space left")                                                 \
    X(HF_ABSENT, -13, "there is nothing of this name")                                           \
    X(HF_EXISTS, -14, "there is something of this name already")                                 \
    X(HF_DENIED, -15, "it belongs to somebody else")                                             \
    X(HF_NOT_REGION, -16, "this is not a region")                                                \
    X(HF_FORMAT, -17, "it is in a format of another version or machine")                         \
    X(HF_SLOTS, -18, "all reader slots are taken")                                               \
    X(HF_LOST, -19, "it did not survive a fork")                                                 \
    X(HF_NETWORK, -20, "it is on a network file system")                                         \
    X(HF_BROKEN, -21, "a flush of the file has failed: close it everywhere, then open it again") \
    X(HF_READ_ONLY, -22, "it is on a file system that cannot be written to")                     \
    X(HF_NOT_CASK, -23, "this is not a cask")

enum hf_status {
    HF_OK = 0,
#define HF_STATUS_ENUM(name, code, message) name = (code),
    HF_STATUS_LIST(HF_STATUS_ENUM)
#undef HF_STATUS_ENUM
};

/*
 * The name ("HF_NOMEM") and a one-line message in English for a returned value.
 * An answer (0 or more) is "HF_OK"; a number that is no status is said to be
 * unknown. Never NULL, never freed.
 */
HF_API const char *hf_status_name(int status);
HF_API const char *hf_status_message(int status);

HF_END_DECLS

#endif

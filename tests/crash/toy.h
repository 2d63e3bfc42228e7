/*
 * toy.h: the laboratory's first subjects: two small stores that are right, and each of
 * them again with one fault put in at build time. What catches all of the faults, and
 * nothing in the right ones, may be trusted with a real store.
 *
 * Each X(name, fault) is one build of toy_store.c or toy_shared.c.
 */
#ifndef HF_CRASH_TOY_H
#define HF_CRASH_TOY_H

#include "kill.h"
#include "lab.h"

#define TOY_STORE_LIST(X)                                                                 \
    X(toy_right, "none")                                                                  \
    X(toy_missing_flush, "a commit is not flushed")                                       \
    X(toy_root_early, "the root is written and flushed before what it refers to")         \
    X(toy_same_slot, "the root slots do not alternate")                                   \
    X(toy_no_rollback, "a root that recovery passed over stays in its slot")              \
    X(toy_no_undo, "a commit that failed leaves its changes in memory")                   \
    X(toy_no_dirsync, "the folder is not flushed after the store was made")               \
    X(toy_unchecked, "the checksums of data are not verified")                            \
    X(toy_short_write, "a write that was cut short is taken for a whole one")             \
    X(toy_retry_flush, "a flush that failed is made again")                               \
    X(toy_late_clear, "the clean mark is not cleared and flushed before the first write") \
    X(toy_no_reflush, "what is found after a kill is served without a flush")             \
    X(toy_leak, "a store that does not open leaves its descriptor open")

#define TOY_SHARED_LIST(X)                                                             \
    X(toy_shared_right, "none")                                                        \
    X(toy_shared_early, "a version is published before it is filled")                  \
    X(toy_shared_in_place, "the published version is changed in place")                \
    X(toy_shared_no_rollback, "what a dead writer had staged is left to the next one") \
    X(toy_shared_no_lock, "a writer does not take the lock")

#define TOY_DECLARE(name, fault) extern const struct hf_subject name;
TOY_STORE_LIST(TOY_DECLARE)
TOY_SHARED_LIST(TOY_DECLARE)
#undef TOY_DECLARE
#define TOY_DECLARE(name, fault) extern const struct hf_clients_subject name##_clients;
TOY_SHARED_LIST(TOY_DECLARE)
#undef TOY_DECLARE

/* The number of each fault, for -DTOY_FAULT=<name>_fault. */
enum toy_fault {
#define TOY_NUMBER(name, fault) name##_fault,
    TOY_STORE_LIST(TOY_NUMBER) TOY_SHARED_LIST(TOY_NUMBER)
#undef TOY_NUMBER
};

#endif

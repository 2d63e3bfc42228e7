/*
 * sabotage.h: faults that are put in on purpose, to see whether the crash laboratory finds them.
 *
 *      if (HF_SABOTAGE(missing_flush))        a constant: 0 in every build but the one that is made to have this fault
 *          ... leave the flush out ...
 *
 * The product has none of them. tests/crash/meson.build compiles the sources that a fault is in once more for each, with
 * -DHF_REGION_SABOTAGE=HF_SABOTAGE_<name>, and tests/c/test_crash_region_sabotage.c and test_crash_shared_sabotage.c say
 * which tool must find it.
 * Each is one place of the engine, or as few as can be.
 */
#ifndef HF_REGION_SABOTAGE_H
#define HF_REGION_SABOTAGE_H

/* Where both homes, or shared memory alone, can have them; and then those of a file. */
#define HF_SABOTAGE_SHARED_LIST(X)                                                      \
    X(recycled_soon, "a block is used again though a pin or a kept snapshot has it")    \
    X(in_place, "what the transaction before made, and published, is changed in place") \
    X(no_rollback, "a writer goes on from the state that a dead one has left")          \
    X(published_early, "a version is published before its record is whole")             \
    X(scan_early, "a scan of the pins before a publication is taken for one after it")  \
    X(no_reread, "a reader does not look again whether the record that it read was still being kept")

#define HF_SABOTAGE_FILE_LIST(X)                                                                      \
    X(missing_flush, "a durable commit is not flushed")                                               \
    X(root_early, "the root record is written and flushed before what it refers to")                  \
    X(same_slot, "the slots of root records do not alternate")                                        \
    X(recycled_durable, "a block of the durable version is used again before a later one is durable") \
    X(no_invalidate, "a newer root record that recovery passed over stays in its slot")               \
    X(clean_late, "the clean mark is not cleared and flushed before the first write")                 \
    X(nursery_soon, "a segment of the nursery is filled anew though a pin has what is in it")         \
    X(flush_again, "a flush that failed is made again, and believed")

/* And those of the map that stands on it (src/shared). */
#define HF_SABOTAGE_MAP_LIST(X)                                      \
    X(blind_exchange, "a value is exchanged whatever it was before") \
    X(lost_form, "a key that is removed leaves behind the form in which it was put")

enum hf_sabotage {
    HF_SABOTAGE_none,
#define HF_SABOTAGE_NUMBER(name, what) HF_SABOTAGE_##name,
    HF_SABOTAGE_SHARED_LIST(HF_SABOTAGE_NUMBER) HF_SABOTAGE_FILE_LIST(HF_SABOTAGE_NUMBER)
        HF_SABOTAGE_MAP_LIST(HF_SABOTAGE_NUMBER)
#undef HF_SABOTAGE_NUMBER
};

#ifndef HF_REGION_SABOTAGE
#define HF_REGION_SABOTAGE HF_SABOTAGE_none
#endif

#define HF_SABOTAGE(name) (HF_REGION_SABOTAGE == HF_SABOTAGE_##name)

#endif

/*
 * sabotage.h: faults that are put into the cask on purpose, to see whether the crash laboratory finds them; as region/sabotage.h.
 *
 *      if (HF_CASK_FAULT(folder_unsynced))        a constant: 0 in every build but the one that is made to have this fault
 *
 * The product has none of them. tests/crash/meson.build compiles the sources that a fault is in once more for each, with
 * -DHF_CASK_SABOTAGE=HF_CASK_FAULT_<name>, and tests/c/test_crash_cask_sabotage.c says which tool must find it.
 */
#ifndef HF_CASK_SABOTAGE_H
#define HF_CASK_SABOTAGE_H

#define HF_CASK_FAULT_LIST(X)                                                                             \
    X(manifest_unsynced, "a manifest is not on the disk before the victims that it leaves out go")        \
    X(tombstone_soon, "a merge leaves out a deletion that still hides something")                         \
    X(keydir_early, "the keydir is written before the log that it stands for is flushed")                 \
    X(batch_half, "what is there of a batch that was cut off counts")                                     \
    X(synced_early, "a sync says that it is done before the active file is flushed")                      \
    X(folder_unsynced, "the name of a new log file is not flushed with what is in it")                    \
    X(resumed_flushed, "a file that was gone on with is taken for flushed, as it was when it was opened") \
    X(raw_clock, "whether a record has expired is said by the system's clock alone")                      \
    X(sequence_again, "sequence numbers are used again after a recovery")

enum hf_cask_fault_number {
    HF_CASK_FAULT_none,
#define HF_CASK_FAULT_NUMBER(name, what) HF_CASK_FAULT_##name,
    HF_CASK_FAULT_LIST(HF_CASK_FAULT_NUMBER)
#undef HF_CASK_FAULT_NUMBER
};

#ifndef HF_CASK_SABOTAGE
#define HF_CASK_SABOTAGE HF_CASK_FAULT_none
#endif

#define HF_CASK_FAULT(name) (HF_CASK_SABOTAGE == HF_CASK_FAULT_##name)

#endif

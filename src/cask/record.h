/*
 * record.h: records of a log, made and read.
 *
 *      hf_record_in ---hf_record_write---> [ header | sizes | key | given | value | 0.. ] ---hf_record_read--->
 *      hf_record_out
 *
 * Reading believes nothing: sizes are held against what there is, checksums against the bytes, and there is one way
 * to write a record: what says the same with other bytes (a long size for a short key, padding that is not zero) is
 * damage. So a record that was read has exactly the bytes that hf_record_write gives for what it says.
 *
 * To look for the next record behind damage costs a look at every eighth byte. Nearly all places are dismissed by
 * three numbers (the sequence number is not 0, `synced` is not behind the record, the value is not larger than the
 * rest); then 28 bytes are hashed; only where that is right, a body. It is passed over then, whether it is whole or
 * not: no byte is hashed for two bodies, so the time is linear in the bytes, also where somebody means them to be
 * slow.
 *
 * Concurrency: functions of their arguments. What is read must not change meanwhile. Failure: HF_LIMIT, HF_CORRUPT.
 */
#ifndef HF_CASK_RECORD_H
#define HF_CASK_RECORD_H

#include "base/span.h"
#include "cask/format.h"

/* What the checksums of a file's records are seeded with. */
typedef struct hf_log_salt {
    uint64_t head; /* of cask and file, */
    uint64_t body; /* and of the cask */
} hf_log_salt;

hf_log_salt hf_log_salt_of(const uint64_t id[2], uint32_t number);

typedef struct hf_record_in {
    unsigned flags; /* a kind, with HF_RECORD_MORE or without; the other flags follow from the members */
    uint64_t sequence;
    int64_t time;    /* 0 to HF_CASK_TIME_MAX */
    int64_t expires; /* from 0 on; INT64_MAX: never */
    hf_span key;     /* canonical */
    hf_span given;   /* no bytes: as `key` */
    hf_span head;    /* what goes in front of the value, as part of it; no bytes in what was read */
    hf_span value;
} hf_record_in;

/*
 * Of a record's bytes with padding: a multiple of HF_CASK_ALIGN. HF_LIMIT, which is negative: a key of
 * HF_CASK_KEY_MAX bytes, a value of 4 GiB, a time that a record cannot have.
 */
int64_t hf_record_size_in(const hf_record_in *record);

/*
 * Writes it for that place of a file, to `out`, which has room for it. Its size. `synced`: as hf_log_record.synced,
 * but in bytes; not behind `at`. A DELETE has a key only, a CLOCK nothing; none has the sequence number 0.
 */
uint64_t hf_record_write(const hf_record_in *record, hf_log_salt salt, uint64_t at, uint64_t synced,
                         unsigned char *out);

typedef struct hf_record_out {
    hf_record_in in; /* spans point into what was read; all of its flags are there */
    uint64_t at;
    uint64_t size;   /* with padding */
    uint64_t synced; /* in bytes */
    const unsigned char *bytes;
} hf_record_out;

/*
 * The record at `at` of a file of which the first `end` bytes may be read: 1; its body and its header are right. 0:
 * nothing was written here: `at` is `end`, or there are zeros in place of its header (or as far as the file goes).
 * HF_CORRUPT: what is there is no record, or not whole; or `at` is no place of a record.
 */
int hf_record_read(const unsigned char *file, uint64_t end, uint64_t at, hf_log_salt salt, hf_record_out *out);

/* The same without its body's checksum: the header and the sizes are right. For what was verified before. */
int hf_record_look(const unsigned char *file, uint64_t end, uint64_t at, hf_log_salt salt, hf_record_out *out);

/*
 * The first whole record at or behind `at`: 1; or 0, there is none. Where a header is right and its body is not, it
 * goes on behind that body: a file has no other record in there.
 */
int hf_record_resync(const unsigned char *file, uint64_t end, uint64_t at, hf_log_salt salt, hf_record_out *out);

/*
 * The same record for another place, and without MORE: the header anew, the body copied, with its checksum. Its size.
 * `salt` is of the same cask.
 */
uint64_t hf_record_copy(const hf_record_out *record, hf_log_salt salt, uint64_t at, uint64_t synced,
                        unsigned char *out);

#endif

/*
 * record.h: records of a log, made and read.
 *
 *      hf_record_in ---hf_record_write---> [ header | expiry | key | value | 0.. ] ---hf_record_read---> hf_record_out
 *
 * Reading believes nothing: all sizes are held against what there is, both checksums against the bytes.
 *
 * Concurrency: functions of their arguments. Failure: HF_LIMIT, HF_CORRUPT.
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
    unsigned flags; /* enum hf_record_flags; EXPIRES and GIVEN follow from the members */
    uint64_t sequence;
    int64_t time;
    int64_t expires; /* INT64_MAX: never */
    hf_span key;     /* canonical */
    hf_span given;   /* no bytes: as `key` */
    hf_span value;
} hf_record_in;

/* Of a record's bytes with padding: a multiple of HF_CASK_ALIGN; HF_LIMIT where something is too large (then negative). */
int64_t hf_record_size_in(const hf_record_in *record);

/* Writes it for that place of a file, to `out`, which has room for it. `synced`: as hf_record.synced, in bytes. */
void hf_record_write(const hf_record_in *record, hf_log_salt salt, uint64_t at, uint64_t synced, unsigned char *out);

typedef struct hf_record_out {
    hf_record_in in; /* spans point into what was read */
    uint64_t at;
    uint64_t size;   /* with padding */
    uint64_t synced; /* in bytes */
} hf_record_out;

/* The record at `at` of a file of which the first `end` bytes may be read. 1; 0: `at` is `end`, or there are only zeros in its header: nothing was
 * written here; HF_CORRUPT: what is there is no record, or not whole. */
int hf_record_read(const unsigned char *file, uint64_t end, uint64_t at, hf_log_salt salt, hf_record_out *out);

/* The same without its body's checksum: the header is right. For what was verified before. */
int hf_record_look(const unsigned char *file, uint64_t end, uint64_t at, hf_log_salt salt, hf_record_out *out);

/* The first whole record at or behind `at`: 1; or 0, there is none. */
int hf_record_resync(const unsigned char *file, uint64_t end, uint64_t at, hf_log_salt salt, hf_record_out *out);

/* The same record for another place, and without MORE: header anew, body copied (it must be whole). Its size. */
uint64_t hf_record_copy(const hf_record_out *record, hf_log_salt salt, uint64_t at, uint64_t synced, unsigned char *out);

#endif

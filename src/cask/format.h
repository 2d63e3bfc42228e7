/*
 * format.h: the bytes of a cask. docs/format/cask.md has them with examples.
 *
 *      FOLDER/                   0700; all files 0600
 *        MANIFEST                which files count; replaced as a whole (hf_cask_manifest)
 *        page                    what the writer tells readers; good for one boot (hf_cask_page)
 *        keydir, keydir-lock     a region: where each key's newest record is; can be made again from the rest
 *        0000000001.log          records, in the order of their sequence numbers (hf_log_head, hf_log_record)
 *        0000000001.hint         of a file that is sealed: its records without keys and values, and a filter; can be
 *                                made again (hf_hint_head)
 *        *.new                   being written; what a crash has left of it is removed
 *
 *      a log file      +-----------------+--------+--------+--------+-----+-------------+
 *                      | hf_log_head, 64 | record | record | record | ... | zeros, maybe |
 *                      +-----------------+--------+--------+--------+-----+-------------+
 *                                        records begin at multiples of 8 bytes
 *
 *      a record        +-------------------+----------+------------+--------------+-----+-------+-------+-----+
 *                      | hf_log_record, 32 | expiry 8 | key size 4 | given size 4 | key | given | value | 0.. |
 *                      +-------------------+----------+------------+--------------+-----+-------+-------+-----+
 *                         only if there is   EXPIRES    a long key   GIVEN                GIVEN
 *                                          '-------------------------- body -----------------------------'
 *
 *      stamp           [ milliseconds since 1970: 42 | flags: 6 | key size: 16, or HF_KEY_SIZE_LONG: in the body ]
 *      place           [ deleted: 1 | size of the record in 16 bytes, rounded up, or all ones: 9 | file: 24
 *                        | at, in 8 bytes: 30 ]
 *
 * A record is the one that was written for its place: its header's checksum is seeded with cask, file and offset, the
 * body's with cask and sequence number (so a merge copies a body as it is). All checksums are XXH3.
 *
 * Integers have the byte order of the machine, as in a region: the magic says which. A cask of the other order is
 * HF_FORMAT.
 *
 * Invariants
 *  F1  Of the records of a key, the one with the highest sequence number counts: never the clock, never the order of
 *      files. Two records with the same number are copies of each other (a merge's).
 *  F2  A sealed file never changes. It is as long as its records.
 *  F3  A batch is records that follow each other in one file, with numbers that follow each other, all but the last
 *      with MORE. A merge writes its records without it: what is in a sealed file, was whole.
 *  F4  hf_log_record.synced: what lies before that position of its file was on the disk when the record was written.
 *      So what is wrong there is damage, not a write that a power cut has interrupted.
 *  F5  A log file counts if the manifest lists it, or if its number is not below the manifest's `next` and it is of
 *      kind HF_LOG_WRITTEN.
 *  F6  What a record says has one way to be written: sizes in the body only where they are needed, padding of zeros.
 */
#ifndef HF_CASK_FORMAT_H
#define HF_CASK_FORMAT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HF_CASK_LOG_MAGIC UINT64_C(0x0a676f6c4b736148)      /* "HasKlog\n" */
#define HF_CASK_HINT_MAGIC UINT64_C(0x0a746e684b736148)     /* "HasKhnt\n" */
#define HF_CASK_MANIFEST_MAGIC UINT64_C(0x0a6e616d4b736148) /* "HasKman\n" */
#define HF_CASK_PAGE_MAGIC UINT64_C(0x0a6761704b736148)     /* "HasKpag\n" */
#define HF_CASK_FORMAT 1u

enum {
    HF_CASK_ALIGN = 8,
    HF_CASK_DATA_AT = 64, /* of the first record */
    HF_CASK_FILE_BITS = 24,
    HF_CASK_AT_BITS = 30,
    HF_CASK_SIZE_BITS = 9,
    HF_CASK_SIZE_UNIT = 16,
    HF_CASK_TIME_BITS = 42,
};

#define HF_CASK_FILES (UINT32_C(1) << HF_CASK_FILE_BITS)                          /* numbers 1 .. this - 1 */
#define HF_CASK_FILE_MAX (((UINT64_C(1) << HF_CASK_AT_BITS) - 1) * HF_CASK_ALIGN) /* bytes of a file */
#define HF_CASK_KEY_MAX (UINT64_C(1) << 24)                                       /* bytes of a key, in either form */
#define HF_CASK_TIME_MAX ((INT64_C(1) << HF_CASK_TIME_BITS) - 1)                  /* of a stamp: the year 2109 */

/* -- log files -- */

enum hf_log_kind { HF_LOG_WRITTEN = 1, HF_LOG_MERGED = 2 };

struct hf_log_head {
    uint64_t magic;
    uint32_t format;
    uint32_t kind;
    uint64_t id[2]; /* of the cask */
    uint64_t number;
    uint64_t created;  /* milliseconds since 1970 */
    uint64_t after;    /* of HF_LOG_WRITTEN: sequence number of the last record in such a file before it: recover.c */
    uint64_t checksum; /* of all the above */
};

_Static_assert(sizeof(struct hf_log_head) == HF_CASK_DATA_AT, "layout");
_Static_assert(offsetof(struct hf_log_head, number) == 32 && offsetof(struct hf_log_head, checksum) == 56, "layout");

enum hf_record_flags {
    HF_RECORD_PUT = 1,
    HF_RECORD_DELETE = 2, /* a key, and nothing else */
    HF_RECORD_CLOCK = 3,  /* no body: so late it was once (the cask's clock never goes back) */
    HF_RECORD_KIND = 3,
    HF_RECORD_EXPIRES = 4,
    HF_RECORD_GIVEN = 8, /* the key as it was put, where that is not its canonical form */
    HF_RECORD_MORE = 16, /* the next record is of the same batch */
};

#define HF_KEY_SIZE_LONG 0xffffu

struct hf_log_record {
    uint32_t head_checksum; /* of the 28 bytes that follow */
    uint32_t body_checksum; /* of the body, without the padding */
    uint64_t sequence;      /* from 1 on */
    uint64_t stamp;
    uint32_t value_size;
    uint32_t synced; /* in 8 bytes: see F4 */
};

_Static_assert(sizeof(struct hf_log_record) == 32 && offsetof(struct hf_log_record, stamp) == 16, "layout");
_Static_assert(offsetof(struct hf_log_record, value_size) == 24 && offsetof(struct hf_log_record, synced) == 28,
               "layout");

/* -- hints -- */

/*
 * hf_hint_head, `count` entries, `words` words of the filter, and a checksum of all before it, 8 bytes. Entries are
 * in the order of the records in the file; CLOCK records have none.
 *
 * The filter is blocks of 8 words: ten bits an entry, rounded up to blocks. The block of a hash is number (hash x
 * blocks / 2^64); its bits are seven in there, said by nine bits each of hf_hash_u64(hash, HF_CASK_HINT_MAGIC), from
 * the lowest on.
 */
struct hf_hint_head {
    uint64_t magic;
    uint32_t format;
    uint32_t reserved;
    uint64_t id[2];
    uint64_t number;
    uint64_t log_size; /* of the log file: another one, and the hint is not this file's */
    uint64_t count;
    uint64_t words;
    uint64_t first, last; /* lowest and highest sequence number; first > last: there is none */
    uint64_t clock;       /* the latest stamp */
    uint64_t soonest;     /* the earliest expiry; UINT64_MAX: nothing expires */
    uint64_t checksum;    /* of all the above */
};

struct hf_hint_entry {
    uint64_t hash;
    uint64_t place; /* deleted or not, size, at; the file is this one */
    uint64_t sequence;
};

_Static_assert(sizeof(struct hf_hint_head) == 104 && sizeof(struct hf_hint_entry) == 24, "layout");

/* -- the manifest -- */

enum hf_listed_state {
    HF_LISTED = 1,
    HF_LISTED_VICTIM = 2, /* all that counts in it is in a merged file too: it goes once nobody can look at it */
};

struct hf_listed {
    uint32_t number;
    uint32_t state;
    uint64_t size;        /* of the sealed file */
    uint64_t first, last; /* sequence numbers */
    uint64_t generation;  /* of the manifest that listed it first; of a victim, that made it one */
};

/* Followed by `count` of hf_listed, by ascending number, and a checksum of all before it, 8 bytes. */
struct hf_cask_manifest {
    uint64_t magic;
    uint32_t format;
    uint32_t count;
    uint64_t compatible, incompatible; /* features, as in a region */
    uint64_t id[2];
    uint64_t seed;       /* of the hashes of keys */
    uint64_t generation; /* goes up by one with each manifest */
    uint64_t next;       /* see F5 */
    uint64_t sequence;   /* no record that is written from now on has this number or a lower one */
    uint64_t clock;      /* the cask's clock was here, in milliseconds since 1970 */
    uint64_t reserved[2];
};

_Static_assert(sizeof(struct hf_listed) == 40 && sizeof(struct hf_cask_manifest) == 104, "layout");

/* -- the page -- */

/* Where the log ends, for those who do not write it: file and offset in one word, as in a place. */
struct hf_cask_page {
    uint64_t magic;
    uint32_t format;
    uint32_t pad;
    uint64_t id[2];
    unsigned char boot[16];
    uint64_t device, inode;
    _Atomic uint64_t incarnation; /* goes up by two with each writer; odd: one is setting the page up */
    _Atomic uint64_t end;         /* all before it is there to be read */
    _Atomic uint64_t synced;      /* all before it survives a power cut */
    _Atomic uint64_t sequence;    /* of the last record before `end` */
    _Atomic uint64_t clock;       /* milliseconds; only goes forward; readers move it too */
    _Atomic uint64_t generation;  /* of the manifest */
    _Atomic uint64_t broken;      /* a flush has failed: its errno, and nothing is written any more */
};

#define HF_CASK_PAGE_SIZE 4096
_Static_assert(offsetof(struct hf_cask_page, incarnation) == 64 && sizeof(struct hf_cask_page) == 120, "layout");

/* -- the keydir -- */

enum { HF_KEYDIR_PLACES = 0, HF_KEYDIR_NOTES = 1 }; /* trees: places; what is known of files, and the meta below */

/* In HF_KEYDIR_NOTES under the key "meta". What this version of the keydir stands for. */
struct hf_keydir_meta {
    uint64_t id[2];
    uint64_t position;   /* all records before it are in, file and offset as in a place */
    uint64_t sequence;   /* the highest that is in */
    uint64_t generation; /* merged files that this manifest lists are in */
    uint64_t clock;
    uint64_t expiring; /* entries whose record expires */
};

/* Under a file's number, 4 bytes, big-endian. */
struct hf_keydir_note {
    uint64_t keys, bytes;           /* of all its records that are in, and */
    uint64_t dead_keys, dead_bytes; /* of those that no longer count */
    uint64_t first, last;           /* sequence numbers */
    uint64_t soonest;               /* earliest expiry; UINT64_MAX */
};

_Static_assert(sizeof(struct hf_keydir_meta) == 56 && sizeof(struct hf_keydir_note) == 56, "layout");

/* -- places -- */

static inline uint64_t hf_position(uint32_t number, uint64_t at)
{
    return (uint64_t)number << HF_CASK_AT_BITS | at / HF_CASK_ALIGN;
}

static inline uint32_t hf_place_file(uint64_t place)
{
    return (uint32_t)(place >> HF_CASK_AT_BITS) & (HF_CASK_FILES - 1);
}

static inline uint64_t hf_place_offset(uint64_t place)
{
    return (place & ((UINT64_C(1) << HF_CASK_AT_BITS) - 1)) * HF_CASK_ALIGN;
}

#define HF_PLACE_DELETED (UINT64_C(1) << 63)
#define HF_PLACE_SIZE_SHIFT (HF_CASK_AT_BITS + HF_CASK_FILE_BITS)
#define HF_PLACE_SIZE_MAX ((UINT64_C(1) << HF_CASK_SIZE_BITS) - 1)

/* The size in units of a record of so many bytes; HF_PLACE_SIZE_MAX: look at the record. */
static inline uint64_t hf_place_units(uint64_t size)
{
    uint64_t units = (size + HF_CASK_SIZE_UNIT - 1) / HF_CASK_SIZE_UNIT;
    return units < HF_PLACE_SIZE_MAX ? units : HF_PLACE_SIZE_MAX;
}

static inline uint64_t hf_cask_place(uint32_t number, uint64_t at, uint64_t size, bool deleted)
{
    return (deleted ? HF_PLACE_DELETED : 0) | hf_place_units(size) << HF_PLACE_SIZE_SHIFT | hf_position(number, at);
}

#endif

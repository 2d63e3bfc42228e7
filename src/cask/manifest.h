/*
 * manifest.h: which files of a folder are the cask's.
 *
 *      [ hf_cask_manifest | hf_listed ... | checksum ]        MANIFEST
 *
 *      a new one       MANIFEST.new: written, synced --> renamed to MANIFEST --> the folder synced
 *
 * Invariants
 *  M1  At every moment, whatever is interrupted, MANIFEST is the old one or the new one, whole.
 *  M2  A manifest that was read: its files have numbers from 1 on, each once, ascending; states that are known; none
 *      is larger than a log file can be, or was listed by a later generation.
 *
 * Concurrency: a manifest in memory belongs to who holds the cask's lock.
 *
 * Failure: HF_NOMEM, HF_IO and what is said below. A replace that fails with HF_BROKEN has left the old one or the
 * new one: which, the next open finds out, and the caller must not go on as though it knew. Any other failure has
 * changed nothing.
 */
#ifndef HF_CASK_MANIFEST_H
#define HF_CASK_MANIFEST_H

#include "cask/format.h"

#define HF_MANIFEST_NAME "MANIFEST"
#define HF_MANIFEST_NEW "MANIFEST.new"

typedef struct hf_manifest {
    struct hf_cask_manifest head; /* magic, format, count are seen to here */
    struct hf_listed *files;      /* head.count of them, by number */
    size_t room;
} hf_manifest;

/* Features that this version knows. */
#define HF_MANIFEST_COMPATIBLE UINT64_C(0)
#define HF_MANIFEST_INCOMPATIBLE UINT64_C(0)

/* `folder` is a descriptor of the folder, in all that follows; not O_PATH: it is synced. HF_ABSENT, HF_DENIED;
 * HF_NOT_CASK: it is something else; HF_FORMAT: of another version, or byte order; HF_CORRUPT. */
int hf_manifest_read(int folder, hf_manifest *out);
void hf_manifest_clear(hf_manifest *manifest);
int hf_manifest_copy(const hf_manifest *from, hf_manifest *out);

/* Borrowed until the next change, or NULL. */
struct hf_listed *hf_manifest_find(const hf_manifest *manifest, uint32_t number);

/* In place of what has its number, if there is something. HF_NOMEM. */
int hf_manifest_add(hf_manifest *manifest, const struct hf_listed *file);
void hf_manifest_remove(hf_manifest *manifest, uint32_t number); /* or it is not there */

/*
 * Gives it the next generation, and replaces MANIFEST by it, or makes it; durable when it returns. *bytes, which may
 * be NULL: how many. HF_NOSPACE, HF_DENIED, HF_READ_ONLY; HF_BROKEN: see above.
 */
int hf_manifest_replace(int folder, hf_manifest *manifest, uint64_t *bytes);

#endif

/*
 * manifest.h: which files of a folder are the cask's.
 *
 *      [ hf_cask_manifest | hf_listed ... | checksum ]        MANIFEST; a new one is written as MANIFEST.new, synced, renamed, the folder synced
 *
 * Invariant: at every moment, whatever is interrupted, MANIFEST is the old one or the new one, whole.
 *
 * Concurrency: a manifest in memory belongs to who holds the cask's lock. Failure: HF_ABSENT, HF_NOT_CASK, HF_FORMAT, HF_CORRUPT; after a
 * failed replace the old one or the new one is there: which, the next open finds out, and the caller must not go on as though it knew (HF_BROKEN).
 */
#ifndef HF_CASK_MANIFEST_H
#define HF_CASK_MANIFEST_H

#include "cask/format.h"

typedef struct hf_manifest {
    struct hf_cask_manifest head;
    struct hf_listed *files; /* head.count of them, by number */
    size_t room;
} hf_manifest;

int hf_manifest_read(int folder, hf_manifest *out);
void hf_manifest_clear(hf_manifest *manifest);
int hf_manifest_copy(const hf_manifest *from, hf_manifest *out);

struct hf_listed *hf_manifest_find(const hf_manifest *manifest, uint32_t number); /* or NULL */
int hf_manifest_add(hf_manifest *manifest, const struct hf_listed *file);
void hf_manifest_remove(hf_manifest *manifest, uint32_t number);

/* Gives it the next generation, and replaces MANIFEST by it; durable when it returns. */
int hf_manifest_replace(int folder, hf_manifest *manifest, uint64_t *bytes);

#endif

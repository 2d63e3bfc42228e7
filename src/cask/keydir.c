/*
 * keydir.c: see keydir.h.
 */
#include "cask/keydir.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/os.h"

#include <holdfast/status.h>

#include <stdio.h>
#include <string.h>

static const char file_name[] = "/keydir", lock_name[] = "/keydir-lock", meta_name[] = "meta";

/* -- open -- */

/* FOLDER and what is behind it; to be freed. */
static char *path_in(const char *folder, const char *name)
{
    size_t size = strlen(folder) + strlen(name) + 1;
    char *path = hf_alloc(size);

    if (path != NULL)
        snprintf(path, size, "%s%s", folder, name);
    return path;
}

int hf_keydir_open(const char *folder, bool read_only, hf_region **out)
{
    hf_region_options options = {
        .mode = read_only ? HF_REGION_ATTACH : HF_REGION_EITHER,
        .level = HF_REGION_FULL,
        .read_only = read_only,
        .place_trees = 1u << HF_KEYDIR_PLACES,
        .timeout = -1,
    };
    char *path = path_in(folder, file_name);

    if (path == NULL)
        return HF_NOMEM;
    hf_region *region;
    int status = hf_region_open_file(path, &options, &region);
    hf_free(path);
    if (status == 0 && hf_region_place_trees(region) != options.place_trees) {
        hf_region_close(region);
        status = HF_CORRUPT;
    }
    if (status == 0)
        *out = region;
    return status;
}

/* A segment whose name is gone before anybody could use it. */
int hf_keydir_open_memory(hf_region **out)
{
    hf_region_options options = {
        .mode = HF_REGION_EITHER,
        .timeout = -1,
        .place_trees = 1u << HF_KEYDIR_PLACES,
    };
    uint64_t random;
    char name[48];
    int fd = hf_os_getrandom_all(&random, sizeof random);

    if (fd < 0)
        return hf_os_status(fd);
    snprintf(name, sizeof name, "/holdfast-keydir-%016llx", (unsigned long long)random);
    HF_OS_RETRY(fd, hf_os_shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
    if (fd < 0)
        return hf_os_file_status(fd);
    hf_region *region;
    int status = hf_region_open_fd(fd, &options, &region);
    hf_os_close(fd);
    int result = hf_os_shm_unlink(name);
    if (status == 0 && result < 0) {
        hf_region_close(region);
        status = hf_os_file_status(result);
    }
    if (status == 0)
        *out = region;
    return status;
}

static int remove_file(const char *folder, const char *name)
{
    char *path = path_in(folder, name);

    if (path == NULL)
        return HF_NOMEM;
    int result = hf_os_unlink(path);
    hf_free(path);
    return result == -ENOENT || result == 0 ? 0 : hf_os_file_status(result);
}

int hf_keydir_remove(const char *folder)
{
    int status = remove_file(folder, file_name);

    return status < 0 ? status : remove_file(folder, lock_name);
}

/* -- places -- */

int hf_keydir_walk_next(hf_region_cursor *cursor, uint64_t *hash, uint64_t *place)
{
    hf_place_entry entry;
    int status = hf_region_cursor_next_place(cursor, &entry);

    if (status <= 0)
        return status;
    *hash = entry.hash;
    *place = entry.place;
    return 1;
}

/* -- meta and notes -- */

static hf_key name_of(const void *bytes, size_t size)
{
    return (hf_key){hf_hash_bytes(bytes, size, 0), bytes, size};
}

/* Of a fixed size: anything else is damage. */
static int get_fixed(const hf_view *view, const hf_key *key, void *out, size_t size)
{
    hf_span value;
    int status = hf_view_get(view, HF_KEYDIR_NOTES, key, &value);

    if (status <= 0)
        return status;
    if (value.size != size)
        return HF_CORRUPT;
    memcpy(out, value.bytes, size);
    return 1;
}

int hf_keydir_meta_get(const hf_view *view, struct hf_keydir_meta *out)
{
    hf_key key = name_of(meta_name, sizeof meta_name - 1);

    return get_fixed(view, &key, out, sizeof *out);
}

int hf_keydir_meta_set(hf_txn *txn, const struct hf_keydir_meta *meta)
{
    hf_key key = name_of(meta_name, sizeof meta_name - 1);
    int status = hf_txn_put(txn, HF_KEYDIR_NOTES, &key, meta, sizeof *meta);

    return status < 0 ? status : 0;
}

/* Big-endian, 4 bytes. */
static hf_key note_key(uint32_t number, unsigned char bytes[4])
{
    for (unsigned i = 0; i < 4; i++)
        bytes[i] = (unsigned char)(number >> (24 - 8 * i));
    return name_of(bytes, 4);
}

int hf_keydir_note_get(const hf_view *view, uint32_t number, struct hf_keydir_note *out)
{
    unsigned char bytes[4];
    hf_key key = note_key(number, bytes);

    return get_fixed(view, &key, out, sizeof *out);
}

int hf_keydir_note_set(hf_txn *txn, uint32_t number, const struct hf_keydir_note *note)
{
    unsigned char bytes[4];
    hf_key key = note_key(number, bytes);
    int status = hf_txn_put(txn, HF_KEYDIR_NOTES, &key, note, sizeof *note);

    return status < 0 ? status : 0;
}

int hf_keydir_note_unset(hf_txn *txn, uint32_t number)
{
    unsigned char bytes[4];
    hf_key key = note_key(number, bytes);
    int status = hf_txn_remove(txn, HF_KEYDIR_NOTES, &key);

    return status < 0 ? status : 0;
}

int hf_keydir_notes_each(const hf_view *view,
                         int (*visit)(void *arg, uint32_t number, const struct hf_keydir_note *note), void *arg)
{
    struct hf_keydir_note note;
    hf_region_cursor cursor;
    hf_span value;
    hf_key key;
    int status = hf_region_cursor_begin(&cursor, view, HF_KEYDIR_NOTES);

    while (status == 0 && (status = hf_region_cursor_next(&cursor, &key, &value)) > 0) {
        const unsigned char *bytes = key.bytes;
        status = 0;
        if (key.size == sizeof meta_name - 1 && memcmp(bytes, meta_name, key.size) == 0)
            continue;
        if (key.size != 4 || value.size != sizeof note || bytes[0] != 0)
            return HF_CORRUPT;
        memcpy(&note, value.bytes, sizeof note);
        status = visit(arg, (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3], &note);
    }
    return status;
}

/*
 * manifest.c: see manifest.h.
 */
#include "cask/manifest.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/os.h"
#include "cask/sabotage.h"

#include <holdfast/status.h>

#include <string.h>

enum { HEAD = sizeof(struct hf_cask_manifest), TAIL = sizeof(uint64_t) };

static uint64_t size_of(uint64_t count)
{
    return HEAD + count * sizeof(struct hf_listed) + TAIL;
}

static uint64_t checksum_of(const unsigned char *bytes, uint64_t size)
{
    return hf_checksum64(bytes, size - TAIL, HF_CASK_MANIFEST_MAGIC);
}

/* -- reading -- */

static bool files_are_right(const hf_manifest *manifest)
{
    uint32_t before = 0;

    for (uint32_t i = 0; i < manifest->head.count; i++) {
        const struct hf_listed *file = &manifest->files[i];
        if (file->number <= before || file->number >= HF_CASK_FILES ||
            (file->state != HF_LISTED && file->state != HF_LISTED_VICTIM) || file->size > HF_CASK_FILE_MAX ||
            file->generation > manifest->head.generation)
            return false;
        before = file->number;
    }
    return true;
}

/* What the bytes say; they begin with the magic. *out has its head and its memory before, if there is something. */
static int parse(const unsigned char *bytes, uint64_t size, hf_manifest *out)
{
    uint64_t checksum;

    if (size < HEAD + TAIL)
        return HF_CORRUPT;
    memcpy(&out->head, bytes, HEAD);
    if (out->head.format != HF_CASK_FORMAT)
        return HF_FORMAT;
    memcpy(&checksum, bytes + size - TAIL, sizeof checksum);
    if (size != size_of(out->head.count) || checksum != checksum_of(bytes, size))
        return HF_CORRUPT;
    if ((out->head.incompatible & ~HF_MANIFEST_INCOMPATIBLE) != 0)
        return HF_FORMAT;
    if (out->head.count > 0) {
        out->files = hf_alloc(out->head.count * sizeof *out->files);
        if (out->files == NULL)
            return HF_NOMEM;
        memcpy(out->files, bytes + HEAD, out->head.count * sizeof *out->files);
    }
    out->room = out->head.count;
    return files_are_right(out) && out->head.next <= HF_CASK_FILES && out->head.clock <= INT64_MAX ? 0 : HF_CORRUPT;
}

/* How many bytes there are, if they may be a manifest. */
static int look(int fd, uint64_t *size)
{
    struct stat found;
    uint64_t magic;
    int result = hf_os_fstat(fd, &found);

    if (result < 0)
        return hf_os_status(result);
    if (!S_ISREG(found.st_mode))
        return HF_NOT_CASK;
    int64_t got = hf_os_pread_all(fd, &magic, sizeof magic, 0);
    if (got < 0)
        return hf_os_status((int)got);
    if (got < (int64_t)sizeof magic || magic != HF_CASK_MANIFEST_MAGIC)
        return got == sizeof magic && magic == __builtin_bswap64(HF_CASK_MANIFEST_MAGIC) ? HF_FORMAT : HF_NOT_CASK;
    *size = (uint64_t)found.st_size;
    return *size > size_of(HF_CASK_FILES) ? HF_CORRUPT : 0;
}

static int read_all(int fd, hf_manifest *out)
{
    uint64_t size = 0;
    int status = look(fd, &size);

    if (status < 0)
        return status;
    unsigned char *bytes = hf_alloc(size + 1);
    if (bytes == NULL)
        return HF_NOMEM;
    int64_t got = hf_os_pread_all(fd, bytes, size, 0);
    status = got < 0 ? hf_os_status((int)got) : (uint64_t)got < size ? HF_CORRUPT : parse(bytes, size, out);
    hf_free(bytes);
    return status;
}

int hf_manifest_read(int folder, hf_manifest *out)
{
    hf_manifest manifest = {.files = NULL};
    int fd, status;

    /* Not to wait for somebody's pipe. */
    HF_OS_RETRY(fd, hf_os_openat(folder, HF_MANIFEST_NAME, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0));
    if (fd < 0)
        return fd == -ENXIO ? HF_NOT_CASK : hf_os_file_status(fd);
    status = read_all(fd, &manifest);
    hf_os_close(fd);
    if (status < 0)
        hf_manifest_clear(&manifest);
    else
        *out = manifest;
    return status;
}

void hf_manifest_clear(hf_manifest *manifest)
{
    hf_free(manifest->files);
    manifest->files = NULL;
    manifest->room = 0;
    manifest->head.count = 0;
}

/* -- in memory -- */

int hf_manifest_copy(const hf_manifest *from, hf_manifest *out)
{
    hf_manifest copy = {.head = from->head, .room = from->head.count};

    if (copy.room > 0) {
        copy.files = hf_alloc(copy.room * sizeof *copy.files);
        if (copy.files == NULL)
            return HF_NOMEM;
        memcpy(copy.files, from->files, copy.room * sizeof *copy.files);
    }
    *out = copy;
    return 0;
}

/* Where it is, or would be. */
static uint32_t place_of(const hf_manifest *manifest, uint32_t number)
{
    uint32_t low = 0, high = manifest->head.count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (manifest->files[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct hf_listed *hf_manifest_find(const hf_manifest *manifest, uint32_t number)
{
    uint32_t i = place_of(manifest, number);

    return i < manifest->head.count && manifest->files[i].number == number ? &manifest->files[i] : NULL;
}

int hf_manifest_add(hf_manifest *manifest, const struct hf_listed *file)
{
    struct hf_listed *there = hf_manifest_find(manifest, file->number);
    uint32_t count = manifest->head.count, i = place_of(manifest, file->number);

    HF_ASSERT(file->number > 0 && file->number < HF_CASK_FILES);
    if (there != NULL) {
        *there = *file;
        return 0;
    }
    struct hf_listed copy = *file; /* may be one of those that move */
    void *longer = hf_grown(manifest->files, &manifest->room, (size_t)count + 1, sizeof *manifest->files);
    if (longer == NULL)
        return HF_NOMEM;
    manifest->files = longer;
    memmove(manifest->files + i + 1, manifest->files + i, (count - i) * sizeof *manifest->files);
    manifest->files[i] = copy;
    manifest->head.count++;
    return 0;
}

void hf_manifest_remove(hf_manifest *manifest, uint32_t number)
{
    struct hf_listed *there = hf_manifest_find(manifest, number);

    if (there == NULL)
        return;
    struct hf_listed *end = manifest->files + manifest->head.count;
    memmove(there, there + 1, (size_t)(end - there - 1) * sizeof *there);
    manifest->head.count--;
}

/* -- replacing -- */

/* Writes, syncs, closes. */
static int write_new(int folder, const unsigned char *bytes, uint64_t size)
{
    uint64_t limit;
    int fd, result = hf_os_size_limit(&limit);

    if (result == 0 && size > limit)
        result = -EFBIG;
    if (result == 0)
        result = hf_os_unlinkat(folder, HF_MANIFEST_NEW, 0); /* what a crash has left */
    if (result < 0 && result != -ENOENT)
        return hf_os_file_status(result);
    HF_OS_RETRY(fd, hf_os_openat(folder, HF_MANIFEST_NEW, O_WRONLY | O_CREAT | O_EXCL, 0600));
    if (fd < 0)
        return hf_os_file_status(fd);
    result = hf_os_pwrite_all(fd, bytes, size, 0);
    if (result == 0)
        result = hf_os_fsync(fd);
    int closed = hf_os_close(fd);
    return result < 0 ? hf_os_file_status(result) : closed < 0 ? hf_os_file_status(closed) : 0;
}

static int put_in_place(int folder, const unsigned char *bytes, uint64_t size)
{
    int status = write_new(folder, bytes, size), result;

    if (status == 0) {
        result = hf_os_renameat2(folder, HF_MANIFEST_NEW, folder, HF_MANIFEST_NAME, 0);
        status = result < 0 ? hf_os_file_status(result) : 0;
    }
    if (status < 0) {
        hf_os_unlinkat(folder, HF_MANIFEST_NEW, 0);
        return status;
    }
    result = HF_CASK_FAULT(manifest_unsynced) ? 0 : hf_os_fsync(folder);
    if (result < 0)
        hf_os_status(result); /* for hf_os_errno */
    return result < 0 ? HF_BROKEN : 0;
}

int hf_manifest_replace(int folder, hf_manifest *manifest, uint64_t *bytes)
{
    struct hf_cask_manifest head = manifest->head;
    uint64_t size = size_of(head.count), checksum;
    unsigned char *made = hf_alloc(size);
    int status;

    if (made == NULL)
        return HF_NOMEM;
    head.magic = HF_CASK_MANIFEST_MAGIC;
    head.format = HF_CASK_FORMAT;
    head.generation++;
    memcpy(made, &head, HEAD);
    if (head.count > 0)
        memcpy(made + HEAD, manifest->files, head.count * sizeof *manifest->files);
    checksum = checksum_of(made, size);
    memcpy(made + size - TAIL, &checksum, sizeof checksum);
    status = put_in_place(folder, made, size);
    hf_free(made);
    if (status == 0) {
        manifest->head = head;
        if (bytes != NULL)
            *bytes = size;
    }
    return status;
}

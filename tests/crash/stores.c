/*
 * stores.c: see stores.h.
 */
#include "stores.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct note {
    size_t op;
    uint32_t inode;
    uint64_t size; /* of the file, then */
    size_t block;
    uint8_t *bytes;
};

/* A file as it was last. */
struct seen {
    uint8_t *bytes;
    uint64_t size;
};

struct hf_stores {
    struct note *note;
    size_t notes, note_capacity;
    struct seen *seen; /* by inode */
    uint32_t inodes;
};

struct hf_stores *hf_stores_new(void)
{
    return hf_lab_zeroed(sizeof(struct hf_stores));
}

void hf_stores_free(struct hf_stores *stores)
{
    if (stores == NULL)
        return;
    for (size_t i = 0; i < stores->notes; i++)
        free(stores->note[i].bytes);
    for (uint32_t i = 0; i < stores->inodes; i++)
        free(stores->seen[i].bytes);
    free(stores->note);
    free(stores->seen);
    free(stores);
}

static struct seen *seen_of(struct hf_stores *stores, uint32_t inode)
{
    if (inode >= stores->inodes) {
        stores->seen = hf_lab_resized(stores->seen, (inode + 1) * sizeof(*stores->seen));
        memset(stores->seen + stores->inodes, 0, (inode + 1 - stores->inodes) * sizeof(*stores->seen));
        stores->inodes = inode + 1;
    }
    return &stores->seen[inode];
}

/* Room for so much, in whole blocks; what is new is zeros, as in a file that has grown. */
static void seen_reach(struct seen *seen, uint64_t size)
{
    const size_t had = (size_t)((seen->size + HF_BLOCK - 1) / HF_BLOCK * HF_BLOCK);
    const size_t needed = (size_t)((size + HF_BLOCK - 1) / HF_BLOCK * HF_BLOCK);

    if (needed > had) {
        seen->bytes = hf_lab_resized(seen->bytes, needed);
        memset(seen->bytes + had, 0, needed - had);
    }
    seen->size = size > seen->size ? size : seen->size;
}

void hf_stores_look(struct hf_stores *stores, uint32_t inode, const char *path, size_t op)
{
    struct seen *seen = seen_of(stores, inode);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    uint8_t now[16 * HF_BLOCK];

    HF_LAB_REQUIRE(fd >= 0 && fstat(fd, &info) == 0);
    seen_reach(seen, (uint64_t)info.st_size);
    for (uint64_t at = 0; at < (uint64_t)info.st_size; at += sizeof(now)) {
        memset(now, 0, sizeof(now));
        HF_LAB_REQUIRE(pread(fd, now, sizeof(now), (off_t)at) >= 0);
        for (uint64_t b = 0; b < sizeof(now) && at + b < (uint64_t)info.st_size; b += HF_BLOCK) {
            if (memcmp(seen->bytes + at + b, now + b, HF_BLOCK) == 0)
                continue;
            memcpy(seen->bytes + at + b, now + b, HF_BLOCK);
            HF_LAB_ROOM(stores->note, stores->notes, stores->note_capacity);
            stores->note[stores->notes++] = (struct note){.op = op,
                                                          .inode = inode,
                                                          .size = (uint64_t)info.st_size,
                                                          .block = (size_t)((at + b) / HF_BLOCK),
                                                          .bytes = hf_lab_copied(now + b, HF_BLOCK)};
        }
    }
    close(fd);
}

/* Any moment, or, as often, one of the last. */
static size_t choose(const struct hf_stores *stores, size_t op, struct hf_random *random)
{
    enum { LAST = 12 };
    size_t before = 0;

    while (before < stores->notes && stores->note[before].op <= op)
        before++;
    if (before == 0)
        return 0;

    const size_t among = before > LAST && hf_random_chance(random, 1, 2) ? LAST : before;
    size_t at = before - (size_t)hf_random_below(random, among);

    /* All that was seen at one moment. */
    while (at < before && stores->note[at].op == stores->note[at - 1].op)
        at++;
    return at;
}

void hf_stores_put(const struct hf_stores *stores, struct hf_state *image, size_t op, struct hf_random *random)
{
    const size_t notes = choose(stores, op, random);

    for (uint32_t inode = 0; inode < stores->inodes && inode < image->inodes; inode++) {
        struct hf_file *file = &image->files[inode];

        if (stores->seen[inode].bytes == NULL || !file->used)
            continue;
        hf_file_cut(file, 0);
        for (size_t i = 0; i < notes; i++) {
            const struct note *note = &stores->note[i];

            if (note->inode != inode)
                continue;
            hf_file_reach(file, note->size);
            memcpy(hf_file_durable_block(file, note->block), note->bytes, HF_BLOCK);
            file->size = file->sizes[0] = note->size;
        }
        hf_file_reload(file);
    }
}

/*
 * toy_store.h: a small durable map, the first thing to be broken by the laboratory.
 * Included by toy_store.c, which is compiled once for each fault (toy.h).
 *
 *     0       4096    8192    12288
 *     +-------+-------+-------+---------------------------------------+
 *     | root  | root  | clean | group | group | group | (not in use)  |
 *     | even  | odd   | mark  |  tx 1 |  tx 2 |  tx 3 |               |
 *     +-------+-------+-------+---------------------------------------+
 *       tx 2    tx 3                          ^ root 3's tail
 *
 * A commit writes its group behind the last one, then the root in the slot that the last
 * commit did not use, then flushes once. The root has the group's checksum in it, so it
 * does not matter which of the two came to the disk: the newest root whose groups all
 * verify is the store. What it was passed over for is removed before anything is written:
 * the next commit could write what it waits for.
 *
 * The clean mark, flushed at closing and cleared before the first write, names the newest
 * root: where it is, nothing may be passed over.
 *
 * Failure: a commit that could not write its group has changed nothing. After a failure
 * behind that the store is broken, until it is opened again.
 */
#include "base/hash.h"
#include "base/memory.h"
#include "base/os.h"

#include "support.h"

#include <holdfast/status.h>

#include <fcntl.h>

enum {
    TOY_KEYS = 32,
    TOY_SECTOR = 512,
    TOY_PAIRS = 96, /* of one commit, at most */
    TOY_CLEAN = 8192,
    TOY_LOG = 12288,
    TOY_LARGEST = 1 << 20,
    TOY_ABSENT = 1, /* toy_open: there is none */
};

static const uint64_t toy_magic = 0x31796f7473656d61u;

/* A root, and the clean mark; in a sector of its own, alone. */
struct toy_root {
    uint64_t magic, txid, group, tail, group_sum, sum;
};

struct toy_pair {
    uint64_t key, value;
};

/* A group is an array of these. */
struct toy_record {
    struct toy_pair pair;
    uint64_t sum; /* for its place */
};

_Static_assert(sizeof(struct toy_root) == 48 && sizeof(struct toy_root) <= TOY_SECTOR, "a root is one sector");
_Static_assert(sizeof(struct toy_record) == 24, "a record is packed");

struct toy {
    int fd;
    bool broken, clean, stepped_back;
    struct toy_root root;
    uint64_t values[TOY_KEYS]; /* 0: absent */
};

static uint64_t toy_root_sum(const struct toy_root *root, off_t at)
{
    return hf_checksum64(root, offsetof(struct toy_root, sum), (uint64_t)at);
}

static uint64_t toy_record_sum(const struct toy_record *record, uint64_t at)
{
    return hf_checksum64(&record->pair, sizeof(record->pair), at);
}

static off_t toy_slot(uint64_t txid)
{
    return TOY_FAULT == toy_same_slot_fault ? 0 : (off_t)(txid % 2) * 4096;
}

static int toy_write(int fd, const void *bytes, size_t size, off_t at)
{
    if (TOY_FAULT == toy_short_write_fault) {
        ssize_t done = hf_os_pwrite(fd, bytes, size, at);

        return done < 0 ? hf_os_status((int)done) : 0;
    }
    return hf_os_status(hf_os_pwrite_all(fd, bytes, size, at));
}

static int toy_flush(int fd)
{
    int status = hf_os_fdatasync(fd);

    if (status < 0 && TOY_FAULT == toy_retry_flush_fault)
        status = hf_os_fdatasync(fd);
    return hf_os_status(status);
}

static int toy_flush_folder(const char *folder)
{
    int dir, status;

    if (TOY_FAULT == toy_no_dirsync_fault)
        return 0;
    dir = hf_os_open(folder, O_RDONLY | O_DIRECTORY, 0);
    if (dir < 0)
        return hf_os_status(dir);
    status = hf_os_status(hf_os_fsync(dir));
    hf_os_close(dir);
    return status;
}

/* A sector at `at`: this root, or zeros. */
static int toy_write_root(int fd, const struct toy_root *root, off_t at)
{
    uint8_t sector[TOY_SECTOR] = {0};
    struct toy_root sealed;

    if (root != NULL) {
        sealed = *root;
        sealed.sum = toy_root_sum(root, at);
        memcpy(sector, &sealed, sizeof(sealed));
    }
    return toy_write(fd, sector, sizeof(sector), at);
}

/* -- opening -- */

/* The values as of this root, from the whole file; false if something does not verify. */
static bool toy_replay(const uint8_t *bytes, uint64_t size, const struct toy_root *root, uint64_t *values)
{
    const bool checked = TOY_FAULT != toy_unchecked_fault;
    struct toy_record record;

    memset(values, 0, TOY_KEYS * sizeof(*values));
    if (root->group < TOY_LOG || root->tail < root->group || root->tail > size)
        return false;
    if (checked &&
        root->group_sum != hf_checksum64(bytes + root->group, (size_t)(root->tail - root->group), root->txid))
        return false;
    for (uint64_t at = TOY_LOG; at < root->tail; at += sizeof(record)) {
        if (root->tail - at < sizeof(record))
            return false;
        memcpy(&record, bytes + at, sizeof(record));
        if (checked && record.sum != toy_record_sum(&record, at))
            return false;
        values[record.pair.key % TOY_KEYS] = record.pair.value;
    }
    return true;
}

static bool toy_read_root(const uint8_t *bytes, off_t at, struct toy_root *root)
{
    memcpy(root, bytes + at, sizeof(*root));
    return root->magic == toy_magic && root->sum == toy_root_sum(root, at);
}

/* Choose the root, and say in *passed which slot has something that was passed over (-1: none). */
static int toy_choose(struct toy *toy, const uint8_t *bytes, uint64_t size, off_t *passed)
{
    struct toy_root slot[2], mark;
    bool valid[2];
    int newest;

    *passed = -1;
    for (int i = 0; i < 2; i++)
        valid[i] = toy_read_root(bytes, i * 4096, &slot[i]);
    toy->clean = toy_read_root(bytes, TOY_CLEAN, &mark);
    newest = valid[1] && (!valid[0] || slot[1].txid > slot[0].txid);
    for (int tries = 0; tries < 2; tries++) {
        const int i = tries == 0 ? newest : !newest;

        if (valid[i] && toy_replay(bytes, size, &slot[i], toy->values)) {
            const struct toy_root *other = &slot[!i];

            toy->root = slot[i];
            /* Also what is neither a root nor nothing was a newer root, for all we know. */
            if (valid[!i] ? other->txid > slot[i].txid : other->magic != 0)
                *passed = (off_t)!i * 4096;
            toy->stepped_back = *passed >= 0;
            return toy->clean && mark.txid != slot[i].txid ? HF_CORRUPT : 0;
        }
    }
    return HF_CORRUPT;
}

/*
 * Nobody has closed it: remove what was passed over, and write what was chosen once more, since it may be in the page
 * cache only, left there by a process that was killed before its flush, or whose flush failed. The same is true of
 * the store's name, and of the clean mark's not being there.
 */
static int toy_recover(struct toy *toy, const char *folder, const uint8_t *bytes, off_t passed)
{
    const struct toy_root *root = &toy->root;
    int status = 0;

    if (passed >= 0 && TOY_FAULT != toy_no_rollback_fault)
        status = toy_write_root(toy->fd, NULL, passed);
    if (TOY_FAULT == toy_no_reflush_fault)
        return status;
    if (status == 0)
        status = toy_write_root(toy->fd, NULL, TOY_CLEAN);
    if (status == 0 && root->tail > root->group)
        status = toy_write(toy->fd, bytes + root->group, (size_t)(root->tail - root->group), (off_t)root->group);
    if (status == 0)
        status = toy_write_root(toy->fd, root, toy_slot(root->txid));
    if (status == 0)
        status = toy_flush(toy->fd);
    return status == 0 ? toy_flush_folder(folder) : status;
}

static int toy_open(const char *folder, const char *path, struct toy *toy)
{
    struct stat info;
    uint8_t *bytes = NULL;
    off_t passed = -1;
    int status;

    *toy = (struct toy){.fd = hf_os_open(path, O_RDWR, 0)};
    if (toy->fd < 0)
        return toy->fd == -ENOENT ? TOY_ABSENT : hf_os_status(toy->fd);
    status = hf_os_status(hf_os_fstat(toy->fd, &info));
    if (status < 0)
        goto fail;
    status = HF_CORRUPT;
    if (info.st_size < TOY_LOG || info.st_size > TOY_LARGEST)
        goto fail;
    bytes = hf_alloc((size_t)info.st_size);
    if (bytes == NULL) {
        status = HF_NOMEM;
        goto fail;
    }
    if (hf_os_pread_all(toy->fd, bytes, (size_t)info.st_size, 0) != info.st_size) {
        status = HF_IO;
        goto fail;
    }
    status = toy_choose(toy, bytes, (uint64_t)info.st_size, &passed);
    if (status == 0 && !toy->clean)
        status = toy_recover(toy, folder, bytes, passed);
    if (status < 0)
        goto fail;
    hf_free(bytes);
    return 0;

fail:
    hf_free(bytes);
    if (TOY_FAULT != toy_leak_fault)
        hf_os_close(toy->fd);
    return status;
}

/* Under another name, flushed, renamed, and the name flushed. */
static int toy_create(const char *folder, const char *path, const char *other)
{
    const struct toy_root root = {
        .magic = toy_magic, .group = TOY_LOG, .tail = TOY_LOG, .group_sum = hf_checksum64("", 0, 0)};
    uint8_t zeros[TOY_LOG] = {0};
    int fd = hf_os_open(other, O_RDWR | O_CREAT | O_TRUNC, 0600);
    int status = hf_os_status(fd);

    if (fd >= 0)
        status = toy_write(fd, zeros, sizeof(zeros), 0);
    if (status == 0)
        status = toy_write_root(fd, &root, 0);
    if (status == 0)
        status = toy_flush(fd);
    if (status == 0)
        status = hf_os_status(hf_os_rename(other, path));
    if (status == 0)
        status = toy_flush_folder(folder);
    if (fd >= 0)
        hf_os_close(fd);
    return status;
}

/* -- using -- */

static uint64_t toy_digest(const uint64_t *values)
{
    return hf_hash_bytes(values, TOY_KEYS * sizeof(*values), toy_magic);
}

static void toy_apply(uint64_t *values, const struct toy_pair *pairs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        values[pairs[i].key] = pairs[i].value;
}

static int toy_clear_mark(struct toy *toy)
{
    int status = toy_write_root(toy->fd, NULL, TOY_CLEAN);

    if (status == 0 && TOY_FAULT != toy_late_clear_fault)
        status = toy_flush(toy->fd);
    toy->clean = false;
    return status;
}

static int toy_commit(struct toy *toy, const struct toy_pair *pairs, size_t count)
{
    struct toy_record group[TOY_PAIRS];
    struct toy_root root = {.magic = toy_magic, .txid = toy->root.txid + 1, .group = toy->root.tail};
    const size_t size = count * sizeof(group[0]);
    uint64_t before[TOY_KEYS];
    int status;

    if (toy->broken)
        return HF_IO;
    if (toy->clean && (status = toy_clear_mark(toy)) < 0) {
        toy->broken = true;
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        group[i].pair = pairs[i];
        group[i].sum = toy_record_sum(&group[i], root.group + i * sizeof(group[0]));
    }
    root.group_sum = hf_checksum64(group, size, root.txid);
    root.tail = root.group + size;
    memcpy(before, toy->values, sizeof(before));
    toy_apply(toy->values, pairs, count);

    if (TOY_FAULT != toy_root_early_fault && (status = toy_write(toy->fd, group, size, (off_t)root.group)) < 0) {
        if (TOY_FAULT != toy_no_undo_fault)
            memcpy(toy->values, before, sizeof(before));
        return status;
    }
    status = toy_write_root(toy->fd, &root, toy_slot(root.txid));
    if (status == 0 && TOY_FAULT != toy_missing_flush_fault)
        status = toy_flush(toy->fd);
    if (status == 0 && TOY_FAULT == toy_root_early_fault)
        status = toy_write(toy->fd, group, size, (off_t)root.group);
    if (status < 0) {
        toy->broken = true;
        return status;
    }
    toy->root = root;
    return 0;
}

static int toy_close(struct toy *toy)
{
    int status = 0, closed;

    if (!toy->broken && !toy->clean) {
        status = toy_write_root(toy->fd, &toy->root, TOY_CLEAN);
        if (status == 0)
            status = toy_flush(toy->fd);
    }
    closed = hf_os_status(hf_os_close(toy->fd));
    return status < 0 ? status : closed;
}

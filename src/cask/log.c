/*
 * log.c: see log.h.
 */
#include "cask/log.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/os.h"

#include <holdfast/status.h>

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* -- names -- */

enum { DIGITS = 10 };

void hf_log_name(uint32_t number, const char *suffix, char out[HF_LOG_NAME_SIZE])
{
    int size = snprintf(out, HF_LOG_NAME_SIZE, "%0*u%s", DIGITS, number, suffix);

    HF_ASSERT(size > 0 && size < HF_LOG_NAME_SIZE);
    (void)size;
}

uint32_t hf_log_name_number(const char *name, const char *suffix)
{
    uint64_t number = 0;

    for (unsigned i = 0; i < DIGITS; i++) {
        if (name[i] < '0' || name[i] > '9')
            return 0;
        number = 10 * number + (uint64_t)(name[i] - '0');
    }
    return strcmp(name + DIGITS, suffix) == 0 && number < HF_CASK_FILES ? (uint32_t)number : 0;
}

/* -- files -- */

static uint64_t head_checksum(const struct hf_log_head *head)
{
    return hf_checksum64(head, offsetof(struct hf_log_head, checksum), HF_CASK_LOG_MAGIC);
}

static int head_check(const struct hf_log_head *head, const uint64_t id[2], uint32_t number)
{
    static const struct hf_log_head nothing;

    if (memcmp(head, &nothing, sizeof nothing) == 0)
        return HF_CORRUPT;
    if (head->magic != HF_CASK_LOG_MAGIC)
        return head->magic == __builtin_bswap64(HF_CASK_LOG_MAGIC) ? HF_FORMAT : HF_NOT_CASK;
    if (head->format != HF_CASK_FORMAT)
        return HF_FORMAT;
    if (head->checksum != head_checksum(head) || head->id[0] != id[0] || head->id[1] != id[1] ||
        head->number != number || (head->kind != HF_LOG_WRITTEN && head->kind != HF_LOG_MERGED) ||
        head->created > INT64_MAX)
        return HF_CORRUPT;
    return 0;
}

/* Maps `size` bytes, which may be more than the file has. */
static int file_new(int fd, uint64_t size, hf_log_file **out)
{
    hf_log_file *file = hf_alloc(sizeof *file);
    void *mapped;
    int result;

    if (file == NULL)
        return HF_NOMEM;
    result = hf_os_mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0, &mapped);
    if (result < 0) {
        hf_free(file);
        return hf_os_status(result);
    }
    memset(file, 0, sizeof *file);
    atomic_init(&file->count, 1);
    file->bytes = mapped;
    file->mapped = size;
    *out = file;
    return 0;
}

static void file_is(hf_log_file *file, const uint64_t id[2], uint32_t number, enum hf_log_kind kind, uint64_t end)
{
    file->number = number;
    file->kind = kind;
    file->salt = hf_log_salt_of(id, number);
    atomic_init(&file->end, end);
}

/* `head` is NULL where it is not to be looked at. */
static int map(int fd, uint64_t size, struct hf_log_head *head, hf_log_file **out, uint64_t *end)
{
    struct stat found;
    int result = hf_os_fstat(fd, &found);

    if (result < 0)
        return hf_os_status(result);
    if (!S_ISREG(found.st_mode))
        return HF_NOT_CASK;
    if ((uint64_t)found.st_size > HF_CASK_FILE_MAX)
        return HF_LIMIT;
    *end = (uint64_t)found.st_size;
    if (head != NULL) {
        int64_t got = hf_os_pread_all(fd, head, sizeof *head, 0);
        if (got < 0)
            return hf_os_status((int)got);
        if (got < (int64_t)sizeof *head)
            return HF_CORRUPT;
    }
    size = size < *end ? *end : size;
    return file_new(fd, size == 0 ? 1 : size, out);
}

static int open_as(int folder, const uint64_t id[2], uint32_t number, int kind, uint64_t size, hf_log_file **out)
{
    char name[HF_LOG_NAME_SIZE];
    struct hf_log_head head;
    hf_log_file *file = NULL;
    uint64_t end;
    int fd, status;

    hf_log_name(number, HF_LOG_SUFFIX, name);
    /* Not to wait for somebody's pipe. */
    HF_OS_RETRY(fd, hf_os_openat(folder, name, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0));
    if (fd < 0)
        return fd == -ENXIO ? HF_NOT_CASK : hf_os_file_status(fd);
    status = map(fd, size, kind == 0 ? &head : NULL, &file, &end);
    hf_os_close(fd);
    if (status == 0 && kind == 0)
        status = head_check(&head, id, number);
    if (status < 0) {
        hf_log_drop(file);
        return status;
    }
    file_is(file, id, number, kind == 0 ? head.kind : (enum hf_log_kind)kind, end);
    file->created = kind == 0 ? head.created : 0;
    file->after = kind == 0 ? head.after : 0;
    *out = file;
    return 0;
}

int hf_log_open(int folder, const uint64_t id[2], uint32_t number, uint64_t size, hf_log_file **out)
{
    return open_as(folder, id, number, 0, size, out);
}

int hf_log_open_damaged(int folder, const uint64_t id[2], uint32_t number, enum hf_log_kind kind, uint64_t size,
                        hf_log_file **out)
{
    return open_as(folder, id, number, (int)kind, size, out);
}

void hf_log_keep(hf_log_file *file)
{
    atomic_fetch_add_explicit(&file->count, 1, memory_order_relaxed);
}

void hf_log_drop(hf_log_file *file)
{
    if (file == NULL || atomic_fetch_sub_explicit(&file->count, 1, memory_order_acq_rel) > 1)
        return;
    void *mapped = (void *)(uintptr_t)file->bytes;
    hf_os_munmap(mapped, file->mapped);
    hf_free(file);
}

/* -- sets -- */

static void set_add(hf_log_set *set, hf_log_file *file)
{
    uint32_t i = file->number & set->mask;

    while (set->slot[i] != NULL)
        i = (i + 1) & set->mask;
    hf_log_keep(file);
    set->slot[i] = file;
    set->files++;
}

int hf_log_set_change(const hf_log_set *old, uint32_t without, hf_log_file *with, hf_log_set **out)
{
    uint32_t most = (old == NULL ? 0 : old->files) + 1, slots = 4;
    hf_log_set *set;

    while (slots < 2 * most)
        slots *= 2;
    size_t size = sizeof *set + slots * sizeof *set->slot;
    set = hf_alloc(size);
    if (set == NULL)
        return HF_NOMEM;
    memset(set, 0, size);
    atomic_init(&set->count, 1);
    set->mask = slots - 1;
    for (uint32_t i = 0; old != NULL && i <= old->mask; i++) {
        hf_log_file *file = old->slot[i];
        if (file != NULL && file->number != without && (with == NULL || file->number != with->number))
            set_add(set, file);
    }
    if (with != NULL)
        set_add(set, with);
    *out = set;
    return 0;
}

void hf_log_set_keep(hf_log_set *set)
{
    atomic_fetch_add_explicit(&set->count, 1, memory_order_relaxed);
}

void hf_log_set_drop(hf_log_set *set)
{
    if (set == NULL || atomic_fetch_sub_explicit(&set->count, 1, memory_order_acq_rel) > 1)
        return;
    for (uint32_t i = 0; i <= set->mask; i++)
        hf_log_drop(set->slot[i]);
    hf_free(set);
}

/* -- a writer -- */

/* Takes the descriptor and a count of the file. */
static void writer_init(hf_log_writer *writer, int fd, hf_log_file *file, uint64_t end, uint64_t synced,
                        uint64_t step, uint64_t limit)
{
    writer->fd = fd;
    writer->file = file;
    writer->end = writer->written = end;
    writer->step = step;
    writer->limit = limit;
    writer->total = 0;
    writer->torn = false;
    atomic_init(&writer->synced, synced);
    atomic_init(&writer->broken, 0);
}

static int write_head(int fd, const uint64_t id[2], uint32_t number, enum hf_log_kind kind, int64_t time,
                      uint64_t after)
{
    struct hf_log_head head = {
        .magic = HF_CASK_LOG_MAGIC,
        .format = HF_CASK_FORMAT,
        .kind = kind,
        .id = {id[0], id[1]},
        .number = number,
        .created = (uint64_t)time,
        .after = after,
    };
    int result;

    head.checksum = head_checksum(&head);
    result = hf_os_pwrite_all(fd, &head, sizeof head, 0);
    return result < 0 ? hf_os_file_status(result) : 0;
}

int hf_log_create(int folder, const uint64_t id[2], uint32_t number, enum hf_log_kind kind, int64_t time,
                  uint64_t after, uint64_t most, uint64_t step, hf_log_writer *out)
{
    char name[HF_LOG_NAME_SIZE];
    hf_log_file *file = NULL;
    uint64_t limit;
    int fd, status, result = hf_os_size_limit(&limit);

    HF_ASSERT(number > 0 && number < HF_CASK_FILES && time >= 0);
    HF_ASSERT(most > HF_CASK_DATA_AT && most <= HF_CASK_FILE_MAX);
    if (result == 0 && limit < HF_CASK_DATA_AT)
        result = -EFBIG;
    if (result < 0)
        return hf_os_file_status(result);
    hf_log_name(number, HF_LOG_SUFFIX, name);
    HF_OS_RETRY(fd, hf_os_openat(folder, name, O_RDWR | O_CREAT | O_EXCL, 0600));
    if (fd < 0)
        return hf_os_file_status(fd);
    status = write_head(fd, id, number, kind, time, after);
    if (status == 0)
        status = file_new(fd, most, &file);
    if (status < 0) {
        hf_os_close(fd);
        hf_os_unlinkat(folder, name, 0);
        return status;
    }
    file_is(file, id, number, kind, HF_CASK_DATA_AT);
    file->created = (uint64_t)time;
    file->after = after;
    writer_init(out, fd, file, HF_CASK_DATA_AT, 0, step, limit);
    out->total = HF_CASK_DATA_AT;
    return 0;
}

/* Cuts what is behind `end`, durably: what is written there next is not to be followed by it after a power cut. */
static int cut_for_good(int fd, uint64_t end)
{
    struct stat found;
    int result = hf_os_fstat(fd, &found);

    if (result < 0)
        return hf_os_status(result);
    if ((uint64_t)found.st_size <= end)
        return (uint64_t)found.st_size < end ? HF_CORRUPT : 0;
    HF_OS_RETRY(result, hf_os_ftruncate(fd, (off_t)end));
    if (result < 0)
        return hf_os_file_status(result);
    result = hf_os_fdatasync(fd);
    if (result < 0)
        hf_os_status(result); /* for hf_os_errno */
    return result < 0 ? HF_BROKEN : 0;
}

int hf_log_resume(int folder, hf_log_file *file, uint64_t end, uint64_t synced, uint64_t step, hf_log_writer *out)
{
    char name[HF_LOG_NAME_SIZE];
    uint64_t limit;
    int fd, status, result = hf_os_size_limit(&limit);

    HF_ASSERT(end >= HF_CASK_DATA_AT && end <= file->mapped && end % HF_CASK_ALIGN == 0 && synced <= end);
    if (result < 0)
        return hf_os_status(result);
    hf_log_name(file->number, HF_LOG_SUFFIX, name);
    HF_OS_RETRY(fd, hf_os_openat(folder, name, O_RDWR | O_NONBLOCK | O_NOCTTY, 0));
    if (fd < 0)
        return hf_os_file_status(fd);
    status = cut_for_good(fd, end);
    if (status < 0) {
        hf_os_close(fd);
        return status;
    }
    hf_log_keep(file);
    writer_init(out, fd, file, end, synced, step, limit);
    return 0;
}

/* Makes the file end where the records do. */
static int cut(hf_log_writer *writer)
{
    int result;

    HF_OS_RETRY(result, hf_os_ftruncate(writer->fd, (off_t)writer->end));
    if (result < 0)
        return hf_os_file_status(result);
    writer->written = writer->end;
    writer->torn = false;
    return 0;
}

/*
 * Zeros, from the end of the file to the next step behind its records. Where there is no space for them it goes
 * without: the append that needs the space will say so.
 */
static void write_ahead(hf_log_writer *writer)
{
    static const unsigned char zeros[1 << 16];
    uint64_t most = writer->file->mapped < writer->limit ? writer->file->mapped : writer->limit;
    uint64_t to = writer->end + writer->step;

    for (to = to < most ? to : most; writer->written < to;) {
        uint64_t part = to - writer->written < sizeof zeros ? to - writer->written : sizeof zeros;
        if (hf_os_pwrite_all(writer->fd, zeros, part, (off_t)writer->written) < 0)
            return;
        writer->written += part;
        writer->total += part;
    }
}

int hf_log_append(hf_log_writer *writer, const void *bytes, size_t size)
{
    int result;

    HF_ASSERT(writer->fd >= 0 && size % HF_CASK_ALIGN == 0);
    if (atomic_load_explicit(&writer->broken, memory_order_relaxed) != 0)
        return HF_BROKEN;
    if (size > writer->file->mapped - writer->end)
        return HF_LIMIT;
    if (writer->torn && (result = cut(writer)) < 0)
        return result;
    if (writer->end + size > writer->limit && (result = hf_os_size_limit(&writer->limit)) < 0)
        return hf_os_status(result);
    if (writer->end + size > writer->limit)
        return hf_os_file_status(-EFBIG);
    result = hf_os_pwrite_all(writer->fd, bytes, size, (off_t)writer->end);
    if (result < 0) {
        /* The status of the write counts; where this fails the next append tries again. */
        writer->torn = true;
        cut(writer);
        return hf_os_file_status(result);
    }
    writer->end += size;
    writer->total += size;
    if (writer->end > writer->written) {
        writer->written = writer->end;
        if (writer->step > 0)
            write_ahead(writer);
    }
    return 0;
}

static int flush(hf_log_writer *writer, uint64_t upto)
{
    int result;

    if (atomic_load_explicit(&writer->broken, memory_order_relaxed) != 0)
        return HF_BROKEN;
    result = hf_os_fdatasync(writer->fd);
    if (result < 0) {
        hf_os_status(result); /* for hf_os_errno */
        atomic_store_explicit(&writer->broken, result, memory_order_relaxed);
        return HF_BROKEN;
    }
    atomic_store_explicit(&writer->synced, upto, memory_order_relaxed);
    return 0;
}

int hf_log_flush(hf_log_writer *writer, uint64_t upto)
{
    bool done = upto <= atomic_load_explicit(&writer->synced, memory_order_relaxed);

    return done && atomic_load_explicit(&writer->broken, memory_order_relaxed) == 0 ? 0 : flush(writer, upto);
}

int hf_log_cut(hf_log_writer *writer)
{
    if (!writer->torn && writer->written <= writer->end)
        return 0;
    int status = cut(writer);
    /* The length is to be durable too. */
    if (status == 0)
        atomic_store_explicit(&writer->synced, 0, memory_order_relaxed);
    return status;
}

int hf_log_seal(hf_log_writer *writer)
{
    int status;

    if (writer->fd < 0)
        return 0;
    if (atomic_load_explicit(&writer->broken, memory_order_relaxed) != 0)
        return HF_BROKEN;
    if (writer->torn || writer->written > writer->end) {
        status = cut(writer);
        if (status < 0)
            return status;
    }
    /* Also where all records are synced: the length has to be durable too. */
    status = flush(writer, writer->end);
    if (status < 0)
        return status;
    hf_os_close(writer->fd);
    writer->fd = -1;
    return 0;
}

void hf_log_writer_close(hf_log_writer *writer)
{
    if (writer->fd >= 0)
        hf_os_close(writer->fd);
    hf_log_drop(writer->file);
    writer->fd = -1;
    writer->file = NULL;
}

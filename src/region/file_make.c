/*
 * file_make.c: makes a region in a file.
 *
 *      FILE.new-<random>    all of it is written, flushed and closed under this name
 *           |
 *           v  renamed, unless the name is taken; then the folder is flushed
 *      FILE                 superblock, first root, a clean mark
 *
 * So there is no FILE, or a whole one, whenever the maker is killed or the power goes.
 *
 * Concurrency: two makers have two files, and one of them gets the name. Failure: the file is removed.
 */
#include "region/file.h"
#include "region/place.h"

#include <stdio.h>

/* Superblock, the first root, a clean mark. */
static int fill_pages(char *pages, const uint64_t *seed)
{
    struct hf_superblock *super = (struct hf_superblock *)(void *)pages;
    struct hf_root *root = (struct hf_root *)(void *)(pages + HF_FILE_ROOT_AT);
    struct hf_clean *clean = (struct hf_clean *)(void *)(pages + HF_FILE_CLEAN_AT);
    uint64_t random[3];
    int result = hf_os_getrandom_all(random, sizeof random);

    if (result < 0)
        return hf_region_status(result);
    *super = (struct hf_superblock){
        .magic = HF_FILE_MAGIC,
        .endian = HF_REGION_ENDIAN,
        .format = HF_FILE_FORMAT,
        .page_size = HF_REGION_PAGE,
        .compatible = HF_FILE_COMPATIBLE,
        .incompatible = HF_FILE_INCOMPATIBLE,
        .id = {random[0], random[1]},
        .seed = seed != NULL ? *seed : random[2],
        .record_size = sizeof(struct hf_root),
        .heap_at = HF_FILE_HEAP_AT,
    };
    super->checksum = hf_super_checksum(super);
    *root = (struct hf_root){.magic = HF_FILE_ROOT_MAGIC, .id = {random[0], random[1]}};
    root->version = (struct hf_version){.txid = 1, .top = HF_FILE_HEAP_AT};
    root->state.durable = 1;
    root->state.flushes = 1;
    root->checksum = hf_root_checksum(root);
    *clean = (struct hf_clean){
        .magic = HF_FILE_CLEAN_MAGIC,
        .id = {random[0], random[1]},
        .txid = 1,
        .root_checksum = root->checksum,
    };
    clean->checksum = hf_clean_checksum(clean);
    return 0;
}

static int write_new(int fd, const uint64_t *seed)
{
    enum { SIZE = HF_FILE_HEAP_AT + HF_REGION_PAGE };
    char *pages = hf_alloc(SIZE);
    uint64_t most;
    int status;

    if (pages == NULL)
        return HF_NOMEM;
    memset(pages, 0, SIZE);
    status = hf_file_limit(&most);
    if (status == 0)
        status = most < SIZE ? hf_region_status(-EFBIG) : fill_pages(pages, seed);
    if (status == 0) {
        int result = hf_os_pwrite_all(fd, pages, SIZE, 0);
        if (result == 0)
            result = hf_os_fsync(fd);
        status = result < 0 ? hf_region_status(result) : 0;
    }
    hf_free(pages);
    return status;
}

/* Flushes the folder that a path is in. */
int hf_file_flush_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t size = slash == NULL ? 1 : slash == path ? 1 : (size_t)(slash - path);
    char *folder = hf_alloc(size + 1);
    int fd, result;

    if (folder == NULL)
        return HF_NOMEM;
    memcpy(folder, slash == NULL ? "." : path, size);
    folder[size] = '\0';
    HF_OS_RETRY(fd, hf_os_open(folder, O_RDONLY | O_DIRECTORY, 0));
    hf_free(folder);
    if (fd < 0)
        return hf_region_status(fd);
    result = hf_os_fsync(fd);
    hf_os_close(fd);
    return result < 0 ? hf_region_status(result) : 0;
}

/* Gives the new file its name, if nothing has it: 0, -EEXIST or another errno. */
static int give_name(const char *from, const char *to)
{
    int result = hf_os_renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);

    if (result != -EINVAL && result != -ENOSYS)
        return result;
    /* A file system that cannot. */
    result = hf_os_link(from, to);
    return result < 0 ? result : hf_os_unlink(from);
}

int hf_file_name(const char *from, const char *to)
{
    int result = give_name(from, to);

    return result < 0 ? hf_region_status(result) : hf_file_flush_folder(to);
}

int hf_file_make(const char *path, const uint64_t *seed)
{
    uint64_t random;
    size_t size = strlen(path) + 32;
    char *other;
    int result = hf_os_getrandom_all(&random, sizeof random), fd, status;

    if (result < 0)
        return hf_region_status(result);
    other = hf_alloc(size);
    if (other == NULL)
        return HF_NOMEM;
    snprintf(other, size, "%s.new-%016llx", path, (unsigned long long)random);
    HF_OS_RETRY(fd, hf_os_open(other, O_RDWR | O_CREAT | O_EXCL, 0600));
    if (fd < 0) {
        status = hf_region_status(fd);
        goto done;
    }
    status = hf_place_refuse_network(fd);
    if (status == 0)
        status = write_new(fd, seed);
    hf_os_close(fd);
    if (status == 0)
        status = hf_file_name(other, path);
    if (status < 0)
        hf_os_unlink(other);
done:
    hf_free(other);
    return status;
}

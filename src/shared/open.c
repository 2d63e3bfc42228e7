/*
 * open.c: names, opening and closing, and which maps there are on this machine.
 *
 *      NAME  <-->  /dev/shm/NAME      as it is, so that what other tools show is what was asked for
 *
 * A map that is being looked for is known by the magic that its region begins with. Everything else in /dev/shm is left
 * alone: not opened for writing, not unlinked.
 *
 * Concurrency: a list is of files that may come and go while it is made; those that are gone are not in it. Failure: what
 * was opened is closed again.
 */
#include "shared/shared.h"

#include "base/memory.h"
#include "base/os.h"

static const char folder[] = "/dev/shm";

/* About what an entry takes, with a key and a value of some 30 bytes each. */
enum { ENTRY_BYTES = 128, LEAST_SIZE = 4 << 20 };

const char *hf_shared_name_fault(const char *name)
{
    size_t size = strlen(name);

    if (size == 0)
        return "it is empty";
    if (size > HF_SHARED_NAME_MAX)
        return "it is longer than 250 bytes";
    if (strchr(name, '/') != NULL)
        return "there is a '/' in it";
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return "it means a folder";
    return NULL;
}

static int path_of(const char *name, char path[HF_SHARED_NAME_MAX + 2])
{
    if (hf_shared_name_fault(name) != NULL)
        return HF_INVALID;
    path[0] = '/';
    memcpy(path + 1, name, strlen(name) + 1);
    return 0;
}

static const hf_shared_options standard = {.mode = HF_SHARED_EITHER, .timeout = -1};

static int region_options(const hf_shared_options *options, hf_region_options *out)
{
    static const hf_region_mode modes[] = {
        [HF_SHARED_EITHER] = HF_REGION_EITHER,
        [HF_SHARED_CREATE] = HF_REGION_CREATE,
        [HF_SHARED_ATTACH] = HF_REGION_ATTACH,
    };

    if ((unsigned)options->mode > HF_SHARED_ATTACH || (options->max_size > 0 && options->max_size < LEAST_SIZE))
        return HF_INVALID;
    *out = (hf_region_options){
        .mode = modes[options->mode],
        .timeout = options->timeout,
        .any_owner = options->any_owner,
        .permissions = options->permissions,
        .limit = options->max_size,
    };
    if (__builtin_mul_overflow(options->capacity, (uint64_t)ENTRY_BYTES, &out->room))
        out->room = UINT64_MAX;
    return 0;
}

/* A handle of a region, which it takes over if this succeeds. */
static int handle_new(hf_region *region, const char *path, int64_t timeout, hf_shared **out)
{
    hf_shared *map = hf_alloc(sizeof *map);

    if (map == NULL)
        return HF_NOMEM;
    *map = (hf_shared){.region = region, .seed = hf_region_seed(region), .timeout = timeout};
    hf_region_inode(region, map->inode);
    memcpy(map->path, path, strlen(path) + 1);
    *out = map;
    return 0;
}

/* By its name; or, unless `fd` is NULL, by that descriptor. */
static int open_map(const char *name, const int *fd, const hf_shared_options *options, hf_shared **out)
{
    char path[HF_SHARED_NAME_MAX + 2];
    hf_region_options how;
    hf_region *region;

    if (options == NULL)
        options = &standard;
    int status = path_of(name, path);
    if (status == 0)
        status = region_options(options, &how);
    if (status == 0)
        status = fd == NULL ? hf_region_open(path, &how, &region) : hf_region_open_fd(*fd, &how, &region);
    if (status < 0)
        return status;
    status = handle_new(region, path, options->timeout, out);
    if (status < 0)
        hf_region_close(region);
    return status;
}

int hf_shared_open(const char *name, const hf_shared_options *options, hf_shared **out)
{
    return open_map(name, NULL, options, out);
}

int hf_shared_open_fd(int fd, const char *name, const hf_shared_options *options, hf_shared **out)
{
    return open_map(name, &fd, options, out);
}

int hf_shared_close(hf_shared *map)
{
    if (map == NULL)
        return 0;
    int status = hf_region_close(map->region);
    if (status < 0)
        return status;
    hf_free(map);
    return 0;
}

int hf_shared_unlink(const char *name)
{
    char path[HF_SHARED_NAME_MAX + 2];
    int status = path_of(name, path);

    return status < 0 ? status : hf_region_unlink_segment(path);
}

int hf_shared_unlink_own(hf_shared *map)
{
    return hf_region_unlink_inode(map->path, map->inode);
}

const char *hf_shared_name(const hf_shared *map)
{
    return map->path + 1;
}

/* -- which there are -- */

/* 1 if this is a map that we may look at, 0 if it is anything else, or is gone. */
static int look(const char *name, hf_shared_info *out)
{
    char path[HF_SHARED_NAME_MAX + 2];
    hf_region_info info;
    int status = path_of(name, path);

    if (status == 0)
        status = hf_region_look(path, &info);
    if (status == HF_INVALID || status == HF_ABSENT || status == HF_DENIED || status == HF_NOT_REGION)
        return 0;
    if (status < 0)
        return status;
    *out = (hf_shared_info){
        .name = name,
        .size = info.size,
        .owner = info.owner,
        .permissions = info.permissions,
        .created = info.created,
        .is_open = info.is_open,
    };
    return 1;
}

int hf_shared_list(int (*visit)(void *arg, const hf_shared_info *info), void *arg)
{
    char name[HF_OS_NAME_SIZE];
    hf_shared_info info;
    struct hf_os_dir *dir;
    int status = hf_os_opendir(folder, &dir);

    if (status < 0)
        return hf_os_status(status);
    do {
        status = hf_os_readdir(dir, name);
        if (status <= 0) {
            status = hf_os_status(status);
            break;
        }
        status = look(name, &info);
        if (status > 0)
            status = visit(arg, &info);
    } while (status == 0);
    hf_os_closedir(dir);
    return status;
}

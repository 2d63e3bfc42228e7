/*
 * place.c: where a file is. See place.h.
 *
 *      path ---> folder / name ---- a link ---> folder / name ---- no link ---> is it the file?
 *
 * Each step opens the next folder from the one before, so a link that is relative is so to its own folder, and what
 * the path meant at the time of a step is not asked again.
 */
#include "region/place.h"

#include "region/impl.h"

#include <stdio.h>

enum { HOPS = 40, PATH_SIZE = 4096 };

/* Opens the folder of a path that begins at `dir`; the rest of the path is *name. */
static int open_folder(int dir, const char *path, const char **name)
{
    char folder[PATH_SIZE];
    const char *slash = strrchr(path, '/');
    int fd;

    *name = slash != NULL ? slash + 1 : path;
    size_t length = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    if (length >= sizeof folder)
        return HF_INVALID;
    memcpy(folder, length > 0 ? path : ".", length > 0 ? length : 1);
    folder[length > 0 ? length : 1] = '\0';
    HF_OS_RETRY(fd, hf_os_openat(dir, folder, O_PATH | O_DIRECTORY, 0));
    return fd < 0 ? hf_region_status(fd) : fd;
}

/* One step of the way: *out: the folder and the name that the path says; 1 and *found: what has that name, itself; 0: nothing
 * has it. */
static int step(int dir, const char *path, struct hf_place *out, struct stat *found)
{
    const char *name;
    int fd = open_folder(dir, path, &name), result;

    if (fd < 0)
        return fd;
    HF_OS_RETRY(result, hf_os_fstatat(fd, name, found, AT_SYMLINK_NOFOLLOW));
    int status = result == -ENOENT ? 0 : result < 0 ? hf_region_status(result) : 1;
    if (status >= 0 && strlen(name) >= HF_OS_NAME_SIZE)
        status = HF_INVALID;
    if (status < 0) {
        hf_os_close(fd);
        return status;
    }
    snprintf(out->name, sizeof out->name, "%s", name);
    out->dir = fd;
    return status;
}

static int read_link(const struct hf_place *place, char target[PATH_SIZE])
{
    ssize_t length;

    HF_OS_RETRY(length, hf_os_readlinkat(place->dir, place->name, target, PATH_SIZE - 1));
    if (length < 0)
        return hf_region_status((int)length);
    target[length] = '\0';
    return 0;
}

/* All the way: 1 and *found: what is there, which is no link; 0: nothing. */
static int follow(const char *path, struct hf_place *out, struct stat *found)
{
    char target[PATH_SIZE];
    struct hf_place place = {.dir = AT_FDCWD};

    for (int hop = 0; hop < HOPS; hop++) {
        int from = place.dir;
        int status = step(from, path, &place, found);
        if (from >= 0)
            hf_os_close(from);
        if (status < 0)
            return status;
        if (status == 0 || !S_ISLNK(found->st_mode)) {
            *out = place;
            return status;
        }
        status = read_link(&place, target);
        path = target;
        if (status < 0) {
            hf_os_close(place.dir);
            return status;
        }
    }
    hf_os_close(place.dir);
    return HF_INVALID;
}

int hf_place_find(const char *path, const struct stat *file, const char *suffix, struct hf_place *out)
{
    struct hf_place place;
    struct stat found;
    int there = follow(path, &place, &found), status = 0;

    if (there < 0)
        return there;
    if (there == 0 || found.st_dev != file->st_dev || found.st_ino != file->st_ino)
        status = HF_ABSENT;
    else if (strlen(place.name) + strlen(suffix) >= sizeof place.name)
        status = HF_INVALID;
    if (status < 0) {
        hf_os_close(place.dir);
        return status;
    }
    memcpy(place.name + strlen(place.name), suffix, strlen(suffix) + 1);
    *out = place;
    return 0;
}

int hf_place_vacant(const char *path, struct hf_place *out)
{
    struct hf_place place;
    struct stat found;
    int there = follow(path, &place, &found);

    if (there == 0)
        *out = place;
    else if (there == 1)
        hf_os_close(place.dir);
    return there == 1 ? HF_EXISTS : there;
}

/* -- file systems -- */

int hf_place_refuse_network(int fd)
{
    static const uint32_t shared[] = {
        0x00006969, /* nfs */
        0x0000517b, /* smb */
        0xff534d42, /* cifs */
        0xfe534d42, /* smb2 */
        0x5346414f, /* afs */
        0x6b414653, /* kafs */
        0x73757245, /* coda */
        0x0000564c, /* ncp */
        0x00c36400, /* ceph */
        0x0bd00bd0, /* lustre */
        0x47504653, /* gpfs */
        0x01021997, /* 9p */
        0x65735546, /* fuse: sshfs and its like, virtiofs */
        0x7461636f, /* ocfs2 */
        0x01161970, /* gfs, gfs2 */
        0x20030528, /* orangefs */
        0x19830326, /* beegfs */
        0xaad7aaea, /* panfs */
        0x61636673, /* acfs */
        0x013111a8, /* ibrix */
        0xbeefdead, /* snfs */
        0xbacbacbc, /* vmhgfs */
        0x786f4256, /* vboxsf */
        0x7c7c6673, /* prl_fs */
    };
    struct statfs system;
    int result;

    HF_OS_RETRY(result, hf_os_fstatfs(fd, &system));
    if (result < 0)
        return hf_region_status(result);
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++)
        if ((uint32_t)system.f_type == shared[i])
            return HF_NETWORK;
    return 0;
}

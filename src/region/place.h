/*
 * place.h: where a file is: the folder in which something can be put beside it, and what kind of file system that is
 * on.
 *
 * Concurrency: functions of the system's state only. Failure: nothing stays open.
 */
#ifndef HF_REGION_PLACE_H
#define HF_REGION_PLACE_H

#include "base/os.h"

struct hf_place {
    int dir; /* the folder, as O_PATH: the caller's to close */
    char name[HF_OS_NAME_SIZE];
};

/*
 * Where the path leads, by way of symbolic links: the folder of what is there at last, and its name with the suffix
 * behind it. HF_ABSENT if what is there is not `file`: the path leads nowhere, or elsewhere by now. HF_INVALID: too
 * many links, too long a path, or no room for the suffix in a name. HF_DENIED, HF_IO.
 */
int hf_place_find(const char *path, const struct stat *file, const char *suffix, struct hf_place *out);

/* Where the path leads, if nothing is there: the folder, and the name that something put there is to have. HF_EXISTS, and as
 * above. */
int hf_place_vacant(const char *path, struct hf_place *out);

/*
 * HF_NETWORK where the file is on a file system that other machines share, or that is served by a process: neither
 * locks nor mappings can be relied on there.
 */
int hf_place_refuse_network(int fd);

#endif

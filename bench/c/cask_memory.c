/*
 * cask_memory.c: bytes of memory a key: a process for each figure, with a new cask whose keys it puts once, one put
 * each, and then half of them again, drawn.
 *
 *      keydir in memory    what the cask says that keydir and tail take; and by how much the process has grown, but
 *                          for files that it maps (RssAnon and RssShmem of /proc/self/status)
 *      keydir in a file    the tail's memory, and those pages of the keydir's file that are in memory (mincore) once
 *                          all keys were looked up, before the cask is closed and after it was opened again
 *
 * Both with keys of 16 bytes and with keys of 200; values have 100.
 */
#include "cask_rows.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LONG_KEY = 200 };

/* Bytes a key. */
struct memory {
    double own, own_again; /* as the cask says: when all were put, and when half of them were again */
    double seen;           /* as the system says, at the end */
    double reopened;
};

static size_t key_size;

/* Of any length: digits at the end. */
static void long_key(uint64_t number, char key[LONG_KEY])
{
    memset(key, 'k', LONG_KEY);
    fill_key(number, key + key_size - KEY);
}

static void put_one(uint64_t number, uint64_t version)
{
    char key[LONG_KEY];
    unsigned char value[VALUE];
    long_key(number, key);
    fill_value(number, version, value);
    sure(hf_cask_put(cask, key, key_size, value, VALUE, 0));
}

static double own_bytes(void)
{
    hf_cask_status status;
    sure(hf_cask_status_get(cask, &status, NULL, NULL));
    if (status.keys != key_count)
        fail("the cask", "has another number of keys");
    return (double)(status.keydir_bytes + status.tail_bytes);
}

static double tail_bytes(void)
{
    hf_cask_status status;
    sure(hf_cask_status_get(cask, &status, NULL, NULL));
    return (double)status.tail_bytes;
}

/* Of this process, but for files. */
static double process_bytes(void)
{
    char line[128];
    double kib = 0;
    uint64_t part;
    FILE *file = fopen("/proc/self/status", "r");
    if (file == NULL)
        fail("/proc/self/status", "cannot be read");
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "RssAnon: %" SCNu64, &part) == 1 || sscanf(line, "RssShmem: %" SCNu64, &part) == 1)
            kib += (double)part;
    fclose(file);
    return kib * 1024;
}

/* Of the keydir's file, in memory. */
static double resident_bytes(const char *folder)
{
    char path[MAX_PATH + 32];
    struct stat found;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    snprintf(path, sizeof path, "%s/keydir", folder);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &found) != 0)
        fail("open", path);
    size_t size = (size_t)found.st_size, pages = (size + page - 1) / page, resident = 0;
    void *mapped = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    unsigned char *in = memory_for(pages, 1);
    if (mapped == MAP_FAILED || mincore(mapped, size, in) != 0)
        fail("mincore", path);
    for (size_t i = 0; i < pages; i++)
        resident += in[i] & 1;
    munmap(mapped, size);
    free(in);
    close(fd);
    return (double)(resident * page);
}

static void look_at_all(void)
{
    hf_cask_room room = {NULL, 0};
    for (size_t i = 0; i < key_count; i++) {
        char key[LONG_KEY];
        const void *value;
        size_t size;
        long_key(order[GET_ORDER][i], key);
        if (sure(hf_cask_get(cask, key, key_size, &room, &value, &size)) != 1 || size != VALUE)
            fail("a look-up", "found nothing, or something else");
    }
    hf_cask_room_clear(&room);
}

static struct memory measure(const char *folder, bool in_memory)
{
    struct memory memory;
    const double keys_there = (double)key_count;
    const hf_cask_options options = {.keydir_in_memory = in_memory};
    const double before = process_bytes();
    sure(hf_cask_open(folder, &options, &cask));
    for (size_t i = 0; i < key_count; i++)
        put_one(order[PUT_ORDER][i], 0);
    memory.own = own_bytes() / keys_there;
    for (size_t i = 0; i < key_count / 2; i++)
        put_one(mixed(i) % key_count, 1);
    memory.own_again = own_bytes() / keys_there;
    look_at_all();
    memory.seen = (in_memory ? process_bytes() - before : resident_bytes(folder) + tail_bytes()) / keys_there;
    sure(hf_cask_close(cask));
    sure(hf_cask_open(folder, &options, &cask));
    look_at_all();
    memory.reopened = (in_memory ? own_bytes() : resident_bytes(folder) + tail_bytes()) / keys_there;
    sure(hf_cask_close(cask));
    return memory;
}

/* In a process of its own, which has nothing else in its memory. */
static struct memory measure_apart(bool in_memory)
{
    struct memory memory;
    char base[MAX_PATH], folder[MAX_PATH + 16];
    int told[2], status;
    make_folder(base);
    snprintf(folder, sizeof folder, "%s/cask", base);
    if (pipe(told) != 0)
        fail("pipe", "failed");
    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        fail("fork", "failed");
    if (child == 0) {
        memory = measure(folder, in_memory);
        _exit(write(told[1], &memory, sizeof memory) == sizeof memory ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    close(told[1]);
    bool got = read(told[0], &memory, sizeof memory) == sizeof memory;
    close(told[0]);
    waitpid(child, &status, 0);
    if (!got || status != 0)
        fail("a process", "could not measure its memory");
    remove_folder(base);
    return memory;
}

static void tell_one(const char *row, const char *what, double figure, bool is_goal)
{
    static struct figures figures;
    char name[128];
    figures.count = 0;
    add_figure(&figures, figure);
    snprintf(name, sizeof name, "%s: %s", row, what);
    tell(name, "cask", "B", &figures);
    if (is_goal)
        tell_goal(name, "bytes a key", figure, true, 34);
}

void rows_memory(void)
{
    static const size_t sizes[2] = {KEY, LONG_KEY};
    for (int i = 0; i < 4; i++) {
        const bool in_memory = i < 2;
        char row[64];
        key_size = sizes[i % 2];
        struct memory memory = measure_apart(in_memory);
        snprintf(row, sizeof row, "keydir in %s, %zu B", in_memory ? "memory" : "file", key_size);
        tell_one(row, "all put", memory.own, in_memory);
        tell_one(row, "half again", memory.own_again, in_memory);
        tell_one(row, in_memory ? "process growth" : "pages in memory", memory.seen, true);
        tell_one(row, "opened again", memory.reopened, true);
    }
}

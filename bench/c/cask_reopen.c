/*
 * cask_reopen.c: how long opening takes, with the first look-up.
 *
 *      closed          as it was left
 *      killed          a process that puts each key and then writes them over is killed by SIGKILL, at another moment
 *                      each time. All that it had been told was done must be there
 *      keydir lost     its file deleted: made again from the hints
 *      both lost       the hints too: from the log, whose bytes a second are told beside those of read() of the same
 *                      files, all in the page cache
 */
#include "cask_rows.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char base[MAX_PATH], folder[MAX_PATH + 16];
static uint32_t *versions; /* that must be there */
static struct figures closed, killed, keydir_lost, both_lost, reading, rate;

/* A look-up; but not of one key. */
static void look(uint64_t number, uint64_t not_this)
{
    static hf_cask_room room;
    char key[KEY];
    const void *value;
    size_t size;
    if (number == not_this)
        return;
    fill_key(number, key);
    if (sure(hf_cask_get(cask, key, KEY, &room, &value, &size)) != 1)
        fail("a look-up", "found nothing");
    expect(number, versions[number], value, size);
}

/* Opens it and looks one key up, in milliseconds; then all are looked up, and it is closed. */
static void time_opening(struct figures *figures, uint64_t not_this)
{
    int64_t start = now();
    sure(hf_cask_open(folder, &cask_options, &cask));
    look(order[GET_ORDER][0], not_this);
    add_figure(figures, (double)(now() - start) / 1e6);
    for (uint64_t i = 0; i < key_count; i++)
        look(i, not_this);
    sure(hf_cask_close(cask));
}

/* -- files -- */

static bool ends_with(const char *name, const char *end)
{
    size_t size = strlen(name), wanted = strlen(end);
    return size >= wanted && memcmp(name + size - wanted, end, wanted) == 0;
}

/* Calls back for each file of the cask; the sum of what that says. */
static double for_each_file(double (*visit)(const char *name, const char *path))
{
    double sum = 0;
    DIR *files = opendir(folder);
    if (files == NULL)
        fail("opendir", folder);
    for (struct dirent *file; (file = readdir(files)) != NULL;) {
        char path[2 * MAX_PATH];
        snprintf(path, sizeof path, "%s/%s", folder, file->d_name);
        sum += visit(file->d_name, path);
    }
    closedir(files);
    return sum;
}

static double remove_keydir(const char *name, const char *path)
{
    return strncmp(name, "keydir", strlen("keydir")) == 0 && unlink(path) == 0;
}

static double remove_hint(const char *name, const char *path)
{
    return ends_with(name, ".hint") && unlink(path) == 0;
}

/* Reads a log file, a mebibyte at a time: its bytes. */
static double read_log(const char *name, const char *path)
{
    enum { STEP = 1 << 20 };
    static char bytes[STEP];
    double sum = 0;
    if (!ends_with(name, ".log"))
        return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        fail("open", path);
    for (ssize_t size; (size = read(fd, bytes, sizeof bytes)) > 0;)
        sum += (double)size;
    close(fd);
    return sum;
}

static void read_logs(void)
{
    int64_t start = now();
    double bytes = for_each_file(read_log);
    add_figure(&reading, bytes / (double)(now() - start));
}

static void measure_lost(void)
{
    if (for_each_file(remove_keydir) == 0)
        fail("the keydir", "is not there");
    time_opening(&keydir_lost, UINT64_MAX);
    read_logs();
    for_each_file(remove_keydir);
    if (for_each_file(remove_hint) == 0)
        fail("hints", "are not there");
    time_opening(&both_lost, UINT64_MAX);
    add_figure(&rate, for_each_file(read_log) / (both_lost.all[both_lost.count - 1] * 1e6));
}

/* -- a process that is killed -- */

/* All keys, and then drawn ones, for ever. */
static uint64_t number_of_put(uint64_t put)
{
    return put < key_count ? order[PUT_ORDER][put] : mixed(put) % key_count;
}

static uint32_t version_of_put(uint64_t put)
{
    return put < key_count ? 0 : (uint32_t)put;
}

__attribute__((noreturn)) static void put_until_killed(_Atomic uint64_t *returned)
{
    sure(hf_cask_open(folder, &cask_options, &cask));
    for (uint64_t put = 0;; put++) {
        char key[KEY];
        unsigned char value[VALUE];
        fill_key(number_of_put(put), key);
        fill_value(number_of_put(put), version_of_put(put), value);
        sure(hf_cask_put(cask, key, KEY, value, VALUE, 0));
        atomic_store(returned, put + 1);
    }
}

/* How many puts had returned. */
static uint64_t kill_a_writer(int round)
{
    const uint64_t wanted = key_count + mixed((uint64_t)round + 1) % key_count;
    _Atomic uint64_t *returned =
        mmap(NULL, sizeof *returned, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (returned == MAP_FAILED)
        fail("mmap", "failed");
    fflush(NULL);
    pid_t writer = fork();
    if (writer < 0)
        fail("fork", "failed");
    if (writer == 0)
        put_until_killed(returned);
    while (atomic_load(returned) < wanted) {
        if (waitpid(writer, NULL, WNOHANG) != 0)
            fail("the writer", "has ended");
        usleep(1000);
    }
    kill(writer, SIGKILL);
    waitpid(writer, NULL, 0);
    uint64_t puts = atomic_load(returned);
    munmap((void *)(uintptr_t)returned, sizeof *returned);
    return puts;
}

/* Of the put that was under way nobody knows: its key is not looked at. */
static void measure_killed(int round)
{
    uint64_t puts = kill_a_writer(round);
    memset(versions, 0, key_count * sizeof *versions);
    for (uint64_t put = 0; put < puts; put++)
        versions[number_of_put(put)] = version_of_put(put);
    time_opening(&killed, number_of_put(puts));
}

void rows_reopen(void)
{
    const uint64_t small = 64 << 10;
    versions = memory_for(key_count, sizeof *versions);
    cask_options.max_file_size = quick ? small : 0; /* so that some are sealed */
    for (int round = 0; round < rounds; round++) {
        make_folder(base);
        snprintf(folder, sizeof folder, "%s/cask", base);
        measure_killed(round);
        remove_folder(base);
        begin_new(&contenders[CASK]);
        put_all(&contenders[CASK], 1);
        sure(hf_cask_close(cask));
        snprintf(folder, sizeof folder, "%s", folder_of(&contenders[CASK]));
        memset(versions, 0, key_count * sizeof *versions);
        time_opening(&closed, UINT64_MAX);
        measure_lost();
        sure(hf_cask_open(folder, &cask_options, &cask));
        end_new(&contenders[CASK]);
    }
    free(versions);
    cask_options.max_file_size = 0;
    tell("opening, closed", "cask", "ms", &closed);
    tell("opening, killed", "cask", "ms", &killed);
    tell("opening, keydir lost", "cask", "ms", &keydir_lost);
    tell("opening, keydir and hints lost", "cask", "ms", &both_lost);
    tell("reading the log", "cask, opening", "GB/s", &rate);
    tell("reading the log", "read()", "GB/s", &reading);
    tell_goal("opening, closed", "ms", quantile(&closed, 0.5), true, 10);
    tell_goal("opening, killed", "ms", quantile(&killed, 0.5), true, 100);
    tell_goal("opening, keydir and hints lost", "GB/s of log", quantile(&rate, 0.5), false, 1);
}

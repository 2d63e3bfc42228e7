/*
 * Names, options, opening and closing, and which maps there are.
 */
#include "test_shared_support.h"

#include "test_child.h"

#include <fcntl.h>

#include "region/impl.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { NOBODY = 65534, MOST = 250 };

static const hf_shared_options create = {.mode = HF_SHARED_CREATE}, attach = {.mode = HF_SHARED_ATTACH},
                               either = {.mode = HF_SHARED_EITHER};

static hf_shared *map;

/* -- names -- */

static void some_names_are_none(void **state)
{
    static char longest[MOST + 2];
    const char *wrong[] = {"", ".", "..", "/", "a/b", "/a", "a/", longest};
    memset(longest, 'x', MOST + 1);
    for (size_t i = 0; i < LENGTH(wrong); i++) {
        assert_non_null(hf_shared_name_fault(wrong[i]));
        map = NULL;
        says(hf_shared_open(wrong[i], NULL, &map), HF_INVALID);
        says(hf_shared_open(wrong[i], &create, &map), HF_INVALID);
        assert_null(map);
        says(hf_shared_unlink(wrong[i]), HF_INVALID);
    }
}

static void all_other_names_are_names(void **state)
{
    char longest[MOST + 1] = "", odd[64];
    memset(longest, 'x', MOST);
    snprintf(longest, sizeof longest, "%d", (int)getpid());
    longest[strlen(longest)] = '-';
    snprintf(odd, sizeof odd, " .-hf %d\t\xc3\xa9\xff", (int)getpid());
    const char *names[] = {longest, odd};
    for (size_t i = 0; i < LENGTH(names); i++) {
        assert_null(hf_shared_name_fault(names[i]));
        ok(hf_shared_open(names[i], &create, &map));
        assert_string_equal(hf_shared_name(map), names[i]);
        ok(hf_shared_close(map));
        ok(hf_shared_unlink(names[i]));
        says(hf_shared_unlink(names[i]), HF_ABSENT);
    }
}

static void modes_ask_for_what_is_there_or_not(void **state)
{
    const char *name = new_name();
    hf_shared *second;
    says(hf_shared_open(name, &attach, &map), HF_ABSENT);
    ok(hf_shared_open(name, &either, &map));
    says(hf_shared_open(name, &create, &second), HF_EXISTS);
    ok(hf_shared_open(name, &attach, &second));
    ok(hf_shared_close(second));
    ok(hf_shared_open(name, &either, &second));
    ok(hf_shared_close(second));
    ok(hf_shared_open(name, NULL, &second));
    ok(hf_shared_close(second));
    ok(hf_shared_close(map));
    /* What is there stays. */
    ok(hf_shared_open(name, &attach, &map));
    ok(hf_shared_close(map));
    ok(hf_shared_unlink(name));
    ok(hf_shared_open(name, NULL, &map));
    ok(hf_shared_close(map));
    ok(hf_shared_close(NULL));
}

static void options_are_looked_at(void **state)
{
    const hf_shared_options mode = {.mode = (hf_shared_mode)3}, negative = {.mode = (hf_shared_mode)-1},
                            small = {.max_size = (4 << 20) - 1}, smallest = {.max_size = 4 << 20},
                            huge = {.capacity = UINT64_MAX}, large = {.capacity = UINT64_MAX / 256};
    const char *name = new_name();
    hf_shared_stats stats;
    map = NULL;
    says(hf_shared_open(name, &mode, &map), HF_INVALID);
    says(hf_shared_open(name, &negative, &map), HF_INVALID);
    says(hf_shared_open(name, &small, &map), HF_INVALID);
    assert_null(map);
    says(hf_shared_open(name, &attach, &map), HF_ABSENT); /* nothing is left of it */
    /* What cannot be had at once may be had later: it is a hint. */
    for (int i = 0; i < 2; i++) {
        ok(hf_shared_open(name, i == 0 ? &huge : &large, &map));
        ok(hf_shared_stats_get(map, &stats));
        assert_true(stats.size < 16 << 20);
        ok(hf_shared_unlink_own(map));
        ok(hf_shared_close(map));
    }
    ok(hf_shared_open(name, &smallest, &map));
    ok(hf_shared_stats_get(map, &stats));
    assert_int_equal(stats.max_size, 4 << 20);
    assert_true(stats.size <= stats.max_size);
    ok(hf_shared_close(map));
}

static void room_is_there_for_what_was_asked(void **state)
{
    const hf_shared_options options = {.mode = HF_SHARED_CREATE, .capacity = 100000};
    hf_shared_stats before, after;
    ok(hf_shared_open(new_name(), &options, &map));
    ok(hf_shared_stats_get(map, &before));
    ok(hf_shared_begin(map));
    for (int i = 0; i < 100000; i++) {
        hf_datum key = hf_datum_int(i), value = hf_datum_bytes("0123456789012345678901234567890123456789", 40);
        yes(hf_shared_set(map, &key, &value));
    }
    ok(hf_shared_commit(map));
    ok(hf_shared_stats_get(map, &after));
    assert_int_equal(before.size, after.size);
    ok(hf_shared_close(map));
}

/* -- whose it is -- */

static mode_t permissions_of(const char *name)
{
    char path[128];
    struct stat found;
    snprintf(path, sizeof path, "/dev/shm/%s", name);
    ok(stat(path, &found));
    return found.st_mode & 07777;
}

static void permissions_are_what_was_asked_for(void **state)
{
    const hf_shared_options group = {.mode = HF_SHARED_CREATE, .permissions = 0660};
    ok(hf_shared_open(new_name(), &create, &map));
    assert_int_equal(permissions_of(the_name), 0600);
    ok(hf_shared_close(map));
    ok(hf_shared_unlink(the_name));
    mode_t mask = umask(077);
    ok(hf_shared_open(new_name(), &group, &map));
    umask(mask);
    assert_int_equal(permissions_of(the_name), 0660);
    ok(hf_shared_close(map));
}

static void become_nobody(void)
{
    must(setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0);
}

static int find(void *arg, const hf_shared_info *info)
{
    hf_shared_info *out = arg;
    if (strcmp(info->name, the_name) != 0)
        return 0;
    *out = *info;
    return 1;
}

/* The map is root's, and for root alone; then for all. */
static void as_nobody(void)
{
    const hf_shared_options any = {.mode = HF_SHARED_ATTACH, .any_owner = true};
    hf_shared_info info;
    become_nobody();
    must(hf_shared_open(the_name, &attach, &map) == HF_DENIED);
    must(hf_shared_open(the_name, &either, &map) == HF_DENIED);
    must(hf_shared_open(the_name, &create, &map) == HF_DENIED ||
         hf_shared_open(the_name, &create, &map) == HF_EXISTS);
    must(hf_shared_open(the_name, &any, &map) == HF_DENIED);
    must(hf_shared_unlink(the_name) == HF_DENIED);
    must(hf_shared_list(find, &info) == 0);
}

static void as_nobody_who_may(void)
{
    const hf_shared_options any = {.mode = HF_SHARED_ATTACH, .any_owner = true};
    hf_datum key = hf_datum_int(1);
    hf_shared_info info;
    become_nobody();
    must(hf_shared_open(the_name, &attach, &map) == HF_DENIED);
    must(hf_shared_open(the_name, &any, &map) == 0);
    must(hf_shared_get(map, &key, NULL, NULL) == 1);
    must(hf_shared_set(map, &key, &key) == 0);
    must(hf_shared_unlink_own(map) == HF_DENIED);
    must(hf_shared_close(map) == 0);
    must(hf_shared_list(find, &info) == 1);
    must(info.owner == 0 && info.permissions == 0666 && info.is_open);
}

static void a_map_is_its_owners(void **state)
{
    hf_datum key = hf_datum_int(1);
    char path[128];
    if (geteuid() != 0)
        skip();
    ok(hf_shared_open(new_name(), &create, &map));
    yes(hf_shared_set(map, &key, &key));
    in_a_child(as_nobody);
    snprintf(path, sizeof path, "/dev/shm/%s", the_name);
    ok(chmod(path, 0666));
    in_a_child(as_nobody_who_may);
    ok(chown(path, NOBODY, NOBODY));
    hf_shared *second;
    const hf_shared_options any = {.mode = HF_SHARED_EITHER, .any_owner = true};
    says(hf_shared_open(the_name, &attach, &second), HF_DENIED);
    ok(hf_shared_open(the_name, &any, &second));
    ok(hf_shared_close(second));
    map_check(map);
    ok(hf_shared_close(map));
}

/* -- what is no map -- */

static void file_with(const char *name, const void *bytes, size_t size)
{
    char path[128];
    snprintf(path, sizeof path, "/dev/shm/%s", name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    ok(fclose(file));
}

static void expect_no_map(const char *name, int status)
{
    map = NULL;
    says(hf_shared_open(name, &attach, &map), status);
    says(hf_shared_open(name, &either, &map), status);
    int created = hf_shared_open(name, &create, &map);
    assert_true(created == status || created == HF_EXISTS);
    assert_null(map);
    if (status == HF_NOT_REGION)
        says(hf_shared_unlink(name), HF_NOT_REGION);
}

static void other_files_are_left_alone(void **state)
{
    static char page[1 << 20] = "some text";
    const char *name = new_name();
    char path[128], text[10] = "";
    file_with(name, page, sizeof page);
    expect_no_map(name, HF_NOT_REGION);
    snprintf(path, sizeof path, "/dev/shm/%s", name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fread(text, 1, 9, file), 9);
    fclose(file);
    assert_string_equal(text, "some text");
    ok(unlink(path));
}

/* What a creator who died has left can be removed, or made afresh. */
static void what_is_half_made_can_be_removed(void **state)
{
    static const char zeros[2 << 20];
    static const size_t sizes[] = {0, 4096, sizeof zeros};
    const char *name = new_name();
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        file_with(name, zeros, sizes[i]);
        says(hf_shared_open(name, &attach, &map), HF_NOT_REGION);
        ok(hf_shared_unlink(name));
        says(hf_shared_unlink(name), HF_ABSENT);
        file_with(name, zeros, sizes[i]);
        ok(hf_shared_open(name, &create, &map));
        ok(hf_shared_close(map));
        ok(hf_shared_unlink(name));
    }
}

static void folders_links_and_the_like_are_no_maps(void **state)
{
    const char *name = new_name();
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char path[100];
    snprintf(path, sizeof path, "/dev/shm/%s", name);
    ok(mkdir(path, 0700));
    expect_no_map(name, HF_NOT_REGION);
    ok(rmdir(path));
    ok(mkfifo(path, 0600));
    expect_no_map(name, HF_NOT_REGION);
    ok(unlink(path));
    ok(symlink("/dev/shm/nothing", path));
    expect_no_map(name, HF_NOT_REGION);
    ok(unlink(path));
    memcpy(address.sun_path, path, sizeof path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ok(bind(fd, (struct sockaddr *)&address, sizeof address));
    expect_no_map(name, HF_NOT_REGION);
    close(fd);
    ok(unlink(path));
}

static void other_versions_are_refused(void **state)
{
    char path[128];
    uint64_t magic = __builtin_bswap64(HF_REGION_MAGIC);
    ok(hf_shared_open(new_name(), &create, &map));
    ok(hf_shared_close(map));
    snprintf(path, sizeof path, "/dev/shm/%s", the_name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, &magic, sizeof magic, 0), sizeof magic);
    expect_no_map(the_name, HF_FORMAT);
    magic = HF_REGION_MAGIC;
    assert_int_equal(pwrite(fd, &magic, sizeof magic, 0), sizeof magic);
    /* Its checksum is not right any more. */
    assert_int_equal(pwrite(fd, &magic, sizeof magic, offsetof(struct hf_superblock, seed)), sizeof magic);
    expect_no_map(the_name, HF_CORRUPT);
    close(fd);
    ok(unlink(path));
}

/* -- closing and unlinking -- */

static void a_map_in_use_is_not_closed(void **state)
{
    hf_shared_snapshot *snapshot;
    hf_datum key = hf_datum_int(1);
    ok(hf_shared_open(new_name(), &create, &map));
    ok(hf_shared_snapshot_begin(map, &snapshot));
    says(hf_shared_close(map), HF_BUSY);
    yes(hf_shared_set(map, &key, &key));
    hf_shared_snapshot_end(snapshot);
    ok(hf_shared_begin(map));
    ok(hf_shared_begin(map));
    says(hf_shared_close(map), HF_BUSY);
    ok(hf_shared_set(map, &key, &key));
    ok(hf_shared_abort(map));
    says(hf_shared_close(map), HF_BUSY);
    ok(hf_shared_commit(map));
    ok(hf_shared_close(map));
}

static void *begin_and_end(void *arg)
{
    hf_datum key = hf_datum_int(2);
    ok(hf_shared_begin(map));
    yes(hf_shared_set(map, &key, &key));
    return NULL;
}

/* A thread that ended in a transaction has changed nothing, and keeps nobody. */
static void a_thread_may_end_in_a_transaction(void **state)
{
    hf_datum key = hf_datum_int(2);
    hf_shared_stats stats;
    pthread_t thread;
#ifdef __SANITIZE_THREAD__
    skip(); /* it says that the mutex was left locked, which is the point */
#endif
    ok(hf_shared_open(new_name(), &create, &map));
    ok(pthread_create(&thread, NULL, begin_and_end, NULL));
    ok(pthread_join(thread, NULL));
    ok(hf_shared_get(map, &key, NULL, NULL));
    says(hf_shared_commit(map), HF_INVALID);
    yes(hf_shared_set(map, &key, &key));
    ok(hf_shared_stats_get(map, &stats));
    assert_int_equal(stats.writers_died, 1);
    yes(hf_shared_delete(map, &key));
    ok(pthread_create(&thread, NULL, begin_and_end, NULL));
    ok(pthread_join(thread, NULL));
    ok(hf_shared_close(map));
}

static void the_memory_outlives_its_name(void **state)
{
    const char *name = new_name();
    hf_datum key = hf_datum_int(1);
    hf_shared *second;
    ok(hf_shared_open(name, &create, &map));
    ok(hf_shared_unlink(name));
    yes(hf_shared_set(map, &key, &key));
    ok(hf_shared_open(name, &create, &second));
    ok(hf_shared_get(second, &key, NULL, NULL));
    yes(hf_shared_get(map, &key, NULL, NULL));
    /* The name is another map's now. */
    says(hf_shared_unlink_own(map), HF_ABSENT);
    ok(hf_shared_unlink_own(second));
    says(hf_shared_unlink_own(second), HF_ABSENT);
    ok(hf_shared_close(second));
    ok(hf_shared_close(map));
}

static void create_again(void)
{
    hf_datum key = hf_datum_str("theirs");
    must(hf_shared_unlink(the_name) == 0);
    must(hf_shared_open(the_name, &create, &map) == 0);
    must(hf_shared_set(map, &key, &key) == 1);
    must(hf_shared_close(map) == 0);
}

static void another_processs_map_of_the_name_is_left(void **state)
{
    hf_datum key = hf_datum_str("theirs");
    hf_shared *second;
    ok(hf_shared_open(new_name(), &create, &map));
    in_a_child(create_again);
    says(hf_shared_unlink_own(map), HF_ABSENT);
    ok(hf_shared_open(the_name, &attach, &second));
    yes(hf_shared_get(second, &key, NULL, NULL));
    ok(hf_shared_get(map, &key, NULL, NULL));
    ok(hf_shared_close(second));
    ok(hf_shared_close(map));
}

static void a_descriptor_is_a_way_in(void **state)
{
    hf_datum key = hf_datum_int(1);
    hf_shared *second;
    ok(hf_shared_open(new_name(), &create, &map));
    ok(hf_shared_unlink(the_name));
    ok(hf_shared_open_fd(hf_region_fd(map->region), the_name, &attach, &second));
    yes(hf_shared_set(second, &key, &key));
    yes(hf_shared_get(map, &key, NULL, NULL));
    assert_string_equal(hf_shared_name(second), the_name);
    ok(hf_shared_close(second));
    says(hf_shared_open_fd(-1, the_name, &attach, &second), HF_ABSENT);
    says(hf_shared_open_fd(hf_region_fd(map->region), "a/b", &attach, &second), HF_INVALID);
    says(hf_shared_open_fd(STDIN_FILENO, the_name, &attach, &second) == 0, 0);
    ok(hf_shared_close(map));
}

/* -- which there are -- */

typedef struct listing {
    unsigned found, all;
    hf_shared_info info;
} listing;

static int list_one(void *arg, const hf_shared_info *info)
{
    listing *l = arg;
    l->all++;
    if (strcmp(info->name, the_name) == 0) {
        l->found++;
        l->info = *info;
    }
    return 0;
}

static listing list_all(void)
{
    listing l = {0};
    ok(hf_shared_list(list_one, &l));
    return l;
}

static int fail_with(void *arg, const hf_shared_info *info)
{
    return *(int *)arg;
}

static void maps_are_listed_among_other_files(void **state)
{
    char blank[80], text[80], folder[100], fifo[100], link[100];
    int statuses[] = {5, HF_FOREIGN};
    ok(hf_shared_open(new_name(), &create, &map));
    snprintf(blank, sizeof blank, "%s-blank", the_name);
    snprintf(text, sizeof text, "%s-text", the_name);
    snprintf(folder, sizeof folder, "/dev/shm/%s-folder", the_name);
    snprintf(fifo, sizeof fifo, "/dev/shm/%s-fifo", the_name);
    snprintf(link, sizeof link, "/dev/shm/%s-link", the_name);
    file_with(blank, "", 0);
    file_with(text, "some text", 9);
    ok(mkdir(folder, 0700));
    ok(mkfifo(fifo, 0600));
    ok(symlink("/dev/shm/nothing", link));
    listing l = list_all();
    assert_int_equal(l.found, 1);
    assert_true(l.info.is_open && l.info.owner == geteuid() && l.info.permissions == 0600);
    assert_in_range(l.info.size, 1, 16 << 20);
    assert_in_range(time(NULL) - l.info.created, 0, 60);
    for (size_t i = 0; i < LENGTH(statuses); i++)
        says(hf_shared_list(fail_with, &statuses[i]), statuses[i]);
    ok(hf_shared_close(map));
    l = list_all();
    assert_int_equal(l.found, 1);
    assert_false(l.info.is_open);
    ok(hf_shared_unlink(the_name));
    assert_int_equal(list_all().found, 0);
    ok(rmdir(folder));
    ok(unlink(fifo));
    ok(unlink(link));
    snprintf(folder, sizeof folder, "/dev/shm/%s", blank);
    ok(unlink(folder));
    snprintf(folder, sizeof folder, "/dev/shm/%s", text);
    ok(unlink(folder));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        shared_test(some_names_are_none),
        shared_test(all_other_names_are_names),
        shared_test(modes_ask_for_what_is_there_or_not),
        shared_test(options_are_looked_at),
        shared_test(room_is_there_for_what_was_asked),
        shared_test(permissions_are_what_was_asked_for),
        shared_test(a_map_is_its_owners),
        shared_test(other_files_are_left_alone),
        shared_test(what_is_half_made_can_be_removed),
        shared_test(folders_links_and_the_like_are_no_maps),
        shared_test(other_versions_are_refused),
        shared_test(a_map_in_use_is_not_closed),
        shared_test(a_thread_may_end_in_a_transaction),
        shared_test(the_memory_outlives_its_name),
        shared_test(another_processs_map_of_the_name_is_left),
        shared_test(a_descriptor_is_a_way_in),
        shared_test(maps_are_listed_among_other_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

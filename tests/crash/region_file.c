/*
 * region_file.c: a region in a file as a subject (region_lab.h): FILE and FILE-lock in the folder.
 *
 * Each open draws its level, and how much of the nursery it uses. At HF_REGION_FULL a commit that has returned is durable. At the others it survives the
 * process, and is durable once a flush or a close has returned.
 *
 * The simulated disk does not see what is stored through a mapping, and FILE-lock is one: after a power cut it has
 * anything in it, or is gone, and a new boot id says that nothing in it counts. Where the page cache alone was lost it is as
 * it was at some moment, and of this boot (`believe`).
 */
#include "region_lab.h"
#include "region_work.h"

#include "believe.h"

#define RESERVE (UINT64_C(64) << 20)
#define INTERVAL (INT64_C(20) * 1000 * 1000)

static enum hf_region_level level_of(uint64_t how)
{
    static const enum hf_region_level levels[] = {HF_REGION_FULL, HF_REGION_FULL, HF_REGION_INTERVAL, HF_REGION_OFF};

    return levels[how % 4];
}

/* Segments that are soon full, so that they are left and begun again; or no nursery. */
static uint64_t nursery_of(uint64_t how)
{
    static const uint64_t bytes[] = {0, 4 << 10, 16 << 10, HF_REGION_STRAIGHT};

    return bytes[how / 4 % 4];
}

static int open_file(const char *folder, bool make, uint64_t how, hf_region **out)
{
    const hf_region_options options = {
        .mode = make ? HF_REGION_EITHER : HF_REGION_ATTACH,
        .place_trees = 1u << WORK_PLACES,
        .reserve = RESERVE,
        .timeout = -1,
        .level = level_of(how),
        .interval = INTERVAL,
        .nursery = nursery_of(how),
    };
    char path[512];

    snprintf(path, sizeof(path), "%s/region", folder);
    return hf_region_open_file(path, &options, out);
}

static bool durable(uint64_t how)
{
    return level_of(how) == HF_REGION_FULL;
}

static int flush(hf_region *region)
{
    return hf_region_flush(region, -1);
}

static bool stepped_back(hf_region *region)
{
    hf_region_stats stats;

    return hf_region_stats_get(region, &stats) == 0 && stats.stepped_back;
}

static const struct region_home file = {
    .open = open_file, .durable = durable, .flush = flush, .stepped_back = stepped_back};

static void session(struct hf_lab_run *run)
{
    region_session(run, &file);
}

static void create(const char *folder)
{
    region_client_create(&file, folder);
}

static void work(struct hf_client *client)
{
    region_client_work(&file, client);
}

static void weave_create(const char *folder)
{
    region_weave_create(&file, folder);
}

static void reads(struct hf_lab_run *run)
{
    region_weave_reads(&file, run);
}

static void reads_meanwhile(struct hf_lab_run *run, unsigned phase)
{
    region_weave_reads_meanwhile(&file, run, phase);
}

static void writes(struct hf_lab_run *run)
{
    region_weave_writes(&file, run);
}

static void writes_meanwhile(struct hf_lab_run *run, unsigned phase)
{
    region_weave_writes_meanwhile(&file, run, phase);
}

static void believe(const char *folder)
{
    hf_believe_lock(folder, "region");
}

const struct hf_subject region_file = {
    .name = "region_file", .session = session, .damaged = "region", .without = "region-lock", .believe = believe};
const struct hf_clients_subject region_file_clients = {.name = "region_file", .create = create, .work = work};
const struct hf_weave_subject region_file_reader = {"region_file_reader", weave_create, reads, writes_meanwhile};
const struct hf_weave_subject region_file_writer = {"region_file_writer", weave_create, writes, reads_meanwhile};

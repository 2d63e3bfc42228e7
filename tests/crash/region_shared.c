/*
 * region_shared.c: a region in shared memory as a subject (region_lab.h): a segment in the folder, which is on a tmpfs
 * where there is one. Nothing of it survives a power cut, and nothing is asked of it then.
 */
#include "region_lab.h"
#include "region_work.h"

#include "base/os.h"

#define RESERVE (UINT64_C(64) << 20)

static int open_shared(const char *folder, bool make, uint64_t how, hf_region **out)
{
    const hf_region_options options = {.mode = make ? HF_REGION_EITHER : HF_REGION_ATTACH,
                                       .place_trees = 1u << WORK_PLACES,
                                       .reserve = RESERVE,
                                       .timeout = -1};
    char path[512];
    int fd, status;

    snprintf(path, sizeof(path), "%s/region", folder);
    fd = hf_os_open(path, make ? O_RDWR | O_CREAT : O_RDWR, 0600);
    if (fd < 0)
        return fd == -ENOENT ? HF_ABSENT : hf_os_status(fd);
    status = hf_region_open_fd(fd, &options, out);
    hf_os_close(fd);
    /* Whoever made it was killed before it was one. */
    return status == HF_NOT_REGION && !make ? HF_ABSENT : status;
}

/* What stands here in the place of a flush: what is free has no memory any more, and the next commits ask for it again. */
static int trim(hf_region *region)
{
    uint64_t given_back;
    return hf_region_trim(region, -1, &given_back);
}

static const struct region_home shared = {.open = open_shared, .flush = trim};

static void session(struct hf_lab_run *run)
{
    region_session(run, &shared);
}

static void create(const char *folder)
{
    region_client_create(&shared, folder);
}

static void work(struct hf_client *client)
{
    region_client_work(&shared, client);
}

static void weave_create(const char *folder)
{
    region_weave_create(&shared, folder);
}

static void reads(struct hf_lab_run *run)
{
    region_weave_reads(&shared, run);
}

static void reads_meanwhile(struct hf_lab_run *run, unsigned phase)
{
    region_weave_reads_meanwhile(&shared, run, phase);
}

static void writes(struct hf_lab_run *run)
{
    region_weave_writes(&shared, run);
}

static void writes_meanwhile(struct hf_lab_run *run, unsigned phase)
{
    region_weave_writes_meanwhile(&shared, run, phase);
}

const struct hf_subject region_shared = {.name = "region_shared", .session = session};
const struct hf_clients_subject region_shared_clients = {.name = "region_shared", .create = create, .work = work};
const struct hf_weave_subject region_shared_reader = {"region_shared_reader", weave_create, reads, writes_meanwhile};
const struct hf_weave_subject region_shared_writer = {"region_shared_writer", weave_create, writes, reads_meanwhile};

/*
 * region_lab.h: regions as subjects of the laboratory.
 *
 *      region_home       where a region is: how it is opened, and what a commit there means. region_shared.c, region_file.c
 *      region_session    a session (lab.h) with a region of any home
 *      region_client_*   clients of one, whose history must be linearizable (kill.h)
 *      region_weave_*    one process stopped at any instruction while another goes on (weave.h)
 *
 * The same sources are linked with the engine as it is, and with each build of it that has a fault (region/sabotage.h).
 */
#ifndef HF_CRASH_REGION_LAB_H
#define HF_CRASH_REGION_LAB_H

#include "kill.h"
#include "lab.h"
#include "region_work.h"
#include "weave.h"

struct region_home {
    /*
     * Opens the region of the folder, or makes it: HF_ABSENT where there is none. `how` is any number, by which a home
     * with several ways to open chooses one.
     */
    int (*open)(const char *folder, bool make, uint64_t how, hf_region **out);
    /* Whether a commit that has returned is durable, of a region that was opened so. NULL: nothing here is. */
    bool (*durable)(uint64_t how);
    /* Makes durable what was committed; in shared memory another thing that is done now and then. */
    int (*flush)(hf_region *region);
    /* Whether it says that it stepped back when it was opened. NULL: it never does. */
    bool (*stepped_back)(hf_region *region);
};

void region_session(struct hf_lab_run *run, const struct region_home *home);

void region_client_create(const struct region_home *home, const char *folder);
void region_client_work(const struct region_home *home, struct hf_client *client);

void region_weave_create(const struct region_home *home, const char *folder);
/* A reader that is stopped, and the writer beside it; a writer that is stopped, and the reader beside it. */
void region_weave_reads(const struct region_home *home, struct hf_lab_run *run);
void region_weave_writes_meanwhile(const struct region_home *home, struct hf_lab_run *run, unsigned phase);
void region_weave_writes(const struct region_home *home, struct hf_lab_run *run);
void region_weave_reads_meanwhile(const struct region_home *home, struct hf_lab_run *run, unsigned phase);

/* -- the subjects -- */

extern const struct hf_subject region_shared, region_file;
extern const struct hf_clients_subject region_shared_clients, region_file_clients;
extern const struct hf_weave_subject region_shared_reader, region_shared_writer;
extern const struct hf_weave_subject region_file_reader, region_file_writer;

#endif

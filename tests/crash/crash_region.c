/*
 * crash_region.c: the laboratory's tools on the region (tool.h, region_lab.h).
 */
#include "region_lab.h"
#include "tool.h"

int main(int argc, char **argv)
{
    static const struct hf_subject *const subjects[] = {&region_shared, &region_file, NULL};
    static const struct hf_clients_subject *const clients[] = {&region_shared_clients, &region_file_clients, NULL};
    static const struct hf_weave_subject *const weaves[] = {&region_shared_reader, &region_shared_writer,
                                                            &region_file_reader, &region_file_writer, NULL};
    static const char *const jobs[] = {
        "kills --subject region_shared",
        "steps --subject region_shared",
        "clients --subject region_shared",
        "weave --subject region_shared_reader",
        "weave --subject region_shared_writer --stride 10",
        "power --subject region_file --before 60",
        "power --subject region_file --steps 80",
        "lost --subject region_file --before 20",
        "faults --subject region_file",
        "damage --subject region_file",
        "kills --subject region_file",
        "steps --subject region_file --stride 10",
        "clients --subject region_file",
        "weave --subject region_file_reader",
        "weave --subject region_file_writer --stride 10",
        NULL,
    };

    return hf_tool_main(argc, argv, subjects, clients, weaves, jobs);
}

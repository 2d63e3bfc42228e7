/*
 * region_golden.c: makes the files of tests/c/golden in a folder. It has made those that are there; it is run again
 * only for a kind that is new, or a new format.
 */
#include "region_golden.h"

int main(int argc, char **argv)
{
    static struct golden golden;
    char path[480];

    if (argc < 2) {
        fprintf(stderr, "usage: region_golden FOLDER [KIND ...]\n");
        return 2;
    }
    for (int i = 0; i < GOLDEN_KINDS; i++) {
        bool wanted = argc == 2;
        for (int argument = 2; argument < argc; argument++)
            wanted = wanted || strcmp(argv[argument], golden_kinds[i].name) == 0;
        if (!wanted)
            continue;
        snprintf(path, sizeof path, "%s/%s.golden", argv[1], golden_kinds[i].name);
        unsigned char *bytes = golden_make(&golden_kinds[i], path, &golden);
        golden_store(path, bytes);
        free(bytes);
        printf("%s\n", path);
    }
    return EXIT_SUCCESS;
}

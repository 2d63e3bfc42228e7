/*
 * believe.h: the lock file of a region in a file is made to say that it is of this boot and of these files (lab.h, `believe`).
 */
#ifndef HF_CRASH_BELIEVE_H
#define HF_CRASH_BELIEVE_H

/* Of the region `name` in the folder, and its lock file, if there is one. */
void hf_believe_lock(const char *folder, const char *name);

/* What this boot is called, "0123abcd-...", as the table of OS calls has it. */
void hf_believe_boot(char *text, unsigned long size);

#endif

/*
 * believe.c: see believe.h.
 */
#include "believe.h"

#include "support.h"

#include "region/control.h"

#include "base/hash.h"
#include "base/os.h"

#include <fcntl.h>
#include <unistd.h>

void hf_believe_boot(char *text, unsigned long size)
{
    const int boot = hf_os_open("/proc/sys/kernel/random/boot_id", O_RDONLY, 0);

    memset(text, 0, size);
    HF_LAB_REQUIRE(boot >= 0 && hf_os_pread_all(boot, text, size - 1, 0) > 0);
    hf_os_close(boot);
}

void hf_believe_lock(const char *folder, const char *name)
{
    struct hf_control_page page;
    struct stat of_file, own;
    char path[512];
    int fd;

    snprintf(path, sizeof(path), "%s/%s-lock", folder, name);
    fd = open(path, O_RDWR | O_CLOEXEC);
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    if (fd >= 0 && stat(path, &of_file) == 0 && fstat(fd, &own) == 0 &&
        pread(fd, &page, sizeof(page), 0) == sizeof(page) && page.magic == HF_CONTROL_MAGIC) {
        page.file_dev = of_file.st_dev;
        page.file_ino = of_file.st_ino;
        page.own_dev = own.st_dev;
        page.own_ino = own.st_ino;
        hf_believe_boot((char *)page.boot, sizeof(page.boot));
        page.checksum = hf_checksum64(&page, offsetof(struct hf_control_page, checksum), HF_CONTROL_MAGIC);
        HF_LAB_REQUIRE(pwrite(fd, &page, sizeof(page), 0) == sizeof(page));
    }
    if (fd >= 0)
        close(fd);
}

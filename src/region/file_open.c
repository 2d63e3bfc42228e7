#include "region/impl.h"
int hf_file_reopen(hf_region *region)
{
    return -1;
}
void hf_file_inherit(hf_region *region, int fd)
{
}

/*
 * status.c: names and messages of the status codes, from the one list.
 *
 * Concurrency: constant data. Failure: none.
 */
#include <holdfast/status.h>
#include <holdfast/version.h>

const char *hf_status_name(int status)
{
    if (status >= 0)
        return "HF_OK";
    switch (status) {
#define HF_STATUS_CASE(name, code, message) \
    case code:                              \
        return #name;
        HF_STATUS_LIST(HF_STATUS_CASE)
#undef HF_STATUS_CASE
    default:
        return "HF_UNKNOWN";
    }
}

const char *hf_status_message(int status)
{
    if (status >= 0)
        return "no error";
    switch (status) {
#define HF_STATUS_CASE(name, code, message) \
    case code:                              \
        return message;
        HF_STATUS_LIST(HF_STATUS_CASE)
#undef HF_STATUS_CASE
    default:
        return "unknown status";
    }
}

const char *hf_version(void)
{
    return HF_VERSION;
}

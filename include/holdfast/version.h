/* version.h: the version of the headers, and of the library that was loaded. */
#ifndef HOLDFAST_VERSION_H
#define HOLDFAST_VERSION_H

#include <holdfast/api.h>

HF_BEGIN_DECLS

/* The build says it too (meson.build); a test holds the two together. */
#define HF_VERSION_MAJOR 0
#define HF_VERSION_MINOR 1
#define HF_VERSION_PATCH 0
#define HF_VERSION "0.1.0"

/* The version of the library at run time. Never fails. */
HF_API const char *hf_version(void);

HF_END_DECLS

#endif

/* api.h: how public functions are declared. Included by every public header. */
#ifndef HOLDFAST_API_H
#define HOLDFAST_API_H

#if defined(__GNUC__)
#define HF_API __attribute__((visibility("default")))
/* The result says whether it worked: not looking at it is a bug. */
#define HF_MUST_CHECK __attribute__((warn_unused_result))
#else
#define HF_API
#define HF_MUST_CHECK
#endif

#ifdef __cplusplus
#define HF_BEGIN_DECLS extern "C" {
#define HF_END_DECLS }
#else
#define HF_BEGIN_DECLS
#define HF_END_DECLS
#endif

#endif

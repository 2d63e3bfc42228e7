/* cm.h: cmocka, with what it wants included before it. */
#ifndef HF_TEST_CM_H
#define HF_TEST_CM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

#endif

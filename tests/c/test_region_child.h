/*
 * test_region_child.h: what tests of regions do in a child.
 */
#ifndef HF_TEST_REGION_CHILD_H
#define HF_TEST_REGION_CHILD_H

#include "test_child.h"
#include "test_region_support.h"

#endif

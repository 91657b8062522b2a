/* spill_dirs_testing.h: around each test of a spill: two fresh folders. Include after cmocka.h. */
#ifndef ZO2_TESTS_UNIT_STORAGE_SPILL_DIRS_TESTING_H
#define ZO2_TESTS_UNIT_STORAGE_SPILL_DIRS_TESTING_H

#include "tests/unit/files_testing.h"

static char *dir, *other;
static const char *dirs[2];

static int setup(void **state)
{
    (void)state;
    dirs[0] = dir = scratch_make();
    dirs[1] = other = scratch_make();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_remove(dir);
    scratch_remove(other);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif

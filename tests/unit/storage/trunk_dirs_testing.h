/* trunk_dirs_testing.h: around each test of trunk caches in files: two folders, the file of the first, and what the log heard. */
#ifndef ZO2_TESTS_UNIT_STORAGE_TRUNK_DIRS_TESTING_H
#define ZO2_TESTS_UNIT_STORAGE_TRUNK_DIRS_TESTING_H

#include "tests/unit/storage/trunk_testing.h"

static char *dir[2], *path;
static const char *dirs[2];
static test_log heard;

static int setup(void **state)
{
    (void)state;
    for (int d = 0; d < 2; d++)
        dirs[d] = dir[d] = scratch_make();
    path = in_dir(dir[0], RUN_TAG);
    heard = (test_log){0};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(path);
    for (int d = 0; d < 2; d++)
        scratch_remove(dir[d]);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif

/* powercut_dirs_testing.h: around each test of files in two folders: fresh ones, and two for what a power cut leaves of them. Include
 * after cmocka.h. */
#ifndef ZO2_TESTS_UNIT_STORAGE_POWERCUT_DIRS_TESTING_H
#define ZO2_TESTS_UNIT_STORAGE_POWERCUT_DIRS_TESTING_H

#include "tests/unit/files_testing.h"

static char *dir[2], *image[2];
static const char *dirs[2], *image_dirs[2];

static int setup(void **state)
{
    (void)state;
    for (int d = 0; d < 2; d++) {
        dirs[d] = dir[d] = scratch_make();
        image_dirs[d] = image[d] = scratch_make();
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (int d = 0; d < 2; d++) {
        scratch_remove(dir[d]);
        scratch_remove(image[d]);
    }
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif

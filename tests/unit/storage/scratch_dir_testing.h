/* scratch_dir_testing.h: setup() and teardown() of tests that begin with a fresh folder `dir`. Include after cmocka.h. */
#ifndef ZO2_TESTS_UNIT_STORAGE_SCRATCH_DIR_TESTING_H
#define ZO2_TESTS_UNIT_STORAGE_SCRATCH_DIR_TESTING_H

#include "tests/unit/files_testing.h"

static char *dir;

static int setup(void **state)
{
    (void)state;
    dir = scratch_make();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_remove(dir);
    return 0;
}

#endif

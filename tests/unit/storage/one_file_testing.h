/* one_file_testing.h: setup() and teardown() of tests about one file: each begins with a fresh folder `dir` and the name
 * `path` of a file in it that doesn't exist yet. Define ONE_FILE, the file's name, before including; after cmocka.h. */
#ifndef ZO2_TESTS_UNIT_STORAGE_ONE_FILE_TESTING_H
#define ZO2_TESTS_UNIT_STORAGE_ONE_FILE_TESTING_H

#include "tests/unit/files_testing.h"

static char *dir, *path;

static int setup(void **state)
{
    (void)state;
    dir = scratch_make();
    path = in_dir(dir, ONE_FILE);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(path);
    scratch_remove(dir);
    return 0;
}

#endif

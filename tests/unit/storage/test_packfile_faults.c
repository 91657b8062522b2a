/* test_packfile_faults.c: the pack writer with every operation failing in turn: an error, no temporary file, the old
 * pack untouched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/storage/faulty_io.h"
#include "tests/unit/storage/packfile_testing.h"

#define ONE_FILE "m.zo2"
#include "tests/unit/storage/one_file_testing.h"

static uint64_t count_operations(int mask)
{
    faulty_io f;
    faulty_init(&f);
    OK(sample_write(&f.io, path, 1));
    uint64_t n = faulty_count(&f, mask);
    faulty_free(&f);
    scratch_empty(dir);
    return n;
}

static void assert_valid(void)
{
    zo2_packfile *p;
    OK(zo2_packfile_open(&p, path));
    OK(zo2_packfile_verify(p, NULL, NULL, NULL));
    zo2_packfile_close(p);
}

static void a_failed_operation_leaves_nothing_behind(void **state)
{
    (void)state;
    static const struct {
        faulty_kind kind;
        int err;
        zo2_status status;
        const char *says;
    } faults[] = {{FAULTY_FAIL, ENOSPC, ZO2_ERR_NOSPACE, "No space left"},
                  {FAULTY_FAIL, EDQUOT, ZO2_ERR_NOSPACE, ""},
                  {FAULTY_TORN, ENOSPC, ZO2_ERR_NOSPACE, "No space left"},
                  {FAULTY_FAIL, EIO, ZO2_ERR_IO, "m.zo2"},
                  {FAULTY_TORN, EIO, ZO2_ERR_IO, "m.zo2"}};
    const uint64_t operations = count_operations(FAULTY_WRITES);
    assert_true(operations > 12);
    for (size_t k = 0; k < sizeof faults / sizeof *faults; k++)
        for (uint64_t i = 0; i < operations; i++)
            for (int old = 0; old < 2; old++)
                for (uint64_t repeat = 0; repeat < 2; repeat++) { /* for ever, or once */
                    scratch_empty(dir);
                    if (old)
                        file_store(path, "old", 3);
                    faulty_io f;
                    faulty_init(&f);
                    faulty_arm(&f, FAULTY_WRITES, i, faults[k].kind, faults[k].err, repeat);
                    zo2_status s = sample_write(&f.io, path, old);
                    assert_true(f.spoilt > 0);
                    assert_int_equal(s, faults[k].status);
                    if (i < operations - 2)
                        SAYS(faults[k].says);
                    assert_int_equal(count_files(dir, "tmp"), 0);
                    assert_int_equal(count_files(dir, ""), old);
                    if (old && i < operations - 2) { /* after the rename only the folder is synced */
                        size_t n;
                        unsigned char *data = file_load(path, &n);
                        assert_int_equal(n, 3);
                        free(data);
                    } else if (old) {
                        assert_valid();
                    }
                    faulty_free(&f);
                }
}

/* The process dies at operation i: all later ones fail, the removal of the temporary file too. */
static void a_crash_leaves_the_old_pack_or_the_new_one(void **state)
{
    (void)state;
    const uint64_t operations = count_operations(FAULTY_ALL);
    int seen_old = 0, seen_new = 0;
    for (uint64_t i = 0; i < operations; i++) {
        scratch_empty(dir);
        file_store(path, "old", 3);
        faulty_io f;
        faulty_init(&f);
        faulty_arm(&f, FAULTY_ALL, i, FAULTY_TORN, EIO, 0);
        sample_write(&f.io, path, 1);
        faulty_free(&f);
        size_t n;
        unsigned char *data = file_load(path, &n);
        free(data);
        if (n == 3) {
            seen_old++;
        } else {
            assert_valid();
            seen_new++;
        }
        OK(sample_write(&zo2_io_posix, path, 1)); /* and the next attempt isn't in its way */
        assert_valid();
        assert_int_equal(count_files(dir, ""), 1);
    }
    assert_true(seen_old > 0 && seen_new > 0);
}

static void transient_faults_do_not_show(void **state)
{
    (void)state;
    const uint64_t writes = count_operations(FAULTY_PWRITE);
    size_t n, m;
    OK(sample_write(&zo2_io_posix, path, 0));
    unsigned char *want = file_load(path, &n);
    for (uint64_t i = 0; i < writes; i++)
        for (int kind = 0; kind < 3; kind++) {
            faulty_io f;
            faulty_init(&f);
            if (kind == 0)
                faulty_arm(&f, FAULTY_PWRITE, i, FAULTY_SHORT, 0, 0);
            else
                faulty_arm(&f, FAULTY_PWRITE, i, FAULTY_FAIL, kind == 1 ? EINTR : EAGAIN, 3);
            OK(sample_write(&f.io, path, 1));
            unsigned char *got = file_load(path, &m);
            assert_int_equal(m, n);
            assert_memory_equal(got, want, n);
            free(got);
            faulty_free(&f);
        }
    free(want);
}

/* What the disk garbles is found when it is read. */
static void a_bit_flipped_on_the_way_is_found(void **state)
{
    (void)state;
    const uint64_t writes = count_operations(FAULTY_PWRITE);
    for (uint64_t i = 0; i < writes; i++) {
        faulty_io f;
        zo2_packfile *p;
        faulty_init(&f);
        faulty_arm(&f, FAULTY_PWRITE, i, FAULTY_FLIP, 0, 1);
        OK(sample_write(&f.io, path, 1));
        faulty_free(&f);
        zo2_status s = zo2_packfile_open(&p, path);
        if (s == ZO2_OK)
            s = zo2_packfile_verify(p, NULL, NULL, NULL);
        assert_int_equal(s, ZO2_ERR_FORMAT);
        zo2_packfile_close(p);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_failed_operation_leaves_nothing_behind),
        T(a_crash_leaves_the_old_pack_or_the_new_one),
        T(transient_faults_do_not_show),
        T(a_bit_flipped_on_the_way_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

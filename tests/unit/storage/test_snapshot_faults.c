/* Every operation of writing a snapshot made to fail, tear or flip a bit; the power cut behind every one. The snapshots
 * that were there stay, a snapshot that has its name is whole, and one that was reported is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/storage/powercut.h"
#include "tests/unit/storage/scratch_dir_testing.h"
#include "tests/unit/storage/snapshot_testing.h"

static int has(const char *folder, uint64_t step)
{
    char *path = zo2_snap_path(folder, step);
    assert_non_null(path);
    const int there = access(path, F_OK) == 0;
    free(path);
    return there;
}

static const struct {
    faulty_kind kind;
    int err;
    zo2_status status; /* of transfers */
} faults[] = {
    {FAULTY_FAIL, EIO, ZO2_ERR_IO}, {FAULTY_FAIL, ENOSPC, ZO2_ERR_NOSPACE},
    {FAULTY_TORN, EIO, ZO2_ERR_IO}, {FAULTY_TORN, ENOSPC, ZO2_ERR_NOSPACE},
    {FAULTY_FAIL, EINTR, ZO2_OK},   {FAULTY_FAIL, EAGAIN, ZO2_OK},
    {FAULTY_SHORT, 0, ZO2_OK},      {FAULTY_FLIP, 0, ZO2_ERR_IO},
    {FAULTY_EOF, 0, ZO2_ERR_IO},
};
#define FAULTS (sizeof faults / sizeof *faults)

/* mask: what is counted and spoilt; repeat 1: once, 0: from then on. */
static void sweep(int mask, uint64_t repeat)
{
    for (size_t k = 0; k < FAULTS; k++)
        for (uint64_t n = 0;; n++) {
            scratch_empty(dir);
            OK(snapshot_write(&zo2_io_posix, dir, 10, small_elements, 2000));
            OK(snapshot_write(&zo2_io_posix, dir, 20, small_elements, 2000));
            faulty_io f;
            faulty_init(&f);
            faulty_arm(&f, mask, n, faults[k].kind, faults[k].err, repeat);
            const zo2_status s = snapshot_write(&f.io, dir, 30, small_elements, 300);
            const uint64_t matched = f.matched, spoilt = f.spoilt;
            faulty_free(&f);
            if (!spoilt)
                OK(s);
            if (s)
                assert_int_not_equal(zo2_last_error()[0], 0);
            if (spoilt && (mask & ~(FAULTY_PWRITE | FAULTY_PREAD)) == 0 && repeat)
                assert_int_equal(s, faults[k].status);

            assert_snapshot(dir, 20, small_elements); /* whatever happened */
            if (s != ZO2_OK)
                assert_snapshot(dir, 10, small_elements);
            if (s == ZO2_OK)
                assert_true(has(dir, 30));
            if (has(dir, 30))
                assert_snapshot(dir, 30, small_elements);
            if (!(mask & FAULTY_UNLINK)) {
                assert_int_equal(count_files(dir, ".tmp-"), 0);
                if (s == ZO2_OK)
                    assert_int_equal(count_files(dir, ""), 2);
            }
            zo2_snapshot_clean(&zo2_io_posix, dir);
            assert_int_equal(count_files(dir, ".tmp-"), 0);
            OK(snapshot_write(&zo2_io_posix, dir, 40, small_elements, 300));
            assert_snapshot(dir, 40, small_elements);
            assert_int_equal(count_files(dir, ""), 2);
            if (n >= matched)
                break;
        }
}

static void transfers_once(void **state)
{
    (void)state;
    sweep(FAULTY_PWRITE, 1);
}

static void anything_once(void **state)
{
    (void)state;
    sweep(FAULTY_ALL & ~FAULTY_UNLINK, 1);
}

static void anything_from_then_on(void **state)
{
    (void)state;
    sweep(FAULTY_ALL, 0);
}

static void writes_from_then_on(void **state)
{
    (void)state;
    sweep(FAULTY_WRITES, 0);
}

/* A bit flipped on its way to the disk, in any write, is found before the snapshot gets its name. */
static void flipped_writes_are_found(void **state)
{
    (void)state;
    for (uint64_t n = 0;; n++) {
        faulty_io f;
        faulty_init(&f);
        faulty_arm(&f, FAULTY_PWRITE, n, FAULTY_FLIP, 0, 1);
        const zo2_status s = snapshot_write(&f.io, dir, 30, sample_elements, 1000);
        const uint64_t spoilt = f.spoilt;
        faulty_free(&f);
        if (!spoilt) {
            assert_true(n > 260); /* it did try all of them */
            OK(s);
            break;
        }
        assert_int_equal(s, ZO2_ERR_IO);
        SAYS("read back");
        assert_int_equal(count_files(dir, ""), 0);
    }
}

static void full_disk(void **state)
{
    (void)state;
    faulty_io f;
    faulty_init(&f);
    faulty_arm(&f, FAULTY_PWRITE, 3, FAULTY_TORN, ENOSPC, 0);
    FAILS(NOSPACE, snapshot_write(&f.io, dir, 30, small_elements, 100));
    assert_int_equal(count_files(dir, ""), 0);
    faulty_free(&f);
}

static void power_cuts(void **state)
{
    (void)state;
    char *image = scratch_make();
    faulty_io f;
    faulty_init(&f);
    f.keep_data = 1;
    size_t acked[4];
    for (uint64_t i = 0; i < 4; i++) {
        OK(snapshot_write(&f.io, dir, 10 + 10 * i, small_elements, 600));
        acked[i] = f.entries;
    }
    for (size_t k = 0; k <= f.entries; k++)
        for (uint64_t r = 0; r < 32; r++) {
            powercut_image(&f, k, r < 2 ? (int)r : POWERCUT_RANDOM, k * 100 + r, dir, image);
            uint64_t steps[8];
            const uint32_t n = zo2_snapshot_list(image, steps, 8);
            for (uint32_t i = 0; i < n; i++)
                assert_snapshot(image, steps[i], small_elements);
            for (int i = 3; i >= 0; i--)
                if (acked[i] <= k) { /* the newest that was reported, or a newer one */
                    assert_true(n > 0);
                    assert_in_range(steps[0], 10 + 10 * i, 20 + 10 * i);
                    break;
                }
            zo2_snapshot_clean(&zo2_io_posix, image);
            assert_int_equal(count_files(image, ""), n);
        }
    faulty_free(&f);
    scratch_remove(image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(transfers_once, setup, teardown),
        cmocka_unit_test_setup_teardown(anything_once, setup, teardown),
        cmocka_unit_test_setup_teardown(anything_from_then_on, setup, teardown),
        cmocka_unit_test_setup_teardown(writes_from_then_on, setup, teardown),
        cmocka_unit_test_setup_teardown(flipped_writes_are_found, setup, teardown),
        cmocka_unit_test_setup_teardown(full_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(power_cuts, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

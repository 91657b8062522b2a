/* Snapshots that nothing happens to, the folder they live in, and callers that use them wrongly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/storage/scratch_dir_testing.h"
#include "tests/unit/storage/snapshot_testing.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

static void round_trip(void **state)
{
    (void)state;
    static const uint64_t pieces[] = {1u << 30, 1000, 17};
    for (uint64_t i = 0; i < 3; i++) {
        OK(snapshot_write(&zo2_io_posix, dir, 20 * i, sample_elements, pieces[i]));
        assert_snapshot(dir, 20 * i, sample_elements);
        assert_int_equal(count_files(dir, ".tmp-"), 0);
    }
    char *path = in_dir(dir, "snapshot-000000000040.zo2s");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, zo2_snapshot_bytes(sample_elements, UNITS));
    assert_int_equal(st.st_size, 4096 * (1 + 1 + 0 + 1 + 1 + 2 + 1 + 257));
    free(path);
}

/* RUN.md's bytes. */
static void golden_bytes(void **state)
{
    (void)state;
    OK(snapshot_write(&zo2_io_posix, dir, 9, small_elements, 100));
    char *path = in_dir(dir, "snapshot-000000000009.zo2s");
    size_t n;
    unsigned char *b = file_load(path, &n);
    uint64_t u64;
    assert_memory_equal(b, "ZO2SNAP\n", 8);
    memcpy(&u64, b + 24, 8);
    assert_int_equal(u64, 77);
    memcpy(&u64, b + 32, 8);
    assert_int_equal(u64, 9);
    memcpy(&u64, b + 256 + 3 * 32, 8);
    assert_int_equal(u64, 4096 * 3); /* unit 3: behind header, unit 0 and unit 2 */
    memcpy(&u64, b + 256 + 3 * 32 + 8, 8);
    assert_int_equal(u64, 1024);
    memcpy(&u64, b + 256 + 1 * 32 + 24, 8);
    assert_int_equal(u64, UINT64_C(0x2D06800538D394C2)); /* XXH3-64 of nothing */
    memcpy(&u64, b + 248, 8);
    assert_int_equal(u64, UINT64_C(0xFA31C62B0865CFCC));
    free(b);
    free(path);
}

static void list_and_prune(void **state)
{
    (void)state;
    uint64_t steps[8];
    assert_int_equal(zo2_snapshot_list("/no/such/folder", steps, 8), 0);
    assert_int_equal(zo2_snapshot_list(dir, steps, 8), 0);
    static const char *const others[] = {
        "snapshot-1.zo2s", "snapshot-00000000000x.zo2s",      "snapshot-000000000001.zo2s.bak",
        "snapshot-",       "xsnapshot-000000000001.zo2s",     "snapshot-0000000000012.zo2s",
        "metrics.jsonl",   "snapshot-000000000003.zo2s.tmp-1"};
    for (size_t i = 0; i < 8; i++) {
        char *p = in_dir(dir, others[i]);
        file_store(p, "x", 1);
        free(p);
    }
    assert_int_equal(zo2_snapshot_list(dir, steps, 8), 0);
    for (uint64_t s = 1; s <= 5; s++) {
        OK(snapshot_write(&zo2_io_posix, dir, s * 10, small_elements, 100));
        const uint32_t n = zo2_snapshot_list(dir, steps, 8);
        assert_int_equal(n, s == 1 ? 1 : 2);
        assert_int_equal(steps[0], s * 10);
        if (n == 2)
            assert_int_equal(steps[1], s * 10 - 10);
    }
    assert_int_equal(zo2_snapshot_list(dir, steps, 1), 1);
    assert_int_equal(steps[0], 50);
    assert_int_equal(zo2_snapshot_list(dir, steps, 0), 0);
    /* the same step again: replaced */
    OK(snapshot_write(&zo2_io_posix, dir, 50, small_elements, 3));
    assert_int_equal(zo2_snapshot_list(dir, steps, 8), 2);
    assert_snapshot(dir, 50, small_elements);
    assert_snapshot(dir, 40, small_elements);
    /* the journal was cut to 45 steps: what claims 50 is of another history */
    OK(snapshot_write(&zo2_io_posix, dir, 45, small_elements, 100));
    assert_int_equal(zo2_snapshot_list(dir, steps, 8), 2);
    assert_int_equal(steps[0], 45);
    assert_int_equal(steps[1], 40);
    assert_int_equal(count_files(dir, ""), 10); /* everything else is left alone */
    zo2_snapshot_clean(&zo2_io_posix, dir);
    assert_int_equal(count_files(dir, ""), 9);
    assert_int_equal(count_files(dir, ".tmp-"), 0);
    zo2_snapshot_clean(&zo2_io_posix, "/no/such/folder");
    assert_snapshot(dir, 45, small_elements);
}

static void list_sorts(void **state)
{
    (void)state;
    uint64_t rng = 1, steps[100];
    for (int i = 0; i < 60; i++) {
        char name[64];
        snprintf(name, sizeof name, "snapshot-%012llu.zo2s", (unsigned long long)(mix(&rng) % 1000000000000u));
        char *p = in_dir(dir, name);
        file_store(p, "", 0);
        free(p);
    }
    assert_int_equal(zo2_snapshot_list(dir, steps, 100), 60);
    for (int i = 1; i < 60; i++)
        assert_true(steps[i] < steps[i - 1]);
    uint64_t few[5];
    assert_int_equal(zo2_snapshot_list(dir, few, 5), 5);
    assert_memory_equal(few, steps, sizeof few);
}

/* A temporary file that someone is writing is not a leftover. */
static void clean_spares_live_files(void **state)
{
    (void)state;
    char *p = in_dir(dir, "snapshot-000000000001.zo2s.tmp-1");
    const int fd = open(p, O_CREAT | O_RDWR, 0644);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    zo2_snapshot_clean(&zo2_io_posix, dir);
    assert_int_equal(count_files(dir, ".tmp-"), 1);
    close(fd);
    zo2_snapshot_clean(&zo2_io_posix, dir);
    assert_int_equal(count_files(dir, ".tmp-"), 0);
    free(p);
}

static void makes_its_folder(void **state)
{
    (void)state;
    char *sub = in_dir(dir, "snapshots");
    OK(snapshot_write(&zo2_io_posix, sub, 1, small_elements, 100));
    assert_snapshot(sub, 1, small_elements);
    scratch_remove(sub);
    sub = in_dir(dir, "no/snapshots");
    FAILS(NOTFOUND, snapshot_write(&zo2_io_posix, sub, 1, small_elements, 100));
    free(sub);
}

static void misuse(void **state)
{
    (void)state;
    zo2_snapwriter *w;
    zo2_snapshot_header h = sample_header(5);
    const float v[8] = {0};
    const uint64_t elements[UNITS] = {2, 2, 2, 2, 2, 2, 2};
    h.units = 0;
    FAILS(ARG, zo2_snapwriter_open(&w, &zo2_io_posix, dir, &h, elements));
    h = sample_header(UINT64_C(1000000000000));
    FAILS(ARG, zo2_snapwriter_open(&w, &zo2_io_posix, dir, &h, elements));
    h = sample_header(5);
    const uint64_t huge[UNITS] = {UINT64_MAX, 1, 1, 1, 1, 1, 1};
    FAILS(ARG, zo2_snapwriter_open(&w, &zo2_io_posix, dir, &h, huge));
    assert_null(w);
    assert_true(zo2_snapshot_bytes(huge, UNITS) == UINT64_MAX);

#define BEGIN()                                                        \
    do {                                                               \
        OK(zo2_snapwriter_open(&w, &zo2_io_posix, dir, &h, elements)); \
        assert_int_equal(count_files(dir, ".tmp-"), 1);                \
    } while (0)
#define END()                                                            \
    do {                                                                 \
        FAILS(ARG, zo2_snapwriter_commit(w)); /* never after a misuse */ \
        zo2_snapwriter_close(w);                                         \
        assert_int_equal(count_files(dir, ""), 0);                       \
    } while (0)
    BEGIN(); /* values without a unit */
    FAILS(ARG, zo2_snapwriter_values(w, v, 1));
    END();
    BEGIN(); /* a unit ahead of the journal */
    FAILS(ARG, zo2_snapwriter_unit(w, 6));
    END();
    BEGIN(); /* the next unit before the last is complete */
    OK(zo2_snapwriter_unit(w, 5));
    OK(zo2_snapwriter_values(w, v, 1));
    FAILS(ARG, zo2_snapwriter_unit(w, 5));
    END();
    BEGIN(); /* too many values */
    OK(zo2_snapwriter_unit(w, 5));
    OK(zo2_snapwriter_values(w, v, 0));
    FAILS(ARG, zo2_snapwriter_values(w, v, 3));
    END();
    BEGIN(); /* too few units; none at all is just closed */
    zo2_snapwriter_close(w);
    BEGIN();
    for (int i = 0; i < UNITS; i++) {
        OK(zo2_snapwriter_unit(w, 0));
        OK(zo2_snapwriter_values(w, v, 2 - (i == UNITS - 1)));
    }
    END(); /* the last one lacks a value */
    BEGIN();
    for (int i = 0; i < UNITS; i++) {
        OK(zo2_snapwriter_unit(w, 0));
        OK(zo2_snapwriter_values(w, v, 2));
    }
    FAILS(ARG, zo2_snapwriter_unit(w, 0));
    END();
    zo2_snapwriter_close(NULL);
    zo2_snapfile_close(NULL);

    zo2_snapfile *f;
    FAILS(NOTFOUND, zo2_snapfile_open(&f, dir, 5));
    assert_null(f);
    OK(snapshot_write(&zo2_io_posix, dir, 5, small_elements, 100));
    OK(zo2_snapfile_open(&f, dir, 5));
    float out[4];
    FAILS(ARG, zo2_snapfile_read_unit(f, UNITS, out));
    FAILS(ARG, zo2_snapfile_read_unit(f, 0, NULL));
    zo2_snapfile_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(golden_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(list_and_prune, setup, teardown),
        cmocka_unit_test_setup_teardown(list_sorts, setup, teardown),
        cmocka_unit_test_setup_teardown(clean_spares_live_files, setup, teardown),
        cmocka_unit_test_setup_teardown(makes_its_folder, setup, teardown),
        cmocka_unit_test_setup_teardown(misuse, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

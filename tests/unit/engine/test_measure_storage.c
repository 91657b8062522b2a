/* test_measure_storage.c: storage is measured by moving what is said to be moved, and nothing is left of it. No speed is
 * asserted. */
#include "engine/measure/measure.h"

#include "engine/measure/rates.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/files_testing.h"

#define SPAN  ((uint64_t)64 << 10)
#define SPANS 37u /* more than are in flight at once, and no multiple of that */

static zo2_measure_spec spec_of(zo2_measure_kind kind, const char *dir)
{
    zo2_measure_spec spec;
    zo2_measure_spec_init(&spec);
    spec.kind = kind;
    spec.threads = 1;
    spec.bytes = SPANS * SPAN;
    spec.chunk_bytes = SPAN;
    spec.dir = dir;
    return spec;
}

static double run_one(zo2_measure *m)
{
    double seconds = -1;
    OK(zo2_measure_run(m, 1, &seconds));
    assert_true(isfinite(seconds) && seconds >= 0);
    return seconds;
}

/* Reads fill the buffers with the file's last spans; writes put the buffers into the file, by turns. */
static void all_spans_are_moved(void **state)
{
    (void)state;
    char *dir = scratch_make(), *path = in_dir(dir, "f");
    for (int threads = 0; threads < 2; threads++) {
        unsigned char *random = sample_bytes(5, SPANS * SPAN);
        file_store(path, random, SPANS * SPAN);
        zo2_measure_spec spec = spec_of(ZO2_MEASURE_STORAGE_READ, NULL);
        spec.file = path;
        spec.no_io_uring = threads;
        zo2_measure_info info;
        zo2_measure *m;
        OK(zo2_measure_open(&m, &spec, &info));
        assert_true(info.items == SPANS * SPAN);
        assert_int_equal(info.bytes_written, SPANS * SPAN);
        assert_int_equal(info.bytes_read, 0);
        assert_non_null(strstr(info.io, threads ? "pread threads" : "io_uring"));
        memset(m->memory, 0, m->memory_bytes);
        run_one(m);
        size_t found = 0;
        for (uint32_t b = 0; b < m->span_buffers; b++)
            for (uint64_t i = 0; i < SPANS; i++)
                found += memcmp(m->memory + b * SPAN, random + i * SPAN, SPAN) == 0;
        assert_int_equal(found, m->span_buffers);
        zo2_measure_close(m);

        spec.kind = ZO2_MEASURE_STORAGE_WRITE;
        OK(zo2_measure_open(&m, &spec, &info));
        assert_int_equal(info.bytes_read, SPANS * SPAN);
        size_t n;
        unsigned char *before = file_load(path, &n);
        assert_memory_equal(before, random, n); /* opening leaves a whole file alone */
        run_one(m);
        unsigned char *after = file_load(path, &n);
        assert_int_equal(n, SPANS * SPAN);
        for (uint64_t i = 0; i < SPANS; i++) {
            found = 0;
            for (uint32_t b = 0; b < m->span_buffers; b++)
                found += memcmp(after + i * SPAN, m->memory + b * SPAN, SPAN) == 0;
            assert_int_equal(found, 1);
        }
        zo2_measure_close(m);
        free(after);
        free(before);
        free(random);
    }
    free(path);
    scratch_remove(dir);
}

static void a_folder_stays_empty(void **state)
{
    (void)state;
    static const zo2_measure_kind kinds[] = {ZO2_MEASURE_STORAGE_READ, ZO2_MEASURE_STORAGE_WRITE};
    char *dir = scratch_make();
    for (int i = 0; i < 2; i++) {
        zo2_measure_spec spec = spec_of(kinds[i], dir);
        zo2_measure *m;
        OK(zo2_measure_open(&m, &spec, NULL));
        assert_int_equal(count_files(dir, ""), 0); /* it has no name from the start */
        run_one(m);
        zo2_measure_close(m);
        assert_int_equal(count_files(dir, ""), 0);
    }
    zo2_storage_rates rates;
    OK(zo2_measure_storage_rates(&rates, dir, SPAN, 0)); /* no time: what it takes at least */
    assert_true(rates.read_bytes > 0 && rates.write_bytes > 0);
    OK(zo2_measure_storage_rates(&rates, dir, 0, 0.05));
    assert_true(isfinite(rates.read_bytes) && rates.read_bytes > 0);
    assert_true(isfinite(rates.write_bytes) && rates.write_bytes > 0);
    assert_int_equal(count_files(dir, ""), 0);
    scratch_remove(dir);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    char *dir = scratch_make(), *path = in_dir(dir, "f");
    zo2_measure_spec spec = spec_of(ZO2_MEASURE_STORAGE_READ, NULL);
    zo2_measure *m;
    FAILS(ARG, zo2_measure_open(&m, &spec, NULL));
    spec.dir = dir;
    spec.file = path;
    FAILS(ARG, zo2_measure_open(&m, &spec, NULL));
    spec.dir = NULL;
    FAILS(NOTFOUND, zo2_measure_open(&m, &spec, NULL));
    SAYS(path);
    spec = spec_of(ZO2_MEASURE_STORAGE_WRITE, path);
    FAILS(NOTFOUND, zo2_measure_open(&m, &spec, NULL));
    SAYS(path);
    file_store(path, "text", 4);
    zo2_storage_rates rates;
    FAILS(NOTFOUND, zo2_measure_storage_rates(&rates, path, 0, 0)); /* a file isn't taken for a folder */
    size_t n;
    unsigned char *text = file_load(path, &n);
    assert_int_equal(n, 4);
    uint64_t free_bytes;
    OK(zo2_io_free_bytes(dir, &free_bytes));
    spec = spec_of(ZO2_MEASURE_STORAGE_WRITE, dir);
    spec.bytes = 2 * free_bytes;
    if (spec.bytes <= (uint64_t)1 << 40)
        FAILS(NOSPACE, zo2_measure_open(&m, &spec, NULL));
    free(text);
    free(path);
    scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_spans_are_moved),
        cmocka_unit_test(a_folder_stays_empty),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

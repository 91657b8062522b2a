/* snapshot_testing.h: sample snapshots for the tests. Include after cmocka.h. */
#ifndef ZO2_TESTS_UNIT_STORAGE_SNAPSHOT_TESTING_H
#define ZO2_TESTS_UNIT_STORAGE_SNAPSHOT_TESTING_H

#include "storage/run/snapshot_format.h"
#include "tests/unit/engine/rundir_testing.h"

#define UNITS 7

/* Around zero, a page, and the 1 MiB piece. */
static const uint64_t sample_elements[UNITS] = {1, 0, 1023, 1024, 1025, 3, (1u << 18) + 5};
static const uint64_t small_elements[UNITS] = {1, 0, 30, 1024, 2, 3, 5};

static inline zo2_snapshot_header sample_header(uint64_t step)
{
    return (zo2_snapshot_header){.model_hash = 77, .step = step, .chain = step * 3 + 1, .units = UNITS};
}

static inline uint64_t sample_unit_step(uint64_t step, uint32_t unit)
{
    return step - (step > unit ? unit : 0);
}

/* Any bits, NaNs among them. */
static inline float *sample_values(uint64_t step, uint32_t unit, uint64_t n)
{
    uint64_t state = step * 100 + unit;
    float *v = malloc((size_t)(n + 1) * sizeof *v);
    assert_non_null(v);
    for (uint64_t i = 0; i < n; i++) {
        const uint32_t bits = (uint32_t)mix(&state);
        memcpy(&v[i], &bits, 4);
    }
    return v;
}

/* Writes the sample snapshot of a step, in pieces of at most `piece` values. */
static inline zo2_status snapshot_write(const zo2_io *io, const char *folder, uint64_t step, const uint64_t *elements,
                                        uint64_t piece)
{
    const zo2_snapshot_header h = sample_header(step);
    zo2_snapwriter *w;
    zo2_status s = zo2_snapwriter_open(&w, io, folder, &h, elements);
    if (s) {
        assert_null(w);
        return s;
    }
    for (uint32_t u = 0; !s && u < UNITS; u++) {
        s = zo2_snapwriter_unit(w, sample_unit_step(step, u));
        float *v = sample_values(step, u, elements[u]);
        for (uint64_t at = 0; !s && at < elements[u]; at += piece)
            s = zo2_snapwriter_values(w, v + at, elements[u] - at < piece ? elements[u] - at : piece);
        free(v);
    }
    if (!s)
        s = zo2_snapwriter_commit(w);
    zo2_snapwriter_close(w);
    return s;
}

/* The snapshot of a step is there and is the sample. */
static inline void assert_snapshot(const char *folder, uint64_t step, const uint64_t *elements)
{
    zo2_snapfile *f;
    if (zo2_snapfile_open(&f, folder, step))
        fail_msg("%s", zo2_last_error());
    const zo2_snapshot_header want = sample_header(step), *got = zo2_snapfile_get_header(f);
    assert_int_equal(got->model_hash, want.model_hash);
    assert_int_equal(got->step, want.step);
    assert_int_equal(got->chain, want.chain);
    assert_int_equal(got->units, want.units);
    for (uint32_t u = 0; u < UNITS; u++) {
        assert_int_equal(zo2_snapfile_unit_step(f, u), sample_unit_step(step, u));
        assert_int_equal(zo2_snapfile_unit_elements(f, u), elements[u]);
        float *v = sample_values(step, u, elements[u]);
        float *back = malloc((size_t)(elements[u] + 1) * sizeof *back);
        assert_non_null(back);
        memset(back, 0xA5, (size_t)(elements[u] + 1) * sizeof *back);
        const uint32_t poison = 0xA5A5A5A5u;
        if (zo2_snapfile_read_unit(f, u, back))
            fail_msg("%s", zo2_last_error());
        assert_int_equal(memcmp(back, v, (size_t)elements[u] * sizeof *v), 0);
        assert_memory_equal(&back[elements[u]], &poison, 4);
        free(v);
        free(back);
    }
    zo2_snapfile_close(f);
}

#endif

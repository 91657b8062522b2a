/* rundir_testing.h: what the tests of journal, snapshots and lock share: sample contents. Scratch folders and whole
 * files: files_testing.h. Include after cmocka.h. */
#ifndef ZO2_TESTS_UNIT_ENGINE_RUNDIR_TESTING_H
#define ZO2_TESTS_UNIT_ENGINE_RUNDIR_TESTING_H

#include "storage/run/journal_format.h"
#include "tests/unit/files_testing.h"

static inline zo2_run_settings sample_settings(uint32_t queries)
{
    return (zo2_run_settings){
        .model_hash = UINT64_C(0x0123456789ABCDEF),
        .seed = UINT64_MAX,
        .lr = 1e-6,
        .eps = 1e-3,
        .weight_decay = 0.1,
        .clip = 2.5,
        .warmup = 17,
        .total_steps = 20000,
        .schedule = ZO2_LINEAR,
        .dist = ZO2_RADEMACHER,
        .queries = queries,
        .pending = 3,
        .micro_batch = UINT32_MAX,
        .wire = ZO2_WIRE_E4M3,
        .frozen_wire = ZO2_WIRE_E4M3,
        .compute = ZO2_F16,
        .tune_order = ZO2_ORDER_TOP,
        .trunk_type = ZO2_F32,
        .backend = ZO2_BACKEND_CPU,
        .noise_version = 1,
        .tile_rule = 2,
        .decay_set = 3,
    };
}

/* The record of a step: every seventh is skipped, with losses that are NaNs carrying a payload. */
static inline zo2_journal_record sample_record(uint64_t step, uint32_t queries)
{
    uint64_t state = step * 1000 + queries;
    zo2_journal_record r;
    memset(&r, 0, sizeof r);
    r.step = step;
    r.tokens = mix(&state) >> 40;
    r.data_position = step * 16;
    r.skipped = step % 7 == 6;
    r.d = (float)(mix(&state) >> 40) * -1e-9f;
    r.queries = queries;
    for (uint32_t q = 0; q < queries; q++) {
        r.query[q].loss_plus = (double)(mix(&state) >> 11) * 1e-16;
        r.query[q].loss_minus = (double)(mix(&state) >> 11) * 1e-16;
        r.query[q].g_raw = (float)(mix(&state) >> 40) - 1e7f;
        r.query[q].g_clipped = r.query[q].g_raw / 3;
        r.query[q].c = r.query[q].g_raw * 1e-9f;
        if (r.skipped) {
            const uint64_t quiet = UINT64_C(0xFFF8000000000000) | (mix(&state) >> 13);
            const uint64_t signalling = UINT64_C(0x7FF0000000000001) | (mix(&state) >> 13);
            const uint32_t infinite = 0x7F800000u;
            memcpy(&r.query[q].loss_plus, &quiet, 8);
            memcpy(&r.query[q].loss_minus, &signalling, 8);
            memcpy(&r.query[q].g_raw, &infinite, 4);
            memcpy(&r.query[q].c, &infinite, 4);
        }
    }
    return r;
}

/* Bit for bit, as stored: a memcmp() of the structs would compare padding. */
static inline void assert_record(const zo2_journal_record *got, uint64_t step, uint32_t queries)
{
    const zo2_journal_record want = sample_record(step, queries);
    unsigned char a[ZO2_JOURNAL_MAX_RECORD_BYTES], b[ZO2_JOURNAL_MAX_RECORD_BYTES];
    assert_int_equal(got->queries, queries);
    assert_int_equal(got->skipped, want.skipped);
    zo2_journal_encode(a, got, 0);
    zo2_journal_encode(b, &want, 0);
    assert_memory_equal(a, b, ZO2_JOURNAL_RECORD_BYTES(queries));
}

/* All steps of a journal are the samples. */
static inline void assert_journal(const zo2_journal *j, uint64_t steps, uint32_t queries)
{
    assert_int_equal(zo2_journal_steps(j), steps);
    for (uint64_t i = 0; i < steps; i++)
        assert_record(zo2_journal_at(j, i), i, queries);
}

static inline zo2_status append_sample(zo2_journal *j)
{
    const zo2_journal_record r = sample_record(zo2_journal_steps(j), zo2_journal_settings(j)->queries);
    return zo2_journal_append(j, &r);
}

/* A finished journal of the samples. */
static inline void journal_write(const char *path, uint64_t steps, uint32_t queries)
{
    const zo2_run_settings s = sample_settings(queries);
    zo2_journal *j;
    OK(zo2_journal_create(&j, &zo2_io_posix, path, &s));
    for (uint64_t i = 0; i < steps; i++)
        OK(append_sample(j));
    zo2_journal_close(j);
}

#endif

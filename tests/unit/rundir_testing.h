/* rundir_testing.h: what the tests of journal, snapshots and lock share: a scratch folder, whole files, sample contents. Include
 * after cmocka.h. */
#ifndef ZO2_TESTS_RUNDIR_TESTING_H
#define ZO2_TESTS_RUNDIR_TESTING_H

#include "storage/journal_format.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OK(call)       assert_int_equal((call), ZO2_OK)
#define FAILS(s, call) assert_int_equal((call), ZO2_ERR_##s)
/* The message must name what is wrong. */
#define SAYS(text)                                                       \
    do {                                                                 \
        if (!strstr(zo2_last_error(), text))                             \
            fail_msg("\"%s\" is not in \"%s\"", text, zo2_last_error()); \
    } while (0)

/* A fresh folder; in memory where possible, because these tests sync thousands of times. */
static inline char *scratch_make(void)
{
    static const char *const roots[] = {"/dev/shm", "/tmp"};
    for (size_t i = 0; i < 2; i++) {
        char *dir = malloc(64);
        assert_non_null(dir);
        snprintf(dir, 64, "%s/zo2-test-XXXXXX", roots[i]);
        if (mkdtemp(dir))
            return dir;
        free(dir);
    }
    fail_msg("no place for a scratch folder");
    return NULL;
}

/* Removes the files of a folder; returns how many there were. Folders in it stay. */
static inline int scratch_empty(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += unlinkat(dirfd(d), e->d_name, 0) == 0;
    closedir(d);
    return n;
}

static inline void scratch_remove(char *dir)
{
    scratch_empty(dir);
    assert_int_equal(rmdir(dir), 0);
    free(dir);
}

/* Files of a folder whose names contain `part`. */
static inline int count_files(const char *dir, const char *part)
{
    int n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.' && strstr(e->d_name, part);
    closedir(d);
    return n;
}

static inline char *in_dir(const char *dir, const char *name)
{
    char *path = zo2_path_join(dir, name);
    assert_non_null(path);
    return path;
}

static inline unsigned char *file_load(const char *path, size_t *n)
{
    char *data;
    OK(zo2_io_slurp(path, (uint64_t)1 << 32, &data, n));
    return (unsigned char *)data;
}

static inline void file_store(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* splitmix64: fixed sequences for sample contents. */
static inline uint64_t mix(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

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
        .compute = ZO2_F16,
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

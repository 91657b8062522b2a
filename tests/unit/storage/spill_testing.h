/* spill_testing.h: what the tests of spills share: a few chunks of every kind, versions whose bytes chunk and step fix, and
 * what must hold of whatever is found. Include after cmocka.h. */
#ifndef ZO2_TESTS_UNIT_STORAGE_SPILL_TESTING_H
#define ZO2_TESTS_UNIT_STORAGE_SPILL_TESTING_H

#include "storage/spill/spill.h"
#include "storage/spill/spill_format.h"
#include "tests/unit/files_testing.h"

#define RUN     UINT64_C(0x0123456789ABCDEF)
#define RUN_TAG "spill-0123456789abcdef.zo2x"
#define CHUNKS  7
#define PLANE   12288 /* room for any plane of these */

static const zo2_spill_chunk chunk_sizes[CHUNKS] = {
    {12288, 4096}, {10000, 4000}, {512, 0}, {0, 0}, {256, 300}, {0, 9000}, {12000, 3},
};
#define NOT_KEPT 3

/* As a journal's chain value: what had been done after `step` steps. ud: which of two histories it is from step 100 on. */
static inline uint64_t test_history(const void *ud, uint64_t step)
{
    uint64_t s = step + (ud && step >= 100 ? 1000000 : 0);
    return mix(&s);
}

static inline zo2_spill_config test_config(const char *const *folders, uint32_t n)
{
    return (zo2_spill_config){.run = RUN,
                              .layout = 42,
                              .chunks = chunk_sizes,
                              .n_chunks = CHUNKS,
                              .dirs = folders,
                              .n_dirs = n,
                              .writable = 1,
                              .most_step = 1000,
                              .history = test_history};
}

typedef struct test_planes {
    _Alignas(4096) unsigned char wire[PLANE], rest[PLANE];
} test_planes;

static inline test_planes *test_planes_new(void)
{
    void *p = NULL;
    assert_int_equal(posix_memalign(&p, 4096, sizeof(test_planes)), 0);
    return p;
}

/* What chunk holds at a step; poison behind it. */
static inline void test_fill(test_planes *p, uint32_t chunk, uint64_t step)
{
    uint64_t seed = chunk * 1000000 + step;
    memset(p, 0xEE, sizeof *p);
    for (uint64_t i = 0; i < chunk_sizes[chunk].wire_bytes; i++)
        p->wire[i] = (unsigned char)mix(&seed);
    for (uint64_t i = 0; i < chunk_sizes[chunk].rest_bytes; i++)
        p->rest[i] = (unsigned char)mix(&seed);
}

/* Writes a version of a chunk: what the write lane does. want_slot 0: a full class is fine, 0 is returned. */
static inline zo2_status test_write(zo2_spill *s, const zo2_io *io, uint32_t chunk, uint64_t step, int *written)
{
    zo2_spill_version v;
    uint32_t n;
    const zo2_aio_file *files = zo2_spill_files(s, &n);
    *written = zo2_spill_take(s, chunk, &v);
    if (!*written)
        return ZO2_OK;
    assert_int_equal(v.chunk, chunk);
    assert_in_range(v.file, 0, n - 1);
    test_planes *p = test_planes_new();
    test_fill(p, chunk, step);
    const zo2_spill_chunk *size = &chunk_sizes[chunk];
    zo2_status status = zo2_aio_file_write(&files[v.file], io, p->wire, zo2_spill_pages(size->wire_bytes), v.wire_at);
    if (!status)
        status = zo2_aio_file_write(&files[v.file], io, p->rest, zo2_spill_pages(size->rest_bytes), v.rest_at);
    v.step = step;
    v.history = test_history(NULL, step);
    v.wire_hash = XXH3_64bits(p->wire, size->wire_bytes);
    v.rest_hash = XXH3_64bits(p->rest, size->rest_bytes);
    if (status)
        zo2_spill_give_back(s, &v);
    else
        zo2_spill_written(s, &v);
    *written = !status;
    free(p);
    return status;
}

/* The step of a chunk's newest version, whose bytes are checked; -1: there is none. */
static inline int64_t test_step(zo2_spill *s, uint32_t chunk)
{
    zo2_spill_version v;
    if (!zo2_spill_find(s, chunk, &v))
        return -1;
    test_planes *want = test_planes_new(), *got = test_planes_new();
    test_fill(want, chunk, v.step);
    if (zo2_spill_read(s, &v, got->wire, got->rest))
        fail_msg("%s", zo2_last_error());
    assert_memory_equal(got->wire, want->wire, chunk_sizes[chunk].wire_bytes);
    assert_memory_equal(got->rest, want->rest, chunk_sizes[chunk].rest_bytes);
    assert_true(v.history == test_history(NULL, v.step));
    free(want);
    free(got);
    return (int64_t)v.step;
}

#endif

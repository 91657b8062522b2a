/* engine_testing.h: what the tests of the engine share: packs made from fixtures, batches, run directories that go
 * away. */
#ifndef ZO2_TESTS_UNIT_ENGINE_ENGINE_TESTING_H
#define ZO2_TESTS_UNIT_ENGINE_ENGINE_TESTING_H

#include "engine/run/session.h"
#include "tests/unit/kernels/product_type.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* These tests are built for each backend that computes; a test of a GPU is skipped where there is none. */
#ifndef TEST_BACKEND
#define TEST_BACKEND ZO2_BACKEND_CPU
#endif
#ifdef ZO2_TEST_CUDASIM
#include "cudasim.h"
#endif

/* Around a program's tests: the device that they run on, a simulated one in the order that `variant` chooses. */
static inline void test_device_begin(unsigned variant)
{
#ifdef ZO2_TEST_CUDASIM
    static const cudasim_order orders[] = {CUDASIM_FIFO, CUDASIM_LIFO, CUDASIM_SEEDED};
    static const cudasim_threads threads[] = {CUDASIM_FORWARD, CUDASIM_REVERSE, CUDASIM_SHUFFLED};
    cudasim_config sim = {
        .device_bytes = 2ull << 30, .order = orders[variant % 3], .threads = threads[variant % 3], .seed = variant};
    cudasim_reset(&sim);
#endif
    (void)variant;
    const zo2_backend_ops *ops = zo2_backend_get(TEST_BACKEND);
    if (!ops || (ops->usable && ops->usable()))
        exit(77);
}

static inline void test_device_end(void)
{
#ifdef ZO2_TEST_CUDASIM
    if (cudasim_report()[0])
        fail_msg("the simulator reports: %s", cudasim_report());
#endif
}

#define MUST(call)                                                                       \
    do {                                                                                 \
        zo2_status must_status = (call);                                                 \
        if (must_status)                                                                 \
            fail_msg("%s: %s (%s)", #call, zo2_last_error(), zo2_strerror(must_status)); \
    } while (0)

/* A scratch folder of one test program. */
static inline const char *scratch_dir(void)
{
    static char dir[64];
    if (!dir[0]) {
        strcpy(dir, "/tmp/zo2-test-XXXXXX");
        assert_non_null(mkdtemp(dir));
    }
    return dir;
}

static inline void remove_tree(const char *path)
{
    char command[600];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    assert_int_equal(system(command), 0);
}

static inline char *scratch_path(char *buffer, size_t size, const char *name)
{
    snprintf(buffer, size, "%s/%s", scratch_dir(), name);
    return buffer;
}

/* Converts a Hugging Face directory below tests/data once; later calls find the pack. */
static inline const char *pack_of(const char *hf_dir)
{
    static char path[512];
    char from[600], name[400];
    snprintf(name, sizeof name, "%s.zo2", hf_dir);
    for (char *c = name; *c; c++)
        *c = *c == '/' ? '_' : *c;
    scratch_path(path, sizeof path, name);
    if (access(path, F_OK)) {
        zo2_convert_opts o;
        zo2_convert_opts_init(&o);
        snprintf(from, sizeof from, "%s/%s", ZO2_TEST_DATA, hf_dir);
        MUST(zo2_pack_convert(from, path, &o));
    }
    return path;
}

/* Deterministic pseudo-random numbers for test data. */
static inline uint32_t test_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* Of a run that is gone on with where there is one, on one thread. */
static inline zo2_engine_opts small_run(uint64_t seed, uint32_t rows, uint32_t seq)
{
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    o.backend = TEST_BACKEND;
    o.lr = 1e-3;
    o.weight_decay = 0.1;
    o.seed = seed;
    o.max_rows = rows;
    o.max_seq = seq;
    o.threads = 1;
    o.resume = 1;
    return o;
}

/* A batch that owns its arrays. */
typedef struct test_batch {
    zo2_batch b;
    int32_t tokens[1024];
    uint8_t mask[1024], loss[1024];
    uint32_t example[64], label[64];
} test_batch;

/* rows of random lengths up to seq, loss on all tokens but the first (labelled 0), or n_options rows an example with a
 * common prompt. */
static inline void random_batch(test_batch *t, uint32_t seed, uint32_t vocab, uint32_t rows, uint32_t seq,
                                uint32_t options)
{
    memset(t, 0, sizeof *t);
    t->b = (zo2_batch){
        .struct_size = sizeof t->b, .rows = rows, .seq = seq, .tokens = t->tokens, .mask = t->mask, .loss = t->loss};
    for (uint32_t r = 0; r < rows; r++) {
        uint32_t length = seq / 2 + test_random(&seed) % (seq / 2 + 1), prompt = options ? seq / 2 - 1 : 1;
        for (uint32_t i = 0; i < length; i++) {
            uint32_t at = r * seq + i;
            t->tokens[at] = (int32_t)(test_random(&seed) % vocab);
            if (options && i < prompt && r % options)
                t->tokens[at] = t->tokens[(r - r % options) * seq + i];
            t->mask[at] = 1;
            t->loss[at] = i >= prompt;
        }
    }
    if (!options)
        return;
    t->b.examples = rows / options;
    t->b.example = t->example;
    t->b.label = t->label;
    for (uint32_t r = 0; r < rows; r++)
        t->example[r] = r / options;
    for (uint32_t e = 0; e < t->b.examples; e++)
        t->label[e] = test_random(&seed) % options;
}

/* A pack that stores one layer for all. */
static inline const char *alias_pack(void)
{
    static char path[512];
    char config[600];
    zo2_synth_opts o;
    scratch_path(path, sizeof path, "aliased.zo2");
    zo2_synth_opts_init(&o);
    o.alias = 1;
    snprintf(config, sizeof config, "%s/opt-fixtures/prenorm-f32/config.json", ZO2_TEST_DATA);
    if (access(path, F_OK))
        MUST(zo2_pack_synth(config, path, &o));
    return path;
}

/* The last of cmocka_run_group_tests()'s arguments: after a program's tests. */
static inline int test_clean(void **state)
{
    (void)state;
    test_device_end();
    remove_tree(scratch_dir());
    return 0;
}

#endif

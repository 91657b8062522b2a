/* test_backend_lse.c: the streaming log-sum-exp against log-softmax in double, whatever the tiles; and its exponential.
 */
#include "tests/unit/kernels/test_backend_util.h"

#include "kernels/cpu/fast_exp.h"

#define STREAMS 2

/* Logits of `vocab` words go in by tiles of `tile`. even: rows begin at multiples of 8 elements where tiles are.
 * Outputs STREAMS * m log-probabilities. */
static float *run(const float *logits, const uint32_t *target, uint64_t m, uint64_t vocab, uint64_t tile,
                  uint32_t threads, int even)
{
    test_device t;
    uint64_t ld = tile + (even ? 8 : 3), stride = m * ld + (even ? 8 : 5), stride_state = m + 1;
    test_open(&t, TEST_BACKEND, STREAMS * (4 * stride + 32 * stride_state) + 4096, threads);
    float *x = test_floats(&t, STREAMS * stride), *logprob = test_floats(&t, STREAMS * stride_state);
    uint32_t *ids = test_take(&t, m * sizeof *ids);
    zo2_lse *states = test_take(&t, STREAMS * stride_state * sizeof *states);
    memcpy(ids, target, m * sizeof *ids);
    TEST_OK(t.ops->lse_init(t.b, &(zo2_lse_init_op){states, STREAMS * stride_state}));
    for (uint64_t first = 0; first < vocab; first += tile) {
        uint64_t n = vocab - first < tile ? vocab - first : tile;
        for (uint64_t s = 0; s < STREAMS; s++)
            for (uint64_t r = 0; r < m; r++)
                memcpy(x + s * stride + r * ld, logits + (s * m + r) * vocab + first, n * sizeof *x);
        zo2_lse_op op = {.streams = STREAMS,
                         .m = m,
                         .n = n,
                         .logits = x,
                         .ld = ld,
                         .stride = stride,
                         .target = ids,
                         .first = first,
                         .state = states,
                         .stride_state = stride_state};
        TEST_OK(t.ops->lse_tile(t.b, &op));
    }
    TEST_OK(t.ops->lse_finish(t.b, &(zo2_lse_finish_op){states, STREAMS * stride_state, logprob}));
    float *out = malloc(STREAMS * m * sizeof *out);
    for (uint64_t s = 0; s < STREAMS; s++)
        memcpy(out + s * m, logprob + s * stride_state, m * sizeof *out);
    test_close(&t);
    return out;
}

static void test_tiles(void **state)
{
    (void)state;
    static const uint64_t cases[][3] = {{1, 1, 1},        {3, 5, 2},        {2, 33, 32},      {5, 1000, 1000},
                                        {5, 1000, 999},   {40, 3000, 7},    {70, 2500, 1024}, {2, 50272, 50272},
                                        {2, 50272, 4096}, {1, 11264, 11264}};
    for (unsigned c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        uint64_t m = cases[c][0], vocab = cases[c][1], tile = cases[c][2];
        if (TEST_BACKEND != ZO2_BACKEND_CPU && vocab / tile > 100)
            continue; /* hundreds of launches, each with copies of everything */
        float spread = c % 3 == 0 ? 3.0f : c % 3 == 1 ? 60.0f : 200.0f;
        float *logits = malloc(STREAMS * m * vocab * sizeof *logits);
        uint32_t *target = malloc(m * sizeof *target);
        test_fill(logits, STREAMS * m * vocab, c + 1, spread, ZO2_F32);
        for (uint64_t i = 0; i < m; i++)
            target[i] = (uint32_t)(i == 0 ? vocab - 1 : i * 7919 % vocab);
        float *first = run(logits, target, m, vocab, tile, 1, 0);
        for (uint64_t i = 0; i < STREAMS * m; i++) {
            const float *x = logits + i * vocab;
            double max = -INFINITY, sum = 0, depth = 0;
            for (uint64_t j = 0; j < vocab; j++)
                max = fmax(max, (double)x[j]);
            for (uint64_t j = 0; j < vocab; j++) {
                double e = exp((double)x[j] - max);
                sum += e;
                depth += e * (max - (double)x[j]); /* rounding x - max costs depth / sum * 2^-24 */
            }
            double want = (double)x[target[i % m]] - max - log(sum);
            /* exp: 2 ulp of 2^-23; lanes of 1,024 / 32 terms, five folds; each tile rounds the state twice and rescales
             * it. */
            double relative = TEST_ULP * (4 + 32 + 5 + depth / sum + 8 * (double)((vocab + tile - 1) / tile));
            /* Terms below e^-87 of the maximum are dropped. */
            relative += (double)vocab * exp(-87.0);
            TEST_NEAR((double)first[i], want, relative + TEST_ULP * fabs(want), "logprob", i);
        }
        for (unsigned th = 1; th < TEST_THREAD_COUNTS; th++) {
            float *again = run(logits, target, m, vocab, tile, test_thread_counts[th], th % 2);
            assert_memory_equal(first, again, STREAMS * m * sizeof *again);
            free(again);
        }
        free(first);
        free(logits);
        free(target);
    }
}

/* What isn't finite must not end in a finite log-probability, wherever it stands: first, in a vector's body, in the
 * tail, any tile. */
static void test_nonfinite(void **state)
{
    (void)state;
    enum { VOCAB = 300, M = 1 };
    static const uint64_t tiles[] = {300, 104, 7}, places[] = {0, 1, 40, 99, 100, 290, 299};
    float logits[STREAMS * VOCAB];
    uint32_t target = 50;
    for (unsigned t = 0; t < 3; t++)
        for (unsigned p = 0; p < 7; p++)
            for (int kind = 0; kind < 3; kind++) {
                test_fill(logits, STREAMS * VOCAB, 3, 5.0f, ZO2_F32);
                logits[places[p]] = kind == 0 ? NAN : kind == 1 ? INFINITY : -INFINITY;
                float *got = run(logits, &target, M, VOCAB, tiles[t], 1, p % 2);
                assert_int_equal(isfinite(got[0]) != 0, kind == 2); /* a word of probability zero is fine */
                assert_true(isfinite(got[1]));                      /* the other stream */
                free(got);
            }
    for (int i = 0; i < STREAMS * VOCAB; i++)
        logits[i] = -INFINITY;
    float *got = run(logits, &target, M, VOCAB, 100, 1, 0);
    assert_true(isnan(got[0]));
    free(got);
    test_fill(logits, STREAMS * VOCAB, 3, 5.0f, ZO2_F32);
    for (int i = 0; i < STREAMS * VOCAB; i++)
        logits[i] -= 200.0f;      /* an empty tile must not leave a maximum of 0 behind */
    for (int i = 0; i < 100; i++) /* a whole tile without any probability, before and between others */
        logits[i] = logits[VOCAB + 100 + i] = -INFINITY;
    target = 250;
    got = run(logits, &target, M, VOCAB, 100, 1, 0);
    float *whole = run(logits, &target, M, VOCAB, 300, 1, 0);
    assert_true(isfinite(got[0]) && isfinite(got[1]));
    assert_float_equal(got[0], whole[0], 1e-6f);
    assert_float_equal(got[1], whole[1], 1e-6f);
    free(got);
    free(whole);
    target = VOCAB; /* no tile has it */
    test_fill(logits, STREAMS * VOCAB, 3, 5.0f, ZO2_F32);
    got = run(logits, &target, M, VOCAB, 100, 1, 0);
    assert_true(isnan(got[0]) && isnan(got[1]));
    free(got);
}

static void test_exponential(void **state)
{
    (void)state;
    double worst = 0;
    for (float x = 0; x >= -87.0f; x -= 0.000173f) {
        double want = exp((double)x), error = fabs((double)zo2_exp_neg(x) - want) / want;
        worst = error > worst ? error : worst;
    }
    assert_true(worst <= 2 * 2 * TEST_ULP);
    assert_true(zo2_exp_neg(0.0f) == 1.0f && zo2_exp_neg(-87.1f) == 0.0f && zo2_exp_neg(-INFINITY) == 0.0f);
    assert_true(zo2_exp_neg(-1e30f) == 0.0f && isnan(zo2_exp_neg(NAN)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tiles),
        cmocka_unit_test(test_nonfinite),
        cmocka_unit_test(test_exponential),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

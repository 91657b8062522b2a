/* test_backend_lse.c: the streaming log-sum-exp against log-softmax in double, whatever the tiles; and its exponential.
 */
#include "tests/unit/kernels/test_backend_util.h"

#include "kernels/cpu/fast_exp.h"

#define STREAMS 2

static uint64_t words_of(uint64_t rows)
{
    return (rows + 31) / 32;
}

/* Logits of `vocab` words go in by tiles of `tile`, but for those in skip (NULL: all do). even: rows begin at multiples of 8
 * elements where tiles are. Outputs STREAMS * m log-probabilities. */
static float *run_skipping(const float *logits, const uint32_t *target, uint64_t m, uint64_t vocab, uint64_t tile,
                           uint32_t threads, int even, const uint32_t *skip)
{
    test_device t;
    uint64_t ld = tile + (even ? 8 : 3), stride = m * ld + (even ? 8 : 5), stride_state = m + 1;
    test_open(&t, TEST_BACKEND, STREAMS * (4 * stride + 32 * stride_state) + vocab / 8 + 4096, threads);
    float *x = test_floats(&t, STREAMS * stride), *logprob = test_floats(&t, STREAMS * stride_state);
    uint32_t *ids = test_take(&t, m * sizeof *ids);
    zo2_lse *states = test_take(&t, STREAMS * stride_state * sizeof *states);
    memcpy(ids, target, m * sizeof *ids);
    uint32_t *bits = skip ? test_take(&t, words_of(vocab) * sizeof *bits) : NULL;
    if (skip)
        memcpy(bits, skip, words_of(vocab) * sizeof *bits);
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
                         .stride_state = stride_state,
                         .skip = bits,
                         .skip_rows = vocab};
        TEST_OK(t.ops->lse_tile(t.b, &op));
    }
    TEST_OK(t.ops->lse_finish(t.b, &(zo2_lse_finish_op){states, STREAMS * stride_state, logprob}));
    float *out = malloc(STREAMS * m * sizeof *out);
    for (uint64_t s = 0; s < STREAMS; s++)
        memcpy(out + s * m, logprob + s * stride_state, m * sizeof *out);
    test_close(&t);
    return out;
}

static float *run(const float *logits, const uint32_t *target, uint64_t m, uint64_t vocab, uint64_t tile,
                  uint32_t threads, int even)
{
    return run_skipping(logits, target, m, vocab, tile, threads, even, NULL);
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

/* ---- rows that are skipped ---- */

static int in(const uint32_t *skip, uint64_t row)
{
    return skip[row / 32] >> row % 32 & 1;
}

/* Some rows all over, and the hundred from `hole` on. */
static uint32_t *some_rows(uint64_t vocab, uint64_t hole)
{
    uint32_t *skip = calloc(words_of(vocab), sizeof *skip);
    assert_non_null(skip);
    for (uint64_t v = 0; v < vocab; v++)
        if (v * 2654435761u % 1021 < 150 || (v >= hole && v - hole < 100))
            skip[v / 32] |= 1u << v % 32;
    return skip;
}

/* A skipped logit is -inf, whatever it holds, and its token's target is nobody's. No row skipped: no bit changes. */
static void test_skip(void **state)
{
    (void)state;
    static const uint64_t cases[][3] = {{1, 1, 1},      {3, 70, 9},      {4, 3000, 104},    {5, 1000, 1000},
                                        {5, 1000, 999}, {40, 2500, 800}, {1, 11264, 11264}, {2, 12000, 12000}};
    for (unsigned c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        uint64_t m = cases[c][0], vocab = cases[c][1], tile = cases[c][2];
        float *logits = malloc(STREAMS * m * vocab * sizeof *logits),
              *minus = malloc(STREAMS * m * vocab * sizeof *minus);
        uint32_t *target = malloc(m * sizeof *target), *skip = some_rows(vocab, vocab / 2);
        uint32_t *none = calloc(words_of(vocab), sizeof *none);
        assert_true(logits && minus && target && none);
        test_fill(logits, STREAMS * m * vocab, c + 1, 20.0f, ZO2_F32);
        for (uint64_t i = 0; i < m; i++)
            target[i] = (uint32_t)(i * 7919 % vocab);
        memcpy(minus, logits, STREAMS * m * vocab * sizeof *minus);
        float *plain = run(logits, target, m, vocab, tile, 1, 0);
        float *same = run_skipping(logits, target, m, vocab, tile, 1, 0, none);
        assert_memory_equal(plain, same, STREAMS * m * sizeof *same);
        for (uint64_t i = 0; i < STREAMS * m * vocab; i++)
            if (in(skip, i % vocab)) {
                minus[i] = -INFINITY;
                logits[i] = i % 3 == 0 ? NAN : i % 3 == 1 ? INFINITY : 1000.0f;
            }
        float *want = run(minus, target, m, vocab, tile, 1, 0);
        for (unsigned th = 0; th < 2 * TEST_THREAD_COUNTS; th++) {
            float *got = run_skipping(logits, target, m, vocab, tile, test_thread_counts[th / 2], th % 2, skip);
            for (uint64_t i = 0; i < STREAMS * m; i++)
                if (in(skip, target[i % m]))
                    assert_true(isnan(got[i]));
                else
                    assert_memory_equal(&got[i], &want[i], sizeof *got);
            free(got);
        }
        assert_memory_not_equal(want, plain, STREAMS * m * sizeof *want); /* the skipped rows had mattered */
        free(want);
        free(plain);
        free(same);
        free(none);
        free(skip);
        free(target);
        free(minus);
        free(logits);
    }
}

/* A tile of skipped rows alone changes no bit of a state, be it new or not. n: of the tile; first: its first row. */
static void check_all_skipped(uint64_t n, uint64_t first)
{
    enum { M = 9 };
    test_device t;
    test_open(&t, TEST_BACKEND, 1 << 20, 2);
    float *x = test_floats(&t, M * n);
    uint32_t *target = test_take(&t, M * sizeof *target), *skip = test_take(&t, words_of(first + n) * sizeof *skip);
    zo2_lse *states = test_take(&t, M * sizeof *states), before[M];
    memset(skip, 0, words_of(first + n) * sizeof *skip);
    for (uint64_t v = first; v < first + n; v++)
        skip[v / 32] |= 1u << v % 32;
    TEST_OK(t.ops->lse_init(t.b, &(zo2_lse_init_op){states, M}));
    for (uint32_t i = 0; i < M; i++) {
        target[i] = (uint32_t)(first + i % n);
        if (i > 2)
            states[i] = (zo2_lse){.max = 3.0f * (float)i - 20, .sum = 1.5f, .target = i % 2 ? 1.0f : NAN};
    }
    memcpy(before, states, sizeof before);
    for (uint64_t i = 0; i < M * n; i++)
        x[i] = i % 5 == 0 ? NAN : i % 5 == 1 ? INFINITY : (float)(i % 100);
    zo2_lse_op op = {.streams = 1,
                     .m = M,
                     .n = n,
                     .logits = x,
                     .ld = n,
                     .target = target,
                     .first = first,
                     .state = states,
                     .skip = skip,
                     .skip_rows = first + n};
    TEST_OK(t.ops->lse_tile(t.b, &op));
    assert_memory_equal(before, states, sizeof before);
    op.skip = NULL;
    TEST_OK(t.ops->lse_tile(t.b, &op));
    assert_memory_not_equal(before, states, sizeof before);
    test_close(&t);
}

static void test_all_skipped(void **state)
{
    (void)state;
    check_all_skipped(1, 0);
    check_all_skipped(33, 31);
    check_all_skipped(64, 32);
    check_all_skipped(1025, 7);
    check_all_skipped(2048, 4096);
}

/* Rows of an adapter stand in for rows of the vocabulary: those are skipped, and a tile of their own, with numbers of their own,
 * brings the new ones, before the vocabulary or after it. As if the table had held them. */
static void test_rows_beside(void **state)
{
    (void)state;
    enum { M = 20, VOCAB = 600, TILE = 104, ROWS = 24 };
    float *table = malloc(M * VOCAB * sizeof *table), *beside = malloc(M * ROWS * sizeof *beside);
    assert_true(table && beside);
    test_fill(table, M * VOCAB, 1, 10.0f, ZO2_F32);
    test_fill(beside, M * ROWS, 2, 10.0f, ZO2_F32);
    for (int before = 0; before < 2; before++) {
        test_device t;
        test_open(&t, TEST_BACKEND, 1 << 20, 3);
        float *x = test_floats(&t, M * TILE), *y = test_floats(&t, M * ROWS), *logprob = test_floats(&t, M);
        uint32_t *token = test_take(&t, M * sizeof *token), *row = test_take(&t, M * sizeof *row);
        uint32_t *skip = test_take(&t, words_of(VOCAB) * sizeof *skip);
        zo2_lse *states = test_take(&t, M * sizeof *states);
        memset(skip, 0, words_of(VOCAB) * sizeof *skip);
        memcpy(y, beside, M * ROWS * sizeof *y);
        for (uint32_t i = 0; i < ROWS; i++) /* row i stands in for word 25 i */
            skip[25 * i / 32] |= 1u << 25 * i % 32;
        for (uint32_t i = 0; i < M; i++) {
            token[i] = i % 2 ? 25 * i : 25 * i + 1;
            row[i] = i % 2 ? i : UINT32_MAX;
        }
        TEST_OK(t.ops->lse_init(t.b, &(zo2_lse_init_op){states, M}));
        zo2_lse_op rows = {.streams = 1, .m = M, .n = ROWS, .logits = y, .ld = ROWS, .target = row, .state = states};
        if (before)
            TEST_OK(t.ops->lse_tile(t.b, &rows));
        for (uint64_t first = 0; first < VOCAB; first += TILE) {
            uint64_t n = VOCAB - first < TILE ? VOCAB - first : TILE;
            for (uint64_t i = 0; i < M; i++)
                memcpy(x + i * TILE, table + i * VOCAB + first, n * sizeof *x);
            zo2_lse_op op = {.streams = 1,
                             .m = M,
                             .n = n,
                             .logits = x,
                             .ld = TILE,
                             .target = token,
                             .first = first,
                             .state = states,
                             .skip = skip,
                             .skip_rows = VOCAB};
            TEST_OK(t.ops->lse_tile(t.b, &op));
        }
        if (!before)
            TEST_OK(t.ops->lse_tile(t.b, &rows));
        TEST_OK(t.ops->lse_finish(t.b, &(zo2_lse_finish_op){states, M, logprob}));
        for (uint32_t i = 0; i < M; i++) {
            double sum = 0, shift = 10;
            for (uint32_t v = 0; v < VOCAB; v++)
                sum += exp((double)(v % 25 ? table[i * VOCAB + v] : beside[i * ROWS + v / 25]) - shift);
            double x_target = (double)(i % 2 ? beside[i * ROWS + i] : table[i * VOCAB + token[i]]);
            /* As in test_tiles(): 104 logits a tile, 7 tiles; x - max is at most 20. */
            TEST_NEAR((double)logprob[i], x_target - shift - log(sum), TEST_ULP * (4 + 4 + 5 + 20 + 8 * 7 + 40),
                      "logprob", i);
        }
        test_close(&t);
    }
    free(table);
    free(beside);
}

static void test_refusals(void **state)
{
    (void)state;
    test_device t;
    test_open(&t, TEST_BACKEND, 1 << 16, 1);
    float *x = test_floats(&t, 64);
    uint32_t *target = test_take(&t, 16), *skip = test_take(&t, 32);
    zo2_lse *states = test_take(&t, sizeof *states);
    const zo2_lse_op good = {.streams = 1,
                             .m = 1,
                             .n = 64,
                             .logits = x,
                             .target = target,
                             .first = 30,
                             .state = states,
                             .skip = skip,
                             .skip_rows = 94};
    memset(x, 0, 64 * sizeof *x);
    memset(skip, 0, 32);
    target[0] = 0;
    TEST_OK(t.ops->lse_init(t.b, &(zo2_lse_init_op){states, 1}));
    TEST_OK(t.ops->lse_tile(t.b, &good));
    zo2_lse_op op = good;
    op.skip_rows = 93;
    TEST_REFUSED(t.ops->lse_tile(t.b, &op), ZO2_ERR_DEVICE, "lse_tile: rows 30 + 64, skip has bits for 93");
    op = good;
    op.skip = skip + 1;
    TEST_REFUSED(t.ops->lse_tile(t.b, &op), ZO2_ERR_DEVICE, "lse_tile: skip is not aligned to 16");
    op = good;
    op.skip_rows = (uint64_t)1 << 20;
    TEST_REFUSED(t.ops->lse_tile(t.b, &op), ZO2_ERR_DEVICE, "lse_tile: skip (131072 bytes) is not inside the arena");
    op = good;
    op.skip = NULL;
    op.first = UINT32_MAX - 63u;
    TEST_REFUSED(t.ops->lse_tile(t.b, &op), ZO2_ERR_DEVICE, "lse_tile: rows 4294967232 + 64");
    op.first--;
    TEST_OK(t.ops->lse_tile(t.b, &op));
    test_close(&t);
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
        cmocka_unit_test(test_tiles),       cmocka_unit_test(test_nonfinite),   cmocka_unit_test(test_skip),
        cmocka_unit_test(test_all_skipped), cmocka_unit_test(test_rows_beside), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_exponential),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

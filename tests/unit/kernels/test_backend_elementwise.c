/* test_backend_elementwise.c: bias with activation, layer normalisation and conversions of rows of the cpu backend against double.
 */
#include "tests/unit/kernels/test_backend_util.h"

/* Around a warp and 16 bytes; rows of which 4, 2, 1 and none fit into 48 KiB (the cuda backend's layer norm). */
static const uint64_t shapes[][2] = {{1, 1},    {2, 31},   {3, 32},    {2, 33},    {5, 127}, {700, 100},
                                     {9, 1032}, {5, 5000}, {3, 12288}, {2, 12296}, {131, 72}};
#define SHAPES (sizeof shapes / sizeof shapes[0])

/* Where there is room behind rows and streams: `even`, then all begin at multiples of 8 elements if n is one. */
static uint64_t room(int even, uint64_t odd)
{
    return even ? 8 : odd;
}

static int places(uint64_t n)
{
    return n % 8 ? 1 : 2;
}

static float *check_bias_act(uint64_t m, uint64_t n, int even, zo2_activation act, int with_bias, float scale,
                             zo2_dtype type, uint32_t threads)
{
    test_device t;
    test_open(&t, TEST_BACKEND, 4 << 20, threads);
    uint64_t ld = n + room(even, 3), stride = m * ld + room(even, 7), stride_bias = n + room(even, 2);
    float *y = test_floats(&t, 2 * stride), *bias = test_floats(&t, 2 * stride_bias),
          *y0 = malloc(2 * stride * sizeof *y0);
    test_fill(y, 2 * stride, 1, 4.0f, type);
    test_fill(bias, 2 * stride_bias, 2, 1.0f, ZO2_F32);
    memcpy(y0, y, 2 * stride * sizeof *y0);
    zo2_bias_act_op op = {.streams = 2,
                          .m = m,
                          .n = n,
                          .y = y,
                          .ldy = ld,
                          .stride_y = stride,
                          .bias = with_bias ? bias : NULL,
                          .stride_bias = stride_bias,
                          .scale = scale,
                          .act = act,
                          .type = type};
    TEST_OK(t.ops->bias_act(t.b, &op));
    for (uint64_t i = 0; i < 2 * stride; i++) {
        uint64_t s = i / stride, j = i % stride % ld;
        if (i % stride >= m * ld || j >= n) {
            assert_memory_equal(&y[i], &y0[i], sizeof *y);
            continue;
        }
        /* The order (y + bias) * scale in fp32 is part of the contract, so it is exact; only GELU has a tolerance. */
        float v = with_bias ? y0[i] + bias[s * stride_bias + j] : y0[i];
        v *= scale;
        if (act == ZO2_ACT_GELU) {
            double gelu = 0.5 * (double)v * (1 + erf((double)v * sqrt(0.5)));
            TEST_NEAR((double)y[i], gelu, 6 * TEST_ULP * (fabs((double)v) + fabs(gelu)) + test_rounding(type, gelu),
                      "gelu", i);
            test_is_rounded(type, &y[i], 1);
            continue;
        }
        if (act == ZO2_ACT_RELU)
            v = v < 0 ? 0 : v;
        zo2_round_to(type, &v, 1);
        assert_memory_equal(&y[i], &v, sizeof v);
    }
    memcpy(y0, y, 2 * stride * sizeof *y0);
    test_close(&t);
    return y0;
}

static void test_bias_act(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SHAPES; i++)
        for (int act = ZO2_ACT_NONE; act <= ZO2_ACT_GELU; act++) {
            uint64_t m = shapes[i][0], n = shapes[i][1];
            zo2_dtype type = test_types[(i + (unsigned)act) % 3];
            for (int even = 0; even < places(n); even++) {
                float *one = check_bias_act(m, n, even, (zo2_activation)act, 1, 0.3f, type, 1);
                float *many = check_bias_act(m, n, even, (zo2_activation)act, 1, 0.3f, type, 5);
                assert_memory_equal(one, many, 2 * (m * (n + room(even, 3)) + room(even, 7)) * sizeof *one);
                free(one);
                free(many);
                free(check_bias_act(m, n, even, (zo2_activation)act, 0, 1.0f, type, 2));
            }
        }
}

static void check_layernorm(uint64_t m, uint64_t n, int affine, int in_place, zo2_dtype type)
{
    float *first = NULL;
    for (int i = 0; i < places(n) * (int)TEST_THREAD_COUNTS; i++) { /* one result of all thread counts and places */
        int even = i % places(n);
        test_device t;
        test_open(&t, TEST_BACKEND, 4 << 20, test_thread_counts[i / places(n)]);
        uint64_t stride = m * n + room(even, 5), stride_vec = n + room(even, 1);
        float *x = test_floats(&t, 2 * stride), *gamma = test_floats(&t, 2 * stride_vec),
              *beta = test_floats(&t, 2 * stride_vec);
        float *y = in_place ? x : test_floats(&t, 2 * stride), *x0 = malloc(2 * stride * sizeof *x0);
        for (uint64_t s = 0; s < 2; s++) {
            test_fill(x + s * stride, m * n, 1 + 3 * s, 1.0f, ZO2_F32);
            for (uint64_t j = 0; j < m * n; j++)
                x[s * stride + j] += 3.0f; /* a mean that the variance must not feel */
            test_fill(gamma + s * stride_vec, n, 2 + 3 * s, 1.0f, ZO2_F32);
            test_fill(beta + s * stride_vec, n, 3 + 3 * s, 1.0f, ZO2_F32);
        }
        memcpy(x0, x, 2 * stride * sizeof *x0);
        zo2_layernorm_op op = {.streams = 2,
                               .m = m,
                               .n = n,
                               .x = x,
                               .stride_x = stride,
                               .gamma = affine ? gamma : NULL,
                               .beta = affine ? beta : NULL,
                               .stride_vec = stride_vec,
                               .eps = 1e-5f,
                               .y = y,
                               .stride_y = stride,
                               .type = type};
        TEST_OK(t.ops->layernorm(t.b, &op));
        for (uint64_t s = 0; s < 2; s++)
            for (uint64_t r = 0; r < m; r++) {
                const float *row = x0 + s * stride + r * n;
                double mean = 0, var = 0;
                for (uint64_t j = 0; j < n; j++)
                    mean += (double)row[j] / (double)n;
                for (uint64_t j = 0; j < n; j++)
                    var += ((double)row[j] - mean) * ((double)row[j] - mean) / (double)n;
                /* A lane adds n / 32 values of at most 4, folding the lanes 5 more times. */
                double sums = ((double)n / 32 + 8) * TEST_ULP, inverse = 1 / sqrt(var + (double)1e-5f);
                for (uint64_t j = 0; j < n; j++) {
                    double z = ((double)row[j] - mean) * inverse, g = affine ? (double)gamma[s * stride_vec + j] : 1;
                    double want = z * g + (affine ? (double)beta[s * stride_vec + j] : 0);
                    double error =
                        fabs(g) * (sums * 4 * inverse + fabs(z) * (sums + 8 * TEST_ULP)) + 2 * TEST_ULP * fabs(want);
                    TEST_NEAR((double)y[s * stride + r * n + j], want, error + test_rounding(type, want), "y",
                              r * n + j);
                }
                test_is_rounded(type, &y[s * stride + r * n], n);
            }
        for (uint64_t s = 0; s < 2; s++)
            memcpy(x0 + s * m * n, y + s * stride, m * n * sizeof *x0);
        if (first)
            assert_memory_equal(first, x0, 2 * m * n * sizeof *x0);
        if (first)
            free(x0);
        else
            first = x0;
        test_close(&t);
    }
    free(first);
}

static void test_layernorm(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SHAPES; i++) {
        check_layernorm(shapes[i][0], shapes[i][1], 1, 0, test_types[i % 3]);
        check_layernorm(shapes[i][0], shapes[i][1], (int)i % 2, 1, ZO2_F32);
    }
}

static void test_convert_rows(void **state)
{
    (void)state;
    enum { ROWS = 50, M = 2000 };
    for (unsigned th = 0; th < TEST_THREAD_COUNTS; th++)
        for (int kind = 0; kind < 8; kind++) {
            int indexed = kind & 1, even = kind / 2 & 1, shared = kind / 4; /* shared: one stream's rows for all */
            const uint64_t n = even ? 40 : 33;
            test_device t;
            test_open(&t, TEST_BACKEND, 4 << 20, test_thread_counts[th]);
            zo2_dtype type = test_types[(th + (unsigned)kind) % 3];
            uint64_t m = indexed ? M : ROWS, stride_y = m * n + room(even, 3), stride_x = shared ? 0 : ROWS * n;
            float *x = test_floats(&t, 2 * ROWS * n), *y = test_floats(&t, 2 * stride_y);
            uint32_t *index = test_take(&t, M * sizeof *index);
            test_fill(x, 2 * ROWS * n, 1, 3.0f, ZO2_F32);
            for (uint32_t i = 0; i < M; i++)
                index[i] = i * 7919 % ROWS;
            zo2_convert_rows_op op = {.streams = 2,
                                      .m = m,
                                      .n = n,
                                      .x = x,
                                      .stride_x = stride_x,
                                      .index = indexed ? index : NULL,
                                      .y = y,
                                      .stride_y = stride_y,
                                      .type = type};
            TEST_OK(t.ops->convert_rows(t.b, &op));
            for (uint64_t s = 0; s < 2; s++)
                for (uint64_t i = 0; i < m * n; i++) {
                    float want = x[s * stride_x + (indexed ? index[i / n] : i / n) * n + i % n];
                    zo2_round_to(type, &want, 1);
                    assert_memory_equal(&y[s * stride_y + i], &want, sizeof want);
                }
            if (indexed &&
                TEST_BACKEND == ZO2_BACKEND_CPU) { /* far outside: found because the cpu can read the index */
                index[M - 1] = UINT32_MAX;
                TEST_REFUSED(t.ops->convert_rows(t.b, &op), ZO2_ERR_DEVICE, "convert_rows: x");
            }
            test_close(&t);
        }
}

/* A residual stream that forks: its rows, in fp32, go to the streams that follow in the same activations. */
static void test_fork(void **state)
{
    (void)state;
    enum { M = 37, N = 48, FORKS = 7 };
    for (unsigned th = 0; th < TEST_THREAD_COUNTS; th++) {
        test_device t;
        test_open(&t, TEST_BACKEND, 1 << 20, test_thread_counts[th]);
        float *x = test_floats(&t, (1 + FORKS) * M * N), *y = x + M * N;
        test_fill(x, M * N, 1, 3.0f, ZO2_F32);
        zo2_convert_rows_op op = {.streams = FORKS, .m = M, .n = N, .x = x, .y = y, .stride_y = M * N, .type = ZO2_F32};
        TEST_OK(t.ops->convert_rows(t.b, &op));
        for (uint64_t s = 0; s < FORKS; s++)
            assert_memory_equal(y + s * M * N, x, M * N * sizeof *x);
        op.y = y - N;
        TEST_REFUSED(t.ops->convert_rows(t.b, &op), ZO2_ERR_DEVICE, "convert_rows: y overlaps x");
        test_close(&t);
    }
}

/* What is kept of a residual stream in bf16: rounded where it is, and stays fp32. */
static void test_through_bf16(void **state)
{
    (void)state;
    enum { M = 5 };
    for (uint64_t n = 47; n <= 48; n++) { /* alone, and eight at a time */
        test_device t;
        float want[M * 48];
        test_open(&t, TEST_BACKEND, 1 << 20, 1);
        float *x = test_floats(&t, M * n);
        test_fill(x, M * n, 1, 3.0f, ZO2_F32);
        x[0] = 1.00390625f; /* half way: to even */
        x[1] = -1.01171875f;
        x[2] = INFINITY;
        memcpy(want, x, M * n * sizeof *x);
        zo2_round_to(ZO2_BF16, want, M * n);
        zo2_convert_rows_op op = {.streams = 1, .m = M, .n = n, .x = x, .y = x, .type = ZO2_F32, .through = ZO2_BF16};
        TEST_OK(t.ops->convert_rows(t.b, &op));
        assert_memory_equal(x, want, M * n * sizeof *x);
        assert_true(x[0] == 1.0f && x[1] == -1.015625f);
        op.through = ZO2_F16;
        TEST_REFUSED(t.ops->convert_rows(t.b, &op), ZO2_ERR_DEVICE, "convert_rows: rounds fp32 through bf16 alone");
        test_close(&t);
    }
}

/* NaN and infinity go through every operation that sees them. */
static void test_nonfinite(void **state)
{
    (void)state;
    enum { N = 70 };
    test_device t;
    test_open(&t, TEST_BACKEND, 1 << 20, 1);
    float *x = test_floats(&t, N), *y = test_floats(&t, N);
    for (int act = ZO2_ACT_NONE; act <= ZO2_ACT_GELU; act++) {
        test_fill(x, N, 1, 1.0f, ZO2_F32);
        x[3] = NAN;
        x[5] = INFINITY;
        zo2_bias_act_op op = {
            .streams = 1, .m = 1, .n = N, .y = x, .ldy = N, .scale = 1.0f, .act = (zo2_activation)act, .type = ZO2_F32};
        TEST_OK(t.ops->bias_act(t.b, &op));
        assert_true(isnan(x[3]) && isinf(x[5]) && isfinite(x[4]) && isfinite(x[6]));
    }
    for (int inf = 0; inf < 2; inf++) {
        test_fill(x, N, 1, 1.0f, ZO2_F32);
        x[N - 1] = inf ? INFINITY : NAN;
        zo2_layernorm_op op = {.streams = 1, .m = 1, .n = N, .x = x, .eps = 1e-5f, .y = y, .type = ZO2_F32};
        TEST_OK(t.ops->layernorm(t.b, &op));
        for (int i = 0; i < N; i++)
            assert_true(isnan(y[i]));
    }
    test_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bias_act), cmocka_unit_test(test_layernorm),    cmocka_unit_test(test_convert_rows),
        cmocka_unit_test(test_fork),     cmocka_unit_test(test_through_bf16), cmocka_unit_test(test_nonfinite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

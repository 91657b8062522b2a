/* test_backend_gemm.c: products against sums in double. Tolerance: any order of k fp32 additions of
 * products errs by at most (k + 2) 2^-24 times the sum of magnitudes, what is added to the product included, and half a unit in the last place for a 16-bit
 * result. */
#include "tests/unit/kernels/test_backend_util.h"

#include <cblas.h>

typedef struct shape {
    uint32_t batch;
    uint64_t m, n, k;
} shape;

/* even: rows and streams begin at multiples of 16 bytes where k and n are multiples of 8, as they do in models. shared: all streams
 * have one panel and one bias. */
enum { ACCUMULATE = 1, BIAS = 2, EVEN = 4, SHARED = 8 };

/* Returns the output, [batch][m][ldy], for comparisons between thread counts. */
static float *check(const shape *s, zo2_dtype type, zo2_dtype y_type, int with, uint32_t threads)
{
    int accumulate = with & ACCUMULATE, even = with & EVEN;
    test_device t;
    test_open(&t, TEST_BACKEND, 16 << 20, threads);
    uint64_t ldx = s->k + (even ? 8 : 3), ldp = s->k + (even ? 8 : 1), ldy = s->n + (even ? 8 : 2);
    uint64_t sx = s->m * ldx + 8, sp = s->n * ldp + (even ? 8 : 4), sy = s->m * ldy + (even ? 8 : 1), sb = s->n + 4;
    uint64_t panels = with & SHARED ? 1 : s->batch;
    float *x = test_floats(&t, s->batch * sx), *p = test_floats(&t, panels * sp), *y = test_floats(&t, s->batch * sy);
    float *bias = test_floats(&t, panels * sb);
    float *y0 = malloc(s->batch * sy * sizeof *y0);
    test_fill(x, s->batch * sx, 1, 1.0f, type);
    test_fill(p, panels * sp, 2, 1.0f, type);
    test_fill(bias, panels * sb, 4, 4.0f, ZO2_F32);
    if (with & SHARED)
        sp = sb = 0;
    if (accumulate)
        test_fill(y, s->batch * sy, 3, 1.0f, y_type);
    memcpy(y0, y, s->batch * sy * sizeof *y0);
    zo2_gemm_op op = {.batch = s->batch,
                      .m = s->m,
                      .n = s->n,
                      .k = s->k,
                      .x = x,
                      .ldx = ldx,
                      .stride_x = sx,
                      .panel = p,
                      .ld_panel = ldp,
                      .stride_panel = sp,
                      .y = y,
                      .ldy = ldy,
                      .stride_y = sy,
                      .type = type,
                      .y_type = y_type,
                      .accumulate = accumulate != 0,
                      .bias = with & BIAS ? bias : NULL,
                      .stride_bias = sb};
    TEST_OK(t.ops->gemm(t.b, &op));
    /* All of a small product, a sample of a large one. */
    uint64_t step = 1 + s->batch * s->m * s->n * s->k / 4000000;
    for (uint64_t i = 0; i < s->batch * s->m * s->n; i += step) {
        uint64_t b = i / (s->m * s->n), r = i / s->n % s->m, c = i % s->n, at = b * sy + r * ldy + c;
        double sum = accumulate ? (double)y0[at] : 0, size = fabs(sum);
        for (uint64_t j = 0; j < s->k; j++) {
            double v = (double)x[b * sx + r * ldx + j] * (double)p[b * sp + c * ldp + j];
            sum += v;
            size += fabs(v);
        }
        if (with & BIAS) {
            sum += (double)bias[b * sb + c];
            size += fabs((double)bias[b * sb + c]);
        }
        TEST_NEAR((double)y[at], sum, (double)(s->k + 2) * TEST_ULP * size + test_rounding(y_type, sum), "y", at);
        test_is_rounded(y_type, &y[at], 1);
    }
    for (uint64_t b = 0; b < s->batch; b++)
        for (uint64_t r = 0; r < s->m; r++)
            assert_memory_equal(&y[b * sy + r * ldy + s->n], &y0[b * sy + r * ldy + s->n], (ldy - s->n) * sizeof *y);
    memcpy(y0, y, s->batch * sy * sizeof *y0);
    test_close(&t);
    return y0;
}

static void test_shapes(void **state)
{
    (void)state;
    static const shape shapes[] = {{1, 1, 1, 1},      {2, 1, 17, 3},      {2, 5, 300, 33},
                                   {1, 130, 257, 64}, {2, 500, 192, 100}, {2, 769, 129, 48},
                                   {1, 1600, 16, 20}, {2, 3, 1030, 256},  {1, 450, 520, 400}};
    for (unsigned i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const shape *s = &shapes[i];
        zo2_dtype type = test_product_type(TEST_BACKEND, test_types[i % 3]), y_type = i % 2 ? ZO2_F32 : type;
        float *first = NULL;
        for (unsigned t = 0; t < TEST_THREAD_COUNTS; t++) {
            float *y = check(s, type, y_type, 0, test_thread_counts[t]);
            if (first)
                assert_memory_equal(y, first, s->batch * (s->m * (s->n + 2) + 1) * sizeof *y);
            if (first)
                free(y);
            else
                first = y;
        }
        free(first);
        free(check(s, ZO2_F32, ZO2_F32, ACCUMULATE, 2));
        free(check(s, test_product_type(TEST_BACKEND, ZO2_BF16), ZO2_F32, ACCUMULATE, 2));
        for (unsigned type16 = 1; type16 < 3;
             type16++) { /* a product rounded by itself would be off by more than is allowed */
            zo2_dtype both = test_product_type(TEST_BACKEND, test_types[type16]);
            free(check(s, both, both, ACCUMULATE | (i % 2 ? EVEN : 0), 2));
        }
    }
}

/* Frozen weights: all streams multiply one panel. The first two get the same bits with and without the others. */
static void test_shared_panel(void **state)
{
    (void)state;
    static const shape shapes[] = {
        {8, 5, 24, 32}, {8, 33, 264, 40}, {5, 130, 97, 64}, {8, 40, 600, 1500}, {8, 17, 520, 300}};
    for (unsigned i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (unsigned type = 0; type < 3; type++) {
            shape s = shapes[i];
            zo2_dtype x_type = test_product_type(TEST_BACKEND, test_types[type]);
            int how = SHARED | ((i + type) % 2 ? ACCUMULATE : 0) | (i % 2 ? EVEN : 0);
            free(check(&s, x_type, ZO2_F32, how | BIAS, 2));
            float *all = check(&s, x_type, x_type, how, 3);
            s.batch = 2;
            float *two = check(&s, x_type, x_type, how, 1);
            assert_memory_equal(all, two, 2 * s.m * s.n * sizeof *two);
            free(two);
            free(all);
        }
}

/* Each stream has a bias of its own: its rows get no other's. */
static void test_bias(void **state)
{
    (void)state;
    static const shape shapes[] = {{2, 5, 24, 32}, {2, 33, 264, 40}, {1, 130, 96, 64}, {2, 5, 25, 33}};
    for (unsigned i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int with = 0; with < 4; with++) { /* over all shapes, each type with each of the four */
            int how = BIAS | (with & 1 ? ACCUMULATE : 0) | (with & 2 ? EVEN : 0);
            free(check(&shapes[i], test_product_type(TEST_BACKEND, test_types[(i + (unsigned)with) % 3]), ZO2_F32, how,
                       2));
        }
}

/* The product with its bias is the product and then the bias, bit for bit where nothing but rounding to fp32 comes between. */
static void test_bias_of_the_cpu(void **state)
{
    (void)state;
    if (TEST_BACKEND != ZO2_BACKEND_CPU)
        skip();
    enum { M = 40, N = 70, K = 33 };
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        test_device t;
        test_open(&t, TEST_BACKEND, 1 << 20, 3);
        float *x = test_floats(&t, 2 * M * K), *p = test_floats(&t, 2 * N * K), *bias = test_floats(&t, 2 * N);
        float *one = test_floats(&t, 2 * M * N), *two = test_floats(&t, 2 * M * N);
        test_fill(x, 2 * M * K, 1, 1.0f, ZO2_F32);
        test_fill(p, 2 * N * K, 2, 1.0f, ZO2_F32);
        test_fill(bias, 2 * N, 3, 1.0f, ZO2_F32);
        test_fill(one, 2 * M * N, 4, 1.0f, ZO2_F32);
        memcpy(two, one, 2 * M * N * sizeof *two);
        zo2_gemm_op op = {.batch = 2,
                          .m = M,
                          .n = N,
                          .k = K,
                          .x = x,
                          .ldx = K,
                          .stride_x = M * K,
                          .panel = p,
                          .ld_panel = K,
                          .stride_panel = N * K,
                          .y = one,
                          .ldy = N,
                          .stride_y = M * N,
                          .type = ZO2_F32,
                          .y_type = ZO2_F32,
                          .accumulate = accumulate,
                          .bias = bias,
                          .stride_bias = N};
        TEST_OK(t.ops->gemm(t.b, &op));
        op.y = two;
        op.bias = NULL;
        TEST_OK(t.ops->gemm(t.b, &op));
        zo2_bias_act_op then = {.streams = 2,
                                .m = M,
                                .n = N,
                                .y = two,
                                .ldy = N,
                                .stride_y = M * N,
                                .bias = bias,
                                .stride_bias = N,
                                .scale = 1.0f,
                                .type = ZO2_F32};
        TEST_OK(t.ops->bias_act(t.b, &then));
        assert_memory_equal(one, two, 2 * M * N * sizeof *one);
        test_close(&t);
    }
}

/* A column range of a wider matrix, as panel tiles write it; and a NaN in one row of x stays in that row and isn't
 * lost. */
static void test_columns_and_nan(void **state)
{
    (void)state;
    enum { M = 4, N = 40, K = 20 };
    test_device t;
    test_open(&t, TEST_BACKEND, 1 << 20, 1);
    float *x = test_floats(&t, M * K), *p = test_floats(&t, N * K), *y = test_floats(&t, M * N);
    test_fill(x, M * K, 1, 1.0f, ZO2_F32);
    test_fill(p, N * K, 2, 1.0f, ZO2_F32);
    x[2 * K + 5] = NAN;
    for (uint64_t n0 = 0; n0 < N; n0 += 16) {
        zo2_gemm_op op = {.batch = 1,
                          .m = M,
                          .n = N - n0 < 16 ? N - n0 : 16,
                          .k = K,
                          .x = x,
                          .ldx = K,
                          .panel = p + n0 * K,
                          .ld_panel = K,
                          .y = y + n0,
                          .ldy = N,
                          .type = ZO2_F32,
                          .y_type = ZO2_F32};
        TEST_OK(t.ops->gemm(t.b, &op));
    }
    for (uint64_t i = 0; i < M * N; i++)
        assert_int_equal(isnan(y[i]) != 0, i / N == 2);
    test_close(&t);
}

/* Steps may nest and overlap; the last one out restores what the program had. */
static void test_blas_threads(void **state)
{
    (void)state;
    if (TEST_BACKEND != ZO2_BACKEND_CPU)
        skip();
    int before = openblas_get_num_threads();
    test_device a, b;
    test_open(&a, ZO2_BACKEND_CPU, 4096, 1); /* enters */
    assert_int_equal(openblas_get_num_threads(), 1);
    test_open(&b, ZO2_BACKEND_CPU, 4096, 1);
    test_close(&a);
    assert_int_equal(openblas_get_num_threads(), 1);
    test_close(&b);
    assert_int_equal(openblas_get_num_threads(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_shared_panel),
        cmocka_unit_test(test_bias),
        cmocka_unit_test(test_bias_of_the_cpu),
        cmocka_unit_test(test_columns_and_nan),
        cmocka_unit_test(test_blas_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_backend_gemm_bf16.c: bf16 products by oneDNN: threads, and shapes that come and go. What they compute is checked by
 * test_backend_gemm.c, which runs with and without it. */
#include "tests/unit/kernels/test_backend_util.h"

#include <dirent.h>

#include "kernels/cpu/gemm_bf16.h"

enum { K = 70, N = 64, MAX_M = 130 };

static int onednn_runs_here(void)
{
    zo2_gemm_bf16 *g;
    TEST_OK(zo2_gemm_bf16_open(&g, 1));
    int runs = g != NULL;
    zo2_gemm_bf16_close(g);
    return runs;
}

static unsigned count_threads(void)
{
    DIR *dir = opendir("/proc/self/task");
    assert_non_null(dir);
    unsigned n = 0;
    for (struct dirent *entry; (entry = readdir(dir));)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n;
}

typedef struct threads_job {
    zo2_gemm_bf16 *g;
    zo2_gemm_bf16_shape *shape;
    const float *x, *panel;
    float *y;
    int ok;
    unsigned threads; /* of the process, after the product */
} threads_job;

static void *multiply(void *ud)
{
    threads_job *j = ud;
    j->ok = zo2_gemm_bf16_run(j->g, j->shape, 0, j->x, K, j->panel, K, j->y, 512, 0);
    j->threads = count_threads();
    return NULL;
}

/* OpenMP's workers would outlive the product that started them. */
static void test_no_threads_start(void **state)
{
    (void)state;
    if (!onednn_runs_here())
        skip();
    enum { M = 768, WIDE = 512 };
    threads_job j;
    float *x = malloc(M * K * sizeof *x), *panel = malloc(WIDE * K * sizeof *panel), *y = malloc(M * WIDE * sizeof *y);
    assert_true(x && panel && y);
    test_fill(x, M * K, 1, 1.0f, ZO2_BF16);
    test_fill(panel, WIDE * K, 2, 1.0f, ZO2_BF16);
    j.x = x, j.panel = panel, j.y = y;
    unsigned before = count_threads();
    TEST_OK(zo2_gemm_bf16_open(&j.g, 1));
    zo2_gemm_bf16_begin(j.g);
    TEST_OK(zo2_gemm_bf16_prepare(j.g, M, WIDE, K, &j.shape));
    multiply(&j);
    assert_true(j.ok);
    assert_int_equal(j.threads, before);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, multiply, &j), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(j.ok);
    assert_int_equal(j.threads, before + 1);
    zo2_gemm_bf16_close(j.g);
    free(x);
    free(panel);
    free(y);
}

/* More shapes than are kept, twice: an element's bits are the same each time. */
static void test_many_shapes(void **state)
{
    (void)state;
    if (!onednn_runs_here())
        skip();
    test_device t;
    test_open(&t, ZO2_BACKEND_CPU, 4 << 20, 2);
    float *x = test_floats(&t, MAX_M * K), *panel = test_floats(&t, N * K), *y = test_floats(&t, MAX_M * N);
    test_fill(x, MAX_M * K, 1, 1.0f, ZO2_BF16);
    test_fill(panel, N * K, 2, 1.0f, ZO2_BF16);
    float *first = calloc((size_t)MAX_M * MAX_M * N, sizeof *first);
    assert_non_null(first);
    for (unsigned pass = 0; pass < 2; pass++)
        for (uint64_t m = 17; m < MAX_M; m++) {
            zo2_gemm_op op = {.batch = 1,
                              .m = m,
                              .n = N,
                              .k = K,
                              .x = x,
                              .ldx = K,
                              .panel = panel,
                              .ld_panel = K,
                              .y = y,
                              .ldy = N,
                              .type = ZO2_BF16,
                              .y_type = ZO2_F32};
            memset(y, 0xff, MAX_M * N * sizeof *y);
            TEST_OK(t.ops->gemm(t.b, &op));
            if (pass == 0)
                memcpy(first + m * MAX_M * N, y, m * N * sizeof *y);
            else
                assert_memory_equal(first + m * MAX_M * N, y, m * N * sizeof *y);
            for (uint64_t i = 0; i < m * N; i++)
                assert_true(isfinite(y[i]));
        }
    free(first);
    test_close(&t);
}

/* What plans count for a slot is enough for every shape of a tile, and not much more than the largest takes. */
static void test_memory_is_what_plans_count(void **state)
{
    (void)state;
    if (!onednn_runs_here()) {
        assert_true(zo2_gemm_bf16_most_bytes(49152) == 0);
        skip();
    }
    static const uint64_t m[] = {17, 192, 384, 752, 767, 768}, n[] = {1, 16, 128, 200, 511, 512};
    static const uint64_t k[] = {1, 63, 768, 4096, 7168, 12288, 49152};
    for (unsigned i = 0; i < sizeof k / sizeof *k; i++) {
        zo2_gemm_bf16 *g;
        zo2_gemm_bf16_shape *shape;
        TEST_OK(zo2_gemm_bf16_open(&g, 2));
        for (unsigned j = 0; j < 36; j++) {
            zo2_gemm_bf16_begin(g);
            TEST_OK(zo2_gemm_bf16_prepare(g, m[j / 6], n[j % 6], k[i], &shape));
            assert_true(zo2_gemm_bf16_slot_bytes(g) <= zo2_gemm_bf16_most_bytes(k[i]));
        }
        assert_true(zo2_gemm_bf16_slot_bytes(g) + (1 << 20) + 4096 > zo2_gemm_bf16_most_bytes(k[i]));
        zo2_gemm_bf16_close(g);
    }
}

/* opt-1.3b's widest matrix has 8,192 columns. */
static void test_plans_count_it(void **state)
{
    (void)state;
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    o.backend = ZO2_BACKEND_CPU;
    o.threads = 3;
    o.max_rows = 1;
    zo2_plan fp32 = {.struct_size = sizeof fp32}, bf16 = {.struct_size = sizeof bf16};
    o.compute = ZO2_F32;
    TEST_OK(zo2_plan_estimate("opt-1.3b", &o, &fp32));
    o.compute = ZO2_BF16;
    TEST_OK(zo2_plan_estimate("opt-1.3b", &o, &bf16));
    assert_true(bf16.host_peak_bytes - fp32.host_peak_bytes == 3 * zo2_gemm_bf16_most_bytes(8192));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_threads_start),
        cmocka_unit_test(test_many_shapes),
        cmocka_unit_test(test_memory_is_what_plans_count),
        cmocka_unit_test(test_plans_count_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_cpu_gemm_few.c: products of few rows: against sums in double, and the same bits by every instruction set and whatever
 * rows are beside. Tolerance: any order of k fp32 additions of products errs by at most (k + 1) 2^-24 times the sum of
 * magnitudes; one more addition where it accumulates. */
#include "tests/unit/codec/codec_test.h"

#include <math.h>

#include "kernels/cpu/gemm_few.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
static const char *const names[] = {"avx2", "avx512"};
static const uint64_t all_n[] = {1, 2, 3, 4, 23, 24, 25, 50};
static const uint64_t all_k[] = {1, 15, 16, 17, 100, 4095, 4096, 4097, 8200};
enum { MOST_N = 50, MOST_K = 8200, PAD = 3, M = ZO2_FEW_ROWS };

static float x[M * (MOST_K + PAD)], panel[MOST_N * (MOST_K + PAD)];

static float value(uint64_t *rng)
{
    return (float)((double)(int64_t)test_random(rng) * 0x1p-63);
}

static void check_against_double(const float *y, const float *before, uint64_t m, uint64_t n, uint64_t k,
                                 int accumulate)
{
    for (uint64_t i = 0; i < m; i++) {
        for (uint64_t j = 0; j < n; j++) {
            uint64_t at = i * (n + PAD) + j;
            double sum = accumulate ? (double)before[at] : 0, size = fabs(sum);
            for (uint64_t l = 0; l < k; l++) {
                double v = (double)x[i * (k + PAD) + l] * (double)panel[j * (k + PAD) + l];
                sum += v;
                size += fabs(v);
            }
            assert_true(fabs((double)y[at] - sum) <= (double)(k + 1 + (uint64_t)accumulate) * 0x1p-24 * size);
        }
        for (uint64_t j = n; j < n + PAD; j++)
            assert_int_equal(test_bits(y[i * (n + PAD) + j]), test_bits(before[i * (n + PAD) + j]));
    }
}

static void check(zo2_gemm_few few, uint64_t m, uint64_t n, uint64_t k, int accumulate, int exact, float *y)
{
    uint64_t rng = 7 * n + k, ldy = n + PAD;
    float *before = test_alloc(m * ldy * sizeof *before);
    for (uint64_t i = 0; i < m * ldy; i++)
        before[i] = y[i] = value(&rng);
    few(x, k + PAD, m, panel, k + PAD, n, k, y, ldy, accumulate);
    if (exact)
        check_against_double(y, before, m, n, k, accumulate);
    /* every element alone */
    for (uint64_t i = 0; i < m; i++) {
        for (uint64_t j = 0; j < n; j++) {
            float alone = before[i * ldy + j];
            few(x + i * (k + PAD), 1, 1, panel + j * (k + PAD), 1, 1, k, &alone, 1, accumulate);
            assert_int_equal(test_bits(alone), test_bits(y[i * ldy + j]));
        }
    }
    free(before);
}

static void sums_and_bits(void **state)
{
    (void)state;
    uint64_t rng = 5;
    for (size_t s = 0; s < COUNT(all_n) * COUNT(all_k); s++) {
        uint64_t n = all_n[s % COUNT(all_n)], k = all_k[s / COUNT(all_n)];
        for (uint64_t i = 0; i < M * (k + PAD); i++)
            x[i] = value(&rng);
        for (uint64_t i = 0; i < n * (k + PAD); i++)
            panel[i] = value(&rng);
        for (uint64_t m = 1; m <= M; m += k > 100 ? 5 : 1) { /* 1, 6, 11, 16: every number of rows within a block */
            float *first = NULL;
            for (size_t i = 0; i < COUNT(names); i++) {
                zo2_gemm_few few = zo2_gemm_few_get(names[i]);
                if (!few)
                    continue;
                float *y = test_alloc(m * (n + PAD) * sizeof *y);
                check(few, m, n, k, (int)(m + s) % 2, first == NULL, y);
                if (first) {
                    assert_memory_equal(y, first, m * (n + PAD) * sizeof *y);
                    free(y);
                } else {
                    first = y;
                }
            }
            free(first);
        }
    }
}

/* A NaN or an infinity stays in its row of x or of the panel, and isn't lost there. */
static void special_values_stay_where_they_are(void **state)
{
    (void)state;
    enum { ROWS = 5, COLS = 30, K = 37 };
    for (size_t v = 0; v < COUNT(names); v++) {
        zo2_gemm_few few = zo2_gemm_few_get(names[v]);
        if (!few)
            continue;
        float y[ROWS * COLS];
        uint64_t rng = 3;
        for (uint64_t i = 0; i < ROWS * K; i++)
            x[i] = value(&rng);
        for (uint64_t i = 0; i < COLS * K; i++)
            panel[i] = value(&rng);
        x[2 * K + 36] = NAN;
        panel[7 * K] = INFINITY;
        few(x, K, ROWS, panel, K, COLS, K, y, COLS, 0);
        for (uint64_t i = 0; i < ROWS * COLS; i++)
            assert_int_equal(isfinite(y[i]) == 0, i / COLS == 2 || i % COLS == 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sums_and_bits),
                                       cmocka_unit_test(special_values_stay_where_they_are)};
    if (!zo2_gemm_few_get(NULL))
        return 77; /* skipped */
    return cmocka_run_group_tests(tests, NULL, NULL);
}

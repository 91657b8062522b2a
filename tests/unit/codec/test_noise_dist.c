/* Is the noise standard normal, or a fair coin, and are streams independent? Seeds are fixed, so these tests can't fail
 * by chance; the limits are those that a good generator exceeds once in a few thousand seeds. */
#include "tests/unit/codec/codec_test.h"

#include <math.h>

#include "codec/update.h"

enum { SORTED = 1 << 19, MANY = 1 << 22 };

static float *draw(uint64_t seed, uint64_t step, uint32_t query, uint32_t tensor_id, uint64_t first, uint64_t n,
                   zo2_dist dist)
{
    float *z = test_alloc(n * sizeof *z);
    assert_int_equal(zo2_noise_fill(z, seed, step, query, tensor_id, first, n, dist), ZO2_OK);
    return z;
}

static void gaussian_moments(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        float *z = draw(seed, 10, 0, 5, seed << 33, MANY, ZO2_GAUSSIAN);
        double m[5] = {0}, n = MANY;
        for (int i = 0; i < MANY; i++) {
            double x = (double)z[i], p = x;
            for (int k = 1; k < 5; k++, p *= x)
                m[k] += p;
        }
        assert_true(fabs(m[1] / n) < 3.9 * sqrt(1 / n));
        assert_true(fabs(m[2] / n - 1) < 3.9 * sqrt(2 / n));
        assert_true(fabs(m[3] / n) < 3.9 * sqrt(15 / n));
        assert_true(fabs(m[4] / n - 3) < 3.9 * sqrt(96 / n));
        free(z);
    }
}

/* As many values beyond each threshold as there should be. */
static void gaussian_tails(void **state)
{
    (void)state;
    static const double thresholds[] = {0.001, 0.1, 1, 2, 3, 4, 4.5, 5};
    float *z = draw(9, 0, 0, 0, 0, MANY, ZO2_GAUSSIAN);
    for (size_t t = 0; t < sizeof thresholds / sizeof thresholds[0]; t++) {
        double p = erfc(thresholds[t] / sqrt(2)) / 2, above = 0, below = 0;
        for (int i = 0; i < MANY; i++) {
            above += (double)z[i] > thresholds[t];
            below += (double)z[i] < -thresholds[t];
        }
        double sigma = sqrt(MANY * p * (1 - p)) + 1;
        assert_true(fabs(above - MANY * p) < 3.9 * sigma);
        assert_true(fabs(below - MANY * p) < 3.9 * sigma);
    }
    free(z);
}

static int compare_float(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Kolmogorov-Smirnov and Anderson-Darling against the normal distribution function. */
static void gaussian_goodness_of_fit(void **state)
{
    (void)state;
    for (uint64_t seed = 100; seed < 102; seed++) {
        float *z = draw(seed, seed * 7, 1, 2, 12345, SORTED, ZO2_GAUSSIAN);
        qsort(z, SORTED, sizeof *z, compare_float);
        double n = SORTED, d = 0, a = 0;
        for (int i = 0; i < SORTED; i++) {
            double below = erfc(-(double)z[i] / sqrt(2)) / 2;
            double above = erfc((double)z[SORTED - 1 - i] / sqrt(2)) / 2; /* of the mirrored element: no cancellation */
            d = fmax(d, fmax((i + 1) / n - below, below - i / n));
            a += (2 * i + 1) * (log(below) + log(above));
        }
        a = -n - a / n;
        assert_true(d * sqrt(n) < 1.95); /* p = 0.001 */
        assert_true(d * sqrt(n) > 0.3);  /* too even is wrong too */
        assert_true(a < 6.0);            /* p = 0.001 */
        free(z);
    }
}

/* Correlation of x with y, and of their squares, in standard deviations. */
static void assert_uncorrelated(const float *x, const float *y, uint64_t n, int squares)
{
    double sum = 0, sum2 = 0;
    for (uint64_t i = 0; i < n; i++) {
        double a = (double)x[i], b = (double)y[i];
        sum += a * b;
        sum2 += (a * a - 1) * (b * b - 1) / 2;
    }
    assert_true(fabs(sum) < 3.9 * sqrt((double)n));
    if (squares)
        assert_true(fabs(sum2) < 3.9 * sqrt((double)n));
}

static void streams_are_independent(void **state)
{
    (void)state;
    enum { N = 1 << 19 };
    for (zo2_dist dist = ZO2_GAUSSIAN; dist <= ZO2_RADEMACHER; dist++) {
        int gaussian = dist == ZO2_GAUSSIAN;
        float *base = draw(1, 1, 1, 1, 0, N + 256, dist);
        float *others[] = {
            draw(1, 1, 2, 1, 0, N, dist),                                                 /* query */
            draw(1, 2, 1, 1, 0, N, dist),                                                 /* step */
            draw(1, 1, 1, 2, 0, N, dist),                                                 /* tensor */
            draw(2, 1, 1, 1, 0, N, dist),                                                 /* seed */
            draw(2, 0, 1, 1, 0, N, dist),                                                 /* seed + step the same */
            draw(1, 1, 0, 0, 0, N, dist),          draw(1, 1, 1, 1, 1ull << 34, N, dist), /* the upper counter word */
            draw(1, 1, 1, 1, 1ull << 39, N, dist),
        };
        for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
            assert_uncorrelated(base, others[i], N, gaussian);
            for (size_t j = 0; j < i; j++)
                assert_uncorrelated(others[i], others[j], N, gaussian);
        }
        for (int lag = 1; lag <= 256; lag += lag < 8 ? 1 : lag / 2) /* neighbours; 1 has the two of a Box-Muller pair */
            assert_uncorrelated(base, base + lag, N, gaussian);
        for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
            free(others[i]);
        free(base);
    }
}

static void rademacher_is_fair(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        float *z = draw(seed, 3, 0, 1, 0, MANY, ZO2_RADEMACHER);
        double sum = 0, by_place[128] = {0};
        for (int i = 0; i < MANY; i++) {
            assert_true(z[i] == 1 || z[i] == -1);
            sum += (double)z[i];
            by_place[i % 128] += (double)z[i];
        }
        assert_true(fabs(sum) < 3.9 * sqrt(MANY));
        for (int k = 0; k < 128; k++)
            assert_true(fabs(by_place[k]) < 4.5 * sqrt(MANY / 128.0));
        free(z);
    }
}

/* Keys are mixed: no run of values comes again a step later. */
static void one_step_is_not_the_next_shifted(void **state)
{
    (void)state;
    enum { N = 4096 };
    float *a = draw(0, 5, 0, 3, 0, N, ZO2_GAUSSIAN), *b = draw(0, 6, 0, 3, 0, N, ZO2_GAUSSIAN);
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < N; k++)
            assert_false(a[i] == b[k] && i + 2 < N && k + 2 < N && a[i + 1] == b[k + 1] && a[i + 2] == b[k + 2]);
    }
    free(a);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gaussian_moments),         cmocka_unit_test(gaussian_tails),
        cmocka_unit_test(gaussian_goodness_of_fit), cmocka_unit_test(streams_are_independent),
        cmocka_unit_test(rademacher_is_fair),       cmocka_unit_test(one_step_is_not_the_next_shifted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The noise on 1e8 samples of a stream: moments, Kolmogorov-Smirnov, Anderson-Darling, tails, correlation with other places
 * of the stream and with other streams; for signs balance, runs and bytes. test_noise_dist.c has a smaller version.
 *
 * Seeds are fixed, so nothing fails by chance. Limits: LIMIT standard deviations of the statistic under the null hypothesis,
 * two-sided p = 1e-4; about 80 statistics are looked at, so a perfect generator would fail here for one choice of
 * seeds in a hundred. Kolmogorov-Smirnov and Anderson-Darling: p = 0.001 from their limiting distributions. */
#include "tests/unit/codec/codec_test.h"

#include <math.h>

#include "codec/update.h"

#define SAMPLES 100000000ull
#define LIMIT   3.9

enum { BLOCK = 100000, MOST_LAG = 4096 };

typedef struct stream {
    uint64_t seed, step;
    uint32_t query, tensor_id;
} stream;

static const stream base = {12, 345, 1, 7};

static void draw(const stream *s, uint64_t first, uint64_t n, zo2_dist dist, float *z)
{
    assert_int_equal(zo2_noise_fill(z, s->seed, s->step, s->query, s->tensor_id, first, n, dist), ZO2_OK);
}

/* How many standard deviations a sum of SAMPLES terms with this mean and variance is off. */
static void assert_sum(const char *what, double sum, double mean, double variance)
{
    double n = (double)SAMPLES, sigmas = (sum - n * mean) / sqrt(n * variance);
    print_message("%-44s %6.2f sigma\n", what, sigmas);
    assert_true(fabs(sigmas) < LIMIT);
}

/* ---- Gaussian ---- */

/* Samples per interval of 2^-18 of [-8, 8): fine enough that distribution functions at the edges serve as the exact ones
 * (an interval holds at most 1.6e-6 of the probability, the limit of Kolmogorov-Smirnov's distance is 2e-4). */
enum { BINS = 1 << 22 };

static void gaussian_moments_and_fit(void **state)
{
    (void)state;
    static float z[BLOCK];
    uint32_t *count = calloc(BINS, sizeof *count);
    assert_non_null(count);
    double m[7] = {0}, n = (double)SAMPLES;
    for (uint64_t at = 0; at < SAMPLES; at += BLOCK) {
        double part[7] = {0}; /* sums of blocks lose nothing that matters */
        draw(&base, at, BLOCK, ZO2_GAUSSIAN, z);
        for (int i = 0; i < BLOCK; i++) {
            double x = (double)z[i], x2 = x * x;
            assert_true(x > -6.77 && x < 6.77);
            count[(uint32_t)((x + 8) * 0x1p18)]++;
            part[1] += x;
            part[2] += x2;
            part[3] += x2 * x;
            part[4] += x2 * x2;
            part[6] += x2 * x2 * x2;
        }
        for (int k = 1; k < 7; k++)
            m[k] += part[k];
    }
    /* E x^2k = (2k - 1)!!, variance of x^k: E x^2k - (E x^k)^2 */
    assert_sum("mean", m[1], 0, 1);
    assert_sum("second moment", m[2], 1, 2);
    assert_sum("third moment", m[3], 0, 15);
    assert_sum("fourth moment", m[4], 3, 105 - 9);
    assert_sum("sixth moment", m[6], 15, 10395 - 225);

    double below = 0, d = 0, a = 0, last = 0;
    uint64_t tail_at = 0;
    static const double tails[] = {-6, -5.5, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 5.5, 6};
    for (uint32_t i = 0; i < BINS; i++) {
        double edge = i * 0x1p-18 - 8, f = erfc(-edge / sqrt(2)) / 2, above = erfc(edge / sqrt(2)) / 2;
        double off = below / n - f;
        d = fmax(d, fabs(off));
        a += n * off * off / (f * above) * (f - last); /* n times the integral of (F_n - F)^2 / (F (1 - F)) dF */
        last = f;
        if (tail_at < sizeof tails / sizeof tails[0] && edge == tails[tail_at]) {
            char what[64];
            snprintf(what, sizeof what, "below %g: %.0f", edge, below);
            if (n * f > 50 && n * above > 50) /* normal enough for sigmas */
                assert_sum(what, below, f, f * above);
            else /* Poisson with a mean below 50 */
                assert_true(fabs(fmin(below, n - below) - n * fmin(f, above)) < 5 * sqrt(n * fmin(f, above)) + 3);
            tail_at++;
        }
        below += count[i];
    }
    assert_int_equal(tail_at, sizeof tails / sizeof tails[0]);
    assert_true(below == n);
    print_message("Kolmogorov-Smirnov %.3f (at most 1.95), Anderson-Darling %.3f (at most 6.0)\n", d * sqrt(n), a);
    assert_true(d * sqrt(n) < 1.95 && a < 6.0);
    assert_true(d * sqrt(n) > 0.3 && a > 0.12); /* too even is wrong too: p below 1e-5 */
    free(count);
}

/* ---- correlation ---- */

static double dot(const float *restrict x, const float *restrict y, int n, int squares)
{
    double sum[8] = {0}, total = 0;
    for (int i = 0; i + 8 <= n; i += 8) {
        for (int k = 0; k < 8; k++) {
            double a = (double)x[i + k], b = (double)y[i + k];
            sum[k] += squares ? (a * a - 1) * (b * b - 1) / 2 : a * b;
        }
    }
    for (int k = 0; k < 8; k++)
        total += sum[k];
    return total;
}

/* The sequence with itself some places on: 1 has both of a Box-Muller pair, 2 and 3 the same Philox block, 4 the next one,
 * the powers of two what a counter may betray. */
static void correlation_along_the_stream(void **state)
{
    (void)state;
    static const int lags[] = {1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 127, 128, 129, 256, 1024, 2048, MOST_LAG};
    static float z[BLOCK + MOST_LAG];
    for (zo2_dist dist = ZO2_GAUSSIAN; dist <= ZO2_RADEMACHER; dist++) {
        double sums[2][sizeof lags / sizeof lags[0]] = {{0}};
        for (uint64_t at = 0; at < SAMPLES; at += BLOCK) {
            draw(&base, at, BLOCK + MOST_LAG, dist, z);
            for (size_t k = 0; k < sizeof lags / sizeof lags[0]; k++) {
                sums[0][k] += dot(z, z + lags[k], BLOCK, 0);
                if (dist == ZO2_GAUSSIAN && lags[k] < 16)
                    sums[1][k] += dot(z, z + lags[k], BLOCK, 1);
            }
        }
        for (size_t k = 0; k < sizeof lags / sizeof lags[0]; k++) {
            char what[64];
            snprintf(what, sizeof what, "%s, lag %d", zo2_dist_name(dist), lags[k]);
            assert_sum(what, sums[0][k], 0, 1);
            snprintf(what, sizeof what, "%s, lag %d, squares", zo2_dist_name(dist), lags[k]);
            if (dist == ZO2_GAUSSIAN && lags[k] < 16)
                assert_sum(what, sums[1][k], 0, 1); /* var of (x^2 - 1)(y^2 - 1) / 2 = 2 * 2 / 4 */
        }
    }
}

/* Element by element with the streams next to it in every argument. */
static void correlation_across_streams(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        stream s;
        uint64_t first;
    } others[] = {
        {"step + 1", {12, 346, 1, 7}, 0},           {"query + 1", {12, 345, 2, 7}, 0},
        {"tensor + 1", {12, 345, 1, 8}, 0},         {"seed + 1", {13, 345, 1, 7}, 0},
        {"seed + 1, step - 1", {13, 344, 1, 7}, 0}, {"element + 2^34", {12, 345, 1, 7}, 1ull << 34},
    };
    static float x[BLOCK], y[BLOCK];
    for (zo2_dist dist = ZO2_GAUSSIAN; dist <= ZO2_RADEMACHER; dist++) {
        for (size_t k = 0; k < sizeof others / sizeof others[0]; k++) {
            double sum = 0, squares = 0;
            for (uint64_t at = 0; at < SAMPLES; at += BLOCK) {
                draw(&base, at, BLOCK, dist, x);
                draw(&others[k].s, others[k].first + at, BLOCK, dist, y);
                sum += dot(x, y, BLOCK, 0);
                if (dist == ZO2_GAUSSIAN)
                    squares += dot(x, y, BLOCK, 1);
            }
            char what[64];
            snprintf(what, sizeof what, "%s, %s", zo2_dist_name(dist), others[k].what);
            assert_sum(what, sum, 0, 1);
            if (dist == ZO2_GAUSSIAN)
                assert_sum("  squares", squares, 0, 1);
        }
    }
}

/* ---- signs ---- */

static void sign_balance_runs_and_bytes(void **state)
{
    (void)state;
    static float z[BLOCK];
    static double by_place[128], bytes[256];
    double sum = 0, runs = 0, longest = 0, run = 0;
    float before = 0;
    uint32_t byte = 0;
    for (uint64_t at = 0; at < SAMPLES; at += BLOCK) {
        draw(&base, at, BLOCK, ZO2_RADEMACHER, z);
        for (uint32_t i = 0; i < BLOCK; i++) {
            assert_true(z[i] == 1 || z[i] == -1);
            sum += (double)z[i];
            by_place[(at + i) % 128] += (double)z[i];
            run = z[i] == before ? run + 1 : 1;
            runs += run == 1;
            longest = run > longest ? run : longest;
            before = z[i];
            byte = (byte << 1 | (z[i] < 0)) & 0xFF;
            if (i % 8 == 7)
                bytes[byte]++;
        }
    }
    assert_sum("balance", sum, 0, 1);
    assert_sum("runs", runs - 1, 0.5, 0.25); /* each element but the first begins one with probability 1/2 */
    double n = (double)SAMPLES, worst = 0, chi = 0;
    for (int k = 0; k < 128; k++)
        worst = fmax(worst, fabs(by_place[k]) / sqrt(n / 128));
    for (int k = 0; k < 256; k++)
        chi += (bytes[k] - n / 8 / 256) * (bytes[k] - n / 8 / 256) / (n / 8 / 256);
    print_message("worst of 128 bit places %.2f sigma, longest run %.0f, chi square of bytes %.1f\n", worst, longest,
                  chi);
    assert_true(worst < 5.0); /* 128 places: p = 128 * 5.7e-7 */
    assert_true(fabs(chi - 255) < LIMIT * sqrt(2.0 * 255));
    /* runs of at least k begin at n / 2^k places: none of log2(n) + 10, surely one of log2(n) - 5 (but for e^-16) */
    assert_true(longest > log2(n) - 5 && longest < log2(n) + 10);
}

/* Statistics of many short streams, steps of one seed and seeds at one step: not only does none stand out, they vary as much
 * as they should, so a stream that is off is chance and not a defect of its key. */
static void many_streams(void **state)
{
    (void)state;
    enum { STREAMS = 200, EACH = 5 * BLOCK };
    static float z[BLOCK];
    static const char *const names[] = {"mean", "second moment", "fourth moment", "below 2", "sign balance"};
    double sum[5] = {0}, square[5] = {0}, n = EACH, f = erfc(-2 / sqrt(2)) / 2;
    for (uint64_t s = 0; s < STREAMS; s++) {
        stream here = {s % 2 ? 5 : s, s % 2 ? s : 5, 0, 3};
        double m[5] = {0};
        for (uint64_t at = 0; at < EACH; at += BLOCK) {
            draw(&here, at, BLOCK, ZO2_GAUSSIAN, z);
            for (int i = 0; i < BLOCK; i++) {
                double x2 = (double)z[i] * (double)z[i];
                m[0] += (double)z[i];
                m[1] += x2 - 1;
                m[2] += x2 * x2 - 3;
                m[3] += (z[i] < 2) - f;
            }
            draw(&here, at, BLOCK, ZO2_RADEMACHER, z);
            for (int i = 0; i < BLOCK; i++)
                m[4] += (double)z[i];
        }
        const double variance[5] = {1, 2, 96, f * (1 - f), 1};
        for (int k = 0; k < 5; k++) {
            double sigmas = m[k] / sqrt(n * variance[k]);
            assert_true(fabs(sigmas) < 4.9); /* 1,000 of them: p = 1e-3 */
            sum[k] += sigmas;
            square[k] += sigmas * sigmas;
        }
    }
    for (int k = 0; k < 5; k++) {
        print_message("%-16s sigmas of %d streams: mean %6.3f, mean square %.3f\n", names[k], STREAMS, sum[k] / STREAMS,
                      square[k] / STREAMS);
        assert_true(fabs(sum[k] / STREAMS) < LIMIT * sqrt(1.0 / STREAMS));
        assert_true(fabs(square[k] / STREAMS - 1) < LIMIT * sqrt(2.0 / STREAMS));
    }
}

int main(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 77; /* the bits are the same with instrumentation, and ten times as slow; test_noise_dist runs there */
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gaussian_moments_and_fit),
        cmocka_unit_test(correlation_along_the_stream),
        cmocka_unit_test(correlation_across_streams),
        cmocka_unit_test(sign_balance_runs_and_bytes),
        cmocka_unit_test(many_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Box-Muller of normal.h against the exact functions in double, over the whole range of words. */
#include "tests/unit/codec/codec_test.h"

#include <math.h>

#include "codec/normal.h"

static const double pi = 3.14159265358979323846;

/* CODECS.md, "Normals", without rounding. */
static double exact_radius(uint32_t a)
{
    return sqrt(-2 * (a < 0x80000000u ? log((a + 0.5) * 0x1p-32) : log1p(-(~a + 0.5) * 0x1p-32)));
}

static void exact_direction(uint32_t b, double *first, double *second)
{
    double low = b & 0x3FFFFFFF;
    double y = ((low < 0x20000000 ? low : low - 0x40000000) + 0.5) * 0x1p-29;
    double c = cos(pi / 4 * y) * (b & 0x80000000u ? -1 : 1), s = sin(pi / 4 * y);
    *first = b & 0x40000000u ? s : c;
    *second = b & 0x40000000u ? c : s;
}

static double worst_radius_error, worst_radius_relative, worst_direction_error, worst_error;

static void check_pair(uint32_t a, uint32_t b)
{
    double r = exact_radius(a), first, second;
    exact_direction(b, &first, &second);
    float z0 = NAN, z1 = NAN, f0 = NAN, f1 = NAN, got_r = zo2_normal_radius(a);
    zo2_normal_pair(a, b, &z0, &z1);
    zo2_normal_direction(b, &f0, &f1);
    worst_radius_error = fmax(worst_radius_error, fabs((double)got_r - r));
    worst_radius_relative = fmax(worst_radius_relative, fabs((double)got_r / r - 1));
    worst_direction_error = fmax(worst_direction_error, fmax(fabs((double)f0 - first), fabs((double)f1 - second)));
    worst_error = fmax(worst_error, fmax(fabs((double)z0 - r * first), fabs((double)z1 - r * second)));
    if (!(fabsf(z0) <= 6.7638f && fabsf(z1) <= 6.7638f)) /* NaN fails too */
        fail_msg("words %08x %08x: %a %a", a, b, (double)z0, (double)z1);
}

static void error_bound(void **state)
{
    (void)state;
    uint64_t rng = 11;
    for (uint64_t i = 0; i < 1000000; i++) {
        uint64_t r = test_random(&rng);
        check_pair((uint32_t)(i * 4295), (uint32_t)r);                      /* the whole range of radii */
        check_pair((uint32_t)(r >> 32) >> (r % 32), (uint32_t)(i * 4295));  /* small u at every scale, all directions */
        check_pair(~((uint32_t)(r >> 32) >> (r % 32)), (uint32_t)(r >> 7)); /* small 1 - u */
    }
    print_message("radius %.3g (relative %.3g), direction %.3g, normal %.3g\n", worst_radius_error,
                  worst_radius_relative, worst_direction_error, worst_error);
    assert_true(worst_error < 1e-6);
    assert_true(worst_radius_error < 6e-7);
    assert_true(worst_radius_relative < 4e-7);
    assert_true(worst_direction_error < 3e-7);
}

/* Where the branches meet, and the ends. */
static void edges(void **state)
{
    (void)state;
    static const uint32_t centres[] = {0,          0x20000000, 0x40000000, 0x5A827999, 0x60000000, 0x7FFFFFFF,
                                       0x80000000, 0xA0000000, 0xB504F333, 0xC0000000, 0xE0000000, 0xFFFFFFFF};
    for (size_t i = 0; i < sizeof centres / sizeof centres[0]; i++) {
        for (uint32_t k = 0; k < 1024; k++)
            check_pair(centres[i] + k - 512, centres[i] + 512 - k);
    }
    for (uint32_t bit = 0; bit < 32; bit++) {
        for (uint32_t k = 0; k < 3; k++)
            check_pair((1u << bit) + k - 1, (1u << bit) + k - 1);
    }
    assert_true(worst_error < 1e-6);
    assert_true(worst_radius_relative < 4e-7);
    /* the documented ends */
    float z0, z1;
    zo2_normal_pair(0, 0, &z0, &z1);
    assert_true(fabs((double)z0 - sqrt(66 * log(2))) < 1e-6);
    assert_true(zo2_normal_radius(0xFFFFFFFFu) > 0);
    assert_true(fabs((double)zo2_normal_radius(0xFFFFFFFFu) / 0x1p-16 - 1) < 1e-6);
}

/* More words never give a larger radius (the density has no folds), checked around every change of exponent. */
static void radius_falls(void **state)
{
    (void)state;
    double worst = 0;
    for (uint32_t bit = 14; bit < 32; bit++) {
        uint32_t stride = bit > 20 ? 1u << (bit - 20) : 1, a = (1u << bit) - 10000 * stride;
        for (uint32_t k = 0; k < 20000; k++, a += stride) {
            float here = zo2_normal_radius(a), next = zo2_normal_radius(a + stride);
            worst = fmax(worst, (double)next / (double)here - 1);
        }
    }
    assert_true(worst < 3e-7); /* an ulp or two of rounding */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_bound),
        cmocka_unit_test(edges),
        cmocka_unit_test(radius_falls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

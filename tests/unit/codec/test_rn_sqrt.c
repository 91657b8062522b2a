/* The square root that devices make from their approximation of 1 / sqrt(x): rounded correctly for every mantissa, whatever
 * the approximation's error is within its bound. */
#include "tests/unit/codec/codec_test.h"

#include <math.h>

#include "codec/normal.h"
#include "codec/rn.h"

/* An ulp of a mantissa is 2^-24 of the value at least, so so many of them reach 2^-21. PTX promises 2^-22.9. */
#define MOST_ULP 8

/* What nvcc's square root does within its range: one correction, no step. Its result depends on the approximation. */
static inline float one_correction(float x, float r)
{
    float g = zo2_mul(x, r), h = zo2_mul(0.5f, r);
    return zo2_fma(zo2_fma(-g, g, x), h, g);
}

/* Wrong roots among all x in [1, 4), which are all mantissas with both parities of the exponent: any other x is one of them times
 * a power of 4, and then so is all that is computed from it. r: the nearest float, `off` ulp further on. */
static inline uint64_t count_wrong(int32_t off, int refine)
{
    uint64_t wrong = 0;
    for (uint32_t u = 0x3F800000u; u < 0x40800000u; u++) {
        float x = zo2_bits_float(u), nearest = (float)(1 / sqrt((double)x));
        float r = zo2_bits_float(zo2_float_bits(nearest) + (uint32_t)off);
        float root = refine ? zo2_sqrt_refine(x, r) : one_correction(x, r);
        wrong += root != sqrtf(x);
    }
    return wrong;
}

/* fmaf() as an instruction: seconds instead of a minute. */
#ifdef __x86_64__
__attribute__((target("avx2,fma"))) static uint64_t count_wrong_fma(int32_t off, int refine)
{
    return refine ? count_wrong(off, 1) : count_wrong(off, 0);
}
#endif

static uint64_t wrong_roots(int32_t off, int refine)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return count_wrong_fma(off, refine);
#endif
    return count_wrong(off, refine);
}

static void every_mantissa(void **state)
{
    (void)state;
    for (int32_t off = -MOST_ULP; off <= MOST_ULP; off++)
        assert_int_equal(wrong_roots(off, 1), 0);
    /* The check sees what it is for. */
    assert_int_equal(wrong_roots(0, 0), 0);
    assert_true(wrong_roots(1, 0) + wrong_roots(-1, 0) > 0);
}

/* The scaling argument, at the ends of what is promised and between them. */
static void every_exponent(void **state)
{
    (void)state;
    uint64_t rng = 3;
    for (int e = -60; e <= 60; e++)
        for (int i = 0; i < 1000; i++) {
            float x = ldexpf((float)(1 + (double)(test_random(&rng) >> 12) * 0x1p-52), e);
            x = e == 60 ? 0x1p60f : x;
            float nearest = (float)(1 / sqrt((double)x));
            int32_t off = (int32_t)(test_random(&rng) % (2 * MOST_ULP + 1)) - MOST_ULP;
            float root = zo2_sqrt_refine(x, zo2_bits_float(zo2_float_bits(nearest) + (uint32_t)off));
            float want = sqrtf(x);
            assert_memory_equal(&root, &want, sizeof want);
        }
}

/* Radii fall as words grow (test_noise_normal.c): all are roots of what lies between the squares of these two. */
static void radii_are_in_range(void **state)
{
    (void)state;
    float least = zo2_normal_radius(0xFFFFFFFFu), most = zo2_normal_radius(0);
    assert_true(least * least >= 0x1p-33f && most * most <= 46.0f);
    assert_true(zo2_sqrt_bounded(0x1p-60f) == 0x1p-30f && zo2_sqrt_bounded(0x1p60f) == 0x1p30f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mantissa),
        cmocka_unit_test(every_exponent),
        cmocka_unit_test(radii_are_in_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

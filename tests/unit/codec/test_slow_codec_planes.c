/* The bf16 planes over all 2^32 bit patterns: hi is u rounded half away from zero, and the two planes give u back, so
 * that splitting is a bijection. On the best instruction set and on the plainest. */
#include "tests/unit/codec/codec_test.h"

enum { RUN = 65536 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { HIGH_STRIDE = 251 }; /* instrumented code takes minutes for all of them */
#else
enum { HIGH_STRIDE = 1 };
#endif

static void all_patterns(const char *isa)
{
    const zo2_codec *k = zo2_codec_get(ZO2_WIRE_BF16);
    float *w = test_alloc(RUN * sizeof *w), *got = test_alloc(RUN * sizeof *got);
    uint16_t *hi = test_alloc(RUN * sizeof *hi), *lo = test_alloc(RUN * sizeof *lo);
    assert_int_equal(zo2_simd_select(isa), 1);
    for (uint32_t high = 0; high < 65536; high += HIGH_STRIDE) {
        for (uint32_t i = 0; i < RUN; i++)
            w[i] = test_float(high << 16 | i);
        k->split(w, 1, RUN, 0, 1, hi, lo);
        k->join(hi, lo, 1, RUN, 0, 1, got);
        assert_int_equal(memcmp(got, w, RUN * sizeof *w), 0); /* cmocka's own goes byte by byte */
        /* half away from zero: the magnitude's upper half, one more if the lower half is at least one half */
        uint32_t wrong = 0;
        uint16_t down = (uint16_t)high, up = (uint16_t)(high + 1);
        for (uint32_t i = 0; i < RUN; i++)
            wrong |= (uint32_t)(hi[i] != (i < 0x8000 ? down : up)) | (uint32_t)(lo[i] != (uint16_t)i);
        assert_int_equal(wrong, 0);
    }
    free(w);
    free(got);
    free(hi);
    free(lo);
    zo2_simd_select(NULL);
}

static void best(void **state)
{
    (void)state;
    all_patterns(NULL);
}

static void scalar(void **state)
{
    (void)state;
    all_patterns("scalar");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(best), cmocka_unit_test(scalar)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

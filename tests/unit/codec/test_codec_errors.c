/* What each wire loses of weights as matrices have them. */
#include "tests/unit/codec/codec_test.h"

#include <math.h>

/* The figures of CODECS.md: relative root mean square error of 2^20 weights of N(0, 0.02), the wires side by side. */
static void error_of_normal_weights(void **state)
{
    (void)state;
    enum { ROWS = 64, COLS = 16384 };
    static const struct {
        zo2_wire wire;
        double low, high;
    } expected[] = {{ZO2_WIRE_FP32, 0, 0},         {ZO2_WIRE_FP16, 2.0e-4, 2.2e-4}, {ZO2_WIRE_BF16, 1.6e-3, 1.75e-3},
                    {ZO2_WIRE_E4M3, 0.025, 0.028}, {ZO2_WIRE_E5M2, 0.05, 0.055},    {ZO2_WIRE_F10, 1.63e-3, 1.69e-3},
                    {ZO2_WIRE_F8, 6.5e-3, 6.7e-3}, {ZO2_WIRE_F6, 0.0262, 0.0268},   {ZO2_WIRE_BF12, 1.6e-3, 1.75e-3},
                    {ZO2_WIRE_I4, 0.0738, 0.0743}};
    assert_int_equal(sizeof expected / sizeof expected[0], TEST_WIRES);
    float *w = test_alloc(ROWS * COLS * sizeof *w), *got = test_alloc(ROWS * COLS * sizeof *w);
    unsigned char *wire = test_alloc(ROWS * COLS * 4), *rest = test_alloc(ROWS * COLS * 4);
    assert_int_equal(zo2_noise_fill(w, 1, 0, 0, 0, 0, ROWS * COLS, ZO2_GAUSSIAN), ZO2_OK);
    for (uint64_t i = 0; i < ROWS * COLS; i++)
        w[i] *= 0.02f;
    for (size_t k = 0; k < sizeof expected / sizeof expected[0]; k++) {
        const zo2_codec *codec = zo2_codec_get(expected[k].wire);
        double sum = 0, square = 0, worst = 0;
        codec->split(w, ROWS, COLS, 0, ROWS, wire, rest);
        codec->decode(wire, ROWS, COLS, 0, ROWS, got);
        for (uint64_t i = 0; i < ROWS * COLS; i++) {
            double e = (double)got[i] - (double)w[i];
            sum += e * e;
            square += (double)w[i] * (double)w[i];
            worst = fmax(worst, fabs(e));
        }
        print_message("%s: relative RMS %.3g, largest %.3g\n", zo2_wire_name(codec->id), sqrt(sum / square), worst);
        assert_true(sqrt(sum / square) >= expected[k].low && sqrt(sum / square) <= expected[k].high);
    }
    free(w);
    free(got);
    free(wire);
    free(rest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(error_of_normal_weights)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

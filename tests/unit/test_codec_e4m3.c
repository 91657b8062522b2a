/* E4M3 with scales: all 256 codes, ties, overflow, NaN, scales of any amax. The reference is made of doubles from the
 * OFP8 text. */
#include "codec_test.h"

#include <math.h>

#include "codec/fp8_e4m3.h"
#include "codec/plane_layout.h"

/* OFP8, E4M3: S.EEEE.MMM, bias 7, no infinity, S.1111.111 NaN. */
static double reference_value(int code)
{
    int e = code >> 3 & 15, m = code & 7;
    double v = e == 0 ? ldexp(m, -9) : ldexp(8 + m, e - 10);
    v = e == 15 && m == 7 ? NAN : v;
    return code & 0x80 ? -v : v;
}

/* Nearest even by trying all codes, then saturation. */
static int reference_encode(double x)
{
    if (isnan(x))
        return 0x7F;
    int best = 0;
    for (int code = 0; code < 0x7F; code++) {
        double d = fabs(reference_value(code) - fabs(x)), least = fabs(reference_value(best) - fabs(x));
        if (d < least || (d == least && code % 2 == 0))
            best = code;
    }
    return best | (signbit(x) ? 0x80 : 0);
}

static void decode_row(const uint8_t *codes, uint16_t scale, uint64_t cols, float *out)
{
    uint64_t bytes = zo2_fp8_wire_bytes(1, cols);
    unsigned char *wire = test_alloc(bytes);
    memcpy(wire, codes, cols);
    for (uint64_t g = 0; g < zo2_fp8_groups(cols); g++)
        memcpy(wire + zo2_fp8_scales_at(1, cols, 0) + 2 * g, &scale, 2);
    zo2_codec_get(ZO2_WIRE_E4M3)->decode(wire, 1, cols, 0, 1, out);
    free(wire);
}

static void all_codes(void **state)
{
    (void)state;
    static const float scales[] = {1, 0x1p-126f, 0x1.fep-126f, 0x1.8p-7f, 0x1.02p3f, 0x1.24p119f};
    uint8_t codes[256];
    float got[256];
    for (int i = 0; i < 256; i++)
        codes[i] = (uint8_t)i;
    FOR_EACH_ISA(isa)
    {
        for (size_t s = 0; s < sizeof scales / sizeof scales[0]; s++) {
            decode_row(codes, (uint16_t)(test_bits(scales[s]) >> 16), 256, got);
            for (int i = 0; i < 256; i++) {
                double want = reference_value(i) * (double)scales[s]; /* exact */
                if (isnan(want)) {
                    assert_int_equal(test_bits(got[i]), i & 0x80 ? 0xFFC00000u : 0x7FC00000u);
                } else {
                    assert_true((double)got[i] == want && !signbit(got[i]) == !signbit(want));
                }
                assert_int_equal(test_bits(got[i]),
                                 test_bits(zo2_e4m3_get((uint8_t)i, (uint16_t)(test_bits(scales[s]) >> 16))));
            }
        }
    }
    /* pinned: 0, least, greatest subnormal, least normal, 1, greatest */
    assert_true(reference_value(0) == 0 && reference_value(1) == 0x1p-9 && reference_value(7) == 7 * 0x1p-9);
    assert_true(reference_value(8) == 0x1p-6 && reference_value(0x38) == 1 && reference_value(0x7E) == 448);
}

/* Encodes x at scale 1: a 448 in the group fixes it. */
static void encode_at_one(const float *x, uint64_t n, uint8_t *codes)
{
    float w[128];
    unsigned char wire[128 + 16], rest[512];
    assert_true(n < 128);
    memcpy(w, x, n * sizeof *x);
    for (uint64_t i = n; i < 128; i++)
        w[i] = 448;
    zo2_codec_get(ZO2_WIRE_E4M3)->split(w, 1, 128, 0, 1, wire, rest);
    assert_true(wire[128] == 0x80 && wire[129] == 0x3F); /* bf16 of 1 */
    memcpy(codes, wire, n);
}

static void values_ties_and_neighbours(void **state)
{
    (void)state;
    FOR_EACH_ISA(isa)
    {
        for (int code = 0; code < 0x7E; code++) {
            double here = reference_value(code), next = reference_value(code + 1), tie = (here + next) / 2;
            float x[6] = {(float)here,
                          (float)tie,
                          nextafterf((float)tie, 1000),
                          nextafterf((float)tie, 0),
                          nextafterf((float)next, 0),
                          nextafterf((float)here, 1000)};
            uint8_t got[12], want[6] = {(uint8_t)code, (uint8_t)(code + code % 2), (uint8_t)(code + 1),
                                        (uint8_t)code, (uint8_t)(code + 1),        (uint8_t)code};
            float both[12];
            for (int i = 0; i < 6; i++) {
                both[i] = x[i];
                both[6 + i] = -x[i];
            }
            encode_at_one(both, 12, got);
            for (int i = 0; i < 6; i++) {
                assert_int_equal(got[i], want[i]);
                assert_int_equal(got[6 + i], want[i] | 0x80);
                assert_int_equal(got[i], reference_encode((double)x[i]));
            }
        }
    }
}

static void one_value_beyond_the_range(void **state)
{
    (void)state;
    static const float big[] = {448, 449, 463.9f, 464, 464.1f, 480, 512, 1e10f, INFINITY};
    for (size_t i = 0; i < sizeof big / sizeof big[0]; i++) {
        assert_int_equal(zo2_e4m3_encode(big[i], 1), 0x7E);
        assert_int_equal(zo2_e4m3_encode(-big[i], 1), 0xFE);
    }
    for (uint32_t nan = 0x7F800001u; nan < 0x80000000u && nan >= 0x7F800001u; nan += 0x1234) {
        assert_int_equal(zo2_e4m3_encode(test_float(nan), 1), 0x7F);
        assert_int_equal(zo2_e4m3_encode(test_float(nan | 0x80000000u), 1), 0x7F);
    }
    uint64_t rng = 5;
    for (int i = 0; i < 20000; i++) {
        float w = test_weight(&rng), scale = test_float(((uint32_t)test_random(&rng) % 0x7F00u + 0x80u) << 16);
        assert_int_equal(zo2_e4m3_encode(w, scale), reference_encode((double)(w / scale)));
    }
}

/* The smallest bf16 that will do, for amax of every magnitude. */
static void scale_is_smallest(void **state)
{
    (void)state;
    uint64_t rng = 77;
    for (int i = 0; i < 300000; i++) {
        uint32_t bits = (uint32_t)test_random(&rng) % 0x7F7F8000u;
        if (i % 4 == 0) { /* on, just above and just below 448 times a bf16 */
            double on = 448 * (double)test_float(((uint32_t)test_random(&rng) % 0x7A90u + 0x80u) << 16);
            bits = test_bits((float)on) + (uint32_t)(i / 4 % 3) - 1;
        } else if (i % 4 == 1) {
            bits >>= test_random(&rng) % 31;
        }
        uint16_t scale = zo2_e4m3_scale(bits);
        double amax = (double)test_float(bits), s = (double)test_float((uint32_t)scale << 16);
        assert_true(s * 448 >= amax && scale >= 0x80);
        if (scale > 0x80)
            assert_true((double)test_float((uint32_t)(scale - 1) << 16) * 448 < amax);
    }
    assert_int_equal(zo2_e4m3_scale(0), 0x80);
    assert_int_equal(zo2_e4m3_scale(1), 0x80);
    assert_int_equal(zo2_e4m3_scale(test_bits(448)), 0x3F80);
    assert_int_equal(zo2_e4m3_scale(test_bits(448) + 1), 0x3F81);
    assert_int_equal(zo2_e4m3_scale(test_bits(448) - 1), 0x3F80);
    assert_int_equal(zo2_e4m3_scale(0x7F800000u), 0x7F7F);
    assert_int_equal(zo2_e4m3_scale(0x7FC00000u), 0x7F7F);
}

/* Rows of any width against encode and scale of single values, on every instruction set. */
static void ragged_rows(void **state)
{
    (void)state;
    static const uint64_t widths[] = {1, 2, 15, 16, 17, 127, 128, 129, 192, 255, 256, 257, 576, 4544};
    FOR_EACH_ISA(isa)
    {
        for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
            uint64_t cols = widths[i], rng = i + 1, groups = (cols + 127) / 128;
            float *w = test_alloc(cols * sizeof *w);
            unsigned char *wire = test_alloc(zo2_fp8_wire_bytes(1, cols)), *rest = test_alloc(zo2_row_stride(cols, 4));
            for (uint64_t j = 0; j < cols; j++)
                w[j] = test_weight(&rng);
            zo2_codec_get(ZO2_WIRE_E4M3)->split(w, 1, cols, 0, 1, wire, rest);
            for (uint64_t g = 0; g < groups; g++) {
                uint32_t amax = 0;
                uint16_t scale;
                for (uint64_t j = 128 * g; j < cols && j < 128 * g + 128; j++)
                    amax = (test_bits(w[j]) & 0x7FFFFFFF) > amax ? test_bits(w[j]) & 0x7FFFFFFF : amax;
                memcpy(&scale, wire + (cols + 15) / 16 * 16 + 2 * g, 2);
                assert_int_equal(scale, zo2_e4m3_scale(amax));
                for (uint64_t j = 128 * g; j < cols && j < 128 * g + 128; j++)
                    assert_int_equal(wire[j], reference_encode((double)(w[j] / test_float((uint32_t)scale << 16))));
            }
            free(w);
            free(wire);
            free(rest);
        }
    }
}

/* Tiny groups neither divide by zero nor overflow; zeros stay; a NaN or infinity that gets here is not lost. */
static void odd_groups(void **state)
{
    (void)state;
    static const struct {
        float w[3], want[3];
    } cases[] = {
        {{0, -0.0f, 0}, {0, -0.0f, 0}},
        {{0x1p-149f, 0, -0x1p-149f}, {0, 0, -0.0f}},                    /* below half the least code, 2^-9 of 2^-126 */
        {{0x1p-126f, 0x1p-135f, 0x1p-136f}, {0x1p-126f, 0x1p-135f, 0}}, /* 2^-136: a tie, to even */
        {{INFINITY, 0x1p100f, 0}, {INFINITY, 0, 0}},
        {{NAN, 0x1p100f, -INFINITY}, {NAN, 0, -INFINITY}},
    };
    FOR_EACH_ISA(isa)
    {
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            unsigned char wire[32], rest[16];
            float got[3];
            zo2_codec_get(ZO2_WIRE_E4M3)->split(cases[i].w, 1, 3, 0, 1, wire, rest);
            zo2_codec_get(ZO2_WIRE_E4M3)->decode(wire, 1, 3, 0, 1, got);
            for (int j = 0; j < 3; j++) {
                if (isnan(cases[i].want[j])) {
                    assert_true(isnan(got[j]));
                } else {
                    assert_int_equal(test_bits(got[j]), test_bits(cases[i].want[j]));
                }
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_codes),
        cmocka_unit_test(values_ties_and_neighbours),
        cmocka_unit_test(one_value_beyond_the_range),
        cmocka_unit_test(scale_is_smallest),
        cmocka_unit_test(ragged_rows),
        cmocka_unit_test(odd_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

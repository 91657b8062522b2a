/* E4M3 and E5M2 with scales: all 256 codes, ties, overflow, NaN, scales of any amax. The references are made of doubles
 * from the OFP8 text. */
#include "tests/unit/codec/codec_test.h"

#include <math.h>

#include "codec/fp8_e4m3.h"
#include "codec/fp8_e5m2.h"
#include "codec/plane_layout.h"

/* OFP8, table 1: S.EEEE.MMM with bias 7, no infinity, S.1111.111 NaN. */
static double e4m3_value(int code)
{
    int e = code >> 3 & 15, m = code & 7;
    double v = e == 0 ? ldexp(m, -9) : ldexp(8 + m, e - 10);
    v = e == 15 && m == 7 ? NAN : v;
    return code & 0x80 ? -v : v;
}

/* S.EEEEE.MM with bias 15, S.11111.00 infinity, S.11111.{01, 10, 11} NaN. */
static double e5m2_value(int code)
{
    int e = code >> 2 & 31, m = code & 3;
    double v = e == 0 ? ldexp(m, -16) : ldexp(4 + m, e - 17);
    if (e == 31)
        v = m == 0 ? INFINITY : NAN;
    return code & 0x80 ? -v : v;
}

typedef struct format {
    zo2_wire wire;
    double (*value)(int code);
    float (*get)(uint8_t code, uint16_t scale);
    uint8_t (*encode)(float w, float scale);
    uint16_t (*scale)(uint32_t amax_bits);
    int largest, mantissa; /* code of the largest finite value; bits */
    float max, least;      /* that value; the smallest subnormal one */
} format;

static const format formats[] = {
    {ZO2_WIRE_E4M3, e4m3_value, zo2_e4m3_get, zo2_e4m3_encode, zo2_e4m3_scale, 0x7E, 3, 448, 0x1p-9f},
    {ZO2_WIRE_E5M2, e5m2_value, zo2_e5m2_get, zo2_e5m2_encode, zo2_e5m2_scale, 0x7B, 2, 57344, 0x1p-16f},
};
#define FOR_EACH_FORMAT(f) for (const format *f = formats; f < formats + 2; f++)

/* Nearest even by trying all codes, then saturation. */
static int reference_encode(const format *f, double x)
{
    if (isnan(x))
        return 0x7F;
    if (fabs(x) > (double)f->max)
        return f->largest | (signbit(x) ? 0x80 : 0);
    int best = 0;
    for (int code = 0; code <= f->largest; code++) {
        double d = fabs(f->value(code) - fabs(x)), least = fabs(f->value(best) - fabs(x));
        if (d < least || (d == least && code % 2 == 0))
            best = code;
    }
    return best | (signbit(x) ? 0x80 : 0);
}

static void decode_row(const format *f, const uint8_t *codes, uint16_t scale, uint64_t cols, float *out)
{
    unsigned char *wire = test_alloc(zo2_codec_get(f->wire)->wire_bytes(1, cols));
    memcpy(wire, codes, cols);
    for (uint64_t g = 0; g < zo2_scale_groups(zo2_wire_shape_of(ZO2_WIRE_E4M3), cols); g++)
        memcpy(wire + zo2_row_stride(cols, 1) + 2 * g, &scale, 2);
    zo2_codec_get(f->wire)->decode(wire, 1, cols, 0, 1, out);
    free(wire);
}

static void all_codes(void **state)
{
    (void)state;
    /* E5M2's largest scale for finite weights is below 2^112; E4M3's below 2^120 */
    static const float scales[] = {1, 0x1p-126f, 0x1.fep-126f, 0x1.8p-7f, 0x1.02p3f, 0x1.24p111f};
    uint8_t codes[256];
    float got[256];
    for (int i = 0; i < 256; i++)
        codes[i] = (uint8_t)i;
    FOR_EACH_FORMAT(f)
    {
        FOR_EACH_ISA(isa)
        {
            for (size_t s = 0; s < sizeof scales / sizeof scales[0]; s++) {
                uint16_t scale = (uint16_t)(test_bits(scales[s]) >> 16);
                decode_row(f, codes, scale, 256, got);
                for (int i = 0; i < 256; i++) {
                    double want = f->value(i) * (double)scales[s]; /* exact */
                    if (isnan(want)) {
                        assert_int_equal(test_bits(got[i]), i & 0x80 ? 0xFFC00000u : 0x7FC00000u);
                    } else {
                        assert_true((double)got[i] == want && !signbit(got[i]) == !signbit(want));
                    }
                    assert_int_equal(test_bits(got[i]), test_bits(f->get((uint8_t)i, scale)));
                }
            }
        }
        /* 0, least, 1, greatest */
        assert_true(f->value(0) == 0 && f->value(1) == (double)f->least && f->value(f->largest) == (double)f->max);
        assert_true(f->value(f == formats ? 0x38 : 0x3C) == 1);
    }
}

/* Encodes x at scale 1: the largest value in the group fixes it. */
static void encode_at_one(const format *f, const float *x, uint64_t n, uint8_t *codes)
{
    float w[128];
    unsigned char wire[128 + 16], rest[512];
    assert_true(n < 128);
    memcpy(w, x, n * sizeof *x);
    for (uint64_t i = n; i < 128; i++)
        w[i] = f->max;
    zo2_codec_get(f->wire)->split(w, 1, 128, 0, 1, wire, rest);
    assert_true(wire[128] == 0x80 && wire[129] == 0x3F); /* bf16 of 1 */
    memcpy(codes, wire, n);
}

static void values_ties_and_neighbours(void **state)
{
    (void)state;
    FOR_EACH_FORMAT(f)
    {
        FOR_EACH_ISA(isa)
        {
            for (int code = 0; code < f->largest; code++) {
                double here = f->value(code), next = f->value(code + 1), tie = (here + next) / 2;
                float x[6] = {(float)here,
                              (float)tie,
                              nextafterf((float)tie, 1e9f),
                              nextafterf((float)tie, 0),
                              nextafterf((float)next, 0),
                              nextafterf((float)here, 1e9f)};
                uint8_t got[12], want[6] = {(uint8_t)code, (uint8_t)(code + code % 2), (uint8_t)(code + 1),
                                            (uint8_t)code, (uint8_t)(code + 1),        (uint8_t)code};
                float both[12];
                for (int i = 0; i < 6; i++) {
                    both[i] = x[i];
                    both[6 + i] = -x[i];
                }
                encode_at_one(f, both, 12, got);
                for (int i = 0; i < 6; i++) {
                    assert_int_equal(got[i], want[i]);
                    assert_int_equal(got[6 + i], want[i] | 0x80);
                    assert_int_equal(got[i], reference_encode(f, (double)x[i]));
                    assert_int_equal(got[i], f->encode(x[i], 1));
                }
            }
        }
    }
}

static void one_value_beyond_the_range(void **state)
{
    (void)state;
    static const float big[] = {1, 1.001f, 1.0356f, 1.0357f, 1.0358f, 1.0714f, 1.1428f, 1e10f, 1e32f, INFINITY};
    FOR_EACH_FORMAT(f)
    {
        for (size_t i = 0; i < sizeof big / sizeof big[0]; i++) {
            assert_int_equal(f->encode(big[i] * f->max, 1), f->largest);
            assert_int_equal(f->encode(-big[i] * f->max, 1), f->largest | 0x80);
        }
        for (uint32_t nan = 0x7F800001u; nan < 0x80000000u && nan >= 0x7F800001u; nan += 0x1234) {
            assert_int_equal(f->encode(test_float(nan), 1), 0x7F);
            assert_int_equal(f->encode(test_float(nan | 0x80000000u), 1), 0x7F);
        }
        uint64_t rng = 5;
        for (int i = 0; i < 20000; i++) {
            float w = test_weight(&rng), scale = test_float(((uint32_t)test_random(&rng) % 0x7F00u + 0x80u) << 16);
            assert_int_equal(f->encode(w, scale), reference_encode(f, (double)(w / scale)));
        }
    }
}

/* The smallest bf16 that will do, for amax of every magnitude. */
static void scale_is_smallest(void **state)
{
    (void)state;
    uint64_t rng = 77;
    FOR_EACH_FORMAT(f)
    {
        double max = (double)f->max;
        uint32_t most = f->scale(0x7F7F7FFFu); /* that is representable */
        assert_true((double)test_float(most << 16) * max < 0x1p128);
        for (int i = 0; i < 300000; i++) {
            uint32_t bits = (uint32_t)test_random(&rng) % 0x7F7F8000u;
            if (i % 4 == 0) { /* on, just above and just below the largest value times a bf16 */
                double on = max * (double)test_float(((uint32_t)test_random(&rng) % (most - 0x80) + 0x80u) << 16);
                bits = test_bits((float)on) + (uint32_t)(i / 4 % 3) - 1;
            } else if (i % 4 == 1) {
                bits >>= test_random(&rng) % 31;
            }
            uint16_t scale = f->scale(bits);
            double amax = (double)test_float(bits), s = (double)test_float((uint32_t)scale << 16);
            assert_true(s * max >= amax && scale >= 0x80);
            if (scale > 0x80)
                assert_true((double)test_float((uint32_t)(scale - 1) << 16) * max < amax);
        }
        assert_int_equal(f->scale(0), 0x80);
        assert_int_equal(f->scale(1), 0x80);
        assert_int_equal(f->scale(test_bits(f->max)), 0x3F80);
        assert_int_equal(f->scale(test_bits(f->max) + 1), 0x3F81);
        assert_int_equal(f->scale(test_bits(f->max) - 1), 0x3F80);
        assert_int_equal(f->scale(0x7F800000u), 0x7F7F);
        assert_int_equal(f->scale(0x7FC00000u), 0x7F7F);
        assert_true(f->scale(0x7F7FFFFFu) < 0x7F7F); /* no finite group has the scale of the others */
    }
}

/* Rows of any width against encode and scale of single values, on every instruction set. */
static void ragged_rows(void **state)
{
    (void)state;
    static const uint64_t widths[] = {1,   2,   15,  16,  17,   127,  128,  129,  192,
                                      255, 256, 257, 576, 1023, 1024, 1025, 1152, 4544};
    FOR_EACH_FORMAT(f)
    {
        FOR_EACH_ISA(isa)
        {
            for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
                uint64_t cols = widths[i], rng = i + 1, groups = (cols + 127) / 128;
                float *w = test_alloc(cols * sizeof *w);
                unsigned char *wire = test_alloc(zo2_codec_get(f->wire)->wire_bytes(1, cols)),
                              *rest = test_alloc(zo2_row_stride(cols, 4));
                for (uint64_t j = 0; j < cols; j++)
                    w[j] = test_weight(&rng);
                zo2_codec_get(f->wire)->split(w, 1, cols, 0, 1, wire, rest);
                for (uint64_t g = 0; g < groups; g++) {
                    uint32_t amax = 0;
                    uint16_t scale;
                    for (uint64_t j = 128 * g; j < cols && j < 128 * g + 128; j++)
                        amax = (test_bits(w[j]) & 0x7FFFFFFF) > amax ? test_bits(w[j]) & 0x7FFFFFFF : amax;
                    memcpy(&scale, wire + (cols + 15) / 16 * 16 + 2 * g, 2);
                    assert_int_equal(scale, f->scale(amax));
                    for (uint64_t j = 128 * g; j < cols && j < 128 * g + 128; j++)
                        assert_int_equal(wire[j],
                                         reference_encode(f, (double)(w[j] / test_float((uint32_t)scale << 16))));
                }
                free(w);
                free(wire);
                free(rest);
            }
        }
    }
}

/* Tiny groups neither divide by zero nor overflow; zeros stay; a NaN or infinity that gets here is not lost, in whichever
 * group it is. */
static void odd_groups(void **state)
{
    (void)state;
    FOR_EACH_FORMAT(f)
    {
        float least = f->least * 0x1p-126f; /* the least code at the least scale: a subnormal, exact */
        const struct {
            float w[3], want[3];
        } cases[] = {
            {{0, -0.0f, 0}, {0, -0.0f, 0}},
            {{0x1p-149f, 0, -0x1p-149f}, {0, 0, -0.0f}},            /* far below half the least code */
            {{0x1p-126f, least, least / 2}, {0x1p-126f, least, 0}}, /* a tie, to even */
            {{INFINITY, 0x1p100f, 0}, {INFINITY, 0, 0}},
            {{NAN, 0x1p100f, -INFINITY}, {NAN, 0, -INFINITY}},
        };
        FOR_EACH_ISA(isa)
        {
            for (size_t i = 0; i < sizeof cases / sizeof cases[0] * 10; i++) {
                enum { COLS = 9 * 128 + 3 };
                float w[COLS], got[COLS];
                static unsigned char wire[2 * COLS], rest[5 * COLS];
                uint64_t at = i / 5 * 128; /* each group of a row that encodes eight at a time */
                for (int j = 0; j < COLS; j++)
                    w[j] = 1.75f; /* the largest value at a power of two: exact */
                for (uint64_t j = at; j < at + 128 && j < COLS; j++)
                    w[j] = 0;
                for (int j = 0; j < 3; j++)
                    w[at + (uint64_t)j] = cases[i % 5].w[j];
                zo2_codec_get(f->wire)->split(w, 1, COLS, 0, 1, wire, rest);
                zo2_codec_get(f->wire)->decode(wire, 1, COLS, 0, 1, got);
                for (uint64_t j = 0; j < 3; j++) {
                    float want = cases[i % 5].want[j];
                    if (isnan(want)) {
                        assert_true(isnan(got[at + j]));
                    } else {
                        assert_int_equal(test_bits(got[at + j]), test_bits(want));
                    }
                }
                for (uint64_t j = 0; j < COLS; j++)
                    if (j / 128 != at / 128)
                        assert_true(got[j] == 1.75f);
            }
        }
    }
}

/* The table of CODECS.md, and whole planes: what a second implementation may compare itself with. */
static void known_answers(void **state)
{
    (void)state;
    static const struct {
        zo2_wire wire;
        float amax, w;
        uint16_t scale;
        uint8_t code;
        float decoded;
    } rows[] = {
        {ZO2_WIRE_E4M3, 448, 1, 0x3F80, 0x38, 1},
        {ZO2_WIRE_E4M3, 448, -1.0625f, 0x3F80, 0xB8, -1},
        {ZO2_WIRE_E4M3, 448, 1.1875f, 0x3F80, 0x3A, 1.25f},
        {ZO2_WIRE_E4M3, 448, 0x1p-10f, 0x3F80, 0x00, 0},
        {ZO2_WIRE_E4M3, 448, 0x3p-10f, 0x3F80, 0x02, 0x1p-8f},
        {ZO2_WIRE_E4M3, 448 + 0x1p-15f, 448, 0x3F81, 0x7E, 451.5f},
        {ZO2_WIRE_E4M3, 0x1p-149f, 0x1p-149f, 0x0080, 0x00, 0},
        {ZO2_WIRE_E5M2, 57344, 1, 0x3F80, 0x3C, 1},
        {ZO2_WIRE_E5M2, 57344, -1.125f, 0x3F80, 0xBC, -1},
        {ZO2_WIRE_E5M2, 57344, 1.375f, 0x3F80, 0x3E, 1.5f},
        {ZO2_WIRE_E5M2, 57344, 0x1p-17f, 0x3F80, 0x00, 0},
        {ZO2_WIRE_E5M2, 57344, 0x3p-17f, 0x3F80, 0x02, 0x1p-15f},
        {ZO2_WIRE_E5M2, 0x1p-142f, 0x1p-142f, 0x0080, 0x01, 0x1p-142f},
    };
    /* two rows of 130 weights, (7 i mod 251 - 125) / 1000: two groups a row, the second of two weights */
    static const struct {
        zo2_wire wire;
        unsigned char first[8], last[8], scales[8];
    } planes[] = {
        {ZO2_WIRE_E4M3,
         {0xFE, 0xFD, 0xFC, 0xFC, 0xFB, 0xFA, 0xF9, 0xF8},
         {0xFD, 0xFC, 0xFC, 0xFB, 0xFA, 0xF9, 0xFE, 0xFD},
         {0x93, 0x39, 0x6B, 0x38, 0x93, 0x39, 0x32, 0x39}},
        {ZO2_WIRE_E5M2,
         {0xFB, 0xFB, 0xFA, 0xFA, 0xF9, 0xF9, 0xF9, 0xF8},
         {0xFB, 0xFA, 0xFA, 0xF9, 0xF9, 0xF9, 0xFB, 0xFA},
         {0x13, 0x36, 0xEB, 0x34, 0x13, 0x36, 0xB2, 0x35}},
    };
    FOR_EACH_ISA(isa)
    {
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            float w[2] = {rows[i].w, rows[i].amax}, got[2];
            unsigned char wire[32], rest[16];
            uint16_t scale;
            zo2_codec_get(rows[i].wire)->split(w, 1, 2, 0, 1, wire, rest);
            zo2_codec_get(rows[i].wire)->decode(wire, 1, 2, 0, 1, got);
            memcpy(&scale, wire + 16, sizeof scale);
            assert_int_equal(scale, rows[i].scale);
            assert_int_equal(wire[0], rows[i].code);
            assert_int_equal(test_bits(got[0]), test_bits(rows[i].decoded));
        }
        for (size_t i = 0; i < sizeof planes / sizeof planes[0]; i++) {
            enum { COLS = 130 };
            float w[2 * COLS];
            unsigned char wire[2 * 144 + 16], rest[2 * 528];
            for (int j = 0; j < 2 * COLS; j++)
                w[j] = (float)(7 * j % 251 - 125) / 1000;
            zo2_codec_get(planes[i].wire)->split(w, 2, COLS, 0, 2, wire, rest);
            assert_memory_equal(wire, planes[i].first, 8);
            assert_memory_equal(wire + 144 + COLS - 8, planes[i].last, 8);
            assert_memory_equal(wire + 288, planes[i].scales, 8);
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
        cmocka_unit_test(known_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

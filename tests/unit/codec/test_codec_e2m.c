/* f10, f8 and f6: all codes at pinned scales, ties and neighbours, scales of any amax, rows of any width byte by byte, groups of
 * zeros and of what can't be stored. The references are made of doubles and of the text of CODECS.md, "e2mM". */
#include "tests/unit/codec/codec_test.h"

#include <math.h>

#include "codec/e2m.h"
#include "codec/wire_inline.h"

typedef struct format {
    zo2_wire wire;
    int mantissa;
} format;

static const format formats[] = {{ZO2_WIRE_F10, 7}, {ZO2_WIRE_F8, 5}, {ZO2_WIRE_F6, 3}};
#define FOR_EACH_FORMAT(f) for (const format *f = formats; f < formats + 3; f++)

/* Codes are sign, exponent, mantissa here, from the highest bit down. */
static int codes_of(const format *f)
{
    return 8 << f->mantissa;
}

static double value_of(const format *f, int code)
{
    int M = f->mantissa, e = code >> M & 3, m = code & ((1 << M) - 1);
    double v = e == 0 ? ldexp(m, -M - 2) : ldexp((1 << M) + m, e - 3 - M);
    return code >> (M + 2) ? -v : v;
}

static double max_of(const format *f)
{
    return 2 - ldexp(1, -f->mantissa);
}

static int reference_encode(const format *f, double x)
{
    int best = 0, sign = signbit(x) ? 4 << f->mantissa : 0;
    for (int code = 0; code < 4 << f->mantissa; code++) {
        double d = fabs(value_of(f, code) - fabs(x)), least = fabs(value_of(f, best) - fabs(x));
        if (d < least || (d == least && code % 2 == 0))
            best = code;
    }
    return best | sign;
}

/* The bytes of a row of one chunk of one row: planes by the text, bit by bit. */
static void reference_row(const format *f, const int *codes, uint64_t cols, unsigned char *to)
{
    int M = f->mantissa;
    uint64_t bits = M == 3 ? 4 : 8, first = (cols * bits + 127) / 128 * 16, second = M == 5 ? 0 : (cols + 63) / 64 * 16;
    memset(to, 0, first + second);
    for (uint64_t j = 0; j < cols; j++) {
        int sign = codes[j] >> (M + 2), e = codes[j] >> M & 3, m = codes[j] & ((1 << M) - 1);
        if (M == 5) {
            to[j] = (unsigned char)(sign << 7 | e << 5 | m);
            continue;
        }
        if (M == 7)
            to[j] = (unsigned char)(sign << 7 | m);
        else
            to[j / 32 * 16 + j % 16] |= (unsigned char)((sign << 3 | m) << (j / 16 % 2 * 4));
        to[first + j / 64 * 16 + j % 16] |= (unsigned char)(e << (j / 16 % 4 * 2));
    }
}

/* What split() makes of one row; returns its bytes, and its scales in `scales`. */
static unsigned char *split_row(const format *f, const float *w, uint64_t cols, uint16_t *scales)
{
    const zo2_codec *k = zo2_codec_get(f->wire);
    uint64_t bytes = k->wire_bytes(1, cols), groups = (cols + 127) / 128;
    unsigned char *wire = test_alloc(bytes), *rest = test_alloc(k->rest_bytes(1, cols));
    k->split(w, 1, cols, 0, 1, wire, rest);
    memcpy(scales, wire + bytes - (2 * groups + 15) / 16 * 16, 2 * groups);
    free(rest);
    return wire;
}

static void all_codes_at_pinned_scales(void **state)
{
    (void)state;
    static const float scales[] = {1, 0x1p-126f, 0x1.fep-126f, 0x1.8p-7f, 0x1.02p3f, 0x1.24p111f, 0x1.fep113f};
    FOR_EACH_FORMAT(f)
    {
        enum { MOST = 1024 };
        int codes[MOST], n = codes_of(f);
        uint64_t cols = (uint64_t)n, bytes = zo2_codec_get(f->wire)->wire_bytes(1, cols), groups = (cols + 127) / 128;
        unsigned char *wire = test_alloc(bytes);
        float got[MOST];
        for (int i = 0; i < n; i++)
            codes[i] = i * 37 % n; /* neighbours in a row are none among the codes */
        reference_row(f, codes, cols, wire);
        for (size_t s = 0; s < sizeof scales / sizeof scales[0]; s++) {
            uint16_t scale = (uint16_t)(test_bits(scales[s]) >> 16);
            for (uint64_t g = 0; g < groups; g++)
                memcpy(wire + bytes - (2 * groups + 15) / 16 * 16 + 2 * g, &scale, 2);
            FOR_EACH_ISA(isa)
            {
                zo2_codec_get(f->wire)->decode(wire, 1, cols, 0, 1, got);
                for (int i = 0; i < n; i++) {
                    double want = value_of(f, codes[i]) * (double)scales[s]; /* exact */
                    assert_true((double)got[i] == want && !signbit(got[i]) == !signbit(want));
                    assert_int_equal(test_bits(got[i]),
                                     test_bits(zo2_wire_get(f->wire, wire, 1, cols, 0, (uint64_t)i)));
                }
            }
        }
        free(wire);
    }
}

/* Of all neighbours: both, what lies between them, and what lies beside that. At scale 1, which the largest value in the group fixes. */
static void ties_and_neighbours(void **state)
{
    (void)state;
    FOR_EACH_FORMAT(f)
    {
        FOR_EACH_ISA(isa)
        {
            for (int code = 0; code < (4 << f->mantissa) - 1; code++) {
                float here = (float)value_of(f, code), next = (float)value_of(f, code + 1), tie = (here + next) / 2;
                float w[128] = {
                    here, tie, nextafterf(tie, 9), nextafterf(tie, 0), nextafterf(next, 0), nextafterf(here, 9)};
                int want[128] = {code, code + code % 2, code + 1, code, code + 1, code};
                unsigned char bytes[256];
                uint16_t scale;
                for (int i = 0; i < 6; i++) {
                    assert_int_equal(reference_encode(f, (double)w[i]), want[i]);
                    w[6 + i] = -w[i];
                    want[6 + i] = want[i] | 4 << f->mantissa;
                }
                for (int i = 12; i < 128; i++) {
                    w[i] = (float)max_of(f);
                    want[i] = (4 << f->mantissa) - 1;
                }
                unsigned char *wire = split_row(f, w, 128, &scale);
                reference_row(f, want, 128, bytes);
                assert_int_equal(scale, 0x3F80);
                assert_memory_equal(wire, bytes, zo2_codec_get(f->wire)->wire_bytes(1, 128) - 16);
                free(wire);
            }
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
        uint32_t m = (uint32_t)f->mantissa;
        double max = max_of(f);
        assert_true((double)zo2_e2m_max(m) == max);
        for (int i = 0; i < 100000; i++) {
            uint32_t bits = (uint32_t)test_random(&rng) % ZO2_E2M_LIMIT_BITS;
            if (i % 4 == 0) { /* on, just above and just below the largest value times a bf16 */
                double on = max * (double)test_float(((uint32_t)test_random(&rng) % 0x7800u + 0x80u) << 16);
                bits = test_bits((float)on) + (uint32_t)(i / 4 % 3) - 1;
            } else if (i % 4 == 1) {
                bits >>= test_random(&rng) % 31;
            }
            uint16_t scale = zo2_e2m_scale(m, bits);
            double amax = (double)test_float(bits), s = (double)test_float((uint32_t)scale << 16);
            assert_true(s * max >= amax && scale >= 0x80 && scale < 0x7900);
            if (scale > 0x80)
                assert_true((double)test_float((uint32_t)(scale - 1) << 16) * max < amax);
        }
        assert_int_equal(zo2_e2m_scale(m, 0), 0x80);
        assert_int_equal(zo2_e2m_scale(m, test_bits((float)max)), 0x3F80);
        assert_int_equal(zo2_e2m_scale(m, test_bits((float)max) + 1), 0x3F81);
        assert_int_equal(zo2_e2m_scale(m, ZO2_E2M_LIMIT_BITS), 0x7FC0);
        assert_int_equal(zo2_e2m_scale(m, 0x7F800000u), 0x7FC0);
    }
}

static void rows_of_any_width(void **state)
{
    (void)state;
    static const uint64_t widths[] = {1, 15, 16, 17, 31, 32, 33, 64, 65, 127, 128, 129, 192, 255, 576, 1025, 4544};
    FOR_EACH_FORMAT(f)
    {
        for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
            uint64_t cols = widths[i], rng = i + 1, groups = (cols + 127) / 128;
            uint64_t bytes = zo2_codec_get(f->wire)->wire_bytes(1, cols) - (2 * groups + 15) / 16 * 16;
            float *w = test_alloc(cols * sizeof *w);
            int *codes = test_alloc(cols * sizeof *codes);
            unsigned char *want = test_alloc(bytes);
            uint16_t scales[40];
            for (uint64_t j = 0; j < cols; j++)
                w[j] = test_weight_for(zo2_codec_get(f->wire), &rng);
            for (uint64_t j = 0; j < cols; j++) {
                uint32_t amax = 0;
                for (uint64_t g = j / 128 * 128; g < cols && g < j / 128 * 128 + 128; g++)
                    amax = (test_bits(w[g]) & 0x7FFFFFFF) > amax ? test_bits(w[g]) & 0x7FFFFFFF : amax;
                float scale = test_float((uint32_t)zo2_e2m_scale((uint32_t)f->mantissa, amax) << 16);
                codes[j] = reference_encode(f, (double)(w[j] / scale));
            }
            reference_row(f, codes, cols, want);
            FOR_EACH_ISA(isa)
            {
                unsigned char *wire = split_row(f, w, cols, scales);
                assert_memory_equal(wire, want, bytes);
                free(wire);
            }
            free(w);
            free(codes);
            free(want);
        }
    }
}

/* Tiny groups neither divide by zero nor overflow; zeros stay; a group with what can't be stored decodes to no number, and the
 * others are what they were. */
static void odd_groups(void **state)
{
    (void)state;
    FOR_EACH_FORMAT(f)
    {
        float least =
            (float)ldexp(1, -2 - f->mantissa) * 0x1p-126f; /* the least code at the least scale: a subnormal, exact */
        const struct {
            float w[3], want[3];
        } cases[] = {
            {{0, -0.0f, 0}, {0, -0.0f, 0}},
            {{0x1p-149f, 0, -0x1p-149f}, {0, 0, -0.0f}},
            {{0x1p-126f, least, least / 2}, {0x1p-126f, least, 0}}, /* a tie, to even */
            {{INFINITY, 0x1p100f, 0}, {NAN, NAN, NAN}},
            {{NAN, 0x1p100f, -INFINITY}, {NAN, NAN, NAN}},
            {{0x1p115f, 1, 0}, {NAN, NAN, NAN}},
        };
        FOR_EACH_ISA(isa)
        {
            for (size_t i = 0; i < sizeof cases / sizeof cases[0] * 10; i++) {
                enum { COLS = 9 * 128 + 3 };
                float w[COLS], got[COLS];
                uint16_t scales[10];
                uint64_t at = i / 6 * 128; /* each group of a row that encodes eight at a time */
                for (int j = 0; j < COLS; j++)
                    w[j] = (float)max_of(f);
                for (uint64_t j = at; j < at + 128 && j < COLS; j++)
                    w[j] = 0;
                for (int j = 0; j < 3; j++)
                    w[at + (uint64_t)j] = cases[i % 6].w[j];
                unsigned char *wire = split_row(f, w, COLS, scales);
                zo2_codec_get(f->wire)->decode(wire, 1, COLS, 0, 1, got);
                free(wire);
                for (uint64_t j = 0; j < 3; j++) {
                    float want = cases[i % 6].want[j];
                    if (isnan(want))
                        assert_true(isnan(got[at + j]));
                    else
                        assert_int_equal(test_bits(got[at + j]), test_bits(want));
                }
                for (uint64_t j = 0; j < COLS; j++)
                    if (j / 128 != at / 128)
                        assert_true(got[j] == (float)max_of(f));
            }
        }
    }
}

/* The planes that CODECS.md prints: two rows of 130 weights, (7 i mod 251 - 125) / 1000, so two groups a row, the second of two
 * weights. What a second implementation may compare itself with. */
static void known_answers(void **state)
{
    (void)state;
    enum { COLS = 130 };
    static const struct {
        zo2_wire wire;
        uint64_t more, scales; /* where they begin */
        unsigned char codes[8], second[8], scale[8];
    } planes[] = {
        {ZO2_WIRE_F10,
         288,
         384,
         {0xFE, 0xF0, 0xE2, 0xD3, 0xC5, 0xB7, 0xA9, 0x9A},
         {0xB3, 0xB3, 0x73, 0x73, 0x33, 0x37, 0x37, 0x3B},
         {0x81, 0x3D, 0x4E, 0x3C, 0x81, 0x3D, 0x1D, 0x3D}},
        {ZO2_WIRE_F8,
         0,
         288,
         {0xFF, 0xFB, 0xF8, 0xF4, 0xF1, 0xED, 0xEA, 0xE6},
         {0xFF, 0xFB, 0xF8, 0xF4, 0xF1, 0xED, 0xEA, 0xE6},
         {0x83, 0x3D, 0x51, 0x3C, 0x83, 0x3D, 0x1F, 0x3D}},
        {ZO2_WIRE_F6,
         160,
         256,
         {0xEF, 0xBE, 0x0D, 0x4C, 0x7C, 0x3B, 0x6A, 0x19},
         {0xB3, 0xB3, 0x73, 0x73, 0x33, 0x37, 0x37, 0x3B},
         {0x89, 0x3D, 0x5B, 0x3C, 0x89, 0x3D, 0x27, 0x3D}},
    };
    float w[2 * COLS];
    for (int j = 0; j < 2 * COLS; j++)
        w[j] = (float)(7 * j % 251 - 125) / 1000;
    FOR_EACH_ISA(isa)
    {
        for (size_t i = 0; i < sizeof planes / sizeof planes[0]; i++) {
            unsigned char wire[512], rest[2 * 528];
            const zo2_codec *k = zo2_codec_get(planes[i].wire);
            k->split(w, 2, COLS, 0, 2, wire, rest);
            assert_int_equal(k->wire_bytes(2, COLS), planes[i].scales + 16);
            assert_memory_equal(wire, planes[i].codes, 8);
            assert_memory_equal(wire + planes[i].more, planes[i].second, 8);
            assert_memory_equal(wire + planes[i].scales, planes[i].scale, 8);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_codes_at_pinned_scales),
        cmocka_unit_test(ties_and_neighbours),
        cmocka_unit_test(scale_is_smallest),
        cmocka_unit_test(rows_of_any_width),
        cmocka_unit_test(odd_groups),
        cmocka_unit_test(known_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

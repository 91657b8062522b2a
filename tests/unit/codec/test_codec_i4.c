/* i4: all codes at pinned scales, of either sign; the search for scales against a reference that goes by the text of CODECS.md, "i4", rows
 * of any width byte by byte; ties; what comes from the grid; groups of zeros and of what can't be stored; known answers. */
#include "tests/unit/codec/codec_test.h"

#include <math.h>

#include "codec/wire_inline.h"

enum { GROUP = 32 };

static const int grid[16] = {0, 11, 23, 35, 48, 63, 80, 102, 127, -11, -23, -35, -48, -63, -80, -102};

/* What split() makes of one row: its bytes, codes first. */
static unsigned char *split_row(const float *w, uint64_t cols)
{
    const zo2_codec *k = zo2_codec_get(ZO2_WIRE_I4);
    unsigned char *wire = test_alloc(k->wire_bytes(1, cols)), *rest = test_alloc(k->rest_bytes(1, cols));
    k->split(w, 1, cols, 0, 1, wire, rest);
    free(rest);
    return wire;
}

static uint64_t scales_at(uint64_t cols)
{
    return (cols + GROUP - 1) / GROUP * (GROUP / 2);
}

static uint32_t scale_of(const unsigned char *wire, uint64_t cols, uint64_t group)
{
    return (uint32_t)wire[scales_at(cols) + 2 * group] | (uint32_t)wire[scales_at(cols) + 2 * group + 1] << 8;
}

static int code_of(const unsigned char *wire, uint64_t col)
{
    return wire[col / 32 * 16 + col % 16] >> (col / 16 % 2 * 4) & 15;
}

/* Every code at every place of a group. */
static void all_codes_at_pinned_scales(void **state)
{
    (void)state;
    static const float scales[] = {1, 0x1p-120f, 0x1.fep-120f, -0x1.8p-7f, 0x1.02p3f, -0x1.24p107f, 0x1.fep108f};
    enum { COLS = 32 * GROUP };
    unsigned char wire[COLS / 2 + 64];
    float got[COLS];
    assert_int_equal(zo2_codec_get(ZO2_WIRE_I4)->wire_bytes(1, COLS), sizeof wire);
    memset(wire, 0, sizeof wire);
    for (int j = 0; j < COLS; j++)
        wire[j / 32 * 16 + j % 16] |= (unsigned char)(((j + j / 32) % 16) << (j / 16 % 2 * 4));
    for (size_t s = 0; s < sizeof scales / sizeof scales[0]; s++) {
        uint16_t scale = (uint16_t)(test_bits(scales[s]) >> 16);
        for (int g = 0; g < COLS / GROUP; g++)
            memcpy(wire + COLS / 2 + 2 * g, &scale, 2);
        FOR_EACH_ISA(isa)
        {
            zo2_codec_get(ZO2_WIRE_I4)->decode(wire, 1, COLS, 0, 1, got);
            for (int j = 0; j < COLS; j++) {
                double want = grid[(j + j / 32) % 16] * (double)scales[s]; /* exact */
                assert_true((double)got[j] == want);
                assert_true(want != 0 || test_bits(got[j]) == 0); /* never -0 */
                assert_int_equal(test_bits(got[j]),
                                 test_bits(zo2_wire_get(ZO2_WIRE_I4, wire, 1, COLS, 0, (uint64_t)j)));
            }
        }
    }
}

/* Code of a weight of `steps` 64ths of the scale: the nearest value, of two the smaller one. */
static int reference_code(int steps)
{
    int best = 0;
    for (int c = 1; c < 16; c++) {
        int d = abs(steps - 64 * grid[c]), least = abs(steps - 64 * grid[best]);
        if (d < least || (d == least && abs(grid[c]) < abs(grid[best])))
            best = c;
    }
    return best;
}

/* bf16 bits of a positive float, to nearest even. */
static uint32_t reference_bf16(float f)
{
    uint32_t down = test_bits(f) >> 16;
    double below = (double)f - (double)test_float(down << 16), above = (double)test_float((down + 1) << 16) - (double)f;
    return down + (above < below || (above == below && down % 2));
}

/* Codes and scale of n finite weights by the text: errors as integers, compared as whole numbers of squared mantissas. */
static uint32_t reference_encode(const float *w, uint64_t n, int *codes)
{
    float amax = 0;
    uint32_t chosen = 0, negative = 0x8000;
    double least = INFINITY;
    for (uint64_t i = 0; i < n; i++)
        amax = fmaxf(amax, fabsf(w[i]));
    for (uint64_t i = 0; i < n; i++)
        if (w[i] == amax)
            negative = 0;
    for (int m = 117; m <= 177; m += 4) {
        uint32_t scale = reference_bf16((float)((double)amax * m / 16384));
        scale = (scale < 0x380 ? 0x380 : scale) | negative;
        float s = test_float(scale << 16), inverse = 64 / s;
        int64_t sum = 0;
        int tried[GROUP];
        for (uint64_t i = 0; i < n; i++) {
            int steps = (int)rint((double)(w[i] * inverse));
            tried[i] = reference_code(steps);
            sum += (int64_t)(steps - 64 * grid[tried[i]]) * (steps - 64 * grid[tried[i]]);
        }
        double error = (double)s * (double)s * (double)sum;
        if (error < least) {
            least = error;
            chosen = scale;
            memcpy(codes, tried, sizeof tried);
        }
    }
    return chosen;
}

/* Weights as they come, of several powers of two, and such that half of them are the group's largest one. */
static float weight(uint64_t *rng, uint64_t j, uint64_t kind)
{
    float w = test_weight_for(zo2_codec_get(ZO2_WIRE_I4), rng);
    if (kind == 1)
        return ldexpf(w, -(int)(test_random(rng) % 12));
    return kind == 2 && j % 2 ? (j % 4 == 1 ? 0.0625f : -0.0625f) : w;
}

static void rows_of_any_width(void **state)
{
    (void)state;
    static const uint64_t widths[] = {1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 192, 576, 1025};
    for (size_t i = 0; i < 3 * sizeof widths / sizeof widths[0]; i++) {
        uint64_t cols = widths[i / 3], rng = i + 1, groups = (cols + GROUP - 1) / GROUP;
        float *w = test_alloc(cols * sizeof *w);
        int codes[GROUP];
        for (uint64_t j = 0; j < cols; j++)
            w[j] = weight(&rng, j, i % 3);
        FOR_EACH_ISA(isa)
        {
            unsigned char *wire = split_row(w, cols);
            for (uint64_t g = 0; g < groups; g++) {
                uint64_t at = g * GROUP, n = cols - at < GROUP ? cols - at : GROUP;
                assert_int_equal(scale_of(wire, cols, g), reference_encode(w + at, n, codes));
                for (uint64_t j = 0; j < GROUP; j++)
                    assert_int_equal(code_of(wire, at + j), j < n ? codes[j] : 0);
            }
            free(wire);
        }
        free(w);
    }
}

/* At scale 1 and -1, which a group of the grid's own values fixes: the middle between neighbours, and a 64th to each side. */
static void ties_and_neighbours(void **state)
{
    (void)state;
    static const int sorted[16] = {-102, -80, -63, -48, -35, -23, -11, 0, 11, 23, 35, 48, 63, 80, 102, 127};
    for (int k = 0; k < 15 * 6; k++) {
        int low = sorted[k / 6], high = sorted[k / 6 + 1], by = k % 3 - 1, sign = k % 6 < 3 ? 1 : -1, want = high;
        float w[GROUP];
        for (int j = 0; j < GROUP; j++)
            w[j] = (float)(sign * grid[j % 16]);
        w[17] = (float)sign * ((float)(low + high) / 2 + (float)by / 64);
        if (by < 0 || (by == 0 && abs(low) < abs(high)))
            want = low;
        FOR_EACH_ISA(isa)
        {
            unsigned char *wire = split_row(w, GROUP);
            assert_int_equal(scale_of(wire, GROUP, 0), sign > 0 ? 0x3F80 : 0xBF80);
            for (int j = 0; j < GROUP; j++)
                assert_int_equal(grid[code_of(wire, (uint64_t)j)], j == 17 ? want : grid[j % 16]);
            free(wire);
        }
    }
}

/* What a wire says is encoded as the same wire again, where the largest value is the grid's: of any scale that an encoder writes. */
static void grid_values_stay(void **state)
{
    (void)state;
    uint64_t rng = 5;
    for (int i = 0; i < 4000; i++) {
        float w[GROUP],
            s = test_float((0x380 + (uint32_t)test_random(&rng) % (0x7500 - 0x380)) << 16) * (i % 2 ? -1 : 1);
        int codes[GROUP];
        for (int j = 0; j < GROUP; j++) {
            codes[j] = j == i % GROUP ? 8 : (int)(test_random(&rng) % 16);
            w[j] = (float)grid[codes[j]] * s;
        }
        unsigned char *wire = split_row(w, GROUP);
        assert_int_equal(scale_of(wire, GROUP, 0), test_bits(s) >> 16);
        for (int j = 0; j < GROUP; j++)
            assert_int_equal(code_of(wire, (uint64_t)j), codes[j]);
        free(wire);
    }
}

/* Candidates in the middle of two bf16 become the even one: m = 129 gives such a product of amax, and the other weights are on the
 * grid of what it shall become. */
static void candidates_round_to_even(void **state)
{
    (void)state;
    int seen[2] = {0, 0};
    for (int mantissa = 128; mantissa < 255; mantissa++) {
        float tie = ((float)mantissa + 0.5f) / 128, even = (float)(mantissa + mantissa % 2) / 128, w[GROUP];
        w[0] = (float)((double)tie * 16384 / 129);
        if (w[0] * (129.0f / 16384) != tie) /* rounded on the way */
            continue;
        seen[mantissa % 2]++;
        for (int j = 1; j < GROUP; j++)
            w[j] = (float)grid[j % 16 == 8 ? 7 : j % 16] * even;
        FOR_EACH_ISA(isa)
        {
            unsigned char *wire = split_row(w, GROUP);
            assert_int_equal(scale_of(wire, GROUP, 0), test_bits(even) >> 16);
            free(wire);
        }
    }
    assert_true(seen[0] > 10 && seen[1] > 10);
}

/* A group with what can't be stored decodes to no number, tiny ones to 0, and the others are what they were. */
static void odd_groups(void **state)
{
    (void)state;
    static const struct {
        float w[3], want[3];
    } cases[] = {
        {{0, -0.0f, 0}, {0, 0, 0}},
        {{0x1p-149f, 0, -0x1p-149f}, {0, 0, 0}},
        {{0x1p-126f, -0x1p-126f, 0}, {0, 0, 0}},
        {{11 * 0x1p-120f, 35 * 0x1p-120f, -23 * 0x1p-120f}, {11 * 0x1p-120f, 35 * 0x1p-120f, -23 * 0x1p-120f}},
        {{INFINITY, 0x1p100f, 0}, {NAN, NAN, NAN}},
        {{NAN, 0x1p100f, -INFINITY}, {NAN, NAN, NAN}},
        {{0x1p115f, 1, 0}, {NAN, NAN, NAN}},
        {{-0x1.fffffep114f, 0, 0}, {-127 * 0x1.02p108f, 0, 0}},
    };
    enum { CASES = sizeof cases / sizeof cases[0], COLS = 4 * GROUP + 3 };
    FOR_EACH_ISA(isa)
    {
        for (int i = 0; i < CASES * 5; i++) {
            float w[COLS], got[COLS];
            int at = i / CASES * GROUP;
            for (int j = 0; j < COLS; j++)
                w[j] = j / GROUP == at / GROUP ? 0 : 127;
            for (int j = 0; j < 3; j++)
                w[at + j] = cases[i % CASES].w[j];
            unsigned char *wire = split_row(w, COLS);
            zo2_codec_get(ZO2_WIRE_I4)->decode(wire, 1, COLS, 0, 1, got);
            free(wire);
            for (int j = 0; j < 3; j++) {
                float want = cases[i % CASES].want[j];
                if (isnan(want))
                    assert_true(isnan(got[at + j]));
                else
                    assert_int_equal(test_bits(got[at + j]), test_bits(want));
            }
            for (int j = 0; j < COLS; j++)
                if (j / GROUP != at / GROUP)
                    assert_true(got[j] == 127);
        }
    }
}

/* The examples of CODECS.md, which a program of exact fractions that follows its text made. */
static void known_groups(void **state)
{
    (void)state;
    static const struct {
        int n;
        float w[8];
        uint32_t scale;
        int codes[8];
    } cases[] = {
        {1, {1}, 0x3C01, {8}},
        {1, {0x1.ee159p13f}, 0x42F9, {8}}, /* 155 has no error either, with 102 */
        {2, {1, -1}, 0x3C21, {7, 15}},
        {5, {-1, 0.5f, -0.25f, 0.1f, 0}, 0xBC01, {8, 13, 3, 9, 0}},
        {5, {1, 0.8f, 0.6f, 0.4f, 0.2f}, 0x3C01, {8, 7, 6, 4, 2}},
        {7, {127, 5.5f, 17, 29, 41.5f, -5.5f, -90}, 0x3F98, {7, 0, 1, 2, 3, 0, 14}},
        {2, {0x1.8p-113f, -0x1p-118f}, 0x03C2, {8, 0}},
        {3, {0x1p114f, -0x1p113f, 0x1p100f}, 0x7501, {8, 13, 0}},
    };
    FOR_EACH_ISA(isa)
    {
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            uint64_t cols = (uint64_t)cases[i].n;
            unsigned char *wire = split_row(cases[i].w, cols);
            assert_int_equal(scale_of(wire, cols, 0), cases[i].scale);
            for (uint64_t j = 0; j < cols; j++)
                assert_int_equal(code_of(wire, j), cases[i].codes[j]);
            free(wire);
        }
    }
}

static void known_rows(void **state)
{
    (void)state;
    enum { COLS = 130 };
    static const unsigned char second[16] = {0x3E, 0x2E, 0x2F, 0x1F, 0x17, 0x07, 0x07, 0x96,
                                             0x96, 0xA6, 0xA5, 0xB5, 0xB5, 0xC4, 0xC4, 0xC3};
    static const unsigned char first[16] = {0x18, 0x18, 0x08, 0x97, 0x97, 0xA7, 0xB6, 0xB6,
                                            0xC6, 0xC5, 0xD5, 0xD4, 0xE4, 0xE3, 0xE2, 0xF2};
    static const unsigned char last[16] = {0x07, 0x07};
    static const unsigned char scales[32] = {0x7A, 0xBA, 0x9C, 0xBA, 0x97, 0xBA, 0x95, 0x3A, 0x7B, 0x39,
                                             0x97, 0x3A, 0x98, 0x3A, 0x91, 0x3A, 0x91, 0xBA, 0x3A, 0xBA};
    float w[2 * COLS];
    for (int j = 0; j < 2 * COLS; j++)
        w[j] = (float)(7 * j % 251 - 125) / 1000;
    FOR_EACH_ISA(isa)
    {
        unsigned char wire[192], rest[2 * 528];
        const zo2_codec *k = zo2_codec_get(ZO2_WIRE_I4);
        assert_int_equal(k->wire_bytes(2, COLS), sizeof wire);
        k->split(w, 2, COLS, 0, 2, wire, rest);
        assert_memory_equal(wire, first, 16);
        assert_memory_equal(wire + 16, second, 16);
        assert_memory_equal(wire + 144, last, 16);
        assert_memory_equal(wire + 160, scales, 32);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_codes_at_pinned_scales),
        cmocka_unit_test(rows_of_any_width),
        cmocka_unit_test(ties_and_neighbours),
        cmocka_unit_test(grid_values_stay),
        cmocka_unit_test(candidates_round_to_even),
        cmocka_unit_test(odd_groups),
        cmocka_unit_test(known_groups),
        cmocka_unit_test(known_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_sim_backend_convert.cpp: the conversions that kernels take from the hardware (kernels/cuda/dialect.h), as the simulator has
 * them by the PTX ISA's words, and the codec headers' give the same bits: for every code and every scale, around every rounding
 * boundary, at the ends. NaN stays NaN, its payload aside. */
#include "testing.h"

#include "codec/codec.h"
#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/decode_kernel.cuh"

static float from_bits(uint32_t u)
{
    return zo2_bits_float(u);
}

static bool same(float a, float b)
{
    return zo2_float_bits(a) == zo2_float_bits(b) || (a != a && b != b);
}

/* ---- floats to 16 bits ---- */

struct target {
    uint32_t (*pair)(float low, float high);
    uint16_t (*encode)(float f);
    float (*value)(uint16_t code);
    uint16_t infinity;
};

static const target targets[] = {
    {zo2_cvt_f16x2, zo2_fp16_encode, zo2_fp16_get, 0x7C00},
    {zo2_cvt_bf16x2, zo2_bf16_encode, zo2_bf16_get, 0x7F80},
};

static void check_narrow(const target &t, float f)
{
    uint32_t low = t.pair(f, 0.0f), high = t.pair(0.0f, f), want = t.encode(f);
    if (f != f) {
        assert_int_equal(low, 0x7FFF); /* the hardware's only NaN */
        assert_int_equal(high, 0x7FFFu << 16);
        assert_true((want & 0x7FFF) > t.infinity);
        return;
    }
    assert_int_equal(low, want);
    assert_int_equal(high, want << 16);
}

/* Each value, the middle to the next one, and the floats beside these. */
static void narrowing(void **state)
{
    (void)state;
    for (const target &t : targets) {
        for (uint32_t code = 0; code < 0x10000; code++) {
            uint32_t mag = code & 0x7FFF, sign = (code & 0x8000) << 16;
            if (mag >= t.infinity)
                continue;
            uint32_t here = zo2_float_bits(t.value((uint16_t)mag));
            double next = mag + 1 == t.infinity ? 2.0 * from_bits(here) - t.value((uint16_t)(mag - 1))
                                                : (double)t.value((uint16_t)(mag + 1));
            double middle = (from_bits(here) + next) / 2;
            uint32_t between = middle > 3.4e38 ? 0x7F7FFFFF : zo2_float_bits((float)middle);
            for (uint32_t u : {here, here + 1, between - 1, between, between + 1})
                check_narrow(t, from_bits(u | sign));
            if (mag)
                check_narrow(t, from_bits((here - 1) | sign));
        }
        for (uint32_t u :
             {0x7F7FFFFFu, 0x7F800000u, 0x7F800001u, 0x7FC00000u, 0x7FFFFFFFu, 1u, 0x007FFFFFu, 0x33000000u})
            for (uint32_t sign : {0u, 0x80000000u})
                check_narrow(t, from_bits(u | sign));
        uint64_t rng = 1;
        for (int i = 0; i < 1000000; i++, rng = rng * 6364136223846793005u + 1442695040888963407u)
            check_narrow(t, from_bits((uint32_t)(rng >> 32)));
    }
}

/* ---- codes to floats ---- */

/* A word full of one code beside another, by the kernels' function and by the rows of wires.h. */
template <zo2_wire W> static void check_word(uint32_t code, uint16_t scale)
{
    constexpr int n = zo2_wire_form<W>::per_word, bits = 32 / n;
    for (int at = 0; at < n; at++) {
        uint32_t other = n == 1 ? 0 : 1, word = 0;
        for (int i = 0; i < n; i++)
            word |= (i == at ? code : other) << (bits * i % 32);
        float w[n];
        zo2_wire_word<W>::get(word, scale, w);
        for (int i = 0; i < n; i++)
            if (!same(w[i], zo2_wire_form<W>::get(i == at ? code : other, scale)))
                fail_msg("wire %d, code %#x at %d of %#x, scale %#x: %a", (int)W, code, i, word, scale, (double)w[i]);
    }
}

static void halves(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < 0x10000; code++) {
        float low, high;
        zo2_cvt_f32x2(code | 0x3C000000u, &low, &high);
        assert_true(same(low, zo2_fp16_get((uint16_t)code)) && high == 1.0f);
        zo2_cvt_f32x2(code << 16 | 0x3C00u, &low, &high);
        assert_true(same(high, zo2_fp16_get((uint16_t)code)) && low == 1.0f);
        check_word<ZO2_WIRE_FP16>(code, 0);
        check_word<ZO2_WIRE_BF16>(code, 0);
        check_word<ZO2_WIRE_FP32>(code << 16 | 0x1234u, 0);
    }
}

/* Every code with every scale below `most`, which are neither negative nor NaN. 0 and infinity, which encoders don't write, times a code that is
 * infinite or 0 are NaN here and not there; those are left out. */
template <zo2_wire W> static void check_scales(uint32_t most)
{
    for (uint32_t scale = 0; scale < most; scale++)
        for (uint32_t code = 0; code < 256; code++) {
            if (scale == 0 && W == ZO2_WIRE_E5M2 && (code & 0x7F) == 0x7C)
                continue;
            float w[4], want = zo2_wire_form<W>::get(code, (uint16_t)scale);
            zo2_wire_word<W>::get(code * 0x01010101u, (uint16_t)scale, w);
            for (float v : w)
                if (!same(v, want))
                    fail_msg("wire %d, code %#x, scale %#x: %a, not %a", (int)W, code, scale, (double)v, (double)want);
        }
    for (uint32_t code = 0; code < 256; code++)
        check_word<W>(code, 0x3F80);
}

/* Wires of two planes: every code at every place of a run, at every shift that a plane has, with every scale that encoders
 * write. What lies beside it in the planes has all other bits set. */
template <zo2_wire W> static void check_planes()
{
    constexpr uint32_t bits = zo2_wire_form<W>::bits, more = zo2_wire_form<W>::more, codes = 1u << (bits + more);
    for (uint32_t scale = ZO2_MIN_SCALE; scale < ZO2_E2M_LIMIT_BITS >> 16; scale++)
        for (uint32_t k = 0; k < codes; k += scale % 64 ? 61 : 1) {
            uint32_t code = (k + scale) % codes, place = (k + scale) % 8, stripe = (k ^ scale) % 16;
            alignas(16) unsigned char first[8], second[8];
            zo2_codes at = {first, second, zo2_code_shift(16 * stripe, bits), zo2_code_shift(16 * stripe, more)};
            memset(first, 0xFF, sizeof first);
            memset(second, 0xFF, sizeof second);
            first[place] = (unsigned char)(first[place] ^ (~code & ((1u << bits) - 1)) << at.shift);
            second[place] = (unsigned char)(second[place] ^ (~(code >> bits) & ((1u << more) - 1)) << at.more_shift);
            float w[8];
            zo2_read8<W>(at, 8, (uint16_t)scale, w);
            for (uint32_t i = 0; i < 8; i++)
                if (!same(w[i], zo2_wire_form<W>::get(i == place ? code : codes - 1, (uint16_t)scale)))
                    fail_msg("wire %d, code %#x at %u, scale %#x: %a", (int)W, code, i, scale, (double)w[i]);
        }
}

/* i4, the same: every scale that encoders write, of either sign, and the NaN of a group that can't be stored. */
static void check_grid(uint32_t magnitude, uint32_t code, uint32_t place)
{
    uint16_t scale = (uint16_t)(magnitude | (code ^ place) % 2 << 15);
    alignas(16) unsigned char bytes[8];
    for (uint32_t shift = 0; shift < 8; shift += 4) {
        float w[8];
        for (uint32_t i = 0; i < 8; i++)
            bytes[i] = (unsigned char)(0xF0F0u >> shift | (i == place ? code : i) << shift);
        zo2_read8<ZO2_WIRE_I4>({bytes, NULL, shift, 0}, 8, scale, w);
        for (uint32_t i = 0; i < 8; i++)
            if (!same(w[i], zo2_i4_get(i == place ? code : i, scale)))
                fail_msg("i4, code %#x at %u, scale %#x: %a at %u", code, place, scale, (double)w[place], i);
    }
}

static void grid(void **state)
{
    (void)state;
    uint32_t most = zo2_i4_scale(ZO2_I4_SCALES - 1, ZO2_I4_LIMIT_BITS - 1);
    for (uint32_t scale = ZO2_I4_MIN_SCALE; scale <= most; scale++)
        for (uint32_t k = 0; k < 128; k += scale % 64 ? 37 : 1)
            check_grid(scale, (k + scale) % 16, k / 16);
    for (uint32_t k = 0; k < 128; k++)
        check_grid(ZO2_I4_REFUSED, k % 16, k / 16);
}

/* Two runs of a row of bf12: every value, whose exponent is in the window, an escape or whole, at every place and shift, among
 * neighbours that are other kinds; the bases of the two are any that encoders write. */
static void check_windows(uint32_t value, uint32_t place, uint32_t base, uint32_t other)
{
    uint32_t upper = value / 16 % 2, wide = value % 3 == 0, code = zo2_bf12_rotate((uint16_t)value);
    uint32_t exponent = code >> 8, escapes = 0;
    alignas(16) unsigned char low[16], more[16], high[16], room[2 * 16];
    float w[16], want[16];
    zo2_codes at[2];
    for (uint32_t i = 0; i < 16; i++) {
        uint32_t here = (i < 8) == (place < 8) ? base : other, e = here + i % 15, rest = 0x5A + i;
        if (i % 5 == 4)
            e = (here + 100) % 255;
        bool whole = wide && (i < 8) == (place < 8);
        if (i == place) {
            e = exponent;
            rest = code & 0xFF;
        }
        want[i] = zo2_bf12_get(e << 8 | rest);
        uint32_t bits = e & 15;
        low[i] = (unsigned char)rest;
        if (!whole) {
            bits = e - here;
            if (bits >= ZO2_BF12_ESCAPE) {
                room[2 * escapes] = (unsigned char)rest;
                room[2 * escapes + 1] = (unsigned char)e;
                low[i] = (unsigned char)escapes++;
                bits = ZO2_BF12_ESCAPE;
            }
        }
        more[i] = (unsigned char)(0xFF ^ (bits ^ 15) << 4 * upper);
        high[i] = (unsigned char)(0xFF ^ (e >> 4 ^ 15) << 4 * upper);
    }
    for (int i = 0; i < 2; i++)
        at[i] = {low + 8 * i, more + 8 * i, 0, 4 * upper};
    uint32_t bases[2] = {place < 8 ? base : other, place < 8 ? other : base};
    if (wide)
        bases[place / 8] = ZO2_BF12_WIDE;
    zo2_bf12_row row = {room, high, 16, 8, 4 * upper};
    zo2_bf12_read(zo2_bf12_load(at[0], 8, bases[0]), zo2_bf12_load(at[1], 8, bases[1]), row, w);
    for (uint32_t i = 0; i < 16; i++)
        if (zo2_float_bits(w[i]) != zo2_float_bits(want[i]))
            fail_msg("bf12, value %#x at %u, bases %u and %u: %a at %u, not %a", value, place, bases[0], bases[1],
                     (double)w[i], i, (double)want[i]);
}

static void windows(void **state)
{
    (void)state;
    for (uint32_t value = 0; value < 0x10000; value++)
        for (uint32_t k = 0; k < 16; k++)
            check_windows(value, k, (value + 17 * k) % (ZO2_BF12_MOST + 1), (value * 7 + 31 * k) % (ZO2_BF12_MOST + 1));
}

static void codes(void **state)
{
    (void)state;
    check_scales<ZO2_WIRE_E4M3>(0x7F80);
    check_scales<ZO2_WIRE_E5M2>(0x7F80);
    check_scales<ZO2_WIRE_F8>(ZO2_E2M_LIMIT_BITS >> 16);
    check_planes<ZO2_WIRE_F10>();
    check_planes<ZO2_WIRE_F6>();
    /* what is NaN there is NaN here, and nothing else is */
    for (uint32_t code = 0; code < 256; code++) {
        float w[4];
        zo2_wire_word<ZO2_WIRE_E4M3>::get(code, 0x3F80, w);
        assert_int_equal(w[0] != w[0], (code & 0x7F) == 0x7F);
        zo2_wire_word<ZO2_WIRE_E5M2>::get(code, 0x3F80, w);
        assert_int_equal(w[0] != w[0], (code & 0x7F) > 0x7C);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(narrowing), cmocka_unit_test(halves), cmocka_unit_test(codes),
                                       cmocka_unit_test(grid), cmocka_unit_test(windows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

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
    const struct CMUnitTest tests[] = {cmocka_unit_test(narrowing), cmocka_unit_test(halves), cmocka_unit_test(codes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

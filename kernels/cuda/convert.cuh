/* convert.cuh: codes to floats, several at a time (element.cuh: floats to the compute type). The default is the codec
 * headers' text, from the rows of wires.h, so a new wire has nothing to do here; where the hardware has a conversion with
 * the same bits (dialect.h), a specialisation uses it: for the fp16 wire on every device, for the fp8 wires from sm_89 on.
 *
 * The same bits for everything but NaN: a NaN stays one, with whatever sign and payload. tests/cudasim/test_sim_backend_convert.cpp
 * compares the two for all codes and scales. */
#ifndef ZO2_KERNELS_CUDA_CONVERT_CUH
#define ZO2_KERNELS_CUDA_CONVERT_CUH

#include "codec/bf16.h"
#include "codec/i4.h"
#include "codec/plane_layout.h"
#include "codec/rn.h"
#include "codec/wires.h"
#include "kernels/cuda/dialect.h"
#include "kernels/cuda/element.cuh"

/* A row of wires.h, for the compiler. */
template <zo2_wire W> struct zo2_wire_form;
#define ZO2_WIRE_FORM(wire, number, text, codec, code_bits, more_bits, what, size, value) \
    template <> struct zo2_wire_form<wire> {                                              \
        static constexpr int bits = code_bits, more = more_bits, group = size;            \
        static constexpr zo2_shared shared = what;                                        \
        static constexpr int per_word = 32 / code_bits;                                   \
        __device__ static inline float get(uint32_t code, uint16_t scale)                 \
        {                                                                                 \
            (void)scale;                                                                  \
            return value;                                                                 \
        }                                                                                 \
    };
ZO2_WIRE_MAP(ZO2_WIRE_FORM)
#undef ZO2_WIRE_FORM

/* ---- codes of 8 bits and more: the elements of a word ---- */

template <zo2_wire W> struct zo2_wire_word {
    __device__ static inline void get(uint32_t word, uint16_t scale, float w[zo2_wire_form<W>::per_word])
    {
#pragma unroll
        for (int i = 0; i < zo2_wire_form<W>::per_word; i++)
            w[i] = zo2_wire_form<W>::get(word >> (i * zo2_wire_form<W>::bits), scale);
    }
};

template <> struct zo2_wire_word<ZO2_WIRE_FP16> {
    __device__ static inline void get(uint32_t word, uint16_t, float w[2]) { zo2_cvt_f32x2(word, w, w + 1); }
};

#if ZO2_HAS_CVT_FP8
/* Every code is an f16, and its product with the scale is the codec's: the sign, which that one puts in afterwards, belongs
 * to a product with a positive scale. */
#define ZO2_FP8_WORD(wire, convert)                                                  \
    template <> struct zo2_wire_word<wire> {                                         \
        __device__ static inline void get(uint32_t word, uint16_t scale, float w[4]) \
        {                                                                            \
            zo2_cvt_f32x2(convert(word), w, w + 1);                                  \
            zo2_cvt_f32x2(convert(word >> 16), w + 2, w + 3);                        \
            for (int i = 0; i < 4; i++)                                              \
                w[i] = zo2_mul(w[i], zo2_bf16_get(scale));                           \
        }                                                                            \
    };
ZO2_FP8_WORD(ZO2_WIRE_E4M3, zo2_cvt_e4m3x2)
ZO2_FP8_WORD(ZO2_WIRE_E5M2, zo2_cvt_e5m2x2)
#undef ZO2_FP8_WORD
#endif

/* ---- e2mM ----
 * A code's bits go into an f16, exponent in its lowest two bits of exponent, mantissa at the top of the mantissa. That is the
 * code's value times 2^-12, subnormal ones too, and exact as a float; scales are so that times 2^12 they don't overflow (e2m.h). Two
 * elements are made at a time: of a word's bytes 0 and 1, or 2 and 3, each becomes the upper byte of a half. */

__device__ static inline float zo2_e2m_factor(uint16_t scale)
{
    return zo2_mul(zo2_bf16_get(scale), 0x1p12f);
}

__device__ static inline void zo2_e2m_pair(uint32_t halves, float factor, float w[2])
{
    zo2_cvt_f32x2(halves, w, w + 1);
    w[0] = zo2_mul(w[0], factor);
    w[1] = zo2_mul(w[1], factor);
}

/* Bytes of sign, exponent and five bits of mantissa. */
template <> struct zo2_wire_word<ZO2_WIRE_F8> {
    __device__ static inline void get(uint32_t word, uint16_t scale, float w[4])
    {
        float factor = zo2_e2m_factor(scale);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            uint32_t codes = __byte_perm(word, 0, i ? 0x3424 : 0x1404);
            zo2_e2m_pair((codes & 0x80008000u) | (codes >> 3 & 0x0FE00FE0u), factor, w + 2 * i);
        }
    }
};

/* ---- two planes: four elements from bytes of sign and mantissa, at the top, and bytes with the exponent in bits 2 and 3 ---- */

__device__ static inline void zo2_e2m_word(uint32_t first, uint32_t second, float factor, float w[4])
{
#pragma unroll
    for (int i = 0; i < 2; i++) {
        uint32_t pick = i ? 0x3424 : 0x1404;
        uint32_t codes = __byte_perm(first, 0, pick), exponents = __byte_perm(second, 0, pick);
        zo2_e2m_pair((codes & 0x80008000u) | (codes >> 5 & 0x03F803F8u) | exponents, factor, w + 2 * i);
    }
}

/* Bits [from, from + bits) of each byte moved to the bits from `to` on, the others 0. */
__device__ static inline uint32_t zo2_field(uint32_t word, uint32_t from, uint32_t bits, uint32_t to)
{
    uint32_t by = (from - to) & 31; /* a rotation: what wraps around is masked */
    word = word >> by | word << (-by & 31);
    return word & (((1u << bits) - 1) << to) * 0x01010101u;
}

/* ---- i4 ----
 * The grid's values are bytes, 128 more than they are so that none is negative. zo2_prmt() looks up four of eight at a time, and puts one
 * into a float between 2^15 and 2^15 + 256, whose product with the scale needs 17 bits, so that what is too much goes away in the
 * same fma: its result is the exact product, and +0 for 0. Scales times 2^16 don't overflow (i4.h). */

/* A run: of each of its 8 bytes the four bits from `shift` on, 0 or 4. */
__device__ static inline void zo2_i4_run(uint2 v, uint32_t shift, uint16_t scale, float w[8])
{
    constexpr uint64_t low = ZO2_I4_LOW ^ 0x8080808080808080u, high = ZO2_I4_HIGH ^ 0x8080808080808080u;
    float factor = zo2_bf16_get(scale), offset = zo2_mul(factor, -0x1.01p15f);
    /* codes 0, 4, 1, 5 from the lowest bits on, then 2, 6, 3, 7 */
    uint32_t codes = (v.x >> shift & 0x0F0F0F0Fu) | (v.y << (4 - shift) & 0xF0F0F0F0u);
    /* selectors: of a byte of eight, and of the lower or upper eight's */
    uint32_t index = codes & 0x77777777u, upper = (codes >> 1 & 0x44444444u) | 0x32103210u;
#pragma unroll
    for (uint32_t half = 0; half < 2; half++, index >>= 16, upper >>= 16) {
        uint32_t values = zo2_prmt(zo2_prmt((uint32_t)low, (uint32_t)(low >> 32), index),
                                   zo2_prmt((uint32_t)high, (uint32_t)(high >> 32), index), upper);
#pragma unroll
        for (uint32_t i = 0; i < 4; i++)
            w[2 * half + i / 2 + i % 2 * 4] =
                zo2_fma(zo2_bits_float(zo2_prmt(values, 0x4700u, 0x5404u | i << 4)), factor, offset);
    }
}

#endif

/* convert.cuh: codes to floats, floats to the compute type, several at a time. The default is the codec headers' text, from
 * the rows of wires.h, so a new wire has nothing to do here; where the hardware has a conversion with the same bits
 * (dialect.h), a specialisation uses it:
 *
 *     f32 to f16    every device         fp16 wire     every device
 *     f32 to bf16   sm_80 and newer      fp8 wires     sm_89 and newer
 *
 * The same bits for everything but NaN: a NaN stays one, with whatever sign and payload. tests/cudasim/test_sim_backend_convert.cpp
 * compares the two for all codes and scales. */
#ifndef ZO2_KERNELS_CUDA_CONVERT_CUH
#define ZO2_KERNELS_CUDA_CONVERT_CUH

#include "codec/bf16.h"
#include "codec/rn.h"
#include "codec/wires.h"
#include "kernels/cuda/dialect.h"
#include "kernels/cuda/element.cuh"

/* ---- wires ---- */

/* A row of wires.h, for the compiler. */
template <zo2_wire W> struct zo2_wire_form;
#define ZO2_WIRE_FORM(wire, number, text, codec, bytes, has_scales, value)            \
    template <> struct zo2_wire_form<wire> {                                          \
        static constexpr int size = bytes, scaled = has_scales, per_word = 4 / bytes; \
        __device__ static inline float get(uint32_t code, uint16_t scale)             \
        {                                                                             \
            (void)scale;                                                              \
            return value;                                                             \
        }                                                                             \
    };
ZO2_WIRE_MAP(ZO2_WIRE_FORM)
#undef ZO2_WIRE_FORM

/* The elements of a word of codes. */
template <zo2_wire W> struct zo2_wire_word {
    __device__ static inline void get(uint32_t word, uint16_t scale, float w[zo2_wire_form<W>::per_word])
    {
#pragma unroll
        for (int i = 0; i < zo2_wire_form<W>::per_word; i++)
            w[i] = zo2_wire_form<W>::get(word >> (8 * i * zo2_wire_form<W>::size), scale);
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

/* ---- compute types ---- */

/* Elements of type E as they lie in a word. */
template <class E> struct zo2_element_word;
template <> struct zo2_element_word<float> {
    static constexpr int n = 1;
    __device__ static inline uint32_t make(const float w[1]) { return zo2_float_bits(w[0]); }
};
template <> struct zo2_element_word<zo2_f16_element> {
    static constexpr int n = 2;
    __device__ static inline uint32_t make(const float w[2]) { return zo2_cvt_f16x2(w[0], w[1]); }
};
template <> struct zo2_element_word<zo2_bf16_element> {
    static constexpr int n = 2;
    __device__ static inline uint32_t make(const float w[2])
    {
#if ZO2_HAS_CVT_BF16
        return zo2_cvt_bf16x2(w[0], w[1]);
#else
        return zo2_bf16_encode(w[0]) | (uint32_t)zo2_bf16_encode(w[1]) << 16;
#endif
    }
};

/* N consecutive elements to where 16-byte stores may go. */
template <class E, int N> __device__ static inline void zo2_store_wide(E *to, const float w[N])
{
    constexpr int n = zo2_element_word<E>::n;
#pragma unroll
    for (int i = 0; i < N; i += 4 * n) {
        *(uint4 *)(void *)(to + i) =
            make_uint4(zo2_element_word<E>::make(w + i), zo2_element_word<E>::make(w + i + n),
                       zo2_element_word<E>::make(w + i + 2 * n), zo2_element_word<E>::make(w + i + 3 * n));
    }
}

#endif

/* convert.cuh: codes to floats, several at a time (element.cuh: floats to the compute type). The default is the codec
 * headers' text, from the rows of wires.h, so a new wire has nothing to do here; where the hardware has a conversion with
 * the same bits (dialect.h), a specialisation uses it: for the fp16 wire on every device, for the fp8 wires from sm_89 on.
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

#endif

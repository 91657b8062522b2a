/* element.cuh: activations and panels in the compute type. A 16-bit value is its bits (no half types, which a C++ compiler
 * lacks), converted by the hardware with the bits of the codec headers' functions, a NaN's sign and payload excepted: f16 on
 * every device, bf16 from sm_80 on. */
#ifndef ZO2_KERNELS_CUDA_ELEMENT_CUH
#define ZO2_KERNELS_CUDA_ELEMENT_CUH

#include "codec/bf16.h"
#include "codec/rn.h"
#include "engine/zo2.h"
#include "kernels/cuda/dialect.h"

struct zo2_f16_element {
    uint16_t bits;
};
struct zo2_bf16_element {
    uint16_t bits;
};

/* Elements of type E as they lie in a word. */
template <class E> struct zo2_element_word;
template <> struct zo2_element_word<float> {
    static constexpr int n = 1;
    __device__ static inline uint32_t make(const float w[1]) { return zo2_float_bits(w[0]); }
    __device__ static inline void get(uint32_t word, float w[1]) { w[0] = zo2_bits_float(word); }
};
template <> struct zo2_element_word<zo2_f16_element> {
    static constexpr int n = 2;
    __device__ static inline uint32_t make(const float w[2]) { return zo2_cvt_f16x2(w[0], w[1]); }
    __device__ static inline void get(uint32_t word, float w[2]) { zo2_cvt_f32x2(word, w, w + 1); }
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
    __device__ static inline void get(uint32_t word, float w[2])
    {
        w[0] = zo2_bits_float(word << 16);
        w[1] = zo2_bits_float(word & 0xFFFF0000u);
    }
};

/* One element. */
__device__ static inline float zo2_get(float x)
{
    return x;
}
template <class E> __device__ static inline float zo2_get(E x)
{
    float w[2];
    zo2_element_word<E>::get(x.bits, w);
    return w[0];
}
__device__ static inline void zo2_put(float *to, float x)
{
    *to = x;
}
template <class E> __device__ static inline void zo2_put(E *to, float x)
{
    const float w[2] = {x, 0.0f};
    to->bits = (uint16_t)zo2_element_word<E>::make(w);
}

/* N consecutive elements: 1, or a multiple of 8 from where 16-byte accesses may go. */
template <class E, int N> __device__ static inline void zo2_load_wide(const E *from, float w[N])
{
    constexpr int n = zo2_element_word<E>::n;
    if constexpr (N == 1)
        w[0] = zo2_get(*from);
    else {
#pragma unroll
        for (int i = 0; i < N; i += 4 * n) {
            uint4 words = *(const uint4 *)(const void *)(from + i);
            zo2_element_word<E>::get(words.x, w + i);
            zo2_element_word<E>::get(words.y, w + i + n);
            zo2_element_word<E>::get(words.z, w + i + 2 * n);
            zo2_element_word<E>::get(words.w, w + i + 3 * n);
        }
    }
}
/* The first 16 bytes of them. */
template <class E> __device__ static inline uint4 zo2_make_wide(const float *w)
{
    constexpr int n = zo2_element_word<E>::n;
    return make_uint4(zo2_element_word<E>::make(w), zo2_element_word<E>::make(w + n),
                      zo2_element_word<E>::make(w + 2 * n), zo2_element_word<E>::make(w + 3 * n));
}
template <class E, int N> __device__ static inline void zo2_store_wide(E *to, const float w[N])
{
    if constexpr (N == 1)
        zo2_put(to, w[0]);
    else {
#pragma unroll
        for (int i = 0; i < N;
             i += 4 * zo2_element_word<E>::n) /* a plain assignment may become four stores of 4 bytes */
            __stwb((uint4 *)(void *)(to + i), zo2_make_wide<E>(w + i));
    }
}

/* The statement with E as the element type of `type`. */
#define ZO2_BY_TYPE(type, ...)      \
    switch (type) {                 \
    case ZO2_F32: {                 \
        typedef float E;            \
        __VA_ARGS__;                \
    } break;                        \
    case ZO2_F16: {                 \
        typedef zo2_f16_element E;  \
        __VA_ARGS__;                \
    } break;                        \
    case ZO2_BF16: {                \
        typedef zo2_bf16_element E; \
        __VA_ARGS__;                \
    } break;                        \
    }

/* f(i) for a lane's i = lane, lane + 32, ... below n, in this order: eight at a time without a question between, so that their
 * loads and what doesn't depend on the one before can overlap. */
template <typename N, class F> __device__ static inline void zo2_lane_each(N n, F f)
{
    constexpr N at_once = 8;
    N i = threadIdx.x % 32;
    for (N whole = n / (at_once * 32); whole; whole--) {
#pragma unroll
        for (N j = 0; j < at_once; j++, i += 32)
            f(i);
    }
    for (; i < n; i += 32)
        f(i);
}

/* All 32 lanes get the sum; halves are folded onto each other as zo2_lanes_sum() of the cpu backend does. */
__device__ static inline float zo2_warp_sum(float x)
{
    for (int w = 16; w; w /= 2)
        x += __shfl_xor_sync(0xFFFFFFFFu, x, w);
    return x;
}

/* The largest; NaN are passed over. */
__device__ static inline float zo2_warp_max(float x)
{
    for (int w = 16; w; w /= 2) {
        float other = __shfl_xor_sync(0xFFFFFFFFu, x, w);
        x = other > x ? other : x;
    }
    return x;
}

#endif

/* element.cuh: activations and panels in the compute type. A 16-bit value is its bits, converted by the codec headers'
 * functions: the same rounding as everywhere else, and no half types that a C++ compiler lacks. */
#ifndef ZO2_KERNELS_CUDA_ELEMENT_CUH
#define ZO2_KERNELS_CUDA_ELEMENT_CUH

#include "codec/bf16.h"
#include "codec/fp16.h"
#include "engine/zo2.h"
#include "kernels/cuda/dialect.h"

struct zo2_f16_element {
    uint16_t bits;
};
struct zo2_bf16_element {
    uint16_t bits;
};

__device__ static inline float zo2_get(float x)
{
    return x;
}
__device__ static inline float zo2_get(zo2_f16_element x)
{
    return zo2_fp16_get(x.bits);
}
__device__ static inline float zo2_get(zo2_bf16_element x)
{
    return zo2_bf16_get(x.bits);
}

__device__ static inline void zo2_put(float *to, float x)
{
    *to = x;
}
__device__ static inline void zo2_put(zo2_f16_element *to, float x)
{
    to->bits = zo2_fp16_encode(x);
}
__device__ static inline void zo2_put(zo2_bf16_element *to, float x)
{
    to->bits = zo2_bf16_encode(x);
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

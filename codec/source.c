/* source.c: checkpoint types (F32, F16, BF16) to and from fp32. Exact one way, to nearest even the other. */
#include <string.h>

#include "codec/codec.h"
#include "codec/simd.h"

uint32_t zo2_dtype_bytes(zo2_dtype dtype)
{
    switch (dtype) {
    case ZO2_F32: return 4;
    case ZO2_F16: return 2;
    case ZO2_BF16: return 2;
    }
    return 0;
}

void zo2_source_decode(zo2_dtype dtype, const void *src, uint64_t n, float *dst)
{
    switch (dtype) {
    case ZO2_F32: memcpy(dst, src, 4 * n); break;
    case ZO2_F16: zo2_simd_get()->f16_decode(src, n, dst); break;
    case ZO2_BF16: zo2_simd_get()->bf16_decode(src, n, dst); break;
    }
}

void zo2_source_encode(zo2_dtype dtype, const float *src, uint64_t n, void *dst)
{
    switch (dtype) {
    case ZO2_F32: memcpy(dst, src, 4 * n); break;
    case ZO2_F16: zo2_simd_get()->f16_encode(src, n, dst); break;
    case ZO2_BF16: zo2_simd_get()->bf16_encode(src, n, dst); break;
    }
}

void zo2_round_to(zo2_dtype dtype, float *w, uint64_t n)
{
    switch (dtype) {
    case ZO2_F32: break;
    case ZO2_F16: zo2_simd_get()->f16_round(w, n); break;
    case ZO2_BF16: zo2_simd_get()->bf16_round(w, n); break;
    }
}

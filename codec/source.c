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

/* Values whose exponent is all ones. The first loop has no early exit, so that it vectorises; the second rarely runs.
 */
static uint64_t first_nonfinite16(const unsigned char *bits, uint64_t n, uint16_t exponent)
{
    unsigned bad = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint16_t u;
        memcpy(&u, bits + 2 * i, sizeof u);
        bad |= (u & exponent) == exponent;
    }
    for (uint64_t i = 0; bad && i < n; i++) {
        uint16_t u;
        memcpy(&u, bits + 2 * i, sizeof u);
        if ((u & exponent) == exponent)
            return i;
    }
    return n;
}

static uint64_t first_nonfinite32(const unsigned char *bits, uint64_t n)
{
    unsigned bad = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, bits + 4 * i, sizeof u);
        bad |= (u & 0x7F800000u) == 0x7F800000u;
    }
    for (uint64_t i = 0; bad && i < n; i++) {
        uint32_t u;
        memcpy(&u, bits + 4 * i, sizeof u);
        if ((u & 0x7F800000u) == 0x7F800000u)
            return i;
    }
    return n;
}

uint64_t zo2_first_nonfinite(zo2_dtype dtype, const void *bits, uint64_t n)
{
    return dtype == ZO2_F32 ? first_nonfinite32(bits, n)
                            : first_nonfinite16(bits, n, dtype == ZO2_F16 ? 0x7C00 : 0x7F80);
}

/* codec_fp32.c: the fp32 wire: rows of fp32 bits. Nothing is lost, nothing else is kept. CODECS.md, "fp32". */
#include <string.h>

#include "codec/codec_table.h"
#include "codec/plane_layout.h"
#include "codec/simd.h"

static uint64_t wire_bytes(uint64_t rows, uint64_t cols)
{
    return rows * zo2_fp32_stride(cols);
}

static uint64_t rest_bytes(uint64_t rows, uint64_t cols)
{
    (void)rows;
    (void)cols;
    return 0;
}

static void split(const float *w, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, void *wire, void *rest)
{
    (void)rows;
    (void)rest;
    uint64_t stride = zo2_fp32_stride(cols);
    unsigned char *to = (unsigned char *)wire + row * stride;
    for (uint64_t r = 0; r < n; r++, to += stride) {
        memcpy(to, w + r * cols, 4 * cols);
        memset(to + 4 * cols, 0, stride - 4 * cols);
    }
}

static void decode(const void *wire, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, float *w)
{
    (void)rows;
    uint64_t stride = zo2_fp32_stride(cols);
    const unsigned char *from = (const unsigned char *)wire + row * stride;
    for (uint64_t r = 0; r < n; r++, from += stride)
        memcpy(w + r * cols, from, 4 * cols);
}

static void join(const void *wire, const void *rest, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, float *w)
{
    (void)rest;
    decode(wire, rows, cols, row, n, w);
}

static void copy_row(const void *src, uint64_t src_rows, uint64_t src_row, uint64_t cols, void *dst, uint64_t dst_rows,
                     uint64_t dst_row)
{
    (void)src_rows;
    (void)dst_rows;
    uint64_t stride = zo2_fp32_stride(cols);
    memcpy((unsigned char *)dst + dst_row * stride, (const unsigned char *)src + src_row * stride, stride);
}

static int representable(const float *w, uint64_t n)
{
    return zo2_simd_get()->max_bits(w, n) < 0x7F800000u;
}

const zo2_codec zo2_codec_fp32 = {
    .id = ZO2_WIRE_FP32,
    .name = "fp32",
    .wire_bytes = wire_bytes,
    .rest_bytes = rest_bytes,
    .split = split,
    .join = join,
    .decode = decode,
    .copy_row = copy_row,
    .representable = representable,
};

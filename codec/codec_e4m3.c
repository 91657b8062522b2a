/* codec_e4m3.c: the fp8-e4m3 wire: a plane of codes, then a plane of scales; the rest is the fp32 master itself.
 * CODECS.md, "E4M3". */
#include <string.h>

#include "codec/codec_table.h"
#include "codec/fp8_e4m3.h"
#include "codec/plane_layout.h"
#include "codec/simd.h"

static uint64_t rest_bytes(uint64_t rows, uint64_t cols)
{
    return rows * zo2_fp32_stride(cols);
}

/* The bytes between the last scale and the end of the plane belong to the last row. */
static void zero_scale_padding(void *wire, uint64_t rows, uint64_t cols)
{
    uint64_t end = zo2_e4m3_scales_at(rows, cols, rows);
    memset((unsigned char *)wire + end, 0, zo2_e4m3_wire_bytes(rows, cols) - end);
}

static void split(const float *w, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, void *wire, void *rest)
{
    const zo2_simd *simd = zo2_simd_get();
    uint64_t stride = zo2_e4m3_stride(cols), rest_stride = zo2_fp32_stride(cols);
    for (uint64_t r = row; r < row + n; r++, w += cols) {
        unsigned char *codes = (unsigned char *)wire + r * stride;
        unsigned char *master = (unsigned char *)rest + r * rest_stride;
        simd->e4m3_encode_row(w, cols, codes, (unsigned char *)wire + zo2_e4m3_scales_at(rows, cols, r));
        memset(codes + cols, 0, stride - cols);
        memcpy(master, w, 4 * cols);
        memset(master + 4 * cols, 0, rest_stride - 4 * cols);
    }
    if (n > 0 && row + n == rows)
        zero_scale_padding(wire, rows, cols);
}

static void join(const void *wire, const void *rest, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, float *w)
{
    (void)wire;
    (void)rows;
    uint64_t stride = zo2_fp32_stride(cols);
    const unsigned char *master = (const unsigned char *)rest + row * stride;
    for (uint64_t r = 0; r < n; r++, master += stride)
        memcpy(w + r * cols, master, 4 * cols);
}

static void decode(const void *wire, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, float *w)
{
    const zo2_simd *simd = zo2_simd_get();
    const unsigned char *bytes = wire;
    uint64_t stride = zo2_e4m3_stride(cols);
    for (uint64_t r = row; r < row + n; r++, w += cols)
        simd->e4m3_decode_row(bytes + r * stride, bytes + zo2_e4m3_scales_at(rows, cols, r), cols, w);
}

static void copy_row(const void *src, uint64_t src_rows, uint64_t src_row, uint64_t cols, void *dst, uint64_t dst_rows,
                     uint64_t dst_row)
{
    const unsigned char *from = src;
    unsigned char *to = dst;
    uint64_t stride = zo2_e4m3_stride(cols);
    memcpy(to + dst_row * stride, from + src_row * stride, stride);
    memcpy(to + zo2_e4m3_scales_at(dst_rows, cols, dst_row), from + zo2_e4m3_scales_at(src_rows, cols, src_row),
           2 * zo2_e4m3_groups(cols));
    if (dst_row + 1 == dst_rows)
        zero_scale_padding(dst, dst_rows, cols);
}

static int representable(const float *w, uint64_t n)
{
    return zo2_simd_get()->max_bits(w, n) < ZO2_E4M3_LIMIT_BITS;
}

const zo2_codec zo2_codec_e4m3 = {
    .id = ZO2_WIRE_E4M3,
    .name = "fp8-e4m3",
    .wire_bytes = zo2_e4m3_wire_bytes,
    .rest_bytes = rest_bytes,
    .split = split,
    .join = join,
    .decode = decode,
    .copy_row = copy_row,
    .representable = representable,
};

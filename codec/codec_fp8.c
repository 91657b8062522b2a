/* codec_fp8.c: the fp8-e4m3 and fp8-e5m2 wires: a plane of codes, then a plane of scales; the rest is the fp32 master
 * itself. The formats differ in two functions of the instruction set's table. CODECS.md, "FP8". */
#include "codec/codec.h"
#include "codec/codec_table.h"
#include "codec/fp32_plane.h"
#include "codec/fp8_e4m3.h"
#include "codec/fp8_e5m2.h"
#include "codec/plane_layout.h"
#include "codec/simd.h"
#include "codec/update.h"

/* The bytes between the last scale and the end of the plane belong to the last row. */
static void zero_scale_padding(void *wire, uint64_t rows, uint64_t cols)
{
    uint64_t end = zo2_fp8_scales_at(rows, cols, rows);
    memset((unsigned char *)wire + end, 0, zo2_fp8_wire_bytes(rows, cols) - end);
}

/* Rows of whole groups have no padding, so n of them are encoded as one long row if nothing lies between those of w. */
static uint64_t rows_at_once(uint64_t cols, uint64_t n)
{
    return cols % ZO2_FP8_GROUP == 0 ? n : 1;
}

/* Rows [row, row + n) of the wire, from rows of w that are `ld` values apart. */
static void encode(zo2_fp8_encode_row encode_row, const float *w, uint64_t ld, uint64_t rows, uint64_t cols,
                   uint64_t row, uint64_t n, void *wire)
{
    uint64_t stride = zo2_row_stride(cols, 1), once = ld == cols ? rows_at_once(cols, n) : 1;
    for (uint64_t r = row; r < row + n; r += once, w += once * ld) {
        unsigned char *codes = (unsigned char *)wire + r * stride;
        encode_row(w, once * cols, codes, (unsigned char *)wire + zo2_fp8_scales_at(rows, cols, r));
        memset(codes + cols, 0, stride - cols);
    }
    if (n > 0 && row + n == rows)
        zero_scale_padding(wire, rows, cols);
}

/* What is better not left in the caches: rows of chunks that don't fit there anyway, lines of which are written whole. */
static int past_caches(uint64_t rows, uint64_t cols, const void *wire, const void *rest)
{
    return rows * cols >= 1 << 20 && cols % 64 == 0 && (uintptr_t)wire % 64 == 0 && (uintptr_t)rest % 64 == 0;
}

/* encode() and the rest plane in one go; cols is a multiple of 64, so there is no padding within rows. */
static void stream(zo2_fp8_stream_row stream_row, const float *w, uint64_t rows, uint64_t cols, uint64_t row,
                   uint64_t n, void *wire, void *rest)
{
    uint64_t once = rows_at_once(cols, n);
    for (uint64_t r = row; r < row + n; r += once, w += once * cols)
        stream_row(w, once * cols, (unsigned char *)wire + r * cols,
                   (unsigned char *)wire + zo2_fp8_scales_at(rows, cols, r), (float *)rest + r * cols);
    if (n > 0 && row + n == rows)
        zero_scale_padding(wire, rows, cols);
    zo2_simd_get()->stream_end();
}

static void split(zo2_fp8_encode_row encode_row, zo2_fp8_stream_row stream_row, const float *w, uint64_t rows,
                  uint64_t cols, uint64_t row, uint64_t n, void *wire, void *rest)
{
    if (rest && past_caches(rows, cols, wire, rest)) {
        stream(stream_row, w, rows, cols, row, n, wire, rest);
        return;
    }
    uint64_t piece = zo2_fp32_plane_piece(cols);
    for (uint64_t r = 0; r < n; r += piece, w += piece * cols) {
        uint64_t here = n - r < piece ? n - r : piece;
        encode(encode_row, w, cols, rows, cols, row + r, here, wire);
        if (rest)
            zo2_fp32_plane_store(w, cols, row + r, here, rest, 0);
    }
}

static uint32_t update(const zo2_simd *simd, zo2_fp8_encode_row encode_row, void *wire, void *rest, uint64_t rows,
                       uint64_t cols, uint64_t row, uint64_t n, uint64_t first, const zo2_updates *a)
{
    uint64_t piece = zo2_fp32_plane_piece(cols), ld = zo2_row_stride(cols, 4) / 4;
    uint32_t most = 0;
    for (uint64_t r = 0; r < n; r += piece) {
        uint64_t here = n - r < piece ? n - r : piece;
        uint32_t m = zo2_fp32_plane_update(simd, rest, cols, row + r, here, first + r * cols, a);
        most = m > most ? m : most;
        encode(encode_row, (float *)rest + (row + r) * ld, ld, rows, cols, row + r, here, wire);
    }
    return most;
}

static void join(const void *wire, const void *rest, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, float *w)
{
    (void)wire;
    (void)rows;
    zo2_fp32_plane_load(rest, cols, row, n, w);
}

static void decode(zo2_fp8_decode_row decode_row, const void *wire, uint64_t rows, uint64_t cols, uint64_t row,
                   uint64_t n, float *w)
{
    const unsigned char *bytes = wire;
    uint64_t stride = zo2_row_stride(cols, 1);
    for (uint64_t r = row; r < row + n; r++, w += cols)
        decode_row(bytes + r * stride, bytes + zo2_fp8_scales_at(rows, cols, r), cols, w);
}

static void copy_row(const void *src, uint64_t src_rows, uint64_t src_row, uint64_t cols, void *dst, uint64_t dst_rows,
                     uint64_t dst_row)
{
    const unsigned char *from = src;
    unsigned char *to = dst;
    zo2_plane_copy_row(src, src_row, cols, 1, dst, dst_row);
    memcpy(to + zo2_fp8_scales_at(dst_rows, cols, dst_row), from + zo2_fp8_scales_at(src_rows, cols, src_row),
           2 * zo2_fp8_groups(cols));
    if (dst_row + 1 == dst_rows)
        zero_scale_padding(dst, dst_rows, cols);
}

#define FP8_CODEC(format, number, limit)                                                                            \
    static void format##_split(const float *w, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, void *wire,  \
                               void *rest)                                                                          \
    {                                                                                                               \
        const zo2_simd *simd = zo2_simd_get();                                                                      \
        split(simd->format##_encode_row, simd->format##_stream_row, w, rows, cols, row, n, wire, rest);             \
    }                                                                                                               \
    static void format##_decode(const void *wire, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, float *w) \
    {                                                                                                               \
        decode(zo2_simd_get()->format##_decode_row, wire, rows, cols, row, n, w);                                   \
    }                                                                                                               \
    static uint32_t format##_update(void *wire, void *rest, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, \
                                    uint64_t first, const zo2_updates *a)                                           \
    {                                                                                                               \
        const zo2_simd *simd = zo2_simd_get();                                                                      \
        return update(simd, simd->format##_encode_row, wire, rest, rows, cols, row, n, first, a);                   \
    }                                                                                                               \
    const zo2_codec zo2_codec_##format = {                                                                          \
        .id = number,                                                                                               \
        .limit_bits = limit,                                                                                        \
        .wire_bytes = zo2_fp8_wire_bytes,                                                                           \
        .rest_bytes = zo2_fp32_plane_bytes,                                                                         \
        .split = format##_split,                                                                                    \
        .join = join,                                                                                               \
        .decode = format##_decode,                                                                                  \
        .copy_row = copy_row,                                                                                       \
        .update = format##_update,                                                                                  \
    };

FP8_CODEC(e4m3, ZO2_WIRE_E4M3, ZO2_E4M3_LIMIT_BITS)
FP8_CODEC(e5m2, ZO2_WIRE_E5M2, ZO2_E5M2_LIMIT_BITS)

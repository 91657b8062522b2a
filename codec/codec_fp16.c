/* codec_fp16.c: the fp16 wire: IEEE halves, nearest even, without scales; the rest is the fp32 master itself, because 16
 * more bits could not hold what a half loses below 2^-14. CODECS.md, "fp16". */
#include "codec/codec.h"
#include "codec/codec_table.h"
#include "codec/fp16.h"
#include "codec/fp32_plane.h"
#include "codec/plane_layout.h"
#include "codec/simd.h"
#include "codec/update.h"

static uint64_t wire_bytes(uint64_t rows, uint64_t cols)
{
    return rows * zo2_row_stride(cols, 2);
}

/* Rows [row, row + n) of the wire, from rows of w that are `ld` values apart. */
static void encode(const float *w, uint64_t ld, uint64_t cols, uint64_t row, uint64_t n, void *wire)
{
    const zo2_simd *simd = zo2_simd_get();
    uint64_t stride = zo2_row_stride(cols, 2);
    unsigned char *half = (unsigned char *)wire + row * stride;
    for (uint64_t r = 0; r < n; r++, half += stride) {
        simd->f16_encode(w + r * ld, cols, half);
        memset(half + 2 * cols, 0, stride - 2 * cols);
    }
}

static void split(const float *w, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, void *wire, void *rest)
{
    (void)rows;
    uint64_t piece = zo2_fp32_plane_piece(cols);
    int much = rest && zo2_fp32_plane_much(cols, n);
    for (uint64_t r = 0; r < n; r += piece, w += piece * cols) {
        uint64_t here = n - r < piece ? n - r : piece;
        encode(w, cols, cols, row + r, here, wire);
        if (rest)
            zo2_fp32_plane_store(w, cols, row + r, here, rest, much);
    }
    if (much)
        zo2_simd_get()->stream_end();
}

static uint32_t update(void *wire, void *rest, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, uint64_t first,
                       const zo2_updates *a)
{
    (void)rows;
    uint64_t piece = zo2_fp32_plane_piece(cols), ld = zo2_row_stride(cols, 4) / 4;
    uint32_t most = 0;
    for (uint64_t r = 0; r < n; r += piece) {
        uint64_t here = n - r < piece ? n - r : piece;
        uint32_t m = zo2_fp32_plane_update(zo2_simd_get(), rest, cols, row + r, here, first + r * cols, a);
        most = m > most ? m : most;
        encode((float *)rest + (row + r) * ld, ld, cols, row + r, here, wire);
    }
    return most;
}

static void join(const void *wire, const void *rest, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, float *w)
{
    (void)wire;
    (void)rows;
    zo2_fp32_plane_load(rest, cols, row, n, w);
}

static void decode(const void *wire, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, float *w)
{
    (void)rows;
    const zo2_simd *simd = zo2_simd_get();
    uint64_t stride = zo2_row_stride(cols, 2);
    const unsigned char *half = (const unsigned char *)wire + row * stride;
    for (uint64_t r = 0; r < n; r++, half += stride)
        simd->f16_decode(half, cols, w + r * cols);
}

static void copy_row(const void *src, uint64_t src_rows, uint64_t src_row, uint64_t cols, void *dst, uint64_t dst_rows,
                     uint64_t dst_row)
{
    (void)src_rows;
    (void)dst_rows;
    zo2_plane_copy_row(src, src_row, cols, 2, dst, dst_row);
}

const zo2_codec zo2_codec_fp16 = {
    .id = ZO2_WIRE_FP16,
    .limit_bits = ZO2_FP16_LIMIT_BITS,
    .wire_bytes = wire_bytes,
    .rest_bytes = zo2_fp32_plane_bytes,
    .split = split,
    .join = join,
    .decode = decode,
    .copy_row = copy_row,
    .update = update,
};

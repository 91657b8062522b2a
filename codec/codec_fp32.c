/* codec_fp32.c: the fp32 wire: rows of fp32 bits. Nothing is lost, nothing else is kept. CODECS.md, "fp32". */
#include "codec/codec.h"
#include "codec/codec_table.h"
#include "codec/fp32_plane.h"
#include "codec/simd.h"
#include "codec/update.h"

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
    int much = zo2_fp32_plane_much(cols, n);
    zo2_fp32_plane_store(w, cols, row, n, wire, much);
    if (much)
        zo2_simd_get()->stream_end();
}

static void decode(const void *wire, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, float *w)
{
    (void)rows;
    zo2_fp32_plane_load(wire, cols, row, n, w);
}

static void join(const void *wire, const void *rest, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, float *w)
{
    (void)rest;
    decode(wire, rows, cols, row, n, w);
}

static uint32_t update(void *wire, void *rest, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, uint64_t first,
                       const zo2_updates *a)
{
    (void)rows;
    (void)rest;
    return zo2_fp32_plane_update(zo2_simd_get(), wire, cols, row, n, first, a);
}

static void copy_row(const void *src, uint64_t src_rows, uint64_t src_row, uint64_t cols, void *dst, uint64_t dst_rows,
                     uint64_t dst_row)
{
    (void)src_rows;
    (void)dst_rows;
    zo2_plane_copy_row(src, src_row, cols, 4, dst, dst_row);
}

const zo2_codec zo2_codec_fp32 = {
    .id = ZO2_WIRE_FP32,
    .limit_bits = 0x7F800000u,
    .wire_bytes = zo2_fp32_plane_bytes,
    .rest_bytes = rest_bytes,
    .split = split,
    .join = join,
    .decode = decode,
    .copy_row = copy_row,
    .update = update,
};

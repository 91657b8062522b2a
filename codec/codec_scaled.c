/* codec_scaled.c: the wires whose codes share scales: fp8-e4m3, fp8-e5m2, f10, f8, f6, i4. A plane of codes, a second one where a code
 * has more bits, then a plane of scales; the rest is the fp32 master itself. The formats differ in their shape and in their
 * row functions in the instruction set's table. CODECS.md, "FP8", "e2mM" and "i4". */
#include "codec/codec.h"
#include "codec/codec_table.h"
#include "codec/e2m.h"
#include "codec/fp32_plane.h"
#include "codec/fp8_e4m3.h"
#include "codec/fp8_e5m2.h"
#include "codec/i4.h"
#include "codec/plane_layout.h"
#include "codec/simd.h"
#include "codec/update.h"
#include "codec/wires.h"

/* Row r of the three planes of a chunk of `rows` rows. */
typedef struct scaled_row {
    unsigned char *codes, *more, *scales;
} scaled_row;

static scaled_row row_of(zo2_wire_shape s, const void *wire, uint64_t rows, uint64_t cols, uint64_t r)
{
    unsigned char *at = (unsigned char *)wire; /* const for who only reads */
    scaled_row row = {at + r * zo2_code_stride(cols, s.bits),
                      at + zo2_more_at(s, rows, cols) + r * zo2_code_stride(cols, s.more),
                      at + zo2_scales_at(s, rows, cols, r)};
    return row;
}

/* The bytes between the last scale and the end of the plane belong to the last row. */
static void zero_scale_padding(zo2_wire_shape s, void *wire, uint64_t rows, uint64_t cols)
{
    uint64_t end = zo2_scales_at(s, rows, cols, rows);
    memset((unsigned char *)wire + end, 0, zo2_shape_bytes(s, rows, cols) - end);
}

/* Rows of whole groups have no padding, so n of them are encoded as one long row if nothing lies between those of w. */
static uint64_t rows_at_once(zo2_wire_shape s, uint64_t cols, uint64_t n)
{
    return cols % s.group == 0 ? n : 1;
}

/* Rows [row, row + n) of the wire, from rows of w that are `ld` values apart. */
static void encode(zo2_wire_shape s, zo2_scaled_rows f, const float *w, uint64_t ld, uint64_t rows, uint64_t cols,
                   uint64_t row, uint64_t n, void *wire)
{
    uint64_t stride = zo2_code_stride(cols, s.bits), once = ld == cols ? rows_at_once(s, cols, n) : 1;
    for (uint64_t r = row; r < row + n; r += once, w += once * ld) {
        scaled_row to = row_of(s, wire, rows, cols, r);
        f.encode(w, once * cols, to.codes, to.more, to.scales);
        if (s.bits == 8)
            memset(to.codes + cols, 0, stride - cols);
    }
    if (n > 0 && row + n == rows)
        zero_scale_padding(s, wire, rows, cols);
}

/* What is better not left in the caches: rows of chunks that don't fit there anyway, lines of which are written whole: half
 * lines of the second plane, which is the shorter one. */
static int past_caches(zo2_wire_shape s, uint64_t rows, uint64_t cols, const void *wire, const void *rest)
{
    return rows * cols >= 1 << 20 && cols % (s.more ? s.group : 64) == 0 && (uintptr_t)wire % 64 == 0 &&
           (uintptr_t)rest % 64 == 0;
}

/* encode() and the rest plane in one go; there is no padding within rows. */
static void stream(zo2_wire_shape s, zo2_scaled_rows f, const float *w, uint64_t rows, uint64_t cols, uint64_t row,
                   uint64_t n, void *wire, void *rest)
{
    uint64_t once = rows_at_once(s, cols, n);
    for (uint64_t r = row; r < row + n; r += once, w += once * cols) {
        scaled_row to = row_of(s, wire, rows, cols, r);
        f.stream(w, once * cols, to.codes, to.more, to.scales, (float *)rest + r * cols);
    }
    if (n > 0 && row + n == rows)
        zero_scale_padding(s, wire, rows, cols);
    zo2_simd_get()->stream_end();
}

static void split(zo2_wire_shape s, zo2_scaled_rows f, const float *w, uint64_t rows, uint64_t cols, uint64_t row,
                  uint64_t n, void *wire, void *rest)
{
    if (rest && past_caches(s, rows, cols, wire, rest)) {
        stream(s, f, w, rows, cols, row, n, wire, rest);
        return;
    }
    uint64_t piece = zo2_fp32_plane_piece(cols);
    for (uint64_t r = 0; r < n; r += piece, w += piece * cols) {
        uint64_t here = n - r < piece ? n - r : piece;
        encode(s, f, w, cols, rows, cols, row + r, here, wire);
        if (rest)
            zo2_fp32_plane_store(w, cols, row + r, here, rest, 0);
    }
}

static uint32_t update(zo2_wire_shape s, zo2_scaled_rows f, void *wire, void *rest, uint64_t rows, uint64_t cols,
                       uint64_t row, uint64_t n, uint64_t first, const zo2_updates *a)
{
    const zo2_simd *simd = zo2_simd_get();
    uint64_t piece = zo2_fp32_plane_piece(cols), ld = zo2_row_stride(cols, 4) / 4;
    uint32_t most = 0;
    for (uint64_t r = 0; r < n; r += piece) {
        uint64_t here = n - r < piece ? n - r : piece;
        uint32_t m = zo2_fp32_plane_update(simd, rest, cols, row + r, here, first + r * cols, a);
        most = m > most ? m : most;
        encode(s, f, (float *)rest + (row + r) * ld, ld, rows, cols, row + r, here, wire);
    }
    return most;
}

static void join(const void *wire, const void *rest, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, float *w)
{
    (void)wire;
    (void)rows;
    zo2_fp32_plane_load(rest, cols, row, n, w);
}

static void decode(zo2_wire_shape s, zo2_scaled_rows f, const void *wire, uint64_t rows, uint64_t cols, uint64_t row,
                   uint64_t n, float *w)
{
    for (uint64_t r = row; r < row + n; r++, w += cols) {
        scaled_row from = row_of(s, wire, rows, cols, r);
        f.decode(from.codes, from.more, from.scales, cols, w);
    }
}

static void copy_row(zo2_wire_shape s, const void *src, uint64_t src_rows, uint64_t src_row, uint64_t cols, void *dst,
                     uint64_t dst_rows, uint64_t dst_row)
{
    scaled_row from = row_of(s, src, src_rows, cols, src_row), to = row_of(s, dst, dst_rows, cols, dst_row);
    memcpy(to.codes, from.codes, zo2_code_stride(cols, s.bits));
    memcpy(to.more, from.more, zo2_code_stride(cols, s.more));
    memcpy(to.scales, from.scales, zo2_shared_stride(s, cols));
    if (dst_row + 1 == dst_rows)
        zero_scale_padding(s, dst, dst_rows, cols);
}

#define SCALED_CODEC(wire_id, format, limit)                                                                        \
    static zo2_wire_shape format##_shape(void)                                                                      \
    {                                                                                                               \
        return zo2_wire_shape_of(wire_id);                                                                          \
    }                                                                                                               \
    static uint64_t format##_bytes(uint64_t rows, uint64_t cols)                                                    \
    {                                                                                                               \
        return zo2_shape_bytes(format##_shape(), rows, cols);                                                       \
    }                                                                                                               \
    static void format##_split(const float *w, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, void *wire,  \
                               void *rest)                                                                          \
    {                                                                                                               \
        split(format##_shape(), zo2_simd_get()->format, w, rows, cols, row, n, wire, rest);                         \
    }                                                                                                               \
    static void format##_decode(const void *wire, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, float *w) \
    {                                                                                                               \
        decode(format##_shape(), zo2_simd_get()->format, wire, rows, cols, row, n, w);                              \
    }                                                                                                               \
    static void format##_copy_row(const void *src, uint64_t src_rows, uint64_t src_row, uint64_t cols, void *dst,   \
                                  uint64_t dst_rows, uint64_t dst_row)                                              \
    {                                                                                                               \
        copy_row(format##_shape(), src, src_rows, src_row, cols, dst, dst_rows, dst_row);                           \
    }                                                                                                               \
    static uint32_t format##_update(void *wire, void *rest, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, \
                                    uint64_t first, const zo2_updates *a)                                           \
    {                                                                                                               \
        return update(format##_shape(), zo2_simd_get()->format, wire, rest, rows, cols, row, n, first, a);          \
    }                                                                                                               \
    const zo2_codec zo2_codec_##format = {                                                                          \
        .id = wire_id,                                                                                              \
        .limit_bits = limit,                                                                                        \
        .wire_bytes = format##_bytes,                                                                               \
        .rest_bytes = zo2_fp32_plane_bytes,                                                                         \
        .split = format##_split,                                                                                    \
        .join = join,                                                                                               \
        .decode = format##_decode,                                                                                  \
        .copy_row = format##_copy_row,                                                                              \
        .update = format##_update,                                                                                  \
    };

SCALED_CODEC(ZO2_WIRE_E4M3, e4m3, ZO2_E4M3_LIMIT_BITS)
SCALED_CODEC(ZO2_WIRE_E5M2, e5m2, ZO2_E5M2_LIMIT_BITS)
SCALED_CODEC(ZO2_WIRE_F10, f10, ZO2_E2M_LIMIT_BITS)
SCALED_CODEC(ZO2_WIRE_F8, f8, ZO2_E2M_LIMIT_BITS)
SCALED_CODEC(ZO2_WIRE_F6, f6, ZO2_E2M_LIMIT_BITS)
SCALED_CODEC(ZO2_WIRE_I4, i4, ZO2_I4_LIMIT_BITS)

/* codec_bf16.c: the bf16 wire: the fp32 master in two 16-bit planes, of which the upper one is the wire. Costs no
 * memory beyond the master's own four bytes. CODECS.md, "bf16". */
#include "codec/bf16.h"
#include "codec/codec.h"
#include "codec/codec_table.h"
#include "codec/fp32_plane.h"
#include "codec/plane_layout.h"
#include "codec/simd.h"
#include "codec/update.h"

/* Of either plane. */
static uint64_t plane_bytes(uint64_t rows, uint64_t cols)
{
    return rows * zo2_row_stride(cols, 2);
}

/* The wire of a row without the rest, which a loop leaves in the first-level cache. */
static void encode_row(const zo2_simd *simd, const float *w, uint64_t cols, unsigned char *hi)
{
    unsigned char lo[2048];
    for (uint64_t c = 0; c < cols; c += sizeof lo / 2) {
        uint64_t n = cols - c < sizeof lo / 2 ? cols - c : sizeof lo / 2;
        simd->bf16_split(w + c, n, hi + 2 * c, lo);
    }
}

static void split(const float *w, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, void *wire, void *rest)
{
    (void)rows;
    const zo2_simd *simd = zo2_simd_get();
    uint64_t stride = zo2_row_stride(cols, 2);
    unsigned char *hi = (unsigned char *)wire + row * stride, *lo = rest ? (unsigned char *)rest + row * stride : NULL;
    for (uint64_t r = 0; r < n; r++, hi += stride) {
        if (lo) {
            simd->bf16_split(w + r * cols, cols, hi, lo);
            memset(lo + 2 * cols, 0, stride - 2 * cols);
            lo += stride;
        } else {
            encode_row(simd, w + r * cols, cols, hi);
        }
        memset(hi + 2 * cols, 0, stride - 2 * cols);
    }
}

static void join(const void *wire, const void *rest, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, float *w)
{
    (void)rows;
    const zo2_simd *simd = zo2_simd_get();
    uint64_t stride = zo2_row_stride(cols, 2);
    const unsigned char *hi = (const unsigned char *)wire + row * stride;
    const unsigned char *lo = (const unsigned char *)rest + row * stride;
    for (uint64_t r = 0; r < n; r++, hi += stride, lo += stride)
        simd->bf16_join(hi, lo, cols, w + r * cols);
}

static void decode(const void *wire, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, float *w)
{
    (void)rows;
    const zo2_simd *simd = zo2_simd_get();
    uint64_t stride = zo2_row_stride(cols, 2);
    const unsigned char *hi = (const unsigned char *)wire + row * stride;
    for (uint64_t r = 0; r < n; r++, hi += stride)
        simd->bf16_decode(hi, cols, w + r * cols);
}

static uint32_t update(void *wire, void *rest, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, uint64_t first,
                       const zo2_updates *a)
{
    (void)rows;
    const zo2_simd *simd = zo2_simd_get();
    uint64_t stride = zo2_row_stride(cols, 2);
    unsigned char *hi = (unsigned char *)wire + row * stride, *lo = (unsigned char *)rest + row * stride;
    if (stride == 2 * cols) /* rows without padding between them are one run */
        return simd->update_bf16(hi, lo, n * cols, first, a);
    uint32_t most = 0;
    for (uint64_t r = 0; r < n; r++) {
        uint32_t here = simd->update_bf16(hi + r * stride, lo + r * stride, cols, first + r * cols, a);
        most = here > most ? here : most;
    }
    return most;
}

static void copy_row(const void *src, uint64_t src_rows, uint64_t src_row, uint64_t cols, void *dst, uint64_t dst_rows,
                     uint64_t dst_row)
{
    (void)src_rows;
    (void)dst_rows;
    zo2_plane_copy_row(src, src_row, cols, 2, dst, dst_row);
}

const zo2_codec zo2_codec_bf16 = {
    .id = ZO2_WIRE_BF16,
    .limit_bits = ZO2_BF16_LIMIT_BITS,
    .wire_bytes = plane_bytes,
    .rest_bytes = plane_bytes,
    .split = split,
    .join = join,
    .decode = decode,
    .copy_row = copy_row,
    .update = update,
};

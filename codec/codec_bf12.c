/* codec_bf12.c: the bf12 wire: the bf16 wire's values in about 12.1 bits, whatever they are, and for a master the same rest. What
 * exponents need beyond the window of their neighbours lies in the row, so rows are independent; a window for which that has no room
 * takes 4 bits a weight more, in a plane at the wire's end that isn't sent where no row needs it. CODECS.md, "bf12". */
#include "codec/bf12.h"

#include <string.h>

#include "codec/bf16.h"
#include "codec/codec.h"
#include "codec/codec_table.h"
#include "codec/plane_layout.h"
#include "codec/simd.h"
#include "codec/update.h"
#include "codec/wires.h"

enum { PIECE = 4 * ZO2_WINDOW }; /* weights that are handled together, in the first-level cache */

static zo2_wire_shape shape(void)
{
    return zo2_wire_shape_of(ZO2_WIRE_BF12);
}

static uint64_t wire_bytes(uint64_t rows, uint64_t cols)
{
    return zo2_shape_bytes(shape(), rows, cols);
}

/* Without a wide window. */
static uint64_t narrow_bytes(uint64_t rows, uint64_t cols)
{
    return zo2_high_at(shape(), rows, cols);
}

static uint64_t rest_bytes(uint64_t rows, uint64_t cols)
{
    return rows * zo2_row_stride(cols, 2);
}

static zo2_bf12_row row_of(const void *wire, uint64_t rows, uint64_t cols, uint64_t r)
{
    uint8_t *at = (uint8_t *)wire; /* const for who only reads */
    zo2_wire_shape s = shape();
    uint64_t stride = zo2_code_stride(cols, s.more);
    zo2_bf12_row row = {.codes = at + r * zo2_code_stride(cols, s.bits),
                        .more = at + zo2_more_at(s, rows, cols) + r * stride,
                        .high = at + zo2_high_at(s, rows, cols) + r * stride,
                        .base = at + zo2_scales_at(s, rows, cols, r)};
    row.escapes = row.base + zo2_windows(cols);
    row.room = (uint32_t)zo2_escape_room(cols);
    return row;
}

static zo2_bf12_row at_column(zo2_bf12_row row, uint64_t col)
{
    row.codes += col;
    row.more += col / 2;
    row.high += col / 2;
    row.base += col / ZO2_WINDOW;
    return row;
}

/* The bytes between the last head and the plane behind the heads belong to the last row. */
static void zero_head_padding(void *wire, uint64_t rows, uint64_t cols)
{
    uint64_t end = zo2_scales_at(shape(), rows, cols, rows);
    memset((unsigned char *)wire + end, 0, zo2_high_at(shape(), rows, cols) - end);
}

/* What a row leaves of its head, once `used` of its escapes are there. */
static void end_row(zo2_bf12_row row, uint32_t used)
{
    memset(row.escapes + 2 * used, 0, 2 * (row.room - used));
}

static uint64_t sent_bytes(const void *wire, uint64_t rows, uint64_t cols)
{
    const uint64_t at = narrow_bytes(rows, cols), windows = zo2_windows(cols);
    for (uint64_t r = rows; r-- > 0;)
        if (memchr(row_of(wire, rows, cols, r).base, ZO2_BF12_WIDE, windows))
            return at + (r + 1) * zo2_code_stride(cols, shape().more);
    return at;
}

/* The lower halves of n weights; the upper ones go where a loop leaves them in the first-level cache. */
static void store_low(const zo2_simd *simd, const float *w, uint64_t n, unsigned char *lo)
{
    unsigned char hi[2 * PIECE];
    for (uint64_t c = 0; c < n; c += PIECE)
        simd->bf16_split(w + c, n - c < PIECE ? n - c : PIECE, hi, lo + 2 * c);
}

static void split(const float *w, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, void *wire, void *rest)
{
    const zo2_simd *simd = zo2_simd_get();
    const uint64_t stride = zo2_row_stride(cols, 2);
    for (uint64_t r = row; r < row + n; r++, w += cols) {
        zo2_bf12_row to = row_of(wire, rows, cols, r);
        end_row(to, simd->bf12_encode(w, cols, to, 0));
        if (rest) {
            unsigned char *lo = (unsigned char *)rest + r * stride;
            store_low(simd, w, cols, lo);
            memset(lo + 2 * cols, 0, stride - 2 * cols);
        }
    }
    if (n > 0 && row + n == rows)
        zero_head_padding(wire, rows, cols);
}

static void decode(const void *wire, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, float *w)
{
    const zo2_simd *simd = zo2_simd_get();
    for (uint64_t r = row; r < row + n; r++, w += cols)
        simd->bf12_decode(row_of(wire, rows, cols, r), cols, w);
}

/* A window that says it is wide all the same, which no encoder writes there, has its exponents from bytes that are there. */
static void decode_narrow(const void *wire, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, float *w)
{
    const zo2_simd *simd = zo2_simd_get();
    for (uint64_t r = row; r < row + n; r++, w += cols) {
        zo2_bf12_row from = row_of(wire, rows, cols, r);
        from.high = from.more;
        simd->bf12_decode(from, cols, w);
    }
}

/* Upper halves as floats become the masters. */
static void add_low(float *w, const unsigned char *lo, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        uint32_t u;
        uint16_t half;
        memcpy(&u, w + i, 4);
        memcpy(&half, lo + 2 * i, 2);
        u = zo2_bf16_join((uint16_t)(u >> 16), half);
        memcpy(w + i, &u, 4);
    }
}

static void join(const void *wire, const void *rest, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, float *w)
{
    const uint64_t stride = zo2_row_stride(cols, 2);
    decode(wire, rows, cols, row, n, w);
    for (uint64_t r = row; r < row + n; r++, w += cols)
        add_low(w, (const unsigned char *)rest + r * stride, cols);
}

static uint32_t update_row(const zo2_simd *simd, zo2_bf12_row row, unsigned char *lo, uint64_t cols, uint64_t first,
                           const zo2_updates *a)
{
    float w[PIECE];
    uint8_t before[2 * 256]; /* escapes of pieces that are still to come, whose places others take */
    uint32_t used = 0, most = 0;
    memcpy(before, row.escapes, 2 * row.room);
    for (uint64_t c = 0; c < cols; c += PIECE) {
        uint64_t n = cols - c < PIECE ? cols - c : PIECE;
        zo2_bf12_row from = at_column(row, c);
        from.escapes = before;
        simd->bf12_decode(from, n, w);
        add_low(w, lo + 2 * c, n);
        uint32_t here = simd->update_fp32(w, n, first + c, a);
        most = here > most ? here : most;
        used = simd->bf12_encode(w, n, at_column(row, c), used);
        store_low(simd, w, n, lo + 2 * c);
    }
    end_row(row, used);
    return most;
}

static uint32_t update(void *wire, void *rest, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, uint64_t first,
                       const zo2_updates *a)
{
    const zo2_simd *simd = zo2_simd_get();
    const uint64_t stride = zo2_row_stride(cols, 2);
    uint32_t most = 0;
    for (uint64_t r = 0; r < n; r++) {
        unsigned char *lo = (unsigned char *)rest + (row + r) * stride;
        uint32_t here = update_row(simd, row_of(wire, rows, cols, row + r), lo, cols, first + r * cols, a);
        most = here > most ? here : most;
    }
    return most;
}

static void copy_narrow(const void *src, uint64_t src_rows, uint64_t src_row, uint64_t cols, void *dst,
                        uint64_t dst_rows, uint64_t dst_row)
{
    zo2_bf12_row from = row_of(src, src_rows, cols, src_row), to = row_of(dst, dst_rows, cols, dst_row);
    memcpy(to.codes, from.codes, zo2_code_stride(cols, shape().bits));
    memcpy(to.more, from.more, zo2_code_stride(cols, shape().more));
    memcpy(to.base, from.base, zo2_head_bytes(cols));
    if (dst_row + 1 == dst_rows)
        zero_head_padding(dst, dst_rows, cols);
}

static void copy_row(const void *src, uint64_t src_rows, uint64_t src_row, uint64_t cols, void *dst, uint64_t dst_rows,
                     uint64_t dst_row)
{
    copy_narrow(src, src_rows, src_row, cols, dst, dst_rows, dst_row);
    memcpy(row_of(dst, dst_rows, cols, dst_row).high, row_of(src, src_rows, cols, src_row).high,
           zo2_code_stride(cols, shape().more));
}

static const zo2_codec narrow = {
    .id = ZO2_WIRE_BF12,
    .limit_bits = ZO2_BF16_LIMIT_BITS,
    .wire_bytes = narrow_bytes,
    .rest_bytes = rest_bytes,
    .decode = decode_narrow,
    .copy_row = copy_narrow,
};

const zo2_codec zo2_codec_bf12 = {
    .id = ZO2_WIRE_BF12,
    .limit_bits = ZO2_BF16_LIMIT_BITS,
    .wire_bytes = wire_bytes,
    .rest_bytes = rest_bytes,
    .sent_bytes = sent_bytes,
    .narrow = &narrow,
    .split = split,
    .join = join,
    .decode = decode,
    .copy_row = copy_row,
    .update = update,
};

/* codec.h: wire codecs. A chunk of a run's masters is held as two byte planes, `wire` and `rest`:
 *
 *     codec  wire (crosses the link)                       rest (stays in host memory)         bytes a weight
 *     fp32   the fp32 bits                                 nothing                             4
 *     bf16   hi = (u + 0x8000) >> 16 of the fp32 bits u    lo = u & 0xFFFF                     2 + 2
 *     e4m3   one byte codes, one bf16 scale per 128        the fp32 bits                       1.02 + 4
 *     e5m2   the same                                      the fp32 bits                       1.02 + 4
 *     fp16   halves                                        the fp32 bits                       2 + 4
 *     f10    codes in two planes, 8 and 2 bits, scales     the fp32 bits                       1.27 + 4
 *     f8     codes of a byte, scales                       the fp32 bits                       1.02 + 4
 *     f6     codes in two planes, 4 and 2 bits, scales     the fp32 bits                       0.77 + 4
 *     i4     codes of 4 bits, a scale per 32             the fp32 bits                       0.56 + 4
 *     bf12   hi of bf16, exponents in 4 bits; escapes      lo of bf16                          1.51 + 2
 *
 * join(wire, rest) gives the exact fp32 master back for every codec; decode(wire) what the forward passes see.
 * The layout of a chunk of rows x cols is fixed in CODECS.md; rows of codes are padded to 16 bytes with zeros.
 * What adding a codec takes: wires.h, the one list of them. */
#ifndef ZO2_CODEC_CODEC_H
#define ZO2_CODEC_CODEC_H

#include "codec/update.h"
#include "engine/zo2.h"

/* Shapes passed here are validated by the caller: rows, cols >= 1 and rows * cols < 2^40. */
typedef struct zo2_codec {
    zo2_wire id; /* its text: zo2_wire_name() */

    /* Bytes of the planes of a chunk of rows x cols. Both multiples of 16 (rest may be 0). The wire's are its room: what it
     * takes at most. */
    uint64_t (*wire_bytes)(uint64_t rows, uint64_t cols);
    uint64_t (*rest_bytes)(uint64_t rows, uint64_t cols);
    /* How many of those a wire that is there needs, from the first on: what crosses the link. NULL: all of them, whatever the
     * weights are. */
    uint64_t (*sent_bytes)(const void *wire, uint64_t rows, uint64_t cols);
    /* For wires of which sent_bytes() is known to be the least that it can be: a codec whose room that is, everything at the same
     * place. Nobody else's wire fits, so nothing is encoded there: it has no split(), join() and update(), and copy_row() takes rows of either.
     * NULL: there is no such room. */
    const struct zo2_codec *narrow;

    /* Stores w[n][cols] as rows [row, row + n) of a chunk of rows x cols. Disjoint row ranges may be stored
     * concurrently: no byte outside those rows is written. Values must be representable. rest NULL: the wire alone. */
    void (*split)(const float *w, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, void *wire, void *rest);

    /* The inverse: the exact values that split() was given. */
    void (*join)(const void *wire, const void *rest, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, float *w);

    /* What the wire alone says about rows [row, row + n). */
    void (*decode)(const void *wire, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, float *w);

    /* Copies the wire of row src_row of a chunk of src_rows rows to row dst_row of a chunk of dst_rows rows. */
    void (*copy_row)(const void *src, uint64_t src_rows, uint64_t src_row, uint64_t cols, void *dst, uint64_t dst_rows,
                     uint64_t dst_row);

    /* Brings rows [row, row + n) forward in one pass over the planes: the bits of join(), zo2_update_apply() and split().
     * `first` is the tensor's element at (row, column 0). Returns the largest magnitude as fp32 bits without sign (NaN
     * above infinity); if it is not below limit_bits, the wire is undefined. */
    uint32_t (*update)(void *wire, void *rest, uint64_t rows, uint64_t cols, uint64_t row, uint64_t n, uint64_t first,
                       const zo2_updates *a);

    /* fp32 bits of the magnitude from which on values can't be stored: infinity for fp32; for the others the first value
     * that the wire would say is infinite (rounded to bf16 or fp16, or the largest fp8 code times its scale). */
    uint32_t limit_bits;
} zo2_codec;

/* The codec of a wire, NULL for unknown numbers. */
const zo2_codec *zo2_codec_get(zo2_wire id);

/* 1 if every value can be stored: finite and below limit_bits in magnitude. */
int zo2_codec_representable(const zo2_codec *codec, const float *w, uint64_t n);

/* The fused pass of the update lane: brings rows [row, row + n) of a chunk's two planes forward, wire and rest in one
 * pass over memory. `first` is the index in the tensor of the element at (row, 0). Planes of fp32 values aligned as floats,
 * others anywhere; the two at different places within a page (CODECS.md, "Cost"). 1, or 0 if a value can't be stored: those
 * rows are then undefined. Disjoint rows may be updated concurrently. */
int zo2_update_chunk(const zo2_codec *codec, void *wire, void *rest, uint64_t rows, uint64_t cols, uint64_t row,
                     uint64_t n, uint64_t first, const zo2_updates *a);

/* Source bits (little-endian F32/F16/BF16, n values, any alignment) to fp32, exactly (signalling fp16 NaNs become quiet
 * ones); and fp32 rounded to nearest even into F16/BF16 (F32: copied). Overflow gives infinity as IEEE says. */
void zo2_source_decode(zo2_dtype dtype, const void *src, uint64_t n, float *dst);
void zo2_source_encode(zo2_dtype dtype, const float *src, uint64_t n, void *dst);
uint32_t zo2_dtype_bytes(zo2_dtype dtype); /* 0 for unknown ones */

/* Rounds values in place to what the type holds (nearest even; F32: nothing). */
void zo2_round_to(zo2_dtype dtype, float *w, uint64_t n);

/* Index of the first of n source values that isn't finite, n if all are. */
uint64_t zo2_first_nonfinite(zo2_dtype dtype, const void *bits, uint64_t n);

#endif

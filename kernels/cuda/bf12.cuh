/* bf12.cuh: weights of the bf12 wire (codec/bf12.h), in words of four bytes: mantissa and sign, and exponent. Escapes and wide windows
 * are put right in these words before anything becomes a float, by a function that is called: about one run of 8 in 1,000 has an
 * escape, and inlined it would cost all of them registers. */
#ifndef ZO2_KERNELS_CUDA_BF12_CUH
#define ZO2_KERNELS_CUDA_BF12_CUH

#include <stdint.h>

#include "codec/bf12.h"
#include "codec/rn.h"
#include "kernels/cuda/dialect.h"

/* A run of 8 as it is read: bytes of mantissa and sign, the first element's lowest in x, 4 bits of exponent in a byte each, and their
 * window's base. */
typedef struct zo2_bf12_run {
    uint2 low, codes;
    uint32_t base;
} zo2_bf12_run;

/* Two runs of a row; mantissa and sign, and exponents. */
typedef struct zo2_bf12_words {
    uint4 low, exponents;
} zo2_bf12_words;

/* Where what they don't say is: the escapes of their row, and how many have room there; in the last plane the 8 bytes of the first run, the second's `between` bytes
 * further on, of which theirs are the four bits from `shift` on. */
typedef struct zo2_bf12_row {
    const unsigned char *escapes, *high;
    uint32_t room, between, shift;
} zo2_bf12_row;

/* Four elements. The word returned has their exponents; in *low escapes replace what said where they are. */
__device__ static inline uint32_t zo2_bf12_mend_word(uint32_t *low, uint32_t codes, uint32_t base,
                                                     const unsigned char *high, const zo2_bf12_row &row)
{
    uint32_t v = *low;
#pragma unroll 1
    for (int i = 0; i < 4; i++) { /* the first one comes out at the top */
        uint32_t rest = v & 0xFF, exponent = codes & 0xFF, code = rest | (exponent + base) << 8;
        if (base == ZO2_BF12_WIDE)
            code = rest | (exponent | (high[i] >> row.shift & 15u) << 4) << 8;
        else if (exponent == ZO2_BF12_ESCAPE)
            code = zo2_bf12_escape(row.escapes, row.room, rest);
        v = v >> 8 | code << 24;
        codes = codes >> 8 | code >> 8 << 24;
    }
    *low = v;
    return codes;
}

/* Runs of any kind: short, not fast. */
__device__ ZO2_CALLED static zo2_bf12_words zo2_bf12_mend(zo2_bf12_run first, zo2_bf12_run second, zo2_bf12_row row)
{
    zo2_bf12_words w = {{first.low.x, first.low.y, second.low.x, second.low.y},
                        {first.codes.x, first.codes.y, second.codes.x, second.codes.y}};
#pragma unroll 1
    for (int i = 0; i < 4; i++) {
        uint32_t low = w.low.x;
        uint32_t exponents = zo2_bf12_mend_word(&low, w.exponents.x, i < 2 ? first.base : second.base, row.high, row);
        w.low = {w.low.y, w.low.z, w.low.w, low};
        w.exponents = {w.exponents.y, w.exponents.z, w.exponents.w, exponents};
        row.high += i == 1 ? row.between - 4 : 4;
    }
    return w;
}

/* Not 0 if the run has an escape: a bit of each. */
__device__ static inline uint32_t zo2_bf12_escapes(const zo2_bf12_run &r)
{
    return ((r.codes.x + 0x01010101u) | (r.codes.y + 0x01010101u)) & 0x10101010u;
}

/* Four elements, each of which has its sign lowest and rotates it to the top. */
__device__ static inline void zo2_bf12_word(uint32_t low, uint32_t exponents, float w[4])
{
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t bits = __byte_perm(low, exponents, 0x4000u + 0x1111u * i);
        w[i] = zo2_bits_float((bits >> 1 | bits << 31) & 0xFFFF0000u);
    }
}

/* Two runs, of which the second may be zeros. */
__device__ static inline void zo2_bf12_read(const zo2_bf12_run &first, const zo2_bf12_run &second,
                                            const zo2_bf12_row &row, float w[16])
{
    uint32_t base = first.base * 0x01010101u, base2 = second.base * 0x01010101u;
    zo2_bf12_words v = {{first.low.x, first.low.y, second.low.x, second.low.y},
                        {first.codes.x + base, first.codes.y + base, second.codes.x + base2, second.codes.y + base2}};
    /* bases of which not one says wide may do so together, but not those of weights below 2: it costs time, no more */
    if ((zo2_bf12_escapes(first) | zo2_bf12_escapes(second)) || (first.base | second.base) == ZO2_BF12_WIDE)
        v = zo2_bf12_mend(first, second, row);
    zo2_bf12_word(v.low.x, v.exponents.x, w);
    zo2_bf12_word(v.low.y, v.exponents.y, w + 4);
    zo2_bf12_word(v.low.z, v.exponents.z, w + 8);
    zo2_bf12_word(v.low.w, v.exponents.w, w + 12);
}

#endif

/* group_scale.h: the scale that a group of weights shares, C and CUDA: the smallest bf16 that lets none of them exceed what the
 * format's codes reach. CODECS.md, "Scales". */
#ifndef ZO2_CODEC_GROUP_SCALE_H
#define ZO2_CODEC_GROUP_SCALE_H

#include "codec/hd.h"
#include "codec/rn.h"

#define ZO2_MIN_SCALE 0x0080u /* 2^-126, the smallest normal bf16 */

/* Smallest bf16 whose product with `max`, a format's largest value, is at least the magnitude amax (fp32 bits, finite); at least 2^-126.
 * max has at most 8 significant bits. */
ZO2_HD uint32_t zo2_group_scale(float max, uint32_t amax_bits)
{
    float amax = zo2_bits_float(amax_bits);
    uint32_t scale = (zo2_float_bits(zo2_div(amax, max)) + 0xFFFFu) >> 16;
    scale = scale < ZO2_MIN_SCALE ? ZO2_MIN_SCALE : scale;
    /* the quotient may have been rounded down onto a bf16; max * scale is exact (8 significant bits times 8) */
    return scale + (zo2_mul(zo2_bits_float(scale << 16), max) < amax);
}

#endif

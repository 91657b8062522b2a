/* normal.h: two uniform 32-bit words to two standard normals, by Box-Muller of fp32 add, mul, fma, IEEE sqrt and
 * integer operations only: the same bits in scalar and vector code and on every device. Branch-free, so that a loop
 * over it vectorises. Absolute error against the exact functions of the same words below 1e-6; |z| <= 6.7638. Part of
 * noise version 1: no constant here may ever change. CODECS.md, "Normals". */
#ifndef ZO2_CODEC_NORMAL_H
#define ZO2_CODEC_NORMAL_H

#include "codec/hd.h"
#include "codec/rn.h"

/* sqrt(-2 ln u) with u = (a + 0.5) 2^-32 in (0, 1). Words above one half are handled through 1 - u: rounding u itself
 * to fp32 would cost the small radii all their digits (and give radius 0 to 128 words). */
ZO2_HD float zo2_normal_radius(uint32_t a)
{
    /* p = u below one half, u - 1 above it: to 24 significant bits, never 0, |p| in [2^-33, 0.5] */
    float p = zo2_fma((float)(int32_t)a, 0x1p-32f, 0x1p-33f);
    float x = p > 0 ? p : zo2_add(1.0f, p);
    /* x = 2^e m, m in [sqrt(1/2), sqrt(2)); e = 0 happens only for p < 0, where m - 1 = p is known exactly */
    int32_t i = (int32_t)zo2_float_bits(x);
    int32_t e = (i - 0x3F3504F3) >> 23;
    float m = zo2_bits_float((uint32_t)i - ((uint32_t)e << 23));
    float t = e == 0 ? p : zo2_sub(m, 1.0f);
    /* s = -2 ln u = -2 ln 2 e - 2 t + t^2 q(t); q minimax for the relative error of ln(1 + t) */
    float q = -0x1.6fcdaap-3f;
    q = zo2_fma(q, t, 0x1.27766ep-2f);
    q = zo2_fma(q, t, -0x1.30d14ep-2f);
    q = zo2_fma(q, t, 0x1.52fb08p-2f);
    q = zo2_fma(q, t, -0x1.98da1ep-2f);
    q = zo2_fma(q, t, 0x1.0006c6p-1f);
    q = zo2_fma(q, t, -0x1.5556e8p-1f);
    q = zo2_fma(q, t, 0x1.fffff4p-1f);
    float s = zo2_fma(zo2_mul(t, t), q, zo2_mul(-2.0f, t));
    return zo2_sqrt_bounded(zo2_fma((float)e, -0x1.62e43p0f, s)); /* of a value in [2^-33, 46] */
}

/* A point on the unit circle from a word: with y = ((b mod 2^30 as a signed 30-bit number) + 0.5) 2^-29 in (-1, 1) the
 * point (cos(pi/4 y), sin(pi/4 y)); bit 31 mirrors the cosine, then bit 30 swaps the two. */
ZO2_HD void zo2_normal_direction(uint32_t b, float *first, float *second)
{
    float y = zo2_fma((float)(int32_t)(b << 2), 0x1p-31f, 0x1p-30f);
    float v = zo2_mul(y, y);
    float s = -0x1.2d9bb8p-15f;
    s = zo2_fma(s, v, 0x1.465ec6p-9f);
    s = zo2_fma(s, v, -0x1.4abbbap-4f);
    s = zo2_fma(s, v, 0x1.921fb6p-1f);
    s = zo2_mul(s, y);
    float c = 0x1.d9f7b8p-19f;
    c = zo2_fma(c, v, -0x1.55c664p-12f);
    c = zo2_fma(c, v, 0x1.03c1dep-6f);
    c = zo2_fma(c, v, -0x1.3bd3ccp-2f);
    c = zo2_fma(c, v, 1.0f);
    c = zo2_bits_float(zo2_float_bits(c) ^ (b & 0x80000000u));
    *first = b & 0x40000000u ? s : c;
    *second = b & 0x40000000u ? c : s;
}

ZO2_HD void zo2_normal_pair(uint32_t a, uint32_t b, float *z0, float *z1)
{
    float r = zo2_normal_radius(a), first, second;
    zo2_normal_direction(b, &first, &second);
    *z0 = zo2_mul(r, first);
    *z1 = zo2_mul(r, second);
}

#endif

/* update_inline.h: the update and the perturbation of one element, C and CUDA: the CPU's update lane, the decode kernel
 * that folds pending updates and replay all use these, so they agree bit for bit. CODECS.md, "Update".
 *
 *     v = zo2_update_begin(d, w);  for q in order: v = zo2_update_query(c[q], z[q], v);  w = zo2_update_end(w, v);
 *
 * One rounding into w per step: 1 - d rounds to 1 in fp32 at MeZO's learning rates, so d is never factored out of the
 * sum. */
#ifndef ZO2_CODEC_UPDATE_INLINE_H
#define ZO2_CODEC_UPDATE_INLINE_H

#include "codec/hd.h"
#include "codec/rn.h"

ZO2_HD float zo2_update_begin(float d, float w)
{
    return zo2_mul(d, w);
}
ZO2_HD float zo2_update_query(float c, float z, float v)
{
    return zo2_fma(c, z, v);
}
ZO2_HD float zo2_update_end(float w, float v)
{
    return zo2_sub(w, v);
}

ZO2_HD float zo2_perturb_one(float w, float z, float eps)
{
    return zo2_fma(eps, z, w);
}

#endif

/* update.h: the weight update and the perturbation, the two uses of noise. One definition per element (update_inline.h,
 * C and CUDA), the loops over many elements behind a run-time choice of instruction set. All of them give the same
 * bits. */
#ifndef ZO2_CODEC_UPDATE_H
#define ZO2_CODEC_UPDATE_H

#include "engine/zo2.h"

/* One step's update as the journal has it. A skipped step has no zo2_update at all (-0 - (-0) would lose a sign). */
typedef struct zo2_update {
    uint64_t key; /* zo2_noise_key(seed, step) */
    float d;      /* (float)(lr * wd); used for tensors that decay, 0 is taken for the others */
    uint32_t queries;
    float c[ZO2_MAX_QUERIES]; /* (float)(lr * g_q / Q) */
} zo2_update;

/* What a range of a tensor's elements has to take: updates u[0..count) in order. */
typedef struct zo2_updates {
    uint32_t tensor_id;
    zo2_dist dist;
    int decays; /* 0: d counts as 0 */
    const zo2_update *u;
    uint32_t count;
} zo2_updates;

/* Philox key of a step: a 64-bit mix of (seed, step), bijective in step for each seed. CODECS.md, "Noise". */
uint64_t zo2_noise_key(uint64_t seed, uint64_t step);

/* z of elements [first, first + n) of a tensor into out[n]. Any first, any float address: the values do not depend on
 * the cut. */
void zo2_noise_values(float *out, uint64_t key, uint32_t query, uint32_t tensor_id, uint64_t first, uint64_t n,
                      zo2_dist dist);

/* Applies u[0..count) in order to w[n], elements [first, first + n) of a tensor:
 *     v = d * w;  for each query q: v = fmaf(c_q, z_q, v);  w = w - v         (d = 0 unless decays)
 * In place. Used by the update lane, by folding in decode and by replay, so all of them agree bit for bit. */
void zo2_update_apply(float *w, uint64_t n, uint64_t first, uint32_t tensor_id, zo2_dist dist, int decays,
                      const zo2_update *u, uint32_t count);

/* plus[i] = w[i] + eps z[i], minus[i] = w[i] - eps z[i], each one fmaf (fmaf(eps, z, w), fmaf(-eps, z, w)). plus may be
 * w itself; minus may be NULL. */
void zo2_perturb(const float *w, uint64_t n, uint64_t first, uint32_t tensor_id, zo2_dist dist, uint64_t key,
                 uint32_t query, float eps, float *plus, float *minus);

/* The instruction sets the loops are built for, best first; names "avx512", "avx2", "scalar". zo2_simd_select(NULL)
 * chooses the best this machine has (also done on first use); a name forces one, for tests: 0 if it can't run here. Not
 * thread-safe against the above. */
const char *zo2_simd_current(void);
int zo2_simd_select(const char *name);

#endif

/* simd.c: which instruction set the loops run on, and the functions of update.h that hand over to it. */
#include "codec/simd.h"

#include <stdatomic.h>
#include <string.h>

#include "codec/noise_inline.h"

static const zo2_simd *const tables[] = {
#ifndef ZO2_NO_X86_SIMD
    &zo2_simd_avx512, &zo2_simd_avx2,
#endif
    &zo2_simd_scalar, /* last: runs everywhere */
};
enum { TABLES = sizeof tables / sizeof tables[0] };

/* The library's one mutable global: a cache of a pure function of the CPU, every thread would store the same pointer.
 * Results don't depend on it. */
static _Atomic(const zo2_simd *) chosen;

static int runs_here(const zo2_simd *t)
{
#ifndef ZO2_NO_X86_SIMD
    /* the builtin also asks whether the system saves the registers */
    if (t == &zo2_simd_avx512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (t == &zo2_simd_avx2) /* every CPU with AVX2 and FMA has F16C, which older compilers can't ask for */
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return t == &zo2_simd_scalar;
}

int zo2_simd_select(const char *name)
{
    for (int i = 0; i < TABLES; i++) {
        if ((name == NULL || strcmp(name, tables[i]->name) == 0) && runs_here(tables[i])) {
            atomic_store_explicit(&chosen, tables[i], memory_order_relaxed);
            return 1;
        }
    }
    return 0;
}

const zo2_simd *zo2_simd_get(void)
{
    const zo2_simd *t = atomic_load_explicit(&chosen, memory_order_relaxed); /* the tables themselves are constant */
    if (t == NULL) {
        zo2_simd_select(NULL);
        t = atomic_load_explicit(&chosen, memory_order_relaxed);
    }
    return t;
}

const char *zo2_simd_current(void)
{
    return zo2_simd_get()->name;
}

uint64_t zo2_noise_key(uint64_t seed, uint64_t step)
{
    return zo2_noise_key_inline(seed, step);
}

void zo2_noise_values(float *out, uint64_t key, uint32_t query, uint32_t tensor_id, uint64_t first, uint64_t n,
                      zo2_dist dist)
{
    zo2_simd_get()->noise_values(out, key, query, tensor_id, first, n, dist);
}

void zo2_update_apply(float *w, uint64_t n, uint64_t first, uint32_t tensor_id, zo2_dist dist, int decays,
                      const zo2_update *u, uint32_t count)
{
    zo2_updates a = {.tensor_id = tensor_id, .dist = dist, .decays = decays, .u = u, .count = count};
    zo2_simd_get()->update_fp32(w, n, first, &a);
}

void zo2_perturb(const float *w, uint64_t n, uint64_t first, uint32_t tensor_id, zo2_dist dist, uint64_t key,
                 uint32_t query, float eps, float *plus, float *minus)
{
    zo2_simd_get()->perturb(w, n, first, tensor_id, dist, key, query, eps, plus, minus);
}

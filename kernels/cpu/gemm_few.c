/* gemm_few.c: which instruction set gemm_few.h's products run on. */
#include "kernels/cpu/gemm_few.h"

#include <stddef.h>
#include <string.h>

#ifndef ZO2_NO_X86_SIMD
/* What the files are compiled for; the builtin also asks whether the system saves the registers. */
static int has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

zo2_gemm_few zo2_gemm_few_get(const char *name)
{
#ifndef ZO2_NO_X86_SIMD
    if ((!name || !strcmp(name, "avx512")) && has_avx512())
        return zo2_gemm_few_avx512;
    if ((!name || !strcmp(name, "avx2")) && has_avx2())
        return zo2_gemm_few_avx2;
#endif
    (void)name;
    return NULL;
}

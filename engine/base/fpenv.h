/* fpenv.h: the floating-point environment is pinned (round to nearest, no flush to zero) on worker threads and at every
 * public entry that computes, and given back on return: the caller's MXCSR must not change our bits, nor we his. */
#ifndef ZO2_ENGINE_BASE_FPENV_H
#define ZO2_ENGINE_BASE_FPENV_H

#include <fenv.h>

static inline void zo2_fpenv_pin(fenv_t *saved)
{
    fegetenv(saved);
    fesetenv(FE_DFL_ENV);
}

static inline void zo2_fpenv_restore(const fenv_t *saved)
{
    fesetenv(saved);
}

#endif

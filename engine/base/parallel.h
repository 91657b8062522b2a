/* parallel.h: threads to work on, as everyone below the pool sees them: the pool is one, and tests make others. */
#ifndef ZO2_ENGINE_BASE_PARALLEL_H
#define ZO2_ENGINE_BASE_PARALLEL_H

#include <stdint.h>

/* run() calls fn(arg, i) for every i in [0, n), handing i out in rising order, at most `threads` at once and one of them on
 * the caller's thread, and returns when all are done. Which thread gets which i is unspecified. Zeroed: the caller's thread
 * alone. */
typedef struct zo2_parallel {
    void *ud;
    uint32_t threads; /* that may run at once, the caller's included */
    void (*run)(void *ud, uint64_t n, void (*fn)(void *arg, uint64_t i), void *arg);
} zo2_parallel;

#endif

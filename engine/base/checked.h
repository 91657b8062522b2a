/* checked.h: arithmetic on sizes. Those from files are hostile until checked: the functions with `out` return 1 and set it,
 * or 0 on overflow. */
#ifndef ZO2_ENGINE_BASE_CHECKED_H
#define ZO2_ENGINE_BASE_CHECKED_H

#include <stdint.h>

static inline int zo2_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

static inline int zo2_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

/* Rounds up to a multiple of `to` (a power of two). The caller knows that a + to does not overflow. */
static inline uint64_t zo2_round_up(uint64_t a, uint64_t to)
{
    return (a + to - 1) & ~(to - 1);
}

static inline uint64_t zo2_max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline uint64_t zo2_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

#endif

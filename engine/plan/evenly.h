/* evenly.h: chunks that get something there isn't enough of, spread evenly along an order, so that between two that go without
 * there are others to work on. */
#ifndef ZO2_ENGINE_PLAN_EVENLY_H
#define ZO2_ENGINE_PLAN_EVENLY_H

#include <stdint.h>

/* Sizes are counted in some unit that keeps total * total below 2^64. */
typedef struct zo2_evenly {
    uint64_t total;      /* that all would take together */
    uint64_t have;       /* that there is */
    uint64_t seen, kept; /* 0 at first */
} zo2_evenly;

/* The next one takes n: 1 if it gets them, which is if the share of what was seen that is kept stays within have / total. */
static inline int zo2_evenly_next(zo2_evenly *e, uint64_t n)
{
    uint64_t have = e->have < e->total ? e->have : e->total;
    e->seen += n;
    if (!n || (e->kept + n) * e->total > have * e->seen)
        return 0;
    e->kept += n;
    return 1;
}

#endif

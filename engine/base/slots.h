/* slots.h: numbers for the tasks that run at the same time, so that each has scratch memory of its own although no task
 * knows its thread. What a slot's memory holds is undefined when it is taken: it can't change a result. */
#ifndef ZO2_ENGINE_BASE_SLOTS_H
#define ZO2_ENGINE_BASE_SLOTS_H

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct zo2_slots {
    uint32_t n;
    atomic_flag *taken; /* [n] */
} zo2_slots;

/* n: the most tasks that may run at once. 0 if there is no memory. Zeroed is fine for free. */
static inline int zo2_slots_create(zo2_slots *s, uint32_t n)
{
    s->n = n;
    s->taken = malloc(n * sizeof *s->taken);
    for (uint32_t i = 0; s->taken && i < n; i++)
        atomic_flag_clear(&s->taken[i]);
    return s->taken != NULL;
}

static inline void zo2_slots_free(zo2_slots *s)
{
    free(s->taken);
    s->taken = NULL;
}

/* Thread-safe. Ends because there are as many slots as tasks. */
static inline uint32_t zo2_slots_take(zo2_slots *s)
{
    uint32_t i = 0;
    while (atomic_flag_test_and_set_explicit(&s->taken[i], memory_order_acquire))
        i = i + 1 < s->n ? i + 1 : 0;
    return i;
}

static inline void zo2_slots_give(zo2_slots *s, uint32_t i)
{
    atomic_flag_clear_explicit(&s->taken[i], memory_order_release);
}

#endif

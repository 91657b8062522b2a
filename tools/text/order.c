/* order.c: see order.h. */
#include "tools/text/order.h"

#include <stdlib.h>

#define WORDS 256 /* drawn at a time */

struct zo2t_order {
    uint64_t n, seed, epoch;
    int ready;          /* permutation is epoch's */
    uint64_t next_word; /* of the epoch */
    uint32_t *permutation;
    float z[WORDS * 64];
};

zo2_status zo2t_order_open(zo2t_order **out, uint64_t n, uint64_t seed)
{
    *out = NULL;
    if (n < 1 || n > UINT32_MAX)
        return zo2_error(ZO2_ERR_ARG, "an order of %llu examples: 1 to 4294967295 are possible", (unsigned long long)n);
    zo2t_order *o = calloc(1, sizeof *o);
    if (o)
        o->permutation = malloc((size_t)n * sizeof *o->permutation);
    if (!o || !o->permutation) {
        zo2t_order_close(o);
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the order of %llu examples", (unsigned long long)n);
    }
    o->n = n;
    o->seed = seed;
    *out = o;
    return ZO2_OK;
}

void zo2t_order_close(zo2t_order *o)
{
    if (!o)
        return;
    free(o->permutation);
    free(o);
}

static zo2_status word(zo2t_order *o, uint64_t *out)
{
    uint64_t slot = o->next_word % WORDS;
    if (!slot) {
        zo2_status s = zo2_noise_fill(o->z, o->seed, o->epoch, 0, ZO2T_ORDER_TENSOR, o->next_word * 64, WORDS * 64,
                                      ZO2_RADEMACHER);
        if (s)
            return s;
    }
    uint64_t w = 0;
    for (unsigned j = 0; j < 64; j++)
        w |= (uint64_t)(o->z[slot * 64 + j] < 0) << j;
    o->next_word++;
    *out = w;
    return ZO2_OK;
}

/* Uniform in [0, m), m >= 1. */
static zo2_status draw(zo2t_order *o, uint64_t m, uint64_t *out)
{
    uint64_t reject = -m % m; /* 2^64 mod m: that many words at the top would favour small results */
    uint64_t w;
    do {
        zo2_status s = word(o, &w);
        if (s)
            return s;
    } while (w > UINT64_MAX - reject);
    *out = w % m;
    return ZO2_OK;
}

static zo2_status shuffle(zo2t_order *o, uint64_t epoch)
{
    o->ready = 0;
    o->epoch = epoch;
    o->next_word = 0;
    for (uint64_t i = 0; i < o->n; i++)
        o->permutation[i] = (uint32_t)i;
    for (uint64_t i = o->n - 1; i > 0; i--) {
        uint64_t j;
        zo2_status s = draw(o, i + 1, &j);
        if (s)
            return s;
        uint32_t swap = o->permutation[i];
        o->permutation[i] = o->permutation[j];
        o->permutation[j] = swap;
    }
    o->ready = 1;
    return ZO2_OK;
}

zo2_status zo2t_order_at(zo2t_order *o, uint64_t position, uint64_t *example)
{
    uint64_t epoch = position / o->n;
    if (!o->ready || o->epoch != epoch) {
        zo2_status s = shuffle(o, epoch);
        if (s)
            return s;
    }
    *example = o->permutation[position % o->n];
    return ZO2_OK;
}

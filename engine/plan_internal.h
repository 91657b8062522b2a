/* plan_internal.h: what the files of the planner share: plan.c decides, plan_layout.c lays out, plan_times.c predicts. */
#ifndef ZO2_ENGINE_PLAN_INTERNAL_H
#define ZO2_ENGINE_PLAN_INTERNAL_H

#include "engine/plan.h"

/* How a plan is cut; everything else follows from shape and architecture. */
typedef struct zo2_plan_cut {
    uint64_t chunk_bytes;
    uint64_t ring_chunks;    /* of the largest chunk, beyond what is held */
    int staged;              /* residual streams wait in host memory */
    uint64_t resident_bytes; /* of wires that stay on the device */
} zo2_plan_cut;

/* Offsets and sizes of the arena and of the engine's host buffers, and p->pub's parts of them. p->hold is set. */
void zo2_plan_lay_out(zo2_full_plan *p, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s,
                      const zo2_plan_cut *cut);

/* Traffic, and with rates the times, the bottleneck and what would be faster. */
void zo2_plan_predict(zo2_full_plan *p, const zo2_arch *a, const zo2_shape *s, const zo2_rates *r);

static inline uint64_t zo2_max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline uint64_t zo2_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline int zo2_is_head(const zo2_arch *a, const zo2_tensor *t)
{
    return t->role == ZO2_ROLE_LM_HEAD || (a->tied && t->role == ZO2_ROLE_EMBED_TOKENS);
}

/* A matrix whose tiles go up. Embedding tables that are only gathered from never do. */
static inline int zo2_is_streamed(const zo2_arch *a, const zo2_tensor *t)
{
    return t->rank == 2 && t->role != ZO2_ROLE_EMBED_POSITIONS && (t->role != ZO2_ROLE_EMBED_TOKENS || a->tied);
}

#endif

/* plan_internal.h: what the files of the planner share: plan.c decides, plan_layout.c lays out, plan_times.c predicts,
 * plan_propose.c looks for something faster. */
#ifndef ZO2_ENGINE_PLAN_PLAN_INTERNAL_H
#define ZO2_ENGINE_PLAN_PLAN_INTERNAL_H

#include "engine/plan/plan.h"

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

/* The plan for a shape, without rates: cut, laid out, with what stays resident. *fits: within the device budget. */
zo2_status zo2_plan_fit(zo2_full_plan *out, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s,
                        int *fits);

/* Host memory of a plan beside the masters. */
uint64_t zo2_plan_host_rest(const zo2_full_plan *p, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s);

/* The shape with other numbers of rows. */
zo2_shape zo2_shape_resized(const zo2_shape *s, uint64_t rows, uint64_t micro);
/* Largest micro-batch of a batch of `rows` rows that fits the device budget; 0: none. */
uint64_t zo2_plan_largest_micro(const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s, uint64_t rows);

/* Predicted seconds of a step. */
typedef struct zo2_times {
    double update, upload, compute;     /* of the lanes */
    double update_noise, compute_noise; /* of them, spent on making z */
    double step;                        /* the longest lane, or their sum where they share the host's cores */
} zo2_times;
zo2_times zo2_plan_times(const zo2_full_plan *p, const zo2_arch *a, const zo2_shape *s, const zo2_rates *r,
                         uint32_t pending);

/* Traffic, and with rates (may be NULL) times and the bottleneck. */
void zo2_plan_predict(zo2_full_plan *p, const zo2_arch *a, const zo2_shape *s, const zo2_rates *r);

/* What would be faster: p->pub's proposals. p is predicted. */
zo2_status zo2_plan_propose(zo2_full_plan *p, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s,
                            const zo2_rates *r);

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

/* plan_internal.h: what the files of the planner share: plan_fit.c decides, plan_arena.c lays out, plan_spill.c finds
 * places for masters, plan_times.c predicts, plan_propose.c looks for something faster, plan.c puts it together. */
#ifndef ZO2_ENGINE_PLAN_PLAN_INTERNAL_H
#define ZO2_ENGINE_PLAN_PLAN_INTERNAL_H

#include "engine/model/arch.h"
#include "engine/plan/plan_types.h"
#include "kernels/backend.h"

/* Offsets and sizes of the arena and of the engine's host buffers, and p->pub's parts of them. p->hold is set. */
void zo2_plan_lay_out(zo2_full_plan *p, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s,
                      const zo2_plan_cut *cut);

/* The plan for a shape, without rates: cut, laid out, with what stays resident. *fits: within the device budget. */
zo2_status zo2_plan_fit(zo2_full_plan *out, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s,
                        int *fits);

/* The same, and where the masters live: p->spill, and what the host needs. stored_as: aliased tensors, may be NULL. Whether the
 * host's budget is enough for p->pub.host_peak_bytes is the caller's to ask. */
zo2_status zo2_plan_place(zo2_full_plan *out, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s,
                          const uint32_t *stored_as, int *fits);

/* Bytes that a step writes to the spill on average with K pending. */
double zo2_plan_written(const zo2_full_plan *p, uint32_t pending);

/* Host memory of a plan beside the masters and what they pass through. */
uint64_t zo2_plan_host_rest(const zo2_full_plan *p, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s);

/* The shape with other numbers of rows. */
zo2_shape zo2_shape_resized(const zo2_shape *s, uint64_t rows, uint64_t micro);
/* Largest micro-batch of a batch of `rows` rows that fits the device budget; 0: none. */
uint64_t zo2_plan_largest_micro(const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s, uint64_t rows);
/* Largest batch that fits it with micro-batches of one row, up to `rows` rows; 0: none. */
uint64_t zo2_plan_largest_batch(const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s, uint64_t rows);

/* Seconds of a step that don't depend on its batch: the longest of updates, uploads, and what the directories of a spill do. */
double zo2_times_beside(const zo2_times *t);

/* Traffic, and with rates (may be NULL) times and the bottleneck. */
void zo2_plan_predict(zo2_full_plan *p, const zo2_arch *a, const zo2_shape *s, const zo2_rates *r);

/* What would be faster: p->pub's proposals. p is predicted. */
zo2_status zo2_plan_propose(zo2_full_plan *p, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s,
                            const uint32_t *stored_as, const zo2_rates *r);

#endif

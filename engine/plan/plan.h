/* plan.h: where every byte goes, before one moves. The engine runs by this very plan: device buffers are the offsets
 * computed here, and the arena has exactly this size. */
#ifndef ZO2_ENGINE_PLAN_PLAN_H
#define ZO2_ENGINE_PLAN_PLAN_H

#include "engine/model/arch.h"
#include "engine/plan/plan_types.h"
#include "kernels/backend.h"

/* Plans. stored_as: aliased tensors (masters.h), may be NULL. rates NULL: times and proposals stay 0.
 * ZO2_ERR_NOMEM with the smallest budget and the largest micro-batch or batch that work in the message if a budget in
 * `shape` is too small; *out is filled all
 * the same. */
zo2_status zo2_plan_make(zo2_full_plan *out, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *shape,
                         const uint32_t *stored_as, const zo2_rates *rates);

/* The smallest K with which a step of this shape writes no more than its write_budget to the spill. ZO2_ERR_ARG: there is none; the
 * message has the least that is possible. */
zo2_status zo2_plan_budget_pending(uint32_t *pending, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s,
                                   const uint32_t *stored_as);

/* The compute type of a run that isn't told: fp32 on the cpu, else the checkpoint's own 16-bit type (fp16 for fp32 ones). */
zo2_dtype zo2_default_compute(const zo2_arch *a, const zo2_backend_ops *be);

/* Resolves the sizes in o (zeros) for an architecture: shape from options. Asks no device. */
zo2_status zo2_shape_from_opts(zo2_shape *out, const zo2_arch *a, const zo2_backend_ops *be, const zo2_engine_opts *o);

/* Takes what the backend's device says of itself into the shape: its context and, if no budget was given, 90 % of what is free.
 * Returns it for what opens next; the caller closes it. NULL: there is none (then open() says why; a plan can do without), or
 * nothing to ask. */
zo2_device *zo2_shape_ask_device(zo2_shape *shape, const zo2_backend_ops *be);

#endif

/* settings_list.h: the numeric settings of a run, each said once. They fix a run's bits, so the journal's header stores them, a
 * resume takes them from there, and other values are refused by name.
 *
 * A row X(field, type, kind, name, valid, fault, set, fallback, text):
 *
 *     field     of zo2_run_settings, of the journal's header (journal_format.h, RUN.md) and of zo2_engine_opts
 *     type      in zo2_run_settings
 *     kind      U64, U32, F64 (stored as bits), ENUM (stored as u32) or FIRST (an ENUM whose first value, 1, is stored as 0)
 *     name      the tools' flag, for messages
 *     valid     whether a header may have it: an expression of s, the settings
 *     fault     what is wrong when it isn't
 *     set       whether a caller gave it: an expression of o, the options (zo2.h says how a field is left unset)
 *     fallback  what a new run has when nobody gave it: an expression of o, of the settings s resolved so far, and of `compute`, the
 *               backend's own type
 *     text      zo2_<text>_name() is the name of a value, for an ENUM; else none
 *
 * Settings are resolved in this order, so a row may look at those above it. One that is new takes bytes of the header that
 * are reserved today, hence zero in the journals there are: zero must stand for what runs did without the setting. */
#ifndef ZO2_STORAGE_RUN_SETTINGS_LIST_H
#define ZO2_STORAGE_RUN_SETTINGS_LIST_H

#define ZO2_DEFAULT_LR    1e-6
#define ZO2_DEFAULT_EPS   1e-3
#define ZO2_DEFAULT_STEPS 20000u /* of a schedule whose end the caller doesn't say */

// clang-format off
#define ZO2_RUN_SETTINGS(X) \
    X(schedule, zo2_schedule, ENUM, "lr-schedule", s->schedule >= ZO2_CONSTANT && s->schedule <= ZO2_COSINE, \
      "unknown schedule", o->schedule != 0, ZO2_CONSTANT, schedule) \
    X(dist, zo2_dist, ENUM, "dist", zo2_dist_name(s->dist) != NULL, \
      "unknown distribution", o->dist != 0, ZO2_GAUSSIAN, dist) \
    X(wire, zo2_wire, ENUM, "wire", zo2_wire_name(s->wire) != NULL, \
      "unknown wire codec", o->wire != 0, ZO2_WIRE_BF16, wire) \
    X(frozen_wire, zo2_wire, ENUM, "frozen-wire", zo2_wire_name(s->frozen_wire) != NULL, \
      "unknown wire codec of frozen matrices", o->frozen_wire != 0, s->wire, wire) \
    X(compute, zo2_dtype, ENUM, "compute", zo2_dtype_name(s->compute) != NULL, \
      "unknown compute type", o->compute != 0, compute, dtype) \
    X(backend, zo2_backend_kind, ENUM, "backend", s->backend >= ZO2_BACKEND_CPU && s->backend <= ZO2_BACKEND_NULL, \
      "unknown backend", o->backend != 0, o->backend, backend) \
    X(seed, uint64_t, U64, "seed", 1, "", o->seed_set || o->seed, 0, none) \
    X(warmup, uint64_t, U64, "warmup", 1, "", o->warmup != UINT64_MAX, 0, none) \
    X(queries, uint32_t, U32, "queries", s->queries >= 1 && s->queries <= ZO2_MAX_QUERIES, \
      "number of queries out of range", o->queries != 0, 1, none) \
    X(pending, uint32_t, U32, "pending", s->pending <= ZO2_MAX_PENDING, \
      "number of pending updates out of range", o->pending >= 0, 0, none) \
    X(micro_batch, uint32_t, U32, "micro-batch", s->micro_batch >= 1, \
      "micro-batch of no examples", o->micro_batch != 0, UINT32_MAX, none) \
    X(total_steps, uint64_t, U64, "steps", (s->schedule == ZO2_CONSTANT) == !s->total_steps, \
      "a constant schedule has no total of steps, the others need one", \
      s->schedule != ZO2_CONSTANT && o->total_steps != 0, s->schedule == ZO2_CONSTANT ? 0 : ZO2_DEFAULT_STEPS, none) \
    X(lr, double, F64, "lr", isfinite(s->lr) && s->lr >= 0, \
      "lr is not a finite number >= 0", !isnan(o->lr), ZO2_DEFAULT_LR, none) \
    X(eps, double, F64, "eps", isfinite(s->eps) && s->eps > 0, \
      "eps is not a finite number > 0", !isnan(o->eps), ZO2_DEFAULT_EPS, none) \
    X(weight_decay, double, F64, "weight-decay", isfinite(s->weight_decay) && s->weight_decay >= 0, \
      "weight decay is not a finite number >= 0", !isnan(o->weight_decay), 0, none) \
    X(clip, double, F64, "clip", isfinite(s->clip) && s->clip >= 0, \
      "clip is not a finite number >= 0", !isnan(o->clip), 0, none) \
    X(tune_rotate, uint32_t, U32, "tune-rotate", 1, "", o->tune_rotate != 0, 0, none) \
    X(tune_order, zo2_tune_order, FIRST, "tune-order", s->tune_order >= ZO2_ORDER_TOP && s->tune_order <= ZO2_ORDER_RANDOM, \
      "unknown order of the groups that take turns", o->tune_order != 0, ZO2_ORDER_TOP, tune_order) \
    X(trunk_type, zo2_dtype, FIRST, "trunk-type", s->trunk_type == ZO2_F32 || s->trunk_type == ZO2_BF16, \
      "the trunk's results are kept as fp32 or bf16", o->trunk_type != 0, ZO2_F32, dtype)
// clang-format on

#endif

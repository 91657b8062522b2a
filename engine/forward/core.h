/* core.h: everything that one streaming pass needs, put together: backend, arena by the plan, layouts, programs, lanes,
 * masters, history. The engine adds the run directory; the null-backend test uses the core alone. */
#ifndef ZO2_ENGINE_FORWARD_CORE_H
#define ZO2_ENGINE_FORWARD_CORE_H

#include "engine/base/pool.h"
#include "engine/forward/batch.h"
#include "engine/forward/forward.h"
#include "engine/forward/trunk_rows.h"
#include "engine/masters/history.h"
#include "engine/masters/masters.h"
#include "engine/method/probe.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "engine/plan/plan_types.h"
#include "engine/plan/resident.h"
#include "engine/stream/lanes.h"
#include "engine/stream/pipeline.h"
#include "engine/stream/program.h"
#include "engine/stream/trace.h"
#include "kernels/backend.h"
#include "storage/io/aio.h"
#include "storage/io/io.h"
#include "storage/pack/packfile.h"
#include "storage/run/journal.h"
#include "storage/spill/spill.h"

typedef struct zo2_core {
    const zo2_arch *arch;
    const zo2_backend_ops *ops;
    zo2_shape shape;
    zo2_full_plan plan;
    zo2_dist dist;
    uint64_t seed;
    float eps;
    uint32_t pending, micro_batch;
    zo2_pool *pool;
    zo2_device *device; /* that be was opened on, NULL: be has its own, or needs none */
    zo2_backend *be;
    zo2_event *gathered[4], *computed[2], *staged[2];
    zo2_layout layout, exact; /* the run's wire; the fp32 wire for evaluation at the masters */
    zo2_program train, wire, exact_program;
    uint8_t *moves; /* [n_tensors]: in this step; NULL: all do, in every step */
    zo2_trunk_rows trunk;
    zo2_resident resident; /* of layout */
    zo2_pipeline *pipe;
    uint8_t *staging; /* host buffers by plan.host, registered */
    float *logprob;   /* in it: [streams][loss tokens], of the last pass */
    zo2_packed packed;
    uint32_t micro_from, micro_to; /* of the packed batch, what is computed here; zo2_core_pack(): all of it */
    int has_masters;
    int staging_registered, masters_registered, buffers_registered;
    zo2_masters masters;
    zo2_spill *spill; /* where some of them live; NULL: all in RAM, or without files */
    zo2_history history;
    atomic_int abort;
    zo2_progress_fn progress;
    void *progress_ud;
    zo2_head_observer observer; /* tests */
    void *observer_ud;
    zo2_tracer tracer;
    zo2_lane_seconds update, upload, compute, read; /* of the last pass */
    zo2_lane_seconds write;                         /* up to its end, from that of the pass before on */
    uint64_t read_bytes, written_bytes;             /* the same */
    /* The upload lane reports between steps, too. */
    _Atomic uint64_t step;                      /* of the last pass that began */
    _Atomic uint64_t device_ns[ZO2_LANE_COUNT]; /* since the last pass by the device's clock, where it has one */
} zo2_core;

/* Masters that spill, where the plan's host budget has no room for them. All of it outlives the core. */
typedef struct zo2_core_spill {
    uint64_t run; /* names the files (spill.h); 0: there are none, the pack has it all */
    const char *const *dirs;
    const double *share; /* [n_dirs]: of the chunks, in new files; NULL: equal */
    uint32_t n_dirs;
    int writable;
    const zo2_io *io;
    zo2_aio_choice aio;
    const zo2_packfile *pack;
    uint64_t most_step; /* that a version may have */
    int begins;         /* the run has no journal yet */
    zo2_spill_history_fn chain;
    const void *chain_ud;
    zo2_log_fn log;
    void *log_ud;
} zo2_core_spill;

typedef struct zo2_core_config {
    const zo2_arch *arch; /* outlives the core */
    const zo2_backend_ops *ops;
    zo2_shape shape;
    const uint32_t *stored_as;        /* aliased tensors, NULL: none */
    const zo2_run_settings *settings; /* dist, seed, eps, pending, micro_batch, wire, compute */
    int with_masters;                 /* 0: sizes only (null backend) */
    const zo2_core_spill *spill;      /* NULL: masters stay in RAM */
    const zo2_core_trunk *trunk;      /* NULL: nothing is kept of the trunk */
    zo2_device *device; /* that was asked for the shape, NULL: none; the core's from now on, also after a failure */
} zo2_core_config;

/* Plans, allocates, starts threads. The masters' values are undefined and the history is empty. On failure nothing is
 * left. */
zo2_status zo2_core_create(zo2_core *c, const zo2_core_config *config);
void zo2_core_destroy(zo2_core *c); /* zeroed is fine */

/* Registers the memory of the masters' RAM and of spilled planes' buffers with the backend, once it is filled: pinning touches every page. Where that
 * can't be had, wires are uploaded through the staging from now on; returns 0 then (zo2_last_error() has the reason), else 1. */
int zo2_core_register_masters(zo2_core *c);

/* The pass of step t over the packed batch's micro-batches [micro_from, micro_to), at least one: log-probabilities into c->logprob,
 * [streams of the plan][losses of the batch], undefined in other micro-batches. Neither the plan's streams nor the range changes a bit
 * of what is computed. The history has t steps. */
zo2_status zo2_core_train_pass(zo2_core *c, const zo2_probe_plan *probes);
/* Of the packed batch's trunk alone, whose rows are kept. Nothing where nothing is kept, or all of it is. */
zo2_status zo2_core_warm_pass(zo2_core *c);
/* The unperturbed one, [1][losses], of any number of micro-batches; weights: ZO2_PASS_WIRE or ZO2_PASS_EXACT. */
zo2_status zo2_core_eval_pass(zo2_core *c, zo2_pass_weights weights);
/* Checks and packs a batch against the plan: c->packed. */
zo2_status zo2_core_pack(zo2_core *c, const zo2_batch *b);
/* Reports what the lanes do from the next pass on; fn NULL: no more. */
void zo2_core_trace(zo2_core *c, zo2_trace_fn fn, void *ud);

#endif

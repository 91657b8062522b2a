/* plan_types.h: what a plan depends on (shape, rates) and what it is made of: byte offsets on the device and in host memory. */
#ifndef ZO2_ENGINE_PLAN_PLAN_TYPES_H
#define ZO2_ENGINE_PLAN_PLAN_TYPES_H

#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "engine/plan/resident.h"
#include "engine/plan/tiers.h"

/* What the plan depends on, all defaults resolved. */
typedef struct zo2_shape {
    uint32_t streams;      /* of a step, or 1 when the engine only evaluates */
    uint32_t groups;       /* of them: decodings of every wire */
    uint32_t panels;       /* of a decoding */
    uint64_t tokens;       /* most tokens of a micro-batch that are computed: a row's last one predicts nothing */
    uint64_t batch_tokens; /* of a batch */
    uint64_t loss_tokens;  /* most loss tokens of a batch */
    uint64_t loss_micro;   /* of a micro-batch */
    uint64_t max_keys;     /* of the longest row */
    uint64_t seq;          /* tokens of the longest row as given */
    int micro_batched;     /* a batch may hold several micro-batches */
    zo2_wires wires;
    zo2_dtype compute;
    uint32_t tile_rule;
    uint32_t threads;
    uint64_t chunk_bytes;   /* as asked; 0 = the planner chooses */
    uint64_t device_bytes;  /* 0: the smallest */
    uint64_t host_bytes;    /* 0: no limit */
    const char *host_limit; /* where it comes from; NULL: it was given */
    uint64_t context_bytes; /* the device's, beside the arena: asked, or assumed */
    uint32_t pending;
    uint32_t queries;
    zo2_dist dist;
    uint64_t chunk_most;   /* where the planner chooses chunks: none larger; 0: as the backend likes them */
    uint32_t spill_dirs;   /* that masters may spill to; 0: all stay in RAM */
    uint64_t write_budget; /* most bytes that a step may write there; 0: no limit */
    zo2_turns turns;       /* of groups of tensors, where they take some */
    uint64_t trunk_row;    /* bytes of a token in the trunk's cache; 0: there is no trunk */
    uint64_t trunk_cache;  /* most bytes of it; 0: there is none */
} zo2_shape;

/* How long the wire of a chunk stays on the device. */
typedef enum zo2_hold {
    ZO2_HOLD_CHUNK, /* until it is decoded: one query, one micro-batch */
    ZO2_HOLD_TILE,  /* until the last query has decoded its tile */
    ZO2_HOLD_BLOCK, /* until the last micro-batch is through the block */
} zo2_hold;

/* Byte offsets in the device arena. Three phases (embedding, layers, head) share the region from `phase` on. */
typedef struct zo2_device_offsets {
    int staged;               /* residual streams of waiting micro-batches are in host memory */
    uint64_t residual;        /* fp32 [micro-batch][streams][tokens][hidden]; staged: two micro-batches' */
    uint64_t residual_stride; /* bytes between those two */
    uint64_t vectors;         /* fp32 [streams][vectors of a block] */
    uint64_t vector_stride;   /* floats */
    uint64_t lse;             /* zo2_lse [streams][loss tokens] */
    uint64_t logprob;         /* fp32 [streams][loss tokens] */
    uint64_t index;           /* u32 [loss tokens]: token of the micro-batch that predicts */
    uint64_t target;          /* u32 [loss tokens] */
    uint64_t row_target;      /* u32 [loss tokens]: which of the head's rows that move it is, UINT32_MAX: none */
    uint64_t skip;            /* u32 [zo2_skip_words()]: bits of rows of the vocabulary that are among those */
    uint64_t rope; /* fp32 [max_keys][head_dim]: cosines and sines of rotary positions (engine/model/rope.h), if the
                                 model has them; as with all that it hasn't, nothing */
    uint64_t rope_positions; /* its rows: max_keys, or 0 */
    uint64_t rope_rows;      /* u32 [tokens of a batch]: each token's row of that table */
    uint64_t panels;         /* [1 or 2][panel_stride] */
    uint64_t panel_stride;   /* bytes */
    uint64_t ring, ring_bytes;
    uint64_t resident, resident_bytes; /* wires that stay (resident.h) */
    uint64_t phase;
    /* embedding phase */
    uint64_t refs;      /* zo2_row_ref [tokens] */
    uint64_t rows;      /* wire of the gathered embedding rows */
    uint64_t positions; /* wire of the gathered positions */
    uint64_t embedded;  /* [streams][tokens][embed_dim], with project_in only */
    /* layers */
    uint64_t norm; /* [streams][tokens][max(hidden, columns of attention)] */
    uint64_t wide; /* [streams][tokens][arch.wide] */
    uint64_t lora; /* [streams][tokens][rank of adapters] */
    uint64_t workspace, workspace_bytes;
    /* head */
    uint64_t gathered;  /* fp32 [streams][loss tokens of a micro-batch][hidden] */
    uint64_t hidden;    /* [streams][loss tokens][hidden] */
    uint64_t projected; /* [streams][loss tokens][embed_dim], with project_out only */
    uint64_t logits;    /* fp32 [1 or 2][loss_micro][TN of the head] */
    uint64_t bytes;     /* of the arena */
} zo2_device_offsets;

/* Of a bit for each row of the vocabulary, where some of them move by themselves. */
static inline uint64_t zo2_skip_words(const zo2_arch *a)
{
    return a->n_rows ? (a->vocab + 31ull) / 32 : 0;
}

#define ZO2_ROPE_PIECE 256u /* rows of the table of rotary positions that are uploaded at a time */

/* Byte offsets in the engine's own host buffers: one mapping, registered with the backend as a whole. */
typedef struct zo2_host_offsets {
    uint32_t gather_sets; /* 2 if a batch may hold several micro-batches */
    uint64_t gather;      /* sets of: refs and wire of a micro-batch's embedding rows, refs and wire of its positions */
    uint64_t gather_set_bytes;          /* of one set */
    uint64_t gather_positions;          /* where in a set the second half begins */
    uint64_t index, target, row_target; /* u32 [loss tokens], as on the device */
    uint64_t skip;                      /* the same */
    uint64_t rope;      /* fp32 [ZO2_ROPE_PIECE][head_dim]: part of the table, if the model has rotary positions */
    uint64_t rope_rows; /* u32 [tokens of a batch], as on the device */
    uint64_t logprob;   /* fp32 [streams][loss tokens] */
    uint64_t trunk;     /* fp32 [tokens of a batch][hidden]: rows where the trunk ends, if they are kept */
    uint64_t residual, residual_bytes; /* staged: fp32 [micro-batch][streams][tokens][hidden] */
    uint64_t ring,
        ring_bytes; /* a mirror of the device's, or of its beginning: exact values, and wires that can't be registered */
    uint64_t bytes;
} zo2_host_offsets;

/* Where masters live that may spill, for the host budget that there is. */
typedef struct zo2_spill_plan {
    int wires_first;      /* RAM goes to wires before it goes to whole chunks */
    uint64_t plane_bytes; /* of RAM for planes: what zo2_placement_choose() is given, with wires_first */
    /* For planes that pass through, each as large as the largest of its kind, in whole pages: read ahead, in use, or waiting to be
     * written. None where everything is in RAM. */
    uint32_t wire_buffers, rest_buffers;
    uint64_t wire_buffer_bytes, rest_buffer_bytes; /* of one */
    uint64_t buffer_bytes;                         /* of all */
    zo2_tiers tiers;                               /* what that comes to */
} zo2_spill_plan;

typedef struct zo2_full_plan {
    zo2_plan pub;
    zo2_device_offsets device;
    zo2_host_offsets host;
    /* With directories to spill to: for whole chunks first, and for wires first, which is better from K =
     * wires_first_pending on; zo2_plan_spill() has the one for a K. */
    zo2_spill_plan spill[2];
    uint32_t wires_first_pending;
    uint64_t chunk_bytes;    /* chosen */
    uint64_t resident_spare; /* bytes that zo2_resident_choose() was given */
    zo2_resident_sum resident;
    zo2_hold hold;
} zo2_full_plan;

/* Measured or assumed speeds of this machine, per second. */
typedef struct zo2_rates {
    double update_weights; /* one query: noise, update and encode, all threads */
    double noise_weights;  /* noise alone, of weights in the cache, all threads; 0: not measured */
    double upload_bytes;
    double flops;                   /* GEMM */
    double decode_weights;          /* one query, both panels, nothing pending */
    double frozen_decode_weights;   /* the same of frozen matrices' wire; 0: as decode_weights */
    double fold_weights;            /* one pending update of one query, beside the decode; 0: not told apart */
    int shared;                     /* lanes share the host's cores: their times add up */
    double seconds;                 /* that measuring took */
    double read_bytes, write_bytes; /* of all directories that masters spill to; 0: not known */
} zo2_rates;

const zo2_spill_plan *zo2_plan_spill(const zo2_full_plan *p, uint32_t pending);

/* How a plan is cut; everything else follows from shape and architecture. */
typedef struct zo2_plan_cut {
    uint64_t chunk_bytes;
    uint64_t ring_chunks;    /* of the largest chunk, beyond what is held */
    uint64_t staging_chunks; /* the same in the host's mirror of the ring */
    int staged;              /* residual streams wait in host memory */
    uint64_t resident_bytes; /* of wires that stay on the device */
} zo2_plan_cut;

/* Predicted seconds of a step. filled: it has all of its lines from the trunk's cache. */
typedef struct zo2_times {
    double update, upload, compute;     /* of the lanes */
    double read, write;                 /* of those that work on the spill; 0: nothing spills, or nobody knows */
    double update_noise, compute_noise; /* of them, spent on making z */
    double step;                        /* the longest lane, or their sum where they share the host's cores or drives */
} zo2_times;
zo2_times zo2_plan_times(const zo2_full_plan *p, const zo2_arch *a, const zo2_shape *s, const zo2_rates *r,
                         uint32_t pending, int filled);

#endif

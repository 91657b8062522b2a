/* export_values.h: where the values of an export come from: a pack, the steps of a run or bundle on top of it, and the run's spill
 * or a snapshot where one serves. They come in groups of rows. Private to engine/export. */
#ifndef ZO2_ENGINE_EXPORT_EXPORT_VALUES_H
#define ZO2_ENGINE_EXPORT_EXPORT_VALUES_H

#include "engine/base/job_error.h"
#include "engine/base/pool.h"
#include "engine/masters/history.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "storage/run/snapshot.h"
#include "storage/spill/spill.h"

typedef struct zo2_export_values {
    /* the caller's, set before opening */
    const char *pack_path;
    const zo2_export_opts *o;
    zo2_status (*report)(void *arg, uint64_t bytes); /* now and then in a group: of its result as good as done */
    void *arg;

    zo2_pack *pack;
    zo2_arch arch; /* the pack's, as the run or bundle tunes it */
    zo2_run *run;  /* NULL: the pack as it is, a bundle, or a snapshot without its journal */
    zo2_history history;
    uint64_t steps;         /* to replay */
    uint32_t queries;       /* of a step; 0: nothing to replay with */
    zo2_layout layout;      /* of the run: the spill's chunks, the snapshot's units */
    zo2_spill *spill;       /* NULL: none that serves */
    zo2_snapfile *snapshot; /* the same; never both */
    zo2_pool *pool;

    /* the group in work: elements [first, first + n) of t */
    const zo2_tensor *t;
    zo2_dtype from, to;
    uint64_t first, n;
    double told; /* what is reported of a group's bytes: 1, or less of what is only a part of what is written */
    int decode;  /* this pass takes the source bits; else values are there already */
    uint64_t step_from, step_to; /* steps of this pass over it */
    zo2_job_error error;         /* of reading it: ZO2_JOB_ERROR_INIT */
    unsigned char *source, *result;
    float *values;
    uint64_t *bad; /* [pieces] first element of a piece that the result can't hold, UINT64_MAX if none */
} zo2_export_values;

/* Elements of a group at most, unless a chunk of the pack or of the run is larger. */
#define ZO2_EXPORT_GROUP ((uint64_t)8 << 20)

/* How chunks are cut where no spill says it: any size will do, units don't depend on it. */
#define ZO2_EXPORT_CHUNK_BYTES ((uint64_t)4 << 20)

/* Tells the caller how much of an export is done. ZO2_ERR_CANCELLED: it had enough. */
zo2_status zo2_export_progress(const zo2_export_values *v, uint64_t done, uint64_t total);

/* Opens pack and run, looks for a spill or a snapshot, makes the buffers. On failure it is to be closed too. */
zo2_status zo2_export_values_open(zo2_export_values *v);
void zo2_export_values_close(zo2_export_values *v); /* zeroed is fine */

/* Of opening: v->steps, v->layout and v->snapshot of the newest snapshot in v->o->snapshot_dir that is whole without a
 * journal. ZO2_ERR_NOTFOUND: none is; why goes to the log. */
zo2_status zo2_export_open_snapshot(zo2_export_values *v);

/* Of opening: v->steps and v->history of v->o->bundle, which belongs to v->pack. */
zo2_status zo2_export_open_bundle(zo2_export_values *v);

/* Of opening, for v->steps steps of v->run: v->spill and v->layout from the run's spill; a spill that isn't there, or is in use, is
 * told through log, and left out. */
zo2_status zo2_export_open_spill(zo2_export_values *v);
/* Elements that a group of it has at most. */
uint64_t zo2_export_spill_most(const zo2_export_values *v);
/* Rows of the group that begins at a row: chunks of one unit that are at the same step there, or aren't there. */
uint64_t zo2_export_spill_rows(const zo2_export_values *v, const zo2_tensor *t, uint64_t row);
/* *taken: the values of the group in work are v->values, those of step *from; else it has to come from the pack: it isn't there, or
 * is damaged, which is told. */
zo2_status zo2_export_take_from_spill(zo2_export_values *v, int *taken, uint64_t *from);

/* The type that a tensor has in the pack; fp32: the run added it. */
zo2_dtype zo2_export_values_source(const zo2_export_values *v, const zo2_tensor *t);

/* Rows of the group that begins at a row of a tensor. */
uint64_t zo2_export_values_rows(const zo2_export_values *v, const zo2_tensor *t, uint64_t row);

/* Bits in type `to` of such a group; valid until the next call. ZO2_ERR_NONFINITE
 * names the first value that isn't finite or that the type can't hold. */
zo2_status zo2_export_values_group(zo2_export_values *v, const zo2_tensor *t, zo2_dtype to, uint64_t row, uint64_t rows,
                                   const void **bits);

#endif

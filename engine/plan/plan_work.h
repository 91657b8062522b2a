/* plan_work.h: what a step has to do, from shape and architecture: operations, decodings, updates, bytes. Where groups of tensors
 * take turns, the average of a round. */
#ifndef ZO2_ENGINE_PLAN_PLAN_WORK_H
#define ZO2_ENGINE_PLAN_PLAN_WORK_H

#include "engine/model/arch.h"
#include "engine/plan/plan_types.h"

typedef struct zo2_work {
    double updated;   /* weights, of each query */
    double perturbed; /* weights that are decoded with noise, for each query */
    double late;      /* of `plain`, those that updates may be pending of */
    double plain;     /* weights that are decoded at W, once for all streams */
    double flops;     /* of products, attention's included */
    double moving, frozen,
        trunk;            /* bytes of wires that are uploaded: of what moves; of what doesn't, above and in the trunk */
    double staged_blocks; /* whose residual streams, all of them, go out if they have to wait in host memory */
    double cached;        /* bytes of the trunk's rows that are uploaded in its stead */
} zo2_work;

/* filled: all lines of the step are in the trunk's cache. */
zo2_work zo2_plan_work(const zo2_arch *a, const zo2_shape *s, int filled);

#endif

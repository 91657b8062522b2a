/* place.h: which part of a tensor of a checkpoint is which part of one of ours. Checkpoints store several of our tensors in
 * one (fused), or one of ours in several (the shards of tensor parallelism), so a place is a rectangle on either side. */
#ifndef ZO2_ENGINE_MODEL_PLACE_H
#define ZO2_ENGINE_MODEL_PLACE_H

#include "engine/model/arch.h"
#include "storage/checkpoint/checkpoint.h"

/* As place.tensor: the head of a model that ties it. It is no tensor of ours but must be the embedding's equal. */
#define ZO2_TIED_HEAD (ZO2_NO_TENSOR - 1)

/* Vectors are matrices of one row on both sides. A stored tensor ends with the last row and column that a place takes of
 * it. */
typedef struct zo2_place {
    uint32_t tensor;             /* ours */
    uint64_t rows, cols;         /* of the rectangle */
    uint64_t from_row, from_col; /* in the stored tensor */
    uint64_t row, col;           /* in ours */
    uint64_t from_step; /* of the stored tensor every which row, from from_row on; 0 and 1: one behind the other */
} zo2_place;

/* Place number i (0, 1, ...) of a stored tensor; 0 when it has no more. A tensor without any is none of the model's. */
typedef int (*zo2_place_fn)(const zo2_arch *a, const zo2_stored *t, uint32_t i, zo2_place *out);

#endif

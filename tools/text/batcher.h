/* batcher.h: batches for the engine from a data set, in order.h's order for training, the file's for evaluation. */
#ifndef ZO2_TOOLS_TEXT_BATCHER_H
#define ZO2_TOOLS_TEXT_BATCHER_H

#include "tools/text/dataset.h"

typedef struct zo2t_batcher zo2t_batcher;

/* The data set must outlive the batcher. On failure *out is NULL. One caller at a time. */
zo2_status zo2t_batcher_open_train(zo2t_batcher **out, const zo2t_dataset *d, uint64_t seed);
zo2_status zo2t_batcher_open_eval(zo2t_batcher **out, const zo2t_dataset *d);
void zo2t_batcher_close(zo2t_batcher *b); /* NULL is fine */

/* Fills *out with the examples at positions [position, position + lines), rows padded right to the longest of them.
 * Training: any position, running across the ends of epochs. Evaluation: positions are example numbers, the batch is
 * shorter at the end of the file (out->data_position tells), ZO2_ERR_ARG past it. out->data_position = the position
 * after the last example, where the next batch begins. examples, example and label are set for options only. Padding
 * has token 0, mask 0 and no loss. The arrays are the batcher's until the next call. ZO2_ERR_ARG: no lines, 2^32 rows
 * or more. */
zo2_status zo2t_batcher_fill(zo2t_batcher *b, uint64_t position, uint64_t lines, zo2_batch *out);

#endif

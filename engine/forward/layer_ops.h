/* layer_ops.h: the operations that a family's layers are put together from. All of them work on every stream of the pass. */
#ifndef ZO2_ENGINE_FORWARD_LAYER_OPS_H
#define ZO2_ENGINE_FORWARD_LAYER_OPS_H

#include "engine/forward/batch.h"
#include "engine/forward/forward.h"
#include "engine/model/arch.h"
#include "kernels/backend.h"

/* y = layer norm of the fp32 rows x: [streams][m][n]; gamma, beta NULL: 1 and 0. y may be x. */
zo2_status zo2_layer_norm(zo2_forward_pass *f, uint64_t m, uint64_t n, zo2_act x, const float *gamma, const float *beta,
                          zo2_act y);

/* Row i of y is row index[i] (NULL: i) of the fp32 rows x, in y's type: [streams][m][n]. */
zo2_status zo2_convert_rows(zo2_forward_pass *f, uint64_t m, uint64_t n, zo2_act x, const uint32_t *index, zo2_act y);

/* y = act((x W^T + b) * scale) in columns [column, column + rows of W) of y; or y += x W^T + b. m rows in each stream. */
zo2_status zo2_linear(zo2_forward_pass *f, zo2_role w, zo2_role b, uint32_t layer, uint64_t m, zo2_act x, zo2_act y,
                      uint64_t column, int accumulate, float scale, zo2_activation act);

/* out = attention of the micro-batch's tokens over q, k and v, which lie side by side in qkv: [streams][tokens][3 columns], out has
 * zo2_attention_columns(). q is scaled already. */
zo2_status zo2_attention(zo2_forward_pass *f, const zo2_micro *mb, zo2_act qkv, zo2_act out);

#endif

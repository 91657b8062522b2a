/* layer_ops.h: the operations that a family's layers are put together from. All of them work on every stream of the pass. */
#ifndef ZO2_ENGINE_FORWARD_LAYER_OPS_H
#define ZO2_ENGINE_FORWARD_LAYER_OPS_H

#include "engine/forward/batch.h"
#include "engine/forward/forward.h"
#include "engine/model/arch.h"
#include "kernels/operations.h"

/* y = layer norm of the fp32 rows x: [streams][m][n]; gamma, beta NULL: 1 and 0. y may be x. */
zo2_status zo2_layer_norm(zo2_forward_pass *f, uint64_t m, uint64_t n, zo2_act x, const float *gamma, const float *beta,
                          zo2_act y);

/* y = RMS norms of the rows x: [streams][m][groups][n] of x's type, each group by itself and all with the n values of gamma. y may
 * be x. */
zo2_status zo2_rms_norm(zo2_forward_pass *f, uint64_t m, uint64_t n, uint32_t groups, zo2_act x, const float *gamma,
                        zo2_act y);

/* Row i of y is row index[i] (NULL: i) of the fp32 rows x, in y's type: [streams][m][n]. */
zo2_status zo2_convert_rows(zo2_forward_pass *f, uint64_t m, uint64_t n, zo2_act x, const uint32_t *index, zo2_act y);

/* y = act((x W^T + b) * scale) in columns [column, column + rows of W) of y; or y += x W^T + b. m rows in each stream. */
zo2_status zo2_linear(zo2_forward_pass *f, zo2_role w, zo2_role b, uint32_t layer, uint64_t m, zo2_act x, zo2_act y,
                      uint64_t column, int accumulate, float scale, zo2_activation act);

/* Turns each of the heads in the first columns of x by the angles of its token's position, and scales it. The model has
 * rotary positions. */
zo2_status zo2_rotate(zo2_forward_pass *f, const zo2_micro *mb, uint32_t heads, zo2_act x, float scale);

/* y = act(y) * up. Both are [streams][m][n] with one ld and stride. */
zo2_status zo2_gate(zo2_forward_pass *f, uint64_t m, uint64_t n, zo2_act y, zo2_act up, zo2_activation act);

/* out = attention of the micro-batch's tokens over q, k and v, which lie side by side in qkv: [streams][tokens][zo2_attention_columns()
 * and twice zo2_kv_columns()], out has zo2_attention_columns(). q is scaled already. */
zo2_status zo2_attention(zo2_forward_pass *f, const zo2_micro *mb, zo2_act qkv, zo2_act out);

/* x from a column on: part of what lies side by side. */
static inline zo2_act zo2_columns_from(const zo2_forward_pass *f, zo2_act x, uint64_t column)
{
    x.p += column * zo2_element_bytes(f, x.type);
    return x;
}

#endif

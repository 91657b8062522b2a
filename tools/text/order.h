/* order.h: in which order training draws its examples.
 *
 * Epoch e of n examples is a Fisher-Yates shuffle of 0 .. n-1 that depends on (seed, e, n) only:
 *
 *     z(i)   = zo2_noise_fill(seed, step = e, query = 0, tensor_id = 0xFFFFFFFF, first = i, Rademacher): +1 or -1
 *     w(k)   = 64-bit word number k: bit j (0 = least) is 1 where z(64 k + j) is -1: the Philox bits themselves
 *     draw(m): takes the next word w, k = 0, 1, 2, ...; if w < 2^64 - (2^64 mod m) the result is w mod m, else it draws
 *              again: each of 0 .. m-1 is exactly as likely
 *     p = (0, 1, ..., n-1); for i = n-1 down to 1: j = draw(i + 1), swap p[i], p[j]
 *
 * The tensor_id, which no tensor has, keeps these bits apart from every perturbation's. Position q of the data, counted
 * over all epochs from 0, is example p[q mod n] of epoch q / n, so a run needs to remember one number. */
#ifndef ZO2_TOOLS_TEXT_ORDER_H
#define ZO2_TOOLS_TEXT_ORDER_H

#include "engine/zo2.h"

#define ZO2T_ORDER_TENSOR UINT32_C(0xFFFFFFFF)

typedef struct zo2t_order zo2t_order;

/* An order of n examples, 1 <= n < 2^32 (ZO2_ERR_ARG). On failure *out is NULL. One caller at a time. */
zo2_status zo2t_order_open(zo2t_order **out, uint64_t n, uint64_t seed);
void zo2t_order_close(zo2t_order *o); /* NULL is fine */

/* The example at a position. The permutation of one epoch is kept: positions are cheap within an epoch, a change of
 * epoch takes O(n). */
zo2_status zo2t_order_at(zo2t_order *o, uint64_t position, uint64_t *example);

#endif

/* tiles.h: the parts that a matrix product and the head are made of. Private to this folder. */
#ifndef ZO2_ENGINE_FORWARD_TILES_H
#define ZO2_ENGINE_FORWARD_TILES_H

#include "engine/forward/forward.h"
#include "engine/method/probe.h"
#include "engine/model/layout.h"
#include "engine/plan/plan_types.h"
#include "engine/stream/pipeline.h"
#include "kernels/operations.h"

/* Waits for the chunk at a pc of the program; reports progress, and may be cancelled there. */
zo2_status zo2_tile_fetch(zo2_forward_pass *f, uint32_t pc, zo2_sent_wire *wire);

/* How far a tensor's values in a group's panels are from W: sign times eps, 0 for all where the tensor doesn't move. */
void zo2_group_eps(const zo2_forward_pass *f, const zo2_probe_group *g, uint32_t tensor, float eps[ZO2_MAX_PANELS]);

/* Decodes the rows of one span for the streams of a group: the first one's to `to`, the next `stride` bytes behind it. */
zo2_status zo2_decode_span(zo2_forward_pass *f, uint32_t chunk, const zo2_span *s, zo2_sent_wire wire,
                           const zo2_probe_group *g, uint8_t *to, uint64_t stride, zo2_dtype type);

/* Decodes a tile into the panels of a group and lets go of its wire where nobody needs it again. */
zo2_status zo2_tile_decode(zo2_forward_pass *f, uint32_t unit, const zo2_probe_group *g, zo2_hold hold);

/* The product of m rows of each stream of a group with a tile's panels; operands x and y are still to be set. */
zo2_gemm_op zo2_tile_gemm(const zo2_forward_pass *f, const zo2_probe_group *g, const zo2_unit *u, uint64_t cols,
                          uint64_t m);
zo2_status zo2_tile_multiply(const zo2_forward_pass *f, uint32_t unit, const zo2_gemm_op *op);

/* Units of a matrix: [first, end). */
uint32_t zo2_units_end(const zo2_layout *l, uint32_t first);

#endif

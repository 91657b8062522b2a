/* tiles.h: the parts that a matrix product and the head are made of. Private to this folder. */
#ifndef ZO2_ENGINE_FORWARD_TILES_H
#define ZO2_ENGINE_FORWARD_TILES_H

#include "engine/forward/forward.h"
#include "engine/model/layout.h"
#include "engine/plan/plan_types.h"
#include "engine/stream/pipeline.h"
#include "kernels/backend.h"

/* Waits for the chunk at a position of the program; reports progress, and may be cancelled there. */
zo2_status zo2_tile_fetch(zo2_forward_pass *f, uint32_t position, zo2_sent_wire *wire);

/* Decodes the rows of one span for query q: into plus and, in a perturbed pass, minus. */
zo2_status zo2_decode_span(zo2_forward_pass *f, uint32_t chunk, const zo2_span *s, zo2_sent_wire wire, uint32_t q,
                           void *plus, void *minus, zo2_dtype type);

/* Decodes a tile for query q into the two panels and lets go of its wire where nobody needs it again. */
zo2_status zo2_tile_decode(zo2_forward_pass *f, uint32_t unit, uint32_t q, zo2_hold hold);

/* Number of streams that one product serves. */
uint32_t zo2_tile_pair(const zo2_forward_pass *f);
/* The product of m rows with a tile's panels; operands x and y are still to be set. */
zo2_gemm_op zo2_tile_gemm(const zo2_forward_pass *f, const zo2_unit *u, uint64_t cols, uint64_t m);
zo2_status zo2_tile_multiply(const zo2_forward_pass *f, uint32_t unit, const zo2_gemm_op *op);

/* Units of a matrix: [first, end). */
uint32_t zo2_units_end(const zo2_layout *l, uint32_t first);

#endif

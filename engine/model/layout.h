/* layout.h: how a model's tensors are cut. Units are what a run fixes: panel tiles of matrices (TN rows) and one group
 * of all vectors a block; pending updates and snapshots go by unit. Chunks are what a session chooses: consecutive
 * whole rows inside one unit, the piece that is updated and uploaded at once; cutting differently never changes a bit.
 * Spans are the rows of one tensor in a chunk. */
#ifndef ZO2_ENGINE_MODEL_LAYOUT_H
#define ZO2_ENGINE_MODEL_LAYOUT_H

#include "codec/codec.h"
#include "engine/model/arch.h"

/* Version of the rule behind zo2_tile_rows(), stored in runs: what a new run gets. Older ones stay, for runs that have them. */
#define ZO2_TILE_RULE 2
/* Version of the rule which tensors decay (matrices and embeddings do, biases and norms do not), stored in runs. */
#define ZO2_DECAY_SET 1

/* The wires of a run's tensors: one of those that move, one of the frozen. A type of its own, so that whoever needs a tensor's codec
 * can't hand on one wire and forget the other. */
typedef struct zo2_wires {
    zo2_wire moving, frozen;
} zo2_wires;

/* One for all of them. */
static inline zo2_wires zo2_one_wire(zo2_wire wire)
{
    return (zo2_wires){.moving = wire, .frozen = wire};
}

typedef struct zo2_span {
    uint32_t tensor;
    uint64_t row, rows, cols; /* rows [row, row + rows) of the tensor */
    const zo2_codec *codec;
    uint64_t wire_at, rest_at; /* byte offsets in the chunk's planes */
    uint64_t element_at;       /* first of its values in the unit (dense fp32), for snapshots */
} zo2_span;

typedef struct zo2_chunk {
    uint32_t unit;
    uint32_t first_span, n_spans;
    uint64_t wire_bytes, rest_bytes; /* room of the planes; multiples of 256: planes and ring slots stay aligned */
} zo2_chunk;

typedef struct zo2_unit {
    uint32_t block;
    uint32_t tensor; /* ZO2_NO_TENSOR: all vectors of the block */
    uint32_t tile;   /* global index of a panel tile in canonical order, the i of the pending schedule */
    uint64_t row, rows;
    uint64_t elements;
    uint32_t first_chunk, n_chunks;
    uint32_t group; /* its tensors' (arch.h) */
    int frozen;     /* nothing in it moves: it is at step 0 for ever, and its chunks have no rest planes */
} zo2_unit;

typedef struct zo2_layout {
    const zo2_arch *arch;
    uint32_t n_units, n_chunks, n_spans;
    zo2_unit *units; /* canonical order: a block's vectors first, then its matrices' tiles */
    zo2_chunk *chunks;
    zo2_span *spans;
    uint32_t *tensor_unit;   /* [n_tensors]: first unit of a matrix, the group's unit of a vector */
    uint32_t *vector_unit;   /* [n_blocks]: the block's vectors, ZO2_NO_TENSOR if it has none */
    uint32_t *vector_at;     /* [n_tensors]: float offset of a vector in its block's decoded vectors (16-byte steps) */
    uint64_t max_chunk_wire; /* largest wire_bytes */
} zo2_layout;

/* TN: rows of a panel tile of a matrix rows x cols in a compute type. From shape and type alone, so it is a part of
 * what fixes bits: the largest multiple of 128 whose panel fits 64 MiB, at most 4,096; where that gives fewer than
 * 1,024 rows, up to 1,024 if the panel fits 128 MiB; at least 128. From 1,024 on, as `rule` says:
 *
 *     1    tiles of equal size: the rows spread over as many tiles, rounded up to a multiple of 128
 *     2    the largest multiple of 1,024; what is left is the last tile. At 2,047 tokens in two streams a product's tiles of
 *          128 x 256 then fill 0.97 of the last wave on 132 multiprocessors (0.61 for fc2 of opt-13b by rule 1)
 *
 * Fewer rows than that make one tile, rounded up to a multiple of 128. */
uint64_t zo2_tile_rows(uint32_t rule, uint64_t rows, uint64_t cols, zo2_dtype compute);

/* The codec of a tensor in a run with these wires: exempt tensors stay fp32. Where a frozen one's wire is in the pack and fits into
 * its narrow room, the codec of that. */
const zo2_codec *zo2_tensor_codec(const zo2_tensor *t, zo2_wires wires);

/* Rows per chunk of a matrix for a target size of the wire: at least one. */
uint64_t zo2_chunk_rows(const zo2_tensor *t, zo2_wires wires, uint64_t chunk_bytes);

/* Floats of a block's decoded vectors, each padded to 16 bytes. */
uint64_t zo2_block_vector_floats(const zo2_arch *a, uint32_t block);

/* Wire bytes of a block's vectors. */
uint64_t zo2_block_vector_wire(const zo2_arch *a, uint32_t block);

/* The arch must outlive the layout. */
zo2_status zo2_layout_create(zo2_layout *out, const zo2_arch *arch, zo2_wires wires, zo2_dtype compute,
                             uint32_t tile_rule, uint64_t chunk_bytes);
void zo2_layout_free(zo2_layout *l); /* zeroed is fine */

/* Unit of a row of a tensor (vectors: row 0). */
uint32_t zo2_layout_unit(const zo2_layout *l, uint32_t tensor, uint64_t row);
/* Chunk that such a row lies in, and the tensor's span of it. */
uint32_t zo2_layout_chunk(const zo2_layout *l, uint32_t tensor, uint64_t row, const zo2_span **span);

/* Are the codes of a wire values of this type as they are? */
int zo2_wire_is_type(zo2_wire wire, zo2_dtype type);

/* Does the pack have a chunk's wire, and for good? Frozen, in the type that the model is stored in, or encoded by zo2_pack_freeze(). */
int zo2_chunk_in_pack(const zo2_layout *l, uint32_t chunk);

/* Step that unit u's wire holds during step t with K pending: the last s <= t with (s + tile) mod (K + 1) = 0, or 0.
 * Vectors: t. Frozen ones: 0. */
uint64_t zo2_unit_due_step(const zo2_unit *u, uint64_t t, uint32_t pending);

#endif

/* wire_chunk.h: stored wires of a pack (storage/PACK.md, "Wires"): what their chunks have to be. */
#ifndef ZO2_ENGINE_PACK_WIRE_CHUNK_H
#define ZO2_ENGINE_PACK_WIRE_CHUNK_H

#include "codec/codec.h"
#include "engine/base/parallel.h"
#include "engine/pack/pack_api.h"

/* Encodes rows [row, row + rows) of tensor `tensor` of the pack as one chunk: all codec->wire_bytes() of it. The rows are those of a chunk of the
 * pack, which is read and checked as a whole. The floating-point environment is the pinned one. Thread-safe. ZO2_ERR_NONFINITE names a
 * tensor that the wire can't hold. */
zo2_status zo2_wire_chunk_make(const zo2_pack *p, const zo2_codec *codec, uint32_t tensor, uint64_t row, uint64_t rows,
                               unsigned char *wire);
/* The same of rows that were read already: their source bits. */
zo2_status zo2_wire_chunk_encode(const zo2_pack *p, const zo2_codec *codec, uint32_t tensor, const void *bits,
                                 uint64_t rows, unsigned char *wire);

/* Are all stored wires what their tensors' own bits encode to? Those of tensors whose bits were dropped are left out. progress: "verify wires", their bytes. ZO2_ERR_FORMAT names the first that isn't. */
zo2_status zo2_wire_chunks_verify(const zo2_pack *p, const zo2_parallel *workers, zo2_progress_fn progress, void *ud);

#endif

/* wire_size.h: how many bytes a wire takes, the one place where engine/ asks. There are two answers:
 *
 *     room    at most, from shapes alone: for planes, the ring, staging, plans
 *     sent    exactly, of a wire that was encoded: what crosses the link, and what operations are told was sent
 *
 * A codec whose codes all have one length sends all of its room. */
#ifndef ZO2_ENGINE_MODEL_WIRE_SIZE_H
#define ZO2_ENGINE_MODEL_WIRE_SIZE_H

#include "codec/codec.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"

/* Room of rows x cols weights as one chunk. */
static inline uint64_t zo2_wire_room(const zo2_codec *codec, uint64_t rows, uint64_t cols)
{
    return codec->wire_bytes(rows, cols);
}

/* Of `rows` rows of a tensor in a run with these wires. */
uint64_t zo2_tensor_wire_room(const zo2_tensor *t, zo2_wires wires, uint64_t rows);

/* What is sent of the wire of rows x cols weights at `wire`, at most its room. NULL: there is none to ask, all of its room. */
uint64_t zo2_wire_sent(const zo2_codec *codec, const void *wire, uint64_t rows, uint64_t cols);

/* What is sent of a chunk whose wire plane is at `wire`: its spans lie where their room is, so all up to the end of the last
 * one. At most the chunk's wire_bytes. NULL: as above. */
uint64_t zo2_chunk_sent(const zo2_layout *l, uint32_t chunk, const void *wire);

/* The part of a chunk of which `sent` bytes were sent that is this span's: at most its room. */
uint64_t zo2_span_sent(const zo2_span *s, uint64_t sent);

#endif

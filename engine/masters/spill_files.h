/* spill_files.h: the files that a run's masters spill to, for whoever knows how its chunks are cut. Private to engine/. */
#ifndef ZO2_ENGINE_MASTERS_SPILL_FILES_H
#define ZO2_ENGINE_MASTERS_SPILL_FILES_H

#include "engine/model/layout.h"
#include "storage/io/io.h"
#include "storage/spill/spill.h"

/* What a spill keeps of each chunk: [n_chunks], the caller's to free; nothing of those that share another's planes. NULL: no memory,
 * zo2_last_error() says so. */
zo2_spill_chunk *zo2_spill_files_chunks(const zo2_layout *l, const uint32_t *stored_as);

/* Opens them for the chunks of a layout that was cut for chunk_bytes; stored_as: aliased tensors (masters.h). c has the rest.
 * A reader does without files that are missing, damaged or in use by the session that trains, because pack and journal say the
 * same: *out is NULL then, and the log has the reason. Errors: those of zo2_spill_open(). */
zo2_status zo2_spill_files_open(zo2_spill **out, const zo2_io *io, const zo2_spill_config *c, const zo2_layout *l,
                                uint64_t chunk_bytes, const uint32_t *stored_as);

#endif

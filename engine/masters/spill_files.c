/* spill_files.c: see spill_files.h. */
#include "engine/masters/spill_files.h"
#include "engine/masters/masters.h"
#include "engine/model/layout.h"
#include "storage/spill/spill.h"

#include <stdio.h>
#include <stdlib.h>

zo2_spill_chunk *zo2_spill_files_chunks(const zo2_layout *l, const uint32_t *stored_as)
{
    zo2_spill_chunk *chunks = calloc(l->n_chunks, sizeof *chunks);
    if (!chunks)
        zo2_error(ZO2_ERR_NOMEM, "no memory for the table of %u chunks", l->n_chunks);
    for (uint32_t c = 0; chunks && c < l->n_chunks; c++)
        if (zo2_masters_owner(l, c, stored_as) == c && !zo2_chunk_in_pack(l, c))
            chunks[c] = (zo2_spill_chunk){l->chunks[c].wire_bytes, l->chunks[c].rest_bytes};
    return chunks;
}

static zo2_status do_without(const zo2_spill_config *c, zo2_status s)
{
    char text[1200];
    if (c->writable || (s != ZO2_ERR_NOTFOUND && s != ZO2_ERR_BUSY && s != ZO2_ERR_FORMAT))
        return s;
    snprintf(text, sizeof text, "master weights are made from the pack and the journal: %s", zo2_last_error());
    if (c->log)
        c->log(c->log_ud, s == ZO2_ERR_FORMAT ? ZO2_LOG_WARNING : ZO2_LOG_INFO, text);
    return ZO2_OK;
}

zo2_status zo2_spill_files_open(zo2_spill **out, const zo2_io *io, const zo2_spill_config *c, const zo2_layout *l,
                                uint64_t chunk_bytes, const uint32_t *stored_as)
{
    *out = NULL;
    zo2_spill_chunk *chunks = zo2_spill_files_chunks(l, stored_as);
    if (!chunks)
        return ZO2_ERR_NOMEM;
    zo2_spill_config config = *c;
    config.layout = chunk_bytes; /* with the run's settings it says how chunks are cut */
    config.chunks = chunks;
    config.n_chunks = l->n_chunks;
    zo2_status s = zo2_spill_open(out, io, &config);
    free(chunks);
    return s ? do_without(c, s) : ZO2_OK;
}

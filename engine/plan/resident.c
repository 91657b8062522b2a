/* resident.c: see resident.h. */
#include "engine/plan/resident.h"
#include "engine/model/arch.h"
#include "engine/plan/evenly.h"

#include <stdlib.h>
#include <string.h>

/* Sizes are multiples of this, which keeps the products below 2^64 up to 16 TB of wires. */
#define GRAIN 256u

/* Bytes of a chunk if it is uploaded at all, in GRAINs. */
static uint64_t grains_of(const zo2_layout *l, uint32_t chunk)
{
    const zo2_unit *u = &l->units[l->chunks[chunk].unit];
    if (u->tensor != ZO2_NO_TENSOR && !zo2_is_streamed(l->arch, &l->arch->tensors[u->tensor]))
        return 0;
    return l->chunks[chunk].wire_bytes / GRAIN;
}

uint64_t zo2_resident_choose(const zo2_layout *l, uint64_t spare, uint64_t *at)
{
    zo2_evenly share = {.have = spare / GRAIN};
    for (uint32_t c = 0; c < l->n_chunks; c++)
        share.total += grains_of(l, c);
    for (uint32_t c = 0; c < l->n_chunks; c++) {
        uint64_t before = share.kept;
        int keep = zo2_evenly_next(&share, grains_of(l, c));
        if (at)
            at[c] = keep ? before * GRAIN : ZO2_NOT_RESIDENT;
    }
    return share.kept * GRAIN;
}

zo2_status zo2_resident_create(zo2_resident *out, const zo2_layout *l, uint64_t spare)
{
    memset(out, 0, sizeof *out);
    out->at = malloc(l->n_chunks * sizeof *out->at);
    out->holds = calloc(l->n_chunks, sizeof *out->holds);
    out->sent = calloc(l->n_chunks, sizeof *out->sent);
    if (!out->at || !out->holds || !out->sent) {
        zo2_resident_free(out);
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the tables of %u chunks", l->n_chunks);
    }
    out->bytes = zo2_resident_choose(l, spare, out->at);
    for (uint32_t c = 0; c < l->n_chunks; c++)
        out->chunks += out->at[c] != ZO2_NOT_RESIDENT;
    return ZO2_OK;
}

void zo2_resident_free(zo2_resident *r)
{
    free(r->at);
    free(r->holds);
    free(r->sent);
    memset(r, 0, sizeof *r);
}

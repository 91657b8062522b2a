/* resident.c: see resident.h. */
#include "engine/plan/resident.h"
#include "engine/model/arch.h"
#include "engine/plan/evenly.h"

#include <stdlib.h>
#include <string.h>

/* Sizes are multiples of this, which keeps the products below 2^64 up to 16 TB of wires. */
#define GRAIN 256u

/* In the order of their claims. A frozen wire that stays is never sent again; one that moves is, once in K + 1 steps; the trunk's
 * aren't needed at all by a step that has its lines from the cache. */
typedef enum class { FROZEN, MOVING, TRUNK, CLASSES } class;

static class class_of(const zo2_layout *l, const zo2_unit *u)
{
    const zo2_arch *a = l->arch;
    uint32_t block = u->tensor == ZO2_NO_TENSOR ? u->block : zo2_block_of_use(a, &a->tensors[u->tensor]);
    return !u->frozen ? MOVING : block < a->fork ? TRUNK : FROZEN;
}

/* Bytes of a chunk if it is of this class, and is uploaded at all, in GRAINs. */
static uint64_t grains_of(const zo2_layout *l, uint32_t chunk, class which)
{
    const zo2_unit *u = &l->units[l->chunks[chunk].unit];
    if (class_of(l, u) != which)
        return 0;
    if (u->tensor != ZO2_NO_TENSOR && !zo2_is_streamed(l->arch, &l->arch->tensors[u->tensor]))
        return 0;
    return l->chunks[chunk].wire_bytes / GRAIN;
}

/* An even share of a class, in what is behind the `taken` bytes that others have. */
static uint64_t choose(const zo2_layout *l, class which, uint64_t spare, uint64_t taken, uint64_t *at)
{
    zo2_evenly share = {.have = (spare - taken) / GRAIN};
    for (uint32_t c = 0; c < l->n_chunks; c++)
        share.total += grains_of(l, c, which);
    for (uint32_t c = 0; c < l->n_chunks; c++) {
        uint64_t before = share.kept;
        if (zo2_evenly_next(&share, grains_of(l, c, which)) && at)
            at[c] = taken + before * GRAIN;
    }
    return share.kept * GRAIN;
}

static void choose_all(const zo2_layout *l, uint64_t spare, uint64_t *at, uint64_t bytes[CLASSES])
{
    uint64_t taken = 0;
    for (uint32_t c = 0; c < l->n_chunks && at; c++)
        at[c] = ZO2_NOT_RESIDENT;
    for (class which = FROZEN; which < CLASSES; which++) {
        bytes[which] = choose(l, which, spare, taken, at);
        taken += bytes[which];
    }
}

uint64_t zo2_resident_choose(const zo2_layout *l, uint64_t spare, uint64_t *at)
{
    zo2_resident_sum sum = zo2_resident_count(l, spare, at);
    return sum.frozen + sum.moving + sum.trunk;
}

zo2_resident_sum zo2_resident_count(const zo2_layout *l, uint64_t spare, uint64_t *at)
{
    uint64_t bytes[CLASSES];
    choose_all(l, spare, at, bytes);
    return (zo2_resident_sum){.frozen = bytes[FROZEN], .moving = bytes[MOVING], .trunk = bytes[TRUNK]};
}

uint64_t zo2_resident_whole(const zo2_layout *l)
{
    uint64_t grains = 0;
    for (class which = FROZEN; which < CLASSES; which++)
        for (uint32_t c = 0; c < l->n_chunks; c++)
            grains += grains_of(l, c, which);
    return grains * GRAIN;
}

uint32_t zo2_resident_layers(const zo2_layout *l, uint64_t spare, uint64_t *wires)
{
    const zo2_arch *a = l->arch;
    uint64_t bytes = 0;
    uint32_t layers = 0;
    *wires = 0;
    for (uint32_t block = a->n_blocks - 1; block > 0; block--) {
        uint64_t before = bytes;
        for (uint32_t c = 0; c < l->n_chunks; c++) {
            const zo2_unit *u = &l->units[l->chunks[c].unit];
            const zo2_tensor *t = u->tensor == ZO2_NO_TENSOR ? NULL : &a->tensors[u->tensor];
            if ((t ? zo2_block_of_use(a, t) : u->block) == block && (!t || zo2_is_streamed(a, t)))
                bytes += l->chunks[c].wire_bytes;
        }
        if (bytes > spare)
            break;
        layers = a->n_blocks - 1 - block;
        *wires += layers ? bytes - before : 0;
    }
    return layers;
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

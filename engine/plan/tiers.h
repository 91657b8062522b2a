/* tiers.h: which planes of the masters live in RAM, and what the others cost: bytes of each tier, and bytes that are read and
 * written in a step (masters/placement.h). */
#ifndef ZO2_ENGINE_PLAN_TIERS_H
#define ZO2_ENGINE_PLAN_TIERS_H

#include "engine/model/layout.h"

/* Groups of tensors that take turns of so many steps; fewer than two: all move in every step. */
typedef struct zo2_turns {
    uint32_t groups, steps;
} zo2_turns;

/* The part of what moves that K + 1 steps in a row reach, on average. */
double zo2_turns_part(const zo2_turns *t, uint32_t pending);

/* What a placement amounts to. Aliased tensors take no room; their chunks are read and written as often as they are used. */
typedef struct zo2_tiers {
    uint32_t chunks[3];  /* of a tier, those that own their planes */
    uint64_t ram_bytes;  /* of RAM: both planes of ZO2_TIER_RAM */
    uint64_t wire_bytes; /* of RAM: the wires of ZO2_TIER_WIRE */
    uint64_t disk_bytes; /* slots of what isn't whole in RAM */
    uint64_t pack_bytes; /* wires of what isn't in RAM and needs no slot: frozen chunks that the pack has as they are */
    /* what a step moves if everything is due: a chunk that isn't moves its wire alone, and nothing is written; as of one that is
     * frozen */
    uint64_t wires_read, rests_read, written;
    uint64_t trunk_read; /* of wires_read: what a step doesn't need that has its lines from the trunk's cache */
    uint64_t eager;      /* of rests_read, vectors': they are due in every step */
    uint64_t eager_written;
    zo2_turns turns; /* whoever plans sets them */
} zo2_tiers;

/* Bytes that are written for a version of a chunk: its slot in the spill, and the page with its header (storage/SPILL.md). */
uint64_t zo2_tiers_slot(const zo2_chunk *c);
/* RAM for both planes of all chunks. */
uint64_t zo2_tiers_ram(const zo2_layout *l, const uint32_t *stored_as);

/* Average bytes of a step with K pending. */
double zo2_tiers_read(const zo2_tiers *t, uint32_t pending);
double zo2_tiers_written(const zo2_tiers *t, uint32_t pending);

/* The smallest K from which a byte of RAM saves more as a wire's, which is read in every step, than as a whole chunk's, which
 * is read and written once in K + 1 steps; UINT32_MAX: wires hold all there is. Three for wires as large as the rest. */
uint32_t zo2_tiers_wires_first(const zo2_layout *l);

/* Places every chunk, for `bytes` bytes of RAM for planes. In RAM are first all vectors, then the tables that rows are gathered
 * from, then an even share of the others in the order of their use: of wires (wires_first), and if those fit all, of rest
 * planes; or of whole chunks; at last, the same way, of the trunk's. A function of its arguments alone. stored_as: aliased tensors (masters.h), NULL: none.
 * tier[n_chunks] (zo2_tier; of those that share another's planes 0): filled. sum: may be NULL. */
void zo2_placement_choose(const zo2_layout *l, const uint32_t *stored_as, uint64_t bytes, int wires_first,
                          uint8_t *tier, zo2_tiers *sum);

#endif

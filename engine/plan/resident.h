/* resident.h: wires that stay on the device from pass to pass, because the budget leaves room behind the ring. Such a
 * chunk is uploaded again only when its wire was encoded anew: with K pending updates every K + 1 steps, in evaluations not
 * at all. Bits don't depend on it. */
#ifndef ZO2_ENGINE_PLAN_RESIDENT_H
#define ZO2_ENGINE_PLAN_RESIDENT_H

#include "engine/model/layout.h"

#define ZO2_NOT_RESIDENT UINT64_MAX

typedef struct zo2_resident {
    uint64_t *at;    /* [n_chunks]: byte offset in the resident region, ZO2_NOT_RESIDENT: comes through the ring */
    uint64_t *holds; /* [n_chunks]: version of the wire that is there (0: none), see lane_upload.c */
    uint64_t *sent;  /* [n_chunks]: bytes of it, see wire_size.h */
    uint32_t chunks; /* that stay */
    uint64_t bytes;
} zo2_resident;

/* Bytes of wires that stay: of what never moves, of what does, and of what never moves and is needed in the trunk alone. */
typedef struct zo2_resident_sum {
    uint64_t frozen, moving, trunk;
} zo2_resident_sum;

/* Which chunks stay when `spare` bytes are free, and how many bytes they take (at most spare). A function of layout and
 * spare alone. What is frozen and needed in every step comes first, then what moves, then the trunk's; of the first of them that there
 * isn't room for chunks are taken evenly along the canonical order, so that between two that stay the upload lane has
 * others to work on. at[n_chunks] is filled; NULL: only count. */
uint64_t zo2_resident_choose(const zo2_layout *l, uint64_t spare, uint64_t *at);
zo2_resident_sum zo2_resident_count(const zo2_layout *l, uint64_t spare, uint64_t *at);

/* Bytes of all chunks that could stay. */
uint64_t zo2_resident_whole(const zo2_layout *l);

/* The most layers, from the last one down, that stay as a whole with the head in `spare` bytes: what a step needs that tunes these
 * layers and has its lines from the trunk's cache. *wires: bytes of those layers' wires, without the head's. */
uint32_t zo2_resident_layers(const zo2_layout *l, uint64_t spare, uint64_t *wires);

/* ZO2_ERR_NOMEM. Nothing is on the device yet. */
zo2_status zo2_resident_create(zo2_resident *out, const zo2_layout *l, uint64_t spare);
void zo2_resident_free(zo2_resident *r); /* zeroed is fine */

#endif

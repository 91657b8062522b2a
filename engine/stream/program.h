/* program.h: the order in which a pass fetches chunks. `pc` (as in program counter) is the number of a fetch in it, everywhere
 * in this folder. Fetches of the next pass, which lanes run ahead into (ahead.h), follow: n + i is its fetch i. */
#ifndef ZO2_ENGINE_STREAM_PROGRAM_H
#define ZO2_ENGINE_STREAM_PROGRAM_H

#include "engine/masters/masters.h"
#include "engine/model/layout.h"

typedef struct zo2_fetch {
    uint32_t chunk;
    uint8_t upload; /* 0: update only, nothing waits for it (tables that are gathered from) */
    uint8_t gated;  /* waits for zo2_pipeline_open_gate(): rows are still being gathered from it */
} zo2_fetch;

typedef struct zo2_program {
    const zo2_layout *layout;
    uint32_t n;
    zo2_fetch *fetch;
    uint32_t *first_pc; /* [n_units]: pc of a unit's first chunk, UINT32_MAX if it isn't fetched; its others follow */
    uint32_t *previous; /* [n]: the pc before whose chunk has the same memory, UINT32_MAX: none. NULL: none at all */
    /* [2 n], by pc, while running */
    uint64_t *slot;     /* ring offset */
    uint64_t *sent;     /* bytes of the wire that is on the device (wire_size.h); 0: none yet */
    uint64_t *freed_by; /* number of the release, from 1 on, that gave its slot back */
    uint64_t *after;    /* releases that must have passed the compute lane before its place on the device is written */
} zo2_program;

/* The fetch at a pc of this pass or the next. */
static inline const zo2_fetch *zo2_program_fetch(const zo2_program *p, uint32_t pc)
{
    return &p->fetch[pc < p->n ? pc : pc - p->n];
}

/* Program of a training pass (every chunk that moves or is used, tables at the end) or of an evaluation (what the forward uses) over
 * blocks [from, to): to is n_blocks, or in the middle of an evaluation. */
zo2_status zo2_program_create(zo2_program *out, const zo2_layout *layout, uint32_t from, uint32_t to, int training);
void zo2_program_free(zo2_program *p); /* zeroed is fine */
/* Fills p->previous where the masters' chunks share memory (aliased packs). */
zo2_status zo2_program_share(zo2_program *p, const zo2_masters *m);

#endif

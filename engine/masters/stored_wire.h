/* stored_wire.h: wires of frozen matrices that the pack has encoded already (zo2_pack_freeze()). They have the bits that the run would
 * encode. The pack cuts them at its own chunks' rows, so a chunk of the masters is put together row by row. */
#ifndef ZO2_ENGINE_MASTERS_STORED_WIRE_H
#define ZO2_ENGINE_MASTERS_STORED_WIRE_H

#include "engine/masters/pack_window.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "storage/pack/packfile.h"

/* Does the pack have the wire of a span's tensor? Only of those that have no rest, whose wire is all that is wanted of them. */
int zo2_is_stored_wire(const zo2_packfile *pack, const zo2_arch *a, const zo2_span *span);

/* A chunk of it. */
typedef struct zo2_stored_wire {
    const uint8_t *bits;
    uint64_t row, rows; /* of the tensor, that it holds */
    zo2_pack_window *window;
    zo2_pack_piece *piece; /* of the window; NULL: `own` */
    uint8_t *own;
} zo2_stored_wire;

/* The one that holds a row of the span's tensor, checked. Released by its caller, who holds no other meanwhile. Thread-safe. ZO2_ERR_FORMAT:
 * it is damaged (tensor, wire and offset are named). window: of the pack; NULL: through the page cache. */
zo2_status zo2_stored_wire_hold(zo2_stored_wire *out, const zo2_packfile *pack, zo2_pack_window *window,
                                const zo2_arch *a, const zo2_span *span, uint64_t row);
/* Rows [row, row + n) of the tensor, which it holds, into a span's plane, which has them. */
void zo2_stored_wire_copy(const zo2_stored_wire *w, const zo2_span *span, uint64_t row, uint64_t n, uint8_t *wire);
void zo2_stored_wire_release(zo2_stored_wire *w);

#endif

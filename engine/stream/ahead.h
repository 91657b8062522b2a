/* ahead.h: what lanes may fetch before its pass begins. A step's result reaches a wire by an update, and which chunks a step
 * updates is known beforehand (layout.h, zo2_unit_due_step): with K pending updates a tile's wire stays as it is for K steps,
 * and what it lacks is folded when it is decoded. So while a pass ends, while its losses are looked at and journaled, and until
 * the next begins, lanes may run ahead: through the same program again, from its first fetch, in the same order. Which batch
 * comes next changes nothing of that. */
#ifndef ZO2_ENGINE_STREAM_AHEAD_H
#define ZO2_ENGINE_STREAM_AHEAD_H

#include "engine/stream/pipeline.h"

#include <stdint.h>

/* Whether uploads may run ahead of the pass that follows this one: that of the next step, whose wires don't all change. Not where
 * masters are spilled: there the read lane runs ahead, whatever the pass (lane_read.c), and planes are given back by each. */
int zo2_pass_is_followed(const zo2_pass *pass);

/* Whether the wire that a chunk has now, brought up to date by this pass, is also the next step's: no update comes between. Then its
 * bytes may be read, moved and uploaded for that step at once, whatever becomes of this one: skipped, cancelled or failed, and
 * before its losses are known. Only once the update lane is through with the chunk. */
int zo2_wire_is_settled(const zo2_pass *pass, uint32_t chunk);

#endif

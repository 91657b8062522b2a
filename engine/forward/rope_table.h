/* rope_table.h: the angles of rotary positions, on the device. */
#ifndef ZO2_ENGINE_FORWARD_ROPE_TABLE_H
#define ZO2_ENGINE_FORWARD_ROPE_TABLE_H

#include "engine/model/arch.h"
#include "kernels/backend.h"

/* Writes the table of `positions` rows at byte `offset` of the arena: fp32 [positions][head_dim], as zo2_rope_row() has them, through
 * `piece`, registered host memory of ZO2_ROPE_PIECE rows, or of `positions` if those are fewer. Waits for it. */
zo2_status zo2_rope_upload(zo2_backend *be, const zo2_arch *a, uint64_t positions, uint8_t *arena, uint64_t offset,
                           float *piece);

#endif

/* rope_table.c: see rope_table.h. Some rows at a time: the table of a long context is as large as a chunk. */
#include "engine/forward/rope_table.h"
#include "engine/base/checked.h"
#include "engine/model/arch.h"
#include "engine/model/rope.h"
#include "engine/plan/plan_types.h"
#include "kernels/backend.h"

#include <stdlib.h>

zo2_status zo2_rope_upload(zo2_backend *be, const zo2_arch *a, uint64_t positions, uint8_t *arena, uint64_t offset,
                           float *piece)
{
    const uint64_t row_bytes = a->head_dim * sizeof *piece;
    zo2_status s = ZO2_OK;
    float *frequency = malloc(row_bytes / 2);
    if (!frequency)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the angles of rotary positions");
    zo2_rope_frequencies(&a->rope, a->head_dim, frequency);
    for (uint64_t first = 0; first < positions && !s; first += ZO2_ROPE_PIECE) {
        const uint64_t n = zo2_min_u64(positions - first, ZO2_ROPE_PIECE);
        for (uint64_t i = 0; i < n; i++)
            zo2_rope_row(&a->rope, a->head_dim, frequency, (uint32_t)(first + i), piece + i * a->head_dim);
        s = be->ops->upload(be, ZO2_LANE_COMPUTE, arena + offset + first * row_bytes, piece, n * row_bytes);
        if (!s)
            s = be->ops->drain(be); /* the piece is used again */
    }
    free(frequency);
    return s;
}

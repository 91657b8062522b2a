/* rebuild.h: what the weights are made of: the pack's bits, and the updates that the journal says. Whatever became of a chunk in
 * memory or on a disk can be made from these again. */
#ifndef ZO2_ENGINE_MASTERS_REBUILD_H
#define ZO2_ENGINE_MASTERS_REBUILD_H

#include "codec/codec.h"
#include "engine/base/checked.h"
#include "engine/base/pool.h"
#include "engine/masters/history.h"
#include "engine/masters/pack_window.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "storage/pack/packfile.h"

typedef struct zo2_rebuild {
    const zo2_layout *layout;
    const zo2_packfile *pack;
    zo2_pack_window *window; /* of the pack, for those who want it chunk by chunk; NULL: through the page cache */
} zo2_rebuild;

/* Values of rows [row, row + n) of a tensor at step 0: w[n * cols]; of one that the run added, what it begins with. Whole chunks of the
 * pack are read. Thread-safe. */
zo2_status zo2_rebuild_rows(const zo2_rebuild *s, uint32_t tensor, uint64_t row, uint64_t n, float *w);
/* Rows of a matrix that are best read together: those of a chunk of the pack, counted from row 0. */
uint64_t zo2_rebuild_piece(const zo2_rebuild *s, uint32_t tensor);

/* Rows [row, row + rows) cut where such pieces end, the first and the last of them perhaps short: how many, and the i-th. */
typedef struct zo2_rebuild_range {
    uint64_t from, to;
} zo2_rebuild_range;

static inline uint64_t zo2_rebuild_pieces(uint64_t piece, uint64_t row, uint64_t rows)
{
    return (row + rows - 1) / piece - row / piece + 1;
}

static inline zo2_rebuild_range zo2_rebuild_piece_rows(uint64_t piece, uint64_t row, uint64_t rows, uint64_t i)
{
    const uint64_t at = (row / piece + i) * piece;
    return (zo2_rebuild_range){zo2_max_u64(at, row), zo2_min_u64(at + piece, row + rows)};
}

/* The step whose noise the adapters begin with: none ever has that number. */
#define ZO2_LORA_STEP UINT64_MAX
/* ZO2_ERR_NONFINITE if the run's wire can't have these values of a tensor at step `to`. */
zo2_status zo2_rebuild_check(const zo2_tensor *t, const zo2_codec *codec, const float *w, uint64_t n, uint64_t to);

/* Both planes of a chunk (rest may be NULL if it has none) at step 0, from the pack. pool NULL: on this thread alone. */
zo2_status zo2_rebuild_planes(const zo2_rebuild *s, uint32_t chunk, zo2_pool *pool, uint8_t *wire, uint8_t *rest);

/* Brings both planes of a chunk from one step to another, in one pass over them. ZO2_ERR_NONFINITE names the tensor; the planes
 * are then undefined. pool NULL: on this thread alone. */
zo2_status zo2_rebuild_update(const zo2_layout *l, const zo2_history *h, uint32_t chunk, zo2_pool *pool, uint8_t *wire,
                              uint8_t *rest, uint64_t from, uint64_t to);

/* The error of an update that a wire can't take. */
zo2_status zo2_rebuild_unrepresentable(const zo2_tensor *t, const zo2_codec *codec, uint64_t to);

/* Values of a task: about 15 us of Gaussian noise, so that starting it costs nothing. */
#define ZO2_MASTERS_PIECE 16384u

#endif

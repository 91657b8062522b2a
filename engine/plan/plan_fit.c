/* plan_fit.c: how much of everything there is: from a comfortable ring to the smallest plan, and the largest batch within a
 * budget. */
#include "engine/base/checked.h"
#include "engine/masters/masters.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "engine/model/wire_size.h"
#include "engine/plan/plan_internal.h"
#include "engine/plan/plan_types.h"
#include "engine/plan/resident.h"
#include "kernels/backend.h"

#include <string.h>

#define CHUNK_MIN      (256ull << 10) /* wire of a chunk when memory is short */
#define STAGING_CHUNKS 3ull           /* one being written, one on its way, one waiting */
#define HOST_FIXED     (96ull << 20)  /* code, BLAS buffers, stacks, tables */

/* ---- budgets ---- */

static int can_stage(const zo2_shape *s)
{
    return s->batch_tokens > 2 * s->tokens; /* with two micro-batches both buffers hold what they would have to move */
}

static zo2_hold hold_of(const zo2_shape *s)
{
    return s->micro_batched ? ZO2_HOLD_BLOCK : s->groups > 1 ? ZO2_HOLD_TILE : ZO2_HOLD_CHUNK;
}

/* Device bytes of the smallest plan with chunks of `chunk_bytes`, unless others are asked for. */
static uint64_t least_with(const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s, int staged,
                           uint64_t chunk_bytes)
{
    zo2_full_plan p = {.hold = hold_of(s)};
    zo2_plan_cut cut = {.chunk_bytes = s->chunk_bytes ? s->chunk_bytes : chunk_bytes,
                        .ring_chunks = 1,
                        .staging_chunks = 1,
                        .staged = staged};
    zo2_plan_lay_out(&p, a, be, s, &cut);
    return p.pub.device_peak_bytes;
}

static uint64_t least_bytes(const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s, int staged)
{
    return least_with(a, be, s, staged, CHUNK_MIN);
}

/* The device budget: the one that was given, or the smallest; of a run that spills, which is bound by what a drive does with
 * chunks, the smallest with chunks as large as it wants them. */
static uint64_t budget_of(const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s)
{
    return s->device_bytes ? s->device_bytes : least_with(a, be, s, 0, s->chunk_most ? s->chunk_most : CHUNK_MIN);
}

/* More rows have more loss tokens, in proportion; fewer rows may have them all. */
zo2_shape zo2_shape_resized(const zo2_shape *s, uint64_t rows, uint64_t micro)
{
    zo2_shape r = *s;
    double grown = (double)rows * (double)s->max_keys / (double)s->batch_tokens;
    r.tokens = micro * s->max_keys;
    r.batch_tokens = rows * s->max_keys;
    r.loss_tokens = grown > 1 ? (uint64_t)(grown * (double)s->loss_tokens) : s->loss_tokens;
    r.loss_tokens = zo2_min_u64(r.loss_tokens, r.batch_tokens);
    r.loss_micro = zo2_min_u64(r.loss_tokens, r.tokens);
    r.micro_batched = micro < rows || s->micro_batched;
    return r;
}

static int fits(const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s, uint64_t rows, uint64_t micro)
{
    zo2_shape r = zo2_shape_resized(s, rows, micro);
    return least_bytes(a, be, &r, can_stage(&r)) <= s->device_bytes;
}

uint64_t zo2_plan_largest_micro(const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s, uint64_t rows)
{
    if (fits(a, be, s, rows, rows))
        return rows;
    uint64_t low = 0, high = rows; /* low fits, or is 0; high doesn't */
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (fits(a, be, s, rows, middle))
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Largest batch that fits with micro-batches of one row; 0: none. */
uint64_t zo2_plan_largest_batch(const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s, uint64_t rows)
{
    uint64_t low = 0, high = rows + 1;
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (fits(a, be, s, middle, 1))
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* ---- the plan ---- */

/* Sizes of chunks in a ring of at least so many, from comfortable to small. */
typedef struct level {
    uint64_t chunk_bytes, ring_chunks;
} level;

enum { LEVELS = 32 };

/* The device's own chunks while eight of them fit, smaller ones to 4 MiB; then fewer of those, at last smaller ones. */
static uint32_t list_levels(const zo2_backend_ops *be, const zo2_shape *s, level out[LEVELS])
{
    const uint64_t most = s->chunk_most ? zo2_min_u64(s->chunk_most, be->chunk_bytes) : be->chunk_bytes;
    const uint64_t small = zo2_min_u64(most, 4ull << 20); /* below, calls cost more than a smaller ring saves */
    uint32_t n = 0;
    if (s->chunk_bytes) {
        for (uint64_t chunks = STAGING_CHUNKS; chunks; chunks--)
            out[n++] = (level){s->chunk_bytes, chunks};
        return n;
    }
    for (uint64_t bytes = most; bytes > small; bytes /= 2)
        out[n++] = (level){bytes, 8};
    for (uint64_t chunks = STAGING_CHUNKS; chunks > 1; chunks--)
        out[n++] = (level){small, chunks};
    for (uint64_t bytes = small; bytes >= CHUNK_MIN; bytes /= 2)
        out[n++] = (level){bytes, 1};
    return n;
}

/* Wire bytes of all matrices that are uploaded. */
static uint64_t all_wires(const zo2_arch *a, const zo2_shape *s)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < a->n_tensors; i++)
        if (zo2_is_streamed(a, &a->tensors[i]))
            bytes += zo2_tensor_wire_room(&a->tensors[i], s->wires, a->tensors[i].rows);
    return bytes;
}

/* Chunks that keep the link busy; of a small model at most all there are. */
static uint64_t comfortable_chunks(const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s,
                                   uint64_t chunk_bytes)
{
    uint64_t bytes = zo2_min_u64(be->ring_bytes, all_wires(a, s));
    return zo2_max_u64((bytes + chunk_bytes - 1) / chunk_bytes, STAGING_CHUNKS);
}

/* Within the budget: the ring gets what is spare, until it keeps the link busy. */
static void grow_ring(zo2_full_plan *out, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s,
                      zo2_plan_cut *cut, uint64_t budget)
{
    uint64_t low = cut->ring_chunks, high = zo2_max_u64(comfortable_chunks(a, be, s, cut->chunk_bytes), low) + 1;
    while (high - low > 1) { /* low fits, high doesn't or is more than there is any use for */
        cut->ring_chunks = low + (high - low) / 2;
        zo2_plan_lay_out(out, a, be, s, cut);
        if (out->pub.device_peak_bytes <= budget)
            low = cut->ring_chunks;
        else
            high = cut->ring_chunks;
    }
    cut->ring_chunks = low;
    zo2_plan_lay_out(out, a, be, s, cut);
}

/* The most comfortable level that fits the budget; at last residual streams wait in host memory, the one thing that costs
 * traffic. */
static void choose(zo2_full_plan *out, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s,
                   zo2_plan_cut *cut, uint64_t budget)
{
    level levels[LEVELS];
    uint32_t n = list_levels(be, s, levels);
    for (int staged = 0; staged <= can_stage(s); staged++)
        for (uint32_t i = 0; i < n; i++) {
            *cut = (zo2_plan_cut){
                .chunk_bytes = levels[i].chunk_bytes, .ring_chunks = levels[i].ring_chunks, .staged = staged};
            cut->staging_chunks = zo2_min_u64(cut->ring_chunks, STAGING_CHUNKS);
            zo2_plan_lay_out(out, a, be, s, cut);
            if (out->pub.device_peak_bytes <= budget) {
                grow_ring(out, a, be, s, cut, budget);
                return;
            }
        }
}

/* What the budget leaves then keeps wires on the device. */
static zo2_status keep_resident(zo2_full_plan *out, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s,
                                zo2_plan_cut *cut, uint64_t budget)
{
    uint64_t chunk = s->chunk_bytes ? s->chunk_bytes : be->chunk_bytes;
    if (s->chunk_most)
        chunk = zo2_min_u64(chunk, s->chunk_most);
    if (cut->chunk_bytes < chunk || cut->ring_chunks < comfortable_chunks(a, be, s, chunk) ||
        out->pub.device_peak_bytes >= budget)
        return ZO2_OK;
    zo2_layout layout;
    zo2_status status = zo2_layout_create(&layout, a, s->wires, s->compute, s->tile_rule, cut->chunk_bytes);
    if (!status) {
        out->resident_spare = budget - out->pub.device_peak_bytes;
        out->resident = zo2_resident_count(&layout, out->resident_spare, NULL);
        cut->resident_bytes = out->resident.frozen + out->resident.moving + out->resident.trunk;
        out->pub.resident_whole = cut->resident_bytes == zo2_resident_whole(&layout);
        out->pub.proposed_layers = zo2_resident_layers(&layout, out->resident_spare, &out->pub.proposed_layers_bytes);
        zo2_plan_lay_out(out, a, be, s, cut);
    }
    zo2_layout_free(&layout);
    return status;
}

zo2_status zo2_plan_fit(zo2_full_plan *out, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s, int *fits)
{
    memset(out, 0, sizeof *out);
    out->pub.struct_size = sizeof out->pub;
    out->hold = hold_of(s);
    out->pub.device_min_bytes = least_bytes(a, be, s, can_stage(s));
    uint64_t budget = budget_of(a, be, s);
    zo2_plan_cut cut;
    choose(out, a, be, s, &cut, budget);
    zo2_status status = keep_resident(out, a, be, s, &cut, budget);
    out->pub.chunk_bytes = cut.chunk_bytes;
    *fits = out->pub.device_peak_bytes <= budget;
    return status;
}

/* The trunk's cache is in RAM where nothing spills. */
static uint64_t cache_ram(const zo2_shape *s)
{
    return s->spill_dirs ? 0 : s->trunk_cache;
}

uint64_t zo2_plan_host_rest(const zo2_full_plan *p, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s)
{
    uint64_t cols = 0;
    for (uint32_t i = 0; i < a->n_tensors; i++)
        if (zo2_is_streamed(a, &a->tensors[i]))
            cols = zo2_max_u64(cols, a->tensors[i].cols);
    uint64_t gemm = be->gemm_host_bytes ? be->gemm_host_bytes(s->compute, cols, s->threads) : 0;
    return p->pub.staging_bytes + HOST_FIXED + gemm + cache_ram(s) +
           zo2_masters_slots(s->threads) * zo2_masters_scratch_bytes(a);
}

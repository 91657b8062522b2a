/* plan_spill.c: where the masters live: all of them in RAM, or, with directories to spill to, as many as the host budget leaves
 * room for beside the buffers that the others pass through. */
#include "codec/codec.h"
#include "engine/base/checked.h"
#include "engine/masters/masters.h"
#include "engine/masters/placement.h"
#include "engine/masters/spill_files.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "engine/plan/plan.h"
#include "engine/plan/plan_internal.h"
#include "engine/plan/plan_types.h"
#include "engine/plan/tiers.h"
#include "kernels/backend.h"
#include "storage/spill/spill.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A chunk of a spilled run: as large as a drive likes requests, and small enough for many to be read ahead. */
#define CHUNK_AIM  (4ull << 20) /* of the wire */
#define CHUNK_REST (8ull << 20) /* of the rest plane, at most */
#define CHUNK_MIN  (256ull << 10)
/* Read ahead, or waiting to be written: 256 MiB are 37 ms of a drive that reads 7 GB/s, longer than any pause of the lanes behind
 * and the journal's sync. Beyond that, RAM is better spent on what then needn't be read. */
#define WINDOW_A_DRIVE (256ull << 20)
#define WINDOW_MOST    (1ull << 30)
#define WINDOW_PART    4u /* at most this part of the RAM for planes */
/* A worker that makes planes from the pack: a chunk of it as stored, as source bits, and the plane that isn't wanted. */
#define PACK_TASK (16ull << 20)
/* What layout, programs, masters, their home and the spill know of a chunk: 780 bytes, and more while a plan is made. */
#define CHUNK_TABLES 1024u

/* Bytes of wire that a chunk is cut for at most. Those with rests are the moving ones. */
static uint64_t most_chunk(const zo2_arch *a, const zo2_shape *s)
{
    const zo2_codec *codec = zo2_codec_get(s->wires.moving);
    uint64_t wire = codec->wire_bytes(1, a->hidden), rest = codec->rest_bytes(1, a->hidden), most = CHUNK_AIM;
    while (most > CHUNK_MIN && most / wire * rest > CHUNK_REST)
        most /= 2;
    return most;
}

static void size_buffers(zo2_spill_plan *p, const zo2_layout *l)
{
    for (uint32_t c = 0; c < l->n_chunks; c++) {
        p->wire_buffer_bytes = zo2_max_u64(p->wire_buffer_bytes, zo2_round_up(l->chunks[c].wire_bytes, 4096));
        p->rest_buffer_bytes = zo2_max_u64(p->rest_buffer_bytes, zo2_round_up(l->chunks[c].rest_bytes, 4096));
    }
}

/* What tasks and uploads hold (zo2_masters_held()), and two of each for the lanes that read and write. */
static void least_buffers(zo2_spill_plan *p, uint32_t threads)
{
    uint32_t tasks = zo2_masters_slots(threads) + 1;
    p->wire_buffers = tasks + ZO2_MASTERS_UPLOADS + 2;
    p->rest_buffers = p->rest_buffer_bytes ? tasks + 2 : 0;
}

static uint64_t buffer_bytes(const zo2_spill_plan *p)
{
    return p->wire_buffers * p->wire_buffer_bytes + p->rest_buffers * p->rest_buffer_bytes;
}

/* Up to a window, and to what there is to hold. With wires first, few of the planes that move are rests: once in K + 1 steps. */
static void grow_buffers(zo2_spill_plan *p, uint64_t window)
{
    const uint32_t wires = p->tiers.chunks[ZO2_TIER_SPILL], rests = wires + p->tiers.chunks[ZO2_TIER_WIRE];
    for (uint32_t i = 0;; i++) {
        zo2_spill_plan next = *p;
        next.wire_buffers += p->wire_buffers < wires;
        if (!p->wires_first || i % 4 == 0 || p->wire_buffers >= wires)
            next.rest_buffers += p->rest_buffers < rests && p->rest_buffer_bytes;
        uint64_t bytes = buffer_bytes(&next);
        if (bytes > window || bytes == buffer_bytes(p))
            return;
        *p = next;
    }
}

/* ---- one cut of the model ---- */

typedef struct room {
    uint64_t beside; /* host memory of everything else */
    uint64_t all;    /* RAM for both planes of all chunks */
    uint64_t have;   /* for planes and buffers */
} room;

/* Buffers and tiers of one way to spend RAM. */
static void place(zo2_spill_plan *p, const zo2_layout *l, const uint32_t *stored_as, uint32_t dirs, const room *r,
                  uint8_t *tier)
{
    uint64_t window = zo2_min_u64(zo2_min_u64(dirs * WINDOW_A_DRIVE, WINDOW_MOST), r->have / WINDOW_PART);
    uint64_t least = buffer_bytes(p);
    p->plane_bytes = r->have > least ? r->have - zo2_max_u64(least, window) : 0;
    zo2_placement_choose(l, stored_as, p->plane_bytes, p->wires_first, tier, &p->tiers);
    grow_buffers(p, window);
}

/* Of the spill's files, which have room for everything. */
static zo2_status file_bytes(uint64_t *out, const zo2_layout *l, const uint32_t *stored_as, uint32_t dirs)
{
    zo2_spill_chunk *chunks = zo2_spill_files_chunks(l, stored_as);
    if (!chunks)
        return ZO2_ERR_NOMEM;
    *out = zo2_spill_bytes(&(zo2_spill_config){.chunks = chunks, .n_chunks = l->n_chunks, .n_dirs = dirs});
    free(chunks);
    return *out ? ZO2_OK : zo2_error(ZO2_ERR_ARG, "%s", zo2_last_error());
}

static zo2_status place_all(zo2_full_plan *out, const zo2_layout *l, const uint32_t *stored_as, const zo2_shape *s,
                            const room *r)
{
    uint8_t *tier = malloc(l->n_chunks);
    if (!tier)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the table of %u chunks", l->n_chunks);
    const zo2_spill_plan least = out->spill[0];
    out->wires_first_pending = zo2_tiers_wires_first(l);
    for (int wires_first = 0; wires_first < 2; wires_first++) {
        zo2_spill_plan *p = &out->spill[wires_first];
        *p = least;
        p->wires_first = wires_first;
        if (r->all <= r->have) { /* nothing passes through buffers */
            p->wire_buffers = p->rest_buffers = 0;
            p->plane_bytes = r->all;
            zo2_placement_choose(l, stored_as, r->all, 0, tier, &p->tiers);
        } else {
            place(p, l, stored_as, s->spill_dirs, r, tier);
        }
        p->buffer_bytes = buffer_bytes(p);
        p->tiers.turns = s->turns;
    }
    free(tier);
    return file_bytes(&out->pub.spill_bytes, l, stored_as, s->spill_dirs);
}

const zo2_spill_plan *zo2_plan_spill(const zo2_full_plan *p, uint32_t pending)
{
    return &p->spill[pending >= p->wires_first_pending];
}

double zo2_plan_written(const zo2_full_plan *p, uint32_t pending)
{
    return zo2_tiers_written(&zo2_plan_spill(p, pending)->tiers, pending);
}

zo2_status zo2_plan_budget_pending(uint32_t *pending, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s,
                                   const uint32_t *stored_as)
{
    zo2_full_plan p;
    int fits;
    zo2_status status = zo2_plan_place(&p, a, be, s, stored_as, &fits);
    double least = INFINITY;
    for (*pending = 0; !status && *pending <= ZO2_MAX_PENDING; ++*pending) {
        double written = zo2_plan_written(&p, *pending);
        if (written <= (double)s->write_budget)
            return ZO2_OK;
        least = fmin(least, written);
    }
    *pending = 0;
    if (status)
        return status;
    return zo2_error(
        ZO2_ERR_ARG,
        "a write budget of %llu bytes a step is too small: with %d pending updates, which is the most, a step "
        "writes %.0f bytes on average; more host memory makes that less",
        (unsigned long long)s->write_budget, ZO2_MAX_PENDING, ceil(least));
}

/* Fits the device with chunks of at most s->chunk_most, and sizes the smallest buffers. */
static zo2_status cut(zo2_full_plan *out, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s,
                      const uint32_t *stored_as, zo2_layout *l, room *r, int *fits)
{
    zo2_status status = zo2_plan_fit(out, a, be, s, fits);
    if (!status)
        status = zo2_layout_create(l, a, s->wires, s->compute, s->tile_rule, out->chunk_bytes);
    if (status)
        return status;
    size_buffers(&out->spill[0], l);
    least_buffers(&out->spill[0], s->threads);
    r->beside = zo2_plan_host_rest(out, a, be, s) + s->threads * PACK_TASK + (uint64_t)l->n_chunks * CHUNK_TABLES;
    r->all = zo2_tiers_ram(l, stored_as);
    r->have = !s->host_bytes ? r->all : s->host_bytes > r->beside ? s->host_bytes - r->beside : 0;
    out->pub.host_min_bytes = r->beside + zo2_min_u64(buffer_bytes(&out->spill[0]), r->all);
    return ZO2_OK;
}

static zo2_status place_spilled(zo2_full_plan *out, const zo2_arch *a, const zo2_backend_ops *be,
                                const zo2_shape *shape, const uint32_t *stored_as, int *fits)
{
    zo2_shape s = *shape;
    zo2_layout l = {0};
    room r;
    uint64_t larger = UINT64_MAX; /* host bytes with larger chunks */
    zo2_status status;
    for (s.chunk_most = most_chunk(a, shape);; s.chunk_most /= 2) { /* smaller chunks have smaller buffers */
        status = cut(out, a, be, &s, stored_as, &l, &r, fits);
        if (status || s.chunk_bytes || s.chunk_most <= CHUNK_MIN || !s.host_bytes ||
            out->pub.host_min_bytes <= s.host_bytes || out->pub.host_min_bytes >= larger)
            break;
        larger = out->pub.host_min_bytes;
        zo2_layout_free(&l);
    }
    if (!status && out->pub.host_min_bytes >= larger) { /* and more of them larger tables */
        zo2_layout_free(&l);
        s.chunk_most *= 2;
        status = cut(out, a, be, &s, stored_as, &l, &r, fits);
    }
    if (!status)
        status = place_all(out, &l, stored_as, &s, &r);
    zo2_layout_free(&l);
    if (status)
        return status;
    const zo2_spill_plan *p = zo2_plan_spill(out, s.pending);
    out->pub.host_peak_bytes = r.beside + p->buffer_bytes + p->tiers.ram_bytes + p->tiers.wire_bytes;
    return ZO2_OK;
}

zo2_status zo2_plan_place(zo2_full_plan *out, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s,
                          const uint32_t *stored_as, int *fits)
{
    if (s->spill_dirs)
        return place_spilled(out, a, be, s, stored_as, fits);
    zo2_status status = zo2_plan_fit(out, a, be, s, fits);
    out->pub.host_peak_bytes = zo2_masters_estimate(a, s->wires, stored_as) + zo2_plan_host_rest(out, a, be, s);
    out->pub.host_min_bytes = out->pub.host_peak_bytes;
    return status;
}

/* reader.c: see reader.h. */
#include "engine/stream/reader.h"
#include "engine/base/checked.h"
#include "engine/base/clock.h"
#include "engine/base/job_error.h"
#include "engine/base/pool.h"
#include "engine/masters/home.h"
#include "engine/masters/plane_cache.h"
#include "engine/model/layout.h"
#include "storage/io/aio.h"
#include "storage/spill/spill.h"

#include <stdlib.h>

uint64_t zo2_reader_plane_bytes(const zo2_reader *r, uint32_t chunk, int kind)
{
    const zo2_chunk *c = &r->home->rebuild.layout->chunks[chunk];
    return kind ? c->rest_bytes : c->wire_bytes;
}

/* ---- transfers ---- */

static uint32_t in_flight(const zo2_reader *r)
{
    return r->queue ? zo2_aio_in_flight(r->queue) : 0;
}

/* For transfers; without files none is ever asked for. */
static uint32_t room(const zo2_reader *r)
{
    return r->queue ? zo2_aio_room(r->queue) : ZO2_READER_TRANSFERS;
}

static zo2_status submit(zo2_reader *r, const zo2_spill_version *v, zo2_plane plane, uint64_t bytes, zo2_buffer *to,
                         uint32_t pc)
{
    uint32_t i = r->unused[--r->n_unused];
    r->transfers[i] = (zo2_read_transfer){.version = *v, .to = to, .plane = plane, .pc = pc};
    zo2_aio_request request = {.op = ZO2_AIO_READ,
                               .file = v->file,
                               .buffer = to->at,
                               .bytes = zo2_round_up(bytes, ZO2_AIO_PAGE),
                               .offset = plane == ZO2_PLANE_WIRE ? v->wire_at : v->rest_at,
                               .tag = i};
    zo2_status s = zo2_aio_submit(r->queue, &request);
    if (s)
        r->unused[r->n_unused++] = i;
    return s;
}

static int may_submit(const zo2_reader *r)
{
    return r->n_unused && room(r);
}

static void report(zo2_pipeline *p, zo2_reader *r, uint32_t pc, uint64_t bytes, uint64_t from)
{
    r->bytes += bytes;
    if (!r->in_pass) /* which pass it is isn't known yet */
        return;
    zo2_lane_worked(p, ZO2_TRACK_READ, "read", pc, r->bytes, from);
    atomic_fetch_add_explicit(&p->read_bytes, r->bytes, memory_order_relaxed);
    r->bytes = 0;
}

static void make_one(void *arg, uint64_t i)
{
    zo2_reader *r = arg;
    const zo2_read_make *m = &r->makes[i];
    zo2_status s =
        zo2_spill_home_load(r->home, m->chunk, NULL, m->to[0] ? m->to[0]->at : NULL, m->to[1] ? m->to[1]->at : NULL);
    if (s)
        zo2_job_error_set(&r->make_error, s);
    for (int kind = 0; kind < 2; kind++)
        if (m->to[kind])
            zo2_spill_home_made(r->home, m->chunk, zo2_plane_of_kind(kind), m->to[kind], s != ZO2_OK);
}

zo2_status zo2_reader_make(zo2_pipeline *p, zo2_reader *r)
{
    uint64_t from = zo2_clock_ns(), bytes = 0;
    if (!r->n_makes)
        return ZO2_OK;
    for (uint32_t i = 0; i < r->n_makes; i++)
        for (int kind = 0; kind < 2; kind++)
            if (r->makes[i].to[kind])
                bytes += zo2_reader_plane_bytes(r, r->makes[i].chunk, kind);
    zo2_pool_run(p->pool, r->n_makes, make_one, r);
    r->n_makes = 0;
    report(p, r, ZO2_NO_PC, bytes, from);
    return zo2_job_error_raise(&r->make_error);
}

static zo2_status put_off(zo2_pipeline *p, zo2_reader *r, uint32_t chunk, zo2_buffer *const to[2])
{
    r->makes[r->n_makes++] = (zo2_read_make){.chunk = chunk, .to = {to[0], to[1]}};
    return r->n_makes == ZO2_READER_MAKES || r->n_makes >= zo2_pool_threads(p->pool) ? zo2_reader_make(p, r) : ZO2_OK;
}

/* Takes one transfer that is done; waits for it. */
static zo2_status finish_one(zo2_pipeline *p, zo2_reader *r)
{
    zo2_aio_done done;
    uint64_t from = zo2_clock_ns();
    if (!r->queue || !zo2_aio_reap(r->queue, &done, 1, 1))
        return ZO2_OK;
    zo2_read_transfer t = r->transfers[done.tag];
    uint32_t chunk = t.version.chunk;
    uint64_t bytes = zo2_reader_plane_bytes(r, chunk, t.plane == ZO2_PLANE_REST);
    zo2_status s = done.status ? zo2_error(done.status, "%s", zo2_aio_last_error(r->queue)) : ZO2_OK;
    r->unused[r->n_unused++] = (uint32_t)done.tag;
    int right = !s && zo2_spill_home_check(r->home, &t.version, t.plane, t.to->at);
    if (s == ZO2_ERR_FORMAT) { /* the file is too short */
        zo2_spill_forget(r->home->spill, &t.version);
        s = ZO2_OK;
    }
    if (!s && !right && r->in_pass) { /* the history lies still */
        zo2_buffer *to[2] = {t.plane == ZO2_PLANE_WIRE ? t.to : NULL, t.plane == ZO2_PLANE_REST ? t.to : NULL};
        s = put_off(p, r, chunk, to);
        return s ? s : zo2_reader_make(p, r);
    }
    zo2_spill_home_loaded(r->home, t.plane, t.to, !right);
    report(p, r, t.pc, bytes, from);
    return s;
}

/* Reads planes into the buffers that were taken for them. */
zo2_status zo2_reader_read(zo2_pipeline *p, zo2_reader *r, uint32_t chunk, zo2_buffer *const to[2], uint32_t pc)
{
    zo2_spill_version v;
    zo2_status s = ZO2_OK;
    if (!to[0] && !to[1])
        return ZO2_OK;
    if (!zo2_spill_home_find(r->home, chunk, &v))
        return put_off(p, r, chunk, to);
    for (int i = 0; i < 2; i++) {
        while (to[i] && !s && !may_submit(r))
            s = finish_one(p, r);
        if (to[i] && !s)
            s = submit(r, &v, zo2_plane_of_kind(i), zo2_reader_plane_bytes(r, chunk, i), to[i], pc);
        if (to[i] && s)
            zo2_spill_home_loaded(r->home, zo2_plane_of_kind(i), to[i], 1);
    }
    return s;
}

zo2_status zo2_reader_finish(zo2_pipeline *p, zo2_reader *r)
{
    return r->n_makes ? zo2_reader_make(p, r) : finish_one(p, r);
}

int zo2_reader_is_working(const zo2_reader *r)
{
    return r->n_makes || in_flight(r);
}

int zo2_reader_has_room(const zo2_reader *r)
{
    return r->n_unused >= 2 && room(r) >= 2 && r->n_makes < ZO2_READER_MAKES;
}

/* The pass stops: nobody will make them. */
static void drop_makes(zo2_reader *r)
{
    for (uint32_t i = 0; i < r->n_makes; i++)
        for (int kind = 0; kind < 2; kind++)
            if (r->makes[i].to[kind])
                zo2_spill_home_loaded(r->home, zo2_plane_of_kind(kind), r->makes[i].to[kind], 1);
    r->n_makes = 0;
}

void zo2_reader_drain(zo2_pipeline *p, zo2_reader *r)
{
    while (zo2_reader_is_working(r)) {
        drop_makes(r);
        (void)finish_one(p, r);
    }
}

/* ---- life ---- */

zo2_status zo2_reader_create(zo2_reader **out, zo2_spill_home *home, uint32_t most)
{
    *out = NULL;
    zo2_reader *r = calloc(1, sizeof *r);
    if (!r)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the read lane");
    r->home = home;
    pthread_mutex_init(&r->make_error.mutex, NULL);
    for (; r->n_unused < ZO2_READER_TRANSFERS; r->n_unused++)
        r->unused[r->n_unused] = r->n_unused;
    r->held = calloc(most, sizeof *r->held);
    zo2_aio_config config = {.choice = home->aio,
                             .io = home->io,
                             .arena = home->cache.memory,
                             .arena_bytes = home->cache.bytes,
                             .depth = ZO2_READER_TRANSFERS};
    zo2_status s =
        r->held ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "no memory for the read lane's window of %u chunks", most);
    if (!s && home->spill) {
        config.files = zo2_spill_files(home->spill, &config.n_files);
        s = zo2_aio_open(&r->queue, &config);
        if (!s)
            zo2_spill_home_say(home, "read", r->queue);
    }
    if (s) {
        zo2_reader_destroy(r);
        return s;
    }
    *out = r;
    return ZO2_OK;
}

void zo2_reader_destroy(zo2_reader *r)
{
    if (!r)
        return;
    zo2_aio_close(r->queue);
    pthread_mutex_destroy(&r->make_error.mutex);
    free(r->held);
    free(r);
}

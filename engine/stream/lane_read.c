/* lane_read.c: what the read lane does: planes that are not in memory are read before they are needed, in the order of the program.
 *
 * It holds what it has read until the chunk is through the lanes that use it: rests the update lane, wires the upload lane. A chunk
 * that lacks no update needs its wire alone. When it is through its program and the window has room it goes on with the first chunks of
 * the next pass, whose old bytes depend on no loss; those are contents of buffers that nobody holds. It never sleeps while
 * transfers are under way: whoever waits for one of them would wait for ever. */
#include "engine/base/job_error.h"
#include "engine/masters/home.h"
#include "engine/masters/masters.h"
#include "engine/masters/placement.h"
#include "engine/masters/plane_cache.h"
#include "engine/masters/spill_home.h"
#include "engine/model/layout.h"
#include "engine/stream/lanes.h"
#include "engine/stream/pipeline.h"
#include "engine/stream/program.h"
#include "engine/stream/reader.h"
#include "storage/spill/spill.h"

#include <string.h>

/* ---- what a chunk needs ---- */

static int lives_in_spill(const zo2_masters *m, uint32_t chunk, zo2_plane plane)
{
    zo2_tier tier = (zo2_tier)m->tier[m->owner[chunk]];
    return tier == ZO2_TIER_SPILL || (tier == ZO2_TIER_WIRE && plane == ZO2_PLANE_REST);
}

/* Bits of zo2_plane: planes in the spill that a pass needs of the chunk at a pc. */
static unsigned needs(const zo2_pass *pass, uint32_t pc)
{
    const zo2_fetch *f = &pass->program->fetch[pc];
    const zo2_masters *m = pass->masters;
    const zo2_layout *l = pass->program->layout;
    unsigned need = 0;
    if (m->step[f->chunk] < zo2_pass_due_step(pass, f->chunk))
        need = ZO2_PLANE_WIRE | ZO2_PLANE_REST;
    else if (f->upload && !zo2_pass_has_wire(pass, pc))
        need = ZO2_PLANE_WIRE;
    for (int i = 0; i < 2; i++)
        if (!lives_in_spill(m, f->chunk, zo2_plane_of_kind(i)) ||
            !(i ? l->chunks[f->chunk].rest_bytes : l->chunks[f->chunk].wire_bytes))
            need &= ~(unsigned)zo2_plane_of_kind(i);
    return need;
}

/* ---- the window ---- */

static void let_go(zo2_reader *r, uint32_t pc, int kind)
{
    zo2_buffer *b = r->held[pc].plane[kind];
    if (b)
        zo2_spill_home_unpin(r->home, zo2_plane_of_kind(kind), b);
    r->held[pc].plane[kind] = NULL;
}

/* How far the lanes are that use a kind of plane. The upload lane doesn't wait for updates of what it doesn't upload. Under the
 * pipeline's mutex. */
static uint32_t used(const zo2_pipeline *p, int kind)
{
    uint32_t updated = p->lane[ZO2_TRACK_UPDATE].through, uploaded = p->lane[ZO2_TRACK_UPLOAD].through;
    return kind || updated < uploaded ? updated : uploaded;
}

/* Lets go of what has been used. */
static void slide(zo2_pipeline *p, zo2_reader *r)
{
    for (int kind = 0; kind < 2; kind++) {
        pthread_mutex_lock(&p->mutex);
        uint32_t to = used(p, kind);
        pthread_mutex_unlock(&p->mutex);
        to = to < r->next ? to : r->next;
        for (; r->past[kind] < to; r->past[kind]++)
            let_go(r, r->past[kind], kind);
    }
}

/* Tells the update lane about chunks that have all they need. */
static void publish(zo2_pipeline *p, zo2_reader *r)
{
    for (; r->ready < r->next; r->ready++)
        for (int i = 0; i < 2; i++) {
            const zo2_buffer *b = r->held[r->ready].plane[i];
            if (b && zo2_spill_home_is_loading(r->home, b))
                goto done;
        }
done:
    zo2_lane_publish(p, ZO2_TRACK_READ, r->ready);
}

/* Sleeps until more of `plane` can be held, or has been used; 0 if the pass stops. */
static int wait_for_room(zo2_pipeline *p, zo2_reader *r, uint32_t pc, uint32_t chunk, zo2_plane plane)
{
    uint64_t from = 0;
    pthread_mutex_lock(&p->mutex);
    while (!zo2_pipeline_stopped(p) && zo2_spill_home_is_full(r->home, chunk, plane) && used(p, 0) <= r->past[0] &&
           used(p, 1) <= r->past[1])
        zo2_lane_block(p, &from);
    int ok = !zo2_pipeline_stopped(p);
    pthread_mutex_unlock(&p->mutex);
    zo2_lane_waited(p, ZO2_TRACK_READ, pc, from);
    return ok;
}

/* Buffers that wait for a disk which fails will wait for ever. */
static zo2_status write_error(zo2_reader *r)
{
    zo2_status s = zo2_job_error_again(&r->home->error);
    return s ? zo2_error(s,
                         "master weights are not written to their spill: %s. No step is lost: put that right and open "
                         "the run again",
                         zo2_last_error())
             : ZO2_OK;
}

/* Holds a plane for the chunk at a pc; *absent: a buffer that it must be read into. *go 0: the pass stops. */
static zo2_status hold_plane(zo2_pipeline *p, zo2_reader *r, uint32_t pc, int kind, zo2_buffer **absent, int *go)
{
    uint32_t chunk = p->pass.masters->owner[p->pass.program->fetch[pc].chunk];
    for (;;) {
        zo2_buffer *b;
        zo2_pin pin = zo2_spill_home_pin(r->home, chunk, zo2_plane_of_kind(kind), &b);
        if (pin != ZO2_PIN_FULL) {
            r->held[pc].plane[kind] = b;
            *absent = pin == ZO2_PIN_ABSENT ? b : NULL;
            return ZO2_OK;
        }
        if (zo2_reader_is_working(r)) {
            zo2_status s = zo2_reader_finish(p, r);
            if (s)
                return s;
        } else {
            zo2_status s = write_error(r);
            publish(p, r);
            *go = !s && wait_for_room(p, r, pc, chunk, zo2_plane_of_kind(kind));
            if (!*go)
                return s;
        }
        publish(p, r);
        slide(p, r);
    }
}

/* The update lane waits for a chunk that was put off, while what follows it comes from the disk. */
static int is_starved(zo2_pipeline *p, const zo2_reader *r)
{
    pthread_mutex_lock(&p->mutex);
    int waits = used(p, 1) >= r->ready;
    pthread_mutex_unlock(&p->mutex);
    const zo2_read_held *newest = &r->held[r->next - 1];
    const zo2_read_make *last = &r->makes[r->n_makes - 1];
    return waits && (!newest->plane[0] || newest->plane[0] != last->to[0]) &&
           (!newest->plane[1] || newest->plane[1] != last->to[1]);
}

static zo2_status read_chunk(zo2_pipeline *p, zo2_reader *r, uint32_t pc, int *go)
{
    unsigned need = needs(&p->pass, pc);
    zo2_buffer *to[2] = {NULL, NULL};
    zo2_status s = ZO2_OK;
    for (int i = 0; i < 2 && !s && *go; i++)
        if (need & zo2_plane_of_kind(i))
            s = hold_plane(p, r, pc, i, &to[i], go);
    if (s || !*go) { /* what was taken won't be read */
        for (int i = 0; i < 2; i++)
            if (to[i])
                zo2_spill_home_loaded(r->home, zo2_plane_of_kind(i), to[i], 1);
        return s;
    }
    return zo2_reader_read(p, r, p->pass.masters->owner[p->pass.program->fetch[pc].chunk], to, pc);
}

/* ---- reading on ---- */

/* The pass after this one, as far as it is known: the same, a step later if it trains. */
static zo2_pass next_pass(const zo2_pass *pass)
{
    zo2_pass next = *pass;
    next.step += pass->weights == ZO2_PASS_TRAIN;
    return next;
}

/* One more chunk of the next pass; 0 if there is none, or no room for it. */
static int read_on(zo2_pipeline *p, zo2_reader *r, uint32_t limit)
{
    if (r->ahead >= limit || !zo2_reader_has_room(r) || r->last.program->layout->arch->groups > 1)
        return 0;
    uint32_t pc = r->ahead, chunk = r->last.masters->owner[r->last.program->fetch[pc].chunk];
    zo2_buffer *to[2] = {NULL, NULL};
    zo2_spill_version v;
    unsigned need = needs(&r->last, pc);
    if (need && !zo2_spill_home_find(r->home, chunk, &v) &&
        r->home->step[chunk]) /* takes the history, which may grow */
        need = 0;
    int full = 0;
    for (int i = 0; i < 2 && !full; i++) {
        if (!(need & zo2_plane_of_kind(i)))
            continue;
        zo2_pin pin = zo2_spill_home_prefetch(r->home, chunk, zo2_plane_of_kind(i), r->ahead_kept[i], &to[i]);
        full = pin == ZO2_PIN_FULL;
        if (pin != ZO2_PIN_ABSENT)
            to[i] = NULL;
        if (!full && !(r->ahead_counted & zo2_plane_of_kind(i))) {
            r->ahead_kept[i]++;
            r->ahead_counted |= zo2_plane_of_kind(i);
        }
    }
    (void)zo2_reader_read(p, r, chunk, to, ZO2_NO_PC); /* what fails is read again, and then the pass fails */
    if (full)
        return 0;
    r->ahead++;
    r->ahead_counted = 0;
    return 1;
}

void zo2_lane_read_ahead(zo2_pipeline *p)
{
    zo2_reader *r = p->reader;
    int go = 1;
    while (go) {
        if (!r->last.program || !read_on(p, r, r->last.program->n)) {
            if (!zo2_reader_is_working(r))
                return;
            (void)zo2_reader_finish(p, r);
        }
        pthread_mutex_lock(&p->mutex);
        go = !zo2_pipeline_stopped(p);
        pthread_mutex_unlock(&p->mutex);
    }
    zo2_reader_drain(p, r); /* whoever wants these planes before the next pass begins would wait for ever */
}

/* ---- a pass ---- */

/* Until what is held has been used, room is for the next pass. */
static zo2_status finish_program(zo2_pipeline *p, zo2_reader *r)
{
    const uint32_t n = p->pass.program->n;
    zo2_status s = ZO2_OK;
    r->last = next_pass(&p->pass);
    r->ahead = r->ahead_counted = 0;
    memset(r->ahead_kept, 0, sizeof r->ahead_kept);
    while (!s) {
        publish(p, r);
        slide(p, r);
        if (r->ready == n && r->past[0] == n && r->past[1] == n)
            break;
        if (r->ready == n && read_on(p, r, r->past[0]))
            continue;
        if (zo2_reader_is_working(r)) {
            s = zo2_reader_finish(p, r);
            continue;
        }
        if (r->ready < n) { /* somebody else is reading it */
            for (int i = 0; i < 2; i++)
                if (r->held[r->ready].plane[i])
                    zo2_spill_home_await(r->home, r->held[r->ready].plane[i]);
            continue;
        }
        uint64_t from = 0;
        pthread_mutex_lock(&p->mutex);
        while (!zo2_pipeline_stopped(p) && used(p, 0) <= r->past[0] && used(p, 1) <= r->past[1])
            zo2_lane_block(p, &from);
        int stopped = zo2_pipeline_stopped(p);
        pthread_mutex_unlock(&p->mutex);
        zo2_lane_waited(p, ZO2_TRACK_READ, ZO2_NO_PC, from);
        if (stopped)
            break;
    }
    return s;
}

static void begin(zo2_reader *r, const zo2_pass *pass)
{
    memset(r->held, 0, pass->program->n * sizeof *r->held);
    r->next = r->ready = r->past[0] = r->past[1] = 0;
    r->last = (zo2_pass){.program = NULL};
    r->in_pass = 1;
}

/* The pass is over, one way or other: nothing is held. */
static void end(zo2_pipeline *p, zo2_reader *r, int stopped)
{
    if (stopped)
        zo2_reader_drain(p, r);
    for (uint32_t pc = 0; pc < p->pass.program->n; pc++)
        for (int i = 0; i < 2; i++)
            let_go(r, pc, i);
    if (stopped)
        r->last.program = NULL;
    r->in_pass = 0;
}

void zo2_lane_read(zo2_pipeline *p)
{
    zo2_reader *r = p->reader;
    zo2_status s = ZO2_OK;
    int go = 1;
    if (p->pass.weights == ZO2_PASS_EXACT) { /* its tasks read what they need themselves, all at once */
        zo2_lane_publish(p, ZO2_TRACK_READ, p->pass.program->n);
        return;
    }
    begin(r, &p->pass);
    while (r->next < p->pass.program->n && !s && go) {
        s = read_chunk(p, r, r->next, &go);
        r->next += !s && go;
        publish(p, r);
        slide(p, r);
        if (!s && r->n_makes && is_starved(p, r))
            s = zo2_reader_make(p, r);
        pthread_mutex_lock(&p->mutex);
        go = go && !zo2_pipeline_stopped(p);
        pthread_mutex_unlock(&p->mutex);
    }
    if (!s && go)
        s = finish_program(p, r);
    if (s)
        zo2_lane_fail(p, s);
    pthread_mutex_lock(&p->mutex);
    int stopped = zo2_pipeline_stopped(p);
    pthread_mutex_unlock(&p->mutex);
    end(p, r, stopped);
}

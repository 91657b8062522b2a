/* lanes.c: what every lane does: waiting for the one before it, publishing, reporting. */
#include "engine/stream/lanes.h"
#include "engine/base/clock.h"
#include "engine/base/job_error.h"
#include "engine/masters/history.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "engine/plan/resident.h"
#include "engine/stream/program.h"
#include "engine/stream/trace.h"

int zo2_pipeline_stopped(const zo2_pipeline *p)
{
    return p->stop || p->pausing || atomic_load(p->abort);
}

void zo2_lane_block(zo2_pipeline *p, uint64_t *from)
{
    if (!*from)
        *from = zo2_clock_ns();
    pthread_cond_wait(&p->changed, &p->mutex);
}

void zo2_lane_set_through(zo2_pipeline *p, zo2_track lane, uint32_t pc)
{
    if (p->lane[lane].through >= pc)
        return;
    p->lane[lane].through = pc;
    pthread_cond_broadcast(&p->changed);
}

void zo2_lane_publish(zo2_pipeline *p, zo2_track lane, uint32_t pc)
{
    if (p->lane[lane].through >= pc)
        return;
    pthread_mutex_lock(&p->mutex);
    zo2_lane_set_through(p, lane, pc);
    pthread_mutex_unlock(&p->mutex);
}

uint64_t zo2_pass_version(const zo2_pass *pass, uint32_t pc)
{
    const zo2_layout *l = pass->program->layout;
    uint32_t chunk = zo2_program_fetch(pass->program, pc)->chunk;
    if (pass->masters)
        return pass->masters->shared[chunk] && !l->units[l->chunks[chunk].unit].frozen ? 0
                                                                                       : pass->masters->step[chunk] + 1;
    uint64_t step = pass->step + (pc >= pass->program->n);
    return zo2_unit_due_step(&l->units[l->chunks[chunk].unit], step, pass->pending) + 1;
}

int zo2_pass_has_wire(const zo2_pass *pass, uint32_t pc)
{
    uint32_t chunk = zo2_program_fetch(pass->program, pc)->chunk;
    uint64_t now = pass->resident ? zo2_pass_version(pass, pc) : 0;
    return now && pass->resident->at[chunk] != ZO2_NOT_RESIDENT && pass->resident->holds[chunk] == now;
}

uint64_t zo2_pass_due_step(const zo2_pass *pass, uint32_t chunk)
{
    const zo2_layout *l = pass->masters->layout;
    const zo2_unit *u = &l->units[l->chunks[chunk].unit];
    if (pass->weights == ZO2_PASS_TRAIN)
        return zo2_history_moved(pass->history, u->group, zo2_unit_due_step(u, pass->step, pass->pending));
    /* evaluations see the wires of the last step, which a chunk that comes from a disk may not have yet */
    if (pass->weights != ZO2_PASS_WIRE || !pass->step)
        return 0;
    return zo2_history_moved(pass->history, u->group, zo2_unit_due_step(u, pass->step - 1, pass->pending));
}

int zo2_lane_await(zo2_pipeline *p, zo2_track lane, uint32_t pc)
{
    uint64_t from = 0;
    if (lane == p->first) /* nobody is before it */
        return 1;
    pthread_mutex_lock(&p->mutex);
    while (p->lane[lane - 1].through <= pc && !zo2_pipeline_stopped(p)) {
        zo2_lane_set_through(p, lane, pc);
        zo2_lane_block(p, &from);
    }
    int ok = !zo2_pipeline_stopped(p);
    pthread_mutex_unlock(&p->mutex);
    zo2_lane_waited(p, lane, pc, from);
    return ok;
}

void zo2_lane_fail(zo2_pipeline *p, zo2_status s)
{
    zo2_job_error_set(&p->error, s);
    pthread_mutex_lock(&p->mutex);
    p->stop = 1;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
}

void zo2_pipeline_pause(zo2_pipeline *p)
{
    pthread_mutex_lock(&p->mutex);
    p->pausing = 1;
    pthread_cond_broadcast(&p->changed);
    while (p->lanes_on)
        pthread_cond_wait(&p->changed, &p->mutex);
    p->pausing = 0;
    pthread_mutex_unlock(&p->mutex);
}

/* ---- reports ---- */

static void add_chunk(const zo2_pipeline *p, uint32_t pc, zo2_trace_what *what)
{
    const zo2_layout *l = p->pass.program->layout;
    uint32_t chunk = zo2_program_fetch(p->pass.program, pc)->chunk;
    const zo2_unit *u = &l->units[l->chunks[chunk].unit];
    what->chunk = chunk;
    if (u->tensor == ZO2_NO_TENSOR)
        return;
    what->tile = u->tile;
    what->tensor = l->arch->tensors[u->tensor].name;
}

static int is_ahead(const zo2_pipeline *p, uint32_t pc)
{
    return pc != ZO2_NO_PC && pc >= p->pass.program->n;
}

static void spent(zo2_pipeline *p, zo2_track lane, _Atomic uint64_t *ns, const char *name, uint32_t pc, uint64_t bytes,
                  uint64_t from)
{
    if (!from)
        return;
    uint64_t to = zo2_clock_ns();
    atomic_fetch_add_explicit(ns, to - from, memory_order_relaxed);
    if (!p->trace)
        return;
    zo2_trace_what what = {
        .lane = zo2_track_name(lane), .name = name, .step = p->pass.step, .chunk = -1, .tile = -1, .bytes = bytes};
    what.step += is_ahead(p, pc);
    if (pc != ZO2_NO_PC)
        add_chunk(p, pc, &what);
    zo2_trace_span(p->trace, &what, from, to);
}

void zo2_lane_waited(zo2_pipeline *p, zo2_track lane, uint32_t pc, uint64_t from)
{
    if (!is_ahead(p, pc)) /* nobody waits for a lane that is ahead */
        spent(p, lane, &p->waiting_ns[lane], "wait", pc, 0, from);
}

void zo2_lane_worked(zo2_pipeline *p, zo2_track lane, const char *name, uint32_t pc, uint64_t bytes, uint64_t from)
{
    spent(p, lane, &p->busy_ns[lane], name, pc, bytes, from);
}

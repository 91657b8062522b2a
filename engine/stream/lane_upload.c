/* lane_upload.c: what the upload lane does with each chunk: a slot, and a copy of the wire into it, unless the device has it. */
#include "engine/base/clock.h"
#include "engine/masters/home.h"
#include "engine/masters/masters.h"
#include "engine/model/wire_size.h"
#include "engine/plan/resident.h"
#include "engine/stream/ahead.h"
#include "engine/stream/lanes.h"
#include "engine/stream/pipeline.h"
#include "engine/stream/program.h"
#include "kernels/backend.h"

#include <string.h>

/* Copies under way ahead of a pass: one, and one that follows it. */
#define COPIES_AHEAD 2u

/* ---- copies under way ---- */

/* Waits for the oldest copy and gives its planes back. Others follow it in the queue, so the link doesn't wait meanwhile. pc: that
 * the lane is about. */
static zo2_status give_back_oldest(zo2_pipeline *p, uint32_t pc)
{
    zo2_uploads *u = &p->uploads;
    uint64_t from = zo2_clock_ns();
    zo2_status s = p->be->ops->sync(p->be, p->uploaded_event[u->event[u->first]]);
    zo2_lane_waited(p, ZO2_TRACK_UPLOAD, pc, from);
    zo2_masters_release(&u->planes[u->first]); /* after a device's fault too: it copies nothing any more */
    u->first = (u->first + 1) % ZO2_MASTERS_UPLOADS;
    u->n--;
    return s;
}

static zo2_status give_back_all(zo2_pipeline *p)
{
    zo2_status first = ZO2_OK;
    while (p->uploads.n) {
        zo2_status s = give_back_oldest(p, ZO2_NO_PC);
        first = first ? first : s;
    }
    return first;
}

/* Takes over the planes of an upload that was enqueued. Ahead of a pass all count, not only those that have planes to give back: what
 * the pass itself uploads first shall not find a whole ring of copies before it in the queue. */
static void hold(zo2_pipeline *p, uint32_t pc, zo2_planes *planes)
{
    zo2_uploads *u = &p->uploads;
    if (!zo2_planes_move(planes)) {
        zo2_masters_release(planes);
        if (pc < p->pass.program->n)
            return;
    }
    uint32_t at = (u->first + u->n++) % ZO2_MASTERS_UPLOADS;
    u->planes[at] = *planes;
    u->event[at] = (p->first_event + pc) % ZO2_PIPELINE_EVENTS;
}

/* ---- a chunk ---- */

/* *wire: the host memory that a chunk is uploaded from; *bytes: how much of it; *planes: what has to be held for that. */
static zo2_status wire_of(const zo2_pipeline *p, uint32_t pc, zo2_planes *planes, const void **wire, uint64_t *bytes)
{
    const zo2_program *prog = p->pass.program;
    uint32_t chunk = zo2_program_fetch(prog, pc)->chunk;
    if (p->pass.weights != ZO2_PASS_TRAIN && p->pass.weights != ZO2_PASS_WIRE) { /* it was staged, or there is none */
        *wire = p->staging + (zo2_pipeline_stages(p) ? prog->slot[pc] : 0);
        *bytes = zo2_chunk_sent(prog->layout, chunk, p->pass.weights == ZO2_PASS_NONE ? NULL : *wire);
        return ZO2_OK;
    }
    zo2_status s = zo2_masters_acquire(p->pass.masters, chunk, ZO2_PLANE_WIRE, ZO2_ACCESS_READ, planes);
    if (s)
        return s;
    *bytes = zo2_chunk_sent(prog->layout, chunk, planes->wire);
    if (p->bounce) {
        uint8_t *staging = p->staging + prog->slot[pc];
        memcpy(staging, planes->wire, *bytes);
        *wire = staging;
        zo2_masters_release(planes);
    } else {
        *wire = planes->wire;
    }
    return ZO2_OK;
}

/* Enqueues the copy. *sent: its bytes. */
static zo2_status copy(zo2_pipeline *p, uint32_t pc, zo2_planes *planes, uint64_t *sent)
{
    const zo2_backend_ops *ops = p->be->ops;
    const void *wire;
    zo2_status s = wire_of(p, pc, planes, &wire, sent);
    zo2_event *after = zo2_ring_after(p, pc);
    if (!s && after)
        s = ops->wait(p->be, ZO2_LANE_UPLOAD, after);
    return s ? s : ops->upload(p->be, ZO2_LANE_UPLOAD, zo2_pipeline_address(p, pc), wire, *sent);
}

/* *sent: bytes that were uploaded. */
static zo2_status upload(zo2_pipeline *p, uint32_t pc, uint64_t *sent)
{
    const zo2_program *prog = p->pass.program;
    const zo2_fetch *f = zo2_program_fetch(prog, pc);
    zo2_resident *resident = zo2_pipeline_is_resident(p, pc) ? p->pass.resident : NULL;
    zo2_planes planes = {0};
    zo2_status s = ZO2_OK;
    *sent = 0;
    if (f->upload && !zo2_pass_has_wire(&p->pass, pc)) {
        if (resident)
            resident->holds[f->chunk] = 0;
        s = copy(p, pc, &planes, sent);
        if (!s && resident) {
            resident->holds[f->chunk] = zo2_pass_version(&p->pass, pc);
            resident->sent[f->chunk] = *sent;
        }
    }
    if (!s)
        s = p->be->ops->record(p->be, ZO2_LANE_UPLOAD, zo2_pipeline_uploaded(p, pc));
    if (s) {
        zo2_masters_release(&planes);
        return s;
    }
    prog->sent[pc] = resident ? resident->sent[f->chunk] : *sent;
    if (*sent)
        hold(p, pc, &planes);
    return ZO2_OK;
}

/* A chunk that has its slot: upload, and say so. */
static zo2_status send(zo2_pipeline *p, uint32_t pc)
{
    uint64_t bytes = 0;
    zo2_status s = ZO2_OK;
    int uploads = zo2_program_fetch(p->pass.program, pc)->upload;
    if (p->bounce && uploads)
        s = zo2_ring_free_staging(p, ZO2_TRACK_UPLOAD, pc);
    uint32_t most = pc < p->pass.program->n ? ZO2_MASTERS_UPLOADS : COPIES_AHEAD;
    while (!s && p->uploads.n >= most)
        s = give_back_oldest(p, pc);
    uint64_t from = zo2_clock_ns();
    if (!s)
        s = upload(p, pc, &bytes);
    if (uploads)
        zo2_lane_worked(p, ZO2_TRACK_UPLOAD, bytes ? "upload" : "resident", pc, bytes, from);
    return s;
}

/* ---- the lane ---- */

/* One chunk; 0 if the pass stops. */
static int send_chunk(zo2_pipeline *p, uint32_t pc)
{
    /* What isn't uploaded needn't wait for its update either, so the lane may run ahead of the next pass sooner. */
    if ((p->pass.program->fetch[pc].upload && !zo2_lane_await(p, ZO2_TRACK_UPLOAD, pc)) ||
        !zo2_ring_await_event(p, pc) || (!zo2_pipeline_stages(p) && !zo2_ring_take(p, ZO2_TRACK_UPLOAD, pc)))
        return 0;
    zo2_status s = send(p, pc);
    if (s)
        zo2_lane_fail(p, s);
    return !s;
}

static int came_ahead(const zo2_pipeline *p, uint32_t pc)
{
    return pc < p->came && p->pass.program->sent[pc];
}

void zo2_lane_upload(zo2_pipeline *p)
{
    uint32_t n = p->pass.program->n;
    for (uint32_t i = 0; i < n; i++) {
        if (!came_ahead(p, i) && !send_chunk(p, i))
            break;
        zo2_lane_publish(p, ZO2_TRACK_UPLOAD, i + 1);
    }
    if (zo2_pass_is_followed(&p->pass))
        return;
    zo2_status s = give_back_all(p);
    if (s)
        zo2_lane_fail(p, s);
}

/* In the order of the program, each in its slot. Wires that wait for this step's result leave their slots empty, to be filled in
 * their pass. (A resident one that is settled is there: this pass has it.) What fails is left to the pass, too: that reports it. */
void zo2_lane_upload_ahead(zo2_pipeline *p)
{
    uint32_t n = zo2_pass_is_followed(&p->pass) ? p->pass.program->n : 0;
    for (uint32_t pc = n; pc < 2 * n; pc++) {
        if (!zo2_ring_await_event(p, pc) || !zo2_ring_take(p, ZO2_TRACK_UPLOAD, pc))
            break;
        const zo2_fetch *f = zo2_program_fetch(p->pass.program, pc);
        if (!f->upload || !zo2_wire_is_settled(&p->pass, f->chunk))
            continue;
        if (send(p, pc))
            break;
    }
    (void)give_back_all(p); /* a fault of the device shows in the pass */
}

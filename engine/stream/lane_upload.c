/* lane_upload.c: what the upload lane does with each chunk: a slot, and a copy of the wire into it, unless the device has it. */
#include "engine/base/clock.h"
#include "engine/masters/home.h"
#include "engine/masters/masters.h"
#include "engine/model/wire_size.h"
#include "engine/plan/resident.h"
#include "engine/stream/lanes.h"
#include "engine/stream/pipeline.h"
#include "engine/stream/program.h"
#include "kernels/backend.h"

#include <string.h>

/* Wires that copies may still be reading, oldest first. A copy is over when the event of its pc has passed; until then
 * its plane must stay, unless the plane lies still anyway. */
typedef struct held {
    zo2_planes planes[ZO2_MASTERS_UPLOADS];
    uint32_t pc[ZO2_MASTERS_UPLOADS];
    uint32_t first, n;
} held;

/* The oldest, when its copy is over. Others follow it in the queue, so the link doesn't wait meanwhile. */
static zo2_status give_back_oldest(zo2_pipeline *p, held *h)
{
    uint32_t pc = h->pc[h->first];
    uint64_t from = zo2_clock_ns();
    zo2_status s = p->be->ops->sync(p->be, p->uploaded_event[pc % ZO2_PIPELINE_EVENTS]);
    zo2_lane_waited(p, ZO2_TRACK_UPLOAD, pc, from);
    zo2_masters_release(&h->planes[h->first]); /* after a device's fault too: it copies nothing any more */
    h->first = (h->first + 1) % ZO2_MASTERS_UPLOADS;
    h->n--;
    return s;
}

/* Takes over the planes of an upload that was enqueued. */
static void hold(held *h, uint32_t pc, zo2_planes *planes)
{
    if (!zo2_planes_move(planes)) {
        zo2_masters_release(planes);
        return;
    }
    uint32_t at = (h->first + h->n++) % ZO2_MASTERS_UPLOADS;
    h->planes[at] = *planes;
    h->pc[at] = pc;
}

/* *wire: the host memory that a chunk is uploaded from; *bytes: how much of it; *planes: what has to be held for that. */
static zo2_status wire_of(const zo2_pipeline *p, uint32_t pc, zo2_planes *planes, const void **wire, uint64_t *bytes)
{
    const zo2_program *prog = p->pass.program;
    uint32_t chunk = prog->fetch[pc].chunk;
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

/* *sent: bytes that were uploaded. */
static zo2_status upload(zo2_pipeline *p, held *h, uint32_t pc, uint64_t *sent)
{
    const zo2_program *prog = p->pass.program;
    const zo2_fetch *f = &prog->fetch[pc];
    const zo2_backend_ops *ops = p->be->ops;
    zo2_resident *resident = zo2_pipeline_is_resident(p, pc) ? p->pass.resident : NULL;
    uint64_t now = resident ? zo2_pass_version(&p->pass, f->chunk) : 0;
    zo2_planes planes = {0};
    zo2_status s = ZO2_OK;
    *sent = 0;
    if (f->upload && !(resident && zo2_pass_has_wire(&p->pass, f->chunk))) {
        const void *wire;
        s = wire_of(p, pc, &planes, &wire, sent);
        if (s)
            return s;
        if (resident)
            resident->holds[f->chunk] = 0;
        if (prog->after[pc])
            s = ops->wait(p->be, ZO2_LANE_UPLOAD, p->released_event[(prog->after[pc] - 1) % ZO2_PIPELINE_EVENTS]);
        if (!s)
            s = ops->upload(p->be, ZO2_LANE_UPLOAD, zo2_pipeline_address(p, pc), wire, *sent);
        if (!s && resident) {
            resident->holds[f->chunk] = now;
            resident->sent[f->chunk] = *sent;
        }
    }
    prog->sent[pc] = resident ? resident->sent[f->chunk] : *sent;
    if (!s)
        s = ops->record(p->be, ZO2_LANE_UPLOAD, p->uploaded_event[pc % ZO2_PIPELINE_EVENTS]);
    hold(h, pc, &planes);
    return s;
}

/* One chunk; 0 if the pass stops. */
static int send_chunk(zo2_pipeline *p, held *h, uint32_t pc)
{
    uint64_t bytes = 0;
    zo2_status s = ZO2_OK;
    int uploads = p->pass.program->fetch[pc].upload;
    if (!zo2_lane_await(p, ZO2_TRACK_UPLOAD, pc) || !zo2_ring_await_event(p, pc) ||
        (!zo2_pipeline_stages(p) && !zo2_ring_take(p, ZO2_TRACK_UPLOAD, pc)))
        return 0;
    if (p->bounce && uploads)
        s = zo2_ring_free_staging(p, ZO2_TRACK_UPLOAD, pc);
    if (!s && h->n == ZO2_MASTERS_UPLOADS)
        s = give_back_oldest(p, h);
    uint64_t from = zo2_clock_ns();
    if (!s)
        s = upload(p, h, pc, &bytes);
    if (uploads)
        zo2_lane_worked(p, ZO2_TRACK_UPLOAD, bytes ? "upload" : "resident", pc, bytes, from);
    if (s)
        zo2_lane_fail(p, s);
    else
        zo2_lane_publish(p, ZO2_TRACK_UPLOAD, pc + 1);
    return !s;
}

void zo2_lane_upload(zo2_pipeline *p)
{
    held h = {.n = 0};
    for (uint32_t i = 0; i < p->pass.program->n; i++)
        if (!send_chunk(p, &h, i))
            break;
    while (h.n) {
        zo2_status s = give_back_oldest(p, &h);
        if (s)
            zo2_lane_fail(p, s);
    }
}

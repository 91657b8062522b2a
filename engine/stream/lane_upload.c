/* lane_upload.c: what the upload lane does with each chunk: a slot, and a copy of the wire into it, unless the device has it. */
#include "engine/base/clock.h"
#include "engine/masters/masters.h"
#include "engine/model/layout.h"
#include "engine/model/wire_size.h"
#include "engine/plan/resident.h"
#include "engine/stream/lanes.h"
#include "engine/stream/pipeline.h"
#include "engine/stream/program.h"
#include "kernels/backend.h"

#include <string.h>

/* Number of the wire that a chunk has now: its step and one. 0: nobody can tell, because chunks share their memory. */
static uint64_t version(const zo2_pass *pass, uint32_t chunk)
{
    const zo2_layout *l = pass->program->layout;
    if (pass->masters)
        return pass->masters->shared[chunk] ? 0 : pass->masters->step[chunk] + 1;
    return zo2_unit_due_step(&l->units[l->chunks[chunk].unit], pass->step, pass->pending) + 1;
}

/* The host memory that a chunk is uploaded from; *bytes: how much of it. */
static const void *source_of(const zo2_pipeline *p, uint32_t position, uint64_t *bytes)
{
    const zo2_program *prog = p->pass.program;
    uint32_t chunk = prog->fetch[position].chunk;
    uint8_t *staging = p->staging + prog->slot[position];
    const void *wire = staging; /* where it was staged, or nothing to send */
    if (p->pass.source == ZO2_SOURCE_TRAIN || p->pass.source == ZO2_SOURCE_WIRE)
        wire = zo2_masters_wire(p->pass.masters, chunk);
    *bytes = zo2_chunk_sent(prog->layout, chunk, p->pass.source == ZO2_SOURCE_NONE ? NULL : wire);
    return wire != staging && p->bounce ? memcpy(staging, wire, *bytes) : wire;
}

/* *sent: bytes that were uploaded. */
static zo2_status upload(zo2_pipeline *p, uint32_t position, uint64_t *sent)
{
    const zo2_program *prog = p->pass.program;
    const zo2_fetch *f = &prog->fetch[position];
    const zo2_backend_ops *ops = p->be->ops;
    zo2_resident *resident = zo2_pipeline_is_resident(p, position) ? p->pass.resident : NULL;
    uint64_t now = resident ? version(&p->pass, f->chunk) : 0;
    zo2_status s = ZO2_OK;
    *sent = 0;
    if (f->upload && !(resident && now && resident->holds[f->chunk] == now)) {
        const void *wire = source_of(p, position, sent);
        if (resident)
            resident->holds[f->chunk] = 0;
        if (prog->after[position])
            s = ops->wait(p->be, ZO2_LANE_UPLOAD, p->released_event[(prog->after[position] - 1) % ZO2_PIPELINE_EVENTS]);
        if (!s)
            s = ops->upload(p->be, ZO2_LANE_UPLOAD, zo2_pipeline_address(p, position), wire, *sent);
        if (!s && resident) {
            resident->holds[f->chunk] = now;
            resident->sent[f->chunk] = *sent;
        }
    }
    prog->sent[position] = resident ? resident->sent[f->chunk] : *sent;
    return s ? s : ops->record(p->be, ZO2_LANE_UPLOAD, p->uploaded_event[position % ZO2_PIPELINE_EVENTS]);
}

void zo2_pipeline_upload_pass(zo2_pipeline *p)
{
    for (uint32_t i = 0; i < p->pass.program->n; i++) {
        uint64_t from = 0;
        pthread_mutex_lock(&p->mutex);
        while (p->filled <= i && !zo2_pipeline_stopped(p))
            zo2_pipeline_block(p, &from);
        int ok = !zo2_pipeline_stopped(p);
        pthread_mutex_unlock(&p->mutex);
        zo2_pipeline_spent(p, &p->seconds.upload.waiting, "upload", "wait", i, 0, from);
        if (!ok || (!zo2_pipeline_stages(p) && !zo2_ring_take(p, i, &p->seconds.upload.waiting, "upload")))
            return;
        uint64_t bytes = 0;
        zo2_status s = ZO2_OK;
        if (p->bounce && p->pass.program->fetch[i].upload)
            s = zo2_ring_free_staging(p, i, &p->seconds.upload.waiting, "upload");
        from = zo2_clock_ns();
        if (!s)
            s = upload(p, i, &bytes);
        if (p->pass.program->fetch[i].upload)
            zo2_pipeline_spent(p, &p->seconds.upload.busy, "upload", bytes ? "upload" : "resident", i, bytes, from);
        if (s) {
            zo2_pipeline_fail(p, s);
            return;
        }
        pthread_mutex_lock(&p->mutex);
        p->uploaded = i + 1;
        pthread_cond_broadcast(&p->changed);
        pthread_mutex_unlock(&p->mutex);
    }
}

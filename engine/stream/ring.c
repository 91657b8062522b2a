/* ring.c: the device's ring of slots, first in, first out, and what lanes do with it. */
#include "engine/base/clock.h"
#include "engine/plan/resident.h"
#include "engine/stream/lanes.h"
#include "engine/stream/pipeline.h"
#include "engine/stream/program.h"
#include "engine/stream/trace.h"

int zo2_pipeline_is_resident(const zo2_pipeline *p, uint32_t pc)
{
    const zo2_pass *pass = &p->pass;
    return pass->resident && pass->resident->at[pass->program->fetch[pc].chunk] != ZO2_NOT_RESIDENT;
}

uint64_t zo2_pipeline_slot_bytes(const zo2_pipeline *p, uint32_t pc)
{
    const zo2_program *prog = p->pass.program;
    const zo2_fetch *f = &prog->fetch[pc];
    int passes = f->upload && (p->bounce || !zo2_pipeline_is_resident(p, pc));
    return passes ? prog->layout->chunks[f->chunk].wire_bytes : 0;
}

uint8_t *zo2_pipeline_address(const zo2_pipeline *p, uint32_t pc)
{
    const zo2_program *prog = p->pass.program;
    if (zo2_pipeline_is_resident(p, pc))
        return p->resident_base + p->pass.resident->at[prog->fetch[pc].chunk];
    return p->ring_base + prog->slot[pc];
}

/* Places `need` bytes behind the newest slot, or at the front; 0 if they don't fit yet. */
static int ring_place(zo2_pipeline *p, uint32_t pc, uint64_t need)
{
    const zo2_program *prog = p->pass.program;
    zo2_ring *r = &p->ring;
    uint32_t oldest = r->oldest;
    while (oldest < pc && (oldest < p->released || !zo2_pipeline_slot_bytes(p, oldest)))
        oldest++;
    r->oldest = oldest;
    if (oldest == pc) { /* empty */
        if (need > r->bytes)
            return 0;
        r->head = 0;
    } else {
        uint64_t tail = prog->slot[oldest];
        if (r->head > tail) {
            if (need > r->bytes - r->head) {
                if (need > tail)
                    return 0;
                r->head = 0;
            }
        } else if (need > tail - r->head) {
            return 0;
        }
    }
    p->pass.program->slot[pc] = r->head;
    p->pass.program->after[pc] = p->releases;
    r->head += need;
    r->used += need;
    return 1;
}

int zo2_ring_take(zo2_pipeline *p, zo2_track lane, uint32_t pc)
{
    uint64_t from = 0, used, need = zo2_pipeline_slot_bytes(p, pc);
    pthread_mutex_lock(&p->mutex);
    p->pass.program->slot[pc] = p->pass.program->after[pc] = 0;
    while (need && !zo2_pipeline_stopped(p) && !ring_place(p, pc, need))
        zo2_lane_block(p, &from);
    int ok = !zo2_pipeline_stopped(p);
    used = p->ring.used;
    pthread_mutex_unlock(&p->mutex);
    zo2_lane_waited(p, lane, pc, from);
    if (need)
        zo2_trace_count(p->trace, "ring", p->pass.step, used);
    return ok;
}

zo2_status zo2_ring_free_staging(zo2_pipeline *p, zo2_track lane, uint32_t pc)
{
    uint64_t after = p->pass.program->after[pc];
    if (!after)
        return ZO2_OK;
    uint64_t from = zo2_clock_ns();
    zo2_status s = p->be->ops->sync(p->be, p->released_event[(after - 1) % ZO2_PIPELINE_EVENTS]);
    zo2_lane_waited(p, lane, pc, from);
    return s;
}

int zo2_pipeline_stages(const zo2_pipeline *p)
{
    return p->pass.weights == ZO2_PASS_EXACT;
}

/* ring.c: the device's ring of slots, first in, first out, and what lanes do with it. */
#include "engine/base/clock.h"
#include "engine/plan/resident.h"
#include "engine/stream/lanes.h"
#include "engine/stream/pipeline.h"
#include "engine/stream/program.h"
#include "engine/stream/trace.h"
#include "kernels/backend.h"

int zo2_pipeline_is_resident(const zo2_pipeline *p, uint32_t pc)
{
    const zo2_pass *pass = &p->pass;
    return pass->resident && pass->resident->at[zo2_program_fetch(pass->program, pc)->chunk] != ZO2_NOT_RESIDENT;
}

uint64_t zo2_pipeline_slot_bytes(const zo2_pipeline *p, uint32_t pc)
{
    const zo2_program *prog = p->pass.program;
    const zo2_fetch *f = zo2_program_fetch(prog, pc);
    int passes = f->upload && (p->bounce || !zo2_pipeline_is_resident(p, pc));
    return passes ? prog->layout->chunks[f->chunk].wire_bytes : 0;
}

uint8_t *zo2_pipeline_address(const zo2_pipeline *p, uint32_t pc)
{
    const zo2_program *prog = p->pass.program;
    if (zo2_pipeline_is_resident(p, pc))
        return p->resident_base + p->pass.resident->at[zo2_program_fetch(prog, pc)->chunk];
    return p->ring_base + prog->slot[pc];
}

/* Slots of the lap before that begin in [begin, end) are overwritten now: the release that freed the last of them must have
 * passed. (One that reaches into the range from before it was overwritten, and waited for, already.) */
static void overwrite(zo2_pipeline *p, uint32_t pc, uint64_t begin, uint64_t end)
{
    const zo2_program *prog = p->pass.program;
    zo2_ring *r = &p->ring;
    for (; r->overwritten < pc; r->overwritten++) {
        if (!zo2_pipeline_slot_bytes(p, r->overwritten))
            continue;
        if (prog->slot[r->overwritten] < begin || prog->slot[r->overwritten] >= end)
            break;
        r->after = prog->freed_by[r->overwritten];
    }
}

/* Where `need` bytes go: behind the newest slot, or at the front where they don't fit there; 0 if there is no room yet. Places depend
 * on the sizes alone, not on how far the lanes are: that decides only when a place is free. */
static int find_place(const zo2_pipeline *p, uint32_t pc, uint64_t need, uint64_t *at)
{
    const zo2_ring *r = &p->ring;
    int at_end = need <= r->bytes - r->head;
    *at = at_end ? r->head : 0;
    if (r->oldest == pc) /* empty */
        return need <= r->bytes;
    uint64_t tail = p->pass.program->slot[r->oldest];
    if (r->head > tail)
        return at_end || need <= tail;
    return need <= tail - r->head;
}

static void has_place(zo2_pipeline *p, uint32_t pc)
{
    p->pass.program->after[pc] = p->ring.after;
    p->placed = pc + 1;
}

/* Gives `pc` its slot; 0 if there is no room yet. */
static int ring_place(zo2_pipeline *p, uint32_t pc, uint64_t need)
{
    zo2_ring *r = &p->ring;
    uint64_t at;
    while (r->oldest < pc && (r->oldest < p->released || !zo2_pipeline_slot_bytes(p, r->oldest)))
        r->oldest++;
    if (!need) {
        has_place(p, pc);
        return 1;
    }
    if (!find_place(p, pc, need, &at))
        return 0;
    if (at < r->head) /* the rest of the lap stays empty */
        overwrite(p, pc, r->head, r->bytes);
    overwrite(p, pc, at, at + need);
    p->pass.program->slot[pc] = at;
    r->head = at + need;
    r->used += need;
    has_place(p, pc);
    return 1;
}

int zo2_ring_take(zo2_pipeline *p, zo2_track lane, uint32_t pc)
{
    uint64_t from = 0, used, need = zo2_pipeline_slot_bytes(p, pc);
    pthread_mutex_lock(&p->mutex);
    if (pc >= p->placed) {
        p->pass.program->slot[pc] = p->pass.program->sent[pc] = 0;
        while (!zo2_pipeline_stopped(p) && !ring_place(p, pc, need))
            zo2_lane_block(p, &from);
    }
    int ok = !zo2_pipeline_stopped(p);
    used = p->ring.used;
    pthread_mutex_unlock(&p->mutex);
    zo2_lane_waited(p, lane, pc, from);
    if (need)
        zo2_trace_count(p->trace, "ring", p->pass.step, used);
    return ok;
}

int zo2_ring_await_event(zo2_pipeline *p, uint32_t pc)
{
    uint64_t from = 0;
    pthread_mutex_lock(&p->mutex);
    while (pc >= ZO2_PIPELINE_EVENTS && pc - ZO2_PIPELINE_EVENTS >= p->awaited && !zo2_pipeline_stopped(p))
        zo2_lane_block(p, &from);
    int ok = !zo2_pipeline_stopped(p);
    pthread_mutex_unlock(&p->mutex);
    zo2_lane_waited(p, ZO2_TRACK_UPLOAD, pc, from);
    return ok;
}

zo2_event *zo2_pipeline_uploaded(const zo2_pipeline *p, uint32_t pc)
{
    return p->uploaded_event[(p->first_event + pc) % ZO2_PIPELINE_EVENTS];
}

zo2_event *zo2_ring_after(const zo2_pipeline *p, uint32_t pc)
{
    uint64_t after = p->pass.program->after[pc];
    return after ? p->released_event[(after - 1) % ZO2_PIPELINE_EVENTS] : NULL;
}

zo2_status zo2_ring_free_staging(zo2_pipeline *p, zo2_track lane, uint32_t pc)
{
    zo2_event *after = zo2_ring_after(p, pc);
    if (!after)
        return ZO2_OK;
    uint64_t from = zo2_clock_ns();
    zo2_status s = p->be->ops->sync(p->be, after);
    zo2_lane_waited(p, lane, pc, from);
    return s;
}

int zo2_pipeline_stages(const zo2_pipeline *p)
{
    return p->pass.weights == ZO2_PASS_EXACT;
}

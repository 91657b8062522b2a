/* follow.c: how one pass follows another: with a ring that goes on, and what came ahead of it (ahead.h), or anew. */
#include "engine/stream/lanes.h"
#include "engine/stream/pipeline.h"
#include "engine/stream/program.h"

#include <string.h>

/* The step after the one that went well, over the same weights. */
static int follows(const zo2_pipeline *p, const zo2_pass *next)
{
    const zo2_pass *last = &p->pass;
    return p->goes_on && next->step == last->step + 1 && next->program == last->program &&
           next->weights == last->weights && next->masters == last->masters && next->history == last->history &&
           next->pending == last->pending && next->resident == last->resident;
}

static void move_down(uint64_t *of, uint32_t n, uint32_t count)
{
    memmove(of, of + n, count * sizeof *of);
}

static uint32_t less(uint32_t pc, uint32_t n)
{
    return pc > n ? pc - n : 0;
}

/* What was fetches [n, ...) is [0, ...) now. The caller has waited until all of the last pass was used, so what is written from now on
 * has nothing of it to wait for. */
static void go_on(zo2_pipeline *p)
{
    zo2_program *prog = p->pass.program;
    uint32_t n = prog->n;
    p->came = p->placed = less(p->placed, n);
    move_down(prog->slot, n, p->came);
    move_down(prog->sent, n, p->came);
    move_down(prog->after, n, p->came);
    p->ring.oldest = less(p->ring.oldest, n);
    p->ring.overwritten = less(p->ring.overwritten, n);
    p->first_event = (p->first_event + n) % ZO2_PIPELINE_EVENTS;
}

static void begin_anew(zo2_pipeline *p)
{
    p->ring = (zo2_ring){.bytes = zo2_pipeline_stages(p) || p->bounce ? p->staging_bytes : p->ring_bytes};
    p->came = p->placed = p->first_event = 0;
    p->releases = 0;
}

zo2_status zo2_pipeline_begin(zo2_pipeline *p, const zo2_pass *pass)
{
    zo2_status s = ZO2_OK;
    zo2_pipeline_pause(p);
    int on = follows(p, pass);
    if (!on)
        s = p->be->ops->drain(p->be); /* what came ahead is dropped */
    if (s)
        return s;
    p->pass = *pass;
    if (on)
        go_on(p);
    else
        begin_anew(p);
    zo2_pipeline_start(p);
    return ZO2_OK;
}

zo2_status zo2_pipeline_rest(zo2_pipeline *p)
{
    zo2_pipeline_pause(p);
    p->goes_on = 0;
    return p->be->ops->drain(p->be);
}

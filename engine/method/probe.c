/* probe.c: see probe.h. */
#include "engine/method/probe.h"

#include <string.h>

zo2_probe_group zo2_probe_group_at(const zo2_probe_plan *p, uint32_t first)
{
    zo2_probe_group g = {.first = first};
    int has_query = 0;
    while (g.n < ZO2_MAX_PANELS && first + g.n < p->streams) {
        const zo2_probe *s = &p->stream[first + g.n];
        if (s->sign && has_query && s->query != g.query)
            break;
        if (s->sign) {
            has_query = 1;
            g.query = s->query;
        }
        g.sign[g.n++] = s->sign;
    }
    g.streams = g.n;
    return g;
}

zo2_probe_group zo2_probe_group_of(const zo2_probe_plan *p, uint32_t tensor, uint32_t first)
{
    if (!p->moves || p->moves[tensor])
        return zo2_probe_group_at(p, first);
    return (zo2_probe_group){.first = first, .n = 1, .streams = p->streams - first, .shared = 1};
}

uint32_t zo2_probe_groups(const zo2_probe_plan *p)
{
    uint32_t groups = 0;
    for (uint32_t at = 0; at < p->streams; at += zo2_probe_group_at(p, at).n)
        groups++;
    return groups;
}

uint32_t zo2_probe_panels(const zo2_probe_plan *p)
{
    uint32_t panels = 1;
    for (uint32_t at = 0; at < p->streams;) {
        uint32_t n = zo2_probe_group_at(p, at).n;
        panels = n > panels ? n : panels;
        at += n;
    }
    return panels;
}

void zo2_probe_unperturbed(zo2_probe_plan *out)
{
    memset(out, 0, sizeof *out);
    out->streams = 1;
}

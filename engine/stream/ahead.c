/* ahead.c: what is settled before its pass begins; see ahead.h. */
#include "engine/stream/ahead.h"
#include "engine/masters/masters.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "engine/stream/pipeline.h"

int zo2_pass_is_followed(const zo2_pass *pass)
{
    if (pass->masters && zo2_masters_are_spilled(pass->masters))
        return 0;
    const zo2_arch *a = pass->program->layout->arch;
    if (a->groups > 1) /* what the next step needs depends on whose turn it is */
        return 0;
    return (pass->pending || a->frozen) && (pass->weights == ZO2_PASS_TRAIN || pass->weights == ZO2_PASS_NONE);
}

int zo2_wire_is_settled(const zo2_pass *pass, uint32_t chunk)
{
    const zo2_layout *l = pass->program->layout;
    const zo2_unit *u = &l->units[l->chunks[chunk].unit];
    uint64_t next = zo2_unit_due_step(u, pass->step + 1, pass->pending);
    if (!pass->masters)
        return zo2_unit_due_step(u, pass->step, pass->pending) >= next;
    return (!pass->masters->shared[chunk] || u->frozen) && pass->masters->step[chunk] >= next;
}

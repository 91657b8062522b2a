/* forward_span.c: spans of the compute lane. */
#include "engine/base/clock.h"
#include "engine/forward/forward.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "engine/stream/trace.h"

void zo2_forward_span(const zo2_forward_pass *f, uint64_t begin, const char *name, uint32_t tensor, uint32_t unit,
                      int64_t chunk, uint64_t bytes)
{
    if (!f->trace)
        return;
    const zo2_layout *l = f->pass->program->layout;
    int tiled = unit != ZO2_NO_TENSOR && l->units[unit].tensor != ZO2_NO_TENSOR;
    zo2_trace_what what = {.lane = zo2_track_name(ZO2_TRACK_COMPUTE),
                           .name = name,
                           .step = f->pass->step,
                           .chunk = chunk,
                           .tile = tiled ? (int64_t)l->units[unit].tile : -1,
                           .tensor = tensor == ZO2_NO_TENSOR ? NULL : f->arch->tensors[tensor].name,
                           .bytes = bytes};
    zo2_trace_span(f->trace, &what, begin, zo2_clock_ns());
}

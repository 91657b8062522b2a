/* vectors.c: a block's vectors, decoded for all streams. */
#include "engine/forward/forward.h"
#include "engine/forward/tiles.h"
#include "engine/method/probe.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "engine/stream/pipeline.h"

zo2_status zo2_load_vectors(zo2_forward_pass *f, uint32_t block)
{
    const zo2_layout *l = f->pass->program->layout;
    uint32_t unit = l->vector_unit[block];
    if (unit == ZO2_NO_TENSOR)
        return ZO2_OK;
    uint32_t chunk = l->units[unit].first_chunk, pc = f->pass->program->first_pc[unit];
    zo2_sent_wire wire;
    zo2_status s = zo2_tile_fetch(f, pc, &wire);
    uint64_t stride = 4 * f->device->vector_stride;
    uint8_t *at = f->arena + f->device->vectors;
    for (uint32_t i = 0; i < l->chunks[chunk].n_spans; i++) {
        const zo2_span *span = &l->spans[l->chunks[chunk].first_span + i];
        for (uint32_t first = 0; first < f->probes->streams && !s;) {
            zo2_probe_group g = zo2_probe_group_at(f->probes, first);
            s = zo2_decode_span(f, chunk, span, wire, &g, at + 4ull * l->vector_at[span->tensor] + first * stride,
                                stride, zo2_is_lora(&f->arch->tensors[span->tensor]) ? f->compute : ZO2_F32);
            first += g.n;
        }
    }
    return s ? s : zo2_pipeline_release(f->pipe, pc + 1);
}

const float *zo2_vector(const zo2_forward_pass *f, zo2_role role, uint32_t layer)
{
    uint32_t tensor = zo2_arch_find(f->arch, role, layer);
    if (tensor == ZO2_NO_TENSOR)
        return NULL;
    return (const float *)(void *)(f->arena + f->device->vectors) + f->pass->program->layout->vector_at[tensor];
}

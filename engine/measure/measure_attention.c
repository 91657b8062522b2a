/* measure_attention.c: attention as a layer does it for a batch of one row: q, k and v in one matrix beside each other, both streams. */
#include "engine/measure/measure.h"
#include "engine/model/wire_size.h"
#include "kernels/backend.h"
#include "kernels/operations.h"

/* q, k and v come out of one decoded matrix [tokens][3 cols]. */
static uint64_t columns(const zo2_measure_spec *spec)
{
    return 3 * spec->cols;
}

static uint64_t element(const zo2_measure *m)
{
    return m->be->ops->element_bytes(m->spec.compute);
}

static zo2_status pass_attention(zo2_measure *m)
{
    const zo2_measure_spec *spec = &m->spec;
    const uint8_t *q = m->arena + m->x_at;
    zo2_attention_op op = {.streams = 2,
                           .m = spec->tokens,
                           .heads = spec->heads,
                           .head_dim = (uint32_t)(spec->cols / spec->heads),
                           .q = q,
                           .k = q + spec->cols * element(m),
                           .v = q + 2 * spec->cols * element(m),
                           .ld = columns(spec),
                           .stride = m->panel_stride / element(m),
                           .out = m->arena + m->y_at,
                           .ld_out = spec->cols,
                           .stride_out = spec->tokens * spec->cols,
                           .seqs = &m->seq,
                           .n_seqs = 1,
                           .workspace = m->arena + m->panel_at,
                           .workspace_bytes = m->workspace_bytes,
                           .type = spec->compute};
    return m->be->ops->attention(m->be, &op);
}

static zo2_status prepare_attention(zo2_measure *m)
{
    zo2_measure_spec *spec = &m->spec;
    const zo2_backend_ops *ops;
    uint64_t taken = 0, tokens = spec->tokens, cols = spec->cols;
    zo2_status s = zo2_measure_find_backend(m, &ops, &taken);
    if (s)
        return s;
    if (tokens > INT32_MAX || columns(spec) > INT32_MAX)
        return zo2_error(ZO2_ERR_ARG, "zo2_measure_open: attention of %llu tokens and %llu columns is too large",
                         (unsigned long long)tokens, (unsigned long long)cols);
    uint64_t wire = zo2_measure_align(zo2_wire_room(m->codec, tokens, columns(spec)));
    m->panel_stride = zo2_measure_align(tokens * columns(spec) * ops->element_bytes(spec->compute));
    m->workspace_bytes = ops->attention_workspace(spec->heads, (uint32_t)(cols / spec->heads), tokens, m->info.threads);
    m->wire_at = zo2_measure_take(&taken, wire);
    m->x_at = zo2_measure_take(&taken, 2 * m->panel_stride);
    m->y_at = zo2_measure_take(&taken, 2 * tokens * cols * ops->element_bytes(spec->compute));
    m->panel_at = zo2_measure_take(&taken, m->workspace_bytes);
    m->seq = (zo2_seq){.n = (uint32_t)tokens};
    /* A query sees itself and what is before it: (tokens + 1) / 2 keys on average, in two products. */
    m->info.items = 4.0 * (double)tokens * (double)(tokens + 1) * (double)cols;
    s = zo2_measure_open_backend(m, ops, taken);
    if (!s)
        s = zo2_measure_map(m, wire);
    if (s)
        return s;
    zo2_measure_register(m, m->memory, m->memory_bytes);
    return zo2_measure_make_operand(m, 0, tokens, columns(spec), m->x_at, m->panel_stride);
}

const zo2_measure_kernel zo2_measure_attention_kernels[1] = {
    {ZO2_MEASURE_ATTENTION, prepare_attention, pass_attention},
};

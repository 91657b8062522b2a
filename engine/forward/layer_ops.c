/* layer_ops.c: what layers are made of: each is one operation of the backend over all streams. */
#include "engine/forward/layer_ops.h"
#include "engine/forward/batch.h"
#include "engine/model/arch.h"
#include "engine/plan/plan_types.h"
#include "engine/stream/trace.h"

static zo2_status done(const zo2_forward_pass *f, uint64_t begin, const char *name, zo2_status s)
{
    zo2_forward_span(f, begin, name, ZO2_NO_TENSOR, ZO2_NO_TENSOR, -1, 0);
    return s;
}

zo2_status zo2_layer_norm(zo2_forward_pass *f, uint64_t m, uint64_t n, zo2_act x, const float *gamma, const float *beta,
                          zo2_act y)
{
    zo2_layernorm_op op = {.streams = f->streams,
                           .m = m,
                           .n = n,
                           .x = (const float *)(const void *)x.p,
                           .stride_x = x.stride,
                           .gamma = gamma,
                           .beta = beta,
                           .stride_vec = f->device->vector_stride,
                           .eps = f->arch->norm_eps,
                           .y = y.p,
                           .stride_y = y.stride,
                           .type = y.type};
    uint64_t begin = zo2_trace_begin(f->trace);
    return done(f, begin, "norm", f->be->ops->layernorm(f->be, &op));
}

zo2_status zo2_rms_norm(zo2_forward_pass *f, uint64_t m, uint64_t n, uint32_t groups, zo2_act x, const float *gamma,
                        zo2_act y)
{
    zo2_rmsnorm_op op = {.streams = f->streams,
                         .m = m,
                         .n = n,
                         .groups = groups,
                         .x = x.p,
                         .x_type = x.type,
                         .ldx = x.ld,
                         .stride_x = x.stride,
                         .gamma = gamma,
                         .stride_vec = f->device->vector_stride,
                         .eps = f->arch->norm_eps,
                         .y = y.p,
                         .ldy = y.ld,
                         .stride_y = y.stride,
                         .type = y.type};
    uint64_t begin = zo2_trace_begin(f->trace);
    return done(f, begin, "norm", f->be->ops->rmsnorm(f->be, &op));
}

zo2_status zo2_convert_rows(zo2_forward_pass *f, uint64_t m, uint64_t n, zo2_act x, const uint32_t *index, zo2_act y)
{
    zo2_convert_rows_op op = {.streams = f->streams,
                              .m = m,
                              .n = n,
                              .x = (const float *)(const void *)x.p,
                              .stride_x = x.stride,
                              .index = index,
                              .y = y.p,
                              .stride_y = y.stride,
                              .type = y.type};
    uint64_t begin = zo2_trace_begin(f->trace);
    return done(f, begin, "convert", f->be->ops->convert_rows(f->be, &op));
}

/* ---- low-rank adapters ---- */

/* Adapters of a matrix, decoded with the vectors of the block: of all streams, in the compute type. */
static zo2_gemm_op adapter(const zo2_forward_pass *f, uint32_t tensor, uint64_t m)
{
    const zo2_tensor *t = &f->arch->tensors[tensor];
    const float *at = (const float *)(const void *)(f->arena + f->device->vectors);
    return (zo2_gemm_op){.batch = f->streams,
                         .m = m,
                         .n = t->rows,
                         .k = t->cols,
                         .panel = at + f->pass->program->layout->vector_at[tensor],
                         .ld_panel = t->cols,
                         .stride_panel = 4ull * f->device->vector_stride / zo2_element_bytes(f, f->compute),
                         .type = f->compute};
}

/* y = alpha / rank B (A x), or y += that. */
static zo2_status add_adapters(zo2_forward_pass *f, uint32_t a, uint32_t b, uint64_t m, zo2_act x, zo2_act y,
                               int accumulate)
{
    const uint32_t rank = f->arch->lora_rank;
    zo2_act low = zo2_activation_at(f, f->device->lora, m, rank, f->compute);
    zo2_gemm_op down = adapter(f, a, m), up = adapter(f, b, m);
    zo2_bias_act_op scaled = {.streams = f->streams,
                              .m = m,
                              .n = rank,
                              .y = low.p,
                              .ldy = low.ld,
                              .stride_y = low.stride,
                              .scale = f->arch->lora_scale,
                              .act = ZO2_ACT_NONE,
                              .type = f->compute};
    down.x = x.p;
    down.ldx = x.ld;
    down.stride_x = x.stride;
    down.y = low.p;
    down.ldy = low.ld;
    down.stride_y = low.stride;
    down.y_type = f->compute;
    up.x = low.p;
    up.ldx = low.ld;
    up.stride_x = low.stride;
    up.y = y.p;
    up.ldy = y.ld;
    up.stride_y = y.stride;
    up.y_type = y.type;
    up.accumulate = accumulate;
    uint64_t begin = zo2_trace_begin(f->trace);
    zo2_status s = f->be->ops->gemm(f->be, &down);
    if (!s)
        s = f->be->ops->bias_act(f->be, &scaled);
    if (!s)
        s = f->be->ops->gemm(f->be, &up);
    zo2_forward_span(f, begin, "adapter", a, ZO2_NO_TENSOR, -1, 0);
    return s;
}

/* Its tensor A of this layer; B is the other. ZO2_NO_TENSOR: the matrix has none. */
static uint32_t adapter_of(const zo2_arch *a, zo2_role w, uint32_t layer, zo2_role first)
{
    for (uint32_t i = 0; i < ZO2_LORA_TARGETS && a->lora_rank; i++)
        if (zo2_lora_target[i] == w)
            return zo2_arch_find(a, (zo2_role)(first + i), layer);
    return ZO2_NO_TENSOR;
}

/* y = x W^T + b in columns [column, column + rows of W) of y. */
zo2_status zo2_linear(zo2_forward_pass *f, zo2_role w, zo2_role b, uint32_t layer, uint64_t m, zo2_act x, zo2_act y,
                      uint64_t column, int accumulate, float scale, zo2_activation act)
{
    uint32_t tensor = zo2_arch_find(f->arch, w, layer), low = adapter_of(f->arch, w, layer, ZO2_ROLE_LORA_A);
    y = zo2_columns_from(f, y, column);
    zo2_product_end end = {.bias = zo2_vector(f, b, layer), .scale = scale, .act = act};
    int ends = end.bias || scale != 1.0f || act != ZO2_ACT_NONE;
    zo2_status s = ZO2_OK;
    if (low != ZO2_NO_TENSOR) { /* first, because what ends the product wants the sum */
        s = add_adapters(f, low, adapter_of(f->arch, w, layer, ZO2_ROLE_LORA_B), m, x, y, accumulate);
        accumulate = 1;
    }
    return s ? s : zo2_matmul(f, tensor, m, x, y, accumulate, f->hold, ends ? &end : NULL);
}

zo2_status zo2_rotate(zo2_forward_pass *f, const zo2_micro *mb, uint32_t heads, zo2_act x, float scale)
{
    const zo2_device_offsets *d = f->device;
    zo2_rope_op op = {.streams = f->streams,
                      .m = mb->tokens,
                      .heads = heads,
                      .head_dim = f->arch->head_dim,
                      .x = x.p,
                      .ld = x.ld,
                      .stride = x.stride,
                      .table = (const float *)(const void *)(f->arena + d->rope),
                      .positions = d->rope_positions,
                      .position = (const uint32_t *)(const void *)(f->arena + d->rope_rows) + mb->token_at,
                      .scale = scale,
                      .type = x.type};
    uint64_t begin = zo2_trace_begin(f->trace);
    return done(f, begin, "rotate", f->be->ops->rope(f->be, &op));
}

zo2_status zo2_gate(zo2_forward_pass *f, uint64_t m, uint64_t n, zo2_act y, zo2_act up, zo2_activation act)
{
    zo2_gate_op op = {.streams = f->streams,
                      .m = m,
                      .n = n,
                      .y = y.p,
                      .up = up.p,
                      .ld = y.ld,
                      .stride = y.stride,
                      .act = act,
                      .type = y.type};
    uint64_t begin = zo2_trace_begin(f->trace);
    return done(f, begin, "gate", f->be->ops->gate(f->be, &op));
}

zo2_status zo2_attention(zo2_forward_pass *f, const zo2_micro *mb, zo2_act qkv, zo2_act out)
{
    const zo2_arch *a = f->arch;
    const zo2_act k = zo2_columns_from(f, qkv, zo2_attention_columns(a));
    const zo2_act v = zo2_columns_from(f, k, zo2_kv_columns(a));
    zo2_attention_op op = {.streams = f->streams,
                           .m = mb->tokens,
                           .heads = a->heads,
                           .head_dim = a->head_dim,
                           .kv_heads = a->kv_heads,
                           .q = qkv.p,
                           .k = k.p,
                           .v = v.p,
                           .ld = qkv.ld,
                           .stride = qkv.stride,
                           .out = out.p,
                           .ld_out = out.ld,
                           .stride_out = out.stride,
                           .seqs = f->batch->seq + mb->seq_at,
                           .n_seqs = mb->seqs,
                           .workspace = f->arena + f->device->workspace,
                           .workspace_bytes = f->device->workspace_bytes,
                           .type = f->compute};
    uint64_t begin = zo2_trace_begin(f->trace);
    return done(f, begin, "attention", f->be->ops->attention(f->be, &op));
}

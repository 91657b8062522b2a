/* layer_ops.c: what layers are made of: each is one operation of the backend over all streams. */
#include "engine/forward/layer_ops.h"
#include "engine/forward/batch.h"
#include "engine/model/arch.h"
#include "engine/plan/plan_types.h"
#include "engine/stream/trace.h"
#include "kernels/backend.h"

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

/* y = x W^T + b in columns [column, column + rows of W) of y. */
zo2_status zo2_linear(zo2_forward_pass *f, zo2_role w, zo2_role b, uint32_t layer, uint64_t m, zo2_act x, zo2_act y,
                      uint64_t column, int accumulate, float scale, zo2_activation act)
{
    uint32_t tensor = zo2_arch_find(f->arch, w, layer);
    y = zo2_columns_from(f, y, column);
    zo2_product_end end = {.bias = zo2_vector(f, b, layer), .scale = scale, .act = act};
    int ends = end.bias || scale != 1.0f || act != ZO2_ACT_NONE;
    return zo2_matmul(f, tensor, m, x, y, accumulate, f->hold, ends ? &end : NULL);
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

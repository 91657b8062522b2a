/* operands.c: shape checks and operand lists of the operations; see operands.h. operands_check.c does the rest. */
#include "kernels/operands.h"
#include "codec/update.h"

#include "codec/codec.h"
#include "kernels/operations.h"

#define REFUSE(...) zo2_error(ZO2_ERR_DEVICE, __VA_ARGS__)

static int type_ok(zo2_dtype t)
{
    return t == ZO2_F32 || t == ZO2_F16 || t == ZO2_BF16;
}

static int act_ok(zo2_activation a)
{
    return (int)a >= ZO2_ACT_NONE && a <= ZO2_ACT_GELU_TANH;
}

static void begin(zo2_operands *l, const char *op)
{
    l->op = op;
    l->n = 0;
    l->empty = 0;
}

static zo2_status nothing(zo2_operands *l)
{
    l->empty = 1;
    return ZO2_OK;
}

/* Lists [batch][rows][cols] of elements of `elem` bytes, ld and stride in elements. The caller passes batch, rows, cols
 * >= 1. */
static zo2_status add(zo2_operands *l, const char *name, const void *at, int access, uint64_t batch, uint64_t stride,
                      uint64_t rows, uint64_t ld, uint64_t cols, uint32_t elem)
{
    zo2_operand *o = &l->v[l->n];
    uint64_t end;
    if (!at)
        return REFUSE("%s: %s is NULL", l->op, name);
    if (rows > 1 && ld < cols)
        return REFUSE("%s: row stride of %s is %llu, rows have %llu elements", l->op, name, (unsigned long long)ld,
                      (unsigned long long)cols);
    *o = (zo2_operand){.name = name, .at = at, .batch = batch, .rows = rows, .access = access, .align = elem};
    if (batch == 1)
        stride = 0; /* unused: whatever the caller left there is fine */
    if (rows == 1)
        ld = cols;
    if (__builtin_mul_overflow(stride, elem, &o->stride) || __builtin_mul_overflow(ld, elem, &o->ld) ||
        __builtin_mul_overflow(cols, elem, &o->row) || __builtin_mul_overflow(rows - 1, o->ld, &o->extent) ||
        __builtin_add_overflow(o->extent, o->row, &o->extent) || __builtin_mul_overflow(batch - 1, o->stride, &end) ||
        __builtin_add_overflow(end, o->extent, &end))
        return REFUSE("%s: size of %s overflows", l->op, name);
    l->n++;
    return ZO2_OK;
}

#define ADD(...)                                  \
    do {                                          \
        zo2_status add_status = add(__VA_ARGS__); \
        if (add_status)                           \
            return add_status;                    \
    } while (0)

static zo2_operand *last(zo2_operands *l)
{
    return &l->v[l->n - 1];
}

/* What the two decodes share: wire, panels, noise. */
static zo2_status decode_common(zo2_operands *l, zo2_wire wire, const void *src, uint64_t src_bytes, uint64_t rows,
                                uint64_t cols, const zo2_update *fold, uint32_t folds, zo2_dist dist, zo2_dtype type,
                                uint32_t panels, void *const *panel, uint64_t ld, int access, uint32_t elem)
{
    static const char *const names[ZO2_MAX_PANELS] = {"panel 0", "panel 1"};
    const zo2_codec *codec = zo2_codec_get(wire);
    if (!codec)
        return REFUSE("%s: unknown wire %d", l->op, (int)wire);
    if (!cols || rows >= ((uint64_t)1 << 40) / cols)
        return REFUSE("%s: chunk of %llu x %llu", l->op, (unsigned long long)rows, (unsigned long long)cols);
    if (!type_ok(type) || (dist != ZO2_GAUSSIAN && dist != ZO2_RADEMACHER))
        return REFUSE("%s: unknown type %d or distribution %d", l->op, (int)type, (int)dist);
    if (panels < 1 || panels > ZO2_MAX_PANELS)
        return REFUSE("%s: %u panels", l->op, panels);
    if (folds && !fold)
        return REFUSE("%s: %u folds at NULL", l->op, folds);
    for (uint32_t i = 0; i < folds; i++)
        if (fold[i].queries > ZO2_MAX_QUERIES)
            return REFUSE("%s: fold %u has %u queries", l->op, i, fold[i].queries);
    uint64_t room = codec->wire_bytes(rows, cols), least = codec->sent_bytes ? 1 : room;
    if (src_bytes < least || src_bytes > room)
        return REFUSE("%s: %llu bytes were sent of a wire of %llu", l->op, (unsigned long long)src_bytes,
                      (unsigned long long)room);
    ADD(l, "src", src, ZO2_OPERAND_READ, 1, 0, 1, 0, src_bytes, 1);
    last(l)->align = 16;
    last(l)->uploaded = 1;
    /* A chunk may begin in the middle of a tile whose rows are no multiple of 16 bytes. */
    for (uint32_t p = 0; p < panels; p++)
        ADD(l, names[p], panel[p], access, 1, 0, rows, ld, cols, elem);
    return ZO2_OK;
}

zo2_status zo2_operands_decode(zo2_operands *l, const zo2_backend *b, const zo2_decode_op *op)
{
    uint32_t elem = b->ops->element_bytes(op->type);
    begin(l, "decode");
    if (!op->rows)
        return nothing(l);
    return decode_common(l, op->wire, op->src, op->src_bytes, op->rows, op->cols, op->fold, op->folds, op->dist,
                         op->type, op->panels, op->panel, op->ld, ZO2_OPERAND_WRITE, elem);
}

zo2_status zo2_operands_decode_rows(zo2_operands *l, const zo2_backend *b, const zo2_decode_rows_op *op)
{
    uint32_t elem = b->ops->element_bytes(op->type);
    begin(l, "decode_rows");
    if (!op->rows)
        return nothing(l);
    if (op->accumulate && op->type != ZO2_F32)
        return REFUSE("decode_rows: accumulates in fp32 only");
    zo2_status s =
        decode_common(l, op->wire, op->src, op->src_bytes, op->rows, op->cols, op->fold, op->folds, op->dist, op->type,
                      op->panels, op->panel, op->ld, op->accumulate ? ZO2_OPERAND_UPDATE : ZO2_OPERAND_WRITE, elem);
    if (s)
        return s;
    ADD(l, "refs", op->refs, ZO2_OPERAND_READ, 1, 0, 1, 0, op->rows, sizeof *op->refs);
    last(l)->uploaded = 1;
    return ZO2_OK;
}

zo2_status zo2_operands_gemm(zo2_operands *l, const zo2_backend *b, const zo2_gemm_op *op)
{
    uint32_t elem = b->ops->element_bytes(op->type);
    begin(l, "gemm");
    if (!op->batch || !op->n || !op->k)
        return REFUSE("gemm: batch %u, n %llu, k %llu", op->batch, (unsigned long long)op->n,
                      (unsigned long long)op->k);
    if (!type_ok(op->type) || (op->y_type != ZO2_F32 && op->y_type != op->type))
        return REFUSE("gemm: types %d, %d", (int)op->type, (int)op->y_type);
    if (op->bias && op->y_type != ZO2_F32)
        return REFUSE("gemm: adds a bias in fp32 only");
    /* BLAS interfaces take 32-bit sizes and strides. */
    if (op->m > INT32_MAX || op->n > INT32_MAX || op->k > INT32_MAX || op->ldx > INT32_MAX ||
        op->ld_panel > INT32_MAX || op->ldy > INT32_MAX)
        return REFUSE("gemm: a size or row stride is above 2^31 - 1");
    if (op->ldx < op->k || op->ld_panel < op->k || op->ldy < op->n)
        return REFUSE("gemm: a row stride is below the row's length");
    if (!op->m)
        return nothing(l);
    ADD(l, "x", op->x, ZO2_OPERAND_READ, op->batch, op->stride_x, op->m, op->ldx, op->k, elem);
    ADD(l, "panel", op->panel, ZO2_OPERAND_READ, op->batch, op->stride_panel, op->n, op->ld_panel, op->k, elem);
    last(l)->align = 16;
    ADD(l, "y", op->y, op->accumulate ? ZO2_OPERAND_UPDATE : ZO2_OPERAND_WRITE, op->batch, op->stride_y, op->m, op->ldy,
        op->n, op->y_type == ZO2_F32 ? 4 : elem);
    if (op->bias)
        ADD(l, "bias", op->bias, ZO2_OPERAND_READ, op->batch, op->stride_bias, 1, 0, op->n, 4);
    return ZO2_OK;
}

zo2_status zo2_operands_bias_act(zo2_operands *l, const zo2_backend *b, const zo2_bias_act_op *op)
{
    uint32_t elem = b->ops->element_bytes(op->type);
    begin(l, "bias_act");
    if (!op->streams || !op->n || !type_ok(op->type) || !act_ok(op->act))
        return REFUSE("bias_act: streams %u, n %llu, type %d, activation %d", op->streams, (unsigned long long)op->n,
                      (int)op->type, (int)op->act);
    if (!op->m)
        return nothing(l);
    ADD(l, "y", op->y, ZO2_OPERAND_UPDATE, op->streams, op->stride_y, op->m, op->ldy, op->n, elem);
    if (op->bias)
        ADD(l, "bias", op->bias, ZO2_OPERAND_READ, op->streams, op->stride_bias, 1, 0, op->n, 4);
    return ZO2_OK;
}

zo2_status zo2_operands_layernorm(zo2_operands *l, const zo2_backend *b, const zo2_layernorm_op *op)
{
    uint32_t elem = b->ops->element_bytes(op->type);
    begin(l, "layernorm");
    if (!op->streams || !op->n || !type_ok(op->type))
        return REFUSE("layernorm: streams %u, n %llu, type %d", op->streams, (unsigned long long)op->n, (int)op->type);
    if (!op->m)
        return nothing(l);
    ADD(l, "y", op->y, ZO2_OPERAND_WRITE, op->streams, op->stride_y, op->m, op->n, op->n, elem);
    if (op->type == ZO2_F32 && op->y == op->x && (op->streams == 1 || op->stride_y == op->stride_x))
        last(l)->access = ZO2_OPERAND_UPDATE; /* in place: one operand */
    else
        ADD(l, "x", op->x, ZO2_OPERAND_READ, op->streams, op->stride_x, op->m, op->n, op->n, 4);
    if (op->gamma)
        ADD(l, "gamma", op->gamma, ZO2_OPERAND_READ, op->streams, op->stride_vec, 1, 0, op->n, 4);
    if (op->beta)
        ADD(l, "beta", op->beta, ZO2_OPERAND_READ, op->streams, op->stride_vec, 1, 0, op->n, 4);
    return ZO2_OK;
}

/* groups * n, or heads * head_dim: elements of a row; 0 where there are none or too many. */
static uint64_t row_of(uint64_t parts, uint64_t n)
{
    uint64_t row;
    return __builtin_mul_overflow(parts, n, &row) ? 0 : row;
}

zo2_status zo2_operands_rmsnorm(zo2_operands *l, const zo2_backend *b, const zo2_rmsnorm_op *op)
{
    uint64_t row = row_of(op->groups, op->n);
    begin(l, "rmsnorm");
    if (!op->streams || !row || !type_ok(op->type))
        return REFUSE("rmsnorm: streams %u, groups %u, n %llu, type %d", op->streams, op->groups,
                      (unsigned long long)op->n, (int)op->type);
    if (op->x_type != ZO2_F32 && op->x_type != op->type)
        return REFUSE("rmsnorm: types %d, %d", (int)op->x_type, (int)op->type);
    if (!op->m)
        return nothing(l);
    ADD(l, "y", op->y, ZO2_OPERAND_WRITE, op->streams, op->stride_y, op->m, op->ldy, row,
        b->ops->element_bytes(op->type));
    if (op->x_type == op->type && op->y == op->x && (op->m == 1 || op->ldy == op->ldx) &&
        (op->streams == 1 || op->stride_y == op->stride_x))
        last(l)->access = ZO2_OPERAND_UPDATE; /* in place: one operand */
    else
        ADD(l, "x", op->x, ZO2_OPERAND_READ, op->streams, op->stride_x, op->m, op->ldx, row,
            b->ops->element_bytes(op->x_type));
    if (op->gamma)
        ADD(l, "gamma", op->gamma, ZO2_OPERAND_READ, op->streams, op->stride_vec, 1, 0, op->n, 4);
    return ZO2_OK;
}

zo2_status zo2_operands_rope(zo2_operands *l, const zo2_backend *b, const zo2_rope_op *op)
{
    uint32_t elem = b->ops->element_bytes(op->type);
    uint64_t row = row_of(op->heads, op->head_dim);
    begin(l, "rope");
    if (!op->streams || !row || !type_ok(op->type))
        return REFUSE("rope: streams %u, heads %u, head_dim %u, type %d", op->streams, op->heads, op->head_dim,
                      (int)op->type);
    if (op->head_dim % 2)
        return REFUSE("rope: head_dim %u is odd", op->head_dim);
    if (!op->positions)
        return REFUSE("rope: a table of 0 positions");
    if (!op->m)
        return nothing(l);
    ADD(l, "x", op->x, ZO2_OPERAND_UPDATE, op->streams, op->stride, op->m, op->ld, row, elem);
    ADD(l, "table", op->table, ZO2_OPERAND_READ, 1, 0, op->positions, op->head_dim, op->head_dim, 4);
    last(l)->uploaded = 1;
    ADD(l, "position", op->position, ZO2_OPERAND_READ, 1, 0, 1, 0, op->m, 4);
    last(l)->uploaded = 1;
    return ZO2_OK;
}

zo2_status zo2_operands_gate(zo2_operands *l, const zo2_backend *b, const zo2_gate_op *op)
{
    uint32_t elem = b->ops->element_bytes(op->type);
    begin(l, "gate");
    if (!op->streams || !op->n || !type_ok(op->type) || !act_ok(op->act))
        return REFUSE("gate: streams %u, n %llu, type %d, activation %d", op->streams, (unsigned long long)op->n,
                      (int)op->type, (int)op->act);
    if (!op->m)
        return nothing(l);
    ADD(l, "y", op->y, ZO2_OPERAND_UPDATE, op->streams, op->stride, op->m, op->ld, op->n, elem);
    ADD(l, "up", op->up, ZO2_OPERAND_READ, op->streams, op->stride, op->m, op->ld, op->n, elem);
    if (op->bias_gate)
        ADD(l, "bias_gate", op->bias_gate, ZO2_OPERAND_READ, op->streams, op->stride_bias, 1, 0, op->n, 4);
    if (op->bias_up)
        ADD(l, "bias_up", op->bias_up, ZO2_OPERAND_READ, op->streams, op->stride_bias, 1, 0, op->n, 4);
    return ZO2_OK;
}

uint64_t zo2_attention_max_keys(const zo2_attention_op *op)
{
    uint64_t keys = 0;
    for (uint32_t i = 0; i < op->n_seqs; i++) {
        uint64_t sees = (uint64_t)op->seqs[i].n_prefix + op->seqs[i].n;
        if (op->seqs[i].n && sees > keys)
            keys = sees;
    }
    return keys;
}

zo2_status zo2_operands_attention(zo2_operands *l, const zo2_backend *b, const zo2_attention_op *given)
{
    const zo2_attention_op full = zo2_attention_full(given), *op = &full;
    uint32_t elem = b->ops->element_bytes(op->type);
    begin(l, "attention");
    uint64_t n = (uint64_t)op->heads * op->head_dim, n_kv = (uint64_t)op->kv_heads * op->head_dim;
    if (!op->streams || !n || !type_ok(op->type))
        return REFUSE("attention: streams %u, heads %u, head_dim %u, type %d", op->streams, op->heads, op->head_dim,
                      (int)op->type);
    if (op->heads % op->kv_heads)
        return REFUSE("attention: %u heads on %u of keys and values", op->heads, op->kv_heads);
    if (op->n_seqs && !op->seqs)
        return REFUSE("attention: %u sequences at NULL", op->n_seqs);
    if (op->ld > INT32_MAX || op->ld_out > INT32_MAX || op->ld < n || op->ld_out < n)
        return REFUSE("attention: row strides %llu and %llu for rows of %llu", (unsigned long long)op->ld,
                      (unsigned long long)op->ld_out, (unsigned long long)n);
    if (op->ld_kv > INT32_MAX || op->ld_kv < n_kv)
        return REFUSE("attention: row stride %llu for keys and values in rows of %llu", (unsigned long long)op->ld_kv,
                      (unsigned long long)n_kv);
    for (uint32_t i = 0; i < op->n_seqs; i++) {
        const zo2_seq *s = &op->seqs[i];
        if ((uint64_t)s->first + s->n > op->m || (uint64_t)s->prefix + s->n_prefix > op->m || s->n > INT32_MAX ||
            s->n_prefix > INT32_MAX)
            return REFUSE("attention: sequence %u (tokens %u + %u, prefix %u + %u) of %llu tokens", i, s->first, s->n,
                          s->prefix, s->n_prefix, (unsigned long long)op->m);
    }
    uint64_t keys = zo2_attention_max_keys(op), need;
    if (!keys)
        return nothing(l);
    ADD(l, "q", op->q, ZO2_OPERAND_READ, op->streams, op->stride, op->m, op->ld, n, elem);
    ADD(l, "k", op->k, ZO2_OPERAND_READ, op->streams, op->stride_kv, op->m, op->ld_kv, n_kv, elem);
    ADD(l, "v", op->v, ZO2_OPERAND_READ, op->streams, op->stride_kv, op->m, op->ld_kv, n_kv, elem);
    ADD(l, "out", op->out, ZO2_OPERAND_WRITE, op->streams, op->stride_out, op->m, op->ld_out, n, elem);
    need = b->ops->attention_workspace(op->heads, op->head_dim, keys, b->threads);
    if (op->workspace_bytes < need)
        return REFUSE("attention: workspace of %llu bytes, needs %llu for %llu keys",
                      (unsigned long long)op->workspace_bytes, (unsigned long long)need, (unsigned long long)keys);
    if (!need)
        return ZO2_OK;
    ADD(l, "workspace", op->workspace, ZO2_OPERAND_WRITE, 1, 0, 1, 0, op->workspace_bytes, 1);
    last(l)->align = 64;
    return ZO2_OK;
}

zo2_status zo2_operands_convert_rows(zo2_operands *l, const zo2_backend *b, const zo2_convert_rows_op *op)
{
    uint32_t elem = b->ops->element_bytes(op->type);
    begin(l, "convert_rows");
    if (!op->streams || !op->n || !type_ok(op->type))
        return REFUSE("convert_rows: streams %u, n %llu, type %d", op->streams, (unsigned long long)op->n,
                      (int)op->type);
    if (!op->m)
        return nothing(l);
    if (op->through && (op->through != ZO2_BF16 || op->type != ZO2_F32))
        return REFUSE("convert_rows: rounds fp32 through bf16 alone, not type %d through %d", (int)op->type,
                      (int)op->through);
    if (!op->index && op->type == ZO2_F32 && (const void *)op->x == op->y) {
        ADD(l, "y", op->y, ZO2_OPERAND_UPDATE, op->streams, op->stride_y, op->m, op->n, op->n, elem);
        return ZO2_OK;
    }
    /* With an index the height of x isn't known here: one row stands for it. */
    ADD(l, "x", op->x, ZO2_OPERAND_READ, op->streams, op->stride_x, op->index ? 1 : op->m, op->n, op->n, 4);
    ADD(l, "y", op->y, ZO2_OPERAND_WRITE, op->streams, op->stride_y, op->m, op->n, op->n, elem);
    if (op->index) {
        ADD(l, "index", op->index, ZO2_OPERAND_READ, 1, 0, 1, 0, op->m, 4);
        last(l)->uploaded = 1;
    }
    return ZO2_OK;
}

static zo2_status states(zo2_operands *l, const zo2_lse *state, int access, uint64_t batch, uint64_t stride, uint64_t n)
{
    ADD(l, "state", state, access, batch, stride, 1, 0, n, sizeof *state);
    return ZO2_OK;
}

zo2_status zo2_operands_lse_init(zo2_operands *l, const zo2_backend *b, const zo2_lse_init_op *op)
{
    (void)b;
    begin(l, "lse_init");
    l->empty = !op->n;
    return op->n ? states(l, op->state, ZO2_OPERAND_WRITE, 1, 0, op->n) : ZO2_OK;
}

zo2_status zo2_operands_lse_tile(zo2_operands *l, const zo2_backend *b, const zo2_lse_op *op)
{
    (void)b;
    begin(l, "lse_tile");
    if (!op->streams || !op->n)
        return REFUSE("lse_tile: streams %u, n %llu", op->streams, (unsigned long long)op->n);
    if (op->first > UINT32_MAX || op->n > UINT32_MAX - op->first)
        return REFUSE("lse_tile: rows %llu + %llu; their numbers are below 2^32 - 1, which stands for no target",
                      (unsigned long long)op->first, (unsigned long long)op->n);
    if (op->skip && op->first + op->n > op->skip_rows)
        return REFUSE("lse_tile: rows %llu + %llu, skip has bits for %llu", (unsigned long long)op->first,
                      (unsigned long long)op->n, (unsigned long long)op->skip_rows);
    if (!op->m)
        return nothing(l);
    ADD(l, "logits", op->logits, ZO2_OPERAND_READ, op->streams, op->stride, op->m, op->ld, op->n, 4);
    ADD(l, "target", op->target, ZO2_OPERAND_READ, 1, 0, 1, 0, op->m, 4);
    last(l)->uploaded = 1;
    if (op->skip) {
        ADD(l, "skip", op->skip, ZO2_OPERAND_READ, 1, 0, 1, 0, op->skip_rows / 32 + (op->skip_rows % 32 != 0),
            sizeof *op->skip);
        last(l)->align = 16;
        last(l)->uploaded = 1;
    }
    return states(l, op->state, ZO2_OPERAND_UPDATE, op->streams, op->stride_state, op->m);
}

zo2_status zo2_operands_lse_finish(zo2_operands *l, const zo2_backend *b, const zo2_lse_finish_op *op)
{
    (void)b;
    begin(l, "lse_finish");
    if (!op->n)
        return nothing(l);
    ADD(l, "logprob", op->logprob, ZO2_OPERAND_WRITE, 1, 0, 1, 0, op->n, 4);
    return states(l, op->state, ZO2_OPERAND_READ, 1, 0, op->n);
}

zo2_status zo2_operands_transfer(zo2_operands *l, const char *op, const void *at, uint64_t bytes, int access)
{
    begin(l, op);
    if (!bytes)
        return nothing(l);
    ADD(l, access == ZO2_OPERAND_WRITE ? "dst" : "src", at, access, 1, 0, 1, 0, bytes, 1);
    return ZO2_OK;
}

zo2_status zo2_operands_copy(zo2_operands *l, const void *dst, const void *src, uint64_t bytes)
{
    zo2_status s = zo2_operands_transfer(l, "copy", dst, bytes, ZO2_OPERAND_WRITE);
    if (!s && !l->empty)
        ADD(l, "src", src, ZO2_OPERAND_READ, 1, 0, 1, 0, bytes, 1);
    return s;
}

/* operations.h: what a backend (backend.h) computes: for each operation its operands, and what becomes of them.
 *
 * Shapes. S streams are forward passes that run side by side, each at perturbed weights of its own or at W itself. m counts the tokens
 * of a micro-batch (real ones only: there is no padding anywhere below), n and k are matrix rows and columns, ld a row stride and
 * `stride` the distance between streams, both in elements. A "panel" is n decoded rows of a matrix.
 *
 * Types. "compute type" is fp32, fp16 or bf16. The cpu backend stores all of them as fp32 values that are already rounded to the type
 * (element size 4, see zo2_backend_ops.element_bytes), a GPU in the type itself. Accumulation is fp32 everywhere. */
#ifndef ZO2_KERNELS_OPERATIONS_H
#define ZO2_KERNELS_OPERATIONS_H

#include "codec/update.h"
#include "engine/zo2.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Most panels that one decoding makes. */
#define ZO2_MAX_PANELS 2

/* Wire rows to panels: decode, fold what is pending, perturb, in one pass over the wire.
 * w = decode(src) as fp32; w = updates fold[0..folds) applied; panel p = w + eps[p] z (one fmaf), or w itself where eps[p] is
 * 0; rounded to type. */
typedef struct zo2_decode_op {
    zo2_wire wire;
    const void *src;    /* device: wire of a chunk of rows x cols, 16-byte aligned */
    uint64_t src_bytes; /* of it that were sent: what the codec's sent_bytes() says, for most all of its wire_bytes() */
    uint64_t rows, cols;
    uint64_t first_row; /* row of the tensor that is the chunk's row 0: element index = (first_row + r) * cols + c */
    uint32_t tensor_id;
    int decays;
    zo2_dist dist;
    const zo2_update *fold; /* host */
    uint32_t folds;
    uint64_t key; /* of this step's noise */
    uint32_t query;
    uint32_t panels; /* 1 to ZO2_MAX_PANELS */
    float eps[ZO2_MAX_PANELS];
    void *panel[ZO2_MAX_PANELS]; /* device [rows][ld] of type */
    uint64_t ld;
    zo2_dtype type;
} zo2_decode_op;

/* One gathered row: which row of the tensor it is, and how many of op.fold[] its wire already holds (they are skipped).
 */
typedef struct zo2_row_ref {
    uint64_t row;
    uint32_t folds_done;
    uint32_t reserved;
} zo2_row_ref;

/* The same for gathered rows (embedding rows, positions): row i of src is row refs[i].row of the tensor. */
typedef struct zo2_decode_rows_op {
    zo2_wire wire;
    const void *src;         /* device: wire of a chunk of rows x cols */
    uint64_t src_bytes;      /* as above */
    const zo2_row_ref *refs; /* device [rows], 16-byte aligned */
    uint64_t rows, cols;
    uint32_t tensor_id;
    int decays;
    zo2_dist dist;
    const zo2_update *fold; /* host */
    uint32_t folds;
    uint64_t key;
    uint32_t query;
    uint32_t panels;
    float eps[ZO2_MAX_PANELS];
    void *panel[ZO2_MAX_PANELS]; /* device [rows][ld] of type */
    uint64_t ld;
    zo2_dtype type;
    int accumulate; /* add to what is there (type fp32 only) */
} zo2_decode_rows_op;

/* y[b] = (accumulate ? y[b] : 0) + x[b] panel[b]^T, then + bias[b] to every row, for b < batch. Sums are fp32 and rounded to y_type
 * once, at the end. Streams may share a panel (and a bias): its stride is 0 then. */
typedef struct zo2_gemm_op {
    uint32_t batch; /* streams of this call */
    uint64_t m, n, k;
    const void *x; /* [batch][m][k] of type */
    uint64_t ldx, stride_x;
    const void *panel; /* [batch][n][k] of type */
    uint64_t ld_panel, stride_panel;
    void *y; /* [batch][m][n] of y_type */
    uint64_t ldy, stride_y;
    zo2_dtype type, y_type; /* y_type: fp32, or type */
    int accumulate;
    const float *bias; /* [batch][n] at stride_bias, with a y of fp32 only; NULL: none */
    uint64_t stride_bias;
} zo2_gemm_op;

typedef enum zo2_activation {
    ZO2_ACT_NONE = 0,
    ZO2_ACT_RELU = 1,
    ZO2_ACT_GELU = 2,      /* exact, erf */
    ZO2_ACT_SILU = 3,      /* x sigmoid(x) */
    ZO2_ACT_GELU_TANH = 4, /* x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2 */
} zo2_activation;
#define ZO2_ACTIVATIONS(X) X(ZO2_ACT_NONE) X(ZO2_ACT_RELU) X(ZO2_ACT_GELU) X(ZO2_ACT_SILU) X(ZO2_ACT_GELU_TANH)

/* y = act((y + bias) * scale), rounded to type. */
typedef struct zo2_bias_act_op {
    uint32_t streams;
    uint64_t m, n;
    void *y; /* [streams][m][n] of type */
    uint64_t ldy, stride_y;
    const float *bias; /* [streams][n] at stride_bias; NULL: none */
    uint64_t stride_bias;
    float scale;
    zo2_activation act;
    zo2_dtype type;
} zo2_bias_act_op;

/* y = (x - mean) / sqrt(var + eps) * gamma + beta over the last axis, biased variance, fp32 inside. y may be x when
 * type is fp32. */
typedef struct zo2_layernorm_op {
    uint32_t streams;
    uint64_t m, n;
    const float *x; /* [streams][m][n], dense rows */
    uint64_t stride_x;
    const float *gamma, *beta; /* [streams][n] at stride_vec; NULL: 1 and 0 */
    uint64_t stride_vec;
    float eps;
    void *y; /* [streams][m][n] of type, dense rows */
    uint64_t stride_y;
    zo2_dtype type;
} zo2_layernorm_op;

/* y = x * (1 / sqrt(mean(x^2) + eps)) * gamma, fp32 inside, rounded once to type. A row holds `groups` norms of n elements side by
 * side: 1, or the heads of queries or keys, which then share gamma. y may be x when x_type is type and strides are the
 * same. */
typedef struct zo2_rmsnorm_op {
    uint32_t streams;
    uint64_t m, n;
    uint32_t groups;
    const void *x;    /* [streams][m][groups * n] of x_type */
    zo2_dtype x_type; /* fp32, or type */
    uint64_t ldx, stride_x;
    const float *gamma; /* [streams][n] at stride_vec; NULL: 1 */
    uint64_t stride_vec;
    float eps;
    void *y; /* [streams][m][groups * n] of type */
    uint64_t ldy, stride_y;
    zo2_dtype type;
} zo2_rmsnorm_op;

/* Rotary positions, in place. Of each head the elements j and j + h, h = head_dim / 2, are a pair that is turned by the
 * angle j of the row's position: x[j] becomes (x[j] cos - x[j + h] sin) * scale, x[j + h] becomes (x[j + h] cos + x[j] sin)
 * * scale, fp32 inside, rounded once. */
typedef struct zo2_rope_op {
    uint32_t streams;
    uint64_t m;
    uint32_t heads, head_dim; /* head_dim is even */
    void *x;                  /* [streams][m][heads * head_dim] of type */
    uint64_t ld, stride;
    const float *table; /* device [positions][head_dim]: h cosines, then h sines; from the host */
    uint64_t positions;
    const uint32_t *position; /* device [m]: rows of the table, for all streams; within it */
    float scale;              /* 1 / sqrt(head_dim) for queries, 1 for keys */
    zo2_dtype type;
} zo2_rope_op;

/* y = act(y + bias_gate) * (up + bias_up), fp32 inside, rounded once to type. */
typedef struct zo2_gate_op {
    uint32_t streams;
    uint64_t m, n;
    void *y;                          /* [streams][m][n] of type: comes in as the gate */
    const void *up;                   /* the same */
    uint64_t ld, stride;              /* of both */
    const float *bias_gate, *bias_up; /* [streams][n] at stride_bias; NULL: none */
    uint64_t stride_bias;
    zo2_activation act;
    zo2_dtype type;
} zo2_gate_op;

/* A sequence of the packed tokens: queries are tokens [first, first + n); each sees the n_prefix tokens from `prefix`
 * on, all of them, and the tokens of [first, ...] up to and including itself. */
typedef struct zo2_seq {
    uint32_t first, n;
    uint32_t prefix, n_prefix;
} zo2_seq;

/* out = softmax(q k^T) v for every stream, sequence and head; q is scaled already. Softmax in fp32. Keys and values may have
 * fewer heads: head i then uses theirs number i / (heads / kv_heads). */
typedef struct zo2_attention_op {
    uint32_t streams;
    uint64_t m;
    uint32_t heads, head_dim;
    uint32_t kv_heads;         /* divides heads; 0: heads */
    const void *q;             /* [streams][m][heads * head_dim] of type */
    const void *k, *v;         /* [streams][m][kv_heads * head_dim] */
    uint64_t ld, stride;       /* of q, */
    uint64_t ld_kv, stride_kv; /* of k and v; ld_kv 0: those of q */
    void *out;                 /* [streams][m][heads * head_dim] of type, rounded; not q, k or v */
    uint64_t ld_out, stride_out;
    const zo2_seq *seqs; /* host; stays valid until the step is drained */
    uint32_t n_seqs;
    void *workspace; /* device, attention_workspace() bytes; unused where those are 0 */
    uint64_t workspace_bytes;
    zo2_dtype type;
} zo2_attention_op;

/* y[s][i] = x[s][index[i]], rounded to `through` if that is set, then to type. index NULL: i itself (a conversion); y may be x then, if
 * type is fp32. stride_x 0: all streams get the rows of one, which lies elsewhere than y. */
typedef struct zo2_convert_rows_op {
    uint32_t streams;
    uint64_t m, n;  /* m rows come out */
    const float *x; /* [streams][...][n], dense rows */
    uint64_t stride_x;
    const uint32_t *index; /* device [m] */
    void *y;               /* [streams][m][n] of type, dense rows */
    uint64_t stride_y;
    zo2_dtype type;
    zo2_dtype through; /* 0, or bf16 where type is fp32 */
} zo2_convert_rows_op;

/* Streaming log-sum-exp of one loss token in one stream. */
typedef struct zo2_lse {
    float max, sum; /* running maximum, sum of exp(logit - max); starts at -inf, 0 */
    float target;   /* logit of the target token; starts at NaN */
    float reserved;
} zo2_lse;

/* Takes the logits of rows [first, first + n) into the states. Whatever the order of tiles, each row's logit counts once; bits
 * depend on cuts and order, so the same tiles come in the same order. A tile may hold rows beside the vocabulary, numbered as their
 * caller likes, with targets of that numbering: UINT32_MAX, which is no row, where the token isn't among them. Rows that
 * stand in for rows of the vocabulary are skipped there: exactly one tile then has the target.
 *
 * A skipped row's logit may be anything. It counts for nothing, as if it were -inf, and a target there is left to
 * other tiles; a tile of such rows alone leaves the states as they were. */
typedef struct zo2_lse_op {
    uint32_t streams;
    uint64_t m, n;
    const float *logits; /* [streams][m][n] */
    uint64_t ld, stride;
    const uint32_t *target; /* device [m]: rows, as numbered here */
    uint64_t first;
    zo2_lse *state; /* device [streams][m] at stride_state */
    uint64_t stride_state;
    /* Device, 16-byte aligned, from the host: row v is skipped if bit v % 32 of word v / 32 is set. NULL: none is. */
    const uint32_t *skip;
    uint64_t skip_rows; /* that it has bits for, in whole words: first + n or more */
} zo2_lse_op;

/* States begin: nothing seen yet. */
typedef struct zo2_lse_init_op {
    zo2_lse *state; /* device [n] */
    uint64_t n;
} zo2_lse_init_op;

/* logprob = target - max - log(sum). */
typedef struct zo2_lse_finish_op {
    const zo2_lse *state; /* device [n] */
    uint64_t n;
    float *logprob; /* device [n] */
} zo2_lse_finish_op;

/* All operations: the table's entry and the struct of its operands. What goes through all of them is made from this list: the
 * table, zo2_operands_<op>(), the backends' tables, and the tests' tables in front of them. README.md says how one is added. */
#define ZO2_BACKEND_OPERATIONS(X)        \
    X(decode, zo2_decode_op)             \
    X(decode_rows, zo2_decode_rows_op)   \
    X(gemm, zo2_gemm_op)                 \
    X(bias_act, zo2_bias_act_op)         \
    X(layernorm, zo2_layernorm_op)       \
    X(rmsnorm, zo2_rmsnorm_op)           \
    X(rope, zo2_rope_op)                 \
    X(gate, zo2_gate_op)                 \
    X(attention, zo2_attention_op)       \
    X(convert_rows, zo2_convert_rows_op) \
    X(lse_init, zo2_lse_init_op)         \
    X(lse_tile, zo2_lse_op)              \
    X(lse_finish, zo2_lse_finish_op)

#ifdef __cplusplus
}
#endif

#endif

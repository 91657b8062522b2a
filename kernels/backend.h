/* backend.h: the one table behind which a device hides: three in-order lanes (upload, compute, stage), one arena of
 * device memory, events between them, and the operations a transformer's forward passes need. `cpu` is the reference;
 * `cuda` implements the same table; `null` does no arithmetic and checks schedules and memory.
 *
 * Shapes. S streams are forward passes that run side by side, each at perturbed weights of its own or at W itself. m counts the tokens of a micro-batch (real ones only: there is no padding
 * anywhere below), n and k are matrix rows and columns, ld a row stride and `stride` the distance between streams, both
 * in elements. A "panel" is n decoded rows of a matrix. Types. "compute type" is fp32, fp16 or bf16. The cpu backend
 * stores all of them as fp32 values that are already rounded to the type (element size 4, see
 * zo2_backend_ops.element_bytes), a GPU in the type itself. Accumulation is fp32 everywhere.
 *
 * Lifetime. Operations and transfers are enqueued; device operands must stay untouched until the lane has passed them.
 * Host arrays in op structs (fold, seqs) are read before the call returns unless said otherwise. One thread per lane. A
 * backend may finish everything before it returns. Within a step the engine calls neither drain() nor, from the compute
 * lane's thread, a sync() that waits for recent work: the host runs ahead. Errors. Operations return at once with ZO2_ERR_DEVICE and a text
 * when they are refused; later faults surface at sync() or drain(). */
#ifndef ZO2_KERNELS_BACKEND_H
#define ZO2_KERNELS_BACKEND_H

#include "codec/update.h"
#include "engine/base/parallel.h"
#include "engine/zo2.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum zo2_lane {
    ZO2_LANE_UPLOAD = 0,  /* wires, to the device */
    ZO2_LANE_COMPUTE = 1, /* all operations, and small transfers among them */
    ZO2_LANE_STAGE =
        2, /* activations that wait in host memory, both ways; its calls come from the compute lane's thread */
} zo2_lane;
#define ZO2_LANE_COUNT 3

typedef struct zo2_event zo2_event;

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

typedef struct zo2_backend zo2_backend;

/* An operation or a transfer as the device did it: from begin to end on the host's CLOCK_MONOTONIC. name: static. */
typedef void (*zo2_device_span_fn)(void *ud, zo2_lane lane, const char *name, uint64_t begin_ns, uint64_t end_ns);

/* A device that is ready but for an arena: its context, and the libraries and kernels loaded there. */
typedef struct zo2_device zo2_device;

typedef struct zo2_backend_config {
    uint64_t arena_bytes;  /* the plan's device bytes less the context; the backend's reserved_bytes included */
    zo2_parallel parallel; /* for cpu */
    zo2_dtype compute;     /* what gemm() will be asked for; a device that can't refuses in open(). 0: not known yet */
    /* Of device_open(): it outlives the backend and serves one at a time. NULL: open() makes one of its own. */
    zo2_device *device;
} zo2_backend_config;

/* What a device says of itself. */
typedef struct zo2_device_info {
    uint64_t context_bytes; /* device memory taken beside the arena, measured here */
    uint64_t free_bytes;    /* device memory that this process could take now, context included */
    char name[128];
} zo2_device_info;

typedef struct zo2_backend_ops {
    zo2_backend_kind kind;

    /* ---- facts the planner needs; no backend has to be open ---- */
    uint64_t context_bytes;  /* device memory taken beside the arena, assumed where no device can be asked */
    uint64_t reserved_bytes; /* the arena's first bytes, multiple of 256: the backend's own (GEMM workspace) */
    /* When memory is no concern: wire bytes of a chunk, and of all wires in flight, so many that the link stays busy across the
     * longest gap between two decodings. 0: there is no link, three chunks will do. */
    uint64_t chunk_bytes, ring_bytes;
    /* Makes the device ready and asks it. Who plans and then opens does both with one: what was measured is what is used, and
     * making another takes its time and memory again. ZO2_ERR_DEVICE: there is none. NULL: nothing to ask, context_bytes is
     * exact and free memory is the host's. */
    zo2_status (*device_open)(zo2_device **out, zo2_device_info *info);
    void (*device_close)(zo2_device *d); /* NULL is fine; of a device after its backends */
    zo2_status (*usable)(void); /* ZO2_OK if open() may succeed here, or why it can't. Takes nothing. NULL: always */
    uint32_t (*element_bytes)(zo2_dtype compute); /* stored size of an activation or panel element */
    /* Device memory of attention() for scores, never less for more keys: plans are made for the longest row. 0: none. */
    uint64_t (*attention_workspace)(uint32_t heads, uint32_t head_dim, uint64_t max_keys, uint32_t threads);
    /* Host memory that gemm() takes beside the arena, at most, for panels of up to `cols` columns. NULL: none. */
    uint64_t (*gemm_host_bytes)(zo2_dtype compute, uint64_t cols, uint32_t threads);

    /* ---- life ---- */
    zo2_status (*open)(zo2_backend **out, const zo2_backend_config *c);
    void (*close)(zo2_backend *b);          /* NULL is fine */
    void *(*arena)(zo2_backend *b);         /* device address of the arena, 4 KiB aligned */
    uint64_t (*peak_bytes)(zo2_backend *b); /* measured: context plus the highest arena byte in use so far */
    /* Around every step, on the caller's thread; nests, also across backends. Another thread may use the upload lane
     * meanwhile. NULL: nothing to do. (cpu: OpenBLAS to one thread.) */
    void (*enter)(zo2_backend *b);
    void (*leave)(zo2_backend *b);
    /* What the compute lane gets next belongs to this block of the model, as the architecture numbers them: embeddings,
     * layers, head. For profilers, until the next block or leave(). NULL: nothing to do. */
    void (*block)(zo2_backend *b, uint32_t block, uint32_t blocks);

    /* ---- host memory of transfers ----
     * The engine announces every host buffer that transfers of a step use: after open(), before the first step, and
     * withdraws it before it is freed. A backend pins it, so that transfers run beside the host. When it can't (limits),
     * it returns ZO2_ERR_NOMEM: the engine then copies wires through memory that is registered, and fails if that
     * memory itself can't be. Transfers from or to other memory (probes, tests) work, but may block the caller.
     * NULL: nothing to do. */
    zo2_status (*host_register)(zo2_backend *b, void *at, uint64_t bytes); /* page-aligned, whole pages */
    void (*host_unregister)(zo2_backend *b, void *at);                     /* idle lanes only */

    /* ---- lanes and events ---- */
    zo2_status (*event_create)(zo2_backend *b, zo2_event **out);
    void (*event_destroy)(zo2_backend *b, zo2_event *e); /* NULL is fine */
    zo2_status (*record)(zo2_backend *b, zo2_lane lane, zo2_event *e);
    zo2_status (*wait)(zo2_backend *b, zo2_lane lane,
                       zo2_event *e); /* the lane waits; e was recorded (host order is the caller's duty) */
    zo2_status (*sync)(zo2_backend *b, zo2_event *e); /* the caller waits */
    zo2_status (*drain)(zo2_backend *b); /* the caller waits for all lanes; no other thread may use them meanwhile */
    /* The caller waits for its own lanes, compute and stage. Another thread may go on with the upload lane. */
    zo2_status (*finish)(zo2_backend *b);
    /* From now on every operation and transfer is reported: by a later call on its lane's thread or, at the latest, by
     * drain(), or finish() for its lanes. A lane's spans come in order and don't overlap, and each is one operation. Call it while nothing is
     * under way. fn NULL: no more. The entry NULL: work has finished when its call returns, so the host's clock serves. */
    zo2_status (*observe)(zo2_backend *b, zo2_device_span_fn fn, void *ud);

    /* ---- transfers; host memory stays valid until the lane has passed them ---- */
    zo2_status (*upload)(zo2_backend *b, zo2_lane lane, void *dst, const void *src, uint64_t bytes);
    /* Like upload(): enqueued. The host may read dst after a drain() or a sync() with an event recorded behind it; an
     * upload on the same lane may read it at once. */
    zo2_status (*download)(zo2_backend *b, zo2_lane lane, void *dst, const void *src, uint64_t bytes);
    /* Within the device, on the compute lane. No step needs it: it is the limit that kernels are measured against. NULL:
     * memory is the host's. */
    zo2_status (*copy)(zo2_backend *b, void *dst, const void *src, uint64_t bytes);

    /* ---- operations, on the compute lane ---- */
#define ZO2_OPERATION_ENTRY(op, type) zo2_status (*op)(zo2_backend * b, const type *operands);
    ZO2_BACKEND_OPERATIONS(ZO2_OPERATION_ENTRY)
#undef ZO2_OPERATION_ENTRY
} zo2_backend_ops;

/* Every backend's handle begins with this. */
struct zo2_backend {
    const zo2_backend_ops *ops;
    uint32_t threads; /* for attention_workspace() */
};

extern const zo2_backend_ops zo2_backend_cpu;
extern const zo2_backend_ops zo2_backend_null;
extern const zo2_backend_ops zo2_backend_cuda; /* in builds with ZO2_HAVE_CUDA */

/* The table of a kind; auto gives the fastest that can open here. NULL for kinds this build lacks. */
const zo2_backend_ops *zo2_backend_get(zo2_backend_kind kind);
/* What auto gives here; why_not[size] (may be NULL, 0) says why it isn't a GPU although this build has that backend. */
const zo2_backend_ops *zo2_backend_auto(char *why_not, size_t size);

#ifdef __cplusplus
}
#endif

#endif

/* cuda_backend.h: what the files of the cuda backend share.
 *
 * Every operation is one or a few kernels (or one cuBLAS call) on the compute stream, enqueued without waiting; nothing
 * is allocated after open(). Each output element is computed by one thread or one warp in an order that depends on
 * shapes alone, so launch shapes are free to tune and never change a bit. Kernels are built without contraction
 * (-fmad=false): an fma is where the source has one. Noise, decode, fold, perturbation, norms, rotary positions,
 * gates and log-sum-exp have the bits of the cpu backend; products, attention and GELU by erf agree within the bounds that tests
 * state.
 *
 * Errors of CUDA are sticky: after the first one every call of this backend returns ZO2_ERR_DEVICE, until close(). */
#ifndef ZO2_KERNELS_CUDA_CUDA_BACKEND_H
#define ZO2_KERNELS_CUDA_CUDA_BACKEND_H

#include <atomic>
#include <stdint.h>

#include <cublasLt.h>
#include <cublas_v2.h>

#include "codec/update.h"
#include "kernels/backend.h"
#include "kernels/cuda/cuda_ranges.h"
#include "kernels/cuda/dialect.h"
#include "kernels/operands.h"
#include "kernels/operations.h"

#define ZO2_CUDA_MIN_CC     75 /* compute capability 7.5: fp16 tensor cores, and what toolkits still build for */
#define ZO2_CUDA_BLAS_BYTES ((uint64_t)32 << 20) /* cuBLAS workspace: what NVIDIA advises for the newest devices */
/* The arena's first bytes: cuBLAS workspace, then the table of pending updates. */
#define ZO2_CUDA_RESERVED_BYTES (ZO2_CUDA_BLAS_BYTES + ZO2_MAX_PENDING * sizeof(zo2_update))
static_assert(ZO2_CUDA_RESERVED_BYTES % 256 == 0, "the plan wants it so");
#define ZO2_CUDA_CONTEXT_BYTES \
    ((uint64_t)500000000) /* a context with cuBLAS and slack, roughly: where none can be measured */
/* Beside a measured context: kernels that cuBLAS loads later, and what cudaMalloc's steps of 2 MiB waste. */
#define ZO2_CUDA_SLACK_BYTES  ((uint64_t)64 << 20)
#define ZO2_CUDA_MARKS        1024 /* timing events under way in a lane */
#define ZO2_CUDA_WARP         32
#define ZO2_CUDA_BLOCK        128 /* threads of a block in every kernel here: four warps */
#define ZO2_CUDA_WARPS        (ZO2_CUDA_BLOCK / ZO2_CUDA_WARP)
#define ZO2_CUDA_MAX_GRID_YZ  65535
#define ZO2_CUDA_SHARED_BYTES 49152 /* of a block, without asking for more */

struct zo2_event {
    cudaEvent_t event;
    std::atomic<int> recorded;
};

/* What a lane was last told to do: asynchronous errors surface later and are reported with it. */
typedef struct zo2_cuda_doing {
    std::atomic<const char *> op;
    std::atomic<uint32_t> tensor;
    std::atomic<uint64_t> row, rows; /* rows 0: not about rows of a tensor */
} zo2_cuda_doing;

/* A timing event in a lane's stream. */
typedef struct zo2_cuda_mark {
    cudaEvent_t event;
    const char *ends; /* the operation that ends here, static; NULL: one begins */
} zo2_cuda_mark;

/* A lane's timing events under way, and how far it was seen to be. Touched by the lane's thread, and by drain(). */
typedef struct zo2_cuda_track {
    zo2_cuda_mark mark[ZO2_CUDA_MARKS]; /* a ring: n from `first` on */
    uint32_t first, n;
    int waited;              /* for another lane's event, since the last operation */
    cudaEvent_t anchor;      /* recorded at a known time of the host's clock, anchored_ns */
    cudaEvent_t base, spare; /* times count from base: the anchor or the spare */
    uint64_t anchored_ns;    /* 0: it never was, or that failed */
    uint64_t base_ns, at_ns; /* when base and the last mark that passed were, on the host's clock */
} zo2_cuda_track;

/* What cuBLASLt's choice of an algorithm depends on: two that differ are two problems. Strides are 0 in a batch of one. */
typedef struct zo2_cuda_biased_shape {
    uint64_t m, n, k, lda, ldw, ldc;
    uint64_t stride_a, stride_w, stride_c, stride_bias;
    uint32_t batch, type;
    uint32_t align_a, align_w, align_c, align_bias; /* bytes */
} zo2_cuda_biased_shape;

typedef struct zo2_cuda_biased {
    zo2_cuda_biased_shape shape;
    int found; /* 0: cuBLASLt has none */
    cublasLtMatmulAlgo_t algorithm;
} zo2_cuda_biased;
#define ZO2_CUDA_BIASED 32 /* shapes kept: a matrix has at most two heights of tiles, a model two such matrices */

/* A zo2_device is one without arena and events: open() gives them to it and close() takes them away. */
typedef struct zo2_cuda {
    zo2_backend base;
    int lent; /* of device_open(), which close() leaves */
    int device;
    char name[64];
    int capability;                          /* 10 major + minor */
    int bf16_matrices;                       /* attention's kernels have tensor cores for bf16 */
    uint32_t processors;                     /* multiprocessors: grids beyond a few blocks for each give nothing */
    cudaStream_t stream[ZO2_LANE_COUNT];     /* by zo2_lane */
    cublasHandle_t blas;                     /* of the compute stream */
    void *blas_workspace;                    /* ZO2_CUDA_BLAS_BYTES */
    zo2_cuda_biased biased[ZO2_CUDA_BIASED]; /* the last shapes of zo2_cuda_multiply_biased() */
    uint64_t n_biased;                       /* that there have been: the next one's place */
    unsigned char *arena;
    uint64_t arena_bytes;
    zo2_update *fold_table;             /* device [ZO2_MAX_PENDING], in the arena's reserved part */
    zo2_update folded[ZO2_MAX_PENDING]; /* what the table holds once the stream gets there */
    uint32_t n_folded;
    int outer_device; /* the caller's, while inside a step */
    uint32_t depth;   /* of enter() */
    int in_block;     /* a range of block() is open */
    std::atomic<uint64_t> peak;
    std::atomic<int> failing, failed; /* the first error: its thread writes the text, then says so */
    char first_error[600];
    zo2_cuda_doing doing[ZO2_LANE_COUNT];
    zo2_device_span_fn span; /* observe(); NULL: nobody does */
    void *span_ud;
    zo2_cuda_track track[ZO2_LANE_COUNT];
} zo2_cuda;

/* ---- errors (cuda_errors.cu) ---- */

/* ZO2_OK, or ZO2_ERR_DEVICE (ZO2_ERR_NOMEM for memory) with the call, CUDA's name and text of the error and what the
 * lanes were doing; marks the backend as failed. c may be NULL. */
zo2_status zo2_cuda_check(zo2_cuda *c, cudaError_t e, const char *call);
zo2_status zo2_cuda_check_blas(zo2_cuda *c, cublasStatus_t e, const char *call);
/* After ZO2_LAUNCH: a refused launch. */
zo2_status zo2_cuda_launched(zo2_cuda *c, const char *kernel);
/* Before anything is enqueued: the earlier error if there was one; selects the device for this thread. */
zo2_status zo2_cuda_ready(zo2_cuda *c);
void zo2_cuda_doing_set(zo2_cuda *c, zo2_lane lane, const char *op, uint32_t tensor, uint64_t row, uint64_t rows);

/* ---- spans (cuda_spans.cu) ---- */

void zo2_cuda_spans_close(zo2_cuda *c); /* also what was half made; idle streams */
/* Ties the device's clock to the host's, for the caller's lanes, of which those are left alone that have something under way. The
 * upload lane, which has no pause between steps, is tied anew by its own calls. */
void zo2_cuda_spans_anchor(zo2_cuda *c);
/* Around what an operation enqueues, on the lane's thread. */
zo2_status zo2_cuda_span_begin(zo2_cuda *c, zo2_lane lane);
zo2_status zo2_cuda_span_end(zo2_cuda *c, zo2_lane lane, const char *op);
/* When the streams of the lanes from `first` on are idle: reports what is left. */
zo2_status zo2_cuda_spans_drain(zo2_cuda *c, zo2_lane first);
zo2_status zo2_cuda_observe(zo2_backend *b, zo2_device_span_fn fn, void *ud);

/* An operation, from its declaration to the end of the scope: what the lane is doing (for error texts), a range for
 * profilers, a span for who observes. done() comes last: it takes the operation's status and gives the call's. */
struct zo2_cuda_work {
    zo2_cuda_work(zo2_cuda *backend, zo2_lane on, const char *name, uint32_t tensor, uint64_t row, uint64_t rows)
        : c(backend), lane(on), op(name), range(name)
    {
        zo2_cuda_doing_set(c, lane, op, tensor, row, rows);
        begun = zo2_cuda_span_begin(c, lane);
    }
    zo2_status done(zo2_status s)
    {
        if (!s)
            s = begun;
        return s ? s : zo2_cuda_span_end(c, lane, op);
    }
    zo2_cuda *c;
    zo2_lane lane;
    const char *op;
    zo2_cuda_range range;
    zo2_status begun;
};

/* ---- device (cuda_device.cu) ---- */

/* Chooses the first device that is new enough. On failure the reason is the error text: no driver, no device, too old. */
zo2_status zo2_cuda_find_device(int *device);

/* ---- the table's other entries, see backend.h (cuda_device.cu, cuda_lanes.cu) ---- */

zo2_status zo2_cuda_device_open(zo2_device **out, zo2_device_info *info);
void zo2_cuda_device_close(zo2_device *d);
/* All of open() but the table, which the caller puts in. */
zo2_status zo2_cuda_open(zo2_backend **out, const zo2_backend_config *config);
void zo2_cuda_close(zo2_backend *b);
uint64_t zo2_cuda_peak_bytes(zo2_backend *b);
void zo2_cuda_enter(zo2_backend *b);
void zo2_cuda_leave(zo2_backend *b);
void zo2_cuda_block(zo2_backend *b, uint32_t block, uint32_t blocks);
zo2_status zo2_cuda_host_register(zo2_backend *b, void *at, uint64_t bytes);
void zo2_cuda_host_unregister(zo2_backend *b, void *at);
zo2_status zo2_cuda_event_create(zo2_backend *b, zo2_event **out);
void zo2_cuda_event_destroy(zo2_backend *b, zo2_event *e);
zo2_status zo2_cuda_record(zo2_backend *b, zo2_lane lane, zo2_event *e);
zo2_status zo2_cuda_wait(zo2_backend *b, zo2_lane lane, zo2_event *e);
zo2_status zo2_cuda_sync(zo2_backend *b, zo2_event *e);
zo2_status zo2_cuda_drain(zo2_backend *b);
zo2_status zo2_cuda_finish(zo2_backend *b);
zo2_status zo2_cuda_upload(zo2_backend *b, zo2_lane lane, void *dst, const void *src, uint64_t bytes);
zo2_status zo2_cuda_download(zo2_backend *b, zo2_lane lane, void *dst, const void *src, uint64_t bytes);
zo2_status zo2_cuda_copy(zo2_backend *b, void *dst, const void *src, uint64_t bytes);

/* ---- operations ---- */

/* After zo2_operands_<op>() (its status is s): checks the operands against the arena; then zo2_cuda_ready(). */
zo2_status zo2_cuda_admit(zo2_cuda *c, zo2_status s, const zo2_operands *l);

/* zo2_cuda_gemm(c, op) and so on: an operation whose operands were let in and that has something to do. */
#define ZO2_CUDA_OPERATION(op, type) zo2_status zo2_cuda_##op(zo2_cuda *c, const type *operands);
ZO2_BACKEND_OPERATIONS(ZO2_CUDA_OPERATION)
#undef ZO2_CUDA_OPERATION
/* What bias_act() enqueues, for an operation that ends with it. */
zo2_status zo2_cuda_launch_bias_act(zo2_cuda *c, const zo2_bias_act_op *op);
uint64_t zo2_cuda_attention_workspace(uint32_t heads, uint32_t head_dim, uint64_t max_keys, uint32_t threads);

/* Every kernel of a file is loaded now rather than at its first launch: lazy loading allocates device memory. */
zo2_status zo2_cuda_decode_load(zo2_cuda *c);
zo2_status zo2_cuda_norm_load(zo2_cuda *c);
zo2_status zo2_cuda_elementwise_load(zo2_cuda *c);
zo2_status zo2_cuda_rope_load(zo2_cuda *c);
zo2_status zo2_cuda_attention_load(zo2_cuda *c);
zo2_status zo2_cuda_lse_load(zo2_cuda *c);

#define ZO2_CUDA_LOAD(c, kernel)                                                                   \
    do {                                                                                           \
        cudaFuncAttributes attributes;                                                             \
        cudaError_t e = cudaFuncGetAttributes(&attributes, kernel);                                \
        if (e)                                                                                     \
            return zo2_cuda_check(c, e, "cudaFuncGetAttributes (loading the kernel " #kernel ")"); \
    } while (0)

/* The products behind gemm(): row-major c[b] = beta c[b] + a[b] w[b]^T, see gemm.cu. */
typedef struct zo2_cuda_product {
    uint32_t batch;
    uint64_t m, n, k;
    const void *a; /* [m][k] */
    uint64_t lda, stride_a;
    const void *w; /* [n][k] */
    uint64_t ldw, stride_w;
    void *c; /* [m][n] of c_type */
    uint64_t ldc, stride_c;
    zo2_dtype type, c_type;
    int accumulate;
} zo2_cuda_product;
zo2_status zo2_cuda_multiply(zo2_cuda *c, const zo2_cuda_product *p);
/* The same and then + bias[b] to every row of c[b], in one pass (biased.cu). w is transposed, c_type fp32, and the device
 * multiplies the type. *done: 0 where cuBLASLt has no such product, and then nothing was enqueued. */
zo2_status zo2_cuda_multiply_biased(zo2_cuda *c, const zo2_cuda_product *p, const float *bias, uint64_t stride_bias,
                                    int *done);
/* ZO2_ERR_UNSUPPORTED: the device has no products of this type. */
zo2_status zo2_cuda_multiplies(const zo2_cuda *c, zo2_dtype type);

static inline uint64_t zo2_cuda_ceil_div(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

static inline cudaDataType_t zo2_cuda_data_type(zo2_dtype type)
{
    return type == ZO2_F16 ? CUDA_R_16F : type == ZO2_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

static inline uint32_t zo2_cuda_element_bytes(zo2_dtype type)
{
    return type == ZO2_F32 ? 4 : 2;
}

/* Whether runs of 8 elements may be accessed 16 bytes at a time: `sizes` are lengths and strides in elements, or'ed. */
static inline int zo2_cuda_wide(const void *at, uint64_t sizes)
{
    return (uintptr_t)at % 16 == 0 && sizes % 8 == 0;
}

/* Blocks for `n` pieces of work that loop with the grid's stride: all of them, or enough to fill the device. */
static inline uint32_t zo2_cuda_blocks(const zo2_cuda *c, uint64_t n)
{
    uint64_t most = (uint64_t)c->processors * 32;
    return (uint32_t)(n < most ? n : most);
}

/* A grid whose x runs over the threads that a row wants, y over rows, z over streams: as many rows side by side as fill the device;
 * a block goes on to the rows that follow by the grid's stride. */
static inline dim3 zo2_cuda_grid_of_rows(const zo2_cuda *c, uint64_t m, uint64_t threads, uint32_t streams)
{
    uint32_t across = zo2_cuda_blocks(c, zo2_cuda_ceil_div(threads, ZO2_CUDA_BLOCK));
    uint32_t down = zo2_cuda_blocks(c, m) / across;
    down = down < 1 ? 1 : down > ZO2_CUDA_MAX_GRID_YZ ? ZO2_CUDA_MAX_GRID_YZ : down;
    return dim3(across, down, streams);
}

#endif

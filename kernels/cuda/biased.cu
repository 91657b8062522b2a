/* biased.cu: products that add a bias to their rows in the same pass, by cuBLASLt. gemm.cu's column-major view fits: D is n x m
 * there, and cuBLASLt's bias is one value for each row of D, which is a column of y.
 *
 * Only for results in fp32. cuBLASLt takes a bias of the result's type; in 16 bits it would be rounded, and a perturbation of
 * 1e-3 is less than the last place of a bf16 near 0.25 (CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE has no other choice for these types).
 * Nor for operands in fp32, with which results are verified: gemm.cu's two passes are plainer.
 *
 * The sum is (product + y) + bias in fp32, as in two passes. The algorithm is the first that cuBLASLt's heuristics name for a
 * shape, without a measurement: the same for one device and cuBLAS version each time. Should cublasLtMatmul() refuse it all the same, the
 * shape has none: a run must not end for want of a shortcut. */
#include <string.h>

#include "kernels/backend.h"
#include "kernels/cuda/cuda_backend.h"

/* A product as cuBLASLt wants it described. */
typedef struct described {
    cublasLtMatmulDescOpaque_t call;
    cublasLtMatrixLayoutOpaque_t w, a, c;
} described;

/* Of an address and of what lies `stride` bytes behind it, as far as anybody cares. */
static uint32_t alignment(const void *at, uint64_t stride)
{
    uint64_t bits = (uintptr_t)at | stride | 256;
    return (uint32_t)(bits & (~bits + 1));
}

static zo2_cuda_biased_shape shape_of(const zo2_cuda_product *p, const float *bias, uint64_t stride_bias)
{
    zo2_cuda_biased_shape s;
    int many = p->batch > 1;
    uint32_t size = zo2_cuda_element_bytes(p->type);
    memset(&s, 0, sizeof s);
    s.m = p->m;
    s.n = p->n;
    s.k = p->k;
    s.lda = p->lda;
    s.ldw = p->ldw;
    s.ldc = p->ldc;
    s.stride_a = many ? p->stride_a : 0;
    s.stride_w = many ? p->stride_w : 0;
    s.stride_c = many ? p->stride_c : 0;
    s.stride_bias = many ? stride_bias : 0;
    s.batch = p->batch;
    s.type = (uint32_t)p->type;
    s.align_a = alignment(p->a, s.stride_a * size);
    s.align_w = alignment(p->w, s.stride_w * size);
    s.align_c = alignment(p->c, s.stride_c * sizeof(float));
    s.align_bias = alignment(bias, s.stride_bias * sizeof(float));
    return s;
}

static cublasStatus_t describe_matrix(cublasLtMatrixLayoutOpaque_t *l, cudaDataType_t type, uint64_t rows,
                                      uint64_t columns, uint64_t ld, uint32_t batch, uint64_t stride)
{
    int32_t count = (int32_t)batch;
    int64_t offset = (int64_t)stride;
    cublasStatus_t e = cublasLtMatrixLayoutInit(l, type, rows, columns, (int64_t)ld);
    if (!e)
        e = cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count);
    if (!e)
        e = cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &offset, sizeof offset);
    return e;
}

static cublasStatus_t describe(described *d, const zo2_cuda_biased_shape *s, const float *bias)
{
    const int32_t transposed = CUBLAS_OP_T;
    const uint32_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    const int64_t stride_bias = (int64_t)s->stride_bias;
    cudaDataType_t type = zo2_cuda_data_type((zo2_dtype)s->type);
    cublasLtMatmulDescOpaque_t *call = &d->call;
    cublasStatus_t e = cublasLtMatmulDescInit(call, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (!e)
        e = cublasLtMatmulDescSetAttribute(call, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed);
    if (!e)
        e = cublasLtMatmulDescSetAttribute(call, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
    if (!e)
        e = cublasLtMatmulDescSetAttribute(call, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    if (!e)
        e = cublasLtMatmulDescSetAttribute(call, CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, &stride_bias,
                                           sizeof stride_bias);
    if (!e)
        e = describe_matrix(&d->w, type, s->k, s->n, s->ldw, s->batch, s->stride_w);
    if (!e)
        e = describe_matrix(&d->a, type, s->k, s->m, s->lda, s->batch, s->stride_a);
    if (!e)
        e = describe_matrix(&d->c, CUDA_R_32F, s->n, s->m, s->ldc, s->batch, s->stride_c);
    return e;
}

/* Of the problem or the algorithm, before anything was enqueued. */
static int is_refusal(cublasStatus_t e)
{
    return e == CUBLAS_STATUS_NOT_SUPPORTED || e == CUBLAS_STATUS_INVALID_VALUE || e == CUBLAS_STATUS_ARCH_MISMATCH;
}

/* Asks for an algorithm. That there is none is an answer. */
static cublasStatus_t choose(zo2_cuda *c, zo2_cuda_biased *b, described *d)
{
    const uint64_t workspace = ZO2_CUDA_BLAS_BYTES;
    const struct {
        cublasLtMatmulPreferenceAttributes_t attribute;
        uint32_t bytes;
    } aligned[] = {{CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, b->shape.align_w},
                   {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, b->shape.align_a},
                   {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, b->shape.align_c},
                   {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, b->shape.align_c}};
    cublasLtMatmulPreferenceOpaque_t want;
    cublasLtMatmulHeuristicResult_t result;
    int found = 0;
    cublasStatus_t e = cublasLtMatmulPreferenceInit(&want);
    if (!e)
        e = cublasLtMatmulPreferenceSetAttribute(&want, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                                 sizeof workspace);
    for (unsigned i = 0; i < sizeof aligned / sizeof aligned[0] && !e; i++)
        e = cublasLtMatmulPreferenceSetAttribute(&want, aligned[i].attribute, &aligned[i].bytes,
                                                 sizeof aligned[i].bytes);
    if (e)
        return e;
    e = cublasLtMatmulAlgoGetHeuristic((cublasLtHandle_t)c->blas, &d->call, &d->w, &d->a, &d->c, &d->c, &want, 1,
                                       &result, &found);
    if (e && !is_refusal(e))
        return e;
    b->found = !e && found > 0 && !result.state;
    if (b->found)
        b->algorithm = result.algo;
    return CUBLAS_STATUS_SUCCESS;
}

/* The entry of a shape; a new one takes the oldest's place. NULL: *e says why. */
static zo2_cuda_biased *algorithm_for(zo2_cuda *c, const zo2_cuda_biased_shape *s, described *d, cublasStatus_t *e)
{
    uint64_t kept = c->n_biased < ZO2_CUDA_BIASED ? c->n_biased : ZO2_CUDA_BIASED;
    for (uint64_t i = 0; i < kept; i++)
        if (!memcmp(&c->biased[i].shape, s, sizeof *s))
            return &c->biased[i];
    zo2_cuda_biased *b = &c->biased[c->n_biased % ZO2_CUDA_BIASED];
    b->shape = *s;
    *e = choose(c, b, d);
    if (*e)
        return NULL;
    c->n_biased++;
    return b;
}

zo2_status zo2_cuda_multiply_biased(zo2_cuda *c, const zo2_cuda_product *p, const float *bias, uint64_t stride_bias,
                                    int *done)
{
    *done = 0;
    if (p->type == ZO2_F32)
        return ZO2_OK;
    const zo2_cuda_biased_shape shape = shape_of(p, bias, stride_bias);
    described d;
    cublasStatus_t e = describe(&d, &shape, bias);
    zo2_cuda_biased *b = e ? NULL : algorithm_for(c, &shape, &d, &e);
    if (e)
        return zo2_cuda_check_blas(c, e, "cublasLtMatmulAlgoGetHeuristic");
    if (!b->found)
        return ZO2_OK;
    const float alpha = 1.0f, beta = p->accumulate ? 1.0f : 0.0f;
    e = cublasLtMatmul((cublasLtHandle_t)c->blas, &d.call, &alpha, p->w, &d.w, p->a, &d.a, &beta, p->c, &d.c, p->c,
                       &d.c, &b->algorithm, c->blas_workspace, ZO2_CUDA_BLAS_BYTES, c->stream[ZO2_LANE_COMPUTE]);
    *done = !e;
    if (is_refusal(e)) {
        b->found = 0;
        return ZO2_OK;
    }
    return zo2_cuda_check_blas(c, e, "cublasLtMatmul");
}

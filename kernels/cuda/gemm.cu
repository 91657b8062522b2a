/* gemm.cu: products by cuBLAS. cuBLAS has column-major matrices; a row-major [r][c] with row stride ld is, byte for
 * byte, the column-major c x r matrix with leading dimension ld, its transpose. So the row-major
 *
 *     C [m][n] = A [m][k] W^T, W [n][k]        is        C' (n x m) = W' ^T (n x k)  A' (k x m)
 *
 * with primes for the column-major views W' (k x n, ldw), A' (k x m, lda), C' (n x m, ldc): W comes first and is
 * transposed, A second and is not.
 *
 * Accumulation is fp32; reductions in 16 bits and TF32 are off. For equal shapes, strides and alignment one device
 * and cuBLAS version give the same bits each time: one stream, one handle, a workspace of fixed size. */
#include "kernels/backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/operations.h"

zo2_status zo2_cuda_multiplies(const zo2_cuda *c, zo2_dtype type)
{
    if (type != ZO2_BF16 || c->capability >= 80)
        return ZO2_OK;
    return zo2_error(ZO2_ERR_UNSUPPORTED,
                     "%s multiplies no bf16 (compute capability %d.%d, needed is 8.0): compute in fp16 or fp32",
                     c->name, c->capability / 10, c->capability % 10);
}

zo2_status zo2_cuda_multiply(zo2_cuda *c, const zo2_cuda_product *p)
{
    zo2_status s = zo2_cuda_multiplies(c, p->type);
    if (s)
        return s;
    const float alpha = 1.0f, beta = p->accumulate ? 1.0f : 0.0f;
    cublasStatus_t e = cublasGemmStridedBatchedEx(
        c->blas, CUBLAS_OP_T, CUBLAS_OP_N, (int)p->n, (int)p->m, (int)p->k, &alpha, p->w, zo2_cuda_data_type(p->type),
        (int)p->ldw, (long long)p->stride_w, p->a, zo2_cuda_data_type(p->type), (int)p->lda, (long long)p->stride_a,
        &beta, p->c, zo2_cuda_data_type(p->c_type), (int)p->ldc, (long long)p->stride_c, (int)p->batch,
        p->type == ZO2_F32 ? CUBLAS_COMPUTE_32F_PEDANTIC : CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
    return zo2_cuda_check_blas(c, e, "cublasGemmStridedBatchedEx");
}

static zo2_status add_bias(zo2_cuda *c, const zo2_gemm_op *op)
{
    zo2_bias_act_op then = zo2_bias_act_op();
    then.streams = op->batch;
    then.m = op->m;
    then.n = op->n;
    then.y = op->y;
    then.ldy = op->ldy;
    then.stride_y = op->stride_y;
    then.bias = op->bias;
    then.stride_bias = op->stride_bias;
    then.scale = 1.0f;
    then.type = ZO2_F32;
    return zo2_cuda_launch_bias_act(c, &then);
}

/* Of streams that are one call: the two of a query, as a moving matrix has them. */
static zo2_status multiply_streams(zo2_cuda *c, const zo2_gemm_op *op)
{
    zo2_cuda_product p;
    p.batch = op->batch;
    p.m = op->m;
    p.n = op->n;
    p.k = op->k;
    p.a = op->x;
    p.lda = op->ldx;
    p.stride_a = op->stride_x;
    p.w = op->panel;
    p.ldw = op->ld_panel;
    p.stride_w = op->stride_panel;
    p.c = op->y;
    p.ldc = op->ldy;
    p.stride_c = op->stride_y;
    p.type = op->type;
    p.c_type = op->y_type;
    p.accumulate = op->accumulate;
    int done = 0;
    zo2_status s = zo2_cuda_multiplies(c, p.type);
    if (!s && op->bias)
        s = zo2_cuda_multiply_biased(c, &p, op->bias, op->stride_bias, &done);
    if (!s && !done) {
        s = zo2_cuda_multiply(c, &p);
        if (!s && op->bias)
            s = add_bias(c, op);
    }
    return s;
}

static const void *behind(const void *at, uint64_t elements, uint64_t size)
{
    return (const unsigned char *)at + elements * size;
}

/* Two streams a call, however many multiply one panel: which algorithm cuBLAS takes, and so the order of its sums, depends on the batch,
 * and a query's bits must not depend on how many others this process evaluates. */
zo2_status zo2_cuda_gemm(zo2_cuda *c, const zo2_gemm_op *op)
{
    zo2_cuda_work work(c, ZO2_LANE_COMPUTE, "gemm", 0, 0, 0);
    uint64_t size = zo2_cuda_element_bytes(op->type), size_y = zo2_cuda_element_bytes(op->y_type);
    zo2_gemm_op part = *op;
    zo2_status s = ZO2_OK;
    for (uint32_t first = 0; first < op->batch && !s; first += ZO2_MAX_PANELS) {
        part.batch = op->batch - first < ZO2_MAX_PANELS ? op->batch - first : ZO2_MAX_PANELS;
        part.x = behind(op->x, first * op->stride_x, size);
        part.panel = behind(op->panel, first * op->stride_panel, size);
        part.y = (unsigned char *)op->y + first * op->stride_y * size_y;
        part.bias = op->bias ? op->bias + first * op->stride_bias : NULL;
        s = multiply_streams(c, &part);
    }
    return work.done(s);
}

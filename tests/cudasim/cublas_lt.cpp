/* cublas_lt.cpp: cuBLASLt's products on the simulated device: descriptors, the choice of an algorithm, and what an
 * algorithm was promised when it was chosen. */
#include "cublasLt.h"
#include "product.h"

#include <string.h>

using namespace cudasim;

namespace
{

constexpr uint64_t needed_workspace = uint64_t{1} << 20, best_alignment = 256;

/* What descriptors hold; all fit into the opaque ones. */
struct layout {
    uint64_t rows, columns;
    int64_t ld, stride;
    int32_t type, batch;
};
struct description {
    const void *bias;
    int64_t stride_bias;
    int32_t transposed_a, transposed_b;
    uint32_t epilogue;
};
struct preference {
    uint64_t workspace;
    uint32_t alignment[4]; /* of A, B, C, D */
};
struct algorithm { /* what it was found for */
    uint64_t problem;
    uint32_t alignment[4], alignment_bias;
};

template <class T, class O> T *in(O *opaque)
{
    static_assert(sizeof(T) <= sizeof(O), "it has to fit");
    return reinterpret_cast<T *>(opaque->data);
}

template <class T, class O> cublasStatus_t begin(O *opaque, const T &value)
{
    *in<T>(opaque) = value;
    return CUBLAS_STATUS_SUCCESS;
}

/* Sizes of values are looked at, as the library does. Descriptors are the caller's memory: these functions take no lock and
 * are no calls to the device. */
cublasStatus_t set(void *to, size_t size, const void *value, size_t bytes)
{
    if (!to || bytes != size)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(to, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

uint32_t alignment_of(const void *p)
{
    uint64_t bits = reinterpret_cast<uintptr_t>(p) | best_alignment;
    return static_cast<uint32_t>(bits & -bits);
}

/* Two problems that differ in anything an algorithm may depend on differ in this. */
uint64_t number_of(const description &d, const layout *l)
{
    uint64_t h = 1;
    auto take = [&h](uint64_t v) { h = (h ^ v) * 0x9E3779B97F4A7C15u, h ^= h >> 29; };
    take(static_cast<uint64_t>(d.transposed_a * 2 + d.transposed_b));
    take(d.epilogue);
    take(static_cast<uint64_t>(d.stride_bias));
    for (int i = 0; i < 4; i++)
        for (uint64_t v : {l[i].rows, l[i].columns, static_cast<uint64_t>(l[i].ld), static_cast<uint64_t>(l[i].stride),
                           static_cast<uint64_t>(l[i].type), static_cast<uint64_t>(l[i].batch)})
            take(v);
    return h;
}

bool supported(const description &d, const layout *l)
{
    cudaDataType a = static_cast<cudaDataType>(l[0].type), y = static_cast<cudaDataType>(l[3].type);
    return known(a) && l[1].type == l[0].type && (y == CUDA_R_32F || y == a) && l[2].type == l[3].type &&
           (d.epilogue == CUBLASLT_EPILOGUE_DEFAULT || (d.epilogue == CUBLASLT_EPILOGUE_BIAS && d.bias));
}

matrix matrix_of(const layout &l, const void *at)
{
    matrix m = {static_cast<unsigned char *>(const_cast<void *>(at)),
                static_cast<cudaDataType>(l.type),
                static_cast<int>(l.rows),
                static_cast<int>(l.columns),
                static_cast<int>(l.ld),
                l.stride};
    return m;
}

/* What the algorithm was found for is what it gets. */
bool keeps_promises(const algorithm &found, const description &d, const layout *l, const void *const *at)
{
    if (found.problem != number_of(d, l)) {
        report("cublasLtMatmul: the algorithm was found for another problem");
        return false;
    }
    for (int i = 0; i < 4; i++)
        if (alignment_of(at[i]) < found.alignment[i]) {
            report("cublasLtMatmul: %c at %p is aligned to less than the %u bytes that were promised", "ABCD"[i], at[i],
                   found.alignment[i]);
            return false;
        }
    if (d.epilogue == CUBLASLT_EPILOGUE_BIAS && alignment_of(d.bias) < found.alignment_bias) {
        report("cublasLtMatmul: the bias at %p is aligned to less than the %u bytes of the one that was shown", d.bias,
               found.alignment_bias);
        return false;
    }
    return true;
}

/* False: reported, or of sizes that don't go together. */
bool make_product(product *p, const description &d, const layout *l, const void *const *at)
{
    *p = product();
    p->ta = static_cast<cublasOperation_t>(d.transposed_a);
    p->tb = static_cast<cublasOperation_t>(d.transposed_b);
    p->a = matrix_of(l[0], at[0]);
    p->b = matrix_of(l[1], at[1]);
    p->c = matrix_of(l[3], at[3]);
    p->m = p->c.rows;
    p->n = p->c.columns;
    p->k = p->ta == CUBLAS_OP_T ? p->a.rows : p->a.columns;
    p->batch = l[3].batch;
    if ((p->ta == CUBLAS_OP_T ? p->a.columns : p->a.rows) != p->m ||
        (p->tb == CUBLAS_OP_T ? p->b.rows : p->b.columns) != p->n ||
        (p->tb == CUBLAS_OP_T ? p->b.columns : p->b.rows) != p->k || l[0].batch != p->batch || l[1].batch != p->batch)
        return false;
    if (d.epilogue == CUBLASLT_EPILOGUE_BIAS)
        p->bias = {static_cast<unsigned char *>(const_cast<void *>(d.bias)), p->c.type, p->m, 1, p->m, d.stride_bias};
    return check_matrix(p->a, p->batch, "A") && check_matrix(p->b, p->batch, "B") &&
           check_matrix(p->c, p->batch, "D") && (!p->bias.at || check_matrix(p->bias, p->batch, "the bias"));
}

} // namespace

cublasStatus_t cublasLtMatrixLayoutInit(cublasLtMatrixLayout_t l, cudaDataType type, uint64_t rows, uint64_t columns,
                                        int64_t ld)
{
    return begin(l, layout{rows, columns, ld, 0, type, 1});
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t attribute,
                                                const void *value, size_t bytes)
{
    layout *to = in<layout>(l);
    switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT: return set(&to->batch, sizeof to->batch, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET: return set(&to->stride, sizeof to->stride, value, bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulDescInit(cublasLtMatmulDesc_t d, cublasComputeType_t compute, cudaDataType scale)
{
    if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F)
        return CUBLAS_STATUS_INVALID_VALUE;
    return begin(d, description{nullptr, 0, 0, 0, CUBLASLT_EPILOGUE_DEFAULT});
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t bytes)
{
    description *to = in<description>(d);
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA: return set(&to->transposed_a, sizeof to->transposed_a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB: return set(&to->transposed_b, sizeof to->transposed_b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return set(&to->epilogue, sizeof to->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return set(&to->bias, sizeof to->bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE: return set(&to->stride_bias, sizeof to->stride_bias, value, bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulPreferenceInit(cublasLtMatmulPreference_t p)
{
    preference start = {};
    for (uint32_t &alignment : start.alignment)
        alignment = best_alignment;
    return begin(p, start);
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void *value,
                                                    size_t bytes)
{
    preference *to = in<preference>(p);
    if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES)
        return set(&to->workspace, sizeof to->workspace, value, bytes);
    int i = attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES;
    return set(i >= 0 && i < 4 ? &to->alignment[i] : nullptr, sizeof(uint32_t), value, bytes);
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t h, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                              cublasLtMatrixLayout_t result, cublasLtMatmulPreference_t pref,
                                              int requested, cublasLtMatmulHeuristicResult_t *found, int *n_found)
{
    api call("cublasLtMatmulAlgoGetHeuristic", needs::context);
    *n_found = 0;
    if (call.error || !valid_handle(reinterpret_cast<cublasHandle_t>(h)))
        return call.error ? CUBLAS_STATUS_INTERNAL_ERROR : CUBLAS_STATUS_NOT_INITIALIZED;
    if (requested < 1)
        return CUBLAS_STATUS_INVALID_VALUE;
    const description &d = *in<description>(desc);
    const preference &p = *in<preference>(pref);
    const layout l[4] = {*in<layout>(a), *in<layout>(b), *in<layout>(c), *in<layout>(result)};
    bool wide = true;
    for (int i = 0; i < 2; i++)
        wide &= p.alignment[i] >= 16 &&
                l[i].ld * static_cast<int64_t>(element_bytes(static_cast<cudaDataType>(l[i].type))) % 16 == 0;
    if (!supported(d, l) || p.workspace < needed_workspace || (d.epilogue == CUBLASLT_EPILOGUE_BIAS && !wide))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    memset(found, 0, sizeof *found);
    algorithm *chosen = in<algorithm>(&found->algo);
    chosen->problem = number_of(d, l);
    for (int i = 0; i < 4; i++)
        chosen->alignment[i] = p.alignment[i];
    chosen->alignment_bias = alignment_of(d.bias);
    found->workspaceSize = needed_workspace;
    *n_found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t h, cublasLtMatmulDesc_t desc, const void *alpha, const void *a,
                              cublasLtMatrixLayout_t layout_a, const void *b, cublasLtMatrixLayout_t layout_b,
                              const void *beta, const void *c, cublasLtMatrixLayout_t layout_c, void *result,
                              cublasLtMatrixLayout_t layout_d, const cublasLtMatmulAlgo_t *algo, void *workspace,
                              size_t workspace_bytes, cudaStream_t s)
{
    api call("cublasLtMatmul", needs::context);
    if (call.error || !valid_handle(reinterpret_cast<cublasHandle_t>(h)))
        return call.error ? CUBLAS_STATUS_EXECUTION_FAILED : CUBLAS_STATUS_NOT_INITIALIZED;
    if (!valid_stream(s, "cublasLtMatmul"))
        return CUBLAS_STATUS_INVALID_VALUE;
    const description &d = *in<description>(desc);
    const layout l[4] = {*in<layout>(layout_a), *in<layout>(layout_b), *in<layout>(layout_c), *in<layout>(layout_d)};
    const void *const at[4] = {a, b, c, result};
    product p;
    if (!algo || !supported(d, l) || the_device->config.lt_refuses)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    algorithm found; /* a copy: the caller's is const */
    memcpy(&found, algo->data, sizeof found);
    if (c != result || memcmp(&l[2], &l[3], sizeof l[2]) || !keeps_promises(found, d, l, at) ||
        !make_product(&p, d, l, at))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (workspace_bytes < needed_workspace || !on_device(workspace, needed_workspace)) {
        report("cublasLtMatmul: %zu bytes of workspace at %p: the algorithm needs %zu of device memory",
               workspace_bytes, workspace, static_cast<size_t>(needed_workspace));
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    p.alpha = *static_cast<const float *>(alpha);
    p.beta = *static_cast<const float *>(beta);
    enqueue(s, "cuBLASLt product", [p] { return multiply(p); });
    return CUBLAS_STATUS_SUCCESS;
}

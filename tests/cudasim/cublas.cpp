/* cublas.cpp: matrix products on the simulated device: fp32 copies of the operands, OpenBLAS, rounding to the result's
 * type. The copies are what reads and writes device memory, so the sanitizers see every access: this file is compiled
 * with ThreadSanitizer too, unlike the rest of the simulator. */
#include "product.h"

#include <cblas.h>

#include "codec/bf16.h"
#include "codec/fp16.h"

#include <vector>

using namespace cudasim;

namespace
{

constexpr uint64_t own_workspace_bytes = uint64_t{4} << 20, handle_bytes = uint64_t{1} << 20;

float get(const matrix &m, size_t i)
{
    const unsigned char *p = m.at + i * element_bytes(m.type);
    if (m.type == CUDA_R_32F)
        return *reinterpret_cast<const float *>(p);
    uint16_t bits = *reinterpret_cast<const uint16_t *>(p);
    return m.type == CUDA_R_16F ? zo2_fp16_get(bits) : zo2_bf16_get(bits);
}

void put(const matrix &m, size_t i, float v)
{
    unsigned char *p = m.at + i * element_bytes(m.type);
    if (m.type == CUDA_R_32F)
        *reinterpret_cast<float *>(p) = v;
    else
        *reinterpret_cast<uint16_t *>(p) = m.type == CUDA_R_16F ? zo2_fp16_encode(v) : zo2_bf16_encode(v);
}

size_t element(const matrix &m, int batch, int row, int column)
{
    return static_cast<size_t>(batch * m.stride + static_cast<long long>(column) * m.ld + row);
}

std::vector<float> dense(const matrix &m, int batch)
{
    std::vector<float> out(static_cast<size_t>(m.rows) * static_cast<size_t>(m.columns));
    float *to = out.data();
    for (int j = 0; j < m.columns; j++)
        for (int i = 0; i < m.rows; i++)
            *to++ = get(m, element(m, batch, i, j));
    return out;
}

uint64_t alignment_of(const matrix &m) /* as far as a library's choice may depend on it */
{
    uint64_t bits = reinterpret_cast<uintptr_t>(m.at) | static_cast<uint64_t>(m.stride) * element_bytes(m.type) |
                    static_cast<uint64_t>(m.ld) * element_bytes(m.type) | 16;
    return bits & -bits;
}

/* In how many pieces a product's sums are made, one after the other. A library picks an algorithm, and with it an order of sums, for
 * a problem as a whole: sizes, batch, types, alignments. Two problems that differ in any of these need not agree in the last
 * bits; whoever relies on it finds here that they don't. */
int pieces_of(const product &p)
{
    uint64_t h = 1;
    auto take = [&h](uint64_t v) { h = (h ^ v) * 0x9E3779B97F4A7C15u, h ^= h >> 29; };
    for (int v : {static_cast<int>(p.ta), static_cast<int>(p.tb), p.m, p.n, p.k, p.batch, p.beta != 0 ? 1 : 0,
                  p.bias.at ? 1 : 0})
        take(static_cast<uint64_t>(v));
    for (const matrix *m : {&p.a, &p.b, &p.c}) {
        take(static_cast<uint64_t>(m->type));
        take(static_cast<uint64_t>(m->ld));
        take(alignment_of(*m));
    }
    return 1 + static_cast<int>(h >> 60) % 4;
}

/* What cuBLAS does without a workspace of the caller's: takes one, here once per device. */
bool take_own_workspace()
{
    device &d = *the_device;
    if (d.library_workspace)
        return true;
    if (!take_device_bytes(own_workspace_bytes))
        return false;
    d.library_workspace = true;
    d.stats.library_allocations++;
    return true;
}

} // namespace

size_t cudasim::element_bytes(cudaDataType type)
{
    return type == CUDA_R_32F ? 4 : 2;
}

bool cudasim::known(cudaDataType t)
{
    return t == CUDA_R_32F || t == CUDA_R_16F || t == CUDA_R_16BF;
}

bool cudasim::valid_handle(cublasHandle_t h)
{
    return h && the_device->handles.count(h);
}

bool cudasim::check_matrix(const matrix &m, int batch, const char *name)
{
    if (m.rows < 0 || m.columns < 0 || m.ld < (m.rows > 1 ? m.rows : 1) || m.stride < 0) {
        report("cuBLAS product: %s has %d rows, %d columns, a leading dimension of %d, a stride of %lld", name, m.rows,
               m.columns, m.ld, m.stride);
        return false;
    }
    size_t elements = element(m, batch - 1, m.rows - 1, m.columns - 1) + 1;
    if (reinterpret_cast<uintptr_t>(m.at) % element_bytes(m.type)) {
        report("cuBLAS product: %s at %p is not aligned to its elements", name, static_cast<void *>(m.at));
        return false;
    }
    if (!on_device(m.at, elements * element_bytes(m.type))) {
        report("cuBLAS product: %s, %zu elements at %p, is not device memory", name, elements,
               static_cast<void *>(m.at));
        return false;
    }
    return true;
}

cudaError_t cudasim::multiply(const product &p)
{
    const int pieces = pieces_of(p);
    for (int i = 0; i < p.batch; i++) {
        std::vector<float> a = dense(p.a, i), b = dense(p.b, i);
        std::vector<float> c(static_cast<size_t>(p.m) * static_cast<size_t>(p.n));
        for (int piece = 0; piece < pieces; piece++) {
            int from = p.k / pieces * piece, to = piece + 1 < pieces ? from + p.k / pieces : p.k;
            if (from == to)
                continue;
            cblas_sgemm(CblasColMajor, p.ta == CUBLAS_OP_T ? CblasTrans : CblasNoTrans,
                        p.tb == CUBLAS_OP_T ? CblasTrans : CblasNoTrans, p.m, p.n, to - from, p.alpha,
                        a.data() + static_cast<size_t>(from) * (p.ta == CUBLAS_OP_T ? 1 : static_cast<size_t>(p.m)),
                        p.a.rows,
                        b.data() + static_cast<size_t>(from) * (p.tb == CUBLAS_OP_T ? static_cast<size_t>(p.n) : 1),
                        p.b.rows, from ? 1.0f : 0.0f, c.data(), p.m);
        }
        for (int j = 0; j < p.n; j++)
            for (int r = 0; r < p.m; r++) {
                size_t at = element(p.c, i, r, j);
                float old = p.beta == 0 ? 0 : p.beta * get(p.c, at); /* not read then: it may be NaN */
                float sum = c[static_cast<size_t>(j) * static_cast<size_t>(p.m) + static_cast<size_t>(r)] + old;
                put(p.c, at, p.bias.at ? sum + get(p.bias, element(p.bias, i, r, 0)) : sum);
            }
    }
    return cudaSuccess;
}

void cudasim::destroy_handles()
{
    for (cublasContext *h : the_device->handles)
        delete h;
    the_device->handles.clear();
}

const char *cublasGetStatusName(cublasStatus_t s)
{
    switch (s) {
#define NAME(name, number, text) \
    case name: return #name;
        CUDASIM_CUBLAS_STATUS_MAP(NAME)
#undef NAME
    }
    return "unknown status";
}

const char *cublasGetStatusString(cublasStatus_t s)
{
    switch (s) {
#define TEXT(name, number, text) \
    case name: return text;
        CUDASIM_CUBLAS_STATUS_MAP(TEXT)
#undef TEXT
    }
    return "unknown status";
}

cublasStatus_t cublasGetVersion(cublasHandle_t, int *version)
{
    *version = 120200;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasCreate(cublasHandle_t *h)
{
    api call("cublasCreate", needs::context);
    *h = nullptr;
    if (call.error)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    if (!take_device_bytes(handle_bytes))
        return CUBLAS_STATUS_ALLOC_FAILED;
    *h = new cublasContext();
    the_device->handles.insert(*h);
    the_device->stats.handles++;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy(cublasHandle_t h)
{
    api call("cublasDestroy", needs::nothing);
    if (!valid_handle(h))
        return CUBLAS_STATUS_NOT_INITIALIZED;
    run_everything(); /* it waits for the device */
    give_device_bytes(handle_bytes);
    the_device->handles.erase(h);
    delete h;
    return CUBLAS_STATUS_SUCCESS;
}

/* Setting the stream takes the workspace away, as the manual has it: set the workspace afterwards. */
cublasStatus_t cublasSetStream(cublasHandle_t h, cudaStream_t s)
{
    api call("cublasSetStream", needs::context);
    if (call.error || !valid_handle(h))
        return CUBLAS_STATUS_NOT_INITIALIZED;
    if (!valid_stream(s, "cublasSetStream"))
        return CUBLAS_STATUS_INVALID_VALUE;
    h->stream = s;
    h->workspace = nullptr;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace(cublasHandle_t h, void *workspace, size_t bytes)
{
    api call("cublasSetWorkspace", needs::context);
    if (call.error || !valid_handle(h))
        return CUBLAS_STATUS_NOT_INITIALIZED;
    if (reinterpret_cast<uintptr_t>(workspace) % 256 || (workspace && !on_device(workspace, bytes))) {
        report("cublasSetWorkspace: %zu bytes at %p: has to be device memory aligned to 256 bytes", bytes, workspace);
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    h->workspace = workspace;
    h->workspace_bytes = bytes;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t h, cublasMath_t mode)
{
    api call("cublasSetMathMode", needs::context);
    if (call.error || !valid_handle(h))
        return CUBLAS_STATUS_NOT_INITIALIZED;
    h->math = mode;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetPointerMode(cublasHandle_t h, cublasPointerMode_t mode)
{
    api call("cublasSetPointerMode", needs::context);
    if (call.error || !valid_handle(h))
        return CUBLAS_STATUS_NOT_INITIALIZED;
    return mode == CUBLAS_POINTER_MODE_HOST ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb, int m, int n,
                                          int k, const void *alpha, const void *a, cudaDataType type_a, int lda,
                                          long long stride_a, const void *b, cudaDataType type_b, int ldb,
                                          long long stride_b, const void *beta, void *c, cudaDataType type_c, int ldc,
                                          long long stride_c, int batch, cublasComputeType_t, cublasGemmAlgo_t)
{
    api call("cublasGemmStridedBatchedEx", needs::context);
    if (call.error || !valid_handle(h))
        return call.error ? CUBLAS_STATUS_EXECUTION_FAILED : CUBLAS_STATUS_NOT_INITIALIZED;
    if (!valid_stream(h->stream, "cuBLAS product"))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (m < 0 || n < 0 || k < 0 || batch < 0)
        return CUBLAS_STATUS_INVALID_VALUE;
    bool types = known(type_a) && type_a == type_b && (type_c == CUDA_R_32F || type_c == type_a);
    if (!types)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    product p = {ta, tb, m,  n, k, batch, *static_cast<const float *>(alpha), *static_cast<const float *>(beta),
                 {}, {}, {}, {}};
    auto bytes = [](const void *at) { return static_cast<unsigned char *>(const_cast<void *>(at)); };
    p.a = {bytes(a), type_a, ta == CUBLAS_OP_T ? k : m, ta == CUBLAS_OP_T ? m : k, lda, stride_a};
    p.b = {bytes(b), type_b, tb == CUBLAS_OP_T ? n : k, tb == CUBLAS_OP_T ? k : n, ldb, stride_b};
    p.c = {bytes(c), type_c, m, n, ldc, stride_c};
    if (!m || !n || !batch)
        return CUBLAS_STATUS_SUCCESS;
    if ((k && (!check_matrix(p.a, batch, "A") || !check_matrix(p.b, batch, "B"))) || !check_matrix(p.c, batch, "C"))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (!h->workspace && !take_own_workspace())
        return CUBLAS_STATUS_ALLOC_FAILED;
    enqueue(h->stream, "cuBLAS product", [p] { return multiply(p); });
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGemmEx(cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k,
                            const void *alpha, const void *a, cudaDataType type_a, int lda, const void *b,
                            cudaDataType type_b, int ldb, const void *beta, void *c, cudaDataType type_c, int ldc,
                            cublasComputeType_t compute, cublasGemmAlgo_t algorithm)
{
    return cublasGemmStridedBatchedEx(h, ta, tb, m, n, k, alpha, a, type_a, lda, 0, b, type_b, ldb, 0, beta, c, type_c,
                                      ldc, 0, 1, compute, algorithm);
}

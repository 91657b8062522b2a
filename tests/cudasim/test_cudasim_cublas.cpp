/* Products on the simulated device against plain loops, in every type, shape of operand and batch, and with a bias by cuBLASLt; what
 * both refuse. */
#include "testing.h"

#include <cublasLt.h>
#include <cublas_v2.h>

#include "codec/bf16.h"
#include "codec/fp16.h"

static float rounded(cudaDataType t, float v)
{
    return t == CUDA_R_16F ? zo2_fp16_get(zo2_fp16_encode(v)) : t == CUDA_R_16BF ? zo2_bf16_get(zo2_bf16_encode(v)) : v;
}

/* An array of small integers, exact in every type, on the device; its values in fp32. */
struct array {
    array(size_t n_, cudaDataType t, unsigned seed, cudaStream_t s) : n(n_), type(t), values(n_), bytes(n_ * 4, 0xFF)
    {
        for (size_t i = 0; i < n; i++)
            values[i] = static_cast<float>(static_cast<int>((i * 7 + seed) % 9) - 4);
        for (size_t i = 0; i < n; i++) {
            uint16_t half = t == CUDA_R_16F ? zo2_fp16_encode(values[i]) : zo2_bf16_encode(values[i]);
            if (t == CUDA_R_32F)
                memcpy(bytes.data() + 4 * i, &values[i], 4);
            else
                memcpy(bytes.data() + 2 * i, &half, 2);
        }
        at = device_array<unsigned char>(size());
        OK(cudaMemcpyAsync(at, bytes.data(), size(), cudaMemcpyHostToDevice, s));
    }
    size_t size() const { return n * (type == CUDA_R_32F ? 4 : 2); }
    void fetch(cudaStream_t s)
    {
        OK(cudaMemcpyAsync(bytes.data(), at, size(), cudaMemcpyDeviceToHost, s));
        OK(cudaStreamSynchronize(s));
    }
    float get(size_t i)
    {
        uint16_t half;
        float v;
        if (type == CUDA_R_32F) {
            memcpy(&v, bytes.data() + 4 * i, 4);
            return v;
        }
        memcpy(&half, bytes.data() + 2 * i, 2);
        return type == CUDA_R_16F ? zo2_fp16_get(half) : zo2_bf16_get(half);
    }
    size_t n;
    cudaDataType type;
    std::vector<float> values;
    pinned<unsigned char> bytes;
    unsigned char *at;
};

static void product(cublasHandle_t h, cudaStream_t s, cudaDataType type, cudaDataType type_c, bool ta, bool tb,
                    float beta)
{
    const int m = 5, n = 7, k = 6, batch = 2, ld = 9;
    const long long stride = 9 * 8 + 1;
    array a(2 * stride, type, 1, s), b(2 * stride, type, 2, s), c(2 * stride, type_c, 3, s);
    const float alpha = 0.5f;
    assert_int_equal(cublasGemmStridedBatchedEx(h, ta ? CUBLAS_OP_T : CUBLAS_OP_N, tb ? CUBLAS_OP_T : CUBLAS_OP_N, m, n,
                                                k, &alpha, a.at, type, ld, stride, b.at, type, ld, stride, &beta, c.at,
                                                type_c, ld, stride, batch, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
                     CUBLAS_STATUS_SUCCESS);
    c.fetch(s);
    for (int q = 0; q < batch; q++)
        for (int j = 0; j < 8; j++)
            for (int i = 0; i < ld; i++) {
                size_t at = static_cast<size_t>(q * stride + j * ld + i);
                float want = c.values[at]; /* untouched outside the matrix */
                if (i < m && j < n) {
                    float sum = 0;
                    for (int l = 0; l < k; l++)
                        sum += a.values[static_cast<size_t>(q * stride + (ta ? i * ld + l : l * ld + i))] *
                               b.values[static_cast<size_t>(q * stride + (tb ? l * ld + j : j * ld + l))];
                    want = rounded(type_c, alpha * sum + beta * c.values[at]);
                }
                assert_true(c.get(at) == want);
            }
    for (array *x : {&a, &b, &c})
        OK(cudaFree(x->at));
}

static cublasHandle_t new_handle(cudaStream_t s)
{
    cublasHandle_t h;
    assert_int_equal(cublasCreate(&h), CUBLAS_STATUS_SUCCESS);
    assert_int_equal(cublasSetStream(h, s), CUBLAS_STATUS_SUCCESS);
    return h;
}

static void fresh(void)
{
    cudasim_config c = {};
    c.quiet = 1;
    cudasim_reset(&c);
}

static void products(void **state)
{
    (void)state;
    fresh();
    cudaStream_t s = new_stream();
    cublasHandle_t h = new_handle(s);
    for (cudaDataType type : {CUDA_R_32F, CUDA_R_16F, CUDA_R_16BF})
        for (int bits = 0; bits < 16; bits++)
            product(h, s, type, bits & 1 ? type : CUDA_R_32F, bits & 2, bits & 4, bits & 8 ? 1.0f : 0.0f);
    reported_nothing();
    assert_int_equal(cublasDestroy(h), CUBLAS_STATUS_SUCCESS);
}

/* beta = 0: what C holds is not read, be it NaN, as fresh device memory is. */
static void result_is_not_read_without_beta(void **state)
{
    (void)state;
    fresh();
    cudaStream_t s = new_stream();
    cublasHandle_t h = new_handle(s);
    array a(4, CUDA_R_32F, 0, s);
    float *c = device_array<float>(4);
    pinned<float> got(4);
    const float one = 1, zero = 0;
    assert_int_equal(cublasGemmEx(h, CUBLAS_OP_N, CUBLAS_OP_N, 2, 2, 2, &one, a.at, CUDA_R_32F, 2, a.at, CUDA_R_32F, 2,
                                  &zero, c, CUDA_R_32F, 2, CUBLAS_COMPUTE_32F_PEDANTIC, CUBLAS_GEMM_DEFAULT),
                     CUBLAS_STATUS_SUCCESS);
    download(got, c, s);
    OK(cudaStreamSynchronize(s));
    for (size_t i = 0; i < 4; i++)
        assert_true(got[i] == got[i]);
}

/* The last bits of a product are its problem's: in a batch they aren't what they are alone, but each time the same. */
static void order_of_sums(void **state)
{
    (void)state;
    enum { SIDE = 8, K = 50, MOST = 6, MATRIX = SIDE * K, RESULT = SIDE * SIDE };
    fresh();
    cudaStream_t s = new_stream();
    cublasHandle_t h = new_handle(s);
    pinned<float> x(MATRIX), got(RESULT), first(RESULT);
    float *a = device_array<float>(MATRIX), *c = device_array<float>(MOST * RESULT), one = 1, zero = 0;
    for (size_t i = 0; i < MATRIX; i++)
        x[i] = 1.0f / static_cast<float>(3 + i * i % 97);
    upload(a, x, s);
    int others = 0;
    for (int batch = 1; batch <= MOST; batch++)
        for (int again = 0; again < 2; again++) {
            assert_int_equal(cublasGemmStridedBatchedEx(h, CUBLAS_OP_T, CUBLAS_OP_N, SIDE, SIDE, K, &one, a, CUDA_R_32F,
                                                        K, 0, a, CUDA_R_32F, K, 0, &zero, c, CUDA_R_32F, SIDE, RESULT,
                                                        batch, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
                             CUBLAS_STATUS_SUCCESS);
            download(again ? got : first, c, s);
            OK(cudaStreamSynchronize(s));
            if (again)
                assert_memory_equal(got.data(), first.data(), first.bytes());
            others += batch > 1 && memcmp(x.data(), first.data(), first.bytes()) != 0;
            if (batch == 1)
                memcpy(x.data(), first.data(), first.bytes()); /* it has been sent */
        }
    assert_true(others > 0);
    reported_nothing();
}

/* The caller's workspace serves; cublasSetStream() takes it away, and then the library allocates. */
static void workspace(void **state)
{
    (void)state;
    fresh();
    cudaStream_t s = new_stream();
    cublasHandle_t h = new_handle(s);
    char *w = device_array<char>(1 << 16);
    assert_int_equal(cublasSetWorkspace(h, w + 1, 1000), CUBLAS_STATUS_INVALID_VALUE);
    assert_int_equal(cublasSetWorkspace(h, w, (1 << 16) + 1), CUBLAS_STATUS_INVALID_VALUE);
    assert_int_equal(cublasSetWorkspace(h, w, 1 << 16), CUBLAS_STATUS_SUCCESS);
    product(h, s, CUDA_R_32F, CUDA_R_32F, false, false, 0);
    cudasim_stats stats;
    cudasim_get_stats(&stats);
    assert_int_equal(stats.library_allocations, 0);
    assert_int_equal(stats.live_handles, 1);
    assert_int_equal(cublasSetStream(h, s), CUBLAS_STATUS_SUCCESS);
    product(h, s, CUDA_R_32F, CUDA_R_32F, false, false, 0);
    cudasim_get_stats(&stats);
    assert_int_equal(stats.library_allocations, 1);
}

static void refusals(void **state)
{
    (void)state;
    const float one = 1, zero = 0;
    for (int wrong = 0; wrong < 6; wrong++) {
        fresh();
        cudaStream_t s = new_stream();
        cublasHandle_t h = new_handle(s);
        float *x = device_array<float>(16), host[16] = {0};
        float *a = x, *b = x, *c = x;
        int lda = 4, m = 4;
        cudaDataType type = CUDA_R_32F;
        cublasStatus_t want = CUBLAS_STATUS_INVALID_VALUE;
        const char *part = "";
        if (wrong == 0) {
            a = host;
            part = "A, 16 elements at";
        } else if (wrong == 1) {
            c = x + 1;
            part = "C, 16 elements at";
        } else if (wrong == 2) {
            lda = 3;
            part = "leading dimension of 3";
        } else if (wrong == 3)
            m = -1;
        else if (wrong == 4) {
            b = reinterpret_cast<float *>(reinterpret_cast<char *>(x) + 2);
            part = "B at";
        } else {
            type = CUDA_R_16F; /* A and B differ */
            want = CUBLAS_STATUS_NOT_SUPPORTED;
        }
        assert_int_equal(cublasGemmEx(h, CUBLAS_OP_N, CUBLAS_OP_N, m, 4, 4, &one, a, CUDA_R_32F, lda, b, type, 4, &zero,
                                      c, CUDA_R_32F, 4, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
                         want);
        reported(part);
        OK(cudaStreamSynchronize(s));
    }
    fresh();
    cublasHandle_t h;
    assert_int_equal(cublasCreate(&h), CUBLAS_STATUS_SUCCESS);
    float *x = device_array<float>(16);
    assert_int_equal(cublasGemmEx(h, CUBLAS_OP_N, CUBLAS_OP_N, 4, 4, 4, &one, x, CUDA_R_32F, 4, x, CUDA_R_32F, 4, &zero,
                                  x, CUDA_R_32F, 4, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
                     CUBLAS_STATUS_INVALID_VALUE);
    reported("default stream");
}

/* cuBLASLt: column j of D, of batch entry q, is the product's and that entry's bias. */
struct biased {
    enum { ROWS = 5, COLUMNS = 7, INNER = 8, BATCH = 2, LD = 16, STRIDE = 16 * 8 + 8, BIAS = 12 };
    biased()
    {
        OK(cudaMalloc(&workspace, WORKSPACE));
        handle = reinterpret_cast<cublasLtHandle_t>(blas);
        assert_int_equal(cublasLtMatmulDescInit(&call, CUBLAS_COMPUTE_32F, CUDA_R_32F), CUBLAS_STATUS_SUCCESS);
        const int32_t transposed = CUBLAS_OP_T, batch = BATCH;
        const uint32_t epilogue = CUBLASLT_EPILOGUE_BIAS;
        const int64_t stride = STRIDE, stride_bias = BIAS;
        const void *at = bias.at;
        set(CUBLASLT_MATMUL_DESC_TRANSA, transposed);
        set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
        set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, at);
        set(CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, stride_bias);
        cublasLtMatrixLayoutInit(&layout_a, CUDA_R_16F, INNER, ROWS, LD);
        cublasLtMatrixLayoutInit(&layout_b, CUDA_R_16F, INNER, COLUMNS, LD);
        cublasLtMatrixLayoutInit(&layout_c, CUDA_R_32F, ROWS, COLUMNS, LD);
        for (auto *l : {&layout_a, &layout_b, &layout_c}) {
            assert_int_equal(
                cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch),
                CUBLAS_STATUS_SUCCESS);
            assert_int_equal(cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride,
                                                              sizeof stride),
                             CUBLAS_STATUS_SUCCESS);
        }
        cublasLtMatmulPreferenceInit(&want);
        prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{WORKSPACE});
        for (auto which : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                           CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
            prefer(which, uint32_t{16});
    }
    template <class T> void set(cublasLtMatmulDescAttributes_t which, const T &value)
    {
        assert_int_equal(cublasLtMatmulDescSetAttribute(&call, which, &value, sizeof value), CUBLAS_STATUS_SUCCESS);
        assert_int_equal(cublasLtMatmulDescSetAttribute(&call, which, &value, sizeof value - 1),
                         CUBLAS_STATUS_INVALID_VALUE);
    }
    template <class T> void prefer(cublasLtMatmulPreferenceAttributes_t which, const T &value)
    {
        assert_int_equal(cublasLtMatmulPreferenceSetAttribute(&want, which, &value, sizeof value),
                         CUBLAS_STATUS_SUCCESS);
    }
    cublasStatus_t choose()
    {
        cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle, &call, &layout_a, &layout_b, &layout_c,
                                                               &layout_c, &want, 1, &found, &n_found);
        assert_int_equal(n_found, status == CUBLAS_STATUS_SUCCESS);
        return status;
    }
    cublasStatus_t multiply(size_t workspace_bytes = WORKSPACE, int shift = 0)
    {
        const float alpha = 1, beta = 1;
        return cublasLtMatmul(handle, &call, &alpha, a.at + shift, &layout_a, b.at, &layout_b, &beta, c.at, &layout_c,
                              c.at, &layout_c, &found.algo, workspace, workspace_bytes, stream);
    }
    static constexpr size_t WORKSPACE = 1 << 20;
    cudaStream_t stream = new_stream();
    cublasHandle_t blas = new_handle(stream);
    array a{BATCH * STRIDE + 8, CUDA_R_16F, 1, stream}, b{BATCH * STRIDE, CUDA_R_16F, 2, stream},
        c{BATCH * STRIDE, CUDA_R_32F, 3, stream}, bias{BATCH * BIAS, CUDA_R_32F, 4, stream};
    char *workspace = nullptr;
    cublasLtHandle_t handle;
    cublasLtMatmulDescOpaque_t call;
    cublasLtMatrixLayoutOpaque_t layout_a, layout_b, layout_c;
    cublasLtMatmulPreferenceOpaque_t want;
    cublasLtMatmulHeuristicResult_t found;
    int n_found = -1;
};

static void products_with_bias(void **state)
{
    (void)state;
    fresh();
    biased p;
    assert_int_equal(p.choose(), CUBLAS_STATUS_SUCCESS);
    assert_int_equal(p.multiply(), CUBLAS_STATUS_SUCCESS);
    p.c.fetch(p.stream);
    for (int i = 0; i < biased::BATCH * biased::STRIDE; i++) {
        int q = i / biased::STRIDE, column = i % biased::STRIDE / biased::LD, row = i % biased::STRIDE % biased::LD;
        float want = p.c.values[static_cast<size_t>(i)];
        if (row < biased::ROWS && column < biased::COLUMNS) {
            for (int l = 0; l < biased::INNER; l++)
                want += p.a.values[static_cast<size_t>(q * biased::STRIDE + row * biased::LD + l)] *
                        p.b.values[static_cast<size_t>(q * biased::STRIDE + column * biased::LD + l)];
            want += p.bias.values[static_cast<size_t>(q * biased::BIAS + row)];
        }
        assert_true(p.c.get(static_cast<size_t>(i)) == want);
    }
    reported_nothing();
}

static void refusals_of_biased(void **state)
{
    (void)state;
    for (int wrong = 0; wrong < 7; wrong++) {
        fresh();
        biased p;
        cublasStatus_t chosen = CUBLAS_STATUS_SUCCESS;
        if (wrong == 0) {
            p.prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, uint32_t{8});
            chosen = CUBLAS_STATUS_NOT_SUPPORTED;
        } else if (wrong == 1) {
            p.prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{1000});
            chosen = CUBLAS_STATUS_NOT_SUPPORTED;
        }
        assert_int_equal(p.choose(), chosen);
        if (chosen)
            continue;
        const char *part = "";
        size_t workspace_bytes = biased::WORKSPACE;
        int shift = 0;
        if (wrong == 2) { /* the bias of the second entry ends outside */
            p.set(CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, int64_t{biased::BIAS * 2});
            assert_int_equal(p.choose(), CUBLAS_STATUS_SUCCESS);
            part = "the bias, 29 elements at";
        } else if (wrong == 3) {
            p.set(CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, int64_t{1});
            part = "another problem";
        } else if (wrong == 4) {
            workspace_bytes = 1000;
            part = "1000 bytes of workspace";
        } else if (wrong == 5) {
            shift = 2;
            part = "aligned to less than the 16 bytes";
        } else {
            const void *at = p.bias.at + 4;
            p.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, at);
            part = "the bias at";
        }
        assert_int_equal(p.multiply(workspace_bytes, shift), CUBLAS_STATUS_INVALID_VALUE);
        reported(part);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products),           cmocka_unit_test(result_is_not_read_without_beta),
        cmocka_unit_test(order_of_sums),      cmocka_unit_test(workspace),
        cmocka_unit_test(refusals),           cmocka_unit_test(products_with_bias),
        cmocka_unit_test(refusals_of_biased),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

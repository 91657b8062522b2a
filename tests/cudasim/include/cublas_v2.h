/* cublas_v2.h of the simulator: the part of cuBLAS that zo2 may use, declared anew. Names and numbers are cuBLAS's. */
#ifndef CUDASIM_CUBLAS_V2_H
#define CUDASIM_CUBLAS_V2_H

#include <cuda_runtime.h>
#include <library_types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cublasContext *cublasHandle_t;

#define CUDASIM_CUBLAS_STATUS_MAP(X)                                              \
    X(CUBLAS_STATUS_SUCCESS, 0, "success")                                        \
    X(CUBLAS_STATUS_NOT_INITIALIZED, 1, "the library was not initialized")        \
    X(CUBLAS_STATUS_ALLOC_FAILED, 3, "the resource allocation failed")            \
    X(CUBLAS_STATUS_INVALID_VALUE, 7, "an invalid value was used as an argument") \
    X(CUBLAS_STATUS_ARCH_MISMATCH, 8, "an absent device architectural feature")   \
    X(CUBLAS_STATUS_MAPPING_ERROR, 11, "an access to GPU memory space failed")    \
    X(CUBLAS_STATUS_EXECUTION_FAILED, 13, "the GPU program failed to execute")    \
    X(CUBLAS_STATUS_INTERNAL_ERROR, 14, "an internal operation failed")           \
    X(CUBLAS_STATUS_NOT_SUPPORTED, 15, "the functionality requested is not supported")

#define CUDASIM_CUBLAS_ENUM(name, number, text) name = number,
typedef enum { CUDASIM_CUBLAS_STATUS_MAP(CUDASIM_CUBLAS_ENUM) } cublasStatus_t;
#undef CUDASIM_CUBLAS_ENUM

typedef enum { CUBLAS_OP_N = 0, CUBLAS_OP_T = 1 } cublasOperation_t;
typedef enum { CUBLAS_POINTER_MODE_HOST = 0 } cublasPointerMode_t;
typedef enum {
    CUBLAS_DEFAULT_MATH = 0,
    CUBLAS_PEDANTIC_MATH = 2,
    CUBLAS_TF32_TENSOR_OP_MATH = 3,
    CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION = 16
} cublasMath_t;
typedef enum {
    CUBLAS_COMPUTE_32F = 68,
    CUBLAS_COMPUTE_32F_PEDANTIC = 69,
    CUBLAS_COMPUTE_32F_FAST_TF32 = 77
} cublasComputeType_t;
typedef enum { CUBLAS_GEMM_DEFAULT = -1 } cublasGemmAlgo_t;

const char *cublasGetStatusName(cublasStatus_t s);
const char *cublasGetStatusString(cublasStatus_t s);
cublasStatus_t cublasGetVersion(cublasHandle_t h, int *version);
cublasStatus_t cublasCreate(cublasHandle_t *h);
cublasStatus_t cublasDestroy(cublasHandle_t h);
cublasStatus_t cublasSetStream(cublasHandle_t h, cudaStream_t s);
cublasStatus_t cublasSetWorkspace(cublasHandle_t h, void *workspace, size_t bytes);
cublasStatus_t cublasSetMathMode(cublasHandle_t h, cublasMath_t mode);
cublasStatus_t cublasSetPointerMode(cublasHandle_t h, cublasPointerMode_t mode);

/* C = alpha op(A) op(B) + beta C, column-major; alpha and beta are floats on the host. */
cublasStatus_t cublasGemmEx(cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k,
                            const void *alpha, const void *a, cudaDataType type_a, int lda, const void *b,
                            cudaDataType type_b, int ldb, const void *beta, void *c, cudaDataType type_c, int ldc,
                            cublasComputeType_t compute, cublasGemmAlgo_t algorithm);
cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb, int m, int n,
                                          int k, const void *alpha, const void *a, cudaDataType type_a, int lda,
                                          long long stride_a, const void *b, cudaDataType type_b, int ldb,
                                          long long stride_b, const void *beta, void *c, cudaDataType type_c, int ldc,
                                          long long stride_c, int batch, cublasComputeType_t compute,
                                          cublasGemmAlgo_t algorithm);

#ifdef __cplusplus
}
#endif

#endif

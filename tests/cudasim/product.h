/* product.h: what cublas.cpp and cublas_lt.cpp share: handles, matrices on the device, products of them. */
#ifndef CUDASIM_PRODUCT_H
#define CUDASIM_PRODUCT_H

#include "cublas_v2.h"
#include "sim.h"

struct cublasContext {
    cudaStream_t stream;
    void *workspace; /* the caller's; NULL: the library's own */
    size_t workspace_bytes;
    cublasMath_t math;
};

namespace cudasim
{

struct matrix {
    unsigned char *at;
    cudaDataType type;
    int rows, columns, ld; /* column-major */
    long long stride;      /* elements between the matrices of a batch */
};

struct product {
    cublasOperation_t ta, tb;
    int m, n, k, batch;
    float alpha, beta;
    matrix a, b, c;
    matrix bias; /* a column, added to every column of c; at nullptr: none */
};

size_t element_bytes(cudaDataType type);
bool known(cudaDataType t);
bool valid_handle(cublasHandle_t h);
/* All of it on the device, aligned to its elements, strides as they should be. Reports. */
bool check_matrix(const matrix &m, int batch, const char *name);
/* Does the product; for an operation of a stream. */
cudaError_t multiply(const product &p);

} // namespace cudasim

#endif

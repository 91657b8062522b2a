/* cuda_runtime.h of the simulator: the part of the CUDA runtime that zo2 may use, declared anew. What isn't here can't
 * be used by accident: no default stream, no synchronous copies, no managed memory. Names and numbers are CUDA's. For C
 * and C++; the device side (cudasim_device.h) for C++. */
#ifndef CUDASIM_CUDA_RUNTIME_H
#define CUDASIM_CUDA_RUNTIME_H

#include <stddef.h>

#define CUDASIM        1
#define CUDART_VERSION 12020

#ifdef __cplusplus
extern "C" {
#endif

/* One list for the enum, cudaGetErrorName() and cudaGetErrorString(). */
#define CUDASIM_ERROR_MAP(X)                                                              \
    X(cudaSuccess, 0, "no error")                                                         \
    X(cudaErrorInvalidValue, 1, "invalid argument")                                       \
    X(cudaErrorMemoryAllocation, 2, "out of memory")                                      \
    X(cudaErrorInitializationError, 3, "initialization error")                            \
    X(cudaErrorInvalidConfiguration, 9, "invalid configuration argument")                 \
    X(cudaErrorInvalidDevicePointer, 17, "invalid device pointer")                        \
    X(cudaErrorInvalidMemcpyDirection, 21, "invalid copy direction for memcpy")           \
    X(cudaErrorInsufficientDriver, 35, "CUDA driver version is insufficient")             \
    X(cudaErrorDevicesUnavailable, 46, "CUDA-capable device(s) is/are busy")              \
    X(cudaErrorInvalidDeviceFunction, 98, "invalid device function")                      \
    X(cudaErrorNoDevice, 100, "no CUDA-capable device is detected")                       \
    X(cudaErrorInvalidDevice, 101, "invalid device ordinal")                              \
    X(cudaErrorNoKernelImageForDevice, 209, "no kernel image is available for execution") \
    X(cudaErrorECCUncorrectable, 214, "uncorrectable ECC error encountered")              \
    X(cudaErrorInvalidResourceHandle, 400, "invalid resource handle")                     \
    X(cudaErrorNotReady, 600, "device not ready")                                         \
    X(cudaErrorIllegalAddress, 700, "an illegal memory access was encountered")           \
    X(cudaErrorLaunchOutOfResources, 701, "too many resources requested for launch")      \
    X(cudaErrorHostMemoryAlreadyRegistered, 712, "memory range is already registered")    \
    X(cudaErrorHostMemoryNotRegistered, 713, "pointer is not in a registered range")      \
    X(cudaErrorMisalignedAddress, 716, "misaligned address")                              \
    X(cudaErrorLaunchFailure, 719, "unspecified launch failure")                          \
    X(cudaErrorNotSupported, 801, "operation not supported")                              \
    X(cudaErrorUnknown, 999, "unknown error")

#define CUDASIM_ERROR_ENUM(name, number, text) name = number,
typedef enum cudaError { CUDASIM_ERROR_MAP(CUDASIM_ERROR_ENUM) } cudaError_t;
#undef CUDASIM_ERROR_ENUM

const char *cudaGetErrorName(cudaError_t e);
const char *cudaGetErrorString(cudaError_t e);
cudaError_t cudaGetLastError(void);
cudaError_t cudaPeekAtLastError(void);

/* ---- device ---------------------------------------------------------------------------------------------------- */

typedef struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem;
    size_t sharedMemPerBlock, sharedMemPerBlockOptin;
    int warpSize, maxThreadsPerBlock;
    int major, minor;
    int multiProcessorCount;
    int pciBusID, pciDeviceID, pciDomainID;
} cudaDeviceProp;

enum cudaDeviceAttr {
    cudaDevAttrMaxThreadsPerBlock = 1,
    cudaDevAttrMaxSharedMemoryPerBlock = 8,
    cudaDevAttrWarpSize = 10,
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97
};

cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int *device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device);
cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device);
cudaError_t cudaDeviceSynchronize(void);

/* ---- memory ---------------------------------------------------------------------------------------------------- */

enum cudaMemcpyKind {
    cudaMemcpyHostToHost = 0,
    cudaMemcpyHostToDevice = 1,
    cudaMemcpyDeviceToHost = 2,
    cudaMemcpyDeviceToDevice = 3,
    cudaMemcpyDefault = 4
};

#define cudaHostRegisterDefault  0x00
#define cudaHostRegisterPortable 0x01
#define cudaHostRegisterMapped   0x02
#define cudaHostRegisterReadOnly 0x08

typedef struct CUstream_st *cudaStream_t;
typedef struct CUevent_st *cudaEvent_t;

cudaError_t cudaMalloc(void **p, size_t bytes);
cudaError_t cudaFree(void *p);
cudaError_t cudaMemGetInfo(size_t *free, size_t *total);
cudaError_t cudaHostRegister(void *p, size_t bytes, unsigned flags);
cudaError_t cudaHostUnregister(void *p);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t stream);

/* ---- streams and events ---------------------------------------------------------------------------------------- */

#define cudaStreamDefault      0x00
#define cudaStreamNonBlocking  0x01
#define cudaEventDefault       0x00
#define cudaEventBlockingSync  0x01
#define cudaEventDisableTiming 0x02

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t cudaStreamQuery(cudaStream_t s);
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t e);
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s);
cudaError_t cudaEventQuery(cudaEvent_t e);
cudaError_t cudaEventSynchronize(cudaEvent_t e);
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to);

/* ---- kernels --------------------------------------------------------------------------------------------------- */

typedef struct cudaFuncAttributes {
    size_t sharedSizeBytes, constSizeBytes, localSizeBytes; /* shared: what launches so far have shown */
    int maxThreadsPerBlock, numRegs;
    int ptxVersion, binaryVersion;
    int maxDynamicSharedSizeBytes;
} cudaFuncAttributes;

enum cudaFuncAttribute {
    cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
    cudaFuncAttributePreferredSharedMemoryCarveout = 9
};

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *a, const void *kernel);
cudaError_t cudaFuncSetAttribute(const void *kernel, enum cudaFuncAttribute attribute, int value);

#ifdef __cplusplus
}

/* C++ callers may pass typed pointers, as with CUDA. */
template <class T> inline cudaError_t cudaMalloc(T **p, size_t bytes)
{
    return cudaMalloc(reinterpret_cast<void **>(p), bytes);
}
template <class... P> inline cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *a, void (*kernel)(P...))
{
    return cudaFuncGetAttributes(a, reinterpret_cast<const void *>(kernel));
}
template <class... P> inline cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute a, int value)
{
    return cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel), a, value);
}

#include "cudasim_device.h"
#endif

#endif

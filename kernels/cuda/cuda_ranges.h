/* cuda_ranges.h: named ranges on the host's timeline for NVIDIA's profilers: steps, and what lanes enqueue. They cost
 * nothing unless a profiler listens; without NVTX's header they are nothing. */
#ifndef ZO2_KERNELS_CUDA_CUDA_RANGES_H
#define ZO2_KERNELS_CUDA_CUDA_RANGES_H

#if defined(__CUDACC__) && defined(__has_include)
#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define ZO2_CUDA_NVTX 1
#endif
#endif

#ifdef ZO2_CUDA_NVTX
static inline void zo2_cuda_range_push(const char *name)
{
    nvtxRangePushA(name);
}
static inline void zo2_cuda_range_pop(void)
{
    nvtxRangePop();
}
#else
static inline void zo2_cuda_range_push(const char *name)
{
    (void)name;
}
static inline void zo2_cuda_range_pop(void) {}
#endif

/* From its declaration to the end of the scope. */
struct zo2_cuda_range {
    explicit zo2_cuda_range(const char *name) { zo2_cuda_range_push(name); }
    ~zo2_cuda_range() { zo2_cuda_range_pop(); }
    zo2_cuda_range(const zo2_cuda_range &) = delete;
    zo2_cuda_range &operator=(const zo2_cuda_range &) = delete;
};

#endif

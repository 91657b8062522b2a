/* cuda_ranges.h: named ranges on the host's timeline for NVIDIA's profilers: steps, blocks, and what lanes enqueue.
 * Built with ZO2_NVTX only: NVTX finds a listening profiler by an environment variable, and the library reads none. */
#ifndef ZO2_KERNELS_CUDA_CUDA_RANGES_H
#define ZO2_KERNELS_CUDA_CUDA_RANGES_H

#if defined(ZO2_NVTX) && defined(__CUDACC__)
#include <nvtx3/nvToolsExt.h>
#include <stdio.h>
static inline void zo2_cuda_range_push(const char *name)
{
    nvtxRangePushA(name);
}
static inline void zo2_cuda_range_pop(void)
{
    nvtxRangePop();
}
/* "embeddings", "block 1", ..., "head": canonical numbers, as in the names of a plan. */
static inline void zo2_cuda_range_push_block(uint32_t block, uint32_t blocks)
{
    char name[24];
    snprintf(name, sizeof name, "block %u", block);
    zo2_cuda_range_push(block == 0 ? "embeddings" : block + 1 == blocks ? "head" : name); /* is copied */
}
#else
static inline void zo2_cuda_range_push(const char *name)
{
    (void)name;
}
static inline void zo2_cuda_range_pop(void) {}
static inline void zo2_cuda_range_push_block(uint32_t block, uint32_t blocks)
{
    (void)block;
    (void)blocks;
}
#endif

/* From its declaration to the end of the scope. */
struct zo2_cuda_range {
    explicit zo2_cuda_range(const char *name) { zo2_cuda_range_push(name); }
    ~zo2_cuda_range() { zo2_cuda_range_pop(); }
    zo2_cuda_range(const zo2_cuda_range &) = delete;
    zo2_cuda_range &operator=(const zo2_cuda_range &) = delete;
};

#endif

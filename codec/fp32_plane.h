/* fp32_plane.h: a plane of fp32 rows: the wire of the fp32 codec, and the rest of those codecs whose wire is no part of
 * the master's own bits. Private to codec/. */
#ifndef ZO2_CODEC_FP32_PLANE_H
#define ZO2_CODEC_FP32_PLANE_H

#include <string.h>

#include "codec/plane_layout.h"
#include "codec/simd.h"
#include "codec/update.h"

static inline uint64_t zo2_fp32_plane_bytes(uint64_t rows, uint64_t cols)
{
    return rows * zo2_row_stride(cols, 4);
}

/* 1 if n rows are so many that they should go past the caches: the masters of a run are being filled then, and nothing reads
 * them soon. */
static inline int zo2_fp32_plane_much(uint64_t cols, uint64_t n)
{
    return n * cols >= 1 << 16;
}

/* w[n][cols] to rows [row, row + n) with their padding, and back. After storing `much`, stream_end() (simd.h). */
static inline void zo2_fp32_plane_store(const float *w, uint64_t cols, uint64_t row, uint64_t n, void *plane, int much)
{
    const zo2_simd *simd = zo2_simd_get();
    uint64_t stride = zo2_row_stride(cols, 4);
    unsigned char *to = (unsigned char *)plane + row * stride;
    for (uint64_t r = 0; r < n; r++, to += stride) {
        if (much)
            simd->stream(to, w + r * cols, 4 * cols);
        else
            memcpy(to, w + r * cols, 4 * cols);
        memset(to + 4 * cols, 0, stride - 4 * cols);
    }
}

static inline void zo2_fp32_plane_load(const void *plane, uint64_t cols, uint64_t row, uint64_t n, float *w)
{
    uint64_t stride = zo2_row_stride(cols, 4);
    const unsigned char *from = (const unsigned char *)plane + row * stride;
    for (uint64_t r = 0; r < n; r++, from += stride)
        memcpy(w + r * cols, from, 4 * cols);
}

/* Rows [row, row + n) of the plane brought forward in place. Returns the largest magnitude as fp32 bits. */
static inline uint32_t zo2_fp32_plane_update(const zo2_simd *simd, void *plane, uint64_t cols, uint64_t row, uint64_t n,
                                             uint64_t first, const zo2_updates *a)
{
    uint64_t stride = zo2_row_stride(cols, 4);
    unsigned char *at = (unsigned char *)plane + row * stride;
    if (stride == 4 * cols) { /* rows without padding between them are one run */
        cols *= n;
        n = 1;
    }
    uint32_t most = 0;
    for (uint64_t r = 0; r < n; r++) {
        uint32_t here = simd->update_fp32((float *)(at + r * stride), cols, first + r * cols, a);
        most = here > most ? here : most;
    }
    return most;
}

/* Rows to handle before the next ones: few enough to stay in the first-level cache, if a row does. */
static inline uint64_t zo2_fp32_plane_piece(uint64_t cols)
{
    return cols < 4096 ? 4096 / cols : 1;
}

/* One row of a wire without scales, element size `size`, from one chunk to another. */
static inline void zo2_plane_copy_row(const void *src, uint64_t src_row, uint64_t cols, uint32_t size, void *dst,
                                      uint64_t dst_row)
{
    uint64_t stride = zo2_row_stride(cols, size);
    memcpy((unsigned char *)dst + dst_row * stride, (const unsigned char *)src + src_row * stride, stride);
}

#endif

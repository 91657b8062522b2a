/* hd.h: qualifiers that let one text compile as C and as CUDA device code. */
#ifndef ZO2_CODEC_HD_H
#define ZO2_CODEC_HD_H

#ifdef __CUDACC__
#define ZO2_HD __host__ __device__ static inline
#else
#define ZO2_HD static inline
#endif

#endif

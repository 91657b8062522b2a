/* simd.h: the loops that are built once per instruction set, private to codec/. simd_loops.inc is their one text;
 * simd_scalar.c, simd_avx2.c and simd_avx512.c compile it under different flags. All tables give the same bits. */
#ifndef ZO2_CODEC_SIMD_H
#define ZO2_CODEC_SIMD_H

#include "codec/codec.h"
#include "codec/update.h"

typedef void (*zo2_fp8_encode_row)(const float *w, uint64_t cols, uint8_t *codes, void *scales);
typedef void (*zo2_fp8_stream_row)(const float *w, uint64_t cols, uint8_t *codes, void *scales, float *rest);
typedef void (*zo2_fp8_decode_row)(const uint8_t *codes, const void *scales, uint64_t cols, float *w);

typedef struct zo2_simd {
    const char *name;

    /* As the functions of update.h without their prefix. */
    void (*noise_values)(float *out, uint64_t key, uint32_t query, uint32_t tensor_id, uint64_t first, uint64_t n,
                         zo2_dist dist);
    void (*perturb)(const float *w, uint64_t n, uint64_t first, uint32_t tensor_id, zo2_dist dist, uint64_t key,
                    uint32_t query, float eps, float *plus, float *minus);

    /* n consecutive elements from `first` of a tensor brought forward in place: fp32 values, or the two bf16 planes (any
     * alignment). Return the largest magnitude that comes out, as max_bits does. */
    uint32_t (*update_fp32)(float *w, uint64_t n, uint64_t first, const zo2_updates *a);
    uint32_t (*update_bf16)(void *hi, void *lo, uint64_t n, uint64_t first, const zo2_updates *a);

    /* memcpy with non-temporal stores, any alignment; end() before another thread may look, once for many: it waits. */
    void (*stream)(void *to, const void *from, uint64_t bytes);
    void (*stream_end)(void);

    /* n values; byte pointers may have any alignment, inputs and outputs don't overlap. */
    void (*bf16_split)(const float *w, uint64_t n, void *hi, void *lo);
    void (*bf16_join)(const void *hi, const void *lo, uint64_t n, float *w);
    void (*bf16_decode)(const void *src, uint64_t n, float *w);
    void (*bf16_encode)(const float *w, uint64_t n, void *dst); /* nearest even: not the wire's rounding */
    void (*f16_decode)(const void *src, uint64_t n, float *w);
    void (*f16_encode)(const float *w, uint64_t n, void *dst);
    void (*bf16_round)(float *w, uint64_t n);
    void (*f16_round)(float *w, uint64_t n);

    /* One row: cols codes, ceil(cols / 128) scales. stream_row() also copies w to rest; codes and rest begin at multiples
     * of 64 bytes and are written past the caches as stream() does. */
    zo2_fp8_encode_row e4m3_encode_row, e5m2_encode_row;
    zo2_fp8_stream_row e4m3_stream_row, e5m2_stream_row;
    zo2_fp8_decode_row e4m3_decode_row, e5m2_decode_row;

    /* Largest magnitude as fp32 bits without sign: NaN > infinity > finite. 0 if n = 0. */
    uint32_t (*max_bits)(const float *w, uint64_t n);
} zo2_simd;

extern const zo2_simd zo2_simd_scalar;
#ifndef ZO2_NO_X86_SIMD
extern const zo2_simd zo2_simd_avx2;
extern const zo2_simd zo2_simd_avx512;
#endif

/* The table of an instruction set by name, the best one for NULL; NULL if it can't run here. */
const zo2_simd *zo2_simd_table(const char *name);

/* The table in force. */
const zo2_simd *zo2_simd_get(void);

#endif

/* simd.h: the loops that are built once per instruction set, private to codec/. simd_loops.inc is their one text;
 * simd_scalar.c, simd_avx2.c and simd_avx512.c compile it under different flags. All tables give the same bits. */
#ifndef ZO2_CODEC_SIMD_H
#define ZO2_CODEC_SIMD_H

#include "codec/codec.h"
#include "codec/plane_layout.h"
#include "codec/update.h"

/* One row of a wire whose codes share scales (plane_layout.h): cols codes, their bits of the second plane (anything where there
 * is none), ceil(cols / group) scales. encode() writes the second plane's padding, and the first's where codes are shorter than a byte.
 * stream() also copies w to rest; codes, more and rest begin at multiples of 32 bytes, and what they say is written past the
 * caches as zo2_simd.stream() does. */
typedef struct zo2_scaled_rows {
    void (*encode)(const float *w, uint64_t cols, uint8_t *codes, uint8_t *more, void *scales);
    void (*stream)(const float *w, uint64_t cols, uint8_t *codes, uint8_t *more, void *scales, float *rest);
    void (*decode)(const uint8_t *codes, const uint8_t *more, const void *scales, uint64_t cols, float *w);
} zo2_scaled_rows;

/* Where a window of the bf12 wire is (bf12.h), and the room for its row's escapes. The windows of a row are ZO2_WINDOW columns
 * apart. */
typedef struct zo2_bf12_row {
    uint8_t *codes, *more, *high, *base, *escapes;
    uint32_t room;
} zo2_bf12_row;

static inline zo2_bf12_row zo2_bf12_next(zo2_bf12_row at)
{
    at.codes += ZO2_WINDOW;
    at.more += ZO2_WINDOW / 2;
    at.high += ZO2_WINDOW / 2;
    at.base++;
    return at;
}

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

    zo2_scaled_rows e4m3, e5m2, f10, f8, f6, i4;

    /* n weights of a row of the bf12 wire, from the window `to` on, all padding of the last one with them. `used` escapes of the row
     * are there before, and as many as returned afterwards. */
    uint32_t (*bf12_encode)(const float *w, uint64_t n, zo2_bf12_row to, uint32_t used);
    void (*bf12_decode)(zo2_bf12_row from, uint64_t n, float *w);

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

/* decode_kernel.cuh: wire to perturbed panels, one pass: each thread takes 16 consecutive elements of a row, reads
 * their codes once with 16-byte loads, folds the pending updates, makes their noise once, and stores both panels. The
 * functions of one element are the codec headers', the same text that the CPU runs, so the bits are the CPU's.
 *
 * Noise comes in Philox blocks of 4 (Gaussian) or 128 elements (Rademacher) counted from the tensor's first element. A
 * thread's 16 Gaussians are four blocks, five where a row does not begin on a multiple of four. Of a Rademacher block
 * it uses 16 or so of the 128 bits: passing the block around the warp would save about 5 instructions an element,
 * which is nothing beside the panels' stores, two to eight bytes an element. */
#ifndef ZO2_KERNELS_CUDA_DECODE_KERNEL_CUH
#define ZO2_KERNELS_CUDA_DECODE_KERNEL_CUH

#include "codec/noise_inline.h"
#include "codec/plane_layout.h"
#include "codec/rn.h"
#include "codec/update.h"
#include "codec/update_inline.h"
#include "codec/wires.h"
#include "kernels/backend.h"
#include "kernels/cuda/dialect.h"
#include "kernels/cuda/element.cuh"

#define ZO2_DECODE_GROUP 16 /* elements a thread handles at once */

typedef struct zo2_decode_args { /* no padding: what is uninitialised would reach the device */
    const unsigned char *src;    /* wire of rows x cols */
    uint64_t rows, cols;
    uint64_t first_row;
    const zo2_row_ref *refs; /* gathered rows; NULL: rows first_row, first_row + 1, ... */
    uint32_t tensor_id, query, folds;
    int decays, accumulate;
    int wide;               /* rows of the panels begin at multiples of 16 bytes */
    const zo2_update *fold; /* device */
    uint64_t key;
    float eps[ZO2_MAX_PANELS];
    unsigned char *panel[ZO2_MAX_PANELS];
    uint64_t ld;
    uint32_t panels;
    zo2_dtype type;
} zo2_decode_args;

/* ---- wires ---- */

/* 16 bytes of codes, or zeros past a row's last column. */
__device__ static inline uint4 zo2_load_codes(const unsigned char *p, int inside)
{
    uint4 v = {0, 0, 0, 0};
    if (inside)
        v = *(const uint4 *)(const void *)p;
    return v;
}

/* A row of wires.h, for the compiler. */
template <zo2_wire W> struct zo2_wire_form;
#define ZO2_WIRE_FORM(wire, number, text, codec, bytes, has_scales, value) \
    template <> struct zo2_wire_form<wire> {                               \
        static constexpr int size = bytes, scaled = has_scales;            \
        __device__ static inline float get(uint32_t code, uint16_t scale)  \
        {                                                                  \
            (void)scale;                                                   \
            return value;                                                  \
        }                                                                  \
    };
ZO2_WIRE_MAP(ZO2_WIRE_FORM)
#undef ZO2_WIRE_FORM

/* 16 elements from column c of a row: zo2_wire_get() for many at a time. */
template <zo2_wire W>
__device__ static inline void zo2_read16(const zo2_decode_args &a, uint64_t row, uint64_t c, float w[ZO2_DECODE_GROUP])
{
    constexpr int size = zo2_wire_form<W>::size;
    constexpr int per_load = 16 / size;
    const unsigned char *p = a.src + row * zo2_row_stride(a.cols, size) + size * c;
    uint16_t scale = 0;
    if (zo2_wire_form<W>::scaled) /* a group of 16 never straddles two scales */
        scale = ((const uint16_t *)(const void *)(a.src + zo2_fp8_scales_at(a.rows, a.cols, row)))[c / ZO2_FP8_GROUP];
#pragma unroll
    for (int i = 0; i < ZO2_DECODE_GROUP; i += per_load) {
        uint4 v = zo2_load_codes(p + size * i, c + i < a.cols);
        const uint32_t word[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int j = 0; j < per_load; j++) {
            uint32_t code = word[j * size / 4] >> (8 * (j * size % 4));
            w[i + j] = zo2_wire_form<W>::get(code, scale);
        }
    }
}

/* ---- noise: z of elements [index, index + 16) ---- */

template <zo2_dist D>
__device__ static inline void zo2_noise16(uint64_t key, uint32_t query, uint32_t tensor_id, uint64_t index,
                                          float z[ZO2_DECODE_GROUP])
{
    if (D == ZO2_RADEMACHER) {
        /* 16 bits from bit `index` of the endless row of words; they may reach into the next word or block. */
        uint32_t at = (uint32_t)(index % ZO2_RADEMACHER_PER_CALL), w[4], shift = at % 32;
        uint64_t call = index / ZO2_RADEMACHER_PER_CALL;
        zo2_noise_words(key, query, tensor_id, call, w);
        uint32_t low = at < 64 ? (at < 32 ? w[0] : w[1]) : (at < 96 ? w[2] : w[3]);
        uint32_t high = at < 64 ? (at < 32 ? w[1] : w[2]) : w[3];
        if (at > ZO2_RADEMACHER_PER_CALL - ZO2_DECODE_GROUP) {
            zo2_noise_words(key, query, tensor_id, call + 1, w);
            high = w[0];
        }
        uint32_t bits = shift > 32 - ZO2_DECODE_GROUP ? low >> shift | high << (32 - shift) : low >> shift;
#pragma unroll
        for (int i = 0; i < ZO2_DECODE_GROUP; i++)
            z[i] = zo2_rademacher(bits, i);
        return;
    }
    float v[ZO2_DECODE_GROUP + ZO2_GAUSSIAN_PER_CALL];
    uint64_t call = index / ZO2_GAUSSIAN_PER_CALL;
    uint32_t off = (uint32_t)(index % ZO2_GAUSSIAN_PER_CALL);
#pragma unroll
    for (int i = 0; i < ZO2_DECODE_GROUP; i += ZO2_GAUSSIAN_PER_CALL)
        zo2_gaussian4(key, query, tensor_id, call + i / ZO2_GAUSSIAN_PER_CALL, v + i);
    if (off) { /* a shift by `off` whose indices are constants, so that v stays in registers */
        zo2_gaussian4(key, query, tensor_id, call + ZO2_DECODE_GROUP / ZO2_GAUSSIAN_PER_CALL, v + ZO2_DECODE_GROUP);
#pragma unroll
        for (int i = 0; i < ZO2_DECODE_GROUP + 3; i++)
            v[i] = off & 1 ? v[i + 1] : v[i];
#pragma unroll
        for (int i = 0; i < ZO2_DECODE_GROUP; i++)
            v[i] = off & 2 ? v[i + 2] : v[i];
    }
#pragma unroll
    for (int i = 0; i < ZO2_DECODE_GROUP; i++)
        z[i] = v[i];
}

/* ---- panels ---- */

template <typename E>
__device__ static inline void zo2_store16(const zo2_decode_args &a, unsigned char *panel, uint64_t row, uint64_t c,
                                          const float w[ZO2_DECODE_GROUP])
{
    E *to = (E *)(void *)panel + row * a.ld + c;
    if (a.wide && c + ZO2_DECODE_GROUP <= a.cols) {
        union {
            E e[16 / sizeof(E)];
            uint4 v;
        } pack;
#pragma unroll
        for (int i = 0; i < ZO2_DECODE_GROUP; i += 16 / sizeof(E)) {
#pragma unroll
            for (int j = 0; j < (int)(16 / sizeof(E)); j++)
                zo2_put(&pack.e[j], w[i + j]);
            *(uint4 *)(void *)(to + i) = pack.v;
        }
        return;
    }
#pragma unroll
    for (int i = 0; i < ZO2_DECODE_GROUP; i++)
        if (c + i < a.cols)
            zo2_put(to + i, w[i]);
}

__device__ static inline void zo2_store_panel(const zo2_decode_args &a, unsigned char *panel, uint64_t row, uint64_t c,
                                              const float w[ZO2_DECODE_GROUP])
{
    if (a.accumulate) {
        float *to = (float *)(void *)panel + row * a.ld + c;
#pragma unroll
        for (int i = 0; i < ZO2_DECODE_GROUP; i++)
            if (c + i < a.cols)
                to[i] = zo2_add(to[i], w[i]);
        return;
    }
    ZO2_BY_TYPE(a.type, zo2_store16<E>(a, panel, row, c, w));
}

/* ---- one group ---- */

template <zo2_wire W, zo2_dist D>
__device__ static inline void zo2_decode_group(const zo2_decode_args &a, uint64_t row, uint64_t c)
{
    float w[ZO2_DECODE_GROUP], v[ZO2_DECODE_GROUP], z[ZO2_DECODE_GROUP];
    uint64_t of_tensor = a.first_row + row;
    uint32_t done = 0;
    if (a.refs) {
        of_tensor = a.refs[row].row;
        done = a.refs[row].folds_done;
    }
    uint64_t index = of_tensor * a.cols + c;
    zo2_read16<W>(a, row, c, w);
#pragma unroll 1
    for (uint32_t f = done; f < a.folds; f++) {
        const zo2_update *u = &a.fold[f];
        float d = a.decays ? u->d : 0.0f;
#pragma unroll
        for (int i = 0; i < ZO2_DECODE_GROUP; i++)
            v[i] = zo2_update_begin(d, w[i]);
#pragma unroll 1
        for (uint32_t q = 0; q < u->queries; q++) {
            zo2_noise16<D>(u->key, q, a.tensor_id, index, z);
#pragma unroll
            for (int i = 0; i < ZO2_DECODE_GROUP; i++)
                v[i] = zo2_update_query(u->c[q], z[i], v[i]);
        }
#pragma unroll
        for (int i = 0; i < ZO2_DECODE_GROUP; i++)
            w[i] = zo2_update_end(w[i], v[i]);
    }
    if (a.eps[0] != 0.0f || (a.panels > 1 && a.eps[1] != 0.0f)) {
        zo2_noise16<D>(a.key, a.query, a.tensor_id, index, z);
    } else {
#pragma unroll
        for (int i = 0; i < ZO2_DECODE_GROUP; i++)
            z[i] = 0.0f;
    }
#pragma unroll
    for (uint32_t p = 0; p < ZO2_MAX_PANELS; p++) {
        if (p >= a.panels)
            return;
        if (a.eps[p] == 0.0f) {
            zo2_store_panel(a, a.panel[p], row, c, w);
            continue;
        }
#pragma unroll
        for (int i = 0; i < ZO2_DECODE_GROUP; i++)
            v[i] = zo2_perturb_one(w[i], z[i], a.eps[p]);
        zo2_store_panel(a, a.panel[p], row, c, v);
    }
}

/* Grid-stride in both directions: x runs over the groups of a row, y over rows. */
template <zo2_wire W, zo2_dist D> ZO2_LAUNCH_BOUNDS(128) __global__ void zo2_decode_kernel(zo2_decode_args a)
{
    uint64_t groups = (a.cols + ZO2_DECODE_GROUP - 1) / ZO2_DECODE_GROUP;
    for (uint64_t row = (uint64_t)blockIdx.y * blockDim.y + threadIdx.y; row < a.rows;
         row += (uint64_t)gridDim.y * blockDim.y)
        for (uint64_t g = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x; g < groups;
             g += (uint64_t)gridDim.x * blockDim.x)
            zo2_decode_group<W, D>(a, row, g * ZO2_DECODE_GROUP);
}

#endif

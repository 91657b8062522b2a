/* decode_kernel.cuh: wire to perturbed panels, one pass: each thread takes runs of 8 elements of a row, reads their codes once,
 * folds the pending updates, makes their noise once, and stores both panels. Runs of a warp's lanes lie side by side, so that
 * a store of the warp is of whole lines. The functions of one element are the codec headers', the same text that the CPU
 * runs, so the bits are the CPU's; conversions are the hardware's where it has them (convert.cuh).
 *
 * zo2_panels_kernel is what a forward pass needs for matrices without pending updates, and nothing else, so that it is short:
 * rows of which every run is whole and aligned, in the tensor as in the panels. One kernel for each wire, compute type and
 * noise. zo2_decode_kernel does everything. tools/sass-count prints what they cost. */
#ifndef ZO2_KERNELS_CUDA_DECODE_KERNEL_CUH
#define ZO2_KERNELS_CUDA_DECODE_KERNEL_CUH

#include "codec/philox.h"
#include "codec/plane_layout.h"
#include "codec/rn.h"
#include "codec/update.h"
#include "codec/update_inline.h"
#include "codec/wires.h"
#include "kernels/cuda/bf12.cuh"
#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/decode_noise.cuh"
#include "kernels/cuda/dialect.h"
#include "kernels/cuda/element.cuh"
#include "kernels/operations.h"

#define ZO2_DECODE_RUN 8 /* elements that a thread handles together */
#define ZO2_DECODE_STEP \
    (32 * ZO2_DECODE_RUN) /* columns of a warp's runs, and from a thread's first run to its second */

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

/* Where the codes of a run are. `more` only in wires with a second plane; shifts only where codes are shorter than a byte: then
 * the run's are in 8 neighbouring bytes, all under the same shift (plane_layout.h). */
typedef struct zo2_codes {
    const unsigned char *code, *more;
    uint32_t shift, more_shift;
} zo2_codes;

/* Of the run at column c, a multiple of 8, of a row whose codes begin at `row` and `more`. */
template <zo2_wire W>
__device__ static inline zo2_codes zo2_codes_at(const unsigned char *row, const unsigned char *more, uint64_t c)
{
    typedef zo2_wire_form<W> form;
    zo2_codes at = {row + zo2_code_byte(c, form::bits), NULL, zo2_code_shift(c, form::bits), 0};
    if (form::more) {
        at.more = more + zo2_code_byte(c, form::more ? form::more : 2);
        at.more_shift = zo2_code_shift(c, form::more);
    }
    return at;
}

/* The 8 bytes that hold a run's codes of at most a byte. */
__device__ static inline uint2 zo2_load8(const unsigned char *p, uint64_t inside)
{
    uint2 v = {0, 0};
    if (inside)
        v = *(const uint2 *)(const void *)p;
    return v;
}

/* The elements of a run, of which `inside` are in the row; rows are padded to 16 bytes. Zeros past that. */
template <zo2_wire W>
__device__ static inline void zo2_read8(const zo2_codes &at, uint64_t inside, uint16_t scale, float w[ZO2_DECODE_RUN])
{
    typedef zo2_wire_form<W> form;
    if constexpr (form::more != 0) {
        uint2 v = zo2_load8(at.code, inside), m = zo2_load8(at.more, inside);
        float factor = zo2_e2m_factor(scale);
        if (form::bits < 8) {
            v.x = zo2_field(v.x, at.shift, form::bits, 8 - form::bits);
            v.y = zo2_field(v.y, at.shift, form::bits, 8 - form::bits);
        }
        zo2_e2m_word(v.x, zo2_field(m.x, at.more_shift, 2, 2), factor, w);
        zo2_e2m_word(v.y, zo2_field(m.y, at.more_shift, 2, 2), factor, w + 4);
    } else if constexpr (form::bits == 4) {
        zo2_i4_run(zo2_load8(at.code, inside), at.shift, scale, w);
    } else if constexpr (form::bits == 8) {
        uint2 v = zo2_load8(at.code, inside);
        zo2_wire_word<W>::get(v.x, scale, w);
        zo2_wire_word<W>::get(v.y, scale, w + 4);
    } else {
        constexpr int per_word = form::per_word;
#pragma unroll
        for (int i = 0; i < ZO2_DECODE_RUN; i += 4 * per_word) {
            uint4 v = {0, 0, 0, 0};
            if (inside > (uint64_t)i)
                v = *(const uint4 *)(const void *)(at.code + i / per_word * 4);
            zo2_wire_word<W>::get(v.x, scale, w + i);
            zo2_wire_word<W>::get(v.y, scale, w + i + per_word);
            zo2_wire_word<W>::get(v.z, scale, w + i + 2 * per_word);
            zo2_wire_word<W>::get(v.w, scale, w + i + 3 * per_word);
        }
    }
}

/* The same of the wire whose rows have heads. */
__device__ static inline zo2_bf12_run zo2_bf12_load(const zo2_codes &at, uint64_t inside, uint32_t base)
{
    uint2 more = zo2_load8(at.more, inside);
    zo2_bf12_run r = {zo2_load8(at.code, inside),
                      {zo2_field(more.x, at.more_shift, 4, 0), zo2_field(more.y, at.more_shift, 4, 0)},
                      base};
    return r;
}

/* ---- whole runs, no folds ---- */

typedef struct zo2_panels_args { /* no padding; strides in bytes but ld */
    const unsigned char *src, *more, *scales;
    /* of the wire that has heads: escapes of row 0, how far the plane behind the heads is behind the second one, how many escapes
     * have room */
    const unsigned char *escapes;
    uint64_t high;
    uint64_t escape_room;
    uint64_t first; /* the tensor's element that row 0 begins with, a multiple of 8 */
    unsigned char *panel[ZO2_MAX_PANELS];
    zo2_philox_keys keys; /* as kernel parameters they cost no instruction and no register */
    float eps[ZO2_MAX_PANELS];
    uint32_t rows, cols, src_stride, more_stride, scale_stride, ld; /* below 2^31 */
    uint32_t tensor_id, query, panels, unused;                      /* so that the size is a multiple of 8 */
} zo2_panels_args;

/* Where the 8 elements of a run are. */
typedef struct zo2_run {
    zo2_codes codes;
    const unsigned char *scale; /* of wires that have them, or a window's base; else NULL */
    uint64_t index;             /* in the tensor */
    uint64_t at;                /* in a panel */
    uint32_t row;
} zo2_run;

/* What a group of the wire shares with its neighbours' groups: bytes, and columns. */
template <zo2_wire W> struct zo2_wire_group {
    static constexpr int bytes = zo2_wire_form<W>::shared == ZO2_SHARED_WINDOW ? 1 : 2;
    static constexpr int columns = zo2_wire_form<W>::group;
    static __device__ inline uint16_t get(const unsigned char *at)
    {
        return bytes == 1 ? *at : *(const uint16_t *)(const void *)at;
    }
};

template <zo2_wire W> __device__ static inline zo2_run zo2_run_of(const zo2_panels_args &a, uint32_t row, uint32_t c)
{
    zo2_run r;
    r.codes = zo2_codes_at<W>(a.src + (uint64_t)row * a.src_stride, a.more + (uint64_t)row * a.more_stride, c);
    r.scale = NULL;
    if constexpr (zo2_wire_form<W>::shared != ZO2_SHARED_NOTHING)
        r.scale = a.scales + (uint64_t)row * a.scale_stride + c / zo2_wire_group<W>::columns * zo2_wire_group<W>::bytes;
    r.index = (uint64_t)row * a.cols + (a.first + c);
    r.at = (uint64_t)row * a.ld + c;
    r.row = row;
    return r;
}

/* `by` columns further on, a multiple of all groups: shifts stay. */
template <zo2_wire W> __device__ static inline zo2_run zo2_run_after(zo2_run r, uint32_t by)
{
    r.codes.code += zo2_code_byte(by, zo2_wire_form<W>::bits);
    if (zo2_wire_form<W>::more)
        r.codes.more += by / 8 * zo2_wire_form<W>::more;
    if constexpr (zo2_wire_form<W>::shared != ZO2_SHARED_NOTHING)
        r.scale += by / zo2_wire_group<W>::columns * zo2_wire_group<W>::bytes;
    r.index += by;
    r.at += by;
    return r;
}

template <zo2_wire W> __device__ static inline void zo2_read_run(const zo2_run &r, int inside, float w[ZO2_DECODE_RUN])
{
    uint16_t scale = 0;
    if constexpr (zo2_wire_form<W>::shared != ZO2_SHARED_NOTHING)
        scale = inside ? zo2_wire_group<W>::get(r.scale) : 0;
    zo2_read8<W>(r.codes, inside ? ZO2_DECODE_RUN : 0, scale, w);
}

/* Both runs of a span; zeros for the second one if it is past the row's end. */
template <zo2_wire W>
__device__ static inline void zo2_read_span(const zo2_panels_args &a, const zo2_run &r, int second,
                                            float w[2 * ZO2_DECODE_RUN])
{
    zo2_run after = zo2_run_after<W>(r, ZO2_DECODE_STEP);
    if constexpr (zo2_wire_form<W>::shared == ZO2_SHARED_WINDOW) {
        zo2_bf12_row row = {a.escapes + (uint64_t)r.row * a.scale_stride, r.codes.more + a.high,
                            (uint32_t)a.escape_room, ZO2_DECODE_STEP / 2, r.codes.more_shift};
        zo2_bf12_read(zo2_bf12_load(r.codes, ZO2_DECODE_RUN, *r.scale),
                      zo2_bf12_load(after.codes, second ? ZO2_DECODE_RUN : 0, second ? *after.scale : 0), row, w);
    } else {
        zo2_read_run<W>(r, 1, w);
        zo2_read_run<W>(after, second, w + ZO2_DECODE_RUN);
    }
}

/* Two runs, of which the second may be past the row's end: it is computed all the same, for then the two are one stretch of code
 * whose instructions hide each other's latencies. D: 0 for no noise, else a zo2_dist; then no eps is 0. */
template <zo2_wire W, class E, int D>
__device__ static inline void zo2_panels_span(const zo2_panels_args &a, const zo2_run &r, int second)
{
    constexpr int n = ZO2_DECODE_RUN;
    float w[2 * n], z[2 * n], v[2 * n];
    zo2_read_span<W>(a, r, second, w);
    if (D) {
        zo2_noise8<D>(a.tensor_id, a.query, a.keys, r.index, z);
        zo2_noise8<D>(a.tensor_id, a.query, a.keys, r.index + ZO2_DECODE_STEP, z + n);
    }
#pragma unroll
    for (uint32_t p = 0; p < ZO2_MAX_PANELS; p++) {
        if (p >= a.panels)
            return;
#pragma unroll
        for (int i = 0; i < 2 * n; i++)
            v[i] = D ? zo2_perturb_one(w[i], z[i], a.eps[p]) : w[i];
        E *to = (E *)(void *)a.panel[p] + r.at;
        zo2_store_wide<E, n>(to, v);
        if (second)
            zo2_store_wide<E, n>(to + ZO2_DECODE_STEP, v + n);
    }
}

/* Grid-stride in both directions: x runs over the spans of a row, y over rows. */
template <zo2_wire W, class E, int D> ZO2_LAUNCH_BOUNDS(128) __global__ void zo2_panels_kernel(zo2_panels_args a)
{
    for (uint32_t row = blockIdx.y * blockDim.y + threadIdx.y; row < a.rows; row += gridDim.y * blockDim.y)
        for (uint32_t c = blockIdx.x * 2 * ZO2_DECODE_STEP + threadIdx.x * ZO2_DECODE_RUN; c < a.cols;
             c += gridDim.x * 2 * ZO2_DECODE_STEP)
            zo2_panels_span<W, E, D>(a, zo2_run_of<W>(a, row, c), c + ZO2_DECODE_STEP < a.cols);
}

/* ---- everything ---- */

template <zo2_wire W>
__device__ static inline void zo2_read_at(const zo2_decode_args &a, uint64_t row, uint64_t c, float w[ZO2_DECODE_RUN])
{
    typedef zo2_wire_form<W> form;
    zo2_wire_shape shape = zo2_wire_shape_of(W);
    typedef zo2_wire_group<W> group;
    const unsigned char *more = a.src, *codes = a.src + row * zo2_code_stride(a.cols, form::bits), *head = a.src;
    uint16_t scale = 0;
    if (form::more)
        more += zo2_more_at(shape, a.rows, a.cols) + row * zo2_code_stride(a.cols, form::more);
    if constexpr (form::shared != ZO2_SHARED_NOTHING) {
        head += zo2_scales_at(shape, a.rows, a.cols, row);
        scale = group::get(head + c / group::columns * group::bytes);
    }
    zo2_codes at = zo2_codes_at<W>(codes, more, c);
    if constexpr (form::shared == ZO2_SHARED_WINDOW) {
        const unsigned char *high = at.more + (zo2_high_at(shape, a.rows, a.cols) - zo2_more_at(shape, a.rows, a.cols));
        zo2_bf12_row of_row = {head + zo2_windows(a.cols), high, (uint32_t)zo2_escape_room(a.cols), ZO2_DECODE_STEP / 2,
                               at.more_shift};
        float two[2 * ZO2_DECODE_RUN];
        zo2_bf12_read(zo2_bf12_load(at, a.cols - c, scale), zo2_bf12_run(), of_row, two);
#pragma unroll
        for (int i = 0; i < ZO2_DECODE_RUN; i++)
            w[i] = two[i];
    } else {
        zo2_read8<W>(at, a.cols - c, scale, w);
    }
}

template <typename E>
__device__ static inline void zo2_store_any(const zo2_decode_args &a, unsigned char *panel, uint64_t row, uint64_t c,
                                            const float w[ZO2_DECODE_RUN])
{
    E *to = (E *)(void *)panel + row * a.ld + c;
    if (a.wide && c + ZO2_DECODE_RUN <= a.cols) {
        zo2_store_wide<E, ZO2_DECODE_RUN>(to, w);
        return;
    }
#pragma unroll
    for (int i = 0; i < ZO2_DECODE_RUN; i++)
        if (c + i < a.cols)
            zo2_put(to + i, w[i]);
}

__device__ static inline void zo2_store_panel(const zo2_decode_args &a, unsigned char *panel, uint64_t row, uint64_t c,
                                              const float w[ZO2_DECODE_RUN])
{
    if (a.accumulate) {
        float *to = (float *)(void *)panel + row * a.ld + c;
#pragma unroll
        for (int i = 0; i < ZO2_DECODE_RUN; i++)
            if (c + i < a.cols)
                to[i] = zo2_add(to[i], w[i]);
        return;
    }
    ZO2_BY_TYPE(a.type, zo2_store_any<E>(a, panel, row, c, w));
}

/* w less the updates [done, a.folds). */
template <zo2_dist D>
__device__ static inline void zo2_fold8(const zo2_decode_args &a, uint32_t done, uint64_t index,
                                        float w[ZO2_DECODE_RUN])
{
    float v[ZO2_DECODE_RUN], z[ZO2_DECODE_RUN];
#pragma unroll 1
    for (uint32_t f = done; f < a.folds; f++) {
        const zo2_update *u = &a.fold[f];
        float d = a.decays ? u->d : 0.0f;
#pragma unroll
        for (int i = 0; i < ZO2_DECODE_RUN; i++)
            v[i] = zo2_update_begin(d, w[i]);
#pragma unroll 1
        for (uint32_t q = 0; q < u->queries; q++) {
            zo2_noise8_at<D>(a.tensor_id, q, u->key, index, z);
#pragma unroll
            for (int i = 0; i < ZO2_DECODE_RUN; i++)
                v[i] = zo2_update_query(u->c[q], z[i], v[i]);
        }
#pragma unroll
        for (int i = 0; i < ZO2_DECODE_RUN; i++)
            w[i] = zo2_update_end(w[i], v[i]);
    }
}

template <zo2_wire W, zo2_dist D>
__device__ static inline void zo2_decode_run(const zo2_decode_args &a, uint64_t row, uint64_t c)
{
    float w[ZO2_DECODE_RUN], v[ZO2_DECODE_RUN], z[ZO2_DECODE_RUN];
    uint64_t of_tensor = a.first_row + row;
    uint32_t done = 0;
    if (a.refs) {
        of_tensor = a.refs[row].row;
        done = a.refs[row].folds_done;
    }
    uint64_t index = of_tensor * a.cols + c;
    zo2_read_at<W>(a, row, c, w);
    zo2_fold8<D>(a, done, index, w);
    if (a.eps[0] != 0.0f || (a.panels > 1 && a.eps[1] != 0.0f)) {
        zo2_noise8_at<D>(a.tensor_id, a.query, a.key, index, z);
    } else {
#pragma unroll
        for (int i = 0; i < ZO2_DECODE_RUN; i++)
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
        for (int i = 0; i < ZO2_DECODE_RUN; i++)
            v[i] = zo2_perturb_one(w[i], z[i], a.eps[p]);
        zo2_store_panel(a, a.panel[p], row, c, v);
    }
}

/* Grid-stride in both directions: x runs over the runs of a row, y over rows. */
template <zo2_wire W, zo2_dist D> ZO2_LAUNCH_BOUNDS(128) __global__ void zo2_decode_kernel(zo2_decode_args a)
{
    for (uint64_t row = (uint64_t)blockIdx.y * blockDim.y + threadIdx.y; row < a.rows;
         row += (uint64_t)gridDim.y * blockDim.y)
        for (uint64_t c = ((uint64_t)blockIdx.x * blockDim.x + threadIdx.x) * ZO2_DECODE_RUN; c < a.cols;
             c += (uint64_t)gridDim.x * blockDim.x * ZO2_DECODE_RUN)
            zo2_decode_run<W, D>(a, row, c);
}

#endif

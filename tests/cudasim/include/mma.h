/* mma.h of the simulator: the part of CUDA's warp matrix API that zo2 may use: products of 16 x 16 x 16, operands in fp16 or bf16,
 * sums in fp32. Declared anew with CUDA's names.
 *
 * A fragment's elements are spread over the lanes in an order that no device has and that differs by kind (fragment_place()):
 * code that relies on a layout computes something else here. What CUDA promises is kept: fragments of one type share their order,
 * so the same operation may go over the elements of two of them. Every function here is one for a whole warp, which has to be
 * there; like a shuffle it orders no memory. */
#ifndef CUDASIM_MMA_H
#define CUDASIM_MMA_H

#include <type_traits>

#include "cuda_runtime.h"

/* Storage alone: 16-bit arithmetic isn't simulated. */
struct __half {
    uint16_t bits;
};
struct __nv_bfloat16 {
    uint16_t bits;
};

namespace nvcuda
{
namespace wmma
{

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major, mem_col_major };

constexpr int cudasim_side = 16, cudasim_per_lane = cudasim_side * cudasim_side / warpSize;

template <class Use, int M, int N, int K, class T, class Layout = void> struct fragment {
    static_assert(M == cudasim_side && N == cudasim_side && K == cudasim_side, "only 16 x 16 x 16 is simulated");
    static_assert(std::is_same_v<Use, accumulator> ? std::is_same_v<T, float>
                                                   : std::is_same_v<T, __half> || std::is_same_v<T, __nv_bfloat16>,
                  "operands are fp16 or bf16, sums are fp32");
    static constexpr int num_elements = cudasim_per_lane;
    T x[num_elements];
};

} // namespace wmma
} // namespace nvcuda

namespace cudasim
{

/* Where a lane's i-th element lies in its 16 x 16 matrix, row by row. */
enum class fragment_kind { a, b, sum };
inline unsigned fragment_place(fragment_kind kind, unsigned in_lane, unsigned i)
{
    const unsigned step = kind == fragment_kind::a ? 37 : kind == fragment_kind::b ? 91 : 173; /* odd: all of 256 */
    return (step * (in_lane * 8 + i) + 11) % 256;
}
template <class Use> constexpr fragment_kind kind_of()
{
    return std::is_same_v<Use, nvcuda::wmma::matrix_a>   ? fragment_kind::a
           : std::is_same_v<Use, nvcuda::wmma::matrix_b> ? fragment_kind::b
                                                         : fragment_kind::sum;
}

/* One lane's part in a product of its warp. */
struct matrix_product {
    const uint16_t *a, *b;
    const float *c;
    float *d;
    bool bf16;
};
/* Waits for the warp; the last to come multiplies for all. NULL: only waits. */
void warp_matrix(const matrix_product *p, const char *file, int line);

/* 32-byte alignment and strides as the manual wants them; reports and ends the kernel otherwise. */
void check_matrix(const void *at, unsigned stride, size_t element, const char *file, int line);

} // namespace cudasim

namespace nvcuda
{
namespace wmma
{

#define CUDASIM_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

template <class Use, class T, class Layout>
void fill_fragment(fragment<Use, 16, 16, 16, T, Layout> &f, std::common_type_t<T> v)
{
    for (T &x : f.x)
        x = v;
}

template <class Use, class T, class Layout>
void load_matrix_sync(fragment<Use, 16, 16, 16, T, Layout> &f, const T *from, unsigned stride, CUDASIM_HERE)
{
    static_assert(!std::is_same_v<Use, accumulator>, "loading sums takes a layout_t");
    cudasim::check_matrix(from, stride, sizeof(T), file, line);
    cudasim::warp_matrix(nullptr, file, line);
    for (unsigned i = 0; i < cudasim_per_lane; i++) {
        unsigned at = cudasim::fragment_place(cudasim::kind_of<Use>(), cudasim::lane(), i), row = at / 16,
                 column = at % 16;
        f.x[i] = std::is_same_v<Layout, row_major> ? from[row * stride + column] : from[column * stride + row];
    }
}

inline void load_matrix_sync(fragment<accumulator, 16, 16, 16, float> &f, const float *from, unsigned stride,
                             layout_t layout, CUDASIM_HERE)
{
    cudasim::check_matrix(from, stride, sizeof(float), file, line);
    cudasim::warp_matrix(nullptr, file, line);
    for (unsigned i = 0; i < cudasim_per_lane; i++) {
        unsigned at = cudasim::fragment_place(cudasim::fragment_kind::sum, cudasim::lane(), i), row = at / 16,
                 column = at % 16;
        f.x[i] = layout == mem_row_major ? from[row * stride + column] : from[column * stride + row];
    }
}

inline void store_matrix_sync(float *to, const fragment<accumulator, 16, 16, 16, float> &f, unsigned stride,
                              layout_t layout, CUDASIM_HERE)
{
    cudasim::check_matrix(to, stride, sizeof(float), file, line);
    cudasim::warp_matrix(nullptr, file, line);
    for (unsigned i = 0; i < cudasim_per_lane; i++) {
        unsigned at = cudasim::fragment_place(cudasim::fragment_kind::sum, cudasim::lane(), i), row = at / 16,
                 column = at % 16;
        to[layout == mem_row_major ? row * stride + column : column * stride + row] = f.x[i];
    }
}

/* d = a b + c; d may be c. */
template <class T, class LayoutA, class LayoutB>
void mma_sync(fragment<accumulator, 16, 16, 16, float> &d, const fragment<matrix_a, 16, 16, 16, T, LayoutA> &a,
              const fragment<matrix_b, 16, 16, 16, T, LayoutB> &b, const fragment<accumulator, 16, 16, 16, float> &c,
              CUDASIM_HERE)
{
    cudasim::matrix_product p = {&a.x[0].bits, &b.x[0].bits, c.x, d.x, std::is_same_v<T, __nv_bfloat16>};
    cudasim::warp_matrix(&p, file, line);
}

#undef CUDASIM_HERE

} // namespace wmma
} // namespace nvcuda

#endif

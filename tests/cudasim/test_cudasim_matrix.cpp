/* The warp matrix API: products in every type and layout, elements of equal fragments in equal places, no place that a device has;
 * and what it doesn't allow. Values are small integers, so sums are exact in any order. */
#include "testing.h"

#include <mma.h>

using namespace nvcuda;

static const cudasim_threads thread_orders[] = {CUDASIM_FORWARD, CUDASIM_REVERSE, CUDASIM_SHUFFLED};
enum { SIDE = 16, LD = 24 };

static void fresh(cudasim_threads threads)
{
    cudasim_config c = {};
    c.threads = threads;
    c.seed = 7;
    c.quiet = 1;
    cudasim_reset(&c);
}

/* d = (a b + c), each element times that of `scale`, and once more from registers. */
template <class T, class LayoutA, class LayoutB>
static __global__ void product(const T *a, const T *b, const float *c, const float *scale, float *d,
                               wmma::layout_t layout)
{
    wmma::fragment<wmma::matrix_a, 16, 16, 16, T, LayoutA> x;
    wmma::fragment<wmma::matrix_b, 16, 16, 16, T, LayoutB> y;
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> sum, factor;
    wmma::load_matrix_sync(x, a, LD);
    wmma::load_matrix_sync(y, b, LD);
    wmma::load_matrix_sync(sum, c, LD, layout);
    wmma::load_matrix_sync(factor, scale, LD, layout);
    wmma::mma_sync(sum, x, y, sum);
    for (int i = 0; i < sum.num_elements; i++)
        sum.x[i] *= factor.x[i];
    wmma::store_matrix_sync(d, sum, LD, layout);
}

static int a_of(int row, int k)
{
    return (3 * row + 5 * k) % 7 - 3;
}
static int b_of(int k, int column)
{
    return (2 * k + 3 * column + k * column) % 5 - 2;
}

static uint16_t bits_of(int v, bool bf16)
{
    float f = static_cast<float>(v);
    return static_cast<uint16_t>(bf16 ? cudasim::cvt_bf16x2(f, 0) : cudasim::cvt_f16x2(f, 0));
}

template <class T, class LayoutA, class LayoutB> static void check(wmma::layout_t layout)
{
    bool bf16 = std::is_same_v<T, __nv_bfloat16>;
    for (cudasim_threads order : thread_orders) {
        fresh(order);
        cudaStream_t s = new_stream();
        pinned<uint16_t> a(SIDE * LD), b(SIDE * LD);
        pinned<float> c(SIDE * LD), scale(SIDE * LD), d(SIDE * LD);
        auto sums_at = [&](int row, int column) {
            return layout == wmma::mem_row_major ? row * LD + column : column * LD + row;
        };
        for (int i = 0; i < SIDE; i++)
            for (int j = 0; j < SIDE; j++) {
                a[std::is_same_v<LayoutA, wmma::row_major> ? i * LD + j : j * LD + i] = bits_of(a_of(i, j), bf16);
                b[std::is_same_v<LayoutB, wmma::row_major> ? i * LD + j : j * LD + i] = bits_of(b_of(i, j), bf16);
                c[sums_at(i, j)] = static_cast<float>(100 * i + j);
                scale[sums_at(i, j)] = static_cast<float>(1 << (i % 3));
            }
        auto *da = device_array<uint16_t>(SIDE * LD), *db = device_array<uint16_t>(SIDE * LD);
        auto *dc = device_array<float>(SIDE * LD), *ds = device_array<float>(SIDE * LD),
             *dd = device_array<float>(SIDE * LD);
        upload(da, a, s);
        upload(db, b, s);
        upload(dc, c, s);
        upload(ds, scale, s);
        ZO2_LAUNCH((product<T, LayoutA, LayoutB>), 1, 32, 0, s, reinterpret_cast<const T *>(da),
                   reinterpret_cast<const T *>(db), dc, ds, dd, layout);
        download(d, dd, s);
        OK(cudaStreamSynchronize(s));
        for (int i = 0; i < SIDE; i++)
            for (int j = 0; j < SIDE; j++) {
                int sum = 100 * i + j;
                for (int k = 0; k < SIDE; k++)
                    sum += a_of(i, k) * b_of(k, j);
                assert_true(d[sums_at(i, j)] == static_cast<float>(sum * (1 << (i % 3))));
            }
        reported_nothing();
    }
}

static void products_in_every_type_and_layout(void **state)
{
    (void)state;
    check<__half, wmma::row_major, wmma::row_major>(wmma::mem_row_major);
    check<__half, wmma::row_major, wmma::col_major>(wmma::mem_row_major);
    check<__half, wmma::col_major, wmma::row_major>(wmma::mem_col_major);
    check<__nv_bfloat16, wmma::row_major, wmma::col_major>(wmma::mem_row_major);
    check<__nv_bfloat16, wmma::col_major, wmma::col_major>(wmma::mem_col_major);
}

/* Places of all lanes are all of a matrix's, and most differ between kinds. On devices a lane has pairs of neighbours. */
static void places_are_opaque(void **state)
{
    (void)state;
    using cudasim::fragment_kind;
    const fragment_kind kinds[] = {fragment_kind::a, fragment_kind::b, fragment_kind::sum};
    for (fragment_kind kind : kinds) {
        std::vector<int> seen(256, 0);
        unsigned equal = 0;
        for (unsigned lane = 0; lane < 32; lane++)
            for (unsigned i = 0; i < 8; i++) {
                unsigned at = cudasim::fragment_place(kind, lane, i);
                assert_int_equal(seen[at]++, 0);
                assert_int_not_equal(at ^ 1, cudasim::fragment_place(kind, lane, i ^ 1));
                for (fragment_kind other : kinds)
                    equal += other != kind && cudasim::fragment_place(other, lane, i) == at;
            }
        assert_in_range(equal, 0, 32);
    }
}

enum wrong { LANE_RETURNED, MISALIGNED, ODD_STRIDE, NOTHING };

static __global__ void misuse(float *p, int what)
{
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> sum;
    wmma::fill_fragment(sum, 1.0f);
    if (what == LANE_RETURNED && threadIdx.x == 3)
        return;
    wmma::store_matrix_sync(what == MISALIGNED ? p + 4 : p, sum, what == ODD_STRIDE ? 17 : 16, wmma::mem_row_major);
}

static void misuse_is_reported(void **state)
{
    (void)state;
    const char *const reports[] = {"waits in a matrix operation", "has to be aligned to 32 bytes", "rows 17 elements"};
    for (int what = LANE_RETURNED; what <= NOTHING; what++) {
        fresh(CUDASIM_FORWARD);
        cudaStream_t s = new_stream();
        float *p = device_array<float>(17 * 17);
        ZO2_LAUNCH(misuse, 1, 32, 0, s, p, what);
        cudaError_t e = cudaStreamSynchronize(s);
        assert_int_equal(e, what == NOTHING ? cudaSuccess : cudaErrorLaunchFailure);
        if (what == NOTHING)
            reported_nothing();
        else
            reported(reports[what]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_in_every_type_and_layout),
        cmocka_unit_test(places_are_opaque),
        cmocka_unit_test(misuse_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

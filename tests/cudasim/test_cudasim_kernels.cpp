/* Kernels run as on the device: coordinates, barriers, warps, shared memory, atomics, in every thread order. */
#include "testing.h"

static const cudasim_threads thread_orders[] = {CUDASIM_FORWARD, CUDASIM_REVERSE, CUDASIM_SHUFFLED};

static void fresh(cudasim_threads threads)
{
    cudasim_config c = {};
    c.threads = threads;
    c.seed = 7;
    cudasim_reset(&c);
}

/* out[i] = i where every thread writes its own place, computed from all coordinates. */
static ZO2_LAUNCH_BOUNDS(256) __global__ void coordinates(unsigned *out)
{
    unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    unsigned i = block * blockDim.x * blockDim.y * blockDim.z + thread;
    out[i] = i;
}

static void every_thread_of_every_block_runs_once(void **state)
{
    (void)state;
    for (cudasim_threads order : thread_orders) {
        fresh(order);
        const unsigned n = 3 * 2 * 2 * 7 * 3 * 2;
        cudaStream_t s = new_stream();
        unsigned *d = device_array<unsigned>(n);
        pinned<unsigned> h(n, 99);
        ZO2_LAUNCH(coordinates, dim3(3, 2, 2), dim3(7, 3, 2), 0, s, d);
        OK(cudaGetLastError());
        download(h, d, s);
        cudasim_stats stats;
        cudasim_get_stats(&stats);
        assert_int_equal(stats.operations, 0); /* nothing runs before somebody waits */
        OK(cudaStreamSynchronize(s));
        for (unsigned i = 0; i < n; i++)
            assert_int_equal(h[i], i);
        reported_nothing();
    }
}

/* Sum of each block's part by a tree in static shared memory and shuffles, with a scratch copy in the dynamic one. */
template <class T, int N> static ZO2_LAUNCH_BOUNDS(128) __global__ void block_sums(const T *x, T *out, uint64_t n)
{
    ZO2_SHARED(T, part, N);
    ZO2_DYNAMIC_SHARED(T, copy);
    uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    copy[threadIdx.x] = i < n ? x[i] : T(0);
    __syncthreads();
    T v = copy[blockDim.x - 1 - threadIdx.x];
    for (int m = 16; m; m /= 2)
        v += __shfl_xor_sync(0xFFFFFFFFu, v, m);
    if (threadIdx.x % 32 == 0)
        part[threadIdx.x / 32] = v;
    __syncthreads();
    if (threadIdx.x == 0) {
        T sum = 0;
        for (int w = 0; w < N; w++)
            sum += part[w];
        out[blockIdx.x] = sum;
    }
}

static void barriers_and_shared_memory(void **state)
{
    (void)state;
    for (cudasim_threads order : thread_orders) {
        fresh(order);
        const unsigned n = 1000, blocks = 8;
        cudaStream_t s = new_stream();
        double *x = device_array<double>(n), *out = device_array<double>(blocks);
        pinned<double> h(n), sums(blocks);
        for (unsigned i = 0; i < n; i++)
            h[i] = i;
        upload(x, h, s);
        ZO2_LAUNCH((block_sums<double, 4>), blocks, 128, 128 * sizeof(double), s, x, out, n);
        download(sums, out, s);
        OK(cudaStreamSynchronize(s));
        for (unsigned b = 0; b < blocks; b++) {
            double want = 0;
            for (unsigned i = b * 128; i < (b + 1) * 128 && i < n; i++)
                want += i;
            assert_true(sums[b] == want);
        }
        reported_nothing();
    }
}

static __global__ void warp_words(unsigned *out)
{
    unsigned lane = threadIdx.x, v = 100 + lane, all = 0xFFFFFFFFu;
    out[lane * 8 + 0] = __shfl_sync(all, v, 3);
    out[lane * 8 + 1] = __shfl_xor_sync(all, v, 5);
    out[lane * 8 + 2] = __shfl_down_sync(all, v, 4);
    out[lane * 8 + 3] = __shfl_up_sync(all, v, 4);
    out[lane * 8 + 4] = __shfl_down_sync(all, v, 1, 8);
    out[lane * 8 + 5] = __ballot_sync(all, lane % 3 == 0);
    unsigned half = lane < 16 ? 0xFFFFu : 0xFFFF0000u;
    out[lane * 8 + 6] = __shfl_xor_sync(half, v, 1);
    __syncwarp();
    out[lane * 8 + 7] = static_cast<unsigned>(__any_sync(all, lane == 31) + 2 * __all_sync(all, lane < 31));
}

static void warp_operations(void **state)
{
    (void)state;
    for (cudasim_threads order : thread_orders) {
        fresh(order);
        cudaStream_t s = new_stream();
        unsigned *d = device_array<unsigned>(32 * 8);
        pinned<unsigned> h(32 * 8);
        ZO2_LAUNCH(warp_words, 1, 32, 0, s, d);
        download(h, d, s);
        OK(cudaStreamSynchronize(s));
        for (unsigned lane = 0; lane < 32; lane++) {
            assert_int_equal(h[lane * 8 + 0], 103);
            assert_int_equal(h[lane * 8 + 1], 100 + (lane ^ 5));
            assert_int_equal(h[lane * 8 + 2], 100 + (lane + 4 < 32 ? lane + 4 : lane));
            assert_int_equal(h[lane * 8 + 3], 100 + (lane >= 4 ? lane - 4 : lane));
            assert_int_equal(h[lane * 8 + 4], 100 + (lane % 8 < 7 ? lane + 1 : lane));
            assert_int_equal(h[lane * 8 + 5], 0x49249249u);
            assert_int_equal(h[lane * 8 + 6], 100 + (lane ^ 1));
            assert_int_equal(h[lane * 8 + 7], 1);
        }
        reported_nothing();
    }
}

static __global__ void count(unsigned *total, int *highest, float *sum)
{
    atomicAdd(total, 1u);
    atomicMax(highest, static_cast<int>(threadIdx.x * 7 % 61));
    atomicAdd(sum, 0.5f);
}

static void atomics(void **state)
{
    (void)state;
    fresh(CUDASIM_SHUFFLED);
    cudaStream_t s = new_stream();
    unsigned *total = device_array<unsigned>(1);
    int *highest = device_array<int>(1);
    float *sum = device_array<float>(1);
    OK(cudaMemsetAsync(total, 0, sizeof *total, s));
    OK(cudaMemsetAsync(highest, 0x80, sizeof *highest, s));
    OK(cudaMemsetAsync(sum, 0, sizeof *sum, s));
    ZO2_LAUNCH(count, 5, 64, 0, s, total, highest, sum);
    pinned<unsigned> h(3);
    OK(cudaMemcpyAsync(&h[0], total, 4, cudaMemcpyDeviceToHost, s));
    OK(cudaMemcpyAsync(&h[1], highest, 4, cudaMemcpyDeviceToHost, s));
    OK(cudaMemcpyAsync(&h[2], sum, 4, cudaMemcpyDeviceToHost, s));
    OK(cudaStreamSynchronize(s));
    assert_int_equal(h[0], 5 * 64);
    assert_int_equal(h[1], 60);
    assert_true(__uint_as_float(h[2]) == 160.0f);
    reported_nothing();
}

/* What nobody wrote is NaN, in device and in shared memory, and anew for each block. */
static __global__ void unwritten(float *out)
{
    ZO2_SHARED(float, a, 33);
    ZO2_DYNAMIC_SHARED(float, d);
    out[blockIdx.x * 2] = a[32];
    out[blockIdx.x * 2 + 1] = d[3];
    a[32] = d[3] = 1;
}

static void memory_starts_as_nan(void **state)
{
    (void)state;
    fresh(CUDASIM_FORWARD);
    cudaStream_t s = new_stream();
    float *d = device_array<float>(101);
    pinned<float> h(101);
    ZO2_LAUNCH(unwritten, 2, 1, 16, s, d);
    download(h, d, s);
    OK(cudaStreamSynchronize(s));
    for (unsigned i = 0; i < 101; i++)
        assert_int_equal(__float_as_uint(h[i]), 0xFFFFFFFFu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_thread_of_every_block_runs_once),
        cmocka_unit_test(barriers_and_shared_memory),
        cmocka_unit_test(warp_operations),
        cmocka_unit_test(atomics),
        cmocka_unit_test(memory_starts_as_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

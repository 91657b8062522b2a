/* What a launch may not ask for, and what a kernel may not do: refused or reported, with kernel, thread and line. */
#include "testing.h"

static void fresh(void)
{
    cudasim_config c = {};
    c.quiet = 1;
    cudasim_reset(&c);
}

static ZO2_LAUNCH_BOUNDS(128) __global__ void bounded(int *p)
{
    if (threadIdx.x + blockIdx.x + blockIdx.y + blockIdx.z == 0)
        *p = 1;
}
template <class T> static __global__ void unbounded(T *p)
{
    if (threadIdx.x + blockIdx.x + blockIdx.y + blockIdx.z == 0)
        *p = 1;
}
template <class T> ZO2_LAUNCH_BOUNDS(1024) __global__ void bounded_template(T *p)
{
    if (threadIdx.x + blockIdx.x + blockIdx.y + blockIdx.z == 0)
        *p = 1;
}

static void launch_refused(cudaError_t want, const char *part)
{
    assert_int_equal(cudaGetLastError(), want);
    reported(part);
    OK(cudaDeviceSynchronize()); /* not sticky, and nothing runs */
    cudasim_stats s;
    cudasim_get_stats(&s);
    assert_int_equal(s.kernels, 0);
}

static void launches(void **state)
{
    (void)state;
    static const struct {
        dim3 grid, block;
        size_t shared;
        cudaError_t want;
        const char *part;
    } cases[] = {
        {dim3(0), dim3(32), 0, cudaErrorInvalidConfiguration, "empty grid"},
        {dim3(1, 0), dim3(32), 0, cudaErrorInvalidConfiguration, "empty grid"},
        {dim3(1), dim3(0), 0, cudaErrorInvalidConfiguration, "block of 0"},
        {dim3(1), dim3(1025), 0, cudaErrorInvalidConfiguration, "block of 1025"},
        {dim3(1), dim3(32, 33), 0, cudaErrorInvalidConfiguration, "block of 32 x 33"},
        {dim3(1), dim3(1, 1, 65), 0, cudaErrorInvalidConfiguration, "block of 1 x 1 x 65"},
        {dim3(1, 65536), dim3(32), 0, cudaErrorInvalidConfiguration, "65535"},
        {dim3(1, 1, 65536), dim3(32), 0, cudaErrorInvalidConfiguration, "65535"},
        {dim3(0x80000000u), dim3(32), 0, cudaErrorInvalidConfiguration, "2147483647"},
        {dim3(1), dim3(32), 49153, cudaErrorInvalidValue, "49153 bytes of dynamic shared memory"},
    };
    for (const auto &k : cases) {
        fresh();
        cudaStream_t s = new_stream();
        int *p = device_array<int>(1);
        ZO2_LAUNCH((unbounded<int>), k.grid, k.block, k.shared, s, p);
        launch_refused(k.want, k.part);
    }
    fresh();
    cudaStream_t s = new_stream();
    int *p = device_array<int>(1);
    ZO2_LAUNCH(bounded, 1, 129, 0, s, p);
    launch_refused(cudaErrorLaunchOutOfResources, "bounded: 129 threads in a block, its launch bounds are 128");
    ZO2_LAUNCH(bounded, dim3(1, 2, 3), 128, 48 * 1024, s, p);
    OK(cudaGetLastError());
    OK(cudaDeviceSynchronize());
    cudaFuncAttributes a;
    OK(cudaFuncGetAttributes(&a, bounded));
    assert_int_equal(a.maxThreadsPerBlock, 128);
    OK(cudaFuncGetAttributes(&a, bounded_template<int>));
    assert_int_equal(a.maxThreadsPerBlock, 1024);
    OK(cudaFuncGetAttributes(&a, unbounded<int>));
    assert_int_equal(a.maxThreadsPerBlock, 1024);
}

static __global__ void big_shared(int *p)
{
    ZO2_DYNAMIC_SHARED(int, all);
    all[threadIdx.x] = *p;
}

static void more_shared_memory_on_request(void **state)
{
    (void)state;
    fresh();
    cudaStream_t s = new_stream();
    int *p = device_array<int>(1);
    OK(cudaFuncSetAttribute(big_shared, cudaFuncAttributeMaxDynamicSharedMemorySize, 100 * 1024));
    ZO2_LAUNCH(big_shared, 1, 32, 100 * 1024, s, p);
    OK(cudaGetLastError());
    OK(cudaDeviceSynchronize());
    reported_nothing();
    assert_int_equal(cudaFuncSetAttribute(big_shared, cudaFuncAttributeMaxDynamicSharedMemorySize, 164 * 1024),
                     cudaErrorInvalidValue); /* a block of compute capability 8.0 can have 163 KiB */
}

static void kernels_are_loaded_early_or_counted(void **state)
{
    (void)state;
    fresh();
    cudaStream_t s = new_stream();
    int *p = device_array<int>(1);
    cudaFuncAttributes a;
    OK(cudaFuncGetAttributes(&a, bounded));
    ZO2_LAUNCH(bounded, 1, 1, 0, s, p);
    cudasim_stats stats;
    cudasim_get_stats(&stats);
    assert_int_equal(stats.lazy_kernels, 0);
    ZO2_LAUNCH((unbounded<int>), 1, 1, 0, s, p);
    ZO2_LAUNCH((unbounded<int>), 1, 1, 0, s, p);
    cudasim_get_stats(&stats);
    assert_int_equal(stats.lazy_kernels, 1);
    OK(cudaDeviceSynchronize());
}

/* ---- what ends a kernel ---------------------------------------------------------------------------------------- */

enum wrong {
    DIVERGENT_EXIT,
    DIVERGENT_BRANCH,
    BARRIER_AGAINST_SHUFFLE,
    LANE_RETURNED,
    LANE_NOT_THERE,
    NOT_IN_MASK,
    READS_OUTSIDE_MASK,
    OTHER_OPERATION,
    TOO_MUCH_STATIC,
    NO_DYNAMIC,
    WRITES_PAST_SHARED,
    N_WRONG
};

static __global__ void misbehave(int *p, int what)
{
    unsigned t = threadIdx.x, all = 0xFFFFFFFFu;
    switch (what) {
    case DIVERGENT_EXIT:
        if (t == 5)
            return;
        __syncthreads();
        break;
    case DIVERGENT_BRANCH:
        if (t < 20)
            __syncthreads();
        else
            __syncthreads();
        break;
    case BARRIER_AGAINST_SHUFFLE:
        if (t == 7)
            __syncthreads();
        else
            p[t] = __shfl_sync(all, 1, 0);
        break;
    case LANE_RETURNED:
        if (t == 9)
            return;
        p[t] = __shfl_xor_sync(all, 1, 1);
        break;
    case LANE_NOT_THERE:
        if (t >= 32)
            p[t] = __shfl_xor_sync(all, 1, 1);
        break;
    case NOT_IN_MASK: p[t] = __shfl_xor_sync(0xFFFFu, 1, 1); break;
    case READS_OUTSIDE_MASK:
        if (t < 16)
            p[t] = __shfl_xor_sync(0xFFFFu, 1, 16);
        break;
    case OTHER_OPERATION:
        if (t < 16)
            __syncwarp();
        else
            p[t] = static_cast<int>(__ballot_sync(all, 1));
        break;
    case TOO_MUCH_STATIC: {
        ZO2_SHARED(char, a, 40000);
        ZO2_SHARED(char, b, 10000);
        a[t] = b[t];
        break;
    }
    case NO_DYNAMIC: {
        ZO2_DYNAMIC_SHARED(int, d);
        p[t] = d[0];
        break;
    }
    case WRITES_PAST_SHARED: {
        ZO2_SHARED(int, a, 8);
        int *volatile hidden = a; /* from the compiler, which would say so */
        if (t == 0)
            hidden[8] = 1;
        break;
    }
    default: break;
    }
}

static void misbehaviour_is_reported(void **state)
{
    (void)state;
    static const char *const parts[N_WRONG] = {
        "thread (0, 0, 0) waits in __syncthreads() at test_cudasim_limits.cpp:",
        "is in __syncthreads() at test_cudasim_limits.cpp:",
        "waits in a shuffle at test_cudasim_limits.cpp:",
        "thread (9, 0, 0) has returned",
        "but the block has 40 threads",
        "without its own bit in the mask 0xffff",
        "reads lane 16, which is not in the mask",
        "waits in __syncwarp()",
        "50000 of them static",
        "was launched without",
        "wrote outside its shared array a",
    };
    for (int what = 0; what < N_WRONG; what++) {
#if defined(__SANITIZE_ADDRESS__)
        if (what == WRITES_PAST_SHARED)
            continue; /* the sanitizer ends the program: test_cudasim_mutants */
#endif
        fresh();
        cudaStream_t s = new_stream();
        int *p = device_array<int>(64);
        ZO2_LAUNCH(misbehave, 1, what == LANE_NOT_THERE ? 40 : 32, 0, s, p, what);
        OK(cudaGetLastError());
        assert_int_equal(cudaStreamSynchronize(s), cudaErrorLaunchFailure);
        reported("misbehave: block (0, 0, 0)");
        reported(parts[what]);
        assert_int_equal(cudaMemsetAsync(p, 0, 4, s), cudaErrorLaunchFailure); /* sticky */
    }
    fresh(); /* and the next device is as good as new */
    cudaStream_t s = new_stream();
    int *p = device_array<int>(64);
    ZO2_LAUNCH(misbehave, 1, 64, 0, s, p, N_WRONG);
    OK(cudaStreamSynchronize(s));
    reported_nothing();
}

struct with_pointers {
    int n;
    const int *p;
};
static __global__ void takes(with_pointers w, int *out)
{
    *out = w.n;
}

static void host_addresses_are_reported(void **state)
{
    (void)state;
    fresh();
    cudaStream_t s = new_stream();
    int *p = device_array<int>(4);
    std::vector<int> heap(1);
    with_pointers w = {};
    w.n = 4;
    w.p = p + 4; /* one past the end is nobody's fault */
    ZO2_LAUNCH(takes, 1, 1, 0, s, w, p);
    reported_nothing();
    w.p = heap.data();
    ZO2_LAUNCH(takes, 1, 1, 0, s, w, p);
    reported("takes: its argument 0 holds a host address at byte 8");
    OK(cudaDeviceSynchronize());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(launches),
        cmocka_unit_test(more_shared_memory_on_request),
        cmocka_unit_test(kernels_are_loaded_early_or_counted),
        cmocka_unit_test(misbehaviour_is_reported),
        cmocka_unit_test(host_addresses_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

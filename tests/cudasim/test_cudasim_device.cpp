/* The simulated device: its memory, its budget, its errors and those that tests inject. */
#include "testing.h"

#include <thread>

static cudasim_config base(void)
{
    cudasim_config c = {};
    c.quiet = 1;
    c.device_bytes = 10 << 20;
    c.context_bytes = 2 << 20;
    return c;
}

static void memory_is_counted(void **state)
{
    (void)state;
    cudasim_config c = base();
    cudasim_reset(&c);
    size_t free_bytes, total;
    OK(cudaMemGetInfo(&free_bytes, &total));
    assert_int_equal(total, 10 << 20);
    assert_int_equal(free_bytes, 8 << 20); /* the context is there with the first call that needs it */
    void *a, *b;
    OK(cudaMalloc(&a, 5 << 20));
    assert_int_equal(cudaMalloc(&b, (3 << 20) + 1), cudaErrorMemoryAllocation);
    assert_null(b);
    assert_int_equal(cudaGetLastError(), cudaErrorMemoryAllocation);
    OK(cudaGetLastError()); /* told once */
    OK(cudaMalloc(&b, 3 << 20));
    OK(cudaMemGetInfo(&free_bytes, &total));
    assert_int_equal(free_bytes, 0);
    OK(cudaFree(a));
    OK(cudaFree(nullptr));
    cudasim_stats s;
    cudasim_get_stats(&s);
    assert_int_equal(s.device_bytes, 5 << 20);
    assert_int_equal(s.peak_device_bytes, 10 << 20);
    assert_int_equal(s.live_allocations, 1);
    assert_int_equal(s.allocations, 2);
    assert_int_equal(cudaFree(static_cast<char *>(b) + 256), cudaErrorInvalidValue);
    assert_int_equal(reinterpret_cast<uintptr_t>(b) % 256, 0);
    c.context_bytes = 11 << 20; /* more than there is */
    cudasim_reset(&c);
    assert_int_equal(cudaMalloc(&a, 1), cudaErrorMemoryAllocation);
}

static void registration(void **state)
{
    (void)state;
    cudasim_config c = base();
    c.pinned_bytes = 3000;
    cudasim_reset(&c);
    std::vector<char> v(8192);
    OK(cudaHostRegister(&v[1000], 1000, 0));
    assert_int_equal(cudaHostRegister(&v[1999], 10, 0), cudaErrorHostMemoryAlreadyRegistered);
    assert_int_equal(cudaHostRegister(&v[0], 1001, 0), cudaErrorHostMemoryAlreadyRegistered);
    assert_int_equal(cudaHostRegister(&v[2000], 2001, 0), cudaErrorMemoryAllocation); /* RLIMIT_MEMLOCK */
    OK(cudaHostRegister(&v[2000], 2000, cudaHostRegisterPortable));
    assert_int_equal(cudaHostUnregister(&v[1001]), cudaErrorHostMemoryNotRegistered);
    OK(cudaHostUnregister(&v[1000]));
    cudasim_stats s;
    cudasim_get_stats(&s);
    assert_int_equal(s.pinned_bytes, 2000);
    assert_int_equal(s.live_registrations, 1);
}

static void no_driver_no_device(void **state)
{
    (void)state;
    for (cudaError_t e : {cudaErrorInsufficientDriver, cudaErrorNoDevice}) {
        cudasim_config c = base();
        c.start_error = e;
        cudasim_reset(&c);
        int n = 7, version = 7;
        void *p;
        assert_int_equal(cudaGetDeviceCount(&n), e);
        assert_int_equal(n, 0);
        assert_int_equal(cudaMalloc(&p, 1), e);
        OK(cudaDriverGetVersion(&version));
        assert_int_equal(version != 0, e != cudaErrorInsufficientDriver);
        assert_string_equal(cudaGetErrorName(e),
                            e == cudaErrorNoDevice ? "cudaErrorNoDevice" : "cudaErrorInsufficientDriver");
    }
}

static void architecture(void **state)
{
    (void)state;
    cudasim_config c = base();
    c.major = 6;
    c.minor = 1;
    cudasim_reset(&c);
    cudaDeviceProp p;
    int value;
    OK(cudaGetDeviceProperties(&p, 0));
    assert_int_equal(p.major * 10 + p.minor, 61);
    OK(cudaDeviceGetAttribute(&value, cudaDevAttrComputeCapabilityMajor, 0));
    assert_int_equal(value, 6);
    assert_int_equal(cudaGetDeviceProperties(&p, 1), cudaErrorInvalidDevice);
    assert_int_equal(cudaSetDevice(1), cudaErrorInvalidDevice);
}

static __global__ void store(int *p, int v)
{
    *p = v;
}

/* The n-th call of a function fails; a passing error passes, a lost device stays lost. */
static void injected_call(void **state)
{
    (void)state;
    cudasim_config c = base();
    c.fail_name = "cudaMalloc";
    c.fail_call = 2;
    c.fail_error = cudaErrorMemoryAllocation;
    cudasim_reset(&c);
    void *p;
    OK(cudaMalloc(&p, 1));
    cudaStream_t s = new_stream();
    assert_int_equal(cudaMalloc(&p, 1), cudaErrorMemoryAllocation);
    OK(cudaMalloc(&p, 1));
    OK(cudaStreamSynchronize(s));

    c.fail_name = nullptr;
    c.fail_call = 3;
    c.fail_error = cudaErrorECCUncorrectable;
    cudasim_reset(&c);
    s = new_stream();
    int *d = device_array<int>(1);
    assert_int_equal(cudaMemsetAsync(d, 0, 4, s), cudaErrorECCUncorrectable);
    assert_int_equal(cudaMemsetAsync(d, 0, 4, s), cudaErrorECCUncorrectable);
    assert_int_equal(cudaGetLastError(), cudaErrorECCUncorrectable);
    assert_int_equal(cudaGetLastError(), cudaErrorECCUncorrectable); /* sticky */
    assert_int_equal(cudaStreamDestroy(s), cudaErrorECCUncorrectable);
    cudasim_stats stats;
    cudasim_get_stats(&stats);
    assert_int_equal(stats.live_streams, 0);
}

/* A fault on the device shows where the host waits next, and nothing runs after it. */
static void injected_operation(void **state)
{
    (void)state;
    cudasim_config c = base();
    c.fail_operation = 2;
    c.fail_error = cudaErrorIllegalAddress;
    cudasim_reset(&c);
    cudaStream_t s = new_stream();
    int *d = device_array<int>(1);
    for (int i = 0; i < 3; i++)
        ZO2_LAUNCH(store, 1, 1, 0, s, d, i);
    OK(cudaGetLastError());
    assert_int_equal(cudaStreamSynchronize(s), cudaErrorIllegalAddress);
    assert_int_equal(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
    cudasim_stats stats;
    cudasim_get_stats(&stats);
    assert_int_equal(stats.kernels, 1);
}

/* The last error is that of a host thread, and a lost context everybody's. */
static void last_errors_are_a_threads(void **state)
{
    (void)state;
    cudasim_config c = base();
    c.fail_call = 1;
    c.fail_name = "cudaMemGetInfo";
    c.fail_error = cudaErrorIllegalAddress;
    cudasim_reset(&c);
    cudaError_t there[3];
    assert_int_equal(cudaSetDevice(1), cudaErrorInvalidDevice);
    std::thread([&there] {
        there[0] = cudaGetLastError();
        (void)cudaFree(&there);
        there[1] = cudaPeekAtLastError();
    }).join();
    assert_int_equal(there[0], cudaSuccess);
    assert_int_not_equal(there[1], cudaSuccess);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidDevice);
    OK(cudaGetLastError());
    size_t free_bytes, total;
    assert_int_equal(cudaMemGetInfo(&free_bytes, &total), cudaErrorIllegalAddress);
    std::thread([&there] { there[2] = cudaGetLastError(); }).join();
    assert_int_equal(there[2], cudaErrorIllegalAddress);
    cudasim_reset(nullptr);
    OK(cudaGetLastError());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_counted),  cmocka_unit_test(last_errors_are_a_threads),
        cmocka_unit_test(registration),       cmocka_unit_test(no_driver_no_device),
        cmocka_unit_test(architecture),       cmocka_unit_test(injected_call),
        cmocka_unit_test(injected_operation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

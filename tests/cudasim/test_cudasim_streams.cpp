/* Streams are queues that run when the host waits, in the order asked for; events order them; what real programs must
 * not do is refused. */
#include "testing.h"

static void fresh(cudasim_order order, uint64_t seed)
{
    cudasim_config c = {};
    c.order = order;
    c.seed = seed;
    c.quiet = 1;
    cudasim_reset(&c);
}

static __global__ void append(int *log, int what)
{
    log[1 + atomicAdd(log, 1)] = what; /* streams may do so at once */
}

/* The order in which two streams with three kernels each run: 10 11 12 and 20 21 22, digits in a number. */
static long run_order(cudasim_order order, uint64_t seed, bool wait)
{
    fresh(order, seed);
    cudaStream_t a = new_stream(), b = new_stream();
    cudaEvent_t e;
    OK(cudaEventCreateWithFlags(&e, cudaEventDisableTiming));
    int *log = device_array<int>(7);
    pinned<int> h(7);
    OK(cudaMemsetAsync(log, 0, 4, a));
    OK(cudaStreamSynchronize(a));
    for (int i = 0; i < 3; i++) {
        ZO2_LAUNCH(append, 1, 1, 0, a, log, 1);
        if (wait && i == 0)
            OK(cudaEventRecord(e, a));
        if (wait && i == 0)
            OK(cudaStreamWaitEvent(b, e, 0));
        ZO2_LAUNCH(append, 1, 1, 0, b, log, 2);
    }
    OK(cudaDeviceSynchronize());
    download(h, log, a);
    OK(cudaStreamSynchronize(a));
    reported_nothing();
    long digits = 0;
    for (int i = 1; i < 7; i++)
        digits = digits * 10 + h[static_cast<size_t>(i)];
    return digits;
}

static void orders(void **state)
{
    (void)state;
    assert_int_equal(run_order(CUDASIM_FIFO, 0, false), 121212);
    assert_int_equal(run_order(CUDASIM_LIFO, 0, false), 222111);
    assert_int_equal(run_order(CUDASIM_LIFO, 0, true), 111222); /* b can go on only when a has, and a has later work */
    bool differs = false;
    for (uint64_t seed = 0; seed < 8; seed++) {
        long first = run_order(CUDASIM_SEEDED, seed, false);
        assert_int_equal(run_order(CUDASIM_SEEDED, seed, false), first);
        differs = differs || first != 121212;
        assert_int_equal(run_order(CUDASIM_SEEDED, seed, true) / 100000, 1); /* the wait: 1 is first */
    }
    assert_true(differs);
}

/* Waiting for an event runs what the event needs and no more; a poll makes progress. */
static void events(void **state)
{
    (void)state;
    fresh(CUDASIM_FIFO, 0);
    cudaStream_t s = new_stream();
    cudaEvent_t e, timed[2];
    OK(cudaEventCreateWithFlags(&e, cudaEventDisableTiming));
    for (cudaEvent_t &t : timed)
        OK(cudaEventCreateWithFlags(&t, cudaEventDefault));
    OK(cudaEventQuery(e)); /* never recorded counts as done */
    OK(cudaEventSynchronize(e));
    OK(cudaStreamWaitEvent(s, e, 0));
    int *log = device_array<int>(7);
    OK(cudaMemsetAsync(log, 0, 4, s));
    OK(cudaEventRecord(timed[0], s));
    ZO2_LAUNCH(append, 1, 1, 0, s, log, 1);
    OK(cudaEventRecord(e, s));
    ZO2_LAUNCH(append, 1, 1, 0, s, log, 1);
    OK(cudaEventRecord(timed[1], s));
    OK(cudaEventSynchronize(e));
    cudasim_stats stats;
    cudasim_get_stats(&stats);
    assert_int_equal(stats.kernels, 1);
    OK(cudaEventQuery(e));
    assert_int_equal(cudaStreamQuery(s), cudaErrorNotReady);
    assert_int_equal(cudaGetLastError(), cudaErrorNotReady);
    int polls = 0;
    while (cudaEventQuery(timed[1]) == cudaErrorNotReady)
        polls++;
    assert_in_range(polls, 100, 104); /* that many let nothing run */
    assert_int_equal(cudaGetLastError(), cudaErrorNotReady);
    OK(cudaStreamQuery(s));
    cudasim_get_stats(&stats);
    assert_int_equal(stats.kernels, 2);
    reported_nothing();
}

/* Times are the host's, and what operations are told to take; asking waits for nothing and lets nothing run. */
static void elapsed_time(void **state)
{
    (void)state;
    cudasim_config c = {};
    c.operation_ns = 5000000;
    cudasim_reset(&c);
    cudaStream_t s = new_stream(), other = new_stream();
    cudaEvent_t from, to, untimed, never, behind;
    for (cudaEvent_t *e : {&from, &to, &never, &behind})
        OK(cudaEventCreateWithFlags(e, cudaEventDefault));
    OK(cudaEventCreateWithFlags(&untimed, cudaEventDisableTiming));
    int *d = device_array<int>(4);
    float ms = -1;
    OK(cudaMemsetAsync(d, 0, 4, s));
    OK(cudaEventRecord(from, s));
    OK(cudaEventRecord(untimed, s));
    for (int i = 0; i < 3; i++)
        OK(cudaMemsetAsync(d, 0, 4, s));
    OK(cudaEventRecord(to, s));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(cudaEventElapsedTime(&ms, from, to), cudaErrorNotReady);
        assert_int_equal(cudaGetLastError(), cudaErrorNotReady);
    }
    cudasim_stats stats;
    cudasim_get_stats(&stats);
    assert_int_equal(stats.operations, 0);
    OK(cudaEventRecord(behind, s));
    OK(cudaEventSynchronize(from));
    assert_int_equal(cudaEventElapsedTime(&ms, from, to), cudaErrorNotReady);
    OK(cudaEventSynchronize(behind));
    assert_int_equal(cudaEventElapsedTime(&ms, from, to), cudaErrorNotReady); /* it has passed, and nobody has asked */
    OK(cudaEventQuery(to));
    OK(cudaEventElapsedTime(&ms, from, to));
    assert_true(ms >= 15 && ms < 60000);
    float back = 0;
    OK(cudaEventElapsedTime(&back, to, from));
    assert_true(back == -ms);
    OK(cudaMemsetAsync(d, 0, 4, other));
    OK(cudaEventRecord(to, other)); /* anew, and in another stream */
    assert_int_equal(cudaEventElapsedTime(&ms, from, to), cudaErrorNotReady);
    OK(cudaStreamSynchronize(other));
    OK(cudaEventElapsedTime(&back, from, to));
    assert_true(back >= 20 && back < 60000);
    for (cudaEvent_t e : {untimed, never}) { /* has no time; has none yet */
        assert_int_equal(cudaEventElapsedTime(&ms, from, e), cudaErrorInvalidResourceHandle);
        assert_int_equal(cudaEventElapsedTime(&ms, e, to), cudaErrorInvalidResourceHandle);
    }
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidResourceHandle);
    reported_nothing();
}

static void refused(cudaError_t got, cudaError_t want, const char *part)
{
    assert_int_equal(got, want);
    assert_int_equal(cudaGetLastError(), want);
    OK(cudaGetLastError());
    reported(part);
    fresh(CUDASIM_FIFO, 0);
}

static void default_stream_is_refused(void **state)
{
    (void)state;
    fresh(CUDASIM_FIFO, 0);
    int *d = device_array<int>(4);
    refused(cudaMemsetAsync(d, 0, 4, nullptr), cudaErrorInvalidResourceHandle, "default stream");
    d = device_array<int>(4);
    ZO2_LAUNCH(append, 1, 1, 0, nullptr, d, 1);
    refused(cudaPeekAtLastError(), cudaErrorInvalidResourceHandle, "default stream");
    cudaEvent_t e;
    OK(cudaEventCreateWithFlags(&e, 0));
    refused(cudaEventRecord(e, nullptr), cudaErrorInvalidResourceHandle, "default stream");
    OK(cudaEventCreateWithFlags(&e, 0));
    cudaStream_t s = new_stream();
    OK(cudaStreamDestroy(s));
    refused(cudaEventRecord(e, s), cudaErrorInvalidResourceHandle, "is not a stream");
}

static void copies_are_checked(void **state)
{
    (void)state;
    for (int wrong = 0; wrong < 7; wrong++) {
        fresh(CUDASIM_FIFO, 0);
        cudaStream_t s = new_stream();
        unsigned char *d = device_array<unsigned char>(100);
        unsigned char pageable[100] = {0};
        pinned<unsigned char> h(100);
        cudasim_stats stats;
        switch (wrong) {
        case 0:
            refused(cudaMemcpyAsync(d, h.data(), 100, cudaMemcpyDefault, s), cudaErrorInvalidMemcpyDirection,
                    "which way it goes");
            break;
        case 1:
            refused(cudaMemcpyAsync(d, h.data(), 100, cudaMemcpyDeviceToHost, s), cudaErrorInvalidValue, "destination");
            break;
        case 2:
            refused(cudaMemcpyAsync(h.data(), d, 100, cudaMemcpyHostToDevice, s), cudaErrorInvalidValue, "destination");
            break;
        case 3:
            assert_int_equal(cudaMemcpyAsync(d, pageable, 100, cudaMemcpyHostToDevice, s), cudaErrorInvalidValue);
            cudasim_get_stats(&stats);
            assert_int_equal(stats.pageable_copies, 1);
            reported("is not registered host memory");
            break;
        case 4:
            refused(cudaMemcpyAsync(d + 1, h.data(), 100, cudaMemcpyHostToDevice, s), cudaErrorInvalidValue,
                    "not device memory");
            break;
        case 5:
            refused(cudaMemcpyAsync(d, h.data() + 1, 100, cudaMemcpyHostToDevice, s), cudaErrorInvalidValue,
                    "not registered");
            break;
        default: refused(cudaMemsetAsync(d + 1, 0, 100, s), cudaErrorInvalidValue, "not device memory");
        }
    }
    fresh(CUDASIM_FIFO, 0);
}

/* A copy reads the host's memory when it runs, not when it is asked for. */
static void copies_run_late(void **state)
{
    (void)state;
    fresh(CUDASIM_FIFO, 0);
    cudaStream_t s = new_stream();
    int *d = device_array<int>(1);
    pinned<int> from(1, 1), to(1);
    upload(d, from, s);
#if !defined(__SANITIZE_THREAD__)
    from[0] = 2; /* a bug in a real program: ThreadSanitizer would say so */
    const int want = 2;
#else
    const int want = 1;
#endif
    download(to, d, s);
    OK(cudaStreamSynchronize(s));
    assert_int_equal(to[0], want);
    cudasim_stats stats;
    cudasim_get_stats(&stats);
    assert_int_equal(stats.copied_to_device, 4);
    assert_int_equal(stats.copied_from_device, 4);
    reported_nothing();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(orders),
        cmocka_unit_test(events),
        cmocka_unit_test(elapsed_time),
        cmocka_unit_test(default_stream_is_refused),
        cmocka_unit_test(copies_are_checked),
        cmocka_unit_test(copies_run_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

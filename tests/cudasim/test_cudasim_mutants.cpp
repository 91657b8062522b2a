/* Small programs that do what real ones must not: each is caught where the simulator says it would be, and its correct
 * twin is not. Mutants run in a child process, because being caught may mean being killed. */
#include "testing.h"

#include "mutants.h"

static const cudasim_order orders[] = {CUDASIM_FIFO, CUDASIM_LIFO, CUDASIM_SEEDED};
static const cudasim_threads thread_orders[] = {CUDASIM_FORWARD, CUDASIM_REVERSE, CUDASIM_SHUFFLED};

static void fresh(int variant)
{
    cudasim_config c = {};
    c.order = orders[variant % 3];
    c.threads = thread_orders[variant % 3];
    c.seed = static_cast<uint64_t>(variant);
    c.quiet = 1;
    cudasim_reset(&c);
}

/* ---- kernels --------------------------------------------------------------------------------------------------- */

static __global__ void add_one(int *x, int n)
{
    int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < n)
        x[i] += 1;
}

/* y = x back to front within a block. */
static __global__ void reverse(const int *x, int *y, int with_barrier)
{
    ZO2_SHARED(int, part, 64);
    part[threadIdx.x] = x[threadIdx.x];
    if (with_barrier)
        __syncthreads();
    y[threadIdx.x] = part[63 - threadIdx.x];
}

/* Three times: everybody takes the left neighbour's value. The second barrier protects what is still to be read. */
static __global__ void rotate(int *y, int with_barrier)
{
    ZO2_SHARED(int, part, 64);
    part[threadIdx.x] = static_cast<int>(threadIdx.x);
    __syncthreads();
    for (int i = 0; i < 3; i++) {
        int left = part[(threadIdx.x + 63) % 64];
        if (with_barrier)
            __syncthreads();
        part[threadIdx.x] = left;
        __syncthreads();
    }
    y[threadIdx.x] = part[threadIdx.x];
}

/* reverse() for a warp. */
static __global__ void reverse_warp(const int *x, int *y, int with_barrier)
{
    ZO2_SHARED(int, part, 32);
    part[threadIdx.x] = x[threadIdx.x];
    if (with_barrier)
        __syncwarp();
    y[threadIdx.x] = part[31 - threadIdx.x];
}

static __global__ void load_wide(const int *x, int *y)
{
    const uint4 v = *reinterpret_cast<const uint4 *>(x);
    *y = static_cast<int>(v.x + v.y + v.z + v.w);
}

static __global__ void count(int *n, int atomic)
{
    if (atomic)
        atomicAdd(n, 1);
    else
        *n += 1;
}

static __global__ void read_shared(int *y, int last)
{
    ZO2_SHARED(int, a, 10);
    for (int i = 0; i < 10; i++)
        a[i] = i;
    int *volatile hidden = a;
    *y = hidden[last];
}

/* ---- programs: 0 if the result is right ------------------------------------------------------------------------ */

static int compare(pinned<int> &got, int (*want)(int))
{
    for (size_t i = 0; i < got.v.size(); i++)
        if (got[i] != want(static_cast<int>(i)))
            return 1;
    return 0;
}

static int host_touches_device_memory(bool mutant)
{
    int *d = device_array<int>(4);
    cudaStream_t s = new_stream();
    OK(cudaMemsetAsync(d, 0, 16, s));
    OK(cudaStreamSynchronize(s));
    return mutant ? *static_cast<volatile int *>(d) : 0;
}

/* 1,024 numbers are whole pages: the next address is a guard page. 1,000 leave a rest that only a sanitizer guards. */
static int past_the_end(int n, bool mutant)
{
    cudaStream_t s = new_stream();
    int *d = device_array<int>(static_cast<size_t>(n));
    pinned<int> h(static_cast<size_t>(n), 5);
    upload(d, h, s);
    ZO2_LAUNCH(add_one, 5, 256, 0, s, d, mutant ? n + 1 : n);
    download(h, d, s);
    OK(cudaStreamSynchronize(s));
    return compare(h, [](int) { return 6; });
}
static int bounds_check_of_whole_pages(bool mutant)
{
    return past_the_end(1024, mutant);
}
static int bounds_check(bool mutant)
{
    return past_the_end(1000, mutant);
}

static int use_after_free(bool mutant)
{
    cudaStream_t s = new_stream();
    int *d = device_array<int>(64), *y = device_array<int>(64);
    pinned<int> h(64, 5);
    upload(d, h, s);
    if (mutant)
        OK(cudaFree(d));
    ZO2_LAUNCH(add_one, 1, 64, 0, s, d, 64);
    OK(cudaStreamSynchronize(s));
    return y == nullptr;
}

template <class K> static int with_shared(K kernel, bool mutant)
{
    cudaStream_t s = new_stream();
    int *x = device_array<int>(64), *y = device_array<int>(64);
    pinned<int> h(64);
    for (int i = 0; i < 64; i++)
        h[static_cast<size_t>(i)] = i;
    upload(x, h, s);
    ZO2_LAUNCH(kernel, 1, 64, 0, s, x, y, !mutant);
    download(h, y, s);
    OK(cudaStreamSynchronize(s));
    return compare(h, [](int i) { return 63 - i; });
}
static int barrier_before_reading(bool mutant)
{
    return with_shared(reverse, mutant);
}

static int barrier_before_overwriting(bool mutant)
{
    cudaStream_t s = new_stream();
    int *y = device_array<int>(64);
    pinned<int> h(64);
    ZO2_LAUNCH(rotate, 1, 64, 0, s, y, !mutant);
    download(h, y, s);
    OK(cudaStreamSynchronize(s));
    return compare(h, [](int i) { return (i + 61) % 64; });
}

static int warp_barrier(bool mutant)
{
    cudaStream_t s = new_stream();
    int *x = device_array<int>(32), *y = device_array<int>(32);
    pinned<int> h(32, 7);
    upload(x, h, s);
    ZO2_LAUNCH(reverse_warp, 1, 32, 0, s, x, y, !mutant);
    download(h, y, s);
    OK(cudaStreamSynchronize(s));
    return compare(h, [](int) { return 7; });
}

static int shared_array_bounds(bool mutant)
{
    cudaStream_t s = new_stream();
    int *y = device_array<int>(1);
    pinned<int> h(1);
    ZO2_LAUNCH(read_shared, 1, 1, 0, s, y, mutant ? 10 : 9);
    download(h, y, s);
    OK(cudaStreamSynchronize(s));
    return h[0] != 9;
}

static int misaligned_load(bool mutant)
{
    cudaStream_t s = new_stream();
    int *x = device_array<int>(8), *y = device_array<int>(1);
    pinned<int> h(8, 3), sum(1);
    upload(x, h, s);
    ZO2_LAUNCH(load_wide, 1, 1, 0, s, x + (mutant ? 1 : 0), y);
    download(sum, y, s);
    OK(cudaStreamSynchronize(s));
    return sum[0] != 12;
}

static int race_of_blocks(bool mutant)
{
    cudaStream_t s = new_stream();
    int *n = device_array<int>(1);
    OK(cudaMemsetAsync(n, 0, 4, s));
    ZO2_LAUNCH(count, 8, 1, 0, s, n, !mutant);
    OK(cudaStreamSynchronize(s));
    return 0; /* one block after another: the sum is right all the same */
}

static int race_of_threads(bool mutant)
{
    cudaStream_t s = new_stream();
    int *n = device_array<int>(1);
    OK(cudaMemsetAsync(n, 0, 4, s));
    ZO2_LAUNCH(count, 1, 2, 0, s, n, !mutant);
    OK(cudaStreamSynchronize(s));
    return 0;
}

/* Two slots, an upload stream and a compute stream, as the engine has them: chunk i goes up into slot i % 2, is summed
 * into out[i], and comes back by the upload stream. Mutants forget one of the waits. */
enum ring_wait { NO_MUTANT, COMPUTE_ON_UPLOAD, UPLOAD_ON_SLOT, DOWNLOAD_ON_COMPUTE, HOST_ON_UPLOAD };

static __global__ void take(const int *slot, int *out)
{
    *out = slot[0] + slot[7];
}

static int ring(ring_wait forgotten)
{
    const size_t chunks = 6;
    cudaStream_t up = new_stream(), compute = new_stream();
    cudaEvent_t uploaded[2], free_again[2], computed;
    for (int i = 0; i < 2; i++) {
        OK(cudaEventCreateWithFlags(&uploaded[i], cudaEventDisableTiming));
        OK(cudaEventCreateWithFlags(&free_again[i], cudaEventDisableTiming));
    }
    OK(cudaEventCreateWithFlags(&computed, cudaEventDisableTiming));
    int *slots = device_array<int>(16), *out = device_array<int>(chunks);
    pinned<int> staging(16), h(chunks);
    for (size_t i = 0; i < chunks; i++) {
        size_t k = i % 2;
        if (forgotten != HOST_ON_UPLOAD)
            OK(cudaEventSynchronize(uploaded[k])); /* the staging buffer's last upload */
        for (size_t j = 0; j < 8; j++)
            staging[8 * k + j] = static_cast<int>(i);
        if (forgotten != UPLOAD_ON_SLOT)
            OK(cudaStreamWaitEvent(up, free_again[k], 0));
        OK(cudaMemcpyAsync(slots + 8 * k, &staging[8 * k], 32, cudaMemcpyHostToDevice, up));
        OK(cudaEventRecord(uploaded[k], up));
        if (forgotten != COMPUTE_ON_UPLOAD)
            OK(cudaStreamWaitEvent(compute, uploaded[k], 0));
        ZO2_LAUNCH(take, 1, 1, 0, compute, slots + 8 * k, out + i);
        OK(cudaEventRecord(free_again[k], compute));
    }
    OK(cudaEventRecord(computed, compute));
    if (forgotten != DOWNLOAD_ON_COMPUTE)
        OK(cudaStreamWaitEvent(up, computed, 0));
    download(h, out, up);
    OK(cudaStreamSynchronize(up));
    int wrong = compare(h, [](int i) { return 2 * i; });
    OK(cudaDeviceSynchronize());
    return wrong;
}
static int compute_waits_for_upload(bool mutant)
{
    return ring(mutant ? COMPUTE_ON_UPLOAD : NO_MUTANT);
}
static int upload_waits_for_slot(bool mutant)
{
    return ring(mutant ? UPLOAD_ON_SLOT : NO_MUTANT);
}
static int download_waits_for_compute(bool mutant)
{
    return ring(mutant ? DOWNLOAD_ON_COMPUTE : NO_MUTANT);
}
static int host_waits_for_upload(bool mutant)
{
    return ring(mutant ? HOST_ON_UPLOAD : NO_MUTANT);
}

/* ---- the table ------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int (*program)(bool mutant);
    unsigned caught_by;
} mutants[] = {
    {"the host reads device memory", host_touches_device_memory, ALWAYS},
    {"no bounds check, whole pages", bounds_check_of_whole_pages, ALWAYS},
    {"no bounds check", bounds_check, BY_ASAN},
    {"use after free", use_after_free, ALWAYS},
    {"no barrier before reading", barrier_before_reading, ALWAYS},
    {"no barrier before overwriting", barrier_before_overwriting, ALWAYS},
    {"no __syncwarp()", warp_barrier, ALWAYS},
    {"past a shared array", shared_array_bounds, ALWAYS}, /* elsewhere a canary is read */
    {"misaligned 16-byte load", misaligned_load, BY_ASAN},
    {"blocks race", race_of_blocks, BY_TSAN},
    {"threads race", race_of_threads, BY_TSAN},
    {"compute doesn't wait for the upload", compute_waits_for_upload, ALWAYS},
    {"the upload doesn't wait for the slot", upload_waits_for_slot, ALWAYS},
    {"the download doesn't wait for compute", download_waits_for_compute, ALWAYS},
    {"the host doesn't wait for the upload", host_waits_for_upload, ALWAYS},
};

static void mutants_are_caught_and_their_twins_not(void **state)
{
    (void)state;
    int wrong = 0;
    const int variants = THIS_BUILD == BY_TSAN ? 1 : 3; /* ThreadSanitizer needs no luck with the order */
    for (const auto &m : mutants) {
        bool caught = false;
        for (int variant = 0; variant < variants; variant++) {
            if (in_child([&] {
                    fresh(variant);
                    return m.program(false);
                }) != FINE) {
                print_error("%s: the correct program is not fine, variant %d\n", m.name, variant);
                wrong++;
            }
            fate f = in_child([&] {
                fresh(variant);
                return m.program(true);
            });
            caught = caught || f != FINE;
        }
        if (!caught && (m.caught_by & THIS_BUILD)) {
            print_error("%s: not caught\n", m.name);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(mutants_are_caught_and_their_twins_not)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

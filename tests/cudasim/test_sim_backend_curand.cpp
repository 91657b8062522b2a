/* test_sim_backend_curand.cpp: cuRAND's device header as oracle of the kernels' noise, where a CUDA toolkit has it. Its
 * Philox4x32-10 is compiled here in the simulator's dialect, in the variant for devices, and runs in kernels beside the
 * project's; the words must be the same, and what the decode kernel adds to a weight must come from them. */
#include "testing.h"

#ifdef ZO2_HAVE_CURAND_HEADER

#include <nv/target>
/* A C++ compiler is the host to it. */
#undef NV_IF_ELSE_TARGET
#define NV_IF_ELSE_TARGET(condition, on_host, ...) __VA_ARGS__
#include <curand_philox4x32_x.h>

#include "codec/noise_inline.h"
#include "codec/plane_layout.h"
#include "kernels/backend.h"

#define BLOCKS  3
#define THREADS 64
#define CALLS   (BLOCKS * THREADS)

static __global__ void project_words(uint4 *out, uint64_t key, uint32_t query, uint32_t tensor, uint64_t first)
{
    uint32_t i = blockIdx.x * blockDim.x + threadIdx.x, w[4];
    zo2_noise_words(key, query, tensor, first + i, w);
    out[i] = make_uint4(w[0], w[1], w[2], w[3]);
}

/* The counter is set to the first call's and counted on, as cuRAND does it. */
static __global__ void curand_words(uint4 *out, uint64_t key, uint32_t query, uint32_t tensor, uint64_t first)
{
    uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    curandStatePhilox4_32_10_t s = {};
    s.ctr = make_uint4((uint32_t)first, (uint32_t)(first >> 32), tensor, query);
    s.key.x = (uint32_t)key;
    s.key.y = (uint32_t)(key >> 32);
    Philox_State_Incr(&s, i);
    out[i] = curand_Philox4x32_10(s.ctr, s.key);
}

static const struct stream {
    uint64_t key, first;
    uint32_t query, tensor;
} streams[] = {
    {0, 0, 0, 0},
    {0x299f31d0a4093822u, 0x85a308d3243f6a88u, 0x03707344, 0x13198a2e},
    {0xffffffffffffffffu, 0xffffffffu - 100, 7, 1537}, /* the low word of the counter overflows on the way */
    {0x8000000000000001u, uint64_t{1} << 33, 1, 0xffffffff},
};

static void words(void **state)
{
    (void)state;
    cudasim_reset(nullptr);
    cudaStream_t s = new_stream();
    uint4 *device[2] = {device_array<uint4>(CALLS), device_array<uint4>(CALLS)};
    pinned<uint4> project(CALLS), curand(CALLS);
    for (const stream &v : streams) {
        ZO2_LAUNCH(project_words, BLOCKS, THREADS, 0, s, device[0], v.key, v.query, v.tensor, v.first);
        ZO2_LAUNCH(curand_words, BLOCKS, THREADS, 0, s, device[1], v.key, v.query, v.tensor, v.first);
        OK(cudaGetLastError());
        download(project, device[0], s);
        download(curand, device[1], s);
        OK(cudaStreamSynchronize(s));
        assert_memory_equal(project.data(), curand.data(), project.bytes());
        assert_true(curand[0].x != curand[CALLS - 1].x);
    }
    reported_nothing();
}

/* ---- what the decode kernel makes of them ---------------------------------------------------------------------- */

#define ROWS 9
#define COLS 37 /* rows begin anywhere in a block of words */
#define LD   40

/* z of an element out of cuRAND's words, by CODECS.md, "Noise". */
static float noise_of(const zo2_decode_op &op, uint64_t index)
{
    bool signs = op.dist == ZO2_RADEMACHER;
    uint64_t call = index / (signs ? 128 : 4);
    uint4 c = {(uint32_t)call, (uint32_t)(call >> 32), op.tensor_id, op.query};
    uint2 k = {(uint32_t)op.key, (uint32_t)(op.key >> 32)};
    uint4 w = curand_Philox4x32_10(c, k);
    const uint32_t word[] = {w.x, w.y, w.z, w.w};
    if (signs)
        return word[index % 128 / 32] >> (index % 32) & 1 ? -1.0f : 1.0f;
    float z[2];
    const uint32_t *pair = word + index % 4 / 2 * 2;
    zo2_normal_pair(pair[0], pair[1], z, z + 1);
    return z[index % 2];
}

/* Weights of zero and an eps of one: the panels are z and -z. */
static void decode(void **state)
{
    (void)state;
    cudasim_reset(nullptr);
    const zo2_backend_ops *ops = zo2_backend_get(ZO2_BACKEND_CUDA);
    const uint64_t wire_bytes = 4096, panel_bytes = 4096;
    zo2_backend_config config = {};
    config.arena_bytes = ops->reserved_bytes + wire_bytes + 2 * panel_bytes;
    zo2_backend *b;
    OK(ops->open(&b, &config));
    unsigned char *arena = static_cast<unsigned char *>(ops->arena(b)) + ops->reserved_bytes;
    pinned<float> wire(wire_bytes / 4, 0.0f), panels(2 * panel_bytes / 4);
    OK(ops->upload(b, ZO2_LANE_COMPUTE, arena, wire.data(), wire_bytes));
    zo2_decode_op op = {};
    op.wire = ZO2_WIRE_FP32;
    op.src = arena;
    op.src_bytes = ROWS * zo2_row_stride(COLS, 4);
    op.rows = ROWS;
    op.cols = COLS;
    op.panels = 2;
    op.eps[0] = 1.0f;
    op.eps[1] = -1.0f;
    op.panel[0] = arena + wire_bytes;
    op.panel[1] = arena + wire_bytes + panel_bytes;
    op.ld = LD;
    op.type = ZO2_F32;
    for (zo2_dist dist : {ZO2_GAUSSIAN, ZO2_RADEMACHER})
        for (const stream &v : streams) {
            op.dist = dist;
            op.key = v.key;
            op.query = v.query;
            op.tensor_id = v.tensor;
            op.first_row = v.first / COLS;
            OK(ops->decode(b, &op));
            OK(ops->download(b, ZO2_LANE_COMPUTE, panels.data(), arena + wire_bytes, 2 * panel_bytes));
            OK(ops->drain(b));
            for (uint64_t row = 0; row < ROWS; row++)
                for (uint64_t col = 0; col < COLS; col++) {
                    float z = noise_of(op, (op.first_row + row) * COLS + col), minus = -z;
                    assert_memory_equal(&panels[row * LD + col], &z, 4);
                    assert_memory_equal(&panels[panel_bytes / 4 + row * LD + col], &minus, 4);
                }
        }
    ops->close(b);
    reported_nothing();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(words), cmocka_unit_test(decode)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
    printf("skipped: no CUDA toolkit with curand_philox4x32_x.h and nv/target\n");
    return 77;
}

#endif

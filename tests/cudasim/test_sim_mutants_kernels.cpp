/* Mutants of the real kernels. Every barrier and __syncwarp() in them is left out in turn, and that has to be caught:
 * by ThreadSanitizer always, otherwise by other bits in some order of threads. A row too many and a pointer off by a
 * few bytes stand for a forgotten bounds check and a misaligned load. */
#include "testing.h"

#include <string>

#include <sys/mman.h>

#include "kernels/backend.h"
/* A kernel with launch bounds is instantiated in one file of a program (GNU ld): here it gets a name of its own. */
#define zo2_decode_kernel mutant_decode_kernel
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/decode_kernel.cuh"
#include "mutants.h"

static const cudasim_threads thread_orders[] = {CUDASIM_FORWARD, CUDASIM_REVERSE, CUDASIM_SHUFFLED};
constexpr uint64_t ARENA = 4 << 20;

static cudasim_config config_of(int variant)
{
    cudasim_config c = {};
    c.threads = thread_orders[variant % 3];
    c.seed = static_cast<uint64_t>(variant);
    c.quiet = 1;
    return c;
}

/* ---- the operations that have barriers, on a backend of their own ---------------------------------------------- */

struct bench {
    explicit bench(const cudasim_config &config)
    {
        cudasim_reset(&config);
        ops = zo2_backend_get(ZO2_BACKEND_CUDA);
        zo2_backend_config c = {};
        c.arena_bytes = ops->reserved_bytes + ARENA;
        must(ops->open(&b, &c));
        arena = static_cast<unsigned char *>(ops->arena(b)) + ops->reserved_bytes;
        host = static_cast<unsigned char *>(
            mmap(nullptr, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        must(ops->host_register(b, host, ARENA));
    }
    ~bench()
    {
        ops->host_unregister(b, host);
        ops->close(b);
        munmap(host, ARENA);
    }
    static void must(zo2_status s)
    {
        if (s)
            fail_msg("%s", zo2_last_error());
    }
    /* n floats of about [-1, 1) on the device. */
    float *floats(uint64_t n, uint64_t seed)
    {
        float *p = reinterpret_cast<float *>(arena + used);
        float *h = reinterpret_cast<float *>(host + used);
        for (uint64_t i = 0; i < n; i++, seed = seed * 6364136223846793005u + 1442695040888963407u)
            h[i] = static_cast<float>(static_cast<double>(seed >> 40) / (1 << 23) - 1.0);
        must(ops->upload(b, ZO2_LANE_COMPUTE, p, h, n * sizeof(float)));
        used += (n * sizeof(float) + 255) / 256 * 256;
        return p;
    }
    /* n fp16 numbers between 0.5 and 1. */
    void *halves(uint64_t n, uint64_t seed)
    {
        auto *h = reinterpret_cast<uint16_t *>(host + used);
        for (uint64_t i = 0; i < n; i++, seed = seed * 6364136223846793005u + 1442695040888963407u)
            h[i] = static_cast<uint16_t>(0x3800 | (seed >> 54));
        void *p = arena + used;
        must(ops->upload(b, ZO2_LANE_COMPUTE, p, h, n * sizeof(uint16_t)));
        used += (n * sizeof(uint16_t) + 255) / 256 * 256;
        return p;
    }
    std::string fetch(const void *p, uint64_t bytes)
    {
        uint64_t at = static_cast<uint64_t>(static_cast<const unsigned char *>(p) - arena);
        must(ops->download(b, ZO2_LANE_COMPUTE, host + at, p, bytes));
        must(ops->drain(b));
        return std::string(reinterpret_cast<char *>(host + at), bytes);
    }
    const zo2_backend_ops *ops;
    zo2_backend *b = nullptr;
    unsigned char *arena, *host;
    uint64_t used = 0;
};

/* Both kernels: rows of 8 elements go to tensor cores, rows 9 elements apart to the plain one. More queries than a block takes, and
 * prefixes elsewhere. */
static std::string attention(const cudasim_config &config)
{
    bench d(config);
    static const zo2_seq seqs[] = {{0, 70, 0, 0}, {70, 3, 0, 0}, {73, 20, 70, 3}};
    const uint64_t m = 93;
    std::string result;
    for (uint64_t ld = 8; ld <= 9; ld++) {
        zo2_attention_op op = {};
        op.streams = 1;
        op.m = m;
        op.heads = 1;
        op.head_dim = 8;
        op.q = d.halves(m * ld, 1);
        op.k = d.halves(m * ld, 2);
        op.v = d.halves(m * ld, 3);
        op.ld = op.ld_out = ld;
        op.stride = op.stride_out = m * ld;
        void *out = d.halves(m * ld, 4);
        op.out = out;
        op.seqs = seqs;
        op.n_seqs = 3;
        op.type = ZO2_F16;
        bench::must(d.ops->attention(d.b, &op));
        result += d.fetch(out, m * ld * sizeof(uint16_t));
    }
    return result;
}

/* Two tiles of the vocabulary: rows of 300 don't go into shared memory; rows of 2,056 do, for more than two warps to sum, and
 * the first blocks get two of them: the device has one processor, which takes 32. */
static std::string log_sum_exp(const cudasim_config &config)
{
    bench d(config);
    ((zo2_cuda *)d.b)->processors = 1;
    const uint64_t m = 34;
    zo2_lse_op op = {};
    op.streams = 1;
    op.m = m;
    op.stride_state = m;
    auto *state = reinterpret_cast<zo2_lse *>(d.floats(m * 4, 1));
    auto *target = reinterpret_cast<uint32_t *>(d.floats(m, 2)); /* ids that occur nowhere */
    op.target = target;
    op.state = state;
    zo2_lse_init_op begin = {state, m};
    bench::must(d.ops->lse_init(d.b, &begin));
    for (uint64_t n : {uint64_t{300}, uint64_t{2056}}) {
        op.n = op.ld = n;
        op.stride = m * n;
        op.logits = d.floats(m * n, n);
        bench::must(d.ops->lse_tile(d.b, &op));
        op.first += n;
    }
    return d.fetch(state, m * sizeof(zo2_lse));
}

/* Rows in shared memory, two for each of the first warps: the device has one processor, which takes 128. */
static std::string layer_norm(const cudasim_config &config)
{
    bench d(config);
    ((zo2_cuda *)d.b)->processors = 1;
    const uint64_t m = 130, n = 264;
    zo2_layernorm_op op = {};
    op.streams = 1;
    op.m = m;
    op.n = n;
    op.x = d.floats(m * n, 1);
    op.gamma = d.floats(n, 2);
    op.eps = 1e-5f;
    float *y = d.floats(m * n, 3);
    op.y = y;
    op.type = ZO2_F32;
    bench::must(d.ops->layernorm(d.b, &op));
    return d.fetch(y, 2 * n * sizeof(float)) + d.fetch(y + 128 * n, 2 * n * sizeof(float));
}

/* The same, and two norms in a row. From fp32: from 16 bits a lane holds the very elements that it writes, and the next norm may
 * overwrite them. */
static std::string rms_norm(const cudasim_config &config)
{
    bench d(config);
    ((zo2_cuda *)d.b)->processors = 1;
    const uint64_t m = 65, n = 264;
    zo2_rmsnorm_op op = {};
    op.streams = 1;
    op.m = m;
    op.n = n;
    op.groups = 2;
    op.x = d.floats(2 * m * n, 1);
    op.x_type = ZO2_F32;
    op.type = ZO2_F16;
    op.ldx = op.ldy = 2 * n;
    op.eps = 1e-5f;
    auto *y = static_cast<uint16_t *>(d.halves(2 * m * n, 2));
    op.y = y;
    bench::must(d.ops->rmsnorm(d.b, &op));
    return d.fetch(y, 2 * n * sizeof *y) + d.fetch(y + 128 * n, 2 * n * sizeof *y);
}

typedef std::string (*operation)(const cudasim_config &config);

/* What the kernels do as they are: found out in a child process too, since ThreadSanitizer looks away in the children
 * of a process that has had several threads. */
struct outcome {
    size_t bytes;
    char result[16384];
    unsigned n;
    struct {
        char file[64];
        int line;
    } place[32];
};

static int find_out(operation run, outcome *o)
{
    std::string r = run(config_of(0));
    o->bytes = r.size();
    memcpy(o->result, r.data(), r.size());
    int line;
    while (const char *file = cudasim_barrier_place(o->n, &line)) {
        snprintf(o->place[o->n].file, sizeof o->place[0].file, "%s", file);
        o->place[o->n++].line = line;
    }
    return 0;
}

/* There are at least `least` places; at least `by_value` show in other bits where ThreadSanitizer isn't there to look. */
static void without_each_barrier(operation run, unsigned least, int by_value)
{
    auto *o = static_cast<outcome *>(
        mmap(nullptr, sizeof(outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    assert_int_equal(in_child([&] { return find_out(run, o); }), FINE);
    assert_in_range(o->n, least, 31);
    int n_caught = 0;
    for (unsigned i = 0; i <= o->n; i++) { /* the last one: nothing is left out */
        bool mutant = i < o->n;
        int caught = 0;
        for (int variant = 0; variant < (THIS_BUILD == BY_TSAN ? 1 : 3); variant++)
            caught += in_child([&] {
                          cudasim_config c = config_of(variant);
                          c.drop_file = mutant ? o->place[i].file : nullptr;
                          c.drop_line = o->place[i].line;
                          return run(c) != std::string(o->result, o->bytes);
                      }) != FINE;
        n_caught += mutant && caught;
        if (mutant && !caught)
            print_message("%s:%d is not missed here\n", o->place[i].file, o->place[i].line);
        if (!mutant)
            assert_int_equal(caught, 0);
    }
    if (THIS_BUILD == BY_TSAN)
        assert_int_equal(n_caught, o->n);
    else
        assert_true(n_caught >= by_value);
    munmap(o, sizeof *o);
}

static void attention_needs_its_barriers(void **state)
{
    (void)state;
    without_each_barrier(attention, 10, 5);
}

static void log_sum_exp_needs_its_barriers(void **state)
{
    (void)state;
    without_each_barrier(log_sum_exp, 3, 2);
}

static void layer_norm_needs_its_barriers(void **state)
{
    (void)state;
    without_each_barrier(layer_norm, 2, 2);
}

static void rms_norm_needs_its_barriers(void **state)
{
    (void)state;
    without_each_barrier(rms_norm, 2, 2);
}

/* ---- the decode kernel, launched by hand ----------------------------------------------------------------------- */

/* A bf16 wire of rows x 32; `rows` is what the kernel is told, 32 is what there is. */
static int decode(uint64_t rows, size_t off)
{
    const uint64_t cols = 32, there = 32;
    cudasim_config c = config_of(0);
    cudasim_reset(&c);
    cudaStream_t s = new_stream();
    auto *wire = device_array<unsigned char>(there * cols * 2);
    auto *plus = device_array<unsigned char>(there * cols * 4), *minus = device_array<unsigned char>(there * cols * 4);
    OK(cudaMemsetAsync(wire, 0, there * cols * 2, s));
    zo2_decode_args a = {};
    a.src = wire + off;
    a.rows = rows;
    a.cols = cols;
    a.wide = 1;
    a.key = 7;
    a.panels = 2;
    a.eps[0] = 1;
    a.eps[1] = -1;
    a.type = ZO2_F32;
    a.panel[0] = plus;
    a.panel[1] = minus;
    a.ld = cols;
    ZO2_LAUNCH((zo2_decode_kernel<ZO2_WIRE_BF16, ZO2_RADEMACHER>), dim3(1, 4), dim3(2, 8), 0, s, a);
    OK(cudaGetLastError());
    pinned<float> got(there * cols);
    OK(cudaMemcpyAsync(got.data(), plus, got.bytes(), cudaMemcpyDeviceToHost, s));
    OK(cudaStreamSynchronize(s));
    for (float v : got.v)
        if (v != 1 && v != -1)
            return 1;
    return 0;
}

static void decode_kernel_out_of_bounds(void **state)
{
    (void)state;
    assert_int_equal(in_child([] { return decode(32, 0); }), FINE);
    assert_int_equal(in_child([] { return decode(33, 0); }), KILLED);
}

static void decode_kernel_misaligned(void **state)
{
    (void)state;
    fate f = in_child([] { return decode(31, 4); });
    if (THIS_BUILD == BY_ASAN)
        assert_int_not_equal(f, FINE); /* the values alone would be right */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_needs_its_barriers),  cmocka_unit_test(log_sum_exp_needs_its_barriers),
        cmocka_unit_test(layer_norm_needs_its_barriers), cmocka_unit_test(rms_norm_needs_its_barriers),
        cmocka_unit_test(decode_kernel_out_of_bounds),   cmocka_unit_test(decode_kernel_misaligned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

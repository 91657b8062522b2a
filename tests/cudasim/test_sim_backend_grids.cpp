/* test_sim_backend_grids.cpp: the launch shape never changes a bit: every kernel that loops by the grid's stride runs on
 * a device that takes 32 blocks and on one that takes all, and the whole arena afterwards is the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <sys/mman.h>
extern "C" {
#include <cmocka.h>
}

#include "codec/plane_layout.h"
#include "cudasim.h"
#include "kernels/cuda/cuda_backend.h"

static const uint64_t BYTES = 20 << 16;
enum { ROWS = 300, COLS = 40, WIDE = 20000 };

static void must(zo2_status s)
{
    if (s)
        fail_msg("%s", zo2_last_error());
}

/* Offsets in the arena, 64 KiB apart. */
static uint64_t slot(unsigned i)
{
    return (uint64_t)i << 16;
}

/* Runs everything with a device of `processors`; the arena's bytes to out. */
static void run_all(uint32_t processors, cudasim_order order, unsigned char *out)
{
    cudasim_config config = {};
    config.order = order;
    config.threads = order == CUDASIM_FIFO ? CUDASIM_FORWARD : CUDASIM_SHUFFLED;
    config.seed = processors;
    cudasim_reset(&config);
    const zo2_backend_ops *ops = zo2_backend_get(ZO2_BACKEND_CUDA);
    zo2_backend *b;
    zo2_backend_config c = {};
    c.arena_bytes = ops->reserved_bytes + BYTES;
    must(ops->open(&b, &c));
    ((zo2_cuda *)b)->processors = processors;
    unsigned char *arena = (unsigned char *)ops->arena(b) + ops->reserved_bytes;
    auto *host = (unsigned char *)mmap(nullptr, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(ops->host_register(b, host, BYTES));
    uint32_t state = 1;
    for (uint64_t i = 0; i < BYTES / 4; i++) { /* floats in [-1, 1) */
        state = state * 1664525u + 1013904223u;
        float f = (float)(int32_t)state * 0x1p-31f;
        memcpy(host + 4 * i, &f, sizeof f);
    }
    for (uint32_t i = 0; i < ROWS; i++) /* slot 0: row numbers, for conversions and as targets */
        ((uint32_t *)(void *)host)[i] = i * 7919 % COLS;
    must(ops->upload(b, ZO2_LANE_COMPUTE, arena, host, BYTES));

    zo2_update folds[2] = {};
    folds[0].key = 3;
    folds[0].queries = 1;
    folds[0].c[0] = 0.5f;
    folds[1].key = 4;
    folds[1].queries = 2;
    folds[1].c[0] = folds[1].c[1] = 0.25f;
    zo2_decode_op d = {};
    d.wire = ZO2_WIRE_BF16;
    d.src = arena + slot(1);
    d.src_bytes = zo2_row_stride(WIDE, 2);
    d.rows = 1; /* more groups of 16 than 32 blocks have threads in a row */
    d.cols = WIDE;
    d.dist = ZO2_GAUSSIAN;
    d.fold = folds;
    d.folds = 2;
    d.panels = 2;
    d.eps[0] = 0.01f;
    d.eps[1] = -0.01f;
    d.panel[0] = arena + slot(3);
    d.panel[1] = arena + slot(5);
    d.ld = WIDE;
    d.type = ZO2_F16;
    must(ops->decode(b, &d));
    d.rows = ROWS;
    d.src_bytes = ROWS * zo2_row_stride(COLS, 2);
    d.cols = d.ld = COLS;
    d.dist = ZO2_RADEMACHER;
    d.panel[0] = arena + slot(7);
    d.panel[1] = arena + slot(8);
    must(ops->decode(b, &d));
    d.folds = 0; /* the kernels for whole runs: columns in 40 pieces, then rows in 75 */
    d.rows = 1;
    d.src_bytes = zo2_row_stride(WIDE, 2);
    d.cols = d.ld = WIDE;
    d.panel[0] = arena + slot(13);
    d.panel[1] = arena + slot(14);
    must(ops->decode(b, &d));
    d.rows = ROWS;
    d.src_bytes = ROWS * zo2_row_stride(COLS, 2);
    d.cols = d.ld = COLS;
    d.dist = ZO2_GAUSSIAN;
    d.panels = 1;
    d.panel[0] = arena + slot(15);
    must(ops->decode(b, &d));

    zo2_layernorm_op n = {};
    n.streams = 1;
    n.m = ROWS;
    n.n = COLS;
    n.x = (const float *)(void *)(arena + slot(1));
    n.y = arena + slot(9);
    n.eps = 1e-5f;
    n.type = ZO2_F32;
    must(ops->layernorm(b, &n));
    n.n = COLS - 1; /* here and below also what goes one element at a time */
    n.y = arena + slot(4);
    must(ops->layernorm(b, &n));
    zo2_bias_act_op a = {};
    a.streams = 1;
    a.m = ROWS;
    a.n = a.ldy = COLS;
    a.y = arena + slot(9);
    a.bias = (const float *)(void *)(arena + slot(2));
    a.scale = 0.5f;
    a.act = ZO2_ACT_GELU;
    a.type = ZO2_F32;
    must(ops->bias_act(b, &a));
    a.n = COLS - 1;
    a.y = arena + slot(4);
    must(ops->bias_act(b, &a));
    zo2_rmsnorm_op r = {}; /* four norms in a row: a warp goes on in the middle of one */
    r.streams = 1;
    r.m = ROWS;
    r.n = 8;
    r.groups = 4;
    r.x = arena + slot(1);
    r.x_type = r.type = ZO2_F32;
    r.ldx = r.ldy = COLS;
    r.y = arena + slot(16);
    r.eps = 1e-5f;
    must(ops->rmsnorm(b, &r));
    r.n = 7;
    r.groups = 3;
    r.y = arena + slot(17);
    must(ops->rmsnorm(b, &r));
    zo2_rope_op t = {};
    t.streams = 1;
    t.m = ROWS;
    t.heads = 2;
    t.head_dim = 16;
    t.x = arena + slot(16);
    t.ld = COLS;
    t.table = (const float *)(const void *)(arena + slot(2));
    t.positions = COLS;
    t.position = (const uint32_t *)(const void *)arena;
    t.scale = 0.25f;
    t.type = ZO2_F32;
    must(ops->rope(b, &t));
    t.m = 1; /* more pairs in a row than 32 blocks have threads */
    t.heads = 1000;
    t.x = arena + slot(18);
    must(ops->rope(b, &t));
    zo2_gate_op e = {};
    e.streams = 1;
    e.m = ROWS;
    e.n = e.ld = COLS;
    e.y = arena + slot(19);
    e.up = arena + slot(16);
    e.bias_up = (const float *)(const void *)(arena + slot(2));
    e.act = ZO2_ACT_SILU;
    e.type = ZO2_F32;
    must(ops->gate(b, &e));
    e.n = COLS - 1;
    e.y = arena + slot(17);
    must(ops->gate(b, &e));
    zo2_convert_rows_op g = {};
    g.streams = 1;
    g.m = ROWS;
    g.n = COLS;
    g.x = (const float *)(void *)(arena + slot(9));
    g.index = (const uint32_t *)(void *)arena;
    g.y = arena + slot(10);
    g.type = ZO2_BF16;
    must(ops->convert_rows(b, &g));
    g.n = COLS - 1;
    g.y = arena + slot(6);
    must(ops->convert_rows(b, &g));
    auto *states = (zo2_lse *)(void *)(arena + slot(11));
    zo2_lse_init_op begin = {states, ROWS};
    must(ops->lse_init(b, &begin));
    zo2_lse_op l = {};
    l.streams = 1;
    l.m = ROWS;
    l.n = l.ld = COLS;
    l.logits = (const float *)(void *)(arena + slot(9));
    l.target = (const uint32_t *)(void *)arena;
    l.state = states;
    must(ops->lse_tile(b, &l));
    l.skip = (const uint32_t *)(void *)(arena + slot(3)); /* any bits will do */
    l.skip_rows = COLS;
    must(ops->lse_tile(b, &l));
    l.n = COLS - 1;
    must(ops->lse_tile(b, &l));
    zo2_lse_finish_op end = {states, ROWS, (float *)(void *)(arena + slot(12))};
    must(ops->lse_finish(b, &end));

    must(ops->download(b, ZO2_LANE_COMPUTE, host, arena, BYTES));
    must(ops->drain(b));
    memcpy(out, host, BYTES);
    ops->host_unregister(b, host);
    ops->close(b);
    munmap(host, BYTES);
    if (cudasim_report()[0])
        fail_msg("the simulator reports: %s", cudasim_report());
}

static void same_bits(void **)
{
    static unsigned char all[BYTES], few[BYTES];
    run_all(1000, CUDASIM_FIFO, all);
    run_all(1, CUDASIM_FIFO, few);
    assert_memory_equal(all, few, BYTES);
    run_all(1, CUDASIM_SEEDED, few);
    assert_memory_equal(all, few, BYTES);
}

int main()
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_bits)};
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}

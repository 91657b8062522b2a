/* test_sim_backend_biased.cpp: products with a bias on the cuda backend: one pass over the result where cuBLASLt has such a
 * product, two where it hasn't; one choice of an algorithm for a shape, however many shapes there are. Values are
 * test_backend_gemm's. */
#include <initializer_list>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

extern "C" {
#include <cmocka.h>
}

#include "cudasim.h"
#include "kernels/cuda/cuda_backend.h"

enum { M = 6, N = 16, K = 24, STREAMS = 2, BYTES = 1 << 20, PART = 1 << 16 };

struct device {
    explicit device(const cudasim_config &config)
    {
        cudasim_reset(&config);
        ops = zo2_backend_get(ZO2_BACKEND_CUDA);
        zo2_backend_config c = {};
        c.arena_bytes = ops->reserved_bytes + BYTES;
        if (ops->open(&b, &c))
            fail_msg("%s", zo2_last_error());
        arena = static_cast<unsigned char *>(ops->arena(b)) + ops->reserved_bytes;
    }
    ~device() { ops->close(b); }
    unsigned char *part(unsigned i) const { return arena + PART * i; }
    zo2_gemm_op product(zo2_dtype type) const
    {
        zo2_gemm_op op = {};
        op.batch = STREAMS;
        op.m = M;
        op.n = N;
        op.k = op.ldx = op.ld_panel = K;
        op.x = part(0);
        op.stride_x = M * K;
        op.panel = part(1);
        op.stride_panel = N * K;
        op.y = part(2);
        op.ldy = N;
        op.stride_y = M * N;
        op.type = type;
        op.y_type = ZO2_F32;
        op.bias = reinterpret_cast<const float *>(part(3));
        op.stride_bias = N;
        return op;
    }
    const zo2_backend_ops *ops;
    zo2_backend *b = nullptr;
    unsigned char *arena;
};

struct work {
    uint64_t operations, kernels, calls;
};

/* What a product makes the device and the libraries do. */
static work work_of(const device &d, const zo2_gemm_op &op)
{
    cudasim_stats before, after;
    cudasim_get_stats(&before);
    if (d.ops->gemm(d.b, &op) || d.ops->drain(d.b))
        fail_msg("%s", zo2_last_error());
    cudasim_get_stats(&after);
    if (cudasim_report()[0])
        fail_msg("the simulator reports: %s", cudasim_report());
    return {after.operations - before.operations, after.kernels - before.kernels, after.calls - before.calls};
}

static void one_pass_or_two(void **state)
{
    (void)state;
    device d(cudasim_config{});
    for (zo2_dtype type : {ZO2_F16, ZO2_BF16, ZO2_F32}) {
        zo2_gemm_op op = d.product(type);
        op.bias = nullptr;
        work plain = work_of(d, op);
        assert_int_equal(plain.kernels, 0);
        for (int accumulate = 0; accumulate < 2; accumulate++) {
            op = d.product(type);
            op.accumulate = accumulate;
            work biased = work_of(d, op);
            assert_int_equal(biased.kernels, type == ZO2_F32);
            assert_int_equal(biased.operations, plain.operations + (type == ZO2_F32));
            op.ld_panel = K - 1; /* rows of no whole 16 bytes: the simulator's cuBLASLt has none */
            op.k = K - 1;
            biased = work_of(d, op);
            assert_int_equal(biased.kernels, 1);
        }
    }
}

static void one_choice_for_a_shape(void **state)
{
    (void)state;
    device d(cudasim_config{});
    zo2_gemm_op op = d.product(ZO2_F16);
    uint64_t first = work_of(d, op).calls, again = work_of(d, op).calls;
    assert_int_equal(first, again + 1);
    for (int i = 0; i < ZO2_CUDA_BIASED; i++) { /* that many others push it out, and it is found again */
        op.m = 1 + (uint64_t)i % M;
        op.n = 1 + (uint64_t)i / M;
        assert_int_equal(work_of(d, op).calls, first);
    }
    op = d.product(ZO2_F16);
    assert_int_equal(work_of(d, op).calls, first);
    assert_int_equal(work_of(d, op).calls, again);
    /* what is aligned worse is another problem: the simulator refuses an algorithm that was promised more */
    op.y = d.part(2) + 16;
    assert_int_equal(work_of(d, op).calls, first);
    op.bias++;
    assert_int_equal(work_of(d, op).calls, first);
    op.x = d.part(0) + 16;
    assert_int_equal(work_of(d, op).calls, first);
    op.stride_x = M * K + 8;
    assert_int_equal(work_of(d, op).calls, first);
    op.accumulate = 1; /* no matter for the choice */
    assert_int_equal(work_of(d, op).calls, again);
    op.batch = 1; /* what lies between streams doesn't count then */
    assert_int_equal(work_of(d, op).calls, first);
    op.stride_y = op.stride_x = op.stride_panel = op.stride_bias = 3;
    assert_int_equal(work_of(d, op).calls, again);
}

/* What cuBLASLt named and then doesn't take is as if there were none, and isn't asked for again. */
static void refused_after_all(void **state)
{
    (void)state;
    cudasim_config c = {};
    c.lt_refuses = 1;
    device d(c);
    zo2_gemm_op op = d.product(ZO2_F16);
    uint64_t first = work_of(d, op).calls;
    work again = work_of(d, op);
    assert_int_equal(again.kernels, 1);
    assert_int_equal(again.calls, first - 2);
}

static void errors(void **state)
{
    (void)state;
    for (const char *name : {"cublasLtMatmulAlgoGetHeuristic", "cublasLtMatmul"}) {
        cudasim_config c = {};
        c.fail_name = name;
        c.fail_call = 3; /* two are open()'s */
        c.fail_error = cudaErrorLaunchFailure;
        device d(c);
        zo2_gemm_op op = d.product(ZO2_F16);
        assert_int_equal(d.ops->gemm(d.b, &op), ZO2_ERR_DEVICE);
        if (!strstr(zo2_last_error(), name))
            fail_msg("\"%s\" does not mention %s", zo2_last_error(), name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_pass_or_two),
        cmocka_unit_test(one_choice_for_a_shape),
        cmocka_unit_test(refused_after_all),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

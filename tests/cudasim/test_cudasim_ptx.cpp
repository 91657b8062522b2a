/* Kernels in PTX: operations where their rules are easy to get wrong, warps, calls, and what is an error. The C++ twins, which give kernels
 * their names and arguments, end the test: they must not run. */
#include "testing.h"

#include <stdlib.h>
#include <unistd.h>

#include <string>

#define TWIN(name)                                                          \
    extern "C" __global__ void name(uint32_t *, uint32_t)                   \
    {                                                                       \
        fail_msg("%s runs as C++, whose text this makes another's", #name); \
    }
TWIN(integers)
TWIN(floats)
TWIN(warps)
TWIN(calls)
TWIN(halves)
TWIN(crooked)
TWIN(outside)
TWIN(shared_outside)
TWIN(parted)
TWIN(unknown_operation)
TWIN(fewer_arguments)
TWIN(nowhere)
#undef TWIN

/* Each kernel writes words to its first argument; %r0 is the second one, 7, so that nothing is known before. */
static const char head[] = ".version 8.0\n.target sm_80\n.address_size 64\n"
                           ".func (.param .b32 twice_result) twice(.param .b32 twice_x)\n"
                           "{ .reg .b32 %r<2>; ld.param.u32 %r0, [twice_x]; add.s32 %r1, %r0, %r0;\n"
                           "  st.param.b32 [twice_result], %r1; ret; }\n";

static std::string kernel(const std::string &name, const std::string &body)
{
    return ".visible .entry " + name + "(.param .u64 out, .param .u32 n)\n.maxntid 64, 1, 1\n{\n" +
           ".reg .pred %p<4>; .reg .b16 %h<4>; .reg .b32 %r<40>; .reg .f32 %f<40>; .reg .b64 %rd<8>; .shared .align 16 .b8 own[64];\n"
           "ld.param.u64 %rd0, [out]; cvta.to.global.u64 %rd1, %rd0; ld.param.u32 %r0, [n];\n" +
           body + "\nret;\n}\n";
}

static std::string store(unsigned i, const char *reg)
{
    return std::string("st.global.u32 [%rd1+") + std::to_string(4 * i) + "], " + reg + ";\n";
}

static std::string kernels()
{
    std::string s = head, own; /* own: %rd3 is where a thread's own word goes */
    own = "mov.u32 %r30, %tid.x; mul.wide.u32 %rd2, %r30, 4; add.s64 %rd3, %rd1, %rd2;\n";
    s += kernel(
        "integers",
        "mov.u32 %r1, 0x80000001; mov.u32 %r2, 0x04838281; mov.u32 %r3, 33;\n"
        "shl.b32 %r10, %r1, %r3;\n" +
            store(0, "%r10") +                                        /* by more than there are bits: 0 */
            "shr.u32 %r10, %r1, %r3;\n" + store(1, "%r10") +          /* likewise */
            "shr.s32 %r10, %r1, %r3;\n" + store(2, "%r10") +          /* the sign */
            "prmt.b32 %r10, %r2, %r0, 0x7089;\n" + store(3, "%r10") + /* bytes; with 8: their signs */
            "shf.l.wrap.b32 %r10, %r2, %r1, %r3;\n" + store(4, "%r10") + "shf.r.wrap.b32 %r10, %r2, %r1, %r3;\n" +
            store(5, "%r10") +
            "mul.wide.s32 %rd4, %r1, -2; cvt.u32.u64 %r10, %rd4; shr.u64 %rd4, %rd4, 32; cvt.u32.u64 %r11, %rd4;\n" +
            store(6, "%r10") + store(7, "%r11") + "cvt.u16.u32 %h0, %r2; cvt.s32.s16 %r10, %h0;\n" + store(8, "%r10") +
            "setp.lt.s32 %p0, %r1, 0; selp.b32 %r10, 1, 2, %p0;\n" + store(9, "%r10") +
            "@%p0 bra over; mov.u32 %r10, 9;\nover: @!%p0 mov.u32 %r10, 8;\n" + store(10, "%r10") +
            "mad.lo.s32 %r10, %r0, -3, 1;\n" + store(11, "%r10") +
            "mov.b32 {%h0, %h1}, %r2; mov.b32 %r10, {%h1, %h0};\n" + store(12, "%r10"));
    s += kernel("floats",
                "mov.f32 %f0, 0f7FC00000; mov.f32 %f1, 0f3F800000; mov.f32 %f2, 0f80000000; mov.f32 %f3, 0f00000000;\n"
                "setp.ltu.f32 %p0, %f0, %f1; setp.lt.f32 %p1, %f0, %f1; setp.neu.f32 %p2, %f0, %f0;\n"
                "selp.u32 %r10, 1, 0, %p0; selp.u32 %r11, 1, 0, %p1; selp.u32 %r12, 1, 0, %p2;\n" +
                    store(0, "%r10") + store(1, "%r11") + store(2, "%r12") + "max.f32 %f10, %f0, %f1;\n" +
                    store(3, "%f10") +                               /* the number */
                    "min.f32 %f10, %f3, %f2;\n" + store(4, "%f10") + /* -0 */
                    "copysign.f32 %f10, %f2, %f1;\n" + store(5, "%f10") +
                    "mov.f32 %f4, 0f3F800800; mov.f32 %f5, 0fBF800000; fma.rn.f32 %f10, %f4, %f4, %f5;\n" +
                    store(6, "%f10") + "cvt.rn.f32.s32 %f10, -16777217;\n" + store(7, "%f10") +
                    "ex2.approx.f32 %f10, %f5;\n" + store(8, "%f10"));
    s += kernel(
        "warps",
        own +
            "shfl.sync.bfly.b32 %r1|%p0, %r30, 3, 31, -1; shfl.sync.down.b32 %r2|%p1, %r30, 4, 0x181F, -1;\n"
            "selp.u32 %r3, 100, 0, %p1; add.s32 %r2, %r2, %r3; setp.eq.u32 %p2, %r30, 40;\n"
            "vote.sync.any.pred %p3, %p2, -1; selp.u32 %r4, 1, 0, %p3;\n"
            "mov.u32 %r5, own; shl.b32 %r6, %r30, 2; and.b32 %r6, %r6, 60; add.s32 %r5, %r5, %r6; st.shared.u32 [%r5], %r30;\n"
            "bar.sync 0; ld.shared.u32 %r7, [own+4];\n"
            "st.global.u32 [%rd3], %r1; st.global.u32 [%rd3+256], %r2; st.global.u32 [%rd3+512], %r4; st.global.u32 [%rd3+768], %r7;");
    s += kernel("calls", "{ .param .b32 argument; .param .b32 result; st.param.b32 [argument], %r0;\n"
                         "call.uni (result), twice, (argument); ld.param.b32 %r1, [result]; }\n" +
                             store(0, "%r1"));
    s +=
        kernel("halves",
               "mov.f32 %f0, 0f3F800000; mov.f32 %f1, 0fC0000000; cvt.rn.f16x2.f32 %r1, %f0, %f1;\n" + store(0, "%r1") +
                   "{.reg .b16 l, h; mov.b32 {l, h}, %r1; cvt.f32.f16 %f2, l; cvt.f32.f16 %f3, h;}\n" +
                   store(1, "%f2") + store(2, "%f3") +
                   "mov.u32 %r2, 0x4048; {.reg .b16 l, h; mov.b32 {l, h}, %r2; cvt.rn.f16x2.e4m3x2 %r3, l;}\n" +
                   store(3, "%r3"));
    s += kernel("crooked", "st.global.u32 [%rd1+2], %r0;");
    s += kernel("outside", "ld.global.u32 %r1, [%rd1+4096];");
    s += kernel("shared_outside", "st.shared.u32 [own+64], %r0;");
    s += kernel("parted", own + "setp.lt.u32 %p0, %r30, 5; @%p0 bra over; bar.sync 0;\nover:");
    s += kernel("unknown_operation", "sin.approx.f32 %f0, %f1;");
    s += ".visible .entry fewer_arguments(.param .u64 out)\n{\nret;\n}\n";
    return s;
}

/* The words after a launch of one block; `error`: what the launch and the wait for it give together. */
static std::vector<uint32_t> words_of(void (*launched)(uint32_t *, uint32_t), unsigned threads, cudasim_threads order,
                                      cudaError_t error)
{
    cudasim_config c = {};
    c.quiet = 1;
    c.threads = order;
    c.seed = 3;
    cudasim_reset(&c);
    cudaStream_t s = new_stream();
    uint32_t *d = device_array<uint32_t>(1024);
    pinned<uint32_t> h(1024);
    ZO2_LAUNCH(launched, 1, threads, 0, s, d, 7);
    cudaError_t e = cudaGetLastError();
    if (!e) {
        download(h, d, s);
        e = cudaStreamSynchronize(s);
    }
    assert_int_equal(e, error);
    if (!error)
        reported_nothing();
    return h.v;
}

static void expected(const std::vector<uint32_t> &is, const std::vector<uint32_t> &should)
{
    for (size_t i = 0; i < should.size(); i++)
        if (is[i] != should[i])
            fail_msg("word %zu is 0x%x, not 0x%x", i, is[i], should[i]);
}

static void operations(void **state)
{
    (void)state;
    expected(words_of(integers, 1, CUDASIM_FORWARD, cudaSuccess),
             {0, 0, 0xFFFFFFFF, 0x0081FFFF, 2, 0x8241C140, 0xFFFFFFFE, 0, 0xFFFF8281, 1, 1, 0xFFFFFFEC, 0x82810483});
    expected(words_of(floats, 1, CUDASIM_FORWARD, cudaSuccess),
             {1, 0, 1, 0x3F800000, 0x80000000, 0xBF800000, 0x3A000400, 0xCB800000, 0x3F000000});
    expected(words_of(halves, 1, CUDASIM_FORWARD, cudaSuccess), {0x3C00C000, 0xC0000000, 0x3F800000, 0x40004400});
    expected(words_of(calls, 1, CUDASIM_FORWARD, cudaSuccess), {14});
}

static void lanes_meet(void **state)
{
    (void)state;
    for (cudasim_threads order : {CUDASIM_FORWARD, CUDASIM_REVERSE, CUDASIM_SHUFFLED}) {
        std::vector<uint32_t> w = words_of(warps, 64, order, cudaSuccess);
        for (uint32_t t = 0; t < 64; t++) {
            assert_int_equal(w[t], t ^ 3);
            assert_int_equal(w[64 + t], t % 8 < 4 ? t + 104 : t); /* segments of 8 lanes: what is beyond reads itself */
            assert_int_equal(w[128 + t], t / 32);
            assert_true(w[192 + t] % 16 == 1);
        }
    }
}

static void broken_rules(void **state)
{
    (void)state;
    words_of(crooked, 1, CUDASIM_FORWARD, cudaErrorLaunchFailure);
    reported("aren't aligned to 4");
    words_of(outside, 1, CUDASIM_FORWARD, cudaErrorLaunchFailure);
    reported("outside of device memory");
    words_of(shared_outside, 1, CUDASIM_FORWARD, cudaErrorLaunchFailure);
    reported("outside of the block's shared memory");
    words_of(parted, 32, CUDASIM_FORWARD, cudaErrorLaunchFailure);
    reported("waits for ever, thread 0 has returned");
    words_of(integers, 96, CUDASIM_FORWARD, cudaErrorLaunchFailure);
    reported("nvcc's kernel takes 64");
    words_of(fewer_arguments, 1, CUDASIM_FORWARD, cudaErrorLaunchFailure);
    reported("other arguments");
    words_of(unknown_operation, 1, CUDASIM_FORWARD, cudaErrorInvalidDeviceFunction);
    reported("the operation sin.approx.f32 isn't known");
    words_of(nowhere, 1, CUDASIM_FORWARD, cudaErrorInvalidDeviceFunction);
    reported("no function nowhere");
}

int main(void)
{
    char folder[] = "/tmp/zo2-ptx-XXXXXX";
    if (!mkdtemp(folder))
        return 1;
    const std::string path = std::string(folder) + "/kernels.ptx";
    FILE *f = fopen(path.c_str(), "w");
    const std::string text = kernels();
    if (!f || fwrite(text.data(), 1, text.size(), f) != text.size() || fclose(f))
        return 1;
    setenv("CUDASIM_PTX", folder, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations),
        cmocka_unit_test(lanes_meet),
        cmocka_unit_test(broken_rules),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path.c_str());
    rmdir(folder);
    return failed;
}

/* test_backend_null_plan_tune.c: the schedule of a step of OPT-175B that tunes its last 8 layers, without arithmetic, within 90 % of
 * a 24 GB GPU: what the backend saw in use is what the plan said, and what the link carries is what isn't there yet. */
#include "engine/families/families.h"
#include "engine/method/method.h"
#include "engine/model/tune.h"
#include "engine/plan/plan.h"
#include "tests/unit/engine/engine_testing.h"

#define STEPS 3
#ifdef __SANITIZE_ADDRESS__ /* the first of each list has every kind of chunk; the others have more of them */
#define CASES(list) 1
#else
#define CASES(list) (sizeof(list) / sizeof *(list))
#endif
#define SEQ 512

#define GPU_24 21600000000u /* 90 % of a GPU's 24 GB */

/* Bytes of wires of each step, and of them those of matrices below the fork. */
typedef struct sent {
    const zo2_arch *arch;
    uint64_t bytes[STEPS + 1], below[STEPS + 1];
} sent;

static void count(void *ud, const zo2_trace_event *e)
{
    sent *u = ud;
    if (e->kind != ZO2_TRACE_SPAN || strcmp(e->lane, "upload") != 0)
        return;
    u->bytes[e->step] += e->bytes;
    const zo2_tensor *t = e->tensor ? zo2_arch_by_name(u->arch, e->tensor) : NULL;
    if (t && zo2_block_of_use(u->arch, t) < u->arch->fork)
        u->below[e->step] += e->bytes;
}

static void pass(zo2_core *core, uint64_t step)
{
    zo2_probe_plan probes;
    zo2_journal_record r = {.step = step, .queries = 1};
    zo2_method_get()->probes(1, 0, &probes);
    MUST(zo2_core_train_pass(core, &probes));
    MUST(zo2_history_push(&core->history, &r));
}

/* Returns the peak; steps of u are counted. */
static uint64_t run(const char *tune, zo2_wire wire, zo2_wire frozen, uint64_t device_bytes, sent *u, zo2_plan *plan)
{
    zo2_arch model, arch;
    zo2_engine_opts o;
    MUST(zo2_arch_from_name(&model, "opt-175b"));
    MUST(zo2_arch_tune(&arch, &model, tune, 0));
    zo2_engine_opts_init(&o);
    o.max_rows = o.max_rows_micro = 1;
    o.max_seq = SEQ;
    o.wire = wire;
    o.frozen_wire = frozen;
    o.compute = ZO2_F16;
    o.device_bytes = device_bytes;
    o.threads = 2;
    o.host_bytes = UINT64_MAX; /* no masters here */
    zo2_run_settings settings = {
        .dist = ZO2_GAUSSIAN, .eps = 1e-3, .queries = 1, .wire = wire, .compute = ZO2_F16, .micro_batch = 1};
    zo2_core_config config = {.arch = &arch, .ops = zo2_backend_get(ZO2_BACKEND_NULL), .settings = &settings};
    zo2_core core;
    MUST(zo2_shape_from_opts(&config.shape, &arch, config.ops, &o));
    MUST(zo2_core_create(&core, &config));
    int32_t tokens[SEQ] = {0};
    uint8_t loss[SEQ] = {0};
    loss[SEQ - 1] = 1;
    zo2_batch b = {.struct_size = sizeof b, .rows = 1, .seq = SEQ, .tokens = tokens, .loss = loss};
    MUST(zo2_core_pack(&core, &b));
    *u = (sent){.arch = &arch};
    zo2_core_trace(&core, count, u);
    for (uint64_t i = 0; i < STEPS; i++)
        pass(&core, i);
    uint64_t peak = core.ops->peak_bytes(core.be);
    *plan = core.plan.pub;
    zo2_core_destroy(&core);
    zo2_arch_free(&arch);
    zo2_arch_free(&model);
    return peak;
}

static void near(const char *what, uint64_t have, uint64_t want)
{
    if (have > want + want / 50 || have + want / 50 < want)
        fail_msg("%s: %llu bytes, planned %llu", what, (unsigned long long)have, (unsigned long long)want);
}

/* The largest budget of each wire is such that these layers and the head are there as a whole: 24 GB for fp8. */
static void the_last_8_layers_of_opt_175b(void **state)
{
    (void)state;
    static const struct {
        zo2_wire wire, frozen;
        uint64_t budget;
    } list[] = {{ZO2_WIRE_E4M3, ZO2_WIRE_E4M3, GPU_24},
                {ZO2_WIRE_BF16, ZO2_WIRE_BF16, 40000000000},
                {ZO2_WIRE_BF16, ZO2_WIRE_E4M3, 40000000000}};
    for (size_t i = 0; i < CASES(list); i++) {
        zo2_plan plan;
        sent u;
        uint64_t peak = run("layers=88-95", list[i].wire, list[i].frozen, list[i].budget, &u, &plan);
        print_message(
            "opt-175b, last 8 layers, %s, frozen %s: peak %.2f GB, planned %.2f GB, %.2f GB stay; a step uploads %.2f GB\n",
            zo2_wire_name(list[i].wire), zo2_wire_name(list[i].frozen), 1e-9 * (double)peak,
            1e-9 * (double)plan.device_peak_bytes, 1e-9 * (double)plan.resident_bytes, 1e-9 * (double)u.bytes[1]);
        assert_true(peak <= plan.device_peak_bytes && peak + 256 > plan.device_peak_bytes);
        assert_true(plan.device_peak_bytes <= list[i].budget);
        assert_int_equal(plan.trunk_blocks, 89);
        assert_true(plan.proposed_layers >= 8);
        /* The tuned layers' wires change in every step, the head's never; what room is left has wires of the trunk. */
        near("a step", u.bytes[1], plan.wire_bytes_per_step);
        near("above the fork", u.bytes[1] - u.below[1], plan.wire_bytes_per_step_filled);
        assert_int_equal(u.bytes[1], u.bytes[2]);
        near("what stays", u.bytes[0] - u.bytes[1], plan.resident_bytes - plan.wire_bytes_per_step_filled);
        assert_true(u.below[1] < u.below[0]);
    }
}

/* Too little for the layers and the head: still within 24 GB, and frozen wires come first. */
static void within_24_gb(void **state)
{
    (void)state;
    static const char *const tunes[] = {"layers=88-95", "vectors", "lora:r=8,alpha=16,targets=q_proj+v_proj"};
    for (size_t i = 0; i < CASES(tunes); i++) {
        zo2_plan plan;
        sent u;
        uint64_t peak = run(tunes[i], ZO2_WIRE_BF16, ZO2_WIRE_BF16, GPU_24, &u, &plan);
        print_message("opt-175b, %s: peak %.2f GB, planned %.2f GB; a step uploads %.2f GB\n", tunes[i],
                      1e-9 * (double)peak, 1e-9 * (double)plan.device_peak_bytes, 1e-9 * (double)u.bytes[1]);
        assert_true(peak <= plan.device_peak_bytes && peak + 256 > plan.device_peak_bytes);
        assert_true(plan.device_peak_bytes <= GPU_24);
        near(tunes[i], u.bytes[1], plan.wire_bytes_per_step);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_8_layers_of_opt_175b),
        cmocka_unit_test(within_24_gb),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

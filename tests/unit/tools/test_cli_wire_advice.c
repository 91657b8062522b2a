/* Which wire is advised, of plans that are made up: the search asks for each wire's, and takes the one that loses least. */
#include "tools/cli/wire_advice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define MODEL 1000u /* parameters */

/* A machine with room for so many bytes of each. */
typedef struct room {
    uint64_t device, host; /* 0: any */
    uint64_t frozen;       /* parameters that don't move */
    double seconds;        /* a step's that isn't wholly on the device and in RAM; one that is takes half of it */
    unsigned timed;        /* plans that were asked for times */
} room;

static uint64_t bits_of(zo2_wire wire)
{
    static const struct {
        zo2_wire wire;
        uint64_t bits;
    } table[] = {{ZO2_WIRE_BF16, 16}, {ZO2_WIRE_FP32, 32}, {ZO2_WIRE_FP16, 16}, {ZO2_WIRE_F10, 10},  {ZO2_WIRE_F8, 8},
                 {ZO2_WIRE_F6, 6},    {ZO2_WIRE_E4M3, 8},  {ZO2_WIRE_E5M2, 8},  {ZO2_WIRE_BF12, 12}, {ZO2_WIRE_I4, 4}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].wire == wire)
            return table[i].bits;
    fail_msg("wire %d isn't in the table", (int)wire);
    return 0;
}

/* bf16 and fp32 wires are a part of the master. */
static uint64_t master_bits(zo2_wire wire)
{
    return wire == ZO2_WIRE_BF16 || wire == ZO2_WIRE_FP32 ? 32 : 32 + bits_of(wire);
}

static zo2_status made_up(const void *ud, zo2_engine_opts *o, const zo2_plan *timed, zo2_plan *out)
{
    room *r = (room *)(uintptr_t)ud;
    const zo2_wire moving = o->wire ? o->wire : ZO2_WIRE_BF16, frozen = o->frozen_wire ? o->frozen_wire : moving;
    const uint64_t tuned = MODEL - r->frozen;
    r->timed += timed != NULL;
    *out =
        (zo2_plan){.struct_size = sizeof *out, .parameters = MODEL, .budget_bytes = r->device, .spill_bytes = r->host};
    out->frozen_bytes = r->frozen * bits_of(frozen) / 8;
    out->master_bytes = tuned * master_bits(moving) / 8 + out->frozen_bytes;
    out->host_min_bytes = out->master_bytes;
    const uint64_t wires = tuned * bits_of(moving) / 8 + out->frozen_bytes;
    out->resident_whole = wires <= r->device;
    out->resident_bytes = out->resident_whole ? wires : r->device;
    out->wire_bytes_per_step = wires;
    out->read_bytes_per_step = r->host && out->master_bytes > r->host ? out->master_bytes - r->host : 0;
    const int there = (!r->device || out->resident_whole) && !out->read_bytes_per_step;
    out->seconds_per_step = timed ? r->seconds * (there ? 0.5 : 1) : 0;
    return ZO2_OK;
}

/* As made_up(), of budgets that have to be kept. */
static zo2_status strict(const void *ud, zo2_engine_opts *o, const zo2_plan *timed, zo2_plan *out)
{
    const room *r = ud;
    made_up(ud, o, timed, out);
    if ((r->device && out->wire_bytes_per_step > r->device) || (r->host && out->master_bytes > r->host))
        return zo2_error(ZO2_ERR_NOMEM, "too much with another wire");
    return ZO2_OK;
}

static cli_wire_advices found(room *r, zo2_engine_opts *o)
{
    cli_wire_advices out;
    zo2_plan now;
    made_up(r, o, &(zo2_plan){.struct_size = 0}, &now);
    r->timed = 0;
    cli_wire_advice_find(&out, &(cli_wire_search){.opts = o, .now = &now, .plan = made_up, .ud = r});
    return out;
}

static cli_wire_advice fitting(room *r, zo2_engine_opts *o)
{
    cli_wire_advice out;
    zo2_plan now;
    strict(r, o, NULL, &now);
    zo2_error(ZO2_ERR_NOMEM, "too much as it is");
    cli_wire_advice_fit(&out, &(cli_wire_search){.opts = o, .now = &now, .plan = strict, .ud = r});
    assert_string_equal(zo2_last_error(), "too much as it is");
    return out;
}

static void is(const cli_wire_advice *a, const char *option, zo2_wire wire)
{
    assert_int_equal(a->plan.parameters, MODEL);
    assert_string_equal(a->option, option);
    assert_string_equal(zo2_wire_name(a->wire), zo2_wire_name(wire));
}

static void on_the_device(void **state)
{
    (void)state;
    zo2_engine_opts o = {0};
    room r = {.device = 1100, .frozen = 900, .seconds = 1}; /* of 2,000 bytes; what moves takes 200 */
    cli_wire_advices a = found(&r, &o);
    is(&a.device, "--frozen-wire", ZO2_WIRE_F8); /* not fp8, which takes the same and loses more */
    assert_int_equal(a.device.plan.resident_whole, 1);
    assert_int_equal(r.timed, 1);
    assert_int_equal(a.host.plan.parameters, 0);
    r.device = 1000;
    a = found(&r, &o);
    is(&a.device, "--frozen-wire", ZO2_WIRE_F6);
    r.device = 300;
    a = found(&r, &o); /* no frozen wire is small enough, nor one of all: i4 is for what doesn't move */
    assert_int_equal(a.device.plan.parameters, 0);
    r.frozen = 0;
    r.device = 1300;
    a = found(&r, &o);
    is(&a.device, "--wire", ZO2_WIRE_F10);
    r.device = 2000; /* it is there */
    assert_int_equal(found(&r, &o).device.plan.parameters, 0);
}

static void not_shorter(void **state)
{
    (void)state;
    zo2_engine_opts o = {.frozen_wire = ZO2_WIRE_F8};
    room r = {.device = 1000, .frozen = 900};
    cli_wire_advices a = found(&r, &o);
    is(&a.device, "--frozen-wire", ZO2_WIRE_F6); /* without times, fewer bytes */
    assert_int_equal(r.timed, 0);
    zo2_plan now;
    made_up(&r, &o, NULL, &now);
    now.seconds_per_step = 1e-9; /* whatever else is planned takes longer */
    r.seconds = 1;
    cli_wire_advice_find(&a, &(cli_wire_search){.opts = &o, .now = &now, .plan = made_up, .ud = &r});
    assert_int_equal(a.device.plan.parameters, 0);
}

static void in_ram(void **state)
{
    (void)state;
    zo2_engine_opts o = {0};
    room r = {.host = 1400, .frozen = 900, .seconds = 1}; /* 400 of masters that move, 1,800 of wires */
    cli_wire_advices a = found(&r, &o);
    is(&a.host, "--frozen-wire", ZO2_WIRE_F8);
    assert_int_equal(a.host.plan.read_bytes_per_step, 0);
    assert_int_equal(a.device.plan.parameters, 0);
    o.wire = ZO2_WIRE_F8;
    r = (room){.host = 4900, .seconds = 1};
    a = found(&r, &o);
    is(&a.host, "--wire", ZO2_WIRE_BF16); /* not f6, which takes more of it, nor fp32, which takes as much */
}

static void to_fit(void **state)
{
    (void)state;
    zo2_engine_opts o = {0};
    room r = {.device = 1100, .frozen = 900};
    cli_wire_advice a = fitting(&r, &o);
    is(&a, "--frozen-wire", ZO2_WIRE_F8);
    r.device = 700;
    a = fitting(&r, &o);
    is(&a, "--frozen-wire", ZO2_WIRE_I4);
    r.device = 620; /* not with 200 bytes of bf16 that move; bits of both, then */
    a = fitting(&r, &o);
    assert_int_equal(a.plan.parameters, 0);
    r = (room){.device = 800};
    a = fitting(&r, &o);
    is(&a, "--wire", ZO2_WIRE_F6);
    o.wire = ZO2_WIRE_F8;
    r = (room){.host = 4900};
    o.host_bytes = r.host;
    a = fitting(&r, &o);
    is(&a, "--wire", ZO2_WIRE_BF16);
    r.host = 3000;
    a = fitting(&r, &o);
    assert_int_equal(a.plan.parameters, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_the_device),
        cmocka_unit_test(not_shorter),
        cmocka_unit_test(in_ram),
        cmocka_unit_test(to_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

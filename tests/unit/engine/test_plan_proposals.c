/* test_plan_proposals.c: predicted times and what the planner proposes, from invented rates: each bottleneck and both
 * sides of every threshold. No machine is measured but in the last test. */
#include "engine/families/families.h"
#include "engine/measure/rates.h"
#include "engine/plan/plan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HUGE_RATE 1e300 /* what takes no time */
#define ROWS      16u
#define SEQ       257u /* 256 tokens of a row are computed */

static zo2_arch arch;

static int setup(void **state)
{
    (void)state;
    return zo2_arch_from_name(&arch, "opt-1.3b");
}

static int teardown(void **state)
{
    (void)state;
    zo2_arch_free(&arch);
    return 0;
}

static zo2_engine_opts base_opts(void)
{
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    o.max_rows = ROWS;
    o.max_seq = SEQ;
    o.compute = ZO2_F16;
    o.threads = 2;
    return o;
}

/* Nothing takes time but what a test says. */
static zo2_rates no_time(void)
{
    return (zo2_rates){.update_weights = HUGE_RATE,
                       .upload_bytes = HUGE_RATE,
                       .flops = HUGE_RATE,
                       .decode_weights = HUGE_RATE,
                       .fold_weights = HUGE_RATE};
}

static zo2_status plan_with(const zo2_engine_opts *o, const zo2_rates *r, zo2_plan *out)
{
    zo2_shape shape;
    zo2_full_plan full;
    assert_int_equal(zo2_shape_from_opts(&shape, &arch, &zo2_backend_null, o), ZO2_OK);
    zo2_status s = zo2_plan_make(&full, &arch, &zo2_backend_null, &shape, NULL, r);
    *out = full.pub;
    return s;
}

static zo2_plan plan_of(const zo2_engine_opts *o, const zo2_rates *r)
{
    zo2_plan p;
    if (plan_with(o, r, &p))
        fail_msg("%s", zo2_last_error());
    return p;
}

static void assert_near(double a, double b)
{
    if (!(fabs(a - b) <= 1e-9 * fabs(b)))
        fail_msg("%.17g is not %.17g", a, b);
}

static void assert_as_set(const zo2_plan *p, const zo2_engine_opts *o)
{
    assert_int_equal(p->proposed_pending, o->pending > 0 ? o->pending : 0);
    assert_int_equal(p->proposed_dist, o->dist ? o->dist : ZO2_GAUSSIAN);
    assert_int_equal(p->proposed_batch, 0);
    assert_near(p->proposed_seconds, p->seconds_per_step);
}

/* ---- times ---- */

static void nothing_is_said_without_rates(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    zo2_plan p = plan_of(&o, NULL);
    assert_true(p.seconds_per_step == 0 && p.gemm_rate == 0 && p.proposed_seconds == 0);
    assert_string_equal(p.bottleneck, "");
    assert_int_equal(p.proposed_pending | p.proposed_batch | p.proposed_micro_batch | (uint32_t)p.proposed_dist, 0);
    assert_true(p.wire_bytes_per_step > 0 && p.chunk_bytes > 0);
}

static void times_follow_their_rates(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    double n = (double)arch.parameters;
    zo2_rates r = no_time();
    r.update_weights = 2e9;
    zo2_plan p = plan_of(&o, &r);
    assert_string_equal(p.bottleneck, "update");
    assert_near(p.update_seconds, n / 2e9);
    assert_near(p.seconds_per_step, p.update_seconds);
    r.noise_weights = 8e9; /* every update makes its noise, memory is passed over once in four steps */
    o.pending = 3;
    o.queries = 2;
    p = plan_of(&o, &r);
    assert_near(p.update_seconds, n * (2 / 8e9 + (1 / 2e9 - 1 / 8e9) / 4));

    o = base_opts();
    r = no_time();
    r.upload_bytes = 1e9;
    p = plan_of(&o, &r);
    assert_string_equal(p.bottleneck, "upload");
    assert_near(p.upload_seconds, (double)p.wire_bytes_per_step / 1e9);
    assert_true((double)p.wire_bytes_per_step > 1.9 * n && (double)p.wire_bytes_per_step < 2 * n + 1e7);
    o.max_rows_micro = 2; /* residual streams share the link with wires; as many come as go */
    o.device_bytes = p.device_min_bytes;
    while (plan_with(&o, &r, &p)) /* the smallest budget of this shape */
        o.device_bytes = p.device_min_bytes;
    o.device_bytes = p.device_min_bytes;
    p = plan_of(&o, &r);
    assert_true(p.staged_bytes > 0);
    assert_near(p.upload_seconds, ((double)p.wire_bytes_per_step + (double)p.staged_bytes_per_step / 2) / 1e9);

    o = base_opts();
    r = no_time();
    r.flops = 1e12;
    p = plan_of(&o, &r);
    assert_string_equal(p.bottleneck, "compute");
    double products = p.compute_seconds;
    assert_true(products * 1e12 > 4 * 16 * 256 * 1.2e9 && products * 1e12 < 4 * 16 * 256 * 1.6e9);
    o.queries = 3;
    assert_near(plan_of(&o, &r).compute_seconds, 3 * products);
}

/* A decode folds K / 2 updates, each with the noise of all queries; it is done again for every micro-batch and query. */
static void decodes_fold(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    zo2_rates r = no_time();
    r.decode_weights = 10e9;
    double once = plan_of(&o, &r).compute_seconds;
    r.fold_weights = 20e9;
    assert_near(plan_of(&o, &r).compute_seconds, once);
    o.pending = 3;
    assert_near(plan_of(&o, &r).compute_seconds, once * (1 + 1.5 / 2));
    o.queries = 2;
    assert_near(plan_of(&o, &r).compute_seconds, once * 2 * (1 + 1.5 * 2 / 2));
    r.fold_weights = 0; /* not told apart: as a decode */
    assert_near(plan_of(&o, &r).compute_seconds, once * 2 * (1 + 1.5 * 2));
    o = base_opts();
    o.max_rows_micro = 4;
    double four = plan_of(&o, &r).compute_seconds; /* the head comes once */
    assert_true(four > 3 * once && four < 4 * once);
}

static void shared_cores_add_up(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    zo2_rates r = no_time();
    r.update_weights = 2e9;
    r.upload_bytes = 4e9;
    r.flops = 1e12;
    zo2_plan apart = plan_of(&o, &r);
    assert_near(apart.seconds_per_step, apart.compute_seconds);
    r.shared = 1;
    zo2_plan p = plan_of(&o, &r);
    assert_near(p.seconds_per_step, p.compute_seconds + p.update_seconds + p.upload_seconds / 2); /* two threads */
    assert_string_equal(p.bottleneck, "compute");
    r.upload_bytes = 1e6; /* one thread's copies take longest */
    p = plan_of(&o, &r);
    assert_near(p.seconds_per_step,
                fmax(p.upload_seconds, p.compute_seconds + p.update_seconds + p.upload_seconds / 2));
}

/* ---- pending updates ---- */

static void computing_needs_no_proposal(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    zo2_rates r = no_time();
    r.flops = 1e12;
    r.update_weights = 10e9;
    r.upload_bytes = 50e9;
    zo2_plan p = plan_of(&o, &r);
    assert_string_equal(p.bottleneck, "compute");
    assert_as_set(&p, &o);
    assert_int_equal(p.proposed_micro_batch, 0); /* no budget was given */
    o.pending = 5;
    o.dist = ZO2_RADEMACHER;
    p = plan_of(&o, &r);
    assert_as_set(&p, &o);
}

/* No K is a twentieth faster than the proposed one, and that one is what it says. */
static void check_pending(zo2_engine_opts o, const zo2_rates *r, uint32_t least, uint32_t most)
{
    zo2_plan p = plan_of(&o, r);
    if (p.proposed_pending < least || p.proposed_pending > most)
        fail_msg("K %u is not in %u to %u", p.proposed_pending, least, most);
    for (int32_t k = 0; k <= 15; k++) {
        o.pending = k;
        zo2_plan with = plan_of(&o, r);
        assert_true(with.seconds_per_step >= 0.95 * p.proposed_seconds);
        if ((uint32_t)k == p.proposed_pending)
            assert_near(with.seconds_per_step, p.proposed_seconds);
    }
}

static void updates_that_take_longest_are_put_off(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    zo2_rates r = no_time();
    r.update_weights = 1e9;
    r.noise_weights = 100e9; /* memory is what takes the time */
    r.decode_weights = 50e9;
    r.fold_weights = 50e9;
    check_pending(o, &r, 2, 15);
    r.noise_weights = 1.01e9; /* noise is: it comes with every update, put off or not */
    check_pending(o, &r, 0, 0);
    r.noise_weights = 0; /* not told apart: nothing to be gained */
    check_pending(o, &r, 0, 0);
    r = no_time();
    r.update_weights = 1e9;
    r.noise_weights = 100e9;
    r.decode_weights = 3e9; /* folding costs more than it saves */
    r.fold_weights = 1e9;
    check_pending(o, &r, 0, 1);
}

/* What makes a step less than a twentieth shorter is left. The update is a share of a step whose lanes share cores. */
static void a_twentieth_is_needed(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    zo2_rates r = no_time();
    r.shared = 1;
    r.noise_weights = HUGE_RATE;
    r.flops = 1e12;
    double products = plan_of(&o, &r).compute_seconds, n = (double)arch.parameters;
    r.noise_weights = 1e200;
    r.update_weights = n / (0.04 * products);
    assert_int_equal(plan_of(&o, &r).proposed_pending, 0);
    r.update_weights = n / (0.08 * products); /* of 1.08, K = 15 saves 0.075 */
    assert_true(plan_of(&o, &r).proposed_pending > 0);
}

/* Wires that stay are uploaded when they are new: then K saves uploads. */
static void pending_saves_uploads_of_what_stays(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    zo2_rates r = no_time();
    r.upload_bytes = 1e9;
    o.device_bytes = plan_of(&o, NULL).device_min_bytes;
    zo2_plan p = plan_of(&o, &r);
    assert_int_equal(p.resident_bytes, 0);
    assert_int_equal(p.proposed_pending, 0);
    o.device_bytes += 2000000000;
    p = plan_of(&o, &r);
    assert_true(p.resident_bytes > 1700000000);
    assert_true(p.proposed_pending > 0);
    o.pending = (int32_t)p.proposed_pending;
    o.max_rows_micro = p.proposed_micro_batch;
    assert_near(plan_of(&o, &r).seconds_per_step, p.proposed_seconds);
}

/* ---- distribution ---- */

static void noise_that_takes_half_proposes_rademacher(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    zo2_rates r = no_time();
    r.update_weights = 1e9;
    r.noise_weights = 1e9 / 0.49;
    r.decode_weights = 1.2e9; /* with K = 1 computing takes longer than the update does now */
    r.fold_weights = 1.2e9;
    r.flops = 1e14;
    zo2_plan p = plan_of(&o, &r);
    assert_string_equal(p.bottleneck, "update");
    assert_int_equal(p.proposed_pending, 0);
    assert_int_equal(p.proposed_dist, ZO2_GAUSSIAN);
    r.noise_weights = 1e9 / 0.51;
    assert_int_equal(plan_of(&o, &r).proposed_dist, ZO2_RADEMACHER);
    o.dist = ZO2_RADEMACHER;
    assert_int_equal(plan_of(&o, &r).proposed_dist, ZO2_RADEMACHER);
    o.dist = ZO2_GAUSSIAN;
    r.upload_bytes = 1e8; /* then the link is what takes the time */
    assert_int_equal(plan_of(&o, &r).proposed_dist, ZO2_GAUSSIAN);

    r = no_time(); /* on the device: a value costs what a fold costs */
    r.decode_weights = 1e9;
    r.fold_weights = 1e9 / 0.51;
    p = plan_of(&o, &r);
    assert_string_equal(p.bottleneck, "compute");
    assert_int_equal(p.proposed_dist, ZO2_RADEMACHER);
    r.fold_weights = 1e9 / 0.49;
    assert_int_equal(plan_of(&o, &r).proposed_dist, ZO2_GAUSSIAN);

    r = no_time(); /* shared cores: 0.6 of each lane, but 0.4 of all with the products */
    r.shared = 1;
    r.update_weights = 1e9;
    r.noise_weights = 1e9 / 0.6;
    r.flops = 1e12;
    double products = plan_of(&o, &r).compute_seconds;
    assert_int_equal(plan_of(&o, &r).proposed_dist, ZO2_GAUSSIAN);
    r.flops = 1e12 * products / ((double)arch.parameters / 1e9) * 10;
    assert_int_equal(plan_of(&o, &r).proposed_dist, ZO2_RADEMACHER);
}

/* ---- batch and micro-batch ---- */

/* Computing takes as long as the rest with the proposed batch, or a row more does not fit. */
static void check_batch(zo2_engine_opts o, const zo2_rates *r, int limited)
{
    zo2_plan p = plan_of(&o, r), with;
    assert_true(p.proposed_batch > o.max_rows);
    assert_in_range(p.proposed_batch_micro, 1, p.proposed_batch);
    o.pending = (int32_t)p.proposed_pending;
    o.max_rows = p.proposed_batch;
    o.max_rows_micro = p.proposed_batch_micro;
    with = plan_of(&o, r);
    assert_near(with.seconds_per_step, p.proposed_batch_seconds);
    assert_true(with.compute_seconds <= fmax(with.update_seconds, with.upload_seconds));
    assert_true(p.proposed_batch_seconds / p.proposed_batch < p.seconds_per_step / ROWS);
    o.max_rows++;
    if (limited) {
        o.max_rows_micro = 1;
        assert_int_equal(plan_with(&o, r, &with), ZO2_ERR_NOMEM);
    } else {
        o.max_rows_micro = 0;
        with = plan_of(&o, r);
        assert_true(with.compute_seconds > fmax(with.update_seconds, with.upload_seconds));
    }
}

static void a_slow_link_proposes_a_larger_batch(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    zo2_rates r = no_time();
    r.upload_bytes = 1e9;
    r.flops = 100e12;
    zo2_plan p = plan_of(&o, &r);
    assert_string_equal(p.bottleneck, "upload");
    assert_int_equal(p.proposed_pending, 0); /* nothing stays on the device */
    check_batch(o, &r, 0);
    /* every token has its loss: the head's rows of the whole batch are what a small device can't hold */
    r.flops = HUGE_RATE;
    o.device_bytes = p.device_peak_bytes;
    check_batch(o, &r, 1);
}

/* Streams of micro-batches that wait are in host memory: its budget, too, bounds the batch. */
static void the_host_bounds_the_batch(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    zo2_rates r = no_time();
    r.upload_bytes = 1e6;     /* no traffic of streams makes a difference */
    o.max_loss_tokens = ROWS; /* few, so that the head's rows don't bound it */
    o.max_rows_micro = 1;
    zo2_plan p = plan_of(&o, NULL);
    o.device_bytes = p.device_min_bytes + (16u << 20); /* not enough for sixteen rows' streams */
    p = plan_of(&o, &r);
    assert_true(p.staged_bytes > 0);
    uint64_t free_batch = p.proposed_batch;
    assert_true(free_batch > 2 * ROWS);
    o.host_bytes = p.host_peak_bytes + p.staged_bytes; /* twice the streams */
    p = plan_of(&o, &r);
    assert_in_range(p.proposed_batch, ROWS + 1, 2 * ROWS + 1);
    o.max_rows = p.proposed_batch;
    o.max_loss_tokens = p.proposed_batch;
    o.max_rows_micro = p.proposed_batch_micro;
    p = plan_of(&o, &r); /* it fits */
    assert_true(p.host_peak_bytes <= o.host_bytes);
}

static void a_slow_update_proposes_a_larger_batch(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    zo2_rates r = no_time();
    r.update_weights = 1e9; /* no noise rate: K can't help */
    r.flops = 100e12;
    assert_string_equal(plan_of(&o, &r).bottleneck, "update");
    check_batch(o, &r, 0);
    r.flops = 1e12; /* computing takes longest: no larger batch is needed */
    assert_int_equal(plan_of(&o, &r).proposed_batch, 0);
    r.flops = HUGE_RATE; /* no batch is large enough: there is an end all the same */
    assert_int_equal(plan_of(&o, &r).proposed_batch, 256 * ROWS);
}

static void micro_batches_are_chosen_by_time(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    zo2_rates r = no_time();
    zo2_plan whole = plan_of(&o, NULL), p;
    r.decode_weights = 1e9;
    o.device_bytes = whole.device_min_bytes + (512u << 20); /* a block's wires are held */
    o.max_rows_micro = 1;                                   /* decodes sixteen times what one does */
    p = plan_of(&o, &r);
    assert_int_equal(p.proposed_micro_batch, ROWS);
    assert_true(p.proposed_seconds < 0.2 * p.seconds_per_step);
    o.max_rows_micro = 0;
    assert_near(plan_of(&o, &r).seconds_per_step, p.proposed_seconds);
    o.max_rows_micro = 1;
    r.decode_weights = HUGE_RATE; /* decoding costs nothing: as it is set */
    r.flops = 1e12;
    assert_int_equal(plan_of(&o, &r).proposed_micro_batch, 1);

    /* the whole batch doesn't fit: the largest that does, which a plan then takes */
    r.decode_weights = 1e9;
    o.max_rows_micro = 0;
    o.device_bytes = whole.device_min_bytes - (64u << 20);
    assert_int_equal(plan_with(&o, &r, &p), ZO2_ERR_NOMEM);
    assert_in_range(p.proposed_micro_batch, 1, ROWS - 1);
    assert_int_equal(p.proposed_batch, 0);
    double seconds = p.proposed_seconds;
    o.max_rows_micro = p.proposed_micro_batch;
    assert_near(plan_of(&o, &r).seconds_per_step, seconds);
    o.max_rows_micro++;
    assert_int_equal(plan_with(&o, &r, &p), ZO2_ERR_NOMEM);
    o.device_bytes = 1; /* nothing fits */
    assert_int_equal(plan_with(&o, &r, &p), ZO2_ERR_NOMEM);
    assert_int_equal(p.proposed_micro_batch, 0);
}

/* ---- measuring ---- */

static void rates_are_measured(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    zo2_arch small;
    zo2_shape shape;
    zo2_rates r;
    o.backend = ZO2_BACKEND_CPU;
    o.compute = ZO2_F32;
    o.max_rows = 1;
    assert_int_equal(zo2_arch_from_name(&small, "opt-125m"), ZO2_OK);
    assert_int_equal(zo2_shape_from_opts(&shape, &small, &zo2_backend_cpu, &o), ZO2_OK);
    memset(&r, 0xFF, sizeof r);
    assert_int_equal(zo2_measure_rates(&r, &small, &zo2_backend_cpu, NULL, &shape, 1e-9), ZO2_OK); /* one pass each */
    const double all[] = {r.update_weights, r.noise_weights, r.upload_bytes, r.flops, r.decode_weights, r.seconds};
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
        assert_true(isfinite(all[i]) && all[i] > 0);
    assert_true(r.fold_weights >= 0 && isfinite(r.fold_weights));
    assert_int_equal(r.shared, 1);

    zo2_plan p;
    o.probe_seconds = 0;
    assert_int_equal(zo2_plan_estimate("opt-125m", &o, &p), ZO2_OK);
    assert_true(p.gemm_rate == 0 && p.seconds_per_step == 0);
    o.probe_seconds = 1e-9;
    assert_int_equal(zo2_plan_estimate("opt-125m", &o, &p), ZO2_OK);
    assert_true(p.gemm_rate > 0 && p.update_rate > 0 && p.seconds_per_step > 0 && p.probe_seconds > 0);
    zo2_arch_free(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_said_without_rates),
        cmocka_unit_test(times_follow_their_rates),
        cmocka_unit_test(decodes_fold),
        cmocka_unit_test(shared_cores_add_up),
        cmocka_unit_test(computing_needs_no_proposal),
        cmocka_unit_test(updates_that_take_longest_are_put_off),
        cmocka_unit_test(a_twentieth_is_needed),
        cmocka_unit_test(pending_saves_uploads_of_what_stays),
        cmocka_unit_test(noise_that_takes_half_proposes_rademacher),
        cmocka_unit_test(a_slow_link_proposes_a_larger_batch),
        cmocka_unit_test(the_host_bounds_the_batch),
        cmocka_unit_test(a_slow_update_proposes_a_larger_batch),
        cmocka_unit_test(micro_batches_are_chosen_by_time),
        cmocka_unit_test(rates_are_measured),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

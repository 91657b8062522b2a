/* test_plan_spill.c: where masters live when they may spill: which chunks stay in RAM, how evenly, what the others move, and
 * budgets down to the smallest. Sizes alone: nothing is spilled. */
#include "engine/families/families.h"
#include "engine/masters/masters.h"
#include "engine/masters/placement.h"
#include "engine/model/layout.h"
#include "engine/plan/plan.h"
#include "engine/plan/tiers.h"
#include "tests/unit/engine/engine_testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MIB (1ull << 20)

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

/* ---- placing ---- */

typedef struct placed {
    zo2_layout l;
    uint8_t *tier;
    zo2_tiers sum;
    uint32_t *stored_as;
} placed;

static placed cut_model(zo2_wire wire)
{
    placed p = {0};
    assert_int_equal(zo2_layout_create(&p.l, &arch, zo2_one_wire(wire), ZO2_F16, ZO2_TILE_RULE, 4 * MIB), ZO2_OK);
    p.tier = malloc(p.l.n_chunks);
    assert_non_null(p.tier);
    return p;
}

static void place(placed *p, uint64_t bytes, int wires_first)
{
    memset(p->tier, 0xEE, p->l.n_chunks);
    zo2_placement_choose(&p->l, p->stored_as, bytes, wires_first, p->tier, &p->sum);
    assert_true(p->sum.ram_bytes + p->sum.wire_bytes <= bytes);
}

static void free_placed(placed *p)
{
    zo2_layout_free(&p->l);
    free(p->tier);
    free(p->stored_as);
}

static int is_table(const zo2_layout *l, uint32_t chunk)
{
    uint32_t tensor = l->units[l->chunks[chunk].unit].tensor;
    return tensor != ZO2_NO_TENSOR && (arch.tensors[tensor].role == ZO2_ROLE_EMBED_TOKENS ||
                                       arch.tensors[tensor].role == ZO2_ROLE_EMBED_POSITIONS);
}

static int is_vectors(const zo2_layout *l, uint32_t chunk)
{
    return l->units[l->chunks[chunk].unit].tensor == ZO2_NO_TENSOR;
}

/* RAM of both planes of vectors or tables. */
static uint64_t bytes_of(const placed *p, int (*which)(const zo2_layout *, uint32_t))
{
    uint64_t bytes = 0;
    for (uint32_t c = 0; c < p->l.n_chunks; c++)
        bytes += which(&p->l, c) ? zo2_ram_chunk_bytes(&p->l.chunks[c]) : 0;
    return bytes;
}

static void what_fits_stays(void **state)
{
    (void)state;
    placed p = cut_model(ZO2_WIRE_BF16);
    uint64_t all = zo2_tiers_ram(&p.l, NULL);
    for (int wires_first = 0; wires_first < 2; wires_first++) {
        place(&p, all, wires_first);
        assert_int_equal(p.sum.chunks[ZO2_TIER_RAM], p.l.n_chunks);
        assert_int_equal(p.sum.ram_bytes, all);
        assert_int_equal(p.sum.written | p.sum.wires_read | p.sum.rests_read | p.sum.disk_bytes, 0);
        place(&p, all - 4096, wires_first);
        assert_int_equal(p.sum.chunks[ZO2_TIER_RAM], p.l.n_chunks - 1);
        place(&p, 0, wires_first);
        assert_int_equal(p.sum.chunks[ZO2_TIER_SPILL], p.l.n_chunks);
    }
    free_placed(&p);
}

static void vectors_and_tables_come_first(void **state)
{
    (void)state;
    placed p = cut_model(ZO2_WIRE_BF16);
    uint64_t vectors = bytes_of(&p, is_vectors), tables = bytes_of(&p, is_table);
    assert_true(vectors > 0 && tables > 0);
    for (int wires_first = 0; wires_first < 2; wires_first++) {
        place(&p, vectors, wires_first);
        for (uint32_t c = 0; c < p.l.n_chunks; c++)
            assert_int_equal(p.tier[c], is_vectors(&p.l, c) ? ZO2_TIER_RAM : ZO2_TIER_SPILL);
        place(&p, vectors + tables, wires_first);
        for (uint32_t c = 0; c < p.l.n_chunks; c++)
            assert_int_equal(p.tier[c], is_vectors(&p.l, c) || is_table(&p.l, c) ? ZO2_TIER_RAM : ZO2_TIER_SPILL);
    }
    free_placed(&p);
}

/* Between two of the matrices' chunks that are at `tier` or better lie about as many others everywhere. */
static void assert_even(const placed *p, zo2_tier tier)
{
    uint32_t n = 0, kept = 0, gap = 0, longest = 0;
    for (uint32_t c = 0; c < p->l.n_chunks; c++)
        if (!is_table(&p->l, c) && !is_vectors(&p->l, c)) {
            n++;
            kept += p->tier[c] <= tier;
        }
    for (uint32_t c = 0; c < p->l.n_chunks; c++) {
        if (is_table(&p->l, c) || is_vectors(&p->l, c))
            continue;
        gap = p->tier[c] <= tier ? 0 : gap + 1;
        longest = gap > longest ? gap : longest;
    }
    if (longest > n / (kept ? kept : 1) + 2)
        fail_msg("%u of %u chunks, and %u in a row without", kept, n, longest);
}

static void the_rest_is_spread_evenly(void **state)
{
    (void)state;
    placed p = cut_model(ZO2_WIRE_BF16);
    uint64_t first = bytes_of(&p, is_vectors) + bytes_of(&p, is_table), all = zo2_tiers_ram(&p.l, NULL);
    for (uint64_t percent = 1; percent < 100; percent += 7) {
        uint64_t bytes = first + (all - first) / 100 * percent;
        place(&p, bytes, 0);
        assert_int_equal(p.sum.chunks[ZO2_TIER_WIRE], 0);
        assert_even(&p, ZO2_TIER_RAM);
        assert_true(bytes - p.sum.ram_bytes < 10 * MIB); /* not even one more */
        place(&p, bytes, 1);
        assert_even(&p, ZO2_TIER_WIRE);
        assert_true(bytes - p.sum.ram_bytes - p.sum.wire_bytes < 10 * MIB);
        if (percent < 49) /* a wire is half of a chunk, less its padding */
            assert_true(p.sum.chunks[ZO2_TIER_WIRE] > 0 && p.sum.chunks[ZO2_TIER_SPILL] > 0);
        if (percent > 51) {
            assert_int_equal(p.sum.wires_read, 0);
            assert_even(&p, ZO2_TIER_RAM);
        }
    }
    free_placed(&p);
}

static void traffic_is_what_tiers_say(void **state)
{
    (void)state;
    placed p = cut_model(ZO2_WIRE_E4M3);
    place(&p, zo2_tiers_ram(&p.l, NULL) / 8, 1);
    double wires = 0, rests = 0, slots = 0;
    for (uint32_t c = 0; c < p.l.n_chunks; c++) {
        const zo2_chunk *chunk = &p.l.chunks[c];
        if (p.tier[c] == ZO2_TIER_SPILL)
            wires += (double)((chunk->wire_bytes + 4095) / 4096 * 4096);
        if (p.tier[c] != ZO2_TIER_RAM) {
            assert_false(is_vectors(&p.l, c));
            rests += (double)((chunk->rest_bytes + 4095) / 4096 * 4096);
            slots += (double)zo2_tiers_slot(chunk);
        }
    }
    for (uint32_t k = 0; k <= ZO2_MAX_PENDING; k++) {
        assert_true(zo2_tiers_read(&p.sum, k) == wires + rests / (k + 1.0));
        assert_true(zo2_tiers_written(&p.sum, k) == slots / (k + 1.0));
    }
    assert_true((double)p.sum.disk_bytes == slots);
    /* vectors that spill move in every step */
    place(&p, 0, 0);
    assert_true(p.sum.eager_written > 0);
    assert_true(zo2_tiers_written(&p.sum, ZO2_MAX_PENDING) >= (double)p.sum.eager_written);
    free_placed(&p);
}

static void wires_come_first_from_some_k_on(void **state)
{
    (void)state;
    const struct {
        zo2_wire wire;
        uint32_t k;
    } list[] = {{ZO2_WIRE_BF16, 3}, {ZO2_WIRE_FP16, 2}, {ZO2_WIRE_E4M3, 2}, {ZO2_WIRE_FP32, UINT32_MAX}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        placed p = cut_model(list[i].wire);
        uint32_t from = zo2_tiers_wires_first(&p.l);
        assert_int_equal(from, list[i].k);
        /* it is where less moves that way: both read and written, with a quarter of everything in RAM */
        for (uint32_t k = 0; k < 8 && from != UINT32_MAX; k++) {
            double moved[2];
            for (int wires_first = 0; wires_first < 2; wires_first++) {
                place(&p, zo2_tiers_ram(&p.l, NULL) / 4, wires_first);
                moved[wires_first] = zo2_tiers_read(&p.sum, k) + zo2_tiers_written(&p.sum, k);
            }
            if (k >= from)
                assert_true(moved[1] < moved[0]);
            else if (k + 1 < from) /* between the two it is as good as equal */
                assert_true(moved[0] < moved[1]);
        }
        free_placed(&p);
    }
}

static void aliases_take_no_room(void **state)
{
    (void)state;
    placed p = cut_model(ZO2_WIRE_BF16);
    p.stored_as = malloc(arch.n_tensors * sizeof *p.stored_as);
    assert_non_null(p.stored_as);
    uint32_t layers = 0;
    for (uint32_t i = 0; i < arch.n_tensors; i++) {
        const zo2_tensor *t = &arch.tensors[i];
        int in_layer = t->block > 0 && t->block <= arch.layers;
        p.stored_as[i] = in_layer ? zo2_arch_find(&arch, t->role, 1) : i;
        assert_true(p.stored_as[i] != ZO2_NO_TENSOR);
        layers += in_layer && p.stored_as[i] == i && t->role == ZO2_ROLE_Q_W;
    }
    assert_int_equal(layers, 1);
    uint64_t all = zo2_tiers_ram(&p.l, p.stored_as);
    assert_true(all < zo2_tiers_ram(&p.l, NULL) / 4);
    place(&p, all, 0);
    assert_int_equal(p.sum.ram_bytes, all);
    assert_int_equal(p.sum.written, 0);
    place(&p, 0, 0);
    zo2_tiers alone = p.sum;
    uint32_t owners = 0;
    for (uint32_t c = 0; c < p.l.n_chunks; c++)
        owners += zo2_masters_owner(&p.l, c, p.stored_as) == c;
    assert_int_equal(alone.chunks[ZO2_TIER_SPILL], owners);
    uint32_t *stored_as = p.stored_as;
    p.stored_as = NULL;
    place(&p, 0, 0);
    assert_true(alone.disk_bytes < p.sum.disk_bytes / 4);
    assert_int_equal(alone.written, p.sum.written); /* every layer is updated, on whatever memory */
    assert_int_equal(alone.wires_read, p.sum.wires_read);
    p.stored_as = stored_as;
    free_placed(&p);
}

/* ---- budgets ---- */

static zo2_engine_opts base_opts(void)
{
    static const char *const dirs[] = {"a", "b"};
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    o.max_rows = 2;
    o.max_seq = 128;
    o.threads = 2;
    o.spill_dirs = dirs;
    o.spill_count = 1;
    return o;
}

static zo2_status plan_with(const zo2_engine_opts *o, zo2_full_plan *out)
{
    zo2_shape shape;
    assert_int_equal(zo2_shape_from_opts(&shape, &arch, &zo2_backend_cpu, o), ZO2_OK);
    return zo2_plan_make(out, &arch, &zo2_backend_cpu, &shape, NULL, NULL);
}

static zo2_full_plan plan_of(const zo2_engine_opts *o)
{
    zo2_full_plan p;
    if (plan_with(o, &p))
        fail_msg("%s", zo2_last_error());
    return p;
}

static void budgets_are_kept(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    zo2_full_plan whole = plan_of(&o); /* no limit */
    const zo2_spill_plan *s = zo2_plan_spill(&whole, 0);
    assert_int_equal(s->buffer_bytes, 0);
    assert_int_equal(s->tiers.chunks[ZO2_TIER_SPILL] + s->tiers.chunks[ZO2_TIER_WIRE], 0);
    uint64_t least = whole.pub.host_min_bytes, before = 0;
    assert_true(least < whole.pub.host_peak_bytes / 10);
    for (int pending = 0; pending <= 7; pending += 7)
        for (uint64_t bytes = least; bytes < whole.pub.host_peak_bytes + 300 * MIB; bytes += bytes / 3) {
            o.pending = pending;
            o.host_bytes = bytes;
            zo2_full_plan p = plan_of(&o);
            s = zo2_plan_spill(&p, (uint32_t)pending);
            assert_true(p.pub.host_peak_bytes <= bytes);
            uint64_t moved = s->tiers.wires_read + s->tiers.rests_read;
            if (bytes > least)
                assert_true(moved <= before);
            before = moved;
            if (moved) {
                uint32_t tasks = zo2_masters_slots(2) + 1;
                assert_true(s->wire_buffers >= tasks + ZO2_MASTERS_UPLOADS + 2 && s->rest_buffers >= tasks + 2);
                assert_int_equal(s->buffer_bytes,
                                 s->wire_buffers * s->wire_buffer_bytes + s->rest_buffers * s->rest_buffer_bytes);
            }
            assert_true(p.pub.spill_bytes > p.pub.master_bytes && p.pub.spill_bytes < p.pub.master_bytes / 100 * 104);
        }
}

static void too_small_a_budget_names_the_least(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    o.host_bytes = 1;
    zo2_full_plan p;
    assert_int_equal(plan_with(&o, &p), ZO2_ERR_NOMEM);
    char need[40];
    snprintf(need, sizeof need, "is %llu bytes", (unsigned long long)p.pub.host_min_bytes);
    assert_non_null(strstr(zo2_last_error(), need));
    o.host_bytes = p.pub.host_min_bytes;
    p = plan_of(&o);
    assert_int_equal(p.pub.host_peak_bytes, o.host_bytes);
    assert_true(p.pub.chunk_bytes < 4u << 20); /* smaller ones have smaller buffers, more of them larger tables */
    o.host_bytes--;
    assert_int_equal(plan_with(&o, &p), ZO2_ERR_NOMEM);
    for (o.chunk_bytes = 256u << 10; o.chunk_bytes <= 4u << 20; o.chunk_bytes *= 2)
        assert_int_equal(plan_with(&o, &p), ZO2_ERR_NOMEM);
    o.chunk_bytes = 0;
    o.spill_dirs = NULL; /* without a spill everything must fit */
    assert_int_equal(plan_with(&o, &p), ZO2_ERR_NOMEM);
    assert_true(p.pub.host_min_bytes > p.pub.master_bytes);
}

static void drives_have_windows(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    o.host_bytes = 3000 * MIB;
    for (o.spill_count = 1; o.spill_count <= 2; o.spill_count++) {
        zo2_full_plan p = plan_of(&o);
        const zo2_spill_plan *s = zo2_plan_spill(&p, 0);
        assert_true(s->buffer_bytes <= o.spill_count * 256 * MIB);
        assert_true(s->buffer_bytes > o.spill_count * 256 * MIB - 16 * MIB);
        assert_int_equal(p.chunk_bytes, 4 * MIB);
    }
    /* at a few MiB a plane whatever the codec and the backend */
    o.wire = ZO2_WIRE_E4M3;
    zo2_full_plan p = plan_of(&o);
    assert_int_equal(p.chunk_bytes, 2 * MIB);
    assert_true(p.spill[0].rest_buffer_bytes <= 8 * MIB + 4096);
    o.chunk_bytes = MIB; /* unless it is told: as the spill was cut that a run has */
    p = plan_of(&o);
    assert_int_equal(p.chunk_bytes, MIB);
}

/* ---- the write budget ---- */

static zo2_status pending_of(const zo2_engine_opts *o, uint32_t *pending)
{
    zo2_shape shape;
    assert_int_equal(zo2_shape_from_opts(&shape, &arch, &zo2_backend_cpu, o), ZO2_OK);
    return zo2_plan_budget_pending(pending, &arch, &zo2_backend_cpu, &shape, NULL);
}

/* Written by a step with K pending, as the plan has it. */
static uint64_t written_with(zo2_engine_opts o, uint32_t pending)
{
    o.pending = (int32_t)pending;
    zo2_full_plan p = plan_of(&o);
    assert_int_equal(p.pub.pending, pending);
    return p.pub.written_bytes_per_step;
}

static void a_write_budget_sets_k(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    o.host_bytes = 1500 * MIB;
    uint64_t all = written_with(o, 0);
    assert_true(all > 3000 * MIB);
    for (uint64_t parts = 1; parts <= 40; parts += 3) {
        uint32_t k;
        o.write_budget = all / parts + 1;
        assert_int_equal(pending_of(&o, &k), ZO2_OK);
        assert_true(written_with(o, k) <= o.write_budget);
        for (uint32_t smaller = 0; smaller < k; smaller++)
            assert_true(written_with(o, smaller) >= o.write_budget);
        assert_true(parts == 1 ? k == 0 : k + 1 >= parts);
    }
    /* refused with the least that is possible */
    uint64_t least = written_with(o, ZO2_MAX_PENDING) + 1; /* whole bytes of an average */
    uint32_t k = 99;
    o.write_budget = least / 2;
    assert_int_equal(pending_of(&o, &k), ZO2_ERR_ARG);
    assert_int_equal(k, 0);
    char text[40];
    snprintf(text, sizeof text, "writes %llu bytes", (unsigned long long)least);
    assert_non_null(strstr(zo2_last_error(), text));
    o.write_budget = least;
    assert_int_equal(pending_of(&o, &k), ZO2_OK);
    assert_int_equal(k, ZO2_MAX_PENDING);
    o.host_bytes = 0; /* everything in RAM: nothing is written */
    o.write_budget = 1;
    assert_int_equal(pending_of(&o, &k), ZO2_OK);
    assert_int_equal(k, 0);
}

/* K is a setting of the run: the budget has its say when the run is made, and no more. */
static void a_run_keeps_the_k_of_its_budget(void **state)
{
    (void)state;
    char run[200];
    const char *pack = pack_of("opt-fixtures/prenorm-f32"), *dirs[] = {scratch_dir()};
    zo2_engine_opts o = base_opts(), have;
    zo2_engine *e;
    zo2_plan p = {.struct_size = sizeof p};
    o.max_seq = 8;
    o.spill_dirs = dirs;
    o.probe_seconds = 0;
    MUST(zo2_plan_estimate(pack, &o, &p));
    o.host_bytes = p.host_peak_bytes - 4096; /* a little less than all */
    MUST(zo2_plan_estimate(pack, &o, &p));
    assert_int_equal(p.pending, 0);
    assert_true(p.written_bytes_per_step > 0);
    o.write_budget = p.written_bytes_per_step / 3 + 1;
    MUST(zo2_plan_estimate(pack, &o, &p));
    assert_true(p.pending >= 2 && p.written_bytes_per_step <= o.write_budget);
    scratch_path(run, sizeof run, "budget");
    MUST(zo2_engine_open(&e, pack, run, &o));
    zo2_engine_get_opts(e, &have);
    zo2_engine_close(e);
    assert_int_equal(have.pending, p.pending);
    o.write_budget = UINT64_MAX; /* alone this would be K = 0 */
    o.resume = 1;
    MUST(zo2_engine_open(&e, pack, run, &o));
    zo2_engine_get_opts(e, &have);
    zo2_engine_close(e);
    assert_int_equal(have.pending, p.pending);
    o.pending = 1; /* what is given counts */
    MUST(zo2_plan_estimate(pack, &o, &p));
    assert_int_equal(p.pending, 1);
    o.write_budget = 1;
    o.pending = -1;
    assert_int_equal(zo2_plan_estimate(pack, &o, &p), ZO2_ERR_ARG);
    o.resume = 0;
    scratch_path(run, sizeof run, "impossible");
    assert_int_equal(zo2_engine_open(&e, pack, run, &o), ZO2_ERR_ARG);
    assert_true(access(run, F_OK) != 0);
    remove_tree(scratch_dir());
}

/* ---- times ---- */

static zo2_plan timed(const zo2_engine_opts *o, const zo2_rates *r)
{
    zo2_shape shape;
    zo2_full_plan p;
    assert_int_equal(zo2_shape_from_opts(&shape, &arch, &zo2_backend_null, o), ZO2_OK);
    if (zo2_plan_make(&p, &arch, &zo2_backend_null, &shape, NULL, r))
        fail_msg("%s", zo2_last_error());
    return p.pub;
}

static void assert_near(double a, double b)
{
    if (!(a <= b * (1 + 1e-9) && b <= a * (1 + 1e-9)))
        fail_msg("%.17g is not %.17g", a, b);
}

static void drives_take_their_time(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    o.host_bytes = 1500 * MIB;
    zo2_rates r = {.update_weights = 1e300, .upload_bytes = 1e300, .flops = 1e300, .decode_weights = 1e300};
    r.fold_weights = 1e300;
    r.read_bytes = 7e9;
    r.write_bytes = 5e9;
    zo2_plan p = timed(&o, &r);
    assert_near(p.read_seconds, (double)p.read_bytes_per_step / 7e9);
    assert_near(p.write_seconds, (double)p.written_bytes_per_step / 5e9);
    assert_near(p.seconds_per_step, p.read_seconds + p.write_seconds); /* a drive does one or the other */
    assert_string_equal(p.bottleneck, "write");
    assert_true(p.read_rate == 7e9 && p.write_rate == 5e9);
    assert_true(p.ram_master_bytes + p.ram_wire_bytes + p.spill_buffer_bytes < p.host_peak_bytes);
    /* more pending updates are proposed as long as they save something */
    assert_true(p.proposed_pending > 15 && p.proposed_seconds < p.read_seconds);
    o.write_budget = p.written_bytes_per_step / 2;
    assert_true(timed(&o, &r).proposed_pending > 15);
    o.pending = ZO2_MAX_PENDING;
    zo2_plan most = timed(&o, &r);
    assert_string_equal(most.bottleneck, "read");
    assert_true(most.seconds_per_step < p.seconds_per_step / 3);
    assert_int_equal(most.proposed_pending, ZO2_MAX_PENDING);
    /* more of them read and write more at once; with a slow update it is the bottleneck */
    r.update_weights = 1e6;
    assert_string_equal(timed(&o, &r).bottleneck, "update");
    r.read_bytes = r.write_bytes = 0; /* nobody knows */
    p = timed(&o, &r);
    assert_true(p.read_seconds == 0 && p.write_seconds == 0 && p.read_bytes_per_step > 0);
}

/* A cheap fold would ask for many; a budget for writes asks for no fewer than it needs. */
static void proposals_keep_the_write_budget(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    o.host_bytes = 1500 * MIB;
    zo2_rates r = {.update_weights = 1e300, .upload_bytes = 1e300, .flops = 1e300, .decode_weights = 1e300};
    r.fold_weights = 1e9; /* each pending update takes longer than what it saves */
    r.read_bytes = r.write_bytes = 1e12;
    o.pending = 20;
    zo2_plan p = timed(&o, &r);
    assert_int_equal(p.proposed_pending, 0);
    o.write_budget = written_with(o, 10) + 1;
    p = timed(&o, &r);
    assert_int_equal(p.proposed_pending, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fits_stays),
        cmocka_unit_test(vectors_and_tables_come_first),
        cmocka_unit_test(the_rest_is_spread_evenly),
        cmocka_unit_test(traffic_is_what_tiers_say),
        cmocka_unit_test(wires_come_first_from_some_k_on),
        cmocka_unit_test(aliases_take_no_room),
        cmocka_unit_test(budgets_are_kept),
        cmocka_unit_test(too_small_a_budget_names_the_least),
        cmocka_unit_test(drives_have_windows),
        cmocka_unit_test(a_write_budget_sets_k),
        cmocka_unit_test(a_run_keeps_the_k_of_its_budget),
        cmocka_unit_test(drives_take_their_time),
        cmocka_unit_test(proposals_keep_the_write_budget),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

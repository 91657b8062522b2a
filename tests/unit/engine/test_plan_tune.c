/* test_plan_tune.c: what plans know of frozen tensors, the trunk and turns: which wires stay on the device, what is read and written,
 * and how long a step takes, by rates that are given. Sizes alone: no weights. */
#include "engine/families/families.h"
#include "engine/masters/masters.h"
#include "engine/masters/placement.h"
#include "engine/masters/spill_files.h"
#include "engine/model/tune.h"
#include "engine/plan/plan.h"
#include "engine/plan/resident.h"
#include "engine/plan/tiers.h"
#include "tests/unit/engine/engine_testing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1ull << 20)

/* opt-125m, as a run tunes it, and cut. */
typedef struct tuned {
    zo2_arch model, arch;
    zo2_layout l;
} tuned;

static tuned *tune_with(const char *text, zo2_wires wires)
{
    static tuned t; /* the layout points at its arch */
    memset(&t, 0, sizeof t);
    MUST(zo2_arch_from_name(&t.model, "opt-125m"));
    MUST(zo2_arch_tune(&t.arch, &t.model, text, 0));
    t.arch.dtype = ZO2_F16;
    MUST(zo2_layout_create(&t.l, &t.arch, wires, ZO2_F16, ZO2_TILE_RULE, MIB / 2));
    return &t;
}

static tuned *tune(const char *text, zo2_wire wire)
{
    return tune_with(text, zo2_one_wire(wire));
}

static void drop(tuned *t)
{
    zo2_layout_free(&t->l);
    zo2_arch_free(&t->arch);
    zo2_arch_free(&t->model);
}

/* 0: frozen and needed in every step, 1: moves, 2: the trunk's, 3: never uploaded */
static int kind_of(const zo2_layout *l, uint32_t chunk)
{
    const zo2_unit *u = &l->units[l->chunks[chunk].unit];
    const zo2_tensor *t = u->tensor == ZO2_NO_TENSOR ? NULL : &l->arch->tensors[u->tensor];
    if (t && !zo2_is_streamed(l->arch, t))
        return 3;
    if (!u->frozen)
        return 1;
    return (t ? zo2_block_of_use(l->arch, t) : u->block) < l->arch->fork ? 2 : 0;
}

/* ---- the device ---- */

static void what_every_step_needs_stays_first(void **state)
{
    (void)state;
    tuned *t = tune("layers=10-11", ZO2_WIRE_BF16);
    assert_int_equal(t->arch.fork, 11);
    uint64_t total[4] = {0}, *at = malloc(t->l.n_chunks * sizeof *at);
    for (uint32_t c = 0; c < t->l.n_chunks; c++)
        total[kind_of(&t->l, c)] += t->l.chunks[c].wire_bytes;
    assert_true(total[0] && total[1] && total[2]);
    const uint64_t all = total[0] + total[1] + total[2];
    for (uint64_t spare = 0; spare <= all + MIB; spare += 3 * MIB + 4096) {
        uint64_t kept[4] = {0}, end = 0, chunk = t->l.max_chunk_wire;
        zo2_resident_sum sum = zo2_resident_count(&t->l, spare, at);
        for (uint32_t c = 0; c < t->l.n_chunks; c++)
            if (at[c] != ZO2_NOT_RESIDENT) {
                kept[kind_of(&t->l, c)] += t->l.chunks[c].wire_bytes;
                end = at[c] + t->l.chunks[c].wire_bytes > end ? at[c] + t->l.chunks[c].wire_bytes : end;
            }
        assert_int_equal(kept[0], sum.frozen);
        assert_int_equal(kept[1], sum.moving);
        assert_int_equal(kept[2], sum.trunk);
        assert_int_equal(kept[3], 0);
        assert_int_equal(end, sum.frozen + sum.moving + sum.trunk);
        assert_true(end <= spare && end + 4 * chunk >= (spare < all ? spare : all));
        if (sum.moving > 2 * chunk)
            assert_int_equal(sum.frozen, total[0]);
        if (sum.trunk > 2 * chunk)
            assert_true(sum.frozen == total[0] && sum.moving == total[1]);
    }
    free(at);
    drop(t);
}

static void layers_from_the_last_one_down(void **state)
{
    (void)state;
    tuned *t = tune("layers=11", ZO2_WIRE_BF16);
    uint64_t need = 0, wires, head = 0;
    for (uint32_t c = 0; c < t->l.n_chunks; c++)
        head += kind_of(&t->l, c) == 0 ? t->l.chunks[c].wire_bytes : 0;
    for (uint32_t c = 0; c < t->l.n_chunks; c++)
        need += kind_of(&t->l, c) < 2 ? t->l.chunks[c].wire_bytes : 0;
    assert_int_equal(zo2_resident_layers(&t->l, head - 1, &wires), 0);
    assert_int_equal(zo2_resident_layers(&t->l, need - 1, &wires), 0);
    assert_int_equal(wires, 0);
    assert_int_equal(zo2_resident_layers(&t->l, need, &wires), 1);
    assert_int_equal(wires, need - head);
    assert_int_equal(zo2_resident_layers(&t->l, UINT64_MAX, &wires), 12);
    drop(t);
}

/* ---- the spill ---- */

static void frozen_chunks_are_never_written(void **state)
{
    (void)state;
    static const struct {
        zo2_wire wire;
        int source; /* the type that opt-125m is stored in, or a wire that the pack has */
        uint32_t stored;
    } list[] = {{ZO2_WIRE_FP16, 1, 0},
                {ZO2_WIRE_BF16, 0, 0},
                {ZO2_WIRE_F6, 0, 1u << ZO2_WIRE_F8},
                {ZO2_WIRE_F6, 1, 1u << ZO2_WIRE_F6}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        tuned *t = tune("layers=10-11", list[i].wire);
        for (uint32_t k = 0; k < t->arch.n_tensors; k++)
            t->arch.tensors[k].stored_wires = list[i].stored;
        uint8_t *tier = malloc(t->l.n_chunks);
        zo2_tiers sum;
        zo2_placement_choose(&t->l, NULL, 0, 0, tier, &sum);
        uint64_t read = 0, trunk = 0, slots = 0, moving = 0, pack = 0;
        zo2_spill_chunk *kept = zo2_spill_files_chunks(&t->l, NULL);
        for (uint32_t c = 0; c < t->l.n_chunks; c++) {
            const zo2_chunk *chunk = &t->l.chunks[c];
            const zo2_unit *u = &t->l.units[chunk->unit];
            const uint64_t wire = (chunk->wire_bytes + 4095) / 4096 * 4096;
            const int source = zo2_chunk_in_pack(&t->l, c);
            assert_int_equal(source, list[i].source && u->frozen && u->tensor != ZO2_NO_TENSOR &&
                                         !t->arch.tensors[u->tensor].exempt);
            assert_int_equal(kept[c].wire_bytes, source ? 0 : chunk->wire_bytes);
            read += wire;
            trunk += u->frozen && kind_of(&t->l, c) == 2 ? wire : 0;
            moving += u->frozen ? 0 : zo2_tiers_slot(chunk);
            slots += source ? 0 : zo2_tiers_slot(chunk);
            pack += source ? chunk->wire_bytes : 0;
        }
        assert_true(moving > 0);
        assert_int_equal(sum.wires_read, read);
        assert_int_equal(sum.trunk_read, trunk);
        assert_int_equal(sum.written, moving);
        assert_int_equal(sum.disk_bytes, slots);
        assert_int_equal(sum.pack_bytes, pack);
        free(kept);
        free(tier);
        drop(t);
    }
}

static void the_trunk_is_the_last_to_get_ram(void **state)
{
    (void)state;
    tuned *t = tune("layers=10-11", ZO2_WIRE_BF16);
    uint8_t *tier = malloc(t->l.n_chunks);
    zo2_tiers sum;
    const uint64_t all = zo2_tiers_ram(&t->l, NULL);
    int some = 0;
    for (uint64_t bytes = 0; bytes <= all; bytes += all / 37) {
        uint64_t trunk = 0, others = 0, largest = 0; /* bytes that the trunk has, and that others lack */
        zo2_placement_choose(&t->l, NULL, bytes, 0, tier, &sum);
        for (uint32_t c = 0; c < t->l.n_chunks; c++) {
            const uint64_t ram = zo2_ram_chunk_bytes(&t->l.chunks[c]);
            if (t->l.units[t->l.chunks[c].unit].tensor == ZO2_NO_TENSOR)
                continue;
            trunk += kind_of(&t->l, c) == 2 && tier[c] == ZO2_TIER_RAM ? ram : 0;
            others += kind_of(&t->l, c) < 2 && tier[c] != ZO2_TIER_RAM ? ram : 0;
            largest = ram > largest ? ram : largest;
        }
        /* what is left of the others' room, less than one of them takes, is the trunk's */
        if (trunk > largest && others)
            fail_msg("%llu bytes: the trunk has %llu, others lack %llu", (unsigned long long)bytes,
                     (unsigned long long)trunk, (unsigned long long)others);
        some += trunk > largest;
    }
    assert_true(some > 3);
    free(tier);
    drop(t);
}

static void turns_reach_a_part(void **state)
{
    (void)state;
    const zo2_turns none = {1, 0}, single = {12, 1}, slow = {4, 100};
    assert_true(zo2_turns_part(&none, 0) == 1 && zo2_turns_part(&none, 63) == 1);
    assert_float_equal(zo2_turns_part(&single, 0), 1.0 / 12, 1e-12);
    assert_float_equal(zo2_turns_part(&single, 5), 6.0 / 12, 1e-12);
    assert_true(zo2_turns_part(&single, 63) == 1);
    assert_float_equal(zo2_turns_part(&slow, 0), 0.25, 1e-12);
    assert_float_equal(zo2_turns_part(&slow, 50), 150.0 / 400, 1e-12);
}

/* ---- plans ---- */

static zo2_engine_opts base_opts(void)
{
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    o.max_rows = 2;
    o.max_seq = 128;
    o.threads = 2;
    o.probe_seconds = 0;
    o.device_bytes = 8ull << 30;
    return o;
}

/* Rates of a device on which one thing alone takes time. */
static zo2_plan plan_of(const zo2_engine_opts *o, double upload, double gemm, double decode, double update)
{
    const zo2_device_rates r = {.struct_size = sizeof r,
                                .upload_rate = upload,
                                .gemm_rate = gemm,
                                .decode_rate = decode,
                                .update_rate = update};
    zo2_plan p;
    if (zo2_plan_for_device("opt-125m", o, &r, &p))
        fail_msg("%s", zo2_last_error());
    return p;
}

#define FAST 1e18

static void a_part_costs_its_part(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    zo2_plan all = plan_of(&o, FAST, FAST, FAST, 1e9);
    assert_int_equal(all.tuned_parameters, all.parameters);
    assert_int_equal(all.trunk_blocks | all.frozen_bytes | all.trunk_bytes_per_token, 0);
    assert_true(all.seconds_per_step_filled == all.seconds_per_step);
    o.tune = "layers=10-11";
    zo2_plan p = plan_of(&o, FAST, FAST, FAST, 1e9);
    assert_int_equal(p.layers, 12);
    assert_int_equal(p.trunk_blocks, 11);
    assert_int_equal(p.trunk_bytes_per_token, 768 * 4);
    assert_float_equal(p.update_seconds, (double)p.tuned_parameters / 1e9, 1e-9);
    assert_float_equal(all.update_seconds, (double)all.parameters / 1e9, 1e-9);
    assert_int_equal(p.snapshot_bytes - MIB, 4 * p.tuned_parameters);
    /* bf16: 2 bytes of a wire and 2 of the rest, which frozen tensors lack; vectors and positions are fp32 */
    assert_true(p.master_bytes < all.master_bytes);
    assert_int_equal(all.master_bytes - p.master_bytes, p.host_min_bytes ? all.host_peak_bytes - p.host_peak_bytes : 0);
    assert_true(p.frozen_bytes < p.master_bytes);
    o.trunk_type = ZO2_BF16;
    assert_int_equal(plan_of(&o, FAST, FAST, FAST, FAST).trunk_bytes_per_token, 768 * 2);
    o.trunk_cache = 3ull << 30;
    zo2_plan cached = plan_of(&o, FAST, FAST, FAST, FAST);
    assert_int_equal(cached.trunk_cache_bytes, o.trunk_cache);
    assert_true(cached.host_peak_bytes >= p.host_peak_bytes + o.trunk_cache);
}

static void products_below_the_fork_are_of_one_stream(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    o.max_loss_tokens = 1;
    o.queries = 4; /* 8 streams */
    const double all = plan_of(&o, FAST, 1e12, FAST, FAST).compute_seconds;
    o.tune = "layers=10-11";
    zo2_plan p = plan_of(&o, FAST, 1e12, FAST, FAST);
    /* Two layers in 8 streams and ten in one, of twelve in 8; the head's one row is nothing beside them. */
    assert_float_equal(p.compute_seconds / all, (2 * 8 + 10) / (12 * 8.0), 0.01);
    assert_float_equal(p.seconds_per_step_filled / all, 2 / 12.0, 0.01);
    /* Both panels of four queries, or two thirds of a decode once. */
    o.tune = NULL;
    zo2_plan whole = plan_of(&o, FAST, FAST, 1e9, FAST);
    o.tune = "layers=10-11";
    p = plan_of(&o, FAST, FAST, 1e9, FAST);
    const double weights = whole.compute_seconds / 4, moving = (double)p.tuned_parameters * 1e-9;
    assert_float_equal(p.compute_seconds, 4 * moving + (weights - moving) * 2 / 3, 1e-3 * p.compute_seconds);
    assert_true(p.seconds_per_step_filled < p.seconds_per_step);
}

/* Each kind of tensor has its wire in the layout, and what a plan counts is of that. */
static void frozen_matrices_have_a_wire_of_their_own(void **state)
{
    (void)state;
    const zo2_wires wires = {.moving = ZO2_WIRE_FP16, .frozen = ZO2_WIRE_E4M3};
    tuned *t = tune_with("layers=10-11", wires);
    for (uint32_t i = 0; i < t->l.n_spans; i++) {
        const zo2_tensor *of = &t->arch.tensors[t->l.spans[i].tensor];
        assert_int_equal(t->l.spans[i].codec->id, of->exempt   ? ZO2_WIRE_FP32
                                                  : of->frozen ? ZO2_WIRE_E4M3
                                                               : ZO2_WIRE_FP16);
    }
    uint64_t frozen = 0, moving = 0;
    for (uint32_t i = 0; i < t->arch.n_tensors; i++) {
        const zo2_tensor *of = &t->arch.tensors[i];
        const zo2_codec *codec = zo2_codec_get(of->exempt ? ZO2_WIRE_FP32 : of->frozen ? wires.frozen : wires.moving);
        const uint64_t wire = codec->wire_bytes(of->rows, of->cols);
        *(of->frozen ? &frozen : &moving) += of->frozen ? wire : wire + codec->rest_bytes(of->rows, of->cols);
    }
    assert_int_equal(zo2_masters_estimate(&t->arch, wires, NULL), frozen + moving);
    drop(t);

    zo2_engine_opts o = base_opts();
    o.tune = "layers=10-11";
    o.wire = wires.moving;
    zo2_plan same = plan_of(&o, 1e9, FAST, 1e9, FAST);
    o.frozen_wire = wires.frozen;
    zo2_plan p = plan_of(&o, 1e9, FAST, 1e9, FAST);
    assert_int_equal(p.frozen_bytes, frozen);
    assert_int_equal(p.master_bytes, frozen + moving);
    assert_int_equal(same.host_peak_bytes - same.master_bytes - same.staging_bytes,
                     p.host_peak_bytes - p.master_bytes - p.staging_bytes);
    assert_int_equal(p.wire_bytes_per_step, same.wire_bytes_per_step); /* what moves: the rest stays on the device */
    assert_true(p.resident_bytes < same.resident_bytes * 2 / 3);
    assert_true(p.compute_seconds == same.compute_seconds);
    o.device_bytes = 0; /* nothing stays: the frozen ones cross in every step, too */
    p = plan_of(&o, 1e9, FAST, FAST, FAST);
    o.frozen_wire = 0;
    same = plan_of(&o, 1e9, FAST, FAST, FAST);
    assert_true(p.wire_bytes_per_step < same.wire_bytes_per_step * 2 / 3);
    assert_true(p.upload_seconds < same.upload_seconds * 2 / 3);

    /* Decoding of theirs, by a rate of its own. */
    zo2_device_rates r = {
        .struct_size = sizeof r, .upload_rate = FAST, .gemm_rate = FAST, .decode_rate = 1e9, .update_rate = FAST};
    o.frozen_wire = wires.frozen;
    MUST(zo2_plan_for_device("opt-125m", &o, &r, &same));
    r.frozen_decode_rate = 2e9;
    MUST(zo2_plan_for_device("opt-125m", &o, &r, &p));
    const double own = (double)p.tuned_parameters * 1e-9;
    assert_float_equal(p.compute_seconds - own, (same.compute_seconds - own) / 2, 1e-3 * p.compute_seconds);
    r.frozen_decode_rate = -1;
    assert_int_equal(zo2_plan_for_device("opt-125m", &o, &r, &p), ZO2_ERR_ARG);
}

static void uploads_are_what_isnt_there(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    o.tune = "layers=10-11";
    zo2_plan p = plan_of(&o, 1e9, FAST, FAST, FAST); /* room for all: what moves, once in a step */
    assert_int_equal(p.wire_bytes_per_step, p.wire_bytes_per_step_filled);
    assert_int_equal(p.proposed_layers, 12);
    assert_true(p.resident_whole);
    assert_in_range(p.wire_bytes_per_step, 2 * p.tuned_parameters, 2 * p.tuned_parameters * 102 / 100);
    assert_int_equal(p.trunk_bytes_per_step, 2 * 127 * 768 * 4);
    assert_float_equal(p.seconds_per_step, 1e-9 * (double)p.wire_bytes_per_step, 1e-6);
    assert_float_equal(p.seconds_per_step_filled,
                       1e-9 * (double)(p.wire_bytes_per_step_filled + p.trunk_bytes_per_step), 1e-6);
    assert_string_equal(p.bottleneck_filled, "upload");
    o.pending = 3;
    assert_in_range(plan_of(&o, 1e9, FAST, FAST, FAST).wire_bytes_per_step, p.wire_bytes_per_step / 4 - 1,
                    p.wire_bytes_per_step / 4 + 1);
    o.pending = 0;
    o.device_bytes = 0; /* the smallest plan: all wires, in every step */
    zo2_plan least = plan_of(&o, 1e9, FAST, FAST, FAST);
    assert_int_equal(least.proposed_layers, 0);
    assert_false(least.resident_whole);
    assert_true(least.wire_bytes_per_step_filled > p.wire_bytes_per_step_filled &&
                least.wire_bytes_per_step > least.wire_bytes_per_step_filled * 3 / 2);
    o.tune = NULL;
    assert_int_equal(plan_of(&o, 1e9, FAST, FAST, FAST).wire_bytes_per_step, least.wire_bytes_per_step);
}

/* To the byte: what the last wire lacks room for makes it a part. */
static void the_whole_model_or_a_part_of_it(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    o.tune = "layers=10-11";
    const zo2_plan p = plan_of(&o, 1e9, FAST, FAST, FAST);
    o.device_bytes = p.device_peak_bytes;
    const zo2_plan same = plan_of(&o, 1e9, FAST, FAST, FAST);
    assert_true(same.resident_whole && same.resident_bytes == p.resident_bytes);
    o.device_bytes = p.device_peak_bytes - 256;
    const zo2_plan less = plan_of(&o, 1e9, FAST, FAST, FAST);
    assert_false(less.resident_whole);
    assert_true(less.wire_bytes_per_step > p.wire_bytes_per_step);
    o.frozen_wire = ZO2_WIRE_F6;
    assert_true(plan_of(&o, 1e9, FAST, FAST, FAST).resident_whole);
}

static void turns_update_a_group_a_step(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    o.tune = "layers=8-11";
    const double together = plan_of(&o, FAST, FAST, FAST, 1e9).update_seconds;
    const double products = plan_of(&o, FAST, 1e12, FAST, FAST).compute_seconds;
    o.tune_rotate = 10;
    assert_float_equal(plan_of(&o, FAST, FAST, FAST, 1e9).update_seconds, together / 4, 1e-9);
    assert_true(plan_of(&o, FAST, 1e12, FAST, FAST).compute_seconds < products);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_every_step_needs_stays_first),
        cmocka_unit_test(layers_from_the_last_one_down),
        cmocka_unit_test(frozen_chunks_are_never_written),
        cmocka_unit_test(the_trunk_is_the_last_to_get_ram),
        cmocka_unit_test(turns_reach_a_part),
        cmocka_unit_test(a_part_costs_its_part),
        cmocka_unit_test(products_below_the_fork_are_of_one_stream),
        cmocka_unit_test(frozen_matrices_have_a_wire_of_their_own),
        cmocka_unit_test(uploads_are_what_isnt_there),
        cmocka_unit_test(the_whole_model_or_a_part_of_it),
        cmocka_unit_test(turns_update_a_group_a_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_freeze.c: runs made from a pack that has wires of matrices: the bits that a run encodes, read instead of encoding, whatever cuts
 * and tiers; damage is noticed. */
#include "tests/unit/engine/freeze_testing.h"

enum { STEPS = 3 };

/* Random weights, fp32: an embedding that takes several chunks of the pack, one layer. */
static const char *large_pack(void)
{
    static char path[512], config[512];
    scratch_path(path, sizeof path, "large.zo2");
    if (!access(path, F_OK))
        return path;
    FILE *f = fopen(scratch_path(config, sizeof config, "config.json"), "w");
    assert_non_null(f);
    fputs(
        "{\"model_type\": \"opt\", \"vocab_size\": 10007, \"hidden_size\": 200, \"num_hidden_layers\": 2, \"num_attention_heads\": 2,"
        " \"ffn_dim\": 256, \"max_position_embeddings\": 32, \"word_embed_proj_dim\": 200, \"do_layer_norm_before\": true,"
        " \"torch_dtype\": \"float32\", \"activation_function\": \"relu\"}",
        f);
    fclose(f);
    zo2_synth_opts o;
    zo2_synth_opts_init(&o);
    o.dtype = ZO2_F32;
    MUST(zo2_pack_synth(config, path, &o));
    return path;
}

/* ---- runs ---- */

/* All wires of what is frozen, one behind the other; malloc'ed. */
static uint8_t *frozen_planes(const zo2_engine *e, uint64_t *bytes)
{
    const zo2_masters *m = &e->core.masters;
    const zo2_layout *l = m->layout;
    *bytes = 0;
    for (uint32_t c = 0; c < l->n_chunks; c++)
        *bytes += l->units[l->chunks[c].unit].frozen ? l->chunks[c].wire_bytes : 0;
    uint8_t *all = calloc(1, *bytes), *to = all;
    assert_non_null(all);
    for (uint32_t c = 0; c < l->n_chunks; c++) {
        zo2_planes p;
        const zo2_span *last = &l->spans[l->chunks[c].first_span + l->chunks[c].n_spans - 1];
        if (!l->units[l->chunks[c].unit].frozen)
            continue;
        MUST(zo2_masters_acquire(m, c, ZO2_PLANE_WIRE, ZO2_ACCESS_READ, &p));
        memcpy(to, p.wire, last->wire_at + last->codec->wire_bytes(last->rows, last->cols));
        zo2_masters_release(&p);
        to += l->chunks[c].wire_bytes;
    }
    return all;
}

/* Planes of a run with the frozen pack are those of one with the plain one, to the last byte of padding; so is the exact value of all. */
static void same_planes(const char *plain, const char *frozen, const zo2_engine_opts *o)
{
    uint64_t n[2], hash[2];
    uint8_t *planes[2];
    for (int i = 0; i < 2; i++) {
        zo2_engine *e = start(i ? frozen : plain, run_name(), o);
        planes[i] = frozen_planes(e, &n[i]);
        MUST(zo2_masters_hash(e, &hash[i]));
        zo2_engine_close(e);
    }
    assert_true(n[0] == n[1] && n[0] > 0 && hash[0] == hash[1]);
    assert_memory_equal(planes[0], planes[1], n[0]);
    free(planes[0]);
    free(planes[1]);
}

static void every_wire_as_a_run_encodes_it(void **state)
{
    (void)state;
    char plain[512];
    snprintf(plain, sizeof plain, "%s", pack_of(opt));
    const char *pack = copy_of(plain, "all-wires.zo2");
    for (int wire = 1; zo2_wire_name((zo2_wire)wire); wire++) {
        zo2_engine_opts o = opts_of("layers=1", (zo2_wire)wire);
        if (wire == ZO2_WIRE_BF16) /* the checkpoint's own bits */
            continue;
        MUST(freeze(pack, (zo2_wire)wire, wire % 2 ? "layers=1" : NULL));
        same_planes(plain, pack, &o);
        o.chunk_bytes = 700;
        same_planes(plain, pack, &o);
    }
    verify(pack);
}

/* The pack's chunks begin within units and masters' chunks, and the other way round. */
static void chunks_are_put_together(void **state)
{
    (void)state;
    static const uint64_t chunks[] = {0, 300 << 10, 40 << 10};
    char plain[512];
    snprintf(plain, sizeof plain, "%s", large_pack());
    const char *pack = copy_of(plain, "large-frozen.zo2");
    MUST(freeze(pack, ZO2_WIRE_E4M3, NULL));
    verify(pack);
    for (int i = 0; i < 3; i++) {
        zo2_engine_opts o = opts_of("layers=1", ZO2_WIRE_E4M3);
        o.chunk_bytes = chunks[i];
        same_planes(plain, pack, &o);
    }
}

typedef struct outcome {
    uint64_t chain;
    double loss[STEPS], eval;
} outcome;

static outcome train(const char *pack, const zo2_engine_opts *o)
{
    outcome out = {0};
    zo2_engine *e = start(pack, run_name(), o);
    test_batch t;
    for (uint64_t i = 0; i < STEPS; i++) {
        zo2_step_result r = {.struct_size = sizeof r};
        random_batch(&t, (uint32_t)i, 120, ROWS, SEQ, 0);
        MUST(zo2_step(e, &t.b, &r));
        out.loss[i] = r.loss_plus;
    }
    zo2_scores s;
    zo2_scores_init(&s);
    MUST(zo2_forward(e, &t.b, ZO2_WEIGHTS_MASTER, &s));
    out.eval = s.loss;
    out.chain = zo2_journal_chain(e->journal, STEPS);
    zo2_engine_close(e);
    return out;
}

static void same_run(const outcome *a, const outcome *b, const char *what)
{
    if (a->chain != b->chain || a->eval != b->eval || memcmp(a->loss, b->loss, sizeof a->loss) != 0)
        fail_msg("%s: losses %.9g and %.9g", what, a->loss[STEPS - 1], b->loss[STEPS - 1]);
}

static void runs_have_the_same_bits(void **state)
{
    (void)state;
    char plain[512], dir[512];
    snprintf(plain, sizeof plain, "%s", pack_of(opt));
    const char *pack = copy_of(plain, "runs.zo2");
    MUST(freeze(pack, ZO2_WIRE_FP16, "layers=2"));
    zo2_engine_opts o = opts_of("layers=2", ZO2_WIRE_FP16);
    const outcome want = train(plain, &o);
    outcome got = train(pack, &o);
    same_run(&want, &got, "in RAM");
    const char *const dirs[] = {scratch_path(dir, sizeof dir, "spill")};
    zo2_plan plan;
    o.spill_dirs = dirs;
    o.spill_count = 1;
    o.chunk_bytes = 2000;
    o.probe_seconds = 0;
    o.host_bytes = 1;
    (void)zo2_plan_estimate(pack, &o, &plan);
    o.host_bytes = plan.host_min_bytes;
    got = train(pack, &o);
    same_run(&want, &got, "spilled");
}

/* One layer's bytes serve all: wires, too. */
static void aliased_layers_share_theirs(void **state)
{
    (void)state;
    char plain[512];
    snprintf(plain, sizeof plain, "%s", alias_pack());
    const char *pack = copy_of(plain, "aliased-frozen.zo2");
    MUST(freeze(pack, ZO2_WIRE_E5M2, NULL));
    verify(pack);
    const zo2_engine_opts o = opts_of("vectors", ZO2_WIRE_E5M2);
    same_planes(plain, pack, &o);
}

/* ---- what is read ---- */

/* Turns a bit at an offset of a file. */
static void damage(const char *path, uint64_t at)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, (long)at, SEEK_SET), 0);
    const int c = fgetc(f);
    assert_int_equal(fseek(f, (long)at, SEEK_SET), 0);
    fputc(c ^ 16, f);
    fclose(f);
}

static void wires_are_read_and_checked(void **state)
{
    (void)state;
    const char *pack = copy_of(pack_of(opt), "damaged.zo2"), name[] = "model.decoder.layers.0.fc1.weight";
    char run[512];
    zo2_engine *e;
    zo2_pack *p;
    zo2_packplace source, wire;
    const zo2_engine_opts o = opts_of("layers=2", ZO2_WIRE_E4M3);
    MUST(freeze(pack, ZO2_WIRE_E4M3, NULL));
    MUST(zo2_pack_open(&p, pack));
    const uint32_t tensor = zo2_arch_by_name(&p->arch, name)->id;
    MUST(zo2_packfile_place(p->file, tensor, 0, &source));
    MUST(zo2_packfile_wire_place(p->file, tensor, ZO2_WIRE_E4M3, 0, &wire));
    zo2_pack_close(p);
    damage(pack, source.offset + 5); /* nobody looks there to load the frozen wire */
    zo2_engine_close(start(pack, run_name(), &o));
    zo2_engine_opts other = o;
    other.frozen_wire = ZO2_WIRE_FP16;
    assert_int_equal(zo2_engine_open(&e, pack, scratch_path(run, sizeof run, "no-such-wire"), &other), ZO2_ERR_FORMAT);
    assert_non_null(strstr(zo2_last_error(), name));
    damage(pack, source.offset + 5);
    zo2_engine_close(start(pack, run_name(), &other));
    damage(pack, wire.offset + 5);
    assert_int_equal(zo2_engine_open(&e, pack, scratch_path(run, sizeof run, "bad-wire"), &o), ZO2_ERR_FORMAT);
    assert_non_null(strstr(zo2_last_error(), "layers.0.fc1.weight, stored wire 3 (fp8-e4m3), rows 0 to "));
    MUST(zo2_pack_open(&p, pack));
    assert_int_equal(zo2_pack_verify(p, NULL, NULL), ZO2_ERR_FORMAT);
    assert_non_null(strstr(zo2_last_error(), "stored wire 3 (fp8-e4m3)"));
    zo2_pack_close(p);
    const uint64_t bytes = bytes_of(pack);
    assert_int_equal(freeze(pack, ZO2_WIRE_FP16, NULL), ZO2_ERR_FORMAT); /* damage isn't passed on */
    assert_int_equal(bytes_of(pack), bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_wire_as_a_run_encodes_it), cmocka_unit_test(chunks_are_put_together),
        cmocka_unit_test(runs_have_the_same_bits),        cmocka_unit_test(aliased_layers_share_theirs),
        cmocka_unit_test(wires_are_read_and_checked),
    };
    test_device_begin(0);
    return cmocka_run_group_tests(tests, NULL, test_clean);
}

/* test_freeze.c: runs made from a pack that has wires of matrices: the bits that a run encodes, read instead of encoding, whatever cuts
 * and tiers; damage is noticed. */
#include "tests/unit/engine/freeze_testing.h"

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

/* What is frozen, in canonical order: its wires, one behind the other, and what they say of each weight; malloc'ed. */
typedef struct frozen {
    uint64_t bytes, weights;
    uint8_t *planes;
    float *values;
} frozen;

static frozen frozen_of(const zo2_engine *e)
{
    const zo2_masters *m = &e->core.masters;
    const zo2_layout *l = m->layout;
    frozen f = {0};
    for (uint32_t c = 0; c < l->n_chunks; c++)
        if (l->units[l->chunks[c].unit].frozen)
            f.bytes += l->chunks[c].wire_bytes;
    for (uint32_t i = 0; i < l->arch->n_tensors; i++)
        f.weights += l->arch->tensors[i].rows * l->arch->tensors[i].cols; /* at most */
    uint8_t *to = f.planes = calloc(1, f.bytes);
    float *w = f.values = calloc(f.weights, sizeof *w);
    assert_true(to && w);
    for (uint32_t c = 0; c < l->n_chunks; c++) {
        zo2_planes p;
        const zo2_span *spans = &l->spans[l->chunks[c].first_span], *last = spans + l->chunks[c].n_spans - 1;
        if (!l->units[l->chunks[c].unit].frozen)
            continue;
        MUST(zo2_masters_acquire(m, c, ZO2_PLANE_WIRE, ZO2_ACCESS_READ, &p));
        memcpy(to, p.wire, last->wire_at + last->codec->wire_bytes(last->rows, last->cols));
        for (const zo2_span *s = spans; s <= last; s++) {
            s->codec->decode(zo2_planes_wire(&p, s), s->rows, s->cols, 0, s->rows, w);
            w += s->rows * s->cols;
        }
        zo2_masters_release(&p);
        to += l->chunks[c].wire_bytes;
    }
    return f;
}

/* Planes of a run with the frozen pack are those of one with the plain one, to the last byte of padding, if they are cut alike: narrow wires
 * aren't, and take less. Their values are, and so is the exact value of all. */
static void same_planes(const char *plain, const char *pack, const zo2_engine_opts *o)
{
    const int narrow = zo2_codec_get(o->frozen_wire)->narrow != NULL;
    uint64_t hash[2];
    frozen f[2];
    for (int i = 0; i < 2; i++) {
        zo2_engine *e = start(i ? pack : plain, run_name(), o);
        f[i] = frozen_of(e);
        MUST(zo2_masters_hash(e, &hash[i]));
        zo2_engine_close(e);
    }
    assert_int_equal(hash[0], hash[1]);
    assert_memory_equal(f[0].values, f[1].values, f[0].weights * sizeof *f[0].values);
    if (narrow) {
        assert_true(f[1].bytes < f[0].bytes);
    } else {
        assert_true(f[0].bytes == f[1].bytes && f[0].bytes > 0);
        assert_memory_equal(f[0].planes, f[1].planes, f[0].bytes);
    }
    for (int i = 0; i < 2; i++) {
        free(f[i].planes);
        free(f[i].values);
    }
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

static void same_runs(const char *plain, const char *pack, zo2_wire wire)
{
    char dir[512];
    zo2_engine_opts o = opts_of("layers=2", wire);
    const outcome want = train(plain, &o);
    outcome got = train(pack, &o);
    same_run(&want, &got, "in RAM");
    const char *const dirs[] = {scratch_path(dir, sizeof dir, run_name())};
    zo2_plan plan, unfrozen;
    o.spill_dirs = dirs;
    o.spill_count = 1;
    o.chunk_bytes = 2000;
    o.probe_seconds = 0;
    o.host_bytes = 1;
    (void)zo2_plan_estimate(plain, &o, &unfrozen);
    (void)zo2_plan_estimate(pack, &o, &plan);
    assert_true(plan.spill_bytes < unfrozen.spill_bytes); /* what the pack has is read there */
    o.host_bytes = plan.host_min_bytes;
    got = train(pack, &o);
    same_run(&want, &got, "spilled");
}

static void runs_have_the_same_bits(void **state)
{
    (void)state;
    char plain[512];
    snprintf(plain, sizeof plain, "%s", pack_of(opt));
    const char *pack = copy_of(plain, "runs.zo2");
    static const zo2_wire wires[] = {ZO2_WIRE_FP16, ZO2_WIRE_BF12};
    for (int i = 0; i < 2; i++) {
        MUST(freeze(pack, wires[i], "layers=2"));
        same_runs(plain, pack, wires[i]);
    }
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

/* test_freeze.c: wires that a pack has of matrices: the bits that a run encodes, read instead of encoding, whatever cuts and tiers; a pack
 * that has them or is as it was; and what is refused. */
#include "storage/pack/packfile_format.h"
#include "tests/unit/engine/engine_testing.h"

#include <sys/stat.h>
#include <xxhash.h>

enum { STEPS = 3, ROWS = 4, SEQ = 12 };

static const char opt[] = "opt-fixtures/prenorm-bf16-sharded"; /* three layers */

/* ---- packs ---- */

static char *copy_of(const char *pack, const char *name)
{
    static char path[4][512];
    static unsigned turn;
    char command[1200];
    char *to = scratch_path(path[turn++ % 4], sizeof path[0], name);
    snprintf(command, sizeof command, "cp '%s' '%s'", pack, to);
    assert_int_equal(system(command), 0);
    return to;
}

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

static zo2_status freeze(const char *pack, zo2_wire wire, const char *tune)
{
    zo2_freeze_opts o;
    zo2_freeze_opts_init(&o);
    o.wire = wire;
    o.tune = tune;
    o.threads = 2;
    return zo2_pack_freeze(pack, &o);
}

static void verify(const char *pack)
{
    zo2_pack *p;
    MUST(zo2_pack_open(&p, pack));
    MUST(zo2_pack_verify(p, NULL, NULL));
    zo2_pack_close(p);
}

static uint64_t bytes_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_size;
}

/* ---- runs ---- */

static zo2_engine_opts opts_of(const char *tune, zo2_wire frozen)
{
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    o.backend = TEST_BACKEND;
    o.lr = 1e-3;
    o.seed = 3;
    o.max_rows = ROWS;
    o.max_seq = SEQ;
    o.threads = 2;
    o.resume = 1;
    o.tune = tune;
    o.frozen_wire = frozen;
    return o;
}

static zo2_engine *start(const char *pack, const char *run, const zo2_engine_opts *o)
{
    char path[512];
    zo2_engine *e;
    MUST(zo2_engine_open(&e, pack, scratch_path(path, sizeof path, run), o));
    return e;
}

static char *run_name(void)
{
    static char name[24];
    static unsigned n;
    snprintf(name, sizeof name, "run%u", n++);
    return name;
}

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

/* ---- packs that get some ---- */

static void info_is(const char *pack, size_t i, zo2_wire wire, uint64_t matrices)
{
    zo2_pack *p;
    zo2_frozen_wire_info w = {.struct_size = sizeof w};
    MUST(zo2_pack_open(&p, pack));
    const zo2_status s = zo2_pack_frozen_wire(p, i, &w);
    zo2_pack_close(p);
    if (!matrices) {
        assert_int_equal(s, ZO2_ERR_NOTFOUND);
        return;
    }
    assert_int_equal(s, ZO2_OK);
    assert_int_equal(w.wire, wire);
    assert_int_equal(w.matrices, matrices);
    assert_true(w.parameters > 0 && w.bytes > w.parameters);
}

static char *whole(const char *path, uint64_t *n)
{
    *n = bytes_of(path);
    char *data = malloc(*n);
    FILE *f = fopen(path, "rb");
    assert_true(f && data && fread(data, *n, 1, f) == 1);
    fclose(f);
    return data;
}

/* The same contents make the same file, in whatever order and pieces they came; other tokenizer files leave the wires. */
static void a_pack_is_its_contents(void **state)
{
    (void)state;
    uint64_t n[2];
    char *a = copy_of(pack_of(opt), "a.zo2"), *b = copy_of(pack_of(opt), "b.zo2");
    info_is(a, 0, 0, 0);
    MUST(freeze(a, ZO2_WIRE_E5M2, NULL));
    MUST(freeze(a, ZO2_WIRE_FP16, "layers=2"));
    MUST(freeze(a, ZO2_WIRE_FP16, "layers=0"));
    info_is(a, 0, ZO2_WIRE_E5M2, 19);
    info_is(a, 1, ZO2_WIRE_FP16, 19); /* six matrices a layer, and the embedding */
    info_is(a, 2, 0, 0);
    MUST(freeze(b, ZO2_WIRE_FP16, NULL));
    const uint64_t before = bytes_of(b);
    MUST(freeze(b, ZO2_WIRE_FP16, "layers=1")); /* all there */
    assert_int_equal(bytes_of(b), before);
    MUST(freeze(b, ZO2_WIRE_E5M2, NULL));
    char *bytes[2] = {whole(a, &n[0]), whole(b, &n[1])};
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(bytes[0], bytes[1], n[0]);
    char folder[512], file[560];
    assert_int_equal(mkdir(scratch_path(folder, sizeof folder, "tokenizer"), 0777), 0);
    snprintf(file, sizeof file, "%s/tokenizer.json", folder);
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fputs("{}", f);
    fclose(f);
    MUST(zo2_pack_set_tokenizer(a, folder, NULL));
    info_is(a, 1, ZO2_WIRE_FP16, 19);
    verify(a);
    free(bytes[0]);
    free(bytes[1]);
}

/* A wire of a newer version, of chunks larger than any that are known here: nobody uses it, and it is kept. */
static void unknown_wires_are_kept(void **state)
{
    (void)state;
    const char *pack = copy_of(pack_of(opt), "unknown.zo2");
    const uint32_t unknown = 77;
    uint64_t n;
    MUST(freeze(pack, ZO2_WIRE_FP32, NULL));
    char *b = whole(pack, &n);
    zo2_pack_superblock *super = (zo2_pack_superblock *)(void *)b;
    for (uint64_t i = 0; i < super->wires.bytes; i += sizeof(zo2_pack_wire_record))
        memcpy(b + super->wires.offset + i, &unknown, sizeof unknown);
    super->wires.hash = XXH3_64bits(b + super->wires.offset, super->wires.bytes);
    super->hash = XXH3_64bits(b, offsetof(zo2_pack_superblock, hash));
    FILE *f = fopen(pack, "wb");
    assert_true(f && fwrite(b, n, 1, f) == 1 && !fclose(f));
    free(b);
    info_is(pack, 0, (zo2_wire)77, 19);
    zo2_engine_opts o = opts_of("layers=1", ZO2_WIRE_FP32); /* which it hasn't any more */
    zo2_engine_close(start(pack, run_name(), &o));
    MUST(freeze(pack, ZO2_WIRE_E4M3, NULL));
    info_is(pack, 0, ZO2_WIRE_E4M3, 19);
    info_is(pack, 1, (zo2_wire)77, 19);
    verify(pack);
}

static int cancel(void *ud, const char *what, uint64_t done, uint64_t total)
{
    uint64_t *left = ud;
    assert_true(done <= total && (!strcmp(what, "copy") || !strcmp(what, "freeze")));
    return !(*left)--;
}

static void interrupted_it_is_as_it_was(void **state)
{
    (void)state;
    const char *pack = copy_of(pack_of(opt), "cancelled.zo2");
    char command[600];
    uint64_t n, calls = 0;
    char *was = whole(pack, &n);
    zo2_freeze_opts o;
    zo2_freeze_opts_init(&o);
    o.wire = ZO2_WIRE_E4M3;
    o.progress = cancel;
    zo2_status s;
    do {
        uint64_t left = calls, now;
        o.progress_ud = &left;
        s = zo2_pack_freeze(pack, &o);
        if (!s)
            break;
        assert_int_equal(s, ZO2_ERR_CANCELLED);
        char *is = whole(pack, &now);
        assert_int_equal(now, n);
        assert_memory_equal(is, was, n);
        free(is);
        calls += 13;
    } while (calls < 1000);
    assert_true(!s && calls);
    snprintf(command, sizeof command, "! ls '%s'/cancelled.zo2.* 2>/dev/null | grep .", scratch_dir());
    assert_int_equal(system(command), 0);
    free(was);
}

static void refusals(void **state)
{
    (void)state;
    const char *pack = copy_of(pack_of(opt), "refused.zo2");
    const uint64_t bytes = bytes_of(pack);
    static const struct {
        zo2_wire wire;
        const char *tune, *says;
    } list[] = {
        {0, NULL, "there is no wire 0"},
        {(zo2_wire)99, NULL, "there is no wire 99"},
        {ZO2_WIRE_BF16, NULL, "own bits"},
        {ZO2_WIRE_FP16, "all", "tune all: no matrix of the model stays as it is"},
        {ZO2_WIRE_FP16, "layers=3", "layers 0 to 2"},
        {ZO2_WIRE_FP16, "layer=1", "tune"},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        assert_int_equal(freeze(pack, list[i].wire, list[i].tune), ZO2_ERR_ARG);
        if (!strstr(zo2_last_error(), list[i].says))
            fail_msg("%s: %s", list[i].says, zo2_last_error());
    }
    zo2_freeze_opts bad = {.wire = ZO2_WIRE_FP16};
    assert_int_equal(zo2_pack_freeze(pack, &bad), ZO2_ERR_ARG);
    assert_int_equal(zo2_pack_freeze(pack, NULL), ZO2_ERR_ARG);
    assert_int_equal(freeze("/nowhere/at/all.zo2", ZO2_WIRE_FP16, NULL), ZO2_ERR_NOTFOUND);
    assert_int_equal(bytes_of(pack), bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_wire_as_a_run_encodes_it),
        cmocka_unit_test(chunks_are_put_together),
        cmocka_unit_test(runs_have_the_same_bits),
        cmocka_unit_test(aliased_layers_share_theirs),
        cmocka_unit_test(wires_are_read_and_checked),
        cmocka_unit_test(a_pack_is_its_contents),
        cmocka_unit_test(interrupted_it_is_as_it_was),
        cmocka_unit_test(unknown_wires_are_kept),
        cmocka_unit_test(refusals),
    };
    test_device_begin(0);
    return cmocka_run_group_tests(tests, NULL, test_clean);
}

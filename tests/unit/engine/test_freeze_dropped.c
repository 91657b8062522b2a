/* test_freeze_dropped.c: packs that have of frozen matrices the wire alone: runs made with them are runs of the pack that they were made
 * from; what needs the source bits says so before anything is written. */
#include "tests/unit/engine/freeze_testing.h"

static const char fc1[] = "model.decoder.layers.0.fc1.weight";

static zo2_status drop(const char *pack, const char *to, zo2_wire wire, const char *tune)
{
    zo2_freeze_opts o;
    zo2_freeze_opts_init(&o);
    o.wire = wire;
    o.tune = tune;
    o.threads = 2;
    o.drop_to = to;
    return zo2_pack_freeze(pack, &o);
}

/* Of the three layers' pack: all that a run of `tune` leaves as it is. */
static char *dropped(const char *name, zo2_wire wire, const char *tune)
{
    static char path[4][512];
    static unsigned turn;
    char *to = scratch_path(path[turn++ % 4], sizeof path[0], name);
    MUST(drop(pack_of(opt), to, wire, tune));
    return to;
}

static void says(zo2_status s, const char *const *words)
{
    assert_int_equal(s, ZO2_ERR_UNSUPPORTED);
    for (; *words; words++)
        if (!strstr(zo2_last_error(), *words))
            fail_msg("\"%s\" is not in \"%s\"", *words, zo2_last_error());
}

#define SAYS(call, ...) says(call, (const char *const[]){__VA_ARGS__, NULL})

/* ---- packs ---- */

static uint64_t counted(const char *pack, size_t i, zo2_wire wire, uint64_t *of)
{
    zo2_pack *p;
    zo2_frozen_wire_info w = {.struct_size = sizeof w};
    MUST(zo2_pack_open(&p, pack));
    MUST(zo2_pack_frozen_wire(p, i, &w));
    zo2_pack_close(p);
    assert_int_equal(w.wire, wire);
    *of = w.matrices;
    return w.dropped;
}

/* Whatever wires there were before: of these matrices one is left, of others all. */
static void a_pack_is_its_contents(void **state)
{
    (void)state;
    uint64_t n[2], of;
    char *small = dropped("direct.zo2", ZO2_WIRE_F6, "layers=2"), *wired = copy_of(pack_of(opt), "wired.zo2"), to[512];
    MUST(freeze(wired, ZO2_WIRE_F6, "layers=2"));
    MUST(freeze(wired, ZO2_WIRE_F8, "layers=2"));
    MUST(drop(wired, scratch_path(to, sizeof to, "later.zo2"), ZO2_WIRE_F6, "layers=2"));
    char *bytes[2] = {whole(small, &n[0]), whole(to, &n[1])};
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(bytes[0], bytes[1], n[0]);
    free(bytes[0]);
    free(bytes[1]);
    assert_int_equal(counted(small, 0, ZO2_WIRE_F6, &of), 13); /* six of layers 0 and 1 each, and the embedding */
    assert_int_equal(of, 13);
    verify(small);
    MUST(freeze(wired, ZO2_WIRE_F8, NULL));
    MUST(drop(wired, scratch_path(to, sizeof to, "others.zo2"), ZO2_WIRE_F6, "layers=2"));
    assert_int_equal(counted(to, 0, ZO2_WIRE_F8, &of), 0);
    assert_int_equal(of, 6); /* of layer 2, beside their own bits */
    assert_int_equal(counted(to, 1, ZO2_WIRE_F6, &of), 13);
    verify(to);
}

/* The hashes stay, so it is the same model. */
static void it_says_what_it_lacks(void **state)
{
    (void)state;
    zo2_pack *p, *q;
    zo2_pack_info a, b;
    MUST(zo2_pack_open(&p, dropped("says.zo2", ZO2_WIRE_F6, "layers=2")));
    MUST(zo2_pack_open(&q, pack_of(opt)));
    MUST(zo2_pack_get_info(p, &a));
    MUST(zo2_pack_get_info(q, &b));
    assert_true(a.model_hash == b.model_hash && a.parameters == b.parameters);
    for (uint64_t i = 0; i < a.tensors; i++) {
        zo2_tensor_info t;
        MUST(zo2_pack_tensor(p, i, &t));
        assert_true(zo2_pack_has_source(q, i));
        assert_int_equal(zo2_pack_has_source(p, i),
                         t.rank == 1 || strstr(t.name, ".2.") || strstr(t.name, "positions"));
    }
    assert_false(zo2_pack_has_source(p, a.tensors));
    zo2_pack_close(p);
    zo2_pack_close(q);
}

/* Nothing else can be made of a wire, and the last one stays. */
static void freezing_goes_on_as_far_as_it_can(void **state)
{
    (void)state;
    char *small = dropped("go-on.zo2", ZO2_WIRE_F6, "layers=2"), to[512];
    uint64_t n, of, now;
    char *was = whole(small, &n);
    zo2_freeze_opts o;
    zo2_freeze_opts_init(&o);
    o.wire = ZO2_WIRE_F6;
    o.remove = 1;
    SAYS(zo2_pack_freeze(small, &o), "the f6 wire of tensor model.decoder.embed_tokens.weight is all that", small);
    SAYS(freeze(small, ZO2_WIRE_F8, NULL), "no source bits of tensor model.decoder.embed_tokens.weight", small);
    scratch_path(to, sizeof to, "never.zo2");
    SAYS(drop(small, to, ZO2_WIRE_F8, NULL), "no source bits of tensor model.decoder.embed_tokens.weight", small);
    assert_int_equal(drop(small, to, ZO2_WIRE_F6, "layers=2"), ZO2_ERR_ARG); /* all are */
    o.drop_to = to;
    assert_int_equal(zo2_pack_freeze(small, &o), ZO2_ERR_ARG); /* remove, too */
    assert_int_equal(drop(small, small, ZO2_WIRE_F6, NULL), ZO2_ERR_EXISTS);
    assert_int_equal(drop(pack_of(opt), to, ZO2_WIRE_BF16, NULL), ZO2_ERR_ARG); /* the wire is these bits */
    assert_int_equal(access(to, F_OK), -1);
    char *is = whole(small, &now);
    assert_true(now == n && !memcmp(is, was, n));
    free(is);
    free(was);
    MUST(freeze(small, ZO2_WIRE_F6, "layers=1")); /* layer 2, which has its bits */
    assert_int_equal(counted(small, 0, ZO2_WIRE_F6, &of), 13);
    assert_int_equal(of, 19);
    MUST(drop(small, to, ZO2_WIRE_F6, "vectors"));
    assert_int_equal(counted(to, 0, ZO2_WIRE_F6, &of), 19);
    verify(to);
    o.drop_to = NULL;
    o.tune = "layers=0-1";                            /* of layer 2 the wire goes */
    SAYS(zo2_pack_freeze(small, &o), "embed_tokens"); /* which the choice has, too */
}

/* Bits that a run of the choice reads all the same. */
static void what_the_choice_needs_stays(void **state)
{
    (void)state;
    uint64_t of;
    char *rows = dropped("rows.zo2", ZO2_WIRE_F6, "matrices=2+rows=5,9"), aliased[512];
    assert_int_equal(counted(rows, 0, ZO2_WIRE_F6, &of), 12); /* but not of the head, which is the embedding */
    assert_int_equal(of, 13);
    zo2_engine_opts o = opts_of("matrices=2+rows=5,9", ZO2_WIRE_F6);
    zo2_engine_close(start(rows, run_name(), &o));
    /* One layer's bytes serve all, and one of these moves. */
    assert_int_equal(
        drop(alias_pack(), scratch_path(aliased, sizeof aliased, "alias-moves.zo2"), ZO2_WIRE_F6, "layers=1"), ZO2_OK);
    assert_int_equal(counted(aliased, 0, ZO2_WIRE_F6, &of), 1); /* the embedding */
    o = opts_of("layers=1", ZO2_WIRE_F6);
    zo2_engine_close(start(aliased, run_name(), &o));
}

static int cancel(void *ud, const char *what, uint64_t done, uint64_t total)
{
    uint64_t *left = ud;
    assert_true(done <= total && (!strcmp(what, "copy") || !strcmp(what, "freeze")));
    return !(*left)--;
}

static void interrupted_it_leaves_nothing(void **state)
{
    (void)state;
    char to[512], command[600];
    uint64_t calls = 0;
    zo2_freeze_opts o;
    zo2_freeze_opts_init(&o);
    o.wire = ZO2_WIRE_F6;
    o.progress = cancel;
    o.drop_to = scratch_path(to, sizeof to, "interrupted.zo2");
    snprintf(command, sizeof command, "! ls '%s'* 2>/dev/null | grep .", to);
    zo2_status s;
    do {
        uint64_t left = calls;
        o.progress_ud = &left;
        s = zo2_pack_freeze(pack_of(opt), &o);
        if (s) {
            assert_int_equal(s, ZO2_ERR_CANCELLED);
            assert_int_equal(system(command), 0);
        }
        calls += 13;
    } while (s && calls < 1000);
    assert_true(!s && calls > 13);
    verify(to);
}

/* ---- runs ---- */

typedef struct session {
    uint64_t chain;
    double loss[STEPS], exact, wire;
} session;

static double score(zo2_engine *e, const test_batch *t, zo2_weights weights)
{
    zo2_scores s;
    zo2_scores_init(&s);
    MUST(zo2_forward(e, &t->b, weights, &s));
    return s.loss;
}

static session train_to(const char *pack, const char *run, const zo2_engine_opts *o, uint64_t steps)
{
    session out = {0};
    zo2_engine *e = start(pack, run, o);
    zo2_engine_state now;
    test_batch t;
    zo2_engine_get_state(e, &now);
    for (uint64_t i = now.step; i < steps; i++) {
        zo2_step_result r = {.struct_size = sizeof r};
        random_batch(&t, (uint32_t)i, 120, ROWS, SEQ, 0);
        MUST(zo2_step(e, &t.b, &r));
        out.loss[i] = r.loss_plus;
    }
    random_batch(&t, 77, 120, ROWS, SEQ, 0);
    out.exact = score(e, &t, ZO2_WEIGHTS_MASTER);
    out.wire = score(e, &t, ZO2_WEIGHTS_WIRE);
    out.chain = zo2_journal_chain(e->journal, steps);
    zo2_engine_close(e);
    return out;
}

static void same_session(const session *a, const session *b, const char *what)
{
    if (a->chain != b->chain || a->wire != b->wire || memcmp(a->loss, b->loss, sizeof a->loss) != 0)
        fail_msg("%s: losses %.9g and %.9g", what, a->loss[STEPS - 1], b->loss[STEPS - 1]);
}

static char *exported(const char *pack, const char *run, uint64_t *n)
{
    char from[512], to[512], file[600], name[64];
    snprintf(name, sizeof name, "export-of-%s", run);
    zo2_export_opts o;
    zo2_export_opts_init(&o);
    o.run_dir = scratch_path(from, sizeof from, run);
    MUST(zo2_pack_export(pack, scratch_path(to, sizeof to, name), &o));
    snprintf(file, sizeof file, "%s/model.safetensors", to);
    return whole(file, n);
}

/* Options of runs in RAM, or of spilled ones that have no more of it than they need. */
static zo2_engine_opts placed(const char *tune, zo2_wire wire, const char *const *dirs)
{
    zo2_engine_opts o = opts_of(tune, wire);
    zo2_plan plan;
    o.probe_seconds = 0;
    if (!dirs)
        return o;
    o.spill_dirs = dirs;
    o.spill_count = 1;
    o.chunk_bytes = 2000;
    o.host_bytes = 1;
    (void)zo2_plan_estimate(pack_of(opt), &o, &plan);
    o.host_bytes = plan.host_min_bytes;
    return o;
}

/* A spill has slots for what isn't in the pack as it is wanted. One that lacks those of the other pack is refused, until it is made anew; one
 * that has more is none the worse for it. */
static void leave_spill(const char *pack, const char *run, const zo2_engine_opts *o)
{
    char path[512];
    zo2_engine *e;
    assert_int_equal(zo2_engine_open(&e, pack, scratch_path(path, sizeof path, run), o), ZO2_ERR_MISMATCH);
    assert_non_null(strstr(zo2_last_error(), "remove it and let a new one be made"));
    remove_tree(o->spill_dirs[0]);
}

/* wired: the whole pack has the wire, too, beside the bits. */
static void same_of_both(zo2_wire wire, int spilled, int wired)
{
    char dir[512], path[512], name[2][24], pack[48], spill[40];
    uint64_t n[2];
    uint32_t snapshots;
    snprintf(pack, sizeof pack, "run-%s-%d.zo2", zo2_wire_name(wire), spilled);
    const char *small = dropped(pack, wire, "layers=2");
    char *all = copy_of(pack_of(opt), "run-of-both.zo2");
    if (wired)
        MUST(freeze(all, wire, "layers=2"));
    session of[2];
    for (int i = 0; i < 2; i++) {
        snprintf(name[i], sizeof name[i], "%s", run_name());
        snprintf(spill, sizeof spill, "%s-spill", name[i]);
        const char *const dirs[] = {scratch_path(dir, sizeof dir, spill)};
        const zo2_engine_opts o = placed("layers=2", wire, spilled ? dirs : NULL);
        const session begun = train_to(i ? small : all, name[i], &o, STEPS - 1);
        if (i && spilled && !wired)
            leave_spill(all, name[i], &o);
        of[i] = train_to(all, name[i], &o, STEPS);
        memcpy(of[i].loss, begun.loss, (STEPS - 1) * sizeof *begun.loss);
        const session again = train_to(i ? small : all, name[i], &o, STEPS);
        assert_true(again.chain == of[i].chain && again.wire == of[i].wire);
        MUST(zo2_run_verify(scratch_path(path, sizeof path, name[i]), small, NULL, &snapshots));
    }
    same_session(&of[0], &of[1], pack);
    char *bytes[2] = {exported(all, name[0], &n[0]), exported(all, name[1], &n[1])};
    assert_true(n[0] == n[1] && !memcmp(bytes[0], bytes[1], n[0]));
    free(bytes[0]);
    free(bytes[1]);
}

/* What is trained with the small pack is what is trained with the whole one, which goes on with it and exports it. */
static void runs_are_runs_of_both(void **state)
{
    (void)state;
    same_of_both(ZO2_WIRE_F6, 0, 0);
    same_of_both(ZO2_WIRE_BF12, 0, 0);
    same_of_both(ZO2_WIRE_FP16, 1, 0);
    same_of_both(ZO2_WIRE_BF12, 1, 1);
}

/* Where the moving tensors' wire is exact, what the wire says is what there is of exact weights. */
static void exact_values_are_the_wires(void **state)
{
    (void)state;
    const char *small = dropped("exact.zo2", ZO2_WIRE_E4M3, "layers=2");
    zo2_engine_opts o = opts_of("layers=2", ZO2_WIRE_E4M3);
    o.wire = ZO2_WIRE_FP32;
    const session got = train_to(small, run_name(), &o, STEPS), want = train_to(pack_of(opt), run_name(), &o, STEPS);
    same_session(&want, &got, "exact");
    assert_true(got.exact == got.wire && want.exact != want.wire);
    /* Values one by one aren't made up. */
    float values[8];
    uint64_t hash;
    zo2_engine *e = start(small, run_name(), &o);
    SAYS(zo2_tensor_read(e, fc1, 0, 8, values), "no source bits of tensor", fc1, "fp8-e4m3", small);
    SAYS(zo2_masters_hash(e, &hash), "no source bits of tensor");
    MUST(zo2_tensor_read(e, "model.decoder.layers.2.fc1.weight", 0, 8, values));
    MUST(zo2_tensor_read(e, "model.decoder.layers.0.fc1.bias", 0, 8, values));
    zo2_engine_close(e);
}

/* Rows that the trunk's cache keeps of one pack's exact weights aren't the other's. */
static void what_is_kept_of_the_trunk_is_the_packs(void **state)
{
    (void)state;
    char dir[512], run[24];
    const char *small = dropped("trunk.zo2", ZO2_WIRE_E4M3, "layers=2");
    zo2_engine_opts o = opts_of("layers=2", ZO2_WIRE_E4M3);
    const session whole = train_to(pack_of(opt), run_name(), &o, STEPS), alone = train_to(small, run_name(), &o, STEPS);
    assert_true(whole.exact != alone.exact);
    const char *const dirs[] = {scratch_path(dir, sizeof dir, "trunk")};
    o.spill_dirs = dirs;
    o.spill_count = 1;
    o.trunk_cache = 1 << 20;
    snprintf(run, sizeof run, "%s", run_name());
    for (int i = 0; i < 2; i++) { /* filled, then found */
        const session a = train_to(pack_of(opt), run, &o, STEPS), b = train_to(small, run, &o, STEPS);
        assert_true(a.exact == whole.exact && b.exact == alone.exact);
        assert_true(a.wire == whole.wire && b.wire == whole.wire);
    }
}

/* Without a run nothing moves: a pack that has nothing but wires is evaluated through them. */
static void it_can_be_evaluated(void **state)
{
    (void)state;
    const char *small = dropped("evaluated.zo2", ZO2_WIRE_F8, NULL);
    double loss[2];
    for (int i = 0; i < 2; i++) {
        zo2_engine *e;
        test_batch t;
        zo2_engine_opts o = opts_of(NULL, 0);
        o.wire = ZO2_WIRE_F8;
        o.read_only = 1;
        MUST(zo2_engine_open(&e, i ? small : pack_of(opt), NULL, &o));
        random_batch(&t, 77, 120, ROWS, SEQ, 0);
        loss[i] = score(e, &t, ZO2_WEIGHTS_WIRE);
        if (i)
            assert_true(score(e, &t, ZO2_WEIGHTS_MASTER) == loss[1]);
        zo2_engine_close(e);
    }
    assert_true(loss[0] == loss[1]);
}

/* ---- refusals ---- */

static void runs_that_need_the_bits_are_refused(void **state)
{
    (void)state;
    const char *small = dropped("refused.zo2", ZO2_WIRE_F6, "layers=2");
    static const struct {
        const char *tune;
        zo2_wire wire;
        const char *tensor, *why;
    } list[] = {
        {NULL, 0, "embed_tokens", "the run moves it"},
        {"layers=1-2", ZO2_WIRE_F6, "layers.1.self_attn.", "the run moves it"},
        {"layers=2", 0, "embed_tokens", "have the bf16 wire"},
        {"layers=2", ZO2_WIRE_F8, "embed_tokens", "have the f8 wire"},
        {"layers=2+rows=3", ZO2_WIRE_F6, "embed_tokens", "rows="},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        char run[512];
        zo2_engine *e;
        zo2_plan plan;
        zo2_engine_opts o = opts_of(list[i].tune, list[i].wire);
        o.probe_seconds = 0;
        SAYS(zo2_engine_open(&e, small, scratch_path(run, sizeof run, "refused"), &o), small, list[i].tensor,
             list[i].why, "only the f6 wire", "pack that it was made from");
        assert_int_equal(access(run, F_OK), -1);
        SAYS(zo2_plan_estimate(small, &o, &plan), list[i].tensor, list[i].why);
    }
    zo2_wire_error error;
    zo2_pack *p;
    MUST(zo2_pack_open(&p, small));
    SAYS(zo2_pack_wire_error(p, 0, ZO2_WIRE_F8, 1, &error),
         "no source bits of tensor model.decoder.embed_tokens.weight");
    zo2_pack_close(p);
}

/* Adapters need nothing of the model. */
static void exports_need_the_bits_but_for_adapters(void **state)
{
    (void)state;
    const char *small = dropped("exported.zo2", ZO2_WIRE_F6, NULL);
    zo2_engine_opts o = opts_of("lora:r=2,alpha=4,targets=q_proj", ZO2_WIRE_F6);
    char run[512], to[512], name[24];
    snprintf(name, sizeof name, "%s", run_name());
    (void)train_to(small, name, &o, STEPS);
    zo2_export_opts x;
    zo2_export_opts_init(&x);
    scratch_path(to, sizeof to, "no-export");
    const zo2_export_form forms[] = {ZO2_EXPORT_FOLDER, ZO2_EXPORT_GGUF_F16};
    for (int i = 0; i < 4; i++) {
        x.form = forms[i % 2];
        x.run_dir = i < 2 ? NULL : scratch_path(run, sizeof run, name);
        x.merge = i >= 2;
        SAYS(zo2_pack_export(small, to, &x), small, "no source bits of 19 matrices", "embed_tokens", "only the f6 wire",
             "pack that it was made from");
        assert_int_equal(access(to, F_OK), -1);
    }
    x.form = ZO2_EXPORT_FOLDER;
    x.merge = 0;
    MUST(zo2_pack_export(small, to, &x));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pack_is_its_contents),
        cmocka_unit_test(it_says_what_it_lacks),
        cmocka_unit_test(freezing_goes_on_as_far_as_it_can),
        cmocka_unit_test(what_the_choice_needs_stays),
        cmocka_unit_test(interrupted_it_leaves_nothing),
        cmocka_unit_test(runs_are_runs_of_both),
        cmocka_unit_test(exact_values_are_the_wires),
        cmocka_unit_test(what_is_kept_of_the_trunk_is_the_packs),
        cmocka_unit_test(it_can_be_evaluated),
        cmocka_unit_test(runs_that_need_the_bits_are_refused),
        cmocka_unit_test(exports_need_the_bits_but_for_adapters),
    };
    test_device_begin(0);
    return cmocka_run_group_tests(tests, NULL, test_clean);
}

/* test_export_bundle.c: bundles: what one makes of the pack are the bits of the run's own export, at every step, in every type, on
 * every instruction set; what they tell of themselves; what is refused. The run is checked against the oracle of
 * export_run_testing.h. */
#include "codec/update.h"
#include "tests/unit/engine/export_run_testing.h"

#define SOURCE FIXTURES "untied-proj-bf16"

typedef struct bundled {
    bench b;
    const char *file, *applied;
    zo2_export_opts o; /* of applying */
} bundled;

static bundled bundle(const char *source, zo2_dist dist, uint32_t queries)
{
    bundled d = {.b = begin(source, dist, queries)};
    d.file = strdup(hf_path(d.b.dir, "run.zo2b"));
    d.applied = strdup(hf_path(d.b.dir, "applied"));
    assert_ok(zo2_pack_bundle(d.b.pack, d.file, &d.b.o));
    zo2_export_opts_init(&d.o);
    d.o.bundle = d.file;
    d.o.force = 1;
    return d;
}

static void unbundle(bundled *d)
{
    end(&d->b);
    free((void *)d->file);
    free((void *)d->applied);
}

/* All files of two exports are equal. */
static void assert_same(const bundled *d)
{
    static const char *const names[] = {"model.safetensors", "config.json"};
    for (size_t i = 0; i < 2; i++)
        hf_assert_same_file(hf_path(d->b.out, names[i]), hf_path(d->applied, names[i]));
    assert_int_equal(hf_count_entries(d->b.out), hf_count_entries(d->applied));
}

static void as_the_run(void **state)
{
    (void)state;
    static const zo2_dist dists[] = {ZO2_GAUSSIAN, ZO2_RADEMACHER};
    for (int i = 0; i < 2; i++) {
        bundled d = bundle(SOURCE, dists[i], i ? 4 : 1);
        for (int64_t step = -1; step <= STEPS; step += i ? 5 : 1) {
            d.o.at_step = d.b.o.at_step = step;
            d.o.dtype = d.b.o.dtype = (zo2_dtype)((step + 1) % 4); /* the source's own too */
            d.o.threads = 1 + (uint32_t)(step + 1) % 3;
            assert_ok(zo2_pack_export(d.b.pack, d.b.out, &d.b.o));
            assert_ok(zo2_pack_export(d.b.pack, d.applied, &d.o));
            assert_same(&d);
            assert_replayed(&d.b, SOURCE, step < 0 ? STEPS : (uint64_t)step, d.o.dtype);
        }
        d.o.at_step = STEPS + 1;
        assert_error(zo2_pack_export(d.b.pack, d.applied, &d.o), ZO2_ERR_ARG, "has 9 steps; there is no step 10");
        unbundle(&d);
    }
}

/* A bundle that ends at a step has those before it and no more. */
static void ends_at_a_step(void **state)
{
    (void)state;
    bundled d = bundle(SOURCE, ZO2_GAUSSIAN, 2);
    d.b.o.dtype = d.o.dtype = ZO2_F32;
    for (int64_t step = 0; step <= STEPS; step += 4) {
        d.b.o.at_step = step;
        assert_ok(zo2_pack_bundle(d.b.pack, d.file, &d.b.o));
        assert_ok(zo2_pack_export(d.b.pack, d.b.out, &d.b.o));
        assert_ok(zo2_pack_export(d.b.pack, d.applied, &d.o));
        assert_same(&d);
        d.o.at_step = step + 1;
        assert_error(zo2_pack_export(d.b.pack, d.applied, &d.o), ZO2_ERR_ARG, "run.zo2b has");
        d.o.at_step = -1;
    }
    d.b.o.at_step = STEPS + 1;
    assert_error(zo2_pack_bundle(d.b.pack, d.file, &d.b.o), ZO2_ERR_ARG, "there is no step 10 to export at");
    d.b.o.at_step = -1;
    d.b.o.force = 0;
    assert_error(zo2_pack_bundle(d.b.pack, d.file, &d.b.o), ZO2_ERR_EXISTS, "run.zo2b exists already");
    unbundle(&d);
}

/* The export on the best instruction set there is, the bundle applied on every other one. */
static void every_instruction_set(void **state)
{
    (void)state;
    static const char *const sets[] = {"scalar", "avx2", "avx512"};
    static const char *const sources[] = {SOURCE, FIXTURES "odd-sizes-f32", FIXTURES "postnorm-proj-f16"};
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        bundled d = bundle(sources[i], i % 2 ? ZO2_RADEMACHER : ZO2_GAUSSIAN, (uint32_t)i + 1);
        for (zo2_dtype type = 0; type <= ZO2_F32; type++) {
            d.b.o.dtype = d.o.dtype = type;
            zo2_simd_select(NULL);
            assert_ok(zo2_pack_export(d.b.pack, d.b.out, &d.b.o));
            for (size_t k = 0; k < sizeof sets / sizeof *sets; k++) {
                if (!zo2_simd_select(sets[k])) {
                    print_message("%s: not on this CPU\n", sets[k]);
                    continue;
                }
                assert_string_equal(zo2_simd_current(), sets[k]);
                assert_ok(zo2_pack_export(d.b.pack, d.applied, &d.o));
                assert_same(&d);
            }
        }
        zo2_simd_select(NULL);
        unbundle(&d);
    }
}

/* An export that is converted again is the same model; of a run in fp32 too, whoever makes it. */
static uint64_t model_hash(const bundled *d, const char *dir)
{
    zo2_pack *p;
    zo2_pack_info info;
    const char *pack = hf_path(d->b.dir, "again.zo2");
    zo2_convert_opts o;
    zo2_convert_opts_init(&o);
    o.force = 1;
    assert_ok(zo2_pack_convert(dir, pack, &o));
    assert_ok(zo2_pack_open(&p, pack));
    assert_ok(zo2_pack_get_info(p, &info));
    zo2_pack_close(p);
    return info.model_hash;
}

static void converted_again(void **state)
{
    (void)state;
    bundled d = bundle(SOURCE, ZO2_GAUSSIAN, 1);
    const uint64_t base = model_hash(&d, SOURCE);
    d.b.o.run_dir = NULL;
    assert_ok(zo2_pack_export(d.b.pack, d.b.out, &d.b.o));
    assert_true(model_hash(&d, d.b.out) == base);
    d.b.o.run_dir = d.b.run;
    d.b.o.dtype = d.o.dtype = ZO2_F32;
    assert_ok(zo2_pack_export(d.b.pack, d.b.out, &d.b.o));
    const uint64_t tuned = model_hash(&d, d.b.out);
    assert_true(tuned != base);
    assert_ok(zo2_pack_export(d.b.pack, d.b.out, &d.b.o));
    assert_true(model_hash(&d, d.b.out) == tuned);
    assert_ok(zo2_pack_export(d.b.pack, d.applied, &d.o));
    assert_true(model_hash(&d, d.applied) == tuned);
    /* and the export of that pack is that export */
    const char *pack = hf_path(d.b.dir, "again.zo2");
    assert_ok(zo2_pack_export(pack, d.b.out, &(zo2_export_opts){.struct_size = sizeof(zo2_export_opts), .force = 1}));
    hf_assert_same_file(hf_path(d.b.out, "model.safetensors"), hf_path(d.applied, "model.safetensors"));
    unbundle(&d);
}

static void what_it_tells(void **state)
{
    (void)state;
    bundled d = bundle(SOURCE, ZO2_RADEMACHER, 3);
    zo2_bundle *b;
    zo2_bundle_info info;
    zo2_engine_opts o, want;
    zo2_run *run;
    assert_ok(zo2_bundle_open(&b, d.file));
    assert_ok(zo2_bundle_get_info(b, &info));
    assert_int_equal(info.version, 1);
    assert_int_equal(info.file_bytes, 512 + STEPS * 20);
    assert_int_equal(info.steps, STEPS);
    assert_int_equal(info.skipped, 2);
    assert_true(info.model_hash == model_hash(&d, SOURCE));
    memset(&o, 0xAA, sizeof o);
    memset(&want, 0xAA, sizeof want);
    zo2_bundle_get_opts(b, &o);
    assert_ok(zo2_run_open(&run, d.b.run));
    zo2_run_get_opts(run, &want);
    zo2_run_close(run);
    assert_memory_equal(&o, &want, sizeof o);
    assert_int_equal(o.queries, 3);
    assert_true(o.seed == SEED);
    zo2_bundle_get_opts(NULL, &o);
    zo2_bundle_close(b);
    zo2_bundle_close(NULL);
    assert_error(zo2_bundle_open(NULL, d.file), ZO2_ERR_ARG, "needed");
    assert_error(zo2_bundle_open(&b, NULL), ZO2_ERR_ARG, "needed");
    assert_error(zo2_bundle_get_info(NULL, &info), ZO2_ERR_ARG, "needed");
    assert_error(zo2_bundle_open(&b, d.b.pack), ZO2_ERR_FORMAT, "is a zo2 pack");
    assert_null(b);
    unbundle(&d);
}

static int cancel_at(void *ud, const char *what, uint64_t done, uint64_t total)
{
    uint64_t *left = ud;
    (void)what;
    assert_true(done <= total);
    return !(*left)--;
}

static void cancelled(void **state)
{
    (void)state;
    bundled d = bundle(SOURCE, ZO2_GAUSSIAN, 1);
    uint64_t left, n = 0;
    const int entries = hf_count_entries(d.b.dir);
    d.o.progress = cancel_at;
    d.o.progress_ud = &left;
    zo2_status s;
    for (left = 0; (s = zo2_pack_export(d.b.pack, d.applied, &d.o)) != ZO2_OK; left = ++n) {
        assert_int_equal(s, ZO2_ERR_CANCELLED);
        assert_int_equal(hf_count_entries(d.b.dir), entries);
    }
    assert_true(n > 10); /* at every tensor */
    unlink(d.file);
    d.b.o.progress = cancel_at;
    d.b.o.progress_ud = &left;
    left = 0;
    assert_error(zo2_pack_bundle(d.b.pack, d.file, &d.b.o), ZO2_ERR_CANCELLED, "was cancelled");
    assert_int_equal(hf_count_entries(d.b.dir), entries); /* one export more, one bundle fewer */
    unbundle(&d);
}

static void refusals(void **state)
{
    (void)state;
    bundled d = bundle(SOURCE, ZO2_GAUSSIAN, 1);
    const char *other = hf_path(d.b.dir, "other.zo2"), *cut = hf_path(d.b.dir, "cut.zo2b");
    char text[160];
    size_t n;
    assert_ok(zo2_pack_convert(FIXTURES "prenorm-f32", other, NULL));
    zo2_pack *p;
    zo2_pack_info mine, others;
    assert_ok(zo2_pack_open(&p, d.b.pack));
    assert_ok(zo2_pack_get_info(p, &mine));
    zo2_pack_close(p);
    assert_ok(zo2_pack_open(&p, other));
    assert_ok(zo2_pack_get_info(p, &others));
    zo2_pack_close(p);
    snprintf(text, sizeof text, "its model hash is %016llx, that of %s is %016llx", (unsigned long long)mine.model_hash,
             other, (unsigned long long)others.model_hash);
    assert_error(zo2_pack_export(other, d.applied, &d.o), ZO2_ERR_MISMATCH, text);
    assert_error(zo2_pack_bundle(other, cut, &d.b.o), ZO2_ERR_MISMATCH, text);
    char *bytes = hf_read(d.file, &n);
    hf_write(cut, bytes, n - 1);
    d.o.bundle = cut;
    assert_error(zo2_pack_export(d.b.pack, d.applied, &d.o), ZO2_ERR_FORMAT, "it was cut");
    d.o.bundle = d.b.run;
    assert_error(zo2_pack_export(d.b.pack, d.applied, &d.o), ZO2_ERR_FORMAT, "is a run directory, not a bundle");
    d.o.bundle = d.file;
    d.o.run_dir = d.b.run;
    assert_error(zo2_pack_export(d.b.pack, d.applied, &d.o), ZO2_ERR_ARG, "a bundle is applied to a pack alone");
    d.o.run_dir = NULL;
    d.o.snapshot_dir = d.b.run;
    assert_error(zo2_pack_export(d.b.pack, d.applied, &d.o), ZO2_ERR_ARG, "a bundle is applied to a pack alone");
    assert_error(zo2_pack_bundle(d.b.pack, d.file, NULL), ZO2_ERR_ARG, "run_dir is needed");
    assert_error(zo2_pack_bundle(d.b.pack, "", &d.b.o), ZO2_ERR_ARG, "are needed");
    assert_error(zo2_pack_bundle(d.b.pack, d.file, &(zo2_export_opts){0}), ZO2_ERR_ARG, "struct_size is not set");
    d.b.o.run_dir = d.b.dir;
    assert_error(zo2_pack_bundle(d.b.pack, d.file, &d.b.o), ZO2_ERR_NOTFOUND, "is not a run directory");
    assert_int_equal(hf_count_entries(d.b.dir), 5); /* two packs, two bundles, the run: nothing was left behind */
    free(bytes);
    unbundle(&d);
}

int main(void)
{
    if (access("/dev/shm", W_OK) == 0) /* every export syncs its files */
        setenv("TMPDIR", "/dev/shm", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_run),      cmocka_unit_test(ends_at_a_step), cmocka_unit_test(every_instruction_set),
        cmocka_unit_test(converted_again), cmocka_unit_test(what_it_tells),  cmocka_unit_test(cancelled),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests_name("export_bundle", tests, NULL, NULL);
}

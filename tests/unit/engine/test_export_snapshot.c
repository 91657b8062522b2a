/* test_export_snapshot.c: exports that begin at a snapshot: the same bits as a replay from the pack, when a snapshot
 * serves and when it doesn't. The snapshots are made here from the oracle's values, unit by unit. */
#include "storage/run/snapshot.h"
#include "tests/unit/engine/export_run_testing.h"

#define SOURCE FIXTURES "tiles-f16" /* its matrices have several panel tiles */

typedef struct seen {
    int warnings;
    char warning[512], info[512];
} seen;

static void on_log(void *ud, zo2_log_level level, const char *message)
{
    seen *s = ud;
    s->warnings += level == ZO2_LOG_WARNING;
    snprintf(level == ZO2_LOG_WARNING ? s->warning : s->info, 512, "%s", message);
}

/* A snapshot in DIR at `step` whose units stand there, or every third one at `late` steps. change is added to every
 * value: 0 for a true one. */
static uint32_t make_snapshot(const bench *b, const char *dir, uint64_t step, uint64_t late, float change)
{
    zo2_arch a;
    zo2_layout l;
    zo2_journal *j;
    zo2_snapwriter *w;
    hf_model *from = hf_load(SOURCE);
    assert_ok(zo2_arch_load(&a, SOURCE, NULL));
    assert_ok(zo2_layout_create(&l, &a, zo2_one_wire(ZO2_WIRE_BF16), ZO2_F32, ZO2_TILE_RULE,
                                10000)); /* chunks of another size than the export's */
    uint64_t *elements = calloc(l.n_units, sizeof *elements);
    for (uint32_t u = 0; u < l.n_units; u++)
        elements[u] = l.units[u].elements;
    assert_ok(zo2_journal_open(&j, &zo2_io_posix, hf_path(b->run, "journal.zo2j"), 0));
    zo2_snapshot_header h = {.model_hash = zo2_journal_settings(j)->model_hash,
                             .step = step,
                             .chain = zo2_journal_chain(j, step),
                             .units = l.n_units};
    zo2_journal_close(j);
    assert_ok(zo2_snapwriter_open(&w, &zo2_io_posix, dir, &h, elements));
    for (uint32_t u = 0; u < l.n_units; u++) {
        const zo2_unit *unit = &l.units[u];
        uint64_t stands = u % 3 ? step : late;
        assert_ok(zo2_snapwriter_unit(w, stands));
        for (uint32_t c = 0; c < unit->n_chunks; c++)
            for (uint32_t s = 0; s < l.chunks[unit->first_chunk + c].n_spans; s++) {
                const zo2_span *span = &l.spans[l.chunks[unit->first_chunk + c].first_span + s];
                const zo2_tensor *t = &a.tensors[span->tensor];
                uint64_t n = span->rows * span->cols, first = span->row * span->cols;
                float *v = malloc(n * sizeof *v);
                zo2_source_decode(ZO2_F16, hf_find(from, t->name)->data + 2 * first, n, v);
                replay(b, v, n, t->id, t->decays, first, stands);
                for (uint64_t k = 0; k < n; k++)
                    v[k] += change;
                assert_ok(zo2_snapwriter_values(w, v, n));
                free(v);
            }
    }
    assert_ok(zo2_snapwriter_commit(w));
    zo2_snapwriter_close(w);
    uint32_t units = l.n_units;
    free(elements);
    zo2_layout_free(&l);
    zo2_arch_free(&a);
    hf_free(from);
    return units;
}

static void export_to(bench *b, const char *out, int64_t at_step, seen *log)
{
    *log = (seen){0};
    b->o.at_step = at_step;
    b->o.log = on_log;
    b->o.log_ud = log;
    b->o.dtype = ZO2_F32;
    assert_ok(zo2_pack_export(b->pack, out, &b->o));
}

#define WEIGHTS(dir) hf_path(dir, "model.safetensors")

static void same_bits_from_a_snapshot(void **state)
{
    (void)state;
    bench b = begin(SOURCE, ZO2_RADEMACHER, 2);
    const char *plain = hf_path(b.dir, "plain"), *out = b.out, *folder = hf_path(b.run, "snapshots");
    seen log;
    export_to(&b, plain, STEPS, &log);
    assert_replayed(&(bench){.out = plain, .dist = b.dist, .queries = b.queries}, SOURCE, STEPS, ZO2_F32);
    assert_non_null(strstr(log.info, "replaying steps 0 to 9 (from the pack): about "));
    assert_true(make_snapshot(&b, folder, 4, 2, 0) > 10);
    for (uint32_t threads = 1; threads <= 3; threads += 2) {
        b.o.threads = threads;
        export_to(&b, out, -1, &log);
        hf_assert_same_file(WEIGHTS(plain), WEIGHTS(out));
        assert_non_null(strstr(log.info, "replaying steps 4 to 9 (from a snapshot): about "));
        assert_int_equal(log.warnings, 0);
    }
    export_to(&b, out, 4, &log); /* nothing to replay but the late units */
    assert_replayed(&b, SOURCE, 4, ZO2_F32);
    export_to(&b, out, 3, &log); /* before the snapshot: from the pack */
    assert_replayed(&b, SOURCE, 3, ZO2_F32);
    assert_non_null(strstr(log.info, "replaying steps 0 to 3 (from the pack): about "));
    make_snapshot(&b, folder, 7, 7, 0); /* of two, the nearest */
    export_to(&b, out, 6, &log);
    assert_replayed(&b, SOURCE, 6, ZO2_F32);
    assert_non_null(strstr(log.info, "replaying steps 4 to 6 (from a snapshot): about "));
    export_to(&b, out, 8, &log);
    assert_replayed(&b, SOURCE, 8, ZO2_F32);
    assert_non_null(strstr(log.info, "replaying steps 7 to 8 (from a snapshot): about "));
    end(&b);
}

/* That the values are the snapshot's shows when they are wrong: every tensor differs then. */
static void the_folder_is_the_one_named(void **state)
{
    (void)state;
    bench b = begin(SOURCE, ZO2_GAUSSIAN, 1);
    const char *other = hf_path(b.dir, "other"), *plain = hf_path(b.dir, "plain");
    seen log;
    export_to(&b, plain, STEPS, &log);
    make_snapshot(&b, other, STEPS, STEPS, 1.0f);
    export_to(&b, b.out, -1, &log); /* not in RUN_DIR/snapshots: not used */
    hf_assert_same_file(WEIGHTS(plain), WEIGHTS(b.out));
    b.o.snapshot_dir = other;
    export_to(&b, b.out, -1, &log);
    hf_model *m = hf_load(b.out), *want = hf_load(plain);
    for (uint32_t i = 0; i < m->n; i++) {
        const float *x = (const float *)(const void *)m->t[i].data,
                    *y = (const float *)(const void *)hf_find(want, m->t[i].name)->data;
        for (uint64_t k = 0; k < m->t[i].bytes / 4; k++)
            assert_true(x[k] == y[k] + 1.0f);
    }
    hf_free(m);
    hf_free(want);
    end(&b);
}

static void damaged_and_foreign_snapshots_are_passed_over(void **state)
{
    (void)state;
    bench b = begin(SOURCE, ZO2_RADEMACHER, 1);
    const char *plain = hf_path(b.dir, "plain"), *folder = hf_path(b.run, "snapshots");
    seen log;
    export_to(&b, plain, STEPS, &log);
    make_snapshot(&b, folder, 5, 5, 0);
    const char *file = hf_path(folder, "snapshot-000000000005.zo2s");
    size_t n;
    char *bytes = hf_read(file, &n);
    bytes[n / 2] ^= 1; /* a value of some unit: that one comes from the pack */
    hf_write(file, bytes, n);
    export_to(&b, b.out, -1, &log);
    hf_assert_same_file(WEIGHTS(plain), WEIGHTS(b.out));
    assert_true(log.warnings > 0);
    assert_non_null(strstr(log.warning, "snapshot-000000000005.zo2s"));
    assert_non_null(strstr(log.warning, "rebuilt from the pack"));
    bytes[0] ^= 1; /* no snapshot at all */
    hf_write(file, bytes, n);
    export_to(&b, b.out, -1, &log);
    hf_assert_same_file(WEIGHTS(plain), WEIGHTS(b.out));
    assert_non_null(strstr(log.warning, "a snapshot cannot be used"));
    free(bytes);

    /* Of the same model and step, but another history. */
    bench c = begin(SOURCE, ZO2_GAUSSIAN, 1);
    make_snapshot(&c, hf_path(c.run, "snapshots"), 5, 5, 0);
    b.o.snapshot_dir = hf_path(c.run, "snapshots");
    export_to(&b, b.out, -1, &log);
    hf_assert_same_file(WEIGHTS(plain), WEIGHTS(b.out));
    assert_non_null(strstr(log.info, "replaying steps 0 to 9 (from the pack): about "));
    end(&c);
    end(&b);
}

/* For runs that lost their journal: the newest snapshot whose parts all stand at one step, and the weights of that step. */
static void a_snapshot_alone(void **state)
{
    (void)state;
    bench b = begin(SOURCE, ZO2_RADEMACHER, 2);
    const char *plain = hf_path(b.dir, "plain"), *folder = hf_path(b.dir, "rest");
    seen log;
    export_to(&b, plain, 4, &log);
    b.o.run_dir = NULL;
    b.o.snapshot_dir = folder;
    b.o.at_step = -1;
    assert_int_equal(zo2_pack_export(b.pack, b.out, &b.o), ZO2_ERR_NOTFOUND);
    assert_non_null(strstr(zo2_last_error(), "has no snapshot"));
    make_snapshot(&b, folder, 4, 4, 0);
    b.o.force = 1;
    for (uint32_t threads = 1; threads <= 3; threads += 2) {
        b.o.threads = threads;
        export_to(&b, b.out, -1, &log);
        hf_assert_same_file(WEIGHTS(plain), WEIGHTS(b.out));
        assert_non_null(strstr(log.info, "the weights after 4 steps, as the snapshot of step 4 has them"));
        assert_int_equal(log.warnings, 0);
    }
    make_snapshot(&b, folder, 7, 6, 0); /* newer, but some of its parts lack an update */
    export_to(&b, b.out, -1, &log);
    hf_assert_same_file(WEIGHTS(plain), WEIGHTS(b.out));
    assert_int_equal(log.warnings, 1);
    assert_non_null(strstr(log.warning, "after 7 steps cannot be used alone: parts of it lack updates"));
    b.o.at_step = 4; /* which only a run has */
    assert_int_equal(zo2_pack_export(b.pack, b.out, &b.o), ZO2_ERR_ARG);

    /* a damaged value: nothing else has it, so there is no export, and what was there stays */
    const char *file = hf_path(folder, "snapshot-000000000004.zo2s");
    size_t n;
    char *bytes = hf_read(file, &n);
    bytes[n / 2] ^= 1;
    hf_write(file, bytes, n);
    free(bytes);
    b.o.at_step = -1;
    assert_int_equal(zo2_pack_export(b.pack, b.out, &b.o), ZO2_ERR_FORMAT);
    assert_non_null(strstr(zo2_last_error(), "snapshot-000000000004.zo2s"));
    hf_assert_same_file(WEIGHTS(plain), WEIGHTS(b.out));

    /* another model's */
    const char *other = hf_path(b.dir, "other.zo2");
    assert_ok(zo2_pack_convert(FIXTURES "prenorm-f32", other, NULL));
    assert_int_equal(zo2_pack_export(other, b.out, &b.o), ZO2_ERR_NOTFOUND);
    assert_non_null(strstr(zo2_last_error(), "no snapshot that can be used without its journal"));
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits_from_a_snapshot),
        cmocka_unit_test(the_folder_is_the_one_named),
        cmocka_unit_test(damaged_and_foreign_snapshots_are_passed_over),
        cmocka_unit_test(a_snapshot_alone),
    };
    return cmocka_run_group_tests_name("export_snapshot", tests, NULL, NULL);
}

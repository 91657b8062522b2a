/* test_export_run.c: exports of runs against the oracle of export_run_testing.h: types, prefixes, threads, refusals. */
#include "tests/unit/engine/export_run_testing.h"

#define SOURCE FIXTURES "untied-proj-bf16"

static void whole_run(void **state)
{
    static const zo2_dist dists[] = {ZO2_GAUSSIAN, ZO2_RADEMACHER};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        bench b = begin(SOURCE, dists[i], i ? 3 : 1);
        b.o.dtype = ZO2_F32;
        assert_ok(zo2_pack_export(b.pack, b.out, &b.o));
        assert_replayed(&b, SOURCE, STEPS, ZO2_F32);
        b.o.dtype = 0; /* rounded to the source's bf16 */
        assert_ok(zo2_pack_export(b.pack, b.out, &b.o));
        assert_replayed(&b, SOURCE, STEPS, 0);
        b.o.dtype = ZO2_F16;
        assert_ok(zo2_pack_export(b.pack, b.out, &b.o));
        assert_replayed(&b, SOURCE, STEPS, ZO2_F16);
        assert_int_equal(hf_count_entries(b.dir), 3);
        end(&b);
    }
}

static void prefixes(void **state)
{
    (void)state;
    bench b = begin(SOURCE, ZO2_GAUSSIAN, 2);
    b.o.dtype = ZO2_F32;
    for (int64_t n = 0; n <= STEPS; n++) {
        b.o.at_step = n;
        assert_ok(zo2_pack_export(b.pack, b.out, &b.o));
        assert_replayed(&b, SOURCE, (uint64_t)n, ZO2_F32);
    }
    b.o.at_step = STEPS + 1;
    assert_error(zo2_pack_export(b.pack, b.out, &b.o), ZO2_ERR_ARG, "has 9 steps; there is no step 10 to export at");
    b.o.at_step = 3;
    b.o.run_dir = NULL;
    assert_error(zo2_pack_export(b.pack, b.out, &b.o), ZO2_ERR_ARG, "step 3 needs a run directory");
    end(&b);
}

/* A model of several groups and many pieces: the same bits whatever the number of threads and the shards. */
static void threads(void **state)
{
    (void)state;
    bench b = begin(TINY, ZO2_RADEMACHER, 1);
    const char *first = hf_path(b.dir, "first");
    b.o.dtype = ZO2_BF16;
    b.o.threads = 1;
    assert_ok(zo2_pack_export(b.pack, first, &b.o));
    for (uint32_t n = 2; n <= 5; n += 3) {
        b.o.threads = n;
        assert_ok(zo2_pack_export(b.pack, b.out, &b.o));
        hf_assert_same_file(hf_path(first, "model.safetensors"), hf_path(b.out, "model.safetensors"));
    }
    hf_model *m = hf_load(first),
             *from = hf_load(TINY); /* samples against the oracle: elements far from a tensor's start */
    const hf_tensor *h = hf_find(m, "model.decoder.embed_tokens.weight"), *f = hf_find(from, h->name);
    for (uint64_t k = 0; k < 4096 * 192; k += 4099) {
        float w;
        uint16_t bits;
        zo2_source_decode(ZO2_F16, f->data + 2 * k, 1, &w);
        replay(&b, &w, 1, 0, 1, k, STEPS);
        zo2_source_encode(ZO2_BF16, &w, 1, &bits);
        assert_memory_equal(h->data + 2 * k, &bits, 2);
    }
    hf_free(m);
    hf_free(from);
    end(&b);
}

static void on_log(void *ud, zo2_log_level level, const char *message)
{
    assert_int_equal(level, ZO2_LOG_INFO);
    snprintf(ud, 256, "%s", message);
}

static void refusals(void **state)
{
    (void)state;
    bench b = begin(SOURCE, ZO2_GAUSSIAN, 1), other = begin(FIXTURES "prenorm-f32", ZO2_GAUSSIAN, 1);
    char text[256] = "";
    assert_error(zo2_pack_export(other.pack, b.out, &b.o), ZO2_ERR_MISMATCH, "was made from another model");
    b.o.run_dir = b.dir;
    assert_error(zo2_pack_export(b.pack, b.out, &b.o), ZO2_ERR_NOTFOUND, "is not a run directory");
    assert_int_equal(hf_count_entries(b.dir), 2);
    b.o.run_dir = b.run;
    b.o.log = on_log;
    b.o.log_ud = text;
    assert_ok(zo2_pack_export(b.pack, b.out, &b.o));
    assert_non_null(strstr(text, "replaying steps 0 to 9 (from the pack): about "));
    end(&b);
    end(&other);
}

/* Weights that a run made infinite aren't exported, whatever the type. */
static void nonfinite_result(void **state)
{
    (void)state;
    bench b = begin(SOURCE, ZO2_GAUSSIAN, 1);
    zo2_journal *j;
    assert_ok(zo2_journal_open(&j, &zo2_io_posix, hf_path(b.run, "journal.zo2j"), 1));
    zo2_journal_record r = record(&b, STEPS);
    r.query[0].c = 3e38f;
    assert_ok(zo2_journal_append(j, &r));
    r.step++;
    assert_ok(zo2_journal_append(j, &r));
    zo2_journal_close(j);
    b.o.dtype = ZO2_F32;
    assert_error(zo2_pack_export(b.pack, b.out, &b.o), ZO2_ERR_NONFINITE,
                 "model.decoder.embed_tokens.weight is infinite or not a number after 11 steps");
    b.o.at_step = STEPS;
    assert_ok(zo2_pack_export(b.pack, b.out, &b.o));
    end(&b);
}

static void aliased_pack(void **state)
{
    (void)state;
    bench b = begin(SOURCE, ZO2_GAUSSIAN, 1);
    zo2_synth_opts s;
    zo2_synth_opts_init(&s);
    s.alias = 1;
    s.force = 1;
    assert_ok(zo2_pack_synth(FIXTURES "prenorm-f32/config.json", b.pack, &s));
    b.o.run_dir = NULL;
    assert_ok(zo2_pack_export(b.pack, b.out, &b.o)); /* without a run: each layer written out */
    hf_model *m = hf_load(b.out);
    assert_memory_equal(hf_find(m, "model.decoder.layers.0.fc1.weight")->data,
                        hf_find(m, "model.decoder.layers.1.fc1.weight")->data, 48 * 32 * 2);
    hf_free(m);
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_run), cmocka_unit_test(prefixes),         cmocka_unit_test(threads),
        cmocka_unit_test(refusals),  cmocka_unit_test(nonfinite_result), cmocka_unit_test(aliased_pack),
    };
    return cmocka_run_group_tests_name("export_run", tests, NULL, NULL);
}

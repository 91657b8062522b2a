/* test_run_api.c: run directories made by hand: what the readers say about them, and what verification finds. */
#include "engine/model/layout.h"
#include "storage/run/journal.h"
#include "storage/run/snapshot.h"
#include "storage/spill/spill.h"
#include "tests/unit/engine/hf_dir.h"

#include <math.h>
#include <xxhash.h>

#define HASH  UINT64_C(0x0123456789ABCDEF)
#define STEPS 7

static zo2_run_settings settings(void)
{
    return (zo2_run_settings){
        .model_hash = HASH,
        .seed = 0, /* a valid seed */
        .lr = 1e-3,
        .eps = 2e-3,
        .weight_decay = 0.1,
        .clip = 5,
        .warmup = 2,
        .total_steps = 10,
        .schedule = ZO2_LINEAR,
        .dist = ZO2_RADEMACHER,
        .queries = 2,
        .pending = 3,
        .micro_batch = 4,
        .wire = ZO2_WIRE_E4M3,
        .frozen_wire = ZO2_WIRE_E4M3,
        .compute = ZO2_F32,
        .tune_order = ZO2_ORDER_TOP,
        .trunk_type = ZO2_F32,
        .backend = ZO2_BACKEND_CPU,
        .noise_version = ZO2_NOISE_VERSION,
        .tile_rule = ZO2_TILE_RULE,
        .decay_set = ZO2_DECAY_SET,
    };
}

static zo2_journal_record record(uint64_t step)
{
    double x = (double)step;
    zo2_journal_record r = {
        .step = step, .tokens = 100 + step, .data_position = 16 * (step + 1), .d = 1e-4f, .queries = 2};
    r.skipped = step == 4;
    r.query[0] = (zo2_journal_query){2 + x, 1 + x, 3.0f, 2.5f, 0.125f};
    r.query[1] = (zo2_journal_query){4 + x, 2 + x, -7.0f, -5.0f, -0.25f};
    return r;
}

static const char *journal_path(const char *dir)
{
    return hf_path(dir, "journal.zo2j");
}

static char *make_run(const zo2_run_settings *s)
{
    char *dir = hf_temp();
    zo2_journal *j;
    assert_ok(zo2_journal_create(&j, &zo2_io_posix, journal_path(dir), s));
    for (uint64_t i = 0; i < STEPS; i++) {
        zo2_journal_record r = record(i);
        assert_ok(zo2_journal_append(j, &r));
    }
    zo2_journal_close(j);
    return dir;
}

static void reading(void **state)
{
    (void)state;
    zo2_run_settings s = settings();
    char *dir = make_run(&s);
    zo2_run *r;
    zo2_run_record rec;
    assert_ok(zo2_run_open(&r, dir));
    assert_int_equal(zo2_run_steps(r), STEPS);
    assert_true(zo2_run_model_hash(r) == HASH);
    for (uint64_t i = 0; i < STEPS; i++) {
        double x = (double)i;
        memset(&rec, 0xA5, sizeof rec);
        assert_ok(zo2_run_record_get(r, i, &rec));
        assert_int_equal(rec.step, i);
        assert_int_equal(rec.tokens, 100 + i);
        assert_int_equal(rec.data_position, 16 * (i + 1));
        assert_int_equal(rec.skipped, i == 4);
        assert_int_equal(rec.queries, 2);
        assert_true(rec.loss_plus == 3 + x && rec.loss_minus == 1.5 + x && rec.projected_grad == -2);
        assert_true(rec.query[0].loss_plus == 2 + x && rec.query[1].loss_minus == 2 + x);
        assert_true(rec.query[1].g_raw == -7.0f && rec.query[1].g_clipped == -5.0f && rec.query[1].c == -0.25f);
        assert_true(rec.query[2].c == 0 && rec.d == 1e-4f);
        double lr = i < 2 ? 1e-3 * (x + 1) / 2 : 1e-3 * (10 - x) / 8;
        assert_true(fabs(rec.lr - lr) < 1e-18);
    }
    assert_error(zo2_run_record_get(r, STEPS, &rec), ZO2_ERR_NOTFOUND, "has 7 steps, there is no step 7");
    assert_error(zo2_run_record_get(r, UINT64_MAX, &rec), ZO2_ERR_NOTFOUND, "has 7 steps");

    zo2_engine_opts o, fresh;
    zo2_engine_opts_init(&fresh);
    zo2_run_get_opts(r, &o);
    assert_int_equal(o.struct_size, sizeof o);
    assert_true(o.seed == 0 && o.seed_set == 1 && o.lr == 1e-3 && o.eps == 2e-3 && o.weight_decay == 0.1 &&
                o.clip == 5);
    assert_true(o.schedule == ZO2_LINEAR && o.warmup == 2 && o.total_steps == 10 && o.dist == ZO2_RADEMACHER);
    assert_true(o.queries == 2 && o.pending == 3 && o.micro_batch == 4 && o.wire == ZO2_WIRE_E4M3);
    assert_true(o.compute == ZO2_F32 && o.backend == ZO2_BACKEND_CPU);
    assert_true(o.max_rows == fresh.max_rows && o.threads == fresh.threads && o.at_step == fresh.at_step &&
                isnan(o.snapshot_seconds));
    zo2_run_close(r);
    zo2_run_close(NULL);
    hf_remove_tree(dir);
}

static void refusals(void **state)
{
    (void)state;
    zo2_run *r = (zo2_run *)state;
    char *dir = hf_temp();
    assert_error(zo2_run_open(&r, dir), ZO2_ERR_NOTFOUND, "is not a run directory: there is no ");
    assert_null(r);
    assert_error(zo2_run_open(&r, "/nowhere/run"), ZO2_ERR_NOTFOUND, "/nowhere/run");
    assert_error(zo2_run_open(&r, NULL), ZO2_ERR_ARG, "run_dir");
    hf_write_text(journal_path(dir),
                  "this is no journal, but it is long enough to look like one "
                  "..............................................................................................."
                  "...............................................................................................");
    assert_error(zo2_run_open(&r, dir), ZO2_ERR_FORMAT, "journal.zo2j");
    hf_remove_tree(dir);
    zo2_run_settings s = settings();
    s.decay_set = ZO2_DECAY_SET + 1;
    dir = make_run(&s);
    assert_error(zo2_run_open(&r, dir), ZO2_ERR_UNSUPPORTED, "decay set 2");
    hf_remove_tree(dir);
}

/* Every length of the file that a crash can leave: whole records count, the torn one doesn't. */
static void torn(void **state)
{
    (void)state;
    zo2_run_settings s = settings();
    char *dir = make_run(&s);
    size_t n;
    char *bytes = hf_read(journal_path(dir), &n);
    zo2_run *r;
    assert_int_equal(truncate(journal_path(dir), (off_t)n - 1), 0);
    assert_ok(zo2_run_open(&r, dir));
    assert_int_equal(zo2_run_steps(r), STEPS - 1);
    zo2_run_close(r);
    assert_ok(zo2_run_verify(dir, NULL, NULL, NULL));
    struct stat st;
    assert_int_equal(stat(journal_path(dir), &st), 0);
    assert_int_equal(st.st_size, n - 1); /* reading cuts nothing */
    bytes[n / 2] ^= 1;                   /* damage before the last record is another matter */
    hf_write(journal_path(dir), bytes, n);
    assert_error(zo2_run_verify(dir, NULL, NULL, NULL), ZO2_ERR_FORMAT, "journal.zo2j");
    free(bytes);
    hf_remove_tree(dir);
}

/* A snapshot of three units at `step`, bound to the journal's chain there (or to another one). */
static void make_snapshot(const char *dir, uint64_t step, uint64_t hash, uint64_t chain_change, uint64_t unit_step)
{
    static const uint64_t elements[] = {5, 1000, 1};
    float values[1000];
    zo2_journal *j;
    zo2_snapwriter *w;
    assert_ok(zo2_journal_open(&j, &zo2_io_posix, journal_path(dir), 0));
    uint64_t chain = step <= zo2_journal_steps(j) ? zo2_journal_chain(j, step) : 0;
    zo2_snapshot_header h = {.model_hash = hash, .step = step, .chain = chain ^ chain_change, .units = 3};
    for (int i = 0; i < 1000; i++)
        values[i] = (float)i;
    assert_ok(zo2_snapwriter_open(&w, &zo2_io_posix, hf_path(dir, "snapshots"), &h, elements));
    for (uint32_t u = 0; u < 3; u++) {
        assert_ok(zo2_snapwriter_unit(w, unit_step));
        assert_ok(zo2_snapwriter_values(w, values, elements[u]));
    }
    assert_ok(zo2_snapwriter_commit(w));
    zo2_snapwriter_close(w);
    zo2_journal_close(j);
}

static void drop_snapshots(const char *dir)
{
    char *copy = strdup(hf_path(dir, "snapshots"));
    hf_remove_tree(copy);
}

static void snapshots(void **state)
{
    (void)state;
    zo2_run_settings s = settings();
    char *dir = make_run(&s);
    make_snapshot(dir, 0, HASH, 0, 0);
    make_snapshot(dir, 5, HASH, 0, 3);
    assert_ok(zo2_run_verify(dir, NULL, NULL, NULL));
    make_snapshot(dir, 6, HASH, 1, 6);
    assert_error(zo2_run_verify(dir, NULL, NULL, NULL), ZO2_ERR_MISMATCH, "snapshot 6 in ");
    assert_non_null(strstr(zo2_last_error(), "belongs to another history"));
    drop_snapshots(dir);
    make_snapshot(dir, 6, HASH + 1, 0, 6);
    assert_error(zo2_run_verify(dir, NULL, NULL, NULL), ZO2_ERR_MISMATCH, "belongs to another model");
    drop_snapshots(dir);
    make_snapshot(dir, 8, HASH, 0, 6);
    assert_error(zo2_run_verify(dir, NULL, NULL, NULL), ZO2_ERR_MISMATCH, "is ahead of the journal, which has 7 steps");
    drop_snapshots(dir);
    /* a damaged value, found by reading every unit */
    make_snapshot(dir, 6, HASH, 0, 6);
    const char *file = hf_path(hf_path(dir, "snapshots"), "snapshot-000000000006.zo2s");
    size_t n, at;
    char *bytes = hf_read(file, &n);
    float value = 777;
    for (at = 0; memcmp(bytes + at, &value, sizeof value) != 0; at++)
        assert_true(at + 8 < n);
    bytes[at + 1] ^= 4;
    hf_write(file, bytes, n);
    assert_error(zo2_run_verify(dir, NULL, NULL, NULL), ZO2_ERR_FORMAT, "snapshot-000000000006.zo2s");
    free(bytes);
    hf_remove_tree(dir);
}

static uint64_t chain_at(const void *journal, uint64_t step)
{
    return zo2_journal_chain(journal, step);
}

/* A spill of two chunks, the second one at `step`; changed: its history is another one's. */
static void make_spill(const char *dir, uint64_t step, uint64_t changed)
{
    static const zo2_spill_chunk chunks[] = {{4096, 0}, {4096, 0}};
    _Alignas(4096) static unsigned char plane[4096] = {1, 2, 3};
    zo2_journal *j;
    zo2_spill *s;
    zo2_spill_version v;
    uint32_t n;
    assert_ok(zo2_journal_open(&j, &zo2_io_posix, journal_path(dir), 0));
    const zo2_spill_config c = {.run = zo2_journal_chain(j, 0),
                                .chunks = chunks,
                                .n_chunks = 2,
                                .dirs = &dir,
                                .n_dirs = 1,
                                .writable = 1,
                                .most_step = STEPS,
                                .history = chain_at,
                                .history_ud = j};
    assert_ok(zo2_spill_open(&s, &zo2_io_posix, &c));
    assert_true(zo2_spill_take(s, 1, &v));
    assert_ok(zo2_aio_file_write(zo2_spill_files(s, &n), &zo2_io_posix, plane, sizeof plane, v.wire_at));
    v.step = step;
    v.history = (step <= STEPS ? zo2_journal_chain(j, step) : 0) ^ changed;
    v.wire_hash = XXH3_64bits(plane, sizeof plane);
    v.rest_hash = XXH3_64bits(plane, 0);
    zo2_spill_written(s, &v);
    assert_ok(zo2_spill_commit(s));
    zo2_spill_close(s);
    zo2_journal_close(j);
}

static void spilled(void **state)
{
    (void)state;
    zo2_run_settings s = settings();
    char *dir = make_run(&s);
    const char *dirs[] = {dir};
    uint64_t chunks;
    assert_error(zo2_run_verify_spill(dir, dirs, 1, NULL, NULL, &chunks), ZO2_ERR_NOTFOUND, ".zo2x");
    assert_error(zo2_run_verify_spill(NULL, dirs, 1, NULL, NULL, NULL), ZO2_ERR_ARG, "run_dir");
    make_spill(dir, 5, 0);
    assert_ok(zo2_run_verify_spill(dir, dirs, 1, NULL, NULL, &chunks));
    assert_int_equal(chunks, 1);
    make_spill(dir, 6, 1); /* of other pasts, which a resume leaves out as well */
    make_spill(dir, STEPS + 1, 0);
    assert_ok(zo2_run_verify_spill(dir, dirs, 1, NULL, NULL, &chunks));
    make_spill(dir, STEPS, 0);
    assert_ok(zo2_run_verify_spill(dir, dirs, 1, NULL, NULL, &chunks));
    assert_int_equal(chunks, 1);
    char name[40];
    zo2_journal *j;
    assert_ok(zo2_journal_open(&j, &zo2_io_posix, journal_path(dir), 0));
    snprintf(name, sizeof name, "spill-%016llx.zo2x", (unsigned long long)zo2_journal_chain(j, 0));
    zo2_journal_close(j);
    size_t n;
    char *bytes = hf_read(hf_path(dir, name), &n);
    for (size_t at = 8192; at < n; at += 4096)
        bytes[at] ^= 1;
    hf_write(hf_path(dir, name), bytes, n);
    assert_error(zo2_run_verify_spill(dir, dirs, 1, NULL, NULL, &chunks), ZO2_ERR_FORMAT, "1 of 1 chunks");
    free(bytes);
    hf_remove_tree(dir);
}

static void packs(void **state)
{
    (void)state;
    zo2_run_settings s = settings();
    char *dir = make_run(&s);
    const char *pack = hf_path(dir, "tiny.zo2");
    assert_ok(zo2_pack_convert(TINY, pack, NULL));
    assert_error(zo2_run_verify(dir, pack, NULL, NULL), ZO2_ERR_MISMATCH,
                 "was made from another model: its model hash is 0123456789abcdef");
    assert_error(zo2_run_verify(dir, hf_path(dir, "none.zo2"), NULL, NULL), ZO2_ERR_NOTFOUND, "none.zo2");
    zo2_pack *p;
    zo2_pack_info info;
    assert_ok(zo2_pack_open(&p, pack));
    assert_ok(zo2_pack_get_info(p, &info));
    zo2_pack_close(p);
    s.model_hash = info.model_hash;
    char *good = make_run(&s);
    assert_ok(zo2_run_verify(good, pack, NULL, NULL));
    hf_remove_tree(good);
    hf_remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading),   cmocka_unit_test(refusals), cmocka_unit_test(torn),
        cmocka_unit_test(snapshots), cmocka_unit_test(packs),    cmocka_unit_test(spilled),
    };
    return cmocka_run_group_tests_name("run_api", tests, NULL, NULL);
}

/* test_engine_spill.c: a run whose masters spill to files has the journal and the masters of one that has them in RAM: for every
 * tier, wire and noise, after a resume with and without a snapshot, with the files gone, damaged or full, with as few buffers as there
 * may be. */
#include "engine/stream/lane_write.h"
#include "tests/unit/engine/engine_spill_testing.h"
#include "tests/unit/storage/faulty_io.h"

#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* Where planes of an engine live. */
static void count_tiers(const zo2_engine *e, uint32_t tiers[3])
{
    const zo2_masters *m = &e->core.masters;
    memset(tiers, 0, 3 * sizeof *tiers);
    for (uint32_t c = 0; c < e->core.layout.n_chunks; c++)
        tiers[m->tier[c]] += m->owner[c] == c;
}

/* ---- the same bits ---- */

/* Evaluations between steps, a snapshot, an engine closed and opened again: all as without. */
static void compare_room(const session *ram, const outcome *want, model_kind k, room r)
{
    static int runs;
    char name[32];
    outcome got;
    uint32_t tiers[3];
    memset(&got, 0, sizeof got);
    snprintf(name, sizeof name, "spilled-%d", runs++);
    session s = spilled(ram->o, k, name);
    spill_to(&s, r);
    zo2_engine *e = start(&s);
    count_tiers(e, tiers);
    assert_int_equal(tiers[ZO2_TIER_SPILL] + tiers[ZO2_TIER_WIRE] > 0, r != ALL);
    assert_int_equal(tiers[ZO2_TIER_RAM] > 0, r != LEAST);
    train(e, &got, STEPS / 2);
    (void)evaluate(e, ZO2_WEIGHTS_WIRE);
    MUST(zo2_snapshot(e));
    zo2_engine_close(e);
    e = start(&s);
    if (r == HALF)
        zo2_pipeline_set_bounce(e->core.pipe, 1); /* as where memory can't be registered */
    finish(e, &got);
    zo2_engine_close(e);
    assert_memory_equal(&got, want, sizeof got);
    assert_same_journal(ram, &s);
}

static void compare(zo2_engine_opts o, model_kind k, room last)
{
    session ram;
    outcome want = in_ram(&o, k, &ram);
    for (room r = LEAST; r <= last; r++)
        compare_room(&ram, &want, k, r);
}

static void any_wire(void **state)
{
    (void)state;
    static const zo2_wire wires[] = {ZO2_WIRE_BF16, ZO2_WIRE_FP32, ZO2_WIRE_E4M3, ZO2_WIRE_F6};
    static const room last[] = {ALL, LEAST, HALF, LEAST};
    for (size_t i = 0; i < sizeof wires / sizeof wires[0]; i++) {
        zo2_engine_opts o = usual();
        o.wire = wires[i];
        o.pending = (int)i;
        o.dist = i % 2 ? ZO2_RADEMACHER : ZO2_GAUSSIAN;
        compare(o, 0, last[i]);
    }
}

static void pending_updates(void **state)
{
    (void)state;
    zo2_engine_opts o = usual();
    o.pending = 3;
    o.queries = 2;
    o.micro_batch = o.max_rows_micro = 1;
    compare(o, 0, HALF);
}

static void layers_share_planes(void **state)
{
    (void)state;
    compare(usual(), ALIASED, HALF);
}

static void other_families(void **state)
{
    (void)state;
    for (model_kind k = LLAMA; k <= MISTRAL; k++) {
        zo2_engine_opts o = usual();
        o.chunk_bytes = CHUNK / 4; /* their matrices are small */
        o.pending = k % 2 ? 2 : 0;
        compare(o, k, HALF);
    }
}

/* ---- beginning again ---- */

typedef struct warnings {
    uint32_t n;
    char last[1200];
} warnings;

static void listen(void *ud, zo2_log_level level, const char *text)
{
    warnings *w = ud;
    w->n += level == ZO2_LOG_WARNING;
    if (level == ZO2_LOG_WARNING)
        snprintf(w->last, sizeof w->last, "%s", text);
}

/* A process that trains and dies. */
static void train_and_die(session *s, uint32_t snapshot, uint32_t to)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) { /* nothing here may end in cmocka, which would go on with the tests */
        zo2_engine *e;
        zo2_status failed = zo2_engine_open(&e, s->pack, s->run, &s->o);
        for (uint32_t i = 0; i < to && !failed; i++) {
            failed = step(e, NULL);
            if (i + 1 == snapshot && !failed)
                failed = zo2_snapshot(e);
        }
        if (failed)
            fprintf(stderr, "%s\n", zo2_last_error());
        _exit(failed != ZO2_OK);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* What wasn't committed is made again, chunk by chunk, by the first pass, which is an evaluation. */
static void after_a_crash(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        char name[32];
        outcome want, got;
        zo2_engine_opts o = usual();
        o.pending = i / 2 * 3;
        memset(&want, 0, sizeof want);
        snprintf(name, sizeof name, "crash-ram-%u", i);
        session ram = spilled(o, 0, name);
        zo2_engine *e = start(&ram);
        train(e, &want, 4);
        double wire = evaluate(e, ZO2_WEIGHTS_WIRE);
        finish(e, &want);
        zo2_engine_close(e);
        snprintf(name, sizeof name, "crash-%u", i);
        session s = spilled(o, 0, name);
        spill_to(&s, i == 1 || i == 2 ? LEAST : HALF);
        train_and_die(&s, i % 2 ? 2 : 0, 4);
        got = want; /* of the losses that are in the journal */
        memset(got.loss + 4, 0, sizeof got.loss - 4 * sizeof got.loss[0]);
        e = start(&s);
        assert_true(evaluate(e, ZO2_WEIGHTS_WIRE) == wire);
        finish(e, &got);
        zo2_engine_close(e);
        assert_memory_equal(&got, &want, sizeof want);
        assert_same_journal(&ram, &s);
    }
}

static size_t spill_files(const session *s)
{
    size_t n = 0;
    for (int i = 0; i < 2; i++) {
        char pattern[600];
        glob_t found;
        snprintf(pattern, sizeof pattern, "%s/*", s->dir[i]);
        if (!glob(pattern, 0, NULL, &found))
            n += found.gl_pathc;
        globfree(&found);
    }
    return n;
}

static void files_gone(void **state)
{
    (void)state;
    session ram, s;
    zo2_engine_opts o = usual();
    outcome want = in_ram(&o, 0, &ram), got;
    memset(&got, 0, sizeof got);
    s = spilled(o, 0, "gone");
    spill_to(&s, HALF);
    zo2_engine *e = start(&s);
    train(e, &got, STEPS / 2);
    MUST(zo2_snapshot(e));
    zo2_engine_close(e);
    assert_int_equal(spill_files(&s), 2);
    remove_tree(s.dir[0]);
    e = start(&s);
    train(e, &got, STEPS / 2 + 1);
    zo2_engine_close(e);
    remove_tree(s.dir[0]);
    remove_tree(s.dir[1]);
    e = start(&s);
    finish(e, &got);
    zo2_engine_close(e);
    assert_memory_equal(&got, &want, sizeof want);
}

/* One byte of a plane of every third chunk, on the disk. */
static uint32_t damage(zo2_engine *e)
{
    uint32_t n_files, damaged = 0;
    const zo2_aio_file *files = zo2_spill_files(e->core.spill, &n_files);
    for (uint32_t c = 0; c < e->core.layout.n_chunks; c += 3) {
        zo2_spill_version v;
        uint8_t byte;
        if (e->core.masters.tier[c] != ZO2_TIER_SPILL || !zo2_spill_find(e->core.spill, c, &v))
            continue;
        uint64_t at = (c % 2 && e->core.layout.chunks[c].rest_bytes ? v.rest_at : v.wire_at) + 5;
        int fd = open(files[v.file].path, O_RDWR);
        assert_true(fd >= 0);
        assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
        byte ^= 4;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
        close(fd);
        damaged++;
    }
    return damaged;
}

static void slots_damaged(void **state)
{
    (void)state;
    session ram, s;
    warnings said = {0};
    zo2_engine_opts o = usual();
    outcome want = in_ram(&o, 0, &ram), got;
    memset(&got, 0, sizeof got);
    s = spilled(o, 0, "damaged");
    spill_to(&s, LEAST);
    zo2_engine *e = start(&s);
    train(e, &got, STEPS / 2);
    MUST(zo2_snapshot(e));
    zo2_engine_close(e);
    s.o.log = listen;
    s.o.log_ud = &said;
    e = start(&s);
    uint32_t n = damage(e);
    assert_true(n > 3);
    finish(e, &got);
    assert_int_equal(said.n, n);
    assert_non_null(strstr(said.last, "; this part is rebuilt from the pack and the journal"));
    zo2_engine_close(e);
    assert_memory_equal(&got, &want, sizeof want);
}

/* ---- what goes wrong ---- */

/* From now on the write lane writes through another table. */
static void write_through(zo2_engine *e, const zo2_io *io)
{
    zo2_pipeline *p = e->core.pipe;
    zo2_spill_home *home = &e->core.masters.spill;
    zo2_write_lane_end(p->writer);
    home->ending = 0;
    home->io = io;
    home->aio = ZO2_AIO_TABLE;
    MUST(zo2_write_lane_start(&p->writer, p, home));
}

static void a_write_fails(void **state)
{
    (void)state;
    static const struct {
        int err;
        zo2_status status;
    } faults[] = {{EIO, ZO2_ERR_IO}, {ENOSPC, ZO2_ERR_NOSPACE}};
    session ram, s;
    zo2_engine_opts o = usual();
    outcome want = in_ram(&o, 0, &ram), got;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        faulty_io f;
        char name[32];
        memset(&got, 0, sizeof got);
        snprintf(name, sizeof name, "write-fails-%d", faults[i].err);
        s = spilled(o, 0, name);
        spill_to(&s, LEAST);
        faulty_init(&f);
        zo2_engine *e = start(&s);
        train(e, &got, 2);
        write_through(e, &f.io);
        faulty_arm(&f, FAULTY_PWRITE, 7, FAULTY_FAIL, faults[i].err, 0);
        zo2_status status = ZO2_OK;
        for (int n = 0; n < 4 && !status; n++) {
            zo2_step_result r = {.struct_size = sizeof r};
            zo2_engine_state at;
            zo2_engine_get_state(e, &at);
            status = step(e, &r);
            got.loss[at.step] = r.loss_plus;
        }
        assert_int_equal(status, faults[i].status);
        assert_non_null(strstr(zo2_last_error(), ".zo2x"));
        assert_int_equal(step(e, NULL), faults[i].status); /* the engine keeps saying so */
        assert_int_equal(zo2_snapshot(e), faults[i].status);
        zo2_engine_close(e);
        faulty_free(&f);
        e = start(&s);
        finish(e, &got);
        zo2_engine_close(e);
        assert_memory_equal(&got, &want, sizeof want);
    }
}

static int stop_at(void *ud, const char *stage, uint64_t done, uint64_t total)
{
    uint64_t *at = ud;
    (void)total;
    return !strcmp(stage, "chunks") && done >= *at;
}

static void a_step_is_cancelled(void **state)
{
    (void)state;
    session ram, s;
    zo2_engine_opts o = usual();
    outcome want = in_ram(&o, 0, &ram), got;
    uint64_t at = UINT64_MAX;
    memset(&got, 0, sizeof got);
    s = spilled(o, 0, "cancelled");
    spill_to(&s, LEAST);
    s.o.progress = stop_at;
    s.o.progress_ud = &at;
    zo2_engine *e = start(&s);
    for (uint32_t i = 0; i < STEPS; i++) {
        at = 4 * i;
        assert_int_equal(step(e, NULL), ZO2_ERR_CANCELLED);
        at = UINT64_MAX;
        train(e, &got, i + 1);
    }
    finish(e, &got);
    zo2_engine_close(e);
    assert_memory_equal(&got, &want, sizeof want);
}

static int stop_loading(void *ud, const char *stage, uint64_t done, uint64_t total)
{
    (void)ud, (void)done, (void)total;
    return !strcmp(stage, "loading");
}

static void forbid_warnings(void *ud, zo2_log_level level, const char *text)
{
    (void)ud;
    if (level >= ZO2_LOG_WARNING)
        fail_msg("%s", text);
}

static void an_open_fails(void **state)
{
    (void)state;
    zo2_engine *e;
    session s = spilled(usual(), 0, "no-run");
    spill_to(&s, HALF);
    s.o.progress = stop_loading;
    assert_int_equal(zo2_engine_open(&e, s.pack, s.run, &s.o), ZO2_ERR_CANCELLED);
    assert_int_equal(spill_files(&s), 0);
    s.o.progress = NULL;
    e = start(&s);
    MUST(step(e, NULL));
    zo2_engine_close(e);
    assert_int_equal(spill_files(&s), 2);
    /* what it was cut for stays */
    s.o.chunk_bytes = CHUNK + 1000;
    assert_int_equal(zo2_engine_open(&e, s.pack, s.run, &s.o), ZO2_ERR_MISMATCH);
    assert_non_null(strstr(zo2_last_error(), "chunks of 2000 bytes, this call asks for 3000"));
    s.o.chunk_bytes = 0;
    e = start(&s);
    assert_int_equal(e->core.plan.chunk_bytes, CHUNK);
    MUST(step(e, NULL));
    zo2_engine_close(e);
    /* another run of these settings leaves it alone */
    s.o.log = forbid_warnings;
    session other = s;
    scratch_path(other.run, sizeof other.run, "another-run");
    other.dirs[0] = other.dir[0];
    other.dirs[1] = other.dir[1];
    other.o.spill_dirs = other.dirs;
    assert_int_equal(zo2_engine_open(&e, other.pack, other.run, &other.o), ZO2_ERR_EXISTS);
    assert_non_null(strstr(zo2_last_error(), "another run with the same settings"));
    assert_int_equal(access(other.run, F_OK), -1);
    e = start(&s);
    MUST(step(e, NULL));
    zo2_engine_close(e);
}

/* ---- readers, and figures ---- */

static void readers(void **state)
{
    (void)state;
    session ram, s;
    zo2_engine_opts o = usual();
    outcome want = in_ram(&o, 0, &ram), got;
    memset(&got, 0, sizeof got);
    s = spilled(o, 0, "read");
    spill_to(&s, LEAST);
    zo2_engine *e = start(&s), *reader;
    train(e, &got, STEPS);
    session reading = s;
    reading.o.read_only = 1;
    for (int busy = 1; busy >= 0; busy--) { /* beside the session that trains, and after it */
        for (int at = -1; at < STEPS; at += STEPS / 2 + 1) {
            uint64_t hash, same;
            reading.o.at_step = at;
            reader = start(&reading);
            MUST(zo2_masters_hash(reader, &hash));
            double loss = evaluate(reader, ZO2_WEIGHTS_WIRE);
            assert_true(at >= 0 || loss == want.eval[0]);
            zo2_engine_close(reader);
            session plain = ram;
            plain.o.read_only = 1;
            plain.o.at_step = at;
            reader = start(&plain);
            MUST(zo2_masters_hash(reader, &same));
            assert_true(loss == evaluate(reader, ZO2_WEIGHTS_WIRE));
            zo2_engine_close(reader);
            assert_int_equal(hash, same);
        }
        if (busy)
            zo2_engine_close(e);
    }
}

/* A pack's own weights need no files. */
static void no_run(void **state)
{
    (void)state;
    uint64_t want, got;
    double loss;
    zo2_engine_opts o = usual();
    o.read_only = 1;
    session s = spilled(o, 0, "no-run-at-all");
    zo2_engine *e;
    MUST(zo2_engine_open(&e, s.pack, NULL, &s.o));
    MUST(zo2_masters_hash(e, &want));
    loss = evaluate(e, ZO2_WEIGHTS_WIRE);
    zo2_engine_close(e);
    spill_to(&s, LEAST);
    MUST(zo2_engine_open(&e, s.pack, NULL, &s.o));
    MUST(zo2_masters_hash(e, &got));
    assert_int_equal(got, want);
    assert_true(evaluate(e, ZO2_WEIGHTS_WIRE) == loss);
    zo2_engine_close(e);
    assert_int_equal(spill_files(&s), 0);
}

static void figures(void **state)
{
    (void)state;
    zo2_step_result r = {.struct_size = sizeof r};
    session s = spilled(usual(), 0, "figures");
    spill_to(&s, LEAST);
    zo2_engine *e = start(&s);
    zo2_engine_opts o;
    memset(s.dir, '?', sizeof s.dir); /* its strings are its own */
    s.dirs[0] = s.dirs[1] = NULL;
    zo2_engine_get_opts(e, &o);
    assert_true(o.spill_count == 2 && strstr(o.spill_dirs[0], ".spill0") && strstr(o.spill_dirs[1], ".spill1"));
    MUST(step(e, &r));
    assert_true(r.read_bytes > 0 && r.read.busy > 0);
    const uint64_t masters = r.ram_master_bytes + r.pack_master_bytes;
    assert_true(r.pack_master_bytes > 0 && r.spilled_bytes == 0);
    assert_int_equal(r.written_bytes, 0); /* nothing to apply before the first step */
    MUST(step(e, &r));
    MUST(zo2_snapshot(e)); /* all is written, but counted with the next step */
    MUST(step(e, &r));
    assert_true(r.written_bytes > 0 && r.write.busy > 0 && r.read_bytes > 0);
    assert_true(r.spilled_bytes > 0 && r.ram_master_bytes + r.spilled_bytes + r.pack_master_bytes == masters);
    zo2_engine_close(e);
    s = spilled(usual(), 0, "no-figures");
    e = start(&s);
    MUST(step(e, NULL));
    MUST(step(e, &r));
    assert_true(r.read_bytes == 0 && r.written_bytes == 0 && r.read.busy == 0 && r.write.busy == 0);
    assert_true(r.ram_master_bytes == 0 && r.ram_wire_bytes == 0 && r.spilled_bytes == 0 && r.pack_master_bytes == 0);
    zo2_engine_close(e);
}

static int begin(void **state)
{
    (void)state;
    test_device_begin(2);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_wire),       cmocka_unit_test(pending_updates), cmocka_unit_test(layers_share_planes),
        cmocka_unit_test(other_families), cmocka_unit_test(after_a_crash),   cmocka_unit_test(files_gone),
        cmocka_unit_test(slots_damaged),  cmocka_unit_test(a_write_fails),   cmocka_unit_test(a_step_is_cancelled),
        cmocka_unit_test(an_open_fails),  cmocka_unit_test(readers),         cmocka_unit_test(no_run),
        cmocka_unit_test(figures),
    };
    return cmocka_run_group_tests(tests, begin, test_clean);
}

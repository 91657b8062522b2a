/* test_export_spill.c: exports of a run whose masters spill, chunks cut so that a unit has many: with every wire, at every step, the
 * bits that pack and journal give, also while the files are in use, damaged or gone; and nothing is written to them. */
#include "tests/unit/engine/engine_testing.h"
#include "tests/unit/engine/hf_dir.h"

#include <fcntl.h>
#include <glob.h>

enum { ROWS = 4, SEQ = 10, STEPS = 7, CHUNK = 2000 };

typedef struct spilled_run {
    const char *pack;
    char run[512], dir[2][540], out[2][540];
    const char *dirs[2];
    zo2_engine_opts o;
    zo2_export_opts x;
    char log[4096]; /* of the last export */
} spilled_run;

static void remember(void *ud, zo2_log_level level, const char *text)
{
    spilled_run *s = ud;
    (void)level;
    strncat(s->log, text, sizeof s->log - strlen(s->log) - 1);
}

static void steps(spilled_run *s, uint64_t to)
{
    zo2_engine *e;
    zo2_engine_state state;
    MUST(zo2_engine_open(&e, s->pack, s->run, &s->o));
    for (zo2_engine_get_state(e, &state); state.step < to; zo2_engine_get_state(e, &state)) {
        test_batch t;
        random_batch(&t, (uint32_t)state.step + 1, 90, ROWS, SEQ, 0);
        MUST(zo2_step(e, &t.b, NULL));
        if (state.step == 3)
            MUST(zo2_snapshot(e)); /* what is in RAM has a version from now on, and is older than the rest */
    }
    zo2_engine_close(e);
}

/* A run of some steps, about half of whose masters spill. */
static void begin(spilled_run *s, const char *name, zo2_wire wire, uint64_t n)
{
    zo2_plan plan;
    memset(s, 0, sizeof *s);
    s->pack = pack_of("opt-fixtures/prenorm-f32");
    scratch_path(s->run, sizeof s->run, name);
    for (int i = 0; i < 2; i++) {
        snprintf(s->dir[i], sizeof s->dir[i], "%s.spill%d", s->run, i);
        snprintf(s->out[i], sizeof s->out[i], "%s.out%d", s->run, i);
        s->dirs[i] = s->dir[i];
    }
    s->o = small_run(5, ROWS, SEQ);
    s->o.pending = 2;
    s->o.wire = wire;
    s->o.threads = 2;
    s->o.chunk_bytes = CHUNK;
    s->o.probe_seconds = 0;
    s->o.spill_dirs = s->dirs;
    s->o.spill_count = 2;
    s->o.host_bytes = 1; /* too little, but the plan says what the least is */
    (void)zo2_plan_estimate(s->pack, &s->o, &plan);
    s->o.host_bytes = plan.host_min_bytes + plan.master_bytes / 2;
    zo2_export_opts_init(&s->x);
    s->x.run_dir = s->run;
    s->x.spill_dirs = s->dirs;
    s->x.spill_count = 2;
    s->x.dtype = ZO2_F32;
    s->x.threads = 3;
    s->x.force = 1;
    s->x.log = remember;
    s->x.log_ud = s;
    steps(s, n);
}

/* An export with its own sources and one from pack and journal have the same bits. */
static void compare(spilled_run *s)
{
    zo2_export_opts plain = s->x;
    plain.replay = 1;
    plain.log = NULL;
    s->log[0] = '\0';
    MUST(zo2_pack_export(s->pack, s->out[0], &s->x));
    MUST(zo2_pack_export(s->pack, s->out[1], &plain));
    char a[600], b[600];
    snprintf(a, sizeof a, "%s/model.safetensors", s->out[0]);
    snprintf(b, sizeof b, "%s/model.safetensors", s->out[1]);
    hf_assert_same_file(a, b);
}

static void assert_log(const spilled_run *s, const char *words, int has)
{
    if ((strstr(s->log, words) != NULL) != has)
        fail_msg("the log %s \"%s\": %s", has ? "lacks" : "has", words, s->log);
}

static char *file_of(const spilled_run *s, int dir)
{
    char pattern[600];
    glob_t g;
    snprintf(pattern, sizeof pattern, "%s/spill-*.zo2x", s->dir[dir]);
    assert_int_equal(glob(pattern, 0, NULL, &g), 0);
    char *path = strdup(g.gl_pathv[0]);
    globfree(&g);
    return path;
}

static void every_wire_at_every_step(void **state)
{
    (void)state;
    static const zo2_wire wires[] = {ZO2_WIRE_BF16, ZO2_WIRE_E4M3, ZO2_WIRE_FP16, ZO2_WIRE_FP32};
    for (size_t w = 0; w < sizeof wires / sizeof *wires; w++) {
        spilled_run s;
        size_t before, after;
        begin(&s, zo2_wire_name(wires[w]), wires[w], STEPS);
        char *path = file_of(&s, 0), *was = hf_read(path, &before);
        for (s.x.at_step = -1; s.x.at_step <= STEPS; s.x.at_step++) {
            compare(&s);
            if (s.x.at_step < 0 || s.x.at_step > STEPS - s.o.pending)
                assert_log(&s, "from the spill", 1); /* each chunk is at most so far behind */
        }
        char *is = hf_read(path, &after);
        assert_int_equal(before, after);
        assert_memory_equal(was, is, before);
        free(path);
        free(was);
        free(is);
    }
}

/* Each byte range in turn: whatever it hits, headers or planes. */
static void damaged(void **state)
{
    (void)state;
    spilled_run s;
    size_t bytes, told = 0, n = 0;
    begin(&s, "damaged", ZO2_WIRE_BF16, STEPS);
    char *path = file_of(&s, 1), *was = hf_read(path, &bytes);
    for (size_t at = 0; at + 512 < bytes; at += bytes / 24, n++) {
        int fd = open(path, O_WRONLY);
        assert_int_equal(pwrite(fd, (char[512]){1}, 512, (off_t)at), 512);
        compare(&s);
        told += strstr(s.log, "damaged") != NULL;
        assert_int_equal(pwrite(fd, was + at, 512, (off_t)at), 512);
        close(fd);
    }
    assert_true(told > n / 3); /* some slots are free */
    compare(&s);
    assert_log(&s, "damaged", 0);
    free(path);
    free(was);
}

static void in_use_or_gone(void **state)
{
    (void)state;
    spilled_run s;
    zo2_engine *e;
    begin(&s, "in-use", ZO2_WIRE_BF16, STEPS);
    MUST(zo2_engine_open(&e, s.pack, s.run, &s.o));
    compare(&s);
    assert_log(&s, "in use by another process", 1);
    zo2_engine_close(e);
    for (int gone = 0; gone < 2; gone++) {
        char *path = file_of(&s, gone);
        assert_int_equal(unlink(path), 0);
        free(path);
        compare(&s);
        assert_log(&s, "from the spill", !gone);
        assert_log(&s, "there is no spill", gone);
    }
    steps(&s, STEPS + 2); /* its loss costs time alone */
    compare(&s);
    assert_log(&s, "from the spill", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_wire_at_every_step),
        cmocka_unit_test(damaged),
        cmocka_unit_test(in_use_or_gone),
    };
    test_device_begin(0);
    return cmocka_run_group_tests(tests, NULL, test_clean);
}

/* An engine that is used wrongly says so and goes on as if nothing had been: missing arguments, calls from its own
 * callbacks, two threads at once, a run that lost its journal. */
#include "tests/unit/engine/engine_testing.h"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROWS = 2, SEQ = 8, STEPS = 12 };

static char pack[512];

static zo2_engine *open_run(const char *run, zo2_engine_opts *o)
{
    zo2_engine *e;
    char path[300];
    o->lr = 1e-3;
    o->max_rows = ROWS;
    o->max_seq = SEQ;
    o->threads = 1;
    MUST(zo2_engine_open(&e, pack, scratch_path(path, sizeof path, run), o));
    return e;
}

static void make_batch(test_batch *batch)
{
    random_batch(batch, 5, 90, ROWS, SEQ, 0);
}

/* Weights after so many steps on that batch. */
static uint64_t weights_after(const char *run, int steps)
{
    zo2_engine_opts o;
    uint64_t hash;
    test_batch batch;
    zo2_engine_opts_init(&o);
    make_batch(&batch);
    zo2_engine *e = open_run(run, &o);
    for (int i = 0; i < steps; i++)
        MUST(zo2_step(e, &batch.b, NULL));
    MUST(zo2_masters_hash(e, &hash));
    zo2_engine_close(e);
    return hash;
}

#define REFUSED(status, call) assert_int_equal((call), ZO2_ERR_##status)

static void test_missing_arguments(void **state)
{
    (void)state;
    zo2_engine_opts o;
    zo2_scores scores;
    test_batch batch;
    uint64_t hash;
    float value;
    zo2_engine_opts_init(&o);
    zo2_scores_init(&scores);
    make_batch(&batch);
    zo2_engine *e = (zo2_engine *)&o;
    REFUSED(ARG, zo2_engine_open(&e, NULL, "run", &o));
    assert_null(e);
    REFUSED(ARG, zo2_engine_open(NULL, pack, "run", &o));

    e = open_run("missing", &o);
    REFUSED(ARG, zo2_step(NULL, &batch.b, NULL));
    REFUSED(ARG, zo2_step(e, NULL, NULL));
    REFUSED(ARG, zo2_forward(NULL, &batch.b, ZO2_WEIGHTS_WIRE, &scores));
    REFUSED(ARG, zo2_forward(e, NULL, ZO2_WEIGHTS_WIRE, &scores));
    REFUSED(ARG, zo2_forward(e, &batch.b, ZO2_WEIGHTS_WIRE, NULL));
    REFUSED(ARG, zo2_forward(e, &batch.b, (zo2_weights)2, &scores));
    REFUSED(ARG, zo2_snapshot(NULL));
    REFUSED(ARG, zo2_masters_hash(NULL, &hash));
    REFUSED(ARG, zo2_masters_hash(e, NULL));
    REFUSED(ARG, zo2_masters_hash_part(NULL, 0, 1, &hash));
    REFUSED(ARG, zo2_masters_hash_part(e, 0, 1, NULL));
    REFUSED(ARG, zo2_masters_hash_part(e, 0, 0, &hash));
    REFUSED(ARG, zo2_masters_hash_part(e, 3, 3, &hash));
    REFUSED(ARG, zo2_tensor_read(NULL, "model.decoder.embed_tokens.weight", 0, 1, &value));
    REFUSED(ARG, zo2_tensor_read(e, NULL, 0, 1, &value));
    REFUSED(ARG, zo2_tensor_read(e, "model.decoder.embed_tokens.weight", 0, 1, NULL));
    REFUSED(ARG, zo2_tensor_read(e, "model.decoder.embed_tokens.weight", UINT64_MAX, 2, &value));
    zo2_step_abort(NULL);
    MUST(zo2_step(e, &batch.b, NULL));
    zo2_engine_close(e);
    zo2_engine_close(NULL);
}

typedef struct caller {
    zo2_engine *e;
    test_batch batch;
    int calls;
} caller;

/* Everything that a callback must not call. */
static void call_all(caller *c)
{
    zo2_scores scores;
    uint64_t hash;
    float value;
    zo2_engine_state state;
    zo2_scores_init(&scores);
    c->calls++;
    REFUSED(BUSY, zo2_step(c->e, &c->batch.b, NULL));
    REFUSED(BUSY, zo2_forward(c->e, &c->batch.b, ZO2_WEIGHTS_WIRE, &scores));
    REFUSED(BUSY, zo2_snapshot(c->e));
    REFUSED(BUSY, zo2_masters_hash(c->e, &hash));
    REFUSED(BUSY, zo2_tensor_read(c->e, "model.decoder.embed_tokens.weight", 0, 1, &value));
    assert_non_null(strstr(zo2_last_error(), "zo2_tensor_read: another call with this engine is in progress"));
    zo2_engine_get_state(c->e, &state);
}

static int on_progress(void *ud, const char *what, uint64_t done, uint64_t total)
{
    (void)what, (void)done, (void)total;
    if (((caller *)ud)->e)
        call_all(ud);
    return 0;
}

static zo2_status on_loss(void *ud, const float *logprobs, uint64_t n, double *loss)
{
    call_all(ud);
    *loss = 0;
    for (uint64_t i = 0; i < n; i++)
        *loss -= (double)logprobs[i] / (double)n;
    return ZO2_OK;
}

static void test_calls_from_callbacks(void **state)
{
    (void)state;
    caller c = {.e = NULL};
    zo2_engine_opts o;
    zo2_scores scores;
    zo2_engine_opts_init(&o);
    make_batch(&c.batch);
    o.progress = on_progress;
    o.progress_ud = &c;
    o.loss = on_loss;
    o.loss_ud = &c;
    zo2_engine *e = open_run("callbacks", &o);
    c.e = e;
    MUST(zo2_step(e, &c.batch.b, NULL));
    assert_true(c.calls > 2); /* two losses and chunks */
    zo2_scores_init(&scores);
    int before = c.calls;
    MUST(zo2_forward(e, &c.batch.b, ZO2_WEIGHTS_WIRE, &scores));
    assert_true(c.calls > before);
    before = c.calls;
    MUST(zo2_snapshot(e));
    assert_true(c.calls > before);
    zo2_engine_state after;
    zo2_engine_get_state(e, &after);
    assert_int_equal(after.step, 1);
    zo2_engine_close(e);
}

typedef struct stepper {
    zo2_engine *e;
    int done;
} stepper;

/* Steps until it has done its share; refusals are no steps. */
static void *step_thread(void *arg)
{
    stepper *s = arg;
    test_batch batch;
    make_batch(&batch);
    while (s->done < STEPS / 2) {
        zo2_status status = zo2_step(s->e, &batch.b, NULL);
        if (status == ZO2_OK)
            s->done++;
        else if (status != ZO2_ERR_BUSY)
            break;
    }
    return NULL;
}

static void test_two_threads(void **state)
{
    (void)state;
    zo2_engine_opts o;
    uint64_t hash;
    zo2_engine_opts_init(&o);
    zo2_engine *e = open_run("threads", &o);
    stepper s[2] = {{.e = e}, {.e = e}};
    pthread_t thread[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, step_thread, &s[i]), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    assert_int_equal(s[0].done + s[1].done, STEPS);
    MUST(zo2_masters_hash(e, &hash));
    zo2_engine_close(e);
    assert_true(hash == weights_after("sequence", STEPS));
}

static void put_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* Bytes of a file; -1: it isn't there. */
static long size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) ? -1 : (long)st.st_size;
}

/* A run whose journal is gone is no place for a new one, and nothing in it changes; an engine opened on the place where
 * another run keeps its snapshots is refused before it can remove them. */
static void test_lost_journal(void **state)
{
    (void)state;
    zo2_engine_opts o;
    char dir[300], journal[400], kept[400], lock[400], snapshot[400], settings[400], snapshots[320];
    zo2_engine_opts_init(&o);
    test_batch batch;
    make_batch(&batch);
    zo2_engine *e = open_run("lost", &o);
    for (int i = 0; i < 3; i++)
        MUST(zo2_step(e, &batch.b, NULL));
    MUST(zo2_snapshot(e));
    zo2_engine_close(e);
    scratch_path(dir, sizeof dir, "lost");
    snprintf(journal, sizeof journal, "%s/journal.zo2j", dir);
    snprintf(kept, sizeof kept, "%s/kept", dir);
    snprintf(lock, sizeof lock, "%s/lock", dir);
    snprintf(settings, sizeof settings, "%s/settings.json", dir);
    snprintf(snapshots, sizeof snapshots, "%s/snapshots", dir);
    snprintf(snapshot, sizeof snapshot, "%s/snapshot-000000000003.zo2s", snapshots);
    long bytes = size_of(snapshot);
    assert_true(bytes > 0);

    assert_int_equal(rename(journal, kept), 0);
    put_file(lock, ""); /* whoever takes it writes into it */
    for (int resume = 0; resume <= 1; resume++) {
        o.resume = resume;
        REFUSED(FORMAT, zo2_engine_open(&e, pack, dir, &o));
        assert_null(e);
        assert_non_null(strstr(zo2_last_error(), "snapshots (the newest after 3 steps) of a run, but journal.zo2j"));
    }
    o.read_only = 1;
    REFUSED(FORMAT, zo2_engine_open(&e, pack, dir, &o));
    zo2_run *run;
    REFUSED(FORMAT, zo2_run_open(&run, dir));
    REFUSED(FORMAT, zo2_run_verify(dir, NULL, NULL, NULL));
    zo2_export_opts x;
    char out[300];
    zo2_export_opts_init(&x);
    x.run_dir = dir;
    REFUSED(FORMAT, zo2_pack_export(pack, scratch_path(out, sizeof out, "exported"), &x));
    assert_int_equal(size_of(out), -1);
    o.read_only = 0;
    assert_int_equal(size_of(journal), -1);
    assert_int_equal(size_of(lock), 0);
    assert_int_equal(size_of(snapshot), bytes);

    /* cut short: the same; without anything of a run beside it it holds no steps, and says so */
    put_file(journal, "ZO2JRNL\n");
    REFUSED(FORMAT, zo2_engine_open(&e, pack, dir, &o));
    assert_non_null(strstr(zo2_last_error(), "the record of its steps, is cut short"));
    assert_int_equal(unlink(journal), 0);

    /* what a new run beside it may not use for its own */
    zo2_engine_opts other = o;
    other.snapshot_dir = snapshots;
    char beside[300];
    REFUSED(EXISTS, zo2_engine_open(&e, pack, scratch_path(beside, sizeof beside, "beside"), &other));
    assert_non_null(strstr(zo2_last_error(), "snapshots of another run, the newest after 3 steps"));
    assert_int_equal(size_of(beside), -1);
    assert_int_equal(size_of(snapshot), bytes);

    /* put back it goes on; settings alone are enough to tell a run */
    assert_int_equal(rename(kept, journal), 0);
    o.resume = 1;
    MUST(zo2_engine_open(&e, pack, dir, &o));
    zo2_engine_close(e);
    assert_int_equal(unlink(snapshot), 0);
    assert_int_equal(unlink(journal), 0);
    put_file(settings, "{}\n");
    REFUSED(FORMAT, zo2_engine_open(&e, pack, dir, &o));
    assert_non_null(strstr(zo2_last_error(), "has settings.json of a run"));

    /* what a creation that was cut before the journal leaves is no run: one may begin there */
    assert_int_equal(unlink(settings), 0);
    snprintf(settings, sizeof settings, "%s/journal.zo2j.tmp-1", dir);
    put_file(settings, "ZO2");
    o.resume = 0;
    MUST(zo2_engine_open(&e, pack, dir, &o));
    zo2_engine_close(e);
    REFUSED(FORMAT, zo2_engine_open(&e, pack, journal, &o));
    assert_non_null(strstr(zo2_last_error(), "is the journal of a run; give the run directory"));
}

static int make_pack(void **state)
{
    (void)state;
    snprintf(pack, sizeof pack, "%s", pack_of("opt-fixtures/prenorm-f32"));
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missing_arguments),
        cmocka_unit_test(test_calls_from_callbacks),
        cmocka_unit_test(test_two_threads),
        cmocka_unit_test(test_lost_journal),
    };
    return cmocka_run_group_tests(tests, make_pack, test_clean);
}

/* test_engine_ahead.c: uploads that don't wait for a step's result come before it is there (engine/stream/ahead.h), and nothing
 * shows of it but time: whatever comes between two steps, and whatever becomes of one, the bits are those of a run whose lanes
 * rest after every step. */
#include "tests/unit/engine/moving_home.h"

#include <math.h>
#include <stdatomic.h>

#if defined(ZO2_TEST_CUDASIM) || defined(__SANITIZE_THREAD__) /* these take their time, to open an engine above all */
enum { ROWS = 3, SEQ = 6, BUDGETS = 1 };
#else
enum { ROWS = 6, SEQ = 12, BUDGETS = 3 };
#endif
enum { STEPS = 6 };
enum { SKIPPED = 2, FAILS = 3 }; /* steps whose loss is no number; whose first try fails */

/* What happens around the steps. */
typedef enum course {
    RESTS,    /* nothing runs ahead */
    GOES_ON,  /* step after step */
    DISTURBED /* something between any two */
} course;

typedef struct watch {
    atomic_int early[STEPS + 1]; /* uploads for a step before it began */
    atomic_int step;             /* that is in progress, or comes next */
    int waits;                   /* the loss waits for one */
    int failures;                /* of losses, so far */
} watch;

static void count(void *ud, const zo2_trace_event *e)
{
    watch *w = ud;
    if (e->kind == ZO2_TRACE_SPAN && !strcmp(e->lane, "upload") && !strcmp(e->name, "upload") &&
        e->step > (uint64_t)atomic_load(&w->step))
        atomic_fetch_add(&w->early[e->step], 1);
}

/* Called before anything is journaled. */
static zo2_status loss_of(void *ud, const float *logprob, uint64_t n, double *loss)
{
    watch *w = ud;
    int step = atomic_load(&w->step);
    for (int i = 0; w->waits && !atomic_load(&w->early[step + 1]); i++) {
        if (i == 20000)
            return zo2_error(ZO2_ERR_INTERNAL, "no upload for step %d came before the losses of the one before",
                             step + 1);
        usleep(1000);
    }
    if (step == FAILS && !w->failures++)
        return zo2_error(ZO2_ERR_INTERNAL, "told to fail");
    *loss = 0;
    for (uint64_t i = 0; i < n; i++)
        *loss -= (double)logprob[i] / (double)n;
    if (step == SKIPPED)
        *loss = (double)NAN;
    return ZO2_OK;
}

typedef struct outcome {
    double loss[STEPS], eval[2];
    uint64_t hash, chain;
} outcome;

static zo2_engine *start(const zo2_engine_opts *o, const char *name)
{
    zo2_engine *e;
    char path[512];
    MUST(zo2_engine_open(&e, pack_of("opt-fixtures/tiles-f16"), scratch_path(path, sizeof path, name), o));
    return e;
}

static void evaluate(zo2_engine *e, zo2_weights weights, double *loss)
{
    test_batch t;
    zo2_scores scores;
    zo2_scores_init(&scores);
    random_batch(&t, 77, 100, ROWS, SEQ, 0);
    MUST(zo2_forward(e, &t.b, weights, &scores));
    *loss = scores.loss;
}

static zo2_status try_step(zo2_engine *e, int i, zo2_step_result *r)
{
    test_batch t;
    random_batch(&t, 3u * (unsigned)i + 1, 100, (unsigned)i % 3 ? ROWS : ROWS - 2, SEQ, 0);
    return zo2_step(e, &t.b, r);
}

/* Returns the engine to go on with. */
static zo2_engine *disturb(zo2_engine *e, const zo2_engine_opts *o, const char *name, int i)
{
    double loss;
    test_batch t;
    switch (i) {
    case 0:
        MUST(zo2_snapshot(e));
        random_batch(&t, 1, 100, 2, 2 * SEQ, 0);
        assert_int_equal(zo2_step(e, &t.b, NULL), ZO2_ERR_ARG);
        break;
    case 1:
        evaluate(e, ZO2_WEIGHTS_MASTER, &loss);
        evaluate(e, ZO2_WEIGHTS_WIRE, &loss);
        break;
    case 2:
        zo2_step_abort(e);
        assert_int_equal(try_step(e, 3, NULL), ZO2_ERR_CANCELLED);
        break;
    case 4: zo2_engine_close(e); return start(o, name);
    default: break;
    }
    return e;
}

static outcome run(zo2_engine_opts o, course how, int bounce, int waits)
{
    static int runs;
    static const zo2_step_result empty = {.struct_size = sizeof empty};
    outcome out;
    watch w = {.waits = waits};
    char name[32];
    snprintf(name, sizeof name, "run-%d", runs++);
    memset(&out, 0, sizeof out);
    o.loss = loss_of;
    o.trace = count;
    o.loss_ud = o.trace_ud = &w;
    zo2_engine *e = start(&o, name);
    zo2_pipeline_set_bounce(e->core.pipe, bounce);
    for (int i = 0; i < STEPS; i++) {
        zo2_step_result r = empty;
        atomic_store(&w.step, i);
        if (i == FAILS)
            assert_int_equal(try_step(e, i, &r), ZO2_ERR_INTERNAL);
        MUST(try_step(e, i, &r));
        assert_int_equal(r.skipped, i == SKIPPED);
        out.loss[i] = i == SKIPPED ? 0 : r.loss_plus;
        if (how == RESTS)
            MUST(zo2_pipeline_rest(e->core.pipe));
        if (how == DISTURBED)
            e = disturb(e, &o, name, i);
    }
    out.chain = zo2_journal_chain(e->journal, STEPS);
    MUST(zo2_masters_hash(e, &out.hash)); /* beside whatever runs ahead */
    w.waits = 0;
    atomic_store(&w.step, 0);
    evaluate(e, ZO2_WEIGHTS_WIRE, &out.eval[0]);
    evaluate(e, ZO2_WEIGHTS_MASTER, &out.eval[1]);
    zo2_engine_close(e);
    return out;
}

static zo2_engine_opts usual(void)
{
    zo2_engine_opts o = small_run(3, ROWS, SEQ);
    o.wire = ZO2_WIRE_E4M3;
    o.pending = 2;
    o.max_rows_micro = 2;
    o.micro_batch = 2;
    o.threads = 2;
    o.chunk_bytes = 1500;
    return o;
}

static uint64_t smallest(const zo2_engine_opts *o)
{
    char name[32];
    snprintf(name, sizeof name, "smallest-%d", (int)o->pending);
    zo2_engine *e = start(o, name);
    uint64_t bytes = e->core.plan.pub.device_min_bytes;
    zo2_engine_close(e);
    return bytes;
}

static void the_bits_stay(void **state)
{
    (void)state;
    zo2_engine_opts o = usual();
    uint64_t least = smallest(&o), budgets[] = {least + (128 << 10), least, 1u << 30}; /* some, no, all wires stay */
    outcome want = run(o, RESTS, 0, 0);
    for (int i = 0; i < BUDGETS; i++)
        for (course how = GOES_ON; how <= DISTURBED; how++) {
            o.device_bytes = budgets[i];
            outcome got = run(o, how, i == 1, 0);
            assert_memory_equal(&got, &want, sizeof want);
        }
}

/* In this order: a wire for step t + 1 is on its way, then the losses of step t are looked at. */
static void uploads_come_before_the_losses(void **state)
{
    (void)state;
    zo2_engine_opts o = usual();
    o.pending = 63;
    o.device_bytes = smallest(&o);
    outcome want = run(o, RESTS, 0, 1), got = run(o, GOES_ON, 0, 1);
    assert_memory_equal(&got, &want, sizeof want);
}

/* Planes that move, and are held while they are copied; one that can't be had ahead is asked for again in its step. */
static void planes_that_move(void **state)
{
    (void)state;
    zo2_engine_opts o = usual();
    o.device_bytes = smallest(&o);
    double loss[2] = {0};
    uint64_t hash[2];
    for (int moving = 0; moving < 2; moving++) {
        moving_home home;
        zo2_engine *e = start(&o, moving ? "moving" : "still");
        if (moving)
            moving_home_enter(&home, e);
        for (int i = 0; i < 4; i++) {
            zo2_step_result r = {.struct_size = sizeof r};
            MUST(try_step(e, i, &r));
            loss[moving] += r.loss_plus;
            if (!moving)
                continue;
            pthread_mutex_lock(&home.mutex);
            home.fail_in = 1; /* perhaps while the lane is ahead, perhaps never */
            pthread_mutex_unlock(&home.mutex);
            MUST(zo2_pipeline_rest(e->core.pipe));
            assert_int_equal(home.held, 0);
            home.fail_in = 0;
        }
        MUST(zo2_masters_hash(e, &hash[moving]));
        if (moving) {
            assert_in_range(home.most_held, 1, zo2_masters_held(2));
            moving_home_leave(&home, e);
        }
        zo2_engine_close(e);
        if (moving)
            moving_home_free(&home);
    }
    assert_true(loss[0] == loss[1]);
    assert_int_equal(hash[0], hash[1]);
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
        cmocka_unit_test(the_bits_stay),
        cmocka_unit_test(uploads_come_before_the_losses),
        cmocka_unit_test(planes_that_move),
    };
    return cmocka_run_group_tests(tests, begin, test_clean);
}

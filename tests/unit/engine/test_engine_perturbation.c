/* What the two forward passes of a step really see: the journaled losses equal the loss of a plain evaluation at weights
 * W + eps z and W - eps z that are put together here, tensor by tensor, from the exact weights and zo2_noise_fill().
 * Leaving z out of any one tensor is noticed, so no tensor is perturbed in the update alone. */
#include "engine/method/method.h"
#include "engine/method/probe.h"
#include "tests/unit/engine/engine_testing.h"

#include <math.h>

enum { ROWS = 6, SEQ = 14, STEPS = 2 };

#define EPS 1e-2
/* Losses of two computations of the same fp32 model: other sums, the same rounding steps. */
#define SAME 2e-6

typedef struct weights {
    uint32_t n;
    float **w; /* [n]: current exact values of each tensor */
    zo2_tensor_info *info;
} weights;

static weights read_weights(zo2_engine *e, const zo2_pack *pack)
{
    weights out = {0};
    zo2_pack_info info;
    MUST(zo2_pack_get_info(pack, &info));
    out.n = (uint32_t)info.tensors;
    out.w = calloc(out.n, sizeof *out.w);
    out.info = calloc(out.n, sizeof *out.info);
    for (uint32_t i = 0; i < out.n; i++) {
        MUST(zo2_pack_tensor(pack, i, &out.info[i]));
        uint64_t size = out.info[i].rows * out.info[i].cols;
        out.w[i] = malloc(size * sizeof *out.w[i]);
        MUST(zo2_tensor_read(e, out.info[i].name, 0, size, out.w[i]));
    }
    return out;
}

static void free_weights(weights *w)
{
    for (uint32_t i = 0; i < w->n; i++)
        free(w->w[i]);
    free(w->w);
    free(w->info);
}

/* Loss at w + a z, z of (seed, step, query), but without z in tensor `without`. `still` only evaluates: its masters are
 * overwritten. */
static double loss_at(zo2_engine *still, const weights *w, const zo2_batch *batch, const zo2_engine_opts *o,
                      uint64_t step, uint32_t query, float a, uint32_t without)
{
    for (uint32_t i = 0; i < w->n; i++) {
        const zo2_tensor_info *t = &w->info[i];
        uint64_t size = t->rows * t->cols;
        float *z = malloc(size * sizeof *z), *x = malloc(size * sizeof *x);
        MUST(zo2_noise_fill(z, o->seed, step, query, t->id, 0, size, o->dist));
        for (uint64_t j = 0; j < size; j++)
            x[j] = i == without ? w->w[i][j] : fmaf(a, z[j], w->w[i][j]);
        for (uint64_t row = 0; row < t->rows; row++) /* rows of one call lie in one unit */
            MUST(zo2_masters_store(&still->core.masters, i, row, 1, x + row * t->cols));
        free(z);
        free(x);
    }
    zo2_scores scores;
    zo2_scores_init(&scores);
    MUST(zo2_forward(still, batch, ZO2_WEIGHTS_MASTER, &scores));
    return scores.loss;
}

static void check(const char *model, zo2_dist dist, uint32_t queries, const char *run_name)
{
    zo2_engine *e, *still;
    zo2_engine_opts o, read_only;
    zo2_pack *pack;
    zo2_pack_info info;
    zo2_run *run;
    test_batch batch;
    char path[512], run_dir[300];
    snprintf(path, sizeof path, "%s", pack_of(model));
    zo2_engine_opts_init(&o);
    o.seed = 11;
    o.lr = 1e-3;
    o.eps = EPS;
    o.dist = dist;
    o.queries = queries;
    o.wire = ZO2_WIRE_FP32;
    o.max_rows = ROWS;
    o.max_seq = SEQ;
    read_only = o;
    read_only.read_only = 1;
    scratch_path(run_dir, sizeof run_dir, run_name);
    MUST(zo2_engine_open(&e, path, run_dir, &o));
    MUST(zo2_engine_open(&still, path, NULL, &read_only));
    MUST(zo2_pack_open(&pack, path));
    MUST(zo2_pack_get_info(pack, &info));
    const uint32_t vocab = info.vocab < 90 ? info.vocab : 90;
    for (uint64_t step = 0; step < STEPS; step++) {
        zo2_step_result r = {.struct_size = sizeof r};
        zo2_run_record record;
        random_batch(&batch, 5 + (uint32_t)step, vocab, ROWS, SEQ, 0);
        weights w = read_weights(e, pack);
        MUST(zo2_step(e, &batch.b, &r));
        MUST(zo2_run_open(&run, run_dir));
        MUST(zo2_run_record_get(run, step, &record));
        zo2_run_close(run);
        for (uint32_t q = 0; q < queries; q++) {
            double plus = loss_at(still, &w, &batch.b, &o, step, q, (float)EPS, UINT32_MAX);
            double minus = loss_at(still, &w, &batch.b, &o, step, q, -(float)EPS, UINT32_MAX);
            assert_true(fabs(plus - record.query[q].loss_plus) <= SAME * plus);
            assert_true(fabs(minus - record.query[q].loss_minus) <= SAME * minus);
        }
        for (uint32_t i = 0; i < w.n && step == 0; i++) {
            double plus = loss_at(still, &w, &batch.b, &o, step, 0, (float)EPS, i);
            /* A key's bias adds the same to all scores of a query, unless keys are turned, and softmax takes it out. */
            int counts = !strstr(w.info[i].name, "k_proj.bias") || strcmp(info.arch, "opt") != 0;
            if (counts && fabs(plus - record.query[0].loss_plus) <= SAME * plus)
                fail_msg("%s: %s is not perturbed, or the loss does not depend on it", model, w.info[i].name);
        }
        free_weights(&w);
    }
    zo2_pack_close(pack);
    zo2_engine_close(still);
    zo2_engine_close(e);
}

/* A probe plan that leaves a tensor where it is: the streams are at W + eps z in all others. */
static void a_tensor_that_stays(void **state)
{
    (void)state;
    zo2_engine *e, *still;
    zo2_engine_opts o;
    zo2_pack *pack;
    test_batch batch;
    char path[512], run_dir[300];
    snprintf(path, sizeof path, "%s", pack_of("opt-fixtures/prenorm-f32"));
    zo2_engine_opts_init(&o);
    o.seed = 11;
    o.eps = EPS;
    o.wire = ZO2_WIRE_FP32;
    o.max_rows = ROWS;
    o.max_seq = SEQ;
    MUST(zo2_engine_open(&e, path, scratch_path(run_dir, sizeof run_dir, "stays"), &o));
    o.read_only = 1;
    MUST(zo2_engine_open(&still, path, NULL, &o));
    MUST(zo2_pack_open(&pack, path));
    random_batch(&batch, 5, 90, ROWS, SEQ, 0);
    weights w = read_weights(e, pack);
    uint8_t *moves = malloc(w.n);
    o.dist = ZO2_GAUSSIAN;
    for (uint32_t i = 0; i < w.n; i++) {
        zo2_probe_plan plan;
        zo2_loss loss;
        zo2_method_get()->probes(1, 0, &plan);
        memset(moves, 1, w.n);
        moves[i] = 0;
        plan.moves = moves;
        MUST(zo2_core_pack(&e->core, &batch.b));
        MUST(zo2_core_train_pass(&e->core, &plan));
        zo2_loss_compute(&loss, &e->core.packed, e->core.logprob);
        double want = loss_at(still, &w, &batch.b, &o, 0, 0, (float)EPS, i);
        if (fabs(loss.loss - want) > SAME * want)
            fail_msg("%s: loss %.9g, expected %.9g", w.info[i].name, loss.loss, want);
    }
    free(moves);
    free_weights(&w);
    zo2_pack_close(pack);
    zo2_engine_close(still);
    zo2_engine_close(e);
}

static void gaussian(void **state)
{
    (void)state;
    check("opt-fixtures/prenorm-f32", ZO2_GAUSSIAN, 1, "gaussian");
}

static void rademacher_two_queries(void **state)
{
    (void)state;
    check("opt-fixtures/prenorm-f32", ZO2_RADEMACHER, 2, "rademacher");
}

static void projections_untied(void **state)
{
    (void)state;
    check("opt-fixtures/untied-proj-bf16", ZO2_GAUSSIAN, 2, "untied");
}

static void post_norm(void **state)
{
    (void)state;
    check("opt-fixtures/postnorm-gelu-f32", ZO2_GAUSSIAN, 1, "post-norm");
}

static void decoders(void **state)
{
    (void)state;
    check("decoder-fixtures/llama-mlp-bias", ZO2_GAUSSIAN, 1, "llama");
    check("decoder-fixtures/qwen2", ZO2_RADEMACHER, 2, "qwen2");
    check("decoder-fixtures/qwen3", ZO2_GAUSSIAN, 1, "qwen3");
    check("decoder-fixtures/mistral", ZO2_GAUSSIAN, 1, "mistral");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gaussian),
        cmocka_unit_test(rademacher_two_queries),
        cmocka_unit_test(a_tensor_that_stays),
        cmocka_unit_test(projections_untied),
        cmocka_unit_test(post_norm),
        cmocka_unit_test(decoders),
    };
    return cmocka_run_group_tests(tests, NULL, test_clean);
}

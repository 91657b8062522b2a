/* test_family.c: nothing but a family's own files knows OPT: a family that differs from it wherever it can (toy_family.h) is
 * planned, run and checked against a plain computation; and what is wrong with a family is said when a model of it is made. */
#include "codec/update.h"
#include "engine/method/method.h"
#include "engine/method/probe.h"
#include "engine/plan/plan.h"
#include "tests/unit/engine/engine_testing.h"
#include "tests/unit/engine/toy_family.h"

#include <math.h>

enum { D = 24, HEADS = 3, HEAD = 10, A = HEADS * HEAD, F = 100, V = 61, LAYERS = 2, SEQ = 11, ROWS = 5 };

#define EPS    1e-2f
#define SEED   7
#define LN_EPS 1e-5f

static zo2_arch toy(int tied)
{
    zo2_arch a = {.family = &toy_family,
                  .name = "toy",
                  .layers = LAYERS,
                  .hidden = D,
                  .heads = HEADS,
                  .kv_heads = HEADS,
                  .head_dim = HEAD,
                  .ffn = F,
                  .vocab = V,
                  .embed_dim = D,
                  .context = SEQ,
                  .wide = 2 * F,
                  .tied = tied,
                  .norm_eps = LN_EPS};
    MUST(toy_family.build_tensors(&a, "toy"));
    MUST(zo2_arch_index(&a));
    MUST(zo2_arch_check(&a));
    return a;
}

/* ---- weights ---- */

/* Values of all tensors, one after the other; W + sign eps z of query 0. */
static float *weights_of(const zo2_arch *a, int sign)
{
    float *w = malloc(a->parameters * sizeof *w), *at = w, *z = malloc(a->parameters * sizeof *z);
    assert_true(w && z);
    uint32_t random = 3;
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const zo2_tensor *t = &a->tensors[i];
        uint64_t n = t->rows * t->cols;
        zo2_noise_values(z, zo2_noise_key(SEED, 0), 0, t->id, 0, n, ZO2_GAUSSIAN);
        for (uint64_t k = 0; k < n; k++)
            at[k] = (t->ones ? 1.0f : 0.0f) + ((float)test_random(&random) / (1 << 24) - 0.5f) * 0.4f +
                    (float)sign * EPS * z[k];
        at += n;
    }
    free(z);
    return w;
}

static const float *tensor_in(const zo2_arch *a, const float *w, const char *name)
{
    const zo2_tensor *wanted = zo2_arch_by_name(a, name);
    assert_non_null(wanted);
    for (uint32_t i = 0; i < wanted->id; i++)
        w += a->tensors[i].rows * a->tensors[i].cols;
    return w;
}

static const float *of_layer(const zo2_arch *a, const float *w, uint32_t layer, const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "%u.%s", layer, name);
    return tensor_in(a, w, full);
}

/* ---- the plain computation, in double ---- */

static void norm(const double *x, const float *gamma, double *y)
{
    double mean = 0, variance = 0;
    for (int i = 0; i < D; i++)
        mean += x[i] / D;
    for (int i = 0; i < D; i++)
        variance += (x[i] - mean) * (x[i] - mean) / D;
    for (int i = 0; i < D; i++)
        y[i] = (x[i] - mean) / sqrt(variance + LN_EPS) * gamma[i];
}

/* y = W x, W: [rows][cols]; y += with `add`. */
static void times(const float *W, int rows, int cols, const double *x, double *y, int add)
{
    for (int r = 0; r < rows; r++) {
        double sum = 0;
        for (int c = 0; c < cols; c++)
            sum += (double)W[r * cols + c] * x[c];
        y[r] = add ? y[r] + sum : sum;
    }
}

static void plain_ffn(const zo2_arch *a, const float *w, uint32_t layer, double *h)
{
    double n[D], up[F];
    norm(h, of_layer(a, w, layer, "ffn.norm"), n);
    times(of_layer(a, w, layer, "ffn.up"), F, D, n, up, 0);
    for (int i = 0; i < F; i++)
        up[i] = 0.5 * up[i] * (1 + erf(up[i] / sqrt(2)));
    times(of_layer(a, w, layer, "ffn.down"), D, F, up, h, 1);
}

static void plain_attention(const zo2_arch *a, const float *w, uint32_t layer, int T, double h[][D])
{
    static double q[SEQ][A], k[SEQ][A], v[SEQ][A];
    for (int t = 0; t < T; t++) {
        double n[D];
        norm(h[t], of_layer(a, w, layer, "attn.norm"), n);
        times(of_layer(a, w, layer, "attn.q"), A, D, n, q[t], 0);
        times(of_layer(a, w, layer, "attn.k"), A, D, n, k[t], 0);
        times(of_layer(a, w, layer, "attn.v"), A, D, n, v[t], 0);
    }
    for (int t = 0; t < T; t++) {
        double out[A] = {0};
        for (int head = 0; head < HEADS; head++) {
            double p[SEQ], sum = 0;
            for (int u = 0; u <= t; u++) {
                double score = 0;
                for (int i = head * HEAD; i < (head + 1) * HEAD; i++)
                    score += q[t][i] * k[u][i];
                sum += p[u] = exp(score / sqrt(HEAD));
            }
            for (int u = 0; u <= t; u++)
                for (int i = head * HEAD; i < (head + 1) * HEAD; i++)
                    out[i] += p[u] / sum * v[u][i];
        }
        times(of_layer(a, w, layer, "attn.o"), D, A, out, h[t], 1);
    }
}

/* Log-probability of every token but the first. */
static void plain_row(const zo2_arch *a, const float *w, const int32_t *tokens, int T, double *out)
{
    static double h[SEQ][D];
    const float *table = tensor_in(a, w, "embed");
    for (int t = 0; t < T; t++) {
        double x[D];
        for (int i = 0; i < D; i++)
            x[i] = table[tokens[t] * D + i];
        norm(x, tensor_in(a, w, "embed.norm"), h[t]);
    }
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        for (int t = 0; t < T; t++)
            plain_ffn(a, w, layer, h[t]);
        plain_attention(a, w, layer, T, h);
    }
    for (int t = 0; t + 1 < T; t++) {
        double n[D], logits[V], sum = 0;
        norm(h[t], tensor_in(a, w, "norm"), n);
        times(tensor_in(a, w, a->tied ? "embed" : "head"), V, D, n, logits, 0);
        for (int i = 0; i < V; i++)
            sum += exp(logits[i]);
        out[t] = logits[tokens[t + 1]] - log(sum);
    }
}

/* ---- the engine's ---- */

static void create(zo2_core *core, const zo2_arch *a, zo2_backend_kind kind, uint32_t micro_rows)
{
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    o.max_rows = ROWS;
    o.max_seq = SEQ;
    o.queries = 1;
    o.wire = ZO2_WIRE_FP32;
    o.compute = ZO2_F32;
    o.threads = 2;
    o.chunk_bytes = 1024; /* several a matrix, and a ring that holds few: an order that isn't the list's would show */
    o.max_rows_micro = micro_rows;
    zo2_run_settings settings = {
        .dist = ZO2_GAUSSIAN, .seed = SEED, .eps = EPS, .queries = 1, .wire = ZO2_WIRE_FP32, .compute = ZO2_F32};
    settings.micro_batch = micro_rows;
    zo2_core_config config = {
        .arch = a, .ops = zo2_backend_get(kind), .settings = &settings, .with_masters = kind != ZO2_BACKEND_NULL};
    MUST(zo2_shape_from_opts(&config.shape, a, config.ops, &o));
    MUST(zo2_core_create(core, &config));
}

static void fill(zo2_core *core, const zo2_arch *a)
{
    float *w = weights_of(a, 0), *at = w;
    for (uint32_t i = 0; i < a->n_tensors; i++)
        for (uint64_t row = 0; row < a->tensors[i].rows; row++, at += a->tensors[i].cols)
            MUST(zo2_masters_store(&core->masters, i, row, 1, at));
    free(w);
    zo2_core_register_masters(core);
}

/* fp32 products of at most 100 terms, two layers: errors of some 1e-6, and log-probabilities of about -4. */
static void assert_near(const zo2_arch *a, int sign, const test_batch *b, const float *have, uint64_t losses)
{
    float *w = weights_of(a, sign);
    uint64_t at = 0;
    for (uint32_t r = 0; r < ROWS; r++) {
        double want[SEQ];
        int T = 0;
        while (T < SEQ && b->mask[r * SEQ + T])
            T++;
        plain_row(a, w, b->tokens + r * SEQ, T, want);
        for (int t = 0; t + 1 < T; t++, at++)
            if (!(fabs(have[at] - want[t]) < 2e-5))
                fail_msg("stream at %d, row %u, token %d: %.7f, expected %.7f", sign, r, t, (double)have[at], want[t]);
    }
    assert_int_equal(at, losses);
    free(w);
}

static void run(int tied, uint32_t micro_rows)
{
    zo2_core core;
    zo2_probe_plan probes;
    test_batch b;
    zo2_arch a = toy(tied);
    random_batch(&b, 5, V, ROWS, SEQ, 0);
    create(&core, &a, TEST_BACKEND, micro_rows);
    fill(&core, &a);
    MUST(zo2_core_pack(&core, &b.b));
    MUST(zo2_core_eval_pass(&core, ZO2_PASS_EXACT));
    assert_near(&a, 0, &b, core.logprob, core.packed.losses);
    MUST(zo2_core_eval_pass(&core, ZO2_PASS_WIRE));
    assert_near(&a, 0, &b, core.logprob, core.packed.losses);
    zo2_method_get()->probes(1, 0, &probes);
    MUST(zo2_core_train_pass(&core, &probes));
    for (uint32_t s = 0; s < probes.streams; s++)
        assert_near(&a, probes.stream[s].sign, &b, core.logprob + s * core.packed.losses, core.packed.losses);
    zo2_core_destroy(&core);
    zo2_arch_free(&a);
}

static void computes(void **state)
{
    (void)state;
    for (int tied = 0; tied < 2; tied++) {
        run(tied, 0);
        run(tied, 2); /* wires wait for all micro-batches of a block */
    }
}

static void plan_is_what_is_used(void **state)
{
    (void)state;
    for (uint32_t micro_rows = 0; micro_rows < 3; micro_rows++) {
        zo2_core core;
        zo2_probe_plan probes;
        test_batch b;
        zo2_arch a = toy(micro_rows & 1);
        memset(&b, 0, sizeof b);
        b.b = (zo2_batch){.struct_size = sizeof b.b, .rows = ROWS, .seq = SEQ, .tokens = b.tokens, .loss = b.loss};
        for (uint32_t i = 0; i < ROWS * SEQ; i++)
            b.loss[i] = i % SEQ != 0;
        create(&core, &a, ZO2_BACKEND_NULL, micro_rows);
        MUST(zo2_core_pack(&core, &b.b));
        zo2_method_get()->probes(1, 0, &probes);
        MUST(zo2_core_train_pass(&core, &probes));
        uint64_t peak = core.ops->peak_bytes(core.be), planned = core.plan.pub.device_peak_bytes;
        assert_true(peak <= planned && peak + 256 > planned);
        zo2_core_destroy(&core);
        zo2_arch_free(&a);
    }
}

/* ---- wrong families ---- */

static zo2_status backwards(zo2_forward_pass *f, const zo2_micro *mb, uint32_t layer, zo2_act h)
{
    (void)h;
    zo2_act n = zo2_activation_at(f, f->device->norm, mb->tokens, D, f->compute);
    zo2_act wide = zo2_activation_at(f, f->device->wide, mb->tokens, 2 * F, f->compute);
    return zo2_matmul(f, zo2_arch_find(f->arch, ZO2_ROLE_Q_W, layer), mb->tokens, n, wide, 0, f->hold, NULL);
}

/* A family that leaves out matrices, or takes them backwards, would decode what is no longer there. */
static void order_is_kept(void **state)
{
    (void)state;
    zo2_core core;
    test_batch b;
    zo2_arch a = toy(0);
    zo2_family wrong = toy_family;
    wrong.layer = backwards;
    a.family = &wrong;
    random_batch(&b, 5, V, ROWS, SEQ, 0);
    create(&core, &a, TEST_BACKEND, 0);
    fill(&core, &a);
    MUST(zo2_core_pack(&core, &b.b));
    assert_int_equal(zo2_core_eval_pass(&core, ZO2_PASS_WIRE), ZO2_ERR_INTERNAL);
    assert_string_equal(zo2_last_error(), "toy.0.attn.q is multiplied out of the order of the model's tensors");
    a.family = &toy_family; /* the core is none the worse */
    MUST(zo2_core_eval_pass(&core, ZO2_PASS_WIRE));
    assert_near(&a, 0, &b, core.logprob, core.packed.losses);
    zo2_core_destroy(&core);
    zo2_arch_free(&a);
}

static const char *no_name(const char *name)
{
    return strcmp(name, "toy.1.ffn.up") == 0 ? NULL : name;
}

static const char *one_name(const char *name)
{
    return strstr(name, "attn.k") || strstr(name, "attn.q") ? "attn" : name;
}

static void assert_wrong(const zo2_arch *a, const char *words)
{
    assert_int_equal(zo2_arch_check(a), ZO2_ERR_INTERNAL);
    if (!strstr(zo2_last_error(), words))
        fail_msg("\"%s\" does not say \"%s\"", zo2_last_error(), words);
}

/* Each fault in a field on its own. */
#define ASSERT_WRONG(field, value, words)                         \
    do {                                                          \
        (field) = (value);                                        \
        assert_wrong(&a, words);                                  \
        a = good;                                                 \
        memcpy(a.tensors, list, a.n_tensors * sizeof *a.tensors); \
    } while (0)

static void faults_are_named(void **state)
{
    (void)state;
    zo2_arch a = toy(0);
    const zo2_arch good = a;
    zo2_tensor list[32], *t = a.tensors; /* 0: embed.norm, 1: embed, 2: 0.ffn.norm, 3: 0.ffn.up */
    assert_true(a.n_tensors <= 32);
    memcpy(list, t, a.n_tensors * sizeof *t);
    ASSERT_WRONG(a.n_blocks, 3, "blocks are not embeddings, layers and head");
    ASSERT_WRONG(a.wide, 0, "a size is missing");
    ASSERT_WRONG(a.tied, 1, "a head unless the embedding is the head");
    ASSERT_WRONG(a.embed_dim, D - 1, "another width");
    ASSERT_WRONG(t[1].role, ZO2_ROLE_FC1_B, "needs an embedding");
    ASSERT_WRONG(t[3].id, 4, "tensor 3 (toy.0.ffn.up): its id is not its place");
    ASSERT_WRONG(t[3].block, 0, "blocks are not in ascending order");
    ASSERT_WRONG(t[a.n_tensors - 1].block, LAYERS + 2, "blocks are not in ascending order");
    ASSERT_WRONG(t[3].layer, 1, "its layer is not its block's");
    ASSERT_WRONG(t[2].rows, 2, "neither a vector nor a matrix");
    ASSERT_WRONG(t[3].rank, 3, "neither a vector nor a matrix");
    ASSERT_WRONG(t[2].exempt, 0, "a vector has the fp32 wire");
    ASSERT_WRONG(t[3].role, ZO2_ROLE_FC2_W, "(toy.0.ffn.down): its block has that role twice");
    ASSERT_WRONG(t[1].rows, V + 1, "it must be [vocab][embed_dim]");
    ASSERT_WRONG(t[3].role, ZO2_ROLE_EMBED_POSITIONS, "it must be [positions][hidden] with the fp32 wire");
    MUST(zo2_arch_check(&a));
    zo2_family wrong = toy_family;
    a.family = &wrong;
    wrong.bare_name = no_name;
    assert_wrong(&a, "(toy.1.ffn.up): its name has no bare form");
    free(a.block_at);
    free(a.by_name);
    wrong.bare_name = one_name;
    MUST(zo2_arch_index(&a));
    assert_wrong(&a, "have one bare name");
    zo2_arch_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(computes),
        cmocka_unit_test(plan_is_what_is_used),
        cmocka_unit_test(order_is_kept),
        cmocka_unit_test(faults_are_named),
    };
    test_device_begin(0);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_device_end();
    return failed;
}

/* reference_step.c: one step of zeroth-order fine-tuning in plain C, checked against the engine's.
 *
 * This is the text to start with. The library streams weights past a small device and multiplies by tiles, on threads
 * or on a GPU; what it computes is this. With weights W, learning rate lr, weight decay wd and a small eps, a step of
 * MeZO (arXiv 2305.17333, algorithm 1) is
 *
 *     z  ~ N(0, 1)                   a number for each weight, made again from the seed wherever it is needed
 *     L+ = loss(W + eps z)           two forward passes over one batch, and no backward pass
 *     L- = loss(W - eps z)
 *     g  = (L+ - L-) / (2 eps)       how steep the loss is along z: the projected gradient
 *     W  = W - lr (g z + wd W)       biases and norms don't decay
 *
 * The model is OPT (arXiv 2205.01068) as Hugging Face computes it. "x: [T][D]" is T rows of D values, one row behind the
 * other. T: tokens of a row of the batch, D: hidden size, H: heads, F: width of the feed-forward part, V: vocabulary.
 * Values are floats and the sums that lead to them doubles. Compile with -ffp-contract=off: then every operation of
 * update() is rounded by itself, as it is in the engine. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zo2.h>

/* ---- the batch and the settings ---- */

enum { ROWS = 2, T = 13 };
static const int32_t tokens[ROWS][T] = {
    {2, 38, 333, 499, 703, 348, 308, 2092, 17, 1295, 304, 261, 1366}, /* Curry made with lamb. It is a food */
    {2, 36, 479, 268, 3239, 323, 307, 837, 17, 1295, 304, 322, 1630}, /* A genus of Peramelidae. It is an animal */
};
static const uint8_t has_loss[ROWS][T] = {
    {0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, /* a text: all tokens but the first, which nothing predicts */
    {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1}, /* a prompt and its completion */
};
static const uint64_t seed = 7;
static const double lr = 1e-4, eps = 1e-3, weight_decay = 0.1;

/* ---- the model ---- */

typedef struct tensor {
    zo2_tensor_info info; /* [rows][cols]; a vector has one row */
    float *master;        /* W */
    float *w;             /* what a forward pass sees: W + eps z or W - eps z */
} tensor;

/* Tensors in canonical order: the embeddings of tokens and of positions, sixteen tensors of each layer, the final norm.
 * A matrix is [outputs][inputs]; its bias is the next tensor. The head has none, it is the tokens' embedding again. */
enum { EMBEDDING = 0, POSITION = 1, FIRST_LAYER = 2 };
enum { NORM1 = 0, QUERY = 2, KEY = 4, VALUE = 6, OUT = 8, NORM2 = 10, FC1 = 12, FC2 = 14, PER_LAYER = 16 };

typedef struct model {
    size_t D, H, F, V, layers, tensors;
    tensor *tensor;
    float *memory;     /* all weights, twice */
    double logit_size; /* root of the mean square of a token's logits, the largest there was so far */
} model;

static void must(zo2_status status)
{
    if (status) {
        fprintf(stderr, "reference_step: %s\n", zo2_last_error());
        exit(1);
    }
}

static size_t elements(const tensor *t)
{
    return t->info.rows * t->info.cols;
}

/* ---- forward pass ---- */

/* y = x W^T + b.    x: [T][inputs], y: [T][outputs] */
static void linear(float *y, const float *x, const tensor *W)
{
    const size_t outputs = W->info.rows, inputs = W->info.cols;
    const float *w = W[0].w, *b = W[1].w; /* [outputs][inputs], [outputs] */
    for (size_t t = 0; t < T; t++) {
        for (size_t o = 0; o < outputs; o++) {
            double sum = b[o];
            for (size_t i = 0; i < inputs; i++)
                sum += (double)x[t * inputs + i] * w[o * inputs + i];
            y[t * outputs + o] = (float)sum;
        }
    }
}

/* Row by row: y = (x - mean) / sqrt(variance + 1e-5) * gamma + beta.    x, y: [T][D] */
static void layer_norm(float *y, const float *x, const tensor *norm)
{
    const size_t D = norm->info.cols;
    const float *gamma = norm[0].w, *beta = norm[1].w; /* [D] */
    for (size_t t = 0; t < T; t++, x += D, y += D) {
        double mean = 0, variance = 0;
        for (size_t i = 0; i < D; i++)
            mean += x[i] / (double)D;
        for (size_t i = 0; i < D; i++)
            variance += (x[i] - mean) * (x[i] - mean) / (double)D;
        for (size_t i = 0; i < D; i++)
            y[i] = (float)((x[i] - mean) / sqrt(variance + 1e-5) * gamma[i] + beta[i]);
    }
}

/* Each token's result is the mean of the values of the tokens up to itself, weighted by softmax(q . k / sqrt(D / H)). A
 * head has D / H of the columns, and weights of its own.    out, q, k, v: [T][D] */
static void attention(const model *m, float *out, const float *q, const float *k, const float *v)
{
    const size_t D = m->D, columns = D / m->H;
    const float scale = 1 / sqrtf((float)columns);
    for (size_t head = 0; head < D; head += columns) {
        for (size_t t = 0; t < T; t++) {
            double weight[T], largest = -INFINITY, sum = 0;
            for (size_t s = 0; s <= t; s++) {
                weight[s] = 0;
                for (size_t i = head; i < head + columns; i++) /* OPT scales q, bias included, before the product */
                    weight[s] += (double)(q[t * D + i] * scale) * k[s * D + i];
                largest = fmax(largest, weight[s]);
            }
            for (size_t s = 0; s <= t; s++) {
                weight[s] = exp(weight[s] - largest);
                sum += weight[s];
            }
            for (size_t i = head; i < head + columns; i++) {
                double mean = 0;
                for (size_t s = 0; s <= t; s++)
                    mean += weight[s] / sum * v[s * D + i];
                out[t * D + i] = (float)mean;
            }
        }
    }
}

/* f = max(f, 0).    f: [T][F] */
static void relu(const model *m, float *f)
{
    for (size_t i = 0; i < T * m->F; i++)
        f[i] = fmaxf(f[i], 0);
}

/* h = h + x.    h, x: [T][D] */
static void add(const model *m, float *h, const float *x)
{
    for (size_t i = 0; i < T * m->D; i++)
        h[i] += x[i];
}

/* One row of the batch through all layers.    row: [T], out: [T][D] */
static void forward(const model *m, float *out, const int32_t *row)
{
    const size_t D = m->D;
    const float *embedding = m->tensor[EMBEDDING].w, *position = m->tensor[POSITION].w; /* [V][D], [2 + context][D] */
    float h[T * D], n[T * D], q[T * D], k[T * D], v[T * D], a[T * D], f[T * m->F];
    for (size_t t = 0; t < T; t++)
        for (size_t i = 0; i < D; i++) /* OPT's first position is row 2 */
            h[t * D + i] = embedding[(size_t)row[t] * D + i] + position[(t + 2) * D + i];

    const tensor *layer = m->tensor + FIRST_LAYER;
    for (size_t l = 0; l < m->layers; l++, layer += PER_LAYER) {
        layer_norm(n, h, layer + NORM1);
        linear(q, n, layer + QUERY);
        linear(k, n, layer + KEY);
        linear(v, n, layer + VALUE);
        attention(m, a, q, k, v);
        linear(n, a, layer + OUT);
        add(m, h, n);

        layer_norm(n, h, layer + NORM2);
        linear(f, n, layer + FC1);
        relu(m, f);
        linear(n, f, layer + FC2);
        add(m, h, n);
    }
    layer_norm(out, h, layer); /* the final norm is behind the last layer */
}

/* -log p(token), p being the softmax over the vocabulary of what the final norm gave.    x: [D] */
static double cross_entropy(model *m, const float *x, int32_t token)
{
    const float *head = m->tensor[EMBEDDING].w; /* [V][D] */
    double logit[m->V], largest = -INFINITY, sum = 0, squares = 0;
    for (size_t v = 0; v < m->V; v++) {
        logit[v] = 0;
        for (size_t i = 0; i < m->D; i++)
            logit[v] += (double)x[i] * head[v * m->D + i];
        largest = fmax(largest, logit[v]);
        squares += logit[v] * logit[v];
    }
    for (size_t v = 0; v < m->V; v++)
        sum += exp(logit[v] - largest);
    m->logit_size = fmax(m->logit_size, sqrt(squares / (double)m->V));
    return largest + log(sum) - logit[token];
}

/* The mean over the loss tokens of the batch, each predicted from the tokens before it. */
static double batch_loss(model *m)
{
    float x[T * m->D];
    double sum = 0;
    int count = 0;
    for (int r = 0; r < ROWS; r++) {
        forward(m, x, tokens[r]);
        for (size_t t = 1; t < T; t++) {
            if (has_loss[r][t]) {
                sum += cross_entropy(m, x + (t - 1) * m->D, tokens[r][t]);
                count++;
            }
        }
    }
    return sum / count;
}

/* ---- the step ---- */

/* z of a row of a tensor in step 0, query 0: a function of these numbers, so nobody has to store it.    z: [cols] */
static void make_noise(float *z, const tensor *t, size_t row)
{
    must(zo2_noise_fill(z, seed, 0, 0, t->info.id, row * t->info.cols, t->info.cols, ZO2_GAUSSIAN));
}

/* L(W + distance z) */
static double loss_at(model *m, float distance)
{
    for (tensor *t = m->tensor; t < m->tensor + m->tensors; t++) {
        float z[t->info.cols];
        for (size_t row = 0, at = 0; row < t->info.rows; row++) {
            make_noise(z, t, row);
            for (size_t i = 0; i < t->info.cols; i++, at++)
                t->w[at] = fmaf(distance, z[i], t->master[at]);
        }
    }
    return batch_loss(m);
}

/* The factor of z in the update, lr g / Q. Q, the number of directions tried in a step, is 1 here. */
static float coefficient(double loss_plus, double loss_minus)
{
    float g = (float)((loss_plus - loss_minus) / (2.0 * eps));
    return (float)(lr * (double)g / 1);
}

/* W = W - (d W + c z), rounded in exactly this way: c and d alone decide every bit of the new weights, on any machine.
 * That is why a run needs to keep no more of a step than those two numbers. */
static void update(const model *m, float c, float d)
{
    for (tensor *t = m->tensor; t < m->tensor + m->tensors; t++) {
        float z[t->info.cols];
        for (size_t row = 0, at = 0; row < t->info.rows; row++) {
            make_noise(z, t, row);
            for (size_t i = 0; i < t->info.cols; i++, at++) {
                float u = (t->info.decays ? d : 0.0f) * t->master[at];
                u = fmaf(c, z[i], u);
                t->master[at] = t->master[at] - u;
            }
        }
    }
}

/* ---- comparing with the engine ---- */

/* How far apart the losses may be: the engine's sums are fp32, and beside their errors ours are small. One rounding is
 * wrong by at most 2^-24 of what it rounds, in the root of the mean square (rms) by 2^-24 / sqrt(3). A sum of n products
 * of either sign has grown as sqrt(k) after k of them, so the n roundings of it have an rms of sqrt(n / 6) 2^-24 of its
 * final size. n is at most the larger of D and F. Of such sums, 9 follow one another in a layer (the norm, queries,
 * scores, the softmax, values, OUT; the norm, FC1, FC2) and 3 behind it (the norm, the logit, the log-sum-exp). What
 * comes later passes errors on in proportion, because norms bring all sizes back to one; and being independent they add
 * as squares. So a logit has an error of sqrt(9 layers + 3) sqrt(n / 6) 2^-24 of its size, and a token's loss, which is
 * the difference of two such values, of sqrt(2) times that. Chance doesn't reach four times the rms. */
static double loss_bound(const model *m)
{
    double sums = 9 * (double)m->layers + 3, n = (double)(m->D > m->F ? m->D : m->F);
    return 4 * sqrt(2 * sums * n / 6) * ldexp(1, -24) * m->logit_size;
}

static int check(const char *what, double here, double engine, double bound)
{
    int good = fabs(here - engine) <= bound;
    printf("%-28s %13.9g here, %13.9g in the engine: %.1e apart, %.1e allowed%s\n", what, here, engine,
           fabs(here - engine), bound, good ? "" : ": TOO MUCH");
    return good;
}

/* Every weight, bit for bit. */
static int check_weights(const model *m, zo2_engine *engine)
{
    size_t same = 0, all = 0;
    for (const tensor *t = m->tensor; t < m->tensor + m->tensors; t++) {
        must(zo2_tensor_read(engine, t->info.name, 0, elements(t), t->w));
        for (size_t i = 0; i < elements(t); i++)
            same += memcmp(&t->w[i], &t->master[i], sizeof(float)) == 0;
        all += elements(t);
    }
    printf("%-28s %zu of %zu have the engine's bits%s\n", "weights after the step", same, all,
           same == all ? "" : ": TOO FEW");
    return same == all;
}

/* Our losses, the engine's step, and our update with the coefficients that the engine's journal has. */
static int compare(model *m, zo2_engine *engine, const char *run_dir)
{
    const zo2_batch batch = {
        .struct_size = sizeof batch, .rows = ROWS, .seq = T, .tokens = tokens[0], .loss = has_loss[0]};
    double loss_plus = loss_at(m, (float)eps), loss_minus = loss_at(m, (float)-eps), bound = loss_bound(m);
    float c = coefficient(loss_plus, loss_minus), d = (float)(lr * weight_decay);
    zo2_run *run;
    zo2_run_record record;
    must(zo2_step(engine, &batch, NULL));
    must(zo2_run_open(&run, run_dir)); /* the journal, which a step reaches before it changes a weight */
    must(zo2_run_record_get(run, 0, &record));
    zo2_run_close(run);
    const float c_engine = record.query[0].c, c_again = coefficient(record.loss_plus, record.loss_minus);
    int good = check("L+", loss_plus, record.loss_plus, bound);
    good &= check("L-", loss_minus, record.loss_minus, bound);
    /* Two losses, each within the bound, over 2 eps; and four values, both g and both c, are rounded to floats. */
    good &= check("c", c, c_engine, lr * bound / eps + ldexp(4, -24) * fabs(c));
    good &= check("c from the engine's losses", c_again, c_engine, 0);
    good &= check("d", d, record.d, 0);
    update(m, c_engine, record.d);
    return good & check_weights(m, engine);
}

/* ---- setting up ---- */

static void refuse_unless(int known, const char *what)
{
    if (!known)
        must(zo2_error(ZO2_ERR_UNSUPPORTED, "this program knows %s only", what));
}

/* Other kinds of OPT have more tensors or fewer; opt-350m has as many, but no final norm. */
static void check_kind(const model *m, const zo2_pack *pack)
{
    const char *last = m->tensor[m->tensors - 1].info.name, *config;
    size_t bytes;
    char activation[8] = "relu"; /* OPT's, unless config.json names another */
    refuse_unless(m->tensors == FIRST_LAYER + PER_LAYER * m->layers + 2 &&
                      strcmp(last, "model.decoder.final_layer_norm.bias") == 0,
                  "OPT with biases, norms before each part, no projections and a tied head");
    must(zo2_pack_file(pack, "config.json", &config, &bytes));
    if ((config = strstr(config, "\"activation_function\"")))
        (void)sscanf(config, "\"activation_function\" : \"%7[^\"]", activation);
    refuse_unless(strcmp(activation, "relu") == 0, "OPT with the activation relu");
    refuse_unless(m->tensor[POSITION].info.rows >= T + 2, "models with room for the batch's rows");
    for (int i = 0; i < ROWS * T; i++)
        refuse_unless((size_t)tokens[i / T][i % T] < m->V, "models with the batch's tokens");
}

static void model_begin(model *m, const zo2_pack *pack)
{
    zo2_pack_info info;
    must(zo2_pack_get_info(pack, &info));
    refuse_unless(!info.aliased, "models whose layers have weights of their own");
    *m = (model){.D = info.hidden, .H = info.heads, .F = info.ffn, .V = info.vocab, .layers = info.layers};
    m->tensors = info.tensors;
    m->tensor = calloc(m->tensors, sizeof *m->tensor);
    m->memory = calloc(2 * info.parameters, sizeof *m->memory);
    if (!m->tensor || !m->memory)
        must(zo2_error(ZO2_ERR_NOMEM, "no memory for the weights"));
    float *at = m->memory;
    for (tensor *t = m->tensor; t < m->tensor + m->tensors; t++) {
        must(zo2_pack_tensor(pack, (uint64_t)(t - m->tensor), &t->info));
        t->master = at;
        t->w = at + elements(t);
        at += 2 * elements(t);
    }
    check_kind(m, pack);
}

int main(int argc, char **argv)
{
    model m;
    zo2_pack *pack;
    zo2_engine *engine;
    zo2_engine_opts opts;
    if (argc != 3) {
        fprintf(stderr, "usage: reference_step MODEL.zo2 NEW_RUN_DIR\n");
        return 2;
    }
    must(zo2_pack_open(&pack, argv[1]));
    model_begin(&m, pack);

    zo2_engine_opts_init(&opts);
    opts.seed = seed;
    opts.lr = lr;
    opts.eps = eps;
    opts.weight_decay = weight_decay;
    opts.wire = ZO2_WIRE_FP32; /* the device sees the weights as they are, and computes with them in fp32 */
    opts.compute = ZO2_F32;
    opts.backend = ZO2_BACKEND_CPU;
    opts.max_rows = ROWS;
    opts.max_seq = T;
    must(zo2_engine_open(&engine, argv[1], argv[2], &opts));
    for (const tensor *t = m.tensor; t < m.tensor + m.tensors; t++)
        must(zo2_tensor_read(engine, t->info.name, 0, elements(t), t->master));

    int good = compare(&m, engine, argv[2]);
    zo2_engine_close(engine);
    zo2_pack_close(pack);
    free(m.memory);
    free(m.tensor);
    return good ? 0 : 1;
}

/* reference_llama.c: one step of zeroth-order fine-tuning of a LLaMA, Qwen2, Qwen3 or Mistral in plain C, checked against the
 * engine's.
 *
 * reference_step.c is the text to start with: it says what a step is, and does one on an OPT. Here is what these models compute
 * otherwise (LLaMA: arXiv 2302.13971), as Hugging Face has it:
 *
 *     norms        of the root mean square alone: no mean is taken away, nothing is added
 *     positions    no table: pairs of elements of queries and keys are turned by angles that grow with the position
 *     attention    several heads of queries may share one head of keys and values; Qwen3 normalises both before it turns them
 *     feed-forward W_down (silu(W_gate x) * W_up x)
 *
 * "x: [T][D]" is T rows of D values, one row behind the other. T: tokens of a row of the batch, D: hidden size, H: heads of
 * queries, K: of keys and values, N: elements of a head, F: width of the feed-forward part, V: vocabulary. Values are floats and
 * the sums that lead to them doubles. Compile with -ffp-contract=off, as reference_step.c. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zo2.h>

/* ---- the batch and the settings ---- */

enum { ROWS = 2, T = 9 };
static const int32_t tokens[ROWS][T] = {{1, 17, 4, 9, 11, 2, 19, 5, 13}, {3, 18, 7, 0, 15, 10, 6, 12, 8}};
static const uint8_t has_loss[ROWS][T] = {{0, 1, 1, 1, 1, 1, 1, 1, 1}, {0, 0, 0, 0, 0, 0, 1, 1, 1}};
static const uint64_t seed = 7;
static const double lr = 1e-4, eps = 1e-3, weight_decay = 0.1;

/* ---- the model ---- */

typedef struct tensor {
    zo2_tensor_info info; /* [rows][cols]; a vector has one row */
    float *master;        /* W */
    float *w;             /* what a forward pass sees: W + eps z or W - eps z */
    float *z;             /* the noise */
} tensor;

typedef struct model {
    size_t D, H, K, N, F, V, layers, tensors;
    double norm_eps;
    float frequency[256]; /* [N / 2]: radians a position */
    tensor *tensor;
    float *memory;     /* all weights, three times */
    double logit_size; /* root of the mean square of a token's logits, the largest there was so far */
} model;

static void must(zo2_status status)
{
    if (status) {
        fprintf(stderr, "reference_llama: %s\n", zo2_last_error());
        exit(1);
    }
}

static void refuse_unless(int known, const char *what)
{
    must(known ? ZO2_OK : zo2_error(ZO2_ERR_UNSUPPORTED, "this program knows %s only", what));
}

static size_t elements(const tensor *t)
{
    return t->info.rows * t->info.cols;
}

/* By name; NULL if the model hasn't got it, as most haven't got biases. */
static const tensor *find(const model *m, const char *format, ...)
{
    char name[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    for (const tensor *t = m->tensor; t < m->tensor + m->tensors; t++)
        if (strcmp(t->info.name, name) == 0)
            return t;
    return NULL;
}

/* ---- forward pass ---- */

/* y = x W^T + b, W and b being those of "model.layers.<layer>.<name>"; y += that with `add`.    x: [T][inputs], y: [T][outputs] */
static void linear(const model *m, float *y, const float *x, size_t layer, const char *name, int add)
{
    const tensor *W = find(m, "model.layers.%zu.%s.weight", layer, name);
    const tensor *b = find(m, "model.layers.%zu.%s.bias", layer, name);
    const size_t outputs = W->info.rows, inputs = W->info.cols;
    for (size_t t = 0; t < T; t++) {
        for (size_t o = 0; o < outputs; o++) {
            double sum = b ? b->w[o] : 0;
            for (size_t i = 0; i < inputs; i++)
                sum += (double)x[t * inputs + i] * W->w[o * inputs + i];
            y[t * outputs + o] = (float)(add ? y[t * outputs + o] + sum : sum);
        }
    }
}

/* Row by row: y = x / sqrt(mean of x^2 + eps) * gamma.    x, y: [rows][n], gamma: [n]; y may be x */
static void rms_norm(const model *m, float *y, const float *x, size_t rows, const tensor *gamma)
{
    const size_t n = gamma->info.cols;
    for (size_t r = 0; r < rows; r++, x += n, y += n) {
        double squares = 0;
        for (size_t i = 0; i < n; i++)
            squares += (double)x[i] * x[i] / (double)n;
        for (size_t i = 0; i < n; i++)
            y[i] = (float)(x[i] / sqrt(squares + m->norm_eps) * gamma->w[i]);
    }
}

/* Of each head, elements i and i + N / 2 are turned as a point of the plane by position * frequency[i].    x: [T][heads][N] */
static void rotate(const model *m, float *x, size_t heads)
{
    const size_t half = m->N / 2;
    for (size_t t = 0; t < T; t++) {
        for (size_t head = 0; head < heads; head++, x += m->N) {
            for (size_t i = 0; i < half; i++) {
                const float angle = (float)t * m->frequency[i];
                const double c = cos(angle), s = sin(angle), a = x[i], b = x[i + half];
                x[i] = (float)(a * c - b * s);
                x[i + half] = (float)(b * c + a * s);
            }
        }
    }
}

/* Each token's result is the mean of the values of the tokens up to itself, weighted by softmax(q . k / sqrt(N)). Heads of
 * queries that follow each other share keys and values.    out, q: [T][H][N], k, v: [T][K][N] */
static void attention(const model *m, float *out, const float *q, const float *k, const float *v)
{
    const size_t N = m->N, Q = m->H * N, KV = m->K * N;
    for (size_t head = 0; head < m->H; head++) {
        const size_t of_q = head * N, of_kv = head / (m->H / m->K) * N;
        for (size_t t = 0; t < T; t++) {
            double weight[T], largest = -INFINITY, sum = 0;
            for (size_t s = 0; s <= t; s++) {
                weight[s] = 0;
                for (size_t i = 0; i < N; i++)
                    weight[s] += (double)q[t * Q + of_q + i] * k[s * KV + of_kv + i] / sqrt((double)N);
                largest = fmax(largest, weight[s]);
            }
            for (size_t s = 0; s <= t; s++) {
                weight[s] = exp(weight[s] - largest);
                sum += weight[s];
            }
            for (size_t i = 0; i < N; i++) {
                double mean = 0;
                for (size_t s = 0; s <= t; s++)
                    mean += weight[s] / sum * v[s * KV + of_kv + i];
                out[t * Q + of_q + i] = (float)mean;
            }
        }
    }
}

/* gate = gate * sigmoid(gate) * up.    gate, up: [T][F] */
static void gated(const model *m, float *gate, const float *up)
{
    for (size_t i = 0; i < T * m->F; i++)
        gate[i] = (float)(gate[i] / (1 + exp(-(double)gate[i])) * up[i]);
}

/* One row of the batch through all layers.    row: [T], out: [T][D] */
static void forward(const model *m, float *out, const int32_t *row)
{
    const size_t D = m->D, Q = m->H * m->N, KV = m->K * m->N;
    const float *embedding = find(m, "model.embed_tokens.weight")->w; /* [V][D] */
    float h[T * D], n[T * D], q[T * Q], k[T * KV], v[T * KV], a[T * Q], gate[T * m->F], up[T * m->F];
    for (size_t t = 0; t < T; t++)
        memcpy(h + t * D, embedding + (size_t)row[t] * D, D * sizeof *h);
    for (size_t l = 0; l < m->layers; l++) {
        const tensor *q_norm = find(m, "model.layers.%zu.self_attn.q_norm.weight", l);
        const tensor *k_norm = find(m, "model.layers.%zu.self_attn.k_norm.weight", l);
        rms_norm(m, n, h, T, find(m, "model.layers.%zu.input_layernorm.weight", l));
        linear(m, q, n, l, "self_attn.q_proj", 0);
        linear(m, k, n, l, "self_attn.k_proj", 0);
        linear(m, v, n, l, "self_attn.v_proj", 0);
        if (q_norm) { /* and k_norm */
            rms_norm(m, q, q, T * m->H, q_norm);
            rms_norm(m, k, k, T * m->K, k_norm);
        }
        rotate(m, q, m->H);
        rotate(m, k, m->K);
        attention(m, a, q, k, v);
        linear(m, h, a, l, "self_attn.o_proj", 1);

        rms_norm(m, n, h, T, find(m, "model.layers.%zu.post_attention_layernorm.weight", l));
        linear(m, gate, n, l, "mlp.gate_proj", 0);
        linear(m, up, n, l, "mlp.up_proj", 0);
        gated(m, gate, up);
        linear(m, h, gate, l, "mlp.down_proj", 1);
    }
    rms_norm(m, out, h, T, find(m, "model.norm.weight"));
}

/* -log p(token), p being the softmax over the vocabulary of what the final norm gave.    x: [D] */
static double cross_entropy(model *m, const float *x, int32_t token)
{
    const tensor *own = find(m, "lm_head.weight"),
                 *head = own ? own : find(m, "model.embed_tokens.weight"); /* [V][D] */
    double logit[m->V], largest = -INFINITY, sum = 0, squares = 0;
    for (size_t v = 0; v < m->V; v++) {
        logit[v] = 0;
        for (size_t i = 0; i < m->D; i++)
            logit[v] += (double)x[i] * head->w[v * m->D + i];
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

/* ---- the step: reference_step.c says more of it ---- */

/* L(W + distance z) */
static double loss_at(model *m, float distance)
{
    for (tensor *t = m->tensor; t < m->tensor + m->tensors; t++)
        for (size_t i = 0; i < elements(t); i++)
            t->w[i] = fmaf(distance, t->z[i], t->master[i]);
    return batch_loss(m);
}

/* W = W - (d W + c z); the number of weights that the engine has bit for bit. */
static size_t update(const model *m, zo2_engine *engine, float c, float d)
{
    size_t same = 0;
    for (tensor *t = m->tensor; t < m->tensor + m->tensors; t++) {
        must(zo2_tensor_read(engine, t->info.name, 0, elements(t), t->w));
        for (size_t i = 0; i < elements(t); i++) {
            float u = (t->info.decays ? d : 0.0f) * t->master[i];
            u = fmaf(c, t->z[i], u);
            t->master[i] = t->master[i] - u;
            same += memcmp(&t->w[i], &t->master[i], sizeof(float)) == 0;
        }
    }
    return same;
}

/* As in reference_step.c: the roundings of the engine's fp32 sums add as squares, n / 6 of one of n products. Of such sums, 10
 * follow one another in a layer (the norm, queries, their norm, scores, the softmax, values, o_proj; the norm, gate_proj, down_proj) and 3
 * behind it; what is done to single values between them (turning, the gate, its product with up, residuals) is 12 roundings a
 * layer, of a third each. */
static double loss_bound(const model *m)
{
    double n = (double)(m->D > m->F ? m->D : m->F), layers = (double)m->layers;
    double squares = (10 * layers + 3) * n / 6 + 12 * layers / 3;
    return 4 * sqrt(2 * squares) * ldexp(1, -24) * m->logit_size;
}

static int check(const char *what, double here, double engine, double bound)
{
    const double apart = fabs(here - engine);
    printf("%-28s %13.9g here, %13.9g in the engine: %.1e apart, %.1e allowed%s\n", what, here, engine, apart, bound,
           apart <= bound ? "" : ": TOO MUCH");
    return apart <= bound;
}

static int compare(model *m, zo2_engine *engine, const char *run_dir, size_t parameters)
{
    const zo2_batch batch = {
        .struct_size = sizeof batch, .rows = ROWS, .seq = T, .tokens = tokens[0], .loss = has_loss[0]};
    zo2_run *run;
    zo2_run_record record;
    const double loss_plus = loss_at(m, (float)eps), loss_minus = loss_at(m, (float)-eps), bound = loss_bound(m);
    must(zo2_step(engine, &batch, NULL));
    must(zo2_run_open(&run, run_dir));
    must(zo2_run_record_get(run, 0, &record));
    zo2_run_close(run);
    const int plus = check("L+", loss_plus, record.query[0].loss_plus, bound);
    const int minus = check("L-", loss_minus, record.query[0].loss_minus, bound);
    const size_t same = update(m, engine, record.query[0].c, record.d);
    printf("%-28s %zu of %zu have the engine's bits%s\n", "weights after the step", same, parameters,
           same == parameters ? "" : ": TOO FEW");
    return plus && minus && same == parameters;
}

/* ---- setting up ---- */

/* A number of config.json, wherever it stands there. */
static double number(const char *config, const char *key, double fallback)
{
    char quoted[64];
    double value = fallback;
    snprintf(quoted, sizeof quoted, "\"%s\"", key);
    const char *at = strstr(config, quoted);
    if (at)
        (void)sscanf(at + strlen(quoted), " : %lf", &value);
    return value;
}

/* frequency[i] = theta^(-2 i / N), stretched for longer contexts: rounded where Hugging Face rounds. */
static void set_frequencies(model *m, const char *config)
{
    const float theta = (float)number(config, "rope_theta", 10000), factor = (float)number(config, "factor", 1);
    const double low = number(config, "low_freq_factor", 0), high = number(config, "high_freq_factor", 0);
    const double original = number(config, "original_max_position_embeddings", 0);
    const int llama3 = strstr(config, "\"llama3\"") != NULL, linear_scaling = strstr(config, "\"linear\"") != NULL;
    refuse_unless(!strstr(config, "\"yarn\""), "rotary positions as they are, or with the scalings linear and llama3");
    for (size_t i = 0; i < m->N / 2; i++) {
        float f = 1.0f / (float)pow(theta, (float)(2 * i) / (float)m->N);
        const double wavelength = 6.283185307179586 / f, s = (original / wavelength - low) / (high - low);
        if (linear_scaling || (llama3 && wavelength > original / low))
            f /= factor;
        else if (llama3 && wavelength >= original / high)
            f = (float)((1 - s) * f / factor + s * f);
        m->frequency[i] = f;
    }
}

static void model_begin(model *m, const zo2_pack *pack)
{
    const char *config;
    size_t bytes;
    zo2_pack_info info;
    must(zo2_pack_get_info(pack, &info));
    must(zo2_pack_file(pack, "config.json", &config, &bytes));
    refuse_unless(strcmp(info.arch, "opt") != 0, "LLaMA, Qwen2, Qwen3 and Mistral");
    refuse_unless(!info.aliased, "models whose layers have weights of their own");
    refuse_unless(info.vocab >= 20 && info.context >= T, "models with room for the batch's rows and tokens");
    *m = (model){.D = info.hidden, .H = info.heads, .F = info.ffn, .V = info.vocab, .layers = info.layers};
    m->norm_eps = number(config, "rms_norm_eps", 1e-6);
    m->tensors = info.tensors;
    m->tensor = calloc(m->tensors, sizeof *m->tensor);
    m->memory = calloc(3 * info.parameters, sizeof *m->memory);
    must(m->tensor && m->memory ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "no memory for the weights"));
    float *at = m->memory;
    for (tensor *t = m->tensor; t < m->tensor + m->tensors; t++) {
        must(zo2_pack_tensor(pack, (uint64_t)(t - m->tensor), &t->info));
        t->master = at;
        t->w = at + elements(t);
        t->z = at + 2 * elements(t);
        at += 3 * elements(t);
        must(zo2_noise_fill(t->z, seed, 0, 0, t->info.id, 0, elements(t), ZO2_GAUSSIAN)); /* of step 0, query 0 */
    }
    m->N = find(m, "model.layers.0.self_attn.q_proj.weight")->info.rows / m->H;
    m->K = find(m, "model.layers.0.self_attn.k_proj.weight")->info.rows / m->N;
    refuse_unless(m->N <= 512, "heads of up to 512 elements");
    set_frequencies(m, config);
}

int main(int argc, char **argv)
{
    model m;
    zo2_pack *pack;
    zo2_engine *engine;
    zo2_engine_opts opts;
    size_t parameters = 0;
    if (argc != 3) {
        fprintf(stderr, "usage: reference_llama MODEL.zo2 NEW_RUN_DIR\n");
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
    for (const tensor *t = m.tensor; t < m.tensor + m.tensors; t++) {
        must(zo2_tensor_read(engine, t->info.name, 0, elements(t), t->master));
        parameters += elements(t);
    }

    int good = compare(&m, engine, argv[2], parameters);
    zo2_engine_close(engine);
    zo2_pack_close(pack);
    free(m.memory);
    free(m.tensor);
    return good ? 0 : 1;
}

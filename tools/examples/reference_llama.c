/* reference_llama.c: steps of zeroth-order fine-tuning of a LLaMA, Qwen2, Qwen3 or Mistral in plain C, checked against the
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
#include <stdarg.h>

#include "reference_run.h"

/* ---- the batch ---- */

enum { ROWS = 2, T = 9 };
static const int32_t tokens[ROWS][T] = {{1, 17, 4, 9, 11, 2, 19, 5, 13}, {3, 18, 7, 0, 15, 10, 6, 12, 8}};
static const uint8_t has_loss[ROWS][T] = {{0, 1, 1, 1, 1, 1, 1, 1, 1}, {0, 0, 0, 0, 0, 0, 1, 1, 1}};

/* ---- the model ---- */

typedef struct llama {
    model model; /* first */
    size_t K, N;
    double norm_eps;
    float frequency[256]; /* [N / 2]: radians a position */
} llama;

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
    adapt(m, y, x, W);
}

/* Row by row: y = x / sqrt(mean of x^2 + eps) * gamma.    x, y: [rows][n], gamma: [n]; y may be x */
static void rms_norm(const llama *m, float *y, const float *x, size_t rows, const tensor *gamma)
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
static void rotate(const llama *m, float *x, size_t heads)
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
static void attention(const llama *m, float *out, const float *q, const float *k, const float *v)
{
    const size_t N = m->N, Q = m->model.H * N, KV = m->K * N;
    for (size_t head = 0; head < m->model.H; head++) {
        const size_t of_q = head * N, of_kv = head / (m->model.H / m->K) * N;
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
    const llama *own = (const llama *)m; /* it begins with the model */
    const size_t D = m->D, Q = m->H * own->N, KV = own->K * own->N;
    const float *embedding = find(m, "model.embed_tokens.weight")->w; /* [V][D] */
    float h[T * D], n[T * D], q[T * Q], k[T * KV], v[T * KV], a[T * Q], gate[T * m->F], up[T * m->F];
    for (size_t t = 0; t < T; t++)
        memcpy(h + t * D, embedding + (size_t)row[t] * D, D * sizeof *h);
    for (size_t l = 0; l < m->layers; l++) {
        const tensor *q_norm = find(m, "model.layers.%zu.self_attn.q_norm.weight", l);
        const tensor *k_norm = find(m, "model.layers.%zu.self_attn.k_norm.weight", l);
        rms_norm(own, n, h, T, find(m, "model.layers.%zu.input_layernorm.weight", l));
        linear(m, q, n, l, "self_attn.q_proj", 0);
        linear(m, k, n, l, "self_attn.k_proj", 0);
        linear(m, v, n, l, "self_attn.v_proj", 0);
        if (q_norm) { /* and k_norm */
            rms_norm(own, q, q, T * m->H, q_norm);
            rms_norm(own, k, k, T * own->K, k_norm);
        }
        rotate(own, q, m->H);
        rotate(own, k, own->K);
        attention(own, a, q, k, v);
        linear(m, h, a, l, "self_attn.o_proj", 1);

        rms_norm(own, n, h, T, find(m, "model.layers.%zu.post_attention_layernorm.weight", l));
        linear(m, gate, n, l, "mlp.gate_proj", 0);
        linear(m, up, n, l, "mlp.up_proj", 0);
        gated(m, gate, up);
        linear(m, h, gate, l, "mlp.down_proj", 1);
    }
    rms_norm(own, out, h, T, find(m, "model.norm.weight"));
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
static void set_frequencies(llama *m, const char *config)
{
    const float theta = (float)number(config, "rope_theta", 10000), factor = (float)number(config, "factor", 1);
    const double low = number(config, "low_freq_factor", 0), high = number(config, "high_freq_factor", 0);
    const double original = number(config, "original_max_position_embeddings", 0);
    const int llama3 = strstr(config, "\"llama3\"") != NULL, linear_scaling = strstr(config, "\"linear\"") != NULL;
    refuse_unless(&m->model, !strstr(config, "\"yarn\""),
                  "rotary positions as they are, or with the scalings linear and llama3");
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

static void llama_begin(llama *own, const zo2_pack *pack)
{
    model *m = &own->model;
    const char *config;
    size_t bytes;
    zo2_pack_info info;
    must(m, zo2_pack_get_info(pack, &info));
    must(m, zo2_pack_file(pack, "config.json", &config, &bytes));
    refuse_unless(m, strcmp(info.arch, "opt") != 0, "LLaMA, Qwen2, Qwen3 and Mistral");
    refuse_unless(m, info.vocab >= 20 && info.context >= T, "models with room for the batch's rows and tokens");
    model_begin(m, pack);
    own->norm_eps = number(config, "rms_norm_eps", 1e-6);
    own->N = find(m, "model.layers.0.self_attn.q_proj.weight")->info.rows / m->H;
    own->K = find(m, "model.layers.0.self_attn.k_proj.weight")->info.rows / own->N;
    refuse_unless(m, own->N <= 512, "heads of up to 512 elements");
    set_frequencies(own, config);
    m->head = find(m, "lm_head.weight");
    m->head = m->head ? m->head : find(m, "model.embed_tokens.weight");
    /* Of a layer's: the norm, queries, their norm, scores, the softmax, values, o_proj; the norm, gate_proj, down_proj. Behind the layers
     * as of an OPT. What is done to single values between them: turning, the gate, its product with up, residuals. */
    m->sums = 10 * (double)m->layers + 3;
    m->roundings = 12 * (double)m->layers;
}

int main(int argc, char **argv)
{
    llama own = {.model = {.program = "reference_llama", .forward = forward}};
    model *m = &own.model;
    command_line how;
    zo2_pack *pack;
    if (!read_command_line(&how, argc, argv)) {
        fprintf(stderr, "usage: reference_llama %s\n", usage);
        return 2;
    }
    m->batch =
        (zo2_batch){.struct_size = sizeof m->batch, .rows = ROWS, .seq = T, .tokens = tokens[0], .loss = has_loss[0]};
    must(m, zo2_pack_open(&pack, how.pack));
    llama_begin(&own, pack);

    int good = reference(m, &how);
    zo2_pack_close(pack);
    model_end(m);
    return good ? 0 : 1;
}

/* reference_step.c: steps of zeroth-order fine-tuning in plain C, checked against the engine's.
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
 * That is the same for all models, so it is in reference.h: read that next. A run may move a part of W alone; reference_choice.h reads
 * which, and reference_run.h compares with the engine. Here is the forward pass.
 *
 * The model is OPT (arXiv 2205.01068) as Hugging Face computes it. "x: [T][D]" is T rows of D values, one row behind the
 * other. T: tokens of a row of the batch, D: hidden size, H: heads, F: width of the feed-forward part, V: vocabulary.
 * Values are floats and the sums that lead to them doubles. Compile with -ffp-contract=off: then every operation of
 * update() (reference.h) is rounded by itself, as it is in the engine. */
#include "reference_run.h"

/* ---- the batch ---- */

enum { ROWS = 2, T = 13 };
static const int32_t tokens[ROWS][T] = {
    {2, 38, 333, 499, 703, 348, 308, 2092, 17, 1295, 304, 261, 1366}, /* Curry made with lamb. It is a food */
    {2, 36, 479, 268, 3239, 323, 307, 837, 17, 1295, 304, 322, 1630}, /* A genus of Peramelidae. It is an animal */
};
static const uint8_t has_loss[ROWS][T] = {
    {0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, /* a text: all tokens but the first, which nothing predicts */
    {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1}, /* a prompt and its completion */
};

/* ---- the model ---- */

/* Tensors in canonical order: the embeddings of tokens and of positions, sixteen tensors of each layer, the final norm.
 * A matrix is [outputs][inputs]; its bias is the next tensor. The head has none, it is the tokens' embedding again. */
enum { EMBEDDING = 0, POSITION = 1, FIRST_LAYER = 2 };
enum { NORM1 = 0, QUERY = 2, KEY = 4, VALUE = 6, OUT = 8, NORM2 = 10, FC1 = 12, FC2 = 14, PER_LAYER = 16 };

/* ---- forward pass ---- */

/* y = x W^T + b.    x: [T][inputs], y: [T][outputs] */
static void linear(const model *m, float *y, const float *x, const tensor *W)
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
    adapt(m, y, x, W);
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
        linear(m, q, n, layer + QUERY);
        linear(m, k, n, layer + KEY);
        linear(m, v, n, layer + VALUE);
        attention(m, a, q, k, v);
        linear(m, n, a, layer + OUT);
        add(m, h, n);

        layer_norm(n, h, layer + NORM2);
        linear(m, f, n, layer + FC1);
        relu(m, f);
        linear(m, n, f, layer + FC2);
        add(m, h, n);
    }
    layer_norm(out, h, layer); /* the final norm is behind the last layer */
}

/* ---- setting up ---- */

/* Other kinds of OPT have more tensors or fewer; opt-350m has as many, but no final norm. */
static void check_kind(const model *m, const zo2_pack *pack)
{
    const char *last = m->tensor[m->tensors - 1].info.name, *config;
    size_t bytes;
    char activation[8] = "relu"; /* OPT's, unless config.json names another */
    refuse_unless(m,
                  m->tensors == FIRST_LAYER + PER_LAYER * m->layers + 2 &&
                      strcmp(last, "model.decoder.final_layer_norm.bias") == 0,
                  "OPT with biases, norms before each part, no projections and a tied head");
    must(m, zo2_pack_file(pack, "config.json", &config, &bytes));
    if ((config = strstr(config, "\"activation_function\"")))
        (void)sscanf(config, "\"activation_function\" : \"%7[^\"]", activation);
    refuse_unless(m, strcmp(activation, "relu") == 0, "OPT with the activation relu");
    refuse_unless(m, m->tensor[POSITION].info.rows >= T + 2, "models with room for the batch's rows");
    for (int i = 0; i < ROWS * T; i++)
        refuse_unless(m, (size_t)tokens[i / T][i % T] < m->V, "models with the batch's tokens");
}

int main(int argc, char **argv)
{
    model m = {.program = "reference_step", .forward = forward};
    command_line how;
    zo2_pack *pack;
    if (!read_command_line(&how, argc, argv)) {
        fprintf(stderr, "usage: reference_step %s\n", usage);
        return 2;
    }
    m.batch =
        (zo2_batch){.struct_size = sizeof m.batch, .rows = ROWS, .seq = T, .tokens = tokens[0], .loss = has_loss[0]};
    must(&m, zo2_pack_open(&pack, how.pack));
    model_begin(&m, pack);
    check_kind(&m, pack);
    m.head = &m.tensor[EMBEDDING];
    /* Of a layer's: the norm, queries, scores, the softmax, values, OUT; the norm, FC1, FC2. Behind the layers: the norm, the logit,
     * the log-sum-exp. */
    m.sums = 9 * (double)m.layers + 3;

    int good = reference(&m, &how);
    zo2_pack_close(pack);
    model_end(&m);
    return good ? 0 : 1;
}

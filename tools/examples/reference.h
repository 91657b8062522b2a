/* reference.h: a step of zeroth-order fine-tuning in plain C: the loss of a batch, and what a step does with the weights. That is the
 * same for all models; reference_step.c, the text to start with, has the forward pass of one, and so has reference_llama.c.
 * Values are floats and the sums that lead to them doubles. */
#ifndef ZO2_EXAMPLES_REFERENCE_H
#define ZO2_EXAMPLES_REFERENCE_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zo2.h>

static const uint64_t seed = 7;
static const double lr = 1e-4, eps = 1e-3, weight_decay = 0.1;

typedef struct tensor {
    zo2_tensor_info
        info; /* [rows][cols]; a vector has one row. id: place among the run's tensors, which its noise depends on */
    float *master;              /* W */
    float *w;                   /* what a forward pass sees: W + eps z or W - eps z */
    int moves;                  /* else it is frozen: W in every pass, and for ever */
    size_t group;               /* of those that take turns */
    const struct tensor *A, *B; /* adapters of this matrix, [r][cols] and [rows][r]; NULL: it has none */
} tensor;

typedef struct model {
    const char *program;
    zo2_batch batch;
    size_t D, H, F, V, layers; /* hidden size, heads, width of the feed-forward part, vocabulary */
    tensor *tensor;            /* the model's in canonical order, then those that the run adds */
    size_t tensors, all;       /* the model's, and with those */
    const tensor *head;        /* [V][D] */
    const tensor *rows;        /* "lm_head.rows": stand for those rows of the head that the run moves. NULL: none */
    size_t *row;               /* [V]: place in `rows`, SIZE_MAX: it isn't there */
    float scale;               /* of the adapters' products: alpha / r */
    size_t adapted;            /* matrices that have some */
    size_t groups;
    double sums, roundings; /* of a logit: sums of products, and single values rounded, one behind the other */
    double logit_size;      /* root of the mean square of a token's logits, the largest there was so far */
    void (*forward)(const struct model *m, float *out, const int32_t *row); /* row: [T], out: [T][D] */
} model;

static void must(const model *m, zo2_status status)
{
    if (status) {
        fprintf(stderr, "%s: %s\n", m->program, zo2_last_error());
        exit(1);
    }
}

static void refuse_unless(const model *m, int known, const char *what)
{
    must(m, known ? ZO2_OK : zo2_error(ZO2_ERR_UNSUPPORTED, "this program knows %s only", what));
}

static size_t elements(const tensor *t)
{
    return t->info.rows * t->info.cols;
}

/* ---- loss ---- */

/* y += alpha / r B (A x) for a matrix with adapters (LoRA, arXiv 2106.09685), y += 0 for others.    x: [T][cols], y: [T][rows] */
static void adapt(const model *m, float *y, const float *x, const tensor *W)
{
    if (!W->A)
        return;
    const size_t r = W->A->info.rows, inputs = W->info.cols, outputs = W->info.rows;
    double low[r];
    for (size_t t = 0; t < m->batch.seq; t++) {
        for (size_t k = 0; k < r; k++) {
            low[k] = 0;
            for (size_t i = 0; i < inputs; i++)
                low[k] += (double)x[t * inputs + i] * W->A->w[k * inputs + i];
        }
        for (size_t o = 0; o < outputs; o++) {
            double sum = 0;
            for (size_t k = 0; k < r; k++)
                sum += low[k] * W->B->w[o * r + k];
            y[t * outputs + o] += (float)(m->scale * sum);
        }
    }
}

/* -log p(token), p being the softmax over the vocabulary of what the final norm gave.    x: [D] */
static double cross_entropy(model *m, const float *x, int32_t token)
{
    double logit[m->V], largest = -INFINITY, sum = 0, squares = 0;
    for (size_t v = 0; v < m->V; v++) {
        const int own = m->rows && m->row[v] != SIZE_MAX;
        const float *head = own ? m->rows->w + m->row[v] * m->D : m->head->w + v * m->D;
        logit[v] = 0;
        for (size_t i = 0; i < m->D; i++)
            logit[v] += (double)x[i] * head[i];
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
    const size_t T = m->batch.seq;
    float x[T * m->D];
    double sum = 0;
    int count = 0;
    for (const int32_t *row = m->batch.tokens; row < m->batch.tokens + m->batch.rows * T; row += T) {
        m->forward(m, x, row);
        for (size_t t = 1; t < T; t++) {
            if (m->batch.loss[row - m->batch.tokens + (ptrdiff_t)t]) {
                sum += cross_entropy(m, x + (t - 1) * m->D, row[t]);
                count++;
            }
        }
    }
    return sum / count;
}

/* ---- the step ---- */

typedef struct turn {
    uint64_t step;
    size_t group; /* that moves in it */
} turn;

static int moves(const tensor *t, turn now)
{
    return t->moves && t->group == now.group;
}

/* z of a row of a tensor in query 0 of a step: a function of these numbers, so nobody has to store it.    z: [cols] */
static void make_noise(const model *m, float *z, const tensor *t, turn now, size_t row)
{
    must(m, zo2_noise_fill(z, seed, now.step, 0, t->info.id, row * t->info.cols, t->info.cols, ZO2_GAUSSIAN));
}

/* L(W + distance z) */
static double loss_at(model *m, turn now, float distance)
{
    for (tensor *t = m->tensor; t < m->tensor + m->all; t++) {
        if (!moves(t, now)) {
            memcpy(t->w, t->master, elements(t) * sizeof *t->w);
            continue;
        }
        float z[t->info.cols];
        for (size_t row = 0, at = 0; row < t->info.rows; row++) {
            make_noise(m, z, t, now, row);
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
static void update(const model *m, turn now, float c, float d)
{
    for (tensor *t = m->tensor; t < m->tensor + m->all; t++) {
        if (!moves(t, now))
            continue;
        float z[t->info.cols];
        for (size_t row = 0, at = 0; row < t->info.rows; row++) {
            make_noise(m, z, t, now, row);
            for (size_t i = 0; i < t->info.cols; i++, at++) {
                float u = (t->info.decays ? d : 0.0f) * t->master[at];
                u = fmaf(c, z[i], u);
                t->master[at] = t->master[at] - u;
            }
        }
    }
}

#endif

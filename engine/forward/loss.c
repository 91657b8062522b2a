/* loss.c: losses from log-probabilities. */
#include "engine/forward/batch.h"

#include <math.h>

static int all_finite(const double *score, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (!isfinite(score[i]))
            return 0;
    return 1;
}

/* Cross-entropy of the label under a softmax over the rows' scores, and whether the label is the best (ties go to the
 * first). A comparison with NaN is false, so of scores that aren't finite the first would win: there none is right. */
static double cross_entropy(const double *score, uint32_t n, uint32_t label, uint64_t *correct)
{
    uint32_t best = 0;
    double sum = 0;
    for (uint32_t i = 1; i < n; i++)
        if (score[i] > score[best])
            best = i;
    for (uint32_t i = 0; i < n; i++)
        sum += exp(score[i] - score[best]);
    *correct += best == label && all_finite(score, n);
    return score[best] + log(sum) - score[label];
}

void zo2_row_sums(double *row_nll, const zo2_packed *p, uint32_t from, uint32_t to, const float *logprob)
{
    for (uint32_t row = from; row < to; row++) {
        double nll = 0;
        for (uint32_t i = 0; i < p->row_losses[row]; i++)
            nll -= (double)*logprob++;
        row_nll[row] = nll;
    }
}

void zo2_loss_of_rows(zo2_loss *out, zo2_packed *p, const double *row_nll)
{
    *out = (zo2_loss){0};
    for (uint32_t row = 0; row < p->rows; row++) {
        out->sum_nll += row_nll[row];
        p->row_score[row] = p->row_losses[row] ? -row_nll[row] / p->row_losses[row] : 0;
    }
    const double *score = p->row_score;
    for (uint32_t e = 0; e < p->examples; score += p->example_rows[e++])
        out->nonfinite += !all_finite(score, p->example_rows[e]);
    if (!p->label) {
        out->loss = out->sum_nll / (double)p->losses;
        return;
    }
    score = p->row_score;
    for (uint32_t e = 0; e < p->examples; score += p->example_rows[e++])
        out->sum_loss += cross_entropy(score, p->example_rows[e], p->label[e], &out->correct);
    out->loss = out->sum_loss / p->examples;
}

void zo2_loss_compute(zo2_loss *out, zo2_packed *p, const float *logprob)
{
    zo2_row_sums(p->row_score, p, 0, p->rows, logprob);
    zo2_loss_of_rows(out, p, p->row_score);
}

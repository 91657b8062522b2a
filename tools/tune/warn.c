/* warn.c: see warn.h. */
#include "tools/tune/warn.h"

#include <inttypes.h>
#include <math.h>

/* ---- data ---- */

static const char *const oddities[ZO2T_ODDITIES] = {
    [ZO2T_SPACE_AT_END] =
        "have a prompt that ends in a space, which is a token of its own there; in texts it belongs to the "
        "word behind it: move it to the beginning of what follows",
    [ZO2T_NO_SPACE] =
        "have no space between the prompt and what follows: the two become one word; put a space in front of "
        "completions and options",
    [ZO2T_EMPTY_PROMPT] = "have an empty prompt",
    [ZO2T_SAME_OPTIONS] = "have the same option twice, which no score can tell apart",
};

void tune_warn_data(cli_progress *p, const char *name, const zo2t_dataset_info *data)
{
    for (int i = 0; i < ZO2T_ODDITIES; i++) {
        const zo2t_count *c = &data->odd[i];
        bool meant = i == ZO2T_NO_SPACE && c->lines <= data->examples / 2; /* some may go on within a word */
        if (c->lines && !meant)
            cli_progress_message(p, "warning: %s: %" PRIu64 " of %" PRIu64 " lines %s (the first is line %" PRIu64 ")",
                                 name, c->lines, data->examples, oddities[i], c->first);
    }
}

static void warn_training_data(train *t)
{
    enum { ENOUGH = 8 }; /* lines to expect two labels of */
    zo2t_dataset_info data, eval;
    zo2t_dataset_get_info(t->data, &data);
    const char *name = zo2t_lines_name(t->flags->data.text);
    if (data.one_label && data.examples >= ENOUGH) {
        zo2t_example e;
        zo2t_dataset_example(t->data, 0, &e);
        cli_progress_message(&t->progress,
                             "warning: %s: the label is %u in all %" PRIu64
                             " lines: what is learned is to choose that one, "
                             "whatever the prompt",
                             name, e.label, data.examples);
    }
    if (!t->existed && t->settings.batch > data.examples)
        cli_progress_message(&t->progress,
                             "warning: a batch of %" PRIu64 " lines is larger than %s, which has %" PRIu64
                             ": every step sees lines more than once; use a smaller --batch",
                             t->settings.batch, name, data.examples);
    if (!t->eval_data)
        return;
    zo2t_dataset_get_info(t->eval_data, &eval);
    if (eval.file_hash == data.file_hash && eval.file_bytes == data.file_bytes)
        cli_progress_message(&t->progress,
                             "warning: --eval has the lines of --data: evaluations tell what was learned by heart, not "
                             "what works elsewhere");
}

/* ---- settings ---- */

static void warn_settings(train *t)
{
    const zo2_engine_opts *o = &t->opts;
    uint64_t steps = t->settings.steps;
    if (o->warmup != UINT64_MAX && o->warmup > steps)
        cli_progress_message(&t->progress,
                             "warning: --warmup %" PRIu64 " is longer than the run of %" PRIu64
                             " steps: the learning rate doesn't get beyond %.2g %% of --lr",
                             o->warmup, steps, 100 * (double)steps / (double)o->warmup);
    if (o->lr == 0) /* NAN: the default */
        cli_progress_message(&t->progress, "warning: --lr is 0: no step changes the weights");
    if (o->lr * o->weight_decay >= 1)
        cli_progress_message(
            &t->progress, "warning: --lr times --weight-decay is %.3g: every step takes all of a weight away, or more",
            o->lr * o->weight_decay);
    if (t->flags->engine.micro_batch.given && o->micro_batch > t->settings.batch)
        cli_progress_message(&t->progress, "warning: --micro-batch %u is larger than the batch of %" PRIu64 " lines",
                             o->micro_batch, t->settings.batch);
}

void tune_warn_train(train *t)
{
    const train_flags *f = t->flags;
    if (f->resume.given && !t->existed)
        cli_progress_message(&t->progress, "warning: --resume: there is no run in %s, so this begins one", f->run.text);
    if (!t->existed)
        warn_settings(t);
    warn_training_data(t);
    if (f->eval_every.given && f->eval_every.u > t->settings.steps)
        cli_progress_message(&t->progress,
                             "warning: --eval-every %" PRIu64 " is more than the %" PRIu64
                             " steps of the run: there is no evaluation but the first and the last",
                             f->eval_every.u, t->settings.steps);
}

/* ---- eps ---- */

/* Is w + eps the same as w for a type with that many bits behind the leading one? */
static bool is_lost(double w, double eps, int bits)
{
    int exponent;
    frexp(w, &exponent); /* |w| is in [2^(exponent - 1), 2^exponent) */
    return w != 0 && eps < ldexp(1, exponent - 2 - bits);
}

/* The part of a sample of the matrices' weights that eps doesn't move. NAN: nothing to sample. */
static double lost_part(const train *t, double eps)
{
    enum { SAMPLE = 512 };
    int bits = t->opts.compute == ZO2_F16 ? 10 : t->opts.compute == ZO2_BF16 ? 7 : 23;
    uint64_t lost = 0, all = 0;
    zo2_tensor_info tensor;
    for (uint64_t i = 0; zo2_pack_tensor(t->model.pack, i, &tensor) == ZO2_OK; i++) {
        float w[SAMPLE];
        uint64_t values = tensor.rows * tensor.cols, n = values < SAMPLE ? values : SAMPLE;
        if (tensor.rank != 2 || zo2_tensor_read(t->engine, tensor.name, (values - n) / 2, n, w) != ZO2_OK)
            continue;
        for (uint64_t k = 0; k < n; k++)
            lost += is_lost((double)w[k], eps, bits);
        all += n;
    }
    return all ? (double)lost / (double)all : NAN;
}

void tune_warn_eps(train *t)
{
    const double eps = t->opts.eps, precision = 0x1p-23;
    if (t->existed)
        return;
    double lost = lost_part(t, eps);
    if (lost > 0.5)
        cli_progress_message(&t->progress,
                             "warning: --eps %g is too small for these weights: in %s %.0f %% of them don't move by it",
                             eps, zo2_dtype_name(t->opts.compute), 100 * lost);
    else if (eps < precision)
        cli_progress_message(
            &t->progress,
            "warning: --eps %g is too small: losses are computed in fp32, and what such a perturbation does "
            "to them is lost in rounding; use 1e-6 or more",
            eps);
}

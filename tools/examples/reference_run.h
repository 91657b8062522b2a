/* reference_run.h: a run of steps in plain C beside the engine's: which tensors it has and which of them move, and whether losses and
 * weights agree. A program fills a `model` (reference.h) and calls reference(). */
#ifndef ZO2_EXAMPLES_REFERENCE_RUN_H
#define ZO2_EXAMPLES_REFERENCE_RUN_H

#include "reference.h"
#include "reference_choice.h"

typedef struct command_line {
    const char *pack, *run, *tune;
    uint32_t rotate;
    zo2_tune_order order;
    uint64_t steps;
} command_line;

/* ---- what a run moves ---- */

/* One more tensor behind the model's, named as in the run. It decays, as matrices do. */
static tensor *add_tensor(model *m, const char *name, uint32_t id, uint32_t block, size_t rows, size_t cols)
{
    tensor *t = &m->tensor[m->all++];
    char *own = malloc(strlen(name) + 1);
    if (!own)
        must(m, zo2_error(ZO2_ERR_NOMEM, "no memory for the tensors of a run"));
    t->info = (zo2_tensor_info){
        .name = strcpy(own, name), .id = id, .block = block, .rank = 2, .rows = rows, .cols = cols, .decays = 1};
    t->moves = 1;
    return t;
}

/* Behind the matrix in the run's order, A first. */
static void add_adapters(model *m, tensor *W, const char *lora, uint32_t *id)
{
    char name[128];
    const int stem = (int)(strlen(W->info.name) - strlen(".weight"));
    const size_t r = lora_rank(lora);
    snprintf(name, sizeof name, "%.*s.lora_A.weight", stem, W->info.name);
    W->A = add_tensor(m, name, (*id)++, W->info.block, r, W->info.cols);
    snprintf(name, sizeof name, "%.*s.lora_B.weight", stem, W->info.name);
    W->B = add_tensor(m, name, (*id)++, W->info.block, W->info.rows, r);
    m->adapted++;
}

/* Rows of the head that the run moves. The embedding keeps its own, also where it is the same tensor. */
static void add_rows(model *m, const char *list, uint32_t *id)
{
    size_t n = 0;
    if (!(m->row = malloc(m->V * sizeof *m->row)))
        must(m, zo2_error(ZO2_ERR_NOMEM, "no memory for the rows of the head"));
    for (size_t v = 0; v < m->V; v++)
        m->row[v] = lists(list, v) ? n++ : SIZE_MAX;
    m->rows = add_tensor(m, "lm_head.rows", (*id)++, (uint32_t)m->layers + 1, n, m->D);
}

/* The run's list of tensors, and which of them move. Those that the run adds have places, and so ids, between the model's. */
static void choose(model *m, const char *choice)
{
    const char *rows = term_of(choice, "rows="), *lora = term_of(choice, "lora:");
    uint32_t id = 0;
    m->scale = lora ? lora_scale(lora) : 0;
    for (tensor *t = m->tensor; t < m->tensor + m->tensors; t++) {
        if (rows && strcmp(t->info.name, "lm_head.weight") == 0) {
            add_rows(m, rows, &id);
            rows = NULL;
        }
        t->info.id = id++;
        for (const char *term = choice; term; term = next_term(term))
            t->moves |= chooses(term, &t->info);
        if (lora && adapts(lora, &t->info))
            add_adapters(m, t, lora, &id);
    }
    if (rows)
        add_rows(m, rows, &id);
}

/* Tensors of a block, which are the embeddings, a layer, or what is behind the layers, take turns together. */
static void form_groups(model *m)
{
    m->groups = 0;
    for (uint32_t block = 0; block < m->layers + 2; block++) {
        int some = 0;
        for (tensor *t = m->tensor; t < m->tensor + m->all; t++) {
            if (t->info.block == block && t->moves) {
                t->group = m->groups;
                some = 1;
            }
        }
        m->groups += (size_t)some;
    }
}

/* Of the model's tensors what the engine has; what the run adds we make ourselves. A begins as noise of its own, of a deviation of
 * 1 / sqrt(3 cols), B at zero, so that a run begins at the model's own result. */
static void begin_masters(model *m, zo2_engine *engine)
{
    for (tensor *t = m->tensor; t < m->tensor + m->all; t++)
        if (!(t->master = calloc(2 * elements(t), sizeof *t->master)))
            must(m, zo2_error(ZO2_ERR_NOMEM, "no memory for the weights"));
        else
            t->w = t->master + elements(t);
    for (tensor *t = m->tensor; t < m->tensor + m->tensors; t++)
        must(m, zo2_tensor_read(engine, t->info.name, 0, elements(t), t->master));
    for (const tensor *t = m->tensor; t < m->tensor + m->tensors; t++)
        if (t->A) {
            must(m, zo2_noise_fill(t->A->master, seed, UINT64_MAX, 0, t->A->info.id, 0, elements(t->A), ZO2_GAUSSIAN));
            for (size_t i = 0; i < elements(t->A); i++)
                t->A->master[i] *= 1.0f / sqrtf(3.0f * (float)t->info.cols);
        }
    for (size_t v = 0; v < m->V && m->rows; v++)
        if (m->row[v] != SIZE_MAX)
            memcpy(m->rows->master + m->row[v] * m->D, m->head->master + v * m->D, m->D * sizeof(float));
}

/* ---- comparing with the engine ---- */

/* How far apart the losses may be: the engine's sums are fp32, and beside their errors ours are small. One rounding is
 * wrong by at most 2^-24 of what it rounds, in the root of the mean square (rms) by 2^-24 / sqrt(3). A sum of n products
 * of either sign has grown as sqrt(k) after k of them, so the n roundings of it have an rms of sqrt(n / 6) 2^-24 of its
 * final size. n is at most the larger of D and F. m->sums such sums follow one another up to a logit; adapters add two each, and
 * between them are m->roundings of single values. What comes later passes errors on in proportion, because norms bring all sizes
 * back to one; and being independent they add as squares. So a logit has an error of sqrt(sums n / 6 + roundings / 3) 2^-24 of its
 * size, and a token's loss, which is the difference of two such values, of sqrt(2) times that. Chance doesn't reach four times the rms. */
static double loss_bound(const model *m)
{
    double sums = m->sums + 2 * (double)m->adapted, n = (double)(m->D > m->F ? m->D : m->F);
    return 4 * sqrt(2 * (sums * n / 6 + m->roundings / 3)) * ldexp(1, -24) * m->logit_size;
}

static int check(const char *what, double here, double engine, double bound)
{
    int good = fabs(here - engine) <= bound;
    printf("%-28s %13.9g here, %13.9g in the engine: %.1e apart, %.1e allowed%s\n", what, here, engine,
           fabs(here - engine), bound, good ? "" : ": TOO MUCH");
    return good;
}

/* Every weight, frozen ones and those that the run added, too, bit for bit. */
static int check_weights(const model *m, zo2_engine *engine, const char *when)
{
    char what[64];
    size_t same = 0, all = 0;
    for (const tensor *t = m->tensor; t < m->tensor + m->all; t++) {
        must(m, zo2_tensor_read(engine, t->info.name, 0, elements(t), t->w));
        for (size_t i = 0; i < elements(t); i++)
            same += memcmp(&t->w[i], &t->master[i], sizeof(float)) == 0;
        all += elements(t);
    }
    snprintf(what, sizeof what, "weights %s the step", when);
    printf("%-28s %zu of %zu have the engine's bits%s\n", what, same, all, same == all ? "" : ": TOO FEW");
    return same == all;
}

static void print_what_moves(const model *m, turn now)
{
    size_t weights = 0, n = 0;
    for (const tensor *t = m->tensor; t < m->tensor + m->all; t++) {
        n += (size_t)moves(t, now);
        weights += moves(t, now) ? elements(t) : 0;
    }
    printf("step %llu moves %zu weights of %zu tensors\n", (unsigned long long)now.step, weights, n);
}

/* Our losses, the engine's step, and our update with the coefficients that the engine's journal has. */
static int compare(model *m, zo2_engine *engine, const char *run_dir, turn now)
{
    zo2_run *run;
    zo2_run_record record;
    print_what_moves(m, now);
    double loss_plus = loss_at(m, now, (float)eps), loss_minus = loss_at(m, now, (float)-eps), bound = loss_bound(m);
    float c = coefficient(loss_plus, loss_minus), d = (float)(lr * weight_decay);
    must(m, zo2_step(engine, &m->batch, NULL));
    must(m, zo2_run_open(&run, run_dir)); /* the journal, which a step reaches before it changes a weight */
    must(m, zo2_run_record_get(run, now.step, &record));
    zo2_run_close(run);
    const float c_engine = record.query[0].c, c_again = coefficient(record.loss_plus, record.loss_minus);
    int good = check("L+", loss_plus, record.loss_plus, bound);
    good &= check("L-", loss_minus, record.loss_minus, bound);
    /* Two losses, each within the bound, over 2 eps; and four values, both g and both c, are rounded to floats. */
    good &= check("c", c, c_engine, lr * bound / eps + ldexp(4, -24) * fabs(c));
    good &= check("c from the engine's losses", c_again, c_engine, 0);
    good &= check("d", d, record.d, 0);
    update(m, now, c_engine, record.d);
    return good & check_weights(m, engine, "after");
}

/* ---- setting up ---- */

static const char usage[] = "[--tune CHOICE] [--tune-rotate STEPS] [--tune-order top|bottom|random] [--steps N] "
                            "MODEL.zo2 NEW_RUN_DIR";

/* 0: that is no command line of ours. */
static int read_command_line(command_line *c, int argc, char **argv)
{
    *c = (command_line){.tune = "all", .order = ZO2_ORDER_TOP, .steps = 1};
    int at = 1;
    for (; at + 1 < argc && begins(argv[at], "--"); at += 2) {
        const char *value = argv[at + 1];
        if (strcmp(argv[at], "--tune") == 0)
            c->tune = value;
        else if (strcmp(argv[at], "--tune-rotate") == 0)
            c->rotate = (uint32_t)strtoul(value, NULL, 10);
        else if (strcmp(argv[at], "--tune-order") == 0)
            c->order = zo2_tune_order_parse(value);
        else if (strcmp(argv[at], "--steps") == 0)
            c->steps = strtoul(value, NULL, 10);
        else
            return 0;
    }
    if (argc - at != 2 || !c->order || !c->steps)
        return 0;
    c->pack = argv[at];
    c->run = argv[at + 1];
    return 1;
}

/* The model's tensors, without weights yet, and room behind them for what a run adds. The batch is set. */
static void model_begin(model *m, const zo2_pack *pack)
{
    zo2_pack_info info;
    must(m, zo2_pack_get_info(pack, &info));
    refuse_unless(m, !info.aliased, "models whose layers have weights of their own");
    m->D = info.hidden;
    m->H = info.heads;
    m->F = info.ffn;
    m->V = info.vocab;
    m->layers = info.layers;
    m->all = m->tensors = info.tensors;
    m->tensor = calloc(3 * m->tensors + 1, sizeof *m->tensor);
    if (!m->tensor)
        must(m, zo2_error(ZO2_ERR_NOMEM, "no memory for the tensors"));
    for (size_t i = 0; i < m->tensors; i++)
        must(m, zo2_pack_tensor(pack, i, &m->tensor[i].info));
}

static void model_end(model *m)
{
    for (size_t i = 0; i < m->all; i++) {
        free(m->tensor[i].master);
        if (i >= m->tensors)
            free((char *)m->tensor[i].info.name);
    }
    free(m->tensor);
    free(m->row);
}

/* All steps of a new run, ours beside the engine's. 1: they agree. */
static int reference(model *m, const command_line *how)
{
    zo2_engine *engine;
    zo2_engine_opts opts;
    choose(m, how->tune);
    if (how->rotate)
        form_groups(m);

    zo2_engine_opts_init(&opts);
    opts.seed = seed;
    opts.lr = lr;
    opts.eps = eps;
    opts.weight_decay = weight_decay;
    opts.wire = ZO2_WIRE_FP32; /* the device sees the weights as they are, and computes with them in fp32 */
    opts.compute = ZO2_F32;
    opts.backend = ZO2_BACKEND_CPU;
    opts.max_rows = m->batch.rows;
    opts.max_seq = m->batch.seq;
    opts.tune = how->tune;
    opts.tune_rotate = how->rotate;
    opts.tune_order = how->order;
    must(m, zo2_engine_open(&engine, how->pack, how->run, &opts));
    begin_masters(m, engine);

    int good = check_weights(m, engine, "before");
    for (turn now = {0}; now.step < how->steps; now.step++) {
        if (how->rotate)
            now.group = whose_turn(m->groups, now.step, how->rotate, how->order, seed);
        good &= compare(m, engine, how->run, now);
    }
    zo2_engine_close(engine);
    return good;
}

#endif

/* tune.c: see tune.h. */
#include "engine/model/tune.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- tensors that a run adds ---- */

static int in_ranges(const zo2_term *t, uint32_t n)
{
    for (uint32_t i = 0; i < t->n_ranges; i++)
        if (n >= t->range[i].from && n <= t->range[i].to)
            return 1;
    return 0;
}

static const zo2_term *find_term(const zo2_choice *c, zo2_term_kind kind)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (c->term[i].kind == kind)
            return &c->term[i];
    return NULL;
}

/* Which target a tensor is, ZO2_LORA_TARGETS if it has no adapters. */
static uint32_t target_of(const zo2_term *lora, const zo2_tensor *t)
{
    if (!lora || (lora->n_ranges && !in_ranges(lora, t->layer)))
        return ZO2_LORA_TARGETS;
    for (uint32_t i = 0; i < ZO2_LORA_TARGETS; i++)
        if (t->role == zo2_lora_target[i])
            return lora->targets >> i & 1 ? i : ZO2_LORA_TARGETS;
    return ZO2_LORA_TARGETS;
}

/* Behind the name of a matrix, whose ".weight" the adapters' name follows: as PEFT names them. */
static void name_adapter(char out[80], const zo2_tensor *of, char which)
{
    int stem = (int)strlen(of->name);
    const char *end = strrchr(of->name, '.');
    if (end && strcmp(end, ".weight") == 0)
        stem = (int)(end - of->name);
    snprintf(out, 80, "%.*s.lora_%c.weight", stem < 60 ? stem : 60, of->name, which);
}

static void add(zo2_arch *a, zo2_tensor t)
{
    t.id = a->n_tensors;
    a->tensors[a->n_tensors++] = t;
}

static void add_adapters(zo2_arch *a, const zo2_term *lora, const zo2_tensor *of)
{
    uint32_t target = target_of(lora, of);
    if (target == ZO2_LORA_TARGETS)
        return;
    zo2_tensor t = {
        .layer = of->layer, .block = of->block, .rank = 2, .decays = 1, .exempt = 1, .stored = ZO2_NO_TENSOR};
    t.role = (zo2_role)(ZO2_ROLE_LORA_A + target);
    t.rows = lora->rank;
    t.cols = of->cols;
    name_adapter(t.name, of, 'A');
    add(a, t);
    t.role = (zo2_role)(ZO2_ROLE_LORA_B + target);
    t.rows = of->rows;
    t.cols = lora->rank;
    name_adapter(t.name, of, 'B');
    add(a, t);
}

/* Before the head itself: what moves is multiplied with first (forward/head.c). */
static void add_rows(zo2_arch *a, const zo2_arch *model)
{
    const zo2_tensor t = {.name = "lm_head.rows",
                          .role = ZO2_ROLE_HEAD_ROWS,
                          .block = a->n_blocks - 1,
                          .rank = 2,
                          .rows = a->n_rows,
                          .cols = model->embed_dim,
                          .decays = 1,
                          .stored = ZO2_NO_TENSOR};
    add(a, t);
}

static zo2_status list_rows(zo2_arch *a, const zo2_term *t)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < t->n_ranges; i++)
        n += t->range[i].to - t->range[i].from + 1u;
    if (t->range[t->n_ranges - 1].to >= a->vocab)
        return zo2_error(ZO2_ERR_ARG, "tune: rows=%u: the vocabulary has rows 0 to %u", t->range[t->n_ranges - 1].to,
                         a->vocab - 1);
    a->row = malloc(n * sizeof *a->row);
    if (!a->row)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the choice of tensors");
    for (uint32_t i = 0; i < t->n_ranges; i++)
        for (uint32_t row = t->range[i].from; row <= t->range[i].to; row++)
            a->row[a->n_rows++] = row;
    return ZO2_OK;
}

static void list_tensors(zo2_arch *a, const zo2_arch *model, const zo2_term *lora)
{
    int rows = a->n_rows != 0;
    for (uint32_t i = 0; i < model->n_tensors; i++) {
        zo2_tensor t = model->tensors[i];
        if (rows && t.role == ZO2_ROLE_LM_HEAD) {
            add_rows(a, model);
            rows = 0;
        }
        t.stored = i;
        add(a, t);
        add_adapters(a, lora, &model->tensors[i]);
    }
    if (rows)
        add_rows(a, model);
}

/* The model with the run's tensors added, none frozen. */
static zo2_status extend(zo2_arch *a, const zo2_arch *model, const zo2_choice *c)
{
    const zo2_term *rows = find_term(c, ZO2_TERM_ROWS), *lora = find_term(c, ZO2_TERM_LORA);
    *a = *model;
    a->n_tensors = 0;
    a->block_at = a->by_name = a->row = NULL;
    a->tensors = calloc(3ull * model->n_tensors + 1, sizeof *a->tensors);
    if (!a->tensors)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the tensors of a run");
    zo2_status s = rows ? list_rows(a, rows) : ZO2_OK;
    if (s)
        return s;
    list_tensors(a, model, lora);
    if (lora) {
        a->lora_rank = lora->rank;
        a->lora_scale = (float)(lora->alpha / lora->rank);
        a->lora_alpha = lora->alpha;
    }
    uint32_t *stored = malloc(a->n_tensors * sizeof *stored);
    for (uint32_t i = 0; i < a->n_tensors && stored; i++)
        stored[i] = a->tensors[i].stored;
    s = stored ? zo2_arch_index(a) : zo2_error(ZO2_ERR_NOMEM, "no memory for the tensors of a run");
    for (uint32_t i = 0; i < a->n_tensors && !s; i++)
        a->tensors[i].stored = stored[i];
    free(stored);
    return s;
}

/* ---- what moves ---- */

static int in_layer(const zo2_arch *a, const zo2_tensor *t)
{
    return t->block > 0 && t->block <= a->layers;
}

static int chooses(const zo2_arch *a, const zo2_term *c, const zo2_tensor *t)
{
    int own = t->stored == ZO2_NO_TENSOR;
    switch (c->kind) {
    case ZO2_TERM_ALL: return !own;
    case ZO2_TERM_VECTORS: return t->rank == 1;
    case ZO2_TERM_LAYERS: return !own && in_layer(a, t) && in_ranges(c, t->layer);
    case ZO2_TERM_MATRICES: return !own && in_layer(a, t) && t->rank == 2 && in_ranges(c, t->layer);
    case ZO2_TERM_ROWS: return t->role == ZO2_ROLE_HEAD_ROWS;
    case ZO2_TERM_MATCH: return !own && !fnmatch(c->text, t->name, 0);
    case ZO2_TERM_LORA: return zo2_is_lora(t);
    }
    return 0;
}

static zo2_status nothing_of(const zo2_arch *a, const zo2_term *c)
{
    switch (c->kind) {
    case ZO2_TERM_MATCH:
        return zo2_error(ZO2_ERR_ARG,
                         "tune: match=%s: no tensor of the model has such a name (zo2-pack info --tensors lists them)",
                         c->text);
    case ZO2_TERM_LORA: return zo2_error(ZO2_ERR_ARG, "tune: lora: the model has none of these matrices");
    default: return zo2_error(ZO2_ERR_ARG, "tune: the model of %u layers has no such tensors", a->layers);
    }
}

static zo2_status check_layers(const zo2_arch *a, const zo2_term *c)
{
    if (c->kind == ZO2_TERM_ROWS || !c->n_ranges || c->range[c->n_ranges - 1].to < a->layers)
        return ZO2_OK;
    return zo2_error(ZO2_ERR_ARG, "tune: layer %u: the model has layers 0 to %u", c->range[c->n_ranges - 1].to,
                     a->layers - 1);
}

/* A row that moves and a head that moves would be two truths about one value. */
static zo2_status check_rows(const zo2_arch *a)
{
    for (uint32_t i = 0; i < a->n_tensors && a->n_rows; i++)
        if (zo2_is_head(a, &a->tensors[i]) && !a->tensors[i].frozen)
            return zo2_error(ZO2_ERR_ARG, "tune: rows= are rows of %s, which moves as a whole: leave one of them out",
                             a->tensors[i].name);
    return ZO2_OK;
}

static zo2_status freeze(zo2_arch *a, const zo2_choice *c)
{
    for (uint32_t i = 0; i < a->n_tensors; i++)
        a->tensors[i].frozen = 1;
    for (uint32_t k = 0; k < c->n; k++) {
        uint32_t found = 0;
        zo2_status s = check_layers(a, &c->term[k]);
        if (s)
            return s;
        for (uint32_t i = 0; i < a->n_tensors; i++)
            if (chooses(a, &c->term[k], &a->tensors[i])) {
                a->tensors[i].frozen = 0;
                found++;
            }
        if (!found)
            return nothing_of(a, &c->term[k]);
    }
    return check_rows(a);
}

static void count(zo2_arch *a, int by_block)
{
    uint32_t last = UINT32_MAX;
    a->moving = a->groups = a->frozen = 0;
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        zo2_tensor *t = &a->tensors[i];
        if (t->frozen) {
            a->frozen++;
            continue;
        }
        a->moving += t->rows * t->cols;
        if (by_block && t->block != last)
            a->groups++;
        last = t->block;
        t->group = by_block ? a->groups - 1 : 0;
    }
    a->groups = by_block ? a->groups : 1;
    a->fork = zo2_arch_fork(a, 0); /* groups are numbered upwards */
}

zo2_status zo2_arch_tune(zo2_arch *out, const zo2_arch *model, const char *text, int by_block)
{
    zo2_choice c;
    memset(out, 0, sizeof *out);
    zo2_status s = zo2_choice_parse(&c, text);
    if (s)
        return s;
    s = extend(out, model, &c);
    if (!s)
        s = freeze(out, &c);
    zo2_choice_free(&c);
    if (s) {
        zo2_arch_free(out);
        return s;
    }
    count(out, by_block);
    return ZO2_OK;
}

zo2_status zo2_arch_aliases(const zo2_arch *a, const uint32_t *stored_as, uint32_t **out)
{
    *out = NULL;
    if (!stored_as)
        return ZO2_OK;
    *out = malloc(a->n_tensors * sizeof **out);
    if (!*out)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the table of aliased tensors");
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const zo2_tensor *t = &a->tensors[i];
        (*out)[i] = i;
        for (uint32_t j = 0; j < i && t->stored != ZO2_NO_TENSOR; j++) {
            const zo2_tensor *other = &a->tensors[j];
            if (other->stored == ZO2_NO_TENSOR || stored_as[other->stored] != stored_as[t->stored] ||
                other->frozen != t->frozen || other->group != t->group)
                continue;
            (*out)[i] = j;
            break;
        }
    }
    return ZO2_OK;
}

/* products.c: see products.h. */
#include "tools/bench/products.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli/report.h"

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* A tied model's token table is its head; an untied one's is only looked up, as positions always are. */
static bool multiplies(const bench_products *p, const zo2_tensor_info *t)
{
    zo2_tensor_info last;
    if (t->rank != 2 || ends_with(t->name, "embed_positions.weight"))
        return false;
    if (!ends_with(t->name, "embed_tokens.weight"))
        return true;
    return !zo2_pack_tensor(p->pack, p->info.tensors - 1, &last) && strcmp(last.name, "lm_head.weight") != 0;
}

static bool count_in(bench *b, bench_products *p, const zo2_tensor_info *t)
{
    unsigned i = 0;
    while (i < p->n && (p->list[i].rows != t->rows || p->list[i].cols != t->cols))
        i++;
    if (i == BENCH_MAX_PRODUCTS) {
        cli_error(b->program, "the model has matrices of more than %d shapes", BENCH_MAX_PRODUCTS);
        return false;
    }
    if (i == p->n)
        p->list[p->n++] = (bench_product){.rows = t->rows, .cols = t->cols, .of = t->name};
    p->list[i].count++;
    p->flops += 4.0 * (double)p->used * (double)t->rows * (double)t->cols;
    return true;
}

bool bench_products_pack(const bench *b, const bench_products *p, char *path, size_t size)
{
    const char *model = bench_model(b);
    if (p->info.file_bytes) {
        snprintf(path, size, "%s", model);
        return true;
    }
    zo2_synth_opts o;
    zo2_synth_opts_init(&o);
    snprintf(path, size, "%s/model.zo2", b->work);
    zo2_status s = zo2_pack_synth(model, path, &o);
    if (s)
        cli_fail(b->program, "cannot make a synthetic model", s);
    return !s;
}

bool bench_products_open(bench *b, bench_products *p)
{
    const char *model = bench_model(b);
    memset(p, 0, sizeof *p);
    zo2_status s = zo2_pack_open_arch(&p->pack, model);
    if (!s)
        s = zo2_pack_get_info(p->pack, &p->info);
    if (s) {
        cli_fail(b->program, NULL, s);
        bench_products_close(p);
        return false;
    }
    p->tokens = b->options.tokens.given ? b->options.tokens.u : 512;
    if (p->tokens > p->info.context)
        p->tokens = p->info.context;
    p->used = p->tokens - 1;
    p->backend = ZO2_BACKEND_CPU;
    bool ok = true;
    for (uint64_t i = 0; i < p->info.tensors && ok; i++) {
        zo2_tensor_info t;
        if (!zo2_pack_tensor(p->pack, i, &t) && multiplies(p, &t))
            ok = count_in(b, p, &t);
    }
    if (!ok)
        bench_products_close(p);
    return ok;
}

void bench_products_close(bench_products *p)
{
    zo2_pack_close(p->pack);
    p->pack = NULL;
}

zo2_measure_spec bench_product_spec(const bench *b, const bench_products *p, const bench_product *x,
                                    zo2_measure_kind kind)
{
    zo2_measure_spec spec;
    zo2_measure_spec_init(&spec);
    spec.kind = kind;
    spec.backend = p->backend;
    spec.compute = bench_compute(p->backend);
    spec.threads = b->threads;
    spec.rows = x->rows;
    spec.cols = x->cols;
    spec.tokens = p->used;
    return spec;
}

/* ---- all of them as one side ---- */

typedef struct sum {
    bench_row parts; /* its sides are the shapes */
    uint64_t count[BENCH_MAX_PRODUCTS];
} sum;

static bool sum_run(void *ud, uint64_t passes, double *seconds)
{
    const sum *s = ud;
    *seconds = 0;
    for (unsigned i = 0; i < s->parts.n; i++) {
        double one;
        if (!s->parts.sides[i].run(s->parts.sides[i].ud, passes, &one))
            return false;
        *seconds += one * (double)s->count[i];
    }
    return true;
}

static void sum_close(void *ud)
{
    sum *s = ud;
    for (unsigned i = 0; i < s->parts.n; i++)
        s->parts.sides[i].close(s->parts.sides[i].ud);
    free(s);
}

bool bench_add_products(bench *b, bench_row *row, const bench_products *p, bench_products_by by, const char *key,
                        const char *name, double items)
{
    sum *s = calloc(1, sizeof *s);
    if (!s || p->n > BENCH_MAX_SIDES) {
        cli_error(b->program, s ? "the model has matrices of too many shapes" : "out of memory");
        free(s);
        return false;
    }
    bool ok = true;
    for (unsigned i = 0; i < p->n && ok; i++) {
        const bench_product *x = &p->list[i];
        zo2_measure_spec spec =
            bench_product_spec(b, p, x, by == BENCH_BY_TILES ? ZO2_MEASURE_GEMM : ZO2_MEASURE_GEMM_WHOLE);
        s->count[i] = x->count;
        ok = by == BENCH_BY_OPENBLAS ? bench_add_blas(b, &s->parts, x->rows, x->cols, p->used)
                                     : bench_add_measure(b, &s->parts, key, name, false, &spec, 0, NULL);
    }
    if (!ok) {
        sum_close(s);
        return false;
    }
    bench_side *side = bench_add_side(row, key, name);
    side->items = items;
    side->run = sum_run;
    side->close = sum_close;
    side->ud = s;
    return true;
}

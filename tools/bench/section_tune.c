/* section_tune.c: a training step that moves a part of a model, beside one that moves all of it: without the trunk kept, and with it.
 * Each side is a process of its own with an engine of its own; their steps are taken in turn. */
#include <stdio.h>
#include <string.h>

#include "tools/bench/bench.h"
#include "tools/bench/peer.h"
#include "tools/bench/products.h"
#include "tools/bench/step_process.h"
#include "tools/cli/report.h"

enum { ROW_TOKENS = 32, SIDES = 3 };

/* Side 0 moves all; then the choice, then the same with its trunk kept, which a choice without a trunk hasn't got. */
typedef struct tuned {
    bench_products p;
    char pack[512], part[64];
    bench_step_process how[SIDES];
    bench_peer *peer[SIDES];
} tuned;

static const char *const keys[SIDES] = {"zo2", "part", "kept"};

/* --tune, or the matrices of the last two layers. */
static const char *choice_of(const bench *b, tuned *t)
{
    const unsigned layers = (unsigned)t->p.info.layers;
    snprintf(t->part, sizeof t->part, "matrices=%u-%u", layers > 1 ? layers - 2 : 0, layers - 1);
    return b->options.tune.given ? b->options.tune.text : t->part;
}

/* Rows of ROW_TOKENS tokens, an even number of them; of fewer tokens than two such rows have, two shorter ones. */
static void shape(bench_step_process *how, uint64_t tokens)
{
    how->rows = tokens < 2 * ROW_TOKENS ? 2 : (uint32_t)(tokens / (2 * ROW_TOKENS) * 2);
    how->seq = tokens < 2 * ROW_TOKENS ? (uint32_t)(tokens / 2) : ROW_TOKENS;
    how->seq = how->seq < 2 ? 2 : how->seq;
}

static void describe(const bench *b, tuned *t)
{
    bench_step_process how = {.pack = t->pack,
                              .vocab = t->p.info.vocab,
                              .threads = b->threads,
                              .queries = b->options.queries.given ? (uint32_t)b->options.queries.u : 4,
                              .labelled = !b->options.loss.given || strcmp(b->options.loss.text, "options") == 0,
                              .wire = b->options.wire.given ? zo2_wire_parse(b->options.wire.text) : 0,
                              .dist = b->options.dist.given ? zo2_dist_parse(b->options.dist.text) : 0};
    shape(&how, t->p.tokens);
    for (int i = 0; i < SIDES; i++) {
        t->how[i] = how;
        t->how[i].tune = i ? choice_of(b, t) : NULL;
        snprintf(t->how[i].run, sizeof t->how[i].run, "%s/%s", b->work, keys[i]);
    }
    /* twice what the rows take: entries have headers */
    t->how[2].trunk_cache = 2 * (uint64_t)how.rows * how.seq * t->p.info.hidden * 4 + (1u << 20);
}

static bool start(tuned *t)
{
    for (int i = 0; i < SIDES; i++) {
        double kept = 1;
        t->peer[i] = bench_peer_fork("zo2", bench_step_serve, &t->how[i]);
        if (!t->peer[i] || (i == 2 && !bench_peer_ask(t->peer[i], &kept, NULL, "kept 1")))
            return false;
        if (kept <= 0) {
            bench_peer_stop(t->peer[i]);
            t->peer[i] = NULL;
        }
    }
    return true;
}

/* The choice as far as there is room for it: lists of rows are long. */
static void name_sides(bench_row *row, const tuned *t)
{
    const char *choice = t->how[1].tune;
    const int cut = strlen(choice) > 24;
    for (unsigned i = 1; i < row->n; i++)
        snprintf(row->sides[i].name, sizeof row->sides[i].name, "%.24s%s%s", choice, cut ? ".." : "",
                 i == 1 ? "" : ", kept");
}

static bool seconds(bench *b, tuned *t)
{
    const bench_step_process *how = &t->how[0];
    bench_row row = bench_row_start("tune", "s/step", 1, true, "all, %u tokens, %u quer%s", how->rows * how->seq,
                                    how->queries, how->queries == 1 ? "y" : "ies");
    bool ok = true;
    for (int i = 0; i < SIDES && t->peer[i] && ok; i++)
        ok = bench_add_peer(&row, t->peer[i], keys[i], 1, "step");
    name_sides(&row, t);
    return bench_compare(b, &row) && ok;
}

/* What the trace of the steps just taken said. */
static bool told(bench *b, tuned *t, const char *what, const char *name, const char *unit, double scale)
{
    bench_row row = bench_row_start("tune", unit, scale, true, "%s", name);
    bool ok = true;
    for (int i = 0; i < SIDES && t->peer[i] && ok; i++) {
        double value;
        ok = bench_peer_ask(t->peer[i], &value, NULL, "%s 1", what);
        value *= scale;
        bench_add_side(&row, keys[i], "")->stat = (bench_stat){value, value, value};
    }
    name_sides(&row, t);
    return ok && bench_keep(b, &row);
}

bool bench_tune(bench *b)
{
    static tuned t;
    char title[160];
    if (!bench_products_open(b, &t.p))
        return false;
    bool ok = bench_work_folder(b) && bench_products_pack(b, &t.p, t.pack, sizeof t.pack);
    if (ok) {
        describe(b, &t);
        ok = start(&t);
    }
    if (ok) {
        const bench_step_process *how = &t.how[0];
        snprintf(title, sizeof title, "a part of %s moves: %u rows of %u tokens, %s; ratio: its time to that of all",
                 bench_model(b), how->rows, how->seq,
                 how->labelled ? "two are one example, the loss is of the last two"
                               : "the loss is of all but the first");
        bench_print_section(b, "tune", title);
        ok = seconds(b, &t) && told(b, &t, "uploaded", "to the device", "MB/step", 1e-6) &&
             told(b, &t, "wires", "layers that are uploaded", "layers", 1) &&
             told(b, &t, "products", "layers that are multiplied", "layers", 1);
    }
    for (int i = SIDES - 1; i >= 0; i--) /* a fork holds the pipes of those before it open */
        bench_peer_stop(t.peer[i]);
    bench_products_close(&t.p);
    return ok;
}

/* section_step.c: a whole training step of a random model, against its own products, OpenBLAS alone, and MeZO in
 * PyTorch. zo2's step runs in a process of its own, as PyTorch's does: peak memory is then the step's alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/bench.h"
#include "tools/bench/peer.h"
#include "tools/bench/products.h"
#include "tools/bench/step_process.h"
#include "tools/cli/report.h"

/* The script knows OPT alone. */
static bench_peer *start_mezo(bench *b, const bench_products *p)
{
    if (strcmp(p->info.arch, "opt") != 0)
        return NULL;
    enum { ARGS = 8 };
    const uint64_t values[ARGS] = {p->info.layers, p->info.hidden,  p->info.heads, p->info.ffn,
                                   p->info.vocab,  p->info.context, p->tokens,     b->threads};
    char text[ARGS][24];
    const char *args[ARGS + 1] = {NULL};
    for (int i = 0; i < ARGS; i++) {
        snprintf(text[i], sizeof text[i], "%llu", (unsigned long long)values[i]);
        args[i] = text[i];
    }
    return bench_peer_python(b, "MeZO in PyTorch", "mezo_step.py", args);
}

/* One number a side, the peaks that the processes tell. */
static bool peaks(bench *b, const bench_products *p, bench_peer *ours, bench_peer *mezo)
{
    bench_row row = bench_row_start("step", "bytes/parameter", 1, true, "peak resident memory");
    bench_peer *const from[] = {ours, mezo};
    const char *const keys[] = {"zo2", "mezo_torch"};
    bool ok = true;
    for (int i = 0; i < 2 && from[i] && ok; i++) {
        double seconds, bytes;
        ok = bench_peer_ask(from[i], &seconds, &bytes, "step 1");
        bytes /= (double)p->info.parameters;
        bench_add_side(&row, keys[i], bench_peer_name(from[i]))->stat = (bench_stat){bytes, bytes, bytes};
    }
    return ok && bench_keep(b, &row);
}

/* A time within the steps that were just taken, as a limit. */
static bool add_part(bench_row *row, bench_peer *ours, const char *what, const char *key, const char *name)
{
    if (!bench_add_peer(row, ours, key, 1, "%s", what))
        return false;
    snprintf(row->sides[row->n - 1].name, sizeof row->sides->name, "%s", name);
    return true;
}

static bool compare(bench *b, const bench_products *p, bench_peer *ours, bench_peer *mezo)
{
    bench_row row = bench_row_start("step", "s/step", 1, true, "%llu tokens, %u thread%s",
                                    (unsigned long long)p->tokens, b->threads, b->threads == 1 ? "" : "s");
    bool ok = bench_add_peer(&row, ours, "zo2", 1, "step") &&
              add_part(&row, ours, "lane", "busiest_lane", "its busiest lane") &&
              add_part(&row, ours, "gemm", "gemm", "products within it") &&
              bench_add_products(b, &row, p, BENCH_BY_TILES, "products", "its products alone", 1) &&
              bench_add_products(b, &row, p, BENCH_BY_OPENBLAS, "openblas", "the same by OpenBLAS", 1);
    for (unsigned i = 1; i < row.n; i++)
        row.sides[i].limit = true; /* a step can't be faster than a part of it */
    ok = ok && bench_add_peer(&row, mezo, "mezo_torch", 1, "step");
    return bench_compare(b, &row) && ok;
}

bool bench_step(bench *b)
{
    bench_products p;
    bench_peer *ours = NULL, *mezo = NULL;
    char pack[512], title[128];
    if (!bench_products_open(b, &p))
        return false;
    bool ok = bench_work_folder(b) && bench_products_pack(b, &p, pack, sizeof pack);
    if (ok) {
        bench_step_process how = {.pack = pack,
                                  .rows = 1,
                                  .seq = (uint32_t)p.tokens,
                                  .vocab = p.info.vocab,
                                  .threads = b->threads,
                                  .wire = b->options.wire.given ? zo2_wire_parse(b->options.wire.text) : 0,
                                  .dist = b->options.dist.given ? zo2_dist_parse(b->options.dist.text) : 0};
        snprintf(how.run, sizeof how.run, "%s/run", b->work);
        ours = bench_peer_fork("zo2", bench_step_serve, &how);
        ok = ours != NULL;
    }
    if (ok) {
        mezo = start_mezo(b, &p);
        snprintf(title, sizeof title, "one training step of %s, %s wire, %s noise, fp32", bench_model(b),
                 b->options.wire.given ? b->options.wire.text : "bf16",
                 b->options.dist.given ? b->options.dist.text : "gaussian");
        bench_print_section(b, "step", title);
        ok = compare(b, &p, ours, mezo) && peaks(b, &p, ours, mezo);
    }
    bench_peer_stop(ours);
    bench_peer_stop(mezo);
    bench_products_close(&p);
    return ok;
}

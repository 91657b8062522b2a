/* wire_table.h: what the files of section wires share: a model, the user's lines of text, and what each wire makes of them. */
#ifndef ZO2_TOOLS_BENCH_WIRE_TABLE_H
#define ZO2_TOOLS_BENCH_WIRE_TABLE_H

#include "tools/bench/bench.h"
#include "tools/cli/jsonout.h"
#include "tools/cli/progress.h"
#include "tools/text/dataset.h"

/* One wire. NAN: not known, because there are no lines, or the model can't have the wire. */
typedef struct bench_wire {
    zo2_wire wire;
    double bits;        /* of the matrices: what crosses the link for a weight */
    double error;       /* of all matrices: root mean square, relative to the values' own */
    double worst;       /* of one tensor */
    char worst_of[128]; /* its name */
    double loss;        /* of the lines */
    double *g;          /* [directions] projected gradients */
    double correlation; /* with those of the first */
    char refused[512];  /* why the model can't have it, "" if it can */
} bench_wire;

typedef struct bench_wires {
    const char *model, *data; /* paths; data NULL: no lines */
    const char *tune;         /* what moves, in fp32, and the wire is of the other matrices; NULL: all, in the wire */
    zo2_pack *pack;
    zo2_pack_info info;
    zo2t_dataset *lines;
    uint64_t batch;  /* lines of a direction */
    uint64_t scored; /* lines of the loss: the first of the file */
    uint32_t directions;
    double eps;
    zo2_dist dist;
    zo2_backend_kind backend;
    unsigned n;
    bench_wire *wire; /* [n], the first is fp32, which the others are compared with */
} bench_wires;

/* ---- wires_lines.c ---- */

/* Opens --data for the model, if it is given, and settles batch, scored and directions. False with a message. */
bool bench_wires_lines(const bench *b, bench_wires *w, cli_progress *progress);

/* ---- wires_gradient.c ---- */

/* Loss of the lines and projected gradients through a wire, by an engine of its own that never moves a weight. All wires get the
 * same lines and the same directions. False with a message; a model that can't have the wire is no failure: see `refused`. */
bool bench_wires_gradient(bench *b, const bench_wires *w, bench_wire *x, cli_progress *progress);

/* Pearson's, of n pairs; NAN where either doesn't vary. */
double bench_correlation(const double *x, const double *y, uint32_t n);

/* ---- wires_report.c ---- */

void bench_wires_title(const bench_wires *w);
void bench_wires_print(const bench_wires *w, const bench_wire *x); /* a row of the table; refusals on stderr */
void bench_wires_json(cli_json *j, const bench_wires *w);          /* "wires": {...} */

/* ---- section_wires.c ---- */

void bench_wires_free(bench_wires *w); /* NULL is fine */

#endif

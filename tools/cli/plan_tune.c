/* plan_tune.c: see plan_tune.h. */
#include "tools/cli/plan_tune.h"

#include <inttypes.h>
#include <stdio.h>

#include "tools/cli/engine_flags.h"
#include "tools/cli/numbers.h"

#define LINES 1000 /* a training file's, to show what a cache may take */

/* "embeddings and 88 of 96 layers" */
static void print_trunk(const zo2_plan *p)
{
    uint32_t layers = p->trunk_blocks - 1;
    printf("  %-12s %14u  of %u layers lie below all that moves: computed once for all streams\n", "trunk",
           layers < p->layers ? layers : p->layers, p->layers);
}

static void print_cache(const zo2_engine_opts *o, const zo2_plan *p)
{
    char a[CLI_TEXT_BYTES], b[CLI_TEXT_BYTES];
    const uint64_t rows = o->max_rows ? o->max_rows : CLI_DEFAULT_BATCH, row = p->trunk_bytes_per_step / rows;
    printf("  %-12s %14s  a row of %" PRIu64 " tokens where the trunk ends; %u rows: %s\n", "cache",
           cli_human_size(a, row), p->batch_tokens / rows, LINES, cli_human_size(b, LINES * row));
}

/* Of a step that has all of its lines from the cache. */
static void print_filled(const zo2_plan *p)
{
    char a[CLI_TEXT_BYTES];
    if (p->gemm_rate > 0)
        printf("  %-12s %14s  a step that finds all of its rows there%s%s\n", "filled",
               cli_human_time(a, p->seconds_per_step_filled), *p->bottleneck_filled ? ": " : "", p->bottleneck_filled);
    printf("  %-12s %14s  of wires over the link in such a step\n", "",
           cli_human_size(a, p->wire_bytes_per_step_filled));
    printf("  %-12s %14s  of rows\n", "", cli_human_size(a, p->trunk_bytes_per_step));
}

static void print_proposal(const zo2_plan *p)
{
    char a[CLI_TEXT_BYTES];
    const uint32_t n = p->proposed_layers < p->layers ? p->proposed_layers : p->layers;
    if (!n)
        return;
    printf("  %-12s ", "proposal");
    if (n == 1)
        printf("--tune layers=%u: the last layer and the head fit", p->layers - 1);
    else
        printf("--tune layers=%u-%u: the last %u layers and the head fit", p->layers - n, p->layers - 1, n);
    printf(" the device: with a filled cache 0 bytes of frozen wires a step, and %s of theirs",
           cli_human_size(a, p->proposed_layers_bytes));
    if (p->pending)
        printf(" in %u steps", p->pending + 1);
    putchar('\n');
}

void cli_plan_print_tune(const zo2_engine_opts *o, const zo2_plan *plan, bool fixed)
{
    char a[CLI_TEXT_BYTES], b[CLI_TEXT_BYTES];
    if (!o->tune && !o->tune_rotate)
        return;
    printf("\ntuned          %14s  of %s parameters%s\n", cli_human_count(a, plan->tuned_parameters),
           cli_human_count(b, plan->parameters), o->tune_rotate ? ", in turns" : "");
    if (plan->frozen_bytes)
        printf("  %-12s %14s  wires of what doesn't move, of the masters\n", "frozen",
               cli_human_size(a, plan->frozen_bytes));
    if (plan->trunk_blocks) {
        print_trunk(plan);
        print_cache(o, plan);
        print_filled(plan);
    }
    if (!fixed)
        print_proposal(plan);
}

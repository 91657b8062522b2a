/* plan_print.c: see plan_print.h. */
#include "tools/cli/plan_print.h"

#include <stdio.h>

#include "tools/cli/engine_flags.h"
#include "tools/cli/jsonout.h"
#include "tools/cli/numbers.h"

typedef struct part {
    const char *name;
    uint64_t bytes;
    const char *note;
} part;

static void print_parts(const part *parts, size_t n)
{
    char size[CLI_TEXT_BYTES];
    for (size_t i = 0; i < n; i++)
        printf("  %-12s %14s  %s\n", parts[i].name, cli_human_size(size, parts[i].bytes), parts[i].note);
}

static void print_time(const char *name, double seconds, int bottleneck)
{
    char time[CLI_TEXT_BYTES];
    printf("  %-12s %14s  %s\n", name, cli_human_time(time, seconds), bottleneck ? "the bottleneck" : "");
}

/* What would be faster, or fit; the run takes it only if it is asked to. */
static void print_proposals(const zo2_engine_opts *o, const zo2_plan *plan)
{
    char time[CLI_TEXT_BYTES];
    uint32_t rows = o->max_rows ? o->max_rows : CLI_DEFAULT_BATCH;
    uint32_t micro = o->max_rows_micro && o->max_rows_micro < rows ? o->max_rows_micro : rows;
    uint32_t pending = o->pending > 0 ? (uint32_t)o->pending : 0;
    zo2_dist dist = o->dist ? o->dist : ZO2_GAUSSIAN;
    if (plan->proposed_pending && plan->proposed_pending != pending)
        printf("proposal       --pending %u: %s a step\n", plan->proposed_pending,
               cli_human_time(time, plan->proposed_seconds));
    if (plan->proposed_dist && plan->proposed_dist != dist)
        printf("proposal       --dist %s: making noise is what takes the time\n", zo2_dist_name(plan->proposed_dist));
    if (plan->proposed_micro_batch && plan->proposed_micro_batch != micro)
        printf("proposal       --micro-batch %u: the largest that fits\n", plan->proposed_micro_batch);
}

void cli_plan_print(const char *title, const zo2_engine_opts *o, const zo2_plan *plan)
{
    char a[CLI_TEXT_BYTES], b[CLI_TEXT_BYTES], c[CLI_TEXT_BYTES];
    printf("%s: %s parameters; a batch holds up to %s tokens, a micro-batch %s\n", title,
           cli_human_count(a, plan->parameters), cli_human_count(b, plan->batch_tokens),
           cli_human_count(c, plan->tokens));
    printf("wire %s", o->wire ? zo2_wire_name(o->wire) : zo2_wire_name(ZO2_WIRE_BF16));
    if (o->compute)
        printf(", compute %s", zo2_dtype_name(o->compute));
    printf(", %s, queries %u, pending %d\n", zo2_dist_name(o->dist ? o->dist : ZO2_GAUSSIAN),
           o->queries ? o->queries : 1, o->pending > 0 ? (int)o->pending : 0);

    printf("\ndevice memory  %14s", cli_human_size(a, plan->device_peak_bytes));
    printf("  (at least %s)\n", cli_human_size(a, plan->device_min_bytes));
    const part device[] = {
        {"context", plan->context_bytes, "the backend itself"},
        {"residual", plan->residual_bytes, "residual streams"},
        {"norm", plan->norm_bytes, "normalised streams"},
        {"layer", plan->layer_bytes, "the widest layer's activations"},
        {"panels", plan->panel_bytes, "decoded and perturbed weights of a tile"},
        {"ring", plan->ring_bytes, "wires on their way"},
        {"resident", plan->resident_bytes, "wires that stay"},
        {"vectors", plan->vector_bytes, "biases and norms"},
        {"loss", plan->loss_bytes, "logits of a tile and running sums"},
        {"workspace", plan->workspace_bytes, ""},
    };
    print_parts(device, sizeof device / sizeof *device);

    printf("\nhost memory    %14s\n", cli_human_size(a, plan->host_peak_bytes));
    const part host[] = {
        {"masters", plan->master_bytes, "fp32 masters with their wires"},
        {"staging", plan->staging_bytes - plan->staged_bytes, "buffers"},
        {"streams", plan->staged_bytes, "residual streams that wait for their turn"},
        {"rest", plan->host_peak_bytes - plan->master_bytes - plan->staging_bytes, "the program itself"},
    };
    print_parts(host, sizeof host / sizeof *host);

    printf("\ndisk\n");
    const part disk[] = {
        {"pack", plan->pack_bytes, ""},
        {"snapshots", 2 * plan->snapshot_bytes, "two are kept"},
        {"journal", plan->journal_bytes_per_step, "per step"},
    };
    print_parts(disk, sizeof disk / sizeof *disk);

    printf("\ntime per step  %14s  predicted; lanes work side by side\n", cli_human_time(a, plan->seconds_per_step));
    print_time("update", plan->update_seconds, plan->bottleneck[0] == 'u' && plan->bottleneck[2] == 'd');
    print_time("upload", plan->upload_seconds, plan->bottleneck[0] == 'u' && plan->bottleneck[2] == 'l');
    print_time("compute", plan->compute_seconds, plan->bottleneck[0] == 'c');
    printf("  %-12s %14s  of wires over the link\n", "traffic", cli_human_size(a, plan->wire_bytes_per_step));
    if (plan->staged_bytes_per_step)
        printf("  %-12s %14s  of residual streams, both ways\n", "", cli_human_size(a, plan->staged_bytes_per_step));
    print_proposals(o, plan);
}

void cli_plan_print_json(const char *title, const zo2_plan *plan, int fits)
{
    cli_json j;
    cli_json_start(&j, stdout);
    cli_json_open(&j, NULL, '{');
    cli_json_text(&j, "model", title);
    cli_json_bool(&j, "fits", fits);
#define U64(field) cli_json_u64(&j, #field, plan->field)
#define F64(field) cli_json_f64(&j, #field, plan->field)
    U64(parameters);
    U64(tokens);
    U64(batch_tokens);
    U64(device_peak_bytes);
    U64(device_min_bytes);
    U64(context_bytes);
    U64(residual_bytes);
    U64(norm_bytes);
    U64(layer_bytes);
    U64(panel_bytes);
    U64(ring_bytes);
    U64(resident_bytes);
    U64(vector_bytes);
    U64(loss_bytes);
    U64(workspace_bytes);
    U64(host_peak_bytes);
    U64(master_bytes);
    U64(staging_bytes);
    U64(staged_bytes);
    U64(pack_bytes);
    U64(snapshot_bytes);
    U64(journal_bytes_per_step);
    U64(wire_bytes_per_step);
    U64(staged_bytes_per_step);
    F64(seconds_per_step);
    F64(update_seconds);
    F64(upload_seconds);
    F64(compute_seconds);
    cli_json_text(&j, "bottleneck", plan->bottleneck);
    U64(largest_tile_rows);
    U64(proposed_pending);
    F64(proposed_seconds);
    cli_json_text(&j, "proposed_dist", zo2_dist_name(plan->proposed_dist));
    U64(proposed_micro_batch);
#undef U64
#undef F64
    cli_json_close(&j, '}');
    cli_json_end(&j);
}

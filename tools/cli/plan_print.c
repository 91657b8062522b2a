/* plan_print.c: see plan_print.h. */
#include "tools/cli/plan_print.h"

#include <stdio.h>
#include <string.h>

#include "tools/cli/engine_flags.h"
#include "tools/cli/jsonout.h"
#include "tools/cli/numbers.h"
#include "tools/cli/plan_advice.h"
#include "tools/cli/plan_tune.h"
#include "tools/cli/tune_text.h"

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

static void print_time(const zo2_plan *plan, const char *lane, double seconds)
{
    char time[CLI_TEXT_BYTES];
    printf("  %-12s %14s  %s\n", lane, cli_human_time(time, seconds),
           !strcmp(plan->bottleneck, lane) ? "the bottleneck" : "");
}

/* Where the predicted times come from. */
static void print_rates(const zo2_plan *plan, const char *device)
{
    char time[CLI_TEXT_BYTES];
    const struct {
        const char *name;
        double rate;
        const char *unit, *note;
    } rates[] = {
        {"update", 1e-9 * plan->update_rate, "G weights/s", "noise, update and encode on the host"},
        {"noise", 1e-9 * plan->noise_rate, "G weights/s", "of it, the noise alone"},
        {"link", 1e-9 * plan->upload_rate, "GB/s", "wires to the device"},
        {"decode", 1e-9 * plan->decode_rate, "G weights/s", "both panels of a direction"},
        {"fold", 1e-9 * plan->fold_rate, "G weights/s", "a pending update within it"},
        {"products", 1e-9 * plan->gemm_rate, "GFLOP/s", ""},
        {"read", 1e-9 * plan->read_rate, "GB/s", "from all --spill directories"},
        {"write", 1e-9 * plan->write_rate, "GB/s", "to them"},
    };
    if (device)
        printf("\nrates          predicted from %s; the host's %s\n", device,
               plan->probe_seconds > 0 ? "measured here" : "as given");
    else
        printf("\nrates          %14s  of measuring\n", cli_human_time(time, plan->probe_seconds));
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
        if (rates[i].rate > 0)
            printf("  %-12s %14.3g  %s%s%s\n", rates[i].name, rates[i].rate, rates[i].unit, *rates[i].note ? "  " : "",
                   rates[i].note);
}

/* The most lines that surely have no more than that many rows. */
static uint32_t lines_of(uint32_t rows, const cli_plan_lines *l)
{
    return rows / l->rows_per_line;
}

static void print_larger_batch(const zo2_plan *plan, uint32_t rows, const cli_plan_lines *l)
{
    uint32_t batch = lines_of(plan->proposed_batch, l), micro = lines_of(plan->proposed_batch_micro, l);
    char time[CLI_TEXT_BYTES];
    if (batch <= l->batch || !micro)
        return;
    double per_row = plan->proposed_seconds / rows, then = plan->proposed_batch_seconds / plan->proposed_batch;
    printf("proposal       --batch %u", batch);
    if (micro < batch)
        printf(" --micro-batch %u", micro);
    printf(": %s a step, %.1f times the tokens/s; weights move once a step, whatever the batch\n",
           cli_human_time(time, plan->proposed_batch_seconds), per_row / then);
}

/* What would be faster, or fit; the run takes it only if it is asked to. */
static void print_proposals(const zo2_engine_opts *o, const zo2_plan *plan, const cli_plan_lines *l)
{
    char time[CLI_TEXT_BYTES];
    uint32_t rows = o->max_rows ? o->max_rows : CLI_DEFAULT_BATCH;
    uint32_t micro = o->max_rows_micro && o->max_rows_micro < rows ? o->max_rows_micro : rows;
    uint32_t fewer = lines_of(plan->proposed_micro_batch, l);
    int other_pending = plan->proposed_pending != plan->pending;
    int other_micro = plan->proposed_micro_batch && plan->proposed_micro_batch != micro;
    if ((other_pending || other_micro) && (!other_micro || fewer)) {
        printf("proposal      ");
        if (other_pending)
            printf(" --pending %u", plan->proposed_pending);
        if (other_micro)
            printf(" --micro-batch %u", fewer);
        printf(": %s a step%s\n", cli_human_time(time, plan->proposed_seconds),
               plan->trunk_cache_bytes ? " that has its lines from the cache" : "");
    }
    if (plan->proposed_dist && plan->proposed_dist != (o->dist ? o->dist : ZO2_GAUSSIAN))
        printf("proposal       --dist %s: making noise is what takes the time\n", zo2_dist_name(plan->proposed_dist));
    print_larger_batch(plan, rows, l);
}

static void print_times(const zo2_engine_opts *o, const zo2_plan *plan, const cli_plan_lines *l)
{
    char a[CLI_TEXT_BYTES];
    if (plan->gemm_rate > 0) {
        print_rates(plan, l->device);
        printf("\ntime per step  %14s  predicted, of the largest batch\n", cli_human_time(a, plan->seconds_per_step));
        print_time(plan, "update", plan->update_seconds);
        print_time(plan, "upload", plan->upload_seconds);
        print_time(plan, "compute", plan->compute_seconds);
        if (plan->read_rate > 0)
            print_time(plan, "read", plan->read_seconds);
        if (plan->write_rate > 0)
            print_time(plan, "write", plan->write_seconds);
        if (plan->spill_bytes && !(plan->read_rate > 0 && plan->write_rate > 0))
            printf("  %-12s %14s  of the --spill directories: not known\n", "read, write", "");
    } else {
        printf("\ntime per step         unknown  not measured, or there is no such device here\n");
    }
    printf("  %-12s %14s  of wires over the link\n", "traffic", cli_human_size(a, plan->wire_bytes_per_step));
    if (plan->staged_bytes_per_step)
        printf("  %-12s %14s  of residual streams, both ways\n", "", cli_human_size(a, plan->staged_bytes_per_step));
    if (plan->spill_bytes) {
        printf("  %-12s %14s  from the --spill directories\n", "", cli_human_size(a, plan->read_bytes_per_step));
        printf("  %-12s %14s  to them\n", "", cli_human_size(a, plan->written_bytes_per_step));
    }
    if (plan->gemm_rate > 0 && !l->fixed)
        print_proposals(o, plan, l);
}

/* What drives are written altogether, and what they are good for. */
static void print_wear(const cli_wear *w)
{
    char a[CLI_TEXT_BYTES], b[CLI_TEXT_BYTES];
    printf("  %-12s %14s  to the --spill directories in %s steps\n", "written", cli_human_size(a, w->written),
           cli_human_count(b, w->steps));
    if (w->rated)
        printf("  %-12s %14s  %s\n", "endurance", cli_human_size(a, w->rated),
               w->assumed ? "assumed: 600 times the capacity of their file systems"
                          : "of all drives together, as given");
    else
        printf("  %-12s %14s  --endurance says what the drives are rated for\n", "endurance", "unknown");
}

static void print_host_parts(const zo2_plan *plan)
{
    const uint64_t spilled = plan->ram_master_bytes + plan->ram_wire_bytes + plan->spill_buffer_bytes;
    const uint64_t masters = plan->spill_bytes ? spilled : plan->master_bytes;
    const uint64_t cache = plan->spill_bytes ? 0 : plan->trunk_cache_bytes;
    const part whole[] = {{"masters", plan->master_bytes,
                           plan->frozen_bytes ? "fp32 masters with their wires, and the wires of what doesn't move"
                                              : "fp32 masters with their wires"}};
    const part parts[] = {
        {"masters", plan->ram_master_bytes, "fp32 masters with their wires that stay in RAM"},
        {"wires", plan->ram_wire_bytes, "wires of masters that don't"},
        {"in passing", plan->spill_buffer_bytes, "what is read ahead, in use, or not written yet"},
    };
    const part rest[] = {
        {"staging", plan->staging_bytes - plan->staged_bytes, "buffers"},
        {"streams", plan->staged_bytes, "residual streams that wait for their turn"},
        {"trunk cache", cache, "rows of lines where the trunk ends, at most"},
        {"rest", plan->host_peak_bytes - masters - plan->staging_bytes - cache, "the program itself"},
    };
    if (plan->spill_bytes)
        print_parts(parts, sizeof parts / sizeof *parts);
    else
        print_parts(whole, 1);
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++)
        if (rest[i].bytes || strcmp(rest[i].name, "trunk cache") != 0)
            print_parts(&rest[i], 1);
}

static void print_disk(const zo2_plan *plan, const cli_wear *wear)
{
    char a[CLI_TEXT_BYTES], spill[96];
    printf("\ndisk\n");
    if (plan->pack_bytes) /* an architecture alone has no file */
        print_parts(&(const part){"pack", plan->pack_bytes, "the model's file"}, 1);
    snprintf(spill, sizeof spill, "all masters, which are the snapshot, too; %s of them are not in RAM",
             cli_human_size(a, plan->spilled_bytes));
    if (plan->spill_bytes)
        print_parts(&(const part){"spill", plan->spill_bytes, spill}, 1);
    else
        print_parts(&(const part){"snapshots", 2 * plan->snapshot_bytes, "two are kept"}, 1);
    print_parts(&(const part){"journal", plan->journal_bytes_per_step, "per step"}, 1);
    if (wear)
        print_wear(wear);
}

/* What of the machine a run gets, and where that is set. */
static void print_limits(const zo2_engine_opts *o, const zo2_plan *plan, const zo2_machine *machine, const char *here)
{
    char a[CLI_TEXT_BYTES];
    printf("\nlimits here\n");
    if (machine->host_budget_bytes)
        printf("  %-12s %14s  90 %% of what %s leaves\n", "host memory", cli_human_size(a, machine->host_budget_bytes),
               machine->host_limit);
    if (here && *here)
        printf("  %-12s %14s  too little for this: %s\n", "", "", here);
    const uint64_t both = plan->device_peak_bytes + plan->host_peak_bytes;
    if (!plan->context_bytes && plan->host_peak_bytes <= machine->host_budget_bytes &&
        both > machine->host_budget_bytes)
        printf("  %-12s %14s  too little for %s: the cpu backend's device memory is RAM, too, beside host memory\n", "",
               "", cli_human_size(a, both)); /* no other backend does without a context */
    printf("  %-12s %14u  %s%s\n", "threads", plan->threads, o->threads ? "as given" : machine->cpu_limit,
           plan->threads < machine->cpus && !o->threads ? ", less those of the device's lanes" : "");
}

void cli_plan_print(const char *title, const zo2_engine_opts *o, const zo2_plan *plan, const cli_plan_lines *lines)
{
    char a[CLI_TEXT_BYTES], b[CLI_TEXT_BYTES], c[CLI_TEXT_BYTES], ring[96];
    printf("%s: %s parameters; a batch holds up to %s tokens, a micro-batch %s", title,
           cli_human_count(a, plan->parameters), cli_human_count(b, plan->batch_tokens),
           cli_human_count(c, plan->tokens));
    if (lines->whole_context && o->max_rows)
        printf("; rows are as long as the context, %s, without --seq",
               cli_human_count(a, plan->batch_tokens / o->max_rows));
    putchar('\n');
    char wires[CLI_TUNE_BYTES];
    printf("wire %s", cli_wires_text(wires, o));
    if (o->compute)
        printf(", compute %s", zo2_dtype_name(o->compute));
    printf(", %s, queries %u, pending %d\n", zo2_dist_name(o->dist ? o->dist : ZO2_GAUSSIAN),
           o->queries ? o->queries : 1, (int)plan->pending);
    if (o->tune || o->tune_rotate) {
        char tune[CLI_TUNE_BYTES];
        printf("tune %s", cli_tune_text(tune, o->tune, false));
        if (o->tune_rotate)
            printf(", in turns of %u step%s", o->tune_rotate, o->tune_rotate == 1 ? "" : "s");
        putchar('\n');
    }

    snprintf(ring, sizeof ring, "wires on their way, in chunks of up to %s", cli_human_size(a, plan->chunk_bytes));
    printf("\ndevice memory  %14s", cli_human_size(a, plan->device_peak_bytes));
    printf("  (at least %s)\n", cli_human_size(a, plan->device_min_bytes));
    const part device[] = {
        {"context", plan->context_bytes, "the backend itself"},
        {"residual", plan->residual_bytes, "residual streams"},
        {"norm", plan->norm_bytes, "normalised streams"},
        {"layer", plan->layer_bytes, "the widest layer's activations"},
        {"panels", plan->panel_bytes, "decoded and perturbed weights of a tile"},
        {"ring", plan->ring_bytes, ring},
        {"resident", plan->resident_bytes, "wires that stay"},
        {"vectors", plan->vector_bytes, "biases, norms, rotary positions"},
        {"loss", plan->loss_bytes, "logits of a tile and running sums"},
        {"workspace", plan->workspace_bytes, "attention scores (cpu), room for products"},
    };
    print_parts(device, sizeof device / sizeof *device);

    zo2_machine machine;
    zo2_machine_get(&machine);
    printf("\nhost memory    %14s", cli_human_size(a, plan->host_peak_bytes));
    if (machine.host_budget_bytes)
        printf("  (a run here gets %s%s)", cli_human_size(a, machine.host_budget_bytes),
               machine.host_budget_bytes < plan->host_peak_bytes ? ": too little" : "");
    putchar('\n');
    print_host_parts(plan);
    print_limits(o, plan, &machine, lines->here);

    print_disk(plan, lines->wear);
    print_times(o, plan, lines);
    cli_plan_print_tune(o, plan, lines->fixed);
}

static void wear_json(cli_json *j, const cli_wear *w)
{
    cli_json_u64(j, "steps", w->steps);
    cli_json_u64(j, "written_bytes", w->written);
    if (w->rated)
        cli_json_u64(j, "endurance_bytes", w->rated);
    else
        cli_json_null(j, "endurance_bytes");
    cli_json_bool(j, "endurance_assumed", w->assumed);
}

void cli_plan_print_json(const char *title, const zo2_plan *plan, int fits, const char *device, const cli_wear *wear,
                         const cli_wire_advices *advice)
{
    cli_json j;
    zo2_machine machine;
    zo2_machine_get(&machine);
    cli_json_start(&j, stdout);
    cli_json_open(&j, NULL, '{');
    cli_json_text(&j, "model", title);
    cli_json_bool(&j, "fits", fits);
    cli_plan_advice_json(&j, advice);
    cli_json_u64(&j, "host_budget_bytes", machine.host_budget_bytes);
    cli_json_text(&j, "host_limit", machine.host_limit);
    cli_json_u64(&j, "cpus", machine.cpus);
    cli_json_text(&j, "cpu_limit", machine.cpu_limit);
#define U64(field) cli_json_u64(&j, #field, plan->field)
#define F64(field) cli_json_f64(&j, #field, plan->field)
    U64(threads);
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
    U64(proposed_batch);
    U64(proposed_batch_micro);
    F64(proposed_batch_seconds);
    U64(chunk_bytes);
    F64(probe_seconds);
    F64(update_rate);
    F64(noise_rate);
    F64(upload_rate);
    F64(decode_rate);
    F64(fold_rate);
    F64(gemm_rate);
    U64(budget_bytes);
    U64(host_min_bytes);
    U64(pending);
    U64(ram_master_bytes);
    U64(ram_wire_bytes);
    U64(spill_buffer_bytes);
    U64(spilled_bytes);
    U64(spill_bytes);
    U64(read_bytes_per_step);
    U64(written_bytes_per_step);
    F64(read_seconds);
    F64(write_seconds);
    F64(read_rate);
    F64(write_rate);
    U64(layers);
    U64(tuned_parameters);
    U64(trunk_blocks);
    U64(frozen_bytes);
    U64(trunk_bytes_per_token);
    U64(trunk_cache_bytes);
    U64(wire_bytes_per_step_filled);
    U64(trunk_bytes_per_step);
    F64(seconds_per_step_filled);
    cli_json_text(&j, "bottleneck_filled", plan->bottleneck_filled);
    U64(proposed_layers);
    U64(proposed_layers_bytes);
    cli_json_bool(&j, "resident_whole", plan->resident_whole != 0);
    cli_json_text(&j, "compute", zo2_dtype_name(plan->compute));
    cli_json_text(&j, "rates_of", device); /* null: of this machine */
    if (wear)
        wear_json(&j, wear);
#undef U64
#undef F64
    cli_json_close(&j, '}');
    cli_json_end(&j);
}

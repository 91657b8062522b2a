/* plan_main.c: zo2-plan: what a training run would need, before a byte moves. */
#include <stdio.h>
#include <string.h>

#include "engine/zo2.h"
#include "tools/cli/args.h"
#include "tools/cli/engine_flags.h"
#include "tools/cli/fit_advice.h"
#include "tools/cli/numbers.h"
#include "tools/cli/plan_advice.h"
#include "tools/cli/plan_print.h"
#include "tools/cli/report.h"
#include "tools/cli/wear.h"
#include "tools/cli/wire_advice.h"
#include "tools/plan/drives.h"
#include "tools/plan/gpu.h"
#include "tools/plan/gpu_table.h"
#include "tools/plan/tune_table.h"

typedef struct plan_output {
    cli_value probe, json, tune_table;
} plan_output;

static const cli_option output_options[] = {
    {"probe", "TIME", CLI_TIME, offsetof(plan_output, probe),
     "most time to measure this machine in (5s); 0: no rates, times and proposals", 0, 0},
    {"json", NULL, CLI_FLAG, offsetof(plan_output, json), "one JSON object", 0, 0},
    {"tune-table", NULL, CLI_FLAG, offsetof(plan_output, tune_table),
     "a table: all of the model tuned, its vectors, its last layers, adapters", 0, 0},
    {0},
};

/* A cli_fit_sizes_fn: here a line is a row. */
static bool sizes(const void *ud, uint64_t batch, uint64_t micro, zo2_engine_opts *o)
{
    (void)ud;
    o->max_rows = (uint32_t)batch;
    o->max_rows_micro = (uint32_t)micro;
    return true;
}

/* What can't go together; NULL: nothing. */
static const char *conflict(const gpu_flags *gpu, const plan_output *output, const cli_engine_flags *flags,
                            const drive_flags *drives)
{
    bool spills = flags->spill.n || drives->table.given;
    bool every = gpu->gpu.given && !strcmp(gpu->gpu.text, GPU_EVERY);
    if (!gpu->gpu.given && (gpu->pcie.given || gpu->update_rate.given))
        return "--pcie and --update-rate are for --gpu";
    if (gpu->gpu.given && flags->backend.given && !strcmp(flags->backend.text, "cpu"))
        return "--gpu plans for a GPU, not for --backend cpu";
    if (every && (gpu->save.given || output->json.given))
        return "--gpu all is a table: no --json, no --save-gpu";
    if (drives->table.given && (output->json.given || gpu->save.given || every))
        return "--spill-table is a table: no --json, no --save-gpu, no --gpu all";
    if (drives->table.given && (flags->spill.n || flags->wire.given || flags->host_mem.given))
        return "--spill-table has its own --spill, --wire and --host-mem";
    if (output->tune_table.given && (output->json.given || gpu->save.given || every || drives->table.given))
        return "--tune-table is a table: no --json, no --save-gpu, no --gpu all, no --spill-table";
    if (output->tune_table.given && (flags->tune.given || flags->tune_rotate.given))
        return "--tune-table has its own --tune, and no --tune-rotate";
    if (!spills && (drives->read_rate.given || drives->write_rate.given || drives->steps.given))
        return "--spill-read-rate, --spill-write-rate and --steps are for --spill";
    if (!spills && (flags->write_budget.given || flags->endurance.given))
        return "--write-budget and --endurance are for --spill";
    return NULL;
}

/* What was asked for, and the answer. */
typedef struct plan_work {
    const cli_command *command;
    const char *model;
    zo2_engine_opts opts;
    cli_engine_flags flags;
    plan_output output;
    gpu_flags gpu;
    drive_flags drives;
    zo2_plan plan;
    gpu_target target;
    const char *device; /* whose rates were given; NULL: this machine's were measured */
} plan_work;

static bool take_sizes(plan_work *w, int *status)
{
    const cli_engine_flags *f = &w->flags;
    zo2_engine_opts *o = &w->opts;
    zo2_engine_opts_init(o);
    cli_engine_flags_apply(f, o);
    drives_apply(&w->drives, o);
    o->max_rows = f->batch.given ? (uint32_t)f->batch.u : CLI_DEFAULT_BATCH;
    if (f->micro_batch.given)
        o->max_rows_micro = f->micro_batch.u < o->max_rows ? (uint32_t)f->micro_batch.u : o->max_rows;
    if (f->seq.given && f->seq.u > UINT32_MAX) {
        *status = cli_usage_error(w->command, "--seq %s is longer than any model's context", f->seq.text);
        return false;
    }
    if (f->seq.given)
        o->max_seq = (uint32_t)f->seq.u;
    if (w->output.probe.given)
        o->probe_seconds = w->output.probe.f;
    return true;
}

static zo2_status make_plan(plan_work *w)
{
    memset(&w->plan, 0, sizeof w->plan);
    w->plan.struct_size = sizeof w->plan;
    if (!w->gpu.gpu.given)
        return zo2_plan_estimate(w->model, &w->opts, &w->plan);
    zo2_status s = gpu_find(&w->target, &w->gpu, &w->opts);
    w->device = w->target.device;
    return s ? s : gpu_plan(&w->plan, w->model, &w->target, &w->opts);
}

/* A cli_wire_plan_fn: as make_plan() does it. The host is as fast with any wire of matrices that don't move. */
static zo2_status plan_other(const void *work, zo2_engine_opts *o, const zo2_plan *timed, zo2_plan *out)
{
    const plan_work *w = work;
    gpu_target target;
    if (!timed)
        o->probe_seconds = 0;
    if (!w->gpu.gpu.given)
        return zo2_plan_estimate(w->model, o, out);
    zo2_status s = gpu_find(&target, &w->gpu, o);
    if (!s && (!timed || (o->wire == w->opts.wire && !(target.rates.update_rate > 0)))) {
        target.rates.update_rate = timed ? timed->update_rate : 0;
        target.rates.noise_rate = timed ? timed->noise_rate : 0;
    }
    return s ? s : gpu_plan(out, w->model, &target, o);
}

static void find_advice(const plan_work *w, zo2_status s, cli_wire_advices *out)
{
    const cli_wire_search search = {.model = w->model, .opts = &w->opts, .now = &w->plan, .plan = plan_other, .ud = w};
    memset(out, 0, sizeof *out);
    if (s == ZO2_OK)
        cli_wire_advice_find(out, &search);
    else if (w->plan.parameters)
        cli_wire_advice_fit(&out->fit, &search);
}

static cli_fit fit_of(const plan_work *w)
{
    return (cli_fit){.model = w->model,
                     .opts = &w->opts,
                     .batch = w->opts.max_rows,
                     .micro = w->opts.max_rows_micro,
                     .batch_option = true,
                     .micro_option = true,
                     .spill_option = true,
                     .seq_option = true,
                     .wire_option = true,
                     .sizes = sizes};
}

static int show(plan_work *w)
{
    const char *program = w->command->program;
    zo2_status s = make_plan(w);
    if (s != ZO2_OK && s != ZO2_ERR_NOMEM)
        return cli_fail(program, NULL, s);
    bool known = w->plan.parameters != 0; /* too small a budget still leaves the plan */
    const cli_wear wear = cli_wear_of(&w->plan, &w->opts, drives_steps(&w->drives), w->flags.endurance.u);
    const cli_fit fit = fit_of(w);
    char here[512] = "";
    if (s == ZO2_OK && !w->opts.host_bytes)
        cli_fit_here(here, sizeof here, &fit);
    const cli_plan_lines lines = {.batch = w->opts.max_rows,
                                  .rows_per_line = 1,
                                  .device = w->device,
                                  .wear = w->flags.spill.n ? &wear : NULL,
                                  .here = here,
                                  .whole_context = !w->opts.max_seq};
    cli_wire_advices advice;
    find_advice(w, s, &advice);
    if (known && w->output.json.given)
        cli_plan_print_json(w->model, &w->plan, s == ZO2_OK, w->device, lines.wear, &advice);
    else if (known)
        cli_plan_print(w->model, &w->opts, &w->plan, &lines);
    if (known && !w->output.json.given)
        cli_plan_print_advice(&w->plan, &advice);
    fflush(stdout);
    if (s != ZO2_OK)
        return cli_fail_to_fit(program, known ? "doesn't fit" : NULL, s, &fit);
    char text[512];
    if (lines.wear && cli_wear_too_much(&wear))
        return cli_error(program, "%s", cli_wear_text(text, sizeof text, &wear));
    if (w->gpu.save.given)
        s = gpu_save(w->gpu.save.text, &w->plan, w->device ? &w->target : NULL, &w->opts, w->flags.device_mem.given);
    return s ? cli_fail(program, NULL, s) : CLI_EXIT_OK;
}

int main(int argc, char **argv)
{
    plan_work w = {0};
    const cli_positional positionals[] = {
        {"MODEL", "a pack, a published model (opt-1.3b, llama-3.1-8b, qwen3-4b, ...), or the path of a config.json",
         &w.model, false},
        {0},
    };
    const cli_group groups[] = {
        {"Sizes", cli_shape_options, &w.flags},
        {"Method", cli_method_options, &w.flags},
        {"What moves", cli_tune_options, &w.flags},
        {"Arithmetic", cli_compute_options, &w.flags},
        {"Resources", cli_resource_options, &w.flags},
        {"Masters larger than memory", cli_spill_options, &w.flags},
        {NULL, drive_options, &w.drives},
        {"Another GPU", gpu_options, &w.gpu},
        {"Output", output_options, &w.output},
        {0},
    };
    const cli_command command = {
        "zo2-plan",
        "Shows the memory, disk and time that training a model would take, and whether it fits.",
        positionals,
        groups,
        "A line of a batch counts as one row here; a line with n options makes n.\n"
        "Times are of products (attention's, too), decoding, uploads and updates; not of softmax, norms and activations.\n"
        "\n"
        "--gpu knows t4, rtx-3060 (12 GB), rtx-3090, rtx-4060-ti (16 GB), rtx-4090, rtx-5090, a100-40, a100-80,\n"
        "h100-pcie, h100-sxm and h200: published peaks, of the products 70 %, of link, memory and instructions 80 %.\n"
        "Other GPUs: a JSON FILE of upload_rate, gemm_rate, decode_rate (needed, per second), fold_rate, update_rate,\n"
        "noise_rate, memory_bytes, wire, dist. Where there is a GPU, --save-gpu and zo2-bench rates --json write one; --save-gpu\n"
        "writes a known one's to begin with, too.\n"
        "The budget is 90 % of the GPU's memory unless --device-mem is given.\n"
        "\n"
        "Where the wires are too large for the device, or for RAM with --spill, lines of advice name one that isn't.\n"
        "Exit status 1 if it doesn't fit; the message has the smallest budget that works, and the batch or wire that does.",
    };
    int status;
    cli_fill_closed_streams();
    if (!cli_parse(&command, argc, argv, &status))
        return cli_finish(command.program, status);
    w.command = &command;
    if (!take_sizes(&w, &status))
        return cli_finish(command.program, status);
    const char *wrong = conflict(&w.gpu, &w.output, &w.flags, &w.drives);
    if (wrong)
        return cli_finish(command.program, cli_usage_error(&command, "%s", wrong));
    if (w.gpu.gpu.given && !strcmp(w.gpu.gpu.text, GPU_EVERY)) {
        zo2_status s = gpu_print_table(w.model, &w.gpu, &w.opts);
        status = s ? cli_fail(command.program, NULL, s) : CLI_EXIT_OK;
    } else if (w.drives.table.given) {
        zo2_status s = drives_print_table(w.model, &w.drives, &w.gpu, &w.opts);
        status = s ? cli_fail(command.program, NULL, s) : CLI_EXIT_OK;
    } else if (w.output.tune_table.given) {
        zo2_status s = tune_print_table(w.model, drives_steps(&w.drives), &w.gpu, &w.opts);
        status = s ? cli_fail(command.program, NULL, s) : CLI_EXIT_OK;
    } else {
        status = show(&w);
    }
    return cli_finish(command.program, status);
}

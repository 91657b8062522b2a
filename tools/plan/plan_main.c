/* plan_main.c: zo2-plan: what a training run would need, before a byte moves. */
#include <stdio.h>
#include <string.h>

#include "engine/zo2.h"
#include "tools/cli/args.h"
#include "tools/cli/engine_flags.h"
#include "tools/cli/fit_advice.h"
#include "tools/cli/numbers.h"
#include "tools/cli/plan_print.h"
#include "tools/cli/report.h"

typedef struct plan_output {
    cli_value probe, json;
} plan_output;

static const cli_option output_options[] = {
    {"probe", "TIME", CLI_TIME, offsetof(plan_output, probe),
     "most time to measure this machine in (5s); 0: no rates, times and proposals", 0, 0},
    {"json", NULL, CLI_FLAG, offsetof(plan_output, json), "one JSON object", 0, 0},
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

int main(int argc, char **argv)
{
    cli_engine_flags flags = {0};
    plan_output output = {0};
    const char *model = NULL;
    const cli_positional positionals[] = {
        {"MODEL", "a pack, opt-125m ... opt-175b, or the path of a config.json", &model, false},
        {0},
    };
    const cli_group groups[] = {
        {"Sizes", cli_shape_options, &flags},        {"Method", cli_method_options, &flags},
        {"Arithmetic", cli_compute_options, &flags}, {"Resources", cli_resource_options, &flags},
        {"Output", output_options, &output},         {0},
    };
    const cli_command command = {
        "zo2-plan",
        "Shows the memory, disk and time that training a model would take, and whether it fits.",
        positionals,
        groups,
        "A line of a batch counts as one row here; a line with n options makes n.\n"
        "Exit status 1 if it doesn't fit; the message has the smallest budget that works.",
    };
    int status;
    cli_fill_closed_streams();
    if (!cli_parse(&command, argc, argv, &status))
        return cli_finish(command.program, status);

    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    cli_engine_flags_apply(&flags, &o);
    o.max_rows = flags.batch.given ? (uint32_t)flags.batch.u : CLI_DEFAULT_BATCH;
    if (flags.micro_batch.given)
        o.max_rows_micro = flags.micro_batch.u < o.max_rows ? (uint32_t)flags.micro_batch.u : o.max_rows;
    if (flags.seq.given) {
        if (flags.seq.u > UINT32_MAX)
            return cli_usage_error(&command, "--seq %s is longer than any model's context", flags.seq.text);
        o.max_seq = (uint32_t)flags.seq.u;
    }

    if (output.probe.given)
        o.probe_seconds = output.probe.f;

    zo2_plan plan;
    memset(&plan, 0, sizeof plan);
    plan.struct_size = sizeof plan;
    zo2_status s = zo2_plan_estimate(model, &o, &plan);
    if (s != ZO2_OK && s != ZO2_ERR_NOMEM)
        return cli_fail(command.program, NULL, s);
    bool known = plan.parameters != 0; /* too small a budget still leaves the plan */
    if (known && output.json.given)
        cli_plan_print_json(model, &plan, s == ZO2_OK);
    else if (known)
        cli_plan_print(model, &o, &plan, &(cli_plan_lines){.batch = o.max_rows, .rows_per_line = 1});
    fflush(stdout);
    if (s != ZO2_OK)
        status = cli_fail_to_fit(command.program, known ? "doesn't fit" : NULL, s,
                                 &(cli_fit){.model = model,
                                            .opts = &o,
                                            .batch = o.max_rows,
                                            .micro = o.max_rows_micro,
                                            .batch_option = true,
                                            .micro_option = true,
                                            .sizes = sizes});
    return cli_finish(command.program, status);
}

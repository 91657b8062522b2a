/* train_fit.c: whether a run fits the machine: sizes from the data, the plan, room for snapshots. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "tools/cli/fit_advice.h"
#include "tools/cli/numbers.h"
#include "tools/cli/plan_advice.h"
#include "tools/cli/plan_print.h"
#include "tools/cli/report.h"
#include "tools/cli/wear.h"
#include "tools/cli/wire_advice.h"
#include "tools/tune/inputs.h"
#include "tools/tune/train.h"

int train_bounds(const train *t, zo2_engine_opts *o, uint64_t batch, uint32_t micro)
{
    o->max_rows = o->max_rows_micro = o->max_seq = 0;
    o->max_loss_tokens = 0;
    int status = tune_raise_bounds(o, t->command->program, t->data, batch, micro, false);
    if (!status && t->eval_data)
        status = tune_raise_bounds(o, t->command->program, t->eval_data, batch, micro, true);
    return status;
}

static bool other_bounds(const void *ud, uint64_t batch, uint64_t micro, zo2_engine_opts *o)
{
    return train_bounds(ud, o, batch, (uint32_t)micro) == 0;
}

int train_fail_to_fit(const train *t, const char *what, zo2_status s)
{
    return cli_fail_to_fit(t->command->program, what, s,
                           &(cli_fit){.model = t->model.path,
                                      .opts = &t->opts,
                                      .batch = t->settings.batch,
                                      .micro = t->opts.micro_batch,
                                      .here = true,
                                      .spill_option = true,
                                      .wire_option = !t->existed,
                                      .batch_option = !t->existed,
                                      .micro_option = !t->existed,
                                      .sizes = t->existed ? NULL : other_bounds,
                                      .ud = t});
}

/* Rows of the line that has most. */
static uint32_t most_options(const train *t)
{
    zo2t_dataset_info data, eval = {.max_options = 0};
    zo2t_dataset_get_info(t->data, &data);
    if (t->eval_data)
        zo2t_dataset_get_info(t->eval_data, &eval);
    return data.max_options > eval.max_options ? data.max_options : eval.max_options;
}

/* ---- disk ---- */

/* Free bytes where `path` is or will be: of the nearest folder that exists. False: nobody knows. */
static bool free_bytes(const char *path, uint64_t *out, char *where, size_t size)
{
    struct statvfs v;
    snprintf(where, size, "%s", path);
    while (statvfs(where, &v) != 0) {
        char *slash = strrchr(where, '/');
        if ((errno != ENOENT && errno != ENOTDIR) || !strcmp(where, ".") || !strcmp(where, "/"))
            return false;
        if (!slash)
            snprintf(where, size, ".");
        else if (slash == where)
            where[1] = '\0';
        else
            *slash = '\0';
    }
    *out = (uint64_t)v.f_bavail * v.f_frsize;
    return v.f_blocks > 0; /* /proc and its like have none: there the writing itself tells what is wrong */
}

/* Room where masters spill to, or for two snapshots. */
static int check_places(const train *t, const zo2_plan *plan)
{
    if (t->opts.spill_count)
        return train_check_spill(t, plan);
    if (t->flags->no_snapshot.given)
        return 0;
    char where[4096], need[CLI_TEXT_BYTES], have[CLI_TEXT_BYTES];
    uint64_t available = 0;
    const char *dir = t->opts.snapshot_dir ? t->opts.snapshot_dir : t->flags->run.text;
    struct stat st;
    bool known = free_bytes(dir, &available, where, sizeof where);
    if (t->opts.snapshot_dir && stat(where, &st) == 0 && (!S_ISDIR(st.st_mode) || access(where, W_OK | X_OK) != 0))
        return cli_error(t->command->program, "%s: %s, so no snapshot could be written; choose another --snapshot DIR",
                         where, S_ISDIR(st.st_mode) ? strerror(errno) : "not a directory");
    if (t->steps_before || !known || available / 2 >= plan->snapshot_bytes)
        return 0;
    return cli_error(t->command->program,
                     "%s: two snapshots take %s, but %s are free there; make room, choose another place with "
                     "--snapshot DIR, or do without them: --no-snapshot",
                     where, cli_human_size(need, 2 * plan->snapshot_bytes), cli_human_size(have, available));
}

int train_check_disk(const train *t)
{
    zo2_plan plan = {.struct_size = sizeof plan};
    zo2_engine_opts o = t->opts;
    o.probe_seconds = 0; /* sizes are all that matters here */
    zo2_status s = zo2_plan_estimate(t->model.path, &o, &plan);
    if (s != ZO2_OK)
        return train_fail_to_fit(t, s == ZO2_ERR_NOMEM ? "doesn't fit" : NULL, s);
    return check_places(t, &plan);
}

/* ---- the plan ---- */

/* A run has its wires for good: advice is for new ones. */
static void find_advice(const train *t, zo2_status s, const zo2_plan *plan, cli_wire_advices *out)
{
    const cli_wire_search search = {.model = t->model.path, .opts = &t->opts, .now = plan};
    memset(out, 0, sizeof *out);
    if (t->existed)
        return;
    if (s == ZO2_OK)
        cli_wire_advice_find(out, &search);
    else if (s == ZO2_ERR_NOMEM && plan->parameters)
        cli_wire_advice_fit(&out->fit, &search);
}

int train_show_plan(train *t)
{
    zo2_plan plan = {.struct_size = sizeof plan};
    cli_plan_lines lines = {.batch = t->settings.batch, .rows_per_line = most_options(t), .fixed = t->existed};
    if (!t->opts.host_bytes)
        t->opts.host_bytes = zo2_host_budget_bytes(); /* a plan alone has no limit, a run has */
    zo2_status s = zo2_plan_estimate(t->model.path, &t->opts, &plan);
    bool known = plan.parameters != 0;
    const cli_wear wear = train_wear(t, &plan);
    if (t->opts.spill_count)
        lines.wear = &wear;
    cli_wire_advices advice;
    find_advice(t, s, &plan, &advice);
    if (known && t->flags->json.given)
        cli_plan_print_json(t->model.path, &plan, s == ZO2_OK, NULL, lines.wear, &advice);
    else if (known)
        cli_plan_print(t->model.path, &t->opts, &plan, &lines);
    if (known && !t->flags->json.given)
        cli_plan_print_advice(&plan, &advice);
    fflush(stdout);
    return s == ZO2_OK ? check_places(t, &plan) : train_fail_to_fit(t, known ? "doesn't fit" : NULL, s);
}

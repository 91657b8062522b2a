/* train_spill.c: zo2-tune train with masters that spill to drives: whether they have room for them and endure it, and what is said
 * of where masters live. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "tools/cli/numbers.h"
#include "tools/cli/progress.h"
#include "tools/cli/report.h"
#include "tools/cli/wear.h"
#include "tools/tune/train.h"

void train_spill_chunks(train *t)
{
    zo2_run *run = NULL;
    if (!t->existed || !t->opts.spill_count)
        return;
    if (zo2_run_open(&run, t->flags->run.text) == ZO2_OK) /* else opening the engine says it */
        t->opts.chunk_bytes = zo2_run_spill_chunk_bytes(run, t->opts.spill_dirs, t->opts.spill_count);
    zo2_run_close(run);
}

cli_wear train_wear(const train *t, const zo2_plan *plan)
{
    return cli_wear_of(plan, &t->opts, t->settings.steps, t->settings.endurance);
}

static int check_wear(const train *t, const zo2_plan *plan)
{
    char text[512];
    cli_wear w = train_wear(t, plan);
    return cli_wear_too_much(&w) ? cli_error(t->command->program, "%s", cli_wear_text(text, sizeof text, &w)) : 0;
}

/* Of directories on one file system, the first speaks for all. Their part is by numbers: rates aren't known here. */
static int check_room(const train *t, const zo2_plan *plan, uint32_t first, const struct stat *of)
{
    const zo2_engine_opts *o = &t->opts;
    char need[CLI_TEXT_BYTES], have[CLI_TEXT_BYTES];
    struct statvfs v;
    struct stat st;
    uint32_t same = 0;
    for (uint32_t i = 0; i < o->spill_count; i++)
        if (stat(o->spill_dirs[i], &st) == 0 && st.st_dev == of->st_dev) {
            if (i < first)
                return 0;
            same++;
        }
    if (statvfs(o->spill_dirs[first], &v) != 0)
        return cli_error(t->command->program, "%s: %s", o->spill_dirs[first], strerror(errno));
    double bytes = (double)plan->spill_bytes / o->spill_count * same, there = (double)v.f_bavail * (double)v.f_frsize;
    if (bytes <= there)
        return 0;
    return cli_error(
        t->command->program,
        "%s: masters that spill take %s on its file system, but %s are free there; make room, or name other "
        "directories, or more of them, with --spill DIR",
        o->spill_dirs[first], cli_human_size(need, (uint64_t)bytes), cli_human_size(have, (uint64_t)there));
}

int train_check_spill(const train *t, const zo2_plan *plan)
{
    int status = check_wear(t, plan);
    for (uint32_t i = 0; i < t->opts.spill_count && !status; i++) {
        const char *dir = t->opts.spill_dirs[i];
        struct stat st;
        const int there = stat(dir, &st) == 0;
        if (there && !S_ISDIR(st.st_mode))
            status = cli_error(t->command->program, "--spill %s: not a directory", dir);
        else if (!there || access(dir, W_OK | X_OK) != 0)
            status =
                cli_error(t->command->program, "--spill %s: %s; choose a directory that is there and may be written",
                          dir, strerror(errno));
        else if (!t->existed) /* else its files are there, or the engine makes them again */
            status = check_room(t, plan, i, &st);
    }
    return status;
}

void train_say_spill(train *t)
{
    char ram[CLI_TEXT_BYTES], size[CLI_TEXT_BYTES], rest[CLI_TEXT_BYTES], wires[64] = "";
    const zo2_plan *p = &t->plan;
    if (!p->spill_bytes || t->progress.quiet)
        return;
    if (p->ram_wire_bytes)
        snprintf(wires, sizeof wires, "; %s of their wires are in RAM, too", cli_human_size(size, p->ram_wire_bytes));
    cli_progress_message(&t->progress, "masters: %s in RAM, %s in %u director%s%s",
                         cli_human_size(ram, p->ram_master_bytes), cli_human_size(rest, p->spilled_bytes),
                         t->opts.spill_count, t->opts.spill_count == 1 ? "y" : "ies", wires);
}

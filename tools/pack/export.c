/* export.c: zo2-pack export. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/zo2.h"
#include "tools/cli/args.h"
#include "tools/cli/report.h"
#include "tools/pack/commands.h"
#include "tools/pack/run_folder.h"
#include "tools/pack/work.h"

typedef struct export_flags {
    cli_value run, at_step, snapshot, replay, dtype, split_size, threads, force;
    cli_list spill;
} export_flags;

// clang-format off
static const cli_option options[] = {
    {"run", "RUN_DIR", CLI_TEXT, offsetof(export_flags, run), "the weights of this run (the pack's own)", 0, 0},
    {"at-step", "N", CLI_COUNT, offsetof(export_flags, at_step), "as they were after N steps (all)", 0, INT64_MAX},
    {"snapshot", "DIR", CLI_TEXT, offsetof(export_flags, snapshot), "the run's snapshots are there (where it was told to put them)", 0, 0},
    {"spill", "DIR", CLI_TEXTS, offsetof(export_flags, spill), "the run's masters were spilled there (where it was told to); may be repeated", 0, 0},
    {"replay", NULL, CLI_FLAG, offsetof(export_flags, replay), "from the pack and the run's journal alone", 0, 0},
    {"dtype", "auto|fp32|bf16|fp16", CLI_CHOICE, offsetof(export_flags, dtype), "type of the weights (auto: as in the source)", 0, 0},
    {"split-size", "SIZE", CLI_SIZE, offsetof(export_flags, split_size), "largest file of weights (5,000,000,000 bytes)", 1, 0},
    {"threads", "N", CLI_COUNT, offsetof(export_flags, threads), "threads (usable CPUs)", 1, 4096},
    {"force", NULL, CLI_FLAG, offsetof(export_flags, force), "replace OUT_DIR if it exists", 0, 0},
    {0},
};
// clang-format on

int pack_export(int argc, char **argv)
{
    export_flags flags = {0};
    const char *path = NULL, *out = NULL;
    const cli_positional positionals[] = {
        {"FILE", "the pack", &path, false},
        {"OUT_DIR", "the directory to write", &out, false},
        {0},
    };
    const cli_group groups[] = {{"Options", options, &flags}, {0}};
    const cli_command command = {
        "zo2-pack export",
        "Writes a directory that Hugging Face transformers loads: weights, configuration, tokenizer.",
        positionals,
        groups,
        "Replays from what the run has spilled, or its newest snapshot, at or before the step, else from the pack; the bits are the same.\n"
        "--snapshot without --run: what the newest snapshot there has, for a run that lost its journal.\n"
        "Updates that a run has still pending are applied to the output, never to the run.\n"
        "OUT_DIR appears when it is complete, or not at all.",
    };
    int status;
    if (!cli_parse(&command, argc, argv, &status))
        return cli_finish(command.program, status);
    if (flags.at_step.given && !flags.run.given)
        return cli_usage_error(&command, "--at-step needs --run");
    if (!flags.run.given && (flags.spill.n || flags.replay.given))
        return cli_usage_error(&command, "--%s needs --run", flags.spill.n ? "spill" : "replay");
    if (flags.replay.given && (flags.spill.n || flags.snapshot.given))
        return cli_usage_error(&command, "--replay and --%s contradict each other",
                               flags.spill.n ? "spill" : "snapshot");

    pack_work work;
    pack_work_begin(&work, command.program, out, flags.force.given);
    zo2_export_opts o;
    zo2_export_opts_init(&o);
    char *remembered = flags.run.given && !flags.snapshot.given ? pack_run_snapshots(flags.run.text) : NULL;
    pack_spills spills = {0};
    if (flags.run.given)
        pack_spills_find(&spills, flags.run.text, &flags.spill);
    o.run_dir = flags.run.text;
    o.spill_dirs = spills.dirs;
    o.spill_count = spills.n;
    o.replay = flags.replay.given;
    o.snapshot_dir = flags.snapshot.given ? flags.snapshot.text : remembered;
    o.at_step = flags.at_step.given ? (int64_t)flags.at_step.u : -1;
    if (flags.dtype.given)
        o.dtype = zo2_dtype_parse(flags.dtype.text); /* 0, auto, for "auto" */
    o.split_bytes = flags.split_size.u;
    o.threads = (uint32_t)flags.threads.u;
    o.force = flags.force.given;
    pack_work_callbacks(&work, &o.log, &o.log_ud, &o.progress, &o.progress_ud);
    status = pack_work_end(&work, zo2_pack_export(path, out, &o));
    free(remembered);
    pack_spills_free(&spills);
    if (status != CLI_EXIT_OK)
        return status;
    if (flags.at_step.given)
        printf("%s: the weights of %s after %s steps\n", out, flags.run.text, flags.at_step.text);
    else
        printf("%s: the weights of %s\n", out,
               flags.run.given        ? flags.run.text
               : flags.snapshot.given ? flags.snapshot.text
                                      : path);
    return cli_finish(command.program, CLI_EXIT_OK);
}

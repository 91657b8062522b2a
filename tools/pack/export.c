/* export.c: zo2-pack export and zo2-pack apply, the two ways from a pack to a model's directory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/zo2.h"
#include "tools/cli/args.h"
#include "tools/cli/numbers.h"
#include "tools/cli/report.h"
#include "tools/pack/commands.h"
#include "tools/pack/run_folder.h"
#include "tools/pack/work.h"

typedef struct run_flags {
    cli_value run, at_step, snapshot, replay, journal_only, gguf;
    cli_list spill;
} run_flags;

/* What both write, and how. */
typedef struct output_flags {
    cli_value merge, dtype, split_size, threads, force;
} output_flags;

// clang-format off
static const cli_option run_options[] = {
    {"run", "RUN_DIR", CLI_TEXT, offsetof(run_flags, run), "the weights of this run (the pack's own)", 0, 0},
    {"at-step", "N", CLI_COUNT, offsetof(run_flags, at_step), "as they were after N steps (all)", 0, INT64_MAX},
    {"snapshot", "DIR", CLI_TEXT, offsetof(run_flags, snapshot), "the run's snapshots are there (where it was told to put them)", 0, 0},
    {"spill", "DIR", CLI_TEXTS, offsetof(run_flags, spill), "the run's masters were spilled there (where it was told to); may be repeated", 0, 0},
    {"replay", NULL, CLI_FLAG, offsetof(run_flags, replay), "from the pack and the run's journal alone", 0, 0},
    {"journal-only", NULL, CLI_FLAG, offsetof(run_flags, journal_only), "no weights: OUT is a small file that zo2-pack apply makes the same weights of", 0, 0},
    {"gguf", "f16|bf16|q8_0", CLI_CHOICE, offsetof(run_flags, gguf), "OUT is one file for llama.cpp, its matrices of this type", 0, 0},
    {0},
};

static const cli_option output_options[] = {
    {"merge", NULL, CLI_FLAG, offsetof(output_flags, merge), "of a run that tunes adapters: the whole model, with them added to its matrices", 0, 0},
    {"dtype", "auto|fp32|bf16|fp16", CLI_CHOICE, offsetof(output_flags, dtype), "type of the weights (auto: as in the source)", 0, 0},
    {"split-size", "SIZE", CLI_SIZE, offsetof(output_flags, split_size), "largest file of weights (5,000,000,000 bytes)", 1, 0},
    {"threads", "N", CLI_COUNT, offsetof(output_flags, threads), "threads (usable CPUs)", 1, 4096},
    {"force", NULL, CLI_FLAG, offsetof(output_flags, force), "replace the output if it exists", 0, 0},
    {0},
};
// clang-format on

static void set_output(zo2_export_opts *o, const output_flags *flags)
{
    if (flags->dtype.given)
        o->dtype = zo2_dtype_parse(flags->dtype.text); /* 0, auto, for "auto" */
    o->split_bytes = flags->split_size.u;
    o->threads = (uint32_t)flags->threads.u;
    o->force = flags->force.given;
    o->merge = flags->merge.given;
}

/* As --gguf has them. */
static zo2_export_form form_of(const cli_value *gguf)
{
    static const char *const names[] = {
        [ZO2_EXPORT_GGUF_F16] = "f16", [ZO2_EXPORT_GGUF_BF16] = "bf16", [ZO2_EXPORT_GGUF_Q8_0] = "q8_0"};
    int form = ZO2_EXPORT_FOLDER;
    for (int i = ZO2_EXPORT_GGUF_F16; gguf->given && i <= ZO2_EXPORT_GGUF_Q8_0; i++)
        form = strcmp(gguf->text, names[i]) == 0 ? i : form;
    return (zo2_export_form)form;
}

/* ---- export ------------------------------------------------------------------------------------------------------ */

/* The option that means nothing beside the others, with what is wrong; NULL if all is well. */
static const char *contradiction(const run_flags *f, const output_flags *out, const char **option)
{
    const struct {
        int given;
        const char *name;
    } needs_run[] = {{f->at_step.given, "at-step"},
                     {f->journal_only.given, "journal-only"},
                     {f->spill.n > 0, "spill"},
                     {f->replay.given, "replay"},
                     {out->merge.given, "merge"}},
      of_weights[] = {{out->dtype.given, "dtype"},     {out->split_size.given, "split-size"},
                      {out->threads.given, "threads"}, {f->spill.n > 0, "spill"},
                      {f->snapshot.given, "snapshot"}, {f->replay.given, "replay"},
                      {f->gguf.given, "gguf"},         {out->merge.given, "merge"}},
      of_folders[] = {{out->dtype.given, "dtype"}, {out->split_size.given, "split-size"}};
    for (size_t i = 0; !f->run.given && i < sizeof needs_run / sizeof *needs_run; i++)
        if (needs_run[i].given) {
            *option = needs_run[i].name;
            return "needs --run";
        }
    for (size_t i = 0; f->journal_only.given && i < sizeof of_weights / sizeof *of_weights; i++)
        if (of_weights[i].given) {
            *option = of_weights[i].name;
            return "is about weights, and --journal-only writes none";
        }
    for (size_t i = 0; f->gguf.given && i < sizeof of_folders / sizeof *of_folders; i++)
        if (of_folders[i].given) {
            *option = of_folders[i].name;
            return "is about directories, and --gguf writes a file";
        }
    *option = f->spill.n ? "spill" : "snapshot";
    return f->replay.given && (f->spill.n || f->snapshot.given) ? "and --replay contradict each other" : NULL;
}

static int export_bundle(pack_work *work, const char *path, const char *out, const zo2_export_opts *o)
{
    char steps[CLI_TEXT_BYTES], size[CLI_TEXT_BYTES];
    zo2_bundle *bundle = NULL;
    zo2_bundle_info info;
    int status = pack_work_end(work, zo2_pack_bundle(path, out, o));
    if (status != CLI_EXIT_OK)
        return status;
    zo2_status s = zo2_bundle_open(&bundle, out);
    if (s == ZO2_OK)
        s = zo2_bundle_get_info(bundle, &info);
    zo2_bundle_close(bundle);
    if (s != ZO2_OK)
        return cli_fail(work->program, NULL, s);
    printf("%s: %s steps of %s, %s, for model hash 0x%016llx\n", out, cli_human_count(steps, info.steps), o->run_dir,
           cli_human_size(size, info.file_bytes), (unsigned long long)info.model_hash);
    return CLI_EXIT_OK;
}

static int export_weights(pack_work *work, const char *path, const char *out, const zo2_export_opts *o,
                          const run_flags *flags)
{
    int status = pack_work_end(work, zo2_pack_export(path, out, o));
    if (status != CLI_EXIT_OK)
        return status;
    if (flags->at_step.given)
        printf("%s: the weights of %s after %s steps\n", out, o->run_dir, flags->at_step.text);
    else
        printf("%s: the weights of %s\n", out,
               flags->run.given        ? flags->run.text
               : flags->snapshot.given ? flags->snapshot.text
                                       : path);
    return CLI_EXIT_OK;
}

int pack_export(int argc, char **argv)
{
    run_flags flags = {0};
    output_flags output = {0};
    const char *path = NULL, *out = NULL, *option;
    const cli_positional positionals[] = {
        {"FILE", "the pack", &path, false},
        {"OUT", "the directory to write; the file, with --journal-only and --gguf", &out, false},
        {0},
    };
    const cli_group groups[] = {{"Options", run_options, &flags}, {NULL, output_options, &output}, {0}};
    const cli_command command = {
        "zo2-pack export",
        "Writes a directory that Hugging Face transformers loads, or a file for llama.cpp: weights, configuration, tokenizer.",
        positionals,
        groups,
        "Replays from what the run has spilled, or its newest snapshot, at or before the step, else from the pack; the bits are the same.\n"
        "--snapshot without --run: what the newest snapshot there has, for a run that lost its journal.\n"
        "--journal-only: a bundle, with what each step did to the weights: 240 kB for 20,000 steps of one query, whatever the model.\n"
        "Of a run that tunes adapters (lora:), OUT is what PEFT loads over the model, or with --merge (which --gguf needs) the whole model.\n"
        "Rows of the head that a run tunes (rows=) part it from a tied embedding: lm_head.weight is written, too.\n"
        "--gguf: of LLaMA, Mistral, Qwen2 and Qwen3 models; norms and biases are fp32. zo2-pack convert makes a pack of such a file.\n"
        "Updates that a run has still pending are applied to the output, never to the run.\n"
        "OUT appears when it is complete, or not at all.",
    };
    int status;
    if (!cli_parse(&command, argc, argv, &status))
        return cli_finish(command.program, status);
    const char *wrong = contradiction(&flags, &output, &option);
    if (wrong)
        return cli_usage_error(&command, "--%s %s", option, wrong);

    pack_work work;
    pack_work_begin(&work, command.program, out, output.force.given);
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
    o.form = form_of(&flags.gguf);
    o.snapshot_dir = flags.snapshot.given ? flags.snapshot.text : remembered;
    o.at_step = flags.at_step.given ? (int64_t)flags.at_step.u : -1;
    set_output(&o, &output);
    pack_work_callbacks(&work, &o.log, &o.log_ud, &o.progress, &o.progress_ud);
    status =
        flags.journal_only.given ? export_bundle(&work, path, out, &o) : export_weights(&work, path, out, &o, &flags);
    free(remembered);
    pack_spills_free(&spills);
    return cli_finish(command.program, status);
}

/* ---- apply ------------------------------------------------------------------------------------------------------- */

int pack_apply(int argc, char **argv)
{
    cli_value at_step = {0};
    output_flags output = {0};
    static const cli_option options[] = {
        {"at-step", "N", CLI_COUNT, 0, "the weights as they were after N steps (all of the bundle)", 0, INT64_MAX},
        {0},
    };
    const char *path = NULL, *bundle = NULL, *out = NULL;
    const cli_positional positionals[] = {
        {"FILE", "the pack", &path, false},
        {"BUNDLE", "what zo2-pack export --journal-only wrote of a run on it", &bundle, false},
        {"OUT_DIR", "the directory to write", &out, false},
        {0},
    };
    const cli_group groups[] = {{"Options", options, &at_step}, {NULL, output_options, &output}, {0}};
    const cli_command command = {
        "zo2-pack apply",
        "Writes the directory that zo2-pack export would write of the run, from the pack and the run's bundle.",
        positionals,
        groups,
        "The same bits on every machine. A bundle of a run on another model is refused.\n"
        "Of a run that tunes adapters (lora:), OUT_DIR is what PEFT loads over the model, or with --merge the whole model.\n"
        "OUT_DIR appears when it is complete, or not at all.",
    };
    int status;
    if (!cli_parse(&command, argc, argv, &status))
        return cli_finish(command.program, status);

    pack_work work;
    pack_work_begin(&work, command.program, out, output.force.given);
    zo2_export_opts o;
    zo2_export_opts_init(&o);
    o.bundle = bundle;
    o.at_step = at_step.given ? (int64_t)at_step.u : -1;
    set_output(&o, &output);
    pack_work_callbacks(&work, &o.log, &o.log_ud, &o.progress, &o.progress_ud);
    status = pack_work_end(&work, zo2_pack_export(path, out, &o));
    if (status == CLI_EXIT_OK && at_step.given)
        printf("%s: the weights of %s after %s steps\n", out, bundle, at_step.text);
    else if (status == CLI_EXIT_OK)
        printf("%s: the weights of %s\n", out, bundle);
    return cli_finish(command.program, status);
}

/* train_options.c: the command line of zo2-tune train. */
#include "tools/cli/args.h"
#include "tools/cli/engine_flags.h"
#include "tools/dist/split.h"
#include "tools/tune/train.h"

#define AT(member) offsetof(train_flags, member)
#define MAX_STEPS  (UINT64_C(1) << 28) /* a journal's (RUN.md) */

// clang-format off
static const cli_option file_options[] = {
    {"model", "FILE", CLI_TEXT, AT(model), "the pack to fine-tune (zo2-pack convert makes one)", CLI_NEEDED, 0},
    {"data", "TRAIN.jsonl", CLI_TEXT, AT(data), "training lines (-: standard input)", CLI_NEEDED, 0},
    {"run", "RUN_DIR", CLI_TEXT, AT(run), "directory of the run: where it is kept", CLI_NEEDED, 0},
    {"resume", NULL, CLI_FLAG, AT(resume), "continue the run if it exists; absent options take its values", 0, 0},
    {"retry-skipped", NULL, CLI_FLAG, AT(retry_skipped), "resume even if its last 10 steps were skipped; needs --resume", 0, 0},
    {"eval", "EVAL.jsonl", CLI_TEXT, AT(eval), "evaluate on these lines (-: standard input) before the first step and at the end", 0, 0},
    {"eval-every", "N", CLI_COUNT, AT(eval_every), "and after every N steps; needs --eval", 1, 0},
    {0},
};

static const cli_option size_options[] = {
    {"steps", "N", CLI_COUNT, AT(steps), "where the run ends (20000); may grow later with a constant schedule", 1, MAX_STEPS},
    {"bos", "auto|none|ID", CLI_TEXT, AT(bos), "token in front of texts and prompts (auto: the tokenizer's own)", 0, 0},
    {0},
};

static const cli_option method_options[] = {
    {"lr", "F", CLI_REAL, AT(lr), "learning rate (1e-6)", 0, 0},
    {"lr-schedule", "constant|linear|cosine", CLI_CHOICE, AT(schedule), "the last two reach 0 after --steps (constant)", 0, 0},
    {"warmup", "N", CLI_COUNT, AT(warmup), "steps of linear warm-up (0)", 0, INT64_MAX},
    {"eps", "F", CLI_ABOVE0, AT(eps), "length of the perturbation (1e-3)", 0, 0},
    {"weight-decay", "F", CLI_REAL, AT(weight_decay), "decoupled, per step lr * F; not of biases and norms (0)", 0, 0},
    {"clip", "F", CLI_REAL, AT(clip), "clamp each projected gradient to +-F (0: off)", 0, 0},
    {"seed", "N", CLI_COUNT, AT(seed), "of perturbations and data order (0)", 0, 0},
    {0},
};

static const cli_option output_options[] = {
    {"snapshot-every", "TIME", CLI_TIME, AT(snapshot_every), "save the weights that often (30m), at most 5 % of the time; 0: at the end only", 0, 0},
    {"snapshot", "DIR", CLI_TEXT, AT(snapshot), "where to (RUN_DIR/snapshots)", 0, 0},
    {"no-snapshot", NULL, CLI_FLAG, AT(no_snapshot), "never save them: the journal is enough, but a resume takes the steps' noise again", 0, 0},
    {"log-every", "N", CLI_COUNT, AT(log_every), "a line on stderr every N steps where it is no terminal (every 10 s)", 1, 0},
    {"dry-run", NULL, CLI_FLAG, AT(dry_run), "show the plan, with zo2-plan's advice, and stop", 0, 0},
    {"quiet", NULL, CLI_FLAG, AT(quiet), "warnings and errors only", 0, 0},
    {"json", NULL, CLI_FLAG, AT(json), "every step's metrics on stdout, at the end a summary object", 0, 0},
    {"trace", "FILE", CLI_TEXT, AT(trace), "write the lanes' timeline, for ui.perfetto.dev", 0, 0},
    {0},
};

static const cli_option rank_options[] = {
    {"distribute", DIST_MODES, CLI_CHOICE, AT(distribute), "ranks of mpirun or srun share a step: its queries, micro-batches, or both; the bits stay the same", 0, 0},
    {"share", "N,N,...", CLI_TEXT, AT(share), "how much of it each rank has, as 3,1 for machines that differ (equal); changes no bit", 0, 0},
    {"check-every", "N", CLI_COUNT, AT(check_every), "compare journals, and masters by turns, after every N steps (100); 0: never", 0, 0},
    {0},
};

static const cli_option warm_file_options[] = {
    {"model", "FILE", CLI_TEXT, AT(model), "the pack of the run", CLI_NEEDED, 0},
    {"data", "TRAIN.jsonl", CLI_TEXT, AT(data), "training lines (-: standard input)", CLI_NEEDED, 0},
    {"run", "RUN_DIR", CLI_TEXT, AT(run), "directory of the run; one of 0 steps is begun where there is none", CLI_NEEDED, 0},
    {"eval", "EVAL.jsonl", CLI_TEXT, AT(eval), "the lines of evaluations, too (-: standard input)", 0, 0},
    {0},
};

static const cli_option warm_output_options[] = {
    {"snapshot", "DIR", CLI_TEXT, AT(snapshot), "where the run's snapshots go (RUN_DIR/snapshots)", 0, 0},
    {"quiet", NULL, CLI_FLAG, AT(quiet), "warnings and errors only", 0, 0},
    {"json", NULL, CLI_FLAG, AT(json), "one JSON object: lines, kept, seconds", 0, 0},
    {0},
};
// clang-format on

void train_command(cli_command *out, cli_group groups[TRAIN_GROUPS], train_flags *f)
{
    const cli_group all[TRAIN_GROUPS] = {
        {"Files", file_options, f},
        {"Sizes", size_options, f},
        {NULL, cli_shape_options, &f->engine},
        {"Method", method_options, f},
        {NULL, cli_method_options, &f->engine},
        {"What moves", cli_tune_options, &f->engine},
        {"Arithmetic and resources", cli_compute_options, &f->engine},
        {NULL, cli_resource_options, &f->engine},
        {"Masters larger than memory", cli_spill_options, &f->engine},
        {"Several machines", rank_options, f},
        {"Saving and output", output_options, f},
        {0},
    };
    for (int i = 0; i < TRAIN_GROUPS; i++)
        groups[i] = all[i];
    *out = (cli_command){
        .program = "zo2-tune train",
        .summary = "Fine-tunes a model, or a part of it, with zeroth-order steps: two forward passes each.",
        .groups = groups,
        .notes =
            "Data lines: {\"text\"}, {\"prompt\", \"completion\"}, {\"prompt\", \"options\": [...], \"label\"},\n"
            "{\"messages\": [{\"role\", \"content\"}, ...]} (loss on what the assistant says) or {\"tokens\": [...], \"loss_from\"}.\n"
            "\n"
            "Terms of --tune: all; vectors (biases and norms); layers=4-5 or layers=0,4-5; matrices=4-5 (of these layers);\n"
            "rows=12,98-103 (of the output embedding, by token) or rows=answers (those of the options and completions in --data);\n"
            "match=*.fc1.* (names, zo2-pack info --tensors); lora:r=8,alpha=16,targets=q_proj+v_proj,layers=4-5 (adapters).\n"
            "As in --tune matrices=4-5+rows=answers. What does not move has no masters, and is computed once up to what moves.\n"
            "\n"
            "Ctrl-C stops and saves; --resume goes on, bit for bit.\n"
            "\n"
            "With --distribute rank 0 prints and has the run in RUN_DIR. Rank N has its own in RUN_DIR/rank-N, a --spill DIR/rank-N and\n"
            "a --snapshot DIR/rank-N, on its own disk or a shared one. The model and the data may lie anywhere: hashes are compared.",
    };
}

void warm_command(cli_command *out, cli_group groups[TRAIN_GROUPS], train_flags *f)
{
    train_command(out, groups, f);
    out->program = "zo2-tune warm";
    out->summary = "Computes what lies below all that a run moves, for all lines, and keeps it for the run's steps.";
    out->notes =
        "A new run takes the settings of zo2-tune train, an old one has them: only --trunk-cache and budgets are to be\n"
        "given again. Then go on with zo2-tune train --resume. Ctrl-C stops; the same command goes on.";
    for (int i = 0; i < TRAIN_GROUPS; i++)
        if (groups[i].options == file_options)
            groups[i].options = warm_file_options;
        else if (groups[i].options == output_options)
            groups[i] = (cli_group){"Output", warm_output_options, f};
    int n = 0; /* without that of ranks */
    for (int i = 0; i < TRAIN_GROUPS; i++)
        if (groups[i].options != rank_options)
            groups[n++] = groups[i];
}

/* make.c: zo2-pack convert and zo2-pack synth, the two ways to a pack. */
#include <stdio.h>

#include "engine/zo2.h"
#include "tools/cli/args.h"
#include "tools/cli/numbers.h"
#include "tools/cli/report.h"
#include "tools/pack/commands.h"
#include "tools/pack/tokenizer_check.h"
#include "tools/pack/work.h"

/* What was made, in one line on stdout. Returns the exit status. */
static int describe(const char *program, const char *path)
{
    zo2_pack *pack = NULL;
    zo2_pack_info info;
    zo2_status s = zo2_pack_open(&pack, path);
    if (s == ZO2_OK)
        s = zo2_pack_get_info(pack, &info);
    if (s != ZO2_OK) {
        zo2_pack_close(pack);
        return cli_fail(program, path, s);
    }
    char parameters[CLI_TEXT_BYTES], size[CLI_TEXT_BYTES];
    printf("%s: %s, %s parameters, %s, %s, model hash 0x%016llx\n", path, info.arch,
           cli_human_count(parameters, info.parameters), zo2_dtype_name(info.dtype),
           cli_human_size(size, info.file_bytes), (unsigned long long)info.model_hash);
    zo2_pack_close(pack);
    return cli_finish(program, CLI_EXIT_OK);
}

#define ZSTD_HELP "compress chunks that shrink: 1 to 19; 1 is enough for weights (not compressed)"

/* What is wrong with the tokenizer comes up before gigabytes are written rather than after. Returns the exit status. */
static int check_tokenizer(const char *program, const char *dir)
{
    char config[4096];
    zo2_pack *model = NULL;
    zo2_pack_info info;
    /* Whatever else is wrong with the folder, the conversion says better. */
    if (snprintf(config, sizeof config, "%s/config.json", dir) >= (int)sizeof config ||
        zo2_pack_open_arch(&model, config) != ZO2_OK)
        return CLI_EXIT_OK;
    zo2_status s = zo2_pack_get_info(model, &info);
    int status = s == ZO2_OK ? pack_tokenizer_check(program, dir, &info, false) : cli_fail(program, dir, s);
    zo2_pack_close(model);
    return status;
}

int pack_convert(int argc, char **argv)
{
    struct {
        cli_value zstd, threads, force;
    } flags = {0};
    static const cli_option options[] = {
        {"zstd", "LEVEL", CLI_COUNT, 0, ZSTD_HELP, 1, 19},
        {"threads", "N", CLI_COUNT, sizeof(cli_value), "threads (usable CPUs)", 1, 4096},
        {"force", NULL, CLI_FLAG, 2 * sizeof(cli_value), "replace OUT.zo2 if it exists", 0, 0},
        {0},
    };
    const char *dir = NULL, *out = NULL;
    const cli_positional positionals[] = {
        {"HF_DIR", "directory with config.json, weights and tokenizer files; or a GGUF file", &dir, false},
        {"OUT.zo2", "the pack to write", &out, false},
        {0},
    };
    const cli_group groups[] = {{"Options", options, &flags}, {0}};
    const cli_command command = {
        "zo2-pack convert",
        "Converts a Hugging Face model directory, or a GGUF file, into a pack. The source's own bits are kept.",
        positionals,
        groups,
        "Weights: *.safetensors, else pytorch_model.bin, its shards, or other *.bin, *.pt, *.pth and *.ckpt of torch.save();\n"
        "nothing in these is executed. F32, F16 and BF16 are kept as they are, F64 becomes F32.\n"
        "Needs little memory whatever the model's size. OUT.zo2 appears when it is complete, or not at all.\n"
        "Interrupted, it leaves OUT.zo2.partial and OUT.zo2.partial-chunks: the same command goes on from there.\n"
        "The tokenizer is opened first, as zo2-tune will: what is wrong with its files, or odd, is said before weights are read.\n"
        "Tensor names of a wrapped model (module., _orig_mod., base_model.model.) are freed of what the wrapper added.\n"
        "OPT as metaseq saves it (reshard-model_part-0.pt, ...) is merged; without config.json it is known by its shapes.\n"
        "GGUF: of LLaMA, Mistral, Qwen2 and Qwen3 models as F32, F16, BF16, Q8_0, Q4_0 or Q4_1. Blocks are decoded: the pack has fp32.\n"
        "--zstd makes the file a sixth smaller, a third for bf16; weights, runs and results are the same.",
    };
    int status;
    if (!cli_parse(&command, argc, argv, &status))
        return cli_finish(command.program, status);

    status = check_tokenizer(command.program, dir);
    if (status != CLI_EXIT_OK)
        return cli_finish(command.program, status);
    pack_work work;
    pack_work_begin(&work, command.program, out, flags.force.given);
    zo2_convert_opts o;
    zo2_convert_opts_init(&o);
    o.threads = (uint32_t)flags.threads.u;
    o.force = flags.force.given;
    o.resume = 1;
    o.zstd_level = (int)flags.zstd.u;
    pack_work_callbacks(&work, &o.log, &o.log_ud, &o.progress, &o.progress_ud);
    status = pack_work_end(&work, zo2_pack_convert(dir, out, &o));
    return status == CLI_EXIT_OK ? describe(command.program, out) : status;
}

int pack_synth(int argc, char **argv)
{
    struct {
        cli_value dtype, alias, seed, zstd, threads, force;
    } flags = {0};
    static const cli_option options[] = {
        {"dtype", "fp16|bf16|fp32", CLI_CHOICE, 0, "type of the weights (fp16)", 0, 0},
        {"alias", NULL, CLI_FLAG, sizeof(cli_value), "store one layer for all: a small file for a large model", 0, 0},
        {"seed", "N", CLI_COUNT, 2 * sizeof(cli_value), "seed of the weights (0)", 0, 0},
        {"zstd", "LEVEL", CLI_COUNT, 3 * sizeof(cli_value), ZSTD_HELP, 1, 19},
        {"threads", "N", CLI_COUNT, 4 * sizeof(cli_value), "threads (usable CPUs)", 1, 4096},
        {"force", NULL, CLI_FLAG, 5 * sizeof(cli_value), "replace OUT.zo2 if it exists", 0, 0},
        {0},
    };
    const char *arch = NULL, *out = NULL;
    const cli_positional positionals[] = {
        {"ARCH", "a published model (opt-1.3b, llama-3.1-8b, qwen3-4b, ...), or the path of a config.json", &arch,
         false},
        {"OUT.zo2", "the pack to write", &out, false},
        {0},
    };
    const cli_group groups[] = {{"Options", options, &flags}, {0}};
    const cli_command command = {
        "zo2-pack synth",
        "Makes a pack of random weights, for measurements.",
        positionals,
        groups,
        "The pack has no tokenizer: train it on ready ids, {\"tokens\": [...]}.\n"
        "With --alias all layers share their storage: results mean nothing, nor are they the\n"
        "same after a resume that replays the journal; costs are real.",
    };
    int status;
    if (!cli_parse(&command, argc, argv, &status))
        return cli_finish(command.program, status);

    pack_work work;
    pack_work_begin(&work, command.program, out, flags.force.given);
    zo2_synth_opts o;
    zo2_synth_opts_init(&o);
    if (flags.dtype.given)
        o.dtype = zo2_dtype_parse(flags.dtype.text);
    o.alias = flags.alias.given;
    o.seed = flags.seed.u;
    o.force = flags.force.given;
    o.zstd_level = (int)flags.zstd.u;
    o.threads = (uint32_t)flags.threads.u;
    pack_work_callbacks(&work, NULL, NULL, &o.progress, &o.progress_ud);
    status = pack_work_end(&work, zo2_pack_synth(arch, out, &o));
    return status == CLI_EXIT_OK ? describe(command.program, out) : status;
}

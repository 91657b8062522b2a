/* info_tune.c: see info_tune.h. */
#include "tools/pack/info_tune.h"

#include <stdio.h>

#include "tools/cli/numbers.h"
#include "tools/cli/tune_text.h"

/* "layer 4", "the head": block `block` of a model. */
static const char *block_text(char out[CLI_TEXT_BYTES], uint32_t block, uint32_t layers)
{
    if (block == 0)
        snprintf(out, CLI_TEXT_BYTES, "the embeddings");
    else if (block > layers)
        snprintf(out, CLI_TEXT_BYTES, "the head");
    else
        snprintf(out, CLI_TEXT_BYTES, "layer %u", block - 1);
    return out;
}

void pack_tune_print(const char *tune, const zo2_tune_info *info)
{
    char text[CLI_TUNE_BYTES], a[CLI_TEXT_BYTES], b[CLI_TEXT_BYTES];
    printf("tune         %s\n", cli_tune_text(text, tune, false));
    printf("  moving     %s parameters in %u tensor%s", cli_human_count(a, info->moving), info->moving_tensors,
           info->moving_tensors == 1 ? "" : "s");
    printf(" (the model's: %s in %u)\n", cli_human_count(a, info->parameters), info->tensors);
    if (info->rows)
        printf("  rows       %s of the output embedding\n", cli_human_count(a, info->rows));
    if (info->lora_tensors)
        printf("  adapters   %s tensors\n", cli_human_count(a, info->lora_tensors));
    printf("  masters    %s, fp32\n", cli_human_size(a, info->master_bytes));
    printf("  groups     %u, if they take turns\n", info->groups);
    block_text(b, info->fork_block, info->layers);
    if (info->token_bytes)
        printf("  fork       at %s: what is below is computed once, and takes %s a token to keep (fp32)\n", b,
               cli_human_size(a, info->token_bytes));
    else
        printf("  fork       at %s: no layer is computed once\n", b);
}

void pack_tune_json(cli_json *j, const char *tune, const zo2_tune_info *info)
{
    cli_json_open(j, "tune", '{');
    cli_json_text(j, "choice", tune);
    cli_json_u64(j, "moving", info->moving);
    cli_json_u64(j, "moving_tensors", info->moving_tensors);
    cli_json_u64(j, "rows", info->rows);
    cli_json_u64(j, "lora_tensors", info->lora_tensors);
    cli_json_u64(j, "groups", info->groups);
    cli_json_u64(j, "fork_block", info->fork_block);
    cli_json_u64(j, "master_bytes", info->master_bytes);
    cli_json_u64(j, "token_bytes", info->token_bytes);
    cli_json_close(j, '}');
}

/* info_tokenizer.c: see info_tokenizer.h. */
#include "tools/pack/info_tokenizer.h"

#include <stdio.h>

#include "tools/cli/numbers.h"

/* Keeps why something can't be used; what is left is another failure. */
static zo2_status keep_reason(zo2_status s, char reason[256])
{
    if (s != ZO2_ERR_FORMAT && s != ZO2_ERR_UNSUPPORTED)
        return s == ZO2_ERR_NOTFOUND ? ZO2_OK : s;
    snprintf(reason, 256, "%s", zo2_last_error());
    return ZO2_OK;
}

zo2_status pack_tokenizer_info_begin(pack_tokenizer_info *t, const zo2_pack *pack)
{
    *t = (pack_tokenizer_info){0};
    zo2_status s = keep_reason(zo2t_tokenizer_open_pack(&t->tokenizer, pack), t->reason);
    return s ? s : keep_reason(zo2t_chat_open_pack(&t->chat, pack), t->chat_reason);
}

void pack_tokenizer_info_end(pack_tokenizer_info *t)
{
    zo2t_tokenizer_close(t->tokenizer);
    zo2t_chat_close(t->chat);
    *t = (pack_tokenizer_info){0};
}

static void print_front(int32_t bos)
{
    if (bos >= 0)
        printf("in front     token %d\n", bos);
    else
        printf("in front     %s\n", bos == ZO2T_BOS_UNSAID ? "the bos token" : "nothing");
}

static void print_tokenizer(const zo2t_tokenizer *t)
{
    char tokens[CLI_TEXT_BYTES];
    zo2t_tokenizer_info info;
    zo2t_tokenizer_get_info(t, &info);
    printf("tokenizer    %s, %s tokens (%s)\n", info.kind, cli_human_count(tokens, info.tokens), info.file);
    printf("texts        normalizer %s, pre-tokenizer %s, other characters: %s\n",
           info.normalizer[0] ? info.normalizer : "none", info.pretokenizer[0] ? info.pretokenizer : "none",
           info.others);
    print_front(zo2t_tokenizer_bos(t));
}

void pack_tokenizer_info_print(const pack_tokenizer_info *t)
{
    if (t->tokenizer)
        print_tokenizer(t->tokenizer);
    else
        printf("tokenizer    %s%s\n", t->reason[0] ? "can't be used: " : "none", t->reason);
    if (t->chat)
        printf("chat         %s\n", zo2t_chat_name(t->chat));
    else if (t->chat_reason[0])
        printf("chat         %s\n", t->chat_reason);
}

static void json_name(cli_json *j, const char *key, const char *name)
{
    cli_json_text(j, key, name[0] ? name : NULL);
}

static void json_chat(const pack_tokenizer_info *t, cli_json *j)
{
    if (t->chat || !t->chat_reason[0]) {
        cli_json_text(j, "chat_template", t->chat ? zo2t_chat_name(t->chat) : NULL);
        return;
    }
    cli_json_open(j, "chat_template", '{');
    cli_json_text(j, "unusable", t->chat_reason);
    cli_json_close(j, '}');
}

void pack_tokenizer_info_json(const pack_tokenizer_info *t, cli_json *j)
{
    zo2t_tokenizer_info info;
    json_chat(t, j);
    if (!t->tokenizer && !t->reason[0]) {
        cli_json_null(j, "tokenizer");
        return;
    }
    cli_json_open(j, "tokenizer", '{');
    if (t->tokenizer) {
        const int32_t bos = zo2t_tokenizer_bos(t->tokenizer);
        zo2t_tokenizer_get_info(t->tokenizer, &info);
        cli_json_text(j, "kind", info.kind);
        cli_json_text(j, "file", info.file);
        cli_json_u64(j, "tokens", info.tokens);
        cli_json_u64(j, "added_tokens", info.added);
        json_name(j, "normalizer", info.normalizer);
        json_name(j, "pre_tokenizer", info.pretokenizer);
        cli_json_text(j, "other_characters", info.others);
        if (bos >= 0)
            cli_json_i64(j, "in_front", bos);
        else
            cli_json_text(j, "in_front", bos == ZO2T_BOS_UNSAID ? "bos_token_id" : NULL);
    } else {
        cli_json_text(j, "unusable", t->reason);
    }
    cli_json_close(j, '}');
}

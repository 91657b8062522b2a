/* tokenize.c: zo2-tune tokenize: what a text looks like to the model. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli/args.h"
#include "tools/cli/jsonout.h"
#include "tools/cli/report.h"
#include "tools/text/bytes.h"
#include "tools/tune/commands.h"
#include "tools/tune/inputs.h"

typedef struct tokenize_flags {
    cli_value model, bos, json;
} tokenize_flags;

static const cli_option options[] = {
    {"model", "FILE", CLI_TEXT, offsetof(tokenize_flags, model), "the pack whose tokenizer to use", CLI_NEEDED, 0},
    {"bos", "auto|none|ID", CLI_TEXT, offsetof(tokenize_flags, bos), "token in front (auto: the tokenizer's own)", 0,
     0},
    {"json", NULL, CLI_FLAG, offsetof(tokenize_flags, json), "a JSON object per text", 0, 0},
    {0},
};

/* Ids on one line, what they stand for on the next; or both in an object. */
static zo2_status print_tokens(const zo2t_tokenizer *t, const zo2t_ids *ids, bool as_json)
{
    cli_json j;
    zo2_status s = ZO2_OK;
    cli_json_start(&j, stdout);
    if (as_json) {
        cli_json_open(&j, NULL, '{');
        cli_json_open(&j, "ids", '[');
        for (size_t i = 0; i < ids->n; i++)
            cli_json_i64(&j, NULL, ids->id[i]);
        cli_json_close(&j, ']');
        cli_json_open(&j, "tokens", '[');
    } else {
        for (size_t i = 0; i < ids->n; i++)
            printf("%s%d", i ? " " : "", ids->id[i]);
        putchar('\n');
    }
    for (size_t i = 0; i < ids->n && s == ZO2_OK; i++) {
        char *text = NULL, quoted[ZO2T_QUOTE_BYTES];
        size_t bytes = 0;
        s = zo2t_decode(t, &ids->id[i], 1, &text, &bytes);
        if (s == ZO2_OK && as_json)
            cli_json_text(&j, NULL, text);
        else if (s == ZO2_OK)
            printf("%s%s", i ? " " : "", zo2t_quote(quoted, text, bytes));
        free(text);
    }
    if (as_json) {
        cli_json_close(&j, ']');
        cli_json_close(&j, '}');
    }
    putchar('\n');
    return s;
}

static zo2_status tokenize(zo2t_tokenizer *t, const char *text, size_t bytes, int32_t bos, bool as_json)
{
    zo2t_ids ids = {0};
    zo2_status s = zo2t_encode(t, text, bytes, bos, &ids);
    if (s == ZO2_OK)
        s = print_tokens(t, &ids, as_json);
    zo2t_ids_free(&ids);
    return s;
}

/* Every line of standard input, without its end. */
static int tokenize_input(const char *program, zo2t_tokenizer *t, int32_t bos, bool as_json)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t bytes;
    int status = 0;
    for (unsigned long long number = 1; !status && (bytes = getline(&line, &size, stdin)) > 0; number++) {
        size_t n = (size_t)bytes - (line[bytes - 1] == '\n');
        zo2_status s = tokenize(t, line, n, bos, as_json);
        if (s != ZO2_OK) {
            char where[64];
            snprintf(where, sizeof where, "standard input, line %llu", number);
            status = cli_fail(program, where, s);
        }
    }
    if (!status && ferror(stdin))
        status = cli_error(program, "cannot read standard input: %s", strerror(errno));
    free(line);
    return status;
}

int tune_tokenize(int argc, char **argv)
{
    tokenize_flags flags = {0};
    const char *text = NULL;
    const cli_positional positionals[] = {{"TEXT", "one text; without it every line of standard input", &text, true},
                                          {0}};
    const cli_group groups[] = {{"Options", options, &flags}, {0}};
    const cli_command command = {
        .program = "zo2-tune tokenize",
        .summary = "Shows the tokens of a text: their ids, then what each stands for.",
        .positionals = positionals,
        .groups = groups,
    };
    int status;
    if (!cli_parse(&command, argc, argv, &status))
        return cli_finish(command.program, status);

    tune_model model;
    int32_t bos = -1;
    status = tune_model_open(&model, command.program, flags.model.text);
    if (!status && !model.tokenizer)
        status = cli_error(command.program, "%s has no tokenizer that can be used (synthetic models have none)",
                           flags.model.text);
    if (!status)
        status = tune_resolve_bos(&command, &model, &flags.bos, NULL, &bos);
    if (!status && text) {
        zo2_status s = tokenize(model.tokenizer, text, strlen(text), bos, flags.json.given);
        status = s == ZO2_OK ? 0 : cli_fail(command.program, "TEXT", s);
    } else if (!status) {
        status = tokenize_input(command.program, model.tokenizer, bos, flags.json.given);
    }
    tune_model_close(&model);
    return cli_finish(command.program, status);
}

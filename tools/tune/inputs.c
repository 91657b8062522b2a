/* inputs.c: see inputs.h. */
#include "tools/tune/inputs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tools/cli/interrupt.h"
#include "tools/cli/report.h"
#include "tools/text/fit.h"
#include "tools/tune/warn.h"

/* Only conversations need a chat template: without one that is known the reason is kept. */
static zo2_status open_chat(tune_model *m)
{
    zo2_status s = zo2t_chat_open_pack(&m->chat, m->pack);
    if (s != ZO2_OK && s != ZO2_ERR_NOMEM)
        snprintf(m->no_chat, sizeof m->no_chat, "%s", zo2_last_error());
    return s == ZO2_ERR_NOMEM ? s : ZO2_OK;
}

int tune_model_open(tune_model *m, const char *program, const char *path)
{
    memset(m, 0, sizeof *m);
    m->path = path;
    zo2_status s = zo2_pack_open(&m->pack, path);
    if (s == ZO2_OK)
        s = zo2_pack_get_info(m->pack, &m->info);
    if (s == ZO2_OK)
        s = zo2t_tokenizer_open_pack(&m->tokenizer, m->pack);
    for (size_t i = 0; s == ZO2_OK && zo2t_tokenizer_note(m->tokenizer, i); i++)
        cli_warning(program, "%s: %s", path, zo2t_tokenizer_note(m->tokenizer, i));
    if (m->pack && s == ZO2_ERR_UNSUPPORTED) { /* ready ids need no tokenizer */
        cli_warning(program, "%s: %s; only \"tokens\" lines work with it", path, zo2_last_error());
        s = ZO2_OK;
    } else if (m->pack && s == ZO2_ERR_NOTFOUND) { /* synthetic models */
        s = ZO2_OK;
    }
    if (s == ZO2_OK)
        s = open_chat(m);
    return s == ZO2_OK ? 0 : cli_fail(program, NULL, s);
}

void tune_model_close(tune_model *m)
{
    zo2t_chat_close(m->chat);
    zo2t_tokenizer_close(m->tokenizer);
    zo2_pack_close(m->pack);
    memset(m, 0, sizeof *m);
}

int tune_resolve_seq(const cli_command *c, const tune_model *m, const cli_value *seq, uint32_t run_seq, uint32_t *out)
{
    if (seq->given && seq->u > m->info.context)
        return cli_usage_error(c, "--seq %s: the model's context is %u tokens", seq->text, m->info.context);
    *out = seq->given ? (uint32_t)seq->u : run_seq ? run_seq : m->info.context;
    return 0;
}

int tune_resolve_bos(const cli_command *c, const tune_model *m, const cli_value *bos, const int32_t *run_bos,
                     int32_t *out)
{
    const bool automatic = !bos->given || !strcmp(bos->text, "auto");
    if (automatic && run_bos) {
        *out = *run_bos;
        return 0;
    }
    zo2t_notes notes = {0};
    zo2_status s = zo2t_bos_parse(automatic ? "auto" : bos->text, m->tokenizer, &m->info, out);
    if (s == ZO2_OK && automatic && m->tokenizer)
        s = zo2t_fit_bos(m->tokenizer, &m->info, &notes);
    for (size_t i = 0; i < notes.n; i++)
        cli_warning(c->program, "%s: %s", m->path, notes.text[i]);
    zo2t_notes_free(&notes);
    return s == ZO2_OK ? 0 : cli_usage_error(c, "--bos: %s", zo2_last_error());
}

int tune_data_load(zo2t_dataset **out, const char *path, const tune_model *m, uint32_t seq, int32_t bos,
                   bool seq_option, cli_progress *progress)
{
    const zo2t_dataset_opts o = {.seq = seq,
                                 .vocab = m->info.vocab,
                                 .bos = bos,
                                 .cancelled = cli_interrupted,
                                 .most_seq = seq_option ? m->info.context : seq,
                                 .chat = m->chat,
                                 .no_chat = m->no_chat};
    zo2_status s = zo2t_dataset_load(out, path, m->tokenizer, &o);
    if (s != ZO2_OK)
        return cli_fail(progress->program, NULL, s);
    zo2t_dataset_info info;
    zo2t_dataset_get_info(*out, &info);
    if (info.truncated && !progress->quiet)
        cli_progress_message(progress,
                             "%s: %" PRIu64 " of %" PRIu64 " lines have more than %u tokens and lost their oldest ones"
                             " (the first is line %" PRIu64 ")",
                             zo2t_lines_name(path), info.truncated, info.examples, seq, info.first_truncated);
    tune_warn_data(progress, zo2t_lines_name(path), &info);
    return 0;
}

int tune_raise_bounds(zo2_engine_opts *o, const char *program, const zo2t_dataset *d, uint64_t batch, uint32_t micro,
                      bool for_evaluation)
{
    zo2t_dataset_info info;
    zo2t_bounds whole, part;
    zo2t_dataset_get_info(d, &info);
    if (for_evaluation && batch > info.examples)
        batch = info.examples;
    uint64_t lines = micro && micro < batch ? micro : batch;
    zo2_status s = zo2t_dataset_bounds(d, batch, &whole);
    if (s == ZO2_OK)
        s = zo2t_dataset_bounds(d, lines, &part);
    if (s != ZO2_OK)
        return cli_fail(program, "--batch", s);
    if ((uint64_t)whole.rows * whole.seq > INT32_MAX)
        return cli_error(program,
                         "--batch %" PRIu64 ": a batch of up to %u rows of %u tokens is too large; use a smaller one",
                         batch, whole.rows, whole.seq);
    if (whole.rows > o->max_rows)
        o->max_rows = whole.rows;
    if (part.rows > o->max_rows_micro)
        o->max_rows_micro = part.rows;
    if (whole.seq > o->max_seq)
        o->max_seq = whole.seq;
    if (whole.loss_tokens > o->max_loss_tokens)
        o->max_loss_tokens = whole.loss_tokens;
    return 0;
}

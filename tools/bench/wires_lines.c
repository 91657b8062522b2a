/* wires_lines.c: the user's lines, as zo2-tune reads them. */
#include <inttypes.h>

#include "tools/bench/bench.h"
#include "tools/bench/wire_table.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/progress.h"
#include "tools/cli/report.h"
#include "tools/text/fit.h"
#include "tools/text/tokenizer.h"

enum { BATCH = 16, DIRECTIONS = 64, ROW_TOKENS = 512 };

static zo2_status load(const bench *b, bench_wires *w, uint32_t seq, cli_progress *progress)
{
    zo2t_tokenizer *t = NULL;
    zo2t_chat *chat = NULL;
    zo2t_dataset_opts o = {
        .seq = seq, .vocab = w->info.vocab, .cancelled = cli_interrupted, .most_seq = w->info.context};
    zo2_status s = zo2t_tokenizer_open_pack(&t, w->pack);
    if (s == ZO2_ERR_NOTFOUND || s == ZO2_ERR_UNSUPPORTED) { /* lines of token ids need none */
        cli_warning(b->program, "%s; only \"tokens\" lines work", zo2_last_error());
        s = ZO2_OK;
    }
    if (!s)
        s = zo2t_bos_parse("auto", t, &w->info, &o.bos);
    if (!s && zo2t_chat_open_pack(&chat, w->pack) == ZO2_OK)
        o.chat = chat;
    if (!s)
        s = zo2t_dataset_load(&w->lines, b->options.data.text, t, &o);
    zo2t_chat_close(chat);
    zo2t_tokenizer_close(t);
    if (s)
        return s;
    zo2t_dataset_info info;
    zo2t_dataset_get_info(w->lines, &info);
    if (info.truncated)
        cli_progress_message(progress,
                             "%s: %" PRIu64 " of %" PRIu64
                             " lines have more than %u tokens and lost their oldest ones; --tokens says how many stay",
                             b->options.data.text, info.truncated, info.examples, seq);
    w->scored = w->directions * w->batch < info.examples ? w->directions * w->batch : info.examples;
    return ZO2_OK;
}

bool bench_wires_lines(const bench *b, bench_wires *w, cli_progress *progress)
{
    const bench_options *o = &b->options;
    if (!o->data.given)
        return true;
    uint32_t seq = o->tokens.given ? (uint32_t)o->tokens.u : ROW_TOKENS;
    w->data = o->data.text;
    w->batch = o->batch.given ? o->batch.u : BATCH;
    w->directions = o->directions.given ? (uint32_t)o->directions.u : DIRECTIONS;
    zo2_status s = load(b, w, seq < w->info.context ? seq : w->info.context, progress);
    if (s)
        cli_fail(b->program, "wires", s);
    return !s;
}

/* dataset_messages.c: a line {"messages": [...]}: a conversation. */
#include "tools/text/dataset_line_internal.h"

#include <string.h>

/* What there is to do where no known template is. */
#define BEFOREHAND                                                                                                          \
    "; render it beforehand, with transformers: {\"prompt\": tokenizer.apply_chat_template(messages[:-1], tokenize=False, " \
    "add_generation_prompt=True), \"completion\": messages[-1][\"content\"] + END_OF_TURN}, and use --bos none"

static zo2_status check(const zo2t_line_context *c)
{
    const json_t *tools = json_object_get(c->root, "tools");
    if (!c->tokenizer)
        return zo2t_line_bad(
            c, "\"messages\" are text, but the model file carries no tokenizer: only \"tokens\" lines work with it");
    if (!c->opts->chat)
        return zo2t_line_bad(c, "\"messages\" need the model's chat template: %s" BEFOREHAND,
                             c->opts->no_chat ? c->opts->no_chat : "there is no chat template");
    if (tools && !json_is_null(tools) && !(json_is_array(tools) && !json_array_size(tools)))
        return zo2t_line_bad(c, "\"tools\" beside \"messages\" are not supported");
    return ZO2_OK;
}

/* Where the loss token is that has none behind it; there is one. */
static size_t last_loss(const zo2t_line *l)
{
    size_t last = l->ids.n - 1;
    while (!l->loss[last])
        last--;
    return last;
}

/* Drops what is too much: first behind the last loss token, then the oldest tokens behind a BOS. */
static zo2_status cut(const zo2t_line_context *c)
{
    zo2t_line *l = c->out;
    zo2t_ids *ids = &l->ids;
    const size_t seq = c->opts->seq, head = zo2t_chat_begins_with_bos(c->opts->chat);
    if (ids->n <= seq)
        return ZO2_OK;
    const size_t end = last_loss(l) + 1;
    size_t first = end;
    while (first && l->loss[first - 1])
        first--;
    if (end - first + 1 > seq)
        return zo2t_line_does_not_fit(c, "the last turn of the assistant", end - first);
    ids->n = end > seq ? end : seq;
    const size_t drop = ids->n - seq;
    memmove(ids->id + head, ids->id + head + drop, (ids->n - head - drop) * sizeof *ids->id);
    memmove(l->loss + head, l->loss + head + drop, ids->n - head - drop);
    ids->n = seq;
    l->loss[0] = 0; /* nothing predicts it */
    l->truncated = 1;
    return ZO2_OK;
}

static zo2_status add_gap(zo2t_line *l, size_t from, size_t tokens)
{
    void *p = l->gap;
    zo2_status s = zo2t_grow(&p, &l->gap_capacity, l->gaps + 1, sizeof *l->gap);
    l->gap = p;
    if (!s)
        l->gap[l->gaps++] = (zo2t_gap){(uint32_t)from, (uint32_t)tokens};
    return s;
}

/* Prompt, suffix and gaps of the loss tokens. */
static zo2_status find_gaps(const zo2t_line_context *c)
{
    zo2t_line *l = c->out;
    const size_t n = l->ids.n;
    size_t prompt = 0;
    while (!l->loss[prompt])
        prompt++;
    l->prompt = (uint32_t)prompt;
    zo2_status s = zo2t_line_add_suffix(c, n - prompt, "\"messages\"");
    for (size_t at = prompt, end; at < n && !s; at = end) {
        for (end = at; end < n && l->loss[end] == l->loss[at];)
            end++;
        if (!l->loss[at])
            s = add_gap(l, at - prompt, end - at);
    }
    return s;
}

zo2_status zo2t_line_messages(const zo2t_line_context *c)
{
    zo2t_line *l = c->out;
    l->kind = ZO2T_LM;
    zo2_status s = check(c);
    if (s)
        return s;
    s = zo2t_chat_render(c->opts->chat, json_object_get(c->root, "messages"), &l->chat);
    if (!s)
        s = zo2t_chat_encode(c->tokenizer, &l->chat, &l->ids, &l->loss, &l->loss_capacity);
    if (s == ZO2_ERR_FORMAT)
        return zo2t_line_bad(c, "\"messages\": %s", zo2_last_error());
    if (!s)
        s = zo2t_line_check_ids(c);
    if (!s && l->ids.n > INT32_MAX)
        s = zo2t_line_bad(c, "\"messages\" have too many tokens");
    if (!s)
        s = cut(c);
    return s ? s : find_gaps(c);
}

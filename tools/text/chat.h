/* chat.h: conversations as the text and tokens that a model's chat template makes of them. */
#ifndef ZO2_TOOLS_TEXT_CHAT_H
#define ZO2_TOOLS_TEXT_CHAT_H

#include <jansson.h>
#include <stdbool.h>

#include "tools/text/tokenizer.h"

typedef struct zo2t_chat zo2t_chat;

/* The files by content; read during zo2t_chat_open() only. The template is chat_template.jinja, without it "chat_template" of
 * tokenizer_config.json (of several the one named "default"); bos_token and eos_token are in tokenizer_config.json or
 * special_tokens_map.json. */
typedef struct zo2t_chat_files {
    zo2t_file chat_template, tokenizer_config, special_tokens_map;
} zo2t_chat_files;

/* On success *out is the caller's until zo2t_chat_close(); on failure it is NULL. ZO2_ERR_NOTFOUND: there is no template.
 * ZO2_ERR_UNSUPPORTED: it isn't one that is known (chat_format.c). ZO2_ERR_FORMAT: a malformed file, a token that the template
 * writes and no file names. */
zo2_status zo2t_chat_open(zo2t_chat **out, const zo2t_chat_files *files);

/* The same with the files that a pack carries. */
zo2_status zo2t_chat_open_pack(zo2t_chat **out, const zo2_pack *pack);

void zo2t_chat_close(zo2t_chat *c); /* NULL is fine */

/* The template's name. */
const char *zo2t_chat_name(const zo2t_chat *c);

/* Does every conversation begin with the token that begins a text? */
bool zo2t_chat_begins_with_bos(const zo2t_chat *c);

/* A piece of the text whose tokens are loss tokens. */
typedef struct zo2t_chat_span {
    size_t start, end;
} zo2t_chat_span;

typedef struct zo2t_chat_text {
    char *text; /* [bytes] */
    size_t bytes, capacity;
    zo2t_chat_span *span; /* [spans] rising: what the assistant says and the token that ends it */
    size_t spans, span_capacity;
} zo2t_chat_text;

/* Renders a list of messages {"role": "system" (the first one only), "user" or "assistant", "content": text} into *out,
 * whose memory is used again. Qwen3's may have "reasoning_content", too. ZO2_ERR_FORMAT names the message and what is
 * wrong with it: another role, other kinds of content, calls of tools, a system message that the template has no place
 * for, turns out of order; no turn of the assistant. */
zo2_status zo2t_chat_render(const zo2t_chat *c, const json_t *messages, zo2t_chat_text *out);

void zo2t_chat_text_free(zo2t_chat_text *t);

/* Appends the ids of a rendered text to *ids and sets (*loss)[ids->n], grown as zo2t_grow() does, to 1 where a token is one of loss. */
zo2_status zo2t_chat_encode(zo2t_tokenizer *t, const zo2t_chat_text *text, zo2t_ids *ids, uint8_t **loss,
                            size_t *loss_capacity);

#endif

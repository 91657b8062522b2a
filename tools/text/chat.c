/* chat.c: see chat.h: the template of a model, and the text that it makes of a conversation. */
#include "tools/text/chat.h"
#include "tools/text/bytes.h"
#include "tools/text/chat_format.h"
#include "tools/text/chat_message.h"
#include "tools/text/json_file.h"

#include <stdlib.h>
#include <string.h>

struct zo2t_chat {
    const zo2t_chat_format *format;
    char *bos, *eos; /* NULL where the template doesn't write them */
};

/* ---- files ------------------------------------------------------------------------------------------------------- */

/* "chat_template": a text, or a list of {"name", "template"}. */
static const json_t *template_of(const json_t *config)
{
    const json_t *value = json_object_get(config, "chat_template");
    const json_t *found = NULL;
    for (size_t i = 0; i < json_array_size(value) && !found; i++) {
        const json_t *item = json_array_get(value, i);
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name && !strcmp(name, "default"))
            found = json_object_get(item, "template");
    }
    found = json_is_array(value) ? found : value;
    return json_is_string(found) ? found : NULL;
}

static zo2_status recognise(zo2t_chat *c, const zo2t_file *file, const json_t *config)
{
    const json_t *value = template_of(config);
    if (file->data)
        return zo2t_chat_recognise(&c->format, file->data, file->bytes);
    return value ? zo2t_chat_recognise(&c->format, json_string_value(value), json_string_length(value))
                 : zo2_error(ZO2_ERR_NOTFOUND, "there is no chat template");
}

static bool writes_in(const zo2t_chat_turn *turn, char token)
{
    return (turn->before && strchr(turn->before, token)) || (turn->end && strchr(turn->end, token));
}

static bool writes(const zo2t_chat_format *f, char token)
{
    return strchr(f->begin, token) || writes_in(&f->user, token) || writes_in(&f->assistant, token);
}

static zo2_status token(char **out, const zo2t_chat *c, const json_t *config, const json_t *map, char sign,
                        const char *key)
{
    const json_t *value = json_object_get(config, key);
    if (!writes(c->format, sign))
        return ZO2_OK;
    if (!value || json_is_null(value))
        value = json_object_get(map, key);
    const char *text = json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
    if (!text || !*text)
        return zo2_error(ZO2_ERR_FORMAT,
                         "the chat template (%s) writes the %s, which neither tokenizer_config.json nor "
                         "special_tokens_map.json names",
                         c->format->name, key);
    *out = strdup(text);
    return *out ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "out of memory for the chat template");
}

zo2_status zo2t_chat_open(zo2t_chat **out, const zo2t_chat_files *files)
{
    json_t *config = NULL, *map = NULL;
    zo2t_chat *c = calloc(1, sizeof *c);
    *out = NULL;
    if (!c)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the chat template");
    zo2_status s;
    if (!(s = zo2t_json_object(&config, "tokenizer_config.json", &files->tokenizer_config)) &&
        !(s = zo2t_json_object(&map, "special_tokens_map.json", &files->special_tokens_map)) &&
        !(s = recognise(c, &files->chat_template, config)) &&
        !(s = token(&c->bos, c, config, map, ZO2T_CHAT_BOS, "bos_token")))
        s = token(&c->eos, c, config, map, ZO2T_CHAT_EOS, "eos_token");
    json_decref(config);
    json_decref(map);
    if (s)
        zo2t_chat_close(c);
    else
        *out = c;
    return s;
}

zo2_status zo2t_chat_open_pack(zo2t_chat **out, const zo2_pack *pack)
{
    zo2t_chat_files f = {0};
    const struct {
        const char *name;
        zo2t_file *file;
    } wanted[] = {{"chat_template.jinja", &f.chat_template},
                  {"tokenizer_config.json", &f.tokenizer_config},
                  {"special_tokens_map.json", &f.special_tokens_map}};
    *out = NULL;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        zo2_status s = zo2_pack_file(pack, wanted[i].name, &wanted[i].file->data, &wanted[i].file->bytes);
        if (s == ZO2_ERR_NOTFOUND)
            *wanted[i].file = (zo2t_file){0};
        else if (s)
            return s;
    }
    return zo2t_chat_open(out, &f);
}

void zo2t_chat_close(zo2t_chat *c)
{
    if (!c)
        return;
    free(c->bos);
    free(c->eos);
    free(c);
}

const char *zo2t_chat_name(const zo2t_chat *c)
{
    return c->format->name;
}

bool zo2t_chat_begins_with_bos(const zo2t_chat *c)
{
    const zo2t_chat_format *f = c->format;
    return *f->begin ? *f->begin == ZO2T_CHAT_BOS : *f->user.before == ZO2T_CHAT_BOS;
}

/* ---- rendering --------------------------------------------------------------------------------------------------- */

static zo2_status put(zo2t_chat_text *out, const char *text, size_t bytes)
{
    void *p = out->text;
    if (bytes > INT32_MAX || out->bytes > INT32_MAX)
        return zo2_error(ZO2_ERR_FORMAT, "the conversation is too long");
    zo2_status s = zo2t_grow(&p, &out->capacity, out->bytes + bytes + 1, 1);
    out->text = p;
    if (s)
        return s;
    if (bytes)
        memcpy(out->text + out->bytes, text, bytes);
    out->bytes += bytes;
    out->text[out->bytes] = '\0';
    return ZO2_OK;
}

/* A format's text, with the tokens in their places. */
static zo2_status put_format(const zo2t_chat *c, zo2t_chat_text *out, const char *text)
{
    zo2_status s = ZO2_OK;
    for (; *text && !s; text++) {
        const char *token = *text == ZO2T_CHAT_BOS ? c->bos : *text == ZO2T_CHAT_EOS ? c->eos : NULL;
        s = token ? put(out, token, strlen(token)) : put(out, text, 1);
    }
    return s;
}

static zo2_status put_span(zo2t_chat_text *out, size_t start, size_t end)
{
    void *p = out->span;
    zo2_status s = zo2t_grow(&p, &out->span_capacity, out->spans + 1, sizeof *out->span);
    out->span = p;
    if (!s)
        out->span[out->spans++] = (zo2t_chat_span){start, end};
    return s;
}

/* A turn of `n` pieces of content; `loss`: of the assistant. */
static zo2_status put_turn(const zo2t_chat *c, zo2t_chat_text *out, const zo2t_chat_turn *turn,
                           const zo2t_chat_piece *piece, size_t n, bool loss)
{
    zo2_status s = put_format(c, out, turn->before);
    const size_t start = out->bytes;
    for (size_t i = 0; i < n && !s; i++)
        s = put(out, piece[i].text, piece[i].bytes);
    if (!s && turn->trim && out->bytes > start) {
        zo2t_chat_piece whole = {out->text + start, out->bytes - start};
        zo2t_chat_trim(&whole);
        memmove(out->text + start, whole.text, whole.bytes);
        out->bytes = start + whole.bytes;
    }
    if (!s)
        s = put_format(c, out, turn->end);
    if (!s && loss)
        s = put_span(out, start, out->bytes);
    return s ? s : put_format(c, out, turn->after);
}

static zo2_status bad(size_t i, const char *what)
{
    return zo2_error(ZO2_ERR_FORMAT, "message %zu: %s", i + 1, what);
}

static const char system_out_of_place[] =
    "the chat template has no place for a system message: write it into the first user message";

/* Where a message stands is right. */
static zo2_status check_order(const zo2t_chat_format *f, const zo2t_message *m, size_t i, bool has_system)
{
    if (m->role == ZO2T_SYSTEM)
        return i                                           ? bad(i, "a system message belongs in front of all others")
               : !f->system.before && !f->system_inside[0] ? bad(i, system_out_of_place)
                                                           : ZO2_OK;
    const zo2t_role expected = (i - has_system) % 2 ? ZO2T_ASSISTANT : ZO2T_USER;
    return f->alternates && m->role != expected
               ? bad(i, expected == ZO2T_USER ? "the chat template wants a user's turn here, not the assistant's"
                                              : "the chat template wants the assistant's turn here, not a user's")
               : ZO2_OK;
}

/* The message's own text, in pieces. */
static zo2_status put_message(const zo2t_chat *c, zo2t_chat_text *out, const zo2t_conversation *all, size_t i)
{
    const zo2t_chat_format *f = c->format;
    const zo2t_message *m = &all->message[i];
    zo2t_chat_piece piece[ZO2T_CHAT_PIECES] = {m->content};
    size_t n = 1;
    const bool after_system = i == 1 && all->message[0].role == ZO2T_SYSTEM;
    if (m->role == ZO2T_SYSTEM && f->system_inside[0])
        return ZO2_OK; /* within the next one */
    if (m->role == ZO2T_SYSTEM)
        return put_turn(c, out, &f->system, piece, n, false);
    if (m->role == ZO2T_USER && f->system_inside[0] && after_system) {
        const zo2t_chat_piece inside[] = {{(char *)(uintptr_t)f->system_inside[0], strlen(f->system_inside[0])},
                                          all->message[0].content,
                                          {(char *)(uintptr_t)f->system_inside[1], strlen(f->system_inside[1])},
                                          m->content};
        return put_turn(c, out, &f->user, inside, 4, false);
    }
    if (m->role == ZO2T_ASSISTANT && f->thinks)
        n = zo2t_chat_think(all, i, piece);
    return put_turn(c, out, m->role == ZO2T_USER ? &f->user : &f->assistant, piece, n, m->role == ZO2T_ASSISTANT);
}

static zo2_status render(const zo2t_chat *c, const zo2t_conversation *all, zo2t_chat_text *out)
{
    const zo2t_chat_format *f = c->format;
    const bool has_system = all->n && all->message[0].role == ZO2T_SYSTEM;
    zo2_status s = put_format(c, out, f->begin);
    if (!s && !has_system && f->default_system) {
        const zo2t_chat_piece piece = {(char *)(uintptr_t)f->default_system, strlen(f->default_system)};
        s = put_turn(c, out, &f->system, &piece, 1, false);
    }
    for (size_t i = 0; i < all->n && !s; i++) {
        if (all->message[i].reasoning.text && !f->thinks)
            return bad(i, "the chat template has no place for \"reasoning_content\"");
        s = check_order(f, &all->message[i], i, has_system);
        if (!s)
            s = put_message(c, out, all, i);
    }
    return !s && !out->spans ? zo2_error(ZO2_ERR_FORMAT, "no message is the assistant's: there is no loss token") : s;
}

zo2_status zo2t_chat_render(const zo2t_chat *c, const json_t *messages, zo2t_chat_text *out)
{
    zo2t_conversation all;
    out->bytes = out->spans = 0;
    zo2_status s = zo2t_conversation_read(&all, messages);
    if (!s)
        s = render(c, &all, out);
    zo2t_conversation_free(&all);
    return s;
}

void zo2t_chat_text_free(zo2t_chat_text *t)
{
    free(t->text);
    free(t->span);
    *t = (zo2t_chat_text){0};
}

/* ---- tokens ------------------------------------------------------------------------------------------------------ */

zo2_status zo2t_chat_encode(zo2t_tokenizer *t, const zo2t_chat_text *text, zo2t_ids *ids, uint8_t **loss,
                            size_t *loss_capacity)
{
    const size_t n = 2 * text->spans, first = ids->n;
    size_t *mark = malloc((2 * n + 1) * sizeof *mark), *before = mark + n;
    if (!mark)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for a conversation of %zu turns", text->spans);
    for (size_t i = 0; i < text->spans; i++) { /* the last token is the one with the last byte */
        mark[2 * i] = text->span[i].start;
        mark[2 * i + 1] = text->span[i].end - 1;
    }
    zo2_status s = zo2t_encode_marks(t, text->text, text->bytes, ids, mark, before, n);
    void *p = *loss;
    if (!s)
        s = zo2t_grow(&p, loss_capacity, ids->n, 1);
    *loss = p;
    if (!s && ids->n > first)
        memset(*loss + first, 0, ids->n - first);
    for (size_t i = 0; i < n && !s; i += 2) {
        for (size_t k = before[i]; k <= before[i + 1] && k < ids->n; k++)
            (*loss)[k] = 1;
    }
    free(mark);
    return s;
}

/* chat_message.c: see chat_message.h. */
#include "tools/text/chat_message.h"
#include "tools/text/bytes.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static zo2_status read_role(zo2t_role *out, const json_t *message, size_t number)
{
    static const char *const names[] = {"system", "user", "assistant"};
    char q[ZO2T_QUOTE_BYTES];
    const json_t *value = json_object_get(message, "role");
    const char *role = json_string_value(value);
    for (size_t i = 0; role && i < sizeof names / sizeof *names; i++) {
        if (json_string_length(value) == strlen(names[i]) && !strcmp(role, names[i])) {
            *out = (zo2t_role)i;
            return ZO2_OK;
        }
    }
    return role ? zo2_error(ZO2_ERR_FORMAT, "message %zu: the role %s is none of system, user and assistant", number,
                            zo2t_quote(q, role, json_string_length(value)))
                : zo2_error(ZO2_ERR_FORMAT, "message %zu has no \"role\"", number);
}

static zo2t_chat_piece piece_of(const json_t *value)
{
    return (zo2t_chat_piece){(char *)(uintptr_t)json_string_value(value), json_string_length(value)};
}

static zo2_status read_message(zo2t_message *out, const json_t *message, size_t number)
{
    static const char *const tools[] = {"tool_calls", "tool_call_id", "function_call"};
    const json_t *content = json_object_get(message, "content"),
                 *reasoning = json_object_get(message, "reasoning_content");
    if (!json_is_object(message))
        return zo2_error(ZO2_ERR_FORMAT, "message %zu is not an object", number);
    zo2_status s = read_role(&out->role, message, number);
    for (size_t i = 0; i < sizeof tools / sizeof *tools && !s; i++) {
        const json_t *value = json_object_get(message, tools[i]);
        if (value && !json_is_null(value) && !(json_is_array(value) && !json_array_size(value)))
            s = zo2_error(ZO2_ERR_FORMAT, "message %zu: \"%s\" is not supported", number, tools[i]);
    }
    if (!s && !json_is_string(content))
        s = zo2_error(ZO2_ERR_FORMAT, "message %zu: \"content\" is not a string", number);
    if (!s && reasoning && !json_is_null(reasoning) && (!json_is_string(reasoning) || out->role != ZO2T_ASSISTANT))
        s = zo2_error(ZO2_ERR_FORMAT, "message %zu: \"reasoning_content\" is not a string of an assistant's", number);
    out->content = piece_of(content);
    out->reasoning = piece_of(reasoning);
    return s;
}

zo2_status zo2t_conversation_read(zo2t_conversation *c, const json_t *messages)
{
    *c = (zo2t_conversation){0};
    if (!json_is_array(messages))
        return zo2_error(ZO2_ERR_FORMAT, "it is not a list of messages");
    if (!json_array_size(messages))
        return zo2_error(ZO2_ERR_FORMAT, "it has no messages");
    c->message = calloc(json_array_size(messages), sizeof *c->message);
    if (!c->message)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for %zu messages", json_array_size(messages));
    zo2_status s = ZO2_OK;
    for (; c->n < json_array_size(messages) && !s; c->n++)
        s = read_message(&c->message[c->n], json_array_get(messages, c->n), c->n + 1);
    return s;
}

void zo2t_conversation_free(zo2t_conversation *c)
{
    free(c->message);
    *c = (zo2t_conversation){0};
}

/* ---- white space ------------------------------------------------------------------------------------------------- */

/* What Python's str.isspace() says: White_Space and the four separators of ASCII. */
static bool is_space(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || (cp >= 0x1C && cp <= 0x20) || cp == 0x85 || cp == 0xA0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F ||
           cp == 0x3000;
}

void zo2t_chat_trim(zo2t_chat_piece *p)
{
    size_t from = 0, to = p->bytes;
    while (from < to) {
        size_t next = from;
        if (!is_space(zo2t_utf8_next(p->text, &next)))
            break;
        from = next;
    }
    while (to > from) {
        size_t last = to - 1, next;
        while (last > from && ((unsigned char)p->text[last] & 0xC0) == 0x80)
            last--;
        next = last;
        if (!is_space(zo2t_utf8_next(p->text, &next)))
            break;
        to = last;
    }
    p->text += from;
    p->bytes = to - from;
}

static void trim_lines(zo2t_chat_piece *p, bool left, bool right)
{
    while (left && p->bytes && p->text[0] == '\n') {
        p->text++;
        p->bytes--;
    }
    while (right && p->bytes && p->text[p->bytes - 1] == '\n')
        p->bytes--;
}

/* ---- thoughts ---------------------------------------------------------------------------------------------------- */

static const char open_mark[] = "<think>", close_mark[] = "</think>";

static char *find(const zo2t_chat_piece *p, const char *what)
{
    return p->bytes ? memmem(p->text, p->bytes, what, strlen(what)) : NULL;
}

/* Leaves what follows the last `what` in it, all if there is none. */
static void after_last(zo2t_chat_piece *p, const char *what)
{
    for (const char *at; (at = find(p, what));) {
        const size_t skip = (size_t)(at - p->text) + strlen(what);
        p->text += skip;
        p->bytes -= skip;
    }
}

static bool is_answer_of_tool(const zo2t_chat_piece *p)
{
    static const char open[] = "<tool_response>", close[] = "</tool_response>";
    const size_t a = sizeof open - 1, b = sizeof close - 1;
    return p->bytes >= a && p->bytes >= b && !memcmp(p->text, open, a) && !memcmp(p->text + p->bytes - b, close, b);
}

/* Is message i behind the last question? */
static bool is_last(const zo2t_conversation *c, size_t i)
{
    for (size_t k = c->n; k--;) {
        if (c->message[k].role == ZO2T_USER && !is_answer_of_tool(&c->message[k].content))
            return i > k;
    }
    return false;
}

size_t zo2t_chat_think(const zo2t_conversation *c, size_t i, zo2t_chat_piece piece[ZO2T_CHAT_PIECES])
{
    static char begin[] = "<think>\n", end[] = "\n</think>\n\n";
    zo2t_chat_piece content = c->message[i].content, thoughts = c->message[i].reasoning;
    char *close = thoughts.text ? NULL : find(&content, close_mark);
    if (close) {
        thoughts = (zo2t_chat_piece){content.text, (size_t)(close - content.text)};
        trim_lines(&thoughts, false, true);
        after_last(&thoughts, open_mark);
        trim_lines(&thoughts, true, false);
        after_last(&content, close_mark);
        trim_lines(&content, true, false);
    }
    if (!is_last(c, i) || (i + 1 < c->n && !thoughts.bytes)) {
        piece[0] = content;
        return 1;
    }
    trim_lines(&thoughts, true, true);
    trim_lines(&content, true, false);
    piece[0] = (zo2t_chat_piece){begin, sizeof begin - 1};
    piece[1] = thoughts;
    piece[2] = (zo2t_chat_piece){end, sizeof end - 1};
    piece[3] = content;
    return 4;
}

/* chat_canonical.c: see chat_canonical.h. */
#include "tools/text/chat_canonical.h"
#include "tools/text/ids.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef enum tag { NO_TAG, OUTPUT, BLOCK, COMMENT } tag; /* "{{", "{%", "{#" */

typedef struct writer {
    char *at;
    size_t n, capacity;
    size_t literal_end, output_end; /* where the last one ended; 0: none */
    zo2_status status;              /* the first failure; nothing is written after it */
} writer;

static void put(writer *w, const char *text, size_t bytes)
{
    void *p = w->at;
    if (w->status || (w->status = zo2t_grow(&p, &w->capacity, w->n + bytes + 1, 1)))
        return;
    w->at = p;
    if (bytes)
        memcpy(w->at + w->n, text, bytes);
    w->n += bytes;
    w->at[w->n] = '\0';
}

/* Both continue what they follow, where they can. */
static void begin_literal(writer *w)
{
    if (!w->status && w->literal_end && w->n == w->literal_end + 1 && w->at[w->n - 1] == '+')
        w->n -= 2; /* '+' between two */
    else
        put(w, "'", 1);
}

static void end_literal(writer *w)
{
    put(w, "'", 1);
    w->literal_end = w->n;
}

static void begin_output(writer *w)
{
    const bool follows = w->n && w->output_end == w->n;
    if (follows)
        w->n -= 2;
    put(w, follows ? "+" : "{{", follows ? 1 : 2);
}

static void end_output(writer *w)
{
    put(w, "}}", 2);
    w->output_end = w->n;
}

/* ---- within a tag ------------------------------------------------------------------------------------------------ */

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* Copies the literal at text[at], a quote; returns where it ends, 0 if it doesn't. */
static size_t copy_literal(writer *w, const char *text, size_t bytes, size_t at)
{
    const char quote = text[at++];
    begin_literal(w);
    for (; at < bytes && text[at] != quote; at++) {
        char c = text[at];
        if (c == '\\' && at + 1 < bytes) {
            static const char escapes[] = "n\nt\tr\r\\\\''\"\"";
            const char *e = escapes;
            while (*e && *e != text[at + 1])
                e += 2;
            if (*e) {
                c = e[1];
                at++;
            }
        }
        put(w, &c, 1);
    }
    end_literal(w);
    return at < bytes ? at + 1 : 0;
}

/* Length of ['name'] at text[at], 0 if it isn't that; the name. */
static size_t subscript(const char *text, size_t bytes, size_t at, const char **name, size_t *length)
{
    size_t i = at + 1;
    if (i >= bytes || (text[i] != '\'' && text[i] != '"'))
        return 0;
    const char quote = text[i++];
    *name = text + i;
    while (i < bytes && is_name(text[i]))
        i++;
    *length = (size_t)(text + i - *name);
    return *length && i + 1 < bytes && text[i] == quote && text[i + 1] == ']' ? i + 2 - at : 0;
}

/* Copies what is in a tag; returns where its end is ("}}" or "%}"), 0 if it has none. */
static size_t copy_code(writer *w, const char *text, size_t bytes, size_t at, const char *end)
{
    while (at + 1 < bytes && at) {
        const char *name;
        size_t length;
        const char c = text[at];
        if (c == end[0] && text[at + 1] == end[1])
            return at;
        const size_t skip = c == '[' ? subscript(text, bytes, at, &name, &length) : 0;
        if (c == '\'' || c == '"') {
            at = copy_literal(w, text, bytes, at);
            continue;
        }
        if (skip) {
            put(w, ".", 1);
            put(w, name, length);
        } else if (!is_space(c) && !((c == '-' || c == '+') && text[at + 1] == end[0])) {
            put(w, c == '~' ? "+" : &c, 1);
        }
        at += skip ? skip : 1;
    }
    return 0;
}

/* ---- between tags ------------------------------------------------------------------------------------------------ */

/* Which tag begins at text[at]? */
static tag tag_at(const char *text, size_t bytes, size_t at)
{
    if (at + 1 >= bytes || text[at] != '{')
        return NO_TAG;
    return text[at + 1] == '{' ? OUTPUT : text[at + 1] == '%' ? BLOCK : text[at + 1] == '#' ? COMMENT : NO_TAG;
}

/* The text [from, to) between a tag and the next one, trimmed, as an output. */
static void put_text(writer *w, const char *text, size_t from, size_t to, tag before, bool trim_before, tag after,
                     bool trim_after)
{
    const size_t begin = from;
    while (trim_before && from < to && is_space(text[from]))
        from++;
    if (!trim_before && before > OUTPUT && from < to && text[from] == '\n')
        from++;
    while (trim_after && from < to && is_space(text[to - 1]))
        to--;
    if (!trim_after && after > OUTPUT) { /* spaces in front of it, if it begins its line */
        size_t line = to;
        while (line > from && (text[line - 1] == ' ' || text[line - 1] == '\t'))
            line--;
        if (line > begin ? text[line - 1] == '\n' : before == NO_TAG)
            to = line;
    }
    if (after == NO_TAG && from < to && text[to - 1] == '\n')
        to--;
    if (from == to)
        return;
    begin_output(w);
    begin_literal(w);
    put(w, text + from, to - from);
    end_literal(w);
    end_output(w);
}

/* The tag at text[at]; returns where it ends, 0 if it doesn't. */
static size_t put_tag(writer *w, const char *text, size_t bytes, size_t at, tag kind)
{
    static const char *const marks[] = {"{%generation%}", "{%endgeneration%}"};
    size_t end = at + 2 + (at + 2 < bytes && (text[at + 2] == '-' || text[at + 2] == '+'));
    if (kind == COMMENT) {
        const char *close = memmem(text + end, bytes - end, "#}", 2);
        return close ? (size_t)(close - text) + 2 : 0;
    }
    if (kind == OUTPUT) {
        begin_output(w);
        end = copy_code(w, text, bytes, end, "}}");
        end_output(w);
        return end ? end + 2 : 0;
    }
    const size_t before = w->n;
    put(w, "{%", 2);
    end = copy_code(w, text, bytes, end, "%}");
    put(w, "%}", 2);
    for (size_t i = 0; i < sizeof marks / sizeof *marks && !w->status; i++) {
        if (!strcmp(w->at + before, marks[i])) {
            w->n = before;
            w->at[before] = '\0';
        }
    }
    return end ? end + 2 : 0;
}

static void strip_to_trim(char *text)
{
    static const char strip[] = ".strip()", trim[] = "|trim";
    char *to = text;
    for (const char *from = text; *from;) {
        const bool here = !strncmp(from, strip, sizeof strip - 1);
        if (here)
            to = mempcpy(to, trim, sizeof trim - 1);
        else
            *to++ = *from;
        from += here ? sizeof strip - 1 : 1;
    }
    *to = '\0';
}

zo2_status zo2t_chat_canonical(char **out, const char *text, size_t bytes)
{
    writer w = {0};
    tag before = NO_TAG;
    bool trim = false;
    *out = NULL;
    put(&w, "", 0);
    for (size_t at = 0, from = 0; !w.status;) {
        while (at < bytes && !tag_at(text, bytes, at))
            at++;
        const tag kind = tag_at(text, bytes, at);
        put_text(&w, text, from, at, before, trim, kind, kind && at + 2 < bytes && text[at + 2] == '-');
        if (!kind)
            break;
        at = put_tag(&w, text, bytes, at, kind);
        if (!at && !w.status)
            w.status = zo2_error(ZO2_ERR_FORMAT, "a tag of the chat template has no end");
        trim = at >= 3 && text[at - 3] == '-';
        before = kind;
        from = at;
    }
    if (w.status) {
        free(w.at);
        return w.status;
    }
    strip_to_trim(w.at);
    *out = w.at;
    return ZO2_OK;
}

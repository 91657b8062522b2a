/* json_edit.c: see json_edit.h. The text is known to be well-formed: a walk over tokens is enough. It stops at the end
 * all the same, whatever it is given. */
#include "engine/export/json_edit.h"
#include "engine/base/json.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef struct span {
    size_t from, to;
} span;

static size_t skip_space(const char *text, size_t at, size_t end)
{
    while (at < end && strchr(" \t\r\n", text[at]) && text[at])
        at++;
    return at;
}

/* Past the string that begins at text[at]. */
static size_t skip_string(const char *text, size_t at, size_t end)
{
    for (at++; at < end && text[at] != '"'; at++)
        at += text[at] == '\\';
    return at < end ? at + 1 : end;
}

/* Past the value that begins at text[at]: for an object or array at the bracket that closes it, else where the next one
 * can begin. */
static size_t skip_value(const char *text, size_t at, size_t end)
{
    size_t depth = 0;
    while (at < end) {
        char c = text[at];
        if (depth == 0 && (c == ',' || c == '}' || c == ']' || skip_space(text, at, end) > at))
            return at;
        depth += c == '{' || c == '[';
        depth -= c == '}' || c == ']';
        at = c == '"' ? skip_string(text, at, end) : at + 1;
        if (depth == 0 && (c == '"' || c == '}' || c == ']'))
            return at;
    }
    return end;
}

/* Is the string at text[s], quotes included, this key? It may be written with escapes. */
static bool is_key(const char *text, span s, const char *key)
{
    json_error_t e;
    json_t *v = zo2_json_parse(text + s.from, s.to - s.from, JSON_DECODE_ANY, &e);
    const char *is = json_string_value(v);
    bool same = is && strcmp(is, key) == 0;
    json_decref(v);
    return same;
}

/* What a new member goes behind, and how it is laid out. */
typedef struct place {
    span
        value; /* of the key if it is there, else empty: behind the last value, or behind the brace of an empty object */
    bool found;
    bool first;  /* no member is before it */
    span indent; /* white space before the last member's key */
} place;

static place find(const char *text, size_t end, const char *key)
{
    size_t at = skip_space(text, 0, end) + 1;
    place p = {.value = {at, at}, .first = true, .indent = {at, at}};
    while (at < end) {
        span name = {skip_space(text, at, end), 0};
        if (name.from >= end || text[name.from] != '"')
            break;
        name.to = skip_string(text, name.from, end);
        size_t from = skip_space(text, skip_space(text, name.to, end) + 1, end); /* past the colon */
        if (from > end)
            break;
        p.indent = (span){at, name.from};
        p.value = (span){from, skip_value(text, from, end)};
        p.first = false;
        if (is_key(text, name, key)) {
            p.found = true;
            return p;
        }
        at = skip_space(text, p.value.to, end) + 1; /* past the comma, or the brace */
    }
    p.value.from = p.value.to;
    return p;
}

static char *put(char *out, const char *bytes, size_t n)
{
    memcpy(out, bytes, n);
    return out + n;
}

char *zo2_json_edit(const char *text, size_t bytes, const char *key, const char *value)
{
    place p = find(text, bytes, key);
    size_t from = p.value.from < bytes ? p.value.from : bytes, to = p.value.to < bytes ? p.value.to : bytes;
    size_t indent = p.indent.to - p.indent.from;
    char *out = malloc(bytes + strlen(key) + strlen(value) + indent + sizeof ",\"\": "), *w = out;
    if (!out)
        return NULL;
    w = put(w, text, from);
    if (!p.found) {
        w = put(w, ",", !p.first);
        w = put(w, text + p.indent.from, indent);
        w = put(w, "\"", 1);
        w = put(w, key, strlen(key));
        w = put(w, "\": ", 3);
    }
    w = put(w, value, strlen(value));
    w = put(w, text + to, bytes - to);
    *w = '\0';
    return out;
}

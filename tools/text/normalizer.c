/* normalizer.c: see normalizer.h. Another step is a row of `known`. */
#include "tools/text/normalizer.h"
#include "tools/text/bytes.h"
#include "tools/text/ids.h"
#include "tools/text/json_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* How much longer a text may become: NFKC makes at most eleven bytes of one. Short ones may grow as if they had GROWTH_FROM bytes. */
#define GROWTH      64
#define GROWTH_FROM 64

typedef struct text {
    const char *at;
    size_t bytes;
} text;

/* Room that holds a step's result: never the one that its input is in. */
typedef struct room {
    char **data;
    size_t *capacity;
    size_t most; /* bytes of a result: texts in place of shorter ones can grow without end */
} room;

struct zo2t_normalizer_kind {
    const char *type;
    zo2_status (*read)(zo2t_normalizer_step *step, const json_t *value);
    zo2_status (*apply)(const zo2t_normalizer_step *step, text *t, const room *r);
    utf8proc_option_t form;
    unsigned char inert; /* a text whose bytes all are below this is in the form already */
};

static zo2_status reserve(const room *r, size_t bytes)
{
    void *p = *r->data;
    if (bytes > r->most)
        return zo2_error(ZO2_ERR_ARG, "a normalised text of %zu bytes is too long", bytes);
    zo2_status s = zo2t_grow(&p, r->capacity, bytes, 1);
    *r->data = p;
    return s;
}

/* ---- forms of Unicode -------------------------------------------------------------------------------------------- */

static bool all_below(const text *t, unsigned char limit)
{
    for (size_t i = 0; i < t->bytes; i++) {
        if ((unsigned char)t->at[i] >= limit)
            return false;
    }
    return true;
}

static zo2_status apply_form(const zo2t_normalizer_step *step, text *t, const room *r)
{
    utf8proc_uint8_t *form = NULL;
    if (all_below(t, step->kind->inert))
        return ZO2_OK;
    const utf8proc_ssize_t n =
        utf8proc_map((const utf8proc_uint8_t *)t->at, (utf8proc_ssize_t)t->bytes, &form, step->kind->form);
    zo2_status s =
        n >= 0 ? reserve(r, (size_t)n)
               : zo2_error(n == UTF8PROC_ERROR_NOMEM ? ZO2_ERR_NOMEM : ZO2_ERR_INTERNAL,
                           "cannot normalise %zu bytes to %s: %s", t->bytes, step->kind->type, utf8proc_errmsg(n));
    if (!s && n)
        memcpy(*r->data, form, (size_t)n);
    free(form);
    if (!s)
        *t = (text){*r->data, (size_t)n};
    return s;
}

/* ---- texts -------------------------------------------------------------------------------------------------------- */

static zo2_status read_text(char out[ZO2T_NORMALIZER_BYTES], const zo2t_normalizer_step *step, const json_t *value,
                            const char *what)
{
    const size_t n = json_string_length(value);
    if (!json_is_string(value) || !n)
        return zo2_error(
            ZO2_ERR_UNSUPPORTED,
            "tokenizer.json: \"normalizer\" \"%s\" whose %s is not a text is not supported by this version",
            step->kind->type, what);
    if (n >= ZO2T_NORMALIZER_BYTES)
        return zo2_error(
            ZO2_ERR_UNSUPPORTED,
            "tokenizer.json: \"normalizer\" \"%s\": a %s of %zu bytes is not supported by this version, only "
            "up to %d",
            step->kind->type, what, n, ZO2T_NORMALIZER_BYTES - 1);
    memcpy(out, json_string_value(value), n + 1);
    return ZO2_OK;
}

static zo2_status read_prepend(zo2t_normalizer_step *step, const json_t *value)
{
    return read_text(step->text, step, json_object_get(value, "prepend"), "\"prepend\"");
}

static zo2_status apply_prepend(const zo2t_normalizer_step *step, text *t, const room *r)
{
    const size_t n = strlen(step->text);
    zo2_status s = t->bytes ? reserve(r, n + t->bytes) : ZO2_OK;
    if (s || !t->bytes)
        return s;
    memcpy(*r->data, step->text, n);
    memcpy(*r->data + n, t->at, t->bytes);
    *t = (text){*r->data, n + t->bytes};
    return ZO2_OK;
}

/* {"pattern": {"String": " "}, "content": "..."} */
static zo2_status read_replace(zo2t_normalizer_step *step, const json_t *value)
{
    const json_t *pattern = json_object_get(value, "pattern");
    zo2_status s = read_text(step->text, step, json_object_get(pattern, "String"), "\"pattern\" \"String\"");
    return s ? s : read_text(step->by, step, json_object_get(value, "content"), "\"content\"");
}

static size_t occurrences(const text *t, const char *what, size_t bytes)
{
    size_t n = 0;
    for (const char *at = t->at, *end = t->at + t->bytes; (at = memmem(at, (size_t)(end - at), what, bytes)); n++)
        at += bytes;
    return n;
}

static zo2_status apply_replace(const zo2t_normalizer_step *step, text *t, const room *r)
{
    const size_t old = strlen(step->text), new = strlen(step->by), n = occurrences(t, step->text, old);
    const char *from = t->at, *end = t->at + t->bytes, *at;
    const size_t bytes = t->bytes - n * old + n * new;
    zo2_status s = n ? reserve(r, bytes) : ZO2_OK;
    if (s || !n)
        return s;
    char *to = *r->data;
    while ((at = memmem(from, (size_t)(end - from), step->text, old))) {
        memcpy(to, from, (size_t)(at - from));
        to += at - from;
        memcpy(to, step->by, new);
        to += new;
        from = at + old;
    }
    memcpy(to, from, (size_t)(end - from));
    *t = (text){*r->data, bytes};
    return ZO2_OK;
}

/* ---- the list of steps ------------------------------------------------------------------------------------------- */

#define FORM(options) (UTF8PROC_STABLE | (options))

static const struct zo2t_normalizer_kind known[] = {
    {"NFC", NULL, apply_form, FORM(UTF8PROC_COMPOSE), 0xCC}, /* U+0300 is the first that matters */
    {"NFD", NULL, apply_form, FORM(UTF8PROC_DECOMPOSE), 0x80},
    {"NFKC", NULL, apply_form, FORM(UTF8PROC_COMPOSE | UTF8PROC_COMPAT), 0x80},
    {"NFKD", NULL, apply_form, FORM(UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT), 0x80},
    {"Prepend", read_prepend, apply_prepend, UTF8PROC_NULLTERM, 0},
    {"Replace", read_replace, apply_replace, UTF8PROC_NULLTERM, 0},
};

static zo2_status read_step(zo2t_normalizer *n, const json_t *value)
{
    char q[ZO2T_QUOTE_BYTES];
    const char *type;
    zo2_status s = zo2t_json_type(&type, "normalizer", value);
    if (s)
        return s;
    if (n->n == ZO2T_NORMALIZER_STEPS)
        return zo2_error(ZO2_ERR_UNSUPPORTED, "tokenizer.json: a \"normalizer\" of more than %d steps is not supported",
                         ZO2T_NORMALIZER_STEPS);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(type, known[i].type))
            continue;
        zo2t_normalizer_step *step = &n->step[n->n++];
        step->kind = &known[i];
        return known[i].read ? known[i].read(step, value) : ZO2_OK;
    }
    return zo2_error(ZO2_ERR_UNSUPPORTED, "tokenizer.json: \"normalizer\" %s is not supported by this version",
                     zo2t_quote(q, type, strlen(type)));
}

zo2_status zo2t_normalizer_read(zo2t_normalizer *n, const json_t *value)
{
    *n = (zo2t_normalizer){0};
    const json_t *list = zo2t_json_steps(value, "normalizers");
    zo2_status s = ZO2_OK;
    for (size_t i = 0; value && i < (list ? json_array_size(list) : 1) && !s; i++)
        s = read_step(n, list ? json_array_get(list, i) : value);
    return s;
}

zo2_status zo2t_normalize(zo2t_normalizer *n, const char *in, size_t bytes, const char **out, size_t *out_bytes)
{
    text t = {in, bytes};
    const size_t most = bytes < GROWTH_FROM          ? GROWTH_FROM * GROWTH
                        : bytes < INT32_MAX / GROWTH ? bytes * GROWTH
                                                     : INT32_MAX;
    zo2_status s = ZO2_OK;
    for (size_t i = 0; i < n->n && !s; i++) {
        const int free_one = n->room[0] && t.at == n->room[0];
        const room r = {&n->room[free_one], &n->capacity[free_one], most};
        s = n->step[i].kind->apply(&n->step[i], &t, &r);
    }
    *out = t.at;
    *out_bytes = t.bytes;
    return s;
}

bool zo2t_normalizer_prepends(const zo2t_normalizer *n)
{
    for (size_t i = 0; i < n->n; i++) {
        if (n->step[i].kind->apply == apply_prepend)
            return true;
    }
    return false;
}

bool zo2t_normalizer_makes(const zo2t_normalizer *n, const char *what)
{
    for (size_t i = 0; i < n->n; i++) {
        if (n->step[i].kind->apply == apply_replace && !strcmp(n->step[i].by, what))
            return true;
    }
    return false;
}

void zo2t_normalizer_name(const zo2t_normalizer *n, char *out, size_t bytes)
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < n->n && at < bytes; i++)
        at += (size_t)snprintf(out + at, bytes - at, "%s%s", i ? ", " : "", n->step[i].kind->type);
}

void zo2t_normalizer_free(zo2t_normalizer *n)
{
    free(n->room[0]);
    free(n->room[1]);
    *n = (zo2t_normalizer){0};
}

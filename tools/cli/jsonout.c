/* jsonout.c: see jsonout.h. */
#include "tools/cli/jsonout.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "tools/cli/numbers.h"

static void put_string(FILE *out, const char *s)
{
    /* jansson knows UTF-8: whatever it refuses is written with '?' for everything beyond ASCII */
    json_t *valid = json_string(s);
    bool utf8 = valid != NULL;
    json_decref(valid);
    putc('"', out);
    for (const unsigned char *p = (const unsigned char *)s; *p; p++) {
        if (*p == '"' || *p == '\\')
            fprintf(out, "\\%c", *p);
        else if (*p == '\n')
            fputs("\\n", out);
        else if (*p == '\t')
            fputs("\\t", out);
        else if (*p < 0x20 || *p == 0x7F)
            fprintf(out, "\\u%04x", *p);
        else
            putc(*p >= 0x80 && !utf8 ? '?' : *p, out);
    }
    putc('"', out);
}

static void put_key(cli_json *j, const char *key)
{
    if (!j->first)
        fputs(", ", j->out);
    j->first = false;
    if (key) {
        put_string(j->out, key);
        fputs(": ", j->out);
    }
}

void cli_json_start(cli_json *j, FILE *out)
{
    j->out = out;
    j->first = true;
}

void cli_json_end(cli_json *j)
{
    putc('\n', j->out);
    j->first = true;
}

void cli_json_open(cli_json *j, const char *key, char bracket)
{
    put_key(j, key);
    putc(bracket, j->out);
    j->first = true;
}

void cli_json_close(cli_json *j, char bracket)
{
    putc(bracket, j->out);
    j->first = false;
}

void cli_json_u64(cli_json *j, const char *key, uint64_t v)
{
    put_key(j, key);
    fprintf(j->out, "%" PRIu64, v);
}

void cli_json_i64(cli_json *j, const char *key, int64_t v)
{
    put_key(j, key);
    fprintf(j->out, "%" PRId64, v);
}

void cli_json_f64(cli_json *j, const char *key, double v)
{
    char text[CLI_TEXT_BYTES];
    put_key(j, key);
    fputs(cli_double_text(text, v), j->out);
}

void cli_json_bool(cli_json *j, const char *key, bool v)
{
    put_key(j, key);
    fputs(v ? "true" : "false", j->out);
}

void cli_json_null(cli_json *j, const char *key)
{
    put_key(j, key);
    fputs("null", j->out);
}

void cli_json_text(cli_json *j, const char *key, const char *v)
{
    if (!v) {
        cli_json_null(j, key);
        return;
    }
    put_key(j, key);
    put_string(j->out, v);
}

void cli_json_hash(cli_json *j, const char *key, uint64_t v)
{
    put_key(j, key);
    fprintf(j->out, "\"0x%016" PRIx64 "\"", v);
}

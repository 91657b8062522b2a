/* tune_text.c: see tune_text.h. */
#include "tools/cli/tune_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli/numbers.h"

/* The longest list of rows that is shown as it is. */
enum { SHORT_LIST = 32 };

/* Rows of a list "12,15,98-103" of `bytes` bytes, as it has them. */
static uint64_t count_rows(const char *list, size_t bytes)
{
    uint64_t n = 0;
    for (const char *at = list; at < list + bytes;) {
        char *end;
        uint64_t from = strtoull(at, &end, 10), to = from;
        if (*end == '-')
            to = strtoull(end + 1, &end, 10);
        if (end == at) /* not a number: the library says so */
            break;
        n += to < from ? 0 : to - from + 1;
        at = end + 1;
    }
    return n;
}

/* The term that begins at `at` and has `bytes` bytes. */
static void add_term(char *out, size_t room, const char *at, size_t bytes, bool answers)
{
    static const char rows[] = "rows=";
    const size_t name = sizeof rows - 1;
    char count[CLI_TEXT_BYTES];
    if (strncmp(at, rows, name) != 0 || (!answers && bytes - name <= SHORT_LIST)) {
        snprintf(out, room, "%.*s", (int)(bytes < room ? bytes : room), at);
        return;
    }
    const uint64_t n = count_rows(at + name, bytes - name);
    snprintf(out, room, "%s%s(%s row%s)", rows, answers ? "answers " : "", cli_human_count(count, n),
             n == 1 ? "" : "s");
}

const char *cli_tune_text(char out[CLI_TUNE_BYTES], const char *tune, bool answers)
{
    static const char cut[] = "...";
    const char *at = tune ? tune : "all";
    size_t end = 0;
    out[0] = '\0';
    for (;;) {
        const size_t bytes = strcspn(at, "+");
        add_term(out + end, CLI_TUNE_BYTES - end, at, bytes, answers);
        end += strlen(out + end);
        at += bytes;
        if (!*at || end + 2 > CLI_TUNE_BYTES)
            break;
        memcpy(out + end++, "+", 2);
        at++;
    }
    if (*at || end + 1 == CLI_TUNE_BYTES)
        memcpy(out + CLI_TUNE_BYTES - sizeof cut, cut, sizeof cut);
    return out;
}

const char *cli_wires_text(char out[CLI_TUNE_BYTES], const zo2_engine_opts *o)
{
    const zo2_wire wire = o->wire ? o->wire : ZO2_WIRE_BF16;
    if (o->frozen_wire && o->frozen_wire != wire)
        snprintf(out, CLI_TUNE_BYTES, "%s (frozen matrices: %s)", zo2_wire_name(wire), zo2_wire_name(o->frozen_wire));
    else
        snprintf(out, CLI_TUNE_BYTES, "%s", zo2_wire_name(wire));
    return out;
}

bool cli_wires_exact(const zo2_engine_opts *o)
{
    return o->wire == ZO2_WIRE_FP32 && (!o->frozen_wire || o->frozen_wire == ZO2_WIRE_FP32);
}

void cli_tune_print(const zo2_engine_opts *o, bool answers)
{
    char text[CLI_TUNE_BYTES];
    if (o->tune)
        printf("tune           %s\n", cli_tune_text(text, o->tune, answers));
    if (o->tune_rotate)
        printf("rotation       turns of %u step%s, order %s\n", o->tune_rotate, o->tune_rotate == 1 ? "" : "s",
               zo2_tune_order_name(o->tune_order));
    if (o->trunk_type == ZO2_BF16)
        printf("trunk          kept as bf16\n");
}

void cli_tune_json(cli_json *j, const zo2_engine_opts *o)
{
    cli_json_text(j, "tune", o->tune ? o->tune : "all");
    cli_json_u64(j, "tune_rotate", o->tune_rotate);
    cli_json_text(j, "tune_order", zo2_tune_order_name(o->tune_order));
    cli_json_text(j, "trunk_type", zo2_dtype_name(o->trunk_type));
}

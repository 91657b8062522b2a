/* jsonout.h: JSON text written piece by piece, one line per top-level value. Numbers keep every bit (shortest text that
 * reads back the same), NaN and infinities become null, keys keep their order. (jansson is for reading.)
 *
 *   cli_json j; cli_json_start(&j, stdout);
 *   cli_json_open(&j, NULL, '{'); cli_json_u64(&j, "step", 3); cli_json_close(&j, '}'); cli_json_end(&j);
 *
 * key: NULL inside arrays and at the top. Write errors stay in the FILE: check ferror() or fflush() at the end. */
#ifndef ZO2_TOOLS_CLI_JSONOUT_H
#define ZO2_TOOLS_CLI_JSONOUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct cli_json {
    FILE *out;
    bool first; /* nothing was written since the last bracket opened */
} cli_json;

void cli_json_start(cli_json *j, FILE *out);
void cli_json_end(cli_json *j); /* the newline */

void cli_json_open(cli_json *j, const char *key, char bracket); /* '{' or '[' */
void cli_json_close(cli_json *j, char bracket);                 /* '}' or ']' */
void cli_json_u64(cli_json *j, const char *key, uint64_t v);
void cli_json_i64(cli_json *j, const char *key, int64_t v);
void cli_json_f64(cli_json *j, const char *key, double v);
void cli_json_bool(cli_json *j, const char *key, bool v);
void cli_json_null(cli_json *j, const char *key);
void cli_json_text(cli_json *j, const char *key, const char *v); /* NULL: null; bytes that aren't UTF-8 become '?' */
void cli_json_hash(cli_json *j, const char *key, uint64_t v);    /* "0x0123456789abcdef" */

#endif

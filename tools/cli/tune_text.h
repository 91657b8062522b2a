/* tune_text.h: which tensors a run moves, as people read it. */
#ifndef ZO2_TOOLS_CLI_TUNE_TEXT_H
#define ZO2_TOOLS_CLI_TUNE_TEXT_H

#include <stdbool.h>

#include "engine/zo2.h"
#include "tools/cli/jsonout.h"

enum { CLI_TUNE_BYTES = 200 };

/* A choice (zo2_engine_opts.tune; NULL: all) on one line: a long list of rows is counted, "matrices=4-5+rows=(37 rows)", and what is still
 * longer than out is cut. answers: they are rows=answers, "rows=answers (37 rows)". Returns out. */
const char *cli_tune_text(char out[CLI_TUNE_BYTES], const char *tune, bool answers);

/* The wires of options on one line: "bf16", "bf16 (frozen matrices: fp8-e4m3)". Returns out. */
const char *cli_wires_text(char out[CLI_TUNE_BYTES], const zo2_engine_opts *o);

/* Is what the device sees what the masters are? */
bool cli_wires_exact(const zo2_engine_opts *o);

/* Lines of a table, label and value, for what isn't the default; as members of an open object, all of them. */
void cli_tune_print(const zo2_engine_opts *o, bool answers);
void cli_tune_json(cli_json *j, const zo2_engine_opts *o);

#endif

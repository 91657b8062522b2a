/* json_file.h: the JSON files of a tokenizer. */
#ifndef ZO2_TOOLS_TEXT_JSON_FILE_H
#define ZO2_TOOLS_TEXT_JSON_FILE_H

#include <jansson.h>

#include "tools/text/tokenizer.h"

#define ZO2T_TEXT_FILE_BYTES ((size_t)64 << 20) /* largest vocab.json, merges.txt, ...: OPT's have 0.9 and 0.5 MB */

/* Parses a file that holds one object; *out is the caller's, NULL if there is no such file. ZO2_ERR_FORMAT with the name in front: not
 * JSON, a key twice, not an object, larger than ZO2T_TEXT_FILE_BYTES. */
zo2_status zo2t_json_object(json_t **out, const char *name, const zo2t_file *file);

/* A part of tokenizer.json is one step, {"type": ..., ...}, or a list of them, {"type": "Sequence", KEY: [...]}. The list, NULL if
 * it is one step. */
const json_t *zo2t_json_steps(const json_t *value, const char *key);

/* The type of a step. ZO2_ERR_FORMAT: it has none; `part` names it in the message. */
zo2_status zo2t_json_type(const char **type, const char *part, const json_t *step);

#endif

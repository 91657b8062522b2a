/* json.h: JSON texts that other programs wrote, as jansson's values. The one way in for every JSON text here: the library's own, and
 * the tools', which compile json.c into themselves (it is no part of the library's interface).
 *
 * RFC 8259 sets no range for numbers, and Python's json module, which writes most of these files, goes beyond it, too. jansson
 * refuses a whole text for one number that doesn't fit its types, in a key that nobody asks for: "model_max_length":
 * 1000000000000000019884624838656 is in the tokenizer_config.json of every model that transformers has saved again. Here such a
 * number costs its precision only:
 *
 *   an integer beyond 64 bits          the real number, to 15 digits
 *   a number beyond double             1e308 with its sign
 *   NaN, Infinity, -Infinity           null
 *
 * A reader that needs such a value refuses it by its type or its range, by name. */
#ifndef ZO2_ENGINE_BASE_JSON_H
#define ZO2_ENGINE_BASE_JSON_H

#include <jansson.h>

/* json_loadb() with its flags and errors: NULL, and *error says where and why. The caller's to json_decref(). Time and memory are
 * linear in `bytes`. Thread-safe. */
json_t *zo2_json_parse(const char *text, size_t bytes, size_t flags, json_error_t *error);

#endif

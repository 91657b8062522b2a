/* numbers.h: strict, locale-independent reading of numbers, sizes and times from the command line, and the way back
 * for messages. Everything here is pure and thread-safe. */
#ifndef ZO2_TOOLS_CLI_NUMBERS_H
#define ZO2_TOOLS_CLI_NUMBERS_H

#include <stdbool.h>
#include <stdint.h>

/* The whole text is one number, or false and *out untouched. No signs, spaces, hexadecimal, infinities or NaN. */
bool cli_parse_u64(const char *text, uint64_t *out);  /* decimal digits */
bool cli_parse_double(const char *text, double *out); /* 12, 1.5, -2e-3; finite */

/* SIZE: bytes, or a number with K, M, G or T (powers of 1,024; either case, "iB" may follow): 4096, 18G, 1.5GiB.
 * Fractions need a unit and at most six places; a part of a byte is dropped. */
bool cli_parse_size(const char *text, uint64_t *out);

/* TIME in seconds: plain, or with s, m, h or d: 90, 30m, 1.5h. */
bool cli_parse_time(const char *text, double *out);

#define CLI_TEXT_BYTES 40

/* For people: "18.00 GiB", "512 bytes"; "1 h 02 min", "3 min 20 s", "0.25 s"; "123,456". Each returns out. */
const char *cli_human_size(char out[CLI_TEXT_BYTES], uint64_t bytes);
const char *cli_human_time(char out[CLI_TEXT_BYTES], double seconds);
const char *cli_human_count(char out[CLI_TEXT_BYTES], uint64_t n);

/* The shortest decimal text that reads back as the same double; "null" for NaN and infinities (JSON's way). */
const char *cli_double_text(char out[CLI_TEXT_BYTES], double v);

#endif

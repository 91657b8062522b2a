/* bytes.h: UTF-8, GPT-2's byte alphabet, and text made safe for messages. Everything here is pure and thread-safe.
 *
 * Byte-level BPE works on bytes, but vocab.json and merges.txt are text: GPT-2 writes each byte as one printable
 * character. 0x21-0x7E, 0xA1-0xAC and 0xAE-0xFF stand for themselves (as code points), the other 68 bytes in rising
 * order for U+0100, U+0101, ... so a space is U+0120. */
#ifndef ZO2_TOOLS_TEXT_BYTES_H
#define ZO2_TOOLS_TEXT_BYTES_H

#include <stddef.h>
#include <stdint.h>

/* Offset of the first byte that doesn't belong to valid UTF-8 (RFC 3629: no surrogates, nothing overlong, at most
 * U+10FFFF), `bytes` if there is none. */
size_t zo2t_utf8_check(const char *s, size_t bytes);

/* The code point at s[*at] of valid UTF-8; moves *at past it. */
uint32_t zo2t_utf8_next(const char *s, size_t *at);

/* Writes a code point below 0x800 to out; returns how many bytes (1 or 2). */
size_t zo2t_utf8_put2(uint32_t cp, char out[2]);

/* The character that stands for a byte, and the byte a character stands for (-1: none). */
uint32_t zo2t_byte_char(uint8_t byte);
int zo2t_char_byte(uint32_t cp);

#define ZO2T_QUOTE_BYTES 80

/* s[bytes] in double quotes for a message: control characters and what isn't UTF-8 as \xNN, cut (with dots) to fit.
 * Returns out. */
const char *zo2t_quote(char out[ZO2T_QUOTE_BYTES], const char *s, size_t bytes);

#endif

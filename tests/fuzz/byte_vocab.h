/* byte_vocab.h: small vocabularies, of bytes and of characters, for the targets that tokenise. */
#ifndef ZO2_TESTS_FUZZ_BYTE_VOCAB_H
#define ZO2_TESTS_FUZZ_BYTE_VOCAB_H

#include "tests/fuzz/fuzzing.h"
#include "tools/text/bytes.h"

#define BYTE_VOCAB_FIRST_FREE 260 /* ids 0 to 3 are <s>, <pad>, </s>, <unk>, 4 + b is byte b */

/* The JSON of vocab.json with `extra` (a text that continues an object: , "token": id, ...); malloc'ed. */
static inline char *byte_vocab(const char *extra, size_t extra_bytes, size_t *bytes)
{
    char *json = fuzz_alloc(8192 + extra_bytes);
    size_t n = (size_t)sprintf(json, "{\"<s>\": 0, \"<pad>\": 1, \"</s>\": 2, \"<unk>\": 3");
    for (int i = 0; i < 256; i++) {
        char text[2];
        const size_t length = zo2t_utf8_put2(zo2t_byte_char((uint8_t)i), text);
        n += (size_t)sprintf(json + n, ", \"%s%.*s\": %d", i == '"' || i == '\\' ? "\\" : "", (int)length, text, 4 + i);
    }
    if (extra_bytes)
        memcpy(json + n, extra, extra_bytes);
    n += extra_bytes;
    json[n++] = '}';
    *bytes = n;
    return json;
}

/* The same as Llama-2 has it: <unk>, <s>, </s>, "<0x00>" and on, then U+2581 and printable ASCII. */
static inline char *character_vocab(const char *extra, size_t extra_bytes, size_t *bytes)
{
    char *json = fuzz_alloc(8192 + extra_bytes);
    size_t n = (size_t)sprintf(json, "{\"<unk>\": 0, \"<s>\": 1, \"</s>\": 2, \"\xE2\x96\x81\": 259");
    for (int i = 0; i < 256; i++)
        n += (size_t)sprintf(json + n, ", \"<0x%02X>\": %d", (unsigned)i, 3 + i);
    for (int i = 0x21; i < 0x7F; i++)
        n += (size_t)sprintf(json + n, ", \"%s%c\": %d", i == '"' || i == '\\' ? "\\" : "", i, 260 + i);
    if (extra_bytes)
        memcpy(json + n, extra, extra_bytes);
    n += extra_bytes;
    json[n++] = '}';
    *bytes = n;
    return json;
}

#endif

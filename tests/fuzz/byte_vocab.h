/* byte_vocab.h: a small byte-level vocabulary for the targets that tokenise. */
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

#endif

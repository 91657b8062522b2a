/* test_tokenizer_files.h: files and tokenizers for the tests of tools/text. */
#ifndef ZO2_TESTS_UNIT_TOOLS_TEST_TOKENIZER_FILES_H
#define ZO2_TESTS_UNIT_TOOLS_TEST_TOKENIZER_FILES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tools/text/bytes.h"
#include "tools/text/tokenizer.h"

/* Content of a file (NUL-terminated, to be freed), .data NULL if it isn't there. */
static inline zo2t_file test_read(const char *folder, const char *name)
{
    char path[4096];
    zo2t_file f = {0};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *in = fopen(path, "rb");
    if (!in)
        return f;
    char *data = NULL;
    size_t capacity = 0;
    for (size_t n = 1; n;) {
        capacity += 1 << 20;
        data = realloc(data, capacity + 1);
        assert_non_null(data);
        n = fread(data + f.bytes, 1, capacity - f.bytes, in);
        f.bytes += n;
    }
    fclose(in);
    data[f.bytes] = '\0';
    f.data = data;
    return f;
}

/* The tokenizer of a Hugging Face directory, NULL if it has none. */
static inline zo2t_tokenizer *test_tokenizer(const char *folder)
{
    zo2t_tokenizer_files files = {
        .vocab = test_read(folder, "vocab.json"),
        .merges = test_read(folder, "merges.txt"),
        .special_tokens_map = test_read(folder, "special_tokens_map.json"),
        .tokenizer_config = test_read(folder, "tokenizer_config.json"),
        .added_tokens = test_read(folder, "added_tokens.json"),
        .tokenizer = test_read(folder, "tokenizer.json"),
    };
    zo2t_tokenizer *t = NULL;
    zo2_status s = zo2t_tokenizer_open(&t, &files);
    free((char *)(uintptr_t)files.vocab.data);
    free((char *)(uintptr_t)files.merges.data);
    free((char *)(uintptr_t)files.special_tokens_map.data);
    free((char *)(uintptr_t)files.tokenizer_config.data);
    free((char *)(uintptr_t)files.added_tokens.data);
    free((char *)(uintptr_t)files.tokenizer.data);
    if (s && s != ZO2_ERR_NOTFOUND)
        fail_msg("%s: %s", folder, zo2_last_error());
    return t;
}

static inline zo2t_tokenizer *test_tiny_tokenizer(void)
{
    zo2t_tokenizer *t = test_tokenizer(ZO2_TEST_DATA "/tiny-opt/model");
    assert_non_null(t);
    return t;
}

/* Writes a temporary file; path[64] is its name, to be unlinked. */
static inline void test_write(char path[64], const void *data, size_t bytes)
{
    strcpy(path, "/tmp/zo2-text-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = write(fd, (const char *)data + done, bytes - done);
        assert_true(n > 0);
        done += (size_t)n;
    }
    close(fd);
}

/* A status and a part of its message. */
#define assert_error(expression, expected, part)                                                 \
    do {                                                                                         \
        zo2_status error_status_ = (expression);                                                 \
        if (error_status_ != (expected))                                                         \
            fail_msg("status %d, expected %d: %s", error_status_, (expected), zo2_last_error()); \
        if (!strstr(zo2_last_error(), (part)))                                                   \
            fail_msg("\"%s\" is not in \"%s\"", (part), zo2_last_error());                       \
    } while (0)

/* Vocabulary of the four specials (0-3), the 256 bytes (4 + byte) and extra "token": id pairs, as JSON, to be freed. */
static inline char *test_byte_vocab(const char *extra)
{
    char *json = malloc(8192 + strlen(extra));
    assert_non_null(json);
    size_t n = (size_t)sprintf(json, "{\"<s>\": 0, \"<pad>\": 1, \"</s>\": 2, \"<unk>\": 3");
    for (int i = 0; i < 256; i++) {
        char text[2];
        size_t bytes = zo2t_utf8_put2(zo2t_byte_char((uint8_t)i), text);
        const char *escape = i == '"' || i == '\\' ? "\\" : "";
        n += (size_t)sprintf(json + n, ", \"%s%.*s\": %d", escape, (int)bytes, text, 4 + i);
    }
    sprintf(json + n, "%s%s}", *extra ? ", " : "", extra);
    return json;
}

#endif

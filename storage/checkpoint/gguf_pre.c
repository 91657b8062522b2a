/* gguf_pre.c: how texts are split before the merges of a byte-level vocabulary: llama.cpp's names and Hugging Face's patterns. */
#include "storage/checkpoint/gguf_meta.h"
#include "storage/checkpoint/gguf_tokenizer.h"

#include <string.h>

#define CONTRACTED "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define REST       "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define QWEN       CONTRACTED "\\p{N}" REST
#define LLAMA3     CONTRACTED "\\p{N}{1,3}" REST
#define MARKS      "\\p{Lm}\\p{Lo}\\p{M}]"
#define NEMO                                                                                                        \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}" MARKS "*[\\p{Ll}" MARKS "+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}" MARKS \
    "+[\\p{Ll}" MARKS "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* The first of several that do the same is the one that is written. */
static const zo2_gguf_pre pres[] = {
    {.name = "gpt-2"},
    {.name = "smollm", .digits = 1},
    {.name = "qwen2", .regex = QWEN, .nfc = 1},
    {.name = "deepseek-r1-qwen", .regex = QWEN},
    {.name = "llama-bpe", .regex = LLAMA3, .ignore_merges = 1, .bos = 1},
    {.name = "llama3", .regex = LLAMA3, .ignore_merges = 1, .bos = 1},
    {.name = "llama-v3", .regex = LLAMA3, .ignore_merges = 1, .bos = 1},
    {.name = "falcon3", .regex = LLAMA3, .ignore_merges = 1, .bos = 1},
    {.name = "tekken", .regex = NEMO, .ignore_merges = 1, .bos = 1},
};

#define PRES (sizeof pres / sizeof *pres)

const zo2_gguf_pre *zo2_gguf_pre_of(zo2_gguf_text name)
{
    for (size_t i = 0; i < PRES; i++)
        if (zo2_gguf_is(name, pres[i].name))
            return &pres[i];
    return NULL;
}

static int same_regex(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

const zo2_gguf_pre *zo2_gguf_pre_find(const char *regex, int digits, int ignore_merges, int nfc)
{
    for (size_t i = 0; i < PRES; i++)
        if (same_regex(regex, pres[i].regex) && !digits == !pres[i].digits &&
            !ignore_merges == !pres[i].ignore_merges && !nfc == !pres[i].nfc)
            return &pres[i];
    return NULL;
}

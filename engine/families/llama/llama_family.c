/* llama_family.c: what LLaMA has of its own: the defaults of its configuration and its published sizes. The rest is
 * engine/families/decoder. */
#include "engine/families/llama/llama_family.h"
#include "engine/families/decoder/decoder.h"
#include "engine/model/rope.h"
#include "storage/checkpoint/gguf_names.h"

#define LLAMA3(by)                                                                                      \
    {                                                                                                   \
        .kind = ZO2_ROPE_LLAMA3, .theta = 500000, .factor = (by), .original = 8192, .low = 1, .high = 4 \
    }

// clang-format off
static const zo2_decoder_published published[] = {
    /* name, layers, hidden, heads, of keys and values, elements of a head, ffn, vocabulary, context, tied, eps, bos, eos */
    {"llama-3.2-1b",    16,  2048,  32, 8,  64,  8192, 128256, 131072, 1, 1e-5f, 128000, 128001, LLAMA3(32)},
    {"llama-3.1-8b",    32,  4096,  32, 8, 128, 14336, 128256, 131072, 0, 1e-5f, 128000, 128001, LLAMA3(8)},
    {"llama-3.1-70b",   80,  8192,  64, 8, 128, 28672, 128256, 131072, 0, 1e-5f, 128000, 128001, LLAMA3(8)},
    {"llama-3.1-405b", 126, 16384, 128, 8, 128, 53248, 128256, 131072, 0, 1e-5f, 128000, 128001, LLAMA3(8)},
    {.name = NULL},
};
// clang-format on

/* LlamaConfig */
static const zo2_decoder_class class = {
    .vocab = 32000,
    .hidden = 4096,
    .ffn = 11008,
    .layers = 32,
    .heads = 32,
    .context = 2048,
    .bos = 1,
    .eos = 2,
    .attention_bias = ZO2_BIAS_KEY,
    .mlp_bias = 1,
    .whole_heads = 1,
    .published = published,
};

static const zo2_naming namings[] = {{ZO2_NAMING_GGUF, zo2_decoder_place_gguf_turned}, {NULL, NULL}};

const zo2_family zo2_family_llama = {
    .model_type = "llama",
    .class_name = "LlamaForCausalLM",
    .own = &class,
    .namings = namings,
    ZO2_DECODER_ROWS,
};

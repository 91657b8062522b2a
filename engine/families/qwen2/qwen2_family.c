/* qwen2_family.c: what Qwen2 has of its own: the defaults of its configuration and its published sizes. The rest is
 * engine/families/decoder. */
#include "engine/families/qwen2/qwen2_family.h"
#include "engine/families/decoder/decoder.h"
#include "engine/model/rope.h"
#include "storage/checkpoint/gguf_names.h"

#define DEFAULT                                    \
    {                                              \
        .kind = ZO2_ROPE_DEFAULT, .theta = 1000000 \
    }

// clang-format off
static const zo2_decoder_published published[] = {
    /* name, layers, hidden, heads, of keys and values, elements of a head, ffn, vocabulary, context, tied, eps, bos, eos */
    {"qwen2.5-0.5b", 24,  896, 14, 2,  64,  4864, 151936,  32768, 1, 1e-6f, 151643, 151643, DEFAULT},
    {"qwen2.5-7b",   28, 3584, 28, 4, 128, 18944, 152064, 131072, 0, 1e-6f, 151643, 151643, DEFAULT},
    {.name = NULL},
};
// clang-format on

/* Qwen2Config */
static const zo2_decoder_class class = {
    .vocab = 151936,
    .hidden = 4096,
    .ffn = 22016,
    .layers = 32,
    .heads = 32,
    .kv_heads = 32,
    .context = 32768,
    .bos = -1,
    .eos = -1,
    .attention_bias = ZO2_BIAS_QKV,
    .window = ZO2_WINDOW_SWITCHED,
    .published = published,
};

static const zo2_naming namings[] = {{ZO2_NAMING_GGUF, zo2_decoder_place_gguf}, {NULL, NULL}};

const zo2_family zo2_family_qwen2 = {
    .model_type = "qwen2",
    .class_name = "Qwen2ForCausalLM",
    .own = &class,
    .namings = namings,
    ZO2_DECODER_ROWS,
};

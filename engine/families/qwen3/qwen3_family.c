/* qwen3_family.c: what Qwen3 has of its own: the defaults of its configuration and its published sizes. The rest is
 * engine/families/decoder. */
#include "engine/families/qwen3/qwen3_family.h"
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
    {"qwen3-0.6b", 28, 1024, 16, 8, 128,  3072, 151936, 40960, 1, 1e-6f, 151643, 151645, DEFAULT},
    {"qwen3-1.7b", 28, 2048, 16, 8, 128,  6144, 151936, 40960, 1, 1e-6f, 151643, 151645, DEFAULT},
    {"qwen3-4b",   36, 2560, 32, 8, 128,  9728, 151936, 40960, 1, 1e-6f, 151643, 151645, DEFAULT},
    {"qwen3-8b",   36, 4096, 32, 8, 128, 12288, 151936, 40960, 0, 1e-6f, 151643, 151645, DEFAULT},
    {"qwen3-14b",  40, 5120, 40, 8, 128, 17408, 151936, 40960, 0, 1e-6f, 151643, 151645, DEFAULT},
    {"qwen3-32b",  64, 5120, 64, 8, 128, 25600, 151936, 40960, 0, 1e-6f, 151643, 151645, DEFAULT},
    {.name = NULL},
};
// clang-format on

/* Qwen3Config */
static const zo2_decoder_class class = {
    .vocab = 151936,
    .hidden = 4096,
    .ffn = 22016,
    .layers = 32,
    .heads = 32,
    .kv_heads = 32,
    .head_dim = 128,
    .context = 32768,
    .bos = -1,
    .eos = -1,
    .attention_bias = ZO2_BIAS_KEY,
    .window = ZO2_WINDOW_SWITCHED,
    .qk_norm = 1,
    .published = published,
};

static const zo2_naming namings[] = {{ZO2_NAMING_GGUF, zo2_decoder_place_gguf}, {NULL, NULL}};

const zo2_family zo2_family_qwen3 = {
    .model_type = "qwen3",
    .class_name = "Qwen3ForCausalLM",
    .own = &class,
    .namings = namings,
    ZO2_DECODER_ROWS,
};

/* mistral_family.c: what Mistral has of its own: the defaults of its configuration and its published sizes. The rest is
 * engine/families/decoder. */
#include "engine/families/mistral/mistral_family.h"
#include "engine/families/decoder/decoder.h"
#include "engine/model/rope.h"
#include "storage/checkpoint/gguf_names.h"

// clang-format off
static const zo2_decoder_published published[] = {
    /* name, layers, hidden, heads, of keys and values, elements of a head, ffn, vocabulary, context, tied, eps, bos, eos */
    {"mistral-7b", 32, 4096, 32, 8, 128, 14336, 32768, 32768, 0, 1e-5f, 1, 2, /* v0.3: without a window */
     {.kind = ZO2_ROPE_DEFAULT, .theta = 1000000}},
    {.name = NULL},
};
// clang-format on

/* MistralConfig */
static const zo2_decoder_class class = {
    .vocab = 32000,
    .hidden = 4096,
    .ffn = 14336,
    .layers = 32,
    .heads = 32,
    .kv_heads = 8,
    .context = 131072,
    .bos = 1,
    .eos = 2,
    .window = ZO2_WINDOW_ALL,
    .published = published,
};

static const zo2_naming namings[] = {{ZO2_NAMING_GGUF, zo2_decoder_place_gguf_turned}, {NULL, NULL}};

const zo2_family zo2_family_mistral = {
    .model_type = "mistral",
    .class_name = "MistralForCausalLM",
    .own = &class,
    .namings = namings,
    ZO2_DECODER_ROWS,
};

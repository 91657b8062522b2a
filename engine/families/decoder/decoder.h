/* decoder.h: what LLaMA, Qwen2, Qwen3 and Mistral share, which is nearly everything: RMS norms before each half of a layer,
 * rotary positions, attention whose keys and values may have fewer heads, and a gated feed-forward. What a family adds is a table
 * of its defaults and switches, its published sizes, and its row of families.c. */
#ifndef ZO2_ENGINE_FAMILIES_DECODER_DECODER_H
#define ZO2_ENGINE_FAMILIES_DECODER_DECODER_H

#include "engine/forward/batch.h"
#include "engine/forward/forward.h"
#include "engine/model/arch.h"
#include "engine/model/family.h"
#include "engine/model/rope.h"

struct json_t;
struct zo2_place;
struct zo2_stored;

/* The head's name: it is outside the decoder. */
#define ZO2_DECODER_HEAD "lm_head.weight"

typedef enum zo2_decoder_bias {
    ZO2_BIAS_NONE,
    ZO2_BIAS_KEY, /* "attention_bias": of q, k, v and o */
    ZO2_BIAS_QKV, /* always, of q, k and v */
} zo2_decoder_bias;

typedef enum zo2_decoder_window {
    ZO2_WINDOW_NONE,
    ZO2_WINDOW_ALL,      /* "sliding_window" is the window of every layer, null: there is none */
    ZO2_WINDOW_SWITCHED, /* with "use_sliding_window", of those that "layer_types" or "max_window_layers" say */
} zo2_decoder_window;

typedef struct zo2_decoder_published zo2_decoder_published;

/* What a family is to the functions here: its `own`. Defaults of keys that are missing and which keys there are, as Hugging Face's
 * configuration class has them. */
typedef struct zo2_decoder_class {
    uint32_t vocab, hidden, ffn, layers, heads, context;
    uint32_t kv_heads; /* 0: as many as heads */
    uint32_t head_dim; /* 0: hidden / heads */
    int bos, eos;      /* -1: none */
    zo2_decoder_bias attention_bias;
    zo2_decoder_window window;
    int mlp_bias;                           /* "mlp_bias" is a key */
    int qk_norm;                            /* heads of queries and keys are normalised */
    int whole_heads;                        /* hidden must be a multiple of heads even where head_dim is given */
    const zo2_decoder_published *published; /* the last one has no name */
} zo2_decoder_class;

/* A published model. bf16, eps as given, no biases but what its class always has. */
struct zo2_decoder_published {
    const char *name;
    uint32_t layers, hidden, heads, kv_heads, head_dim, ffn, vocab, context;
    int tied;
    float norm_eps;
    int bos, eos;
    zo2_rope rope;
};

/* What each does: family.h. */
const char *zo2_decoder_published_name(const zo2_family *f, uint32_t i);
void zo2_decoder_from_published(zo2_arch *a, uint32_t i);
zo2_status zo2_decoder_read_config(zo2_arch *a, const struct json_t *config, const char *path);
char *zo2_decoder_write_config(const zo2_arch *a, zo2_dtype dtype);
zo2_status zo2_decoder_build_tensors(zo2_arch *a, const char *what);
const char *zo2_decoder_bare_name(const char *name);
int zo2_decoder_ignores(const char *name);
zo2_status zo2_decoder_embed(zo2_forward_pass *f, const zo2_micro *mb, zo2_act h);
zo2_status zo2_decoder_layer(zo2_forward_pass *f, const zo2_micro *mb, uint32_t layer, zo2_act h);
zo2_status zo2_decoder_finish(zo2_forward_pass *f, uint64_t m, zo2_act x, zo2_act y);

/* decoder_gguf.c: places (place.h) of GGUF's tensors: those of llama.cpp's architecture "llama" have the rows of queries and keys in
 * another order. */
int zo2_decoder_place_gguf(const zo2_arch *a, const struct zo2_stored *t, uint32_t i, struct zo2_place *out);
int zo2_decoder_place_gguf_turned(const zo2_arch *a, const struct zo2_stored *t, uint32_t i, struct zo2_place *out);

/* decoder_rope.c: "rope_theta", "rope_scaling", "rope_parameters". a->positions is set. */
zo2_status zo2_decoder_read_rope(zo2_arch *a, const struct json_t *config, const char *path);
/* As the value of "rope_scaling"; NULL when out of memory. */
struct json_t *zo2_decoder_write_rope(const zo2_rope *r);

/* What the tables of all these families have in common; their own are names, class and namings. */
#define ZO2_DECODER_ROWS                                                                            \
    .head_name = ZO2_DECODER_HEAD, .published_name = zo2_decoder_published_name,                    \
    .published = zo2_decoder_from_published, .read_config = zo2_decoder_read_config,                \
    .write_config = zo2_decoder_write_config, .build_tensors = zo2_decoder_build_tensors,           \
    .bare_name = zo2_decoder_bare_name, .ignores = zo2_decoder_ignores, .embed = zo2_decoder_embed, \
    .layer = zo2_decoder_layer, .finish = zo2_decoder_finish

#endif

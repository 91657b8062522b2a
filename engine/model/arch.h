/* arch.h: what a model is made of: its configuration and its tensors in canonical order. Everything that is not
 * arithmetic (packs, plans, masters, export) works on this list; what is particular to a family is in its table. */
#ifndef ZO2_ENGINE_MODEL_ARCH_H
#define ZO2_ENGINE_MODEL_ARCH_H

#include "engine/model/family.h"
#include "engine/model/rope.h"
#include "engine/zo2.h"
#include "kernels/operations.h"

/* What a tensor does. Layer roles occur once per layer. A family has some of them, in an order of its own. */
typedef enum zo2_role {
    /* block 0: embeddings */
    ZO2_ROLE_EMBED_TOKENS,    /* [vocab][embed_dim]; also the head when tied */
    ZO2_ROLE_EMBED_POSITIONS, /* [positions][hidden]; exempt from codecs (fp32 wire) */
    ZO2_ROLE_PROJECT_IN,      /* [hidden][embed_dim] */
    /* blocks 1 ... layers */
    ZO2_ROLE_ATTN_NORM_W,
    ZO2_ROLE_ATTN_NORM_B,
    ZO2_ROLE_Q_W,
    ZO2_ROLE_Q_B,
    ZO2_ROLE_Q_NORM, /* [head_dim]: of each head of the queries */
    ZO2_ROLE_K_W,
    ZO2_ROLE_K_B,
    ZO2_ROLE_K_NORM, /* [head_dim]: of each head of the keys */
    ZO2_ROLE_V_W,
    ZO2_ROLE_V_B,
    ZO2_ROLE_O_W,
    ZO2_ROLE_O_B,
    ZO2_ROLE_FFN_NORM_W,
    ZO2_ROLE_FFN_NORM_B, /* named final_layer_norm in each OPT layer */
    ZO2_ROLE_GATE_W,     /* of a gated feed-forward, FC2 (act(GATE) FC1) */
    ZO2_ROLE_GATE_B,
    ZO2_ROLE_FC1_W,
    ZO2_ROLE_FC1_B,
    ZO2_ROLE_FC2_W,
    ZO2_ROLE_FC2_B,
    /* block layers + 1: head */
    ZO2_ROLE_FINAL_NORM_W,
    ZO2_ROLE_FINAL_NORM_B,
    ZO2_ROLE_PROJECT_OUT, /* [embed_dim][hidden] */
    ZO2_ROLE_LM_HEAD,     /* [vocab][embed_dim]; only when untied */
    /* what a run adds to the model (tune.h) */
    ZO2_ROLE_HEAD_ROWS, /* [rows][embed_dim]: some rows of the head, which move */
    ZO2_ROLE_LORA_A,    /* [rank][columns of the matrix]: one for each of ZO2_LORA_TARGETS, in their order */
    ZO2_ROLE_LORA_B = ZO2_ROLE_LORA_A + 7, /* [rows of the matrix][rank]: the same */
    ZO2_ROLE_COUNT = ZO2_ROLE_LORA_B + 7
} zo2_role;

#define ZO2_NO_TENSOR UINT32_MAX

typedef struct zo2_tensor {
    char name[80]; /* canonical name: "model.decoder.layers.0.fc1.weight", "lm_head.weight" */
    zo2_role role;
    uint32_t id;    /* tensor_id = index */
    uint32_t layer; /* 0-based; 0 for the outer blocks */
    uint32_t block;
    uint32_t rank;
    uint64_t rows, cols; /* rank 1: rows = 1 */
    int decays; /* 1 for matrices and embeddings, 0 for biases and norms; positions: 1 (they are an embedding) */
    int exempt; /* fp32 wire whatever the run's codec: biases, norms, positions */
    int ones;   /* a vector that starts as ones, not zeros, in a model that nobody trained: the weights of norms */
    /* of a run that tunes a part of the model (tune.h) */
    int frozen;     /* 1: it never moves, so there is no master of it and no update */
    uint32_t group; /* of those that take turns: 0 if all move in every step */
    uint32_t
        stored; /* tensor of the pack that it is: its id, unless the run added tensors before it; ZO2_NO_TENSOR: the run's own */
    /* Wires of it that the pack has, and those of them that fit into their codec's narrow room (codec.h): bit w is wire w. */
    uint32_t stored_wires, narrow_wires;
} zo2_tensor;

typedef struct zo2_arch {
    const zo2_family *family;
    char name[32]; /* family->model_type: "opt" */
    uint32_t layers, hidden, heads, head_dim, ffn, vocab;
    uint32_t kv_heads;  /* of keys and values: heads, or a divisor of it */
    uint32_t embed_dim; /* OPT: word_embed_proj_dim; hidden where there are no projections */
    uint32_t context;   /* most tokens of a sequence: max_position_embeddings, or the window if it is smaller */
    uint32_t wide; /* columns of a layer's widest activation: q, k and v side by side, or what a feed-forward makes */
    int tied;
    zo2_activation act;
    float norm_eps;
    /* OPT */
    int pre_norm;   /* do_layer_norm_before */
    int final_norm; /* decoder-level norm: pre_norm and not _remove_final_layer_norm */
    int bias, affine;
    /* families over engine/families/decoder */
    zo2_rope rope;                    /* kind 0: positions aren't rotations */
    int qkv_bias, out_bias, ffn_bias; /* linear layers that have biases */
    int qk_norm;                      /* each head of queries and keys is normalised */
    uint32_t positions;               /* max_position_embeddings */
    uint32_t window, windowed_from;   /* the window of attention in layers from this one on; 0, layers: there is none */
    int bos, eos, pad;                /* token ids, -1 if absent */
    int bos_beyond, pad_beyond;       /* absent because the config's is beyond the vocabulary */
    zo2_dtype dtype;                  /* torch_dtype / dtype of the config; 0 if absent */
    uint64_t parameters;
    uint32_t n_blocks; /* layers + 2: embeddings, layers, head */
    uint32_t n_tensors;
    zo2_tensor *tensors; /* owned */
    uint32_t *block_at;  /* [n_blocks + 1]: first tensor of each block; owned */
    uint32_t *by_name;   /* [n_tensors]: tensors by their bare names (family.h), sorted; owned */
    /* of a run that tunes a part of the model (tune.h) */
    uint64_t moving; /* parameters that move, those of tensors that the run added among them */
    uint32_t frozen; /* tensors that don't; 0: all of the model moves */
    uint32_t
        fork; /* the first block with a tensor that moves. Blocks below are the trunk: they are at W in all streams */
    uint32_t groups;    /* of tensors that take turns: 1 where all move in every step */
    uint32_t n_rows;    /* of ZO2_ROLE_HEAD_ROWS */
    uint32_t *row;      /* [n_rows]: rows of the vocabulary that they are, ascending; owned */
    uint32_t lora_rank; /* 0: there are no adapters */
    float lora_scale;   /* alpha / rank */
    double lora_alpha;
    uint64_t lora_seed; /* of what adapters begin with: the run's */
} zo2_arch;

/* Matrices that low-rank adapters may be added to. */
#define ZO2_LORA_TARGETS 7
extern const zo2_role zo2_lora_target[ZO2_LORA_TARGETS]; /* arch.c */

/* Makes the look-up tables once family, tensors and blocks are set. ZO2_ERR_NOMEM: everything is freed, *a zeroed. */
zo2_status zo2_arch_index(zo2_arch *a);
/* What plans, packs and passes rely on in a model that was indexed (arch_check.c). ZO2_ERR_INTERNAL: its family is wrong. */
zo2_status zo2_arch_check(const zo2_arch *a);
void zo2_arch_free(zo2_arch *a); /* zeroed is fine */

/* Does a tensor move in steps that are a group's turn? */
static inline int zo2_moves(const zo2_tensor *t, uint32_t group)
{
    return !t->frozen && t->group == group;
}

/* The first block with a tensor that moves in them: blocks below are at W in all streams. n_blocks: nothing does. */
uint32_t zo2_arch_fork(const zo2_arch *a, uint32_t group);

/* tensor_id of a role in a layer (layer 0 for the outer blocks), ZO2_NO_TENSOR if this model has none. */
uint32_t zo2_arch_find(const zo2_arch *a, zo2_role role, uint32_t layer);
const zo2_tensor *
zo2_arch_by_name(const zo2_arch *a,
                 const char *name); /* canonical names and those without the prefix; NULL if unknown */

/* Columns of the queries, and of what attention makes of them. */
static inline uint64_t zo2_attention_columns(const zo2_arch *a)
{
    return (uint64_t)a->heads * a->head_dim;
}

/* Columns of the keys, and of the values. */
static inline uint64_t zo2_kv_columns(const zo2_arch *a)
{
    return (uint64_t)a->kv_heads * a->head_dim;
}

/* Are there layers that are computed once, whose result is worth keeping? */
static inline int zo2_has_trunk(const zo2_arch *a)
{
    return a->fork > 1;
}

static inline int zo2_is_lora(const zo2_tensor *t)
{
    return t->role >= ZO2_ROLE_LORA_A && t->role < ZO2_ROLE_COUNT;
}

/* Vectors of a block, and what is as small: one unit, of one chunk, that is decoded when the block begins. */
static inline int zo2_is_vector(const zo2_tensor *t)
{
    return t->rank == 1 || zo2_is_lora(t);
}

static inline int zo2_is_head(const zo2_arch *a, const zo2_tensor *t)
{
    return t->role == ZO2_ROLE_LM_HEAD || (a->tied && t->role == ZO2_ROLE_EMBED_TOKENS);
}

/* The block that multiplies with it: a tied table is the head's, although its tensor is block 0's. */
static inline uint32_t zo2_block_of_use(const zo2_arch *a, const zo2_tensor *t)
{
    return zo2_is_head(a, t) || t->role == ZO2_ROLE_HEAD_ROWS ? a->n_blocks - 1 : t->block;
}

/* A matrix whose tiles are uploaded. Embedding tables that are only gathered from never are. */
static inline int zo2_is_streamed(const zo2_arch *a, const zo2_tensor *t)
{
    return !zo2_is_vector(t) && t->role != ZO2_ROLE_EMBED_POSITIONS && (t->role != ZO2_ROLE_EMBED_TOKENS || a->tied);
}

#endif

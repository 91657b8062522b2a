/* decoder_gguf.c: where the tensors of a GGUF file are in a LLaMA-like model. Each is one of ours, but for llama.cpp's turning of
 * LLaMA's queries and keys: its rotation takes pairs of neighbours, Hugging Face's an element of a head's first half and the one of
 * the second. So row 2 i + s of a head there is row i of half s here. Qwen's files have rows as they are. */
#include "engine/families/decoder/decoder.h"
#include "engine/model/arch.h"
#include "engine/model/place.h"
#include "storage/checkpoint/checkpoint.h"
#include "storage/checkpoint/gguf_names.h"

#include <string.h>

/* The tensor of ours that a name of llama.cpp's means, and its id as a place has it; NULL. */
static const zo2_tensor *find(const zo2_arch *a, const char *name, uint32_t *id)
{
    char text[256];
    const char *ours = zo2_gguf_to_huggingface(name, text, sizeof text);
    const zo2_tensor *is = ours ? zo2_arch_by_name(a, ours) : NULL;
    *id = is ? is->id : ZO2_TIED_HEAD;
    if (!is && ours && a->tied && strcmp(ours, ZO2_DECODER_HEAD) == 0)
        is = &a->tensors[zo2_arch_find(a, ZO2_ROLE_EMBED_TOKENS, 0)];
    return is;
}

int zo2_decoder_place_gguf(const zo2_arch *a, const zo2_stored *t, uint32_t i, zo2_place *out)
{
    uint32_t id;
    const zo2_tensor *is = i == 0 ? find(a, t->name, &id) : NULL;
    if (is)
        *out = (zo2_place){.tensor = id, .rows = is->rows, .cols = is->cols};
    return is != NULL;
}

static int is_turned(zo2_role role)
{
    return role == ZO2_ROLE_Q_W || role == ZO2_ROLE_Q_B || role == ZO2_ROLE_K_W || role == ZO2_ROLE_K_B;
}

/* Number i of a turned one: half i % 2 of head i / 2; of a bias, whose elements lie in one row, each by itself. */
int zo2_decoder_place_gguf_turned(const zo2_arch *a, const zo2_stored *t, uint32_t i, zo2_place *out)
{
    uint32_t id;
    const zo2_tensor *is = find(a, t->name, &id);
    const uint64_t half = a->head_dim / 2;
    if (!is || !is_turned(is->role))
        return zo2_decoder_place_gguf(a, t, i, out);
    if (is->rank == 1) {
        const uint64_t within = i % a->head_dim;
        *out = (zo2_place){
            .tensor = id, .rows = 1, .cols = 1, .from_col = i, .col = i - within + within % 2 * half + within / 2};
        return i < is->cols;
    }
    *out = (zo2_place){.tensor = id,
                       .rows = half,
                       .cols = is->cols,
                       .from_row = i / 2 * a->head_dim + i % 2,
                       .from_step = 2,
                       .row = i * half};
    return i < is->rows / half;
}

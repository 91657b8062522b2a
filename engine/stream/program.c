/* program.c: the order in which a pass fetches chunks: embeddings' matrices, layers, head, and last the tables that
 * nothing waits for. */
#include "engine/stream/program.h"
#include "engine/model/arch.h"

#include <stdlib.h>
#include <string.h>

static void add_unit(zo2_program *p, uint32_t unit, int upload, int gated)
{
    const zo2_unit *u = &p->layout->units[unit];
    p->first_pc[unit] = p->n;
    for (uint32_t c = 0; c < u->n_chunks; c++)
        p->fetch[p->n++] = (zo2_fetch){.chunk = u->first_chunk + c, .upload = (uint8_t)upload, .gated = (uint8_t)gated};
}

static int is_table(const zo2_arch *a, uint32_t tensor)
{
    return tensor != ZO2_NO_TENSOR &&
           (a->tensors[tensor].role == ZO2_ROLE_EMBED_TOKENS || a->tensors[tensor].role == ZO2_ROLE_EMBED_POSITIONS);
}

zo2_status zo2_program_create(zo2_program *out, const zo2_layout *layout, uint32_t from, uint32_t to, int training)
{
    const zo2_arch *a = layout->arch;
    memset(out, 0, sizeof *out);
    out->layout = layout;
    out->fetch = calloc(layout->n_chunks, sizeof *out->fetch);
    out->slot = calloc(2ull * layout->n_chunks, sizeof *out->slot);
    out->sent = calloc(2ull * layout->n_chunks, sizeof *out->sent);
    out->freed_by = calloc(2ull * layout->n_chunks, sizeof *out->freed_by);
    out->after = calloc(2ull * layout->n_chunks, sizeof *out->after);
    out->first_pc = malloc(layout->n_units * sizeof *out->first_pc);
    if (!out->fetch || !out->slot || !out->sent || !out->freed_by || !out->after || !out->first_pc) {
        zo2_program_free(out);
        return zo2_error(ZO2_ERR_NOMEM, "no memory for a program of %u chunks", layout->n_chunks);
    }
    memset(out->first_pc, 0xFF, layout->n_units * sizeof *out->first_pc);
    for (uint32_t u = 0; u < layout->n_units; u++)
        if (!is_table(a, layout->units[u].tensor) && layout->units[u].block >= from && layout->units[u].block < to)
            add_unit(out, u, 1, 0);
    /* A tied table is the head: it comes last of all matrices, after every row was gathered from it. */
    for (uint32_t u = 0; u < layout->n_units && to == a->n_blocks; u++) {
        uint32_t tensor = layout->units[u].tensor;
        if (a->tied && is_table(a, tensor) && a->tensors[tensor].role == ZO2_ROLE_EMBED_TOKENS)
            add_unit(out, u, 1, 1);
    }
    for (uint32_t u = 0; u < layout->n_units && training; u++) {
        uint32_t tensor = layout->units[u].tensor;
        if (is_table(a, tensor) && !layout->units[u].frozen &&
            !(a->tied && a->tensors[tensor].role == ZO2_ROLE_EMBED_TOKENS))
            add_unit(out, u, 0, 1);
    }
    return ZO2_OK;
}

typedef struct use {
    uint32_t owner, pc;
} use;

static int by_owner(const void *a, const void *b)
{
    const use *x = a, *y = b;
    if (x->owner != y->owner)
        return x->owner < y->owner ? -1 : 1;
    return x->pc < y->pc ? -1 : x->pc > y->pc;
}

zo2_status zo2_program_share(zo2_program *p, const zo2_masters *m)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n; i++)
        n += m->shared[p->fetch[i].chunk];
    if (!n)
        return ZO2_OK;
    use *uses = malloc(n * sizeof *uses);
    p->previous = malloc(p->n * sizeof *p->previous);
    if (!uses || !p->previous) {
        free(uses);
        return zo2_error(ZO2_ERR_NOMEM, "no memory for a program of %u chunks", p->n);
    }
    memset(p->previous, 0xFF, p->n * sizeof *p->previous);
    n = 0;
    for (uint32_t i = 0; i < p->n; i++)
        if (m->shared[p->fetch[i].chunk])
            uses[n++] = (use){m->owner[p->fetch[i].chunk], i};
    qsort(uses, n, sizeof *uses, by_owner);
    for (uint32_t i = 1; i < n; i++)
        if (uses[i].owner == uses[i - 1].owner)
            p->previous[uses[i].pc] = uses[i - 1].pc;
    free(uses);
    return ZO2_OK;
}

void zo2_program_free(zo2_program *p)
{
    free(p->previous);
    free(p->fetch);
    free(p->slot);
    free(p->sent);
    free(p->freed_by);
    free(p->after);
    free(p->first_pc);
    memset(p, 0, sizeof *p);
}

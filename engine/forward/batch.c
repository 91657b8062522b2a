/* batch.c: see batch.h. */
#include "engine/forward/batch.h"

#include <stdlib.h>
#include <string.h>

typedef unsigned long long ull;

/* ---- checks ---- */

static zo2_status check_shape(const zo2_batch *b)
{
    if (!b ||
        b->struct_size < sizeof *b) /* no header has a smaller one; a newer one's further fields aren't looked at */
        return zo2_error(ZO2_ERR_ARG, "the batch's struct_size is not set");
    if (!b->rows || !b->seq || !b->tokens || !b->loss)
        return zo2_error(ZO2_ERR_ARG, "a batch needs rows, seq, tokens and loss");
    if ((uint64_t)b->rows * b->seq > UINT32_MAX / 4)
        return zo2_error(ZO2_ERR_ARG, "a batch of %u rows of %u places is absurd", b->rows, b->seq);
    if (b->examples > b->rows)
        return zo2_error(ZO2_ERR_ARG, "a batch of %u rows cannot have %u examples", b->rows, b->examples);
    if (b->example && !b->examples)
        return zo2_error(ZO2_ERR_ARG, "a batch with example numbers must say how many examples it has");
    return ZO2_OK;
}

static int is_real(const zo2_batch *b, uint64_t place)
{
    return !b->mask || b->mask[place];
}

static zo2_status check_row(const zo2_batch *b, uint32_t row, uint32_t vocab, uint32_t context, uint32_t *losses,
                            uint32_t *length)
{
    uint32_t real = 0;
    *losses = 0;
    for (uint32_t i = 0; i < b->seq; i++) {
        uint64_t place = (uint64_t)row * b->seq + i;
        if (!is_real(b, place)) {
            if (b->loss[place])
                return zo2_error(ZO2_ERR_ARG, "row %u, place %u: a masked place cannot carry loss", row, i);
            continue;
        }
        if (b->tokens[place] < 0 || (uint32_t)b->tokens[place] >= vocab)
            return zo2_error(ZO2_ERR_ARG, "row %u, place %u: token %d is outside the vocabulary of %u", row, i,
                             b->tokens[place], vocab);
        if (b->loss[place] && !real)
            return zo2_error(ZO2_ERR_ARG,
                             "row %u, place %u: a row's first token cannot carry loss, nothing predicts it", row, i);
        *losses += b->loss[place] != 0;
        real++;
    }
    if (!real)
        return zo2_error(ZO2_ERR_ARG, "row %u has no real token", row);
    if (real > context)
        return zo2_error(ZO2_ERR_ARG, "row %u has %u tokens, the model's context is %u", row, real, context);
    if (b->label && !*losses)
        return zo2_error(ZO2_ERR_ARG, "row %u has no loss token: in a labelled batch every row needs one", row);
    *length = real;
    return ZO2_OK;
}

/* ---- memory ---- */

zo2_status zo2_batch_reserve(zo2_packed *p, uint64_t places, uint64_t rows)
{
    /* Sequences: one a row and one prefix an example, at most two a row. */
    uint64_t bytes = places * (4 * 4 + 4 + 1) + rows * (2 * sizeof(zo2_seq) + sizeof(zo2_packed_example) +
                                                        sizeof(zo2_micro) + sizeof(double) + 12);
    if (bytes > p->capacity) {
        free(p->memory);
        p->capacity = 0;
        p->memory = malloc(bytes);
        if (!p->memory)
            return zo2_error(ZO2_ERR_NOMEM, "no memory to pack a batch of %llu places", (ull)places);
        p->capacity = bytes;
        memset(p->memory, 0, bytes); /* takes the pages now, not in a step */
    }
    uint8_t *at = p->memory;
    p->row_score = (void *)at; /* the arrays follow in order of their alignment */
    at += rows * sizeof(double);
    p->micro = (void *)at;
    at += rows * sizeof(zo2_micro);
    p->seq = (void *)at;
    at += rows * 2 * sizeof(zo2_seq);
    p->example = (void *)at;
    at += rows * sizeof(zo2_packed_example);
    p->id = (void *)at;
    at += places * 4;
    p->position = (void *)at;
    at += places * 4;
    p->index = (void *)at;
    at += places * 4;
    p->target = (void *)at;
    at += places * 4;
    p->row_losses = (void *)at;
    at += rows * 4;
    p->example_rows = (void *)at;
    at += rows * 4;
    p->compact_length = (void *)at;
    at += rows * 4;
    p->compact_token = (void *)at;
    at += places * 4;
    p->compact_loss = at;
    return ZO2_OK;
}

/* ---- packing ---- */

/* Real tokens of one row, found once. */
typedef struct row_view {
    const int32_t *tokens; /* compacted */
    const uint8_t *loss;
    uint32_t length;
    uint32_t used; /* tokens whose output some loss token needs */
} row_view;

typedef struct packer {
    zo2_packed *out;
    const zo2_batch *b;
    int32_t *tokens; /* [places], real tokens compacted to the left of each row */
    uint8_t *loss;
    uint32_t *length;
} packer;

static row_view view(const packer *k, uint32_t row)
{
    uint64_t at = (uint64_t)row * k->b->seq;
    row_view v = {.tokens = k->tokens + at, .loss = k->loss + at, .length = k->length[row]};
    for (uint32_t i = 1; i < v.length; i++)
        if (v.loss[i])
            v.used = i;
    return v;
}

static uint32_t common_prefix(const packer *k, uint32_t row, uint32_t rows)
{
    row_view a = view(k, row);
    uint32_t n = rows > 1 ? a.used : 0;
    for (uint32_t r = row + 1; r < row + rows; r++) {
        row_view v = view(k, r);
        uint32_t same = 0;
        while (same < n && same < v.used && v.tokens[same] == a.tokens[same])
            same++;
        n = same;
    }
    return n;
}

static void add_tokens(zo2_packed *p, zo2_micro *m, const row_view *v, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        p->id[p->tokens] = (uint32_t)v->tokens[i];
        p->position[p->tokens++] = i;
    }
    m->tokens += to - from;
}

static void add_example(packer *k, zo2_micro *m, uint32_t row, uint32_t rows)
{
    zo2_packed *p = k->out;
    uint32_t prefix = common_prefix(k, row, rows), prefix_at = m->tokens;
    if (prefix) {
        row_view v = view(k, row);
        p->seq[m->seq_at + m->seqs++] = (zo2_seq){.first = prefix_at, .n = prefix};
        add_tokens(p, m, &v, 0, prefix);
    }
    for (uint32_t r = row; r < row + rows; r++) {
        row_view v = view(k, r);
        uint32_t own_at = m->tokens;
        if (v.used > prefix) {
            p->seq[m->seq_at + m->seqs++] =
                (zo2_seq){.first = own_at, .n = v.used - prefix, .prefix = prefix_at, .n_prefix = prefix};
            add_tokens(p, m, &v, prefix, v.used);
        }
        for (uint32_t i = 1; i < v.length; i++) {
            if (!v.loss[i])
                continue;
            p->index[p->losses] = i - 1 < prefix ? prefix_at + i - 1 : own_at + (i - 1 - prefix);
            p->target[p->losses++] = (uint32_t)v.tokens[i];
            m->losses++;
        }
    }
}

static void pack_all(packer *k, uint32_t micro_batch)
{
    zo2_packed *p = k->out;
    uint32_t row = 0, seqs = 0, examples = 0; /* those that have tokens */
    for (uint32_t e = 0; e < p->examples; e++) {
        /* A micro-batch that no loss depends on has nothing to compute: the next one takes its place. */
        if (e % micro_batch == 0 && (!p->micros || p->micro[p->micros - 1].tokens))
            p->micro[p->micros++] = (zo2_micro){
                .token_at = p->tokens, .seq_at = seqs, .example_at = examples, .loss_at = p->losses, .row_at = row};
        zo2_micro *m = &p->micro[p->micros - 1];
        zo2_packed_example own = {.first = m->tokens, .seq_at = seqs};
        add_example(k, m, row, p->example_rows[e]);
        own.tokens = m->tokens - own.first;
        seqs = m->seq_at + m->seqs;
        own.seqs = seqs - own.seq_at;
        if (own.tokens) {
            p->example[examples++] = own;
            m->examples++;
        }
        row += p->example_rows[e];
    }
    if (!p->micro[p->micros - 1].tokens)
        p->micros--;
}

static zo2_status count_examples(zo2_packed *p, const zo2_batch *b)
{
    p->examples = b->examples ? b->examples : b->rows;
    memset(p->example_rows, 0, p->examples * sizeof *p->example_rows);
    for (uint32_t r = 0; r < b->rows; r++) {
        uint32_t e = b->example ? b->example[r] : r;
        if (e >= p->examples || (r && b->example && e < b->example[r - 1]))
            return zo2_error(ZO2_ERR_ARG, "row %u: example numbers must not decrease and must be below %u", r,
                             p->examples);
        p->example_rows[e]++;
    }
    for (uint32_t e = 0; e < p->examples; e++) {
        if (!p->example_rows[e])
            return zo2_error(ZO2_ERR_ARG, "example %u has no row", e);
        if (b->label && b->label[e] >= p->example_rows[e])
            return zo2_error(ZO2_ERR_ARG, "example %u: label %u, but it has %u rows", e, b->label[e],
                             p->example_rows[e]);
    }
    return ZO2_OK;
}

zo2_status zo2_batch_pack(zo2_packed *out, const zo2_batch *b, uint32_t vocab, uint32_t context, uint32_t micro_batch)
{
    zo2_status s = check_shape(b);
    if (s)
        return s;
    uint64_t places = (uint64_t)b->rows * b->seq;
    packer k = {.out = out, .b = b};
    out->micros = 0;
    out->tokens = out->losses = out->real_tokens = out->longest = 0;
    out->rows = b->rows;
    out->label = b->label;
    s = zo2_batch_reserve(out, places, b->rows);
    if (!s)
        s = count_examples(out, b);
    k.tokens = out->compact_token;
    k.loss = out->compact_loss;
    k.length = out->compact_length;
    uint64_t losses = 0;
    for (uint32_t r = 0; r < b->rows && !s; r++) {
        s = check_row(b, r, vocab, context, &out->row_losses[r], &k.length[r]);
        if (s)
            break;
        losses += out->row_losses[r];
        out->real_tokens += k.length[r];
        if (k.length[r] > out->longest)
            out->longest = k.length[r];
        uint64_t at = (uint64_t)r * b->seq;
        for (uint64_t i = at, to = at; i < at + b->seq; i++) {
            if (is_real(b, i)) {
                k.tokens[to] = b->tokens[i];
                k.loss[to++] = b->loss[i];
            }
        }
    }
    if (!s && !losses)
        s = zo2_error(ZO2_ERR_ARG, "the batch has no loss token");
    if (!s)
        pack_all(&k, micro_batch ? micro_batch : UINT32_MAX);
    return s;
}

void zo2_packed_free(zo2_packed *p)
{
    free(p->memory);
    memset(p, 0, sizeof *p);
}

/* batcher.c: see batcher.h. */
#include "tools/text/batcher.h"
#include "tools/text/order.h"

#include <stdlib.h>
#include <string.h>

struct zo2t_batcher {
    const zo2t_dataset *data;
    zo2t_dataset_info info;
    zo2t_order *order; /* NULL: evaluation */
    uint64_t *drawn;   /* [lines] example numbers of the data set */
    size_t drawn_capacity;
    int32_t *tokens; /* [rows * seq] */
    size_t tokens_capacity;
    uint8_t *mask, *loss; /* [rows * seq] */
    size_t mask_capacity, loss_capacity;
    uint32_t *example; /* [rows] */
    size_t example_capacity;
    uint32_t *label; /* [examples] */
    size_t label_capacity;
};

static zo2_status open_batcher(zo2t_batcher **out, const zo2t_dataset *d, int train, uint64_t seed)
{
    *out = NULL;
    zo2t_batcher *b = calloc(1, sizeof *b);
    if (!b)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for batches");
    b->data = d;
    zo2t_dataset_get_info(d, &b->info);
    zo2_status s = train ? zo2t_order_open(&b->order, b->info.examples, seed) : ZO2_OK;
    if (s)
        zo2t_batcher_close(b);
    else
        *out = b;
    return s;
}

zo2_status zo2t_batcher_open_train(zo2t_batcher **out, const zo2t_dataset *d, uint64_t seed)
{
    return open_batcher(out, d, 1, seed);
}

zo2_status zo2t_batcher_open_eval(zo2t_batcher **out, const zo2t_dataset *d)
{
    return open_batcher(out, d, 0, 0);
}

void zo2t_batcher_close(zo2t_batcher *b)
{
    if (!b)
        return;
    zo2t_order_close(b->order);
    free(b->drawn);
    free(b->tokens);
    free(b->mask);
    free(b->loss);
    free(b->example);
    free(b->label);
    free(b);
}

#define GROW(array, capacity, need)                                                   \
    do {                                                                              \
        void *grow_p = (array);                                                       \
        zo2_status grow_s = zo2t_grow(&grow_p, &(capacity), (need), sizeof *(array)); \
        (array) = grow_p;                                                             \
        if (grow_s)                                                                   \
            return grow_s;                                                            \
    } while (0)

/* Draws the examples and measures their rows. */
static zo2_status draw(zo2t_batcher *b, uint64_t position, uint64_t lines, uint64_t *rows, uint32_t *seq)
{
    *rows = 0;
    *seq = 0;
    GROW(b->drawn, b->drawn_capacity, lines);
    for (uint64_t i = 0; i < lines; i++) {
        zo2t_example e;
        b->drawn[i] = position + i;
        zo2_status s = b->order ? zo2t_order_at(b->order, position + i, &b->drawn[i]) : ZO2_OK;
        if (s)
            return s;
        zo2t_dataset_example(b->data, b->drawn[i], &e);
        *rows += e.rows;
        for (uint32_t r = 0; r < e.rows; r++) {
            if (e.prompt + e.suffix[r] > *seq)
                *seq = e.prompt + e.suffix[r];
        }
    }
    return ZO2_OK;
}

/* Writes example i's rows from row `row` on. */
static void place(zo2t_batcher *b, const zo2t_example *e, uint32_t i, uint64_t row, uint32_t seq)
{
    const int32_t *suffix = e->tokens + e->prompt;
    for (uint32_t r = 0; r < e->rows; r++) {
        size_t at = (size_t)(row + r) * seq, n = e->suffix[r], end = e->prompt + n;
        memcpy(b->tokens + at, e->tokens, e->prompt * sizeof *b->tokens);
        memcpy(b->tokens + at + e->prompt, suffix, n * sizeof *b->tokens);
        memset(b->tokens + at + end, 0, (seq - end) * sizeof *b->tokens);
        memset(b->mask + at, 1, end);
        memset(b->mask + at + end, 0, seq - end);
        memset(b->loss + at, 0, seq);
        memset(b->loss + at + e->prompt, 1, n);
        for (size_t g = 0; g < e->gaps; g++)
            memset(b->loss + at + e->prompt + e->gap[g].from, 0, e->gap[g].tokens);
        b->example[row + r] = i;
        suffix += n;
    }
    b->label[i] = e->label;
}

zo2_status zo2t_batcher_fill(zo2t_batcher *b, uint64_t position, uint64_t lines, zo2_batch *out)
{
    uint64_t rows, places;
    uint32_t seq;
    *out = (zo2_batch){.struct_size = sizeof *out};
    if (!lines || lines > UINT32_MAX || position > UINT64_MAX - lines)
        return zo2_error(ZO2_ERR_ARG, "a batch of %llu lines at position %llu", (unsigned long long)lines,
                         (unsigned long long)position);
    if (!b->order) {
        if (position >= b->info.examples)
            return zo2_error(ZO2_ERR_ARG, "position %llu is past the %llu examples", (unsigned long long)position,
                             (unsigned long long)b->info.examples);
        if (lines > b->info.examples - position)
            lines = b->info.examples - position;
    }
    zo2_status s = draw(b, position, lines, &rows, &seq);
    if (s)
        return s;
    if (rows > UINT32_MAX || __builtin_mul_overflow(rows, (uint64_t)seq, &places))
        return zo2_error(ZO2_ERR_ARG, "a batch of %llu lines has %llu rows of %u tokens", (unsigned long long)lines,
                         (unsigned long long)rows, seq);
    GROW(b->tokens, b->tokens_capacity, places);
    GROW(b->mask, b->mask_capacity, places);
    GROW(b->loss, b->loss_capacity, places);
    GROW(b->example, b->example_capacity, rows);
    GROW(b->label, b->label_capacity, lines);
    uint64_t row = 0;
    for (uint64_t i = 0; i < lines; i++) {
        zo2t_example e;
        zo2t_dataset_example(b->data, b->drawn[i], &e);
        place(b, &e, (uint32_t)i, row, seq);
        row += e.rows;
    }
    out->rows = (uint32_t)rows;
    out->seq = seq;
    out->tokens = b->tokens;
    out->mask = b->mask;
    out->loss = b->loss;
    if (b->info.kind == ZO2T_OPTIONS) {
        out->examples = (uint32_t)lines;
        out->example = b->example;
        out->label = b->label;
    }
    out->data_position = position + lines;
    return ZO2_OK;
}

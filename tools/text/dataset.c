/* dataset.c: see dataset.h. */
#include "tools/text/dataset.h"
#include "tools/text/dataset_line.h"
#include "tools/text/lines.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

typedef struct entry {
    uint64_t tokens, row; /* where its tokens and its rows begin */
    uint32_t prompt, label;
} entry;

static_assert(sizeof(entry) == 24, "hashed as it is: no padding");
static_assert(sizeof(zo2t_gap) == 8, "hashed as it is: no padding");

struct zo2t_dataset {
    zo2t_dataset_info info;
    zo2t_ids ids;
    uint32_t *suffix; /* [rows] */
    size_t suffixes, suffix_capacity;
    entry *entry; /* [examples + 1]: the last one is the end */
    size_t entries, entry_capacity;
    zo2t_gap *gap; /* [gaps] */
    size_t gaps, gap_capacity;
    uint64_t *gap_at; /* [entries] where an example's gaps begin */
    size_t gap_at_capacity;
};

static zo2_status add_entry(zo2t_dataset *d, uint32_t prompt, uint32_t label)
{
    void *p = d->entry;
    zo2_status s = zo2t_grow(&p, &d->entry_capacity, d->entries + 1, sizeof *d->entry);
    d->entry = p;
    p = d->gap_at;
    if (!s)
        s = zo2t_grow(&p, &d->gap_at_capacity, d->entries + 1, sizeof *d->gap_at);
    d->gap_at = p;
    if (s)
        return s;
    d->gap_at[d->entries] = d->gaps;
    d->entry[d->entries++] = (entry){d->ids.n, d->suffixes, prompt, label};
    return ZO2_OK;
}

static zo2_status add_gaps(zo2t_dataset *d, const zo2t_line *l)
{
    void *p = d->gap;
    zo2_status s = zo2t_grow(&p, &d->gap_capacity, d->gaps + l->gaps, sizeof *d->gap);
    d->gap = p;
    for (size_t i = 0; i < l->gaps && !s; i++) {
        d->gap[d->gaps++] = l->gap[i];
        d->info.loss_tokens -= l->gap[i].tokens;
    }
    return s;
}

static zo2_status add_line(zo2t_dataset *d, const zo2t_line *l, uint64_t number)
{
    zo2t_dataset_info *info = &d->info;
    zo2_status s = add_entry(d, l->prompt, l->label);
    if (!s)
        s = zo2t_ids_append(&d->ids, l->ids.id, l->ids.n);
    void *p = d->suffix;
    if (!s)
        s = zo2t_grow(&p, &d->suffix_capacity, d->suffixes + l->rows, sizeof *d->suffix);
    d->suffix = p;
    if (s)
        return s;
    memcpy(d->suffix + d->suffixes, l->suffix, l->rows * sizeof *d->suffix);
    d->suffixes += l->rows;

    info->examples++;
    info->rows += l->rows;
    if (l->rows > info->max_options)
        info->max_options = (uint32_t)l->rows;
    for (size_t i = 0; i < l->rows; i++) {
        uint32_t row = l->prompt + l->suffix[i];
        info->tokens += row;
        info->loss_tokens += l->suffix[i];
        if (row > info->longest_row)
            info->longest_row = row;
    }
    if (l->truncated && !info->truncated++)
        info->first_truncated = number;
    s = add_gaps(d, l);
    if (s)
        return s;
    for (int i = 0; i < ZO2T_ODDITIES; i++)
        if (l->odd & 1u << i && !info->odd[i].lines++)
            info->odd[i].first = number;
    info->one_label =
        l->kind == ZO2T_OPTIONS && (info->examples == 1 || (info->one_label && l->label == d->entry->label));
    return ZO2_OK;
}

static int blank(const char *line, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r')
            return 0;
    }
    return 1;
}

/* Runs remember it: what is hashed, and how, stays. Little-endian as everything here: u64 tokens and rows before each
 * example, u32 prompt and label, the end as another example; u32 of each suffix; i32 ids; where there are gaps, u64 gaps before each
 * example and the end, u32 first token and length of each. */
static zo2_status hash_ids(zo2t_dataset *d)
{
    XXH3_state_t *hash = XXH3_createState();
    if (!hash)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the hash of %llu examples",
                         (unsigned long long)d->info.examples);
    XXH3_64bits_reset(hash);
    XXH3_64bits_update(hash, d->entry, d->entries * sizeof *d->entry);
    XXH3_64bits_update(hash, d->suffix, d->suffixes * sizeof *d->suffix);
    XXH3_64bits_update(hash, d->ids.id, d->ids.n * sizeof *d->ids.id);
    if (d->gaps) {
        XXH3_64bits_update(hash, d->gap_at, d->entries * sizeof *d->gap_at);
        XXH3_64bits_update(hash, d->gap, d->gaps * sizeof *d->gap);
    }
    d->info.ids_hash = XXH3_64bits_digest(hash);
    XXH3_freeState(hash);
    return ZO2_OK;
}

static zo2_status load(zo2t_dataset *d, const char *path, zo2t_tokenizer *t, const zo2t_dataset_opts *o,
                       zo2t_lines *file, zo2t_line *l)
{
    const char *name = zo2t_lines_name(path);
    static const char *const names[] = {"", "a language-model line", "an options line"};
    uint64_t first = 0; /* number of the first example's line */
    for (;;) {
        const char *line;
        size_t bytes;
        zo2_status s = zo2t_lines_next(file, &line, &bytes);
        if (s)
            return s;
        if (!line)
            break;
        uint64_t number = zo2t_lines_number(file);
        if (blank(line, bytes))
            continue;
        s = zo2t_line_parse(t, o, name, number, line, bytes, l);
        if (s)
            return s;
        if (!first) {
            first = number;
            d->info.kind = l->kind;
        } else if (l->kind != d->info.kind) {
            return zo2_error(ZO2_ERR_FORMAT, "%s line %llu: is %s, line %llu is %s: a file holds one sort", name,
                             (unsigned long long)number, names[l->kind], (unsigned long long)first,
                             names[d->info.kind]);
        }
        if (d->info.examples == UINT32_MAX)
            return zo2_error(ZO2_ERR_FORMAT, "%s line %llu: more than 4294967295 examples", name,
                             (unsigned long long)number);
        s = add_line(d, l, number);
        if (s)
            return s;
    }
    if (!first)
        return zo2_error(ZO2_ERR_FORMAT, "%s: no examples in the file", name);
    d->info.file_hash = zo2t_lines_hash(file);
    d->info.file_bytes = zo2t_lines_bytes(file);
    zo2_status s = add_entry(d, 0, 0);
    return s ? s : hash_ids(d);
}

zo2_status zo2t_dataset_load(zo2t_dataset **out, const char *path, zo2t_tokenizer *t, const zo2t_dataset_opts *o)
{
    *out = NULL;
    if (o->seq < 2)
        return zo2_error(ZO2_ERR_ARG, "sequence length %u: at least 2 tokens are needed", o->seq);
    if (o->bos >= 0 && (uint32_t)o->bos >= o->vocab)
        return zo2_error(ZO2_ERR_ARG, "BOS id %d is outside the model's vocabulary of %u", o->bos, o->vocab);
    zo2t_line line = {0};
    zo2t_lines *file = NULL;
    zo2_status s = ZO2_OK;
    zo2t_dataset *d = calloc(1, sizeof *d);
    if (!d)
        s = zo2_error(ZO2_ERR_NOMEM, "out of memory for %s", path);
    if (!s)
        s = zo2t_lines_open(&file, path, o->cancelled);
    if (!s)
        s = load(d, path, t, o, file, &line);
    zo2t_line_free(&line);
    zo2t_lines_close(file);
    if (s)
        zo2t_dataset_close(d);
    else
        *out = d;
    return s;
}

void zo2t_dataset_close(zo2t_dataset *d)
{
    if (!d)
        return;
    zo2t_ids_free(&d->ids);
    free(d->suffix);
    free(d->entry);
    free(d->gap);
    free(d->gap_at);
    free(d);
}

void zo2t_dataset_get_info(const zo2t_dataset *d, zo2t_dataset_info *out)
{
    *out = d->info;
}

void zo2t_dataset_example(const zo2t_dataset *d, uint64_t i, zo2t_example *out)
{
    const entry *e = &d->entry[i];
    *out = (zo2t_example){
        .rows = (uint32_t)(e[1].row - e->row),
        .label = e->label,
        .prompt = e->prompt,
        .tokens = d->ids.id + e->tokens,
        .suffix = d->suffix + e->row,
        .gap = d->gaps ? d->gap + d->gap_at[i] : NULL,
        .gaps = d->gap_at[i + 1] - d->gap_at[i],
    };
}

static int falling(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x < y) - (x > y);
}

/* Sum of the largest `lines` values, each counted up to `times` times. Sorts them. */
static uint64_t top(uint64_t *value, uint64_t n, uint64_t lines, uint64_t times)
{
    uint64_t sum = 0;
    qsort(value, n, sizeof *value, falling);
    for (uint64_t i = 0; i < n && lines; i++) {
        uint64_t count = lines < times ? lines : times, add;
        if (__builtin_mul_overflow(count, value[i], &add) || __builtin_add_overflow(sum, add, &sum))
            return UINT64_MAX;
        lines -= count;
    }
    return sum;
}

zo2_status zo2t_dataset_bounds(const zo2t_dataset *d, uint64_t lines, zo2t_bounds *out)
{
    uint64_t n = d->info.examples;
    *out = (zo2t_bounds){0};
    if (!lines || lines > UINT32_MAX) /* rows are at least as many */
        return zo2_error(ZO2_ERR_ARG, "a batch of %llu lines: 1 to 4294967295 are possible", (unsigned long long)lines);
    uint64_t *value = malloc(n * sizeof *value);
    if (!value)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the sizes of %llu examples", (unsigned long long)n);
    uint64_t epochs = (n + lines - 2) / n + 1; /* that `lines` draws can touch: most if they begin at the end of one */
    for (uint64_t i = 0; i < n; i++)
        value[i] = d->entry[i + 1].row - d->entry[i].row;
    uint64_t rows = top(value, n, lines, epochs);
    for (uint64_t i = 0; i < n; i++) {
        value[i] = 0;
        for (uint64_t r = d->entry[i].row; r < d->entry[i + 1].row; r++)
            value[i] += d->suffix[r];
        for (uint64_t g = d->gap_at[i]; g < d->gap_at[i + 1]; g++)
            value[i] -= d->gap[g].tokens;
    }
    out->loss_tokens = top(value, n, lines, epochs);
    out->seq = d->info.longest_row;
    free(value);
    if (rows > UINT32_MAX)
        return zo2_error(ZO2_ERR_ARG, "a batch of %llu lines would have %llu rows", (unsigned long long)lines,
                         (unsigned long long)rows);
    out->rows = (uint32_t)rows;
    return ZO2_OK;
}

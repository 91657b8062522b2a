/* dataset_line.h: one line of a data file becomes token ids. Used by dataset.c only. */
#ifndef ZO2_TOOLS_TEXT_DATASET_LINE_H
#define ZO2_TOOLS_TEXT_DATASET_LINE_H

#include "tools/text/dataset.h"

/* An example: rows of prompt + suffix r each. The suffixes' tokens are the loss tokens, but for the gaps. */
typedef struct zo2t_line {
    zo2t_kind kind;
    zo2t_ids ids;     /* prompt, then the suffixes one after another */
    uint32_t prompt;  /* tokens */
    uint32_t *suffix; /* [rows] tokens */
    size_t rows, suffix_capacity;
    zo2t_gap *gap;
    size_t gaps, gap_capacity;
    zo2t_chat_text chat; /* scratch, as is */
    uint8_t *loss;       /* [ids.n] */
    size_t loss_capacity;
    uint32_t label;
    int truncated;
    unsigned odd; /* 1 << zo2t_oddity, each that applies */
} zo2t_line;

/* Reads one line into *out, whose memory is used again. Errors begin with "FILE line N: ". t may be NULL if no line
 * needs it. */
zo2_status zo2t_line_parse(zo2t_tokenizer *t, const zo2t_dataset_opts *o, const char *file, uint64_t number,
                           const char *line, size_t bytes, zo2t_line *out);

void zo2t_line_free(zo2t_line *l);

#endif

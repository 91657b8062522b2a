/* dataset_line_internal.h: what the kinds of lines share. Used by the files that implement dataset_line.h only. */
#ifndef ZO2_TOOLS_TEXT_DATASET_LINE_INTERNAL_H
#define ZO2_TOOLS_TEXT_DATASET_LINE_INTERNAL_H

#include "tools/text/dataset_line.h"

typedef struct zo2t_line_context {
    zo2t_tokenizer *tokenizer;
    const zo2t_dataset_opts *opts;
    const char *file;
    uint64_t number;
    const json_t *root;
    zo2t_line *out;
} zo2t_line_context;

/* ZO2_ERR_FORMAT, with file and line in front. */
zo2_status zo2t_line_bad(const zo2t_line_context *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Appends a row's suffix. `what` is its name in messages. */
zo2_status zo2t_line_add_suffix(const zo2t_line_context *c, size_t tokens, const char *what);

/* Are all ids in the model's vocabulary? */
zo2_status zo2t_line_check_ids(const zo2t_line_context *c);

/* The error of a completion, or what is like it, that is too long for the sequence. */
zo2_status zo2t_line_does_not_fit(const zo2t_line_context *c, const char *what, size_t tokens);

/* A line {"messages": [...]}. */
zo2_status zo2t_line_messages(const zo2t_line_context *c);

#endif

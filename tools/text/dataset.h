/* dataset.h: a JSONL data file as token ids. A file holds language-model lines or options lines, not both:
 *
 *     {"text": "..."}                                          loss on all tokens but the first
 *     {"prompt": "...", "completion": "..."}                   loss on the completion
 *     {"tokens": [2, 17, ...], "loss_from": 5}                 ready ids as they are, loss from an index on (default 1)
 *     {"prompt": "...", "options": ["...", ...], "label": 0}   a choice: a row per option, scored on its tokens
 *     {"messages": [{"role": "user", "content": "..."}, ...]}  a conversation: loss on what the assistant says (chat.h)
 *
 * Prompt and completion or option are tokenised separately and concatenated. BOS comes in front of a text or prompt; a conversation is what
 * the model's chat template makes of it, and nothing else.
 * Blank lines are skipped, other keys ignored.
 *
 * Rows longer than the sequence lose their oldest prompt (or text) tokens, BOS stays; the rows of one example lose the
 * same ones, so that the longest option fits. "tokens" with loss_from 1 are cut like a text, with a larger one like a
 * prompt and completion; a first token equal to BOS stays. Of a conversation what follows the last loss token goes first, then the oldest. A
 * completion or option, or the last turn of the assistant, that doesn't fit with one token before it is an error. */
#ifndef ZO2_TOOLS_TEXT_DATASET_H
#define ZO2_TOOLS_TEXT_DATASET_H

#include "tools/text/chat.h"
#include "tools/text/lines.h"
#include "tools/text/tokenizer.h"

typedef struct zo2t_dataset zo2t_dataset;

typedef enum zo2t_kind { ZO2T_LM = 1, ZO2T_OPTIONS = 2 } zo2t_kind;

typedef struct zo2t_dataset_opts {
    uint32_t seq;                /* tokens of the longest row, at least 2 */
    uint32_t vocab;              /* of the model: ids are below it */
    int32_t bos;                 /* id put in front, -1 = none */
    zo2t_cancelled_fn cancelled; /* ends the reading of a file; NULL = nothing does */
    uint32_t most_seq;           /* what seq could be, for messages; 0 = unknown */
    const zo2t_chat *chat;       /* NULL: no "messages" lines, */
    const char *no_chat;         /* because of this, which may be NULL; both must outlive the call */
} zo2t_dataset_opts;

/* Reads and tokenises a file, or standard input, "-" (lines.h). t may be NULL for a model without tokenizer: then only "tokens" lines work. On success
 * *out is the caller's until zo2t_dataset_close(); it doesn't need t any more. On failure *out is NULL.
 * ZO2_ERR_NOTFOUND, ZO2_ERR_IO, ZO2_ERR_CANCELLED; ZO2_ERR_FORMAT with file and line: not UTF-8, not JSON, a missing
 * key or wrong type, too few options, a label that isn't one, an empty completion or option, no loss token, a token
 * outside the vocabulary, a completion that doesn't fit, the other kind of line, no line at all. */
zo2_status zo2t_dataset_load(zo2t_dataset **out, const char *path, zo2t_tokenizer *t, const zo2t_dataset_opts *o);
void zo2t_dataset_close(zo2t_dataset *d); /* NULL is fine */

/* What is in order, but rarely meant. */
typedef enum zo2t_oddity {
    ZO2T_SPACE_AT_END, /* a prompt that ends in a space: a token of its own there, which texts don't have */
    ZO2T_NO_SPACE,     /* a letter or digit at its end, one at the beginning of what follows: they become one word */
    ZO2T_EMPTY_PROMPT,
    ZO2T_SAME_OPTIONS, /* two of them have the same tokens */
    ZO2T_ODDITIES
} zo2t_oddity;

typedef struct zo2t_count {
    uint64_t lines, first; /* first: number of the first of them in the file, 0 = none */
} zo2t_count;

typedef struct zo2t_dataset_info {
    zo2t_kind kind;
    uint64_t examples;        /* lines, blank ones not counted */
    uint64_t rows;            /* a line with n options makes n */
    uint64_t tokens;          /* of all rows, unpadded */
    uint64_t loss_tokens;     /* of all rows */
    uint32_t max_options;     /* rows of the line with most */
    uint32_t longest_row;     /* tokens */
    uint64_t truncated;       /* lines that lost tokens */
    uint64_t first_truncated; /* number of the first such line in the file, 0 = none */
    zo2t_count odd[ZO2T_ODDITIES];
    int one_label; /* options: all lines have the same label */
    uint64_t file_bytes;
    uint64_t file_hash; /* XXH3-64 of the file's bytes */
    uint64_t ids_hash;  /* XXH3-64 of what was made of them: ids, where rows and examples begin, prompts and labels */
} zo2t_dataset_info;

void zo2t_dataset_get_info(const zo2t_dataset *d, zo2t_dataset_info *out);

/* Most rows and loss tokens that `lines` consecutive draws can have in any order of the epochs (a line can come up once
 * per epoch that they touch), and the longest row. For zo2_engine_opts: with --batch max_rows, max_seq and
 * max_loss_tokens, with --micro-batch max_rows_micro. ZO2_ERR_ARG: no lines, or 2^32 rows or more. */
typedef struct zo2t_bounds {
    uint32_t rows, seq;
    uint64_t loss_tokens;
} zo2t_bounds;

zo2_status zo2t_dataset_bounds(const zo2t_dataset *d, uint64_t lines, zo2t_bounds *out);

/* Tokens of a suffix that are no loss tokens: what is said between two turns of an assistant. */
typedef struct zo2t_gap {
    uint32_t from, tokens; /* counted from the beginning of the suffix; rising */
} zo2t_gap;

/* Example i < examples: its rows are prompt + suffix. Valid as long as the data set. */
typedef struct zo2t_example {
    uint32_t rows, label;   /* label: options only */
    uint32_t prompt;        /* tokens in front of every row's suffix = index of the row's first loss token */
    const int32_t *tokens;  /* prompt, then the suffixes one after another */
    const uint32_t *suffix; /* [rows] tokens of each suffix, all of them loss tokens but those of */
    const zo2t_gap *gap;    /* [gaps], in conversations, which have one row */
    size_t gaps;
} zo2t_example;

void zo2t_dataset_example(const zo2t_dataset *d, uint64_t i, zo2t_example *out);

#endif

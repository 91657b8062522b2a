/* answers.c: see answers.h. */
#include "tools/text/answers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* A mark for every loss token of example e. Rows of one suffix after another; a conversation, which has gaps, has one row. */
static void mark_example(unsigned char *marks, const zo2t_example *e)
{
    const int32_t *suffix = e->tokens + e->prompt;
    for (uint32_t row = 0; row < e->rows; row++) {
        size_t gap = 0;
        for (uint32_t i = 0; i < e->suffix[row]; i++) {
            while (gap < e->gaps && i >= e->gap[gap].from + e->gap[gap].tokens)
                gap++;
            if (gap == e->gaps || i < e->gap[gap].from)
                marks[suffix[i]] = 1;
        }
        suffix += e->suffix[row];
    }
}

static zo2_status write_ranges(char **text, const unsigned char *marks, uint32_t vocab)
{
    size_t bytes = 0;
    *text = NULL;
    FILE *out = open_memstream(text, &bytes);
    if (!out)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tokens of the answers");
    const char *comma = "";
    for (uint32_t id = 0; id < vocab; id++) {
        if (!marks[id])
            continue;
        const uint32_t first = id;
        while (id + 1 < vocab && marks[id + 1])
            id++;
        fprintf(out, "%s%" PRIu32, comma, first);
        if (id > first)
            fprintf(out, "-%" PRIu32, id);
        comma = ",";
    }
    if (fclose(out) == 0)
        return ZO2_OK;
    free(*text);
    *text = NULL;
    return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tokens of the answers");
}

zo2_status zo2t_answers(const zo2t_dataset *d, uint32_t vocab, char **text)
{
    *text = NULL;
    unsigned char *marks = calloc(vocab, 1);
    if (!marks)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tokens of the answers");
    zo2t_dataset_info info;
    zo2t_dataset_get_info(d, &info);
    for (uint64_t i = 0; i < info.examples; i++) {
        zo2t_example e;
        zo2t_dataset_example(d, i, &e);
        mark_example(marks, &e);
    }
    zo2_status s = write_ranges(text, marks, vocab);
    free(marks);
    return s;
}

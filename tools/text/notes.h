/* notes.h: what is odd about a tokenizer's files without making them unusable: sentences for warnings. {0} is an empty list. */
#ifndef ZO2_TOOLS_TEXT_NOTES_H
#define ZO2_TOOLS_TEXT_NOTES_H

#include "engine/zo2.h"

typedef struct zo2t_notes {
    char **text; /* [n] */
    size_t n, capacity;
} zo2t_notes;

/* Appends a sentence, cut at 1,000 bytes. ZO2_ERR_NOMEM. */
zo2_status zo2t_notes_add(zo2t_notes *notes, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Frees the memory and leaves an empty list. */
void zo2t_notes_free(zo2t_notes *notes);

#endif

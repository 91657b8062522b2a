/* choice.c: see choice.h. */
#include "tools/tune/choice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/text/answers.h"

static const char rows[] = "rows=", word[] = "answers";

/* Where the word stands, NULL: nowhere. More of the list may follow: rows=answers,12. */
static const char *find_answers(const char *asked)
{
    for (const char *term = asked; term; term = strchr(term, '+')) {
        term += *term == '+';
        if (strncmp(term, rows, strlen(rows)) != 0 || strncmp(term + strlen(rows), word, strlen(word)) != 0)
            continue;
        const char *at = term + strlen(rows), next = at[strlen(word)];
        if (!next || next == '+' || next == ',')
            return at;
    }
    return NULL;
}

bool tune_has_answers(const char *asked)
{
    return find_answers(asked) != NULL;
}

zo2_status tune_choice_resolve(char **out, const char *asked, const zo2t_dataset *d, uint32_t vocab)
{
    char *list = NULL;
    const char *at = find_answers(asked);
    *out = NULL;
    if (at) {
        zo2_status s = zo2t_answers(d, vocab, &list);
        if (s != ZO2_OK)
            return s;
        if (asprintf(out, "%.*s%s%s", (int)(at - asked), asked, list, at + strlen(word)) < 0)
            *out = NULL;
    } else {
        *out = strdup(asked);
    }
    free(list);
    return *out ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "out of memory for the choice of tensors");
}

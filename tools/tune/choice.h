/* choice.h: which tensors move, as a user says it: rows=answers, which the library doesn't know, becomes the tokens that a data file asks
 * for. */
#ifndef ZO2_TOOLS_TUNE_CHOICE_H
#define ZO2_TOOLS_TUNE_CHOICE_H

#include <stdbool.h>

#include "engine/zo2.h"
#include "tools/text/dataset.h"

/* Is there a term rows=answers? NULL: no. */
bool tune_has_answers(const char *asked);

/* The text for the library (zo2_engine_opts.tune): `asked`, with the tokens of d's answers (tools/text/answers.h) in the place of that
 * word. vocab: all ids of d are below it. *out: malloc'ed. ZO2_ERR_NOMEM. */
zo2_status tune_choice_resolve(char **out, const char *asked, const zo2t_dataset *d, uint32_t vocab);

#endif

/* answers.h: the tokens that a data set asks for. */
#ifndef ZO2_TOOLS_TEXT_ANSWERS_H
#define ZO2_TOOLS_TEXT_ANSWERS_H

#include "tools/text/dataset.h"

/* The ids that losses are computed on, of options, completions and an assistant's turns (of a "text" line all but its first token), each
 * once, ascending, as ranges: "12,15,98-103". vocab: all ids of d are below it. *text: malloc'ed. ZO2_ERR_NOMEM. */
zo2_status zo2t_answers(const zo2t_dataset *d, uint32_t vocab, char **text);

#endif

/* fit.h: a tokenizer and a model side by side: the BOS in force, and where the two don't fit. */
#ifndef ZO2_TOOLS_TEXT_FIT_H
#define ZO2_TOOLS_TEXT_FIT_H

#include "tools/text/notes.h"
#include "tools/text/tokenizer.h"

/* The value of --bos as an id or -1: "auto", "none" or an id below the model's vocabulary. "auto" is what the tokenizer puts in front
 * of a text; the model's own bos_token_id without a tokenizer (NULL) or where its files don't say. ZO2_ERR_ARG. */
zo2_status zo2t_bos_parse(const char *arg, const zo2t_tokenizer *t, const zo2_pack_info *model, int32_t *bos);

/* Adds a note if "auto" isn't the model's bos_token_id, or isn't surely what Hugging Face's tokenizer does. */
zo2_status zo2t_fit_bos(const zo2t_tokenizer *t, const zo2_pack_info *model, zo2t_notes *notes);

/* Adds a note if there are tokens that the model has no embedding of. */
zo2_status zo2t_fit_ids(const zo2t_tokenizer *t, const zo2_pack_info *model, zo2t_notes *notes);

#endif

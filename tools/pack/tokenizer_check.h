/* tokenizer_check.h: whether the tokenizer in a folder is one that zo2-tune can use, before it is put into a pack. */
#ifndef ZO2_TOOLS_PACK_TOKENIZER_CHECK_H
#define ZO2_TOOLS_PACK_TOKENIZER_CHECK_H

#include <stdbool.h>

#include "engine/zo2.h"

/* Opens the files of `dir` as zo2-tune opens those of a pack. What it would refuse is refused, with a message; what is odd about
 * them, or doesn't fit the model, is a warning. So is a tokenizer of a sort that it doesn't read, and, unless one is needed, none at
 * all: a pack can be trained on ready ids. Returns the exit status. */
int pack_tokenizer_check(const char *program, const char *dir, const zo2_pack_info *model, bool needed);

#endif

/* chat_canonical.h: a chat template (Jinja) written in one way, so that texts in it can be looked for. */
#ifndef ZO2_TOOLS_TEXT_CHAT_CANONICAL_H
#define ZO2_TOOLS_TEXT_CHAT_CANONICAL_H

#include "engine/zo2.h"

/* Rewrites a template: no white space but in literals; literals in single quotes with their escapes resolved; text
 * between tags as outputs of literals, trimmed as transformers does (trim_blocks, lstrip_blocks); outputs that follow
 * each other and literals that are added become one; x['y'] as x.y, .strip() as |trim, ~ as +; without comments and
 * generation marks. *out is NUL-terminated, the caller's to free(). ZO2_ERR_FORMAT: a tag or literal without end. */
zo2_status zo2t_chat_canonical(char **out, const char *text, size_t bytes);

#endif

/* pattern.h: a regular expression (PCRE2, UTF-8, Unicode properties) that is matched where it is wanted, not searched for. */
#ifndef ZO2_TOOLS_TEXT_PATTERN_H
#define ZO2_TOOLS_TEXT_PATTERN_H

#include "engine/zo2.h"

/* Unicode's White_Space, for a character class: what other programs mean by \s. PCRE2's \s has U+180E, too. */
#define ZO2T_WHITE_SPACE "\\t-\\r\\x{85}\\p{Z}"

typedef struct zo2t_pattern zo2t_pattern;

/* `text` is the program's own: one that doesn't compile is ZO2_ERR_INTERNAL. On failure *out is NULL. */
zo2_status zo2t_pattern_compile(zo2t_pattern **out, const char *text);
void zo2t_pattern_free(zo2t_pattern *p); /* NULL is fine */

/* Matches at text[at] (valid UTF-8; what lies behind text[bytes] isn't seen): *end is where the match ends, `at` if there is
 * none. Not thread-safe. */
zo2_status zo2t_pattern_match(zo2t_pattern *p, const char *text, size_t bytes, size_t at, size_t *end);

#endif

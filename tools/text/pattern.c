/* pattern.c: see pattern.h. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "tools/text/pattern.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

struct zo2t_pattern {
    pcre2_code *code;
    pcre2_match_data *match;
};

static zo2_status internal(int error, const char *what, size_t at)
{
    PCRE2_UCHAR text[128];
    pcre2_get_error_message(error, text, sizeof text);
    return zo2_error(ZO2_ERR_INTERNAL, "tokenizer pattern, %s %zu: %s", what, at, (const char *)text);
}

zo2_status zo2t_pattern_compile(zo2t_pattern **out, const char *text)
{
    int error;
    PCRE2_SIZE offset;
    *out = NULL;
    zo2t_pattern *p = calloc(1, sizeof *p);
    if (!p)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tokenizer");
    p->code =
        pcre2_compile((PCRE2_SPTR)text, strlen(text), PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &error, &offset, NULL);
    if (!p->code) {
        zo2t_pattern_free(p);
        return internal(error, "place", offset);
    }
    pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE); /* where there is no JIT, pcre2_match() interprets */
    p->match = pcre2_match_data_create(1, NULL);
    if (!p->match) {
        zo2t_pattern_free(p);
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tokenizer");
    }
    *out = p;
    return ZO2_OK;
}

void zo2t_pattern_free(zo2t_pattern *p)
{
    if (!p)
        return;
    pcre2_match_data_free(p->match);
    pcre2_code_free(p->code);
    free(p);
}

zo2_status zo2t_pattern_match(zo2t_pattern *p, const char *text, size_t bytes, size_t at, size_t *end)
{
    int n = pcre2_match(p->code, (PCRE2_SPTR)text, bytes, at, PCRE2_NO_UTF_CHECK, p->match, NULL);
    *end = at;
    if (n == PCRE2_ERROR_NOMATCH)
        return ZO2_OK;
    if (n < 0)
        return internal(n, "at byte", at);
    *end = pcre2_get_ovector_pointer(p->match)[1];
    return ZO2_OK;
}

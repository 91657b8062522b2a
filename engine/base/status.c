/* status.c: status texts and the thread-local last error. */
#include "engine/zo2.h"

#include <stdarg.h>
#include <stdio.h>

#define LAST_ERROR_BYTES 1024

static _Thread_local char last_error[LAST_ERROR_BYTES];

const char *zo2_strerror(zo2_status s)
{
    switch (s) {
#define X(name, value, text) \
    case ZO2_##name: return text;
        ZO2_STATUS_MAP(X)
#undef X
    }
    return "unknown status";
}

const char *zo2_last_error(void)
{
    return last_error;
}

zo2_status zo2_error(zo2_status s, const char *fmt, ...)
{
    /* Formatted aside first, so that the old text may be an argument: zo2_error(s, "%s: %s", where, zo2_last_error()).
     */
    char text[LAST_ERROR_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    /* Texts quote names from files: no escape sequence of theirs may reach a terminal, no line feed a log. */
    for (size_t i = 0; i < sizeof text; i++) {
        last_error[i] = text[i] && ((unsigned char)text[i] < 0x20 || text[i] == 0x7F) ? '?' : text[i];
        if (!text[i])
            break;
    }
    return s;
}

const char *zo2_version(void)
{
    return ZO2_VERSION_STRING;
}

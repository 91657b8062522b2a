/* notes.c: see notes.h. */
#include "tools/text/notes.h"
#include "tools/text/ids.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

zo2_status zo2t_notes_add(zo2t_notes *notes, const char *fmt, ...)
{
    char text[1001];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    void *p = notes->text;
    zo2_status s = zo2t_grow(&p, &notes->capacity, notes->n + 1, sizeof *notes->text);
    notes->text = p;
    if (s)
        return s;
    char *copy = strdup(text);
    if (!copy)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for a warning");
    notes->text[notes->n++] = copy;
    return ZO2_OK;
}

void zo2t_notes_free(zo2t_notes *notes)
{
    for (size_t i = 0; i < notes->n; i++)
        free(notes->text[i]);
    free(notes->text);
    *notes = (zo2t_notes){0};
}

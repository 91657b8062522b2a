/* foreign.h: what a line of a data file is when it isn't a JSON object: another format's bytes, an array, a piece of
 * pretty-printed JSON, a row of a table. Only looked at after a line was refused, so a guess never costs a good file. */
#ifndef ZO2_TOOLS_TEXT_FOREIGN_H
#define ZO2_TOOLS_TEXT_FOREIGN_H

#include <stdbool.h>
#include <stddef.h>

/* What the line looks like and how JSON lines come of it, a clause for the end of a message, FILE standing for the file's
 * name; NULL: nothing known. first: it is the file's first line, where a format's magic number and a table's heading are.
 * Static. */
const char *zo2t_foreign(const char *line, size_t bytes, bool first);

#endif

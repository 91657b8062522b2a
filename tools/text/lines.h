/* lines.h: reads a file, a FIFO, a device or standard input line by line and hashes all its bytes on the way. */
#ifndef ZO2_TOOLS_TEXT_LINES_H
#define ZO2_TOOLS_TEXT_LINES_H

#include <stdbool.h>

#include "engine/zo2.h"

#define ZO2T_LINE_BYTES ((size_t)64 << 20) /* longest line */

typedef struct zo2t_lines zo2t_lines;

/* Asked before every wait for data and every tenth of a second while it lasts: true ends it. */
typedef bool (*zo2t_cancelled_fn)(void);

/* A path as messages have it: "standard input" for "-". */
const char *zo2t_lines_name(const char *path);

/* path: "-" is standard input, from where it stands, which is left open; a file of that name is "./-".
 * Opening never waits: a FIFO that nobody writes to yet does so at the first line. `cancelled` may be NULL.
 * ZO2_ERR_NOTFOUND, ZO2_ERR_IO (path and reason). On failure *out is NULL. `path` is copied. */
zo2_status zo2t_lines_open(zo2t_lines **out, const char *path, zo2t_cancelled_fn cancelled);
void zo2t_lines_close(zo2t_lines *l); /* NULL is fine */

/* The next line without its line feed (and a carriage return before it), valid until the next call; *line is NULL at
 * the end. A byte order mark in front of the first line is skipped. ZO2_ERR_FORMAT: longer than ZO2T_LINE_BYTES.
 * ZO2_ERR_CANCELLED. */
zo2_status zo2t_lines_next(zo2t_lines *l, const char **line, size_t *bytes);

/* Number of the line that zo2t_lines_next() returned last, from 1. */
uint64_t zo2t_lines_number(const zo2t_lines *l);

/* XXH3-64 and length of the whole file: after the end. */
uint64_t zo2t_lines_hash(const zo2t_lines *l);
uint64_t zo2t_lines_bytes(const zo2t_lines *l);

#endif

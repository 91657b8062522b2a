/* trace.h: --trace FILE: the lanes' timeline as Chrome trace events (JSON array format), for https://ui.perfetto.dev and
 * chrome://tracing: one track per lane, times in microseconds from the first event on. Records are written whole, so a
 * file that a kill cut short lacks nothing but events and the closing bracket, which viewers don't ask for. */
#ifndef ZO2_TOOLS_TUNE_TRACE_H
#define ZO2_TOOLS_TUNE_TRACE_H

#include "engine/zo2.h"

typedef struct tune_trace tune_trace;

/* Creates the file; one that exists is refused (ZO2_ERR_EXISTS). *out is NULL on failure. ZO2_ERR_IO. */
zo2_status tune_trace_open(tune_trace **out, const char *path);

/* A zo2_trace_fn; ud: the tune_trace. Memory is one buffer; it goes to the file when it is full and at every step.
 * After a write error nothing more is written. */
void tune_trace_event(void *ud, const zo2_trace_event *e);

/* Ends the array and closes the file. The first write error of all. NULL is fine. Frees t in any case. */
zo2_status tune_trace_close(tune_trace *t);

#endif

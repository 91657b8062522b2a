/* export_gguf.h: a GGUF file as an export. Private to engine/export. */
#ifndef ZO2_ENGINE_EXPORT_EXPORT_GGUF_H
#define ZO2_ENGINE_EXPORT_EXPORT_GGUF_H

#include "engine/export/export_values.h"

/* Writes the values, which are open, as v->o->form says, to the file `out`, which appears complete or not at all. Reports to v->o->progress. */
zo2_status zo2_export_gguf(zo2_export_values *v, const char *out);

#endif

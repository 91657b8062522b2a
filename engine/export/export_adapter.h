/* export_adapter.h: the low-rank adapters of a run as the directory that PEFT loads over the model that they belong to. Private to
 * engine/export. */
#ifndef ZO2_ENGINE_EXPORT_EXPORT_ADAPTER_H
#define ZO2_ENGINE_EXPORT_EXPORT_ADAPTER_H

#include "engine/export/export_values.h"

/* Can the run be had as adapters alone? ZO2_ERR_UNSUPPORTED, saying that merging can: something else moves, too; ZO2_ERR_ARG: a file of the
 * whole model was asked for. */
zo2_status zo2_export_adapter_check(const zo2_export_values *v);

/* Writes the directory, which appears complete or not at all. Reports to v->o->progress. */
zo2_status zo2_export_adapter(zo2_export_values *v, const char *out_dir);

#endif

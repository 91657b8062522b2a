/* info_tune.h: what a choice of tensors comes to, in what zo2-pack info says of a pack. */
#ifndef ZO2_TOOLS_PACK_INFO_TUNE_H
#define ZO2_TOOLS_PACK_INFO_TUNE_H

#include "engine/zo2.h"
#include "tools/cli/jsonout.h"

/* Lines of the table. */
void pack_tune_print(const char *tune, const zo2_tune_info *info);
/* An object "tune" in an open object. */
void pack_tune_json(cli_json *j, const char *tune, const zo2_tune_info *info);

#endif

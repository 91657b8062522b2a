/* info_bundle.h: zo2-pack info of a bundle. */
#ifndef ZO2_TOOLS_PACK_INFO_BUNDLE_H
#define ZO2_TOOLS_PACK_INFO_BUNDLE_H

#include <stdbool.h>

#include "engine/zo2.h"

/* Does the file begin as a bundle does? */
bool pack_is_bundle(const char *path);

/* Checks all of it and prints what it is. */
zo2_status pack_print_bundle(const char *path, bool json);

#endif

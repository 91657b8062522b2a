/* opt_family.h: the OPT family (arXiv 2205.01068), as Hugging Face has it. */
#ifndef ZO2_ENGINE_FAMILIES_OPT_OPT_FAMILY_H
#define ZO2_ENGINE_FAMILIES_OPT_OPT_FAMILY_H

#include "engine/model/family.h"

extern const zo2_family zo2_family_opt;

#endif

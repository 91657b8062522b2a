/* core_spill.h: masters of a core that spill: opening the files, and who lives where by the plan. Private to this folder. */
#ifndef ZO2_ENGINE_FORWARD_CORE_SPILL_H
#define ZO2_ENGINE_FORWARD_CORE_SPILL_H

#include "engine/forward/core.h"

/* c->spill, as far as there are files; then the masters. The layout and the plan are there. */
zo2_status zo2_core_create_spilled(zo2_core *c, const zo2_core_config *config);

#endif

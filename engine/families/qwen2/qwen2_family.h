/* qwen2_family.h: Qwen2 and Qwen2.5 (arXiv 2407.10671, 2412.15115), as Hugging Face has it. */
#ifndef ZO2_ENGINE_FAMILIES_QWEN2_QWEN2_FAMILY_H
#define ZO2_ENGINE_FAMILIES_QWEN2_QWEN2_FAMILY_H

#include "engine/model/family.h"

extern const zo2_family zo2_family_qwen2;

#endif

/* qwen3_family.h: Qwen3, dense (arXiv 2505.09388), as Hugging Face has it. */
#ifndef ZO2_ENGINE_FAMILIES_QWEN3_QWEN3_FAMILY_H
#define ZO2_ENGINE_FAMILIES_QWEN3_QWEN3_FAMILY_H

#include "engine/model/family.h"

extern const zo2_family zo2_family_qwen3;

#endif

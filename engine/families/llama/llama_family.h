/* llama_family.h: LLaMA (arXiv 2302.13971, 2307.09288, 2407.21783), as Hugging Face has it. */
#ifndef ZO2_ENGINE_FAMILIES_LLAMA_LLAMA_FAMILY_H
#define ZO2_ENGINE_FAMILIES_LLAMA_LLAMA_FAMILY_H

#include "engine/model/family.h"

extern const zo2_family zo2_family_llama;

#endif

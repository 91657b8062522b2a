/* mistral_family.h: Mistral, dense (arXiv 2310.06825), as Hugging Face has it. */
#ifndef ZO2_ENGINE_FAMILIES_MISTRAL_MISTRAL_FAMILY_H
#define ZO2_ENGINE_FAMILIES_MISTRAL_MISTRAL_FAMILY_H

#include "engine/model/family.h"

extern const zo2_family zo2_family_mistral;

#endif

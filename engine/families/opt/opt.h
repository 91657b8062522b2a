/* opt_arch.h: the two halves of zo2_arch for the OPT family: reading a configuration, and building the tensor list from
 * it. Private to engine/models; everyone else includes arch.h. */
#ifndef ZO2_ENGINE_FAMILIES_OPT_OPT_H
#define ZO2_ENGINE_FAMILIES_OPT_OPT_H

#include "engine/model/arch.h"

/* Largest sizes accepted: far beyond any published model, small enough that no product of two overflows 64 bits. */
#define ZO2_OPT_MAX_LAYERS  1024u
#define ZO2_OPT_MAX_HIDDEN  (1u << 16)
#define ZO2_OPT_MAX_FFN     (1u << 20)
#define ZO2_OPT_MAX_VOCAB   (1u << 24)
#define ZO2_OPT_MAX_CONTEXT (1u << 20)

/* The learned position table starts with two rows that no real token uses: a token's row is its position + 2. */
#define ZO2_OPT_POSITION_OFFSET 2u

/* Builds a->tensors, n_tensors, n_blocks and parameters from the sizes and switches in *a. what: for messages. On
 * failure nothing is allocated. */
zo2_status zo2_opt_tensors_build(zo2_arch *a, const char *what);

#endif

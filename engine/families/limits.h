/* limits.h: largest sizes accepted from a configuration: far beyond any published model, small enough that no product of two
 * overflows 64 bits. */
#ifndef ZO2_ENGINE_FAMILIES_LIMITS_H
#define ZO2_ENGINE_FAMILIES_LIMITS_H

#define ZO2_MAX_LAYERS  1024u
#define ZO2_MAX_HIDDEN  (1u << 16)
#define ZO2_MAX_FFN     (1u << 20)
#define ZO2_MAX_VOCAB   (1u << 24)
#define ZO2_MAX_CONTEXT (1u << 20)

#endif

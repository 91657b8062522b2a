/* toy_family.h: a family that is as unlike OPT as the operations allow: no positions, no biases, a feed-forward before the
 * attention, heads that together are wider than the residual stream, a norm on the embeddings, a wide activation of which
 * one half is used, and a list in an order of its own. */
#ifndef ZO2_TESTS_UNIT_ENGINE_TOY_FAMILY_H
#define ZO2_TESTS_UNIT_ENGINE_TOY_FAMILY_H

#include "engine/model/arch.h"

extern const zo2_family toy_family;

#endif

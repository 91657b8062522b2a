/* rotation.h: groups of tensors that take turns: only one of them is perturbed and updated in a step (HiFT, arXiv 2401.15207; LeZO,
 * arXiv 2410.09823). Which one is a pure function of the run's settings and the step: a resumed run asks again. */
#ifndef ZO2_ENGINE_METHOD_ROTATION_H
#define ZO2_ENGINE_METHOD_ROTATION_H

#include "storage/run/journal.h"

/* The group whose turn it is in a step, of `groups` that are numbered in the order of the model, from its embeddings on. With one group,
 * or settings without turns, 0. */
uint32_t zo2_rotation_group(const zo2_run_settings *s, uint32_t groups, uint64_t step);

#endif

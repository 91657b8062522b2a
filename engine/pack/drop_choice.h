/* drop_choice.h: whose source bits a pack can do without (zo2_freeze_opts.drop_to). Private to engine/pack. */
#ifndef ZO2_ENGINE_PACK_DROP_CHOICE_H
#define ZO2_ENGINE_PACK_DROP_CHOICE_H

#include "engine/model/arch.h"
#include "engine/pack/pack_api.h"

/* Sets drop[tensor of the pack] for those of the wanted ones whose source bits nobody needs who leaves them as they are: not where the
 * wire is these bits, nor where a tensor that moves shares them, nor the head whose rows the choice copies. tuned: the model with the
 * choice, NULL: nothing moves. ZO2_ERR_ARG: that leaves none. */
zo2_status zo2_drop_choose(uint8_t *drop, const zo2_pack *p, const zo2_arch *tuned, const uint8_t *wanted,
                           zo2_wire wire);

/* ZO2_ERR_UNSUPPORTED if a wire of a tensor is all that the pack has of it. */
zo2_status zo2_drop_check_remove(const zo2_pack *p, uint32_t tensor, zo2_wire wire);

#endif

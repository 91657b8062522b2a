/* drop_choice.c: see drop_choice.h. */
#include "engine/pack/drop_choice.h"
#include "codec/codec.h"
#include "engine/model/layout.h"
#include "storage/pack/packfile.h"

#include <string.h>

/* Takes back those that a run with this choice reads. */
static void keep_needed(uint8_t *drop, const zo2_pack *p, const zo2_arch *tuned)
{
    for (uint32_t i = 0; i < tuned->n_tensors; i++) {
        const zo2_tensor *t = &tuned->tensors[i];
        if (t->stored != ZO2_NO_TENSOR && (!t->frozen || (tuned->n_rows && zo2_is_head(tuned, t))))
            drop[zo2_packfile_tensor(p->file, t->stored)->stored_as] = 0;
    }
}

zo2_status zo2_drop_choose(uint8_t *drop, const zo2_pack *p, const zo2_arch *tuned, const uint8_t *wanted,
                           zo2_wire wire)
{
    const uint32_t n = zo2_packfile_header(p->file)->tensors;
    for (uint32_t i = 0; i < n; i++) {
        const zo2_packtensor *t = zo2_packfile_tensor(p->file, i);
        drop[i] = wanted[i] && !t->dropped_to && !zo2_wire_is_type(wire, t->dtype);
    }
    if (tuned)
        keep_needed(drop, p, tuned);
    if (memchr(drop, 1, n))
        return ZO2_OK;
    return zo2_error(ZO2_ERR_ARG, "%s has no matrix of this choice whose source bits could be dropped for a %s wire",
                     zo2_packfile_path(p->file), zo2_wire_name(wire));
}

zo2_status zo2_drop_check_remove(const zo2_pack *p, uint32_t tensor, zo2_wire wire)
{
    const zo2_packtensor *t = zo2_packfile_tensor(p->file, tensor);
    int others = !t->dropped_to;
    for (uint32_t i = 0; i < zo2_packfile_header(p->file)->wires && !others; i++) {
        const zo2_packwire w = zo2_packfile_wire(p->file, i);
        others = w.tensor == tensor && w.wire != wire && zo2_codec_get(w.wire);
    }
    if (others)
        return ZO2_OK;
    return zo2_error(ZO2_ERR_UNSUPPORTED, "the %s wire of tensor %s is all that %s has of it: it can't be taken out",
                     zo2_wire_name(wire), t->name, zo2_packfile_path(p->file));
}

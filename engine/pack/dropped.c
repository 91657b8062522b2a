/* dropped.c: see dropped.h. */
#include "engine/pack/dropped.h"
#include "codec/codec.h"

#include <inttypes.h>
#include <stdio.h>

/* "f6", or "f6 and bf12": the wires of a tensor that there are, as far as they are known here. */
static const char *wires_of(char *out, size_t n, const zo2_packfile *file, uint32_t tensor)
{
    size_t at = 0;
    out[0] = '\0';
    tensor = zo2_packfile_tensor(file, tensor)->stored_as;
    for (uint32_t i = 0; i < zo2_packfile_header(file)->wires && at < n; i++) {
        const zo2_packwire w = zo2_packfile_wire(file, i);
        if (w.tensor == tensor && zo2_codec_get(w.wire))
            at += (size_t)snprintf(out + at, n - at, "%s%s", at ? " and " : "", zo2_wire_name(w.wire));
    }
    return out;
}

#define DROPPED "%s has only the %s wire of tensor %s (zo2-pack freeze --drop-source dropped its source bits)"

static zo2_status refuse_moving(const zo2_packfile *file, const zo2_packtensor *t, const char *have, const char *why)
{
    return zo2_error(ZO2_ERR_UNSUPPORTED,
                     DROPPED
                     ", and %s: choose what to tune (--tune) so that this one stays as it is, or use the pack that "
                     "it was made from",
                     zo2_packfile_path(file), have, t->name, why);
}

static zo2_status check_tensor(const zo2_packfile *file, const zo2_arch *a, const zo2_tensor *t, zo2_wires wires)
{
    char have[160];
    const int rows = t->role == ZO2_ROLE_HEAD_ROWS;
    const uint32_t head = rows ? zo2_arch_find(a, a->tied ? ZO2_ROLE_EMBED_TOKENS : ZO2_ROLE_LM_HEAD, 0) : 0;
    const uint32_t stored = rows ? a->tensors[head].stored : t->stored;
    if (stored == ZO2_NO_TENSOR || !zo2_packfile_tensor(file, stored)->dropped_to)
        return ZO2_OK;
    const zo2_packtensor *p = zo2_packfile_tensor(file, stored);
    wires_of(have, sizeof have, file, stored);
    if (rows)
        return refuse_moving(file, p, have, "rows of it are what rows= begins with");
    if (!t->frozen)
        return refuse_moving(file, p, have, "the run moves it");
    if (t->exempt)
        return zo2_packfile_check_source(file, stored);
    const zo2_wire wire = zo2_tensor_codec(t, wires)->id;
    if (zo2_packfile_has_wire(file, stored, wire))
        return ZO2_OK;
    return zo2_error(ZO2_ERR_UNSUPPORTED,
                     DROPPED
                     ", and this run's frozen matrices have the %s wire: take the one that there is (--frozen-wire, "
                     "or --wire), or use the pack that it was made from",
                     zo2_packfile_path(file), have, p->name, zo2_wire_name(wire));
}

zo2_status zo2_dropped_check_run(const zo2_packfile *file, const zo2_arch *a, zo2_wires wires)
{
    zo2_status s = ZO2_OK;
    for (uint32_t i = 0; zo2_packfile_header(file)->dropped && i < a->n_tensors && !s; i++)
        s = check_tensor(file, a, &a->tensors[i], wires);
    return s;
}

zo2_status zo2_dropped_check_none(const zo2_packfile *file, const char *what)
{
    char have[160];
    const zo2_packheader *h = zo2_packfile_header(file);
    for (uint32_t i = 0; h->dropped && i < h->tensors; i++) {
        const zo2_packtensor *t = zo2_packfile_tensor(file, i);
        if (t->dropped_to && t->stored_as == i)
            return zo2_error(ZO2_ERR_UNSUPPORTED,
                             "%s has no source bits of %" PRIu32
                             " matrices (%s, for one, has only the %s wire): zo2-pack "
                             "freeze --drop-source dropped them, and %s needs them; use the pack that it was made from",
                             zo2_packfile_path(file), h->dropped, t->name, wires_of(have, sizeof have, file, i), what);
    }
    return ZO2_OK;
}

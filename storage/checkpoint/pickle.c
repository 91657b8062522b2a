/* pickle.c: reads a pickle, one opcode after the other until STOP. */
#include "storage/checkpoint/pickle.h"
#include "storage/checkpoint/pickle_machine.h"

#include <stdlib.h>
#include <string.h>

/* The file ends, or what is looked at of it. */
static zo2_status cut_off(const zo2_pickle_machine *m, size_t whole)
{
    if (whole > m->n)
        return zo2_error(ZO2_ERR_FORMAT, "%s: its pickle has more than %d bytes: not one of a state dictionary",
                         m->where, ZO2_PICKLE_MAX_BYTES);
    return zo2_error(ZO2_ERR_FORMAT, "%s: its pickle ends at offset %zu without a STOP: it is truncated; get it again",
                     m->where, m->n);
}

/* A file that isn't a pickle is told so before its bytes are taken for opcodes. */
static zo2_status check_front(const zo2_pickle_machine *m)
{
    if (m->n == 0)
        return zo2_error(ZO2_ERR_FORMAT, "%s: there is no pickle, but nothing at all; get it again", m->where);
    if (m->in[0] != 0x80)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: it doesn't begin with a pickle of protocol 2 or later, as torch.save writes them",
                         m->where);
    return ZO2_OK;
}

static zo2_status run(zo2_pickle_machine *m, size_t whole)
{
    zo2_status s = check_front(m);
    while (s == ZO2_OK && !m->stopped) {
        if (m->at == m->n)
            return cut_off(m, whole);
        m->op_at = m->at;
        m->op = &zo2_pickle_ops[m->in[m->at++]];
        if (!m->op->name)
            return zo2_error(ZO2_ERR_FORMAT, "%s: there is no pickle opcode 0x%02X (at offset %zu): it is damaged",
                             m->where, m->in[m->op_at], m->op_at);
        s = m->op->run(m);
    }
    return s;
}

zo2_status zo2_pickle_load(zo2_pickle *out, const void *bytes, size_t n, size_t *used, const char *where,
                           zo2_pickle_known known)
{
    memset(out, 0, sizeof *out);
    out->bytes = bytes;
    *used = 0;
    zo2_pickle_machine m = {.p = out,
                            .in = bytes,
                            .n = n < ZO2_PICKLE_MAX_BYTES ? n : ZO2_PICKLE_MAX_BYTES,
                            .where = where,
                            .known = known};
    zo2_status s = run(&m, n);
    free(m.stack);
    free(m.marks);
    free(m.memo);
    if (s == ZO2_OK)
        *used = m.at;
    else
        zo2_pickle_free(out);
    return s;
}

/* finish.h: the end of a function of the public interface. */
#ifndef ZO2_ENGINE_BASE_FINISH_H
#define ZO2_ENGINE_BASE_FINISH_H

#include "engine/zo2.h"

/* Returns s. After a success the thread has no last error: neither one from before the call, nor one that the call recovered
 * from. */
static inline zo2_status zo2_finish(zo2_status s)
{
    return s ? s : zo2_error(ZO2_OK, "%s", "");
}

#endif

/* noise_fill.c: the public face of the noise. */
#include "codec/update.h"
#include "engine/base/finish.h"
#include "engine/base/fpenv.h"

zo2_status zo2_noise_fill(float *out, uint64_t seed, uint64_t step, uint32_t query, uint32_t tensor_id, uint64_t first,
                          uint64_t n, zo2_dist dist)
{
    if (dist != ZO2_GAUSSIAN && dist != ZO2_RADEMACHER)
        return zo2_error(ZO2_ERR_ARG, "zo2_noise_fill: unknown distribution %d: use ZO2_GAUSSIAN or ZO2_RADEMACHER",
                         (int)dist);
    if (out == NULL && n > 0)
        return zo2_error(ZO2_ERR_ARG, "zo2_noise_fill: out is NULL");
    fenv_t fenv;
    zo2_fpenv_pin(&fenv);
    zo2_noise_values(out, zo2_noise_key(seed, step), query, tensor_id, first, n, dist);
    zo2_fpenv_restore(&fenv);
    return zo2_finish(ZO2_OK);
}

/* rates.h: how fast this machine is at the parts of a step, for predicted step times. */
#ifndef ZO2_ENGINE_MEASURE_RATES_H
#define ZO2_ENGINE_MEASURE_RATES_H

#include "engine/model/arch.h"
#include "engine/plan/plan_types.h"
#include "kernels/backend.h"

/* Rates of a backend and of the host's threads at a run's own wire, distribution, compute type, width and micro-batch.
 * device: to measure on, in use by nobody; NULL: there is none, or each measurement opens its own. `seconds`: most time that it
 * may take, apart from opening the device; each rate takes at least one pass over a million weights, so that tiny values still
 * give rates. Errors: those of zo2_measure_open() and zo2_measure_run(). */
zo2_status zo2_measure_rates(zo2_rates *out, const zo2_arch *a, const zo2_backend_ops *be, zo2_device *device,
                             const zo2_shape *shape, double seconds);

/* Of a folder's drive, bytes a second. */
typedef struct zo2_storage_rates {
    double read_bytes, write_bytes;
} zo2_storage_rates;

/* Reads and writes a file without a name in `dir`, of at most 1 GiB, in spans of `span_bytes` (0: 4 MiB), for `seconds` at most:
 * but for a slow drive, whose first 16 MiB take longer. Errors: those of zo2_measure_open() and zo2_measure_run(); they name the
 * folder. */
zo2_status zo2_measure_storage_rates(zo2_storage_rates *out, const char *dir, uint64_t span_bytes, double seconds);

/* Only the host's: update and noise. The others are 0. */
zo2_status zo2_measure_host_rates(zo2_rates *out, const zo2_arch *a, const zo2_shape *shape, double seconds);

#endif

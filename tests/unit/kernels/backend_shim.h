/* backend_shim.h: lets tests that were written for the cpu backend run on a device whose memory the host can't touch and
 * that keeps 16-bit values in 16 bits. The test works on a mirror of the arena in host memory, in the cpu backend's
 * form (fp32 values that are already rounded). The shim is a backend whose operations copy the mirror to the device,
 * converting the parts that the operation takes as 16-bit, run the real operation there, wait, and copy everything
 * back. What the device did not change keeps the mirror's bits: poison stays poison. */
#ifndef ZO2_TESTS_UNIT_KERNELS_BACKEND_SHIM_H
#define ZO2_TESTS_UNIT_KERNELS_BACKEND_SHIM_H

#include "kernels/backend.h"

/* A shim around a new backend `real`, with an arena of `bytes`. device: zo2_backend_config's. */
zo2_status backend_shim_open(zo2_backend **out, const zo2_backend_ops *real, zo2_device *device, uint64_t bytes);
/* Tells the shim of a part of the mirror that the test uses as one array; converted as a whole. */
void backend_shim_part(zo2_backend *shim, const void *at, uint64_t bytes);

#endif

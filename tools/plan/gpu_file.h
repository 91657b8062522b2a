/* gpu_file.h: the rates of a GPU as a file: one JSON object of the names below.
 *
 *   needed     upload_rate, gemm_rate, decode_rate   per second, as zo2_device_rates has them
 *   optional   fold_rate; update_rate and noise_rate, the host's; memory_bytes;
 *              wire, dist: what decode_rate and fold_rate hold for */
#ifndef ZO2_TOOLS_PLAN_GPU_FILE_H
#define ZO2_TOOLS_PLAN_GPU_FILE_H

#include <stdint.h>

#include "engine/zo2.h"

typedef struct gpu_file {
    zo2_device_rates rates;
    uint64_t memory_bytes; /* 0: not said */
    zo2_wire wire;         /* 0: not said */
    zo2_dist dist;
} gpu_file;

/* ZO2_ERR_NOTFOUND, ZO2_ERR_IO; ZO2_ERR_FORMAT: not such a file, and what is wrong. */
zo2_status gpu_file_read(gpu_file *out, const char *path);

/* What is 0 is left out. Replaces a file. */
zo2_status gpu_file_write(const gpu_file *f, const char *path);

#endif

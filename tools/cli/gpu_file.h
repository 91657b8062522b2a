/* gpu_file.h: the rates of a GPU as JSON: zo2-plan --save-gpu and zo2-bench --json write them, zo2-plan --gpu reads both. One object
 * of the names below, in zo2-bench's its member "rates".
 *
 *   needed     upload_rate, gemm_rate, decode_rate   per second, as zo2_device_rates has them
 *   optional   fold_rate; update_rate and noise_rate, the host's; memory_bytes;
 *              wire, dist: what decode_rate and fold_rate hold for */
#ifndef ZO2_TOOLS_CLI_GPU_FILE_H
#define ZO2_TOOLS_CLI_GPU_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/zo2.h"
#include "tools/cli/jsonout.h"

#define GPU_FILE_RATES "rates" /* zo2-bench's member */

typedef struct gpu_file {
    zo2_device_rates rates;
    uint64_t memory_bytes; /* 0: not said */
    zo2_wire wire;         /* 0: not said */
    zo2_dist dist;
} gpu_file;

/* ZO2_ERR_NOTFOUND, ZO2_ERR_IO; ZO2_ERR_FORMAT: not such a file, and what is wrong. */
zo2_status gpu_file_read(gpu_file *out, const char *path);

/* The rates of a plan with these options. memory_bytes: of the GPU, 0: not known. False: it has none, or they are the CPU's. */
bool gpu_file_of_plan(gpu_file *out, const zo2_plan *p, const zo2_engine_opts *o, uint64_t memory_bytes);

/* The memory of the device that a plan without a budget of its own was made for. */
uint64_t gpu_file_memory(const zo2_plan *p);

/* One object; name NULL: without one. What is 0 is left out. */
void gpu_file_json(cli_json *j, const char *name, const gpu_file *f);

/* The same as a file, which is replaced. */
zo2_status gpu_file_write(const gpu_file *f, const char *path);

#endif

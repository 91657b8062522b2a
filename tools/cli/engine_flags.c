/* engine_flags.c: see engine_flags.h. */
#include "tools/cli/engine_flags.h"

#define AT(member) offsetof(cli_engine_flags, member)

#ifdef ZO2_HAVE_CUDA
#define DEVICE_MEM_DEFAULT "cpu: the plan's minimum; cuda: 90 % of what is free"
#else
#define DEVICE_MEM_DEFAULT "the plan's minimum"
#endif

// clang-format off
const cli_option cli_shape_options[] = {
    {"batch", "N", CLI_COUNT, AT(batch), "lines in a batch (16)", 1, CLI_MAX_BATCH},
    {"seq", "N", CLI_COUNT, AT(seq), "longest row in tokens; longer ones are cut (the model's context)", 2, 0},
    {0},
};

const cli_option cli_method_options[] = {
    {"queries", "N", CLI_COUNT, AT(queries), "directions per step (1)", 1, ZO2_MAX_QUERIES},
    {"dist", "gaussian|rademacher", CLI_CHOICE, AT(dist), "distribution of z (gaussian)", 0, 0},
    {"pending", "K", CLI_COUNT, AT(pending), "updates a tile's wire may lack (0)", 0, ZO2_MAX_PENDING},
    {"micro-batch", "N", CLI_COUNT, AT(micro_batch), "lines on the device at a time (the whole batch)", 1, CLI_MAX_BATCH},
    {0},
};

const cli_option cli_tune_options[] = {
    {"tune", "CHOICE", CLI_TEXT, AT(tune), "which tensors move (all): terms of those in the notes of zo2-tune train --help, joined by +", 0, 0},
    {"tune-rotate", "N", CLI_COUNT, AT(tune_rotate), "blocks that move take turns of N steps (all move in every step)", 1, UINT32_MAX},
    {"tune-order", "top|bottom|random", CLI_CHOICE, AT(tune_order), "of their turns: from the head down, from the embeddings up, by the seed (top)", 0, 0},
    {"trunk-type", "fp32|bf16", CLI_CHOICE, AT(trunk_type), "what is kept of blocks below all that moves is rounded to (fp32)", 0, 0},
    {"trunk-cache", "SIZE|off", CLI_SIZE, AT(trunk_cache), "keep up to so much of it, for lines that come again: in --spill DIR, else in RAM (off)", 1, 0},
    {0},
};

const cli_option cli_compute_options[] = {
    {"wire", NULL, CLI_WIRE, AT(wire), "codec of the weights on their way to the device (bf16)", 0, 0},
    {"frozen-wire", NULL, CLI_WIRE, AT(frozen_wire), "that of matrices which --tune leaves as they are (as --wire)", 0, 0},
    {"compute", CLI_COMPUTES, CLI_CHOICE, AT(compute), "type that matrices are multiplied in (" CLI_COMPUTE_DEFAULT ")", 0, 0},
    {"backend", CLI_BACKENDS, CLI_CHOICE, AT(backend), "where to compute (auto: the fastest here)", 0, 0},
    {0},
};

const cli_option cli_resource_options[] = {
    {"device-mem", "SIZE", CLI_SIZE, AT(device_mem), "device budget (" DEVICE_MEM_DEFAULT "); what is left keeps wires", 1, 0},
    {"host-mem", "SIZE", CLI_SIZE, AT(host_mem), "host budget, without the cpu backend's device memory (90 % of what is available)", 1, 0},
    {"threads", "N", CLI_COUNT, AT(threads), "threads (usable CPUs)", 1, 4096},
    {0},
};

const cli_option cli_spill_options[] = {
    {"spill", "DIR", CLI_TEXTS, AT(spill), "keep masters that --host-mem has no room for in this directory, too; as often as there are drives", 0, 0},
    {"write-budget", "SIZE", CLI_SIZE, AT(write_budget), "most bytes that a step writes there on average: sets --pending", 1, 0},
    {"endurance", "SIZE", CLI_SIZE, AT(endurance), "bytes that the drives endure: the run may write no more (assumed: 600 times their capacity)", 1, 0},
    {0},
};
// clang-format on

void cli_engine_flags_apply(const cli_engine_flags *f, zo2_engine_opts *o)
{
    if (f->queries.given)
        o->queries = (uint32_t)f->queries.u;
    if (f->dist.given)
        o->dist = zo2_dist_parse(f->dist.text);
    if (f->pending.given)
        o->pending = (int32_t)f->pending.u;
    if (f->micro_batch.given)
        o->micro_batch = (uint32_t)f->micro_batch.u;
    if (f->tune.given)
        o->tune = f->tune.text;
    if (f->tune_rotate.given)
        o->tune_rotate = (uint32_t)f->tune_rotate.u;
    if (f->tune_order.given)
        o->tune_order = zo2_tune_order_parse(f->tune_order.text);
    if (f->trunk_type.given)
        o->trunk_type = zo2_dtype_parse(f->trunk_type.text);
    if (f->trunk_cache.given)
        o->trunk_cache = f->trunk_cache.u; /* off: 0 */
    if (f->wire.given)
        o->wire = zo2_wire_parse(f->wire.text);
    if (f->frozen_wire.given)
        o->frozen_wire = zo2_wire_parse(f->frozen_wire.text);
    if (f->compute.given)
        o->compute = zo2_dtype_parse(f->compute.text);
    if (f->backend.given)
        o->backend = (zo2_backend_kind)zo2_backend_parse(f->backend.text);
    if (f->device_mem.given)
        o->device_bytes = f->device_mem.u;
    if (f->host_mem.given)
        o->host_bytes = f->host_mem.u;
    if (f->threads.given)
        o->threads = (uint32_t)f->threads.u;
    if (f->spill.n) {
        o->spill_dirs = f->spill.texts;
        o->spill_count = f->spill.n;
    }
    if (f->write_budget.given)
        o->write_budget = f->write_budget.u;
}

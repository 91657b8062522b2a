/* gpu.c: see gpu.h. */
#include "tools/plan/gpu.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "tools/cli/gpu_file.h"

#define AT(member) offsetof(gpu_flags, member)

// clang-format off
const cli_option gpu_options[] = {
    {"gpu", "NAME|FILE", CLI_TEXT, AT(gpu), "for a GPU that isn't here: see below; " GPU_EVERY ": a table of the known ones", 0, 0},
    {"pcie", "3|4|5", CLI_CHOICE, AT(pcie), "generation of the host's slot, if it is older than a known GPU's", 0, 0},
    {"update-rate", "G", CLI_ABOVE0, AT(update_rate), "1e9 weights/s that its host updates (measured here)", 0, 0},
    {"save-gpu", "FILE", CLI_TEXT, AT(save), "write the rates of this plan to a file for --gpu", 0, 0},
    {0},
};
// clang-format on

static zo2_wire wire_of(const zo2_engine_opts *o)
{
    return o->wire ? o->wire : ZO2_WIRE_BF16;
}

static zo2_dist dist_of(const zo2_engine_opts *o)
{
    return o->dist ? o->dist : ZO2_GAUSSIAN;
}

static void take_update_rate(gpu_target *out, const gpu_flags *f)
{
    if (f->update_rate.given) {
        out->rates.update_rate = 1e9 * f->update_rate.f;
        out->rates.noise_rate = 0;
    }
}

zo2_status gpu_of_card(gpu_target *out, const gpu_card *c, const gpu_flags *f, const zo2_engine_opts *o)
{
    if (o->compute == ZO2_F32)
        return zo2_error(ZO2_ERR_UNSUPPORTED,
                         "--compute fp32: the rates that are known of %s are those of fp16 and bf16", c->name);
    memset(out, 0, sizeof *out);
    out->card = c;
    snprintf(out->device, sizeof out->device, "published rates of %s", c->name);
    out->memory_bytes = (uint64_t)(c->memory_gb * 1e9);
    out->rates = gpu_card_rates(c, wire_of(o), dist_of(o), f->pcie.given ? (unsigned)(f->pcie.text[0] - '0') : 0);
    if (o->frozen_wire)
        out->rates.frozen_decode_rate = gpu_card_rates(c, o->frozen_wire, dist_of(o), 0).decode_rate;
    take_update_rate(out, f);
    return ZO2_OK;
}

static zo2_status unknown(const char *name)
{
    char list[512] = "";
    size_t n = 0;
    for (const gpu_card *c = gpu_cards; c->name && n < sizeof list; c++)
        n += (size_t)snprintf(list + n, sizeof list - n, "%s, ", c->name);
    return zo2_error(ZO2_ERR_NOTFOUND, "--gpu %.80s: no such GPU and no such file; known are %sand " GPU_EVERY, name,
                     list);
}

static zo2_status of_file(gpu_target *out, const char *path, const gpu_flags *f, const zo2_engine_opts *o)
{
    gpu_file file;
    zo2_status s = gpu_file_read(&file, path);
    if (s)
        return s == ZO2_ERR_NOTFOUND ? unknown(path) : s;
    if (f->pcie.given)
        return zo2_error(ZO2_ERR_ARG, "--pcie is for known GPUs: %s has an upload_rate of its own", path);
    if (file.wire && file.wire != wire_of(o))
        return zo2_error(ZO2_ERR_MISMATCH, "%s holds for --wire %s, this plan has %s", path, zo2_wire_name(file.wire),
                         zo2_wire_name(wire_of(o)));
    if (file.dist && file.dist != dist_of(o))
        return zo2_error(ZO2_ERR_MISMATCH, "%s holds for --dist %s, this plan has %s", path, zo2_dist_name(file.dist),
                         zo2_dist_name(dist_of(o)));
    memset(out, 0, sizeof *out);
    snprintf(out->device, sizeof out->device, "the rates in %.160s", path);
    out->memory_bytes = file.memory_bytes;
    out->rates = file.rates;
    take_update_rate(out, f);
    return ZO2_OK;
}

zo2_status gpu_find(gpu_target *out, const gpu_flags *f, const zo2_engine_opts *o)
{
    for (const gpu_card *c = gpu_cards; c->name; c++)
        if (!strcasecmp(c->name, f->gpu.text))
            return gpu_of_card(out, c, f, o);
    return of_file(out, f->gpu.text, f, o);
}

zo2_status gpu_plan(zo2_plan *out, const char *model, const gpu_target *t, zo2_engine_opts *o)
{
    o->backend = ZO2_BACKEND_NULL; /* its sizes are a GPU's: advice about budgets counts with the same */
    if (!o->device_bytes)
        o->device_bytes = t->memory_bytes / 10 * 9;
    memset(out, 0, sizeof *out);
    out->struct_size = sizeof *out;
    zo2_status s = zo2_plan_for_device(model, o, &t->rates, out);
    if (out->compute != ZO2_BF16 || !t->card || gpu_card_has_bf16(t->card))
        return s;
    return zo2_error(ZO2_ERR_UNSUPPORTED,
                     "%s multiplies no bf16, %s: a run would be refused there; plan and train with --compute fp16",
                     t->card->name, o->compute ? "which --compute asks for" : "this model's own type");
}

zo2_status gpu_save(const char *path, const zo2_plan *p, const gpu_target *t, const zo2_engine_opts *o,
                    bool given_memory)
{
    gpu_file f;
    uint64_t memory = t ? t->memory_bytes : given_memory ? 0 : gpu_file_memory(p);
    if (gpu_file_of_plan(&f, p, o, memory))
        return gpu_file_write(&f, path);
    return zo2_error(ZO2_ERR_ARG, p->gemm_rate > 0
                                      ? "--save-gpu: these would be the CPU's rates; it takes a GPU, or --gpu"
                                      : "--save-gpu: this plan has no rates");
}

/* bench_main.c: zo2-bench: this machine's figures beside those of the machine's limits and of other programs. */
#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/bench.h"
#include "tools/bench/wire_table.h"
#include "tools/cli/args.h"
#include "tools/cli/engine_flags.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/report.h"

static const struct section {
    const char *name;
    bool (*run)(bench *b);
    bool only_named; /* not by default */
} sections[] = {
    {"noise", bench_noise, false},        {"codec", bench_codec, false},         {"update", bench_update, false},
    {"gemm", bench_gemm, false},          {"attention", bench_attention, false}, {"panels", bench_panels, false},
    {"link", bench_link, false},          {"step", bench_step, false},           {"rates", bench_rates, false},
    {"storage", bench_storage, true},     {"convert", bench_convert, true},      {"tune", bench_tune, true},
    {"wires", bench_wires_section, true},
};

enum { SECTIONS = sizeof sections / sizeof *sections };

#define OPTION(field) offsetof(bench_options, field)

static const cli_option what_options[] = {
    {"wire", NULL, CLI_WIRE, OPTION(wire),
     "only this wire (codec, update, panels: bf16 and fp8-e4m3; wires: all; others: bf16)", 0, 0},
    {"all", NULL, CLI_FLAG, OPTION(all), "codec, update, panels: every wire", 0, 0},
    {"dist", "gaussian|rademacher", CLI_CHOICE, OPTION(dist), "only this noise (default: both; step, rates: gaussian)",
     0, 0},
    {"model", "MODEL", CLI_TEXT, OPTION(model),
     "gemm, attention, step, rates, convert, tune: architecture or pack (default opt-125m); wires: pack", 0, 0},
    {"tokens", "N", CLI_COUNT, OPTION(tokens),
     "tokens of the batch, one row but for tune (512); link: of streams (2048); wires: of the longest row (512)", 2,
     1 << 20},
    {"backend", CLI_BACKENDS, CLI_CHOICE, OPTION(backend),
     "gemm, attention, panels, link, rates: on which device (default auto: the fastest here); wires (cpu)", 0, 0},
    {"bytes", "SIZE", CLI_SIZE, OPTION(bytes),
     "codec, update, panels, link: fp32 bytes of a matrix (default 256M); storage: bytes of the file (2G)", 1 << 16, 0},
    {"dir", "DIR", CLI_TEXT, OPTION(dir),
     "storage, convert: the folder whose drive is measured (default: the current one)", 0, 0},
    {"tune", "CHOICE", CLI_TEXT, OPTION(tune),
     "what moves, as for zo2-tune train; tune (the matrices of the last two layers), wires (all; see below)", 0, 0},
    {"queries", "N", CLI_COUNT, OPTION(queries), "tune: of a step (default 4)", 1, ZO2_MAX_QUERIES},
    {"loss", "options|text", CLI_CHOICE, OPTION(loss),
     "tune: of the last tokens of pairs of rows, as of lines with options (default), or of all tokens", 0, 0},
    {"data", "FILE", CLI_TEXT, OPTION(data),
     "wires: lines for the loss and the gradient, as for zo2-tune train (default: weights alone)", 0, 0},
    {"directions", "N", CLI_COUNT, OPTION(directions), "wires: projected gradients that are compared (default 64)", 3,
     1 << 20},
    {"batch", "N", CLI_COUNT, OPTION(batch), "wires: lines of each (default 16)", 1, CLI_MAX_BATCH},
    {"eps", "F", CLI_ABOVE0, OPTION(eps), "wires: length of the perturbation (default 1e-3)", 0, 0},
    {"checkpoint", "HF_DIR", CLI_TEXT, OPTION(checkpoint), "convert: this model (default: random weights of --model)",
     0, 0},
    {0},
};

static const cli_option how_options[] = {
    {"threads", "N", CLI_COUNT, OPTION(threads), "threads where all are used (default: usable CPUs)", 1, 4096},
    {"repeats", "N", CLI_COUNT, OPTION(repeats), "repeats of every side of a row (default 5)", 1, BENCH_MAX_REPEATS},
    {"seconds", "TIME", CLI_TIME, OPTION(seconds), "least time of a repeat (default 0.1)", 0, 0},
    {"python", "PATH", CLI_TEXT, OPTION(python), "for NumPy and PyTorch (default python3, then /usr/bin/python3)", 0,
     0},
    {"no-peers", NULL, CLI_FLAG, OPTION(no_peers), "no NumPy, PyTorch, zstd, fio", 0, 0},
    {"json", NULL, CLI_FLAG, OPTION(json), "one JSON object, at the end", 0, 0},
    {0},
};

/* Marks the sections that were named, if none was those that needn't be. False: names[] has a word that is none. */
static bool choose_sections(const cli_command *command, const char *const names[SECTIONS], bool wanted[SECTIONS])
{
    for (int n = 0; n < SECTIONS; n++) {
        int s = 0;
        wanted[n] = wanted[n] || (!names[0] && !sections[n].only_named);
        while (names[n] && s < SECTIONS && strcmp(names[n], sections[s].name) != 0)
            s++;
        if (s == SECTIONS) {
            cli_usage_error(command, "unknown section \"%s\"", names[n]);
            return false;
        }
        wanted[s] = wanted[s] || names[n];
    }
    return true;
}

static_assert(SECTIONS == 13, "as many positionals below");

static bool settle_options(bench *b)
{
    const bench_options *o = &b->options;
    zo2_measure *m;
    zo2_measure_info info;
    zo2_measure_spec spec;
    zo2_measure_spec_init(&spec);
    spec.kind = ZO2_MEASURE_NOISE;
    spec.threads = o->threads.given ? (uint32_t)o->threads.u : 0;
    zo2_status s = zo2_measure_open(&m, &spec, &info); /* what the library takes by default */
    zo2_measure_close(m);
    if (s) {
        cli_fail(b->program, NULL, s);
        return false;
    }
    b->threads = info.threads;
    memcpy(b->simd, info.simd, sizeof b->simd);
    b->repeats = o->repeats.given ? (unsigned)o->repeats.u : 5;
    b->seconds = o->seconds.given ? o->seconds.f : 0.1;
    b->bytes = o->bytes.given ? o->bytes.u : 256u << 20;
    snprintf(b->python[0], sizeof b->python[0], "%s", o->python.given ? o->python.text : "python3");
    snprintf(b->python[1], sizeof b->python[1], "%s", o->python.given ? "" : "/usr/bin/python3");
    return true;
}

int main(int argc, char **argv)
{
    static bench b = {.program = "zo2-bench"};
    const char *names[SECTIONS];
    bool wanted[SECTIONS] = {false};
    const cli_positional positionals[] = {
        {"noise|codec|update|gemm|attention|panels|link|step|rates|storage|convert|tune|wires",
         "what to measure: one or more, default all but the last four", &names[0], true},
        {"", NULL, &names[1], true},
        {"", NULL, &names[2], true},
        {"", NULL, &names[3], true},
        {"", NULL, &names[4], true},
        {"", NULL, &names[5], true},
        {"", NULL, &names[6], true},
        {"", NULL, &names[7], true},
        {"", NULL, &names[8], true},
        {"", NULL, &names[9], true},
        {"", NULL, &names[10], true},
        {"", NULL, &names[11], true},
        {"", NULL, &names[12], true},
        {0},
    };
    const cli_group groups[] = {
        {"What", what_options, &b.options},
        {"How", how_options, &b.options},
        {0},
    };
    const cli_command command = {
        "zo2-bench",
        "Measures zo2 beside the machine's limits and other programs, and prints their figures and the ratio of speeds.",
        positionals,
        groups,
        "noise   Gaussian and Rademacher values by each instruction set, against memset, NumPy, PyTorch\n"
        "codec   fp32 weights to wires and back, against memcpy, a read scan, zstd\n"
        "update  a step's update of the masters, against a read + write of the bytes, NumPy, PyTorch\n"
        "gemm    the matrix products of a step, against the same on whole matrices; on the cpu OpenBLAS' too\n"
        "attention  of a layer, against a product of as many operations\n"
        "panels  wires on the device decoded, updates folded, perturbed, against a copy of the bytes there\n"
        "link    wires from the masters to the device, residual streams back, against one big transfer\n"
        "step    a training step of a random model, against its products, OpenBLAS, MeZO in PyTorch\n"
        "rates   what zo2-plan counts with for a model, the best of many samples; with --json a GPU's are for zo2-plan --gpu\n"
        "storage  a file of --bytes in --dir read and written some 25 times, against fio on the same file\n"
        "convert  a checkpoint's way into a pack in --dir, from drive to drive, against cp of the files\n"
        "tune    a step that moves a part of a model, without its trunk kept and with it, against one that moves all\n"
        "wires   of a pack: bits and error of every wire; with --data, loss and projected gradient beside fp32's\n"
        "        through it; with --tune as well, as --frozen-wire has it: what moves is exact, other matrices are in the wire\n"
        "Sides of a row are measured in turn. Leave the machine idle meanwhile.\n"
        "A program that is not installed is named and left out; the exit status is 0 all the same.",
    };
    int status;
    cli_fill_closed_streams();
    if (!cli_parse(&command, argc, argv, &status))
        return cli_finish(b.program, status);
    if (!choose_sections(&command, names, wanted))
        return CLI_EXIT_USAGE;
    if (!settle_options(&b))
        return CLI_EXIT_FAILED;
    cli_interrupt_install();
    signal(SIGPIPE, SIG_IGN); /* a peer that died is an error, not the end */
    if (!b.options.json.given)
        bench_print_machine(&b);
    bool ok = true;
    for (int i = 0; i < SECTIONS && ok; i++)
        if (wanted[i])
            ok = sections[i].run(&b);
    if (!b.options.json.given)
        bench_print_missing(&b);
    else if (ok) /* half an object helps nobody */
        bench_print_json(&b);
    bench_work_remove(&b);
    bench_wires_free(b.wires);
    free(b.rows);
    return cli_finish(b.program, ok ? CLI_EXIT_OK : cli_interrupted() ? CLI_EXIT_INTERRUPTED : CLI_EXIT_FAILED);
}

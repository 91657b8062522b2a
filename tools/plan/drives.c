/* drives.c: see drives.h. */
#include "tools/plan/drives.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "tools/cli/engine_flags.h"
#include "tools/cli/numbers.h"

#define AT(member) offsetof(drive_flags, member)
#define GIB        (UINT64_C(1) << 30)
#define COLUMNS    16

// clang-format off
const cli_option drive_options[] = {
    {"spill-read-rate", "G", CLI_ABOVE0, AT(read_rate), "1e9 bytes/s that each of the --spill directories reads (measured there)", 0, 0},
    {"spill-write-rate", "G", CLI_ABOVE0, AT(write_rate), "1e9 bytes/s that each of them writes (measured there)", 0, 0},
    {"steps", "N", CLI_COUNT, AT(steps), "steps of the run, for what it writes altogether (20000)", 1, UINT64_C(1) << 28},
    {"spill-table", NULL, CLI_FLAG, AT(table), "a table: each wire, 16 and 64 GiB of host memory, one and two drives", 0, 0},
    {0},
};
// clang-format on

void drives_apply(const drive_flags *f, zo2_engine_opts *o)
{
    if (f->read_rate.given)
        o->spill_read_rate = 1e9 * f->read_rate.f;
    if (f->write_rate.given)
        o->spill_write_rate = 1e9 * f->write_rate.f;
}

uint64_t drives_steps(const drive_flags *f)
{
    return f->steps.given ? f->steps.u : CLI_DEFAULT_STEPS;
}

/* ---- the table ---- */

static void print_figure(double v)
{
    printf(" %.*f |", v >= 100 ? 0 : v >= 10 ? 1 : 2, v);
}

static void print_row(const char *model, const zo2_engine_opts *o, const zo2_plan *p, uint64_t steps)
{
    const double figures[] = {1e-9 * (double)p->ram_master_bytes,
                              1e-9 * (double)p->ram_wire_bytes,
                              1e-9 * (double)p->spill_bytes,
                              p->read_seconds,
                              p->write_seconds,
                              p->update_seconds,
                              p->upload_seconds,
                              p->compute_seconds,
                              p->seconds_per_step};
    printf("| %s | %s | %" PRIu64 " | %u |", model, zo2_wire_name(o->wire), o->host_bytes / GIB, o->spill_count);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        print_figure(figures[i]);
    printf(" %s |", p->seconds_per_step > 0 ? p->bottleneck : "unknown");
    print_figure(1e-9 * (double)p->written_bytes_per_step);
    print_figure(1e-12 * (double)p->written_bytes_per_step * (double)steps);
    putchar('\n');
}

static zo2_status plan_row(zo2_plan *p, const char *model, const gpu_flags *gpu, zo2_engine_opts *o)
{
    gpu_target t;
    *p = (zo2_plan){.struct_size = sizeof *p};
    if (!gpu->gpu.given)
        return zo2_plan_estimate(model, o, p);
    zo2_status s = gpu_find(&t, gpu, o);
    return s ? s : gpu_plan(p, model, &t, o);
}

zo2_status drives_print_table(const char *model, const drive_flags *f, const gpu_flags *gpu, const zo2_engine_opts *o)
{
    static const zo2_wire wires[] = {ZO2_WIRE_BF16, ZO2_WIRE_FP16, ZO2_WIRE_E4M3, ZO2_WIRE_FP32};
    static const char *const drives[] = {"drive 1", "drive 2"};
    uint64_t steps = drives_steps(f);
    char count[CLI_TEXT_BYTES];
    printf(
        "| model | wire | host memory, GiB | drives | masters in RAM, GB | wires in RAM, GB | on drives, GB | read, s "
        "| write, s | update, s | upload, s | compute, s | s/step | bottleneck | written, GB/step | in %s steps, TB |\n|",
        cli_human_count(count, steps));
    for (int column = 0; column < COLUMNS; column++)
        printf(" --- |");
    putchar('\n');
    for (size_t i = 0; i < sizeof wires / sizeof *wires; i++)
        for (uint64_t gib = 16; gib <= 64; gib *= 4)
            for (uint32_t n = 1; n <= sizeof drives / sizeof *drives; n++) {
                zo2_engine_opts own = *o;
                zo2_plan p;
                own.wire = wires[i];
                own.host_bytes = gib * GIB;
                own.spill_dirs = drives;
                own.spill_count = n;
                zo2_status s = plan_row(&p, model, gpu, &own);
                if (s)
                    return s;
                print_row(model, &own, &p, steps);
            }
    return ZO2_OK;
}

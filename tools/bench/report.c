/* report.c: results as Markdown tables that line up in a terminal, and as JSON. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/bench/bench.h"
#include "tools/bench/wire_table.h"
#include "tools/cli/jsonout.h"
#include "tools/cli/numbers.h"

#define FIGURE_BYTES 32
#define STAT_BYTES   128

/* Three digits that matter. */
static const char *figure(char out[FIGURE_BYTES], double v)
{
    if (v > 0 && v < 0.01)
        snprintf(out, FIGURE_BYTES, "%.2g", v);
    else
        snprintf(out, FIGURE_BYTES, "%.*f", v >= 100 ? 0 : v >= 10 ? 1 : v >= 1 ? 2 : 3, v);
    return out;
}

/* "0.834 (0.830 .. 0.871)" */
static const char *stat_text(char out[STAT_BYTES], const bench_stat *s, unsigned repeats)
{
    char median[FIGURE_BYTES], min[FIGURE_BYTES], max[FIGURE_BYTES];
    figure(median, s->median);
    if (repeats > 1)
        snprintf(out, STAT_BYTES, "%s (%s .. %s)", median, figure(min, s->min), figure(max, s->max));
    else
        snprintf(out, STAT_BYTES, "%s", median);
    return out;
}

static void cpu_model(char *out, size_t size)
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "re");
    snprintf(out, size, "unknown CPU");
    while (f && fgets(line, sizeof line, f)) {
        char *at = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !at)
            continue;
        at[strcspn(at, "\n")] = 0;
        snprintf(out, size, "%s", at[1] == ' ' ? at + 2 : at + 1);
        break;
    }
    if (f)
        fclose(f);
}

void bench_print_machine(const bench *b)
{
    char model[128], memory[CLI_TEXT_BYTES];
    cpu_model(model, sizeof model);
    printf("%s, %ld CPUs, %s, %s; zo2 %s, %u threads; median of %u (min .. max), all sides of a row in turn\n", model,
           sysconf(_SC_NPROCESSORS_ONLN), b->simd,
           cli_human_size(memory, (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE)), zo2_version(),
           b->threads, b->repeats);
    printf(
        "ratio: zo2's speed to the other's; above 1 zo2 is faster, against a limit it is the share that is reached\n");
}

static void print_line(const char *what, const char *ours, const char *name, const char *theirs, const char *ratio)
{
    printf("| %-34s | %-40s | %-32s | %-24s | %-6s |\n", what, ours, name, theirs, ratio);
}

void bench_print_section(const bench *b, const char *section, const char *title)
{
    if (b->options.json.given)
        return;
    printf("\n## %s: %s\n\n", section, title);
    print_line("what", "zo2", "against", "its figure", "ratio");
    print_line("----------------------------------", "----------------------------------------",
               "--------------------------------", "------------------------", "------");
    fflush(stdout);
}

void bench_print_row(const bench *b, const bench_row *row)
{
    char ours[STAT_BYTES + 64], theirs[STAT_BYTES], ratio[FIGURE_BYTES], name[64];
    int n = snprintf(ours, sizeof ours, "%s %s", stat_text(theirs, &row->sides[0].stat, b->repeats), row->unit);
    if (row->bytes_per_item > 0)
        snprintf(ours + n, sizeof ours - (size_t)n, ", %s GB/s",
                 figure(ratio, row->sides[0].stat.median * row->bytes_per_item));
    if (row->n == 1)
        print_line(row->name, ours, "", "", "");
    for (unsigned i = 1; i < row->n; i++) {
        const bench_side *side = &row->sides[i];
        snprintf(name, sizeof name, "%s%s", side->limit ? "limit: " : "", side->name);
        print_line(i == 1 ? row->name : "", i == 1 ? ours : "", name, stat_text(theirs, &side->stat, b->repeats),
                   figure(ratio, bench_ratio(row, i)));
    }
    fflush(stdout);
}

static void json_stat(cli_json *j, const bench_stat *s)
{
    cli_json_f64(j, "median", s->median);
    cli_json_f64(j, "min", s->min);
    cli_json_f64(j, "max", s->max);
}

static void json_row(cli_json *j, const bench_row *row)
{
    char key[64];
    cli_json_open(j, NULL, '{');
    cli_json_text(j, "section", row->section);
    cli_json_text(j, "name", row->name);
    cli_json_text(j, "unit", row->unit);
    cli_json_bool(j, "lower_is_better", row->lower_is_better);
    json_stat(j, &row->sides[0].stat);
    if (row->sides[0].items > 0)
        cli_json_f64(j, "items", row->sides[0].items); /* of a pass: seconds = scale items / figure */
    if (row->bytes_per_item > 0)
        cli_json_f64(j, "gb_per_s", row->sides[0].stat.median * row->bytes_per_item);
    cli_json_open(j, "against", '[');
    for (unsigned i = 1; i < row->n; i++) {
        cli_json_open(j, NULL, '{');
        cli_json_text(j, "key", row->sides[i].key);
        cli_json_text(j, "name", row->sides[i].name);
        cli_json_text(j, "kind", row->sides[i].limit ? "limit" : "peer");
        json_stat(j, &row->sides[i].stat);
        cli_json_close(j, '}');
    }
    cli_json_close(j, ']');
    for (unsigned i = 1; i < row->n; i++) {
        snprintf(key, sizeof key, "%s_ratio", row->sides[i].key);
        cli_json_f64(j, key, bench_ratio(row, i));
    }
    cli_json_close(j, '}');
}

void bench_print_missing(const bench *b)
{
    for (unsigned i = 0; i < b->n_missing; i++)
        printf("%s%s", i ? ", " : "\nnot installed: ", b->missing[i]);
    if (b->n_missing)
        printf("\n");
}

void bench_print_json(const bench *b)
{
    char model[128];
    cli_json j;
    cpu_model(model, sizeof model);
    cli_json_start(&j, stdout);
    cli_json_open(&j, NULL, '{');
    cli_json_text(&j, "version", zo2_version());
    cli_json_text(&j, "cpu", model);
    cli_json_i64(&j, "cpus", sysconf(_SC_NPROCESSORS_ONLN));
    cli_json_text(&j, "simd", b->simd);
    cli_json_u64(&j, "threads", b->threads);
    cli_json_u64(&j, "repeats", b->repeats);
    cli_json_f64(&j, "seconds", b->seconds);
    cli_json_u64(&j, "bytes", b->bytes);
    cli_json_open(&j, "results", '[');
    for (unsigned i = 0; i < b->n_rows; i++)
        json_row(&j, &b->rows[i]);
    cli_json_close(&j, ']');
    cli_json_open(&j, "not_installed", '[');
    for (unsigned i = 0; i < b->n_missing; i++)
        cli_json_text(&j, NULL, b->missing[i]);
    cli_json_close(&j, ']');
    if (b->has_gpu)
        gpu_file_json(&j, GPU_FILE_RATES, &b->gpu);
    if (b->wires)
        bench_wires_json(&j, b->wires);
    cli_json_close(&j, '}');
    cli_json_end(&j);
}

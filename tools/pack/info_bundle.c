/* info_bundle.c: see info_bundle.h. */
#include "tools/pack/info_bundle.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tools/cli/jsonout.h"
#include "tools/cli/numbers.h"
#include "tools/cli/run_print.h"
#include "tools/cli/tune_text.h"

bool pack_is_bundle(const char *path)
{
    static const char magic[8] = {'Z', 'O', '2', 'B', 'N', 'D', 'L', '\n'}; /* storage/RUN.md */
    char first[sizeof magic];
    FILE *f = fopen(path, "rb");
    const bool is = f && fread(first, sizeof first, 1, f) == 1 && memcmp(first, magic, sizeof magic) == 0;
    if (f)
        fclose(f);
    return is;
}

static void print_table(const char *path, const zo2_bundle_info *info, const zo2_engine_opts *o)
{
    char text[CLI_TEXT_BYTES];
    printf("file           %s\n", path);
    printf("size           %s (bundle, format version %u)\n", cli_human_size(text, info->file_bytes), info->version);
    printf("model hash     0x%016" PRIx64 "\n", info->model_hash);
    printf("steps          %s", cli_human_count(text, info->steps));
    if (info->skipped)
        printf(", %s of them skipped", cli_human_count(text, info->skipped));
    printf("\n");
    cli_run_print(o, false);
}

static void print_json(const char *path, const zo2_bundle_info *info, const zo2_engine_opts *o)
{
    cli_json j;
    cli_json_start(&j, stdout);
    cli_json_open(&j, NULL, '{');
    cli_json_text(&j, "file", path);
    cli_json_text(&j, "kind", "bundle");
    cli_json_u64(&j, "version", info->version);
    cli_json_u64(&j, "file_bytes", info->file_bytes);
    cli_json_hash(&j, "model_hash", info->model_hash);
    cli_json_u64(&j, "steps", info->steps);
    cli_json_u64(&j, "skipped", info->skipped);
    cli_json_f64(&j, "lr", o->lr);
    cli_json_text(&j, "lr_schedule", zo2_schedule_name(o->schedule));
    cli_json_u64(&j, "warmup", o->warmup);
    cli_json_f64(&j, "eps", o->eps);
    cli_json_f64(&j, "weight_decay", o->weight_decay);
    cli_json_f64(&j, "clip", o->clip);
    cli_json_text(&j, "dist", zo2_dist_name(o->dist));
    cli_json_u64(&j, "seed", o->seed);
    cli_json_u64(&j, "queries", o->queries);
    cli_json_i64(&j, "pending", o->pending);
    cli_tune_json(&j, o);
    cli_json_text(&j, "wire", zo2_wire_name(o->wire));
    cli_json_text(&j, "frozen_wire", zo2_wire_name(o->frozen_wire ? o->frozen_wire : o->wire));
    cli_json_text(&j, "compute", zo2_dtype_name(o->compute));
    cli_json_text(&j, "backend", zo2_backend_name(o->backend));
    cli_json_close(&j, '}');
    cli_json_end(&j);
}

zo2_status pack_print_bundle(const char *path, bool json)
{
    zo2_bundle *b = NULL;
    zo2_bundle_info info;
    zo2_engine_opts o;
    zo2_status s = zo2_bundle_open(&b, path);
    if (s == ZO2_OK)
        s = zo2_bundle_get_info(b, &info);
    if (s == ZO2_OK) {
        zo2_bundle_get_opts(b, &o);
        if (json)
            print_json(path, &info, &o);
        else
            print_table(path, &info, &o);
    }
    zo2_bundle_close(b);
    return s;
}

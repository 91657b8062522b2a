/* info.c: zo2-pack info. */
#include <stdio.h>

#include "engine/zo2.h"
#include "tools/cli/args.h"
#include "tools/cli/jsonout.h"
#include "tools/cli/numbers.h"
#include "tools/cli/report.h"
#include "tools/pack/commands.h"
#include "tools/pack/info_bundle.h"
#include "tools/pack/info_tokenizer.h"
#include "tools/pack/info_tune.h"

/* Shape of a tensor as text: "4096 x 192", "192". */
static const char *shape_text(char out[CLI_TEXT_BYTES], const zo2_tensor_info *t)
{
    if (t->rank == 1)
        snprintf(out, CLI_TEXT_BYTES, "%llu", (unsigned long long)t->cols);
    else
        snprintf(out, CLI_TEXT_BYTES, "%llu x %llu", (unsigned long long)t->rows, (unsigned long long)t->cols);
    return out;
}

/* What zo2-pack freeze wrote. */
static void print_wires(const zo2_pack *pack)
{
    zo2_frozen_wire_info w;
    for (size_t i = 0; zo2_pack_frozen_wire(pack, i, &w) == ZO2_OK; i++) {
        char count[CLI_TEXT_BYTES], size[CLI_TEXT_BYTES];
        const char *name = zo2_wire_name(w.wire);
        printf("%-12s %s of %s matrices, %s", i ? "" : "frozen wires", name ? name : "(of a newer version)",
               cli_human_count(count, w.matrices), cli_human_size(size, w.bytes));
        if (w.dropped)
            printf("; source bits of %s of them dropped", cli_human_count(count, w.dropped));
        putchar('\n');
    }
}

static void wires_json(cli_json *j, const zo2_pack *pack)
{
    zo2_frozen_wire_info w;
    cli_json_open(j, "frozen_wires", '[');
    for (size_t i = 0; zo2_pack_frozen_wire(pack, i, &w) == ZO2_OK; i++) {
        cli_json_open(j, NULL, '{');
        cli_json_text(j, "wire", zo2_wire_name(w.wire));
        cli_json_u64(j, "matrices", w.matrices);
        cli_json_u64(j, "parameters", w.parameters);
        cli_json_u64(j, "bytes", w.bytes);
        cli_json_u64(j, "dropped", w.dropped);
        cli_json_close(j, '}');
    }
    cli_json_close(j, ']');
}

static void print_table(const char *path, const zo2_pack *pack, const zo2_pack_info *info,
                        const pack_tokenizer_info *tokenizer)
{
    char text[CLI_TEXT_BYTES], stored[CLI_TEXT_BYTES];
    printf("file         %s\n", path);
    printf("size         %s (format version %u)\n", cli_human_size(text, info->file_bytes), info->version);
    if (info->compressed)
        printf("weights      %s, stored in %s (zstd)\n", cli_human_size(text, info->source_bytes),
               cli_human_size(stored, info->stored_bytes));
    printf("model        %s%s\n", info->arch, info->aliased ? ", one stored layer serves all (aliased)" : "");
    printf("parameters   %s\n", cli_human_count(text, info->parameters));
    printf("dtype        %s\n", zo2_dtype_name(info->dtype));
    printf("layers       %u\n", info->layers);
    printf("hidden       %u\n", info->hidden);
    printf("heads        %u of %u\n", info->heads, info->head_dim);
    if (info->kv_heads != info->heads)
        printf("kv heads     %u\n", info->kv_heads);
    printf("ffn          %u\n", info->ffn);
    printf("vocabulary   %u\n", info->vocab);
    printf("context      %u tokens\n", info->context);
    if (info->bos_token_id >= 0)
        printf("bos token    %d\n", info->bos_token_id);
    if (info->pad_token_id >= 0)
        printf("pad token    %d\n", info->pad_token_id);
    printf("tensors      %s\n", cli_human_count(text, info->tensors));
    printf("model hash   0x%016llx\n", (unsigned long long)info->model_hash);
    print_wires(pack);
    pack_tokenizer_info_print(tokenizer);
    printf("files       ");
    for (size_t i = 0; zo2_pack_file_name(pack, i); i++)
        printf(" %s", zo2_pack_file_name(pack, i));
    putchar('\n');
}

static zo2_status print_tensor_table(const zo2_pack *pack, const zo2_pack_info *info)
{
    printf("\n%5s %5s %5s %16s  %s\n", "id", "block", "dtype", "shape", "name");
    for (uint64_t i = 0; i < info->tensors; i++) {
        zo2_tensor_info t;
        char shape[CLI_TEXT_BYTES];
        zo2_status s = zo2_pack_tensor(pack, i, &t);
        if (s != ZO2_OK)
            return s;
        printf("%5u %5u %5s %16s  %s%s\n", t.id, t.block, zo2_dtype_name(t.dtype), shape_text(shape, &t), t.name,
               zo2_pack_has_source(pack, i) ? "" : "  (a wire alone)");
    }
    return ZO2_OK;
}

/* What was asked for. tune: a choice of tensors, NULL: none. */
typedef struct wanted {
    bool json, tensors;
    const char *tune;
} wanted;

static zo2_status print_json(const char *path, const zo2_pack *pack, const zo2_pack_info *info,
                             const pack_tokenizer_info *tokenizer, const wanted *w, const zo2_tune_info *tune)
{
    zo2_status s = ZO2_OK;
    cli_json j;
    cli_json_start(&j, stdout);
    cli_json_open(&j, NULL, '{');
    cli_json_text(&j, "file", path);
    cli_json_u64(&j, "version", info->version);
    cli_json_u64(&j, "file_bytes", info->file_bytes);
    cli_json_bool(&j, "zstd", info->compressed);
    cli_json_u64(&j, "source_bytes", info->source_bytes);
    cli_json_u64(&j, "stored_bytes", info->stored_bytes);
    cli_json_text(&j, "arch", info->arch);
    cli_json_u64(&j, "parameters", info->parameters);
    cli_json_text(&j, "dtype", zo2_dtype_name(info->dtype));
    cli_json_bool(&j, "aliased", info->aliased);
    cli_json_u64(&j, "layers", info->layers);
    cli_json_u64(&j, "hidden", info->hidden);
    cli_json_u64(&j, "heads", info->heads);
    cli_json_u64(&j, "kv_heads", info->kv_heads);
    cli_json_u64(&j, "head_dim", info->head_dim);
    cli_json_u64(&j, "ffn", info->ffn);
    cli_json_u64(&j, "vocab", info->vocab);
    cli_json_u64(&j, "context", info->context);
    cli_json_i64(&j, "bos_token_id", info->bos_token_id);
    cli_json_i64(&j, "pad_token_id", info->pad_token_id);
    cli_json_u64(&j, "tensors", info->tensors);
    cli_json_hash(&j, "model_hash", info->model_hash);
    wires_json(&j, pack);
    pack_tokenizer_info_json(tokenizer, &j);
    cli_json_open(&j, "files", '[');
    for (size_t i = 0; zo2_pack_file_name(pack, i); i++)
        cli_json_text(&j, NULL, zo2_pack_file_name(pack, i));
    cli_json_close(&j, ']');
    if (w->tune)
        pack_tune_json(&j, w->tune, tune);
    if (w->tensors) {
        cli_json_open(&j, "tensor_list", '[');
        for (uint64_t i = 0; i < info->tensors && s == ZO2_OK; i++) {
            zo2_tensor_info t;
            s = zo2_pack_tensor(pack, i, &t);
            if (s != ZO2_OK)
                break;
            cli_json_open(&j, NULL, '{');
            cli_json_u64(&j, "id", t.id);
            cli_json_text(&j, "name", t.name);
            cli_json_u64(&j, "block", t.block);
            cli_json_text(&j, "dtype", zo2_dtype_name(t.dtype));
            cli_json_open(&j, "shape", '[');
            if (t.rank != 1)
                cli_json_u64(&j, NULL, t.rows);
            cli_json_u64(&j, NULL, t.cols);
            cli_json_close(&j, ']');
            cli_json_bool(&j, "decays", t.decays);
            cli_json_bool(&j, "source", zo2_pack_has_source(pack, i) != 0);
            cli_json_close(&j, '}');
        }
        cli_json_close(&j, ']');
    }
    cli_json_close(&j, '}');
    cli_json_end(&j);
    return s;
}

static zo2_status print_pack(const char *path, const wanted *w)
{
    zo2_pack *pack = NULL;
    zo2_pack_info info;
    zo2_tune_info tune;
    pack_tokenizer_info tokenizer = {0};
    zo2_status s = zo2_pack_open(&pack, path);
    if (s == ZO2_OK)
        s = zo2_pack_get_info(pack, &info);
    if (s == ZO2_OK && w->tune)
        s = zo2_tune_count(path, w->tune, &tune);
    if (s == ZO2_OK)
        s = pack_tokenizer_info_begin(&tokenizer, pack);
    if (s == ZO2_OK && w->json) {
        s = print_json(path, pack, &info, &tokenizer, w, &tune);
    } else if (s == ZO2_OK) {
        print_table(path, pack, &info, &tokenizer);
        if (w->tune)
            pack_tune_print(w->tune, &tune);
        if (w->tensors)
            s = print_tensor_table(pack, &info);
    }
    pack_tokenizer_info_end(&tokenizer);
    zo2_pack_close(pack);
    return s;
}

int pack_info(int argc, char **argv)
{
    struct {
        cli_value json, tensors, tune;
    } flags = {0};
    static const cli_option options[] = {
        {"tensors", NULL, CLI_FLAG, sizeof(cli_value), "list a pack's tensors too", 0, 0},
        {"tune", "CHOICE", CLI_TEXT, 2 * sizeof(cli_value),
         "count what a choice of tensors comes to (zo2-tune train --tune)", 0, 0},
        {"json", NULL, CLI_FLAG, 0, "one JSON object", 0, 0},
        {0},
    };
    const char *path = NULL;
    const cli_positional positionals[] = {{"FILE", "a pack, or a bundle", &path, false}, {0}};
    const cli_group groups[] = {{"Options", options, &flags}, {0}};
    const cli_command command = {"zo2-pack info", "Shows what a pack (model, files, tokenizer) or a bundle holds.",
                                 positionals, groups, NULL};
    int status;
    if (!cli_parse(&command, argc, argv, &status))
        return cli_finish(command.program, status);

    const bool bundle = pack_is_bundle(path);
    if (bundle && (flags.tensors.given || flags.tune.given))
        return cli_usage_error(&command, "%s is a bundle, which has no tensors: --%s is for packs", path,
                               flags.tensors.given ? "tensors" : "tune");
    const wanted w = {flags.json.given, flags.tensors.given, flags.tune.text};
    zo2_status s = bundle ? pack_print_bundle(path, w.json) : print_pack(path, &w);
    if (s != ZO2_OK)
        status = cli_fail(command.program, NULL, s);
    return cli_finish(command.program, status);
}

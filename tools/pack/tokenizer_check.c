/* tokenizer_check.c: see tokenizer_check.h. */
#include "tools/pack/tokenizer_check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/cli/args.h"
#include "tools/cli/report.h"
#include "tools/text/tokenizer.h"

#define MAX_FILE_BYTES ((off_t)128 << 20) /* as a pack carries */

static zo2_status io_error(const char *path)
{
    return zo2_error(ZO2_ERR_IO, "cannot read %s: %s", path, strerror(errno));
}

/* A whole file, if it is there; *data is the caller's to free(). */
static zo2_status read_file(const char *path, char **data, size_t *bytes)
{
    struct stat st;
    FILE *file = fopen(path, "rbe");
    *data = NULL;
    if (!file)
        return errno == ENOENT || errno == ENOTDIR ? ZO2_OK : io_error(path);
    zo2_status s = ZO2_OK;
    if (fstat(fileno(file), &st) != 0)
        s = io_error(path);
    else if (!S_ISREG(st.st_mode) || st.st_size > MAX_FILE_BYTES)
        s = zo2_error(ZO2_ERR_FORMAT, "%s is not a regular file of at most 128 MiB", path);
    else if (!(*data = malloc((size_t)st.st_size + 1)))
        s = zo2_error(ZO2_ERR_NOMEM, "out of memory for %s", path);
    else if ((*bytes = fread(*data, 1, (size_t)st.st_size, file)) != (size_t)st.st_size)
        s = io_error(path);
    fclose(file);
    return s;
}

static zo2_status open_folder(zo2t_tokenizer **out, const char *dir)
{
    zo2t_tokenizer_files files = {0};
    const struct {
        const char *name;
        zo2t_file *file;
    } wanted[] = {{"vocab.json", &files.vocab},
                  {"merges.txt", &files.merges},
                  {"special_tokens_map.json", &files.special_tokens_map},
                  {"tokenizer_config.json", &files.tokenizer_config},
                  {"added_tokens.json", &files.added_tokens}};
    enum { FILES = sizeof wanted / sizeof *wanted };
    char *data[FILES] = {NULL}, path[4096];
    zo2_status s = ZO2_OK;
    *out = NULL;
    for (size_t i = 0; i < FILES && s == ZO2_OK; i++) {
        if (snprintf(path, sizeof path, "%s/%s", dir, wanted[i].name) >= (int)sizeof path)
            s = zo2_error(ZO2_ERR_ARG, "%s: the path is too long", dir);
        else
            s = read_file(path, &data[i], &wanted[i].file->bytes);
        wanted[i].file->data = data[i];
    }
    if (s == ZO2_OK)
        s = zo2t_tokenizer_open(out, &files);
    for (size_t i = 0; i < FILES; i++)
        free(data[i]);
    return s;
}

int pack_tokenizer_check(const char *program, const char *dir, const zo2_pack_info *model)
{
    zo2t_tokenizer *t;
    zo2_status s = open_folder(&t, dir);
    if (s == ZO2_ERR_UNSUPPORTED)
        fprintf(stderr, "%s: warning: %s: %s; zo2-tune will take only ready ids with this pack, {\"tokens\": [...]}\n",
                program, dir, zo2_last_error());
    else if (s != ZO2_OK)
        return cli_fail(program, dir, s);
    else if ((uint32_t)zo2t_tokenizer_max_id(t) >= model->vocab)
        fprintf(
            stderr,
            "%s: warning: %s: the tokenizer has ids up to %d, the model's vocabulary ends at %u: a text that needs a "
            "later one is refused\n",
            program, dir, (int)zo2t_tokenizer_max_id(t), model->vocab - 1);
    zo2t_tokenizer_close(t);
    return CLI_EXIT_OK;
}

/* tokenizer_files.c: a tokenizer from the files that a pack carries or a folder has. */
#include "storage/instead/instead.h"
#include "tools/text/json_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILES 6

typedef struct wanted {
    const char *name;
    zo2t_file *file;
    const char *renamed; /* what metaseq calls it, and a pack is made of; or NULL */
} wanted;

static void list_files(zo2t_tokenizer_files *f, wanted out[FILES])
{
    const wanted list[FILES] = {{"vocab.json", &f->vocab, "gpt2-vocab.json"},
                                {"merges.txt", &f->merges, "gpt2-merges.txt"},
                                {"special_tokens_map.json", &f->special_tokens_map, NULL},
                                {"tokenizer_config.json", &f->tokenizer_config, NULL},
                                {"added_tokens.json", &f->added_tokens, NULL},
                                {"tokenizer.json", &f->tokenizer, NULL}};
    memcpy(out, list, sizeof list);
}

/* Opens what is listed. A page or a pointer that stands for a file which wasn't downloaded is named as that. */
static zo2_status open_listed(zo2t_tokenizer **out, const zo2t_tokenizer_files *files, const wanted list[FILES])
{
    for (size_t i = 0; i < FILES; i++) {
        const zo2t_file *f = list[i].file;
        const zo2_origin *is = f->data ? zo2_origin_of_bytes(f->data, f->bytes, f->bytes) : NULL;
        if (is && is->placeholder)
            return zo2_error(ZO2_ERR_FORMAT, "%s is %s; %s", list[i].name, is->what, is->advice);
    }
    return zo2t_tokenizer_open(out, files);
}

zo2_status zo2t_tokenizer_open_pack(zo2t_tokenizer **out, const zo2_pack *pack)
{
    zo2t_tokenizer_files files = {0};
    wanted list[FILES];
    list_files(&files, list);
    *out = NULL;
    for (size_t i = 0; i < FILES; i++) {
        zo2_status s = zo2_pack_file(pack, list[i].name, &list[i].file->data, &list[i].file->bytes);
        if (s == ZO2_ERR_NOTFOUND)
            *list[i].file = (zo2t_file){0};
        else if (s)
            return s;
    }
    return open_listed(out, &files, list);
}

static zo2_status failed(const char *path)
{
    return zo2_error(ZO2_ERR_IO, "cannot read %s: %s", path, strerror(errno));
}

/* All of a file, or one byte more than a tokenizer's file may have, which is refused then. *data is the caller's. */
static zo2_status read_all(const char *path, FILE *in, char **data, size_t *bytes)
{
    size_t capacity = 0;
    for (;;) {
        if (*bytes == capacity) {
            capacity = capacity ? 2 * capacity : 1 << 16;
            char *more = realloc(*data, capacity);
            if (!more)
                return zo2_error(ZO2_ERR_NOMEM, "out of memory for %s", path);
            *data = more;
        }
        size_t n = fread(*data + *bytes, 1, capacity - *bytes, in);
        *bytes += n;
        if (ferror(in))
            return failed(path);
        if (!n || *bytes > ZO2T_TEXT_FILE_BYTES)
            return ZO2_OK;
    }
}

static zo2_status read_named(const char *folder, const char *name, zo2t_file *file, char **data)
{
    char path[4096];
    size_t bytes = 0;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return zo2_error(ZO2_ERR_IO, "%s: the path is too long", folder);
    FILE *in = fopen(path, "rb");
    if (!in)
        return errno == ENOENT ? ZO2_OK : failed(path);
    zo2_status s = read_all(path, in, data, &bytes);
    fclose(in);
    *file = (zo2t_file){*data, bytes};
    return s;
}

/* Models of SentencePiece come with a file of its own kind; the tokenizer.json that transformers makes of it can be missing. */
static zo2_status not_found(const char *folder)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/tokenizer.model", folder) >= (int)sizeof path || access(path, F_OK))
        return ZO2_ERR_NOTFOUND;
    return zo2_error(ZO2_ERR_NOTFOUND,
                     "no tokenizer.json, and tokenizer.model can't be read by this version: "
                     "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR) of transformers writes one");
}

static zo2_status read_file(const char *folder, const wanted *w, char **data)
{
    zo2_status s = read_named(folder, w->name, w->file, data);
    return s || *data || !w->renamed ? s : read_named(folder, w->renamed, w->file, data);
}

zo2_status zo2t_tokenizer_open_folder(zo2t_tokenizer **out, const char *folder)
{
    zo2t_tokenizer_files files = {0};
    char *data[FILES] = {NULL};
    wanted list[FILES];
    list_files(&files, list);
    zo2_status s = ZO2_OK;
    *out = NULL;
    for (size_t i = 0; i < FILES && !s; i++)
        s = read_file(folder, &list[i], &data[i]);
    if (!s)
        s = open_listed(out, &files, list);
    for (size_t i = 0; i < FILES; i++)
        free(data[i]);
    return s == ZO2_ERR_NOTFOUND ? not_found(folder) : s;
}

/* torch_file.c: opening a file of PyTorch's by what it is, and its tensors by number and name. */
#include "storage/checkpoint/torch_file.h"
#include "engine/base/checked.h"
#include "storage/checkpoint/torch_internal.h"
#include "storage/checkpoint/torch_state.h"
#include "storage/instead/instead.h"
#include "storage/io/io.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FIRST_BYTES 512
#define TAR_MAGIC   257 /* offset of "ustar" */

/* ---- which form it has ----------------------------------------------------------------------------------------------- */

static int is_zip(const unsigned char *b, size_t n)
{
    return n >= 4 && (memcmp(b, "PK\x03\x04", 4) == 0 || memcmp(b, "PK\x05\x06", 4) == 0);
}

int zo2_torch_file_looks_like(const char *path)
{
    unsigned char first[FIRST_BYTES];
    struct stat st;
    int fd = zo2_io_posix.open(zo2_io_posix.ud, path, O_RDONLY | O_NONBLOCK, 0);
    ssize_t n = -1;
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        n = zo2_io_posix.pread(zo2_io_posix.ud, fd, first, sizeof first, 0);
    if (fd >= 0)
        zo2_io_posix.close(zo2_io_posix.ud, fd);
    return n > 0 && (is_zip(first, (size_t)n) || zo2_torch_is_legacy(first, (size_t)n));
}

static zo2_status refuse_form(const zo2_torch_file *f, const unsigned char *b, size_t n)
{
    if (n >= TAR_MAGIC + 5 && memcmp(b + TAR_MAGIC, "ustar", 5) == 0)
        return zo2_error(
            ZO2_ERR_UNSUPPORTED,
            "%s is a tar archive, which PyTorch 0.1 wrote and this version doesn't read; save it again with "
            "a newer PyTorch: torch.save(torch.load(\"%s\", map_location=\"cpu\", weights_only=False), "
            "FILE). Other archives are to be unpacked",
            f->path, zo2_path_name(f->path));
    if (n >= 2 && b[0] == 0x80 && b[1] <= 5)
        return zo2_error(ZO2_ERR_UNSUPPORTED,
                         "%s is a Python pickle, but not of torch.save(); load it and save it with "
                         "torch.save(model.state_dict(), FILE)",
                         f->path);
    return zo2_error(ZO2_ERR_FORMAT, "%s is no file of torch.save(): neither a zip archive nor its older form",
                     f->path);
}

static zo2_status load(zo2_torch_file *f)
{
    unsigned char first[FIRST_BYTES];
    size_t n = (size_t)zo2_min_u64(f->size, sizeof first);
    zo2_status s = zo2_io_read(&zo2_io_posix, f->fd, first, n, 0, f->path);
    if (s)
        return s;
    if (is_zip(first, n))
        return zo2_torch_load_zip(f);
    return zo2_torch_is_legacy(first, n) ? zo2_torch_load_legacy(f) : refuse_form(f, first, n);
}

/* ---- numbers ------------------------------------------------------------------------------------------------------- */

static uint64_t place_of(const zo2_torch_file *f, uint64_t tensor)
{
    const zo2_torch_tensor *t = &f->state.tensors[tensor];
    return f->storage_at[t->storage] + t->offset * t->element_bytes;
}

typedef struct placed {
    uint64_t at;
    uint32_t tensor;
} placed;

static int by_place(const void *a, const void *b)
{
    const placed *x = a, *y = b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return (x->tensor > y->tensor) - (x->tensor < y->tensor);
}

static zo2_status number(zo2_torch_file *f)
{
    const uint64_t n = f->state.n_tensors;
    if (n > UINT32_MAX)
        return zo2_error(ZO2_ERR_FORMAT, "%s has %" PRIu64 " tensors, more than 2^32 - 1", f->path, n);
    placed *all = malloc(((size_t)n + 1) * sizeof *all);
    f->order = malloc(((size_t)n + 1) * sizeof *f->order);
    f->number = malloc(((size_t)n + 1) * sizeof *f->number);
    if (!all || !f->order || !f->number) {
        free(all);
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tensors of %s", f->path);
    }
    for (uint64_t i = 0; i < n; i++)
        all[i] = (placed){.at = place_of(f, i), .tensor = (uint32_t)i};
    qsort(all, (size_t)n, sizeof *all, by_place);
    for (uint64_t i = 0; i < n; i++) {
        f->order[i] = all[i].tensor;
        f->number[all[i].tensor] = (uint32_t)i;
    }
    free(all);
    return ZO2_OK;
}

/* ---- opening ------------------------------------------------------------------------------------------------------- */

static zo2_status open_file(zo2_torch_file *f, const char *path)
{
    struct stat st;
    if (!(f->path = strdup(path)))
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", path);
    f->fd = zo2_io_posix.open(zo2_io_posix.ud, path, O_RDONLY | O_NONBLOCK, 0);
    if (f->fd < 0)
        return zo2_explain_file(zo2_io_error("cannot open", path), path, ZO2_WANT_TORCH);
    if (fstat(f->fd, &st) != 0)
        return zo2_io_error("cannot examine", path);
    if (!S_ISREG(st.st_mode))
        return zo2_error(ZO2_ERR_FORMAT, "%s is not a regular file", path);
    f->size = (uint64_t)st.st_size;
    zo2_status s = load(f);
    if (s == ZO2_ERR_FORMAT)
        return zo2_explain_file(s, path, ZO2_WANT_TORCH);
    return s ? s : number(f);
}

zo2_status zo2_torch_file_open(zo2_torch_file **out, const char *path)
{
    *out = NULL;
    zo2_torch_file *f = calloc(1, sizeof *f);
    if (!f)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", path);
    f->fd = -1;
    zo2_status s = open_file(f, path);
    if (s)
        zo2_torch_file_close(f);
    else
        *out = f;
    return s;
}

void zo2_torch_file_close(zo2_torch_file *f)
{
    if (!f)
        return;
    if (f->fd >= 0)
        zo2_io_posix.close(zo2_io_posix.ud, f->fd);
    zo2_torch_state_free(&f->state);
    free(f->storage_at);
    free(f->order);
    free(f->number);
    free(f->path);
    free(f);
}

/* ---- tensors ------------------------------------------------------------------------------------------------------- */

uint64_t zo2_torch_file_count(const zo2_torch_file *f)
{
    return f->state.n_tensors;
}

static const zo2_torch_tensor *tensor_at(const zo2_torch_file *f, uint64_t i)
{
    return &f->state.tensors[f->order[i]];
}

zo2_stored zo2_torch_file_tensor(const zo2_torch_file *f, uint64_t i)
{
    const zo2_torch_tensor *t = tensor_at(f, i);
    zo2_stored stored = {.name = t->name,
                         .dtype_name = t->dtype_name,
                         .file = f->path,
                         .dtype = t->dtype,
                         .rank = t->rank,
                         .bytes = t->elements * t->element_bytes};
    memcpy(stored.shape, t->shape, sizeof t->shape);
    return stored;
}

uint64_t zo2_torch_file_find(const zo2_torch_file *f, const char *name)
{
    uint64_t i = zo2_torch_state_find(&f->state, name);
    return i < f->state.n_tensors ? f->number[i] : f->state.n_tensors;
}

const char *zo2_torch_file_absent(const zo2_torch_file *f, const char *name, char *text, size_t n)
{
    const char *what = zo2_torch_state_opaque(&f->state, name);
    text[0] = '\0';
    if (what)
        snprintf(text, n,
                 "%.255s has that name for %.200s, which is no plain tensor; save the weights as those "
                 "(model.state_dict(), dequantised, on the CPU)",
                 zo2_path_name(f->path), what);
    return text;
}

zo2_status zo2_torch_file_read(const zo2_torch_file *f, uint64_t i, uint64_t first, uint64_t n, void *dst)
{
    const zo2_torch_tensor *t = tensor_at(f, i);
    const uint64_t size = t->element_bytes, bytes = t->elements * size;
    if (first > bytes || n > bytes - first || first % size || n % size)
        return zo2_error(ZO2_ERR_ARG,
                         "tensor %.300s of %s has %" PRIu64 " bytes, %" PRIu64 " an element; %" PRIu64 " from %" PRIu64
                         " were asked for",
                         t->name, f->path, bytes, size, n, first);
    zo2_status s = zo2_torch_read_elements(f, t, place_of(f, f->order[i]), first / size, n / size, dst);
    return s ? zo2_error(s, "%s (tensor %.300s)", zo2_last_error(), t->name) : ZO2_OK;
}

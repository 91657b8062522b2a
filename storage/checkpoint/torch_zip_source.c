/* torch_zip_source.c: a file as a source of libzip's that remembers where it was read. libzip knows where an entry's data begin, from
 * directory and local header, and doesn't tell: a read of the first byte shows it. */
#include "engine/base/checked.h"
#include "storage/checkpoint/torch_zip.h"
#include "storage/io/io.h"

#include <errno.h>
#include <zip.h>

static zip_int64_t read_file(zo2_zip_file *f, void *data, zip_uint64_t n)
{
    uint64_t now = zo2_min_u64(n, f->size - f->position);
    f->last_read = f->position;
    f->failed = zo2_io_read(&zo2_io_posix, f->fd, data, now, f->position, f->path);
    if (f->failed)
        return -1;
    f->position += now;
    return (zip_int64_t)now;
}

static zip_int64_t seek_file(zo2_zip_file *f, void *data, zip_uint64_t n)
{
    zip_error_t error;
    zip_error_init(&error);
    zip_int64_t to = zip_source_seek_compute_offset(f->position, f->size, data, n, &error);
    zip_error_fini(&error);
    if (to < 0)
        return -1;
    f->position = (uint64_t)to;
    return 0;
}

static zip_int64_t give_size(const zo2_zip_file *f, zip_stat_t *st)
{
    zip_stat_init(st);
    st->valid = ZIP_STAT_SIZE;
    st->size = f->size;
    return sizeof *st;
}

static zip_int64_t give_error(void *data, zip_uint64_t n)
{
    zip_error_t error;
    zip_error_init(&error);
    zip_error_set(&error, ZIP_ER_READ, EIO);
    zip_int64_t given = zip_error_to_data(&error, data, n);
    zip_error_fini(&error);
    return given;
}

static zip_int64_t on_command(void *ud, void *data, zip_uint64_t n, zip_source_cmd_t command)
{
    zo2_zip_file *f = ud;
    switch (command) {
    case ZIP_SOURCE_OPEN: f->position = 0; return 0;
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_FREE: return 0;
    case ZIP_SOURCE_READ: return read_file(f, data, n);
    case ZIP_SOURCE_SEEK: return seek_file(f, data, n);
    case ZIP_SOURCE_TELL: return (zip_int64_t)f->position;
    case ZIP_SOURCE_STAT: return give_size(f, data);
    case ZIP_SOURCE_ERROR: return give_error(data, n);
    case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_CLOSE, ZIP_SOURCE_FREE, ZIP_SOURCE_READ,
                                              ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL, ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR,
                                              ZIP_SOURCE_SUPPORTS, -1);
    default: return -1;
    }
}

zip_source_t *zo2_zip_source(zo2_zip_file *f, zip_error_t *error)
{
    return zip_source_function_create(on_command, f, error);
}

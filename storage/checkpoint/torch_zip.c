/* torch_zip.c: see torch_zip.h. libzip reads the directory (with zip64 and whatever else there is in it) and knows where data begin; we
 * check that an honest local header stands in front of them and that no two entries share bytes, which libzip doesn't look at.
 *
 * Data are then read by plain reads, not through libzip: a zip_t is one thread's, and a pool of them would read each directory
 * many times and copy everything once more. */
#include "storage/checkpoint/torch_zip.h"
#include "engine/base/checked.h"
#include "storage/io/io.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

#define MAX_ENTRIES  4000000u /* PyTorch writes one a tensor */
#define END_RECORD   22
#define LOCAL_HEADER 30 /* bytes before name and extra field */
#define MAX_EXTRA    65535u
#define NEAR_EXTRA   256u /* PyTorch aligns data to 64 bytes by it */
#define GET_AGAIN    "get the file again, or save it again with torch.save()"

typedef struct lister {
    zo2_zip_file file;
    zip_t *zip;
    unsigned char *header; /* room for a local header with everything */
} lister;

static zo2_status bad(const lister *l, const char *name, const char *what)
{
    return zo2_error(ZO2_ERR_FORMAT, "%s: entry %.300s of the archive %s; " GET_AGAIN, l->file.path, name, what);
}

/* ---- where data lie ------------------------------------------------------------------------------------------------ */

static uint16_t get16(const unsigned char *b)
{
    return (uint16_t)(b[0] | b[1] << 8);
}

/* 1 if a local header of that name, with `extra` bytes behind the name, ends where e's data begin; h: its bytes. */
static int is_header(const unsigned char *h, const char *name, size_t n, uint64_t extra)
{
    return memcmp(h, "PK\x03\x04", 4) == 0 && get16(h + 26) == n && get16(h + 28) == extra &&
           memcmp(h + LOCAL_HEADER, name, n) == 0;
}

/* Looks for the local header in front of e's data with an extra field of at most max_extra bytes. */
static zo2_status look_back(lister *l, zo2_zip_entry *e, uint64_t max_extra, int *found)
{
    const size_t n = strlen(e->name);
    uint64_t reach = zo2_min_u64(e->at, LOCAL_HEADER + n + max_extra);
    zo2_status s = zo2_io_read(&zo2_io_posix, l->file.fd, l->header, reach, e->at - reach, l->file.path);
    *found = 0;
    for (uint64_t extra = 0; !s && !*found && LOCAL_HEADER + n + extra <= reach; extra++) {
        uint64_t back = LOCAL_HEADER + n + extra;
        *found = is_header(l->header + reach - back, e->name, n, extra);
        e->header = e->at - back;
    }
    return s;
}

static zo2_status find_data(lister *l, zip_uint64_t i, zo2_zip_entry *e)
{
    unsigned char byte;
    int found = 0;
    /* Compressed or not, libzip then gives what is in the file, unchecked. */
    zip_file_t *f = zip_fopen_index(l->zip, i, ZIP_FL_COMPRESSED);
    if (!f)
        return bad(l, e->name, "has no sound header");
    zip_int64_t got = zip_fread(f, &byte, 1);
    e->at = l->file.last_read;
    zip_fclose(f);
    if (got != 1 || e->at > l->file.size || e->bytes > l->file.size - e->at)
        return bad(l, e->name, "leads out of the file");
    zo2_status s = look_back(l, e, NEAR_EXTRA, &found);
    if (!s && !found)
        s = look_back(l, e, MAX_EXTRA, &found);
    return s || found ? s : bad(l, e->name, "has no header in front of its data");
}

/* ---- one entry ----------------------------------------------------------------------------------------------------- */

static zo2_status add_entry(lister *l, zo2_zip *out, zip_uint64_t i)
{
    const zip_uint64_t all =
        ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    zip_stat_t st;
    zo2_zip_entry *e = &out->entries[out->n];
    if (zip_stat_index(l->zip, i, ZIP_FL_ENC_RAW, &st) != 0 || (st.valid & all) != all)
        return zo2_error(ZO2_ERR_FORMAT, "%s: entry %" PRIu64 " of the archive is unreadable; " GET_AGAIN, l->file.path,
                         (uint64_t)i);
    *e = (zo2_zip_entry){.name = strdup(st.name), .bytes = st.comp_size};
    if (!e->name)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the entries of %s", l->file.path);
    out->n++;
    e->packed = st.encryption_method != ZIP_EM_NONE ? "encrypted"
                : st.comp_method != ZIP_CM_STORE    ? "compressed"
                                                    : NULL;
    if (!e->packed && st.size != st.comp_size)
        return bad(l, st.name, "is stored with another size than its own");
    if (st.encryption_method != ZIP_EM_NONE) /* without its key libzip doesn't open it */
        e->bytes = 0;
    return e->bytes ? find_data(l, i, e) : ZO2_OK; /* who has nothing may be anywhere */
}

/* ---- all of them --------------------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const zo2_zip_entry *)a)->name, ((const zo2_zip_entry *)b)->name);
}

static int by_place(const void *a, const void *b)
{
    const zo2_zip_entry *x = a, *y = b;
    if (x->header != y->header)
        return x->header < y->header ? -1 : 1;
    return by_name(a, b);
}

/* Bytes that two entries share: two tensors would be one, and a small file a large model. */
static zo2_status check_apart(const lister *l, zo2_zip *z)
{
    const zo2_zip_entry *before = NULL;
    if (z->n)
        qsort(z->entries, (size_t)z->n, sizeof *z->entries, by_place);
    for (uint64_t i = 0; i < z->n; i++) {
        const zo2_zip_entry *e = &z->entries[i];
        if (!e->bytes)
            continue;
        if (before && e->header < before->at + before->bytes)
            return zo2_error(ZO2_ERR_FORMAT, "%s: entries %.200s and %.200s of the archive overlap; " GET_AGAIN,
                             l->file.path, before->name, e->name);
        before = e;
    }
    return ZO2_OK;
}

static zo2_status check_names(const lister *l, zo2_zip *z)
{
    if (z->n)
        qsort(z->entries, (size_t)z->n, sizeof *z->entries, by_name);
    for (uint64_t i = 1; i < z->n; i++)
        if (strcmp(z->entries[i - 1].name, z->entries[i].name) == 0)
            return bad(l, z->entries[i].name, "is there twice");
    return ZO2_OK;
}

static zo2_status list_entries(lister *l, zo2_zip *out)
{
    zip_int64_t n = zip_get_num_entries(l->zip, 0);
    zo2_status s = ZO2_OK;
    if (n < 0 || n > MAX_ENTRIES)
        return zo2_error(ZO2_ERR_FORMAT, "%s: the archive has more than %u entries", l->file.path, MAX_ENTRIES);
    out->entries = calloc((size_t)n + 1, sizeof *out->entries);
    l->header = malloc(LOCAL_HEADER + 2 * (size_t)MAX_EXTRA);
    if (!out->entries || !l->header)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the entries of %s", l->file.path);
    for (zip_int64_t i = 0; i < n && !s; i++)
        s = add_entry(l, out, (zip_uint64_t)i);
    if (!s)
        s = check_apart(l, out);
    return s ? s : check_names(l, out);
}

static zo2_status open_zip(lister *l, int flags)
{
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t *source = zo2_zip_source(&l->file, &error);
    l->zip = source ? zip_open_from_source(source, ZIP_RDONLY | flags, &error) : NULL;
    zo2_status s = ZO2_OK;
    const int twice = zip_error_code_zip(&error) == ZIP_ER_EXISTS;
    if (!l->zip && l->file.failed)
        s = l->file.failed;
    else if (!l->zip)
        s = zo2_error(zip_error_code_zip(&error) == ZIP_ER_MEMORY ? ZO2_ERR_NOMEM : ZO2_ERR_FORMAT,
                      "%s: the zip archive is damaged or cut short (%s); " GET_AGAIN, l->file.path,
                      zip_error_strerror(&error));
    if (!l->zip && source)
        zip_source_free(source);
    zip_error_fini(&error);
    return twice && flags ? open_zip(l, 0) : s; /* check_names() says which */
}

zo2_status zo2_zip_list(zo2_zip *out, int fd, uint64_t size, const char *path)
{
    lister l = {.file = {.path = path, .fd = fd, .size = size}};
    *out = (zo2_zip){0};
    if (size < END_RECORD) /* libzip takes an empty file for an archive that will be */
        return zo2_error(ZO2_ERR_FORMAT, "%s has %" PRIu64 " bytes: the zip archive is cut short; " GET_AGAIN, path,
                         size);
    zo2_status s = open_zip(&l, ZIP_CHECKCONS);
    if (!s)
        s = list_entries(&l, out);
    if (l.zip)
        zip_discard(l.zip);
    free(l.header);
    if (s)
        zo2_zip_free(out);
    return s;
}

zo2_status zo2_zip_check_stored(const zo2_zip *z, const char *path)
{
    for (uint64_t i = 0; i < z->n; i++)
        if (z->entries[i].packed)
            return zo2_error(
                ZO2_ERR_UNSUPPORTED,
                "%s: entry %.300s of the archive is %s, which torch.save() never does; unpack it, and save it "
                "again with torch.save()",
                path, z->entries[i].name, z->entries[i].packed);
    return ZO2_OK;
}

void zo2_zip_free(zo2_zip *z)
{
    for (uint64_t i = 0; i < z->n; i++)
        free(z->entries[i].name);
    free(z->entries);
    *z = (zo2_zip){0};
}

const zo2_zip_entry *zo2_zip_find(const zo2_zip *z, const char *name)
{
    uint64_t low = 0, high = z->n;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        int order = strcmp(z->entries[middle].name, name);
        if (order == 0)
            return &z->entries[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

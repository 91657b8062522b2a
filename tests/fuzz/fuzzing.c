/* fuzzing.c: see fuzzing.h. */
#include "tests/fuzz/fuzzing.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define SEPARATOR 0x1E

/* ---- properties -------------------------------------------------------------------------------------------------- */

_Noreturn void fuzz_violated(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: property violated: %s\nlast error: %s\n", file, line, what, zo2_last_error());
    abort();
}

void fuzz_clear(void)
{
    zo2_error(ZO2_OK, "%s", "");
}

/* Messages quote names from files: they must not bring line feeds or escape sequences to a terminal or a log. */
static int printable_line(const char *text)
{
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7F)
            return 0;
    return *text != '\0';
}

int fuzz_accepted(const char *file, int line, const char *call, zo2_status s)
{
    if (s == ZO2_OK)
        return 1;
    if (!printable_line(zo2_last_error()) || s == ZO2_ERR_INTERNAL || s == ZO2_ERR_IO)
        fuzz_violated(file, line, call);
    return 0;
}

void *fuzz_alloc(size_t bytes)
{
    void *p = calloc(bytes ? bytes : 1, 1);
    if (!p)
        fuzz_violated(__FILE__, __LINE__, "memory for the target");
    return p;
}

/* ---- input ------------------------------------------------------------------------------------------------------- */

const uint8_t *fuzz_bytes(fuzz_input *in, size_t want, size_t *got)
{
    const uint8_t *at = in->at;
    *got = want < in->left ? want : in->left;
    if (*got) {
        in->at += *got;
        in->left -= *got;
    }
    return at;
}

uint8_t fuzz_u8(fuzz_input *in)
{
    size_t n;
    const uint8_t *p = fuzz_bytes(in, 1, &n);
    return n ? *p : 0;
}

uint16_t fuzz_u16(fuzz_input *in)
{
    uint16_t low = fuzz_u8(in);
    return (uint16_t)(low | fuzz_u8(in) << 8);
}

const char *fuzz_text(fuzz_input *in, size_t *bytes)
{
    const uint8_t *end = in->left ? memchr(in->at, SEPARATOR, in->left) : NULL;
    const char *text = (const char *)fuzz_bytes(in, end ? (size_t)(end - in->at) : in->left, bytes);
    fuzz_u8(in); /* the separator */
    return text ? text : "";
}

void fuzz_image_make(fuzz_image *m, fuzz_input *in, int in_parts)
{
    const uint8_t *from[FUZZ_PARTS];
    *m = (fuzz_image){0};
    while (in->left && m->parts < (in_parts ? FUZZ_PARTS : 1)) {
        const int i = m->parts++;
        from[i] = fuzz_bytes(in, in_parts ? fuzz_u16(in) : in->left, &m->length[i]);
        m->part[i] = m->size;
        m->size += m->length[i];
        if (in_parts)
            m->size = (m->size + FUZZ_ALIGN - 1) / FUZZ_ALIGN * FUZZ_ALIGN;
    }
    m->data = fuzz_alloc(m->size);
    for (int i = 0; i < m->parts; i++)
        if (m->length[i])
            memcpy(m->data + m->part[i], from[i], m->length[i]);
}

uint64_t fuzz_digest(const void *data, size_t size)
{
    return XXH3_64bits(data, size);
}

/* ---- files in memory --------------------------------------------------------------------------------------------- */

static struct {
    int fd, open;
    char path[32];
} slots[FUZZ_SLOTS];

static void write_all(int fd, const void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = pwrite(fd, (const char *)data + done, size - done, (off_t)done);
        FUZZ_CHECK(n > 0);
        done += (size_t)n;
    }
}

const char *fuzz_file(int slot, const void *data, size_t size)
{
    if (!slots[slot].open) {
        slots[slot].fd = memfd_create("zo2-fuzz", MFD_CLOEXEC);
        FUZZ_CHECK(slots[slot].fd >= 0);
        slots[slot].open = 1;
        snprintf(slots[slot].path, sizeof slots[slot].path, "/proc/self/fd/%d", slots[slot].fd);
    }
    FUZZ_CHECK(ftruncate(slots[slot].fd, (off_t)size) == 0);
    write_all(slots[slot].fd, data, size);
    return slots[slot].path;
}

unsigned char *fuzz_file_content(int slot, size_t *size)
{
    struct stat st;
    FUZZ_CHECK(slots[slot].open && fstat(slots[slot].fd, &st) == 0);
    *size = (size_t)st.st_size;
    unsigned char *data = fuzz_alloc(*size);
    FUZZ_CHECK(pread(slots[slot].fd, data, *size, 0) == (ssize_t)*size);
    return data;
}

static char folder[64];

void fuzz_dir_clear(void)
{
    DIR *d = opendir(fuzz_dir());
    FUZZ_CHECK(d);
    for (struct dirent *e; (e = readdir(d));)
        if (unlinkat(dirfd(d), e->d_name, 0) != 0)
            unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR); /* an empty one; "." and ".." stay */
    closedir(d);
}

static void remove_folder(void)
{
    fuzz_dir_clear();
    rmdir(folder);
}

const char *fuzz_dir(void)
{
    static const char *const roots[] = {"/dev/shm", "/tmp"};
    for (size_t i = 0; i < sizeof roots / sizeof *roots && !*folder; i++) {
        snprintf(folder, sizeof folder, "%s/zo2-fuzz-XXXXXX", roots[i]);
        if (mkdtemp(folder))
            atexit(remove_folder);
        else
            *folder = '\0';
    }
    FUZZ_CHECK(*folder);
    return folder;
}

char *fuzz_dir_file(const char *name, const void *data, size_t size)
{
    char *path = zo2_path_join(fuzz_dir(), name);
    FUZZ_CHECK(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FUZZ_CHECK(fd >= 0);
    write_all(fd, data, size);
    close(fd);
    return path;
}

/* ---- the I/O table ----------------------------------------------------------------------------------------------- */

static int io_open(void *ud, const char *path, int flags, int mode)
{
    return zo2_io_posix.open(ud, path, flags, mode);
}

static int io_close(void *ud, int fd)
{
    return zo2_io_posix.close(ud, fd);
}

static ssize_t io_pread(void *ud, int fd, void *buf, size_t n, off_t off)
{
    return zo2_io_posix.pread(ud, fd, buf, n, off);
}

static ssize_t io_pwrite(void *ud, int fd, const void *buf, size_t n, off_t off)
{
    return zo2_io_posix.pwrite(ud, fd, buf, n, off);
}

static int io_no_sync(void *ud, int fd)
{
    (void)ud;
    (void)fd;
    return 0;
}

static int io_ftruncate(void *ud, int fd, off_t size)
{
    return zo2_io_posix.ftruncate(ud, fd, size);
}

static int io_rename(void *ud, const char *from, const char *to)
{
    return zo2_io_posix.rename(ud, from, to);
}

static int io_unlink(void *ud, const char *path)
{
    return zo2_io_posix.unlink(ud, path);
}

static int io_clone(void *ud, int from, int to)
{
    return zo2_io_posix.clone(ud, from, to);
}

static int io_allocate(void *ud, int fd, off_t size)
{
    return zo2_io_posix.allocate(ud, fd, size);
}

const zo2_io fuzz_io = {
    .open = io_open,
    .close = io_close,
    .pread = io_pread,
    .pwrite = io_pwrite,
    .fdatasync = io_no_sync,
    .fsync = io_no_sync,
    .ftruncate = io_ftruncate,
    .rename = io_rename,
    .unlink = io_unlink,
    .clone = io_clone,
    .allocate = io_allocate,
};

/* ---- what a program prints --------------------------------------------------------------------------------------- */

/* stdout and stderr are variables in glibc and musl's are constants: where they can't be changed this doesn't link,
 * rather than test nothing. */
static FILE *real_out, *real_err;
static char *text_out, *text_err;
static size_t bytes_out, bytes_err;

void fuzz_catch_begin(void)
{
    real_out = stdout;
    real_err = stderr;
    FILE *out = open_memstream(&text_out, &bytes_out), *err = open_memstream(&text_err, &bytes_err);
    FUZZ_CHECK(out && err);
    stdout = out;
    stderr = err;
}

void fuzz_catch_end(char **out, char **err)
{
    FUZZ_CHECK(fclose(stdout) == 0 && fclose(stderr) == 0);
    stdout = real_out;
    stderr = real_err;
    *out = text_out;
    *err = text_err;
}

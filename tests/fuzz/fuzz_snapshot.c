/* fuzz_snapshot.c: snapshot files: header, table, units.
 *
 * Input: mode; with PARTS the parts of the file (fuzz_image_make()), header and table first, else the file itself. SEALED
 * makes header and table hashes and the length right, FILLED the units' hashes too.
 *
 * Properties: an opened snapshot's units lie within the file and read if and only if their hash is right; written again
 * by its own numbers it is the same file; a changed byte is refused, costs one unit, or is in the padding. */
#include "storage/run/snapshot_format.h"
#include "tests/fuzz/fuzzing.h"

#include <unistd.h>
#include <xxhash.h>

enum { SEALED = 1, PARTS = 2, FILLED = 4 };

#define HEAD ZO2_SNAPSHOT_HEADER_BYTES

static int inside(size_t size, uint64_t offset, uint64_t elements)
{
    return offset <= size && elements <= (size - offset) / sizeof(float);
}

static void seal(unsigned char *b, size_t size, int mode)
{
    zo2_snap_head *h = (zo2_snap_head *)(void *)b;
    zo2_snap_unit *table = (zo2_snap_unit *)(void *)(b + HEAD);
    h->file_bytes = size;
    if (h->units <= (size - HEAD) / sizeof *table) {
        for (uint32_t i = 0; mode & FILLED && i < h->units; i++)
            if (inside(size, table[i].offset, table[i].elements))
                table[i].hash = XXH3_64bits(b + table[i].offset, (size_t)table[i].elements * sizeof(float));
        h->table_hash = XXH3_64bits(table, h->units * sizeof *table);
    }
    h->hash = XXH3_64bits(h, offsetof(zo2_snap_head, hash));
}

/* How many units are whole; each is checked against the file's bytes. */
static uint32_t check_units(const zo2_snapfile *f, const unsigned char *b, size_t size)
{
    uint32_t whole = 0, units = zo2_snapfile_get_header(f)->units;
    for (uint32_t i = 0; i < units; i++) {
        const zo2_snap_unit *u = &zo2_snapfile_table(f)[i];
        FUZZ_CHECK(inside(size, u->offset, u->elements) && u->step <= zo2_snapfile_get_header(f)->step);
        FUZZ_CHECK(zo2_snapfile_unit_elements(f, i) == u->elements && zo2_snapfile_unit_step(f, i) == u->step);
        const size_t bytes = (size_t)u->elements * sizeof(float);
        float *values = fuzz_alloc(bytes);
        const int right = XXH3_64bits(b + u->offset, bytes) == u->hash;
        FUZZ_CHECK(FUZZ_OK(zo2_snapfile_read_unit(f, i, values)) == right);
        FUZZ_CHECK(FUZZ_OK(zo2_snapfile_check_unit(f, i, NULL)) == right);
        FUZZ_CHECK(!right || memcmp(values, b + u->offset, bytes) == 0);
        free(values);
        whole += (uint32_t)right;
    }
    float none;
    FUZZ_CHECK(zo2_snapfile_read_unit(f, units, &none) == ZO2_ERR_ARG);
    return whole;
}

/* Written again by the writer: header, table and units are the same; the file's padding may be anything. */
static void check_rewritten(const zo2_snapfile *f, const unsigned char *b, size_t size)
{
    const zo2_snapshot_header *h = zo2_snapfile_get_header(f);
    const zo2_snap_unit *table = zo2_snapfile_table(f);
    uint64_t *elements = fuzz_alloc(h->units * sizeof *elements);
    for (uint32_t i = 0; i < h->units; i++)
        elements[i] = table[i].elements;
    FUZZ_CHECK(zo2_snapshot_bytes(elements, h->units) == size);
    zo2_snapwriter *w;
    FUZZ_CHECK(FUZZ_OK(zo2_snapwriter_open(&w, &fuzz_io, fuzz_dir(), h, elements)));
    for (uint32_t i = 0; i < h->units; i++) {
        FUZZ_CHECK(FUZZ_OK(zo2_snapwriter_unit(w, table[i].step)));
        FUZZ_CHECK(FUZZ_OK(zo2_snapwriter_values(w, (const float *)(const void *)(b + table[i].offset), elements[i])));
    }
    FUZZ_CHECK(FUZZ_OK(zo2_snapwriter_commit(w)));
    zo2_snapwriter_close(w);

    uint64_t steps[2];
    char *path = zo2_snap_path(fuzz_dir(), h->step), *data;
    size_t bytes;
    FUZZ_CHECK(zo2_snapshot_list(fuzz_dir(), steps, 2) == 1 && steps[0] == h->step);
    zo2_snapfile *again;
    FUZZ_CHECK(FUZZ_OK(zo2_snapfile_open(&again, fuzz_dir(), h->step)));
    zo2_snapfile_close(again);
    FUZZ_CHECK(zo2_io_slurp(path, UINT64_C(1) << 30, &data, &bytes) == ZO2_OK && bytes == size);
    FUZZ_CHECK(memcmp(data, b, HEAD + h->units * sizeof *table) == 0);
    for (uint32_t i = 0; i < h->units; i++)
        FUZZ_CHECK(memcmp(data + table[i].offset, b + table[i].offset, (size_t)elements[i] * sizeof(float)) == 0);
    unlink(path);
    free(data);
    free(path);
    free(elements);
}

/* One changed byte: refused, one unit fewer, or nobody reads it. */
static void check_damage(const zo2_snapfile *f, unsigned char *b, size_t size, uint32_t whole, uint64_t digest)
{
    const zo2_snapshot_header h = *zo2_snapfile_get_header(f);
    const size_t at = (size_t)(digest % size);
    int in_unit = 0, in_front = at < HEAD + h.units * sizeof(zo2_snap_unit);
    for (uint32_t i = 0; i < h.units; i++) {
        const zo2_snap_unit *u = &zo2_snapfile_table(f)[i];
        in_unit |= at >= u->offset && at - u->offset < u->elements * sizeof(float);
    }
    b[at] ^= (unsigned char)(1 + (digest >> 32) % 255);
    zo2_snapfile *bad;
    if (FUZZ_OK(zo2_snapfile_open_path(&bad, &fuzz_io, fuzz_file(0, b, size)))) {
        FUZZ_CHECK(!in_front);
        const uint32_t left = check_units(bad, b, size);
        FUZZ_CHECK(in_unit ? left == whole - 1 : left == whole);
    } else {
        FUZZ_CHECK(in_front);
    }
    zo2_snapfile_close(bad);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, size};
    const int mode = fuzz_u8(&in);
    fuzz_image m;
    fuzz_image_make(&m, &in, mode & PARTS);
    if (mode & SEALED && m.size >= HEAD)
        seal(m.data, m.size, mode);
    zo2_snapfile *f;
    if (FUZZ_OK(zo2_snapfile_open_path(&f, &fuzz_io, fuzz_file(0, m.data, m.size)))) {
        const uint32_t whole = check_units(f, m.data, m.size);
        if (whole == zo2_snapfile_get_header(f)->units) {
            check_rewritten(f, m.data, m.size);
            check_damage(f, m.data, m.size, whole, fuzz_digest(data, size));
        }
    } else {
        FUZZ_CHECK(!f);
    }
    zo2_snapfile_close(f);
    free(m.data);
    return 0;
}

/* test_packfile_damage.c: packs as a broken disk, a bad transfer or an attacker leaves them: every length, every
 * flipped byte, and tables whose checksums are right and whose contents lie. Nothing may crash, and every message must
 * say what and where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "storage/pack/packfile_format.h"
#include "tests/unit/storage/packfile_testing.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <xxhash.h>

static char *dir, *path;
static unsigned char *good; /* the sample's bytes */
static size_t good_bytes;
static int fd; /* the file that is damaged and mended */

static int setup(void **state)
{
    (void)state;
    dir = scratch_make();
    path = in_dir(dir, "m.zo2");
    OK(sample_write(&zo2_io_posix, path, 0));
    good = file_load(path, &good_bytes);
    fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    close(fd);
    free(good);
    free(path);
    scratch_remove(dir);
    return 0;
}

static void put(const void *data, size_t n, uint64_t off)
{
    assert_int_equal(pwrite(fd, data, n, (off_t)off), n);
}

/* Opens and verifies; the status of what failed first. */
static zo2_status open_and_verify(void)
{
    zo2_packfile *p;
    zo2_status s = zo2_packfile_open(&p, path);
    if (s == ZO2_OK)
        s = zo2_packfile_verify(p, NULL, NULL, NULL);
    else
        assert_null(p);
    if (s == ZO2_OK) { /* what passes can be read */
        unsigned char *buf = malloc(1 << 20);
        const zo2_packheader *h = zo2_packfile_header(p);
        for (uint32_t i = 0; i < h->tensors; i++)
            if (tensor_bytes(zo2_packfile_tensor(p, i)) <= 1 << 20)
                OK(zo2_packfile_read_rows(p, i, 0, zo2_packfile_tensor(p, i)->rows, buf));
        free(buf);
    }
    zo2_packfile_close(p);
    return s;
}

static void the_undamaged_sample_passes(void **state)
{
    (void)state;
    OK(open_and_verify());
}

static void every_shorter_length_is_refused(void **state)
{
    (void)state;
    zo2_packfile *p;
    for (size_t n = good_bytes; n-- > 0;) {
        assert_int_equal(ftruncate(fd, (off_t)n), 0);
        FAILS(FORMAT, zo2_packfile_open(&p, path));
        assert_null(p);
        SAYS(path);
    }
    put(good, good_bytes, 0);
    OK(open_and_verify());
    put("", 1, good_bytes);
    FAILS(FORMAT, zo2_packfile_open(&p, path));
    SAYS("foreign bytes");
}

/* Every byte of the file, padding included, three ways. Damage outside of superblock and tables must show in verify. */
static void every_flipped_byte_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < good_bytes; i++) {
        static const unsigned char flips[] = {0x01, 0x80, 0xFF};
        unsigned char bad = good[i] ^ flips[i % 3];
        put(&bad, 1, i);
        FAILS(FORMAT, open_and_verify());
        SAYS(path);
        put(&good[i], 1, i);
    }
    OK(open_and_verify());
}

static const zo2_pack_superblock *super(void)
{
    return (const zo2_pack_superblock *)(const void *)good;
}

static void damaged_weights_are_named_by_tensor_and_offset(void **state)
{
    (void)state;
    zo2_packfile *p;
    OK(zo2_packfile_open(&p, path));
    for (uint32_t i = 0, c = 0; i < SAMPLE_TENSORS; i++) {
        if (i == SAMPLE_ALIAS)
            continue;
        size_t n = tensor_bytes(&sample_tensor[i]);
        uint64_t off = 4096 * (1 + (uint64_t)c++);
        char says[40];
        snprintf(says, sizeof says, "offset %llu", (unsigned long long)off);
        for (size_t k = 0; k < n; k++) {
            unsigned char buf[64], bad = good[off + k] ^ 0x10;
            put(&bad, 1, off + k);
            FAILS(FORMAT, zo2_packfile_read_rows(p, i, 0, 1, buf)); /* a part of the chunk, or all */
            SAYS(sample_tensor[i].name);
            SAYS(says);
            FAILS(FORMAT, zo2_packfile_read_rows(p, i, 0, sample_tensor[i].rows, buf));
            SAYS(sample_tensor[i].name);
            FAILS(FORMAT, zo2_packfile_verify(p, NULL, NULL, NULL));
            SAYS(sample_tensor[i].name);
            SAYS(says);
            if (i == 1) { /* the alias has the same bytes */
                FAILS(FORMAT, zo2_packfile_read_rows(p, SAMPLE_ALIAS, 0, 1, buf));
                SAYS(sample_tensor[SAMPLE_ALIAS].name);
            }
            put(&good[off + k], 1, off + k);
        }
    }
    /* Damage that comes after opening, in what was loaded then, and a file cut short. */
    unsigned char bad = good[super()->table[ZO2_PACK_CHUNKS].offset] ^ 1, buf[64];
    put(&bad, 1, super()->table[ZO2_PACK_CHUNKS].offset);
    FAILS(FORMAT, zo2_packfile_verify(p, NULL, NULL, NULL));
    SAYS("chunk table");
    assert_int_equal(ftruncate(fd, 4096 + 8), 0);
    FAILS(FORMAT, zo2_packfile_read_rows(p, 0, 0, 1, buf));
    SAYS("truncated");
    SAYS(sample_tensor[0].name);
    zo2_packfile_close(p);
}

static void other_files_are_told_what_they_are(void **state)
{
    (void)state;
    zo2_packfile *p;
    char *missing = in_dir(dir, "missing.zo2"), *fifo = in_dir(dir, "fifo");
    FAILS(NOTFOUND, zo2_packfile_open(&p, missing));
    SAYS(missing);
    FAILS(FORMAT, zo2_packfile_open(&p, dir));
    SAYS("is a folder: give the pack in it");
    assert_int_equal(mkfifo(fifo, 0666), 0);
    FAILS(FORMAT, zo2_packfile_open(&p, fifo));
    SAYS("not a regular file");
    file_store(path, "{\"a\": 1}", 8);
    FAILS(FORMAT, zo2_packfile_open(&p, path));
    SAYS("is a JSON text; ");
    file_store(path, "", 0);
    FAILS(FORMAT, zo2_packfile_open(&p, path));
    SAYS("is an empty file; ");
    file_store(path, "some text", 9);
    FAILS(FORMAT, zo2_packfile_open(&p, path));
    SAYS("not a pack");
    free(missing);
    free(fifo);
}

/* ---- liars: right checksums, wrong contents ---------------------------------------------------------------------- */

/* Sets n bytes of a copy of the sample at off (in the file), then makes all table checksums, the model hash (unless
 * keep_model) and the superblock's right again, as an attacker would, and stores it. */
static void forge_many(const uint64_t *off, const uint64_t *value, const size_t *n, size_t count, int keep_model)
{
    unsigned char *bad = malloc(good_bytes);
    assert_non_null(bad);
    memcpy(bad, good, good_bytes);
    for (size_t i = 0; i < count; i++)
        memcpy(bad + off[i], &value[i], n[i]);
    zo2_pack_superblock *b = (zo2_pack_superblock *)(void *)bad;
    for (int i = 0; i < ZO2_PACK_TABLES; i++) {
        zo2_pack_section *t = &b->table[i];
        if (t->offset <= good_bytes && t->bytes <= good_bytes - t->offset)
            t->hash = XXH3_64bits(bad + t->offset, t->bytes);
    }
    const zo2_pack_section *t = &b->table[ZO2_PACK_TENSORS];
    if (!keep_model && t->offset % 8 == 0 && t->offset <= good_bytes && b->tensors <= (good_bytes - t->offset) / 64)
        zo2_pack_model_hash((zo2_pack_tensor_record *)(void *)(bad + t->offset), b->tensors, &b->model_hash);
    b->hash = XXH3_64bits(bad, 4088);
    put(bad, good_bytes, 0);
    free(bad);
}

static void forge(uint64_t off, uint64_t value, size_t n)
{
    forge_many(&off, &value, &n, 1, 0);
}

#define TABLE(i) (super()->table[ZO2_PACK_##i].offset)

static void lying_superblocks_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint64_t off;
        size_t n;
        uint64_t value;
        const char *says;
    } lies[] = {
        {8, 4, 2, "version 2"},
        {8, 4, 0, "version 0"},
        {12, 4, 8192, "reserved"},
        {16, 8, 1, "no chunk is compressed"},
        {16, 8, 2, "wire table"},
        {16, 8, 4, "every tensor says that it has them"},
        {16, 8, 8, "feature 3"},
        {16, 8, UINT64_C(1) << 63, "feature 63"},
        {24, 8, UINT64_MAX, "truncated"},
        {24, 8, 4096, "foreign bytes"},
        {40, 8, 12345, "parameters"},
        {48, 8, 3, "doesn't fit"},
        {48, 8, UINT64_MAX, "more than"},
        {48, 8, UINT64_C(1) << 60, "more than"}, /* x 48 overflows */
        {56, 4, 4, "doesn't fit"},
        {56, 4, UINT32_MAX, "more than"},
        {60, 4, 2, "out of order"},
        {60, 4, 4, "blocks"},
        {60, 4, UINT32_MAX, "more than"},
        {64, 4, 2, "doesn't fit"},
        {64, 4, UINT32_MAX, "more than"},
        {68, 4, 1, "reserved"},
        {72, 8, UINT64_MAX - 4095, "tensor table"}, /* offset + bytes overflows */
        {72, 8, 4096, "overlap or order"},
        {72, 8, UINT64_C(1) << 40, "tensor table"},
        {72, 8, 1, "tensor table"},
        {80, 8, UINT64_MAX, "tensor table"},
        {96, 8, 0, "chunk"},
        {104, 8, 96, "chunk table"},
        {120, 8, 4096, "overlap or order"},
        {144, 8, 4096, "overlap or order"},
        {152, 8, 0, "name"},
        {152, 8, 10, "name"},
        {152, 8, 200, "behind the tables or the last name"},
        {152, 8, 100000, "name table"},
        {168, 1, 0, "architecture"},
        {168, 1, '\n', "architecture"},
        {172, 1, 'x', "architecture"},
        {200, 1, 1, "wire table"},
        {208, 1, 16, "wire table"},
        {216, 1, 1, "wire table"},
        {224, 1, 1, "224"},
        {4087, 1, 1, "4087"},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        forge(lies[i].off, lies[i].value, lies[i].n);
        FAILS(FORMAT, open_and_verify());
        SAYS(path);
        if (strcmp(lies[i].says, "overlap or order") != 0) /* refused whatever is found first */
            SAYS(lies[i].says);
    }
    const uint64_t off = 32, value = 1;
    const size_t n = 8;
    forge_many(&off, &value, &n, 1, 1);
    FAILS(FORMAT, open_and_verify());
    SAYS("model hash");
}

static void lying_tensor_records_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint64_t tensor, off;
        size_t n;
        uint64_t value;
        const char *says;
    } lies[] = {
        {0, 0, 8, 6, "length doesn't fit"},
        {0, 0, 8, 0, "no elements"},
        {0, 0, 8, UINT64_MAX, "2^40"},
        {0, 0, 8, UINT64_C(1) << 39, "2^40"},
        {0, 0, 8, 1000, "more chunks than"},
        {0, 0, 8, 3, "rows per chunk"},
        {0, 8, 8, 4, "length doesn't fit"},
        {0, 8, 8, 0, "no elements"},
        {0, 8, 8, UINT64_C(1) << 29, "1 GiB"},
        {0, 16, 8, 1, "don't have its hash"}, /* found by verify */
        {0, 24, 8, 1, "first chunk"},
        {0, 24, 8, UINT64_MAX, "first chunk"},
        {4, 24, 8, 0, "first chunk"},
        {0, 32, 8, 0, "rows per chunk"},
        {0, 32, 8, 6, "rows per chunk"},
        {0, 32, 8, 1, "more chunks than"},
        {0, 32, 8, 3, "length doesn't fit"},
        {0, 32, 8, UINT64_MAX, "rows per chunk"},
        {0, 40, 4, 1, "names table"},
        {1, 40, 4, UINT32_MAX, "names table"},
        {0, 44, 4, 0, "names table"},
        {0, 44, 4, UINT32_MAX, "names table"},
        {0, 44, 4, 11, "names table"},
        {0, 44, 4, 24, "control"}, /* two names and the NUL between */
        {0, 48, 4, 1, ""},         /* no lie: a block may be empty */
        {0, 48, 4, 2, "out of order"},
        {1, 48, 4, 3, "out of order"},
        {1, 48, 4, UINT32_MAX, "out of order"},
        {4, 48, 4, 1, "out of order"},
        {0, 52, 4, 1, "no bytes of its own"},
        {2, 52, 4, 1, "differs"},
        {2, 52, 4, UINT32_MAX, "no bytes of its own"},
        {4, 52, 4, 3, "no bytes of its own"}, /* an alias of an alias */
        {3, 52, 4, 0, "differs"},
        {3, 52, 4, 3, "first chunk"},
        {3, 0, 8, 4, "differs"},
        {3, 16, 8, 1, "differs"},
        {3, 24, 8, 0, "differs"},
        {3, 32, 8, 1, "differs"},
        {0, 56, 1, 0, "data type"},
        {0, 56, 1, 4, "data type"},
        {0, 56, 1, 2, "length doesn't fit"},
        {0, 57, 1, 0, "rank"},
        {0, 57, 1, 3, "rank"},
        {0, 57, 1, 1, "vector"},
        {0, 58, 2, 2, "features don't say"}, /* without source bits */
        {0, 58, 2, 4, "reserved"},
        {0, 60, 4, 1, "reserved"},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        forge(TABLE(TENSORS) + 64 * lies[i].tensor + lies[i].off, lies[i].value, lies[i].n);
        if (!*lies[i].says) {
            OK(open_and_verify());
            continue;
        }
        FAILS(FORMAT, open_and_verify());
        SAYS(path);
        SAYS(lies[i].says);
    }
}

static void lying_chunk_and_file_records_are_refused(void **state)
{
    (void)state;
    const struct {
        uint64_t off;
        size_t n;
        uint64_t value;
        const char *says;
    } lies[] = {
        {TABLE(CHUNKS) + 0, 8, 8192, "doesn't follow"},
        {TABLE(CHUNKS) + 0, 8, 4095, "doesn't follow"},
        {TABLE(CHUNKS) + 48, 8, 4096, "doesn't follow"}, /* overlap */
        {TABLE(CHUNKS) + 48, 8, UINT64_MAX, "doesn't follow"},
        {TABLE(CHUNKS) + 8, 8, 59, "stored as is"},
        {TABLE(CHUNKS) + 8, 8, UINT64_MAX, "stored as is"},
        {TABLE(CHUNKS) + 16, 8, 61, "decoded length"},
        {TABLE(CHUNKS) + 16, 8, 0, "decoded length"},
        {TABLE(CHUNKS) + 24, 4, 1, "features don't say"},
        {TABLE(CHUNKS) + 24, 4, 2, "encoding 2"},
        {TABLE(CHUNKS) + 24, 4, UINT32_MAX, "encoding 4294967295"},
        {TABLE(CHUNKS) + 28, 4, 1, "reserved"},
        {TABLE(CHUNKS) + 32, 8, 1, "stored as is"},
        {TABLE(CHUNKS) + 40, 8, 1, "stored as is"},
        {TABLE(FILES) + 0, 8, 0, "out of place"},
        {TABLE(FILES) + 8, 8, UINT64_MAX, "out of place or too long"},
        {TABLE(FILES) + 8, 8, 100000, "out of place or too long"},
        {TABLE(FILES) + 8, 8, 8, "config.json"}, /* its hash */
        {TABLE(FILES) + 16, 8, 0, "config.json"},
        {TABLE(FILES) + 24, 4, 0, "names table"},
        {TABLE(FILES) + 28, 4, 0, "names table"},
        {TABLE(FILES) + 28, 4, UINT32_MAX, "names table"},
        {TABLE(NAMES) + 0, 1, 0x1F, "control"},
        {TABLE(NAMES) + 0, 1, 0x80, "UTF-8"},
        {TABLE(NAMES) + 13, 1, '1', "two tensors are named 1.fc.weight"},
        {TABLE(NAMES) + 57, 1, '/', "slash"}, /* the first byte of config.json */
        {TABLE(NAMES) + 57, 1, '\\', "slash"},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        forge(lies[i].off, lies[i].value, lies[i].n);
        FAILS(FORMAT, open_and_verify());
        SAYS(path);
        SAYS(lies[i].says);
    }
}

/* An export of such a pack would find the name of its weights taken. */
static void a_carried_file_named_like_weights_is_refused(void **state)
{
    (void)state;
    static const char name[] = "a.safetensors"; /* with its NUL in the place of "config.json" NUL "em" */
    const size_t first = sizeof "config.json" + 2, n[] = {8, sizeof name - 8, 4, 4, 4};
    uint64_t value[] = {0, 0, sizeof name - 1, 57 + first, sizeof "pty.txt" - 1};
    const uint64_t off[] = {TABLE(NAMES) + 57, TABLE(NAMES) + 65, TABLE(FILES) + 28, TABLE(FILES) + 32 + 24,
                            TABLE(FILES) + 32 + 28};
    assert_int_equal(first, sizeof name);
    memcpy(&value[0], name, n[0]);
    memcpy(&value[1], name + 8, n[1]);
    forge_many(off, value, n, 5, 0);
    FAILS(FORMAT, open_and_verify());
    SAYS(path);
    SAYS("carried file 0");
    SAYS("one of weights");
    memcpy(&value[1], "nsor_", 6); /* forged in the same way with another name it would pass */
    forge_many(off, value, n, 5, 0);
    OK(open_and_verify());
}

/* Several random lies at once under right checksums: any status, no crash (the sanitizers look on). */
static void random_lies_do_not_crash(void **state)
{
    (void)state;
    uint64_t seed = 20260101;
    for (int round = 0; round < 20000; round++) {
        uint64_t off[4], value[4];
        size_t n[4], count = 1 + mix(&seed) % 4;
        for (size_t i = 0; i < count; i++) {
            static const uint64_t odd[] = {0, 1, 2, 3, 4, 4096, UINT64_MAX, UINT64_C(1) << 31, UINT64_C(1) << 40};
            int where = (int)(mix(&seed) % 5);
            uint64_t base = where == 4 ? 8 : super()->table[where].offset;
            uint64_t size = where == 4 ? 192 : super()->table[where].bytes;
            n[i] = (size_t)1 << mix(&seed) % 4;
            off[i] = base + mix(&seed) % size / n[i] * n[i];
            value[i] = mix(&seed) % 4 ? odd[mix(&seed) % (sizeof odd / sizeof *odd)] : mix(&seed);
        }
        forge_many(off, value, n, count, 0);
        open_and_verify();
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_undamaged_sample_passes),
        T(every_shorter_length_is_refused),
        T(a_carried_file_named_like_weights_is_refused),
        T(every_flipped_byte_is_found),
        T(damaged_weights_are_named_by_tensor_and_offset),
        T(other_files_are_told_what_they_are),
        T(lying_superblocks_are_refused),
        T(lying_tensor_records_are_refused),
        T(lying_chunk_and_file_records_are_refused),
        T(random_lies_do_not_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

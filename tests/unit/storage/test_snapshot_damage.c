/* Damaged snapshots: every byte of the file, every truncation, and headers that lie with the right checksum. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/storage/snapshot_testing.h"

#include <fcntl.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define TABLE ZO2_SNAPSHOT_HEADER_BYTES

static char *dir, *path;
static unsigned char *bytes;
static size_t length;

static int setup(void **state)
{
    (void)state;
    dir = scratch_make();
    path = in_dir(dir, "snapshot-000000000009.zo2s");
    OK(snapshot_write(&zo2_io_posix, dir, 9, small_elements, 100));
    bytes = file_load(path, &length);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_remove(dir);
    free(path);
    free(bytes);
    return 0;
}

static void flips_in_header_and_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < TABLE + UNITS * sizeof(zo2_snap_unit); i++)
        for (int bit = 0; bit < 8; bit++) {
            bytes[i] ^= (unsigned char)(1 << bit);
            file_store(path, bytes, length);
            zo2_snapfile *f;
            FAILS(FORMAT, zo2_snapfile_open(&f, dir, 9));
            assert_null(f);
            SAYS("snapshot-000000000009");
            bytes[i] ^= (unsigned char)(1 << bit);
        }
}

static void a_damaged_unit_is_named(void **state)
{
    (void)state;
    const zo2_snap_unit *table = (const zo2_snap_unit *)(const void *)(bytes + TABLE);
    for (uint32_t u = 0; u < UNITS; u++) {
        if (small_elements[u] == 0)
            continue;
        const size_t at = (size_t)table[u].offset + 4 * small_elements[u] - 1;
        bytes[at] ^= 0x10;
        file_store(path, bytes, length);
        zo2_snapfile *f;
        OK(zo2_snapfile_open(&f, dir, 9));
        float v[1024];
        char text[64];
        FAILS(FORMAT, zo2_snapfile_read_unit(f, u, v));
        snprintf(text, sizeof text, "unit %u at byte %llu", u, (unsigned long long)table[u].offset);
        SAYS(text);
        zo2_snapfile_close(f);
        bytes[at] ^= 0x10;
    }
}

/* Units whose data hold byte `at`; there is one or, for padding, none. */
static uint32_t unit_at(size_t at)
{
    const zo2_snap_unit *table = (const zo2_snap_unit *)(const void *)(bytes + TABLE);
    for (uint32_t u = 0; u < UNITS; u++)
        if (at >= table[u].offset && at - table[u].offset < 4 * small_elements[u])
            return u;
    return UNITS;
}

/* Every byte of the file: refused at opening, one unit lost, or padding, which nobody reads (RUN.md). */
static void every_flipped_byte_is_found_or_padding(void **state)
{
    (void)state;
    static const unsigned char flips[] = {0x01, 0x80, 0xFF};
    const int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    size_t padding = 0, data = 0;
    for (uint32_t u = 0; u < UNITS; u++)
        data += 4 * small_elements[u];
    for (size_t i = 0; i < length; i++) {
        const unsigned char bad = bytes[i] ^ flips[i % 3];
        assert_int_equal(pwrite(fd, &bad, 1, (off_t)i), 1);
        zo2_snapfile *f;
        if (i < TABLE + UNITS * sizeof(zo2_snap_unit)) {
            FAILS(FORMAT, zo2_snapfile_open(&f, dir, 9));
        } else {
            const uint32_t hit = unit_at(i);
            padding += hit == UNITS;
            OK(zo2_snapfile_open(&f, dir, 9));
            float v[1024];
            for (uint32_t u = 0; u < UNITS; u++)
                assert_int_equal(zo2_snapfile_read_unit(f, u, v), u == hit ? ZO2_ERR_FORMAT : ZO2_OK);
            zo2_snapfile_close(f);
        }
        assert_int_equal(pwrite(fd, &bytes[i], 1, (off_t)i), 1);
    }
    assert_int_equal(padding, length - TABLE - UNITS * sizeof(zo2_snap_unit) - data);
    close(fd);
}

static void truncated(void **state)
{
    (void)state;
    zo2_snapfile *f;
    for (size_t cut = length; cut-- > 0;) {
        assert_int_equal(truncate(path, (off_t)cut), 0);
        FAILS(FORMAT, zo2_snapfile_open(&f, dir, 9));
        assert_null(f);
    }
    bytes = realloc(bytes, length + 1);
    assert_non_null(bytes);
    bytes[length] = 0;
    file_store(path, bytes, length + 1);
    FAILS(FORMAT, zo2_snapfile_open(&f, dir, 9));
    /* cut while it is open */
    file_store(path, bytes, length);
    OK(zo2_snapfile_open(&f, dir, 9));
    assert_int_equal(truncate(path, 4096 + 4096), 0);
    float v[1024];
    OK(zo2_snapfile_read_unit(f, 0, v));
    FAILS(FORMAT, zo2_snapfile_read_unit(f, 3, v));
    zo2_snapfile_close(f);
}

static void seal(unsigned char *b, uint32_t units)
{
    zo2_snap_head *h = (zo2_snap_head *)(void *)b;
    h->table_hash = XXH3_64bits(b + TABLE, units * sizeof(zo2_snap_unit));
    h->hash = XXH3_64bits(b, TABLE - 8);
}

static void lies(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint64_t value;
        size_t n;
    } lie[] = {
        {8, 2, 4},                /* version */
        {12, 4096, 4},            /* header bytes */
        {16, 1, 8},               /* required features */
        {32, 8, 8},               /* step: a unit is ahead of it */
        {32, 10, 8},              /* step: not the name's */
        {32, UINT64_MAX, 8},      /* step */
        {48, 0, 4},               /* units */
        {48, 6, 4},               /* one unit fewer: the length doesn't fit */
        {48, 8, 4},               /* one more: reads padding as a unit */
        {48, UINT32_MAX, 4},      /* more than there are bytes */
        {48, (1 << 22) + 1, 4},   /* more than the cap */
        {52, 64, 4},              /* alignment */
        {56, 0, 8},               /* file bytes */
        {56, UINT64_MAX, 8},      /* file bytes */
        {100, 1, 1},              /* reserved */
        {256, 0, 8},              /* offset of unit 0: in the header */
        {256, 8192, 8},           /* that of unit 2 */
        {256, UINT64_MAX - 3, 8}, /* past the end */
        {264, 1025, 8},           /* elements: into the next unit */
        {264, UINT64_MAX, 8},     /* elements: product overflows */
        {264, UINT64_MAX / 4, 8}, /* elements: sum overflows */
        {264, 1u << 30, 8},       /* elements: past the end */
        {272, 10, 8},             /* step ahead of the snapshot's */
        {264 + 6 * 32, 1025, 8},  /* elements of the last unit: past the end */
        {264 + 6 * 32, 0, 8},     /* none: the file would be shorter */
    };
    unsigned char *b = malloc(length);
    assert_non_null(b);
    for (size_t i = 0; i < sizeof lie / sizeof *lie; i++) {
        memcpy(b, bytes, length);
        memcpy(b + lie[i].at, &lie[i].value, lie[i].n);
        uint32_t units;
        memcpy(&units, b + 48, 4);
        seal(b, units > 100 ? UNITS : units);
        file_store(path, b, length);
        zo2_snapfile *f;
        FAILS(FORMAT, zo2_snapfile_open(&f, dir, 9));
        assert_null(f);
    }
    /* The smallest units may not be stated differently within a page: the layout stays, the hash doesn't. */
    memcpy(b, bytes, length);
    b[256 + 8] = 2;
    seal(b, UNITS);
    file_store(path, b, length);
    zo2_snapfile *f;
    OK(zo2_snapfile_open(&f, dir, 9));
    float v[2];
    FAILS(FORMAT, zo2_snapfile_read_unit(f, 0, v));
    zo2_snapfile_close(f);
    /* a file of a terabyte of nothing */
    file_store(path, bytes, length);
    if (truncate(path, (off_t)1 << 40) == 0)
        FAILS(FORMAT, zo2_snapfile_open(&f, dir, 9));
    free(b);
}

static void noise(void **state)
{
    (void)state;
    uint64_t rng = 7;
    unsigned char *b = malloc(length);
    assert_non_null(b);
    for (int round = 0; round < 2000; round++) {
        memcpy(b, bytes, length);
        const int changes = 1 + (int)(mix(&rng) % 8);
        for (int k = 0; k < changes; k++)
            b[8 + mix(&rng) % (round % 2 ? 500 : length - 8)] = (unsigned char)mix(&rng);
        if (round % 4 > 1)
            seal(b, UNITS); /* past the checksums */
        file_store(path, b, length - (size_t)(round % 5 ? 0 : mix(&rng) % length));
        zo2_snapfile *f;
        float v[1024];
        if (zo2_snapfile_open(&f, dir, 9) == ZO2_OK)
            for (uint32_t u = 0; u < zo2_snapfile_get_header(f)->units; u++)
                if (zo2_snapfile_unit_elements(f, u) <= 1024)
                    (void)zo2_snapfile_read_unit(f, u, v);
        zo2_snapfile_close(f);
    }
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(flips_in_header_and_table, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_unit_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(every_flipped_byte_is_found_or_padding, setup, teardown),
        cmocka_unit_test_setup_teardown(truncated, setup, teardown),
        cmocka_unit_test_setup_teardown(lies, setup, teardown),
        cmocka_unit_test_setup_teardown(noise, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

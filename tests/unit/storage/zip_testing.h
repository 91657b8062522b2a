/* zip_testing.h: zip archives byte by byte, sound ones and others (APPNOTE.TXT 4.3). Include after cmocka.h. */
#ifndef ZO2_TESTS_UNIT_STORAGE_ZIP_TESTING_H
#define ZO2_TESTS_UNIT_STORAGE_ZIP_TESTING_H

#include "tests/unit/files_testing.h"

#define ZIP_ENTRIES 16

/* One entry; zeroes are a sound, stored one. */
typedef struct zip_part {
    const char *name;
    const void *data;
    size_t n;
    uint16_t method, flags;
    const char *local_name; /* in its local header, if it is another */
    int64_t more_size;      /* that the directory says it has beyond n */
    int64_t more_stored;    /* the same of the stored size alone */
    int64_t moved;          /* that the directory says its header is behind its place */
    int same_place;         /* as the entry before: no bytes of its own */
    int descriptor;         /* sizes and CRC behind the data, as PyTorch writes them */
    int zip64;              /* sizes and place in an extra field of the directory */
    uint16_t padding;       /* bytes of an extra field in the local header; 0 or 4 at least */
} zip_part;

typedef struct zip_bytes {
    unsigned char b[1 << 16];
    size_t n;
} zip_bytes;

static inline void zip_put(zip_bytes *z, uint64_t value, size_t bytes)
{
    assert_true(z->n + bytes <= sizeof z->b);
    for (size_t i = 0; i < bytes; i++)
        z->b[z->n++] = (unsigned char)(i < 8 ? value >> 8 * i : 0);
}

static inline void zip_data(zip_bytes *z, const void *data, size_t n)
{
    assert_true(z->n + n <= sizeof z->b);
    if (n)
        memcpy(z->b + z->n, data, n);
    z->n += n;
}

static inline void zip_local(zip_bytes *z, const zip_part *p)
{
    const char *name = p->local_name ? p->local_name : p->name;
    zip_data(z, "PK\3\4", 4);
    zip_put(z, 20, 2);
    zip_put(z, p->flags | (p->descriptor ? 8u : 0u), 2);
    zip_put(z, p->method, 2);
    zip_put(z, 0, 8); /* time, date, CRC */
    zip_put(z, p->descriptor ? 0 : p->n, 4);
    zip_put(z, p->descriptor ? 0 : p->n, 4);
    zip_put(z, strlen(name), 2);
    zip_put(z, p->padding, 2);
    zip_data(z, name, strlen(name));
    if (p->padding) {
        zip_data(z, "FB", 2);
        zip_put(z, p->padding - 4u, 2);
        for (int i = 4; i < p->padding; i++)
            zip_put(z, 'Z', 1);
    }
    zip_data(z, p->data, p->n);
    if (p->descriptor) {
        zip_data(z, "PK\7\10", 4);
        zip_put(z, 0, 4);
        zip_put(z, p->n, 4);
        zip_put(z, p->n, 4);
    }
}

static inline void zip_central(zip_bytes *z, const zip_part *p, uint64_t at)
{
    const uint64_t size = (uint64_t)((int64_t)p->n + p->more_size), stored = (uint64_t)((int64_t)size + p->more_stored);
    at = (uint64_t)((int64_t)at + p->moved);
    zip_data(z, "PK\1\2", 4);
    zip_put(z, 20, 2);
    zip_put(z, 20, 2);
    zip_put(z, p->flags | (p->descriptor ? 8u : 0u), 2);
    zip_put(z, p->method, 2);
    zip_put(z, 0, 8);
    zip_put(z, p->zip64 ? UINT32_MAX : stored, 4);
    zip_put(z, p->zip64 ? UINT32_MAX : size, 4);
    zip_put(z, strlen(p->name), 2);
    zip_put(z, p->zip64 ? 28 : 0, 2);
    zip_put(z, 0, 10); /* comment, disk, attributes */
    zip_put(z, p->zip64 ? UINT32_MAX : at, 4);
    zip_data(z, p->name, strlen(p->name));
    if (p->zip64) {
        zip_put(z, 1, 2);
        zip_put(z, 24, 2);
        zip_put(z, size, 8);
        zip_put(z, stored, 8);
        zip_put(z, at, 8);
    }
}

/* zip64: with those end records, as PyTorch always has them. */
static inline void zip_make(zip_bytes *z, const zip_part *parts, size_t n, int zip64)
{
    uint64_t at[ZIP_ENTRIES] = {0};
    assert_true(n <= ZIP_ENTRIES);
    z->n = 0;
    for (size_t i = 0; i < n; i++) {
        at[i] = parts[i].same_place ? at[i - 1] : z->n;
        if (!parts[i].same_place)
            zip_local(z, &parts[i]);
    }
    const uint64_t directory = z->n;
    for (size_t i = 0; i < n; i++)
        zip_central(z, &parts[i], at[i]);
    const uint64_t end = z->n;
    if (zip64) {
        zip_data(z, "PK\6\6", 4);
        zip_put(z, 44, 8);
        zip_put(z, 45, 2);
        zip_put(z, 45, 2);
        zip_put(z, 0, 8);
        zip_put(z, n, 8);
        zip_put(z, n, 8);
        zip_put(z, end - directory, 8);
        zip_put(z, directory, 8);
        zip_data(z, "PK\6\7", 4);
        zip_put(z, 0, 4);
        zip_put(z, end, 8);
        zip_put(z, 1, 4);
    }
    zip_data(z, "PK\5\6", 4);
    zip_put(z, 0, 4);
    zip_put(z, n, 2);
    zip_put(z, n, 2);
    zip_put(z, end - directory, 4);
    zip_put(z, directory, 4);
    zip_put(z, 0, 2);
}

#endif

/* safetensors_testing.h: files with any header. Include after cmocka.h. */
#ifndef ZO2_TESTS_UNIT_STORAGE_SAFETENSORS_TESTING_H
#define ZO2_TESTS_UNIT_STORAGE_SAFETENSORS_TESTING_H

#include "storage/checkpoint/safetensors.h"
#include "tests/unit/files_testing.h"

/* Stores: u64 length, n bytes of header, data_bytes bytes 0, 1, 2, ... 250, 0, ... */
static inline void st_store(const char *path, uint64_t length, const char *header, size_t n, size_t data_bytes)
{
    unsigned char *buf = malloc(8 + n + data_bytes);
    assert_non_null(buf);
    memcpy(buf, &length, 8);
    memcpy(buf + 8, header, n);
    for (size_t i = 0; i < data_bytes; i++)
        buf[8 + n + i] = (unsigned char)(i % 251);
    file_store(path, buf, 8 + n + data_bytes);
    free(buf);
}

static inline void st_text(const char *path, const char *header, size_t data_bytes)
{
    st_store(path, strlen(header), header, strlen(header), data_bytes);
}

#endif

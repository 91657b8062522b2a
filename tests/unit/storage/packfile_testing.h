/* packfile_testing.h: what the tests of packs share: a small model with every kind of content. Include after cmocka.h.
 */
#ifndef ZO2_TESTS_UNIT_STORAGE_PACKFILE_TESTING_H
#define ZO2_TESTS_UNIT_STORAGE_PACKFILE_TESTING_H

#include "tests/pack_tensor.h"
#include "tests/unit/files_testing.h"

#include <xxhash.h>

#define SAMPLE_TENSORS 5
#define SAMPLE_ALIAS   3 /* tensor 3 is stored as tensor 1 */

/* Two matrices, an alias and two vectors in blocks 0, 1, 1, 2, 2. */
static const zo2_packtensor sample_tensor[SAMPLE_TENSORS] = {
    {.name = "embed.weight", .dtype = ZO2_F32, .rank = 2, .rows = 5, .cols = 3, .block = 0, .decays = 1},
    {.name = "0.fc.weight", .dtype = ZO2_F16, .rank = 2, .rows = 3, .cols = 7, .block = 1, .decays = 1},
    {.name = "0.fc.bias", .dtype = ZO2_BF16, .rank = 1, .rows = 1, .cols = 7, .block = 1},
    {.name = "1.fc.weight", .dtype = ZO2_F16, .rank = 2, .rows = 3, .cols = 7, .block = 2, .decays = 1},
    {.name = "1.fc.bias", .dtype = ZO2_BF16, .rank = 1, .rows = 1, .cols = 7, .block = 2},
};

static inline size_t tensor_bytes(const zo2_packtensor *t)
{
    return (size_t)(t->rows * t->cols * (t->dtype == ZO2_F32 ? 4 : 2));
}

/* A little-endian number of `bytes` bytes in a file's contents. */
static inline uint64_t get(const unsigned char *b, size_t at, size_t bytes)
{
    uint64_t v = 0;
    memcpy(&v, b + at, bytes);
    return v;
}

/* Source bits of tensor i of the sample; malloc'ed. */
static inline unsigned char *sample_bits(uint32_t i)
{
    return sample_bytes(i == SAMPLE_ALIAS ? 1 : i, tensor_bytes(&sample_tensor[i]));
}

/* Writes the sample. The first error ends it. */
static inline zo2_status sample_write(const zo2_io *io, const char *path, int force)
{
    zo2_packwriter *w;
    zo2_status s = zo2_packwriter_open(&w, io, path, "opt", force);
    if (s != ZO2_OK)
        return s;
    for (uint32_t i = 0; s == ZO2_OK && i < SAMPLE_TENSORS; i++) {
        const zo2_packtensor *t = &sample_tensor[i];
        if (i == SAMPLE_ALIAS) {
            s = zo2_packwriter_alias(w, t, 1);
            continue;
        }
        unsigned char *bits = sample_bits(i);
        s = pack_tensor(w, t, bits, 0);
        free(bits);
    }
    if (s == ZO2_OK)
        s = zo2_packwriter_file(w, "config.json", "{\"a\": 1}\n", 9);
    if (s == ZO2_OK)
        s = zo2_packwriter_file(w, "empty.txt", "", 0);
    if (s == ZO2_OK)
        s = zo2_packwriter_file(w, "vocab.json", "{}", 2);
    if (s == ZO2_OK)
        s = zo2_packwriter_commit(w, NULL);
    zo2_packwriter_close(w);
    return s;
}

/* A pack's contents whose tables were changed, with the superblock's checksum. */
static inline void store_with_checksum(const char *path, unsigned char *pack, size_t n)
{
    const uint64_t super = XXH3_64bits(pack, 4088);
    memcpy(pack + 4088, &super, 8);
    file_store(path, pack, n);
}

#endif

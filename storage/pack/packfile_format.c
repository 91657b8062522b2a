/* packfile_format.c: rules of PACK.md that writer and reader both apply. */
#include "storage/pack/packfile_format.h"
#include "engine/base/checked.h"
#include "storage/io/io_utf8.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

const char *zo2_pack_shape_fault(uint32_t dtype, uint32_t rank, uint64_t rows, uint64_t cols)
{
    uint64_t elements, row_bytes;
    uint64_t size = zo2_pack_dtype_bytes(dtype);
    if (size == 0)
        return "its data type is not F32, F16 or BF16";
    if (rank != 1 && rank != 2)
        return "its rank is not 1 or 2";
    if (rows == 0 || cols == 0)
        return "it has no elements";
    if (rank == 1 && rows != 1)
        return "it is a vector of more than one row";
    if (!zo2_mul_u64(rows, cols, &elements) || elements > ZO2_PACK_MAX_ELEMENTS)
        return "it has 2^40 elements or more";
    if (!zo2_mul_u64(cols, size, &row_bytes) || row_bytes > ZO2_PACK_MAX_CHUNK_BYTES)
        return "one row of it has more than 1 GiB";
    return NULL;
}

const char *zo2_pack_name_fault(const char *name, size_t n)
{
    if (n == 0)
        return "the name is empty";
    if (n > ZO2_PACK_MAX_NAME)
        return "the name has more than 512 bytes";
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7F)
            return "the name has a control character";
    if (zo2_utf8_valid_bytes(name, n) != n)
        return "the name is not UTF-8";
    return NULL;
}

/* Does the name end with `end`, whatever the case of its letters? To some file systems it doesn't matter either. */
static int ends_with(const char *name, size_t n, const char *end)
{
    size_t m = strlen(end);
    if (n < m)
        return 0;
    for (size_t i = 0; i < m; i++) {
        char c = name[n - m + i];
        if ((c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c) != end[i])
            return 0;
    }
    return 1;
}

const char *zo2_pack_file_name_fault(const char *name, size_t n)
{
    const char *fault = zo2_pack_name_fault(name, n);
    if (fault)
        return fault;
    if (n > ZO2_PACK_MAX_FILE_NAME)
        return "the name has more than 200 bytes: no export could write it";
    if (memchr(name, '/', n) || memchr(name, '\\', n))
        return "the name has a slash: only plain file names are carried";
    if ((n == 1 && name[0] == '.') || (n == 2 && name[0] == '.' && name[1] == '.'))
        return "the name is a folder";
    if (ends_with(name, n, ".safetensors") || ends_with(name, n, ".safetensors.index.json"))
        return "the name is one of weights, which an export writes itself";
    return NULL;
}

const char *zo2_pack_arch_fault(const char arch[32])
{
    size_t n = strnlen(arch, 32);
    if (n == 0)
        return "the architecture's name is empty";
    if (n == 32)
        return "the architecture's name has more than 31 bytes";
    for (size_t i = 0; i < n; i++)
        if (arch[i] <= 0x20 || arch[i] > 0x7E)
            return "the architecture's name has characters other than printable ASCII";
    for (size_t i = n; i < 32; i++)
        if (arch[i])
            return "there are bytes behind the end of the architecture's name";
    return NULL;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int zo2_pack_sorted_duplicate(const char **names, size_t n, const char **duplicate)
{
    if (n < 2)
        return 0;
    qsort(names, n, sizeof *names, by_name);
    for (size_t i = 1; i < n; i++)
        if (strcmp(names[i - 1], names[i]) == 0) {
            *duplicate = names[i];
            return 1;
        }
    return 0;
}

int zo2_pack_model_hash(const zo2_pack_tensor_record *t, uint32_t n, uint64_t *hash)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        return 0;
    XXH3_64bits_reset(state);
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t record[4] = {t[i].hash, t[i].rows, t[i].cols, t[i].dtype};
        static_assert(sizeof record == 32, "PACK.md");
        XXH3_64bits_update(state, record, sizeof record);
    }
    *hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return 1;
}

uint64_t zo2_pack_chunk_rows(uint32_t dtype, uint64_t rows, uint64_t cols)
{
    uint64_t n = ZO2_PACK_CHUNK_BYTES / (cols * zo2_pack_dtype_bytes(dtype));
    if (n == 0)
        n = 1;
    return n < rows ? n : rows;
}

uint64_t zo2_pack_bytes_at_most(uint64_t tensors, uint64_t source_bytes)
{
    const uint64_t files = (uint64_t)1 << 20;
    const uint64_t per_tensor = 2 * ZO2_PACK_ALIGN; /* about 200 bytes in the tables, and its last chunk's padding */
    /* every other chunk has more than 2 MiB and less than ZO2_PACK_ALIGN of padding: 1 in 512 */
    return source_bytes + source_bytes / 512 + tensors * per_tensor + files;
}

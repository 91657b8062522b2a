/* packfile_zstd.c: see packfile_zstd.h. */
#include "storage/pack/packfile_zstd.h"

#include "storage/pack/packfile_format.h"

#include <zstd.h>
#include <zstd_errors.h>

void zo2_pack_split_planes(const void *src, uint64_t n, uint32_t size, void *dst)
{
    const unsigned char *s = src;
    unsigned char *d = dst;
    uint64_t values = n / size;
    if (size == 2) {
        for (uint64_t i = 0; i < values; i++) {
            d[i] = s[2 * i + 1];
            d[values + i] = s[2 * i];
        }
        return;
    }
    for (uint64_t i = 0; i < values; i++) {
        d[i] = s[4 * i + 3];
        d[values + i] = s[4 * i + 2];
        d[2 * values + i] = s[4 * i + 1];
        d[3 * values + i] = s[4 * i];
    }
}

void zo2_pack_merge_planes(const void *src, uint64_t n, uint32_t size, void *dst)
{
    const unsigned char *s = src;
    unsigned char *d = dst;
    uint64_t values = n / size;
    if (size == 2) {
        for (uint64_t i = 0; i < values; i++) {
            d[2 * i + 1] = s[i];
            d[2 * i] = s[values + i];
        }
        return;
    }
    for (uint64_t i = 0; i < values; i++) {
        d[4 * i + 3] = s[i];
        d[4 * i + 2] = s[values + i];
        d[4 * i + 1] = s[2 * values + i];
        d[4 * i] = s[3 * values + i];
    }
}

zo2_status zo2_pack_zstd_encode(const void *src, uint64_t n, uint32_t size, int level, void *planes, void *dst,
                                uint64_t *bytes)
{
    uint64_t plane = n / size, used = 0;
    *bytes = 0;
    if (n <= ZO2_PACK_ALIGN)
        return ZO2_OK;
    ZSTD_CCtx *c = ZSTD_createCCtx();
    if (!c)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to compress a chunk of %llu bytes", (unsigned long long)n);
    zo2_pack_split_planes(src, n, size, planes);
    /* The chunk's own hashes do what zstd's checksum would. */
    ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, level);
    ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 1);
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 0);
    zo2_status s = ZO2_OK;
    for (uint32_t i = 0; i < size; i++) {
        /* Room for what is worth storing only: the frames either fit or are of no use. */
        size_t got = ZSTD_compress2(c, (unsigned char *)dst + used, (size_t)(n - ZO2_PACK_ALIGN - used),
                                    (unsigned char *)planes + i * plane, (size_t)plane);
        if (ZSTD_isError(got)) {
            used = 0;
            if (ZSTD_getErrorCode(got) != ZSTD_error_dstSize_tooSmall)
                s = zo2_error(ZO2_ERR_NOMEM, "zstd cannot compress a chunk of %llu bytes: %s", (unsigned long long)n,
                              ZSTD_getErrorName(got));
            break;
        }
        used += got;
    }
    ZSTD_freeCCtx(c);
    *bytes = used;
    return s;
}

/* The next frame of a chunk: *at is moved behind it. Such a frame is decoded from buffer to buffer, without a window of
 * its own, whatever window it asks for. NULL or a fault. */
static const char *decode_plane(ZSTD_DCtx *d, const unsigned char *stored, uint64_t bytes, uint64_t *at, void *plane,
                                uint64_t n)
{
    if (ZSTD_getFrameContentSize(stored + *at, (size_t)(bytes - *at)) != n)
        return "there is no zstd frame of a byte plane's length where one should begin";
    size_t frame = ZSTD_findFrameCompressedSize(stored + *at, (size_t)(bytes - *at));
    if (ZSTD_isError(frame))
        return ZSTD_getErrorName(frame);
    size_t got = ZSTD_decompressDCtx(d, plane, (size_t)n, stored + *at, frame);
    if (ZSTD_isError(got))
        return ZSTD_getErrorName(got);
    *at += frame;
    return got == n ? NULL : "a zstd frame has fewer bytes than it says";
}

zo2_status zo2_pack_zstd_decode(const void *stored, uint64_t bytes, uint32_t size, void *planes, void *dst, uint64_t n,
                                const char **fault)
{
    uint64_t at = 0, plane = n / size;
    *fault = NULL;
    ZSTD_DCtx *d = ZSTD_createDCtx();
    if (!d)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to decompress a chunk of %llu bytes", (unsigned long long)n);
    for (uint32_t i = 0; i < size && !*fault; i++)
        *fault = decode_plane(d, stored, bytes, &at, (unsigned char *)planes + i * plane, plane);
    ZSTD_freeDCtx(d);
    if (!*fault && at != bytes)
        *fault = "its last zstd frame doesn't end where the chunk does";
    if (!*fault)
        zo2_pack_merge_planes(planes, n, size, dst);
    return ZO2_OK;
}

zo2_status zo2_zstd_level_check(const char *function, int level)
{
    return level < 0 || level > ZO2_PACK_ZSTD_MAX_LEVEL
               ? zo2_error(ZO2_ERR_ARG, "%s: zstd level %d is not from 1 to %d (0: stored as it is)", function, level,
                           ZO2_PACK_ZSTD_MAX_LEVEL)
               : ZO2_OK;
}

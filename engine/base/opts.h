/* opts.h: structs of the public interface that begin with struct_size: a caller's may be shorter or longer than this
 * library's, by fields at the end (zo2.h, "Structs"). */
#ifndef ZO2_ENGINE_BASE_OPTS_H
#define ZO2_ENGINE_BASE_OPTS_H

#include <stddef.h>
#include <string.h>

/* Copies a caller's option struct over *dst (already at its defaults; size bytes), as much as the caller's version has.
 * src NULL: nothing. 0 if struct_size was not set. */
static inline int zo2_opts_take(void *dst, size_t size, const void *src)
{
    size_t have;
    if (!src)
        return 1;
    memcpy(&have, src, sizeof have);
    if (have < sizeof have)
        return 0;
    memcpy(dst, src, have < size ? have : size);
    memcpy(dst, &size, sizeof size);
    return 1;
}

/* The other way: fills a caller's struct of `have` bytes, whose struct_size that becomes, from ours of `size` bytes.
 * Fields that only the caller knows are zero. Nothing if `have` is too small for a size, or dst NULL. */
static inline void zo2_opts_give(void *dst, size_t have, const void *src, size_t size)
{
    if (!dst || have < sizeof have)
        return;
    memset(dst, 0, have);
    memcpy(dst, src, have < size ? have : size);
    memcpy(dst, &have, sizeof have);
}

#endif
